"""A program, a plan and a model, prepared for any number of items."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from mtiprompt.answers import Kept
from mtiprompt.combine import Combined
from mtiprompt.models.base import LanguageModel, Reuse
from mtiprompt.plan import Plan
from mtiprompt.render import GroupPrompt, group_prompt
from mtiprompt.wording import Templates

PROMPTS_KEPT = 256
"""Prompts for parts of groups that are kept for the next repair."""


@dataclass(frozen=True)
class Ready:
    """A program, a plan and a model, prepared; made once and used for every item.

    Attributes:
        program: The program.
        plan: The plan.
        models: The model of every group.
        templates: The templates in force.
    """

    program: Combined
    plan: Plan
    models: tuple[LanguageModel, ...]
    templates: Templates
    _prompts: dict[tuple[int, tuple[str, ...], bool], GroupPrompt] = field(default_factory=dict)

    @cached_property
    def kept(self) -> tuple[Kept | None, ...]:
        """For every group the answers that its model has kept one by one, if it keeps them."""
        return tuple(
            self._kept(number, model.reuse) if model.reuse else None
            for number, model in enumerate(self.models)
        )

    def _kept(self, group: int, reuse: Reuse) -> Kept:
        return Kept(
            reuse,
            self.models[group].identity,
            lambda task: self.prompt(group, (task,), grid=False),
            (self.plan.call_groups[group].tasks, self.plan.items_per_call),
        )

    def prompt(self, group: int, tasks: tuple[str, ...], *, grid: bool) -> GroupPrompt:
        """The prompt for some tasks of a group.

        Args:
            group: The index of the group.
            tasks: Its tasks, or some of them, in order.
            grid: Whether the reply has an object for each item.
        """
        found = self._prompts.get((group, tasks, grid))
        if found is None:
            if len(self._prompts) >= PROMPTS_KEPT:
                self._prompts.clear()
            support = self.models[group].support
            found = group_prompt(self.program, self.plan, tasks, support, self.templates, grid=grid)
            self._prompts[group, tasks, grid] = found
        return found
