"""DSPy programs, as programs and plans."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import dspy

from mtiprompt.declare import as_task, is_signature
from mtiprompt.demo import Demo
from mtiprompt.dspy_bridge.carried import BroughtProgram
from mtiprompt.dspy_bridge.demos import as_demo, line_up
from mtiprompt.dspy_bridge.module import FusedModule
from mtiprompt.dspy_bridge.names import Names
from mtiprompt.errors import DeclarationError
from mtiprompt.plan import Plan
from mtiprompt.program import Program, combine
from mtiprompt.tasks import Task

REASON = "reasoning"
"""What `dspy.ChainOfThought` calls the output that it puts in front."""


def bring(value: Any, wires: Mapping[str, str] | None) -> Program | Plan:
    """What a DSPy program stands for; see `mti.from_dspy`."""
    if isinstance(value, FusedModule):
        return value.plan
    if is_signature(value):
        return combine(value, wires=wires)
    if not isinstance(value, dspy.Module):
        raise DeclarationError(
            f"{value!r:.80} is no DSPy program", hint="give a dspy.Module, or a signature"
        )
    predictors = _predictors(value)
    tasks = {name: _task(name, one, reasons=reasons) for name, one, reasons in predictors}
    program = combine(*tasks.values(), wires=wires)
    held = {name: _demos(one) for name, one, _ in predictors}
    made = BroughtProgram(program.tasks, program.inputs, program.wires, program.order)
    return replace(made, demos=_lined_up(made, held))


def _predictors(module: Any) -> list[tuple[str, Any, bool]]:
    """Name of the task, predictor, and whether it reasons first."""
    found = module.named_predictors()
    if not found:
        raise DeclarationError(
            f"{type(module).__name__} has no dspy.Predict", hint="give it one for each task"
        )
    thinking = {
        id(one)
        for _, part in module.named_sub_modules(type_=dspy.ChainOfThought)
        for _, one in part.named_predictors()
    }
    names = [_name(path, one) for path, one in found]
    count = Counter(names)
    seen: Counter[str] = Counter()
    listed = []
    for name, (_, one) in zip(names, found, strict=True):
        seen[name] += 1
        own = name if count[name] == 1 else f"{name}_{seen[name]}"
        listed.append((own, one, id(one) in thinking))
    return listed


def _name(path: str, predictor: Any) -> str:
    """The name of a task: `mood`, `mood.predict`, `tasks['mood']` and `self.mood` are `mood`."""
    parts = [part for part in re.split(r"\W+", path) if part]
    if len(parts) > 1 and parts[-1] == "predict":
        parts.pop()
    if parts in (["self"], ["predict"]):
        return as_task(predictor.signature).name
    if "['" in path and parts[0] == "tasks":
        parts.pop(0)
    return re.sub(r"_+", "_", "_".join(parts)).strip("_") or "task"


def _task(name: str, predictor: Any, *, reasons: bool) -> Task[Any]:
    made = as_task(predictor.signature, name=name)
    if not reasons:
        return made
    outputs = tuple(one for one in made.outputs if one.name != REASON)
    return replace(made, outputs=outputs, reasoning=True)


def _demos(predictor: Any) -> Sequence[Mapping[str, Any]]:
    return [dict(demo.items()) for demo in predictor.demos]


def _lined_up(
    program: Program, held: Mapping[str, Sequence[Mapping[str, Any]]]
) -> tuple[Demo, ...]:
    names = Names(program)
    named = {task: [_renamed(names, task, demo) for demo in demos] for task, demos in held.items()}
    return tuple(demo for row in line_up(names, named) if (demo := as_demo(names, row)))


def _renamed(names: Names, task: str, demo: Mapping[str, Any]) -> dict[str, Any]:
    """A demonstration of a predictor, its fields called as in a row."""
    own = {**names.inputs[task], **names.outputs[task]}
    return {own.get(name, name): value for name, value in demo.items()}
