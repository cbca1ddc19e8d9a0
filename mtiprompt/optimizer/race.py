"""Which points go on to more items, and which go no further.

Those go no further that are behind the leader, and groupings that a task suffers from. The baseline
always does: all are compared with it, and it is what is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import pairwise

from mtiprompt.gate import Gate
from mtiprompt.optimizer.measured import Measured
from mtiprompt.optimizer.point import Point
from mtiprompt.stats import difference

FINALISTS = 2
"""How many of the best points are finalists, whatever way they choose demonstrations."""


def promoted(
    measured: Measured,
    ranked: Sequence[Point],
    dropped: Set[Point],
    start: Point,
    *,
    sizes: Sequence[int],
    share: float,
) -> dict[Point, int]:
    """Who goes on, and to how many items; who was measured on the most comes first.

    Of the points measured on as many items the best go on, if they did not yet. Before them come
    the baseline, with which all are compared, and if demonstrations are selected by one, the best
    point of each way of selecting and the best of none: on as many items as any. There are few
    ways, one may be worth more than all else, and a model of single demonstrations knows it by
    these points alone. On the few items of new points some of many sets fit by chance, as a
    demonstration helps the items that are like it.

    Args:
        measured: What was measured.
        ranked: The points, the best first.
        dropped: Those that go no further.
        start: The baseline.
        sizes: The numbers of items, rising; all points were measured on the first.
        share: The part of the points measured on as many items that goes on.
    """
    wanted: dict[Point, int] = {}
    for size, more in reversed(list(pairwise(sizes))):
        here = [one for one in ranked if measured.items(one) >= size]
        for point in here[: int(share * len(here))]:
            if measured.items(point) < more and point not in dropped:
                wanted.setdefault(point, more)
    most = max(*map(measured.items, ranked), *wanted.values(), 0)
    first = {start, *_best_of_each_way([one for one in ranked if one not in {start, *dropped}])}
    due = {one: most for one in (start, *ranked) if one in first and measured.items(one) < most}
    return due | {one: wanted[one] for one in wanted if one not in due}


def finalists(ranked: Sequence[Point], dropped: Set[Point], start: Point) -> tuple[Point, ...]:
    """Those between which it is decided in the end, the baseline first.

    They are the two best points, and the best of each way of choosing demonstrations: nobody, if
    there is one way alone. Then the best differ by single demonstrations, of which the model learns
    more from new points.

    Args:
        ranked: The points, the best first.
        dropped: Those that go no further.
        start: The baseline.
    """
    running = [one for one in ranked if one not in {start, *dropped}]
    ways = _best_of_each_way(running)
    return tuple(dict.fromkeys((start, *running[:FINALISTS], *ways))) if ways else ()


def side_by_side(
    measured: Measured, prices: Mapping[Point, float], left: float
) -> dict[Point, int]:
    """On how many items points are measured next, so that they can be compared.

    Those that lag go on to twice as many, but no more than the one that was measured on the most;
    if none lags, all go on to twice as many. So another may overtake them at each step. All make
    fewer steps alike where calls do not last.

    Args:
        measured: What was measured, among it all of them.
        prices: The points, each with its calls for an item.
        left: Calls that are left.
    """
    done = {point: measured.items(point) for point in prices}
    most = max(done.values())
    going = {point: most - own for point, own in done.items() if own < most} or done
    step = int(left // sum(prices[point] for point in going))
    return {point: done[point] + min(step, more, done[point]) for point, more in going.items()}


def _best_of_each_way(ranked: Sequence[Point]) -> tuple[Point, ...]:
    """The best point of each way of choosing demonstrations, if there are several."""
    best: dict[str | None, Point] = {}
    for point in ranked:
        best.setdefault(point.select.way if point.select else None, point)
    return tuple(best.values()) if len(best) > 1 else ()


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
