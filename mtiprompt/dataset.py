"""Labelled rows and the program that they are for: `NAME.jsonl` with `NAME.task.json`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from mtiprompt.checks import check_program, read_names
from mtiprompt.errors import DataError
from mtiprompt.files import open_rows
from mtiprompt.program import Program, combine
from mtiprompt.tasks import Task
from mtiprompt.whole_files import read_json

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = ("train", "dev", "test")


@dataclass(frozen=True)
class Row:
    """One item with its gold.

    Attributes:
        id: Its name, which no other row of the data set has.
        inputs: Program input to value.
        outputs: Task name to gold, plain JSON data: the bare value of a task with one output, else
            an object with its fields. Tasks without gold are not there.
    """

    id: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]


@dataclass(frozen=True)
class Dataset:
    """A program and labelled rows for it.

    Example:
        >>> import mtiprompt as mti
        >>> program = mti.combine("text -> mood: Literal['good', 'bad']")
        >>> rows = [{"inputs": {"text": "Fine!"}, "outputs": {"mood": "good"}}]
        >>> data = mti.Dataset.from_rows(program, rows)
        >>> data.test[0].id, data.test[0].outputs["mood"]
        ('1', 'good')

    Attributes:
        name: Its name.
        program: The program.
        train: Rows for demonstrations and for tuning.
        dev: Rows for choosing between candidates.
        test: Rows for one last measurement.
        title: What it is about, in a line.
    """

    name: str
    program: Program
    train: tuple[Row, ...] = ()
    dev: tuple[Row, ...] = ()
    test: tuple[Row, ...] = ()
    title: str = ""

    @staticmethod
    def load(path: str | Path) -> Dataset:
        """Read `NAME.jsonl`, and the tasks from `NAME.task.json` beside it.

        Args:
            path: The path of either file, or of both without what follows NAME. A line is
                `{"id": ..., "inputs": {...}, "outputs": {task: gold}, "split": "train"}`.

        Raises:
            DataError: A file cannot be read, or a row does not fit; the message names its line.
            DeclarationError: The task file cannot be supported.
        """
        rows, tasks = files_of(path)
        spec = read_json(tasks)
        program = combine(*Task.from_json_schema(spec))
        with open_rows(rows) as lines:
            found = [(f"{rows}, line {number}", row) for number, row in lines]
        title = spec.get("title")
        name = rows.name.removesuffix(".jsonl")
        return _made(name, program, found, title if isinstance(title, str) else "")

    @staticmethod
    def from_rows(
        program: Program, rows: Iterable[Mapping[str, Any]], *, name: str = "rows"
    ) -> Dataset:
        """A data set of a program and rows.

        Args:
            program: The program.
            rows: Mappings with `inputs` and `outputs`, and perhaps `id` and `split`; without a
                split they are test rows, without an id they are numbered from 1.
            name: What to call it.

        Raises:
            DataError: A row does not fit.
        """
        return _made(name, program, _numbered(rows), "")


def read_rows(
    program: Program, rows: Iterable[Row | Mapping[str, Any]], name: str = ""
) -> tuple[Row, ...]:
    """Rows, checked against a program, in their order and whatever their split.

    Args:
        program: The program.
        rows: As for `Dataset.from_rows`.
        name: Of the argument, for what is said where there are several lists.

    Raises:
        DataError: A row does not fit, or there is none, or the program is none.
    """
    check_program(program)
    return tuple(row for _, row in _read(program, name or "the list", _numbered(rows, name)))


def _numbered(rows: Any, name: str = "") -> list[tuple[str, Any]]:
    if isinstance(rows, Dataset):
        raise DataError(
            f"the data set {rows.name!r} is no list of rows", hint="give one of its splits: .test"
        )
    if isinstance(rows, Mapping) or not isinstance(rows, Iterable):
        raise DataError(f"{rows!r:.80} is no list of rows", hint=_FORM)
    place = f"{name}, row" if name else "row"
    return [(f"{place} {number}", row) for number, row in enumerate(rows, start=1)]


def files_of(path: str | Path) -> tuple[Path, Path]:
    """The rows and the tasks of a data set.

    Args:
        path: As for `Dataset.load`.

    Raises:
        DataError: One of the files is not there.
    """
    folder, name = Path(path).parent, Path(path).name
    stem = name.removesuffix(".task.json").removesuffix(".jsonl")
    rows, tasks = folder / f"{stem}.jsonl", folder / f"{stem}.task.json"
    for one in (rows, tasks):
        if not one.is_file():
            raise DataError(
                f"cannot read {one}: there is no such file",
                hint="a data set is NAME.jsonl with NAME.task.json beside it",
            )
    return rows, tasks


def _made(name: str, program: Program, found: Iterable[tuple[str, Any]], title: str) -> Dataset:
    splits: dict[Split, list[Row]] = {split: [] for split in SPLITS}
    for split, row in _read(program, name, found):
        splits[split].append(row)
    rows = {split: tuple(rows) for split, rows in splits.items()}
    return Dataset(name, program, rows["train"], rows["dev"], rows["test"], title)


def _read(
    program: Program, name: str, found: Iterable[tuple[str, Any]]
) -> Iterator[tuple[Split, Row]]:
    """The rows with their splits, checked."""
    place_of: dict[str, str] = {}
    for number, (where, line) in enumerate(found, start=1):
        if isinstance(line, DataError):
            raise DataError(f"{where.rsplit(',', 1)[0]}, {line.message}", hint=line.hint)
        split, row = _row(program, where, number, line)
        if row.id in place_of:
            raise DataError(
                f"{where}: the id {row.id!r:.80} is that of {place_of[row.id]} too",
                hint="a row without an id has its number as one",
            )
        place_of[row.id] = where
        yield split, row
    if not place_of:
        raise DataError(f"{name} has no rows", hint=_FORM)


def _row(program: Program, where: str, number: int, line: Any) -> tuple[Split, Row]:
    """A row, checked, and the split that it belongs to."""
    if isinstance(line, Row):
        line = {"id": line.id, "inputs": line.inputs, "outputs": line.outputs}
    if not isinstance(line, Mapping):
        raise DataError(f"{where}: {line!r:.80} is no row", hint=_FORM)
    _check_keys(where, line)
    inputs, outputs = line.get("inputs"), line.get("outputs", {})
    if not isinstance(inputs, Mapping) or not isinstance(outputs, Mapping):
        raise DataError(f"{where}: `inputs` or `outputs` is no object", hint=_FORM)
    inputs = read_names(inputs, where, program.inputs)
    outputs = read_names(outputs, where)
    id = line.get("id")
    if not isinstance(id, str | int | None) or isinstance(id, bool) or id == "":
        raise DataError(f"{where}: the id is {id!r:.80}", hint="an id is text or a whole number")
    split = line.get("split", "test")
    if split not in SPLITS:
        raise DataError(f"{where}: there is no split {split!r:.80}", hint=", ".join(SPLITS))
    if unknown := [name for name in outputs if name not in program.tasks]:
        hint = f"tasks: {', '.join(program.tasks)}"
        raise DataError(f"{where}: gold for {unknown[0]!r}, which is no task", hint=hint)
    try:
        # a column that the program does not take may be there
        given = {key: value for key, value in inputs.items() if key in program.inputs}
        read = program.read_inputs(given)
        gold = {
            name: _bare(program.tasks[name].read(outputs[name]))
            for name in program.tasks
            if outputs.get(name) is not None or (name in outputs and _may_be_none(program, name))
        }
    except DataError as error:
        raise DataError(f"{where}: {error.message}", hint=error.hint) from None
    return split, Row(str(number if id is None else id), read, gold)


def _check_keys(where: str, line: Mapping[str, Any]) -> None:
    """Refuse a key that is a slip of one that the row lacks; other columns are let be."""
    for key, value in line.items():
        meant = _meant(str(key))
        if meant == "id" and (isinstance(value, bool) or not isinstance(value, str | int | float)):
            continue
        if meant and meant not in line:
            raise DataError(f"{where} has the key {key!r:.80}", hint=f"write {meant!r}")


@lru_cache(maxsize=256)
def _meant(key: str) -> str | None:
    """The key of a row that a key is, or is a slip of."""
    folded = key.casefold()
    if not folded.isalpha():
        return None
    if folded in {"id", "ids"}:  # many a word of another meaning is one letter away
        return "id"
    forms = ((one, form) for one in _KEYS for form in (one, one.removesuffix("s")))
    return next((one for one, form in forms if _slips(form).fullmatch(folded)), None)


def _slips(word: str) -> re.Pattern[str]:
    """A word, its plural, and with one letter wrong, missing, doubled or swapped with the next."""
    forms = [f"{word}s?"]
    for place, letter in enumerate(word):
        before, after = word[:place], word[place + 1 :]
        forms.append(f"{before}(.?|{letter * 2}){after}")
        forms.append(f"{before}{after[:1]}{letter}{after[1:]}")
    return re.compile("|".join(forms))


def _may_be_none(program: Program, task: str) -> bool:
    """Whether None is an answer of a task, and so gold; else it says that there is none."""
    try:
        program.tasks[task].read(None)
    except DataError:
        return False
    return True


def _bare(fields: Mapping[str, Any]) -> Any:
    return next(iter(fields.values())) if len(fields) == 1 else dict(fields)


_KEYS = ("inputs", "outputs", "split")
_FORM = 'a row is {"id": "a1", "inputs": {...}, "outputs": {task: gold}, "split": "test"}'
