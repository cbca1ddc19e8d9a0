"""Budgets in dollars where calls do not tell what they cost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt import errors
from mtiprompt.evaluation.prices import price_of
from mtiprompt.models.budget import Budget, BudgetedModel
from mtiprompt.models.retry import RetryingModel
from mtiprompt.optimizer.reflect import reflected
from mtiprompt.wire import Reply, Request, Usage
from tests.test_budget import HELLO, reply

PAIR = mti.combine("text -> mood: Literal['good', 'bad']", "text -> size: Literal['big', 'small']")
CHAIN = mti.combine("text -> word", "word -> size")
GOLD = [{"inputs": {"text": f"{n}"}, "outputs": {"mood": "good", "size": "big"}} for n in range(20)]


def falls_silent(after: int, text: str = '{"mood": "good", "size": "big"}') -> mti.FunctionModel:
    """A model that tells what a call cost so many times, and then no more."""

    def answer(_: Request) -> Reply:
        told = 0.001 if len(model.requests) <= after else None
        return Reply(text, usage=Usage(calls=1, prompt_tokens=10, cost=told))

    model = mti.FunctionModel(answer)
    return model


@pytest.mark.parametrize("way", ["map", "amap"])
def test_an_unknown_price_is_no_end_of_the_rows(way: str) -> None:
    """Results do not just end where the dollars of a call are not known: what is there is given,
    and the reason raised, for many rows and for one."""
    program = mti.combine("text -> word")
    model = BudgetedModel(mti.FunctionModel(lambda _: reply(cost=None)), Budget(dollars=1))
    rows = [{"text": f"{n}"} for n in range(20)]
    found: list[mti.Result] = []

    async def gather() -> None:
        async for one in program.amap(rows, model=model, concurrency=1):
            found.append(one)

    def collect() -> None:
        found.extend(program.map(rows, model=model, concurrency=1))

    with pytest.raises(errors.BudgetExceeded, match="what the calls cost is not known"):
        asyncio.run(gather()) if way == "amap" else collect()
    assert len(found) == model.budget.spent.calls == 1
    with pytest.raises(errors.BudgetExceeded, match="not known"):
        program(text="a", model=model)


def test_a_price_for_calls_that_tell_no_cost() -> None:
    """Calls without a cost count by the price that the budget is told; a cost that a call tells
    counts as it is."""
    told = [reply(prompt_tokens=2, cost=None)] * 2 + [reply(cost=0.5)] * 9
    budget = Budget(dollars=1)
    budget.price_by(lambda used: 0.1 * used.prompt_tokens)
    model = BudgetedModel(mti.ScriptedModel(told), budget)
    for left in (0.8, 0.6, 0.1):
        model.complete(HELLO)
        assert budget.left.dollars == pytest.approx(left)
    with pytest.raises(errors.BudgetExceeded, match="dollars would exceed the budget of 1, "):
        model.complete(HELLO)


@pytest.mark.parametrize("way", ["map", "amap"])
@pytest.mark.parametrize(
    ("program", "plan", "text"),
    [
        (PAIR, mti.Plan.split, '{"mood": "good"}'),
        (CHAIN, mti.Plan.split, '{"word": "a"}'),
        (PAIR, mti.Plan.fused, '{"mood": "fine", "size": "big"}'),  # its repair is refused
    ],
)
def test_a_row_that_was_paid_is_given(
    way: str, program: mti.Program, plan: Callable[[mti.Program], mti.Plan], text: str
) -> None:
    """A row of which one call was paid and the next refused, as what calls cost is not known, is
    given with what there is, and then the reason raised; rows that were not asked are left out."""
    budget = Budget(dollars=1)
    model, found = BudgetedModel(falls_silent(0, text), budget), list[mti.Result]()
    rows = [{"text": f"{n}"} for n in range(5)]
    given: Any = {"model": model, "plan": plan(program), "concurrency": 1}

    async def gather() -> None:
        async for one in program.amap(rows, **given):
            found.append(one)

    def collect() -> None:
        found.extend(program.map(rows, **given))

    with pytest.raises(errors.BudgetExceeded, match="what the calls cost is not known"):
        asyncio.run(gather()) if way == "amap" else collect()
    assert [[bad.kind for bad in one.failures.values()] for one in found] == [["budget spent"]]
    assert budget.spent.calls == 1


@pytest.mark.parametrize("program", [PAIR, CHAIN])
def test_a_single_call_keeps_what_was_paid(program: mti.Program) -> None:
    """One item of which a call was paid has its answer; one of which none can be paid is an error,
    in every way of calling."""
    model = BudgetedModel(falls_silent(0, '{"mood": "good", "word": "a"}'), Budget(dollars=1))
    split = mti.Plan.split(program)
    [first] = [task for task in program.order if task != "size"]
    assert program(text="a", model=model, plan=split).get(first) in {"good", "a"}

    with pytest.raises(errors.BudgetExceeded, match="not known"):
        program(text="a", model=model, plan=split)
    with pytest.raises(errors.BudgetExceeded, match="not known"):
        asyncio.run(program.acall(text="a", model=model, plan=split))
    with pytest.raises(errors.BudgetExceeded, match="not known"):
        list(program.stream(text="a", model=model, plan=split))


def test_a_chain_ends_where_the_budget_is_spent() -> None:
    """Rows that were not asked are left out too where a task waits for the answer of another."""
    model = BudgetedModel(mti.EchoModel(), Budget(calls=2))
    rows = [{"text": f"{n}"} for n in range(5)]
    found = list(CHAIN.map(rows, model=model, plan=mti.Plan.split(CHAIN), concurrency=1))
    assert [len(one.failures) for one in found] == [0]


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_an_evaluation_names_what_lacks(tmp_path: Path, recorded: bool, concurrency: int) -> None:
    """A model that tells its costs no more ends an evaluation as a spent budget does: with the
    items that lack, the reason, and what to do."""
    inner = falls_silent(6)
    model = BudgetedModel(inner, Budget(dollars=5))
    record = tmp_path if recorded else None
    with pytest.raises(mti.IncompleteRun, match="what the calls cost is not known") as caught:
        mti.evaluate(PAIR, GOLD, model=model, concurrency=concurrency, record=record)
    assert len(GOLD) - len(caught.value.items) == len(inner.requests) < 12
    assert ("record=FOLDER" in str(caught.value.hint)) is not recorded
    assert "it goes on from there" in str(caught.value.hint)


def test_a_search_ends_with_what_it_knows() -> None:
    """`choose_plan` takes a model that tells its costs no more as the end of the budget, once the
    split plan has run on the first rows; before that it raises the reason."""
    given = [{"inputs": {"text": f"{n}"}} for n in range(60)]
    model = BudgetedModel(falls_silent(50), Budget(dollars=5))
    choice = mti.choose_plan(PAIR, given, model=model)
    assert choice.exhausted
    model = BudgetedModel(falls_silent(9), Budget(dollars=5))
    with pytest.raises(errors.BudgetExceeded, match="what the calls cost is not known"):
        mti.choose_plan(PAIR, given, model=model)


def test_a_price_that_comes_late() -> None:
    """What was spent before a price is told counts by it too, so the hint of the error helps; what
    a call has told counts as it is."""
    told = [
        reply(prompt_tokens=99, cost=0.5),
        reply(prompt_tokens=2, cost=None),
        reply(prompt_tokens=1, cost=None),
    ]
    budget = Budget(dollars=1)
    model = BudgetedModel(mti.ScriptedModel(told), budget)
    model.complete(HELLO)
    model.complete(HELLO)
    assert (budget.spent.cost, budget.left.dollars, budget.is_priced) == (None, 0, False)
    with pytest.raises(errors.BudgetExceeded, match="price_by"):
        model.complete(HELLO)
    budget.price_by(lambda used: 0.1 * used.prompt_tokens)
    assert budget.spent.cost == pytest.approx(0.7)
    model.complete(HELLO)
    assert budget.left.dollars == pytest.approx(0.2)
    assert budget.spent.prompt_tokens == 102


def untold(name: str) -> mti.FunctionModel:
    """A model that does not tell what its calls cost."""
    used = Usage(calls=1, prompt_tokens=1000, completion_tokens=10, cost=None)
    text = '{"mood": "good", "size": "big"}'
    return mti.FunctionModel(lambda _: Reply(text, usage=used), name=name)


@pytest.mark.parametrize("bounds", [{"dollars": 10}, {"calls": 400}])
def test_each_model_counts_at_its_own_price(bounds: dict[str, Any]) -> None:
    """A budget that two searches share counts the calls of each model at that model's price."""
    budget, spent = Budget(**bounds), 0.0
    each = Usage(calls=1, prompt_tokens=1000, completion_tokens=10)
    for name in ("gpt-4o-mini", "gpt-4o"):
        made = budget.spent.calls
        mti.choose_plan(PAIR, GOLD, model=untold(f"openai/{name}"), budget=budget)
        spent += (budget.spent.calls - made) * price_of(name).cost(each)
        assert budget.spent.cost == pytest.approx(spent)


