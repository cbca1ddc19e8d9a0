"""What a search may pay: its calls, those kept for its end, and what an item of a point costs."""

from __future__ import annotations

from collections.abc import Iterable

from mtiprompt.optimizer.found import Options
from mtiprompt.optimizer.measured import Evaluation, Measured
from mtiprompt.optimizer.point import Point
from mtiprompt.optimizer.space import Space


class Allowance:
    """The calls of a search, of which a part is kept for fresh pairs and one for pruning.

    Args:
        space: The space.
        calls: How many calls may be paid.
        items: How many items there are; half of them at most are for fresh pairs.
        options: How to search.
        measured: What was measured: its calls are paid.

    Attributes:
        share: The part of the calls that the budget affords, as it has turned out; the parts of
            the search are those of so many calls.
        fresh: How many items are kept for fresh pairs.
        pruning: Calls that are kept for pruning; 0 once these are what may be paid.
        planned: Calls that what was measured was to take by the plans.
    """

    def __init__(
        self, space: Space, calls: int, items: int, options: Options, measured: Measured
    ) -> None:
        self._space, self._calls, self._options, self._measured = space, calls, options, measured
        self._pair = 2 * space.calls(space.start)
        self.share, self.planned = 1.0, 0
        self.fresh = max(0, min(self._pairs, items // 2))
        self.pruning = int(options.prune * calls) if "demos" in space.vary else 0

    @property
    def _pairs(self) -> int:
        """Fresh pairs that are to be paid, if the candidate takes as many calls as the baseline."""
        return self._options.pairs(self.share * self._calls, self._pair)

    @property
    def whole(self) -> float:
        """Calls for choosing a candidate, those made among them."""
        pairs = min(self._pairs, self.fresh)
        return self.share * (self._calls - self.pruning) - pairs * self._pair

    @property
    def left(self) -> float:
        """Calls that may still be made for choosing a candidate."""
        return self.whole - self._measured.calls

    @property
    def rest(self) -> float:
        """Calls that may still be made for anything."""
        return self.share * self._calls - self._measured.calls

    @property
    def extra(self) -> float:
        """Calls beyond the plans', for each of theirs: repairs, and those that failed."""
        return max(0.0, self._measured.calls / max(1, self.planned) - 1)

    def price(self, point: Point) -> float:
        """Calls for an item: the plan's, and as many further ones as there were so far."""
        return self._space.calls(point) * (1 + self.extra)

    def count(self, found: Iterable[Evaluation]) -> None:
        """Count what was measured as planned."""
        self.planned += sum(len(one.items) * self._space.calls(one.point) for one in found)
