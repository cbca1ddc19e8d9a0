"""The drivers of conversations: for one, and for many from threads.

All they do is send calls, hand back what comes, and give the results in their order.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from contextvars import copy_context

from mtiprompt.errors import BudgetExceeded, ModelError
from mtiprompt.result import Failure, Result
from mtiprompt.result import slots as slots_of
from mtiprompt.steps import Ask, Conversation, Finished, Step
from mtiprompt.wire import Reply


def _send(ask: Ask) -> Finished:
    try:
        outcome: Reply | ModelError | BudgetExceeded = ask.model.complete(ask.request)
    except (ModelError, BudgetExceeded) as error:
        outcome = error
    return Finished(ask, outcome)


def keep(step: Step) -> None:
    """Have the reply of a step stored, if it has one to be kept."""
    if step.keep is not None and isinstance(step.keep.outcome, Reply):
        step.keep.ask.model.keep(step.keep.ask.request, step.keep.outcome)


HELD_BACK = 1024
"""Conversations that may have ended before their turn: behind a call that hangs, say."""


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

    def next(self, *, wait: bool) -> tuple[int, Finished | BaseException] | None:
        """The next call that has come back, with its job; None if none has and none is awaited."""
        try:
            job, finished = self._done.get(block=wait)
        except queue.Empty:
            return None
        self._open -= 1
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
    """Hold a conversation about one item; calls that can go at the same time do."""
    step = next(conversation)
    while step.results is None:
        if len(step.start) != 1:
            with closing(_drive(iter([(conversation, step)]), concurrency=32, whole=True)) as found:
                return paid(next(found))
        # one call open: no thread is needed
        keep(step)
        step = conversation.send(_send(step.start[0]))
    keep(step)
    return paid(step.results[0])


def run_many(
    conversations: Iterable[Conversation], *, concurrency: int, window: int | None = None
) -> Generator[Result, None, None]:
    """Hold many conversations; the results come in their order.

    Args:
        conversations: What to hold; read only as fast as results are taken.
        concurrency: Calls in flight at the same time.
        window: Conversations open at the same time; twice the concurrency by default.

    Raises:
        BudgetExceeded: It refuses every call, whatever is left; behind the results that are there.
    """
    opened = ((conversation, next(conversation)) for conversation in conversations)
    yield from _drive(opened, concurrency, window)


def _drive(
    opened: Iterator[tuple[Conversation, Step]],
    concurrency: int,
    window: int | None = None,
    *,
    whole: bool = False,
) -> Generator[Result, None, None]:
    threads = _Threads(concurrency)
    talks = Talks(threads.start, opened, window or 2 * concurrency, whole=whole)
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
        while finished := threads.next(wait=False):
            talks.leave(*finished)


class Talks:
    """Open conversations, and the results that wait for their turn.

    Args:
        start: What sends a call for a conversation, by its number.
        opened: Conversations with their first steps; read only while there is room.
        window: Conversations that may be open at the same time. Those that are at their end wait
            for their turn beside them, `HELD_BACK` at most, so that one slow row stops no others.
        whole: Whether results are given even if the budget was spent before any of their answers;
            otherwise those at the end are left out.
    """

    def __init__(
        self,
        start: Callable[[int, Ask], None],
        opened: Iterator[tuple[Conversation, Step]],
        window: int,
        *,
        whole: bool = False,
    ) -> None:
        self._start = start
        self._opened = opened
        self._window = window
        self._open: dict[int, Conversation] = {}
        self._left: dict[int, Conversation] = {}  # nobody reads on for these
        self._results: dict[int, tuple[Result, ...] | BaseException] = {}
        self._whole = whole
        self._empty: list[Result] = []
        self._begun = 0
        self._given = 0
        self._all_begun = False
        self._problem: Exception | None = None
        self.waiting = False
        """Whether nothing goes on until a call comes back."""

    def go_on(self) -> bool:
        """Begin the next conversation if there is room; False when all is done.

        None begins any more once the budget is spent, or one has failed.

        Raises:
            Exception: A row could not be read, or a budget refuses every call, whatever is left;
                it is raised when all before it have been given.
        """
        self.waiting = False
        is_full = len(self._open) >= self._window or len(self._results) >= HELD_BACK
        if self._all_begun or is_full:
            self.waiting = bool(self._open)
        else:
            try:
                conversation, step = next(self._opened)
            except StopIteration:
                self._all_begun = True
            except Exception as error:  # noqa: BLE001  whatever the rows or a bug in them raise
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

    def take(self, job: int, finished: Finished | BaseException) -> None:
        """Hand a finished call to its conversation; an error is raised when its turn comes."""
        if job not in self._open:
            self.leave(job, finished)
            return
        try:
            if isinstance(finished, BaseException):
                raise finished
            step = self._open[job].send(finished)
        except Exception as error:  # noqa: BLE001  raised again by `ready`
            self._fail(job, error)
        else:
            self._follow(job, step)

    def leave(self, job: int, finished: Finished | BaseException) -> None:
        """Have a reply stored that has come and that nobody reads on for; no call is sent."""
        conversation = self._left.get(job) or self._open.get(job)
        if conversation is None or not isinstance(finished, Finished):
            return  # it has failed already, by another of its calls, or there is no reply
        try:
            step = conversation.send(finished)
        except Exception:  # noqa: BLE001  it has failed too, behind the error that is raised
            return
        keep(step)

    def _fail(self, job: int, error: Exception) -> None:
        """Let those before a conversation that failed come to their end, and begin no more."""
        self._all_begun = True
        self._results[job] = error
        del self._open[job]
        for later in [one for one in self._open if one > job]:
            self._left[later] = self._open.pop(later)

    def _follow(self, job: int, step: Step) -> None:
        keep(step)
        if step.results is not None:
            self._results[job] = step.results
            self._all_begun = self._all_begun or any(map(_is_cut_short, step.results))
            self._problem = self._problem or _refusal(step.results)
            self._open.pop(job, None)
        for ask in step.start:
            self._start(job, ask)

    def ready(self) -> Iterator[Result]:
        """The results whose turn it is.

        Raises:
            Exception: What the conversation whose turn it is has failed with.
        """
        while self._given in self._results:
            found = self._results.pop(self._given)
            if isinstance(found, BaseException):
                raise found
            for result in found:
                if not self._whole and _is_empty(result):
                    self._empty.append(result)  # given only if one with answers follows
                    continue
                yield from self._empty
                self._empty.clear()
                yield result
            self._given += 1


def paid(result: Result) -> Result:
    """The result of a single item, if anything was asked for it or might be another time.

    Raises:
        BudgetExceeded: Nothing was, and the budget refuses every call, whatever is left.
    """
    if _is_empty(result) and (error := _refusal([result])):
        raise error
    return result


def _refusal(results: Iterable[Result]) -> BudgetExceeded | None:
    """Why a budget refuses every call, whatever is left; None if it does not."""
    errors = (one.error for result in results for one in result.failures.values())
    return next((one for one in errors if isinstance(one, BudgetExceeded) and one.stops), None)


def _is_cut_short(result: Result) -> bool:
    """Whether the budget was spent before a result was whole."""
    return any(_is_unpaid(slot) for slot in slots_of(result).values())


def _is_empty(result: Result) -> bool:
    """Whether the budget was spent before anything was asked for a result."""
    was_asked = any(call.reply for call in result.calls)
    return not was_asked and all(
        _is_unpaid(slot) or (isinstance(slot, Failure) and slot.kind == "upstream failed")
        for slot in slots_of(result).values()
    )


def _is_unpaid(slot: object) -> bool:
    return isinstance(slot, Failure) and slot.kind == "budget spent"
