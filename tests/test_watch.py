"""The shadow sees what gets worse, stays silent where nothing does, and harms no row."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import random
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.errors import ModelAccessDenied, ModelUnavailable
from mtiprompt.gate import BOLDEST, EVERY, STAKES, LateBet
from mtiprompt.testing import ChatServer, Fault
from mtiprompt.watch.record import highest_mean
from mtiprompt.watch.unfuse import unfused

YES = "Literal['yes', 'no']"
PROGRAM = mti.combine(*(f"message -> {name}: {YES}" for name in ("urgent", "angry", "intent")))
CHAIN = mti.combine(
    f"message -> a: {YES}", f"a -> b: {YES}", f"b -> c: {YES}", f"message -> d: {YES}"
)


def rows(number: int, start: int = 0) -> list[dict[str, str]]:
    """Rows whose text tells their number."""
    return [{"message": f"Message {n}"} for n in range(start, start + number)]


def model(
    drift: int = 10**9, before: float = 0.0, after: float = 0.6, task: str = "intent"
) -> mti.FunctionModel:
    """Says yes to everything, but in company it is often wrong about a task, from some row on."""

    def answer(request: mti.Request) -> str:
        tasks = re.findall(r'^"(\w+)":', request.messages[0].content, re.MULTILINE)
        said = dict.fromkeys(tasks, "yes")
        text = request.messages[-1].content
        number = int(re.findall(r"Message (\d+)", text)[-1])
        luck = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32
        if len(tasks) > 1 and task in tasks and luck < (after if number >= drift else before):
            said[task] = "no"
        return json.dumps(said)

    return mti.FunctionModel(answer)


def is_shadow(call: mti.Call) -> bool:
    """Whether a call was made for the shadow."""
    return call.request.purpose == "shadow"


# --- the bet ---------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([0.0, 0.25, 1.0]), max_size=35))
def test_late_bet_is_the_sum_over_its_starts(values: list[float]) -> None:
    """The recursion gives what a sum over all starts and stakes gives, those to come included."""
    bet = LateBet(0.2)
    for value in values:
        bet.add(value)
    total, start, weights = 0.0, 0, 0.0
    for start in range(0, len(values), EVERY):
        weight = 1 / ((start // EVERY + 1) * (start // EVERY + 2))
        weights += weight
        for number in range(1, STAKES + 1):
            stake = BOLDEST / 0.2 * (number / STAKES) ** 2
            grown = math.prod(1 + stake * (value - 0.2) for value in values[start:])
            total += weight / STAKES * grown
    assert math.exp(bet.wealth) == pytest.approx(total + 1 - weights)


def test_late_bet_is_fair() -> None:
    """Over all sequences of rows with the mean of the limit, the bet is worth 1 on average."""
    bet = LateBet(0.3, every=3, shape=(2**11,))
    sequences = (np.arange(2**11)[:, None] >> np.arange(11)) & 1
    for column in sequences.T:
        bet.add(column.astype(float))
    ones = sequences.sum(axis=1)
    assert np.sum(np.exp(bet.wealth) * 0.3**ones * 0.7 ** (11 - ones)) == pytest.approx(1)


def test_late_rise_is_seen_as_fast_as_an_early_one() -> None:
    """After 2,000 good rows a rise takes few rows; a bet from the first row alone never sees it."""

    def taken(every: int | None) -> int:
        draw, bet = random.Random(0), LateBet(0.1, every=every)
        for _ in range(2000):
            bet.add(float(draw.random() < 0.02))
        while bet.wealth < math.log(40) and bet.n < 2100:
            bet.add(float(draw.random() < 0.6))
        return bet.n - 2000

    assert taken(EVERY) < 50
    assert taken(None) == 100


def test_no_drift_seldom_warns() -> None:
    """In 1,000 runs at the very limit no more warn than may, though each row is looked at."""
    draw = np.random.default_rng(1)
    bet = LateBet(0.15, shape=(1000,))
    richest = np.zeros(1000)
    for _ in range(600):
        bet.add((draw.random(1000) < 0.15).astype(float))
        richest = np.maximum(richest, bet.wealth)
    assert np.mean(richest >= math.log(20)) <= 0.05


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3])
def test_what_is_learned_is_seldom_too_low(rate: float) -> None:
    """By the binomial sum, the learned bound is below the true rate as seldom as it says."""
    size, alpha = 50, 0.02
    low = [n for n in range(size + 1)
           if highest_mean([1.0] * n + [0.0] * (size - n), alpha=alpha) < rate]  # fmt: skip
    missed = math.fsum(math.comb(size, n) * rate**n * (1 - rate) ** (size - n) for n in low)
    assert missed <= alpha


# --- in map ----------------------------------------------------------------------------------


def test_drift_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A task that gets worse half-way is named, by a warning, a log line and an event."""
    shadow = mti.Shadow(0.5, allowed=0.05)
    with caplog.at_level(logging.WARNING), pytest.warns(mti.DriftWarning, match="'intent'"):
        list(PROGRAM.map(rows(400), model=model(drift=200, before=0.03), shadow=shadow))
    [event] = shadow.events
    assert event["task"] == "intent"
    assert 200 < event["row"] < 300
    assert event["interval"][0] <= event["mean"] <= event["interval"][1]
    assert event["allowed"] == 0.05
    assert [one.levelname for one in caplog.records] == ["WARNING"]
    assert "Message" not in caplog.text
    assert shadow.rows == 400


