"""What a search gives back: the plan to run, and all that was measured on the way there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from mtiprompt import stats
from mtiprompt.errors import IncompleteRun
from mtiprompt.evaluation.prices import Price
from mtiprompt.optimizer.confirm import TaskGain
from mtiprompt.optimizer.effects import Effect
from mtiprompt.optimizer.foresee import on_shelf
from mtiprompt.optimizer.found import Found, Tried, front_of, weighted_front
from mtiprompt.optimizer.point import Point
from mtiprompt.optimizer.space import Space
from mtiprompt.plan import Plan
from mtiprompt.planner.choice import TOKENS
from mtiprompt.wire import Usage

STANDS_OUT = 2.0
"""Standard deviations from 0 below which an effect may well be noise."""


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
    def of(rows: Iterable[Usage]) -> Taken:
        """The mean over rows, of which there is one at least."""
        found = [
            (one.calls, one.prompt_tokens, one.cached_tokens, one.completion_tokens) for one in rows
        ]
        return Taken(*(sum(column) / len(found) for column in zip(*found, strict=True)))

    @staticmethod
    def beside(rows: Mapping[str, Usage], baseline: Mapping[str, Usage]) -> Taken:
        """What a row takes at a point, if it were run on the rows of the baseline.

        Points are run on different rows, which are longer and shorter: as much as the rows of the
        baseline take more than those of both is added. Each call reads its row anew, so what is
        read is added call by call; what is written follows the row, whatever shares a call.

        Args:
            rows: What rows take at the point, by id.
            baseline: What they take at the baseline.
        """
        both = rows.keys() & baseline.keys()
        if not both:
            return Taken.of(rows.values())
        mine, its = (Taken.of(part[id] for id in both) for part in (rows, baseline))
        calls = mine.calls / its.calls if its.calls else 1.0
        times = (calls, calls, calls, 1.0)
        parts = zip(mine, its, Taken.of(baseline.values()), times, strict=True)
        return Taken(*(max(0.0, own + n * (all - known)) for own, known, all, n in parts))

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
        taken: What a row takes, for each point that was measured, as if it were run on the rows of
            the baseline.
        spent: What it all cost, apart by stage (`bootstrap`, `search`, `confirm`, `repair`).
        rows: Rows that points were scored on.
        price: Of a token, by which points are priced.
    """

    plan: Plan
    found: Found
    space: Space = field(repr=False)
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

    @property
    def tasks(self) -> Mapping[str, TaskGain]:
        """What each task gains on the fresh pairs; empty without a confirmation."""
        confirmation = self.found.confirmation
        return {} if confirmation is None else confirmation.tasks

    @cached_property
    def front(self) -> tuple[Tried, ...]:
        """The points that no other beats in every task and in cost of a row; the cheapest first.

        By what each is believed to be worth to each task.
        """
        return front_of(self.found.tried, self.cost)

    @cached_property
    def weighted_front(self) -> tuple[Tried, ...]:
        """Those of the front with which no other is at least level by weighted worth and cost.

        The cheapest is first; each further one costs more and is believed to be worth more.
        """
        return weighted_front(self.front)

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
            "margin": found.options.margin,
            "verdict": found.verdict,
            "reason": found.reason,
            "losing": list(found.losing),
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
            "tried": [self._tried(one) for one in found.tried],
            "front": [
                self._tried(one) | {"weighted": one in self.weighted_front} for one in self.front
            ],
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

    def _tried(self, one: Tried) -> dict[str, Any]:
        return self._point(one.point) | {
            "items": one.items,
            "score": one.score,
            "worth": one.worth._asdict(),
            "tasks": {
                name: {"score": task.score, "worth": task.worth._asdict()}
                for name, task in one.tasks.items()
            },
        }

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

    def __init__(
        self, message: str, tuned: Tuned, *, items: Sequence[str], hint: str | None
    ) -> None:
        super().__init__(message, items=items, hint=hint)
        self.tuned = tuned
