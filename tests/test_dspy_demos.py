"""Which demonstrations of single tasks a plan shows."""

from __future__ import annotations

import json
from typing import Annotated, Any

import dspy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator

import mtiprompt as mti

pytestmark = pytest.mark.usefixtures("quiet_dspy")

NAMES = ("a", "b", "c")
PROGRAM = mti.combine(*(f"text -> {name}: int" for name in NAMES))


def _plan(groups: list[list[str]], demos: list[Any]) -> mti.Plan:
    return mti.Plan.groups(PROGRAM, groups, demos=demos)


def _row(place: int, names: Any) -> dict[str, Any]:
    return {"inputs": {"text": str(place)}, "outputs": dict.fromkeys(sorted(names), place)}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sets(st.sampled_from(NAMES), min_size=1), max_size=6),
    st.sampled_from([[["a"], ["b"], ["c"]], [["a", "b"], ["c"]], [["a", "b", "c"]]]),
)
def test_every_group_keeps_what_it_can_show(answers: list[set[str]], groups: Any) -> None:
    """Through a module each call shows the demonstrations that the plan had for it: those of other
    calls take none of its places.
    """
    plan = _plan(groups, [_row(place, names) for place, names in enumerate(answers)])
    found = mti.to_dspy(PROGRAM, plan=plan, model=mti.EchoModel()).plan
    for group in groups:
        assert _texts(found, group) == _texts(plan, group)


def _texts(plan: mti.Plan, group: list[str]) -> set[str]:
    return {demo.inputs["text"] for demo in plan.demos if demo.outputs.keys() >= set(group)}


@pytest.mark.parametrize("groups", [[["a"], ["b"], ["c"]], [["a", "b", "c"]]])
def test_as_many_are_shown_as_were_chosen_for_one_task(groups: list[list[str]]) -> None:
    """Two whole rows for each of three tasks, all of different items, are two, not six."""
    module = mti.to_dspy(PROGRAM, plan=_plan(groups, []), model=mti.EchoModel())
    places = iter(range(6))
    for holder in module.predictors():
        whole = [dict.fromkeys(NAMES, place) | {"text": str(place)} for place in (
            next(places), next(places)
        )]  # fmt: skip
        holder.demos = [dspy.Example(**row) for row in whole]
    assert len(module.plan.demos) == 2


@mti.task
def mood(text: str, lang: str = "en") -> bool:
    """Say whether the mood is good."""
    raise NotImplementedError


def test_a_row_with_a_default_is_known_again_from_a_file() -> None:
    """A demonstration of a trace whose input was not given is part of its row after a file too."""
    program = mti.combine(mood, "text -> urgent: bool")
    module = mti.to_dspy(program, model=mti.EchoModel())
    with dspy.context(trace=[]):
        module(text="x")
        holder, taken, found = dspy.settings.trace[0]
    holder.demos = [dspy.Example(augmented=True, **taken, **found)]
    loaded = mti.to_dspy(program)
    loaded.load_state(json.loads(json.dumps(module.dump_state())))
    assert len(module.plan.demos) == 1
    assert loaded.plan == module.plan


def _stars(value: int) -> int:
    if value > 5:
        raise KeyError("five is the most")
    return value


def test_a_check_that_raises_anything_leaves_the_demonstration_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A type's own check may raise what it likes: the demonstration is not shown, the log says
    why, and the metric takes the value as it is.
    """
    made = dspy.Signature(
        {"text": (str, dspy.InputField()),
         "stars": (Annotated[int, AfterValidator(_stars)], dspy.OutputField())}, "Count.",
    )  # fmt: skip
    program = mti.combine(mti.task(made, name="stars"))
    module = mti.to_dspy(program, model=mti.EchoModel())
    module.tasks["stars"].demos = [dspy.Example(text=str(n), stars=n) for n in (7, 3)]
    assert [demo.outputs for demo in module.plan.demos] == [{"stars": {"stars": 3}}]
    assert "the type's own check raised KeyError" in caplog.text
    gold = dspy.Example(text="x", stars=7).with_inputs("text")
    assert mti.dspy_metric(program)(gold, dspy.Prediction(stars=7)).score == 1.0
