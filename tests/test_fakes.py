"""The shipped fakes, and the smallest values that they answer with."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from datetime import time as dt_time
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal
from uuid import UUID

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field as Limits
from pydantic import HttpUrl

from mtiprompt import errors
from mtiprompt.models.base import LanguageModel, Support
from mtiprompt.models.deadline import background_loop, left, until
from mtiprompt.models.example import example_of
from mtiprompt.models.fakes import EchoModel, FunctionModel, ScriptedModel
from mtiprompt.tasks import Field
from mtiprompt.testing import ChatServer, Fault, Received
from mtiprompt.wire import Message, Notation, OutputSchema, Reply, Request, Usage

HELLO = Request((Message("user", "Hello, you"),))


def with_schema(schema: dict[str, Any], notation: Notation = "free") -> Request:
    """A request with a schema, at the lowest level."""
    return Request(HELLO.messages, OutputSchema("answers", json.dumps(schema)), "prompt", notation)


def test_fakes_are_models() -> None:
    """Each fake keeps the protocol, and is what it is told to be."""
    support = Support("prompt")
    fakes = [
        ScriptedModel([], name="s", support=support),
        FunctionModel(lambda request: "x", name="f", support=support),
        EchoModel(name="e", support=support),
    ]
    for fake, name in zip(fakes, "sfe", strict=True):
        assert isinstance(fake, LanguageModel)
        assert (fake.name, fake.support) == (name, support)
        fake.keep(HELLO, Reply("x"))
    assert len({fake.identity for fake in fakes}) == 3


def test_script_in_order() -> None:
    """A script gives texts, whole replies and exceptions in order, then an error."""
    whole = Reply("whole", "length", Usage(calls=1, prompt_tokens=9), "m")
    model = ScriptedModel(["text", whole, errors.RateLimited("wait")])
    first = model.complete(HELLO)
    assert (first.text, first.model) == ("text", "scripted")
    assert first.usage == Usage(calls=1, prompt_tokens=3, completion_tokens=1)
    assert asyncio.run(model.acomplete(HELLO)) == whole
    with pytest.raises(errors.RateLimited):
        model.complete(HELLO)
    with pytest.raises(errors.ModelMisconfigured, match="script of 3 replies"):
        model.complete(HELLO)
    assert model.requests == [HELLO] * 4


def test_script_from_many_threads() -> None:
    """Each reply is given once, whoever asks."""
    model = ScriptedModel([str(number) for number in range(200)])
    got: list[str] = []

    def ask() -> None:
        for _ in range(25):
            got.append(model.complete(HELLO).text)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got, key=int) == [str(number) for number in range(200)]


def test_function_sync_and_async() -> None:
    """Functions of both kinds answer calls of both kinds, from outside and inside of a loop."""

    def plain(request: Request) -> str:
        return request.messages[0].content[:5]

    async def slow(request: Request) -> Reply:
        await asyncio.sleep(0)
        return Reply(request.messages[0].content[:5])

    async def inside(model: FunctionModel) -> list[str]:
        return [(await model.acomplete(HELLO)).text, model.complete(HELLO).text]

    for model in (FunctionModel(plain), FunctionModel(slow)):
        assert model.complete(HELLO).text == "Hello"
        assert asyncio.run(inside(model)) == ["Hello", "Hello"]
        assert len(model.requests) == 3
        assert model.complete(HELLO).usage.cost == 0.0


async def nested(request: Request) -> str:
    """An async function that asks another async function, synchronously."""
    return FunctionModel(shout).complete(request).text


async def through_a_thread(request: Request) -> str:
    """The same by way of a thread, as `map` has them, for which it waits."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(FunctionModel(shout).complete, request).result(20).text


async def through_a_loop(request: Request) -> str:
    """The same by way of a model that needs the background loop."""
    running = asyncio.run_coroutine_threadsafe(shout(request), background_loop())
    return running.result(20)


async def shout(request: Request) -> str:
    """An async function that has to wait."""
    await asyncio.sleep(0)
    return request.messages[0].content.upper()


