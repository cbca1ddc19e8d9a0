"""None in DSPy's rows: an answer where the type has it, else the sign that there is none."""

from __future__ import annotations

import json
from typing import Any

import dspy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.errors import DataError
from mtiprompt.metrics import METRICS, exact

pytestmark = pytest.mark.usefixtures("quiet_dspy")

PROGRAM = mti.combine("text -> due: int | None", "text -> mood: bool")
ANSWERS = {"due": st.none() | st.integers(0, 2), "mood": st.none() | st.booleans()}
ROWS = st.fixed_dictionaries({}, optional=ANSWERS)
"""Answers by output; of a task without one the field is absent, or None as a table has it."""


def _given(row: dict[str, Any]) -> dict[str, Any]:
    """The answers in a row; None is one of `due`, and of `mood` none."""
    return {name: value for name, value in row.items() if name == "due" or value is not None}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, ROWS)
def test_a_task_is_scored_where_it_has_gold(gold: dict[str, Any], found: dict[str, Any]) -> None:
    """Null is gold and an answer where the type has it; elsewhere it is the lack of one."""
    metric = mti.dspy_metric(PROGRAM)
    example = dspy.Example(text="x", **gold).with_inputs("text")
    wanted, answers = _given(gold), _given(found)
    if not wanted:
        with pytest.raises(DataError, match="gold for no task"):
            metric(example, dspy.Prediction(**found))
        return
    told = metric(example, dspy.Prediction(**found))
    assert told.objective_scores == {
        name: exact(answers[name], wanted[name]) if name in answers else 0.0 for name in wanted
    }
    assert bool(told) == all(told.objective_scores.values())


def test_one_null_field_of_several_is_gold() -> None:
    """A task of several outputs keeps its gold where one of them is null."""
    program = mti.combine(mti.task("text -> due: int | None, note: str", name="dated"))
    metric = mti.dspy_metric(program)
    [example] = mti.dspy_examples(
        program, [{"inputs": {"text": "x"}, "outputs": {"dated": {"due": None, "note": "a"}}}]
    )
    assert metric(example, dspy.Prediction(due=None, note="a")).score == 1.0
    assert metric(example, dspy.Prediction(due=5, note="a")).score == 0.0


@pytest.mark.parametrize(("due", "score"), [("null", 1.0), ('"soon"', 0.0)])
def test_a_slot_that_failed_is_not_null(due: str, score: float) -> None:
    """The None of a failed slot is no answer, even where the task has null as one."""
    model = mti.FunctionModel(lambda _: f'{{"due": {due}, "mood": true}}')
    found = mti.to_dspy(PROGRAM, model=model)(text="x")
    assert found.due is None
    example = dspy.Example(text="x", due=None, mood=True).with_inputs("text")
    assert mti.dspy_metric(PROGRAM)(example, found).objective_scores == {"due": score, "mood": 1.0}


@pytest.mark.parametrize(("due", "score"), [("null", 1.0), ('"soon"', 0.0)])
@pytest.mark.parametrize("named", METRICS)
def test_null_is_right_by_every_metric(named: str, due: str, score: float) -> None:
    """A null answer is right where null is gold, whatever the metric; a failed slot is not."""
    model = mti.FunctionModel(lambda _: f'{{"due": {due}, "mood": true}}')
    found = mti.to_dspy(PROGRAM, model=model)(text="x")
    metric = mti.dspy_metric(PROGRAM, {"due": named})
    example = dspy.Example(text="x", due=None).with_inputs("text")
    assert metric(example, found).objective_scores == {"due": score}


@pytest.mark.parametrize(
    ("outputs", "kept"),
    [({}, False), ({"mood": None}, False), ({"due": None}, True), ({"mood": False}, True)],
)  # fmt: skip
def test_rows_without_gold_are_no_examples(outputs: dict[str, Any], kept: bool) -> None:
    """They are left out, as nothing could be scored; null is gold where the type has it."""
    rows = [{"inputs": {"text": "a"}, "outputs": outputs},
            {"inputs": {"text": "b"}, "outputs": {"mood": True}}]  # fmt: skip
    assert [one.text for one in mti.dspy_examples(PROGRAM, rows)] == ["a", "b"][not kept :]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"inputs": {"txt": "a"}, "outputs": {"mood": True}}, "the input 'text' is missing"),
        ({"inputs": {"text": 3}, "outputs": {"mood": True}}, "the input 'text' does not fit"),
        ({"inputs": {"text": "a"}, "outputs": {"mode": True}}, "gold for 'mode', which is no task"),
        ({"inputs": {"text": "a"}, "outputs": {"due": "soon"}}, "due"),
        ({"inputs": None, "outputs": {}}, "no example"),
        ({"inputs": {"text": "a"}}, "no example"),
    ],
)
def test_rows_that_do_not_fit_are_refused(row: Any, said: str) -> None:
    """A row that could only score 0 is named by its number, as an evaluation names it."""
    fits = {"inputs": {"text": "a", "extra": 1}, "outputs": {"mood": True}}
    with pytest.raises(DataError, match=f"row 2.*{said}"):
        mti.dspy_examples(PROGRAM, [fits, row])
    assert [one.toDict() for one in mti.dspy_examples(PROGRAM, [fits])] == [
        {"text": "a", "mood": True}
    ]


