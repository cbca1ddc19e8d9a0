"""Searches of which something is out of the ordinary: rows, budgets, refusals, what may vary."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import mtiprompt as mti
from mtiprompt.errors import BudgetExceeded, DataError, ModelUnavailable, RequestRejected
from mtiprompt.evaluation.prices import Price
from mtiprompt.models.budget import BudgetedModel
from mtiprompt.optimizer import SearchStopped, Setup, measuring
from mtiprompt.optimizer import search as searching
from mtiprompt.optimizer.confirm import FLIPS, confirm
from mtiprompt.optimizer.found import Options
from mtiprompt.optimizer.measured import Evaluation
from mtiprompt.optimizer.point import Point
from mtiprompt.optimizer.reflect import reflected
from mtiprompt.optimizer.space import Part, Space
from mtiprompt.optimizer.threads import on_one_thread
from tests.test_optimize import TASKS, chance, planted, program, reply_to, rows, tune

GOLD = dict.fromkeys(TASKS, "yes")


def answered(request: mti.Request, said: str) -> str:
    """The same answer for each task that is asked for."""
    assert request.schema
    return json.dumps(dict.fromkeys(json.loads(request.schema.text)["properties"], said))


def told(request: mti.Request) -> list[str]:
    """What the messages of a request say."""
    return [one.content for one in request.messages]


# --- rows ----------------------------------------------------------------------------------------


def test_rows_that_ask_the_same_thing_count_once() -> None:
    """Else one is searched on and its twin is fresh, which it is not; blanks and case are alike."""
    dev = [
        {"id": str(n), "inputs": {"text": f"Text {n % 40}."}, "outputs": GOLD} for n in range(80)
    ]
    dev += [{"id": "x", "inputs": {"text": " text  3.\n"}, "outputs": GOLD}]
    setup = Setup.of(program(), rows("train", 8), dev)
    assert [row.id for row in setup.rows] == [str(n) for n in range(40)]


@pytest.mark.parametrize("text", ["dev 3.\n", " dev 3. ", "dev\n3.", "DEV  3."])
def test_no_demonstration_answers_a_row_that_is_scored(text: str) -> None:
    """Rows of train that differ from one of dev in blanks, line breaks or case only are out."""
    train = [*rows("train", 4), {"id": "leak", "inputs": {"text": text}, "outputs": GOLD}]
    setup = Setup.of(program(), train, rows("dev", 20), bootstrap=5)
    shown = {demo.inputs["text"] for demo in (*setup.space.pool.demos, *setup.space.shelf)}
    assert shown == {row["inputs"]["text"] for row in rows("train", 4)}
    assert "leak" not in {row.id for row in setup.own}


def test_rows_that_leave_out_an_optional_input_ask_what_those_with_null_do() -> None:
    """Such a row of train is no demonstration beside its twin of dev, and no second row of it."""

    @mti.task(metric="exact")
    def mood(message: str, lang: str | None = None) -> str:
        """Judge the mood."""
        raise NotImplementedError

    def row(text: str, **more: None) -> dict[str, Any]:
        return {"inputs": {"message": text, **more}, "outputs": {"mood": "x"}}

    dev = [row(f"dev {n}") for n in range(8)]
    train = [row("dev 3", lang=None), *(row(f"train {n}") for n in range(4))]
    setup = Setup.of(mti.combine(mood), train, [*dev, row("dev 1", lang=None)])
    assert len(setup.rows) == 8
    assert {demo.inputs["message"] for demo in setup.space.shelf} == {
        f"train {n}" for n in range(4)
    }


def test_demonstrations_that_no_call_shows_are_not_at_hand() -> None:
    """A call shows a row only with gold for all its tasks; alone, each task has its own rows."""
    train: list[dict[str, Any]] = [*rows("train", 8)]
    for number, row in enumerate(train[:6]):
        train[number] = {**row, "outputs": {TASKS[number % 2]: "yes"}}
    fused = Setup.of(program(), train, rows("dev", 20))
    assert set(fused.space.pool.ids) == {"train6", "train7"}
    assert len(fused.space.shelf) == 2
    for more in ({"plan": mti.Plan.split(program())}, {"vary": {"demos", "select", "grouping"}}):
        space = Setup.of(program(), train, rows("dev", 20), **more).space
        assert (len(space.pool), len(space.shelf)) == (8, 8)


def test_each_call_selects_from_the_rows_that_answer_its_tasks() -> None:
    """Rows with gold for one task each can be selected from where every task has its own call."""
    train = [
        {"id": f"t{n}", "inputs": {"text": f"train {n}."}, "outputs": {TASKS[n % 2]: "yes"}}
        for n in range(12)
    ]
    shown = set[int]()

    def answer(request: mti.Request) -> str:
        [asked] = json.loads(request.schema.text)["properties"] if request.schema else [""]
        mine = "\n".join(told(request)[:-1])
        shown.update(n for n in range(12) if f"train {n}." in mine and TASKS[n % 2] != asked)
        return json.dumps({asked: "yes" if "train" in mine else "no"})

    tuned = mti.optimize(
        program(), train, rows("dev", 60), model=mti.FunctionModel(answer),
        budget=mti.Budget(calls=200), plan=mti.Plan.split(program()), vary={"select"},
    )  # fmt: skip
    assert tuned.better
    assert tuned.plan.select
    assert len(tuned.plan.demos) == 12
    assert not shown


def test_a_row_may_be_called_as_a_demonstration_of_the_plan_is() -> None:
    """Ids of the demonstrations that the plan brings keep clear of those of rows."""
    plan = mti.Plan.fused(program(), demos=rows("own", 2))
    train = [{**row, "id": f"plan:{n}"} for n, row in enumerate(rows("train", 3), start=1)]
    pool = Setup.of(program(), train, rows("dev", 20), plan=plan).space.pool
    assert len({*pool.ids}) == 5


def test_rows_of_train_that_ask_the_same_thing_are_one_demonstration() -> None:
    """Else a call shows one demonstration several times, in the place of others."""
    train = [{"inputs": {"text": f"train {n % 5}."}, "outputs": GOLD} for n in range(60)]
    half = [{**row, "outputs": {TASKS[0]: "yes"}} for row in train]
    space = Setup.of(program(), [*half, *train], rows("dev", 20), vary={"demos", "grouping"}).space
    assert len(space.pool) == len(space.shelf) == 5
    model = mti.FunctionModel(lambda _: json.dumps(GOLD))
    plan = mti.Plan.fused(program(), demos=train, select=mti.Select("nearest", 4))
    program()(text="dev 3.", model=model, plan=plan)
    shown = told(model.requests[-1])
    assert (
        sum("train" in one for one in shown) == len({one for one in shown if "train" in one}) == 4
    )


def test_rows_that_can_be_shown_are_drawn_from() -> None:
    """Where few rows of train have gold for all tasks, all of these are at hand."""
    train = [
        {"inputs": {"text": f"train {n}."}, "outputs": GOLD if n % 50 == 0 else {TASKS[0]: "yes"}}
        for n in range(2000)
    ]
    for seed in range(4):
        space = Setup.of(program(), train, rows("dev", 20), seed=seed).space
        assert (len(space.pool), len(space.shelf)) == (24, 40)


def test_answers_that_no_call_shows_are_not_asked_for() -> None:
    """A row of train has gold for one task, and its call asks for two: what the model answers about
    it is no demonstration, and is not paid for; where no other row is, that is said before a call.
    """
    some = [{**row, "outputs": {TASKS[n % 2]: "yes"}} for n, row in enumerate(rows("train", 20))]
    given: dict[str, Any] = {"bootstrap": 6, "pool": 0, "vary": {"demos"}}
    setup = Setup.of(program(), [*some, *rows("whole", 3)], rows("dev", 40), **given)
    assert sorted(row.id for row in setup.own) == ["whole0", "whole1", "whole2"]
    apart = Setup.of(program(), some, rows("dev", 40), plan=mti.Plan.split(program()), **given)
    assert len(apart.own) == 6
    with pytest.raises(DataError, match="there is nothing to choose from"):
        Setup.of(program(), some, rows("dev", 40), **given)


# --- what may vary -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {"vary": {"order"}},
        {"vary": {"grouping"}},
        {"vary": {"instructions"}},
        {"vary": {"select"}, "pool": 0},
        {"train": []},
        {"most": 0},
    ],
)
def test_nothing_to_choose_from_is_refused(more: dict[str, Any]) -> None:
    """One way of running is no search: that is said before a call is paid."""
    model = mti.EchoModel()
    alone = mti.combine("text -> mood: Literal['yes', 'no']")
    train, dev = (
        [{**row, "outputs": {"mood": "yes"}} for row in rows(kind, 20)] for kind in ("train", "dev")
    )
    given: dict[str, Any] = {"train": train, "dev": dev}
    with pytest.raises(DataError, match="there is nothing to choose from by varying "):
        mti.optimize(alone, model=model, budget=mti.Budget(calls=100), **given | more)
    assert not model.requests


@pytest.mark.parametrize(
    "vary", [{"order"}, {"grouping"}, {"reasoning"}, {"notation"}, {"instructions", "order"}]
)
def test_demonstrations_stay_where_they_are_not_varied(vary: set[Part]) -> None:
    """All that is tried shows those of the plan to improve on."""
    plan = mti.Plan.fused(program(), demos=rows("own", 2))
    tuned = tune(planted(), 200, plan=plan, vary=vary)
    assert len(tuned.found.tried) > 1
    assert {one.point.demos for one in tuned.found.tried} == {("plan:1", "plan:2")}
    assert tuned.plan.demos == tuned.candidate.demos == plan.demos


def test_tasks_that_are_pinned_together_move_as_one() -> None:
    """From one call of all, what is left where each task alone may not go."""
    tasks = mti.combine(*(f"text -> {name}: bool" for name in "abcd"))
    gold = dict.fromkeys("abcd", True)
    dev = [{**row, "outputs": gold} for row in rows("dev", 40)]
    pinned = {"vary": {"grouping"}, "together": [["a", "b"], ["c", "d"]]}
    space = Setup.of(tasks, [], dev, **pinned).space  # type: ignore[arg-type]
    moved = {tuple(sorted(point.groups)) for point in space.reshaped(space.start)}
    assert moved == {(("a", "b"), ("c", "d"))}


@pytest.mark.parametrize("given", [{}, {"mood": False}, {"mood": True}])
def test_each_way_of_reasoning_is_one_point(given: dict[str, bool]) -> None:
    """Who gives no reason and who is told to give none run alike: two tasks have four ways."""
    plan = mti.Plan.fused(program(), reasoning=given)
    tuned = tune(mti.EchoModel(), 300, plan=plan, vary={"reasoning"})
    points = [one.point for one in tuned.found.tried]
    ways = {tuple(tuned.space.reasons(one, name) for name in TASKS) for one in points}
    assert len(points) == len(ways) <= 4
    assert tuned.plan == plan


# --- refusals and outages ------------------------------------------------------------------------


@pytest.mark.parametrize("refuses", ["too many", "a demonstration"])
def test_a_way_that_is_refused_is_no_fault_of_rows(refuses: str) -> None:
    """What is refused because of the demonstrations scores nothing, and the search goes on."""

    def answer(request: mti.Request) -> str:
        shown = told(request)
        if refuses == "too many" and len(shown) > 6:
            raise RequestRejected("400: the prompt is too long")
        if refuses == "a demonstration" and any("train 5." in one for one in shown):
            raise RequestRejected("400: the filter refuses this prompt")
        return reply_to(shown, 0.25)

    tuned = tune(mti.FunctionModel(answer), vary={"demos"})
    assert tuned.better
    assert "train5" not in tuned.found.best.demos or refuses == "too many"
    assert len(tuned.found.best.demos) <= 2 or refuses == "a demonstration"
    refused = [one for one in tuned.found.tried if "train5" in one.point.demos]
    if refuses == "a demonstration":
        assert refused
        assert {one.score for one in refused} == {0.0}


def test_a_way_of_which_one_call_is_refused_scores_nothing() -> None:
    """Not half of it, else a plan that never answers one of the tasks might seem a gain."""

    def answer(request: mti.Request) -> str:
        shown = told(request)
        asked = json.loads(request.schema.text)["properties"] if request.schema else {}
        if "mood" in asked and len(shown) > 2:
            raise RequestRejected("400: no demonstrations here")
        return json.dumps(dict.fromkeys(asked, "yes" if len(shown) > 2 else "no"))

    model, split = mti.FunctionModel(answer), mti.Plan.split(program())
    tuned = tune(model, plan=split, vary={"demos"}, margin=None)
    assert not tuned.better
    shown = [one for one in tuned.found.tried if one.point.demos]
    assert shown
    assert {score.score for one in shown for score in one.tasks.values()} == {0.0}


@pytest.mark.parametrize("bootstrap", [0, 8])
def test_a_refused_row_of_dev_is_named_whatever_rows_of_train_are_called(bootstrap: int) -> None:
    """Rows without ids are numbered in both, and a row of train that was answered is another."""

    def answer(request: mti.Request) -> str:
        shown = told(request)
        if "dev 3." in shown[-1]:
            raise RequestRejected("400: the filter refuses this text")
        return reply_to(shown, 0.25)

    train, dev = (
        [{name: row[name] for name in ("inputs", "outputs")} for row in rows(kind, number)]
        for kind, number in (("train", 8), ("dev", 60))
    )
    with pytest.raises(SearchStopped, match=r"row '4' has no answer, as .*refuses this text"):
        mti.optimize(
            program(), train, dev, model=mti.FunctionModel(answer),
            budget=mti.Budget(calls=300), bootstrap=bootstrap,
        )  # fmt: skip


def test_an_outage_ahead_of_the_search_has_a_result_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was found by then: the plan is the one to improve on."""
    monkeypatch.setattr(measuring, "PAUSES", (0.0,))

    def answer(request: mti.Request) -> str:
        raise ModelUnavailable("down")

    with pytest.raises(SearchStopped, match="has no answer, as down") as stopped:
        tune(mti.FunctionModel(answer), bootstrap=4)
    assert stopped.value.tuned.plan == mti.Plan.fused(program())
    assert not stopped.value.tuned.found.tried
    assert stopped.value.items


