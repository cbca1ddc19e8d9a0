"""Which demonstrations an item is shown: a fixed set, the nearest, or those that cover its parts.

A fixed set keeps the prompt the same for all items, so that a prefix cache holds it. The other two
choose anew for each item. Both measure by BM25 (the package bm25s, the extra `optimize`), and leave
out a demonstration whose inputs are those of the item: its answer would only be copied, and a
measurement on rows of the pool would say nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from mtiprompt.combine import Combined
from mtiprompt.dataset import Row
from mtiprompt.errors import DataError
from mtiprompt.optimizer.parts import Parts, cover
from mtiprompt.plan import Demo, make_demo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


class Selector(Protocol):
    """Chooses demonstrations for an item."""

    def __call__(self, inputs: Mapping[str, Any]) -> tuple[Demo, ...]:
        """The demonstrations for an item, in the order of showing.

        Args:
            inputs: Its inputs by name.
        """
        ...


@dataclass(frozen=True)
class Pool:
    """Demonstrations to choose from.

    Attributes:
        ids: The ids of their rows.
        demos: The demonstrations, one for each id.

    Raises:
        DataError: An id is there twice, or there are not as many of both.
    """

    ids: tuple[str, ...]
    demos: tuple[Demo, ...]

    def __post_init__(self) -> None:
        """Check the ids."""
        if len(self.ids) != len(self.demos) or len(set(self.ids)) != len(self.ids):
            raise DataError("a pool has one id for each demonstration, and no id twice")

    def __len__(self) -> int:
        """How many there are."""
        return len(self.ids)

    def __getitem__(self, id: str) -> Demo:
        """The demonstration of a row.

        Raises:
            DataError: There is none.
        """
        try:
            return self._by_id[id]
        except KeyError:
            raise DataError(f"the pool has no demonstration {id!r:.80}") from None

    @cached_property
    def _by_id(self) -> dict[str, Demo]:
        return dict(zip(self.ids, self.demos, strict=True))


def make_pool(program: Combined, rows: Iterable[Row]) -> Pool:
    """A pool of labelled rows; those without any gold are left out.

    Args:
        program: The program.
        rows: The rows; those of the train split, not those that candidates are scored on.

    Raises:
        DataError: Two rows have the same id.
        PlanError: A row does not fit the program.
    """
    labelled = [row for row in rows if row.outputs]
    demos = tuple(make_demo(program, row) for row in labelled)
    return Pool(tuple(row.id for row in labelled), demos)


def earned(
    program: Combined,
    inputs: Mapping[str, Any],
    answers: Mapping[str, Any],
    scores: Mapping[str, float],
) -> Demo | None:
    """A demonstration of what a model answered: of each task that has full marks, no other.

    Args:
        program: The program.
        inputs: The inputs of the item.
        answers: The validated answers by task.
        scores: Their scores by task; 1 is full marks.

    Returns:
        None: No task has full marks.
    """
    right = {name: answers[name] for name in answers if scores.get(name, 0.0) >= 1.0}
    return make_demo(program, {"inputs": inputs, "outputs": right}) if right else None


@dataclass(frozen=True)
class Fixed:
    """The same demonstrations for every item.

    Attributes:
        demos: They, in the order of showing.
    """

    demos: tuple[Demo, ...]

    def __call__(self, inputs: Mapping[str, Any]) -> tuple[Demo, ...]:
        """The demonstrations, whatever the item is."""
        return self.demos


@dataclass(frozen=True)
class _ByParts:
    """What chooses anew for each item, by what the demonstrations have of its parts.

    Attributes:
        program: The program.
        pool: Where to choose from.
        number: How many are chosen.
        tasks: The tasks that they are for, such as those of a group; all where none is named.
    """

    program: Combined
    pool: Pool
    number: int
    tasks: tuple[str, ...] = ()

    @cached_property
    def _parts(self) -> Parts:
        return Parts(self.program, self.pool.demos, self.tasks or self.program.order)


@dataclass(frozen=True)
class Nearest(_ByParts):
    """The demonstrations that are most like the item, the nearest last, beside the item."""

    def __call__(self, inputs: Mapping[str, Any]) -> tuple[Demo, ...]:
        """The demonstrations for an item, in the order of showing."""
        parts = self._parts.of(inputs)
        return self._parts.shown(inputs, _ranked(parts.sum(axis=0)), self.number)


@dataclass(frozen=True)
class Covering(_ByParts):
    """Demonstrations that together cover the parts of the item; what covers most comes last.

    The greedy choice of Set-BSR (Gupta, Gardner and Singh, "Coverage-based Example Selection for
    In-Context Learning", Findings of EMNLP 2023, arXiv 2305.14907), with BM25 in place of
    BERTScore: a set is worth the sum over parts of the best that any of its members has for the
    part; when nothing adds to that, the rest is chosen as if the set were empty. The parts are
    the words of the inputs of each task, united over the tasks; a demonstration covers those of
    the tasks that it answers.
    """

    def __call__(self, inputs: Mapping[str, Any]) -> tuple[Demo, ...]:
        """The demonstrations for an item, in the order of showing."""
        parts = self._parts.of(inputs)
        barred = self._parts.barred(inputs)
        parts[:, barred] = 0.0  # what is left out covers nothing
        chosen = cover(parts, min(len(self.pool), self.number + len(barred)))
        return self._parts.shown(inputs, chosen, self.number)


def _ranked(scores: Array) -> list[int]:
    """Places from the best to the worst; of equals the first."""
    return sorted(range(len(scores)), key=lambda place: -scores[place])
