"""Limits: never more than they say, first come first served, for threads and tasks alike."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt import errors
from mtiprompt.models.base import BaseModel, LanguageModel, Support
from mtiprompt.models.deadline import until
from mtiprompt.models.limits import LimitedModel, Limits
from mtiprompt.models.rates import Reported, Window
from mtiprompt.models.watch import prompt_tokens
from mtiprompt.testing import ChatServer, Fault
from mtiprompt.wire import Message, Reply, Request, Usage

HELLO = Request((Message("user", "Hello"),))


def said(text: str) -> Request:
    """A request that says something."""
    return Request((Message("user", text),))


class Noted(BaseModel):
    """A model that notes when calls begin and how many are in flight."""

    def __init__(self, seconds: float = 0.0, details: dict[str, Any] | None = None) -> None:
        self.support = Support()
        self.begun: list[tuple[float, str]] = []
        self.most = 0
        self._open = 0
        self._seconds = seconds
        self._details = details or {}
        self._lock = threading.Lock()

    def complete(self, request: Request) -> Reply:
        """Note the call, take some time."""
        with self._lock:
            self.begun.append((time.monotonic(), "".join(one.content for one in request.messages)))
            self._open += 1
            self.most = max(self.most, self._open)
        time.sleep(self._seconds)
        with self._lock:
            self._open -= 1
        return Reply("yes", usage=Usage(calls=1, prompt_tokens=10), details=self._details)


Call = Callable[[LanguageModel], Reply]
CALLS: dict[str, Call] = {
    "thread": lambda model: model.complete(HELLO),
    "task": lambda model: asyncio.run(model.acomplete(HELLO)),
}


@pytest.fixture(params=list(CALLS))
def call(request: pytest.FixtureRequest) -> Call:
    """Both ways of calling; each task has an event loop of its own."""
    return CALLS[request.param]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads enough for every caller of a test."""
    with ThreadPoolExecutor(40) as threads:
        yield threads


