"""Answers read by rules, never by evaluating them: the value of what was written, and its score."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import dropwhile, product, takewhile
from types import MappingProxyType
from typing import Any, Literal

from mtiprompt.metrics import caseless, token_f1

Kind = Literal["option", "letter", "order", "set", "number", "fraction", "words"]
"""What an answer is: the number of an option, its letter, a sequence of them, a set of numbers, a
number, a ratio, or free words."""

TOLERANCE = 0.002
"""How far a number may be from a gold that is not whole, as a share of it: 0.2 percent. A whole
gold must be met."""

_INTEGER = r"\d{1,15}"
_END = r"(?:\s*$|\s*(?:[)\]]|[.:](?!\d))(.*)$)"  # `3.` and `(3)12`, not `3.5` and not `3 or 4`
_OPTION = re.compile(
    rf"(?:(?:option|question|answer|text|sentence|number|no\.?)\s*|\#)?[(\[]?\s*({_INTEGER})(?:\.0+)?{_END}",
    re.IGNORECASE | re.DOTALL,
)
_LETTER = re.compile(rf"(?:option\s*|answer\s*)?[(\[]?\s*([a-z]){_END}", re.IGNORECASE | re.DOTALL)
_SHOWN = [
    re.compile(form.replace("MARK", mark))
    for form in (r"(?<!\w)[(\[]\s*(MARK)\s*[)\]]", r"(?<![\w.,$(\[])(MARK)[.:](?!\d)")
    for mark in (r"\d{1,2}", "[A-Za-z]")
]
"""How options are listed: `(3)`, `3.` or `3:`."""
_MARKED = re.compile(
    r"(?<!\w)[(\[]\s*(1?\d|[a-z])\s*[)\]]|^[ \t]*(1?\d|[a-z])[).:](?!\d)", re.I | re.M
)
"""Another option: `(4)`, or `4.` at a line's head."""
_SAID = re.compile(r"[-$]?[\w']+(?:\.\d+)?%?")
_HEDGES = frozenset({
    "a", "actually", "also", "and", "answer", "answers", "are", "both", "but", "correction",
    "either", "i", "instead", "is", "it", "it's", "maybe", "mean", "no", "not", "of", "option",
    "options", "or", "perhaps", "possibly", "probably", "rather", "right", "so", "than", "the",
    "then", "think", "too", "was", "wrong",
})  # fmt: skip
"""Words that say nothing but which option is meant."""
_ARTICLE = re.compile(
    r"(?:(?<=\bis)|(?<=\bwas))\s+a(?=\s+(?:answer|correction|no|option|right|wrong)\b)"
)
_MARK = re.compile(rf"[(\[]?\s*({_INTEGER}|[a-z])(?:\s*[)\]])?", re.IGNORECASE)
_BETWEEN = re.compile(r"\s*(?:->|→|[-\u2013>,;]|and\b)\s*|\s+|(?=\()", re.IGNORECASE)
_NUMBER = re.compile(r"\$?\s*([+-]?(?:\d{1,15}(?:\.\d{0,30})?|\.\d{1,30})(?:e[+-]?\d{1,2})?)", re.I)
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_FRACTION = re.compile(
    rf"([+-]?{_INTEGER})\s*/\s*({_INTEGER})|\\[dt]?frac\{{({_INTEGER})\}}\{{({_INTEGER})\}}"
)
_QUOTES = "\"'`*\u201c\u201d\u2018\u2019 \t\r\n"
_AROUND = _QUOTES + ".,:;!?()[]\u2013\u2014"


Options = Mapping[str, Sequence[str]]
"""The texts of the options of an item by their marks; lists that share a mark have a text each."""


