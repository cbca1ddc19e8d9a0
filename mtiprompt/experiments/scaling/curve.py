"""The per-slot curve: no loss up to a knee, from there the same loss with each doubling."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mtiprompt.stats import CONFIDENCE, Interval

STEP = 1 / 8
"""Of a doubling: how finely knees are tried."""
DRAWS = 500
"""Resamples of the items behind an interval."""
METHOD = (
    "loss = slope * max(0, log2(size) - log2(knee)), least squares over the paired losses of the "
    f"items; intervals by bootstrap over items ({DRAWS} draws, percentiles)"
)


@dataclass(frozen=True)
class Curve:
    """A fitted curve.

    Attributes:
        knee: The size from which score is lost; None: no knee fits better than no loss at all.
        knee_interval: Its interval; an infinite end says that some resamples show no loss.
        slope: The score lost with each doubling beyond the knee; 0 without a knee.
        slope_interval: Its interval.
    """

    knee: float | None
    knee_interval: Interval
    slope: float
    slope_interval: Interval

    def at(self, size: float) -> float:
        """The loss that it says for a size."""
        if self.knee is None:
            return 0.0
        return self.slope * max(0.0, math.log2(size) - math.log2(self.knee))


Loss = Mapping[int, float]
"""Of one item: its mean loss by size."""


def fit(
    losses: Sequence[Loss], *, seed: int = 0, draws: int = DRAWS, confidence: float = CONFIDENCE
) -> Curve:
    """The curve of paired losses.

    The loss of an item is its mean score alone less its mean score together, by size. The model
    is `slope * max(0, log2(size) - log2(knee))` with `slope >= 0`: at size 1 the loss is 0 by
    definition. Knees are tried in steps of an eighth of a doubling; for each the best slope is a
    division, and of knees that fit equally well the smallest is taken. Two sizes below and two
    above a knee are needed to place it well: between the largest size and the one before it,
    every knee fits.

    Args:
        losses: One mapping for each item; items need not have every size.
        seed: Draws the resamples.
        draws: How many.
        confidence: Of the intervals.

    Returns:
        The curve; without any loss to fit, one without a knee.
    """
    knee, slope = _best(losses)
    chance = random.Random(seed)
    found = [_best(chance.choices(losses, k=len(losses))) for _ in range(draws if losses else 0)]
    knees = sorted(math.inf if one is None else one for one, _ in found)
    slopes = sorted(one for _, one in found)
    return Curve(knee, _middle(knees, confidence), slope, _middle(slopes, confidence))


def _best(losses: Sequence[Loss]) -> tuple[float | None, float]:
    """Knee and slope with the least squares; (None, 0) if no loss fits better."""
    sums: dict[int, float] = {}
    counts: Counter[int] = Counter()
    for loss in losses:
        for size, value in loss.items():
            sums[size] = sums.get(size, 0.0) + value
            counts[size] += 1
    best, knee, slope = 1e-12, None, 0.0
    for step in range(round(math.log2(max(counts, default=1)) / STEP)):
        over = {size: max(0.0, math.log2(size) - step * STEP) for size in counts}
        product = math.fsum(sums[size] * over[size] for size in counts)
        square = math.fsum(counts[size] * over[size] ** 2 for size in counts)
        # by how much the squares shrink against no loss at all
        gain = product * product / square if product > 0 and square > 0 else 0.0
        if gain > best * (1 + 1e-9):
            best, knee, slope = gain, 2.0 ** (step * STEP), product / square
    return knee, slope


def _middle(values: Sequence[float], confidence: float) -> Interval:
    """The percentiles that hold the middle of sorted values."""
    if not values:
        return Interval(math.nan, math.nan)
    out = (1 - confidence) / 2
    last = len(values) - 1
    return Interval(values[math.floor(out * last)], values[math.ceil((1 - out) * last)])
