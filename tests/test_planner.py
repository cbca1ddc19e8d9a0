"""The planner isolates what suffers, fuses the rest, and respects pins, budgets and outages."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.combine import waves
from mtiprompt.errors import (
    BudgetExceeded,
    DataError,
    IncompleteRun,
    ModelUnavailable,
    PlanError,
)
from mtiprompt.models.cache import CachedModel, ReplyCache
from mtiprompt.planner import Choice, choose_plan, estimate
from mtiprompt.planner.groupings import Pins
from mtiprompt.planner.profile import Profile
from mtiprompt.planner.rules import Rule
from mtiprompt.report.choice import parts_of, table_of
from mtiprompt.wire import Request

Harm = Callable[[str, set[str]], float]
"""Of a task and those in its call, how much less often it is right."""


def chance(*parts: object) -> float:
    """A number from 0 to 1 that is the same for the same parts."""
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16) / 2**32


def asked_for(request: Request) -> list[str]:
    """The tasks of a request."""
    return re.findall(r'^"(\w+)":', request.messages[0].content, re.MULTILINE)


def planted(harm: Harm) -> mti.FunctionModel:
    """A model that answers `yes`, nine times of ten, and less often where a task suffers."""

    def answer(request: Request) -> str:
        keys = asked_for(request)
        text = request.messages[-1].content
        right = {key: chance(key, text) < 0.9 * (1 - harm(key, set(keys) - {key})) for key in keys}
        return json.dumps({key: "yes" if one else "no" for key, one in right.items()})

    return mti.FunctionModel(answer)


def program(names: Iterable[str]) -> mti.Program:
    """Tasks with labels as answers."""
    return mti.combine(*(f"text -> {name}: Literal['yes', 'no']" for name in names))


def rows(number: int, names: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Rows with gold for some tasks."""
    gold = dict.fromkeys(names, "yes")
    return [{"inputs": {"text": f"row {n}"}, "outputs": gold} for n in range(number)]


def choose(
    names: str, harm: Harm, number: int = 200, *, gold: str | None = None, **options: Any
) -> Choice:
    """A choice about tasks of one letter each."""
    given = rows(number, names if gold is None else gold)
    return choose_plan(program(names), given, model=planted(harm), **options)


def groups(choice: Choice) -> set[str]:
    """The calls of the chosen plan, each as its tasks."""
    return {"".join(sorted(group.tasks)) for group in choice.plan.call_groups}


def harms(*losers: str, by: str = "") -> Harm:
    """These tasks lose much in company, or only in that of some."""

    def of(task: str, others: set[str]) -> float:
        return 0.5 if task in losers and (others & set(by) if by else others) else 0.0

    return of


RULES = get_args(Rule)


@pytest.mark.parametrize("rule", RULES)
def test_what_harms_nothing_is_fused(rule: Rule) -> None:
    """Where no task loses anything, all share a call, and it is said why."""
    choice = choose("abcd", harms(), rule=rule)
    assert choice.chosen.name == "fused"
    assert choice.chosen.verdict == "accepted"
    assert [one.name for one in choice.candidates] == ["split", "fused"]
    assert all(one.loss == 0 for one in choice.chosen.tasks.values())
    assert choice.chosen.price.calls == 1
    assert choice.chosen.split.calls == 4
    assert choice.pays_after is not None


@pytest.mark.parametrize("rule", RULES)
def test_a_task_that_suffers_is_isolated(rule: Rule) -> None:
    """One task loses in company: it is asked alone, and the rest together."""
    choice = choose("abcde", harms("d"), 400, rule=rule)
    assert groups(choice) == {"abce", "d"}
    assert choice.candidates[1].verdict == "rejected"
    assert choice.candidates[1].tasks["d"].verdict == "rejected"
    assert choice.chosen.tasks["d"].interval == (0, 0)


@pytest.mark.parametrize("rule", RULES)
def test_a_task_that_makes_others_suffer_is_isolated(rule: Rule) -> None:
    """All others lose in the company of one, which itself loses nothing: it is asked alone."""
    choice = choose("abcde", harms("a", "b", "c", "d", by="e"), 600, rule=rule)
    assert groups(choice) == {"abcd", "e"}


