"""What a plan costs for each row: calls, tokens, dollars, seconds, from calls that were made.

Tokens are measured. What a provider's prompt cache saves is computed from the prompts themselves:
the longest beginning that a call shares with an earlier one of the same plan is read at the price
of cached tokens, if it is long enough for the provider to keep it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from mtiprompt.evaluation.outcome import Outcome
from mtiprompt.evaluation.prices import Price
from mtiprompt.models.local_slots import shared
from mtiprompt.planner.timing import Observed, Timing, Work
from mtiprompt.result import Call
from mtiprompt.wire import Usage

MINIMUM = 1024
"""Tokens from which providers keep the beginning of a prompt."""


@dataclass(frozen=True)
class CallTokens:
    """The tokens of one call.

    Attributes:
        prompt: Tokens read.
        completion: Tokens written.
        known: Those at the beginning of the prompt that an earlier call had, too.
        share: The part of the call that counts; less than 1 where several items share it.
    """

    prompt: float
    completion: float = 0.0
    known: float = 0.0
    share: float = 1.0


@dataclass(frozen=True)
class PlanPrice:
    """What a plan costs for each row, on average.

    Attributes:
        rows: Rows that were measured.
        calls: Calls; of one that several items share, each has its part.
        prompt: Tokens read.
        known: Those of them that an earlier call of the plan had at its beginning.
        cached: Those of them that the model reported to have cached.
        completion: Tokens written.
        dollars: US dollars without any prompt cache; None without a price.
        dollars_cached: The same with the provider's prompt cache.
        seconds: Time of its calls, one after the other.
        longest: Time of its calls where those that can go at the same time do.
        work: What its calls have to do: for each wave of calls that can go at the same time, the
            work of each of them.
        seen: The calls that were made for it and no other plan, with their times.
    """

    rows: int
    calls: float
    prompt: float
    known: float
    cached: float
    completion: float
    dollars: float | None
    dollars_cached: float | None
    seconds: float
    longest: float
    work: tuple[tuple[Work, ...], ...] = field(default=(), repr=False, compare=False)
    seen: tuple[Observed, ...] = field(default=(), repr=False, compare=False)

    def plain(self) -> dict[str, Any]:
        """The figures as plain JSON data, without single calls."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.repr}

    def foretold(self, timing: Timing, *, flight: int = 1) -> float:
        """Seconds for a row, from its first call to its last, by a model of time.

        Args:
            timing: The model, fitted to calls that were made as these will be.
            flight: Calls at the same time; 1: one after the other.
        """
        return sum(_span(map(timing.seconds, wave), flight) for wave in self.work)

    def rows_a_minute(
        self, *, requests: float | None = None, tokens: float | None = None, flight: int = 1
    ) -> float:
        """How many rows can be answered in a minute.

        Args:
            requests: Calls a minute that the provider allows.
            tokens: Tokens a minute that it allows.
            flight: Calls at the same time.
        """
        bounds = [60 * flight / self.seconds] if self.seconds else []
        if requests is not None and self.calls:
            bounds.append(requests / self.calls)
        if tokens is not None and self.prompt + self.completion:
            bounds.append(tokens / (self.prompt + self.completion))
        return min(bounds, default=0.0)


UNMEASURED = PlanPrice(0, 0.0, 0.0, 0.0, 0.0, 0.0, None, None, 0.0, 0.0)
"""Of a plan that was run on no row."""


def dollars(
    calls: Iterable[CallTokens], price: Price, *, caching: bool, minimum: float = MINIMUM
) -> float:
    """What calls cost.

    Example:
        >>> from mtiprompt.evaluation.prices import Price
        >>> from mtiprompt.planner.price import CallTokens, dollars
        >>> tenth = Price("any", prompt=1.0, cached=0.1, completion=0.0)
        >>> split = [CallTokens(2150), *[CallTokens(2150, known=2000)] * 3]
        >>> fused = [CallTokens(2600)]
        >>> 1 - dollars(fused, tenth, caching=True) / dollars(split, tenth, caching=True)
        0.1875

    Args:
        calls: Their tokens.
        price: Of a token.
        caching: Whether the provider has a prompt cache.
        minimum: Tokens that a beginning needs to be kept there.
    """
    total = 0.0
    for one in calls:
        known = one.known if caching and one.known >= minimum else 0.0
        read = (one.prompt - known) * price.prompt + known * price.cached
        total += one.share * (read + one.completion * price.completion)
    return total


