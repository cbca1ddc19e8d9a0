"""What DSPy must not score: calls that did not come through, and scores that are none."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import dspy
import pytest

import mtiprompt as mti
from mtiprompt import errors
from mtiprompt.errors import DataError
from mtiprompt.evaluation.outcome import outcome

pytestmark = pytest.mark.usefixtures("quiet_dspy")

PROGRAM = mti.combine("text -> a: bool", "text -> b: bool")
SPLIT = mti.Plan.split(PROGRAM)
OF_ONE = [
    errors.ModelUnavailable, errors.RateLimited, errors.RequestRejected, errors.BudgetExceeded,
    errors.ContentRefused, errors.ContextTooLong,
]  # fmt: skip
"""Errors that end one call and not the whole run."""


def _failing(error: type[errors.MTIError], names: tuple[str, ...]) -> mti.FunctionModel:
    """A model that answers but for the calls that ask for one of these tasks."""

    def answer(request: mti.Request) -> str:
        assert request.schema is not None
        [name] = request.schema.schema["properties"]
        if name in names:
            raise error("no")
        return f'{{"{name}": true}}'

    return mti.FunctionModel(answer)


@pytest.mark.parametrize("error", OF_ONE)
@pytest.mark.parametrize("names", [("a",), ("b",), ("a", "b")])
@pytest.mark.parametrize("is_async", [False, True])
def test_an_outage_is_the_same_in_dspy_and_in_an_evaluation(
    error: type[errors.MTIError], names: tuple[str, ...], is_async: bool
) -> None:
    """A module raises just where an evaluation has no score, whether one call failed or all; what
    the model itself refuses is None.
    """
    model = _failing(error, names)
    measured = outcome("1", PROGRAM(text="x", model=model, plan=SPLIT))
    module = mti.to_dspy(PROGRAM, plan=SPLIT, model=model)

    def call() -> Any:
        return asyncio.run(module.acall(text="x")) if is_async else module(text="x")

    if measured.outage is not None:
        with pytest.raises(error, match="no"):
            call()
        return
    found = call()
    assert {name for name in ("a", "b") if found[name] is None} == set(names)


def test_errors_that_end_a_call_are_outages_but_for_the_models_own() -> None:
    """The rule itself: all errors of a call but a refused content and a short context."""
    found = {
        error
        for error in OF_ONE
        for slot in PROGRAM(text="x", model=_failing(error, ("a",)), plan=SPLIT).failures.values()
        if slot.is_outage
    }
    assert found == set(OF_ONE) - {errors.ContentRefused, errors.ContextTooLong}


def _evaluate(module: Any, examples: list[Any], **options: Any) -> Any:
    metric = mti.dspy_metric(PROGRAM)
    return dspy.Evaluate(devset=examples, metric=metric, num_threads=1, **options)(module)


def _bootstrap(module: Any, examples: list[Any], **options: Any) -> Any:
    made = dspy.BootstrapFewShot(metric=mti.dspy_metric(PROGRAM), **options)
    return made.compile(module, trainset=examples)


@pytest.mark.parametrize(
    ("use", "said"), [(_evaluate, "cancelled due to errors"), (_bootstrap, "^no$")]
)
@pytest.mark.parametrize(("options", "kept"), [({"max_errors": 1}, {}), ({}, {"max_errors": 1})])
def test_dspy_stops_at_the_first_outage_where_it_is_told(
    use: Any, said: str, options: dict[str, int], kept: dict[str, int]
) -> None:
    """With `max_errors=1`, as an argument or a setting, no outage is scored."""
    rows = [{"inputs": {"text": "x"}, "outputs": {"a": True, "b": True}}]
    examples = mti.dspy_examples(PROGRAM, rows)
    down = mti.to_dspy(PROGRAM, plan=SPLIT, model=_failing(errors.ModelUnavailable, ("b",)))
    with dspy.context(**kept), pytest.raises(Exception, match=said):
        use(down, examples, **options)


def test_what_was_paid_before_an_outage_is_counted() -> None:
    """DSPy's tracker has the calls that came through, though the module raises."""
    module = mti.to_dspy(PROGRAM, plan=SPLIT, model=_failing(errors.ModelUnavailable, ("b",)))
    with dspy.track_usage() as tracker, pytest.raises(errors.ModelUnavailable):
        module(text="x")
    assert len(tracker.get_total_tokens()) == 1


@pytest.mark.parametrize("value", [1.2, -0.1, math.nan, math.inf, None, "1"])
def test_what_is_no_score_is_refused(value: Any) -> None:
    """A metric that gives no number from 0 to 1 is named with its task, as in an evaluation."""
    score = mti.dspy_metric(PROGRAM, {"b": lambda *_: value})
    example = dspy.Example(text="x", a=True, b=True).with_inputs("text")
    with pytest.raises(DataError, match="'b'"):
        score(example, dspy.Prediction(a=True, b=True))
