"""`mtiprompt experiment`: the protocols of papers, and open questions of the field."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from mtiprompt.cli.measuring import (
    FIGURES,
    Folder,
    check_apart,
    listed,
    measured_model,
    measuring,
    model_name,
    show_result,
    write_result,
)
from mtiprompt.cli.options import AsJson, Limit, ModelName, Seed
from mtiprompt.cli.output import results_only
from mtiprompt.errors import DataError

app = typer.Typer(help="Run the protocol of a paper, or a check that the literature names as open.")
PAPER_TEMPERATURE = 0.7


@app.command("mti-bench")
def mti_bench(  # one argument for each word of the command line
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="The benchmark's own file, MTI_BENCH.json.")
    ],
    arms: Annotated[
        str, typer.Option(metavar="ARM,ARM...", help="Some of the arms.")
    ] = "single,batch,multi,all_context",
    formats: Annotated[
        str, typer.Option(metavar="FORMAT,FORMAT", help="Some of the formats.")
    ] = "paper,ours",
    model: ModelName = None,
    samples: Annotated[
        int, typer.Option(metavar="K", min=1, help="Answers of each kind; from 2 on at 0.7.")
    ] = 1,
    max_tokens: Annotated[
        int, typer.Option(metavar="N", min=1, help="Tokens that a reply may have.")
    ] = 512,
    score_all: Annotated[
        bool, typer.Option("--all", help="Score unsound steps too; the table says which.")
    ] = False,
    limit: Limit = None,
    seed: Seed = None,
    output: Folder = Path("mtiprompt-mti-bench"),
    as_json: AsJson = False,
) -> None:
    """Run MTI Bench (Son et al. 2024, arXiv 2402.11597): one call a step, batches, all in one.

    ```
    $ mtiprompt experiment mti-bench MTI_BENCH.json --model local/qwen2.5-coder-1.5b --limit 4
    ```

    Arms: `single` (one call a step, earlier answers fed forward), `batch` (one step of two
    instances a call), `multi` (all steps in one call), `all_context` (one call a step that sees all
    steps). Formats: `paper` (tags, as published) and `ours` (typed JSON). Temperature 0, or with
    `--samples K` K answers at 0.7. Known flaws of the data are left out of the scores; `--all`
    scores everything.

    FOLDER keeps every reply: the same command goes on from there.
    """
    from mtiprompt.experiments.mti_bench import load, run
    from mtiprompt.experiments.mti_bench.scores import Cell

    with results_only():
        bench = load(data)
        seeds: tuple[int | None, ...] = (None,)
        temperature = 0.0
        if samples > 1:
            seeds, temperature = tuple(range(1, samples + 1)), PAPER_TEMPERATURE
        ways, forms = listed(arms), listed(formats)
        cells = (Cell(*one) for one in product(forms, ways, seeds))
        check_apart([data], output, *(output / f"{cell.name}.jsonl" for cell in cells))
        asked = measured_model(model, seed, temperature=temperature, max_tokens=max_tokens)
        total = len(bench.chosen(score_all=score_all, limit=limit))
        total *= len(ways) * len(forms) * len(seeds)
        with measuring(output, total, "instances") as step:
            found = run(
                bench,
                asked,
                arms=ways,
                formats=forms,
                seeds=seeds,
                record=output,
                score_all=score_all,
                limit=limit,
                progress=step,
            )
        written = write_result(output, f"MTI Bench: {asked.name}", found.plain(), found.parts())
    show_result(written, found.tables(), as_json=as_json)


@app.command()
def scaling(  # one argument for each word of the command line
    datasets: Annotated[
        list[str], typer.Argument(metavar="DATASET...", help="`NAME.jsonl` with `NAME.task.json`.")
    ],
    tasks: Annotated[str, typer.Option(metavar="N,N...", help="Tasks in a call.")] = "1,2,4,8,12",
    items: Annotated[str, typer.Option(metavar="N,N...", help="Items in a call.")] = "1,2,4,8,16",
    model: ModelName = None,
    demos: Annotated[
        int, typer.Option(metavar="N", min=0, help="Demonstrations, drawn from the train split.")
    ] = 0,
    limit: Limit = None,
    seed: Seed = None,
    concurrency: Annotated[
        int, typer.Option(metavar="N", min=1, help="Calls in flight at the same time.")
    ] = 1,
    output: Folder = Path("mtiprompt-scaling"),
    as_json: AsJson = False,
) -> None:
    """Measure what each further task, or item, in a call does to every answer in it.

    ```
    $ mtiprompt experiment scaling a.jsonl b.jsonl c.jsonl --model openai/gpt-5-mini
    ```

    Tasks of one data set share a call first, then tasks of different ones; then items. Every answer
    is compared with the same one asked alone. Shown: where the loss begins, by kind of output and
    by position in the call, with tokens and seconds for each answer.

    FOLDER keeps every reply: the same command goes on from there.
    """
    from mtiprompt.dataset import Dataset, files_of
    from mtiprompt.evaluation.asking import record_name
    from mtiprompt.experiments.scaling import design, run

    with results_only():
        sets = [Dataset.load(path) for path in datasets]
        sizes = {"tasks": _numbers("tasks", tasks), "items": _numbers("items", items)}
        options: dict[str, Any] = {"demos": demos, "seed": seed or 0, **sizes}
        if limit is not None:
            options["rows"] = limit
        planned = design(sets, **options)
        read = [file for path in datasets for file in files_of(path)]
        check_apart(read, output, *(output / record_name(job.name) for job in planned.jobs))
        asked = measured_model(model, seed)
        with measuring(output, planned.steps, "answers") as step:
            found = run(
                sets, asked, concurrency=concurrency, record=output, progress=step, **options
            )
        written = write_result(output, f"scaling: {asked.name}", found.plain(), found.parts())
    show_result(written, found.tables(), as_json=as_json)


@app.command()
def superposition(  # one argument for each word of the command line
    model: ModelName = None,
    configs: Annotated[
        str, typer.Option(metavar="NAME,NAME...", help="Some of the configurations.")
    ] = "numbers,addition,countries,words",
    prompts: Annotated[
        int | None,
        typer.Option(
            "--prompts", "--limit", metavar="N", min=1, help="Prompts in a cell; else 100."
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="10 prompts in a cell.")] = False,
    examples: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Examples in a prompt; else the paper's 60 or 80."),
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="An earlier run, of a smaller model, to show beside."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the prompts.")] = 0,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Prompts at the same time, each with a copy of the model."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Where scores, figures and the report go; else mtiprompt-superposition-MODEL.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how likely each task's answer is after examples of several (arXiv 2410.05603).

    ```
    $ mtiprompt experiment superposition --model local/gemma3-270m-base --quick
    ```

    Four configurations: `numbers` (37@52=), `addition` (37+52->), `countries` (Japan->) and `words`
    (planet->). Each with its tasks mixed, each task alone, two tasks at 0, 25, 50, 75 and 100 %,
    and with labels; each answer beside a wrong one of the same type. It needs a model in this
    process, best a base model: `mtiprompt models pull gemma3-270m-base`. It is loaded twice where
    there are two threads for it; `--workers 1` takes half of the memory and more time.

    FOLDER keeps what was seen of each prompt: the same command goes on from there.
    """
    from mtiprompt.experiments import superposition as experiment

    with results_only():
        chosen = listed(configs)
        number = prompts or (experiment.QUICK if quick else experiment.PROMPTS)
        named, shown = model_name(model), beside or ()
        others = [experiment.load(one, seed=seed, examples=examples) for one in shown]
        folder = output or Path(f"mtiprompt-superposition-{_file_name(named)}")
        # those of the same model are made again from its record
        foreign = [one for one, value in zip(shown, others, strict=True) if value["model"] != named]
        check_apart([one / FIGURES if one.is_dir() else one for one in foreign], folder)
        total = experiment.steps(chosen, number)
        with (
            experiment.local_workers(model, workers) as asked,
            measuring(folder, total, "prompts") as step,
        ):
            found = experiment.run(
                asked,
                configs=chosen,
                prompts=number,
                examples=examples,
                seed=seed,
                record=folder,
                progress=step,
            )
        compared = found.beside(others)
        written = write_result(
            folder, f"superposition: {found.model}", compared.plain(), compared.parts()
        )
    show_result(written, compared.tables(), as_json=as_json)


def _file_name(model: str) -> str:
    """`NAME` of `local/NAME` and of `local:PATH/NAME.gguf`."""
    return Path(model.removeprefix("local:")).name.removesuffix(".gguf")


def _numbers(name: str, words: str) -> tuple[int, ...]:
    try:
        return tuple(int(one) for one in listed(words))
    except ValueError:
        raise DataError(f"--{name} {words!r} are no numbers", hint=f"--{name} 1,2,4") from None
