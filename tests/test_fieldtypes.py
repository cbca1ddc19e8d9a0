"""Types out of text and out of JSON schemas."""

from __future__ import annotations

import datetime
import json
from contextlib import suppress
from typing import Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

import mtiprompt as mti
from mtiprompt.fieldtypes import type_from_schema, type_from_text
from mtiprompt.tasks import Field


def accepts(schema: dict[str, Any], value: Any) -> bool:
    """Whether the type made of a schema takes a value, strictly, as a reply is read."""
    adapter = Field("x", type_from_schema(schema, "task 't'")).adapter
    try:
        adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return False
    return True


# --- text ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("str", str), (" int ", int), ("float", float), ("bool", bool), ("None", None),
        ("date", datetime.date), ("datetime", datetime.datetime),
        ("list", list[str]), ("list[int]", list[int]), ("dict[str, float]", dict[str, float]),
        ("int | None", int | None), ("Optional[int]", int | None),
        ("Union[int, str]", int | str), ("list[list[str] | None]", list[list[str] | None]),
        ("Literal['a', \"b\"]", Literal["a", "b"]),
        ("Literal[1, True, None]", Literal[1, True, None]),
        ('Literal["it\'s", "a, b", "->", "x]"]', Literal["it's", "a, b", "->", "x]"]),
        ("Literal[-1, 0, 1]", Literal[-1, 0, 1]),
        ('dict[str, Literal["a"] | list[bool]]', dict[str, Literal["a"] | list[bool]]),
    ],
)  # fmt: skip
def test_text_names_a_type(text: str, kind: Any) -> None:
    """Every type that a string can name is that type."""
    assert type_from_text(text) == kind


@pytest.mark.parametrize(
    "text",
    ["", "wat", "list[", "str\0", "list[int, str]", "dict[int, str]", "dict[str]",
     "Optional[int, str]",
     "Literal[x]", "Literal[1.5]", "Literal[b'x']", "Literal[()]", "__import__('os')", "str()",
     "a.b",
     "list[wat]", "tuple[int]", "5", "'str'", "int or str", "str; int", "lambda: 0"],
)  # fmt: skip
def test_text_that_is_no_type(text: str) -> None:
    """Anything else is refused with a hint or the text, and nothing is evaluated."""
    with pytest.raises(mti.DeclarationError) as caught:
        type_from_text(text)
    assert text.strip()[:3] in str(caught.value)


@pytest.mark.parametrize("text", ["list[" * 3000 + "]" * 3000, "str|" * 20_000 + "int"])
def test_absurd_text(text: str) -> None:
    """A text too deep to be read is refused, in a line that can be read."""
    with pytest.raises(mti.DeclarationError) as caught:
        type_from_text(text)
    assert len(str(caught.value)) < 1000


@given(st.text())
def test_any_text(text: str) -> None:
    """Arbitrary text is a type or refused."""
    with suppress(mti.DeclarationError):
        type_from_text(text)


# --- schemas ---------------------------------------------------------------------------------

