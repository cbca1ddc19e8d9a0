"""Reply text to one JSON object: strict first, then found among prose, salvaged, repaired.

A reply is data of unknown quality; nothing here raises for bad text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

REPAIR_CAP = 64_000
"""Characters of a reply that are handed to json-repair; it needs seconds for a megabyte."""
SCAN_CAP = 1_000_000
"""Characters of a reply that are read at all."""

_THOUGHT = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_THOUGHT_END = re.compile(r"</think(?:ing)?>", re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """The object found in a reply.

    Attributes:
        values: Key to value, in the order of the reply; empty if no object was found.
        note: How it was found; None if the reply was the object as it should be.
        cut: Whether the reply ended before the object did.
        repeated: Keys that stood in it more than once with different values.
    """

    values: dict[str, Any]
    note: str | None = None
    cut: bool = False
    repeated: frozenset[str] = frozenset()


def read_object(text: str, keys: Collection[str], *, cut: bool = False) -> Reading:
    """The object that a reply holds for these keys.

    Args:
        text: The reply.
        keys: The keys that were asked for; of several objects the last that fits best is taken.
        cut: Whether the reply was cut off by its length.
    """
    text = text[:SCAN_CAP].strip()
    whole = _strict(text)
    if whole is not None and _fit(whole, keys):
        return Reading(whole, repeated=_repeated(text, keys))
    text = _THOUGHT_END.split(_THOUGHT.sub("", text))[-1]
    best: Reading | None = None
    unclosed = False
    for start, end in _objects(text):
        unclosed = unclosed or end is None
        found = _salvage(text[start:]) if end is None else _found(text[start:end], keys)
        found = _unwrapped(found, keys) if found else None
        if found and _fit(found.values, keys) >= max(1, _fit(best.values, keys) if best else 0):
            best = found
    if best and (_fit(best.values, keys) == len(keys) or best.cut):
        return best
    repaired = _repaired(text, keys, cut=cut)
    if repaired and _fit(repaired.values, keys) > (_fit(best.values, keys) if best else 0):
        return repaired
    return best or Reading({}, cut=cut or unclosed)


def _found(text: str, keys: Collection[str]) -> Reading | None:
    values = _strict(text)
    if values is None:
        return None
    return Reading(values, "found among other text", repeated=_repeated(text, keys))


def _fit(values: dict[str, Any], keys: Collection[str]) -> int:
    return sum(key in values for key in keys)


def _strict(text: str) -> dict[str, Any] | None:
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _objects(text: str) -> Iterator[tuple[int, int | None]]:
    """Start and end of every outermost `{...}`; the end is None for one that never closes.

    A brace in prose may open an object that swallows the rest; then its inner ones are tried too.
    """
    start = text.find("{")
    tries = 0
    while start >= 0 and tries < 50:
        tries += 1
        end = _closing(text, start)
        yield start, end
        # an unclosed brace may be prose: look behind it for objects that do close
        start = text.find("{", start + 1 if end is None else end)


def _closing(text: str, start: int) -> int | None:
    depth, place = 0, start
    for found in _MARKS.finditer(text, start):
        if found.start() < place:
            continue
        mark = found.group()
        if mark == '"':
            string = _STRING.match(text, found.start())
            if string is None:
                return None
            place = string.end()
        elif mark in "{[":
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                return found.end()
    return None


_MARKS = re.compile(r'["{}\[\]]')
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_CLOSED_LITERAL = re.compile(r"(?:true|false|null)\s*$")


def _salvage(text: str) -> Reading | None:
    """What had closed of an object that was cut off."""
    body = text.rstrip()
    if body.endswith(('"', "]", "}")) or _CLOSED_LITERAL.search(body):
        whole = _strict(body + "}")
        if whole is not None:
            return Reading(whole, "salvaged from a reply that was cut off", cut=True)
    comma = _last_comma(text)
    closed = _strict(text[:comma] + "}") if comma else {}
    if closed is None:
        return None
    return Reading(closed, "salvaged from a reply that was cut off", cut=True)


def _last_comma(text: str) -> int | None:
    """The place of the last comma between two members of the outermost object."""
    depth, place, last = 0, 0, None
    for found in _MARKS_AND_COMMAS.finditer(text):
        if found.start() < place:
            continue
        mark = found.group()
        if mark == '"':
            string = _STRING.match(text, found.start())
            if string is None:
                break
            place = string.end()
        elif mark in "{[":
            depth += 1
        elif mark in "}]":
            depth -= 1
        elif depth == 1:
            last = found.start()
    return last


_MARKS_AND_COMMAS = re.compile(r'["{}\[\],]')


def _unwrapped(found: Reading, keys: Collection[str]) -> Reading:
    """The object inside an outer key such as `{"answer": {...}}`."""
    values = found.values
    while not _fit(values, keys) and len(values) == 1:
        [inner] = values.values()
        if not isinstance(inner, dict):
            break
        values = inner
    if values is found.values:
        return found
    return Reading(values, "found inside an outer key", found.cut, found.repeated)


def _repeated(text: str, keys: Collection[str]) -> frozenset[str]:
    """Keys that the outermost object holds twice with different values; the last would win."""
    if all(text.count(f'"{key}"') < 2 for key in keys):
        return frozenset()
    repeated: set[str] = set()

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        twice = set()
        for key, value in pairs:
            if key in values and values[key] != value:
                twice.add(key)
            values[key] = value
        repeated.clear()  # the outermost object is the last to close
        repeated.update(twice)
        return values

    try:
        json.loads(text, object_pairs_hook=note)
    except (ValueError, RecursionError):
        return frozenset()
    return frozenset(repeated & set(keys))


def _repaired(text: str, keys: Collection[str], *, cut: bool) -> Reading | None:
    import json_repair

    if len(text) > REPAIR_CAP or "{" not in text:
        return None
    try:
        # strict reading has failed already; without the stream the whole text is repaired
        value: Any = json_repair.loads(text, skip_json_loads=True)
    except (ValueError, RecursionError):
        return None
    several = value if isinstance(value, list) else [value]
    candidates: list[dict[str, Any]] = [one for one in several if _is_object(one)]
    if not candidates:
        return None
    best = max(candidates, key=lambda one: _fit(one, keys))
    if (cut or _opened(text)) and best:
        best = dict(list(best.items())[:-1])  # the last value may be half a value
        return Reading(best, "repaired from a reply that was cut off", cut=True)
    return _unwrapped(Reading(best, "repaired"), keys)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _opened(text: str) -> bool:
    """Whether the last brace of the text opens, so that its object never closes."""
    return text.rfind("{") > text.rfind("}")
