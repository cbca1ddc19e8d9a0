"""Which whole answers are the likeliest."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass

from mtiprompt.experiments.superposition.score import CLOSING
from mtiprompt.models.local_tokens import TokenModel

LOOKS = 40
"""How often the model is asked for next tokens, at most."""
_END = CLOSING.encode()
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Likeliest:
    """The likeliest answers.

    Attributes:
        answers: Text and probability, end of the line included, the likeliest first.
        exact: Whether no other answer can be among them. If not, the search was cut short, and
            likelier answers may be missing: those that are here stand too high, never too low.
    """

    answers: tuple[tuple[str, float], ...]
    exact: bool


def likeliest(
    model: TokenModel,
    prompt: str,
    number: int,
    known: Iterable[tuple[str, float]] = (),
    *,
    looks: int = LOOKS,
) -> Likeliest:
    """The likeliest answers up to the end of the line.

    Beginnings are prolonged in the order of their probability, and dropped when they have become
    less likely than the last of the answers that are asked for: what is found is exact, unlike that
    of the paper's beam, unless too many beginnings are left.

    Args:
        model: Whose probabilities are asked.
        prompt: What comes before the answer.
        number: How many answers.
        known: Answers whose probability is known; the better they are, the shorter the search.
        looks: How often the model may be asked.

    Raises:
        ModelError: The model cannot do it.
    """
    read = model.tokens(prompt)
    given = dict(known)
    found: dict[str, float] = dict(given)
    open_ones: list[tuple[float, tuple[int, ...], bytes]] = [(0.0, (), b"")]
    missed = 0.0  # the most that an answer can have whose beginning was never told
    for _ in range(looks):
        least = _last(found, number)
        if not open_ones or math.exp(-open_ones[0][0]) <= least:
            break
        cost, path, text = heapq.heappop(open_ones)
        following = model.following((*read, *path))
        for one in following:
            if (likely := math.exp(one.log - cost)) <= least:
                continue
            whole = text + one.text
            if _END in one.text:
                answer = whole.split(_END, 1)[0].decode("utf-8", "replace")
                if answer not in given:
                    found[answer] = found.get(answer, 0.0) + likely
            else:
                heapq.heappush(open_ones, (cost - one.log, (*path, one.token), whole))
        left = min(math.exp(following[-1].log), 1 - sum(math.exp(one.log) for one in following))
        missed = max(missed, left * math.exp(-cost))
    least = _last(found, number)
    missed = max([missed, *(math.exp(-cost) for cost, _, _ in open_ones)])
    best = sorted(found.items(), key=lambda one: -one[1])[:number]
    return Likeliest(tuple(best), exact=missed <= least + _ROUNDING)


def _last(found: dict[str, float], number: int) -> float:
    """The probability of the last of the answers asked for; 0 while there are fewer."""
    best = sorted(found.values(), reverse=True)[:number]
    return best[-1] if len(best) == number else 0.0
