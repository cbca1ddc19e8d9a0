"""The conversation about one item, written once as a generator without I/O, and its drivers.

`converse` yields steps (which calls to start, which reply to keep) and is sent one finished call
at a time; its last step has the result. The drivers below it only send: for one item, for many from a thread pool, for
many in an event loop.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from mtiprompt.combine import Combined
from mtiprompt.errors import ModelError, SchemaRejected
from mtiprompt.models.base import LanguageModel
from mtiprompt.parse import parse
from mtiprompt.plan import Plan
from mtiprompt.render import GroupPrompt
from mtiprompt.result import Answer, Call, Failure, Result
from mtiprompt.wire import Reply, Request, Usage


@dataclass(frozen=True)
class Ask:
    """A call to be made.

    Attributes:
        group: The index of its group in the plan.
        request: What to send.
        model: Whom to send it to.
    """

    group: int
    request: Request
    model: LanguageModel


class Finished(NamedTuple):
    """A call that has come back, well or badly."""

    ask: Ask
    outcome: Reply | ModelError


@dataclass(frozen=True)
class Step:
    """What the conversation wants done next.

    Attributes:
        start: Calls to start.
        keep: A call whose reply has validated, so that its model may store it.
        result: The result, in the last step.
    """

    start: tuple[Ask, ...] = ()
    keep: Finished | None = None
    result: Result | None = None


@dataclass(frozen=True)
class Ready:
    """A program, a plan and a model, prepared; made once and used for every item.

    Attributes:
        program: The program.
        plan: The plan.
        prompts: The prompt of every group of the plan.
        models: The model of every group.
        needs: For every group, the groups whose answers it needs.
    """

    program: Combined
    plan: Plan
    prompts: tuple[GroupPrompt, ...]
    models: tuple[LanguageModel, ...]
    needs: tuple[frozenset[int], ...]


Conversation = Generator[Step, Finished, None]


@dataclass
class _State:
    """What a conversation knows so far."""

    slots: dict[str, Answer[Any] | Failure] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    started: set[int] = field(default_factory=set)
    done: set[int] = field(default_factory=set)


def converse(ready: Ready, inputs: Mapping[str, Any]) -> Conversation:
    """The conversation about one item.

    Args:
        ready: Program, plan and model.
        inputs: Program input to value, plain JSON data.

    Raises:
        ModelError: A call failed in a way that every other call would (a wrong key, an unknown
            model). Other failed calls become failures of their slots.
    """
    state = _State()
    start, keep = _next_asks(ready, state, inputs), None
    while len(state.done) < len(ready.prompts):
        finished = yield Step(start, keep)
        start, keep = (), None
        if again := _take(ready, state, finished):
            start = (again,)
        else:
            start = _next_asks(ready, state, inputs)
            if _is_sound(ready, state, finished):
                keep = finished
    slots = {name: state.slots[name] for name in ready.program.tasks}
    yield Step(keep=keep, result=Result(ready.program, slots, tuple(state.calls), state.usage))


def _take(ready: Ready, state: _State, finished: Finished) -> Ask | None:
    """Note what a finished call says; gives the call to make in its place, if there is one."""
    ask, outcome = finished
    prompt = ready.prompts[ask.group]
    if isinstance(outcome, Reply):
        state.calls.append(Call(prompt.tasks, ask.request, outcome, model=ask.model.name))
        state.usage += outcome.usage
        state.slots |= parse(outcome, prompt.slots)
    else:
        state.calls.append(Call(prompt.tasks, ask.request, None, outcome, ask.model.name))
        lower = ask.model.support.refuse(ask.request.level) if _is_refusal(ask, outcome) else None
        if lower:
            return replace(ask, request=replace(ask.request, level=lower))
        if outcome.stops:
            raise outcome
        failure = Failure("call failed", str(outcome), error=outcome)
        state.slots |= dict.fromkeys(prompt.tasks, failure)
    state.done.add(ask.group)
    return None


def _is_refusal(ask: Ask, error: ModelError) -> bool:
    return isinstance(error, SchemaRejected) and ask.request.level != "prompt"


def _is_sound(ready: Ready, state: _State, finished: Finished) -> bool:
    """Whether a reply may be stored: all its slots are answers, and it does not come from there."""
    if not isinstance(finished.outcome, Reply) or finished.outcome.from_cache:
        return False
    tasks = ready.prompts[finished.ask.group].tasks
    return all(isinstance(state.slots[name], Answer) for name in tasks)


def _next_asks(ready: Ready, state: _State, inputs: Mapping[str, Any]) -> tuple[Ask, ...]:
    """The calls whose upstream answers are there; groups that lack one fail with that cause."""
    asks: list[Ask] = []
    for index, prompt in enumerate(ready.prompts):
        if index in state.started or not ready.needs[index] <= state.done:
            continue
        state.started.add(index)
        sources = {wire.task for wire in prompt.taken.values() if wire.task}
        if failed := sorted(one for one in sources if isinstance(state.slots[one], Failure)):
            failure = Failure("upstream failed", f"it takes the answer of {failed[0]!r}")
            state.slots |= dict.fromkeys(prompt.tasks, failure)
            state.done.add(index)
            return (*asks, *_next_asks(ready, state, inputs))
        upstream = {one: _fields(state.slots[one]) for one in sources}
        model = ready.models[index]
        request = prompt.request(prompt.item(inputs, upstream), model.support.level)
        asks.append(Ask(index, request, model))
    return tuple(asks)


def _fields(slot: Answer[Any] | Failure) -> Mapping[str, Any]:
    assert isinstance(slot, Answer)
    return slot.fields


# --- drivers ---------------------------------------------------------------------------------


def _send(ask: Ask) -> Finished:
    try:
        outcome: Reply | ModelError = ask.model.complete(ask.request)
    except ModelError as error:
        outcome = error
    return Finished(ask, outcome)


async def _asend(ask: Ask) -> Finished:
    try:
        outcome: Reply | ModelError = await ask.model.acomplete(ask.request)
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

    def next(self) -> tuple[int, Finished]:
        """The next call that has come back, with its job."""
        job, finished = self._done.get()
        self._open -= 1
        if isinstance(finished, BaseException):
            raise finished
        return job, finished

    def close(self) -> None:
        """Let every thread end after the call that it is in; forget those not begun."""
        while not self._work.empty():
            self._work.get()
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
    while step.result is None and len(step.start) == 1:
        # one call open: no thread is needed
        step = conversation.send(_send(step.start[0]))
        _keep(step)
        if not step.start:
            break
    if step.result is not None:
        return step.result
    return next(_drive(iter([(conversation, step)]), concurrency=32))


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
) -> Iterator[Result]:
    threads = _Threads(concurrency)
    talks = _Talks(threads.start)
    try:
        for conversation, step in opened:
            talks.open(conversation, step)
            while talks.pending >= (window or 2 * concurrency):
                talks.take(*threads.next())
                yield from talks.ready()
        while talks.pending:
            talks.take(*threads.next())
            yield from talks.ready()
        yield from talks.ready()
    finally:
        threads.close()


class _Talks:
    """Open conversations, and the results that wait for their turn."""

    def __init__(self, start: Callable[[int, Ask], Any]) -> None:
        self._start = start
        self._open: dict[int, Conversation] = {}
        self._results: dict[int, Result] = {}
        self._begun = 0
        self._given = 0

    @property
    def pending(self) -> int:
        """Conversations that are open, and results that wait behind them."""
        return self._begun - self._given if self._open else 0

    def open(self, conversation: Conversation, step: Step) -> None:
        """Begin a conversation whose first step is known."""
        job = self._begun
        self._begun += 1
        self._open[job] = conversation
        self._follow(job, step)

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


async def arun(conversation: Conversation) -> Result:
    """Hold one conversation in an event loop."""
    async for result in arun_many([conversation], concurrency=32):
        return result
    raise AssertionError  # a conversation always has a result


async def arun_many(
    conversations: Iterable[Conversation], *, concurrency: int, window: int | None = None
) -> AsyncIterator[Result]:
    """As `run_many`, in an event loop."""
    gate = asyncio.Semaphore(concurrency)
    done: asyncio.Queue[tuple[int, asyncio.Task[Finished]]] = asyncio.Queue()
    tasks: set[asyncio.Task[Finished]] = set()

    async def send(ask: Ask) -> Finished:
        async with gate:
            return await _asend(ask)

    def start(job: int, ask: Ask) -> None:
        task = asyncio.create_task(send(ask))
        tasks.add(task)
        task.add_done_callback(lambda task: (tasks.discard(task), done.put_nowait((job, task))))

    talks = _Talks(start)

    async def step() -> None:
        job, task = await done.get()
        talks.take(job, task.result())

    try:
        for conversation in conversations:
            talks.open(conversation, next(conversation))
            while talks.pending >= (window or 2 * concurrency):
                await step()
                for result in talks.ready():
                    yield result
        while talks.pending:
            await step()
            for result in talks.ready():
                yield result
        for result in talks.ready():
            yield result
    finally:
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
