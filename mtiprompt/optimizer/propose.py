"""The point that would be best if given effects were the true ones."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from mtiprompt.optimizer.features import Features
from mtiprompt.optimizer.point import Point

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

CLIMB = 12
"""Moves up the hill at most."""


def best_point(features: Features, effects: Array, starts: Iterable[Point]) -> Point:
    """The point with the largest sum of effects that a climb from some starts finds.

    Demonstrations that the calls of a point show are chosen one by one, which is exact where their
    effects only add up, or selected for each item; all else is climbed move by move, the steepest
    first.

    Args:
        features: The features of the space.
        effects: One row for each task, one column for each feature.
        starts: Where to begin.
    """

    def value(point: Point) -> float:
        return float((features.of(point) * effects).sum())

    tops = []
    for start in starts:
        point = start
        for _ in range(CLIMB):
            best = max(features.space.reshaped(point), key=value, default=point)
            if value(best) <= value(point):
                break
            point = best
        tops += [_with_demos(features, effects, point), *features.space.selected(point)]
    return max(tops, key=value)


def _with_demos(features: Features, effects: Array, point: Point) -> Point:
    """The point with the best demonstrations and the best number of them; the best one last."""
    space = features.space
    if "demos" not in space.vary:
        return point
    whole = replace(point, demos=space.pool.ids, select=None)
    rows = {name: n for n, name in enumerate(space.program.order)}
    gains = {
        id: math.fsum(effects[rows[name], column] for name in space.shown_to(whole, id))
        for id, column in features.demo_columns.items()
    }
    ranked = sorted(gains, key=lambda id: -gains[id])
    sets = [ranked[:number] for number in range(min(space.most, len(ranked)) + 1)]
    worth = [
        sum(gains[id] for id in some) + _of_number(features, effects, len(some)) for some in sets
    ]
    best = max(range(len(sets)), key=worth.__getitem__)
    return replace(point, demos=tuple(reversed(sets[best])), select=None)


def _of_number(features: Features, effects: Array, number: int) -> float:
    return sum(
        value * float(effects[:, features.place(column)].sum())
        for column, value in features.number_values(number).items()
    )
