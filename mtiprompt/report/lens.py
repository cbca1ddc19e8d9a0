"""What a report says of the interference lens: who moves whose answers, and how far."""

from __future__ import annotations

import math

from mtiprompt.planner import Lens, Movement
from mtiprompt.report.figures import NONE, signed, span
from mtiprompt.report.parts import Chart, Series, Table


def chart_of(lens: Lens, name: str = "plan") -> Chart:
    """The heat map: a row for each task, a column for each that it may share a call with.

    Args:
        lens: What was seen.
        name: What was looked at.
    """
    return Chart(
        heading=f"{name}: who moves whom (lens)",
        kind="heat",
        series=tuple(_heat(lens, task) for task in lens.tasks),
        note=_note(lens),
    )


def table_of(lens: Lens, name: str = "plan") -> Table:
    """The same as figures.

    Args:
        lens: What was seen.
        name: What was looked at.
    """
    return Table(
        heading=f"{name}: who moves whom (lens)",
        columns=("", *lens.tasks),
        rows=tuple(
            (task, *(_cell(lens.entries.get((task, other))) for other in lens.tasks))
            for task in lens.tasks
        ),
        note=_note(lens),
    )


def _heat(lens: Lens, task: str) -> Series:
    """The row of a task; to be moved is coloured as a loss, which it may be."""
    seen = [lens.entries.get((task, other)) for other in lens.tasks]
    return Series(
        task,
        lens.tasks,
        tuple(-one.moved if one else math.nan for one in seen),
        tuple(-one.interval.high if one else math.nan for one in seen),
        tuple(-one.interval.low if one else math.nan for one in seen),
        tuple(_told(one) if one else "" for one in seen),
    )


def _told(one: Movement) -> str:
    return f"{_cell(one)}\nmean {signed(one.change)}\nn={one.n}"


def _cell(one: Movement | None) -> str:
    return NONE if one is None else f"{one.moved:.2f} {span(*one.interval)}"


def _note(lens: Lens) -> str:
    of = "its own answer" if lens.scale == "whole answer" else "its own answer's first token"
    return (
        "A row is a task, a column another that shares its call: how far the probability of "
        f"{of} moves, up or down, the mean over {lens.rows:,} rows "
        f"[interval: {lens.confidence:.0%}, resamples of the rows]. No gold is used, and a "
        "movement is no loss: whether answers get worse, only measuring them says."
    )
