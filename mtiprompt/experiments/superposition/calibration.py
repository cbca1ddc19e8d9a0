"""How far the probabilities of answers lie from the shares of their tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtiprompt.experiments.superposition import resample
from mtiprompt.stats import CONFIDENCE, Estimate

if TYPE_CHECKING:
    from mtiprompt.experiments.superposition.resample import Array

METHOD = (
    "Kullback-Leibler divergence of the probabilities of the answers from the shares of their "
    "tasks, in nats. The paper's figure is its mean over prompts, with the end left open. That of "
    "the means is 0 too where each prompt has one answer alone, each task's equally often"
)
_LEAST = 1e-300


@dataclass(frozen=True)
class Divergence:
    """How far probabilities lie from shares, in nats; 0: they are equal.

    Attributes:
        open: The mean over prompts, whatever follows an answer: the paper's figure, `kl_div_mean`
            of its released scorer.
        closed: The same with the line ending after the answer.
        of_means: That of the mean probabilities, the line ending after the answer.
        within: The same among the right answers alone, as if there were no others.
    """

    open: Estimate
    closed: Estimate
    of_means: Estimate
    within: Estimate


def kl(shares: Sequence[float], found: Sequence[float]) -> float:
    """The divergence of one prompt: `sum(share * log(share / probability))` over the tasks.

    Args:
        shares: Of the tasks; they add up to 1.
        found: The probabilities of their answers, in the same order.
    """
    return math.fsum(
        share * math.log(share / max(one, _LEAST))
        for share, one in zip(shares, found, strict=True)
        if share
    )


def divergence(
    shares: Sequence[float],
    closed: Sequence[Sequence[float]],
    opened: Sequence[Sequence[float]],
    confidence: float = CONFIDENCE,
) -> Divergence:
    """The divergence of probabilities from shares.

    With `mass` the sum of the means, that of the means is `-log(mass)`, for what other answers
    take, plus that within the right ones.

    Args:
        shares: Of the tasks; they add up to 1.
        closed: For each prompt the probabilities of the tasks' answers, in the same order, the line
            ending after them.
        opened: The same whatever follows.
        confidence: Of the intervals.
    """
    import numpy as np  # late: it takes time

    shown = [place for place, share in enumerate(shares) if share]
    wanted = np.asarray([shares[place] for place in shown])

    def of_means(means: Array) -> Array:
        found: Array = (wanted * np.log(wanted / means[:, shown].clip(_LEAST))).sum(axis=1)
        return found

    def within(means: Array) -> Array:
        return of_means(means / means.sum(axis=1, keepdims=True).clip(_LEAST))

    return Divergence(
        open=resample.mean([kl(shares, one) for one in opened], confidence),
        closed=resample.mean([kl(shares, one) for one in closed], confidence),
        of_means=resample.of_means(closed, of_means, confidence),
        within=resample.of_means(closed, within, confidence),
    )
