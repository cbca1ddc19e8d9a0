"""`mtiprompt run` writes over nothing that it reads, and adds nothing to it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt.testing import ChatServer
from tests.conftest_commands import PROCESS, Run, check_refused, small_set

COMMAND = "run"
PROGRAM = 'import mtiprompt as mti\n\nmood = mti.combine("text -> mood: str")\n'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two rows, and their task."""
    return small_set(tmp_path, ["mood"], [{"text": "a"}, {"text": "b"}])


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """A chat server that answers."""
    with ChatServer(lambda _: json.dumps({"mood": "yes"})) as server:
        yield server


@pytest.mark.parametrize("traced", [True, False])
@pytest.mark.parametrize("name", ["small.jsonl", "small.task.json", "mood.py", "plan.json"])
def test_writes_over_nothing_that_it_reads(
    run: Run,
    data: Path,
    server: ChatServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    traced: bool,
) -> None:
    """Neither the output nor a trace goes where rows, tasks, a program or a plan come from, be it
    by a link, with `--force` too; else a run reads the trace of its own calls without end.
    """
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # beside the program
    (tmp_path / "mood.py").write_text(PROGRAM)
    program = "mood.py:mood" if name == "mood.py" else "small.task.json"
    words = [program, "DATA", "--force"]
    if name == "plan.json":
        tasks = mti.Task.from_json_schema(tmp_path / "small.task.json")
        mti.Plan.fused(mti.combine(*tasks)).save(tmp_path / name)
        words += ["--plan", name]
    (tmp_path / "link.jsonl").symlink_to(name)
    if traced:
        monkeypatch.setenv("MTIPROMPT_TRACE", "link.jsonl")
    words += ["-o", "out.jsonl" if traced else "link.jsonl"]
    before = (tmp_path / name).read_bytes()
    check_refused(run, words, "error: link.jsonl is input and output at once", data, server)
    assert (tmp_path / name).read_bytes() == before


def test_standard_streams_are_files_too(
    data: Path, server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`< FILE` and `>> FILE` are refused where they lead back; a device at both ends is not."""
    command = [sys.executable, "-c", PROCESS, server.base_url, "run", "small.task.json"]

    def done(source: str, **streams: Any) -> tuple[int, str]:
        words = [*command, source, "-o", "-"]
        ended = subprocess.run(
            words, cwd=tmp_path, text=True, stderr=subprocess.PIPE, check=False, **streams
        )
        return ended.returncode, ended.stderr

    before = data.read_bytes()
    with data.open("a") as file:
        code, said = done("small.jsonl", stdout=file)
    assert (code, said.count("\n")) == (2, 1)
    assert "/dev/stdout is input and output at once" in said
    assert done("-", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)[0] == 0
    monkeypatch.setenv("MTIPROMPT_TRACE", "small.jsonl")
    with data.open() as file:
        code, said = done("-", stdin=file, stdout=subprocess.DEVNULL)
    assert (code, said.count("\n")) == (2, 1)
    assert "small.jsonl is input and output at once" in said
    assert (server.count, data.read_bytes()) == (0, before)
