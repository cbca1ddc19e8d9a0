"""Repair: what is asked again, in which calls, how often; and that nothing good is ever lost."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.engine import converse
from mtiprompt.errors import (
    BudgetExceeded,
    ContextTooLong,
    ModelTimeout,
    ModelUnavailable,
    QuotaExhausted,
    SettingsError,
)
from mtiprompt.repair import DEFAULT, Again, Alone, Asked, Broken, Repair, Together
from mtiprompt.result import Answer, Failure, slots
from mtiprompt.steps import Ask, Finished, Partly, Place, Step
from mtiprompt.wire import Reply, Request, Usage
from tests.strategies import Answerer, Case, cases, groupings, keys_of

PROGRAM = mti.combine(
    "message -> mood: Literal['good', 'bad']", "message -> urgent: bool", "message -> product"
)
GOOD: dict[str, Any] = {"mood": "bad", "urgent": True, "product": "kettle"}


def model_of(*replies: Any) -> mti.ScriptedModel:
    """A model with a script; what is no text is written as JSON, errors are raised."""
    return mti.ScriptedModel(
        [one if isinstance(one, str | Reply | Exception) else json.dumps(one) for one in replies]
    )


def ask(model: mti.ScriptedModel, **options: Any) -> mti.Result:
    """The result for one message."""
    return PROGRAM(message="It leaks!", model=model, **options)


def last(request: Request) -> str:
    """The last message of a request."""
    return request.messages[-1].content


# --- the ladder ------------------------------------------------------------------------------


def test_failed_slots_go_together_first() -> None:
    """The failed slots share one more call, which holds the bad values and what was wrong with
    them, and nothing of the slots that were good.
    """
    model = model_of({**GOOD, "mood": "so-so", "urgent": "perhaps"}, GOOD)
    result = ask(model)
    assert result.unwrap() == result.unwrap()
    assert (result.mood, result.urgent, result.product) == ("bad", True, "kettle")
    _, second = model.requests
    assert keys_of(second) == ["mood", "urgent"]
    assert "you wrote so-so" in last(second)
    assert '"urgent": you wrote perhaps' in last(second)
    assert "kettle" not in str(second.messages)
    assert second.purpose == "repair"
    assert result.usage.calls == 2
    assert result.usage.of("repair").calls == result.usage.of("answer").calls == 1


def test_then_each_alone_past_the_cache() -> None:
    """What is still broken is asked alone, three times at most, each time as another sample; then
    it is a failure, and the rest is there.
    """
    bad = {**GOOD, "mood": "so-so", "urgent": "perhaps"}
    model = mti.FunctionModel(
        lambda request: json.dumps({key: bad[key] for key in keys_of(request)})
    )
    result = PROGRAM(message="It leaks!", model=model)
    asked = [(keys_of(request), request.sample) for request in model.requests]
    assert asked[:2] == [(["mood", "urgent", "product"], 0), (["mood", "urgent"], 0)]
    assert sorted(map(str, asked[2:])) == sorted(
        str(([name], sample)) for name in ("mood", "urgent") for sample in (1, 2, 3)
    )
    assert {name: one.kind for name, one in result.failures.items()} == {
        "mood": "not an allowed label",
        "urgent": "wrong type",
    }
    assert result.product == "kettle"
    assert result.usage.calls == 8


@mti.task
def person(text: str) -> dict[str, str]:
    """Who writes?"""
    raise NotImplementedError


VISIT = mti.combine("text -> city", person)


def test_a_task_keeps_its_letters_when_it_is_asked_again() -> None:
    """Else a model that repeats the letter of one answer would fill in another with it."""
    program = mti.combine("text -> name", "text -> city")
    model = mti.FunctionModel(lambda _: '{"a": "Ann"}')
    result = program(text="x", model=model, plan=mti.Plan.fused(program, short_keys=True))
    assert (result.name, list(result.failures)) == ("Ann", ["city"])
    assert keys_of(model.requests[1]) == ["b"]


@pytest.mark.parametrize(
    ("plan", "stubborn"),
    [
        (mti.Plan.fused(VISIT), {"person": {"name": "Ann", "city": "Rome"}}),
        (mti.Plan.split(VISIT), {"person": {"name": "Ann", "city": "Rome"}}),
        (mti.Plan.fused(VISIT), {"answer": {"person": {"city": "Rome"}}}),
        (mti.Plan.fused(VISIT, short_keys=True), {"b": {"a": "Rome"}}),
        (mti.Plan.fused(VISIT, items_per_call=2), {"person": {"1": {"city": "Rome"}}}),
        (mti.Plan.fused(VISIT, items_per_call=2), {"1": {"person": {"city": "Rome"}}}),
    ],
)
def test_a_reply_that_repeats_another_answer_is_none(
    plan: mti.Plan, stubborn: dict[str, Any]
) -> None:
    """A model that repeats an earlier reply where one task is asked again, or asked alone, leaves
    that task without an answer: no value inside another's is taken for it, on its way or come.
    """
    text = json.dumps(stubborn)
    rows = [{"text": "Ann of Rome writes from Oslo."}] * plan.items_per_call
    talk = converse(VISIT.ready(Answerer(lambda _: text), plan), rows)
    step = next(talk)
    asks, settled = list(step.start), list(step.settled)
    while asks:
        one = asks.pop()
        for heard in (Partly(one, text), Finished(one, Reply(text))):
            step = talk.send(heard)
            asks += step.start
            settled += step.settled
    assert not any(isinstance(slot, Answer) for (_, name), slot in settled if name == "city")
    assert step.results is not None
    assert {result.failures["city"].kind for result in step.results} == {"missing"}


@pytest.mark.parametrize("error", [ModelUnavailable("down"), ModelTimeout("slow")])
def test_an_outage_in_a_repair_loses_nothing(error: mti.ModelError) -> None:
    """A call that fails in the middle of a repair leaves the good slots, and says what happened."""
    model = model_of({**GOOD, "mood": "so-so"}, error)
    result = ask(model)
    assert result.failures["mood"].kind == "call failed"
    assert (result.urgent, result.product) == (True, "kettle")


def test_outages_are_not_asked_again() -> None:
    """A call that failed for good has had its retries: the repair leaves it."""
    model = model_of(ModelUnavailable("down"))
    assert {one.kind for one in ask(model).failures.values()} == {"call failed"}


def test_what_is_too_long_is_asked_in_parts(caplog: pytest.LogCaptureFixture) -> None:
    """A prompt that does not fit is split, with a warning: never asked the same way again."""

    def answer(request: Request) -> str:
        if len(keys_of(request)) > 1:
            raise ContextTooLong("too long")
        return json.dumps({key: GOOD[key] for key in keys_of(request)})

    model = Answerer(answer)
    result = PROGRAM(message="It leaks!", model=model)
    assert not result.failures
    assert [len(keys_of(request)) for request in model.asked] == [3, 1, 1, 1]
    assert "does not fit the context" in caplog.text


def test_a_refusal_is_asked_in_parts() -> None:
    """A refused call is asked task by task, so that the innocent ones get their answers; the one
    that is refused alone is not asked for ever.
    """

    def answer(request: Request) -> Any:
        keys = keys_of(request)
        if "mood" in keys:
            return Reply("No.", "refused", Usage(calls=1))
        return json.dumps({key: GOOD[key] for key in keys})

    model = Answerer(answer)
    result = PROGRAM(message="It leaks!", model=model)
    assert list(result.failures) == ["mood"]
    assert result.failures["mood"].kind == "refused"
    assert len(model.asked) == 4


def test_policies() -> None:
    """No repair, one rung, some kinds, a number of calls: each is kept."""
    bad = {**GOOD, "mood": "so-so", "urgent": "perhaps"}

    def calls(policy: Repair) -> list[list[str]]:
        model = mti.FunctionModel(
            lambda request: json.dumps({key: bad[key] for key in keys_of(request)})
        )
        PROGRAM(message="It leaks!", model=model, repair=policy)
        return [keys_of(request) for request in model.requests[1:]]

    assert calls(Repair.none()) == []
    assert calls(Repair.together()) == [["mood", "urgent"]]
    assert calls(Repair.together(2)) == [["mood", "urgent"]] * 2
    assert sorted(calls(Repair.alone(1))) == [["mood"], ["urgent"]]
    assert calls(DEFAULT.only("wrong type")) == [["urgent"]] * 4
    assert calls(DEFAULT.at_most(2))[0] == ["mood", "urgent"]
    assert len(calls(DEFAULT.at_most(2))) == 2
    assert calls(DEFAULT.at_most(0)) == []
    with pytest.raises(SettingsError, match="'wrong'"):
        DEFAULT.only("wrong")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="at_most"):
        DEFAULT.at_most(-1)


def test_a_slot_waits_for_the_repair_of_what_it_takes() -> None:
    """Of two broken slots, one of which takes the other's answer, the other is mended first."""
    chain = mti.combine("m -> a: int", "a -> b: int")
    model = model_of({"a": "x", "b": "y"}, {"a": "x", "b": "y"}, {"a": 7}, {"b": 8})
    result = chain(m="text", model=model)
    assert (result.a, result.b) == (7, 8)
    assert "a: 7" in last(model.requests[-1])


