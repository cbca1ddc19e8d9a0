"""`mtiprompt optimize` over real HTTP: the plan, the report, an interrupt, and what it refuses."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import mtiprompt as mti
from mtiprompt.cli import main
from mtiprompt.cli.live import PAUSE, LiveSearch
from mtiprompt.dataset import Dataset
from mtiprompt.evaluation.prices import price_of
from mtiprompt.optimizer import Setup, measuring
from mtiprompt.optimizer.space import USUAL
from mtiprompt.report.tuned import called
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
from tests.test_optimize import GOOD, TASKS, of_server, planted, program, rows, texts

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
    """It shows what helps, the report tells of it; tables fit 80 columns, a blank line apart."""
    done = run(data, "--budget", 300, "-o", "tuned.json", "--concurrency", 2)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    begins = [n for n, line in enumerate(lines) if line.startswith("small: ")]
    assert len(begins) == 4
    assert not any(lines[n - 1].strip() for n in begins if n)
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


def searched(data: Path, server: ChatServer, **options: Any) -> list[dict[str, Any]]:
    """The points that the same search in Python tries."""
    sets = Dataset.load(data)
    given: dict[str, Any] = {"budget": mti.Budget(calls=90)} | options
    found = mti.optimize(sets.program, sets.train, sets.dev, model=model_at(server), **given).found
    return [json.loads(one.point.to_json()) for one in found.tried]


def points(done: Done) -> list[dict[str, Any]]:
    """The points that a command says it tried."""
    assert done.code == 0, done.err
    return [one["point"] for one in json.loads(done.out)["tried"]]


def test_defaults_are_those_of_python(run: Run, data: Path, server: ChatServer) -> None:
    """Without `--vary` the same is varied as by `mti.optimize`; its help names what that is."""
    assert points(run(data, "--budget", 90, "--json")) == searched(data, server)
    words = " ".join(re.findall(r"[a-z-]+", run("--help").out))
    assert "is varied demos select demos chosen for each item order instructions" in words
    assert "default the first four" in words
    assert {"demos", "select", "order", "instructions"} == USUAL


def test_a_plan_that_selects_is_gone_on_with(run: Run, data: Path, tmp_path: Path) -> None:
    """What a search wrote with `select` may be given back without a word about what to vary."""
    sets = Dataset.load(data)
    gold = [{"inputs": row.inputs, "outputs": row.outputs} for row in sets.train]
    plan = mti.Plan.fused(sets.program, demos=gold, select=mti.Select("nearest", 2))
    plan.save(tmp_path / "chosen.json")
    tried = points(run(data, "--budget", 90, "--plan", "chosen.json", "--json"))
    assert len(tried) > 1
    assert mti.Plan.load(tmp_path / "plan.json").select == plan.select


def test_pins_and_weights_are_passed_on(run: Run, data: Path, server: ChatServer) -> None:
    """Tasks pinned apart share no call from the start, and weights are those of Python."""
    apart = points(run(data, "--budget", 90, "--apart", "mood+size", "--vary", "demos,grouping",
                       "--record", "one", "--json"))  # fmt: skip
    assert {tuple(map(len, one["groups"])) for one in apart} == {(1, 1)}
    one = points(run(data, "--budget", 90, "--together", "mood+size", "--vary", "demos,grouping",
                     "--record", "two", "--json"))  # fmt: skip
    assert {tuple(map(len, point["groups"])) for point in one} == {(2,)}
    weighed = run(data, "--budget", 90, "--weights", "mood=3, size=0", "--record", "3", "--json")
    assert points(weighed) == searched(data, server, weights={"mood": 3, "size": 0})


def test_any_one_bound_is_enough(run: Run, data: Path, server: ChatServer) -> None:
    """Tokens or dollars alone bound a search; what they come to in calls is told before."""
    for words in (("--tokens", 9_000), ("--dollars", 0.002, "--price", "gpt-4o-mini")):
        value = json.loads(run(data, *words, "--dry-run", "--json").out)
        assert 20 < value["calls"] < 200
    assert server.count == 0
    spent = json.loads(run(data, "--tokens", 9_000, "--json").out)["spent"]
    assert 0 < spent["prompt_tokens"] + spent["completion_tokens"] <= 9_000
    dollars = ("--dollars", 0.002, "--price", "gpt-4o-mini")  # the server tells no cost
    spent = json.loads(run(data, *dollars, "--record", "priced", "--json").out)["spent"]
    price = price_of("gpt-4o-mini")
    tokens = spent["prompt_tokens"] * price.prompt + spent["completion_tokens"] * price.completion
    assert spent["calls"] > 20
    assert 0 < tokens <= 0.002


def test_proposed_instructions_are_tried(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--reflect` a model is asked for better ones first, out of the same budget; a dry run
    counts that in, and the same command again pays nothing.
    """
    monkeypatch.chdir(tmp_path)

    def answer(received: Received) -> str:
        text = json.dumps(received.body["messages"])
        if "Your task is to write a new instruction" in text:
            return "```\nSay yes.\n```"
        return json.dumps(dict.fromkeys(TASKS, "yes" if "Say yes." in text else "no"))

    words = ["optimize", str(data), "--budget", "150", "--reflect", "1", "--json"]
    with ChatServer(answer) as server, mti.using(model=model_at(server)):
        assert main([*words, "--dry-run"]) == 0
        foreseen = json.loads(capsys.readouterr().out)
        assert (foreseen["reflect"], foreseen["calls"], server.count) == (10, 140, 0)
        assert main(words) == 0
        first, paid = json.loads(capsys.readouterr().out), server.count
        assert main(words) == 0
        again = json.loads(capsys.readouterr().out)
    assert first["variants"] == {name: ["Say yes."] for name in TASKS}
    assert first["reflected"]["calls"] == 10
    assert first["spent"]["calls"] + 10 == paid <= 150
    assert server.count == paid
    assert again == first | {"command": again["command"]}
    assert "Say yes." in dict(mti.Plan.load(tmp_path / "plan.json").instructions).values()


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


