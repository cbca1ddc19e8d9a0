"""What the model reads: cells, and prompts that differ between cells in nothing but the cell."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mtiprompt.errors import DataError
from mtiprompt.experiments.superposition.tasks import Config, Item

Kind = Literal["mixed", "alone", "share", "labelled"]
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the first task of a pair."""
_TRIES = 10_000


@dataclass(frozen=True)
class Cell:
    """A way of writing the prompts of a configuration.

    Attributes:
        config: The configuration.
        kind: `mixed` (the paper's: all tasks equally often, no labels), `alone` (the lines of
            `mixed` that show one task, and no others), `share` (two tasks) or `labelled` (as
            `mixed`, each line with its task's name).
        shares: How much of the examples each task has, in the order of the tasks; they add up
            to 1.
    """

    config: Config
    kind: Kind
    shares: tuple[float, ...]

    @property
    def name(self) -> str:
        """`mixed`, `alone capital`, `25% capital`, `labelled`."""
        if self.kind == "alone":
            return f"alone {self.shown[0]}"
        if self.kind == "share":
            task = self.config.pair[0]
            return f"{self.share(task):.0%} {task}"
        return self.kind

    @property
    def shown(self) -> tuple[str, ...]:
        """The tasks that its examples show."""
        return tuple(task for task in self.config.tasks if self.share(task))

    @property
    def scored(self) -> tuple[str, ...]:
        """The tasks whose answers are scored: between shares the pair, elsewhere all."""
        return self.config.pair if self.kind == "share" else self.config.tasks

    @property
    def labels(self) -> tuple[str | None, ...]:
        """What its query is labelled with, one prompt after the other; None: nothing."""
        return self.config.tasks if self.kind == "labelled" else (None,)

    def share(self, task: str) -> float:
        """How much of the examples a task has."""
        return self.shares[self.config.tasks.index(task)]


def cells(config: Config) -> tuple[Cell, ...]:
    """The cells of a configuration, the paper's first."""

    def only(shares: dict[str, float]) -> tuple[float, ...]:
        return tuple(shares.get(task, 0.0) for task in config.tasks)

    one, other = config.pair
    return (
        Cell(config, "mixed", config.equal),
        *(Cell(config, "alone", only({task: 1.0})) for task in config.tasks),
        *(Cell(config, "share", only({one: share, other: 1 - share})) for share in SHARES),
        Cell(config, "labelled", config.equal),
    )


@dataclass(frozen=True)
class Drawn:
    """What the prompts of one number have in common in all cells of a configuration.

    Attributes:
        examples: What the examples are about, in the order of the prompt.
        turn: In which order they are given to the tasks: from one share to the next, few examples
            change.
        query: What is asked; no example.
        wrong: What its answers are compared with: neither an example nor the query, none of its
            answers is one of the query's, and numbers have as many digits.
    """

    examples: tuple[Item, ...]
    turn: tuple[int, ...]
    query: Item
    wrong: Item


def draw(config: Config, number: int, *, seed: int = 0, examples: int | None = None) -> Drawn:
    """Draw what the prompts of one number are about.

    Args:
        config: The configuration.
        number: The number of the prompt.
        seed: Of the experiment.
        examples: Examples in a prompt; None: as many as in the paper.

    Raises:
        DataError: There are not as many different inputs, or fewer examples than tasks.
    """
    chance = random.Random(f"{seed} {config.name} {number}")
    different = _different(config, chance)
    size = examples or config.examples
    if size < len(config.tasks):
        raise DataError(
            f"{config.name} has {len(config.tasks)} tasks and {size} examples",
            hint="give each task one at least",
        )
    query = next(one for one in different if _are_apart(one.answers))
    seen = [next(different) for _ in range(size)]
    wrong = next(
        one
        for one in different
        if _are_apart((*one.answers, *query.answers)) and _are_alike(one.answers, query.answers)
    )
    return Drawn(tuple(seen), tuple(chance.sample(range(size), size)), query, wrong)


def _different(config: Config, chance: random.Random) -> Iterator[Item]:
    """Items with different inputs, drawn one by one."""
    seen: set[str] = set()
    for _ in range(_TRIES):
        item = config.draw(chance)
        if item.text not in seen:
            seen.add(item.text)
            yield item
    raise DataError(f"{config.name} has not enough different inputs", hint="ask for fewer examples")


def _are_apart(answers: Sequence[str]) -> bool:
    return len(set(answers)) == len(answers)


def _are_alike(answers: Sequence[str], others: Sequence[str]) -> bool:
    """Whether numbers have as many digits: a longer one is less likely for that alone."""
    pairs = zip(answers, others, strict=True)
    return all(len(one) == len(other) for one, other in pairs if one.isdigit())


def counts(shares: Sequence[float], examples: int) -> tuple[int, ...]:
    """How many examples each task gets: all of them, each within one of its share."""
    whole = [int(share * examples + 1e-9) for share in shares]
    rests = [share * examples - number for share, number in zip(shares, whole, strict=True)]
    by_rest = sorted(range(len(shares)), key=lambda place: -rests[place])
    for place in by_rest[: examples - sum(whole)]:
        whole[place] += 1
    return tuple(whole)


def write(cell: Cell, drawn: Drawn, label: str | None = None) -> str:
    """The prompt: a line for each example, then the query and the sign after it.

    Args:
        cell: How it is written.
        drawn: What it is about.
        label: The task that the query is labelled with, where the cell has labels.
    """
    tasks = cell.config.tasks
    dealt = cell.config.equal if cell.kind == "alone" else cell.shares
    given = [
        place
        for place, number in enumerate(counts(dealt, len(drawn.examples)))
        for _ in range(number)
    ]
    task_of = dict(zip(drawn.turn, given, strict=True))
    lines = []
    for place, item in enumerate(drawn.examples):
        task = task_of[place]
        if cell.shares[task]:
            name = tasks[task] if cell.kind == "labelled" else None
            lines.append(_line(cell.config, item, name) + item.answers[task])
    return "\n".join([*lines, _line(cell.config, drawn.query, label)])


def _line(config: Config, item: Item, label: str | None) -> str:
    return (f"[{label}] " if label else "") + item.text + config.sign
