"""What the client costs: mtiprompt beside raw HTTP, litellm, instructor and DSPy.

A loopback server in a process of its own answers every client; so the times are the clients' own.
Every client has a process of its own, and the clients take turns in rounds, so that what else the
machine does meets all of them: compare the ratios, which are medians over the rounds of the ratio
to litellm in the same round. The server counts, and a call that was answered from elsewhere, or
sent twice, ends the benchmark.

    pip install -e .[bench]
    python benchmarks/client.py [--rounds N] [--only NAME ...] [--phases cold,sync,async,cache]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import ProxyHandler, build_opener

from client_adapters import ADAPTERS, CACHED

PHASES = ("cold", "sync", "async", "cache")
BASE = "litellm"
DELAY, FLIGHT, EQUAL, STORED = 0.05, 64, 32, 50
"""Seconds of the server's delay, calls in flight, equal calls, texts in the cache."""

Figures = dict[str, dict[str, Any]]
"""Client to figure to value."""


class Server:
    """The loopback server, in a process of its own."""

    def __init__(self, delay: float) -> None:
        command = [sys.executable, "-m", "mtiprompt.testing", "--delay", str(delay)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean())
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()

    def count(self) -> int:
        """The requests that have arrived."""
        address = self.url.removesuffix("/v1") + "/stats"
        with build_opener(ProxyHandler({})).open(address) as answer:
            return int(json.load(answer)["count"])

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()

    @contextmanager
    def expecting(self, name: str, number: int) -> Iterator[None]:
        """Make sure that so many requests arrive."""
        before = self.count()
        yield
        came = self.count() - before
        if came != number:
            sys.exit(f"{name}: {came} requests arrived where {number} were due")


