"""Budgets: what would exceed them is refused, and never sent."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt import errors
from mtiprompt.models.base import BaseModel, LanguageModel, Support
from mtiprompt.models.budget import Budget, BudgetedModel, max_tokens_of
from mtiprompt.models.cache import CachedModel, ReplyCache
from mtiprompt.models.limits import LimitedModel, Limits
from mtiprompt.models.retry import RetryingModel
from mtiprompt.testing import ChatServer, Fault
from mtiprompt.wire import Message, Reply, Request, Usage

HELLO = Request((Message("user", "Hello"),))

Call = Callable[[LanguageModel], Reply]


def streamed(model: LanguageModel) -> Reply:
    """The last piece of a stream."""
    *_, reply = model.stream(HELLO)
    assert isinstance(reply, Reply)
    return reply


async def _astreamed(model: LanguageModel) -> Reply:
    *_, reply = [piece async for piece in model.astream(HELLO)]
    assert isinstance(reply, Reply)
    return reply


CALLS: dict[str, Call] = {
    "sync": lambda model: model.complete(HELLO),
    "async": lambda model: asyncio.run(model.acomplete(HELLO)),
    "stream": streamed,
    "astream": lambda model: asyncio.run(_astreamed(model)),
}


@pytest.fixture(params=list(CALLS))
def call(request: pytest.FixtureRequest) -> Call:
    """Every way of calling."""
    return CALLS[request.param]


def reply(**used: Any) -> Reply:
    """A reply that cost something."""
    return Reply("yes", usage=Usage(calls=1, **used))


@pytest.mark.parametrize(
    "wrong",
    [
        {"calls": -1},
        {"tokens": -5},
        {"dollars": -0.1},
        {"calls": "9"},
        {"tokens": math.nan},
        {"seconds": -1},
    ],
)
def test_budgets_that_make_no_sense(wrong: dict[str, Any]) -> None:
    """A bound below 0, or none, is refused when made."""
    with pytest.raises(errors.SettingsError, match=next(iter(wrong))):
        Budget(**wrong)


def test_calls(call: Call) -> None:
    """So many calls are sent and no more; the refusal says so and is no error of a model."""
    inner = mti.ScriptedModel(["yes"] * 9)
    budget = Budget(calls=3)
    model = BudgetedModel(inner, budget)
    for n in range(3):
        assert budget.left.calls == 3 - n
        assert call(model).text == "yes"
    with pytest.raises(errors.BudgetExceeded, match="3 calls is spent") as caught:
        call(model)
    assert not isinstance(caught.value, errors.ModelError)
    assert "calls=" in str(caught.value.hint)
    assert (len(inner.requests), budget.spent.calls, budget.left.calls) == (3, 3, 0)
    assert (budget.left.tokens, repr(budget)) == (math.inf, "Budget(calls=3)")


def test_nothing_at_all() -> None:
    """A budget of nothing refuses the first call."""
    inner = mti.ScriptedModel(["yes"])
    for budget in (Budget(calls=0), Budget(tokens=0), Budget(seconds=0)):
        with pytest.raises(errors.BudgetExceeded):
            BudgetedModel(inner, budget).complete(HELLO)
    assert inner.requests == []


def test_tokens(call: Call) -> None:
    """Before a call its prompt and `max_tokens` must be left; after it counts what it took."""
    inner = mti.ScriptedModel([reply(prompt_tokens=10, completion_tokens=20)] * 9)
    budget = Budget(tokens=100)
    model = BudgetedModel(inner, budget, max_tokens=38)  # 40 with the prompt
    for left in (70, 40, 10):
        call(model)
        assert budget.left.tokens == left
    with pytest.raises(errors.BudgetExceeded, match=r"about 40 tokens .* of 100, of which 10"):
        call(model)


def test_tokens_without_a_bound_on_the_reply() -> None:
    """Without `max_tokens` a reply is expected to be as long as those before it."""
    inner = mti.ScriptedModel([reply(prompt_tokens=2, completion_tokens=30)] * 9)
    budget = Budget(tokens=80)
    model = BudgetedModel(inner, budget)
    model.complete(HELLO)
    model.complete(HELLO)
    with pytest.raises(errors.BudgetExceeded, match="about 32 tokens"):
        model.complete(HELLO)


def test_dollars() -> None:
    """The price of a call is estimated from those before it."""
    inner = mti.ScriptedModel([reply(prompt_tokens=2, completion_tokens=8, cost=0.4)] * 9)
    budget = Budget(dollars=1)
    model = BudgetedModel(inner, budget)
    model.complete(HELLO)
    model.complete(HELLO)
    assert budget.left.dollars == pytest.approx(0.2)
    with pytest.raises(errors.BudgetExceeded, match="dollars"):
        model.complete(HELLO)
    free = BudgetedModel(mti.EchoModel(), Budget(dollars=0))
    assert free.complete(HELLO).text == "Hello"


def test_an_unknown_price() -> None:
    """A budget in dollars refuses a model whose price is not known, after its first call."""
    inner = mti.ScriptedModel([reply(cost=None)] * 2)
    budget = Budget(dollars=1)
    model = BudgetedModel(inner, budget)
    model.complete(HELLO)
    assert budget.left.dollars == 0
    with pytest.raises(errors.BudgetExceeded, match="not known") as caught:
        model.complete(HELLO)
    assert "calls=" in str(caught.value.hint)
    by_calls = BudgetedModel(mti.ScriptedModel([reply(cost=None)] * 2), Budget(calls=2))
    assert [by_calls.complete(HELLO).text for _ in range(2)] == ["yes", "yes"]


def test_seconds(call: Call) -> None:
    """They begin with the first call, not before, and when they are over no call is sent."""
    now = [100.0]
    inner = mti.ScriptedModel(["yes"] * 9)
    budget = Budget(seconds=60, clock=lambda: now[0])
    model = BudgetedModel(inner, budget)
    now[0] = 200.0
    assert (budget.left.seconds, budget.passed, budget.end) == (60, 0, math.inf)
    for left in (60, 30, 1):
        now[0] = 260.0 - left
        assert call(model).text == "yes"
        assert budget.left.seconds == left
    now[0] = 260.0
    with pytest.raises(errors.BudgetExceeded, match="the 60 seconds of the budget are over"):
        call(model)
    now[0] = 300.0
    assert (len(inner.requests), budget.spent.calls, budget.left.seconds) == (3, 3, 0)
    assert (budget.passed, budget.end) == (100, 260)


def test_calls_in_flight_end_with_the_seconds() -> None:
    """A call under way when the time is up is given up then, and not asked again."""
    with ChatServer(delay=20) as server:
        budget = Budget(seconds=0.3)
        model = mti.Model("direct/any", api_base=server.base_url, cache=False, budget=budget)
        program = mti.combine("message -> urgent: bool")
        began = time.monotonic()
        result = program(message="The lamp hums.", model=model)
        assert time.monotonic() - began < 5
        assert server.count == budget.spent.calls == 1
    assert result.failures["urgent"].kind == "budget spent"
    assert list(program.map([{"message": "It sings."}], model=model)) == []


def test_a_failed_call_counts_but_gives_its_tokens_back(call: Call) -> None:
    """A call that failed stays counted; its tokens are there again."""
    budget = Budget(calls=2, tokens=50)
    model = BudgetedModel(
        mti.ScriptedModel([errors.ModelUnavailable("down"), "yes"]), budget, max_tokens=48
    )
    with pytest.raises(errors.ModelUnavailable):
        call(model)
    assert (budget.left.calls, budget.left.tokens) == (1, 50)
    assert call(model).text == "yes"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("odd")])
def test_a_call_that_was_given_up_counts(call: Call, error: BaseException) -> None:
    """A call that ended in anything else was sent, and is counted."""
    budget = Budget(calls=2, tokens=9)
    with pytest.raises(type(error)):
        call(BudgetedModel(mti.ScriptedModel([error]), budget))
    assert (budget.left.calls, budget.left.tokens) == (1, 9)


def test_a_stream_that_is_closed_counts() -> None:
    """A stream counts as soon as it is begun."""
    budget = Budget(calls=2)
    pieces = BudgetedModel(mti.EchoModel(), budget).stream(HELLO)
    next(pieces)
    pieces.close()
    assert budget.left.calls == 1


def test_a_stream_that_is_closed_costs_what_came() -> None:
    """It is paid with its prompt and the text so far, at the price that was set aside."""

    class Endless(BaseModel):
        support = Support()

        def stream(self, request: Request) -> Generator[str | Reply, None, None]:
            while True:
                yield "four"

    budget = Budget(tokens=50, dollars=1)
    priced = reply(prompt_tokens=2, completion_tokens=8, cost=0.1)
    BudgetedModel(mti.ScriptedModel([priced]), budget).complete(HELLO)
    pieces = BudgetedModel(Endless(), budget).stream(HELLO)
    for _ in range(10):
        next(pieces)
    pieces.close()
    assert budget.left.tokens == 50 - 10 - 12
    assert budget.left.dollars == pytest.approx(0.8)


def test_a_model_that_does_not_count() -> None:
    """A model whose replies tell of no call is counted all the same."""

    class Silent(BaseModel):
        support = Support()

        def complete(self, request: Request) -> Reply:
            return Reply("yes")

    budget = Budget(calls=1)
    model = BudgetedModel(Silent(), budget)
    model.complete(HELLO)
    with pytest.raises(errors.BudgetExceeded):
        model.complete(HELLO)
    assert budget.spent.calls == 1


def test_hits_inside_cost_nothing(tmp_path: Path, call: Call) -> None:
    """Around a model with a cache, what is found there is given back."""
    replies = ReplyCache.at(tmp_path)
    cached = CachedModel(mti.EchoModel(), replies)
    cached.keep(HELLO, cached.complete(HELLO))
    budget = Budget(calls=1, tokens=9)
    for _ in range(3):
        assert call(BudgetedModel(cached, budget)).from_cache
    assert (budget.spent.calls, budget.spent.hits, budget.left[:2]) == (0, 3, (1, 9))
    replies.close()


def test_what_was_not_sent_costs_nothing() -> None:
    """A call whose turn under limits came too late, or that an inner budget refused, was none."""
    from mtiprompt.models.deadline import until

    budget = Budget(calls=5)
    limited = BudgetedModel(LimitedModel(mti.EchoModel(), Limits(requests=1)), budget)
    limited.complete(HELLO)
    with until(0), pytest.raises(errors.ModelTimeout):
        limited.complete(HELLO)
    with pytest.raises(errors.BudgetExceeded):
        BudgetedModel(BudgetedModel(mti.EchoModel(), Budget(calls=0)), budget).complete(HELLO)
    assert budget.spent.calls == 1


def test_retries_are_paid_and_a_refusal_is_not_retried() -> None:
    """Inside the retries each call counts; what the budget refuses is not asked again."""
    budget = Budget(calls=3)
    flaky = mti.ScriptedModel([errors.ModelUnavailable("down")] * 9)
    model = RetryingModel(BudgetedModel(flaky, budget), retries=8, sleep=lambda _: None)
    with pytest.raises(errors.BudgetExceeded):
        model.complete(HELLO)
    assert (len(flaky.requests), budget.spent.calls) == (3, 3)


@given(
    bound=st.integers(0, 12),
    outcomes=st.lists(st.sampled_from("yfh"), min_size=1, max_size=30),
    tasks=st.booleans(),
)
@settings(max_examples=30)
def test_never_more_calls_than_the_budget(bound: int, outcomes: str, tasks: bool) -> None:
    """Whatever succeeds, fails or is a hit, from threads or tasks: no more are sent."""
    sent = threading.Semaphore(bound)
    left = list(outcomes)

    def answer(request: Request) -> Reply:
        outcome = left.pop()
        if outcome == "h":
            return Reply("hit", usage=Usage(hits=1))
        assert sent.acquire(blocking=False), "one call too many"
        if outcome == "f":
            raise errors.RateLimited("no")
        return Reply("yes", usage=Usage(calls=1, prompt_tokens=3))

    budget = Budget(calls=bound)
    models = [BudgetedModel(mti.FunctionModel(answer), budget) for _ in range(2)]

    async def gathered() -> list[Any]:
        calls = (models[n % 2].acomplete(HELLO) for n in range(len(outcomes)))
        return await asyncio.gather(*calls, return_exceptions=True)

    if tasks:
        found = asyncio.run(gathered())
    else:
        with ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(models[n % 2].complete, HELLO) for n in range(len(outcomes))]
        found = [one.exception() or one.result() for one in calls]
    kinds = (Reply, errors.RateLimited, errors.BudgetExceeded)
    assert all(isinstance(one, kinds) for one in found)
    refused = sum(isinstance(one, errors.BudgetExceeded) for one in found)
    assert budget.spent.calls <= bound
    assert budget.spent.calls + budget.spent.hits + refused == len(outcomes)
    assert budget.left.calls == bound - budget.spent.calls


class Named(mti.EchoModel):
    """A client with parameters."""

    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__()
        self.params = params


@pytest.mark.parametrize(
    ("params", "most"),
    [
        ({"max_tokens": 4000}, 4000),
        ({"max_completion_tokens": 4000}, 4000),
        ({"max_completion_tokens": 4000, "max_tokens": 9}, 4000),
        ({"extra_body": {"max_tokens": 4000}, "max_tokens": 9}, 4000),
        ({"extra_body": {"max_completion_tokens": 4000}}, 4000),
        ({"max_tokens": -1}, None),  # as much as there is room for, says llama.cpp
        ({"max_tokens": "4000", "extra_body": None}, None),
        ({}, None),
    ],
)
def test_the_longest_reply_is_what_the_parameters_say(
    params: dict[str, Any], most: int | None
) -> None:
    """However deep the client is, whatever the parameter is called, a call counts with it."""
    budget = Budget(tokens=9000)
    wrapped = LimitedModel(RetryingModel(Named(params)), Limits())
    assert max_tokens_of(wrapped) == most
    with closing(BudgetedModel(wrapped, budget).stream(HELLO)) as pieces:
        next(pieces)
        assert budget.left.tokens == 9000 - 2 - (most or 0)


def test_a_program_over_http() -> None:
    """`mti.Model(budget=...)` counts every request that the server sees, retries too."""
    program = mti.combine("message -> urgent: bool", "message -> product: str")
    with ChatServer(faults=[Fault(500)]) as server:
        budget = Budget(calls=3)
        model = mti.Model("direct/any", api_base=server.base_url, cache=False, budget=budget)
        rows = [{"message": f"The lamp hums {n} times."} for n in range(9)]
        results = list(program.map(rows, model=model, concurrency=3))
        assert len(server.requests) == budget.spent.calls == 3
        assert len(results) <= 3
