"""The two rules by which a grouping may be chosen; what they promise is not the same.

`guarantee` promises: the probability that any task of the chosen plan loses more than the margin is
at most 1 - confidence, however often was looked and whatever was tried. `expected` promises
nothing: it says how probable that is on the rows seen, under a model of losses that are alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, NamedTuple, Protocol

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
"""Observations of a task from which `expected` says anything: with fewer, the prior would speak."""


@dataclass(frozen=True)
class TaskFinding:
    """What is known of the loss of one task in a grouping.

    Attributes:
        verdict: `accepted`, `rejected` or `undecided`.
        n: Observations: rows with gold for it, or calls with such rows if they have several.
        loss: The mean of its score alone minus its score in company.
        interval: Under `guarantee` the confidence sequence, under `expected` a credible interval.
        probability: Under `expected`, that the loss is within the margin; else None.
        expected: Under `expected`, the loss to be expected, which is nearer to those of the other
            tasks than `loss`; else None.
        more: Under `guarantee`, observations that a verdict would still take; None: more than can
            be told.
    """

    verdict: Verdict
    n: int
    loss: float
    interval: Interval
    probability: float | None = None
    expected: float | None = None
    more: int | None = None

    @property
    def best(self) -> float:
        """The best guess at the loss: under `expected` the one to be expected, else as measured."""
        return self.loss if self.expected is None else self.expected


class Judge(Protocol):
    """What is known of the tasks of one grouping, as their rows come."""

    def add(self, differences: Differences) -> None:
        """Look at further rows.

        Args:
            differences: What was seen in them, by task.
        """

    def is_settled(self, left: int) -> bool:
        """Whether further rows would be wasted.

        Args:
            left: How many there are at most.
        """

    def findings(self) -> dict[str, TaskFinding]:
        """What the rows so far say of every task."""


class Guarantee:
    """The gate for every task of a grouping.

    The tasks of a grouping need no correction: it is accepted only if each of them is, so it is
    wrongly accepted only if the one that is harmed is. Groupings do: each has its share.

    Args:
        tasks: The tasks that are judged.
        margin: The loss that may be.
        confidence: Of the promise, over all groupings.
        share: The part of the error that is this grouping's (`groupings.share_of_error`).
    """

    def __init__(
        self, tasks: Sequence[str], *, margin: float, confidence: float, share: float = 1.0
    ) -> None:
        alpha = (1 - confidence) * share
        self._gates = {name: gate.Gate(margin=margin, alpha=alpha) for name in tasks}

    def add(self, differences: Differences) -> None:
        """Look at further rows, after each of them."""
        for name, one in self._gates.items():
            one.add(differences[name])

    def is_settled(self, left: int) -> bool:
        """Whether one task is rejected, or all are accepted, or one will stay undecided.

        Args:
            left: How many observations there are still at most.
        """
        verdicts = {one.verdict for one in self._gates.values()}
        if "rejected" in verdicts or verdicts <= {"accepted"}:
            return True
        waiting = [one for one in self._gates.values() if one.verdict == "undecided"]
        return not all(one.can_settle(left) for one in waiting)

    def findings(self) -> dict[str, TaskFinding]:
        """What the gate says of every task."""
        found = {name: one.finding() for name, one in self._gates.items()}
        return {
            name: TaskFinding(one.verdict, one.n, one.loss, one.bounds, more=one.more)
            for name, one in found.items()
        }


class Expected:
    """What is to be expected of every task of a grouping.

    Args:
        tasks: The tasks that are judged.
        margin: The loss that may be.
        p: The probability of that from which a task is accepted; below 1 - p it is rejected.
        others: What was seen of other groupings.
        confidence: Of the credible intervals.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        margin: float,
        p: float,
        others: Sequence[Estimate] = (),
        confidence: float = 0.95,
    ) -> None:
        self.seen: dict[str, list[float]] = {name: [] for name in tasks}
        self._margin, self._p, self._confidence = margin, p, confidence
        self._others = tuple(others)

    def add(self, differences: Differences) -> None:
        """Look at further rows."""
        for name, values in self.seen.items():
            values += differences[name]

    def is_settled(self, left: int) -> bool:
        """Whether one task is rejected, or all are so safe that hardly a row can change it.

        Args:
            left: Not looked at: a few rows can change much.
        """
        del left
        found = self.findings().values()
        sure = 1 - (1 - self._p) / 4
        safe = all(one.verdict == "accepted" and (one.probability or 0) >= sure for one in found)
        return safe or any(one.verdict == "rejected" for one in found)

    def findings(self) -> dict[str, TaskFinding]:
        """How probable it is of every task that its loss is within the margin."""
        return expected(
            self.seen,
            margin=self._margin,
            p=self._p,
            others=self._others,
            confidence=self._confidence,
        )


