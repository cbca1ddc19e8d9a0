"""`mti.Model` and `as_model`: names, options, the stack, and programs over real HTTP."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt import errors
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.budget import Budget
from mtiprompt.models.limits import Limits
from mtiprompt.models.model import as_model
from mtiprompt.testing import ChatServer, Fault
from mtiprompt.wire import Message, Request

HELLO = Request((Message("user", "Hello"),))


def test_nothing_heavy_is_loaded(tmp_path: Path) -> None:
    """Importing and making models loads neither litellm nor diskcache, tenacity or xllamacpp."""
    program = f"""
import sys
import mtiprompt.models.model as one
one.Model("openai/gpt-5-mini", temperature=0)
one.Model("local/smollm2-135m", cache={str(tmp_path)!r}, slots=2)
heavy = {{"litellm", "openai", "diskcache", "tenacity", "xllamacpp", "dspy", "httpx"}}
print(sorted(heavy & set(sys.modules)))
"""
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["gpt-5-mini", "openai/", "/x", "", "local", "local/", "local:", "local:/x"]
)
def test_names_without_a_provider(name: str) -> None:
    """A name that is not `provider/model` or a model file is refused when made, with its form."""
    with pytest.raises(errors.ModelNotFound) as caught:
        mti.Model(name)
    assert caught.value.hint


def test_local_names(tmp_path: Path) -> None:
    """An unknown local name is refused when made; one not fetched yet, at the first call."""
    with mti.using(models_dir=tmp_path):
        with pytest.raises(errors.ModelNotFound, match="smollm2-135m"):
            mti.Model("local/smollm")
        model = mti.Model("local/smollm2-135m", cache=False)
        with pytest.raises(errors.ModelNotFound, match="mtiprompt models pull smollm2-135m"):
            model.complete(HELLO)
        (tmp_path / "mine.gguf").write_bytes(b"GGUF")
        assert mti.Model("local/mine").name == "local/mine"
        missing = mti.Model(f"local:{tmp_path}/none.gguf", cache=False)
        with pytest.raises(errors.ModelNotFound, match=r"none\.gguf"):
            missing.complete(HELLO)


def test_another_file_is_another_model(tmp_path: Path) -> None:
    """A model file that is replaced is another model to the cache."""
    file = tmp_path / "a.gguf"
    file.write_bytes(b"GGUF")
    first = mti.Model(f"local:{file}").identity
    assert mti.Model(f"local:{file}").identity == first
    file.write_bytes(b"GGUF and more")
    assert mti.Model(f"local:{file}").identity != first


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("openai/x", {"timeout": 0}),
        ("openai/x", {"retries": -1}),
        ("openai/x", {"slots": 2}),
        ("local/smollm2-135m", {"api_base": "http://127.0.0.1"}),
        ("local/smollm2-135m", {"api_key": "k"}),
        ("openai/x", {"stream": True}),
        ("openai/x", {"limits": 60}),
        ("openai/x", {"budget": 100}),
        ("openai/x", {"fallback": 7}),
        ("openai/x", {"fallback": "openai/y", "reuse": "any"}),
        *(("openai/x", {"timeout": one}) for one in ("30", math.nan, True)),
        *(("openai/x", {"retries": one}) for one in ("3", None, math.nan, 1.5)),
        *(("openai/x", {"max_tokens": one}) for one in ("400", True, 1.5)),
        *(("openai/x", {"cache": one}) for one in (None, 0, 1, "")),
        *(("openai/x", {key: one}) for key in ("api_key", "api_base") for one in (7, "", b"k")),
        ("openai/x", {"trace": 5}),
        ("openai/x", {"trace": ""}),
        ("openai/x", {"telemetry": "yes"}),
        ("openai/x", {"fallback": ["openai/y", None]}),
        (7, {}),
    ],
)
def test_options_that_make_no_sense(name: Any, options: dict[str, Any]) -> None:
    """Options that make no sense are refused when made."""
    with mti.using(model=mti.EchoModel()), pytest.raises(errors.SettingsError):
        mti.Model(name, **options)


@pytest.mark.parametrize("name", ["openai/x", "ollama/x", "direct/x"])
@given(st.text(min_size=1) | st.text("htps:/[]@1a.%").map("http://".__add__))
@example("http://[::1:8000/v1")
def test_any_address_is_taken_or_refused(name: str, address: str) -> None:
    """Whatever is given as an address, a model is made, or the setting is refused by its name."""
    told = "is no address of a server"
    try:
        mti.Model(name, api_base=address, cache=False)
    except errors.SettingsError as error:
        told = str(error)
    assert "is no address of a server" in told


def test_repr_and_identity_show_no_secret() -> None:
    """What is printed of a model has its options and no credential."""
    model = mti.Model(
        "openai/x",
        api_base="http://me:hush@127.0.0.1:1/v1",
        api_key="sk-hush",
        temperature=1,
        cache=False,
        extra_headers={"Authorization": "hush"},
    )
    assert repr(model) == (
        "Model('openai/x', api_base='http://127.0.0.1:1/v1', cache=False, temperature=1, "
        "extra_headers={})"
    )
    assert "hush" not in model.identity
    assert "slots=2" in repr(mti.Model("local/smollm2-135m", slots=2))
    assert isinstance(model, LanguageModel)


def test_repr_shows_the_wrappers() -> None:
    """Limits, budget and the names of the fallbacks are shown."""
    model = mti.Model(
        "openai/x",
        limits=Limits(in_flight=8),
        budget=Budget(calls=9),
        fallback=["openai/y", mti.EchoModel()],
    )
    assert repr(model) == (
        "Model('openai/x', limits=Limits(in_flight=8), budget=Budget(calls=9), "
        "fallback=['openai/y', 'echo'])"
    )
    assert isinstance(mti.Model("openai/x", fallback=(one for one in ["openai/y"])), mti.Model)


def test_no_fallback() -> None:
    """`fallback=None` is none, whatever model the settings name."""
    with mti.using(model=mti.EchoModel()):
        assert "fallback" not in repr(mti.Model("openai/x", fallback=None))


def test_names_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name stands for another model once the environment says another endpoint."""
    monkeypatch.setenv("DIRECT_API_BASE", "http://127.0.0.1:1/v1")
    one = as_model("direct/x")
    monkeypatch.setenv("DIRECT_API_BASE", "http://127.0.0.1:2/v1")
    other = as_model("direct/x")
    assert (one.identity == other.identity, as_model("direct/x") is other) == (False, True)


