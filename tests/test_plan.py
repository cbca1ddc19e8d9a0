"""Plans: frozen, saved, checked."""

from __future__ import annotations

import copy
import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import mtiprompt as mti
from mtiprompt.plan import make_demo
from mtiprompt.tasks import Field
from tests.strategies import Case, cases, groupings, saying


class Pair(BaseModel):
    """Two values whose names are not in alphabetical order."""

    second: int
    first: str


PROGRAM = mti.combine(
    'message -> mood: Literal["good", "bad"]',
    "message -> size: int",
    "message, mood, tone: str | None -> reply",
    mti.Task[Any]("pair", "Do.", (Field("message", str),), (Field("pair", Pair),)),
)
DEMO: dict[str, Any] = {
    "inputs": {"message": "hi", "tone": None},
    "outputs": {"mood": "good", "size": 3, "reply": "yo", "pair": {"second": 2, "first": "x"}},
}


@st.composite
def plans(draw: st.DrawFn, case: Case) -> mti.Plan:
    """Plans for a program, with demos."""
    names = st.sampled_from(case.program.order)
    demos = [
        {"inputs": draw(case.inputs()), "outputs": draw(case.answers())}
        for _ in range(draw(st.integers(0, 2)))
    ]
    return mti.Plan.groups(
        case.program,
        draw(groupings(case.program)),
        demos=demos,
        layout=draw(st.sampled_from(["item_last", "item_first"])),
        notation=draw(st.sampled_from([None, "compact", "spaced", "lines", "free"])),
        items_per_call=draw(st.integers(1, 9)),
        reasoning=draw(st.dictionaries(names, st.booleans())),
        short_keys=draw(st.booleans()),
    )


@given(st.data(), cases())
def test_round_trip(data: st.DataObject, case: Case) -> None:
    """A plan comes back from JSON equal, with the same hash, and still fits its program."""
    plan = data.draw(plans(case))
    again = mti.Plan.from_json(plan.to_json())
    assert again == plan
    assert hash(again) == hash(plan)
    assert again.to_json() == plan.to_json()
    assert copy.deepcopy(plan) == plan
    again.check(case.program)


@given(st.data(), cases())
def test_demos_keep_their_values(data: st.DataObject, case: Case) -> None:
    """A demonstration keeps every value of every type, as JSON data, without loss."""
    answers = data.draw(case.answers())
    demo = make_demo(case.program, {"inputs": data.draw(case.inputs()), "outputs": answers})
    for name, task in case.program.tasks.items():
        for one in task.outputs:
            back = one.adapter.validate_json(json.dumps(demo.outputs[name][one.name]), strict=True)
            assert one.dump(back) == one.dump(answers[name][one.name])


def test_fused_split_groups() -> None:
    """The usual plans have the groups that their names say."""
    order = PROGRAM.order
    assert [group.tasks for group in mti.Plan.fused(PROGRAM).call_groups] == [order]
    assert [group.tasks for group in mti.Plan.split(PROGRAM).call_groups] == [(x,) for x in order]
    big = mti.Group(("size", "mood"), model="big")
    plan = mti.Plan.groups(PROGRAM, [big, ["pair", "reply"]])
    assert plan.call_groups == (big, mti.Group(("pair", "reply")))
    other = ("size", "pair", "mood", "reply")
    assert mti.Plan.fused(PROGRAM, order=other).call_groups[0].tasks == other


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([["mood", "size", "reply"]], "drops the task 'pair'"),
        ([], "drops"),
        ([["mood", "size", "reply", "pair", "pair"]], "repeats the task 'pair'"),
        ([["mood", "size", "reply"], ["pair", "mood"]], "repeats the task 'mood'"),
        ([["mood", "size", "reply", "pair", "wat"]], "'wat'.*its tasks: mood, size, reply, pair"),
        ([["reply", "mood", "size", "pair"]], "'reply' before 'mood'"),
        (["mood", "size", "reply", "pair"], "list of task names"),
        ("mood", "list of task names"),
        ([["mood", "size", "reply", "pair"], []], "group"),
        ([[5]], "5"),
        ([[["mood"]]], "mood"),
        ([None], "."),
    ],
)  # fmt: skip
def test_groups_are_refused(groups: Any, message: str) -> None:
    """Groups that drop, repeat, invent or misplace a task are refused with the reason."""
    with pytest.raises(mti.PlanError, match=message):
        mti.Plan.groups(PROGRAM, groups)


