"""What is known of one task that is watched: what may be, what was seen, whether it has risen."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypedDict

from mtiprompt.errors import SettingsError
from mtiprompt.gate import LateBet, bounds
from mtiprompt.stats import Interval

RECENT = 50
"""Losses that are kept to tell how bad it is, once it is known that it is."""


class Event(TypedDict):
    """A task was found worse than it may be.

    Attributes:
        task: Its name.
        row: The number of the row at which it was found, from 1, over all runs with this state.
        observations: Losses of the task that were seen.
        recent: How many of the last losses tell most; since about then it is worse.
        mean: Their mean.
        interval: Where it lies, with the confidence of the test but without allowance for the
            choice of these losses.
        allowed: The loss that was there before, and may be.
        margin: What may come on top of it.
        unfused: Whether the task was taken out of its call.
    """

    task: str
    row: int
    observations: int
    recent: int
    mean: float
    interval: list[float]
    allowed: float
    margin: float
    unfused: bool


@dataclass(frozen=True)
class Terms:
    """What is promised of every task.

    Attributes:
        margin: The loss that may come on top of what is allowed.
        alpha: The probability with which one task may ever be called worse that is not.
        lowest: The least that a loss can be.
        learn: Losses from which is learned what is allowed.
    """

    margin: float
    alpha: float
    lowest: float
    learn: int


class Record:
    """What is known of one task.

    What is allowed is given, or learned from the first losses: the bound that their mean is below
    with half of the error; the bet has the other half.

    Args:
        terms: What is promised.
        allowed: The mean loss that may be, without the margin; None: it is learned.

    Attributes:
        n: Losses seen.
        allowed: The mean loss that may be; None: not known yet.
        alarm: The number of the row at which the task was found worse; None: it was not.

    Raises:
        SettingsError: From so few losses as the terms say nothing can be learned.
    """

    def __init__(self, terms: Terms, allowed: float | None) -> None:
        self.n = 0
        self.allowed = allowed
        self.alarm: int | None = None
        self._terms = terms
        self._alpha = terms.alpha / 2 if allowed is None else terms.alpha
        self._learned: list[float] = []
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._bet = None if allowed is None else self._begin()
        if allowed is None and terms.learn < (least := _least_to_learn(self._alpha, terms.margin)):
            raise SettingsError(
                f"the shadow has learn={terms.learn}, from which nothing can be learned",
                hint=f"give {least} or more, or allowed=",
            )

    @property
    def is_blind(self) -> bool:
        """Whether what was learned leaves no room: no mean loss is above it and the margin."""
        return self.allowed is not None and self._limit >= 1

    @property
    def is_open(self) -> bool:
        """Whether more losses could tell anything."""
        return self.alarm is None and not self.is_blind

    def add(self, loss: float) -> bool:
        """See a loss; whether by now the mean is known to have risen above what it may be."""
        self.n += 1
        self._recent.append(loss)
        if self._bet is None:
            self._learn(loss)
            return False
        self._bet.add(loss)
        return bool(self._bet.wealth >= -math.log(self._alpha))

    def event(self, task: str, row: int, *, unfused: bool) -> Event:
        """What is told of the task; its `allowed` is known."""
        telling = self._telling()
        return Event(
            task=task,
            row=row,
            observations=self.n,
            recent=len(telling),
            mean=fmean(telling),
            interval=list(self._bounds(telling)),
            allowed=self.allowed or 0.0,
            margin=self._terms.margin,
            unfused=unfused,
        )

    def plain(self) -> dict[str, Any]:
        """All that is known, as plain JSON data."""
        return {
            "n": self.n,
            "allowed": self.allowed,
            "alarm": self.alarm,
            "learned": self._learned,
            "recent": list(self._recent),
            "bet": self._bet and {"n": self._bet.n, "sums": self._bet.sums.tolist()},
        }

    def restore(self, known: Mapping[str, Any]) -> None:
        """Go on from what `plain` gave.

        Raises:
            KeyError: A part is missing.
            TypeError: A part has another type.
            ValueError: A part has another size.
        """
        import numpy as np

        self.n, self.alarm, self.allowed = int(known["n"]), known["alarm"], known["allowed"]
        self._learned = [float(one) for one in known["learned"]]
        self._recent.extend(float(one) for one in known["recent"])
        if self.allowed is not None:
            self._bet = self._begin()
            sums = np.array(known["bet"]["sums"], dtype=float)
            if sums.shape != self._bet.sums.shape:
                raise ValueError("the bet has another number of stakes")
            self._bet.n = int(known["bet"]["n"])
            self._bet.sums = sums

    def _learn(self, loss: float) -> None:
        self._learned.append(loss)
        if len(self._learned) >= self._terms.learn:
            self.allowed = highest_mean(self._learned, alpha=self._alpha)
            self._learned = []
            self._bet = self._begin()

    @property
    def _limit(self) -> float:
        return (self.allowed or 0.0) + self._terms.margin

    def _begin(self) -> LateBet:
        return LateBet(self._limit, lowest=self._terms.lowest)

    def _telling(self) -> list[float]:
        """The last losses, as many as a bet that began with them would have won the most on."""
        newest = list(reversed(self._recent))
        bet = LateBet(self._limit, lowest=self._terms.lowest, every=None)
        won = []
        for loss in newest:  # what a bet wins does not depend on the order
            bet.add(loss)
            won.append(float(bet.wealth))
        return newest[: won.index(max(won)) + 1]

    def _bounds(self, losses: Sequence[float]) -> Interval:
        """Where the mean of losses lies; the gate's bounds are for numbers from -1 to 1."""
        low, width = self._terms.lowest, 1 - self._terms.lowest
        found = bounds([2 * (one - low) / width - 1 for one in losses], alpha=self._alpha)
        return Interval(*(low + width * (one + 1) / 2 for one in found))


def highest_mean(values: Sequence[float], *, alpha: float) -> float:
    """What the mean of values from 0 to 1 is below, unless chance did what it seldom does.

    Hoeffding's bound in its sharp form (JASA 58, 1963, theorem 1): for a number of rows that was
    settled before, it is closer than the bounds of the gate, which hold at every row.

    Example:
        >>> from mtiprompt.watch.record import highest_mean
        >>> round(highest_mean([0.0] * 95 + [1.0] * 5, alpha=0.01), 3)
        0.144

    Args:
        values: At least one.
        alpha: The probability with which the mean may be above all the same.
    """
    found, limit = fmean(values), -math.log(alpha) / len(values)
    low, high = found, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _divergence(found, middle) < limit else (low, middle)
    return high


def _least_to_learn(alpha: float, margin: float) -> int:
    """Losses from which, if all are 0, the learned bound and the margin are below 1."""
    return math.floor(math.log(alpha) / math.log(margin)) + 1


def _divergence(found: float, mean: float) -> float:
    """That of Kullback and Leibler between two coins."""
    parts = ((found, mean), (1 - found, 1 - mean))
    return math.fsum(one * math.log(one / other) for one, other in parts if one > 0)
