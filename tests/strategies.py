"""Hypothesis strategies for types, values, tasks, programs and replies, and small models."""

from __future__ import annotations

import datetime
import enum
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Union

from hypothesis import strategies as st
from pydantic import BaseModel as Model
from pydantic import Field as Limits
from pydantic import create_model

import mtiprompt as mti
from mtiprompt.errors import ModelError
from mtiprompt.models.base import BaseModel, Support
from mtiprompt.schema import Slot, slots_of
from mtiprompt.tasks import Field
from mtiprompt.wire import Reply, Request, Usage

ODD_LABELS = (
    "it's", 'say "hi"', "two\nlines", "été", "->", "a, b", "{x}", "}", "\\", "[", "null", "1",
    "true", "", " ", "日本", "positive", "Positive.", "a-b", "a b", "😀", "\t", "</think>", "```",
)  # fmt: skip
KEYS = ("label", "score", "note", "kind", "items", "answer", "text")
"""Names of fields; few, so that tasks and nested models share them."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
labels = st.sampled_from(ODD_LABELS) | texts


@dataclass(frozen=True)
class Kind:
    """A field type with the strategy of its valid values."""

    type: Any
    values: st.SearchStrategy[Any]


def _floats() -> st.SearchStrategy[float]:
    return st.floats(allow_nan=False, allow_infinity=False)


def _moments() -> st.SearchStrategy[datetime.datetime]:
    zones = st.none() | st.integers(-720, 840).map(
        lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes))
    )
    return st.datetimes(timezones=zones)


@st.composite
def _literals(draw: st.DrawFn) -> Kind:
    chosen = draw(
        st.lists(labels, min_size=1, max_size=5, unique=True)
        | st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=5, unique=True)
    )
    return Kind(Literal[tuple(chosen)], st.sampled_from(chosen))


@st.composite
def _enums(draw: st.DrawFn) -> Kind:
    chosen = draw(st.lists(labels, min_size=1, max_size=4, unique=True))
    made = enum.Enum("Choice", {f"M{place}": label for place, label in enumerate(chosen)})  # type: ignore[misc]
    return Kind(made, st.sampled_from(list(made)))


@st.composite
def _limited(draw: st.DrawFn) -> Kind:
    low = draw(st.integers(-100, 100))
    high = low + draw(st.integers(0, 100))
    short, long = sorted(draw(st.tuples(st.integers(0, 6), st.integers(0, 12))))
    pattern = draw(st.sampled_from(["^[a-z]{1,5}$", r"^\d{3}-\d{2}$", "^(yes|no)$"]))
    return draw(
        st.sampled_from(
            [
                Kind(Annotated[int, Limits(ge=low, le=high)], st.integers(low, high)),
                Kind(Annotated[int, Limits(gt=low)], st.integers(min_value=low + 1)),
                Kind(
                    Annotated[float, Limits(ge=low, le=high)],
                    st.floats(low, high, allow_nan=False),
                ),
                Kind(
                    Annotated[str, Limits(min_length=short, max_length=long)],
                    st.text(
                        st.characters(exclude_categories=["Cs"]), min_size=short, max_size=long
                    ),
                ),
                Kind(
                    Annotated[str, Limits(pattern=pattern)],
                    st.from_regex(
                        pattern.replace("$", r"\Z").replace(r"\d", "[0-9]"), fullmatch=True
                    ),
                ),
                Kind(
                    Annotated[list[int], Limits(min_length=1, max_length=3)],
                    st.lists(st.integers(), min_size=1, max_size=3),
                ),
            ]
        )
    )


def scalars() -> st.SearchStrategy[Kind]:
    """Types without parts."""
    return st.one_of(
        st.just(Kind(str, texts)),
        st.just(Kind(int, st.integers())),
        st.just(Kind(float, _floats())),
        st.just(Kind(bool, st.booleans())),
        st.just(Kind(datetime.date, st.dates())),
        st.just(Kind(datetime.datetime, _moments())),
        _literals(),
        _enums(),
        _limited(),
    )


@st.composite
def nested_models(draw: st.DrawFn, parts: st.SearchStrategy[Kind]) -> Kind:
    """Pydantic models whose fields have the names that tasks use too."""
    names = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True))
    kinds = {name: draw(parts) for name in names}
    made: Any = create_model("Nested", **{name: (kind.type, ...) for name, kind in kinds.items()})  # type: ignore[call-overload]
    values = st.fixed_dictionaries({name: kind.values for name, kind in kinds.items()})
    return Kind(made, values.map(lambda given: made.model_construct(**given)))


def _of(parts: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    return st.one_of(
        parts.map(
            lambda kind: Kind(list[kind.type], st.lists(kind.values, max_size=4))  # type: ignore[name-defined]
        ),
        parts.map(
            lambda kind: Kind(
                dict[str, kind.type],  # type: ignore[name-defined]
                st.dictionaries(texts, kind.values, max_size=3),
            )
        ),
        parts.map(lambda kind: Kind(Union[kind.type, None], st.none() | kind.values)),  # noqa: UP007
        nested_models(parts),
    )


unions = st.sampled_from(
    [
        Kind(int | str, st.integers() | texts),
        Kind(bool | str, st.booleans() | texts),
        Kind(list[int] | str, st.lists(st.integers(), max_size=4) | texts),
        Kind(float | bool, _floats() | st.booleans()),
        Kind(Literal["a", "b"] | int, st.sampled_from(["a", "b"]) | st.integers()),
        Kind(int | None, st.integers() | st.none()),
    ]
)

kinds: st.SearchStrategy[Kind] = st.recursive(scalars() | unions, _of, max_leaves=4)
"""Every supported type of an output field."""


@dataclass(frozen=True)
class Case:
    """A program with the strategy of valid answers: task name to field name to Python value."""

    program: mti.Program
    kinds: Mapping[tuple[str, str], Kind]

    def slots(self) -> tuple[Slot, ...]:
        """The slots of one call for all tasks."""
        order = self.program.order
        return slots_of(self.program, order, [False] * len(order))

    def answers(self) -> st.SearchStrategy[dict[str, dict[str, Any]]]:
        """Valid answers for every task."""
        return st.fixed_dictionaries(
            {
                name: st.fixed_dictionaries(
                    {one.name: self.kinds[name, one.name].values for one in task.outputs}
                )
                for name, task in self.program.tasks.items()
            }
        )

    def dumped(self, answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Answers as the reply of one call: key to plain JSON data."""
        return {
            key: one.dump(answers[slot.task.name][one.name])
            for slot in self.slots()
            for key, one in zip(slot.keys, slot.task.outputs, strict=True)
        }

    def inputs(self) -> st.SearchStrategy[dict[str, str]]:
        """Inputs for one item."""
        return st.fixed_dictionaries(dict.fromkeys(self.program.inputs, texts))