def wait_until(true: Callable[[], bool]) -> None:
    """Wait until something is true."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


# --- rates ------------------------------------------------------------------------------------

Amounts = list[tuple[int, int, int]]
AMOUNTS = st.lists(
    st.tuples(st.integers(0, 90), st.integers(0, 12), st.integers(0, 12)), max_size=40
)


@given(AMOUNTS, st.integers(1, 10))
def test_no_period_holds_more_than_the_limit(amounts: Amounts, limit: int) -> None:
    """Whenever calls come, no 60 seconds hold more; one above the limit goes alone."""
    window, now = Window(limit, 60), 0.0
    spent: list[tuple[float, int]] = []
    for gap, amount, _ in amounts:
        now += gap
        now += window.wait(amount, now)
        assert window.wait(amount, now) == 0
        window.take(amount, now)
        spent.append((now, amount))
    for start, _ in spent:
        inside = [amount for moment, amount in spent if start <= moment < start + 60 and amount]
        assert sum(inside) <= limit or len(inside) == 1


@given(AMOUNTS, st.integers(1, 10))
def test_no_wait_is_longer_than_needed(amounts: Amounts, limit: int) -> None:
    """A moment before the wait is over, the call would have been one too many."""
    window, now = Window(limit, 60), 0.0
    spent: list[list[float]] = []
    for gap, amount, real in amounts:
        now += gap
        wait = window.wait(amount, now)
        if wait:
            before = now + wait - 0.001
            assert sum(n for at, n in spent if at > before - 60) + min(amount, limit) > limit
        now += wait
        spent.append(entry := window.take(amount, now))
        window.correct(entry, real)


@given(st.lists(st.integers(1, 4), max_size=30), st.lists(st.integers(1, 4), max_size=20))
def test_those_ahead_are_waited_for(before: list[int], queue: list[int]) -> None:
    """The wait that is told to the last of a queue is never longer than it turns out to be."""
    window, now = Window(7, 60), 0.0
    for amount in before:
        now += 5 + window.wait(amount, now)
        window.take(amount, now)
    told = [window.wait(one, now, ahead=sum(queue[:place])) for place, one in enumerate(queue)]
    start = now
    for amount, wait in zip(queue, told, strict=True):
        now += window.wait(amount, now)
        window.take(amount, now)
        assert wait <= now - start


def test_a_queue_of_minutes_is_told_at_once() -> None:
    """With one call a minute, the third in the queue waits for three minutes."""
    window = Window(1, 60)
    assert [window.wait(1, 0, ahead=n) for n in (0, 1, 2)] == [0, 60, 120]
    window.take(1, 0)
    assert [window.wait(1, 15, ahead=n) for n in (0, 1, 2)] == [45, 105, 165]


def test_what_is_reported_comes_back_evenly() -> None:
    """60 in all, none left, all again in 60 s: one comes each second; unknown: at the end."""
    report = Reported(60, 0, 60, now=100)
    assert [report.wait(n, 100) for n in (0, 1, 30, 60, 90)] == [0, 1, 30, 60, 60]
    assert report.wait(1, 101) == 0
    report.take(1)
    assert report.wait(1, 101) == 1
    assert Reported(None, 3, 60, now=0).wait(4, 15) == 45
    assert Reported(None, 3, 60, now=0).wait(3, 15) == 0


def test_calls_that_a_report_does_not_know_yet_count() -> None:
    """A report that is told after others have begun gives them no room a second time."""
    first = Reported(10, 5, 10, now=0)
    for _ in range(5):
        first.take(1)
    assert Reported(10, 4, 10, now=0).after(first).wait(1, 0) > 0
    assert Reported(10, 4, 10, now=20).after(first).wait(1, 20) == 0


# --- requests, tokens, calls in flight --------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"requests": 0}, {"tokens": -1}, {"in_flight": "2"},
                                   {"period": 0}, {"tokens": math.nan}])  # fmt: skip
def test_limits_that_make_no_sense(wrong: dict[str, Any]) -> None:
    """A limit that is not above 0 is refused when made."""
    with pytest.raises(errors.SettingsError, match=next(iter(wrong))):
        Limits(**wrong)


def test_without_limits_nothing_waits(call: Call) -> None:
    """Limits that limit nothing let everything through, and say so."""
    inner = Noted()
    model = LimitedModel(inner, Limits())
    assert [call(model).text for _ in range(5)] == ["yes"] * 5
    assert repr(Limits(requests=5, in_flight=2)) == "Limits(requests=5, in_flight=2)"


def test_requests_a_period(pool: ThreadPoolExecutor) -> None:
    """Threads and tasks together begin no more calls in a period than allowed, and all end."""
    inner, limits = Noted(), Limits(requests=5, period=0.25)
    models = [LimitedModel(inner, limits), LimitedModel(inner, limits)]
    began = time.monotonic()
    calls = [pool.submit(CALLS[way], model) for way in CALLS for model in models for _ in range(4)]
    assert all(one.result().text == "yes" for one in calls)
    assert time.monotonic() - began >= 0.75  # 16 calls: four periods begin
    moments = sorted(moment for moment, _ in inner.begun)
    # they are noted a little later than they are booked
    assert all(late - early > 0.15 for early, late in zip(moments, moments[5:], strict=False))


def test_tokens_are_estimated_then_corrected() -> None:
    """A call counts with its letters and `max_tokens` until its reply says what it took."""
    assert prompt_tokens(said("x" * 41)) == 11
    assert prompt_tokens(Request(())) == 0
    inner = Noted()
    model = LimitedModel(inner, Limits(tokens=110, period=1000), max_tokens=80)
    with until(time.monotonic() + 30):
        for _ in range(3):  # 82 by estimate and 10 in truth
            model.complete(HELLO)
        with pytest.raises(errors.ModelTimeout):
            model.complete(said("x" * 4 * 30))
    alone = LimitedModel(inner, Limits(tokens=5, period=1000))
    assert alone.complete(said("x" * 400)).text == "yes"
    with until(time.monotonic() + 30), pytest.raises(errors.ModelTimeout):
        alone.complete(said("x"))


def test_failed_calls_take_no_tokens_and_hits_nothing() -> None:
    """A call that failed counts as a request, a reply from a cache inside not even as that."""
    hit = Reply("hit", usage=Usage(hits=1))
    outcomes: list[Any] = [errors.ModelUnavailable("down"), hit, "yes", "no"]
    model = LimitedModel(
        mti.ScriptedModel(outcomes), Limits(requests=2, tokens=10, period=1000), max_tokens=8
    )
    with pytest.raises(errors.ModelUnavailable):
        model.complete(HELLO)
    assert model.complete(HELLO).from_cache
    assert model.complete(HELLO).text == "yes"
    with until(time.monotonic() + 30), pytest.raises(errors.ModelTimeout):
        model.complete(HELLO)


def test_calls_in_flight(pool: ThreadPoolExecutor) -> None:
    """Threads and tasks of several models together are never more than allowed."""
    inner, limits = Noted(0.005), Limits(in_flight=3)
    models = [LimitedModel(inner, limits), LimitedModel(inner, limits)]
    calls = [pool.submit(CALLS[way], model) for way in CALLS for model in models for _ in range(9)]
    assert all(one.result().text == "yes" for one in calls)
    assert (inner.most, len(inner.begun)) == (3, 36)


async def test_tasks_of_one_loop_share_the_limits() -> None:
    """Many tasks of one event loop keep to the limit, and the loop goes on turning."""
    inner = Noted(0.005)
    model = LimitedModel(inner, Limits(in_flight=2))
    calls = asyncio.gather(*(model.acomplete(HELLO) for _ in range(20)))
    turns = 0
    while not calls.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert (len(await calls), inner.most) == (20, 2)
    assert turns > 10


def test_first_come_first_served(pool: ThreadPoolExecutor) -> None:
    """Threads and tasks get their turns in the order in which they came."""
    inner, limits = Noted(), Limits(in_flight=1)
    model = LimitedModel(inner, limits)
    calls = []
    with limits.ask(0):
        for number in range(12):
            way = model.complete if number % 2 else lambda one: asyncio.run(model.acomplete(one))
            calls.append(pool.submit(way, said(str(number))))
            wait_until(lambda number=number: len(limits._queue) == number + 1)  # type: ignore[misc]
    assert all(one.result() for one in calls)
    assert [text for _, text in inner.begun] == [str(number) for number in range(12)]


async def test_a_cancelled_task_gives_up_its_place() -> None:
    """Whoever waits behind a cancelled task, first in the queue, gets its turn."""
    inner, limits = Noted(), Limits(in_flight=1)
    model = LimitedModel(inner, limits)
    with limits.ask(0):
        first, second = (asyncio.create_task(model.acomplete(HELLO)) for _ in range(2))
        await asyncio.sleep(0.01)
        first.cancel()
        await asyncio.sleep(0.01)
        assert (first.cancelled(), len(limits._queue)) == (True, 1)
    assert (await second).text == "yes"


def test_a_stream_keeps_its_turn_until_it_ends() -> None:
    """A stream takes one of the calls in flight until it is read or closed."""
    model = LimitedModel(Noted(), Limits(in_flight=1, requests=3, period=1000))
    with until(time.monotonic() + 0.02):
        with closing(model.stream(HELLO)) as pieces:
            next(pieces)
            with pytest.raises(errors.ModelTimeout):
                model.complete(HELLO)
        assert model.complete(HELLO).text == "yes"

    async def streamed() -> list[str | Reply]:
        return [piece async for piece in model.astream(HELLO)]

    assert len(asyncio.run(streamed())) == 1
    with until(time.monotonic() + 30), pytest.raises(errors.ModelTimeout):
        model.complete(HELLO)


def test_a_forked_child_waits_for_no_thread_of_its_parent() -> None:
    """A child that was forked while all turns were taken has its own."""
    program = """
