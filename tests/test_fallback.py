"""Fallback: who is asked next, after what, and who keeps the reply."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from pathlib import Path

import pytest

import mtiprompt as mti
from mtiprompt import errors
from mtiprompt.models.base import BaseModel, Support
from mtiprompt.models.cache import CachedModel, ReplyCache
from mtiprompt.models.deadline import until
from mtiprompt.models.fallback import FallbackModel
from mtiprompt.testing import ChatServer, Fault
from mtiprompt.wire import Message, OutputSchema, Reply, Request, Usage
from tests.conftest_calls import Ask

HELLO = Request((Message("user", "Hello"),))
DOWN = errors.ModelUnavailable("down")


def scripted(name: str, *replies: str | Reply | BaseException) -> mti.ScriptedModel:
    """A model that says so."""
    return mti.ScriptedModel(replies, name=name)


def test_the_first_that_can_answers(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    """Models are asked in their order until one answers; each switch is one warning."""
    models = [scripted("a", DOWN, "a"), scripted("b", DOWN), scripted("c", "c", "no")]
    model = FallbackModel(models)
    with caplog.at_level(logging.WARNING, "mtiprompt.models.fallback"):
        reply = ask(model, HELLO)
    assert (reply.text, reply.model, reply.details) == ("c", "c", {"fallback": [2]})
    assert [record.getMessage() for record in caplog.records] == [
        "a cannot answer, b is asked: ModelUnavailable",
        "b cannot answer, c is asked: ModelUnavailable",
    ]
    again = ask(model, HELLO)
    assert (again.text, again.model, again.details) == ("a", "a", {})
    assert [len(one.requests) for one in models] == [2, 1, 1]


@pytest.mark.parametrize(
    ("error", "others"),
    [
        (errors.RateLimited("no"), True),
        (errors.ModelTimeout("no"), True),
        (errors.ModelUnavailable("no"), True),
        (errors.QuotaExhausted("no"), True),
        (errors.ModelNotFound("no"), True),
        (errors.ModelAccessDenied("no"), True),
        (errors.ContextTooLong("no"), True),
        (errors.ContentRefused("no"), True),
        (errors.SchemaRejected("no"), False),
        (errors.RequestRejected("no"), False),
        (errors.ModelMisconfigured("no"), False),
        (errors.BudgetExceeded("no"), False),
        (ValueError("no"), False),
        (KeyboardInterrupt(), False),
    ],
    ids=lambda one: type(one).__name__,
)
def test_when_another_is_asked(ask: Ask, error: BaseException, others: bool) -> None:
    """It goes on only where the request is not at fault: the same error comes out otherwise."""
    other = scripted("b", "yes")
    model = FallbackModel([scripted("a", error), other])
    if others:
        assert ask(model, HELLO).text == "yes"
        return
    with pytest.raises(type(error)) as caught:
        ask(model, HELLO)
    assert caught.value is error
    assert other.requests == []


def test_when_none_answers(ask: Ask) -> None:
    """An error comes out that does not stop every call, if there is one, with notes of the rest."""
    denied, down = errors.ModelAccessDenied("wrong key"), errors.ModelUnavailable("down")
    with pytest.raises(errors.ModelUnavailable) as caught:
        ask(FallbackModel([scripted("a", denied), scripted("b", down)]), HELLO)
    assert caught.value.__notes__ == ["another model failed too: wrong key"]
    missing = errors.ModelNotFound("none such")
    with pytest.raises(errors.ModelAccessDenied):
        ask(FallbackModel([scripted("a", denied), scripted("b", missing)]), HELLO)


def test_no_time_is_left(ask: Ask) -> None:
    """After the caller's deadline no other model is asked."""
    other = scripted("b", "yes")
    with until(time.monotonic()), pytest.raises(errors.ModelUnavailable):
        ask(FallbackModel([scripted("a", DOWN), other]), HELLO)
    assert other.requests == []


def test_what_it_is() -> None:
    """Name and support are those of the first model, the identity that of all, in order."""
    one, two = scripted("a"), scripted("b")
    model = FallbackModel([one, two])
    assert (model.name, model.support) == ("a", one.support)
    assert len({model.identity, FallbackModel([two, one]).identity, one.identity}) == 3
    assert FallbackModel([one]).identity == one.identity
    with pytest.raises(errors.SettingsError):
        FallbackModel([])


