"""Retries: when, how long to wait, and when to give up."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtiprompt import errors
from mtiprompt.models.base import BaseModel
from mtiprompt.models.budget import Budget, BudgetedModel
from mtiprompt.models.deadline import left, until
from mtiprompt.models.fakes import FunctionModel, ScriptedModel
from mtiprompt.models.retry import Backoff, RetryingModel
from mtiprompt.models.via_litellm import LiteLLMModel
from mtiprompt.testing import ChatServer, Fault
from mtiprompt.wire import Message, Reply, Request, Usage
from tests.conftest_calls import Ask

HELLO = Request((Message("user", "Hello"),))
DOWN = errors.ModelUnavailable("down")

Call = Callable[[BaseModel], Reply]
CALLS: dict[str, Call] = {
    "sync": lambda model: model.complete(HELLO),
    "async": lambda model: asyncio.run(model.acomplete(HELLO)),
}


class Slept:
    """Sleeps that take no time and are written down."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Note a sleep."""
        self.seconds.append(seconds)

    async def asleep(self, seconds: float) -> None:
        """Note a sleep."""
        self.seconds.append(seconds)


def retrying(inner: Any, slept: Slept, **options: Any) -> RetryingModel:
    """A retrying model that does not sleep."""
    return RetryingModel(inner, sleep=slept.sleep, asleep=slept.asleep, **options)


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Both ways of calling."""
    return CALLS[request.param]


def test_asks_again_until_there_is_a_reply(call: Call) -> None:
    """Errors that a retry can help are retried; the usage counts the calls that failed too."""
    slept = Slept()
    inner = ScriptedModel([DOWN, errors.RateLimited("slow down"), errors.ModelTimeout("t"), "yes"])
    reply = call(retrying(inner, slept))
    assert reply.text == "yes"
    assert (reply.usage.calls, len(slept.seconds), len(inner.requests)) == (4, 3, 4)


def test_gives_up_after_its_retries(call: Call) -> None:
    """After `retries` retries the last error itself comes out."""
    last = errors.RateLimited("the last")
    for retries in (0, 1, 4):
        slept = Slept()
        inner = ScriptedModel([DOWN] * retries + [last, "never asked for"])
        with pytest.raises(errors.RateLimited) as caught:
            call(retrying(inner, slept, retries=retries))
        assert caught.value is last
        assert (len(inner.requests), len(slept.seconds)) == (retries + 1, retries)


@pytest.mark.parametrize(
    "error",
    [
        errors.ModelAccessDenied("no"),
        errors.QuotaExhausted("no"),
        errors.SchemaRejected("no"),
        errors.ModelNotFound("no"),
        errors.BudgetExceeded("no"),
        ValueError("no"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_asks_only_once_where_a_retry_cannot_help(call: Call, error: BaseException) -> None:
    """Mistakes, refusals, interrupts and what is no error of a model come out at once."""
    slept = Slept()
    inner = ScriptedModel([error, "never asked for"])
    with pytest.raises(type(error)):
        call(retrying(inner, slept))
    assert (len(inner.requests), slept.seconds) == (1, [])


def test_obeys_retry_after(call: Call) -> None:
    """It waits at least as long as the provider asks, also above its own cap."""
    slept = Slept()
    inner = ScriptedModel(
        [errors.RateLimited("w", retry_after=7.0), errors.RateLimited("w", retry_after=90.0), "yes"]
    )
    call(retrying(inner, slept))
    assert 7.0 <= slept.seconds[0] <= 7.5
    assert 90.0 <= slept.seconds[1] <= 90.5


def test_does_not_begin_a_wait_that_cannot_end_in_time(call: Call) -> None:
    """A Retry-After of 90 s with 3 s left raises the error at once instead of waiting."""
    slept = Slept()
    limited = errors.RateLimited("w", retry_after=90.0)
    inner = ScriptedModel([limited, "never asked for"])
    began = time.monotonic()
    with pytest.raises(errors.RateLimited) as caught:
        call(retrying(inner, slept, total=3))
    assert caught.value is limited
    assert slept.seconds == []
    assert time.monotonic() - began < 1


@given(attempt=st.integers(1, 2000), base=st.floats(0.01, 5), cap=st.floats(0.01, 60))
def test_waits_are_spread_and_bounded(attempt: int, base: float, cap: float) -> None:
    """A wait lies between 0 and the smaller of `cap` and `base` doubled for each call."""
    waits = [Backoff(base, cap).seconds(attempt, DOWN) for _ in range(20)]
    assert 0 <= min(waits) <= max(waits) <= min(cap, base * 2.0 ** min(attempt - 1, 60))
    assert max(waits) > min(waits)


@given(attempt=st.integers(1, 99), asked=st.floats(0, 1e6), seed=st.integers())
def test_what_a_provider_asks_for_is_added_to_the_backoff(
    attempt: int, asked: float, seed: int
) -> None:
    """A wait is never shorter than asked for, nor than it would be without: `Retry-After: 0` too.

    So those who wait do not come back all at once, again and again.
    """
    waits: list[float] = []
    for error in (DOWN, errors.RateLimited("w", retry_after=asked)):
        random.seed(seed)
        waits.append(Backoff().seconds(attempt, error))
    assert waits[1] >= max(waits[0], asked)
    assert waits[1] <= max(waits[0], asked + 0.5)


def test_a_deadline_outside_ends_the_waits(call: Call) -> None:
    """A wait that would end after the caller's own deadline is not begun: the error comes out."""
    slept = Slept()
    inner = ScriptedModel([errors.RateLimited("w", retry_after=9.0), "never asked for"])
    with until(time.monotonic() + 5), pytest.raises(errors.RateLimited):
        call(retrying(inner, slept))
    assert slept.seconds == []