def test_the_price_of_one_search_is_none_of_the_next() -> None:
    """A price that was given for one model says nothing of another, or of what was called before:
    `price_by` says that."""
    budget = Budget(dollars=10)
    mti.choose_plan(PAIR, GOLD, model=untold("direct/one"), budget=budget, price="gpt-4o-mini")
    with pytest.raises(errors.DataError, match="the price of direct/other is not known"):
        mti.choose_plan(PAIR, GOLD, model=untold("direct/other"), budget=budget)
    with pytest.raises(errors.BudgetExceeded, match="what the calls cost is not known"):
        mti.choose_plan(PAIR, GOLD, model=untold("openai/mine"), budget=budget)
    untold_before = r"what earlier calls cost is not known.*price_by"
    with pytest.raises(errors.DataError, match=untold_before):
        mti.choose_plan(PAIR, GOLD, model=untold("openai/gpt-4o"), budget=budget)
    given: dict[str, Any] = {"model": untold("openai/mine"), "budget": budget}
    with pytest.raises(errors.DataError, match=untold_before):
        mti.choose_plan(PAIR, GOLD, **given, price="gpt-4o-mini")
    with pytest.raises(errors.DataError, match=untold_before):
        mti.optimize(PAIR, [], GOLD, **given, price="gpt-4o-mini")
    budget.price_by(price_of("gpt-4o").cost)
    mti.choose_plan(PAIR, GOLD, **given, price="gpt-4o-mini")
    assert budget.spent.cost