def test_the_others_get_a_level_that_they_support(ask: Ask) -> None:
    """A request goes to another model at its level, which is lowered there if it is refused."""
    schema = OutputSchema("n", '{"type": "integer"}')
    firm = Request(HELLO.messages, schema, "json_schema")
    rejected = errors.SchemaRejected("no")
    low = mti.ScriptedModel([rejected, "1"], name="b", support=Support("json_object"))
    assert ask(FallbackModel([scripted("a", DOWN), low]), firm).text == "1"
    assert [asked.level for asked in low.requests] == ["json_object", "prompt"]
    assert low.support.level == "prompt"
    loose = Request(HELLO.messages, schema, "prompt")
    high = scripted("b", "1")
    ask(FallbackModel([scripted("a", DOWN), high]), loose)
    assert high.requests == [loose]
    never = mti.ScriptedModel([rejected] * 3, name="b")
    with pytest.raises(errors.SchemaRejected):
        ask(FallbackModel([scripted("a", DOWN), never]), firm)
    assert [asked.level for asked in never.requests] == ["json_schema", "json_object", "prompt"]


def test_the_one_who_answered_keeps_the_reply(tmp_path: Path, ask: Ask) -> None:
    """A reply is stored under the model that gave it, as that gave it, and nowhere else."""
    replies = ReplyCache.at(tmp_path)
    one = CachedModel(scripted("a", DOWN, DOWN, "a"), replies)
    two = CachedModel(scripted("b", "b"), replies)
    inner = FallbackModel([CachedModel(scripted("c", DOWN, DOWN), replies), two])
    model = FallbackModel([one, inner])
    reply = ask(model, HELLO)
    assert reply.details == {"fallback": [1, 1]}
    model.keep(HELLO, reply)
    assert replies.stats().entries == 1
    assert two.complete(HELLO).from_cache
    assert two.complete(HELLO).details == {}
    assert ask(model, HELLO).from_cache
    first = ask(model, HELLO)
    assert (first.text, first.from_cache) == ("a", False)
    model.keep(HELLO, first)
    assert one.complete(HELLO).from_cache
    replies.close()


def test_no_other_goes_on_with_what_one_began() -> None:
    """A stream that breaks off after some text, against the protocol, is not mixed with another."""

    class Broken(BaseModel):
        support = Support()

        def stream(self, request: Request) -> Generator[str | Reply, None, None]:
            yield "Good "
            raise DOWN

    other = scripted("b", "yes")
    pieces = FallbackModel([Broken(), other]).stream(HELLO)
    assert next(pieces) == "Good "
    with pytest.raises(errors.ModelUnavailable):
        next(pieces)
    assert other.requests == []


def test_an_outage_over_http(tmp_path: Path) -> None:
    """`fallback=` takes a model or names; the program does not notice that one server is down."""
    program = mti.combine("message -> urgent: bool", "message -> product: str")
    with ChatServer(faults=lambda _: Fault(500)) as down, ChatServer() as up:
        other = mti.Model("direct/b", api_base=up.base_url, cache=tmp_path)
        model = mti.Model(
            "direct/a", api_base=down.base_url, cache=tmp_path, retries=0, fallback=other
        )
        result = program(message="The lamp hums.", model=model)
        assert (result.urgent, [one.model for one in result.calls]) == (False, ["direct/a"])
        assert [one.reply and one.reply.model for one in result.calls] == ["b"]
        assert (len(down.requests), len(up.requests)) == (1, 1)
        assert program(message="The lamp hums.", model=other).usage.hits == 1
        assert program(message="The lamp hums.", model=model).usage.hits == 1
        assert (len(down.requests), len(up.requests)) == (2, 1)
    ReplyCache.at(tmp_path).close()


def test_what_the_others_cost_counts(ask: Ask) -> None:
    """The calls of models that failed are in the usage of the reply, or of the error."""

    def down(calls: int) -> errors.ModelUnavailable:
        error = errors.ModelUnavailable("down")
        error.usage = Usage(calls=calls, seconds=1.0)
        return error

    reply = ask(FallbackModel([scripted("a", down(3)), scripted("b", "yes")]), HELLO)
    assert (reply.usage.calls, reply.usage.completion_tokens > 0) == (4, True)
    last = [errors.ModelUnavailable("down"), errors.RequestRejected("no")]
    for error, calls in [*((one, 4) for one in last), (errors.BudgetExceeded("no"), 3)]:
        with pytest.raises(errors.MTIError) as caught:
            ask(FallbackModel([scripted("a", down(3)), scripted("b", error)]), HELLO)
        assert getattr(caught.value, "usage").calls == calls  # noqa: B009  not all errors have it
