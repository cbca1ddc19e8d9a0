"""What a report says of a comparison: verdict, tables, charts, notes, every slot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from mtiprompt import stats
from mtiprompt.evaluation.prices import Price
from mtiprompt.evaluation.run import Comparison
from mtiprompt.report import charts, figures
from mtiprompt.report.figures import NONE, amount
from mtiprompt.report.parts import Part, Slots, Table, Text
from mtiprompt.report.slots import slots_of
from mtiprompt.report.verdict import verdict
from mtiprompt.stats import Estimate


def parts_of(name: str, comparison: Comparison, prices: Mapping[str, Price] = {}) -> list[Part]:
    """The parts of a report about one data set.

    Args:
        name: The name of the data set.
        comparison: What was measured.
        prices: Prices by the name of the model; the tokens that were measured are priced with each.
    """
    said = tuple(verdict(name, comparison, prices))
    parts: list[Part] = [Text(said, f"{name}: verdict"), table_of(name, comparison, prices)]
    if len(comparison.program.order) > 1:
        parts.append(_conditional(name, comparison))
    parts += charts.charts_of(name, comparison, prices)
    parts.append(Text(tuple(_notes(comparison, prices)), f"{name}: how it was measured"))
    parts.append(Slots("Slots", tuple(slots_of(name, comparison))))
    return parts


def table_of(name: str, comparison: Comparison, prices: Mapping[str, Price] = {}) -> Table:
    """Scores and costs, a column for each arm, the baseline first.

    Args:
        name: The name of the data set.
        comparison: What was measured.
        prices: As for `parts_of`.
    """
    arms = [arm.name for arm in comparison.arms]
    rows = [*_score_rows(comparison), *_cost_rows(comparison, prices)]
    return Table(
        heading=f"{name}: scores and costs",
        columns=("", *arms),
        rows=tuple((label, *map(cell, arms)) for label, cell in rows),
        note=_table_note(comparison),
    )


Line = tuple[str, Callable[[str], str]]
"""A row of the table: what it is called, and its cell for an arm."""


def _score_rows(found: Comparison) -> Iterator[Line]:
    first = found.scores[found.baseline]
    for task in found.program.order:
        one = first.tasks[task]
        base = figures.score(one.mean, one.interval, one.n)
        yield _compared(found, task, base, one.n, partial(_of_task, found, task=task))
    for label, whole, pair in [
        ("mean of tasks", first.average, partial(_of_average, found)),
        ("all right", first.joint, partial(_of_joint, found)),
    ]:
        base = figures.score(whole.mean, whole.interval, whole.n)
        yield _compared(found, label, base, whole.n, pair)


Pair = tuple[float, Estimate]
"""A mean, and its paired difference from the baseline."""


def _of_task(found: Comparison, arm: str, task: str) -> Pair:
    return found.scores[arm].tasks[task].mean, found.difference(arm, task)


def _of_average(found: Comparison, arm: str) -> Pair:
    return found.scores[arm].average, found.difference(arm)


def _of_joint(found: Comparison, arm: str) -> Pair:
    return found.scores[arm].joint, found.joint_difference(arm)


def _compared(
    found: Comparison, label: str, base: str, n: int, pair: Callable[[str], Pair]
) -> Line:
    """A row of scores; n is told where not all items have gold."""

    def cell(arm: str) -> str:
        if arm == found.baseline or not n:
            return base
        mean, estimate = pair(arm)
        return f"{mean:.2f} {figures.difference(estimate)}"

    return label if n == len(found.rows) else f"{label} (n={n})", cell


def _cost_rows(found: Comparison, prices: Mapping[str, Price]) -> Iterator[Line]:
    def an_item(of: str) -> Callable[[str], str]:
        return lambda arm: amount(getattr(found.scores[arm].usage, of) / found.scores[arm].n)

    prompt, cached = an_item("prompt_tokens"), an_item("cached_tokens")
    yield "failed slots", partial(_failed, found)
    yield "calls / item", partial(_amount, partial(figures.calls, found))
    yield "prompt tokens / item", lambda arm: f"{prompt(arm)} (cached {cached(arm)})"
    yield "completion tokens / item", an_item("completion_tokens")
    yield "seconds / item", partial(_amount, partial(figures.seconds, found))
    yield f"time, of {found.baseline}", partial(_ratio, found)
    for name, price in prices.items():
        for told, caching in (("", True), (", without prompt caching", False)):
            cost = partial(figures.dollars, found, price=price, caching=caching)
            yield f"$ / 1,000 items, {name}{told}", partial(_amount, cost)


def _amount(measure: Callable[[str], float], arm: str) -> str:
    return amount(measure(arm))


def _failed(found: Comparison, arm: str) -> str:
    failures = found.scores[arm].failures
    return f"{sum(failures.values())} ({figures.kinds(failures)})" if failures else "0"


def _ratio(found: Comparison, arm: str) -> str:
    base = found.scores[found.baseline].seconds
    return f"{found.scores[arm].seconds / base:.2f}" if base else NONE


def _conditional(name: str, found: Comparison) -> Table:
    arms = [arm.name for arm in found.arms]

    def cell(arm: str, task: str) -> str:
        one = found.scores[arm].tasks[task].conditional
        return figures.score(one.mean, one.interval, one.n)

    return Table(
        heading=f"{name}: right up to a task",
        columns=("", *arms),
        rows=tuple((task, *(cell(arm, task) for arm in arms)) for task in found.program.order),
        note="The share of items on which this task and all tasks above it are right: the "
        "conditional accuracy of Son et al. (2024, arXiv 2402.11597).",
    )


def _table_note(found: Comparison) -> str:
    told = [f"{len(found.rows)} items. Intervals: {found.confidence:.0%}"]
    told.append("± reaches to the farther end of the interval")
    if len(found.arms) > 1:
        told.append(f"after a score: its paired difference from {found.baseline} [interval]")
    return "; ".join(told) + "."


def _notes(found: Comparison, prices: Mapping[str, Price]) -> Iterator[str]:
    yield f"Intervals of scores, {found.confidence:.0%}: {stats.MEAN_METHOD}."
    if len(found.arms) > 1:
        yield (
            f"Intervals of differences, {found.confidence:.0%}: {stats.DIFFERENCE_METHOD}. They "
            "are not widened for the number of tasks and arms: of many, some exclude 0 by chance."
        )
    yield "A slot that failed has the score 0."
    if found.serial:
        apart = [arm.name for arm in found.arms if arm.parallel]
        but = f", except the calls about one item in {figures.listed(apart)}" if apart else ""
        yield f"Timing is serial: calls followed each other{but}."
    else:
        yield (
            "Timing is concurrent: several items were under way at the same time, so seconds also "
            "say how well calls share the model."
        )
    yield ("Seconds: time during which at least one call of the arm was under way.")
    if hits := {arm: one.usage.hits for arm, one in found.scores.items() if one.usage.hits}:
        told = figures.listed(f"{arm} {count}" for arm, count in hits.items())
        yield (
            f"Calls answered from the cache: {told}. They cost nothing, so calls, tokens, seconds "
            "and dollars are too low to compare."
        )
    if prices:
        yield (
            "Dollars are the tokens of the model that was measured at the price of another; a "
            "model with another tokenizer counts otherwise. Without prompt caching, each prompt "
            "token has the full price."
        )
