"""Models asked without litellm, over real HTTP to the loopback server and sockets of our own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtiprompt import errors, settings
from mtiprompt.models.deadline import arun_within
from mtiprompt.models.direct import DirectModel
from mtiprompt.models.direct.errors import of_exception
from mtiprompt.models.direct.stream import Events
from mtiprompt.models.direct.wire import body, opening, reply_of
from mtiprompt.models.http_errors import Sent
from mtiprompt.models.rate_headers import rate_limits, seconds_of
from mtiprompt.testing import ChatServer, Fault
from mtiprompt.wire import LEVELS, Level, Message, OutputSchema, Reply, Request
from tests.test_via_litellm import KEY, SCHEMA, STATUSES, ask

ROOT = Path(__file__).resolve().parents[1]


def client(server: ChatServer, **options: Any) -> DirectModel:
    """A model that asks the server."""
    return DirectModel("direct/any", **{"api_base": server.base_url, "api_key": KEY} | options)


def both(model: DirectModel, request: Request) -> list[Reply | errors.ModelError]:
    """What comes of a sync and of an async call."""
    outcomes: list[Reply | errors.ModelError] = []
    for call in (model.complete, lambda asked: asyncio.run(model.acomplete(asked))):
        try:
            outcomes.append(call(request))
        except errors.ModelError as error:
            outcomes.append(error)
    return outcomes


def streams(model: DirectModel, request: Request) -> list[list[str | Reply] | errors.ModelError]:
    """What comes of a sync and of an async stream."""

    async def gathered() -> list[str | Reply]:
        return [one async for one in model.astream(request)]

    outcomes: list[list[str | Reply] | errors.ModelError] = []
    calls: list[Callable[[], list[str | Reply]]] = [
        lambda: list(model.stream(request)),
        lambda: asyncio.run(gathered()),
    ]
    for call in calls:
        try:
            outcomes.append(call())
        except errors.ModelError as error:
            outcomes.append(error)
    return outcomes


def script(program: str) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own, where every warning is an error."""
    here = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    return subprocess.run(
        [sys.executable, "-c", program], env=here, capture_output=True, text=True, timeout=60
    )


# --- replies ----------------------------------------------------------------------------------


def test_reply_and_what_was_sent() -> None:
    """A reply is mapped whole, the same for sync and async, and one request is sent for each."""
    with ChatServer() as server:
        model = client(
            server,
            temperature=0.5,
            stop=["!"],
            extra_body={"guided_whitespace": False},
            extra_headers={"X-Mode": "fast"},
        )
        replies = both(model, ask(text="Grüße \U0001f600"))
        sent = [received.body for received in server.requests]
        received = server.requests[0]
    for reply in replies:
        assert isinstance(reply, Reply)
        assert (reply.text, reply.finish_reason, reply.model) == ('{"label":"a"}', "stop", "any")
        used = reply.usage
        assert (used.calls, used.completion_tokens) == (1, 3)
        assert used.prompt_tokens > 0
        assert used.cost is None
        assert 0 < used.seconds < 10
        assert not reply.from_cache
    assert len(sent) == 2
    assert sent[0] == sent[1]
    assert sent[0]["messages"][1] == {"role": "user", "content": "Grüße \U0001f600"}
    assert sent[0].keys() == {
        "model", "temperature", "stop", "guided_whitespace", "messages", "response_format"
    }  # fmt: skip
    assert (sent[0]["model"], sent[0]["temperature"], sent[0]["stop"]) == ("any", 0.5, ["!"])
    assert received.path == "/v1/chat/completions"
    assert received.headers["authorization"] == f"Bearer {KEY}"
    assert received.headers["x-mode"] == "fast"


@given(
    messages=st.lists(st.builds(Message, st.sampled_from(["system", "user"]), st.text())),
    params=st.dictionaries(st.sampled_from(["top_p", "stop", "é"]), st.none() | st.text()),
    level=st.sampled_from(LEVELS),
    name=st.text(),
    strict=st.booleans(),
    stream=st.booleans(),
)
def test_bodies_are_the_json_that_is_meant(
    messages: list[Message],
    params: dict[str, Any],
    level: Level,
    name: str,
    strict: bool,
    stream: bool,
) -> None:
    """Whatever texts there are, the body put together from parts is the JSON of the whole."""
    schema = OutputSchema(name, '{"enum":["ä","\\""]}', strict)
    request = Request(tuple(messages), schema, level)
    named = {"name": name, "schema": {"enum": ["ä", '"']}, "strict": strict}
    formats: dict[str, Any] = {
        "json_schema": {"response_format": {"type": "json_schema", "json_schema": named}},
        "json_object": {"response_format": {"type": "json_object"}},
        "prompt": {},
    }
    wanted = {"model": "any", **params, "messages": [one._asdict() for one in messages]}
    wanted |= formats[level]
    if stream:
        wanted |= {"stream": True, "stream_options": {"include_usage": True}}
    assert json.loads(body(opening("any", params), request, stream=stream)) == wanted


