"""What `optimize`, `reflected` and `compressed` refuse: one line each, before anybody is asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt.evaluation.prices import Price
from mtiprompt.optimizer import Setup, foresee
from mtiprompt.optimizer.found import Options
from mtiprompt.optimizer.reflect import reflected
from mtiprompt.optimizer.wordings import compressed
from tests.test_optimize import program, rows

PROGRAM, TRAIN, DEV = program(), rows("train", 6), rows("dev", 40)


def tuned(model: mti.LanguageModel, **options: Any) -> object:
    """A search."""
    given: dict[str, Any] = {"program": PROGRAM, "train": TRAIN, "dev": DEV}
    return mti.optimize(**(given | {"model": model, "budget": mti.Budget(calls=60)} | options))


def foreseen(_: mti.LanguageModel, **options: Any) -> object:
    """Its dry run."""
    given: dict[str, Any] = {"program": PROGRAM, "train": TRAIN, "dev": DEV}
    weights = options.pop("weights", {})
    setup = Setup.of(**(given | options))
    return foresee(setup, mti.Budget(calls=60), options=Options(weights=weights))


def proposed(model: mti.LanguageModel, **options: Any) -> object:
    """Instructions that a model proposes."""
    given: dict[str, Any] = {"program": PROGRAM, "train": TRAIN}
    return reflected(**(given | {"model": model, "budget": mti.Budget(calls=60)} | options))


def shortened(_: mti.LanguageModel, **options: Any) -> object:
    """Instructions that are shortened by rule."""
    return compressed(**({"program": PROGRAM} | options))


BOTH = (tuned, proposed)
SEARCHES = (tuned, foreseen)
ALL = (tuned, foreseen, proposed)
CASES: list[tuple[tuple[Callable[..., object], ...], str, object, str]] = [
    ((*ALL, shortened), "program", "text -> x", "'text -> x' is no program"),
    ((*ALL, shortened), "program", None, "None is no program"),
    (ALL, "train", 0, "0 is no list of rows"),
    (ALL, "train", None, "None is no list of rows"),
    (ALL, "train", {"inputs": {}}, "is no"),
    (ALL, "train", [5], "train, row 1"),
    (SEARCHES, "dev", 0, "0 is no list of rows"),
    (SEARCHES, "dev", [], "dev has no rows"),
    (SEARCHES, "dev", [*DEV, 5], "dev, row 41"),
    ((*ALL, shortened), "plan", "plan.json", "'plan.json' is no plan"),
    ((*ALL, shortened), "plan", PROGRAM, "is no plan"),
    (ALL, "seed", -1, "seed=-1 makes no sense"),
    (ALL, "seed", "x", "seed='x' makes no sense"),
    (ALL, "seed", 1.5, "seed=1.5 makes no sense"),
    (ALL, "seed", None, "seed=None makes no sense"),
    (ALL, "concurrency", 0, "concurrency=0 makes no sense"),
    (ALL, "metrics", 5, "metrics=5 makes no sense"),
    (ALL, "metrics", "exact", "metrics='exact' makes no sense"),
    (SEARCHES, "vary", None, "None cannot be varied"),
    (SEARCHES, "vary", 5, "5 cannot be varied"),
    (SEARCHES, "variants", 5, "variants=5 makes no sense"),
    (SEARCHES, "variants", [("mood", ["a"])], "makes no sense"),
    (SEARCHES, "variants", {"mood": None}, "the instructions for 'mood' are None"),
    (SEARCHES, "variants", {"mood": 5}, "the instructions for 'mood' are 5"),
    (SEARCHES, "variants", {"mood": {"a", "b"}}, "the instructions for 'mood' are {"),
    (SEARCHES, "together", None, "together=None makes no sense"),
    (SEARCHES, "together", 5, "together=5 makes no sense"),
    (SEARCHES, "together", "mood", "together='mood' makes no sense"),
    (SEARCHES, "together", ["mood"], "together=['mood'] makes no sense"),
    (SEARCHES, "apart", None, "apart=None makes no sense"),
    (SEARCHES, "apart", 5, "apart=5 makes no sense"),
    (SEARCHES, "weights", 5, "weights=5 makes no sense"),
    (SEARCHES, "weights", "x", "weights='x' makes no sense"),
    (SEARCHES, "weights", [("mood", 1)], "makes no sense"),
    (SEARCHES, "weights", {"mood": "x"}, "the weights are {'mood': 'x'}"),
    (SEARCHES, "weights", {"mood": None}, "the weights are {'mood': None}"),
    ((tuned,), "price", 5, "price=5 is no price"),
    (BOTH, "record", 5, "record=5 is no folder"),
    (BOTH, "record", "", "record='' is no folder"),
    (BOTH, "budget", 60, "budget=60 is no budget"),
    (BOTH, "budget", None, "budget=None is no budget"),
    (BOTH, "budget", mti.Budget, "is no budget"),
    (BOTH, "budget", mti.Budget(), "the budget has no bound"),
    ((tuned,), "progress", None, "progress=None is no function"),
    ((tuned,), "progress", 5, "progress=5 is no function"),
    ((tuned,), "repair", 5, "repair=5 is no repair"),
]


@pytest.mark.parametrize(
    ("call", "name", "value", "says"),
    [(call, *rest) for calls, *rest in CASES for call in calls],
    ids=[f"{call.__name__}-{rest[0]}-{n}" for n, (calls, *rest) in enumerate(CASES)
         for call in calls],
)  # fmt: skip
def test_refuses(
    call: Callable[..., object],
    name: str,
    value: object,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is one line that says what is wrong and what to do; nobody is asked, nothing written."""
    monkeypatch.chdir(tmp_path)
    model = mti.FunctionModel(lambda _: '{"mood": "no", "size": "no"}')
    with pytest.raises(mti.MTIError, match=re.escape(says)) as refused:
        call(model, **{name: value})
    assert refused.value.hint or "expected" in refused.value.message
    assert len(str(refused.value).splitlines()) == 1
    assert model.requests == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("measure", [mti.evaluate, mti.choose_plan])
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("plan", "plan.json", "'plan.json' is no plan"),
        ("metrics", "exact", "metrics='exact' makes no sense"),
        ("record", 5, "record=5 is no folder"),
        ("progress", 5, "progress=5 is no function"),
        ("program", None, "None is no program"),
    ],
)
def test_the_same_is_refused_elsewhere(
    measure: Callable[..., object], name: str, value: object, says: str
) -> None:
    """The checks are those of every measurement."""
    given: dict[str, Any] = {"program": PROGRAM, "rows": DEV, "model": mti.ScriptedModel([])}
    with pytest.raises(mti.MTIError, match=re.escape(says)):
        measure(**(given | {name: value}))


