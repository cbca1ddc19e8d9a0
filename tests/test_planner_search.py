"""The search ends whatever suffers, promises no more than it tested, and spends the error once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from itertools import permutations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.combine import waves
from mtiprompt.errors import BudgetExceeded, DataError
from mtiprompt.evaluation.prices import Price
from mtiprompt.planner import Choice, choose_plan
from mtiprompt.planner.candidate import Wanted
from mtiprompt.planner.groupings import Pins
from mtiprompt.planner.profile import Profile
from mtiprompt.planner.rules import Rule
from mtiprompt.planner.search import Search
from mtiprompt.report.choice import parts_of, verdict_of
from mtiprompt.report.parts import Chart
from mtiprompt.wire import Reply, Request, Usage
from tests.test_planner import (
    RULES,
    asked_for,
    choose,
    groups,
    harms,
    planted,
    program,
    rows,
)
from tests.test_rules import partitions

Takes = Mapping[str, Iterable[str]]
"""Task to the tasks whose answers it takes."""


def chained(takes: Takes) -> mti.Program:
    """Tasks with labels as answers, some of which take answers of others."""
    return mti.combine(
        *(f"{', '.join(['text', *of])} -> {name}: Literal['yes', 'no']"
          for name, of in takes.items())
    )  # fmt: skip


def partly(number: int, known: Mapping[str, int]) -> list[dict[str, Any]]:
    """Rows with gold for each task on the first rows alone."""
    return [
        row | {"outputs": {name: "yes" for name, last in known.items() if n < last}}
        for n, row in enumerate(rows(number))
    ]


def yes(request: Request) -> str:
    """All answers are right."""
    return json.dumps(dict.fromkeys(asked_for(request), "yes"))


def wrong_in_company(*losers: str) -> mti.FunctionModel:
    """These tasks are always wrong in company, and all others always right."""

    def answer(request: Request) -> str:
        asked = asked_for(request)
        wrong = {name: "no" for name in losers if name in asked and len(asked) > 1}
        return json.dumps({**dict.fromkeys(asked, "yes"), **wrong})

    return mti.FunctionModel(answer)


class Known(Profile):
    """A profile of tasks whose scores are known."""

    scores: Mapping[str, float]

    def means(self) -> dict[str, float]:
        """The mean score of each task alone."""
        return dict(self.scores)


def searching(combined: mti.Program, scores: Mapping[str, float], variants: int = 2) -> Search:
    """A search under the guarantee that tries other orders, too."""
    wanted = Wanted("guarantee", 0.05, 0.95, 0.8, "cost", Price("x", 0, 0, 0), None, None, 1)
    profile = Known(combined, [], mti.Plan.split(combined), model=mti.FunctionModel(yes))
    profile.scores = scores
    return Search(profile, Pins(combined), wanted, orders=True, variants=variants)


@pytest.mark.parametrize(
    ("last", "chosen"),
    [({"e": "d"}, {"abc", "d", "e"}), ({"e": "d", "f": "e"}, {"abc", "d", "e", "f"})],
)
def test_a_task_that_cannot_be_decided_keeps_what_it_builds_on_apart(
    last: Takes, chosen: set[str]
) -> None:
    """It takes an answer and has little gold: that answer is left as it was, the rest is fused.

    So it is with an answer that it takes by way of another task.
    """
    takes: Takes = {**dict.fromkeys("abcd", ""), **last}
    known = {**dict.fromkeys(takes, 24), list(takes)[-1]: 10}
    choice = choose_plan(chained(takes), partly(24, known), model=mti.FunctionModel(yes))
    assert groups(choice) == chosen
    assert choice.chosen.verdict == "accepted"


def test_nothing_is_fused_where_all_is_built_on() -> None:
    """Each call changes what a task that cannot be decided takes: all stay apart, at no cost."""
    known = {"a": 24, "b": 24, "e": 10}
    takes: Takes = {"a": "", "b": "", "e": "ab"}
    choice = choose_plan(chained(takes), partly(24, known), model=mti.FunctionModel(yes))
    assert groups(choice) == {"a", "b", "e"}
    assert choice.spent.calls == 0
    assert "there are 10 of e; a, b, e stay as they are" in choice.chosen.reason


def test_pinned_calls_that_harm_each_other_are_parted() -> None:
    """The tasks that lose most are in different pinned calls: the search ends all the same."""

    def crowded(task: str, others: set[str]) -> float:
        return {"a": 0.9, "b": 0.5, "c": 0.9, "d": 0.5}[task] if len(others) > 1 else 0.0

    choice = choose("abcd", crowded, 60, together=["ab", "cd"])
    assert groups(choice) == {"ab", "cd"}
    assert choice.chosen.verdict == "pinned"


@given(st.data())
@settings(max_examples=40)
def test_a_search_ends(data: st.DataObject) -> None:
    """Over random dependencies, pins, gold and losses it ends with a plan that was found safe."""
    names = "abcde"[: data.draw(st.integers(2, 5))]
    takes: Takes = {
        name: sorted(data.draw(st.sets(st.sampled_from(names[:place])))) if place else ""
        for place, name in enumerate(names)
    }
    known = {name: data.draw(st.sampled_from([0, 1, 10, 30])) for name in names}
    losers = data.draw(st.sets(st.sampled_from(names)))
    combined = chained(takes)
    pairs = [data.draw(st.permutations(names))[:2] for _ in range(data.draw(st.integers(0, 2)))]
    together = pairs if Pins(combined).allows(Pins(combined).merged(pairs)) else []
    choice = choose_plan(
        combined,
        partly(30, known),
        model=planted(harms(*losers)),
        rule=data.draw(st.sampled_from(RULES)),
        margin=0.3,
        together=together,
        orders=data.draw(st.booleans()),
    )
    waves(combined, [group.tasks for group in choice.plan.call_groups])
    assert choice.chosen.verdict in {"accepted", "pinned" if together else "baseline"}
    if choice.chosen.verdict == "accepted" and not together:
        assert {one.verdict for one in choice.chosen.tasks.values()} == {"accepted"}


@pytest.mark.parametrize("rule", RULES)
def test_a_promise_leaves_out_what_is_pinned(rule: Rule) -> None:
    """One task is always wrong in its pinned call: no word says that no task loses."""
    model = wrong_in_company("a")
    choice = choose_plan(
        program("abcd"), rows(300, "abcd"), model=model, together=["ab"], rule=rule
    )
    assert groups(choice) == {"ab", "cd"}
    assert choice.chosen.verdict == "accepted"
    loses = "is expected to lose 0.99" if rule == "expected" else "loses 1.000"
    assert f"as pinned, a {loses}" in choice.chosen.reason
    assert "no other task loses more than 0.05" in choice.chosen.reason
    said = verdict_of(choice).paragraphs[1]
    assert "task but a and b loses more than 0.05" in said
    assert "Of what you pinned nothing is promised." in said


def test_a_promise_is_whole_where_pins_harm_nothing() -> None:
    """What is pinned together was found safe too: nothing is taken from the promise."""
    choice = choose("abcd", harms(), together=["ab"])
    assert choice.chosen.name == "fused"
    apart = choose("abcd", harms(), together=["ab"], apart=["ac", "ad"])
    assert groups(apart) == {"ab", "cd"}
    for one in (choice, apart):
        assert one.chosen.reason == "probably no task loses more than 0.05"
        assert "pinned" not in str(verdict_of(one))


def test_a_pinned_call_that_is_asked_otherwise_is_measured() -> None:
    """Another answer goes into a pinned call: what its tasks lose by that is no will of the user.

    `c` shares a call with `d`, which takes `a`; and `a` says something else in company of `b`.
    """

    def answer(request: Request) -> str:
        asked, known = asked_for(request), request.messages[-1].content
        said = dict.fromkeys(asked, "yes")
        if {"a", "b"} <= {*asked}:
            said["a"] = "no"
        if "c" in asked and "no" in known.split():
            said["c"] = "no"
        return json.dumps(said)

    choice = choose_plan(
        chained({"a": "", "b": "", "c": "", "d": "a"}),
        rows(60, "abcd"),
        model=mti.FunctionModel(answer),
        together=["cd"],
        apart=["ac", "bc"],
        metrics={"a": lambda gold, said: 1.0},
    )
    found = next(one for one in choice.candidates if one.name == "a+b | c+d")
    assert found.tasks["c"].loss == 1
    assert found.verdict == "rejected"


def test_what_to_try_may_come_one_by_one() -> None:
    """Numbers of items and notations from a generator are tried like those of a list."""
    choice = choose(
        "ab", harms(), 60, items=(n for n in [2]), notations=(one for one in ["compact"])
    )
    names = [one.name for one in choice.candidates]
    assert "fused, 2 items a call" in names
    assert any(name.endswith("compact") for name in names)


def test_a_row_that_is_shown_is_refused_by_name() -> None:
    """The refusal names the plan that shows it as the candidates are named."""
    shown = [{"inputs": {"text": "row 1"}, "outputs": {"a": "yes", "b": "yes"}}]
    with pytest.raises(DataError, match="demonstration of the arm 'split'"):
        choose("ab", harms(), 20, demos=shown)
    pinned = mti.Plan.fused(program("ab"), demos=shown)
    with pytest.raises(DataError, match="demonstration of the arm 'pinned'"):
        choose("ab", harms(), 20, plan=pinned)


@given(st.data())
@settings(max_examples=30)
def test_shares_of_all_orders_sum_to_at_most_one(data: st.DataObject) -> None:
    """Whatever tasks turn out to be hard, groupings in all orders tried spend the error once."""
    names = "abcd"[: data.draw(st.integers(2, 4))]
    takes: Takes = {
        name: sorted(data.draw(st.sets(st.sampled_from(names[:place])))) if place else ""
        for place, name in enumerate(names)
    }
    combined = chained(takes)
    number = data.draw(st.sampled_from([1, 4]))  # items in a call
    scores: dict[str, float] = {}
    search = searching(combined, scores, variants=2 if number == 1 else 4)
    split, tried = mti.Plan.split(combined), set()
    for grouping in map(search.pins.grouping, partitions(tuple(names))):
        if search.pins.allows(grouping):
            plan = split.replace(combined, call_groups=grouping)
            for places in permutations(range(len(names))):
                scores.update(zip(names, places, strict=True))
                for one, size in product((plan, search.hardest_first(plan)), {1, number}):
                    tried.add(one.replace(combined, items_per_call=size))
    assert all(0 < search.share(one) <= 1 for one in tried)
    assert math.fsum(map(search.share, tried)) <= 1 + 1e-12


def test_the_hardest_task_that_can_comes_first() -> None:
    """Of those that take no answer of the others; these stay in the order of the program."""
    combined = chained({"a": "", "b": "", "c": "", "d": "b"})
    search = searching(combined, {"a": 0.9, "b": 0.5, "c": 0.4, "d": 0.1})
    first = search.hardest_first(mti.Plan.groups(combined, [["a", "b", "c", "d"]]))
    assert [group.tasks for group in first.call_groups] == [("c", "a", "b", "d")]
    parted = search.hardest_first(mti.Plan.groups(combined, [["a", "b"], ["c", "d"]]))
    assert [group.tasks for group in parted.call_groups] == [("b", "a"), ("d", "c")]


def test_what_was_not_measured_is_no_loss() -> None:
    """A task without gold on the rows that were measured has no bar, not one of 0."""
    given = partly(60, {"a": 60})
    for row in given[-20:]:
        row["outputs"] = {"b": "yes"}
    choice = choose_plan(program("ab"), given, model=wrong_in_company("a"))
    assert choice.candidates[1].tasks["b"].n == 0
    bars = _bars(choice)
    assert [math.isnan(one) for one in bars.series[0].y] == [False, True]
    assert [math.isnan(one) for one in bars.series[0].low] == [False, True]


def _bars(choice: Choice) -> Chart:
    found = parts_of(choice)[-1]
    assert isinstance(found, Chart)
    return found


def untold(request: Request) -> Reply:
    """All answers are right, and what the call cost is not told."""
    return Reply(yes(request), usage=Usage(calls=1, prompt_tokens=10, cost=None))


def test_dollars_of_calls_that_tell_no_cost() -> None:
    """Without a price the reason is told, before the first call where no call would tell its cost,
    else after it; with one, of the search or of the budget, the dollars are counted by it."""
    tasks, given = program("ab"), rows(60, "ab")
    named = dict.fromkeys(("any", "openai/mine", "ollama/llama3"), (1, BudgetExceeded))
    for name, (calls, error) in {"direct/any": (0, DataError), **named}.items():
        model, budget = mti.FunctionModel(untold, name=name), mti.Budget(dollars=1)
        with pytest.raises(error, match=r"price of direct/any is not known|cost is not known"):
            choose_plan(tasks, given, model=model, budget=budget)
        assert len(model.requests) == calls
        budget = mti.Budget(dollars=1)
        price = Price("test", prompt=0.004, cached=0.0, completion=0.0)
        choice = choose_plan(tasks, given, model=model, budget=budget, price=price)
        assert choice.exhausted
        assert 0.8 < (budget.spent.cost or 0.0) <= 1
        budget = mti.Budget(dollars=1)
        budget.price_by(lambda used: 0.004 * used.prompt_tokens)
        assert choose_plan(tasks, given, model=model, budget=budget).exhausted
        assert 0.8 < (budget.spent.cost or 0.0) <= 1
    for name in ("local/any", "openai/mine", "ollama/llama3"):
        free = mti.FunctionModel(yes, name=name)
        assert not choose_plan(tasks, given, model=free, budget=mti.Budget(dollars=0)).exhausted


def test_the_price_of_a_budget_holds() -> None:
    """What a budget was told is not replaced by the table's price of the model, but by one that is
    given."""
    tasks, given = program("ab"), rows(20, "ab")
    model = mti.FunctionModel(untold, name="openai/gpt-4o-mini")
    for price, each in (
        (None, 0.5),
        (Price("test", prompt=0.025, cached=0.0, completion=0.0), 0.25),
    ):
        budget = mti.Budget(dollars=1000)
        budget.price_by(lambda used: 0.5 * used.calls)
        choose_plan(tasks, given, model=model, budget=budget, price=price)
        assert budget.spent.cost == pytest.approx(each * budget.spent.calls)
