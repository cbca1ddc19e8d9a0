"""The commands that measure: one table, one report, one JSON object; stopped and taken up again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import mtiprompt as mti
from mtiprompt.cli import main
from mtiprompt.experiments import superposition

TASKS = {
    "title": "Small",
    "inputs": [{"name": "text", "description": "a text"}],
    "subtasks": [
        {
            "name": "mood",
            "instruction": "How is the mood?",
            "output_schema": {"type": "string", "enum": ["good", "bad"]},
            "metric": "exact",
            "depends_on": [],
        },
        {
            "name": "size",
            "instruction": "How many words?",
            "output_schema": {"type": "integer"},
            "metric": "numeric",
            "depends_on": [],
        },
    ],
}

INSTANCE = {
    "query": "Follow the steps.",
    "instruction": {
        "1": "List the primes in [2, 4, 5]. Return the answer in <task1>N<task1/> format.",
        "2": "Add them up. Return the answer in <task2>N<task2/> format.",
    },
    "context": {},
    "answers": [[2, 5], 7],
}
BENCH = {"022": {"instance": {"022_1": INSTANCE, "022_2": INSTANCE}, "sample": ""}}


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Run = Callable[..., Done]


def answer(request: mti.Request) -> str:
    """Mood always good, size right where the mood is not asked for in the same call."""
    keys = re.findall(r'^"(\w+)":', request.messages[0].content, re.MULTILINE)
    words = len(request.messages[-1].content.split()) - 1
    whole = {"mood": "good", "size": words + (len(keys) > 1)}
    return json.dumps({key: whole[key] for key in keys})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small data set: eight test rows, six train rows; every other mood is good."""
    rows = []
    for number in range(14):
        rows.append(
            {
                "id": f"r{number}",
                "inputs": {"text": " ".join(["word"] * (number + 1))},
                "outputs": {"mood": "good" if number % 2 else "bad", "size": number + 1},
                "split": "test" if number < 8 else "train",
            }
        )
    (tmp_path / "small.task.json").write_text(json.dumps(TASKS))
    path = tmp_path / "small.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in a folder of its own, answered by a fake model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def command(*words: str, model: Any = None) -> Done:
        with mti.using(model=model or mti.FunctionModel(answer)):
            code = main([str(word) for word in words])
        return Done(code, *capsys.readouterr())

    return command


def test_eval(run: Run, data: Path, tmp_path: Path) -> None:
    """One table with paired differences, and the same figures in JSON beside a report."""
    done = run("eval", data, "--arms", "split,fused", "--demos", "2", "-o", "out")
    assert done.code == 0, done.err
    assert "mood" in done.out
    assert "\u22121.00" in done.out  # the size is wrong in company
    value = json.loads((tmp_path / "out" / "results.json").read_text())
    arms = value["datasets"]["small"]["arms"]
    assert arms["split"]["tasks"]["size"]["mean"] == 1.0
    assert arms["split"]["tasks"]["mood"]["mean"] == 0.5
    assert arms["fused"]["tasks"]["size"]["mean"] == 0.0
    assert arms["fused"]["differences"]["tasks"]["size"]["mean"] == -1.0
    assert (arms["split"]["usage"]["calls"], arms["fused"]["usage"]["calls"]) == (16, 8)
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.lower().startswith("<!doctype html>")


def test_eval_goes_on(run: Run, data: Path) -> None:
    """The same command again asks nobody, and says the same, time included; Ctrl-C says that
    nothing is lost.
    """
    asked: list[int] = []

    def stops(request: mti.Request) -> str:
        asked.append(1)
        if len(asked) == 9:
            raise KeyboardInterrupt
        return answer(request)

    words = ("eval", data, "--arms", "split,split_cached,fused", "--json", "-o", "out")
    stopped = run(*words, model=mti.FunctionModel(stops))
    assert stopped.code == 130
    assert "goes on from there" in stopped.err
    whole = run(*words, model=mti.FunctionModel(stops))
    assert whole.code == 0, whole.err
    assert len(asked) == 1 + 16 + 16 + 8
    again = run(*words, model=mti.FunctionModel(stops))
    assert len(asked) == 1 + 16 + 16 + 8
    assert again.out == whole.out


