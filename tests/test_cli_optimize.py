"""`mtiprompt optimize` over real HTTP: the plan, the report, an interrupt, and what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import mtiprompt as mti
from mtiprompt.cli import main
from mtiprompt.dataset import Dataset
from mtiprompt.testing import ChatServer, Fault, Received
from tests.conftest_commands import (
    Done,
    Run,
    check_refused,
    finish,
    model_at,
    small_set,
    start,
)
from tests.test_optimize import GOOD, TASKS, of_server, rows, texts

COMMAND = "optimize"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """8 rows in train, 80 in dev; two tasks of which the answer is always yes."""
    splits = {"train": 8, "dev": 80}
    made = [{**row, "split": split} for split, n in splits.items() for row in rows(split, n)]
    return small_set(tmp_path, TASKS, made)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """A chat server that two demonstrations help."""
    with ChatServer(of_server) as server:
        yield server


def test_the_plan_that_is_written_runs(
    run: Run, data: Path, tmp_path: Path, server: ChatServer
) -> None:
    """It shows what helps, the report tells of it, and the tables fit 80 columns."""
    done = run(data, "--budget", 300, "-o", "tuned.json", "--concurrency", 2)
    assert done.code == 0, done.err
    assert server.count <= 300
    plan = mti.Plan.load(tmp_path / "tuned.json")
    assert texts(plan) >= set(GOOD)
    Dataset.load(data).program(text="New.", plan=plan, model=model_at(server)).unwrap()
    assert "Better: demos " in done.out
    assert "fresh pairs" in done.out
    assert "demo train1" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    page = (tmp_path / "mtiprompt-optimize" / "report.html").read_text()
    for heading in ("best so far", "gain against cost", "what each task gains", "effects"):
        assert f"small: {heading}" in page


def test_figures(run: Run, data: Path, tmp_path: Path, server: ChatServer) -> None:
    """Standard output is one JSON object, the same as on disk; again, it is had for nothing."""
    words = (data, "--budget", 150, "--json", "--record", "out", "--seed", 3)
    value = json.loads(run(*words).out)
    kept = json.loads((tmp_path / "out" / "results.json").read_text())
    assert value == kept | {"report": "out/report.html"}
    assert value["spent"]["calls"] == server.count <= 150
    again = json.loads(run(*words).out)
    assert again == value | {"command": again["command"]}
    assert server.count == value["spent"]["calls"]


def test_the_rule_is_passed_on(run: Run, data: Path) -> None:
    """What was asked for stands in the figures, and the verdict is told in its words."""
    words = (data, "--budget", 60, "--rule", "expected", "--p", 0.8)
    value = json.loads(run(*words, "--json").out)
    assert (value["rule"], value["p"]) == ("expected", 0.8)
    assert "a gain has probability" in value["reason"]


def test_a_dry_run_makes_no_call(run: Run, data: Path, tmp_path: Path, server: ChatServer) -> None:
    """It says what a search would take, in dollars at the price of a model, and writes nothing."""
    before = sorted(tmp_path.iterdir())
    words = (data, "--budget", 200, "--dry-run", "--limit", 60, "--price", "gpt-4o-mini")
    told = run(*words)
    assert (told.code, told.out) == (0, "")
    assert "At most 200 calls" in told.err
    assert "US dollars" in told.err
    value = json.loads(run(*words, "--json").out)
    assert (value["calls"], value["searched"] + value["fresh"], value["pool"]) == (200, 60, 8)
    assert 0 < value["dollars"] < 0.1
    assert (server.count, sorted(tmp_path.iterdir())) == (0, before)


def test_a_dry_run_tells_what_is_selected_from(run: Run, data: Path) -> None:
    """How many rows those for single items come from is said beside the fixed demonstrations."""
    words = (data, "--budget", 200, "--dry-run", "--pool", 3)
    said = " ".join(run(*words).err.split())
    assert "and 3 demonstrations, and 8 to select from for each item. No call" in said
    value = json.loads(run(*words, "--json").out)
    assert (value["pool"], value["shelf"]) == (3, 8)
    fixed = (*words, "--vary", "demos,order")
    assert "and 3 demonstrations. No call" in " ".join(run(*fixed).err.split())
    assert json.loads(run(*fixed, "--json").out)["shelf"] == 0


def test_dollars_bound_the_calls(run: Run, data: Path, server: ChatServer) -> None:
    """What the price makes of them is told before; without a price they are no bound."""
    words = (data, "--budget", 200, "--dollars", 0.003, "--dry-run", "--limit", 60)
    value = json.loads(run(*words, "--json", "--price", "gpt-4o-mini").out)
    assert 0 < value["calls"] < 200
    assert value["dollars"] <= 0.003
    refused = run(*words)
    assert refused.code == 2
    assert "dollars are no number of calls" in refused.err
    assert server.count == 0


def test_a_saved_plan_is_improved_on(run: Run, data: Path, tmp_path: Path) -> None:
    """The plan that is given is the one to come back, and its calls stay as they are."""
    program = Dataset.load(data).program
    mti.Plan.split(program).save(tmp_path / "split.json")
    done = run(data, "--budget", 120, "--plan", "split.json", "--vary", "demos", "--json")
    assert done.code == 0, done.err
    groups = [group.tasks for group in mti.Plan.load(tmp_path / "plan.json").call_groups]
    assert groups == [("mood",), ("size",)]


def test_an_interrupt_pays_nothing_twice(data: Path, tmp_path: Path) -> None:
    """Ctrl-C in a real process, then the same command: only the call under way is asked again."""
    process: list[subprocess.Popen[str]] = []

    def stops(received: Received) -> str:
        if received.number == 60:
            process[-1].send_signal(signal.SIGINT)
        return of_server(received)

    with ChatServer(stops) as server:
        done: list[Done] = []
        for _ in range(2):
            process.append(start(tmp_path, server, COMMAND, data, "--budget", 200, "--json"))
            done.append(finish(process[-1]))
        paid = server.count
    stopped, whole = done
    assert (stopped.code, stopped.out) == (130, "")
    assert "goes on from there" in stopped.err
    assert whole.code == 0, whole.err
    spent = json.loads(whole.out)["spent"]["calls"]
    assert spent <= paid <= spent + 1


def test_an_outage_is_one_line(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Calls that fail for good end the search with exit code 1, and say how to go on."""
    monkeypatch.chdir(tmp_path)

    def faults(received: Received) -> Fault:
        return Fault(status=503 if received.number >= 40 else 200)

    with (
        ChatServer(of_server, faults=faults) as server,
        mti.using(model=model_at(server, retries=0)),
    ):
        code = main(["optimize", str(data), "--budget", "200"])
    said = capsys.readouterr()
    assert (code, said.out) == (1, "")
    assert said.err.count("\n") == 1
    assert "run it again, it goes on from there" in said.err
    assert not (tmp_path / "plan.json").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none.jsonl", "--budget", "90"], "no such file"),
        (["DATA"], "missing option '--budget'"),
        (["DATA", "--budget", "0"], "--budget"),
        (["DATA", "--budget", "3"], "too few to search"),
        (["DATA", "--budget", "90", "-o", "absent/plan.json"], "there is no folder absent"),
        (["DATA", "--budget", "90", "-o", "."], "is a folder"),
        (["DATA", "--budget", "90", "--vary", "colour"], "'colour' cannot be varied"),
        (["DATA", "--budget", "90", "--vary", ""], "nothing is varied"),
        (["DATA", "--budget", "90", "--alpha", "2"], "alpha is 2.0"),
        (["DATA", "--budget", "90", "--prune", "1"], "prune is 1.0"),
        (["DATA", "--budget", "90", "--rule", "hope"], "guarantee"),
        (["DATA", "--budget", "90", "--p", "1"], "p is 1.0"),
        (["DATA", "--budget", "90", "--plan", "none.json"], "none.json"),
        (["DATA", "--budget", "90", "--price", "nobody/knows"], "no price for 'nobody/knows'"),
        (["DATA", "--budget", "90", "--limit", "1"], "too few"),
    ],
)
def test_refuses(run: Run, data: Path, server: ChatServer, words: list[str], says: str) -> None:
    """What makes no sense is one line and exit code 2; nothing is written and nobody asked."""
    check_refused(run, words, says, data, server)
