"""The drivers of conversations: for one, and for many from threads.

All they do is send calls, hand back what comes, and give the results in their order.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from contextvars import copy_context

from mtiprompt.engine import Ask, Conversation, Finished, Step
from mtiprompt.errors import DataError, ModelError
from mtiprompt.result import Result
from mtiprompt.wire import Reply


def _send(ask: Ask) -> Finished:
    try:
        outcome: Reply | ModelError = ask.model.complete(ask.request)
    except ModelError as error:
        outcome = error
    return Finished(ask, outcome)


def _keep(step: Step) -> None:
    if step.keep is not None and isinstance(step.keep.outcome, Reply):
        step.keep.ask.model.keep(step.keep.ask.request, step.keep.outcome)


class _Threads:
    """Daemon threads that send calls: an interrupted program does not wait for their replies."""

    def __init__(self, number: int) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[int, Finished | BaseException]] = queue.SimpleQueue()
        self._limit = number
        self._number = 0
        self._open = 0

    def start(self, job: int, ask: Ask) -> None:
        """Send a call for a job as soon as a thread is free."""
        context = copy_context()
        self._work.put(lambda: self._done.put((job, context.run(_send_whole, ask))))
        self._open += 1
        if self._number < min(self._open, self._limit):
            self._number += 1
            threading.Thread(target=self._run, daemon=True, name="mtiprompt-call").start()

    def next(self, *, wait: bool) -> tuple[int, Finished] | None:
        """The next call that has come back, with its job; None if none has and none is awaited."""
        try:
            job, finished = self._done.get(block=wait)
        except queue.Empty:
            return None
        self._open -= 1
        if isinstance(finished, BaseException):
            raise finished
        return job, finished

    def close(self) -> None:
        """Let every thread end after the call that it is in; forget those not begun."""
        # a thread may take the last one at any moment, so that asking whether it is there is no use
        with suppress(queue.Empty):
            while True:
                self._work.get_nowait()
        for _ in range(self._number):
            self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


def _send_whole(ask: Ask) -> Finished | BaseException:
    """As `_send`, but whatever else goes wrong is raised where the results are read."""
    try:
        return _send(ask)
    except BaseException as error:  # noqa: BLE001  handed to the reader's thread
        return error


def run(conversation: Conversation) -> Result:
    """Hold one conversation; calls that can go at the same time do."""
    step = next(conversation)
    while step.result is None:
        if len(step.start) != 1:
            with closing(_drive(iter([(conversation, step)]), concurrency=32)) as results:
                return next(results)
        # one call open: no thread is needed
        _keep(step)
        step = conversation.send(_send(step.start[0]))
    _keep(step)
    return step.result


def run_many(
    conversations: Iterable[Conversation], *, concurrency: int, window: int | None = None
) -> Iterator[Result]:
    """Hold many conversations; the results come in their order.

    Args:
        conversations: What to hold; read only as fast as results are taken.
        concurrency: Calls in flight at the same time.
        window: Conversations open at the same time; twice the concurrency by default.
    """
    opened = ((conversation, next(conversation)) for conversation in conversations)
    yield from _drive(opened, concurrency, window)


def _drive(
    opened: Iterator[tuple[Conversation, Step]], concurrency: int, window: int | None = None
) -> Generator[Result, None, None]:
    threads = _Threads(concurrency)
    talks = Talks(threads.start, opened, window or 2 * concurrency)
    try:
        while talks.go_on():
            # before another row is read, which may take long, all that is there is given
            finished = threads.next(wait=talks.waiting)
            while finished:
                talks.take(*finished)
                yield from talks.ready()
                finished = threads.next(wait=False)
            yield from talks.ready()
    finally:
        threads.close()


class Talks:
    """Open conversations, and the results that wait for their turn.

    Args:
        start: What sends a call for a conversation, by its number.
        opened: Conversations with their first steps; read only while there is room.
        window: Conversations that may be open or waiting at the same time.
    """

    def __init__(
        self,
        start: Callable[[int, Ask], None],
        opened: Iterator[tuple[Conversation, Step]],
        window: int,
    ) -> None:
        self._start = start
        self._opened = opened
        self._window = window
        self._open: dict[int, Conversation] = {}
        self._results: dict[int, Result] = {}
        self._begun = 0
        self._given = 0
        self._all_begun = False
        self._problem: DataError | None = None
        self.waiting = False
        """Whether nothing goes on until a call comes back."""

    def go_on(self) -> bool:
        """Begin the next conversation if there is room; False when all is done.

        Raises:
            DataError: A row did not fit; it is raised when all rows before it have been given.
        """
        self.waiting = False
        if self._all_begun or self._begun - self._given >= self._window:
            self.waiting = bool(self._open)
        else:
            try:
                conversation, step = next(self._opened)
            except StopIteration:
                self._all_begun = True
            except DataError as error:
                self._problem, self._all_begun = error, True
            else:
                self._open[self._begun] = conversation
                self._begun += 1
                self._follow(self._begun - 1, step)
        if self._all_begun and self._begun == self._given:
            if self._problem:
                raise self._problem
            return False
        return True

    def take(self, job: int, finished: Finished) -> None:
        """Hand a finished call to its conversation."""
        self._follow(job, self._open[job].send(finished))

    def _follow(self, job: int, step: Step) -> None:
        _keep(step)
        if step.result is not None:
            self._results[job] = step.result
            del self._open[job]
        for ask in step.start:
            self._start(job, ask)

    def ready(self) -> Iterator[Result]:
        """The results whose turn it is."""
        while self._given in self._results:
            result = self._results.pop(self._given)
            self._given += 1
            yield result
