"""Optimizers at the same count of model calls: ours, DSPy's, random search; scored once on test.

    python benchmarks/optimizers.py FOLDER [--sets A,B] [--calls 200,400] [--seeds 0,1]
        [--methods A,B] [--items 160] [--model NAME] [-o DIR] [--table] [--json]

FOLDER holds development sets (NAME.jsonl with NAME.task.json). All methods tune the same program on
the same rows of train and dev, with the same model and at most 4 demonstrations; DSPy's do so
through `mti.to_dspy`, so that prompts are worded and answers are read in the same way. Whoever asks
for more different things than `--calls` is cut there, and its best so far is taken: of what it has
measured on at least half as many rows as anything, the best mean. What comes out is run once on the
first `--items` rows of test.

- *zero*: all tasks in one call, no demonstrations.
- *ours*: what `mti.optimize` returns; *ours, unguarded*: the plan that seemed best, whether the
  fresh rows confirmed it or not.
- *random*: points of our space drawn at random, each measured on the same 16 rows.

Every reply is kept in DIR (`$MTIPROMPT_CACHE/optimizers`, else `.cache/optimizers`), and so is what
each method came to on each set, so a run that was stopped goes on where it was. The first table has
the mean of the tasks' scores on test, over seeds; the second what ours gains on each rival: the
mean difference on the same rows with its 95% interval (bootstrap over rows). `--table` measures
nothing and prints what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from common import interval, parser, paths, print_table
from rivals import DSPY, MOST, CountedModel, Way, as_it_is, dspy_optimizer, random_search

import mtiprompt as mti
from mtiprompt.evaluation.scores import averages

SMALL, SMALLEST = "local/qwen2.5-coder-0.5b", "local/smollm2-135m"
MODELS = {"web_sentences": SMALLEST, "assistant_commands": SMALLEST}
"""Sets on which the 0.5B model is slow or too good."""
SETS = "restaurant_facts,web_sentences"
OURS, UNGUARDED = "ours", "ours, unguarded"


class Cell(NamedTuple):
    """One measurement.

    Attributes:
        data: The set.
        model: The model.
        calls: Calls that the method may make.
        seed: Its seed.
        method: The method.
    """

    data: str
    model: str
    calls: int
    seed: int
    method: str

    def path(self, folder: Path) -> Path:
        """Where it is kept."""
        name = f"{self.data}-{self.model}-{self.calls}-{self.seed}-{self.method}"
        return folder / "cells" / (name.replace("/", "_").replace(", ", "_") + ".json")


def optimized(data: mti.Dataset, model: CountedModel, calls: int, seed: int) -> dict[str, Way]:
    """What ours returns, and what it would have returned without its guard."""
    tuned = mti.optimize(
        data.program, data.train, data.dev, model=model, budget=mti.Budget(calls=calls),
        most=MOST, seed=seed, concurrency=1,
    )  # fmt: skip
    told = f"{tuned.found.verdict}: {tuned.found.reason}"
    return {
        OURS: Way(tuned.plan, told),
        UNGUARDED: Way(tuned.candidate, told),
    }


METHODS: dict[str, Callable[..., Way | dict[str, Way]]] = {
    "zero": as_it_is,
    OURS: optimized,
    "random": random_search,
    **{name: dspy_optimizer(name) for name in DSPY},
}


def measure(cell: Cell, data: mti.Dataset, options: argparse.Namespace) -> None:
    """Run a method and score what it gives back; each is kept."""
    inner = mti.Model(cell.model, cache=options.output / "replies")
    model, began = CountedModel(inner, cell.calls), time.monotonic()
    with redirect_stdout(sys.stderr):  # DSPy's optimizers print
        found = METHODS[cell.method](data, model, cell.calls, cell.seed)
    ways = found if isinstance(found, dict) else {cell.method: found}
    for name, way in ways.items():
        scores = on_test(way, data, CountedModel(inner), options.items)
        value = {
            **cell._asdict(),
            "method": name,
            "told": way.told,
            "made": model.count,
            "seconds": round(time.monotonic() - began, 1),
            "plan": json.loads(way.plan.to_json()),
            "scores": scores,
        }
        path = cell._replace(method=name).path(options.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(".half")
        half.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
        half.replace(path)


def on_test(way: Way, data: mti.Dataset, model: CountedModel, items: int) -> dict[str, float]:
    """The mean score over tasks of each row of test."""
    rows = data.test[:items]
    scores = mti.evaluate(data.program, rows, model=model, plan=way.plan, concurrency=1)
    return averages({name: one.by_item for name, one in scores.tasks.items()})


def cells(options: argparse.Namespace) -> Iterator[tuple[Cell, Path]]:
    """All that is wanted, the sets one after the other, with the files of each."""
    by_name = {path.stem: path for path in paths(options)}
    for name in filter(None, options.sets.split(",")):
        model = options.model or MODELS.get(name, SMALL)
        for calls in map(int, options.calls.split(",")):
            for seed in map(int, options.seeds.split(",")):
                for method in options.methods.split(","):
                    yield Cell(name, model, calls, seed, method), by_name[name]


def done(options: argparse.Namespace) -> list[dict[str, Any]]:
    """What was measured so far, of the sets and calls that are wanted."""
    wanted = {(one.data, one.model, one.calls, one.seed) for one, _ in cells(options)}
    found = [json.loads(path.read_text("utf-8"))
             for path in sorted((options.output / "cells").glob("*.json"))]  # fmt: skip
    return [one for one in found
            if (one["data"], one["model"], one["calls"], one["seed"]) in wanted]  # fmt: skip


Key = tuple[str, str, int]
"""Set, model and calls."""


def by_key(values: Iterable[dict[str, Any]]) -> dict[Key, dict[str, dict[int, dict[str, float]]]]:
    """The scores of rows by key, method and seed."""
    found: dict[Key, dict[str, dict[int, dict[str, float]]]] = defaultdict(dict)
    for one in values:
        key = one["data"], one["model"], one["calls"]
        found[key].setdefault(one["method"], {})[one["seed"]] = one["scores"]
    return found


def paired(mine: dict[int, dict[str, float]], other: dict[int, dict[str, float]]) -> list[float]:
    """The difference of each row, a mean over the seeds that both have."""
    seeds = mine.keys() & other.keys()
    rows = next(iter(mine.values()), {})
    return [mean(mine[seed][row] - other[seed][row] for seed in seeds) for row in rows if seeds]


def told(values: list[float]) -> str:
    """A mean difference in points of 100, with its interval."""
    if not values:
        return ""
    low, high = interval(values)
    return f"{100 * mean(values):+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def show(values: list[dict[str, Any]]) -> None:
    """Print both tables."""
    found = by_key(values)
    methods = list(dict.fromkeys([*METHODS, UNGUARDED]))
    head = ["set", "calls"]
    print_table(
        [*head, *methods],
        [[key[0], str(key[2]), *(mean_of(found[key].get(name, {})) for name in methods)]
         for key in sorted(found)],
    )  # fmt: skip
    rivals = [name for name in methods if name != OURS]
    lines, pooled = [], defaultdict[str, list[float]](list)
    for key in sorted(found):
        cells = [paired(found[key].get(OURS, {}), found[key].get(name, {})) for name in rivals]
        for name, one in zip(rivals, cells, strict=True):
            pooled[name] += one
        lines.append([key[0], str(key[2]), *map(told, cells)])
    print_table([*head, *(f"ours - {name}" for name in rivals)],
                [*lines, ["all", "", *(told(pooled[name]) for name in rivals)]])  # fmt: skip


def mean_of(by_seed: dict[int, dict[str, float]]) -> str:
    """The mean test score over rows and seeds, in points of 100, and how many seeds there are."""
    if not by_seed:
        return ""
    return f"{100 * mean(mean(one.values()) for one in by_seed.values()):.1f} ({len(by_seed)})"


def main() -> None:
    """Measure what is missing, and print."""
    cache = Path(os.environ.get("MTIPROMPT_CACHE") or ".cache")
    arguments = parser(__doc__, items=160, sets=SETS)
    arguments.set_defaults(model="")
    arguments.add_argument("--calls", default="200,400", help="counts, with commas between them")
    arguments.add_argument("--seeds", default="0,1", help="seeds, with commas between them")
    arguments.add_argument("--methods", default=",".join(METHODS), help="methods, as above")
    arguments.add_argument("--rows", type=int, help="only so many rows of train and dev each")
    arguments.add_argument("-o", "--output", type=Path, default=cache / "optimizers")
    arguments.add_argument("--table", action="store_true", help="measure nothing")
    options = arguments.parse_args()
    for cell, path in () if options.table else cells(options):
        if cell.path(options.output).exists():
            continue
        print(f"{cell}", file=sys.stderr, flush=True)
        data = mti.Dataset.load(path)
        data = replace(data, train=data.train[: options.rows], dev=data.dev[: options.rows])
        measure(cell, data, options)
    values = done(options)
    if options.json:
        print(json.dumps(values))
        return
    show(values)


if __name__ == "__main__":
    main()
