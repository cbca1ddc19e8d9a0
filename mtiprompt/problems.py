"""What a model is told of the slots that failed, when it is asked for them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtiprompt.parse import shorten
from mtiprompt.render import Problem
from mtiprompt.result import Failure
from mtiprompt.schema import Slot, field_schema, is_label
from mtiprompt.steps import Place
from mtiprompt.tasks import Field

RAW_SHOWN, MESSAGE_SHOWN = 60, 200
"""Characters of a bad value, and of what was wrong with it, that the model is shown again."""
LABELS_SHOWN = 80
"""Those of one thing that was wrong in a value with a wrong label."""


def problems(
    items: Sequence[int], slots: Sequence[Slot], failures: Mapping[Place, Failure]
) -> list[Problem]:
    """What the model is told of the failures of slots, each thing once."""
    told = [
        _problem(item, slot, failures[item, slot.task.name]) for item in items for slot in slots
    ]
    return list(dict.fromkeys(one for one in told if one))


def _problem(item: int, slot: Slot, failure: Failure) -> Problem | None:
    """What the model is told of a failure; None if it wrote nothing that was wrong."""
    if failure.error is not None or failure.kind == "refused":
        return None
    if failure.of_item:
        return Problem("no answer", item + 1)
    if failure.field is None and failure.kind in {"missing", "cut off", "unreadable"}:
        return Problem(failure.message)
    names = [one.name for one in slot.task.outputs]
    place = names.index(failure.field) if failure.field in names else 0
    raw = failure.raw and shorten(" ".join(failure.raw.split()), RAW_SHOWN)
    message = shorten(failure.message, MESSAGE_SHOWN)
    if failure.kind == "not an allowed label":
        message = _of_labels(failure.message, slot.task.outputs[place])
    return Problem(message, item + 1, slot.keys[place], raw)


def _of_labels(message: str, one: Field) -> str:
    """What is told of a field with a wrong label in it, and of all else that is wrong there.

    The labels stand in the form of the reply already, and there may be many.
    """
    if is_label(field_schema(one)):
        return "no allowed label"
    parts = (shorten(part, LABELS_SHOWN) for part in message.split("; "))
    return shorten("; ".join(parts), MESSAGE_SHOWN)
