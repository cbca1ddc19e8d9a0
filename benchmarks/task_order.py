"""Whether the order of the tasks in a call matters beyond the luck of the demonstrations.

    python benchmarks/task_order.py FOLDER [--sets A,B] [--items 60] [--orders 5] [--seeds 3]
        [--model NAME] [-o DIR] [--json]

FOLDER holds development sets (NAME.jsonl with NAME.task.json). For each set all tasks share one
call, in `--orders` legal orders: that of the program, the hardest task first (by 16 rows of train),
its reverse, and others drawn at random; what a task builds on stays before it. Each order runs with
`--seeds` draws of 4 demonstrations on the first `--items` rows of dev. Every reply is kept in DIR,
so a run that was stopped goes on where it was and a longer one pays for the new rows only.

The first table has the mean of the tasks' scores for each order. The second says how far orders lie
apart: the standard deviation between them, beside that between draws of demonstrations and that of
order and draw together (an order that is good with one draw and not with another), all without what
sampling adds: components of variance of the crossed design order x draw x item, one score in each
cell, all three random, by equating mean squares with what they are expected to be (Cornfield and
Tukey, Annals of Mathematical Statistics 27, 1956; a negative one is 0). Then best less worst, what
chance alone makes of it, and p: the share of 9,999 permutations, the observed one among them, in
which orders lie as far apart when each item's scores change places between the orders (the same for
all its draws, so that draws are taken as they are). The third has best less worst of each task.
They are chosen by these very scores, so the interval holds for all pairs of orders at once: the
mean difference, less and plus what the range of all means reaches around their true values in 95%
of 2,000 resamples of the items. Where it holds 0, the order of that task may not matter.
Points of 100.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import parser, paths, print_table
from numpy.typing import NDArray

import mtiprompt as mti
from mtiprompt.cli.measuring import measured_model
from mtiprompt.evaluation import draw_demos
from mtiprompt.models.base import LanguageModel
from mtiprompt.optimizer.demos import Pool
from mtiprompt.optimizer.space import Space

Array = NDArray[np.float64]
Order = tuple[str, ...]

DEMOS = 4
PROBED = 16
"""Rows of train that say which tasks are hard."""
FLIPS, RESAMPLES = 9999, 2000


@dataclass(frozen=True)
class Measured:
    """What was measured on one set.

    Attributes:
        name: Of the set.
        orders: The orders, by what they are called.
        scores: By task, the score of each order (row), draw and item.
    """

    name: str
    orders: dict[str, Order]
    scores: dict[str, Array]

    @property
    def mean(self) -> Array:
        """The mean over tasks of each order, draw and item."""
        found: Array = np.mean(list(self.scores.values()), axis=0)
        return found


@dataclass(frozen=True)
class Spread:
    """How far orders lie apart.

    Attributes:
        order: The standard deviation between orders, that of sampling taken off.
        draw: The same between draws of demonstrations.
        both: What order and draw do together.
        reach: The mean of the best order less that of the worst.
        by_chance: Its mean where orders are alike.
        p_value: Of orders that are alike lying as far apart.
    """

    order: float
    draw: float
    both: float
    reach: float
    by_chance: float
    p_value: float


def spread(scores: Array, seed: int = 0) -> Spread:
    """How far orders lie apart.

    Args:
        scores: Of each order, draw and item; of each two or more.
        seed: Of the permutations.
    """
    order, draw, both = components(scores)
    profiles = scores.mean(axis=1)
    rng = np.random.default_rng(seed)
    means = np.array([rng.permuted(profiles, axis=0).mean(axis=1) for _ in range(FLIPS)])
    own = profiles.mean(axis=1)
    as_far = int((means.var(axis=1) >= own.var() - 1e-12).sum())
    reaches = np.ptp(means, axis=1)
    return Spread(
        order, draw, both, float(np.ptp(own)), float(reaches.mean()), (1 + as_far) / (1 + FLIPS)
    )


def components(scores: Array) -> tuple[float, float, float]:
    """The standard deviations between orders, between draws, and of both together."""
    orders, draws, items = scores.shape
    square = {axes: mean_square(scores, axes) for axes in
              [(0,), (1,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]}  # fmt: skip
    rest = square[0, 1, 2]
    order = (square[0,] - square[0, 1] - square[0, 2] + rest) / (draws * items)
    draw = (square[1,] - square[0, 1] - square[1, 2] + rest) / (orders * items)
    both = (square[0, 1] - rest) / items
    return math.sqrt(max(0.0, order)), math.sqrt(max(0.0, draw)), math.sqrt(max(0.0, both))


def mean_square(scores: Array, axes: tuple[int, ...]) -> float:
    """The mean square of a factor, or of what some do together."""
    others = tuple(axis for axis in range(scores.ndim) if axis not in axes)
    effect = scores.mean(axis=others, keepdims=True)
    for axis in axes:
        effect = effect - effect.mean(axis=axis, keepdims=True)
    freedom = math.prod(scores.shape[axis] - 1 for axis in axes)
    times = math.prod(scores.shape[axis] for axis in others)
    return float((effect**2).sum() * times / freedom)


def reach(scores: Array, seed: int = 0) -> tuple[int, int, float, float, float]:
    """The places of the best and the worst order, their difference, and its interval.

    Args:
        scores: Of each order, draw and item.
        seed: Of the resamples.
    """
    profiles = scores.mean(axis=1)
    means = profiles.mean(axis=1)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(profiles.shape[1], size=(RESAMPLES, profiles.shape[1]))
    around = np.array([profiles[:, one].mean(axis=1) - means for one in drawn])
    margin = float(np.quantile(np.ptp(around, axis=1), 0.95))
    found = float(np.ptp(means))
    return int(means.argmax()), int(means.argmin()), found, found - margin, found + margin


# --- measuring --------------------------------------------------------------------------------


def measure(path: Path, options: argparse.Namespace) -> Measured | None:
    """Run all orders with all draws on the same items; None if there is one order only."""
    data = mti.Dataset.load(path)
    folder = options.output / path.stem
    # each order with each draw is a kind of prompt of its own, and they take turns
    model = measured_model(options.model, None, kinds=options.orders * options.seeds)
    draws = [draw_demos(data.program, data.train, DEMOS, seed=n) for n in range(options.seeds)]
    orders = orders_of(data, draws[0], model, options.orders, folder / "probe")
    if len(orders) < 2:
        print(f"{path.stem}: its tasks build on each other, in one order only", file=sys.stderr)
        return None
    arms = [
        mti.Arm(f"{name}.{n}", mti.Plan.groups(data.program, [order], demos=demos))
        for name, order in orders.items()
        for n, demos in enumerate(draws)
    ]

    def tell() -> None:
        print(".", end="", file=sys.stderr, flush=True)

    found = mti.compare(
        data.program, data.dev[: options.items], arms, model=model, record=folder / "dev",
        progress=tell,
    )  # fmt: skip
    shape = len(orders), len(draws), len(found.rows)
    return Measured(path.stem, orders, {
        task: np.array([list(found.tables[arm.name][task].values()) for arm in arms]).reshape(shape)
        for task in data.program.order
    })  # fmt: skip


def orders_of(
    data: mti.Dataset, demos: Sequence[mti.Demo], model: LanguageModel, number: int, folder: Path
) -> dict[str, Order]:
    """So many legal orders, or all that there are."""
    program = data.program
    space = Space(program, Pool((), ()), mti.Plan.fused(program))
    shown = [demo.inputs for demo in demos]
    rows = [row for row in data.train if dict(row.inputs) not in shown][:PROBED]
    probe = mti.evaluate(
        program, rows, model=model, plan=mti.Plan.fused(program, demos=demos), record=folder,
        concurrency=1,
    )  # fmt: skip

    def sorted_by(keys: dict[str, float]) -> Order:
        return space.ordered([program.order], keys.__getitem__)[0]

    ease = {task: float(one.mean) for task, one in probe.tasks.items()}
    found = {tuple(program.order): "program"}
    found.setdefault(sorted_by(ease), "hard first")
    found.setdefault(sorted_by({task: -one for task, one in ease.items()}), "easy first")
    rng = np.random.default_rng(0)
    for _ in range(100 * number):
        if len(found) >= number:
            break
        keys = dict(zip(program.order, rng.random(len(program.order)), strict=True))
        found.setdefault(sorted_by(keys), f"drawn {len(found)}")
    return {name.replace(" ", "_"): order for order, name in [*found.items()][:number]}


# --- telling ----------------------------------------------------------------------------------


def order_lines(one: Measured) -> list[list[str]]:
    """A line for each order, the best first."""
    means = one.mean.mean(axis=2)
    lines = [
        [one.name, str(one.mean.shape[2]), name, ", ".join(order), f"{100 * row.mean():.1f}",
         " ".join(f"{100 * score:.1f}" for score in row)]
        for (name, order), row in zip(one.orders.items(), means, strict=True)
    ]  # fmt: skip
    return sorted(lines, key=lambda line: -float(line[4]))


def spread_line(one: Measured) -> list[str]:
    """How far the orders of a set lie apart."""
    found = spread(one.mean)
    points = (found.order, found.draw, found.both, found.reach, found.by_chance)
    return [one.name, *(f"{100 * value:.1f}" for value in points), f"{found.p_value:.4f}"]


def task_lines(one: Measured) -> list[list[str]]:
    """Best less worst of each task."""
    names, lines = list(one.orders), []
    for task, scores in one.scores.items():
        best, worst, gain, low, high = reach(scores)
        told = f"{100 * gain:.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        lines.append([one.name, task, names[best], names[worst], told])
    return lines


def plain(one: Measured) -> dict[str, Any]:
    """All figures as plain JSON data."""
    return {
        "items": one.mean.shape[2],
        "orders": one.orders,
        "means": one.mean.mean(axis=2).tolist(),
        "spread": vars(spread(one.mean)),
        "tasks": {
            task: dict(zip(("best", "worst", "gain", "low", "high"), reach(scores), strict=True))
            for task, scores in one.scores.items()
        },
    }


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, items=60, sets="restaurant_facts,web_sentences")
    arguments.add_argument("--orders", type=int, default=5, help="orders at most, 2 or more")
    arguments.add_argument("--seeds", type=int, default=3, help="draws of demos, 2 or more")
    arguments.add_argument("-o", "--output", type=Path, default=Path(".cache/task_order"))
    options = arguments.parse_args()
    if min(options.orders, options.seeds, options.items) < 2:
        arguments.error("a spread takes 2 orders, 2 seeds and 2 items or more")
    found = []
    for path in paths(options):
        (options.output / path.stem).mkdir(parents=True, exist_ok=True)
        if one := measure(path, options):
            found.append(one)
        print(file=sys.stderr)
    if options.json:
        print(json.dumps({one.name: plain(one) for one in found}))
        return
    print_table(["set", "items", "order", "tasks", "mean score", "by draw"],
                [line for one in found for line in order_lines(one)])  # fmt: skip
    print_table(["set", "between orders", "between draws", "order x draw", "best - worst",
                 "by chance", "p"], [spread_line(one) for one in found])  # fmt: skip
    print_table(["set", "task", "best", "worst", "best - worst"],
                [line for one in found for line in task_lines(one)])  # fmt: skip


if __name__ == "__main__":
    main()
