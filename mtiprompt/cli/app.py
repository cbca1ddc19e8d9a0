"""The commands and what they have in common."""

from __future__ import annotations

from typing import Annotated

import typer

from mtiprompt import __version__
from mtiprompt.cli import cache, catalogue, demo, eval, experiment, optimize, plan, run, show

app = typer.Typer(
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command()(show.show)
app.command()(run.run)
app.command("eval")(eval.evaluate)
app.command()(plan.plan)
app.command()(optimize.optimize)
app.add_typer(catalogue.app, name="models")
app.add_typer(cache.app, name="cache")
app.add_typer(experiment.app, name="experiment")


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Declare language model tasks apart, run them together, get typed answers task by task.

    Start here; it fetches a small model once and then needs no network:

    ```
    $ mtiprompt demo
    ```

    Then your own program and rows:

    ```
    $ mtiprompt show triage.py:triage
    $ mtiprompt run triage.py:triage mails.csv -o answers.jsonl --model openai/gpt-5-mini
    ```

    And what is worth it, on labelled rows:

    ```
    $ mtiprompt eval reviews.jsonl --arms split,batch:4,fused --model openai/gpt-5-mini
    ```

    Exit codes: 0 done, 1 done with some rows failed or skipped, or a damaged cache, 2 bad usage or
    input, 130 interrupted.
    """
    if version:
        typer.echo(f"mtiprompt {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
