"""How a program is run: a frozen, hashable value, saved as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from mtiprompt.combine import Combined, waves
from mtiprompt.errors import DataError, PlanError
from mtiprompt.tasks import Values, first_line
from mtiprompt.whole_files import read_json, write_text
from mtiprompt.wire import NOTATIONS, Notation

T = TypeVar("T")

Layout = Literal["item_last", "item_first"]
"""`item_last`: instructions and demonstrations first, the same bytes for every item, so that a
prefix cache holds them. `item_first`: the item first, so that several calls about it share it."""

FORMAT = 1
"""The version of the JSON format of plans."""


@dataclass(frozen=True)
class Demo:
    """A worked example, kept as JSON text so that a plan can be hashed and saved.

    Attributes:
        inputs_json: JSON of input name to value, without blanks.
        outputs_json: JSON of task name to output field name to value; the keys are in the order of
            declaration, because the model copies the order that it is shown.
    """

    inputs_json: str
    outputs_json: str

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """Input name to value."""
        value: dict[str, Any] = json.loads(self.inputs_json)
        return value

    @cached_property
    def outputs(self) -> dict[str, dict[str, Any]]:
        """Task name to output field name to value."""
        value: dict[str, dict[str, Any]] = json.loads(self.outputs_json)
        return value


def make_demo(program: Combined, example: Any) -> Demo:
    """A demonstration for a program, its values validated.

    Args:
        program: The program.
        example: A row of a dataset, a mapping with `inputs` and `outputs` (answers by task name;
            a task with one output takes the bare value), or a `Demo`. Answers for some of the
            tasks suffice: the demo is shown in the groups whose tasks it has.

    Raises:
        PlanError: The example does not fit the program.
    """
    try:
        if isinstance(example, Demo):
            inputs, outputs = example.inputs, _opened(program, example.outputs)
        elif isinstance(example, Mapping):
            inputs, outputs = example["inputs"], example["outputs"]
        else:
            inputs, outputs = example.inputs, example.outputs
    except (KeyError, AttributeError):
        raise PlanError(
            "a demonstration needs inputs and outputs",
            hint='{"inputs": {...}, "outputs": {task: answer}}',
        ) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise PlanError(f"a demonstration is no JSON: {first_line(error)}") from None
    if not isinstance(outputs, Mapping):
        raise PlanError(f"the outputs of a demonstration are {outputs!r:.80}, expected a mapping")
    if not outputs or (unknown := [name for name in outputs if name not in program.tasks]):
        named = repr(unknown[0]) if outputs else "no task"
        raise PlanError(f"a demonstration has an answer for {named}, which the program lacks")
    try:
        given = program.read_inputs(inputs)
        kept = {
            name: task.read(outputs[name])
            for name, task in program.tasks.items()
            if name in outputs
        }
    except DataError as error:
        raise PlanError(f"a demonstration does not fit: {error.message}", hint=error.hint) from None
    except (ValueError, TypeError) as error:
        raise PlanError(f"a demonstration does not fit: {first_line(error)}") from None
    return Demo(_compact(given), _compact(kept))


def _opened(program: Combined, outputs: Any) -> Any:
    """The outputs of a `Demo` as those of an example: the answers themselves by task name."""
    if not isinstance(outputs, Mapping):
        return outputs
    answers = dict(outputs)
    for name in answers.keys() & program.tasks.keys():
        task, found = program.tasks[name], answers[name]
        names = [one.name for one in task.outputs]
        if not isinstance(found, dict) or set(found) != set(names):
            raise PlanError(
                f"a demonstration answers the task {name!r} with {found!r:.80}",
                hint=f"its output fields: {', '.join(names)}",
            )
        answers[name] = found[names[0]] if task.bare else Values(found)
    return answers


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


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
        object.__setattr__(self, "tasks", tuple(tasks))
        if not self.tasks:
            raise PlanError("a group of the plan has no task")
        names: tuple[Any, ...] = self.tasks if self.model is None else (*self.tasks, self.model)
        if wrong := [name for name in names if not isinstance(name, str) or not name]:
            raise PlanError(f"a group of the plan has {wrong[0]!r:.80} where a name should be")


@dataclass(frozen=True)
class Plan:
    """How a program is run.

    Attributes:
        program: The fingerprint of the program that it is for.
        call_groups: Which tasks share a call.
        demos: Worked examples, in the order of showing.
        items_per_call: How many items share a call.
        layout: Where the item stands in the prompt.
        notation: How the JSON of a reply is spaced; None: as suits the model.
        reasoning: For single tasks, whether they write a reason first, as (task, bool) pairs.
        think_first: Whether the model first writes freely and then the JSON. No schema holds it
            then, which helps models that answer worse under constraint.
        show_all: Whether every call tells of the tasks of the other groups too, and shows all
            inputs: a control that tells apart what a model gains from knowing of the other tasks
            and what it gains or loses by answering them.
        short_keys: Whether the keys of a reply are letters, which takes fewer tokens; the prompt
            says which letter stands for which output.

    Raises:
        PlanError: A value has the wrong type.
    """

    program: str
    call_groups: tuple[Group, ...]
    demos: tuple[Demo, ...] = ()
    items_per_call: int = 1
    layout: Layout = "item_last"
    notation: Notation | None = None
    reasoning: tuple[tuple[str, bool], ...] = field(default=())
    think_first: bool = False
    show_all: bool = False
    short_keys: bool = False

    def __post_init__(self) -> None:
        """Check the types, so that every plan can be hashed, saved and read."""
        for name, kind in (("call_groups", Group), ("demos", Demo), ("reasoning", tuple)):
            parts = getattr(self, name)
            if not isinstance(parts, Iterable) or not all(isinstance(one, kind) for one in parts):
                raise PlanError(f"{name} is {parts!r:.80}, expected values of {kind.__name__}")
            object.__setattr__(self, name, tuple(parts))
        pairs: tuple[tuple[Any, Any], ...] = self.reasoning
        for name, reasons in pairs:
            if not isinstance(name, str) or not isinstance(reasons, bool):
                raise PlanError(f"reasoning has {name!r:.80}: {reasons!r:.80}, expected a bool")
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

    @staticmethod
    def fused(program: Combined, *, order: Sequence[str] | None = None, **options: Any) -> Plan:
        """All tasks in one call.

        Args:
            program: The program.
            order: The order of answering; by default that of the program.
            **options: `demos`, `items_per_call`, `layout`, `notation`, `reasoning` (a mapping),
                `think_first`, `show_all`.

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

    def reasons(self, program: Combined, task: str) -> bool:
        """Whether a task writes a reason before its answer."""
        return dict(self.reasoning).get(task, program.tasks[task].reasoning)

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
        for name in [*placed, *dict(self.reasoning)]:
            if name not in program.tasks:
                raise PlanError(
                    f"the plan names {name!r}, which the program lacks",
                    hint=f"its tasks: {', '.join(program.tasks)}",
                )
        for name in program.tasks:
            if placed.count(name) != 1:
                what = "drops" if name not in placed else "repeats"
                raise PlanError(f"the plan {what} the task {name!r}")
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
            "items_per_call": self.items_per_call,
            "layout": self.layout,
            "notation": self.notation,
            "reasoning": dict(self.reasoning),
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
        try:
            value = read_json(path)
        except (ValueError, RecursionError) as error:
            raise PlanError(f"{path} is not a plan: {first_line(error)}") from None
        return _from_value(value)


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
    if "reasoning" in options:
        options["reasoning"] = _pairs(options["reasoning"])
    return options


