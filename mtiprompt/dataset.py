"""Labelled rows and the program that they are for: `NAME.jsonl` with `NAME.task.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mtiprompt.errors import DataError
from mtiprompt.files import open_rows
from mtiprompt.program import Program, combine
from mtiprompt.tasks import Task, read_json

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
        rows, tasks = _files(Path(path))
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
        found: list[tuple[str, Any]] = [(f"row {n}", row) for n, row in enumerate(rows, start=1)]
        return _made(name, program, found, "")


def _files(path: Path) -> tuple[Path, Path]:
    stem = path.name.removesuffix(".task.json").removesuffix(".jsonl")
    rows, tasks = path.with_name(f"{stem}.jsonl"), path.with_name(f"{stem}.task.json")
    for one in (rows, tasks):
        if not one.is_file():
            raise DataError(
                f"cannot read {one}: there is no such file",
                hint="a data set is NAME.jsonl with NAME.task.json beside it",
            )
    return rows, tasks


def _made(name: str, program: Program, found: Iterable[tuple[str, Any]], title: str) -> Dataset:
    splits: dict[Split, list[Row]] = {split: [] for split in SPLITS}
    for number, (where, line) in enumerate(found, start=1):
        if isinstance(line, DataError):
            raise DataError(f"{where.rsplit(',', 1)[0]}, {line.message}", hint=line.hint)
        split, row = _row(program, where, number, line)
        splits[split].append(row)
    names = Counter(row.id for rows in splits.values() for row in rows)
    if twice := [one for one, times in names.items() if times > 1]:
        raise DataError(f"{name}: two rows have the id {twice[0]!r}")
    if not names:
        raise DataError(f"{name} has no rows")
    rows = {split: tuple(rows) for split, rows in splits.items()}
    return Dataset(name, program, rows["train"], rows["dev"], rows["test"], title)


def _row(program: Program, where: str, number: int, line: Any) -> tuple[Split, Row]:
    """A row, checked, and the split that it belongs to."""
    if isinstance(line, Row):
        line = {"id": line.id, "inputs": line.inputs, "outputs": line.outputs}
    if not isinstance(line, Mapping):
        raise DataError(f"{where}: {line!r:.80} is no row", hint=_FORM)
    inputs, outputs = line.get("inputs"), line.get("outputs", {})
    if not isinstance(inputs, Mapping) or not isinstance(outputs, Mapping):
        raise DataError(f"{where}: `inputs` or `outputs` is no object", hint=_FORM)
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
    return split, Row(str(line.get("id", number)), read, gold)


def _may_be_none(program: Program, task: str) -> bool:
    """Whether None is an answer of a task, and so gold; else it says that there is none."""
    try:
        program.tasks[task].read(None)
    except DataError:
        return False
    return True


def _bare(fields: Mapping[str, Any]) -> Any:
    return next(iter(fields.values())) if len(fields) == 1 else dict(fields)


_FORM = 'a row is {"id": "a1", "inputs": {...}, "outputs": {task: gold}, "split": "test"}'
