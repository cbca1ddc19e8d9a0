"""`python -m mtiprompt.testing`: the chat server as a process of its own, for benchmarks."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import fields

from mtiprompt.errors import DataError
from mtiprompt.testing.chaos import Chaos
from mtiprompt.testing.server import ChatServer

RATES = [one for one in fields(Chaos) if one.init]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal ends it; the base URL is written to standard output, on one line.

    Returns:
        0 after an interrupt or a termination, 2 if the server cannot be started.
    """
    given = _parser().parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        chaos = Chaos(**{one.name: getattr(given, one.name) for one in RATES})
        server = ChatServer(
            faults=chaos,
            model=given.model,
            delay=given.delay,
            pieces=given.pieces,
            pause=given.pause,
            prefix_cache=given.prefix_cache,
            record=False,
            port=given.port,
        )
        with server:
            sys.stdout.write(f"{server.base_url}\n")
            sys.stdout.flush()
            stop.wait()
    except (DataError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mtiprompt.testing",
        description="A loopback server that speaks OpenAI's chat completions and satisfies the "
        "schema it is sent. GET /stats gives the requests and faults so far.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--model", help="the name of the model; else the name asked for")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--pieces", type=int, default=8, help="characters in a piece of a stream")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between the pieces")
    parser.add_argument("--prefix-cache", action="store_true", help="report cached tokens")
    rates = parser.add_argument_group("faults", "see mtiprompt.testing.Chaos")
    for one in RATES:
        kind = int if one.name == "seed" else float
        option = f"--{one.name.replace('_', '-')}"
        rates.add_argument(option, type=kind, default=one.default, metavar="N")
    return parser


if __name__ == "__main__":
    sys.exit(main())
