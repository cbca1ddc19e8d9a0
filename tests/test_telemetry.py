"""Spans of OpenTelemetry: one for each call, after the conventions, without text."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import mtiprompt as mti
from mtiprompt import errors
from mtiprompt.models.base import BaseModel, LanguageModel
from mtiprompt.models.telemetry import TelemetryModel
from mtiprompt.testing import ChatServer, Fault
from tests.conftest_calls import Ask

# what pydantic says of litellm's own classes when a reply is streamed
pytestmark = [
    pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]

KEY = "sk-very-secret-0123456789"
ASKED = "The lamp of Mrs Brown hums."
SAID = "She should unplug it."
HELLO = mti.Request((mti.Message("system", "Be brief."), mti.Message("user", ASKED)))


class Streaming(BaseModel):
    """A model that gives a text in pieces, and notes whose span is current meanwhile."""

    name = "openai/streaming"

    def __init__(self, pieces: list[str | mti.Reply | Exception]) -> None:
        self.support = mti.EchoModel().support
        self.pieces = pieces
        self.current: list[int] = []
        self.closed = False

    def stream(self, request: mti.Request) -> Generator[str | mti.Reply, None, None]:
        try:
            for piece in self.pieces:
                self.current.append(here())
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.closed = True

    async def astream(self, request: mti.Request) -> AsyncGenerator[str | mti.Reply, None]:
        for piece in self.stream(request):
            await asyncio.sleep(0)
            yield piece


def here() -> int:
    """The number of the current span; 0 if there is none."""
    return trace.get_current_span().get_span_context().span_id


class Spans:
    """A provider of spans, and those that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    def all(self) -> list[ReadableSpan]:
        """Those that have ended, in that order."""
        return list(self._exporter.get_finished_spans())

    def one(self) -> tuple[ReadableSpan, dict[str, Any]]:
        """The only one, and its attributes."""
        [span] = self.all()
        return span, dict(span.attributes or {})


@pytest.fixture
def spans() -> Spans:
    """A provider of spans of the test's own."""
    return Spans()


def real(server: ChatServer, spans: Spans, **options: Any) -> TelemetryModel:
    """A watched model that calls the loopback server through litellm."""
    model = mti.Model(
        "openai/any", api_base=server.base_url, api_key=KEY, cache=False, retries=0, temperature=0
    )
    params = {"temperature": 0, "max_tokens": 50, "seed": 7, "stop": "END", "api_key": KEY}
    return TelemetryModel(model, spans.provider, endpoint=server.base_url, params=params, **options)


def test_a_call_is_a_span_after_the_conventions(spans: Spans, ask: Ask) -> None:
    """A real call, in each of its ways, gives one CLIENT span with what the conventions name."""
    with ChatServer(lambda received: SAID, model="any-2026") as server:
        reply = ask(real(server, spans), HELLO)
        port = int(server.base_url.rpartition(":")[2].removesuffix("/v1"))
    span, found = spans.one()
    assert (span.name, span.kind) == ("chat any", trace.SpanKind.CLIENT)
    assert span.status.status_code == trace.StatusCode.UNSET
    streamed = found.pop("gen_ai.request.stream", False)
    assert streamed == ("gen_ai.response.time_to_first_chunk" in found)
    assert found.pop("gen_ai.response.time_to_first_chunk", 0.0) >= 0.0
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "any",
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.model": "any-2026",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": reply.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": reply.usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "server.address": "127.0.0.1",
        "server.port": port,
        "mtiprompt.purpose": "answer",
        "mtiprompt.calls": 1,
        "mtiprompt.cache_hit": False,
    } | ({"mtiprompt.cost": reply.usage.cost} if reply.usage.cost is not None else {})


@pytest.mark.parametrize(
    ("name", "provider", "model"),
    [
        ("gemini/gemini-2.5-flash", "gcp.gemini", "gemini-2.5-flash"),
        ("bedrock/us/anthropic.claude", "aws.bedrock", "us/anthropic.claude"),
        ("groq/llama", "groq", "llama"),
        ("local/smollm2-135m", "local", "smollm2-135m"),
        ("local:/home/anna/secret plans/x.gguf", "local", "x.gguf"),
        ("local:x.gguf", "local", "x.gguf"),
        ("scripted", "mtiprompt", "scripted"),
    ],
)
def test_models_are_named_as_the_conventions_do(
    spans: Spans, name: str, provider: str, model: str
) -> None:
    """The provider has the conventions' name, and a file is named without its folder."""
    TelemetryModel(mti.ScriptedModel(["x"], name=name), spans.provider).complete(HELLO)
    span, found = spans.one()
    assert span.name == f"chat {model}"
    assert found["gen_ai.provider.name"] == provider
    assert found["gen_ai.request.model"] == model


