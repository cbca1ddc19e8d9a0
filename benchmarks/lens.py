"""Whether the interference lens foretells what tasks lose in company.

    python benchmarks/lens.py RECORDS FOLDER [--sets A,B] [--items 20] [--model NAME] [-o KEPT]
                              [--json]

RECORDS is what benchmarks/plans.py has kept (SET/profile.jsonl), FOLDER the development sets. KEPT
gets the lines of that which it does not have yet, and every reading of the lens: stopped, the same
command goes on from there. The search is run again on the replies on record, without any call, and
gives for each call that several tasks shared and for each task in it the paired loss beside that
task alone. A profile does not say which of the others did it, so it is compared task by task: with
the mean of the lens over the other tasks of that call, those with an entry, as seen on the first
`--items` rows, which needs the model. A loss is the score alone less that in company. Printed is
Spearman's rank correlation for three scales of the lens: how far the probability of the answer
moves, how far it falls, how far its logarithm falls; above 0 the lens tells what loses. It is given
over all sets, and as the mean over sets of that within each: a planner orders within one program,
and sets that differ in both make the first one large. The 95% intervals resample sets 2,000 times,
and then the tasks within each, so that losses on the same rows, and of one task in several calls,
stay together. Of few sets they are wide, and still too narrow.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import parser, paths

import mtiprompt as mti
from mtiprompt.dataset import Row
from mtiprompt.errors import BudgetExceeded
from mtiprompt.evaluation import draw_demos
from mtiprompt.files import cut_last_line
from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.plan import Demo
from mtiprompt.planner import Lens, Movement, lens
from mtiprompt.planner.rules import Rule
from mtiprompt.report.figures import signed, span

RULES: tuple[Rule, ...] = ("expected", "guarantee")
SCALES: dict[str, Callable[[Movement], float]] = {
    "moves": lambda one: one.moved,
    "falls": lambda one: -one.change,
    "falls (log)": lambda one: -one.nats,
}
RESAMPLES = 2000


class OnRecord(Wrapper):
    """A model that is never asked: what is not on record ends the budget."""

    def complete(self, request: mti.Request) -> mti.Reply:
        """No reply.

        Raises:
            BudgetExceeded: Always.
        """
        raise BudgetExceeded("the record is at its end")

    async def acomplete(self, request: mti.Request) -> mti.Reply:
        """As `complete`."""
        return self.complete(request)


@dataclass(frozen=True)
class Point:
    """What a task lost in a call, and what the lens said of it.

    Attributes:
        data: The name of the set.
        task: The name of the task.
        others: The other tasks of the call.
        loss: Its mean paired loss.
        n: Rows that this is over.
        seen: The mean of the lens over the others, by scale.
    """

    data: str
    task: str
    others: tuple[str, ...]
    loss: float
    n: int
    seen: dict[str, float]


Losses = dict[tuple[str, tuple[str, ...]], tuple[float, int]]
"""Loss and number of rows by task and the others of its call."""


def losses(
    data: mti.Dataset,
    rows: Sequence[Row],
    demos: Sequence[Demo],
    model: LanguageModel,
    record: Path,
) -> Losses:
    """The losses that the replies on record tell; of several for a call the one on most rows."""
    found: Losses = {}
    for rule in RULES:
        choice = mti.choose_plan(
            data.program, rows, model=OnRecord(model), rule=rule, demos=demos, record=record
        )
        for one in choice.candidates:
            for group in one.plan.call_groups if one.tasks else ():
                for task in group.tasks if len(group.tasks) > 1 else ():
                    place = task, tuple(name for name in group.tasks if name != task)
                    seen = one.tasks[task]
                    if seen.n > found.get(place, (0.0, 0))[1]:
                        found[place] = seen.loss, seen.n
    return found


def seen_by(lens: Lens, task: str, others: Sequence[str]) -> dict[str, float]:
    """The mean of the lens over the other tasks of a call, by scale."""
    entries = [lens.entries[task, one] for one in others if (task, one) in lens.entries]
    if not entries:
        return {}
    return {name: statistics.mean(map(scale, entries)) for name, scale in SCALES.items()}


def points_of(path: Path, options: argparse.Namespace) -> list[Point]:
    """The points of one set; none where too little is on record."""
    data = mti.Dataset.load(path)
    demos = draw_demos(data.program, data.train, options.demos, seed=0)
    shown = [demo.inputs for demo in demos]
    rows = [row for row in (*data.train, *data.dev) if dict(row.inputs) not in shown]
    model = mti.Model(options.model, cache=False)
    folder = options.output / path.stem
    folder.mkdir(parents=True, exist_ok=True)
    _bring_up_to_date(folder / "profile.jsonl", options.records / path.stem / "profile.jsonl")
    try:
        lost = losses(data, rows, demos, model, folder)
    except BudgetExceeded:
        lost = {}
    if not lost:
        print(f"{path.stem}: no shared call is on record yet", file=sys.stderr)
        return []

    def tell() -> None:
        print(".", end="", file=sys.stderr, flush=True)

    few = rows[: options.items]
    seen = lens(data.program, few, model=model, demos=demos, record=folder, progress=tell)
    print(file=sys.stderr)
    return [
        Point(path.stem, task, others, *found, seen_by(seen, task, others))
        for (task, others), found in lost.items()
        if seen_by(seen, task, others)
    ]


def _bring_up_to_date(ours: Path, theirs: Path) -> None:
    """Add the lines that we do not have, and leave those that we have: the lens has added its own.

    A record is written to when it is opened, and theirs may still be in use.
    """
    ours.touch(0o600)
    cut_last_line(ours)
    have = set(ours.read_bytes().splitlines())
    *whole, _ = theirs.read_bytes().split(b"\n")  # the last line may not be finished yet
    with ours.open("ab") as file:
        file.writelines(line + b"\n" for line in whole if line not in have)


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """The rank correlation, equal values with their mean rank; 0 where all are equal."""
    ranks = []
    for values in (one, other):
        _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[places])
    if any(np.ptp(each) == 0 for each in ranks):
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


Pairs = tuple[tuple[float, float], ...]
"""Lens and loss of a task in each of its calls."""


def correlation(points: Sequence[Point], scale: str) -> dict[str, Any]:
    """The rank correlations of loss and lens, over all sets and within them, with intervals."""
    found: dict[str, dict[str, Pairs]] = {}
    for one in points:
        tasks = found.setdefault(one.data, {})
        tasks[one.task] = (*tasks.get(one.task, ()), (one.seen[scale], one.loss))
    sets = [list(tasks.values()) for tasks in found.values()]
    chance = random.Random(0)
    drawn = [
        [chance.choices(tasks, k=len(tasks)) for tasks in chance.choices(sets, k=len(sets))]
        for _ in range(RESAMPLES)
    ]
    told: dict[str, Any] = {}
    for name, rho in (("rho", over_sets), ("within", within_sets)):
        low, high = np.quantile([rho(one) for one in drawn], [0.025, 0.975])
        told[name] = {"mean": rho(sets), "interval": [float(low), float(high)]}
    return {**told, "n": len(points), "tasks": sum(map(len, sets)), "sets": len(sets)}


def over_sets(sets: Sequence[Sequence[Pairs]]) -> float:
    """The rank correlation of all losses."""
    return spearman(
        *zip(*(pair for tasks in sets for pairs in tasks for pair in pairs), strict=True)
    )


def within_sets(sets: Sequence[Sequence[Pairs]]) -> float:
    """The mean over sets of the rank correlation within each; of one loss alone it is 0."""
    return statistics.mean(over_sets([tasks]) for tasks in sets)


def main() -> None:
    """Measure and print."""
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("records", type=Path, help="what benchmarks/plans.py has kept")
    arguments = argparse.ArgumentParser(
        parents=[first, parser(__doc__, items=20)], conflict_handler="resolve",
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    arguments.add_argument("--demos", type=int, default=4, help="demonstrations, as on record")
    arguments.add_argument("--output", "-o", type=Path, default=Path(".cache/lens"), help="KEPT")
    options = arguments.parse_args()
    points = [
        point
        for path in paths(options)
        if (options.records / path.stem / "profile.jsonl").exists()
        for point in points_of(path, options)
    ]
    if len(points) < 3:
        sys.exit("fewer than three losses are on record; nothing can be said")
    found = {scale: correlation(points, scale) for scale in SCALES}
    if options.json:
        print(json.dumps({"correlation": found, "points": [vars(one) for one in points]}))
        return
    print("| set | task | with | lens | loss | rows |\n| --- | --- | --- | --- | --- | --- |")
    for point in points:
        with_ = ", ".join(point.others)
        print(f"| {point.data} | {point.task} | {with_} | {point.seen['moves']:.3f} "
              f"| {signed(point.loss)} | {point.n} |")  # fmt: skip
    print("\n| the answer's probability | Spearman | mean within sets | losses | tasks | sets |")
    print("| --- | --- | --- | --- | --- | --- |")
    for scale, one in found.items():
        rhos = (
            f"{signed(one[of]['mean'])} {span(*one[of]['interval'])}" for of in ("rho", "within")
        )
        print(f"| {scale} | {' | '.join(rhos)} | {one['n']} | {one['tasks']} | {one['sets']} |")


if __name__ == "__main__":
    main()
