"""Tasks, declared apart: from a signature, a string, a pydantic model or a typed function."""

from __future__ import annotations

import dis
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import (
    Annotated,
    Any,
    ForwardRef,
    TypedDict,
    TypeVar,
    Unpack,
    get_type_hints,
    overload,
)

from pydantic import BaseModel

from mtiprompt.errors import DeclarationError
from mtiprompt.fieldtypes import type_from_text
from mtiprompt.tasks import Field, Metric, Task

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


def is_signature(value: Any) -> bool:
    """Whether a value is a DSPy signature; told by its attributes, without importing dspy."""
    marks = ("input_fields", "output_fields", "instructions", "with_instructions")
    return isinstance(value, type) and all(hasattr(value, mark) for mark in marks)


def _from_signature(signature: Any) -> Task[Any]:
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
        required = info.is_required()
        return Field(
            name,
            kind,
            "" if description == f"${{{name}}}" else description,
            required=required,
            default=None if required else info.get_default(call_default_factory=True),
        )

    inputs = tuple(convert(*item) for item in signature.input_fields.items())
    outputs = tuple(convert(*item) for item in signature.output_fields.items())
    name = signature.__name__
    unnamed = name in {"StringSignature", "Signature"}
    return Task(
        name=_joined(outputs) if unnamed else snake_case(name),
        instruction=signature.instructions,
        inputs=inputs,
        outputs=outputs,
    )


def snake_case(name: str) -> str:
    """`CustomerMood` as `customer_mood`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _joined(outputs: Iterable[Field]) -> str:
    return "_".join(one.name for one in outputs)


def _split(text: str) -> list[str]:
    """The parts between commas that stand outside brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "[(":
            depth += 1
        elif letter in "])":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


def _fields_of_text(text: str, whole: str) -> tuple[Field, ...]:
    fields = []
    for part in _split(text):
        name, _, kind = part.partition(":")
        if not name.strip():
            raise DeclarationError(
                f"{whole!r} is not a signature", hint='write it like "message -> urgent: bool"'
            )
        fields.append(Field(name.strip(), type_from_text(kind) if kind.strip() else str))
    return tuple(fields)


def _from_string(text: str) -> Task[Any]:
    left, arrow, right = text.partition("->")
    if not arrow or "->" in right:
        raise DeclarationError(
            f"{text!r} is not a signature", hint='write it like "message -> urgent: bool"'
        )
    inputs, outputs = _fields_of_text(left, text), _fields_of_text(right, text)
    return Task(
        name=_joined(outputs),
        instruction=f"From {_listed(inputs)}, give {_listed(outputs)}.",
        inputs=inputs,
        outputs=outputs,
    )


def _listed(fields: Iterable[Field]) -> str:
    return ", ".join(f"`{one.name}`" for one in fields)


def _from_model(
    model: type[M], inputs: Sequence[str] | Mapping[str, Any] | None, instruction: str | None
) -> Task[M]:
    name = snake_case(model.__name__)
    instruction = instruction or inspect.cleandoc(vars(model).get("__doc__") or "")
    if not inputs or not instruction:
        raise DeclarationError(
            f"the pydantic model {model.__name__!r} needs "
            f"{'input names' if not inputs else 'an instruction'}",
            hint=f'mti.task({model.__name__}, inputs=["message"], instruction="...")',
        )
    if isinstance(inputs, str):
        inputs = [inputs]
    typed = inputs if isinstance(inputs, Mapping) else dict.fromkeys(inputs, str)
    outputs = tuple(
        Field(
            key,
            Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation,
            info.description or "",
        )
        for key, info in model.model_fields.items()
    )
    return Task(
        name=name,
        instruction=instruction,
        inputs=tuple(Field(key, kind) for key, kind in typed.items()),
        outputs=outputs,
        model=model,
    )


_EMPTY = {"RESUME", "NOP", "LOAD_CONST", "RETURN_VALUE", "RETURN_CONST", "COPY_FREE_VARS",
          "RETURN_GENERATOR", "POP_TOP"}  # fmt: skip
_REFUSING = {"LOAD_GLOBAL", "PUSH_NULL", "CALL", "PRECALL", "RAISE_VARARGS"}


def _has_body(function: Callable[..., Any]) -> bool:
    """Whether a function does anything but raise NotImplementedError, as type checkers want."""
    code = function.__code__
    used = {one.opname for one in dis.get_instructions(code)} - _EMPTY
    return bool(used) and not (used <= _REFUSING and code.co_names == ("NotImplementedError",))


def _from_function(function: Callable[..., T]) -> Task[T]:
    where = f"function {function.__name__!r}"
    if _has_body(function):
        raise DeclarationError(
            f"{where} has a body, which would never run",
            hint="a task is declared by name, docstring and types; the model writes the answer",
        )
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise DeclarationError(
            f"{where}: {error}", hint="types must be known where the module is"
        ) from None
    if hints.get("return", type(None)) is type(None):
        raise DeclarationError(f"{where} has no return type", hint="write -> str, -> bool, ...")
    inputs = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            raise DeclarationError(f"{where} takes *{name}", hint="name every input")
        required = parameter.default is parameter.empty
        default = None if required else parameter.default
        inputs.append(Field(name, hints.get(name, str), required=required, default=default))
    instruction = inspect.getdoc(function)
    if not instruction:
        raise DeclarationError(f"{where} has no docstring", hint="it is the instruction")
    return Task(
        name=function.__name__,
        instruction=instruction,
        inputs=tuple(inputs),
        outputs=(Field(function.__name__, hints["return"]),),
        bare=True,
    )


def as_task(
    declaration: Any,
    *,
    inputs: Sequence[str] | Mapping[str, Any] | None = None,
    instruction: str | None = None,
) -> Task[Any]:
    """The task that any kind of declaration stands for.

    Raises:
        DeclarationError: It is none of the kinds, or declared wrongly.
    """
    if isinstance(declaration, Task):
        made = declaration
    elif isinstance(declaration, str):
        made = _from_string(declaration)
    elif is_signature(declaration):
        made = _from_signature(declaration)
    elif isinstance(declaration, type) and issubclass(declaration, BaseModel):
        return _from_model(declaration, inputs, instruction)
    elif inspect.isfunction(declaration):
        made = _from_function(declaration)
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
    return replace(made, instruction=instruction) if instruction else made


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
        declaration, inputs=options.get("inputs"), instruction=options.get("instruction")
    )
    changes = {key: value for key, value in options.items() if key not in {"inputs", "instruction"}}
    return replace(made, **changes)  # type: ignore[arg-type]  # checked by TaskOptions