def test_none_is_no_gold_of_a_task_with_several_outputs() -> None:
    """A task whose outputs may all be null still has an answer with both, or none."""
    program = mti.combine(mti.task("text -> a: int | None, b: int | None", name="both"))
    rows = [{"inputs": {"text": "x"}, "outputs": {"both": None}},
            {"inputs": {"text": "y"}, "outputs": {"both": {"a": None, "b": None}}}]  # fmt: skip
    assert [one.text for one in mti.dspy_examples(program, rows)] == ["y"]


@pytest.mark.parametrize("rows", [None, 7, "abc", {"inputs": {}}])
def test_what_is_no_list_of_rows_is_refused(rows: Any) -> None:
    """A value that holds no rows gives one line, not an error of Python's."""
    with pytest.raises(DataError):
        mti.dspy_examples(PROGRAM, rows)


def test_rows_without_gold_do_not_count() -> None:
    """DSPy's evaluation gives what `mti.evaluate` gives where some rows have no gold."""
    gold: list[dict[str, Any]] = [{"due": 0, "mood": True}, {}, {"due": 0}]
    rows = [{"inputs": {"text": str(place)}, "outputs": one} for place, one in enumerate(gold)]
    model = mti.FunctionModel(lambda _: '{"due": 0, "mood": true}')
    examples = mti.dspy_examples(PROGRAM, rows)
    evaluation = dspy.Evaluate(devset=examples, metric=mti.dspy_metric(PROGRAM))
    assert evaluation(mti.to_dspy(PROGRAM, model=model)).score == 100
    assert mti.evaluate(PROGRAM, rows, model=model).average.mean == 1


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROWS.filter(lambda row: bool(_given(row))), max_size=4), st.booleans())
def test_demonstrations_with_null_come_through(rows: list[dict[str, Any]], fused: bool) -> None:
    """A plan keeps the demonstrations that it can show, null answers too, through a module."""
    demos = [
        {"inputs": {"text": str(place)}, "outputs": _given(row)}
        for place, row in enumerate(rows)
        if len(_given(row)) == 2 or not fused
    ]
    make = mti.Plan.fused if fused else mti.Plan.split
    plan = make(PROGRAM, demos=demos)
    found = mti.to_dspy(PROGRAM, plan=plan, model=mti.EchoModel()).plan
    assert sorted(found.demos, key=lambda demo: demo.inputs_json) == list(plan.demos)


def test_labelled_rows_with_null_become_demonstrations() -> None:
    """What `LabeledFewShot` chooses is shown with its null answers, and a copied table's None of
    another task is no answer.
    """
    rows = [
        {"inputs": {"text": "a"}, "outputs": {"due": None, "mood": True}},
        {"inputs": {"text": "b"}, "outputs": {"due": 1, "mood": None}},
    ]
    plan = mti.Plan.split(PROGRAM)
    module = mti.to_dspy(PROGRAM, plan=plan, model=mti.EchoModel())
    tuned = dspy.LabeledFewShot(k=2).compile(module, trainset=mti.dspy_examples(PROGRAM, rows))
    shown = {demo.inputs["text"]: demo.outputs for demo in tuned.plan.demos}
    assert shown == {
        "a": {"due": {"due": None}, "mood": {"mood": True}},
        "b": {"due": {"due": 1}},
    }


def test_demonstrations_of_a_dspy_program_keep_null() -> None:
    """A null answer that a predictor shows is a demonstration of the program brought here."""
    brought = dspy.Predict("text -> due: int | None")
    brought.demos = [dspy.Example(text="a", due=None, augmented=True)]
    [demo] = mti.from_dspy(brought).plan.demos
    assert demo.outputs == {"due": {"due": None}}


@pytest.mark.parametrize(("due", "kept"), [("null", ["due", "mood"]), ('"soon"', ["mood"])])
def test_a_trace_tells_null_from_a_failure(due: str, kept: list[str]) -> None:
    """Of a bootstrapped trace the null answer is shown and the failed slot is not, also after a
    file.
    """
    model = mti.FunctionModel(
        lambda request: json.dumps(
            {key: json.loads(due) if key == "due" else True for key in _asked(request)}
        )
    )
    module = mti.to_dspy(PROGRAM, plan=mti.Plan.split(PROGRAM), model=model)
    examples = [dspy.Example(text="x", mood=True).with_inputs("text")]
    optimizer = dspy.BootstrapFewShot(metric=mti.dspy_metric(PROGRAM), max_labeled_demos=0)
    with dspy.context(lm=mti.dspy_lm(model)):
        tuned = optimizer.compile(module, trainset=examples)
    assert [list(demo.outputs) for demo in tuned.plan.demos] == [kept]
    loaded = mti.to_dspy(PROGRAM, plan=mti.Plan.split(PROGRAM))
    loaded.load_state(json.loads(json.dumps(tuned.dump_state())))
    assert loaded.plan == tuned.plan


def _asked(request: mti.Request) -> list[str]:
    assert request.schema is not None
    return list(request.schema.schema["properties"])
