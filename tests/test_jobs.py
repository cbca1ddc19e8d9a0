"""Rows in, results out: what is read, what is written, and what a stopped run leaves."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.errors import DataError, ModelNotFound
from mtiprompt.files import Numbered, ResultFile, count_rows, open_rows
from mtiprompt.jobs.rows import LISTED, Summary, run_rows

triage = mti.combine("message -> urgent: bool", "message -> words: int")
DECOMPOSED = unicodedata.normalize("NFD", "größe")


def read(path: Path, *needs: str) -> list[Numbered]:
    with open_rows(path, needs) as rows:
        return list(rows)


def errors(rows: list[Numbered]) -> dict[int, str]:
    return {number: str(row) for number, row in rows if isinstance(row, DataError)}


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run(
    rows: list[Any], output: ResultFile, model: mti.LanguageModel | None = None, **options: Any
) -> Summary:
    summary = Summary()
    numbered: Iterator[Numbered] = enumerate(rows, start=1)
    with output:
        run_rows(triage, numbered, output, summary, model=model or mti.EchoModel(), **options)
    return summary


# --- reading ---------------------------------------------------------------------------------


def test_a_broken_json_line_is_an_error_in_its_place(tmp_path: Path) -> None:
    """Lines that are no JSON, no object or no UTF-8 are named by number; the others are read."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"message": "one"}\n\n{"message": \n[1]\n{"message": "\xff"}\n'
        b'{"message": "six"}'
    )
    rows = read(path)
    assert [number for number, _ in rows] == [1, 3, 4, 5, 6]
    assert dict(rows)[1] == {"message": "one"}
    assert dict(rows)[6] == {"message": "six"}
    assert errors(rows) == {
        3: "line 3: not JSON (Expecting value, column 13)",
        4: 'line 4: not a JSON object (a row is {"input": "text"})',
        5: "line 5: not UTF-8 text",
    }


def test_json_that_is_too_deep_costs_only_its_line(tmp_path: Path) -> None:
    """A line nested deeper than can be read does not end the run."""
    path = tmp_path / "rows.jsonl"
    path.write_text("[" * 200_000 + '\n{"message": "x"}\n')
    rows = read(path)
    assert list(errors(rows)) == [1]
    assert rows[1] == (2, {"message": "x"})


