"""A shadow in one run of `map`: some rows are asked a second time, split, behind the first.

The second conversation begins when the first is at its end, so that it takes neither a turn nor a
budget from it; the result that is given is always that of the first.
"""

from __future__ import annotations

import logging
from collections.abc import (
    AsyncGenerator,
    Callable,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Any, NamedTuple

from mtiprompt.combine import Combined
from mtiprompt.engine import converse
from mtiprompt.errors import MTIError
from mtiprompt.metrics import Scorer, checked_score, metric
from mtiprompt.plan import Plan
from mtiprompt.ready import Ready
from mtiprompt.repair import Repair
from mtiprompt.result import Failure, Result, plain, slots
from mtiprompt.steps import Ask, Conversation, Finished, Partly, Step
from mtiprompt.watch.shadow import Score, Shadow
from mtiprompt.watch.unfuse import in_company, split

logger = logging.getLogger(__name__)

PURPOSE = "shadow"
"""What the second calls are for; in usages and meters they count under this name."""


class _Pair(NamedTuple):
    """A row that was run both ways, and the tasks about which it tells something."""

    tasks: tuple[str, ...]
    item: Mapping[str, Any]
    ours: Result
    alone: Result


class Run:
    """A shadow in one run of `map`.

    Args:
        shadow: What is known, and which rows are in it.
        program: The program.
        plan: How it is run.
        prepare: What makes a plan ready.

    Raises:
        DataError: The shadow is for another plan, or a task has a metric that is none.
    """

    def __init__(
        self, shadow: Shadow, program: Combined, plan: Plan, prepare: Callable[[Plan], Ready]
    ) -> None:
        compared = () if shadow.score else in_company(plan)
        self._metrics = {name: metric(program.tasks[name].metric) for name in compared}
        shadow.begin(program, plan)
        self._shadow, self._program, self._plan, self._prepare = shadow, program, plan, prepare
        self._split = split(program, plan)
        self._apart: frozenset[str] = frozenset()
        self._now = plan
        self._begun = self._given = 0
        self._first = shadow.rows + 1
        self._pairs: dict[int, _Pair] = {}

    def ready(self) -> Ready:
        """What the next rows are run with."""
        if self._shadow.apart != self._apart:
            self._apart = self._shadow.apart
            self._now = self._shadow.plan(self._program, self._plan)
        return self._prepare(self._now)

    def converse(
        self, ready: Ready, items: Sequence[Mapping[str, Any]], repair: Repair
    ) -> Conversation:
        """As `engine.converse`; items in the shadow are asked for again, split."""
        start = self._begun
        self._begun += len(items)
        talk = converse(ready, items, repair)
        tasks = self._shadow.watched(ready.plan)
        taken = [
            n for n in range(len(items)) if tasks and self._shadow.takes(self._first + start + n)
        ]
        return self._both(talk, tasks, items, taken, start, repair) if taken else talk

    def results(self, results: Generator[Result, None, None]) -> Iterator[Result]:
        """The same results; each is looked at before it is given."""
        try:
            with closing(results):
                for result in results:
                    pair = self._next()
                    self._look(None if pair is None else self._losses(pair))
                    yield result
        finally:
            self._shadow.save()

    async def aresults(self, results: AsyncGenerator[Result, None]) -> AsyncGenerator[Result, None]:
        """As `results`, in an event loop, which no metric holds up.

        `score=` is asked in the thread of the loop: it may look into what belongs to that.
        """
        import asyncio  # late: it takes a sixth of the time to import the whole package

        try:
            async with aclosing(results):
                async for result in results:
                    pair = self._next()
                    if pair is None:
                        self._look(None)
                    elif self._shadow.score:
                        self._look(self._losses(pair))
                    else:
                        self._look(await asyncio.to_thread(self._losses, pair))
                    yield result
        finally:
            self._shadow.save()

    def _next(self) -> _Pair | None:
        """The next row that is given, if it was run both ways."""
        self._given += 1
        return self._pairs.pop(self._given - 1, None)

    def _look(self, losses: Mapping[str, float] | None) -> None:
        if losses is None:
            self._shadow.skip()
        else:
            self._shadow.look(losses)

    def _losses(self, pair: _Pair) -> dict[str, float]:
        """What a row tells of its tasks; nothing where a call failed that is no loss of theirs.

        An answer that fails alone scores 0, as in company. Without a score nothing can be compared
        with it.
        """
        found = {}
        for name in pair.tasks:
            ours, alone = slots(pair.ours)[name], slots(pair.alone)[name]
            if isinstance(alone, Failure) and (
                not self._shadow.score or _is_outage(alone, pair.alone)
            ):
                logger.info("a row has no shadow for the task %r: %s", name, alone.kind)
            elif not _is_outage(ours, pair.ours):
                loss = self._loss(pair, name)
                if loss is not None:
                    found[name] = loss
        return found

    def _loss(self, pair: _Pair, task: str) -> float | None:
        """What a row tells of a task; None where nobody knows.

        Raises:
            DataError: What it is scored by gives something else than a score.
        """
        score = self._shadow.score
        by = "score" if score else "metric"
        try:
            values = (
                _scores(pair, task, score) if score else _agreed(pair, task, self._metrics[task])
            )
        except Exception as error:  # noqa: BLE001  the user's code and a judge may raise anything
            # its message may quote the row
            logger.warning(
                "a row tells nothing of the task %r: its %s failed: %s",
                task, by, type(error).__name__,
            )  # fmt: skip
            return None
        if None in values:
            return None
        alone, ours = (checked_score(one, task, by=f"the {by}") for one in values)
        return alone - ours

    def _both(
        self,
        talk: Conversation,
        tasks: tuple[str, ...],
        items: Sequence[Mapping[str, Any]],
        taken: Sequence[int],
        start: int,
        repair: Repair,
    ) -> Conversation:
        """The conversation about items, and behind it one for each that is in the shadow."""
        step = next(talk)
        while step.results is None:
            step = talk.send((yield step))
        results = list(step.results)
        for place in taken:
            ours = results[place]
            if all(_is_outage(slots(ours)[name], ours) for name in tasks):
                continue  # nothing could be told, and no calls should be added to an outage
            again = converse(self._prepare(self._split), [items[place]], repair)
            step, alone = yield from _behind(step, again)
            if alone is None:
                break  # its other calls may still come back; they would be taken for the next one's
            self._pairs[start + place] = _Pair(tasks, items[place], ours, alone)
            results[place] = self._with_calls(ours, alone)
        yield step._replace(results=tuple(results))

    def _with_calls(self, ours: Result, alone: Result) -> Result:
        """A result that also tells of the calls of its shadow."""
        calls, usage = ours.calls + alone.calls, ours.usage + alone.usage
        return Result(self._program, slots(ours), calls, usage)


def _behind(
    before: Step, talk: Conversation
) -> Generator[Step, Finished | Partly, tuple[Step, Result | None]]:
    """Hold a conversation in the shadow.

    Args:
        before: The last step of the one before, which was not handed on yet.
        talk: The conversation.

    Returns:
        The last step, which is still to be handed on, and the result; None if there is none.
    """
    keep, settled = before.keep, before.settled
    try:
        step = next(talk)
        while step.results is None:
            heard = yield Step(tuple(map(_marked, step.start)), keep, settled)
            keep, settled = None, ()
            step = talk.send(heard)
            keep = step.keep
    except MTIError as error:
        logger.info("a row has no shadow: %s", type(error).__name__)
        return Step((), keep, settled), None
    return Step((), keep, settled), step.results[0]


def _marked(ask: Ask) -> Ask:
    return ask._replace(request=replace(ask.request, purpose=PURPOSE))


def _is_outage(slot: object, result: Result) -> bool:
    """Whether a slot failed for a reason that says nothing about the model's answers."""
    if isinstance(slot, Failure) and slot.kind == "upstream failed":
        return any(one.is_outage for one in result.failures.values())
    return isinstance(slot, Failure) and slot.is_outage


def _agreed(pair: _Pair, task: str, scorer: Scorer) -> tuple[Any, Any]:
    """How far the answer alone agrees with itself, and the one in company with it."""
    if task in pair.ours.failures:
        return 1.0, 0.0
    return 1.0, scorer(_answer(pair.ours, task), _answer(pair.alone, task), pair.item)


def _scores(pair: _Pair, task: str, score: Score) -> tuple[Any, Any]:
    """What the answers alone and in company score."""
    alone, ours = (
        0.0 if task in result.failures else score(pair.item, task, _answer(result, task))
        for result in (pair.alone, pair.ours)
    )
    return alone, ours


def _answer(result: Result, task: str) -> Any:
    """The answer of a task as plain data, as metrics take it; None if it failed."""
    return plain(result)["answers"].get(task)
