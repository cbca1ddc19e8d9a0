"""`mtiprompt demo`: eight messages, four tasks each, in one call a message and in four."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from mtiprompt import settings
from mtiprompt.cli.catalogue import ensure_installed
from mtiprompt.cli.options import AsJson, Limit, ModelName, Seed
from mtiprompt.cli.output import counted, emit, note, out, results_only, rows_progress
from mtiprompt.cli.race import ARMS, Arm, Race, demo_rows, prepare, run_race, steps
from mtiprompt.cli.targets import load_model
from mtiprompt.models.cache import ReplyCache
from mtiprompt.result import plain

if TYPE_CHECKING:
    from rich.console import Console

DEFAULT_MODEL = "local/qwen2.5-coder-0.5b"


def demo(
    model: ModelName = None, limit: Limit = None, seed: Seed = None, as_json: AsJson = False
) -> None:
    """Triage eight customer messages by four tasks, in one call each and in four.

    ```
    $ mtiprompt demo
    $ mtiprompt demo --json --limit 4
    $ mtiprompt demo --model openai/gpt-5-mini
    ```

    Without `--model` (or `MTIPROMPT_MODEL`) it runs `local/qwen2.5-coder-0.5b` in this process,
    which it fetches the first time (491 MB). It takes two or three minutes on two cores.

    Both ways see the same demonstrations and run message by message in turn. The same messages are
    then answered once more from the cache. The messages are synthetic and public
    (meta-llama/llama-prompt-ops, MIT licence).
    """
    named = model or settings.current().model or DEFAULT_MODEL
    with results_only(), _empty_folder() as folder:
        if isinstance(named, str):
            ensure_installed(named)
        # replies of earlier runs would answer in no time
        asked = load_model(named, seed, cache=folder)
        race = prepare(demo_rows("test")[:limit])
        note(
            f"{asked.name}: {counted(len(race.rows), 'message')},"
            f" {len(race.program.tasks)} tasks each,"
            f" {len(race.arms['fused'].plan.demos)} demonstrations"
        )
        with rows_progress() as bar:
            task = bar.add_task("asking", total=steps(race))
            run_race(race, asked, lambda: bar.advance(task))
    if as_json:
        emit(_as_json(race, asked.name))
        return
    console = out()
    console.print(_answers(race, console))
    console.print(_costs(race))
    _conclude(race, console)


@contextmanager
def _empty_folder() -> Iterator[Path]:
    """A folder for replies; it is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="mtiprompt-") as name:
        folder = Path(name)
        with closing(ReplyCache.at(folder)):
            yield folder


def _answers(race: Race, console: Console) -> Table:
    """What the fused plan answered, held against the gold labels."""
    good, bad, absent = ("✓", "✗", "·") if console.encoding.startswith("utf") else ("+", "x", "-")
    table = Table(
        title="One call a message",
        title_justify="left",
        title_style="bold",
        caption=f"{good} as labelled  {bad} not as labelled  {absent} label that is missing",
        caption_justify="left",
        show_lines=True,
    )
    names = list(race.program.tasks)
    table.add_column("the e-mail's own subject line", ratio=3, style="dim")
    for name in names[:-1]:
        table.add_column(name, ratio=5 if name == names[0] else 2)
    table.add_column(f"{names[-1]} (written)", ratio=3)
    for row, result in zip(race.rows, race.arms["fused"].results, strict=True):
        answers, gold = plain(result)["answers"], row["outputs"]
        cells = [_marked(answers.get(name), gold[name], (good, bad, absent)) for name in names[:-1]]
        written = answers.get(names[-1])
        last = Text("no answer", "red") if written is None else Text(written)
        table.add_row(Text(gold[names[-1]]), *cells, last)
    return table


def _marked(answer: Any, gold: Any, marks: tuple[str, str, str]) -> Text:
    good, bad, absent = marks
    if answer is None:
        return Text("no answer", "red")
    if not isinstance(gold, list):
        right = answer == gold
        text = f"{good} {answer}" if right else f"{bad} {answer}\n  ({gold})"
        return Text(text, "green" if right else "red")
    lines = [
        Text(f"{good} {_words(label)}", "green")
        if label in gold
        else Text(f"{bad} {_words(label)}", "red")
        for label in answer
    ]
    lines += [Text(f"{absent} {_words(label)}", "dim") for label in gold if label not in answer]
    return Text("\n").join(lines)