@pytest.mark.parametrize("function", [nested, through_a_thread, through_a_loop])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_function_may_ask_synchronously(
    function: Callable[[Request], Awaitable[str]], is_async: bool
) -> None:
    """An async function that waits for another model never keeps that from its answer."""
    model = FunctionModel(function)
    said: list[str] = []

    def ask() -> None:
        reply = asyncio.run(model.acomplete(HELLO)) if is_async else model.complete(HELLO)
        said.append(reply.text)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(20)
    assert said == ["HELLO, YOU"]


@pytest.mark.parametrize("inside", [False, True])
def test_an_async_function_sees_the_deadline_and_the_settings(inside: bool) -> None:
    """Asked synchronously, in a loop or not, it runs in the context of the one who asks."""

    async def function(request: Request) -> str:
        return "in time" if left(math.inf) <= 30 else "without a deadline"

    async def ask() -> str:
        return FunctionModel(function).complete(HELLO).text

    with until(time.monotonic() + 30):
        said = asyncio.run(ask()) if inside else FunctionModel(function).complete(HELLO).text
    assert said == "in time"


def test_function_that_raises() -> None:
    """What the function raises comes out as it is."""

    def fail(request: Request) -> str:
        raise errors.ContextTooLong("too long")

    with pytest.raises(errors.ContextTooLong):
        FunctionModel(fail).complete(HELLO)
    with pytest.raises(errors.ContextTooLong):
        asyncio.run(FunctionModel(fail).acomplete(HELLO))


