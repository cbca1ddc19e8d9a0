"""Calls that end by a deadline, whatever the code inside them does.

A library's own time-out is often one per read, so a server that sends a byte now and then defeats
it. Here the waiting itself is bounded: a sync call runs in a worker thread and an async call on one
background loop, and the caller stops waiting when the time is up.

The background loop lives as long as the process. That is what lets async calls survive repeated
`asyncio.run`: a client library keeps its connections on the loop that it first saw, and leaks them
when that loop ends.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from mtiprompt.errors import ModelMisconfigured, ModelUnavailable

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

T = TypeVar("T")

IDLE_WORKERS = 64
"""Worker threads that wait for the next call; those above end after their call."""

LOOPS = 8
"""Worker threads that have an event loop, at most; each loop takes three open files."""

PARKING = 2.0
"""Seconds that the end of the program waits for the background loop to stand still."""

_END: ContextVar[float | None] = ContextVar("mtiprompt_end", default=None)


@contextmanager
def until(end: float) -> Iterator[None]:
    """Calls inside the `with` block end by a moment of `time.monotonic`, if not before."""
    outer = _END.get()
    token = _END.set(end if outer is None else min(end, outer))
    try:
        yield
    finally:
        _END.reset(token)


def left(timeout: float) -> float:
    """Seconds that a call with this time-out may take here; not below zero."""
    end = _END.get()
    return timeout if end is None else max(0.0, min(timeout, end - time.monotonic()))


# --- sync ------------------------------------------------------------------------------------


class _Job:
    """A function to run, and what became of it."""

    __slots__ = ("_done", "_error", "_function", "_value")

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._value: Any = None
        self._error: BaseException | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def run(self) -> None:
        """Run the function; what it raises is kept for the one who waits."""
        try:
            self._value = self._function()
        except BaseException as error:  # noqa: BLE001  raised again in the caller's thread
            self._error = error

    def finish(self) -> None:
        """Wake the one who waits."""
        self._done.release()

    def wait(self, timeout: float) -> Any:
        """What the function returned or raised, or `TimeoutError`."""
        if not self._done.acquire(timeout=min(timeout, threading.TIMEOUT_MAX)):
            raise TimeoutError
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # else error and frame would keep each other alive
        return self._value


class _Workers:
    """Daemon threads: neither an interrupt nor the end of the program waits for their calls."""

    def __init__(self) -> None:
        self._idle: list[queue.SimpleQueue[_Job]] = []
        self._running: set[_Job] = set()
        self._loops: dict[int, asyncio.AbstractEventLoop] = {}  # by the number of the thread
        self._lock = threading.Lock()

    def have_loop(self) -> None:
        """Give this worker thread an event loop, which ends with it, if there is room."""
        here = threading.get_ident()
        if here in self._loops or len(self._loops) >= LOOPS:
            return
        import asyncio

        with self._lock:
            if len(self._loops) < LOOPS:
                self._loops[here] = asyncio.new_event_loop()
                asyncio.set_event_loop(self._loops[here])

    def close_loops(self) -> None:
        """Close the loops of all workers, for the end of the program."""
        for loop in list(self._loops.values()):
            with suppress(RuntimeError):  # it is just turning
                loop.close()

    def hold(self) -> None:
        """Let no thread import any more, if one still runs: killed, it could hold the import lock.

        For the main thread at the end of the program: its destructors may import something, and
        would wait for that lock for ever.
        """
        if self._running:
            import _imp

            _imp.acquire_lock()  # and never let go: the thread that has it may take it again

    def start(self, job: _Job) -> None:
        """Run a job in a thread that is idle, or in a new one."""
        self._running.add(job)
        try:
            inbox = self._idle.pop()
        except IndexError:
            inbox = queue.SimpleQueue()
            threading.Thread(
                target=self._work, args=(inbox,), daemon=True, name="mtiprompt-worker"
            ).start()
        inbox.put(job)

    def _work(self, inbox: queue.SimpleQueue[_Job]) -> None:
        wanted = True
        while wanted:
            job = inbox.get()
            job.run()
            self._running.discard(job)
            wanted = len(self._idle) < IDLE_WORKERS
            if wanted:
                self._idle.append(inbox)  # before the caller wakes, whose next call it can take
            job.finish()
            del job
        if loop := self._loops.pop(threading.get_ident(), None):
            loop.close()


def run_within(function: Callable[[], T], timeout: float) -> T:
    """What a function returns, if it does so in time.

    It goes on in its thread when the time is up, so it should have a time-out of its own as well.
    An interrupt from the keyboard comes through at once.

    Args:
        function: Runs in another thread, in a copy of the caller's context.
        timeout: Seconds.

    Raises:
        TimeoutError: It did not return in time.
    """
    job = _Job(partial(copy_context().run, function))
    _process().workers.start(job)
    value: T = job.wait(timeout)
    return value


def beside_loop(function: Callable[[], T]) -> T:
    """What a function returns that is run by a worker, which gets an event loop if it can have one.

    For a library that asks for the loop of its thread in each sync call, and where there is none
    makes one and closes it again, as litellm does to tell its monitors of the call.
    """
    _process().workers.have_loop()
    return function()


def run_aside(function: Callable[[], None]) -> None:
    """Run a function in a thread that nobody waits for, not even the end of the program.

    Args:
        function: Runs in a copy of the caller's context. What it raises is lost.
    """
    _process().workers.start(_Job(partial(copy_context().run, function)))


# --- async -----------------------------------------------------------------------------------


def background_loop() -> asyncio.AbstractEventLoop:
    """The event loop that runs in a thread of its own as long as the process.

    Raises:
        ModelUnavailable: The program is ending, and the loop stands still.
    """
    return _process().loop()


async def arun_within(
    make: Callable[[], Coroutine[Any, Any, T]],
    timeout: float,  # noqa: ASYNC109  asyncio.timeout waits for what it has cancelled
) -> T:
    """What a coroutine returns, if it does so in time; it is cancelled otherwise.

    Args:
        make: Makes the coroutine, which runs on the background loop.
        timeout: Seconds.

    Raises:
        TimeoutError: It did not return in time.
    """
    import asyncio

    loop = background_loop()
    running: asyncio.Future[_Outcome]
    if asyncio.get_running_loop() is loop:
        running = asyncio.ensure_future(_outcome(make))
    else:
        running = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_outcome(make), loop))
    try:
        # not wait_for: it waits for the cancelled coroutine, which may take its time
        await asyncio.wait({running}, timeout=timeout)
        if not running.done():
            raise TimeoutError
        value, error = running.result()
    finally:
        running.cancel()
    if error is not None:
        raise error
    result: T = value
    return result


def loop_within(make: Callable[[], Coroutine[Any, Any, T]], timeout: float) -> T:
    """What a coroutine returns, if it does so in time, for a caller without a loop.

    Args:
        make: Makes the coroutine, which runs on the background loop; it is cancelled when late.
        timeout: Seconds.

    Raises:
        ModelMisconfigured: The caller is itself a coroutine on that loop.
        TimeoutError: It did not return in time.
    """
    import asyncio

    loop = background_loop()
    if asyncio._get_running_loop() is loop:
        raise ModelMisconfigured(
            "a sync call inside an async one would wait for itself", hint="use acomplete or acall"
        )
    running = asyncio.run_coroutine_threadsafe(_outcome(make), loop)
    try:
        value, error = running.result(min(timeout, threading.TIMEOUT_MAX))
    finally:
        running.cancel()
    if error is not None:
        raise error
    result: T = value
    return result


_Outcome = tuple[Any, Exception | None]


async def _outcome(make: Callable[[], Coroutine[Any, Any, Any]]) -> _Outcome:
    """Errors travel as values: nobody is left to read that of a coroutine given up."""
    try:
        return await make(), None
    except Exception as error:  # noqa: BLE001  raised again in the caller's loop
        return None, error


class _Process:
    """The threads of one process; a forked child has none of its parent's."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.workers = _Workers()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._ended = False

    def loop(self) -> asyncio.AbstractEventLoop:
        """The background loop, started when first asked for."""
        from concurrent.futures import Future  # late, as asyncio: they slow the import down

        if self._ended:
            raise ModelUnavailable(
                "the program is ending: no model can be asked any more",
                hint="register a function for atexit that asks one after the first call of a model",
            )
        if self._loop is None:
            with self._lock:
                if self._loop is None:
                    started: Future[asyncio.AbstractEventLoop] = Future()
                    threading.Thread(
                        target=self._turn, args=(started,), daemon=True, name="mtiprompt-loop"
                    ).start()
                    self._loop = started.result()
        return self._loop

    def _turn(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        import asyncio

        loop = asyncio.new_event_loop()
        loop.getaddrinfo = self._resolved  # type: ignore[method-assign]
        asyncio.set_event_loop(loop)
        loop.call_soon(started.set_result, loop)
        loop.run_forever()

    async def _resolved(self, *args: Any, **options: Any) -> Any:
        """The addresses of a host; the loop's own threads would hold up the end of the program."""
        import asyncio
        import socket
        from concurrent.futures import Future

        found: Future[Any] = Future()
        found.set_running_or_notify_cancel()  # it ends even if nobody waits any more

        def resolve() -> None:
            try:
                found.set_result(socket.getaddrinfo(*args, **options))
            except Exception as error:  # noqa: BLE001  raised again in the loop
                found.set_exception(error)

        self.workers.start(_Job(resolve))
        return await asyncio.wrap_future(found)

    def end(self) -> None:
        """Let all threads stand still: killed while they import, they would leave the lock taken.

        Destructors that import something then wait for that lock for ever. A loop that is stopped
        instead would complain of what it has not done.
        """
        self._ended = True
        self._park()
        self.workers.close_loops()
        self.workers.hold()

    def _park(self) -> None:
        if self._loop is None:
            return
        parked = threading.Event()

        def park() -> None:
            parked.set()
            threading.Event().wait()

        self._loop.call_soon_threadsafe(park)
        parked.wait(PARKING)


_NOW: list[_Process] = []
_LOCK = threading.Lock()


def _process() -> _Process:
    here = os.getpid()
    if not _NOW or _NOW[0].pid != here:
        with _LOCK:
            if not _NOW or _NOW[0].pid != here:
                _NOW.insert(0, _Process())  # a loop of the parent's must not be collected here
    return _NOW[0]


_LAST: list[Callable[[], None]] = []


def at_end(function: Callable[[], None]) -> Callable[[], None]:
    """Have a function called at the end of the program, while the background loop still turns."""
    _LAST.append(function)
    return function


@atexit.register  # so early that whatever is registered later, and so runs before, can still ask
def _end() -> None:
    for function in _LAST:
        function()
    if _NOW and _NOW[0].pid == os.getpid():
        _NOW[0].end()
