"""The dry run: what a search would take, before a call is made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtiprompt import settings
from mtiprompt.dataset import Row, read_rows
from mtiprompt.evaluation.prices import Price
from mtiprompt.models.base import Support
from mtiprompt.models.example import example_of
from mtiprompt.plan import Plan
from mtiprompt.planner.ahead import distinct, look_ahead, options_of
from mtiprompt.planner.groupings import Pins
from mtiprompt.planner.rules import Rule
from mtiprompt.program import Program
from mtiprompt.render import GroupPrompt, group_prompt, write_json
from mtiprompt.wire import Notation, Usage
from mtiprompt.wording import Templates

CHARACTERS = 4
"""In a token, as in English."""


@dataclass(frozen=True)
class PlanEstimate:
    """What a plan would take for each row, without repairs.

    Attributes:
        calls: Calls.
        prompt: Tokens read.
        completion: Tokens written: those of the gold; where there is none, of the shortest answer.
    """

    calls: float
    prompt: float
    completion: float


@dataclass(frozen=True)
class Estimate:
    """What a search would take, at four characters a token.

    Attributes:
        rows: Rows at hand; those that ask the same count once.
        plans: By name: `split`, the first grouping that is tried if there is one, and it with
            several items.
        whole: The split plan and the first that is tried beside it on all rows: about as much as
            the search takes if nothing is decided before; each further plan comes on top. Nothing
            where there is no choice.
        untried: What is not tried, and why, in words; empty if all is.
        least: Calls that a verdict on a plan takes at least; 0: on none that is not pinned.
    """

    rows: int
    plans: Mapping[str, PlanEstimate]
    whole: Usage
    untried: str = ""
    least: int = 0

    def dollars(self, price: Price) -> float:
        """What `whole` costs without a prompt cache.

        Args:
            price: Of a token.
        """
        return price.cost(self.whole, caching=False)


def estimate(
    program: Program,
    rows: Iterable[Row | Mapping[str, Any]],
    *,
    demos: Iterable[Any] = (),
    together: Iterable[Sequence[str]] = (),
    apart: Iterable[Sequence[str]] = (),
    items: Sequence[int] = (),
    notations: Sequence[Notation] = (),
    short_keys: bool = False,
    rule: Rule = "expected",
) -> Estimate:
    """What `choose_plan` would take, before any call is made.

    Example:
        >>> import mtiprompt as mti
        >>> from mtiprompt.planner import estimate
        >>> program = mti.combine("text -> mood: Literal['good', 'bad']", "text -> word")
        >>> found = estimate(program, [{"inputs": {"text": f"Fine {n}!"}} for n in range(60)])
        >>> list(found.plans), found.whole.calls
        (['split', 'fused'], 180)

    Args:
        program: The program.
        rows: As for `choose_plan`.
        demos: As for `choose_plan`.
        together: As for `choose_plan`.
        apart: As for `choose_plan`.
        items: As for `choose_plan`.
        notations: As for `choose_plan`.
        short_keys: As for `choose_plan`.
        rule: As for `choose_plan`.

    Raises:
        DataError: A row or a pin makes no sense.
        PlanError: Demonstrations, notations or numbers of items do not fit.
    """
    found = distinct(program, read_rows(program, rows))
    split = Plan.split(program, demos=list(demos))
    pins = Pins(program, together, apart)
    options = dict(options_of(items, notations, short_keys=short_keys))
    ahead = look_ahead(program, found, split, pins, options, rule)
    grouping = pins.first(ahead.free)
    first = split.replace(program, call_groups=grouping)
    plans = {"split": split}
    if first != split:
        plans["fused" if len(grouping) == 1 else "first"] = first
    for number in items:
        plans[f"{number} items a call"] = first.replace(program, items_per_call=number)
    tried = [split, ahead.first] if ahead.first else []
    costs = {plan: _of_plan(program, plan, found) for plan in {*plans.values(), *tried}}
    parts = [costs[plan] for plan in tried]
    return Estimate(
        rows=len(found),
        plans={name: costs[plan] for name, plan in plans.items()},
        whole=Usage(
            calls=round(sum(one.calls for one in parts) * len(found)),
            prompt_tokens=round(sum(one.prompt for one in parts) * len(found)),
            completion_tokens=round(sum(one.completion for one in parts) * len(found)),
        ),
        untried=ahead.untried,
        least=ahead.least,
    )


def _of_plan(program: Program, plan: Plan, rows: Sequence[Row]) -> PlanEstimate:
    templates, size = Templates(settings.one("templates")), plan.items_per_call
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    read = written = 0.0
    for group in plan.call_groups:
        prompt = group_prompt(program, plan, group.tasks, Support(), templates, grid=size > 1)
        examples = example_of(dict(prompt.shape.schema.schema))
        for part in parts:
            gold = [_gold(program, row) for row in part]
            texts = {
                number: prompt.item(row.inputs, known)
                for number, (row, known) in enumerate(zip(part, gold, strict=True), start=1)
            }
            request = prompt.request(texts, "json_schema")
            read += _tokens(*(one.content for one in request.messages))
            written += sum(_written(prompt, known, examples) for known in gold)
    calls = len(parts) * len(plan.call_groups)
    return PlanEstimate(calls / len(rows), read / len(rows), written / len(rows))


def _gold(program: Program, row: Row) -> dict[str, dict[str, Any]]:
    """The gold of a row by task and output field."""
    found = {}
    for name, gold in row.outputs.items():
        fields = program.tasks[name].outputs
        found[name] = {fields[0].name: gold} if len(fields) == 1 else dict(gold)
    return found


def _written(
    prompt: GroupPrompt, gold: Mapping[str, Mapping[str, Any]], examples: Mapping[str, Any]
) -> float:
    """The tokens of the answer about an item."""
    answer = dict(examples)
    for slot in prompt.slots:
        known = gold.get(slot.task.name, {})
        for key, one in zip(slot.keys, slot.task.outputs, strict=True):
            if one.name in known:
                answer[key] = known[one.name]
    return _tokens(write_json(answer, prompt.notation))


def _tokens(*texts: str) -> int:
    return math.ceil(sum(len(one) for one in texts) / CHARACTERS)
