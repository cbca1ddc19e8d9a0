"""The profile: the same rows through the split plan and a candidate, as paired differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path

from mtiprompt.dataset import Row
from mtiprompt.errors import BudgetExceeded, IncompleteRun
from mtiprompt.evaluate.outcome import Outcome, outcome
from mtiprompt.evaluate.scores import score_table
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.budget import Budget, BudgetedModel
from mtiprompt.models.resume import ResumedModel
from mtiprompt.plan import Plan
from mtiprompt.program import Program
from mtiprompt.tasks import Metric
from mtiprompt.wire import Usage

BLOCK = 10
"""Rows between two looks, at least."""


class Profile:
    """Runs plans on rows, as far as anybody asks, and never anything twice.

    Where a task has gold on some row, its score there counts. Where it has none at all, what the
    split plan answered stands in for it: then a difference says how far the answers differ, which
    no loss exceeds.

    Args:
        program: The program.
        rows: The rows.
        split: The plan that the others are compared with.
        model: Who answers.
        budget: What may be spent.
        record: A folder that keeps every reply; without one they are kept while this lives.
        metrics: Metrics for single tasks, in the place of their own.
        concurrency: Calls in flight at the same time.
        progress: Called after every answered row.

    Attributes:
        spent: What all calls cost.
        exhausted: Whether the budget is spent.
    """

    def __init__(
        self,
        program: Program,
        rows: Sequence[Row],
        split: Plan,
        *,
        model: LanguageModel,
        budget: Budget | None = None,
        record: str | PathLike[str] | None = None,
        metrics: Mapping[str, Metric] | None = None,
        concurrency: int = 1,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.program = program
        self.rows = tuple(rows)
        self.split = split
        self.spent = Usage()
        self.exhausted = False
        asked = model if budget is None else BudgetedModel(model, budget)
        if record is not None:
            asked = ResumedModel(asked, Path(record) / "profile.jsonl")
        self._model = asked
        self._metrics = dict(metrics or {})
        self._concurrency = concurrency
        self._progress = progress
        self._outcomes: dict[Plan, list[Outcome]] = {}

    @cached_property
    def unlabelled(self) -> tuple[str, ...]:
        """The tasks without any gold, for which agreement with the split plan counts."""
        known = {name for row in self.rows for name in row.outputs}
        return tuple(name for name in self.program.order if name not in known)

    def outcomes(self, plan: Plan, count: int) -> list[Outcome]:
        """What became of the first rows in a plan; fewer where the budget ended.

        Raises:
            IncompleteRun: Calls failed for good.
            ModelError: The model cannot be used at all.
        """
        found = self._outcomes.setdefault(plan, [])
        wanted = self.rows[len(found) : count]
        if wanted and not self.exhausted:
            self._run(plan, wanted, found)
        return found[:count]

    def _run(self, plan: Plan, rows: Sequence[Row], found: list[Outcome]) -> None:
        results = self.program.map(
            [row.inputs for row in rows],
            model=self._model,
            plan=plan,
            concurrency=self._concurrency,
        )
        before = len(found)
        for row, result in zip(rows, results, strict=False):
            one = outcome(row.id, result)
            self.spent += one.usage
            if one.outage and isinstance(one.outage.error, BudgetExceeded):
                break
            if one.outage:
                raise IncompleteRun(
                    f"item {row.id!r} has no answer, as {one.outage.message}",
                    items=[row.id],
                    hint="pass record=FOLDER and run it again, it goes on from there",
                )
            found.append(one)
            self._progress()
        self.exhausted = len(found) - before < len(rows)  # `map` ends where a budget is spent

    def blocks(self, plan: Plan) -> list[int]:
        """After how many rows to look: whole calls of the plan, `BLOCK` rows or more."""
        size = plan.items_per_call * math.ceil(BLOCK / plan.items_per_call)
        return [*range(size, len(self.rows), size), len(self.rows)]

    def differences(self, plan: Plan, count: int) -> dict[str, list[float]]:
        """The score of the split plan minus that of another, by task, for the first rows.

        Args:
            plan: The other plan.
            count: How many rows, at most; fewer where the budget ended.
        """
        one, other = self.outcomes(self.split, count), self.outcomes(plan, count)
        number = min(len(one), len(other))
        rows = self._golden(self.rows[:number], one[:number])
        alone = score_table(self.program, rows, one[:number], self._metrics)
        company = score_table(self.program, rows, other[:number], self._metrics)
        return {
            name: [alone[name][id] - company[name][id] for id in alone[name]]
            for name in self.program.order
        }

    def _golden(self, rows: Sequence[Row], split: Sequence[Outcome]) -> list[Row]:
        """The rows with the answers of the split plan as gold of the tasks that have none."""
        return [
            Row(
                row.id,
                row.inputs,
                {
                    **row.outputs,
                    **{name: one.answers[name] for name in self.unlabelled if name in one.answers},
                },
            )
            for row, one in zip(rows, split, strict=True)
        ]
