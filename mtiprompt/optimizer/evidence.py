"""What scores say of points when what the items do to them is summed out.

The score of a point for an item is the point's, and an effect of the item, and noise; all points
but the baseline have a further effect of the item in common. An item may take to demonstrations as
such, whichever they are: it makes points alike that were measured on the same few items, so that
how they do beside the baseline is less sure than their number suggests. How large that effect is
next to the noise is averaged over some ratios, each weighted by how likely it makes the scores
(restricted likelihood: Patterson and Thompson, Biometrika 58, 1971).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RATIOS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Variances of an item's common effect on all points but the baseline, next to the noise."""
NOISE = 0.3
"""The standard deviation of the noise where too little was seen to say."""


class Evidence(NamedTuple):
    """What a table says of its points.

    Attributes:
        precision: Of the points' scores, a matrix.
        pull: The precision times what was seen.
        noise: The variance of one score about its point and its item.
    """

    precision: Array
    pull: Array
    noise: float


def evidence(tables: Sequence[Array], changed: Array) -> list[Evidence]:
    """What each of some tables of the same points says; what they have in common is found in all.

    Args:
        tables: Scores, points x items; not a number where a point was not measured.
        changed: For each point 1, for the baseline 0.
    """
    import numpy as np

    scores = [_Scores.of(table) for table in tables]
    fits = [[one.fit(ratio, changed) for one in scores] for ratio in RATIOS]
    likely = np.array([sum(fit.likelihood for fit in row) for row in fits])
    weights = np.exp(likely - likely.max())
    ratio = float(weights @ RATIOS / weights.sum())
    return [one.fit(ratio, changed).evidence for one in scores]


class _Fit(NamedTuple):
    evidence: Evidence
    likelihood: float


@dataclass(frozen=True)
class _Scores:
    """A table, centred; 0 where a point was not measured.

    Attributes:
        values: Its scores.
        there: Where points were measured.
        noise: The variance of the noise.
        spread: The variance of what items do to all points.
    """

    values: Array
    there: NDArray[np.bool_]
    noise: float
    spread: float

    @staticmethod
    def of(table: Array) -> _Scores:
        import numpy as np

        there = ~np.isnan(table)
        center = table[there].sum() / max(1, there.sum())
        return _Scores(np.where(there, table - center, 0.0), there, *variances(table))

    def fit(self, ratio: float, changed: Array) -> _Fit:
        """The evidence, and the logarithm of the restricted likelihood, up to a constant."""
        import numpy as np

        size = len(self.values)
        precision, pull = np.zeros((size, size)), np.zeros(size)
        square = volume = 0.0
        for points, values in self._blocks():
            common = ratio * self.noise * np.outer(changed[points], changed[points])
            cov = self.noise * np.eye(len(points)) + self.spread + common
            inverse = np.linalg.inv(cov)
            drawn = inverse @ values
            precision[np.ix_(points, points)] += values.shape[1] * inverse
            pull[points] += drawn.sum(axis=1)
            square += float((values * drawn).sum())
            volume += values.shape[1] * float(np.linalg.slogdet(cov)[1])
        whole = precision + 1e-9 * np.eye(size)
        square -= float(pull @ np.linalg.solve(whole, pull))
        volume += float(np.linalg.slogdet(whole)[1])
        return _Fit(Evidence(precision, pull, self.noise), -(square + volume) / 2)

    def _blocks(self) -> Iterator[tuple[NDArray[np.intp], Array]]:
        """Points that were measured on the same items, and their scores for these."""
        import numpy as np

        patterns, which = np.unique(self.there, axis=1, return_inverse=True)
        for n, pattern in enumerate(patterns.T):
            points = np.flatnonzero(pattern)
            if len(points):
                yield points, self.values[np.ix_(points, np.flatnonzero(which.ravel() == n))]


def variances(table: Array) -> tuple[float, float]:
    """The variance of the noise, and that of the items, by a two-way fit (backfitting).

    Args:
        table: Scores, points x items; not a number where a point was not measured.
    """
    import numpy as np

    there = (~np.isnan(table)).astype(float)
    values = np.where(there > 0, table, 0.0)
    rows, columns = np.maximum(there.sum(axis=1), 1), np.maximum(there.sum(axis=0), 1)
    values = (values - values.sum() / max(1.0, there.sum())) * there
    points, items = np.zeros(len(values)), np.zeros(values.shape[1])
    for _ in range(5):
        items = ((values - points[:, None]) * there).sum(axis=0) / columns
        points = ((values - items[None, :]) * there).sum(axis=1) / rows
    rest = ((values - points[:, None] - items[None, :]) * there) ** 2
    used = there.sum(axis=0) > 0
    freedom = there.sum() - len(values) - used.sum() + 1
    # a few imagined observations keep it from 0 where all that was seen agrees
    noise = float((rest.sum() + 4 * NOISE**2 / 10) / (max(0.0, freedom) + 4))
    spread = float(np.var(items[used])) - noise / float(columns[used].mean())
    return noise, max(spread, 1e-4)


def gain_by_item(table: Array, base: int) -> Array:
    """What each item makes of all points but one beside that one, on average over these.

    How good a point is on the whole does not count: later items were seen by good points only.

    Args:
        table: Scores, points x items; not a number where a point was not measured.
        base: The row of that one.
    """
    import numpy as np

    gains = np.delete(table, base, axis=0) - table[base]
    there = ~np.isnan(gains)
    gains = np.where(there, gains, 0.0)
    means = gains.sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    seen = there.any(axis=0)
    found: Array = ((gains - means[:, None]) * there).sum(axis=0)[seen] / there.sum(axis=0)[seen]
    return found