def _words(label: str) -> str:
    """A label as words, which a narrow column can wrap."""
    return label.replace("_", " ")


def _costs(race: Race) -> Table:
    """What both arms took, and what they got right."""
    table = Table(title="What it took", title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("fused: 1 call a message", justify="right")
    table.add_column(f"split: {len(race.program.tasks)} calls a message", justify="right")
    arms = [race.arms[name] for name in ARMS]
    table.add_row("calls", *(f"{arm.usage.calls:,}" for arm in arms))
    table.add_row("prompt tokens", *(f"{arm.usage.prompt_tokens:,}" for arm in arms))
    table.add_row("  of them cached", *(f"{arm.usage.cached_tokens:,}" for arm in arms))
    table.add_row("completion tokens", *(f"{arm.usage.completion_tokens:,}" for arm in arms))
    if any(arm.usage.cost for arm in arms):
        costs = [arm.usage.cost for arm in arms]
        table.add_row("cost", *("?" if cost is None else f"${cost:.5f}" for cost in costs))
    table.add_row("seconds", *(f"{sum(arm.seconds):.1f}" for arm in arms), style="bold")
    table.add_section()
    scored = [race.scores(name) for name in ARMS]
    for name, task in race.program.tasks.items():
        words = "subject, words in common (F1)" if task.metric == "token_f1" else f"{name} right"
        table.add_row(words, *(_score(scores[name], task.metric) for scores in scored))
    return table


def _score(scores: list[float], metric: Any) -> str:
    if metric == "token_f1":
        return f"{sum(scores) / len(scores):.2f}"
    return f"{sum(score == 1 for score in scores)}/{len(scores)}"


def _conclude(race: Race, console: Console) -> None:
    ratios = race.ratios
    spread = f"; single messages: {min(ratios):.1f} to {max(ratios):.1f}" if ratios[1:] else ""
    cached, warm = race.cached, race.warm_up
    both = all(arm.usage.cached_tokens for arm in race.arms.values())
    prefix = "the start of every prompt was cached in both" if both else "no prompt was cached"
    lines = (
        "",
        f"[bold]One call a task took {race.ratio:.2f} times as long as one call a message[/bold]"
        f" ({prefix}{spread}).",
        f"Once more from the cache: {cached.usage.hits} of {len(race.rows)} answers,"
        f" {counted(cached.usage.calls, 'call')}, {sum(cached.seconds):.2f} s.",
        f"Before the clock ran: {counted(warm.usage.calls, 'call')}, one for each kind of prompt,"
        f" {sum(warm.seconds):.1f} s.",
        f"{len(race.rows)} messages tell the times apart, but not which way answers better.",
    )
    for line in lines:
        console.print(line, soft_wrap=not console.is_terminal)


def _as_json(race: Race, model: str) -> dict[str, Any]:
    results = [race.arms[name].results for name in ARMS]
    return {
        "model": model,
        "messages": len(race.rows),
        "tasks": list(race.program.tasks),
        "demonstrations": len(race.arms["fused"].plan.demos),
        "split_over_fused_seconds": round(race.ratio, 3),
        "split_over_fused_seconds_by_message": [round(one, 3) for one in race.ratios],
        "arms": {
            name: {
                **_figures(race.arms[name]),
                "scores": {
                    task: round(sum(scores) / len(scores), 4)
                    for task, scores in race.scores(name).items()
                },
                "exact": {
                    task: sum(score == 1 for score in scores)
                    for task, scores in race.scores(name).items()
                },
            }
            for name in ARMS
        },
        "warm_up": _figures(race.warm_up),
        "cached": _figures(race.cached),
        "answers": [
            {"id": row["id"], "gold": row["outputs"], "fused": plain(fused), "split": plain(split)}
            for row, fused, split in zip(race.rows, *results, strict=True)
        ],
    }


def _figures(arm: Arm) -> dict[str, Any]:
    value = arm.usage.plain()
    value["seconds"] = round(sum(arm.seconds), 3)  # on the clock, not the sum of the calls
    return value
