"""Outputs that are tuples: what providers are sent, and what the prompt says."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, NamedTuple, get_args

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, WithJsonSchema
from pydantic import Field as Limits

import mtiprompt as mti
from mtiprompt.models.base import Dialect
from mtiprompt.models.local_grammar import problem
from mtiprompt.schema import field_schema, in_dialect, notation_of, output_schema, slots_of
from mtiprompt.tasks import Field
from mtiprompt.wire import OutputSchema
from tests.strategies import Kind, scalars

DIALECTS: tuple[Dialect, ...] = get_args(Dialect)


class Span(NamedTuple):
    """A place that may be left without its second part."""

    start: int
    word: str = ""


class Part(BaseModel):
    """An object in a tuple."""

    name: str
    size: int | None = None


def sent(kind: Any, dialect: Dialect) -> OutputSchema:
    """What a provider is sent for one output of a type."""
    program = mti.combine(mti.Task[Any]("x", "i", (), (Field("x", kind),)))
    return output_schema(slots_of(program, ["x"], [False]), dialect)


def lists_of(schema: Any) -> list[dict[str, Any]]:
    """Every schema of a list inside a schema, at any depth."""
    if isinstance(schema, list):
        return [found for part in schema for found in lists_of(part)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if schema.get("type") == "array" else []
    return own + [found for part in schema.values() for found in lists_of(part)]


@st.composite
def tuples(draw: st.DrawFn) -> Kind:
    """Tuples of any scalars, bare, in a list or beside null."""
    parts = draw(st.lists(scalars(), min_size=1, max_size=3))
    kind: Any = tuple[tuple(part.type for part in parts)]  # type: ignore[misc]
    values = st.tuples(*(part.values for part in parts))
    return draw(
        st.sampled_from(
            [
                Kind(kind, values),
                Kind(list[kind], st.lists(values, max_size=3)),
                Kind(kind | None, st.none() | values),
            ]
        )
    )


@given(st.data(), tuples(), st.sampled_from(DIALECTS))
def test_tuples_are_enforced_as_far_as_a_dialect_can(
    data: st.DataObject, kind: Kind, dialect: Dialect
) -> None:
    """Every list on the wire says what may stand in it, as strict providers ask; the keyword of
    tuples goes only where it is known; and every valid tuple satisfies what is sent.
    """
    schema = sent(kind.type, dialect)
    assert schema.strict
    for one in lists_of(schema.schema):
        assert ("prefixItems" in one) <= (dialect in {"llguidance", "whole"})
        assert {"items", "prefixItems"} & set(one)
    value = Field("x", kind.type).dump(data.draw(kind.values))
    jsonschema.validate({"x": value}, schema.schema)


@pytest.mark.parametrize(
    ("kind", "items"),
    [
        (tuple[str, int], {"anyOf": [{"type": "string"}, {"type": "integer"}]}),
        (tuple[str, str], {"type": "string"}),
        (tuple[Annotated[str, Limits(max_length=3)], str], {"type": "string"}),
        (tuple[bool, Literal["a"], bool],
         {"anyOf": [{"type": "boolean"}, {"const": "a", "type": "string"}]}),
    ],
)  # fmt: skip
def test_a_tuple_is_a_list_of_its_length(kind: Any, items: dict[str, Any]) -> None:
    """Where tuples are not known, as many are asked for, each of any of the types; what a dialect
    cannot tell apart is said once.
    """
    places = len(get_args(kind))
    assert in_dialect(field_schema(Field("x", kind)), "openai") == {
        "type": "array", "items": items, "minItems": places, "maxItems": places
    }  # fmt: skip


def test_labels_of_different_types_stay_apart() -> None:
    """1 and true are equal in Python and not in JSON."""
    given = {"type": "array", "prefixItems": [{"const": 1}, {"const": True}, {"const": 1}]}
    assert json.dumps(in_dialect(given, "openai")["items"]) == (
        '{"anyOf": [{"const": 1}, {"const": true}]}'
    )


def test_a_schema_of_a_tuple_by_hand() -> None:
    """`items` beside `prefixItems` is about the places after those: false is none, a schema one
    kind more.
    """
    places = [{"type": "number"}, {"type": "integer"}]
    for items, kinds in [(False, places), ({"type": "boolean"}, [*places, {"type": "boolean"}])]:
        given = {"type": "array", "prefixItems": places, "items": items}
        kind = Annotated[list[Any], WithJsonSchema(given)]
        assert sent(kind, "gemini").schema["properties"]["x"]["items"] == {"anyOf": kinds}
        assert sent(kind, "llguidance").schema["properties"]["x"]["prefixItems"] == places


def test_parts_of_tuples_are_in_the_dialect() -> None:
    """What stands in a tuple is closed, complete and capped, like what stands elsewhere."""
    wire = sent(tuple[Part, list[str]], "openai")
    part, words = wire.schema["properties"]["x"]["items"]["anyOf"]
    assert (part["required"], part["additionalProperties"]) == (["name", "size"], False)
    assert words["maxItems"] == 20
    assert wire.strict
    assert not sent(tuple[dict[str, int], int], "openai").strict
    assert not sent(tuple[dict[str, int], int], "llguidance").strict


@pytest.mark.parametrize("kind", [list[Any], tuple[()], tuple[list[Any], int]])
def test_a_list_of_anything_is_not_strict(kind: Any) -> None:
    """A list that does not say what stands in it is not sent as strict: it would be refused, and
    the model would be asked at a lower level from then on.
    """
    for dialect in DIALECTS:
        assert not sent(kind, dialect).strict


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["object", "null"], "additionalProperties": {"type": "integer"}},
        {"type": ["array", "null"], "maxItems": 3},
    ],
)
def test_open_beside_null_is_not_strict(schema: dict[str, Any]) -> None:
    """An open mapping or list is as open where null may stand in its place."""
    assert not sent(Annotated[Any, WithJsonSchema(schema)], "openai").strict


@pytest.mark.parametrize("kind", [tuple[str, int], Span, list[tuple[bool, Part]]])
def test_local_grammars_take_tuples(kind: Any) -> None:
    """The engine in this process is given what it can enforce, place by place."""
    schema = sent(kind, "llguidance").schema
    assert problem(schema) is None
    assert any("prefixItems" in one for one in lists_of(schema))


@pytest.mark.parametrize(
    ("kind", "notation"),
    [
        (tuple[str, int], "[string, integer]"), (tuple[bool], "[true | false]"),
        (tuple[Literal["a", "b"], Annotated[int, Limits(ge=0)]],
         '["a" | "b", integer (at least 0)]'),
        (list[tuple[str, int]], "[string, integer][]"),
        (tuple[tuple[int, int], str] | None, "[[integer, integer], string] | null"),
        (Span, "[integer, string] (at least 1 items)"),
        (list[Span], "([integer, string] (at least 1 items))[]"),
        (tuple[int, ...], "integer[]"),
        (Annotated[list[int], Limits(min_length=0)], "integer[] (at least 0 items)"),
    ],
)  # fmt: skip
def test_notation_of_tuples(kind: Any, notation: str) -> None:
    """The prompt shows what stands in each place; how many there are is said only where the places
    do not show it.
    """
    assert notation_of(field_schema(Field("x", kind))) == notation


@given(tuples())
def test_the_echo_answers_tuples(kind: Kind) -> None:
    """The fake that answers whatever it is asked sees the places of a tuple."""
    program = mti.combine(mti.Task[Any]("x", "i", (), (Field("x", kind.type),)))
    result = program(model=mti.EchoModel(), repair=mti.Repair.none())
    assert not result.failures


def test_tuples_are_answered() -> None:
    """Through a program: the prompt shows the tuple, and the answer is one."""
    program = mti.combine(mti.Task[Any]("x", "Find it.", (Field("m", str),), (Field("x", Span),)))
    model = mti.ScriptedModel(['{"x": [3, "lamp"]}'])
    assert program(m="A lamp.", model=model).x == Span(3, "lamp")
    assert '"x": [integer, string] (at least 1 items)' in model.requests[0].messages[0].content
