"""Intervals for means of bounded scores and of their paired differences.

Both are normal intervals around a mean to which a few imagined observations were added, so that
they keep their width where all observations agree, and cover what they promise from ten items on
(tests/test_stats.py measures it). For scores of 0 and 1 they are the usual ones for proportions;
the same arithmetic serves graded scores, whose variance is never larger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

CONFIDENCE = 0.95
MEAN_METHOD = "Agresti-Coull (two successes and two failures added)"
DIFFERENCE_METHOD = "Agresti-Min, paired (half an observation of +1 and of -1, and one of 0, added)"


class Interval(NamedTuple):
    """Where the true mean lies, with the confidence that was asked for."""

    low: float
    high: float


class Estimate(float):
    """A mean that knows its interval; as a number it is the mean.

    Attributes:
        mean: The mean; not a number where there was no observation.
        interval: Its interval.
        n: Observations.
    """

    interval: Interval
    n: int

    def __new__(cls, mean: float, interval: Interval, n: int) -> Estimate:
        """Make one of its parts."""
        made = super().__new__(cls, mean)
        made.interval, made.n = interval, n
        return made

    @property
    def mean(self) -> float:
        """The mean as a plain number."""
        return float(self)

    def __reduce__(self) -> tuple[type[Estimate], tuple[float, Interval, int]]:
        """How it is copied."""
        return Estimate, (self.mean, self.interval, self.n)

    def plain(self) -> dict[str, float | int | list[float] | None]:
        """As plain JSON data; without any observation the mean and the interval are None."""
        if not self.n:
            return {"mean": None, "interval": None, "n": 0}
        return {"mean": self.mean, "interval": list(self.interval), "n": self.n}


def mean(scores: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """The mean of scores from 0 to 1.

    The interval is that of Agresti and Coull (The American Statistician 52, 1998): two successes
    and two failures are added.

    Args:
        scores: One for each item, from 0 to 1.
        confidence: Of the interval, above 0 and below 1.
    """
    return _estimate(scores, [(0.0, 2.0), (1.0, 2.0)], Interval(0.0, 1.0), confidence)


def difference(
    scores: Sequence[float], others: Sequence[float], confidence: float = CONFIDENCE
) -> Estimate:
    """The mean of the differences `scores - others`, paired item by item.

    The interval is that of Agresti and Min (Statistics in Medicine 24, 2005, section 3: Wald+2):
    half an observation is added to each cell of the table of pairs.

    Args:
        scores: One for each item, from 0 to 1.
        others: One for each item, in the same order.
        confidence: Of the interval, above 0 and below 1.

    Raises:
        ValueError: There are not as many of both.
    """
    differences = [one - other for one, other in zip(scores, others, strict=True)]
    added = [(1.0, 0.5), (-1.0, 0.5), (0.0, 1.0)]
    return _estimate(differences, added, Interval(-1.0, 1.0), confidence)


def _estimate(
    values: Sequence[float],
    added: Sequence[tuple[float, float]],
    bounds: Interval,
    confidence: float,
) -> Estimate:
    """A mean with its interval, for which observations (value, weight) are added."""
    if not values:
        return Estimate(math.nan, bounds, 0)
    number = len(values) + sum(weight for _, weight in added)
    center = (math.fsum(values) + sum(one * weight for one, weight in added)) / number
    squares = math.fsum((one - center) ** 2 for one in values)
    squares += sum(weight * (one - center) ** 2 for one, weight in added)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(squares) / number
    low, high = max(bounds.low, center - reach), min(bounds.high, center + reach)
    return Estimate(math.fsum(values) / len(values), Interval(low, high), len(values))