@pytest.mark.parametrize("name", ["split.json", "plan.json"])
def test_a_saved_plan_is_improved_on(
    run: Run, data: Path, server: ChatServer, tmp_path: Path, name: str
) -> None:
    """Its calls stay as they are. The better one may take its place, but no figures may."""
    program = Dataset.load(data).program
    for file in (name, "results.json"):
        mti.Plan.split(program).save(tmp_path / file)
    over = ["DATA", "--budget", "90", "--plan", "results.json", "--record", "."]
    check_refused(run, over, "error: results.json is input and output at once", data, server)
    words = (data, "--budget", 120, "--plan", name, "--vary", "demos")
    for done in (run(*words, "--dry-run"), run(*words)):
        assert done.code == 0, done.err
    found = mti.Plan.load(tmp_path / "plan.json")
    assert [group.tasks for group in found.call_groups] == [("mood",), ("size",)]
    assert texts(found) >= set(GOOD)


@pytest.mark.parametrize("name", ["small.jsonl", "small.task.json"])
def test_refuses_to_write_over_what_it_reads(
    run: Run, data: Path, server: ChatServer, name: str
) -> None:
    """Neither the set nor its tasks are replaced; a dry run, which writes nothing, is let be."""
    words = ["DATA", "--budget", "90", "-o", name]
    check_refused(run, words, f"error: {name} is input and output at once", data, server)
    assert run(data, *words[1:], "--dry-run").code == 0


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
    monkeypatch.setattr(measuring, "PAUSES", (0.0, 0.0, 0.0))

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


def watched(console: Console, step: float = 0.0, **bounds: Any) -> mti.Tuned:
    """A search that a console shows; the clock for its lines goes on by a step at every look."""
    sets = program(), rows("train", 8), rows("dev", 120)
    budget = mti.Budget(calls=300, **bounds)
    start = Setup.of(*sets).space.start
    with LiveSearch(console, start, budget, clock=count(0.0, step).__next__) as live:
        return mti.optimize(*sets, model=planted(), budget=budget, progress=live.told)