def test_what_the_budget_was_told_holds_again() -> None:
    """`price=` of one search is in the place of `price_by`, which holds in the next."""
    budget = Budget(dollars=100)
    budget.price_by(lambda used: 0.5 * used.calls)
    mti.choose_plan(PAIR, GOLD, model=untold("direct/one"), budget=budget, price="gpt-4o-mini")
    made, cost = budget.spent.calls, budget.spent.cost
    assert cost == pytest.approx(
        made * price_of("gpt-4o-mini").cost(Usage(prompt_tokens=1000, completion_tokens=10))
    )
    mti.choose_plan(PAIR, GOLD, model=untold("direct/other"), budget=budget)
    assert budget.spent.cost == pytest.approx((cost or 0) + 0.5 * (budget.spent.calls - made))


def optimized(model: mti.LanguageModel, **given: Any) -> int:
    """The calls of a search of `optimize`."""
    return mti.optimize(PAIR, [], GOLD, model=model, concurrency=1, **given).spent.calls


def planned(model: mti.LanguageModel, **given: Any) -> int:
    """The calls of a search of `choose_plan`."""
    return mti.choose_plan(PAIR, GOLD, model=model, **given).spent.calls


def meanwhile(name: str, then: Callable[[], object]) -> mti.FunctionModel:
    """A model as `untold`, in whose third call something else is done first."""
    inner = untold(name)

    def answer(request: Request) -> Reply:
        if len(model.requests) == 3:
            then()
        return inner.complete(request)

    model = mti.FunctionModel(answer, name=name)
    return model


def each(name: str) -> float:
    """What a call of `untold` costs at the price of a model."""
    return price_of(name).cost(Usage(prompt_tokens=1000, completion_tokens=10))


