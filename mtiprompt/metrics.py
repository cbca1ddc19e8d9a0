"""Scores of one answer against gold, each from 0 to 1. Definitions: `docs/reference/metrics.md`."""

from __future__ import annotations

import inspect
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import date, datetime, time
from enum import Enum
from itertools import chain
from numbers import Real
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict

from mtiprompt.errors import DataError

TOLERANCE = 1e-6

Scorer = Callable[[Any, Any, Mapping[str, Any]], float]
"""A function of (answer, gold, the inputs of the item) that gives a score from 0 to 1."""


def exact(answer: Any, gold: Any) -> float:
    """1 if equal after trimming blanks and folding case, else 0."""
    return float(_folded(answer) == _folded(gold))


def numeric(answer: Any, gold: Any) -> float:
    """1 if both are numbers that differ by at most 0.000001, or both null; else 0."""
    if gold is None:
        return float(answer is None)
    if not _is_number(answer) or not _is_number(gold):
        return 0.0
    try:
        return float(abs(answer - gold) <= TOLERANCE)
    except OverflowError:  # a whole number beyond every float is far from each of them
        return 0.0


def f1_set(answer: Any, gold: Any) -> float:
    """F1 of the two sets of items; 1 if both are empty or null, 0 if one is or is no list."""
    if gold is None:
        return float(answer is None)
    if not isinstance(answer, list) or not isinstance(gold, list):
        return 0.0
    return _f1(Counter({_folded(one) for one in answer}), Counter({_folded(one) for one in gold}))


def token_f1(answer: Any, gold: Any) -> float:
    """F1 of the two bags of words, case folded; 1 if both are null, 0 if one is or is no text."""
    if gold is None:
        return float(answer is None)
    if not isinstance(answer, str) or not isinstance(gold, str):
        return 0.0
    return _f1(Counter(_words(answer)), Counter(_words(gold)))


METRICS: dict[str, Callable[[Any, Any], float]] = {
    "exact": exact,
    "numeric": numeric,
    "f1_set": f1_set,
    "token_f1": token_f1,
}


def metric(named: str | Callable[[Any, Any], float] | Scorer | None) -> Scorer:
    """The function behind a task's metric; `exact` where the task names none.

    Args:
        named: The name of a metric, or a function of answer and gold, which may take the inputs
            of the item as its third argument.

    Raises:
        DataError: There is no metric of that name, or it is no such function.
    """
    if isinstance(named, str) and named not in METRICS:
        hint = f"known: {', '.join(METRICS)}, or a function"
        raise DataError(f"there is no metric {named!r:.80}", hint=hint)
    found: Any = METRICS[named] if isinstance(named, str) else exact if named is None else named
    if not is_function(found):
        raise DataError(f"{found!r:.80} is no metric", hint=_FORM)
    return found if _takes_inputs(found) else lambda answer, gold, _: found(answer, gold)


_FORM = "give a name or a function of (answer, gold) or (answer, gold, inputs), which is not async"


def is_function(thing: Any) -> bool:
    """Whether a thing can be called and has its value at once, as no coroutine function has."""
    is_late = inspect.iscoroutinefunction
    return callable(thing) and not is_late(thing) and not is_late(type(thing).__call__)


class _Scored(NamedTuple):
    """The only values that a metric scores, beside null: in words, and as types."""

    words: str
    types: frozenset[type]


_SCORED: Mapping[str, _Scored] = {
    "numeric": _Scored("numbers", frozenset({int, float})),
    "f1_set": _Scored("lists", frozenset({list})),
    "token_f1": _Scored("texts", frozenset({str})),
}


def warn_of_misfit(named: Any, task: str, kind: Any) -> None:
    """Warn of a metric that can score no value of a type; silent where that is not certain.

    Args:
        named: The metric of a task: a name, a function or None.
        task: The name of the task.
        kind: The type of its answers.
    """
    scores = _SCORED.get(named) if isinstance(named, str) else None
    kinds = _kinds(kind) - {type(None)}
    if scores is None or not kinds or kinds & {object, *scores.types}:
        return
    fits = next((name for name, one in _SCORED.items() if kinds <= one.types), "exact")
    take = "'exact', or 'token_f1' for free text" if fits == "token_f1" else repr(fits)
    found = " or ".join(sorted(one.__name__ for one in kinds))
    text = (
        f"the metric {named!r} of task {task!r} scores only {scores.words}, "
        f"but its answers are of the type {found} (take {take})"
    )
    # from the same place whoever declares it: Python shows such a warning once
    warnings.warn(text, stacklevel=1)


