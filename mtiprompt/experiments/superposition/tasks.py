"""The paper's four configurations: what is asked, and what each task answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from mtiprompt.experiments.superposition.lists import COUNTRIES, WORDS
from mtiprompt.experiments.superposition.spelled import english, french, spanish


@dataclass(frozen=True)
class Item:
    """An input and what every task of its configuration answers.

    Attributes:
        text: The input.
        answers: One for each task, in the order of the tasks.
    """

    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Config:
    """Tasks on inputs of one kind.

    Attributes:
        name: What it is called.
        about: What is asked, in words.
        tasks: The names of its tasks.
        sign: What stands between input and answer.
        examples: Examples in a prompt, as in the paper.
        pair: The two tasks between which shares are shifted.
        draw: Draws an item.
    """

    name: str
    about: str
    tasks: tuple[str, ...]
    sign: str
    examples: int
    pair: tuple[str, str]
    draw: Callable[[random.Random], Item] = field(repr=False)

    @property
    def equal(self) -> tuple[float, ...]:
        """The shares of its tasks where all have the same."""
        return (1 / len(self.tasks),) * len(self.tasks)


def _numbers(chance: random.Random) -> Item:
    one, other = chance.randint(10, 99), chance.randint(10, 99)
    return Item(f"{one}@{other}", (str(one), str(other), str(one + other)))


def _addition(chance: random.Random) -> Item:
    one, other = chance.randint(10, 99), chance.randint(10, 99)
    total = one + other
    return Item(f"{one}+{other}", (str(total), english(total), french(total), spanish(total)))


def _country(chance: random.Random) -> Item:
    country, capital, continent = chance.choice(COUNTRIES)
    return Item(country, (capital, continent, country.upper()))


_TWO_ENDED = tuple(word for word in WORDS if word[0] != word[-1])


def _word(chance: random.Random) -> Item:
    word = chance.choice(_TWO_ENDED)
    first, last = word[0], word[-1]
    return Item(word, (first, last, first.upper(), last.upper()))


CONFIGS = {
    one.name: one
    for one in (
        Config(
            "numbers",
            "37@52= : the first number, the second, their sum",
            ("first", "second", "sum"),
            "=",
            60,
            ("first", "second"),
            _numbers,
        ),
        Config(
            "addition",
            "37+52-> : the sum in digits, English, French, Spanish",
            ("digits", "english", "french", "spanish"),
            "->",
            80,
            ("english", "french"),
            _addition,
        ),
        Config(
            "countries",
            "Japan-> : the capital, the continent, the name in upper case",
            ("capital", "continent", "upper"),
            "->",
            60,
            ("capital", "upper"),
            _country,
        ),
        Config(
            "words",
            "planet-> : the first letter, the last, and both in upper case",
            ("first_letter", "last_letter", "first_letter_upper", "last_letter_upper"),
            "->",
            80,
            ("first_letter", "last_letter_upper"),
            _word,
        ),
    )
}
"""The configurations of Xiong et al. (arXiv 2410.05603, section 3), by name.

As they are in `config/*.yaml` of their repository, edixiong/task-superposition; a word whose first
and last letter agree is left out there too.
"""
