"""DSPy programs, as programs and plans."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import dspy

from mtiprompt.checks import read_names
from mtiprompt.declare import as_task, is_signature
from mtiprompt.demo import Demo
from mtiprompt.dspy_bridge.carried import BroughtProgram
from mtiprompt.dspy_bridge.demos import as_demo, line_up
from mtiprompt.dspy_bridge.module import FusedModule
from mtiprompt.dspy_bridge.names import Names
from mtiprompt.errors import DeclarationError
from mtiprompt.plan import Plan
from mtiprompt.program import Program, combine
from mtiprompt.tasks import Task, is_name

logger = logging.getLogger(__name__)

REASON = "reasoning"
"""What `dspy.ChainOfThought` calls the output that it puts in front."""

TASK = "task"
"""What a task is called, or its name begins with, where the attribute's is not the name of one."""


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
    held = {name: _demos(name, one, reasons=reasons) for name, one, reasons in predictors}
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
    reasons = [id(one) in thinking for _, one in found]
    names = [_name(*one, reasons=own) for one, own in zip(found, reasons, strict=True)]
    predictors = [one for _, one in found]
    return list(zip(_apart(names), predictors, reasons, strict=True))


def _apart(names: Sequence[str]) -> list[str]:
    """Names, those that stand more than once with the first number that makes no other of them."""
    times = Counter(names)
    used = {name for name in names if times[name] == 1}
    apart = []
    for name in names:
        own = name
        if times[name] > 1:
            numbered = (f"{name}_{number}" for number in count(1))
            own = next(one for one in numbered if one not in used)
            used.add(own)
        apart.append(own)
    return apart


def _name(path: str, predictor: Any, *, reasons: bool) -> str:
    """The name of a task: `mood`, `mood.predict`, `tasks['mood']` and `self.mood` are `mood`."""
    parts = [part for part in re.split(r"\W+", path) if part]
    if len(parts) > 1 and parts[-1] == "predict":
        parts.pop()
    if parts in (["self"], ["predict"]):
        signature = predictor.signature
        return as_task(signature.delete(REASON) if reasons else signature).name
    if "['" in path and parts[0] == "tasks":
        parts.pop(0)
    name = re.sub(r"_+", "_", "_".join(parts)).strip("_") or TASK
    return next((one for one in (name, f"{TASK}_{name}") if is_name(one)), TASK)


def _task(name: str, predictor: Any, *, reasons: bool) -> Task[Any]:
    made = as_task(predictor.signature, name=name)
    if not reasons:
        return made
    outputs = tuple(one for one in made.outputs if one.name != REASON)
    return replace(made, outputs=outputs, reasoning=True)


def _demos(name: str, predictor: Any, *, reasons: bool) -> Sequence[Mapping[str, Any]]:
    demos = [dict(demo.items()) for demo in predictor.demos]
    if reasons and any(REASON in demo for demo in demos):
        logger.warning(
            "task %s: what its demonstrations reason is left out; a plan shows answers alone", name
        )
    return demos


def _lined_up(
    program: Program, held: Mapping[str, Sequence[Mapping[str, Any]]]
) -> tuple[Demo, ...]:
    names = Names(program)
    named = {task: [_renamed(names, task, demo) for demo in demos] for task, demos in held.items()}
    return tuple(demo for row in line_up(names, named) if (demo := as_demo(names, row)))


def _renamed(names: Names, task: str, demo: Mapping[str, Any]) -> dict[str, Any]:
    """A demonstration of a predictor, its fields called as in a row."""
    own = {**names.inputs[task], **names.outputs[task]}
    read = read_names(demo, f"a demonstration of task {task}", own)
    return {own.get(name, name): value for name, value in read.items()}
