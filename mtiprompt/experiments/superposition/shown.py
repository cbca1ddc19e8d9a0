"""Findings in words, tables and charts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mtiprompt import stats
from mtiprompt.experiments.superposition.calibration import METHOD
from mtiprompt.experiments.superposition.search import LOOKS
from mtiprompt.experiments.superposition.sizes import beside
from mtiprompt.experiments.superposition.tasks import CONFIGS
from mtiprompt.report.parts import Chart, Part, Series, Table, Text
from mtiprompt.stats import Estimate, Interval

if TYPE_CHECKING:
    from mtiprompt.experiments.superposition.findings import ConfigFigures, Findings

BEATS = 0.9
"""On so many prompts each answer should beat its wrong one for the claim to hold."""
MASS = 0.5
"""So likely should all right answers be together."""
LITTLE = 0.05
"""No more than so likely should other tasks' answers be beside a label for the leak to be gone."""


def parts(found: Findings) -> tuple[Part, ...]:
    """A report of findings: the claims, the tables, the charts, the methods."""
    shown: list[Part] = [_claims(found), *_sizes(found)]
    for name, figures in found.configs.items():
        shown += [*_tables(name, figures), *_charts(name, figures)]
    return (*shown, Text(_methods(found), "Methods"))


def tables(found: Findings) -> tuple[Table, ...]:
    """The claims, then the tables of each configuration."""
    rest = (_tables(name, figures) for name, figures in found.configs.items())
    return (_claims(found), *_sizes(found), *(one for some in rest for one in some))


def _sizes(found: Findings) -> list[Table]:
    return [beside([*found.others, found.plain()])] if found.others else []


def _claims(found: Findings) -> Table:
    return Table(
        heading=f"What the paper claims, the controls, and what was seen of {found.model}",
        columns=("claim", "configuration", "holds", "seen"),
        rows=tuple(
            (claim, name, *tell(figures))
            for claim, tell in _CLAIMS.items()
            for name, figures in found.configs.items()
        ),
        note=f"{found.prompts} prompts in a cell. `yes` and `no` are said where the whole interval "
        "lies on one side of the bound.",
    )


Told = tuple[str, str]
"""Whether a claim holds, and what was seen."""


def _beats(figures: ConfigFigures) -> Told:
    task, least = min(figures.tasks.items(), key=lambda one: one[1].beats)
    return _above(least.beats, BEATS), f"{_cell(least.beats)} ({task})"


def _mass(figures: ConfigFigures) -> Told:
    return _above(figures.mass, MASS), _cell(figures.mass)


def _completed(figures: ConfigFigures) -> Told:
    number, one = len(figures.tasks), figures.completed
    low, high = (end * number for end in one.interval)
    return "", f"{one.mean * number:.2f} [{low:.2f}, {high:.2f}] of {number}"


def _divergence(figures: ConfigFigures) -> Told:
    one = figures.divergence
    within = _value(one.within, one.within_interval)
    return "", f"{_value(one.value, one.interval)}; within {within}"


def _cost(figures: ConfigFigures) -> Told:
    task, most = min(figures.tasks.items(), key=lambda one: one[1].drop)
    costs = {"yes": "no", "no": "yes"}.get(_above(most.drop, 0.0), "unsure")
    return costs, f"{_cell(most.drop, '+')} ({task})"


def _follows(figures: ConfigFigures) -> Told:
    rows = list(figures.shares.values())
    said, holds = [], True
    for task, way in zip(rows[0], (1, -1), strict=True):
        means = [row[task].mean for row in rows][::way]
        holds = holds and means == sorted(means)
        said.append(f"{task} {' '.join(f'{one:.2f}' for one in means)}")
    return ("yes" if holds else "no"), "; ".join(said)


def _labels(figures: ConfigFigures) -> Told:
    left = figures.labelled_leak
    gone = {"yes": "no", "no": "yes"}.get(_above(left, LITTLE), "unsure")
    return gone, f"{_cell(figures.leak)} becomes {_cell(left)}"


_CLAIMS = {
    f"each answer beats its wrong one on over {BEATS:.0%} (the least)": _beats,
    f"right answers have over {MASS:.0%} of the probability": _mass,
    "tasks whose answer is among the likeliest": _completed,
    "divergence from the shares, in nats": _divergence,
    "control: mixing costs probability (the most)": _cost,
    "control: means grow with the share, 0 to 100%": _follows,
    f"control: labels bring other tasks' answers under {LITTLE:.0%}": _labels,
}


def _above(one: Estimate, bound: float) -> str:
    if one.interval.low > bound:
        return "yes"
    return "no" if one.interval.high < bound else "unsure"


def _tables(name: str, figures: ConfigFigures) -> list[Table]:
    return [
        _mixed(name, figures),
        _alone(name, figures),
        _shares(name, figures),
        _by_label(name, figures),
    ]


def _mixed(name: str, figures: ConfigFigures) -> Table:
    other = max(0.0, 1 - figures.mass.mean)
    rejoined = f" {figures.rejoined} answers took in the end of the prompt."
    return Table(
        heading=f"{name}: the probability of each task's answer, tasks mixed",
        columns=("task", "right", "wrong", "right beats wrong", "among the likeliest"),
        rows=tuple(
            (task, *map(_cell, (one.mixed, one.wrong, one.beats, one.among)))
            for task, one in figures.tasks.items()
        ),
        note=f"{CONFIGS[name].about}. Other answers: {other:.3f}. The likeliest are known exactly "
        f"on {figures.exact.mean:.0%} of the prompts.{rejoined if figures.rejoined else ''}",
    )


def _alone(name: str, figures: ConfigFigures) -> Table:
    return Table(
        heading=f"{name}: the same with one task alone",
        columns=("task", "right", "right beats wrong", "mixed less alone", "mixed, open end"),
        rows=tuple(
            (task, *map(_cell, (one.alone, one.alone_beats)), _cell(one.drop, "+"), _cell(one.open))
            for task, one in figures.tasks.items()
        ),
        note="Open end: whatever follows the answer, as the paper's released scorer computes it.",
    )


def _shares(name: str, figures: ConfigFigures) -> Table:
    one, other = CONFIGS[name].pair
    return Table(
        heading=f"{name}: shares of two tasks",
        columns=(f"share of {one}", one, other),
        rows=tuple(
            (f"{share:.0%}", _cell(row[one]), _cell(row[other]))
            for share, row in figures.shares.items()
        ),
    )


def _by_label(name: str, figures: ConfigFigures) -> Table:
    return Table(
        heading=f"{name}: with labels",
        columns=("label of the query", *figures.tasks, "all but its own"),
        rows=tuple(
            (label, *map(_cell, row.values()), _cell(figures.tasks[label].leak))
            for label, row in figures.labels.items()
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
            note="wrong: another input's answer, with the tasks mixed; labelled: beside its label",
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
        "Prompts of one number have the same inputs and the same query in all cells. A wrong "
        "answer is the same task's answer to an input that is not in the prompt, and none of the "
        "right ones.",
        f"The likeliest answers, as many as there are tasks, are searched for with {LOOKS} looks "
        "at next tokens at most; where these do not suffice, the search is not exact.",
        f"Means over prompts, at confidence {found.confidence}: {stats.MEAN_METHOD}. Differences: "
        f"{stats.DIFFERENCE_METHOD}. Each interval holds for itself: of many that are looked at, "
        "some miss.",
        f"Divergence: {METHOD}.",
    )


def _cell(one: Estimate, sign: str = "") -> str:
    return _value(one.mean, one.interval, sign)


def _value(value: float, interval: Interval, sign: str = "") -> str:
    low, high = interval
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"
