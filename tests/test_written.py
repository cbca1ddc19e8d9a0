"""What is written out of a value: sets in one order, and no type whose values are lost."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import InitVar, dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    WrapSerializer,
)
from pydantic import Field as Limits
from pydantic.dataclasses import dataclass as dataclass_of_pydantic

import mtiprompt as mti
from mtiprompt.tasks import Field
from mtiprompt.wire import canonical
from tests.strategies import texts


class Tagged(BaseModel):
    """A model with a set, written under another name."""

    tags: frozenset[str] = Limits(alias="theTags")
    words: list[str]


@dataclass
class Part:
    """A dataclass with a set."""

    tags: set[str]
    words: list[str]


# --- sets ------------------------------------------------------------------------------------

PLACES: dict[str, tuple[Any, Any]] = {
    "bare": (set[str], lambda tags, words: tags),
    "list": (list[set[str] | list[str]], lambda tags, words: [tags, words]),
    "tuple": (tuple[set[str], list[str]], lambda tags, words: (tags, words)),
    "mapping": (dict[str, set[str] | list[str]], lambda tags, words: {"a": tags, "b": words}),
    "model": (Tagged, lambda tags, words: Tagged(theTags=frozenset(tags), words=words)),
    "root": (RootModel[set[str]], lambda tags, words: RootModel[set[str]](tags)),
    "dataclass": (Part, lambda tags, words: Part(tags, words)),
    "anything": (Any, lambda tags, words: {"a": [tags, words]}),
}
"""Types with a set in them, and how a value is made of a set and a list."""


@given(st.sampled_from(sorted(PLACES)), st.sets(texts), st.lists(texts))
def test_sets_have_one_order_and_lists_keep_theirs(
    place: str, tags: set[str], words: list[str]
) -> None:
    """Wherever a set stands, its members are written by their JSON; a list stays as it is."""
    kind, value_of = PLACES[place]
    one = Field("x", kind)
    made = canonical(one.dump(value_of(tags, words)))
    assert made == canonical(_as_lists(place, sorted(tags, key=canonical), words))


def _as_lists(place: str, tags: list[str], words: list[str]) -> Any:
    if place in {"bare", "root"}:
        return tags
    if place == "model":
        return {"theTags": tags, "words": words}
    if place == "dataclass":
        return {"tags": tags, "words": words}
    _, value_of = PLACES[place]
    return value_of(tags, words)


@dataclass(frozen=True)
class Tags:
    """A member of a set that has a set."""

    tags: frozenset[str]


class Pair(NamedTuple):
    """A tuple with names, and a set in it."""

    tags: frozenset[str]
    word: str


NUMBERS = st.sets(st.integers(-20, 20) | st.floats(-20, 20) | st.decimals(-20, 20, places=2))


@given(NUMBERS, st.sets(texts))
def test_numbers_have_the_order_of_numbers(numbers: set[Any], words: set[str]) -> None:
    """Members that are numbers stand before the others, the smallest first."""
    made = Field("x", set[Any]).dump({*numbers, *words})
    assert [float(one) for one in made[: len(numbers)]] == sorted(map(float, numbers))
    assert made[len(numbers) :] == sorted(words, key=canonical)


RANKS = ["low", "mid", "high"]


@pytest.mark.parametrize(
    "write",
    [
        PlainSerializer(lambda value: sorted(value, key=RANKS.index), return_type=list[str]),
        WrapSerializer(lambda value, handler: sorted(handler(value), key=RANKS.index)),
    ],
)
def test_the_order_of_a_types_author_stays(write: Any) -> None:
    """A type that says how its sets are written is asked, and its order is the one that is sent."""
    kind = dict[str, Annotated[set[str], write]]
    assert Field("x", kind).read({"a": {*RANKS}}) == {"a": RANKS}


def test_the_check_of_a_types_author_may_change_a_set() -> None:
    """A check that adds to the set it is given, or copies it, loses nothing."""

    def add(value: set[str]) -> set[str]:
        value.add("b")
        return value.copy() | {"d"}

    kind = Annotated[set[str], BeforeValidator(add)]
    assert Field("x", kind).read({"c", "a"}) == ["a", "b", "c", "d"]


def test_what_is_no_set_keeps_its_order() -> None:
    """The keys of a mapping come in the order of the mapping, to a list as to a tuple."""
    given_value = {"wash": 3, "dry": 1, "fold": 2}
    for kind in (list[str], tuple[str, ...]):
        assert Field("x", kind).read(given_value.keys()) == ["wash", "dry", "fold"]
    assert Field("x", list[tuple[str, int]]).read(given_value.items())[0] == ["wash", 3]


@given(st.lists(st.sets(texts)))
def test_sets_have_one_order_wherever_they_come_from(sets: list[set[str]]) -> None:
    """Sets that come one by one, as from a generator in a mapping, are written in order too."""
    kept = [sorted(one, key=canonical) for one in sets]
    for one_by_one in (iter(sets), map(set, sets), (one for one in sets)):
        assert Field("x", dict[str, list[list[str]]]).read({"a": one_by_one}) == {"a": kept}


def test_an_iterator_that_is_more_is_given_on() -> None:
    """What is iterated over and has attributes too stays what it is, for a type that knows it."""

    class Lines(io.StringIO):
        name = "a"

    kind = Annotated[Named, BeforeValidator(lambda given: {"name": given.name + given.read()})]
    assert Field("x", kind).read(Lines("b")) == {"name": "ab"}


class Named(BaseModel):
    """A model that is made of an object."""

    model_config = ConfigDict(from_attributes=True)
    name: str


class SimpleName:
    """An object with a name."""

    def __init__(self, name: str) -> None:
        self.name = name


def test_a_set_of_objects_is_an_input() -> None:
    """Objects that are no JSON, in a set, become what the type makes of them."""
    people = {SimpleName("a"), SimpleName("b")}
    made = Field("x", list[Named]).read(people)
    assert sorted(one["name"] for one in made) == ["a", "b"]


class Basket(BaseModel):
    """A model that is iterated over in its own way, as the guide of pydantic shows it."""

    model_config = ConfigDict(extra="allow")
    items: list[str]

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@given(st.lists(texts), st.sets(texts, min_size=2))
def test_a_model_is_written_by_its_fields(items: list[str], more: set[str]) -> None:
    """However its author has it iterated over; what it takes beyond its fields is written too."""
    field = Field("basket", Basket)
    assert field.read({"items": items, "more": more}) == {
        "items": items, "more": sorted(more, key=canonical),
    }  # fmt: skip
    assert field.read(Basket(items=items)) == {"items": items}
    asked = mti.task("q -> n: int", name="n")
    answer = mti.Task[Any]("b", "i", asked.inputs, (field,), bare=True)
    model = mti.ScriptedModel([json.dumps({"basket": {"items": items}})])
    assert mti.combine(answer)(q="x", model=model)["b"].items == items


@pytest.mark.parametrize(
    ("kind", "value_of"),
    [
        (list[list[Tags]], lambda tags: [{Tags(tags)}]),
        (deque[set[str]], lambda tags: deque([set(tags)])),
        (Pair, lambda tags: Pair(tags, "b")),
        (Tags, Tags),
        (dict[str, list[str]], lambda tags: {"a": set(tags)}),
    ],
)
def test_what_was_given_is_not_changed(kind: Any, value_of: Any) -> None:
    """Sets are put in order at any depth, and what the caller holds keeps the sets it has."""
    tags = frozenset("dacb")
    value = value_of(tags)
    assert '["a","b","c","d"]' in canonical(Field("x", kind).read(value))
    assert '["a","b","c","d"]' in canonical(Field("x", Any).read(value))
    assert repr(value) == repr(value_of(tags))
    assert "_Ordered" not in repr(value)


def test_a_model_that_is_not_to_be_copied_is_written() -> None:
    """How a model is copied may be its author's; what is written has its sets in order."""

    class Kept(BaseModel):
        tags: set[str]

        def __copy__(self) -> Any:
            raise RuntimeError("no copies")

    assert Field("kept", Kept).dump(Kept(tags={"b", "a", "c"})) == {"tags": ["a", "b", "c"]}


