"""An arm that is ready to be asked: its models, without their caches and on record."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path

from mtiprompt import settings
from mtiprompt.dataset import Row
from mtiprompt.drivers import run_many
from mtiprompt.engine import converse
from mtiprompt.errors import BudgetExceeded
from mtiprompt.evaluation.arms import Arm
from mtiprompt.evaluation.clock import Clock, RecordedModel, TimedModel, Told
from mtiprompt.evaluation.outcome import Outcome, outcome
from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.models.cache import CachedModel
from mtiprompt.models.fallback import FallbackModel, asked_by
from mtiprompt.models.model import as_model
from mtiprompt.models.single_flight import SingleFlightModel
from mtiprompt.program import Program
from mtiprompt.ready import Ready
from mtiprompt.repair import Repair
from mtiprompt.result import Failure, Result
from mtiprompt.wording import Templates


class Asker:
    """An arm with all that it needs to answer items.

    Args:
        program: The program.
        arm: The arm, whose plan fits the program.
        model: Who answers the groups of the plan that name no model of their own.
        clock: By which calls are timed, the same for all arms of a measurement.
        record: A folder in which every reply is kept; None: none is.

    Raises:
        DataError: The record cannot be read or written.
        ModelError: There is no such model as the plan names.
    """

    def __init__(
        self,
        program: Program,
        arm: Arm,
        model: LanguageModel,
        clock: Clock,
        record: str | PathLike[str] | None = None,
    ) -> None:
        self.arm = arm
        named = [as_model(one.model) if one.model else model for one in arm.plan.call_groups]
        each = {id(one): one for one in named}
        measured = {
            key: _timed(uncached(one), arm.name, clock, record) for key, one in each.items()
        }
        models = tuple(measured[id(one)] for one in named)
        self._ready = Ready(program, arm.plan, models, Templates(settings.one("templates")))
        self._told = Told(program)

    def ask(self, rows: Sequence[Row], repair: Repair, concurrency: int) -> Iterator[Outcome]:
        """What becomes of items, in their order; those after a spent budget are left out.

        Where a budget refuses every call, whatever is left, the first of these says so.

        Args:
            rows: The items.
            repair: What is done about slots that failed.
            concurrency: Calls in flight at the same time. With 1, items follow each other, and so
                do the calls about one, unless the arm says otherwise.

        Raises:
            ModelError: The model cannot be used at all.
        """
        size = self.arm.plan.items_per_call
        parts = [rows[place : place + size] for place in range(0, len(rows), size)]
        talks = (converse(self._ready, [row.inputs for row in part], repair) for part in parts)
        serial = concurrency == 1
        flight = len(self.arm.plan.call_groups) if serial and self.arm.parallel else concurrency
        window = 1 if serial else 2 * flight
        results = run_many(talks, concurrency=flight, window=window)
        found = _outcomes(rows, results)
        answered = iter(lambda: tuple(islice(found, size)), ())
        return self._told.placed(answered, flight=flight, window=window)


def uncached(model: LanguageModel) -> LanguageModel:
    """A model that asks for every reply: one from a cache costs nothing and takes no time.

    All else is shared with the model: its budget, its limits, its meter. One without a cache is
    given back as it is.

    Args:
        model: The model.
    """
    if isinstance(model, CachedModel | SingleFlightModel):
        return uncached(model.inner)
    if not isinstance(model, Wrapper):
        return model
    parts = asked_by(model)
    bare = tuple(uncached(one) for one in parts)
    if all(one is other for one, other in zip(bare, parts, strict=True)):
        return model
    made = copy.copy(model)
    made.inner, made.reuse = bare[0], None
    if isinstance(made, FallbackModel):
        made.models = bare
    return made


def record_name(arm: str) -> str:
    """The name of the file in which the replies of an arm are kept.

    Args:
        arm: The name of the arm.
    """
    return re.sub(r"[^\w.-]+", "_", arm) + ".jsonl"


def _outcomes(rows: Sequence[Row], results: Iterator[Result]) -> Iterator[Outcome]:
    """What became of rows; where a budget refuses every call, the first of the rest says why."""
    number = 0
    try:
        for row, result in zip(rows, results, strict=False):
            yield outcome(row.id, result)
            number += 1
    except BudgetExceeded as error:
        failure = Failure("budget spent", str(error), error=error)
        yield Outcome(rows[number].id, {}, outage=failure)


def _timed(
    model: LanguageModel, arm: str, clock: Clock, record: str | PathLike[str] | None
) -> LanguageModel:
    clock.add(model)
    if record is None:
        return TimedModel(model, clock)
    return RecordedModel(model, Path(record) / record_name(arm), clock)
