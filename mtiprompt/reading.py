"""Reply text to one JSON object: strictly if it is one, else member by member.

Models write fences, prose, single quotes, Python literals, comments, half objects. The reader here
takes an object apart into its members first, each with the piece of text that is its value, so that
one unreadable value, or the end of a reply that was cut off, costs that member and no other, and
a nested field is never taken for one of the object. Nothing here raises for bad text, nothing is
guessed, and the time grows with the length of the text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

SCAN_CAP = 1_000_000
"""Characters of a reply that are read at all."""
REPAIR_CAP = 64_000
"""Characters of a list or an object that are handed to json-repair."""


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


@dataclass
class _Object:
    """An object as far as it could be taken apart.

    Attributes:
        start: Where its brace stands.
        members: Key and text of each value that had closed, in order.
        end: Where reading can go on behind it.
        closed: Whether it came to its own brace.
        opened: Key and start of the value that was open when the text ended, if one was.
        last: The key whose value ended where the text did.
    """

    start: int
    members: list[tuple[str, str]] = field(default_factory=list)
    end: int = 0
    closed: bool = False
    opened: tuple[str, int] | None = None
    last: str | None = None


def read_object(text: str, keys: Collection[str], *, cut: bool = False) -> Reading:
    """The object that a reply holds for these keys.

    Args:
        text: The reply.
        keys: The keys that were asked for; of several objects the last that fits best is taken.
        cut: Whether the reply was cut off by its length.
    """
    text = _encodable(text[:SCAN_CAP]).lstrip("\ufeff")
    whole = _strict(text.strip())
    if isinstance(whole, dict) and _fit(whole, keys):
        # as many colons as keys: none of them stands there twice
        if text.count(":") == len(whole) or not _may_repeat(text, keys):
            return Reading(whole)
        found = _take_apart(text, text.index("{"))
        return Reading(whole, repeated=_repeated(found.members) if found else frozenset())
    spoken = _spoken(text, keys)
    best, open_ended = _best(spoken, keys)
    if best is None:
        return Reading({}, cut=cut or open_ended)
    values = {key: _value(part) for key, part in best.members}
    return Reading(values, _note(best), not best.closed, _repeated(best.members), best.last)


def read_items(
    text: str, numbers: Collection[int], keys: Collection[str], *, cut: bool = False
) -> Readings:
    """The objects that a reply holds for several items, found by their numbers alone.

    Args:
        text: The reply.
        numbers: The numbers of the items that were asked for.
        keys: The keys that were asked for of each.
        cut: Whether the reply was cut off by its length.
    """
    asked = {str(number): number for number in numbers}
    spoken = _spoken(_encodable(text[:SCAN_CAP]).lstrip("\ufeff"), asked)
    best, open_ended = _best(spoken, asked, opened=True)
    if best is None:
        return _unnumbered(text, asked, keys, cut=cut, open_ended=open_ended)
    parts: dict[int, list[str]] = {}
    for key, part in best.members:
        if key in asked:
            parts.setdefault(asked[key], []).append(part)
    items = {number: _of_parts(found, keys) for number, found in parts.items()}
    if best.opened and (number := asked.get(best.opened[0])) is not None and number not in items:
        items[number] = _of_item(spoken[best.opened[1] :], keys, cut=True)
    unasked = tuple(key for key, _ in best.members if key.isdecimal() and key not in asked)
    whole = _strict(text.strip())
    is_whole = isinstance(whole, dict) and _fit(whole, asked) > 0
    return Readings(items, not best.closed, None if is_whole else _note(best), unasked)


def _unnumbered(
    text: str, asked: Mapping[str, int], keys: Collection[str], *, cut: bool, open_ended: bool
) -> Readings:
    """What a reply without any number that was asked for says: something, if one item was."""
    numbered = next((found for found in _objects(text) if _numbers(found)), None)
    if numbered is not None:
        return Readings({}, cut or open_ended, unasked=_numbers(numbered))
    alone = read_object(text, keys, cut=cut) if len(asked) == 1 else Reading({})
    cut = cut or open_ended or alone.cut
    if not alone.values:
        return Readings({}, cut)
    return Readings({next(iter(asked.values())): alone}, cut, "answered without its number")


def _numbers(found: _Object) -> tuple[str, ...]:
    return tuple(key for key in _keys(found) if key.isdecimal())


def _of_parts(parts: list[str], keys: Collection[str]) -> Reading:
    """What was written for one item; where it was written more than once, what agrees."""
    readings = [_of_item(part, keys) for part in parts]
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


def _of_item(part: str, keys: Collection[str], *, cut: bool = False) -> Reading:
    """What was written for one item: an object, or the bare value where one key was asked for."""
    if len(keys) == 1 and not part.startswith("{"):
        if cut:
            return Reading({}, cut=True)
        return Reading({next(iter(keys)): _value(part)}, "answered without its key")
    return read_object(part, keys, cut=cut)


def _best(text: str, keys: Collection[str], *, opened: bool = False) -> tuple[_Object | None, bool]:
    """The last of the objects of a text that fit the keys best, and whether one never closed.

    Args:
        text: The text.
        keys: The keys.
        opened: Whether a key counts whose value has not closed.
    """
    best: _Object | None = None
    cut, most = False, 1
    for outer in _objects(text):
        found = _unwrapped(text, outer, keys)
        fit = _fit(_keys(found), keys) + (opened and _is_opened(found, keys))
        # what the end of the text cuts off is the last word, whatever drafts stand before it
        is_last = not outer.closed and outer.end >= len(text)
        if fit >= most or (is_last and (fit or _is_opened(found, keys))):
            best, most = found, max(fit, 1)
        cut = cut or not found.closed
    return best, cut or (best is None and _THOUGHT.search(text) is not None)


def _is_opened(found: _Object, keys: Collection[str]) -> bool:
    return found.opened is not None and found.opened[0] in keys


def _note(found: _Object) -> str:
    return "found among other text" if found.closed else "salvaged from a reply that was cut off"


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _strict(text: str) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return None


def _fit(found: Collection[str], keys: Collection[str]) -> int:
    return sum(key in found for key in keys)


def _keys(found: _Object) -> set[str]:
    return {key for key, _ in found.members}


def _may_repeat(text: str, keys: Collection[str]) -> bool:
    return "\\u" in text or any(text.count(f'"{key}"') > 1 for key in keys)


_LEADS_ON = re.compile(r"[\s`\w]*\{")
_THOUGHT = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)


def _spoken(text: str, keys: Collection[str]) -> str:
    """The text without thoughts: what follows the last one, up to one that never ends."""
    marks = list(_THOUGHT.finditer(text))
    if not marks:
        return text
    for outer in _objects(text):
        found = _unwrapped(text, outer, keys)
        if _fit(_keys(found), keys) or (found.opened and found.opened[0] in keys):
            # a tag inside the answer is a part of it; behind a draft that never closes, one that
            # leads to another object is not
            marks = [
                one
                for one in marks
                if not outer.start < one.start() < outer.end
                or (not outer.closed and _LEADS_ON.match(text, one.end()))
            ]
    start = max((one.end() for one in marks if one.group(1)), default=0)
    first = next((one for one in marks if not one.group(1) and one.start() >= start), None)
    # elsewhere the word may be one of the user's
    is_thought = first is not None and not text[start : first.start()].strip()
    return text[start : first.end()] if first and is_thought else text[start:]


# --- objects and their members -----------------------------------------------------------------

_BLANK = re.compile(r"(?:\s++|//[^\n]*|/\*(?:[^*]|\*(?!/))*+(?:\*/|\Z)|#[^\n]*)*+")
_STRINGS = {
    '"': re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL),
    "'": re.compile(r"'(?:[^'\\]|\\.)*'", re.DOTALL),
}
_BARE_KEY = r"(?:[A-Za-z_$][\w$-]*|\d+)"
_KEY = re.compile(rf"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|{_BARE_KEY})\s*:""")
_LAST_WORD = re.compile(rf"{_BARE_KEY}\s*\Z")
_END = re.compile(r"\s*\Z")
_QUOTED_KEY = r"""(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')\s*:"""
_NEXT = (
    rf"\}}|\Z|,\s*+(?:\}}|\Z|//|/\*|\#|{_QUOTED_KEY}|{_BARE_KEY}\s*:"
    # a key that the end of the text cuts off
    rf"|[\"'][^\"'\n]{{0,100}}[\"']?\s*\Z|{_BARE_KEY}\Z)"
    rf"|//|/\*|\#|{_QUOTED_KEY}"
)
_AFTER_VALUE = re.compile(rf"[^\S\n]*+(?:{_NEXT}|\n\s*+(?:{_NEXT}|{_BARE_KEY}\s*:))")
_BRACKETS = re.compile(r"[\[\]{}\"']")
_BARE_END = re.compile(r"[,}\n{\[\]\"'#]|//|/\*|\Z")


