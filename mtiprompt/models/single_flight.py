"""Single flight: equal requests that are in flight at the same time are one call.

The first of them leads; the others wait for its reply. The waiting is the same for threads and for
tasks of any event loop, so each may follow the other.
"""

from __future__ import annotations

import copy
import math
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from mtiprompt.errors import BudgetExceeded, ModelError, ModelTimeout
from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.models.deadline import left
from mtiprompt.models.meter import not_sent
from mtiprompt.models.waiting import Bell, TaskBell, ThreadBell
from mtiprompt.wire import Reply, Request, own_details

if TYPE_CHECKING:
    import asyncio

LINGER = 1.0
"""Seconds for which a reply is handed on after its flight: until it is stored, a request that had
just missed it in the cache would be sent again."""

STALL = 0.5
"""Seconds after which an event loop that has not turned is taken for one that is blocked."""


class SingleFlightModel(Wrapper):
    """A model that sends equal requests, while one of them is in flight, only once.

    The others get its reply, as one that cost them nothing (`Usage.hits`), or its error. If the
    first gives up for a reason of its own (it is cancelled or interrupted, or its caller's deadline
    has passed), another goes on in its place; also if the first is a task of an event loop that
    stands still, which may be waiting for the very ones that wait. Everyone waits no longer than
    its own deadline.

    It stands right inside the cache. Streams are passed on as they are. Requests with other sample
    numbers are other requests.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> import mtiprompt as mti
        >>> from mtiprompt.models.single_flight import SingleFlightModel
        >>> inner = mti.EchoModel()
        >>> model = SingleFlightModel(inner)
        >>> request = mti.Request((mti.Message("user", "Hello"),))
        >>> with ThreadPoolExecutor(8) as pool:
        ...     replies = list(pool.map(model.complete, [request] * 8))
        >>> len({reply.text for reply in replies})
        1

    Args:
        inner: Whom to ask.
        linger: Seconds for which a reply is handed to threads that have not had it yet, after it
            has come. For use inside a cache, which will have stored it by then.
        patience: Seconds that anyone waits for one flight; then another is begun. None: no bound.
    """

    def __init__(
        self, inner: LanguageModel, *, linger: float = 0.0, patience: float | None = None
    ) -> None:
        super().__init__(inner)
        self._patience = math.inf if patience is None else patience
        self._flights = _Flights(linger)

    def complete(self, request: Request) -> Reply:
        """Ask, or wait for the reply to an equal request."""
        began = time.monotonic()
        while True:
            flight, leads = self._flights.board(request.key)
            if leads:
                with flight:
                    reply = self.inner.complete(request)
                    flight.reply = _own(reply)
                return reply
            if flight.thread == threading.get_ident() and not flight.landed:
                # led by a task of this thread, which cannot go on while we wait
                self._flights.give_up(flight)
                continue
            bell = ThreadBell()
            flight.await_with(bell)
            for seconds in self._waits(flight):
                bell.wait(seconds)
            if handed := self._handed(flight, began):
                return handed

    async def acomplete(self, request: Request) -> Reply:
        """As `complete`, without blocking the event loop."""
        import asyncio

        began, loop = time.monotonic(), asyncio.get_running_loop()
        while True:
            flight, leads = self._flights.board(request.key, loop)
            if leads:
                with flight:
                    reply = await self.inner.acomplete(request)
                    flight.reply = _own(reply)
                return reply
            bell = TaskBell()
            flight.await_with(bell)
            for seconds in self._waits(flight):
                await bell.wait(seconds)
            if handed := self._handed(flight, began):
                return handed

    def _waits(self, flight: _Flight) -> Iterator[float]:
        """Seconds to wait, time and again, until the flight has landed or is given up."""
        end = time.monotonic() + self._patience
        while not flight.landed and (own := left(math.inf)) > 0:
            seconds = min(own, end - time.monotonic())
            turned = flight.turned()
            if seconds > 0:
                yield min(seconds, STALL) if turned else seconds
            late = time.monotonic() >= end
            stands = turned is not None and seconds >= STALL and not turned.is_set()
            if not flight.landed and (late or stands):
                self._flights.give_up(flight)
                return

    def _handed(self, flight: _Flight, began: float) -> Reply | None:
        """The reply for one that followed; None if the flight was given up."""
        if not flight.landed:
            if left(math.inf) > 0:
                return None
            raise not_sent(
                ModelTimeout(
                    f"{self.name}: an equal request that was sent before has no reply yet",
                    hint="raise timeout=...",
                )
            )
        if flight.error is not None:
            raise _another(flight.error)
        return flight.reply and flight.reply.as_hit(time.monotonic() - began)


