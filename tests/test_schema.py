"""The schema of a reply in every dialect, and its short notation."""

from __future__ import annotations

import datetime
import enum
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, HttpUrl, create_model
from pydantic import Field as Limits

import mtiprompt as mti
from mtiprompt.fieldtypes import type_from_schema
from mtiprompt.models.base import Dialect
from mtiprompt.schema import (
    Shape,
    field_schema,
    in_dialect,
    notation_of,
    output_schema,
    slots_of,
)
from mtiprompt.tasks import Field, without_words
from mtiprompt.tasks.caps import ARRAY_CAP, STRING_CAP
from tests.strategies import Case, cases

DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
NEVER = {"title", "default", "examples", "$ref", "$defs", "definitions", "$schema", "oneOf",
         "allOf",         "uniqueItems", "discriminator"}  # fmt: skip


class Colour(enum.Enum):
    """Labels."""

    RED = "red"
    BLUE = "blue"


class Grade(enum.IntEnum):
    """Labels that are numbers."""

    GOOD = 1
    BAD = 2


class Part(BaseModel):
    """A part."""

    name: str
    size: int | None = None
    colour: Colour = Colour.RED


class Whole(BaseModel):
    """Parts of parts."""

    parts: list[Part]
    main: Part


def parts_of(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema inside a schema, itself included."""
    if isinstance(schema, list):
        for part in schema:
            yield from parts_of(part)
    if isinstance(schema, dict):
        yield schema
        for part in schema.get("properties", {}).values():
            yield from parts_of(part)
        for key in ("items", "anyOf", "additionalProperties"):
            yield from parts_of(schema.get(key))


@given(st.data(), cases(), st.sampled_from(DIALECTS))
def test_valid_values_satisfy_every_dialect(
    data: st.DataObject, case: Case, dialect: Dialect
) -> None:
    """A dialect only relaxes: every valid value under the caps satisfies the schema."""
    schema = output_schema(case.slots(), dialect)
    jsonschema.Draft202012Validator.check_schema(schema.schema)
    values = case.dumped(data.draw(case.answers()))
    jsonschema.validate(values, schema.schema)
    assert list(schema.schema["properties"]) == list(values)


@given(cases(), st.sampled_from(DIALECTS))
def test_rules_of_every_dialect(case: Case, dialect: Dialect) -> None:
    """Objects are closed and complete, nothing is referred to, nothing has a default."""
    schema = output_schema(case.slots(), dialect).schema
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert schema["required"] == list(schema["properties"])
    for part in parts_of(schema):
        assert not NEVER & set(part)
        if "properties" in part:
            assert part["additionalProperties"] is False
            assert set(part["required"]) <= set(part["properties"])
        low, high = part.get("minItems", 0), part.get("maxItems", 10**9)
        assert low <= high
        assert part.get("minLength", 0) <= part.get("maxLength", 10**9)


def dialect_of(kind: Any, dialect: Dialect) -> dict[str, Any]:
    """The schema of a type in a dialect."""
    return in_dialect(field_schema(Field("x", kind)), dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_nested_models_are_inlined(dialect: Dialect) -> None:
    """References are replaced by what they refer to, in every place."""
    schema = dialect_of(Whole, dialect)
    assert "$ref" not in json.dumps(schema)
    assert schema["properties"]["main"]["properties"]["name"]["type"] == "string"
    items = schema["properties"]["parts"]["items"]
    assert items["properties"]["colour"]["enum"] == ["red", "blue"]
    assert items["additionalProperties"] is False
    assert "size" in items["required"]


def test_everything_of_a_model_is_required() -> None:
    """A field with a default is written too, so that the schema is strict."""
    case = mti.combine(mti.Task[Any]("w", "i", (), (Field("w", Whole),)))
    schema = output_schema(slots_of(case, ["w"], [False]), "openai")
    assert schema.schema["properties"]["w"]["properties"]["main"]["required"] == [
        "name", "size", "colour"
    ]  # fmt: skip
    assert schema.strict


def test_mapping_is_not_strict() -> None:
    """A type that a provider cannot enforce strictly makes the schema say so."""
    for kind, strict in [(dict[str, int], False), (int, True), (Literal["a"] | None, True)]:
        program = mti.combine(mti.Task[Any]("w", "i", (), (Field("w", kind),)))
        assert output_schema(slots_of(program, ["w"], [False]), "openai").strict is strict


@pytest.mark.parametrize(
    ("kind", "dialect", "caps"),
    [
        (str, "llguidance", {"maxLength": STRING_CAP}), (str, "openai", {}),
        (Annotated[str, Limits(max_length=9)], "llguidance", {"maxLength": 9}),
        (Annotated[str, Limits(max_length=9)], "openai", {}),
        (list[int], "llguidance", {"maxItems": ARRAY_CAP}),
        (list[int], "openai", {"maxItems": ARRAY_CAP}),
        (list[int], "gemini", {"maxItems": ARRAY_CAP}), (list[int], "anthropic", {}),
        (Annotated[list[int], Limits(max_length=3)], "openai", {"maxItems": 3}),
        (Annotated[str, Limits(min_length=500)], "llguidance", {"minLength": 500}),
        (Annotated[list[int], Limits(min_length=30)], "openai", {"minItems": 30}),
        (datetime.date, "llguidance", {"format": "date"}), (Literal["a", "b"], "llguidance", {}),
        (Annotated[int, Limits(ge=0, lt=9)], "openai", {"minimum": 0, "exclusiveMaximum": 9}),
        (Annotated[int, Limits(ge=0, lt=9)], "gemini", {"minimum": 0}),
        (Annotated[int, Limits(ge=0, lt=9)], "anthropic", {}),
        (Annotated[str, Limits(pattern="^[a-z]+$")], "llguidance", {"pattern": "^[a-z]+$"}),
        (Annotated[str, Limits(pattern=r"^\d$")], "llguidance", {"maxLength": STRING_CAP}),
        (Annotated[str, Limits(pattern="a")], "llguidance", {"maxLength": STRING_CAP}),
        (Annotated[str, Limits(pattern="a")], "openai", {"pattern": "a"}),
        (Annotated[str, Limits(pattern="a")], "anthropic", {}),
    ],
)  # fmt: skip
def test_caps_and_limits(kind: Any, dialect: Dialect, caps: dict[str, Any]) -> None:
    """What is unbounded gets a cap, what is bounded keeps its bound, and no cap contradicts one;
    what a dialect cannot say is left out.
    """
    found = dialect_of(kind, dialect)
    limits = {key: value for key, value in found.items()
              if key not in {"type", "enum", "items", "const", "description"}}  # fmt: skip
    if found.get("minLength", 0) > STRING_CAP:
        assert limits.pop("maxLength", 10**6) >= found["minLength"]
    if found.get("minItems", 0) > ARRAY_CAP:
        assert limits.pop("maxItems", 10**6) >= found["minItems"]
    assert limits == caps


def test_caps_where_type_is_a_list() -> None:
    """`"type": ["string", "null"]` and its like are capped as well."""
    text = in_dialect({"type": ["string", "null"]}, "llguidance")
    assert text.get("maxLength") == STRING_CAP or "anyOf" in text
    items = in_dialect({"type": ["array", "null"], "items": {"type": "integer"}}, "openai")
    assert items.get("maxItems") == ARRAY_CAP or "anyOf" in items


def test_const_becomes_enum_where_it_must() -> None:
    """One label is `const` where the dialect has it, else an `enum` of one."""
    assert dialect_of(Literal["a"], "gemini")["enum"] == ["a"]
    assert dialect_of(Literal["a"], "openai").get("const", "a") == "a"


def given_field(schema: dict[str, Any]) -> Field:
    """A field as a task file declares it."""
    return Field("x", type_from_schema(schema, "t"), given_schema=json.dumps(schema))


def test_given_schema_is_what_is_validated() -> None:
    """The schema that is sent asks for what the validator wants: no more, no less."""
    for schema in (
        {"type": "object", "properties": {"a": {"type": "string"}}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"type": "object", "additionalProperties": {"type": "integer"}},
    ):
        field = given_field(schema)
        sent = field_schema(field)
        for value in ({}, {"a": "x"}, {"a": 1}):
            try:
                field.adapter.validate_json(json.dumps(value), strict=True)
            except ValueError:
                wanted = False
            else:
                wanted = True
            assert jsonschema.Draft202012Validator(sent).is_valid(value) is wanted, (schema, value)


def test_given_schema_with_references() -> None:
    """References of a given schema are inlined too, and its words are kept where they may be."""
    field = given_field({"$ref": "#/$defs/x", "description": "d",
                         "$defs": {"x": {"type": "array", "items": {"$ref": "#/$defs/y"}},
                                   "y": {"enum": ["a"]}}})  # fmt: skip
    assert field_schema(field) == {
        "type": "array", "items": {"enum": ["a"]}, "description": "d"
    }  # fmt: skip


class Endless(BaseModel):
    """A recursive type."""

    next: Endless | None = None


def test_recursion_is_refused() -> None:
    """A recursive type is refused with the name of the field."""
    with pytest.raises(mti.DeclarationError, match=r"'x'.*itself"):
        field_schema(Field("x", Endless))


@pytest.mark.parametrize("name", ["properties", "items", "$ref", "required", "title", "default",
                                  "anyOf", "enum", "$defs", "description"])  # fmt: skip
def test_properties_named_as_keywords(name: str) -> None:
    """A property may have the name of a keyword."""
    field = given_field({"type": "object", "properties": {name: {"type": "integer"}},
                         "required": [name], "additionalProperties": False})  # fmt: skip
    for dialect in DIALECTS:
        sent = in_dialect(field_schema(field), dialect)
        assert sent["properties"] == {name: {"type": "integer"}}
        assert sent["required"] == [name]
    assert name in notation_of(field_schema(field))


def test_aliases_agree() -> None:
    """A nested field with an alias has one name in the schema, in demonstrations and in answers."""

    class Aliased(BaseModel):
        kind: str = Limits(alias="Kind")

    task = mti.Task[Any]("t", "i", (Field("m", str),), (Field("t", Aliased),))
    shown = task.read({"t": {"Kind": "a"}})
    jsonschema.validate(shown["t"], field_schema(task.outputs[0]))
    assert task.read(shown) == shown


def test_the_echo_answers_addresses() -> None:
    """A fake is told that a text is an address, and answers with one."""
    assert in_dialect(field_schema(Field("x", HttpUrl)), "whole")["format"] == "uri"
    program = mti.combine(mti.Task[Any]("x", "i", (), (Field("x", HttpUrl),)))
    assert not program(model=mti.EchoModel(), repair=mti.Repair.none()).failures


# --- notation --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "notation"),
    [
        (str, "string"), (int, "integer"), (float, "number"), (bool, "true | false"),
        (Literal["a", "b"], '"a" | "b"'), (Literal["a"], '"a"'), (Literal[1, 2], "1 | 2"),
        (Literal["it's", 'say "x"', "a\nb", "é"], '"it\'s" | "say \\"x\\"" | "a\\nb" | "é"'),
        (Literal["a", None], '"a" | null'), (Colour, '"red" | "blue"'),
        (datetime.date, '"YYYY-MM-DD"'), (datetime.datetime, '"YYYY-MM-DDThh:mm:ss"'),
        (int | None, "integer | null"), (int | str, "integer | string"),
        (list[str], "string[]"), (list[bool], "(true | false)[]"), (list[list[int]], "integer[][]"),
        (list[Literal["a", "b"]], '("a" | "b")[]'), (list[str] | None, "string[] | null"),
        (dict[str, int], "{[name]: integer}"), (dict[str, list[int]], "{[name]: integer[]}"),
        (dict[Literal["a", "b"], int], '{["a" | "b"]: integer}'),
        (dict[Literal["a"], str], '{["a"]: string}'),
        (dict[Colour, int], '{["red" | "blue"]: integer}'),
        (dict[Grade, bool], '{["1" | "2"]: true | false}'),
        (dict[datetime.date, int], '{["YYYY-MM-DD"]: integer}'),
        (dict[Annotated[str, Limits(max_length=9)], int],
         "{[name (at most 9 characters)]: integer}"),
        (dict[Annotated[str, Limits(pattern="^a$")], int], "{[name (matching /^a$/)]: integer}"),
        (dict[Annotated[str, Limits(pattern="^a$", max_length=9)], int],
         "{[name (matching /^a$/, at most 9 characters)]: integer}"),
        (Annotated[dict[str, int], Limits(min_length=1, max_length=3)],
         "{[name]: integer} (at least 1 entries, at most 3 entries)"),
        (list[Annotated[dict[Literal["a", "b"], int], Limits(min_length=2)]],
         '({["a" | "b"]: integer} (at least 2 entries))[]'),
        (Part, '{name: string, size: integer | null, colour: "red" | "blue"}'),
        (list[Part], '{name: string, size: integer | null, colour: "red" | "blue"}[]'),
        (list[Part | None],
         '({name: string, size: integer | null, colour: "red" | "blue"} | null)[]'),
        (list[dict[str, int]], "{[name]: integer}[]"),
        (list[dict[str, int] | int], "({[name]: integer} | integer)[]"),
        (Annotated[int, Limits(ge=0, le=5)], "integer (at least 0, at most 5)"),
        (Annotated[int, Limits(gt=0, lt=5, multiple_of=2)],
         "integer (more than 0, less than 5, a multiple of 2)"),
        (Annotated[str, Limits(min_length=1, max_length=9)],
         "string (at least 1 characters, at most 9 characters)"),
        (Annotated[str, Limits(pattern="^a$")], "string (matching /^a$/)"),
        (Annotated[list[str], Limits(min_length=1, max_length=3)],
         "string[] (at least 1 items, at most 3 items)"),
        (list[Annotated[int, Limits(ge=0)]], "(integer (at least 0))[]"),
    ],
)  # fmt: skip
def test_notation(kind: Any, notation: str) -> None:
    """Every type has a short notation that reads in one way."""
    assert notation_of(field_schema(Field("x", kind))) == notation


@pytest.mark.parametrize(
    ("schema", "notation"),
    [
        ({"type": ["integer", "null"], "minimum": 0}, "integer (at least 0) | null"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True},
         "string[] (no repetitions)"),
        ({"type": "object", "properties": {"a b": {"type": "string"}}}, '{"a b": string}'),
        ({"const": 3}, "3"), ({}, "any"), ({"type": "array"}, "any[]"),
    ],
)  # fmt: skip
def test_notation_of_schemas(schema: dict[str, Any], notation: str) -> None:
    """Schemas of task files have one too; each bound is said once, odd names are in quotes."""
    assert notation_of(schema) == notation


def test_optional_property_is_marked() -> None:
    """A property that may be absent is not shown as one that must be there."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
              "required": ["a"]}  # fmt: skip
    assert notation_of(schema) != notation_of({**schema, "required": ["a", "b"]})