def test_steady_rows_do_not_warn() -> None:
    """Two tasks that disagree as often as is allowed are let be, also if that was learned."""
    for shadow in mti.Shadow(1.0, allowed={"intent": 0.1}, learn=40), mti.Shadow(1.0, learn=40):
        list(PROGRAM.map(rows(300), model=model(before=0.1, drift=9999), shadow=shadow))
        assert shadow.events == []
        assert shadow.seen == 300


def test_learned_reference_is_no_drift_but_a_rise_above_it_is() -> None:
    """What disagreed from the start is taken for granted; what comes on top is told."""
    told: list[Any] = []
    shadow = mti.Shadow(1.0, warn=told.append)
    list(PROGRAM.map(rows(500), model=model(before=0.2, after=0.8, drift=300), shadow=shadow))
    assert [one["task"] for one in told] == ["intent"]
    assert told == shadow.events
    assert 0.2 < told[0]["allowed"] < 0.45
    assert told[0]["row"] > 300


def test_rows_in_the_shadow_are_asked_split_and_answered_fused() -> None:
    """The result is the fused one; its usage has the shadow apart, and only rows in it have any."""
    shadow = mti.Shadow(0.3, allowed=0.9, seed=3)
    results = list(PROGRAM.map(rows(60), model=model(after=1.0, drift=0), shadow=shadow))
    assert {one.intent for one in results} == {"no"}
    taken = [n for n, one in enumerate(results, start=1) if any(map(is_shadow, one.calls))]
    assert taken == [n for n in range(1, 61) if shadow.takes(n)]
    assert 8 < len(taken) < 30
    assert shadow.seen == len(taken)
    for number, one in enumerate(results, start=1):
        assert one.usage.of("answer").calls == 1
        assert one.usage.of("shadow").calls == (3 if number in taken else 0)
        assert one.usage.calls == len(one.calls)


def test_without_a_shadow_nothing_changes() -> None:
    """Results, order and prompts are those of a run without one, one call more apart."""
    plain, shadowed = model(before=0.3), model(before=0.3)
    alone = [mti.plain(one) for one in PROGRAM.map(rows(40), model=plain)]
    both = PROGRAM.map(rows(40), model=shadowed, shadow=mti.Shadow(0.5, allowed=0.9))
    assert [mti.plain(one) for one in both] == alone
    asked = [one.messages for one in shadowed.requests if one.purpose == "answer"]
    assert sorted(asked) == sorted(one.messages for one in plain.requests)


def test_a_float_is_a_share() -> None:
    """`shadow=1.0` runs every row split as well."""
    results = list(PROGRAM.map(rows(5), model=model(), shadow=1.0))
    assert [one.usage.of("shadow").calls for one in results] == [3] * 5


async def test_async_sees_what_sync_sees() -> None:
    """`amap` finds the same event as `map`."""
    found: list[Any] = []
    for concurrency in 1, 8:
        shadow = mti.Shadow(1.0, allowed=0.05, warn=found.append)
        many = PROGRAM.amap(
            rows(150), model=model(drift=80), shadow=shadow, concurrency=concurrency
        )
        assert len([one async for one in many]) == 150
    list(
        PROGRAM.map(
            rows(150),
            model=model(drift=80),
            shadow=mti.Shadow(1.0, allowed=0.05, warn=found.append),
        )
    )
    assert found[0] == found[1] == found[2]


