"""Items lost and calls wasted where servers and models misbehave: mtiprompt beside the others.

    pip install -e .[bench]
    python benchmarks/faults.py [--items 2000] [--only NAME ...] [--passes http,content] [--json]

Every client asks for the same items (four answers in one call), 16 in flight, over real HTTP, with
its retries as they are when nothing is said: of mtiprompt four after the first call and the default
repair; of litellm and of instructor over it the two of OpenAI's SDK, and of instructor three tries
more where a reply does not validate; of DSPy three, with its usual adapter, which falls back to the
one for JSON, or with that alone. What the server does to a request follows from its item and from
how many requests for this have come (`mtiprompt.testing.Chaos`), and so is the same for all clients
in a row. Two passes:

- http: 5% status 500, 5% status 429 with a Retry-After of 1 s, 2% dropped connections, 1% that are
  never answered;
- content: 5% prose or JSON beyond repair, 5% cut off somewhere, with `finish_reason` `length`.

One setting is not the default: every client has a time-out of 5 s, because with their own (60 s
for mtiprompt, 600 for the others) the benchmark would wait for the calls that hang.

Shown: the items whose four answers are all there and right, the slots that are, the slots that hold
something else (what is left of a list that was cut off, say), requests and wasted requests (those
beyond one an item) and injected faults for each 100 items, and seconds. Target: mtiprompt loses no
item. Server and clients have a process each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import multiprocessing
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import Any

from client import clean
from client_adapters import MODEL, SHAPES, WORDS, Dspy, Instructor, Litellm, Ours, text

from mtiprompt.testing import Chaos, ChatServer, Fault, Received

FLIGHT = 16
TIMEOUT = 5.0
PASSES: dict[str, dict[str, float]] = {
    "http": {"error": 0.05, "limited": 0.05, "dropped": 0.02, "hung": 0.01, "retry_after": 1.0},
    "content": {"malformed": 0.05, "cut": 0.05},
}
VALUES: dict[str, Any] = {
    "sentiment": "negative",
    "topic": "quality",
    "product": "bedside lamp with a dimmer",
    "tags": ["hums at night", "letters unanswered", "bought in May"],
}
NUMBER = re.compile(re.escape(WORDS) + r"(\d+)")
Answers = dict[str, Any]
"""Field to answer, for one item; a field without one is left out."""


# --- the clients ------------------------------------------------------------------------------


class PlainLitellm(Litellm):
    """litellm with its own retries."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "none", "")
        self.fixed = {"api_base": url, "api_key": "k", "timeout": TIMEOUT}


class PlainInstructor(Instructor):
    """instructor over litellm, with the retries of both."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "none", "")
        self.fixed = {"api_base": url, "api_key": "k", "timeout": TIMEOUT}


class PlainDspy(Dspy):
    """DSPy with its own retries and its usual adapter."""

    adapter = "ChatAdapter"

    def __init__(self, url: str) -> None:
        super().__init__(url, "none", "")
        dspy: Any = import_module("dspy")
        lm = dspy.LM(f"openai/{MODEL}", api_base=url, api_key="k", cache=False, timeout=TIMEOUT)
        dspy.configure(lm=lm, adapter=getattr(dspy, self.adapter)())


class JsonDspy(PlainDspy):
    """The same with the adapter for JSON."""

    adapter = "JSONAdapter"


class Mapped(Ours):
    """mtiprompt over litellm, by `map`."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "none", "")
        mti: Any = import_module("mtiprompt")
        name = f"{self.provider}/{MODEL}"
        self.using = mti.Model(name, api_base=url, api_key="k", cache=False, timeout=TIMEOUT)
        self.using.warm()

    def all_of(self, texts: list[str]) -> Iterator[Answers]:
        """The answers for each text."""
        slots_of, answer = import_module("mtiprompt").slots, import_module("mtiprompt").Answer
        rows = [{"text": one} for one in texts]
        for result in self.program.map(rows, model=self.using, concurrency=FLIGHT):
            found = [one.fields for one in slots_of(result).values() if isinstance(one, answer)]
            yield {name: value for fields in found for name, value in fields.items()}


class MappedDirect(Mapped):
    """mtiprompt without litellm, by `map`."""

    provider = "direct"


ROWS: dict[str, Any] = {
    "mtiprompt (litellm)": Mapped,
    "mtiprompt (direct)": MappedDirect,
    "litellm": PlainLitellm,
    "instructor": PlainInstructor,
    "dspy": PlainDspy,
    "dspy (JSON)": JsonDspy,
}
OURS = ("mtiprompt (litellm)", "mtiprompt (direct)")


async def in_lanes(client: Any, texts: list[str], errors: Counter[str]) -> list[Answers]:
    """The answers for each text from a client that is asked for one at a time."""
    found: list[Answers] = [{} for _ in texts]
    left = iter(enumerate(texts))

    async def lane() -> None:
        for number, asked in left:
            try:
                found[number] = await client.acall(asked)
            except Exception as error:  # noqa: BLE001  whatever it raises, the item is lost
                errors[type(error).__name__] += 1

    await asyncio.gather(*(lane() for _ in range(FLIGHT)))
    return found