# --- budgets -------------------------------------------------------------------------------------


def test_seconds_that_went_to_proposals_are_no_pace_of_the_search() -> None:
    """One budget bounds both; the search goes on at its own pace in what is left."""

    def answer(request: mti.Request) -> str:
        if request.schema is None:
            time.sleep(0.4)
            return "```\nMind it.\n```"
        return reply_to(told(request), 0.25)

    model, budget = mti.FunctionModel(answer), mti.Budget(calls=300, seconds=3)
    reflected(program(), rows("other", 20), model=model, budget=budget)
    assert budget.passed > 1.4
    tuned = mti.optimize(program(), rows("train", 8), rows("dev", 120), model=model, budget=budget)
    assert len(tuned.found.tried) > 10
    assert tuned.found.confirmation is not None


def test_a_slow_first_call_is_no_pace_of_the_search() -> None:
    """As where a model is loaded in it."""
    asked: list[float] = []

    def answer(request: mti.Request) -> str:
        asked.append(0.0)
        if len(asked) == 1:
            time.sleep(1.5)
        return reply_to(told(request), 0.25)

    tuned = tune(mti.FunctionModel(answer), budget=mti.Budget(calls=300, seconds=3), concurrency=1)
    assert len(tuned.found.tried) > 10
    assert tuned.found.confirmation is not None


