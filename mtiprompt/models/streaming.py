"""Streams that end by a deadline: items of an async iterator, handed over to whoever waits.

As in `deadline.py`, the waiting itself is bounded. The iterator runs on the background loop for
sync callers too: a thread that waits at a socket can be left but not stopped, while a task on the
loop is cancelled, which closes its connection at once.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, suppress
from typing import TypeVar

from mtiprompt.models.deadline import background_loop

T = TypeVar("T")

Make = Callable[[], AsyncGenerator[T, None]]
_Came = tuple[T] | Exception | None
"""An item, what the iterator raised, or its end."""


def stream_within(make: Make[T], timeout: float) -> Generator[T, None, None]:
    """The items of an async iterator, as long as they come in time.

    Closing the generator cancels the iterator. Nothing that comes after the deadline is given, but
    what came before it is, however late it is asked for.

    Args:
        make: Makes the iterator, which runs on the background loop in a copy of the caller's
            context.
        timeout: Seconds for all items together, counted from the first one asked for.

    Raises:
        TimeoutError: It did not end in time.
    """
    import asyncio

    end = time.monotonic() + timeout
    inbox: queue.SimpleQueue[_Came[T]] = queue.SimpleQueue()
    loop = background_loop()  # before there is a coroutine that nobody would await
    running = asyncio.run_coroutine_threadsafe(_pump(make, inbox.put, timeout), loop)
    came: _Came[T] = None
    try:
        while (came := _taken(inbox, end)) is not None:
            if isinstance(came, Exception):
                raise came
            yield came[0]
    finally:
        running.cancel()
        came = None  # else error and frame would keep each other alive


async def astream_within(
    make: Make[T],
    timeout: float,  # noqa: ASYNC109  the iterator runs on another loop than the caller
) -> AsyncGenerator[T, None]:
    """As `stream_within`, without blocking the caller's event loop."""
    import asyncio

    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    inbox: asyncio.Queue[_Came[T]] = asyncio.Queue()

    def put(one: _Came[T]) -> None:
        with suppress(RuntimeError):  # the caller's loop has ended meanwhile
            loop.call_soon_threadsafe(inbox.put_nowait, one)

    background = background_loop()
    running = asyncio.run_coroutine_threadsafe(_pump(make, put, timeout), background)
    came: _Came[T] = None
    try:
        while True:
            async with asyncio.timeout_at(end):
                came = await inbox.get()
            if came is None:
                return
            if isinstance(came, Exception):
                raise came
            yield came[0]
    finally:
        running.cancel()
        came = None


async def _pump(make: Make[T], put: Callable[[_Came[T]], None], timeout: float) -> None:  # noqa: ASYNC109
    import asyncio

    try:
        # the one who waits has a deadline of its own: this one waits for what it has cancelled
        async with asyncio.timeout(timeout), aclosing(make()) as items:
            async for item in items:
                put((item,))
        put(None)
    except Exception as error:  # noqa: BLE001  raised again where the items are read
        put(error)


def _taken(inbox: queue.SimpleQueue[_Came[T]], end: float) -> _Came[T]:
    left = min(max(0.0, end - time.monotonic()), threading.TIMEOUT_MAX)
    try:
        return inbox.get(timeout=left)
    except queue.Empty:
        raise TimeoutError from None
