"""Reply text to one JSON object: strictly if it is one, else member by member.

Models write fences, prose, single quotes, Python literals, comments, half objects. The reader here
takes an object apart into its members first, each with the piece of text that is its value, so that
one unreadable value, or the end of a reply that was cut off, costs that member and no other, and
a nested field is never taken for one of the object. Nothing here raises for bad text, nothing is
guessed, and the time grows with the length of the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple

from mtiprompt.reading.objects import Loose, objects, take_apart
from mtiprompt.reading.values import encodable, strict, text_of, value_of

SCAN_CAP = 1_000_000
"""Characters that are read of a reply which is no JSON object."""


@dataclass(frozen=True)
class Reading:
    """The object found in a reply.

    Attributes:
        values: Key to value, in the order of the reply; empty if no object was found.
        note: How it was found; None if the reply was the object as it should be.
        cut: Whether the reply ended before the object did.
        repeated: Keys that stood in it more than once with different values.
        last: The key whose value ended where the reply did; more text could have changed it.
    """

    values: dict[str, Any]
    note: str | None = None
    cut: bool = False
    repeated: frozenset[str] = frozenset()
    last: str | None = None


@dataclass(frozen=True)
class Readings:
    """The objects found in a reply about several items.

    Attributes:
        items: Number to what was found for it; nothing where the reply leaves an item out.
        cut: Whether the reply ended before its object did.
        note: How it was found; None if the reply was the object as it should be.
        unasked: Numbers in it that were not asked for: its numbering is not that of the call.
    """

    items: dict[int, Reading]
    cut: bool = False
    note: str | None = None
    unasked: tuple[str, ...] = ()


class _Sought(NamedTuple):
    """What an object is known by.

    Attributes:
        keys: The keys that were asked for.
        others: Keys of other answers; what stands under one of them is a part of that answer.
    """

    keys: Collection[str]
    others: Collection[str]


def read_object(
    text: str, keys: Collection[str], *, others: Collection[str] = (), cut: bool = False
) -> Reading:
    """The object that a reply holds for these keys.

    Args:
        text: The reply.
        keys: The keys that were asked for; of several objects the last that fits best is taken.
        others: Keys of other answers; what stands under one of them is not the object.
        cut: Whether the reply was cut off by its length.
    """
    text = _readable(text)
    return _exact(text, keys) or _found(text, _Sought(keys, others), cut=cut)


def _readable(text: str) -> str:
    """What is read of a reply: all of a JSON object, of any other text the beginning."""
    text = encodable(text).lstrip("\ufeff")
    if len(text) <= SCAN_CAP or isinstance(strict(text.strip()), dict):
        return text
    return text[:SCAN_CAP]


def _exact(text: str, keys: Collection[str]) -> Reading | None:
    """The object that a text is; None if it is no JSON, or none for these keys."""
    whole = strict(text.strip())
    if not isinstance(whole, dict) or not _fit(whole, keys):
        return None
    # as many colons as keys: none of them stands there twice
    if text.count(":") == len(whole) or not _may_repeat(text, keys):
        return Reading(whole)
    found = take_apart(text, text.index("{"))
    return Reading(whole, repeated=_repeated(found.members) if found else frozenset())


def _found(text: str, sought: _Sought, *, cut: bool) -> Reading:
    """The object that is found in a text."""
    best, open_ended = _best(_spoken(text, sought), sought)
    if best is None:
        return Reading({}, cut=cut or open_ended)
    values = {key: value_of(part) for key, part in best.members}
    return Reading(values, _note(best), not best.closed, _repeated(best.members), best.last)


def read_items(
    text: str,
    numbers: Collection[int],
    keys: Collection[str],
    *,
    others: Collection[str] = (),
    cut: bool = False,
) -> Readings:
    """The objects that a reply holds for several items, found by their numbers alone.

    Args:
        text: The reply.
        numbers: The numbers of the items that were asked for.
        keys: The keys that were asked for of each.
        others: Keys of other answers; neither items nor the object of one stand under them.
        cut: Whether the reply was cut off by its length.
    """
    asked = {str(number): number for number in numbers}
    sought, numbered = _Sought(keys, others), _Sought(asked, others)
    spoken = _spoken(_readable(text), numbered)
    best, open_ended = _best(spoken, numbered)
    if best is None:
        return _unnumbered(text, asked, sought, cut=cut, open_ended=open_ended)
    items = _by_number(best, asked, sought)
    if best.opened and (number := asked.get(best.opened[0])) is not None and number not in items:
        items[number] = _of_object(best.text, best.opened[1], sought, cut=True)
    rows = _rows(spoken, numbered) if len(items) < len(asked) else []
    for row in reversed(rows):
        items = {**_by_number(row, asked, sought), **items}
    numbers_there = dict.fromkeys(key for one in (*rows, best) for key in _numbers(one))
    unasked = tuple(key for key in numbers_there if key not in asked)
    whole = strict(text.strip())
    is_whole = isinstance(whole, dict) and _fit(whole, asked) > 0
    return Readings(items, not best.closed, None if is_whole else _note(best), unasked)


def _unnumbered(
    text: str, asked: Mapping[str, int], sought: _Sought, *, cut: bool, open_ended: bool
) -> Readings:
    """What a reply without any number that was asked for says: something, if one item was."""
    numbered = next((found for found in objects(text) if _numbers(found)), None)
    if numbered is not None:
        return Readings({}, cut or open_ended, unasked=_numbers(numbered))
    alone = Reading({})
    if len(asked) == 1:
        alone = read_object(text, sought.keys, others=sought.others, cut=cut)
    cut = cut or open_ended or alone.cut
    if not alone.values:
        return Readings({}, cut)
    return Readings({next(iter(asked.values())): alone}, cut, "answered without its number")


def _numbers(found: Loose) -> tuple[str, ...]:
    return tuple(key for key, _ in found.members if key.isdecimal())


def _rows(text: str, numbered: _Sought) -> list[Loose]:
    """The objects of nothing but items: some models write one for each.

    What stands behind an object that breaks off may be a part of it, and is not among them.
    """
    whole = takewhile(lambda outer: outer.closed, objects(text))
    found = (_unwrapped(outer, numbered) for outer in whole)
    return [one for one in found if one.members and len(_numbers(one)) == len(one.members)]


def _by_number(found: Loose, asked: Mapping[str, int], sought: _Sought) -> dict[int, Reading]:
    """What an object says of the items that were asked for."""
    parts: dict[int, list[str]] = {}
    for key, part in found.members:
        if key in asked:
            parts.setdefault(asked[key], []).append(part)
    return {number: _of_parts(texts, sought) for number, texts in parts.items()}


def _of_parts(parts: list[str], sought: _Sought) -> Reading:
    """What was written for one item; where it was written more than once, what agrees."""
    readings = [_of_item(part, sought) for part in parts]
    first = readings[0]
    if all(part == parts[0] for part in parts):
        return first
    values: dict[str, Any] = {}
    repeated = {key for one in readings for key in one.repeated}
    for reading in readings:
        for key, value in reading.values.items():
            if json.dumps(values.setdefault(key, value)) != json.dumps(value):
                repeated.add(key)
    return Reading(values, "answered more than once", repeated=frozenset(repeated))


def _of_item(part: str, sought: _Sought) -> Reading:
    """What was written for one item: an object, or the bare value where one key was asked for."""
    if len(sought.keys) == 1 and not part.startswith("{"):
        return Reading({next(iter(sought.keys)): value_of(part)}, "answered without its key")
    if found := _exact(part, sought.keys):
        return found
    if part[:1] in ("[", '"', "'"):  # what has an end of its own holds nothing of another item
        return _found(part if part[0] == "[" else text_of(part), sought, cut=False)
    return _of_object(part, 0, sought)


def _of_object(text: str, begin: int, sought: _Sought, *, cut: bool = False) -> Reading:
    """What the object that begins here says; one that stands behind may be that of another item."""
    found = _object_at(text, begin)
    return _found(text[begin : found.end], sought, cut=cut) if found else Reading({}, cut=cut)


def _best(text: str, sought: _Sought) -> tuple[Loose | None, bool]:
    """The last of the objects of a text that fit the keys best, and whether one never closed."""
    best: Loose | None = None
    cut, most = False, 1
    for outer in objects(text):
        found = _unwrapped(outer, sought)
        # an answer that is not known to be whole is asked again, and not answered by a draft
        fit = _fit(found.keys, sought.keys) + _is_opened(found, sought.keys)
        # what the end of the text cuts off is the last word, whatever drafts stand before it
        is_last = not outer.closed and outer.end >= len(text)
        if fit >= most or (is_last and _says(found, sought.keys)):
            best, most = found, max(fit, 1)
        cut = cut or not found.closed
    return best, cut or (best is None and _THOUGHT.search(text) is not None)


def _says(found: Loose, keys: Collection[str]) -> bool:
    return _fit(found.keys, keys) > 0 or _is_opened(found, keys)


def _is_opened(found: Loose, keys: Collection[str]) -> bool:
    return found.opened is not None and found.opened[0] in keys


def _note(found: Loose) -> str:
    return "found among other text" if found.closed else "salvaged from a reply that was cut off"


def _fit(found: Collection[str], keys: Collection[str]) -> int:
    return sum(key in found for key in keys)


def _may_repeat(text: str, keys: Collection[str]) -> bool:
    return "\\u" in text or any(text.count(f'"{key}"') > 1 for key in keys)


_LEADS_ON = re.compile(r"[\s`\w]*\{")
_THOUGHT = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)


def _spoken(text: str, sought: _Sought) -> str:
    """The text without thoughts: what follows the last one, up to one that never ends."""
    marks = list(_THOUGHT.finditer(text))
    if not marks:
        return text
    answers = (one for one in objects(text) if _says(_unwrapped(one, sought), sought.keys))
    answer = next(answers, None)
    thoughts = []
    for mark in marks:
        while answer and answer.end <= mark.start():
            answer = next(answers, None)
        # a tag inside the answer is a part of it; behind a draft that never closes, one that leads
        # to another object is not
        is_part = (
            answer is not None
            and answer.start < mark.start()
            and (answer.closed or not _LEADS_ON.match(text, mark.end()))
        )
        if not is_part:
            thoughts.append(mark)
    start = max((one.end() for one in thoughts if one.group(1)), default=0)
    first = next((one for one in thoughts if not one.group(1) and one.start() >= start), None)
    # elsewhere the word may be one of the user's
    is_thought = first is not None and not text[start : first.start()].strip()
    return text[start : first.end()] if first and is_thought else text[start:]


def _unwrapped(found: Loose, sought: _Sought) -> Loose:
    """The object inside outer keys such as `{"answer": {...}}`."""
    for _ in range(5):
        inner: Loose | None = None
        if len(found.members) == 1 and not found.opened and _may_wrap(found.members[0][0], sought):
            inner = _object_at(found.members[0][1], 0)
        elif not found.members and found.opened and _may_wrap(found.opened[0], sought):
            inner = _object_at(found.text, found.opened[1])
        if inner is None:
            return found
        found = inner
    return found


def _may_wrap(key: str, sought: _Sought) -> bool:
    """Whether what stands under a key may be the object itself; a number is that of an item."""
    return not (key in sought.keys or key in sought.others or key.isdecimal())


def _object_at(text: str, begin: int) -> Loose | None:
    """The object that begins at a place; None if something else stands there."""
    return take_apart(text, begin) if text[begin : begin + 1] == "{" else None


def _repeated(members: list[tuple[str, str]]) -> frozenset[str]:
    """Keys that stand in an object more than once with different values."""
    first: dict[str, str] = {}
    repeated = set()
    for key, part in members:
        if first.setdefault(key, part) != part and _dumped(first[key]) != _dumped(part):
            repeated.add(key)
    return frozenset(repeated)


def _dumped(part: str) -> str:
    return json.dumps(value_of(part), sort_keys=True)
