"""The live table of a search: the best candidates so far, the calls and the time that are left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from mtiprompt.models.budget import Budget
    from mtiprompt.optimizer import Progress
    from mtiprompt.optimizer.point import Point

PAUSE = 30.0
"""Seconds between two lines where there is no terminal."""


class LiveSearch(ExitStack):
    """A search as it goes: a table on a terminal that is gone at the end, elsewhere single lines.

    Args:
        console: Where to.
        baseline: What candidates are told beside.
        budget: What may be spent.
        clock: Tells the time in seconds, for the pauses between lines.
    """

    def __init__(
        self,
        console: Console,
        baseline: Point,
        budget: Budget,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._console = console
        self._baseline = baseline
        self._budget = budget
        self._clock = clock
        self._said = clock()
        self._free = 0
        self._now: Progress | None = None

    def __enter__(self) -> Self:
        """Begin to show it."""
        if self._console.is_interactive:
            self.enter_context(Live(self, console=self._console, transient=True))
        return self

    def told(self, now: Progress) -> None:
        """Take note of how far the search is."""
        if not self._budget.passed:
            self._free = now.calls  # from a record or a cache: they say nothing of the pace
        self._now = now
        if not self._console.is_interactive and self._clock() - self._said >= PAUSE:
            self._said = self._clock()
            self._console.print(self._line(now), soft_wrap=True, markup=False)

    def __rich__(self) -> Table:
        """The table."""
        from mtiprompt.report.tried import give_or_take

        state = "begin" if self._now is None else self._state(self._now)
        table = Table(
            title=Text(state), title_justify="left", title_style="", box=SIMPLE_HEAD, expand=True
        )
        table.add_column("best so far", no_wrap=True, overflow="ellipsis", ratio=1)
        for name in ("expected gain", "rows", "cost"):
            table.add_column(name, justify="right", no_wrap=True)
        for one, cost in zip(self._now.best, self._now.costs, strict=True) if self._now else ():
            gain = give_or_take(one.worth.gain, one.worth.sd)
            table.add_row(Text(self._called(one.point)), gain, str(one.items), f"{cost:.0%}")
        return table

    def _line(self, now: Progress) -> str:
        from mtiprompt.report.figures import signed

        if now.leader is None:
            return self._state(now)
        return f"{self._state(now)}; {signed(now.gain)} with {self._called(now.leader)}"

    def _state(self, now: Progress) -> str:
        """How far it is, in calls and in time."""
        told = f"{now.stage}: {now.calls:,} of {now.most:,} calls, {now.most - now.calls:,} left"
        passed, left = self._budget.passed, self._budget.left.seconds
        told += f"; {_clocked(passed)} passed"
        if left < math.inf:
            return f"{told}, {_clocked(left)} left"
        if paid := now.calls - self._free:
            told += f", about {_clocked(passed / paid * (now.most - now.calls))} left"
        return told

    def _called(self, point: Point) -> str:
        from mtiprompt.report.tried import called

        return "before" if point == self._baseline else called(point, self._baseline)


def _clocked(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))
