"""How far answers move: the difference between readings alone and in company."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mtiprompt.planner.lens_read import Reading
from mtiprompt.stats import Interval

RESAMPLES = 2000
"""Resamples of the rows, from which an interval is read."""


@dataclass(frozen=True)
class Movement:
    """How far the probability of a task's own answers moves, in company of one other task.

    Attributes:
        moved: The mean over rows of the absolute change, from 0 to 1.
        interval: Of `moved`: percentiles of resamples of the rows; of fewer than two, all that is
            possible.
        change: The mean change; below 0 where the answers become less likely.
        change_interval: Of `change`.
        nats: The mean change of the natural logarithm; long answers show here, whose probability is
            near 0 either way.
        n: Rows.
    """

    moved: float
    interval: Interval
    change: float
    change_interval: Interval
    nats: float
    n: int


def movement(
    alone: Sequence[Reading | None], company: Sequence[Reading | None], confidence: float
) -> Movement:
    """What lies between how likely answers are alone and in company.

    Args:
        alone: Row by row, what was read after the task's own call; None: nothing.
        company: The same in company of the other task.
        confidence: Of the intervals.
    """
    logs = [
        (one.log(one.chosen), other.log(one.chosen))
        for one, other in zip(alone, company, strict=True)
        if one and other
    ]
    changes = [math.exp(after) - math.exp(before) for before, after in logs]
    moves = [abs(one) for one in changes]
    number = max(1, len(logs))
    return Movement(
        moved=math.fsum(moves) / number,
        interval=_resampled(moves, Interval(0.0, 1.0), confidence),
        change=math.fsum(changes) / number,
        change_interval=_resampled(changes, Interval(-1.0, 1.0), confidence),
        nats=math.fsum(after - before for before, after in logs) / number,
        n=len(logs),
    )


def _resampled(values: Sequence[float], bounds: Interval, confidence: float) -> Interval:
    """The interval of a mean from resamples of its observations (Efron 1979), by percentiles.

    Resamples of one observation are all alike, and tell nothing of others.
    """
    import numpy as np  # late: it takes time

    if len(values) < 2:
        return bounds
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    means = np.asarray(values)[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))
