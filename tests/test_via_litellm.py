"""The seam to litellm, over real HTTP to the loopback server."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from mtiprompt import errors, settings
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.deadline import until
from mtiprompt.models.litellm_errors import TABLE, Sent, shown, translate
from mtiprompt.models.model import Model
from mtiprompt.models.via_litellm import LiteLLMModel
from mtiprompt.testing import ChatServer, Fault
from mtiprompt.wire import Level, Message, OutputSchema, Reply, Request, Usage

SCHEMA = OutputSchema(
    "answers",
    '{"type":"object","properties":{"label":{"type":"string","enum":["a","b"]}},'
    '"required":["label"],"additionalProperties":false}',
)
KEY = "sk-secret-0123456789"


def ask(level: Level = "json_schema", text: str = "Hello") -> Request:
    """A request with a schema."""
    return Request((Message("system", "Answer."), Message("user", text)), SCHEMA, level, "compact")


def client(server: ChatServer, name: str = "openai/any", **options: Any) -> LiteLLMModel:
    """A model that asks the server."""
    return LiteLLMModel(name, api_base=server.base_url, api_key=KEY, **options)


def both(model: LanguageModel, request: Request) -> list[Reply | errors.ModelError]:
    """What comes of a sync and of an async call."""
    outcomes: list[Reply | errors.ModelError] = []
    try:
        outcomes.append(model.complete(request))
    except errors.ModelError as error:
        outcomes.append(error)
    try:
        outcomes.append(asyncio.run(model.acomplete(request)))
    except errors.ModelError as error:
        outcomes.append(error)
    return outcomes


@pytest.fixture(scope="session", autouse=True)
def _warm() -> None:
    """The import of litellm counts in no test, and no client is dropped with its connection open.

    Each server has a port of its own, so litellm makes more clients here than it keeps.
    """
    LiteLLMModel("openai/any").warm()
    import litellm

    litellm.in_memory_llm_clients_cache.max_size_in_memory = 10_000


# --- replies ----------------------------------------------------------------------------------


def test_a_sync_call_makes_no_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """litellm finds the loop of the thread that it runs in, and makes none for each call."""
    made: list[asyncio.AbstractEventLoop] = []
    new = asyncio.new_event_loop

    def noted() -> asyncio.AbstractEventLoop:
        made.append(new())
        return made[-1]

    with ChatServer(lambda received: "{}") as server:
        model = client(server)
        model.complete(ask())
        monkeypatch.setattr(asyncio.events, "new_event_loop", noted)
        for _ in range(3):
            model.complete(ask())
    assert made == []


def test_reply_and_what_was_sent() -> None:
    """A reply is mapped whole, the same for sync and async, and one request is sent for each."""
    with ChatServer() as server:
        model = client(server, temperature=0.5, seed=7, top_p=0.9, stop=["!"])
        replies = both(model, ask())
        sent = [received.body for received in server.requests]
    for reply in replies:
        assert isinstance(reply, Reply)
        assert (reply.text, reply.finish_reason, reply.model) == ('{"label":"a"}', "stop", "any")
        used = reply.usage
        assert (used.calls, used.prompt_tokens, used.completion_tokens) == (1, 3, 3)
        assert used.cost is None  # the price of a model that nobody knows
        assert 0 < used.seconds < 10
        assert not reply.from_cache
    assert len(sent) == 2
    assert sent[0] == sent[1]
    assert sent[0]["messages"][1] == {"role": "user", "content": "Hello"}
    given = {name: sent[0][name] for name in ("temperature", "seed", "top_p", "stop")}
    assert given == {"temperature": 0.5, "seed": 7, "top_p": 0.9, "stop": ["!"]}


def test_temperature_is_sent_only_if_given() -> None:
    """Reasoning models refuse a temperature, so none is sent unless it is given, 0 included."""
    with ChatServer() as server:
        client(server).complete(ask())
        client(server, temperature=0).complete(ask())
        bodies = [received.body for received in server.requests]
    assert "temperature" not in bodies[0]
    assert bodies[1]["temperature"] == 0


@pytest.mark.parametrize("level", ["json_schema", "json_object", "prompt"])
def test_levels(level: Level) -> None:
    """The response format follows the level, and the schema arrives in its order."""
    with ChatServer(lambda received: "{}") as server:
        client(server).complete(ask(level))
        asked: Any = server.requests[0].body.get("response_format")
    wanted = {
        "json_schema": {
            "type": "json_schema",
            "json_schema": {"name": "answers", "schema": SCHEMA.schema, "strict": True},
        },
        "json_object": {"type": "json_object"},
        "prompt": None,
    }
    assert asked == wanted[level]
    if level == "json_schema":
        assert json.dumps(asked["json_schema"]["schema"], separators=(",", ":")) == SCHEMA.text


def test_cut_off_refused_and_cached() -> None:
    """A cut-off reply, a refusal and tokens from the provider's cache are seen as such."""

    def body(finish: str, message: dict[str, Any], usage: dict[str, Any]) -> Fault:
        choice = {"index": 0, "finish_reason": finish, "message": message}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15} | usage
        return Fault(body=json.dumps({"model": "m", "choices": [choice], "usage": usage}))

    said = {"role": "assistant", "content": "part"}
    no = {"role": "assistant", "content": None, "refusal": "I will not."}
    faults = [
        body("length", said, {"prompt_tokens_details": {"cached_tokens": 8}}),
        body("content_filter", said | {"content": ""}, {}),
        body("stop", no, {}),
        Fault(body='{"choices": []}'),
    ]
    with ChatServer(faults=faults) as server:
        model = client(server)
        cut, filtered, refused = (model.complete(ask()) for _ in range(3))
        with pytest.raises(errors.ModelUnavailable, match="no choices"):
            model.complete(ask())
    assert (cut.finish_reason, cut.text, cut.usage.cached_tokens) == ("length", "part", 8)
    assert (filtered.finish_reason, filtered.text) == ("refused", "")
    assert (refused.finish_reason, refused.text) == ("refused", "I will not.")


