"""Models that answer in pieces: litellm's, the engine in this process, retries, fakes."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtiprompt import errors
from mtiprompt.models import local
from mtiprompt.models.base import BaseModel, LanguageModel
from mtiprompt.models.deadline import left
from mtiprompt.models.fakes import PIECE, EchoModel, FunctionModel, ScriptedModel
from mtiprompt.models.local_call import Call, LocalTimeout
from mtiprompt.models.local_grammar import Constraint
from mtiprompt.models.retry import Backoff, RetryingModel
from mtiprompt.models.streaming import astream_within, stream_within
from mtiprompt.models.via_litellm import LiteLLMModel, LocalOptions
from mtiprompt.testing import ChatServer, Fault
from mtiprompt.wire import Message, OutputSchema, Reply, Request
from tests.conftest_models import SIZES, busy, run_script, settled
from tests.test_via_litellm import STATUSES

HELLO = Request((Message("user", "Hello"),))
SCHEMA = OutputSchema(
    "answers",
    '{"type":"object","properties":{"label":{"type":"string","enum":["a","b"]}},'
    '"required":["label"],"additionalProperties":false}',
)
DOWN = errors.ModelUnavailable("down")
TEXT = "Good day to you all, and to everybody else as well."

Pieces = list[str | Reply]
Drain = Callable[[LanguageModel, Request], Pieces]


def drained(model: LanguageModel, request: Request = HELLO) -> Pieces:
    """All that comes of a sync stream."""
    return list(model.stream(request))


def adrained(model: LanguageModel, request: Request = HELLO) -> Pieces:
    """All that comes of an async stream."""

    async def drain() -> Pieces:
        return [piece async for piece in model.astream(request)]

    return asyncio.run(drain())


DRAINS: dict[str, Drain] = {"sync": drained, "async": adrained}


@pytest.fixture(params=["sync", "async"])
def drain(request: pytest.FixtureRequest) -> Drain:
    """Both ways of streaming."""
    return DRAINS[request.param]


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """The import of litellm counts in no test, and no client is dropped with its connection open.

    Each server has a port of its own, so litellm makes more clients here than it keeps.
    """
    LiteLLMModel("openai/any").warm()
    import litellm

    litellm.in_memory_llm_clients_cache.max_size_in_memory = 10_000


class Watching(ChatServer):
    """A server that counts the connections that have ended."""

    gone = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await super().converse(reader, writer)
        finally:
            self.gone += 1


def client(server: ChatServer, name: str = "openai/any", **options: Any) -> LiteLLMModel:
    """A model that asks the server."""
    return LiteLLMModel(name, api_base=server.base_url, api_key="k", **options)


def split(pieces: Pieces) -> tuple[list[str], Reply]:
    """The texts and the reply of a stream, which has to be its last piece."""
    *texts, reply = pieces
    assert isinstance(reply, Reply)
    assert all(isinstance(text, str) for text in texts)
    return [str(text) for text in texts], reply


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether something comes true in time."""
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


def events(*deltas: dict[str, Any], finish: str | None = None) -> Fault:
    """A stream of deltas that ends without `[DONE]`."""
    frame = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    told: list[tuple[dict[str, Any], str | None]] = [(delta, None) for delta in deltas] + (
        [({}, finish)] if finish else []
    )
    choices = [{"index": 0, "delta": delta, "finish_reason": why} for delta, why in told]
    lines = [f"data: {json.dumps({**frame, 'choices': [choice]})}\n\n" for choice in choices]
    return Fault(body="".join(lines), headers={"Content-Type": "text/event-stream"})


# --- streams with a deadline ---------------------------------------------------------------------


class Source:
    """Gives items, then raises or ends; says when it was closed."""

    def __init__(self, items: list[int], error: Exception | None = None, pause: float = 0) -> None:
        self.items, self.error, self.pause = items, error, pause
        self.closed = threading.Event()

    async def __call__(self) -> AsyncGenerator[int, None]:
        try:
            for item in self.items:
                await asyncio.sleep(self.pause)
                yield item
            if self.error is not None:
                raise self.error
        finally:
            self.closed.set()


def read_sync(source: Source, timeout: float, found: list[int]) -> None:
    """Put what comes into a list."""
    found.extend(stream_within(source, timeout))


def read_async(source: Source, timeout: float, found: list[int]) -> None:
    """Put what comes into a list."""

    async def read() -> None:
        async for item in astream_within(source, timeout):
            found.append(item)

    asyncio.run(read())


