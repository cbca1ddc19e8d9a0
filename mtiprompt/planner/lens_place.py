"""Where an answer stands: the call that asks for it, and the reply around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtiprompt.render import GroupPrompt, write_json
from mtiprompt.result import Answer
from mtiprompt.schema import Slot
from mtiprompt.wire import Level, Request

LABELS = 24
"""Labels of a task that are told as rivals of its answer, at most."""


@dataclass(frozen=True)
class Asking:
    """An answer in its place.

    Attributes:
        request: The call.
        key: The key of the reply under which it stands; of several fields the first.
        before: The reply as far as the answer; of a string, with its quotation mark.
        answer: The answer as JSON; the same text wherever it stands.
        after: The rest of the reply. Its first sign counts with the answer: `5` alone would have
            the probability of `55` too.
        rivals: What else may stand there, where that is settled and little.
        others: The other keys of the reply.
    """

    request: Request
    key: str
    before: str
    answer: str
    after: str
    rivals: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def asking(
    prompt: GroupPrompt,
    task: str,
    inputs: Mapping[str, Any],
    answers: Mapping[str, Answer[Any]],
    level: Level,
) -> Asking:
    """The answer of a task in the reply to a call, among the answers of the other tasks.

    Args:
        prompt: The call.
        task: One of its tasks.
        inputs: The inputs of the item, plain JSON data.
        answers: The answers about the item by task.
        level: How the schema is enforced.
    """
    place = next(n for n, slot in enumerate(prompt.slots) if slot.task.name == task)
    slot, notation = prompt.slots[place], prompt.notation
    stood: dict[str, Any] = {}
    for one in prompt.slots[:place]:
        stood |= _filled(one, answers[one.task.name])
    own = _filled(slot, answers[task])
    if slot.reason_key:
        stood[slot.reason_key] = own.pop(slot.reason_key)
    opened = write_json({**stood, slot.keys[0]: None}, notation)
    before = opened[: opened.rindex("null")]

    def text(values: Mapping[str, Any]) -> str:
        whole = write_json({**stood, **values}, notation)
        return whole[len(before) :].removesuffix("}").removesuffix("\n")

    texts = list(dict.fromkeys([text(own), *map(text, _settled(slot))]))
    later = [_filled(one, answers[one.task.name]) for one in prompt.slots[place + 1 :]]
    whole = {key: value for one in (stood, own, *later) for key, value in one.items()}
    after = write_json(whole, notation)[len(before + texts[0]) :]
    if all(one.startswith('"') for one in texts):
        before, texts = before + '"', [one[1:] for one in texts]
    item = prompt.item(inputs, {name: one.fields for name, one in answers.items()})
    request = prompt.request({1: item}, level)
    others = tuple(key for key in whole if key != slot.keys[0])
    return Asking(request, slot.keys[0], before, texts[0], after, tuple(texts[1:]), others)


def _filled(slot: Slot, answer: Answer[Any]) -> dict[str, Any]:
    """The keys of a slot with what was answered."""
    reason = {slot.reason_key: answer.reasoning} if slot.reason_key else {}
    values = [answer.fields[one.name] for one in slot.task.outputs]
    return reason | dict(zip(slot.keys, values, strict=True))


def _settled(slot: Slot) -> list[dict[str, Any]]:
    """All that a task may answer, where that is a choice from few labels."""
    if len(slot.keys) > 1:
        return []
    schema = slot.task.outputs[0].schema
    labels = [True, False] if schema.get("type") == "boolean" else schema.get("enum", [])
    return [{slot.keys[0]: one} for one in labels] if len(labels) <= LABELS else []
