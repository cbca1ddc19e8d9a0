"""Which slots share a call: sizes, groups and turns, so that size and position are apart."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mtiprompt.dataset import Dataset, Row
from mtiprompt.errors import DataError
from mtiprompt.experiments.scaling.sources import Source, part_of, side_by_side, sources
from mtiprompt.plan import Plan
from mtiprompt.program import Program, combine
from mtiprompt.tasks import Task

Sweep = Literal["same", "mixed", "items"]
SWEEPS: dict[Sweep, str] = {
    "same": "Tasks of one data set in a call",
    "mixed": "Tasks of different data sets in a call",
    "items": "Items in a call",
}
"""What grows."""
TASKS = (1, 2, 4, 8, 12)
ITEMS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Job:
    """Items that go through one plan.

    Attributes:
        sweep: What grows; the jobs of `same` with size 1 are those that all others are compared
            with.
        size: Tasks, or items, in each of its calls.
        program: The tasks that are asked.
        plan: Which of them share a call.
        rows: The items; of several items in a call, those of one call follow each other.
        source: The name of the data set; empty: several.
    """

    sweep: Sweep
    size: int
    program: Program
    plan: Plan
    rows: tuple[Row, ...]
    source: str = ""

    @property
    def alone(self) -> bool:
        """Whether every slot has a call of its own."""
        return self.size == 1

    @property
    def name(self) -> str:
        """What its record is called; jobs of one name have one."""
        return "alone" if self.alone else f"{self.sweep}-{self.size}"

    def positions(self, place: int) -> dict[str, int]:
        """Where the slots of an item stand in their calls, counted from 1, by task.

        Args:
            place: The place of the item in `rows`, counted from 0.
        """
        if self.sweep == "items":
            return dict.fromkeys(self.program.order, place % self.size + 1)
        return {
            task: position
            for group in self.plan.call_groups
            for position, task in enumerate(group.tasks, start=1)
        }


@dataclass(frozen=True)
class Design:
    """All that is to be asked.

    Attributes:
        sources: The data sets.
        jobs: What is asked of them, in an order drawn by the seed, so that drift favours no size.
    """

    sources: tuple[Source, ...]
    jobs: tuple[Job, ...]

    def rows(self, job: Job) -> tuple[Row, ...]:
        """The rows of a job, called as in their data sets; an error names them so.

        Args:
            job: One of the jobs.
        """
        of = [source for source in self.sources if job.source in {"", source.name}]
        return tuple(
            replace(row, id=" + ".join(source.called(row.id) for source in of)) for row in job.rows
        )

    @property
    def steps(self) -> int:
        """How often `run` calls `progress`."""
        return sum(len(job.rows) for job in self.jobs)


def design(
    datasets: Sequence[Dataset],
    *,
    tasks: Sequence[int] = TASKS,
    items: Sequence[int] = ITEMS,
    rows: int = 40,
    demos: int = 0,
    seed: int = 0,
) -> Design:
    """What is to be asked; arguments and errors are those of `run`.

    The tasks stand in a circle, and each item begins at the next place of it: the circle is cut
    there into groups of the size, and what remains is not asked. So every task stands at each
    position equally often, as far as the number of items is a multiple of the number of tasks.
    """
    if not datasets:
        raise DataError("there is no data set", hint="give one or more")
    if not _is_size(rows):
        raise DataError(f"rows is {rows!r}, expected 1 or more")
    task_sizes, item_sizes = _sizes("tasks", tasks), _sizes("items", items)
    found = sources(datasets, rows=rows, demos=demos, seed=seed)
    chance = random.Random(seed)
    jobs: list[Job] = []
    for source in found:
        circle = chance.sample(source.tasks, len(source.tasks))
        jobs += _turns("same", circle, source.rows, source.demos, (1, *task_sizes), source.name)
        jobs += _batches(source, item_sizes, chance)
    if len(found) > 1:
        jobs += _mixed(found, task_sizes, chance)
    if all(job.alone for job in jobs):
        raise DataError(
            "there is nothing to compare: no size above 1 fits the tasks and rows",
            hint="give data sets with more tasks that need no other's answer, or more rows",
        )
    chance.shuffle(jobs)
    return Design(found, tuple(jobs))


def _sizes(what: str, given: Sequence[int]) -> tuple[int, ...]:
    """The sizes above 1, which is always measured, in ascending order."""
    if wrong := [one for one in given if not _is_size(one)]:
        raise DataError(
            f"{what} has the size {wrong[0]!r}, expected 1 or more", hint="write 1,2,4,8"
        )
    return tuple(sorted(set(given) - {1}))


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _turns(
    sweep: Sweep,
    circle: Sequence[Task[Any]],
    rows: Sequence[Row],
    demos: Sequence[Row],
    sizes: Sequence[int],
    source: str = "",
) -> Iterator[Job]:
    """A job for each size and place at which items begin."""
    number = len(circle)
    for size in (one for one in sizes if one <= number):
        for turn in range(min(number, len(rows))):
            turned = [*circle[turn:], *circle[:turn]][: number // size * size]
            program = combine(*turned)
            names = [task.name for task in turned]
            groups = [names[start : start + size] for start in range(0, len(names), size)]
            plan = Plan.groups(program, groups, demos=_parts(program, demos))
            yield Job(sweep, size, program, plan, _parts(program, rows[turn::number]), source)


def _mixed(found: Sequence[Source], sizes: Sequence[int], chance: random.Random) -> Iterator[Job]:
    """Jobs with the tasks of all data sets, those of each spread over the circle."""
    places = [
        ((place + 0.5) / len(source.tasks), chance.random(), task)
        for source in found
        for place, task in enumerate(chance.sample(source.tasks, len(source.tasks)))
    ]
    circle = [task for _, _, task in sorted(places, key=lambda one: one[:2])]
    rows = side_by_side([source.rows for source in found])
    demos = side_by_side([source.demos for source in found])
    return _turns("mixed", circle, rows, demos, sizes)


def _batches(source: Source, sizes: Sequence[int], chance: random.Random) -> Iterator[Job]:
    """A job for each number of items: one task in a call, the items in a new order."""
    program = combine(*source.tasks)
    for size in (one for one in sizes if one <= len(source.rows)):
        number = len(source.rows) // size * size
        plan = Plan.split(program, items_per_call=size, demos=_parts(program, source.demos))
        rows = _parts(program, chance.sample(source.rows, number))
        yield Job("items", size, program, plan, rows, source.name)


def _parts(program: Program, rows: Sequence[Row]) -> tuple[Row, ...]:
    return tuple(part_of(row, program.inputs, program.tasks) for row in rows)
