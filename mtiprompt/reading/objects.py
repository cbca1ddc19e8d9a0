"""An object as far as a text has it: its members, each with the piece of text that is its value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mtiprompt.reading.values import LITERALS, text_of, value_of

# no possessive group: up to Python 3.11.4 one matches too much (CPython issues 100061 and 106052)
_BLANK = re.compile(r"(?:\s+|//[^\n]*|/\*(?s:.*?)(?:\*/|\Z)|#[^\n]*)*")
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
LONGEST_NUMBER = 64
"""Characters of a number that a comment may follow without a blank."""
_BRACKETS = re.compile(r"[\[\]{}\"']")
# an apostrophe, a hash or a slash inside a word belongs to it
_BARE_MARK = re.compile(rf"[,}}\n{{\[\]]|(?:(?<!\\)(?=\")|(?<=\s)(?=')){_QUOTED_KEY}|//|/\*|\#|\Z")


@dataclass
class Loose:
    """An object as far as it could be taken apart.

    Attributes:
        text: The text that it stands in.
        start: Where its brace stands.
        members: Key and text of each value that had closed, in order.
        end: Where reading can go on behind it.
        closed: Whether it came to its own brace.
        opened: Key and start of the value that was open when the text ended, or that broke off the
            object because it is not known to be whole.
        last: The key whose value ended where the text did.
    """

    text: str
    start: int
    members: list[tuple[str, str]] = field(default_factory=list)
    end: int = 0
    closed: bool = False
    opened: tuple[str, int] | None = None
    last: str | None = None

    @property
    def keys(self) -> set[str]:
        """The keys of the values that had closed."""
        return {key for key, _ in self.members}


def objects(text: str) -> Iterator[Loose]:
    """Every outermost object of a text; braces that open no object are passed over."""
    start = text.find("{")
    while start >= 0:
        found = take_apart(text, start)
        if found is None:
            start = text.find("{", start + 1)
            continue
        yield found
        start = text.find("{", found.end)


def take_apart(text: str, start: int) -> Loose | None:
    """The members of the object that begins at a brace; None if it is no object."""
    found = Loose(text, start)
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
            found.end = _broken_off(text, place)
            return found
        begin = _blank(text, key.end())
        name = _name(text_of(key.group(1)))
        end = _value_end(text, begin)
        if end is None:
            found.opened, found.end = (name, begin), len(text)
            return found
        place = _blank(text, end)
        found.last = name if place >= len(text) else None
        if place < len(text) and text[place] == ",":
            place = _blank(text, place + 1)
        if not _is_whole(text, begin, end, place):
            found.opened, found.end = (name, begin), _broken_off(text, place)
            return found
        if end > begin:  # else the key has no value
            found.members.append((name, text[begin:end].rstrip()))
    found.end = len(text)
    return found


_ITEM = re.compile(r"(?:item\s+)?0*(\d+)\.?", re.IGNORECASE)


def _name(key: str) -> str:
    """A key, or the number that it spells: `01`, `1.` and `Item 1` are 1."""
    number = _ITEM.fullmatch(key.strip())
    return number[1] if number else key


def _broken_off(text: str, place: int) -> int:
    """Where reading goes on behind an object that ends here: at the end, if a key is cut off."""
    return place if place < len(text) and not _is_opening(text, place) else len(text)


def _is_opening(text: str, place: int) -> bool:
    """Whether the text ends inside what may be a key of an object."""
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
    """The end of a number, a literal or an unquoted text; None if the text ends before."""
    place = begin
    while mark := _BARE_MARK.search(text, place):
        end, sign = mark.start(), mark.group()
        nested = _nested_end(text, end) if sign in {"{", "["} else None
        if nested is not None:
            place = nested
        elif _belongs_to_it(sign, text, begin, end):
            place = mark.end()
        else:
            return None if sign in {"{", "["} else end
    return None


def _belongs_to_it(sign: str, text: str, begin: int, end: int) -> bool:
    """Whether a sign is a part of an unquoted text: a comma, or the sign of a comment in a word."""
    if sign == ",":
        return end > begin and not _AFTER_VALUE.match(text, end)
    if sign not in {"#", "//", "/*"} or end == begin or text[end - 1].isspace():
        return False
    before = text[begin : min(end, begin + LONGEST_NUMBER)]  # bounded, as there may be many signs
    return before not in LITERALS and isinstance(value_of(before), str)


def _is_whole(text: str, begin: int, end: int, behind: int) -> bool:
    """Whether a value ends where it seems to.

    A string, a list and an object have an end of their own, and so has a number that something
    follows; an unquoted text ends where the next member or the brace stands behind it.
    """
    if text[begin] in "\"'{[" or text[behind : behind + 1] == "}" or _KEY.match(text, behind):
        return True
    token = text[begin:end].rstrip()
    is_text = isinstance(value_of(token), str)
    return token in LITERALS or (not is_text and (end < len(text) or len(token) < end - begin))
