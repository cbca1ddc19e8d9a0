"""What a provider's headers say of its rate limits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

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
    """Seconds of a duration: `1s`, `6m0s`, `20ms`, `1h2m3.5s`, or a plain number of seconds."""
    text = text.strip().lower()
    if not _DURATION.fullmatch(text):
        return _amount(text)
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def _amount(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
