"""The callable program: the face that ties the steps together.

What runs a program (the engine, its drivers, the models) comes with the first call, so that to
declare tasks loads none of it.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import copy_context
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mtiprompt import settings
from mtiprompt.checks import check_mapping, check_plan, check_repair, check_whole, read_rows
from mtiprompt.combine import Combined, link
from mtiprompt.declare import as_task
from mtiprompt.errors import DataError
from mtiprompt.models.base import BaseModel, LanguageModel
from mtiprompt.plan import Plan
from mtiprompt.repair import DEFAULT, Repair
from mtiprompt.result import Result
from mtiprompt.tasks import Task

if TYPE_CHECKING:
    from mtiprompt.ready import Ready
    from mtiprompt.steps import Conversation
    from mtiprompt.streaming import SlotStream
    from mtiprompt.watch import Run, Shadow

    Converse = Callable[[Ready, Sequence[Mapping[str, Any]], Repair], Conversation]

CONCURRENCY = 8
"""Calls in flight at the same time, where no argument says otherwise."""


READY_KEPT = 32
"""Plans and models for which a program keeps what it has prepared."""


class _Prepared(NamedTuple):
    """What is prepared for a plan and its models, all held so that no others get their ids."""

    plan: Plan
    model: LanguageModel
    ready: Ready


class Program(Combined):
    """Tasks combined, ready to be called; made by `combine`."""

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: not what it has prepared, which holds models and locks."""
        return {name: part for name, part in vars(self).items() if name != "_ready"}

    def __call__(
        self,
        *,
        model: LanguageModel | str | None = None,
        plan: Plan | None = None,
        repair: Repair = DEFAULT,
        **inputs: Any,
    ) -> Result:
        """The answers for one item.

        Args:
            model: A model or its name; without one, that of the settings.
            plan: How to run; without one, all tasks in one call.
            repair: What is done about slots that failed.
            **inputs: The inputs by name.

        Raises:
            DataError: An input is missing, unknown or of the wrong type, or `repair` is no repair.
            PlanError: The plan is for another program.
            BudgetExceeded: Dollars are bounded, the calls before did not tell what they cost, and
                so nothing was asked.
            ModelError: The model cannot be used at all (unknown, no access, ...).
        """
        run, _ = _running()
        return run(self._conversation(model, plan, repair, inputs))

    async def acall(
        self,
        *,
        model: LanguageModel | str | None = None,
        plan: Plan | None = None,
        repair: Repair = DEFAULT,
        **inputs: Any,
    ) -> Result:
        """As a call, without blocking the event loop."""
        from mtiprompt.drivers_async import arun

        return await arun(self._conversation(model, plan, repair, inputs))

    def stream(
        self,
        *,
        model: LanguageModel | str | None = None,
        plan: Plan | None = None,
        repair: Repair = DEFAULT,
        **inputs: Any,
    ) -> SlotStream:
        """The slots of one item, each as soon as it is known, for `for` or `async for`.

        Example:
            >>> import mtiprompt as mti
            >>> triage = mti.combine("message -> mood: Literal['good']", "message -> product")
            >>> stream = triage.stream(message="The kettle leaks.", model=mti.EchoModel())
            >>> for task, answer in stream:
            ...     print(task, answer.fields)
            mood {'mood': 'good'}
            product {'product': '...'}
            >>> stream.result.usage.calls
            1

        Args and errors are those of a call. What is wrong with an argument is raised at once, what
        goes wrong in asking in the loop.
        """
        from mtiprompt.streaming import SlotStream

        return SlotStream(self._conversation(model, plan, repair, inputs))

    def map(
        self,
        rows: Iterable[Mapping[str, Any]],
        *,
        model: LanguageModel | str | None = None,
        plan: Plan | None = None,
        repair: Repair = DEFAULT,
        concurrency: int = CONCURRENCY,
        shadow: Shadow | float | None = None,
    ) -> Iterator[Result]:
        """The results for many items, in the order of the rows, as they become ready.

        Rows are read as fast as results are taken, so neither needs to fit into memory. A plan with
        several items in a call takes that many rows together. When a budget is spent, no further
        row is begun, and the results end with the last that has an answer.

        Args:
            rows: Mappings of input name to value.
            model: As in a call.
            plan: As in a call.
            repair: As in a call.
            concurrency: Calls in flight at the same time.
            shadow: A share of the rows, which are also run with every task alone, to see whether
                one gets worse in company; or an `mti.Shadow` that says more.

        Raises:
            DataError: A row does not fit; the message has its number, counted from 1. Or the shadow
                is for another plan, or another argument makes no sense.
            SettingsError: The shadow makes no sense.
            BudgetExceeded: Dollars are bounded, and the calls do not tell what they cost; it comes
                behind all rows of which a call was paid.
        """
        from mtiprompt.drivers import run_many

        ready, rows = self.ready(model, plan), _checked(rows, repair, concurrency)
        if shadow is None:
            talks = self._conversations(lambda: ready, rows, repair)
            return run_many(talks, concurrency=concurrency)
        run = self._run_with(shadow, model, ready.plan)
        talks = self._conversations(run.ready, rows, repair, run.converse)
        return run.results(run_many(talks, concurrency=concurrency))

    def amap(
        self,
        rows: Iterable[Mapping[str, Any]],
        *,
        model: LanguageModel | str | None = None,
        plan: Plan | None = None,
        repair: Repair = DEFAULT,
        concurrency: int = CONCURRENCY,
        shadow: Shadow | float | None = None,
    ) -> AsyncGenerator[Result, None]:
        """As `map`, for `async for`."""
        from mtiprompt.drivers_async import arun_many

        ready, rows = self.ready(model, plan), _checked(rows, repair, concurrency)
        if shadow is None:
            talks = self._conversations(lambda: ready, rows, repair)
            return arun_many(talks, concurrency=concurrency)
        run = self._run_with(shadow, model, ready.plan)
        talks = self._conversations(run.ready, rows, repair, run.converse)
        return run.aresults(arun_many(talks, concurrency=concurrency))

    def _run_with(
        self, shadow: Shadow | float, model: LanguageModel | str | None, plan: Plan
    ) -> Run:
        from mtiprompt.watch import Run, Shadow

        known = shadow if isinstance(shadow, Shadow) else Shadow(shadow)
        base = _asked(model)
        # what is prepared while rows are taken is prepared under the settings of the map
        begun = copy_context()
        return Run(known, self, plan, lambda one: begun.copy().run(self.ready, base, one))

    def _conversation(
        self,
        model: LanguageModel | str | None,
        plan: Plan | None,
        repair: Repair,
        inputs: Mapping[str, Any],
    ) -> Conversation:
        """The conversation about one item."""
        _, converse = _running()
        check_repair(repair)
        return converse(self.ready(model, plan), [self.read_inputs(inputs)], repair)

    def _conversations(
        self,
        ready: Callable[[], Ready],
        rows: Iterable[Mapping[str, Any]],
        repair: Repair,
        converse: Converse | None = None,
    ) -> Iterator[Conversation]:
        """A conversation for each row, or for as many as the plan puts into a call."""
        converse = converse or _running()[1]
        read = self._read_rows(rows)
        while True:
            now = ready()
            items: list[Mapping[str, Any]] = []
            try:
                items += islice(read, now.plan.items_per_call)
            except Exception:
                if items:  # those before the one that could not be read
                    yield converse(now, items, repair)
                raise
            if not items:
                return
            yield converse(now, items, repair)

    def _read_rows(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        for number, row in enumerate(rows, start=1):
            try:
                yield self.read_inputs(row)
            except DataError as error:
                raise DataError(f"row {number}: {error.message}", hint=error.hint) from None

    def ready(self, model: LanguageModel | str | None = None, plan: Plan | None = None) -> Ready:
        """Program, plan and models prepared; kept for the next call with the same."""
        base = _asked(model)
        chosen = self._fused if plan is None else plan
        check_plan(chosen)
        named = {name: _asked(name) for name in chosen.models}
        front = settings.one("templates")
        # by identity: to compare plans takes longer than all else that a cached call does
        key = (front, id(chosen), id(base), *map(id, named.values()))
        found = self._ready.get(key)
        if found is None:
            found = _Prepared(chosen, base, self._prepare(base, named, chosen, front))
            with _LOCK:
                while len(self._ready) >= READY_KEPT:
                    self._ready.pop(next(iter(self._ready)))
                self._ready[key] = found
        return found.ready

    @cached_property
    def _ready(self) -> dict[tuple[Path | int | None, ...], _Prepared]:
        return {}

    @cached_property
    def _fused(self) -> Plan:
        return Plan.fused(self)

    def _prepare(
        self,
        base: LanguageModel,
        named: Mapping[str, LanguageModel],
        plan: Plan,
        front: Path | None,
    ) -> Ready:
        from mtiprompt.ready import Ready
        from mtiprompt.wording import Templates

        plan.check(self)
        models = tuple(named[group.model] if group.model else base for group in plan.call_groups)
        return Ready(self, plan, models, Templates(front))


_LOCK = threading.Lock()


@cache
def _running() -> tuple[Callable[[Conversation], Result], Converse]:
    """`run` and `converse`, kept: two statements of import take a microsecond of every call."""
    from mtiprompt.drivers import run
    from mtiprompt.engine import converse

    return run, converse


def _asked(model: LanguageModel | str | None) -> LanguageModel:
    """The model that is meant; what makes models out of names comes with the first name."""
    if isinstance(model, BaseModel):
        return model
    from mtiprompt.models.model import as_model

    return as_model(model)


def _checked(rows: Any, repair: object, concurrency: object) -> Iterator[Mapping[str, Any]]:
    """The rows of a map one by one, when its other arguments make sense too."""
    check_repair(repair)
    check_whole(1, concurrency=concurrency)
    return read_rows(rows)


def combine(*declarations: Any, wires: Mapping[str, str] | None = None) -> Program:
    """Combine tasks into a program.

    An input that several tasks name is asked for once; an input that another task puts out comes
    from that task.

    Args:
        *declarations: Tasks in any form that `mti.task` takes, and other programs.
        wires: Exceptions: `"task.input"` to `"task.output"`, or to the name of a program input.

    Raises:
        DeclarationError: A declaration is wrong.
        CombineError: The tasks do not fit together.
        DataError: `wires` is no mapping.
    """
    check_mapping('{"task.input": "task.output"}', wires={} if wires is None else wires)
    tasks: list[Task[Any]] = []
    old: dict[str, str] = {}
    for one in declarations:
        if isinstance(one, Combined):
            tasks += one.tasks.values()
            answered = {field.name for task in one.tasks.values() for field in task.outputs}
            # an input that a task here puts out too is one of the program by a wire
            old |= {
                f"{task}.{name}": wire.name if wire.task is None else f"{wire.task}.{wire.name}"
                for task, taken in one.wires.items()
                for name, wire in taken.items()
                if wire.task is not None or wire.name != name or name in answered
            }
        else:
            tasks.append(as_task(one))
    linked = link(tasks, old | dict(wires or {}))
    return Program(linked.tasks, linked.inputs, linked.wires, linked.order)
