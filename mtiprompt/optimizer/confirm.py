"""Whether a candidate is better than the baseline, on pairs that it was not chosen by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mtiprompt.optimizer.measured import Evaluation
from mtiprompt.stats import Estimate, difference

FLIPS = 9999
ABREAST = 1000
"""Flips of the signs that are made at a time."""
SLACK = 1.5
"""Standard deviations that repairs may take above what is expected of them: with these, calls run
out before the last pair about once in 20 times."""
CLUMPED = 2.0
"""The variance of their number next to their mean: a reply is repaired more than once."""


def pairs_within(calls: float, pair: int, *, extra: float, seen: int) -> int:
    """How many pairs so many calls buy, so that they hardly ever run out before the last pair.

    The number depends on what calls took before the first pair, and so on no score of a pair.

    Args:
        calls: The calls.
        pair: Calls that a pair takes by its plans.
        extra: Further calls for each by plan so far: repairs, and calls that failed.
        seen: Of how many calls by plan that was seen.
    """
    number = max(0, int(calls // pair))
    while number:
        planned = number * pair
        spread = math.sqrt(CLUMPED * extra * planned * (1 + planned / max(1, seen)))
        if planned * (1 + extra) + SLACK * spread <= calls:
            break
        number -= 1
    return number


class TaskGain(NamedTuple):
    """What a task gains, on the fresh pairs.

    Attributes:
        before: Its mean score with the baseline.
        after: With the candidate.
        gain: The mean paired difference.
    """

    before: float
    after: float
    gain: Estimate


@dataclass(frozen=True)
class Confirmation:
    """What fresh pairs say of a candidate.

    Attributes:
        gain: The mean difference, candidate minus baseline, with its interval and the pairs.
        p_value: How probable so large a gain is if each difference had its sign by chance.
        better: Whether that is at most the error that is allowed.
        tasks: The same pairs task by task.
    """

    gain: Estimate
    p_value: float
    better: bool
    tasks: Mapping[str, TaskGain] = field(default_factory=dict)

    def losing(self, margin: float) -> tuple[str, ...]:
        """The tasks that lose more than a margin, by the whole of the interval."""
        return tuple(name for name, one in self.tasks.items() if one.gain.interval.high < -margin)

    def __str__(self) -> str:
        """The gain, the pairs and the p-value, in a few words."""
        return f"{self.gain:+.3f} on {self.gain.n} fresh pairs, p = {self.p_value:.4f}"


def task_gains(before: Evaluation, after: Evaluation) -> dict[str, TaskGain]:
    """What each task gains, on common items: the first of them, where the budget ended there.

    Args:
        before: What came of the baseline.
        after: What came of the candidate, on items in the same order.
    """
    found, n = {}, min(len(before.items), len(after.items))
    for name in after.scores:
        old, new = before.scores[name][:n], after.scores[name][:n]
        found[name] = TaskGain(sum(old) / n, sum(new) / n, difference(new, old))
    return found


def confirm(
    candidate: Sequence[float],
    baseline: Sequence[float],
    *,
    alpha: float,
    seed: int = 0,
    tasks: Mapping[str, TaskGain] | None = None,
) -> Confirmation:
    """Test for a gain, one-sided, by flipping the signs of the paired differences.

    The p-value is the share of random flips, the observed signs among them, with as large a mean
    (Pitman, Supplement to the JRSS 4, 1937; drawn as in Phipson and Smyth, 2010, so that it is
    never 0). If the two are equally good item by item up to chance, the probability of `better` is
    at most alpha, whatever the number of pairs and the shape of the scores.

    Args:
        candidate: The scores of the items, from 0 to 1.
        baseline: Those of the baseline, in the same order.
        alpha: The error that is allowed.
        seed: Of the flips.
        tasks: What each task gains on the same pairs.
    """
    import numpy as np

    gain = difference(candidate, baseline)
    differences = np.asarray(candidate, dtype=float) - np.asarray(baseline, dtype=float)
    rng, as_large = np.random.default_rng(seed), 0
    for first in range(0, FLIPS, ABREAST):  # not all at once, where there are thousands of pairs
        size = (min(ABREAST, FLIPS - first), len(differences))
        sums = rng.choice([-1.0, 1.0], size=size) @ differences
        as_large += int((sums >= differences.sum() - 1e-9).sum())
    p_value = (1 + as_large) / (1 + FLIPS)
    return Confirmation(gain, p_value, p_value <= alpha, tasks or {})