def _objects(text: str) -> Iterator[_Object]:
    """Every outermost object of a text; braces that open no object are passed over."""
    start = text.find("{")
    while start >= 0:
        found = _take_apart(text, start)
        if found is None:
            start = text.find("{", start + 1)
            continue
        yield found
        start = text.find("{", found.end)


def _take_apart(text: str, start: int) -> _Object | None:
    """The members of the object that begins at a brace; None if it is no object."""
    found = _Object(start)
    place = _blank(text, start + 1)
    while place < len(text):
        if text[place] == "}":
            found.end, found.closed = place + 1, True
            return found
        key = _KEY.match(text, place)
        if key is None:
            if not found.members and not _is_opening(text, place):
                return None
            # what follows is no member: the object is broken off here
            found.end = max(place, start + 1)
            return found
        begin = _blank(text, key.end())
        name = _name(_text_of(key.group(1)))
        end = _value_end(text, begin)
        if end is None:
            found.opened, found.end = (name, begin), len(text)
            return found
        found.members.append((name, text[begin:end].rstrip()))
        place = _blank(text, end)
        found.last = name if place >= len(text) else None
        if place < len(text) and text[place] == ",":
            place = _blank(text, place + 1)
    found.end = len(text)
    return found


_ITEM = re.compile(r"(?:item\s+)?0*(\d+)\.?", re.IGNORECASE)


