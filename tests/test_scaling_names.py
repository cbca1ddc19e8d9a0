"""Scaling: errors name rows as their data sets call them."""

from __future__ import annotations

from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt.errors import DataError, IncompleteRun, ModelUnavailable
from mtiprompt.experiments.scaling import run


def dataset(name: str, texts: list[str], shown: str = "An example.") -> mti.Dataset:
    """A set of two tasks with these test rows, called `NAME-a`, `NAME-b`, ..., and one to show."""
    tasks = [f"text -> {name}_{letter}: bool" for letter in "xy"]
    rows: list[dict[str, Any]] = [
        {"id": f"{name}-{letter}", "inputs": {"text": text}, "split": "test"}
        for letter, text in zip("abcdef", texts, strict=False)
    ]
    rows.append({"id": "shown", "inputs": {"text": shown}, "split": "train"})
    gold = {f"{name}_x": True, f"{name}_y": False}
    return mti.Dataset.from_rows(
        mti.combine(*tasks), [{**row, "outputs": gold} for row in rows], name=name
    )


def fails_on(words: str) -> mti.FunctionModel:
    """A model that is down for a text."""
    echo = mti.EchoModel()

    def answer(request: mti.Request) -> mti.Reply:
        if words in request.messages[-1].content:
            raise ModelUnavailable("down")
        return echo.complete(request)

    return mti.FunctionModel(answer)


SETS = [("one", ["Red.", "Green.", "Blue."]), ("two", ["Ant.", "Bee.", "Cow."])]


@pytest.mark.parametrize("seed", range(4))
def test_rows_without_an_answer_are_named(seed: int) -> None:
    """By data set and id, whichever job fails first; in a shared call, the rows of all sets."""
    with pytest.raises(IncompleteRun) as caught:
        run([dataset(*one) for one in SETS], fails_on("Bee."), tasks=(2, 4), items=(), seed=seed)
    assert caught.value.items in {("two: two-b",), ("one: one-b + two: two-b",)}
    assert repr(caught.value.items[0]) in str(caught.value)


def test_rows_of_a_shared_call_are_named() -> None:
    """Where only calls with the rows of several sets fail, the error names them all."""
    model = mti.EchoModel()

    def answer(request: mti.Request) -> mti.Reply:
        if {"Blue.", "Cow."} <= set(request.messages[-1].content.split()):
            raise ModelUnavailable("down")
        return model.complete(request)

    with pytest.raises(IncompleteRun) as caught:
        run([dataset(*one) for one in SETS], mti.FunctionModel(answer), tasks=(4,), items=())
    assert caught.value.items == ("one: one-c + two: two-c",)


def test_a_row_that_is_asked_is_not_shown() -> None:
    """A train row that a test row repeats is no demonstration; the error names the data set."""
    leaky = dataset("one", ["Red.", "Green.", "Blue."], shown="green. ")
    model = mti.EchoModel()
    with pytest.raises(DataError, match=r"0 train rows of one have gold .* other inputs than a"):
        run([leaky], model, tasks=(2,), items=(), demos=1)
    assert model.requests == []
