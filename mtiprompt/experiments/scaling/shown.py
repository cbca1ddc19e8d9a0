"""Findings in words, tables and charts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mtiprompt import stats
from mtiprompt.experiments.scaling.curve import METHOD
from mtiprompt.experiments.scaling.design import SWEEPS, Sweep
from mtiprompt.report.parts import Chart, Part, Series, Table, Text
from mtiprompt.stats import Estimate

if TYPE_CHECKING:
    from mtiprompt.experiments.scaling.findings import Findings, Line


def parts(found: Findings) -> tuple[Part, ...]:
    """A report of findings: the verdict in words, the tables, the charts, the methods."""
    shown: list[Part] = [Text(verdict(found), "In words")]
    for sweep in found.sweeps:
        shown += [*_tables(found, sweep), *_charts(found, sweep)]
    return (*shown, Text(_methods(found), "Methods"))


def tables(found: Findings) -> tuple[Table, ...]:
    """The tables of findings, sweep by sweep."""
    return tuple(table for sweep in found.sweeps for table in _tables(found, sweep))


def verdict(found: Findings) -> tuple[str, ...]:
    """Where the loss begins and what a slot costs, a paragraph for each sweep."""
    return tuple(_verdict(found, sweep) for sweep in found.sweeps)


def _verdict(found: Findings, sweep: Sweep) -> str:
    lines = found.lines[sweep]
    words = [f"{SWEEPS[sweep]}: {_begins(lines[None])}"]
    lost = [f"{kind} from {line.begins}" for kind, line in lines.items() if kind and line.begins]
    if lost and len(lines) > 2:
        words.append(f"By kind of output, score is lost for {', '.join(lost)}.")
    size, (together, alone) = list(found.costs(sweep).items())[-1]
    words.append(
        f"With {size} in a call a slot takes {_seconds(together.seconds)}, alone "
        f"{_seconds(alone.seconds)}; it reads {together.prompt_tokens:.0f} tokens instead of "
        f"{alone.prompt_tokens:.0f}, and writes {together.completion_tokens:.0f} instead of "
        f"{alone.completion_tokens:.0f}."
    )
    return " ".join(words)


def _begins(line: Line) -> str:
    if line.begins is None:
        last = line.differences[line.largest]
        could = max(0.0, -last.interval.low)
        return (
            f"no loss can be told apart up to {line.largest} ({_shown(last)} there, n = {last.n} "
            f"items; a loss of up to {could:.2f} cannot be excluded)."
        )
    first = line.differences[line.begins]
    words = f"the loss begins at {line.begins} ({_shown(first)}, n = {first.n} items)"
    if line.curve.knee is None:
        return f"{words}; the curve finds no knee."
    return (
        f"{words}; the fitted knee is {_knee(line)}, and each doubling beyond it costs "
        f"{line.curve.slope:.2f}."
    )


def _tables(found: Findings, sweep: Sweep) -> list[Table]:
    return [_differences(found, sweep), _spent(found, sweep), _by_position(found, sweep)]


def _differences(found: Findings, sweep: Sweep) -> Table:
    sizes, lines = found.sizes(sweep), found.lines[sweep]
    slots = ", ".join(f"{count} of {size}" for size, count in lines[None].slots.items())
    return Table(
        heading=f"{SWEEPS[sweep]}: score together less score alone",
        columns=("output", *map(str, sizes), "loss begins", "fitted knee"),
        rows=tuple(
            (
                kind or "all",
                *(_cell(line.differences.get(size)) for size in sizes),
                str(line.begins or "not seen"),
                _knee(line) if line.begins else "",
            )
            for kind, line in lines.items()
        ),
        note=f"Slots by size: {slots}.{_FEWER if sweep == 'same' and len(found.tasks) > 1 else ''}",
    )


_FEWER = " Data sets with fewer tasks are not among those of the larger sizes."


def _spent(found: Findings, sweep: Sweep) -> Table:
    rows = []
    for size, (together, alone) in found.costs(sweep).items():
        slots = found.of(sweep, size)
        rows.append(
            (
                str(size),
                str(len(slots)),
                str(sum(one.failed for one in slots)),
                _seconds(together.seconds),
                _seconds(alone.seconds),
                f"{together.prompt_tokens:.1f} ({together.cached_tokens:.1f})",
                f"{alone.prompt_tokens:.1f} ({alone.cached_tokens:.1f})",
                f"{together.completion_tokens:.1f}",
                f"{alone.completion_tokens:.1f}",
            )
        )
    return Table(
        heading=f"{SWEEPS[sweep]}: cost of a slot",
        columns=("size", "slots", "failed", "time", "alone", "tokens read (cached)", "alone",
                 "written", "alone"),
        rows=tuple(rows),
        note="Each call's cost is shared equally by its slots; alone are the same slots alone.",
    )  # fmt: skip


def _by_position(found: Findings, sweep: Sweep) -> Table:
    sizes = found.sizes(sweep)
    cells = {size: found.positions(sweep, size) for size in sizes}
    return Table(
        heading=f"{SWEEPS[sweep]}: score together less score alone, by position",
        columns=("position", *map(str, sizes)),
        rows=tuple(
            (str(position), *(_cell(cells[size].get(position)) for size in sizes))
            for position in range(1, max(sizes) + 1)
        ),
    )


def _charts(found: Findings, sweep: Sweep) -> list[Chart]:
    lines, costs = found.lines[sweep], found.costs(sweep)
    together = [one for one, _ in costs.values()]
    alone = [one for _, one in costs.values()]
    grown = "items in a call" if sweep == "items" else "tasks in a call"
    return [
        Chart(
            heading=f"{SWEEPS[sweep]}: score against size",
            kind="lines",
            series=(
                *(_series(kind or "all", line.differences) for kind, line in lines.items()),
                *_fitted(lines[None]),
            ),
            x_title=grown,
            y_title="score less score alone",
        ),
        Chart(
            heading=f"{SWEEPS[sweep]}: score against position",
            kind="lines",
            series=tuple(
                _series(f"{size} in a call", found.positions(sweep, size)) for size in costs
            ),
            x_title="position in the call",
            y_title="score less score alone",
        ),
        Chart(
            heading=f"{SWEEPS[sweep]}: time of a slot",
            kind="lines",
            series=(
                Series("together", tuple(costs), tuple(one.seconds for one in together)),
                Series("the same slots alone", tuple(costs), tuple(one.seconds for one in alone)),
            ),
            x_title=grown,
            y_title="seconds a slot",
        ),
        Chart(
            heading=f"{SWEEPS[sweep]}: tokens of a slot",
            kind="lines",
            series=(
                Series("read", tuple(costs), tuple(one.prompt_tokens for one in together)),
                Series("read alone", tuple(costs), tuple(one.prompt_tokens for one in alone)),
                Series("written", tuple(costs), tuple(one.completion_tokens for one in together)),
                Series(
                    "written alone", tuple(costs), tuple(one.completion_tokens for one in alone)
                ),
            ),
            x_title=grown,
            y_title="tokens a slot",
        ),
    ]


def _fitted(line: Line) -> tuple[Series, ...]:
    """The curve, where a loss can be told apart."""
    if line.begins is None:
        return ()
    sizes = tuple(line.differences)
    return (Series("all, fitted", sizes, tuple(-line.curve.at(size) for size in sizes)),)


def _series(name: str, points: Mapping[int, Estimate]) -> Series:
    return Series(
        name,
        tuple(points),
        tuple(one.mean for one in points.values()),
        tuple(one.interval.low for one in points.values()),
        tuple(one.interval.high for one in points.values()),
    )


def _methods(found: Findings) -> tuple[str, ...]:
    asked = "; ".join(f"{name}: {', '.join(tasks)}" for name, tasks in found.tasks.items())
    return (
        f"Model {found.model}, {found.demos} demonstrations, seed {found.seed}. Calls "
        f"{'followed each other' if found.serial else 'were concurrent: seconds include waiting'}."
        f"{''.join(f' {_held_back(name, n)}' for name, n in found.held_back.items())}",
        f"Tasks that take no answer of another one: {asked}.",
        "Every slot is paired with the same task on the same item in a call of its own. Tasks "
        "change places from item to item; the items of a call are drawn anew for each size.",
        f"Differences are means over items, at confidence {found.confidence}: "
        f"{stats.DIFFERENCE_METHOD}. Each interval holds for itself: of many that are looked at, "
        "some miss.",
        f"Curve: {METHOD}.",
    )


def _held_back(name: str, number: int) -> str:
    return f"Train rows of {name} not shown, as a test row has the same inputs: {number}."


def _shown(one: Estimate) -> str:
    return f"{one.mean:+.3f} [{one.interval.low:+.3f}, {one.interval.high:+.3f}]"


def _cell(one: Estimate | None) -> str:
    return "" if one is None else _shown(one)


def _knee(line: Line) -> str:
    knee, (low, high) = line.curve.knee, line.curve.knee_interval
    if knee is None:
        return ""
    ends = (f"beyond {line.largest}" if math.isinf(one) else f"{one:.1f}" for one in (low, high))
    return f"{knee:.1f} [{', '.join(ends)}]"


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
