"""The run over many rows: each is answered, listed with what went wrong, or both."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mtiprompt.checks import read_names
from mtiprompt.errors import DataError
from mtiprompt.jobs.origin import ANEW, Origin
from mtiprompt.result import plain
from mtiprompt.wire import Usage

if TYPE_CHECKING:
    from mtiprompt.files import Numbered, ResultFile
    from mtiprompt.models.base import LanguageModel
    from mtiprompt.plan import Plan
    from mtiprompt.program import Program

LISTED = 1000
"""Problems that are listed one by one; more are only counted."""


@dataclass(frozen=True)
class Problem:
    """What went wrong with one row.

    Attributes:
        row: Its number.
        message: What, in one line.
        skipped: Whether the row was left out; else it was answered but for some tasks.
    """

    row: int
    message: str
    skipped: bool


@dataclass
class Summary:
    """What became of the rows so far.

    Attributes:
        done: Rows with all answers.
        failed: Rows that lack the answers of some tasks.
        skipped: Rows that could not be asked about.
        resumed: Rows, done or failed, that an earlier run had finished.
        problems: What went wrong, the first `LISTED` rows of it.
        usage: What the calls cost.
        seconds: How long the run took.
    """

    done: int = 0
    failed: int = 0
    skipped: int = 0
    resumed: int = 0
    problems: list[Problem] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0

    @property
    def rows(self) -> int:
        """All rows so far."""
        return self.done + self.failed + self.skipped

    def skip(self, row: int, error: DataError) -> None:
        """Count a row that could not be asked about."""
        self.skipped += 1
        self._list(Problem(row, str(error), skipped=True))

    def count(self, row: int, failures: Mapping[str, Mapping[str, Any]]) -> None:
        """Count a row that was written."""
        if not failures:
            self.done += 1
            return
        self.failed += 1
        parts = [f"{name}: {one['kind']}: {one['message']}" for name, one in failures.items()]
        self._list(Problem(row, f"row {row}: {'; '.join(parts)}", skipped=False))

    def _list(self, problem: Problem) -> None:
        if len(self.problems) < LISTED:
            self.problems.append(problem)


def run_rows(
    program: Program,
    rows: Iterable[Numbered],
    output: ResultFile,
    summary: Summary,
    *,
    model: LanguageModel | str | None = None,
    plan: Plan | None = None,
    concurrency: int = 8,
    progress: Callable[[Summary], None] = lambda _: None,
) -> None:
    """Answer rows and write a line for each that could be asked about.

    Args:
        program: The program.
        rows: Rows with their numbers, ascending.
        output: Where to write; opened. Rows that it already has are not asked about again.
        summary: Kept up to date, so that it is right also where the run is stopped.
        model: As in a call of the program.
        plan: As in a call of the program.
        concurrency: Calls in flight at the same time.
        progress: Called after each row.

    Raises:
        DataError: The output cannot be written, or goes on from a run of something else.
        ModelError: The model cannot be used at all.
    """
    begun = time.perf_counter()
    last = _take_up(program, output, summary)
    origin = Origin(program, model, plan, output)
    pending: deque[tuple[int, Any, str]] = deque()

    def valid() -> Iterator[dict[str, Any]]:
        for number, row in rows:
            inputs = row if isinstance(row, DataError) else _inputs(program, number, row)
            if isinstance(inputs, DataError):
                summary.skip(number, inputs)
                progress(summary)
                continue
            assert not isinstance(row, DataError)
            name = row.get("id")
            known = origin.add(number, name, inputs)
            if number > last:
                pending.append((number, name, known))
                yield inputs
        origin.end()

    try:
        for result in program.map(valid(), model=model, plan=plan, concurrency=concurrency):
            number, name, known = pending.popleft()
            line = {**({} if name is None else {"id": name}), "row": number, **plain(result)}
            output.write(line)
            origin.keep(number, known)
            summary.usage += result.usage
            summary.count(number, line.get("failures", {}))
            progress(summary)
    finally:
        summary.seconds = time.perf_counter() - begun


def _take_up(program: Program, output: ResultFile, summary: Summary) -> int:
    """Count what an earlier run has written; gives the number of its last row."""
    last = 0
    for line in output.finished():
        failures = line.get("failures", {})
        if {*line.get("answers", ()), *failures} != set(program.tasks):
            raise DataError(f"{output.partial} is of another program", hint=ANEW)
        last = max(last, line["row"])
        summary.count(line["row"], failures)
        summary.resumed += 1
    return last


def _inputs(program: Program, number: int, row: Mapping[str, Any]) -> dict[str, Any] | DataError:
    """The inputs of a row, or why it has none; other columns than the inputs are let be.

    The rows of a data set have them under `inputs`.
    """
    nested = row.get("inputs")
    if isinstance(nested, dict) and "inputs" not in program.inputs:
        row = nested
    try:
        named = read_names(row, known=program.inputs)
        given = {name: value for name, value in named.items() if name in program.inputs}
        return program.read_inputs(given)
    except DataError as error:
        return DataError(f"row {number}: {error.message}", hint=error.hint)
