"""Optimizers at the same count of model calls: ours, DSPy's, random search; scored once on test.

    python benchmarks/optimizers.py FOLDER [--sets A,B] [--calls 200,400] [--seeds 0,1]
        [--methods A,B] [--items 160] [--model NAME] [-o DIR] [--table] [--json]

FOLDER holds development sets (NAME.jsonl with NAME.task.json). All methods tune the same program on
the same rows of train and dev, with the same model and at most 4 demonstrations; DSPy's do so
through `mti.to_dspy`, so that prompts are worded and answers are read in the same way, once as they
are by default and once sized to the count of calls (`rivals.py`). Whoever asks for more different
things than `--calls` is cut there, and its best so far is taken: of what it has measured on 16 rows
or more, the best mean. What comes out is run once on the first `--items` rows of test.

- *zero*: all tasks in one call, no demonstrations.
- *ours*: what `mti.optimize` returns, which is *zero* where fresh rows do not show a gain. Claims
  are made of this line; that was settled before anything was measured. Beside it, from the same
  search, *ours, expected*: with `rule="expected"`; *ours, unguarded*: the plan that seemed best, as
  the rivals, who have no guard, return theirs.
- *random*: points of our space drawn at random, each measured on the same 16 rows.
- *KNNFewShot*: DSPy's choice of 4 rows of train for each item, by word vectors of ours; the module
  itself is run on test, and no call is made before.

Left out, but there by name in `--methods`, are two of DSPy's at their defaults: with 200 calls
BootstrapFewShotWithRandomSearch compares zero and LabeledFewShot on 100 rows each, and SIMBA learns
nothing yet.

Every reply is kept in DIR (`$MTIPROMPT_CACHE/optimizers`, else `.cache/optimizers`), and so is what
each method came to on each set, so a run that was stopped goes on where it was. Tables of what is
done so far are those of `optimizer_tables.py`. `--table` measures nothing and prints what is there:
it reads DIR/cells alone, and another DSPy may be installed than measured them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import dspy
from common import parser, paths
from optimizer_tables import EXPECTED, OURS, OWN, UNGUARDED, check, tables
from rivals import (
    DSPY,
    MOST,
    CountedModel,
    Way,
    as_it_is,
    dspy_optimizer,
    knn_few_shot,
    module_scores,
    random_search,
)

import mtiprompt as mti
from mtiprompt.evaluation.scores import Table, averages
from mtiprompt.optimizer.found import settled

SMALL, SMALLEST = "local/qwen2.5-coder-0.5b", "local/smollm2-135m"
MODELS = {"web_sentences": SMALLEST, "assistant_commands": SMALLEST}
"""Sets on which the 0.5B model is slow or too good."""
SETS = "restaurant_facts,web_sentences"


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
    """What ours returns, and what it would have returned under another rule or none."""
    tuned = mti.optimize(
        data.program, data.train, data.dev, model=model, budget=mti.Budget(calls=calls),
        most=MOST, seed=seed, concurrency=1,
    )  # fmt: skip
    found = tuned.found
    told = f"{found.verdict}: {found.reason}"
    own = next(one for one in found.tried if one.point == found.candidate)
    options = replace(found.options, rule="expected")  # the search is the same under both rules
    end = settled(own.point == found.baseline, own, found.confirmation, options)
    probable = tuned.candidate if end.better else tuned.space.plan(found.baseline)
    return {
        OURS: Way(tuned.plan, told),
        EXPECTED: Way(probable, end.reason),
        UNGUARDED: Way(tuned.candidate, told),
    }


METHODS: dict[str, Callable[..., Way | dict[str, Way]]] = {
    "zero": as_it_is,
    OURS: optimized,
    "random": random_search,
    **{name: dspy_optimizer(name) for name in DSPY},
    "KNNFewShot": knn_few_shot,
}

USUAL = [name for name in METHODS if name not in ("BootstrapFewShotWithRandomSearch", "SIMBA")]


def measure(cell: Cell, data: mti.Dataset, options: argparse.Namespace) -> None:
    """Run a method and score what it gives back; each is kept."""
    inner = mti.Model(cell.model, cache=options.output / "replies")
    model, began = CountedModel(inner, cell.calls), time.monotonic()
    found = METHODS[cell.method](data, model, cell.calls, cell.seed)
    ways = found if isinstance(found, dict) else {cell.method: found}
    for name, way in sorted(ways.items(), key=lambda one: one[0] == cell.method):
        # the cell's own file, which says that it is done, comes last
        scores = on_test(way, data, CountedModel(inner), options.items)
        value = {
            **cell._asdict(),
            **conditions(options),
            "method": name,
            "told": way.told,
            "made": model.count,
            "seconds": round(time.monotonic() - began, 1),
            "plan": json.loads(way.plan.to_json()),
            "scores": averages(scores),
            "tasks": {task: mean(rows.values()) for task, rows in scores.items() if rows},
        }
        path = cell._replace(method=name).path(options.output)
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(".half")
        half.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
        half.replace(path)


def on_test(way: Way, data: mti.Dataset, model: CountedModel, items: int) -> Table:
    """The score of each task on each row of test."""
    rows = data.test[:items]
    if way.module is not None:
        return module_scores(way.module, data.program, rows, model)
    scores = mti.evaluate(data.program, rows, model=model, plan=way.plan, concurrency=1)
    return {name: one.by_item for name, one in scores.tasks.items()}


def cells(options: argparse.Namespace) -> Iterator[Cell]:
    """All that is wanted, the sets one after the other."""
    for name in filter(None, options.sets.split(",")):
        model = options.model or MODELS.get(name, SMALL)
        for calls in map(int, options.calls.split(",")):
            for seed in map(int, options.seeds.split(",")):
                for method in options.methods.split(","):
                    yield Cell(name, model, calls, seed, method)


def conditions(options: argparse.Namespace) -> dict[str, Any]:
    """What has to be the same for two measurements to be compared (`optimizer_tables.ALIKE`)."""
    return {"items": options.items, "rows": options.rows, "dspy": dspy.__version__}


def done(options: argparse.Namespace) -> list[dict[str, Any]]:
    """What was measured so far, of what is wanted."""
    wanted = {one.path(options.output).name for one in cells(options)}
    wanted |= {cell._replace(method=name).path(options.output).name
               for cell in cells(options) if cell.method == OURS for name in OWN}  # fmt: skip
    found = sorted((options.output / "cells").glob("*.json"))
    return [json.loads(one.read_text("utf-8")) for one in found if one.name in wanted]


def main() -> None:
    """Measure what is missing, and print."""
    cache = Path(os.environ.get("MTIPROMPT_CACHE") or ".cache")
    arguments = parser(__doc__, items=160, sets=SETS)
    arguments.set_defaults(model="")
    arguments.add_argument("--calls", default="200,400", help="counts, with commas between them")
    arguments.add_argument("--seeds", default="0,1", help="seeds, with commas between them")
    arguments.add_argument("--methods", default=",".join(USUAL), help="methods, as above")
    arguments.add_argument("--rows", type=int, help="only so many rows of train and dev each")
    arguments.add_argument("-o", "--output", type=Path, default=cache / "optimizers")
    arguments.add_argument("--table", action="store_true", help="measure nothing")
    options = arguments.parse_args()
    by_name = {path.stem: path for path in paths(options)}
    for cell in () if options.table else cells(options):
        if cell.path(options.output).exists():
            continue
        print(f"{cell}", file=sys.stderr, flush=True)
        data = mti.Dataset.load(by_name[cell.data])
        data = replace(data, train=data.train[: options.rows], dev=data.dev[: options.rows])
        with redirect_stdout(sys.stderr):  # DSPy's optimizers print
            measure(cell, data, options)
    values = done(options)
    if not values:
        sys.exit(f"nothing of that was measured in {options.output}")
    if not options.table:
        check(values, conditions(options))
    print(json.dumps(values) if options.json else "\n\n".join(tables(values)))


if __name__ == "__main__":
    main()
