"""The command line as it is met: words in, one line of error or one object out, an exit code."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import mtiprompt as mti
from mtiprompt.cli import main
from mtiprompt.cli.app import app
from mtiprompt.cli.race import demo_program, demo_rows
from mtiprompt.testing import ChatServer

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "examples" / "data"
FACTS = str(DATA / "facility_emails_demo.task.json")
TRIAGE = '''\
"""A program for the tests."""
import mtiprompt as mti

print("printed at import")
triage = mti.combine("message -> urgent: bool", "message -> words: int")
single = "message -> mood: str"
number = 7
'''


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output, which must be one JSON object and nothing else."""
        value: dict[str, Any] = json.loads(self.out)
        assert isinstance(value, dict)
        return value


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in a folder that has `triage.py`, answered by a fake model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "path", sys.path.copy())
    (tmp_path / "triage.py").write_text(TRIAGE)

    def command(*words: str, model: mti.LanguageModel | None = None) -> Done:
        with mti.using(model=model or mti.EchoModel()):
            code = main(words)
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return command


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# --- bad input -------------------------------------------------------------------------------


def error_of(done: Done) -> str:
    """The one line of a command that was refused."""
    assert done.code == 2
    assert done.out == ""
    said = done.err.replace("printed at import\n", "")
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said.removeprefix("error: ").strip()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("triage.py", "'triage.py' names no program (a PROGRAM is module:name, file.py:name"),
        ("none.py:triage", "cannot read none.py: there is no such file"),
        ("no_such_module:triage", "there is no module 'no_such_module'"),
        ("triage.py:other", "triage.py has no 'other' (programs there: triage)"),
        ("triage.py:number", "triage.py:number is 'int', no program"),
        ("broken.py:triage", "broken.py does not import: NameError: name 'nothing' is not"),
        ("wrong.py:triage", "wrong.py does not import: SyntaxError: "),
        ("leaves.py:triage", "leaves.py does not import: SystemExit: enough, leaves.py, line 1"),
        ("none.task.json", "cannot read none.task.json: No such file or directory"),
        ("odd.task.json", "not a task file: 'inputs' is missing"),
    ],
)
def test_a_program_that_is_not_there_is_named(
    run: Run, tmp_path: Path, program: str, said: str
) -> None:
    """Whatever is wrong with PROGRAM, one line says what, and the exit code is 2."""
    (tmp_path / "broken.py").write_text("x = 1\nnothing.at_all\n")
    (tmp_path / "wrong.py").write_text("def (:\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit('enough')\n")
    (tmp_path / "odd.task.json").write_text("{}")
    assert said in error_of(run("show", program))


def test_an_error_in_the_users_module_has_its_line(run: Run, tmp_path: Path) -> None:
    """The line of the user's own file is named, without a traceback."""
    (tmp_path / "broken.py").write_text("x = 1\nnothing.at_all\n")
    assert error_of(run("show", "broken.py:x")).endswith(", broken.py, line 2")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "nowhere"], "'nowhere' names no provider (write provider/model: "),
        (["--model", "local/none"], "'none' (known: "),
        (["--plan", "other.json"], "the plan is for another program"),
        (["--plan", "none.json"], "cannot read none.json: No such file or directory"),
        (["--plan", "triage.py"], "triage.py, line 1: not JSON"),
        (["-o", "old.jsonl"], "old.jsonl exists (--force replaces it)"),
        (["-o", "rows.jsonl"], "rows.jsonl is input and output at once"),
        (["-o", "new.csv"], "the output is JSONL (-o new.jsonl)"),
        (["-o", "none/new.jsonl"], "there is no folder none"),
        (["-o", "-", "--json"], "--json and -o - both want standard output"),
        (["--concurrency", "0"], "invalid value for '--concurrency'"),
        (["--colour"], "no such option: --colour"),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_any_work(
    run: Run, tmp_path: Path, words: list[str], said: str
) -> None:
    """Unknown model, plan for another program, output that exists, ...: one line, exit code 2."""
    (tmp_path / "rows.jsonl").write_text('{"message": "x"}\n')
    (tmp_path / "old.jsonl").write_text("precious")
    other = mti.combine("text -> mood: str")
    mti.Plan.fused(other).save(tmp_path / "other.json")
    model = mti.EchoModel()
    output = [] if "-o" in words else ["-o", "new.jsonl"]
    done = run("run", "triage.py:triage", "rows.jsonl", *output, *words, model=model)
    assert said in error_of(done)
    assert model.requests == []
    assert (tmp_path / "old.jsonl").read_text() == "precious"
    assert not list(tmp_path.glob("new*"))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("none.jsonl", "cannot read none.jsonl: No such file or directory"),
        ("none.csv", "cannot read none.csv: No such file or directory"),
        ("rows.csv", "rows.csv has no column 'message' (columns: text, id)"),
        ("triage.py", "cannot tell the format of triage.py (name it NAME.jsonl or NAME.csv)"),
    ],
)
def test_an_input_that_cannot_do_is_refused(
    run: Run, tmp_path: Path, source: str, said: str
) -> None:
    """A missing file, or a CSV without a column that the program needs, ends with exit code 2."""
    (tmp_path / "rows.csv").write_text("text,id\nhello,1\n")
    assert error_of(run("run", "triage.py:triage", source, "-o", "out.jsonl")) == said


