"""Single flight: equal requests in flight are one call, for threads and for tasks of any loop."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt import errors
from mtiprompt.models.base import BaseModel, Support
from mtiprompt.models.cache import ReplyCache
from mtiprompt.models.deadline import until
from mtiprompt.models.single_flight import SingleFlightModel
from mtiprompt.testing import ChatServer, Fault
from mtiprompt.wire import Message, Reply, Request, Usage

HELLO = Request((Message("user", "Hello"),))


class Held(BaseModel):
    """A model whose calls do not end before they are let go."""

    def __init__(self, *outcomes: str | BaseException) -> None:
        self.support = Support()
        self.begun = threading.Semaphore(0)
        self.go = threading.Event()
        self.calls = 0
        self._outcomes = list(outcomes)

    def complete(self, request: Request) -> Reply:
        """Wait, then give the next outcome, the last of them for ever."""
        place, self.calls = self.calls, self.calls + 1
        self.begun.release()
        assert self.go.wait(20)
        outcome = self._outcomes[min(place, len(self._outcomes) - 1)]
        if isinstance(outcome, BaseException):
            raise outcome
        return Reply(outcome, usage=Usage(calls=1, prompt_tokens=9))


Call = Callable[[BaseModel], Reply]
CALLS: dict[str, Call] = {
    "thread": lambda model: model.complete(HELLO),
    "task": lambda model: asyncio.run(model.acomplete(HELLO)),
}
WAYS = pytest.mark.parametrize("lead", ["thread", "task"])
FOLLOW = pytest.mark.parametrize("follow", ["thread", "task"])


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads enough for every caller of a test."""
    with ThreadPoolExecutor(40) as threads:
        yield threads


def fly(
    model: SingleFlightModel,
    inner: Held,
    pool: ThreadPoolExecutor,
    lead: str,
    follow: Sequence[str],
) -> tuple[Future[Reply], list[Future[Reply]]]:
    """Start a leader and, once it has begun, its followers, which come to wait."""
    leader = pool.submit(CALLS[lead], model)
    assert inner.begun.acquire(timeout=20)
    followers = [pool.submit(CALLS[one], model) for one in follow]
    wait_for(model, len(follow))
    return leader, followers


def wait_for(model: SingleFlightModel, number: int) -> None:
    """Wait until so many wait for the flight."""
    end = time.monotonic() + 20
    while sum(len(one._bells) for one in model._flights._open.values()) < number:
        assert time.monotonic() < end
        time.sleep(0.001)


@WAYS
@FOLLOW
def test_one_call_for_all(pool: ThreadPoolExecutor, lead: str, follow: str) -> None:
    """Threads follow tasks and the reverse; the sum of what they cost is that of one call."""
    inner = Held("yes")
    model = SingleFlightModel(inner)
    leader, followers = fly(model, inner, pool, lead, [follow] * 5)
    inner.go.set()
    replies = [leader.result(), *(one.result() for one in followers)]
    assert {reply.text for reply in replies} == {"yes"}
    assert not replies[0].from_cache
    assert all(reply.from_cache for reply in replies[1:])
    total = sum((reply.usage for reply in replies), Usage())
    assert (inner.calls, total.calls, total.prompt_tokens, total.hits) == (1, 1, 9, 5)


@WAYS
@FOLLOW
def test_an_error_is_shared(pool: ThreadPoolExecutor, lead: str, follow: str) -> None:
    """An outage is not multiplied: all get the error of the one call, each its own object."""
    inner = Held(errors.RateLimited("slow down", retry_after=3, hint="wait"))
    model = SingleFlightModel(inner)
    leader, followers = fly(model, inner, pool, lead, [follow] * 5)
    inner.go.set()
    raised = [one.exception() for one in (leader, *followers)]
    assert inner.calls == 1
    assert len({id(error) for error in raised}) == 6
    for error in raised:
        assert isinstance(error, errors.RateLimited)
        assert (str(error), error.retry_after) == ("slow down (wait)", 3)
    inner.go.set()
    with pytest.raises(errors.RateLimited):
        model.complete(HELLO)
    assert inner.calls == 2  # an error is not handed to those who come later


