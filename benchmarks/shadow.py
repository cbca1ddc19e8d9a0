"""How soon the shadow sees a drift, and how seldom it warns where there is none.

    python benchmarks/shadow.py [--quick] [--runs 1000] [--local SET.jsonl [-o DIR]]
        [--items 300] [--json FILE]

Rows in the shadow are simulated: of each task is seen whether the split answer and the answer in
company differ. The test looks after every row, as `program.map(..., shadow=...)` does, for three
tasks with one promise: a warning without a drift in at most 1 - confidence of all runs. Two tables:

- *no drift*: all tasks differ as often as they always did. How often is any called worse? `known`:
  the rate is given (`allowed=`); `limit`: the rate is at the very limit, that is given and margin;
  `learned`: what is allowed is the bound learned from the first 100 rows.
- *drift*: after half of the rows one task differs more often. How many rows in the shadow until it
  is called worse (median, and what nine of ten runs need)? Beside it the same test with a single
  start, at the first row. A run ends without a warning (-) when as many rows again have passed.

`--local` adds a real run over a data set: all tasks in one call, four demonstrations, every row in
the shadow; half-way local/qwen2.5-coder-0.5b is swapped for local/smollm2-135m. Every reply is kept
in DIR, so a run that was stopped goes on where it was; a folder of `benchmarks/plans.py` serves.

Exits with 1 if a share of runs with false warnings is above 1 - confidence plus three standard
errors.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from common import print_table

import mtiprompt as mti
from mtiprompt.cli.measuring import measured_model
from mtiprompt.evaluation import draw_demos
from mtiprompt.gate import EVERY, LateBet
from mtiprompt.models.resume import ResumedModel
from mtiprompt.watch.record import highest_mean

CONFIDENCE = 0.95
MARGIN = 0.05
TASKS = 3
LEARN = 100
DEMOS = 4
ALPHA = (1 - CONFIDENCE) / TASKS
MODELS = ("local/qwen2.5-coder-0.5b", "local/smollm2-135m")


def first_alarm(losses: Any, limits: Any, alpha: float, every: int | None = EVERY) -> Any:
    """The row, from 1, of the first alarm of each sequence; 0 where there is none.

    Args:
        losses: One sequence a line.
        limits: What the mean of each may be: one of a few values, as bets are made for each.
        alpha: The error of each.
        every: As for `LateBet`.
    """
    found = np.zeros(len(losses), dtype=int)
    for limit in np.unique(limits):
        mine = np.flatnonzero(limits == limit)
        bet = LateBet(float(limit), every=every, shape=(len(mine),))
        for number, column in enumerate(losses[mine].T, start=1):
            bet.add(column)
            new = (bet.wealth >= -math.log(alpha)) & (found[mine] == 0)
            found[mine[new]] = number
    return found


def draw(rng: np.random.Generator, shape: tuple[int, int], rate: float) -> Any:
    """Whether answers differ, 1 or 0."""
    return (rng.random(shape) < rate).astype(float)


def learned(losses: Any) -> Any:
    """What is allowed by the bound over the first rows of each sequence."""
    counts = losses.sum(axis=1).astype(int)
    size = losses.shape[1]
    high = {
        one: highest_mean([1.0] * one + [0.0] * (size - one), alpha=ALPHA / 2)
        for one in set(counts.tolist())
    }
    return np.array([high[one] for one in counts.tolist()])


def no_drift(rng: np.random.Generator, rate: float, runs: int, rows: int) -> dict[str, float]:
    """The share of runs in which any task is called worse, though none is."""
    size = (runs * TASKS, rows)
    known = first_alarm(draw(rng, size, rate), np.full(size[0], rate + MARGIN), ALPHA)
    limit = first_alarm(draw(rng, size, rate + MARGIN), np.full(size[0], rate + MARGIN), ALPHA)
    losses = draw(rng, size, rate)
    limits = learned(losses[:, :LEARN]) + MARGIN
    after = first_alarm(losses[:, LEARN:], limits, ALPHA / 2)
    return {
        name: float((found.reshape(runs, TASKS) > 0).any(axis=1).mean())
        for name, found in (("known", known), ("limit", limit), ("learned", after))
    }


def drift(
    rng: np.random.Generator, rate: float, worse: float, runs: int, half: int
) -> dict[str, dict[str, float | None]]:
    """The rows after a drift until it is seen, by the ways of testing."""
    losses = np.hstack([draw(rng, (runs, half), rate), draw(rng, (runs, half), worse)])
    given, limits = np.full(runs, rate + MARGIN), learned(losses[:, :LEARN]) + MARGIN
    found = {
        "known": first_alarm(losses, given, ALPHA),
        "learned": first_alarm(losses[:, LEARN:], limits, ALPHA / 2),
        "one start": first_alarm(losses, given, ALPHA, every=None),
    }
    found["learned"] = np.where(found["learned"] > 0, found["learned"] + LEARN, 0)
    return {name: quantiles(rows, half) for name, rows in found.items()}


def quantiles(alarms: Any, half: int) -> dict[str, float | None]:
    """The median and the ninth tenth of the rows that alarms take; None where most have none."""
    taken = np.where(alarms > half, alarms - half, np.inf)
    at = {"median": 0.5, "ninety": 0.9}
    ranks = {name: np.quantile(taken, share, method="higher") for name, share in at.items()}
    known = {name: float(one) if math.isfinite(one) else None for name, one in ranks.items()}
    return known | {"false": float(((alarms > 0) & (alarms <= half)).mean())}


class Kept(mti.Shadow):
    """A shadow that keeps what it saw, row by row."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.losses: list[dict[str, float]] = []

    def look(self, losses: Mapping[str, float]) -> None:
        """Keep what a row tells."""
        self.losses.append(dict(losses))
        super().look(losses)


