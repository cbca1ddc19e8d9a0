"""The figures of a configuration, from what was seen of its prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mtiprompt import stats
from mtiprompt.experiments.superposition import resample
from mtiprompt.experiments.superposition.calibration import Divergence, divergence, kl
from mtiprompt.experiments.superposition.prompts import cells
from mtiprompt.experiments.superposition.record import Seen
from mtiprompt.experiments.superposition.tasks import Config
from mtiprompt.stats import Estimate

Rows = Sequence[Seen]
"""What was seen of a cell, in the order of the prompts."""


@dataclass(frozen=True)
class TaskFigures:
    """What was seen of one task; probabilities are means over prompts.

    Attributes:
        mixed: Of its answer, the line ending after it, with the tasks mixed.
        open: The same whatever follows the answer, as the paper's scorer has it.
        wrong: Of a wrong answer of the same type.
        beats: On how many prompts the right one is likelier than the wrong one.
        among: On how many it is among the likeliest answers, as many as there are tasks.
        alone: Of its answer after the lines of the same prompt that show this task, without others.
        drop: `mixed` less `alone`, in pairs: what sharing and mixing take together.
        beyond: `mixed` less the task's share of `alone`, in pairs: 0 if it loses by sharing alone.
        labelled: Of its answer where the lines are labelled, the query with this task.
        leak: Of all other tasks' answers together, there.
        floor: Of all other tasks' answers together where it is alone, with no example of them.
    """

    mixed: Estimate
    open: Estimate
    wrong: Estimate
    beats: Estimate
    among: Estimate
    alone: Estimate
    drop: Estimate
    beyond: Estimate
    labelled: Estimate
    leak: Estimate
    floor: Estimate


@dataclass(frozen=True)
class Prompts:
    """What was seen of each mixed prompt, in their order, to be paired with another model's.

    Attributes:
        mass: The probability of all right answers.
        completed: Which part of the tasks has its answer among the likeliest.
        divergence: Of the probabilities from the shares, in nats, whatever follows an answer.
    """

    mass: tuple[float, ...]
    completed: tuple[float, ...]
    divergence: tuple[float, ...]


@dataclass(frozen=True)
class ConfigFigures:
    """What was seen of one configuration.

    Attributes:
        tasks: Of each task.
        mass: The probability of all right answers together, with the tasks mixed.
        open_mass: The same whatever follows the answers.
        at_once: On how many mixed prompts each task's answer has half its task's share or more.
        completed: Which part of the tasks has its answer among the likeliest.
        exact: On which part of the prompts the likeliest are known exactly.
        cost: The mean over tasks of `alone` less `mass`, in pairs: 0 if tasks lose by sharing
            alone.
        divergence: Of the probabilities from equal shares.
        leak: The probability of the other tasks' answers with the tasks mixed, mean over tasks.
        labelled_leak: The same where the lines are labelled.
        floor: The same where each task is alone.
        labels: Of each task's answer by the label of the query: `labels[label][task]`.
        shares: Of the answers of the pair by the share of its first task: `shares[0.25][task]`.
        grows: What a task of the pair gains from each of its shares to the next, in pairs.
        apart: Of the probabilities from the shares, by the share of the first task.
        prompts: Of each mixed prompt.
        rejoined: How many answers took the end of the prompt into their first token.
    """

    tasks: Mapping[str, TaskFigures]
    mass: Estimate
    open_mass: Estimate
    at_once: Estimate
    completed: Estimate
    exact: Estimate
    cost: Estimate
    divergence: Divergence
    leak: Estimate
    labelled_leak: Estimate
    floor: Estimate
    labels: Mapping[str, Mapping[str, Estimate]]
    shares: Mapping[float, Mapping[str, Estimate]]
    grows: Mapping[str, Sequence[Estimate]]
    apart: Mapping[float, Divergence]
    prompts: Prompts
    rejoined: int


def figures_of(config: Config, seen: Rows, confidence: float) -> ConfigFigures:
    """The figures of a configuration.

    Args:
        config: The configuration.
        seen: What was seen of its prompts, those of a cell in their order.
        confidence: Of the intervals.
    """
    return _Counting(config, seen, confidence).all()


class _Counting:
    """What the figures of a configuration are counted from."""

    def __init__(self, config: Config, seen: Rows, confidence: float) -> None:
        self._config, self._seen, self._confidence = config, seen, confidence
        self._mixed = self._of("mixed")
        self._alone = {task: self._of(f"alone {task}") for task in config.tasks}
        self._labelled = {task: self._of("labelled", task) for task in config.tasks}
        self._shared = {
            cell.share(config.pair[0]): self._of(cell.name)
            for cell in cells(config)
            if cell.kind == "share"
        }

    def _of(self, cell: str, label: str | None = None) -> Rows:
        return [one for one in self._seen if (one.cell, one.label) == (cell, label)]

    def all(self) -> ConfigFigures:
        config, mixed, tasks = self._config, self._mixed, self._config.tasks
        mass = [one.mass for one in mixed]
        alone = self._over_tasks({task: _closed(self._alone[task], task) for task in tasks})
        leaks = {task: _leaks(mixed, task) for task in tasks}
        prompts = Prompts(
            tuple(mass),
            tuple(sum(map(one.among, tasks)) / len(tasks) for one in mixed),
            tuple(kl(config.equal, _opened(one, tasks)) for one in mixed),
        )
        return ConfigFigures(
            tasks={task: self._task(task) for task in tasks},
            mass=self._mean(mass),
            open_mass=self._mean([one.open_mass for one in mixed]),
            at_once=self._part([_is_at_once(one, config.equal) for one in mixed]),
            completed=self._mean(prompts.completed),
            exact=self._part([one.exact for one in mixed]),
            cost=self._difference(alone, mass),
            divergence=self._divergence(config.equal, mixed),
            leak=self._mean(self._over_tasks(leaks)),
            labelled_leak=self._mean(
                self._over_tasks({task: _leaks(self._labelled[task], task) for task in tasks})
            ),
            floor=self._mean(
                self._over_tasks({task: _leaks(self._alone[task], task) for task in tasks})
            ),
            labels={
                label: {task: self._mean(_closed(rows, task)) for task in tasks}
                for label, rows in self._labelled.items()
            },
            shares={
                share: {task: self._mean(_closed(rows, task)) for task in config.pair}
                for share, rows in self._shared.items()
            },
            grows=dict(zip(config.pair, map(self._grows, config.pair, (1, -1)), strict=True)),
            apart={
                share: self._divergence((share, 1 - share), rows)
                for share, rows in self._shared.items()
            },
            prompts=prompts,
            rejoined=sum(
                score.rejoined
                for one in self._seen
                for score in (*one.right.values(), *one.wrong.values())
            ),
        )

    def _task(self, task: str) -> TaskFigures:
        mixed, alone, labelled = self._mixed, self._alone[task], self._labelled[task]
        share = self._config.equal[0]
        together, by_itself = _closed(mixed, task), _closed(alone, task)
        return TaskFigures(
            mixed=self._mean(together),
            open=self._mean([one.right[task].open for one in mixed]),
            wrong=self._mean([one.wrong[task].closed for one in mixed]),
            beats=self._part([one.beats(task) for one in mixed]),
            among=self._part([one.among(task) for one in mixed]),
            alone=self._mean(by_itself),
            drop=self._difference(together, by_itself),
            beyond=self._difference(together, [share * one for one in by_itself]),
            labelled=self._mean(_closed(labelled, task)),
            leak=self._mean(_leaks(labelled, task)),
            floor=self._mean(_leaks(alone, task)),
        )

    def _grows(self, task: str, way: int) -> tuple[Estimate, ...]:
        rising = [_closed(rows, task) for rows in self._shared.values()][::way]
        return tuple(self._difference(more, fewer) for fewer, more in pairwise(rising))

    def _divergence(self, shares: Sequence[float], rows: Rows) -> Divergence:
        tasks = tuple(rows[0].right)
        closed = [[one.right[task].closed for task in tasks] for one in rows]
        opened = [_opened(one, tasks) for one in rows]
        return divergence(shares, closed, opened, self._confidence)

    def _over_tasks(self, found: Mapping[str, Sequence[float]]) -> list[float]:
        """The mean over tasks, for each prompt."""
        return [sum(row) / len(row) for row in zip(*found.values(), strict=True)]

    def _mean(self, values: Sequence[float]) -> Estimate:
        return resample.mean(values, self._confidence)

    def _difference(self, values: Sequence[float], others: Sequence[float]) -> Estimate:
        return resample.difference(values, others, self._confidence)

    def _part(self, values: Sequence[bool]) -> Estimate:
        return stats.mean(values, self._confidence)


def _closed(rows: Rows, task: str) -> list[float]:
    return [one.right[task].closed for one in rows]


def _opened(one: Seen, tasks: Sequence[str]) -> list[float]:
    return [one.right[task].open for task in tasks]


def _leaks(rows: Rows, task: str) -> list[float]:
    return [one.leak(task) for one in rows]


def _is_at_once(one: Seen, shares: Sequence[float]) -> bool:
    pairs = zip(one.right.values(), shares, strict=True)
    return all(score.closed >= share / 2 for score, share in pairs)