def test_an_error_that_cannot_be_copied_is_shared(pool: ThreadPoolExecutor) -> None:
    """An error of a class that cannot be made again comes out all the same."""

    class Odd(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__("odd")

    inner = Held(Odd(1, 2))
    leader, followers = fly(SingleFlightModel(inner), inner, pool, "thread", ["task", "thread"])
    inner.go.set()
    assert [type(one.exception()) for one in (leader, *followers)] == [Odd] * 3


@FOLLOW
def test_another_goes_on_when_a_leader_is_interrupted(
    pool: ThreadPoolExecutor, follow: str
) -> None:
    """An interrupt of the one who leads is its own: one of those who wait asks in its place."""
    inner = Held(KeyboardInterrupt(), "yes")
    model = SingleFlightModel(inner, linger=30)  # the second call takes no time
    leader, followers = fly(model, inner, pool, "thread", [follow] * 5)
    inner.go.set()
    assert isinstance(leader.exception(), KeyboardInterrupt)
    assert [one.result().text for one in followers] == ["yes"] * 5
    assert inner.calls == 2


@FOLLOW
async def test_another_goes_on_when_a_leader_is_cancelled(
    pool: ThreadPoolExecutor, follow: str
) -> None:
    """A cancelled task gives its place to one of those who wait, in another loop or thread."""
    inner = Held("yes")
    model = SingleFlightModel(inner)
    leader = asyncio.create_task(model.acomplete(HELLO))
    await asyncio.to_thread(inner.begun.acquire)
    followers = [pool.submit(CALLS[follow], model) for _ in range(5)]
    await asyncio.to_thread(wait_for, model, 5)
    leader.cancel()
    await asyncio.to_thread(inner.begun.acquire)  # the second call
    await asyncio.to_thread(wait_for, model, 4)
    inner.go.set()
    replies = [await asyncio.wrap_future(one) for one in followers]
    assert [reply.usage.calls for reply in replies].count(1) == 1
    assert (inner.calls, leader.cancelled()) == (2, True)


@WAYS
@FOLLOW
def test_waits_no_longer_than_its_own_deadline(
    pool: ThreadPoolExecutor, lead: str, follow: str
) -> None:
    """A follower whose time is up gets a time-out that cost nothing; the call goes on."""
    inner = Held("yes")
    model = SingleFlightModel(inner)
    leader, _ = fly(model, inner, pool, lead, [])

    def hasty() -> Reply:
        with until(time.monotonic() + 0.05):
            return CALLS[follow](model)

    error = pool.submit(hasty).exception(timeout=10)
    assert isinstance(error, errors.ModelTimeout)
    assert vars(error)["usage"] == Usage()
    inner.go.set()
    assert leader.result().text == "yes"
    assert inner.calls == 1


def test_the_deadline_of_a_leader_is_its_own(pool: ThreadPoolExecutor) -> None:
    """If the leader's caller had less time, another asks; a time-out of the model is shared."""
    for end, calls in ((time.monotonic() + 1000, 2), (math.inf, 1)):
        inner = Held(errors.ModelTimeout("late"), "yes")
        model = SingleFlightModel(inner, linger=30)  # the second call takes no time

        def lead(model: SingleFlightModel = model, end: float = end) -> Reply:
            with until(end):
                return model.complete(HELLO)

        leader = pool.submit(lead)
        assert inner.begun.acquire(timeout=20)
        followers = [pool.submit(CALLS[one], model) for one in ("thread", "task")]
        wait_for(model, 2)
        inner.go.set()
        assert isinstance(leader.exception(), errors.ModelTimeout)
        failed = [one.exception() for one in followers]
        assert [error is None for error in failed] == [calls == 2] * 2
        assert inner.calls == calls


async def test_a_waiting_task_does_not_block_its_loop(pool: ThreadPoolExecutor) -> None:
    """The loop goes on turning while a task waits for a thread; a cancelled one waits no more."""
    inner = Held("yes")
    model = SingleFlightModel(inner)
    leader = pool.submit(CALLS["thread"], model)
    await asyncio.to_thread(inner.begun.acquire)
    tasks = [asyncio.create_task(model.acomplete(HELLO)) for _ in range(3)]
    for _ in range(100):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    tasks[0].cancel()
    inner.go.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert [isinstance(one, Reply) for one in found[1:]] == [True, True]
    assert leader.result().text == "yes"


async def test_a_sync_call_in_the_loop_of_the_leader(pool: ThreadPoolExecutor) -> None:
    """A sync call inside the event loop whose task leads asks itself: waiting would never end."""
    inner = Held("yes")
    model = SingleFlightModel(inner)
    leader = asyncio.create_task(model.acomplete(HELLO))
    await asyncio.to_thread(inner.begun.acquire)

    def let_go() -> None:
        inner.begun.acquire()
        inner.go.set()

    pool.submit(let_go)
    assert model.complete(HELLO).text == "yes"
    assert (await leader).text == "yes"
    assert inner.calls == 2


@FOLLOW
def test_another_goes_on_when_the_loop_of_a_leader_stands_still(
    pool: ThreadPoolExecutor, follow: str
) -> None:
    """A loop that is stopped in the middle of a flight holds nobody up."""
    inner = Held("yes")
    model = SingleFlightModel(inner, linger=30)
    loop = asyncio.new_event_loop()
    leader = loop.create_task(model.acomplete(HELLO))
    loop.run_until_complete(asyncio.sleep(0))
    assert inner.begun.acquire(timeout=20)
    inner.go.set()
    assert pool.submit(CALLS[follow], model).result(10).text == "yes"
    assert inner.calls == 2
    assert loop.run_until_complete(leader).text == "yes"
    loop.close()


async def test_a_map_in_the_loop_of_an_equal_call(tmp_path: Path) -> None:
    """As in a notebook: a sync map blocks the loop in which the same was asked before."""
    program = mti.combine("message -> urgent: bool")
    with ChatServer(faults=lambda _: Fault(delay=0.2)) as server:
        model = mti.Model("direct/any", api_base=server.base_url, cache=tmp_path, timeout=20)
        task = asyncio.create_task(program.acall(message="x", model=model))
        await asyncio.sleep(0.05)
        (result,) = program.map([{"message": "x"}], model=model)
        assert (await task).urgent is result.urgent is False
    ReplyCache.at(tmp_path).close()


@FOLLOW
def test_patience_ends(pool: ThreadPoolExecutor, follow: str) -> None:
    """Whoever has waited long enough asks itself, and the others of them get its reply."""

    class OnlyTheFirstHangs(Held):
        def complete(self, request: Request) -> Reply:
            if self.calls:
                self.go.set()
            return super().complete(request)

    inner = OnlyTheFirstHangs("yes")
    model = SingleFlightModel(inner, patience=0.3, linger=30)
    leader = pool.submit(CALLS["thread"], model)
    assert inner.begun.acquire(timeout=20)
    followers = [pool.submit(CALLS[follow], model) for _ in range(3)]
    assert [one.result(20).text for one in (leader, *followers)] == ["yes"] * 4
    assert inner.calls == 2


def test_a_follower_of_a_loop_that_has_ended(pool: ThreadPoolExecutor) -> None:
    """Whoever still waits is told, though another waited in an event loop that has ended."""
    inner = Held("yes")
    model = SingleFlightModel(inner)
    leader, _ = fly(model, inner, pool, "thread", [])

    async def given_up() -> None:
        task = asyncio.create_task(model.acomplete(HELLO))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(given_up())
    follower = pool.submit(CALLS["thread"], model)
    wait_for(model, 2)
    inner.go.set()
    assert (leader.result().text, follower.result().text) == ("yes", "yes")


def test_other_samples_are_other_requests(pool: ThreadPoolExecutor) -> None:
    """Requests that differ in their sample number are all sent; the purpose makes no difference."""
    inner = Held("yes")
    model = SingleFlightModel(inner)
    asked = [Request(HELLO.messages, sample=n, purpose=p) for n in range(3) for p in ("a", "b")]
    calls = [pool.submit(model.complete, request) for request in asked]
    for _ in range(3):
        assert inner.begun.acquire(timeout=20)
    wait_for(model, 3)
    inner.go.set()
    assert sum(one.result().usage.calls for one in calls) == inner.calls == 3


def test_a_reply_lingers_for_other_threads() -> None:
    """After the flight a thread that has not had the reply gets it; one that has asks afresh."""
    inner = Held("first", "second")
    inner.go.set()
    model = SingleFlightModel(inner, linger=30)
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        assert model.complete(HELLO).text == "first"
        assert one.submit(CALLS["thread"], model).result().from_cache
        assert two.submit(CALLS["task"], model).result().text == "first"
        assert model.complete(HELLO).text == "second"
        assert one.submit(CALLS["task"], model).result().from_cache
        assert two.submit(CALLS["thread"], model).result().text == "second"
    assert inner.calls == 2


def test_a_reply_lingers_only_if_it_shall(pool: ThreadPoolExecutor) -> None:
    """Without `linger`, or after it, every request that comes later is sent; nothing is left."""
    for linger in (0.0, 0.01):
        inner = Held("yes")
        inner.go.set()
        model = SingleFlightModel(inner, linger=linger)
        for number in range(3):
            assert pool.submit(CALLS["thread"], model).result().usage.calls == 1, number
            time.sleep(0.02)
        model.complete(Request(()))
        assert inner.calls == 4
        assert len(model._flights._open) == (1 if linger else 0)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12), st.booleans())
