"""Whether the interference lens foretells what tasks lose in company.

    python benchmarks/lens.py FOLDER [--sets A,B] [--items 20] [--looked 20] [--model NAME]
        [--demos 4] [-o KEPT] [--json]

FOLDER holds development sets (NAME.jsonl with NAME.task.json). On the first `--looked` rows the
lens says, for each task and each other, how far the task's answer moves when the other comes first
in the same call; no label is used. On the `--items` rows after those the same two tasks are asked
in the same order in one call, and apart: what the task's score loses there, row by row, is what the
lens should have foretold. Rows of lens and loss are not the same, as a plan is for rows not seen
yet. All tasks in one call are run too; there a task's loss stands beside the mean of the lens over
those that come before it, as they do where the lens looks; the first has none. A loss is the score
alone less that in company: above 0 company hurts.

Printed is Spearman's rank correlation for three scales of the lens: how far the probability of the
answer moves, how far it falls, how far its logarithm falls; above 0 the lens tells what loses. It
is given over all sets, and as the mean over sets of that within each: a planner orders within one
program, and sets that differ in both make the first one large. The 95% intervals resample sets
2,000 times and, for the first, the tasks within each too, so that losses on the same rows, and of
one task in several calls, stay together. Of few sets they are wide, and still too narrow; of one
there is none. Where all losses or all of the lens are equal, there is no correlation: such a set is
left out within, such a resample counts neither way, and how many sets tell is said. A loss is
itself known with an error only: the last line has the spread of the losses beside their standard
error, and how the best lens would correlate. Where these are alike, all are near 0 whatever the
lens is worth.

KEPT gets every reply and every reading of the lens: stopped, the same command goes on from there.
What `--json` has printed can stand in the place of FOLDER, and is printed as tables.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import parser, paths, table

import mtiprompt as mti
from mtiprompt.cli.measuring import measured_model
from mtiprompt.evaluation import draw_demos
from mtiprompt.planner import Lens, Movement, lens
from mtiprompt.planner.lens import pairs_in_order
from mtiprompt.planner.profile import Profile
from mtiprompt.report.figures import NONE, signed, span

SCALES: dict[str, Callable[[Movement], float]] = {
    "moves": lambda one: one.moved,
    "falls": lambda one: -one.change,
    "falls (log)": lambda one: -one.nats,
}
COMPANY = ("one other", "all tasks")
"""What else is in the call."""
COUNTS = {"losses": "n", "tasks": "tasks", "sets": "sets", "that tell": "telling"}
"""Columns of the table to what they count; a set tells if its losses and its lens differ."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Point:
    """What a task lost in a call, and what the lens said of it.

    Attributes:
        data: The name of the set.
        task: The name of the task.
        others: The other tasks of the call that the lens tells of.
        company: One of `COMPANY`.
        loss: Its mean paired loss.
        se: The standard error of that.
        n: Rows that this is over.
        seen: The mean of the lens over the others, by scale.
    """

    data: str
    task: str
    others: tuple[str, ...]
    company: str
    loss: float
    se: float
    n: int
    seen: dict[str, float]


def points_of(path: Path, options: argparse.Namespace) -> Iterator[Point]:
    """The points of one set."""
    data = mti.Dataset.load(path)
    program, folder = data.program, options.output / path.stem
    demos = draw_demos(program, data.train, options.demos, seed=0)
    shown = [demo.inputs for demo in demos]
    rows = [row for row in (*data.train, *data.dev) if dict(row.inputs) not in shown]
    looked, rows = rows[: options.looked], rows[options.looked :][: options.items]
    if len(rows) < 2:
        sys.exit(f"{path.stem}: {len(rows)} rows are left for losses; give a smaller --looked")
    model = measured_model(options.model, None, kinds=len(program.order) + 1)

    def tell() -> None:
        print(".", end="", file=sys.stderr, flush=True)

    print(path.stem, end=" ", file=sys.stderr, flush=True)
    seen = lens(program, looked, model=model, demos=demos, record=folder, progress=tell)
    split = mti.Plan.split(program, demos=demos)
    profile = Profile(program, rows, split, model=model, record=folder, progress=tell)

    def point(task: str, others: Sequence[str], company: str, plan: mti.Plan) -> Point:
        lost = [one for _, block in profile.compared(plan) for one in block[task]]
        loss, se = statistics.mean(lost), statistics.stdev(lost) / len(lost) ** 0.5
        told = seen_by(seen, task, others)
        return Point(path.stem, task, tuple(others), company, loss, se, len(lost), told)

    for (task, other), pair in pairs_in_order(program).items():
        if (task, other) in seen.entries:
            alone = [(name,) for name in program.order if name not in pair]
            plan = mti.Plan.groups(program, [pair, *alone], demos=demos)
            yield point(task, [other], COMPANY[0], plan)
    fused = mti.Plan.fused(program, demos=demos)
    for place, task in enumerate(program.order):
        if others := [one for one in program.order[:place] if (task, one) in seen.entries]:
            yield point(task, others, COMPANY[1], fused)
    print(file=sys.stderr)


