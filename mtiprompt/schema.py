"""The flat JSON schema of a group, in a provider's dialect, and its short notation for prompts.

Limits of the providers: `research/structured.md`, section 1; OpenAI's and Google's documentation
of structured outputs. What a dialect cannot say is still enforced, by validation after parsing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, product
from string import ascii_lowercase
from typing import Any

from mtiprompt.combine import Combined
from mtiprompt.demo import Demo
from mtiprompt.fieldtypes import one_type_each
from mtiprompt.models.base import Dialect
from mtiprompt.tasks import Field, Task
from mtiprompt.tasks.caps import USUAL, Cap, Caps, caps_of
from mtiprompt.tasks.mappings import labels_of, mapped, named_by_labels
from mtiprompt.wire import OutputSchema

REASON_CAP = 300
"""Characters of a reason."""
SCHEMAS_KEPT = 64
"""Schemas for different sets of items that a group keeps."""


@dataclass(frozen=True)
class Slot:
    """The place of one task in the reply to one call.

    Attributes:
        task: The task.
        keys: The key in the reply of each output field, in order.
        reason_key: The key of the reason before the answer, if the task writes one.
        names: What the prompt says that the keys stand for, where they do not say it themselves.
        demos: Demonstrations, with or without an answer of the task: caps leave room for these.
    """

    task: Task[Any]
    keys: tuple[str, ...]
    reason_key: str | None = None
    names: tuple[str, ...] = ()
    demos: tuple[Demo, ...] = ()

    def caps(self, one: Field) -> Caps:
        """The caps on an output of the task."""
        name = self.task.name
        return caps_of(demo.outputs[name][one.name] for demo in self.demos if name in demo.outputs)

    @property
    def all_keys(self) -> tuple[str, ...]:
        """All keys of the slot, in order of answering."""
        return (self.reason_key, *self.keys) if self.reason_key else self.keys


def slots_of(
    program: Combined,
    tasks: Sequence[str],
    reasoning: Sequence[bool],
    *,
    short: bool = False,
    demos: tuple[Demo, ...] = (),
) -> tuple[Slot, ...]:
    """The slots of a group of tasks, in order.

    Args:
        program: The program.
        tasks: The names of the tasks.
        reasoning: Whether each of them writes a reason.
        short: Whether the keys are letters, in order.
        demos: The demonstrations of the plan.
    """
    letters = ("".join(word) for n in count(1) for word in product(ascii_lowercase, repeat=n))
    found = []
    for name, reasons in zip(tasks, reasoning, strict=True):
        task = program.tasks[name]
        keys = tuple(program.keys[name, one.name] for one in task.outputs)
        if short:
            short_keys = tuple(next(letters) for _ in keys)
            reason = f"{short_keys[0]}_why" if reasons else None
            found.append(Slot(task, short_keys, reason, keys, demos))
        else:
            found.append(Slot(task, keys, f"{name}__reasoning" if reasons else None, demos=demos))
    return tuple(found)


def field_schema(one: Field) -> dict[str, Any]:
    """The JSON schema of a field: references inlined, titles and defaults left out.

    Raises:
        DeclarationError: The type refers to itself, or JSON cannot express it.
    """
    return one.schema


# --- dialects --------------------------------------------------------------------------------

_KEPT_ALWAYS = {"type", "enum", "anyOf", "properties", "required", "additionalProperties", "items",
                "description"}  # fmt: skip
_KEPT: dict[Dialect, set[str]] = {
    "openai": {"const", "pattern", "format", "minimum", "maximum", "exclusiveMinimum",
               "exclusiveMaximum", "multipleOf", "minItems", "maxItems"},
    "anthropic": {"const", "format"},
    "gemini": {"format", "minimum", "maximum", "minItems", "maxItems"},
    "llguidance": {"const", "pattern", "format", "minimum", "maximum", "exclusiveMinimum",
                   "exclusiveMaximum", "minItems", "maxItems", "minLength", "maxLength",
                   "prefixItems"},
    "whole": {"const", "pattern", "format", "minimum", "maximum", "exclusiveMinimum",
              "exclusiveMaximum", "multipleOf", "minItems", "maxItems", "minLength", "maxLength",
              "uniqueItems", "prefixItems", "propertyNames", "minProperties", "maxProperties"},
}  # fmt: skip
_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}


def in_dialect(schema: dict[str, Any], dialect: Dialect, caps: Caps = USUAL) -> dict[str, Any]:
    """A schema with only what a dialect enforces; unbounded strings and arrays get a `Cap`.

    A mapping whose keys are labels becomes an object with these properties: every dialect has them.
    Of one whose keys match a pattern, every dialect has the values.
    """
    schema = named_by_labels(mapped(schema))
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            kept[key] = {name: in_dialect(part, dialect, caps) for name, part in value.items()}
        elif key in {"anyOf", "prefixItems"}:
            kept[key] = [in_dialect(part, dialect, caps) for part in value]
        elif key in {"items", "additionalProperties"} and isinstance(value, dict):
            kept[key] = in_dialect(value, dialect, caps)
        elif key == "const" and "const" not in _KEPT[dialect]:
            kept["enum"] = [value]
        elif (key in _KEPT_ALWAYS or key in _KEPT[dialect]) and _enforced(key, value, dialect):
            kept[key] = value
    if "prefixItems" in kept and "prefixItems" not in _KEPT[dialect]:
        kept["items"] = _any_of(kept.pop("prefixItems"), kept.get("items"))
    kinds = _listed(kept.get("type"))
    if "array" in kinds and "maxItems" in _KEPT[dialect]:
        kept.setdefault("maxItems", Cap(max(caps.array, schema.get("minItems", 0))))
    free = "string" in kinds and not {"enum", "const", "format", "pattern"} & set(kept)
    if free and "maxLength" in _KEPT[dialect]:
        kept.setdefault("maxLength", Cap(max(caps.string, schema.get("minLength", 0))))
    return kept


def _any_of(places: list[dict[str, Any]], rest: Any) -> dict[str, Any]:
    """What may stand somewhere in a list whose places have schemas of their own."""
    parts = [*places, rest] if isinstance(rest, dict) else places
    # as text, since 1 and true are equal in Python
    different = list({json.dumps(part): part for part in parts}.values())
    return different[0] if len(different) == 1 else {"anyOf": different}


def _listed(kind: Any) -> list[Any]:
    return kind if isinstance(kind, list) else [kind]


def _enforced(key: str, value: Any, dialect: Dialect) -> bool:
    if key == "format":
        return value in _FORMATS or (value == "uri" and dialect == "whole")
    if key == "pattern" and dialect == "llguidance":
        # unanchored patterns and these escapes fail open there, with a warning on stderr
        return value.startswith("^") and value.endswith("$") and not any(
            sign in value for sign in ("(?", "\\d", "\\w", "\\s", "\\b")
        )  # fmt: skip
    return True


def _is_strict(schema: Any) -> bool:
    """Whether every object in a schema is closed and complete, and nothing is untyped.

    OpenAI refuses a list that does not say what stands in it ("array schema missing items").
    """
    if isinstance(schema, list):
        return all(_is_strict(part) for part in schema)
    if not isinstance(schema, dict):
        return True
    typed = {"type", "anyOf", "enum", "const"} & set(schema)
    kinds = _listed(schema.get("type"))
    open_object = "object" in kinds and (
        schema.get("additionalProperties") is not False
        or set(schema.get("required", ())) != set(schema.get("properties", ()))
    )
    open_list = "array" in kinds and not {"items", "prefixItems"} & set(schema)
    parts = list(schema.get("properties", {}).values())
    parts += [schema[key] for key in ("anyOf", "items", "prefixItems") if key in schema]
    closed = not open_object and not open_list
    return bool(typed) and closed and all(_is_strict(part) for part in parts)


def properties_of(slots: Sequence[Slot], dialect: Dialect) -> dict[str, dict[str, Any]]:
    """By key what a dialect enforces of every answer and reason, in the order of answering."""
    properties = {}
    for slot in slots:
        if slot.reason_key:
            reason = {"type": "string", "maxLength": REASON_CAP}
            properties[slot.reason_key] = in_dialect(reason, dialect)
        for key, one in zip(slot.keys, slot.task.outputs, strict=True):
            properties[key] = in_dialect(field_schema(one), dialect, slot.caps(one))
    return properties


def output_schema(
    slots: Sequence[Slot], dialect: Dialect, items: Sequence[int] | None = None
) -> OutputSchema:
    """The schema of the reply to one call: one flat object, keys in the order of answering.

    Args:
        slots: The slots of one item.
        dialect: Which subset of JSON schema to keep to.
        items: The numbers of the items, where the call is about several: then the reply is an
            object that has a flat object for each number.
    """
    schema = _closed(properties_of(slots, dialect))
    strict = _is_strict(schema)
    if items is not None:
        schema = _for_items(schema, items, dialect)
    text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    return OutputSchema("answers", text, strict=strict)


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _for_items(schema: dict[str, Any], items: Sequence[int], dialect: Dialect) -> dict[str, Any]:
    """An object with one of `schema` for each item; written once where references are known."""
    if dialect == "gemini":
        return _closed({str(number): schema for number in items})
    reference = {"$ref": "#/$defs/answers"}
    return _closed({str(number): reference for number in items}) | {"$defs": {"answers": schema}}


# --- short notation --------------------------------------------------------------------------

_WORDS = {"string": "string", "integer": "integer", "number": "number", "boolean": "true | false",
          "null": "null"}  # fmt: skip
_DATES = {"date": '"YYYY-MM-DD"', "date-time": '"YYYY-MM-DDThh:mm:ss"'}
_BOUNDS = {
    "minimum": "at least {}", "maximum": "at most {}",
    "exclusiveMinimum": "more than {}", "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}", "pattern": "matching /{}/",
    "minLength": "at least {} characters", "maxLength": "at most {} characters",
    "minItems": "at least {} items", "maxItems": "at most {} items",
    "minProperties": "at least {} entries", "maxProperties": "at most {} entries",
}  # fmt: skip


def notation_of(schema: dict[str, Any]) -> str:
    """A schema in a few words: `"a" | "b"`, `integer (at least 0)`, `{name: string}[]`.

    A tuple is shown by its places, `[string, integer]`.
    """
    if "type" in schema and isinstance(schema["type"], list) and not labels_of(schema):
        return " | ".join(notation_of(one) for one in one_type_each(schema))
    bounds = _bounds(schema)
    words = _shape(schema)
    return f"{words} ({', '.join(bounds)})" if bounds else words


def _bounds(schema: dict[str, Any]) -> list[str]:
    places = schema.get("prefixItems")
    bounds = [
        words.format(schema[key])
        for key, words in _BOUNDS.items()
        # as many as there are places is no news
        if key in schema and not (places and key.endswith("Items") and schema[key] == len(places))
    ]
    return [*bounds, "no repetitions"] if schema.get("uniqueItems") else bounds


def is_label(schema: dict[str, Any]) -> bool:
    """Whether a schema takes a label, or null beside it, and nothing else."""
    parts = schema.get("anyOf", [schema])
    return all(labels_of(part) or part.get("type") == "null" for part in parts)


def _is_loose(schema: dict[str, Any]) -> bool:
    """Whether the notation must stand in brackets before `[]`."""
    parts = labels_of(schema) or schema.get("anyOf") or _listed(schema.get("type"))
    if len(parts) > 1 or _bounds(schema):
        return True
    if "anyOf" in schema:
        return _is_loose(schema["anyOf"][0])
    return not labels_of(schema) and parts == ["boolean"]


def _shape(schema: dict[str, Any]) -> str:
    if labels := labels_of(schema):
        return " | ".join(json.dumps(label, ensure_ascii=False) for label in labels)
    if "anyOf" in schema:
        return " | ".join(notation_of(part) for part in schema["anyOf"])
    kind = schema.get("type")
    if kind == "array":
        if "prefixItems" in schema:
            return f"[{', '.join(notation_of(place) for place in schema['prefixItems'])}]"
        items = schema.get("items", {})
        return f"({notation_of(items)})[]" if _is_loose(items) else f"{notation_of(items)}[]"
    if kind == "object":
        inner = schema.get("properties")
        if inner is None:
            name, extra = _entry(schema)
            return f"{{[{name}]: {notation_of(extra) if isinstance(extra, dict) else 'any'}}}"
        always = schema.get("required", inner)
        return (
            "{"
            + ", ".join(
                f"{_property(name)}{'' if name in always else '?'}: {notation_of(part)}"
                for name, part in inner.items()
            )
            + "}"
        )
    return _DATES.get(schema.get("format", ""), _WORDS.get(str(kind), "any"))


def _entry(schema: dict[str, Any]) -> tuple[str, Any]:
    """What the keys of a mapping may be, in short notation, and the schema of its values."""
    schema = mapped(schema)
    names, extra = schema.get("propertyNames", {}), schema.get("additionalProperties")
    if labels := labels_of(names):
        return _shape({"enum": [str(label) for label in labels]}), extra
    words, bounds = _DATES.get(names.get("format", ""), "name"), _bounds(names)
    return f"{words} ({', '.join(bounds)})" if bounds else words, extra


def _property(name: str) -> str:
    return name if name.isidentifier() else json.dumps(name, ensure_ascii=False)


@dataclass(frozen=True)
class Shape:
    """What a group's reply looks like, in words and as a schema; built once for a group.

    Attributes:
        slots: The slots in the order of answering.
        dialect: The dialect of the schema.
    """

    slots: tuple[Slot, ...]
    dialect: Dialect

    @cached_property
    def schema(self) -> OutputSchema:
        """The JSON schema for the provider."""
        return output_schema(self.slots, self.dialect)

    @cached_property
    def properties(self) -> dict[str, dict[str, Any]]:
        """By key the schema of every answer and reason."""
        return properties_of(self.slots, self.dialect)

    def items_schema(self, items: tuple[int, ...]) -> OutputSchema:
        """The JSON schema of a reply about several items, by their numbers."""
        made = self._made.get(items)
        if made is None:
            if len(self._made) >= SCHEMAS_KEPT:
                self._made.clear()
            made = self._made[items] = output_schema(self.slots, self.dialect, items)
        return made

    @cached_property
    def _made(self) -> dict[tuple[int, ...], OutputSchema]:
        return {}

    @cached_property
    def lines(self) -> tuple[tuple[str, str, str], ...]:
        """Key, short notation and description of every field, in the order of answering."""
        return tuple(line for slot in self.slots for line in _lines(slot))


def _lines(slot: Slot) -> Iterator[tuple[str, str, str]]:
    if slot.reason_key:
        yield slot.reason_key, "string (a short reason)", ""
    for place, (key, one) in enumerate(zip(slot.keys, slot.task.outputs, strict=True)):
        words = [slot.names[place]] if slot.names else []
        description = " ".join(one.description.split())
        yield key, notation_of(field_schema(one)), ": ".join(filter(None, (*words, description)))
