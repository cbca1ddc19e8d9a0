"""Scores of one answer against gold, by the definitions in docs/reference/metrics.md."""

from __future__ import annotations

import json
import math
import re
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.metrics import METRICS, checked_score, exact, f1_set, metric, numeric, token_f1


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


def json_data(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Plain JSON data with few texts, so that two are often nearly the same."""
    texts = st.sampled_from(["", "a", "A ", "b", "list", "object"])
    return st.recursive(
        leaves | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2),
        max_leaves=6,
    )


def canonical(value: Any) -> Any:
    """A value with its texts trimmed and case folded, as `exact` is defined."""
    if isinstance(value, dict):
        return {key: canonical(one) for key, one in value.items()}
    if isinstance(value, list):
        return [canonical(one) for one in value]
    return value.strip().casefold() if isinstance(value, str) else value


data = json_data(st.none() | st.booleans() | st.integers(0, 1))


@given(data, data)
def test_exact_is_the_same_json(answer: Any, gold: Any) -> None:
    """1 where the JSON of both is the same after trimming and folding: no kind is another."""
    same = [json.dumps(canonical(one), sort_keys=True) for one in (answer, gold)]
    assert exact(answer, gold) == float(same[0] == same[1])


@given(st.dictionaries(st.text(), data))
def test_pairs_are_no_object(fields: dict[str, Any]) -> None:
    """A list of keys and values is not the object that has them, nor is a list of its keys."""
    pairs = [[key, fields[key]] for key in sorted(fields)]
    assert exact(pairs, fields) == exact(fields, pairs) == exact(sorted(fields), fields) == 0
    assert f1_set([pairs], [fields]) == 0
    assert exact(fields, dict(reversed(fields.items()))) == 1


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


@given(st.floats(allow_nan=True) | st.integers(-3, 3) | st.fractions() | values)
def test_a_score_is_a_number_from_0_to_1(value: Any) -> None:
    """Whatever a metric gives is such a number, or an error with the task, the value, the item."""
    if isinstance(value, int | float | Fraction) and 0 <= value <= 1:
        score = checked_score(value, "mood", item="r7")
        assert (type(score), score) == (float, float(value))
    else:
        message = f"the metric of 'mood' gave {value!r:.80} for item 'r7' ("
        with pytest.raises(mti.DataError, match=f"^{re.escape(message)}"):
            checked_score(value, "mood", item="r7")


def test_whose_score_is_wrong_is_said() -> None:
    """Not only metrics give scores, and not every score is of an item with an id."""
    with pytest.raises(mti.DataError, match=r"^`score` of 'mood' gave nan \("):
        checked_score(math.nan, "mood", by="`score`")


async def late(answer: Any, gold: Any) -> float:
    """A metric that has its value later only."""
    return 1.0


class Late:
    """A metric whose call has its value later only."""

    __call__ = staticmethod(late)


@pytest.mark.parametrize(
    "named",
    ["", [], {}, [1], 0, False, 1.5, b"exact", late, Late(), lambda: 1.0, lambda answer: 1.0,
     lambda one, two, three, four: 1.0, lambda answer, gold, *, scale: 1.0, float],
)  # fmt: skip
def test_what_is_no_metric_is_refused(named: Any) -> None:
    """Nothing is taken for `exact` or found out when it is called: neither what is no function,
    nor one with another number of arguments, nor one whose value comes later.
    """
    with pytest.raises(mti.DataError, match="metric") as caught:
        metric(named)
    assert caught.value.hint


def test_a_metric_gets_as_many_arguments_as_it_needs() -> None:
    """What has a default is not given, and what cannot be known gets two."""

    def many(answer: float, gold: float, *rest: Any, scale: float = 2) -> float:
        return (answer + gold + len(rest)) / scale

    def needs_three(answer: float, gold: float, inputs: Any, extra: float = 0.25) -> float:
        return extra + float(inputs["x"])

    assert metric(many)(0.5, 0.5, {}) == 0.5
    assert metric(lambda answer, gold, trace=0.5: trace)(0, 0, {}) == 0.5
    assert metric(needs_three)(0, 0, {"x": 0.5}) == 0.75
    assert metric(min)(0.5, 0.25, {}) == 0.25
