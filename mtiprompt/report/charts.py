"""The charts of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from mtiprompt.evaluation.prices import Price
from mtiprompt.evaluation.run import Comparison
from mtiprompt.report import figures
from mtiprompt.report.parts import Chart, Series
from mtiprompt.wire import Usage


def charts_of(name: str, comparison: Comparison, prices: Mapping[str, Price]) -> Iterator[Chart]:
    """Score against cost, differences, tokens and time.

    Args:
        name: The name of the data set.
        comparison: What was measured.
        prices: Prices by the name of the model; without any, cost is in tokens.
    """
    for model, price in prices.items():
        yield _against(
            name,
            comparison,
            f"dollars for 1,000 items, {model}",
            partial(figures.dollars, comparison, price=price),
        )
    if not prices:
        tokens = "tokens an item, read and written"
        yield _against(name, comparison, tokens, partial(figures.tokens, comparison))
    if len(comparison.arms) > 1:
        yield _differences(name, comparison)
    yield _tokens(name, comparison)
    yield _seconds(name, comparison)


def _against(name: str, comparison: Comparison, what: str, cost: Callable[[str], float]) -> Chart:
    series = []
    for arm, scores in comparison.scores.items():
        low, high = scores.average.interval
        series.append(Series(arm, (cost(arm),), (scores.average.mean,), (low,), (high,)))
    return Chart(
        heading=f"{name}: score against cost",
        kind="points",
        series=tuple(series),
        x_title=what,
        y_title="mean score of the tasks",
    )


def _differences(name: str, comparison: Comparison) -> Chart:
    tasks = tuple(comparison.program.order)
    series = []
    for arm in comparison.arms[1:]:
        found = [comparison.difference(arm.name, task) for task in tasks]
        low, high = (tuple(one.interval[end] for one in found) for end in (0, 1))
        series.append(Series(arm.name, tasks, tuple(one.mean for one in found), low, high))
    return Chart(
        heading=f"{name}: differences by task",
        kind="points",
        series=tuple(series),
        y_title=f"score, less that of {comparison.baseline}",
        note="Where an interval crosses 0, the two arms cannot be told apart.",
    )


TOKENS: dict[str, Callable[[Usage], int]] = {
    "prompt, not cached": lambda usage: usage.prompt_tokens - usage.cached_tokens,
    "prompt, cached": lambda usage: usage.cached_tokens,
    "completion": lambda usage: usage.completion_tokens,
}


def _tokens(name: str, comparison: Comparison) -> Chart:
    arms = tuple(comparison.scores)
    scores = comparison.scores.values()
    return Chart(
        heading=f"{name}: tokens by part",
        kind="stacked",
        series=tuple(
            Series(part, arms, tuple(count(one.usage) / one.n for one in scores))
            for part, count in TOKENS.items()
        ),
        y_title="tokens an item",
    )


def _seconds(name: str, comparison: Comparison) -> Chart:
    arms = tuple(comparison.scores)
    needed = tuple(figures.seconds(comparison, arm) for arm in arms)
    how = "one after the other" if comparison.serial else "several at the same time"
    return Chart(
        heading=f"{name}: time",
        kind="bars",
        series=(Series("seconds", arms, needed),),
        y_title=f"seconds an item, {how}",
    )