SCHEMAS: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
    ({"type": "string"}, ["", "x"], [1, None]),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "abc"], ["a", "abcd"]),
    ({"type": "string", "pattern": "[0-9]+$"}, ["a 12", "12"], ["12a"]),
    ({"type": "string", "pattern": "^a$"}, ["a"], ["ba"]),
    ({"type": "string", "format": "date"}, ["2024-01-31"], ["2024-02-31", "soon"]),
    ({"type": "string", "format": "date-time"}, ["2024-01-31T10:00:00Z"], ["soon"]),
    ({"type": "integer"}, [0, -5, 10**30], ["1", 1.5, True]),
    ({"type": "integer", "minimum": 1, "maximum": 3}, [1, 3], [0, 4]),
    ({"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 3}, [2], [1, 3]),
    ({"type": "integer", "multipleOf": 5}, [0, 10], [3]),
    ({"type": "integer", "minimum": 0.5}, [1], [0]),
    ({"type": "number"}, [1, 1.5], ["1", True]),
    ({"type": "number", "minimum": 0.5, "exclusiveMaximum": 1}, [0.5, 0.9], [0.4, 1]),
    ({"type": "number", "multipleOf": 0.25}, [0.5, 1, -0.75], [0.3]),
    ({"type": "boolean"}, [True], ["true", 1]),
    ({"type": "null"}, [None], [0, ""]),
    ({"type": "array", "items": {"type": "integer"}}, [[], [1]], [["1"], 1]),
    ({"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2}, [["a"]],
     [[], ["a", "b", "c"]]),
    ({"enum": ["a", 1, True, None]}, ["a", 1, True, None], ["b", 2, False]),
    ({"enum": ["a", "b"], "type": "string"}, ["a"], ["c"]),
    ({"const": "a"}, ["a"], ["b"]),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, ["a", None], [1]),
    ({"oneOf": [{"type": "integer"}, {"enum": ["x"]}]}, [1, "x"], ["y"]),
    ({"type": ["string", "null"]}, ["a", None], [1]),
    ({"type": ["integer", "null"], "minimum": 0}, [0, None], [-1, "a"]),
    ({"type": ["array", "null"], "items": {"type": "integer"}, "maxItems": 1}, [[1], None],
     [[1, 2]]),
    ({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
      "required": ["a"]}, [{"a": "x"}, {"a": "x", "b": 1}], [{}, {"b": 1}, {"a": "x", "b": "y"}]),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, [{}, {"k": 1}], [{"k": "x"}]),
    ({"type": "object", "properties": {"a b": {"type": "string"}, "class": {"type": "string"}},
      "required": ["a b", "class"], "additionalProperties": False},
     [{"a b": "x", "class": "y"}], [{"a b": "x"}, {"a b": "x", "class": "y", "z": 1}]),
    ({"$ref": "#/$defs/x", "$defs": {"x": {"type": "integer"}}}, [1], ["a"]),
    ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "integer"}}}, [1], ["a"]),
    ({"type": "array", "items": {"$ref": "#/definitions/x"},
      "definitions": {"x": {"$ref": "#/definitions/y"}, "y": {"enum": ["q"]}}}, [["q"]], [["r"]]),
    ({"title": "T", "description": "d", "default": "q", "examples": ["e"], "$comment": "c",
      "type": "string"}, ["x"], [1]),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(SCHEMAS)))
def test_schema_means_what_it_says(number: int) -> None:
    """The type takes what the schema takes and refuses what it refuses; jsonschema agrees."""
    schema, good, bad = SCHEMAS[number]
    checker = jsonschema.FormatChecker()
    for value in good:
        jsonschema.validate(value, schema, format_checker=checker)
        assert accepts(schema, value), value
    for value in bad:
        assert not accepts(schema, value), value


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "contentEncoding": "base64"}, {"type": "object", "minProperties": 1},
        {"type": "object", "patternProperties": {}}, {"type": "array", "prefixItems": []},
        {"type": "array", "contains": {}}, {"not": {"type": "string"}}, {"allOf": []}, {},
        {"if": {}, "type": "string"}, {"type": "any"}, {"type": "string", "minimum": 3},
        {"enum": []}, {"enum": "ab"}, {"enum": [{"a": 1}]}, {"enum": [1.5]},
        {"enum": ["a"], "minLength": 1}, {"anyOf": []}, {"anyOf": 5}, {"type": []}, {"type": {}},
        {"type": "string", "pattern": "("}, {"type": "string", "pattern": 5},
        {"type": "string", "minLength": "a"}, {"type": "string", "maxLength": -1},
        {"type": "integer", "minimum": "0"}, {"type": "string", "format": []},
        {"type": "object", "properties": ["a"]}, {"type": "array", "items": True},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": 5},
        {"type": "object", "properties": {"a": {"type": "string"}},
         "additionalProperties": {"type": "string"}},
        {"$ref": "#/$defs/x"}, {"$ref": "http://other/x"}, {"$ref": 5}, {"$ref": "#"},
        {"$ref": "#/$defs/x", "minLength": 3, "$defs": {"x": {"type": "string"}}},
        {"$ref": "#/$defs/x", "$defs": {"x": {"type": "array", "items": {"$ref": "#/$defs/x"}}}},
        {"type": "string", "format": "date", "minLength": 10},
        True, None, [], "string",
    ],
)  # fmt: skip
def test_schema_is_refused(schema: Any) -> None:
    """What is malformed or not supported is refused with the name of the place, never ignored."""
    with pytest.raises(mti.DeclarationError, match="task 't'"):
        accepts(schema, None)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "object"}, {"a": 1}),
        ({"type": "object", "additionalProperties": True}, {"a": [1]}),
        ({"type": "array"}, [1, "a", None]),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {}),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": True},
         {"a": "x", "b": 1}),
    ],
)  # fmt: skip
def test_open_schema_is_taken_or_refused(schema: dict[str, Any], value: Any) -> None:
    """A schema that leaves things open takes what it allows, or is refused: it is not narrowed
    behind the author's back.
    """
    try:
        taken = accepts(schema, value)
    except mti.DeclarationError:
        return
    assert taken