def test_concurrency_does_not_change_what_is_seen() -> None:
    """Rows are looked at in their order, whichever reply comes first."""
    events: list[Any] = []
    for concurrency in 1, 8:
        shadow = mti.Shadow(0.7, allowed=0.05, warn=events.append)
        with ChatServer(_answer, faults=_some_late) as server:
            asked = mti.Model("direct/any", api_base=server.base_url, cache=False)
            list(PROGRAM.map(rows(60), model=asked, shadow=shadow, concurrency=concurrency))
    assert len(events) == 2
    assert events[0] == events[1]


def _answer(received: Any) -> str:
    request = mti.Request(
        tuple(mti.Message(one["role"], one["content"]) for one in received.body["messages"])
    )
    return model(drift=0).complete(request).text


def _some_late(received: Any) -> Fault | None:
    return Fault(delay=0.01) if len(str(received.body)) % 3 == 0 else None


def test_a_plan_without_company_has_no_shadow() -> None:
    """Where every task is alone there is nothing to compare, and no call is made for it."""
    split = mti.Plan.split(PROGRAM)
    results = list(PROGRAM.map(rows(5), model=model(), plan=split, shadow=1.0))
    assert [one.usage.calls for one in results] == [3] * 5


def test_several_items_in_a_call_are_watched() -> None:
    """A plan with several items in a call is compared with one item and one task a call."""

    def answer(request: mti.Request) -> str:
        text = request.messages[-1].content
        numbers = [int(one) for one in re.findall(r"Message (\d+)", text)]
        tasks = re.findall(r'^"(\w+)":', request.messages[0].content, re.MULTILINE)
        said = {"urgent": "no", "angry": "yes", "intent": "yes"}
        if len(tasks) == 1:
            return json.dumps({tasks[0]: "yes"})
        return json.dumps({f"item_{n}": said for n in range(1, len(numbers) + 1)})

    plan = mti.Plan.fused(PROGRAM, items_per_call=3)
    shadow = mti.Shadow(1.0, allowed=0.05, unfuse=True, warn=lambda _: None)
    fake = mti.FunctionModel(answer)
    results = list(PROGRAM.map(rows(60), model=fake, plan=plan, shadow=shadow))
    assert len(results) == 60
    assert "urgent" in {one["task"] for one in shadow.events}
    assert shadow.plan(PROGRAM, plan).items_per_call == 1


# --- losses ----------------------------------------------------------------------------------


def test_score_tells_harm_from_disagreement() -> None:
    """With a score, answers that differ but are as good are no loss, and gold decides."""
    told: list[Any] = []
    truth = {"yes": 1.0, "no": 1.0}
    kind = mti.Shadow(1.0, score=lambda item, task, answer: truth[answer], warn=told.append)
    list(PROGRAM.map(rows(80), model=model(drift=0), shadow=kind))
    assert told == []
    truth["no"] = 0.0
    stern = mti.Shadow(1.0, score=lambda item, task, answer: truth[answer], warn=told.append)
    list(PROGRAM.map(rows(80), model=model(drift=0), shadow=stern))
    assert [one["task"] for one in told] == ["intent"]
    assert told[0]["mean"] > 0.3


@pytest.mark.parametrize(("company", "warned"), [(None, []), ("soon", ["due"])])
def test_null_answers_agree(company: Any, warned: list[str]) -> None:
    """Null both ways is no loss by any metric; null alone and a failure in company is one."""
    program = mti.combine(
        mti.task("message -> due: float | None", metric="numeric"), "message -> ok: bool"
    )

    def answer(request: mti.Request) -> str:
        assert request.schema is not None
        keys = request.schema.schema["properties"]
        values = {"due": None if request.purpose == "shadow" else company, "ok": True}
        return json.dumps({key: values[key] for key in keys})

    told: list[Any] = []
    shadow = mti.Shadow(1.0, allowed=0.02, unfuse=True, warn=told.append)
    list(program.map(rows(30), model=mti.FunctionModel(answer), shadow=shadow, concurrency=1))
    assert [event["task"] for event in told] == warned
    assert sorted(shadow.apart) == warned


