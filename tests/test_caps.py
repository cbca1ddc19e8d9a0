"""Caps on texts and lists that no task bounds: they leave room, and what fills one is told."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, get_args

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

import mtiprompt as mti
from mtiprompt.models.base import Dialect, Reuse, Support
from mtiprompt.tasks.caps import ARRAY_CAP, STRING_CAP, Caps, caps_of

DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
PROGRAM = mti.combine("text -> copy: str", "text -> names: list[str]")
VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
)


def of(number: int) -> list[str]:
    """A list of so many names."""
    return [f"n{place}" for place in range(number)]


def demo(copy: int = 1, names: int = 1) -> dict[str, Any]:
    """A demonstration with a text and a list of these lengths."""
    return {"inputs": {"text": "demo"}, "outputs": {"copy": "d" * copy, "names": of(names)}}


def asked(plan: mti.Plan, dialect: Dialect = "llguidance") -> mti.Request:
    """The first call of a plan, as a model of a dialect gets it."""
    model = mti.EchoModel(support=Support(dialect=dialect))
    list(PROGRAM.map([{"text": "a"}, {"text": "b"}], model=model, plan=plan))
    return model.requests[0]


def answer(copy: int = 1, names: int = 1) -> str:
    """A reply with a text and a list of these lengths."""
    return json.dumps({"copy": "d" * copy, "names": of(names)})


def notes_of(result: mti.Result) -> dict[str, list[str]]:
    """The notes on every answer of a result."""
    assert not result.failures
    slots = mti.slots(result).items()
    return {name: list(slot.notes) for name, slot in slots if isinstance(slot, mti.Answer)}


def notes(reply: str, *, plan: mti.Plan | None = None, **options: Any) -> dict[str, list[str]]:
    """The notes on every answer of a reply."""
    model = mti.ScriptedModel([reply], support=Support(**options))
    return notes_of(PROGRAM(text="a", model=model, plan=plan))


# --- room for what demonstrations show ---------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "caps"),
    [
        ([], Caps()),
        (["x" * (STRING_CAP - 1), of(ARRAY_CAP - 1)], Caps()),
        (["x" * STRING_CAP, "y"], Caps(2 * STRING_CAP, ARRAY_CAP)),
        ([of(3), of(30)], Caps(STRING_CAP, 60)),
        ([{"a": [["x" * 500]], "b": None}, [[], of(25)]], Caps(1000, 50)),
    ],
)
def test_caps_leave_room_for_what_is_shown(shown: list[Any], caps: Caps) -> None:
    """The usual caps, or twice the longest text or list shown, at any depth, if it fills one."""
    assert caps_of(shown) == caps


@given(st.lists(VALUES, max_size=4), VALUES)
def test_more_to_show_never_narrows_a_cap(shown: list[Any], further: Any) -> None:
    """A further demonstration leaves a cap or widens it, and their order does not matter."""
    before, after = caps_of(shown), caps_of([*shown, further])
    assert after.string >= before.string >= STRING_CAP
    assert after.array >= before.array >= ARRAY_CAP
    assert caps_of([further, *reversed(shown)]) == after


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("lengths", [(STRING_CAP, ARRAY_CAP), (926, 40)])
def test_demonstrations_satisfy_the_schema_they_stand_beside(
    dialect: Dialect, lengths: tuple[int, int]
) -> None:
    """No call shows an answer that its own schema forbids, and one longer still may be written."""
    schema = asked(mti.Plan.fused(PROGRAM, demos=[demo(), demo(*lengths)]), dialect).schema
    assert schema is not None
    for factor in (1, 2):
        shown = json.loads(answer(*(factor * length for length in lengths)))
        jsonschema.validate(shown, schema.schema)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_short_demonstrations_change_no_schema(dialect: Dialect) -> None:
    """Below the caps the schema is that of a plan without demonstrations, byte for byte."""
    plain = asked(mti.Plan.fused(PROGRAM), dialect).schema
    short = mti.Plan.fused(PROGRAM, demos=[demo(STRING_CAP - 1, ARRAY_CAP - 1)])
    assert asked(short, dialect).schema == plain


def test_a_cap_does_not_follow_what_a_call_shows() -> None:
    """Demonstrations that are selected for an item leave the schema alone, and so do several items
    in a call: it is one grammar for all calls of a group.
    """
    demos = [demo(names=30), *(demo(names=number) for number in range(1, 5))]
    for options in ({}, {"select": mti.Select("nearest", 1)}, {"items_per_call": 2}):
        schema = asked(mti.Plan.fused(PROGRAM, demos=demos, **options)).schema
        assert schema is not None
        assert '"maxItems":60' in schema.text


# --- answers that fill a cap -------------------------------------------------------------------


def test_an_answer_that_fills_a_cap_says_so() -> None:
    """The note has the name of the output, the cap, and what to do."""
    found = notes(answer(STRING_CAP, ARRAY_CAP), dialect="llguidance")
    assert found == {
        "copy": ["'copy' may be cut: it fills the cap of 400 characters for a text without a bound "
                 "(declare a max_length)"],
        "names": ["'names' may be cut: it fills the cap of 20 items for a list without a bound "
                  "(declare a max_length)"],
    }  # fmt: skip


@given(st.integers(0, 2 * STRING_CAP), st.integers(0, 2 * ARRAY_CAP))
def test_only_an_answer_as_long_as_the_cap_has_a_note(copy: int, names: int) -> None:
    """What is shorter ended by itself, and what is longer was not held."""
    found = notes(answer(copy, names), dialect="llguidance")
    assert bool(found["copy"]) == (copy == STRING_CAP)
    assert bool(found["names"]) == (names == ARRAY_CAP)


def test_a_widened_cap_is_the_one_that_counts() -> None:
    """Where demonstrations have widened a cap, the note is about the wider one."""
    plan = mti.Plan.fused(PROGRAM, demos=[demo(names=30)])
    assert notes(answer(names=ARRAY_CAP), plan=plan)["names"] == []
    assert "the cap of 60 items" in notes(answer(names=60), plan=plan)["names"][0]


def test_only_a_schema_that_was_sent_has_caps() -> None:
    """No cap holds what a dialect cannot bound, or a model that is held by words alone."""
    full = answer(STRING_CAP, ARRAY_CAP)
    assert notes(full, dialect="anthropic") == {"copy": [], "names": []}
    assert [bool(one) for one in notes(full, dialect="openai").values()] == [False, True]
    for level in ("json_object", "prompt"):
        assert notes(full, level=level, dialect="llguidance") == {"copy": [], "names": []}
    freely = mti.Plan.fused(PROGRAM, think_first=True)
    assert notes(full, plan=freely, dialect="llguidance") == {"copy": [], "names": []}


class Part(BaseModel):
    """A part with a text and a list that nothing bounds."""

    words: str
    tags: list[str] | None


@pytest.mark.parametrize(
    ("kind", "value", "has_note"),
    [
        (Annotated[list[int], Field(max_length=ARRAY_CAP)], [0] * ARRAY_CAP, False),
        (Annotated[str, Field(max_length=STRING_CAP)], "x" * STRING_CAP, False),
        (str | None, "x" * STRING_CAP, True),
        (list[int] | str, [0] * ARRAY_CAP, True),
        (list[Literal["a", "b"]], ["a"] * ARRAY_CAP, True),
        (set[int], [0] * ARRAY_CAP, True),
        (tuple[str, int], ["x" * STRING_CAP, 1], True),
        (dict[str, str], {"k": "x" * STRING_CAP}, True),
        (dict[Literal["k"], str], {"k": "x" * STRING_CAP}, True),
        (Part, {"words": "w", "tags": of(ARRAY_CAP)}, True),
        (list[Part], [{"words": "x" * STRING_CAP, "tags": None}] * ARRAY_CAP, True),
        (Part, {"words": "w", "tags": None}, False),
    ],
)
def test_caps_are_found_at_any_depth(kind: Any, value: Any, has_note: bool) -> None:
    """A note is about the library's own caps, wherever they stand, each said once; a bound that was
    declared is the user's.
    """
    program = mti.combine(mti.Task[Any]("x", "i", (), (mti.tasks.Field("x", kind),)))
    model = mti.ScriptedModel([json.dumps({"x": value})], support=Support(dialect="llguidance"))
    found = [one for one in notes_of(program(model=model))["x"] if "may be cut" in one]
    assert bool(found) is has_note
    assert len(set(found)) == len(found)


def test_each_item_of_a_call_has_its_own_notes() -> None:
    """Of several items in a call, the one whose answer fills a cap says so; keys that are letters
    change nothing.
    """
    plan = mti.Plan.fused(PROGRAM, items_per_call=2, short_keys=True)
    replies = {"1": {"a": "x", "b": of(3)}, "2": {"a": "x", "b": of(ARRAY_CAP)}}
    model = mti.ScriptedModel([json.dumps(replies)])
    results = list(PROGRAM.map([{"text": "a"}, {"text": "b"}], model=model, plan=plan))
    first, second = (notes_of(result)["names"] for result in results)
    assert not first
    assert "'names' may be cut" in second[0]


async def test_an_answer_of_a_stream_says_so_as_it_comes() -> None:
    """What is given of a call under way has the note, and with several items in a call too."""
    model = mti.ScriptedModel([answer(names=ARRAY_CAP)])
    stream = PROGRAM.stream(text="a", model=model)
    came = {task: slot.notes async for task, slot in stream if isinstance(slot, mti.Answer)}
    assert "'names' may be cut" in came["names"][0]
    assert not came["copy"]


def test_a_kept_answer_stands_where_no_cap_is_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of an output with a bound of its own stays, however long demonstrations are."""
    keys: list[str] = []

    class Shelf:
        """Keeps nothing but keys."""

        get = staticmethod(keys.append)
        set = staticmethod(lambda key, value: None)

    bound = mti.combine(
        mti.Task[Any]("x", "i", (mti.tasks.Field("text", str),),
                      (mti.tasks.Field("x", Annotated[list[int], Field(max_length=60)]),)),
    )  # fmt: skip
    model = mti.ScriptedModel(['{"x": [1]}'] * 2)
    model.identity, model.reuse = "the same", Reuse(Shelf())
    shown = {"inputs": {"text": "d"}, "outputs": {"x": [0] * 30}}
    plan = mti.Plan.fused(bound, demos=[shown])
    bound(text="a", model=model, plan=plan)
    monkeypatch.setattr("mtiprompt.answers.USUAL", Caps(string=-1, array=-1))
    bound(text="a", model=model, plan=plan)
    assert keys[0] == keys[1]


def test_a_kept_answer_stands_for_none_of_a_wider_cap() -> None:
    """An answer that filled the usual cap is asked for again where demonstrations widen it."""
    shelf: dict[str, Any] = {}

    class Shelf:
        """Entries in memory."""

        get, set = shelf.get, shelf.__setitem__

    def full(request: mti.Request) -> str:
        assert request.schema is not None
        shape = json.loads(request.schema.text)["properties"]["names"]
        return json.dumps({"copy": "x", "names": of(shape["maxItems"])})

    model = mti.FunctionModel(full)
    model.identity, model.reuse = "the same", Reuse(Shelf())
    near, far = demo(), {"inputs": {"text": "far"}, "outputs": {"copy": "d", "names": of(30)}}
    lengths = []
    for pool in ([near], [near, far], [near]):
        plan = mti.Plan.fused(PROGRAM, demos=pool, select=mti.Select("nearest", 1))
        lengths.append(len(PROGRAM(text="demo", model=model, plan=plan).names))
    assert lengths == [ARRAY_CAP, 60, ARRAY_CAP]
