"""`mtiprompt optimize`: demonstrations, orders and wordings, searched under a hard budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mtiprompt.cli.live import LiveSearch
from mtiprompt.cli.measuring import (
    check_apart,
    check_place,
    listed,
    measured_model,
    model_name,
    show_result,
    stoppable,
    write_result,
)
from mtiprompt.cli.options import AsJson, Dollars, Limit, ModelName, Pins, PlanPath, Seconds, pins
from mtiprompt.cli.output import counted, emit, err, note, results_only
from mtiprompt.cli.proposing import Proposing
from mtiprompt.cli.targets import load_plan
from mtiprompt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mtiprompt.evaluation.prices import Price
    from mtiprompt.optimizer import Foreseen, Tuned
    from mtiprompt.report.parts import Table, Text


def optimize(  # one argument for each word of the command line
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="`NAME.jsonl` with `NAME.task.json`.")
    ],
    budget: Annotated[
        int | None,
        typer.Option(
            metavar="CALLS",
            min=1,
            help="Calls that may be made, all included. This, --tokens or --dollars is needed.",
        ),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Tokens that may be read and written, together."),
    ] = None,
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
        str | None,
        typer.Option(
            metavar="WHAT,WHAT...",
            help="What is varied: demos, select (demos chosen for each item), order, "
            "instructions (those of --reflect and, where it is named here, those shortened by "
            "rule), grouping, reasoning, notation. By default the first four.",
        ),
    ] = None,
    embeddings: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Select demos by how alike words are, too: a model2vec model, a folder or a name "
            "on the hub; needs the extra embeddings.",
        ),
    ] = None,
    reflect: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Instructions to have proposed for each task with mistakes; needs gepa.",
        ),
    ] = 0,
    reflect_model: Annotated[
        str | None,
        typer.Option("--reflect-model", metavar="NAME", help="Who proposes; else the same model."),
    ] = None,
    together: Pins = None,
    apart: Pins = None,
    weights: Annotated[
        str,
        typer.Option(metavar="TASK=NUMBER,...", help="How much tasks count; others count 1."),
    ] = "",
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
    margin: Annotated[
        float,
        typer.Option(metavar="LOSS", help="The loss of its mean score a task may have for sure."),
    ] = 0.05,
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

    `--reflect` has a model propose instructions first, out of the same budget.

    FOLDER keeps every reply: the same command goes on from there.
    """
    from mtiprompt.dataset import Dataset, files_of
    from mtiprompt.evaluation.prices import counted_price, known_price
    from mtiprompt.models.budget import Budget
    from mtiprompt.optimizer import Progress, Setup
    from mtiprompt.optimizer import optimize as search
    from mtiprompt.optimizer.asked import FILE
    from mtiprompt.optimizer.found import Options
    from mtiprompt.optimizer.space import USUAL
    from mtiprompt.optimizer.wordings import compressed
    from mtiprompt.report.tuned import parts_of

    with results_only():
        data = Dataset.load(dataset)
        if not data.dev:
            raise DataError(f"{data.name} has no dev rows", hint="plans are scored on those")
        base, named = load_plan(data.program, plan), listed(vary or "")
        if not dry_run:
            check_place(output)
            replies = record / data.name / FILE
            check_apart(files_of(dataset), record, output, replies)
            # a better plan may take its place, but nothing else
            check_apart([plan] if plan else (), record, replies)
        about: dict[str, Any] = {
            "plan": base,
            "most": most,
            "pool": pool,
            "bootstrap": bootstrap,
            "vary": USUAL if vary is None else named,
            "variants": compressed(data.program, base) if "instructions" in named else {},
            "together": pins(together),
            "apart": pins(apart),
            "embeddings": embeddings,
            "seed": seed or 0,
        }
        judged: dict[str, Any] = {
            "rule": rule, "alpha": alpha, "p": p, "margin": margin, "prune": prune,
            "weights": _weights(weights),
        }  # fmt: skip
        setup = Setup.of(data.program, data.train, data.dev[:limit], **about)
        bounds = _bounds(calls=budget, tokens=tokens, dollars=dollars, seconds=seconds)
        known, options = known_price(price, model_name(model)), Options(**judged, seed=seed or 0)
        proposing = Proposing.of(setup, data, reflect)
        foreseen = proposing.foresee(bounds, known, options)
        if not options.can_show(foreseen.fresh):
            note(
                f"{counted(foreseen.fresh, 'fresh row')} cannot show a gain at --alpha {alpha:g}, "
                "however large it is: give more rows of dev or more calls, or --rule expected"
            )
        if not dry_run:
            given: dict[str, Any] = {
                "model": measured_model(model, seed),
                "budget": Budget(**bounds),
                "concurrency": concurrency,
                "record": record / data.name,
            }
            counted_price(given["budget"], price, model_name(model))
            with (
                stoppable(record),
                LiveSearch(err(), setup.space.start, given["budget"]) as live,
            ):
                if reflect:
                    live.told(Progress("reflect", 0, foreseen.calls + proposing.calls))
                    better = measured_model(reflect_model, seed) if reflect_model else None
                    about["variants"] = proposing.variants(better, seed=seed or 0, **given)
                reflected = given["budget"].spent
                tuned = search(
                    data.program,
                    data.train,
                    data.dev[:limit],
                    price=price,
                    progress=live.told,
                    **given,
                    **about,
                    **judged,
                )
            tuned.plan.save(output)
            value = {
                "plan": str(output),
                **tuned.plain(),
                "variants": {name: list(texts) for name, texts in tuned.space.variants.items()},
                "reflected": reflected.plain() if reflect else None,
            }
            parts = parts_of(tuned, data.name)
            written = write_result(record, f"optimize: {data.name}", value, parts)
    if dry_run:
        _foretell(foreseen, known, proposing.calls, as_json=as_json)
        return
    show_result(written, _shown(tuned, data.name), as_json=as_json)


