"""A task and its fields: what the other steps read. Everything that validates is built once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import pydantic
from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_json

from mtiprompt.errors import DataError, DeclarationError
from mtiprompt.fieldtypes import type_from_schema

T = TypeVar("T")

Metric = str | Callable[[Any, Any], float]
"""The name of a metric, or a function of (answer, gold) that gives a score from 0 to 1."""


@dataclass(frozen=True, eq=False)
class Field:
    """One typed input or output of a task.

    Attributes:
        name: Its name, an identifier that does not begin with an underscore.
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
        """Check the name."""
        if not self.name.isidentifier() or self.name.startswith("_") or "__" in self.name:
            raise DeclarationError(
                f"{self.name!r} cannot be the name of a field",
                hint="use letters, digits and single underscores, a letter first",
            )

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """The validator of its values, built once."""
        try:
            return TypeAdapter(self.type)
        except (
            pydantic.errors.PydanticUserError,
            pydantic.errors.PydanticUndefinedAnnotation,
        ) as e:
            raise DeclarationError(
                f"field {self.name!r} has the type {self.type!r}, which cannot be validated",
                hint=str(e).splitlines()[0],
            ) from None

    def dump(self, value: Any) -> Any:
        """The value as plain JSON data."""
        return self.adapter.dump_python(value, mode="json")


class Values:
    """The output fields of one task, by attribute or by key; `vars(values)` gives them all.

    It has no public methods, so that no field name can collide with one.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        vars(self).update(fields)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refused: answers are not changed."""
        raise AttributeError("the answers of a result cannot be changed")

    def __getitem__(self, name: str) -> Any:
        """The value of a field."""
        return vars(self)[name]

    def __iter__(self) -> Iterator[str]:
        """The names of the fields, in order."""
        return iter(vars(self))

    def __len__(self) -> int:
        """The number of fields."""
        return len(vars(self))

    def __eq__(self, other: object) -> bool:
        """Equal to other `Values` with the same fields."""
        return isinstance(other, Values) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """As `Values(label='spam')`."""
        return f"Values({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


@dataclass(frozen=True, eq=False)
class Task(Generic[T]):
    """One sub-task. `T` is the type of its answer.

    Attributes:
        name: What it is called in programs, plans and results.
        instruction: What the model is asked to do.
        inputs: What it reads.
        outputs: What it writes, in order.
        metric: How its answers are scored, if they are.
        reasoning: Whether the model writes a short reason before its answer, unless a plan says
            otherwise.
        validate: A last check of the answer: it raises `ValueError` (its message goes to the model
            on repair) or returns False to refuse the answer.
        bare: Whether the answer is the value of its one output, not an object with fields.
        model: The pydantic model that the answer is an instance of, if there is one.
    """

    name: str
    instruction: str
    inputs: tuple[Field, ...]
    outputs: tuple[Field, ...]
    metric: Metric | None = None
    reasoning: bool = False
    validate: Callable[[T], bool | None] | None = field(default=None, repr=False)
    bare: bool = False
    model: type[BaseModel] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check the names and that every type can be validated."""
        Field(self.name, str)
        where = f"task {self.name!r}"
        if not self.outputs:
            raise DeclarationError(f"{where} has no output")
        seen: set[str] = set()
        for one in (*self.inputs, *self.outputs):
            if one.name in seen:
                raise DeclarationError(
                    f"{where} has two fields named {one.name!r}",
                    hint="a task cannot take and put out a field of the same name",
                )
            seen.add(one.name)
            _ = one.adapter  # a type that cannot be validated is refused here, not later

    def assemble(self, values: Mapping[str, Any]) -> T:
        """The answer made of validated field values.

        Raises:
            ValueError: The pydantic model of the answer refuses them together.
        """
        if self.bare:
            bare: T = values[self.outputs[0].name]
            return bare
        answer: Any = self.model.model_validate(dict(values)) if self.model else Values(values)
        return answer  # type: ignore[no-any-return]

    def values(self, answer: Any) -> dict[str, Any]:
        """The field values of an answer, or of gold: the reverse of `assemble`.

        A task with one output also takes the bare value.

        Raises:
            DataError: The answer lacks a field.
        """
        names = [one.name for one in self.outputs]
        if self.bare:
            return {names[0]: answer}
        if self.model and isinstance(answer, self.model):
            return {name: getattr(answer, name) for name in names}
        if isinstance(answer, Values | Mapping) and set(answer) == set(names):
            return {name: answer[name] for name in names}
        if len(names) == 1:
            return {names[0]: answer}
        raise DataError(
            f"task {self.name!r} has the output fields {', '.join(names)}; found {answer!r:.80}"
        )

    def read(self, answer: Any) -> dict[str, Any]:
        """Field values as plain JSON data out of an answer or of gold, validated.

        Raises:
            DataError: A value does not validate.
        """
        dumped: dict[str, Any] = {}
        for one, value in zip(self.outputs, self.values(answer).values(), strict=True):
            try:
                kept = one.adapter.validate_json(to_json(value), strict=True)
            except ValueError as error:
                raise DataError(
                    f"task {self.name!r} cannot have the answer {value!r:.80}",
                    hint=first_line(error),
                ) from None
            dumped[one.name] = one.dump(kept)
        return dumped

    @staticmethod
    def from_json_schema(source: Mapping[str, Any] | str | Path) -> list[Task[Any]]:
        """The tasks of a `NAME.task.json` file or of its content.

        Args:
            source: A path, or a mapping with `inputs` (`name`, `description`) and `subtasks`
                (`name`, `instruction`, `output_schema`, `depends_on`, `metric`).

        Raises:
            DataError: The file is missing or no JSON.
            DeclarationError: A part of it is missing or cannot be supported.
        """
        spec = source if isinstance(source, Mapping) else read_json(source)
        return _tasks_of_file(spec)


def first_line(error: Exception) -> str:
    """What a validator says, in one line, without the input and without links."""
    if isinstance(error, pydantic.ValidationError):
        parts = []
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            place = ".".join(str(part) for part in problem["loc"])
            parts.append(f"{place}: {problem['msg']}" if place else problem["msg"])
        return "; ".join(parts)
    return (str(error).splitlines() or [type(error).__name__])[0]


def read_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: The file cannot be read, or is no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None


def _tasks_of_file(spec: Mapping[str, Any]) -> list[Task[Any]]:
    try:
        inputs = tuple(
            Field(one["name"], str, one.get("description", "")) for one in spec["inputs"]
        )
        parts = list(spec["subtasks"])
        outputs = {
            part["name"]: Field(
                part["name"],
                type_from_schema(part["output_schema"], f"task {part['name']!r}"),
                part.get("description", ""),
                given_schema=json.dumps(part["output_schema"], ensure_ascii=False),
            )
            for part in parts
        }
        tasks = []
        for part in parts:
            upstream = []
            for name in part.get("depends_on", ()):
                if name not in outputs:
                    raise DeclarationError(
                        f"task {part['name']!r} depends on {name!r}, which is not there"
                    )
                upstream.append(outputs[name])
            tasks.append(
                Task[Any](
                    name=part["name"],
                    instruction=part["instruction"],
                    inputs=(*inputs, *upstream),
                    outputs=(outputs[part["name"]],),
                    metric=part.get("metric"),
                )
            )
    except (KeyError, TypeError) as error:
        raise DeclarationError(
            f"not a task file: {first_line(error)} is missing or misplaced",
            hint='it needs "inputs" and "subtasks", each with "name"; '
            'a sub-task also "instruction" and "output_schema"',
        ) from None
    return tasks
