"""Numbers that a provider tells: its rate limits, and counts of tokens."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from typing import Any

LONGEST = 1e8
"""Seconds, three years: what is longer is no wait, but a moment since 1970."""

_NAME = re.compile(r"(?:^|-)x-ratelimit-((?:limit|remaining|reset)-(?:requests|tokens))$", re.I)
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h|d))+")
_PART = re.compile(r"([\d.]+)([a-zµ]+)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNITS["d"] = 86400.0


def rate_limits(headers: Mapping[str, str]) -> dict[str, float]:
    """The rate limits that the headers of a reply tell, as far as they can be read.

    Example:
        >>> from mtiprompt.models.rate_headers import rate_limits
        >>> rate_limits({"X-RateLimit-Limit-Tokens": "9000", "X-RateLimit-Reset-Tokens": "6m0s"})
        {'limit-tokens': 9000.0, 'reset-tokens': 360.0}

    Args:
        headers: Of a reply; the case of their names does not matter, and litellm's `llm_provider-`
            may stand before them.

    Returns:
        `limit-requests`, `remaining-requests`, `limit-tokens` and `remaining-tokens`: numbers;
        `reset-requests` and `reset-tokens`: seconds until all of it may be used again.
    """
    found = {}
    for name, value in headers.items():
        if named := _NAME.search(name):
            read = _amount(value) if not named[1].lower().startswith("reset") else seconds_of(value)
            if read is not None:
                found[named[1].lower()] = read
    return found


def seconds_of(text: str) -> float | None:
    """Seconds of a duration: `1s`, `6m0s`, `20ms`, `1h2m3.5s`, or a plain number of seconds.

    A number above `LONGEST` is a moment since 1970, in seconds or milliseconds, and gives how long
    it is until then. None: it is neither.
    """
    text = text.strip().lower()
    if _DURATION.fullmatch(text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    elif (amount := _amount(text)) is not None:
        seconds = amount
    else:
        return None
    if seconds < LONGEST:
        return seconds
    return seconds_until(seconds if seconds < 1000 * LONGEST else seconds / 1000)


def seconds_until(moment: float) -> float | None:
    """Seconds until a moment, which is in seconds since 1970; None if it is years ahead."""
    ahead = max(0.0, moment - time.time())
    return ahead if ahead < LONGEST else None


def count_of(value: Any) -> int:
    """A number of tokens that was told; 0 if it is none."""
    return value if isinstance(value, int) and value > 0 else 0


def _amount(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
