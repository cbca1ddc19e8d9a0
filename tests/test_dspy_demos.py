"""Which demonstrations of single tasks a plan shows."""

from __future__ import annotations

import json
import unicodedata
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


hides_some = pytest.mark.filterwarnings("ignore:demonstrations are left out:UserWarning")
"""Plans that show some demonstrations in no call."""


def _plan(groups: list[list[str]], demos: list[Any]) -> mti.Plan:
    return mti.Plan.groups(PROGRAM, groups, demos=demos)


def _row(place: int, names: Any) -> dict[str, Any]:
    return {"inputs": {"text": str(place)}, "outputs": dict.fromkeys(sorted(names), place)}


def test_demonstrations_in_decomposed_letters() -> None:
    """A demonstration is shown in whatever letters that look the same its fields are named, also
    that of a DSPy program whose signature has them; of two such fields none is lost in silence.
    """
    high, large = (unicodedata.normalize("NFD", name) for name in ("höhe", "größe"))
    module = mti.to_dspy(mti.combine("höhe -> größe: int"), model=mti.EchoModel())
    fields = {high: (str, dspy.InputField()), large: (int, dspy.OutputField())}
    predictor = dspy.Predict(dspy.Signature(fields))
    module.tasks["größe"].demos = predictor.demos = [dspy.Example({high: "a", large: 1})]
    for plan in (module.plan, mti.from_dspy(predictor).plan):
        [demo] = plan.demos
        assert (demo.inputs, demo.outputs) == ({"höhe": "a"}, {"größe": {"größe": 1}})
    module.tasks["größe"].demos = predictor.demos = [
        dspy.Example({high: "a", large: 1, "größe": 2})
    ]
    says = "a demonstration of task größe: the name 'größe' is there twice"
    with pytest.raises(mti.DataError, match=says):
        _ = module.plan
    with pytest.raises(mti.DataError, match=says):
        mti.from_dspy(predictor)


@hides_some
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


MIXED = mti.combine("text -> a", "text -> b", "text -> c: int | None", "text, a -> d")
GROUPS = st.sampled_from([
    [["a", "b", "c", "d"]], [["a"], ["b"], ["c"], ["d"]], [["a", "b"], ["c"], ["d"]],
    [["c"], ["a", "b", "d"]],
])  # fmt: skip
ANSWERS = {
    "a": st.sampled_from(["a0", "a1"]), "b": st.sampled_from(["b0", "b1"]),
    "c": st.none() | st.just(3), "d": st.sampled_from(["d0", "d1"]),
}  # fmt: skip
DEMOS = st.lists(
    st.fixed_dictionaries({
        "inputs": st.fixed_dictionaries({"text": st.sampled_from(["i0", "i1", "i2"])}),
        "outputs": st.fixed_dictionaries({}, optional=ANSWERS).filter(bool),
    }),
    max_size=5,
)  # fmt: skip


@hides_some
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DEMOS, GROUPS, st.booleans(), st.sampled_from(["made", "copied", "loaded"]))
def test_a_plan_that_was_chosen_is_what_runs(
    demos: list[Any], groups: Any, chosen: bool, way: str
) -> None:
    """Until DSPy changes its demonstrations a module asks what the plan asks, to the letter, also
    where they lack answers, contradict each other or are chosen anew for each item; so does its
    copy, and one that was loaded.
    """
    select = mti.Select("nearest", 2) if chosen else None
    plan = mti.Plan.groups(MIXED, groups, demos=demos, select=select)
    model = mti.EchoModel()
    module = mti.to_dspy(MIXED, plan=plan, model=model)
    if way == "copied":
        module = module.deepcopy()
    if way == "loaded":
        state = json.loads(json.dumps(module.dump_state()))
        module = mti.to_dspy(MIXED, model=model)
        module.load_state(state)
    assert mti.from_dspy(module) == plan
    module(text="i1")
    asked = [one.messages for one in model.requests]
    MIXED(text="i1", plan=plan, model=model)
    wanted = [one.messages for one in model.requests[len(asked) :]]
    assert sorted(map(str, asked)) == sorted(map(str, wanted))


NO_DEMOS: list[Any] = [None, 3, "abc", {}, [3], ["abc"]]


@pytest.mark.parametrize("demos", NO_DEMOS)
def test_a_state_whose_demonstrations_are_no_list_of_examples_is_refused(demos: Any) -> None:
    """A file that says what no predictor shows is refused when it is loaded, in one line, and the
    module is as it was.
    """
    module = mti.to_dspy(PROGRAM, plan=_plan([["a", "b", "c"]], [_row(1, NAMES)]))
    state = json.loads(json.dumps(module.dump_state()))
    state["tasks['b']"]["demos"] = demos
    before = module.plan
    with pytest.raises(mti.PlanError, match="not whole: demos of task b are no list of examples"):
        module.load_state(state)
    assert module.plan == before


def test_a_state_without_demonstrations_or_instruction_is_refused() -> None:
    """A predictor's part that lacks its demonstrations, or whose instruction is no text, is refused
    when it is loaded.
    """
    module = mti.to_dspy(PROGRAM)
    state = json.loads(json.dumps(module.dump_state()))
    state["tasks['a']"]["signature"]["instructions"] = None
    with pytest.raises(mti.PlanError, match="not whole: the instruction of task a is no text"):
        module.load_state(state)
    del state["tasks['a']"]["demos"]
    with pytest.raises(mti.PlanError, match="not whole: 'demos' is missing"):
        module.load_state(state)


@pytest.mark.parametrize("declared", [
    ["base -> a: int", "base -> b: int"], ["text -> base: int"], ["base, text -> a: int"],
])  # fmt: skip
def test_a_field_called_base_is_a_field_like_others(declared: list[str]) -> None:
    """`base` is what DSPy calls the row that an example is made of: an input or an output of that
    name is in examples, in demonstrations of a plan, in predictions and in their trace.
    """
    program = mti.combine(*declared)
    inputs = dict.fromkeys(program.inputs, "hi")
    rows = [{"inputs": inputs, "outputs": dict.fromkeys(program.tasks, 0)}]
    [example] = mti.dspy_examples(program, rows)
    assert example.inputs().toDict() == inputs

    plan = mti.Plan.fused(program, demos=rows)
    module = mti.to_dspy(program, plan=plan, model=mti.EchoModel())
    assert mti.from_dspy(module) == plan
    module.predictors()[0].demos = [example]
    assert mti.from_dspy(module).demos == plan.demos

    with dspy.context(trace=[]):
        found = module(**example.inputs())
        trace = dspy.settings.trace
    assert found.toDict() == dict.fromkeys(program.tasks, 0)
    assert [outputs.toDict() for _, _, outputs in trace] == [{name: 0} for name in program.tasks]
    assert mti.dspy_metric(program)(example, found).score == 1.0