def test_the_seconds_of_a_budget_end_the_waits(ask: Ask) -> None:
    """A retry waits no longer than the budgets inside last, and then tells that one is spent."""
    limited = errors.RateLimited("w", retry_after=60.0)
    inner = ScriptedModel([limited, "never asked for"])
    budget = Budget(seconds=0.2)
    model = BudgetedModel(BudgetedModel(inner, budget), Budget(calls=9, seconds=40))
    began = time.monotonic()
    with pytest.raises(errors.BudgetExceeded, match=r"0\.2 seconds") as caught:
        ask(RetryingModel(model), HELLO)
    assert 0.2 <= time.monotonic() - began < 2
    assert (len(inner.requests), caught.value.usage.calls, budget.spent.calls) == (1, 1, 1)


def test_total_time_holds_over_http(call: Call) -> None:
    """Over real HTTP, calls and waits together end by `total`, the last call cut short."""
    is_warm = threading.Event()
    with ChatServer(faults=lambda received: Fault(hang=is_warm.is_set())) as server:
        client = LiteLLMModel("openai/any", api_base=server.base_url, api_key="k", timeout=0.7)
        client.warm()
        call(RetryingModel(client))  # what the first call sets up is not to be timed
        is_warm.set()
        before = len(server.requests)
        began = time.monotonic()
        with pytest.raises(errors.ModelTimeout):
            call(RetryingModel(client, total=1.5, backoff=Backoff(0.01)))
        assert 0.7 < time.monotonic() - began < 2.0
        assert 2 <= len(server.requests) - before <= 3


def test_retries_over_http(call: Call) -> None:
    """Over real HTTP, 500, 429 with Retry-After and a dropped connection cost one request each."""
    faults = [Fault(500), Fault(429, headers={"Retry-After": "0.2"}), Fault(drop=True)]
    with ChatServer(lambda received: "yes", faults=faults) as server:
        client = LiteLLMModel("openai/any", api_base=server.base_url, api_key="k")
        client.warm()
        reply = call(RetryingModel(client, backoff=Backoff(0.01)))
        assert (reply.text, reply.usage.calls, len(server.requests)) == ("yes", 4, 4)
        assert server.requests[2].at - server.requests[1].at >= 0.2


