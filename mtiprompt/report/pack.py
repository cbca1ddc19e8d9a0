"""Parts of a report as plain JSON data that the page reads; each text of the slots is kept once."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from mtiprompt.report.parts import Chart, Part, Series, SlotRow, Slots, Table, Text

VERDICTS = ("right", "part", "wrong", "failed", "unscored")


def pack(part: Part) -> dict[str, Any]:
    """A part as plain JSON data, its kind under `kind`.

    Args:
        part: The part. Slots are compressed: gzip, as base64, under `packed`.
    """
    match part:
        case Text():
            return {"kind": "text", "heading": part.heading, "paragraphs": part.paragraphs}
        case Table():
            return {
                "kind": "table",
                "heading": part.heading,
                "columns": part.columns,
                "rows": part.rows,
                "note": part.note,
            }
        case Chart():
            return {
                "kind": "chart",
                "heading": part.heading,
                "style": part.kind,
                "series": [_series(one) for one in part.series],
                "xTitle": part.x_title,
                "yTitle": part.y_title,
                "note": part.note,
            }
        case Slots():
            text = as_json(_columns(part.rows)).encode()
            packed = base64.b64encode(gzip.compress(text, mtime=0)).decode()
            return {"kind": "slots", "heading": part.heading, "packed": packed}


def as_json(value: Any) -> str:
    """JSON text that may stand in a script element of HTML: nothing in it can end the element.

    Only ASCII is in it, so that every text survives, half of a surrogate pair too.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def as_text(value: Any) -> str:
    """An answer or gold as a person reads it: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _series(series: Series) -> dict[str, Any]:
    return {
        "name": series.name,
        "x": _finite(series.x),
        "y": _finite(series.y),
        "low": _finite(series.low),
        "high": _finite(series.high),
        "text": series.text,
    }


def _finite(values: Iterable[Any]) -> list[Any]:
    """The values, None for what is not a number: JSON has no other word for it."""
    return [None if isinstance(x, float) and not math.isfinite(x) else x for x in values]


class _Interned(list[Any]):
    """Values that are kept once, and found by their place."""

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[Any, int] = {}

    def place(self, value: Any) -> int:
        """The place of a value, which is added if it is not there."""
        if value not in self._places:
            self._places[value] = len(self)
            self.append(value)
        return self._places[value]


def _columns(rows: Sequence[SlotRow]) -> dict[str, Any]:
    """Slots as columns of numbers: places in `texts`, and for prompts in `prompts`."""
    texts, prompts = _Interned(), _Interned()
    place = texts.place
    return {
        "data": [place(row.data) for row in rows],
        "arm": [place(row.arm) for row in rows],
        "item": [place(row.item) for row in rows],
        "task": [place(row.task) for row in rows],
        "verdict": [place(row.verdict) for row in rows],
        "score": _finite(row.score for row in rows),
        "answer": [place("" if row.verdict == "failed" else as_text(row.answer)) for row in rows],
        "gold": [place("" if row.verdict == "unscored" else as_text(row.gold)) for row in rows],
        "failure": [place(row.failure) for row in rows],
        "reply": [place(row.reply) for row in rows],
        "prompt": [
            prompts.place(tuple((place(role), place(text)) for role, text in row.prompt))
            for row in rows
        ],
        "prompts": prompts,
        "texts": texts,
        "verdicts": VERDICTS,
    }
