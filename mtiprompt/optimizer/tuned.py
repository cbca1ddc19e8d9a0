"""What a search gives back: the plan to run, and all that was measured on the way there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from mtiprompt import stats
from mtiprompt.errors import IncompleteRun
from mtiprompt.evaluation.prices import Price
from mtiprompt.optimizer.effects import Effect
from mtiprompt.optimizer.foresee import on_shelf
from mtiprompt.optimizer.found import Found, Tried
from mtiprompt.optimizer.point import Point
from mtiprompt.optimizer.space import Space
from mtiprompt.plan import Plan
from mtiprompt.planner.choice import TOKENS
from mtiprompt.stats import Estimate
from mtiprompt.wire import Usage

STANDS_OUT = 2.0
"""Standard deviations from 0 below which an effect may well be noise."""


class TaskGain(NamedTuple):
    """What a task gains, on the fresh pairs.

    Attributes:
        before: Its mean score with the baseline.
        after: With the candidate.
        gain: The mean paired difference.
    """

    before: float
    after: float
    gain: Estimate


class Taken(NamedTuple):
    """What a row takes at a point, when every call is paid.

    Attributes:
        calls: Calls, repairs included.
        read: Tokens of the prompts.
        cached: Those of them that the provider had in its cache.
        written: Tokens of the replies.
    """

    calls: float
    read: float
    cached: float
    written: float

    @staticmethod
    def of(usage: Usage, rows: int) -> Taken:
        """A row's share of what some took together."""
        return Taken(
            usage.calls / rows,
            usage.prompt_tokens / rows,
            usage.cached_tokens / rows,
            usage.completion_tokens / rows,
        )

    def cost(self, price: Price) -> float:
        """What a row costs without a prompt cache."""
        return self.read * price.prompt + self.written * price.completion


@dataclass(frozen=True)
class Tuned:
    """What `optimize` found.

    Attributes:
        plan: The plan to run: the candidate's if it showed what the rule asks for, else that of
            before.
        found: What the search came to, point by point.
        space: Where the points lie; it gives the plan of any of them.
        tasks: What each task gains on the fresh pairs; empty without a confirmation.
        taken: What a row takes, for each point that was measured.
        spent: What it all cost, apart by stage (`bootstrap`, `search`, `confirm`, `repair`).
        rows: Rows that points were scored on.
        price: Of a token, by which points are priced.
    """

    plan: Plan
    found: Found
    space: Space = field(repr=False)
    tasks: Mapping[str, TaskGain]
    taken: Mapping[Point, Taken] = field(repr=False)
    spent: Usage
    rows: int
    price: Price = TOKENS

    @property
    def better(self) -> bool:
        """Whether the plan is another than the one to improve on."""
        return self.found.verdict == "gain"

    @property
    def candidate(self) -> Plan:
        """The plan that seemed best, confirmed or not."""
        return self.space.plan(self.found.candidate)

    @property
    def shelf(self) -> int:
        """Rows that demonstrations for single items could be selected from; 0: none could."""
        return len(on_shelf(self.space))

    @cached_property
    def front(self) -> tuple[Tried, ...]:
        """The points with which no other is at least level, by worth and by cost of a row.

        The cheapest is first; each further one costs more and is believed to be worth more.
        """
        kept: list[Tried] = []
        for one in sorted(
            self.found.tried, key=lambda one: (self.cost(one.point), -one.worth.gain)
        ):
            if not kept or one.worth.gain > kept[-1].worth.gain:
                kept.append(one)
        return tuple(kept)

    def cost(self, point: Point) -> float:
        """What a row costs at a point that was measured, without a prompt cache."""
        return self.taken[point].cost(self.price)

    def stands_out(self, effect: Effect) -> bool:
        """Whether an effect stands out from noise."""
        return abs(effect.mean) > STANDS_OUT * effect.sd

    def plain(self) -> dict[str, Any]:
        """What was found as plain JSON data."""
        found, confirmation = self.found, self.found.confirmation
        return {
            "rule": found.options.rule,
            "alpha": found.options.alpha,
            "p": found.options.p,
            "verdict": found.verdict,
            "reason": found.reason,
            "gain": None if confirmation is None else confirmation.gain.plain(),
            "difference_method": stats.DIFFERENCE_METHOD,
            "p_value": None if confirmation is None else confirmation.p_value,
            "expected_gain": {**found.worth._asdict(), "probability": found.worth.probability}
            if found.tried
            else None,
            "pruned": self._pruned(),
            "tasks": {
                name: {"before": one.before, "after": one.after, "gain": one.gain.plain()}
                for name, one in self.tasks.items()
            },
            "rows": self.rows,
            "pool": len(self.space.pool),
            "shelf": self.shelf,
            "baseline": self._point(found.baseline),
            "candidate": self._point(found.candidate),
            "tried": [
                self._point(one.point)
                | {"items": one.items, "score": one.score, "worth": one.worth._asdict()}
                for one in found.tried
            ],
            "front": [self._point(one.point) for one in self.front],
            "curve": [list(one) for one in found.curve],
            "effects": [
                {"task": one.task, "kind": one.column[0], "which": one.column[1],
                 "mean": one.mean, "sd": one.sd, "stands_out": self.stands_out(one)}
                for one in found.effects
            ],
            "spent": self.spent.plain()
            | {"by_stage": {name: one.plain() for name, one in self.spent.by_purpose.items()}},
            "price": asdict(self.price),
        }  # fmt: skip

    def _pruned(self) -> dict[str, Any] | None:
        pruned = self.found.pruned
        if pruned is None:
            return None
        change = pruned.difference
        return {
            "before": self._point(pruned.before),
            "after": self._point(pruned.after),
            "dropped": list(pruned.dropped),
            "tried": pruned.tried,
            "difference": None if change is None else change.plain(),
        }

    def _point(self, point: Point) -> dict[str, Any]:
        taken = self.taken.get(point)
        return {
            "point": json.loads(point.to_json()),
            "taken": None if taken is None else taken._asdict(),
        }


class SearchStopped(IncompleteRun):
    """Calls, or a metric, failed for good before a search was at its end.

    Attributes:
        tuned: What was found until then; its plan is the one to improve on, as nothing was
            settled, and `tuned.candidate` the one that seemed best.
    """

    def __init__(self, message: str, tuned: Tuned, *, items: Sequence[str], hint: str) -> None:
        super().__init__(message, items=items, hint=hint)
        self.tuned = tuned