def test_an_unknown_score_is_no_observation() -> None:
    """A score of None says nothing; one that is no score is refused."""
    shadow = mti.Shadow(1.0, score=lambda item, task, answer: None)
    list(PROGRAM.map(rows(30), model=model(drift=0), shadow=shadow))
    assert shadow.seen == 30
    assert shadow.events == []
    wrong = mti.Shadow(1.0, score=lambda item, task, answer: 3.0)
    with pytest.raises(mti.DataError, match=r"score of 'urgent' gave 3\.0"):
        list(PROGRAM.map(rows(1), model=model(), shadow=wrong))


def test_a_slot_that_only_fails_in_company_is_a_loss() -> None:
    """A broken answer in company counts as 1 against a whole one alone."""

    def answer(request: mti.Request) -> str:
        tasks = re.findall(r'^"(\w+)":', request.messages[0].content, re.MULTILINE)
        said = dict.fromkeys(tasks, "yes")
        return json.dumps(said | ({"angry": "maybe"} if len(tasks) > 1 else {}))

    told: list[Any] = []
    shadow = mti.Shadow(1.0, allowed=0.05, warn=told.append)
    fake, none = mti.FunctionModel(answer), mti.Repair.none()
    list(PROGRAM.map(rows(40), model=fake, shadow=shadow, repair=none))
    assert [(one["task"], one["mean"]) for one in told] == [("angry", 1.0)]


@pytest.mark.parametrize("error", [ModelUnavailable("down"), ModelAccessDenied("no")])
def test_an_outage_in_the_shadow_harms_no_row(error: mti.ModelError) -> None:
    """Calls of the shadow that fail, for good even, are no observation and cost no answer."""
    inner = model(drift=0)

    def answer(request: mti.Request) -> str:
        if request.purpose == "shadow":
            raise error
        return inner.complete(request).text

    shadow = mti.Shadow(1.0, allowed=0.05)
    results = list(PROGRAM.map(rows(40), model=mti.FunctionModel(answer), shadow=shadow))
    assert len(results) == 40
    assert not any(one.failures for one in results)
    assert shadow.events == []
    assert shadow.rows == 40


def test_an_outage_in_company_is_no_loss() -> None:
    """Fused calls that fail say nothing of a task, and no shadow is sent after them."""
    inner = model(drift=0)

    def answer(request: mti.Request) -> str:
        if request.purpose == "answer":
            raise ModelUnavailable("down")
        return inner.complete(request).text

    fake = mti.FunctionModel(answer)
    shadow = mti.Shadow(1.0, allowed=0.05)
    results = list(PROGRAM.map(rows(30), model=fake, shadow=shadow))
    assert {one.kind for result in results for one in result.failures.values()} == {"call failed"}
    assert {one.purpose for one in fake.requests} == {"answer"}
    assert (shadow.seen, shadow.events) == (0, [])


def test_a_spent_budget_ends_the_run_cleanly() -> None:
    """The shadow takes from the same budget; a row whose shadow is refused still has its answer."""
    with ChatServer(_answer) as server:
        budget = mti.Budget(calls=10)
        asked = mti.Model("direct/any", api_base=server.base_url, cache=False, budget=budget)
        many = PROGRAM.map(rows(9), model=asked, shadow=1.0, concurrency=1)
        results = list(many)
    assert len(server.requests) == 10
    assert not any(one.failures for one in results)


# --- un-fusing -------------------------------------------------------------------------------


def test_unfuse_takes_the_task_out_from_then_on() -> None:
    """Rows begun after the event ask the task alone, and its answers are right again."""
    shadow = mti.Shadow(1.0, allowed=0.05, unfuse=True, warn=lambda _: None)
    asked = model(drift=100, after=1.0)
    results = list(PROGRAM.map(rows(200), model=asked, shadow=shadow, concurrency=1))
    [event] = shadow.events
    assert event["unfused"]
    late = results[event["row"] + 4 :]
    assert {one.intent for one in late} == {"yes"}
    answers = [call.tasks for call in late[-1].calls if call.request.purpose == "answer"]
    assert sorted(answers) == [("intent",), ("urgent", "angry")]