def test_half_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    """A lone surrogate, which no request can carry, costs its line; a pair is one letter."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"message": "\\ud83d"}\n{"message": "\\uD83D\\uDE00"}\n')
    rows = read(path)
    assert errors(rows) == {1: "line 1: half of a surrogate pair, which is no text"}
    assert rows[1] == (2, {"message": "\U0001f600"})


def test_csv_cells_are_taken_by_column(tmp_path: Path) -> None:
    """Quoted commas, quotes and line breaks are read; rows count from 1 below the header."""
    path = tmp_path / "rows.CSV"
    path.write_text('\ufeffid, message\n7,"a, ""b""\nc"\n\n8,d,e\n9\n', encoding="utf-8")
    rows = read(path, "message")
    assert rows[0] == (1, {"id": "7", "message": 'a, "b"\nc'})
    assert errors(rows) == {2: "row 2: 3 cells, the header has 2 (quote cells with commas)"}
    assert rows[2] == (3, {"id": "9"})


def test_empty_csv_cells_are_left_out_unless_needed(tmp_path: Path) -> None:
    """An empty cell of a needed column is an empty text; another is as if it were not there."""
    path = tmp_path / "rows.csv"
    path.write_text("message,note\n,\n")
    assert read(path, "message") == [(1, {"message": ""})]


def test_csv_columns_are_found_however_their_names_are_written(tmp_path: Path) -> None:
    """A needed column is found in other letters of Unicode; the others keep their names."""
    path = tmp_path / "rows.csv"
    path.write_text(f"id,{DECOMPOSED},m²,m2\n7,,a,b\n", encoding="utf-8")
    row = {"id": "7", "größe": "", "m²": "a", "m2": "b"}
    assert read(path, "größe") == [(1, row)]


def test_a_csv_column_that_merely_reads_as_a_needed_one_is_let_be(tmp_path: Path) -> None:
    """`m²` beside the needed `m2` is another column; of two that read so and are not the needed one
    as it is written, and of two ways to write one letter, none is chosen.
    """
    path = tmp_path / "rows.csv"
    for header in (" m2 ,m²", "m2,\uff4d2"):
        path.write_text(f"{header}\na,b\n", encoding="utf-8")
        other = header[-2:]
        assert read(path, "m2") == [(1, {"m2": "a", other: "b"})]
    for header, name in (("m²,\uff4d2", "m2"), (f"größe,{DECOMPOSED}", "größe")):
        path.write_text(f"{header}\na,b\n", encoding="utf-8")
        with pytest.raises(DataError, match=f"has two columns named '{name}'"):
            read(path, name)


def test_a_csv_row_that_is_no_utf8_fails_alone(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 cost their row, not the file."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"message\nfine\n\xff\xfe\nfine too\n")
    with open_rows(path) as rows:
        summary = Summary()
        with ResultFile(tmp_path / "out.jsonl") as output:
            run_rows(triage, rows, output, summary, model=mti.EchoModel())
    assert (summary.done, summary.skipped) == (2, 1)
    assert summary.problems[0].message == "row 2: not UTF-8 text"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.jsonl", None, "cannot read {}: No such file or directory"),
        ("missing.csv", None, "cannot read {}: No such file or directory"),
        ("rows.txt", "x", "cannot tell the format of {} (name it NAME.jsonl or NAME.csv)"),
        ("rows.csv", "a,b\n1,2\n", "{} has no column 'message' (columns: a, b)"),
        ("rows.csv", "message,message\n1,2\n", "{} has two columns named 'message'"),
        ("rows.csv", "\uff4dessage,\uff4d\uff45ssage\n1,2\n", "{} has two columns named 'message'"),
        ("rows.csv", "", "{} has no column 'message' (columns: )"),
    ],
)
def test_a_file_that_cannot_do_is_refused_at_once(
    tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    """A file that is missing, of an unknown kind or without the column says so before any row."""
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError) as caught, open_rows(path, ["message"]):
        pass
    assert str(caught.value) == said.format(path)


def test_rows_are_counted_for_the_progress_bar(tmp_path: Path) -> None:
    """The count is that of the rows that are read; streams have none."""
    lines, table = tmp_path / "a.jsonl", tmp_path / "a.csv"
    lines.write_text('{"message": "x"}\n\n{"message": "y"}\n')
    table.write_text('message\n"x\ny"\nz\n')
    assert (count_rows(lines), count_rows(table), count_rows("-")) == (2, 2, None)


texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.fixed_dictionaries({"id": texts, "message": texts}), max_size=5))
def test_any_text_comes_through_both_formats(rows: list[dict[str, str]]) -> None:
    """Whatever text a JSONL or CSV file holds is what the program is given."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        lines, table = Path(folder, "a.jsonl"), Path(folder, "a.csv")
        lines.write_text(
            "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8", newline=""
        )
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_ALL)
        writer.writerows([["id", "message"], *([row["id"], row["message"]] for row in rows)])
        table.write_text(text.getvalue(), encoding="utf-8", newline="")
        assert [row for _, row in read(lines)] == rows
        assert [row for _, row in read(table, "id", "message")] == rows


# --- running ---------------------------------------------------------------------------------


def test_each_row_gets_its_line(tmp_path: Path) -> None:
    """Lines come in the order of the rows, with number, id and answers by task name."""
    rows = [{"message": "a", "id": 7}, {"message": "b", "other": 1}, {"inputs": {"message": "c"}}]
    summary = run(rows, ResultFile(tmp_path / "out.jsonl"))
    answers = {"urgent": False, "words": 0}
    assert written(tmp_path / "out.jsonl") == [
        {"id": 7, "row": 1, "answers": answers},
        {"row": 2, "answers": answers},
        {"row": 3, "answers": answers},
    ]
    assert (summary.done, summary.rows, summary.usage.calls) == (3, 3, 3)
    assert not (tmp_path / "out.jsonl.partial").exists()


