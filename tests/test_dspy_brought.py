"""DSPy programs as programs: every predictor is one task, with a name that a task can have."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mtiprompt as mti

pytestmark = pytest.mark.usefixtures("quiet_dspy")

PARTS = st.sampled_from(["a", "b", "a_b", "a_b_1", "a_b_2", "a_1", "predict", "tasks", "_a"])
KEYS = st.text(st.sampled_from("ab1_ ²é'-"), max_size=4)


class _Bag(dspy.Module):
    """A module of whatever parts."""

    def __init__(self, parts: dict[str, Any]) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def _predictors(number: int) -> list[Any]:
    return [dspy.Predict(f"text -> out{place}") for place in range(number)]


def test_colliding_names_lose_no_predictor() -> None:
    """`a_b`, `a.b` and `a_b_2` are three tasks; a number that is a name already is passed over."""
    one, two, three = _predictors(3)
    program = mti.from_dspy(_Bag({"a_b": one, "a": _Bag({"b": two}), "a_b_2": three}))
    found = {name: task.outputs[0].name for name, task in program.tasks.items()}
    assert found == {"a_b_1": "out0", "a_b_3": "out1", "a_b_2": "out2"}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(PARTS, unique=True, max_size=4),
    st.lists(PARTS, unique=True, max_size=3),
    st.lists(KEYS, unique=True, max_size=4),
)
def test_each_predictor_is_a_task(names: list[str], inner: list[str], keys: list[str]) -> None:
    """Whatever the attributes and keys are called, each predictor is one task of the program."""
    made = iter(_predictors(len(names) + len(inner) + len(keys) + 1))
    parts: dict[str, Any] = {name: next(made) for name in names}
    parts["a"] = _Bag({name: next(made) for name in inner} | {"last": next(made)})
    parts["tasks"] = {key: next(made) for key in keys}
    bag = _Bag(parts)
    outputs = [name for _, one in bag.named_predictors() for name in one.signature.output_fields]
    program = mti.from_dspy(bag)
    assert [task.outputs[0].name for task in program.tasks.values()] == outputs


@pytest.mark.parametrize(("key", "name"), [("1", "task_1"), ("²", "task"), ("b c", "b_c")])
def test_a_key_that_is_no_name_becomes_one(key: str, name: str) -> None:
    """A key that no task can be called is put behind a word, or left out."""
    [predictor] = _predictors(1)
    assert list(mti.from_dspy(_Bag({"tasks": {key: predictor}})).tasks) == [name]


@pytest.mark.parametrize(("reasoning", "told"), [({"reasoning": "so"}, True), ({}, False)])
def test_what_demonstrations_reason_is_left_out_aloud(
    reasoning: dict[str, str], told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A demonstration of a chain of thought keeps its answer; the log says that its reasoning is
    not shown, and does not quote it.
    """
    brought = dspy.ChainOfThought("text -> reply")
    brought.predict.demos = [dspy.Example(text="a", reply="Hi", **reasoning)]
    [demo] = mti.from_dspy(brought).plan.demos
    assert demo.outputs == {"reply": {"reply": "Hi"}}
    said = "task reply: what its demonstrations reason is left out; a plan shows answers alone"
    assert caplog.messages == [said] * told


class Review(dspy.Signature):
    """Judge the review."""

    text: str = dspy.InputField()
    score: float = dspy.OutputField()


@pytest.mark.parametrize(
    ("signature", "name"), [("text -> u", "u"), ("text -> u, v: int", "u_v"), (Review, "score")]
)
def test_a_lone_chain_of_thought_is_called_after_its_outputs(signature: Any, name: str) -> None:
    """The reasoning in front is no part of the name, as it is no output of the task."""
    program = mti.from_dspy(dspy.ChainOfThought(signature))
    assert list(program.tasks) == [name]
    assert program.tasks[name].reasoning
    assert list(mti.from_dspy(_Bag({"predict": dspy.ChainOfThought(signature)})).tasks) == [name]
