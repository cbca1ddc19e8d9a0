"""Commands of the command line, answered by a server of the test, in this process or in another."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import mtiprompt as mti
from mtiprompt.cli import main
from mtiprompt.testing import ChatServer

PROCESS = """
import sys
import mtiprompt as mti
from mtiprompt.cli import main

model = mti.Model("direct/any", api_base=sys.argv[1], api_key="k", cache=False)
with mti.using(model=model):
    sys.exit(main(sys.argv[2:]))
"""
"""A command in a process of its own, without the seconds that litellm takes to be imported."""


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


def model_at(server: ChatServer, **options: Any) -> mti.Model:
    """A model that asks the server, without a cache."""
    return mti.Model("direct/any", api_base=server.base_url, api_key="k", cache=False, **options)


def small_set(folder: Path, tasks: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> Path:
    """The set `small`: a text, and tasks whose answer is yes or no."""
    about = {
        "title": "Small",
        "inputs": [{"name": "text", "description": "a text"}],
        "subtasks": [
            {"name": name, "instruction": f"The {name}?", "metric": "exact", "depends_on": [],
             "output_schema": {"type": "string", "enum": ["yes", "no"]}}
            for name in tasks
        ],
    }  # fmt: skip
    (folder / "small.task.json").write_text(json.dumps(about))
    path = folder / "small.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def run(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    server: ChatServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs the `COMMAND` of the test's module in a folder of its own, answered by its `server`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def command(*words: object) -> Done:
        with mti.using(model=model_at(server)):
            code = main([request.module.COMMAND, *map(str, words)])
        return Done(code, *capsys.readouterr())

    return command


def start(folder: Path, server: ChatServer, *words: object) -> subprocess.Popen[str]:
    """Starts a command in a process of its own; `finish` waits for it."""
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, server.base_url, *map(str, words)],
        cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> Done:
    """What a command did that was started."""
    out, err = process.communicate(timeout=60)
    return Done(process.returncode, out, err)


def check_refused(run: Run, words: Sequence[str], says: str, data: Path, asked: ChatServer) -> None:
    """It is one line and exit code 2; nothing is written and nobody asked.

    `DATA` among the words stands for the path of the set.
    """
    before = sorted(data.parent.iterdir())
    done = run(*[data if one == "DATA" else one for one in words])
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert done.err.count("\n") == 1
    assert (asked.count, sorted(data.parent.iterdir())) == (0, before)
