"""The slots of one item as they settle: the driver of a conversation whose replies are streamed."""

from __future__ import annotations

import queue
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, closing
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from mtiprompt.drivers import keep
from mtiprompt.errors import BudgetExceeded, ModelError, ModelUnavailable, MTIError
from mtiprompt.steps import Ask, Conversation, Filled, Finished, Partly, Step
from mtiprompt.wire import Reply

if TYPE_CHECKING:
    import asyncio

    from mtiprompt.result import Result

Settled = tuple[str, Filled]
"""The name of a task and what its slot has become."""
Heard = Finished | Partly | BaseException

_CLOSERS = frozenset(',}]"\n')
"""A value closes with one of these; text without any need not be read yet."""


class SlotStream:
    """The slots of one item, each as soon as it is known, for `for` or `async for`.

    It gives pairs of a task's name and its `Answer` or `Failure`: an answer once its value has
    closed in the reply, before the reply has ended; then what had to be asked again; failures
    last. If the whole reply says otherwise than its beginning did, the task comes once more, and
    the later pair holds. `result` is there after the last pair. To leave early, leave the loop.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._result: Result | None = None

    @property
    def result(self) -> Result:
        """The whole result.

        Raises:
            MTIError: The stream is not at its end.
        """
        if self._result is None:
            raise MTIError("the stream is not at its end", hint="take all of its slots first")
        return self._result

    def __iter__(self) -> Iterator[Settled]:
        """The slots, in the order in which they settle."""
        heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        stopped = threading.Event()

        def start(ask: Ask) -> None:
            context = copy_context()
            threading.Thread(
                target=lambda: context.run(_pump, ask, heard.put, stopped),
                daemon=True,
                name="mtiprompt-stream",
            ).start()

        step = next(self._conversation)
        try:
            while True:
                yield from self._follow(step, start)
                if step.results is not None:
                    return
                step = self._conversation.send(_latest(heard))
        finally:
            stopped.set()

    async def __aiter__(self) -> AsyncGenerator[Settled, None]:
        """The slots, in the order in which they settle."""
        import asyncio

        heard: asyncio.Queue[Heard] = asyncio.Queue()
        tasks: set[asyncio.Task[None]] = set()

        def start(ask: Ask) -> None:
            tasks.add(asyncio.create_task(_apump(ask, heard)))

        step = next(self._conversation)
        try:
            while True:
                for settled in self._follow(step, start):
                    yield settled
                if step.results is not None:
                    return
                step = self._conversation.send(_sound(await heard.get()))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _follow(self, step: Step, start: Callable[[Ask], None]) -> Iterator[Settled]:
        keep(step)
        for ask in step.start:
            start(ask)
        if step.results is not None:
            [self._result] = step.results
        for (_, task), slot in step.settled:
            yield task, slot


def _pump(ask: Ask, put: Callable[[Heard], None], stopped: threading.Event) -> None:
    """Hand over a reply as it comes."""
    try:
        with closing(ask.model.stream(ask.request)) as pieces:
            told = _Told(ask)
            for piece in pieces:
                if stopped.is_set():
                    return
                if heard := told.of(piece):
                    put(heard)
        put(told.end())
    except (ModelError, BudgetExceeded) as error:
        put(Finished(ask, error))
    except BaseException as error:  # noqa: BLE001  raised where the slots are read
        put(error)


async def _apump(ask: Ask, heard: asyncio.Queue[Heard]) -> None:
    try:
        async with aclosing(ask.model.astream(ask.request)) as pieces:
            told = _Told(ask)
            async for piece in pieces:
                if one := told.of(piece):
                    heard.put_nowait(one)
        heard.put_nowait(told.end())
    except (ModelError, BudgetExceeded) as error:
        heard.put_nowait(Finished(ask, error))
    except Exception as error:  # noqa: BLE001  raised where the slots are read
        heard.put_nowait(error)


class _Told:
    """What has come of one reply."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._text = ""
        self._reply: Reply | None = None

    def of(self, piece: str | Reply) -> Partly | None:
        """The reply as far as it has come, if a value may have closed in this piece."""
        if isinstance(piece, Reply):
            self._reply = piece
            return None
        self._text += piece
        return Partly(self._ask, self._text) if _CLOSERS & set(piece) else None

    def end(self) -> Finished:
        """The whole reply."""
        if self._reply is None:
            error = ModelUnavailable(f"{self._ask.model.name}: the stream ended without a reply")
            return Finished(self._ask, error)
        return Finished(self._ask, self._reply)


def _latest(heard: queue.SimpleQueue[Heard]) -> Finished | Partly:
    """The next that has come."""
    return _sound(heard.get())


def _sound(heard: Any) -> Finished | Partly:
    if isinstance(heard, BaseException):
        raise heard
    known: Finished | Partly = heard
    return known
