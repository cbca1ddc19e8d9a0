"""The slots of one item as they settle: the driver of a conversation whose replies are streamed."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, closing
from contextvars import copy_context
from typing import TYPE_CHECKING

from mtiprompt.drivers import keep, paid
from mtiprompt.errors import BudgetExceeded, ModelError, ModelUnavailable, MTIError
from mtiprompt.models.watch import usage_so_far
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
    closed in the reply, before the reply has ended; what had to be asked again, once it is mended;
    a failure once nothing mends it any more, whatever other calls still bring. If the whole reply
    says otherwise than its beginning did, the task comes once more, and the later pair holds.
    `result` is there after the last pair. To leave early, leave the loop.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._result: Result | None = None
        self._begun = False

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
        inbox = _Inbox()
        heard: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        stopped = threading.Event()

        def start(ask: Ask) -> None:
            context = copy_context()
            threading.Thread(
                target=lambda: context.run(_pump, ask, heard.put, stopped),
                daemon=True,
                name="mtiprompt-stream",
            ).start()

        step = self._begin()
        try:
            while True:
                yield from self._follow(step, start)
                if step.results is not None:
                    return
                if inbox.is_empty:
                    inbox.add(heard.get())
                while not heard.empty():
                    inbox.add(heard.get())
                step = self._conversation.send(inbox.next())
        finally:
            stopped.set()

    async def __aiter__(self) -> AsyncGenerator[Settled, None]:
        """The slots, in the order in which they settle."""
        import asyncio

        inbox = _Inbox()
        heard: asyncio.Queue[Heard] = asyncio.Queue()
        tasks: set[asyncio.Task[None]] = set()

        def start(ask: Ask) -> None:
            tasks.add(asyncio.create_task(_apump(ask, heard)))

        step = self._begin()
        try:
            while True:
                for settled in self._follow(step, start):
                    yield settled
                if step.results is not None:
                    return
                if inbox.is_empty:
                    inbox.add(await heard.get())
                while not heard.empty():
                    inbox.add(heard.get_nowait())
                step = self._conversation.send(inbox.next())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self) -> Step:
        if self._begun:
            raise MTIError("a stream can be read once", hint="call program.stream(...) again")
        self._begun = True
        return next(self._conversation)

    def _follow(self, step: Step, start: Callable[[Ask], None]) -> Iterator[Settled]:
        keep(step)
        for ask in step.start:
            start(ask)
        if step.results is not None:
            [result] = step.results
            self._result = paid(result)
        for (_, task), slot in step.settled:
            yield task, slot


def _pump(ask: Ask, put: Callable[[Heard], None], stopped: threading.Event) -> None:
    """Hand over a reply as it comes."""
    told = _Told(ask)
    try:
        with closing(ask.model.stream(ask.request)) as pieces:
            for piece in pieces:
                if stopped.is_set():
                    return
                if heard := told.of(piece):
                    put(heard)
        put(told.end())
    except BaseException as error:  # noqa: BLE001  raised where the slots are read
        put(told.broken(error))


async def _apump(ask: Ask, heard: asyncio.Queue[Heard]) -> None:
    told = _Told(ask)
    try:
        async with aclosing(ask.model.astream(ask.request)) as pieces:
            async for piece in pieces:
                if one := told.of(piece):
                    heard.put_nowait(one)
        heard.put_nowait(told.end())
    except BaseException as error:  # noqa: BLE001  raised where the slots are read
        heard.put_nowait(told.broken(error))


class _Told:
    """What has come of one reply."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._text = ""
        self._began = time.monotonic()
        self._reply: Reply | None = None

    def of(self, piece: str | Reply) -> Partly | None:
        """The reply as far as it has come, if a value may have closed in this piece."""
        if isinstance(piece, Reply):
            self._reply = piece
            return None
        self._text += piece
        return Partly(self._ask, self._text) if _CLOSERS & set(piece) else None

    def end(self) -> Finished:
        """The whole reply; what there is of it if the stream ended without one."""
        error = ModelUnavailable(f"{self._ask.model.name}: the stream ended without a reply")
        return Finished(self._ask, self._reply or self._cut_off(error) or error)

    def broken(self, error: BaseException) -> Heard:
        """What becomes of a stream that broke off: what had come, else the error."""
        if not isinstance(error, ModelError | BudgetExceeded):
            return error
        return Finished(self._ask, self._cut_off(error) or error)

    def _cut_off(self, error: ModelError | BudgetExceeded) -> Reply | None:
        if not self._text:
            return None
        seconds = time.monotonic() - self._began
        about = usage_so_far(self._ask.request, len(self._text), seconds)
        return Reply(self._text, "length", about if error.usage is None else error.usage)


class _Inbox:
    """What has come and was not looked at yet; of a reply that is ahead, its newest state alone."""

    def __init__(self) -> None:
        self._waiting: dict[int, Heard] = {}

    @property
    def is_empty(self) -> bool:
        """Whether all of it was looked at."""
        return not self._waiting

    def add(self, heard: Heard) -> None:
        """Put something in, in place of what it makes old."""
        ask = id(heard if isinstance(heard, BaseException) else heard.ask)
        self._waiting[ask] = heard

    def next(self) -> Finished | Partly:
        """Take out what came first, or raise it if it is an error."""
        heard = self._waiting.pop(next(iter(self._waiting)))
        if isinstance(heard, BaseException):
            raise heard
        return heard
