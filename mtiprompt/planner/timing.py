"""How long a call takes: a part for the call itself, and one for each token, from observed calls.

The time of a call is close to linear in its tokens: reading a prompt is one pass over it, writing
takes a step for each token (Pope et al., Efficiently Scaling Transformer Inference, arXiv
2211.05102). Calls that are under way at the same time slow each other down, so such a model holds
for calls that are made as the observed ones were.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

FEWEST = 12
"""Calls from which times are told: three for each part."""
SPREAD = 0.1
"""How far the largest and the smallest number of tokens must lie apart, as a share of the largest;
what varies less cannot be told from the part of the call itself."""
SHORTEST = 1e-7
"""Seconds that count as no time; clocks do not tell less."""
EXACT = 1e-18
"""A gain in squared errors that is no more than rounding, as a share of the squared seconds."""


class Work(NamedTuple):
    """What calls have to do.

    Attributes:
        calls: How many they are.
        read: Tokens of their prompts that are not cached.
        cached: Tokens of their prompts that are.
        written: Tokens of their replies.
    """

    calls: float = 0.0
    read: float = 0.0
    cached: float = 0.0
    written: float = 0.0


class Observed(NamedTuple):
    """A call that was made.

    Attributes:
        work: What it had to do.
        seconds: How long it took.
    """

    work: Work
    seconds: float


@dataclass(frozen=True)
class Timing:
    """How the time of a call follows from its tokens, in seconds.

    What does not vary in the observed calls is part of `fixed`, and has 0 here.

    Attributes:
        fixed: Of a call, whatever it has to do.
        prefill: Of a token of its prompt that is not cached.
        cached_read: Of one that is.
        decode: Of a token that is written.
        error: How far off the model is of a call that it was not fitted to, as a share of the time
            that it took; the median over the calls.
        n: Calls that it was fitted to.
    """

    fixed: float
    prefill: float
    cached_read: float
    decode: float
    error: float
    n: int

    def seconds(self, work: Work) -> float:
        """How long calls take, one after the other.

        Args:
            work: What they have to do.
        """
        parts = (self.fixed, self.prefill, self.cached_read, self.decode)
        return sum(part * number for part, number in zip(parts, work, strict=True))

    def __str__(self) -> str:
        """`0.12 s a call, 1.1 ms a prompt token, 18 ms a written token; fits to 8%`."""
        parts = {
            "a call": self.fixed,
            "a prompt token": self.prefill,
            "a cached token": self.cached_read,
            "a written token": self.decode,
        }
        told = [f"{_amount(one)} {of}" for of, one in parts.items() if one > 0]
        return f"{', '.join(told)}; fits to {self.error:.0%}"


def fit(calls: Iterable[Observed]) -> Timing | None:
    """The model whose squared errors over calls are smallest, with no part below 0.

    Example:
        >>> from mtiprompt.planner.timing import Observed, Work, fit
        >>> sizes = [(100 * n, 5 + n % 7) for n in range(1, 21)]
        >>> calls = [Observed(Work(1, read, 0, written), 0.12 + 0.0011 * read + 0.018 * written)
        ...          for read, written in sizes]
        >>> print(fit(calls))
        0.12 s a call, 1.1 ms a prompt token, 18 ms a written token; fits to 0%

    Args:
        calls: Single calls; one that took no time says nothing.

    Returns:
        None: They are too few, or all alike, so that nothing can be told of others.
    """
    import numpy as np  # late: it takes time

    seen = [one for one in calls if one.seconds > SHORTEST]
    if len(seen) < FEWEST:
        return None
    work = np.array([one.work for one in seen], dtype=float)
    seconds = np.array([one.seconds for one in seen], dtype=float)
    told = [place for place in range(1, len(Work._fields)) if _varies(work[:, place])]
    if not told:
        return None
    columns, parts = _smallest(work, seconds, [0, *told])
    whole = np.zeros(len(Work._fields))
    whole[columns] = parts
    error = _left_out(work[:, columns], seconds - work[:, columns] @ parts)
    fixed, prefill, cached_read, decode = map(float, whole)
    typical = float(np.median(error / seconds))
    return Timing(fixed, prefill, cached_read, decode, typical, len(seen))


def _varies(column: Numbers) -> bool:
    return bool(column.max() - column.min() > SPREAD * column.max())


def _smallest(work: Numbers, seconds: Numbers, places: Sequence[int]) -> tuple[list[int], Numbers]:
    """The columns that have a part, and their parts.

    The solution is that of plain least squares on the columns where it is not 0 (Lawson and
    Hanson, Solving Least Squares Problems, 1974, chapter 23), so with four columns all are tried.
    """
    least, best = float("inf"), ([0], seconds[:0])
    rounding = EXACT * float((seconds**2).sum())
    for number in range(1, len(places) + 1):
        for columns in map(list, combinations(places, number)):
            parts = _least_squares(work[:, columns], seconds)
            if parts is None or (parts < 0).any():
                continue
            misses = float(((work[:, columns] @ parts - seconds) ** 2).sum())
            if misses < least - rounding:  # else fewer parts do as well
                least, best = misses, (columns, parts)
    return best


def _least_squares(columns: Numbers, seconds: Numbers) -> Numbers | None:
    """The parts of columns; None if they depend on each other, as fewer do the same then."""
    import numpy as np

    scale = columns.max(axis=0)
    parts, _, rank, _ = np.linalg.lstsq(columns / scale, seconds, rcond=1e-9)
    return parts / scale if rank == columns.shape[1] else None


def _left_out(columns: Numbers, misses: Numbers) -> Numbers:
    """How far off each call is of the model that is fitted to the others.

    Source: Allen, The relationship between variable selection and data augmentation and a method
    for prediction, Technometrics 16, 1974. Which parts are 0 is taken as settled.
    """
    import numpy as np

    basis, _ = np.linalg.qr(columns / columns.max(axis=0))
    own: Numbers = (basis**2).sum(axis=1)
    return np.abs(misses) / np.maximum(1 - own, 1e-9)


def _amount(seconds: float) -> str:
    """Seconds with two digits that count: `0.12 s`, `18 ms`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.1 * size:
            return f"{float(f'{seconds / size:.2g}'):g} {unit}"
    return f"{float(f'{seconds / 1e-6:.2g}'):g} \N{GREEK SMALL LETTER MU}s"