def test_decimal_steps() -> None:
    """`multipleOf: 0.01` takes 0.07, though 0.07 % 0.01 is not 0 in binary."""
    schema = {"type": "number", "multipleOf": 0.01}
    assert all(accepts(schema, value) for value in (0.07, 0.57, 1, 1.1))
    assert not accepts(schema, 0.005)


def test_recursion_is_refused() -> None:
    """A type that refers to itself is refused, and the reference is named."""
    schema = {"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {
        "next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}}}}  # fmt: skip
    with pytest.raises(mti.DeclarationError, match="refers to itself"):
        type_from_schema(schema, "task 't'")


def test_reference_used_twice_is_no_recursion() -> None:
    """Two places may refer to one definition."""
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"},
                                                "b": {"$ref": "#/$defs/x"}},
              "required": ["a", "b"], "$defs": {"x": {"type": "integer"}}}  # fmt: skip
    assert accepts(schema, {"a": 1, "b": 2})


def test_unique_items_are_made_unique() -> None:
    """`uniqueItems` drops repetitions, first ones kept, also inside an object; 1 is not true."""
    schema = {"type": "array", "items": {"enum": [1, True, "a"]}, "uniqueItems": True}
    adapter = TypeAdapter(type_from_schema(schema, "t"))
    assert adapter.validate_json('["a", 1, true, "a", 1]', strict=True) == ["a", 1, True]
    nested = {"type": "array", "items": {"type": "array", "items": {"enum": [1, True]}},
              "uniqueItems": True}  # fmt: skip
    adapter = TypeAdapter(type_from_schema(nested, "t"))
    assert repr(adapter.validate_json("[[1], [true], [1]]", strict=True)) == "[[1], [True]]"
    numbers = {"type": "array", "items": {"type": "number"}, "uniqueItems": True}
    adapter = TypeAdapter(type_from_schema(numbers, "t"))
    assert repr(adapter.validate_json("[1, 1.0, 0.5, -0.0, 0]", strict=True)) == "[1, 0.5, -0.0]"


def test_limits_of_unique_items_hold_afterwards() -> None:
    """`minItems` and `maxItems` count what is left."""
    schema = {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "minItems": 2,
              "maxItems": 2}  # fmt: skip
    assert accepts(schema, ["a", "b", "a"])
    assert not accepts(schema, ["a", "a"])


schemas: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([{"type": "string"}, {"type": "integer"}, {"enum": ["a"]}, {"type": "wat"}, 5,
                     {"type": "string", "pattern": "["}, {"$ref": "#/$defs/x"}]),
    lambda part: st.fixed_dictionaries(
        {}, optional={"type": st.sampled_from(["array", "object", ["string", "null"], [], None]),
                      "items": part,
                      "properties": st.dictionaries(st.text(max_size=3), part) | part,
                      "anyOf": st.lists(part, max_size=2) | part, "required": st.just(["a"]) | part,
                      "additionalProperties": part | st.booleans(),
                      "minItems": st.integers() | part,
                      "enum": st.lists(st.text(max_size=2)) | part, "description": part}),
    max_leaves=6,
)  # fmt: skip


@given(schemas)
def test_any_schema(schema: Any) -> None:
    """An arbitrary value is a schema whose type validates, or is refused as a declaration."""
    with suppress(mti.DeclarationError):
        accepts(schema, None)