SMALL = [
    ({"enum": ["late", "lost"]}, "late"),
    ({"const": 7}, 7),
    ({"type": "integer"}, 0),
    ({"type": "integer", "minimum": 3}, 3),
    ({"type": "integer", "maximum": -2}, -2),
    ({"type": "integer", "exclusiveMinimum": 3}, 4),
    ({"type": "integer", "minimum": 4, "multipleOf": 3}, 6),
    ({"type": "integer", "exclusiveMaximum": 0, "multipleOf": 5}, -5),
    ({"type": "number", "minimum": 0.25}, 0.25),
    ({"type": "number"}, 0),
    ({"type": "boolean"}, False),
    ({"type": "null"}, None),
    ({"type": "string"}, "..."),
    ({"type": "string", "maxLength": 2}, ".."),
    ({"type": "string", "minLength": 5}, "....."),
    ({"type": "string", "format": "date"}, "2000-01-01"),
    ({"type": "string", "pattern": "^[A-Z]{3}-\\d{4}$"}, "AAA-0000"),
    ({"type": "string", "pattern": "^(yes|no)[^a-z.]+x?$"}, "yes0"),
    ({"type": "string", "pattern": r"^[^\x00-\x7F]+$"}, "é"),
    ({"type": "string", "pattern": r"^[^\W\d_]\W$"}, "a."),
    ({"type": ["string", "null"]}, "..."),
    ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, None),
    ({"type": "array", "items": {"type": "string"}}, []),
    ({"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "uniqueItems": True},
     ["a", "b"]),
    ({"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True},
     ["...", "..1", "..2"]),
    ({"type": "array", "items": {"type": "string", "format": "date"}, "minItems": 2,
      "uniqueItems": True}, ["2000-01-01", "2001-01-01"]),
    ({"type": "array", "items": {"type": "array", "items": {"type": "integer"}, "minItems": 2},
      "minItems": 2, "uniqueItems": True}, [[0, 0], [0, 1]]),
    ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "integer"}], "minItems": 3,
      "items": {"type": "string"}, "uniqueItems": True}, [0, 1, "..."]),
    ({"type": "array", "items": {"type": "number", "minimum": 0.5, "maximum": 0.6}, "minItems": 3,
      "uniqueItems": True}, [0.5, 0.501, 0.502]),
    ({"type": "object", "minProperties": 2, "additionalProperties": {"type": "integer"}},
     {"...": 0, "..1": 0}),
    ({"type": "object", "minProperties": 2, "propertyNames": {"enum": ["x", "y", "z"]}},
     {"x": None, "y": None}),
    ({"type": "object", "minProperties": 2, "patternProperties": {"^[a-z]$": {"type": "null"}}},
     {"a": None, "b": None}),
    ({"type": "object", "minProperties": 3, "properties": {"a": {"const": 1}, "...": {"const": 2}},
      "required": ["..."]}, {"...": 2, "a": 1, "..1": None}),
    ({"type": "object", "properties": {"b": {"type": "integer"}, "a": {"enum": [1]}, "c": {}},
      "required": ["a", "b"]}, {"b": 0, "a": 1}),
    ({"$ref": "#/$defs/x~1y", "$defs": {"x/y": {"type": "boolean"}}}, False),
    ({"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"properties": {"b": {"type": "null"}}, "required": ["b"]}]}, {"a": 0, "b": None}),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "value"), SMALL, ids=[str(schema) for schema, _ in SMALL])
def test_smallest_values(schema: dict[str, Any], value: Any) -> None:
    """The smallest value is the documented one, satisfies its schema, and is the same each time."""
    found = example_of(schema)
    assert found == value
    assert type(found) is type(value)
    jsonschema.validate(found, schema)
    assert json.loads(EchoModel().complete(with_schema(schema)).text) == value


PLENTY: list[Any] = [
    int, float, Decimal, str, date, datetime, dt_time, timedelta, UUID, IPv4Address, IPv6Address,
    HttpUrl, Literal["a"] | int, str | None, tuple[int, int], tuple[int, ...], frozenset[int],
    tuple[Literal["a", "b"], date], Annotated[int, Limits(le=-5)],
    Annotated[int, Limits(multiple_of=5, gt=5)], Annotated[float, Limits(gt=0.5, lt=0.6)],
    Annotated[str, Limits(pattern="^[A-Z]{2}-\\d+x?$")],
    Annotated[str, Limits(pattern="^(yes|no|[^a-z.]*)$")],
]  # fmt: skip
FEW: list[tuple[Any, int]] = [
    (bool, 2), (bool | None, 3), (Literal["a", "b", "c"], 3), (tuple[bool, bool], 4),
    (Annotated[int, Limits(ge=1, le=3)], 3), (Annotated[str, Limits(max_length=1)], 10),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "number"), [*((kind, 12) for kind in PLENTY), *FEW], ids=str)
def test_values_that_must_differ_do(kind: Any, number: int) -> None:
    """Of the items of a set, and the keys of a mapping, as many differ as must, up to all that the
    type has; each is of the type.
    """
    for whole in (set[kind], dict[str, kind]):
        for least in range(1, number + 1):
            one = Field("x", Annotated[whole, Limits(min_length=least)])
            value = one.adapter.validate_json(json.dumps(example_of(one.schema)), strict=True)
            assert len(value) == least


def test_one_value_stands_where_there_is_no_other() -> None:
    """A set that cannot have as many items as it must is given what there is, and nothing hangs."""
    for items in ({"const": "a"}, {"type": "string", "pattern": "^(|)*$"}):
        schema = {"type": "array", "items": items, "minItems": 3, "uniqueItems": True}
        assert example_of(schema) == [items.get("const", "")]


@st.composite
def schemas(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    """Schemas of the kinds that declarations give."""
    kind = draw(st.sampled_from(["integer", "number", "string", "enum", "boolean", "any"]))
    if depth and draw(st.booleans()):
        if draw(st.booleans()):
            least = draw(st.integers(0, 3))
            return {"type": "array", "items": draw(schemas(depth=depth - 1)), "minItems": least,
                    "maxItems": least + draw(st.integers(0, 2))}  # fmt: skip
        names = draw(st.lists(st.text(min_size=1, max_size=4), unique=True, max_size=4))
        properties = {name: draw(schemas(depth=depth - 1)) for name in names}
        return {"type": "object", "properties": properties, "required": names,
                "additionalProperties": False}  # fmt: skip
    if kind in {"integer", "number"}:
        low = draw(st.integers(-50, 50))
        return {"type": kind, "minimum": low, "maximum": low + draw(st.integers(0, 9))}
    if kind == "string":
        least = draw(st.integers(0, 9))
        return {"type": kind, "minLength": least, "maxLength": least + draw(st.integers(0, 9))}
    if kind == "enum":
        return {"enum": draw(st.lists(st.text(), min_size=1))}
    if kind == "any":
        return {"anyOf": [{"type": "null"}, {"type": "string"}]}
    return {"type": kind}


@given(schemas(), st.sampled_from(["compact", "spaced", "lines", "free"]))
def test_echo_satisfies_any_schema(schema: dict[str, Any], notation: Notation) -> None:
    """Whatever the schema and the notation, the answer is JSON that satisfies it."""
    text = EchoModel().complete(with_schema(schema, notation)).text
    jsonschema.validate(json.loads(text), schema)


def test_echo_keeps_to_the_notation() -> None:
    """The answer is spaced as asked for; without a schema it is the last message."""
    schema = {"type": "object", "properties": {"a": {"const": 1}, "b": {"const": [1, 2]}},
              "required": ["a", "b"]}  # fmt: skip
    wanted: dict[Notation, str] = {
        "compact": '{"a":1,"b":[1,2]}',
        "spaced": '{"a": 1, "b": [1, 2]}',
        "lines": '{\n"a": 1,\n"b": [1, 2]\n}',
        "free": '{"a": 1, "b": [1, 2]}',
    }
    for notation, text in wanted.items():
        assert EchoModel().complete(with_schema(schema, notation)).text == text
    assert EchoModel().complete(HELLO).text == "Hello, you"


def post(server: ChatServer, body: dict[str, Any], path: str = "/chat/completions") -> Any:
    """Status, headers and JSON that the server answers, through plain `http.client`."""
    import http.client

    host, _, port = server.base_url.removeprefix("http://").removesuffix("/v1").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    try:
        connection.request("POST", "/v1" + path, json.dumps(body))
        with connection.getresponse() as response:
            return response.status, dict(response.headers), json.loads(response.read())
    finally:
        connection.close()


def test_server_speaks_the_protocol() -> None:
    """The server answers with the smallest valid JSON, cuts off at `max_tokens`, and counts."""
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 2}},
              "required": ["n"]}  # fmt: skip
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    messages = [{"role": "user", "content": "x" * 40}]
    with ChatServer(model="named") as server:
        status, _, whole = post(server, {"messages": messages, "response_format": asked})
        assert status == 200
        assert whole["choices"][0]["message"]["content"] == '{"n":2}'
        assert whole["choices"][0]["finish_reason"] == "stop"
        assert whole["model"] == "named"
        assert whole["usage"]["prompt_tokens"] == 10
        _, _, cut = post(server, {"messages": messages, "response_format": asked, "max_tokens": 1})
        assert cut["choices"][0]["message"]["content"] == '{"n"'
        assert cut["choices"][0]["finish_reason"] == "length"
        assert post(server, {}, "/elsewhere")[0] == 404
        assert [received.number for received in server.requests] == [0, 1, 2]
        assert server.requests[0].level == "json_schema"


