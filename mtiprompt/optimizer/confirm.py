"""Whether a candidate is better than the baseline, on pairs that it was not chosen by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mtiprompt.stats import Estimate, difference

FLIPS = 9999


@dataclass(frozen=True)
class Confirmation:
    """What fresh pairs say of a candidate.

    Attributes:
        gain: The mean difference, candidate minus baseline, with its interval and the pairs.
        p_value: How probable so large a gain is if each difference had its sign by chance.
        better: Whether that is at most the error that is allowed.
    """

    gain: Estimate
    p_value: float
    better: bool

    def __str__(self) -> str:
        """The gain, the pairs and the p-value, in a few words."""
        return f"{self.gain:+.3f} on {self.gain.n} fresh pairs, p = {self.p_value:.4f}"


def confirm(
    candidate: Sequence[float], baseline: Sequence[float], *, alpha: float, seed: int = 0
) -> Confirmation:
    """Test for a gain, one-sided, by flipping the signs of the paired differences.

    The p-value is the share of random flips, the observed signs among them, with as large a mean
    (Pitman, Supplement to the JRSS 4, 1937; drawn as in Phipson and Smyth, 2010, so that it is
    never 0). If the two are equally good item by item up to chance, the probability of `better` is
    at most alpha, whatever the number of pairs and the shape of the scores.

    Args:
        candidate: The scores of the items, from 0 to 1.
        baseline: Those of the baseline, in the same order.
        alpha: The error that is allowed.
        seed: Of the flips.
    """
    import numpy as np

    gain = difference(candidate, baseline)
    differences = np.asarray(candidate, dtype=float) - np.asarray(baseline, dtype=float)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(FLIPS, len(differences)))
    sums = signs @ differences
    as_large = int((sums >= differences.sum() - 1e-9).sum())
    p_value = (1 + as_large) / (1 + FLIPS)
    return Confirmation(gain, p_value, p_value <= alpha)
