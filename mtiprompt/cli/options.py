"""Arguments and options that several commands share, with the one text that explains each."""

from __future__ import annotations

from typing import Annotated

import typer

ProgramPath = Annotated[
    str,
    typer.Argument(metavar="PROGRAM", help="`module:name`, `file.py:name` or `NAME.task.json`."),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="`provider/name`, `local/NAME` or `local:/path.gguf`; else `MTIPROMPT_MODEL`.",
    ),
]
PlanPath = Annotated[
    str | None,
    typer.Option("--plan", metavar="FILE", help="A saved plan; else all tasks share one call."),
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Seed of the model's sampling.")
]
Limit = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first N rows.")
]
Dollars = Annotated[
    float | None,
    typer.Option(metavar="N", min=0, help="US dollars that may be spent, by the model's price."),
]
Seconds = Annotated[
    float | None,
    typer.Option(metavar="N", min=0, help="Seconds from the first call on in which calls begin."),
]
Pins = Annotated[
    list[str] | None,
    typer.Option(metavar="TASK+TASK", help="Tasks that are pinned; repeatable."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object and nothing else on standard output.")
]


def pins(words: list[str] | None) -> list[list[str]]:
    """The groups of tasks of an option that pins some, `TASK+TASK` each."""
    return [[name.strip() for name in one.split("+")] for one in words or ()]
