"""Names, addresses and parameters: what is part of an identity, and what may be shown."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.models.http_errors import shown
from mtiprompt.models.naming import (
    endpoint_identity,
    is_loopback,
    public_endpoint,
    secrets_in,
    varied,
    without_secrets,
)
from mtiprompt.models.trace import TracedModel, read_trace
from mtiprompt.testing import ChatServer, Fault
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
        ("keyword", "one", "other"),
        ("monkey", "one", "other"),
        ("token_count", "one", "other"),
        ("max_tokens", "one", "other"),
        ("design", "one", "other"),
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


SEEDS = st.integers(0, 2**31 - 1)


@given(SEEDS, st.lists(st.integers(0, 2**31 - 1), min_size=2, max_size=4, unique=True))
def test_seeds_of_samples_differ_and_keep_their_width(seed: int, samples: list[int]) -> None:
    """A seed of 31 bits moves with its sample, in 31 bits, which every server takes, and no two
    samples have the same; where the sum fits it is sent as it is.
    """
    seeds = [varied({"seed": seed}, sample)["seed"] for sample in samples]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= one < 2**31 for one in seeds)
    sums = [seed + sample for sample in samples]
    assert all(one == whole for one, whole in zip(seeds, sums, strict=True) if whole < 2**31)


@pytest.mark.parametrize("seed", [-1, -9, 2**31, 2**40])
def test_a_seed_of_another_width_moves_by_the_sample(seed: int) -> None:
    """A negative or a wider seed is the caller's wish: its server takes it, and those beside it."""
    assert varied({"seed": seed}, 3) == {"seed": seed + 3}


NAMES = [
    *("api_key", "X-Api-Key", "key", "authKey", "hf_token", "client_secret", "password"),
    *("Authorization", "proxy-authorisation", "X-Auth", "oauth2", "Cookie", "aws_credentials"),
    *("AccessKey", "accesskey", "privateKey", "subscriptionKey", "X-Passphrase", "X-JWT", "pwd"),
    *("bearer", "X-Bearer", "DB_PWD", "signature", "X-Amz-Signature", "accessKeyId"),
]


@pytest.mark.parametrize("name", NAMES)
def test_secrets_are_dropped(name: str) -> None:
    """Text under the name of a secret, however it is wrapped, is in no identity, and is masked."""
    for value in ("hush", ["hush"], {"a": {"b": "hush"}, "n": 1}):
        assert without_secrets({"more": [{name: value}]}) == {"more": [{}]}
        assert list(secrets_in({"more": [{name: value}]})) == ["hush"]


KEY = "tok_abcdef123456"
LOGIN = base64.b64encode(f"ann:{KEY}".encode()).decode()


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Authorization", f"Bearer {KEY}"),
        ("authorization", f"  bearer  {KEY} "),
        ("Authorization", f"Digest username=ann, response={KEY}"),
        ("Authorization", f"Basic {LOGIN}"),
        ("Authorization", f"basic {LOGIN.rstrip('=')}"),
        ("Authorization", f"Basic {base64.b64encode(f'{KEY}:'.encode()).decode()}"),
        ("Cookie", f"theme=dark; session={KEY}; lang=en"),
        ("Cookie", f'session="{KEY}"'),
        ("X-Api-Key", KEY),
    ],
)
def test_no_part_of_a_secret_header_is_shown(header: str, value: str) -> None:
    """A server that repeats the key without what stands around it repeats three stars."""
    secrets = tuple(secrets_in({"extra_headers": {header: value}}))
    assert shown(f"invalid token {KEY}", secrets) == "invalid token ***"
    assert KEY not in shown(f"bad header {value!r}", secrets)
    words = "neither Bearer, Basic nor Digest; log in for a session"
    assert shown(words, secrets) == words


def test_a_key_in_a_header_is_in_no_error_and_no_trace(tmp_path: Path) -> None:
    """A real server that names the key alone in its refusal is told of without it."""
    with ChatServer(faults=[Fault(401, f"invalid token {KEY}")]) as server:
        model = mti.Model(
            "direct/any", api_base=server.base_url, cache=False, trace=tmp_path / "calls.jsonl",
            extra_headers={"Authorization": f"Bearer {KEY}"},
        )  # fmt: skip
        with pytest.raises(mti.ModelError, match=r"invalid token \*\*\*"):
            model.complete(mti.Request((mti.Message("user", "Hello"),)))
    assert "invalid token ***" in (tmp_path / "calls.jsonl").read_text()
    assert KEY not in (tmp_path / "calls.jsonl").read_text()


@given(st.text("ab=;, \t\n\"'", max_size=12) | st.text(max_size=12).map("Basic {}".format))
def test_any_secret_can_be_split(value: str) -> None:
    """The whole value is among its parts whatever it is, and none is empty."""
    found = list(secrets_in({"Authorization": value}))
    assert found[:1] == [value][: bool(value)]
    assert all(found)


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


@given(st.text("[]:/@?#%1a.", max_size=12))
def test_any_address_is_on_this_machine_or_not(rest: str) -> None:
    """What no address can be is not on this machine, and is no error."""
    for endpoint in (f"http://{rest}", rest, f"http://[::1:{rest}"):
        assert is_loopback(endpoint) in {True, False}
    assert not is_loopback("http://[::1:8000/v1")
    assert is_loopback("http://[::1]:8000/v1")


@pytest.mark.parametrize(
    ("variables", "stays"),
    [
        ({}, True),
        ({"http_proxy": "http://192.0.2.7:3128"}, False),
        ({"HTTP_PROXY": "http://192.0.2.7:3128"}, False),
        ({"ALL_PROXY": "socks5://192.0.2.7:1080"}, False),
        ({"HTTPS_PROXY": "http://192.0.2.7:3128"}, True),
        ({"http_proxy": "http://192.0.2.7:3128", "no_proxy": "127.0.0.1,localhost"}, True),
        ({"http_proxy": "http://192.0.2.7:3128", "no_proxy": "example.org"}, False),
        ({"http_proxy": "http://192.0.2.7:3128", "NO_PROXY": "*"}, True),
    ],
)
def test_a_proxy_takes_calls_to_this_machine_off_it(
    variables: dict[str, str], stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only such calls are allowed, one that a proxy would see is refused before it is sent.

    `direct/` heeds no proxy, so its calls stay here.
    """
    for kind in ("http", "https", "all", "no"):
        for name in (f"{kind}_proxy", f"{kind}_proxy".upper()):
            monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for host in ("127.0.0.1", "localhost"):
        assert is_loopback(f"http://{host}:8000/v1") is stays
        assert is_loopback(f"http://{host}:8000/v1", straight=True)
    request = mti.Request((mti.Message("user", "Hello"),))
    with ChatServer() as server, mti.using(allow_requests=False):
        there = server.base_url
        mti.Model("direct/x", api_base=there, cache=False).complete(request)
        if not stays:
            model = mti.Model("openai/x", api_base=there, api_key="k", cache=False)
            with pytest.raises(mti.ModelError, match="calls to other machines are switched off"):
                model.complete(request)
        assert server.count == 1


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