def options_in(texts: Iterable[str]) -> dict[str, list[str]]:
    """The options that texts list, by their marks in small letters.

    A list begins with 1 or A, the first of a text anywhere and others at the head of a line.
    """
    found: dict[str, list[str]] = {}
    for text, form in product(texts, _SHOWN):
        mark, start, awaited = "", 0, ""
        for one in form.finditer(text):
            here = one[1].casefold()
            heads = not mark or text[one.start() - 1] == "\n"
            if here == awaited or (heads and here in {"1", "a"}):
                if mark:
                    found.setdefault(mark, []).append(text[start : one.start()])
                mark, start = here, one.end()
                awaited = str(int(here) + 1) if here.isdecimal() else chr(ord(here) + 1)
        if mark:
            found.setdefault(mark, []).append(text[start:])
    return found


def read(kind: Kind, written: Any, options: Options = MappingProxyType({})) -> Any:
    """The value of an answer, so that two ways of writing it give equal values.

    Args:
        kind: What the answer should be.
        written: A text as a model wrote it, or plain JSON data.
        options: The options of the item, where they are known: an answer that begins with an
            option's mark and goes on with its text is that option, whatever the text holds. What
            else it says must name no other option.

    Returns:
        An int, a letter in upper case, a tuple, a frozenset, a float, a `Fraction` or a text, in
        the order of the kinds; None if the answer is no such thing. Nothing is ever raised.
    """
    text = _text(written).strip(_QUOTES)
    if kind in {"option", "letter"}:
        return _one(text, _OPTION if kind == "option" else _LETTER, options)
    return _READERS[kind](text)


def score(kind: Kind, answer: Any, gold: Any, options: Options = MappingProxyType({})) -> float:
    """How right an answer is, from 0 to 1.

    Free words are scored by F1 over their tokens, after case, punctuation and articles are taken
    away (Rajpurkar et al. 2016, arXiv 1606.05250, section 6.1); everything else is 0 or 1. A gold
    that is not of its kind is compared as words. For `options` see `read`.
    """
    right = read(kind, gold)
    if right is None:
        kind, right = "words", read("words", gold)
    given = read(kind, answer, options)
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


def _one(text: str, form: re.Pattern[str], options: Options) -> int | str | None:
    """The option with which a text begins; None where it names another one, too."""
    found = form.fullmatch(_unlisted(text).strip(_QUOTES))
    if found is None:
        return None
    value = int(found[1]) if found[1].isdecimal() else found[1].upper()
    mark, said = str(value).casefold(), found[2] or ""
    if mark in options:
        said = min((_behind(said, mark, one) for one in options[mark]), key=len)
    named = {(one or other).casefold() for one, other in _MARKED.findall(said)}
    if mark in options:
        words = {one.casefold() for one in _SAID.findall(_ARTICLE.sub("", said))}
        only = all(one in _HEDGES or one in options or one.isdecimal() for one in words)
        known = {one for one in options if one.isdecimal() == mark.isdecimal()}
        named = (named | words if only else named) & known
    return value if named <= {mark} else None


def _behind(said: str, mark: str, own: str) -> str:
    """What was said without the option's mark, and the words with which its own text begins."""
    words = [(one.start(), _bare(one[0])) for one in re.finditer(r"\S+", said)]
    rest = list(dropwhile(lambda word: word[1] in {"", mark}, words))
    text = filter(None, map(_bare, own.split()))
    same = takewhile(lambda pair: pair[0][1] == pair[1], zip(rest, text, strict=False))
    places = [start for start, _ in rest[len(list(same)) :]]
    return said[places[0] :] if places else ""


def _bare(word: str) -> str:
    """A word without what stands around it; a dash alone is none."""
    return {"&": "and", "-": ""}.get(word, word.strip(_AROUND).casefold())


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
    bare = caseless(text).translate(str.maketrans("", "", string.punctuation + _QUOTES[4:8]))
    return " ".join(word for word in bare.split() if word not in {"a", "an", "the"})


_READERS: Mapping[Kind, Callable[[str], Any]] = {
    "order": _order,
    "set": _set,
    "number": _number,
    "fraction": _fraction,
    "words": _words,
}
