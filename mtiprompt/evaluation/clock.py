"""The time that calls take in a measurement: from when the models are ready."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count, product
from os import PathLike

from mtiprompt.combine import Combined
from mtiprompt.errors import MTIError
from mtiprompt.evaluation.outcome import Outcome
from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.models.fallback import asked_by
from mtiprompt.models.model import Model
from mtiprompt.models.resume import ResumedModel
from mtiprompt.result import Call
from mtiprompt.wire import Reply, Request


class Clock:
    """What all arms of a measurement are timed by.

    Before the first call goes out, every model is warmed up, so that no arm pays for what the
    others find loaded. Where all replies are on record, nothing is loaded.

    Attributes:
        ahead: Seconds that replies said they took and did not: those of a replayed or made-up
            model.
    """

    def __init__(self) -> None:
        self.ahead = 0.0
        self._cold: list[LanguageModel] = []
        self._lock = threading.Lock()

    def add(self, model: LanguageModel) -> None:
        """Have a model warmed up with the others.

        Args:
            model: The model. Each `Model` in it is warmed up, also one that only stands in for
                another; anything else is left alone.
        """
        self._cold.append(model)

    def wait(self) -> None:
        """Return once all models are warm: the first call warms them up, others wait for it."""
        with self._lock:
            while self._cold:
                _warm_up(self._cold.pop())

    def put_ahead(self, seconds: float) -> None:
        """Have calls that begin from now on begin so many seconds later, or more."""
        with self._lock:
            self.ahead = max(self.ahead, seconds)


class TimedModel(Wrapper):
    """A model whose replies say when their calls began and what they took, as those on record do.

    A reply whose usage has more seconds than went by was replayed or made up; it is taken at its
    word, and follows what was told before it; of calls at the same time, see `Told`. Only
    `complete` is timed: a measurement asks from threads.

    Args:
        inner: Whom to ask.
        clock: By which it is timed.
    """

    def __init__(self, inner: LanguageModel, clock: Clock) -> None:
        super().__init__(inner)
        self._clock = clock

    def complete(self, request: Request) -> Reply:
        """Ask, with `details["began"]`, `details["seconds"]` and whether these are only told."""
        self._clock.wait()
        ahead = self._clock.ahead
        began, start = time.time(), time.monotonic()
        reply = self.inner.complete(request)
        passed = time.monotonic() - start
        seconds = max(passed, reply.usage.seconds)
        self._clock.put_ahead(ahead + seconds - passed)
        times = {"began": began + ahead, "seconds": seconds, "told": seconds > passed}
        return replace(reply, details={**reply.details, **times})


class RecordedModel(ResumedModel):
    """A model on record, which times its calls itself.

    Args:
        inner: Whom to ask.
        path: The trace.
        clock: What waits until all models are warm before a call goes out.

    Raises:
        DataError: The trace cannot be read or written.
    """

    def __init__(self, inner: LanguageModel, path: str | PathLike[str], clock: Clock) -> None:
        super().__init__(inner, path)
        self._clock = clock

    def _take(self, request: Request) -> Reply | None:
        kept = super()._take(request)
        if kept is None:
            self._clock.wait()  # before the time of the call begins
        return kept


class Told:
    """When the calls of an arm begin whose replies only tell their seconds.

    A clock says nothing about replayed and made-up replies, and threads are done with them in any
    order. So they are laid out as the drivers make their calls: as many at the same time as are in
    flight, each after those whose answers it takes, first the one that is ready first. What they
    come to is the same each time.

    Args:
        program: Whose tasks are asked.
    """

    def __init__(self, program: Combined) -> None:
        self._program = program
        self._now = 0.0

    def placed(
        self, parts: Iterable[Sequence[Outcome]], *, flight: int, window: int
    ) -> Iterator[Outcome]:
        """The outcomes of more items, which begin when all before them are done, in their order.

        Args:
            parts: The outcomes, those of items that share their calls together; their calls begin
                in seconds from 0. They are read as far as the window reaches.
            flight: Calls at the same time.
            window: Parts open at the same time.
        """
        unread = iter(parts)
        talks: deque[_Talk] = deque()
        ready: deque[_Called] = deque()
        under_way: list[tuple[float, int, _Called]] = []
        number = count()
        while True:
            while talks and talks[0].is_done:
                yield from talks.popleft().outcomes()
            if sum(not one.is_done for one in talks) < window and (part := next(unread, None)):
                talks.append(talk := _Talk(part, self._program))
                ready += talk.ready()
                continue
            while ready and len(under_way) < flight:
                called = ready.popleft()
                called.began = self._now
                heappush(under_way, (self._now + called.seconds, next(number), called))
            if not under_way:
                return
            self._now, _, called = heappop(under_way)
            called.has_ended = True
            ready += called.talk.ready()


class _Talk:
    """What is told of the calls about items that share them."""

    def __init__(self, part: Sequence[Outcome], program: Combined) -> None:
        self._part = part
        told: dict[int, _Called] = {}
        for item, one in enumerate(part):
            for call in one.calls:
                if call.reply is not None and call.reply.details.get("told"):
                    called = told.setdefault(id(call.reply), _Called(self, call.tasks, call.reply))
                    called.items.append(item)
        self._called = told
        # none stands before one that it needs
        in_time = sorted(told.values(), key=lambda one: one.reply.details["began"])
        for place, called in enumerate(in_time):
            needs = set(called.needs(program))
            called.after = [one for one in in_time[:place] if not needs.isdisjoint(one.slots)]
        self._waiting = sorted(in_time, key=lambda one: program.order.index(one.tasks[0]))

    @property
    def is_done(self) -> bool:
        """Whether all its calls have ended."""
        return all(one.has_ended for one in self._called.values())

    def ready(self) -> list[_Called]:
        """The calls that can begin now, in the order of the program; each is given once."""
        found = [one for one in self._waiting if all(other.has_ended for other in one.after)]
        self._waiting = [one for one in self._waiting if one not in found]
        return found

    def outcomes(self) -> Iterator[Outcome]:
        """The outcomes, with the times at which their calls began."""
        for one in self._part:
            yield replace(one, calls=tuple(map(self._moved, one.calls)))

    def _moved(self, call: Call) -> Call:
        if call.reply is None or id(call.reply) not in self._called:
            return call
        details = {**call.reply.details, "began": self._called[id(call.reply)].began}
        return replace(call, reply=replace(call.reply, details=details))


@dataclass(eq=False)
class _Called:
    """What a call was about: tasks, and items by number; and the calls that it waits for."""

    talk: _Talk
    tasks: tuple[str, ...]
    reply: Reply
    items: list[int] = field(default_factory=list)
    after: list[_Called] = field(default_factory=list)
    began: float = 0.0
    has_ended: bool = False

    @property
    def seconds(self) -> float:
        return float(self.reply.details["seconds"])

    @property
    def slots(self) -> Iterator[tuple[int, str]]:
        return product(self.items, self.tasks)

    def needs(self, program: Combined) -> Iterator[tuple[int, str]]:
        """The slots that were asked for before: those it takes, and its own, if it asks again."""
        taken = [one for task in self.tasks for one in program.upstream(task)]
        return product(self.items, (*self.tasks, *taken))


def _warm_up(model: LanguageModel) -> None:
    if isinstance(model, Model):
        with suppress(MTIError):  # its call will say what is wrong
            model.warm()
    if isinstance(model, Wrapper):
        for one in asked_by(model):
            _warm_up(one)
