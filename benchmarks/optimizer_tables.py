"""The tables of docs/results/optimizers.md, from what `optimizers.py` has measured.

    python benchmarks/optimizer_tables.py RECORD [--pack FILE]

RECORD is the folder of cells that `optimizers.py` keeps, or what `--pack` made of it: a line of
JSON for each cell, without the plan, which holds rows of the set (packed by xz where its name ends
so). No model, no set and no reply is needed, and no DSPy.

The first table has, for each set and count of calls, the mean of the tasks' scores on test over
seeds, and seed by seed, the different things that each search asked for, and how it ended. The
next have the same task by task. The last have what ours gains on each rival: at equal calls, and
with the fewest calls on each rival with the most. Each is the mean over those sets that both have
finished, of the seeds that both have; how many these are stands beside it. A 95% interval counts
the luck of test rows (those of a set are the same for all seeds) and that of runs: half of it is
the root of (1.96 SE of rows)^2 + (t SE of runs)^2, where t has sets x (seeds - 1) degrees of
freedom; where there is a single seed it knows nothing of runs.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from common import table
from numpy.typing import NDArray

from mtiprompt.stats import student

OURS, EXPECTED, UNGUARDED = "ours", "ours, expected", "ours, unguarded"
OWN = (OURS, EXPECTED, UNGUARDED)
FIRST = ("zero", *OWN, "random")
ALIKE = ("items", "rows", "dspy")
"""What has to be the same for two measurements to be compared."""
FEW = {1: 12.71, 2: 4.30}
"""Quantiles of Student's t where its expansion does not hold."""

Array = NDArray[np.float64]
Runs = dict[int, dict[str, float]]
"""The scores of rows, by seed."""
Methods = dict[str, Runs]
"""The runs by method."""


def read(path: Path) -> list[dict[str, Any]]:
    """The cells of a folder, or of a record."""
    if path.is_dir():
        return [json.loads(one.read_text("utf-8")) for one in sorted(path.glob("*.json"))]
    opened = lzma.open if path.suffix == ".xz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def pack(cells: Iterable[dict[str, Any]], path: Path) -> None:
    """Write a record: figures only."""
    opened = lzma.open if path.suffix == ".xz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        for one in cells:
            value = {name: one[name] for name in one if name != "plan"}
            print(json.dumps(value, ensure_ascii=False), file=file)


def check(cells: Iterable[dict[str, Any]], same: Mapping[str, Any]) -> None:
    """Refuse what was measured otherwise.

    Args:
        cells: What was measured.
        same: A cell that was measured as it should be, or what counts of it.
    """
    for one in cells:
        for name in ALIKE:
            if one[name] != same[name]:
                sys.exit(
                    f"{one['method']} on {one['data']}, {one['calls']} calls, seed {one['seed']}: "
                    f"{name} is {one[name]}, not {same[name]}; measure it again or take it away"
                )


def grouped(cells: Iterable[dict[str, Any]]) -> dict[int, dict[tuple[str, str], Methods]]:
    """The scores by calls, then by set and model."""
    found: dict[int, dict[tuple[str, str], Methods]] = defaultdict(lambda: defaultdict(dict))
    for one in cells:
        methods = found[one["calls"]][one["data"], one["model"]]
        methods.setdefault(one["method"], {})[one["seed"]] = one["scores"]
    return dict(sorted(found.items()))


def names(cells: Iterable[dict[str, Any]]) -> list[str]:
    """The methods, in the order of the lines of a table."""
    there = {one["method"] for one in cells}
    return [one for one in FIRST if one in there] + sorted(there - {*FIRST})


def scores(runs: Runs) -> Array:
    """A line for each seed, a column for each row of test."""
    rows = list(next(iter(runs.values())))
    return np.array([[one[row] for row in rows] for _, one in sorted(runs.items())])


def differences(mine: Runs, other: Runs) -> Array | None:
    """The same of what one has more than another, for the seeds of both."""
    both = mine.keys() & other.keys()
    if not both:
        return None
    rows = list(next(iter(mine.values())))
    return np.array([[mine[seed][row] - other[seed][row] for row in rows] for seed in sorted(both)])