READS = {"sync": read_sync, "async": read_async}


@given(st.lists(st.integers(), max_size=20), st.none() | st.builds(errors.RateLimited, st.text()))
def test_items_come_in_order_and_errors_last(items: list[int], error: Exception | None) -> None:
    """Whatever an iterator gives and raises, the reader gets the same, in both worlds."""
    for read in READS.values():
        source, found = Source(items, error), list[int]()
        if error is None:
            read(source, 20, found)
        else:
            with pytest.raises(errors.RateLimited) as caught:
                read(source, 20, found)
            assert caught.value is error
        assert found == items
        assert source.closed.wait(5)


@given(st.lists(st.integers(), min_size=1, max_size=9), st.data())
def test_closing_stops_the_source(items: list[int], data: st.DataObject) -> None:
    """A generator closed after any number of items closes its source."""
    taken = data.draw(st.integers(1, len(items)))
    source = Source(items)
    pieces = stream_within(source, 20)
    assert [next(pieces) for _ in range(taken)] == items[:taken]
    pieces.close()
    assert source.closed.wait(5)

    async def some() -> None:
        apieces = astream_within(source, 20)
        assert [await anext(apieces) for _ in range(taken)] == items[:taken]
        await apieces.aclose()

    source.closed.clear()
    asyncio.run(some())
    assert source.closed.wait(5)


@pytest.mark.parametrize("way", READS)
def test_the_deadline_is_one_for_all_items(way: str) -> None:
    """Items that keep coming do not put the end off, and the source is stopped there."""
    source, found = Source(list(range(1000)), pause=0.05), list[int]()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        READS[way](source, 0.4, found)
    assert 0.3 < time.monotonic() - began < 2
    assert source.closed.wait(5)


def test_a_slow_reader_gets_what_came_in_time() -> None:
    """Items that came before the deadline are read after it; nothing that came later is."""
    source = Source(list(range(1000)), pause=0.05)
    pieces = stream_within(source, 0.4)
    found = [next(pieces)]
    assert source.closed.wait(5)
    with pytest.raises(TimeoutError):
        found.extend(pieces)
    assert 2 <= len(found) < 10


def test_a_source_that_does_not_stop_keeps_nobody() -> None:
    """The reader is free at its deadline, whatever the iterator does with its cancellation."""
    ended = threading.Event()

    async def stubborn() -> AsyncGenerator[int, None]:
        yield 1
        end = time.monotonic() + 2
        while time.monotonic() < end:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.1)
        ended.set()

    pieces = stream_within(stubborn, 0.5)
    assert next(pieces) == 1
    with pytest.raises(TimeoutError):
        next(pieces)
    assert not ended.is_set()
    assert ended.wait(10)