def test_what_waits_for_a_lost_cause_fails_with_it() -> None:
    """When a slot is given up, a broken one that takes its answer fails with that cause."""
    chain = mti.combine("m -> a: int", "a -> b: int")
    model = mti.FunctionModel(lambda request: json.dumps(dict.fromkeys(keys_of(request), "x")))
    failures = chain(m="text", model=model).failures
    assert failures["a"].kind == "wrong type"
    assert failures["b"].kind == "upstream failed"


def test_a_task_that_can_do_without() -> None:
    """A task whose input has a default is asked without the answer that failed."""

    @mti.task
    def reply(m: str, mood: str = "unknown") -> str:
        """Answer the message."""
        raise NotImplementedError

    program = mti.combine("m -> mood: Literal['good', 'bad']", reply)
    plan = mti.Plan.split(program)
    model = model_of({"mood": "so-so"}, {"reply": "Thanks."})
    result = program(m="text", model=model, plan=plan, repair=Repair.none())
    assert result["reply"] == "Thanks."
    assert last(model.requests[-1]) == "m: text"


def test_only_the_tasks_that_lack_something_fail() -> None:
    """In a group of which one task lacks its answer, the others are asked."""
    program = mti.combine("m -> a: int", "a -> b", "b -> c", "m -> d")
    plan = mti.Plan.groups(program, [["a"], ["b", "c", "d"]])
    model = model_of({"a": "x"}, {"d": "there"})
    result = program(m="text", model=model, plan=plan, repair=Repair.none())
    assert result.d == "there"
    assert {name: one.kind for name, one in result.failures.items()} == {
        "a": "wrong type",
        "b": "upstream failed",
        "c": "upstream failed",
    }


