"""The time that calls take in a measurement: from when the models are ready."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
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
    order. So they are laid out as the arm makes its calls: as many at the same time as are in
    flight, each after those whose answers it takes, wave by wave in the order of the program. What
    they come to is the same each time.

    Args:
        program: Whose tasks are asked.
    """

    def __init__(self, program: Combined) -> None:
        self._program = program
        self._free = [0.0]
        self._serial = True

    def begin(self, flight: int, *, serial: bool) -> None:
        """Begin with more items, when all before them are done.

        Args:
            flight: Calls at the same time.
            serial: Whether each item, too, begins when those before it are done.
        """
        self._free = [max(self._free)] * flight
        self._serial = serial

    def placed(self, part: Sequence[Outcome]) -> Iterator[Outcome]:
        """The outcomes of items that share their calls; such calls begin in seconds from 0.

        Args:
            part: The outcomes.
        """
        told: dict[int, tuple[Reply, _Called]] = {}
        for item, one in enumerate(part):
            for call in one.calls:
                if call.reply is not None and call.reply.details.get("told"):
                    _, called = told.setdefault(id(call.reply), (call.reply, _Called(call.tasks)))
                    called.items.append(item)
        begins = self._begins(sorted(told.values(), key=lambda one: one[0].details["began"]))
        for one in part:
            yield replace(one, calls=tuple(_moved(call, begins) for call in one.calls))

    def _begins(self, told: Iterable[tuple[Reply, _Called]]) -> dict[int, float]:
        """When each call begins, by the identity of its reply."""
        waves: dict[tuple[int, str], int] = {}
        ranked = []
        for reply, called in told:  # none stands before one that it needs
            called.wave = 1 + max(waves.get(one, 0) for one in called.needs(self._program))
            waves |= dict.fromkeys(called.slots, called.wave)
            ranked.append((reply, called))
        ranked.sort(key=lambda one: (one[1].wave, self._program.order.index(one[1].tasks[0])))
        start = max(self._free) if self._serial else min(self._free)
        ended: dict[tuple[int, str], float] = {}
        begins = {}
        for reply, called in ranked:
            ready = max(ended.get(one, start) for one in called.needs(self._program))
            free = max((one for one in self._free if one <= ready), default=min(self._free))
            begins[id(reply)] = began = max(ready, free)
            end = began + reply.details["seconds"]
            self._free[self._free.index(free)] = end
            ended |= dict.fromkeys(called.slots, end)
        return begins


@dataclass
class _Called:
    """What a call was about: tasks, and items by number; and its wave, counted from 1."""

    tasks: tuple[str, ...]
    items: list[int] = field(default_factory=list)
    wave: int = 0

    @property
    def slots(self) -> list[tuple[int, str]]:
        return list(product(self.items, self.tasks))

    def needs(self, program: Combined) -> Iterator[tuple[int, str]]:
        """The slots that were asked for before: those it takes, and its own, if it asks again."""
        taken = [one for task in self.tasks for one in program.upstream(task)]
        return product(self.items, (*self.tasks, *taken))


def _moved(call: Call, begins: Mapping[int, float]) -> Call:
    if call.reply is None or id(call.reply) not in begins:
        return call
    details = {**call.reply.details, "began": begins[id(call.reply)]}
    return replace(call, reply=replace(call.reply, details=details))


def _warm_up(model: LanguageModel) -> None:
    if isinstance(model, Model):
        with suppress(MTIError):  # its call will say what is wrong
            model.warm()
    if isinstance(model, Wrapper):
        for one in asked_by(model):
            _warm_up(one)
