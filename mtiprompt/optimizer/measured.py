"""What was measured: the score of each task, of each point, for each item."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from mtiprompt.checks import check_mapping, read_names
from mtiprompt.combine import Combined
from mtiprompt.errors import DataError
from mtiprompt.optimizer.point import Point

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """What came of measuring a point on items.

    Attributes:
        point: The point.
        items: The numbers of the items.
        scores: By task, the score of each of the items, from 0 to 1. Every item has its scores: an
            outage is no score, so whoever measures asks again, or gives up with an error.
        calls: Calls that it took, repairs and those that a cache answered included, so that a
            search goes the same way whether replies were cached or not.

    Raises:
        DataError: A task has not one score for each item.
    """

    point: Point
    items: tuple[int, ...]
    scores: Mapping[str, tuple[float, ...]]
    calls: int

    def __post_init__(self) -> None:
        """Check the scores."""
        for name, scores in self.scores.items():
            if len(scores) != len(self.items) or not all(0 <= one <= 1 for one in scores):
                raise DataError(
                    f"the scores of the task {name!r} are {scores!r:.80}",
                    hint=f"give {len(self.items)} numbers from 0 to 1",
                )


class Measured:
    """All evaluations so far.

    Args:
        program: The program.
        weights: By task, how much its score counts; others count 1.

    Attributes:
        weights: They, of every task, with the sum 1.
        calls: Calls that they took.

    Raises:
        DataError: A weight is no number, below 0 or for no task, or all are 0.
    """

    def __init__(self, program: Combined, weights: Mapping[str, float]) -> None:
        check_mapping('{"mood": 2}', weights=weights)
        weights = read_names(weights, "weights")
        given: dict[str, Any] = {name: weights.get(name, 1.0) for name in program.order}
        hint = f"numbers of 0 or more by task: {', '.join(program.order)}"
        if not all(isinstance(one, Real) and not isinstance(one, bool) for one in given.values()):
            raise DataError(f"the weights are {dict(weights)!r:.80}", hint=hint)
        total = math.fsum(given.values())
        if min(given.values()) < 0 or not 0 < total < math.inf or weights.keys() - given.keys():
            raise DataError(f"the weights are {dict(weights)!r:.80}", hint=hint)
        self.weights = {name: weight / total for name, weight in given.items()}
        self.calls = 0
        self._scores: dict[Point, dict[int, tuple[float, ...]]] = {}

    @property
    def points(self) -> list[Point]:
        """The points that were measured, in the order in which they were first."""
        return list(self._scores)

    def items(self, point: Point) -> int:
        """How many items a point was measured on."""
        return len(self._scores.get(point, ()))

    def add(self, evaluations: Iterable[Evaluation]) -> None:
        """Take note of evaluations.

        Raises:
            DataError: One lacks the scores of a task.
        """
        for one in evaluations:
            if missing := [name for name in self.weights if name not in one.scores]:
                raise DataError(f"an evaluation lacks the scores of the task {missing[0]!r}")
            rows = zip(*(one.scores[name] for name in self.weights), strict=True)
            self._scores.setdefault(one.point, {}).update(zip(one.items, rows, strict=True))
            self.calls += one.calls

    def tables(self) -> dict[str, Array]:
        """By task, a row for each point, a column for each item; not a number where unmeasured."""
        import numpy as np

        columns = {item: n for n, item in enumerate(sorted(set().union(*self._scores.values())))}
        table = np.full((len(self.weights), len(self._scores), len(columns)), np.nan)
        for row, seen in enumerate(self._scores.values()):
            for item, scores in seen.items():
                table[:, row, columns[item]] = scores
        return dict(zip(self.weights, table, strict=True))

    def task_means(self, point: Point) -> dict[str, float]:
        """The mean score of each task of a point."""
        seen = list(self._scores[point].values())
        means = (math.fsum(column) / len(seen) for column in zip(*seen, strict=True))
        return dict(zip(self.weights, means, strict=True))

    def mean(self, point: Point) -> float:
        """The mean weighted score of a point."""
        return math.fsum(w * self.task_means(point)[name] for name, w in self.weights.items())

    def pairs(
        self, point: Point, other: Point, among: Sequence[int] | None = None
    ) -> tuple[list[float], list[float]]:
        """The weighted scores of two points for the items that both were measured on.

        Args:
            point: The one.
            other: The other.
            among: Only these items, if any are named.
        """
        both = self._scores[point].keys() & self._scores[other].keys()
        items = sorted(both if among is None else both & set(among))
        first, second = self._scores[point], self._scores[other]
        return [self._weighted(first[n]) for n in items], [self._weighted(second[n]) for n in items]

    def differences(self, point: Point, other: Point) -> dict[str, list[float]]:
        """By task, the scores of a point less those of another for the items of both.

        They are in the order in which the point was measured on them.
        """
        first, second = self._scores[point], self._scores[other]
        pairs = [(scores, second[item]) for item, scores in first.items() if item in second]
        return {
            name: [one[n] - two[n] for one, two in pairs] for n, name in enumerate(self.weights)
        }

    def _weighted(self, scores: Sequence[float]) -> float:
        total = math.fsum(w * one for w, one in zip(self.weights.values(), scores, strict=True))
        return min(1.0, max(0.0, total))