def _name(key: str) -> str:
    """A key, or the number that it spells: `01`, `1.` and `Item 1` are 1."""
    number = _ITEM.fullmatch(key.strip())
    return number[1] if number else key


def _is_opening(text: str, place: int) -> bool:
    """Whether the text ends inside what may be the first key of an object."""
    string = _STRINGS.get(text[place])
    if string is None:
        return _LAST_WORD.match(text, place) is not None
    match = string.match(text, place)
    return match is None or _END.match(text, match.end()) is not None


def _blank(text: str, place: int) -> int:
    found = _BLANK.match(text, place)
    return found.end() if found else place


def _value_end(text: str, begin: int) -> int | None:
    """Where the value that begins here ends; None if the text ends before."""
    if begin >= len(text):
        return None
    sign = text[begin]
    if sign in _STRINGS:
        return _string_end(text, begin, _STRINGS[sign])
    if sign in "{[":
        return _nested_end(text, begin)
    return _bare_end(text, begin)


def _string_end(text: str, begin: int, string: re.Pattern[str]) -> int | None:
    """The end of a string; a quote with neither the next member nor the end behind it is text."""
    place = begin
    while match := string.match(text, place):
        if _AFTER_VALUE.match(text, match.end()):
            return match.end()
        place = match.end() - 1
    return None


def _nested_end(text: str, begin: int) -> int | None:
    depth, place = 0, begin
    while mark := _BRACKETS.search(text, place):
        sign, place = mark.group(), mark.end()
        if sign in _STRINGS:
            string = _STRINGS[sign].match(text, mark.start())
            if string is None:
                return None
            place = string.end()
        elif sign in "{[":
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                return place
    return None


