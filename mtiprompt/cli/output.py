"""Where things are printed: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import IO, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

STYLES = {"error": "bold red", "warning": "yellow", "interrupted": "bold yellow"}


class Interrupted(Exception):
    """The user stopped the command; the message says what is kept and how to go on."""


def out() -> Console:
    """Standard output as it is now."""
    return Console(highlight=False)


def err() -> Console:
    """Standard error as it is now."""
    return Console(stderr=True, highlight=False)


def complain(kind: str, text: str = "") -> None:
    """Say in one line on standard error what is wrong."""
    words = Text(kind, STYLES[kind])
    if text:
        words.append(": ", STYLES[kind]).append(" ".join(text.split()), "default")
    err().print(words, soft_wrap=True)


def note(text: str) -> None:
    """Say something on standard error that is no part of the result."""
    err().print(text, soft_wrap=True, markup=False)


def counted(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def emit(value: dict[str, Any]) -> None:
    """Print a result as the one JSON object of standard output."""
    plain = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
    sys.stdout.write(json.dumps(value, ensure_ascii=not plain, indent=2) + "\n")


@contextmanager
def results_only() -> Iterator[IO[str]]:
    """Keep standard output for results: what the code inside prints goes to standard error.

    Yields:
        Standard output.
    """
    standard = sys.stdout
    with redirect_stdout(sys.stderr):
        yield standard


class _RowsPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        """The speed, once it is known."""
        return Text(f"{task.speed:.2f} rows/s" if task.speed else "", "cyan")


def rows_progress() -> Progress:
    """A bar for rows with their speed and the remaining time; nothing unless on a terminal."""
    console = err()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RowsPerSecond(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=120,
    )


def bytes_progress() -> Progress:
    """A bar for a download; nothing unless on a terminal."""
    console = err()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
