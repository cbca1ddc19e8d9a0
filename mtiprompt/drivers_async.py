"""The drivers of conversations in an event loop; apart, because asyncio takes time to import."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing

from mtiprompt.drivers import Talks, keep, paid
from mtiprompt.errors import BudgetExceeded, ModelError
from mtiprompt.result import Result
from mtiprompt.steps import Ask, Conversation, Finished, Step
from mtiprompt.wire import Reply


async def _send(ask: Ask) -> Finished:
    try:
        outcome: Reply | ModelError | BudgetExceeded = await ask.model.acomplete(ask.request)
    except (ModelError, BudgetExceeded) as error:
        outcome = error
    return Finished(ask, outcome)


class _Tasks:
    """Tasks that send calls, a number of them at the same time."""

    def __init__(self, number: int) -> None:
        self._gate = asyncio.Semaphore(number)
        self._done: asyncio.Queue[tuple[int, asyncio.Task[Finished]]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[Finished]] = set()

    def start(self, job: int, ask: Ask) -> None:
        """Send a call for a job as soon as there is room."""

        def finish(task: asyncio.Task[Finished]) -> None:
            self._tasks.discard(task)
            self._done.put_nowait((job, task))

        task = asyncio.create_task(self._send(ask))
        self._tasks.add(task)
        task.add_done_callback(finish)

    async def next(self, *, wait: bool) -> tuple[int, Finished | BaseException] | None:
        """The next call that has come back, with its job; None if none has and none is awaited."""
        if not wait and self._done.empty():
            return None
        job, task = await self._done.get()
        return job, _outcome(task)

    async def close(self) -> list[tuple[int, Finished | BaseException]]:
        """Cancel every call in flight; gives what has come until then."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        come = [self._done.get_nowait() for _ in range(self._done.qsize())]
        return [(job, _outcome(task)) for job, task in come]

    async def _send(self, ask: Ask) -> Finished:
        async with self._gate:
            return await _send(ask)


def _outcome(task: asyncio.Task[Finished]) -> Finished | BaseException:
    """What a task has come to; an error that nobody asks for would be reported at the end."""
    if task.cancelled():
        return asyncio.CancelledError()
    return task.exception() or task.result()


async def arun(conversation: Conversation) -> Result:
    """Hold a conversation about one item in an event loop."""
    step = next(conversation)
    while step.results is None:
        if len(step.start) != 1:
            opened = iter([(conversation, step)])
            async with aclosing(_drive(opened, concurrency=32, whole=True)) as results:
                return paid(await anext(results))
        # one call open: no task is needed
        keep(step)
        step = conversation.send(await _send(step.start[0]))
    keep(step)
    return paid(step.results[0])


async def arun_many(
    conversations: Iterable[Conversation], *, concurrency: int, window: int | None = None
) -> AsyncGenerator[Result, None]:
    """As `drivers.run_many`, in an event loop."""
    opened = ((conversation, next(conversation)) for conversation in conversations)
    async with aclosing(_drive(opened, concurrency, window)) as results:
        async for result in results:
            yield result


async def _drive(
    opened: Iterator[tuple[Conversation, Step]],
    concurrency: int,
    window: int | None = None,
    *,
    whole: bool = False,
) -> AsyncGenerator[Result, None]:
    tasks = _Tasks(concurrency)
    talks = Talks(tasks.start, opened, window or 2 * concurrency, whole=whole)
    try:
        while talks.go_on():
            await asyncio.sleep(0)  # calls begin and end only while the loop has its turn
            finished = await tasks.next(wait=talks.waiting)
            while finished:
                talks.take(*finished)
                for result in talks.ready():
                    yield result
                finished = await tasks.next(wait=False)
            for result in talks.ready():
                yield result
    finally:
        for finished in await tasks.close():
            talks.leave(*finished)
