"""Python types out of text (`list[str]`) and out of JSON schemas, without evaluating either."""

from __future__ import annotations

import ast
import datetime
import math
import re
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, Required, Union
from urllib.parse import unquote

from pydantic import AfterValidator, Field
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic_core import PydanticCustomError, SchemaError
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from mtiprompt.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_SENSELESS = (
    PydanticUserError, PydanticUndefinedAnnotation, SchemaError, re.error, SyntaxError, NameError,
    AttributeError, LookupError, TypeError, ValueError, ArithmeticError, NotImplementedError,
    RecursionError, MemoryError,
)  # fmt: skip


@contextmanager
def refusing(message: str) -> Iterator[None]:
    """Turns what Python and pydantic raise on a type that makes no sense into a declaration error.

    Raises:
        DeclarationError: The block failed; it has the message, what was raised is the hint.
    """
    try:
        yield
    except _SENSELESS as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise DeclarationError(message, hint=f"{said:.200}") from None


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
    with refusing(f"{text.strip()!r:.80} is not a type"):
        return _from_node(ast.parse(text.strip(), mode="eval").body, text.strip())


def _from_node(node: ast.expr, text: str) -> Any:
    match node:
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.Constant(value=None):
            return None
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _from_node(left, text) | _from_node(right, text)
        case ast.Subscript(value=ast.Name(id=outer), slice=inner):
            parts = inner.elts if isinstance(inner, ast.Tuple) and inner.elts else [inner]
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
        f"{ast.unparse(node)!r:.80} in {text!r:.80} is not a type that a string can name",
        hint="use str, int, float, bool, date, datetime, list[...], dict[str, ...], Literal[...],"
        " Optional[...] or a union of these; for other types declare a function or a signature",
    )


def _constant(node: ast.expr, text: str) -> str | int | bool | None:
    match node:
        case ast.Constant(value=str() | int() | bool() | None as label):
            return label
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as number)):
            return -number
    raise DeclarationError(f"{ast.unparse(node)!r:.80} in {text!r:.80} is not a literal label")


def unique(items: list[Any]) -> list[Any]:
    """The items without repetitions, first ones kept; `uniqueItems` of JSON schema."""
    kept: dict[Any, Any] = {}
    for item in items:
        kept.setdefault(_identity(item), item)
    return list(kept.values())


def _identity(value: Any) -> Any:
    """Equal for values that JSON schema takes for equal: 1 and 1.0, but not 1 and true."""
    match value:
        case bool() | None:
            return value is None, value, "constant"
        case int() | float():
            return value
        case list():
            return tuple(map(_identity, value))
        case dict():
            return frozenset((key, _identity(part)) for key, part in value.items())
    return type(value), repr(value)


# --- JSON schemas to types -------------------------------------------------------------------

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
_ROUNDED: dict[str, Callable[[float], int]] = {
    "minimum": math.ceil, "maximum": math.floor,
    "exclusiveMinimum": math.floor, "exclusiveMaximum": math.ceil,
}  # fmt: skip


def type_from_schema(schema: Mapping[str, Any], where: str) -> Any:
    """The Python type that accepts what a JSON schema accepts.

    An object takes no other properties than those it names, whether or not the schema says so.

    Args:
        schema: A JSON schema; references may point to its own `$defs` and may not recur.
        where: What to call the place in errors, such as `task 'intent'`.

    Raises:
        DeclarationError: The schema uses a keyword that is not supported, leaves a type open, or
            is malformed.
    """
    with refusing(f"output schema of {where} cannot be read"):
        return _SchemaReader(schema, where).read(schema, ())


