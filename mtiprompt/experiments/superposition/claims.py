"""What the paper claims and what the controls ask, with what was seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from mtiprompt.experiments.superposition.sizes import differences
from mtiprompt.experiments.superposition.written import cell
from mtiprompt.report.parts import Table
from mtiprompt.stats import Estimate

if TYPE_CHECKING:
    from mtiprompt.experiments.superposition.figures import ConfigFigures
    from mtiprompt.experiments.superposition.findings import Findings

BEATS = 0.9
"""On so many prompts each answer should beat its wrong one for the claim to hold."""
MOST = 0.5
"""So likely should all right answers be together, and so many prompts have all tasks at once."""
LITTLE = 0.05
"""No more than so likely should other tasks' answers be beside a label for the leak to be gone, and
no more should mixing cost."""
ENOUGH = 10
"""Below so many prompts nothing is said."""
PAPER, BOUND, CONTROL = "the paper", "the paper, bound ours", "control, ours"

Told = tuple[str, str]
"""Whether a claim holds, and what was seen."""


class Claim(NamedTuple):
    """Something that a configuration can show.

    Attributes:
        words: What is claimed.
        whose: Whose claim it is, and whose bound.
        tell: Tells whether it holds.
    """

    words: str
    whose: str
    tell: Callable[[ConfigFigures], Told]


def claims(found: Findings) -> Table:
    """The table of claims."""
    rows = [
        (claim.words, claim.whose, name, *claim.tell(figures))
        for claim in _CLAIMS
        for name, figures in found.configs.items()
    ]
    return Table(
        heading=f"What the paper claims, the controls, and what was seen of {found.model}",
        columns=("claim", "whose", "configuration", "holds", "seen"),
        rows=(
            *rows,
            *_of_size(found),
            *((one, PAPER, "all", "not tested", "") for one in UNTESTED),
        ),
        note=f"{found.prompts} prompts in a cell. The paper gives no bounds. `yes` and `no` are "
        f"said where the whole interval lies on one side of the bound, from {ENOUGH} prompts on.",
    )


def _of_size(found: Findings) -> Iterator[tuple[str, ...]]:
    """What the paper claims of larger models, for each model that this one stands beside."""
    more, closer = (
        "a larger model completes more tasks",
        "a larger model follows shares more closely",
    )
    compared = list(differences(found.plain(), found.others, found.confidence))
    if not compared:
        needed = "needs a second model" + (" with the same configuration" if found.others else "")
        yield from ((one, PAPER, "all", "not tested", needed) for one in (more, closer))
    for one in compared:
        less = f", paired, less those of {one.other}"
        tasks, far = one.of["completed"], one.of["divergence"]
        yield (f"{more}: more than {one.other}?", PAPER, one.config,
               above(tasks, 0.0), f"{cell(tasks, '+')} of tasks{less}")  # fmt: skip
        yield (f"{closer}: more than {one.other}?", PAPER, one.config,
               below(far, 0.0), f"{cell(far, '+')} nats{less}")  # fmt: skip


def _beats(figures: ConfigFigures) -> Told:
    task, least = min(figures.tasks.items(), key=lambda one: one[1].beats)
    return above(least.beats, BEATS), f"{cell(least.beats)} ({task})"


def _at_once(figures: ConfigFigures) -> Told:
    return above(figures.at_once, MOST), cell(figures.at_once)


def _mass(figures: ConfigFigures) -> Told:
    return above(
        figures.mass, MOST
    ), f"{cell(figures.mass)}; end left open {cell(figures.open_mass)}"


def _completed(figures: ConfigFigures) -> Told:
    number, one = len(figures.tasks), figures.completed
    low, high = (end * number for end in one.interval)
    return "", f"{one.mean * number:.2f} [{low:.2f}, {high:.2f}] of {number}"


def _divergence(figures: ConfigFigures) -> Told:
    one = figures.divergence
    return "", f"{cell(one.open)}; end of line included {cell(one.closed)}"


def _of_means(figures: ConfigFigures) -> Told:
    one = figures.divergence
    return "", f"{cell(one.of_means)}; within the right answers {cell(one.within)}"


def _cost(figures: ConfigFigures) -> Told:
    return above(figures.cost, LITTLE), cell(figures.cost, "+")


def _follows(figures: ConfigFigures) -> Told:
    steps = [one for some in figures.grows.values() for one in some]
    if any(_is_said(one) and one.interval.high < 0 for one in steps):
        holds = "no"
    else:
        holds = "yes" if all(above(one, 0.0) == "yes" for one in steps) else "unsure"
    means = (
        f"{task} {' '.join(f'{row[task].mean:.2f}' for row in figures.shares.values())}"
        for task in figures.grows
    )
    return holds, f"{'; '.join(means)}; the least step {cell(min(steps), '+')}"


def _labels(figures: ConfigFigures) -> Told:
    left = figures.labelled_leak
    said = (
        f"{cell(figures.leak)} becomes {cell(left)}; with no example of them {cell(figures.floor)}"
    )
    return below(left, LITTLE), said


_CLAIMS = (
    Claim(f"each answer beats its wrong one on over {BEATS:.0%} (the least)", BOUND, _beats),
    Claim(f"on over {MOST:.0%} of prompts each answer has half its share at once", BOUND, _at_once),
    Claim(f"right answers have over {MOST:.0%} of the probability", BOUND, _mass),
    Claim("tasks completed: their answer is among the likeliest", PAPER, _completed),
    Claim("divergence from the shares, mean over prompts, nats", PAPER, _divergence),
    Claim("divergence of the mean probabilities, nats", CONTROL, _of_means),
    Claim(f"mixing costs over {LITTLE:.0%} of probability beyond sharing", CONTROL, _cost),
    Claim("probability grows with the share, 0 to 100%", CONTROL, _follows),
    Claim(f"labels bring other tasks' answers under {LITTLE:.0%}", CONTROL, _labels),
)  # fmt: skip
UNTESTED = (
    "superposition emerges in a model trained from scratch on one task at a time",
    "a transformer of few layers can be constructed to do it",
    "task vectors of a mixture lie between those of its tasks",
)
"""What else the paper claims."""


def above(one: Estimate, bound: float) -> str:
    """Whether a figure lies above a bound: `yes`, `no` or `unsure`."""
    if _is_said(one) and one.interval.low > bound:
        return "yes"
    return "no" if _is_said(one) and one.interval.high < bound else "unsure"


def below(one: Estimate, bound: float) -> str:
    """Whether a figure lies below a bound: `yes`, `no` or `unsure`."""
    return {"yes": "no", "no": "yes"}.get(above(one, bound), "unsure")


def _is_said(one: Estimate) -> bool:
    return one.n >= ENOUGH
