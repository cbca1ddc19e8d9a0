"""Numbers where a date should stand: validators take them for seconds since 1970."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from decimal import Decimal
from functools import partial
from numbers import Real
from typing import Any

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


def as_given(value: Any, within: tuple[int, ...] = ()) -> Any:
    """What was given, as plain JSON data; of an object what it holds, whatever it is written as.

    Args:
        value: What was given.
        within: The identities of what it is a part of, so that what holds itself has an end.
    """
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, bytes | bytearray):
        return value.decode(errors="replace")
    if isinstance(value, Real | Decimal):
        return float(value)
    if id(value) in within:
        return None
    part = partial(as_given, within=(*within, id(value)))
    if isinstance(value, Collection) and not isinstance(value, Mapping):
        return [part(one) for one in value]
    held = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
    return {str(part(key) or key): part(one) for key, one in held.items()} or None


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
        return all(_stands_for_moment(value, one) for one in parts)
    if isinstance(value, list):
        return any(_stands_for_moment(one, schema.get("items", {})) for one in value)
    if isinstance(value, dict):
        parts = schema.get("properties", {})
        extra = schema.get("additionalProperties")
        rest = extra if isinstance(extra, dict) else {}
        return any(_stands_for_moment(one, parts.get(key, rest)) for key, one in value.items())
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