@given(cases(), st.sampled_from(DIALECTS))
def test_every_key_has_a_line(case: Case, dialect: Dialect) -> None:
    """The lines for the prompt have every key of the schema, in order, one line each."""
    shape = Shape(case.slots(), dialect)
    assert [key for key, _, _ in shape.lines] == list(shape.schema.schema["properties"])
    assert all("\n" not in "".join(line) for line in shape.lines)


def test_descriptions_reach_the_lines() -> None:
    """What a field is stands behind its notation, on one line; the notation keeps its blanks."""

    def word(message: str) -> Annotated[Literal["a  b"], Limits(description="one\n  word")]:  # type: ignore[empty-body]
        """Choose."""

    class Stars(mti.Signature):
        """Judge."""

        message: str = mti.InputField()
        stars: int = mti.OutputField(desc="how good", ge=1, le=5)
        other: str = mti.OutputField()

    program = mti.combine(word, Stars)
    assert Shape(slots_of(program, ["word", "stars"], [False, False]), "openai").lines == (
        ("word", '"a  b"', "one word"),
        ("stars", "integer (at least 1, at most 5)", "how good"),
        ("other", "string", ""),
    )


def test_a_schema_without_words() -> None:
    """Descriptions are left out, properties of that name are not."""

    def outline(words: str) -> Any:
        made = create_model("Part", __doc__=words, description=(int, Limits(description=words)))
        return without_words(Field("x", list[made]).schema)  # type: ignore[valid-type]

    assert outline("a") == outline("b")
    assert list(outline("a")["items"]["properties"]) == ["description"]


def test_reasons_stand_before_their_answers() -> None:
    """The key of a reason stands right before the keys of its task."""
    program = mti.combine("m -> a, b", "m -> c")
    slots = slots_of(program, ["a_b", "c"], [False, True])
    assert list(output_schema(slots, "openai").schema["properties"]) == [
        "a", "b", "c__reasoning", "c"
    ]  # fmt: skip
