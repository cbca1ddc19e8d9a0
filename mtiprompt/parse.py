"""Reply to slots: every task is validated on its own, and one bad answer never costs the others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from mtiprompt.coerce import coerce, is_misread_moment
from mtiprompt.reading import Reading, read_object
from mtiprompt.result import Answer, Failure, FailureKind
from mtiprompt.schema import Slot, field_schema
from mtiprompt.tasks import Field, first_line
from mtiprompt.wire import Reply

RAW_CAP = 200
"""Characters of the raw text that a failure keeps."""


def parse(reply: Reply, slots: Sequence[Slot]) -> dict[str, Answer[Any] | Failure]:
    """Every slot of a reply, by task name: an answer or a failure, never nothing.

    Args:
        reply: What came back.
        slots: The slots that were asked for.
    """
    if reply.finish_reason == "refused":
        failure = Failure("refused", "the model refused to answer", _short(reply.text))
        return {slot.task.name: failure for slot in slots}
    keys = [key for slot in slots for key in slot.all_keys]
    reading = read_object(reply.text, keys, cut=reply.finish_reason == "length")
    if not reading.values:
        return {slot.task.name: _nothing(reply, reading) for slot in slots}
    return {slot.task.name: _slot(slot, reading) for slot in slots}


def _nothing(reply: Reply, reading: Reading) -> Failure:
    if not reply.text.strip():
        return Failure("missing", "the reply is empty")
    if reading.cut:
        return Failure("cut off", "the reply ended before any answer", _short(reply.text))
    return Failure("unreadable", "the reply holds no JSON object", _short(reply.text))


def _slot(slot: Slot, reading: Reading) -> Answer[Any] | Failure:
    values: dict[str, Any] = {}
    notes = [reading.note] if reading.note else []
    for key, one in zip(slot.keys, slot.task.outputs, strict=True):
        if key in reading.repeated:
            return Failure("duplicate", f"{key!r} was answered more than once, differently")
        if key not in reading.values:
            if reading.cut:
                return Failure("cut off", f"the reply ended before {key!r} did")
            return Failure("missing", f"the reply has no {key!r}")
        read = _value(one, reading.values[key], notes)
        if isinstance(read, Failure):
            return read
        values[one.name] = read[0]
    return _answer(slot, values, reading, notes)


def _value(one: Field, raw: Any, notes: list[str]) -> tuple[Any] | Failure:
    text = to_json(raw)
    if (b"Infinity" in text or b"NaN" in text) and not _is_finite(text):
        return Failure("wrong type", "a number is not finite", _short(raw))
    if _has_moments(one) and is_misread_moment(raw, _schema(one)):
        return Failure("wrong type", "a number stands where a date should", _short(raw))
    try:
        value = one.adapter.validate_json(text, strict=True)
    except (ValueError, TypeError) as error:  # pydantic: a limit on a union may be a TypeError
        read = coerce(raw, _schema(one))
        if json.dumps(read) == json.dumps(raw):
            return _refused(error, raw)
        try:
            value = one.adapter.validate_json(to_json(read), strict=True)
        except (ValueError, TypeError):
            return _refused(error, raw)
        notes.append(f"{json.dumps(raw, ensure_ascii=False)} read as {json.dumps(read)}")
        raw = read
    if isinstance(raw, list) and isinstance(value, list) and len(value) < len(raw):
        notes.append("repeated items dropped")
    return (value,)


def _is_finite(text: bytes) -> bool:
    found: list[str] = []
    json.loads(text, parse_constant=found.append)
    return not found


def _answer(
    slot: Slot, values: dict[str, Any], reading: Reading, notes: list[str]
) -> Answer[Any] | Failure:
    task = slot.task
    fields = {one.name: one.dump(values[one.name]) for one in task.outputs}
    try:
        answer = task.assemble(values)
        refused = task.validate is not None and task.validate(answer) is False
    except (ValueError, AssertionError) as error:
        return Failure("constraint broken", first_line(error), _short(fields))
    if refused:
        return Failure("constraint broken", "the task's own check refused it", _short(fields))
    reason = reading.values.get(slot.reason_key) if slot.reason_key else None
    return Answer(answer, fields, tuple(notes), reason if isinstance(reason, str) else None)


@lru_cache(maxsize=4096)
def _schema(one: Field) -> dict[str, Any]:
    return field_schema(one)


@lru_cache(maxsize=4096)
def _has_moments(one: Field) -> bool:
    return '"date' in json.dumps(_schema(one))


_WRONG_TYPE = ("_type", "_parsing", "missing", "extra_forbidden")


def _refused(error: Exception, raw: Any) -> Failure:
    kind: FailureKind = "wrong type"
    if isinstance(error, ValidationError):
        types = [problem["type"] for problem in error.errors(include_url=False)]
        if any(one in {"literal_error", "enum"} for one in types):
            kind = "not an allowed label"
        elif not all(one.endswith(_WRONG_TYPE) for one in types):
            kind = "constraint broken"
    return Failure(kind, first_line(error), _short(raw))


def _short(raw: Any) -> str:
    text = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False)
    return text if len(text) <= RAW_CAP else text[: RAW_CAP - 1] + "…"
