"""Intervals cover what they promise, and are what the literature says."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Sequence
from math import comb
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtiprompt.stats import Estimate, Interval, difference, mean

LEAST = 0.935
"""What intervals of 95% must cover at least."""
LEAST_OF_PAIRS = 0.934
"""The same for pairs: at one point in two thousand, n=58 and a difference of 0.1, it is 0.9340."""
SIZES = (10, 11, 12, 15, 20, 30, 43, 60, 100, 200)
LOWER = {0.9: 0.88, 0.8: 0.76, 0.7: 0.64, 0.6: 0.51, 0.5: 0.39}
"""What intervals of a lower confidence must cover at least, whatever the proportion."""

scores = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def covered(intervals: Sequence[Interval], p: float) -> float:
    """How often the interval has a proportion inside, summed over all outcomes.

    Args:
        intervals: Those of 0, 1, ... successes; one more than there are observations.
        p: The proportion.
    """
    n = len(intervals) - 1
    return math.fsum(
        comb(n, right) * p**right * (1 - p) ** (n - right)
        for right, (low, high) in enumerate(intervals)
        if low <= p <= high
    )


def of_outcomes(n: int, confidence: float = 0.95) -> list[Interval]:
    """The intervals of 0 to n successes of n."""
    return [
        mean([1.0] * right + [0.0] * (n - right), confidence).interval for right in range(n + 1)
    ]


@pytest.mark.parametrize("n", SIZES)
def test_mean_covers_proportions(n: int) -> None:
    """Summed over all outcomes, the interval of a proportion covers it, however rare successes."""
    intervals = of_outcomes(n)
    for p in (0.002, 0.01, 0.02, 0.05, 0.1, 0.105, 0.15, 0.2, 0.3, 0.4, 0.475, 0.5, 0.9, 0.99):
        assert covered(intervals, p) >= LEAST, (n, p)


@pytest.mark.parametrize(
    ("n", "confidence", "least"),
    [(n, 0.95, LEAST_OF_PAIRS) for n in (10, 12, 15, 20, 30, 43, 58, 100)]
    + [(n, confidence, least) for n in (10, 20, 43) for confidence, least in LOWER.items()],
)
def test_difference_covers_pairs(n: int, confidence: float, least: float) -> None:
    """Summed over all tables of pairs, the interval covers the true difference.

    Also where pairs nearly always agree, or all that differ do so in one direction.
    """
    cells = [(better, worse) for better in range(n + 1) for worse in range(n + 1 - better)]
    intervals = {
        (better, worse): difference(
            [1.0] * better + [0.0] * (n - better),
            [0.0] * better + [1.0] * worse + [0.0] * (n - better - worse),
            confidence,
        ).interval
        for better, worse in cells
    }
    for p, q in [(0.01, 0), (0.02, 0), (0.05, 0), (0.1, 0), (0.2, 0), (0.3, 0), (0.5, 0), (0.8, 0),
                 (0.95, 0), (0.02, 0.01), (0.08, 0.03), (0.1, 0.1), (0.3, 0.3), (0.5, 0.4),
                 (0.15, 0.02), (0.7, 0.2)]:  # fmt: skip
        inside = sum(
            comb(n, better)
            * comb(n - better, worse)
            * p**better
            * q**worse
            * (1 - p - q) ** (n - better - worse)
            for (better, worse), (low, high) in intervals.items()
            if low <= p - q <= high
        )
        assert inside >= least, (p, q)


@pytest.mark.parametrize(
    ("a", "b"), [(0.5, 0.5), (0.2, 2), (5, 0.3), (0.05, 1), (2, 2), (8, 2)], ids=str
)
@pytest.mark.parametrize("n", [10, 40, 200])
def test_mean_covers_graded_scores(a: float, b: float, n: int) -> None:
    """Of graded scores, however skewed, 600 drawn samples have the true mean inside often enough.

    The bound is three standard errors of the simulation below what must be covered.
    """
    draw = random.Random(f"{a} {b} {n}")
    inside = [
        low <= a / (a + b) <= high
        for low, high in (
            mean([draw.betavariate(a, b) for _ in range(n)]).interval for _ in range(600)
        )
    ]
    assert sum(inside) / 600 >= LEAST - 3 * math.sqrt(0.05 * 0.95 / 600)


def _jittered(draw: random.Random) -> tuple[float, float]:
    base = draw.uniform(0.1, 0.9)
    return base + draw.uniform(0, 0.1), base


def _rarely_lost(draw: random.Random) -> tuple[float, float]:
    base = draw.random()
    return base, base if draw.random() < 0.95 else 0.0


def _apart(draw: random.Random) -> tuple[float, float]:
    return draw.betavariate(0.5, 0.5), draw.betavariate(0.5, 0.5)


@pytest.mark.parametrize(
    ("pair", "truth"), [(_jittered, 0.05), (_rarely_lost, 0.025), (_apart, 0.0)]
)
@pytest.mark.parametrize("n", [10, 40, 200])
def test_difference_covers_graded_pairs(
    pair: Callable[[random.Random], tuple[float, float]], truth: float, n: int
) -> None:
    """Of graded pairs, highly correlated ones too, the true difference is inside often enough."""
    draw = random.Random(f"{pair.__name__} {n}")
    inside = 0
    for _ in range(600):
        ones, others = zip(*(pair(draw) for _ in range(n)), strict=True)
        low, high = difference(ones, others).interval
        inside += low <= truth <= high
    assert inside / 600 >= LEAST - 3 * math.sqrt(0.05 * 0.95 / 600)


def test_higher_and_lower_confidence_cover_too() -> None:
    """At 0.9 and 0.99 the intervals cover about what they promise, as they do at 0.95."""
    for confidence in (0.9, 0.99):
        intervals = of_outcomes(20, confidence)
        for p in (0.02, 0.1, 0.2, 0.3, 0.5):
            assert covered(intervals, p) >= confidence - 0.03, (confidence, p)


@pytest.mark.parametrize(("confidence", "least"), LOWER.items())
@pytest.mark.parametrize("n", [10, 15, 18, 19, 26, 35, 60, 100, 200])
def test_lower_confidence_covers_rare_and_even(n: int, confidence: float, least: float) -> None:
    """Below 0.95 no proportion is missed much more often than is promised, not even right beside
    the end of an interval, and over all proportions none is: from 0.95 down to even odds.
    """
    intervals = of_outcomes(n, confidence)
    ends = [end + step for pair in intervals for end in pair for step in (-1e-9, 1e-9)]
    for p in (end for end in ends if 0 < end < 1):
        assert covered(intervals, p) >= least, p
    assert fmean(covered(intervals, p / 100) for p in range(1, 100)) >= confidence


@given(scores, st.floats(0.05, 0.995))
def test_mean_is_inside_and_never_of_zero_width(values: list[float], confidence: float) -> None:
    """An interval has a width, lies between 0 and 1, and has the mean inside."""
    found = mean(values, confidence)
    low, high = found.interval
    assert 0 <= low < high <= 1
    assert low - 1e-12 <= found.mean <= high + 1e-12
    assert found.n == len(values)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
def test_difference_turns_its_sign(pairs: list[tuple[float, float]]) -> None:
    """The difference the other way round is the mirror image, and has a width."""
    ones, others = [a for a, _ in pairs], [b for _, b in pairs]
    there, back = difference(ones, others), difference(others, ones)
    assert there.mean == pytest.approx(-back.mean)
    assert there.interval.low == pytest.approx(-back.interval.high)
    assert -1 <= there.interval.low < there.interval.high <= 1
    assert there.interval.low - 1e-12 <= there.mean <= there.interval.high + 1e-12


@given(scores, st.floats(0.1, 0.9))
def test_more_confidence_is_wider(values: list[float], confidence: float) -> None:
    """An interval of more confidence has one of less inside, but for what the bounds cut off."""
    less, more = mean(values, confidence).interval, mean(values, confidence + 0.05).interval
    assert more.high - more.low >= less.high - less.low - 1e-12


def test_mean_by_hand() -> None:
    """Seven right of ten: the arithmetic of Agresti and Coull with t of 13 degrees of freedom."""
    found = mean([1.0] * 7 + [0.0] * 3)
    p = 9 / 14
    reach = 2.1604 * math.sqrt(p * (1 - p) / 14)  # the quantile as tables have it
    assert found.mean == 0.7
    assert found.interval == pytest.approx((p - reach, p + reach), abs=1e-4)


def test_difference_by_hand() -> None:
    """Of 20 pairs five are better and one is worse: Bonett and Price, t of 21 degrees."""
    found = difference([1.0] * 5 + [0.0] * 15, [0.0] * 5 + [1.0] + [0.0] * 14)
    better, worse = 6 / 22, 2 / 22
    reach = 2.0796 * math.sqrt((better + worse - (better - worse) ** 2) / 22)
    assert found.mean == pytest.approx(0.2)
    assert found.interval == pytest.approx((4 / 22 - reach, 4 / 22 + reach), abs=1e-4)


def test_estimate_is_a_number() -> None:
    """It computes and compares as its mean, is copied with its interval, and tells it plainly."""
    found = mean([1.0, 0.0, 0.5, 0.5])
    assert found == 0.5
    assert found + 1 == 1.5
    assert f"{found:.1%}" == "50.0%"
    for twin in (copy.copy(found), copy.deepcopy(found)):
        assert isinstance(twin, Estimate)
        assert (twin.mean, twin.interval, twin.n) == (found.mean, found.interval, 4)
    assert found.plain() == {"mean": 0.5, "interval": list(found.interval), "n": 4}


def test_nothing_observed() -> None:
    """Without observations the mean is no number, the interval is all there is, JSON has None."""
    assert math.isnan(mean([]))
    assert mean([]).interval == Interval(0.0, 1.0)
    assert difference([], []).interval == Interval(-1.0, 1.0)
    assert mean([]).plain() == {"mean": None, "interval": None, "n": 0}


@pytest.mark.parametrize("confidence", [0, 1, 95, -0.5, math.nan])
def test_confidence_makes_sense(confidence: float) -> None:
    """95 for 0.95 is a mistake that is told."""
    with pytest.raises(ValueError, match="confidence"):
        mean([1.0], confidence)


def test_pairs_are_pairs() -> None:
    """Lists of two lengths are no pairs."""
    with pytest.raises(ValueError, match="shorter"):
        difference([1.0, 0.0], [1.0])
