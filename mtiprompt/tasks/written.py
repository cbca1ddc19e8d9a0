"""Values as they are written out: sets in an order that stays, types whose values would be lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from decimal import Decimal
from functools import partial
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_jsonable_python

from mtiprompt.wire import canonical


class _Ordered(set[Any]):
    """A set that is read in an order that stays."""

    def __iter__(self) -> Iterator[Any]:
        return iter(_sorted([*super().__iter__()]))


class _OrderedFrozen(frozenset[Any]):
    """A frozen set that is read in an order that stays."""

    def __iter__(self) -> Iterator[Any]:
        return iter(_sorted([*super().__iter__()]))


_WHOLE = {str, int, float, bool, type(None)}
"""The types of which most parts of a value are; they hold nothing."""


def ordered(value: Any, *, inside: bool = False) -> Any:
    """A value whose sets are read in an order that stays: numbers first, texts by their JSON.

    A set of texts has another order in every process; what is sent and kept may not. What a type's
    author makes of a set is left as it is, an order of its own too.

    Args:
        value: What is to be read or written; sets in lists, tuples and mappings are found.
        inside: Whether to look into models and dataclasses too, which a type has validated.
    """
    try:
        return _ordered(value, inside)
    except RecursionError:  # of what holds itself pydantic says so
        return value


def _ordered(value: Any, inside: bool) -> Any:
    if type(value) in _WHOLE:
        return value
    part = partial(_ordered, inside=inside)
    if isinstance(value, set | frozenset):
        return (_Ordered if isinstance(value, set) else _OrderedFrozen)(map(part, value))
    if isinstance(value, list | tuple | deque):
        parts = [part(one) for one in value]
        return value if _is_same(value, parts) else _remade(value, parts)
    if isinstance(value, dict):
        parts = [part(one) for one in value.values()]
        is_same = _is_same(value.values(), parts)
        return value if is_same else dict(zip(value, parts, strict=True))
    return _ordered_inside(value, part) if inside else value


def _is_same(values: Iterable[Any], parts: Iterable[Any]) -> bool:
    return all(one is part for one, part in zip(values, parts, strict=True))


def _remade(value: Any, parts: Sequence[Any]) -> Any:
    if hasattr(value, "_make"):
        return value._make(parts)
    kind = next(one for one in (list, tuple, deque) if isinstance(value, one))
    return kind(parts)


def _ordered_inside(value: Any, part: Callable[[Any], Any]) -> Any:
    """A model or dataclass with its sets in order, a copy if there are any."""
    if isinstance(value, BaseModel):  # how it is iterated over may be its author's
        own = vars(value) | (value.__pydantic_extra__ or {})
    elif is_dataclass(value):
        named = (one.name for one in fields_of(value))
        own = {name: getattr(value, name) for name in named if hasattr(value, name)}
    else:
        return value
    parts = {name: part(one) for name, one in own.items()}
    if _is_same(own.values(), parts.values()):
        return value
    made = copy(value)
    extra = getattr(made, "__pydantic_extra__", None) or {}
    for name, one in parts.items():
        if name in extra:
            extra[name] = one
        else:
            object.__setattr__(made, name, one)  # it may be frozen
    return made


def _sorted(members: list[Any]) -> list[Any]:
    try:
        return sorted(members, key=_place)
    except ValueError:  # some are no JSON: objects that a model will be made of, say
        return members


def _place(one: Any) -> tuple[bool, Any, str]:
    plain = to_jsonable_python(one)
    number = one if isinstance(one, Decimal) and one.is_finite() else plain
    if isinstance(number, bool) or not isinstance(number, int | float | Decimal):
        return True, 0, canonical(plain)
    return False, number, ""


def lost(schema: Any, *, is_output: bool) -> tuple[str, str] | None:
    """What is wrong with a type whose values are lost when they are written out, and a hint.

    Args:
        schema: The core schema that pydantic has for the type.
        is_output: Whether the values are answers, which are read more than once.
    """
    for node in _nodes(schema):
        if node["type"] == "generator" and is_output:
            return "whose items can be read only once", "write a list, such as list[int]"
        written = getattr(node.get("serialization", {}).get("function"), "__name__", "")
        if written.startswith("_serialize_secret"):  # of pydantic, which marks not all of them
            return "whose values are written as asterisks", "write str"
        if _is_media(node.get("cls")):
            return "which is no text", "a prompt is text: write str, for a description say"
    return None


def other_names(schema: Any) -> dict[str, set[str]]:
    """By other names under which fields are read, those that they have in the JSON schema.

    Args:
        schema: The core schema that pydantic has for a type.
    """
    found: dict[str, set[str]] = {}
    for node in _nodes(schema):
        fields = node.get("fields", {})
        if isinstance(fields, list):  # of a dataclass
            fields = {one["name"]: one for one in fields if isinstance(one, dict)}
        for name, one in fields.items():
            alias = one.get("validation_alias") or name
            choices = [alias] if isinstance(alias, str) else _single(alias)
            for other in (name, *choices[1:]):
                if choices and other != choices[0]:
                    found.setdefault(other, set()).add(choices[0])
    return found


def _single(paths: Sequence[Any]) -> list[str]:
    """Those of the choices of an alias that are a name."""
    return [one[0] for one in paths if isinstance(one, list) and len(one) == 1]


def _nodes(schema: Any) -> Iterator[Mapping[str, Any]]:
    """The parts of a core schema that are schemas."""
    if isinstance(schema, list | tuple):
        for part in schema:
            yield from _nodes(part)
    elif isinstance(schema, dict):
        is_node = isinstance(schema.get("type"), str)  # a mapping of fields may have one so named
        if is_node:
            yield schema
        for key, part in schema.items():
            if not (is_node and key in {"default", "metadata"}):
                yield from _nodes(part)


def _is_media(kind: Any) -> bool:
    """Whether a class is one of DSPy's for images, sound or files; told by its attributes."""
    marks = ("format", "serialize_model", "extract_custom_type_from_annotation")
    if not all(hasattr(kind, mark) for mark in marks):
        return False
    # what is not text is formatted as a list of parts of a message
    return "list" in str(getattr(kind.format, "__annotations__", {}).get("return"))


class OrderedSchema(GenerateJsonSchema):
    """Writes defaults that are sets in an order that stays."""

    def encode_default(self, dft: Any) -> Any:
        """A default as plain JSON data."""
        return super().encode_default(ordered(dft, inside=True))
