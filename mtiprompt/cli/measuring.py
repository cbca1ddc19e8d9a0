"""What the commands that measure have in common: the model, the bar, the tables, the files."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.table import Table as Grid
from rich.text import Text

from mtiprompt import settings
from mtiprompt.cli.output import Interrupted, complain, emit, err, note, out
from mtiprompt.errors import DataError, IncompleteRun, MTIError
from mtiprompt.models.model import Model, as_model
from mtiprompt.models.naming import is_local
from mtiprompt.whole_files import behind_link, write_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from mtiprompt.models.base import LanguageModel
    from mtiprompt.report.parts import Part, Table
    from mtiprompt.report.parts import Text as Paragraphs

Folder = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="FOLDER", help="Where replies, figures and the report go."
    ),
]
MOST_SLOTS = 16
"""Prompts that a model in this process keeps at the same time, at most."""
FIGURES, REPORT = "results.json", "report.html"
"""Where a folder of record has what was measured."""


def measured_model(
    named: Any, seed: int | None, *, kinds: int = 1, **options: Any
) -> LanguageModel:
    """The model that is measured: without a cache of its own, as all replies are kept on record.

    Args:
        named: A name, or a model; without one, that of the settings.
        seed: The seed of its sampling.
        kinds: Kinds of prompt that take turns; a model in this process keeps the beginnings of as
            many, so that no arm loses its prefix to another.
        **options: Other options of `mti.Model`.
    """
    chosen = named or settings.current().model
    if not isinstance(chosen, str):
        return as_model(chosen)
    if seed is not None:
        options["seed"] = seed
    if is_local(chosen):
        options["slots"] = min(MOST_SLOTS, kinds + 1)
    return Model(chosen, cache=False, **options)


def model_name(named: Any) -> str:
    """The name of the model that would be asked, as a price is looked up; empty if none is set."""
    chosen = named or settings.current().model
    return str(chosen if isinstance(chosen, str) else getattr(chosen, "name", ""))


def check_place(output: Path) -> None:
    """Refuse a place where no plan could be written, before a call is made.

    Raises:
        DataError: There is no such folder, or it is one itself, or a device or a pipe. Of a link,
            what it leads to counts.
    """
    if not (folder := behind_link(output).parent).is_dir():
        raise DataError(f"there is no folder {folder}")
    if output.is_dir():
        raise DataError(f"{output} is a folder", hint=f"-o {output / 'plan.json'}")
    if output.exists() and not output.is_file():
        raise DataError(f"cannot write {output}: it is no ordinary file", hint="name another")


def check_apart(read: Iterable[str | Path], folder: Path | None, *written: Path) -> None:
    """Refuse to write over what is read, or to add to it, before a call is made.

    Args:
        read: Files that the command reads.
        folder: Where figures and the report go; None: there are none.
        *written: Other files that it writes; the trace of the settings is one without a word.

    Raises:
        DataError: Two are one file, by a link too; a device or a pipe may be both.
    """
    trace = settings.one("trace")
    figures = () if folder is None else (folder / FIGURES, folder / REPORT)
    places = [*written, *figures, *([trace] if trace else ())]
    for place, source in product(places, read):
        with suppress(OSError):  # one of them is not there
            if place.is_file() and place.samefile(source):
                raise DataError(f"{place} is input and output at once", hint="name another output")


@contextmanager
def stoppable(folder: Path) -> Iterator[None]:
    """Around a measurement that is on record, and so can be stopped and taken up again.

    One that is refused before it keeps anything leaves no new folder behind.

    Args:
        folder: Where it is on record.

    Raises:
        DataError: The folder cannot be made.
    """
    there = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror}") from None
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(
            f"the replies so far are kept in {folder}; the same command goes on from there"
        ) from None
    except IncompleteRun as error:
        complain("error", str(error))
        raise typer.Exit(1) from None
    except MTIError:
        if not there:
            with suppress(OSError):  # there are replies in it
                folder.rmdir()
        raise


@contextmanager
def measuring(folder: Path, total: int | None, what: str) -> Iterator[Callable[[], None]]:
    """A bar over a measurement that can be stopped and taken up again.

    Args:
        folder: Where it is on record.
        total: Steps in all; None: nobody knows.
        what: What the bar says.

    Yields:
        To be called after each step.
    """
    from mtiprompt.cli.output import rows_progress

    with stoppable(folder), rows_progress() as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def listed(words: str) -> list[str]:
    """The words of an option that takes several, with commas between them."""
    return [one.strip() for one in words.split(",") if one.strip()]


def command() -> str:
    """The words that the program was started with."""
    return shlex.join(["mtiprompt", *sys.argv[1:]])


class Written(NamedTuple):
    """What was measured, and where it is written.

    Attributes:
        value: What `results.json` has.
        figures: Where that is.
        report: Where `report.html` is; None without the package that draws its charts.
    """

    value: dict[str, Any]
    figures: Path
    report: Path | None


def write_result(folder: Path, title: str, value: dict[str, Any], parts: Iterable[Part]) -> Written:
    """Write `results.json` and, where its charts can be drawn, `report.html`.

    Args:
        folder: Where they go.
        title: The heading of the report.
        value: The figures; the words of the command come first.
        parts: The report.
    """
    value = {"command": command(), **value}
    figures = folder / FIGURES
    write_text(figures, json.dumps(value, ensure_ascii=False, indent=2) + "\n")
    if find_spec("plotly") is None:
        note('no report was written; it needs the extra: pip install "mtiprompt[report]"')
        return Written(value, figures, None)
    from mtiprompt.report.page import write_page

    report = folder / REPORT
    write_page(report, title, list(parts), command=command())
    return Written(value, figures, report)


def show_result(written: Written, parts: Iterable[Table | Paragraphs], *, as_json: bool) -> None:
    """Show what was measured: the parts with a blank line between them, or all of it as JSON."""
    from mtiprompt.report.parts import Table as Rows

    if as_json:
        emit(written.value | {"report": str(written.report) if written.report else None})
        return
    for number, part in enumerate(parts):
        if number:
            out().print()
        if isinstance(part, Rows):
            _print_table(part)
        else:
            _print_text(part)
    report = f"   report: {written.report}" if written.report else ""
    err().print(Text(f"figures: {written.figures}{report}"), soft_wrap=True)


def _print_text(text: Paragraphs) -> None:
    """Paragraphs on standard output, at its width."""
    out().print(Text(text.heading, "bold"))
    for one in text.paragraphs:
        out().print(Text(one))


def _print_table(table: Table) -> None:
    """A table on standard output."""
    console = out()
    grid = Grid(title=Text(table.heading), title_justify="left", title_style="bold", pad_edge=False)
    for place, column in enumerate(table.columns):
        grid.add_column(Text(column), justify="right" if place else "left", overflow="fold")
    for row in table.rows:
        grid.add_row(*(Text(cell) for cell in row))
    console.print(grid)
    if table.note:
        console.print(Text(table.note, "dim"))
