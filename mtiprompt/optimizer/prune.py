"""Demonstrations that a point can do without: fewer tokens at no lower score.

The last step of a search before the confirmation. One after the other, each demonstration of the
point is left out; first that of which the model of all that was measured (`effects.py`) and its
length promise the largest saving. The shorter set is measured on the rows of the whole one, and
given up as soon as its mean is lower there, at 8, 16 or 32 rows. If it never is, it takes the place
of the longer one. All sets are compared with the whole one, so that small losses do not add up.

That is no proof that nothing is lost. Where the paired differences have a standard deviation of
0.3, a set that is as good passes about 29 times of 100, one that is 3 points worse 15 times, one
that is 10 points worse once or twice (`tests/test_prune.py`): most of what could go stays, and a
small loss is not seen. The confirmation that follows is on fresh rows and of the shorter set, so a
gain that it shows is the gain of what is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

from mtiprompt.optimizer.effects import Effects
from mtiprompt.optimizer.measured import Measured
from mtiprompt.optimizer.point import Point
from mtiprompt.optimizer.space import Space
from mtiprompt.stats import Estimate, difference

FIRST = 8
"""Rows at the first look."""
LEAST = 16
"""Rows below which nothing is dropped."""
MOST = 32
"""Rows at the last look. In simulated searches twice as many served no better: the calls for them
were lacking elsewhere."""

Upto = Callable[[Point, int], Generator[Any, Any, bool]]
"""Has a point measured on so many of the first rows; tells whether there were calls for it. It
yields what the search yields, and is sent what that is sent."""


@dataclass(frozen=True)
class Pruned:
    """What pruning came to.

    Attributes:
        before: The point that the search ended with.
        after: The same with the demonstrations that are left; equal to it if none could go.
        tried: How many shorter sets were measured.
        difference: The mean weighted score of `after` less that of `before`, on the same rows; None
            if they are equal. The set was chosen by these rows, so it looks better there than it
            is.
    """

    before: Point
    after: Point
    tried: int
    difference: Estimate | None

    @property
    def dropped(self) -> tuple[str, ...]:
        """The ids of the demonstrations that are gone, in the order in which they were shown."""
        return tuple(id for id in self.before.demos if id not in self.after.demos)


def prune(
    space: Space, measured: Measured, point: Point, effects: Effects, upto: Upto
) -> Generator[Any, Any, Pruned]:
    """Drop demonstrations of a point as long as that shows no loss; each is tried once at most.

    The point of the base is never what is left: whether demonstrations are worth their tokens at
    all is for the confirmation to say.

    Args:
        space: The space.
        measured: All that was measured; what `upto` asks for is there afterwards.
        point: The point.
        effects: The model of all that was measured.
        upto: Has further points measured.

    Raises:
        BudgetExceeded: As `upto`.
    """
    if measured.items(point) < LEAST:
        yield from upto(point, LEAST)
    rows = min(MOST, measured.items(point))
    kept, tried = point, 0
    for id in by_saving(space, point, effects) if rows >= LEAST else ():
        shorter = without(kept, id)
        if shorter != space.start:
            tried += 1
            if (yield from _is_level(shorter, point, rows, measured, upto)):
                kept = shorter
    change = None if kept == point else difference(*measured.pairs(kept, point))
    return Pruned(point, kept, tried, change)


def _is_level(
    shorter: Point, whole: Point, rows: int, measured: Measured, upto: Upto
) -> Generator[Any, Any, bool]:
    """Whether a set is not behind the whole one at any look, and there are calls for all looks."""
    for number in looks(rows):
        if not (yield from upto(shorter, number)):
            return False
        scores, others = measured.pairs(shorter, whole)
        if sum(scores) < sum(others) - 1e-9:
            return False
    return True


def looks(rows: int) -> Iterator[int]:
    """After how many rows a set is looked at, the last time after all of them."""
    number = FIRST
    while number < rows:
        yield number
        number *= 2
    yield rows


def by_saving(space: Space, point: Point, effects: Effects) -> list[str]:
    """The demonstrations of a point, that first which is most worth a try without it.

    That is its length times how probable it is that nothing is lost.

    Args:
        space: The space.
        point: The point.
        effects: The model of all that was measured.
    """

    def saving(id: str) -> float:
        demo = space.pool[id]
        length = len(demo.inputs_json) + len(demo.outputs_json)
        return length * effects.worth(without(point, id), point).probability

    return sorted(point.demos, key=saving, reverse=True)


def without(point: Point, id: str) -> Point:
    """A point without one of its demonstrations."""
    demos = tuple(one for one in point.demos if one != id)
    return replace(point, demos=demos)
