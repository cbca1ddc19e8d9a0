"""What is known of a search before its first call: what there is to try, and what that takes."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mtiprompt.dataset import Row
from mtiprompt.plan import Plan
from mtiprompt.planner.groupings import Pins
from mtiprompt.planner.profile import without_gold
from mtiprompt.planner.rules import FEWEST, Rule
from mtiprompt.program import Program
from mtiprompt.selection.choose import folded
from mtiprompt.wire import Notation


@dataclass(frozen=True)
class Ahead:
    """What a search can try.

    Attributes:
        free: The tasks that may be fused; none where no two may share a call.
        options: The options of a plan that may be tried, by what they are in words.
        first: The first plan that is measured beside split; None: there is no choice.
        untried: What is not tried, and why, in words; empty if all is.
        least: Calls that a verdict on a plan takes at least; 0: on none that is not pinned.
    """

    free: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]]
    first: Plan | None
    untried: str
    least: int


def look_ahead(
    program: Program,
    rows: Sequence[Row],
    split: Plan,
    pins: Pins,
    options: Mapping[str, Mapping[str, Any]],
    rule: Rule,
) -> Ahead:
    """What a search can try, and what it takes.

    Args:
        program: The program.
        rows: The rows.
        split: The plan that the others are compared with.
        pins: What the user has settled.
        options: Those that are wanted, by what they are in words.
        rule: Under `expected` nothing is tried of which a task has too few observations.
    """
    base = split.replace(program, call_groups=pins.split())
    unlike = {told: base.replace(program, **one) for told, one in options.items()}
    unlike = {told: plan for told, plan in unlike.items() if plan != base}
    if base == split and not unlike and pins.first(program.order) == pins.split():
        return Ahead((), {}, None, _settled(program), 0)
    sizes = {1, *(plan.items_per_call for plan in unlike.values())}
    few = {size: _few(observations(program, rows, size), rule) for size in sizes}
    still = _still(program, pins, few[1])
    free = tuple(name for name in program.order if name not in still)
    grouping = pins.first(free)
    fused = base.replace(program, call_groups=grouping)
    tried = {told: one for told, one in unlike.items() if not few[one.items_per_call]}
    plans = [one for one in (fused, *tried.values()) if one != split]
    judged = [one for one in plans if one != base]
    return Ahead(
        free=free if fused != base else (),
        options={told: options[told] for told in tried},
        first=plans[0] if plans else None,
        untried="; ".join(_untried(few, unlike, still)),
        least=_least(split, judged[0], len(rows), rule) if judged else 0,
    )


def options_of(
    items: Sequence[int], notations: Sequence[Notation], *, short_keys: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The options of a plan to try one after the other, each with what it is in words.

    Args:
        items: Numbers of items in a call.
        notations: Notations of the answer.
        short_keys: Whether letters as the keys of a reply are wanted.
    """
    for number in items:
        yield f"{number} items a call", {"items_per_call": number}
    for notation in notations:
        yield str(notation), {"notation": notation}
    if short_keys:
        yield "short keys", {"short_keys": True}


def distinct(program: Program, rows: Iterable[Row]) -> tuple[Row, ...]:
    """Of rows that ask the same, up to blanks and case, the first: they are one observation.

    It has the gold that the others have for further tasks.

    Args:
        program: The program, which says what stands for inputs that are left out.
        rows: The rows.
    """
    found: dict[Hashable, Row] = {}
    for row in rows:
        asked = folded(program.filled(row.inputs))
        first = found.get(asked, row)
        found[asked] = replace(first, outputs={**row.outputs, **first.outputs})
    return tuple(found.values())


def observations(program: Program, rows: Sequence[Row], size: int = 1) -> dict[str, int]:
    """How many differences of each task a search can see at most.

    Args:
        program: The program.
        rows: The rows.
        size: Items in a call, which are one observation.
    """
    bare = without_gold(program, rows)
    calls = [rows[stop - size : stop] for stop in range(size, len(rows) + 1, size)]
    return {
        name: sum(name in bare or any(name in row.outputs for row in call) for call in calls)
        for name in program.order
    }


def _few(seen: Mapping[str, int], rule: Rule) -> dict[str, int]:
    """The tasks of which nothing can be said, with their observations."""
    if rule == "guarantee":
        return {}
    return {name: number for name, number in seen.items() if number < FEWEST}


def _still(program: Program, pins: Pins, few: Iterable[str]) -> list[str]:
    """The tasks of calls that must stay as they are: of these, and of all whose answers they take.

    A task of which nothing can be said is found safe only where it is asked as with the pins alone.
    """
    still: set[str] = set()
    waiting = set(few)
    while waiting:
        still |= waiting
        calls = {one for name in waiting for one in pins.unit(name)}
        waiting = calls.union(*map(program.upstream, calls)) - still
    return [name for name in program.order if name in still]


def _untried(
    few: Mapping[int, Mapping[str, int]], wanted: Mapping[str, Plan], still: Sequence[str]
) -> Iterator[str]:
    """Of which tasks nothing can be said, and what is not tried for that."""
    for size, tasks in sorted(few.items()):
        if not tasks or (size > 1 and few[1]):
            continue
        counts = " and ".join(
            f"{number} of {', '.join(name for name, one in tasks.items() if one == number)}"
            for number in sorted(set(tasks.values()))
        )
        needs = f"the rule expected says nothing of a task before {FEWEST} observations"
        stay = f"; {', '.join(still)} stay as they are" if set(still) - tasks.keys() else ""
        out = [told for told, one in wanted.items() if few[1] or one.items_per_call == size]
        not_tried = f"; not tried: {', '.join(out)}" if out else ""
        yield f"{needs}, and there are {counts}{stay}{not_tried}"


def _settled(program: Program) -> str:
    """Why there is one plan only, however many observations there are."""
    if len(program.order) == 1:
        return "there is one task, and nothing else to try"
    return "no two tasks may share a call, and there is nothing else to try"


def _least(split: Plan, first: Plan, rows: int, rule: Rule) -> int:
    """Calls that a verdict on a plan takes at least, repairs left out."""
    alone, size = len(split.call_groups), first.items_per_call
    alike = replace(first, call_groups=split.call_groups) == split
    new = sum(not alike or group not in split.call_groups for group in first.call_groups)
    if rule == "guarantee":
        return alone * max(min(FEWEST, rows), size) + 1
    return FEWEST * (alone * size + new)
