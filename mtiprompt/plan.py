"""How a program is run: a frozen, hashable value, saved as JSON."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from mtiprompt.combine import Combined, waves
from mtiprompt.demo import Demo as Demo
from mtiprompt.demo import make_demo as make_demo
from mtiprompt.errors import PlanError
from mtiprompt.selection import Select as Select
from mtiprompt.tasks import as_identifier, by_identifier, first_line
from mtiprompt.whole_files import read_json, write_text
from mtiprompt.wire import NOTATIONS, Notation

T = TypeVar("T")

Layout = Literal["item_last", "item_first"]
"""`item_last`: instructions and demonstrations first, the same bytes for every item, so that a
prefix cache holds them. `item_first`: the item first, so that several calls about it share it."""

FORMAT = 1
"""The version of the JSON format of plans."""


@dataclass(frozen=True)
class Group:
    """The tasks that share one call, in the order of answering.

    Attributes:
        tasks: Their names.
        model: The model that answers them, where it is not the one of the call.

    Raises:
        PlanError: There is no task, or something stands where a name should.
    """

    tasks: tuple[str, ...]
    model: str | None = None

    def __post_init__(self) -> None:
        """Check the names."""
        tasks: Any = self.tasks
        if isinstance(tasks, str) or not isinstance(tasks, Iterable):
            raise PlanError(f"a group is a list of task names, not {tasks!r:.80}")
        object.__setattr__(self, "tasks", tuple(map(as_identifier, tasks)))
        if not self.tasks:
            raise PlanError("a group of the plan has no task", hint="leave the group out")
        names: tuple[Any, ...] = self.tasks if self.model is None else (*self.tasks, self.model)
        if wrong := [name for name in names if not isinstance(name, str) or not name]:
            raise PlanError(f"a group of the plan has {wrong[0]!r:.80} where a name should be")


_PARTS: Mapping[str, type] = {
    "call_groups": Group, "demos": Demo, "reasoning": tuple, "instructions": tuple,
}  # fmt: skip
"""The fields of a plan that have several values, and of what type each is."""
_OF_TASKS: Mapping[str, type] = {"reasoning": bool, "instructions": str}
"""The fields of a plan that have a value for single tasks, and of what type it is."""


@dataclass(frozen=True)
class Plan:
    """How a program is run.

    Attributes:
        program: The fingerprint of the program that it is for.
        call_groups: Which tasks share a call.
        demos: Worked examples, in the order of showing; with `select`, what is chosen from.
        items_per_call: How many items share a call.
        layout: Where the item stands in the prompt.
        notation: How the JSON of a reply is spaced; None: as suits the model.
        reasoning: For single tasks, whether they write a reason first, as (task, bool) pairs.
        instructions: For single tasks, what they are told instead of their own instruction, as
            (task, text) pairs.
        think_first: Whether the model first writes freely and then the JSON. No schema holds it
            then, which helps models that answer worse under constraint.
        show_all: Whether every call tells of the tasks of the other groups too, and shows all
            inputs: a control that tells apart what a model gains from knowing of the other tasks
            and what it gains or loses by answering them.
        short_keys: Whether the keys of a reply are letters, which takes fewer tokens; the prompt
            says which letter stands for which output.
        select: How demonstrations are chosen anew for the items of each call; None: all are shown,
            the same bytes in every call.

    Raises:
        PlanError: A value has the wrong type.
    """

    program: str
    call_groups: tuple[Group, ...]
    demos: tuple[Demo, ...] = ()
    items_per_call: int = 1
    layout: Layout = "item_last"
    notation: Notation | None = None
    reasoning: tuple[tuple[str, bool], ...] = ()
    instructions: tuple[tuple[str, str], ...] = ()
    think_first: bool = False
    show_all: bool = False
    short_keys: bool = False
    select: Select | None = None

    def __post_init__(self) -> None:
        """Check the types, so that every plan can be hashed, saved and read."""
        for name, kind in _PARTS.items():
            parts = getattr(self, name)
            if not isinstance(parts, Iterable) or not all(isinstance(one, kind) for one in parts):
                raise PlanError(f"{name} is {parts!r:.80}, expected values of {kind.__name__}")
            object.__setattr__(self, name, tuple(parts))
        for name, kind in _OF_TASKS.items():
            _check_pairs(name, getattr(self, name), kind)
        if self.layout not in get_args(Layout):
            hint = ", ".join(get_args(Layout))
            raise PlanError(f"there is no layout {self.layout!r:.80}", hint=hint)
        if self.notation is not None and self.notation not in NOTATIONS:
            hint = ", ".join(NOTATIONS)
            raise PlanError(f"there is no notation {self.notation!r:.80}", hint=hint)
        number: Any = self.items_per_call
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise PlanError(f"items_per_call is {number!r:.80}, expected 1 or more")
        for name in ("think_first", "show_all", "short_keys"):
            if not isinstance(getattr(self, name), bool):
                raise PlanError(f"{name} is {getattr(self, name)!r:.80}, expected a bool")
        select: Any = self.select
        if select is not None and not isinstance(select, Select):
            hint = 'Select("nearest", 4) or Select("coverage", 4)'
            raise PlanError(f"select is {select!r:.80}, expected a Select", hint=hint)

    @staticmethod
    def fused(program: Combined, *, order: Sequence[str] | None = None, **options: Any) -> Plan:
        """All tasks in one call.

        Args:
            program: The program.
            order: The order of answering; by default that of the program.
            **options: `demos`, `items_per_call`, `layout`, `notation`, `reasoning` and
                `instructions` (mappings), `think_first`, `show_all`, `short_keys`, `select`.

        Raises:
            PlanError: The order or an option does not fit the program.
        """
        return Plan.groups(program, [order or program.order], **options)

    @staticmethod
    def split(program: Combined, **options: Any) -> Plan:
        """One call for each task; options as for `fused`."""
        return Plan.groups(program, [[name] for name in program.order], **options)

    @staticmethod
    def groups(program: Combined, groups: Iterable[Sequence[str] | Group], **options: Any) -> Plan:
        """One call for each group of task names; options as for `fused`."""
        parts = _groups(groups)
        plan = Plan(program.fingerprint, parts, **_options(program, options))
        plan.check(program)
        warn_of_hidden(plan, program)
        return plan

    def replace(self, program: Combined, **changes: Any) -> Plan:
        """This plan with other options, or other `call_groups`, checked against the program.

        Raises:
            PlanError: A change does not fit the program.
        """
        parts = _groups(changes.pop("call_groups", self.call_groups))
        changed = replace(self, call_groups=parts, **_options(program, changes))
        changed.check(program)
        return changed

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The names of the models that its groups have, each once."""
        return tuple(dict.fromkeys(group.model for group in self.call_groups if group.model))

    @property
    def shown(self) -> int:
        """How many demonstrations a call shows at most."""
        return min(len(self.demos), self.select.number) if self.select else len(self.demos)

    def fitting(self, program: Combined, tasks: Sequence[str]) -> tuple[Demo, ...]:
        """The demonstrations that a call can show: with all answers that it gives and takes.

        Args:
            program: The program.
            tasks: The tasks of the call.
        """
        needed = {*tasks, *(one for name in tasks for one in program.upstream(name))}
        return tuple(demo for demo in self.demos if demo.outputs.keys() >= needed)

    def reasons(self, program: Combined, task: str) -> bool:
        """Whether a task writes a reason before its answer."""
        return dict(self.reasoning).get(task, program.tasks[task].reasoning)

    def instruction(self, program: Combined, task: str) -> str:
        """What a task is told to do."""
        return dict(self.instructions).get(task, program.tasks[task].instruction)

    def check(self, program: Combined) -> None:
        """Refuse a plan that does not fit a program.

        Raises:
            PlanError: With the reason.
        """
        if self.program != program.fingerprint:
            raise PlanError(
                "the plan is for another program",
                hint="its tasks, types or dependencies differ; make the plan anew",
            )
        placed = [name for group in self.call_groups for name in group.tasks]
        for name in [*placed, *dict(self.reasoning), *dict(self.instructions)]:
            if name not in program.tasks:
                raise PlanError(
                    f"the plan names {name!r}, which the program lacks",
                    hint=f"its tasks: {', '.join(program.tasks)}",
                )
        for name in program.tasks:
            if placed.count(name) != 1:
                what = "drops" if name not in placed else "repeats"
                raise PlanError(
                    f"the plan {what} the task {name!r}", hint="each task stands in one group, once"
                )
        for name, task in program.tasks.items():
            keys = {program.keys[name, one.name] for one in task.outputs}
            if self.reasons(program, name) and f"{name}__reasoning" in keys:
                raise PlanError(
                    f"the reason of the task {name!r} and its output 'reasoning' would both have "
                    f"the key '{name}__reasoning' in the reply",
                    hint=f"rename the output, or write reasoning={{{name!r}: False}}",
                )
        for demo in self.demos:
            make_demo(program, demo)
        waves(program, [group.tasks for group in self.call_groups])

    def to_json(self) -> str:
        """The plan as JSON text, made to be read and compared by people."""
        value = {
            "format": FORMAT,
            "program": self.program,
            "groups": [
                {"tasks": group.tasks, **({"model": group.model} if group.model else {})}
                for group in self.call_groups
            ],
            "demos": [{"inputs": demo.inputs, "outputs": demo.outputs} for demo in self.demos],
            **({"select": self.select.as_dict()} if self.select else {}),
            "items_per_call": self.items_per_call,
            "layout": self.layout,
            "notation": self.notation,
            "reasoning": dict(self.reasoning),
            **({"instructions": dict(self.instructions)} if self.instructions else {}),
            "think_first": self.think_first,
            "show_all": self.show_all,
            "short_keys": self.short_keys,
        }
        return json.dumps(value, ensure_ascii=False, indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> Plan:
        """The plan of a JSON text; the reverse of `to_json`.

        Raises:
            PlanError: The text is no plan.
        """
        try:
            value = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise PlanError(f"not a plan: {first_line(error)}") from None
        return _from_value(value)

    def save(self, path: str | Path) -> None:
        """Write the plan to a file, whole or not at all.

        Raises:
            DataError: The file cannot be written.
        """
        write_text(path, self.to_json())

    @staticmethod
    def load(path: str | Path) -> Plan:
        """Read a plan from a file.

        Raises:
            DataError: The file cannot be read, or is no JSON.
            PlanError: It is no plan.
        """
        return _from_value(read_json(path))


def warn_of_hidden(plan: Plan, program: Combined) -> None:
    """Warn of demonstrations that a call does not show though they answer some of its tasks.

    Of a plan that selects, whose calls show a few of many, it is said where one can show none.

    Args:
        plan: A plan that fits the program.
        program: The program.
    """
    told = []
    for tasks in (group.tasks for group in plan.call_groups):
        given = [demo for demo in plan.demos if not demo.outputs.keys().isdisjoint(tasks)]
        shown = plan.fitting(program, tasks)
        if len(shown) < (min(len(given), 1) if plan.select else len(given)):
            told.append(f"the call for {', '.join(tasks)} shows {len(shown)} of {len(given)}")
    if told:
        text = (
            f"demonstrations are left out: {'; '.join(told)} (give each the answers of all tasks "
            "of the call, and of those they build on)"
        )
        # from the same place whoever makes it: Python shows such a warning once
        warnings.warn(text, stacklevel=1)


def _groups(groups: Any) -> tuple[Group, ...]:
    if not isinstance(groups, Iterable):
        raise PlanError(f"the groups are {groups!r:.80}, expected lists of task names")
    return tuple(one if isinstance(one, Group) else Group(one) for one in groups)


def _options(program: Combined, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a plan as its fields."""
    known = {one.name for one in fields(Plan)} - {"program", "call_groups"}
    if unknown := sorted(set(given) - known):
        raise PlanError(
            f"a plan has no option {unknown[0]!r}", hint=f"known: {', '.join(sorted(known))}"
        )
    options = dict(given)
    if "demos" in options:
        if not isinstance(options["demos"], Iterable):
            raise PlanError(f"demos is {options['demos']!r:.80}, expected a list of demonstrations")
        options["demos"] = tuple(make_demo(program, demo) for demo in options["demos"])
    for name in _OF_TASKS.keys() & options.keys():
        options[name] = _pairs(name, options[name])
    return options


def _check_pairs(name: str, pairs: tuple[tuple[Any, ...], ...], kind: type) -> None:
    for pair in pairs:
        if len(pair) != 2 or not isinstance(pair[0], str) or not isinstance(pair[1], kind):
            raise PlanError(f"{name} has {pair!r:.80}, expected (task name, {kind.__name__})")


def _pairs(name: str, values: Any) -> tuple[tuple[str, Any], ...]:
    try:
        return tuple(sorted(by_identifier(dict(values)).items()))
    except (ValueError, TypeError):
        wanted = f"a mapping of task name to {_OF_TASKS[name].__name__}"
        raise PlanError(f"{name} is {values!r:.80}, expected {wanted}") from None


def _from_value(value: Any) -> Plan:
    try:
        if _as(dict, value)["format"] != FORMAT:
            raise PlanError(f"the plan has format {value['format']!r:.80}, expected {FORMAT}")
        return Plan(
            program=_as(str, value["program"]),
            call_groups=tuple(
                Group(tuple(_as(list, _as(dict, group)["tasks"])), group.get("model"))
                for group in _as(list, value["groups"])
            ),
            demos=tuple(
                Demo.of(_as(dict, _as(dict, demo)["inputs"]), _as(dict, demo["outputs"]))
                for demo in _as(list, value["demos"])
            ),
            items_per_call=value["items_per_call"],
            layout=value["layout"],
            notation=value["notation"],
            reasoning=_pairs("reasoning", _as(dict, value["reasoning"])),
            instructions=_pairs("instructions", _as(dict, value.get("instructions", {}))),
            think_first=value.get("think_first", False),
            show_all=value.get("show_all", False),
            short_keys=value.get("short_keys", False),
            select=Select(**_as(dict, value["select"]))
            if value.get("select") is not None
            else None,
        )
    except KeyError as error:
        raise PlanError(f"not a plan: {first_line(error)} is missing") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise PlanError(f"not a plan: {first_line(error)}") from None


def _as(kind: type[T], value: Any) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.80} stands where a {kind.__name__} should")
    return value
