"""The drivers: what becomes of replies that nobody reads on for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing, suppress

import pytest

import mtiprompt as mti
from mtiprompt.drivers import run_many
from mtiprompt.engine import converse
from mtiprompt.errors import ModelAccessDenied, ModelError
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
    """A model for one thread: when the last row is asked, all replies lie where they are read."""

    def __init__(self, *later: str | ModelError) -> None:
        self.begun, self.go, self.come, self.end = (threading.Event() for _ in range(4))
        self.outcomes = (SOUND, *later, SOUND)
        self.model = Answerer(self.answer)

    def answer(self, request: Request) -> str:
        """Row 0 when all is begun, the last when all is over, others when row 0 has been read."""
        row = row_of(request)
        is_last = row == len(self.outcomes) - 1
        if is_last:
            self.come.set()
        assert (self.end if is_last else self.go if row else self.begun).wait(10)
        outcome = self.outcomes[row]
        if isinstance(outcome, ModelError):
            raise outcome
        return outcome

    def opened(self) -> Iterator[Conversation]:
        """As many conversations; then, that there are no more."""
        yield from conversations(self.model, len(self.outcomes))
        self.begun.set()


def leave(stepwise: Stepwise, error: type[Exception] | None) -> None:
    """Read row 0, let all but the last be answered, and leave."""
    for _ in read_on(stepwise):
        if error is not None:
            raise error
        break


def read_on(stepwise: Stepwise) -> Iterator[mti.Result]:
    """The results, each when all but the last row have been answered."""
    with closing(run_many(stepwise.opened(), concurrency=1, window=8)) as results:
        for result in results:
            stepwise.go.set()
            assert stepwise.come.wait(10)
            yield result


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


DENIED = ModelAccessDenied("the credit is used up")


@pytest.mark.parametrize(
    ("later", "kept"),
    [((DENIED, SOUND, SOUND), [0, 2, 3]), ((SOUND, DENIED, BROKEN, SOUND), [0, 1, 4])],
)
def test_what_has_come_is_stored_when_a_map_ends_by_an_error(
    later: tuple[str | ModelError, ...], kept: list[int]
) -> None:
    """What lies behind the row that failed is paid for too; nothing is asked again for it."""
    stepwise = Stepwise(*later)
    with pytest.raises(ModelAccessDenied, match="the credit is used up"):
        list(read_on(stepwise))
    stepwise.end.set()
    assert [row_of(request) for request in stepwise.model.kept] == kept
    asked = [row_of(request) for request in stepwise.model.asked]
    assert asked == list(range(len(later) + 2))


def test_nothing_sound_behind_two_errors_is_lost() -> None:
    """A second one that fails, behind the error that is raised, changes nothing for the others."""
    stepwise = Stepwise(DENIED, DENIED, SOUND)
    with pytest.raises(ModelAccessDenied):
        list(read_on(stepwise))
    stepwise.end.set()
    assert [row_of(request) for request in stepwise.model.kept] == [0, 3]


def test_what_comes_behind_an_error_whose_turn_is_not_yet_is_stored() -> None:
    """While an earlier row is awaited, replies to later ones come; they are stored, not read."""
    begun, come, end = (threading.Event() for _ in range(3))

    def answer(request: Request) -> str:
        row = row_of(request)
        if row == 3:
            come.set()  # the same thread has answered rows 1 and 2
        assert (come, begun, begun, end)[row].wait(10)
        if row == 1:
            raise DENIED
        return SOUND

    def opened() -> Iterator[Conversation]:
        yield from conversations(model, 4)
        begun.set()

    model = Answerer(answer)
    with closing(run_many(opened(), concurrency=2, window=8)) as results:
        next(results)
        with pytest.raises(ModelAccessDenied):
            next(results)
    end.set()
    assert sorted(map(row_of, model.kept)) == [0, 2]


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


async def read_all(model: Waiting) -> AsyncGenerator[mti.Result, None]:
    """The results, each when every row has been answered."""
    model.begun, model.go, model.all_asked = (asyncio.Event() for _ in range(3))
    async with aclosing(PROGRAM.amap(model.rows(), model=model)) as results:
        async for result in results:
            model.go.set()
            await asyncio.wait_for(model.all_asked.wait(), 10)
            await asyncio.sleep(0)  # the callbacks of what has just been answered
            yield result


def test_what_has_come_is_stored_when_an_amap_is_left() -> None:
    """The same in an event loop."""

    async def use() -> Waiting:
        model = Waiting(lambda _: SOUND)
        async with aclosing(read_all(model)) as results:
            await anext(results)
        return model

    model = asyncio.run(use())
    assert sorted(map(row_of, model.kept)) == list(range(8))


def test_what_has_come_is_stored_when_an_amap_ends_by_an_error() -> None:
    """What lies behind the row that failed is paid for there too."""

    def answer(request: Request) -> str:
        if row_of(request) == 1:
            raise DENIED
        return SOUND

    async def use() -> Waiting:
        model = Waiting(answer)
        with pytest.raises(ModelAccessDenied):
            _ = [result async for result in read_all(model)]
        return model

    model = asyncio.run(use())
    assert sorted(map(row_of, model.kept)) == [0, *range(2, 8)]
