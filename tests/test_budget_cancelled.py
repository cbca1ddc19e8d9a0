"""What a call costs that was cancelled: nothing, if it still waited for its turn under limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

import mtiprompt as mti
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.budget import Budget, BudgetedModel
from mtiprompt.models.limits import Limits
from mtiprompt.testing import ChatServer, Fault
from mtiprompt.wire import Message, Request

HELLO = Request((Message("user", "Hello"),))


async def whole(model: LanguageModel) -> None:
    """Ask."""
    await model.acomplete(HELLO)


async def streamed(model: LanguageModel) -> None:
    """Ask for a stream, and read it to its end."""
    async for _ in model.astream(HELLO):
        pass


def until(is_so: Callable[[], bool]) -> None:
    """Wait, at most ten seconds."""
    end = time.monotonic() + 10
    while not is_so() and time.monotonic() < end:
        time.sleep(0.01)


@pytest.mark.parametrize("ask", [whole, streamed])
async def test_a_call_that_waited_for_its_turn_costs_nothing(
    ask: Callable[[LanguageModel], Awaitable[None]],
) -> None:
    """Of fifty calls that are cancelled, one was sent, and one is paid; the rest is left."""
    budget = Budget(calls=50)
    with ChatServer(delay=9) as server:
        model = mti.Model("direct/any", api_base=server.base_url, cache=False, budget=budget,
                          limits=Limits(in_flight=1))  # fmt: skip
        calls = asyncio.gather(*(ask(model) for _ in range(50)))
        await asyncio.to_thread(until, lambda: server.count == 1)
        assert budget.left.calls == 0
        calls.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calls
        assert server.count == 1
    assert (budget.spent.calls, budget.left.calls) == (1, 49)


async def test_tries_before_a_wait_are_paid() -> None:
    """A budget outside of the retries counts a call that was cancelled as one: what failed before
    it waited for its turn was sent."""
    budget = Budget(calls=50)
    with ChatServer(faults=lambda received: Fault(503)) as server:
        limits = Limits(requests=1)
        inner = mti.Model("direct/any", api_base=server.base_url, cache=False, limits=limits)
        call = asyncio.create_task(whole(BudgetedModel(inner, budget)))
        await asyncio.to_thread(until, lambda: len(limits._queue) == 1)  # of the second try
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert server.count == 1
    assert budget.spent.calls == 1