@pytest.mark.parametrize("search", [optimized, planned])
def test_a_search_that_is_refused_changes_nothing(search: Callable[..., int]) -> None:
    """A search whose model has no price is refused its dollars, and takes the price of no other
    that is paid from the same budget."""
    budget = Budget(dollars=1)

    def refused() -> None:
        with pytest.raises(errors.DataError, match="price"):
            optimized(untold("openai/my-model"), budget=budget)

    calls = search(meanwhile("openai/gpt-4o-mini", refused), budget=budget)
    assert budget.spent.cost == pytest.approx(calls * each("gpt-4o-mini"))


@pytest.mark.parametrize("inner", [optimized, planned])
@pytest.mark.parametrize("outer", [optimized, planned])
def test_searches_at_once_count_at_their_own_prices(
    outer: Callable[..., int], inner: Callable[..., int]
) -> None:
    """Where searches are paid from one budget at the same time, each counts its calls only."""
    budget, made = Budget(calls=200, dollars=20), list[int]()

    def other() -> None:
        made.append(inner(untold("direct/other"), budget=budget, price="gpt-4o"))

    calls = outer(meanwhile("openai/gpt-4o-mini", other), budget=budget)
    assert calls > 3
    assert budget.spent.calls == calls + sum(made)
    true = calls * each("gpt-4o-mini") + sum(made) * each("gpt-4o")
    assert budget.spent.cost == pytest.approx(true)


@pytest.mark.parametrize("search", [optimized, planned])
def test_other_calls_count_by_what_the_budget_was_told(search: Callable[..., int]) -> None:
    """`price=` of a search is for its calls: those that go on beside it and behind it, through a
    model with the same budget, count by `price_by`."""
    budget = Budget(dollars=100)
    budget.price_by(lambda used: 0.5 * used.calls)
    beside = BudgetedModel(untold("direct/any"), budget)
    model = meanwhile("direct/one", lambda: beside.complete(HELLO))
    calls = search(model, budget=budget, price="gpt-4o-mini")
    beside.complete(HELLO)
    assert budget.spent.cost == pytest.approx(2 * 0.5 + calls * each("gpt-4o-mini"))


@pytest.mark.parametrize("retries", [False, True])
def test_a_model_with_the_budget_of_its_search(retries: bool) -> None:
    """A model that is paid from the budget of the search already pays once, at its price there,
    and by what the budget was told elsewhere."""
    budget = Budget(dollars=100)
    budget.price_by(lambda used: 0.5 * used.calls)
    model: mti.LanguageModel = BudgetedModel(untold("direct/one"), budget)
    if retries:
        model = RetryingModel(model)
    calls = optimized(model, budget=budget, price="gpt-4o-mini")
    assert budget.spent.calls == calls
    assert budget.spent.cost == pytest.approx(calls * each("gpt-4o-mini"))
    model.complete(HELLO)
    assert budget.spent.cost == pytest.approx(calls * each("gpt-4o-mini") + 0.5)


@pytest.mark.parametrize("search", [optimized, planned])
def test_what_is_on_record_counts_at_the_price(search: Callable[..., int], tmp_path: Path) -> None:
    """A search that goes on counts what its record has at its price, as it did before."""
    costs = []
    for _ in range(2):
        budget = Budget(dollars=1)
        search(untold("direct/one"), budget=budget, price="gpt-4o-mini", record=tmp_path)
        costs.append(budget.spent.cost)
    assert costs[0]
    assert costs[1] == pytest.approx(costs[0])


def test_a_proposer_that_tells_no_cost() -> None:
    """A proposer whose costs are not known is no end of the budget: the reason is raised."""
    wrong = mti.FunctionModel(lambda _: Reply('{"mood": "bad", "size": "small"}'))
    proposer = mti.FunctionModel(lambda _: reply(cost=None))
    with pytest.raises(errors.BudgetExceeded, match="what the calls cost is not known"):
        reflected(PAIR, GOLD, model=wrong, reflect=proposer, budget=Budget(dollars=5))
    assert len(proposer.requests) == 1
