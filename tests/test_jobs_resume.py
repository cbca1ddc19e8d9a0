"""A run that was stopped is gone on with by its like alone, or not at all."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.cli import main
from mtiprompt.errors import DataError, ModelNotFound
from mtiprompt.files import Numbered, ResultFile
from mtiprompt.jobs.rows import Summary, run_rows

triage = mti.combine("message -> urgent: bool", "message -> words: int")


class Stopped(Exception):
    """What stops a run in these tests."""


def telling(name: str = "telling") -> mti.FunctionModel:
    """A model whose answer tells which row it was asked about."""

    def answer(request: mti.Request) -> str:
        number = re.findall(r"<(\d+)>", request.messages[-1].content)[-1]
        return json.dumps({"urgent": True, "words": int(number)})

    return mti.FunctionModel(answer, name=name)


def named(*numbers: int) -> list[Any]:
    return [{"message": f"<{number}>", "id": number} for number in numbers]


def run(
    rows: Sequence[Any],
    target: Path,
    *,
    program: mti.Program = triage,
    stop: int = 0,
    resume: bool = True,
    model: mti.FunctionModel | None = None,
    plan: mti.Plan | None = None,
) -> Summary:
    """Run over rows, and stop after some of them."""
    summary = Summary()
    numbered: Iterator[Numbered] = enumerate(rows, start=1)
    written = 0

    def progress(_: Summary) -> None:
        nonlocal written
        if stop and output.lines > written and output.lines >= stop:
            raise Stopped
        written = output.lines

    with ResultFile(target, resume=resume) as output:
        run_rows(
            program, numbered, output, summary, model=model or telling(), plan=plan,
            concurrency=1, progress=progress,
        )  # fmt: skip
    return summary


def stopped(rows: Sequence[Any], target: Path, after: int = 2, **options: Any) -> bytes:
    """Run until some rows are written; gives what is left of it."""
    with pytest.raises(Stopped):
        run(rows, target, stop=after, **options)
    return target.with_name(f"{target.name}.partial").read_bytes()


def refused(rows: Sequence[Any], target: Path, what: str, **options: Any) -> None:
    """Going on is refused, nobody is asked, and what was left is as it was."""
    before = {one.name: one.read_bytes() for one in target.parent.iterdir()}
    model = options.pop("model", telling())
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            run(rows, target, model=model, **options)
        assert str(caught.value) == (
            f"{target}.partial is of another {what} "
            "(--resume goes on with the same input, program and plan; --force starts anew)"
        )
    assert model.requests == []
    assert {one.name: one.read_bytes() for one in target.parent.iterdir()} == before


# a row that cannot be read, or one of a few that differ in id or text
kinds = st.sampled_from([None, (1, 1), (2, 2), (2, 1), (3, None)])


def _row(kind: tuple[int, int | None] | None) -> Any:
    if kind is None:
        return DataError("no row")
    return {"message": f"<{kind[0]}>"} | ({} if kind[1] is None else {"id": kind[1]})


@given(st.lists(kinds, min_size=2, max_size=5), st.lists(kinds, max_size=6), st.integers(1, 4))
def test_what_comes_out_is_what_one_run_would_give(
    first: list[Any], second: list[Any], after: int
) -> None:
    """Whatever rows a run is gone on with: it is refused, or its output is that of one run over
    these rows; over the same rows, or over more of them, it is never refused, nor asked twice."""
    with tempfile.TemporaryDirectory() as folder:
        parts, whole = Path(folder, "parts.jsonl"), Path(folder, "whole.jsonl")
        try:
            run([_row(one) for one in first], parts, stop=after)
        except Stopped:
            pass
        else:
            return  # nothing was left to do
        rest = [_row(one) for one in second]
        run(rest, whole)
        model = telling()
        try:
            summary = run(rest, parts, model=model)
        except DataError as error:
            said = str(error)
        else:
            assert parts.read_bytes() == whole.read_bytes()
            assert len(model.requests) == summary.done - summary.resumed
            assert {one.name for one in Path(folder).iterdir()} == {parts.name, whole.name}
            return
        assert "is of another input" in said
        assert model.requests == []
        assert second[: len(first)] != first


def test_rows_of_another_file_are_not_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run --resume` over another file is one line of error, exit code 2, and mixes nothing."""
    monkeypatch.chdir(tmp_path)
    Path("triage.py").write_text(
        'import mtiprompt as mti\n'
        'triage = mti.combine("message -> urgent: bool", "message -> words: int")\n'
    )  # fmt: skip
    for name, numbers in {"one": (1, 2, 3), "two": (4, 5, 6)}.items():
        lines = "".join(json.dumps(row) + "\n" for row in named(*numbers))
        Path(f"{name}.jsonl").write_text(lines)
    words = ["-o", "out.jsonl", "--resume"]
    left = stopped(named(1, 2, 3), Path("out.jsonl"))
    with mti.using(model=telling()):
        assert main(["run", "triage.py:triage", "two.jsonl", *words]) == 2
        [said] = capsys.readouterr().err.splitlines()
        assert said.startswith("error: out.jsonl.partial is of another input (--resume goes on")
        assert Path("out.jsonl.partial").read_bytes() == left
        assert main(["run", "triage.py:triage", "one.jsonl", *words]) == 0
    answers = [
        json.loads(line)["answers"]["words"] for line in Path("out.jsonl").read_text().splitlines()
    ]
    assert answers == [1, 2, 3]
    assert not list(Path().glob("out.jsonl.*"))


