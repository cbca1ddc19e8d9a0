"""The time that calls take in a measurement: from when the models are ready."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace
from os import PathLike

from mtiprompt.errors import MTIError
from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.models.model import Model
from mtiprompt.models.resume import ResumedModel
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
            model: The model. One that is no `Model`, nor a wrapper around one, is left alone.
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
    word. Only `complete` is timed: a measurement asks from threads.

    Args:
        inner: Whom to ask.
        clock: By which it is timed.
    """

    def __init__(self, inner: LanguageModel, clock: Clock) -> None:
        super().__init__(inner)
        self._clock = clock

    def complete(self, request: Request) -> Reply:
        """Ask, with `details["began"]` and `details["seconds"]`."""
        self._clock.wait()
        ahead = self._clock.ahead
        began, start = time.time(), time.monotonic()
        reply = self.inner.complete(request)
        passed = time.monotonic() - start
        seconds = max(passed, reply.usage.seconds)
        self._clock.put_ahead(ahead + seconds - passed)
        times = {"began": began + ahead, "seconds": seconds}
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


def _warm_up(model: LanguageModel) -> None:
    while isinstance(model, Wrapper) and not isinstance(model, Model):
        model = model.inner
    if isinstance(model, Model):
        with suppress(MTIError):  # its call will say what is wrong
            model.warm()
