"""The figures of docs/results/superposition.md, from what was seen of every prompt.

    python benchmarks/superposition.py docs/results/records/superposition-*.xz [--charts FOLDER]

Each RECORD is what `mtiprompt experiment superposition` has kept of one model, `scores.jsonl`,
packed as `superposition-MODEL.jsonl.xz`. No model is needed. Only prompts of which every cell was
seen count. Printed are the tables of the page, model by model, and what each further model has more
than the first on the same prompts. FOLDER gets `superposition-MODEL-CONFIGURATION.png`, the
probability of two tasks against their shares; that takes Chromium.
"""

from __future__ import annotations

import argparse
import json
import lzma
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from common import table

from mtiprompt.experiments.superposition.figures import ConfigFigures, TaskFigures
from mtiprompt.experiments.superposition.findings import Findings
from mtiprompt.experiments.superposition.prompts import cells
from mtiprompt.experiments.superposition.record import seen_of
from mtiprompt.experiments.superposition.sizes import differences
from mtiprompt.experiments.superposition.tasks import CONFIGS
from mtiprompt.experiments.superposition.written import cell
from mtiprompt.report.page import write_page
from mtiprompt.report.parts import Chart
from mtiprompt.stats import Estimate

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def findings(path: Path) -> Findings:
    """What a record has of the prompts of which every cell was seen, the same number of each."""
    with lzma.open(path, "rt", encoding="utf-8") as file:
        seen = [seen_of(json.loads(line)["value"]) for line in file]
    prompts = Counter((one.config, one.number) for one in seen)
    whole = {
        config: sum(len(one.labels) for one in cells(CONFIGS[config])) for config, _ in prompts
    }
    numbers = Counter(config for (config, _), found in prompts.items() if found == whole[config])
    least = min(numbers[config] for config in whole)
    kept = sorted((one for one in seen if one.number < least), key=lambda one: one.number)
    kept = [one for config in CONFIGS for one in kept if one.config == config]
    model = path.name.removeprefix("superposition-").partition(".jsonl")[0]
    return Findings(tuple(kept), model, least)


def part(one: Estimate) -> str:
    """A part of the prompts with its interval, `61% [51%, 70%]`."""
    return f"{one.mean:.0%} [{one.interval.low:.0%}, {one.interval.high:.0%}]"


def scaled(one: Estimate, by: int) -> str:
    """A part of so many with its interval."""
    low, high = (end * by for end in one.interval)
    return f"{one.mean * by:.2f} [{low:.2f}, {high:.2f}] of {by}"


def _least(one: ConfigFigures) -> str:
    task, worst = min(one.tasks.items(), key=lambda item: item[1].beats.mean)
    return f"{part(worst.beats)} ({task})"


ALL: Mapping[str, Callable[[ConfigFigures], str]] = {
    "an answer beats its wrong one on, at the least": _least,
    "each answer has half its share at once on": lambda one: part(one.at_once),
    "all right answers together": lambda one: cell(one.mass),
    "end left open": lambda one: cell(one.open_mass),
    "tasks completed": lambda one: scaled(one.completed, len(one.tasks)),
    "likeliest answers known exactly on": lambda one: part(one.exact),
    "divergence from the shares, nats": lambda one: cell(one.divergence.open),
    "that of the mean probabilities": lambda one: cell(one.divergence.of_means),
    "mixing costs beyond sharing": lambda one: cell(one.cost, "+"),
    "other tasks' answers, no label": lambda one: cell(one.leak),
    "beside a label": lambda one: cell(one.labelled_leak),
    "with no example of them": lambda one: cell(one.floor),
}
TASK: Mapping[str, Callable[[TaskFigures], str]] = {
    "mixed": lambda one: cell(one.mixed),
    "its wrong answer": lambda one: cell(one.wrong),
    "beats it on": lambda one: part(one.beats),
    "alone": lambda one: cell(one.alone),
    "mixed less its share of alone": lambda one: cell(one.beyond, "+"),
    "beside its label": lambda one: cell(one.labelled),
    "among the likeliest": lambda one: part(one.among),
}
MORE = {
    "mass": "all right answers together",
    "completed": "part of tasks completed",
    "divergence": "divergence from the shares, nats",
}


def tables(found: Findings) -> Iterator[str]:
    """All figures, each task, and the shares of two tasks."""
    configs = found.configs
    yield table(
        [f"{found.model}, {found.prompts} prompts", *configs],
        ([name, *map(figure, configs.values())] for name, figure in ALL.items()),
    )
    yield table(
        ["configuration", "task", *TASK],
        (
            [config, task, *(figure(one) for figure in TASK.values())]
            for config, figures in configs.items()
            for task, one in figures.tasks.items()
        ),
    )
    shares = [f"{share:.0%}" for share in next(iter(configs.values())).shares]
    yield table(["configuration", "task", *shares], _shares(configs))


def _shares(configs: Mapping[str, ConfigFigures]) -> Iterator[list[str]]:
    """The probability of a task by its own share, from none to all."""
    for config, figures in configs.items():
        for task, way in zip(CONFIGS[config].pair, (1, -1), strict=True):
            rising = [row[task] for row in figures.shares.values()][::way]
            yield [config, task, *map(cell, rising)]


def beside(found: Findings, other: Findings) -> str:
    """What a model has more than another on the same prompts, by configuration."""
    compared = list(differences(found.plain(), [other.plain()], found.confidence))
    return table(
        [f"{found.model} less {other.model}", *(one.config for one in compared)],
        ([name, *(cell(one.of[of], "+") for one in compared)] for of, name in MORE.items()),
    )


def printed(paths: Iterable[Path]) -> Iterator[str]:
    """All tables of some records."""
    first, *others = [findings(path) for path in paths]
    for found in (first, *others):
        yield from tables(found)
    for found in others:
        yield beside(found, first)


def draw(path: Path, folder: Path) -> None:
    """Draw the shares of two tasks in each configuration of a record, as a report shows them."""
    from playwright.sync_api import sync_playwright

    found = findings(path)
    charts = [one for one in found.parts() if isinstance(one, Chart) and one.kind == "lines"]
    with tempfile.TemporaryDirectory() as place, sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=next(filter(None, map(shutil.which, CHROMIUM))),
            args=["--no-sandbox"],
        )
        for config, chart in zip(found.configs, charts, strict=True):
            html = Path(place) / f"{config}.html"
            write_page(html, found.model, [chart])
            opened = browser.new_page(viewport={"width": 900, "height": 700})
            opened.goto(html.as_uri())
            drawn = opened.locator(".chart")
            drawn.locator(".main-svg").first.wait_for()
            drawn.screenshot(path=folder / f"superposition-{found.model}-{config}.png")


def main() -> None:
    """Print, and draw."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("records", nargs="+", type=Path, metavar="RECORD")
    arguments.add_argument("--charts", type=Path, metavar="FOLDER", help="where charts go")
    options = arguments.parse_args()
    print("\n\n".join(printed(options.records)))
    if options.charts:
        for path in options.records:
            draw(path, options.charts)


if __name__ == "__main__":
    main()
