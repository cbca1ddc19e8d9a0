"""Worked examples that a prompt shows: checked values, kept as JSON text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mtiprompt.combine import Combined
from mtiprompt.errors import DataError, PlanError
from mtiprompt.tasks import Values, as_identifier, first_line


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

    @staticmethod
    def of(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Demo:
        """The demonstration with these values, plain JSON data that nothing checks.

        Args:
            inputs: Input name to value.
            outputs: Task name to output field name to value.
        """
        return Demo(_compact(inputs), _compact(outputs))

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
    outputs = {as_identifier(name): answer for name, answer in outputs.items()}
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
    return Demo.of(given, kept)


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
