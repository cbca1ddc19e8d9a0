"""Which types fit: whether an answer of one type may be taken where another type is expected."""

from __future__ import annotations

import enum
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from typing_extensions import is_protocol, is_typeddict


def bare(kind: Any) -> Any:
    """A type without its outer constraints."""
    return bare(get_args(kind)[0]) if get_origin(kind) is Annotated else kind


def show(kind: Any) -> str:
    """A type as its author would write it."""
    kind = bare(kind)
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else (
        str(kind).replace("typing.", "").replace("<class '", "").replace("'>", "")
    )  # fmt: skip


def flows(source: Any, target: Any) -> bool:
    """Whether every value of one type can be taken where another is expected.

    A target of `str` or `Any` takes everything, because an answer enters a prompt as text.
    """
    source, target = bare(source), bare(target)
    # by identity: a type has no hash where a mark in `Annotated` has none
    if target is str or target is Any or source == target or (source, target) == (int, float):
        return True
    if _is_union(source):
        return all(flows(part, target) for part in get_args(source))
    if _is_union(target):
        return any(flows(source, part) for part in get_args(target))
    if get_origin(source) is Literal:
        return _labels_flow(get_args(source), target)
    if isinstance(source, type) and issubclass(source, enum.Enum) and _is_class(target):
        return all(isinstance(member.value, target) for member in source)
    if isinstance(source, type) and _is_class(target) and not get_args(source):
        return issubclass(source, target)
    if get_origin(source) is not None and get_origin(source) is get_origin(target):
        pairs = zip(get_args(source), get_args(target), strict=False)
        return all(flows(one, other) for one, other in pairs)
    return get_origin(source) is not None and get_origin(source) is target


def _labels_flow(labels: tuple[Any, ...], target: Any) -> bool:
    if get_origin(target) is Literal:
        return set(labels) <= set(get_args(target))
    if isinstance(target, type) and issubclass(target, enum.Enum):
        values = [member.value for member in target]  # no set: some may have no hash
        return all(label in values for label in labels)
    return _is_class(target) and all(isinstance(label, target) for label in labels)


def _is_class(kind: Any) -> bool:
    """Whether a type can be tested for; a TypedDict and a protocol are classes in name only."""
    return isinstance(kind, type) and not is_typeddict(kind) and not is_protocol(kind)


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in {Union, types.UnionType}
