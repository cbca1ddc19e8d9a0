"""The profile: the same rows through the split plan and a candidate, as paired differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import takewhile
from os import PathLike
from pathlib import Path

from mtiprompt.dataset import Row
from mtiprompt.errors import BudgetExceeded, IncompleteRun, ModelError, ModelTimeout, MTIError
from mtiprompt.evaluation.asking import uncached
from mtiprompt.evaluation.outcome import Outcome, outcome
from mtiprompt.evaluation.scores import score_table
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.budget import Budget, BudgetedModel
from mtiprompt.models.resume import ResumedModel, go_on, is_refused
from mtiprompt.plan import Plan
from mtiprompt.planner.replies import Replies, SharedModel
from mtiprompt.program import Program
from mtiprompt.result import Failure, Result
from mtiprompt.tasks import Metric
from mtiprompt.wire import Usage

BLOCK = 10
"""Rows between two looks, at least."""
KEPT = "profile.jsonl"
"""The file of a record that keeps the replies."""

Scored = Mapping[str, float]
"""The scores of one row by task, of the tasks that have gold there."""


class Profile:
    """Runs plans on rows, as far as anybody asks, and never anything twice.

    Where a task has gold on some row, its score there counts, and rows without are left out. Where
    it has none at all, what the split plan answered stands in for it: then a difference says how
    far the answers differ. Where an answer is right or wrong, the loss is no larger than that.

    Equal requests of different plans are asked once.

    Args:
        program: The program.
        rows: The rows.
        split: The plan that the others are compared with.
        model: Who answers.
        budget: What may be spent; what is taken out of the record counts too.
        record: A folder that keeps every reply; without one they are kept while this lives.
        metrics: Metrics for single tasks, in the place of their own.
        concurrency: Calls in flight at the same time.
        progress: Called after every answered row.

    Attributes:
        spent: What all calls cost.
        exhausted: Whether the budget is spent.
        refusal: Why it refuses every call, whatever is left; None if it does not.
        late: The first call that failed as there was no time left; None if none did.
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
        self.refusal: BudgetExceeded | None = None
        asked = uncached(model)
        if record is not None:
            asked = ResumedModel(asked, Path(record) / KEPT)
        if budget is not None:  # around the record: what that has counts as if it were asked now
            asked = BudgetedModel(asked, budget)
        self._budget = budget
        self.late: Failure | None = None
        self._record = record
        self._model = asked
        self._replies = Replies()
        self._metrics = dict(metrics or {})
        self._concurrency = concurrency
        self._progress = progress
        self._outcomes: dict[Plan, list[Outcome]] = {}
        self._models: dict[Plan, SharedModel] = {}
        self._scores: dict[Plan, list[Scored]] = {}

    @cached_property
    def unlabelled(self) -> tuple[str, ...]:
        """The tasks without any gold, for which agreement with the split plan counts."""
        return without_gold(self.program, self.rows)

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
        begun = takewhile(lambda _: not self.late, rows)  # read when there is room for another
        results = self.program.map(
            (row.inputs for row in begun),
            model=self._models.setdefault(plan, SharedModel(self._model, self._replies)),
            plan=plan,
            concurrency=self._concurrency,
        )
        before = len(found)
        try:
            self._take(rows, results, found)
        except BudgetExceeded as error:
            self.refusal = error if error.stops else None
        self.exhausted = len(found) - before < len(rows)  # `map` ends where a budget is spent

    def _take(self, rows: Sequence[Row], results: Iterator[Result], found: list[Outcome]) -> None:
        """Add what became of rows.

        Raises:
            BudgetExceeded: It left a row without an answer, with time left.
            IncompleteRun: A call failed for good.
        """
        for row, result in zip(rows, results, strict=False):
            one = outcome(row.id, result)
            self.spent += _paid(one)
            if self.late or (one.outage and out_of_time(one.outage.error, self._budget)):
                self.late = self.late or one.outage
                continue  # what is in flight is paid, too
            if one.outage and isinstance(one.outage.error, BudgetExceeded):
                raise one.outage.error
            if one.outage:
                raise IncompleteRun(
                    f"item {row.id!r} has no answer, as {one.outage.message}",
                    items=[row.id],
                    hint=go_on(self._record, [(row.id, one.outage.error)]),
                )
            found.append(one)
            self._progress()

    def compared(self, plan: Plan) -> Iterator[tuple[int, dict[str, list[float]]]]:
        """The scores of the split plan minus those of another, block by block.

        A plan with several items in a call gives one difference for each call, their mean: what
        goes wrong in a call goes wrong for all its items, so they are no independent rows. Rows
        that would not fill a call are left out.

        Args:
            plan: The other plan.

        Yields:
            How many rows were compared so far, and the differences of the last block by task.
        """
        size = plan.items_per_call
        step = size * math.ceil(BLOCK / size)
        for start in range(0, len(self.rows), step):
            stop = min(start + step, len(self.rows))
            done = min(len(self.outcomes(one, stop)) for one in (self.split, plan))
            done -= (done - start) % size
            if done <= start:
                return
            yield done, self._differences(plan, start, done)

    def means(self) -> dict[str, float]:
        """The mean score of each task alone, on the rows that were run so far."""
        rows = self._scored(self.split, len(self._outcomes.get(self.split, ())))
        known = {name: [row[name] for row in rows if name in row] for name in self.program.order}
        return {name: math.fsum(one) / len(one) if one else 1.0 for name, one in known.items()}

    def _differences(self, plan: Plan, start: int, stop: int) -> dict[str, list[float]]:
        alone, company = (self._scored(one, stop) for one in (self.split, plan))
        found: dict[str, list[float]] = {name: [] for name in self.program.order}
        for first in range(start, stop, plan.items_per_call):
            places = range(first, first + plan.items_per_call)
            for name, values in found.items():
                pairs = [alone[n][name] - company[n][name] for n in places if name in alone[n]]
                values += [math.fsum(pairs) / len(pairs)] if pairs else []
        return found

    def _scored(self, plan: Plan, stop: int) -> list[Scored]:
        """The scores of the first rows in a plan; each is computed once."""
        found = self._scores.setdefault(plan, [])
        start = len(found)
        if start < stop:
            rows = self._golden(start, stop)
            outcomes = self.outcomes(plan, stop)[start:]
            table = score_table(self.program, rows, outcomes, self._metrics)
            found += [
                {name: by_id[row.id] for name, by_id in table.items() if row.id in by_id}
                for row in rows
            ]
        return found

    def _golden(self, start: int, stop: int) -> list[Row]:
        """Rows with the answers of the split plan as gold of the tasks that have none."""
        answers = [one.answers for one in self.outcomes(self.split, stop)[start:]]
        return [
            replace(
                row,
                outputs={
                    **row.outputs,
                    **{name: found[name] for name in self.unlabelled if name in found},
                },
            )
            for row, found in zip(self.rows[start:stop], answers, strict=True)
        ]