def ask(name: str, url: str, items: int, told: Connection) -> None:
    """Ask for all items with one client, in a process of its own; tells what came of it."""
    logging.disable(logging.CRITICAL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # litellm prints at every error
    client, texts = ROWS[name](url), [text(number) for number in range(items)]
    errors: Counter[str] = Counter()
    began = time.perf_counter()
    if hasattr(client, "all_of"):
        found = list(client.all_of(texts))
    else:
        found = asyncio.run(in_lanes(client, texts, errors))
    seconds = time.perf_counter() - began
    right = [sum(one.get(field) == VALUES[field] for field in SHAPES) for one in found]
    told.send(
        {
            "whole": right.count(len(SHAPES)),
            "right": sum(right),
            "wrong": sum(len(one) for one in found) - sum(right),
            "errors": dict(errors),
            "seconds": seconds,
        }
    )
    told.close()
    os._exit(0)  # without the complaints about connections that nobody has closed


# --- the server -------------------------------------------------------------------------------


def answer(received: Received) -> Any:
    """The right answers: to the keys of the schema, as JSON, or as DSPy's adapter marks them."""
    if schema := received.schema:
        return {key: VALUES[key] for key in schema["properties"]}
    if received.level != "text":
        return VALUES
    marked = {key: value if isinstance(value, str) else json.dumps(value)
              for key, value in VALUES.items()}  # fmt: skip
    parts = [f"[[ ## {key} ## ]]\n{value}" for key, value in marked.items()]
    return "\n\n".join([*parts, "[[ ## completed ## ]]"])


def serve(chaos: Chaos, told: Connection) -> None:
    """Serve until asked for what was counted; what happens to an item is the same for everyone."""

    def fault(received: Received) -> Fault | None:
        number = NUMBER.search(json.dumps(received.body["messages"]))
        return chaos(replace(received, body={"messages": number and number[1]}))

    with ChatServer(answer, faults=fault, record=False) as server:
        told.send(server.base_url)
        told.recv()
        told.send(server.stats())


@contextmanager
def started(work: Any, *arguments: Any) -> Iterator[Connection]:
    """A function in a process of its own, and the connection to it."""
    spawned = multiprocessing.get_context("spawn")
    here, there = spawned.Pipe()
    process = spawned.Process(target=work, args=(*arguments, there), daemon=True)
    process.start()
    there.close()
    try:
        yield here
    finally:
        here.close()
        process.join(5)
        process.terminate()


def measure(name: str, chaos: Chaos, items: int) -> dict[str, Any]:
    """The figures of one client in one pass."""
    with started(serve, chaos) as server:
        with started(ask, name, server.recv(), items) as client:
            try:
                found: dict[str, Any] = client.recv()
            except EOFError:
                sys.exit(f"{name} has failed; what it says is above")
        server.send("what was counted?")
        stats = server.recv()
    injected = sum(stats["injected"].values())
    return {
        "lost": items - found["whole"],
        "items_percent": 100 * found["whole"] / items,
        "slots_percent": 100 * found["right"] / items / len(SHAPES),
        "wrong_slots": found["wrong"],
        "requests": stats["count"],
        "injected": stats["injected"],
        "wasted": 100 * (stats["count"] - items) / items,
        "faults": 100 * injected / items,
        "errors": found["errors"],
        "seconds": found["seconds"],
    }


# --- the table --------------------------------------------------------------------------------


def show(kind: str, rows: dict[str, dict[str, Any]], items: int) -> None:
    """Print the rows of a pass."""
    print(f"\n{kind}: {items:,} items, {FLIGHT} in flight, time-out {TIMEOUT:g} s; " + ", ".join(
        f"{name} {rate:g} s" if name == "retry_after" else f"{name} {rate:.0%}"
        for name, rate in PASSES[kind].items()))  # fmt: skip
    print(f"{'':20}{'items':>9}{'slots':>9}{'wrong':>7}{'requests':>10}"
          f"{'wasted':>9}{'faults':>8}{'seconds':>9}")  # fmt: skip
    for name, row in rows.items():
        print(f"{name:20}{row['items_percent']:8.2f}%{row['slots_percent']:8.2f}%"
              f"{row['wrong_slots']:7}{row['requests']:10,}{row['wasted']:9.1f}{row['faults']:8.1f}"
              f"{row['seconds']:9.1f}")  # fmt: skip


def main() -> int:
    """Print the tables, or one JSON object; 1 if mtiprompt has lost an item."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--only", nargs="+", choices=ROWS, metavar="NAME", default=list(ROWS))
    parser.add_argument("--passes", default=",".join(PASSES), help="some of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kept = clean()
    os.environ.clear()
    os.environ.update(kept)  # for the processes started from here
    names = [name for name in options.only if all(map(find_spec, ROWS[name].imports))]
    found: dict[str, dict[str, Any]] = {}
    passes = options.passes.split(",")
    if unknown := [kind for kind in passes if kind not in PASSES]:
        parser.error(f"--passes: {unknown[0]!r} is none of {', '.join(PASSES)}")
    for kind in passes:
        chaos = Chaos(seed=options.seed, **PASSES[kind])
        found[kind] = {name: measure(name, chaos, options.items) for name in names}
        if not options.json:
            show(kind, found[kind], options.items)
    if options.json:
        print(json.dumps(found))
    return int(any(row["lost"] for rows in found.values() for name, row in rows.items()
                   if name in OURS))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
