"""The smallest value that satisfies a JSON schema: what the fakes answer."""

from __future__ import annotations

import json
import math
import re._constants as kinds  # type: ignore[import-not-found]
import re._parser as patterns  # type: ignore[import-not-found]
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import count, islice
from string import ascii_lowercase, digits
from typing import Any

from mtiprompt.wire import Notation

_SUFFIXES = ("", *range(1, 1000))
_FORMATS: dict[str, tuple[str, Sequence[Any]]] = {
    "date": ("{}-01-01", range(2000, 10_000)),
    "date-time": ("{}-01-01T00:00:00Z", range(2000, 10_000)),
    "time": ("00:00:{:02}Z", range(60)),
    "duration": ("PT{}S", range(3600)),
    "email": ("a{}@example.com", _SUFFIXES),
    "hostname": ("example{}.com", _SUFFIXES),
    "uri": ("http://example{}.com", _SUFFIXES),
    "ipv4": ("127.0.0.{}", range(1, 255)),
    "ipv6": ("::{:x}", range(1, 16**4)),
    "uuid": ("00000000-0000-4000-8000-{:012x}", range(16**12)),
}
LOOKS = 100
"""Values that are looked at for one that is not there yet."""


def example_of(schema: dict[str, Any] | bool) -> Any:
    """A small value that satisfies a schema, the same every time.

    The first label, 0, false, `"..."`, 2000-01-01; only what is required, as few items as allowed,
    within the bounds, and the next small values where items must differ. A schema that needs more
    than one look (`not`, `if`) is not solved.

    Args:
        schema: A JSON schema; references point into it.
    """
    return next(_values(schema, schema))


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


def _values(schema: Any, root: Any) -> Iterator[Any]:
    """Values that satisfy a schema, one at least, the smallest first."""
    if not isinstance(schema, dict):
        yield None  # `true`: any value will do
        return
    schema = _resolved(schema, root)
    if "const" in schema or "enum" in schema:
        yield from [schema["const"]] if "const" in schema else schema["enum"]
        return
    for key in ("anyOf", "oneOf"):
        if key in schema:
            beside = {name: part for name, part in schema.items() if name != key}
            for part in schema[key]:
                yield from _values({**beside, **_resolved(part, root)}, root)
            return
    kinds = schema.get("type", "object" if "properties" in schema else None)
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        yield from _of_type(kind, schema, root)


def _of_type(kind: str | None, schema: dict[str, Any], root: Any) -> Iterable[Any]:
    match kind:
        case "object":
            return _objects(schema, root)
        case "array":
            return _arrays(schema, root)
        case "integer" | "number":
            return _numbers(schema, whole=kind == "integer")
        case "string":
            return _strings(schema)
        case "boolean":
            return (False, True)
    return (None,)


def _rows(sources: Sequence[Callable[[], Iterator[Any]]]) -> Iterator[list[Any]]:
    """A value of each source, in every combination; the last changes first."""
    running = [source() for source in sources]
    row = [next(one) for one in running]
    while True:
        yield [*row]
        for place in reversed(range(len(row))):
            if following := [*islice(running[place], 1)]:
                [row[place]] = following
                break
            running[place] = sources[place]()
            row[place] = next(running[place])
        else:
            return


def _different(sources: Iterable[Iterator[Any]]) -> list[Any]:
    """A value of each source that none before has given; fewer where one has no other."""
    found: list[Any] = []
    for source in sources:
        found += islice((one for one in islice(source, LOOKS) if one not in found), 1)
    return found


def _objects(schema: dict[str, Any], root: Any) -> Iterator[dict[str, Any]]:
    wanted = schema.get("required", ())
    known = schema.get("properties", {})
    # in the order of the properties, which is the order of answering
    names = [name for name in known if name in wanted]
    names += [name for name in wanted if name not in known]
    parts = {name: known.get(name, {}) for name in names}
    lacking = max(0, schema.get("minProperties", 0) - len(parts))
    parts |= dict(islice(_further(schema, root, parts), lacking))
    for row in _rows([partial(_values, part, root) for part in parts.values()]):
        yield dict(zip(parts, row, strict=True))


def _further(
    schema: dict[str, Any], root: Any, names: Collection[str]
) -> Iterator[tuple[str, Any]]:
    """Properties that may stand beside these, with their schemas."""
    yield from (one for one in schema.get("properties", {}).items() if one[0] not in names)
    named, part = schema.get("propertyNames", {}), schema.get("additionalProperties", {})
    if patterns := schema.get("patternProperties"):
        pattern, part = next(iter(patterns.items()))
        named = {"pattern": pattern}
    if part is not False:
        number = schema.get("minProperties", 0)
        invented = _different([_values({"type": "string", **named}, root)] * number)
        yield from ((name, part) for name in invented if name not in names)


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


