"""The verdict in words: what the figures say by rules, and what they cannot say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from mtiprompt.evaluation.prices import Price
from mtiprompt.evaluation.run import Comparison
from mtiprompt.plan import Demo, Plan, Select
from mtiprompt.program import Program
from mtiprompt.report import figures
from mtiprompt.report.figures import difference, listed
from mtiprompt.stats import Estimate


def verdict(name: str, comparison: Comparison, prices: Mapping[str, Price]) -> Iterator[str]:
    """Sentences about a comparison, one paragraph each.

    A task counts as better or worse only where the interval of its paired difference excludes 0.
    Nothing is ever called equal: the largest loss that the interval leaves open is told instead.

    Args:
        name: What was measured.
        comparison: The figures.
        prices: Prices by the name of the model.
    """
    arms = [arm.name for arm in comparison.arms]
    yield _about(name, comparison, arms)
    if len(arms) == 1:
        yield f"{arms[0]} was measured alone, so there is nothing to compare it with."
        return
    for arm in arms[1:]:
        yield f"{arm} beside {comparison.baseline}: {_scores(comparison, arm)}"
    if failed := [_failed(comparison, arm) for arm in arms if comparison.scores[arm].failures]:
        yield f"Failed slots: {'; '.join(failed)}."
    yield " ".join(_costs(comparison, arms, prices))


def _about(name: str, comparison: Comparison, arms: list[str]) -> str:
    items = len(comparison.rows)
    return (
        f"{name}: {listed(arms)} answered the same {_counted(items)} with {comparison.model}; "
        f"demonstrations shown: {_demonstrations(comparison)}."
    )


def _demonstrations(comparison: Comparison) -> str:
    """How many a call shows; for each arm, where not all show the same ones to every task."""
    shown = [_shown(comparison.program, arm.plan) for arm in comparison.arms]
    told = [_numbers(one) for one in shown]
    if all(one == shown[0] for one in shown):
        return told[0]
    each = ", ".join(f"{arm.name} {how}" for arm, how in zip(comparison.arms, told, strict=True))
    return f"{each}; they are not the same ones, and may be why the arms differ"


class _Shown(NamedTuple):
    """Which demonstrations a call shows."""

    number: int
    of: frozenset[Demo]
    select: Select | None


def _shown(program: Program, plan: Plan) -> dict[str, _Shown]:
    """By task, what its call shows."""
    found: dict[str, _Shown] = {}
    for group in plan.call_groups:
        demos = plan.fitting(program, group.tasks)
        one = _Shown(min(len(demos), plan.shown), frozenset(demos), plan.select)
        found |= dict.fromkeys(group.tasks, one)
    return found


def _numbers(shown: Mapping[str, _Shown]) -> str:
    numbers = {one.number for one in shown.values()}
    least, most = min(numbers), max(numbers)
    return f"{least}" if least == most else f"{least} to {most}"


def _counted(items: int) -> str:
    return "1 item" if items == 1 else f"{items:,} items"


def _scores(comparison: Comparison, arm: str) -> str:
    found = {task: comparison.difference(arm, task) for task in comparison.program.order}
    found = {task: one for task, one in found.items() if one.n}
    if not found:
        return "no item has gold, so nothing can be said about scores."
    apart = {task: one for task, one in found.items() if figures.is_told_apart(one)}
    worse = [f"{task} ({difference(one)})" for task, one in apart.items() if one.interval.high < 0]
    better = [f"{task} ({difference(one)})" for task, one in apart.items() if one.interval.low > 0]
    open_ = {task: one for task, one in found.items() if task not in apart}
    said = [f"worse on {listed(worse)}"] if worse else []
    said += [f"better on {listed(better)}"] if better else []
    said += [_undecided(open_)] if open_ else []
    return f"{'; '.join(said)}. Mean of tasks: {difference(comparison.difference(arm))}."


def _undecided(found: Mapping[str, Estimate]) -> str:
    sizes = sorted({one.n for one in found.values()})
    items = _counted(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {_counted(sizes[-1])}"
    loss = max(-one.interval.low for one in found.values())
    return (
        f"on {listed(found)} no difference can be told apart with {items}, and a loss of up to "
        f"{loss:.2f} cannot be excluded"
    )


def _failed(comparison: Comparison, arm: str) -> str:
    failures = comparison.scores[arm].failures
    return f"{arm} {sum(failures.values())} ({figures.kinds(failures)})"


def _costs(comparison: Comparison, arms: list[str], prices: Mapping[str, Price]) -> Iterator[str]:
    yield _least("Fewest calls an item", comparison, arms, figures.calls)
    yield _least("Fewest tokens an item, read and written", comparison, arms, figures.tokens)
    if all(figures.seconds(comparison, arm) for arm in arms):
        yield _least("Least time, in seconds an item", comparison, arms, figures.seconds)
    for name, price in prices.items():
        yield _least(
            f"Cheapest at the price of {name}, in dollars for 1,000 items",
            comparison,
            arms,
            partial(figures.dollars, price=price),
        )
    yield "These are what was measured; they have no intervals."


def _least(
    what: str,
    comparison: Comparison,
    arms: list[str],
    measure: Callable[[Comparison, str], float],
) -> str:
    """Which arms need least, beside the baseline; those that are written alike share the place."""
    needed = {arm: measure(comparison, arm) for arm in arms}
    least = figures.amount(min(needed.values()))
    first = [arm for arm, number in needed.items() if figures.amount(number) == least]
    if len(first) == len(arms):
        return f"{what}: {least} in all arms."
    base = comparison.baseline
    beside = "" if base in first else f", {base} {figures.amount(needed[base])}"
    return f"{what}: {listed(first)} ({least}{beside})."
