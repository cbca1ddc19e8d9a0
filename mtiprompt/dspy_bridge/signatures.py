"""Tasks as DSPy's signatures."""

from __future__ import annotations

import warnings
from typing import Any

import dspy

from mtiprompt.dspy_bridge.names import Names
from mtiprompt.errors import DeclarationError
from mtiprompt.tasks import Field, Task


def signature_of(names: Names, task: Task[Any], instruction: str) -> Any:
    """The signature of a task, its fields called as in a row.

    Args:
        names: The names of the program.
        task: The task.
        instruction: What it is told to do; DSPy puts a sentence of its own where this is empty.

    Raises:
        DeclarationError: DSPy does not take the name of a field.
    """
    fields: dict[str, Any] = {}
    for own, make, named in (
        (task.inputs, dspy.InputField, names.inputs[task.name]),
        (task.outputs, dspy.OutputField, names.outputs[task.name]),
    ):
        for one in own:
            fields[named[one.name]] = (one.type, make(**_described(one)))
    try:
        with warnings.catch_warnings():  # a field called `json` or `copy` hides nothing we use
            warnings.filterwarnings("ignore", message="Field name", category=UserWarning)
            return dspy.Signature(fields, instruction)
    except (TypeError, ValueError, NameError) as error:
        raise DeclarationError(
            f"DSPy does not take the fields of task {task.name!r}: {error}",
            hint="rename the field that it names",
        ) from None


def _described(one: Field) -> dict[str, str]:
    return {"desc": one.description} if one.description else {}
