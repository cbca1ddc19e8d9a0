"""What a report says of the ways of running that a search measured, and which no other beats."""

from __future__ import annotations

from mtiprompt.optimizer import Tuned
from mtiprompt.optimizer.effects import Worth
from mtiprompt.optimizer.found import Tried
from mtiprompt.optimizer.point import Point
from mtiprompt.optimizer.tuned import STANDS_OUT
from mtiprompt.report.figures import NONE, signed
from mtiprompt.report.parts import Chart, Series, Table

SHOWN = 12
"""Rows of a table on the terminal."""


def tried_of(tuned: Tuned, name: str = "plan", *, most: int = SHOWN) -> Table:
    """The ways of running that were measured, the best first.

    Args:
        tuned: What the search found.
        name: What was tuned.
        most: How many are shown; the one of before is, wherever it stands.
    """
    baseline = tuned.found.baseline
    shown = [
        one for place, one in enumerate(tuned.found.tried) if place < most or one.point == baseline
    ]
    return Table(
        heading=f"{name}: tried",
        columns=("", "rows", "score", "expected gain", "cost", "front"),
        rows=tuple(_row(tuned, one) for one in shown),
        note=f"{len(shown)} of {len(tuned.found.tried)}. Score: the mean on those rows, which are "
        "not the same for all. Expected gain: by the model, drawn towards what the parts let "
        f"expect, ±{STANDS_OUT:g} standard deviations. Cost of a row: beside before, without a "
        "prompt cache. Front: no other is expected to be as good in every task and as cheap, or "
        "as good on the whole (weighted).",
    )


def _row(tuned: Tuned, one: Tried) -> tuple[str, ...]:
    return (
        called(one.point, tuned.found.baseline),
        str(one.items),
        f"{one.score:.2f}",
        _gain(tuned, one, one.worth),
        share_of(tuned, one.point),
        _place(tuned, one),
    )


def _gain(tuned: Tuned, one: Tried, worth: Worth) -> str:
    return "before" if one.point == tuned.found.baseline else give_or_take(worth.gain, worth.sd)


def _place(tuned: Tuned, one: Tried) -> str:
    """Whether a point is on the front, also by the weighted gain."""
    if one in tuned.weighted_front:
        return "weighted"
    return "by task" if one in tuned.front else ""


def front_of(tuned: Tuned, name: str = "plan") -> Table:
    """The ways of running that no other beats in every task and in cost, the cheapest first.

    Args:
        tuned: What the search found.
        name: What was tuned.
    """
    tasks = tuned.space.program.order
    return Table(
        heading=f"{name}: front",
        columns=("", *tasks, "all, weighted", "rows", "cost", "front"),
        rows=tuple(
            (
                called(one.point, tuned.found.baseline),
                *(_gain(tuned, one, one.tasks[task].worth) for task in tasks),
                _gain(tuned, one, one.worth),
                str(one.items),
                share_of(tuned, one.point),
                _place(tuned, one),
            )
            for one in tuned.front
        ),
        note="What each task is expected to gain by the model, which was fitted to all that was "
        f"measured, ±{STANDS_OUT:g} standard deviations; rows: those that this way was run on. No "
        "other way is expected to be as good in every task and as cheap, and better in one of "
        "these; weighted: none is as good on the whole and as cheap.",
    )


def share_of(tuned: Tuned, point: Point) -> str:
    """What a row costs at a point beside the baseline, in percent, if it was measured."""
    if point not in tuned.taken or not (before := tuned.cost(tuned.found.baseline)):
        return NONE
    return f"{tuned.cost(point) / before:.0%}"


def give_or_take(mean: float, sd: float) -> str:
    """What is expected, and how sure that is, `+0.12 ±0.05`."""
    return f"{signed(mean)} ±{STANDS_OUT * sd:.2f}"


def called(point: Point, baseline: Point) -> str:
    """A point in words: its demonstrations, and what else is not as in the baseline.

    Args:
        point: The point.
        baseline: What it is told beside.
    """
    told = [f"demos {', '.join(point.demos)}" if point.demos else "no demos"]
    if point.select:
        told = [f"{point.select.number} demonstrations of each item by {point.select.way}"]
    if point.groups != baseline.groups:
        told.append(" | ".join("+".join(group) for group in point.groups))
    if point.reasoning != baseline.reasoning:
        told += [f"{'a' if on else 'no'} reason for {task}" for task, on in point.reasoning]
    if point.notation != baseline.notation:
        told.append(f"notation {point.notation}")
    told += [f"wording {number} of {task}" for task, number in point.instructions]
    return "; ".join(told)


def against_cost(tuned: Tuned, name: str = "plan") -> Chart:
    """What each way of running is expected to gain, against its cost.

    Args:
        tuned: What the search found.
        name: What was tuned.
    """
    by_task = [one for one in tuned.front if one not in tuned.weighted_front]
    others = [one for one in tuned.found.tried if one not in tuned.front]
    before = tuned.cost(tuned.found.baseline) if tuned.found.tried else 1.0
    series = []
    for what, some in (
        ("no other is better and cheaper", tuned.weighted_front),
        ("no other is better in every task and cheaper", by_task),
        ("others", others),
    ):
        reach = [STANDS_OUT * one.worth.sd for one in some]
        gains = [one.worth.gain for one in some]
        series.append(
            Series(
                what,
                tuple(tuned.cost(one.point) / (before or 1.0) for one in some),
                tuple(gains),
                tuple(gain - far for gain, far in zip(gains, reach, strict=True)),
                tuple(gain + far for gain, far in zip(gains, reach, strict=True)),
            )
        )
    return Chart(
        heading=f"{name}: gain against cost",
        kind="points",
        series=tuple(series),
        x_title="cost of a row, beside before, without a prompt cache",
        y_title="expected gain",
    )
