"""A task that derails a small model is planted in a program: does the planner put it apart?

    python benchmarks/planted.py FOLDER [--items 60] [--model NAME] [-o DIR] [--json]

FOLDER holds `restaurant_facts`. Before three of its tasks a fourth is planted: retell the text as a
long story, details invented. In a call with it, the labels are read out of the story. Its own
answer counts as right if there is one, so what it does to the others is all that speaks against it.
`mti.choose_plan` chooses on the first `--items` rows of train and dev, with the rule `expected` and
a margin of 0.05; every reply is kept in DIR.

Exits with 1 unless the story has a call of its own and the other tasks share one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from common import parser, print_table
from pydantic import Field

import mtiprompt as mti
from mtiprompt.planner.candidate import Candidate
from mtiprompt.report.figures import span

FACTS = ("food", "price_range", "area")


@mti.task
def story(text: str) -> Annotated[str, Field(max_length=400)]:  # type: ignore[empty-body]
    """Retell the text as a long story with dialogue. Change the place, the food and the prices."""


def is_written(answer: str, gold: str, inputs: Mapping[str, Any]) -> float:
    """1 for any text."""
    return float(bool(answer.strip()))


def line(one: Candidate) -> list[str]:
    """What is known of a candidate."""
    told = [
        f"{one.tasks[name].loss:+.2f} {span(*one.tasks[name].interval)}" if one.tasks else "-"
        for name in FACTS
    ]
    return [one.name, one.verdict, str(one.rows), *told]


def main() -> int:
    """Choose, print what was measured, and check."""
    arguments = parser(__doc__, items=60)
    arguments.add_argument("-o", "--output", type=Path, default=Path(".cache/planted"))
    options = arguments.parse_args()
    data = mti.Dataset.load(options.folder / "restaurant_facts.jsonl")
    program = mti.combine(story, *(data.program.tasks[name] for name in FACTS))
    rows = [
        replace(row, outputs={"story": "", **{name: row.outputs[name] for name in FACTS}})
        for row in (*data.train, *data.dev)
    ]
    options.output.mkdir(parents=True, exist_ok=True)
    choice = mti.choose_plan(
        program, rows[: options.items], model=mti.Model(options.model, cache=False),
        metrics={"story": is_written}, record=options.output,
        progress=lambda trying: print(f"\r{trying:60.60}", end="", file=sys.stderr, flush=True),
    )  # fmt: skip
    print(file=sys.stderr)
    if options.json:
        print(json.dumps(choice.plain()))
    else:
        print_table(["plan", "verdict", "rows", *FACTS], [line(one) for one in choice.candidates])
        print(f"chosen: {choice.chosen.name}")
    groups = {frozenset(group.tasks) for group in choice.plan.call_groups}
    return 0 if groups == {frozenset(["story"]), frozenset(FACTS)} else 1


if __name__ == "__main__":
    sys.exit(main())
