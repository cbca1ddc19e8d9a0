"""`mtiprompt cache`: the replies that are kept."""

from __future__ import annotations

import typer

from mtiprompt import settings
from mtiprompt.cli.options import AsJson
from mtiprompt.cli.output import emit, out
from mtiprompt.models.cache import ReplyCache

app = typer.Typer(help="Look at the cache of replies, or empty it.", no_args_is_help=True)


@app.command()
def stats(as_json: AsJson = False) -> None:
    """Say how many replies are kept, where, and how much room they take.

    ```
    $ mtiprompt cache stats
    ```
    """
    found = ReplyCache.at(settings.current().cache_dir).stats()
    if as_json:
        emit({"folder": str(found.folder), "entries": found.entries, "bytes": found.bytes})
    else:
        size = f"{_replies(found.entries)}, {found.bytes / 1e6:.1f} MB"
        out().print(f"{size}, in {found.folder}", soft_wrap=True, markup=False)


@app.command()
def clear(as_json: AsJson = False) -> None:
    """Remove every reply that is kept; from then on models are asked again.

    ```
    $ mtiprompt cache clear
    ```
    """
    folder = settings.current().cache_dir
    removed = ReplyCache.at(folder).clear()
    if as_json:
        emit({"folder": str(folder), "removed": removed})
    else:
        out().print(f"removed {_replies(removed)} from {folder}", soft_wrap=True, markup=False)


def _replies(number: int) -> str:
    return "1 reply" if number == 1 else f"{number:,} replies"
