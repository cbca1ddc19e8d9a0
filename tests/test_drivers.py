"""The drivers: what becomes of replies that nobody reads on for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

import mtiprompt as mti
from mtiprompt.drivers import run_many
from mtiprompt.engine import converse
from mtiprompt.models.base import LanguageModel
from mtiprompt.steps import Conversation
from mtiprompt.wire import Reply, Request
from tests.strategies import Answerer

PROGRAM = mti.combine("m -> a")
SOUND, BROKEN = '{"a": "x"}', "no"


def conversations(model: LanguageModel, number: int) -> Iterator[Conversation]:
    """Conversations about items that say which one they are: row 0, row 1, ..."""
    ready = PROGRAM.ready(model, None)
    return (converse(ready, [{"m": f"row {one}"}]) for one in range(number))


def row_of(request: Request) -> int:
    """Which item a request is about."""
    return int(request.messages[-1].content.partition("row ")[2].split()[0])


class Stepwise:
    """A model for one thread: when row 2 is asked, the reply to row 1 lies where it is read."""

    def __init__(self, second: str) -> None:
        self.begun, self.go, self.come, self.end = (threading.Event() for _ in range(4))
        self.second = second
        self.model = Answerer(self.answer)

    def answer(self, request: Request) -> str:
        """Row 0 when all is begun, row 1 when row 0 has been read, row 2 when all is over."""
        row = row_of(request)
        if row == 2:
            self.come.set()
        assert (self.begun, self.go, self.end)[row].wait(10)
        return (SOUND, self.second, SOUND)[row]

    def opened(self) -> Iterator[Conversation]:
        """Three conversations; then, that there are no more."""
        yield from conversations(self.model, 3)
        self.begun.set()


def leave(stepwise: Stepwise, error: type[Exception] | None) -> None:
    """Read row 0, let row 1 be answered, and leave."""
    with closing(run_many(stepwise.opened(), concurrency=1, window=4)) as results:
        for _ in results:
            stepwise.go.set()
            assert stepwise.come.wait(10)
            if error is not None:
                raise error
            break


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_what_has_come_is_stored_when_a_map_is_left(error: type[Exception] | None) -> None:
    """Whoever leaves it, by a break or an error, has paid for what came, and finds it again."""
    stepwise = Stepwise(SOUND)
    with suppress(ZeroDivisionError):
        leave(stepwise, error)
    stepwise.end.set()
    assert [row_of(request) for request in stepwise.model.kept] == [0, 1]


def test_leaving_a_map_stores_nothing_unsound_and_asks_nothing() -> None:
    """A broken reply is not stored then either, and the call that would repair it is not sent."""
    stepwise = Stepwise(BROKEN)
    leave(stepwise, None)
    stepwise.end.set()
    assert [row_of(request) for request in stepwise.model.kept] == [0]
    assert [row_of(request) for request in stepwise.model.asked] == [0, 1, 2]


class Waiting(Answerer):
    """A model that answers row 0 when all is begun, and the others when it is told to."""

    begun: asyncio.Event
    go: asyncio.Event
    all_asked: asyncio.Event

    async def acomplete(self, request: Request) -> Reply:
        """Answer in the event loop, without a thread."""
        await (self.go if row_of(request) else self.begun).wait()
        reply = self.complete(request)
        if len(self.asked) == 8:
            self.all_asked.set()
        return reply

    def rows(self) -> Iterator[dict[str, str]]:
        """Eight rows; then, that there are no more."""
        yield from ({"m": f"row {one}"} for one in range(8))
        self.begun.set()


def test_what_has_come_is_stored_when_an_amap_is_left() -> None:
    """The same in an event loop."""

    async def use() -> Waiting:
        model = Waiting(lambda _: SOUND)
        model.begun, model.go, model.all_asked = (asyncio.Event() for _ in range(3))
        results = PROGRAM.amap(model.rows(), model=model)
        async for _ in results:
            model.go.set()
            await asyncio.wait_for(model.all_asked.wait(), 10)
            await asyncio.sleep(0)  # the callbacks of what has just been answered
            break
        await results.aclose()
        return model

    model = asyncio.run(use())
    assert sorted(map(row_of, model.kept)) == list(range(8))