def test_a_terminal_shows_the_best_candidates() -> None:
    """What they are, gain and cost, on how many rows, what is left; at the end it is gone."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, force_interactive=True, width=100)
    found = watched(console, seconds=600).found
    whole = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.getvalue())
    last = whole[whole.rindex("confirm: ") :]
    state, _, *table = [line.rstrip() for line in last.splitlines() if line.strip()]
    assert re.fullmatch(
        r"confirm: 300 of 300 calls, 0 left; 0:00:\d\d passed, 0:09:\d\d left", state
    )
    shown_rows = [re.split(r" {2,}", line.strip()) for line in table[1:]]
    assert len(shown_rows) == 5
    assert shown_rows[0][0] == called(found.candidate, found.baseline)
    gain, sd = shown_rows[0][1].split(" ±")
    assert float(gain) == pytest.approx(found.curve[-1][1], abs=0.01)
    assert 0 < float(sd) < 0.5
    assert [int(one[2]) >= 4 for one in shown_rows] == [True] * 5
    assert int(shown_rows[0][3].rstrip("%")) > 100
    assert max(map(len, last.splitlines())) <= 100
    assert shown.getvalue().endswith("\x1b[2K")


def test_elsewhere_a_line_comes_now_and_then() -> None:
    """Without a terminal it is said in plain lines, of which the pauses are not crossed."""
    shown = io.StringIO()
    found = watched(Console(file=shown, width=80), step=0.4).found
    first, *_, last = lines = shown.getvalue().splitlines()
    assert 3 <= len(lines) <= 0.4 * (found.calls + len(lines) + 1) / PAUSE
    assert re.match(r"search: \d+ of 300 calls, \d+ left; 0:00:\d\d passed, about 0:0", first)
    assert f"with {called(found.candidate, found.baseline)}" in last
    assert "\x1b" not in shown.getvalue()


def test_a_set_without_dev_is_told(run: Run, tmp_path: Path, server: ChatServer) -> None:
    """The split that is missing is named, as `plan` and `eval` do."""
    made = [{**row, "split": "train"} for row in rows("train", 8)]
    says = "small has no dev rows (plans are scored on those)"
    check_refused(run, ["DATA", "--budget", "90"], says, small_set(tmp_path, TASKS, made), server)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none.jsonl", "--budget", "90"], "no such file"),
        (["DATA"], "nothing bounds the search (--budget CALLS, --tokens N or --dollars N)"),
        (["DATA", "--seconds", "9"], "seconds are no number of calls (--budget"),
        (["DATA", "--budget", "0"], "--budget"),
        (["DATA", "--budget", "3"], "too few to search"),
        (["DATA", "--budget", "90", "--margin", "2"], "margin is 2.0"),
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
        (["DATA", "--budget", "90", "--seed", "-1"], "seed=-1 makes no sense"),
        (["DATA", "--budget", "90", "--seed", "-1", "--dry-run"], "seed=-1 makes no sense"),
        (["DATA", "--budget", "90", "--weights", "mood"], "--weights 'mood' are no weights"),
        (["DATA", "--budget", "90", "--weights", "mood=1,mood=2"], "'mood' is weighed twice"),
        (["DATA", "--budget", "90", "--weights", "colour=2"], "the weights are {'colour': 2.0}"),
        (["DATA", "--budget", "90", "--apart", "mood+colour"], "'colour' is pinned"),
        (["DATA", "--budget", "90", "--reflect", "1", "--vary", "demos"], "--vary instructions"),
        (["DATA", "--budget", "12", "--reflect", "1"], "after up to 10 calls of --reflect, 2 call"),
    ],
)
def test_refuses(run: Run, data: Path, server: ChatServer, words: list[str], says: str) -> None:
    """What makes no sense is one line and exit code 2; nothing is written and nobody asked."""
    check_refused(run, words, says, data, server)


def test_a_pipe_is_no_place_for_a_plan(
    run: Run, data: Path, tmp_path: Path, server: ChatServer
) -> None:
    """A plan would replace it; that is said before anybody is asked."""
    os.mkfifo(pipe := tmp_path / "pipe")
    words = ["DATA", "--budget", "90", "-o", str(pipe)]
    check_refused(run, words, "it is no ordinary file", data, server)
    assert pipe.is_fifo()
