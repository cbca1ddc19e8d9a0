"""Rows out of files, one at a time, so that they need not fit into memory."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
import unicodedata
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mtiprompt.errors import DataError

Numbered = tuple[int, "dict[str, Any] | DataError"]
"""A row with its number: in JSONL that of its line, in CSV counted from 1 below the header. What
cannot be read is an error in the place of its row, so that the rows after it are still read."""

STANDARD = "-"
"""The name of standard input and standard output."""

CELL_CAP = 1 << 24
"""Characters that a CSV cell may have; a quote that is never closed would read the whole file."""


@contextmanager
def open_rows(path: str | Path, needs: Collection[str] = ()) -> Iterator[Iterator[Numbered]]:
    """The rows of a JSONL or CSV file, told apart by its suffix; `-` is JSONL on standard input.

    Args:
        path: The file.
        needs: Columns that a CSV file must have, in Unicode's form NFKC; one that is written in
            other letters that look the same is called as here, but for one such as `m²` beside
            `m2`, which is another column. Empty cells of other columns are left out, and so are
            columns without a name.

    Raises:
        DataError: The file cannot be read, is neither JSONL nor CSV, or lacks a column.
    """
    if str(path) == STANDARD:
        yield json_lines(sys.stdin.buffer)
    elif _is_csv(path):
        # surrogates stand for bytes that are no UTF-8, so that these cost only their row
        with _opened(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            yield _csv_rows(file, path, needs)
    else:
        with _opened(path, mode="rb") as file:
            yield json_lines(file)


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


def json_lines(file: IO[bytes]) -> Iterator[Numbered]:
    """The rows of a JSONL file."""
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
    names = [name.strip() for name in first]
    header = [_column(name, names, needs) for name in names]
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


def _column(name: str, names: Collection[str], needs: Collection[str]) -> str:
    """The name of a column as `needs` has it; that of another column stays as it is."""
    plain = unicodedata.normalize("NFKC", name)
    is_other = plain in names and unicodedata.normalize("NFC", name) != plain
    return plain if plain in needs and not is_other else name


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