def test_validators_tell_the_model() -> None:
    """The message of a user's check goes to the model."""

    def short(answer: Any) -> bool:
        if len(answer.word) > 5:
            raise ValueError("at most five letters")
        return True

    program = mti.combine(mti.task("m -> word", validate=short))
    model = model_of({"word": "lengthy"}, {"word": "brief"})
    assert program(m="text", model=model).unwrap()["word"].word == "brief"
    assert "at most five letters" in last(model.requests[1])


def test_budget_spent_is_a_kind_of_failure() -> None:
    """A call that the budget refuses makes its slots failures; nothing is asked again."""
    result = ask(model_of({**GOOD, "mood": "so-so"}, BudgetExceeded("2 calls")))
    assert result.failures["mood"].kind == "budget spent"
    assert result.product == "kettle"


def test_a_spent_budget_ends_a_map() -> None:
    """Rows that were finished are given in order, partly finished ones too; the rest is left."""

    def answer(request: Request) -> str:
        if int(last(request).removeprefix("message: ")) > 4:
            raise BudgetExceeded("no more")
        return json.dumps(GOOD)

    rows = ({"message": str(n)} for n in range(1000))
    results = list(PROGRAM.map(rows, model=Answerer(answer), concurrency=3))
    assert len(results) == 5
    assert not any(result.failures for result in results)


def test_a_mistake_in_a_repair_loses_nothing() -> None:
    """Also an error that would be raised at a first call, a spent quota, say, costs no good slot;
    the failure tells of it and of what was wrong before.
    """
    result = ask(model_of({**GOOD, "mood": "so-so"}, QuotaExhausted("quota")))
    assert (result.urgent, result.product) == (True, "kettle")
    failure = result.failures["mood"]
    assert (failure.kind, failure.raw) == ("call failed", "so-so")
    assert "not an allowed label" in failure.message


