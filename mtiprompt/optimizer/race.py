"""Which points go no further: those behind the leader, and groupings that a task suffers from.

The baseline always does: all are compared with it, and it is what is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
) -> set[Point]:
    """The points in which other tasks share a call than in the baseline, and one suffers from it.

    That is what the planner's gate (`mtiprompt.gate`) rejects: the task loses more than the margin.

    Args:
        measured: What was measured.
        points: The points.
        start: The baseline.
        margin: How much a task may lose, of its mean score; None: what it likes.
        alpha: With what probability a task that loses less is ever said to suffer, at any look.
    """
    if margin is None:
        return set()
    return {
        one
        for one in points
        if {*map(frozenset, one.groups)} != {*map(frozenset, start.groups)}
        and any(
            _is_rejected(losses, margin, alpha)
            for losses in measured.differences(start, one).values()
        )
    }


def _is_rejected(losses: Sequence[float], margin: float, alpha: float) -> bool:
    gate = Gate(margin=margin, alpha=alpha)
    gate.add(losses)
    return gate.verdict == "rejected"