def test_the_schema_goes_out_as_it_is() -> None:
    """The schema arrives letter by letter, its properties in the order of answering."""
    assert f'"schema": {SCHEMA.text}}}' in body("{", ask()).decode()


def test_samples_differ() -> None:
    """From sample 1 on the temperature is at least 0.7 where one is set, and the seed moves."""
    with ChatServer() as server:
        for sample, options in (
            (0, {"temperature": 0, "seed": 7}),
            (2, {"temperature": 0, "seed": 7}),
            (2, {}),
        ):
            request = Request((Message("user", "Hello"),), sample=sample)
            client(server, **options).complete(request)
        asked = [(one.body.get("temperature"), one.body.get("seed")) for one in server.requests]
    assert asked == [(0, 7), (0.7, 9), (None, None)]


def whole(finish: str, message: dict[str, Any], **more: Any) -> Fault:
    """An answer with this message."""
    choice = {"index": 0, "finish_reason": finish, "message": message}
    usage = {"prompt_tokens": 10, "completion_tokens": 5} | more.pop("usage", {})
    return Fault(body=json.dumps({"choices": [choice], "usage": usage} | more))


async def test_a_sync_call_on_the_background_loop_is_refused() -> None:
    """It would wait for itself: this is told at once instead of at the deadline."""

    async def call() -> Reply:
        return DirectModel("direct/any", api_base="http://127.0.0.1:9/v1").complete(ask())

    with pytest.raises(errors.ModelMisconfigured, match="use acomplete"):
        await arun_within(call, 5)


def test_cut_off_refused_and_cached() -> None:
    """A cut-off reply, a refusal, content in parts and cached tokens are seen as such."""
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "te"}, {"text": "xt"}]
    faults = [
        whole("length", {"content": "part"}, usage={"prompt_tokens_details": {"cached_tokens": 8}}),
        whole("content_filter", {"content": ""}, usage={"prompt_cache_hit_tokens": 4}),
        whole("stop", {"content": None, "refusal": "I will not."}, timings={"cache_n": 3}),
        whole("stop", {"content": parts}, model="m", usage={"completion_tokens": None}),
    ]
    with ChatServer(faults=faults) as server:
        model = client(server)
        cut, filtered, refused, parted = (model.complete(ask()) for _ in faults)
    assert (cut.finish_reason, cut.text, cut.usage.cached_tokens) == ("length", "part", 8)
    assert (filtered.finish_reason, filtered.text, filtered.usage.cached_tokens) == (
        "refused",
        "",
        4,
    )
    assert (refused.finish_reason, refused.text) == ("refused", "I will not.")
    assert refused.usage.cached_tokens == 3
    assert (parted.text, parted.model, parted.usage.completion_tokens) == ("text", "m", 0)
    assert cut.model == "direct/any"


def test_details() -> None:
    """What else a server reports is kept as far as it is plain data, the rate limits among it."""
    told = whole(
        "stop",
        {"content": "x"},
        system_fingerprint="fp",
        timings={"predicted_ms": 1.5},
        usage={"completion_tokens_details": {"reasoning_tokens": 3}},
    )
    headers = {"X-RateLimit-Remaining-Requests": "99", "x-ratelimit-reset-requests": "1m2.5s"}
    fault = Fault(body=told.body, headers=headers)
    with ChatServer(faults=[fault]) as server:
        reply = client(server).complete(ask())
    assert reply.details == {
        "system_fingerprint": "fp",
        "timings": {"predicted_ms": 1.5},
        "reasoning_tokens": 3,
        "rate_limits": {"remaining-requests": 99.0, "reset-requests": 62.5},
    }


KEYS = ["choices", "message", "content", "refusal", "usage", "model", "timings", "finish_reason"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
)


@given(JSON)
def test_any_data_is_read_or_refused(data: Any) -> None:
    """Whatever JSON a server sends, a reply comes of it or a reason why none does."""
    for value in ({"choices": [data]}, {"choices": [{"message": data}], "usage": data}):
        reply = reply_of(value, {}, model="m", seconds=1.0)
        assert isinstance(reply.text, str)
        json.dumps(reply.details)
    if not isinstance(data, dict) or not data.get("choices"):
        with pytest.raises(ValueError, match="no choices"):
            reply_of(data, {}, model="m", seconds=1.0)