def pooled(sets: Sequence[Array]) -> tuple[float, float]:
    """The mean over sets, and half of its 95% interval.

    Args:
        sets: For each set an array, seeds x test rows.
    """
    rows = sum(one.mean(axis=0).var(ddof=1) / one.shape[1] for one in sets) / len(sets) ** 2
    runs, freedom = 0.0, sum(one.shape[0] - 1 for one in sets)
    if freedom:
        several = [one for one in sets if one.shape[0] > 1]
        runs = sum(one.mean(axis=1).var(ddof=1) / one.shape[0] for one in several) / len(sets) ** 2
        runs *= (FEW.get(freedom) or student(1.96, freedom)) ** 2
    return float(np.mean([one.mean() for one in sets])), float((1.96**2 * rows + runs) ** 0.5)


def points(sets: Sequence[Array], sign: str = "") -> str:
    """A mean in points of 100, with its interval; one without a sign is a score."""
    if not sets:
        return ""
    middle, half = (100 * one for one in pooled(sets))
    low, high = middle - half, middle + half
    if not sign:
        low, high = max(0.0, low), min(100.0, high)
    return f"{middle:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def tables(cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    """All of them."""
    check(cells, cells[0])
    found, lines = grouped(cells), names(cells)
    columns = ["set, model", "calls", "method", "test", "seed by seed", "asked", "ended"]
    yield table(columns, reached(cells))
    yield from by_task(cells)
    for calls, sets in found.items():
        yield from beside(f"ours less, {calls} calls", sets, sets, lines)
    if len(found) > 1:
        few, *_, many = found
        yield from beside(f"ours with {few} less, with {many}", found[few], found[many], lines)


def by_method(
    cells: Sequence[dict[str, Any]],
) -> Iterator[tuple[str, str, dict[str, list[dict[str, Any]]]]]:
    """The runs of each method seed by seed, for each set with its model and count of calls."""
    keys = "data", "model", "calls"
    for data, model, calls in sorted({tuple(one[key] for key in keys) for one in cells}):
        here = [one for one in cells if tuple(one[key] for key in keys) == (data, model, calls)]
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names(here)}
        for one in sorted(here, key=lambda one: one["seed"]):
            runs[one["method"]].append(one)
        yield f"{data}, {model.partition('/')[2]}", str(calls), runs


def by_task(cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    """For each set and count of calls, what each method came to in each task, seed by seed."""
    for name, calls, methods in by_method(cells):
        tasks = list(next(iter(methods.values()))[0]["tasks"])
        lines = (
            [method, *(seed_by_seed(one["tasks"][task] for one in runs) for task in tasks)]
            for method, runs in methods.items()
        )
        yield table([f"{name}, {calls} calls", *tasks], lines)


def seed_by_seed(found: Iterable[float]) -> str:
    """Scores in points of 100."""
    return " ".join(f"{100 * one:.1f}" for one in found)


def reached(cells: Sequence[dict[str, Any]]) -> Iterator[list[str]]:
    """What each method came to."""
    for set_name, calls, methods in by_method(cells):
        for name, runs in methods.items():
            yield [
                set_name, calls, name,
                points([scores({one["seed"]: one["scores"] for one in runs})]),
                seed_by_seed(mean(one["scores"].values()) for one in runs),
                " ".join(str(one["made"]) for one in runs),
                "; ".join(dict.fromkeys(one["told"] for one in runs)),
            ]  # fmt: skip


def beside(
    title: str,
    mine: dict[tuple[str, str], Methods],
    others: dict[tuple[str, str], Methods],
    lines: Sequence[str],
) -> Iterator[str]:
    """What ours gains on each rival, on the sets that both have finished."""
    found = []
    for name in lines:
        if name in OWN:
            continue
        gained = {own: list(gains(mine, others, own, name)) for own in OWN}
        if sets := gained[OURS]:
            runs = f"{len(sets)} x {mean(one.shape[0] for one in sets):g}"
            found.append([name, runs, *(points(gained[own], "+") for own in OWN)])
    if found:
        yield table([title, "sets x seeds", *OWN], found)


def gains(
    mine: dict[tuple[str, str], Methods],
    others: dict[tuple[str, str], Methods],
    own: str,
    name: str,
) -> Iterator[Array]:
    """What one of ours gains on a rival, set by set."""
    for key, methods in sorted(mine.items()):
        found = differences(methods.get(own, {}), others.get(key, {}).get(name, {}))
        if found is not None:
            yield found


def main() -> None:
    """Print, and pack."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("record", type=Path, metavar="RECORD")
    arguments.add_argument("--pack", type=Path, metavar="FILE", help="write a record of figures")
    options = arguments.parse_args()
    cells = read(options.record)
    if not cells:
        sys.exit(f"{options.record} has nothing that was measured")
    if options.pack:
        pack(cells, options.pack)
    print("\n\n".join(tables(cells)))


if __name__ == "__main__":
    main()