def test_a_missing_word_is_an_error_in_one_line(run: Run) -> None:
    """A forgotten argument or command is named, with the place that says more."""
    said = error_of(run("run", "triage.py:triage", "rows.jsonl"))
    assert said == "missing option '--output' / '-o' (mtiprompt run --help says more)"
    assert "no such command" in error_of(run("trian")).lower()


@pytest.mark.parametrize("group", [one.name for one in app.registered_groups])
def test_a_group_without_its_command_is_an_error(run: Run, group: str) -> None:
    """The line says what is missing, for every group of commands."""
    assert error_of(run(group)) == f"missing command (mtiprompt {group} --help says more)"


def test_broken_and_incomplete_rows_are_reported_at_the_end(run: Run, tmp_path: Path) -> None:
    """A broken line and a row without its input are named by number; the rest goes on; exit 1."""
    (tmp_path / "rows.jsonl").write_text(
        '{"message": "a"}\n{"message"\n{"text": 1}\n{"message": "d"}'
    )
    done = run("run", "triage.py:triage", "rows.jsonl", "-o", "out.jsonl")
    assert done.code == 1
    assert [line["row"] for line in lines(tmp_path / "out.jsonl")] == [1, 4]
    assert done.err.splitlines()[1:4] == [
        "skipped: line 2: not JSON (Expecting ':' delimiter, column 11)",
        "skipped: row 3: the input 'message' is missing (inputs: message)",
        done.err.splitlines()[3],
    ]
    assert "4 rows" in done.err
    assert "2 done, 0 failed, 2 skipped" in done.err


def test_a_model_that_cannot_be_used_ends_the_run(run: Run, tmp_path: Path) -> None:
    """A mistake that concerns every call stops at once; finished rows are kept, and it says so."""
    (tmp_path / "rows.jsonl").write_text('{"message": "a"}\n{"message": "b"}\n')
    good = '{"urgent": true, "words": 1}'
    bad = mti.ModelError
    from mtiprompt.errors import ModelAccessDenied

    assert issubclass(ModelAccessDenied, bad)
    model = mti.ScriptedModel(
        [good, ModelAccessDenied("the key is wrong", hint="set OPENAI_API_KEY")]
    )
    words = ["run", "triage.py:triage", "rows.jsonl", "-o", "out.jsonl", "--concurrency", "1"]
    done = run(*words, model=model)
    assert done.code == 2
    assert done.err.splitlines()[-2:] == [
        "1 row is kept in out.jsonl.partial; the same command with --resume goes on from there",
        "error: the key is wrong (set OPENAI_API_KEY)",
    ]
    done = run(*words, "--resume", "--json")
    assert (done.code, done.json["resumed"], done.json["done"]) == (0, 1, 2)


# --- show ------------------------------------------------------------------------------------


def test_show_prints_prompt_schema_and_tokens(run: Run) -> None:
    """What is shown is what is sent: messages by role, the schema, and the tokens of each part."""
    done = run("show", FACTS)
    assert done.code == 0
    assert "Which support categories match the e-mail best?" in done.out
    assert "email: <email>" in done.out
    assert '"additionalProperties": false' in done.out
    assert "call 1 of 1: categories, sentiment, urgency, subject" in done.out
    assert "an estimate: characters / 4" in done.out