@pytest.mark.parametrize("after", [1, 2])
def test_a_refusal_says_nothing_of_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], after: int
) -> None:
    """With another program or plan, or lines that are none, the same command would be refused
    again: it is told in one line. What does go on with the same command is told that it does."""
    monkeypatch.chdir(tmp_path)
    Path("triage.py").write_text(
        'import mtiprompt as mti\n'
        'triage = mti.combine("message -> urgent: bool", "message -> words: int")\n'
        'other = mti.combine("message -> urgent: bool", "message -> number: int")\n'
    )  # fmt: skip
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in named(1, 2, 3)))
    mti.Plan.split(triage).save("split.json")
    left = stopped(named(1, 2, 3), Path("out.jsonl"), after=after)

    def say(name: str, *more: str, model: mti.LanguageModel | None = None) -> list[str]:
        with mti.using(model=model or telling()):
            words = [f"triage.py:{name}", "rows.jsonl", "-o", "out.jsonl", "--resume", *more]
            assert main(["run", *words]) == 2
        return capsys.readouterr().err.splitlines()

    [program] = say("other")
    [plan] = say("triage", "--plan", "split.json")
    assert program.startswith("error: out.jsonl.partial is of another program (--force")
    assert plan.startswith("error: out.jsonl.partial is of another plan (--resume goes on")
    *_, kept, error = say("triage", model=mti.ScriptedModel([ModelNotFound("gone")]))
    noun = "row is" if after == 1 else "rows are"
    assert kept.startswith(f"{after} {noun} kept in out.jsonl.partial; the same command")
    assert error == "error: gone"
    assert Path("out.jsonl.partial").read_bytes() == left
    with Path("out.jsonl.partial").open("a") as file:
        file.write("[]\n")
    [damaged] = say("triage")
    assert "not a line of a result file (--force starts anew)" in damaged


def test_another_program_or_plan_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Other words of a task, another type or plan are told before any call; another model goes on,
    as the first may be gone, and that is said."""
    target, rows = tmp_path / "out.jsonl", named(1, 2, 3)
    stopped(rows, target)
    urgent = mti.task("message -> urgent: bool", instruction="Must it be done today?")
    refused(rows, target, "wording", program=mti.combine(urgent, "message -> words: int"))
    other = mti.combine("message -> urgent: str", "message -> words: int")
    refused(rows, target, "program", program=other)
    refused(rows, target, "plan", plan=mti.Plan.split(triage))
    assert caplog.text == ""
    other_model = telling("other")
    assert run(rows, target, model=other_model, plan=mti.Plan.fused(triage)).resumed == 2
    assert len(other_model.requests) == 1
    assert "out.jsonl.partial has answers of another model" in caplog.text


def test_the_rows_before_the_last_must_be_the_same(tmp_path: Path) -> None:
    """A row that is another, mended, missing or in another place is another input; rows behind
    those that are answered may change, and come in addition."""
    target = tmp_path / "out.jsonl"
    bad, later = DataError("line 2: not JSON"), DataError("line 5: not JSON")
    stopped([*named(1), bad, *named(3, 4), later], target)
    for rows in (
        [*named(1), bad, *named(7)],
        [*named(1), *named(2, 3, 4)],
        [*named(1), bad],
        [bad, *named(1, 3, 4)],
        [{"message": "<1>", "id": "x"}, bad, *named(3, 4)],
        [],
    ):
        refused(rows, target, "input")
    summary = run([*named(1), bad, *named(3, 9, 5, 6)], target)
    assert (summary.done, summary.resumed, summary.skipped) == (5, 2, 1)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_kill_between_a_line_and_its_mark_is_gone_on_from(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark may be one line behind: the same rows go on, and others are refused still."""
    target, rows = tmp_path / "out.jsonl", named(1, 2, 3, 4)
    mark = ResultFile.mark

    def last(self: ResultFile, origin: Any) -> None:
        if origin["row"] == after:
            raise Stopped
        mark(self, origin)

    with monkeypatch.context() as patch:
        patch.setattr(ResultFile, "mark", last)
        with pytest.raises(Stopped):
            run(rows, target)
    if after > 1:
        refused(named(8, 2, 3, 4), target, "input")
    assert run(rows, target).resumed == after


def test_what_an_earlier_version_left_is_gone_on_from(tmp_path: Path) -> None:
    """Lines without a mark are taken as they are; from then on they have one."""
    target, rows = tmp_path / "out.jsonl", named(1, 2, 3)
    stopped(rows, target, after=1)
    (tmp_path / "out.jsonl.partial.from").unlink()
    stopped(rows, target, after=1)
    refused(named(8, 2, 3), target, "input")
    assert run(rows, target).resumed == 2


def test_a_mark_that_is_none_is_refused(tmp_path: Path) -> None:
    """A damaged mark is an error of the data, as a damaged line is."""
    target, rows = tmp_path / "out.jsonl", named(1, 2, 3)
    stopped(rows, target)
    beside = tmp_path / "out.jsonl.partial.from"
    for text in ("", "[]", "{}", '{"row": "x"}'):
        beside.write_text(text)
        with pytest.raises(DataError, match=r"out\.jsonl\.partial\.from.*--force starts anew"):
            run(rows, target)
    with pytest.raises(DataError, match="is left from a run that was stopped"):
        run(rows, target, resume=False)
    beside.write_text("{}")
    (tmp_path / "out.jsonl.partial").unlink()
    assert run(rows, target).resumed == 0
    assert [one.name for one in tmp_path.iterdir()] == ["out.jsonl"]


def test_what_is_kept_may_be_shorter_than_before(tmp_path: Path) -> None:
    """Nothing of the longer one is left behind it, as where lines were lost."""
    output = ResultFile(tmp_path / "out.jsonl", force=True)
    with output:
        output.mark({"row": 10})
        output.mark({"row": 9})
        assert json.loads(output.origin.read_text()) == {"row": 9}
