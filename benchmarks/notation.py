"""What the white space of the answers does to accuracy and time, on the embedded model.

    python benchmarks/notation.py FOLDER [--sets A,B] [--items 20] [--model local/...] [--json]

FOLDER holds development sets (NAME.jsonl with NAME.task.json). Every set is run fused with the
same demonstrations (the first of its train split) on the same dev items in each notation, one call
at a time, notations taking turns. Replies are kept in .cache/notation, so a run that was stopped
goes on where it was; then the seconds are those of the calls that were made anew. The table shows,
for each set and notation, the mean score over tasks, its difference to `free` with a 95% interval
(bootstrap over items, paired), the tokens written, and the seconds of a call.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from common import interval, load, parser, paths, score, split

import mtiprompt as mti
from mtiprompt.wire import NOTATIONS


def measure(path: Path, options: argparse.Namespace, model: mti.Model) -> list[dict[str, Any]]:
    """One row of figures for every notation."""
    program, rows = load(path)
    demos = split(rows, "train", options.demos)
    items = split(rows, "dev", options.items)
    plans = {name: mti.Plan.fused(program, demos=demos, notation=name) for name in NOTATIONS}
    scores: dict[str, list[float]] = {name: [] for name in NOTATIONS}
    written: dict[str, list[int]] = {name: [] for name in NOTATIONS}
    seconds: dict[str, list[float]] = {name: [] for name in NOTATIONS}
    failed = dict.fromkeys(NOTATIONS, 0)
    for turn, row in enumerate(items):
        for name in NOTATIONS[turn % 4 :] + NOTATIONS[: turn % 4]:
            result = program(**row["inputs"], model=model, plan=plans[name])
            scores[name].append(score(program, result, row))
            failed[name] += len(result.failures)
            if not result.usage.hits:
                written[name].append(result.usage.completion_tokens)
                seconds[name].append(result.usage.seconds)
        print(f"\r{path.stem} {turn + 1}/{len(items)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    figures = []
    for name in NOTATIONS:
        gaps = [a - b for a, b in zip(scores[name], scores["free"], strict=True)]
        figures.append(
            {
                "set": path.stem,
                "notation": name,
                "n": len(items),
                "score": statistics.mean(scores[name]),
                "gaps": gaps,
                "to_free": statistics.mean(gaps),
                "interval": interval(gaps),
                "failed_slots": failed[name],
                "tokens": statistics.mean(written[name]) if written[name] else None,
                "seconds": statistics.median(seconds[name]) if seconds[name] else None,
            }
        )
    return figures


def pooled(figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for every notation over all sets, each item counting the same."""
    rows = []
    for name in NOTATIONS:
        mine = [row for row in figures if row["notation"] == name]
        gaps = [gap for row in mine for gap in row["gaps"]]
        rows.append(
            {
                "set": "all",
                "notation": name,
                "n": len(gaps),
                "score": sum(row["score"] * row["n"] for row in mine) / len(gaps),
                "gaps": gaps,
                "to_free": statistics.mean(gaps),
                "interval": interval(gaps),
                "failed_slots": sum(row["failed_slots"] for row in mine),
                "tokens": None,
                "seconds": None,
            }
        )
    return rows


def main() -> int:
    """Print the table, or one JSON object."""
    arguments = parser(__doc__, items=20)
    arguments.add_argument("--demos", type=int, default=4)
    options = arguments.parse_args()
    model = mti.Model(options.model, cache=Path(".cache/notation"), timeout=300)
    figures = [row for path in paths(options) for row in measure(path, options, model)]
    figures += pooled(figures)
    if options.json:
        print(json.dumps({"model": options.model, "figures": figures}))
        return 0
    print(f"{'set':20} {'notation':9} {'n':>3} {'score':>6} {'to free':>8} {'95% interval':>17}"
          f" {'failed':>6} {'tokens':>6} {'seconds':>7}")  # fmt: skip
    for row in figures:
        low, high = row["interval"]
        tokens = "-" if row["tokens"] is None else f"{row['tokens']:.0f}"
        took = "-" if row["seconds"] is None else f"{row['seconds']:.2f}"
        print(f"{row['set']:20} {row['notation']:9} {row['n']:3} {row['score']:6.3f}"
              f" {row['to_free']:+8.3f}  [{low:+.3f}, {high:+.3f}] {row['failed_slots']:6}"
              f" {tokens:>6} {took:>7}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