def test_the_import_counts_in_no_deadline() -> None:
    """A first call with a short time-out waits for its library to load, and is sent."""
    program = """
import sys, time
import mtiprompt as mti
from mtiprompt.testing import ChatServer
import importlib.abc
class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "aiohttp":
            time.sleep(1.5)
sys.meta_path.insert(0, Slow())
with ChatServer(lambda received: "yes") as server:
    model = mti.Model("direct/x", api_base=server.base_url, cache=False, timeout=1, retries=0)
    print(model.complete(mti.Request((mti.Message("user", "Hello"),))).text)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "yes", done.stderr


def test_wrappers_do_not_change_the_identity() -> None:
    """What only says how a model is called leaves it the same to the cache; a fallback does not."""
    plain = mti.Model("openai/x").identity
    options: dict[str, Any] = {"limits": Limits(requests=9), "budget": Budget(calls=9)}
    assert mti.Model("openai/x", retries=0, timeout=9, cache=False, **options).identity == plain
    assert mti.Model("openai/x", fallback="openai/y").identity != plain


def test_local_models_are_reproducible() -> None:
    """A local model has temperature 0 and a bound on its reply, unless told otherwise."""
    assert '"temperature":0.0' in mti.Model("local/smollm2-135m").identity
    assert '"max_tokens":1024' in mti.Model("local/smollm2-135m").identity
    assert '"max_tokens":9' in mti.Model("local/smollm2-135m", max_tokens=9).identity
    assert '"temperature":0.7' in mti.Model("local/smollm2-135m", temperature=0.7).identity


def test_the_stack(tmp_path: Path) -> None:
    """Failures are retried, what is kept is looked up, and another folder knows nothing of it."""
    with ChatServer(lambda received: "yes", faults=[Fault(500)]) as server:

        def make(**options: Any) -> mti.Model:
            return mti.Model("openai/any", api_base=server.base_url, api_key="k", **options)

        model = make(cache=tmp_path / "one")
        reply = model.complete(HELLO)
        assert (reply.text, reply.usage.calls) == ("yes", 2)
        model.keep(HELLO, reply)
        assert make(cache=str(tmp_path / "one")).complete(HELLO).from_cache
        assert not make(cache=tmp_path / "two").complete(HELLO).from_cache
        assert not make(cache=False).complete(HELLO).from_cache
        assert not make(cache=tmp_path / "one", temperature=1).complete(HELLO).from_cache
        with mti.using(cache_dir=tmp_path / "one"):
            assert make().complete(HELLO).from_cache
        assert len(server.requests) == 5
    for made in (tmp_path / "one", tmp_path / "two"):
        as_cache(made)


def as_cache(folder: Path) -> None:
    """Close the cache of a folder."""
    from mtiprompt.models.cache import ReplyCache

    ReplyCache.at(folder).close()


def test_no_retries() -> None:
    """`retries=0` asks once."""
    with ChatServer(faults=lambda received: Fault(500)) as server:
        model = mti.Model(
            "openai/any", api_base=server.base_url, api_key="k", cache=False, retries=0
        )
        with pytest.raises(errors.ModelUnavailable):
            model.complete(HELLO)
        assert len(server.requests) == 1


def test_every_request_is_metered_and_paid(tmp_path: Path) -> None:
    """Retries count in the meter and the budget, hits cost nothing, a refusal comes out at once."""
    budget = Budget(calls=3)
    with ChatServer(lambda received: "yes", faults=[Fault(500)]) as server:
        model = mti.Model("direct/any", api_base=server.base_url, cache=tmp_path, budget=budget)
        model.keep(HELLO, model.complete(HELLO))
        model.complete(HELLO)
        assert (model.usage.calls, model.usage.hits, budget.spent.calls) == (2, 1, 2)
        model.complete(Request(HELLO.messages, sample=1, purpose="optimize"))
        assert (model.usage.calls, model.usage.of("optimize").calls) == (3, 1)
        with pytest.raises(errors.BudgetExceeded):
            model.complete(Request(HELLO.messages, sample=2))
        assert model.complete(HELLO).from_cache
        model.meter.reset()
        assert model.usage == mti.Usage()
        assert len(server.requests) == 3
    as_cache(tmp_path)


def test_what_cannot_be_paid_does_not_wait() -> None:
    """A spent budget refuses at once, though the limits would make the call wait."""
    with ChatServer() as server:
        model = mti.Model(
            "direct/any",
            api_base=server.base_url,
            cache=False,
            limits=Limits(requests=1),
            budget=Budget(calls=1),
        )
        model.complete(HELLO)
        with pytest.raises(errors.BudgetExceeded):
            model.complete(HELLO)


def test_fallbacks_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fallback that is given by name has the same options, and pays from the same budget."""
    with ChatServer() as up, ChatServer(faults=lambda _: Fault(401)) as denied:
        monkeypatch.setenv("DIRECT_API_BASE", up.base_url)
        budget = Budget(calls=3)
        model = mti.Model(
            "direct/a",
            api_base=denied.base_url,
            temperature=0.5,
            max_tokens=9,
            cache=tmp_path,
            budget=budget,
            fallback=["direct/b", "direct/c"],
        )
        assert model.complete(HELLO).model == "b"
        assert {name: up.requests[0].body[name] for name in ("temperature", "max_tokens")} == {
            "temperature": 0.5,
            "max_tokens": 9,
        }
        assert (len(denied.requests), len(up.requests), budget.spent.calls) == (1, 1, 2)
        with pytest.raises(errors.BudgetExceeded):
            model.complete(Request(HELLO.messages, sample=1))
        assert len(denied.requests) + len(up.requests) == 3
    as_cache(tmp_path)