@pytest.mark.parametrize("concurrency", [2, 8])
def test_seconds_leave_time_for_the_confirmation(concurrency: int) -> None:
    """Rows that end together are no pace: what is planned fits into the time, fresh pairs too."""

    def answer(request: mti.Request) -> str:
        time.sleep(0.1)
        return reply_to(told(request), 0.25)

    tuned = tune(
        mti.FunctionModel(answer), budget=mti.Budget(calls=2000, seconds=4),
        concurrency=concurrency,
    )  # fmt: skip
    assert tuned.found.confirmation is not None
    assert len(tuned.found.tried) > 3


def test_an_error_below_every_p_value_is_refused() -> None:
    """No p-value of so many flips is below 0.0001, so no gain could ever be shown."""
    with pytest.raises(DataError, match=r"alpha is 5e-05 \(0.0001 or more"):
        Options(alpha=5e-5)
    assert Options(alpha=1e-4).can_show(14)
    assert Options(alpha=5e-5, rule="expected").can_show(0)


def test_fresh_rows_that_can_show_nothing_are_told() -> None:
    """Four signs that are alike come by chance once in 16 times: no gain passes 0.05."""
    assert not Options().can_show(4)
    assert Options().can_show(5)
    assert Options(rule="expected").can_show(0)

    def answer(request: mti.Request) -> str:
        right = "train " in told(request)[1]
        return json.dumps(dict.fromkeys(TASKS, "yes" if right else "no"))

    few, enough = (
        mti.optimize(
            program(), rows("train", 8), rows("dev", number),
            model=mti.FunctionModel(answer), budget=mti.Budget(calls=200), vary={"demos"},
        )
        for number in (9, 10)
    )  # fmt: skip
    assert enough.better
    assert not few.better
    assert few.found.reason.endswith(", as with so few pairs it must be")


