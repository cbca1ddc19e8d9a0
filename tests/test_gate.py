"""The gate keeps its promise, agrees with arithmetic done by hand, and never changes its mind."""

from __future__ import annotations

import itertools
import math
import random
from statistics import fmean

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mtiprompt.gate import (
    BOLD,
    BOLDEST,
    STAKES,
    Gate,
    bounds,
    judge,
    log_wealth,
    share_of_alpha,
)

steps = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=1, max_size=60)


def by_hand(differences: list[float], margin: float) -> float:
    """The wealth of the bet that the loss is within the margin, in plain arithmetic."""
    total = 0.0
    for number in range(1, STAKES + 1):
        stake = BOLDEST / (1 - margin) * (number / STAKES) ** 2
        weight = BOLD if number == STAKES else (1 - BOLD) / (STAKES - 1)
        total += weight * math.prod(1 + stake * (margin - one) for one in differences)
    return total


def test_wealth_is_what_arithmetic_says() -> None:
    """Three rows give the wealth that a sum of products gives, for both bets."""
    rows = [0.0, 1.0, -0.5]
    wealth = log_wealth(rows, 0.1)
    for number in range(1, 4):
        within = math.exp(wealth.within[number - 1])
        beyond = math.exp(wealth.beyond[number - 1])
        assert within == pytest.approx(by_hand(rows[:number], 0.1))
        assert beyond == pytest.approx(by_hand([-one for one in rows[:number]], -0.1))


def test_wealth_does_not_grow_where_the_claim_holds() -> None:
    """Over all sequences of six rows its mean is at most 1, also if one stops at the richest."""
    margin = 0.2
    chances = {1.0: 0.35, 0.0: 0.5, -1.0: 0.15}  # the loss is 0.2: the bet is fair
    sequences = list(itertools.product(chances, repeat=6))
    weights = [math.prod(chances[one] for one in rows) for rows in sequences]
    wealth = [math.exp(log_wealth(rows, margin).within[-1]) for rows in sequences]
    assert math.fsum(w * x for w, x in zip(weights, wealth, strict=True)) == pytest.approx(1)
    ever = [max(log_wealth(rows, margin).within) >= math.log(3) for rows in sequences]
    assert math.fsum(w for w, one in zip(weights, ever, strict=True) if one) <= 1 / 3


@given(steps, steps)
@settings(max_examples=60)
def test_verdicts_stay(first: list[float], later: list[float]) -> None:
    """Rows that come later do not change a verdict, and there is one at most."""
    before = judge(first, margin=0.1, alpha=0.2)
    after = judge(first + later, margin=0.1, alpha=0.2)
    if before.verdict != "undecided":
        assert after.verdict == before.verdict
        assert before.more == after.more == 0


@given(steps, st.integers(1, 20))
@settings(max_examples=60)
def test_blocks_do_not_matter(rows: list[float], size: int) -> None:
    """Rows that come in blocks are judged as rows that come one by one."""
    gate = Gate(margin=0.05, alpha=0.1)
    for start in range(0, len(rows), size):
        gate.add(rows[start : start + size])
    whole, single = gate.finding(), judge(rows, margin=0.05, alpha=0.1)
    assert (whole.verdict, whole.n, whole.more) == (single.verdict, single.n, single.more)
    assert whole.loss == pytest.approx(fmean(rows))
    assert whole.bounds == pytest.approx(single.bounds)


@given(steps)
@settings(max_examples=40)
def test_bounds_hold_the_mean_and_are_the_tests_turned_round(rows: list[float]) -> None:
    """The mean is inside; margins outside are rejected or accepted at the last row."""
    low, high = bounds(rows, alpha=0.1)
    assert -1 <= low <= fmean(rows) <= high <= 1
    rich = -math.log(0.1)
    if high < 0.97:
        assert log_wealth(rows, high + 0.02).within[-1] >= rich
    if low > -0.97:
        assert log_wealth(rows, low - 0.02).beyond[-1] >= rich


def test_bounds_shrink() -> None:
    """Ten times the rows make the bounds much narrower."""
    rows = [0.0] * 9 + [1.0]
    widths = [high - low for low, high in (bounds(rows * n, alpha=0.05) for n in (2, 20, 200))]
    assert widths[0] > 2 * widths[1] > 4 * widths[2] > 0


def test_wrong_acceptance_is_rare() -> None:
    """Of 400 losses at the margin, seen after every row, at most 5% and chance are accepted."""
    draw = random.Random(7)
    wrong = 0
    for _ in range(400):
        rows = draw.choices([1.0, 0.0, -1.0], [0.15, 0.8, 0.05], k=300)
        wrong += judge(rows, margin=0.1, alpha=0.05).verdict == "accepted"
    assert wrong / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_what_is_clear_is_decided() -> None:
    """Rows that never differ are accepted, rows that mostly lose rejected, without more to come."""
    same = judge([0.0] * 100, margin=0.05, alpha=0.05)
    harmed = judge([1.0, 0.0] * 20, margin=0.05, alpha=0.05)
    assert (same.verdict, same.loss, same.more) == ("accepted", 0.0, 0)
    assert (harmed.verdict, harmed.loss, harmed.more) == ("rejected", 0.5, 0)
    assert harmed.bounds.low > 0.05 > same.bounds.high


@pytest.mark.parametrize("start", [10, 30, 60])
def test_rows_that_are_lacking_are_foretold(start: int) -> None:
    """Where rows go on as before, the verdict comes exactly when it was said to."""
    found = judge([0.0] * start, margin=0.05, alpha=0.05)
    assert found.verdict == "undecided"
    assert found.more
    last = [0.0] * (start + found.more)
    assert judge(last, margin=0.05, alpha=0.05).verdict == "accepted"
    assert judge(last[1:], margin=0.05, alpha=0.05).verdict == "undecided"


@settings(deadline=None)
@given(steps, st.integers(0, 200))
def test_it_gives_up_only_where_rows_that_agree_would_not_do(rows: list[float], more: int) -> None:
    """Where it gives up, rows without a difference would have brought no verdict."""
    gate = Gate(margin=0.1, alpha=0.05)
    gate.add(rows)
    assume(gate.verdict == "undecided")
    hope = gate.can_settle(more)
    gate.add([0.0] * more)
    assert hope or gate.verdict == "undecided"


def test_rows_that_will_be_rejected_are_worth_asking() -> None:
    """Differences like those so far count for the bet on a loss."""
    gate = Gate(margin=0.1, alpha=0.05)
    gate.add([1.0, 0.0] * 4)
    assert gate.verdict == "undecided"
    assert gate.can_settle(12)
    assert not gate.can_settle(1)


def test_what_cannot_be_told_is_not() -> None:
    """A loss of just the margin has no end in sight, and no rows say nothing."""
    assert judge([1.0] + [0.0] * 19, margin=0.05, alpha=0.05).more is None
    nothing = judge([], margin=0.05, alpha=0.05)
    assert nothing.verdict == "undecided"
    assert nothing.n == 0
    assert math.isnan(nothing.loss)
    assert nothing.bounds == (-1, 1)


def test_extremes_are_bounded() -> None:
    """Rows that all are 1 or -1 have bounds that end there."""
    assert bounds([1.0] * 50, alpha=0.05).high == 1
    assert bounds([-1.0] * 50, alpha=0.05).low == -1


def test_shares_sum_to_one() -> None:
    """However long the list, its parts of the error are no more than the whole."""
    assert math.fsum(map(share_of_alpha, range(10_000))) == pytest.approx(1, abs=1e-3)
    assert math.fsum(map(share_of_alpha, range(10_000))) < 1
