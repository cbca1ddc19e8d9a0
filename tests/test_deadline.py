"""The worker threads of sync calls, and the event loops that some of them have."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mtiprompt.models import deadline
from mtiprompt.models.deadline import LOOPS, beside_loop, run_within


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> deadline._Process:
    """Threads that no other test has used."""
    monkeypatch.setattr(deadline, "_NOW", [])
    return deadline._process()


def _loop() -> asyncio.AbstractEventLoop | None:
    """The event loop of this thread."""
    try:
        return asyncio.get_event_loop()
    except RuntimeError:
        return None


def test_a_worker_keeps_its_loop(process: deadline._Process) -> None:
    """Calls one after the other find the same open loop; the caller's thread has none of it."""
    first, second = (run_within(lambda: beside_loop(_loop), 5) for _ in range(2))
    assert first is not None
    assert first is second
    assert not first.is_closed()
    assert run_within(_loop, 5) is first
    process.workers.close_loops()
    assert first.is_closed()


def test_few_workers_have_a_loop(process: deadline._Process) -> None:
    """Of many calls at the same time only so many have a loop: each takes open files."""
    number = 3 * LOOPS
    together = threading.Barrier(number)

    def call() -> asyncio.AbstractEventLoop | None:
        together.wait(5)
        return beside_loop(_loop)

    with ThreadPoolExecutor(number) as pool:
        running = [pool.submit(run_within, call, 5) for _ in range(number)]
        loops = [one.result() for one in running]
    assert len({id(loop) for loop in loops if loop is not None}) == LOOPS
    assert loops.count(None) == number - LOOPS
    process.workers.close_loops()


def test_a_worker_that_ends_closes_its_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is not kept leaves no open loop behind, and room for another's."""
    monkeypatch.setattr(deadline, "IDLE_WORKERS", 0)
    for _ in range(2 * LOOPS):
        loop, thread = run_within(
            lambda: (beside_loop(_loop), threading.current_thread()), timeout=5
        )
        assert loop is not None
        thread.join(5)
        assert loop.is_closed()


def test_the_end_of_the_program_is_silent() -> None:
    """Loops of workers are closed at the end, whether their threads are idle or not."""
    script = """
import time
from mtiprompt.models.deadline import beside_loop, run_within
run_within(lambda: beside_loop(int), 5)
try:
    run_within(lambda: beside_loop(lambda: (run_within(int, 5), time.sleep(60))), 0.2)
except TimeoutError:
    print("late")
"""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "late\n", "")
