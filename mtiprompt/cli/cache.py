"""`mtiprompt cache`: the replies that are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mtiprompt import settings
from mtiprompt.cli.options import AsJson
from mtiprompt.cli.output import emit, out
from mtiprompt.models.cache import CacheCheck, ReplyCache

app = typer.Typer(help="Look at the cache of replies, check it, or empty it.")


@app.command()
def stats(as_json: AsJson = False) -> None:
    """Say how many replies are kept, where, and how much room they take.

    ```
    $ mtiprompt cache stats
    ```

    Slots are answers that are kept one by one, besides the replies they came in.
    """
    found = ReplyCache.at(_folder()).stats()
    if as_json:
        emit({**found._asdict(), "folder": str(found.folder)})
    else:
        kept = _counted(found.entries, found.slots)
        _say(f"{kept}, {found.bytes / 1e6:.1f} MB, in {found.folder}")


@app.command()
def clear(as_json: AsJson = False) -> None:
    """Remove everything that is kept; from then on models are asked again.

    ```
    $ mtiprompt cache clear
    ```
    """
    folder = _folder()
    cache = ReplyCache.at(folder)
    slots = cache.stats().slots
    removed = cache.clear()
    slots = min(slots, removed)
    if as_json:
        emit({"folder": str(folder), "removed": removed - slots, "slots": slots})
    else:
        _say(f"removed {_counted(removed - slots, slots)} from {folder}")


@app.command()
def verify(
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove what is damaged; put a damaged file aside.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look at every entry and say which are damaged; a damaged one is never used.

    ```
    $ mtiprompt cache verify
    $ mtiprompt cache verify --repair
    ```

    Exit codes: 0 all is sound, or was mended; 1 something is damaged.
    """
    check = ReplyCache.at(_folder()).verify(repair=repair)
    if as_json:
        emit({**check._asdict(), "folder": str(check.folder)})
    else:
        for key in check.damaged:
            _say(f"damaged: {key}")
        _say(_verdict(check))
    if not check.healthy:
        raise typer.Exit(1)


def _verdict(check: CacheCheck) -> str:
    entries = "1 entry" if check.entries == 1 else f"{check.entries:,} entries"
    said = [f"{entries} in {check.folder}: {check.sound:,} sound"]
    if check.outdated:
        said.append(f"{check.outdated:,} of another version")
    if check.damaged:
        said.append(f"{len(check.damaged):,} damaged")
    if check.strays:
        said.append(f"{check.strays:,} files of no entry")
    if check.problem:
        said.append(f"the database: {check.problem}")
    if check.repaired:
        said.append("mended")
    elif not check.healthy:
        said.append("`mtiprompt cache verify --repair` mends it")
    return "; ".join(said)


def _folder() -> Path:
    folder: Path = settings.one("cache_dir")
    return folder


def _say(text: str) -> None:
    out().print(text, soft_wrap=True, markup=False)


def _counted(replies: int, slots: int) -> str:
    said = "1 reply" if replies == 1 else f"{replies:,} replies"
    if slots:
        said += f" and {slots:,} slot" + ("s" if slots > 1 else "")
    return said
