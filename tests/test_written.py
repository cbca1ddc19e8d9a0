"""What is written out of a value: sets in one order, and no type whose values are lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, RootModel, Secret, SecretBytes, SecretStr
from pydantic import Field as Limits

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

program = mti.combine(tags, parts, line)
inputs = {"text": "a", "known": {*WORDS}}
outputs = {"tags": {*WORDS}, "parts": [Part(tags=WORDS)], "line": "x"}
for plan in (
    mti.Plan.fused(program, demos=[{"inputs": inputs, "outputs": outputs}]),
    mti.Plan.split(program),
):
    answers = {"tags": WORDS, "parts": [{"tags": WORDS}], "line": "x"}
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
