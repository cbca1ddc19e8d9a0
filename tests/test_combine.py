"""Tasks that fit together: shared inputs, dependencies, conflicts, names."""

from __future__ import annotations

import datetime
import enum
import unicodedata
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from pydantic import Field as Limits

import mtiprompt as mti
from mtiprompt.combine import Wire
from mtiprompt.tasks import Field
from mtiprompt.typeflow import flows
from tests.strategies import Case, cases, saying


def task(name: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> mti.Task[Any]:
    """A task with typed fields."""
    return mti.Task[Any](
        name, f"Do {name}.",
        tuple(Field(*item) for item in inputs.items()),
        tuple(Field(*item) for item in outputs.items()),
    )  # fmt: skip


MOOD = task("mood", {"message": str}, {"label": str})


# --- inputs ----------------------------------------------------------------------------------


def test_shared_inputs_are_asked_for_once() -> None:
    """Inputs of one name are one input of the program, in the order of their first use."""
    program = mti.combine("b, a -> x", "a, c -> y", "b -> z")
    assert list(program.inputs) == ["b", "a", "c"]
    assert program.order == ("x", "y", "z")


def test_incompatible_inputs_name_both_tasks() -> None:
    """One name with two types is an error that names tasks, input and types."""
    with pytest.raises(mti.CombineError) as caught:
        mti.combine("message, year: int -> x", "year: str -> y")
    for part in ("'x'", "'y'", "'year'", "int", "str"):
        assert part in str(caught.value)


def test_shared_input_keeps_all_limits() -> None:
    """A shared input has the limits of both tasks and is required if either requires it."""
    program = mti.combine(
        task("one", {"n": Annotated[int, Limits(ge=0)]}, {"a": str}),
        task("two", {"n": Annotated[int, Limits(le=9)]}, {"b": str}),
    )
    model = saying({"a": "x", "b": "y"})
    for bad in (-1, 10):
        with pytest.raises(mti.DataError, match="'n'"):
            program(n=bad, model=model)
    assert program(n=5, model=model).a == "x"


def test_required_wins_over_default() -> None:
    """An input with a default in one task and none in another must be given."""

    @mti.task
    def one(message: str, tone: str = "calm") -> str:
        """Do."""
        raise NotImplementedError

    assert not mti.combine(one).inputs["tone"].required
    for order in ((one, "tone -> two"), ("tone -> two", one)):
        assert mti.combine(*order).inputs["tone"].required


# --- dependencies ----------------------------------------------------------------------------


def test_output_becomes_an_edge() -> None:
    """An input that another task puts out comes from it, and the order follows."""
    program = mti.combine("message, label -> reply", MOOD)
    assert list(program.inputs) == ["message"]
    assert program.upstream("reply") == {"mood"}
    assert program.order == ("mood", "reply")
    assert list(program.tasks) == ["reply", "mood"]


def test_ambiguous_edge_names_both_sources() -> None:
    """An input that two tasks put out is an error; its hint is the wire that settles it."""
    tasks = (MOOD, task("tone", {"message": str}, {"label": str}), "label -> reply")
    with pytest.raises(mti.CombineError) as caught:
        mti.combine(*tasks)
    for part in ("'reply'", "'label'", "'mood'", "'tone'", '"reply.label": "mood.label"'):
        assert part in str(caught.value)
    settled = mti.combine(*tasks, wires={"reply.label": "tone.label"})
    assert settled.wires["reply"]["label"] == Wire("tone", "label")


def test_wires() -> None:
    """A wire leads an input to an output of another name, or to an input of the program."""
    tasks = (MOOD, "feeling, message -> reply")
    program = mti.combine(*tasks, wires={"reply.feeling": "mood.label", "reply.message": "text"})
    assert program.upstream("reply") == {"mood"}
    assert set(program.inputs) == {"message", "text"}


@pytest.mark.parametrize(
    ("wires", "parts"),
    [
        ({"nobody.x": "mood.label"}, ["nobody.x"]),
        ({"reply.x": "mood.label"}, ["reply.x"]),
        ({"reply": "mood.label"}, ["reply"]),
        ({"reply.feeling": "mood.x"}, ["mood.x"]),
        ({"reply.feeling": "nobody.x"}, ["nobody.x"]),
        ({"reply.feeling": ""}, ["''"]),
        ({"reply.feeling": "not a name"}, ["not a name"]),
        ({"reply.feeling": "reply.reply"}, ["reply -> reply"]),
        ({"mood.message": "reply.reply", "reply.feeling": "mood.label"}, ["mood -> reply -> mood"]),
    ],
)
def test_wires_that_lead_nowhere(wires: dict[str, str], parts: list[str]) -> None:
    """A wire without an end, into itself or in a circle is refused, and named."""
    with pytest.raises(mti.MTIError) as caught:
        mti.combine(MOOD, "feeling, message -> reply", wires=wires)
    circle = "reply -> mood -> reply"
    assert all(part in str(caught.value) or circle in str(caught.value) for part in parts)


@pytest.mark.parametrize("wires", ["x", ["reply.feeling", "mood.label"], 3])
def test_wires_that_are_no_mapping(wires: Any) -> None:
    """They are refused in a line that shows how they are written."""
    with pytest.raises(mti.DataError, match=r"wires=.* makes no sense \(such as wires=\{"):
        mti.combine(MOOD, "feeling, message -> reply", wires=wires)


def test_incompatible_edge_names_both_tasks() -> None:
    """An answer that does not fit where it is taken is an error that names both, also by wire."""
    tasks = (
        task("mood", {"message": str}, {"label": str}),
        task("sum", {"label": int}, {"n": int}),
    )
    for wires in (None, {"sum.label": "mood.label"}):
        with pytest.raises(mti.CombineError) as caught:
            mti.combine(*tasks, wires=wires)
        for part in ("'sum'", "'mood'", "'label'", "int", "str"):
            assert part in str(caught.value)


def test_cycles_are_printed() -> None:
    """A circle is an error that prints the circle, and nothing outside it."""
    with pytest.raises(mti.CombineError) as caught:
        mti.combine("m -> free", "c -> a", "a -> b", "b -> c", "a -> after")
    text = str(caught.value)
    assert any(circle in text for circle in ("a -> b -> c -> a", "b -> c -> a -> b",
                                             "c -> a -> b -> c"))  # fmt: skip
    assert "free" not in text
    assert "after" not in text


def test_long_chain() -> None:
    """A chain of many tasks, given backwards, is put in order."""
    chain = [f"x{place} -> x{place + 1}" for place in range(60)]
    program = mti.combine(*reversed(chain))
    assert program.order == tuple(f"x{place + 1}" for place in range(60))
    assert list(program.inputs) == ["x0"]


@given(cases())
def test_order_follows_dependencies(case: Case) -> None:
    """In any program each task stands behind those it takes answers from, and none is lost."""
    order = case.program.order
    assert sorted(order) == sorted(case.program.tasks)
    for place, name in enumerate(order):
        assert case.program.upstream(name) <= set(order[:place])


# --- types that flow -------------------------------------------------------------------------


class Colour(enum.Enum):
    """Labels."""

    RED = "red"


@pytest.mark.parametrize(
    ("source", "target", "fits"),
    [
        (str, str, True), (int, str, True), (list[int], str, True), (int, float, True),
        (float, int, False), (str, int, False), (str, bool, False), (bool, int, True),
        (int, bool, False), (Literal["a"], str, True), (Literal["a"], Literal["a", "b"], True),
        (Literal["a", "b"], Literal["a"], False), (Literal[1], int, True),
        (Literal["a"], int, False),
        (str, Literal["a"], False), (int | None, int, False), (int, int | None, True),
        (int | None, int | None, True), (int | str, int | str | None, True),
        (list[int], list[int], True), (list[int], list[float], True), (list[str], list[int], False),
        (list[int], list, True), (list[int], dict[str, int], False),
        (dict[str, int], dict[str, float], True), (dict[str, str], dict[str, int], False),
        (Colour, str, True), (Literal["red"], Colour, True), (Literal["blue"], Colour, False),
        (datetime.datetime, datetime.date, True), (datetime.date, datetime.datetime, False),
        (Annotated[int, Limits(ge=0)], int, True), (int, Annotated[int, Limits(ge=0)], True),
        (Any, int, False), (int, Any, True), (list[Literal["a"]], list[str], True),
        (list, list[int], False),
    ],
)  # fmt: skip
def test_flows(source: Any, target: Any, fits: bool) -> None:
    """An answer flows where every one of its values can be taken."""
    assert flows(source, target) is fits


# --- names -----------------------------------------------------------------------------------


def test_two_tasks_of_one_name() -> None:
    """Two tasks of one name are refused, with the way to rename."""
    with pytest.raises(mti.CombineError, match="name="):
        mti.combine("a -> x", "b -> x")


@pytest.mark.parametrize("name", ["usage", "calls", "failures", "get", "unwrap"])
def test_reserved_outputs(name: str) -> None:
    """Outputs that would hide what results have of their own are refused; tasks and inputs may
    be called so.
    """
    with pytest.raises(mti.CombineError, match=name):
        mti.combine(f"a -> {name}")
    program: Any = mti.combine(mti.task(f"{name} -> x", name=name))
    assert program(**{name: "q"}, model=saying({"x": "y"}))[name].x == "y"


@pytest.mark.parametrize("name", ["model", "plan", "self"])
def test_inputs_that_calls_use(name: str) -> None:
    """An input named as an argument of the call is refused, or it can be given."""
    try:
        program: Any = mti.combine(f"{name} -> x")
    except mti.MTIError as error:
        assert name in str(error)  # noqa: PT017  either is right
        return
    rows = [{name: "q"}]
    [result] = program.map(rows, model=saying({"x": "y"}))
    assert result.x == "y"
    assert program(**{name: "q", **({"model": saying({"x": "y"})} if name != "model" else {})}).x


def test_equal_outputs_stay_apart() -> None:
    """Outputs of one name have keys with the task's name, and are read by task."""
    program = mti.combine(MOOD, task("tone", {"message": str}, {"label": str, "why": str}))
    assert set(program.keys.values()) == {"mood__label", "tone__label", "why"}
    model = saying({"mood__label": "m", "tone__label": "t", "why": "w"})
    result = program(message="x", model=model)
    assert (result["mood"].label, result["tone"].label, result.why) == ("m", "t", "w")
    with pytest.raises(AttributeError, match="mood and tone"):
        _ = result.label
    with pytest.raises(KeyError):
        result.get("label")


@given(cases())
def test_keys_are_unique(case: Case) -> None:
    """Whatever the names, no two outputs and no two reasons share a key of the reply."""
    plan = mti.Plan.fused(case.program, reasoning=dict.fromkeys(case.program.tasks, True))
    from mtiprompt.schema import slots_of

    reasons = [plan.reasons(case.program, name) for name in case.program.order]
    slots = slots_of(case.program, case.program.order, reasons)
    keys = [key for slot in slots for key in slot.all_keys]
    assert len(keys) == len(set(keys))


def test_output_called_reasoning() -> None:
    """An output `reasoning` of two tasks has the key of the reason before the answer: a plan that
    asks for that reason is refused, every other one has keys that differ.
    """
    from mtiprompt.schema import slots_of

    program = mti.combine(
        mti.task("a -> reasoning, x", name="one"), mti.task("a -> reasoning, y", name="two")
    )
    for reasoning in ({"one": True}, {"one": True, "two": True}):
        with pytest.raises(mti.PlanError, match=r"'one'.*one__reasoning"):
            mti.Plan.fused(program, reasoning=reasoning)
    slots = slots_of(program, program.order, [False, False])
    keys = [key for slot in slots for key in slot.all_keys]
    assert len(keys) == len(set(keys))
    apart = mti.combine(mti.task("a -> reasoning, x", name="one", reasoning=True), "a -> y")
    model = saying({"one__reasoning": "why", "reasoning": "r", "x": "x", "y": "y"})
    assert apart(a="q", model=model).reasoning == "r"


# --- programs of programs --------------------------------------------------------------------


def test_programs_combine() -> None:
    """A program combines with tasks and programs; its wires stay, its inputs may be answered."""
    inner = mti.combine(MOOD, "feeling, message -> reply", wires={"reply.feeling": "mood.label"})
    outer = mti.combine(inner, "reply -> checked: bool", mti.combine("page -> message"))
    assert outer.wires["reply"]["feeling"] == Wire("mood", "label")
    assert outer.upstream("mood") == {"message"}
    assert list(outer.inputs) == ["page"]


def test_wires_of_a_program_survive_ambiguity() -> None:
    """An edge found inside a program is not ambiguous because a later task has the same output."""
    inner = mti.combine(MOOD, "label -> reply")
    outer = mti.combine(inner, task("tone", {"message": str}, {"label": str}))
    assert outer.wires["reply"]["label"] == Wire("mood", "label")


def test_wires_of_a_program_to_its_inputs_survive() -> None:
    """An input wired past a task that puts it out too stays so; one without a wire is answered."""

    @mti.task
    def reply(message: str, mood: str = "calm") -> str:
        """Answer."""
        raise NotImplementedError

    wired = mti.combine("message -> mood", reply, wires={"reply.mood": "mood"})
    outer = mti.combine(wired, "message -> urgent: bool")
    assert outer.wires["reply"] == wired.wires["reply"]
    assert list(outer.inputs) == ["message", "mood"]
    again = mti.combine(outer, "x -> y", wires={"reply.mood": "mood.mood"})
    assert again.wires["reply"]["mood"] == Wire("mood", "mood")
    assert mti.combine(mti.combine(reply), "message -> mood").wires["reply"]["mood"].task == "mood"


DECOMPOSED = unicodedata.normalize("NFD", "größe")


def test_names_are_those_of_python() -> None:
    """A name in decomposed letters is reached by the identifier that looks the same."""
    twin = mti.task(f"text -> {DECOMPOSED}_x, n: int", name=DECOMPOSED)
    program = mti.combine(
        f"{DECOMPOSED} -> ﬁt: int", twin, wires={f"{DECOMPOSED}.text": DECOMPOSED}
    )
    for name in ("größe", DECOMPOSED):
        inputs: dict[str, Any] = {name: "a"}
        result = program(**inputs, model=saying({"fit": 1, "größe_x": "b", "n": 2}))
        assert (result.ﬁt, result.größe_x, result["größe"].n) == (1, "b", 2)
        assert "größe: a" in result.calls[0].request.messages[-1].content


def test_two_spellings_of_an_input_are_not_one() -> None:
    """An item that has an input twice, in both spellings, is refused and not guessed."""
    with pytest.raises(mti.DataError, match="there is no input"):
        mti.combine("größe -> a").read_inputs({"größe": "a", DECOMPOSED: "b"})


def test_nothing_to_combine() -> None:
    """A program needs a task."""
    with pytest.raises(mti.CombineError, match="no task"):
        mti.combine()


def test_fingerprint_knows_types_and_not_words() -> None:
    """The fingerprint changes with names, types and wires, and not with the wording."""

    def finger(text: str, **options: Any) -> str:
        return mti.combine(mti.task(text, **options)).fingerprint

    assert finger("a -> b") == finger("a -> b", instruction="Other words.")
    assert len({finger("a -> b"), finger("a -> b: int"), finger("a -> c", name="b"),
                finger("a -> b", name="q"), finger("a, c -> b")}) == 5  # fmt: skip


def test_fingerprint_ignores_words_inside_models() -> None:
    """Descriptions and docstrings of nested models are wording too."""
    from pydantic import BaseModel, create_model

    def finger(words: str) -> str:
        made: type[BaseModel] = create_model(
            "Part", __doc__=words, n=(int, Limits(description=words))
        )
        return mti.combine(task("t", {"a": str}, {"part": made})).fingerprint

    assert finger("one") == finger("two")


def test_fingerprint_keeps_fields_called_as_words() -> None:
    """A field named `title` or `description` is no wording."""
    from pydantic import create_model

    def finger(*names: str) -> str:
        made: Any = create_model("Part", **dict.fromkeys(names, (str, ...)))  # type: ignore[call-overload]
        return mti.combine(task("t", {"a": str}, {"part": made})).fingerprint

    assert len({finger("x"), finger("x", "title"), finger("x", "description")}) == 3
