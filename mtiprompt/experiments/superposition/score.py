"""How likely a model finds whole answers.

The probability of an answer is the product over its tokens, each given the prompt and those before
it (teacher forcing). Prompt and answer are tokenised together, as in a text of the training data;
what the tokens of both have in common with those of the prompt alone is what is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mtiprompt.checks import check_list
from mtiprompt.models.local_tokens import TokenModel, common

CLOSING = "\n"


@dataclass(frozen=True)
class Score:
    """How likely an answer is.

    Attributes:
        answer: The answer.
        closed: The probability that it comes and the line ends after it.
        open: The probability that it comes, whatever follows: `12` has that of `121` too. This is
            what the paper's released scorer computes.
        rejoined: Whether its first token takes in the end of the prompt. Then both probabilities
            are those of that end and the answer, given what stands before.
    """

    answer: str
    closed: float
    open: float
    rejoined: bool = False


def score(model: TokenModel, prompt: str, answers: Sequence[str]) -> tuple[Score, ...]:
    """How likely each of several answers is after a prompt.

    The prompt is read once, and stays read: what a quantised model computes differs by some percent
    with the size of the pieces in which it reads, so all answers have to stand on the same reading.
    What comes after it is asked for one token at a time.

    Args:
        model: Whose probabilities are asked.
        prompt: What comes before the answer.
        answers: Possible answers, without the end of the line.

    Raises:
        DataError: The answers are no list; one text is none.
        ModelError: The model cannot do it.
    """
    check_list(answers=answers)
    read = model.tokens(prompt)
    model.read(read)
    return tuple(_score(model, prompt, read, answer) for answer in answers)


def _score(model: TokenModel, prompt: str, read: Sequence[int], answer: str) -> Score:
    closed = model.tokens(prompt + answer + CLOSING)
    opened = model.tokens(prompt + answer)
    start = common(read, closed)
    logs = model.forced(closed[:start], closed[start:])
    if opened == closed[: len(opened)]:
        until = logs[: len(opened) - start]
    else:  # the end of the line is part of the last token
        start_open = common(read, opened)
        until = model.forced(opened[:start_open], opened[start_open:])
    return Score(
        answer, math.exp(math.fsum(logs)), math.exp(math.fsum(until)), rejoined=start < len(read)
    )
