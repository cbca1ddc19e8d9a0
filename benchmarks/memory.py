"""What mapping many rows takes: resident memory as a curve, and the library's own CPU a row.

    pip install -e .[bench]
    python benchmarks/memory.py [--rows 100000] [--litellm-rows 10000] [--cache] [--json]

Four tasks in one call are mapped over generated rows, 64 calls in flight, against a loopback server
in a process of its own; each result is read and dropped. Every measurement has a process of its
own.

- Memory, for `map` and `amap` over `direct/`, and for fewer rows over litellm: the resident memory
  at every twentieth of the rows. It must end within 10% or 20 MB of what it was at a tenth of them.
  With `--cache` replies are kept, in a temporary folder, and all rows mapped again, which are hits.
- CPU: blocks of rows in turns with blocks of the same requests, byte for byte, from the client
  alone (litellm; or aiohttp, for `map` as threads that wait for a session on a loop, as our direct
  model has it; for `amap` as tasks in one loop). The difference of the CPU time of the process is
  what the library takes for itself, from the row to the validated result; shown is the median over
  the pairs of blocks with its interval (95%, by ranks). Because litellm's own CPU wanders by more
  than what is looked for, the last column is what a row takes where the client gives a reply at
  once that it has given before. Target: 0.5 ms a row; it is missed where the last column or the
  whole interval is above.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from client import Server, clean
from client_adapters import MODEL, text
from faults import started

import mtiprompt as mti
from mtiprompt.models.deadline import background_loop

FLIGHT = 64
TARGET = 0.5
"""CPU milliseconds a row."""
SHARE, MARGIN = 1.1, 20.0
"""How much the memory may grow after the first tenth: by this factor, or by so many MB."""
SETTLE = 0.1
"""Seconds after a block for what a client does when its calls are over."""
ALONE = 2000
"""Rows for the last column."""
CASES = {
    f"{name} {way}": (provider, way)
    for name, provider in {"direct": "direct", "litellm": "openai"}.items()
    for way in ("map", "amap")
}
STATM = Path("/proc/self/statm")
PLACE = "{the text of a row}"


def resident() -> float:
    """The resident memory in MB; where the system does not tell, the most that it ever was."""
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * resource.getpagesize() / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


# --- the two sides ----------------------------------------------------------------------------


class Ours:
    """A program of four tasks."""

    program = mti.combine(
        "text -> sentiment: Literal['positive', 'negative', 'mixed']",
        "text -> topic: Literal['billing', 'quality', 'delivery', 'other']",
        "text -> product",
        "text -> tags: list[str]",
    )

    def __init__(self, provider: str, url: str, cache: str = "") -> None:
        self._model = mti.Model(
            f"{provider}/{MODEL}", api_base=url, api_key="k", cache=cache or False
        )

    def map(self, first: int, number: int, seen: Callable[[int], None]) -> None:
        """Map so many rows; tells the number of each result."""
        results = self.program.map(rows(first, number), model=self._model, concurrency=FLIGHT)
        for place, result in enumerate(results, start=1):
            check(result)
            seen(place)

    def amap(self, first: int, number: int, seen: Callable[[int], None]) -> None:
        """The same by `amap`."""

        async def read() -> None:
            taken = self.program.amap(rows(first, number), model=self._model, concurrency=FLIGHT)
            place = 0
            async for result in taken:
                place += 1
                check(result)
                seen(place)

        asyncio.run(read())


def rows(first: int, number: int) -> Iterator[dict[str, str]]:
    """So many rows."""
    return ({"text": text(place)} for place in range(first, first + number))


def check(result: mti.Result) -> None:
    """End the benchmark at a result that is not whole."""
    if result.failures:
        sys.exit(f"a slot has failed: {result.failures}")


class Bare:
    """The same requests from the client alone."""

    def __init__(self, provider: str, url: str) -> None:
        echo = mti.EchoModel()
        Ours.program(text=PLACE, model=echo)
        [request] = echo.requests
        schema = request.schema
        assert schema is not None
        self._messages = [(one.role, one.content) for one in request.messages]
        named = {"name": schema.name, "strict": schema.strict, "schema": json.loads(schema.text)}
        form = {"type": "json_schema", "json_schema": named}
        self._fixed: dict[str, Any] = {"model": MODEL, "response_format": form}
        self._url = f"{url}/chat/completions"
        self._loop = background_loop()  # litellm's worker for logs stumbles over a second loop
        self._litellm: Any = None
        self._session: Any = None
        if provider != "direct":
            self._litellm = import_module("litellm")
            own = {"api_base": url, "api_key": "k", "max_retries": 0, "timeout": 60}
            self._fixed |= {"model": f"{provider}/{MODEL}", **own}

    def _body(self, place: int) -> dict[str, Any]:
        shown = text(place)
        messages = [{"role": role, "content": content.replace(PLACE, shown)}
                    for role, content in self._messages]  # fmt: skip
        return {**self._fixed, "messages": messages}

    def map(self, first: int, number: int, seen: Callable[[int], None]) -> None:
        """So many requests from threads."""
        with ThreadPoolExecutor(FLIGHT) as pool:
            for _ in pool.map(self._one, range(first, first + number)):
                pass

    def amap(self, first: int, number: int, seen: Callable[[int], None]) -> None:
        """So many requests from tasks."""

        async def lanes() -> None:
            left = iter(range(first, first + number))

            async def lane() -> None:
                for place in left:
                    await self._aone(place)

            await asyncio.gather(*(lane() for _ in range(FLIGHT)))

        self._on_loop(lanes())

    def _one(self, place: int) -> None:
        if self._litellm:
            self._litellm.completion(**self._body(place))
        else:
            self._on_loop(self._aone(place))

    def _on_loop(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _aone(self, place: int) -> None:
        if self._litellm:
            await self._litellm.acompletion(**self._body(place))
            return
        aiohttp: Any = import_module("aiohttp")
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        async with self._session.post(self._url, json=self._body(place)) as response:
            json.loads(await response.read())


# --- what runs in processes of their own ------------------------------------------------------


def curve(provider: str, way: str, url: str, number: int, cached: bool, told: Connection) -> None:
    """Tell the resident memory at every twentieth of the rows, and the seconds for them."""
    every = max(1, number // 20)
    taken: list[tuple[int, float]] = []

    def seen(place: int) -> None:
        if place % every == 0:
            taken.append((place, resident()))

    with tempfile.TemporaryDirectory() if cached else nullcontext("") as folder:
        run = getattr(Ours(provider, url, folder), way)
        began = time.perf_counter()
        run(0, number, seen)
        seconds = time.perf_counter() - began
        if cached:
            run(0, number, lambda place: seen(number + place))
    told.send({"curve": taken, "seconds": seconds})
    told.close()
    os._exit(0)  # without the complaints about connections that nobody has closed


def cpu(provider: str, way: str, url: str, block: int, pairs: int, told: Connection) -> None:
    """Tell the CPU milliseconds a row of both sides, for each pair of blocks."""
    sides = [getattr(side(provider, url), way) for side in (Ours, Bare)]
    for work in sides:
        work(0, 4 * FLIGHT, lambda _: None)
    taken: list[list[float]] = []
    for pair in range(pairs):
        took = [0.0, 0.0]
        for side in (0, 1) if pair % 2 else (1, 0):
            began = time.process_time()
            sides[side](pair * block, block, lambda _: None)
            time.sleep(SETTLE)
            took[side] = (time.process_time() - began) / block * 1e3
        taken.append(took)
    keep_reply(provider, way)
    sides[0](0, 1, lambda _: None)
    began = time.process_time()
    sides[0](0, ALONE, lambda _: None)
    alone = (time.process_time() - began) / ALONE * 1e3
    told.send({"taken": taken, "alone": alone})
    told.close()
    os._exit(0)


def keep_reply(provider: str, way: str) -> None:
    """From now on the client library gives its next reply for ever."""
    if provider == "direct":
        library, name = import_module("mtiprompt.models.direct.http"), "post"
    else:
        library, name = import_module("litellm"), "completion" if way == "map" else "acompletion"
    ask = getattr(library, name)
    kept: list[Any] = []

    def once(*arguments: Any, **options: Any) -> Any:
        if not kept:
            kept.append(ask(*arguments, **options))
        return kept[0]

    async def aonce(*arguments: Any, **options: Any) -> Any:
        if not kept:
            kept.append(await ask(*arguments, **options))
        return kept[0]

    setattr(library, name, once if name == "completion" else aonce)


def from_process(work: Callable[..., None], *arguments: Any) -> Any:
    """What a function tells that runs in a process of its own."""
    with started(work, *arguments) as told:
        try:
            return told.recv()
        except EOFError:
            sys.exit("a measurement has failed; what it says is above")


# --- the figures ------------------------------------------------------------------------------


def memory_of(provider: str, way: str, url: str, number: int, *, cached: bool) -> dict[str, Any]:
    """The curve of one way, and whether it is flat."""
    found = from_process(curve, provider, way, url, number, cached)
    early, late = found["curve"][1][1], found["curve"][-1][1]
    is_flat = late <= max(early * SHARE, early + MARGIN)
    rate = number / found["seconds"]
    return {**found, "early": early, "late": late, "rate": rate, "met": is_flat}


def cpu_of(provider: str, way: str, url: str, block: int, pairs: int) -> dict[str, Any]:
    """The CPU a row of one way, of the client alone, and the difference."""
    found = from_process(cpu, provider, way, url, block, pairs)
    taken, alone = found["taken"], found["alone"]
    own = sorted(ours - bare for ours, bare in taken)
    ours, bare = (median(side) for side in zip(*taken, strict=True))
    tail = max(0, int(pairs / 2 - pairs**0.5))
    interval = [own[tail], own[-1 - tail]]
    return {"whole": ours, "bare": bare, "own": median(own), "interval": interval, "alone": alone,
            "met": max(interval[0], alone) <= TARGET}  # fmt: skip


def drawn(name: str, row: dict[str, Any]) -> str:
    """A curve as text."""
    most = max(size for _, size in row["curve"])
    bars = [f"  {place:>9,} {size:7.1f} MB  {'#' * round(50 * size / most)}"
            for place, size in row["curve"]]  # fmt: skip
    grown = row["late"] - row["early"]
    verdict = f"  {grown:+.1f} MB after the first tenth: {'flat' if row['met'] else 'IT GROWS'}"
    return "\n".join([f"{name}: {row['rate']:,.0f} rows/s", *bars, verdict, ""])


HEAD = f"{'CPU ms a row':16}{'whole':>9}{'bare':>9}{'own':>9}{'(95%)':>20}{'alone':>9}"


def line(name: str, row: dict[str, Any]) -> str:
    """The CPU of one way as text."""
    interval = "({:.3f} to {:.3f})".format(*row["interval"])
    figures = "".join(f"{row[one]:9.3f}" for one in ("whole", "bare", "own"))
    verdict = "" if row["met"] else "   TOO MUCH"
    return f"{name:16}{figures}{interval:>20}{row['alone']:9.3f}{verdict}"


def main() -> int:
    """Print the curves and the CPU a row, or one JSON object; 1 if a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000, help="0: no curves over direct/")
    parser.add_argument("--litellm-rows", type=int, default=10_000, help="0: none over litellm")
    parser.add_argument("--block", type=int, default=250, help="rows in a block")
    parser.add_argument("--pairs", type=int, default=40, help="pairs of blocks; 0: no CPU")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", default=list(CASES))
    parser.add_argument("--cache", action="store_true", help="keep replies in the curves")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kept = clean()
    os.environ.clear()
    os.environ.update(kept)  # for the processes started from here
    number = {"direct": options.rows, "openai": options.litellm_rows}
    memory: dict[str, Any] = {}
    busy: dict[str, Any] = {}
    say = (lambda *_: None) if options.json else print
    server = Server(0)
    try:
        for name in options.only:
            provider, way = CASES[name]
            if rows := number[provider]:
                memory[name] = memory_of(provider, way, server.url, rows, cached=options.cache)
                say(drawn(name, memory[name]))
        say(HEAD if options.pairs else "")
        for name in options.only if options.pairs else ():
            busy[name] = cpu_of(*CASES[name], server.url, options.block, options.pairs)
            say(line(name, busy[name]))
    finally:
        server.close()
    if options.json:
        print(json.dumps({"memory": memory, "cpu": busy}))
    return int(not all(row["met"] for row in [*memory.values(), *busy.values()]))


if __name__ == "__main__":
    sys.exit(main())
