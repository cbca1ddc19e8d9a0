"""Demonstrations of single tasks, as DSPy keeps them, to worked examples of a whole program.

DSPy's optimizers choose demonstrations for each predictor apart. A call that asks several tasks can
show only examples with an answer for each of them, so what belongs to one item is put together.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from mtiprompt.demo import Demo, make_demo
from mtiprompt.dspy_bridge.names import Flat, Names
from mtiprompt.errors import PlanError
from mtiprompt.plan import Plan
from mtiprompt.tasks import Task, Values, why

logger = logging.getLogger(__name__)

ROWS_KEPT = 10_000
"""Rows that are remembered, as many as DSPy keeps of its own trace."""

_MISSING = object()


class Rows:
    """Remembers which whole row the answer of a single task was part of; threads may share it.

    An optimizer that makes a demonstration of a trace keeps what the one predictor read and wrote.
    The answers of the other tasks to the same item are found here again.
    """

    def __init__(self) -> None:
        self._rows: OrderedDict[str, Flat] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, names: Names, row: Flat) -> None:
        """Remember a row under each task that it answers."""
        with self._lock:
            for task in names.program.tasks:
                if names.fields(task, row) is not None:
                    self._rows[_key(names, task, row)] = row
            while len(self._rows) > ROWS_KEPT:
                self._rows.popitem(last=False)

    def of(self, names: Names, task: str, demo: Flat) -> Flat | None:
        """The row that a demonstration of a task was part of, as far as it is known.

        None for one of a trace that has None where the task may have failed: only this memory
        tells that from an answer.
        """
        row = self._rows.get(_key(names, task, demo))
        if row is not None:
            return {**row, **demo}
        unsure = any(demo[name] is None for name in names.outputs[task].values())
        return None if unsure and demo.get("augmented") else demo  # DSPy's mark of a trace


def _key(names: Names, task: str, row: Flat) -> str:
    taken = names.taken(task, {**names.program.defaults, **row})
    own = taken | {name: row.get(name) for name in names.outputs[task].values()}
    return json.dumps([task, own], default=repr, sort_keys=True)


@dataclass
class _Row:
    """An example that is being put together.

    Attributes:
        known: Its inputs and answers by name in DSPy.
        chosen: The tasks for which it was chosen.
    """

    known: dict[str, Any]
    chosen: set[str] = field(default_factory=set)

    def fits(self, names: Names, task: str, row: Flat) -> bool:
        """Whether a demonstration of a task is about the same item."""
        if task in self.chosen:
            return False
        same = names.given(row) | names.taken(task, row)
        return all(_same(self.known.get(name, _MISSING), value) for name, value in same.items())

    def add(self, names: Names, task: str, row: Flat) -> None:
        """Take in a demonstration of a task: its own answer holds, others fill gaps."""
        self.known |= {name: row[name] for name in names.outputs[task].values()}
        self.chosen.add(task)
        for name, value in row.items():
            if value is not None or name in names.nullable:
                self.known.setdefault(name, value)


def _same(one: Any, other: Any) -> bool:
    return bool(one is other or one == other)


def line_up(
    names: Names, demos: Mapping[str, Sequence[Any]], rows: Rows | None = None
) -> list[Flat]:
    """Demonstrations of single tasks as rows, those about the same item in one.

    Args:
        names: The names of the program.
        demos: By task, what DSPy shows its predictor: examples or mappings. A demonstration
            without an answer of the task is passed over; None is one where its type has it.
        rows: What is known of whole rows.

    Returns:
        The rows in the order of the demonstrations, the first of every task before the second of
        any. A demonstration that says too little of its inputs, and fits no other, is left out.

    Raises:
        DataError: Two names of a demonstration are one.
    """
    found: list[_Row] = []
    late: list[tuple[str, Flat]] = []
    for task, demo in _in_turn(names, demos):
        if names.fields(task, demo) is None:
            continue
        row = rows.of(names, task, demo) if rows else demo
        if row is not None and not _place(found, names, task, row):
            late.append((task, row))
    for task, row in late:
        _place(found, names, task, row)
    return [one.known for one in found]


def _in_turn(names: Names, demos: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, Flat]]:
    order = [task for task in names.program.order if task in demos]
    for turn in zip_longest(*(demos[task] for task in order)):
        for task, demo in zip(order, turn, strict=True):
            if demo is not None:
                yield task, names.read(demo, f"a demonstration of task {task}")


def _place(found: list[_Row], names: Names, task: str, row: Flat) -> bool:
    """Put a demonstration where it belongs; False if that is not known yet."""
    place = next((one for one in found if one.fits(names, task, row)), None)
    if place is None:
        if not names.is_whole(given := names.given(row)):
            return False
        place = _Row(given)
        found.append(place)
    place.add(names, task, row)
    return True


def as_demo(names: Names, row: Flat) -> Demo | None:
    """A row as a demonstration, with the answers that fit their tasks; None if nothing is left."""
    outputs: dict[str, Any] = {}
    for name, task in names.program.tasks.items():
        fields = names.fields(name, row)
        if fields is not None and (answer := _answer(task, fields)) is not _MISSING:
            outputs[name] = answer
    if not outputs:
        return None
    try:
        return make_demo(names.program, {"inputs": names.given(row), "outputs": outputs})
    except PlanError as error:
        logger.warning("a demonstration is not shown: %s", error.message)
        return None


def _answer(task: Task[Any], fields: Mapping[str, Any]) -> Any:
    """The answer that a task can have given; gold that was read from a file may be text."""
    try:
        read = {one.name: one.adapter.validate_python(fields[one.name]) for one in task.outputs}
        answer = read[task.outputs[0].name] if task.bare else Values(read)
        task.read(answer)
    except Exception as error:  # noqa: BLE001  the seam to the check of a type's author
        logger.warning("task %s: a demonstration does not fit: %.200s", task.name, why(error))
        return _MISSING
    return answer


def shown(plan: Plan, demos: Sequence[Demo], held: Mapping[str, int]) -> tuple[Demo, ...]:
    """The first of the demonstrations that the groups of a plan can show, enough for each group.

    Args:
        plan: The plan.
        demos: Demonstrations.
        held: How many each task has; an optimizer that chose four for each task of a group means
            four, not twelve.
    """
    room = {group.tasks: max(held[task] for task in group.tasks) for group in plan.call_groups}
    kept = []
    for demo in demos:
        able = [tasks for tasks in room if demo.outputs.keys() >= set(tasks)]
        if any(room[tasks] > 0 for tasks in able):
            kept.append(demo)
            for tasks in able:
                room[tasks] -= 1
    return tuple(kept)


def held_by(names: Names, demos: Sequence[Demo]) -> dict[str, list[Flat]]:
    """By task: the demonstrations that its predictor has of a plan, as rows of the task alone."""
    held: dict[str, list[Flat]] = {task: [] for task in names.program.tasks}
    for demo in demos:
        row = flat_row(names, demo)
        for task in demo.outputs:
            held[task].append(names.own(task, row))
    return held


def flat_row(names: Names, demo: Demo) -> dict[str, Any]:
    """A demonstration as DSPy has it."""
    row = dict(demo.inputs)
    for task, fields in demo.outputs.items():
        row |= names.flat(task, fields)
    return row
