"""Findings in words, tables and charts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mtiprompt import stats
from mtiprompt.experiments.superposition import calibration, resample
from mtiprompt.experiments.superposition.claims import claims
from mtiprompt.experiments.superposition.search import LOOKS
from mtiprompt.experiments.superposition.sizes import beside
from mtiprompt.experiments.superposition.tasks import CONFIGS
from mtiprompt.experiments.superposition.written import cell, rest
from mtiprompt.report.parts import Chart, Part, Series, Table, Text
from mtiprompt.stats import Estimate

if TYPE_CHECKING:
    from mtiprompt.experiments.superposition.figures import ConfigFigures
    from mtiprompt.experiments.superposition.findings import Findings


def parts(found: Findings) -> tuple[Part, ...]:
    """A report of findings: the claims, the tables, the charts, the methods."""
    shown: list[Part] = [claims(found), *_sizes(found)]
    for name, figures in found.configs.items():
        shown += [*_tables(name, figures), *_charts(name, figures)]
    return (*shown, Text(_methods(found), "Methods"))


def tables(found: Findings) -> tuple[Table, ...]:
    """The claims, then the tables of each configuration."""
    shown = (_tables(name, figures) for name, figures in found.configs.items())
    return (claims(found), *_sizes(found), *(one for some in shown for one in some))


def _sizes(found: Findings) -> list[Table]:
    return [beside([*found.others, found.plain()])] if found.others else []


def _tables(name: str, figures: ConfigFigures) -> list[Table]:
    return [
        _mixed(name, figures),
        _alone(name, figures),
        _shares(name, figures),
        _by_label(name, figures),
    ]


def _mixed(name: str, figures: ConfigFigures) -> Table:
    rejoined = f" {figures.rejoined} answers took in the end of the prompt."
    mass, opened = figures.mass, figures.open_mass
    return Table(
        heading=f"{name}: the probability of each task's answer, tasks mixed",
        columns=("task", "right", "right, end left open", "wrong", "right beats wrong",
                 "among the likeliest"),
        rows=(
            *(
                (task, *map(cell, (one.mixed, one.open, one.wrong, one.beats, one.among)))
                for task, one in figures.tasks.items()
            ),
            ("all right answers", cell(mass), cell(opened), "", "", ""),
            ("other answers", cell(rest(mass)), cell(rest(opened)), "", "", ""),
        ),
        note=f"{CONFIGS[name].about}. End left open: whatever follows the answer, as the paper's "
        f"released scorer computes it. The likeliest are known exactly on {figures.exact.mean:.0%} "
        f"of the prompts.{rejoined if figures.rejoined else ''}",
    )  # fmt: skip


def _alone(name: str, figures: ConfigFigures) -> Table:
    return Table(
        heading=f"{name}: one task alone, with its lines of the mixed prompt",
        columns=("task", "right", "mixed less alone", "mixed less its share of alone",
                 "other tasks' answers"),
        rows=(
            *(
                (task, cell(one.alone), cell(one.drop, "+"), cell(one.beyond, "+"), cell(one.floor))
                for task, one in figures.tasks.items()
            ),
            ("all", "", "", cell(figures.cost, "+"), cell(figures.floor)),
        ),
        note="A task that loses by sharing alone has 0 in the fourth column; its sum is what "
        "mixing costs beyond sharing. No line shows the tasks of the last column.",
    )  # fmt: skip


def _shares(name: str, figures: ConfigFigures) -> Table:
    one, other = CONFIGS[name].pair
    return Table(
        heading=f"{name}: shares of two tasks",
        columns=(f"share of {one}", one, other, "divergence, nats", "divergence, end left open"),
        rows=tuple(
            (f"{share:.0%}", *map(cell, (row[one], row[other], far.closed, far.open)))
            for (share, row), far in zip(
                figures.shares.items(), figures.apart.values(), strict=True
            )
        ),
    )


def _by_label(name: str, figures: ConfigFigures) -> Table:
    return Table(
        heading=f"{name}: with labels",
        columns=("label of the query", *figures.tasks, "all but its own", "these with no example"),
        rows=tuple(
            (label, *map(cell, (*row.values(), one.leak, one.floor)))
            for (label, row), one in zip(
                figures.labels.items(), figures.tasks.values(), strict=True
            )
        ),
    )


def _charts(name: str, figures: ConfigFigures) -> list[Chart]:
    bars = ("mixed", "wrong", "alone", "labelled")
    one, other = CONFIGS[name].pair
    return [
        Chart(
            heading=f"{name}: the probability of each task's answer",
            kind="bars",
            series=tuple(
                _series(bar, ((task, getattr(of, bar)) for task, of in figures.tasks.items()))
                for bar in bars
            ),
            y_title="probability",
            note="wrong: another input's answer, with the tasks mixed; alone: after its lines of "
            "the mixed prompt; labelled: beside its label",
        ),
        Chart(
            heading=f"{name}: probability against share",
            kind="lines",
            series=(
                *(
                    _series(task, ((share, row[task]) for share, row in figures.shares.items()))
                    for task in (one, other)
                ),
                Series(f"the share of {one}", (0.0, 1.0), (0.0, 1.0)),
                Series(f"the share of {other}", (0.0, 1.0), (1.0, 0.0)),
            ),
            x_title=f"share of {one} among the examples",
            y_title="probability",
        ),
    ]


def _series(name: str, points: Iterable[tuple[str | float, Estimate]]) -> Series:
    places, found = zip(*points, strict=True)
    return Series(
        name,
        places,
        tuple(one.mean for one in found),
        tuple(one.interval.low for one in found),
        tuple(one.interval.high for one in found),
    )


def _methods(found: Findings) -> tuple[str, ...]:
    examples = "60 or 80, as in the paper" if found.examples is None else str(found.examples)
    return (
        f"Model {found.model}; {found.prompts} prompts in a cell, examples in each: {examples}; "
        f"seed {found.seed}. Protocol: Xiong et al., arXiv 2410.05603, section 3.",
        "A probability is the product over the tokens of an answer, tokenised together with the "
        "prompt, with the end of the line unless said otherwise. All others are of other answers.",
        "Prompts of one number have the same inputs and the same query in all cells; a task alone "
        "has its lines of the mixed prompt, and no others. A wrong answer is the same task's "
        "answer to an input that is not in the prompt; it is none of the right ones, and a number "
        "has as many digits.",
        f"The likeliest answers, as many as there are tasks, are searched for with {LOOKS} looks "
        "at next tokens at most; where these do not suffice, the search is not exact.",
        f"Intervals at confidence {found.confidence}. Probabilities, their differences, parts of "
        f"tasks, divergences: {resample.METHOD}. Shares of prompts (right beats wrong, among the "
        f"likeliest, at once): {stats.MEAN_METHOD}. Each interval holds for itself: of many that "
        "are looked at, some miss.",
        f"Divergence: {calibration.METHOD}.",
    )