def test_a_long_retry_after_does_not_block() -> None:
    """With a time-out of 1 s, a Retry-After of 90 s raises at once."""
    with ChatServer(faults=lambda _: Fault(429, headers={"Retry-After": "90"})) as server:
        model = mti.Model(
            "openai/any", api_base=server.base_url, api_key="k", cache=False, timeout=1
        )
        began = time.monotonic()
        with pytest.raises(errors.RateLimited) as caught:
            model.complete(HELLO)
        assert caught.value.retry_after == 90
        assert time.monotonic() - began < 5


def test_as_model() -> None:
    """Models stay as they are, a name gives the same model each time, None that of the settings."""
    echo = mti.EchoModel()
    assert as_model(echo) is echo
    named = as_model("openai/gpt-5-mini")
    assert as_model("openai/gpt-5-mini") is named
    assert as_model("openai/gpt-5") is not named
    with mti.using(model=echo):
        assert as_model(None) is echo
    with mti.using(model="openai/gpt-5-mini"):
        assert as_model(None) is named
        assert as_model(echo) is echo
    with mti.using(cache_dir=Path("elsewhere")):
        assert as_model("openai/gpt-5-mini") is not named


@pytest.mark.parametrize("wrong", [7, mti.EchoModel, object(), ["openai/x"]])
def test_what_is_no_model(wrong: object) -> None:
    """Anything else is refused, a class of models too, with what would do."""
    with pytest.raises(errors.SettingsError, match="is no model"):
        as_model(wrong)


def test_no_model_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a model anywhere, the hint says the two ways of naming one."""
    monkeypatch.delenv("MTIPROMPT_MODEL", raising=False)
    with pytest.raises(errors.SettingsError, match="MTIPROMPT_MODEL"):
        as_model(None)
    monkeypatch.setenv("MTIPROMPT_MODEL", "openai/gpt-5-mini")
    assert as_model(None).name == "openai/gpt-5-mini"


def test_a_program_over_http(tmp_path: Path) -> None:
    """A program of three tasks runs over HTTP in one call, then from the cache in none."""
    program = mti.combine(
        mti.task("message -> urgent: bool"), mti.task("message -> topic: str"), "message -> n: int"
    )
    with ChatServer(
        refuses=["json_schema"], answer=lambda _: '{"urgent": true, "topic": "x", "n": 3}'
    ) as server:
        model = mti.Model("openai/any", api_base=server.base_url, api_key="k", cache=tmp_path)
        result = program(message="Help!", model=model)
        assert (result.urgent, result.topic, result.n) == (True, "x", 3)
        assert [received.level for received in server.requests] == ["json_schema", "json_object"]
        again = program(message="Help!", model=model)
        assert again.usage.hits == 1
        assert again.usage.calls == 0
        assert len(server.requests) == 2
    as_cache(tmp_path)