class _Flight:
    """A call that others may wait for; a context for the one who makes it.

    Attributes:
        thread: The thread of the one who leads.
        loop: Its event loop, if it is a task.
        had: The threads to which its reply was handed.
        landed: When it ended, in seconds of `time.monotonic`.
        reply: The reply, once there is one.
        error: The error, if all who wait are to have it. Neither: the flight was given up.
    """

    __slots__ = ("_bells", "_flights", "error", "had", "key", "landed", "loop", "reply", "thread")

    def __init__(
        self, flights: _Flights, key: str, thread: int, loop: asyncio.AbstractEventLoop | None
    ) -> None:
        self.key = key
        self.thread = thread
        self.loop = loop
        self.had = {thread}
        self.landed: float | None = None
        self.reply: Reply | None = None
        self.error: Exception | None = None
        self._flights = flights
        self._bells: list[Bell] = []

    def await_with(self, bell: Bell) -> None:
        """Have a bell rung when the flight has landed."""
        self._bells.append(bell)
        if self.landed:
            bell.ring()

    def turned(self) -> threading.Event | None:
        """What will be set when the event loop of the one who leads turns; None without a loop."""
        if self.loop is None:
            return None
        event = threading.Event()
        with suppress(RuntimeError):  # the loop has ended: it will never turn
            self.loop.call_soon_threadsafe(event.set)
        return event

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not _is_own_deadline(error):
            self.error = _another(error)  # without its frames, which hold this flight
        self._flights.land(self)
        for bell in self._bells:
            bell.ring()


class _Flights:
    """The flights of a model that are under way, and those whose replies linger."""

    def __init__(self, linger: float) -> None:
        self._linger = linger
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, _Flight] = {}
        self._old: deque[_Flight] = deque()
        self._pid = os.getpid()

    def board(
        self, key: str, loop: asyncio.AbstractEventLoop | None = None
    ) -> tuple[_Flight, bool]:
        """The flight for a key, and whether it is a new one that the caller leads."""
        if os.getpid() != self._pid:  # forked: those who led are threads of the parent
            self._reset()
        thread = threading.get_ident()
        with self._lock:
            self._forget()
            flight = self._open.get(key)
            # whoever has had a reply and asks again wants another: it may not have been sound
            if flight and not (flight.landed and thread in flight.had):
                flight.had.add(thread)
                return flight, False
            flight = self._open[key] = _Flight(self, key, thread, loop)
            return flight, True

    def land(self, flight: _Flight) -> None:
        """Note that a flight has ended."""
        with self._lock:
            flight.landed = time.monotonic()
            if flight.reply is not None and self._linger:
                self._old.append(flight)
            else:
                self._remove(flight)

    def give_up(self, flight: _Flight) -> None:
        """Let nobody follow a flight any more: the next one for its key is a new one."""
        with self._lock:
            self._remove(flight)

    def _forget(self) -> None:
        while self._old and (self._old[0].landed or 0) + self._linger < time.monotonic():
            self._remove(self._old.popleft())

    def _remove(self, flight: _Flight) -> None:
        if self._open.get(flight.key) is flight:
            del self._open[flight.key]


def _is_own_deadline(error: Exception) -> bool:
    """Whether time ran out under a deadline of the caller's, which others need not have."""
    return isinstance(error, ModelTimeout) and left(math.inf) < math.inf


def _own(reply: Reply) -> Reply:
    """A reply for those who follow: what the leader does to its own is not theirs."""
    return replace(reply, details=own_details(reply.details)) if reply.details else reply


def _another(error: Exception) -> Exception:
    """A copy of an error: raised in several threads, one would collect the frames of them all."""
    try:
        twin = copy.copy(error)
    except TypeError:  # its class takes other arguments than it keeps
        return error
    return not_sent(twin) if isinstance(twin, ModelError | BudgetExceeded) else twin
