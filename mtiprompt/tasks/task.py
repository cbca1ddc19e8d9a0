"""A task: what the other steps read. Everything that validates is built once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from mtiprompt.errors import DataError, DeclarationError
from mtiprompt.fieldtypes import refusing, type_from_schema
from mtiprompt.metrics import METRICS, is_function, warn_of_misfit
from mtiprompt.moments import is_misread_moment, no_date
from mtiprompt.tasks.field import Field, as_identifier, by_identifier, check_name
from mtiprompt.tasks.values import Values
from mtiprompt.tasks.written import ordered
from mtiprompt.whole_files import read_json

T = TypeVar("T")

Metric = str | Callable[[Any, Any], float] | Callable[[Any, Any, Mapping[str, Any]], float]
"""The name of a metric, or a function of (answer, gold), or of (answer, gold, the inputs of the
item), that gives a score from 0 to 1."""


@dataclass(frozen=True, eq=False)
class Task(Generic[T]):
    """One sub-task. `T` is the type of its answer.

    Attributes:
        name: What it is called in programs, plans and results; in the form NFKC.
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
        source: What declared it: the signature, function or pydantic model, or the task that it is
            by another name.
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
    source: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check the names, the options, and that every type and default can be validated."""
        object.__setattr__(self, "name", as_identifier(self.name))
        check_name(self.name, "a task", ': name="..."')
        where = f"task {self.name!r}"
        if not isinstance(self.instruction, str):
            raise DeclarationError(f"the instruction of {where} is not a text")
        self._check_options(where)
        if not self.outputs:
            raise DeclarationError(f"{where} has no output")
        names: list[str] = []
        for one in (*self.inputs, *self.outputs):
            if one.name in names:
                both = names.index(one.name) < len(self.inputs) <= len(names)
                raise DeclarationError(
                    f"{where} has two fields named {one.name!r}",
                    hint="a task cannot take and put out a field of the same name"
                    if both
                    else "rename one of them, or leave it out",
                )
            names.append(one.name)
            # a type that cannot be used is refused here, not later
            one.check_kept(is_output=len(names) > len(self.inputs))
        for one in self.inputs:
            try:
                _ = one.plain_default
            except Exception as error:  # noqa: BLE001  the seam to the check of a type's author
                raise DeclarationError(
                    f"the input {one.name!r} of {where} has the default {one.default!r:.80}",
                    hint=why(error),
                ) from None
        for one in self.outputs:
            _ = one.schema
        if len(self.outputs) > 1:
            warn_of_misfit(self.metric, self.name, dict)
        elif self.model is None:  # a model may make any value
            warn_of_misfit(self.metric, self.name, self.outputs[0].type)

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: not what declared it, which a task may have taken the name of."""
        return {**vars(self), "source": None}

    def __deepcopy__(self, memo: object) -> Task[T]:
        """Itself: nothing of it changes."""
        return self

    def _check_options(self, where: str) -> None:
        is_named = isinstance(self.metric, str) and self.metric in METRICS
        if not (self.metric is None or is_named or is_function(self.metric)):
            raise DeclarationError(
                f"the metric of {where} is {self.metric!r:.80}",
                hint=f"{', '.join(METRICS)}, or a function of (answer, gold) that is not async",
            )
        if not (self.validate is None or is_function(self.validate)):
            raise DeclarationError(
                f"`validate` of {where} is {self.validate!r:.80}",
                hint="give a function of the answer, which is not async",
            )
        if not isinstance(self.reasoning, bool):
            raise DeclarationError(
                f"`reasoning` of {where} is {self.reasoning!r:.80}", hint="give True or False"
            )

    def assemble(self, values: Mapping[str, Any]) -> T:
        """The answer made of validated field values.

        Raises:
            ValueError: The pydantic model of the answer refuses them together.
        """
        if self.bare:
            bare: T = values[self.outputs[0].name]
            return bare
        answer: Any = self._modelled(self.model, values) if self.model else Values(values)
        return answer  # type: ignore[no-any-return]

    @staticmethod
    def _modelled(model: type[BaseModel], values: Mapping[str, Any]) -> BaseModel:
        if model.__pydantic_root_model__:
            return model.model_validate(values["root"])
        aliases = {name: info.validation_alias for name, info in model.model_fields.items()}
        named = {
            alias if isinstance(alias := aliases.get(name), str) else name: value
            for name, value in values.items()
        }
        return model.model_validate(named, by_alias=True, by_name=True)

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
        if isinstance(answer, Mapping) and set(answer) != set(names):
            named = by_identifier(answer)
            answer = named if set(named) == set(names) else answer
        if isinstance(answer, Values | Mapping) and set(answer) == set(names):
            return {name: answer[name] for name in names}
        if len(names) == 1:
            return {names[0]: answer}
        raise DataError(
            f"task {self.name!r} has the output fields {', '.join(names)}; found {answer!r:.80}"
        )

    def dump(self, answer: T) -> dict[str, Any]:
        """The output fields of an answer as plain JSON data.

        Raises:
            ValueError: A value is no JSON.
        """
        made = self.values(answer)
        return {one.name: one.dump(made[one.name]) for one in self.outputs}

    def is_same(self, kept: Mapping[str, Any], again: Mapping[str, Any]) -> bool:
        """Whether two dumps of answers say the same; the items of a set are in no order."""
        return all(
            kept[one.name] == again[one.name]
            or (
                '"uniqueItems"' in json.dumps(one.schema)
                and _in_order(kept[one.name]) == _in_order(again[one.name])
            )
            for one in self.outputs
        )

    def read(self, answer: Any) -> dict[str, Any]:
        """Field values as plain JSON data out of an answer or of gold, validated.

        Raises:
            DataError: A value does not validate, or what a validator makes of it changes when it
                is validated again.
        """
        values = self.values(answer)
        try:
            return self._checked(values)
        except DataError:
            other = self._otherwise(answer, values)
            if other is None:
                raise
            with suppress(DataError):
                return self._checked(other)
            raise

    def _otherwise(self, answer: Any, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """The answer of one output taken for bare instead of wrapped, or the reverse."""
        name = self.outputs[0].name
        if len(self.outputs) > 1 or not isinstance(answer, Mapping):
            return None
        named = by_identifier(answer)
        if set(named) != {name}:
            return None
        return {name: named[name] if values[name] is answer else answer}

    def _checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        dumped = self._dumped(values)
        if dumped == values:
            return dumped
        hint = "a validator must leave its own output as it is"
        try:
            again = self._dumped(dumped)
        except DataError as error:
            what = f"the check of task {self.name!r} refuses what it has made: {error.hint}"
            raise DataError(what, hint=hint) from None
        if not self.is_same(dumped, again):
            pairs = zip(dumped.values(), again.values(), strict=True)
            first, second = next((one, other) for one, other in pairs if one != other)
            raise DataError(
                f"the check of task {self.name!r} changes what it has made: "
                f"{first!r:.80} -> {second!r:.80}",
                hint=hint,
            )
        return dumped

    def _dumped(self, values: Mapping[str, Any]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        value: Any = None
        try:
            for one in self.outputs:
                value = values[one.name]
                text = one.spelled(to_json(ordered(value, inside=True), round_trip=True))
                kept[one.name], text = one.strictly(text)
                plain = one.dump(kept[one.name])
                if is_misread_moment(json.loads(text), plain, one.schema):
                    raise ValueError(no_date(one.schema))
            value = dict(values)
            dumped = self.dump(self.assemble(kept))
            json.dumps(dumped, allow_nan=False)
        except Exception as error:  # noqa: BLE001  the seam to the check of a type's author
            raise DataError(
                f"task {self.name!r} cannot have the answer {value!r:.80}", hint=why(error)
            ) from None
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
        if isinstance(source, str | PathLike):
            source = read_json(source)
        if not isinstance(source, Mapping):
            raise DeclarationError(
                f"not a task file: {source!r:.80}", hint="give a path or a mapping"
            )
        return _tasks_of_file(source)


def first_line(error: Exception) -> str:
    """What a validator says, in one line, without the input and without links."""
    if isinstance(error, ValidationError):
        parts = []
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            place = ".".join(str(part) for part in problem["loc"])
            parts.append(f"{place}: {problem['msg']}" if place else problem["msg"])
        return "; ".join(parts)
    return (str(error).splitlines() or [type(error).__name__])[0]


def why(error: Exception) -> str:
    """What the check of a type raised, in one line; its kind too where it is no refusal."""
    said = first_line(error)
    if isinstance(error, ValueError | TypeError):  # pydantic: a limit on a union
        return said
    return f"the type's own check raised {type(error).__name__}: {said}"


def _in_order(value: Any) -> Any:
    """Plain JSON data with the items of every list sorted."""
    if isinstance(value, dict):
        return {key: _in_order(part) for key, part in value.items()}
    return sorted(map(_in_order, value), key=json.dumps) if isinstance(value, list) else value


_FILE = (
    'it needs "inputs" and "subtasks", each with "name"; '
    'a sub-task also "instruction" and "output_schema"'
)


def _listed(part: Mapping[str, Any], key: str, default: list[Any] | None = None) -> list[Any]:
    found: Any = part[key] if default is None else part.get(key, default)
    if not isinstance(found, list | tuple):
        raise DeclarationError(f"not a task file: {key!r} is no list", hint=_FILE)
    return list(found)


def _objects(spec: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = _listed(spec, key)
    for one in found:
        if not isinstance(one, Mapping):
            raise DeclarationError(
                f"not a task file: {one!r:.80} in {key!r} is no object", hint=_FILE
            )
    return found


_KEYS = ("name", "instruction", "output_schema", "depends_on", "metric", "description")


def _check_keys(parts: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a key of a sub-task that is nearly one that it lacks; other notes are let be."""
    for part in parts:
        where = f"task {part.get('name')!r:.80} of the task file has the key"
        if "inputs" in part:
            hint = "leave it out: every task of a file reads all inputs of the file"
            raise DeclarationError(f"{where} 'inputs'", hint=hint)
        for key in part:
            meant = get_close_matches(str(key), _KEYS, 1, 0.8)
            if meant and meant[0] not in part:
                raise DeclarationError(f"{where} {key!r:.80}", hint=f"write {meant[0]!r}")


def _tasks_of_file(spec: Mapping[str, Any]) -> list[Task[Any]]:
    try:
        inputs = tuple(
            Field(one["name"], str, one.get("description", "")) for one in _objects(spec, "inputs")
        )
        parts = _objects(spec, "subtasks")
        _check_keys(parts)
        outputs: dict[str, Field] = {}
        for part in parts:
            one = _output_of(part)
            if one.name in outputs:
                raise DeclarationError(f"a task file has two sub-tasks named {one.name!r}")
            outputs[one.name] = one
        tasks = []
        for part in parts:
            upstream = []
            for name in _listed(part, "depends_on", []):
                source = outputs.get(as_identifier(name)) if isinstance(name, str) else None
                if source is None:
                    raise DeclarationError(
                        f"task {part['name']!r} depends on {name!r}, which is not there"
                    )
                upstream.append(source)
            tasks.append(
                Task[Any](
                    name=part["name"],
                    instruction=part["instruction"],
                    inputs=(*inputs, *upstream),
                    outputs=(outputs[as_identifier(part["name"])],),
                    metric=part.get("metric"),
                )
            )
    except KeyError as error:
        raise DeclarationError(
            f"not a task file: {first_line(error)} is missing", hint=_FILE
        ) from None
    if not tasks:
        raise DeclarationError("a task file needs at least one of `subtasks`")
    return tasks


def _output_of(part: Mapping[str, Any]) -> Field:
    name, schema = part["name"], part["output_schema"]
    check_name(name, "a task")
    where = f"task {name!r}"
    kind = type_from_schema(schema, where)
    with refusing(f"output schema of {where} is no JSON"):
        text = json.dumps(schema, ensure_ascii=False)
    return Field(
        name, kind, part.get("description", "") or schema.get("description", ""), given_schema=text
    )
