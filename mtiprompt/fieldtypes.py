"""Python types out of text (`list[str]`) and out of JSON schemas, without evaluating either."""

from __future__ import annotations

import ast
import datetime
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, Required, Union

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from mtiprompt.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NAMES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "None": None,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "list": list[str],
    "dict": dict[str, str],
}


def type_from_text(text: str) -> Any:
    """The type that a text names, such as `Literal["a", "b"]` or `dict[str, int] | None`.

    Raises:
        DeclarationError: The text is no type, or names one that strings cannot name.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        raise DeclarationError(f"{text.strip()!r} is not a type") from None
    return _from_node(tree, text.strip())


def _from_node(node: ast.expr, text: str) -> Any:
    match node:
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.Constant(value=None):
            return None
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _from_node(left, text) | _from_node(right, text)
        case ast.Subscript(value=ast.Name(id=outer), slice=inner):
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            if outer == "Literal":
                return Literal[tuple(_constant(part, text) for part in parts)]
            types = [_from_node(part, text) for part in parts]
            match outer, types:
                case "list", [item]:
                    return list[item]  # type: ignore[valid-type]
                case "dict", [key, value] if key is str:
                    return dict[str, value]  # type: ignore[valid-type]
                case "Optional", [item]:
                    return Union[item, None]  # noqa: UP007
                case "Union", _:
                    return Union[tuple(types)]  # noqa: UP007  the members are known at run time only
    raise DeclarationError(
        f"{ast.unparse(node)!r} in {text!r} is not a type that a string can name",
        hint="use str, int, float, bool, date, datetime, list[...], dict[str, ...], Literal[...],"
        " Optional[...] or a union of these; for other types declare a function or a signature",
    )


def _constant(node: ast.expr, text: str) -> str | int | bool | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | bool | None):
        return node.value
    raise DeclarationError(f"{ast.unparse(node)!r} in {text!r} is not a literal label")


def unique(items: list[Any]) -> list[Any]:
    """The items without repetitions, first ones kept; `uniqueItems` of JSON schema."""
    kept: list[Any] = []
    for item in items:
        if not any(item == other and type(item) is type(other) for other in kept):
            kept.append(item)
    return kept


_ANNOTATIONS = {
    "title", "description", "default", "examples", "$comment", "$schema", "$id", "$defs",
    "definitions",
}  # fmt: skip
_LIMITS: dict[str, dict[str, str]] = {
    "string": {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"},
    "integer": {
        "minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt",
        "multipleOf": "multiple_of",
    },
    "array": {"minItems": "min_length", "maxItems": "max_length"},
    "object": {},
    "boolean": {},
    "null": {},
}  # fmt: skip
_LIMITS["number"] = _LIMITS["integer"]
_STRUCTURE: dict[str, set[str]] = {
    "string": {"format"},
    "array": {"items", "uniqueItems"},
    "object": {"properties", "required", "additionalProperties"},
}
_FORMATS = {"date": datetime.date, "date-time": datetime.datetime}


def type_from_schema(schema: Mapping[str, Any], where: str) -> Any:
    """The Python type that accepts what a JSON schema accepts.

    Args:
        schema: A JSON schema; references may point to its own `$defs` and may not recur.
        where: What to call the place in errors, such as `task 'intent'`.

    Raises:
        DeclarationError: The schema uses a keyword that is not supported, or is malformed.
    """
    return _SchemaReader(schema, where).read(schema, ())


class _SchemaReader:
    """Reads one schema; knows where its references lead."""

    def __init__(self, root: Mapping[str, Any], where: str) -> None:
        self.root = root
        self.where = where

    def fail(self, message: str) -> DeclarationError:
        return DeclarationError(f"output schema of {self.where}: {message}")

    def read(self, schema: Any, path: tuple[str, ...]) -> Any:
        if not isinstance(schema, dict):
            raise self.fail(f"expected an object, found {schema!r}")
        if "$ref" in schema:
            return self.follow(schema["$ref"], path)
        if "enum" in schema or "const" in schema:
            self.only(schema, {"enum", "const", "type"})
            labels = schema["enum"] if "enum" in schema else [schema["const"]]
            if not isinstance(labels, list) or not labels:
                raise self.fail("`enum` must be a list of at least one label")
            if any(isinstance(label, dict | list | float) for label in labels):
                raise self.fail("labels must be strings, whole numbers, booleans or null")
            return Literal[tuple(labels)]
        for union in ("anyOf", "oneOf"):
            if union in schema:
                self.only(schema, {union})
                return Union[tuple(self.read(part, path) for part in schema[union])]  # noqa: UP007
        kind = schema.get("type")
        if isinstance(kind, list):
            return Union[tuple(self.read({**schema, "type": one}, path) for one in kind)]  # noqa: UP007
        if kind not in _LIMITS:
            raise self.fail(f"`type` is {kind!r}, expected one of {', '.join(sorted(_LIMITS))}")
        self.only(schema, {"type"} | set(_LIMITS[kind]) | _STRUCTURE.get(kind, set()))
        limits: dict[str, Any] = {
            ours: re.compile(schema[theirs]) if theirs == "pattern" else schema[theirs]
            for theirs, ours in _LIMITS[kind].items()
            if theirs in schema
        }
        base = self.base(kind, schema, path)
        return Annotated[base, Field(**limits)] if limits else base

    def only(self, schema: dict[str, Any], known: Iterable[str]) -> None:
        if unknown := sorted(set(schema) - set(known) - _ANNOTATIONS):
            raise self.fail(f"keyword {unknown[0]!r} is not supported here")

    def follow(self, reference: Any, path: tuple[str, ...]) -> Any:
        if reference in path:
            raise self.fail(f"{reference!r} refers to itself; recursive types are not supported")
        target: Any = self.root
        for part in str(reference).removeprefix("#").strip("/").split("/"):
            if not isinstance(target, dict) or part not in target:
                raise self.fail(f"reference {reference!r} leads nowhere")
            target = target[part]
        return self.read(target, (*path, str(reference)))

    def base(self, kind: str, schema: dict[str, Any], path: tuple[str, ...]) -> Any:
        match kind:
            case "string":
                return _FORMATS.get(schema.get("format", ""), str)
            case "array":
                items = self.read(schema.get("items", {"type": "string"}), path)
                plain = list[items]  # type: ignore[valid-type]
                return (
                    Annotated[plain, AfterValidator(unique)] if schema.get("uniqueItems") else plain
                )
            case "object":
                return self.mapping(schema, path)
            case "number":
                return int | float
        return {"integer": int, "boolean": bool, "null": None}[kind]

    def mapping(self, schema: dict[str, Any], path: tuple[str, ...]) -> Any:
        extra = schema.get("additionalProperties", False)
        properties = schema.get("properties", {})
        if not properties:
            value = self.read(extra, path) if isinstance(extra, dict) else str
            return dict[str, value]  # type: ignore[valid-type]
        if isinstance(extra, dict):
            raise self.fail("`properties` and typed `additionalProperties` cannot stand together")
        required = set(schema.get("required", properties))
        members: dict[str, Any] = {}
        for key, part in properties.items():
            kind = self.read(part, path)
            members[key] = Required[kind] if key in required else NotRequired[kind]
        made = TypedDict("Object", members)  # type: ignore[misc]
        made.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]
        return made
