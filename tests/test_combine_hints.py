"""What combining tells: defaults that differ, inputs that do not fit, hints."""

from __future__ import annotations

import ast
import math
import random
import re
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator
from pydantic import Field as Limits

import mtiprompt as mti
from mtiprompt.tasks import Field
from tests.strategies import kinds, saying


def taking(kind: Any) -> mti.Program:
    """A program of one task with one input of this type."""
    one = mti.Task[Any]("q", "Do.", (Field("x", kind),), (Field("y", str),))
    return mti.combine(one)


# --- what an input that was not given becomes --------------------------------------------------

NOTHING = object()
chances = st.lists(st.sampled_from(["en", "de", None, NOTHING]), min_size=1, max_size=4)


def speaking(place: int, default: Any) -> mti.Task[Any]:
    """A task that takes `lang`, with a default unless there is nothing to be one."""
    lang = Field("lang", str, required=default is NOTHING, default=default)
    return mti.Task[Any](f"t{place}", "Do.", (lang,), (Field(f"x{place}", str),))


@given(chances, st.randoms())
def test_defaults_agree(defaults: list[Any], shuffle: random.Random) -> None:
    """In whatever order: tasks whose defaults for one input differ are refused, unless one of them
    requires it; else each has the default that it was declared with.
    """
    tasks = [speaking(place, default) for place, default in enumerate(defaults)]
    shuffle.shuffle(tasks)
    if NOTHING in defaults:
        assert mti.combine(*tasks).inputs["lang"].required
    elif len(set(defaults)) == 1:
        read = {"lang": defaults[0]} if defaults[0] else {}
        assert mti.combine(*tasks).read_inputs({}) == read
    else:
        with pytest.raises(mti.CombineError, match="'lang'") as caught:
            mti.combine(*tasks)
        assert "wires=" in str(caught.value)


def test_defaults_that_differ_name_both_tasks() -> None:
    """The error names tasks and defaults, and its hint is a wire that settles it."""
    tasks = (speaking(0, "en"), speaking(1, "de"))
    with pytest.raises(mti.CombineError) as caught:
        mti.combine(*tasks)
    for part in ("'t0'", "'t1'", "'en'", "'de'", 'wires={"t1.lang": "t1_lang"}'):
        assert part in str(caught.value)
    apart = mti.combine(*tasks, wires={"t1.lang": "t1_lang"})
    assert apart.read_inputs({}) == {"lang": "en", "t1_lang": "de"}


@given(kinds.flatmap(lambda kind: st.tuples(st.just(kind.type), kind.values)))
def test_default_is_read_as_if_given(pair: tuple[Any, Any]) -> None:
    """Of any type: an input left out is read as if its default had been given."""
    kind, value = pair
    lone = Field("x", kind, required=False, default=value)
    program = mti.combine(mti.Task[Any]("t", "Do.", (lone,), (Field("y", str),)))
    assert program.read_inputs({}) == (
        program.read_inputs({"x": value}) if value is not None else {}
    )


def test_default_that_has_to_be_read() -> None:
    """A default in another form than its type has is read as a given value is."""
    number = Field("n", int, required=False, default="5")
    program = mti.combine(mti.Task[Any]("t", "Do.", (number,), (Field("y", str),)))
    assert program.read_inputs({}) == {"n": 5} == program.read_inputs({"n": "5"})


# --- inputs that do not fit --------------------------------------------------------------------


def _looked_up(country: str) -> str:
    return {"at": "Austria"}[country]


class Odd:
    """A value that is no JSON."""


