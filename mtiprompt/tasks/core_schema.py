"""What pydantic's core schema tells of a type: what it would lose, and how its fields are named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


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