def test_the_end_of_the_program_does_not_hang() -> None:
    """A background loop that imports when the program ends leaves destructors their import lock."""
    done = run_script(
        """
        import _imp, sys, time
        from mtiprompt.models.deadline import background_loop

        class Late:
            def __del__(self):
                try:
                    import colorsys
                except ImportError:
                    pass

        def work():
            _imp.acquire_lock()
            time.sleep(0.1)
            _imp.release_lock()
            loop.call_soon(work)

        sys.modules["late"] = Late()  # so that it goes when the interpreter does
        loop = background_loop()
        loop.call_soon_threadsafe(work)
        time.sleep(0.15)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- through litellm -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openai/gpt-4o-mini", "hosted_vllm/any"])
def test_a_stream_ends_with_the_reply_of_complete(name: str, drain: Drain) -> None:
    """The texts are those of the reply, and it is the one that `complete` gives, cost and all."""
    prompt = (Message("system", "Answer. " * 1000), Message("user", "Hello"))
    with ChatServer(lambda received: TEXT, model="served", prefix_cache=True) as server:
        model = client(server, name, temperature=0.5, seed=7)
        for request in (
            Request(prompt),
            Request(prompt, SCHEMA, "json_schema"),
            Request(prompt, SCHEMA, "json_object"),
        ):
            model.complete(request)  # from now on the prompt is in the provider's cache
            whole = model.complete(request)
            texts, reply = split(drain(model, request))
            assert len(texts) == len(TEXT) // 8 + 1
            assert "".join(texts) == reply.text == TEXT
            assert replace(reply, usage=whole.usage) == whole
            assert reply.usage.cached_tokens > 1000
            assert replace(reply.usage, seconds=whole.usage.seconds) == whole.usage
            assert (reply.usage.cost is None) == (name == "hosted_vllm/any")
            *_, before, streamed = (dict(received.body) for received in server.requests)
            assert streamed.pop("stream") is True
            assert streamed.pop("stream_options") == {"include_usage": True}
            before.pop("stream", None)
            assert streamed == before


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
def test_cut_off_refused_and_filtered(provider: str, drain: Drain) -> None:
    """Why a stream ended is told as `complete` tells it, and a refusal has its words."""
    faults = [None, Fault(refuse="I will not."), events({"content": "So"}, finish="content_filter")]
    with ChatServer(lambda received: TEXT, faults=faults) as server:
        model = client(server, f"{provider}/any", max_tokens=4)
        cut, refused, filtered = (split(drain(model, HELLO)) for _ in faults)
    assert (cut[1].finish_reason, cut[1].text) == ("length", TEXT[:16])
    assert (refused[1].finish_reason, refused[1].text) == ("refused", "I will not.")
    assert (filtered[1].finish_reason, filtered[1].text) == ("refused", "So")
    for texts, reply in (cut, refused, filtered):
        assert "".join(texts) == reply.text
        assert "broken" not in reply.details


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        *STATUSES,
        (Fault(drop_after=0), errors.ModelUnavailable),
        (events(), errors.ModelUnavailable),
    ],
    ids=lambda value: None if isinstance(value, Fault) else value.__name__,
)
def test_failures_before_the_first_text(
    fault: Fault, kind: type[errors.ModelError], provider: str
) -> None:
    """They are raised as `complete` raises them, after one request each."""
    with ChatServer(faults=lambda received: fault) as server:
        for drain in DRAINS.values():
            with pytest.raises(errors.ModelError) as caught:
                drain(
                    client(server, f"{provider}/any"),
                    Request(HELLO.messages, SCHEMA, "json_schema"),
                )
            assert type(caught.value) is kind, caught.value
        assert len(server.requests) == 2


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
@pytest.mark.parametrize(
    "fault", [Fault(drop_after=20), events({"content": TEXT[:20]})], ids=["dropped", "no finish"]
)
def test_a_stream_that_breaks_off(fault: Fault, provider: str, drain: Drain) -> None:
    """What came is a reply that was cut off; it says why, and its usage is estimated."""
    with ChatServer(lambda received: TEXT, faults=[fault]) as server:
        texts, reply = split(drain(client(server, f"{provider}/any"), HELLO))
    assert "".join(texts) == reply.text == TEXT[:20]
    assert reply.finish_reason == "length"
    assert reply.details["broken"]
    assert reply.usage.calls == 1
    assert reply.usage.prompt_tokens > 0
    assert reply.usage.completion_tokens > 0


@pytest.mark.parametrize("name", ["openai/any", "hosted_vllm/any"])
def test_a_stream_tells_of_rate_limits(name: str, drain: Drain) -> None:
    """What the headers of a stream say of rate limits is in the details, as without streaming."""
    fault = Fault(headers={"x-ratelimit-remaining-requests": "7"})
    with ChatServer(faults=lambda _: fault) as server:
        _, reply = split(drain(client(server, name), HELLO))
    assert reply.details["rate_limits"] == {"remaining-requests": 7.0}


def test_the_time_out_is_one_for_the_whole_stream(drain: Drain) -> None:
    """A server that drips pieces, or stops in the middle, is cut off at the time-out."""
    for fault in (Fault(drip=0.2), Fault(hang_after=8)):
        with Watching(lambda received: TEXT * 4, faults=[fault]) as server:
            model = client(server, timeout=0.6)
            began = time.monotonic()
            texts, reply = split(drain(model, HELLO))
            assert 0.5 < time.monotonic() - began < 3
            assert within(5, lambda: server.gone == 1)
        assert 1 <= len(texts) < 10
        assert reply.finish_reason == "length"
        assert "no whole reply within" in reply.details["broken"]
    with ChatServer(faults=[Fault(hang=True)]) as server:
        began = time.monotonic()
        with pytest.raises(errors.ModelTimeout):
            drain(client(server, timeout=0.3), HELLO)
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
def test_pieces_come_before_the_end_and_closing_hangs_up(provider: str) -> None:
    """The first piece is there while the server still writes, and who closes leaves the server."""
    with Watching(lambda received: TEXT, faults=lambda received: Fault(hang_after=8)) as server:
        model = client(server, f"{provider}/any")
        pieces = model.stream(HELLO)
        assert next(pieces) == TEXT[:8]
        assert server.gone == 0
        pieces.close()
        assert within(5, lambda: server.gone == 1)

        async def one() -> None:
            apieces = model.astream(HELLO)
            assert await anext(apieces) == TEXT[:8]
            await apieces.aclose()

        asyncio.run(one())
        assert within(5, lambda: server.gone == 2)


async def test_a_cancelled_task_hangs_up() -> None:
    """A task that is cancelled while it waits for the next piece leaves the server at once."""
    with Watching(lambda received: TEXT, faults=[Fault(hang_after=8)]) as server:
        came = asyncio.Event()

        async def read() -> None:
            async for _ in client(server).astream(HELLO):
                came.set()

        task = asyncio.create_task(read())
        await came.wait()
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < 0.5
        assert await asyncio.to_thread(within, 5, lambda: server.gone == 1)


def test_an_interrupt_hangs_up() -> None:
    """Ctrl-C ends a sync stream that waits for its server, and its connection."""
    with Watching(lambda received: TEXT, faults=[Fault(hang_after=8)]) as server:
        pieces = client(server).stream(HELLO)
        assert next(pieces)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            next(pieces)
        assert time.monotonic() - began < 1
        assert within(5, lambda: server.gone == 1)


def test_streams_leak_nothing() -> None:
    """Streams read to the end, left early and broken off leave no thread and no connection."""

    def some(times: int) -> None:
        for _ in range(times):
            drained(model)
            adrained(model)
            left_early = model.stream(HELLO)
            next(left_early)
            left_early.close()
        gc.collect()

    faults = [Fault(drop_after=9) if number % 3 == 1 else None for number in range(99)]
    with Watching(lambda received: TEXT, faults=faults) as server:
        model = client(server)
        some(3)
        threads, files = threading.active_count(), len(list(Path("/dev/fd").iterdir()))
        some(5)
        assert within(5, lambda: len(list(Path("/dev/fd").iterdir())) <= files + 1)
        assert threading.active_count() <= threads + 1


def test_streams_at_the_same_time() -> None:
    """Streams of threads and of tasks do not wait for each other."""
    with ChatServer(lambda received: TEXT, pause=0.05) as server:
        model = client(server)
        drained(model)
        threads = [threading.Thread(target=drained, args=(model,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.most_at_once >= 4

        async def many() -> list[Pieces]:
            async def one() -> Pieces:
                return [piece async for piece in model.astream(HELLO)]

            return await asyncio.gather(*(one() for _ in range(8)))

        assert all(split(pieces)[1].text == TEXT for pieces in asyncio.run(many()))
        assert server.most_at_once >= 8


# --- retries -------------------------------------------------------------------------------------


def retrying(inner: LanguageModel, **options: Any) -> RetryingModel:
    """A retrying model that does not sleep."""

    async def asleep(seconds: float) -> None:
        await asyncio.sleep(0)

    return RetryingModel(inner, sleep=lambda seconds: None, asleep=asleep, **options)


def test_asks_again_until_the_first_text(drain: Drain) -> None:
    """Calls that fail before any text are made again and counted, and the last error comes out."""
    inner = ScriptedModel([DOWN, errors.RateLimited("wait"), TEXT])
    texts, reply = split(drain(retrying(inner), HELLO))
    assert "".join(texts) == reply.text == TEXT
    assert (reply.usage.calls, len(inner.requests)) == (3, 3)
    last = errors.RateLimited("the last")
    with pytest.raises(errors.RateLimited) as caught:
        drain(retrying(ScriptedModel([DOWN, last, "never"]), retries=1), HELLO)
    assert caught.value is last
    for error in (errors.ModelAccessDenied("no"), errors.SchemaRejected("no"), LocalTimeout("no")):
        inner = ScriptedModel([error, "never"])
        with pytest.raises(type(error)):
            drain(retrying(inner), HELLO)
        assert len(inner.requests) == 1


def test_does_not_ask_again_after_the_first_text(drain: Drain) -> None:
    """Over real HTTP: a call that fails is made again, one that breaks off is not."""
    faults = [Fault(503), Fault(drop_after=0), Fault(drop_after=16)]
    with ChatServer(lambda received: TEXT, faults=faults) as server:
        texts, reply = split(drain(retrying(client(server)), HELLO))
        assert len(server.requests) == 3
    assert "".join(texts) == reply.text == TEXT[:16]
    assert (reply.finish_reason, reply.usage.calls) == ("length", 3)


def test_the_total_holds_for_streams_too(drain: Drain) -> None:
    """All calls and the stream together end by the total, and it is nobody else's deadline."""
    faults = [Fault(503), Fault(drip=0.2)]
    with ChatServer(lambda received: TEXT * 9, faults=faults) as server:
        model = retrying(client(server, timeout=30), total=1.0)
        began = time.monotonic()
        _, reply = split(drain(model, HELLO))
        assert 0.7 < time.monotonic() - began < 3
    assert "no whole reply" in reply.details["broken"]
    pieces = retrying(ScriptedModel([TEXT]), total=1.0).stream(HELLO)
    next(pieces)
    assert left(5) == 5
    pieces.close()


def test_closing_a_retrying_stream_closes_the_inner_one() -> None:
    """It is passed on at once, not when the garbage collector comes."""
    closed = []

    class Endless(BaseModel):
        """Streams until it is closed."""

        support = ScriptedModel([]).support

        def stream(self, request: Request) -> Generator[str | Reply, None, None]:
            try:
                while True:
                    yield "on"
            finally:
                closed.append("sync")

        async def astream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
            try:
                while True:
                    yield "on"
            finally:
                closed.append("async")

    model = RetryingModel(Endless(), backoff=Backoff(0.01))
    pieces = model.stream(HELLO)
    next(pieces)
    pieces.close()
    assert closed == ["sync"]

    async def one() -> None:
        apieces = model.astream(HELLO)
        await anext(apieces)
        await apieces.aclose()
        assert closed == ["sync", "async"]

    asyncio.run(one())


# --- fakes ---------------------------------------------------------------------------------------


@given(st.text())
def test_fakes_stream_in_small_pieces(text: str) -> None:
    """Whatever the text, its pieces are small and whole together, and the reply is `complete`'s."""

    async def later(request: Request) -> str:
        await asyncio.sleep(0)
        return text

    request = Request((Message("user", text),))
    makes: list[Callable[[], LanguageModel]] = [
        lambda: ScriptedModel([text]),
        lambda: FunctionModel(lambda request: text),
        lambda: FunctionModel(later),
        EchoModel,
    ]
    for make in makes:
        whole = make().complete(request)
        for drain in DRAINS.values():
            model = make()
            texts, reply = split(drain(model, request))
            assert "".join(texts) == text
            assert all(0 < len(one) <= PIECE for one in texts)
            assert replace(reply, usage=whole.usage) == whole
            assert replace(reply.usage, seconds=0) == replace(whole.usage, seconds=0)


async def test_streams_of_fakes_take_turns() -> None:
    """Async streams of fakes come piece by piece, each in its turn, as those of servers may."""
    order: list[int] = []

    async def read(number: int) -> None:
        async for _ in ScriptedModel(["x" * 40]).astream(HELLO):
            order.append(number)

    await asyncio.gather(read(0), read(1))
    assert order.index(1) < 3 < order.count(0)


# --- models in this process ----------------------------------------------------------------------

LONG = {"max_tokens": 900, "ignore_eos": True}


def local_model(file: Path, **options: Any) -> LiteLLMModel:
    """The small model, in the engine that all tests share."""
    return LiteLLMModel(f"local:{file}", local=LocalOptions(**SIZES), **options)


@pytest.mark.local
def test_a_local_stream_ends_with_the_reply_of_complete(
    model_file: Path, local_engine: local.Engine, drain: Drain
) -> None:
    """The pieces of the engine are the text of the reply, held to the schema like it."""
    model = local_model(model_file, max_tokens=12)
    for request in (HELLO, Request(HELLO.messages, SCHEMA, "json_schema", "compact")):
        model.complete(request)  # from now on the prompt is read
        whole = model.complete(request)
        texts, reply = split(drain(model, request))
        assert len(texts) > 1
        assert "".join(texts) == reply.text == whole.text
        assert replace(reply, usage=whole.usage) == whole
        assert replace(reply.usage, seconds=whole.usage.seconds) == whole.usage
        assert set(reply.details["timings"]) == set(whole.details["timings"])


@pytest.mark.local
def test_closing_stops_the_engine(model_file: Path, local_engine: local.Engine) -> None:
    """A stream that is closed frees its slot long before it would have ended."""
    model = local_model(model_file, **LONG)
    pieces = model.stream(HELLO)
    assert next(pieces)
    assert local_engine._calls
    pieces.close()
    assert settled(local_engine, 5)


@pytest.mark.local
def test_a_local_stream_that_is_late(model_file: Path, local_engine: local.Engine) -> None:
    """At the time-out it ends with what has come; a call in one piece says not to ask again."""
    model = local_model(model_file, timeout=1.0, **LONG)
    texts, reply = split(drained(model))
    assert "".join(texts) == reply.text != ""
    assert "no whole reply" in reply.details["broken"]
    with pytest.raises(errors.ModelTimeout) as caught:
        RetryingModel(model).complete(HELLO)
    assert type(caught.value) is LocalTimeout
    assert not caught.value.retryable
    assert settled(local_engine, 5)


@pytest.mark.local
def test_refusals_of_the_engine_come_before_any_text(
    model_file: Path, local_engine: local.Engine, drain: Drain
) -> None:
    """A prompt that is too long, and a schema that makes no sense, are errors of their kind."""
    model = local_model(model_file, max_tokens=4)
    long = Request((Message("user", "a b c " * 600),))
    bad = Request(HELLO.messages, OutputSchema("x", '{"type":"text"}'), "json_schema")
    for request, kind in ((long, errors.ContextTooLong), (bad, errors.SchemaRejected)):
        with pytest.raises(kind):
            drain(model, request)


@pytest.mark.local
def test_an_interrupt_stops_the_engine(model_file: Path, local_engine: local.Engine) -> None:
    """Ctrl-C in a call in one piece ends what the engine does for it, not the waiting alone."""
    model = local_model(model_file, **LONG)

    def interrupt() -> None:
        assert busy(local_engine)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        model.complete(HELLO)
    assert settled(local_engine, 5)


@given(st.text(alphabet='{"a: x', max_size=12), st.lists(st.integers(0, 12), max_size=4))
def test_no_text_is_handed_out_before_its_opening_holds(text: str, cuts: list[int]) -> None:
    """A text is told in pieces that are whole together, and not a letter of one that is broken."""
    told: list[str] = []
    constraint = Constraint({}, '{"a":')
    call = Call("m", constraint, threading.Event(), told.append)
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    stopped = False
    for start, end in pairwise(places):
        piece = {"choices": [{"delta": {"content": text[start:end]}}]}
        stopped = stopped or call._take(piece)
    call._take({"choices": [], "usage": {}})
    if constraint.broken_by(text):
        assert told == []
        with pytest.raises(errors.SchemaRejected):
            call.reply()
    else:
        call.reply()
        assert "".join(told) == text
        assert not stopped


# --- fresh samples -------------------------------------------------------------------------------


def test_further_samples_vary() -> None:
    """Sample 0 is sent as it is; from 1 on a low temperature rises and a seed moves, if set."""
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {}),
        ({"temperature": 0, "seed": 5}, {"temperature": 0.7, "seed": 7}),
        ({"temperature": 0.2}, {"temperature": 0.7}),
        ({"temperature": 1.1, "seed": 0}, {"temperature": 1.1, "seed": 2}),
    ]
    with ChatServer() as server:
        for given, _ in cases:
            model = client(server, **given)
            model.complete(HELLO)
            model.complete(replace(HELLO, sample=2))
            drained(model, replace(HELLO, sample=2))
        bodies = iter([received.body for received in server.requests])
    for given, wanted in cases:
        for expected in (given, wanted, wanted):
            body = next(bodies)
            sent = {name: body[name] for name in ("temperature", "seed") if name in body}
            assert sent == expected


@pytest.mark.local
def test_local_samples_vary_and_can_be_had_again(
    model_file: Path, local_engine: local.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples reach the engine with a seed each, come again the same, and are not all alike."""
    sent: list[tuple[Any, Any]] = []
    chat = local_engine.chat

    def noted(payload: Any, **how: Any) -> dict[str, Any]:
        sent.append((payload["temperature"], payload.get("seed")))
        return chat(payload, **how)

    monkeypatch.setattr(local_engine, "chat", noted)
    model = local_model(model_file, max_tokens=12)
    requests = [replace(HELLO, sample=sample) for sample in (0, 1, 2)]
    texts = [[model.complete(request).text for request in requests] for _ in range(3)]
    assert sent == [(0.0, None), (0.7, 1), (0.7, 2)] * 3
    assert texts[1] == texts[2]  # in the first round the prompt was still to be read
    assert len(set(texts[1])) == 3
    model = local_model(model_file, max_tokens=12, temperature=0.9, seed=40)
    model.complete(requests[2])
    assert sent[-1] == (0.9, 42)
