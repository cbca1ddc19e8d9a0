"""How a program is run: a frozen, hashable value, saved as JSON."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from mtiprompt.combine import Combined
from mtiprompt.errors import DataError, PlanError
from mtiprompt.tasks import first_line, read_json
from mtiprompt.wire import NOTATIONS, Notation, canonical

Layout = Literal["item_last", "item_first"]
"""`item_last`: instructions and demonstrations first, the same bytes for every item, so that a
prefix cache holds them. `item_first`: the item first, so that several calls about it share it."""

FORMAT = 1
"""The version of the JSON format of plans."""


@dataclass(frozen=True)
class Demo:
    """A worked example, kept as JSON text so that a plan can be hashed and saved.

    Attributes:
        inputs_json: Canonical JSON of input name to value.
        outputs_json: Canonical JSON of task name to output field name to value.
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
    if isinstance(example, Demo):
        return example
    try:
        if isinstance(example, Mapping):
            inputs, outputs = example["inputs"], example["outputs"]
        else:
            inputs, outputs = example.inputs, example.outputs
    except (KeyError, AttributeError):
        raise PlanError(
            "a demonstration needs inputs and outputs",
            hint='{"inputs": {...}, "outputs": {task: answer}}',
        ) from None
    if missing := [
        name for name, one in program.inputs.items() if one.required and name not in inputs
    ]:
        raise PlanError(f"a demonstration lacks the input {missing[0]!r}")
    if not outputs or (unknown := [name for name in outputs if name not in program.tasks]):
        named = repr(unknown[0]) if outputs else "no task"
        raise PlanError(f"a demonstration has an answer for {named}, which the program lacks")
    try:
        kept = {name: program.tasks[name].read(answer) for name, answer in outputs.items()}
        given = {
            name: one.dump(one.adapter.validate_python(inputs[name]))
            for name, one in program.inputs.items()
            if name in inputs
        }
    except (DataError, ValueError) as error:
        raise PlanError(f"a demonstration does not fit: {first_line(error)}") from None
    return Demo(canonical(given), canonical(kept))


@dataclass(frozen=True)
class Group:
    """The tasks that share one call, in the order of answering.

    Attributes:
        tasks: Their names.
        model: The model that answers them, where it is not the one of the call.
    """

    tasks: tuple[str, ...]
    model: str | None = None


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
    """

    program: str
    call_groups: tuple[Group, ...]
    demos: tuple[Demo, ...] = ()
    items_per_call: int = 1
    layout: Layout = "item_last"
    notation: Notation | None = None
    reasoning: tuple[tuple[str, bool], ...] = field(default=())

    @staticmethod
    def fused(program: Combined, *, order: Sequence[str] | None = None, **options: Any) -> Plan:
        """All tasks in one call.

        Args:
            program: The program.
            order: The order of answering; by default that of the program.
            **options: `demos`, `items_per_call`, `layout`, `notation`, `reasoning` (a mapping).

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
        known = {one.name for one in fields(Plan)} - {"program", "call_groups"}
        if unknown := sorted(set(options) - known):
            raise PlanError(
                f"a plan has no option {unknown[0]!r}", hint=f"known: {', '.join(sorted(known))}"
            )
        options["demos"] = tuple(make_demo(program, demo) for demo in options.get("demos", ()))
        options["reasoning"] = tuple(sorted(dict(options.get("reasoning", ())).items()))
        parts = tuple(one if isinstance(one, Group) else _group(one) for one in groups)
        plan = Plan(program.fingerprint, parts, **options)
        plan.check(program)
        return plan

    def replace(self, program: Combined, **changes: Any) -> Plan:
        """This plan with other options, checked against the program."""
        if "demos" in changes:
            changes["demos"] = tuple(make_demo(program, demo) for demo in changes["demos"])
        if "reasoning" in changes:
            changes["reasoning"] = tuple(sorted(dict(changes["reasoning"]).items()))
        plan = replace(self, **changes)
        plan.check(program)
        return plan

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
        if self.layout not in get_args(Layout):
            raise PlanError(f"there is no layout {self.layout!r}")
        if self.notation is not None and self.notation not in NOTATIONS:
            raise PlanError(f"there is no notation {self.notation!r}", hint=", ".join(NOTATIONS))
        if self.items_per_call < 1:
            raise PlanError(f"items_per_call is {self.items_per_call!r}, expected 1 or more")
        waves(program, self.call_groups)

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
        }
        return json.dumps(value, ensure_ascii=False, indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> Plan:
        """The plan of a JSON text; the reverse of `to_json`.

        Raises:
            PlanError: The text is no plan.
        """
        try:
            return _from_value(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PlanError(f"not a plan: {first_line(error)}") from None

    def save(self, path: str | Path) -> None:
        """Write the plan to a file, whole or not at all.

        Raises:
            DataError: The file cannot be written.
        """
        target = Path(path)
        try:
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=target.parent, prefix=f".{target.name}.", delete=False
            ) as file:
                file.write(self.to_json())
            Path(file.name).replace(target)
        except OSError as error:
            raise DataError(f"cannot write {path}: {error.strerror}") from None

    @staticmethod
    def load(path: str | Path) -> Plan:
        """Read a plan from a file.

        Raises:
            DataError: The file cannot be read, or is no JSON.
            PlanError: It is no plan.
        """
        return Plan.from_json(json.dumps(read_json(path)))


def _group(names: Sequence[str]) -> Group:
    if isinstance(names, str):
        raise PlanError(f"a group is a list of task names, not {names!r}")
    return Group(tuple(names))


def _from_value(value: dict[str, Any]) -> Plan:
    if value["format"] != FORMAT:
        raise PlanError(f"the plan has format {value['format']!r}, expected {FORMAT}")
    if not isinstance(value["items_per_call"], int):
        raise PlanError("the plan's items_per_call is not a whole number")
    return Plan(
        program=value["program"],
        call_groups=tuple(
            Group(tuple(group["tasks"]), group.get("model")) for group in value["groups"]
        ),
        demos=tuple(
            Demo(canonical(demo["inputs"]), canonical(demo["outputs"])) for demo in value["demos"]
        ),
        items_per_call=value["items_per_call"],
        layout=value["layout"],
        notation=value["notation"],
        reasoning=tuple(sorted(value["reasoning"].items())),
    )


def waves(program: Combined, groups: Sequence[Group]) -> list[set[int]]:
    """For every group, the groups (by index) whose answers it needs.

    Raises:
        PlanError: A task stands before one that it depends on, or groups need each other.
    """
    home = {name: index for index, group in enumerate(groups) for name in group.tasks}
    needs: list[set[int]] = []
    for index, group in enumerate(groups):
        mine: set[int] = set()
        for place, name in enumerate(group.tasks):
            for source in program.upstream(name):
                if home[source] != index:
                    mine.add(home[source])
                elif group.tasks.index(source) > place:
                    raise PlanError(
                        f"the plan puts {name!r} before {source!r}, whose answer it takes"
                    )
        needs.append(mine)
    done: set[int] = set()
    while len(done) < len(needs):
        ready = {index for index, mine in enumerate(needs) if index not in done and mine <= done}
        if not ready:
            stuck = next(index for index in range(len(needs)) if index not in done)
            raise PlanError(
                f"the group {', '.join(groups[stuck].tasks)} and others need each other's answers",
                hint="put the tasks between them into one group",
            )
        done |= ready
    return needs
