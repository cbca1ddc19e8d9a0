"""What the tests of the reply cache share."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mtiprompt.models.cache import CachedModel, ReplyCache
from mtiprompt.models.fakes import FunctionModel
from mtiprompt.wire import Message, Request

HELLO = Request((Message("user", "Hello"),))
ROOT = Path(__file__).resolve().parents[1]
LONG = "long " * 20_000
"""Longer than what diskcache keeps in a row, and than what is kept in memory."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the cache will be; it does not exist yet."""
    return tmp_path / "replies"


@pytest.fixture
def replies(folder: Path) -> Iterator[ReplyCache]:
    """A cache of its own."""
    made = ReplyCache(folder)
    yield made
    made.close()


@contextmanager
def database(folder: Path) -> Iterator[sqlite3.Connection]:
    """The database of a cache, to be tampered with."""
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        yield connection


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings that the cache has logged."""
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


def works_on(replies: ReplyCache) -> None:
    """A model behind the cache answers as if it were not there."""
    model = CachedModel(FunctionModel(lambda request: "yes"), replies)
    for _ in range(3):
        reply = model.complete(HELLO)
        assert reply.text == "yes"
        model.keep(HELLO, reply)
    assert asyncio.run(model.acomplete(HELLO)).text == "yes"


def start(program: str, *words: object, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A process of its own with a program and its words."""
    return subprocess.Popen(
        [*before, sys.executable, "-c", program, *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process: subprocess.Popen[str]) -> str:
    """What a process printed, once it has ended well and said nothing else."""
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    return out