def test_without_unfuse_the_plan_stays_and_it_is_told_once() -> None:
    """One event for one task, however long it goes on, and the plan is the same."""
    told: list[Any] = []
    shadow = mti.Shadow(1.0, allowed=0.05, warn=told.append)
    plan = mti.Plan.fused(PROGRAM)
    list(PROGRAM.map(rows(150), model=model(drift=0, after=1.0), plan=plan, shadow=shadow))
    assert len(told) == 1
    assert shadow.plan(PROGRAM, plan) is plan


@given(st.permutations(["a", "b", "c", "d"]), st.sets(st.sampled_from(["a", "b", "c", "d"])))
@settings(max_examples=40)
def test_dependencies_hold_whatever_leaves(order: list[str], apart: set[str]) -> None:
    """Whichever tasks leave a chain, the plan is whole, in order, and they are alone."""
    order.sort(key="abc".find)  # d may stand anywhere
    plan = mti.Plan.fused(CHAIN, order=order)
    found = unfused(CHAIN, plan, apart)  # checks itself
    alone = {group.tasks[0] for group in found.call_groups if len(group.tasks) == 1}
    assert alone >= apart
    if apart == {"b"}:
        assert ("a", "d") in {group.tasks for group in found.call_groups} or ("d", "a") in {
            group.tasks for group in found.call_groups
        }


# --- the state -------------------------------------------------------------------------------


def _event(*parts: int, state: Path | None) -> Any:
    """The event of a run that is stopped so many times, at these numbers of rows."""
    given = 0
    events: list[Any] = []
    for part in parts:
        shadow = mti.Shadow(0.6, state=state, learn=40, warn=events.append)
        many = PROGRAM.map(
            rows(300 - given, given), model=model(drift=150, before=0.02), shadow=shadow
        )
        given += len(list(islice(many, part)))
        many.close()  # type: ignore[attr-defined]
    [event] = events
    return event


def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    """Stopped three times, while it learns and while it tests, it warns at the same row."""
    once = _event(300, state=None)
    assert once == _event(300, state=tmp_path / "whole.json")
    assert once == _event(17, 61, 80, 142, state=tmp_path / "parts.json")
    whole, parts = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("whole", "parts")
    )
    assert whole == parts
    assert [one.name for one in tmp_path.iterdir() if one.suffix != ".json"] == []