def test_a_failed_row_costs_none_before_it() -> None:
    """An error that ends a map is raised when all rows before its own have been given."""

    def answer(request: Request) -> str:
        number = int(last(request).removeprefix("message: "))
        if number == 3:
            raise QuotaExhausted("quota")
        if not number:
            time.sleep(0.2)
        return json.dumps(GOOD)

    def broken_rows() -> Iterator[dict[str, str]]:
        yield from ({"message": str(n)} for n in range(3))
        raise OSError("the disk is gone")

    rows = [{"message": str(n)} for n in range(20)]
    results = PROGRAM.map(rows, model=Answerer(answer), concurrency=4)
    assert [next(results).product for _ in range(3)] == ["kettle"] * 3
    with pytest.raises(QuotaExhausted):
        next(results)
    plan = mti.Plan.fused(PROGRAM, items_per_call=2)
    grid = mti.FunctionModel(
        lambda request: json.dumps(dict.fromkeys(keys_of(request), GOOD)), name="grid"
    )
    results = PROGRAM.map(broken_rows(), model=grid, plan=plan)
    assert [next(results).product for _ in range(3)] == ["kettle"] * 3
    with pytest.raises(OSError, match="disk"):
        next(results)


def test_a_check_that_breaks_costs_its_slot_alone() -> None:
    """Whatever a task's own check raises makes its slot a failure, which names the error."""
    broken = mti.task("m -> n: int", name="n", validate=lambda answer: {1: True}[answer.n])
    program = mti.combine(broken, "m -> word")
    result = program(m="x", model=model_of({"n": 2, "word": "yes"}), repair=Repair.none())
    assert result.word == "yes"
    assert "KeyError" in result.failures["n"].message


def test_the_model_is_told_once_what_concerns_all() -> None:
    """Failures of a whole reply are one line of the prompt; a call that got no reply says none."""
    model = model_of("I am sorry.", GOOD)
    assert not ask(model).failures
    assert last(model.requests[1]).count("\n- ") == 1

    def answer(request: Request) -> str:
        if len(keys_of(request)) > 1:
            raise ContextTooLong("too long")
        return json.dumps({key: GOOD[key] for key in keys_of(request)})

    parts = Answerer(answer)
    PROGRAM(message="It leaks!", model=parts)
    assert all("wrong" not in last(request) for request in parts.asked)


def test_limits_are_kept_for_each_item() -> None:
    """`at_most` counts the calls of each item, also where several share a conversation."""
    program = mti.combine("m -> n: int")
    asked: list[str] = []

    def answer(request: Request) -> str:
        asked.append(last(request))
        numbers = NUMBER.findall(last(request))
        if not numbers:
            return '{"n": "bad"}'
        return json.dumps({number: {"n": "bad" if number == "2" else 1} for number in numbers})

    plan = mti.Plan.fused(program, items_per_call=4)
    policy = Repair.alone(9).at_most(1)
    rows = [{"m": str(n)} for n in range(4)]
    results = list(program.map(rows, model=Answerer(answer), plan=plan, repair=policy))
    assert [len(result.failures) for result in results] == [0, 1, 0, 0]
    assert len(asked) == 2


def test_what_was_paid_is_not_lost_with_the_budget() -> None:
    """A row that was asked about is given, answers or not, when the budget ends."""
    results = list(PROGRAM.map([{"message": "x"}], model=model_of("no", BudgetExceeded("spent"))))
    assert [result.usage.calls for result in results] == [1]


def test_a_repair_that_cannot_be_read_is_asked_once_more() -> None:
    """One garbled reply to a repair makes one call more, not one for each of its slots."""
    bad = {**GOOD, "mood": "so-so", "urgent": "perhaps"}
    model = model_of(bad, "I am lost.", GOOD)
    assert not ask(model).failures
    assert [len(keys_of(request)) for request in model.requests] == [3, 2, 2]
    model = model_of(bad, "I am lost.", "Still lost.", {"mood": "bad"}, {"urgent": True})
    assert not ask(model).failures


@pytest.mark.parametrize(("number", "calls"), [(1, 4), (2, 8), (3, 11)])
def test_calls_of_the_default_at_most(number: int, calls: int) -> None:
    """The default makes one call and three for each slot, and one more where the reply to several
    slots cannot be read at all, as `docs/how-to/repair.md` says.
    """
    program = mti.combine(*(f"message -> a{n}: int" for n in range(number)))
    model = mti.FunctionModel(lambda request: "{}")
    program(message="x", model=model)
    assert len(model.requests) - 1 == calls