class Estimate(NamedTuple):
    """A loss as it was measured.

    Attributes:
        loss: The mean difference.
        error: Its standard error.
    """

    loss: float
    error: float


def estimate(values: Sequence[float]) -> Estimate:
    """A loss and its standard error, which is not 0 where all rows agree (see `stats`).

    Args:
        values: The differences, one or more.
    """
    found = difference(values, [0.0] * len(values))
    reach = (found.interval.high - found.interval.low) / 2
    return Estimate(found.mean, reach / NormalDist().inv_cdf(0.975))


def expected(
    differences: Differences,
    *,
    margin: float,
    p: float,
    others: Sequence[Estimate] = (),
    confidence: float = 0.95,
) -> dict[str, TaskFinding]:
    """What is to be expected of every task of a grouping.

    The losses of all tasks in all groupings are taken for draws from one normal distribution, whose
    mean and spread are estimated from them (DerSimonian and Laird, Controlled Clinical Trials 7,
    1986); each loss is shrunk towards that mean by as much as it is uncertain. That the mean is
    itself an estimate widens what is said (Morris, Journal of the American Statistical Association
    78, 1983).

    Args:
        differences: What was seen.
        margin: The loss that may be.
        p: The probability of that from which a task is accepted; below 1 - p it is rejected.
        others: What was seen of other groupings.
        confidence: Of the credible intervals.
    """
    seen = {name: estimate(values) for name, values in differences.items() if values}
    prior = _prior([*seen.values(), *others])
    return {
        name: _finding(seen.get(name), len(values), prior, margin, p, confidence)
        for name, values in differences.items()
    }


def _finding(
    one: Estimate | None, n: int, prior: _Prior, margin: float, p: float, confidence: float
) -> TaskFinding:
    weight = 0.0 if one is None else prior.spread**2 / (prior.spread**2 + one.error**2)
    loss = math.nan if one is None else one.loss
    mean = prior.center + (weight * (loss - prior.center) if one else 0.0)
    variance = prior.spread**2 * (1 - weight) + (prior.error * (1 - weight)) ** 2
    after = NormalDist(mean, math.sqrt(variance))
    chance = after.cdf(margin)
    verdict: Verdict = "undecided"
    if n >= FEWEST:
        verdict = "accepted" if chance >= p else "rejected" if chance < 1 - p else "undecided"
    tail = (1 - confidence) / 2
    interval = Interval(max(-1.0, after.inv_cdf(tail)), min(1.0, after.inv_cdf(1 - tail)))
    return TaskFinding(verdict, n, loss, interval, probability=chance, expected=mean)


class _Prior(NamedTuple):
    """The distribution that losses are drawn from: mean, standard deviation, error of the mean."""

    center: float
    spread: float
    error: float


def _prior(seen: Sequence[Estimate]) -> _Prior:
    if not seen:
        return _Prior(0.0, SPREAD, 1.0)
    losses = [one.loss for one in seen]
    weights = [one.error**-2 for one in seen]
    total = math.fsum(weights)
    mean = _weighted(losses, weights)
    scatter = math.fsum(w * (one - mean) ** 2 for w, one in zip(weights, losses, strict=True))
    scale = total - math.fsum(w**2 for w in weights) / total
    variance = max(0.0, (scatter - (len(seen) - 1)) / scale) if len(seen) > 1 else 0.0
    spread = max(SPREAD, math.sqrt(variance))
    weights = [1 / (spread**2 + one.error**2) for one in seen]
    return _Prior(_weighted(losses, weights), spread, math.fsum(weights) ** -0.5)


def _weighted(values: Sequence[float], weights: Sequence[float]) -> float:
    products = (weight * value for weight, value in zip(weights, values, strict=True))
    return math.fsum(products) / math.fsum(weights)
