"""Scores of one answer against gold, by the definitions in docs/reference/metrics.md."""

from __future__ import annotations

import json
import math
import re
import unicodedata
import warnings
from datetime import date, datetime, time
from enum import Enum, IntEnum
from fractions import Fraction
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field
from typing_extensions import TypedDict

import mtiprompt as mti
from mtiprompt.metrics import METRICS, checked_score, exact, f1_set, metric, numeric, token_f1
from mtiprompt.tasks import Field as TaskField


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
    [(8, 8.0, 1), (8.0000005, 8, 1), (8.00001, 8, 0), ("8", 8, 0), (True, 1, 0), (None, 1, 0),
     (0, None, 0), (None, None, 1)],
)  # fmt: skip
def test_numeric(answer: Any, gold: Any, score: float) -> None:
    """Numbers that differ by at most 0.000001, or null where that is right; all else scores 0."""
    assert numeric(answer, gold) == score


@pytest.mark.parametrize(
    ("answer", "gold", "score"),
    [([], [], 1), (["a"], [], 0), ([], ["a"], 0), (["A ", "b"], ["a", "c"], 0.5),
     (["a", "a"], ["a"], 1), ("a", ["a"], 0), ([1, 2.0], [2, 1], 1), ([["a"]], [["A"]], 1),
     (None, [], 0), ([], None, 0), (None, None, 1)],
)  # fmt: skip
def test_f1_set(answer: Any, gold: Any, score: float) -> None:
    """F1 of sets, items trimmed and case-folded; 1 if both are empty; no list scores 0."""
    assert f1_set(answer, gold) == score


@pytest.mark.parametrize(
    ("answer", "gold", "score"),
    [("", "", 1), ("a b", "b c", 0.5), ("a a b", "a b b", 2 / 3), ("The Cat", "the cat", 1),
     ("a", "", 0), (3, "3", 0), (None, "", 0), ("", None, 0), (None, None, 1)],
)  # fmt: skip
def test_token_f1(answer: Any, gold: Any, score: float) -> None:
    """F1 of bags of words, case folded; no text scores 0."""
    assert token_f1(answer, gold) == pytest.approx(score)


@given(st.text(), st.sampled_from(["NFC", "NFD"]))
def test_the_same_letters_are_the_same_text(text: str, form: Literal["NFC", "NFD"]) -> None:
    """Whether an accent is part of its letter or stands behind it is no difference."""
    other = unicodedata.normalize(form, text)
    assert exact(other, text) == f1_set([other], [text]) == token_f1(other, text) == 1


def test_accents_are_no_words_of_their_own() -> None:
    """The same for letters of which everyday texts are made."""
    apart = unicodedata.normalize("NFD", "Müller")
    assert apart != "Müller"
    assert exact(apart, "MÜLLER") == f1_set([apart], ["müller"]) == 1
    assert token_f1(f"Frau {apart}", "Frau MÜLLER") == 1


@pytest.mark.parametrize("text", ["\u0390", "\u03b0", "\u1f82", "\u01f0", "h\u00f6chste"])
def test_capitals_are_the_same_text(text: str) -> None:
    """A letter with accents is that of its capitals, which Unicode may only write with the accents
    apart.
    """
    for form in ("NFC", "NFD"):
        other = unicodedata.normalize(form, text.upper())
        assert exact(other, text) == f1_set([other], [text]) == token_f1(other, text) == 1


def test_keys_that_look_the_same_are_the_same() -> None:
    """The keys of an object are compared as they look too, by their case as well."""
    label, other = (unicodedata.normalize(form, "h\u00f6chste") for form in ("NFC", "NFD"))
    assert exact({other: 1}, {label: 1}) == exact([{"a": {other: 1}}], [{"a": {label: 1}}]) == 1
    assert exact({other: 1}, {label: 2}) == exact({"A": 1}, {"a": 1}) == 0
    assert exact({other: 1, label: "x"}, {label: "x", other: 1}) == 1


NULLABLE = mti.combine(
    mti.task("text -> label: Literal['a', 'b'] | None", metric="exact"),
    mti.task("text -> number: float | None", metric="numeric"),
    mti.task("text -> items: list[int] | None", metric="f1_set"),
    mti.task("text -> words: date | None", metric="token_f1"),
)
"""Tasks of which none reads "soon", each with another metric."""
NULLS = dict.fromkeys(NULLABLE.tasks, None)


def says(alone: Any, together: Any) -> mti.FunctionModel:
    """Answers everything alike: with one value where a task is alone, else, and when it is asked
    again, with another.
    """

    def reply(request: mti.Request) -> str:
        assert request.schema is not None
        keys = request.schema.schema["properties"]
        is_alone = len(keys) == 1 and request.purpose == "answer"
        return json.dumps(dict.fromkeys(keys, alone if is_alone else together))

    return mti.FunctionModel(reply)


@pytest.mark.parametrize(("answer", "score"), [(None, 1.0), ("soon", 0.0)])
def test_only_an_answer_can_be_null(answer: Any, score: float) -> None:
    """Where null is gold, a null answer is right by every metric, and a slot that failed is not."""
    rows = [{"inputs": {"text": "x"}, "outputs": NULLS}]
    found = mti.evaluate(NULLABLE, rows, model=says(answer, answer))
    assert {name: one.mean for name, one in found.tasks.items()} == dict.fromkeys(NULLS, score)


@pytest.mark.parametrize(("answer", "loss"), [(None, 0.0), ("soon", 1.0)])
def test_failures_in_company_are_losses_without_gold_too(answer: Any, loss: float) -> None:
    """Without gold, null alone and null in company agree, and a slot that failed does not."""
    rows = [{"inputs": {"text": str(n)}} for n in range(30)]
    found = mti.choose_plan(NULLABLE, rows, model=says(None, answer))
    [fused] = [one for one in found.candidates if one.name == "fused"]
    assert {name: one.loss for name, one in fused.tasks.items()} == dict.fromkeys(NULLS, loss)


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


