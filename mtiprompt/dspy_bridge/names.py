"""What DSPy calls the fields of a program: the inputs and all outputs side by side, in one row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mtiprompt.checks import read_names
from mtiprompt.combine import Combined
from mtiprompt.tasks import Field

Flat = Mapping[str, Any]
"""One row as DSPy has it in `dspy.Example` and `dspy.Prediction`: inputs and outputs by name."""


@dataclass(frozen=True, eq=False)
class Names:
    """The names of a program's fields in DSPy.

    An output is called as in a reply: by its field where that is unique in the program, else
    `task__field`; the latter too where an input of the program has the name.

    Attributes:
        program: The program.
    """

    program: Combined

    @cached_property
    def outputs(self) -> Mapping[str, Mapping[str, str]]:
        """By task: the name of each output field."""
        named: dict[str, dict[str, str]] = {name: {} for name in self.program.tasks}
        for (task, field), key in self.program.keys.items():
            named[task][field] = f"{task}__{field}" if key in self.program.inputs else key
        return named

    @cached_property
    def answers(self) -> tuple[str, ...]:
        """The names of all output fields, task by task."""
        return tuple(name for fields in self.outputs.values() for name in fields.values())

    @cached_property
    def inputs(self) -> Mapping[str, Mapping[str, str]]:
        """By task: the name of each input field, which is that of an upstream output for some."""
        return {
            task: {
                taken: wire.name if wire.task is None else self.outputs[wire.task][wire.name]
                for taken, wire in wires.items()
            }
            for task, wires in self.program.wires.items()
        }

    def read(self, row: Flat, where: str) -> dict[str, Any]:
        """A row that a user has written, its inputs and outputs by their names in DSPy.

        Args:
            row: The row; what else is in it stays as it is.
            where: What it is, for what is said.

        Raises:
            DataError: Two of its names are one.
        """
        return read_names(dict(row), where, {*self.program.inputs, *self.answers})

    def flat(self, task: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The output fields of a task by their names in DSPy; None for one that is not there."""
        return {name: fields.get(field) for field, name in self.outputs[task].items()}

    @cached_property
    def nullable(self) -> frozenset[str]:
        """The outputs of which None is a value; of the others it says that there is none."""
        return frozenset(
            self.outputs[name][one.name]
            for name, task in self.program.tasks.items()
            for one in task.outputs
            if _may_be_none(one)
        )

    def has(self, row: Flat, name: str) -> bool:
        """Whether a row has an output."""
        return name in row and (row[name] is not None or name in self.nullable)

    def takes_none(self, task: str) -> bool:
        """Whether None is an answer of a task, and so gold."""
        names = self.outputs[task].values()
        return len(names) == 1 and self.nullable.issuperset(names)

    def fields(self, task: str, row: Flat) -> dict[str, Any] | None:
        """The output fields of a task in a row; None if the row lacks one."""
        outputs = self.outputs[task]
        if not all(self.has(row, name) for name in outputs.values()):
            return None
        return {field: row[name] for field, name in outputs.items()}

    def given(self, row: Flat) -> dict[str, Any]:
        """The inputs of the program in a row."""
        return {name: row[name] for name in self.program.inputs if name in row}

    def taken(self, task: str, row: Flat) -> dict[str, Any]:
        """What a task reads, in a row, by name in DSPy."""
        return {name: row[name] for name in self.inputs[task].values() if name in row}

    def own(self, task: str, row: Flat) -> dict[str, Any]:
        """What a task reads and writes, in a row that has its outputs."""
        return self.taken(task, row) | {name: row[name] for name in self.outputs[task].values()}

    def is_whole(self, given: Flat) -> bool:
        """Whether inputs suffice for the program."""
        return all(name in given for name, one in self.program.inputs.items() if one.required)


def _may_be_none(field: Field) -> bool:
    try:
        field.adapter.validate_json("null", strict=True)
    except Exception:  # noqa: BLE001  the seam to the check of a type's author
        return False
    return True


def predictor_name(task: str) -> str:
    """What DSPy calls the predictor of a task in a module made by `to_dspy`."""
    return f"tasks['{task}']"
