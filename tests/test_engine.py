"""The conversation as a generator: what it asks, in which order, and what becomes of each call."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.engine import converse
from mtiprompt.errors import (
    ContentRefused,
    ContextTooLong,
    ModelAccessDenied,
    ModelMisconfigured,
    ModelNotFound,
    ModelTimeout,
    ModelUnavailable,
    QuotaExhausted,
    RateLimited,
    RequestRejected,
    SchemaRejected,
)
from mtiprompt.models.base import Support
from mtiprompt.result import Answer, Failure
from mtiprompt.steps import Ask, Finished, Step
from mtiprompt.wire import Reply, Usage
from tests.strategies import Answerer, Case, cases, failing, groupings, keys_of, saying

CHAIN = mti.combine("m -> a", "a -> b", "m -> c", "b, c -> d")
SAY = {"a": "A", "b": "B", "c": "C", "d": "D"}


def said(ask: Ask, answers: dict[str, Any] = SAY, **usage: Any) -> Finished:
    """A call that came back with the answers it asked for."""
    text = json.dumps({key: answers[key] for key in keys_of(ask.request)})
    return Finished(ask, Reply(text, usage=Usage(calls=1, **usage)))


def begin(program: mti.Program, plan: mti.Plan | None = None, **support: Any) -> Any:
    """A conversation about one item, not yet begun."""
    ready = program.ready(saying(SAY, support=Support(**support)), plan)
    return converse(ready, [dict.fromkeys(program.inputs, "x")])


def tasks_of(step: Step) -> list[list[str]]:
    """The keys asked for by the calls that a step starts."""
    return [keys_of(ask.request) for ask in step.start]


def test_groups_go_in_waves() -> None:
    """A call starts when the answers it needs are there, and not before; replies may come in any
    order.
    """
    talk = begin(CHAIN, mti.Plan.split(CHAIN))
    first = next(talk)
    assert tasks_of(first) == [["a"], ["c"]]
    a, c = first.start
    assert tasks_of(talk.send(said(c))) == []
    second = talk.send(said(a))
    assert tasks_of(second) == [["b"]]
    assert "A" in second.start[0].request.messages[-1].content
    third = talk.send(said(second.start[0]))
    assert tasks_of(third) == [["d"]]
    last = talk.send(said(third.start[0]))
    assert last.results is not None
    assert last.results[0].unwrap()["d"].d == "D"
    assert list(last.results[0]) == ["a", "b", "c", "d"]
    assert [call.tasks for call in last.results[0].calls] == [("c",), ("a",), ("b",), ("d",)]


@given(st.data(), cases())
def test_any_plan_ends_with_every_slot(data: st.DataObject, case: Case) -> None:
    """For any program, plan, order of replies and kind of reply: each group is asked at most once,
    after what it needs, and every task ends as an answer or a failure.
    """
    plan = mti.Plan.groups(case.program, data.draw(groupings(case.program)))
    answers = case.dumped(data.draw(case.answers()))
    inputs = dict.fromkeys(case.program.inputs, "x")
    talk = converse(case.program.ready(saying(answers), plan), [inputs], mti.Repair.none())
    step = next(talk)
    waiting: list[Ask] = list(step.start)
    asked: list[int] = []
    done: set[str] = set()
    while step.results is None:
        ask = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
        group = ask.asked.tasks
        for name in group:
            assert case.program.upstream(name) <= done | set(group)
        asked.append(ask.group)
        done |= set(group)
        how = data.draw(st.sampled_from(["well", "well", "cut", "error", "empty"]))
        finished = said(ask, answers)
        if how == "error":
            finished = Finished(ask, ModelTimeout("slow"))
        elif how == "empty":
            finished = Finished(ask, Reply(""))
        elif how == "cut":
            assert isinstance(finished.outcome, Reply)
            finished = Finished(ask, Reply(finished.outcome.text[:-2], finish_reason="length"))
        step = talk.send(finished)
        waiting += step.start
    assert len(asked) == len(set(asked))
    assert list(mti.slots(step.results[0])) == list(case.program.tasks)
    assert not waiting


# --- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [ModelUnavailable("x"), ModelTimeout("x"), RateLimited("x"), RequestRejected("x"),
     ContextTooLong("x"), ContentRefused("x")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_failed_call_fails_its_own_slots(error: mti.ModelError) -> None:
    """A call that failed makes its slots `call failed`, their dependents `upstream failed`, and
    costs no other slot.
    """
    model = failing(error, lambda request: keys_of(request) == ["a"], SAY)
    result = CHAIN(m="x", model=model, plan=mti.Plan.split(CHAIN))
    kinds = {name: failure.kind for name, failure in result.failures.items()}
    assert kinds == {"a": "call failed", "b": "upstream failed", "d": "upstream failed"}
    assert result.failures["a"].error is error
    assert result.c == "C"
    assert "'a'" in result.failures["b"].message
    assert [call.error for call in result.calls if call.error] == [error]


@pytest.mark.parametrize(
    "error",
    [ModelNotFound("x"), ModelAccessDenied("x"), ModelMisconfigured("x"), QuotaExhausted("x")],
    ids=lambda error: type(error).__name__,
)
def test_mistakes_are_raised(error: mti.ModelError) -> None:
    """An error that every call would meet is raised at once."""
    model = failing(error, lambda _: True, SAY)
    for run in (
        lambda: CHAIN(m="x", model=model),
        lambda: CHAIN(m="x", model=model, plan=mti.Plan.split(CHAIN)),
        lambda: list(CHAIN.map([{"m": "x"}] * 3, model=model)),
    ):
        with pytest.raises(type(error)):
            run()


def test_bad_answer_fails_what_builds_on_it() -> None:
    """A slot that does not validate fails its dependents in later groups, not those beside it."""
    program = mti.combine("m -> n: int", "n -> after", "m -> beside")
    model = saying({"n": "no", "after": "x", "beside": "y"})
    result = program(m="x", model=model, plan=mti.Plan.split(program))
    assert {name: one.kind for name, one in result.failures.items()} == {
        "n": "wrong type", "after": "upstream failed"
    }  # fmt: skip
    fused = program(m="x", model=model)
    assert set(fused.failures) == {"n"}


# --- levels ----------------------------------------------------------------------------------


def rejecting(*levels: str) -> Answerer:
    """A model that refuses the schema at some levels."""

    def answer(request: Any) -> str:
        if request.level in levels:
            raise SchemaRejected("no schema")
        return json.dumps({key: SAY[key] for key in keys_of(request)})

    return Answerer(answer)


def test_rejected_schema_drops_a_level_and_is_remembered() -> None:
    """A refused schema is asked again one level lower; the next call begins there."""
    model = rejecting("json_schema", "json_object")
    result = CHAIN(m="x", model=model)
    assert not result.failures
    assert [request.level for request in model.asked] == ["json_schema", "json_object", "prompt"]
    assert len(result.calls) == 3
    assert not CHAIN(m="y", model=model).failures
    assert [request.level for request in model.asked][3:] == ["prompt"]
    assert model.support.level == "prompt"


def test_rejected_schema_among_calls_in_flight() -> None:
    """Calls that were out when the level dropped are each asked again, and the level drops once."""
    model = rejecting("json_schema")
    results = list(CHAIN.map([{"m": str(n)} for n in range(12)], model=model, concurrency=4))
    assert not any(result.failures for result in results)
    assert model.support.level == "json_object"


def test_schema_rejected_at_the_last_level_is_a_failure() -> None:
    """Below the last level there is none: the call failed."""
    model = rejecting("json_schema", "json_object", "prompt")
    result = mti.combine("m -> a")(m="x", model=model)
    assert result.failures["a"].kind == "call failed"
    assert len(model.asked) == 3


# --- keeping replies -------------------------------------------------------------------------


@pytest.mark.parametrize("plan", [mti.Plan.fused(CHAIN), mti.Plan.split(CHAIN),
                                  mti.Plan.groups(CHAIN, [["a"], ["b"], ["c"], ["d"]]),
                                  mti.Plan.groups(CHAIN, [["a", "c"], ["b", "d"]])])  # fmt: skip
@pytest.mark.parametrize("how", ["call", "map"])
def test_sound_replies_are_kept_once(plan: mti.Plan, how: str) -> None:
    """Each reply whose slots are all answers is handed to `keep`, once."""
    model = saying(SAY)
    if how == "call":
        CHAIN(m="x", model=model, plan=plan)
    else:
        list(CHAIN.map([{"m": "x"}], model=model, plan=plan))
    assert sorted(map(keys_of, model.kept)) == sorted(map(keys_of, model.asked))


def test_first_one_then_several_are_kept_once() -> None:
    """A call that several others wait for is kept once as well."""
    program = mti.combine("m -> a", "a -> b", "a -> c")
    model = saying(SAY)
    program(m="x", model=model, plan=mti.Plan.split(program))
    assert sorted(map(keys_of, model.kept)) == [["a"], ["b"], ["c"]]


def test_unsound_replies_are_not_kept() -> None:
    """A reply with a failed slot is not kept, nor one from the cache, nor a failed call."""
    program = mti.combine("m -> a", "m -> n: int")
    model = saying({"a": "x", "n": "no"})
    assert program(m="x", model=model).a == "x"
    assert model.kept == []
    hit = Answerer(lambda _: Reply('{"a": "x", "n": 1}').as_hit())
    assert not program(m="x", model=hit).failures
    assert hit.kept == []
    cut = Answerer(lambda _: Reply('{"a": "x", "n": 1, "z', finish_reason="length"))
    program(m="x", model=cut)
    assert len(cut.kept) <= 1
    broken = failing(ModelTimeout("x"), lambda _: True, {})
    program(m="x", model=broken)
    assert broken.kept == []


# --- usage -----------------------------------------------------------------------------------


def test_usage_is_the_sum_of_the_calls() -> None:
    """What an item cost is what its calls cost, a price that is unknown stays unknown."""

    def answer(request: Any) -> Reply:
        text = json.dumps({key: SAY[key] for key in keys_of(request)})
        cost = None if keys_of(request) == ["c"] else 0.5
        return Reply(text, usage=Usage(1, 0, 10, 4, 2, cost, 0.25))

    program = mti.combine("m -> a", "a -> b")
    result = program(m="x", model=Answerer(answer), plan=mti.Plan.split(program))
    assert result.usage == Usage(2, 0, 20, 8, 4, 1.0, 0.5)
    assert CHAIN(m="x", model=Answerer(answer), plan=mti.Plan.split(CHAIN)).usage.cost is None


def test_calls_show_what_was_sent() -> None:
    """Every prompt and raw reply can be read from the result."""
    result = CHAIN(m="hello there", model=saying(SAY), plan=mti.Plan.split(CHAIN))
    assert len(result.calls) == 4
    for call in result.calls:
        assert call.reply is not None
        assert json.loads(call.reply.text) == {key: SAY[key] for key in keys_of(call.request)}
        assert call.model == "test/answerer"
        assert call.request.purpose == "answer"


def test_slots_are_answers_or_failures() -> None:
    """`slots` gives each slot with its notes."""
    result = mti.combine("m -> n: int", "m -> a")(m="x", model=saying({"n": "3", "a": None}))
    slots = mti.slots(result)
    assert isinstance(slots["n"], Answer)
    assert slots["n"].notes == ('"3" read as 3',)
    assert isinstance(slots["a"], Failure)
