"""Shorter instructions by rule, for a search to try: what is told elsewhere may go."""

from __future__ import annotations

import re
from typing import Any

from mtiprompt.checks import check_plan, check_program
from mtiprompt.combine import Combined
from mtiprompt.plan import Plan
from mtiprompt.tasks import Task

_END = re.compile(r"(?<!\b\w\.\w)[.!?][\"')\]]*(?=\s+[^\s\da-z(])|[\u3002\uff01\uff1f]|\n\s*\n")
"""Where a sentence ends: not behind `e.g.`, nor where a small letter, a number or a bracket goes
on. Chinese and Japanese have marks of their own, with no blank behind them."""


def compressed(program: Combined, plan: Plan | None = None) -> dict[str, tuple[str, ...]]:
    """Shorter instructions for the tasks that have some, as `variants` of `mti.optimize`.

    Two rules: the first sentence alone; and nothing at all, where every output has labels or a
    description, which the form of the reply tells in any case. Whether answers stay as good is not
    known here: the search measures it, and a shorter wording is in its plan only if it does well.

    Example:
        >>> import mtiprompt as mti
        >>> from mtiprompt.optimizer.wordings import compressed
        >>> feel = mti.task("text -> mood: Literal['good', 'bad']",
        ...                 instruction="Judge the mood. Irony is bad.", name="feel")
        >>> compressed(mti.combine(feel, "text -> product"))
        {'feel': ('Judge the mood.', '')}

    Args:
        program: The program.
        plan: The plan to improve on, whose instructions count; by default those of the tasks.

    Returns:
        By task, the shorter texts, the longest first; a task without any is not there.

    Raises:
        DataError: The program is none.
        PlanError: The plan is none.
    """
    check_program(program)
    if plan is not None:
        check_plan(plan)
    found = {}
    for name, task in program.tasks.items():
        whole = task.instruction if plan is None else plan.instruction(program, name)
        texts = [first_sentence(whole), *([""] if _tells_itself(task) else [])]
        if shorter := tuple(dict.fromkeys(one for one in texts if len(one) < len(whole.strip()))):
            found[name] = shorter
    return found


def first_sentence(text: str) -> str:
    """The first sentence of a text, without blanks around it.

    Args:
        text: The text.
    """
    text = text.strip()
    end = _END.search(text)
    return text if end is None else text[: end.end()].strip()


def _tells_itself(task: Task[Any]) -> bool:
    """Whether the form of the reply says of every output what it is, and not its type alone."""
    return all(one.description.strip() or _has_labels(one.schema) for one in task.outputs)


def _has_labels(schema: dict[str, Any]) -> bool:
    if schema.get("type") == "array":
        return _has_labels(schema.get("items", {}))
    return "enum" in schema or "const" in schema