def test_threads_and_tasks_do_not_share_their_tries() -> None:
    """Many calls at once through one model: each has all its retries."""

    class Flaky(BaseModel):
        """Fails twice for each request, whoever asks."""

        def __init__(self) -> None:
            self.support = ScriptedModel([]).support
            self.seen: dict[str, int] = {}
            self.lock = threading.Lock()

        def complete(self, request: Request) -> Reply:
            with self.lock:
                text = request.messages[0].content
                self.seen[text] = self.seen.get(text, 0) + 1
                if self.seen[text] <= 2:
                    raise DOWN
            return Reply(text)

        async def acomplete(self, request: Request) -> Reply:
            await asyncio.sleep(0)
            return self.complete(request)

    requests = [Request((Message("user", str(number)),)) for number in range(50)]
    model = RetryingModel(Flaky(), retries=2, backoff=Backoff(0.01, 0.02))

    async def tasks() -> list[Reply]:
        return await asyncio.gather(*(model.acomplete(request) for request in requests))

    assert [reply.text for reply in asyncio.run(tasks())] == [str(number) for number in range(50)]
    model = RetryingModel(Flaky(), retries=2, backoff=Backoff(0.01, 0.02))
    replies: dict[int, Reply] = {}

    def work(number: int) -> None:
        replies[number] = model.complete(requests[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(replies) == 50


@pytest.mark.asyncio
async def test_a_wait_can_be_cancelled() -> None:
    """Cancelling an async call ends its wait at once."""
    model = RetryingModel(ScriptedModel([errors.RateLimited("w", retry_after=60.0)]))
    call = asyncio.create_task(model.acomplete(HELLO))
    await asyncio.sleep(0.05)
    call.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert time.monotonic() - began < 0.5


def test_deadlines_nest() -> None:
    """The nearest of several deadlines holds, and none outlives its block."""
    assert left(5) == 5
    with until(time.monotonic() + 3):
        assert 2.9 < left(5) <= 3
        with until(time.monotonic() + 60):
            assert left(5) <= 3
        with until(time.monotonic() - 1):
            assert left(5) == 0
    assert left(5) == 5


def test_retries_are_logged_without_the_prompt(caplog: pytest.LogCaptureFixture) -> None:
    """Each retry is one line at level info, with the wait and the error and no more."""
    caplog.set_level(logging.INFO, logger="mtiprompt")
    retrying(ScriptedModel([DOWN, "yes"]), Slept()).complete(HELLO)
    assert len(caplog.messages) == 1
    assert "ModelUnavailable" in caplog.messages[0]
    assert "down" not in caplog.messages[0]
    assert "Hello" not in caplog.messages[0]


def test_an_error_tells_what_all_calls_cost() -> None:
    """The error that is finally raised counts every call; one that was not sent counts nothing."""
    down = [errors.ModelUnavailable("down"), errors.ModelUnavailable("down")]
    model = RetryingModel(ScriptedModel(down), retries=1, sleep=lambda seconds: None)
    with pytest.raises(errors.ModelUnavailable) as caught:
        model.complete(HELLO)
    assert caught.value.usage.calls == 2
    unsent = errors.ModelUnavailable("no turn")
    unsent.usage = Usage()
    with pytest.raises(errors.ModelUnavailable) as caught:
        RetryingModel(ScriptedModel([unsent]), retries=0).complete(HELLO)
    assert caught.value.usage.calls == 0


def test_getting_ready_takes_no_time_of_the_calls(ask: Ask) -> None:
    """What loads at the first call, a library, comes before the clock starts, and once."""
    loaded: list[float] = []

    def load() -> None:
        time.sleep(0.2)
        loaded.append(left(9.0))

    remaining: list[float] = []

    def answer(request: Request) -> str:
        remaining.append(left(9.0))
        return "yes"

    inner = FunctionModel(answer)
    model = RetryingModel(inner, total=0.15, prepare=load)
    for _ in range(2):
        assert ask(model, HELLO).text == "yes"
    assert loaded == [9.0]
    assert all(seconds > 0 for seconds in remaining)


def test_a_spent_budget_tells_what_was_sent_before(ask: Ask) -> None:
    """The refusal that ends the retries has the calls before it in `usage`, and not itself."""
    down = ScriptedModel([DOWN] * 9)
    budget = Budget(calls=2)
    model = RetryingModel(BudgetedModel(down, budget), retries=5, sleep=lambda _: None, asleep=nap)
    for calls in (2, 0):
        with pytest.raises(errors.BudgetExceeded) as caught:
            ask(model, HELLO)
        assert caught.value.usage.calls == calls


async def nap(seconds: float) -> None:
    """Wait no time at all."""
