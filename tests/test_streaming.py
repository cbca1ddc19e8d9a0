"""Streams of slots: each is told as soon as its value has closed, and the result is whole."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.errors import ModelAccessDenied, ModelUnavailable
from mtiprompt.models.base import BaseModel, Support
from mtiprompt.models.watch import prompt_tokens
from mtiprompt.result import Answer, Failure
from mtiprompt.wire import Reply, Request, Usage
from tests.strategies import keys_of

PROGRAM = mti.combine(
    "m -> mood: Literal['good', 'bad']", "m -> score: int", "m -> words: list[str]"
)
GOOD: dict[str, Any] = {"mood": "bad", "score": 12, "words": ["a", "b"]}


class Piecewise(BaseModel):
    """A model that writes prepared replies in pieces, the next only when `go` is set."""

    def __init__(self, *replies: Any, size: int = 3) -> None:
        self.name, self.identity, self.support = "test/piecewise", '"piecewise"', Support()
        self._replies = list(replies)
        self._size = size
        self.sent = 0
        self.closed = threading.Event()
        self.requests: list[Request] = []

    def _next(self, request: Request) -> Any:
        self.requests.append(request)
        said = self._replies.pop(0)
        return said if isinstance(said, str | Exception) else json.dumps(said)

    def complete(self, request: Request) -> Reply:
        raise AssertionError("a stream was asked for")

    def stream(self, request: Request) -> Generator[str | Reply, None, None]:
        said = self._next(request)
        if isinstance(said, Exception):
            raise said
        try:
            for start in range(0, len(said), self._size):
                self.sent += 1
                yield said[start : start + self._size]
            yield Reply(said, usage=Usage(calls=1))
        finally:
            self.closed.set()

    async def astream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        for piece in self.stream(request):
            yield piece


def shown(slot: Answer[Any] | Failure) -> Any:
    """What a slot says, in short."""
    return slot.kind if isinstance(slot, Failure) else next(iter(slot.fields.values()))


def test_slots_come_before_the_end() -> None:
    """A slot is told while its reply is still being written, and a number only once it has ended;
    each comes once, and the result is that of a call.
    """
    slow = threading.Event()

    class Halting(Piecewise):
        def stream(self, request: Request) -> Generator[str | Reply, None, None]:
            yield '{"mood": "bad", "score": 1'
            slow.wait(10)
            yield '2, "words": ["a", "b"]}'
            yield Reply(json.dumps(GOOD), usage=Usage(calls=1))

    stream = PROGRAM.stream(m="text", model=Halting())
    slots = iter(stream)
    name, first = next(slots)
    assert (name, shown(first)) == ("mood", "bad")
    with pytest.raises(mti.MTIError, match="not at its end"):
        _ = stream.result
    slow.set()
    assert [(name, shown(slot)) for name, slot in slots] == [("score", 12), ("words", ["a", "b"])]
    assert stream.result.unwrap() is not None
    assert stream.result.usage.calls == 1


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_async_as_sync(size: int) -> None:
    """`async for` gives the same as `for`, whatever the size of the pieces."""
    told = [
        (name, shown(slot))
        for name, slot in PROGRAM.stream(m="text", model=Piecewise(GOOD, size=size))
    ]
    stream = PROGRAM.stream(m="text", model=Piecewise(GOOD, size=size))
    assert [(name, shown(slot)) async for name, slot in stream] == told
    assert told == list(GOOD.items())
    assert stream.result.score == 12


def test_then_repairs_then_failures() -> None:
    """A slot that has to be asked again comes when it is mended; a failure comes last, once."""
    model = Piecewise(
        {**GOOD, "mood": "so-so", "score": "x"}, {"mood": "good", "score": "x"}, {"score": "y"}
    )
    repair = mti.Repair.together() + mti.Repair.alone(1)
    stream = PROGRAM.stream(m="text", model=model, repair=repair)
    assert [(name, shown(slot)) for name, slot in stream] == [
        ("words", ["a", "b"]), ("mood", "good"), ("score", "wrong type")
    ]  # fmt: skip
    assert stream.result.failures.keys() == {"score"}


def test_a_failure_waits_for_no_other_call() -> None:
    """A slot that has failed for good is told at once, while another group is being answered."""
    told = threading.Event()

    def answer(request: Request) -> str:
        if keys_of(request) == ["a"]:
            return '{"a": "x"}'
        return '{"b": 2}' if told.wait(20) else "{}"

    program = mti.combine("m -> a: int", "m -> b: int")
    stream = program.stream(m="x", model=mti.FunctionModel(answer), plan=mti.Plan.split(program),
                            repair=mti.Repair.none())  # fmt: skip
    kinds = []
    for task, slot in stream:
        kinds.append((task, type(slot)))
        told.set()
    assert kinds == [("a", Failure), ("b", Answer)]


def test_an_answer_taken_back_comes_again() -> None:
    """Where the end of a reply contradicts its beginning, the later word holds and is told."""
    seen = threading.Event()

    class Wavering(Piecewise):
        def stream(self, request: Request) -> Generator[str | Reply, None, None]:
            text = '{"mood": "bad", "score": 1, "words": []} No: '
            yield text
            seen.wait(10)
            yield json.dumps(GOOD)
            yield Reply(text + json.dumps(GOOD), usage=Usage(calls=1))

    told = []
    for name, slot in PROGRAM.stream(m="text", model=Wavering()):
        told.append((name, shown(slot)))
        seen.set()
    assert dict(told) == GOOD
    assert ("score", 1) in told


def test_waves_stream_too() -> None:
    """Groups that need each other go one after the other, those that do not at the same time."""
    program = mti.combine("m -> a", "a -> b")
    stream = program.stream(m="x", plan=mti.Plan.split(program), model=mti.EchoModel())
    assert [name for name, _ in stream] == ["a", "b"]


def test_a_stream_is_read_once() -> None:
    """A second loop is an error that says so."""
    stream = PROGRAM.stream(m="text", model=Piecewise(GOOD))
    list(stream)
    with pytest.raises(mti.MTIError, match="once"):
        list(stream)


@pytest.mark.parametrize("error", [None, ModelUnavailable("line cut")])
def test_a_careless_stream_keeps_what_had_closed(error: mti.ModelError | None) -> None:
    """A model that raises after some text, or ends without a reply, costs only what had not
    closed.
    """

    class Careless(Piecewise):
        def stream(self, request: Request) -> Generator[str | Reply, None, None]:
            yield '{"mood": "bad", "score": 12, "wor'
            if error:
                raise error

    stream = PROGRAM.stream(m="text", model=Careless(), repair=mti.Repair.none())
    assert [(name, shown(slot)) for name, slot in stream] == [
        ("mood", "bad"), ("score", 12), ("words", "cut off")
    ]  # fmt: skip


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("used", [None, Usage(calls=2, prompt_tokens=70, cost=0.5)])
async def test_what_a_broken_stream_cost_is_told(is_async: bool, used: Usage | None) -> None:
    """It is what its error says, else an estimate at a price that is not known."""
    error = ModelUnavailable("line cut")
    error.usage = used

    class Careless(Piecewise):
        def stream(self, request: Request) -> Generator[str | Reply, None, None]:
            self.requests.append(request)
            yield '{"mood": "bad", "score": 12, "wor'
            time.sleep(0.001)
            raise error

    model = Careless()
    stream = PROGRAM.stream(m="text", model=model, repair=mti.Repair.none())
    if is_async:
        assert [name async for name, _ in stream]
    else:
        assert list(stream)
    spent = stream.result.usage
    if used is None:
        assert (spent.calls, spent.cost, spent.completion_tokens) == (1, None, 9)
        assert spent.prompt_tokens == prompt_tokens(model.requests[0]) > 0
        assert spent.seconds > 0
    else:
        assert (spent.calls, spent.prompt_tokens, spent.cost) == (2, 70, 0.5)


def test_long_streams_are_read_in_time() -> None:
    """Of a reply that is ahead of its reader, only the newest state is read."""
    program = mti.combine(*(f"m -> f{n}" for n in range(50)))
    right = {f"f{n}": ("word, " * 200)[:400] for n in range(50)}
    begun = time.monotonic()
    told = list(program.stream(m="text", model=Piecewise(right)))
    assert [name for name, _ in told] == list(right)
    assert time.monotonic() - begun < 20  # read anew at each comma it took a minute


def test_leaving_early_stops_the_call() -> None:
    """A loop that is left closes the stream of the model."""
    model = Piecewise({**GOOD, "words": ["long"] * 5000})
    for _ in PROGRAM.stream(m="text", model=model):
        break
    assert model.closed.wait(10)


async def test_leaving_early_stops_the_call_async() -> None:
    """The same in an event loop."""
    model = Piecewise({**GOOD, "words": ["long"] * 5000})
    slots = aiter(PROGRAM.stream(m="text", model=model))
    await anext(slots)
    await slots.aclose()
    assert model.closed.wait(10)


def test_a_stream_that_breaks_off_is_repaired() -> None:
    """What had closed is kept; the rest is asked again."""

    class Breaking(Piecewise):
        def stream(self, request: Request) -> Generator[str | Reply, None, None]:
            self.requests.append(request)
            text = json.dumps({key: GOOD[key] for key in keys_of(request)})
            if len(self.requests) == 1:
                text = text[:20]
                yield text
                yield Reply(text, "length", Usage(calls=1))
            else:
                yield Reply(text, usage=Usage(calls=1))

    model = Breaking()
    stream = PROGRAM.stream(m="text", model=model)
    assert {name: shown(slot) for name, slot in stream} == GOOD
    assert [keys_of(request) for request in model.requests[1:]] == [["score", "words"]]


@pytest.mark.parametrize("is_async", [False, True])
async def test_errors_come_through(is_async: bool) -> None:
    """A failed call makes failures of its slots; a mistake that concerns all calls is raised."""

    async def take(model: Piecewise) -> dict[str, Any]:
        stream = PROGRAM.stream(m="text", model=model)
        if is_async:
            return {name: shown(slot) async for name, slot in stream}
        return {name: shown(slot) for name, slot in stream}

    assert set((await take(Piecewise(ModelUnavailable("down")))).values()) == {"call failed"}
    with pytest.raises(ModelAccessDenied):
        await take(Piecewise(ModelAccessDenied("no key")))
    with pytest.raises(ZeroDivisionError):
        await take(Piecewise(ZeroDivisionError("a bug")))


@given(st.integers(1, 40), st.lists(st.text('{}[],:"\\ab1\n', max_size=8), min_size=3, max_size=3))
def test_what_is_told_is_what_holds(size: int, texts: list[str]) -> None:
    """Answers with any quotes, braces and escapes in them are told once, whole and right."""
    program = mti.combine("m -> a", "m -> b", "m -> c")
    right = dict(zip("abc", texts, strict=True))
    stream = program.stream(m="text", model=Piecewise(right, size=size))
    told = [(name, shown(slot)) for name, slot in stream]
    assert told == list(right.items())
