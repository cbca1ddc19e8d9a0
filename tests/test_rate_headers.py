"""Numbers that a provider tells: its rate limits, and counts of tokens."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtiprompt.models.rate_headers import count_of, rate_limits, seconds_of


@pytest.mark.parametrize("unit", [1, 1000])
@given(ahead=st.integers(-(10**6), 10**6))
def test_a_moment_is_the_time_until_then(unit: int, ahead: int) -> None:
    """Seconds or milliseconds since 1970 are read as how long it is until then, never below 0."""
    found = seconds_of(str(int(time.time() + ahead) * unit))
    assert found is not None
    assert found == pytest.approx(max(0, ahead), abs=2)


@given(st.floats(0, 1e7))
def test_what_can_be_a_wait_is_one(seconds: float) -> None:
    """Plain seconds stay what they are."""
    assert seconds_of(repr(seconds)) == seconds


@pytest.mark.parametrize("text", ["1e300", "9" * 30, f"{'9' * 400}h", "99999999999h", "inf", "-1"])
def test_what_is_absurd_says_nothing(text: str) -> None:
    """What neither is a wait nor a moment within three years is left out."""
    assert seconds_of(text) is None
    assert rate_limits({"x-ratelimit-reset-tokens": text}) == {}


@given(st.integers() | st.floats() | st.none() | st.text() | st.booleans())
def test_counts_are_never_below_zero(value: Any) -> None:
    """A count is a whole number from 0 on, whatever a server tells."""
    found = count_of(value)
    assert found >= 0
    assert found == (value if isinstance(value, int) and value > 0 else 0)
    assert math.isfinite(found)
