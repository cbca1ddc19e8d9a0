"""Which types fit: odd targets, and marks without a hash."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import TypedDict

import mtiprompt as mti
from mtiprompt.tasks import Field
from mtiprompt.typeflow import flows
from tests.strategies import kinds


@dataclass
class Mark:
    """A mark beside a type that has no hash, as no dataclass has that is not frozen."""

    text: str = "x"


class Facts(TypedDict):
    """A dict with named members, which no `isinstance` can test."""

    n: int


class Sized(Protocol):
    """A protocol, which `isinstance` cannot test."""

    n: int


@runtime_checkable
class Named(Protocol):
    """A protocol that `isinstance` can test and `issubclass` cannot."""

    n: int


class Colour(enum.Enum):
    """Labels."""

    RED = "red"


class Pair(enum.Enum):
    """Labels that have no hash."""

    ONE = ["a", 1]  # noqa: RUF012


MARKED = Annotated[int, {"doc": "x"}]
ODD = (
    Facts, Sized, Named, Colour, Pair, int, str, dict, dict[str, int], Any, list[MARKED], MARKED,
    Literal["a"], Annotated[str, Mark()], list[Annotated[str, Mark()]],
)  # fmt: skip


@given(*[kinds.map(lambda kind: kind.type) | st.sampled_from(ODD)] * 2)
def test_any_two_types_can_be_compared(source: Any, target: Any) -> None:
    """Whether one type flows into another is told for any two, and every type flows into itself."""
    assert flows(source, target) in {True, False}
    assert flows(source, source)


@pytest.mark.parametrize("target", [Facts, Sized, Named])
@pytest.mark.parametrize("source", [int, Literal["a"], Colour, dict[str, int], list[int]])
def test_nothing_else_flows_into_a_shape(source: Any, target: Any) -> None:
    """A TypedDict or a protocol takes nothing but itself; what flows out of it stays."""
    assert not flows(source, target)
    assert flows(target, target)
    assert flows(Facts, dict)


def test_marks_do_not_count() -> None:
    """What stands beside a type in `Annotated` neither stops nor opens the way."""
    assert flows(list[int], list[MARKED])
    assert flows(MARKED, int)
    assert flows(int, MARKED)
    assert not flows(list[str], list[MARKED])
    assert not flows(int, list[MARKED])


def test_a_shape_that_does_not_fit_is_refused() -> None:
    """A number for a task that takes a TypedDict is the usual error, which names both tasks."""
    facts = mti.Task[Any]("facts", "i", (), (Field("facts", int),), bare=True)
    use = mti.Task[Any]("use", "i", (Field("facts", Facts),), (Field("use", str),), bare=True)
    with pytest.raises(mti.CombineError, match=r"'use'.*'facts'"):
        mti.combine(facts, use)
