"""What a measurement of scaling found: differences, curves, costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mtiprompt import stats
from mtiprompt.experiments.scaling.curve import METHOD, Curve, fit
from mtiprompt.experiments.scaling.design import SWEEPS, Sweep
from mtiprompt.experiments.scaling.slots import Cost, Slot, by_item, mean_cost
from mtiprompt.experiments.scaling.sources import KINDS, Kind
from mtiprompt.stats import CONFIDENCE, Estimate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mtiprompt.report.parts import Part, Table


@dataclass(frozen=True)
class Line:
    """Score against size, of all slots of a sweep or of those of one kind.

    Attributes:
        sweep: What grew.
        kind: The kind of output; None: all.
        differences: Score together less score alone by size, n counting items.
        slots: How many slots were measured, by size.
        curve: The fitted curve.
    """

    sweep: Sweep
    kind: Kind | None
    differences: Mapping[int, Estimate]
    slots: Mapping[int, int]
    curve: Curve

    @property
    def begins(self) -> int | None:
        """The smallest size whose difference has an interval below 0; None: there is none."""
        return next((size for size, one in self.differences.items() if one.interval.high < 0), None)

    @property
    def largest(self) -> int:
        """The largest size."""
        return max(self.differences)

    def plain(self) -> dict[str, Any]:
        """As plain JSON data; a knee, or an end of its interval, that is beyond all is None."""
        curve = self.curve
        return {
            "begins": self.begins,
            "knee": curve.knee,
            "knee_interval": [_finite(one) for one in curve.knee_interval],
            "slope": curve.slope,
            "slope_interval": [_finite(one) for one in curve.slope_interval],
            "sizes": {
                str(size): one.plain() | {"slots": self.slots[size]}
                for size, one in self.differences.items()
            },
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Findings:
    """What was measured.

    Attributes:
        slots: Every slot that shared a call, beside the same slot alone.
        tasks: The tasks that were asked, by data set.
        model: The name of the model.
        demos: Demonstrations in each call.
        held_back: By data set, how many train rows are none, as a test row has the same inputs of
            all tasks or of one.
        serial: Whether calls followed each other.
        seed: The seed; it also draws the resamples behind the intervals of the curve.
        confidence: Of the intervals.
    """

    slots: tuple[Slot, ...] = field(repr=False)
    tasks: Mapping[str, tuple[str, ...]]
    model: str
    demos: int = 0
    serial: bool = True
    seed: int = 0
    confidence: float = CONFIDENCE
    held_back: Mapping[str, int] = field(default_factory=dict)

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """What grew."""
        there = {one.sweep for one in self.slots}
        return tuple(sweep for sweep in SWEEPS if sweep in there)

    @cached_property
    def lines(self) -> dict[Sweep, dict[Kind | None, Line]]:
        """The lines by sweep and kind of output; under None that of all slots."""
        found: dict[Sweep, dict[Kind | None, Line]] = {}
        for sweep in self.sweeps:
            slots = self.of(sweep)
            there = {one.kind for one in slots}
            kinds = [kind for kind in KINDS if kind in there]
            found[sweep] = {None: self._line(sweep, None, slots)}
            for kind in kinds:
                of_kind = [one for one in slots if one.kind == kind]
                found[sweep][kind] = self._line(sweep, kind, of_kind)
        return found

    def of(self, sweep: Sweep, size: int | None = None) -> tuple[Slot, ...]:
        """The slots of a sweep, all or of one size."""
        return tuple(one for one in self.slots if one.sweep == sweep and size in {None, one.size})

    def sizes(self, sweep: Sweep) -> tuple[int, ...]:
        """The sizes of a sweep above 1."""
        return tuple(sorted({one.size for one in self.of(sweep)}))

    def positions(self, sweep: Sweep, size: int) -> dict[int, Estimate]:
        """Score together less score alone by position in the call, counted from 1."""
        slots = self.of(sweep, size)
        return {
            position: self._difference([one for one in slots if one.position == position])
            for position in sorted({one.position for one in slots})
        }

    def costs(self, sweep: Sweep) -> dict[int, tuple[Cost, Cost]]:
        """By size, the mean cost of a slot together, and that of the same slots alone."""
        return {
            size: (
                mean_cost([one.cost for one in self.of(sweep, size)]),
                mean_cost([one.alone_cost for one in self.of(sweep, size)]),
            )
            for size in self.sizes(sweep)
        }

    def _line(self, sweep: Sweep, kind: Kind | None, slots: Sequence[Slot]) -> Line:
        sizes = sorted({one.size for one in slots})
        cut = {size: [one for one in slots if one.size == size] for size in sizes}
        losses: dict[str, dict[int, float]] = {}
        for size in sizes:
            for item, (together, alone) in by_item(cut[size]).items():
                losses.setdefault(item, {})[size] = alone - together
        return Line(
            sweep=sweep,
            kind=kind,
            differences={size: self._difference(cut[size]) for size in sizes},
            slots={size: len(cut[size]) for size in sizes},
            curve=fit(list(losses.values()), seed=self.seed, confidence=self.confidence),
        )

    def _difference(self, slots: Sequence[Slot]) -> Estimate:
        pairs = by_item(slots).values()
        return stats.difference(
            [together for together, _ in pairs], [alone for _, alone in pairs], self.confidence
        )

    def tables(self) -> tuple[Table, ...]:
        """Differences, costs and positions of each sweep, to be shown."""
        from mtiprompt.experiments.scaling.shown import tables

        return tables(self)

    def parts(self) -> tuple[Part, ...]:
        """A report: the verdict in words, the tables, the charts, the methods."""
        from mtiprompt.experiments.scaling.shown import parts

        return parts(self)

    def plain(self) -> dict[str, Any]:
        """All figures as plain JSON data."""
        return {
            "model": self.model,
            "tasks": {name: list(tasks) for name, tasks in self.tasks.items()},
            "demos": self.demos,
            "held_back": dict(self.held_back),
            "serial": self.serial,
            "seed": self.seed,
            "confidence": self.confidence,
            "difference_method": stats.DIFFERENCE_METHOD,
            "curve_method": METHOD,
            "sweeps": {sweep: self._plain(sweep) for sweep in self.sweeps},
        }

    def _plain(self, sweep: Sweep) -> dict[str, Any]:
        lines = self.lines[sweep]
        return {
            "all": lines[None].plain(),
            "kinds": {kind: line.plain() for kind, line in lines.items() if kind is not None},
            "positions": {
                str(size): {
                    str(position): one.plain()
                    for position, one in self.positions(sweep, size).items()
                }
                for size in self.sizes(sweep)
            },
            "costs": {
                str(size): {"together": vars(together), "alone": vars(alone)}
                for size, (together, alone) in self.costs(sweep).items()
            },
            "failed": {
                str(size): sum(one.failed for one in self.of(sweep, size))
                for size in self.sizes(sweep)
            },
        }
