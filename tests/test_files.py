"""Files of rows and whole files: names that cannot be, and what other programs put into files."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.cli import main
from mtiprompt.errors import DataError
from mtiprompt.files import ResultFile, count_rows, open_rows
from mtiprompt.files.rows import json_lines
from mtiprompt.jobs.rows import Summary, run_rows
from mtiprompt.testing import ChatServer
from mtiprompt.whole_files import read_json, write_text
from tests.conftest_commands import small_set

program = mti.combine("message -> urgent: bool", "message -> words: int")


@pytest.mark.parametrize("name", ["", ".", "./", "..", "/", "there"])
def test_a_folder_is_no_file_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whichever way a folder is named, it is refused as one, and nothing is left in it."""
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    for write in (lambda: write_text(name, "x"), lambda: ResultFile(name, force=True),
                  lambda: mti.Plan.fused(program).save(name)):  # fmt: skip
        with pytest.raises(DataError) as caught:
            write()
        assert str(caught.value) == f"cannot write {Path(name)}: it is a folder (name a file in it)"
    assert [one.name for one in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize("length", [250, 5000])
def test_a_name_that_is_too_long_says_so(tmp_path: Path, length: int) -> None:
    """A name longer than the file system takes is an error of the data, with its reason."""
    with pytest.raises(DataError, match=r"cannot write .*: File name too long"):
        ResultFile(tmp_path / ("n" * length))


@pytest.mark.parametrize("name", ["a\0b.jsonl", "a\0b.csv"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    """A name with a zero byte is an error of the data, as for whole files."""
    with pytest.raises(DataError, match=r"cannot read 'a\\x00b"), open_rows(name):
        pass


def test_a_byte_order_mark_is_no_part_of_json(tmp_path: Path) -> None:
    """JSON as some editors for Windows write it is read as any other, a saved plan too."""
    file = tmp_path / "plan.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": "\xc3\xa4"}')
    assert read_json(file) == {"a": "ä"}
    plan = mti.Plan.fused(program)
    plan.save(file)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert mti.Plan.load(file) == plan


@pytest.mark.parametrize(
    ("table", "row"),
    [("message,,\nx,,\n", {"message": "x"}), ("message,,\nx\n", {"message": "x"}),
     (",message,\n0,x,y\n", {"message": "x"}), ("message, ,note, \nx,1,y,2\n",
                                                 {"message": "x", "note": "y"})],
)  # fmt: skip
def test_columns_without_a_name_are_let_be(tmp_path: Path, table: str, row: dict[str, Any]) -> None:
    """The empty columns that a spreadsheet adds, and an index without a name, are no inputs."""
    path = tmp_path / "rows.csv"
    path.write_text(table)
    with open_rows(path, ["message"]) as rows:
        assert list(rows) == [(1, row)]
    assert count_rows(path) == 1


def test_a_missing_column_is_told_with_those_that_have_a_name(tmp_path: Path) -> None:
    """The hint lists the names of the columns, and no empty ones."""
    path = tmp_path / "rows.csv"
    path.write_text("text,,note,\nx,,,\n")
    with pytest.raises(DataError) as caught, open_rows(path, ["message"]):
        pass
    assert str(caught.value) == f"{path} has no column 'message' (columns: text, note)"


LOST = "a quote begins a cell, and none before a comma or a line break ends it"


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("lines", "wrong", "read"),
    [
        (["a", '"b', "c", "d"], "row 2, lines 3 to 5", {1: "a"}),  # to the end of the file
        (["a", '"b', "c", '"d, e"', "f"], "row 2, lines 3 to 5", {1: "a", 3: "f"}),
        (["a", '"b', "c", 'd"e', "f"], "row 2, lines 3 to 5", {1: "a", 3: "f"}),
        (["a", "b", '"c'], "row 3, line 4", {1: "a", 2: "b"}),
    ],
)
def test_a_quote_that_is_not_closed_is_told(
    tmp_path: Path, line_break: str, lines: list[str], wrong: str, read: dict[int, str]
) -> None:
    """A cell that a stray quote has made of several rows is no row: its lines are named, whether
    the next quote is far away or there is none, and the rows before and behind it are read."""
    path = tmp_path / "rows.csv"
    path.write_bytes("".join(f"{one}{line_break}" for one in ["message", *lines]).encode())
    with open_rows(path, ["message"]) as rows:
        found = dict(rows)
    assert [str(one) for one in found.values() if isinstance(one, DataError)] == [
        f'{wrong}: {LOST} (write "" for a quote in such a cell)'
    ]
    assert {n: one["message"] for n, one in found.items() if isinstance(one, dict)} == read
    assert count_rows(path) == len(found)


def test_a_row_that_a_quote_has_made_of_several_is_not_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run` names it, asks about the rows before it alone, and ends with exit code 1."""
    monkeypatch.chdir(tmp_path)
    small_set(tmp_path, ["urgent"], [])
    rows = [f"row {n},{n}" for n in range(1, 31)]
    rows[4] = f'"{rows[4]}'
    Path("rows.csv").write_text("\n".join(["text,id", *rows]))
    model = mti.FunctionModel(lambda _: '{"urgent": "yes"}')
    with mti.using(model=model):
        assert main(["run", "small.task.json", "rows.csv", "-o", "out.jsonl"]) == 1
    assert "skipped: row 5, lines 6 to 31: a quote begins a cell" in capsys.readouterr().err
    written = [json.loads(line)["row"] for line in Path("out.jsonl").read_text().splitlines()]
    assert written == [1, 2, 3, 4]
    assert len(model.requests) == 4


@pytest.mark.parametrize("table", ['"message\nx\ny\n', '"message'])
def test_a_quote_that_is_not_closed_in_the_header_is_refused(tmp_path: Path, table: str) -> None:
    """A header that has all rows in it leaves none: it is refused, though no column is needed."""
    path = tmp_path / "rows.csv"
    path.write_text(table)
    with (
        pytest.raises(DataError, match=rf"cannot read .*rows.csv: lines? 1.*: {LOST}"),
        open_rows(path),
    ):
        pass


@pytest.mark.parametrize(
    ("written", "cell"),
    [('5" disk', '5" disk'), ('a "b" c', 'a "b" c'), ('"b" c', "b c"), ('"a, b"', "a, b"),
     ('"a\nb ""c"" d"', 'a\nb "c" d')],
)  # fmt: skip
@pytest.mark.parametrize("end", ["", "\n", "\nlast\n"])
def test_other_quotes_are_taken(tmp_path: Path, written: str, cell: str, end: str) -> None:
    """A quote within a cell is text, and one around a cell of several lines is none; the last line
    may lack its break."""
    path = tmp_path / "rows.csv"
    path.write_text(f"message\n{written}{end}")
    with open_rows(path) as rows:
        found = [row for _, row in rows]
    assert found == [{"message": one} for one in [cell, *end.split()]]


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("other", ['"a" ', '"a" b', '""c', 'd "e"', ' "f"'])
def test_a_closed_cell_of_several_lines_is_taken(
    tmp_path: Path, line_break: str, other: str
) -> None:
    """What stands behind the quotes of a cell in one line, a blank say, is no doubt of another cell
    that spans lines and is closed, before it or behind it."""
    path, cell = tmp_path / "rows.csv", f'"two, ""2""{line_break}lines"'
    lines = ["id,text,note", f"{other},{cell},1", f"2,{cell},{other}", "3,last,"]
    path.write_bytes("".join(f"{one}{line_break}" for one in lines).encode())
    with open_rows(path) as rows:
        found = [row["text"] for _, row in rows if isinstance(row, dict)]
    assert found == [f'two, "2"{line_break}lines'] * 2 + ["last"]


@given(
    st.lists(st.lists(st.text('ab", \n'), min_size=2, max_size=2), min_size=1, max_size=4),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_is_written_as_csv_is_read(tmp_path_factory: Any, table: Any, quoting: Any) -> None:
    """Whatever quotes, commas and line breaks are in a table that was written by a program, no cell
    of it is taken for one that a stray quote has made."""
    path = tmp_path_factory.getbasetemp() / "written.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, quoting=quoting).writerows([["one", "two"], *table])
    with open_rows(path, ["one", "two"]) as rows:
        found = [row for _, row in rows]
    assert found == [{"one": one, "two": two} for one, two in table]


def test_a_data_set_with_byte_order_marks_is_read(tmp_path: Path) -> None:
    """Both files of a data set may begin with a byte order mark."""
    path = small_set(tmp_path, ["urgent"], [{"id": "1", "inputs": {"text": "x"}, "split": "test"}])
    for file in (path, path.with_name("small.task.json")):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    [row] = mti.Dataset.load(path).test
    assert row.inputs == {"text": "x"}


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "-1" + "0" * 400 + ".5"]
)
def test_a_number_that_json_cannot_hold_costs_its_row(tmp_path: Path, number: str) -> None:
    """A line with a number that no output could repeat as JSON is named, wherever it stands in the
    line; the rows after it are read, and what is written is JSON by the letter."""
    path = tmp_path / "rows.jsonl"
    ids = [number, '[{"x": 1e99}]', f'[{{"x": {number}}}]']
    path.write_text("".join(f'{{"message": "a", "id": {one}}}\n' for one in ids))
    summary = Summary()
    with open_rows(path) as rows, ResultFile(tmp_path / "out.jsonl") as output:
        run_rows(program, rows, output, summary, model=mti.EchoModel())
    assert [one.row for one in summary.problems] == [1, 3]
    said = summary.problems[0].message
    assert said.startswith("line 1: not JSON that can be read (")
    assert len(said) < 150
    [line] = (tmp_path / "out.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=int)["id"] == [{"x": 1e99}]


numbers = st.floats() | st.integers()


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), numbers | st.lists(numbers)))
def test_what_is_read_can_be_written(row: dict[str, Any]) -> None:
    """Whatever numbers Python writes into a line: it is an error, or it is read as it was and can
    be written again as JSON that every reader takes."""
    line = json.dumps(row).encode()
    [(_, found)] = list(json_lines(io.BytesIO(line)))
    if isinstance(found, DataError):
        assert "NaN" in str(found) or "Infinity" in str(found)
    else:
        assert found == row
        assert json.dumps(found, allow_nan=False)


def test_a_line_that_is_no_json_is_not_written(tmp_path: Path) -> None:
    """Rows that do not come from a file may hold anything: that is told, not written."""
    said = r"cannot write .*out\.jsonl: .*not JSON compliant"
    with pytest.raises(DataError, match=said), ResultFile(tmp_path / "out.jsonl") as output:
        output.write({"id": float("nan"), "row": 1})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    """A disk that is full while a line is written is an error of the data, and so it stays when
    the file is closed; what is empty is removed."""
    (tmp_path / "out.jsonl.partial").symlink_to("/dev/full")
    with (
        pytest.raises(DataError, match=r"cannot write .*out\.jsonl: No space left on device$"),
        ResultFile(tmp_path / "out.jsonl", force=True) as output,
    ):
        output.write({"row": 1})
    assert list(tmp_path.iterdir()) == []


def filled(path: Path, then: Callable[[], object]) -> None:
    """Write a line, if there is room for it, and do something else before the file is closed."""
    with ResultFile(path, force=True) as output:
        with suppress(DataError):
            output.write({"row": 1})
        then()


def test_a_file_that_cannot_be_finished_is_told_in_one_line(tmp_path: Path) -> None:
    """So is a file whose end cannot be written, or whose place a folder has taken meanwhile."""
    path, partial = tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial"
    with pytest.raises(DataError, match=r"cannot write .*out\.jsonl: Is a directory$"):
        filled(path, path.mkdir)
    assert partial.read_text() == '{"row": 1}\n'
    path.rmdir()
    partial.unlink()
    partial.symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"cannot write .*out\.jsonl: No space left on device$"):
        filled(path, list)
    assert not path.exists()


def test_another_error_is_not_hidden_by_a_full_disk(tmp_path: Path) -> None:
    """What went wrong first is what comes out, whatever closing the file runs into."""
    (tmp_path / "out.jsonl.partial").symlink_to("/dev/full")
    with pytest.raises(ZeroDivisionError):
        filled(tmp_path / "out.jsonl", lambda: 1 / 0)


@pytest.mark.parametrize("kind", ["pipe", "socket", "link"])
def test_what_is_no_ordinary_file_stays_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A device, a pipe or a socket is refused before a call, and a file never takes its place."""
    monkeypatch.chdir(tmp_path)
    place = Path("out")
    os.mkfifo("pipe")
    if kind == "pipe":
        place = Path("pipe")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as heard:
            heard.bind("out")
    else:
        place.symlink_to("pipe")
    before = place.lstat()
    for write in (lambda: ResultFile(place, force=True), lambda: write_text(place, "x"),
                  lambda: mti.Plan.fused(program).save(place)):  # fmt: skip
        with pytest.raises(DataError, match=rf"cannot write {place}: it is no ordinary file \("):
            write()
    assert place.lstat() == before
    assert {one.name for one in tmp_path.iterdir()} == {"pipe", str(place)}


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """What a link leads to is written, so that no link to a standard stream is ever replaced."""
    there, link = tmp_path / "there" / "file", tmp_path / "link"
    there.parent.mkdir()
    link.symlink_to(there)
    write_text(link, "x")
    assert there.read_text() == "x"
    filled(link, list)
    assert there.read_text() == '{"row": 1}\n'
    assert link.is_symlink()
    assert [one.name for one in there.parent.iterdir()] == ["file"]


def test_a_link_to_no_folder_is_told_at_once(tmp_path: Path) -> None:
    """No row is answered for a place where nothing can be written."""
    link = tmp_path / "link"
    link.symlink_to("absent/out.jsonl")
    with pytest.raises(DataError, match=r"^there is no folder .*absent$"):
        ResultFile(link)


# --- two runs on one file --------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, {"resume": True}, {"force": True}])
def test_a_file_that_is_being_written_is_refused(tmp_path: Path, how: dict[str, Any]) -> None:
    """Two runs on one output would mix their lines; the second changes nothing."""
    path = tmp_path / "out.jsonl"
    with ResultFile(path) as first:
        first.write({"row": 1})
        first.mark({"rows": 1})
        with (
            pytest.raises(DataError, match=r"^another run writes .*partial \("),
            ResultFile(path, **how),
        ):
            pass
        first.write({"row": 2})
    assert path.read_text() == '{"row": 1}\n{"row": 2}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_that_ended_meanwhile_is_not_gone_on_from(tmp_path: Path) -> None:
    """Between the look at what is there and the first line, the other run may have finished."""
    path = tmp_path / "out.jsonl"
    with ResultFile(path) as first:
        first.write({"row": 1})
        second = ResultFile(path, resume=True)
    with pytest.raises(DataError, match="exists"), second:
        pass
    assert path.read_text() == '{"row": 1}\n'


def test_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    """While a process writes the file another is refused; once it is dead, another goes on."""
    path = tmp_path / "out.jsonl"
    code = """
import sys
from mtiprompt.files import ResultFile
with ResultFile(sys.argv[1]) as output:
    output.write({"row": 1})
    print("written", flush=True)
    sys.stdin.read()
"""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, str(path)], **pipes) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        with pytest.raises(DataError, match="another run"), ResultFile(path, resume=True):
            pass
        writer.kill()
    with ResultFile(path, resume=True) as output:
        assert list(output.finished()) == [{"row": 1}]
        output.write({"row": 2})
    assert path.read_text() == '{"row": 1}\n{"row": 2}\n'


def test_the_command_line_refuses_a_second_run_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, one line, and no call."""
    path, rows = tmp_path / "out.jsonl", tmp_path / "rows.jsonl"
    rows.write_text('{"message": "m"}\n')
    declared = tmp_path / "one.py"
    declared.write_text('import mtiprompt as mti\nit = mti.combine("message -> urgent: bool")\n')
    command = ["run", f"{declared}:it", str(rows), "-o", str(path), "--model", "direct/x"]
    with ChatServer() as server, ResultFile(path) as first:
        monkeypatch.setenv("DIRECT_API_BASE", server.base_url)
        first.write({"row": 1})
        assert main(command) == 2
        assert main([*command, "--resume"]) == 2
        assert main([*command, "--force"]) == 2
        assert server.count == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all("another run writes" in line for line in lines)