@pytest.mark.parametrize("rule", RULES)
def test_two_that_harm_each_other_are_parted(rule: Rule) -> None:
    """Two tasks lose only from each other: one of them stays with the rest."""

    def each_other(task: str, others: set[str]) -> float:
        return 0.5 if {task, *others} >= {"a", "b"} and task in "ab" else 0.0

    assert groups(choose("abcde", each_other, 600, rule=rule)) in (
        {"a", "bcde"},
        {"acde", "b"},
    )


@pytest.mark.parametrize("rule", RULES)
def test_what_harms_everything_stays_split(rule: Rule) -> None:
    """Where every task loses in any company, nothing is fused, and measuring never pays."""
    choice = choose("abcd", harms(*"abcd"), 300, rule=rule)
    assert choice.chosen.name == "split"
    assert choice.pays_after is None


def test_twelve_tasks() -> None:
    """Two of twelve suffer: the others are fused in a few steps."""
    choice = choose("abcdefghijkl", harms("c", "h"), 100)
    assert "c" in groups(choice)
    assert "h" in groups(choice)
    assert "abdefgijkl" in groups(choice)
    assert len(choice.candidates) <= 6


def test_few_rows_are_undecided_under_the_guarantee() -> None:
    """On 20 rows the guarantee accepts nothing, and says how many more it would take."""
    choice = choose("ab", harms(), 20, rule="guarantee")
    assert choice.chosen.name == "split"
    found = choice.candidates[1]
    assert found.verdict == "undecided"
    more = found.tasks["a"].more
    assert more is not None
    assert f"about {more} observations more" in found.reason
    assert choose("ab", harms(), 20 + more, rule="guarantee").chosen.name == "fused"


def test_unlabelled_rows_count_by_agreement() -> None:
    """Without gold, what the split plan answers stands in for it, and this is said."""
    choice = choose("abc", harms("b"), gold="a")
    assert choice.agreement == ("b", "c")
    assert groups(choice) == {"ac", "b"}


def test_rows_without_gold_for_a_task_are_left_out() -> None:
    """A task with gold on half of the rows has half as many observations."""
    names = "ab"
    bare = [{"inputs": {"text": f"bare {n}"}} for n in range(150)]
    given = [row for pair in zip(rows(150, "ab"), bare, strict=True) for row in pair]
    choice = choose_plan(program(names), given, model=planted(harms()), rule="guarantee")
    fused = choice.candidates[1]
    assert fused.verdict == "accepted"
    assert fused.tasks["a"].n == fused.rows / 2


def test_rows_that_cannot_decide_are_not_asked() -> None:
    """What no number of the rows left could prove ends early, and it is said what it would take."""
    choice = choose("ab", harms(), 40, rule="guarantee", margin=0.01)
    assert choice.candidates[1].rows == 10
    assert choice.chosen.name == "split"
    assert "more would decide" in choice.candidates[1].reason


def test_rows_of_every_split_count() -> None:
    """Rows that name a split are measured as all others are."""
    given = [row | {"split": "dev"} for row in rows(30, "a")] + rows(60, "a")[30:]
    choice = choose_plan(program("ab"), given, model=planted(harms()))
    assert choice.rows == 60


def test_equal_requests_are_paid_once() -> None:
    """A task that is alone in a candidate is not asked again; its price is told all the same."""
    model = planted(harms("c"))
    choice = choose_plan(program("abc"), rows(60, "abc"), model=model)
    assert groups(choice) == {"ab", "c"}
    assert choice.spent.calls == len(model.requests) == len({one.key for one in model.requests})
    assert choice.chosen.price.calls == 2


def test_a_request_that_comes_twice_is_asked_twice() -> None:
    """Two equal rows of one plan are two draws, as they would be in use."""
    model = planted(harms())
    given = rows(10, "ab") + rows(10, "ab")
    profile = Profile(
        program("ab"),
        [mti.Dataset.from_rows(program("ab"), [row | {"id": str(n)}]).test[0]
         for n, row in enumerate(given)],
        mti.Plan.split(program("ab")),
        model=model,
    )  # fmt: skip
    profile.outcomes(profile.split, 20)
    assert len(model.requests) == profile.spent.calls == 40