def test_a_confirmation_of_many_pairs_is_that_of_few() -> None:
    """Flips are made in parts, and are those that they were at once."""
    first, second = ([chance(n, which) for n in range(60)] for which in range(2))
    differences = np.array(first) - np.array(second)
    signs = np.random.default_rng(3).choice([-1.0, 1.0], size=(FLIPS, 60))
    as_large = (signs @ differences >= differences.sum() - 1e-9).sum()
    assert confirm(first, second, alpha=0.05, seed=3).p_value == (1 + as_large) / (1 + FLIPS)


def test_a_reserve_is_part_of_what_the_seconds_buy() -> None:
    """Many calls are allowed and few fit into the seconds: a quarter of these go to fresh pairs."""
    model, start = planted(), time.monotonic()
    budget = mti.Budget(calls=20_000, seconds=100, clock=lambda: start + 0.4 * len(model.requests))
    tuned = tune(model, budget=budget, concurrency=1)
    made = tuned.spent.calls
    assert tuned.better
    assert 180 <= made <= 250
    assert 0.2 * made <= tuned.spent.of("confirm").calls <= 0.45 * made


def test_dollars_are_counted_by_the_price() -> None:
    """Calls of a server of one's own tell no cost; with a price they count, and end the search."""

    def answer(request: mti.Request) -> mti.Reply:
        read = sum(map(len, told(request))) // 4
        used = mti.Usage(calls=1, prompt_tokens=read, completion_tokens=10, cost=None)
        return mti.Reply(reply_to(told(request), 0.25), usage=used)

    price, budget = Price("own", 1e-3, 1e-3, 1e-3), mti.Budget(dollars=12)
    tuned = tune(mti.FunctionModel(answer), budget=budget, price=price, concurrency=1)
    assert tuned.spent.calls == budget.spent.calls > 60
    assert 6 < (budget.spent.cost or 0) <= 12


