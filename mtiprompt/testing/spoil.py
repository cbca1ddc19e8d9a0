"""What goes wrong inside a reply: slots corrupted, wrapped, fenced, duplicated, cut off, refused.

A slot is a member of the answer's object. Answers for several items, `{"1": {...}, "2": {...}}`,
have a slot for each item and key.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from mtiprompt.testing.protocol import Said

Which = Collection[str] | int | float
"""Which slots: their names (`urgent`, or `2.urgent` for one item alone), how many of them, or, as a
float, the probability of each."""

REFUSAL = "I'm sorry, but I can't help with that."
"""The words of a refusal, where no others are given."""

_PROSE = "I have read all of it. It would take a longer conversation to say what I think of it."


@dataclass(frozen=True, kw_only=True)
class Spoil:
    """How to spoil the text of a reply. Several may be combined.

    Attributes:
        corrupt: Which slots get a value of the wrong type or no label of theirs, or go missing.
        duplicate: Which slots are answered a second time, with another value.
        wrap: Put the object under an outer key; True calls it `response`.
        malform: Give prose, or JSON that is broken beyond repair, in place of the answer.
        fence: Put a code fence and prose around the text.
        truncate: The share of the text that is kept, 0 to 1, with `finish_reason` `length`.
        refuse: Refuse to answer; True does it in usual words.
        seed: What is drawn follows from it and from the answer.
    """

    corrupt: Which = ()
    duplicate: Which = ()
    wrap: bool | str = False
    malform: bool = False
    fence: bool = False
    truncate: float | None = None
    refuse: bool | str = False
    seed: int | str = 0


def spoil(said: str, how: Spoil, schema: dict[str, Any] | None = None) -> tuple[Said, Counter[str]]:
    """A text spoilt, and how often what was done to it.

    The kinds are `slots` (corrupted), `duplicated`, `wrapped`, `malformed`, `fenced`, `cut` and
    `refused`. What cannot be done, because the text is no JSON object, is not done. A corrupted
    slot counts also where the text is cut off before it.

    Args:
        said: The text as it should be.
        how: What to do to it.
        schema: The schema that it satisfies; it tells labels from other texts.
    """
    done: Counter[str] = Counter()
    if how.refuse:
        done["refused"] += 1
        return Said(how.refuse if isinstance(how.refuse, str) else REFUSAL, refuses=True), done
    draw = random.Random(f"{how.seed}|{said}")
    text = _malformed(said, draw) if how.malform else _rewritten(said, how, schema, draw, done)
    done["malformed"] += how.malform
    if how.fence:
        done["fenced"] += 1
        text = f"Here is the answer:\n\n```json\n{text}\n```\n\nLet me know if you need more."
    if how.truncate is None:
        return Said(text), +done
    done["cut"] += 1
    return Said(text[: int(len(text) * how.truncate)], "length"), +done


def _malformed(text: str, draw: random.Random) -> str:
    if draw.random() < 0.5:
        return _PROSE
    # no quotes, no colons, no end: nothing tells a key from a value
    return "{" + " ".join(text.translate(_MARKS).split())


_MARKS = str.maketrans('{}[]":,\\', " " * 8)


def _rewritten(
    text: str, how: Spoil, schema: dict[str, Any] | None, draw: random.Random, done: Counter[str]
) -> str:
    if not (how.corrupt or how.duplicate or how.wrap):
        return text
    answer = _object(text)
    if answer is None:
        return text
    for holder, key, part in _chosen(answer, how.corrupt, schema, draw):
        _corrupt(holder, key, part, draw)
        done["slots"] += 1
    for holder, key, part in _chosen(answer, how.duplicate, schema, draw):
        holder[_Twin(key)] = _another(holder[key], part)
        done["duplicated"] += 1
    if how.wrap:
        answer = {how.wrap if isinstance(how.wrap, str) else "response": answer}
        done["wrapped"] += 1
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":"))


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


_Place = tuple[dict[str, Any], str, dict[str, Any]]
"""The object that holds a slot, the key, and the schema of the value, empty if unknown."""


def _chosen(
    answer: dict[str, Any], which: Which, schema: dict[str, Any] | None, draw: random.Random
) -> list[_Place]:
    root = schema or {}
    places = dict(_places(answer, root, root))
    if isinstance(which, float):
        return [place for place in places.values() if draw.random() < which]
    if isinstance(which, int):
        names = draw.sample(list(places), min(which, len(places)))
        return [places[name] for name in names]
    wanted = {which} if isinstance(which, str) else set(which)
    return [place for name, place in places.items() if name in wanted or place[1] in wanted]


def _places(
    answer: dict[str, Any], schema: dict[str, Any], root: dict[str, Any]
) -> Iterator[tuple[str, _Place]]:
    parts = _followed(schema, root).get("properties", {})
    if answer and all(key.isdigit() and isinstance(item, dict) for key, item in answer.items()):
        for number, item in answer.items():
            for name, place in _places(item, parts.get(number, {}), root):
                yield f"{number}.{name}", place
    else:
        for key in answer:
            yield key, (answer, key, _followed(parts.get(key, {}), root))


def _followed(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """What a reference into the schema points at."""
    found: Any = root if "$ref" in schema else schema
    for step in schema.get("$ref", "").split("/")[1:]:
        found = found.get(step, {})
    return found if isinstance(found, dict) else {}


def _corrupt(holder: dict[str, Any], key: str, schema: dict[str, Any], draw: random.Random) -> None:
    """Take the value away, or put one there that no lenient reading makes right."""
    kinds = ["missing", "type", "label"] if "enum" in schema else ["missing", "type"]
    match draw.choice(kinds):
        case "missing":
            del holder[key]
        case "label":
            holder[key] = "no such label"
        case _:
            holder[key] = dict(_WRONG)


_WRONG = {"wrong": "type", "at": [0, "one", None], "of": {"many": [True]}}
"""Fits no type of a field except `Any`, not even dictionaries and unions."""


def _another(value: Any, schema: dict[str, Any]) -> Any:
    """A value of the same type that differs; another label where there is one."""
    if labels := [label for label in schema.get("enum", ()) if label != value]:
        return labels[0]
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return 0.0 if value else 1.0
        case str():
            return f"{value} or not"
        case list():
            return [] if value else [0]
    return "something else"


class _Twin(str):
    """A key that differs from its like, so that an object can have both."""

    __slots__ = ()
    __hash__ = object.__hash__
    __eq__ = object.__eq__