def _shown(tuned: Tuned, name: str) -> Iterator[Table | Text]:
    """What was tried, what did what, the gain of each task, and the verdict."""
    from mtiprompt.report.tuned import effects_of, tasks_of, tried_of, verdict_of

    yield tried_of(tuned, name)
    yield effects_of(tuned, name)
    if tuned.tasks:
        yield tasks_of(tuned, name)
    yield verdict_of(tuned, name)


def _weights(words: str) -> dict[str, float]:
    """How much tasks count, `TASK=NUMBER,...`."""
    found: dict[str, float] = {}
    for one in listed(words):
        name, _, number = (part.strip() for part in one.partition("="))
        if name in found:
            raise DataError(f"{name!r:.80} is weighed twice", hint="--weights mood=2,size=0.5")
        try:
            found[name] = float(number)
        except ValueError:
            raise DataError(
                f"--weights {words!r:.80} are no weights", hint="--weights mood=2,size=0.5"
            ) from None
    return found


def _bounds(**given: Any) -> dict[str, Any]:
    """What may be spent, as `Budget` takes it; one bound that makes a number of calls is needed."""
    if all(value is None for name, value in given.items() if name != "seconds"):
        but = ", and seconds are no number of calls" if given["seconds"] is not None else ""
        raise DataError(
            f"nothing bounds the search{but}", hint="--budget CALLS, --tokens N or --dollars N"
        )
    return given


def _foretell(foreseen: Foreseen, price: Price | None, ahead: int, *, as_json: bool) -> None:
    """Tell what a search would take, and how many calls what is before it."""
    usage = foreseen.usage
    dollars = None if price is None else foreseen.dollars(price)
    if as_json:
        emit({"calls": foreseen.calls, "bootstrap": foreseen.bootstrap, "pool": foreseen.pool,
              "shelf": foreseen.shelf, "searched": foreseen.searched, "fresh": foreseen.fresh,
              "prompt_tokens": usage.prompt_tokens,
              "completion_tokens": usage.completion_tokens, "dollars": dollars,
              "reflect": ahead})  # fmt: skip
        return
    cost = "" if dollars is None else f", {dollars:.2g} US dollars without a prompt cache"
    shelf = f", and {foreseen.shelf:,} to select from for each item" if foreseen.shelf else ""
    first = f"After up to {counted(ahead, 'call')} that propose instructions: at" if ahead else "At"
    note(
        f"{first} most {foreseen.calls:,} calls, about {usage.prompt_tokens:,} prompt tokens and"
        f" {usage.completion_tokens:,} completion tokens{cost}. At hand are"
        f" {foreseen.searched:,} rows to search on, {foreseen.fresh:,} to confirm on, and"
        f" {foreseen.pool:,} demonstrations{shelf}. No call was made."
    )