def warn_of_twins(named: Any, task: str, kinds: Iterable[Any]) -> None:
    """Warn of two labels of one type that a metric takes for the same.

    Args:
        named: The metric of a task: a name, a function or None.
        task: The name of the task.
        kinds: The types of its outputs.
    """
    name = "exact" if named is None else named
    if name not in ("exact", "f1_set", "token_f1"):
        return
    fold = _words if name == "token_f1" else _folded
    for labels in chain.from_iterable(map(_labels, kinds)):
        first: dict[Hashable, str] = {}
        for label in labels:
            twin = first.setdefault(fold(label), label)
            if twin != label:
                text = (
                    f"the metric {name!r} of task {task!r} takes its labels {twin!r} and {label!r} "
                    "for the same (give a function that tells them apart, or rename one)"
                )
                warnings.warn(text, stacklevel=1)  # from the same place, as above
                return


def _labels(kind: Any) -> Iterator[list[str]]:
    """The texts of each enum and literal in a type; keys of objects are no labels."""
    outer, parts = get_origin(kind), get_args(kind)
    if outer is Literal:
        yield [value for one in parts if isinstance(value := getattr(one, "value", one), str)]
    elif isinstance(kind, type) and issubclass(kind, Enum):
        yield [one.value for one in kind if isinstance(one.value, str)]
    else:
        inner = kind.__annotations__.values() if is_typeddict(kind) else parts
        for one in tuple(inner)[outer is dict :]:
            yield from _labels(one)


def checked_score(
    value: Any, task: str, *, by: str = "the metric", item: str | None = None
) -> float:
    """What a metric gave, if it is a score.

    Args:
        value: What it gave.
        task: The name of the task.
        by: What gave it.
        item: The id of the item, where it has one.

    Returns:
        A number from 0 to 1.

    Raises:
        DataError: It is no number from 0 to 1; the task, the value and the item are named.
    """
    is_number = isinstance(value, Real)
    if is_number and 0 <= value <= 1:
        return float(value)
    where = "" if item is None else f" for item {item!r:.80}"
    raise DataError(
        f"{by} of {task!r} gave {value!r:.80}{where}", hint="a score is a number from 0 to 1"
    )


def _kinds(kind: Any) -> set[type]:
    """The types that values of a type have as plain JSON; `object` where that is not certain."""
    outer, parts = get_origin(kind), get_args(kind)
    if outer is Annotated and all(isinstance(mark, FieldInfo) for mark in parts[1:]):
        parts = parts[:1]
    elif outer is Literal:
        parts = tuple(map(type, parts))
    elif isinstance(kind, type) and issubclass(kind, Enum):
        parts = tuple(type(one.value) for one in kind)
    elif is_typeddict(kind):
        return {dict}
    elif outer not in {Union, UnionType}:
        return {next((as_ for one, as_ in _CERTAIN if one is (outer or kind)), object)}
    return set().union(*map(_kinds, parts))


_CERTAIN = (
    *((one, one) for one in (str, int, float, bool, list, dict, type(None))),
    *((one, list) for one in (tuple, set, frozenset)),
    *((one, str) for one in (date, datetime, time)),
)
"""Types, and what their values are as plain JSON."""


def _takes_inputs(found: Callable[..., float]) -> bool:
    """Whether a metric asks for the inputs of the item too.

    Raises:
        DataError: It takes neither two arguments nor three.
    """
    try:
        known = inspect.signature(found)
    except (TypeError, ValueError):  # of some built-in functions it is not known
        return False
    for number in (2, 3):
        with suppress(TypeError):
            known.bind(*range(number))
            return number == 3
    raise DataError(f"{found!r:.80} is no metric, as it takes {known!s:.80}", hint=_FORM)


def _f1(answer: Counter[Any], gold: Counter[Any]) -> float:
    if not answer and not gold:
        return 1.0
    common = (answer & gold).total()
    return 2 * common / (answer.total() + gold.total())


def _words(text: str) -> tuple[str, ...]:
    """The words of a text, case folded, whatever their order."""
    return tuple(sorted(caseless(text).split()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def caseless(text: str) -> str:
    """A text, the same whatever the case of its letters and however their accents are encoded.

    That of a canonical caseless match (The Unicode Standard, section 3.13), composed.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def _folded(value: Any) -> Hashable:
    """A value, the same for texts that differ in case, encoding and blanks around them only."""
    if isinstance(value, str):
        return caseless(value).strip()
    if isinstance(value, list | tuple):
        return ("list", *(_folded(one) for one in value))
    if isinstance(value, dict):
        named = ((unicodedata.normalize("NFC", str(key)), one) for key, one in value.items())
        return ("object", frozenset((key, _folded(one)) for key, one in named))
    if isinstance(value, bool):
        return ("bool", value)  # True is not 1
    return value if isinstance(value, Hashable) else ("other", repr(value))
