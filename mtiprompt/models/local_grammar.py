"""From a response format and a notation to what holds llama.cpp to them.

Two ways lead there. `free` hands the response format on: llama.cpp makes a grammar of it in which
white space is optional. The other notations become an llguidance grammar that spells the white
space out. That one fails open: where llguidance cannot read a schema, llama.cpp drops the grammar
without a word and lets the model write what it likes. So schemas are looked through beforehand, and
`Constraint.opening` says how a reply must begin if the grammar holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mtiprompt.errors import RequestRejected, SchemaRejected
from mtiprompt.wire import Notation

_SEPARATORS: dict[Notation, tuple[str, str]] = {
    "compact": (",", ":"),
    "spaced": (", ", ": "),
    "lines": (", ", ": "),
}
_TYPES = {"string", "integer", "number", "boolean", "null", "array", "object"}
_BOUNDS = (
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
    ("minimum", "maximum"),
)
_NAMED = ("properties", "$defs", "definitions", "patternProperties")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "contains", "not", "if", "then", "else")
_HARD_GROUP = re.compile(r"\(\?(?!:)|\\[1-9]")
_HARD_FOR_GBNF = re.compile(r"\(\?|\\[A-Za-z0-9]")


@dataclass(frozen=True)
class Constraint:
    """What holds a reply to its response format.

    Attributes:
        payload: Fields to add to the request.
        opening: How the reply must begin; empty where nothing is known.
    """

    payload: dict[str, Any] = field(default_factory=dict)
    opening: str = ""

    def broken_by(self, text: str) -> bool:
        """Whether a reply that begins like this shows that the grammar does not hold."""
        return not (text.startswith(self.opening) or self.opening.startswith(text))


def constrain(response_format: Any, notation: Notation) -> Constraint:
    """What holds a reply to a response format, written in a notation.

    Args:
        response_format: As OpenAI's API takes it, a dictionary, or None for free text.
        notation: How the JSON is spaced.

    Raises:
        RequestRejected: This is no response format.
        SchemaRejected: The schema contradicts itself or cannot be read.
    """
    kind = response_format.get("type") if isinstance(response_format, dict) else response_format
    if kind in {None, "text"}:
        return Constraint()
    if kind not in {"json_schema", "json_object"}:
        raise RequestRejected(
            f"unknown response format {response_format!r}",
            hint='"json_schema", "json_object" or "text"',
        )
    named = response_format.get("json_schema") or {}
    schema = named.get("schema", response_format.get("schema"))
    if schema is None and kind == "json_schema":
        raise RequestRejected('a response format "json_schema" needs json_schema.schema')
    if schema is None:
        schema = {"type": "object"}
    if wrong := problem(schema):
        raise SchemaRejected(f"the schema cannot be enforced: {wrong}")
    if notation == "free":
        schema = _without_patterns(schema, free=True)
        named = {"name": named.get("name", "answers"), "schema": schema}
        given = {"type": kind, "json_schema": named} if kind == "json_schema" else {"type": kind}
        return Constraint({"response_format": given})
    schema = _without_patterns(schema, free=False)
    # with `none` the reply stays in `content`, also for models that open with a thought
    payload = {"grammar": grammar(schema, notation), "reasoning_format": "none"}
    return Constraint(payload, _opening(schema, notation))


def grammar(schema: dict[str, Any], notation: Notation) -> str:
    """An llguidance grammar of the JSON values that satisfy a schema, in a notation.

    `lines` puts each property of an object on a line of its own and requires them all; a schema
    that is not an object with named properties is written as in `spaced`.
    """
    properties = schema.get("properties")
    if notation != "lines" or not properties or "$ref" in schema:
        return f"%llguidance {{}}\nstart: {_json(schema, notation)}"
    shared: dict[str, Any] = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    parts: list[str] = []
    for place, (name, part) in enumerate(properties.items()):
        lead = ("{" if place == 0 else ",") + "\n" + _text(name) + ": "
        part = part if isinstance(part, dict) else {}
        parts += [_text(lead), _json({**part, **shared}, notation)]
    return "%llguidance {}\nstart: " + " ".join([*parts, _text("\n}")])


def _json(schema: dict[str, Any], notation: Notation) -> str:
    between, after_key = _SEPARATORS[notation]
    options = {
        "whitespace_flexible": False,
        "item_separator": between,
        "key_separator": after_key,
        "lenient": True,  # else one keyword that it does not know drops the whole grammar
    }
    return "%json " + _text({**schema, "x-guidance": options})


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _opening(schema: dict[str, Any], notation: Notation) -> str:
    if schema.get("type") != "object" or "$ref" in schema:
        return ""
    first = next(iter(schema.get("properties", ())), None)
    if first is None or (notation != "lines" and first not in schema.get("required", ())):
        return "{"
    return ("{\n" if notation == "lines" else "{") + _text(first) + _SEPARATORS[notation][1]


# --- what llama.cpp cannot take --------------------------------------------------------------


def problem(schema: Any) -> str | None:
    """What is wrong with a schema, where that would do harm; None if nothing is.

    A lower bound above the upper one makes llama.cpp take memory until the process is killed.
    """
    return next(_problems(schema, schema, "#"), None)


def _problems(schema: Any, root: Any, where: str) -> Iterator[str]:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        yield f"{where} is not a schema"
        return
    kind = schema.get("type", [])
    for one in kind if isinstance(kind, list) else [kind]:
        if one not in _TYPES:
            yield f"{where} has the unknown type {one!r}"
    if "enum" in schema and not (isinstance(schema["enum"], list) and schema["enum"]):
        yield f"{where} has no values to choose from"
    for low, high in _BOUNDS:
        if low in schema and high in schema and schema[low] > schema[high]:
            yield f"{where} has {low} {schema[low]} above {high} {schema[high]}"
    reference = schema.get("$ref")
    if reference is not None and not _resolves(reference, root):
        yield f"{where} refers to {reference}, which is not there"
    for place, part in _parts(schema):
        yield from _problems(part, root, f"{where}/{place}")


def _parts(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The schemas inside a schema and where they stand."""
    for key in _NAMED:
        for name, part in schema.get(key, {}).items():
            yield f"{key}/{name}", part
    for key in _LISTED:
        for place, part in enumerate(schema.get(key, ())):
            yield f"{key}/{place}", part
    for key in _SINGLE:
        if key in schema:
            yield key, schema[key]


