"""Lossless readings of what a strict validator refuses: `"3"` as 3, `" Positive."` as `positive`.

Nothing is guessed: a value that could be two labels, or would lose digits, stays as it is.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from typing import Any

_WORDS_FOR_BOOL = {"true": True, "yes": True, "false": False, "no": False}
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d")


def coerce(value: Any, schema: dict[str, Any]) -> Any:
    """The one value that a schema allows and that says the same, or the value unchanged.

    Args:
        value: Plain JSON data.
        schema: A plain JSON schema, references inlined.
    """
    if "enum" in schema or "const" in schema:
        return _label(value, schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return _branch(value, schema["anyOf"])
    kind = schema.get("type")
    if isinstance(kind, list):
        return _branch(value, [{**schema, "type": one} for one in kind])
    match kind, value:
        case "array", list():
            return [coerce(item, schema.get("items", {})) for item in value]
        case "object", dict():
            parts = schema.get("properties", {})
            extra = schema.get("additionalProperties")
            rest = extra if isinstance(extra, dict) else {}
            return {key: coerce(item, parts.get(key, rest)) for key, item in value.items()}
    return _scalar(value, kind, is_date=schema.get("format") in {"date", "date-time"})


def _scalar(value: Any, kind: Any, *, is_date: bool) -> Any:
    match kind, value:
        case "integer", str() | float():
            return _integer(value)
        case "number", str():
            return _number(value)
        case "boolean", str():
            return _WORDS_FOR_BOOL.get(_folded(value), value)
        case "string", int() if not isinstance(value, bool) and not is_date:
            return str(value)  # a float is not: its text is lost, 3.10 is 3.1 by now
        case "string", str() if is_date:
            return value.strip().rstrip(".")
        case "null", str() if _folded(value) in {"null", "none"}:
            return None
    return value


def _folded(text: str) -> str:
    return text.strip().strip("\"'`").rstrip(".,;:!").strip().casefold()


def _joined(text: str) -> str:
    """Words with one blank between them, whatever joined them."""
    return re.sub(r"(?<=[^\W_])[\s_-]+(?=[^\W_])", " ", text)


def _label(value: Any, labels: list[Any]) -> Any:
    if any(value == label and type(value) is type(label) for label in labels):
        return value
    if isinstance(value, bool | int | str):
        text = _folded(str(value))
        if not any(sign.isalnum() for sign in text):
            return value
        folded = [(label, _folded(str(label))) for label in labels]
        fitting = [label for label, one in folded if one == text]
        fitting = fitting or [label for label, one in folded if _joined(one) == _joined(text)]
        if len(fitting) == 1:
            return fitting[0]
    return value


def _branch(value: Any, branches: list[dict[str, Any]]) -> Any:
    readings: dict[str, Any] = {}
    for branch in branches:
        read = coerce(value, branch)
        readings.setdefault(json.dumps(read), read)
    readings.pop(json.dumps(value), None)
    return next(iter(readings.values())) if len(readings) == 1 else value


def is_number(text: Any) -> bool:
    """Whether a value is a text with a number in it and nothing else."""
    return isinstance(text, str) and _NUMBER.fullmatch(text.strip()) is not None


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
    return schema.get("format") in {"date", "date-time"} and is_number(value)


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


def _integer(value: str | float) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    text = value.strip().rstrip(".")
    return int(text) if re.fullmatch(r"[+-]?\d{1,300}", text) else value


def _number(value: str) -> Any:
    if not is_number(value):
        return value
    text = value.strip()
    whole = _integer(text)
    if isinstance(whole, int):
        return whole
    number = float(text)
    return number if math.isfinite(number) else value
