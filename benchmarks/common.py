"""What the measurements on development sets share: the sets, the scores, intervals."""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import mtiprompt as mti
from mtiprompt.metrics import metric

MODEL = "local/qwen2.5-coder-0.5b"


def parser(description: str | None, *, items: int, sets: str = "") -> argparse.ArgumentParser:
    """The options that these scripts share."""
    arguments = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("folder", type=Path, help="folder of NAME.jsonl and NAME.task.json")
    arguments.add_argument("--sets", default=sets, help="names, with commas between them")
    arguments.add_argument("--items", type=int, default=items, help="rows of each set")
    arguments.add_argument("--model", default=MODEL)
    arguments.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    return arguments


def paths(options: argparse.Namespace) -> list[Path]:
    """The sets that are wanted."""
    wanted = set(filter(None, options.sets.split(",")))
    return [
        path
        for path in sorted(options.folder.glob("*.jsonl"))
        if path.with_suffix(".task.json").exists() and (not wanted or path.stem in wanted)
    ]


def load(path: Path) -> tuple[mti.Program, list[dict[str, Any]]]:
    """The program and the rows of a set."""
    program = mti.combine(*mti.Task.from_json_schema(path.with_suffix(".task.json")))
    lines = path.read_text(encoding="utf-8").splitlines()
    return program, [json.loads(line) for line in lines]


def split(rows: Sequence[dict[str, Any]], name: str, number: int) -> list[dict[str, Any]]:
    """The first rows of a split."""
    return [row for row in rows if row["split"] == name][:number]


def scores(program: mti.Program, result: mti.Result, row: dict[str, Any]) -> dict[str, float]:
    """The score of every task of one item; a failed slot scores 0."""
    found = {}
    for name, slot in mti.slots(result).items():
        scored = metric(program.tasks[name].metric)
        found[name] = (
            0.0
            if isinstance(slot, mti.Failure)
            else scored(slot.fields[name], row["outputs"][name], row["inputs"])
        )
    return found


def score(program: mti.Program, result: mti.Result, row: dict[str, Any]) -> float:
    """The mean over tasks of the score of one item."""
    return statistics.mean(scores(program, result, row).values())


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95% bootstrap interval of a mean (percentiles of 2,000 resamples)."""
    draw = random.Random(seed)
    means = sorted(statistics.mean(draw.choices(values, k=len(values))) for _ in range(2000))
    return means[49], means[1949]


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    first = list(columns)
    lines = (first, ["---"] * len(first), *rows)
    return "\n".join(f"| {' | '.join(one.replace('|', '/') for one in line)} |" for line in lines)


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table in Markdown, and an empty line."""
    print(table(columns, rows), end="\n\n")