def test_costs_are_compared_on_the_same_rows() -> None:
    """Rows are of very different length: what only orders tasks otherwise costs the same."""
    names = "mood", "size", "tone"
    gold, several = dict.fromkeys(names, "yes"), mti.combine(*(f"text -> {one}" for one in names))
    dev = [
        {"id": f"d{n}", "inputs": {"text": f"dev {n}. " + "long " * (n * n % 997)}, "outputs": gold}
        for n in range(80)
    ]
    tuned = mti.optimize(
        several, [], dev, model=mti.FunctionModel(lambda _: json.dumps(gold)),
        budget=mti.Budget(calls=200), vary={"order"},
    )  # fmt: skip
    assert len({one.items for one in tuned.found.tried}) > 1
    read = {tuned.taken[one.point].read for one in tuned.found.tried}
    assert max(read) == pytest.approx(min(read))


def test_a_call_less_is_cheaper_however_long_the_rows() -> None:
    """What shares a call is run on few rows, which may be far shorter than those of one call each;
    nothing is free by that, and nothing dearer than apart.
    """
    dev = [
        {"id": f"d{n}", "inputs": {"text": f"dev {n}. " + "long " * (2000 * (n % 6 == 0))},
         "outputs": GOLD}
        for n in range(60)
    ]  # fmt: skip
    for seed in range(4):
        tuned = mti.optimize(
            program(), [], dev, model=mti.FunctionModel(lambda request: answered(request, "yes")),
            budget=mti.Budget(calls=160), plan=mti.Plan.split(program()), vary={"grouping"},
            seed=seed,
        )  # fmt: skip
        taken = {len(point.groups): one for point, one in tuned.taken.items()}
        assert taken[1].calls == 1
        assert 0.45 < taken[1].read / taken[2].read < 0.6