@pytest.mark.parametrize("groups", [[["mood", "size", "reply"]], [["mood"] * 2], [[]]])
def test_groups_are_refused_with_what_to_do(groups: Any) -> None:
    """A task that is left out or stands twice, and a group of nothing, are told with the cure."""
    with pytest.raises(mti.PlanError) as caught:
        mti.Plan.groups(PROGRAM, groups)
    assert caught.value.hint


def test_groups_that_need_each_other() -> None:
    """Two groups that take answers of each other are refused, with what to do."""
    program = mti.combine("m -> a", "a -> b", "b -> c")
    with pytest.raises(mti.PlanError, match="each other"):
        mti.Plan.groups(program, [["a", "c"], ["b"]])
    mti.Plan.groups(program, [["b", "c"], ["a"]])  # the order of groups is free


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "sideways"}, "sideways"), ({"notation": "loud"}, "compact"),
        ({"items_per_call": 0}, "items_per_call"), ({"items_per_call": "2"}, "items_per_call"),
        ({"items_per_call": 1.5}, "items_per_call"),
        ({"reasoning": {"wat": True}}, "wat"), ({"reasoning": {"mood": "yes"}}, "reasoning"),
        ({"temperature": 1}, "temperature.*known"), ({"layout": []}, "layout"),
        ({"demos": [5]}, "demonstration"), ({"demos": 5}, "demo"),
    ],
)  # fmt: skip
def test_options_are_refused(options: dict[str, Any], message: str) -> None:
    """An option that makes no sense is refused with the reason."""
    with pytest.raises(mti.PlanError, match=message):
        mti.Plan.fused(PROGRAM, **options)


def test_replace() -> None:
    """`replace` changes options, checked as at the beginning."""
    plan = mti.Plan.fused(PROGRAM).replace(PROGRAM, demos=[DEMO], reasoning={"size": True})
    assert len(plan.demos) == 1
    assert plan.reasons(PROGRAM, "size")
    for changes in ({"layout": "x"}, {"wat": 1}, {"reasoning": {"wat": True}}):
        with pytest.raises(mti.PlanError):
            plan.replace(PROGRAM, **changes)


def test_replace_groups() -> None:
    """`replace` takes other groups too."""
    plan = mti.Plan.fused(PROGRAM).replace(PROGRAM, call_groups=[[one] for one in PROGRAM.order])
    assert plan == mti.Plan.split(PROGRAM)


def test_plan_made_by_hand() -> None:
    """A plan that is built without a program is hashable, or refused."""
    mark = PROGRAM.fingerprint
    parts: Any = [mti.Group(["mood"])]  # type: ignore[arg-type]
    plan = mti.Plan(mark, parts, reasoning=[("mood", True)])  # type: ignore[arg-type]
    assert plan.call_groups == (mti.Group(("mood",)),)
    assert isinstance(hash(plan), int)
    wrong: list[dict[str, Any]] = [
        {"call_groups": [["mood"]]}, {"call_groups": 5}, {"call_groups": parts, "demos": [DEMO]},
        {"call_groups": parts, "reasoning": {"mood": True}},
    ]  # fmt: skip
    for fields in wrong:
        with pytest.raises(mti.PlanError):
            mti.Plan(mark, **fields)


def test_plan_for_another_program() -> None:
    """A plan is refused by a program with other tasks, types or wires; words do not matter."""
    plan = mti.Plan.fused(mti.combine("a -> b", "b -> c"))
    mti.combine(mti.task("a -> b", instruction="Other."), "b -> c")(
        a="x", plan=plan, model=saying({"b": "1", "c": "2"})
    )
    for other in (mti.combine("a -> b"), mti.combine("a -> b: int", "b -> c"),
                  mti.combine("a -> b", "b -> c", wires={"c.b": "q"})):  # fmt: skip
        inputs: dict[str, Any] = dict.fromkeys(other.inputs, "x")
        with pytest.raises(mti.PlanError, match="another program"):
            other(**inputs, plan=plan, model=saying({"b": "1", "c": "2"}))


def test_plan_cannot_be_changed() -> None:
    """A plan is frozen, and so is what it is made of."""
    plan = mti.Plan.fused(PROGRAM, demos=[DEMO])
    for thing, name in [(plan, "layout"), (plan.demos[0], "inputs_json"),
                        (plan.call_groups[0], "tasks")]:  # fmt: skip
        with pytest.raises(AttributeError):
            setattr(thing, name, None)


# --- demos -----------------------------------------------------------------------------------


class Row:
    """A row of a dataset."""

    inputs = DEMO["inputs"]
    outputs = DEMO["outputs"]


