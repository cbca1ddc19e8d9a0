"""What a search is about, checked before the first call: rows, demonstrations, space."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, get_args

from mtiprompt.checks import check_mapping, check_program, check_whole, read_groups, read_names
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
from mtiprompt.selection import Select
from mtiprompt.selection.choose import folded
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
        rows: Rows to score points on; each has gold for every task, and no two have the same
            inputs up to blanks and case: one would be fresh and searched at once.
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
        embeddings: str | None = None,
        metrics: Mapping[str, Metric] | None = None,
        concurrency: int = 1,
        seed: int = 0,
    ) -> Setup:
        """Check the arguments of `optimize`, whose names these are.

        Raises:
            DataError: A row, a number or a name makes no sense.
            PlanError: The plan is none, or for another program.
            ModelError: The embedding model cannot be loaded.
        """
        check_program(program)
        check_whole(0, most=most, pool=pool, bootstrap=bootstrap, seed=seed)
        varied = _parts(vary)
        variants = {} if variants is None else variants
        check_mapping('{"mood": ["Judge the mood."]}', variants=variants)
        pins = Pins(program, read_groups("together", together), read_groups("apart", apart))
        base = _start(program, pins) if plan is None else plan
        rows = _labelled(program, dev)
        check(program, rows, [Arm("plan", base)], metrics, concurrency=concurrency, confidence=0.95)
        _check_plan(base)
        learnt: Any = train
        given = list(learnt) if isinstance(learnt, Iterable) else learnt
        read = () if given == [] else read_rows(program, given, "train")
        drawn = draw_rows(program, read, len(read), seed=seed, barred=rows)
        asked = [group.tasks for group in base.call_groups]
        alone = [pins.unit(name) for name in program.order]
        able = _showable(program, drawn, alone if "grouping" in varied else asked)
        if base.select and varied == USUAL:
            varied = USUAL - {"demos", "select"}
        if embeddings is not None:
            _check_embeddings(embeddings, base, selects="select" in varied and most > 0 < pool)
        space = Space(
            program,
            first_pool(program, able[:pool], base),
            base,
            most=most,
            vary=varied,
            variants=read_names(variants, "variants"),
            pins=pins,
            shelf=make_pool(program, able[: SHELF if pool else 0]).demos,
            embeddings=embeddings,
        )
        if not space.allows(space.start.groups):
            raise DataError(
                "the plan to improve on does not keep to together= or apart=",
                hint="start from one that does, or leave the plan out",
            )
        own = tuple(able[:bootstrap])
        if not space.has_choice and not (own and most and "demos" in varied):
            raise DataError(
                f"there is nothing to choose from by varying {', '.join(sorted(varied))}",
                hint="give rows of train with gold for all tasks of a call, several tasks or "
                "variants=, or vary something else",
            )
        return Setup(program, rows, space, own)

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


def _check_embeddings(embeddings: str, base: Plan, *, selects: bool) -> None:
    """Load the embedding model before a call is made; refuse one that selects nothing."""
    if base.select:
        raise DataError(
            "the plan selects demonstrations already, and embeddings would change nothing",
            hint="leave embeddings out, or start from a plan without select",
        )
    if not selects:
        raise DataError(
            f"embeddings is {embeddings!r:.80}, and demonstrations are not selected for each item",
            hint="vary select among others, with most= and pool= above 0, or leave embeddings out",
        )
    Select(embeddings=embeddings).check()


def _showable(program: Program, rows: Iterable[Row], groups: Iterable[Sequence[str]]) -> list[Row]:
    """The rows that have gold for all that some call of these groups would show of them."""
    needed = [{*group, *chain.from_iterable(map(program.upstream, group))} for group in groups]
    return [row for row in rows if any(row.outputs.keys() >= one for one in needed)]


def _labelled(program: Program, rows: Iterable[Row | Mapping[str, Any]]) -> tuple[Row, ...]:
    """The rows that have gold for every task; of those that ask the same thing the first."""
    read = read_rows(program, rows, "dev")
    whole = [row for row in read if row.outputs.keys() >= program.tasks.keys()]
    if not whole:
        raise DataError(
            f"none of {len(read)} rows of dev has gold for every task",
            hint="the search scores every task on every row: label some, or leave tasks out",
        )
    first: dict[Hashable, Row] = {}
    for row in whole:
        first.setdefault(folded(program.filled(row.inputs)), row)
    if len(first) == 1 < len(whole):
        raise DataError(
            f"one row is left of {len(whole)} of dev, as they have the same inputs",
            hint="give rows that differ: plans are searched on some and confirmed on others",
        )
    return tuple(first.values())


def _parts(vary: Any) -> frozenset[Part]:
    """What is varied."""
    known = get_args(Part)
    single = isinstance(vary, str) or not isinstance(vary, Iterable)
    parts = [vary] if single else list(vary)
    if refused := [one for one in parts if single or one not in known]:
        raise DataError(
            f"{refused[0]!r:.80} cannot be varied", hint=f"a set of: {', '.join(known)}"
        )
    if not parts:
        raise DataError("nothing is varied", hint=f"vary= some of: {', '.join(known)}")
    return frozenset(parts)


def _start(program: Program, pins: Pins) -> Plan:
    """As many tasks in one call as pins allow."""
    if not pins.apart:
        return Plan.fused(program)
    return Plan.groups(program, pins.largest([], program.order))


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
