"""How far the probabilities of answers lie from the shares of their tasks."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from mtiprompt.stats import CONFIDENCE, Interval

DRAWS = 500
"""Resamples of the prompts behind an interval."""
METHOD = (
    "Kullback-Leibler divergence, in nats, of the mean probabilities from the shares of the "
    f"examples; intervals by bootstrap over prompts ({DRAWS} draws, percentiles)"
)
_LEAST = 1e-30


@dataclass(frozen=True)
class Divergence:
    """How far probabilities lie from shares, in nats; 0: they are equal.

    Attributes:
        value: In all: what other answers take counts too.
        interval: Its interval.
        within: Among the right answers alone, as if there were no others.
        within_interval: Its interval.
        n: Prompts.
    """

    value: float
    interval: Interval
    within: float
    within_interval: Interval
    n: int


def divergence(
    shares: Sequence[float],
    found: Sequence[Sequence[float]],
    *,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Divergence:
    """The divergence of mean probabilities from shares.

    `sum(share * log(share / mean))` over the tasks. With `mass` the sum of the means it is
    `-log(mass)`, for what other answers take, plus the divergence within the right ones.

    Args:
        shares: Of the tasks; they add up to 1.
        found: For each prompt the probabilities of the tasks' answers, in the same order.
        seed: Draws the resamples.
        confidence: Of the intervals.
    """
    chance = random.Random(seed)
    drawn = [_divergences(shares, chance.choices(found, k=len(found))) for _ in range(DRAWS)]
    value, within = _divergences(shares, found)
    ends = [_middle(sorted(one), confidence) for one in zip(*drawn, strict=True)]
    return Divergence(value, ends[0], within, ends[1], len(found))


def _divergences(shares: Sequence[float], found: Sequence[Sequence[float]]) -> tuple[float, float]:
    means = [math.fsum(column) / len(found) for column in zip(*found, strict=True)]
    mass = max(math.fsum(means), _LEAST)
    whole = math.fsum(
        share * math.log(share / max(mean, _LEAST))
        for share, mean in zip(shares, means, strict=True)
        if share
    )
    return whole, whole + math.log(mass)


def _middle(values: Sequence[float], confidence: float) -> Interval:
    out, last = (1 - confidence) / 2, len(values) - 1
    return Interval(values[math.floor(out * last)], values[math.ceil((1 - out) * last)])
