"""What each part of a point does to the score of each task: an additive model of what was seen.

The score of a task for an item is modelled as the sum of effects of the item (`evidence.py`), the
effects of the point's features (`features.py`), a deviation of the point (what is not additive in
it), and noise.
All effects are normal around 0; features of one kind share a variance, which the data give
(expectation maximisation, pooled over tasks; Dempster, Laird and Rubin, JRSS B 39, 1977), so that a
kind without effect is drawn to 0. Items are common to points, so their effects cancel as in a
paired comparison. What a point is worth is drawn towards what its parts let expect: a lucky point
is not believed at its word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

from mtiprompt.optimizer.evidence import Evidence, evidence, gain_by_item, variances
from mtiprompt.optimizer.features import Column, Features
from mtiprompt.optimizer.point import Point

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

ROUNDS = 6
"""Rounds of expectation maximisation."""
TYPICAL = 0.03
"""The standard deviation of effects before anything is seen; it weighs as one effect."""
LARGE = 0.1
"""That of the effects of what changes a call as a whole."""
IMAGINED = 2
"""Items on which tasks went apart, imagined so that few that were seen do not say all."""
WHOLE = frozenset({"select", "size", "reasoning", "notation", "instruction"})
"""Their kinds."""


class Effect(NamedTuple):
    """What one feature does to the score of one task.

    Attributes:
        task: The task.
        column: The kind of the feature, and which of it.
        mean: The change of the score, expected.
        sd: Its standard deviation; an effect within two of them of 0 may well be noise.
    """

    task: str
    column: Column
    mean: float
    sd: float


class Worth(NamedTuple):
    """What a point is worth beside another.

    Attributes:
        gain: The expected difference of the weighted scores.
        sd: Its standard deviation.
    """

    gain: float
    sd: float

    @property
    def probability(self) -> float:
        """How probable it is that there is a gain."""
        return self.above(0.0)

    def above(self, level: float) -> float:
        """How probable it is that the difference is above a level."""
        ahead = self.gain - level
        return NormalDist().cdf(ahead / self.sd) if self.sd else float(ahead > 0)


class Inflation(NamedTuple):
    """How much larger the variance of a weighted sum is than if its tasks went apart.

    Attributes:
        changed: Between two points that are not the baseline: that of the noise.
        baseline: Beside the baseline: also that of what an item does to all other points, if it is
            the larger.
    """

    changed: float
    baseline: float


@dataclass(frozen=True)
class _Posterior:
    """The effects of one task: features first, then the deviations of the points seen."""

    mean: Array
    cov: Array
    noise: float


class Effects:
    """The model, fitted to tables of scores.

    Args:
        features: The features.
        points: The points that were seen.
        tables: By task, the score of each point (row) for each item (column); not a number where
            it was not asked for.
        weights: By task, how much its score counts.

    Attributes:
        points: The points, each with the number of its row.
        inflation: How much the tasks go together.
    """

    def __init__(
        self,
        features: Features,
        points: Sequence[Point],
        tables: Mapping[str, Array],
        weights: Mapping[str, float],
    ) -> None:
        import numpy as np

        self.features = features
        self.points = {point: n for n, point in enumerate(points)}
        self.tasks = features.space.program.order
        self.weights = np.array([weights[task] for task in self.tasks])
        self._rows = np.stack([features.of(point) for point in points], axis=1)
        self._kinds = self._kinds_of(len(points))
        self._fits = self._fit([tables[task] for task in self.tasks])
        self.inflation = self._shared([tables[task] for task in self.tasks])

    def _kinds_of(self, points: int) -> Array:
        """For every effect the number of its kind; the deviations are the last."""
        import numpy as np

        names = [kind for kind, _ in self.features.columns]
        order = list(dict.fromkeys(names))
        return np.array([order.index(kind) for kind in names] + [len(order)] * points)

    def _fit(self, tables: Sequence[Array]) -> list[_Posterior]:
        import numpy as np

        kinds = [*dict.fromkeys(kind for kind, _ in self.features.columns), ""]
        typical = np.array([LARGE if kind in WHOLE else TYPICAL for kind in kinds]) ** 2
        spread = typical
        changed = np.array([float(point != self.features.space.start) for point in self.points])
        seen = evidence(tables, changed)
        for _ in range(ROUNDS):
            fits = [self._posterior(one, t, spread) for t, one in enumerate(seen)]
            squares = sum(fit.mean**2 + np.diag(fit.cov) for fit in fits)
            total = np.bincount(self._kinds, weights=squares) + typical
            spread = total / (len(fits) * np.bincount(self._kinds) + 1)
            spread[0] = 1.0  # the level may be anywhere
        return fits

    def _posterior(self, seen: Evidence, task: int, spread: Array) -> _Posterior:
        import numpy as np

        design = np.hstack([self._rows[task], np.eye(len(self.points))])
        prior = 1 / np.maximum(spread[self._kinds], 1e-8)
        cov = np.linalg.inv(design.T @ seen.precision @ design + np.diag(prior))
        cov = (cov + cov.T) / 2
        return _Posterior(cov @ (design.T @ seen.pull), cov, seen.noise)

    def _shared(self, tables: Sequence[Array]) -> Inflation:
        """By how much the tasks go together."""
        import numpy as np

        squares = self.weights**2
        weighted = [w * table for w, table in zip(self.weights, tables, strict=True)]
        together = np.sum(weighted, axis=0)
        apart = float(squares @ [fit.noise for fit in self._fits])
        noise = max(1.0, variances(together)[0] / max(apart, 1e-12))
        base = self.points.get(self.features.space.start)
        if base is None:
            return Inflation(noise, noise)
        gains = np.array([gain_by_item(table, base) for table in (together, *tables)])
        items = gains.shape[1]
        by_item = float(squares @ gains[1:].var(axis=1)) if items else 0.0
        if not by_item:
            return Inflation(noise, noise)
        common = (items * gains[0].var() / by_item + IMAGINED) / (items + IMAGINED)
        return Inflation(noise, max(noise, common))

    def worth(self, point: Point, beside: Point) -> Worth:
        """What a point is worth beside another; they need not have been seen."""
        gain = var = 0.0
        for weight, one in zip(self.weights, self.by_task(point, beside).values(), strict=True):
            gain += float(weight * one.gain)
            var += float(weight * one.sd) ** 2
        is_baseline = self.features.space.start in (point, beside)
        factor = self.inflation.baseline if is_baseline else self.inflation.changed
        return Worth(gain, (factor * var) ** 0.5)

    def by_task(self, point: Point, beside: Point) -> dict[str, Worth]:
        """The same for each task alone."""
        found = {}
        rows = self.features.of(point) - self.features.of(beside)
        for task, row, fit in zip(self.tasks, rows, self._fits, strict=True):
            full = self._with_deviations(row, point, beside)
            var = max(0.0, float(full @ fit.cov @ full))
            found[task] = Worth(float(full @ fit.mean), var**0.5)
        return found

    def _with_deviations(self, row: Array, point: Point, beside: Point) -> Array:
        import numpy as np

        full = np.concatenate([row, np.zeros(len(self.points))])
        for one, sign in ((point, 1.0), (beside, -1.0)):
            if one in self.points:
                full[len(row) + self.points[one]] += sign
        return full

    def means(self) -> Array:
        """The expected weighted score of every point that was seen, but for what all share."""
        import numpy as np

        total = np.zeros(len(self.points))
        size = len(self.features.columns)
        for weight, rows, fit in zip(self.weights, self._rows, self._fits, strict=True):
            total += weight * (rows @ fit.mean[:size] + fit.mean[size:])
        return total

    def expected(self) -> Array:
        """The expected effects of the features, weighted: one row for each task."""
        import numpy as np

        size = len(self.features.columns)
        rows = [w * fit.mean[:size] for w, fit in zip(self.weights, self._fits, strict=True)]
        return np.array(rows)

    def draw(self, rng: np.random.Generator) -> Array:
        """The same, drawn from what is believed of them (Thompson, Biometrika 25, 1933)."""
        import numpy as np

        size = len(self.features.columns)
        rows = []
        for weight, fit in zip(self.weights, self._fits, strict=True):
            root = np.linalg.cholesky(fit.cov[:size, :size] + 1e-12 * np.eye(size))
            rows.append(weight * (fit.mean[:size] + root @ rng.standard_normal(size)))
        return np.array(rows)

    def told(self) -> tuple[Effect, ...]:
        """Every effect of a feature that was seen in one point and not in another."""
        found = []
        for task, rows, fit in zip(self.tasks, self._rows, self._fits, strict=True):
            for n, column in enumerate(self.features.columns):
                if rows[:, n].min() < rows[:, n].max():
                    sd = float(fit.cov[n, n]) ** 0.5
                    found.append(Effect(task, column, float(fit.mean[n]), sd))
        return tuple(found)