def seen_by(lens: Lens, task: str, others: Sequence[str]) -> dict[str, float]:
    """The mean of the lens over the other tasks of a call, by scale."""
    entries = [lens.entries[task, one] for one in others]
    return {name: statistics.mean(map(scale, entries)) for name, scale in SCALES.items()}


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """The rank correlation, equal values with their mean rank; None where all are equal."""
    ranks = []
    for values in (one, other):
        _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[places])
    if any(np.ptp(each) == 0 for each in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


Pairs = tuple[tuple[float, float], ...]
"""Lens and loss of a task in each of its calls."""


Sets = Sequence[Sequence[Pairs]]
"""Those of each task of each set."""


def correlation(points: Sequence[Point], scale: str) -> dict[str, Any]:
    """The rank correlations of loss and lens, over all sets and within them, with intervals."""
    found: dict[str, dict[str, Pairs]] = {}
    for one in points:
        tasks = found.setdefault(one.data, {})
        tasks[one.task] = (*tasks.get(one.task, ()), (one.seen[scale], one.loss))
    sets = [list(tasks.values()) for tasks in found.values()]
    chance = random.Random(0)
    drawn = [chance.choices(sets, k=len(sets)) for _ in range(RESAMPLES)]
    anew = [[chance.choices(tasks, k=len(tasks)) for tasks in one] for one in drawn]
    return {
        "rho": estimate(over_sets, sets, anew),
        "within": estimate(within_sets, sets, drawn),
        "n": len(points),
        "tasks": sum(map(len, sets)),
        "sets": len(sets),
        "telling": sum(over_sets([tasks]) is not None for tasks in sets),
    }


def estimate(
    rho: Callable[[Sets], float | None], sets: Sets, resamples: Sequence[Sets]
) -> dict[str, Any]:
    """A correlation and its interval; None where there is none."""
    drawn = [one for one in map(rho, resamples) if one is not None]
    interval = None
    if len(sets) > 1 and drawn:
        interval = [float(end) for end in np.quantile(drawn, [0.025, 0.975])]
    return {"mean": rho(sets), "interval": interval}


def over_sets(sets: Sets) -> float | None:
    """The rank correlation of all losses."""
    return spearman(
        *zip(*(pair for tasks in sets for pairs in tasks for pair in pairs), strict=True)
    )


def within_sets(sets: Sets) -> float | None:
    """The mean of the rank correlation within each set that has one."""
    found = [rho for tasks in sets if (rho := over_sets([tasks])) is not None]
    return statistics.mean(found) if found else None


def rho_of(one: dict[str, Any]) -> str:
    """A correlation as the table has it."""
    if one["mean"] is None:
        return NONE
    interval = NONE if one["interval"] is None else span(*one["interval"])
    return f"{signed(one['mean'])} {interval}"


def found_in(points: Sequence[Point]) -> dict[str, Any]:
    """The correlations by company and scale, and how far losses are spread.

    `ceiling` is what noise leaves: how a lens that is right about every true loss would correlate
    with the losses seen (Spearman 1904, attenuation), both being normal.
    """
    of = {company: [one for one in points if one.company == company] for company in COMPANY}
    spread = statistics.stdev(one.loss for one in points)
    error = statistics.mean(one.se**2 for one in points) ** 0.5
    return {
        "spread": spread,
        "error": error,
        "ceiling": max(0.0, 1 - (error / spread) ** 2) ** 0.5 if spread else 0.0,
        "correlation": {
            company: {scale: correlation(some, scale) for scale in SCALES}
            for company, some in of.items()
            if some
        },
    }


def tables(points: Sequence[Point], found: dict[str, Any]) -> tuple[str, str]:
    """The losses, and the correlations."""
    losses = (
        [one.data, one.task, ", ".join(one.others), f"{one.seen['moves']:.3f}",
         f"{signed(one.loss)} \u00b1 {one.se:.2f}", str(one.n)]
        for one in points
    )  # fmt: skip
    correlations = (
        [company, scale, rho_of(seen["rho"]), rho_of(seen["within"]),
         *(str(seen[one]) for one in COUNTS.values())]
        for company, scales in found["correlation"].items()
        for scale, seen in scales.items()
    )  # fmt: skip
    return (
        table(["set", "task", "with", "lens moves", "loss", "rows"], losses),
        table(["company", "the answer's probability", "Spearman", "mean within sets", *COUNTS],
              correlations),
    )  # fmt: skip


def read(path: Path) -> list[Point]:
    """The points of an earlier run."""
    told = json.loads(path.read_text(encoding="utf-8"))["points"]
    return [Point(**{**one, "others": tuple(one["others"])}) for one in told]


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, items=20)
    arguments.add_argument("--looked", type=int, default=20, help="rows that the lens looks at")
    arguments.add_argument("--demos", type=int, default=4, help="demonstrations of every call")
    arguments.add_argument("--output", "-o", type=Path, default=Path(".cache/lens"), help="KEPT")
    options = arguments.parse_args()
    if options.folder.is_file():
        points = read(options.folder)
    else:
        points = [point for path in paths(options) for point in points_of(path, options)]
    if len(points) < 3:
        sys.exit("there are fewer than three losses; nothing can be said")
    found = found_in(points)
    if options.json:
        print(json.dumps({**found, "points": [vars(one) for one in points]}))
        return
    print("\n\n".join(tables(points, found)))
    print(f"\nlosses: standard deviation {found['spread']:.3f}, standard error of one "
          f"{found['error']:.3f}; a lens right about each true loss would have about "
          f"{found['ceiling']:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