def _resolves(reference: Any, root: Any) -> bool:
    if not isinstance(reference, str) or not reference.startswith("#"):
        return False
    target = root
    for step in reference.removeprefix("#").split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, dict) or step not in target:
            return False
        target = target[step]
    return True


def _without_patterns(schema: Any, *, free: bool) -> Any:
    """The schema without the patterns that cannot be enforced.

    One of them would drop the whole grammar, or print a warning on standard error.
    """
    if not isinstance(schema, dict):
        return schema
    kept = dict(schema)
    pattern = kept.get("pattern")
    if isinstance(pattern, str) and not _enforceable(pattern, free=free):
        del kept["pattern"]
    for key in _NAMED:
        if key in kept:
            named = kept[key].items()
            kept[key] = {name: _without_patterns(part, free=free) for name, part in named}
    for key in _LISTED:
        if key in kept:
            kept[key] = [_without_patterns(part, free=free) for part in kept[key]]
    for key in _SINGLE:
        if key in kept:
            kept[key] = _without_patterns(kept[key], free=free)
    return kept


def _enforceable(pattern: str, *, free: bool) -> bool:
    if free:
        anchored = pattern.startswith("^") and pattern.endswith("$")
        return anchored and not _HARD_FOR_GBNF.search(pattern)
    return not _HARD_GROUP.search(pattern)
