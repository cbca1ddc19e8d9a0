"""Limits shared by event loops that end, or stand still, while tasks of theirs wait for a turn."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.models.deadline import until
from mtiprompt.models.limits import LimitedModel, Limits
from mtiprompt.models.single_flight import STALL
from mtiprompt.models.waiting import TaskBell, ThreadBell
from mtiprompt.wire import Message, Reply, Request

HELLO = Request((Message("user", "Hello"),))

CALLS: dict[str, Callable[[LimitedModel], Reply]] = {
    "thread": lambda model: model.complete(HELLO),
    "task": lambda model: asyncio.run(model.acomplete(HELLO)),
}


async def never(request: Request) -> str:
    """An answer that does not come."""
    await asyncio.Event().wait()
    return ""


def left_behind(*models: LimitedModel) -> None:
    """Have an event loop begin a call of each model, one after the other, and end before them."""
    loop = asyncio.new_event_loop()
    tasks = []
    for model in models:
        tasks.append(loop.create_task(model.acomplete(HELLO)))
        loop.run_until_complete(asyncio.sleep(0))
    loop.set_exception_handler(lambda *_: None)  # it would complain of what it has not done
    loop.close()


def in_queue(limits: Limits, name: str) -> None:
    """Wait until a call of the model of this name waits for its turn."""
    end = time.monotonic() + 20
    while not any(turn.name == name for turn in tuple(limits._queue)):
        assert time.monotonic() < end
        time.sleep(0.001)


@contextmanager
def collected_by_hand() -> Iterator[None]:
    """Keep the garbage collector from ending the tasks of a loop that has ended."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()


@pytest.mark.parametrize("waiting", [0, 1, 3])
@pytest.mark.parametrize("way", list(CALLS))
def test_a_loop_that_ended_blocks_nobody(way: str, waiting: int) -> None:
    """Whatever tasks were in flight or in the queue when their loop ended, others go on at once."""
    limits = Limits(in_flight=1)
    hangs = LimitedModel(mti.FunctionModel(never), limits)
    with collected_by_hand(), until(time.monotonic() + 20):
        left_behind(*[hangs] * (1 + waiting))
        began = time.monotonic()
        assert CALLS[way](LimitedModel(mti.EchoModel(), limits)).text == "Hello"
        assert time.monotonic() - began < STALL
    assert not limits._queue
    assert not limits._open


def test_a_loop_that_ends_while_others_wait() -> None:
    """A thread that waits for a task in flight goes on soon after the loop of that has ended."""
    limits = Limits(in_flight=1)
    loop = asyncio.new_event_loop()
    with collected_by_hand(), ThreadPoolExecutor(1) as pool, until(time.monotonic() + 20):
        hangs = LimitedModel(mti.FunctionModel(never), limits)
        task = loop.create_task(hangs.acomplete(HELLO))
        loop.run_until_complete(asyncio.sleep(0))
        waits = pool.submit(LimitedModel(mti.EchoModel(name="later"), limits).complete, HELLO)
        in_queue(limits, "later")
        loop.set_exception_handler(lambda *_: None)
        loop.close()
        assert waits.result(20).text == "Hello"
        assert not task.done()


@settings(max_examples=15)
@given(st.lists(st.sampled_from(["thread", "task", "ended"]), max_size=6))
def test_all_others_get_their_turns_in_order(queue: list[str]) -> None:
    """Wherever in the queue tasks stand whose loop has ended, all others come, as they came."""
    limits, order = Limits(in_flight=1), list[str]()

    def model(name: str) -> LimitedModel:
        def note(request: Request) -> str:
            order.append(name)
            return name

        return LimitedModel(mti.FunctionModel(note, name=name), limits)

    with ThreadPoolExecutor(8) as pool:
        with limits.ask(0):
            calls = []
            for place, way in enumerate(queue):
                if way == "ended":
                    left_behind(model(str(place)))
                else:
                    calls.append(pool.submit(CALLS[way], model(str(place))))
                    in_queue(limits, str(place))
        names = [call.result(20).text for call in calls]
    assert names == order == [str(n) for n, way in enumerate(queue) if way != "ended"]


