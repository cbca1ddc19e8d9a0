"""`mtiprompt run`: a file of rows in, a file of answers out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtiprompt.cli.measuring import check_apart
from mtiprompt.cli.options import AsJson, Limit, ModelName, PlanPath, ProgramPath, Seed
from mtiprompt.cli.output import Interrupted, counted, emit, note, results_only, rows_progress
from mtiprompt.cli.targets import load_model, load_plan, load_program
from mtiprompt.errors import DataError, MTIError
from mtiprompt.files import STANDARD, ResultFile, count_rows, open_rows
from mtiprompt.jobs.rows import Summary, run_rows
from mtiprompt.program import CONCURRENCY

if TYPE_CHECKING:
    from collections.abc import Callable

    from mtiprompt.program import Program

SHOWN = 20
"""Problems that are printed; `--json` lists more."""


def run(  # one argument for each word of the command line
    program: ProgramPath,
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="JSONL or CSV; `-` is JSONL on standard input.")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="JSONL; `-` is standard output.")
    ],
    plan: PlanPath = None,
    model: ModelName = None,
    concurrency: Annotated[
        int, typer.Option(metavar="N", min=1, help="Calls in flight at the same time.")
    ] = CONCURRENCY,
    limit: Limit = None,
    seed: Seed = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an output that exists.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from what a stopped run left.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Answer every row of a file.

    ```
    $ mtiprompt run triage.py:triage mails.csv -o answers.jsonl --model openai/gpt-5-mini
    $ mtiprompt run facts.task.json facts.jsonl -o out.jsonl --plan plan.json --limit 20
    $ cat mails.jsonl | mtiprompt run triage.py:triage - -o - | jq .answers
    ```

    A row is a JSON object, or a line of CSV, with the program's inputs by name; other columns are
    let be, and an `id` is handed on. Each line of the output has `row` (its number), `answers` by
    task and, where a task got none, `failures`. A row that cannot be read is named and left out.

    A run that is stopped keeps what it has in `FILE.partial`; `--resume` goes on from there, with
    the same input, program, plan and model.
    """
    if as_json and output == STANDARD:
        raise DataError("--json and -o - both want standard output", hint="write to a file")
    with results_only() as standard:
        chosen = load_program(program)
        saved = load_plan(chosen, plan)
        needs = [one.name for one in chosen.inputs.values() if one.required]
        with open_rows(source, needs) as rows:
            _check_apart(output, source, program, *([plan] if plan else ()))
            result = ResultFile(output, force=force, resume=resume, standard=standard)
            asked = load_model(model, seed)
            chosen.ready(asked, saved)  # what is wrong with plan or model shows before any work
            summary = Summary()
            with _kept(result, summary), _progress(source, limit) as progress, result:
                run_rows(
                    chosen,
                    islice(rows, limit),
                    result,
                    summary,
                    model=asked,
                    plan=saved,
                    concurrency=concurrency,
                    progress=progress,
                )
        _report(summary, output)
    if as_json:
        emit(_as_json(summary, output, chosen))
    if summary.failed or summary.skipped:
        raise typer.Exit(1)


def _check_apart(output: str, source: str, program: str, *others: str) -> None:
    """The output must be JSONL; it and the trace, other files than what is read."""
    if Path(output).suffix.lower() == ".csv":
        raise DataError("the output is JSONL", hint=f"-o {Path(output).with_suffix('.jsonl')}")
    code = program if program.endswith(".json") else program.rpartition(":")[0]
    rows = "/dev/stdin" if source == STANDARD else source  # a shell may lead it to a file
    place = Path("/dev/stdout" if output == STANDARD else output)
    check_apart([rows, code, *others], None, place)


@contextmanager
def _kept(output: ResultFile, summary: Summary) -> Iterator[None]:
    """Say what is kept when the run is stopped, and how to go on; a refusal to go on says more."""

    def left() -> str:
        written = summary.done + summary.failed
        if not written or not output.kept:
            return "nothing is written yet"
        verb = "is" if written == 1 else "are"
        return (
            f"{counted(written, 'row')} {verb} kept in {output.partial}; "
            "the same command with --resume goes on from there"
        )

    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(left()) from None
    except MTIError as error:
        refused = not output.lines and isinstance(error, DataError)
        if output.kept and not refused:
            note(left())
        raise


@contextmanager
def _progress(source: str, limit: int | None) -> Iterator[Callable[[Summary], None]]:
    with rows_progress() as bar:
        total = None if bar.disable else count_rows(source)
        if total is not None and limit is not None:
            total = min(total, limit)
        task = bar.add_task("rows", total=total)
        yield lambda summary: bar.update(task, completed=summary.rows)


def _report(summary: Summary, output: str) -> None:
    for problem in summary.problems[:SHOWN]:
        note(f"{'skipped' if problem.skipped else 'failed'}: {problem.message}")
    hidden = summary.failed + summary.skipped - min(SHOWN, len(summary.problems))
    if hidden > 0:
        note(f"... and {hidden} more (--json lists them)")
    fresh = summary.rows - summary.resumed
    speed = f" ({fresh / summary.seconds:.2f} rows/s)" if summary.seconds else ""
    before = f" ({summary.resumed} by an earlier run)" if summary.resumed else ""
    place = "" if output == STANDARD else f" -> {output}"
    note(
        f"{counted(summary.rows, 'row')}{before} in {summary.seconds:.1f} s{speed}:"
        f" {summary.done} done, {summary.failed} failed, {summary.skipped} skipped{place}"
    )
    usage = summary.usage
    hits = f", {usage.hits} from the cache" if usage.hits else ""
    cost = f", ${usage.cost:.4f}" if usage.cost else ""
    note(
        f"{counted(usage.calls, 'call')}{hits}, {usage.prompt_tokens:,} prompt tokens"
        f" ({usage.cached_tokens:,} cached), {usage.completion_tokens:,} completion tokens{cost}"
    )


def _as_json(summary: Summary, output: str, program: Program) -> dict[str, object]:
    value = {**asdict(summary), "usage": summary.usage.plain()}
    return {"output": output, "tasks": list(program.tasks), "rows": summary.rows, **value}
