"""Labels that a metric takes for the same are told."""

from __future__ import annotations

import re
import warnings
from enum import StrEnum
from operator import eq
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator

import mtiprompt as mti
from mtiprompt.metrics import exact, warn_of_twins


class Letters(StrEnum):
    """Labels that are the same letter in two sizes."""

    SMALL = "a"
    LARGE = "A"


@pytest.mark.parametrize(
    ("kind", "named", "one", "other"),
    [
        (Literal["si", "no", "Si", "SI"], None, "si", "Si"),
        (Literal["Straße", "STRASSE"], "exact", "Straße", "STRASSE"),
        (Literal["\ufb01", "fi"], "exact", "\ufb01", "fi"),
        (Literal["a", "a "], "exact", "a", "a "),
        (Letters, "exact", "a", "A"),
        (Literal[Letters.SMALL, Letters.LARGE] | int, "exact", "a", "A"),
        (Annotated[list[Letters], AfterValidator(sorted)] | None, "f1_set", "a", "A"),
        (dict[str, tuple[Letters, int]], "exact", "a", "A"),
        (Literal["to be", "be to"], "token_f1", "to be", "be to"),
    ],
)
def test_labels_that_a_metric_takes_for_the_same_are_told(
    kind: Any, named: str | None, one: str, other: str
) -> None:
    """The warning names metric, task and the first two of them, wherever in the type they are."""
    words = f"the metric {named or 'exact'!r} of task 'z' takes its labels {one!r} and {other!r} "
    with pytest.warns(match=re.escape(words)):
        warn_of_twins(named, "z", [int, kind])


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (Literal["si", "sí", "no"], "exact"),
        (Literal["to be", "be to"], "exact"),
        (Literal[1, 2], "exact"),
        (Literal["a"] | Literal["b"], "exact"),
        (dict[Literal["a", "A"], int], "exact"),  # the case of keys counts
        (Letters, eq),
        (Letters, "numeric"),
        (str, "exact"),
        (Any, None),
    ],
)
def test_labels_that_a_metric_tells_apart_are_not_told(kind: Any, named: Any) -> None:
    """Nothing is said where the metric can tell the labels, or there are none."""
    warn_of_twins(named, "z", [kind])


@given(st.lists(st.text(max_size=3), min_size=1, max_size=5, unique=True))
def test_only_such_labels_are_told(labels: list[str]) -> None:
    """For any labels: it warns if, and only if, a wrong one among them has full marks."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warn_of_twins("exact", "z", [Literal[tuple(labels)]])
    wrong = [(one, other) for one in labels for other in labels if one != other]
    assert len(told) == any(exact(one, other) for one, other in wrong)


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"enum": ["si", "Si"]}, "exact"),
        ({"type": "array", "items": {"enum": ["si", "Si"]}, "uniqueItems": True}, "f1_set"),
        ({"type": "object", "properties": {"said": {"enum": ["si", "Si"]}}}, "exact"),
    ],
)
def test_labels_of_a_task_file_are_seen(schema: Any, named: str) -> None:
    """The labels are found in the types that schemas become, too."""
    part = {"name": "z", "instruction": "Say z.", "metric": named, "output_schema": schema}
    [task] = mti.Task.from_json_schema({"inputs": [{"name": "text"}], "subtasks": [part]})
    with pytest.warns(match=f"the metric {named!r} of task 'z' takes its labels 'si' and 'Si' "):
        warn_of_twins(task.metric, task.name, [one.type for one in task.outputs])


def test_they_are_told_before_the_first_call() -> None:
    """Whoever measures with such a metric is told before any call. A function that tells the labels
    apart, of the task or for this measurement, goes without a word, and gives a wrong one no marks.
    """
    declared = "text -> label: Literal['si', 'Si', 'no']"
    program = mti.combine(declared)
    rows = [{"id": "r", "inputs": {"text": "x"}, "outputs": {"label": "si"}}]
    model = mti.FunctionModel(lambda _: '{"label": "Si"}')
    with pytest.raises(UserWarning, match=r"'exact' of task 'label' .* 'si' and 'Si' for the same"):
        mti.evaluate(program, rows, model=model)
    assert model.requests == []
    scores = mti.evaluate(program, rows, model=model, metrics={"label": eq})
    assert scores.tasks["label"].mean == 0
    own = mti.combine(mti.task(declared, metric=eq))
    assert mti.evaluate(own, rows, model=model).tasks["label"].mean == 0
