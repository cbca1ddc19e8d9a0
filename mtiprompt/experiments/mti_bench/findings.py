"""What a run of the benchmark found: tables, a verdict in words, a chart, plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mtiprompt import stats
from mtiprompt.experiments.mti_bench import flaws
from mtiprompt.experiments.mti_bench.scores import ArmScores, Measured
from mtiprompt.report.figures import difference
from mtiprompt.report.parts import Chart, Part, Series, Table, Text
from mtiprompt.stats import Estimate

BASELINE = "single"
"""The arm that the others are compared with."""
FEW = 100
"""Instances below which a run is called small."""
PAPER = "Son et al. (2024) report 1.46 times less time on average for multi-task inference."


@dataclass(frozen=True)
class Findings(Measured):
    """What a run found."""

    def time_ratio(self, format: str, arm: str) -> float | None:
        """The seconds of `single` divided by those of an arm; None where one is not known."""
        if BASELINE not in self.ways[format]:
            return None
        own = self.scores(format, arm).seconds
        return self.scores(format, BASELINE).seconds / own if own else None

    def plain(self) -> dict[str, Any]:
        """All figures as plain JSON data."""
        return {
            "experiment": "mti-bench",
            "bench": self.bench,
            "model": self.model,
            "instances": len(self.instances),
            "seeds": sorted({cell.seed for cell in self.outcomes if cell.seed is not None}),
            "samples": self.samples,
            "score_all": self.score_all,
            "baseline": BASELINE,
            "confidence": self.confidence,
            "method": stats.MEAN_METHOD,
            "difference_method": stats.DIFFERENCE_METHOD,
            "formats": {
                format: {arm: self._plain_arm(format, arm) for arm in arms}
                for format, arms in self.ways.items()
            },
            "unsound": self._unsound(),
            "mended": self._mended(),
        }

    def _plain_arm(self, format: str, arm: str) -> dict[str, Any]:
        known = BASELINE in self.ways[format] and arm != BASELINE
        found = self.differences(format, arm) if known else {}
        return self.scores(format, arm).plain() | {
            "time_ratio": self.time_ratio(format, arm),
            "differences": {name: one.plain() for name, one in found.items()},
            "tasks": {
                task: {str(step): one.plain() for step, one in steps.items()}
                for task, steps in self.by_task(format, arm).items()
            },
        }

    def by_task(self, format: str, arm: str) -> dict[str, dict[int, Estimate]]:
        """Step accuracy by task of the benchmark and step."""
        scores = self.table(format, arm)
        own: dict[str, dict[int, list[float]]] = {}
        for one in self.instances:
            for step in one.steps:
                if (one.id, step) in scores:
                    own.setdefault(one.task, {}).setdefault(step, []).append(scores[one.id, step])
        return {
            task: {step: stats.mean(values, self.confidence) for step, values in steps.items()}
            for task, steps in own.items()
        }

    # --- to be shown --------------------------------------------------------------------------

    def tables(self) -> list[Table]:
        """One table of arms and one of tasks for each format, and one of what is unsound."""
        found = [
            table
            for format in self.ways
            for table in (self._arm_table(format), self._task_table(format))
        ]
        return [*found, *([flawed] if (flawed := self._flaw_table()).rows else [])]

    def parts(self) -> list[Part]:
        """The verdict in words, the tables and a chart."""
        return [Text(tuple(self._verdict()), "Verdict"), self._chart(), *self.tables()]

    def _arm_table(self, format: str) -> Table:
        arms = self.ways[format]
        columns = {arm: self.scores(format, arm) for arm in arms}
        apart = {
            arm: self.differences(format, arm)
            for arm in arms
            if arm != BASELINE and BASELINE in arms
        }
        first = columns[arms[0]]
        rows = [
            *(
                self._row(f"step {n}", columns, apart, lambda one, n=n: one.steps[n])
                for n in first.steps
            ),
            *(
                self._row(f"conditional {n}", columns, apart, lambda one, n=n: one.conditional[n])
                for n in first.conditional
                if n > 1
            ),
            self._row("final", columns, apart, lambda one: one.final),
            self._row("average", columns, apart, lambda one: one.average),
            *_cost_rows(columns.values()),
            ("time, single / arm", *(_ratio(self.time_ratio(format, arm)) for arm in arms)),
        ]
        note = (
            "Means; of `single` with their intervals, of the others with their difference from it. "
            "n: instances. `final`: all steps right, of the instances whose steps all count. Calls "
            "followed each other."
        )
        return Table(f"Format {format}", ("", *arms), tuple(rows), note)

    def _row(
        self,
        name: str,
        columns: Mapping[str, ArmScores],
        apart: Mapping[str, Mapping[str, Estimate]],
        of: Any,
    ) -> tuple[str, ...]:
        cells = [_score(of(one), apart.get(arm, {}).get(name)) for arm, one in columns.items()]
        n = of(next(iter(columns.values()))).n
        return (f"{name} (n = {n})", *cells)

    def _task_table(self, format: str) -> Table:
        arms = self.ways[format]
        by_arm = {arm: self.by_task(format, arm) for arm in arms}
        rows = tuple(
            (
                f"{task}, step {step}",
                str(one.n),
                *(f"{by_arm[arm][task][step].mean:.2f}" for arm in arms),
                flaws.UNSOUND.get((task, step), "") or flaws.CAUTION.get(task, ""),
            )
            for task, steps in by_arm[arms[0]].items()
            for step, one in steps.items()
        )
        return Table(
            f"Step accuracy by task, format {format}", ("task", "n", *arms, "caution"), rows
        )

    def _flaw_table(self) -> Table:
        heading = "Unsound steps" + (" (scored all the same)" if self.score_all else ", not scored")
        return Table(heading, ("step", "why"), tuple(self._unsound().items()))

    def _unsound(self) -> dict[str, str]:
        return {
            f"{task}, step {step}": why
            for (task, step), why in flaws.UNSOUND.items()
            if task in self.tasks
        }

    def _mended(self) -> dict[str, str]:
        tasks = {one.task for one in self.instances}
        return {task: why for task, why in flaws.MENDED.items() if task in tasks}

    def _verdict(self) -> Iterable[str]:
        for format, arms in self.ways.items():
            for arm in arms:
                if BASELINE in arms and arm != BASELINE:
                    yield self._compared(format, arm)
        yield PAPER
        tasks = len({one.task for one in self.instances})
        size = f"{len(self.instances)} instances of {tasks} tasks"
        if len(self.instances) < FEW:
            yield f"This run is small: {size}. Only large differences can show."
        else:
            yield f"Measured on {size}."

    def _compared(self, format: str, arm: str) -> str:
        found = self.differences(format, arm)["final"]
        ratio = self.time_ratio(format, arm)
        spent = "" if ratio is None else f" Time, single / {arm}: {_ratio(ratio)}."
        told = (
            "no instance counts whole"
            if not found.n
            else f"final accuracy differs from single by {difference(found)} (n = {found.n})"
        )
        low, high = found.interval
        sense = (
            "." if not found.n
            else ": it is better." if low > 0
            else ": it is worse." if high < 0
            else f"; no difference can be told apart, and a loss of {max(0.0, -low):.2f} cannot be "
            "excluded."
        )  # fmt: skip
        return f"{format}, {arm}: {told}{sense}{spent}"

    def _chart(self) -> Chart:
        series = []
        for format, arms in self.ways.items():
            each = [self.scores(format, arm).average for arm in arms]
            series.append(
                Series(
                    format,
                    tuple(arms),
                    tuple(one.mean for one in each),
                    tuple(one.interval.low for one in each),
                    tuple(one.interval.high for one in each),
                )
            )
        return Chart(
            "Step accuracy by arm",
            "bars",
            tuple(series),
            "arm",
            "mean over the instances",
            f"Intervals: {stats.MEAN_METHOD}, {self.confidence:.0%}.",
        )


def _cost_rows(scores: Iterable[ArmScores]) -> list[tuple[str, ...]]:
    each = list(scores)
    return [
        (
            "no answer / steps asked",
            *(f"{sum(one.failures.values())} / {one.asked}" for one in each),
        ),
        ("calls", *(f"{one.usage.calls:,}" for one in each)),
        ("prompt tokens", *(f"{one.usage.prompt_tokens:,}" for one in each)),
        ("of them cached", *(f"{one.usage.cached_tokens:,}" for one in each)),
        ("completion tokens", *(f"{one.usage.completion_tokens:,}" for one in each)),
        ("seconds", *(f"{one.seconds:,.1f}" for one in each)),
    ]


def _score(one: Estimate, apart: Estimate | None) -> str:
    if not one.n:
        return "-"
    low, high = one.interval
    if apart is None:
        return f"{one.mean:.2f} [{low:.2f},{high:.2f}]"  # no blank: columns are narrow
    return f"{one.mean:.2f} {difference(apart)}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