def test_eval_names_what_an_outage_cost(run: Run, data: Path) -> None:
    """An outage is no score: exit code 1, the items by name, and how to go on."""

    def fails(request: mti.Request) -> str:
        if "word word word word word" in request.messages[-1].content:
            raise mti.ModelError("the line is down")
        return answer(request)

    done = run("eval", data, "-o", "out", model=mti.FunctionModel(fails))
    assert done.code == 1
    assert "4 of 8 items have no answer" in done.err
    assert "'r4'" in done.err
    assert done.out == ""


def test_eval_does_not_measure_what_it_shows(run: Run, data: Path) -> None:
    """Of the split that demonstrations are drawn from, the other rows are measured, as is said."""
    done = run("eval", data, "--split", "train", "--demos", "2", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["datasets"]["small"]["items"] == 4
    assert "small: 2 train rows left out, shown as demonstrations" in done.err
    limited = run("eval", data, "--split", "train", "--demos", "2", "--limit", "3", "--json")
    assert json.loads(limited.out)["datasets"]["small"]["items"] == 3


def test_eval_refuses_rows_without_gold(run: Run, data: Path) -> None:
    """No call is paid where no task can be scored; one row with gold for one task is enough."""
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    bare = [{**row, "outputs": {}} if row["split"] == "test" else row for row in rows]
    data.write_text("".join(json.dumps(row) + "\n" for row in bare))
    done = run("eval", data, "-o", "out", model=mti.ScriptedModel([]))
    assert (done.code, done.out) == (2, "")
    assert "none of 8 test rows of small has gold" in done.err
    assert done.err.count("\n") == 1
    bare[0]["outputs"] = {"mood": "bad"}
    data.write_text("".join(json.dumps(row) + "\n" for row in bare))
    done = run("eval", data, "-o", "out", "--json")
    assert done.code == 0, done.err
    tasks = json.loads(done.out)["datasets"]["small"]["arms"]["split"]["tasks"]
    assert [one["n"] for one in tasks.values()] == [1, 0]


@pytest.mark.parametrize("linked", [True, False])
def test_eval_writes_over_nothing_that_it_reads(
    run: Run, data: Path, tmp_path: Path, linked: bool
) -> None:
    """Neither figures nor replies go where a set, its tasks or a plan come from, links included."""
    program = mti.combine(*mti.Task.from_json_schema(tmp_path / "small.task.json"))
    mti.Plan.fused(program).save(tmp_path / "results.json")
    (tmp_path / "split").mkdir()
    for end in (".jsonl", ".task.json"):
        data.with_name(f"small{end}").rename(tmp_path / "split" / f"split{end}")
    if linked:
        (tmp_path / "in").symlink_to(tmp_path)
    folder, silent = "in" if linked else ".", mti.ScriptedModel([])
    here = {one: one.read_bytes() for one in tmp_path.rglob("*.json*")}
    for arms, twice in (("split", "split/split.jsonl"), ("fused,results.json", "results.json")):
        done = run("eval", "split/split.jsonl", "--arms", arms, "-o", folder, model=silent)
        assert (done.code, done.out) == (2, "")
        assert f"{Path(folder, twice)} is input and output at once" in done.err
        assert done.err.count("\n") == 1
    assert {one: one.read_bytes() for one in tmp_path.rglob("*.json*")} == here


def test_experiments_write_over_nothing_that_they_read(
    run: Run, data: Path, tmp_path: Path
) -> None:
    """So it is with a benchmark and with data sets."""
    silent = mti.ScriptedModel([])
    bench = tmp_path / "results.json"
    bench.write_text(json.dumps(BENCH))
    for end in (".jsonl", ".task.json"):
        data.with_name(f"small{end}").rename(tmp_path / f"alone{end}")
    for words, twice in (
        (["mti-bench", "results.json"], "results.json"),
        (["scaling", "alone.jsonl", "--tasks", "1,2", "--items", "1"], "alone.jsonl"),
    ):
        done = run("experiment", *words, "-o", ".", model=silent)
        assert (done.code, done.out) == (2, "")
        assert f"error: {twice} is input and output at once" in done.err
    assert json.loads(bench.read_text()) == BENCH


def test_a_benchmark_may_lie_in_the_folder_of_its_record(run: Run, tmp_path: Path) -> None:
    """It is refused under the name of a record of this run alone, be it that of a sample."""
    (tmp_path / "bench.jsonl").write_text(json.dumps(BENCH))
    model = mti.FunctionModel(lambda request: "<task1>[2, 5]<task1/> <task2>7<task2/>")
    words = ("--arms", "single", "--formats", "paper", "-o", ".")
    done = run("experiment", "mti-bench", "bench.jsonl", *words, model=model)
    assert done.code == 0, done.err
    for kept, more in (("paper-single", ()), ("paper-single-2", ("--samples", "2"))):
        bench = tmp_path / f"{kept}.jsonl"
        bench.write_text(json.dumps(BENCH))
        silent = mti.ScriptedModel([])
        done = run("experiment", "mti-bench", bench.name, *words, *more, model=silent)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert f"error: {bench.name} is input and output at once" in done.err
        assert json.loads(bench.read_text()) == BENCH


@pytest.mark.parametrize("beside", ["sp", "sp/results.json"])
def test_superposition_replaces_no_run_of_another_model(
    run: Run, tmp_path: Path, beside: str
) -> None:
    """Figures that are shown beside stay; those of the same model are made again in their place,
    as `test_superposition.py` shows.
    """
    options: dict[str, Any] = {"configs": ["words"], "prompts": 1, "examples": 4}
    found = superposition.run(superposition.FunctionTokens(lambda _: {}), **options).plain()
    (tmp_path / "sp").mkdir()
    figures = tmp_path / "sp" / "results.json"
    figures.write_text(json.dumps(found))
    words = ["--model", "local/smollm2-135m", "--configs", "words", "--prompts", "1"]
    words += ["--examples", "4", "--beside", beside, "-o", "sp"]
    done = run("experiment", "superposition", *words)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "error: sp/results.json is input and output at once" in done.err
    assert json.loads(figures.read_text()) == found
    assert list(figures.parent.iterdir()) == [figures]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none.jsonl"], "no such file"),
        (["DATA", "--arms", "fuse"], "there is no arm 'fuse'"),
        (["DATA", "--arms", ""], "there is no arm"),
        (["DATA", "--demos", "9"], "9 demonstrations are wanted"),
        (["DATA", "--split", "dev"], "has no dev rows"),
        (["DATA", "--split", "train", "--demos", "6"], "no train rows that are no demonstrations"),
        (["DATA", "DATA"], "two data sets are called 'small'"),
        (["DATA", "--price", "nobody/knows"], "no price for 'nobody/knows'"),
        (["DATA", "--arms", "absent.json"], "cannot read absent.json"),
    ],
)
def test_eval_refuses(run: Run, data: Path, words: list[str], says: str) -> None:
    """What makes no sense is one line and exit code 2, before any call."""
    silent = mti.ScriptedModel([])
    done = run("eval", *[str(data) if one == "DATA" else one for one in words], model=silent)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert done.err.count("\n") == 1


def test_scaling(run: Run, data: Path, tmp_path: Path) -> None:
    """The experiment runs, prints its tables and writes figures and a report."""
    words = ("experiment", "scaling", data, "--tasks", "1,2", "--items", "1,2", "--limit", "8")
    done = run(*words, "-o", "out")
    assert done.code == 0, done.err
    assert "loss" in done.out
    assert json.loads((tmp_path / "out" / "results.json").read_text())["command"]
    assert (tmp_path / "out" / "report.html").exists()
    refused = run("experiment", "scaling", data, "--tasks", "one")
    assert (refused.code, refused.err.count("\n")) == (2, 1)


def test_mti_bench(run: Run, tmp_path: Path) -> None:
    """The experiment runs on a file in the benchmark's format, in both formats and all arms."""
    (tmp_path / "bench.json").write_text(json.dumps(BENCH))
    model = mti.FunctionModel(lambda request: "<task1>[2, 5]<task1/> <task2>7<task2/>")
    done = run("experiment", "mti-bench", "bench.json", "--json", "-o", "out", model=model)
    assert done.code == 0, done.err
    assert json.loads(done.out)["report"].endswith("report.html")
    refused = run("experiment", "mti-bench", "absent.json")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
