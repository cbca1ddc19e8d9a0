"""What a loss may be called, while the rows are still coming: accepted, rejected, undecided.

A *difference* is the score of a task asked alone minus its score in company, for one item: from -1
to 1, its mean is the loss. The gate bets against two claims at once: that the loss is above the
margin, and that it is below. Whoever bets on what is true grows rich; by Ville's inequality a claim
that holds lets the wealth of the bet against it ever reach 1/alpha with probability alpha at most,
however often one looks and whenever one stops.

The wealth is a mixture over fixed stakes of prod(1 + stake * (margin - difference)) (Waudby-Smith
and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86, 2024, section 4):
every admissible bet on the mean of a bounded variable has this form (Larsson, Ramdas and Ruf, "The
numeraire e-variable and reverse information projection", 2025), so there is none that would do
better because scores are 0 or 1. A mixture does not depend on the order of the rows, and is never
far behind the best stake.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mtiprompt.stats import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Verdict = Literal["accepted", "rejected", "undecided"]
STAKES = 24
"""Stakes in the mixture; they are dense near 0, where small losses are told apart."""
BOLDEST = 0.999
"""The largest stake, as a share of what one difference can take away."""
FARTHEST = 100_000
"""Rows up to which a decision is foretold."""


def share_of_alpha(place: int) -> float:
    """The part of the error that a grouping may use, by its place from 0 among those tried.

    The parts, 1/2, 1/6, 1/12, ..., sum to 1, however many are tried: whether any of them is wrongly
    accepted is bounded by the whole. The tasks of a grouping need no correction: it is accepted
    only if each of them is, so it is wrongly accepted only if the one that is harmed is.
    """
    return 1 / ((place + 1) * (place + 2))


class Wealth(NamedTuple):
    """Logarithms of what the two bets have grown to; both began at 0.

    Attributes:
        within: Of the bet against "the loss is above the margin".
        beyond: Of the bet against "the loss is at most the margin".
    """

    within: Any
    beyond: Any


def log_wealth(differences: Any, margin: float) -> Wealth:
    """The wealth after each row.

    Args:
        differences: From -1 to 1; the last axis has the rows in their order.
        margin: The loss that is bet about, above -1 and below 1.

    Returns:
        Arrays of the shape of `differences`.
    """
    import numpy as np

    found = np.asarray(differences, dtype=float)
    return Wealth(_mixture(margin - found, 1 - margin), _mixture(found - margin, 1 + margin))


def _mixture(gains: Array, worst: float) -> Array:
    """The log of the mean over stakes of prod(1 + stake * gain), along the last axis.

    Args:
        gains: What one unit of stake gains in each row, at least -`worst`.
        worst: What it loses at most.
    """
    import numpy as np

    total = np.full(gains.shape, -np.inf)
    for number in range(1, STAKES + 1):
        stake = BOLDEST / worst * (number / STAKES) ** 2
        total = np.logaddexp(total, np.cumsum(np.log1p(stake * gains), axis=-1))
    return total - math.log(STAKES)


@dataclass(frozen=True)
class Finding:
    """What the rows so far say of the loss of one task.

    Attributes:
        verdict: `accepted`: it is at most the margin; `rejected`: it is above; `undecided`.
        n: Rows looked at; the verdict is that of the first look at which there was one.
        loss: The mean difference, alone minus in company.
        bounds: Where the loss lies, at every look at once, with the same confidence on each side.
        more: Rows that a verdict would still take if they went on like those so far; 0 with a
            verdict, None: more than can be foretold.
    """

    verdict: Verdict
    n: int
    loss: float
    bounds: Interval
    more: int | None


def judge(differences: Sequence[float], *, margin: float, alpha: float) -> Finding:
    """What differences say, looked at after each of them.

    Args:
        differences: Alone minus in company, item by item, from -1 to 1.
        margin: The loss that may be.
        alpha: The probability with which each of the two verdicts may be wrong.
    """
    import numpy as np

    found = np.asarray(differences, dtype=float)
    if not found.size:
        return Finding("undecided", 0, math.nan, Interval(-1.0, 1.0), None)
    wealth, rich = log_wealth(found, margin), -math.log(alpha)
    first_within, first_beyond = (_first(one >= rich) for one in wealth)
    verdict: Verdict = "undecided"
    if first_within != first_beyond:
        verdict = "accepted" if first_within < first_beyond else "rejected"
    return Finding(
        verdict=verdict,
        n=int(found.size),
        loss=float(found.mean()),
        bounds=bounds(found, alpha=alpha),
        more=0 if verdict != "undecided" else _more(found, margin, rich),
    )


def _first(reached: Any) -> float:
    """The place of the first look at which something was reached; infinite if it never was."""
    import numpy as np

    return float(np.argmax(reached)) if reached.any() else math.inf


def bounds(differences: Sequence[float] | Array, *, alpha: float) -> Interval:
    """The confidence sequence of the loss at the last row: it holds at all rows at once.

    Args:
        differences: As for `judge`.
        alpha: The probability with which the loss may ever be below the low bound; the same for the
            high one.
    """
    import numpy as np

    found = np.asarray(differences, dtype=float)
    rich, center = -math.log(alpha), float(found.mean())

    def outside(margin: float) -> bool:
        wealth = log_wealth(found, margin)
        one = wealth.within if margin > center else wealth.beyond
        return bool(one[-1] >= rich)

    edge = 1 - 1e-6
    return Interval(_edge(outside, center, -edge), _edge(outside, center, edge))


def _edge(outside: Any, inside: float, end: float) -> float:
    """Where between two places `outside` becomes true, seen from the first."""
    if not outside(end):
        return math.copysign(1.0, end)
    for _ in range(24):
        middle = (inside + end) / 2
        inside, end = (inside, middle) if outside(middle) else (middle, end)
    return end


def _more(found: Array, margin: float, rich: float) -> int | None:
    """Rows that are lacking if further ones are like those so far."""
    import numpy as np

    known, size = math.inf, found.size
    for gains, worst in ((margin - found, 1 - margin), (found - margin, 1 + margin)):
        stakes = BOLDEST / worst * (np.arange(1, STAKES + 1) / STAKES) ** 2
        sums = np.log1p(np.multiply.outer(stakes, gains)).sum(axis=1)
        low, high = size, size
        while high < FARTHEST and _mixed(sums * (high / size)) < rich:
            low, high = high, 2 * high
        while high - low > 1 and high < 2 * FARTHEST:
            middle = (low + high) // 2
            low, high = (middle, high) if _mixed(sums * (middle / size)) < rich else (low, middle)
        if high < FARTHEST:
            known = min(known, high - size)
    return None if known == math.inf else int(known)


def _mixed(sums: Array) -> float:
    import numpy as np

    return float(np.logaddexp.reduce(sums)) - math.log(STAKES)