@pytest.mark.parametrize("repair", ["none", None, False, Repair.none])
def test_what_is_no_policy_is_refused(repair: Any) -> None:
    """Anything but a policy is an error that says what to give."""
    with pytest.raises(mti.DataError, match="repair="):
        ask(model_of(GOOD), repair=repair)


def test_bad_policies_are_refused() -> None:
    """Numbers, kinds and rungs that make no sense are errors, at once or when they are used."""
    for make in (
        lambda: Repair.alone(-1),
        lambda: Repair.alone("3"),  # type: ignore[arg-type]
        lambda: Repair(calls=-1),
        lambda: Repair(rungs=["x"]),  # type: ignore[arg-type]
        lambda: Repair.alone() + None,  # type: ignore[operator]
    ):
        with pytest.raises(SettingsError):
            make()  # type: ignore[no-untyped-call]

    class Twice:
        sample = 0

        def __call__(self, asked: Asked, broken: Sequence[Broken]) -> list[Asked]:
            return [asked, asked]

    with pytest.raises(SettingsError, match="twice"):
        ask(model_of("no"), repair=Repair((Twice(),)))


@given(st.integers(2, 70), st.floats(0, 10), st.integers(0, 10**6))
def test_shares_add_up(number: int, cost: float, tokens: int) -> None:
    """The shares of a call that items have in its cost add up to the cost, to the last bit."""
    whole = Usage(calls=1, prompt_tokens=tokens, cost=cost, seconds=cost / 3)
    total = sum((whole.share(place, number) for place in range(number)), Usage())
    assert total == whole


# --- rungs -----------------------------------------------------------------------------------

SOME = Failure("missing", "it is not there")


def test_items_go_again_in_smaller_calls() -> None:
    """Broken items of one call go in calls at most half as large, by what is broken of them."""
    asked = Asked((0, 1, 2, 3, 4), ("a", "b"))
    broken = [Broken(item, task, SOME) for item in (0, 1, 2, 3) for task in ("a", "b")]
    broken.append(Broken(4, "b", SOME))
    assert Together()(asked, broken) == [
        Asked((0, 1), ("a", "b")),
        Asked((2, 3), ("a", "b")),
        Asked((4,), ("b",)),
    ]
    assert Alone(2)(asked, broken[:2]) == [Asked((0,), ("a",)), Asked((0,), ("b",))]


@given(st.data())
def test_ladders_end(data: st.DataObject) -> None:
    """However much stays broken, the calls get fewer slots or climb, and come to an end; no call
    asks for a slot that was not broken, and none is asked for twice at a time.
    """
    tasks = tuple("abcd"[: data.draw(st.integers(1, 4))])
    items = tuple(range(data.draw(st.integers(1, 9))))
    policy = data.draw(
        st.sampled_from([DEFAULT, Repair.alone(2), Repair.together(3), Repair.none()])
    )
    waiting = [Again(Asked(items, tasks), 0, 0)]
    calls = 0
    while waiting:
        one = waiting.pop()
        asked = one.asked
        places = [(item, task) for item in asked.items for task in asked.tasks]
        chosen = data.draw(st.lists(st.sampled_from(places), unique=True))
        kind: Any = data.draw(st.sampled_from(["missing", "refused", "call failed"]))
        broken = [Broken(item, task, Failure(kind, "x")) for item, task in sorted(chosen)]
        again = policy.again(one, broken)
        named = [(i, t) for one in again for i in one.asked.items for t in one.asked.tasks]
        assert len(named) == len(set(named))
        assert set(named) <= set(chosen)
        for other in again:
            is_smaller = len(other.asked.items) < len(asked.items)
            assert (
                other.rung > one.rung or is_smaller or (other.is_repeated and not one.is_repeated)
            )
        waiting += again
        calls += len(again)
    assert calls <= 2 * (3 * len(items) + 6 * len(items) * len(tasks))


# --- the whole conversation, whatever comes back ----------------------------------------------


