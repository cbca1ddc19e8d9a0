"""How long a provider is believed."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt import errors
from mtiprompt.models.deadline import until
from mtiprompt.models.limits import LimitedModel, Limits
from mtiprompt.models.rates import LONGEST, Reported
from mtiprompt.wire import Message, Reply, Request

HELLO = Request((Message("user", "Hello"),))


@given(
    limit=st.none() | st.floats(0, 1e9),
    reset=st.floats(0) | st.just(1763800000.0),
    amount=st.floats(0, 1e9),
)
def test_no_report_is_believed_for_longer_than_a_day(
    limit: float | None, reset: float, amount: float
) -> None:
    """Whatever is reported, so much may be spent again a day later."""
    report = Reported(limit, 0.0, reset, 100.0)
    assert report.wait(amount, 100.0) <= LONGEST
    assert report.wait(amount, 100.0 + LONGEST) == 0


@pytest.mark.parametrize("asked", [1763800000.0, 1e300, float("inf")])
def test_no_error_shuts_limits_for_longer_than_a_day(asked: float) -> None:
    """An absurd wait, in an error or in what a reply reports, is cut to a day."""
    told = {"remaining-requests": 0, "reset-requests": asked}
    for outcome in (
        errors.RateLimited("slow down", retry_after=asked),
        Reply("yes", details={"rate_limits": told}),
    ):
        model = LimitedModel(mti.ScriptedModel([outcome]), Limits())
        with suppress(errors.RateLimited):
            model.complete(HELLO)
        with until(time.monotonic() + 5), pytest.raises(errors.ModelTimeout) as caught:
            model.complete(HELLO)
        assert caught.value.retry_after == pytest.approx(LONGEST, abs=60)