def test_server_misbehaves_on_demand() -> None:
    """Faults come in turn or as a function decides; refused response formats get a 400."""
    body = {"messages": [{"role": "user", "content": "x"}]}
    with ChatServer(faults=[Fault(429, "wait", headers={"Retry-After": "3"}), None]) as server:
        status, headers, said = post(server, body)
        assert (status, headers["Retry-After"], said["error"]["message"]) == (429, "3", "wait")
        assert [post(server, body)[0] for _ in range(2)] == [200, 200]

    def odd(received: Received) -> Fault | None:
        return Fault(503) if received.number % 2 else None

    with ChatServer(faults=odd, refuses=["json_object"]) as server:
        assert [post(server, body)[0] for _ in range(4)] == [200, 503, 200, 503]
        status, _, said = post(server, body | {"response_format": {"type": "json_object"}})
        assert status == 400
        assert "response_format" in said["error"]["message"]


def test_an_async_function_leaves_the_loop_of_the_thread_alone() -> None:
    """A thread that has an event loop still has it after a synchronous call: others find it."""

    async def answer(request: Request) -> str:
        return "yes"

    def ask() -> tuple[bool, bool]:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            FunctionModel(answer).complete(HELLO)
            return asyncio.get_event_loop_policy().get_event_loop() is loop, loop.is_closed()
        finally:
            loop.close()

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(ask).result() == (True, False)


def test_what_an_async_function_holds_outlives_a_call() -> None:
    """A lock or a client that is made once serves all synchronous calls, from any thread."""
    held: list[asyncio.Lock] = []

    async def answer(request: Request) -> str:
        if not held:
            held.append(asyncio.Lock())
        async with held[0]:
            await asyncio.sleep(0.01)
        return "yes"

    model = FunctionModel(answer)
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda _: model.complete(HELLO).text, range(6)))
    assert found == ["yes"] * 6