huge = st.integers(10**309, 10**400)
"""Whole numbers beyond every float."""
numbers = st.integers() | st.floats() | huge | huge.map(lambda one: -one)
values = json_data(st.none() | st.booleans() | numbers | st.text())


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


@given(st.floats(allow_nan=True) | st.integers(-3, 3) | st.fractions() | huge | values)
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


class Mood(Enum):
    """Labels that are texts."""

    GOOD = "good"
    BAD = "bad"


class Stars(IntEnum):
    """Labels that are numbers."""

    ONE = 1
    TWO = 2


class Pair(TypedDict):
    """An object as plain JSON data."""

    z: str


class Reply(BaseModel):
    """One field, of which the model may make anything."""

    z: str


@pytest.mark.parametrize(
    ("kind", "named", "scores", "shown", "fits"),
    [
        (str, "numeric", "numbers", "str", "'exact', or 'token_f1' for free text"),
        (str | None, "f1_set", "lists", "str", "'exact', or 'token_f1' for free text"),
        (Annotated[str, Field(max_length=9)], "numeric", "numbers", "str", "'exact'"),
        (Literal["a", "b"], "f1_set", "lists", "str", "'exact'"),
        (Mood, "numeric", "numbers", "str", "'exact'"),
        (Literal[Mood.GOOD, 7], "f1_set", "lists", "int or str", "'exact'"),
        (bool, "numeric", "numbers", "bool", "'exact'"),
        (int | None, "f1_set", "lists", "int", "'numeric'"),
        (int | float, "token_f1", "texts", "float or int", "'numeric'"),
        (Stars, "token_f1", "texts", "int", "'numeric'"),
        (list[float], "numeric", "numbers", "list", "'f1_set'"),
        (list[str] | None, "token_f1", "texts", "list", "'f1_set'"),
        (int | list[str], "token_f1", "texts", "int or list", "'exact'"),
        (dict[str, str], "f1_set", "lists", "dict", "'exact'"),
        (Pair | None, "numeric", "numbers", "dict", "'exact'"),
        (set[str], "numeric", "numbers", "list", "'f1_set'"),
        (frozenset[int], "token_f1", "texts", "list", "'f1_set'"),
        (tuple[int, str], "numeric", "numbers", "list", "'f1_set'"),
        (date, "numeric", "numbers", "str", "'exact'"),
        (datetime | time, "f1_set", "lists", "str", "'exact'"),
    ],
)
def test_a_metric_that_scores_nothing_of_a_type_is_told(
    kind: Any, named: str, scores: str, shown: str, fits: str
) -> None:
    """Declaring it warns of task, metric and type, and tells which metric fits."""

    def z(text: str) -> Any:
        """Say z."""
        raise NotImplementedError

    z.__annotations__["return"] = kind
    words = (
        f"the metric {named!r} of task 'z' scores only {scores}, "
        f"but its answers are of the type {shown} (take {fits}"
    )
    with pytest.warns(match=re.escape(words)):
        mti.task(z, metric=named)


@pytest.mark.parametrize("named", [*METRICS, None, exact])
@pytest.mark.parametrize(
    "kind",
    [Any, Reply, Reply | int | str, str | list[str] | int, str | Any, Literal["a", 1] | list[str],
     Annotated[str | list[int], AfterValidator(int)]],
)  # fmt: skip
def test_what_is_not_certain_is_not_told(kind: Any, named: Any) -> None:
    """Nothing is said of types whose values may be of the right kind, or are unknown."""

    def z(text: str) -> Any:
        """Say z."""
        raise NotImplementedError

    z.__annotations__["return"] = kind
    mti.task(z, metric=named)


@pytest.mark.parametrize(
    ("kind", "named"),
    [(float, "numeric"), (Stars, "numeric"), (Literal[1, 2] | None, "numeric"),
     (list[str], "f1_set"), (list[int] | None, "f1_set"), (str, "token_f1"), (Mood, "token_f1"),
     (bool, "exact"), (str, None), (bool, lambda answer, gold: 1.0)],
)  # fmt: skip
def test_what_fits_is_not_told(kind: Any, named: Any) -> None:
    """A metric for the values of a type goes without a word."""
    mti.Task(
        name="z", instruction="Say z.", inputs=(), outputs=(TaskField("z", kind),), metric=named
    )


def test_a_model_makes_what_it_wants() -> None:
    """The field of a pydantic model may be another kind of value once the model has read it."""
    mti.task(Reply, inputs=["text"], instruction="Say z.", metric="numeric")


@pytest.mark.parametrize("named", ["numeric", "f1_set", "token_f1"])
def test_several_outputs_are_an_object(named: str) -> None:
    """The answer of a task with several outputs is an object, whatever their types."""
    with pytest.warns(match=r"of task 'span' .* of the type dict \(take 'exact'\)"):
        mti.task("text -> low: int, words: list[str]", name="span", metric=named)


def test_an_object_of_a_task_file_is_one() -> None:
    """The type that is made of the schema of an object is known for one."""
    schema = {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}
    part = {"name": "o", "instruction": "x", "metric": "numeric", "output_schema": schema}
    with pytest.warns(match=r"of task 'o' .* of the type dict \(take 'exact'\)"):
        mti.Task.from_json_schema({"inputs": [{"name": "text"}], "subtasks": [part]})


def test_it_is_told_once() -> None:
    """However often the declaration is used, it warns once."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        once = mti.task("text -> z", metric="numeric")
        mti.combine(mti.task(once, reasoning=True), "text -> ok: bool")
    assert len(told) == 1