def real(path: Path, number: int, folder: Path) -> dict[str, Any]:
    """What the shadow says when the model is swapped half-way."""
    data = mti.Dataset.load(path)
    demos = draw_demos(data.program, data.train, DEMOS, seed=0)
    plan = mti.Plan.fused(data.program, demos=demos)
    shown = [demo.inputs for demo in demos]
    rows = [*data.train, *data.dev, *data.test]
    inputs = [dict(row.inputs) for row in rows if dict(row.inputs) not in shown][:number]
    half = len(inputs) // 2
    learn = min(LEARN, half // 2)
    shadow = Kept(1.0, margin=MARGIN, learn=learn, warn=lambda event: None)
    for name, part in zip(MODELS, (inputs[:half], inputs[half:]), strict=True):
        asked = measured_model(name, None, kinds=len(data.program.order) + 1)
        model = ResumedModel(asked, folder / path.stem / "profile.jsonl")
        results = data.program.map(part, model=model, plan=plan, shadow=shadow, concurrency=1)
        for done, _ in enumerate(results, start=1):
            print(f"\r{name}: {done} of {len(part)} rows", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    events = [{**event, "after": event["row"] - half} for event in shadow.events]
    lines = []
    for task in data.program.order:
        parts = (shadow.losses[:half], shadow.losses[half:])
        means = [np.mean([one[task] for one in part if task in one]) for part in parts]
        warned = next((str(one["after"]) for one in events if one["task"] == task), "-")
        lines.append([task, *(f"{mean:.2f}" for mean in means), warned])
    print_table(["task", *(f"differs, {name}" for name in MODELS), "rows to the warning"], lines)
    print(f"{half} rows with each model; what is allowed was learned from the first {learn}")
    return {"rows": len(inputs), "half": half, "learn": learn, "events": events}


def shown(one: dict[str, float | None]) -> str:
    """Two figures of a cell."""
    return " ".join(
        f"{one[name] or 0:6.0f}" if one[name] else "     -" for name in ("median", "ninety")
    )


def main() -> int:
    """Print the tables."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--quick", action="store_true", help="fewer cells, 300 runs")
    arguments.add_argument("--runs", type=int, default=1000)
    arguments.add_argument("--rows", type=int, default=2000, help="rows in the shadow of a run")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--local", type=Path, metavar="SET.jsonl", help="a real run too")
    arguments.add_argument("--items", type=int, default=300, help="rows of the real run")
    arguments.add_argument("-o", "--output", type=Path, default=Path(".cache/shadow"))
    arguments.add_argument("--json", type=Path, metavar="FILE")
    options = arguments.parse_args()
    rng = np.random.default_rng(options.seed)
    runs, rows = (300, 600) if options.quick else (options.runs, options.rows)
    rates = (0.05,) if options.quick else (0.0, 0.02, 0.05, 0.1, 0.2)
    result: dict[str, Any] = {"runs": runs, "rows": rows, "no drift": [], "drift": []}
    print(f"{runs} runs a cell, {rows} rows in the shadow, {TASKS} tasks, margin {MARGIN}")
    print("\nno drift: share of runs that warn\n  rate   known   limit  learned")
    for rate in rates:
        one = no_drift(rng, rate, runs, rows)
        result["no drift"].append({"rate": rate, **one})
        print(
            f"  {rate:4.2f} {one['known']:7.3f} {one['limit']:7.3f} {one['learned']:8.3f}",
            flush=True,
        )
    print("\ndrift: rows until the warning, median and nine of ten")
    print("  rate  then        known        learned      one start")
    for rate in (0.05,) if options.quick else (0.0, 0.05, 0.1):
        for worse in (0.3,) if options.quick else (0.15, 0.3, 0.6):
            told = drift(rng, rate, worse, runs, rows // 2)
            result["drift"].append({"rate": rate, "then": worse, **told})
            cells = "  ".join(map(shown, told.values()))
            print(f"  {rate:4.2f}  {worse:4.2f} {cells}", flush=True)
    if options.local:
        print("\na real run")
        result["local"] = real(options.local, options.items, options.output)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    most = max(row[name] for row in result["no drift"] for name in ("known", "limit", "learned"))
    bound = 1 - CONFIDENCE
    bound += 3 * math.sqrt(bound * (1 - bound) / runs)
    if most > bound:
        print(f"\nBROKEN: {most:.3f} is above {bound:.3f}")
        return 1
    print(f"\nkept: at most {most:.3f} of {bound:.3f} (0.05 and three standard errors)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
