"""Tasks taken out of their calls, and the plan in which every task is alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mtiprompt.combine import Combined
from mtiprompt.plan import Group, Plan


def in_company(plan: Plan) -> tuple[str, ...]:
    """The tasks that are not answered alone: with others, or for several items at once.

    Args:
        plan: How a program is run.
    """
    return tuple(
        name
        for group in plan.call_groups
        if len(group.tasks) > 1 or plan.items_per_call > 1
        for name in group.tasks
    )


def split(program: Combined, plan: Plan) -> Plan:
    """A plan with every task, and every item, in a call of its own; all else stays.

    Args:
        program: The program.
        plan: The plan that it is the rival of.
    """
    return unfused(program, plan, program.order)


def unfused(program: Combined, plan: Plan, apart: Iterable[str]) -> Plan:
    """A plan with some tasks in calls of their own.

    The others of a call stay together, unless one of them takes the answer of a task that leaves
    and another gives it one: then these part too. As nobody knows whether a task suffers from other
    tasks or from other items, a plan with several items in a call goes back to one.

    Args:
        program: The program.
        plan: The plan, which fits it.
        apart: The tasks that leave; without any, the plan stays as it is.
    """
    leaving = [name for name in program.order if name in set(apart)]
    if not leaving:
        return plan
    groups = [
        Group(part, group.model)
        for group in plan.call_groups
        for part in _parts(program, group.tasks, leaving)
    ]
    return plan.replace(program, call_groups=groups, items_per_call=1)


def _parts(
    program: Combined, tasks: tuple[str, ...], leaving: Sequence[str]
) -> list[tuple[str, ...]]:
    """The calls that a call becomes."""
    first = next((name for name in leaving if name in tasks), None)
    if first is None or len(tasks) == 1:
        return [tasks]
    rest = tuple(name for name in tasks if name != first)
    after = tuple(name for name in rest if first in _sources(program, name))
    before = tuple(name for name in rest if name not in after)
    is_circle = after and _sources(program, first) & set(before)
    parts = [before, after] if is_circle else [rest]
    return [(first,), *(call for part in parts for call in _parts(program, part, leaving))]


def _sources(program: Combined, task: str) -> set[str]:
    """All tasks that a task's answer comes from."""
    direct = program.upstream(task)
    return set(direct).union(*(_sources(program, one) for one in direct))
