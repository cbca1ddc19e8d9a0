"""How figures are written: scores, differences, amounts an item."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from mtiprompt.evaluation.prices import Price
from mtiprompt.evaluation.run import Comparison
from mtiprompt.stats import Estimate, Interval

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
"""What stands where there is no figure."""


def score(mean: float, interval: Interval, n: int) -> str:
    """A mean score, `0.72 ±0.14`; ± reaches to the farther end of the interval."""
    if not n:
        return NONE
    reach = max(mean - interval.low, interval.high - mean)
    return f"{mean:.2f} ±{reach:.2f}"


def signed(number: float) -> str:
    """A number with its sign, `-0.04`; only what is 0 has none, whatever the rounding."""
    sign = "" if math.isclose(number, 0, abs_tol=1e-12) else "-+"[number > 0]
    return f"{sign.replace('-', MINUS)}{abs(number):.2f}"


def difference(estimate: Estimate) -> str:
    """A paired difference with its interval, `-0.04 [-0.12,+0.04]`."""
    return f"{signed(estimate)} {span(*estimate.interval)}"


def span(low: float, high: float) -> str:
    """An interval; without a space, so that a narrow column does not break it."""
    return f"[{signed(low)},{signed(high)}]"


def amount(number: float) -> str:
    """An amount: whole from 100 on, else with one to three places; nothing is `0`."""
    if not math.isfinite(number) or not number:
        return "0" if number == 0 else NONE
    places = 0 if number >= 100 else 1 if number >= 10 else 2 if number >= 1 else 3
    return f"{number:,.{places}f}"


def listed(names: Iterable[str]) -> str:
    """Names as a sentence has them: `a, b and c`."""
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


def kinds(failures: Mapping[str, int]) -> str:
    """Failures by kind, `cut off 9, missing 2`; the most frequent first."""
    counted = sorted(failures.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{kind} {count}" for kind, count in counted)


def is_told_apart(estimate: Estimate) -> bool:
    """Whether the interval of a difference excludes 0."""
    low, high = estimate.interval
    return estimate.n > 0 and not low <= 0 <= high


# --- an item of an arm ---------------------------------------------------------------------------


def calls(comparison: Comparison, arm: str) -> float:
    """Calls an item."""
    return comparison.scores[arm].usage.calls / comparison.scores[arm].n


def tokens(comparison: Comparison, arm: str) -> float:
    """Tokens an item, read and written."""
    usage = comparison.scores[arm].usage
    return (usage.prompt_tokens + usage.completion_tokens) / comparison.scores[arm].n


def seconds(comparison: Comparison, arm: str) -> float:
    """Seconds an item."""
    return comparison.scores[arm].seconds / comparison.scores[arm].n


def dollars(comparison: Comparison, arm: str, price: Price, *, caching: bool = True) -> float:
    """US dollars for 1,000 items."""
    scores = comparison.scores[arm]
    return 1000 * price.cost(scores.usage, caching=caching) / scores.n