@pytest.mark.parametrize("waiting", [1, 4])
async def test_a_sync_call_in_a_task_passes_the_tasks_of_its_loop(waiting: int) -> None:
    """They cannot go on while it blocks their loop; once it is done, none of them is lost."""
    limits = Limits(requests=1, period=0.05)
    model = LimitedModel(mti.EchoModel(), limits)
    await model.acomplete(HELLO)
    tasks = [asyncio.create_task(model.acomplete(HELLO)) for _ in range(waiting)]
    await asyncio.sleep(0)
    with until(time.monotonic() + 20):
        began = time.monotonic()
        assert model.complete(HELLO).text == "Hello"
        assert STALL <= time.monotonic() - began < 10
        began = time.monotonic()
        assert model.complete(HELLO).text == "Hello"  # that the loop stands is known by now
        assert time.monotonic() - began < STALL
    assert [reply.text for reply in await asyncio.gather(*tasks)] == ["Hello"] * waiting


def test_a_loop_that_stands_blocks_no_thread() -> None:
    """Threads pass a task whose loop is blocked; when that turns again, the task has its turn."""
    limits = Limits(requests=1, period=0.05)
    blocked, done = threading.Event(), threading.Event()

    async def block() -> str:
        model = LimitedModel(mti.EchoModel(name="blocked"), limits)
        task = asyncio.create_task(model.acomplete(HELLO))
        await asyncio.sleep(0)
        blocked.set()
        done.wait(20)
        return (await task).text

    with ThreadPoolExecutor(5) as pool:
        with limits.ask(0):
            pass
        stands = pool.submit(asyncio.run, block())
        assert blocked.wait(20)
        model = LimitedModel(mti.EchoModel(), limits)
        threads = [pool.submit(model.complete, HELLO) for _ in range(4)]
        assert [call.result(20).text for call in threads] == ["Hello"] * 4
        assert not stands.done()
        done.set()
        assert stands.result(20) == "Hello"


def test_who_waits_for_another_loop_sleeps_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads and tasks that wait for a task of another loop look after it now and then, not more
    often."""
    woken: list[float] = []
    for kind in (ThreadBell, TaskBell):

        def wait(self: Any, seconds: float, real: Any = kind.wait) -> Any:
            woken.append(seconds)
            return real(self, seconds)

        monkeypatch.setattr(kind, "wait", wait)
    limits, go, begun = Limits(in_flight=1), threading.Event(), threading.Event()

    async def slow(request: Request) -> str:
        begun.set()
        return str(await asyncio.to_thread(go.wait, 20))

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(CALLS["task"], LimitedModel(mti.FunctionModel(slow), limits))
        assert begun.wait(20)
        model = LimitedModel(mti.EchoModel(), limits)
        others = [pool.submit(call, model) for call in (*CALLS.values(), CALLS["thread"])]
        time.sleep(1.2 * STALL)
        go.set()
        assert [call.result(20).text for call in (first, *others)] == ["True", *["Hello"] * 3]
    assert 3 <= len(woken) < 40


def test_a_turn_may_end_in_the_midst_of_the_limits() -> None:
    """The garbage collector may end a task while its thread holds the lock of the same limits."""
    limits = Limits(in_flight=1)

    def collect() -> None:
        with limits._lock:
            limits.ask(0).__exit__(None, None, None)

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


async def test_a_bell_says_for_how_long_it_was_not_heard() -> None:
    """It counts from the first ring until its loop turns, and for ever once the loop has ended."""
    bell = TaskBell()
    assert bell.unheard == 0
    bell.ring()
    time.sleep(0.02)  # noqa: ASYNC251  so that the loop does not turn
    bell.ring()
    assert bell.unheard >= 0.02
    await bell.wait(20)
    assert bell.unheard == 0

    async def made() -> TaskBell:
        return TaskBell()

    ended = await asyncio.to_thread(asyncio.run, made())
    ended.ring()
    assert ended.unheard > 1e9