def test_show_json_is_the_request_of_a_call(run: Run) -> None:
    """The messages and schema under --json are those that a call sends; nothing else is printed."""
    email = demo_rows("test")[0]["inputs"]
    model = mti.EchoModel()
    result = demo_program()(**email, model=model)
    shown = run("show", FACTS, "--input", json.dumps(email), "--json").json["calls"]
    assert len(shown) == 1
    assert [(one["role"], one["content"]) for one in shown[0]["messages"]] == list(
        map(tuple, model.requests[0].messages)
    )
    schema = model.requests[0].schema
    assert schema is not None
    assert shown[0]["schema"] == schema.schema
    assert list(shown[0]["tokens"]) == ["instructions", "form of reply", "demonstrations", "item"]
    whole = sum(len(message.content) for message in result.calls[0].request.messages)
    assert abs(sum(shown[0]["tokens"].values()) - whole / 4) < 10


def test_show_has_every_call_of_a_plan(run: Run, tmp_path: Path) -> None:
    """A saved plan or --arm decides the calls; an answer of an earlier call has a placeholder."""
    (tmp_path / "chain.py").write_text(
        "import mtiprompt as mti\n"
        "chain = mti.combine('message -> mood: str', 'message, mood -> reply: str')\n"
    )
    calls = run("show", "chain.py:chain", "--arm", "split", "--json").json["calls"]
    assert [call["tasks"] for call in calls] == [["mood"], ["reply"]]
    assert "mood: <answer of mood>" in calls[1]["messages"][-1]["content"]
    program = demo_program()
    plan = mti.Plan.groups(
        program,
        [["sentiment", "urgency"], ["subject", "categories"]],
        demos=demo_rows("train"),
    )
    plan.save(tmp_path / "plan.json")
    shown = run("show", FACTS, "--plan", "plan.json", "--json").json
    assert [call["tasks"] for call in shown["calls"]] == [list(g.tasks) for g in plan.call_groups]
    assert mti.Plan.from_json(json.dumps(shown["plan"])) == plan
    assert all(call["tokens"]["demonstrations"] > 300 for call in shown["calls"])


def test_show_takes_modules_tasks_and_items_of_files(run: Run, tmp_path: Path) -> None:
    """PROGRAM may be a module of the current folder or a bare task; --input may name a file."""
    (tmp_path / "item.json").write_text('{"message": "from a file"}')
    done = run("show", "triage:single", "--input", "@item.json", "--json")
    assert done.json["tasks"] == ["mood"]
    assert done.json["calls"][0]["messages"][-1]["content"] == "message: from a file"


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("{", "--input is not JSON"),
        ("[1]", "--input is not a JSON object"),
        ("{}", "the input 'message' is missing"),
        ('{"message": "x", "more": 1}', "there is no input 'more'"),
        ("@none.json", "cannot read none.json"),
    ],
)
def test_show_refuses_an_item_that_does_not_fit(run: Run, item: str, said: str) -> None:
    """An item that is no JSON, or not the program's, is refused with the reason."""
    assert error_of(run("show", "triage.py:triage", "--input", item)).startswith(said)


# --- run -------------------------------------------------------------------------------------


def test_run_answers_a_csv_file(run: Run, tmp_path: Path) -> None:
    """A CSV file becomes JSONL, with ids handed on; the report goes to standard error."""
    (tmp_path / "rows.csv").write_text("id,message\na,hello\nb,there\nc,last\n")
    done = run("run", "triage.py:triage", "rows.csv", "-o", "out.jsonl", "--limit", "2")
    assert (done.code, done.out) == (0, "")
    assert lines(tmp_path / "out.jsonl") == [
        {"id": "a", "row": 1, "answers": {"urgent": False, "words": 0}},
        {"id": "b", "row": 2, "answers": {"urgent": False, "words": 0}},
    ]
    assert "2 done, 0 failed, 0 skipped -> out.jsonl" in done.err


