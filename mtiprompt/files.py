"""Rows out of files and results into files, one at a time, so that neither need fit into memory."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mtiprompt.errors import DataError

if TYPE_CHECKING:
    from types import TracebackType

Numbered = tuple[int, "dict[str, Any] | DataError"]
"""A row with its number: in JSONL that of its line, in CSV counted from 1 below the header. What
cannot be read is an error in the place of its row, so that the rows after it are still read."""

STANDARD = "-"
"""The name of standard input and standard output."""

CELL_CAP = 1 << 24
"""Characters that a CSV cell may have; a quote that is never closed would read the whole file."""


# --- rows in ---------------------------------------------------------------------------------


@contextmanager
def open_rows(path: str | Path, needs: Collection[str] = ()) -> Iterator[Iterator[Numbered]]:
    """The rows of a JSONL or CSV file, told apart by its suffix; `-` is JSONL on standard input.

    Args:
        path: The file.
        needs: Columns that a CSV file must have. Empty cells of other columns are left out, and so
            are columns without a name.

    Raises:
        DataError: The file cannot be read, is neither JSONL nor CSV, or lacks a column.
    """
    if str(path) == STANDARD:
        yield _json_lines(sys.stdin.buffer)
    elif _is_csv(path):
        # surrogates stand for bytes that are no UTF-8, so that these cost only their row
        with _opened(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            yield _csv_rows(file, path, needs)
    else:
        with _opened(path, mode="rb") as file:
            yield _json_lines(file)


def count_rows(path: str | Path) -> int | None:
    """How many rows a file has; None for what can be read only once."""
    if not Path(path).is_file():
        return None
    if _is_csv(path):
        with open_rows(path) as rows:
            return sum(1 for _ in rows)
    with Path(path).open("rb") as file:
        return sum(1 for line in file if not line.isspace())


def _is_csv(path: str | Path) -> bool:
    suffix = Path(path).suffix.lower()
    if suffix not in {".csv", ".jsonl", ".ndjson"}:
        raise DataError(f"cannot tell the format of {path}", hint="name it NAME.jsonl or NAME.csv")
    return suffix == ".csv"


@contextmanager
def _opened(path: str | Path, mode: str = "r", **options: Any) -> Iterator[IO[Any]]:
    try:
        file = Path(path).open(mode, **options)  # noqa: SIM115  closed below
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # a name that no file can have
        raise DataError(f"cannot read {str(path)!r}: {error}") from None
    with file:
        yield file


def _json_lines(file: IO[bytes]) -> Iterator[Numbered]:
    for number, line in enumerate(file, start=1):
        if not line.isspace():
            yield number, _row_of_line(number, line)


def _row_of_line(number: int, line: bytes) -> dict[str, Any] | DataError:
    try:
        text = line.decode("utf-8-sig").rstrip("\r\n")
        row = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except UnicodeDecodeError:
        return DataError(f"line {number}: not UTF-8 text")
    except json.JSONDecodeError as error:
        return DataError(f"line {number}: not JSON ({error.msg}, column {error.colno})")
    except (ValueError, RecursionError) as error:
        return DataError(f"line {number}: not JSON that can be read ({error})")
    if not isinstance(row, dict):
        return DataError(f"line {number}: not a JSON object", hint='a row is {"input": "text"}')
    if b"\\ud" in line.lower() and not _is_text(json.dumps(row, ensure_ascii=False)):
        return DataError(f"line {number}: half of a surrogate pair, which is no text")
    return row


def _finite(written: str) -> float:
    """A number as it is written; Python reads and writes some that are no JSON."""
    number = float(written)
    if not math.isfinite(number):
        raise ValueError(f"{written:.40} is no number that JSON can hold")
    return number


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _csv_rows(file: IO[str], path: str | Path, needs: Collection[str]) -> Iterator[Numbered]:
    records = _csv_records(file)
    first = next(records, [])
    if isinstance(first, DataError):
        raise DataError(f"cannot read {path}: {first.message}", hint=first.hint)
    header = [name.strip() for name in first]
    for name in needs:
        if name not in header:
            named = ", ".join(filter(None, header))
            raise DataError(f"{path} has no column {name!r}", hint=f"columns: {named}")
    if twice := [name for name in header if name and header.count(name) > 1]:
        raise DataError(f"{path} has two columns named {twice[0]!r}")
    filled = (record for record in records if record)
    return (
        (number, _row_of_record(number, record, header, needs))
        for number, record in enumerate(filled, start=1)
    )


def _row_of_record(
    number: int, record: list[str] | DataError, header: list[str], needs: Collection[str]
) -> dict[str, Any] | DataError:
    if isinstance(record, DataError):
        return DataError(f"row {number}, {record.message}", hint=record.hint)
    if len(record) > len(header):
        found = f"{len(record)} cells, the header has {len(header)}"
        return DataError(f"row {number}: {found}", hint="quote cells with commas")
    if not _is_text("".join(record)):
        return DataError(f"row {number}: not UTF-8 text")
    # a column without a name is an index, or a blank that a spreadsheet has added
    pairs = zip(header, record, strict=False)
    return {name: cell for name, cell in pairs if name and (cell or name in needs)}


def _csv_records(file: IO[str]) -> Iterator[list[str] | DataError]:
    """The cells of each record; for one that cannot be read, an error that names its lines."""
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in file:
            taken.append(line)
            yield line
        taken.append("")  # nobody reads on up to here within a record, but behind an open quote

    csv.field_size_limit(max(CELL_CAP, csv.field_size_limit()))
    reader = csv.reader(lines())
    while True:
        taken.clear()
        begun = reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            yield DataError(f"{_place(begun, reader.line_num)}: {error}")
            continue
        if record is None:
            return
        if len(taken) > 1 and not _is_closed(taken):
            place = _place(begun, reader.line_num)
            yield DataError(
                f"{place}: a quote begins a cell, and none before a comma or a line break ends it",
                hint='write "" for a quote in such a cell',
            )
        else:
            yield record


def _place(first: int, last: int) -> str:
    return f"line {last}" if last == first else f"lines {first} to {last}"


_CELL = re.compile(r'(?:"(?P<text>[^"]*(?:""[^"]*)*)(?P<end>"?))?(?P<rest>[^,\r\n]*),?')
"""A cell: a text in quotes and what stands behind it, or all where none begins it."""


def _is_closed(lines: list[str]) -> bool:
    """Whether each quote that begins a cell of several lines is closed where the cell ends.

    Else it is a stray one, which has made a cell of several rows.
    """
    record, place = "".join(lines), 0
    while found := _CELL.match(record, place):
        text, end, rest = found.group("text", "end", "rest")
        if text is not None and (not end or (rest and not {"\r", "\n"}.isdisjoint(text))):
            return False
        place = found.end()
        if not found[0].endswith(","):
            break
    return True


# --- results out -----------------------------------------------------------------------------


class ResultFile:
    """A JSONL file that is there whole or not at all.

    Lines go to NAME.partial, which is renamed when the last one is written. A run that is stopped
    leaves it behind, however it is stopped; with nothing in it, it is removed. So long as it is
    there, NAME.partial.from beside it has what `mark` was last told.

    Args:
        path: The file; `-` is standard output.
        force: Whether a file that exists, or what a stopped run left, may be replaced.
        resume: Whether to go on from what a stopped run left.
        standard: What `-` stands for; without it, standard output as it is now.

    Raises:
        DataError: The file, or what a stopped run left of it, is in the way.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        force: bool = False,
        resume: bool = False,
        standard: IO[str] | None = None,
    ) -> None:
        self.path = Path(path)
        self._standard = (standard or sys.stdout) if str(path) == STANDARD else None
        self.partial = self.path.parent / f"{self.path.name}.partial"
        self.origin = self.path.parent / f"{self.path.name}.partial.from"
        self.resumes = False
        self.lines = 0
        if self._standard is None:
            try:
                self.resumes = resume and self.partial.exists()
                self._check(force)
            except OSError as error:
                raise DataError(f"cannot write {self.path}: {error.strerror}") from None

    def _check(self, force: bool) -> None:
        if not self.path.parent.is_dir():
            raise DataError(f"there is no folder {self.path.parent}")
        if self.path.is_dir():
            raise DataError(f"cannot write {self.path}: it is a folder", hint="name a file in it")
        if self.path.exists() and not force:
            raise DataError(f"{self.path} exists", hint="--force replaces it")
        if self.partial.exists() and not self.resumes and not force:
            raise DataError(
                f"{self.partial} is left from a run that was stopped",
                hint="--resume goes on from it, --force starts anew",
            )

    def finished(self) -> Iterator[dict[str, Any]]:
        """The lines that a stopped run left; a last line that is not whole is cut off.

        Raises:
            DataError: They cannot be read.
        """
        if not self.resumes:
            return
        cut_last_line(self.partial)
        with self.partial.open("rb") as file:
            for number, row in _json_lines(file):
                if isinstance(row, DataError) or not isinstance(row.get("row"), int):
                    raise DataError(
                        f"{self.partial}, line {number}: not a line of a result file",
                        hint="--force starts anew",
                    )
                yield row

    def __enter__(self) -> ResultFile:
        """Open the file for writing."""
        if self._standard is not None:
            self._file: IO[str] = self._standard
            return self
        try:
            if not self.resumes:
                self.origin.unlink(missing_ok=True)
            self._file = self.partial.open(
                "a" if self.resumes else "w",
                encoding="utf-8",
                errors="backslashreplace",  # half a surrogate pair becomes its JSON escape
                buffering=1,  # a finished line outlives even a killed process
            )
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}") from None
        return self

    def write(self, line: Mapping[str, Any]) -> None:
        """Add a line.

        Raises:
            DataError: It cannot be written.
        """
        try:
            text = json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"
        except ValueError as error:
            raise DataError(f"cannot write {self.path}: {error}") from None
        try:
            self._file.write(text)
            if self._standard is not None:
                self._file.flush()
        except BrokenPipeError:
            raise  # the reader of standard output has had enough; the command line ends quietly
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}") from None
        self.lines += 1

    def mark(self, origin: Mapping[str, Any]) -> None:
        """Keep beside the lines what they are from, in the place of what was kept before.

        Args:
            origin: Plain JSON data; what replaces something longer is cut off behind it.

        Raises:
            DataError: It cannot be written.
        """
        if self._standard is not None:
            return
        try:
            file = os.open(self.origin, os.O_WRONLY | os.O_CREAT, 0o666)
            try:
                os.ftruncate(file, os.write(file, json.dumps(origin).encode()))
            finally:
                os.close(file)
        except OSError as error:
            raise DataError(f"cannot write {self.origin}: {error.strerror}") from None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Rename the file if all went well, else keep what is there.

        Raises:
            DataError: Its end cannot be written, or it cannot be renamed.
        """
        if self._standard is not None:
            return
        if kind is not None:
            with suppress(OSError):  # the error that is on its way says more
                self._file.close()
            with suppress(OSError):
                if not self.partial.stat().st_size:
                    self.partial.unlink()
                    self.origin.unlink(missing_ok=True)
            return
        try:
            self._file.close()
            self.partial.replace(self.path)
            self.origin.unlink(missing_ok=True)
        except OSError as failed:
            raise DataError(f"cannot write {self.path}: {failed.strerror}") from None

    @property
    def kept(self) -> bool:
        """Whether a stopped run has left something to go on from."""
        return self._standard is None and self.partial.exists()


def cut_last_line(path: Path) -> None:
    """Cut off what stands after the last line break: a process was killed while it wrote that."""
    with path.open("rb+") as file:
        end = whole = file.seek(0, os.SEEK_END)
        while whole:
            start = max(0, whole - 65536)
            file.seek(start)
            place = file.read(whole - start).rfind(b"\n")
            whole = start + place + 1 if place >= 0 else start
            if place >= 0:
                break
        if whole < end:
            file.truncate(whole)