@dataclass
class Locked:
    """A dataclass that is not to be copied."""

    tags: set[str]
    words: list[str] = field(default_factory=list, init=False)
    seed: InitVar[str] = "w"

    def __post_init__(self, seed: str) -> None:
        self.words = [seed]

    def __copy__(self) -> Any:
        raise TypeError("use .clone()")

    def __getstate__(self) -> Any:
        raise TypeError("use .clone()")


@dataclass(frozen=True, slots=True)
class Fixed:
    """A dataclass that never changes, so that its copy is itself."""

    tags: frozenset[str]
    words: tuple[str, ...] = ()

    def __copy__(self) -> Fixed:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Fixed, (frozenset(),)


@dataclass_of_pydantic
class Checked:
    """A dataclass of pydantic that is not to be copied."""

    tags: set[str]

    def __copy__(self) -> Any:
        raise TypeError("use .clone()")


@dataclass
class Trouble(Exception):
    """A dataclass that is an error, of which a copy is made by other rules."""

    tags: set[str]


@pytest.mark.parametrize(
    ("kind", "more"),
    [(Locked, {"words": ["w"]}), (Fixed, {"words": []}), (Checked, {}), (Trouble, {})],
)
def test_a_dataclass_that_copies_in_its_own_way_is_written(kind: Any, more: dict[str, Any]) -> None:
    """How a dataclass is copied is its author's; it is an input and an answer, and not altered."""
    one = Field("x", kind)
    mine = kind(tags=frozenset("bac") if kind is Fixed else set("bac"))
    assert one.read(mine) == {"tags": ["a", "b", "c"], **more}
    assert type(mine.tags) in {set, frozenset}
    model = mti.ScriptedModel(['{"y": {"tags": ["b", "a"]}}'])
    answer = mti.combine(_task(kind, as_input=False))(x="q", model=model)["t"].y
    assert (answer.tags, type(answer.tags)) == ({"a", "b"}, type(mine.tags))


