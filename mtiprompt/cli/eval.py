"""`mtiprompt eval`: ways of running side by side on labelled rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mtiprompt.cli.measuring import (
    Folder,
    check_apart,
    listed,
    measured_model,
    measuring,
    show_result,
    write_result,
)
from mtiprompt.cli.options import AsJson, Limit, ModelName, Seed
from mtiprompt.cli.output import counted, note, results_only
from mtiprompt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mtiprompt.dataset import Dataset, Row
    from mtiprompt.evaluation import Arm, Comparison
    from mtiprompt.evaluation.prices import Price
    from mtiprompt.plan import Demo


def evaluate(  # one argument for each word of the command line
    datasets: Annotated[
        list[str], typer.Argument(metavar="DATASET...", help="`NAME.jsonl` with `NAME.task.json`.")
    ],
    arms: Annotated[
        str,
        typer.Option(metavar="ARM,ARM...", help="Ways of running; the first is the baseline."),
    ] = "split,fused",
    model: ModelName = None,
    demos: Annotated[
        int, typer.Option(metavar="N", min=0, help="Demonstrations, drawn from the train split.")
    ] = 0,
    split: Annotated[
        Literal["test", "dev", "train"], typer.Option(help="The rows that are measured.")
    ] = "test",
    limit: Limit = None,
    seed: Seed = None,
    concurrency: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Calls in flight; 1 measures one after the other."),
    ] = 1,
    price: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="Say what the tokens cost at its price; repeatable."),
    ] = None,
    confidence: Annotated[
        float, typer.Option(metavar="P", min=0.5, max=0.999, help="Of the intervals.")
    ] = 0.95,
    output: Folder = Path("mtiprompt-eval"),
    as_json: AsJson = False,
) -> None:
    """Measure ways of running on the same labelled rows: scores, tokens, time, dollars.

    ```
    $ mtiprompt eval reviews.jsonl --model openai/gpt-5-mini --concurrency 8
    $ mtiprompt eval a.jsonl b.jsonl --arms split,split_cached,batch:4,fused --demos 4 --limit 40
    $ mtiprompt eval reviews.jsonl --arms split,plan.json --price gpt-5-mini
    ```

    Arms: `split` (one call a task), `split_parallel` (at the same time), `split_all_context` (each
    call sees all tasks and answers one), `split_cached` (item first, so that its calls share a
    prefix), `batch:B` (one task, B items a call), `fused` (all tasks in one call), `fused_batch:B`,
    or a saved `plan.json`. All see the same rows and the same demonstrations, so every difference
    from the first arm is paired; it is shown with its interval.

    FOLDER keeps every reply: a run that was stopped goes on with the same command, and pays for
    nothing twice. It gets `report.html`, with every slot to look at, and `results.json`. An outage
    is no score: the items are named, and the exit code is 1.
    """
    from mtiprompt.dataset import Dataset, files_of
    from mtiprompt.evaluation import compare, draw_demos, make_arms
    from mtiprompt.evaluation.prices import price_of
    from mtiprompt.report.comparison import parts_of, table_of

    with results_only():
        sets = [Dataset.load(path) for path in datasets]
        _check_names(sets)
        prices = {name: price_of(name) for name in price or ()}
        begun = seed or 0
        shown = [draw_demos(data.program, data.train, demos, seed=begun) for data in sets]
        made = [
            make_arms(data.program, listed(arms), some)
            for data, some in zip(sets, shown, strict=True)
        ]
        rows = [_rows(data, split, some, limit) for data, some in zip(sets, shown, strict=True)]
        read = [file for path in datasets for file in files_of(path)]
        read += [Path(arm) for arm in listed(arms) if arm.endswith(".json")]
        check_apart(read, output, *_kept(output, sets, made))
        kinds = max(sum(len(arm.plan.call_groups) for arm in some) for some in made)
        asked = measured_model(model, seed, kinds=kinds)
        total = sum(len(some) * len(items) for some, items in zip(made, rows, strict=True))
        found: dict[str, Comparison] = {}
        with measuring(output, total, "answers") as step:
            for data, some, items in zip(sets, made, rows, strict=True):
                found[data.name] = compare(
                    data.program,
                    items,
                    some,
                    model=asked,
                    concurrency=concurrency,
                    confidence=confidence,
                    record=output / data.name,
                    progress=step,
                )
        value = _plain(found, made, prices, demos=demos, split=split, seed=begun)
        parts = (part for name, one in found.items() for part in parts_of(name, one, prices))
        written = write_result(output, f"{', '.join(found)}: {asked.name}", value, parts)
    tables = (table_of(name, one, prices) for name, one in found.items())
    show_result(written, tables, as_json=as_json)


def _check_names(sets: list[Dataset]) -> None:
    names = [data.name for data in sets]
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"two data sets are called {twice[0]!r}", hint="measure them one by one")


def _kept(output: Path, sets: list[Dataset], made: list[tuple[Arm, ...]]) -> Iterator[Path]:
    """Where the replies of each arm go."""
    from mtiprompt.evaluation.asking import record_name

    for data, arms in zip(sets, made, strict=True):
        yield from (output / data.name / record_name(arm.name) for arm in arms)


def _rows(data: Dataset, split: str, shown: tuple[Demo, ...], limit: int | None) -> tuple[Row, ...]:
    """The first rows of a split that are no demonstrations; at least one of them has gold."""
    from mtiprompt.evaluation.checks import not_shown

    whole: tuple[Row, ...] = getattr(data, split)
    rows = not_shown(whole, shown)
    if not rows:
        beside = " that are no demonstrations" if shown else ""
        raise DataError(
            f"{data.name} has no {split} rows{beside}", hint="--split names another split"
        )
    if left := len(whole) - len(rows):
        note(f"{data.name}: {counted(left, f'{split} row')} left out, shown as demonstrations")
    rows = rows[:limit]
    if not any(row.outputs for row in rows):
        raise DataError(
            f"none of {counted(len(rows), f'{split} row')} of {data.name} has gold",
            hint='a score needs some: "outputs": {task: gold}',
        )
    return rows


def _plain(
    found: dict[str, Comparison],
    made: list[tuple[Arm, ...]],
    prices: dict[str, Price],
    **about: Any,
) -> dict[str, Any]:
    sets = {}
    for (name, one), arms in zip(found.items(), made, strict=True):
        dollars = {
            arm.name: {
                price.name: {
                    "cached": price.cost(one.scores[arm.name].usage),
                    "uncached": price.cost(one.scores[arm.name].usage, caching=False),
                }
                for price in prices.values()
            }
            for arm in arms
        }
        sets[name] = one.plain() | ({"dollars": dollars} if prices else {})
    return {**about, "datasets": sets}