@dataclass
class Truth:
    """The right answers of some items: by item, then key."""

    case: Case
    plan: mti.Plan
    dumped: Sequence[Mapping[str, Any]]

    def reply(self, ask: Ask) -> dict[str, Any]:
        """What a good model would reply to a call."""
        keys = [key for slot in ask.prompt.slots for key in slot.keys]
        whole = {
            str(item + 1): {key: self.dumped[item][key] for key in keys} for item in ask.asked.items
        }
        return whole if ask.prompt.grid else next(iter(whole.values()))

    def fields(self, place: Place) -> dict[str, Any]:
        """The right fields of a slot."""
        item, name = place
        slot = next(one for one in self.case.slots() if one.task.name == name)
        names = [one.name for one in slot.task.outputs]
        return {name: self.dumped[item][key] for name, key in zip(names, slot.keys, strict=True)}


@st.composite
def truths(draw: st.DrawFn) -> Truth:
    """Programs, plans with one or several items in a call, and the right answers."""
    case = draw(cases())
    size = draw(st.integers(1, 4))
    items = draw(st.integers(1, size))
    plan = mti.Plan.groups(case.program, draw(groupings(case.program)), items_per_call=size)
    return Truth(case, plan, [case.dumped(draw(case.answers())) for _ in range(items)])


def _some(draw: Any, right: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in right.items() if draw(st.booleans())}


def _dropped(draw: Any, right: dict[str, Any], *, grid: bool) -> str:
    kept = _some(draw, right)
    if grid:
        kept = {item: _some(draw, found) for item, found in kept.items()}
    return json.dumps(kept)


def _cut(draw: Any, right: dict[str, Any], *, grid: bool) -> Reply:
    text = json.dumps(right)
    return Reply(text[: draw(st.integers(0, len(text)))], "length", Usage(calls=1))


def _renumbered(draw: Any, right: dict[str, Any], *, grid: bool) -> str:
    moved = {str(int(item) + 1): found for item, found in right.items()} if grid else right
    return json.dumps(moved)


def _plainly(write: Callable[[dict[str, Any]], Any]) -> Callable[..., Any]:
    return lambda draw, right, grid: write(right)


SPOILERS: dict[str, Callable[..., str | Reply | mti.ModelError]] = {
    "not at all": _plainly(json.dumps),
    "drop": _dropped,
    "cut": _cut,
    "wrap": _plainly(lambda right: json.dumps({"answer": right})),
    "fence": _plainly(lambda right: f"So:\n```json\n{json.dumps(right)}\n```\nAnything else?"),
    "prose": _plainly(lambda right: "I would rather not say."),
    "twice": _plainly(
        lambda right: f"{json.dumps(right)[:-1]}, {json.dumps(next(iter(right)))}: []}}"
    ),
    "empty": _plainly(lambda right: ""),
    "refuse": _plainly(lambda right: Reply("I cannot.", "refused", Usage(calls=1))),
    "error": _plainly(lambda right: ModelTimeout("slow")),
    "renumber": _renumbered,
    "list": _plainly(lambda right: json.dumps(list(right.values()))),
    "order": _plainly(lambda right: json.dumps(dict(reversed(right.items())))),
}
"""What a bad model, or a bad line, makes of a good reply. Nothing here is a valid lie."""


def spoiled(draw: Any, right: dict[str, Any], *, grid: bool) -> Reply | mti.ModelError:
    """A reply as it may come."""
    how = draw(st.sampled_from(["not at all", *SPOILERS]))
    said = SPOILERS[how](draw, right, grid=grid)
    return Reply(said, usage=Usage(calls=1)) if isinstance(said, str) else said