def test_json_output_is_one_object_whatever_the_program_prints(run: Run, tmp_path: Path) -> None:
    """Under --json standard output holds one object; what modules print goes to standard error."""
    (tmp_path / "rows.jsonl").write_text('{"message": "a"}\nbroken\n')
    done = run("run", "triage.py:triage", "rows.jsonl", "-o", "out.jsonl", "--json")
    assert done.code == 1
    assert done.json["output"] == "out.jsonl"
    assert (done.json["rows"], done.json["done"], done.json["skipped"]) == (2, 1, 1)
    assert done.json["problems"][0]["row"] == 2
    assert done.json["usage"]["calls"] == 1
    assert "printed at import" in done.err


def test_standard_streams_carry_jsonl(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With `-` for both files, lines come in and go out in a pipe, and nothing else does."""
    given = io.TextIOWrapper(io.BytesIO(b'{"message": "a"}\n{"message": "b"}\n'))
    monkeypatch.setattr(sys, "stdin", given)
    done = run("run", "triage.py:triage", "-", "-o", "-")
    assert [json.loads(line)["row"] for line in done.out.splitlines()] == [1, 2]


def test_a_saved_plan_decides_the_calls(run: Run, tmp_path: Path) -> None:
    """`run --plan` makes the calls of the plan."""
    program = mti.combine("message -> urgent: bool", "message -> words: int")
    mti.Plan.split(program).save(tmp_path / "split.json")
    (tmp_path / "rows.jsonl").write_text('{"message": "a"}\n')
    words = ["run", "triage.py:triage", "rows.jsonl", "-o", "out.jsonl", "--plan", "split.json"]
    assert run(*words, "--json").json["usage"]["calls"] == 2


INTERRUPTED = """\
import sys, time
import mtiprompt as mti
from mtiprompt.cli import main

def answer(request):
    if "stop" in request.messages[-1].content:
        print("waiting", file=sys.__stdout__, flush=True)
        time.sleep(60)
    return '{"urgent": true, "words": 1}'

with mti.using(model=mti.FunctionModel(answer)):
    sys.exit(main(sys.argv[1:]))
"""


def test_ctrl_c_keeps_what_is_finished(run: Run, tmp_path: Path) -> None:
    """An interrupt ends a run at once with exit code 130; what is done is kept and gone on from."""
    rows = [{"message": "go"}, {"message": "go"}, {"message": "stop"}, {"message": "go"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "slow.py").write_text(INTERRUPTED)
    words = ["run", "triage.py:triage", "rows.jsonl", "-o", "out.jsonl", "--concurrency", "1"]
    with subprocess.Popen(
        [sys.executable, "slow.py", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "waiting\n"
        partial = tmp_path / "out.jsonl.partial"
        while len(lines(partial)) < 2:
            time.sleep(0.01)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert time.monotonic() - begun < 10
    assert process.returncode == 130
    assert said.splitlines()[-1] == (
        "interrupted: 2 rows are kept in out.jsonl.partial; "
        "the same command with --resume goes on from there"
    )
    assert len(lines(partial)) == 2
    done = run(*words, "--resume", "--json")
    assert (done.code, done.json["done"], done.json["usage"]["calls"]) == (0, 4, 2)
    assert not partial.exists()


@pytest.mark.local
def test_a_real_model_answers_from_the_command_line(tmp_path: Path) -> None:
    """`python -m mtiprompt run` with a model in the process answers and counts what it read."""
    words = ["-o", str(tmp_path / "out.jsonl"), "--model", "local/smollm2-135m", "--limit", "1"]
    source = str(DATA / "facility_emails_demo.jsonl")
    done = subprocess.run(
        [sys.executable, "-m", "mtiprompt", "run", FACTS, source, *words, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["done"], report["usage"]["calls"]) == (1, 1)
    assert report["usage"]["prompt_tokens"] > 200
    answers = lines(tmp_path / "out.jsonl")[0]["answers"]
    assert answers["sentiment"] in {"negative", "neutral", "positive"}
    assert list(answers) == ["categories", "sentiment", "urgency", "subject"]


# --- demo ------------------------------------------------------------------------------------


def timed(request: mti.Request) -> str:
    """Answers as the gold of no message; takes the same time for every call."""
    time.sleep(0.05)  # well above what a busy machine adds
    assert request.schema is not None
    known = {
        "categories": ["general_inquiries"],
        "sentiment": "neutral",
        "urgency": "low",
        "subject": "A request",
    }
    return json.dumps({name: known[name] for name in request.schema.schema["properties"]})


def test_demo_measures_both_arms_and_the_cache(run: Run) -> None:
    """Four calls a message against one take about four times as long where every call takes alike;
    the third run is answered by the cache, and the warm-up is counted apart."""
    report = run("demo", "--json", model=mti.FunctionModel(timed)).json
    arms = report["arms"]
    assert (arms["fused"]["calls"], arms["split"]["calls"]) == (8, 32)
    assert (arms["fused"]["hits"], arms["split"]["hits"]) == (0, 0)
    assert report["warm_up"]["calls"] == 5
    assert (report["cached"]["calls"], report["cached"]["hits"]) == (0, 8)
    assert report["cached"]["seconds"] < arms["fused"]["seconds"]
    seconds = {name: arm["seconds"] for name, arm in arms.items()}
    assert report["split_over_fused_seconds"] == pytest.approx(
        seconds["split"] / seconds["fused"], rel=0.02
    )
    assert 2.5 < report["split_over_fused_seconds"] < 6
    assert {"prompt_tokens", "cached_tokens", "completion_tokens"} <= set(arms["fused"])


def test_demo_counts_what_is_right_in_both_arms(run: Run) -> None:
    """Scores are those of the gold labels, for both arms, by each task's own metric."""
    report = run("demo", "--json", model=mti.FunctionModel(timed)).json
    golds = [row["outputs"] for row in demo_rows("test")]
    for arm in report["arms"].values():
        assert arm["exact"]["sentiment"] == sum(gold["sentiment"] == "neutral" for gold in golds)
        assert arm["exact"]["categories"] == 0
        assert arm["scores"]["categories"] > 0
    assert [answer["gold"] for answer in report["answers"]] == golds
    assert report["answers"][0]["fused"]["answers"]["urgency"] == "low"


def test_demo_shows_tables_on_a_narrow_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables and the measured ratio are printed; no row is lost."""
    monkeypatch.setenv("COLUMNS", "80")
    done = run("demo", "--limit", "2", model=mti.FunctionModel(timed))
    assert done.code == 0
    assert "✓ neutral" in done.out
    assert "(medium)" in done.out
    assert "completion tokens" in done.out
    assert "times as long as one call a message" in done.out
    assert "2 of 2 answers, 0 calls" in done.out
    assert max(map(len, done.out.splitlines())) <= 200


def test_demo_shows_a_lost_answer_as_one(run: Run) -> None:
    """A task without an answer counts as wrong and is shown; it is not stored in the cache."""

    def lossy(request: mti.Request) -> str:
        return json.dumps(json.loads(timed(request)) | {"sentiment": "furious"})

    done = run("demo", "--limit", "1", model=mti.FunctionModel(lossy))
    assert done.code == 0
    assert "no answer" in done.out
    assert "0 of 1 answers, 5 calls," in done.out  # asked for, together, three times alone


def test_demo_ends_with_the_error_of_a_call_that_failed(run: Run) -> None:
    """Seconds of failed calls are not compared: the demo ends with the reason."""
    from mtiprompt.errors import ModelTimeout

    done = run("demo", model=mti.ScriptedModel([ModelTimeout("no reply in time")]))
    assert done.code == 2
    assert done.err.splitlines()[-1] == "error: no reply in time"


def test_demo_runs_against_a_provider(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--model openai/...` sends the same prompts over HTTP, 1 + 4 a message and 5 before."""
    with ChatServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        report = run("demo", "--model", "openai/any", "--limit", "2", "--json").json
    assert report["model"] == "openai/any"
    assert (report["arms"]["fused"]["calls"], report["arms"]["split"]["calls"]) == (2, 8)
    assert len(server.requests) == 15
    assert report["cached"]["hits"] == 2


def test_the_demo_data_is_what_its_source_page_says() -> None:
    """Eight messages and two demonstrations of the lengths named, subject lines cut out."""
    test, train = demo_rows("test"), demo_rows("train")
    assert (len(test), len(train)) == (8, 2)
    assert all(1000 <= len(row["inputs"]["email"]) <= 1200 for row in test)
    assert all(700 <= len(row["inputs"]["email"]) <= 850 for row in train)
    assert len({row["outputs"]["subject"] for row in test}) == 8
    for row in [*test, *train]:
        assert "Subject:" not in row["inputs"]["email"]
        assert set(row["outputs"]) == {"categories", "sentiment", "urgency", "subject"}
    assert train[0]["outputs"]["sentiment"] != train[1]["outputs"]["sentiment"]
    mti.Plan.fused(demo_program(), demos=[*test, *train])  # every gold label is an allowed one
    source = (DATA / "SOURCE.md").read_text(encoding="utf-8")
    assert "2de10991c43121fa7f75bf9f600eeb6290aa234d" in source
    assert "Permission is hereby granted" in source


# --- models, cache, help ---------------------------------------------------------------------


def test_models_are_listed_and_found(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list says what is here; the path of a model that is not here says how to fetch it."""
    monkeypatch.setenv("MTIPROMPT_MODELS_DIR", str(tmp_path))
    (tmp_path / "smollm2-135m.gguf").write_bytes(b"GGUF")
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    listed = {one["name"]: one for one in run("models", "list", "--json").json["models"]}
    assert listed["local/smollm2-135m"]["installed"] is True
    assert listed["local/qwen2.5-coder-0.5b"]["installed"] is False
    assert listed["local/mine"] == {"name": "local/mine", "installed": True}
    assert "local/qwen2.5-coder-0.5b" in run("models", "list").out
    path = run("models", "path", "local/smollm2-135m").out
    assert path == f"{tmp_path / 'smollm2-135m.gguf'}\n"
    assert "mtiprompt models pull qwen2.5-coder-0.5b" in error_of(
        run("models", "path", "qwen2.5-coder-0.5b")
    )
    assert "'none' (known: " in error_of(run("models", "path", "none"))
    assert "'none' (known: " in error_of(run("models", "pull", "none"))


def test_the_demo_names_a_model_that_is_not_in_the_catalogue(run: Run) -> None:
    """A mistyped local model is an error before anything is fetched."""
    assert "'qwen' (known: " in error_of(run("demo", "--model", "local/qwen"))


def test_the_cache_is_counted_and_emptied(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cache stats` counts replies and `cache clear` removes them."""
    from mtiprompt.models.cache import CachedModel, ReplyCache

    folder = tmp_path / "replies"
    monkeypatch.setenv("MTIPROMPT_CACHE_DIR", str(folder))
    replies = ReplyCache.at(folder)
    program = mti.combine("message -> mood: str")
    program(message="x", model=CachedModel(mti.EchoModel(), replies))
    report = run("cache", "stats", "--json").json
    assert (report["folder"], report["entries"]) == (str(folder), 1)
    assert "1 reply, " in run("cache", "stats").out
    assert run("cache", "clear", "--json").json["removed"] == 1
    assert "removed 0 replies" in run("cache", "clear").out
    replies.close()


@pytest.mark.parametrize(
    "command", [["demo"], ["show"], ["run"], ["models", "pull"], ["cache", "stats"]]
)
def test_help_teaches_by_example(run: Run, command: list[str]) -> None:
    """The help of each command has an example of it."""
    done = run(*command, "--help")
    assert done.code == 0
    assert f"$ mtiprompt {' '.join(command)}" in done.out


def test_version_and_bare_name(run: Run) -> None:
    """`--version` prints the version; no command prints the help."""
    assert run("--version").out == f"mtiprompt {mti.__version__}\n"
    assert "demo" in run().out


def test_a_warning_takes_one_line(run: Run, tmp_path: Path) -> None:
    """Warnings of the library and of the user's modules are printed in one line, without code."""
    (tmp_path / "warns.py").write_text(
        "import logging, warnings\n"
        "warnings.warn('an old\\nthing')\n"
        "logging.getLogger('mtiprompt.x').warning('a thing of %s', 'ours')\n"
        "one = 'message -> mood: str'\n"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # in tests a warning is an error
        done = run("show", "warns.py:one", "--json")
    assert done.json["tasks"] == ["mood"]
    assert done.err == "warning: an old thing\nwarning: a thing of ours\n"


def test_the_command_line_starts_without_the_client_libraries() -> None:
    """litellm, dspy, xllamacpp and diskcache wait until they are needed."""
    code = (
        "import sys, mtiprompt.cli; heavy = {'litellm', 'dspy', 'xllamacpp', 'diskcache'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
