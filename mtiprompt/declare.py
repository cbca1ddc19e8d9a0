"""Tasks, declared apart: from a signature, a string, a pydantic model or a typed function."""

from __future__ import annotations

import dis
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import UnionType
from typing import (
    Annotated,
    Any,
    ForwardRef,
    TypedDict,
    TypeVar,
    Union,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from pydantic import AfterValidator, BaseModel, BeforeValidator, PlainValidator, WrapValidator
from pydantic.fields import FieldInfo

from mtiprompt.errors import DeclarationError
from mtiprompt.fieldtypes import refusing, type_from_text
from mtiprompt.tasks import Field, Metric, Task, as_identifier, check_name, is_name

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


def is_signature(value: Any) -> bool:
    """Whether a value is a DSPy signature; told by its attributes, without importing dspy."""
    marks = ("input_fields", "output_fields", "instructions", "with_instructions")
    return isinstance(value, type) and all(hasattr(value, mark) for mark in marks)


def _from_signature(signature: Any, name: str | None, instruction: str | None) -> Task[Any]:
    def convert(name: str, info: Any) -> Field:
        kind = info.annotation
        if isinstance(kind, str | ForwardRef):
            raise DeclarationError(
                f"field {name!r} of {signature.__name__!r} has the unresolved type {kind}",
                hint="define the type at module level, or call model_rebuild() on the signature",
            )
        # DSPy keeps ge=, max_length=, ... in the metadata and validates without them
        if info.metadata:
            kind = Annotated[(kind, *info.metadata)]
        description = (info.json_schema_extra or {}).get("desc", "")
        if description == f"${{{name}}}":  # DSPy's own, where nothing is said
            description = info.description or ""
        required = info.is_required()
        return Field(
            name,
            kind,
            description,
            required=required,
            default=None if required else info.get_default(call_default_factory=True),
        )

    inputs = tuple(convert(*item) for item in signature.input_fields.items())
    outputs = tuple(convert(*item) for item in signature.output_fields.items())
    unnamed = signature.__name__ in {"StringSignature", "Signature"}
    own = _joined(outputs) if unnamed else snake_case(signature.__name__)
    return Task(
        name=own if name is None else name,
        instruction=instruction or signature.instructions,
        inputs=inputs,
        outputs=outputs,
        source=signature,
    )


def snake_case(name: str) -> str:
    """`CustomerMood` as `customer_mood`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _joined(outputs: Iterable[Field]) -> str:
    return "_".join(one.name for one in outputs)


def _split(text: str, mark: str) -> list[str]:
    """The parts between marks that stand outside brackets and quotes."""
    parts, depth, quote, start, escaped = [], 0, "", 0, False
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote and not escaped else quote
            escaped = letter == "\\" and not escaped
        elif letter in "'\"":
            quote = letter
        elif letter in "[(":
            depth += 1
        elif letter in "])":
            depth -= 1
        elif depth == 0 and text.startswith(mark, place):
            parts.append(text[start:place])
            start = place + len(mark)
    return [*parts, text[start:]]


def _fields_of_text(text: str, whole: str) -> tuple[Field, ...]:
    fields = []
    for part in _split(text, ","):
        name, _, kind = part.partition(":")
        if not name.strip():
            raise DeclarationError(
                f"{whole!r} is not a signature", hint='write it like "message -> urgent: bool"'
            )
        fields.append(Field(name.strip(), type_from_text(kind) if kind.strip() else str))
    return tuple(fields)


def _from_string(text: str, name: str | None, instruction: str | None) -> Task[Any]:
    sides = _split(text, "->")
    if len(sides) != 2:
        raise DeclarationError(
            f"{text!r} is not a signature", hint='write it like "message -> urgent: bool"'
        )
    inputs, outputs = (_fields_of_text(side, text) for side in sides)
    return Task(
        name=_joined(outputs) if name is None else name,
        instruction=instruction or f"From {_listed(inputs)}, give {_listed(outputs)}.",
        inputs=inputs,
        outputs=outputs,
    )


def _listed(fields: Iterable[Field]) -> str:
    return ", ".join(f"`{one.name}`" for one in fields)


_CHECKS = (AfterValidator, BeforeValidator, PlainValidator, WrapValidator)


def _unchecked(kind: Any) -> Any:
    """A type without the functions that validate it; limits beside these may count after them."""
    if get_origin(kind) is Annotated:
        base, *marks = get_args(kind)
        if any(isinstance(mark, PlainValidator) for mark in marks):
            return Any
        if any(isinstance(mark, _CHECKS) for mark in marks):
            return _unchecked(base)
        bare = _unchecked(base)
        return kind if bare is base else Annotated[(bare, *marks)]
    parts = get_args(kind)
    bare_parts = tuple(_unchecked(part) for part in parts)
    if all(bare is part for bare, part in zip(bare_parts, parts, strict=True)):
        return kind
    outer: Any = get_origin(kind)
    return Union[bare_parts] if outer in {Union, UnionType} else outer[bare_parts]  # noqa: UP007


def _field_of_model(name: str, info: FieldInfo) -> Field:
    kind: Any = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
    whole = Field(name, kind, info.description or "")
    bare = _unchecked(kind)
    if bare is kind:
        return whole
    # the model runs its validators itself, once; what it asks for is what the schema says
    return replace(whole, type=bare, given_schema=json.dumps(whole.schema, ensure_ascii=False))


def _from_model(
    model: type[M],
    inputs: Sequence[str] | Mapping[str, Any] | None,
    name: str | None,
    instruction: str | None,
) -> Task[M]:
    instruction = instruction or inspect.cleandoc(vars(model).get("__doc__") or "")
    if not inputs or not instruction:
        raise DeclarationError(
            f"the pydantic model {model.__name__!r} needs "
            f"{'input names' if not inputs else 'an instruction'}",
            hint=f'mti.task({model.__name__}, inputs=["message"], instruction="...")',
        )
    if isinstance(inputs, str):
        inputs = [inputs]
    with refusing(f"the pydantic model {model.__name__!r} has a type that is not known"):
        model.model_rebuild()
    if odd := [one for one in model.model_fields if as_identifier(one) != one]:
        raise DeclarationError(
            f"the pydantic model {model.__name__!r} has the field {odd[0]!r} in decomposed letters",
            hint="write its name in the form NFKC",
        )
    with refusing(f"`inputs` of the pydantic model {model.__name__!r} are not names"):
        typed = inputs if isinstance(inputs, Mapping) else dict.fromkeys(inputs, str)
    return Task(
        name=snake_case(model.__name__) if name is None else name,
        instruction=instruction,
        inputs=tuple(Field(key, kind, _said(kind)) for key, kind in typed.items()),
        outputs=tuple(_field_of_model(*item) for item in model.model_fields.items()),
        model=model,
        source=model,
    )


_EMPTY = {"RESUME", "NOP", "NOT_TAKEN", "LOAD_CONST", "LOAD_SMALL_INT", "RETURN_VALUE",
          "RETURN_CONST", "COPY_FREE_VARS", "RETURN_GENERATOR", "POP_TOP", "CALL_INTRINSIC_1",
          "RERAISE"}  # fmt: skip
_REFUSING = {"LOAD_GLOBAL", "PUSH_NULL", "CALL", "PRECALL", "RAISE_VARARGS"}
_CONSTANTS = {"LOAD_CONST", "LOAD_SMALL_INT", "RETURN_CONST"}


def _has_body(function: Callable[..., Any]) -> bool:
    """Whether a function does anything but raise NotImplementedError, as type checkers want."""
    code = function.__code__
    steps = list(dis.get_instructions(code))
    used = {one.opname for one in steps} - _EMPTY
    if not used:
        constants = [one.argval for one in steps if one.opname in _CONSTANTS]
        return any(one is not None and one is not ... for one in constants)
    refusing_only = used <= _REFUSING and "RAISE_VARARGS" in used
    return not (refusing_only and code.co_names == ("NotImplementedError",))


def _said(kind: Any) -> str:
    """The description beside a type in `Annotated`, empty if there is none."""
    said = [one.description for one in get_args(kind)[1:] if isinstance(one, FieldInfo)]
    return next(filter(None, said), "")


def _from_function(
    function: Callable[..., T], name: str | None, instruction: str | None
) -> Task[T]:
    where = f"function {function.__name__!r}"
    if _has_body(function):
        raise DeclarationError(
            f"{where} has a body, which would never run",
            hint="a task is declared by name, docstring and types; the model writes the answer",
        )
    with refusing(f"{where} has a type that is not known where its module is, or is no Python"):
        hints = get_type_hints(function, include_extras=True)
    if hints.get("return", type(None)) is type(None):
        raise DeclarationError(f"{where} has no return type", hint="write -> str, -> bool, ...")
    inputs = []
    for key, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            raise DeclarationError(f"{where} takes *{key}", hint="name every input")
        required = parameter.default is parameter.empty
        default = None if required else parameter.default
        kind = hints.get(key, str)
        inputs.append(Field(key, kind, _said(kind), required=required, default=default))
    instruction = instruction or inspect.getdoc(function)
    if not instruction:
        raise DeclarationError(f"{where} has no docstring", hint="it is the instruction")
    name = function.__name__ if name is None else name
    check_name(name, "a task", ': name="..."')
    # a rename does not change the field, unless it has to
    field = function.__name__ if is_name(function.__name__) else name
    kind = hints["return"]
    return Task(
        name=name,
        instruction=instruction,
        inputs=tuple(inputs),
        outputs=(Field(field, kind, _said(kind)),),
        bare=True,
        source=function,
    )


def as_task(
    declaration: Any,
    *,
    inputs: Sequence[str] | Mapping[str, Any] | None = None,
    name: str | None = None,
    instruction: str | None = None,
) -> Task[Any]:
    """The task that any kind of declaration stands for.

    Args:
        declaration: The declaration.
        inputs: The inputs, for a pydantic model.
        name: What to call it, if not after the declaration.
        instruction: What to ask, if not what the declaration says.

    Raises:
        DeclarationError: It is none of the kinds, or declared wrongly.
    """
    if isinstance(declaration, Task):
        made = declaration if name is None else replace(declaration, name=name, source=declaration)
        made = replace(made, instruction=instruction) if instruction else made
    elif isinstance(declaration, str):
        made = _from_string(declaration, name, instruction)
    elif is_signature(declaration):
        made = _from_signature(declaration, name, instruction)
    elif isinstance(declaration, type) and issubclass(declaration, BaseModel):
        return _from_model(declaration, inputs, name, instruction)
    elif inspect.isfunction(declaration):
        made = _from_function(declaration, name, instruction)
    else:
        raise DeclarationError(
            f"{declaration!r:.80} does not declare a task",
            hint='use a signature, a string like "message -> urgent: bool", a typed function, '
            "a pydantic model or a Task",
        )
    if inputs:
        raise DeclarationError(
            f"task {made.name!r} has its inputs already", hint="`inputs=` is for pydantic models"
        )
    return made


# --- the public face -------------------------------------------------------------------------


class TaskOptions(TypedDict, total=False):
    """What `task` can say about a declaration; see there."""

    name: str
    instruction: str
    metric: Metric
    reasoning: bool
    validate: Callable[[Any], bool | None]
    inputs: Sequence[str] | Mapping[str, Any]


@overload
def task(declaration: Task[T], /, **options: Unpack[TaskOptions]) -> Task[T]: ...
@overload
def task(declaration: type[M], /, **options: Unpack[TaskOptions]) -> Task[M]: ...
@overload
def task(declaration: type | str, /, **options: Unpack[TaskOptions]) -> Task[Any]: ...
@overload
def task(declaration: Callable[..., T], /, **options: Unpack[TaskOptions]) -> Task[T]: ...
@overload
def task(**options: Unpack[TaskOptions]) -> Callable[[Callable[..., T]], Task[T]]: ...
def task(declaration: Any = None, /, **options: Unpack[TaskOptions]) -> Any:
    """A task out of any declaration, with options; also a decorator for a typed function.

    Args:
        declaration: A DSPy signature, a string such as `"message -> urgent: bool"`, a typed
            function without a body, a pydantic model of the outputs, or a `Task`.
        **options: `name`: what to call it, if not after the declaration. `instruction`: what to
            ask, if not what the declaration says. `metric`: `exact`, `numeric`, `f1_set`,
            `token_f1`, or a function of (answer, gold). `reasoning`: whether to write a short
            reason before the answer. `validate`: a last check, see `Task`. `inputs`: for a
            pydantic model, the names of its inputs or a mapping of names to types.

    Raises:
        DeclarationError: The declaration is wrong; the message says where.
    """
    if unknown := sorted(set(options) - set(TaskOptions.__annotations__)):
        raise DeclarationError(
            f"a task has no option {unknown[0]!r}",
            hint=f"known: {', '.join(TaskOptions.__annotations__)}",
        )
    if declaration is None:
        return lambda function: task(function, **options)
    made = as_task(
        declaration,
        inputs=options.get("inputs"),
        name=options.get("name"),
        instruction=options.get("instruction"),
    )
    used = {"inputs", "name", "instruction"}
    changes = {key: value for key, value in options.items() if key not in used}
    return replace(made, **changes)  # type: ignore[arg-type]  # checked by TaskOptions
