"""`mtiprompt plan` over real HTTP: its table and files, pins, an interrupt, and what it refuses."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt.dataset import Dataset
from mtiprompt.evaluation.prices import price_of
from mtiprompt.report.choice import company_of
from mtiprompt.testing import ChatServer, Received
from tests.conftest_commands import (
    Done,
    Run,
    check_refused,
    finish,
    model_at,
    small_set,
    start,
)

TASKS = ("mood", "tone", "size")
BAR = "\N{BOX DRAWINGS LIGHT VERTICAL}"
COMMAND = "plan"


def asked(received: Received) -> list[str]:
    """The tasks of a request."""
    return re.findall(r'^"(\w+)":', received.body["messages"][0]["content"], re.MULTILINE)


def answer(received: Received) -> dict[str, str]:
    """All is right, but for the size where it is not asked for alone."""
    keys = asked(received)
    return {key: "no" if key == "size" and len(keys) > 1 else "yes" for key in keys}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """60 rows in train and dev, 5 in test; three tasks of which the answer is always yes."""
    rows = [
        {"id": f"r{number}", "inputs": {"text": f"Text {number}."},
         "outputs": dict.fromkeys(TASKS, "yes"),
         "split": "test" if number < 5 else "train" if number % 2 else "dev"}
        for number in range(65)
    ]  # fmt: skip
    return small_set(tmp_path, TASKS, rows)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """A chat server that answers."""
    with ChatServer(answer) as server:
        yield server


def calls(plan: mti.Plan) -> list[tuple[str, ...]]:
    """The tasks of each call of a plan."""
    return [group.tasks for group in plan.call_groups]


def test_the_plan_that_is_written_runs(
    run: Run, data: Path, tmp_path: Path, server: ChatServer
) -> None:
    """What suffers has a call of its own, the rest shares one; the file is loaded and answers."""
    done = run(data, "-o", "chosen.json")
    assert done.code == 0, done.err
    plan = mti.Plan.load(tmp_path / "chosen.json")
    assert calls(plan) == [("mood", "tone"), ("size",)]
    before = server.count
    result = Dataset.load(data).program(text="New.", plan=plan, model=model_at(server))
    assert ([result.get(name) for name in TASKS], server.count - before) == (["yes"] * 3, 2)


def test_the_table_is_read_at_80_columns(run: Run, data: Path) -> None:
    """Each candidate has one line with verdict, price and its worst task; no line is wider."""
    done = run(data)
    rows = [line for line in done.out.splitlines() if line.startswith(BAR)]
    line = {row.split(BAR)[1].strip(): row for row in rows}
    assert list(line) == ["split", "fused", "mood+tone | size"]
    assert "rejected" in line["fused"]
    assert "size \N{MINUS SIGN}0.99 [" in line["fused"]
    assert "chosen" in line["mood+tone | size"]
    assert max(map(len, done.out.splitlines())) <= 80
    told = " ".join(done.out.split())
    assert "fused: rejected, 20 rows: size is expected to lose 0.99" in told
    assert "this is no guarantee" in done.out
    assert "The time of calls: " in done.out
    assert "report: mtiprompt-plan/report.html" in done.err


def test_figures_and_report(run: Run, data: Path, tmp_path: Path, server: ChatServer) -> None:
    """Standard output is one JSON object, the same as on disk; the report is beside it."""
    done = run(data, "--json", "--record", "out", "--rule", "guarantee", "--margin", "0.3")
    value = json.loads(done.out)
    kept = json.loads((tmp_path / "out" / "results.json").read_text())
    assert value == kept | {"report": "out/report.html"}
    assert (value["chosen"], value["rule"]) == ("mood+tone | size", "guarantee")
    assert value["spent"]["calls"] == server.count
    fused = next(one for one in value["candidates"] if one["name"] == "fused")
    size = fused["tasks"]["size"]
    assert (size["verdict"], size["loss"]) == ("rejected", 1.0)
    assert 0.3 < size["interval"][0] <= size["interval"][1] <= 1
    assert fused["price"]["calls"] == 1
    assert value["timing"]["n"] == server.count
    page = (tmp_path / "out" / "report.html").read_text()
    assert "small: who disturbs whom" in page
    assert "this is correlation" in page


def test_a_dry_run_makes_no_call(run: Run, data: Path, tmp_path: Path, server: ChatServer) -> None:
    """It says what a search would take, in dollars at the price of a model, and writes nothing."""
    before = sorted(tmp_path.iterdir())
    words = (data, "--dry-run", "--limit", "30", "--price", "gpt-4o-mini")
    told = run(*words)
    assert (told.code, told.out) == (0, "")
    assert "30 rows: 120 calls" in told.err
    assert "US dollars" in told.err
    value = json.loads(run(*words, "--json").out)
    assert (value["rows"], value["calls"]) == (30, 120)
    assert 0 < value["dollars"] < 0.01
    assert json.loads(run(data, "--dry-run", "--json").out)["dollars"] is None
    assert (server.count, sorted(tmp_path.iterdir())) == (0, before)


def test_a_dry_run_tells_what_would_be_in_vain(run: Run, data: Path) -> None:
    """Too few rows, and a budget too small for a verdict, are told of before anything is paid."""
    told = " ".join(run(data, "--dry-run", "--limit", "19").err.split())
    assert "19 rows: no call of the search; the rule expected says nothing" in told
    assert "before 20 observations, and there are 19 of mood, tone, size." in told
    value = json.loads(run(data, "--dry-run", "--limit", "19", "--json").out)
    assert (value["calls"], value["least_calls"]) == (0, 0)
    assert "there are 19 of mood, tone, size" in value["untried"]
    guaranteed = run(data, "--dry-run", "--limit", "19", "--json", "--rule", "guarantee")
    assert (json.loads(guaranteed.out)["calls"], json.loads(guaranteed.out)["untried"]) == (76, "")
    assert "at least 80 calls" in run(data, "--dry-run", "--budget", "79").err
    assert "at least" not in run(data, "--dry-run", "--budget", "80").err


def test_what_cannot_be_decided_is_not_paid(run: Run, data: Path, server: ChatServer) -> None:
    """On 19 rows no call is made: the split plan is written, and the report says why."""
    done = run(data, "--limit", "19", "--json")
    value = json.loads(done.out)
    assert (done.code, server.count) == (0, 0)
    assert (value["chosen"], value["spent"]["calls"]) == ("split", 0)
    assert "20 observations, and there are 19 of" in value["candidates"][0]["reason"]
    assert calls(mti.Plan.load(data.parent / "plan.json")) == [(name,) for name in TASKS]
    assert "there are 19 of" in (data.parent / "mtiprompt-plan" / "report.html").read_text()


def test_pins(run: Run, data: Path, tmp_path: Path) -> None:
    """Tasks that are pinned together share a call though one suffers; those apart never do."""
    done = run(data, "--together", "mood+size", "--json")
    assert ("mood", "size") in calls(mti.Plan.load(tmp_path / "plan.json"))
    pinned = [one for one in json.loads(done.out)["candidates"] if one["verdict"] == "pinned"]
    assert "size is expected to lose 0.99" in pinned[0]["reason"]
    run(data, "--apart", "mood + tone", "--record", "other")
    assert calls(mti.Plan.load(tmp_path / "plan.json")) == [("mood",), ("tone",), ("size",)]


def test_demonstrations_are_not_measured(
    run: Run, data: Path, tmp_path: Path, server: ChatServer
) -> None:
    """Rows that are shown are in the plan, and are not asked about; the test split never is."""
    done = run(data, "--demos", "2", "--json")
    plan = mti.Plan.load(tmp_path / "plan.json")
    texts = {str(demo.inputs["text"]) for demo in plan.demos}
    assert len(texts) == 2
    seen = {re.findall(r"Text \d+\.", one.body["messages"][-1]["content"])[-1]
            for one in server.requests}  # fmt: skip
    assert json.loads(done.out)["rows"] == 58
    assert not seen & (texts | {f"Text {number}." for number in range(5)})


def test_what_is_nearly_a_demonstration_is_not_measured(
    run: Run, tmp_path: Path, server: ChatServer
) -> None:
    """Rows that differ from one that is shown in blanks and case only are left out too."""
    texts = ["Hello.", "hello. ", "HELLO.", *(f"Text {number}." for number in range(30))]
    rows = [
        {"id": f"r{number}", "inputs": {"text": text}, "outputs": dict.fromkeys(TASKS, "yes"),
         "split": "train" if number < 2 else "dev"}
        for number, text in enumerate(texts)
    ]  # fmt: skip
    done = run(small_set(tmp_path, TASKS, rows), "--demos", "1", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["rows"] == 30


def test_no_row_beside_the_demonstrations(run: Run, tmp_path: Path, server: ChatServer) -> None:
    """It is said that all rows are shown, rather than that there are none."""
    rows = [{"id": "r1", "inputs": {"text": "Hello."}, "outputs": dict.fromkeys(TASKS, "yes"),
             "split": "train"}]  # fmt: skip
    words = ["DATA", "--demos", "1"]
    says = "small has no train or dev rows that are no demonstrations"
    check_refused(run, words, says, small_set(tmp_path, TASKS, rows), server)


@pytest.mark.filterwarnings("default:the budget has")
def test_a_budget_ends_the_search(run: Run, data: Path, server: ChatServer) -> None:
    """No more calls are made than may be, and the end is told; so is, before, that it will come
    too early for a verdict. The same command again makes none, and tells the same."""
    for _ in range(2):
        done = run(data, "--budget", "70")
        assert done.code == 0
        assert server.count == 70
        assert "The budget ended the search" in done.out
        assert "warning: the budget has 70 calls" in done.err
        assert "at least 80" in done.err


def test_seconds_end_the_search(run: Run, data: Path, server: ChatServer) -> None:
    """When they are over, no call begins; if no row is answered by then, that is an error."""
    done = run(data, "--seconds", "0")
    assert done.code == 2
    assert "the budget is spent before a row is answered" in done.err
    assert server.count == 0
    assert run(data, "--seconds", "600", "--limit", "30").code == 0


def test_an_interrupt_pays_nothing_twice(data: Path, tmp_path: Path) -> None:
    """Ctrl-C in a real process, then the same command: only the call under way is asked again."""
    process: list[subprocess.Popen[str]] = []

    def stops(received: Received) -> Any:
        if received.number == 40:
            process[0].send_signal(signal.SIGINT)
        return answer(received)

    with ChatServer(stops) as server:
        done: list[tuple[Done, int]] = []
        for _ in range(3):
            process[:] = [start(tmp_path, server, COMMAND, data, "--json")]
            done.append((finish(process[0]), server.count))
    (stopped, _), (whole, paid), (again, after) = done
    assert (stopped.code, stopped.out) == (130, "")
    assert "goes on from there" in stopped.err
    assert whole.code == 0, whole.err
    value = json.loads(whole.out)
    assert calls(mti.Plan.load(tmp_path / "plan.json")) == [("mood", "tone"), ("size",)]
    assert value["spent"]["calls"] <= paid <= value["spent"]["calls"] + 1
    assert after == paid
    tasks = [one["tasks"] for one in value["candidates"]]
    assert [one["tasks"] for one in json.loads(again.out)["candidates"]] == tasks


def test_dollars_are_counted_by_the_price(run: Run, data: Path, server: ChatServer) -> None:
    """`--price` says what calls cost that do not tell it: the search ends when that is spent, but
    for what the last call costs more than estimated."""
    done = run(data, "--dollars", 0.0005, "--price", "gpt-4o-mini", "--json")
    assert done.code == 0, done.err
    value, price = json.loads(done.out), price_of("gpt-4o-mini")
    spent = {name: value["spent"][name] for name in ("prompt_tokens", "completion_tokens")}
    assert value["exhausted"]
    assert 0.95 * 0.0005 < price.cost(mti.Usage(**spent)) < 1.05 * 0.0005


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none.jsonl"], "no such file"),
        (["DATA", "-o", "absent/plan.json"], "there is no folder absent"),
        (["DATA", "-o", "."], "is a folder"),
        (["DATA", "--together", "mood+smell"], "'smell' is pinned, which is no task"),
        (["DATA", "--together", "mood+tone", "--apart", "mood+tone"], "contradict each other"),
        (["DATA", "--items", "two"], "are no numbers"),
        (["DATA", "--items", "0"], "items_per_call"),
        (["DATA", "--margin", "0"], "margin=0.0 makes no sense"),
        (["DATA", "--confidence", "2"], "confidence=2.0 makes no sense"),
        (["DATA", "--demos", "99"], "99 demonstrations are wanted"),
        (["DATA", "--price", "nobody/knows"], "no price for 'nobody/knows'"),
        (
            ["DATA", "--dollars", "1"],
            "the price of direct/any is not known, so a budget in dollars",
        ),
        (
            ["DATA", "--dollars", "1", "--dry-run"],
            "the price of direct/any is not known, so a budget in dollars",
        ),
        (["DATA", "--dry-run", "--apart", "smell"], "'smell' is pinned, which is no task"),
    ],
)
def test_refuses(run: Run, data: Path, server: ChatServer, words: list[str], says: str) -> None:
    """What makes no sense is one line and exit code 2; nothing is written and nobody asked."""
    check_refused(run, words, says, data, server)


@pytest.mark.parametrize(
    ("there", "says"),
    [("absent/plan.json", "there is no folder"), ("folder", "link.json is a folder")],
)
def test_refuses_a_link_to_where_no_plan_can_be(
    run: Run, data: Path, server: ChatServer, tmp_path: Path, there: str, says: str
) -> None:
    """What the link leads to counts, before anything is paid for."""
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(there)
    check_refused(run, ["DATA", "-o", str(link)], says, data, server)
    assert link.is_symlink()


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("name", ["small.jsonl", "small.task.json"])
def test_refuses_to_write_over_the_set(
    run: Run, data: Path, server: ChatServer, tmp_path: Path, name: str, linked: bool
) -> None:
    """Labelled rows and their tasks are not lost to a plan that is named like them."""
    output = tmp_path / name
    if linked:
        output = tmp_path / "link.json"
        output.symlink_to(name)
    before = (tmp_path / name).read_bytes()
    says = f"{output} is input and output at once"
    check_refused(run, ["DATA", "-o", str(output)], says, data, server)
    assert (tmp_path / name).read_bytes() == before


def test_refuses_to_write_over_the_set_on_record(
    run: Run, data: Path, server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither replies nor a trace are added to the rows."""
    monkeypatch.setenv("MTIPROMPT_TRACE", str(data))
    check_refused(run, ["DATA"], "small.jsonl is input and output at once", data, server)
    monkeypatch.delenv("MTIPROMPT_TRACE")
    (tmp_path / "profile").mkdir()
    moved = tmp_path / "profile" / "profile.jsonl"
    data.with_name("small.task.json").rename(moved.with_name("profile.task.json"))
    data.rename(moved)
    says = "profile.jsonl is input and output at once"
    check_refused(run, ["DATA", "--record", str(tmp_path)], says, moved, server)


