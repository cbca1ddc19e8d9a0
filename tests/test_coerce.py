"""Lossless readings: what says the same is read, what would be a guess stays as it is."""

from __future__ import annotations

import datetime
import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic import Field as Limits

from mtiprompt.coerce import coerce
from mtiprompt.result import Answer
from tests.strategies import labels, texts
from tests.test_parse import read

INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
BOOLEAN = {"type": "boolean"}
STRING = {"type": "string"}
KEYS = {
    "type": "object",
    "propertyNames": {"enum": ["h\u00f6", "x"]},
    "additionalProperties": INTEGER,
}

PLACES = {"type": "array", "prefixItems": [STRING, INTEGER]}


class Row(BaseModel):
    """A nested value."""

    n: int
    label: Literal["yes", "no"]


@pytest.mark.parametrize(
    ("value", "schema", "read_as"),
    [
        ("3", INTEGER, 3), (" -3 ", INTEGER, -3), ("+3", INTEGER, 3), ("3.", INTEGER, 3),
        (3.0, INTEGER, 3), ("007", INTEGER, 7),
        ("3", NUMBER, 3), ("3.5", NUMBER, 3.5), (" 1e3 ", NUMBER, 1000.0), (".5", NUMBER, 0.5),
        ("true", BOOLEAN, True), ("False.", BOOLEAN, False), (" TRUE ", BOOLEAN, True),
        (3, STRING, "3"), (-3, STRING, "-3"),
        ("null", {"anyOf": [INTEGER, {"type": "null"}]}, None),
        ("None", {"anyOf": [INTEGER, {"type": "null"}]}, None),
        ("4", {"anyOf": [INTEGER, {"type": "null"}]}, 4),
        ("4", {"type": ["integer", "null"]}, 4),
        ("POSITIVE", {"enum": ["positive", "negative"]}, "positive"),
        (" Positive. ", {"enum": ["positive", "negative"]}, "positive"),
        ("'positive'", {"enum": ["positive", "negative"]}, "positive"),
        ("city_centre", {"enum": ["city centre", "riverside"]}, "city centre"),
        ("3", {"enum": [1, 2, 3]}, 3), (3, {"enum": ["1", "3"]}, "3"),
        ("Yes", {"const": "yes"}, "yes"),
        ("ho\u0308chste", {"enum": ["h\u00f6chste", "x"]}, "h\u00f6chste"),
        (" H\u00d6CHSTE.", {"enum": ["ho\u0308chste", "x"]}, "ho\u0308chste"),
        ("\u0399\u0308\u0301", {"enum": ["\u0390", "x"]}, "\u0390"),
        ({"ho\u0308": "1", "X": 2}, KEYS, {"h\u00f6": 1, "x": 2}),
        (["1", 2], {"type": "array", "items": INTEGER}, [1, 2]),
        (["a", "3", "4"], PLACES, ["a", 3, "4"]), (["a"], PLACES, ["a"]),
        (["a", "3", "4"], {**PLACES, "items": INTEGER}, ["a", 3, 4]),
        (["3", "4"], {**PLACES, "items": False}, ["3", 4]),
        ({"n": "1"}, {"type": "object", "properties": {"n": INTEGER}}, {"n": 1}),
        ({"k": "1"}, {"type": "object", "additionalProperties": INTEGER}, {"k": 1}),
        ({"k": "1"}, {"type": "object", "patternProperties": {"^k": INTEGER}}, {"k": 1}),
    ],
)  # fmt: skip
def test_says_the_same(value: Any, schema: dict[str, Any], read_as: Any) -> None:
    """A value that says the same in another form is read."""
    found = coerce(value, schema)
    assert found == read_as
    assert type(found) is type(read_as)


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ("3.7", INTEGER), (3.7, INTEGER), ("three", INTEGER), ("3 apples", INTEGER), ("", INTEGER),
        (True, INTEGER), (None, INTEGER), ("1,000", INTEGER), ("1_000", INTEGER), (1e300, INTEGER),
        ("inf", NUMBER), ("nan", NUMBER), ("1e999", NUMBER), ("50%", NUMBER), ("1,5", NUMBER),
        (True, NUMBER),
        (1, BOOLEAN), (0, BOOLEAN), ("1", BOOLEAN), ("maybe", BOOLEAN), ("not true", BOOLEAN),
        (True, STRING), (None, STRING), (["x"], STRING),
        ("positive or negative", {"enum": ["positive", "negative"]}),
        ("pos", {"enum": ["positive", "negative"]}),
        ("positive", {"enum": ["Positive", "POSITIVE"]}),
        ("a b", {"enum": ["a-b", "a_b"]}),
        ("H\u00d6", {"enum": ["h\u00f6", "ho\u0308"]}),
        ({"ho\u0308": 1, "h\u00f6": 2}, KEYS), ({"h\u00f6": 1, "other": 2}, KEYS),
        ({"s": "1"}, {"type": "object", "patternProperties": {"^n": INTEGER, "^s": STRING}}),
        ({"s": "1"}, {"type": "object", "patternProperties": {"^n": INTEGER},
                      "additionalProperties": STRING}),
        ("", {"enum": ["!", "good"]}), ("...", {"enum": ["!", "good"]}),
        ("'", {"enum": ["", "good"]}), (":", {"enum": [";", "good"]}),
        ("-", {"enum": ["_", "good"]}), ("--", {"enum": [" ", "good"]}),
        ("_1", {"enum": [-1, 2]}), ("_1", {"enum": ["-1", "2"]}),
        (True, {"enum": [1, 2]}), (1, {"enum": [True]}), (1.5, {"enum": ["1.5"]}),
        (["x"], {"enum": ["x"]}), (None, {"enum": ["None", "x"]}),
        ("1", {"anyOf": [INTEGER, BOOLEAN, {"enum": ["1."]}]}),
        (["1", 2], {"anyOf": [{"type": "array", "items": INTEGER},
                              {"type": "array", "items": STRING}]}),
    ],
)  # fmt: skip
def test_nothing_is_guessed(value: Any, schema: dict[str, Any]) -> None:
    """What would lose something, or could be two things, stays as it is."""
    found = coerce(value, schema)
    assert found == value
    assert type(found) is type(value)