def _bare_end(text: str, begin: int) -> int | None:
    """The end of a number, a literal or an unquoted text."""
    place = begin
    while mark := _BARE_END.search(text, place):
        end, sign = mark.start(), mark.group()
        if not sign:
            token = text[begin:end]
            return end if token != token.rstrip() or token in _LITERALS else None
        if sign != "," or _AFTER_VALUE.match(text, end):
            return end
        place = mark.end()
    return None


def _unwrapped(text: str, found: _Object, keys: Collection[str]) -> _Object:
    """The object inside outer keys such as `{"answer": {...}}`."""
    for _ in range(5):
        if _fit(_keys(found), keys) or _numbers(found):
            return found
        inner: _Object | None = None
        if len(found.members) == 1 and not found.opened and found.members[0][1].startswith("{"):
            inner = _take_apart(found.members[0][1], 0)
        elif not found.members and found.opened and _may_wrap(found.opened[0], keys):
            begin = found.opened[1]
            inner = _take_apart(text, begin) if text[begin : begin + 1] == "{" else None
        if inner is None:
            return found
        found = inner
    return found


def _may_wrap(key: str, keys: Collection[str]) -> bool:
    """Whether what stands under a key may be the object itself; a number is that of an item."""
    return key not in keys and not key.isdecimal()


def _repeated(members: list[tuple[str, str]]) -> frozenset[str]:
    """Keys that stand in an object more than once with different values."""
    first: dict[str, str] = {}
    repeated = set()
    for key, part in members:
        if first.setdefault(key, part) != part and _dumped(first[key]) != _dumped(part):
            repeated.add(key)
    return frozenset(repeated)


def _dumped(part: str) -> str:
    return json.dumps(_value(part), sort_keys=True)


# --- values ------------------------------------------------------------------------------------

_LITERALS = {
    "true": True, "false": False, "null": None, "True": True, "False": False, "None": None,
}  # fmt: skip
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_WORDS = re.compile(r"\w+")


def _value(part: str) -> Any:
    """The value that a piece of text spells; text that spells none is itself the value."""
    if part in _LITERALS:
        return _LITERALS[part]
    if _NUMBER.fullmatch(part) and len(part) < 400:
        number = json.loads(part)
        return number if math.isfinite(number) else part
    if part[:1] in _STRINGS:
        return _text_of(part)
    strict = _strict(part)
    if strict is not None:
        return strict
    return _mended(part) if part[:1] in {"{", "["} else part


def _text_of(part: str) -> str:
    """The text of a string in either kind of quotes, or of a bare key."""
    if part[:1] not in _STRINGS:
        return part
    inner = _ESCAPE.sub(_json_escape, part[1:-1])
    quoted = re.sub(r'(?<!\\)((?:\\\\)*)"', r"\1\\" + '"', inner)
    try:
        text: str = json.loads(f'"{quoted}"', strict=False)
    except ValueError:
        return part[1:-1]
    return _encodable(text)


def _json_escape(escape: re.Match[str]) -> str:
    code, sign = escape.groups()
    if code:
        return f"\\u00{code}"
    return "'" if sign == "'" else f"\\{sign}" if sign in '"\\/bfnrtu' else sign


def _mended(part: str) -> Any:
    """A list or object that is nearly JSON; the text itself where mending would lose a word."""
    import json_repair

    if len(part) > REPAIR_CAP or part.count("[") + part.count("{") > 500:
        return part
    try:
        value: Any = json_repair.loads(part, skip_json_loads=True)
    except (ValueError, RecursionError):
        return part
    bare = part if "\\" in part else _BLANK_INSIDE.sub(" ", part)
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return part
    if "\\" not in part and _WORDS.findall(bare.casefold()) != _WORDS.findall(_said(value)):
        return part
    return value


_BLANK_INSIDE = re.compile(r"//[^\n]*|/\*(?:[^*]|\*(?!/))*\*/")


def _said(value: Any) -> str:
    """All words of a value, in order, as a Python or JSON writer would have put them."""
    if isinstance(value, dict):
        return " ".join(f"{_said(key)} {_said(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(_said(item) for item in value)
    return "none" if value is None else str(value).casefold()
