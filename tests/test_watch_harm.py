"""What goes wrong beside a row in the shadow: metrics, scores, states, tasks without a watch."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.errors import ContentRefused, ModelUnavailable, SettingsError
from mtiprompt.watch.record import highest_mean
from tests.test_watch import PROGRAM, YES, model, rows

# --- metrics and scores --------------------------------------------------------------------------


def down(request: mti.Request) -> str:
    """The reply of a model that is not there."""
    raise ModelUnavailable("down")


def raising(error: Exception) -> Callable[..., float]:
    """A metric, or a score, that fails."""

    def fails(*_: Any) -> float:
        raise error

    return fails


def watched(wrong: Callable[..., Any]) -> mti.Program:
    """Two tasks in one call; what compares the answers of the second does not work."""
    second = mti.task(f"message -> angry: {YES}", metric=wrong)
    return mti.combine(f"message -> urgent: {YES}", second)


WRONG = [
    raising(KeyError("Message 3")),
    raising(mti.DataError("Message 3")),
    raising(ModelUnavailable("down")),
    mti.Judge(mti.FunctionModel(down)),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_metric_that_fails_costs_an_observation(
    wrong: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a metric or a judge does, each row has its answer; a log line without a word of the
    row names the task, and the other tasks are watched as before."""
    shadow = mti.Shadow(1.0, allowed={"urgent": 0.05}, warn=lambda _: None)
    asked = model(drift=0, after=1.0, task="urgent")
    with caplog.at_level(logging.WARNING, "mtiprompt.watch.run"):
        results = list(watched(wrong).map(rows(40), model=asked, shadow=shadow))
    assert [one.angry for one in results] == ["yes"] * 40
    assert (shadow.rows, shadow.seen) == (40, 40)
    assert [one["task"] for one in shadow.events] == ["urgent"]
    said = [one.getMessage() for one in caplog.records if one.name == "mtiprompt.watch.run"]
    assert len(said) == 40
    assert all(
        one.startswith("a row tells nothing of the task 'angry': its metric") for one in said
    )
    assert "Message" not in " ".join(said)


@pytest.mark.parametrize("wrong", WRONG[:-1])
async def test_a_score_that_fails_costs_an_observation(wrong: Callable[..., Any]) -> None:
    """As for a metric, one by one and in an event loop."""

    def score(item: Any, task: str, answer: Any) -> Any:
        return wrong() if task == "angry" else float(answer == "yes")

    told: list[Any] = []
    for _ in range(2):
        shadow = mti.Shadow(1.0, score=score, warn=told.append)
        many = PROGRAM.amap(rows(60), model=model(drift=0, after=1.0), shadow=shadow)
        assert len([one async for one in many]) == 60
    shadow = mti.Shadow(1.0, score=score, warn=told.append)
    list(PROGRAM.map(rows(60), model=model(drift=0, after=1.0), shadow=shadow))
    assert [one["task"] for one in told] == ["intent"] * 3


@pytest.mark.parametrize("value", [3.0, math.nan, "Message 3"])
def test_what_is_no_score_is_refused(value: Any) -> None:
    """What is no number from 0 to 1 is a mistake of the one who wrote the metric, and is told."""
    with pytest.raises(mti.DataError, match="'angry'"):
        list(watched(lambda *_: value).map(rows(2), model=model(), shadow=1.0))


def test_a_metric_that_is_none_is_told_when_it_is_declared() -> None:
    """A name that is no metric is a mistake, not an observation that is lost on every row."""
    with pytest.raises(mti.DeclarationError, match=r"'near'.*exact, numeric, f1_set, token_f1, or"):
        watched("near")  # type: ignore[arg-type]


async def test_a_slow_judge_does_not_hold_up_the_event_loop() -> None:
    """While a metric takes its time, whatever else runs in the loop goes on."""

    def slow(answer: Any, gold: Any) -> float:
        time.sleep(0.1)
        return 1.0

    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.005)
            beats += 1

    other = asyncio.create_task(beat())
    many = watched(slow).amap(rows(3), model=model(), shadow=1.0)
    assert len([one async for one in many]) == 3
    other.cancel()
    assert beats > 10


# --- slots that fail -----------------------------------------------------------------------------

PAIR = mti.combine(f"message -> urgent: {YES}", f"message -> intent: {YES}")
BROKEN = ["I cannot do that.", "", '{"note": 1}', ContentRefused("no")]


