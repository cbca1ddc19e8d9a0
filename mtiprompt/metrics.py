"""Scores of one answer against gold, each from 0 to 1. Definitions: `docs/reference/metrics.md`."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from mtiprompt.errors import DataError

TOLERANCE = 1e-6

Scorer = Callable[[Any, Any, Mapping[str, Any]], float]
"""A function of (answer, gold, the inputs of the item) that gives a score from 0 to 1."""


def exact(answer: Any, gold: Any) -> float:
    """1 if equal after trimming blanks and folding case, else 0."""
    return float(_folded(answer) == _folded(gold))


def numeric(answer: Any, gold: Any) -> float:
    """1 if both are numbers that differ by at most 0.000001, else 0."""
    if not _is_number(answer) or not _is_number(gold):
        return 0.0
    return float(abs(answer - gold) <= TOLERANCE)


def f1_set(answer: Any, gold: Any) -> float:
    """F1 of the two sets of items; 1 if both are empty, 0 if one is or the answer is no list."""
    if not isinstance(answer, list) or not isinstance(gold, list):
        return 0.0
    return _f1(Counter({_folded(one) for one in answer}), Counter({_folded(one) for one in gold}))


def token_f1(answer: Any, gold: Any) -> float:
    """F1 of the two bags of words, case folded."""
    if not isinstance(answer, str) or not isinstance(gold, str):
        return 0.0
    return _f1(Counter(answer.casefold().split()), Counter(gold.casefold().split()))


METRICS: dict[str, Callable[[Any, Any], float]] = {
    "exact": exact,
    "numeric": numeric,
    "f1_set": f1_set,
    "token_f1": token_f1,
}


def metric(
    named: str | Callable[[Any, Any], float] | Scorer | None,
) -> Scorer:
    """The function behind a task's metric; `exact` where the task names none.

    Args:
        named: The name of a metric, or a function of answer and gold, which may take the inputs
            of the item as its third argument.

    Raises:
        DataError: There is no metric of that name.
    """
    found: Callable[..., float] | None = named if callable(named) else METRICS.get(named or "exact")
    if found is None:
        raise DataError(
            f"there is no metric {named!r}", hint=f"known: {', '.join(METRICS)}, or a function"
        )
    return found if _takes_inputs(found) else lambda answer, gold, _: found(answer, gold)


def _takes_inputs(found: Callable[..., float]) -> bool:
    """Whether a metric asks for the inputs of the item too."""
    try:
        known = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):  # of some built-in functions it is not known
        return False
    by_place = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    needed = [one for one in known if one.kind in by_place and one.default is one.empty]
    return len(needed) == 3


def _f1(answer: Counter[Any], gold: Counter[Any]) -> float:
    if not answer and not gold:
        return 1.0
    common = (answer & gold).total()
    return 2 * common / (answer.total() + gold.total())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _folded(value: Any) -> Hashable:
    if isinstance(value, str):
        return value.strip().casefold()
    if isinstance(value, list):
        return tuple(_folded(one) for one in value)
    if isinstance(value, dict):
        return tuple(sorted((key, _folded(one)) for key, one in value.items()))
    if isinstance(value, bool):
        return ("bool", value)  # True is not 1
    return value if isinstance(value, Hashable) else repr(value)
