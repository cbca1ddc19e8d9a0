"""Arms: the ways of running a program that are measured side by side."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtiprompt.checks import check_list
from mtiprompt.combine import Combined
from mtiprompt.dataset import Row
from mtiprompt.errors import DataError
from mtiprompt.plan import Demo, Plan, make_demo

ARMS = {
    "split": "one call a task, one after the other",
    "split_parallel": "the same calls, at the same time where no task waits for another",
    "split_all_context": "one call a task, which tells of all tasks and answers one",
    "split_cached": "one call a task, the item first, so that the calls about it share a prefix",
    "batch:B": "one call a task for B items: batch prompting",
    "fused": "all tasks in one call",
    "fused_batch:B": "all tasks of B items in one call",
}
"""What arms there are; B is a number from 2 on. A saved plan, `plan.json`, is an arm too."""

BATCH = 4
"""B where none is given."""


@dataclass(frozen=True)
class Arm:
    """A way of running.

    Attributes:
        name: What it is called in tables.
        plan: The plan.
        parallel: Whether calls about one item go out at the same time where they can.
    """

    name: str
    plan: Plan
    parallel: bool = False


def make_arms(program: Combined, names: Iterable[str], demos: Iterable[Demo]) -> tuple[Arm, ...]:
    """The arms of these names, all with the same demonstrations.

    Args:
        program: The program.
        names: Names as in `ARMS`, or paths of saved plans, which keep their own demonstrations.
        demos: The demonstrations, in the order of showing; a warning tells of those that the calls
            of an arm leave out, as they lack an answer for one of its tasks.

    Raises:
        DataError: There is no such arm, or one is named twice, or something is no list.
        PlanError: A saved plan does not fit the program.
    """
    check_list(names=names, demos=demos)
    shown = tuple(demos)
    made = tuple(_arm(program, name, shown) for name in names)
    if not made:
        raise DataError("there is no arm", hint=f"name some: {', '.join(ARMS)}")
    called = [arm.name for arm in made]
    if twice := [name for name in called if called.count(name) > 1]:
        hint = "a saved plan is called after its file: rename that, or leave one arm out"
        raise DataError(f"two arms are called {twice[0]!r}", hint=hint)
    return made


_PLANS: dict[str, Callable[..., Plan]] = {
    "split": Plan.split,
    "split_parallel": Plan.split,
    "split_all_context": lambda program, **rest: Plan.split(program, show_all=True, **rest),
    "split_cached": lambda program, **rest: Plan.split(program, layout="item_first", **rest),
    "batch": Plan.split,
    "fused": Plan.fused,
    "fused_batch": Plan.fused,
}


def _arm(program: Combined, name: str, demos: Sequence[Demo]) -> Arm:
    if name.endswith(".json"):
        plan = Plan.load(name)
        plan.check(program)
        return Arm(Path(name).stem, plan)
    kind, colon, size = name.partition(":")
    options: dict[str, Any] = {"demos": demos}
    if kind in {"batch", "fused_batch"}:
        size = size if colon else str(BATCH)
        if not size.isdecimal() or int(size) < 2:
            raise DataError(f"arm {name!r} has no number of items", hint=f"write {kind}:4")
        options["items_per_call"] = int(size)
        name = f"{kind}:{int(size)}"
    elif kind not in _PLANS or colon:
        raise DataError(
            f"there is no arm {name!r}", hint=f"known: {', '.join(ARMS)}, or a saved plan.json"
        )
    return Arm(name, _PLANS[kind](program, **options), parallel=kind == "split_parallel")


def draw_demos(
    program: Combined, rows: Sequence[Row], number: int, *, seed: int = 0
) -> tuple[Demo, ...]:
    """Demonstrations drawn at random from rows that have gold for every task.

    Args:
        program: The program.
        rows: Where to draw from; the train split.
        number: How many.
        seed: The same seed draws the same ones in the same order.

    Raises:
        DataError: There are not so many.
    """
    if number < 0:
        raise DataError(f"{number} demonstrations are wanted", hint="ask for 0 or more")
    labelled = [row for row in rows if set(row.outputs) == set(program.tasks)]
    if number > len(labelled):
        raise DataError(
            f"{number} demonstrations are wanted, and {len(labelled)} rows of the train split have "
            "gold for every task",
            hint="ask for fewer",
        )
    return tuple(make_demo(program, row) for row in random.Random(seed).sample(labelled, number))
