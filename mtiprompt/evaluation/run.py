"""The measurement: the same items through every arm, in turns, on record."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Any

from mtiprompt import stats
from mtiprompt.checks import check_callable, check_program, check_record, check_repair
from mtiprompt.dataset import Row, read_rows
from mtiprompt.errors import DataError
from mtiprompt.evaluation.arms import Arm
from mtiprompt.evaluation.asking import Asker
from mtiprompt.evaluation.checks import check, check_records, read_arms
from mtiprompt.evaluation.clock import Clock
from mtiprompt.evaluation.outcome import Outcome
from mtiprompt.evaluation.scores import (
    Scores,
    Table,
    averages,
    conditional,
    score_table,
    scores_of,
)
from mtiprompt.evaluation.turns import complete, in_turns
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.model import as_model
from mtiprompt.plan import Plan
from mtiprompt.program import CONCURRENCY, Program
from mtiprompt.repair import DEFAULT, Repair
from mtiprompt.stats import Estimate
from mtiprompt.tasks import Metric, as_identifier

LARGEST_BLOCK = 48
"""Items in a block at most, unless one call has more."""


@dataclass(frozen=True)
class Comparison:
    """The same items in several arms.

    Attributes:
        program: The program.
        rows: The items with their gold.
        arms: The arms, the first of them the one that the others are compared with.
        outcomes: What became of each item, by arm, in the order of the rows.
        serial: Whether items were answered one after the other.
        model: The name of the model.
        metrics: Metrics for single tasks, in the place of their own.
        confidence: Of the intervals.
    """

    program: Program
    rows: tuple[Row, ...]
    arms: tuple[Arm, ...]
    outcomes: Mapping[str, tuple[Outcome, ...]]
    serial: bool
    model: str
    metrics: Mapping[str, Metric] | None = None
    confidence: float = stats.CONFIDENCE

    @property
    def baseline(self) -> str:
        """The arm that the others are compared with."""
        return self.arms[0].name

    @cached_property
    def tables(self) -> dict[str, Table]:
        """The score of every slot by arm, task and item id."""
        return {
            arm.name: score_table(self.program, self.rows, self.outcomes[arm.name], self.metrics)
            for arm in self.arms
        }

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """The scores by arm."""
        return {
            name: scores_of(self.program, self.outcomes[name], table, confidence=self.confidence)
            for name, table in self.tables.items()
        }

    def difference(self, arm: str, task: str | None = None) -> Estimate:
        """The mean paired difference between an arm and the baseline.

        Args:
            arm: The name of the arm.
            task: Of this task's scores; without one, of the items' means over their tasks.

        Raises:
            DataError: There is no such arm or task.
        """
        tables = self._tables(arm)
        task = as_identifier(task)
        if task is not None and task not in self.program.order:
            raise DataError(
                f"there is no task {task!r:.80}", hint=f"tasks: {', '.join(self.program.order)}"
            )
        pairs = [averages(table) if task is None else table[task] for table in tables]
        return self._paired(*pairs)

    def joint_difference(self, arm: str) -> Estimate:
        """The mean paired difference in whether all tasks of an item are right.

        Raises:
            DataError: There is no such arm.
        """
        last = self.program.order[-1]
        return self._paired(
            *(conditional(self.program, table, last) for table in self._tables(arm))
        )

    def _tables(self, arm: str) -> tuple[Table, Table]:
        """The scores of an arm and of the baseline."""
        names = [one.name for one in self.arms]
        if arm not in names:
            raise DataError(f"there is no arm {arm!r:.80}", hint=f"arms: {', '.join(names)}")
        return self.tables[arm], self.tables[self.baseline]

    def _paired(self, one: Mapping[str, float], other: Mapping[str, float]) -> Estimate:
        ids = list(one)
        return stats.difference([one[id] for id in ids], [other[id] for id in ids], self.confidence)

    def plain(self) -> dict[str, Any]:
        """All figures as plain JSON data."""
        return {
            "model": self.model,
            "items": len(self.rows),
            "serial": self.serial,
            "baseline": self.baseline,
            "confidence": self.confidence,
            "difference_method": stats.DIFFERENCE_METHOD,
            "arms": {
                arm.name: self.scores[arm.name].plain()
                | {
                    "differences": {
                        "tasks": {
                            task: self.difference(arm.name, task).plain()
                            for task in self.program.order
                        },
                        "average": self.difference(arm.name).plain(),
                        "joint": self.joint_difference(arm.name).plain(),
                    }
                }
                for arm in self.arms
            },
        }


def evaluate(
    program: Program,
    rows: Iterable[Row | Mapping[str, Any]],
    *,
    model: LanguageModel | str | None = None,
    plan: Plan | None = None,
    repair: Repair = DEFAULT,
    metrics: Mapping[str, Metric] | None = None,
    concurrency: int = CONCURRENCY,
    confidence: float = stats.CONFIDENCE,
    record: str | PathLike[str] | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Scores:
    """How good the answers of a program are, by task and for whole items.

    Example:
        >>> import mtiprompt as mti
        >>> program = mti.combine("text -> mood: Literal['good', 'bad']")
        >>> rows = [{"inputs": {"text": "Fine!"}, "outputs": {"mood": "good"}}]
        >>> scores = mti.evaluate(program, rows, model=mti.EchoModel())
        >>> scores.tasks["mood"].mean, scores.joint.n
        (1.0, 1)

    Args:
        program: The program.
        rows: Items with gold, as a split of a `Dataset` has them, or mappings with `inputs` and
            `outputs`. All are measured, whatever split they name.
        model: A model or its name; without one, that of the settings. Its cache is not asked and
            keeps nothing, because what comes from there costs nothing and takes no time.
        plan: How to run; without one, all tasks in one call.
        repair: What is done about slots that failed.
        metrics: Metrics for single tasks, in the place of their own: a name, or a function of
            (answer, gold) or of (answer, gold, inputs) that gives a score from 0 to 1.
        concurrency: Calls in flight at the same time.
        confidence: Of the intervals.
        record: A folder in which every reply is kept, so that a run that was stopped is taken up
            there again, and pays for nothing twice.
        progress: Called after every item.

    Raises:
        IncompleteRun: Calls failed for good (an outage, a spent budget); it names the items.
        DataError: A row, a metric or its score is wrong.
        ModelError: The model cannot be used at all.
    """
    check_program(program)
    arm = Arm("plan", Plan.fused(program) if plan is None else plan, parallel=True)
    found = compare(
        program,
        rows,
        [arm],
        model=model,
        repair=repair,
        metrics=metrics,
        concurrency=concurrency,
        confidence=confidence,
        record=record,
        progress=progress,
    )
    return found.scores[arm.name]


def compare(
    program: Program,
    rows: Iterable[Row | Mapping[str, Any]],
    arms: Iterable[Arm],
    *,
    model: LanguageModel | str | None = None,
    repair: Repair = DEFAULT,
    metrics: Mapping[str, Metric] | None = None,
    concurrency: int = 1,
    confidence: float = stats.CONFIDENCE,
    record: str | PathLike[str] | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Comparison:
    """Run the same items through several arms.

    Items go in blocks; each block goes through all arms, and the arm that begins is another in each
    block, so that warm-up and drift favour none. Every `Model` is warmed up before the first call
    that is not on record.

    Args:
        program: The program.
        rows: As for `evaluate`.
        arms: The arms, the first of them the one that the others are compared with.
        model: As for `evaluate`.
        repair: As for `evaluate`.
        metrics: As for `evaluate`.
        concurrency: Calls in flight at the same time. With 1, items follow each other, and so do
            the calls about one, unless the arm says otherwise.
        confidence: As for `evaluate`.
        record: As for `evaluate`; each arm has a file of its own there.
        progress: Called after every item of every arm.

    Raises:
        As `evaluate`.
    """
    check_program(program)
    check_repair(repair)
    check_record(record)
    check_callable(progress=progress)
    items, ways = read_rows(program, rows), read_arms(arms)
    check(program, items, ways, metrics, concurrency=concurrency, confidence=confidence)
    asked = as_model(model)
    if record is not None:
        check_records(ways)
    clock = Clock()
    askers = [Asker(program, arm, asked, clock, record) for arm in ways]
    found = _run(askers, items, repair, concurrency, progress)
    complete([row.id for row in items], found, record)
    return Comparison(
        program=program,
        rows=items,
        arms=ways,
        outcomes={
            name: tuple(outcomes[row.id] for row in items) for name, outcomes in found.items()
        },
        serial=concurrency == 1,
        model=asked.name,
        metrics=metrics,
        confidence=confidence,
    )


def _run(
    askers: Sequence[Asker],
    items: Sequence[Row],
    repair: Repair,
    concurrency: int,
    progress: Callable[[], None],
) -> dict[str, dict[str, Outcome]]:
    """What became of the items in every arm, by their ids; some are lacking after an outage."""
    by_name = {one.arm.name: one for one in askers}
    asked = dict.fromkeys(by_name, 0)

    def ask(name: str, end: int) -> Iterator[Outcome] | None:
        size = by_name[name].arm.plan.items_per_call
        upto = end if end == len(items) else end // size * size  # calls are never cut short
        block, asked[name] = items[asked[name] : upto], upto
        return by_name[name].ask(block, repair, concurrency) if block else None

    return in_turns(list(by_name), _ends(len(items), askers, concurrency), ask, progress)


def _ends(number: int, askers: Sequence[Asker], concurrency: int) -> Iterator[int]:
    """Where the blocks of items end: if possible where whole calls of every arm do."""
    sizes = [one.arm.plan.items_per_call for one in askers]
    size = math.lcm(*sizes)
    if size > LARGEST_BLOCK:
        size = max(sizes)
    size *= math.ceil(2 * concurrency / size) if concurrency > 1 else 1
    yield from range(size, number, size)
    yield number