def test_demo_from_anything() -> None:
    """A mapping, a row and a `Demo` make the same demonstration; so does an answer's object."""
    demo = make_demo(PROGRAM, DEMO)
    assert make_demo(PROGRAM, Row()) == demo
    assert make_demo(PROGRAM, demo) == demo
    given_object = {**DEMO["outputs"], "pair": Pair(second=2, first="x")}
    assert make_demo(PROGRAM, {"inputs": DEMO["inputs"], "outputs": given_object}) == demo
    assert demo.outputs["size"] == {"size": 3}


def test_demo_keeps_the_order_of_keys() -> None:
    """Fields of a nested answer are shown in the order in which they are asked for."""
    plan = mti.Plan.fused(PROGRAM, demos=[DEMO])
    again = mti.Plan.from_json(plan.to_json())
    for one in (plan, again):
        assert list(one.demos[0].outputs["pair"]["pair"]) == ["second", "first"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": {}}, "message"),
        ({"inputs": None}, "."),
        ({"inputs": "hi"}, "."),
        ({"inputs": {"message": 5, "tone": None}}, "does not fit"),
        ({"inputs": {"message": "x", "tone": None, "extra": 1}}, "extra"),
        ({"outputs": {}}, "no task"),
        ({"outputs": None}, "."),
        ({"outputs": ["mood"]}, "."),
        ({"outputs": {"wat": 1}}, "wat"),
        ({"outputs": {"mood": "ugly"}}, "mood"),
        ({"outputs": {"size": "3"}}, "size"),
        ({"outputs": {"size": 3.5}}, "size"),
        ({"outputs": {"pair": {"first": "x"}}}, "pair"),
        ({"outputs": {"pair": object()}}, "pair"),
    ],
)
def test_demo_is_refused(change: dict[str, Any], message: str) -> None:
    """A demonstration that does not fit is refused with the reason."""
    with pytest.raises(mti.PlanError, match=message):
        mti.Plan.fused(PROGRAM, demos=[{**DEMO, **change}])


def test_demo_of_another_program_is_refused() -> None:
    """A ready-made `Demo` is checked too, and so are the demos of a plan that was loaded."""
    stranger = mti.Demo('{"message":"x"}', '{"nobody":{"q":1}}')
    with pytest.raises(mti.PlanError):
        mti.Plan.fused(PROGRAM, demos=[stranger])
    value = json.loads(mti.Plan.fused(PROGRAM, demos=[DEMO]).to_json())
    model = saying({"mood": "good", "size": 1, "reply": "r", "pair": {"second": 1, "first": "f"}})
    changes: list[dict[str, Any]] = [
        {"outputs": {"mood": "good", "size": 1, "reply": {}, "pair": {}}},
        {"outputs": {**value["demos"][0]["outputs"], "mood": {"wat": 1}}},
        {"outputs": {**value["demos"][0]["outputs"], "mood": {"mood": "ugly"}}},
        {"inputs": {"wat": 1}},
        {"inputs": []},
    ]
    for change in changes:
        value["demos"] = [{**DEMO, "outputs": value["demos"][0]["outputs"], **change}]
        with pytest.raises(mti.PlanError):
            PROGRAM(message="x", tone=None, model=model, plan=mti.Plan.from_json(json.dumps(value)))
        value = json.loads(mti.Plan.fused(PROGRAM, demos=[DEMO]).to_json())


def test_gold_that_looks_wrapped() -> None:
    """A mapping as gold of a task with one output is the value, if it is a valid value."""
    task = mti.Task[Any]("slots", "Do.", (), (Field("slots", dict[str, str]),))
    assert task.read({"slots": "noon"}) == {"slots": {"slots": "noon"}}
    assert task.read({"day": "noon"}) == {"slots": {"day": "noon"}}
    assert task.read({"slots": {"day": "noon"}}) == {"slots": {"day": "noon"}}


# --- files -----------------------------------------------------------------------------------


def test_save_and_load(tmp_path: Path) -> None:
    """A saved plan loads equal; saving again replaces it; nothing else is left in the folder."""
    path = tmp_path / "plan.json"
    plan = mti.Plan.fused(PROGRAM, demos=[DEMO])
    for one in (mti.Plan.split(PROGRAM), plan):
        one.save(path)
        assert mti.Plan.load(path) == one
    plan.save(str(path))
    assert [file.name for file in tmp_path.iterdir()] == ["plan.json"]