def test_bad_rows_are_listed_and_the_others_answered(tmp_path: Path) -> None:
    """A broken row and one without its input are skipped by number; a lost task is a failure."""

    def answer(request: mti.Request) -> str:
        return '{"urgent": true}' if "lame" in request.messages[-1].content else (
            '{"urgent": true, "words": 3}'
        )  # fmt: skip

    rows = [{"message": "a"}, DataError("line 2: not JSON"), {"text": "c"}, {"message": "lame"}]
    summary = run(rows, ResultFile(tmp_path / "out.jsonl"), mti.FunctionModel(answer))
    assert [(one.row, one.message, one.skipped) for one in summary.problems] == [
        (2, "line 2: not JSON", True),
        (3, "row 3: the input 'message' is missing (inputs: message)", True),
        (4, "row 4: words: missing: the reply has none of the keys", False),
    ]
    assert (summary.done, summary.failed, summary.skipped) == (1, 1, 2)
    lines = written(tmp_path / "out.jsonl")
    assert [line["row"] for line in lines] == [1, 4]
    assert lines[1]["answers"] == {"urgent": True}
    assert list(lines[1]["failures"]) == ["words"]


@pytest.mark.parametrize("name", ["größe", DECOMPOSED])
@pytest.mark.parametrize("nested", [False, True])
def test_inputs_are_found_however_their_names_are_written(
    tmp_path: Path, name: str, nested: bool
) -> None:
    """Unicode writes `ö` in two ways: an input is read in both, a column that is none let be, and
    a row that has both loses neither in silence.
    """
    program, model = mti.combine(f"{name} -> b: bool"), mti.EchoModel()
    rows: list[dict[str, Any]] = [{one: one, "m²": 1, "m2": 2} for one in ("größe", DECOMPOSED)]
    rows.append({"größe": "a", DECOMPOSED: "b"})
    summary = Summary()
    numbered = enumerate(({"inputs": row} for row in rows) if nested else rows, start=1)
    with ResultFile(tmp_path / "out.jsonl") as output:
        run_rows(program, numbered, output, summary, model=model)
    assert (summary.done, summary.skipped, len(model.requests)) == (2, 1, 2)
    assert [one.message for one in summary.problems] == [
        "row 3: the name 'größe' is there twice, in letters that look the same "
        "(leave one out: names are read in the form NFKC)"
    ]


@pytest.mark.parametrize("nested", [False, True])
def test_a_column_that_merely_reads_as_an_input_is_let_be(tmp_path: Path, nested: bool) -> None:
    """`m²` beside the input `m2` is a column like any other; alone it is the input, and of two that
    read so, neither of them the input as it is written, none is chosen.
    """
    program, model = mti.combine("m2 -> b: bool"), mti.EchoModel()
    rows: list[dict[str, Any]] = [
        {"m2": "a", "m²": "b"}, {"m²": "b", "m2": "a"}, {"m²": "a"}, {"m²": "b", "\uff4d2": "c"}
    ]  # fmt: skip
    summary = Summary()
    numbered = enumerate(({"inputs": row} for row in rows) if nested else rows, start=1)
    with ResultFile(tmp_path / "out.jsonl") as output:
        run_rows(program, numbered, output, summary, model=model)
    assert (summary.done, [one.row for one in summary.problems]) == (3, [4])
    assert len({request.messages[-1].content for request in model.requests}) == 1


def test_rows_are_read_only_as_fast_as_they_are_answered(tmp_path: Path) -> None:
    """Neither the rows nor the results need to fit into memory: few are under way at a time."""
    read_ahead = []
    taken = 0

    def rows() -> Iterator[Numbered]:
        nonlocal taken
        for taken in range(1, 301):
            yield taken, {"message": "x"}

    def note(summary: Summary) -> None:
        read_ahead.append(taken - summary.rows)

    summary = Summary()
    with ResultFile(tmp_path / "out.jsonl") as output:
        run_rows(
            triage, rows(), output, summary, model=mti.EchoModel(), concurrency=4, progress=note
        )
    assert summary.done == 300
    assert max(read_ahead) <= 10


def test_problems_are_listed_up_to_a_number_and_counted_beyond(tmp_path: Path) -> None:
    """A file of nothing but bad rows does not fill the memory with their errors."""
    rows = [DataError("no")] * (LISTED + 5)
    summary = run(rows, ResultFile(tmp_path / "out.jsonl"))
    assert (len(summary.problems), summary.skipped) == (LISTED, LISTED + 5)


