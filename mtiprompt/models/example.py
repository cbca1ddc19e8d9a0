"""The smallest value that satisfies a JSON schema: what the fakes answer."""

from __future__ import annotations

import json
import math
import re._constants as kinds  # type: ignore[import-not-found]
import re._parser as patterns  # type: ignore[import-not-found]
from collections.abc import Iterable
from typing import Any

from mtiprompt.wire import Notation

_FORMATS = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "a@example.com",
    "hostname": "example.com",
    "uri": "http://example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example_of(schema: dict[str, Any] | bool) -> Any:
    """A small value that satisfies a schema, the same every time.

    The first label, 0, false, `"..."`, 2000-01-01; only what is required, as few items as allowed,
    within the bounds. A schema that needs more than one look (`not`, `if`) is not solved.

    Args:
        schema: A JSON schema; references point into it.
    """
    return _value(schema, schema)


def written(value: Any, notation: Notation) -> str:
    """A value as JSON text in a notation."""
    if notation == "compact":
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if notation == "lines" and isinstance(value, dict):
        lines = (
            f"{json.dumps(key, ensure_ascii=False)}: {json.dumps(part, ensure_ascii=False)}"
            for key, part in value.items()
        )
        return "{\n" + ",\n".join(lines) + "\n}"
    return json.dumps(value, ensure_ascii=False)


def _value(schema: Any, root: Any) -> Any:
    if not isinstance(schema, dict):
        return None  # `true`: any value will do
    schema = _resolved(schema, root)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            beside = {name: part for name, part in schema.items() if name != key}
            return _value({**beside, **_resolved(schema[key][0], root)}, root)
    kind = schema.get("type", "object" if "properties" in schema else None)
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        return _object(schema, root)
    if kind == "array":
        return _array(schema, root)
    if kind in {"integer", "number"}:
        return _number(schema, whole=kind == "integer")
    if kind == "string":
        return _string(schema)
    return False if kind == "boolean" else None


def _object(schema: dict[str, Any], root: Any) -> dict[str, Any]:
    wanted = schema.get("required", ())
    known = schema.get("properties", {})
    # in the order of the properties, which is the order of answering
    names = [name for name in known if name in wanted]
    names += [name for name in wanted if name not in known]
    return {name: _value(known.get(name, {}), root) for name in names}


def _resolved(schema: dict[str, Any], root: Any) -> dict[str, Any]:
    """The schema with its reference followed and its `allOf` merged, one level deep."""
    while reference := schema.get("$ref"):
        target = root
        for step in reference.removeprefix("#").split("/")[1:]:
            target = target[step.replace("~1", "/").replace("~0", "~")]
        schema = {**target, **{key: part for key, part in schema.items() if key != "$ref"}}
    if parts := schema.get("allOf"):
        merged = {key: part for key, part in schema.items() if key != "allOf"}
        for part in (_resolved(one, root) for one in parts):
            properties = {**merged.get("properties", {}), **part.get("properties", {})}
            required = [*merged.get("required", ()), *part.get("required", ())]
            merged |= part
            if properties:
                merged |= {"properties": properties, "required": required}
        return merged
    return schema


def _array(schema: dict[str, Any], root: Any) -> list[Any]:
    first = schema.get("prefixItems", [])
    number = max(schema.get("minItems", 0), len(first) if schema.get("items") is False else 0)
    items = _resolved(schema.get("items") or {}, root)
    values = [_value(part, root) for part in first[:number]]
    rest = number - len(values)
    if schema.get("uniqueItems") and rest > 1:
        return values + _different(items, rest, root)
    return values + [_value(items, root) for _ in range(rest)]


def _different(items: dict[str, Any], number: int, root: Any) -> list[Any]:
    """So many values that differ."""
    if "enum" in items:
        return list(items["enum"][:number])
    first = _value(items, root)
    if isinstance(first, bool):
        return [False, True][:number]
    if isinstance(first, int | float):
        step = items.get("multipleOf", 1)
        return [first + step * place for place in range(number)]
    if isinstance(first, str):
        return [first, *(f"{first[: len(first) - 1]}{place}" for place in range(1, number))]
    return [first] * number


def _number(schema: dict[str, Any], *, whole: bool) -> int | float:
    step = schema.get("multipleOf", 1 if whole else None)
    tiny = step or 0.001
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    if "exclusiveMinimum" in schema:
        low = max(low, schema["exclusiveMinimum"] + tiny)
    if "exclusiveMaximum" in schema:
        high = min(high, schema["exclusiveMaximum"] - tiny)
    value = min(max(0, low), high)
    if step:  # upwards to the next multiple, or downwards where that is too much
        value = math.ceil(value / step) * step
        value = value if value <= high else math.floor(high / step) * step
    return int(value) if whole or value == int(value) else value


def _string(schema: dict[str, Any]) -> str:
    if found := _FORMATS.get(schema.get("format", "")):
        return found
    if "pattern" in schema:
        return _matching(patterns.parse(schema["pattern"]))
    text = "..."[: schema.get("maxLength", 3)]
    return text.ljust(schema.get("minLength", 0), ".")


def _matching(parts: Iterable[tuple[Any, Any]]) -> str:
    """A short text that a parsed regular expression matches; look-around is not solved."""
    return "".join(_match(kind, value) for kind, value in parts)


def _match(kind: Any, value: Any) -> str:
    if kind == kinds.LITERAL:
        return chr(value)
    if kind == kinds.ANY:
        return "."
    if kind == kinds.NOT_LITERAL:
        return "-" if value == ord(".") else "."
    if kind == kinds.IN:
        return _member(value)
    if kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT, kinds.POSSESSIVE_REPEAT):
        least: int = value[0]
        return _matching(value[2]) * least
    if kind in (kinds.SUBPATTERN, kinds.BRANCH):
        return _matching(value[-1] if kind == kinds.SUBPATTERN else value[1][0])
    return ""  # anchors


_CLASSES = {kinds.CATEGORY_DIGIT: "0", kinds.CATEGORY_WORD: "a", kinds.CATEGORY_SPACE: " "}
_SIGNS = ".a0-_ A#"


def _member(members: list[tuple[Any, Any]]) -> str:
    """A sign of a character class."""
    kind, value = members[0]
    if kind == kinds.NEGATE:
        return next(s for s in _SIGNS if not any(_covers(one, s) for one in members[1:]))
    if kind == kinds.LITERAL:
        return chr(value)
    if kind == kinds.RANGE:
        return chr(value[0])
    return _CLASSES.get(value, ".")


def _covers(member: tuple[Any, Any], sign: str) -> bool:
    kind, value = member
    if kind == kinds.LITERAL:
        return bool(ord(sign) == value)
    if kind == kinds.RANGE:
        return bool(value[0] <= ord(sign) <= value[1])
    return {
        kinds.CATEGORY_DIGIT: sign.isdigit(),
        kinds.CATEGORY_WORD: sign.isalnum() or sign == "_",
        kinds.CATEGORY_SPACE: sign.isspace(),
    }.get(value, True)
