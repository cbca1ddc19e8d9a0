"""Outcomes and gold to scores: for each task, for whole items, and for items up to a task."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mtiprompt import stats
from mtiprompt.checks import check_mapping
from mtiprompt.combine import Combined
from mtiprompt.dataset import Row
from mtiprompt.errors import DataError, MTIError
from mtiprompt.evaluation.outcome import Outcome, busy_seconds
from mtiprompt.metrics import Scorer, checked_score, metric, warn_of_twins
from mtiprompt.stats import Estimate, Interval
from mtiprompt.tasks import Metric, by_identifier, first_line
from mtiprompt.wire import Usage

RIGHT = 1.0
"""The score from which an answer counts as right."""


@dataclass(frozen=True)
class TaskScores:
    """The scores of one task.

    Attributes:
        mean: Their mean.
        interval: Its interval, see `Scores.method`.
        n: Items with gold for the task.
        by_item: The scores by the ids of these items. A slot that failed has 0.
        failures: How many slots failed, by kind; they are among the n.
        conditional: The share of items on which this task and all before it in the order of the
            program are right, of those with gold for all of them (Son et al. 2024, arXiv
            2402.11597).
    """

    mean: float
    interval: Interval
    n: int
    by_item: Mapping[str, float]
    failures: Mapping[str, int]
    conditional: Estimate


@dataclass(frozen=True)
class Scores:
    """How good the answers of a program are, and what they cost.

    Attributes:
        tasks: The scores by task, in the order of the program.
        joint: The share of items on which all tasks are right, of those with gold for all; as a
            number it is the mean.
        average: The mean over the items of the mean score of their tasks.
        usage: What all items cost.
        seconds: Time during which at least one call was under way.
        n: Items.
        failures: How many slots failed, by kind.
        outcomes: What became of each item.
        method: Which intervals these are.
    """

    tasks: Mapping[str, TaskScores]
    joint: Estimate
    average: Estimate
    usage: Usage
    seconds: float
    n: int
    failures: Mapping[str, int]
    outcomes: tuple[Outcome, ...] = field(repr=False)
    method: str = stats.MEAN_METHOD

    def plain(self) -> dict[str, Any]:
        """The figures as plain JSON data, without the outcomes."""
        return {
            "n": self.n,
            "tasks": {
                name: {
                    "mean": one.mean if one.n else None,
                    "interval": list(one.interval) if one.n else None,
                    "n": one.n,
                    "failures": dict(one.failures),
                    "conditional": one.conditional.plain(),
                }
                for name, one in self.tasks.items()
            },
            "joint": self.joint.plain(),
            "average": self.average.plain(),
            "failures": dict(self.failures),
            "usage": self.usage.plain(),
            "seconds": self.seconds,
            "method": self.method,
        }


Table = Mapping[str, Mapping[str, float]]
"""Scores by task and item id; items without gold for a task are not there."""


def score_table(
    program: Combined,
    rows: Sequence[Row],
    outcomes: Sequence[Outcome],
    metrics: Mapping[str, Metric] | None = None,
) -> dict[str, dict[str, float]]:
    """The score of every slot that has gold, by task and item id.

    Args:
        program: The program.
        rows: The items with their gold.
        outcomes: What became of each of them, in the same order.
        metrics: Metrics for single tasks, in the place of their own.

    Raises:
        DataError: There is no such task or metric, or a metric gives no number from 0 to 1.
    """
    table: dict[str, dict[str, float]] = {}
    for name, found in _scorers(program, metrics).items():
        labelled = [
            (row, one) for row, one in zip(rows, outcomes, strict=True) if name in row.outputs
        ]
        answered = [(row, one.answers[name]) for row, one in labelled if name in one.answers]
        values = _values(name, found, answered)
        table[name] = {row.id: values.get(row.id, 0.0) for row, _ in labelled}
    return table


def metrics_of(program: Combined, metrics: Mapping[str, Metric] | None = None) -> dict[str, Scorer]:
    """The metric of every task, in the order of the program; one that confuses labels is told.

    Args:
        program: The program.
        metrics: Metrics for single tasks, in the place of their own.

    Raises:
        DataError: There is no such task or metric, or they are no mapping.
    """
    found = _scorers(program, metrics)
    used = _metrics(program, metrics)
    for name in program.order:
        warn_of_twins(used[name], name, (one.type for one in program.tasks[name].outputs))
    return found


def _scorers(program: Combined, metrics: Mapping[str, Metric] | None) -> dict[str, Scorer]:
    return {name: metric(one) for name, one in _metrics(program, metrics).items()}


def _metrics(program: Combined, metrics: Mapping[str, Metric] | None) -> dict[str, Metric | None]:
    """The metric of every task as it was given, in the order of the program."""
    given = metrics if metrics is not None else {}
    check_mapping('{"mood": "exact"}', metrics=given)
    given = by_identifier(given)
    if unknown := [name for name in given if name not in program.tasks]:
        hint = f"tasks: {', '.join(program.tasks)}"
        raise DataError(f"there is a metric for {unknown[0]!r}, which is no task", hint=hint)
    return {name: given.get(name, program.tasks[name].metric) for name in program.order}


def _values(task: str, found: Scorer, answered: Sequence[tuple[Row, Any]]) -> dict[str, float]:
    """The scores of a task's answers by item id."""
    values = {}
    for row, answer in answered:
        try:
            value: Any = found(answer, row.outputs[task], row.inputs)
        except MTIError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {first_line(error)}"
            raise DataError(f"the metric of {task!r} failed on item {row.id!r}: {what}") from error
        values[row.id] = checked_score(value, task, item=row.id)
    return values