@st.composite
def cases(draw: st.DrawFn, of: st.SearchStrategy[Kind] = kinds, most: int = 4) -> Case:
    """Programs with random types, shared names and dependencies."""
    number = draw(st.integers(1, most))
    outputs: list[list[str]] = [
        draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=2, unique=True))
        for _ in range(number)
    ]
    counted = [name for names in outputs for name in names]
    chosen: dict[tuple[str, str], Kind] = {}
    tasks = []
    for place, names in enumerate(outputs):
        name = f"task{place}"
        earlier = [one for mine in outputs[:place] for one in mine if counted.count(one) == 1]
        taken = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=2)) if earlier else []
        given = draw(st.lists(st.sampled_from(["message", "context"]), unique=True, max_size=2))
        for one in names:
            chosen[name, one] = draw(of)
        tasks.append(
            mti.Task[Any](
                name=name,
                instruction=f"Do {name}.",
                inputs=tuple(Field(one, str) for one in [*given, *taken]),
                outputs=tuple(Field(one, chosen[name, one].type) for one in names),
            )
        )
    return Case(mti.combine(*tasks), chosen)


@st.composite
def groupings(draw: st.DrawFn, program: mti.Program) -> list[list[str]]:
    """A way of sharing calls that no dependency forbids: cuts of the program's own order."""
    groups: list[list[str]] = [[]]
    for name in program.order:
        cut = draw(st.booleans())
        if groups[-1] and cut:
            groups.append([])
        groups[-1].append(name)
    return groups


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal and of the same types throughout."""
    if isinstance(left, Model):
        return type(left) is type(right) and same(dict(left), dict(right))
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and list(left) == list(right)
            and all(same(left[key], right[key]) for key in left)
        )
    if isinstance(left, list):
        return (
            isinstance(right, list)
            and len(left) == len(right)
            and all(same(one, other) for one, other in zip(left, right, strict=True))
        )
    if isinstance(left, datetime.datetime) and isinstance(right, datetime.datetime):
        return left == right and left.utcoffset() == right.utcoffset()
    return type(left) is type(right) and bool(left == right)


# --- models ----------------------------------------------------------------------------------

Answering = Callable[[Request], "str | Reply"]


@dataclass(eq=False)
class Answerer(BaseModel):
    """A model that answers by a function and remembers what it was asked and what to keep."""

    answer: Answering
    support: Support = field(default_factory=Support)
    name: str = "test/answerer"
    asked: list[Request] = field(default_factory=list)
    kept: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.identity = json.dumps([self.name, id(self)])

    def complete(self, request: Request) -> Reply:
        with self.lock:
            self.asked.append(request)
        said = self.answer(request)
        return said if isinstance(said, Reply) else Reply(said, usage=Usage(calls=1))

    def keep(self, request: Request, reply: Reply) -> None:
        with self.lock:
            self.kept.append(request)


def keys_of(request: Request) -> list[str]:
    """The keys that a request asks for."""
    assert request.schema is not None
    return list(request.schema.schema["properties"])


def saying(answers: Mapping[str, Any], **options: Any) -> Answerer:
    """A model that gives each key its answer."""
    return Answerer(
        lambda request: json.dumps({key: answers[key] for key in keys_of(request)}), **options
    )


def failing(error: ModelError, when: Callable[[Request], bool], say: Mapping[str, Any]) -> Answerer:
    """A model whose calls fail where `when` holds, and which answers the others."""

    def answer(request: Request) -> str:
        if when(request):
            raise error
        return json.dumps({key: say[key] for key in keys_of(request)})

    return Answerer(answer)