def test_known_prices_are_used() -> None:
    """The cost of a model of litellm's table is that of its tokens, cached ones at their price."""
    with ChatServer(lambda received: "x" * 400) as server:
        reply = client(server, "openai/gpt-4o-mini").complete(ask("prompt", "y" * 4000))
    used = reply.usage
    assert used.cost == pytest.approx(
        used.prompt_tokens * 0.15e-6 + used.completion_tokens * 0.6e-6, rel=1e-6
    )


# --- time -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("provider", "timeout"), [("openai", 1.0), ("hosted_vllm", 0.5)])
@pytest.mark.parametrize("fault", [Fault(drip=0.3), Fault(hang=True)], ids=["drip", "hang"])
def test_deadline_holds(fault: Fault, provider: str, timeout: float) -> None:
    """A server that drips a byte every 0.3 s, or says nothing, does not outlive the time-out."""
    with ChatServer(faults=lambda received: fault) as server:
        model = client(server, f"{provider}/any", timeout=timeout)
        began = time.monotonic()
        outcomes = both(model, ask())
        assert time.monotonic() - began < 2 * timeout + 1
    for outcome in outcomes:
        assert isinstance(outcome, errors.ModelTimeout)
        assert outcome.retryable


@pytest.mark.asyncio
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
    with ChatServer() as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        model = client(server)

        async def four() -> list[Reply]:
            return await asyncio.gather(*(model.acomplete(ask()) for _ in range(4)))

        asyncio.run(four())
        files = len(list(Path("/dev/fd").iterdir()))
        for _ in range(5):
            assert len(asyncio.run(four())) == 4
        assert len(list(Path("/dev/fd").iterdir())) <= files + 1


