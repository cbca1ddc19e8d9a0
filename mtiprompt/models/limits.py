"""Limits: how many requests and tokens a minute, and how many calls at the same time.

What a minute may hold is counted exactly: whenever a minute is looked at, no more than that began
in it. What the provider tells of its own limits, in the headers of its replies and in the errors it
answers with, is obeyed on top. Threads and tasks wait in one queue, first come, first served.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mtiprompt.errors import ModelError, ModelTimeout, RateLimited, SettingsError
from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.models.deadline import left
from mtiprompt.models.meter import not_sent, unsent
from mtiprompt.models.rates import LONGEST, Reported, Window
from mtiprompt.models.single_flight import STALL
from mtiprompt.models.waiting import Bell, TaskBell, ThreadBell
from mtiprompt.models.watch import prompt_tokens
from mtiprompt.wire import Reply, Request

if TYPE_CHECKING:
    import asyncio

_TOLD = ("limit", "remaining", "reset")


class Limits:
    """Limits that all models share to which the object is given, in all threads of the process.

    Tasks of an event loop that has ended are forgotten, and those of one that stands still are
    passed over until it turns again.

    Example:
        >>> import mtiprompt as mti
        >>> from mtiprompt.models.limits import Limits, LimitedModel
        >>> limits = Limits(requests=600, tokens=90_000, in_flight=32)
        >>> model = LimitedModel(mti.ScriptedModel(["Good day."]), limits)
        >>> model.complete(mti.Request((mti.Message("user", "Hello"),))).text
        'Good day.'

    Args:
        requests: Calls a minute.
        tokens: Tokens a minute, those of prompts and replies together. A call counts with an
            estimate until its reply tells; one that is estimated above the limit goes alone.
        in_flight: Calls at the same time.
        period: Seconds in which so many requests and tokens may begin, if not a minute.

    Raises:
        SettingsError: A limit is not above 0.
    """

    def __init__(
        self,
        *,
        requests: int | None = None,
        tokens: int | None = None,
        in_flight: int | None = None,
        period: float = 60.0,
    ) -> None:
        self._given = {"requests": requests, "tokens": tokens, "in_flight": in_flight}
        given: dict[str, object] = {**self._given, "period": period}
        for name, value in given.items():
            if value is not None and not (isinstance(value, int | float) and value > 0):
                raise SettingsError(
                    f"Limits({name}={value!r}) makes no sense",
                    hint="give a number above 0, or leave it out",
                )
        self._in_flight = math.inf if in_flight is None else in_flight
        self._period = period
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        # a task that nobody will ever wake ends its turn wherever the garbage collector runs
        self._lock = threading.RLock()
        self._queue: deque[Turn] = deque()
        self._open: set[Turn] = set()
        self._paused_until = 0.0
        self._windows = {
            kind: Window(limit, self._period)
            for kind in ("requests", "tokens")
            if (limit := self._given[kind]) is not None
        }
        self._reported: dict[str, Reported] = {}

    def __repr__(self) -> str:
        """How it was made."""
        given = (f"{name}={value}" for name, value in self._given.items() if value is not None)
        return f"Limits({', '.join(given)})"

    def ask(
        self, tokens: int, name: str = "a call", loop: asyncio.AbstractEventLoop | None = None
    ) -> Turn:
        """A turn for a call of about so many tokens; it may have come at once, or must be awaited.

        Args:
            tokens: Of the prompt and the reply.
            name: Whose call, for messages.
            loop: The event loop of the task that makes it, if it is one.

        Raises:
            ModelTimeout: It could not come before the caller's deadline.
        """
        if os.getpid() != self._pid:  # forked: those who wait are threads of the parent
            self._reset()
        turn = Turn(self, {"requests": 1, "tokens": tokens}, name, loop)
        with self._lock:
            before: Iterable[Turn] = self._queue
            if self._queue and self._queue[0].stands:
                before = [one for one in self._queue if not one.stands]
            ahead = {kind: sum(one.amounts[kind] for one in before) for kind in turn.amounts}
            wait = self._wait(turn, ahead)
            if wait <= 0 and not self._queue:
                self._begin(turn)
        if math.inf > wait > left(math.inf):
            raise _too_late(turn, wait)
        return turn

    def waits(self, turn: Turn, bell: Bell) -> Generator[float, None, None]:
        """Wait for a turn: yields how long to wait for the bell, and ends when the turn has come.

        Raises:
            ModelTimeout: It did not come before the caller's deadline, or could not.
        """
        turn.bell = bell
        with self._lock:
            turn.watches = self._has_others(turn)
            self._queue.append(turn)
        patience = STALL if turn.watches else math.inf
        try:
            while True:
                with self._lock:
                    first = self._first(turn)
                    wait = self._wait(turn) if first is turn else math.inf
                    if wait <= 0:
                        self._begin(turn)
                        return
                    if turn.watches and first is not turn:
                        first.ring()  # to see whether it hears
                remaining = left(math.inf)
                if remaining <= 0 or math.inf > wait > remaining:
                    raise _too_late(turn, wait)
                yield min(wait, remaining, patience)
        finally:
            with self._lock:
                if turn in self._queue:  # else its loop has ended
                    self._queue.remove(turn)
                self._call_next()

    def end(self, turn: Turn, error: BaseException | None) -> None:
        """Note how the call of a turn ended."""
        reply, now = turn.reply, time.monotonic()
        with self._lock:
            self._open.discard(turn)
            if isinstance(error, RateLimited) and error.retry_after is not None:
                self._paused_until = max(self._paused_until, now + min(error.retry_after, LONGEST))
            self._correct(turn, _really(reply))
            if reply is not None and not reply.from_cache:
                self._learn(reply.details.get("rate_limits"), now)
            self._call_next()

    def _wait(self, turn: Turn, ahead: dict[str, int] | None = None) -> float:
        """Seconds until a turn can come, if nothing ends before; infinite if something must."""
        now = time.monotonic()
        wait = max(0.0, self._paused_until - now)
        if turn.watches and len(self._open) >= self._in_flight:
            self._open.difference_update([one for one in tuple(self._open) if one.is_dead])
        if len(self._open) >= self._in_flight:
            return wait or math.inf
        for kind, amount in turn.amounts.items():
            before = ahead[kind] if ahead else 0
            if kind in self._windows:
                wait = max(wait, self._windows[kind].wait(amount, now, before))
            if kind in self._reported:
                wait = max(wait, self._reported[kind].wait(amount, now))
        return wait

    def _begin(self, turn: Turn) -> None:
        turn.begun = True
        self._open.add(turn)
        now = time.monotonic()
        for kind, amount in turn.amounts.items():
            if kind in self._windows:
                turn.spent[kind] = self._windows[kind].take(amount, now)
            if kind in self._reported:
                self._reported[kind].take(amount)

    def _correct(self, turn: Turn, real: dict[str, int]) -> None:
        for kind, amount in real.items():
            if kind in turn.spent:
                self._windows[kind].correct(turn.spent[kind], amount)
            if kind in self._reported:
                self._reported[kind].take(amount - turn.amounts[kind])

    def _learn(self, told: Any, now: float) -> None:
        if not isinstance(told, dict):
            return
        for kind in ("requests", "tokens"):
            limit, rest, reset = (told.get(f"{one}-{kind}") for one in _TOLD)
            if isinstance(rest, int | float) and isinstance(reset, int | float):
                whole = limit if isinstance(limit, int | float) else None
                report = Reported(whole, rest, reset, now)
                self._reported[kind] = report.after(self._reported.get(kind))

    def _has_others(self, turn: Turn) -> bool:
        """Whether tasks of other event loops may be before a turn."""
        if self._queue:  # its last has looked at those before it
            last = self._queue[-1]
            return last.watches or last.loop not in {None, turn.loop}
        return any(one.loop not in {None, turn.loop} for one in tuple(self._open))

    def _first(self, turn: Turn) -> Turn:
        """Whose turn is next: that of the first in the queue who hears its bell, as `turn` does."""
        while self._queue[0].is_dead:
            self._queue.popleft()
        return next(one for one in self._queue if one is turn or not one.stands)

    def _call_next(self) -> None:
        for one in self._queue:
            one.ring()
            if not one.stands:
                return


@dataclass(eq=False)
class Turn:
    """The turn of one call, and a context around it.

    Attributes:
        limits: What it is under.
        amounts: What it is estimated to take.
        name: Whose call it is.
        loop: The event loop of the task that makes the call, if it is one.
        begun: Whether it has come.
        spent: Where it is booked.
        reply: The reply of the call, if it has one.
        bell: What wakes the one who waits for it.
        watches: Whether it may wait for a task of another event loop, which may stand still or end;
            threads, and the loop of its own task, go on.
    """

    limits: Limits
    amounts: dict[str, int]
    name: str = "a call"
    loop: asyncio.AbstractEventLoop | None = None
    begun: bool = False
    spent: dict[str, list[float]] = field(default_factory=dict)
    reply: Reply | None = None
    bell: Bell | None = None
    watches: bool = False

    @property
    def is_dead(self) -> bool:
        """Whether its event loop has ended, so that its call neither goes on nor ends."""
        return self.loop is not None and self.loop.is_closed()

    @property
    def stands(self) -> bool:
        """Whether the one who waits for it cannot be woken, now or ever."""
        return self.bell is not None and self.bell.unheard >= STALL

    def ring(self) -> None:
        """Wake the one who waits for it."""
        if self.bell is not None:
            self.bell.ring()

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.limits.end(self, error)


def _really(reply: Reply | None) -> dict[str, int]:
    """What a call took; one that failed has no tokens."""
    if reply is None:
        return {"requests": 1, "tokens": 0}
    if reply.from_cache:
        return {"requests": 0, "tokens": 0}
    used = reply.usage
    return {"requests": max(1, used.calls), "tokens": used.prompt_tokens + used.completion_tokens}


def _too_late(turn: Turn, wait: float) -> ModelError:
    known = wait < math.inf
    when = f"in {wait:.3g} s" if known else "when another call ends"
    return not_sent(
        ModelTimeout(
            f"{turn.name}: its turn under the limits comes {when}, which is after its deadline",
            hint="raise timeout=... or the limits, or ask less at the same time",
            retry_after=wait if known else None,  # so that no retry begins before
        )
    )


class LimitedModel(Wrapper):
    """A model whose calls wait for their turn under limits.

    It stands inside the retries, so that each call takes a turn of its own. A `RateLimited` error
    that says how long to wait makes all wait that share the limits.

    Args:
        inner: Whom to ask.
        limits: The limits, which other models may share.
        max_tokens: How many tokens a reply may have, for the estimate before a call.
    """

    def __init__(
        self, inner: LanguageModel, limits: Limits, *, max_tokens: int | None = None
    ) -> None:
        super().__init__(inner)
        self.limits = limits
        self._max_tokens = max_tokens or 0

    def complete(self, request: Request) -> Reply:
        """Wait for a turn, then ask."""
        with self._turn(request) as turn:
            turn.reply = reply = self.inner.complete(request)
        return reply

    async def acomplete(self, request: Request) -> Reply:
        """As `complete`, without blocking the event loop."""
        with await self._aturn(request) as turn:
            turn.reply = reply = await self.inner.acomplete(request)
        return reply

    def stream(self, request: Request) -> Generator[str | Reply, None, None]:
        """Wait for a turn, which lasts until the stream ends."""
        with self._turn(request) as turn, closing(self.inner.stream(request)) as pieces:
            for piece in pieces:
                if isinstance(piece, Reply):
                    turn.reply = piece
                yield piece

    async def astream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """As `stream`, without blocking the event loop."""
        with await self._aturn(request) as turn:
            async with aclosing(self.inner.astream(request)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, Reply):
                        turn.reply = piece
                    yield piece

    def _turn(self, request: Request) -> Turn:
        turn = self.limits.ask(prompt_tokens(request) + self._max_tokens, self.name)
        if not turn.begun:
            bell = ThreadBell()
            with unsent(), closing(self.limits.waits(turn, bell)) as waits:
                for seconds in waits:
                    bell.wait(seconds)
        return turn

    async def _aturn(self, request: Request) -> Turn:
        import asyncio

        tokens = prompt_tokens(request) + self._max_tokens
        turn = self.limits.ask(tokens, self.name, asyncio.get_running_loop())
        if not turn.begun:
            bell = TaskBell()
            with unsent(), closing(self.limits.waits(turn, bell)) as waits:
                for seconds in waits:
                    await bell.wait(seconds)
        return turn
