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
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
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
BOLD = 0.25
"""The weight of the largest stake; it is the best where nothing differs, as is often so. Beside
equal weights it takes a fifth fewer rows there, and 2 to 9 in a hundred more elsewhere."""
FARTHEST = 100_000
"""Rows up to which a decision is foretold."""
EVERY = 10
"""Rows after which a `LateBet` begins anew."""


def share_of_alpha(place: int) -> float:
    """The part of the error that a hypothesis may use, by its place from 0 in a list.

    The parts, 1/2, 1/6, 1/12, ..., sum to 1: whether any hypothesis of the list is wrongly accepted
    is bounded by the whole. The list must be settled before the first row is seen; the planner's
    is that of all groupings (`planner.groupings.share_of_error`).
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
    """The log of the weighted mean over stakes of prod(1 + stake * gain), along the last axis.

    Args:
        gains: What one unit of stake gains in each row, at least -`worst`.
        worst: What it loses at most.
    """
    import numpy as np

    total = np.full(gains.shape, -np.inf)
    for stake, weight in zip(_stakes(worst), _weights(), strict=True):
        total = np.logaddexp(total, weight + np.cumsum(np.log1p(stake * gains), axis=-1))
    return total


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


class Gate:
    """The two bets about one task, as its rows come.

    A verdict stays: what is accepted at one look is not given back at a later one. So a grouping
    may be accepted when each of its tasks has been, at whatever look.

    Example:
        >>> from mtiprompt.gate import Gate
        >>> gate = Gate(margin=0.1, alpha=0.05)
        >>> gate.add([0.0] * 20)
        >>> gate.verdict, gate.finding().more
        ('undecided', 19)
        >>> gate.add([0.0] * 19)
        >>> gate.verdict
        'accepted'

    Args:
        margin: The loss that may be, above -1 and below 1.
        alpha: The probability with which each of the two verdicts may be wrong.

    Attributes:
        verdict: That of the first look at which there was one.
    """

    def __init__(self, *, margin: float, alpha: float) -> None:
        import numpy as np

        self.verdict: Verdict = "undecided"
        self._margin, self._alpha = margin, alpha
        self._counts: Counter[float] = Counter()
        self._stakes = np.stack([_stakes(1 - margin), _stakes(1 + margin)])
        self._sums = np.zeros((2, STAKES))

    @property
    def n(self) -> int:
        """Rows seen."""
        return self._counts.total()

    def add(self, differences: Sequence[float]) -> None:
        """Look at further differences, after each of them.

        Args:
            differences: Alone minus in company, from -1 to 1.
        """
        import numpy as np

        found = np.asarray(differences, dtype=float)
        if not found.size:
            return
        self._counts.update(found.tolist())
        gains = np.stack([self._margin - found, found - self._margin])
        growth = np.log1p(self._stakes[:, :, None] * gains[:, None, :])
        path = self._sums[:, :, None] + np.cumsum(growth, axis=-1)
        self._sums = path[:, :, -1]
        if self.verdict == "undecided":
            wealth = np.logaddexp.reduce(path + _weights()[:, None], axis=1)
            within, beyond = (_first(one >= -math.log(self._alpha)) for one in wealth)
            if within != beyond:
                self.verdict = "accepted" if within < beyond else "rejected"

    def can_settle(self, rows: int) -> bool:
        """Whether so many rows more are worth asking, where there is no verdict.

        They are if they would suffice for `accepted` with no difference in any of them, or for
        `rejected` with differences like those so far. To stop where they would not accepts nothing
        more, so the promise holds; what rows in which company is better would prove is lost.

        Args:
            rows: How many more there are.
        """
        import numpy as np

        if not self.n:
            return rows > 0
        agreeing = rows * np.log1p(self._stakes[0] * self._margin)
        paths = self._sums[0] + agreeing, self._sums[1] * (1 + rows / self.n)
        return max(map(_mixed, paths)) >= -math.log(self._alpha)

    def finding(self) -> Finding:
        """What the rows so far say."""
        if not self.n:
            return Finding("undecided", 0, math.nan, Interval(-1.0, 1.0), None)
        decided = self.verdict != "undecided"
        return Finding(
            verdict=self.verdict,
            n=self.n,
            loss=_mean(self._counts),
            bounds=_bounds(self._counts, self._alpha),
            more=0 if decided else _more(self._sums, self.n, -math.log(self._alpha)),
        )


class LateBet:
    """The bet against "the mean is at most a limit", for a mean that may rise late.

    Who bets from the first row on has nothing left when the mean rises after many good rows. So a
    part of the stake, 1/(j(j+1)) for the start j, waits for the start of each block of rows; until
    then it is what it was. The whole is a mixture of fair bets, hence fair: while no row has a mean
    above the limit, it ever reaches 1/alpha with probability alpha at most (Ville). What all starts
    have become is one number for each stake, as all of them gain the same factor.

    Example:
        >>> from mtiprompt.gate import LateBet
        >>> bet = LateBet(0.1)
        >>> for value in [0.0] * 200 + [1.0] * 8:
        ...     bet.add(value)
        >>> bet.n, bool(bet.wealth > 3)
        (208, True)

    Args:
        limit: What the mean may be, above `lowest`.
        lowest: The least that a value can be.
        every: Rows between two starts; None: there is only the first.
        shape: That of the values of one row, where there are many bets at once.

    Attributes:
        n: Rows seen.
        sums: For each stake the logarithm of what all starts so far have become.
    """

    def __init__(
        self,
        limit: float,
        *,
        lowest: float = 0.0,
        every: int | None = EVERY,
        shape: tuple[int, ...] = (),
    ) -> None:
        import numpy as np

        self.n = 0
        self.sums: Array = np.full((*shape, STAKES), -np.inf)
        self._limit, self._every = limit, every
        self._stakes = _stakes(limit - lowest)

    def add(self, values: Any) -> None:
        """See one more row.

        Args:
            values: A number from `lowest` to 1, or as many as there are bets.
        """
        import numpy as np

        if self._every is None:
            share = 1.0 if self.n == 0 else 0.0
        else:
            share = 0.0 if self.n % self._every else share_of_alpha(self.n // self._every)
        if share:
            self.sums = np.logaddexp(self.sums, math.log(share))
        gains = np.asarray(values, dtype=float)[..., None] - self._limit
        self.sums = self.sums + np.log1p(self._stakes * gains)
        self.n += 1

    @property
    def wealth(self) -> Any:
        """The logarithm of what the bet has grown to; it began at 0."""
        import numpy as np

        begun = np.logaddexp.reduce(self.sums, axis=-1) - math.log(STAKES)
        if self._every is None:
            return begun if self.n else np.zeros(self.sums.shape[:-1])
        starts = -(-self.n // self._every)
        return np.logaddexp(begun, -math.log(starts + 1))


def judge(differences: Sequence[float], *, margin: float, alpha: float) -> Finding:
    """What differences say, looked at after each of them.

    Args:
        differences: Alone minus in company, item by item, from -1 to 1.
        margin: The loss that may be.
        alpha: The probability with which each of the two verdicts may be wrong.
    """
    gate = Gate(margin=margin, alpha=alpha)
    gate.add(differences)
    return gate.finding()


def _first(reached: Any) -> float:
    """The place of the first look at which something was reached; infinite if it never was."""
    import numpy as np

    return float(np.argmax(reached)) if reached.any() else math.inf


def bounds(differences: Sequence[float], *, alpha: float) -> Interval:
    """The confidence sequence of the loss at the last row: it holds at all rows at once.

    Args:
        differences: As for `judge`.
        alpha: The probability with which the loss may ever be below the low bound; the same for the
            high one.
    """
    return _bounds(Counter(differences), alpha)


def _bounds(counts: Mapping[float, int], alpha: float) -> Interval:
    """The bounds from how often each difference was seen; their order does not matter."""
    import numpy as np

    values, times = (np.array(one, dtype=float) for one in (list(counts), list(counts.values())))
    center = _mean(counts)

    def outside(margin: float) -> bool:
        sign = math.copysign(1.0, margin - center)
        growth = np.log1p(np.multiply.outer(_stakes(1 - sign * margin), sign * (margin - values)))
        return _mixed(growth @ times) >= -math.log(alpha)

    edge = 1 - 1e-6
    return Interval(_edge(outside, center, -edge), _edge(outside, center, edge))


def _edge(outside: Callable[[float], bool], inside: float, end: float) -> float:
    """Where between two places `outside` becomes true, seen from the first."""
    if (abs(inside) >= abs(end) and inside * end > 0) or not outside(end):
        return math.copysign(1.0, end)
    for _ in range(24):
        middle = (inside + end) / 2
        inside, end = (inside, middle) if outside(middle) else (middle, end)
    return end


def _more(sums: Array, size: int, rich: float) -> int | None:
    """Rows that are lacking if further ones are like those so far."""
    known = [_reached(one / size, size, rich) for one in sums]
    return min((one - size for one in known if one is not None), default=None)


def _reached(growth: Array, low: int, rich: float) -> int | None:
    """The number of rows, above `low`, with which a mixture is rich; None: too many."""
    high = low
    while _mixed(growth * high) < rich:
        if high >= FARTHEST:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _mixed(growth * middle) < rich else (low, middle)
    return high


def _mean(counts: Mapping[float, int]) -> float:
    total = math.fsum(value * times for value, times in counts.items())
    return total / sum(counts.values())


def _mixed(sums: Array) -> float:
    """The log of the mean of what stakes have grown to."""
    import numpy as np

    return float(np.logaddexp.reduce(sums + _weights()))


def _stakes(worst: float) -> Array:
    """The stakes of a bet that loses at most `worst` for one."""
    import numpy as np

    steps: Array = np.arange(1, STAKES + 1) / STAKES
    return BOLDEST / worst * steps**2


@cache
def _weights() -> Array:
    """The logarithms of the weights of the stakes; they sum to 1."""
    import numpy as np

    weights: Array = np.log([(1 - BOLD) / (STAKES - 1)] * (STAKES - 1) + [BOLD])
    return weights
