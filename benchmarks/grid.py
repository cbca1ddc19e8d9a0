"""Several items in a call: what that does to time and to scores, on the embedded model.

    python benchmarks/grid.py FOLDER [--sets web_sentences] [--items 64] [--sizes 1,2,4,8] [--json]

Every size answers the same dev items, all tasks of the set fused, with the same demonstrations
(shown in calls of that size). Blocks of items take turns: within each block every size runs, in
rotated order, one call at a time and past every cache, so warm-up and drift favour none. Figures of
finished blocks are kept in .cache/grid, so a run that was stopped goes on where it was.
Shown for each size: seconds an item (the ratio to one item a call is the median over blocks), calls
and tokens an item, the mean score over tasks with its paired difference to one item a call (95%
interval, bootstrap over items), slots that needed a repair and slots that failed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from common import interval, load, parser, paths, score, split

import mtiprompt as mti

KEPT = Path(".cache/grid")


def answer(
    program: mti.Program, block: list[dict[str, Any]], plan: mti.Plan, model: mti.Model
) -> dict[str, Any]:
    """The figures of one block at one size."""
    begun = time.perf_counter()
    results = list(
        program.map([row["inputs"] for row in block], model=model, plan=plan, concurrency=1)
    )
    return {
        "seconds": time.perf_counter() - begun,
        "scores": [score(program, one, row) for one, row in zip(results, block, strict=True)],
        "calls": sum(one.usage.calls for one in results),
        "repairs": sum(one.usage.of("repair").calls for one in results),
        "tokens": sum(one.usage.completion_tokens for one in results),
        "failed": sum(len(one.failures) for one in results),
    }


def measure(path: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The figures of every size on one set."""
    program, rows = load(path)
    sizes = [int(size) for size in options.sizes.split(",")]
    widest = max(sizes)
    demos, items = split(rows, "train", options.demos), split(rows, "dev", options.items)
    blocks = [items[start : start + widest] for start in range(0, len(items), widest)]
    plans = {size: mti.Plan.fused(program, demos=demos, items_per_call=size) for size in sizes}
    model = mti.Model(options.model, cache=False, timeout=600)
    kept = KEPT / f"{path.stem}-{options.demos}-{widest}-{Path(options.model).name}.jsonl"
    kept.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    for size in sizes:  # the prompts of every size are in the engine's cache before the first block
        list(program.map([row["inputs"] for row in split(rows, "test", size)],
                         model=model, plan=plans[size], concurrency=1))  # fmt: skip
    for number in range(len(done), len(blocks)):
        turn = number % len(sizes)
        found = {
            str(size): answer(program, blocks[number], plans[size], model)
            for size in sizes[turn:] + sizes[:turn]
        }
        done.append(found)
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found) + "\n")
        print(f"\r{path.stem} {number + 1}/{len(blocks)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return [figures(path.stem, size, done[: len(blocks)], len(items)) for size in sizes]


def figures(name: str, size: int, blocks: list[dict[str, Any]], items: int) -> dict[str, Any]:
    """One row of the table."""
    mine = [block[str(size)] for block in blocks]
    first = [block[min(block, key=int)] for block in blocks]
    gaps = [
        one - other
        for ours, theirs in zip(mine, first, strict=True)
        for one, other in zip(ours["scores"], theirs["scores"], strict=True)
    ]
    ratios = [one["seconds"] / two["seconds"] for one, two in zip(mine, first, strict=True)]
    return {
        "set": name,
        "size": size,
        "n": items,
        "seconds": sum(one["seconds"] for one in mine) / items,
        "ratio": statistics.median(ratios),
        "calls": sum(one["calls"] for one in mine) / items,
        "repairs": sum(one["repairs"] for one in mine),
        "tokens": sum(one["tokens"] for one in mine) / items,
        "score": statistics.mean(value for one in mine for value in one["scores"]),
        "gap": statistics.mean(gaps),
        "interval": interval(gaps),
        "failed": sum(one["failed"] for one in mine),
    }


def main() -> int:
    """Print the table, or one JSON object."""
    arguments = parser(__doc__, items=64, sets="web_sentences")
    arguments.add_argument("--sizes", default="1,2,4,8", help="items in a call")
    arguments.add_argument("--demos", type=int, default=8)
    options = arguments.parse_args()
    table = [row for path in paths(options) for row in measure(path, options)]
    if options.json:
        print(json.dumps({"model": options.model, "figures": table}))
        return 0
    print(f"{'set':18} {'items':>5} {'n':>4} {'s/item':>7} {'ratio':>6} {'calls':>6} {'repairs':>7}"
          f" {'tokens':>6} {'score':>6} {'gap':>7} {'95% interval':>17} {'failed':>6}")  # fmt: skip
    for row in table:
        low, high = row["interval"]
        print(f"{row['set']:18} {row['size']:5} {row['n']:4} {row['seconds']:7.2f}"
              f" {row['ratio']:6.2f} {row['calls']:6.2f} {row['repairs']:7} {row['tokens']:6.1f}"
              f" {row['score']:6.3f} {row['gap']:+7.3f}  [{low:+.3f}, {high:+.3f}]"
              f" {row['failed']:6}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
