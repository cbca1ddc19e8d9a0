"""Budgets in dollars where calls do not tell what they cost."""

from __future__ import annotations

import asyncio

import pytest

import mtiprompt as mti
from mtiprompt import errors
from mtiprompt.models.budget import Budget, BudgetedModel
from tests.test_budget import HELLO, reply


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