@given(st.lists(labels, min_size=1, max_size=6, unique=True), labels)
def test_label_is_itself_or_one_that_reads_alike(chosen: list[str], value: str) -> None:
    """A label is never changed into another; a text becomes a label only if letters or digits
    agree, case and separators aside.
    """
    found = coerce(value, {"enum": chosen})
    if value in chosen or found == value:
        assert found == value
        return
    assert found in chosen

    def letters(text: str) -> str:
        return "".join(one for one in text.casefold() if one.isalnum())

    assert letters(found) == letters(value)
    assert letters(found) or found.strip() == value.strip()


@given(st.integers())
def test_whole_numbers_survive(number: int) -> None:
    """A whole number written as text is that number, however long."""
    assume(len(str(number)) < 300)
    assert coerce(str(number), INTEGER) == number
    assert coerce(number, STRING) == str(number)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_only_whole_floats_become_integers(number: float) -> None:
    """A float becomes an integer only if it is one, exactly."""
    found = coerce(number, INTEGER)
    assert found == number
    if isinstance(found, int):
        assert float(found) == number


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | texts,
                    lambda part: st.lists(part, max_size=3) | st.dictionaries(texts, part)),
       st.sampled_from([INTEGER, NUMBER, BOOLEAN, STRING, {"enum": ["a", 1, None, True]},
                        {"type": "array", "items": INTEGER}, {"anyOf": [INTEGER, BOOLEAN]},
                        {"type": "string", "format": "date"}, {"type": ["integer", "null"]}, {},
                        {"type": "object",
                         "additionalProperties": {"type": "array"}}]))  # fmt: skip
def test_any_value_against_any_schema(value: Any, schema: dict[str, Any]) -> None:
    """Coercion raises nothing, and what it gives does not change when it is coerced again."""
    found = coerce(value, schema)
    assert json.dumps(coerce(found, schema)) == json.dumps(found)


# --- with the validator behind it ------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (list[int], "[1.0, 2.0]", [1, 2]),
        (list[int], '["1", 2.0]', [1, 2]),
        (dict[str, int], '{"k": 1.0}', {"k": 1}),
        (dict[Annotated[str, Limits(pattern="^[a-z]+$")], int], '{"k": "1"}', {"k": 1}),
        (
            list[dict[Annotated[str, Limits(pattern="^[a-z]+$", max_length=3)], Row]],
            '[{"k": {"n": "1", "label": "Yes."}}]',
            [{"k": Row(n=1, label="yes")}],
        ),
        (list[list[int]], "[[1.0]]", [[1]]),
        (list[bool], '["true", false]', [True, False]),
        (list[tuple[str, int]], '[["a", "3"]]', [("a", 3)]),
        (
            tuple[datetime.date, int, bool, Literal["a", "b"]],
            '["2024-01-01.", "3", "yes", "A"]',
            (datetime.date(2024, 1, 1), 3, True, "a"),
        ),
        (Row, '{"n": 1.0, "label": "yes"}', Row(n=1, label="yes")),
        (Row, '{"n": "1", "label": "Yes."}', Row(n=1, label="yes")),
        (list[Row] | None, '[{"n": 1.0, "label": "yes"}]', [Row(n=1, label="yes")]),
        (Annotated[int, Limits(ge=0)] | None, "3.0", 3),
        (Literal[1, 2, 3], "3.0", 3),
        (float, "3", 3.0),
        (float, '"3"', 3.0),
    ],
)
def test_parts_are_read_as_wholes_are(kind: Any, text: str, value: Any) -> None:
    """What is read at the top of a field is read inside lists, mappings and models too."""
    found = read(f'{{"x": {text}}}', x=kind)["x"]
    assert isinstance(found, Answer), found
    assert found.value == value
    assert repr(found.value) == repr(value)


@pytest.mark.parametrize("text", ["3.10", "1.0", "1e2", "100000000000000000000000.5", "0.10"])
def test_digits_of_a_text_are_kept(text: str) -> None:
    """A number in the place of a text keeps the digits that were written, or is refused."""
    found = read(f'{{"x": {text}}}', x=str)["x"]
    assert not isinstance(found, Answer) or found.value == text


@pytest.mark.parametrize("text", ["2024", '"2024"', "20240115", '"20240115"', '"86400"', "1.5"])
def test_numbers_are_no_moments(text: str) -> None:
    """A number is not taken for seconds since 1970: a year or a compact date would become a
    moment that nobody wrote.
    """
    for kind in (datetime.datetime, datetime.date):
        found = read(f'{{"x": {text}}}', x=kind)["x"]
        assert not isinstance(found, Answer) or found.value.year == 2024, found


def test_blanks_around_a_date() -> None:
    """A date with blanks or a full stop is that date."""
    found = read('{"x": " 2024-01-15. "}', x=datetime.date)["x"]
    assert isinstance(found, Answer)
    assert found.value == datetime.date(2024, 1, 15)