def without_gold(program: Program, rows: Iterable[Row]) -> tuple[str, ...]:
    """The tasks that have gold on no row.

    Args:
        program: The program.
        rows: The rows.
    """
    known = {name for row in rows for name in row.outputs}
    return tuple(name for name in program.order if name not in known)


MINUTE = 60.0
"""Seconds; the wait of a limit a minute is no longer, that of a quota is."""


def out_of_time(error: MTIError | None, budget: Budget | None) -> bool:
    """Whether a call failed that might be answered another time, and the budget has no time for it.

    The seconds of a budget cut off the calls in flight, which then fail as in an outage; so does a
    call whose turn would come after them.

    Args:
        error: Why it failed.
        budget: What it was paid from; None: nothing bounds it.
    """
    if budget is None or not isinstance(error, ModelError | BudgetExceeded) or error.stops:
        return False
    wait = getattr(error, "retry_after", None) or 0.0
    is_turn = isinstance(error, ModelTimeout) and error.status is None
    if wait > MINUTE and not is_turn:  # a provider's quota is told as what it is
        wait = 0.0
    return not is_refused(error) and budget.left.seconds <= wait


def _paid(one: Outcome) -> Usage:
    """What an item cost, without the replies that another plan has paid."""
    paid = [
        call.usage
        for call in one.calls
        if call.reply is None or not call.reply.details.get("shared")
    ]
    return sum(paid, Usage())
