"""`mtiprompt plan`: which tasks may share a call, by measurement and price."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from mtiprompt import settings
from mtiprompt.cli.measuring import (
    check_place,
    command,
    listed,
    measured_model,
    measuring,
    model_name,
    print_table,
    print_text,
    say_where,
    write_figures,
    write_report,
)
from mtiprompt.cli.options import AsJson, Dollars, Limit, ModelName, Pins, Seconds, Seed, pins
from mtiprompt.cli.output import emit, note, results_only
from mtiprompt.errors import BudgetExceeded, DataError
from mtiprompt.models.naming import is_local

if TYPE_CHECKING:
    from mtiprompt.dataset import Dataset, Row
    from mtiprompt.evaluation.prices import Price
    from mtiprompt.models.base import LanguageModel
    from mtiprompt.plan import Demo
    from mtiprompt.planner import Estimate
    from mtiprompt.wire import Notation


def plan(  # one argument for each word of the command line
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="`NAME.jsonl` with `NAME.task.json`.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where the plan goes.")
    ] = Path("plan.json"),
    model: ModelName = None,
    rule: Annotated[
        Literal["expected", "guarantee"], typer.Option(help="What has to be known of a loss.")
    ] = "expected",
    margin: Annotated[
        float, typer.Option(metavar="LOSS", help="The loss of its mean score a task may have.")
    ] = 0.05,
    confidence: Annotated[
        float, typer.Option(metavar="P", help="Of the guarantee, and of intervals.")
    ] = 0.95,
    p: Annotated[
        float, typer.Option("--p", metavar="P", help="Under `expected`: how probable is enough.")
    ] = 0.8,
    objective: Annotated[
        Literal["cost", "seconds", "throughput"],
        typer.Option(help="What is to be good."),
    ] = "cost",
    budget: Annotated[
        int | None, typer.Option(metavar="CALLS", min=1, help="Calls that may be made.")
    ] = None,
    dollars: Dollars = None,
    seconds: Seconds = None,
    demos: Annotated[
        int, typer.Option(metavar="N", min=0, help="Demonstrations, drawn from the train split.")
    ] = 0,
    items: Annotated[
        str, typer.Option(metavar="N,N...", help="Numbers of items in a call to try.")
    ] = "",
    notations: Annotated[
        str, typer.Option(metavar="NAME,NAME...", help="Notations of the answer to try.")
    ] = "",
    short_keys: Annotated[
        bool, typer.Option("--short-keys", help="Try letters as the keys of a reply.")
    ] = False,
    orders: Annotated[
        bool,
        typer.Option("--orders", help="Try the hardest task first in calls that do harm."),
    ] = False,
    error_cost: Annotated[
        float,
        typer.Option(metavar="COST", min=0, help="Under `expected`: what a wrong answer costs."),
    ] = 0.0,
    lens: Annotated[
        bool,
        typer.Option("--lens", help="See too, without gold, who moves whose answers."),
    ] = False,
    lens_rows: Annotated[
        int, typer.Option("--lens-rows", metavar="N", min=1, help="Rows that --lens reads.")
    ] = 20,
    lens_tops: Annotated[
        int,
        typer.Option(
            "--lens-tops", metavar="N", min=0, max=20, help="Likeliest tokens that --lens asks for."
        ),
    ] = 20,
    together: Pins = None,
    apart: Pins = None,
    price: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Whose price of a token counts.")
    ] = None,
    record: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where replies, figures and the report go.")
    ] = Path("mtiprompt-plan"),
    limit: Limit = None,
    seed: Seed = None,
    concurrency: Annotated[
        int, typer.Option(metavar="N", min=1, help="Calls in flight at the same time.")
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would cost at most; make no call.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Choose which tasks share a call: the cheapest plan of which no task suffers.

    ```
    $ mtiprompt plan reviews.jsonl --model openai/gpt-5-mini --dry-run
    $ mtiprompt plan reviews.jsonl --model openai/gpt-5-mini --budget 600 -o plan.json
    $ mtiprompt run reviews.task.json new.jsonl -o answers.jsonl --plan plan.json
    ```

    Rows of the train and dev splits are run one call a task, then with all tasks in one call; tasks
    that suffer move out, and the rest is tried again. `--rule expected` fuses where a loss above
    the margin is improbable on the rows seen; `--rule guarantee` bounds the probability that it is
    ever wrong, and takes hundreds of rows. Rows without gold count too: then it is measured how far
    answers differ from those of one call a task.

    `--lens` takes a model in this process, or one that tells log-probabilities; where that tells
    fewer than 20 at a place, `--lens-tops` asks for fewer. It looks when the plan is found, with
    what is left of a budget.

    FOLDER keeps every reply: the same command goes on from there.
    """
    from mtiprompt.dataset import Dataset
    from mtiprompt.evaluation import draw_demos
    from mtiprompt.evaluation.prices import known_price
    from mtiprompt.models.budget import Budget
    from mtiprompt.planner import choose_plan, estimate
    from mtiprompt.planner import lens as look
    from mtiprompt.planner.lens import lens_calls
    from mtiprompt.report import lens as seen
    from mtiprompt.report.choice import parts_of, reasons_of, table_of, verdict_of

    with results_only():
        data = Dataset.load(dataset)
        shown = draw_demos(data.program, data.train, demos, seed=seed or 0)
        rows = _rows(data, shown)[:limit]
        pinned, parted = pins(together), pins(apart)
        numbers = _numbers(items)
        if dry_run:
            foreseen = estimate(
                data.program, rows, demos=shown, items=numbers, together=pinned, apart=parted
            )
            calls = lens_calls(data.program, len(rows[:lens_rows])) if lens else 0
            further = 0 if is_local(model_name(model)) else calls
        else:
            check_place(output)
            asked = measured_model(model, seed, kinds=2 * len(data.program.tasks))
            if lens:
                asked = _telling(model, seed, asked, lens_tops)
            limited = Budget(calls=budget, dollars=dollars, seconds=seconds)
            looked = None
            with measuring(record, None, "rows") as step:
                found = choose_plan(
                    data.program,
                    rows,
                    model=asked,
                    rule=rule,
                    margin=margin,
                    confidence=confidence,
                    p=p,
                    objective=objective,
                    budget=limited,
                    demos=shown,
                    items=numbers,
                    notations=cast("list[Notation]", listed(notations)),
                    short_keys=short_keys,
                    orders=orders,
                    error_cost=error_cost,
                    together=pinned,
                    apart=parted,
                    price=price,
                    concurrency=concurrency,
                    record=record / data.name,
                    progress=lambda _: step(),
                )
                found.plan.save(output)
                if lens:
                    with suppress(BudgetExceeded):
                        looked = look(
                            data.program,
                            rows[:lens_rows],
                            model=asked,
                            demos=shown,
                            budget=limited,
                            record=record / data.name,
                            concurrency=concurrency,
                            progress=step,
                        )
            value = {
                "command": command(),
                "plan": str(output),
                **found.plain(),
                "lens": looked and looked.plain(),
            }
            figures = write_figures(record, value)
            parts = parts_of(found, data.name)
            if looked:
                parts.append(seen.chart_of(looked, data.name))
            report = write_report(record, f"plan: {data.name}", parts)
    if dry_run:
        told = known_price(price, model_name(model))
        _foretell(foreseen, told, further, as_json=as_json)
        return
    if as_json:
        emit(value | {"report": str(report) if report else None})
        return
    print_table(table_of(found, data.name))
    print_text(reasons_of(found, data.name))
    print_text(verdict_of(found, data.name))
    if looked:
        print_table(seen.table_of(looked, data.name))
    elif lens:
        note("nothing of the budget was left for the lens")
    say_where(figures, report)