import os
import mtiprompt as mti
from mtiprompt.models.limits import LimitedModel, Limits
from mtiprompt.models.watch import prompt_tokens

limits = Limits(in_flight=1)
model = LimitedModel(mti.EchoModel(), limits)
with limits.ask(0):
    child = os.fork()
    if not child:
        model.complete(mti.Request(()))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "0\n", done.stderr


# --- deadlines, and what the provider says ----------------------------------------------------


def test_a_turn_that_would_come_too_late(call: Call) -> None:
    """A call whose turn cannot come in time fails at once, unsent, and says when it would."""
    model = LimitedModel(Noted(), Limits(requests=1))
    call(model)
    began = time.monotonic()
    with until(began + 30), pytest.raises(errors.ModelTimeout, match=r"in \d+(\.\d)? s") as caught:
        call(model)
    assert time.monotonic() - began < 5
    assert "limits" in str(caught.value.hint)
    assert 50 < (caught.value.retry_after or 0) <= 60
    assert vars(caught.value)["usage"] == Usage()


def test_waiting_ends_with_the_deadline(pool: ThreadPoolExecutor, call: Call) -> None:
    """A call that waits for others to end gives up at its deadline, and leaves the queue."""
    limits = Limits(in_flight=1)
    model = LimitedModel(Noted(), limits)
    with limits.ask(0):
        with until(time.monotonic() + 0.03), pytest.raises(errors.ModelTimeout):
            call(model)
        assert not limits._queue
    assert call(model).text == "yes"


