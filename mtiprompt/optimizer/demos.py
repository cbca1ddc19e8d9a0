"""Demonstrations to choose from: labelled rows, and what a model answered rightly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mtiprompt.combine import Combined
from mtiprompt.dataset import Row
from mtiprompt.errors import DataError
from mtiprompt.plan import Demo, make_demo


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