def test_calls_about_several_items_are_one_observation() -> None:
    """What goes wrong in a call goes wrong for all its items, so it counts once."""
    choice = choose("ab", harms(), 83, items=[4])
    wanted = next(one for one in choice.candidates if "4 items" in one.name)
    assert wanted.rows % 4 == 0
    assert wanted.tasks["a"].n == wanted.rows // 4


def test_items_and_notations_are_tried() -> None:
    """Where they harm nothing and cost less, several items share a call."""
    model = mti.EchoModel()
    given = [{"inputs": {"text": f"row {n}"}} for n in range(200)]
    choice = choose_plan(program("ab"), given, model=model, items=[2, 4], notations=["compact"])
    names = [one.name for one in choice.candidates]
    assert names[:4] == ["split", "fused", "fused, 2 items a call", "fused, 4 items a call"] or (
        "fused, 2 items a call" in names
    )
    assert choice.plan.items_per_call == 4
    assert choice.plan.notation in (None, "compact")


def test_short_keys_are_tried() -> None:
    """Where they harm nothing, letters are the cheaper keys."""
    given = [{"inputs": {"text": f"row {n}"}} for n in range(60)]
    wordy = mti.combine("text -> the_colour", "text -> the_flavour")
    choice = choose_plan(wordy, given, model=mti.EchoModel(), short_keys=True)
    assert choice.plan.short_keys
    assert choice.chosen.name == "fused, short keys"


def last_suffers(request: Request) -> str:
    """Right but for two cases: `b` is harder than `a`, and still harder behind it."""
    keys, text = asked_for(request), request.messages[-1].content
    right = {"a": 0.95, "b": 0.7 if keys[0] == "b" else 0.3}
    said = {key: "yes" if chance(key, text) < right[key] else "no" for key in keys}
    return json.dumps(said)


@pytest.mark.parametrize("orders", [False, True])
def test_another_order_may_save_a_call(orders: bool) -> None:
    """A call of which the last task suffers is accepted with that task in front, if asked for."""
    model = mti.FunctionModel(last_suffers)
    choice = choose_plan(program("ab"), rows(200, "ab"), model=model, orders=orders)
    assert [group.tasks for group in choice.plan.call_groups] == (
        [("b", "a")] if orders else [("a",), ("b",)]
    )


@pytest.mark.parametrize(("cost", "calls"), [(0.0, 1), (1e6, 2)])
def test_a_saving_must_pay_for_what_is_lost(cost: float, calls: int) -> None:
    """Within the margin a task may lose something; where errors are dear, that saves nothing."""
    loses = {"a": 0.0, "b": 0.05}
    choice = choose("ab", lambda one, others: loses[one] if others else 0.0, 400, margin=0.2,
                    error_cost=cost)  # fmt: skip
    assert len(choice.plan.call_groups) == calls
    assert choice.candidates[1].verdict == "accepted"


@pytest.mark.filterwarnings("ignore:the budget has")
@pytest.mark.parametrize("calls", [4, 60, 79, 80, 81, 85, 100, 130])
def test_a_budget_ends_the_search(calls: int) -> None:
    """Wherever it ends, the search ends with what is known, and spends no more."""
    choice = choose("abcd", harms("b"), 60, budget=mti.Budget(calls=calls))
    assert choice.exhausted
    assert choice.spent.calls <= calls
    assert choice.candidates[0].name == "split"


def test_a_budget_for_nothing() -> None:
    """A budget that does not suffice for a single row is an error that says so."""
    with (
        pytest.warns(UserWarning, match="at least 60"),
        pytest.raises(BudgetExceeded, match="before a row"),
    ):
        choose("ab", harms(), budget=mti.Budget(calls=1))


