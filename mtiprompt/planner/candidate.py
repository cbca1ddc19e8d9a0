"""What the user wants of a plan, and a plan that was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mtiprompt.evaluation.prices import Price
from mtiprompt.plan import Plan
from mtiprompt.planner.price import PlanPrice
from mtiprompt.planner.rules import Rule, TaskFinding

Objective = Literal["cost", "seconds", "throughput"]


@dataclass(frozen=True)
class Candidate:
    """A plan that was measured.

    Attributes:
        name: `split`, `fused`, or what is in its calls.
        plan: The plan.
        verdict: `accepted`, `rejected`, `undecided`; `baseline`, for the split plan; `pinned`.
        reason: Why, in words.
        tasks: What is known of the loss of each task; empty for the baseline, and where nothing was
            measured.
        price: What it costs a row.
        split: What the split plan costs for the same rows.
        rows: Rows that it was run on; 0 for a pinned plan before which the budget ended.
    """

    name: str
    plan: Plan
    verdict: Literal["accepted", "rejected", "undecided", "baseline", "pinned"]
    reason: str
    tasks: Mapping[str, TaskFinding]
    price: PlanPrice
    split: PlanPrice
    rows: int


@dataclass(frozen=True)
class Wanted:
    """What the user wants; the arguments of `choose_plan`."""

    rule: Rule
    margin: float
    confidence: float
    p: float
    objective: Objective
    price: Price
    requests: float | None
    tokens: float | None
    concurrency: int
    error_cost: float = 0.0

    def worth(self, price: PlanPrice, tasks: Mapping[str, TaskFinding]) -> float:
        """What is to be small: what a row costs, and what is lost on it.

        Args:
            price: Of the plan.
            tasks: What is known of the loss of each task.
        """
        lost = sum(one.expected or 0.0 for one in tasks.values())
        return self._worth(price) + self.error_cost * lost

    def _worth(self, price: PlanPrice) -> float:
        if self.objective == "throughput":
            return -price.rows_a_minute(
                requests=self.requests, tokens=self.tokens, flight=self.concurrency
            )
        return price.longest if self.objective == "seconds" else price.dollars_cached or 0.0
