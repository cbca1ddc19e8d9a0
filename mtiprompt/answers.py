"""Answers kept one by one, so that a task that is added or changed is asked alone.

An answer is kept under the question that would get it if the task were asked for alone: its prompt
has the instruction, the form of the answer, the demonstrations, the item and the answers of other
tasks that it builds on. Nothing else decides what the task is, whatever program it is part of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from mtiprompt.models.base import Reuse
from mtiprompt.parse import restored
from mtiprompt.render import GroupPrompt
from mtiprompt.result import Answer
from mtiprompt.tasks.caps import USUAL, Caps, has_any
from mtiprompt.wire import canonical

FORMAT = "slot1"
"""The version of keys and entries."""


class Kept:
    """The answers that the model of one group has kept.

    Args:
        reuse: Where they are and what they count for.
        identity: The identity of the model.
        alone: Gives the prompt that asks for one task alone.
        company: The tasks of the group, and how many items share its calls.
    """

    def __init__(
        self,
        reuse: Reuse,
        identity: str,
        alone: Callable[[str], GroupPrompt],
        company: tuple[tuple[str, ...], int],
    ) -> None:
        self._store = reuse.store
        self._identity = identity
        self._alone = alone
        self._company = company if reuse.company else None
        self._heads: dict[str, Any] = {}

    def find(
        self, task: str, inputs: Mapping[str, Any], upstream: Mapping[str, Mapping[str, Any]]
    ) -> Answer[Any] | None:
        """The answer of a task about an item, validated anew; None if there is none.

        Args:
            task: The name of the task.
            inputs: The inputs of the item.
            upstream: The answers that the task may build on, by task and field.
        """
        found = self._store.get(self._key(task, inputs, upstream))
        return None if found is None else restored(self._alone(task).slots[0], found)

    def keep(
        self,
        task: str,
        inputs: Mapping[str, Any],
        upstream: Mapping[str, Mapping[str, Any]],
        answer: Answer[Any],
    ) -> None:
        """Keep an answer."""
        value = {
            "fields": dict(answer.fields),
            "notes": list(answer.notes),
            "reasoning": answer.reasoning,
        }
        self._store.set(self._key(task, inputs, upstream), value)

    def _key(
        self, task: str, inputs: Mapping[str, Any], upstream: Mapping[str, Mapping[str, Any]]
    ) -> str:
        prompt = self._alone(task).about([inputs])
        head = None if prompt.chosen is not None else self._heads.get(task)
        if head is None:
            fixed = [FORMAT, self._identity, self._company, task, prompt.plan.layout, prompt.system,
                     prompt.demos, prompt.notation, prompt.plan.think_first,
                     *_wider(prompt)]  # fmt: skip
            head = hashlib.sha256(canonical(fixed).encode())
            if prompt.chosen is None:
                self._heads[task] = head
        digest = head.copy()
        digest.update(prompt.item(inputs, upstream).encode("utf-8", "surrogatepass"))
        return f"slot:{digest.hexdigest()}"


def _wider(prompt: GroupPrompt) -> list[Caps]:
    """The caps that demonstrations widen: an answer that filled a usual one stands for none."""
    [slot], shapes = prompt.slots, prompt.shape.properties
    wider = {key: slot.caps(one) for key, one in zip(slot.keys, slot.task.outputs, strict=True)}
    return [caps for key, caps in wider.items() if caps != USUAL and has_any(shapes[key], caps)]
