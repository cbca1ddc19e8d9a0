"""What an answer from the cache costs: from memory, and from disk.

    python benchmarks/cache_hits.py [--repeats N] [--json]

The program has four tasks that share one call. `CachedModel.complete` is the look-up alone, the
whole call is `program(...)` with its result object. Memory: more calls about few messages. Disk:
the messages are more than memory holds and come in turn, so that each is read from the file (which
the system has in its own memory). The four measurements take turns; the figures are medians over
rounds of the mean time of a call. Exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, Literal

import mtiprompt as mti
from mtiprompt.models.cache import CachedModel, ReplyCache
from mtiprompt.models.cache.replies import MEMORY_ENTRIES

IN_MEMORY = 200
ON_DISK = MEMORY_ENTRIES + 200
TARGETS_US = {
    "look-up, memory": 10.0,
    "look-up, disk": 40.0,
    "whole call, memory": 60.0,
    "whole call, disk": 120.0,
}
REPLY = json.dumps({"mood": "negative", "product": "lamp", "urgent": True, "days": 2})


@mti.task
def mood(message: str) -> Literal["positive", "negative", "mixed"]:  # type: ignore[empty-body]
    """Judge the customer's feeling."""


@mti.task
def product(message: str) -> str:  # type: ignore[empty-body]
    """Name the product in the message."""


@mti.task
def urgent(message: str) -> bool:  # type: ignore[empty-body]
    """Does it need an answer today?"""


@mti.task
def days(message: str) -> int:  # type: ignore[empty-body]
    """Count the days that it came late."""


def message(number: int) -> str:
    """A message of some 500 letters."""
    return f"Order {number}. " + "The lamp came two days late, and it hums. " * 12


class Side:
    """One way of answering the same messages again and again from a cache.

    Args:
        number: Different messages.
        whole: Whether the whole call is measured, or the look-up alone.
    """

    def __init__(self, number: int, *, whole: bool) -> None:
        self.replies = ReplyCache.at(tempfile.mkdtemp(prefix="mtiprompt-"))
        asked: list[mti.Request] = []

        def answer(request: mti.Request) -> str:
            asked.append(request)
            return REPLY

        program = mti.combine(mood, product, urgent, days)
        model = CachedModel(mti.FunctionModel(answer), self.replies)
        for one in range(number):
            assert program(message=message(one), model=model).days == 2
        assert len(asked) == number
        messages = [message(one) for one in range(number)]
        self._next: Callable[[], Any]
        if whole:
            turns = itertools.cycle(messages)
            self._next = lambda: program(message=next(turns), model=model)
        else:
            requests = itertools.cycle(asked)
            self._next = lambda: model.complete(next(requests))
        for _ in range(number):
            self._next()
        assert len(asked) == number, "not everything was found"

    def round(self, calls: int) -> float:
        """The mean microseconds of some calls."""
        start = time.perf_counter()
        for _ in range(calls):
            self._next()
        return (time.perf_counter() - start) / calls * 1e6


def main() -> int:
    """Print the table, or one JSON object."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repeats", type=int, default=15)
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    sides = {
        "look-up, memory": Side(IN_MEMORY, whole=False),
        "look-up, disk": Side(ON_DISK, whole=False),
        "whole call, memory": Side(IN_MEMORY, whole=True),
        "whole call, disk": Side(ON_DISK, whole=True),
    }
    rounds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.repeats):
        for name, side in sides.items():
            rounds[name].append(side.round(400))
    found = {name: statistics.median(times) for name, times in rounds.items()}
    for side in sides.values():
        side.replies.clear()
        side.replies.close()
    missed = [name for name, figure in found.items() if figure > TARGETS_US[name]]
    if options.json:
        print(json.dumps({"microseconds": found, "targets": TARGETS_US, "missed": missed}))
    else:
        for name, figure in found.items():
            word = "missed" if name in missed else "met"
            print(f"{figure:8.1f} us  target {TARGETS_US[name]:5.0f} us {word:7} {name}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
