"""What cannot succeed is told before the first call: too little gold, a small budget, no choice."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.planner import choose_plan, estimate
from mtiprompt.planner.ahead import distinct, observations
from mtiprompt.planner.groupings import Pins
from mtiprompt.planner.rules import FEWEST
from mtiprompt.report.choice import parts_of, verdict_of
from tests.test_planner import RULES, choose, groups, harms, planted, program, rows
from tests.test_planner_search import chained, partly, wrong_in_company, yes
from tests.test_rules import partitions


def refuses(_: object) -> str:
    """No call may be made."""
    raise AssertionError("a call was made")


NOBODY = mti.FunctionModel(refuses)


def check_foretold(names: str, given: Any, reason: str, **options: Any) -> None:
    """The split plan comes back with its reason and without a call, as the dry run says."""
    choice = choose_plan(program(names), given, model=NOBODY, **options)
    assert choice.plan == mti.Plan.split(program(names))
    assert (choice.spent.calls, choice.exhausted, choice.pays_after) == (0, False, None)
    assert [(one.name, one.verdict, one.rows) for one in choice.candidates] == [
        ("split", "baseline", 0)
    ]
    assert choice.chosen.reason == f"one call a task; {reason}"
    json.dumps(choice.plain(), allow_nan=False)
    assert reason in str(parts_of(choice))
    assert "No other plan was measured" in str(verdict_of(choice))
    assert "No call was made" in str(verdict_of(choice))
    told = estimate(program(names), given, **options)
    assert (told.whole, told.least, told.untried) == (mti.Usage(), 0, reason)
    assert told.plans["split"].calls == len(names)


@pytest.mark.parametrize("known", [1, 10, FEWEST - 1])
def test_too_little_gold_is_told_before_a_call(known: int) -> None:
    """One of two tasks has gold on fewer rows than `expected` needs: nothing is paid."""
    says = "the rule expected says nothing of a task before 20 observations, and there are"
    check_foretold("ab", partly(100, {"a": 100, "b": known}), f"{says} {known} of b")
    check_foretold("ab", rows(19), f"{says} 19 of a, b")
    few = partly(60, {"a": 3, "b": 12, "c": 3})
    check_foretold("abc", few, f"{says} 3 of a, c and 12 of b; not tried: compact",
                   notations=["compact"])  # fmt: skip


def test_enough_gold_is_measured() -> None:
    """From 20 observations on, and without gold from 20 rows on, the search runs; so it does under
    the guarantee, which tells how many rows more it takes."""
    for known in (partly(40, {"a": 40, "b": FEWEST}), rows(FEWEST)):
        assert choose_plan(program("ab"), known, model=planted(harms())).chosen.name == "fused"
        assert not estimate(program("ab"), known).untried
    few = choose("ab", harms(), 19, rule="guarantee")
    assert few.candidates[1].verdict == "undecided"
    assert estimate(program("ab"), rows(19, "ab"), rule="guarantee").whole.calls == 57


def test_a_task_with_little_gold_bars_no_other() -> None:
    """It stays alone, no call is made about it in company, and the others are fused."""
    model = planted(harms())
    choice = choose_plan(program("abcd"), partly(40, {**dict.fromkeys("abc", 40), "d": 5}),
                         model=model)  # fmt: skip
    assert groups(choice) == {"abc", "d"}
    assert [one.name for one in choice.candidates] == ["split", "a+b+c | d"]
    assert choice.chosen.verdict == "accepted"
    assert "and there are 5 of d" in choice.candidates[0].reason


def test_what_is_pinned_to_a_task_with_little_gold_is_measured() -> None:
    """The pinned call is the will of the user, and grows by no other task."""
    known = {**dict.fromkeys("abde", 40), "c": 5}
    choice = choose_plan(
        chained({"a": "", "b": "", "c": "a", "d": "", "e": ""}),
        partly(40, known), model=mti.FunctionModel(yes), together=["bc"],
    )  # fmt: skip
    assert groups(choice) == {"a", "bc", "de"}
    assert [one.verdict for one in choice.candidates] == ["baseline", "pinned", "accepted"]


def test_calls_with_too_many_items_are_not_tried() -> None:
    """60 rows are 15 calls with 4 items: too few observations, which is told; 2 items are tried."""
    choice = choose("ab", harms(), 60, items=[4, 2])
    assert not any("4 items" in one.name for one in choice.candidates)
    assert any("2 items" in one.name for one in choice.candidates)
    says = "before 20 observations, and there are 15 of a, b; not tried: 4 items a call"
    assert choice.candidates[0].reason.endswith(says)
    told = estimate(program("ab"), rows(60, "ab"), items=[4, 2])
    assert told.untried.endswith(says)


@given(st.integers(0, 60), st.integers(1, 7), st.data())
def test_observations_are_those_of_a_search(number: int, size: int, data: st.DataObject) -> None:
    """Whatever rows have gold, as many are foretold as a search sees in all its calls."""
    known = [data.draw(st.booleans()) for _ in range(number)]
    given = [{"inputs": {"text": str(n)}, "outputs": {"a": "yes"} if one else {}}
             for n, one in enumerate(known)]  # fmt: skip
    parts = [known[start : start + size] for start in range(0, number, size)]
    whole = [part for part in parts if len(part) == size]
    gold = sum(map(any, whole)) if any(known) else len(whole)
    read = mti.Dataset.from_rows(program("ab"), given).test if given else ()
    assert observations(program("ab"), read, size) == {"a": gold, "b": len(whole)}


@pytest.mark.parametrize("rule", RULES)
def test_one_plan_is_returned_without_a_call(rule: Any) -> None:
    """A single task, or tasks that are all apart or cannot share a call: there is no choice."""
    says = "there is one task, and nothing else to try"
    check_foretold("a", rows(60, "a"), says, rule=rule)
    check_foretold("a", rows(60, "a"), says, rule=rule, items=[1])
    check_foretold("a", rows(5, "a"), says, rule=rule)
    says = "no two tasks may share a call, and there is nothing else to try"
    check_foretold("abc", rows(60, "abc"), says, apart=["abc"], rule=rule)


def test_one_task_may_be_asked_otherwise() -> None:
    """Several items in a call are a choice for a single task, too; the dry run counts them."""
    choice = choose_plan(program("a"), rows(60), model=mti.EchoModel(), items=[3], p=0.9999)
    assert [one.name for one in choice.candidates] == ["split", "split, 3 items a call"]
    told = estimate(program("a"), rows(60), items=[3])
    assert (list(told.plans), told.untried) == (["split", "3 items a call"], "")
    assert told.whole.calls == choice.spent.calls == 80
    assert told.least == 80


def test_a_pinned_plan_is_measured_where_nothing_else_can_be() -> None:
    """It is taken whatever is measured, and measured all the same, on however few rows."""
    tasks = program("ab")
    plan = mti.Plan.fused(tasks)
    choice = choose_plan(tasks, rows(5, "ab"), model=planted(harms()), plan=plan)
    assert (choice.chosen.verdict, choice.spent.calls) == ("pinned", 15)
    one = choose("ab", harms(), 5, together=["ab"])
    assert (one.chosen.verdict, one.spent.calls) == ("pinned", 15)
    assert estimate(tasks, rows(5, "ab"), together=["ab"]).whole.calls == 15


@given(st.data())
def test_the_first_grouping_is_found_if_there_is_one(data: st.DataObject) -> None:
    """Over random dependencies and pins: none is foretold only where none is allowed."""
    names = "abcd"[: data.draw(st.integers(1, 4))]
    takes = {
        name: sorted(data.draw(st.sets(st.sampled_from(names[:place])))) if place else ""
        for place, name in enumerate(names)
    }
    pairs = st.lists(st.sets(st.sampled_from(names), min_size=min(2, len(names))), max_size=3)
    apart = [sorted(one) for one in data.draw(pairs) if len(one) > 1]
    pins = Pins(chained(takes), apart=apart)
    allowed = [one for one in map(pins.grouping, partitions(tuple(names))) if pins.allows(one)]
    found = pins.first(names)
    assert pins.allows(found)
    assert (found == pins.split()) == all(len(one) == len(names) for one in allowed)


@pytest.mark.parametrize(
    ("names", "calls", "least"), [("abcdefghijkl", 200, 260), ("abcd", 80, 100)]
)
def test_a_budget_that_buys_no_verdict_is_told_of(names: str, calls: int, least: int) -> None:
    """It is said before the first call what a verdict takes, and at the end what was not done."""
    with pytest.warns(UserWarning, match=f"{calls} calls.* at least {least}") as caught:
        choice = choose(names, harms(), 60, budget=mti.Budget(calls=calls))
    assert len(caught) == 1
    assert caught[0].filename == __file__.replace("_ahead", "")  # where `choose` calls it
    assert (choice.exhausted, len(choice.candidates)) == (True, 1)
    assert choice.chosen.reason == "one call a task; the budget ended before another was measured"
    assert "No other plan was measured" in str(verdict_of(choice))
    assert estimate(program(names), rows(60, names)).least == least


def test_the_least_budget_buys_a_verdict(tmp_path: Path) -> None:
    """With as many calls as are said no warning comes, and there is a verdict; with fewer one does,
    whatever is on record, as that counts too."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = wrong_in_company("a")
        choice = choose_plan(program("abcd"), rows(20, "abcd"), model=model,
                             budget=mti.Budget(calls=100), record=tmp_path)  # fmt: skip
        assert choice.candidates[1].verdict == "rejected"
    with pytest.warns(UserWarning, match="99 calls.* at least 100"):
        choose_plan(program("abcd"), rows(20, "abcd"), model=model, budget=mti.Budget(calls=99),
                    record=tmp_path)  # fmt: skip