def test_saved_plan_can_be_read_by_others(tmp_path: Path) -> None:
    """The file has the rights that any new file has."""
    mti.Plan.fused(PROGRAM).save(tmp_path / "plan.json")
    (tmp_path / "other").write_text("x", encoding="utf-8")
    modes = {os.stat(tmp_path / name).st_mode for name in ("plan.json", "other")}  # noqa: PTH116
    assert len(modes) == 1


def test_save_fails_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file cannot be written, the old one stays and nothing half-written is left."""
    plan = mti.Plan.fused(PROGRAM)
    with pytest.raises(mti.DataError, match="cannot write"):
        plan.save(tmp_path / "no" / "plan.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(mti.DataError, match="cannot write"):
        plan.save(tmp_path / "folder")
    path = tmp_path / "plan.json"
    plan.save(path)
    before = path.read_text(encoding="utf-8")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(mti.DataError, match="No space left"):
        mti.Plan.split(PROGRAM).save(path)
    assert path.read_text(encoding="utf-8") == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder", "plan.json"]


def test_save_of_odd_text(tmp_path: Path) -> None:
    """A demonstration with a lone surrogate is saved, or refused as an error of the library."""
    demo = {"inputs": {"message": "\ud800", "tone": None}, "outputs": {"size": 1}}
    try:
        plan = mti.Plan.split(PROGRAM, demos=[demo])
        plan.save(tmp_path / "plan.json")
    except mti.MTIError:
        assert list(tmp_path.iterdir()) == []
    else:
        assert mti.Plan.load(tmp_path / "plan.json") == plan


def test_load_of_what_is_no_plan(tmp_path: Path) -> None:
    """A missing file, no JSON, and JSON that is no plan are told apart and named."""
    path = tmp_path / "x.json"
    with pytest.raises(mti.DataError, match=r"x\.json"):
        mti.Plan.load(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(mti.DataError, match="line 1"):
        mti.Plan.load(path)
    path.write_text('{"format": 99}', encoding="utf-8")
    with pytest.raises(mti.PlanError, match="99"):
        mti.Plan.load(path)


@pytest.mark.parametrize("key", ["groups", "demos"])
def test_a_group_without_its_key_is_shown(key: str) -> None:
    """A list where a group or a demonstration should stand is named as what it is."""
    value = {**json.loads(mti.Plan.fused(PROGRAM).to_json()), key: [["x"]]}
    with pytest.raises(mti.PlanError, match=r"^not a plan: \['x'\] stands where a dict should"):
        mti.Plan.from_json(json.dumps(value))


jsons: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda part: (
        st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=3), part, max_size=3)
    ),
    max_leaves=5,
)
FIELDS = sorted(json.loads(mti.Plan.fused(PROGRAM).to_json()))


@given(st.dictionaries(st.sampled_from(FIELDS), jsons, max_size=2), jsons)
def test_any_json_is_a_plan_or_refused(changes: dict[str, Any], other: Any) -> None:
    """Whatever stands in a plan's JSON, it is refused as a plan, or is one: hashable, comparable,
    and a program refuses it or runs it.
    """
    value = {**json.loads(mti.Plan.fused(PROGRAM, demos=[DEMO]).to_json()), **changes}
    for text in (json.dumps(value), json.dumps(other), json.dumps({"format": 1, "groups": other})):
        try:
            plan = mti.Plan.from_json(text)
            assert mti.Plan.from_json(plan.to_json()) == plan
            assert isinstance(hash(plan), int)
            plan.check(PROGRAM)
        except mti.PlanError:
            continue


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "5", '"x"', "{}", "[" * 100_000])
def test_no_plan_text(text: str) -> None:
    """Text that is no plan is refused."""
    with pytest.raises(mti.PlanError):
        mti.Plan.from_json(text)


def test_names_in_decomposed_letters() -> None:
    """Groups, orders and options name a task however Unicode writes its letters."""
    name = unicodedata.normalize("NFD", "größe")
    program = mti.combine("text -> größe", "text -> b")
    made = mti.Plan.groups(
        program, [[name], ["b"]], reasoning={name: True}, instructions={name: "Say it."}
    )
    wanted = mti.Plan.groups(
        program, [["größe"], ["b"]], reasoning={"größe": True}, instructions={"größe": "Say it."}
    )
    assert made == wanted
    assert mti.Plan.fused(program, order=["b", name]).call_groups[0].tasks == ("b", "größe")
    with pytest.raises(mti.PlanError, match="which the program lacks"):
        mti.Plan.fused(program, reasoning={name: True, "größe": False})
