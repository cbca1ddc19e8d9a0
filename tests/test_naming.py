"""Names, addresses and parameters: what is part of an identity, and what may be shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.models.http_errors import shown
from mtiprompt.models.naming import (
    endpoint_identity,
    public_endpoint,
    secrets_in,
    without_secrets,
)
from mtiprompt.models.trace import TracedModel, read_trace
from mtiprompt.wire import canonical

# --- parameters -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("ban_eos_token", True, False),
        ("add_bos_token", True, False),
        ("max_token", 5, 6),
        ("stop_token", "###", "---"),
        ("bos_token", "<s>", "<begin>"),
        ("author", "Ann", "Bob"),
        ("logit_by_token", {"5": 1.5}, {"5": 2}),
        ("by_token", [1, 2], [1, 3]),
    ],
)
def test_what_only_sounds_secret_is_in_the_identity(name: str, one: Any, other: Any) -> None:
    """Models that differ in a parameter of sampling share no entry of the cache."""

    def identity(value: Any) -> str:
        body = {name: value}
        there = "http://127.0.0.1:1/v1"
        return mti.Model("direct/x", api_base=there, cache=False, extra_body=body).identity

    assert identity(one) != identity(other)
    assert without_secrets({name: one}) == {name: one}
    assert list(secrets_in({name: one})) == []


NAMES = [
    *("api_key", "X-Api-Key", "key", "authKey", "hf_token", "client_secret", "password"),
    *("Authorization", "proxy-authorisation", "X-Auth", "oauth2", "Cookie", "aws_credentials"),
]


@pytest.mark.parametrize("name", NAMES)
def test_secrets_are_dropped(name: str) -> None:
    """Text under the name of a secret, however it is wrapped, is in no identity, and is masked."""
    for value in ("hush", ["hush"], {"a": {"b": "hush"}, "n": 1}):
        assert without_secrets({"more": [{name: value}]}) == {"more": [{}]}
        assert list(secrets_in({"more": [{name: value}]})) == ["hush"]


# --- addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "public"),
    [
        (None, None),
        ("http://host:1/v1", "http://host:1/v1"),
        ("http://bob:hush@host/v1", "http://host/v1"),
        ("http://bob:p@hush@host/v1", "http://host/v1"),
        ("http://hush@host", "http://host"),
        ("bob:hush@host:9/v1", "host:9/v1"),
        ("hush@host", "host"),
        ("//bob:hush@host/v1", "//host/v1"),
        ("http://bob:hu/hush@host/v1", "http://host/v1"),
        ("http://bob:hu?hush@host/v1", "http://host/v1"),
        ("http://[::1]:9/v1?api-key=hush", "http://[::1]:9/v1"),
        ("http://host/@me/v1?key=hush#x", "http://host/@me/v1"),
        ("http://bob:hush@[::1]/@me", "http://[::1]/@me"),
        ("host/v1?key=a@hush", "host/v1"),
    ],
)
def test_what_is_shown_of_an_endpoint(endpoint: str | None, public: str | None) -> None:
    """Neither name nor password nor query is shown, with a scheme or without one."""
    assert public_endpoint(endpoint) == public
    assert "hush" not in str(endpoint_identity(endpoint))


@given(st.text("ab:@!$-%", min_size=1), st.sampled_from(["http://", "https://", "//", ""]))
def test_no_login_is_shown(login: str, scheme: str) -> None:
    """Whatever stands before the last @ of the host is left out."""
    assert public_endpoint(f"{scheme}{login}@host:1/v1?x=1") == f"{scheme}host:1/v1"


def test_a_query_counts_as_a_digest() -> None:
    """Another query is another endpoint; an endpoint without one is itself."""
    plain = "http://host/v1"
    one, other = (endpoint_identity(f"{plain}?api-version={number}") for number in (1, 2))
    assert len({one, other, plain}) == 3
    assert endpoint_identity(plain) == plain
    assert endpoint_identity(None) is None
    assert str(one).startswith(f"{plain}?")


def test_a_trace_has_no_query(tmp_path: Path) -> None:
    """The identity in a trace has the address alone, also of a model that does not clean it."""
    model = mti.ScriptedModel(["Good day."])
    model.identity = canonical(["x", "http://bob:p@hush@host/v1?api-key=hush"])
    TracedModel(model, tmp_path / "t").complete(mti.Request((mti.Message("user", "Hello"),)))
    (call,) = read_trace(tmp_path / "t")
    assert call.identity == ["x", "http://host/v1"]


# --- messages ---------------------------------------------------------------------------------


def test_short_keys_are_words() -> None:
    """A key like `any` is left in messages, which would lose words; longer ones are masked."""
    text = "openai/any: no model of any kind"
    assert shown(text, ("any", "")) == text
    assert shown("the key hush12 is wrong", ("hush12",)) == "the key *** is wrong"


@pytest.mark.parametrize("name", ["key", "api-key", "api_key", "apikey", "token", "sig"])
def test_keys_in_addresses_are_masked(name: str) -> None:
    """An address that a message repeats has no key."""
    assert "hush" not in shown(f"GET /v1/chat?a=b&{name}=hush HTTP/1.1")


def test_logins_in_addresses_are_masked() -> None:
    """An address that a message repeats has no password; versions of models stay."""
    for place in ("127.0.0.1:9/v1", "host.example/v1", "[::1]:9", "host:80"):
        for login in ("/hush", "//bob:hush", "http://bob:p@hush"):
            assert "hush" not in shown(f"cannot reach {login}@{place}")
    text = "vertex_ai/claude-opus@20250514: no such model @cf/meta"
    assert shown(text) == text