def good(item: Any, task: str, answer: Any) -> float:
    """A score for which every answer is right."""
    return 1.0


def replying(fused: Callable[[str], Any], alone: Callable[[str], Any]) -> mti.FunctionModel:
    """A model that says what it is told to, by text, of calls about two tasks and about one."""

    def answer(request: mti.Request) -> str:
        assert request.schema is not None
        tasks = list(request.schema.schema["properties"])
        said = (fused if len(tasks) > 1 else alone)(request.messages[-1].content)
        if isinstance(said, Exception):
            raise said
        return json.dumps(dict.fromkeys(tasks, "yes")) if said is None else str(said)

    return mti.FunctionModel(answer)


def run(asked: mti.FunctionModel, shadow: mti.Shadow, number: int = 40) -> list[mti.Result]:
    """The results of some rows, each tried once."""
    return list(
        PAIR.map(rows(number), model=asked, shadow=shadow, concurrency=1, repair=mti.Repair.none())
    )


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("score", [None, good])
def test_calls_that_fail_whole_in_company_are_harm(broken: Any, score: Any) -> None:
    """The worst that company can do, that no task of the call has an answer, is seen as well."""
    told: list[Any] = []
    shadow = mti.Shadow(1.0, allowed=0.0, score=score, warn=told.append)
    results = run(replying(lambda text: broken, lambda text: None), shadow)
    assert all(len(one.failures) == 2 for one in results)
    assert {one["task"] for one in told} == {"urgent", "intent"}


DOWN = ModelUnavailable("down")