def test_calls_at_the_same_time() -> None:
    """Calls from threads and from tasks are in flight together."""
    with ChatServer(faults=lambda received: Fault(delay=0.3)) as server:
        model = client(server)
        both(model, ask())  # of several first calls at once, each makes a client of its own
        threads = [threading.Thread(target=model.complete, args=(ask(),)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.most_at_once == 8

        async def many() -> None:
            await asyncio.gather(*(model.acomplete(ask()) for _ in range(16)))

        asyncio.run(many())
        assert server.most_at_once == 16


# --- errors -----------------------------------------------------------------------------------

STATUSES = [
    (Fault(400, "a bad value"), errors.RequestRejected),
    (Fault(400, "Invalid schema for response_format 'answers'"), errors.SchemaRejected),
    (Fault(422, "guided_json is not understood"), errors.SchemaRejected),
    (Fault(500, "failed to parse grammar"), errors.SchemaRejected),
    (Fault(400, "This model's maximum context length is 9 tokens"), errors.ContextTooLong),
    (Fault(400, "prompt is too long: 9 > 5"), errors.ContextTooLong),
    (Fault(413, "Request exceeds the maximum size"), errors.ContextTooLong),
    (Fault(400, "rejected by our safety system"), errors.ContentRefused),
    (Fault(400, "no", code="content_policy_violation"), errors.ContentRefused),
    (Fault(401, f"Incorrect API key provided: {KEY}."), errors.ModelAccessDenied),
    (Fault(402), errors.QuotaExhausted),
    (Fault(403), errors.ModelAccessDenied),
    (Fault(404, "The model `any` does not exist"), errors.ModelNotFound),
    (Fault(408), errors.ModelTimeout),
    (Fault(409), errors.ModelUnavailable),
    (Fault(429), errors.RateLimited),
    (Fault(429, "You have no credits", code="insufficient_quota"), errors.QuotaExhausted),
    (Fault(500), errors.ModelUnavailable),
    (Fault(502), errors.ModelUnavailable),
    (Fault(503), errors.ModelUnavailable),
    (Fault(504), errors.ModelTimeout),
    (Fault(529), errors.ModelUnavailable),
    (Fault(drop=True), errors.ModelUnavailable),
    (Fault(body="<html>"), errors.ModelUnavailable),
    (Fault(body="{}"), errors.ModelUnavailable),
    (Fault(body="null"), errors.ModelUnavailable),
]


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm", "anthropic"])
@pytest.mark.parametrize(
    ("fault", "kind"), STATUSES, ids=[f"{f.status}-{k.__name__}" for f, k in STATUSES]
)
def test_failures_over_http(fault: Fault, kind: type[errors.ModelError], provider: str) -> None:
    """Every way a server fails becomes its error, sync and async, after exactly one request.

    The three providers go through the three ways that litellm has: OpenAI's client, its own for
    servers that are like OpenAI's, and its own for other protocols.
    """
    with ChatServer(faults=lambda received: fault) as server:
        name = "claude-3-haiku-20240307" if provider == "anthropic" else "any"
        for outcome in both(client(server, f"{provider}/{name}"), ask()):
            assert type(outcome) is kind, outcome
            assert KEY not in str(outcome)
            assert "\n" not in str(outcome)
        assert len(server.requests) == 2


def test_schema_words_matter_only_with_a_schema() -> None:
    """A refusal that speaks of a schema is no `SchemaRejected` where none was sent."""
    fault = Fault(400, "the schema of your order is wrong")
    with ChatServer(faults=lambda received: fault) as server:
        with pytest.raises(errors.SchemaRejected):
            client(server).complete(ask("json_object"))
        with pytest.raises(errors.RequestRejected) as caught:
            client(server).complete(ask("prompt"))
    assert type(caught.value) is errors.RequestRejected


def test_server_that_refuses_a_level() -> None:
    """The server's own refusal of a response format is understood, so that the level can drop."""
    with ChatServer(refuses=["json_schema"]) as server:
        model = client(server)
        with pytest.raises(errors.SchemaRejected):
            model.complete(ask())
        assert model.support.refuse("json_schema") == "json_object"
        assert model.complete(ask(model.support.level)).text == "{}"


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
def test_retry_after(provider: str) -> None:
    """The wait that a server asks for is read: seconds, milliseconds, a date, or the text."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    faults = [
        Fault(429, headers={"Retry-After": "7"}),
        Fault(429, headers={"retry-after-ms": "1500", "Retry-After": "2"}),
        Fault(503, headers={"Retry-After": soon}),
        Fault(429, headers={"Retry-After": "soon"}),
        Fault(429, "Please try again in 1m2.5s."),
        Fault(429),
    ]
    found: list[Any] = []
    with ChatServer(faults=faults) as server:
        model = client(server, f"{provider}/any")
        for _ in faults:
            with pytest.raises(errors.ModelError) as caught:
                model.complete(ask())
            found.append(caught.value.retry_after)
    assert found[:2] == [7, 1.5]
    assert 30 < found[2] <= 40
    assert found[3:] == [None, 62.5, None]


def test_no_server() -> None:
    """A refused connection can be retried, and the hint names the address."""
    with ChatServer() as server:
        address = server.base_url
    model = LiteLLMModel("openai/any", api_base=address, api_key=KEY)
    for outcome in both(model, ask()):
        assert type(outcome) is errors.ModelUnavailable
        assert address in str(outcome.hint)
        assert outcome.status is None


def test_mistakes_that_never_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, an unknown provider and a refused parameter are told at once, with what to do."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with ChatServer() as server:
        cases = [
            (LiteLLMModel("openai/any", api_base=server.base_url), "OPENAI_API_KEY"),
            (LiteLLMModel("nobody/any", api_base=server.base_url), "provider/model"),
            (client(server, "openai/o3", temperature=0), "leave out temperature"),
            (client(server, "anthropic/claude-3-haiku-20240307", seed=1), "leave out seed"),
        ]
        kinds = []
        for model, hint in cases:
            for outcome in both(model, ask("prompt")):
                assert isinstance(outcome, errors.ModelError)
                assert outcome.stops
                assert hint in str(outcome.hint)
                kinds.append(type(outcome))
        assert server.requests == []
    misconfigured = errors.ModelMisconfigured
    wanted = [errors.ModelAccessDenied, errors.ModelNotFound, misconfigured, misconfigured]
    assert kinds == [kind for kind in wanted for _ in range(2)]


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY}\u200b", "pl\xe4in-0123456789"])
@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
def test_a_key_that_no_header_can_hold_is_no_outage(
    provider: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given or in the environment it is told at once, without the key, and costs nothing."""
    with ChatServer() as server:
        there = server.base_url
        with pytest.raises(errors.SettingsError, match="api_key holds what no header can"):
            LiteLLMModel(f"{provider}/any", api_base=there, api_key=key)
        variable = f"{provider.upper()}_API_KEY"
        monkeypatch.setenv(variable, key)
        hint = "is there a line break in it, or a blank at its end?"
        said = f"{provider}/any: {variable} holds what no header can ({hint})"
        model = Model(f"{provider}/any", api_base=there, cache=False)
        for outcome in both(model, ask()):
            assert isinstance(outcome, errors.ModelAccessDenied)
            assert str(outcome) == said
        assert (server.count, model.usage.calls) == (0, 0)


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
def test_a_key_with_a_blank_at_its_end_is_no_outage(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only sync clients refuse it; then it is told as any other key that no header can hold."""
    with ChatServer() as server:
        there = server.base_url
        with pytest.raises(errors.SettingsError, match="api_key holds what no header can"):
            LiteLLMModel(f"{provider}/any", api_base=there, api_key=f"{KEY} ")
        variable = f"{provider.upper()}_API_KEY"
        monkeypatch.setenv(variable, f"{KEY} ")
        model = Model(f"{provider}/any", api_base=there, cache=False)
        with pytest.raises(errors.ModelAccessDenied, match=f"{variable} holds what no header can"):
            model.complete(ask())
        assert (server.count, model.usage.calls) == (0, 0)


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"X": "a\nb"}, "the header 'X' holds what"),
        ({"X": "\xfc"}, "the header 'X' holds what"),
        ({"X": " a"}, "the header 'X' holds what"),
        ({"X": "a "}, "the header 'X' holds what"),
        ({"X ": "a"}, "the header 'X ' holds what"),
        ({"Authorization": f"Bearer {KEY}\n"}, "the header 'Authorization' holds what"),
        ({"X": 1}, "the header 'X' is no text"),
        ({1: "a"}, "the header 1 is no text"),
        (["a"], "the parameter 'extra_headers' of a model is no dictionary"),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["openai/any", "hosted_vllm/any"])
def test_headers_that_no_client_sends_are_no_outage(name: str, headers: Any, said: str) -> None:
    """They are told when the model is made, without a word of what they hold."""
    with pytest.raises(errors.SettingsError) as caught:
        LiteLLMModel(name, api_base="http://127.0.0.1:1/v1", extra_headers=headers)
    assert said in str(caught.value)
    assert KEY not in str(caught.value)


def test_headers_and_a_key_with_a_blank_before_it_are_sent() -> None:
    """What a server can read is not refused: it cuts off the blanks in front of a key."""
    with ChatServer() as server:
        model = LiteLLMModel(
            "openai/any",
            api_base=server.base_url,
            api_key=f" {KEY}",
            extra_headers={"X-Mode": "so fast", "X-Empty": ""},
        )
        assert model.complete(ask()).text
        sent = server.requests[0].headers
    assert (sent["x-mode"], sent["x-empty"]) == ("so fast", "")
    assert sent["authorization"].split() == ["Bearer", KEY]


def test_every_exception_of_litellm_is_mapped() -> None:
    """Each exception class that litellm exports has a line of its own in the table.

    It fails when litellm gains one: decide what it means, and add it to `TABLE`.
    """
    import litellm
    import litellm.exceptions

    places = (vars(litellm.exceptions), vars(litellm))
    found = {
        one.__name__
        for place in places
        for one in place.values()
        if inspect.isclass(one)
        and issubclass(one, Exception)
        and one.__module__.partition(".")[0] == "litellm"
    }
    assert len(found) > 30
    assert found - set(TABLE) == set()


def test_every_reader_of_the_table_gives_an_error_of_ours() -> None:
    """Each class of the table is read, whatever it says; an unknown one is not retried."""
    for name in TABLE:
        for text in ("", "schema", "a\nb" * 1000):
            made = type(name, (Exception,), {})(text)
            found = translate(made, Sent("openai/any", formatted=True))
            assert isinstance(found, errors.ModelError)
            assert len(found.message) <= 300
    unknown = translate(ValueError("odd"), Sent("openai/any"))
    assert type(unknown) is errors.RequestRejected
    assert not unknown.retryable


def test_messages_are_short_and_hide_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, from wherever they are known, are struck out; a message is one line of 300 letters."""
    monkeypatch.setenv("SOMEONES_API_KEY", "abc-very-secret")
    text = (
        f"bad key hush-hush, {KEY} and abc-very-secret in Bearer ey.abc.def of "
        f"https://x/?key=AIzaSyA0123456789&y=1\nsecond line {'long ' * 100}"
    )
    line = shown(text, ("hush-hush",))
    for secret in ("hush-hush", KEY, "abc-very-secret", "ey.abc", "AIza"):
        assert secret not in line
    assert len(line) == 300
    assert "\n" not in line
    assert "y=1 second line" in line


# --- the surroundings -------------------------------------------------------------------------


def test_secrets_that_a_server_echoes_are_hidden() -> None:
    """No form of the password in the address, or of a secret parameter, comes out in a message."""
    basic = "bWU6aHVzaC1odXNoLTE="  # me:hush-hush-1
    said = f"denied: hush-hush-1 {basic} hush-hush-2 hush-hush-3"
    with ChatServer(faults=lambda _: Fault(400, message=said)) as server:
        model = LiteLLMModel(
            "openai/any",
            api_base=server.base_url.replace("//", "//me:hush-hush-1@"),
            api_key="hush-hush-2",
            extra_headers={"X-Secret": "hush-hush-3"},
        )
        with pytest.raises(errors.ModelError) as caught:
            model.complete(ask())
    assert "denied" in str(caught.value)
    assert not any(one in str(caught.value) for one in ("hush", basic.rstrip("=")))


def test_a_call_without_time_is_not_sent() -> None:
    """Its error says that it cost nothing."""
    with until(0), pytest.raises(errors.ModelTimeout) as caught:
        LiteLLMModel("openai/any", api_base="http://127.0.0.1:1", api_key="k").complete(ask())
    assert caught.value.usage == Usage()


def test_stray_calls_are_refused() -> None:
    """With `allow_requests` off, only loopback addresses are called."""
    assert settings.current().allow_requests is False  # conftest.py
    for base in (None, "http://192.0.2.1/v1", "https://127.0.0.1.example.com/v1"):
        for outcome in both(LiteLLMModel("openai/any", api_base=base, api_key=KEY), ask()):
            assert isinstance(outcome, errors.ModelMisconfigured)
            assert "switched off" in str(outcome)
    with ChatServer() as server:
        local = server.base_url.replace("127.0.0.1", "localhost")
        assert LiteLLMModel("openai/any", api_base=local, api_key=KEY).complete(ask()).text


def test_identity_has_all_that_matters_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Model, endpoint (also from the environment) and parameters are in it; no credential is."""
    made = LiteLLMModel(
        "openai/any",
        api_base="http://me:hush@127.0.0.1/v1",
        api_key=KEY,
        temperature=0.3,
        max_tokens=5,
        extra_headers={"Authorization": "hush", "X-Mode": "fast"},
        aws_secret_access_key="hush",
    )
    assert json.loads(made.identity) == [
        "openai/any",
        "http://127.0.0.1/v1",
        {"temperature": 0.3, "max_tokens": 5, "extra_headers": {"X-Mode": "fast"}},
        None,
    ]
    plain = LiteLLMModel("openai/any").identity
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert LiteLLMModel("openai/any").identity != plain
    assert LiteLLMModel("openai/any", api_key=KEY).identity == LiteLLMModel("openai/any").identity


@pytest.mark.parametrize(
    "params",
    [{"client": object()}, {"max_retries": 3}, {"num_retries": 1}, {"base_url": "x"}, {"f": print}],
)
def test_refused_parameters(params: dict[str, Any]) -> None:
    """Clients, litellm's own retries and what is no JSON data are refused, with the reason."""
    with pytest.raises(errors.SettingsError) as caught:
        LiteLLMModel("openai/any", **params)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "dialect"),
    [
        ("openai/gpt-5-mini", "openai"),
        ("anthropic/claude-sonnet-5", "anthropic"),
        ("bedrock/anthropic.claude-3", "anthropic"),
        ("gemini/gemini-3-flash", "gemini"),
        ("vertex_ai/gemini-3-pro", "gemini"),
        ("hosted_vllm/any", "openai"),
        ("local/smollm2-135m", "llguidance"),
        ("local:/a/b.gguf", "llguidance"),
    ],
)
def test_support(name: str, dialect: str) -> None:
    """The dialect follows the provider."""
    support = LiteLLMModel(name).support
    assert support.dialect == dialect
    assert support.level == "json_schema"


def test_the_import_is_quiet(tmp_path: Path) -> None:
    """A first call prints nothing, reads no `.env`, and leaves litellm's settings as documented."""
    (tmp_path / ".env").write_text("FROM_DOT_ENV=1\n")
    program = f"""
import os, sys, warnings
warnings.simplefilter("error")
from mtiprompt.models.model import Model
from mtiprompt.models.via_litellm import LiteLLMModel
from mtiprompt.testing import ChatServer
from mtiprompt.wire import Message, Request
assert "litellm" not in sys.modules
with ChatServer() as server:
    model = LiteLLMModel("openai/any", api_base=server.base_url, api_key={KEY!r})
    model.complete(Request((Message("user", "Hello"),)))
    LiteLLMModel("nobody/any", api_base=server.base_url)
import litellm, logging
assert litellm.suppress_debug_info and litellm.disable_hf_tokenizer_download
assert logging.getLogger("LiteLLM").level == logging.ERROR
assert "FROM_DOT_ENV" not in os.environ
assert litellm.cache is None and litellm.num_retries is None
"""
    here = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    for name in ("LITELLM_MODE", "LITELLM_LOCAL_MODEL_COST_MAP"):
        here.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=here, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_was_loaded_is_not_imported_at_the_first_call() -> None:
    """After `warm` and `load` the first call imports next to nothing, so no measurement pays."""
    program = f"""
import sys
from mtiprompt.models.model import Model
from mtiprompt.models.via_litellm import LiteLLMModel
from mtiprompt.testing import ChatServer
from mtiprompt.wire import Message, Request
with ChatServer() as server:
    model = LiteLLMModel("openai/any", api_base=server.base_url, api_key={KEY!r})
    model.warm()
    model.load()
    before = set(sys.modules)
    model.complete(Request((Message("user", "Hello"),)))
print(sum(one.startswith(("litellm", "openai", "tiktoken")) for one in set(sys.modules) - before))
"""
    here = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=here, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) < 40


def test_a_forked_child_can_call() -> None:
    """After a fork, the child's calls work: neither threads nor connections are the parent's."""
    program = f"""
import asyncio, os
from mtiprompt.models.model import Model
from mtiprompt.models.via_litellm import LiteLLMModel
from mtiprompt.testing import ChatServer
from mtiprompt.wire import Message, Request
request = Request((Message("user", "Hello"),))
with ChatServer() as server:
    model = LiteLLMModel("openai/any", api_base=server.base_url, api_key={KEY!r}, timeout=20)
    model.complete(request)
    asyncio.run(model.acomplete(request))
    child = os.fork()
    if child == 0:
        model.complete(request)
        asyncio.run(model.acomplete(request))
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    model.complete(request)
    assert len(server.requests) == 5
"""
    here = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=here, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_of_a_request_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Neither prompts nor keys are in the log, whatever happens."""
    caplog.set_level(logging.DEBUG, logger="mtiprompt")
    with ChatServer(faults=[None, Fault(500)]) as server:
        both(client(server), ask(text="a private word"))
    text = " ".join(record.getMessage() for record in caplog.records if "mtiprompt" in record.name)
    assert "private" not in text
    assert KEY not in text
