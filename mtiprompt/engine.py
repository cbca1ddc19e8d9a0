"""The conversation about one item, or about several that share their calls, as a generator.

`converse` does no input or output: it yields steps (which calls to start, which reply to keep,
which slots are settled) and is sent what comes back, one call at a time; its last step has the
results. The drivers do the sending.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from mtiprompt.answers import Kept
from mtiprompt.errors import BudgetExceeded, ContextTooLong, ModelError, SchemaRejected
from mtiprompt.models.meter import usage_of
from mtiprompt.parse import UNHELD, closed, closed_items, parse, parse_items
from mtiprompt.problems import problems
from mtiprompt.ready import Ready
from mtiprompt.render import GroupPrompt
from mtiprompt.repair import DEFAULT, Again, Asked, Broken, Repair
from mtiprompt.result import Answer, Call, Failure, Result
from mtiprompt.steps import Ask, Conversation, Filled, Finished, Partly, Place, Step
from mtiprompt.wire import Reply, Usage

logger = logging.getLogger(__name__)


def converse(
    ready: Ready, items: Sequence[Mapping[str, Any]], repair: Repair = DEFAULT
) -> Conversation:
    """The conversation about an item, or about several that share calls.

    Args:
        ready: Program, plan and model.
        items: For each item program input to value, plain JSON data.
        repair: What is done about slots that failed.

    Raises:
        ModelError: A call failed in a way that every other call would (a wrong key, an unknown
            model). Other failed calls become failures of their slots.
    """
    talk = _Talk(ready, items, repair)
    step = talk.begin()
    while step.results is None:
        step = talk.hear((yield step))
    yield step


class _Job(NamedTuple):
    """Slots that wait to be asked for.

    Attributes:
        group: The index of their group.
        again: What to ask for and how.
        problems: What was wrong with an earlier reply, by item and task; empty for a first call.
    """

    group: int
    again: Again
    problems: Mapping[Place, Failure] = MappingProxyType({})


class _Talk:
    """What a conversation knows so far."""

    def __init__(self, ready: Ready, items: Sequence[Mapping[str, Any]], repair: Repair) -> None:
        self._ready = ready
        self._items = items
        self._repair = repair
        self._repairs = [0] * len(items)
        self._causes: dict[Place, Failure] = {}
        everyone = tuple(range(len(items)))
        self._waiting = [
            _Job(number, Again(Asked(everyone, group.tasks), 0, 0))
            for number, group in enumerate(ready.plan.call_groups)
        ]
        self._open = 0
        self._slots: dict[Place, Filled] = {}
        self._calls: list[tuple[tuple[int, ...], Call]] = []
        self._shown: dict[Place, Filled] = {}  # answers of replies that are still on their way
        self._news: list[tuple[Place, Filled]] = []

    def begin(self) -> Step:
        """The first step."""
        return self._step(self._due())

    def hear(self, heard: Finished | Partly) -> Step:
        """The step that follows from what has come."""
        if isinstance(heard, Partly):
            self._show(heard)
            return self._step(())
        self._open -= 1
        ask, outcome = heard
        if again := self._at_lower_level(ask, outcome):
            self._open += 1
            return self._step((again,))
        found = self._read(ask, outcome)
        broken = self._settle_answers(ask, found)
        self._mend(ask, broken)
        keep = None if broken or not _is_new(outcome) else heard
        return self._step(self._due(), keep)

    def _step(self, start: tuple[Ask, ...], keep: Finished | None = None) -> Step:
        settled, self._news = tuple(self._news), []
        results = None if self._open else self._results()
        return Step(start, keep, settled, results)

    # --- what came back ----------------------------------------------------------------------

    def _at_lower_level(self, ask: Ask, outcome: Any) -> Ask | None:
        """The same call at a lower level, if its schema was refused."""
        level = ask.request.level
        if not isinstance(outcome, SchemaRejected) or level == "prompt":
            return None
        lower = ask.model.support.refuse(level)
        if lower is None:
            return None
        self._note(ask, outcome)
        return ask._replace(request=replace(ask.request, level=lower))

    def _read(self, ask: Ask, outcome: Reply | ModelError | BudgetExceeded) -> dict[Place, Filled]:
        """Every slot of a call."""
        self._note(ask, outcome)
        if isinstance(outcome, Reply):
            return _parsed(ask, outcome, self._others(ask))
        is_repair = ask.request.purpose == "repair"  # which must not cost the good slots
        if isinstance(outcome, ModelError) and outcome.stops and not is_repair:
            raise outcome
        if isinstance(outcome, ContextTooLong) and len(ask.asked.items) * len(ask.asked.tasks) > 1:
            logger.warning(
                "a call for %s does not fit the context of %s; it is asked in parts",
                ", ".join(ask.asked.tasks), ask.model.name,
            )  # fmt: skip
        kind: Any = "budget spent" if isinstance(outcome, BudgetExceeded) else "call failed"
        return dict.fromkeys(_places(ask.asked), Failure(kind, str(outcome), error=outcome))

    def _others(self, ask: Ask) -> set[str]:
        """The keys of the tasks that a call does not ask for, those of other calls included."""
        asked, group = ask.asked.tasks, self._ready.plan.call_groups[ask.group]
        keys = {key for (task, _), key in self._ready.program.keys.items() if task not in asked}
        if asked != group.tasks:  # keys may be letters, of which a group has its own
            whole = self._ready.prompt(ask.group, group.tasks, grid=ask.prompt.grid)
            keys |= {
                key for one in whole.slots if one.task.name not in asked for key in one.all_keys
            }
        return keys

    def _note(self, ask: Ask, outcome: Reply | ModelError | BudgetExceeded) -> None:
        tasks, name, purpose = ask.asked.tasks, ask.model.name, ask.request.purpose
        if isinstance(outcome, Reply):
            call = Call(tasks, ask.request, outcome, None, name, outcome.usage.labelled(purpose))
        else:
            used = usage_of(outcome).labelled(purpose)
            call = Call(tasks, ask.request, None, outcome, name, used)
        self._calls.append((ask.asked.items, call))

    def _settle_answers(self, ask: Ask, found: Mapping[Place, Filled]) -> list[Broken]:
        """Settle the answers of a call; gives the slots that failed."""
        broken = []
        for (item, task), slot in found.items():
            if isinstance(slot, Failure):
                broken.append(Broken(item, task, slot))
            else:
                self._settle((item, task), slot)
        if kept := self._ready.kept[ask.group]:
            for (item, task), slot in found.items():
                if isinstance(slot, Answer) and self._is_known(item, task):
                    kept.keep(task, self._items[item], self._fields(item, task), slot)
        return broken

    def _settle(self, place: Place, slot: Filled) -> None:
        self._slots[place] = slot
        if not self._shown or not _says(self._shown.pop(place, None), slot):
            self._news.append((place, slot))

    def _show(self, heard: Partly) -> None:
        """Tell of answers that stand whole in a reply that is not."""
        ask = heard.ask
        for place, answer in _closed(ask, heard.text, self._others(ask)).items():
            if not _says(self._shown.get(place), answer):
                self._shown[place] = answer
                self._news.append((place, answer))

    def _mend(self, ask: Ask, broken: Sequence[Broken]) -> None:
        """Queue the calls that ask again; what is in none of them has failed for good."""
        if not broken:
            return
        failures = {
            (one.item, one.task): self._with_cause((one.item, one.task), one.failure)
            for one in broken
        }
        for again in self._repair.again(ask.again, broken):
            if not self._may_repair(again.asked.items):
                continue
            problems = {place: failures.pop(place) for place in _places(again.asked)}
            self._waiting.append(_Job(ask.group, again, problems))
        for place, failure in failures.items():
            self._settle(place, failure)

    def _with_cause(self, place: Place, failure: Failure) -> Failure:
        """A failure; that of a call which was to mend an earlier one tells of that too."""
        earlier = self._causes.setdefault(place, failure)
        if failure.error is None or earlier is failure:
            self._causes[place] = failure
            return failure
        message = f"{failure.message}; before that: {earlier}"
        return replace(failure, message=message, raw=earlier.raw, field=earlier.field)

    def _may_repair(self, items: Sequence[int]) -> bool:
        """Whether every item may have another call for its repair; counts it if so."""
        limit = self._repair.calls
        if limit is not None and any(self._repairs[item] >= limit for item in items):
            return False
        for item in items:
            self._repairs[item] += 1
        return True

    # --- what to ask next --------------------------------------------------------------------

    def _due(self) -> tuple[Ask, ...]:
        """The calls whose upstream answers are there; slots that lack one fail with that cause."""
        asks: list[Ask] = []
        moved = bool(self._waiting)
        while moved:
            waiting, self._waiting, moved = self._waiting, [], False
            for job in waiting:
                if not self._is_due(job):
                    self._waiting.append(job)
                    continue
                moved = True
                asks += self._asks(job)
        self._open += len(asks)
        if not self._open and self._waiting:  # a repair that cuts a circle into the dependencies
            for job in self._waiting:
                for place in _places(job.again.asked):
                    failure = Failure("upstream failed", "its repair waits for itself")
                    self._settle(place, job.problems.get(place, failure))
            self._waiting = []
        return tuple(asks)

    def _is_due(self, job: _Job) -> bool:
        items, tasks = job.again.asked
        return all(
            (item, source) in self._slots
            for task in tasks
            for source in self._ready.program.upstream(task)
            if source not in tasks
            for item in items
        )

    def _asks(self, job: _Job) -> list[Ask]:
        """The calls of a job: one, unless failed upstream answers leave items different tasks."""
        items_of: dict[tuple[str, ...], list[int]] = {}
        for item in job.again.asked.items:
            able = self._able(item, job.again.asked.tasks)
            if (kept := self._ready.kept[job.group]) and not job.problems:
                able = tuple(task for task in able if not self._take_kept(kept, item, task))
            if able:
                items_of.setdefault(able, []).append(item)
        return [self._ask(job, Asked(tuple(items), tasks)) for tasks, items in items_of.items()]

    def _ask(self, job: _Job, asked: Asked) -> Ask:
        items, tasks = asked
        grid = len(items) > 1 or (self._ready.plan.items_per_call > 1 and not job.problems)
        prompt = self._ready.prompt(job.group, tasks, grid=grid)
        prompt = prompt.about([self._items[item] for item in items])
        texts = {
            item + 1: prompt.item(self._items[item], self._upstream(item, prompt)) for item in items
        }
        told = problems(items, prompt.slots, job.problems) if job.problems else []
        purpose = "repair" if job.problems else "answer"
        model = self._ready.models[job.group]
        level, sample = model.support.level, job.again.sample
        request = prompt.request(texts, level, told, sample, purpose)
        again = job.again if asked == job.again.asked else job.again._replace(asked=asked)
        return Ask(job.group, again, prompt, request, model)

    def _able(self, item: int, tasks: tuple[str, ...]) -> tuple[str, ...]:
        """The tasks that can be asked about an item; those that lack an answer fail with it."""
        program = self._ready.program
        unable: set[str] = set()
        for task in tasks:
            for name, wire in program.wires[task].items():
                if wire.task is None or not program.needs(task, name):
                    continue
                if wire.task in tasks:
                    lacks = wire.task in unable
                else:
                    lacks = isinstance(self._slots[item, wire.task], Failure)
                if lacks:
                    failure = Failure("upstream failed", f"it takes the answer of {wire.task!r}")
                    self._settle((item, task), failure)
                    unable.add(task)
                    break
        return tuple(task for task in tasks if task not in unable) if unable else tasks

    def _take_kept(self, kept: Kept, item: int, task: str) -> bool:
        """Settle a task by an answer that was kept; whether there was one."""
        if not self._is_known(item, task):
            return False
        answer = kept.find(task, self._items[item], self._fields(item, task))
        if answer is not None:
            self._settle((item, task), answer)
        return answer is not None

    def _is_known(self, item: int, task: str) -> bool:
        """Whether all answers that a task takes are there or have failed."""
        return all((item, one) in self._slots for one in self._ready.program.upstream(task))

    def _upstream(self, item: int, prompt: GroupPrompt) -> dict[str, Mapping[str, Any]]:
        """The answers that an item's text shows."""
        return self._answers(item, {wire.task for wire in prompt.taken if wire.task})

    def _fields(self, item: int, task: str) -> dict[str, Mapping[str, Any]]:
        """The answers that a task takes."""
        return self._answers(item, self._ready.program.upstream(task))

    def _answers(self, item: int, tasks: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        """The fields of answers by task; those that failed are left out."""
        slots = {task: self._slots[item, task] for task in tasks}
        return {task: slot.fields for task, slot in slots.items() if isinstance(slot, Answer)}

    # --- the end -----------------------------------------------------------------------------

    def _results(self) -> tuple[Result, ...]:
        return tuple(self._result(item) for item in range(len(self._items)))

    def _result(self, item: int) -> Result:
        program = self._ready.program
        slots = {name: self._slots[item, name] for name in program.tasks}
        calls = tuple(_of_item(item, items, call) for items, call in self._calls if item in items)
        usage = calls[0].usage if len(calls) == 1 else sum((one.usage for one in calls), Usage())
        return Result(program, slots, calls, usage)


def _says(shown: Filled | None, slot: Filled) -> bool:
    """Whether a slot says what was shown of it already."""
    is_answer = isinstance(shown, Answer) and isinstance(slot, Answer)
    return is_answer and shown.fields == slot.fields  # type: ignore[union-attr]


def _is_new(outcome: object) -> bool:
    """Whether an outcome is a reply that does not come from a store."""
    return isinstance(outcome, Reply) and not outcome.from_cache


def _places(asked: Asked) -> Iterable[Place]:
    return [(item, task) for item in asked.items for task in asked.tasks]


def _parsed(ask: Ask, reply: Reply, others: Collection[str]) -> dict[Place, Filled]:
    prompt, thinks = ask.prompt, ask.prompt.plan.think_first
    how: Any = {"others": others, "think_first": thinks, "held": _held(ask)}
    if not prompt.grid:
        [item] = ask.asked.items
        found = parse(reply, prompt.slots, **how)
        return {(item, name): slot for name, slot in found.items()}
    numbers = [item + 1 for item in ask.asked.items]
    return _placed(parse_items(reply, prompt.slots, numbers, **how))


def _held(ask: Ask) -> Mapping[str, Any]:
    return ask.prompt.shape.properties if ask.request.level == "json_schema" else UNHELD


def _closed(ask: Ask, text: str, others: Collection[str]) -> dict[Place, Answer[Any]]:
    slots = ask.prompt.slots
    how: Any = {"others": others, "held": _held(ask)}
    if not ask.prompt.grid:
        [item] = ask.asked.items
        found = closed(text, slots, **how)
        return {(item, name): slot for name, slot in found.items()}
    numbers = [item + 1 for item in ask.asked.items]
    return _placed(closed_items(text, slots, numbers, **how))


def _placed(by_number: Mapping[int, Mapping[str, Any]]) -> dict[Place, Any]:
    return {
        (number - 1, name): slot for number, found in by_number.items()
        for name, slot in found.items()
    }  # fmt: skip


def _of_item(item: int, items: tuple[int, ...], call: Call) -> Call:
    """A call as the result of one of its items has it, with its share of the cost."""
    if len(items) == 1:
        return call
    share = call.usage.share(items.index(item), len(items))
    return replace(call, usage=share.labelled(call.request.purpose))
