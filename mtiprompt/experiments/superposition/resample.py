"""Means over prompts, with intervals by resampling of the prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mtiprompt.stats import CONFIDENCE, Estimate, Interval

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

RESAMPLES = 2000
METHOD = (
    f"bootstrap over prompts ({RESAMPLES:,} resamples, percentiles), which is too narrow for few "
    "prompts"
)
"""How intervals are found; a method for scores of 0 and 1 is too wide for small probabilities."""


def mean(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """The mean of what was seen of each prompt.

    Args:
        values: One for each prompt.
        confidence: Of the interval.
    """
    return of_means([(one,) for one in values], lambda means: means[:, 0], confidence)


def difference(
    values: Sequence[float], others: Sequence[float], confidence: float = CONFIDENCE
) -> Estimate:
    """The mean of `values - others`, paired prompt by prompt.

    Args:
        values: One for each prompt.
        others: One for each prompt, in the same order.
        confidence: Of the interval.
    """
    return mean([one - other for one, other in zip(values, others, strict=True)], confidence)


def of_means(
    rows: Sequence[Sequence[float]],
    figure: Callable[[Array], Array],
    confidence: float = CONFIDENCE,
) -> Estimate:
    """A figure of the means over prompts.

    All figures over as many prompts stand on the same resamples (Efron, The Annals of Statistics 7,
    1979).

    Args:
        rows: For each prompt as many values.
        figure: Computes it from the means of the values, for each row of a table of means.
        confidence: Of the interval.
    """
    import numpy as np  # late: it takes time

    values = np.asarray(rows, dtype=np.float64)
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    found = float(figure(values.mean(axis=0, keepdims=True))[0])
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(figure(values[drawn].mean(axis=1)), ends)
    # sums of the same numbers in another order differ in their last digit
    return Estimate(found, Interval(min(float(low), found), max(float(high), found)), len(values))