class Client:
    """One client, in a process of its own."""

    def __init__(self, name: str, kind: str = "none", folder: str = "") -> None:
        here = Path(__file__).with_name("client_adapters.py")
        self._process = subprocess.Popen(
            [sys.executable, str(here), name, kind, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean(),
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def tell(self, what: str, **arguments: Any) -> Any:
        """Have it do something; gives what came of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self._process.stdin.flush()
        if not (line := self._process.stdout.readline()):
            sys.exit("a client has failed; what it says is above")
        return json.loads(line)


def clean() -> dict[str, str]:
    """The environment without addresses, keys and proxies, and litellm's download switched off."""
    unwanted = re.compile(r"proxy|_API_|_BASE|^MTIPROMPT_CACHE|^DSPY_", re.IGNORECASE)
    kept = {name: value for name, value in os.environ.items() if not unwanted.search(name)}
    own = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
    return kept | own | {"MTIPROMPT_ALLOW_REQUESTS": "0"}


# --- the phases -------------------------------------------------------------------------------


def cold(names: list[str], rounds: int, server: Server) -> Figures:
    """Import, and import to first answer, in fresh processes."""
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name in names:
            with Client(name) as client, server.expecting(name, 1):
                figures = client.tell("cold", url=server.url)
            if turn:  # the first warms the disk's cache
                seen[name].append(figures)
    return {
        name: {
            "import_ms": median(one["import"] for one in all_of) * 1e3,
            "first_ms": median(one["first"] for one in all_of) * 1e3,
        }
        for name, all_of in seen.items()
    }


def in_turns(
    names: list[str], rounds: int, server: Server, what: str, warm: int, **arguments: Any
) -> dict[str, list[Any]]:
    """What each client does in each round, after a warm-up."""
    seen: dict[str, list[Any]] = {name: [] for name in names}
    with ExitStack() as open_clients:
        clients = {name: open_clients.enter_context(Client(name)) for name in names}
        number, first = arguments["number"], 0
        for turn in range(rounds + 1):
            arguments["number"] = number if turn else warm
            for name, client in clients.items():
                with server.expecting(name, arguments["number"]):
                    done = client.tell(what, url=server.url, first=first, **arguments)
                if turn:
                    seen[name].append(done)
                time.sleep(0.05)  # what a client still does after its calls disturbs no other
            first += arguments["number"]
    return seen


def sync(names: list[str], rounds: int, server: Server, calls: int) -> Figures:
    """One call at a time, at a server that answers at once."""
    names = [name for name in names if hasattr(ADAPTERS[name], "call")]
    seen = in_turns(names, rounds, server, "one", 50, number=calls)
    middle = {name: [median(turn) for turn in turns] for name, turns in seen.items()}
    return {
        name: {"sync_us": median(turns) * 1e6, "sync_ratio": ratio(turns, middle.get(BASE))}
        for name, turns in middle.items()
    }


def many(names: list[str], rounds: int, server: Server, calls: int) -> Figures:
    """Many calls at the same time, at a server that takes its time."""
    seen = in_turns(names, rounds, server, "many", 2 * FLIGHT, number=calls, flight=FLIGHT)
    rates = {name: [turn["rate"] for turn in turns] for name, turns in seen.items()}
    return {
        name: {
            "async_rate": median(rates[name]),
            "async_ratio": ratio(rates[name], rates.get(BASE)),
            "async_cpu_us": median(turn["cpu"] for turn in turns) * 1e6,
        }
        for name, turns in seen.items()
    }


def cache(names: list[str], rounds: int, server: Server) -> Figures:
    """Hits of both kinds, and the requests that equal calls at the same time send."""
    figures: Figures = {name: {} for name in names if name in CACHED}
    for name, row in figures.items():
        with tempfile.TemporaryDirectory() as folder, Client(name, "memory", folder) as client:
            before = server.count()
            client.tell("equal", url=server.url, number=EQUAL)
            row["equal_sent"] = server.count() - before
            row["memory_us"] = hits(name, rounds, server, client)
        with tempfile.TemporaryDirectory() as folder:
            with Client(name, "disk", folder) as writer:
                fill(name, server, writer)
            # a new process has nothing in memory; the first calls pay for what is loaded late
            with Client(name, "disk", folder) as reader, server.expecting(name, 0):
                seconds = reader.tell("one", url=server.url, first=0, number=STORED)
            row["disk_us"] = median(seconds) * 1e6
    return figures


def fill(name: str, server: Server, client: Client) -> None:
    """Store some texts."""
    with server.expecting(name, STORED):
        client.tell("one", url=server.url, first=0, number=STORED)


def hits(name: str, rounds: int, server: Server, client: Client) -> float:
    """The median of stored texts, in microseconds."""
    fill(name, server, client)
    with server.expecting(name, 0):
        turns: list[float] = [
            median(client.tell("one", url=server.url, first=0, number=STORED))
            for _ in range(rounds)
        ]
    return median(turns) * 1e6


def ratio(turns: list[float], base: list[float] | None) -> float | None:
    """The median over the rounds of the ratio to the base; None without a base."""
    return median(a / b for a, b in zip(turns, base, strict=True)) if base else None


# --- the table --------------------------------------------------------------------------------

COLUMNS = {
    "sync_us": ("one call us", "{:,.0f}"),
    "sync_ratio": ("x litellm", "{:.2f}"),
    "async_rate": ("calls/s", "{:,.0f}"),
    "async_ratio": ("x litellm", "{:.2f}"),
    "async_cpu_us": ("CPU us", "{:,.0f}"),
    "import_ms": ("import ms", "{:,.0f}"),
    "first_ms": ("first answer ms", "{:,.0f}"),
    "equal_sent": (f"{EQUAL} equal: sent", "{}"),
    "memory_us": ("memory hit us", "{:,.0f}"),
    "disk_us": ("disk hit us", "{:,.0f}"),
}


def table(figures: Figures) -> str:
    """All figures, a row for each client."""
    used = [one for one in COLUMNS if any(row.get(one) is not None for row in figures.values())]
    lines = [f"{'client':<20}" + "".join(f"{COLUMNS[one][0]:>17}" for one in used)]
    for name, row in figures.items():
        cells = ("-" if row.get(one) is None else COLUMNS[one][1].format(row[one]) for one in used)
        lines.append(f"{name:<20}" + "".join(f"{cell:>17}" for cell in cells))
    return "\n".join(lines)


def chosen(only: list[str] | None) -> list[str]:
    """The clients to compare; those that are not installed are left out."""
    if unknown := sorted(set(only or ()) - set(ADAPTERS)):
        sys.exit(f"--only: {unknown[0]!r} is none of {', '.join(ADAPTERS)}")
    names = []
    for name in only or list(ADAPTERS):
        if missing := [one for one in ADAPTERS[name].imports if find_spec(one) is None]:
            print(f"left out: {name} ({missing[0]} is not installed)", file=sys.stderr)
        else:
            names.append(name)
    return names


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure what the client costs.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds in each phase")
    parser.add_argument("--calls", type=int, default=200, help="sync calls in a round")
    parser.add_argument("--load", type=int, default=640, help="async calls in a round")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=", ".join(ADAPTERS))
    parser.add_argument("--phases", default=",".join(PHASES), help="some of them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    phases = given.phases.split(",")
    if unknown := sorted(set(phases) - set(PHASES)):
        parser.error(f"--phases: {unknown[0]!r} is none of {', '.join(PHASES)}")
    names = chosen(given.only)
    figures: Figures = {name: {} for name in names}
    quick, slow = Server(0), Server(DELAY)
    measured = {
        "sync": lambda: sync(names, given.rounds, quick, given.calls),
        "async": lambda: many(names, given.rounds, slow, given.load),
        "cold": lambda: cold(names, given.rounds, quick),
        "cache": lambda: cache(names, given.rounds, quick),
    }
    try:
        for phase in (one for one in measured if one in phases):
            for name, row in measured[phase]().items():
                figures[name] |= row
    finally:
        quick.close()
        slow.close()
    print(f"{given.rounds} rounds; async: {FLIGHT} in flight, {DELAY * 1e3:.0f} ms at the server")
    print(table(figures))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
