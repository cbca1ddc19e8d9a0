"""Measuring: arms that come once, rows that are shown, items that no second run would answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.errors import IncompleteRun, ModelUnavailable, MTIError, RequestRejected
from mtiprompt.evaluation.checks import not_shown
from mtiprompt.models.resume import go_on

program = mti.combine("text -> mood: Literal['good', 'bad']", "text -> stars: int")
AGAIN = "run it again, it goes on from there"


def _rows(number: int) -> list[dict[str, Any]]:
    return [
        {"id": f"r{n}", "inputs": {"text": f"Lamp {n}."}, "outputs": {"mood": "good", "stars": 0}}
        for n in range(number)
    ]


def _model(errors: Mapping[str, MTIError]) -> mti.FunctionModel:
    """A model that raises where a text has some words, and else gives the smallest answer."""
    echo = mti.EchoModel()

    def answer(request: mti.Request) -> mti.Reply:
        for words, error in errors.items():
            if words in request.messages[-1].content:
                raise error
        return echo.complete(request)

    return mti.FunctionModel(answer)


# --- what comes only once -------------------------------------------------------------------------


def test_arms_may_come_one_by_one() -> None:
    """A generator of arms, of their names or of demonstrations is read once, and none is lost."""
    plan = mti.Plan.fused(program, demos=_rows(1))
    arms = mti.make_arms(program, (one for one in ("split", "fused")), iter(plan.demos))
    assert [len(arm.plan.demos) for arm in arms] == [1, 1]
    bare = mti.make_arms(program, ["split", "fused"], [])
    found = mti.compare(program, iter(_rows(2)), iter(bare), model=mti.EchoModel())
    assert found.arms == bare
    assert [one.n for one in found.scores.values()] == [2, 2]


@pytest.mark.parametrize("arms", [5, None, iter([])])
def test_no_arms_cost_nothing(arms: Any) -> None:
    """What is no list of arms, or an empty one, is refused in words."""
    with pytest.raises(mti.DataError, match="arm"):
        mti.compare(program, _rows(1), arms, model=mti.EchoModel())


@pytest.mark.parametrize("wrong", [{"names": "split"}, {"names": 5}, {"demos": 5}])
def test_names_and_demonstrations_are_lists(wrong: dict[str, Any]) -> None:
    """A name alone is no list of letters; the error says which argument is wrong."""
    [name] = wrong
    with pytest.raises(mti.DataError, match=f"{name}=.* is no list"):
        mti.make_arms(program, **{"names": ["split"], "demos": [], **wrong})


def test_arms_that_show_other_demonstrations_are_told() -> None:
    """An arm that leaves out what others show is told where it is made; the others are not."""
    rows = [
        row | {"outputs": gold}
        for row, gold in zip(_rows(2), [{"mood": "good"}, {"stars": 0}], strict=True)
    ]
    demos = mti.Plan.split(program, demos=rows).demos
    mti.make_arms(program, ["split", "split_cached", "batch:2"], demos)
    with pytest.warns(match="left out: the call for mood, stars shows 0 of 2"):
        mti.make_arms(program, ["split", "fused"], demos)


# --- rows that are shown --------------------------------------------------------------------------

spaced = st.text("aA b", min_size=1, max_size=3)


@given(st.lists(spaced, min_size=1, max_size=6), st.lists(spaced, max_size=3))
def test_rows_that_are_not_shown_are_measured(texts: list[str], shown: list[str]) -> None:
    """What is left beside the demonstrations is measured, and what is taken out is refused."""
    gold = {"mood": "good", "stars": 0}
    lines = [
        {"id": f"r{n}", "inputs": {"text": text}, "outputs": gold} for n, text in enumerate(texts)
    ]
    rows = mti.Dataset.from_rows(program, lines).test
    demos = [{"inputs": {"text": text}, "outputs": gold} for text in shown]
    arm = mti.Arm("shown", mti.Plan.fused(program, demos=demos))
    left = not_shown(rows, arm.plan.demos)
    assert [row for row in rows if row in left] == list(left)
    if left:
        mti.compare(program, left, [arm], model=mti.EchoModel())
    for row in (row for row in rows if row not in left):
        with pytest.raises(mti.DataError, match="is a demonstration of the arm 'shown'"):
            mti.compare(program, [row], [arm], model=mti.EchoModel())


# --- items that no second run would answer --------------------------------------------------------

Measure = Callable[[Sequence[dict[str, Any]], mti.LanguageModel, Path | None], object]


def _evaluate(rows: Any, model: mti.LanguageModel, record: Path | None) -> object:
    return mti.evaluate(program, rows, model=model, record=record)


def _choose(rows: Any, model: mti.LanguageModel, record: Path | None) -> object:
    return mti.choose_plan(program, rows, model=model, record=record)


@pytest.mark.parametrize("measure", [_evaluate, _choose])
@pytest.mark.parametrize("on_record", [False, True])
def test_a_refused_item_is_to_be_left_out(
    measure: Measure, on_record: bool, tmp_path: Path
) -> None:
    """Another run would end the same way: the error names the item, and what to do about it."""
    model = _model({"Lamp 3.": RequestRejected("an image is too large", status=400)})
    with pytest.raises(IncompleteRun, match="an image is too large") as caught:
        measure(_rows(20), model, tmp_path if on_record else None)
    hint = str(caught.value.hint)
    assert hint.startswith("'r3' would be refused again: leave out or mend such items, then ")
    assert hint.endswith(AGAIN)
    assert ("record=FOLDER" in hint) is not on_record


def test_an_outage_beside_a_refused_item(tmp_path: Path) -> None:
    """The reason is that of the refused item, which alone is named as one, whatever its arm."""
    errors = {
        "Lamp 0.": ModelUnavailable("down"),
        "Lamp 2.": RequestRejected("a word is forbidden"),
        "Lamp 4.": ModelUnavailable("down"),
    }
    arms = mti.make_arms(program, ["split", "fused"], [])
    with pytest.raises(IncompleteRun) as caught:
        mti.compare(program, _rows(6), arms, model=_model(errors), record=tmp_path)
    assert caught.value.items == ("r0", "r2", "r4")
    assert "as a word is forbidden: 'r0', 'r2', 'r4'" in caught.value.message
    assert str(caught.value.hint).startswith("'r2' would be refused again")


@given(st.lists(st.tuples(st.text(max_size=90), st.booleans()), max_size=12), st.booleans())
def test_the_hint_is_short(failed: list[tuple[str, bool]], on_record: bool) -> None:
    """However many items failed and whatever they are called; without a refused one it is short."""
    errors = [(id, RequestRejected("no") if bad else ModelUnavailable("down"))
              for id, bad in failed]  # fmt: skip
    hint = go_on("folder" if on_record else None, errors)
    assert ("would be refused again" in hint) == any(bad for _, bad in failed)
    assert hint.endswith(AGAIN)
    assert "\n" not in hint
    assert len(hint) < 500
