"""What was chosen, and all that was measured on the way there."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from mtiprompt.evaluation.prices import Price
from mtiprompt.plan import Plan
from mtiprompt.planner.candidate import Candidate, Objective
from mtiprompt.planner.rules import Rule
from mtiprompt.planner.timing import Timing, fit
from mtiprompt.wire import Usage

TOKENS = Price("tokens", prompt=1e-6, cached=1e-7, completion=5e-6)
"""Where a model has no price: a written token at five read ones, a cached one at a tenth."""


@dataclass(frozen=True)
class Choice:
    """What `choose_plan` found.

    Attributes:
        plan: The plan to run.
        candidates: All that were measured, the split plan first; it alone, on no row, where there
            was nothing to choose from.
        rule: `guarantee` or `expected`.
        margin: The loss that each task may have.
        confidence: Of the guarantee, and of the intervals.
        objective: What was to be small: `cost` or `seconds`; or large: `throughput`.
        spent: What measuring cost.
        rows: Rows at hand; those that ask the same count once.
        agreement: The tasks without gold, for which agreement with the split plan was measured.
        exhausted: Whether the budget ended the search.
        price: Of a token.
    """

    plan: Plan
    candidates: tuple[Candidate, ...]
    rule: Rule
    margin: float
    confidence: float
    objective: Objective
    spent: Usage
    rows: int
    agreement: tuple[str, ...]
    exhausted: bool
    price: Price = field(default=TOKENS)

    @property
    def chosen(self) -> Candidate:
        """The candidate whose plan was chosen."""
        return next(one for one in self.candidates if one.plan == self.plan)

    def plain(self) -> dict[str, Any]:
        """What was found as plain JSON data."""
        return {
            "chosen": self.chosen.name,
            "rule": self.rule,
            "margin": self.margin,
            "confidence": self.confidence,
            "objective": self.objective,
            "rows": self.rows,
            "agreement": list(self.agreement),
            "exhausted": self.exhausted,
            "spent": self.spent.plain(),
            "pays_after": self.pays_after,
            "price": asdict(self.price),
            "timing": None if self.timing is None else asdict(self.timing),
            "candidates": [self._told(one) for one in self.candidates],
        }

    def _told(self, one: Candidate) -> dict[str, Any]:
        """A candidate as plain JSON data."""
        times = None
        if self.timing is not None and one.rows:
            price, most = one.price, len(one.plan.call_groups)
            times = {
                "one_after_the_other": price.foretold(self.timing),
                "at_the_same_time": price.foretold(self.timing, flight=most),
            }
        return {
            "name": one.name,
            "verdict": one.verdict,
            "reason": one.reason,
            "price": one.price.plain(),
            "seconds_foretold": times,
            "tasks": {
                name: {
                    "verdict": task.verdict,
                    "n": task.n,
                    "loss": task.loss if task.n else None,
                    "expected": task.expected,
                    "interval": list(task.interval),
                }
                for name, task in one.tasks.items()
            },
        }

    @cached_property
    def timing(self) -> Timing | None:
        """How the time of a call follows from its tokens; None: the calls made do not tell."""
        return fit(call for one in self.candidates for call in one.price.seen)

    @property
    def pays_after(self) -> int | None:
        """Rows after which measuring has paid for itself; None: never, it saves no dollars."""
        before, now = (one.dollars_cached for one in (self.chosen.split, self.chosen.price))
        if before is None or now is None or now >= before:
            return None
        return math.ceil(self.price.cost(self.spent) / (before - now))