def test_a_search_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    """With a record, an outage loses nothing, and nothing is paid twice."""
    good = planted(harms("c"))
    left = [70]

    def failing(request: Request) -> str:
        left[0] -= 1
        if left[0] < 0:
            raise ModelUnavailable("down", hint="wait")
        return good.complete(request).text

    given = rows(40, "abc")
    with pytest.raises(IncompleteRun, match="has no answer") as caught:
        choose_plan(program("abc"), given, model=mti.FunctionModel(failing), record=tmp_path)
    assert caught.value.items
    assert caught.value.hint == "run it again, it goes on from there"
    left[0] = 10**6
    again = choose_plan(program("abc"), given, model=mti.FunctionModel(failing), record=tmp_path)
    assert groups(again) == {"ab", "c"}
    assert len(good.requests) == len({one.key for one in good.requests})


def test_a_cache_does_not_make_plans_look_free(tmp_path: Path) -> None:
    """A model with a cache is asked beside it: what comes from there has no price."""
    with closing(ReplyCache.at(tmp_path)) as replies:
        model = CachedModel(planted(harms()), replies)
        for _ in program("ab").map([row["inputs"] for row in rows(40)], model=model):
            pass
        first = choose_plan(program("ab"), rows(40, "ab"), model=model)
        again = choose_plan(program("ab"), rows(40, "ab"), model=model)
    assert first.chosen.name == again.chosen.name == "fused"
    assert first.spent.calls == again.spent.calls > 0


def test_pins_are_respected() -> None:
    """What is pinned together shares a call though it suffers; what is pinned apart never does."""
    choice = choose("abcd", harms("a"), together=["ab"])
    assert {"ab", "cd"} == groups(choice)
    assert choice.candidates[1].verdict == "pinned"
    assert choice.candidates[1].tasks["a"].verdict == "rejected"
    apart = choose("abcd", harms(), apart=["ab"])
    assert not any({"a", "b"} <= set(group) for group in groups(apart))
    assert len(groups(apart)) == 2


@pytest.mark.parametrize("group", [["a"], ["a", "a"]])
def test_who_stands_alone_is_apart_from_nobody(group: list[str]) -> None:
    """A group of one in apart= would be kept without any effect: it is refused; an empty one, as a
    filter may leave it, says nothing.
    """
    with pytest.raises(mti.DataError, match=r"apart= has the group .*two tasks or more"):
        Pins(program("ab"), apart=[group])
    assert Pins(program("ab"), apart=[[]]).allows((("a", "b"),))


def test_a_pinned_plan_is_taken() -> None:
    """A plan of the user is taken whatever is measured, and its rivals are shown beside it."""
    tasks = program("abc")
    pinned = mti.Plan.groups(tasks, [["a", "b"], ["c"]])
    choice = choose_plan(
        tasks, rows(60, "abc"), model=planted(harms("a")), plan=pinned, rule="guarantee"
    )
    assert choice.plan == pinned
    assert choice.chosen.verdict == "pinned"
    assert {"fused", "pinned", "split"} <= {one.name for one in choice.candidates}
    fused = choose_plan(tasks, rows(60), model=planted(harms()), plan=mti.Plan.fused(tasks))
    assert fused.chosen.verdict == "pinned"


def test_dependencies_are_respected() -> None:
    """A chain whose ends may not be fused without its middle is fused whole or not so."""
    chain = mti.combine("text -> a", "a -> b", "b, text -> c")
    given = [{"inputs": {"text": f"row {n}"}} for n in range(40)]
    choice = choose_plan(chain, given, model=mti.EchoModel(), apart=["ab"])
    waves(chain, [group.tasks for group in choice.plan.call_groups])
    assert {tuple(group.tasks) for group in choice.plan.call_groups} == {("a",), ("b", "c")}


@given(st.integers(2, 7), st.data())
@settings(max_examples=40, deadline=None)
def test_groupings_are_valid(number: int, data: st.DataObject) -> None:
    """Over random dependencies and pins, the largest grouping is one that can be run."""
    names = [f"t{n}" for n in range(number)]
    declared = []
    for place, name in enumerate(names):
        taken = data.draw(st.sets(st.sampled_from(names[:place]))) if place else set()
        declared.append(f"{', '.join(['text', *sorted(taken)])} -> {name}")
    combined = mti.combine(*declared)
    apart = data.draw(st.lists(st.sets(st.sampled_from(names), min_size=2), max_size=2))
    pins = Pins(combined, apart=[sorted(one) for one in apart])
    wanted = data.draw(st.lists(st.sampled_from(names), unique=True, min_size=1))
    grouping = pins.largest([], wanted)
    assert sorted(name for group in grouping for name in group) == sorted(names)
    assert pins.allows(grouping)
    assert sum(len(group) > 1 for group in grouping) <= 1
    assert 0 < pins.share_of_error(grouping) <= 1
    mti.Plan.groups(combined, grouping)


