"""What a server says, read: who is refused what, and how long it asks to wait."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt import errors
from mtiprompt.models.http_errors import Seen, Sent, by_status, retry_after
from mtiprompt.testing import ChatServer, Fault
from tests.test_via_litellm import KEY

MODERATED = [
    "any requires moderation on OpenAI. Your input was flagged for violence",
    "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO",
    "the content policy forbids this",
    "the prompt has been flagged",
]
BARRED = [
    "your account was flagged",
    "Project does not have access to model `omni-moderation-latest`",
    "Country, region, or territory not supported",
    "Your request was blocked.",
    "blocked by the web content filter of your organisation",
    "Your account has been suspended for violating our usage guidelines.",
    "Your organization has been blocked by our safety system.",
    "does not have access to model content-filter-alpha",
]


def seen(text: str, status: int, code: str = "") -> errors.ModelError:
    """The error that a text with a status is."""
    return by_status(Seen(Sent("openai/any"), text, status, code=code))


@pytest.mark.parametrize("text", MODERATED)
@pytest.mark.parametrize("status", [400, 403])
def test_a_moderated_input_is_refused_alone(text: str, status: int) -> None:
    """A 403 for what one input says is a refusal of that input, as a 400 is: the rest goes on."""
    assert type(seen(text, status)) is errors.ContentRefused


@pytest.mark.parametrize("code", ["content_filter", "403 refusal", "content_policy_violation"])
@pytest.mark.parametrize("status", [400, 403])
def test_a_code_says_so_too(code: str, status: int) -> None:
    """What an error calls itself counts as what it says."""
    assert type(seen("no", status, code)) is errors.ContentRefused


@pytest.mark.parametrize("field", ["refusal", "safety_check", "flagged"])
def test_a_schema_with_a_field_of_that_name_is_no_refusal(field: str) -> None:
    """A server that refuses a schema quotes its fields; then a lower level is tried."""
    text = f"Invalid schema for response_format: In context=('properties', '{field}'), 'x' is not"
    error = by_status(Seen(Sent("openai/any", formatted=True), text, 400))
    assert type(error) is errors.SchemaRejected


@pytest.mark.parametrize("text", BARRED)
def test_an_account_that_is_barred_stops(text: str) -> None:
    """A 403 about who asks, or from where, concerns every call; the hint does not blame the key.

    A wrong key (401) has a hint about the key.
    """
    barred, unknown = seen(text, 403), seen(text, 401)
    for error in barred, unknown:
        assert type(error) is errors.ModelAccessDenied
    assert str(barred.hint) == "the account may not use this model, or the key is wrong"
    assert "api_key=" in str(unknown.hint)


@pytest.mark.parametrize(
    ("provider", "status"),
    [("openai", 403), ("direct", 403), ("direct", 200)],  # litellm reads no error out of a 200
)
def test_one_moderated_row_does_not_end_a_map(provider: str, status: int) -> None:
    """Over HTTP, as a status or as an error in a good answer: one row fails, the others do not."""
    error = {"code": 403, "message": MODERATED[0]}
    bad = Fault(status, body=json.dumps({"error": error}))

    def faults(received: Any) -> Fault | None:
        return bad if "bad" in json.dumps(received.body) else None

    program = mti.combine("message -> urgent: bool")
    with ChatServer(faults=faults) as server:
        model = mti.Model(f"{provider}/any", api_base=server.base_url, api_key=KEY, cache=False)
        rows = [{"message": text} for text in ("good", "bad", "fair")]
        found = [list(one.failures) for one in program.map(rows, model=model, concurrency=1)]
    assert found == [[], ["urgent"], []]


# --- the wait that is asked for ---------------------------------------------------------------

DIGITS = st.integers(1, 6000).map("9".__mul__)
DATES = st.builds(
    "Wed, {} Oct {} {}:28:00 {}".format,
    st.integers(0, 40),
    st.integers(0, 10**12),
    st.integers(0, 99),
    st.sampled_from(["GMT", "+9999", "-0000", "+99999999999999999999"]),
)


@given(st.text() | DIGITS | DATES | st.floats().map(str))
@example("Wed, 21 Oct 99999999999 07:28:00 GMT")
@example("9" * 5000)
def test_any_retry_after_is_a_wait_or_nothing(text: str) -> None:
    """Whatever a server writes, it is read as some seconds, at most three years, or as nothing."""
    headers = [{"retry-after": text}, {"retry-after-ms": text}]
    headers += [{"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": text}]
    for found in [
        *map(retry_after, headers),
        retry_after({}, f"try again in {text}m1s"),
        retry_after({}, f"try again in {text}ms"),
        retry_after({}, f'"retryDelay": "{text}s"'),
    ]:
        assert found is None or (math.isfinite(found) and 0 <= found <= 1e8)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("1m2.5s", 62.5), ("1h0m1s", 3601), ("250ms", 0.25), ("20s", 20), ("5m", 300)],
)
def test_words_say_how_long(said: str, seconds: float) -> None:
    """The waits that providers write into their messages are read."""
    assert retry_after({}, f"Please try again in {said}.") == pytest.approx(seconds)


@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms"])
def test_a_moment_is_the_time_until_then(name: str) -> None:
    """A number that is no wait of a sane length is a moment since 1970."""
    moment = (time.time() + 40) * (1000 if name.endswith("ms") else 1)
    found = retry_after({name: str(int(moment))})
    assert found is not None
    assert 30 < found <= 40