@pytest.mark.parametrize(
    ("words", "code"), [(["--dry-run"], 0), (["--margin", "0"], 2)], ids=["dry", "refused later"]
)
def test_tells_of_tasks_without_gold_beforehand(
    run: Run, data: Path, server: ChatServer, words: list[str], code: int
) -> None:
    """Agreement is measured of these, which is said before it is paid for."""
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    data.write_text("".join(json.dumps({**one, "outputs": {"mood": "yes"}}) + "\n" for one in rows))
    done = run(data, *words)
    assert "no row of train or dev has gold for tone, size" in done.err
    assert (done.code, server.count) == (code, 0)


def test_names_of_the_user_are_no_html(run: Run, data: Path, tmp_path: Path) -> None:
    """Whatever a data set is called, its name stays text in the report."""
    evil = "<img src=x onerror=evil()>"
    for path, end in ((data, ".jsonl"), (tmp_path / "small.task.json", ".task.json")):
        path.rename(tmp_path / f"{evil}{end}")
    assert run(tmp_path / f"{evil}.jsonl").code == 0
    page = (tmp_path / "mtiprompt-plan" / "report.html").read_text()
    assert evil not in page
    assert "\\u003cimg src=x onerror=evil()>: who disturbs whom" in page


def test_who_disturbs_whom(data: Path, server: ChatServer) -> None:
    """Each call that was measured says what its own tasks lose, and nothing of others."""
    loaded = Dataset.load(data)
    given = loaded.train + loaded.dev
    choice = mti.choose_plan(loaded.program, given, model=model_at(server), items=[2])
    found = company_of(choice)
    assert list(found) == ["all", "all but size", "all but size, 2 items a call"]
    assert {task: one.loss for task, one in found["all"].items()} == {
        "mood": 0, "tone": 0, "size": 1,
    }  # fmt: skip
    assert set(found["all but size"]) == {"mood", "tone"}
