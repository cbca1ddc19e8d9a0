"""A field of a task: its name and type, the validator and the JSON schema made of the type."""

from __future__ import annotations

import json
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_json

from mtiprompt.errors import DeclarationError
from mtiprompt.fieldtypes import pointed, refusing
from mtiprompt.moments import as_given, is_misread_moment, no_date
from mtiprompt.tasks.core_schema import lost, other_names
from mtiprompt.tasks.labels import spelled, spellings
from mtiprompt.tasks.whole import whole
from mtiprompt.tasks.written import OrderedSchema, ordered


def as_identifier(name: Any) -> Any:
    """A name as Python has it, which reads identifiers in the form NFKC; what is no text stays."""
    return unicodedata.normalize("NFKC", name) if isinstance(name, str) else name


def by_identifier(given: Any) -> dict[Any, Any]:
    """A mapping with its names as Python has them, or as it is where two of them would be one."""
    named = {as_identifier(name): given[name] for name in given}
    return named if len(named) == len(given) else dict(given)


def is_name(name: Any) -> bool:
    """Whether a task or a field can have this name."""
    valid = isinstance(name, str) and name.isidentifier()
    return valid and not name.startswith("_") and "__" not in name


def check_name(name: Any, of: str, hint: str = "") -> None:
    """Refuse what cannot be a name.

    Args:
        name: The name.
        of: What it names, as `"a field"`.
        hint: What else to tell, behind the letters that a name may have.

    Raises:
        DeclarationError: It cannot be the name of a task or a field.
    """
    if not is_name(name):
        raise DeclarationError(
            f"{name!r:.80} cannot be the name of {of}",
            hint=f"use letters, digits and single underscores, a letter first{hint}",
        )


class _Complete(GenerateJsonSchema):
    """Has the model write the fields with defaults too, as strict providers ask."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        return field["type"] != "typed-dict-field" or super().field_is_required(field, total)


@dataclass(frozen=True, eq=False)
class Field:
    """One typed input or output of a task.

    Attributes:
        name: Its name, an identifier that does not begin with an underscore; in the form NFKC.
        type: Its Python type, constraints included (`Annotated[int, Field(ge=0)]`).
        description: What it is, in a few words; may be empty.
        required: Whether an input must be given.
        default: The value of an input that was not given.
        given_schema: The JSON schema it was declared with, as text, if it was.
    """

    name: str
    type: Any
    description: str = ""
    required: bool = True
    default: Any = None
    given_schema: str | None = None

    def __post_init__(self) -> None:
        """Check the name and what stands beside it."""
        object.__setattr__(self, "name", as_identifier(self.name))
        check_name(self.name, "a field")
        if not isinstance(self.description, str):
            raise DeclarationError(f"the description of field {self.name!r} is not a text")

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """The validator of its values, built once.

        Raises:
            DeclarationError: The type cannot be validated.
        """
        with refusing(f"field {self.name!r} has the type {self._shown}, which cannot be validated"):
            if isinstance(self.type, str):  # pydantic would look it up among the names of this file
                raise NameError(f"it is not resolved: {self.type}")
            made = TypeAdapter(self.type)
            if not made.pydantic_complete:
                made.rebuild(raise_errors=True)
            return made

    def check_kept(self, *, is_output: bool) -> None:
        """Refuse a type whose values are not what is sent, or not what is kept of an answer.

        Raises:
            DeclarationError: It cannot be validated, or values are lost when they are written out.
        """
        if found := lost(self.adapter.core_schema, is_output=is_output):
            what, hint = found
            raise DeclarationError(
                f"field {self.name!r} has the type {self._shown}, {what}", hint=hint
            )

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of its values, references inlined; not to be changed by the reader.

        Raises:
            DeclarationError: The type refers to itself, or JSON cannot express it.
        """
        with refusing(f"field {self.name!r} has the type {self._shown}, which is no JSON"):
            if self.given_schema:
                return plain_schema(json.loads(self.given_schema), self.name)
            raw = self.adapter.json_schema(schema_generator=_Complete)
            if name := _read_otherwise(raw, self.adapter.json_schema(mode="serialization")):
                raise DeclarationError(
                    f"field {self.name!r} has a model that reads {name!r} but does not write it",
                    hint="give it one `alias` for both",
                )
            return plain_schema(raw, self.name)

    @property
    def full_schema(self) -> dict[str, Any]:
        """The JSON schema of its type as pydantic writes it, words and defaults too."""
        return self.adapter.json_schema(schema_generator=OrderedSchema)

    @cached_property
    def as_it_is(self) -> tuple[type, frozenset[Any] | None] | None:
        """For values that are their own JSON: their type, and the labels if they are some.

        Such a value needs no validator, which would take longer than to look at it.
        """
        # by identity: a type has no hash where a mark in `Annotated` has none
        if self.type is str or self.type is bool or self.type is int:
            return self.type, None
        if get_origin(self.type) is Literal and all(
            type(one) is str for one in get_args(self.type)
        ):
            return str, frozenset(get_args(self.type))
        return None

    def is_as_it_is(self, value: Any) -> bool:
        """Whether a value of plain JSON data is valid without a look at its validator."""
        known = self.as_it_is
        if known is None or type(value) is not known[0]:
            return False
        return known[1] is None or value in known[1]

    @cached_property
    def plain_default(self) -> Any:
        """What stands for an input that was not given, as plain JSON data; None if nothing does.

        It is validated as a given value is, and raises what the validators raise.
        """
        if self.required or self.default is None:
            return None
        return self.read(self.default)

    def spelled(self, text: bytes) -> bytes:
        """JSON text of a value, its labels as the type has them.

        Unicode writes some letters in two ways that look the same.
        """
        if not self._spellings:
            return text
        return to_json(spelled(json.loads(text), self._spellings))

    def strictly(self, text: bytes) -> tuple[Any, bytes]:
        """The value that JSON text has, nothing converted but 5.0 to a whole number.

        Returns:
            The value, and the text that it was made of.

        Raises:
            ValidationError: It does not fit; what the checks of the type's author raise is handed
                on.
        """
        try:
            return self.adapter.validate_json(text, strict=True), text
        except ValidationError as error:
            text = to_json(whole(json.loads(text), error))
            return self.adapter.validate_json(text, strict=True), text

    @cached_property
    def _spellings(self) -> dict[str, str]:
        """Those of its labels; none where it has no schema."""
        with suppress(DeclarationError):  # an input need not have a schema
            return spellings(self.schema)
        return {}

    @property
    def _shown(self) -> str:
        return f"{self.type!r:.80}"

    def read(self, value: Any) -> Any:
        """A given value, validated, as plain JSON data.

        Raises:
            ValueError: It does not fit, or a number stands where a date should; what the checks of
                the type's author raise is handed on.
        """
        if self._spellings:
            value = spelled(value, self._spellings)
        value = ordered(value)
        made = self.dump(self.adapter.validate_python(value))
        if self._has_dates:
            given = as_given(value, self.schema, self._other_names)
            if is_misread_moment(given, made, self.schema):
                raise ValueError(no_date(self.schema))
        return made

    @cached_property
    def _has_dates(self) -> bool:
        with suppress(DeclarationError):  # an input need not have a schema
            return '"format": "date' in json.dumps(self.schema)
        return False

    @cached_property
    def _other_names(self) -> dict[str, set[str]]:
        return other_names(self.adapter.core_schema)

    def dump(self, value: Any) -> Any:
        """The value as plain JSON data, as a reply would have it.

        Raises:
            ValueError: It is no JSON.
        """
        if self.is_as_it_is(value):
            return value
        return self.adapter.dump_python(
            # a validator of a pydantic model may have made a value of another type
            ordered(value, inside=True), mode="json", by_alias=True, round_trip=True, warnings=False
        )  # fmt: skip