@settings(max_examples=15)
def test_everyone_gets_the_reply_to_its_own_request(asked: list[str], tasks: bool) -> None:
    """Whatever is asked at the same time, everyone gets its answer, and each costs one call."""

    def said(request: Request) -> str:
        time.sleep(0.002)
        return request.messages[0].content

    inner = mti.FunctionModel(said)
    model = SingleFlightModel(inner, linger=30)
    requests = [Request((Message("user", text),)) for text in asked]

    async def gathered() -> list[Reply]:
        return list(await asyncio.gather(*map(model.acomplete, requests)))

    if tasks:
        replies = asyncio.run(gathered())
    else:
        with ThreadPoolExecutor(len(asked)) as pool:
            replies = list(pool.map(model.complete, requests))
        assert len(inner.requests) >= len(set(asked))
    assert [reply.text for reply in replies] == asked
    assert sum(reply.usage.calls for reply in replies) == len(inner.requests)
    if tasks:
        assert len(inner.requests) == len(set(asked))


def test_32_equal_calls_are_one_request(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """32 threads run the same program on the same input over HTTP: one request, one call."""
    program = mti.combine("message -> urgent: bool", "message -> product: str")
    for delay in (0.0, 0.05):
        with ChatServer(faults=[Fault(delay=delay)]) as server:
            model = mti.Model("direct/any", api_base=server.base_url, cache=tmp_path)
            model.warm()
            start = threading.Barrier(32)

            def ask(model: mti.Model = model, start: threading.Barrier = start) -> mti.Result:
                start.wait()
                return program(message="The lamp hums.", model=model)

            results = [one.result() for one in [pool.submit(ask) for _ in range(32)]]
            assert len(server.requests) == 1
            assert (model.usage.calls, model.usage.hits) == (1, 31)
            assert {result.urgent for result in results} == {False}
    ReplyCache.at(tmp_path).close()


def test_32_equal_tasks_are_one_request(tmp_path: Path) -> None:
    """The same for tasks, and again in the next event loop, with another input."""
    program = mti.combine("message -> urgent: bool", "message -> product: str")
    with ChatServer() as server:
        model = mti.Model("direct/any", api_base=server.base_url, cache=tmp_path)

        async def ask(text: str) -> list[mti.Result]:
            calls = (program.acall(message=text, model=model) for _ in range(32))
            return list(await asyncio.gather(*calls))

        for number, text in enumerate(["The lamp hums.", "It sings."], 1):
            assert len(asyncio.run(ask(text))) == 32
            assert (len(server.requests), model.usage.calls) == (number, number)
    ReplyCache.at(tmp_path).close()


def test_without_a_cache_every_request_is_sent(pool: ThreadPoolExecutor) -> None:
    """`cache=False` means that each is asked: equal ones are not taken together."""
    with ChatServer(faults=lambda _: Fault(delay=0.05)) as server:
        model = mti.Model("direct/any", api_base=server.base_url, cache=False)
        calls = [pool.submit(model.complete, HELLO) for _ in range(4)]
        assert [one.result().usage.calls for one in calls] == [1] * 4
        assert len(server.requests) == 4


def test_a_forked_child_waits_for_no_thread_of_its_parent() -> None:
    """In a child that was forked in the middle of a flight, an equal request is sent."""
    program = """
import os, threading
import mtiprompt as mti
from mtiprompt.models.single_flight import SingleFlightModel

parent, begun, go = os.getpid(), threading.Event(), threading.Event()

def said(request):
    if os.getpid() == parent:
        begun.set()
        go.wait()
    return "yes"

model, request = SingleFlightModel(mti.FunctionModel(said)), mti.Request(())
thread = threading.Thread(target=model.complete, args=(request,))
thread.start()
begun.wait()
child = os.fork()
if not child:
    os._exit(0 if model.complete(request).usage.calls else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
go.set()
thread.join()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "0\n", done.stderr


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_streams_pass_through(way: str) -> None:
    """A stream is asked for by itself and gives the reply of the inner model as it is."""
    inner = Held("yes")
    inner.go.set()
    model = SingleFlightModel(inner, linger=30)

    async def pieces() -> list[str | Reply]:
        return [piece async for piece in model.astream(HELLO)]

    for number in (1, 2):
        got = list(model.stream(HELLO)) if way == "stream" else asyncio.run(pieces())
        assert [piece.usage.calls for piece in got if isinstance(piece, Reply)] == [1]
        assert inner.calls == number
