"""`mtiprompt optimize`: demonstrations and orders, searched under a hard budget of calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from mtiprompt.cli.measuring import (
    check_place,
    command,
    listed,
    measured_model,
    model_name,
    print_table,
    print_text,
    say_where,
    stoppable,
    write_figures,
    write_report,
)
from mtiprompt.cli.options import AsJson, Dollars, Limit, ModelName, PlanPath, Seconds
from mtiprompt.cli.output import emit, err, note, results_only
from mtiprompt.cli.targets import load_plan

if TYPE_CHECKING:
    from collections.abc import Collection

    from mtiprompt.evaluation.prices import Price
    from mtiprompt.optimizer import Foreseen, Progress
    from mtiprompt.optimizer.space import Part


def optimize(  # one argument for each word of the command line
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="`NAME.jsonl` with `NAME.task.json`.")
    ],
    budget: Annotated[
        int, typer.Option(metavar="CALLS", min=1, help="Calls that may be made, all included.")
    ],
    dollars: Dollars = None,
    seconds: Seconds = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where the plan goes.")
    ] = Path("plan.json"),
    model: ModelName = None,
    plan: PlanPath = None,
    most: Annotated[
        int, typer.Option(metavar="N", min=0, help="Demonstrations in a call at most.")
    ] = 4,
    pool: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Rows of train whose gold makes demos for all items; 0: none, and no select.",
        ),
    ] = 24,
    bootstrap: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Rows of train that the model answers first."),
    ] = 0,
    vary: Annotated[
        str,
        typer.Option(
            metavar="WHAT,WHAT...",
            help="What is varied: demos, select (demos chosen for each item), order, "
            "instructions (shortened by rule), grouping, reasoning, notation.",
        ),
    ] = "demos,select,order",
    prune: Annotated[
        float,
        typer.Option(
            metavar="PART", help="The part of the calls for dropping demonstrations; say 0.1."
        ),
    ] = 0.0,
    rule: Annotated[
        Literal["guarantee", "expected"],
        typer.Option(help="Whether a gain has to be shown on fresh rows, or to be probable."),
    ] = "guarantee",
    alpha: Annotated[
        float,
        typer.Option(metavar="P", help="Under `guarantee`: how probable a plan no better may be."),
    ] = 0.05,
    p: Annotated[
        float, typer.Option("--p", metavar="P", help="Under `expected`: how probable is enough.")
    ] = 0.9,
    price: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Whose price of a token counts.")
    ] = None,
    record: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where replies, figures and the report go.")
    ] = Path("mtiprompt-optimize"),
    limit: Limit = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", help="Seed of the search, and of the model's sampling."),
    ] = None,
    concurrency: Annotated[
        int, typer.Option(metavar="N", min=1, help="Calls in flight at the same time.")
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take at most; make no call.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Search demonstrations, their order and that of tasks; keep what is shown to be better.

    ```
    $ mtiprompt optimize reviews.jsonl --model openai/gpt-5-mini --budget 600 --dry-run
    $ mtiprompt optimize reviews.jsonl --model openai/gpt-5-mini --budget 600 -o plan.json
    $ mtiprompt run reviews.task.json new.jsonl -o answers.jsonl --plan plan.json
    ```

    Demonstrations are rows of the train split; plans are scored on the dev split. A quarter of the
    calls is kept for the best plan and the one to improve on (`--plan`, else all tasks in one call
    without demonstrations), on rows that no choice has looked at. Without significant gain there,
    the plan that is written is the latter; `--rule expected` takes what is probably better.

    FOLDER keeps every reply: the same command goes on from there.
    """
    from mtiprompt import optimizer
    from mtiprompt.dataset import Dataset
    from mtiprompt.evaluation.prices import known_price
    from mtiprompt.models.budget import Budget
    from mtiprompt.optimizer.found import Options
    from mtiprompt.optimizer.wordings import compressed
    from mtiprompt.report.tuned import effects_of, parts_of, tasks_of, tried_of, verdict_of

    with results_only():
        data = Dataset.load(dataset)
        base, chosen = load_plan(data.program, plan), cast("Collection[Part]", listed(vary))
        check_place(output)
        shorter = compressed(data.program, base) if "instructions" in chosen else {}
        setup = optimizer.Setup.of(
            data.program, data.train, data.dev[:limit], plan=base, most=most, pool=pool,
            bootstrap=bootstrap, vary=chosen, variants=shorter, seed=seed or 0,
        )  # fmt: skip
        known = known_price(price, model_name(model))
        limited = Budget(calls=budget, dollars=dollars, seconds=seconds)
        foreseen = optimizer.foresee(
            setup,
            limited,
            price=known,
            options=Options(rule=rule, alpha=alpha, p=p, prune=prune, seed=seed or 0),
        )
        if not dry_run:
            asked = measured_model(model, seed)
            with _watching(record, budget) as show:
                tuned = optimizer.optimize(
                    data.program,
                    data.train,
                    data.dev[:limit],
                    model=asked,
                    budget=limited,
                    plan=base,
                    most=most,
                    pool=pool,
                    bootstrap=bootstrap,
                    vary=chosen,
                    variants=shorter,
                    prune=prune,
                    rule=rule,
                    alpha=alpha,
                    p=p,
                    seed=seed or 0,
                    price=price,
                    concurrency=concurrency,
                    record=record / data.name,
                    progress=show,
                )
            tuned.plan.save(output)
            value = {"command": command(), "plan": str(output), **tuned.plain()}
            figures = write_figures(record, value)
            report = write_report(record, f"optimize: {data.name}", parts_of(tuned, data.name))
    if dry_run:
        _foretell(foreseen, known, as_json=as_json)
        return
    if as_json:
        emit(value | {"report": str(report) if report else None})
        return
    for table in (tried_of(tuned, data.name), effects_of(tuned, data.name)):
        print_table(table)
    if tuned.tasks:
        print_table(tasks_of(tuned, data.name))
    print_text(verdict_of(tuned, data.name))
    say_where(figures, report)