def test_answers_are_as_long_however_many_share_a_call() -> None:
    """What is written follows the row, not the calls: where what shares a call is run on fewer
    rows, which may be those of long or of short answers, its answers cost what they cost apart.
    """
    dev = [
        {"id": f"d{n}", "inputs": {"text": f"dev {n}. " + "LONG" * (n % 4 == 0)}, "outputs": GOLD}
        for n in range(60)
    ]
    several = mti.combine(*(f"text -> {one}" for one in TASKS))

    def answer(request: mti.Request) -> str:
        return answered(request, "yes " * (300 if "LONG" in told(request)[-1] else 1))

    for seed in range(4):
        tuned = mti.optimize(
            several, [], dev, model=mti.FunctionModel(answer), budget=mti.Budget(calls=160),
            plan=mti.Plan.split(several), vary={"grouping"}, seed=seed,
        )  # fmt: skip
        taken = {len(point.groups): one for point, one in tuned.taken.items()}
        assert 0.9 < taken[1].written / taken[2].written < 1.1


def test_a_model_that_stops_telling_its_cost_leaves_what_was_found() -> None:
    """Its own budget in dollars cannot be kept any more: what was paid for is there."""

    def answer(request: mti.Request) -> mti.Reply:
        cost = 0.001 if len(inner.requests) < 100 else None
        used = mti.Usage(calls=1, prompt_tokens=50, completion_tokens=10, cost=cost)
        return mti.Reply(reply_to(told(request), 0.25), usage=used)

    inner = mti.FunctionModel(answer)
    model = BudgetedModel(inner, mti.Budget(dollars=5))
    with pytest.raises(SearchStopped, match="cost is not known") as stopped:
        tune(model, 400, concurrency=1)
    assert stopped.value.tuned.spent.calls >= 100
    assert len(stopped.value.tuned.found.tried) > 5


@pytest.mark.parametrize("name", ["openai/gpt-4o-mini", "openai/mine", "direct/any"])
def test_a_search_plans_by_the_price_that_its_budget_counts(name: str) -> None:
    """With `price_by` a search makes of its dollars what it makes of them with that price, whatever
    the table says of the model, and the fresh pairs can be paid.
    """
    price = Price("own", 1e-6, 1e-6, 2e-6)

    def answer(request: mti.Request) -> mti.Reply:
        read = sum(map(len, told(request))) // 4
        used = mti.Usage(calls=1, prompt_tokens=read, completion_tokens=20, cost=None)
        return mti.Reply(reply_to(told(request), 0.25), usage=used)

    def calls(budget: mti.Budget, **given: Any) -> tuple[int, int]:
        model = mti.FunctionModel(answer, name=name)
        tuned = tune(model, budget=budget, concurrency=1, **given)
        assert 0 < (budget.spent.cost or 0.0) <= 0.05
        assert tuned.found.confirmation is not None
        return tuned.spent.calls, tuned.found.confirmation.gain.n

    own = mti.Budget(dollars=0.05)
    own.price_by(price.cost)
    assert calls(own) == calls(mti.Budget(dollars=0.05), price=price)


def test_what_was_spent_is_told_in_dollars_whatever_bounds_it() -> None:
    """With `price=` a budget in calls has the dollars of calls that tell no cost, too."""
    price, budget = Price("own", 1e-3, 1e-3, 1e-3), mti.Budget(calls=60)
    used = mti.Usage(calls=1, prompt_tokens=50, completion_tokens=10, cost=None)
    model = mti.FunctionModel(lambda request: mti.Reply(answered(request, "yes"), usage=used))
    tune(model, budget=budget, price=price)
    assert budget.spent.cost == pytest.approx(0.06 * budget.spent.calls)