@given(st.data(), truths())
def test_no_slot_is_lost_mixed_up_or_asked_twice(data: st.DataObject, truth: Truth) -> None:
    """For any program, plan, order and corruption of replies: every slot of every item ends as an
    answer or a failure; an answer is the right one for its task and its item; a good slot is never
    asked again and never lost; each call waits for what it takes; nothing is raised.
    """
    case, plan = truth.case, truth.plan
    inputs = [dict.fromkeys(case.program.inputs, f"item {n}") for n in range(len(truth.dumped))]
    talk = converse(case.program.ready(Answerer(lambda _: ""), plan), inputs)
    step: Step = next(talk)
    waiting: list[Ask] = list(step.start)
    settled: dict[Place, Any] = {}
    calls = 0
    while step.results is None:
        one = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
        for item in one.asked.items:
            for task in one.asked.tasks:
                assert (item, task) not in settled
                for source in case.program.upstream(task) - set(one.asked.tasks):
                    assert isinstance(settled[item, source], Answer)
        calls += 1
        reply = truth.reply(one)
        step = talk.send(Finished(one, spoiled(data.draw, reply, grid=one.prompt.grid)))
        for place, slot in step.settled:
            assert place not in settled
            settled[place] = slot
        waiting += step.start
    assert not waiting
    assert len(step.results) == len(inputs)
    for item, result in enumerate(step.results):
        assert list(slots(result)) == list(case.program.tasks)
        for name, slot in slots(result).items():
            assert settled[item, name] is slot
            if isinstance(slot, Answer):
                assert json.dumps(slot.fields) == json.dumps(truth.fields((item, name)))
    assert sum(result.usage.calls for result in step.results) <= calls
    assert calls <= len(plan.call_groups) + 60 * len(settled)


NUMBER = re.compile(r"# Item (\d+)")


@given(st.data())
def test_answers_stay_with_their_items(data: st.DataObject) -> None:
    """Mapped in any number of items a call, with any items left out of replies, each row gets the
    answer that belongs to its own text.
    """
    number, size = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 5))
    lazy = data.draw(st.lists(st.booleans(), min_size=1, max_size=20))
    turn = iter(range(10**6))

    def answer(request: Request) -> str:
        texts = NUMBER.split(last(request).split("\n\nYour last reply")[0])
        if len(texts) == 1:
            return json.dumps({"echo": texts[0].removeprefix("text: ").strip()})
        pairs = zip(texts[1::2], texts[2::2], strict=True)
        found = {n: {"echo": text.strip().removeprefix("text: ").strip()} for n, text in pairs}
        kept = {n: one for n, one in found.items() if not lazy[next(turn) % len(lazy)]}
        return json.dumps(kept)

    program = mti.combine("text -> echo")
    rows = [{"text": f"row {n}"} for n in range(number)]
    plan = mti.Plan.fused(program, items_per_call=size)
    results = list(program.map(rows, model=Answerer(answer), plan=plan, concurrency=2))
    assert [result.get("echo") for result in results] == [row["text"] for row in rows]


@given(st.data(), truths())
def test_any_cut_keeps_what_had_closed(data: st.DataObject, truth: Truth) -> None:
    """Wherever a reply about one or several items ends, the values that had closed are answers,
    the right ones; so are those told of while it is still on its way.
    """
    case, plan = truth.case, truth.plan
    inputs = [dict.fromkeys(case.program.inputs, f"item {n}") for n in range(len(truth.dumped))]
    ready = case.program.ready(Answerer(lambda _: ""), plan)
    one = next(converse(ready, inputs, Repair.none())).start[0]
    right = truth.reply(one)
    text = json.dumps(right, ensure_ascii=False)
    end = data.draw(st.integers(0, len(text)))
    talk = converse(ready, inputs, Repair.none())
    one = next(talk).start[0]
    shown = talk.send(Partly(one, text[:end])).settled
    final = talk.send(Finished(one, Reply(text[:end], "length"))).settled
    answers = {place: slot for place, slot in (*shown, *final) if isinstance(slot, Answer)}
    for place, slot in answers.items():
        assert json.dumps(slot.fields) == json.dumps(truth.fields(place))
    lost = [place for place, slot in final if isinstance(slot, Failure) if place in dict(shown)]
    assert lost == []
    for place, behind in _ends(right, one):
        if behind <= end:
            assert place in answers


def _ends(right: dict[str, Any], one: Ask) -> list[tuple[Place, int]]:
    """For every slot, where the sign that closes its last value ends in the text of the reply."""
    ends = []
    start = 0
    for item in one.asked.items:
        label = f'{{"{item + 1}": ' if item == 0 else f', "{item + 1}": '
        found = right[str(item + 1)] if one.prompt.grid else right
        start += len(label) if one.prompt.grid else 0
        for slot in one.prompt.slots:
            names = list(found)
            until = {name: found[name] for name in names[: names.index(slot.keys[-1]) + 1]}
            ends.append(((item, slot.task.name), start + len(_text(until))))
        start += len(_text(found))
    return ends


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
