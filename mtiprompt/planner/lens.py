"""The interference lens: how far each task's answers move when another task shares the call.

No labels are needed. A task's own answer, asked alone, is the reference. How likely the model finds
it alone is compared with how likely it finds it in a call with one other task, whose instruction,
demonstrations and answer then stand before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from mtiprompt import settings
from mtiprompt.dataset import Row, read_rows
from mtiprompt.drivers import run_many
from mtiprompt.engine import converse
from mtiprompt.errors import BudgetExceeded, DataError, IncompleteRun, ModelError
from mtiprompt.evaluation.asking import uncached
from mtiprompt.evaluation.checks import check_confidence
from mtiprompt.evaluation.outcome import outcome
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.budget import Budget, BudgetedModel
from mtiprompt.models.model import as_model
from mtiprompt.models.naming import is_local
from mtiprompt.models.resume import ResumedModel, go_on
from mtiprompt.plan import Plan
from mtiprompt.planner.groupings import Pins
from mtiprompt.planner.lens_move import Movement as Movement
from mtiprompt.planner.lens_move import movement
from mtiprompt.planner.lens_place import asking
from mtiprompt.planner.lens_read import Reader, Reading, Scale, TellingModel, reader
from mtiprompt.planner.profile import out_of_time
from mtiprompt.planner.replies import Replies, SharedModel
from mtiprompt.program import Program
from mtiprompt.render import GroupPrompt, group_prompt
from mtiprompt.repair import Repair
from mtiprompt.result import Answer, Failure, slots
from mtiprompt.stats import CONFIDENCE
from mtiprompt.wording import Templates


@dataclass(frozen=True)
class Lens:
    """What was seen through the lens.

    Attributes:
        tasks: The tasks, in the order of the program.
        entries: By task and other task: how far the answers of the first move in company of the
            second. Two that cannot share a call have none.
        scale: What the probabilities are of: `whole answer`, or `first token` of it.
        model: The name of the model.
        rows: Rows on which every task has an answer alone; the others tell nothing.
        confidence: Of the intervals.
    """

    tasks: tuple[str, ...]
    entries: Mapping[tuple[str, str], Movement]
    scale: Scale
    model: str
    rows: int
    confidence: float = CONFIDENCE

    def plain(self) -> dict[str, Any]:
        """What was seen as plain JSON data."""
        return {
            "scale": self.scale,
            "model": self.model,
            "rows": self.rows,
            "confidence": self.confidence,
            "entries": [
                {"task": task, "other": other, "moved": one.moved, "interval": list(one.interval),
                 "change": one.change, "change_interval": list(one.change_interval),
                 "nats": one.nats, "n": one.n}
                for (task, other), one in self.entries.items()
            ],
        }  # fmt: skip


def lens(
    program: Program,
    rows: Iterable[Row | Mapping[str, Any]],
    *,
    model: LanguageModel | str | None = None,
    demos: Iterable[Any] = (),
    budget: Budget | None = None,
    record: str | PathLike[str] | None = None,
    confidence: float = CONFIDENCE,
    concurrency: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> Lens:
    """How far each task's own answers move when another task shares the call.

    Every task is asked alone about every row. What it answers there is scored twice: after the call
    that asked it alone, and in the reply to a call about the other task and it, behind the other's
    own answer. Where the other task takes its answer, it comes first, and the other's instruction
    and demonstrations alone are new.

    With a model in this process (`local/...`) the probability is that of the whole answer. Any
    other model must tell log-probabilities with its replies, `mti.Model(name, logprobs=True,
    top_logprobs=20)`; then it is that of the answer's first token, and the other task's answer is
    what the model says in the shared call.

    Args:
        program: The program.
        rows: Items, without gold or with; twenty give a first view.
        model: A model or its name; without one, that of the settings.
        demos: Demonstrations of every call.
        budget: What may be spent. Where it ends, the rows before count: those about which all was
            asked.
        record: A folder that keeps every reply and reading; a look that was stopped goes on from
            there, and so does `choose_plan`.
        confidence: Of the intervals.
        concurrency: Calls about a row in flight at the same time.
        progress: Called after every reading.

    Raises:
        DataError: A row or a number makes no sense, there is but one task, no row has an answer of
            every task, or the record cannot be read or written.
        PlanError: Demonstrations do not fit.
        BudgetExceeded: It is spent before all was asked about one row.
        IncompleteRun: Calls failed for good.
        ModelMisconfigured: The model tells no log-probabilities, or not as many.
        ModelError: The model cannot be used at all.
    """
    pairs = pairs_in_order(program)
    check_confidence(confidence)
    found, plan = read_rows(program, rows), Plan.split(program, demos=list(demos))
    folder = None if record is None else Path(record)
    asked, replies = _asked(as_model(model), budget, folder), Replies()
    places: list[_Place] = [((task,), task) for task in program.order]
    places += [(tasks, task) for (task, _), tasks in pairs.items()]
    with reader(asked, replies, folder) as source:
        look = _Look(
            program, plan, places, asked, budget, replies, source, concurrency, record, progress
        )
        read = look.by_place(found) if is_local(asked.name) else look.by_row(found)
    at = dict(zip(places, zip(*read, strict=True), strict=True))
    seen = {
        (task, other): movement(at[(task,), task], at[tasks, task], confidence)
        for (task, other), tasks in pairs.items()
    }
    entries = {pair: one for pair, one in seen.items() if one.n}
    return Lens(program.order, entries, source.scale, asked.name, len(read), confidence)


def lens_calls(program: Program, rows: int) -> int:
    """How many calls `lens` makes with a model that is not in this process, without repairs.

    One in this process is asked only for each task alone, as the search is.

    Args:
        program: The program.
        rows: How many the lens reads.

    Raises:
        DataError: There is but one task.
    """
    return rows * (len(program.order) + len(set(pairs_in_order(program).values())))


def pairs_in_order(program: Program) -> dict[tuple[str, str], tuple[str, ...]]:
    """Each task and other task that can share a call, and the order in which it answers them.

    The other comes first where that can be.

    Raises:
        DataError: There is but one task.
    """
    if len(program.order) < 2:
        raise DataError("one task alone has no company", hint="combine several")
    pins = Pins(program)
    return {
        (task, other): (task, other) if task in program.upstream(other) else (other, task)
        for other in program.order
        for task in program.order
        if task != other and pins.allows(pins.merged([(task, other)]))
    }


def _asked(model: LanguageModel, budget: Budget | None, record: Path | None) -> LanguageModel:
    """A model as the planner asks it: without its cache, within the budget, on record."""
    asked = uncached(model)
    if budget is not None:
        asked = BudgetedModel(asked, budget)
    if record is not None:
        asked = ResumedModel(asked, record / "profile.jsonl")
    return asked if is_local(asked.name) else TellingModel(asked)


class _Item(NamedTuple):
    """A row on which every task has an answer."""

    inputs: Mapping[str, Any]
    answers: Mapping[str, Answer[Any]]


_Place = tuple[tuple[str, ...], str]
"""The tasks of a call, and the one of them whose answer is read."""
_Readings = Sequence[Reading | None]
"""Of one item, place by place."""


@dataclass(frozen=True)
class _Look:
    """Asks about rows, and reads the answers about each in all places."""

    program: Program
    plan: Plan
    places: Sequence[_Place]
    model: LanguageModel
    budget: Budget | None
    replies: Replies
    source: Reader
    concurrency: int
    record: object
    progress: Callable[[], None]

    def by_place(self, rows: Sequence[Row]) -> list[_Readings]:
        """Where readings are no calls: all rows are asked about, then place after place is read."""
        items = list(self._items([rows]))
        columns = [[self._reading(place, item) for item in items] for place in self.places]
        return list(zip(*columns, strict=True))

    def by_row(self, rows: Sequence[Row]) -> list[_Readings]:
        """Where they are calls: row after row, as far as the budget goes."""
        found: list[_Readings] = []
        try:
            for item in self._items([[row] for row in rows]):
                if self.concurrency > 1:
                    self._ask_ahead(item)
                found.append(self._row(item))
        except BudgetExceeded as error:
            if not found:
                takes = f"a row takes {lens_calls(self.program, 1)} calls"
                raise BudgetExceeded(f"{error.message}, and {takes}", hint=error.hint) from None
        return found

    def _items(self, parts: Iterable[Sequence[Row]]) -> Iterator[_Item]:
        """The rows with what every task answers alone; those where one fails are left out.

        Args:
            parts: The rows; those of one part may be asked about at the same time.
        """
        model, found, read = SharedModel(self.model, self.replies), 0, 0
        for rows in parts:
            results = self.program.map([row.inputs for row in rows], model=model, plan=self.plan,
                                       concurrency=self.concurrency)  # fmt: skip
            begun = read
            for row, result in zip(rows, results, strict=False):
                if outage := outcome(row.id, result).outage:
                    self._check_spent(row.id, outage)
                    break
                read += 1
                told = slots(result).items()
                answers = {name: one for name, one in told if isinstance(one, Answer)}
                if len(answers) == len(self.program.order):
                    found += 1
                    yield _Item(self.program.read_inputs(row.inputs), answers)
            if read - begun < len(rows):  # the budget is spent
                break
        if not read:
            raise BudgetExceeded("the budget is spent before a row is answered", hint="raise it")
        if not found:
            what = f"on none of {read} rows every task has an answer"
            raise DataError(what, hint="give more rows")

    def _check_spent(self, id: str, outage: Failure) -> None:
        """Raise what left a row without an answer, unless the budget is spent.

        Raises:
            BudgetExceeded: It refuses every call, whatever is left.
            IncompleteRun: A call failed for good.
        """
        error = outage.error
        if isinstance(error, BudgetExceeded) and error.stops:
            raise error
        if not (isinstance(error, BudgetExceeded) or out_of_time(error, self.budget)):
            raise IncompleteRun(
                f"item {id!r} has no answer, as {outage.message}",
                items=[id],
                hint=go_on(self.record, [(id, error)]),
            )

    def _ask_ahead(self, item: _Item) -> None:
        """Have the calls about an item made side by side whose replies are read next."""
        talks = [
            converse(
                self.program.ready(SharedModel(self.model, self.replies), plan),
                [item.inputs],
                Repair.none(),
            )
            for plan in self._shared
        ]
        for _ in run_many(talks, concurrency=self.concurrency):
            pass  # whatever became of one is seen when it is read

    def _row(self, item: _Item) -> _Readings:
        """The readings of an item in all places, each of which may be a call.

        Raises:
            BudgetExceeded: It is spent before all were asked for.
        """
        try:
            return [self._reading(place, item) for place in self.places]
        except ModelError as error:
            if not out_of_time(error, self.budget):
                raise
            raise BudgetExceeded(
                "the budget is spent before a row is read", hint="raise it"
            ) from error

    def _reading(self, place: _Place, item: _Item) -> Reading | None:
        """How likely the answer of a task is in a call about some tasks."""
        tasks, task = place
        level = self.model.support.level
        one = asking(self._prompts[tasks], task, item.inputs, item.answers, level)
        found = self.source.read(one)
        self.progress()
        return found

    @cached_property
    def _prompts(self) -> dict[tuple[str, ...], GroupPrompt]:
        """The calls of the places, by their tasks."""
        support, templates = self.model.support, Templates(settings.one("templates"))
        return {
            tasks: group_prompt(self.program, self.plan, tasks, support, templates)
            for tasks, _ in self.places
        }

    @cached_property
    def _shared(self) -> list[Plan]:
        """For each call of several tasks a plan that makes it, with those that were made before."""
        order = self.program.order
        return [
            self.plan.replace(
                self.program,
                call_groups=[tasks, *((name,) for name in order if name not in tasks)],
            )
            for tasks in self._prompts
            if len(tasks) > 1
        ]
