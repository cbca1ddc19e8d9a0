"""How figures of this experiment are written: with three places, and their intervals."""

from __future__ import annotations

from mtiprompt.stats import Estimate, Interval


def cell(one: Estimate, sign: str = "") -> str:
    """A figure with its interval, `0.225 [0.201, 0.250]`.

    Args:
        one: The figure.
        sign: `+`: each number with its sign.
    """
    return f"{number(one, sign)} [{', '.join(number(end, sign) for end in one.interval)}]"


def number(value: float, sign: str = "") -> str:
    """A number with three places; what is rounded to 0 is not negative."""
    return f"{round(value, 3) + 0.0:{sign}.3f}"


def rest(one: Estimate) -> Estimate:
    """What a probability leaves to others."""
    low, high = one.interval
    return Estimate(1 - one.mean, Interval(1 - high, 1 - low), one.n)
