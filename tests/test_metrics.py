"""Scores of one answer against gold, by the definitions in docs/reference/metrics.md."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.metrics import METRICS, exact, f1_set, metric, numeric, token_f1


@pytest.mark.parametrize(
    ("answer", "gold", "score"),
    [(" Yes ", "yes", 1), ("no", "yes", 0), (3, 3, 1), (True, 1, 0), (["A"], ["a "], 1),
     ({"k": "X"}, {"k": "x"}, 1), (None, "x", 0)],
)  # fmt: skip
def test_exact(answer: Any, gold: Any, score: float) -> None:
    """Equal after trimming blanks and folding case; True is not 1."""
    assert exact(answer, gold) == score


@pytest.mark.parametrize(
    ("answer", "gold", "score"),
    [(8, 8.0, 1), (8.0000005, 8, 1), (8.00001, 8, 0), ("8", 8, 0), (True, 1, 0), (None, 1, 0)],
)
def test_numeric(answer: Any, gold: Any, score: float) -> None:
    """Numbers that differ by at most 0.000001; anything else scores 0."""
    assert numeric(answer, gold) == score


@pytest.mark.parametrize(
    ("answer", "gold", "score"),
    [([], [], 1), (["a"], [], 0), ([], ["a"], 0), (["A ", "b"], ["a", "c"], 0.5),
     (["a", "a"], ["a"], 1), ("a", ["a"], 0), ([1, 2.0], [2, 1], 1), ([["a"]], [["A"]], 1)],
)  # fmt: skip
def test_f1_set(answer: Any, gold: Any, score: float) -> None:
    """F1 of sets, items trimmed and case-folded; 1 if both are empty; no list scores 0."""
    assert f1_set(answer, gold) == score


@pytest.mark.parametrize(
    ("answer", "gold", "score"),
    [("", "", 1), ("a b", "b c", 0.5), ("a a b", "a b b", 2 / 3), ("The Cat", "the cat", 1),
     ("a", "", 0), (3, "3", 0)],
)  # fmt: skip
def test_token_f1(answer: Any, gold: Any, score: float) -> None:
    """F1 of bags of words, case folded; no text scores 0."""
    assert token_f1(answer, gold) == pytest.approx(score)


values = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text() | st.integers())


@given(values, values, st.sampled_from(sorted(METRICS)))
def test_every_score_is_between_0_and_1(answer: Any, gold: Any, name: str) -> None:
    """Whatever is scored, nothing is raised and the score lies between 0 and 1."""
    assert 0 <= METRICS[name](answer, gold) <= 1


def test_metric_by_name() -> None:
    """A name gives its function, none gives `exact`, a function itself; others are refused."""
    assert metric("f1_set")(["a"], ["a", "b"], {}) == f1_set(["a"], ["a", "b"])
    assert metric(None)("A", "a", {}) == 1.0
    assert metric(max)(0.2, 0.7, {}) == 0.7
    assert metric(lambda answer, gold, inputs: inputs["x"])(0, 0, {"x": 0.5}) == 0.5
    with pytest.raises(mti.DataError, match="no metric 'bleu'"):
        metric("bleu")
