"""What a measurement of superposition found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mtiprompt import stats
from mtiprompt.experiments.superposition.calibration import METHOD, Divergence, divergence
from mtiprompt.experiments.superposition.prompts import cells
from mtiprompt.experiments.superposition.record import Seen
from mtiprompt.experiments.superposition.tasks import CONFIGS, Config
from mtiprompt.stats import CONFIDENCE, Estimate

if TYPE_CHECKING:
    from mtiprompt.report.parts import Part, Table


@dataclass(frozen=True)
class TaskFigures:
    """What was seen of one task; probabilities are means over prompts.

    Attributes:
        mixed: Of its answer, the line ending after it, with the tasks mixed.
        open: The same whatever follows the answer, as the paper's scorer has it.
        wrong: Of a wrong answer of the same type.
        beats: On how many prompts the right one is likelier than the wrong one.
        among: On how many it is among the likeliest answers, as many as there are tasks.
        alone: Of its answer where all examples are of this task.
        alone_beats: As `beats`, there.
        drop: `mixed` less `alone`, in pairs.
        labelled: Of its answer where the lines are labelled, the query with this task.
        leak: Of all other tasks' answers together, there.
    """

    mixed: Estimate
    open: Estimate
    wrong: Estimate
    beats: Estimate
    among: Estimate
    alone: Estimate
    alone_beats: Estimate
    drop: Estimate
    labelled: Estimate
    leak: Estimate


@dataclass(frozen=True)
class ConfigFigures:
    """What was seen of one configuration.

    Attributes:
        tasks: Of each task.
        mass: The probability of all right answers together, with the tasks mixed.
        completed: Which part of the tasks has its answer among the likeliest.
        exact: On which part of the prompts the likeliest are known exactly.
        divergence: Of the probabilities from equal shares.
        leak: The probability of the other tasks' answers with the tasks mixed, mean over tasks.
        labelled_leak: The same where the lines are labelled.
        labels: Of each task's answer by the label of the query: `labels[label][task]`.
        shares: Of the answers of the pair by the share of its first task: `shares[0.25][task]`.
        rejoined: How many answers took the end of the prompt into their first token.
    """

    tasks: Mapping[str, TaskFigures]
    mass: Estimate
    completed: Estimate
    exact: Estimate
    divergence: Divergence
    leak: Estimate
    labelled_leak: Estimate
    labels: Mapping[str, Mapping[str, Estimate]]
    shares: Mapping[float, Mapping[str, Estimate]]
    rejoined: int

    def plain(self) -> dict[str, Any]:
        """As plain JSON data."""
        return {
            "mass": self.mass.plain(),
            "completed": self.completed.plain(),
            "exact": self.exact.plain(),
            "divergence": asdict(self.divergence),
            "leak": self.leak.plain(),
            "labelled_leak": self.labelled_leak.plain(),
            "rejoined": self.rejoined,
            "tasks": {
                task: {name: one.plain() for name, one in vars(figures).items()}
                for task, figures in self.tasks.items()
            },
            "labels": {label: _plain(row) for label, row in self.labels.items()},
            "shares": {str(share): _plain(row) for share, row in self.shares.items()},
        }


def _plain(row: Mapping[str, Estimate]) -> dict[str, Any]:
    return {task: one.plain() for task, one in row.items()}


@dataclass(frozen=True)
class Findings:
    """What was measured.

    Attributes:
        seen: What was seen of every prompt.
        model: The name of the model.
        prompts: In a cell.
        examples: In a prompt; None: as many as in the paper.
        seed: Of the prompts, and of the resamples behind the intervals of divergences.
        confidence: Of the intervals.
        others: Figures of other models, as `plain` gives them, to be shown beside these.
    """

    seen: tuple[Seen, ...] = field(repr=False)
    model: str
    prompts: int
    examples: int | None = None
    seed: int = 0
    confidence: float = CONFIDENCE
    others: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    def beside(self, others: Sequence[Mapping[str, Any]]) -> Findings:
        """The same, to be shown beside the figures of other models."""
        return replace(self, others=tuple(others))

    @cached_property
    def configs(self) -> dict[str, ConfigFigures]:
        """The figures by configuration."""
        names = dict.fromkeys(one.config for one in self.seen)
        return {name: self._figures(CONFIGS[name]) for name in names}

    def of(self, config: str, cell: str, label: str | None = None) -> tuple[Seen, ...]:
        """What was seen of a cell, in the order of the prompts."""
        wanted = (config, cell, label)
        return tuple(one for one in self.seen if (one.config, one.cell, one.label) == wanted)

    def _figures(self, config: Config) -> ConfigFigures:
        mixed = self.of(config.name, "mixed")
        tasks = config.tasks
        by_label = {label: self.of(config.name, "labelled", label) for label in tasks}
        leaks = zip(
            *([_leak(one, label) for one in by_label[label]] for label in tasks), strict=True
        )
        return ConfigFigures(
            tasks={task: self._task(config, task) for task in tasks},
            mass=self._mean([one.mass for one in mixed]),
            completed=self._mean([_average([one.among(task) for task in tasks]) for one in mixed]),
            exact=self._mean([one.exact for one in mixed]),
            divergence=divergence(
                cells(config)[0].shares,
                [[one.right[task].closed for task in tasks] for one in mixed],
                seed=self.seed,
                confidence=self.confidence,
            ),
            leak=self._mean([_average([_leak(one, task) for task in tasks]) for one in mixed]),
            labelled_leak=self._mean([_average(row) for row in leaks]),
            labels={
                label: {task: self._closed(rows, task) for task in tasks}
                for label, rows in by_label.items()
            },
            shares=self._shares(config),
            rejoined=sum(
                score.rejoined
                for one in self.seen
                if one.config == config.name
                for score in (*one.right.values(), *one.wrong.values())
            ),
        )

    def _task(self, config: Config, task: str) -> TaskFigures:
        mixed, alone = self.of(config.name, "mixed"), self.of(config.name, f"alone {task}")
        labelled = self.of(config.name, "labelled", task)
        return TaskFigures(
            mixed=self._closed(mixed, task),
            open=self._mean([one.right[task].open for one in mixed]),
            wrong=self._mean([one.wrong[task].closed for one in mixed]),
            beats=self._mean([one.beats(task) for one in mixed]),
            among=self._mean([one.among(task) for one in mixed]),
            alone=self._closed(alone, task),
            alone_beats=self._mean([one.beats(task) for one in alone]),
            drop=stats.difference(
                [one.right[task].closed for one in mixed],
                [one.right[task].closed for one in alone],
                self.confidence,
            ),
            labelled=self._closed(labelled, task),
            leak=self._mean([_leak(one, task) for one in labelled]),
        )

    def _shares(self, config: Config) -> dict[float, dict[str, Estimate]]:
        """The calibration curve of the pair; its ends are the cells of one task."""
        one = config.pair[0]
        ends = {f"alone {task}" for task in config.pair}
        found = {
            cell.share(one): {
                task: self._closed(self.of(config.name, cell.name), task) for task in config.pair
            }
            for cell in cells(config)
            if cell.kind == "share" or cell.name in ends
        }
        return dict(sorted(found.items()))

    def _closed(self, rows: Sequence[Seen], task: str) -> Estimate:
        return self._mean([one.right[task].closed for one in rows])

    def _mean(self, values: Sequence[float]) -> Estimate:
        # products of rounded numbers may add up to a little more than 1
        return stats.mean([min(1.0, float(one)) for one in values], self.confidence)

    def tables(self) -> tuple[Table, ...]:
        """The claims, then tasks, shares and labels of each configuration, to be shown."""
        from mtiprompt.experiments.superposition.shown import tables

        return tables(self)

    def parts(self) -> tuple[Part, ...]:
        """A report: the claims, the tables, the charts, the methods."""
        from mtiprompt.experiments.superposition.shown import parts

        return parts(self)

    def plain(self) -> dict[str, Any]:
        """All figures as plain JSON data."""
        return {
            "model": self.model,
            "prompts": self.prompts,
            "examples": self.examples,
            "seed": self.seed,
            "confidence": self.confidence,
            "mean_method": stats.MEAN_METHOD,
            "difference_method": stats.DIFFERENCE_METHOD,
            "divergence_method": METHOD,
            "seconds": sum(one.seconds for one in self.seen),
            "configs": {name: one.plain() for name, one in self.configs.items()},
        }


def _leak(one: Seen, task: str) -> float:
    """The probability of the answers of all other tasks."""
    return one.mass - one.right[task].closed


def _average(values: Sequence[float]) -> float:
    return sum(values) / len(values)
