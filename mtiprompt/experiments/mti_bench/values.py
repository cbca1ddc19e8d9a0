"""Answers read by rules, never by evaluating them: the value of what was written, and its score."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, Literal

from mtiprompt.metrics import token_f1

Kind = Literal["option", "letter", "order", "set", "number", "fraction", "words"]
"""What an answer is: the number of an option, its letter, a sequence of them, a set of numbers, a
number, a ratio, or free words."""

TOLERANCE = 0.002
"""How far a number may be from a gold that is not whole, as a share of it: 0.2 percent. A whole
gold must be met."""

_INTEGER = r"\d{1,15}"
_END = r"(?:\s*$|\s*[)\].:](?!\d)(.*)$)"  # `3.` and `(3) Why?`, but not `3.5` and not `3 or 4`
_OPTION = re.compile(
    rf"(?:(?:option|question|answer|text|sentence|number|no\.?)\s*|\#)?[(\[]?\s*({_INTEGER})(?:\.0+)?{_END}",
    re.IGNORECASE | re.DOTALL,
)
_LETTER = re.compile(rf"(?:option\s*|answer\s*)?[(\[]?\s*([a-z]){_END}", re.IGNORECASE | re.DOTALL)


def _further(mark: str) -> re.Pattern[str]:
    """What names another option behind the first; the number or letter of a text is none."""
    hedge = "or|so|but|no|not|rather|maybe|perhaps|possibly|probably|instead|actually|it is|it's"
    goes_on = "is|was|or|and|too|also|instead|fits|seems"
    alone = rf"(?![\w%'\u2019/*^=+-]|[.,:]\d|\s+(?!(?:{goes_on})\b)\w)"  # not `4 apples`
    return re.compile(
        rf"(?<!\w)[(\[]\s*({mark})\s*[)\]]"  # (4)
        r"|(?<=\w)\([^()]*\)"  # f(4) names none
        rf"|(?<![\w(\[])({mark})[)\]]"  # 4)
        rf"|\n[ \t]*({mark})(?=[ \t]*(?:\n|\Z)|[.:](?!\d))"  # 4. on a line of its own
        rf"|\boption\s+({mark})(?!\w)"
        rf"|(?:\A\s*(?:[,;/&+|\u2192-]|and\b)|\b(?:{hedge}|answer is)\b)[\s,:>]*({mark}){alone}"
        rf"|(?<![\d\s])[.,;!?]\s+({mark})[.!?]*\s*\Z",  # Wrong, 4.
        re.IGNORECASE,
    )


_FURTHER_OPTION, _FURTHER_LETTER = _further(r"\d{1,2}"), _further("[a-hj-z]")  # I is a word
_MARK = re.compile(rf"[(\[]?\s*({_INTEGER}|[a-z])(?:\s*[)\]])?", re.IGNORECASE)
_BETWEEN = re.compile(r"\s*(?:->|→|[-\u2013>,;]|and\b)\s*|\s+|(?=\()", re.IGNORECASE)
_NUMBER = re.compile(r"\$?\s*([+-]?(?:\d{1,15}(?:\.\d{0,30})?|\.\d{1,30})(?:e[+-]?\d{1,2})?)", re.I)
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_FRACTION = re.compile(
    rf"([+-]?{_INTEGER})\s*/\s*({_INTEGER})|\\[dt]?frac\{{({_INTEGER})\}}\{{({_INTEGER})\}}"
)
_QUOTES = "\"'`*\u201c\u201d\u2018\u2019 \t\r\n"


def read(kind: Kind, written: Any) -> Any:
    """The value of an answer, so that two ways of writing it give equal values.

    Args:
        kind: What the answer should be.
        written: A text as a model wrote it, or plain JSON data.

    Returns:
        An int, a letter in upper case, a tuple, a frozenset, a float, a `Fraction` or a text, in
        the order of the kinds; None if the answer is no such thing. Nothing is ever raised.
    """
    return _READERS[kind](_text(written).strip(_QUOTES))


def score(kind: Kind, answer: Any, gold: Any) -> float:
    """How right an answer is, from 0 to 1.

    Free words are scored by F1 over their tokens, after case, punctuation and articles are taken
    away (Rajpurkar et al. 2016, arXiv 1606.05250, section 6.1); everything else is 0 or 1. A gold
    that is not of its kind is compared as words.
    """
    right = read(kind, gold)
    if right is None:
        kind, right = "words", read("words", gold)
    given = read(kind, answer)
    if given is None:
        return 0.0
    if kind == "words":
        return float(given == right) or token_f1(given, right)
    if kind == "number" and not right.is_integer():
        return float(math.isclose(given, right, rel_tol=TOLERANCE))
    return float(given == right)


def kind_of(gold: Any) -> Kind:
    """The kind that a gold has by its looks, for tasks that are in no table."""
    if isinstance(gold, list):
        return "set"
    if isinstance(gold, bool):
        return "words"
    if isinstance(gold, int | float):
        return "number"
    if re.fullmatch(r"\(\w{1,2}\)(?:-\(\w{1,2}\))+", str(gold)):
        return "order"
    if re.fullmatch(r"[A-Z]", str(gold)):
        return "letter"
    for kind in ("fraction", "number"):
        if read(kind, gold) is not None:
            return kind
    return "words"


def _text(written: Any) -> str:
    if isinstance(written, list | tuple):
        return f"[{', '.join(map(_text, written))}]"
    return "none" if written is None else str(written)


def _option(text: str) -> int | None:
    mark = _one(text, _OPTION, _FURTHER_OPTION)
    return int(mark) if mark else None


def _letter(text: str) -> str | None:
    mark = _one(text, _LETTER, _FURTHER_LETTER)
    return mark.upper() if mark else None


def _one(text: str, form: re.Pattern[str], further: re.Pattern[str]) -> str | None:
    """The option with which a text begins; None where it names another one, too."""
    found = form.fullmatch(_unlisted(text).strip(_QUOTES))
    if found is None:
        return None
    named = {one.casefold() for groups in further.findall(found[2] or "") for one in groups if one}
    return found[1] if named <= {found[1].casefold()} else None


def _unlisted(text: str) -> str:
    """A text without the brackets of a list around it."""
    is_list = text.startswith("[") and text.endswith("]") and text.count("[") == 1
    return text[1:-1] if is_list else text


def _order(text: str) -> tuple[str, ...] | None:
    marks = _marks(text)
    return tuple(marks) if marks else None


def _set(text: str) -> frozenset[int] | None:
    marks = _marks(text)
    if not text or marks is None or not all(one.isdecimal() for one in marks):
        return None  # nothing at all is no empty set: that is `[]`
    return frozenset(map(int, marks))


def _marks(text: str) -> list[str] | None:
    """Numbers and letters that stand one after the other, with what is put between them."""
    inner = _unlisted(text.rstrip(".")).strip(_QUOTES)
    marks: list[str] = []
    place = 0
    while place < len(inner):
        if marks and not (gap := _BETWEEN.match(inner, place)):
            return None
        place = gap.end() if marks and gap else place
        found = _MARK.match(inner, place)
        if found is None:
            return None
        marks.append(str(int(found[1])) if found[1].isdecimal() else found[1].casefold())
        place = found.end()
    return marks


def _number(text: str) -> float | None:
    plain = text.removesuffix(".")
    if _THOUSANDS.fullmatch(plain):
        plain = plain.replace(",", "")
    if found := _NUMBER.fullmatch(plain.strip("()[] ")):
        return float(found[1])
    ratio = _fraction(plain)
    return None if ratio is None else float(ratio)


def _fraction(text: str) -> Fraction | None:
    found = _FRACTION.fullmatch(text.strip("()[].$ "))
    if not found:
        return None
    above, below = (int(one) for one in found.groups() if one is not None)
    return Fraction(above, below) if below else None


def _words(text: str) -> str:
    """Words without case, punctuation and articles."""
    bare = text.casefold().translate(str.maketrans("", "", string.punctuation + _QUOTES[4:8]))
    return " ".join(word for word in bare.split() if word not in {"a", "an", "the"})


_READERS: Mapping[Kind, Callable[[str], Any]] = {
    "option": _option,
    "letter": _letter,
    "order": _order,
    "set": _set,
    "number": _number,
    "fraction": _fraction,
    "words": _words,
}