@pytest.mark.parametrize(("company", "alone", "loss"), [
    (None, None, 0.0), (None, "?", -1.0), ("?", None, 1.0), ("?", "?", 0.0),
    (None, ContentRefused("no"), -1.0), (None, DOWN, None), ("?", DOWN, None), (DOWN, None, None),
])  # fmt: skip
def test_by_a_score_a_failure_alone_counts_as_one_in_company(
    company: Any, alone: Any, loss: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that fails scores 0 on either side; a call that came to nothing tells nothing."""
    seen: list[dict[str, float]] = []
    shadow = mti.Shadow(1.0, score=good)
    monkeypatch.setattr(shadow, "look", seen.append)
    run(replying(lambda text: company, lambda text: alone), shadow, 1)
    assert [one for one in seen if one] == (
        [] if loss is None else [{"urgent": loss, "intent": loss}]
    )


def unlucky(text: str, way: str) -> str | None:
    """A reply without the intent about 15 rows in 100, others in each way."""
    return (
        '{"urgent": "yes"}'
        if hashlib.sha256(f"{way} {text}".encode()).digest()[0] < 0.15 * 256
        else None
    )


@pytest.mark.parametrize("shadow", [mti.Shadow(1.0, score=good), mti.Shadow(1.0, allowed=0.15)])
def test_failures_that_are_as_frequent_alone_are_no_harm(shadow: mti.Shadow) -> None:
    """Where 15% of the answers fail alone as in company, of other rows, company does no harm by a
    score; without one, what only fails in company is a loss, and may be as often as is allowed.
    """
    asked = replying(lambda text: unlucky(text, "fused"), lambda text: unlucky(text, "alone"))
    results = run(asked, shadow, 400)
    assert 40 < sum(bool(one.failures) for one in results) < 80
    assert shadow.events == []


# --- the state of something else -----------------------------------------------------------------


def test_a_state_that_was_refused_once_is_refused_again(tmp_path: Path) -> None:
    """A second attempt with the same shadow does not write over the state of another."""
    state = tmp_path / "s.json"
    first = mti.Shadow(1.0, allowed=0.02, state=state)
    list(PROGRAM.map(rows(5), model=model(), shadow=first))
    before = state.read_bytes()
    other = mti.Shadow(1.0, allowed=0.1, state=state)
    for _ in range(3):
        with pytest.raises(mti.DataError, match=r"another allowed \(0\.02\)"):
            PROGRAM.map(rows(1), model=model(), shadow=other)
    assert state.read_bytes() == before


@pytest.mark.parametrize("lost", ["bet", "n", "learned"])
def test_a_damaged_state_is_refused_again(tmp_path: Path, lost: str) -> None:
    """Nor does one over a state that lacks a part."""
    state = tmp_path / "s.json"
    for allowed in (None, 0.1):
        state.unlink(missing_ok=True)
        list(
            PROGRAM.map(
                rows(5), model=model(), shadow=mti.Shadow(1.0, state=state, allowed=allowed)
            )
        )
        value = json.loads(state.read_text())
        del value["tasks"]["intent"][lost]
        state.write_text(json.dumps(value))
        if lost == "bet" and allowed is None:
            continue  # while it learns there is none
        shadow = mti.Shadow(1.0, state=state, allowed=allowed)
        for _ in range(2):
            with pytest.raises(mti.DataError, match="no state of a shadow"):
                PROGRAM.map(rows(1), model=model(), shadow=shadow)
        assert json.loads(state.read_text()) == value


def test_a_state_that_cannot_be_written_is_told_each_time(tmp_path: Path) -> None:
    """A second attempt does not run without the state that the first could not write."""
    shadow = mti.Shadow(1.0, state=tmp_path / "none" / "s.json")
    for _ in range(2):
        with pytest.raises(mti.DataError, match="cannot write"):
            PROGRAM.map(rows(1), model=model(), shadow=shadow)


# --- what cannot be watched ----------------------------------------------------------------------


def test_a_task_that_nothing_could_be_above_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where all that is learned is disagreement, no warning could ever come: the log says so once,
    no row is run split for the task any more, and it stays so in the next run."""
    said = []
    pair = mti.combine(f"message -> urgent: {YES}", f"message -> intent: {YES}")
    always = model(drift=0, after=1.0)
    for _ in range(2):
        shadow = mti.Shadow(1.0, allowed={"urgent": 0.1}, learn=40, state=tmp_path / "s.json")
        with caplog.at_level(logging.WARNING, "mtiprompt.watch.shadow"):
            list(pair.map(rows(60), model=always, shadow=shadow))
        said = [one.getMessage() for one in caplog.records]
    assert len(said) == 1
    assert said[0].startswith("task 'intent' cannot be watched: in the first 40 rows")
    assert shadow.events == []
    assert shadow.watched(mti.Plan.fused(pair)) == ("urgent",)


def test_rows_are_not_run_split_for_tasks_that_cannot_be_watched() -> None:
    """Once no task is left that could be found worse, the shadow costs nothing more."""
    program = mti.combine(f"message -> intent: {YES}")
    plan = mti.Plan.fused(program, items_per_call=2)

    def answer(request: mti.Request) -> str:
        if request.purpose == "shadow":
            return '{"intent": "yes"}'
        return json.dumps({n: {"intent": "no"} for n in "12"})

    results = list(
        program.map(
            rows(100), model=mti.FunctionModel(answer), plan=plan, shadow=mti.Shadow(1.0, learn=30),
            concurrency=1,
        )
    )  # fmt: skip
    shadowed = [one.usage.of("shadow").calls for one in results]
    assert shadowed[:30] == [1] * 30
    assert shadowed[40:] == [0] * 60


@given(
    st.integers(1, 6), st.floats(0.01, 0.9), st.sampled_from([0.5, 0.8, 0.95, 0.999]),
    st.integers(1, 40),
)  # fmt: skip
def test_what_may_be_learned_leaves_room(
    tasks: int, margin: float, confidence: float, learn: int
) -> None:
    """`learn` is taken if and only if a task that did not differ in it can be found worse later."""
    program = mti.combine(
        *(f"message -> t{n}: bool" for n in range(tasks)), "message -> last: bool"
    )
    plan = mti.Plan.fused(program)
    shadow = mti.Shadow(1.0, margin=margin, confidence=confidence, learn=learn)
    names = program.order
    room = highest_mean([0.0] * learn, alpha=(1 - confidence) / len(names) / 2) + margin < 1
    if room:
        shadow.begin(program, plan)
        for _ in range(learn):
            shadow.look(dict.fromkeys(names, 0.0))
        assert shadow.watched(plan) == names
    else:
        with pytest.raises(SettingsError, match=rf"learn={learn}, from which nothing"):
            shadow.begin(program, plan)


async def test_a_score_is_asked_in_the_thread_of_the_loop() -> None:
    """What it looks into, such as a connection to a data base, may be bound to that thread."""
    here, seen = threading.get_ident(), set[int]()

    def score(item: Any, task: str, answer: Any) -> float:
        seen.add(threading.get_ident())
        return 1.0

    shadow = mti.Shadow(1.0, score=score)
    assert len([one async for one in PROGRAM.amap(rows(3), model=model(), shadow=shadow)]) == 3
    assert seen == {here}
