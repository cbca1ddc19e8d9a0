"""A program that carries the demonstrations it had in DSPy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mtiprompt.demo import Demo
from mtiprompt.plan import Plan
from mtiprompt.program import Program


@dataclass(frozen=True, eq=False)
class BroughtProgram(Program):
    """A program that was a DSPy program; made by `mti.from_dspy`.

    Attributes:
        demos: The demonstrations of its predictors, as whole rows.
    """

    demos: tuple[Demo, ...] = ()

    @cached_property
    def plan(self) -> Plan:
        """All tasks in one call, with the demonstrations: how it runs where no plan is given."""
        return Plan.fused(self, demos=self.demos)

    @cached_property
    def _fused(self) -> Plan:
        return self.plan
