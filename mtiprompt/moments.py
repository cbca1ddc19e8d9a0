"""Numbers where a date should stand: validators take them for seconds since 1970."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from numbers import Real
from typing import Any

from pydantic import BaseModel

NO_DATE = "a number stands where a date should"
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d")


def is_number(text: Any) -> bool:
    """Whether a value is a text with a number in it and nothing else."""
    return isinstance(text, str) and _NUMBER.fullmatch(text.strip()) is not None


def no_date(schema: dict[str, Any]) -> str:
    """What is wrong with a number where a type expects a date, and what to write instead.

    Args:
        schema: The plain JSON schema of the type.
    """
    has_time = '"format": "date-time"' in json.dumps(schema)
    return f"{NO_DATE}: write it as {'2024-01-31T00:00' if has_time else '2024-01-31'}"


def as_given(value: Any, schema: dict[str, Any], names: Mapping[str, Collection[str]]) -> Any:
    """What was given, as plain JSON data, whatever it is written as; of an object what is read.

    Args:
        value: What was given.
        schema: The plain JSON schema of its type: as deep as it goes, the value is looked at.
        names: By other names of fields those that they have in the schema.
    """
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, bytes | bytearray):
        return value.decode(errors="replace")
    if isinstance(value, Real | Decimal):
        return float(value)
    kinds = _kinds(schema)

    def part(one: Any, place: str | int) -> Any:
        return as_given(one, {"anyOf": [of for kind in kinds for of in _parts(kind, place)]}, names)

    fields = [name for kind in kinds for name in kind.get("properties", ())]
    if isinstance(value, Mapping):
        called = [str(as_given(key, {}, {}) or key) for key in value]
        meant = [_meant(name, called, fields, names) for name in called]
        return {name: part(one, name) for name, one in zip(meant, value.values(), strict=True)}
    is_list = any("items" in kind or "prefixItems" in kind for kind in kinds)
    is_model = getattr(type(value), "__iter__", None) is BaseModel.__iter__  # over its fields
    if isinstance(value, Iterable) and is_list and not is_model:
        return [part(one, place) for place, one in enumerate(value)]
    held: dict[str, Any] = {}
    for name in fields:
        known = [name, *(other for other, meant in names.items() if name in meant)]
        found = [other for other in known if hasattr(value, other)]
        if found:
            held[name] = part(getattr(value, found[0]), name)
    return held or None


def _meant(
    key: str,
    called: Collection[str],
    fields: Collection[str],
    names: Mapping[str, Collection[str]],
) -> str:
    """The name that a key of a mapping has in the schema."""
    others = [one for one in names.get(key, ()) if one in fields and one not in called]
    return others[0] if others and key not in fields else key


def _kinds(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas that a value may fit."""
    if "anyOf" not in schema:
        return [schema]
    return [kind for one in schema["anyOf"] for kind in _kinds(one)]


def _parts(schema: dict[str, Any], place: str | int) -> list[dict[str, Any]]:
    """The schemas that hold for an item of a list, or for what stands under a key."""
    if isinstance(place, int):
        first = schema.get("prefixItems", [])
        found = [first[place] if place < len(first) else schema.get("items")]
    elif place in schema.get("properties", {}):
        found = [schema["properties"][place]]
    else:
        patterns = schema.get("patternProperties", {})
        found = [*patterns.values(), schema.get("additionalProperties")]
    return [one for one in found if isinstance(one, dict)]


def is_misread_moment(read: Any, made: Any, schema: dict[str, Any]) -> bool:
    """Whether a number became a date: validators take it for seconds since 1970.

    Args:
        read: Plain JSON data that was validated.
        made: What it became, as plain JSON data.
        schema: The plain JSON schema of its type.
    """
    if '"format": "date' not in json.dumps(schema):
        return False
    if _stands_for_moment(read, schema):
        return True
    before = _texts(read)  # in a union, what it became tells which part of it was taken
    for place, texts in _texts(made).items():
        new, gone = texts - before[place], before[place] - texts
        if any(map(_MOMENT.match, new)) and any(map(is_number, gone)):
            return True
    return False


def _stands_for_moment(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a number stands where nothing but a date may."""
    if "anyOf" in schema:
        parts = [one for one in schema["anyOf"] if one.get("type") != "null"]
        return bool(parts) and all(_stands_for_moment(value, one) for one in parts)
    if isinstance(value, list | dict):
        held: Iterable[tuple[Any, Any]] = (
            value.items() if isinstance(value, dict) else enumerate(value)
        )
        return any(
            _stands_for_moment(one, {"anyOf": parts})
            for place, one in held
            if (parts := _parts(schema, place))
        )
    if isinstance(value, bool) or not (isinstance(value, int | float) or is_number(value)):
        return False
    return schema.get("format") in {"date", "date-time"}


def _texts(value: Any) -> defaultdict[tuple[str, ...], set[str]]:
    """The texts and keys in a value by the keys that lead to them: a set has no other order."""
    found: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    parts: list[tuple[tuple[str, ...], Any]] = [((), value)]
    while parts:
        place, part = parts.pop()
        if isinstance(part, str):
            found[place].add(part)
        elif isinstance(part, list):
            parts += [(place, one) for one in part]
        elif isinstance(part, dict):
            found[(*place, "")].update(part)
            parts += [((*place, key), one) for key, one in part.items()]
    return found