def test_what_holds_itself_is_told() -> None:
    """A list that is a part of itself is refused for what it is."""
    ring: list[Any] = [{"b", "a"}]
    ring.append(ring)
    with pytest.raises(mti.DataError, match="'x' does not fit: Circular reference"):
        mti.combine(_task(Any, as_input=True)).read_inputs({"x": ring})


PROMPTS = """
import json
import mtiprompt as mti
from pydantic import BaseModel

WORDS = ["red", "green", "blue", "black", "white"]

class Part(BaseModel):
    tags: set[str] = {"red", "green", "blue", "black"}

@mti.task
def tags(text: str) -> set[str]:
    "Name the tags."

@mti.task
def parts(text: str, known: list[str]) -> list[Part]:
    "Name the parts."

@mti.task
def line(text: str, tags: set[str]) -> str:
    "Write a line."

@mti.task
def nested(text: str, of: dict[str, list[str]] = {"a": {*WORDS}}) -> list[list[str]]:
    "Write lists."

program = mti.combine(tags, parts, line, nested)
inputs = {"text": "a", "known": {*WORDS}}
outputs = {"tags": {*WORDS}, "parts": [Part(tags=WORDS)], "line": "x", "nested": [{*WORDS}]}
for plan in (
    mti.Plan.fused(program, demos=[{"inputs": inputs, "outputs": outputs}]),
    mti.Plan.split(program),
):
    answers = {"tags": WORDS, "parts": [{"tags": WORDS}], "line": "x", "nested": [WORDS]}
    model = mti.FunctionModel(lambda request: json.dumps(answers))
    result = program(**inputs, model=model, plan=plan)
    for request in model.requests:
        print([message.content for message in request.messages])
    print(mti.plain(result), program.fingerprint)
"""


def test_every_process_writes_the_same_prompt() -> None:
    """Prompts, answers and the program's fingerprint do not hang on the hash seed of a process."""
    said = [
        subprocess.run(
            [sys.executable, "-c", PROMPTS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert said[0] == said[1]
    assert said[0].count('["black","blue","green","red","white"]') >= 2


# --- types whose values would be lost ----------------------------------------------------------


class Bag(BaseModel):
    """A model with fields that are called as the parts of a core schema, and one that is lost."""

    type: Literal["generator"]
    metadata: int
    default: list[SecretStr]


def _task(kind: Any, *, as_input: bool) -> mti.Task[Any]:
    inputs, output = (kind, str) if as_input else (str, kind)
    return mti.Task("t", "i", (Field("x", inputs),), (Field("y", output),))


@pytest.mark.parametrize("as_input", [True, False])
@pytest.mark.parametrize(
    "kind", [SecretStr, SecretBytes | None, Secret[int], Bag, dict[str, list[SecretStr]]]
)
def test_secrets_are_refused(kind: Any, as_input: bool) -> None:
    """A secret would be sent as asterisks, so that no task takes or puts one out."""
    with pytest.raises(mti.DeclarationError, match=r"written as asterisks \(write str\)"):
        _task(kind, as_input=as_input)


@pytest.mark.parametrize(
    "kind", [Iterable[int], Generator[int, None, None], list[Iterable[int]] | None]
)
def test_an_answer_can_be_read_twice(kind: Any) -> None:
    """What is used up by the first look is no type of an answer; an input of it is sent whole."""
    with pytest.raises(mti.DeclarationError, match=r"only once \(write a list, .* list\[int\]\)"):
        _task(kind, as_input=False)
    model = mti.EchoModel()
    given_value = [[1, 2]] if kind == list[Iterable[int]] | None else [1, 2]
    mti.combine(_task(kind, as_input=True))(x=given_value, model=model)
    assert json.dumps(given_value) in model.requests[0].messages[-1].content


@pytest.mark.parametrize("name", ["Image", "Audio", "File"])
def test_media_of_dspy_are_refused(name: str) -> None:
    """An image would be sent as a text of DSPy's own marks; code, which is text, is taken."""
    import dspy

    media: Any = getattr(dspy, name)
    for kind in (media, list[media] | None):
        fields = {"x": (kind, dspy.InputField()), "y": (str, dspy.OutputField())}
        with pytest.raises(mti.DeclarationError, match=r"which is no text \(.*write str"):
            mti.task(dspy.Signature(fields, "Do it."))
    model = mti.EchoModel()
    mti.combine(_task(dspy.Code, as_input=True))(x=dspy.Code(code="a = 1"), model=model)
    assert model.requests[0].messages[-1].content == "x: a = 1"