# --- JSON schemas -------------------------------------------------------------------------------

_DROPPED = {"title", "default", "examples", "$defs", "definitions", "$schema", "$id", "$comment",
            "discriminator"}  # fmt: skip


def _read_otherwise(read: dict[str, Any], written: dict[str, Any]) -> str | None:
    """A property of a model that is not written under the name it is read by."""
    models = [(read, written)]
    for key, one in read.get("$defs", {}).items():
        models.append((one, written.get("$defs", {}).get(key, {})))
    for ours, theirs in models:
        if "properties" in theirs:
            for name in ours.get("properties", ()):
                if name not in theirs["properties"]:
                    return str(name)
    return None


def plain_schema(raw: dict[str, Any], name: str) -> dict[str, Any]:
    """A JSON schema with references inlined; titles, defaults and examples left out.

    Raises:
        DeclarationError: The type of the field of this name refers to itself.
    """
    plain: dict[str, Any] = _plain(raw, raw, name, ())
    return plain


def _plain(part: Any, root: Any, name: str, path: tuple[str, ...]) -> Any:
    if isinstance(part, list):
        return [_plain(one, root, name, path) for one in part]
    if not isinstance(part, dict):
        return part
    if reference := part.get("$ref"):
        if reference in path:
            raise DeclarationError(
                f"field {name!r} has a type that refers to itself",
                hint="no provider enforces recursive types; bound the depth",
            )
        target = pointed(root, reference)
        if not isinstance(target, dict):
            raise DeclarationError(f"field {name!r}: reference {reference!r} leads nowhere")
        beside = {key: value for key, value in part.items() if key != "$ref"}
        return _plain({**target, **beside}, root, name, (*path, reference))
    plain = {
        "anyOf" if key == "oneOf" else key: value
        if key in {"enum", "const", "required"}
        else _plain(value, root, name, path)
        for key, value in part.items()
        if key not in _DROPPED and key != "properties"
    }
    if "properties" in part:
        members = {key: _plain(one, root, name, path) for key, one in part["properties"].items()}
        plain |= {
            "properties": members,
            "required": [key for key in members if key in part.get("required", ())],
            "additionalProperties": False,
        }
    return plain


_BY_NAME = {"properties", "patternProperties", "$defs"}
_NO_SCHEMA = {"enum", "const", "default", "examples", "discriminator"}


def without_words(schema: Any) -> Any:
    """A JSON schema without titles and descriptions; fields of those names stay."""
    if isinstance(schema, list):
        return [without_words(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _BY_NAME:
            kept[key] = {name: without_words(part) for name, part in value.items()}
        elif key not in {"title", "description"}:
            kept[key] = value if key in _NO_SCHEMA else without_words(value)
    return kept
