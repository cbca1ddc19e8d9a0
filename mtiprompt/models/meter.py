"""The meter: what the calls of a model cost in all, and for each purpose."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from operator import add
from typing import TypeVar

from mtiprompt.errors import BudgetExceeded, ModelError
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.watch import Watch, WatchedModel, is_given_up
from mtiprompt.wire import Reply, Request, Usage

Unsent = TypeVar("Unsent", bound=BaseException)


def usage_of(error: BaseException) -> Usage:
    """What a call that failed cost: what its error says, else one call unless it was refused."""
    usage: Usage | None = getattr(error, "usage", None)
    if usage is None:
        return Usage(calls=int(not isinstance(error, BudgetExceeded)))
    return usage


def not_sent(error: Unsent) -> Unsent:
    """The same error, marked as that of a call that was not sent and so cost nothing."""
    vars(error)["usage"] = Usage()  # what cancels a task has no such attribute of its own
    return error


@contextmanager
def unsent() -> Iterator[None]:
    """A context for what is done before a call is sent: whatever ends it cost nothing."""
    try:
        yield
    except BaseException as error:
        not_sent(error)
        raise


class Meter:
    """Adds up what calls cost; one may be shared by models and threads.

    Example:
        >>> from mtiprompt import Usage
        >>> from mtiprompt.models.meter import Meter
        >>> meter = Meter()
        >>> meter.add("answer", Usage(calls=1, prompt_tokens=90))
        >>> meter.add("repair", Usage(calls=1, prompt_tokens=10))
        >>> meter.usage.prompt_tokens, meter.usage.of("repair").prompt_tokens
        (100, 10)
    """

    def __init__(self) -> None:
        self._sums: dict[str, _Sum] = {}
        self._lock = threading.Lock()

    @property
    def usage(self) -> Usage:
        """All that was added since the last reset, apart for each purpose in `by_purpose`."""
        with self._lock:
            parts = [(purpose, one.usage()) for purpose, one in self._sums.items()]
        return reduce(add, (part.labelled(purpose) for purpose, part in parts), Usage())

    def add(self, purpose: str, usage: Usage) -> None:
        """Add what a call for a purpose cost."""
        with self._lock:
            one = self._sums.get(purpose)
            if one is None:
                one = self._sums[purpose] = _Sum()
            one.add(usage)

    def reset(self) -> None:
        """Begin again at nothing."""
        with self._lock:
            self._sums.clear()


class _Sum:
    """A `Usage` that grows: making a new one for each call would take several microseconds."""

    __slots__ = ("cached", "calls", "cost", "hits", "read", "seconds", "wrote")

    def __init__(self) -> None:
        self.calls = self.hits = self.read = self.cached = self.wrote = 0
        self.cost: float | None = 0.0
        self.seconds = 0.0

    def add(self, usage: Usage) -> None:
        self.hits += usage.hits
        self.seconds += usage.seconds
        if usage.calls or not usage.hits:
            self.calls += usage.calls
            self.read += usage.prompt_tokens
            self.cached += usage.cached_tokens
            self.wrote += usage.completion_tokens
            if self.cost is not None:
                self.cost = None if usage.cost is None else self.cost + usage.cost

    def usage(self) -> Usage:
        return Usage(
            calls=self.calls,
            hits=self.hits,
            prompt_tokens=self.read,
            cached_tokens=self.cached,
            completion_tokens=self.wrote,
            cost=self.cost,
            seconds=self.seconds,
        )


class MeteredModel(WatchedModel):
    """A model whose calls are added up by purpose, those answered from a cache included.

    It belongs outside of all other wrappers. A call that failed counts with what its error says of
    its cost, else as one call; a call that was cancelled, as one call; a stream that its reader
    closed, with an estimate of its tokens and no known price.

    Example:
        >>> import mtiprompt as mti
        >>> from mtiprompt.models.meter import MeteredModel
        >>> model = MeteredModel(mti.ScriptedModel(["Good day."]))
        >>> reply = model.complete(mti.Request((mti.Message("user", "Hello"),), purpose="greet"))
        >>> model.usage.calls, model.usage.of("greet").completion_tokens
        (1, 3)
        >>> model.meter.reset()
        >>> model.usage.calls
        0

    Args:
        inner: Whom to ask.
        meter: Where to add up; a new one by default.

    Attributes:
        meter: Where the calls are added up.
    """

    def __init__(self, inner: LanguageModel, meter: Meter | None = None) -> None:
        super().__init__(inner)
        self.meter = meter or Meter()

    @property
    def usage(self) -> Usage:
        """What all calls cost since the meter was reset, apart for each purpose in `by_purpose`."""
        return self.meter.usage

    def watch(self, request: Request, *, streamed: bool = False) -> Watch:
        """Begin to watch a call."""
        return _Reading(request, self.meter, streamed=streamed)

    def complete(self, request: Request) -> Reply:
        """Ask the inner model; written out, since the watch would cost more than the cache."""
        try:
            reply = self.inner.complete(request)
        except (ModelError, BudgetExceeded) as error:
            self.meter.add(request.purpose, usage_of(error))
            raise
        self.meter.add(request.purpose, reply.usage)
        return reply

    async def acomplete(self, request: Request) -> Reply:
        """Ask the inner model."""
        try:
            reply = await self.inner.acomplete(request)
        except BaseException as error:
            if isinstance(error, ModelError | BudgetExceeded):
                self.meter.add(request.purpose, usage_of(error))
            elif is_given_up(error):
                self.meter.add(request.purpose, Usage(calls=1))
            raise
        self.meter.add(request.purpose, reply.usage)
        return reply


class _Reading(Watch):
    """A stream that is being metered."""

    def __init__(self, request: Request, meter: Meter, *, streamed: bool) -> None:
        super().__init__(request, streamed=streamed)
        self._meter = meter

    def ended(self, outcome: Reply | BaseException) -> None:
        if isinstance(outcome, Reply):
            self._meter.add(self.request.purpose, outcome.usage)
        elif isinstance(outcome, ModelError | BudgetExceeded):
            self._meter.add(self.request.purpose, usage_of(outcome))
        elif is_given_up(outcome):
            self._meter.add(self.request.purpose, self.so_far)
