"""Values as they are written out: sets in an order that stays, types whose values would be lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_jsonable_python

from mtiprompt.wire import canonical


def ordered(value: Any, made: Any) -> Any:
    """Plain JSON data made of a value, the members of its sets in the order of their JSON.

    A set of texts has another order in every process; what is sent and kept may not.

    Args:
        value: What was written out; sets in lists, mappings, models and dataclasses are found.
        made: The plain JSON data, everything in the order of the value.
    """
    if not isinstance(made, list | dict):
        return made
    if isinstance(value, BaseModel) and value.__pydantic_root_model__:
        value = vars(value)["root"]
    if isinstance(made, list) and isinstance(value, Sequence | Set) and len(made) == len(value):
        parts = [ordered(one, part) for one, part in zip(value, made, strict=True)]
        return sorted(parts, key=canonical) if isinstance(value, Set) else parts
    if isinstance(made, dict):
        known = dict(_named(value, made))
        return {key: ordered(known.get(key), part) for key, part in made.items()}
    return made  # a list that the type's author made of something else


def _named(value: Any, made: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The parts of a value by the keys under which they are written."""
    if isinstance(value, Mapping):
        if len(value) == len(made):  # a key may be written in another way, a date say
            yield from zip(made, value.values(), strict=True)
        return
    infos = getattr(type(value), "__pydantic_fields__", {})
    if isinstance(value, BaseModel):
        own = dict(value)
    else:
        own = {one.name: getattr(value, one.name) for one in _fields(value)}
    for name, one in own.items():
        yield (name in infos and infos[name].serialization_alias) or name, one


def _fields(value: Any) -> Sequence[Any]:
    return fields(value) if is_dataclass(value) else ()


def listed(value: Any) -> Any:
    """A set as the list of its members in the order of their JSON; what is no set stays."""
    if not isinstance(value, Set):
        return value
    return sorted(value, key=lambda one: canonical(to_jsonable_python(one)))


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
        return ordered(dft, super().encode_default(dft))
