"""Which slots share a call: sizes, groups and turns, so that size and position are apart."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mtiprompt.checks import check_list, check_whole
from mtiprompt.dataset import Dataset, Row
from mtiprompt.errors import DataError
from mtiprompt.experiments.checks import check_seed, is_whole
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
    check_list(datasets=datasets, tasks=tasks, items=items)
    sets: list[Any] = list(datasets)
    if not sets:
        raise DataError("there is no data set", hint="give one or more")
    if wrong := [one for one in sets if not isinstance(one, Dataset)]:
        raise DataError(f"{wrong[0]!r:.80} is no data set", hint='mti.Dataset.load("NAME.jsonl")')
    if not is_whole(rows):
        raise DataError(f"rows is {rows!r:.80}, expected 1 or more")
    check_whole(0, demos=demos)
    check_seed(seed)
    task_sizes, item_sizes = _sizes("tasks", tasks), _sizes("items", items)
    found = sources(sets, rows=rows, demos=demos, seed=seed)
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
    _check_gold(jobs)
    chance.shuffle(jobs)
    return Design(found, tuple(jobs))


def _sizes(what: str, given: Sequence[int]) -> tuple[int, ...]:
    """The sizes above 1, which is always measured, in ascending order."""
    sizes = list(given)
    if wrong := [one for one in sizes if not is_whole(one)]:
        raise DataError(
            f"{what} has the size {wrong[0]!r:.80}, expected 1 or more", hint="write 1,2,4,8"
        )
    return tuple(sorted(set(sizes) - {1}))


def _check_gold(jobs: Sequence[Job]) -> None:
    """Refuse to ask where no answer that shares a call could be scored."""
    if not any(row.outputs for job in jobs if not job.alone for row in job.rows):
        raise DataError("no answer that shares a call has gold", hint="give more rows with gold")


def _whole(circle: Sequence[Task[Any]], tasks: Sequence[Task[Any]]) -> Program:
    """The program of some tasks of a circle, which is given all inputs of it.

    A call shows those of its tasks, as ever; rows are told apart by all of them.
    """
    program = combine(*tasks)
    return replace(program, inputs={**combine(*circle).inputs, **program.inputs})


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
            program = _whole(circle, turned)
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