def tokens_of(outcomes: Iterable[Outcome]) -> list[CallTokens]:
    """The tokens of every call about items, in the order of the items.

    Args:
        outcomes: What became of the items in one plan.
    """
    seen = _Beginnings()
    found: list[CallTokens] = []
    known: dict[int, float] = {}
    for one in outcomes:
        for call in one.calls:
            if call.reply is None:
                continue
            whole = call.reply.usage
            if id(call.reply) not in known:
                text = _text(call)
                known[id(call.reply)] = seen.share_of(text) * whole.prompt_tokens
            share = _share(call.usage, whole)
            found.append(
                CallTokens(
                    whole.prompt_tokens, whole.completion_tokens, known[id(call.reply)], share
                )
            )
    return found


class _Beginnings:
    """Texts, of which the one that begins most like another is found next to it in order."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def share_of(self, text: str) -> float:
        """The share of a text, from its start, that an earlier one begins with; it is added."""
        place = bisect_left(self._texts, text)
        near = self._texts[max(0, place - 1) : place + 1]
        common = max((shared(text, one) for one in near), default=0)
        insort(self._texts, text)
        return common / len(text) if text else 0.0


def _share(part: Usage, whole: Usage) -> float:
    """An item's part of a call; where tokens are not counted, one item has all of it."""
    return part.prompt_tokens / whole.prompt_tokens if whole.prompt_tokens else float(part.calls)


def _text(call: Call) -> str:
    return "".join(f"\x1e{one.role}\x1f{one.content}" for one in call.request.messages)


def price_plan(
    outcomes: Sequence[Outcome], waves: Sequence[Sequence[Sequence[str]]], price: Price | None
) -> PlanPrice:
    """What a plan costs for each row.

    Args:
        outcomes: What became of the rows in it.
        waves: Its groups of tasks, those that can be asked for at the same time together.
        price: Of a token; None: dollars are not known.
    """
    rows = len(outcomes)
    calls = tokens_of(outcomes)
    usage = [one.usage for one in outcomes]
    return PlanPrice(
        rows=rows,
        calls=sum(one.share for one in calls) / rows,
        prompt=sum(one.share * one.prompt for one in calls) / rows,
        known=sum(one.share * one.known for one in calls) / rows,
        cached=sum(one.cached_tokens for one in usage) / rows,
        completion=sum(one.share * one.completion for one in calls) / rows,
        dollars=None if price is None else dollars(calls, price, caching=False) / rows,
        dollars_cached=None if price is None else dollars(calls, price, caching=True) / rows,
        seconds=sum(_seconds(call) for one in outcomes for call in one.calls) / rows,
        longest=sum(_longest(one, waves) for one in outcomes) / rows,
        work=tuple(tuple(_work(outcomes, group) for group in wave) for wave in waves),
        seen=tuple(_seen(outcomes)),
    )


def _seconds(call: Call) -> float:
    """An item's part of the time of a call."""
    if call.reply is None:
        return call.usage.seconds
    whole: Any = call.reply.details.get("seconds", call.reply.usage.seconds)
    return float(whole) * _share(call.usage, call.reply.usage)


def _longest(one: Outcome, waves: Sequence[Sequence[Sequence[str]]]) -> float:
    """The time of an item whose calls go out as early as they can."""
    total = 0.0
    for wave in waves:
        times = [sum(map(_seconds, _calls_of(one, group))) for group in wave]
        total += max(times, default=0.0)
    return total


def _calls_of(one: Outcome, group: Sequence[str]) -> list[Call]:
    """The calls about a group of tasks, repairs too."""
    return [call for call in one.calls if set(call.tasks) <= set(group)]


def _span(times: Iterable[float], flight: int) -> float:
    """How long calls take together: the longest first, each as soon as one of those under way ends.

    Source: Graham, Bounds on multiprocessing timing anomalies, 1969 (within a third of the best).
    """
    ends = [0.0] * max(1, flight)
    for seconds in sorted(times, reverse=True):
        ends[0] += seconds
        ends.sort()
    return ends[-1]


def _work(outcomes: Sequence[Outcome], group: Sequence[str]) -> Work:
    """What the calls about a group have to do for a row, on average."""
    parts = [
        [part * _share(call.usage, call.reply.usage) for part in _work_of(call.reply.usage)]
        for one in outcomes
        for call in _calls_of(one, group)
        if call.reply is not None
    ]
    return Work(*(sum(column) / len(outcomes) for column in zip(*parts, strict=True)))


def _work_of(usage: Usage) -> Work:
    """What a call has to do."""
    read = usage.prompt_tokens - usage.cached_tokens
    return Work(1.0, read, usage.cached_tokens, usage.completion_tokens)


def _seen(outcomes: Iterable[Outcome]) -> Iterator[Observed]:
    """Single calls with their own time, each once; those that had to be tried again have none."""
    known: set[int] = set()
    for call in (call for one in outcomes for call in one.calls):
        reply = call.reply
        if reply is None or id(reply) in known or reply.details.get("shared"):
            continue
        known.add(id(reply))
        if reply.usage.calls == 1:
            yield Observed(_work_of(reply.usage), reply.usage.seconds)
