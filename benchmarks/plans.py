"""Plans chosen on train and dev, then measured once on test.

    python benchmarks/plans.py FOLDER [--sets A,B] [--items 80] [--model NAME] [-o DIR] [--json]

FOLDER holds development sets (NAME.jsonl with NAME.task.json). For each set both rules of
`mti.choose_plan` choose a plan on the rows of train and dev that are no demonstrations; then all
split, all fused and the chosen plans are run on the first `--items` rows of test. Every reply is
kept in DIR, so a run that was stopped goes on where it was and a longer one pays for the new rows
only. The first table says what was chosen on which rows; the second what that is worth on test,
beside all split: tokens at usual prices (a cached one at a tenth, a written one at five), seconds,
and for the task that loses most and for the mean of tasks the paired difference with its 95%
interval.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from common import parser, paths, print_table

import mtiprompt as mti
from mtiprompt.cli.measuring import measured_model
from mtiprompt.evaluation import Comparison, draw_demos
from mtiprompt.planner.choice import TOKENS
from mtiprompt.planner.rules import Rule
from mtiprompt.report.figures import difference

RULES: tuple[Rule, ...] = ("expected", "guarantee")


@dataclass(frozen=True)
class Found:
    """What was found on one set.

    Attributes:
        name: Of the set.
        choices: By rule.
        test: All arms on test; a chosen plan that is one of the others has no arm of its own.
        arms: The arm of each rule.
    """

    name: str
    choices: dict[str, mti.Choice]
    test: Comparison
    arms: dict[str, str]


def measure(path: Path, options: argparse.Namespace) -> Found:
    """Choose on train and dev, and measure on test."""
    data = mti.Dataset.load(path)
    demos = draw_demos(data.program, data.train, options.demos, seed=0)
    shown = [demo.inputs for demo in demos]
    rows = [row for row in (*data.train, *data.dev) if dict(row.inputs) not in shown]
    folder = options.output / path.stem
    # split, fused and a choice take turns on test, each of its calls with a beginning of its own
    model = measured_model(options.model, None, kinds=2 * len(data.program.order) + 1)

    def tell(trying: str) -> None:
        print(f"\r{path.stem}: {trying:60.60}", end="", file=sys.stderr, flush=True)

    choices: dict[str, mti.Choice] = {
        rule: mti.choose_plan(
            data.program, rows, model=model, rule=rule, margin=options.margin, demos=demos,
            record=folder, progress=tell,
        )
        for rule in RULES
    }  # fmt: skip
    plans = {
        "split": mti.Plan.split(data.program, demos=demos),
        "fused": mti.Plan.fused(data.program, demos=demos),
    }
    arms: dict[str, str] = {}
    for rule, choice in choices.items():
        same = [name for name, plan in plans.items() if plan == choice.plan]
        arms[rule] = same[0] if same else rule
        plans.setdefault(arms[rule], choice.plan)
    test = mti.compare(
        data.program, data.test[: options.items], [mti.Arm(*one) for one in plans.items()],
        model=model, record=folder / "test", progress=lambda: tell("test"),
    )  # fmt: skip
    return Found(path.stem, choices, test, arms)


def chosen_lines(found: Found) -> list[list[str]]:
    """A line for each rule: what it chose, and what it says of all tasks in one call."""
    lines = []
    for rule, choice in found.choices.items():
        fused = next((one for one in choice.candidates if one.name == "fused"), None)
        told = f"{fused.verdict} after {fused.rows}: {fused.reason}" if fused else "not tried"
        undecided = sum(one.verdict == "undecided" for one in choice.candidates)
        spent = f"{choice.spent.calls:,}"
        lines.append([found.name, rule, str(choice.rows), choice.chosen.name, told,
                      f"{undecided} of {len(choice.candidates) - 1}", spent])  # fmt: skip
    return lines


def test_lines(found: Found) -> list[list[str]]:
    """A line for all fused and for each rule: price, time and differences beside split."""
    lines = []
    for who, arm in {"all fused": "fused", **found.arms}.items():
        if arm == "split":
            lines.append([found.name, who, str(len(found.test.rows)), "1.00", "1.00", "0", "0"])
            continue
        worst = min(found.test.program.order, key=lambda task: found.test.difference(arm, task))
        lines.append([
            found.name, who, str(len(found.test.rows)),
            f"{cost(found.test, arm) / cost(found.test, 'split'):.2f}",
            f"{seconds(found.test, arm) / seconds(found.test, 'split'):.2f}",
            f"{worst} {difference(found.test.difference(arm, worst))}",
            difference(found.test.difference(arm)),
        ])  # fmt: skip
    return lines


def cost(test: Comparison, arm: str) -> float:
    """What the tokens of an arm cost."""
    return TOKENS.cost(test.scores[arm].usage)


def seconds(test: Comparison, arm: str) -> float:
    """The time in which calls of an arm were under way."""
    return test.scores[arm].seconds


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, items=80)
    arguments.add_argument("--demos", type=int, default=4, help="demonstrations")
    arguments.add_argument("--margin", type=float, default=0.05, help="the loss a task may have")
    arguments.add_argument("-o", "--output", type=Path, default=Path(".cache/plans"))
    options = arguments.parse_args()
    found = []
    for path in paths(options):
        (options.output / path.stem).mkdir(parents=True, exist_ok=True)
        found.append(measure(path, options))
        print(file=sys.stderr)
    if options.json:
        print(json.dumps({
            one.name: {
                "choices": {rule: choice.plain() for rule, choice in one.choices.items()},
                "test": one.test.plain(),
                "arms": one.arms,
            }
            for one in found
        }))  # fmt: skip
        return
    print_table(["set", "rule", "rows", "chosen", "all in one call", "undecided", "calls"],
                [line for one in found for line in chosen_lines(one)])  # fmt: skip
    print_table(["set", "plan", "test rows", "cost, of split", "time, of split",
                 "task that loses most", "mean of tasks"],
                [line for one in found for line in test_lines(one)])  # fmt: skip


if __name__ == "__main__":
    main()
