"""From what became of each instance to step accuracy, conditional accuracy and cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from mtiprompt import stats
from mtiprompt.evaluation import Outcome
from mtiprompt.evaluation.outcome import busy_seconds
from mtiprompt.evaluation.scores import RIGHT
from mtiprompt.experiments.mti_bench.bench import Instance
from mtiprompt.experiments.mti_bench.values import score
from mtiprompt.stats import Estimate
from mtiprompt.wire import Usage

ByStep = dict[tuple[str, int], float]
"""A figure by instance id and step."""


class Cell(NamedTuple):
    """One way of running all instances.

    Attributes:
        format: `paper` or `ours`.
        arm: The name of the arm.
        seed: The number of the sample; None: as the model's settings say.
    """

    format: str
    arm: str
    seed: int | None = None

    @property
    def name(self) -> str:
        """What its record is called."""
        return f"{self.format}-{self.arm}" + ("" if self.seed is None else f"-{self.seed}")


def step_scores(
    instances: Sequence[Instance], outcomes: Sequence[Outcome], *, score_all: bool = False
) -> ByStep:
    """The score of every step that counts; a step without an answer has 0."""
    return {
        (one.id, step): score(
            one.kind(step), found.answers[name], one.answers[step - 1], one.options
        )
        if (name := f"step{step}") in found.answers
        else 0.0
        for one, found in zip(instances, outcomes, strict=True)
        for step in one.scored(score_all=score_all)
    }


def conditional_scores(instances: Sequence[Instance], scores: ByStep) -> ByStep:
    """Whether a step and all before it are right, where all of them count (Son et al. 2024)."""
    return {
        (one.id, step): float(all(scores[one.id, before] >= RIGHT for before in one.steps[:step]))
        for one in instances
        for step in one.steps
        if all((one.id, before) in scores for before in one.steps[:step])
    }


@dataclass(frozen=True)
class ArmScores:
    """The figures of one arm in one format, all seeds together.

    Attributes:
        steps: Step accuracy: the share of right answers by step number.
        conditional: The share of instances on which this step and all before it are right.
        final: The share of instances on which all steps are right, of those that count whole.
        average: The mean over the instances of the mean score of their steps.
        failures: Steps that have no answer, by kind.
        asked: Steps that were asked, of all instances and seeds.
        usage: What all calls cost.
        seconds: Time during which a call was under way.
    """

    steps: Mapping[int, Estimate]
    conditional: Mapping[int, Estimate]
    final: Estimate
    average: Estimate
    failures: Mapping[str, int]
    asked: int
    usage: Usage
    seconds: float

    def plain(self) -> dict[str, Any]:
        """The figures as plain JSON data."""
        return {
            "steps": {str(step): one.plain() for step, one in self.steps.items()},
            "conditional": {str(step): one.plain() for step, one in self.conditional.items()},
            "final": self.final.plain(),
            "average": self.average.plain(),
            "failures": dict(self.failures),
            "asked": self.asked,
            "usage": self.usage.plain(),
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class Measured:
    """What became of the instances in every cell, and the figures made of it.

    Attributes:
        instances: The instances, in order.
        outcomes: What became of them in each cell, in the same order.
        model: The name of the model.
        bench: The name of the file.
        tasks: The tasks of the file, those too of which no step is run.
        samples: How many of the tasks that were run have a worked example.
        score_all: Whether unsound steps count too.
        confidence: Of the intervals.
    """

    instances: tuple[Instance, ...]
    outcomes: Mapping[Cell, tuple[Outcome, ...]]
    model: str
    bench: str
    tasks: tuple[str, ...]
    samples: int = 0
    score_all: bool = False
    confidence: float = stats.CONFIDENCE

    @cached_property
    def ways(self) -> dict[str, list[str]]:
        """The arms by format, in the order in which they were named."""
        found: dict[str, list[str]] = {}
        for cell in self.outcomes:
            arms = found.setdefault(cell.format, [])
            if cell.arm not in arms:
                arms.append(cell.arm)
        return found

    def cells(self, format: str, arm: str) -> list[Cell]:
        """The cells of an arm, one for each seed."""
        return [cell for cell in self.outcomes if cell[:2] == (format, arm)]

    @cached_property
    def _tables(self) -> dict[tuple[str, str], tuple[ByStep, ByStep]]:
        """Step scores and conditional ones by format and arm."""
        found = {}
        for format, arms in self.ways.items():
            for arm in arms:
                each = [
                    step_scores(self.instances, self.outcomes[cell], score_all=self.score_all)
                    for cell in self.cells(format, arm)
                ]
                right = [conditional_scores(self.instances, one) for one in each]
                found[format, arm] = _mean_over(each), _mean_over(right)
        return found

    def table(self, format: str, arm: str) -> ByStep:
        """The score of every step that counts: the mean over the seeds."""
        return self._tables[format, arm][0]

    def right(self, format: str, arm: str) -> ByStep:
        """Whether each step and all before it are right: the mean over the seeds."""
        return self._tables[format, arm][1]

    def scores(self, format: str, arm: str) -> ArmScores:
        """The figures of an arm."""
        outcomes = [one for cell in self.cells(format, arm) for one in self.outcomes[cell]]
        usage = sum((one.usage for one in outcomes), Usage())
        scores, right = self.table(format, arm), self.right(format, arm)
        return ArmScores(
            steps={step: self._mean(_at(scores, step)) for step in _steps(scores)},
            conditional={step: self._mean(_at(right, step)) for step in _steps(right)},
            final=self._mean(self._whole(right)),
            average=self._mean(_averages(scores)),
            failures=dict(Counter(kind for one in outcomes for kind in _kinds(one))),
            asked=sum(len(one.steps) for one in self.instances) * len(self.cells(format, arm)),
            usage=usage,
            seconds=busy_seconds(outcomes) or usage.seconds,
        )

    def differences(self, format: str, arm: str, baseline: str = "single") -> dict[str, Estimate]:
        """Mean paired differences between an arm and another of the same format.

        Returns:
            `step 1`, ..., `conditional 1`, ..., `final` and `average`, as in `ArmScores`.
        """
        mine, theirs = self.table(format, arm), self.table(format, baseline)
        right, others = self.right(format, arm), self.right(format, baseline)
        found = {f"step {n}": self._paired(_at(mine, n), _at(theirs, n)) for n in _steps(mine)}
        found |= {
            f"conditional {n}": self._paired(_at(right, n), _at(others, n)) for n in _steps(right)
        }
        found["final"] = self._paired(self._whole(right), self._whole(others))
        found["average"] = self._paired(_averages(mine), _averages(theirs))
        return found

    def _whole(self, right: ByStep) -> dict[str, float]:
        """Whether all steps are right, of the instances all of whose steps count."""
        last = {one.id: one.steps[-1] for one in self.instances}
        return {id: value for (id, step), value in right.items() if step == last[id]}

    def _mean(self, values: Mapping[str, float]) -> Estimate:
        return stats.mean(list(values.values()), self.confidence)

    def _paired(self, one: Mapping[str, float], other: Mapping[str, float]) -> Estimate:
        return stats.difference([one[id] for id in one], [other[id] for id in one], self.confidence)


def _mean_over(each: Sequence[ByStep]) -> ByStep:
    return {key: math.fsum(one[key] for one in each) / len(each) for key in each[0]}


def _steps(scores: ByStep) -> list[int]:
    return sorted({step for _, step in scores})


def _at(scores: ByStep, step: int) -> dict[str, float]:
    return {id: value for (id, one), value in scores.items() if one == step}


def _averages(scores: ByStep) -> dict[str, float]:
    by_id: dict[str, list[float]] = {}
    for (id, _), value in scores.items():
        by_id.setdefault(id, []).append(value)
    return {id: math.fsum(values) / len(values) for id, values in by_id.items()}


def _kinds(one: Outcome) -> Iterable[str]:
    return (str(failure["kind"]) for failure in one.failures.values())
