"""Reply to slots: every task is validated on its own, and one bad answer never costs the others."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from mtiprompt.coerce import coerce
from mtiprompt.moments import NO_DATE, is_misread_moment, is_number
from mtiprompt.reading import SCAN_CAP, Reading, Readings, read_items, read_object, with_digits
from mtiprompt.result import Answer, Failure, FailureKind
from mtiprompt.schema import Slot
from mtiprompt.tasks import Field, first_line, why
from mtiprompt.tasks.caps import cut_notes
from mtiprompt.wire import Reply

RAW_CAP = 200
"""Characters of the raw text that a failure keeps."""
UNHELD: Mapping[str, Any] = MappingProxyType({})
"""Of a reply that no schema held."""


def parse(
    reply: Reply,
    slots: Sequence[Slot],
    *,
    others: Collection[str] = (),
    think_first: bool = False,
    held: Mapping[str, Any] = UNHELD,
) -> dict[str, Answer[Any] | Failure]:
    """Every slot of a reply about one item, by task name: an answer or a failure, never nothing.

    Args:
        reply: What came back.
        slots: The slots that were asked for.
        others: The keys of the program's other slots; nothing under them answers these.
        think_first: Whether the model was asked to write freely before the JSON.
        held: By key the schema that the provider held the reply to: what fills a cap of it has a
            note, as more may have been to say.
    """
    if reply.finish_reason == "refused":
        return _each(slots, Failure("refused", "the model refused to answer", _short(reply.text)))
    cut = reply.finish_reason == "length"
    reading = read_object(reply.text, _keys(slots), others=others, cut=cut)
    if not reading.values:
        return _each(slots, _nothing(reply, reading.cut))
    if think_first and not reading.cut:
        reading = replace(reading, note=None)
    ended = _ended(reply)
    return {slot.task.name: _slot(slot, reading, ended=ended, held=held) for slot in slots}


def parse_items(
    reply: Reply,
    slots: Sequence[Slot],
    numbers: Sequence[int],
    *,
    others: Collection[str] = (),
    think_first: bool = False,
    held: Mapping[str, Any] = UNHELD,
) -> dict[int, dict[str, Answer[Any] | Failure]]:
    """Every slot of a reply about several items, by number and task name.

    An answer belongs to the item whose number it stands under, never to one by its place.

    Args:
        reply: What came back.
        slots: The slots that were asked for of each item.
        numbers: The numbers of the items.
        others: As for `parse`.
        think_first: Whether the model was asked to write freely before the JSON.
        held: By key the schema that the provider held the reply to: what fills a cap of it has a
            note, as more may have been to say.
    """
    if reply.finish_reason == "refused":
        refused = Failure("refused", "the model refused to answer", _short(reply.text))
        return {number: _each(slots, refused) for number in numbers}
    cut = reply.finish_reason == "length"
    found = _items(reply.text, slots, numbers, others, cut=cut)
    if found.unasked:
        failure = Failure(
            "unreadable",
            f"the reply has an item {found.unasked[0]}, which was not asked for, so that its "
            "numbers cannot be trusted",
        )
        return {number: _each(slots, failure) for number in numbers}
    note = None if think_first and not found.cut else found.note
    notes = [note] if note else []
    return {number: _item(reply, slots, found, number, notes, held) for number in numbers}


def _items(
    text: str, slots: Sequence[Slot], numbers: Sequence[int], others: Collection[str], *, cut: bool
) -> Readings:
    keys = _keys(slots)
    # under the key of one of several slots stand its answers about the items, and no other's
    others = {*others, *keys} if len(slots) > 1 else others
    return read_items(text, numbers, keys, others=others, cut=cut)


def _item(
    reply: Reply,
    slots: Sequence[Slot],
    found: Readings,
    number: int,
    notes: list[str],
    held: Mapping[str, Any],
) -> dict[str, Answer[Any] | Failure]:
    reading = found.items.get(number)
    if reading is None:
        if not found.items:
            return _each(slots, _nothing(reply, found.cut))
        if found.cut:
            return _of_item(slots, "cut off", f"{_ended(reply)} before item {number}")
        return _of_item(slots, "missing", f"the reply has no item {number}")
    if not reading.values and not reading.repeated:
        if reading.cut:
            return _of_item(slots, "cut off", f"{_ended(reply)} before any answer of item {number}")
        return _of_item(slots, "unreadable", f"item {number} has no object of answers")
    ended = _ended(reply)
    return {slot.task.name: _slot(slot, reading, notes, ended=ended, held=held) for slot in slots}


def closed(
    text: str,
    slots: Sequence[Slot],
    *,
    others: Collection[str] = (),
    held: Mapping[str, Any] = UNHELD,
) -> dict[str, Answer[Any]]:
    """The answers in the beginning of a reply about one item whose values have closed.

    Args:
        text: The reply as far as it has come.
        slots: The slots that were asked for.
        others: As for `parse`.
        held: As for `parse`.
    """
    reading = read_object(text, _keys(slots), others=others, cut=True)
    return _answered({slot.task.name: slot for slot in slots}, reading, held)


def closed_items(
    text: str,
    slots: Sequence[Slot],
    numbers: Sequence[int],
    *,
    others: Collection[str] = (),
    held: Mapping[str, Any] = UNHELD,
) -> dict[int, dict[str, Answer[Any]]]:
    """As `closed`, for a reply about several items, by number and task name."""
    found = _items(text, slots, numbers, others, cut=True)
    if found.unasked:
        return {}
    named = {slot.task.name: slot for slot in slots}
    return {number: _answered(named, reading, held) for number, reading in found.items.items()}


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


def _answered(
    slots: Mapping[str, Slot], reading: Reading, held: Mapping[str, Any]
) -> dict[str, Answer[Any]]:
    # the notes are those of the whole reply: one that is not there yet is not cut off
    reading = replace(reading, note=None)
    answers = {}
    for name, slot in slots.items():
        if all(key in reading.values and key != reading.last for key in slot.keys):
            read = _slot(slot, reading, held=held)
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
        return Failure("cut off", f"{_ended(reply)} before any answer", _short(reply.text))
    if reply.text.strip().startswith("{"):
        return Failure("missing", "the reply has none of the keys", _short(reply.text))
    return Failure("unreadable", "the reply holds no JSON object", _short(reply.text))


_ENDED = "the reply ended"


def _ended(reply: Reply) -> str:
    """What is said of a reply in which something is cut off: all of it was read, or not."""
    if len(reply.text) <= SCAN_CAP:
        return _ENDED
    read = f"no more than the first {SCAN_CAP:,} characters of the reply are read"
    return f"{read}, as it is no JSON object: they ended"


def _slot(
    slot: Slot,
    reading: Reading,
    notes: Sequence[str] = (),
    *,
    ended: str = _ENDED,
    held: Mapping[str, Any] = UNHELD,
) -> Answer[Any] | Failure:
    values: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    notes = [*notes, *([reading.note] if reading.note else [])]
    for key, one in zip(slot.keys, slot.task.outputs, strict=True):
        if key in reading.repeated:
            what = f"{key!r} was answered more than once, differently"
            return Failure("duplicate", what, _short(reading.values.get(key)), field=one.name)
        if key not in reading.values:
            if reading.cut:
                return Failure("cut off", f"{ended} before {key!r} did", field=one.name)
            return Failure("missing", f"the reply has no {key!r}", field=one.name)
        raw = reading.values[key]
        notes += cut_notes(one.name, raw, held.get(key, {}))
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
        exact = _exact(one, raw, dumped)
        if isinstance(exact, Failure):
            return exact
        value, dumped = exact or (value, dumped)
        if dumped != raw and (wrong := _wrongly_made(one, raw, dumped)):
            return Failure("wrong type", wrong, _short(raw))
    except Exception as error:  # noqa: BLE001  as above
        what = f"what the type's own check makes is no JSON: {first_line(error)}"
        return Failure("constraint broken", what, _short(raw))
    if isinstance(raw, list) and isinstance(value, list) and len(value) < len(raw):
        notes.append("repeated items dropped")
    return value, dumped


def _exact(one: Field, raw: Any, dumped: Any) -> tuple[Any, Any] | Failure | None:
    """What a type makes of a value whose numbers it keeps as texts, with all of their digits.

    Returns:
        The value and the same as plain JSON data; None where the type keeps no number so.
    """
    digits = with_digits(raw, dumped)
    if digits == raw:
        return None
    try:
        value = one.adapter.validate_json(to_json(digits), strict=True)
    except Exception as error:  # noqa: BLE001  the seam to the check of a type's author
        failure = _refused(error, raw)
        # a type that writes its numbers as texts need not read them so
        return None if failure.kind == "wrong type" else failure
    return value, one.dump(value)


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
        refused = task.validate is not None and _says_no(task.validate(answer))
    except (ValueError, AssertionError) as error:
        return Failure("constraint broken", first_line(error), _short(fields))
    except Exception as error:  # noqa: BLE001  the seam to the check of a task's author
        what = f"the task's own check raised {type(error).__name__}: {first_line(error)}"
        return Failure("constraint broken", what, _short(fields))
    if refused:
        return Failure("constraint broken", "the task's own check refused it", _short(fields))
    reason = reading.values.get(slot.reason_key) if slot.reason_key else None
    return Answer(answer, fields, tuple(notes), reason if isinstance(reason, str) else None)


def _says_no(verdict: Any) -> bool:
    """Whether a check refuses: with False, or numpy's, which a comparison of its numbers gives."""
    kind = type(verdict)
    is_bool = kind is bool or (kind.__module__ == "numpy" and kind.__name__ in {"bool", "bool_"})
    return is_bool and not verdict


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
