"""Intervals for means of bounded scores and of their paired differences.

Both stand around a mean to which a few imagined observations were added, so that they keep their
width where all observations agree. For scores of 0 and 1 they are known ones for proportions, a
little widened for small samples by a quantile of Student's t in the place of the normal one; the
same arithmetic serves graded scores, whose variance is never larger. From ten items on they cover
what they promise (tests/test_stats.py computes it): whatever the proportion, at least 93.5% at a
confidence of 0.95. Below that it varies more from one proportion to another: it is at least 88% at
0.9, 76% at 0.8, 64% at 0.7 and 39% at 0.5, and over all of them no less than is promised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

CONFIDENCE = 0.95
MEAN_METHOD = "Agresti-Coull (two successes and two failures added), with Student's t"
DIFFERENCE_METHOD = "Bonett-Price, paired (one item better and one worse added), with Student's t"


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
    and two failures are added, more of them above a confidence of 0.95, fewer below; there they
    count in the width as at 0.95.

    Args:
        scores: One for each item, from 0 to 1.
        confidence: Of the interval, above 0 and below 1.

    Raises:
        ValueError: The confidence is no such number.
    """
    return _estimate(scores, ((0.0, 2.0), (1.0, 2.0)), Interval(0.0, 1.0), confidence)


def difference(
    scores: Sequence[float], others: Sequence[float], confidence: float = CONFIDENCE
) -> Estimate:
    """The mean of the differences `scores - others`, paired item by item.

    The interval is that of Bonett and Price (Journal of Educational and Behavioral Statistics 37,
    2012): one pair is added in which the first is better by 1, and one in which it is worse by 1,
    more or fewer at another confidence, as for `mean`. That of Agresti and Min (half of each, and
    one without a difference) covers 87% instead of 95% where two ways of running nearly always
    agree, which is the rule here.

    Args:
        scores: One for each item, from 0 to 1.
        others: One for each item, in the same order.
        confidence: Of the interval, above 0 and below 1.

    Raises:
        ValueError: There are not as many of both, or the confidence is no such number.
    """
    differences = [one - other for one, other in zip(scores, others, strict=True)]
    return _estimate(differences, ((1.0, 1.0), (-1.0, 1.0)), Interval(-1.0, 1.0), confidence)


def _estimate(
    values: Sequence[float],
    added: Sequence[tuple[float, float]],
    bounds: Interval,
    confidence: float,
) -> Estimate:
    """A mean with its interval, for which observations (value, weight at 0.95) are added."""
    normal = _normal(confidence)
    if not values:
        return Estimate(math.nan, bounds, 0)
    more = (normal / _normal(CONFIDENCE)) ** 2
    # below 0.95 less is added to the middle, which would lie too far from the mean for the interval
    # to reach it, but not to the width, which rare outcomes need
    wide = max(1.0, more)
    weights = sum(weight for _, weight in added)
    number = len(values) + more * weights
    center = (math.fsum(values) + more * sum(one * weight for one, weight in added)) / number
    squares = math.fsum((one - center) ** 2 for one in values)
    squares += wide * sum(weight * (one - center) ** 2 for one, weight in added)
    reach = student(normal, len(values) + wide * weights - 1) * math.sqrt(squares) / number
    found = math.fsum(values) / len(values)
    interval = Interval(max(bounds.low, center - reach), min(bounds.high, center + reach))
    return Estimate(found, interval, len(values))


def _normal(confidence: float) -> float:
    """How many standard deviations an interval reaches from the middle of a normal distribution."""
    if not 0 < confidence < 1:
        raise ValueError(f"the confidence is {confidence!r}, expected a number above 0 and below 1")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def student(normal: float, freedom: float) -> float:
    """The quantile of Student's t for a normal one (Abramowitz and Stegun 1964, 26.7.5).

    Args:
        normal: The normal quantile.
        freedom: Degrees of freedom; from 3 on the error is below 1%.
    """
    z = normal
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
