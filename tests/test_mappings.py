"""Outputs that are mappings: what providers are sent of their keys, values and sizes."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import Field as Limits

import mtiprompt as mti
from mtiprompt.models.base import Dialect
from mtiprompt.schema import field_schema, in_dialect
from mtiprompt.tasks import Field
from tests.test_schema import DIALECTS, Colour, Grade, dialect_of


@pytest.mark.parametrize("dialect", DIALECTS)
def test_labels_for_keys_reach_the_provider(dialect: Dialect) -> None:
    """A mapping whose keys are labels is sent as an object with these properties and no other,
    which may be left out; what a value may be is kept.
    """
    schema = field_schema(Field("x", dict[Literal["a", "b"], Colour]))
    sent = in_dialect(schema, dialect)
    assert list(sent["properties"]) == ["a", "b"]
    assert all(part["enum"] == ["red", "blue"] for part in sent["properties"].values())
    assert sent["additionalProperties"] is False
    assert not sent.get("required")
    sent = in_dialect(field_schema(Field("x", dict[Grade, int])), dialect)
    assert list(sent["properties"]) == ["1", "2"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_mappings_say_what_they_hold(dialect: Dialect) -> None:
    """What stands under keys that match a pattern, and which keys are labels where any value may
    stand, reach every provider; what keys must be, and how many, the fakes alone.
    """
    size, key = Limits(min_length=1, max_length=3), Limits(pattern="^[a-z]+$", max_length=3)
    sent = dialect_of(Annotated[dict[Annotated[str, key], Colour], size], dialect)
    assert sent.pop("additionalProperties")["enum"] == ["red", "blue"]
    limits = {"minProperties": 1, "maxProperties": 3,
              "propertyNames": {"maxLength": 3, "pattern": "^[a-z]+$"}}  # fmt: skip
    assert sent == {"type": "object"} | (limits if dialect == "whole" else {})
    assert dialect_of(dict[Literal["a", "b"], Any], dialect) == {
        "type": "object", "properties": {"a": {}, "b": {}}, "additionalProperties": False
    }  # fmt: skip


def test_values_that_differ_by_key_are_not_mixed() -> None:
    """Where keys of one pattern take other values than those of another, neither is refused."""
    given = {
        "type": "object",
        "patternProperties": {"^a": {"type": "null"}, "^b": {"type": "integer"}},
    }
    for dialect in DIALECTS:
        jsonschema.validate({"a": None, "b": 3}, in_dialect(given, dialect))


def test_the_echo_answers_mappings() -> None:
    """A fake is told how many entries a mapping needs, and which keys it takes."""
    for key in (str, datetime.date, Annotated[str, Limits(pattern="^[a-z]+$")], Colour):
        kind = Annotated[dict[key, int], Limits(min_length=2)]  # type: ignore[valid-type]
        program = mti.combine(mti.Task[Any]("x", "i", (), (Field("x", kind),)))
        assert not program(model=mti.EchoModel(), repair=mti.Repair.none()).failures