def _arrays(schema: dict[str, Any], root: Any) -> Iterator[list[Any]]:
    first, items = schema.get("prefixItems", []), schema.get("items", {})
    is_closed = items is False
    least = max(schema.get("minItems", 0), len(first) if is_closed else 0)
    most = min(schema.get("maxItems", math.inf), len(first) if is_closed else math.inf)
    for number in count(least):
        parts = [*first, *[items] * (number - len(first))][:number]
        if schema.get("uniqueItems"):
            rest = _values(items, root)
            found = _different(rest if part is items else _values(part, root) for part in parts)
            yield found
            if len(found) < number:
                return
        else:
            yield from _rows([partial(_values, part, root) for part in parts])
        if number >= most:
            return


def _numbers(schema: dict[str, Any], *, whole: bool) -> Iterator[int | float]:
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
    first = int(value) if whole or value == int(value) else value
    yield first
    for stride in (step, -step) if step else (1, -1, tiny, -tiny):
        for times in count(1):
            value = round(first + stride * times, 9)
            if not low <= value <= high:
                break
            yield int(value) if whole else value


def _strings(schema: dict[str, Any]) -> Iterator[str]:
    if found := _FORMATS.get(schema.get("format", "")):
        template, numbers = found
        return (template.format(number) for number in numbers)
    if "pattern" in schema:
        return _texts(patterns.parse(schema["pattern"]))
    return _numbered(schema.get("minLength", 0), schema.get("maxLength", math.inf))


def _numbered(least: int, most: float) -> Iterator[str]:
    """`...`, `..1`, `..2`, within the bounds of the length."""
    text = "..."[: int(min(most, 3))].ljust(least, ".")
    yield text
    for number in map(str, count(1)):
        if len(number) > most:
            return
        yield f"{text[: max(0, len(text) - len(number))]}{number}"


def _texts(parts: Iterable[tuple[Any, Any]]) -> Iterator[str]:
    """Short texts that a parsed regular expression matches; look-around is not solved."""
    return map("".join, _rows([partial(_matches, kind, value) for kind, value in parts]))


def _matches(kind: Any, value: Any) -> Iterator[str]:
    if kind == kinds.LITERAL:
        yield chr(value)
    elif kind in (kinds.ANY, kinds.NOT_LITERAL):
        yield from (sign for sign in _SIGNS if kind == kinds.ANY or ord(sign) != value)
    elif kind == kinds.IN:
        yield from _members(value)
    elif kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT, kinds.POSSESSIVE_REPEAT):
        least, most, parts = value
        for number in range(least, most + 1):
            yield from _texts([*parts] * number)
    elif kind in (kinds.SUBPATTERN, kinds.BRANCH):
        for parts in [value[-1]] if kind == kinds.SUBPATTERN else value[1]:
            yield from _texts(parts)
    else:
        yield ""  # anchors


_CLASSES = {
    kinds.CATEGORY_DIGIT: digits,
    kinds.CATEGORY_WORD: ascii_lowercase,
    kinds.CATEGORY_SPACE: " ",
}
_SIGNS = ".a0-_ A#bz!é中"


def _members(members: list[tuple[Any, Any]]) -> Iterator[str]:
    """Signs of a character class."""
    if members[0][0] == kinds.NEGATE:
        free = [s for s in _SIGNS if not any(_covers(one, s) for one in members[1:])]
        yield from free or _SIGNS
        return
    for kind, value in members:
        if kind == kinds.LITERAL:
            yield chr(value)
        elif kind == kinds.RANGE:
            yield from map(chr, range(value[0], value[1] + 1))
        else:
            yield from _CLASSES.get(value, ".")


def _covers(member: tuple[Any, Any], sign: str) -> bool:
    kind, value = member
    if kind == kinds.LITERAL:
        return bool(ord(sign) == value)
    if kind == kinds.RANGE:
        return bool(value[0] <= ord(sign) <= value[1])
    is_word = sign.isalnum() or sign == "_"
    return {
        kinds.CATEGORY_DIGIT: sign.isdigit(),
        kinds.CATEGORY_NOT_DIGIT: not sign.isdigit(),
        kinds.CATEGORY_WORD: is_word,
        kinds.CATEGORY_NOT_WORD: not is_word,
        kinds.CATEGORY_SPACE: sign.isspace(),
        kinds.CATEGORY_NOT_SPACE: not sign.isspace(),
    }.get(value, True)
