"""Caps: how long a text or a list may get on the wire where its task bounds neither.

A model that repeats itself would otherwise write until its last token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

STRING_CAP = 400
"""Characters that an unbounded string may have on the wire."""
ARRAY_CAP = 20
"""Items that an unbounded array may have on the wire."""
ROOM = 2
"""By what the longest that demonstrations show is multiplied, where a usual cap would not do."""


class Cap(int):
    """A bound in a schema that no one declared; in JSON it is a number like any other."""


class Caps(NamedTuple):
    """The caps on one output, at any depth.

    Attributes:
        string: Characters of a text.
        array: Items of a list.
    """

    string: int = STRING_CAP
    array: int = ARRAY_CAP


USUAL = Caps()


def caps_of(shown: Iterable[Any]) -> Caps:
    """The caps on an output: the usual ones, or room for what is shown where it would fill them.

    Args:
        shown: Values of the output in demonstrations, plain JSON data.
    """
    string = array = 0
    for part in _parts(list(shown)):
        if isinstance(part, str):
            string = max(string, len(part))
        elif isinstance(part, list):
            array = max(array, len(part))
    return Caps(_room(string, STRING_CAP), _room(array, ARRAY_CAP))


def has_any(schema: object, caps: Caps) -> bool:
    """Whether a schema for the wire has one of these caps."""
    return any(isinstance(part, Cap) and part in caps for part in _parts([schema]))


def _room(longest: int, cap: int) -> int:
    return cap if longest < cap else ROOM * longest


def _parts(values: Iterable[Any]) -> Iterator[Any]:
    """All values in some values, themselves included."""
    for value in values:
        yield value
        if isinstance(value, list):
            yield from _parts(value)
        elif isinstance(value, dict):
            yield from _parts(value.values())


def cut_notes(name: str, value: Any, schema: Mapping[str, Any]) -> list[str]:
    """A note for each cap that an answer fills, as it may have been cut.

    Args:
        name: The output.
        value: Its answer, plain JSON data.
        schema: What held it, its caps as `Cap`.
    """
    return [
        f"{name!r} may be cut: it fills the cap of {cap} without a bound (declare a max_length)"
        for cap in dict.fromkeys(_filled(value, schema))
    ]


def _filled(value: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """The caps that a value fills, in words; one that several of its parts fill comes for each."""
    for part in schema.get("anyOf", ()):
        yield from _filled(value, part)
    if isinstance(value, str) and _is_full(value, schema.get("maxLength")):
        yield f"{len(value)} characters for a text"
    elif isinstance(value, list):
        if _is_full(value, schema.get("maxItems")):
            yield f"{len(value)} items for a list"
        places = schema.get("prefixItems", ())
        for number, one in enumerate(value):
            part = places[number] if number < len(places) else schema.get("items")
            yield from _filled(one, part if isinstance(part, dict) else {})
    elif isinstance(value, dict):
        named, rest = schema.get("properties", {}), schema.get("additionalProperties")
        for key, one in value.items():
            part = named.get(key, rest)
            yield from _filled(one, part if isinstance(part, dict) else {})


def _is_full(value: str | list[Any], bound: Any) -> bool:
    return isinstance(bound, Cap) and len(value) == bound