def test_an_error_is_seen_and_raised(spans: Spans, ask: Ask) -> None:
    """A failed call is an ERROR span with the class and the status, and the error comes through."""
    fault = Fault(401, f"{ASKED}: wrong key {KEY}")
    with ChatServer(faults=[fault]) as server, pytest.raises(errors.ModelAccessDenied):
        ask(real(server, spans), HELLO)
    span, found = spans.one()
    assert span.status.status_code == trace.StatusCode.ERROR
    assert found["error.type"] == "ModelAccessDenied"
    assert found["http.response.status_code"] == 401
    assert found["gen_ai.response.finish_reasons"] == ("error",)
    assert not span.events


def test_no_text_and_no_key_by_default(spans: Spans, ask: Ask) -> None:
    """No prompt, reply, message of an error or key is in an exported span, as nobody asked."""
    faults = [None, Fault(400, f"we do not like {ASKED!r}"), Fault(401, f"wrong key {KEY}")]
    with ChatServer(lambda received: SAID, faults=faults) as server:
        model = real(server, spans)
        ask(model, HELLO)
        for kind in (errors.RequestRejected, errors.ModelAccessDenied):
            with pytest.raises(kind):
                ask(model, HELLO)
    exported = "".join(span.to_json() for span in spans.all())
    assert len(spans.all()) == 3
    for text in (ASKED, "Be brief", SAID, KEY):
        assert text not in exported


def test_text_on_request(spans: Spans, ask: Ask) -> None:
    """With `content=True` a span has messages, reply and error, and still no key."""
    faults = [None, Fault(401, f"wrong key {KEY}")]
    with ChatServer(lambda received: "\ud800 é", faults=faults) as server:
        model = real(server, spans, content=True)
        ask(model, HELLO)
        with pytest.raises(errors.ModelAccessDenied):
            ask(model, HELLO)
    good, bad = spans.all()
    found = dict(good.attributes or {})
    assert json.loads(str(found["gen_ai.input.messages"])) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": ASKED}]},
    ]
    assert json.loads(str(found["gen_ai.output.messages"])) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "\ud800 é"}],
            "finish_reason": "stop",
        }
    ]
    str(found["gen_ai.output.messages"]).encode()  # so that it can be exported
    assert "wrong key" in str(bad.status.description)
    assert KEY not in bad.to_json()


def test_hits_are_spans_without_tokens(spans: Spans, ask: Ask, tmp_path: Path) -> None:
    """A reply from the cache is a span that says so, and adds nothing to the tokens."""
    with ChatServer() as server:
        inner = mti.Model("openai/any", api_base=server.base_url, api_key=KEY, cache=tmp_path)
        inner.keep(HELLO, inner.complete(HELLO))
        ask(TelemetryModel(inner, spans.provider), HELLO)
        assert inner.cache is not None
        inner.cache.close()
    _, found = spans.one()
    assert found["mtiprompt.cache_hit"] is True
    assert found["mtiprompt.cost"] == 0.0
    assert "gen_ai.usage.input_tokens" not in found


def test_repairs_refusals_and_schemas_are_told(spans: Spans) -> None:
    """Purpose, output type, finish reason, cached and reasoning tokens are what was the case."""
    used = mti.Usage(calls=3, prompt_tokens=90, cached_tokens=80, completion_tokens=5, cost=None)
    reply = mti.Reply("no", "refused", used, "m", details={"reasoning_tokens": 4})
    schema = mti.OutputSchema("answers", "{}")
    request = mti.Request(HELLO.messages, schema, "json_schema", purpose="repair")
    TelemetryModel(mti.ScriptedModel([reply]), spans.provider).complete(request)
    _, found = spans.one()
    assert found["mtiprompt.purpose"] == "repair"
    assert found["mtiprompt.calls"] == 3
    assert "mtiprompt.cost" not in found
    assert found["gen_ai.output.type"] == "json"
    assert found["gen_ai.response.finish_reasons"] == ("content_filter",)
    assert found["gen_ai.usage.cache_read.input_tokens"] == 80
    assert found["gen_ai.usage.reasoning.output_tokens"] == 4


