"""Our format: each task of the benchmark as a program, its steps as tasks with typed answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

import pydantic

from mtiprompt.evaluation import Outcome
from mtiprompt.evaluation.outcome import outcome
from mtiprompt.experiments.mti_bench.bench import Instance, step_and_place
from mtiprompt.experiments.mti_bench.values import Kind, read
from mtiprompt.models.base import LanguageModel
from mtiprompt.plan import Plan
from mtiprompt.program import Program, combine
from mtiprompt.tasks import Field, Task

Letter = Literal["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"]
Small = Literal["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]

_TYPES: dict[Kind, tuple[Any, str]] = {
    "option": (int, "the number of the option"),
    "letter": (Letter, "the letter of the option"),
    "order": (Annotated[list[int], pydantic.Field(max_length=10)], "the numbers in order"),
    "set": (Annotated[list[int], pydantic.Field(max_length=20)], "the numbers that fit"),
    "number": (float, "the number"),
    "fraction": (Annotated[str, pydantic.Field(max_length=12)], "as n/N"),
    "words": (Annotated[str, pydantic.Field(max_length=200)], "in a few words"),
}
_LETTERS = (Annotated[list[Small], pydantic.Field(max_length=10)], "the letters in order")
_TAGGED = re.compile(r"\s*Return the answer in <task\d>.*?<task\d/>\s*format\.?", re.DOTALL)


class Ours:
    """The programs of a benchmark's tasks, and how an arm runs them.

    A text that is the same in all instances of a task is the instruction of its step. One that
    differs is an input, which later steps see too, as the paper's do. A `query` that never differs
    is left out: it tells to follow the steps below, and there may be one.
    """

    def __init__(self, instances: Sequence[Instance]) -> None:
        self._tasks: dict[str, _Shape] = {}
        for task in dict.fromkeys(one.task for one in instances):
            self._tasks[task] = _Shape([one for one in instances if one.task == task])

    def program(self, task: str) -> Program:
        """The program of a task."""
        return self._tasks[task].program

    def answer(
        self, model: LanguageModel, arm: str, block: Sequence[Instance]
    ) -> Iterator[Outcome]:
        """What became of some instances of one task in an arm, as `paper.answer`."""
        shape = self._tasks[block[0].task]
        rows = [shape.inputs(one) for one in block]
        results = shape.program.map(rows, model=model, plan=shape.plans[arm], concurrency=1)
        for one, result in zip(block, results, strict=False):  # a spent budget ends them early
            yield outcome(one.id, result)


class _Shape:
    """What the instances of one task have in common."""

    def __init__(self, instances: Sequence[Instance]) -> None:
        self._instances = instances
        first = instances[0]
        self._varied = {
            step
            for step in first.steps
            if len({one.instructions[step - 1] for one in instances}) > 1
        }
        self._asks_otherwise = len({one.query for one in instances}) > 1
        keys = dict.fromkeys(key for one in instances for key in one.contexts)
        self._keys = {
            key: all(key in one.contexts for one in instances)
            for key in sorted(keys, key=step_and_place)
        }

    @cached_property
    def program(self) -> Program:
        """One task for each step; a step takes the answers of all before it."""
        outputs = [self._output(step) for step in self._instances[0].steps]
        tasks = [
            Task[Any](
                f"step{step}",
                self._instruction(step),
                (*self._inputs_of(step), *outputs[: step - 1]),
                (outputs[step - 1],),
                bare=True,
            )
            for step in self._instances[0].steps
        ]
        return combine(*tasks)

    @cached_property
    def plans(self) -> dict[str, Plan]:
        """The plan of each arm."""
        return {
            "single": Plan.split(self.program),
            "batch": Plan.split(self.program, items_per_call=2),
            "multi": Plan.fused(self.program),
            "all_context": Plan.split(self.program, show_all=True),
        }

    def inputs(self, instance: Instance) -> dict[str, str]:
        """The inputs of an instance."""
        found = {f"instruction_{n}": bare(instance.instructions[n - 1]) for n in self._varied}
        found |= {f"context_{key}": text for key, text in instance.contexts.items()}
        return found | ({"query": instance.query} if self._asks_otherwise else {})

    def _instruction(self, step: int) -> str:
        if step in self._varied:
            return f"Do what instruction_{step} says."
        return bare(self._instances[0].instructions[step - 1])

    def _inputs_of(self, step: int) -> list[Field]:
        """What a step sees: its own texts and those of the steps before it."""
        query = [Field("query", str, "the question")] if self._asks_otherwise else []
        asked = [
            Field(f"instruction_{n}", str, f"what step {n} is")
            for n in sorted(self._varied)
            if n <= step
        ]
        texts = [
            Field(f"context_{key}", str, f"a text for step {key[0]}", required=always)
            for key, always in self._keys.items()
            if int(key[0]) <= step
        ]
        return [*query, *asked, *texts]

    def _output(self, step: int) -> Field:
        kind = self._instances[0].kind(step)
        golds = [one.answers[step - 1] for one in self._instances]
        if any(read(kind, gold) is None for gold in golds):
            kind = "words"
        type_, description = _TYPES[kind]
        if kind == "order" and not all(
            one.isdecimal() for gold in golds for one in read(kind, gold)
        ):
            type_, description = _LETTERS
        return Field(f"step{step}", type_, description)


def bare(instruction: str) -> str:
    """An instruction without its sentence about tags."""
    return _TAGGED.sub("", instruction).strip()
