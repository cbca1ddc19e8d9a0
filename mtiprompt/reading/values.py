"""The value behind a piece of text: strictly if it is JSON, else without a guess."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from pydantic_core import from_json

QUOTES = {'"', "'"}
REPAIR_CAP = 64_000
"""Characters of a list or an object that are handed to json-repair."""

LITERALS = {
    "true": True, "false": False, "null": None, "True": True, "False": False, "None": None,
}  # fmt: skip
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_FRACTION = re.compile(r"\d[.eE]")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_WORDS = re.compile(r"\w+")


class Written(float):
    """A number that keeps the text it was written as, of which a float may lose digits.

    Attributes:
        text: The text.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def is_lost(self) -> bool:
        """Whether the float is another number than the one that was written."""
        return math.isfinite(self) and _number(self.text) not in {None, _number(self)}


_Place = tuple[str | int, ...]
"""The keys and positions that lead to a part of plain JSON data."""


def with_digits(value: Any, made: Any) -> Any:
    """Plain JSON data, its numbers as texts wherever their type keeps texts and lost digits.

    Args:
        value: The data, as it was read.
        made: What a type made of it, as plain JSON data; its sets may have another order, and its
            fields other names.
    """
    lost = {place: one for place, one in _leaves(value) if isinstance(one, Written) and one.is_lost}
    if not lost:
        return value
    kept = dict(_leaves(made))
    is_text: dict[tuple[int, _Place, Decimal | None], bool] = {}
    for place, one in kept.items():
        for near in _near(place):
            key = (*near, _number(one))
            is_text[key] = isinstance(one, str) or is_text.get(key, False)
    texts: dict[_Place, str] = {}
    for place, written in lost.items():
        is_there = place in kept and all(isinstance(step, str) for step in place)
        keys = [(*near, _number(written)) for near in _near(place)[: 1 if is_there else None]]
        if next((is_text[key] for key in keys if key in is_text), False):
            texts[place] = written.text
    return _replaced(value, texts)


def _near(place: _Place) -> list[tuple[int, _Place]]:
    """Where the number of a place may be found in what a type made, the likeliest first.

    A member of a set may stand at another position: if it is a tuple or an object, the last step
    to the number stays. The number itself may be anywhere, and so may one under another name.
    """
    return [(0, place), (1, place[-1:]), (2, ())]


def _number(of: Any) -> Decimal | None:
    """The number that a text or a float stands for; None if there is none."""
    try:
        number = Decimal(of if isinstance(of, str) else repr(of))
    except (InvalidOperation, ValueError):  # the text of a moment, or too long a number
        return None
    return number if number.is_finite() else None


def _leaves(value: Any, place: _Place = ()) -> Iterator[tuple[_Place, Any]]:
    """The parts of plain JSON data that hold nothing, by their places."""
    if isinstance(value, list | dict):
        for step, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(part, (*place, step))
    else:
        yield place, value


def _replaced(value: Any, texts: Mapping[_Place, str], place: _Place = ()) -> Any:
    """Plain JSON data with texts in the place of some of its parts."""
    if isinstance(value, list):
        return [_replaced(part, texts, (*place, step)) for step, part in enumerate(value)]
    if isinstance(value, dict):
        return {step: _replaced(part, texts, (*place, step)) for step, part in value.items()}
    return texts.get(place, value)


def value_of(part: str) -> Any:
    """The value that a piece of text spells; text that spells none is itself the value."""
    if part in LITERALS:
        return LITERALS[part]
    if _NUMBER.fullmatch(part) and len(part) < 400:
        number = json.loads(part, parse_float=Written)
        return number if isinstance(number, int) or math.isfinite(number) else part
    if part[:1] in QUOTES:
        return text_of(part)
    read = strict(part)
    if read is not None:
        return read
    return _mended(part) if part[:1] in {"{", "["} else part


def text_of(part: str) -> str:
    """The text of a string in either kind of quotes, or of a bare key."""
    if part[:1] not in QUOTES:
        return part
    inner = _ESCAPE.sub(_json_escape, part[1:-1])
    quoted = re.sub(r'(?<!\\)((?:\\\\)*)"', r"\1\\" + '"', inner)
    try:
        text: str = json.loads(f'"{quoted}"', strict=False)
    except ValueError:
        return part[1:-1]
    return encodable(text)


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


def strict(text: str) -> Any:
    """The value of a text that is JSON and nothing else; None if it is not.

    What is no whole number in it is `Written`.
    """
    try:
        value = from_json(text, allow_inf_nan=False)
        return json.loads(text, parse_float=Written) if _FRACTION.search(text) else value
    except ValueError:
        return None


def encodable(text: str) -> str:
    """A text without lone surrogates, which nothing could store."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text