@contextmanager
def _watching(folder: Path, most: int) -> Iterator[Callable[[Progress], None]]:
    """A bar over a search that can be stopped and taken up again.

    Args:
        folder: Where it is on record.
        most: Calls at most.

    Yields:
        To be told how far it is.
    """
    console = err()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("calls"),
        TimeRemainingColumn(),
    )
    with (
        stoppable(folder),
        Bar(
            *columns,
            console=console,
            transient=True,
            disable=not console.is_terminal,
            speed_estimate_period=120,
        ) as bar,
    ):
        task = bar.add_task("begin", total=most)
        yield lambda now: bar.update(task, completed=now.calls, description=_told(now))


def _told(now: Progress) -> str:
    """How far a search is, in few words."""
    if now.leader is None:
        return now.stage
    chosen = now.leader.select
    demos = f"{chosen.number} chosen" if chosen else str(len(now.leader.demos))
    return f"{now.stage}: {now.gain:+.3f} with {demos} demos"


def _foretell(foreseen: Foreseen, price: Price | None, *, as_json: bool) -> None:
    """Tell what a search would take."""
    usage = foreseen.usage
    dollars = None if price is None else foreseen.dollars(price)
    if as_json:
        emit({"calls": foreseen.calls, "bootstrap": foreseen.bootstrap, "pool": foreseen.pool,
              "shelf": foreseen.shelf, "searched": foreseen.searched, "fresh": foreseen.fresh,
              "prompt_tokens": usage.prompt_tokens,
              "completion_tokens": usage.completion_tokens, "dollars": dollars})  # fmt: skip
        return
    cost = "" if dollars is None else f", {dollars:.2g} US dollars without a prompt cache"
    shelf = f", and {foreseen.shelf:,} to select from for each item" if foreseen.shelf else ""
    note(
        f"At most {foreseen.calls:,} calls, about {usage.prompt_tokens:,} prompt tokens and"
        f" {usage.completion_tokens:,} completion tokens{cost}. At hand are"
        f" {foreseen.searched:,} rows to search on, {foreseen.fresh:,} to confirm on, and"
        f" {foreseen.pool:,} demonstrations{shelf}. No call was made."
    )