def one_type_each(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """A schema whose `type` is a list as one schema for each type, with that type's keywords."""
    limits = set().union(*_LIMITS.values(), *_STRUCTURE.values())
    return [
        {**{key: schema[key] for key in schema if key not in limits - _keywords(one)}, "type": one}
        for one in schema["type"]
    ]


def _keywords(kind: str) -> set[str]:
    return {"type"} | set(_LIMITS[kind]) | _STRUCTURE.get(kind, set())


def pointed(root: Any, reference: str) -> Any:
    """What a JSON pointer (RFC 6901) leads to, None if nowhere."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    target = root
    for part in unquote(reference).split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        target = target.get(key) if isinstance(target, dict) else None
    return target


def _in_steps(step: float) -> AfterValidator:
    # binary fractions would refuse 0.07 as a multiple of 0.01
    exact = Fraction(repr(step))

    def check(value: float) -> float:
        if (Fraction(repr(value)) / exact).denominator != 1:
            raise PydanticCustomError(
                "multiple_of", "Input should be a multiple of {multiple_of}", {"multiple_of": step}
            )
        return value

    return AfterValidator(check)


class _SchemaReader:
    """Reads one schema; knows where its references lead."""

    def __init__(self, root: Mapping[str, Any], where: str) -> None:
        self.root = root
        self.where = where

    def fail(self, message: str) -> DeclarationError:
        return DeclarationError(f"output schema of {self.where}: {message}")

    def read(self, schema: Any, path: tuple[str, ...]) -> Any:
        if not isinstance(schema, dict) or not all(isinstance(key, str) for key in schema):
            raise self.fail(f"expected an object, found {schema!r:.80}")
        if not isinstance(schema.get("description", ""), str):
            raise self.fail(f"`description` is {schema['description']!r:.80}, expected a text")
        if "$ref" in schema:
            self.only(schema, {"$ref"})
            return self.follow(schema["$ref"], path)
        if "enum" in schema or "const" in schema:
            return self.labels(schema)
        for union in ("anyOf", "oneOf"):
            if union in schema:
                self.only(schema, {union})
                parts = self.listed(union, schema[union])
                return Union[tuple(self.read(part, path) for part in parts)]  # noqa: UP007
        kinds = self.kinds(schema.get("type"))
        self.only(schema, set().union(*map(_keywords, kinds)))
        if isinstance(schema["type"], list):
            return Union[tuple(self.read(one, path) for one in one_type_each(schema))]  # noqa: UP007
        base = self.base(kinds[0], schema, path)
        limits = self.limits(kinds[0], schema)
        return Annotated[(base, *limits)] if limits else base

    def kinds(self, kind: Any) -> list[str]:
        kinds: list[Any] = self.listed("type", kind) if isinstance(kind, list) else [kind]
        for one in kinds:
            if not isinstance(one, str) or one not in _LIMITS:
                raise self.fail(
                    f"`type` is {one!r:.80}, expected one of {', '.join(sorted(_LIMITS))}"
                )
        return kinds

    def listed(self, key: str, value: Any) -> list[Any]:
        if not isinstance(value, list) or not value:
            raise self.fail(f"`{key}` must be a list of at least one")
        return value

    def only(self, schema: dict[str, Any], known: Iterable[str]) -> None:
        if unknown := sorted(set(schema) - set(known) - _ANNOTATIONS):
            raise self.fail(f"keyword {unknown[0]!r} is not supported here")

    def follow(self, reference: Any, path: tuple[str, ...]) -> Any:
        if reference in path:
            raise self.fail(f"{reference!r} refers to itself; recursive types are not supported")
        target = pointed(self.root, reference) if isinstance(reference, str) else None
        if target is None:
            raise self.fail(f"reference {reference!r:.80} leads nowhere")
        return self.read(target, (*path, reference))

    def labels(self, schema: dict[str, Any]) -> Any:
        self.only(schema, {"enum" if "enum" in schema else "const", "type"})
        labels = self.listed("enum", schema["enum"]) if "enum" in schema else [schema["const"]]
        if any(isinstance(label, dict | list | float) for label in labels):
            raise self.fail("labels must be strings, whole numbers, booleans or null")
        if "type" in schema:
            allowed = self.kinds(schema["type"])
            names = {str: {"string"}, bool: {"boolean"}, int: {"integer", "number"}}
            for label in labels:
                if not names.get(type(label), {"null"}) & set(allowed):
                    raise self.fail(f"the label {label!r:.80} is no {' or '.join(allowed)}")
        return Literal[tuple(labels)]

    def limits(self, kind: str, schema: dict[str, Any]) -> list[Any]:
        limits: dict[str, Any] = {}
        steps: list[Any] = []
        for key, ours in _LIMITS[kind].items():
            if key == "multipleOf" and key in schema:
                steps.append(_in_steps(self.number(key, schema[key], kind, above=0)))
            elif key in schema:
                limits[ours] = self.limit(key, schema[key], kind)
        if limits and schema.get("format") in _FORMATS:
            raise self.fail(f"`format` {schema['format']!r} goes with no other limit")
        return [*([Field(**limits)] if limits else []), *steps]

    def limit(self, key: str, value: Any, kind: str) -> Any:
        if key == "pattern":
            if not isinstance(value, str):
                raise self.fail(f"`pattern` is {value!r:.80}, expected a text")
            with refusing(f"output schema of {self.where}: `pattern` is {value!r:.80}"):
                return re.compile(value)
        number = self.number(key, value, kind)
        if kind in {"string", "array"} and (number < 0 or number != int(number)):
            raise self.fail(f"`{key}` is {value}, expected a whole number from 0")
        return int(number) if kind in {"string", "array"} else number

    def number(self, key: str, value: Any, kind: str, above: float = -math.inf) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not above < value < math.inf:
            raise self.fail(
                f"`{key}` is {value!r:.80}, expected a number" + (" above 0" if above == 0 else "")
            )
        number: float = _ROUNDED[key](value) if kind == "integer" and key in _ROUNDED else value
        return number

    def base(self, kind: str, schema: dict[str, Any], path: tuple[str, ...]) -> Any:
        match kind:
            case "string":
                name = schema.get("format", "")
                if not isinstance(name, str):
                    raise self.fail(f"`format` is {name!r:.80}, expected a text")
                return _FORMATS.get(name, str)
            case "array":
                if "items" not in schema:
                    raise self.fail("an array needs `items`, the type of what it holds")
                items = self.read(schema["items"], path)
                plain = list[items]  # type: ignore[valid-type]
                return Annotated[plain, AfterValidator(unique)] if self.is_unique(schema) else plain
            case "object":
                return self.mapping(schema, path)
            case "number":
                return int | float
        return {"integer": int, "boolean": bool, "null": None}[kind]

    def is_unique(self, schema: dict[str, Any]) -> bool:
        wanted = schema.get("uniqueItems", False)
        if not isinstance(wanted, bool):
            raise self.fail(f"`uniqueItems` is {wanted!r:.80}, expected true or false")
        return wanted

    def mapping(self, schema: dict[str, Any], path: tuple[str, ...]) -> Any:
        extra = schema.get("additionalProperties", False)
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        if not isinstance(properties, dict):
            raise self.fail(f"`properties` is {properties!r:.80}, expected an object")
        if not isinstance(required, list):
            raise self.fail(f"`required` is {required!r:.80}, expected a list of properties")
        if unknown := [name for name in required if name not in list(properties)]:
            raise self.fail(f"`required` names {unknown[0]!r:.80}, which is no property")
        if extra is not False and (properties or not isinstance(extra, dict)):
            raise self.fail(
                "an object with open `additionalProperties` is not supported beside `properties`"
                if properties
                else f"`additionalProperties` is {extra!r:.80}, expected a schema"
            )
        if not properties:
            if extra is False:
                raise self.fail("an object needs `properties`, or `additionalProperties` of a type")
            value = self.read(extra, path)
            return dict[str, value]  # type: ignore[valid-type]
        members: dict[str, Any] = {}
        for key, part in properties.items():
            kind = self.read(part, path)
            members[key] = Required[kind] if key in required else NotRequired[kind]
        made = TypedDict("Object", members)  # type: ignore[misc]
        made.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]
        return made