# --- stopping and going on -------------------------------------------------------------------


class Stopped(Exception):
    """What stops a run in these tests."""


def stop_after(number: int) -> Any:
    def progress(summary: Summary) -> None:
        if summary.rows == number:
            raise Stopped

    return progress


def test_a_stopped_run_keeps_its_rows_and_goes_on(tmp_path: Path) -> None:
    """Resumed, a run asks only for the rows that are missing and ends with the same file."""
    rows: list[Any] = [{"message": str(n)} for n in range(1, 9)]
    rows[1] = DataError("line 2: not JSON")
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    run(rows, ResultFile(whole))
    with pytest.raises(Stopped):
        run(rows, ResultFile(parts), progress=stop_after(5), concurrency=1)
    partial = tmp_path / "parts.jsonl.partial"
    kept = len(written(partial))
    assert 0 < kept < 7
    assert not parts.exists()
    model = mti.EchoModel()
    summary = run(rows, ResultFile(parts, resume=True), model)
    assert parts.read_bytes() == whole.read_bytes()
    assert not partial.exists()
    assert len(model.requests) == 7 - kept
    assert (summary.done, summary.skipped, summary.resumed) == (7, 1, kept)


def test_half_a_line_of_a_killed_run_is_written_anew(tmp_path: Path) -> None:
    """A last line without its end is cut off before the run goes on."""
    target = tmp_path / "out.jsonl"
    partial = tmp_path / "out.jsonl.partial"
    first = json.dumps({"row": 1, "answers": {"urgent": True, "words": 1}}) + "\n"
    partial.write_text(first + '{"row": 2, "ans' + "w" * 100_000)
    summary = run([{"message": "a"}, {"message": "b"}], ResultFile(target, resume=True))
    assert [line["row"] for line in written(target)] == [1, 2]
    assert written(target)[0]["answers"]["urgent"] is True
    assert (summary.resumed, summary.done) == (1, 2)


def test_a_partial_file_of_another_program_is_refused(tmp_path: Path) -> None:
    """Going on with other tasks would mix two programs in one file."""
    (tmp_path / "out.jsonl.partial").write_text('{"row": 1, "answers": {"mood": "good"}}\n')
    with pytest.raises(DataError, match="is of another program"):
        run([{"message": "a"}], ResultFile(tmp_path / "out.jsonl", resume=True))
    (tmp_path / "out.jsonl.partial").write_text('{"id": 1}\n')
    with pytest.raises(DataError, match="line 1: not a line of a result file"):
        run([{"message": "a"}], ResultFile(tmp_path / "out.jsonl", resume=True))


def test_a_run_that_stops_before_its_first_row_leaves_nothing(tmp_path: Path) -> None:
    """An unknown model leaves neither an output nor an empty part of one."""
    model = mti.ScriptedModel([ModelNotFound("no such model")])
    with pytest.raises(ModelNotFound):
        run([{"message": "a"}], ResultFile(tmp_path / "out.jsonl"), model)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    """A file that exists, and what a stopped run left, are refused with the way on."""
    target = tmp_path / "out.jsonl"
    target.write_text("precious")
    with pytest.raises(DataError, match=r"exists \(--force replaces it\)"):
        ResultFile(target)
    run([{"message": "a"}], ResultFile(target, force=True))
    assert len(written(target)) == 1
    target.rename(tmp_path / "out.jsonl.partial")
    with pytest.raises(DataError, match="--resume goes on from it, --force starts anew"):
        ResultFile(target)
    run([{"message": "a"}, {"message": "b"}], ResultFile(target, force=True))
    assert len(written(target)) == 2
    with pytest.raises(DataError, match="there is no folder"):
        ResultFile(tmp_path / "none" / "out.jsonl")
    with pytest.raises(DataError, match="is a folder"):
        ResultFile(tmp_path)


def test_half_a_surrogate_pair_in_an_id_is_still_json(tmp_path: Path) -> None:
    """What UTF-8 cannot hold is written as its JSON escape."""
    run([{"message": "a", "id": "\ud800"}], ResultFile(tmp_path / "out.jsonl"))
    assert written(tmp_path / "out.jsonl")[0]["id"] == "\ud800"