def test_a_killed_process_leaves_a_state(tmp_path: Path) -> None:
    """A process that ends without a word, amid its rows, leaves a state that can be read."""
    state = tmp_path / "state.json"
    code = f"""
import os, mtiprompt as mti
program = mti.combine("message -> mood: Literal['good']", "message -> topic: Literal['tea']")
many = program.map(({{"message": str(n)}} for n in range(99)), model=mti.EchoModel(),
                   shadow=mti.Shadow(1.0, state={str(state)!r}))
for n, result in enumerate(many, start=1):
    if n == 20:
        os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert mti.Shadow(1.0, state=state).rows == 20


def test_unfused_tasks_stay_apart_after_a_restart(tmp_path: Path) -> None:
    """What was taken out of its call by one run is out from the first row of the next."""
    for _ in range(2):
        shadow = mti.Shadow(
            1.0, allowed=0.05, unfuse=True, state=tmp_path / "s.json", warn=lambda _: None
        )
        results = list(PROGRAM.map(rows(40), model=model(drift=0, after=1.0), shadow=shadow))
    assert shadow.apart == {"intent"}
    assert len(shadow.events) == 1
    assert {one.intent for one in results} == {"yes"}


def test_the_state_stays_small(tmp_path: Path) -> None:
    """Its size does not grow with the rows that were seen."""
    sizes = []
    for _ in range(3):
        shadow = mti.Shadow(1.0, state=tmp_path / "s.json", learn=60)
        list(PROGRAM.map(rows(200), model=model(before=0.1, drift=999), shadow=shadow))
        sizes.append((tmp_path / "s.json").stat().st_size)
    assert sizes[2] < 1.1 * sizes[0] < 10_000


def _refused(shadow: mti.Shadow, program: mti.Program = PROGRAM, **options: Any) -> str:
    with pytest.raises(mti.DataError) as caught:
        program.map(rows(1), model=model(), shadow=shadow, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_state_of_something_else_is_refused(tmp_path: Path) -> None:
    """Another program, plan or promise is named in one line, before any call."""
    state = tmp_path / "s.json"
    list(PROGRAM.map(rows(3), model=model(), shadow=mti.Shadow(1.0, state=state)))
    assert "another plan" in _refused(mti.Shadow(1.0, state=state), CHAIN)
    pair = mti.Plan.groups(PROGRAM, [["urgent", "angry"], ["intent"]])
    assert "another plan" in _refused(mti.Shadow(1.0, state=state), plan=pair)
    assert "margin" in _refused(mti.Shadow(1.0, state=state, margin=0.1))
    state.write_text('{"format": 9}')
    with pytest.raises(mti.DataError, match="no state of a shadow"):
        mti.Shadow(state=state)
    state.write_text("{")
    with pytest.raises(mti.DataError, match="not JSON"):
        mti.Shadow(state=state)
    assert "cannot write" in _refused(mti.Shadow(state=tmp_path / "none" / "s.json"))


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    """A state that lacks the bets of a task is no state."""
    state = tmp_path / "s.json"
    list(PROGRAM.map(rows(3), model=model(), shadow=mti.Shadow(1.0, state=state, allowed=0.1)))
    value = json.loads(state.read_text())
    value["tasks"]["angry"]["bet"]["sums"] = [1.0]
    state.write_text(json.dumps(value))
    assert "no state of a shadow" in _refused(mti.Shadow(1.0, state=state, allowed=0.1))


def test_one_shadow_watches_one_plan() -> None:
    """A shadow that goes on in a second run of the same plan is fine; another plan is not."""
    shadow = mti.Shadow(1.0)
    list(PROGRAM.map(rows(3), model=model(), shadow=shadow))
    list(PROGRAM.map(rows(3), model=model(), shadow=shadow))
    assert shadow.rows == 6
    assert "another plan" in _refused(shadow, CHAIN)


# --- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"share": 0}, {"share": 1.5}, {"share": "all"}, {"share": True}, {"margin": 0},
        {"confidence": 1}, {"allowed": -0.1}, {"allowed": 0.99}, {"allowed": {"a": "b"}},
        {"learn": 0},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    """Each argument that makes no sense is named, with what would."""
    with pytest.raises(mti.SettingsError, match=f"shadow has {next(iter(wrong))}=.*give a number"):
        mti.Shadow(**wrong)


def test_allowed_for_no_task_is_refused() -> None:
    """A name that is no task of the program is told before any call."""
    with pytest.raises(mti.SettingsError, match="'mood'"):
        PROGRAM.map(rows(1), model=model(), shadow=mti.Shadow(allowed={"mood": 0.1}))


def test_a_bad_row_is_named_all_the_same() -> None:
    """An error of the rows comes through, after what was before it."""
    many = PROGRAM.map(iter([*rows(2), {"text": "x"}]), model=model(), shadow=1.0)
    with pytest.raises(mti.DataError, match="row 3"):
        _taken(many)


def _taken(many: Iterator[mti.Result]) -> None:
    assert len(list(islice(many, 2))) == 2
    next(many)


def test_warnings_as_errors_leave_the_state_whole(tmp_path: Path) -> None:
    """Where warnings are errors the run ends with it, and the event is on record."""
    state = tmp_path / "s.json"
    with warnings.catch_warnings():
        warnings.simplefilter("error", mti.DriftWarning)
        many = PROGRAM.map(
            rows(80),
            model=model(drift=0, after=1.0),
            shadow=mti.Shadow(1.0, allowed=0.05, state=state),
        )
        with pytest.raises(mti.DriftWarning):
            list(many)
    assert [one["task"] for one in mti.Shadow(1.0, allowed=0.05, state=state).events] == ["intent"]


def test_a_cache_does_not_answer_the_shadow_with_the_fused_answer(tmp_path: Path) -> None:
    """With a cache, answers in company are not taken for those alone; a second run is free."""
    told: list[Any] = []
    with ChatServer(_answer) as server:
        asked = mti.Model("direct/any", api_base=server.base_url, cache=str(tmp_path / "cache"))
        for _ in range(2):
            shadow = mti.Shadow(1.0, allowed=0.05, warn=told.append)
            results = list(PROGRAM.map(rows(30), model=asked, shadow=shadow))
    assert [one["task"] for one in told] == ["intent", "intent"]
    assert told[0] == told[1]
    assert len(server.requests) == 120
    assert sum(one.usage.calls for one in results) == 0