def _rows(data: Dataset, shown: tuple[Demo, ...]) -> list[Row]:
    """The rows of train and dev that are no demonstrations."""
    inputs = [demo.inputs for demo in shown]
    rows = [row for row in (*data.dev, *data.train) if dict(row.inputs) not in inputs]
    if not rows:
        raise DataError(f"{data.name} has no train or dev rows", hint="plans are chosen on those")
    return rows


def _telling(named: str | None, seed: int | None, asked: LanguageModel, tops: int) -> LanguageModel:
    """The model as the lens asks it, and so the search too.

    One that is not in this process tells log-probabilities, or is refused at its first reply.
    """
    from mtiprompt.planner.lens_read import TellingModel

    if is_local(asked.name):
        return asked
    chosen = named or settings.current().model
    if isinstance(chosen, str):
        wanted = {"top_logprobs": tops} if tops else {}
        asked = measured_model(chosen, seed, logprobs=True, **wanted)
    return TellingModel(asked)


def _numbers(words: str) -> list[int]:
    try:
        return [int(one) for one in listed(words)]
    except ValueError:
        raise DataError(f"--items {words!r} are no numbers", hint="--items 2,4") from None


def _foretell(foreseen: Estimate, price: Price | None, lens: int, *, as_json: bool) -> None:
    """Tell what a search would take, and how many calls the lens before it."""
    whole = foreseen.whole
    dollars = None if price is None else foreseen.dollars(price)
    if as_json:
        emit({"rows": foreseen.rows, "calls": whole.calls, "prompt_tokens": whole.prompt_tokens,
              "completion_tokens": whole.completion_tokens, "dollars": dollars,
              "lens_calls": lens})  # fmt: skip
        return
    cost = "" if dollars is None else f", {dollars:.2g} US dollars without a prompt cache,"
    look = f", and at most {lens:,} calls of the lens" if lens else ""
    note(
        f"{foreseen.rows:,} rows: {whole.calls:,} calls, about {whole.prompt_tokens:,} prompt"
        f" tokens and {whole.completion_tokens:,} completion tokens{cost} for one call a task and"
        f" the first grouping; each further grouping comes on top{look}. No call was made."
    )