def test_no_retry_of_what_comes_too_late() -> None:
    """Retries do not wait for a turn that would come after the end of all calls."""
    with ChatServer() as server:
        model = mti.Model(
            "direct/any",
            api_base=server.base_url,
            cache=False,
            timeout=5,
            limits=Limits(requests=1),
        )
        model.complete(HELLO)
        began = time.monotonic()
        with pytest.raises(errors.ModelTimeout, match="limits"):
            model.complete(HELLO)
        assert time.monotonic() - began < 4
        assert len(server.requests) == 1


def test_everyone_waits_when_the_provider_says_so(pool: ThreadPoolExecutor) -> None:
    """One of many is told to wait: none of the others is sent before, over HTTP with retries."""
    wait = Fault(429, headers={"Retry-After": "0.3"})
    with ChatServer(faults=lambda received: wait if received.number == 0 else None) as server:
        limits = Limits(in_flight=1)

        def model() -> mti.Model:
            return mti.Model("direct/any", api_base=server.base_url, cache=False, limits=limits)

        models = [model(), model()]
        calls = [pool.submit(CALLS[way], one) for way in CALLS for one in models for _ in range(4)]
        assert sum(one.result().usage.calls for one in calls) == len(server.requests) == 17
        moments = [received.at for received in server.requests]
        assert moments[1] - moments[0] >= 0.3


@pytest.mark.parametrize(
    "told",
    [
        {"remaining-requests": 0, "reset-requests": 0.2},
        {"limit-requests": 60.0, "remaining-requests": 0.0, "reset-requests": 12.0},
        {"remaining-tokens": 1, "reset-tokens": 0.2},
    ],
)
def test_reported_limits_are_kept(call: Call, told: dict[str, float]) -> None:
    """A provider that reports nothing left is left alone until there is something again."""
    inner = Noted(details={"rate_limits": told})
    model = LimitedModel(inner, Limits())
    for _ in range(2):
        call(model)
    assert inner.begun[1][0] - inner.begun[0][0] >= 0.19


@pytest.mark.parametrize(
    "told",
    [None, "no", {}, {"remaining-requests": 0}, {"remaining-requests": "0", "reset-requests": "9"},
     {"remaining-requests": 5, "reset-requests": 90}],
)  # fmt: skip
def test_reports_that_say_nothing(told: Any) -> None:
    """A report that is incomplete, unreadable or leaves enough makes nobody wait."""
    model = LimitedModel(Noted(details={"rate_limits": told}), Limits())
    with until(time.monotonic() + 5):
        for _ in range(3):
            model.complete(HELLO)


def test_reports_over_http() -> None:
    """The headers of a real reply are read and kept."""
    headers = {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "3s",
    }
    with ChatServer(faults=[Fault(headers=headers)]) as server:
        model = mti.Model("direct/any", api_base=server.base_url, cache=False, limits=Limits())
        for _ in range(2):
            model.complete(HELLO)
        first, second = (received.at for received in server.requests)
        assert 0.25 < second - first < 3
