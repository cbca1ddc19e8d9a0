"""The measured slots: each with its score and its cost beside those of the same slot alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mtiprompt.evaluation import Comparison, Outcome
from mtiprompt.experiments.scaling.design import Job, Sweep
from mtiprompt.experiments.scaling.sources import Kind, Source


@dataclass(frozen=True)
class Cost:
    """What a slot cost: of every call that asked for it, an equal share.

    Attributes:
        seconds: Seconds in calls.
        prompt_tokens: Tokens read, cached ones included.
        cached_tokens: Those of them that were in a prefix cache.
        completion_tokens: Tokens written.
    """

    seconds: float = 0.0
    prompt_tokens: float = 0.0
    cached_tokens: float = 0.0
    completion_tokens: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        """The sum."""
        return Cost(
            self.seconds + other.seconds,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    def over(self, number: int) -> Cost:
        """An equal share."""
        return Cost(
            self.seconds / number,
            self.prompt_tokens / number,
            self.cached_tokens / number,
            self.completion_tokens / number,
        )


def mean_cost(costs: Sequence[Cost]) -> Cost:
    """The mean of one cost or more."""
    return sum(costs, Cost()).over(len(costs))


@dataclass(frozen=True)
class Slot:
    """One slot that shared a call.

    Attributes:
        sweep: What grew.
        size: How many slots shared the call, tasks or items.
        position: Its place among them, counted from 1.
        data: The name of its data set.
        task: The name of its task.
        kind: The kind of its output.
        item: What it is about; slots of one item are no independent observations.
        score: From 0 to 1; 0 where it failed.
        alone: The score of the same task on the same item in a call of its own.
        failed: Whether there was no valid answer.
        cost: What it cost.
        alone_cost: What it cost in a call of its own.
    """

    sweep: Sweep
    size: int
    position: int
    data: str
    task: str
    kind: Kind
    item: str
    score: float
    alone: float
    failed: bool
    cost: Cost
    alone_cost: Cost


@dataclass(frozen=True)
class Seen:
    """A slot as it came out of a job.

    Attributes:
        job: The job.
        task: The name of the task.
        row: The number of the row.
        position: Its place in the call, counted from 1.
        score: From 0 to 1.
        failed: Whether there was no valid answer.
        cost: What it cost.
    """

    job: Job
    task: str
    row: str
    position: int
    score: float
    failed: bool
    cost: Cost


def seen(job: Job, measured: Comparison) -> list[Seen]:
    """The slots of a job that have gold.

    Args:
        job: The job.
        measured: Its rows in the one arm that it is, in their order, whatever they are called.
    """
    table, outcomes = measured.tables[job.name], measured.outcomes[job.name]
    return [
        Seen(job, task, row.id, position, table[task][one.id], task in one.failures, costs[task])
        for place, (row, one) in enumerate(zip(job.rows, outcomes, strict=True))
        for costs in [_costs(one)]
        for task, position in job.positions(place).items()
        if one.id in table[task]
    ]


def _costs(outcome: Outcome) -> dict[str, Cost]:
    costs: dict[str, Cost] = {}
    for call in outcome.calls:
        usage = call.usage
        whole = Cost(
            usage.seconds, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens
        )
        for task in call.tasks:
            costs[task] = costs.get(task, Cost()) + whole.over(len(call.tasks))
    return costs


def paired(sources: Sequence[Source], found: Iterable[Seen]) -> tuple[Slot, ...]:
    """The slots that shared a call, each beside the same slot alone.

    Args:
        sources: The data sets.
        found: The slots of all jobs.
    """
    everything = list(found)
    alone = {(one.task, one.row): one for one in everything if one.job.alone}
    homes = {
        task.name: (source, kind)
        for source in sources
        for task, kind in zip(source.tasks, source.kinds, strict=True)
    }
    return tuple(
        _slot(one, alone[one.task, one.row], *homes[one.task])
        for one in everything
        if not one.job.alone
    )


def _slot(one: Seen, other: Seen, source: Source, kind: Kind) -> Slot:
    return Slot(
        sweep=one.job.sweep,
        size=one.job.size,
        position=one.position,
        data=source.name,
        task=one.task,
        kind=kind,
        item=source.called(one.row) if one.job.source else f"row {one.row}",
        score=one.score,
        alone=other.score,
        failed=one.failed,
        cost=one.cost,
        alone_cost=other.cost,
    )


def by_item(slots: Iterable[Slot]) -> Mapping[str, tuple[float, float]]:
    """The mean score together and the mean score alone, by item."""
    grouped: dict[str, list[Slot]] = {}
    for one in slots:
        grouped.setdefault(one.item, []).append(one)
    return {
        item: (
            sum(one.score for one in several) / len(several),
            sum(one.alone for one in several) / len(several),
        )
        for item, several in grouped.items()
    }
