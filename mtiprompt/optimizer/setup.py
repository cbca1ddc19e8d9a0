"""What a search is about, checked before the first call: rows, demonstrations, space."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from mtiprompt.dataset import Row, read_rows
from mtiprompt.errors import DataError
from mtiprompt.evaluation.arms import Arm
from mtiprompt.evaluation.checks import check
from mtiprompt.optimizer.bootstrap import bootstrapped, draw_rows, first_pool
from mtiprompt.optimizer.demos import make_pool
from mtiprompt.optimizer.measuring import Measuring
from mtiprompt.optimizer.space import USUAL, Part, Space
from mtiprompt.plan import Plan
from mtiprompt.planner.groupings import Pins
from mtiprompt.program import Program
from mtiprompt.tasks import Metric

POOL = 24
"""Demonstrations to choose from, unless an argument says otherwise: as many as a few hundred calls
can tell apart."""
SHELF = 256
"""Demonstrations, at most, that those for an item are selected from; a plan holds them all."""


@dataclass(frozen=True)
class Setup:
    """What a search is about.

    Attributes:
        program: The program.
        rows: Rows to score points on; each has gold for every task.
        space: Where the points lie.
        own: Rows that the model answers before the search, to learn from what it gets right.
    """

    program: Program
    rows: tuple[Row, ...]
    space: Space
    own: tuple[Row, ...] = ()

    @staticmethod
    def of(
        program: Program,
        train: Iterable[Row | Mapping[str, Any]],
        dev: Iterable[Row | Mapping[str, Any]],
        *,
        plan: Plan | None = None,
        most: int = 4,
        pool: int = POOL,
        bootstrap: int = 0,
        vary: Collection[Part] = USUAL,
        variants: Mapping[str, Sequence[str]] | None = None,
        together: Iterable[Sequence[str]] = (),
        apart: Iterable[Sequence[str]] = (),
        metrics: Mapping[str, Metric] | None = None,
        concurrency: int = 1,
        seed: int = 0,
    ) -> Setup:
        """Check the arguments of `optimize`, whose names these are.

        Raises:
            DataError: A row, a number or a name makes no sense.
            PlanError: The plan is for another program.
        """
        _check(most=most, pool=pool, bootstrap=bootstrap, vary=vary)
        base = Plan.fused(program) if plan is None else plan
        rows = _labelled(program, dev)
        check(program, rows, [Arm("plan", base)], metrics, concurrency=concurrency, confidence=0.95)
        _check_plan(base)
        given = list(train)
        drawn = draw_rows(
            read_rows(program, given) if given else (),
            max(pool, bootstrap, SHELF),
            seed=seed,
            barred=rows,
        )
        whole = [row for row in drawn if row.outputs.keys() >= program.tasks.keys()]
        if base.select and frozenset(vary) == USUAL:
            vary = USUAL - {"demos", "select"}
        space = Space(
            program,
            first_pool(program, drawn[:pool], base),
            base,
            most=most,
            vary=frozenset(vary),
            variants=variants or {},
            pins=Pins(program, together, apart),
            shelf=make_pool(program, whole[: SHELF if pool else 0]).demos,
        )
        return Setup(program, rows, space, tuple(drawn[:bootstrap]))

    def with_own(self, measuring: Measuring) -> Setup:
        """The same, with demonstrations of what the model answers right; `own` is used up.

        Raises:
            IncompleteRun: Calls failed for good.
            ModelError: The model cannot be used at all.
        """
        if not self.own:
            return self
        pool = bootstrapped(self.space, self.own, measuring)
        return replace(self, space=replace(self.space, pool=pool), own=())


def _labelled(program: Program, rows: Iterable[Row | Mapping[str, Any]]) -> tuple[Row, ...]:
    """The rows that have gold for every task."""
    read = read_rows(program, rows)
    whole = tuple(row for row in read if row.outputs.keys() >= program.tasks.keys())
    if not whole:
        raise DataError(
            f"none of {len(read)} rows of dev has gold for every task",
            hint="the search scores every task on every row: label some, or leave tasks out",
        )
    return whole


def _check(*, most: Any, pool: Any, bootstrap: Any, vary: Any) -> None:
    for name, value in (("most", most), ("pool", pool), ("bootstrap", bootstrap)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise DataError(f"{name}={value!r:.80} makes no sense", hint="0 or more")
    known = get_args(Part)
    if isinstance(vary, str) or (unknown := [one for one in vary if one not in known]):
        shown = vary if isinstance(vary, str) else unknown[0]
        raise DataError(f"{shown!r:.80} cannot be varied", hint=f"a set of: {', '.join(known)}")
    if not vary:
        raise DataError("nothing is varied", hint=f"vary= some of: {', '.join(known)}")


def _check_plan(plan: Plan) -> None:
    if plan.items_per_call > 1:
        raise DataError(
            f"the plan puts {plan.items_per_call} items into a call, and points are scored one by "
            "one",
            hint="tune it with one item a call, then let mti.choose_plan try several",
        )
    if any(group.model for group in plan.call_groups):
        raise DataError(
            "the plan names models for its groups, and is tuned for one",
            hint="take the models out of the plan, and put them in again afterwards",
        )