def _pairs(reasoning: Any) -> tuple[tuple[str, bool], ...]:
    try:
        return tuple(sorted(dict(reasoning).items()))
    except (ValueError, TypeError):
        raise PlanError(
            f"reasoning is {reasoning!r:.80}, expected a mapping of task name to bool"
        ) from None


def _from_value(value: Any) -> Plan:
    try:
        if value["format"] != FORMAT:
            raise PlanError(f"the plan has format {value['format']!r:.80}, expected {FORMAT}")
        return Plan(
            program=_as(str, value["program"]),
            call_groups=tuple(
                Group(tuple(_as(list, group["tasks"])), group.get("model"))
                for group in _as(list, value["groups"])
            ),
            demos=tuple(
                Demo(_compact(_as(dict, demo["inputs"])), _compact(_as(dict, demo["outputs"])))
                for demo in _as(list, value["demos"])
            ),
            items_per_call=value["items_per_call"],
            layout=value["layout"],
            notation=value["notation"],
            reasoning=_pairs(_as(dict, value["reasoning"])),
            think_first=value.get("think_first", False),
            show_all=value.get("show_all", False),
            short_keys=value.get("short_keys", False),
        )
    except KeyError as error:
        raise PlanError(f"not a plan: {first_line(error)} is missing") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise PlanError(f"not a plan: {first_line(error)}") from None


def _as(kind: type[T], value: Any) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.80} stands where a {kind.__name__} should")
    return value
