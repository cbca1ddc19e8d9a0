"""The data sets made ready to stand side by side: independent tasks, under names of their own."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mtiprompt.dataset import Dataset, Row
from mtiprompt.errors import DataError
from mtiprompt.selection.choose import folded
from mtiprompt.tasks import Field, Task

Kind = Literal["label", "number", "list", "span", "free text", "object"]
"""The kind of an output, as its JSON schema has it."""
KINDS: tuple[Kind, ...] = ("label", "span", "number", "list", "free text", "object")


@dataclass(frozen=True)
class Source:
    """The independent tasks of a data set, with rows.

    Attributes:
        name: The name of the data set.
        tasks: Its tasks that take no answer of another one. Names of tasks and fields are those of
            the data set where no other has them, else they begin with its name.
        rows: The items; their ids are their numbers, counted from 0.
        ids: What the data set calls them.
        kinds: The kinds of their outputs.
        demos: Rows for demonstrations.
        held_back: Train rows that are none, as a test row has the same inputs of all tasks or of
            one.
    """

    name: str
    tasks: tuple[Task[Any], ...]
    rows: tuple[Row, ...]
    ids: tuple[str, ...]
    kinds: tuple[Kind, ...]
    demos: tuple[Row, ...] = ()
    held_back: int = 0

    def called(self, row: str) -> str:
        """What a row is called where there are several data sets.

        Args:
            row: Its number.
        """
        return f"{self.name}: {self.ids[int(row)]}"


def kind_of(task: Task[Any]) -> Kind:
    """The kind of a task's output.

    A text that is scored by `exact` (or by default) is a span, any other text is free; what has
    several fields is an object.
    """
    if len(task.outputs) > 1:
        return "object"
    schema = task.outputs[0].schema
    if parts := [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]:
        schema = parts[0]
    if "enum" in schema or "const" in schema:
        return "label"
    type_ = schema.get("type")
    if isinstance(type_, list):  # ["string", "null"]
        type_ = next((one for one in type_ if one != "null"), None)
    if type_ == "string":
        return "span" if task.metric in {None, "exact"} else "free text"
    return _KINDS.get(type_, "object")


_KINDS: dict[Any, Kind] = {
    "boolean": "label",
    "integer": "number",
    "number": "number",
    "array": "list",
}


def sources(
    datasets: Sequence[Dataset], *, rows: int, demos: int = 0, seed: int = 0
) -> tuple[Source, ...]:
    """The data sets with their first test rows and demonstrations drawn from their train rows.

    Args:
        datasets: The data sets.
        rows: How many test rows of each, at most.
        demos: How many demonstrations of each.
        seed: Draws the demonstrations.

    Raises:
        DataError: A data set has no test row, none with gold, or too few train rows with gold for
            all independent tasks that are not held back, or names cannot be made unique.
    """
    if twice := [one for one, times in Counter(one.name for one in datasets).items() if times > 1]:
        raise DataError(f"two data sets are called {twice[0]!r}")
    names = _Names(datasets)
    return tuple(_source(one, names, rows, demos, seed) for one in datasets)


def _source(data: Dataset, names: _Names, rows: int, demos: int, seed: int) -> Source:
    free = _independent(data)
    if not data.test:
        raise DataError(f"{data.name} has no test rows")
    tests = [names.row(data, free, str(place), row) for place, row in enumerate(data.test)]
    if not any(row.outputs for row in tests[:rows]):
        raise DataError(
            f"no test row of {data.name} that would be asked has gold",
            hint="give the rows `outputs`",
        )
    labelled = [
        names.row(data, free, row.id, row)
        for row in data.train
        if all(task in row.outputs for task in free)
    ]
    tasks = tuple(names.task(data, one) for one in free)
    unseen = _unseen(tasks, labelled, tests)  # by all tests, so that `rows` changes no prompt
    if demos > len(unseen):
        raise DataError(
            f"{demos} demonstrations are wanted, and {len(unseen)} train rows of {data.name} "
            "have gold for every task and, for each task too, other inputs than a test row",
            hint="ask for fewer",
        )
    return Source(
        name=data.name,
        tasks=tasks,
        rows=tuple(tests[:rows]),
        ids=tuple(row.id for row in data.test[:rows]),
        kinds=tuple(map(kind_of, tasks)),
        demos=tuple(random.Random(seed).sample(unseen, demos)),
        held_back=len(labelled) - len(unseen) if demos else 0,
    )


def _unseen(tasks: Sequence[Task[Any]], labelled: Sequence[Row], tests: Sequence[Row]) -> list[Row]:
    """The labelled rows that show no call the gold of its own inputs.

    A task that is asked alone shows only what it reads. What is the same in every row, such as a
    language, tells none of them apart and holds none back.
    """
    whole = {_read(tasks, row) for row in tests}
    unseen = [row for row in labelled if _read(tasks, row) not in whole]
    for task in tasks:
        tested = {_read([task], row) for row in tests}
        if len(tested | {_read([task], row) for row in labelled}) > 1:
            unseen = [row for row in unseen if _read([task], row) not in tested]
    return unseen


def _read(tasks: Sequence[Task[Any]], row: Row) -> Hashable:
    """What tasks read of a row, the same for texts that differ in blanks, case and encoding only.

    An input that is left out is its default.
    """
    inputs = [one for task in tasks for one in task.inputs]
    return folded({one.name: row.inputs.get(one.name, one.plain_default) for one in inputs})


def _independent(data: Dataset) -> tuple[str, ...]:
    """The names of the tasks that take no answer of another one; there is always one."""
    return tuple(name for name in data.program.order if not data.program.upstream(name))


class _Names:
    """Names of tasks and fields that no two data sets share.

    An input with the name of another set's output would be taken for it; two outputs of one name
    would have other keys in large programs than alone.
    """

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        self._tasks = Counter(name for data in datasets for name in _independent(data))
        self._fields = Counter(name for data in datasets for name in _field_names(data))
        made = Counter(self.field(data, name) for data in datasets for name in _field_names(data))
        made_tasks = Counter(self._name(data, name) for data in datasets
                             for name in _independent(data))  # fmt: skip
        if twice := [one for one, times in (made | made_tasks).items() if times > 1]:
            raise DataError(
                f"two data sets would both have the name {twice[0]!r}",
                hint="rename a field, a task or a data set",
            )

    def field(self, data: Dataset, name: str) -> str:
        return f"{_stem(data.name)}_{name}" if self._fields[name] > 1 else name

    def _name(self, data: Dataset, task: str) -> str:
        return f"{_stem(data.name)}_{task}" if self._tasks[task] > 1 else task

    def task(self, data: Dataset, name: str) -> Task[Any]:
        """A task under its new names; what reads its answer by the old ones cannot be kept."""
        task = data.program.tasks[name]
        taken = data.program.wires[name]
        inputs = tuple(
            replace(one, name=self.field(data, taken[one.name].name)) for one in task.inputs
        )
        outputs = tuple(self._output(data, task, one) for one in task.outputs)
        return replace(task, name=self._name(data, name), inputs=inputs, outputs=outputs)

    def _output(self, data: Dataset, task: Task[Any], one: Field) -> Field:
        new = self.field(data, one.name)
        if new != one.name and (task.model or task.validate or len(task.outputs) > 1):
            raise DataError(
                f"the output {one.name!r} of {task.name!r} has the name of another field",
                hint="rename it: this task reads its answer by that name",
            )
        return replace(one, name=new)

    def row(self, data: Dataset, tasks: Iterable[str], id: str, row: Row) -> Row:
        taken = {wire.name for task in tasks for wire in data.program.wires[task].values()}
        return Row(
            id,
            {self.field(data, name): row.inputs[name] for name in row.inputs if name in taken},
            {self._name(data, task): row.outputs[task] for task in tasks if task in row.outputs},
        )


def _field_names(data: Dataset) -> list[str]:
    """The inputs of the independent tasks, each once, and all their outputs."""
    free = _independent(data)
    inputs = {wire.name: None for task in free for wire in data.program.wires[task].values()}
    outputs = [one.name for task in free for one in data.program.tasks[task].outputs]
    return [*inputs, *outputs]


def _stem(name: str) -> str:
    """The name of a data set as the beginning of a field's name."""
    stem = re.sub(r"[^0-9a-zA-Z]+", "_", name).strip("_")
    return stem if stem[:1].isalpha() else f"set_{stem}".rstrip("_")


def part_of(row: Row, inputs: Mapping[str, Any], tasks: Mapping[str, Any]) -> Row:
    """What a program with these inputs and tasks needs of a row."""
    return Row(
        row.id,
        {name: value for name, value in row.inputs.items() if name in inputs},
        {name: value for name, value in row.outputs.items() if name in tasks},
    )


def side_by_side(rows: Sequence[Sequence[Row]]) -> tuple[Row, ...]:
    """The first rows of each put into one, then the second ones, to the end of the shortest."""
    return tuple(
        Row(
            next(iter(parts)).id,
            {name: value for row in parts for name, value in row.inputs.items()},
            {name: value for row in parts for name, value in row.outputs.items()},
        )
        for parts in zip(*rows, strict=False)
    )
