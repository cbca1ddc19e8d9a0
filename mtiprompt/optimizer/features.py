"""What of a point may bear on the score of a task, as columns of a linear model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from mtiprompt.optimizer.point import Point
from mtiprompt.optimizer.space import Space

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Column = tuple[str, str]
"""The kind of a column, such as `demo`, and which of it, such as the id of the row."""


class Features:
    """The columns of a space: demonstrations shown, their number, the task's place in its call.

    Attributes:
        space: The space.
        columns: The columns. The first, `level`, is 1 for every point.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.columns: tuple[Column, ...] = tuple(self._columns())
        self._place = {column: n for n, column in enumerate(self.columns)}
        self._known: dict[Point, Array] = {}

    def _columns(self) -> Iterator[Column]:
        space, tasks = self.space, self.space.program.order
        yield "level", ""
        if "demos" in space.vary:
            yield from (("demo", id) for id in space.pool.ids)
            yield from (("number", which) for which in ("any", "more"))
        yield from (("select", one.way) for one in space.selections)
        if len(tasks) > 1 and {"order", "grouping"} & space.vary:
            yield from (("place", str(n)) for n in range(len(tasks)))
            yield from (("after", name) for name in tasks)
        if "grouping" in space.vary:
            yield "size", ""
            yield from (("with", name) for name in tasks)
        if "reasoning" in space.vary:
            yield "reasoning", ""
        if "notation" in space.vary:
            yield from (("notation", str(one)) for one in space.notations)
        if "instructions" in space.vary:
            longest = max(map(len, space.variants.values()), default=0)
            yield from (("instruction", str(n + 1)) for n in range(longest))

    @cached_property
    def demo_columns(self) -> dict[str, int]:
        """The column of each demonstration."""
        return {id: n for n, (kind, id) in enumerate(self.columns) if kind == "demo"}

    def of(self, point: Point) -> Array:
        """One row for each task of the program, in its order, one column for each of `columns`."""
        import numpy as np

        if point not in self._known:
            tasks = self.space.program.order
            rows = np.zeros((len(tasks), len(self.columns)))
            shown = {id: self.space.shown_to(point, id) for id in point.demos}
            for row, task in zip(rows, tasks, strict=True):
                for column, value in self._values(point, task, shown).items():
                    if column in self._place:
                        row[self._place[column]] = value
            self._known[point] = rows
        return self._known[point]

    def _values(
        self, point: Point, task: str, shown: Mapping[str, frozenset[str]]
    ) -> dict[Column, float]:
        """What is not zero of a task."""
        group = next(one for one in point.groups if task in one)
        place = group.index(task)
        values: dict[Column, float] = {("level", ""): 1.0, ("place", str(place)): 1.0}
        mine = [id for id in point.demos if task in shown[id]]
        values |= {("demo", id): 1.0 for id in mine}
        values |= self.number_values(point.select.number if point.select else len(mine))
        if point.select:
            values["select", point.select.way] = 1.0
        if place:
            values["after", group[place - 1]] = 1.0
        values["size", ""] = (len(group) - 1) / max(1, len(self.space.program.order) - 1)
        values |= {("with", name): 1.0 for name in group if name != task}
        values["reasoning", ""] = float(self.space.reasons(point, task))
        values["notation", str(point.notation)] = 1.0
        values["instruction", str(dict(point.instructions).get(task, 0))] = 1.0
        return values

    def number_values(self, number: int) -> dict[Column, float]:
        """The columns that a number of demonstrations sets."""
        more = (number - 1) / max(1, self.space.most - 1) if number else 0.0
        return {("number", "any"): float(number > 0), ("number", "more"): more}

    def place(self, column: Column) -> int:
        """Where a column stands."""
        return self._place[column]
