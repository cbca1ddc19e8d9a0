"""What a report is made of: plain values that the page and the terminal show each in their way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Text:
    """Paragraphs.

    Attributes:
        paragraphs: Plain text, one a paragraph.
        heading: What stands above them.
    """

    paragraphs: tuple[str, ...]
    heading: str = ""


@dataclass(frozen=True)
class Table:
    """A table; what it holds is shown as it is.

    Attributes:
        heading: What stands above it.
        columns: The headings of its columns. The first column names the row.
        rows: As many cells as there are columns.
        note: What stands below it.
    """

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Series:
    """Points of a chart that belong together.

    Attributes:
        name: What the legend calls them.
        x: Where they stand: numbers, or names.
        y: How high.
        low: Lower ends of their intervals; empty: they have none.
        high: Upper ends.
        text: What stands at each point; empty: nothing does.
    """

    name: str
    x: tuple[float, ...] | tuple[str, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    text: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        heading: What stands above it.
        kind: `points`, `lines`, `bars` (side by side), `stacked` (bars on each other) or `heat`: a
            row of cells for each series, coloured by `y` from loss to gain around 0, all with the
            same `x`; one without a number stays empty.
        series: What it shows.
        x_title: What the horizontal axis measures.
        y_title: What the vertical axis measures.
        note: What stands below it.
    """

    heading: str
    kind: Literal["points", "lines", "bars", "stacked", "heat"]
    series: tuple[Series, ...]
    x_title: str = ""
    y_title: str = ""
    note: str = ""


@dataclass(frozen=True)
class SlotRow:
    """One slot, with all that a person needs to see what went wrong.

    Attributes:
        data: The name of the data set.
        arm: The name of the arm.
        item: The id of the item.
        task: The name of the task.
        verdict: `right` (score 1), `part` (between), `wrong` (0), `failed` (no answer) or
            `unscored` (no gold).
        score: From 0 to 1; None without gold.
        answer: What was answered, plain JSON data; None where it failed.
        gold: What is right, plain JSON data; None where nobody has said.
        failure: Kind and message of what went wrong.
        prompt: The messages of its last call, (role, text) each.
        reply: The text that came back.
    """

    data: str
    arm: str
    item: str
    task: str
    verdict: Literal["right", "part", "wrong", "failed", "unscored"]
    score: float | None
    answer: Any
    gold: Any
    failure: str = ""
    prompt: tuple[tuple[str, str], ...] = ()
    reply: str = ""


@dataclass(frozen=True)
class Slots:
    """A list of slots that can be filtered.

    Attributes:
        heading: What stands above it.
        rows: The slots.
    """

    heading: str
    rows: tuple[SlotRow, ...] = field(repr=False)


Part = Text | Table | Chart | Slots