PARTS = [{"inputs": {"text": "shown"}, "outputs": one} for one in ({"a": "yes"}, {"b": "no"})]


@pytest.mark.parametrize(
    ("options", "tasks"),
    [({}, "a, b, c"), ({"apart": ["bc"]}, "a, b"), ({"together": ["ab"]}, "a, b, c")],
)
def test_demonstrations_that_a_shared_call_hides_are_told_of(
    options: dict[str, Any], tasks: str
) -> None:
    """It is said once, before any call, how many the first shared call shows of those that the
    split plan shows.
    """
    with pytest.warns(UserWarning, match=f"the call for {tasks} shows 0 of 2") as caught:
        choose("abc", harms(), 60, demos=PARTS, **options)
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("number", "options"),
    [(60, {"apart": ["ab"]}), (19, {}), (60, {"apart": ["ab"], "notations": ["compact"]})],
)
def test_nothing_is_told_where_each_call_shows_its_own(
    number: int, options: dict[str, Any]
) -> None:
    """Pins and few observations leave no shared call, and whole demonstrations hide from none."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choose("ab", harms(), number, demos=PARTS, **options)
        whole = [{"inputs": {"text": "shown"}, "outputs": {"a": "yes", "b": "no"}}]
        choose("ab", harms(), 60, demos=whole)


def test_the_number_that_decided_is_told() -> None:
    """Under `expected` a loss is shrunk towards those of the other tasks: that is what rejects."""
    choice = choose("abc", harms("a", "b"), 60)
    fused = choice.candidates[1]
    assert fused.verdict == "rejected"
    for name, one in fused.tasks.items():
        if one.verdict == "rejected":
            assert one.expected is not None
            assert one.expected > choice.margin
            assert f"{name} is expected to lose {one.expected:.3f}" in fused.reason


@pytest.mark.parametrize("rule", RULES)
def test_rows_that_ask_the_same_count_once(rule: Any) -> None:
    """One text 60 times is one observation of each task, whatever its blanks and case."""
    same = [{"inputs": {"text": text}, "outputs": {"a": "yes", "b": "yes"}}
            for text in ["Some text", "some  text ", "SOME TEXT"] * 20]  # fmt: skip
    choice = choose_plan(program("ab"), same, model=planted(harms()), rule=rule, margin=0.1)
    assert (choice.rows, choice.chosen.name) == (1, "split")
    assert estimate(program("ab"), same, rule=rule).rows == 1
    twice = rows(30, "ab") + rows(30, "ab")
    found = choose_plan(program("ab"), twice, model=planted(harms()), rule=rule, margin=0.1)
    assert found.rows == 30


def test_gold_of_rows_that_ask_the_same_is_kept() -> None:
    """The first of them counts, with the gold that others have for further tasks."""
    gold: list[Mapping[str, str]] = [{"a": "yes"}, {"b": "no", "a": "no"}, {"b": "yes"}]
    given = [{"id": str(n), "inputs": {"text": "same"}, "outputs": one}
             for n, one in enumerate(gold)]  # fmt: skip
    [row] = distinct(program("ab"), mti.Dataset.from_rows(program("ab"), given).test)
    assert (row.id, row.outputs) == ("0", {"a": "yes", "b": "no"})


def test_rows_that_leave_out_an_optional_input_ask_what_those_with_null_do() -> None:
    """They are one observation."""

    @mti.task
    def mood(message: str, lang: str | None = None) -> str:
        """Judge the mood."""
        raise NotImplementedError

    asked: list[dict[str, Any]] = [{"message": "hi"}, {"message": "hi", "lang": None}]
    combined = mti.combine(mood)
    given = mti.Dataset.from_rows(combined, [{"inputs": one} for one in asked]).test
    assert len(distinct(combined, given)) == 1
