"""Lossless readings of what a strict validator refuses: `"3"` as 3, `" Positive."` as `positive`.

Nothing is guessed: a value that could be two labels, or would lose digits, stays as it is.
"""

from __future__ import annotations

import json
import math
import re
from itertools import chain, repeat
from typing import Any

from mtiprompt.metrics import caseless
from mtiprompt.moments import is_number
from mtiprompt.tasks.mappings import mapped

_WORDS_FOR_BOOL = {"true": True, "yes": True, "false": False, "no": False}


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
            behind = schema.get("items")
            rest = behind if isinstance(behind, dict) else {}
            places = chain(schema.get("prefixItems", ()), repeat(rest))
            return [coerce(item, place) for item, place in zip(value, places, strict=False)]
        case "object", dict():
            schema = mapped(schema)
            parts = schema.get("properties", {})
            extra = schema.get("additionalProperties")
            rest = extra if isinstance(extra, dict) else {}
            read = {key: coerce(item, parts.get(key, rest)) for key, item in value.items()}
            return _named(read, schema.get("propertyNames", {}))
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
    return caseless(text).strip().strip("\"'`").rstrip(".,;:!").strip()


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


def _named(value: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    """An object with the labels for keys that its keys say, unless two of them say the same."""
    labels = names.get("enum", [names["const"]] if "const" in names else [])
    named = {_label(key, labels): one for key, one in value.items()}
    return named if len(named) == len(value) else value


def _branch(value: Any, branches: list[dict[str, Any]]) -> Any:
    readings: dict[str, Any] = {}
    for branch in branches:
        read = coerce(value, branch)
        readings.setdefault(json.dumps(read), read)
    readings.pop(json.dumps(value), None)
    return next(iter(readings.values())) if len(readings) == 1 else value


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