def conditional(program: Combined, table: Table, task: str) -> dict[str, float]:
    """Whether a task and all before it are right, by the ids of the items with gold for all."""
    order = program.order[: program.order.index(task) + 1]
    ids = [one for one in table[task] if all(one in table[name] for name in order)]
    return {one: float(all(table[name][one] >= RIGHT for name in order)) for one in ids}


def averages(table: Table) -> dict[str, float]:
    """The mean score over the tasks of each item that has gold for any, by item id."""
    ids = dict.fromkeys(one for scores in table.values() for one in scores)
    found = {one: [scores[one] for scores in table.values() if one in scores] for one in ids}
    return {one: math.fsum(scores) / len(scores) for one, scores in found.items()}


def scores_of(
    program: Combined,
    outcomes: Sequence[Outcome],
    table: Table,
    *,
    confidence: float = stats.CONFIDENCE,
) -> Scores:
    """Scores of outcomes.

    Args:
        program: The program.
        outcomes: What became of each item.
        table: As `score_table` gives it.
        confidence: Of the intervals.
    """
    tasks = {name: _task(program, outcomes, table, name, confidence) for name in program.order}
    joint = conditional(program, table, program.order[-1])
    usage = sum((one.usage for one in outcomes), Usage())
    failed = Counter(failure["kind"] for one in outcomes for failure in one.failures.values())
    return Scores(
        tasks=tasks,
        joint=stats.mean(list(joint.values()), confidence),
        average=stats.mean(list(averages(table).values()), confidence),
        usage=usage,
        seconds=busy_seconds(outcomes),
        n=len(outcomes),
        failures=dict(failed),
        outcomes=tuple(outcomes),
    )


def _task(
    program: Combined, outcomes: Sequence[Outcome], table: Table, name: str, confidence: float
) -> TaskScores:
    found = stats.mean(list(table[name].values()), confidence)
    right = conditional(program, table, name)
    kinds = Counter(
        one.failures[name]["kind"]
        for one in outcomes
        if name in one.failures and one.id in table[name]
    )
    return TaskScores(
        mean=found.mean,
        interval=found.interval,
        n=found.n,
        by_item=table[name],
        failures=dict(kinds),
        conditional=stats.mean(list(right.values()), confidence),
    )
