"""Reply to slots: every task is validated on its own, and one bad answer never costs the others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from mtiprompt.coerce import coerce
from mtiprompt.moments import NO_DATE, is_misread_moment, is_number
from mtiprompt.reading import Reading, Readings, read_items, read_object
from mtiprompt.result import Answer, Failure, FailureKind
from mtiprompt.schema import Slot
from mtiprompt.tasks import Field, first_line, why
from mtiprompt.wire import Reply

RAW_CAP = 200
"""Characters of the raw text that a failure keeps."""


def parse(
    reply: Reply, slots: Sequence[Slot], *, think_first: bool = False
) -> dict[str, Answer[Any] | Failure]:
    """Every slot of a reply about one item, by task name: an answer or a failure, never nothing.

    Args:
        reply: What came back.
        slots: The slots that were asked for.
        think_first: Whether the model was asked to write freely before the JSON.
    """
    if reply.finish_reason == "refused":
        return _each(slots, Failure("refused", "the model refused to answer", _short(reply.text)))
    reading = read_object(reply.text, _keys(slots), cut=reply.finish_reason == "length")
    if not reading.values:
        return _each(slots, _nothing(reply, reading.cut))
    if think_first and not reading.cut:
        reading = replace(reading, note=None)
    return {slot.task.name: _slot(slot, reading) for slot in slots}


def parse_items(
    reply: Reply, slots: Sequence[Slot], numbers: Sequence[int], *, think_first: bool = False
) -> dict[int, dict[str, Answer[Any] | Failure]]:
    """Every slot of a reply about several items, by number and task name.

    An answer belongs to the item whose number it stands under, never to one by its place.

    Args:
        reply: What came back.
        slots: The slots that were asked for of each item.
        numbers: The numbers of the items.
        think_first: Whether the model was asked to write freely before the JSON.
    """
    if reply.finish_reason == "refused":
        refused = Failure("refused", "the model refused to answer", _short(reply.text))
        return {number: _each(slots, refused) for number in numbers}
    cut = reply.finish_reason == "length"
    found = read_items(reply.text, numbers, _keys(slots), cut=cut)
    if found.unasked:
        failure = Failure(
            "unreadable",
            f"the reply has an item {found.unasked[0]}, which was not asked for, so that its "
            "numbers cannot be trusted",
        )
        return {number: _each(slots, failure) for number in numbers}
    note = None if think_first and not found.cut else found.note
    return {
        number: _item(reply, slots, found, number, [note] if note else []) for number in numbers
    }


def _item(
    reply: Reply, slots: Sequence[Slot], found: Readings, number: int, notes: list[str]
) -> dict[str, Answer[Any] | Failure]:
    reading = found.items.get(number)
    if reading is None:
        if not found.items:
            return _each(slots, _nothing(reply, found.cut))
        if found.cut:
            return _of_item(slots, "cut off", f"the reply ended before item {number}")
        return _of_item(slots, "missing", f"the reply has no item {number}")
    if not reading.values and not reading.repeated:
        kind: FailureKind = "cut off" if reading.cut else "unreadable"
        return _of_item(slots, kind, f"item {number} has no object of answers")
    return {slot.task.name: _slot(slot, reading, notes) for slot in slots}


def closed(text: str, slots: Sequence[Slot]) -> dict[str, Answer[Any]]:
    """The answers in the beginning of a reply about one item whose values have closed.

    Args:
        text: The reply as far as it has come.
        slots: The slots that were asked for.
    """
    reading = read_object(text, _keys(slots), cut=True)
    return _answered({slot.task.name: slot for slot in slots}, reading)


def closed_items(
    text: str, slots: Sequence[Slot], numbers: Sequence[int]
) -> dict[int, dict[str, Answer[Any]]]:
    """As `closed`, for a reply about several items, by number and task name."""
    found = read_items(text, numbers, _keys(slots), cut=True)
    if found.unasked:
        return {}
    named = {slot.task.name: slot for slot in slots}
    return {number: _answered(named, reading) for number, reading in found.items.items()}


def restored(slot: Slot, kept: Mapping[str, Any]) -> Answer[Any] | None:
    """An answer that was kept as plain JSON data, validated anew; None if it is no longer that.

    Args:
        slot: The slot that it is for.
        kept: Its `fields`, `notes` and `reasoning`.
    """
    try:
        fields, notes, reasoning = kept["fields"], tuple(kept["notes"]), kept["reasoning"]
        values = dict(zip(slot.keys, (fields[one.name] for one in slot.task.outputs), strict=True))
    except (KeyError, TypeError, AttributeError):  # whoever stored it, it is no answer
        return None
    if not (all(isinstance(one, str) for one in notes) and isinstance(reasoning, str | None)):
        return None
    found = _slot(slot, Reading(values))
    if not isinstance(found, Answer) or not slot.task.is_same(fields, found.fields):
        return None
    return replace(found, notes=notes, reasoning=reasoning)


def _answered(slots: Mapping[str, Slot], reading: Reading) -> dict[str, Answer[Any]]:
    # the notes are those of the whole reply: one that is not there yet is not cut off
    reading = replace(reading, note=None)
    answers = {}
    for name, slot in slots.items():
        if all(key in reading.values and key != reading.last for key in slot.keys):
            read = _slot(slot, reading)
            if isinstance(read, Answer):
                answers[name] = read
    return answers


def _keys(slots: Sequence[Slot]) -> list[str]:
    return [key for slot in slots for key in slot.all_keys]


def _each(slots: Sequence[Slot], failure: Failure) -> dict[str, Answer[Any] | Failure]:
    return {slot.task.name: failure for slot in slots}


def _of_item(
    slots: Sequence[Slot], kind: FailureKind, message: str
) -> dict[str, Answer[Any] | Failure]:
    return _each(slots, Failure(kind, message, of_item=True))


def _nothing(reply: Reply, cut: bool) -> Failure:
    if not reply.text.strip():
        return Failure("missing", "the reply is empty")
    if cut:
        return Failure("cut off", "the reply ended before any answer", _short(reply.text))
    if reply.text.strip().startswith("{"):
        return Failure("missing", "the reply has none of the keys", _short(reply.text))
    return Failure("unreadable", "the reply holds no JSON object", _short(reply.text))


def _slot(slot: Slot, reading: Reading, notes: Sequence[str] = ()) -> Answer[Any] | Failure:
    values: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    notes = [*notes, *([reading.note] if reading.note else [])]
    for key, one in zip(slot.keys, slot.task.outputs, strict=True):
        if key in reading.repeated:
            what = f"{key!r} was answered more than once, differently"
            return Failure("duplicate", what, _short(reading.values.get(key)), field=one.name)
        if key not in reading.values:
            if reading.cut:
                return Failure("cut off", f"the reply ended before {key!r} did", field=one.name)
            return Failure("missing", f"the reply has no {key!r}", field=one.name)
        raw = reading.values[key]
        if one.is_as_it_is(raw):
            values[one.name] = fields[one.name] = raw
            continue
        read = _value(one, raw, notes)
        if isinstance(read, Failure):
            return replace(read, field=one.name)
        values[one.name], fields[one.name] = read
    return _answer(slot, values, fields, reading, notes)


def _value(one: Field, raw: Any, notes: list[str]) -> tuple[Any, Any] | Failure:
    """The validated value of a field, and the same as plain JSON data."""
    try:
        text = to_json(raw)
    except ValueError:
        return Failure("wrong type", "the value is nested too deep", _short(raw))
    if not _is_finite(text):
        return Failure("wrong type", _NOT_FINITE, _short(raw))
    try:
        value = one.adapter.validate_json(text, strict=True)
    except Exception as error:  # noqa: BLE001  the seam to the check of a type's author
        read = coerce(raw, one.schema)
        if json.dumps(read) == json.dumps(raw):
            return _refused(error, raw)
        try:
            value = one.adapter.validate_json(to_json(read), strict=True)
        except Exception:  # noqa: BLE001  as above
            return _refused(error, raw)
        said, taken = (json.dumps(one, ensure_ascii=False) for one in (raw, read))
        notes.append(f"{said} read as {taken}")
        raw = read
    try:
        dumped = one.dump(value)
        if dumped != raw and (wrong := _wrongly_made(one, raw, dumped)):
            return Failure("wrong type", wrong, _short(raw))
    except Exception as error:  # noqa: BLE001  as above
        what = f"what the type's own check makes is no JSON: {first_line(error)}"
        return Failure("constraint broken", what, _short(raw))
    if isinstance(raw, list) and isinstance(value, list) and len(value) < len(raw):
        notes.append("repeated items dropped")
    return value, dumped


_NOT_FINITE = "a number is not finite"


def _wrongly_made(one: Field, read: Any, made: Any) -> str:
    """What is wrong with what a validator made of a value that it took; empty if nothing is."""
    if not _is_finite(to_json(made)):
        return _NOT_FINITE
    return NO_DATE if is_misread_moment(read, made, one.schema) else ""


def _is_finite(text: bytes) -> bool:
    """Whether JSON text has no number that is none: an infinity, or what is not a number."""
    if b"Infinity" not in text and b"NaN" not in text:
        return True
    found: list[str] = []
    json.loads(text, parse_constant=found.append)
    return not found


def _answer(
    slot: Slot,
    values: dict[str, Any],
    fields: dict[str, Any],
    reading: Reading,
    notes: list[str],
) -> Answer[Any] | Failure:
    task = slot.task
    try:
        answer = task.assemble(values)
        if task.model is not None:  # whose validators have run by now
            made = task.dump(answer)
            if made != fields and not _is_finite(to_json(made)):
                return Failure("constraint broken", _NOT_FINITE, _short(fields))
            fields = made
        refused = task.validate is not None and task.validate(answer) is False
    except (ValueError, AssertionError) as error:
        return Failure("constraint broken", first_line(error), _short(fields))
    except Exception as error:  # noqa: BLE001  the seam to the check of a task's author
        what = f"the task's own check raised {type(error).__name__}: {first_line(error)}"
        return Failure("constraint broken", what, _short(fields))
    if refused:
        return Failure("constraint broken", "the task's own check refused it", _short(fields))
    reason = reading.values.get(slot.reason_key) if slot.reason_key else None
    return Answer(answer, fields, tuple(notes), reason if isinstance(reason, str) else None)


_WRONG_TYPE = ("_type", "_parsing", "missing", "extra_forbidden")


def _refused(error: Exception, raw: Any) -> Failure:
    kind: FailureKind = "wrong type"
    if isinstance(error, ValidationError):
        problems = error.errors(include_url=False)
        types = [problem["type"] for problem in problems]
        if any(one["type"].startswith("date") and is_number(one["input"]) for one in problems):
            return Failure(kind, NO_DATE, _short(raw))
        if any(one in {"literal_error", "enum"} for one in types):
            kind = "not an allowed label"
        elif not all(one.endswith(_WRONG_TYPE) for one in types):
            kind = "constraint broken"
    elif not isinstance(error, ValueError | TypeError):  # pydantic: a limit on a union
        kind = "constraint broken"
    return Failure(kind, why(error), _short(raw))


def _short(raw: Any) -> str:
    text = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False)
    return shorten(text, RAW_CAP)


def shorten(text: str, cap: int) -> str:
    """A text, its end left out where it has more characters than `cap`."""
    return text if len(text) <= cap else text[: cap - 1] + "…"