# --- rate limits ------------------------------------------------------------------------------


@given(st.integers(0, 5), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_durations_are_read(hours: int, minutes: int, seconds: int, milliseconds: int) -> None:
    """A duration written with units is as long as its parts together."""
    parts = [(hours, "h"), (minutes, "m"), (seconds, "s"), (milliseconds, "ms")]
    text = "".join(f"{number}{unit}" for number, unit in parts)
    total = 3600 * hours + 60 * minutes + seconds + milliseconds / 1000
    assert seconds_of(text) == pytest.approx(total)


@given(st.dictionaries(st.text(), st.text()))
def test_odd_headers_tell_nothing(headers: dict[str, str]) -> None:
    """Headers that say nothing of rates, or nothing that can be read, give nothing."""
    assert rate_limits(headers) == {}
    assert rate_limits(dict.fromkeys(["x-ratelimit-limit-tokens"], "soon")) == {}


def test_rate_limits() -> None:
    """Limits, what remains and the wait are told by one name each, also with litellm's prefix."""
    found = rate_limits(
        {
            "x-ratelimit-limit-requests": "100",
            "llm_provider-x-ratelimit-remaining-tokens": "9e3",
            "X-RateLimit-Reset-Tokens": "20ms",
            "x-ratelimit-reset-requests": "12",
            "x-ratelimit-limit-requests-day": "5",
        }
    )
    assert found == {
        "limit-requests": 100.0,
        "remaining-tokens": 9000.0,
        "reset-tokens": 0.02,
        "reset-requests": 12.0,
    }


# --- time -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault(drip=0.2), Fault(hang=True)], ids=["drip", "hang"])
def test_deadline_holds(fault: Fault) -> None:
    """A server that drips a byte every 0.2 s, or says nothing, does not outlive the time-out."""
    with ChatServer(faults=lambda received: fault) as server:
        model = client(server, timeout=0.5)
        began = time.monotonic()
        outcomes = both(model, ask())
        assert time.monotonic() - began < 2
    for outcome in outcomes:
        assert isinstance(outcome, errors.ModelTimeout)
        assert outcome.retryable


async def test_cancelled_calls_end_at_once() -> None:
    """A call that is cancelled does not wait for its server."""
    with ChatServer(faults=lambda received: Fault(hang=True)) as server:
        call = asyncio.create_task(client(server).acomplete(ask()))
        while not server.requests:  # noqa: ASYNC110  the server has no event of ours
            await asyncio.sleep(0.01)
        call.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert time.monotonic() - began < 0.5


def test_interrupt_comes_through_at_once() -> None:
    """Ctrl-C ends a sync call that waits for a server that says nothing, within half a second."""
    with ChatServer(faults=lambda received: Fault(hang=True)) as server:

        def interrupt() -> None:
            while not server.requests:
                time.sleep(0.01)
            moments.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

        moments: list[float] = []
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            client(server).complete(ask())
        assert time.monotonic() - moments[0] < 0.5


def test_repeated_event_loops() -> None:
    """Async calls survive one `asyncio.run` after the other, and leak no connection."""
    with ChatServer() as server:
        model = client(server)

        async def four() -> list[Reply]:
            return await asyncio.gather(*(model.acomplete(ask()) for _ in range(4)))

        asyncio.run(four())
        files = len(list(Path("/dev/fd").iterdir()))
        for _ in range(5):
            assert len(asyncio.run(four())) == 4
        end = time.monotonic() + 5  # the server, here too, closes its side later
        while len(list(Path("/dev/fd").iterdir())) > files + 1 and time.monotonic() < end:
            time.sleep(0.01)
        assert len(list(Path("/dev/fd").iterdir())) <= files + 1


def test_calls_at_the_same_time() -> None:
    """Calls from threads and from tasks are in flight together, as many as there are."""
    with ChatServer(faults=lambda received: Fault(delay=2.5)) as server:
        model = client(server)
        threads = [threading.Thread(target=model.complete, args=(ask(),)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.most_at_once == 8

        async def many() -> None:
            await asyncio.gather(*(model.acomplete(ask()) for _ in range(120)))

        asyncio.run(many())
        assert server.most_at_once == 120


# --- connections ------------------------------------------------------------------------------

OK = json.dumps({"choices": [{"finish_reason": "stop", "message": {"content": "ok"}}]})


@contextmanager
def impolite(
    *, answers: int, pause: float = 0.0, reads_on: bool = False
) -> Iterator[tuple[str, list[int]]]:
    """A server that closes each connection after so many answers and a pause, without a word.

    If it reads on, it closes it once it has read another request.
    Gives its address, and for each connection how many requests came over it.
    """
    counts: list[int] = []

    def serve(connection: socket.socket, place: int) -> None:
        with connection, connection.makefile("rb") as lines:
            for number in range(answers + reads_on):
                length = 0
                while (line := lines.readline().lower()) not in {b"\r\n", b""}:
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                if not lines.read(length):
                    return
                counts[place] += 1
                if number == answers:
                    return
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(OK)}\r\n\r\n{OK}"
                connection.sendall(head.encode())
            time.sleep(pause)

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            counts.append(0)
            threading.Thread(target=serve, args=(connection, len(counts) - 1)).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1", counts
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_connections_are_kept() -> None:
    """Calls one after the other go over one connection, sync and async alike."""
    with impolite(answers=4) as (address, counts):
        model = DirectModel("direct/any", api_base=address)
        for _ in range(2):
            assert [getattr(one, "text", one) for one in both(model, ask())] == ["ok", "ok"]
    assert counts == [4]


def test_connections_closed_between_calls_are_opened_anew() -> None:
    """A connection that the server has closed in between surfaces nowhere; nothing goes twice."""
    with impolite(answers=1, pause=0.02) as (address, counts):
        model = DirectModel("direct/any", api_base=address)
        for _ in range(3):
            assert model.complete(ask()).text == "ok"
            time.sleep(0.1)
    assert counts == [1, 1, 1]


def test_no_proxy_and_no_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls go where `api_base` says, without the keys that are meant for others."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("OPENAI_API_KEY", "DIRECT_API_KEY"):
        monkeypatch.setenv(name, KEY)
    with ChatServer() as server:
        assert client(server, api_key=None).complete(ask()).text
        headers = server.requests[0].headers
    assert "authorization" not in headers
    assert KEY not in str(headers)


@pytest.mark.parametrize("key", [f"{KEY} ", f" {KEY}"])
def test_blanks_around_a_key_or_a_header_are_sent(key: str) -> None:
    """A server cuts them off, so they are no reason to refuse a call."""
    with ChatServer() as server:
        assert client(server, api_key=key, extra_headers={"X-Mode": " fast "}).complete(ask()).text
        sent = server.requests[0].headers
    assert sent["authorization"].split() == ["Bearer", KEY]
    assert sent["x-mode"].strip() == "fast"


def test_name_and_password_of_the_address() -> None:
    """They go out as basic authentication, and are shown nowhere; a key goes before them."""
    with ChatServer(faults=lambda received: Fault(400, "hush-hush is no word")) as server:
        base = server.base_url.replace("//", "//me:hush-hush@")
        model = client(server, api_base=base, api_key=None)
        for outcome in both(model, ask()):
            assert str(outcome) == "direct/any: *** is no word"
        both(client(server, api_base=base), ask())
        sent = [received.headers["authorization"] for received in server.requests]
    assert sent == ["Basic bWU6aHVzaC1odXNo"] * 2 + [f"Bearer {KEY}"] * 2
    assert "hush" not in model.identity


def test_the_address_may_hold_more() -> None:
    """A query stays at the end, and the whole path may be given."""
    with ChatServer() as server:
        for end in ("?version=1", "/chat/completions", "/"):
            both(client(server, api_base=server.base_url + end), ask())
        paths = [received.path for received in server.requests]
    path = "/v1/chat/completions"
    assert paths == [f"{path}?version=1"] * 2 + [path] * 4


def test_large_bodies() -> None:
    """A body of several megabytes goes out whole, without a warning."""
    with ChatServer(lambda received: str(len(received.body["messages"][1]["content"]))) as server:
        assert client(server).complete(ask(text="x" * 3_000_000)).text == "3000000"


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind"), STATUSES, ids=[f"{f.status}-{k.__name__}" for f, k in STATUSES]
)
def test_failures_over_http(fault: Fault, kind: type[errors.ModelError]) -> None:
    """Every way a server fails becomes the error that it becomes by way of litellm.

    Sync, async and streamed alike, after exactly one request.
    """
    with ChatServer(faults=lambda received: fault) as server:
        model = client(server)
        outcomes = [*both(model, ask()), *streams(model, ask())]
        assert len(server.requests) == 4
    for outcome in outcomes:
        assert type(outcome) is kind, outcome
        assert KEY not in str(outcome)
        assert "\n" not in str(outcome)


ECHO = {
    "loc": ["body", "messages"],
    "msg": "Field required",
    "input": {"response_format": "schema"},
}
ODD = [
    (Fault(307, headers={"Location": "/elsewhere"}), errors.ModelNotFound, "injected"),
    (Fault(502, body="<html><h1>Bad</h1></html>"), errors.ModelUnavailable, "502 Bad Gateway"),
    (Fault(599, body=""), errors.ModelUnavailable, "599"),
    (
        Fault(400, body='{"object":"error","message":"too many tokens"}'),
        errors.ContextTooLong,
        "too",
    ),
    (Fault(404, body='{"detail":"Not Found"}'), errors.ModelNotFound, "Not Found"),
    (Fault(422, body=json.dumps({"detail": [ECHO]})), errors.RequestRejected, "Field required"),
    (Fault(400, body='{"error":"grammar"}'), errors.SchemaRejected, "grammar"),
    (Fault(body='{"error":{"code":429,"message":"slow"}}'), errors.RateLimited, "slow"),
    (Fault(body='{"error":{"code":"x"}}'), errors.ModelUnavailable, "an error"),
    (Fault(body="[[" * 100_000), errors.RequestRejected, "recursion"),
    (Fault(body='{"choices":[]}'), errors.ModelUnavailable, "no choices"),
]


@pytest.mark.parametrize(("fault", "kind", "word"), ODD)
def test_odd_failures(fault: Fault, kind: type[errors.ModelError], word: str) -> None:
    """Errors as other servers write them are read, too, and what they echo is not mistaken."""
    with ChatServer(faults=lambda received: fault) as server:
        for outcome in both(client(server), ask()):
            assert type(outcome) is kind, outcome
            assert word in str(outcome)
            assert outcome.status in {None, fault.status, 429}


def test_schema_words_matter_only_with_a_schema() -> None:
    """A refusal that speaks of a schema is no `SchemaRejected` where none was sent."""
    fault = Fault(400, "the schema of your order is wrong")
    with ChatServer(faults=lambda received: fault) as server:
        kinds = [type(both(client(server), ask(level))[0]) for level in ("json_object", "prompt")]
    assert kinds == [errors.SchemaRejected, errors.RequestRejected]


def test_server_that_refuses_a_level() -> None:
    """The server's own refusal of a response format is understood, so that the level can drop."""
    with ChatServer(refuses=["json_schema"]) as server:
        model = client(server)
        with pytest.raises(errors.SchemaRejected):
            model.complete(ask())
        assert model.support.refuse("json_schema") == "json_object"
        assert model.complete(ask(model.support.level)).text == "{}"


def test_retry_after() -> None:
    """The wait that a server asks for is read: seconds, milliseconds, a date, the text, a limit."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    faults = [
        Fault(429, headers={"Retry-After": "7"}),
        Fault(429, headers={"retry-after-ms": "1500", "Retry-After": "2"}),
        Fault(429, "Please try again in 1m2.5s."),
        Fault(429, headers={"Retry-After": "soon"}),
        Fault(503, headers={"Retry-After": soon}),
        Fault(429, headers={"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m"}),
        Fault(429, headers={"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "6m"}),
    ]
    found: list[Any] = []
    with ChatServer(faults=faults) as server:
        for _ in faults:
            with pytest.raises(errors.ModelError) as caught:
                client(server).complete(ask())
            found.append(caught.value.retry_after)
    assert found[:4] == [7, 1.5, 62.5, None]
    assert 30 < found[4] <= 40
    assert found[5:] == [360, None]


def test_no_server() -> None:
    """A refused connection can be retried, and the hint names the address."""
    with ChatServer() as server:
        address = server.base_url
    for outcome in both(DirectModel("direct/any", api_base=address), ask()):
        assert type(outcome) is errors.ModelUnavailable
        assert address in str(outcome.hint)
        assert outcome.status is None


def test_a_name_that_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a name server says comes out of its thread, and can be retried."""

    def unknown(*args: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with settings.using(allow_requests=True):
        model = DirectModel("direct/any", api_base="http://nowhere.invalid/v1")
        for outcome in both(model, ask()):
            assert type(outcome) is errors.ModelUnavailable
            assert "no such name" in str(outcome)


def test_untrusted_certificates() -> None:
    """A certificate that nobody vouches for concerns every call, and is not asked for again."""
    failed = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")
    error = of_exception(failed, Sent("direct/any"), (OSError,))
    assert type(error) is errors.ModelMisconfigured
    assert "SSL_CERT_FILE" in str(error.hint)


def test_a_wrong_key() -> None:
    """The hint names no variable, as none is read."""
    with ChatServer(faults=[Fault(401, "who are you?")]) as server:
        (outcome, _) = both(client(server, api_key=None), ask())
    assert isinstance(outcome, errors.ModelAccessDenied)
    assert str(outcome.hint).startswith("pass api_key=...")


# --- streams ----------------------------------------------------------------------------------


def chunk(text: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One chunk of a stream."""
    delta = {"content": text} | more.pop("delta", {})
    return {"model": "m", "choices": [{"delta": delta, "finish_reason": finish}], **more}


def events(*chunks: Any, **more: Any) -> Fault:
    """A stream of these chunks."""
    texts = [one if isinstance(one, str) else f"data: {json.dumps(one)}" for one in chunks]
    headers = {"Content-Type": "text/event-stream; charset=utf-8"} | more.pop("headers", {})
    return Fault(body="".join(f"{text}\r\n\r\n" for text in texts), headers=headers, **more)


def test_streams() -> None:
    """The texts come in pieces and make the text of the reply, which is that of a call."""
    with ChatServer(lambda received: "Grüße, \U0001f600 and more.") as server:
        model = client(server)
        reply = model.complete(ask())
        for pieces in streams(model, ask()):
            assert isinstance(pieces, list)
            *texts, last = pieces
            assert len(texts) > 1
            assert "".join(map(str, texts)) == reply.text
            assert isinstance(last, Reply)
            assert (last.text, last.finish_reason, last.model) == (reply.text, "stop", "any")
            assert last.usage.prompt_tokens == reply.usage.prompt_tokens
            assert last.usage.completion_tokens == reply.usage.completion_tokens
        assert server.requests[-1].body["stream_options"] == {"include_usage": True}


@given(st.lists(st.lists(st.text(), min_size=1)), st.sampled_from(["\n", "\r\n", "\r"]), st.data())
def test_events_are_read_however_they_are_cut(
    told: list[list[str]], line_end: str, data: st.DataObject
) -> None:
    """The same events come of the same lines, whatever ends them, wherever the network cuts."""
    dumped = [[json.dumps(text, ensure_ascii=False) for text in texts] for texts in told]
    blocks = [[": ping", "", *(f"data: {one}" for one in texts), "id: 1", ""] for texts in dumped]
    lines = [line for block in blocks for line in block]
    raw = ("\ufeff" + "".join(f"{line}{line_end}" for line in lines)).encode("utf-8", "replace")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    reader, found = Events(), []
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        found += list(reader.take(raw[start:end]))
    assert found == ["\n".join(texts).encode("utf-8", "replace").decode() for texts in dumped]


@pytest.mark.parametrize(
    ("pieces", "wanted"),
    [
        (["data: YHOO\ndata: +2\ndata: 10\n\n"], [["YHOO\n+2\n10"]]),
        (["data:test\n\ndata: test\n\ndata: te\ndata:  st\n\n"], [["test", "test", "te\n st"]]),
        (["data: 1\r\ndata: 2\rdata: 3\n\r\n"], [["1\n2\n3"]]),
        (["data: 1\r\r", "data: 2\r\n\r", "\n\n"], [["1"], ["2"], []]),
        (["data: 1\r", "", "\ndata: 2\n", "\n"], [[], [], [], ["1\n2"]]),
        (["\ufeff", ":\ufeff\n\ufeffdata: 1\n\ndata\n\ndate: 2\n\n"], [[], []]),
        (["data: 1\n\ndata: 2\n", "data: 3"], [["1"], []]),
    ],
    ids=["lines", "blank", "mixed", "at once", "cut line end", "no data", "no end"],
)
def test_events_are_those_of_the_standard(pieces: list[str], wanted: list[list[str]]) -> None:
    """Lines of data are joined until a blank one, which ends the event as soon as it is there.

    Source: WHATWG HTML, sections 9.2.5 and 9.2.6.
    """
    reader = Events()
    assert [list(reader.take(piece.encode())) for piece in pieces] == wanted


def test_a_stream_that_is_written_oddly() -> None:
    """A mark of the byte order and empty data are no events, one may have many lines; nothing
    counts after the end.
    """
    first = f"\ufeffdata: {json.dumps(chunk('Hello'))}"
    lines = json.dumps(chunk(", you"), indent=2).splitlines()
    spread = "\r".join(f"data: {line}" for line in lines)
    end = [chunk(finish="stop"), "data: [DONE]", chunk(" again")]
    told = events(first, "data:", "data: ", spread, *end)
    with ChatServer(faults=lambda received: told) as server:
        for pieces in streams(client(server), ask()):
            assert isinstance(pieces, list)
            assert pieces[:-1] == ["Hello", ", you"]


def test_a_stream_that_only_ends_is_broken() -> None:
    """The mark of the end alone is no reply."""
    with ChatServer(faults=lambda received: events("data: [DONE]")) as server:
        for error in streams(client(server), ask()):
            assert isinstance(error, errors.ModelUnavailable)


def test_what_a_stream_tells() -> None:
    """Usage, rate limits and a cut are read; what is no text is left out; texts are not doubled."""
    told = events(
        ": a comment",
        chunk(delta={"role": "assistant", "reasoning_content": "Hm."}),
        chunk("Hel"),
        chunk("lo"),
        chunk(finish="length", timings={"cache_n": 2}),
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}},
        "data: [DONE]",
        headers={"x-ratelimit-remaining-tokens": "5"},
    )
    with ChatServer(faults=lambda received: told) as server:
        for pieces in streams(client(server), ask()):
            assert isinstance(pieces, list)
            *texts, last = pieces
            assert texts == ["Hel", "lo"]
            assert isinstance(last, Reply)
            assert (last.text, last.finish_reason) == ("Hello", "length")
            assert (last.usage.prompt_tokens, last.usage.cached_tokens) == (9, 2)
            assert last.details["rate_limits"] == {"remaining-tokens": 5.0}
            assert "broken" not in last.details


def test_a_refusal_in_a_stream() -> None:
    """A refusal is seen as one."""
    told = events(
        chunk(delta={"refusal": "I will "}), chunk(delta={"refusal": "not."}, finish="stop")
    )
    with ChatServer(faults=[told]) as server:
        *_, reply = client(server).stream(ask())
    assert isinstance(reply, Reply)
    assert (reply.text, reply.finish_reason) == ("I will not.", "refused")


BREAKS = {
    "end": events(chunk("Hel"), chunk("lo")),
    "error": events(chunk("Hel"), chunk("lo"), {"error": {"message": "out of memory"}}),
    "old llama.cpp": events(chunk("Hel"), chunk("lo"), 'error: {"error": {"message": "no"}}'),
    "no JSON": events(chunk("Hel"), chunk("lo"), "data: {"),
    "drop": Fault(drop_after=5),
    "hang": Fault(hang_after=5),
}


@pytest.mark.parametrize("which", BREAKS)
def test_a_stream_that_breaks_off(which: str) -> None:
    """What has come is a reply that was cut off, and says why; what it used is estimated."""
    with ChatServer(lambda received: "Hello", faults=lambda received: BREAKS[which]) as server:
        for pieces in streams(client(server, timeout=0.5), ask(text="x" * 40)):
            assert isinstance(pieces, list)
            *texts, last = pieces
            assert "".join(map(str, texts)) == "Hello"
            assert isinstance(last, Reply)
            assert (last.text, last.finish_reason) == ("Hello", "length")
            assert last.details["broken"].startswith("direct/any: ")
            assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (12, 2)


def test_a_stream_that_fails_before_its_first_text() -> None:
    """It is an error, the one that it tells of."""
    faults = {
        "out": (events({"error": {"code": 503, "message": "out"}}), errors.ModelUnavailable),
        "grammar": (
            events({"error": {"code": 400, "message": "bad grammar"}}),
            errors.SchemaRejected,
        ),
        "its end": (events(": nothing"), errors.ModelUnavailable),
        "no JSON": (Fault(body="<html>"), errors.ModelUnavailable),
        "within": (Fault(hang=True), errors.ModelTimeout),
    }
    for word, (fault, kind) in faults.items():
        with ChatServer(faults=lambda received, fault=fault: fault) as server:  # type: ignore[misc]
            for outcome in streams(client(server, timeout=0.4), ask()):
                assert type(outcome) is kind, outcome
                assert word in str(outcome)


def test_a_server_that_does_not_stream() -> None:
    """An answer that comes whole all the same is the reply."""
    with ChatServer(faults=lambda received: whole("stop", {"content": "all"})) as server:
        for pieces in streams(client(server), ask()):
            assert isinstance(pieces, list)
            assert [getattr(one, "text", one) for one in pieces] == ["all"]


def test_closing_a_stream_stops_the_call() -> None:
    """The connection of a stream that nobody reads any more is closed at once."""
    with ChatServer(lambda received: "word " * 500, pieces=5, pause=0.01) as server:
        model = client(server)
        with closing(model.stream(ask())) as pieces:
            assert next(pieces) == "word "

        async def first() -> None:
            pieces = model.astream(ask())
            assert await anext(pieces) == "word "
            await pieces.aclose()

        asyncio.run(first())
        end = time.monotonic() + 2
        while server._open and time.monotonic() < end:
            time.sleep(0.01)
        assert server._open == 0


# --- the surroundings -------------------------------------------------------------------------


def test_stray_calls_are_refused() -> None:
    """With `allow_requests` off, only loopback addresses are called."""
    assert settings.current().allow_requests is False  # conftest.py
    for base in ("http://192.0.2.1/v1", "https://127.0.0.1.example.com/v1"):
        model = DirectModel("direct/any", api_base=base)
        for outcome in [*both(model, ask()), *streams(model, ask())]:
            assert isinstance(outcome, errors.ModelMisconfigured)
            assert "switched off" in str(outcome)
    with ChatServer() as server:
        local = server.base_url.replace("127.0.0.1", "localhost")
        assert client(server, api_base=local).complete(ask()).text


def test_identity_has_all_that_matters_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Model, endpoint (also from the environment) and parameters are in it; no credential is."""
    headers = {"Authorization": "hush", "X-Mode": "fast"}
    made = DirectModel(
        "direct/org/any",
        api_base="http://me:hush@127.0.0.1/v1",
        api_key=KEY,
        temperature=0.3,
        extra_headers=headers,
        extra_body={"api_key": "hush", "top_k": 1},
    )
    assert json.loads(made.identity) == [
        "direct/org/any",
        "http://127.0.0.1/v1",
        {"temperature": 0.3, "extra_headers": {"X-Mode": "fast"}, "extra_body": {"top_k": 1}},
        None,
    ]
    assert (made.support.dialect, made.support.level) == ("openai", "json_schema")
    monkeypatch.setenv("DIRECT_API_BASE", "http://127.0.0.1:1/v1")
    assert "127.0.0.1:1" in DirectModel("direct/any").identity


@pytest.mark.parametrize(
    "options",
    [
        {"api_base": None},
        {"api_base": "127.0.0.1:8000/v1"},
        {"api_base": "ftp://127.0.0.1/v1"},
        {"api_base": "http://127.0.0.1:99999999/v1"},
        {"api_key": "key\n"},
        {"extra_headers": {"a": 1}},
        {"extra_headers": {1: "a"}},
        {"extra_headers": {"Authorization": "Bearer key\n"}},
        {"extra_headers": ["a"]},
        {"extra_body": {"messages": []}},
        {"stream": True},
        {"f": print},
    ],
    ids=str,
)
def test_mistakes_are_told_at_once(options: dict[str, Any]) -> None:
    """What can never work is refused when the model is made, without a word of a secret."""
    given = {"api_base": "http://127.0.0.1/v1"} | options
    with pytest.raises(errors.SettingsError) as caught:
        DirectModel("direct/any", **given)
    assert "key\n" not in str(caught.value)


def test_a_process_loads_little_and_ends_quietly() -> None:
    """A call loads neither litellm nor httpx, and leaves nothing to complain about at the end."""
    done = script(f"""
import sys
from mtiprompt.models.direct import DirectModel
assert "aiohttp" not in sys.modules and "asyncio" not in sys.modules
import asyncio
from mtiprompt.testing import ChatServer
from mtiprompt.wire import Message, Request
with ChatServer() as server:
    model = DirectModel("direct/any", api_base=server.base_url, api_key={KEY!r})
    request = Request((Message("user", "Hello"),))
    model.complete(request)
    asyncio.run(model.acomplete(request))
    print(len(list(model.stream(request))))
    loaded = sorted({{"litellm", "httpx", "openai", "dspy"}} & set(sys.modules))
    print(loaded)
""")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1] == "[]"


def test_a_forked_child_can_call() -> None:
    """A child's calls work, and neither they nor its end touch the connections of its parent."""
    done = script(f"""
import asyncio, os, sys, warnings
from mtiprompt.models.direct import DirectModel
from mtiprompt.testing import ChatServer
from mtiprompt.wire import Message, Request
warnings.simplefilter("ignore")  # the child has its parent's loop, which it may not close
request = Request((Message("user", "Hello"),))
with ChatServer() as server:
    model = DirectModel("direct/any", api_base=server.base_url, api_key={KEY!r}, timeout=5)
    model.complete(request)
    child = os.fork()
    if child == 0:
        model.complete(request)
        asyncio.run(model.acomplete(request))
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    model.complete(request)
    asyncio.run(model.acomplete(request))
    assert len(server.requests) == 5
""")
    assert (done.returncode, done.stderr) == (0, "")