def test_what_is_pinned_together_is_one_task() -> None:
    """A unit moves as a whole, and counts once where the error is dealt out."""
    pins = Pins(program("abcd"), together=["ac"])
    assert pins.unit("c") == pins.unit("a") == ("a", "c")
    assert pins.largest([], ["a", "b"]) == (("a", "b", "c"), ("d",))
    assert pins.share_of_error((("a", "b", "c", "d"),)) == 1 / 2
    assert pins.share_of_error(pins.split()) == 1 / 3


MISTAKES: Sequence[tuple[Mapping[str, Any], type[Exception], str]] = [
    ({"rule": "sure"}, DataError, "no rule"),
    ({"objective": "beauty"}, DataError, "no objective"),
    ({"margin": 0}, DataError, "margin=0"),
    ({"confidence": 0.3}, DataError, "confidence=0.3"),
    ({"p": 1}, DataError, "p=1"),
    ({"requests": 0}, DataError, "requests=0"),
    ({"tokens": -1}, DataError, "tokens=-1"),
    ({"together": [["a", "x"]]}, DataError, "no task"),
    ({"together": ["ab"], "apart": ["ab"]}, DataError, "contradict"),
    ({"items": [0]}, PlanError, "items_per_call"),
    ({"items": [50]}, DataError, "cannot be measured on 20 rows"),
    ({"notations": ["loud"]}, PlanError, "notation"),
    ({"metrics": {"x": "exact"}}, DataError, "no task"),
    ({"concurrency": 0}, DataError, "concurrency"),
    ({"demos": [{"inputs": {"text": "row 1"}, "outputs": {"a": "yes"}}]}, DataError, "demonstr"),
    ({"plan": mti.Plan.fused(program("xy"))}, PlanError, "another program"),
]


@pytest.mark.parametrize(("options", "kind", "said"), MISTAKES, ids=lambda one: str(one)[:30])
def test_mistakes_are_refused_before_a_call_is_paid(
    options: Mapping[str, Any], kind: type[Exception], said: str
) -> None:
    """What makes no sense is refused in words, and the model is not asked."""
    model = planted(harms())
    with pytest.raises(kind, match=said):
        choose_plan(program("ab"), rows(20, "ab"), model=model, **options)
    assert not model.requests


def test_a_dry_run_is_what_comes() -> None:
    """Calls are exact and tokens near those of a search that needs all rows."""
    tasks, given = program("abc"), rows(30, "abc")
    model = planted(harms())
    told = estimate(tasks, given, items=[5])
    spent = choose_plan(tasks, given, model=model, p=0.9999).spent
    assert list(told.plans) == ["split", "fused", "5 items a call"]
    assert told.plans["split"].calls == 3
    assert told.plans["5 items a call"].calls == pytest.approx(0.2)
    fused = [one for one in model.requests if len(asked_for(one)) == 3]
    assert told.whole.calls == 120
    assert len(fused) == 30
    per_row = sum(len(m.content) for one in fused for m in one.messages) / 4 / 30
    assert told.plans["fused"].prompt == pytest.approx(per_row, rel=0.02)
    assert spent.calls >= told.whole.calls


def test_a_choice_is_told() -> None:
    """The table has a row for each candidate; the parts say what was chosen and promised."""
    choice = choose("abc", harms("c"), 200, rule="guarantee")
    table = table_of(choice)
    assert [row[0] for row in table.rows] == [one.name for one in choice.candidates]
    assert all(len(row) == len(table.columns) for row in table.rows)
    said = str(parts_of(choice)[0])
    assert "a+b | c" in said
    assert "at most 5%" in said
    likely = str(parts_of(choose("abc", harms("c"), 60))[0])
    assert "no guarantee" in likely
