"""Answers at the end of what a reply can hold: they have a score, and raise nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.metrics import METRICS, exact, numeric
from mtiprompt.parse import parse
from mtiprompt.result import Answer
from mtiprompt.schema import Slot
from tests.test_metrics import huge, numbers


@given(numbers, huge, st.booleans())
def test_a_number_beyond_every_float_is_a_number(number: float, far: int, is_answer: bool) -> None:
    """It is right where it is gold, by 0.000001, and far from every other number."""
    pair = (far, number) if is_answer else (number, far)
    assert numeric(*pair) == float(far == number)
    assert numeric(far, far) == 1


def test_a_number_beyond_every_float_costs_no_measurement() -> None:
    """Such a reply scores 0, and those to other items keep their scores."""
    number = {"name": "n", "instruction": "?", "output_schema": {"type": "number"}}
    parts = [{**number, "metric": "numeric"}]
    program = mti.combine(
        *mti.Task.from_json_schema({"inputs": [{"name": "text"}], "subtasks": parts})
    )
    rows = [{"id": one, "inputs": {"text": one}, "outputs": {"n": 12.5}} for one in ("a", "b")]
    model = mti.ScriptedModel(['{"n": 1' + "0" * 320 + "}", '{"n": 12.5}'])
    found = mti.evaluate(program, rows, model=model, concurrency=1)
    assert found.tasks["n"].by_item == {"a": 0.0, "b": 1.0}


@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a": ', "}")])
def test_the_deepest_answers_are_scored(start: str, end: str) -> None:
    """An answer as deep as any that is read has a score by every metric."""

    def z(text: str) -> Any:
        """Say z."""
        raise NotImplementedError

    slot = Slot(mti.task(z), ("z",))
    texts = [f'{{"z": {start * depth}1{end * depth}}}' for depth in range(260)]
    read = [parse(mti.Reply(one), [slot])["z"] for one in texts]
    found = [one.value for one in read if isinstance(one, Answer)]
    deepest = [one for one in found if isinstance(one, list | dict)][-1]
    assert str(deepest).count(start[0]) > 150
    assert exact(deepest, deepest) == 1
    assert all(0 <= one(deepest, deepest) <= 1 for one in METRICS.values())
