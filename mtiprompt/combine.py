"""Tasks that fit together: names, shared inputs, dependencies, conflicts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, NamedTuple, get_origin

from mtiprompt.errors import CombineError, DataError, PlanError
from mtiprompt.tasks import Field, Task, as_identifier, why, without_words
from mtiprompt.typeflow import bare, flows, show
from mtiprompt.wire import canonical

RESERVED = frozenset({"usage", "calls", "failures", "get", "unwrap"})
"""Names of `Result` itself, which no output field may have."""
CALL_NAMES = frozenset({"model", "plan", "repair", "self"})
"""Names of arguments of a call, which no input of a program may have."""


class Wire(NamedTuple):
    """Where an input of a task comes from.

    Attributes:
        task: The task that puts it out; None for an input of the program.
        name: The output field of that task, or the input of the program.
    """

    task: str | None
    name: str


@dataclass(frozen=True, eq=False)
class Combined:
    """Tasks with what binds them.

    Attributes:
        tasks: The tasks by name, in the order in which they were given.
        inputs: The inputs of the program by name: each shared input once.
        wires: For every task, where each of its inputs comes from.
        order: The names of the tasks, each behind those that it depends on.
    """

    tasks: Mapping[str, Task[Any]]
    inputs: Mapping[str, Field]
    wires: Mapping[str, Mapping[str, Wire]]
    order: tuple[str, ...]

    def upstream(self, task: str) -> frozenset[str]:
        """The names of the tasks whose answers a task takes."""
        return self._upstream[task]

    @cached_property
    def _upstream(self) -> Mapping[str, frozenset[str]]:
        return {
            task: frozenset(wire.task for wire in wires.values() if wire.task is not None)
            for task, wires in self.wires.items()
        }

    def needs(self, task: str, taken: str) -> bool:
        """Whether a task cannot be asked without one of its inputs; one with a default can."""
        return next(one.required for one in self.tasks[task].inputs if one.name == taken)

    @cached_property
    def keys(self) -> Mapping[tuple[str, str], str]:
        """The key of every output in a reply, by task and field name.

        A key is the field name where that is unique in the program, else `task__field`.
        """
        count = Counter(one.name for task in self.tasks.values() for one in task.outputs)
        return {
            (task.name, one.name): one.name if count[one.name] == 1 else f"{task.name}__{one.name}"
            for task in self.tasks.values()
            for one in task.outputs
        }

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        """What stands for an input that was not given, plain JSON data by input name."""
        return {
            wire.name: one.plain_default
            for _, one, wire in _from_outside(self.tasks, self.wires)
            if not self.inputs[wire.name].required and one.plain_default is not None
        }

    def filled(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs of an item with what stands for those that were not given, null for nothing.

        So they are equal where an item left out what another one wrote out.
        """
        left_out = [name for name, one in self.inputs.items() if not one.required]
        return {**{name: self.defaults.get(name) for name in left_out}, **inputs}

    def read_inputs(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs of one item, validated, as plain JSON data.

        Raises:
            DataError: An input is missing, unknown or of the wrong type, or there is no mapping.
        """
        if not isinstance(given, Mapping):
            raise DataError(
                f"{given!r:.80} is no item", hint="an item maps each input name to its value"
            )
        if not given.keys() <= self.inputs.keys():
            named = {as_identifier(name): value for name, value in given.items()}
            given = named if len(named) == len(given) else given
        if unknown := [name for name in given if name not in self.inputs]:
            raise DataError(
                f"there is no input {unknown[0]!r}", hint=f"inputs: {', '.join(self.inputs)}"
            )
        inputs: dict[str, Any] = {}
        for name, one in self.inputs.items():
            if name not in given:
                if one.required:
                    raise DataError(
                        f"the input {name!r} is missing", hint=f"inputs: {', '.join(self.inputs)}"
                    )
                if name in self.defaults:
                    inputs[name] = self.defaults[name]
                continue
            if one.is_as_it_is(value := given[name]):
                inputs[name] = value
                continue
            _ = one.adapter  # a type that cannot be validated is no fault of the item
            try:
                inputs[name] = one.read(value)
            except Exception as error:  # noqa: BLE001  the seam to the check of a type's author
                raise DataError(f"the input {name!r} does not fit: {why(error)}") from None
        return inputs

    @cached_property
    def fingerprint(self) -> str:
        """What a plan must agree with: names, types and wires, but not the wording."""
        shape = [
            [
                task.name,
                [[one.name, without_words(one.full_schema)] for one in task.outputs],
                sorted((name, *wire) for name, wire in self.wires[task.name].items()),
            ]
            for task in self.tasks.values()
        ]
        return hashlib.sha256(canonical(shape).encode()).hexdigest()[:16]


def link(tasks: Sequence[Task[Any]], wires: Mapping[str, str] | None = None) -> Combined:
    """Find what the tasks share and how they depend on each other.

    An input that another task puts out comes from that task; every other input is one of the
    program, shared by all tasks that name it.

    Args:
        tasks: The tasks.
        wires: Exceptions: `"task.input"` to `"task.output"` or to the name of a program input.

    Raises:
        CombineError: Two tasks have one name, inputs or their defaults differ, a dependency is
            ambiguous or circular, a wire leads nowhere, or a name is taken by calls or results.
            The message names the tasks.
    """
    if not tasks:
        raise CombineError(
            "no task to combine", hint='give one: mti.combine("message -> urgent: bool")'
        )
    by_name = _by_name(tasks)
    explicit = _read_wires(by_name, wires or {})
    placed: dict[str, dict[str, Wire]] = {
        task.name: {
            one.name: explicit.get((task.name, one.name)) or _find(by_name, task, one)
            for one in task.inputs
        }
        for task in tasks
    }
    shared = _shared(by_name, placed)
    _agree(by_name, placed, shared)
    return Combined(by_name, shared, placed, _sorted(placed))


def _by_name(tasks: Sequence[Task[Any]]) -> dict[str, Task[Any]]:
    by_name: dict[str, Task[Any]] = {}
    for task in tasks:
        if task.name in by_name:
            raise CombineError(
                f"two tasks are named {task.name!r}", hint='rename one: mti.task(x, name="...")'
            )
        for one in task.outputs:
            if one.name in RESERVED:
                raise CombineError(
                    f"task {task.name!r} has an output named {one.name!r}, which results use",
                    hint="rename the field",
                )
        by_name[task.name] = task
    return by_name


def _read_wires(
    tasks: Mapping[str, Task[Any]], wires: Mapping[Any, Any]
) -> dict[tuple[str, str], Wire]:
    read: dict[tuple[str, str], Wire] = {}
    for left, right in wires.items():
        if not isinstance(left, str) or not isinstance(right, str):
            raise CombineError(
                f"wire {left!r:.80} -> {right!r:.80}: a wire leads from name to name",
                hint='write {"task.input": "task.output"}',
            )
        left, right = as_identifier(left), as_identifier(right)
        task, _, taken = left.partition(".")
        if task not in tasks or taken not in {one.name for one in tasks[task].inputs}:
            raise CombineError(
                f"wire {left!r} -> {right!r}: there is no input {left!r}",
                hint='write {"task.input": "task.output"}',
            )
        source, dot, output = right.partition(".")
        if not dot:
            read[task, taken] = Wire(None, source)
            continue
        outputs = {one.name: one for one in tasks[source].outputs} if source in tasks else {}
        if output not in outputs:
            raise CombineError(
                f"wire {left!r} -> {right!r}: there is no output {right!r}",
                hint=f"{source!r} puts out: {', '.join(outputs)}"
                if outputs
                else f"tasks: {', '.join(tasks)}",
            )
        target = next(one for one in tasks[task].inputs if one.name == taken)
        _fit(tasks[source], outputs[output], tasks[task], target)
        read[task, taken] = Wire(source, output)
    return read


def _find(tasks: Mapping[str, Task[Any]], task: Task[Any], taken: Field) -> Wire:
    sources = [
        (other, one)
        for other in tasks.values()
        if other is not task
        for one in other.outputs
        if one.name == taken.name
    ]
    if not sources:
        return Wire(None, taken.name)
    if len(sources) > 1:
        names = " and ".join(repr(other.name) for other, _ in sources)
        raise CombineError(
            f"task {task.name!r} takes {taken.name!r}, which tasks {names} put out",
            hint=f'say which: wires={{"{task.name}.{taken.name}": '
            f'"{sources[0][0].name}.{taken.name}"}}',
        )
    other, output = sources[0]
    _fit(other, output, task, taken)
    return Wire(other.name, output.name)


def _fit(source: Task[Any], output: Field, task: Task[Any], taken: Field) -> None:
    if not flows(output.type, taken.type):
        raise CombineError(
            f"task {task.name!r} takes {taken.name!r} as {show(taken.type)}, "
            f"but task {source.name!r} puts out {show(output.type)}",
            hint=f"give both one type, or take another input: {_apart(task.name, taken.name)}",
        )


def _apart(task: str, taken: str) -> str:
    """The wire that makes an input of a task one that the program takes for it alone."""
    return f'wires={{"{task}.{taken}": "{task}_{taken}"}}'


def _from_outside(
    tasks: Mapping[str, Task[Any]], placed: Mapping[str, Mapping[str, Wire]]
) -> Iterator[tuple[Task[Any], Field, Wire]]:
    """The inputs of the tasks that come from outside the program, task by task."""
    for task in tasks.values():
        for one in task.inputs:
            wire = placed[task.name][one.name]
            if wire.task is None:
                yield task, one, wire


def _shared(
    tasks: Mapping[str, Task[Any]], placed: Mapping[str, Mapping[str, Wire]]
) -> dict[str, Field]:
    inputs: dict[str, Field] = {}
    owner: dict[str, str] = {}
    for task, one, wire in _from_outside(tasks, placed):
        if wire.name in CALL_NAMES:
            raise CombineError(
                f"task {task.name!r} takes the input {wire.name!r}, which is an argument of "
                "every call",
                hint=f"rename the input, or wire it to another name: {_apart(task.name, one.name)}",
            )
        known = inputs.get(wire.name)
        if known is None:
            inputs[wire.name], owner[wire.name] = replace(one, name=wire.name), task.name
        elif bare(known.type) != bare(one.type):
            raise CombineError(
                f"tasks {owner[wire.name]!r} and {task.name!r} share the input {wire.name!r} "
                f"as {show(known.type)} and as {show(one.type)}",
                hint="give it one type, or two names",
            )
        else:
            inputs[wire.name] = _merged(known, one)
    return inputs


def _merged(first: Field, second: Field) -> Field:
    """One shared input: the constraints of both, required if either requires it."""
    kind = first.type
    if get_origin(second.type) is Annotated and second.type is not first.type:
        kind = Annotated[(kind, *second.type.__metadata__)]
    return replace(
        first,
        type=kind,
        description=first.description or second.description,
        required=first.required or second.required,
    )


def _agree(
    tasks: Mapping[str, Task[Any]],
    placed: Mapping[str, Mapping[str, Wire]],
    inputs: Mapping[str, Field],
) -> None:
    """Refuse an input that may be left out and then is something else for another task."""
    first: dict[str, tuple[str, Any]] = {}
    for task, one, wire in _from_outside(tasks, placed):
        if inputs[wire.name].required:
            continue
        other, default = first.setdefault(wire.name, (task.name, one.plain_default))
        if default != one.plain_default and repr(default) != repr(one.plain_default):  # a NaN
            raise CombineError(
                f"tasks {other!r} and {task.name!r} share the input {wire.name!r} with the "
                f"defaults {default!r:.80} and {one.plain_default!r:.80}",
                hint=f"give it one default, or two names: {_apart(task.name, one.name)}",
            )


def _sorted(placed: Mapping[str, Mapping[str, Wire]]) -> tuple[str, ...]:
    needs = {
        name: {wire.task for wire in wires.values() if wire.task is not None}
        for name, wires in placed.items()
    }
    order: list[str] = []
    while len(order) < len(needs):
        ready = [name for name in needs if name not in order and needs[name] <= set(order)]
        if not ready:
            source, task, *_ = circle = _cycle(needs, order)
            taken = next(name for name, wire in placed[task].items() if wire.task == source)
            raise CombineError(
                f"the tasks depend on each other in a circle: {' -> '.join(circle)}",
                hint=f"in a task file take {source!r} from the `depends_on` of {task!r}, else give "
                f"one of them an input of its own: {_apart(task, taken)}",
            )
        order.append(ready[0])
    return tuple(order)


def _cycle(needs: Mapping[str, set[str]], done: Sequence[str]) -> list[str]:
    """Tasks of which each takes an answer of the one before it, the first once more at the end."""
    path = [next(name for name in needs if name not in done)]
    while True:
        nearest = sorted(needs[path[-1]] - set(done))[0]
        if nearest in path:
            return [nearest, *reversed(path[path.index(nearest) :])]
        path.append(nearest)


def waves(program: Combined, groups: Sequence[Sequence[str]]) -> list[set[int]]:
    """For every group, the groups (by index) whose answers it needs.

    Raises:
        PlanError: A task stands before one that it depends on, or groups need each other.
    """
    home = {name: index for index, group in enumerate(groups) for name in group}
    needs: list[set[int]] = []
    for index, group in enumerate(groups):
        mine: set[int] = set()
        for place, name in enumerate(group):
            for source in program.upstream(name):
                if home[source] != index:
                    mine.add(home[source])
                elif group.index(source) > place:
                    raise PlanError(
                        f"the plan puts {name!r} before {source!r}, whose answer it takes",
                        hint=f"put {source!r} before {name!r}",
                    )
        needs.append(mine)
    done: set[int] = set()
    while len(done) < len(needs):
        ready = {index for index, mine in enumerate(needs) if index not in done and mine <= done}
        if not ready:
            stuck = next(index for index in range(len(needs)) if index not in done)
            raise PlanError(
                f"the group {', '.join(groups[stuck])} and others need each other's answers",
                hint="put the tasks between them into one group",
            )
        done |= ready
    return needs