@pytest.mark.parametrize("price", [None, Price("own", 1e-6, 1e-6, 2e-6)])
def test_a_budget_inside_the_model_says_what_helps(price: Price | None) -> None:
    """A price of the search is none of a budget inside the model: where that cannot be kept, the
    way that mends it is named.
    """
    used = mti.Usage(calls=1, prompt_tokens=50, completion_tokens=10, cost=None)
    inner = mti.FunctionModel(lambda request: mti.Reply(answered(request, "yes"), usage=used))
    model = BudgetedModel(inner, mti.Budget(dollars=5))
    with pytest.raises(BudgetExceeded, match="cost is not known") as refused:
        tune(model, 60, price=price, concurrency=1)
    assert "price_by of this budget" in str(refused.value.hint)
    model.budget.price_by(Price("own", 1e-6, 1e-6, 2e-6).cost)
    assert tune(model, 60, price=price, concurrency=1).spent.calls


def test_a_search_of_ever_so_many_calls_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many calls dollars are, random points are drawn up to a bound, and no further ones
    when there are enough.
    """
    space, drawn = Setup.of(program(), rows("train", 8), rows("dev", 40)).space, list[Point]()
    draw = Space.draw

    def counted(self: Space, rng: np.random.Generator) -> Point:
        drawn.append(draw(self, rng))
        return drawn[-1]

    monkeypatch.setattr(Space, "draw", counted)
    monkeypatch.setattr(searching, "DRAWS", 300)
    for calls, draws in ((10**13, 300), (400, 24)):
        drawn.clear()
        going = searching.steps(space, items=40, calls=calls)
        start = next(going)[0]
        going.send([Evaluation(start.point, start.items, dict.fromkeys(TASKS, (0.5,) * 4), 4)])
        assert len(drawn) == draws


def test_calls_that_tell_no_cost_are_seen_to_be_dearer() -> None:
    """Where calls take three times what was guessed, the fresh pairs can be paid all the same."""
    price = Price("own", 1e-6, 1e-6, 2e-6)

    def pairs(*, tells: bool) -> int:
        def answer(request: mti.Request) -> mti.Reply:
            read = 3 * sum(map(len, told(request))) // 4
            cost = 1e-6 * read + 4e-5 if tells else None
            used = mti.Usage(calls=1, prompt_tokens=read, completion_tokens=20, cost=cost)
            return mti.Reply(reply_to(told(request), 0.25), usage=used)

        tuned = tune(
            mti.FunctionModel(answer), budget=mti.Budget(dollars=0.05), price=price, concurrency=1
        )
        assert tuned.found.confirmation is not None
        return tuned.found.confirmation.gain.n

    assert pairs(tells=False) == pairs(tells=True) > 10


def test_searches_at_the_same_time_give_the_threads_back() -> None:
    """Linear algebra keeps to one thread until the last search has thought, then to as many as
    before.
    """

    def now() -> list[int]:
        return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]

    with threadpool_limits(2, user_api="blas"):
        first, second = on_one_thread(), on_one_thread()
        first.__enter__()
        assert {*now()} == {1}
        second.__enter__()
        first.__exit__(None, None, None)
        assert {*now()} == {1}
        second.__exit__(None, None, None)
        assert {*now()} == {2}


# --- groupings -----------------------------------------------------------------------------------


def test_a_grouping_that_the_gate_rejected_is_not_returned() -> None:
    """Fresh pairs may be too few to show the loss again: what was sure stays so, and is told."""

    def answer(request: mti.Request) -> str:
        assert request.schema is not None
        asked = json.loads(request.schema.text)["properties"]
        right = {"mood": 0.9, "size": 0.75} if len(asked) == 2 else {"mood": 0.3, "size": 0.9}
        item = told(request)[-1][-20:]
        return json.dumps(
            {name: "yes" if chance(seed, name, item) < right[name] else "no" for name in asked}
        )

    rejected = 0
    for seed in range(8):
        tuned = tune(
            mti.FunctionModel(answer), 400, plan=mti.Plan.split(program()), vary={"grouping"},
            seed=seed,
        )  # fmt: skip
        if "by all that was measured" in tuned.found.reason:
            rejected += 1
            assert (tuned.better, tuned.found.losing) == (False, ("size",))
            assert "size surely loses more than 0.05 by all" in tuned.found.reason
    assert rejected