@pytest.mark.parametrize(
    "kind",
    [Annotated[int | str, Limits(ge=0)], Annotated[str, AfterValidator(_looked_up)],
     Annotated[str, AfterValidator(lambda _: Odd())]],
)  # fmt: skip
def test_input_that_breaks_its_check(kind: Any) -> None:
    """Whatever the check of an input raises, and what it makes that is no JSON, is an error of the
    library that names the input, and its row in `map`.
    """
    program = taking(kind)
    with pytest.raises(mti.DataError, match="the input 'x' does not fit: "):
        program.read_inputs({"x": "abc"})
    with pytest.raises(mti.DataError, match="row 1: the input 'x' does not fit: "):
        list(program.map([{"x": "abc"}], model=saying({"y": "z"})))


def test_check_that_says_no_more_than_a_key() -> None:
    """What a check raises that is no refusal is told with its kind, as a key alone says little."""
    program = taking(Annotated[str, AfterValidator(_looked_up)])
    with pytest.raises(mti.DataError, match="the type's own check raised KeyError: 'abc'"):
        program.read_inputs({"x": "abc"})


# --- what to do --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declarations", "wires", "hint"),
    [
        ((), None, "mti.combine("),
        (("m -> a", "b -> c"), {"c.b": "a.x"}, "'a' puts out: a"),
        (("m -> a", "b -> c"), {"c.b": "z.x"}, "tasks: a, c"),
        (("m -> a", "b -> c"), {"c.b": None}, '"task.input"'),
        (("m -> a", "b -> c"), {None: "a.a"}, '"task.input"'),
        (("m -> a", "a: int -> c"), None, 'wires={"c.a": '),
        (("a -> b", "b -> a"), None, "wires={"),
    ],
)  # fmt: skip
def test_errors_say_what_to_do(declarations: tuple[str, ...], wires: Any, hint: str) -> None:
    """Tasks that do not fit together, and wires that are none, are refused with what to do."""
    with pytest.raises(mti.CombineError) as caught:
        mti.combine(*declarations, wires=wires)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("tasks", [("a -> b", "b -> a"), ("c -> a", "a -> b", "b -> c")])
def test_the_wire_that_a_circle_is_told_opens_it(tasks: tuple[str, ...]) -> None:
    """Whoever writes the wire that the hint shows has a program."""
    with pytest.raises(mti.CombineError) as caught:
        mti.combine(*tasks)
    wires = ast.literal_eval(str(caught.value.hint).partition("wires=")[2])
    assert len(mti.combine(*tasks, wires=wires).inputs) == 1


def test_a_circle_in_a_task_file_is_told_how_to_mend() -> None:
    """A file has no wires: the hint says what to take from which `depends_on`."""
    kind = {"type": "string"}
    parts = [
        {"name": name, "instruction": "?", "output_schema": kind, "depends_on": [other]}
        for name, other in ("ab", "ba")
    ]
    spec = {"inputs": [{"name": "text"}], "subtasks": parts}
    with pytest.raises(mti.CombineError) as caught:
        mti.combine(*mti.Task.from_json_schema(spec))
    hint = str(caught.value.hint)
    source, task = re.findall(r"take '(.)' from the `depends_on` of '(.)'", hint)[0]
    next(one for one in parts if one["name"] == task)["depends_on"] = []
    assert mti.combine(*mti.Task.from_json_schema(spec)).order == (task, source)


def test_order_of_a_plan_is_told_how_to_mend() -> None:
    """A plan with a task before the one whose answer it takes is told which to put first."""
    program = mti.combine(mti.task("message -> label", name="mood"), "label -> reply")
    with pytest.raises(mti.PlanError) as caught:
        mti.Plan.groups(program, [["reply", "mood"]])
    assert "'mood' before 'reply'" in str(caught.value.hint)


def test_a_default_that_is_no_number_agrees_with_itself() -> None:
    """NaN is not equal to itself, and yet one default."""

    def heavy(message: str, limit: float = math.nan) -> bool:
        """Is it heavy?"""
        raise NotImplementedError

    def light(message: str, limit: float = math.nan) -> bool:
        """Is it light?"""
        raise NotImplementedError

    assert set(mti.combine(heavy, light).inputs) == {"message", "limit"}
