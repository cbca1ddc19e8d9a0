"""Which points go no further: those behind the leader, and groupings that a task suffers from.

The baseline always does: all are compared with it, and it is what is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mtiprompt.gate import Gate
from mtiprompt.optimizer.measured import Measured
from mtiprompt.optimizer.point import Point
from mtiprompt.stats import difference


def behind(
    measured: Measured, points: Iterable[Point], leader: Point, start: Point, sure: float
) -> set[Point]:
    """The points that are significantly behind the leader on the items of both.

    Args:
        measured: What was measured.
        points: The points.
        leader: The leader.
        start: The baseline.
        sure: The confidence of the two-sided interval.
    """
    return {
        one
        for one in points
        if one not in (leader, start)
        and difference(*measured.pairs(leader, one), sure).interval.low > 0
    }


def harmful(
    measured: Measured, points: Iterable[Point], start: Point, margin: float | None, alpha: float
) -> dict[Point, tuple[str, ...]]:
    """The points in which other tasks share a call than in the baseline, and who suffers from it.

    That is whom the planner's gate (`mtiprompt.gate`) rejects: it loses more than the margin.

    Args:
        measured: What was measured.
        points: The points.
        start: The baseline.
        margin: How much a task may lose, of its mean score; None: what it likes.
        alpha: With what probability a task that loses less is ever said to suffer, at any look.

    Returns:
        The tasks of each such point; points in which nobody suffers are not there.
    """
    if margin is None:
        return {}
    regrouped = [one for one in points if _calls(one) != _calls(start)]
    found = {one: tuple(_rejected(measured, one, start, margin, alpha)) for one in regrouped}
    return {one: names for one, names in found.items() if names}


def _calls(point: Point) -> set[frozenset[str]]:
    return {*map(frozenset, point.groups)}


def _rejected(
    measured: Measured, point: Point, start: Point, margin: float, alpha: float
) -> Iterator[str]:
    for name, losses in measured.differences(start, point).items():
        gate = Gate(margin=margin, alpha=alpha)
        gate.add(losses)
        if gate.verdict == "rejected":
            yield name
