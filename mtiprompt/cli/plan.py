"""`mtiprompt plan`: which tasks may share a call, by measurement and price."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from mtiprompt import settings
from mtiprompt.cli.measuring import (
    check_apart,
    check_place,
    listed,
    measured_model,
    measuring,
    model_name,
    show_result,
    write_result,
)
from mtiprompt.cli.options import AsJson, Dollars, Limit, ModelName, Pins, Seconds, Seed, pins
from mtiprompt.cli.output import emit, note, results_only
from mtiprompt.errors import BudgetExceeded, DataError
from mtiprompt.models.naming import is_local

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mtiprompt.dataset import Dataset, Row
    from mtiprompt.evaluation.prices import Price
    from mtiprompt.models.base import LanguageModel
    from mtiprompt.plan import Demo
    from mtiprompt.planner import Choice, Estimate, Lens
    from mtiprompt.program import Program
    from mtiprompt.report.parts import Table, Text
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

    FOLDER keeps every reply: the same command goes on from there, within the same budget.
    """
    from mtiprompt.dataset import Dataset, files_of
    from mtiprompt.evaluation import draw_demos
    from mtiprompt.evaluation.prices import counted_price
    from mtiprompt.models.budget import Budget
    from mtiprompt.planner import choose_plan, estimate
    from mtiprompt.planner.lens import lens_calls
    from mtiprompt.planner.profile import KEPT, without_gold
    from mtiprompt.report.choice import parts_of
    from mtiprompt.report.lens import chart_of

    with results_only():
        data = Dataset.load(dataset)
        shown = draw_demos(data.program, data.train, demos, seed=seed or 0)
        rows = _rows(data, shown)[:limit]
        about: dict[str, Any] = {
            "demos": shown,
            "items": _numbers(items),
            "notations": cast("list[Notation]", listed(notations)),
            "short_keys": short_keys,
            "together": pins(together),
            "apart": pins(apart),
            "rule": rule,
        }
        bounds = Budget(calls=budget, dollars=dollars, seconds=seconds)
        told = counted_price(bounds, price, model_name(model))
        if unlabelled := without_gold(data.program, rows):
            note(
                f"no row of train or dev has gold for {', '.join(unlabelled)}: measured there is "
                "how far answers differ from those of one call a task"
            )
        if dry_run:
            foreseen = estimate(data.program, rows, **about)
            calls = lens_calls(data.program, len(rows[:lens_rows])) if lens else 0
            further = 0 if is_local(model_name(model)) else calls
        else:
            check_place(output)
            check_apart(files_of(dataset), record, output, record / data.name / KEPT)
            asked = measured_model(model, seed, kinds=2 * len(data.program.tasks))
            if lens:
                asked = _telling(model, seed, asked, lens_tops)
            given: dict[str, Any] = {
                "model": asked,
                "budget": bounds,
                "concurrency": concurrency,
                "record": record / data.name,
            }
            with measuring(record, None, "rows") as step:
                found = choose_plan(
                    data.program,
                    rows,
                    margin=margin,
                    confidence=confidence,
                    p=p,
                    objective=objective,
                    orders=orders,
                    error_cost=error_cost,
                    price=price,
                    progress=lambda _: step(),
                    **about,
                    **given,
                )
                found.plan.save(output)
                looked = None
                if lens:
                    looked = _looked(
                        data.program, rows[:lens_rows], demos=shown, progress=step, **given
                    )
            written = write_result(
                record,
                f"plan: {data.name}",
                {"plan": str(output), **found.plain(), "lens": looked and looked.plain()},
                [*parts_of(found, data.name), *([chart_of(looked, data.name)] if looked else [])],
            )
    if dry_run:
        _foretell(foreseen, told, further, budget, as_json=as_json)
        return
    if lens and not looked:
        note("nothing of the budget was left for the lens")
    show_result(written, _shown(found, looked, data.name), as_json=as_json)


def _looked(program: Program, rows: Sequence[Row], **given: Any) -> Lens | None:
    """What the lens sees; None where nothing of the budget is left for it."""
    from mtiprompt.planner import lens

    with suppress(BudgetExceeded):
        return lens(program, rows, **given)
    return None


def _shown(found: Choice, looked: Lens | None, name: str) -> Iterator[Table | Text]:
    """What was chosen, why, and what the lens saw."""
    from mtiprompt.report.choice import reasons_of, table_of, verdict_of
    from mtiprompt.report.lens import table_of as seen_of

    yield table_of(found, name)
    yield reasons_of(found, name)
    yield verdict_of(found, name)
    if looked:
        yield seen_of(looked, name)


def _rows(data: Dataset, shown: tuple[Demo, ...]) -> tuple[Row, ...]:
    """The rows of train and dev that are no demonstrations."""
    from mtiprompt.evaluation.checks import not_shown

    rows = not_shown((*data.dev, *data.train), shown)
    if not rows:
        beside = " that are no demonstrations" if shown else ""
        raise DataError(
            f"{data.name} has no train or dev rows{beside}", hint="plans are chosen on those"
        )
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


def _foretell(
    foreseen: Estimate, price: Price | None, lens: int, budget: int | None, *, as_json: bool
) -> None:
    """Tell what a search would take, and the lens after it, and what they would not find out."""
    whole = foreseen.whole
    dollars = None if price is None else foreseen.dollars(price)
    if as_json:
        emit({"rows": foreseen.rows, "calls": whole.calls, "prompt_tokens": whole.prompt_tokens,
              "completion_tokens": whole.completion_tokens, "dollars": dollars,
              "least_calls": foreseen.least, "untried": foreseen.untried,
              "lens_calls": lens})  # fmt: skip
        return
    cost = "" if dollars is None else f", {dollars:.2g} US dollars without a prompt cache,"
    look = f", and at most {lens:,} calls of the lens" if lens else ""
    found = (
        f"{whole.calls:,} calls, about {whole.prompt_tokens:,} prompt tokens and"
        f" {whole.completion_tokens:,} completion tokens{cost} for one call a task and the first"
        " plan beside it; each further one comes on top"
        if whole.calls
        else "no call of the search"
    )
    why = f"; {foreseen.untried}" if foreseen.untried else ""
    few = budget is not None and budget < foreseen.least
    more = f" A verdict takes at least {foreseen.least:,} calls: raise the budget." if few else ""
    note(f"{foreseen.rows:,} rows: {found}{look}{why}.{more} No call was made.")
