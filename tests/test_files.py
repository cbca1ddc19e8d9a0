"""Files of rows and whole files: names that cannot be, and what other programs put into files."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.errors import DataError
from mtiprompt.files import ResultFile, _json_lines, count_rows, open_rows
from mtiprompt.jobs.rows import Summary, run_rows
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
    [(_, found)] = list(_json_lines(io.BytesIO(line)))
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