@pytest.mark.parametrize(
    ("measure", "name", "value", "says"),
    [
        (mti.choose_plan, "budget", 5, "budget=5 is no budget"),
        (mti.choose_plan, "demos", 5, "demos=5 is no list"),
        (mti.choose_plan, "items", 5, "items=5 is no list"),
        (mti.choose_plan, "notations", "compact", "notations='compact' is no list"),
        (mti.choose_plan, "together", 5, "together=5 is no list"),
        (mti.choose_plan, "apart", "mood", "apart='mood' is no list"),
        (mti.evaluate, "repair", 5, "repair=5 is no repair"),
        (mti.compare, "arms", 5, "arms=5 is no list of arms"),
        (mti.compare, "arms", "fused", "'f' is no arm"),
    ],
)
def test_each_refuses_its_own(
    measure: Callable[..., object], name: str, value: object, says: str
) -> None:
    """What only one of the measurements takes is checked there."""
    given: dict[str, Any] = {"program": PROGRAM, "rows": DEV, "model": mti.ScriptedModel([])}
    with pytest.raises(mti.MTIError, match=re.escape(says)):
        measure(**(given | {name: value}))


def test_too_few_calls_are_told_as_given() -> None:
    """What was given and what bootstrapping takes of it is said, not what is left."""
    says = "20 calls, of which 12 are for bootstrapping, on 40 items are too few to search"
    with pytest.raises(mti.DataError, match=says):
        mti.optimize(
            PROGRAM, rows("train", 12), DEV, model=mti.ScriptedModel([]), bootstrap=12,
            budget=mti.Budget(calls=20), reserve=0.75,
        )  # fmt: skip


def test_calls_are_asked_for_where_rows_suffice() -> None:
    """Two rows are enough for a search that keeps none for the confirmation: then calls lack."""
    with pytest.raises(mti.DataError, match=r"3 calls on 2 items .* \(give more, or"):
        mti.optimize(
            PROGRAM, TRAIN, DEV[:2], model=mti.ScriptedModel([]), reserve=0,
            budget=mti.Budget(calls=3),
        )  # fmt: skip


@pytest.mark.parametrize("dollars", [0.0, 5.0])
def test_dollars_bound_nothing_that_is_free(dollars: float) -> None:
    """Where calls cost nothing, dollars are no number of them, and a search without another bound
    would have no end; with one it is made.
    """
    price = Price("free", 0.0, 0.0, 0.0)
    with pytest.raises(mti.DataError, match=r"free by the price.*\(bound calls: "):
        tuned(mti.ScriptedModel([]), budget=mti.Budget(dollars=dollars), price=price)
    budget = mti.Budget(dollars=dollars)
    budget.price_by(lambda _: 0.0)
    with pytest.raises(mti.DataError, match="free by the price"):
        tuned(mti.ScriptedModel([]), budget=budget)
    both = mti.Budget(dollars=dollars, calls=60)
    tuned(mti.EchoModel(), budget=both, price=price)
    assert 4 <= both.spent.calls <= 60


@pytest.mark.parametrize(
    ("different", "given", "says"),
    [
        (1, 30, "one row is left of 30 of dev, as they have the same inputs"),
        (
            2,
            30,
            r"on 2 items are too few to search \(give more rows of dev; of those with the same",
        ),
        (1, 1, r"on 1 items are too few to search \(give more rows of dev"),
    ],
)
def test_too_few_rows_are_told_apart_from_too_few_calls(
    different: int, given: int, says: str
) -> None:
    """Where rows of dev are the same, no number of calls helps: it is rows that are asked for."""
    dev = [{**row, "id": str(n)} for n, row in enumerate(rows("dev", different) * given)][:given]
    model = mti.ScriptedModel([])
    with pytest.raises(mti.DataError, match=says):
        mti.optimize(PROGRAM, TRAIN, dev, model=model, budget=mti.Budget(calls=100_000))


def test_what_is_pinned_apart_is_so_from_the_start() -> None:
    """Without a plan the search begins with as many tasks in a call as pins allow, and one that
    does not keep to them is refused.
    """
    setup = Setup.of(PROGRAM, TRAIN, DEV, apart=[["mood", "size"]])
    assert setup.space.base == mti.Plan.split(PROGRAM)
    assert Setup.of(PROGRAM, TRAIN, DEV).space.base == mti.Plan.fused(PROGRAM)
    with pytest.raises(mti.DataError, match="does not keep to together= or apart="):
        Setup.of(PROGRAM, TRAIN, DEV, apart=[["mood", "size"]], plan=mti.Plan.fused(PROGRAM))
    with pytest.raises(mti.DataError, match="does not keep to together= or apart="):
        Setup.of(PROGRAM, TRAIN, DEV, together=[["mood", "size"]], plan=mti.Plan.split(PROGRAM))
