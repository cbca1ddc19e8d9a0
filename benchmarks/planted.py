"""A task that derails a small model is planted in a program: does the planner put it apart?

    python benchmarks/planted.py FOLDER [--items 60] [--model NAME] [-o DIR] [--json]

FOLDER holds `restaurant_facts`. Before three of its tasks a fourth is planted: write about two
other places, as four demonstrations do with texts of train. In a call with it, the labels are read
out of that story. Its own answer counts as right if there is one, so what it does to the others is
all that speaks against it. `mti.choose_plan` chooses on the first `--items` rows of train and dev
that are not in a demonstration, with the rule `expected` and a margin of 0.05; every reply is kept
in DIR.

Exits with 1 unless the story has a call of its own and the other tasks share one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from common import parser, print_table
from pydantic import Field

import mtiprompt as mti
from mtiprompt.planner.candidate import Candidate
from mtiprompt.report.figures import span

FACTS = ("food", "price_range", "area")


DEMOS = 4


@mti.task
def story(text: str) -> Annotated[str, Field(max_length=500)]:  # type: ignore[empty-body]
    """Write about two other places: other food, other prices, another part of the town."""


def is_written(answer: str, gold: str, inputs: Mapping[str, Any]) -> float:
    """1 for any text."""
    return float(bool(answer.strip()))


def misled(rows: Sequence[mti.Row]) -> tuple[list[dict[str, Any]], list[mti.Row]]:
    """Demonstrations whose stories tell of other places, and the rows that are not in them."""
    shown, rest, demos = rows[:DEMOS], list(rows[DEMOS:]), []
    for row in shown:
        others = [one for one in rest if tells_of_another(one, row)][:2]
        rest = [one for one in rest if one not in others]
        facts = {name: row.outputs[name] for name in FACTS}
        tale = " ".join(one.inputs["text"] for one in others)
        demos.append({"inputs": row.inputs, "outputs": {"story": tale, **facts}})
    return demos, rest


def tells_of_another(one: mti.Row, row: mti.Row) -> bool:
    """Whether a row states food and price, and not those of another row."""
    pairs = [(one.outputs[name], row.outputs[name]) for name in ("food", "price_range")]
    return all(mine not in ("not stated", other) for mine, other in pairs)


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
    demos, rest = misled(data.train)
    rows = [
        replace(row, outputs={"story": "", **{name: row.outputs[name] for name in FACTS}})
        for row in (*rest, *data.dev)
    ]
    options.output.mkdir(parents=True, exist_ok=True)
    choice = mti.choose_plan(
        program, rows[: options.items], model=mti.Model(options.model, cache=False),
        demos=demos, metrics={"story": is_written}, record=options.output,
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