def test_spans_are_children_of_the_callers_span_in_map(spans: Spans) -> None:
    """Calls of `map` and `amap`, in threads and tasks, hang below the span that is current."""
    program = mti.combine("message -> urgent: bool", "message -> product: str")
    rows = [{"message": str(number)} for number in range(6)]
    split = mti.Plan.split(program)

    async def all_of_them(model: LanguageModel) -> int:
        return len([one async for one in program.amap(rows, model=model, plan=split)])

    server = ChatServer(faults=lambda received: Fault(delay=0.02))
    with server, spans.tracer.start_as_current_span("batch") as batch:
        model = real(server, spans)
        model.complete(HELLO)  # threads at once would make a client each
        assert len(list(program.map(rows, model=model, plan=split, concurrency=4))) == 6
        assert asyncio.run(all_of_them(model)) == 6
        assert server.most_at_once > 1
    calls = [span for span in spans.all() if span.name == "chat any"]
    assert len(calls) == 25
    for span in calls:
        assert span.parent is not None
        assert span.parent.span_id == batch.get_span_context().span_id


def test_the_span_is_current_for_the_inner_model_alone(spans: Spans) -> None:
    """Whatever the inner model does is below the span; the reader of a stream is not."""
    reply = mti.Reply("ab")
    for ways in range(2):
        inner = Streaming(["a", "b", reply])
        model = TelemetryModel(inner, spans.provider)
        with spans.tracer.start_as_current_span("reader") as reader:
            own = reader.get_span_context().span_id
            seen = []
            if ways == 0:
                for _ in model.stream(HELLO):
                    seen.append(here())
            else:

                async def read(model: TelemetryModel = model, seen: list[int] = seen) -> None:
                    async for _ in model.astream(HELLO):
                        seen.append(here())

                asyncio.run(read())
        call = next(span for span in reversed(spans.all()) if span.name != "reader")
        assert seen == [own] * 3
        assert call.context is not None
        assert inner.current == [call.context.span_id] * 3
    assert here() == 0


def test_a_stream_that_is_given_up_is_no_error(spans: Spans) -> None:
    """A stream closed early stops the inner call and ends its span, as given up, not as failed."""
    inner = Streaming(["a", "b", mti.Reply("ab")])
    pieces = TelemetryModel(inner, spans.provider).stream(HELLO)
    assert next(pieces) == "a"
    pieces.close()
    assert inner.closed
    span, found = spans.one()
    assert span.status.status_code == trace.StatusCode.UNSET
    assert found["gen_ai.response.finish_reasons"] == ("error",)
    assert "error.type" not in found


def test_the_reply_ends_a_stream_even_if_nobody_reads_on(spans: Spans) -> None:
    """A reader that stops with the reply leaves a span that has it."""
    reply = mti.Reply("ab", "length", mti.Usage(calls=1, completion_tokens=9))
    pieces = TelemetryModel(Streaming(["ab", reply]), spans.provider).stream(HELLO)
    assert next(pieces) == "ab"
    assert next(pieces) == reply
    _, found = spans.one()
    assert found["gen_ai.response.finish_reasons"] == ("length",)
    pieces.close()
    assert len(spans.all()) == 1


def test_a_cancelled_call_ends_its_span(spans: Spans) -> None:
    """A call cancelled by its caller ends its span, which is no error."""

    async def cancelled(server: ChatServer) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await real(server, spans).acomplete(HELLO)

    with ChatServer(faults=lambda received: Fault(hang=True)) as server:
        asyncio.run(cancelled(server))
    span, _ = spans.one()
    assert span.status.status_code == trace.StatusCode.UNSET


@pytest.mark.parametrize("endpoint", ["http://[oops", "http://host:port/v1", "", "nowhere"])
def test_an_endpoint_that_is_none_hurts_nobody(spans: Spans, endpoint: str) -> None:
    """What cannot be read as an address is left out."""
    model = TelemetryModel(mti.ScriptedModel(["x"]), spans.provider, endpoint=endpoint)
    model.complete(HELLO)
    assert "server.address" not in spans.one()[1]


def test_without_a_provider_nothing_happens() -> None:
    """Where the application has set up no telemetry, calls go on and no span is made."""
    model = TelemetryModel(mti.ScriptedModel(["x"]), content=True, params={"stop": 5})
    assert model.complete(HELLO).text == "x"


def test_a_global_provider_set_later_is_used() -> None:
    """The model may be made before the application sets up its telemetry."""
    script = """
import mtiprompt as mti
from mtiprompt.models.telemetry import TelemetryModel
model = TelemetryModel(mti.ScriptedModel(["x"]))
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
model.complete(mti.Request((mti.Message("user", "Hello"),)))
print([span.name for span in exporter.get_finished_spans()])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "['chat scripted']\n"


def test_without_the_package_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OpenTelemetry is an extra: what is missing is named, with the line that installs it."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(mti.SettingsError, match=r'pip install "mtiprompt\[otel\]"'):
        TelemetryModel(mti.ScriptedModel(["x"]))


def test_the_package_is_loaded_only_when_it_is_wanted() -> None:
    """Importing the module does not load OpenTelemetry."""
    script = "import sys, mtiprompt.models.telemetry; print('opentelemetry' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
