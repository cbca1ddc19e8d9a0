"""A stand-in for a model, whose probabilities a function says."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from mtiprompt.experiments.superposition.score import CLOSING
from mtiprompt.experiments.superposition.tasks import CONFIGS
from mtiprompt.models.local_tokens import Next

Answers = Callable[[str], Mapping[str, float]]
"""Tells, for a prompt, the probability of whole answers; they add up to 1 at most."""
_OTHER = "?"
_NEVER = 1e-12


class FunctionTokens:
    """A model that answers with the probabilities that a function says; a token is a character.

    What the function leaves goes to the answer `?`.

    Args:
        answers: Tells the probabilities of whole answers, without the end of the line.
        name: What the model is called.

    Attributes:
        asked: How often probabilities were asked for.
    """

    def __init__(self, answers: Answers, *, name: str = "function") -> None:
        self._answers = answers
        self._name = name
        self.asked = 0

    @property
    def name(self) -> str:
        """What it is called."""
        return self._name

    @property
    def identity(self) -> str:
        """What it is called."""
        return self._name

    def tokens(self, text: str) -> tuple[int, ...]:
        """The characters."""
        return tuple(map(ord, text))

    def read(self, before: Sequence[int]) -> None:
        """There is nothing to do."""

    def forced(self, before: Sequence[int], rest: Sequence[int]) -> tuple[float, ...]:
        """The logarithm of the probability of each further character."""
        self.asked += 1
        whole = _text([*before, *rest])
        steps = range(len(before), len(whole))
        return tuple(math.log(self._next(whole[:at]).get(whole[at], _NEVER)) for at in steps)

    def following(self, before: Sequence[int]) -> tuple[Next, ...]:
        """All characters that may come next, the likeliest first."""
        self.asked += 1
        found = self._next(_text(before)) or {CLOSING: 1.0}
        by_chance = sorted(found.items(), key=lambda one: -one[1])
        return tuple(Next(ord(one), one.encode(), math.log(likely)) for one, likely in by_chance)

    def _next(self, text: str) -> dict[str, float]:
        """The next character, given a prompt and the beginning of an answer."""
        start = max(text.rfind(one.sign) + len(one.sign) for one in CONFIGS.values())
        prompt, begun = text[:start], text[start:]
        told = dict(self._answers(prompt))
        told[_OTHER] = told.get(_OTHER, 0.0) + max(0.0, 1 - sum(told.values()))
        found: dict[str, float] = {}
        for answer, likely in told.items():
            line = answer + CLOSING
            if likely > 0 and line.startswith(begun) and len(line) > len(begun):
                found[line[len(begun)]] = found.get(line[len(begun)], 0.0) + likely
        total = sum(found.values())
        return {one: likely / total for one, likely in found.items()}


def _text(tokens: Sequence[int]) -> str:
    return "".join(map(chr, tokens))
