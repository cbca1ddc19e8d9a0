"""What DSPy calls the fields of a program: the inputs and all outputs side by side, in one row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mtiprompt.combine import Combined

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
    def inputs(self) -> Mapping[str, Mapping[str, str]]:
        """By task: the name of each input field, which is that of an upstream output for some."""
        return {
            task: {
                taken: wire.name if wire.task is None else self.outputs[wire.task][wire.name]
                for taken, wire in wires.items()
            }
            for task, wires in self.program.wires.items()
        }

    def flat(self, task: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The output fields of a task by their names in DSPy; None for one that is not there."""
        return {name: fields.get(field) for field, name in self.outputs[task].items()}

    def fields(self, task: str, row: Flat) -> dict[str, Any] | None:
        """The output fields of a task in a row; None if the row lacks one."""
        found = {field: row.get(name) for field, name in self.outputs[task].items()}
        return None if None in found.values() else found

    def given(self, row: Flat) -> dict[str, Any]:
        """The inputs of the program in a row."""
        return {name: row[name] for name in self.program.inputs if name in row}

    def taken(self, task: str, row: Flat) -> dict[str, Any]:
        """What a task reads, in a row, by name in DSPy."""
        return {name: row[name] for name in self.inputs[task].values() if name in row}

    def is_whole(self, given: Flat) -> bool:
        """Whether inputs suffice for the program."""
        return all(name in given for name, one in self.program.inputs.items() if one.required)


def predictor_name(task: str) -> str:
    """What DSPy calls the predictor of a task in a module made by `to_dspy`."""
    return f"tasks['{task}']"
