"""Values as they are written out: sets in an order that stays."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
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
        value: What is to be read or written; sets in lists, tuples and mappings are found, and in
            iterators, which become lists.
        inside: Whether to look into models and dataclasses, which a type has validated, and not
            into iterators, which it has then made itself.
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
    if not inside and _has_only_items(value):
        return [part(one) for one in value]
    if isinstance(value, dict):
        parts = [part(one) for one in value.values()]
        is_same = _is_same(value.values(), parts)
        return value if is_same else dict(zip(value, parts, strict=True))
    return _ordered_inside(value, part) if inside else value


def _has_only_items(value: Any) -> bool:
    """Whether a value is a generator, or another iterator that a type can ask for nothing else."""
    return isinstance(value, Iterator) and not hasattr(value, "__dict__")


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
    # its author may copy otherwise, and nothing but the sets is to change
    made = BaseModel.__copy__(value) if isinstance(value, BaseModel) else _copied(value)
    extra = getattr(made, "__pydantic_extra__", None) or {}
    for name, one in parts.items():
        if name in extra:
            extra[name] = one
        else:
            object.__setattr__(made, name, one)  # it may be frozen
    return made


def _copied(value: Any) -> Any:
    """An object of the same type that holds the same, whatever its author's copies are."""
    built_in: Any = next(one for one in type(value).__mro__ if one.__module__ == "builtins")
    made = built_in.__new__(type(value))
    state: Any = object.__getstate__(value)
    held, slots = state if isinstance(state, tuple) else (state, None)
    if held:
        vars(made).update(held)
    for name, one in (slots or {}).items():
        object.__setattr__(made, name, one)
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


class OrderedSchema(GenerateJsonSchema):
    """Writes defaults that are sets in an order that stays."""

    def encode_default(self, dft: Any) -> Any:
        """A default as plain JSON data."""
        return super().encode_default(ordered(dft, inside=True))
