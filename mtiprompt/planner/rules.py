"""The two rules by which a grouping may be chosen; what they promise is not the same.

`guarantee` promises: the probability that any task loses more than the margin is at most
1 - confidence, however often was looked and whatever was tried. `expected` promises nothing: it
says how probable that is on the rows seen, under a model of losses that are alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from mtiprompt import gate
from mtiprompt.gate import Verdict
from mtiprompt.stats import Interval, difference

Rule = Literal["guarantee", "expected"]
Differences = Mapping[str, Sequence[float]]
"""Task to the score alone minus the score in company, row by row."""

SPREAD = 0.03
"""How far losses of tasks lie apart at least, in the prior of `expected`: as a standard deviation.
Without it, a few tasks that happen to be alike would outvote what was seen of each."""
FEWEST = 20
"""Rows from which `expected` decides early."""


@dataclass(frozen=True)
class TaskFinding:
    """What is known of the loss of one task in a grouping.

    Attributes:
        verdict: `accepted`, `rejected` or `undecided`.
        n: Rows.
        loss: The mean of its score alone minus its score in company.
        interval: Under `guarantee` the confidence sequence, under `expected` a credible interval.
        probability: Under `expected`, that the loss is within the margin; else None.
        more: Under `guarantee`, rows that a verdict would still take; None: more than can be told.
    """

    verdict: Verdict
    n: int
    loss: float
    interval: Interval
    probability: float | None = None
    more: int | None = None


def guarantee(
    differences: Differences, *, margin: float, confidence: float, place: int
) -> dict[str, TaskFinding]:
    """What the gate says of every task of a grouping.

    Args:
        differences: What was seen.
        margin: The loss that may be.
        confidence: Of the promise, over all groupings that are tried.
        place: How many groupings were tried before.
    """
    alpha = (1 - confidence) * gate.share_of_alpha(place)
    found = {}
    for name, values in differences.items():
        one = gate.judge(values, margin=margin, alpha=alpha)
        found[name] = TaskFinding(one.verdict, one.n, one.loss, one.bounds, more=one.more)
    return found


def expected(
    differences: Differences,
    *,
    margin: float,
    p: float,
    others: Sequence[Differences] = (),
    confidence: float = 0.95,
) -> dict[str, TaskFinding]:
    """What is to be expected of every task of a grouping.

    The losses of all tasks in all groupings are taken for draws from one normal distribution, whose
    mean and spread are estimated from them (empirical Bayes after DerSimonian and Laird, Controlled
    Clinical Trials 7, 1986); each loss is shrunk towards that mean by as much as it is uncertain.

    Args:
        differences: What was seen.
        margin: The loss that may be.
        p: The probability of that from which a task is accepted; below 1 - p it is rejected.
        others: What was seen of other groupings.
        confidence: Of the credible intervals.
    """
    seen = [_estimate(values) for one in (differences, *others) for values in one.values()]
    center, spread = _prior([one for one in seen if one[1] < math.inf])
    found = {}
    for name, values in differences.items():
        loss, error = _estimate(values)
        weight = spread**2 / (spread**2 + error**2) if error < math.inf else 0.0
        mean = center + weight * (loss - center) if weight else center
        after = NormalDist(mean, math.sqrt(max(spread**2 * (1 - weight), 1e-12)))
        chance = after.cdf(margin)
        verdict: Verdict = "undecided"
        if values:
            verdict = "accepted" if chance >= p else "rejected" if chance < 1 - p else "undecided"
        tail = (1 - confidence) / 2
        interval = Interval(after.inv_cdf(tail), after.inv_cdf(1 - tail))
        found[name] = TaskFinding(verdict, len(values), loss, interval, probability=chance)
    return found


def _estimate(values: Sequence[float]) -> tuple[float, float]:
    """A loss and its standard error, which is not 0 where all rows agree (see `stats`)."""
    if not values:
        return 0.0, math.inf
    found = difference(values, [0.0] * len(values))
    reach = (found.interval.high - found.interval.low) / 2
    return found.mean, reach / NormalDist().inv_cdf(0.975)


def _prior(seen: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Mean and standard deviation of the losses behind estimates."""
    if not seen:
        return 0.0, SPREAD
    weights = [1 / error**2 for _, error in seen]
    total = math.fsum(weights)
    mean = math.fsum(w * loss for w, (loss, _) in zip(weights, seen, strict=True)) / total
    scatter = math.fsum(w * (loss - mean) ** 2 for w, (loss, _) in zip(weights, seen, strict=True))
    scale = total - math.fsum(w**2 for w in weights) / total
    variance = max(0.0, (scatter - (len(seen) - 1)) / scale) if scale > 0 else 0.0
    return mean, max(SPREAD, math.sqrt(variance))
