"""The interference lens: how far each task's answers move when another task shares the call.

No labels are needed. A task's own answer, asked alone, is the reference. How likely the model finds
it alone is compared with how likely it finds it in a call with one other task, whose instruction,
demonstrations and answer then stand before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from mtiprompt import settings
from mtiprompt.dataset import Row, read_rows
from mtiprompt.errors import BudgetExceeded, DataError, IncompleteRun
from mtiprompt.evaluation.asking import uncached
from mtiprompt.evaluation.outcome import outcome
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.budget import Budget, BudgetedModel
from mtiprompt.models.model import as_model
from mtiprompt.models.resume import ResumedModel
from mtiprompt.plan import Plan
from mtiprompt.planner.groupings import Pins
from mtiprompt.planner.lens_move import Movement as Movement
from mtiprompt.planner.lens_move import movement
from mtiprompt.planner.lens_place import asking
from mtiprompt.planner.lens_read import Reader, Reading, Scale, reader
from mtiprompt.planner.replies import Replies, SharedModel
from mtiprompt.program import Program
from mtiprompt.render import group_prompt
from mtiprompt.result import Answer, slots
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

    def disturbed(self, task: str, others: Collection[str]) -> float | None:
        """How far the answers of a task move in company of other tasks, their mean.

        Args:
            task: The task.
            others: The tasks; itself does not count.

        Returns:
            None: It can share a call with none of them.
        """
        seen = [self.entries[task, one].moved for one in others if (task, one) in self.entries]
        return math.fsum(seen) / len(seen) if seen else None

    def unrest(self, task: str, others: Collection[str]) -> float:
        """How far a task moves others and is moved by them, all added up.

        Args:
            task: The task.
            others: The tasks; itself does not count.
        """
        pairs = [pair for one in others for pair in ((task, one), (one, task))]
        return math.fsum(self.entries[pair].moved for pair in pairs if pair in self.entries)

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
        budget: What may be spent. Where it ends while tasks are asked alone, the rows before count.
        record: A folder that keeps every reply and reading; a look that was stopped goes on from
            there, and so does `choose_plan`.
        confidence: Of the intervals.
        progress: Called after every reading.

    Raises:
        DataError: A row or a number makes no sense, there is but one task, no row has an answer of
            every task, or the record cannot be read or written.
        PlanError: Demonstrations do not fit.
        BudgetExceeded: It is spent before a row is answered, or before the last reading.
        IncompleteRun: Calls failed for good.
        ModelMisconfigured: The model tells no log-probabilities.
        ModelError: The model cannot be used at all.
    """
    pairs = pairs_in_order(program)
    if not 0 < confidence < 1:
        raise DataError(f"confidence={confidence!r:.80} makes no sense", hint="0 < confidence < 1")
    found, plan = read_rows(program, rows), Plan.split(program, demos=list(demos))
    folder = None if record is None else Path(record)
    asked, replies = _asked(as_model(model), budget, folder), Replies()
    items = _answered(program, found, plan, SharedModel(asked, replies))
    with reader(asked, replies, folder) as source:
        look = _Look(program, plan, items, asked, source, progress)
        alone = {task: look.readings((task,), task) for task in program.order}
        seen = {
            (task, other): movement(alone[task], look.readings(tasks, task), confidence)
            for (task, other), tasks in pairs.items()
        }
        entries = {pair: one for pair, one in seen.items() if one.n}
        return Lens(program.order, entries, source.scale, asked.name, len(items), confidence)


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
    return asked if record is None else ResumedModel(asked, record / "profile.jsonl")


class _Item(NamedTuple):
    """A row on which every task has an answer."""

    inputs: Mapping[str, Any]
    answers: Mapping[str, Answer[Any]]


def _answered(
    program: Program, rows: Sequence[Row], plan: Plan, model: LanguageModel
) -> list[_Item]:
    """The rows with what every task answers alone; those where one fails are left out."""
    found, read = [], 0
    for row, result in zip(
        rows, program.map([row.inputs for row in rows], model=model, plan=plan, concurrency=1),
        strict=False,
    ):  # fmt: skip
        if outage := outcome(row.id, result).outage:
            if isinstance(outage.error, BudgetExceeded):
                break
            raise IncompleteRun(f"item {row.id!r} has no answer, as {outage.message}",
                                items=[row.id], hint="run it again")  # fmt: skip
        read += 1
        answers = {name: one for name, one in slots(result).items() if isinstance(one, Answer)}
        if len(answers) == len(program.order):
            found.append(_Item(program.read_inputs(row.inputs), answers))
    if not read:
        raise BudgetExceeded("the budget is spent before a row is answered", hint="raise it")
    if not found:
        raise DataError(f"on none of {read} rows every task has an answer", hint="give more rows")
    return found


@dataclass(frozen=True)
class _Look:
    """Reads the answers of all items in one call after the other."""

    program: Program
    plan: Plan
    items: Sequence[_Item]
    model: LanguageModel
    source: Reader
    progress: Callable[[], None]

    def readings(self, tasks: tuple[str, ...], task: str) -> list[Reading | None]:
        """How likely the answers of a task are in a call about some tasks, item by item."""
        support = self.model.support
        templates = Templates(settings.one("templates"))
        prompt = group_prompt(self.program, self.plan, tasks, support, templates)
        found = []
        for item in self.items:
            one = asking(prompt, task, item.inputs, item.answers, support.level)
            found.append(self.source.read(one))
            self.progress()
        return found
