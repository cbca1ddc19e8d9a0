"""Files of rows and whole files: names that cannot be, and what other programs put into files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt.errors import DataError
from mtiprompt.files import ResultFile, count_rows, open_rows
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
