"""Models in this process: what is refused, and what cannot be loaded."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mtiprompt import errors
from mtiprompt.models import catalogue, local
from mtiprompt.wire import NOTATIONS, Notation
from tests.conftest_models import (
    HELLO,
    MODEL,
    asked,
    one,
    text_of,
)

# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"messages": []}, errors.RequestRejected),
        ({"messages": "Hello"}, errors.RequestRejected),
        ({"messages": ["Hello"]}, errors.RequestRejected),
        ({"messages": [{"role": "user"}]}, errors.RequestRejected),
        ({"messages": [{"content": "Hello"}]}, errors.RequestRejected),
        ({"messages": [{"role": "user", "content": "a b c " * 600}]}, errors.ContextTooLong),
        ({"temperature": "warm"}, errors.RequestRejected),
        ({"n": 2}, errors.RequestRejected),
        ({"tools": [{"type": "function"}]}, errors.RequestRejected),
        ({"response_format": {"type": "xml"}}, errors.RequestRejected),
        ({"response_format": {"type": "json_schema"}}, errors.RequestRejected),
        ({"response_format": asked({"type": "text"})}, errors.SchemaRejected),
        ({"response_format": asked(one({"$ref": "#/$defs/No"}))}, errors.SchemaRejected),
        ({"response_format": asked(one({"enum": []}))}, errors.SchemaRejected),
    ],
)
@pytest.mark.parametrize("notation", ["free", "compact"])
def test_what_llama_cpp_refuses_is_mapped(
    local_engine: local.Engine, change: dict[str, Any], kind: type[errors.ModelError], notation: str
) -> None:
    """Each refusal is the error of the tree that says what was wrong, and no retry is advised."""
    request = {"messages": HELLO, "max_tokens": 4, "mti_notation": notation}
    with pytest.raises(errors.ModelError) as caught:
        local_engine.chat({**request, **change})
    assert type(caught.value) is kind
    assert not caught.value.retryable


@pytest.mark.parametrize("notation", NOTATIONS)
def test_bounds_that_contradict_are_refused(local_engine: local.Engine, notation: Notation) -> None:
    """They never reach llama.cpp, which would take memory until the process is killed."""
    schema = one({"type": "string", "minLength": 5, "maxLength": 2})
    with pytest.raises(errors.SchemaRejected, match="minLength 5 above maxLength 2"):
        local_engine.chat(
            {"messages": HELLO, "response_format": asked(schema), "mti_notation": notation}
        )


@pytest.mark.parametrize("notation", ["compact", "spaced", "lines"])
def test_a_grammar_that_is_dropped_is_noticed(
    local_engine: local.Engine, notation: Notation
) -> None:
    """llama.cpp lets the model write freely where it cannot read a grammar; that is an error."""
    schema = one({"type": "string", "pattern": "[z"})
    began = time.monotonic()
    with pytest.raises(errors.SchemaRejected, match="cannot enforce"):
        local_engine.chat(
            {"messages": HELLO, "response_format": asked(schema), "mti_notation": notation}
            | {"max_tokens": 900, "temperature": 0}
        )
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("notation", ["free", "compact"])
@pytest.mark.parametrize("pattern", ["^(?=a)b$", "abc", "^\\d+$"])
def test_no_pattern_makes_noise(
    local_engine: local.Engine, capfd: pytest.CaptureFixture[str], notation: Notation, pattern: str
) -> None:
    """Patterns that cannot be enforced are left to validation, without a word from llama.cpp."""
    schema = one({"type": "string", "pattern": pattern, "maxLength": 5})
    reply = local_engine.chat(
        {"messages": HELLO, "response_format": asked(schema), "mti_notation": notation}
        | {"max_tokens": 30, "temperature": 0}
    )
    assert text_of(reply).startswith("{")
    assert capfd.readouterr() == ("", "")


# --- loading -----------------------------------------------------------------------------------


def test_the_listener_is_locked(local_engine: local.Engine) -> None:
    """Without the key, llama.cpp's own HTTP listener answers nothing and invites no other site."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    base = local_engine._server.listening_address
    for path, body in (
        ("/v1/chat/completions", {"messages": HELLO}),
        ("/tokenize", {"content": "Hello"}),
        ("/v1/models", None),
        ("/slots", None),
        ("/props", None),
        ("/metrics", None),
    ):
        data = json.dumps(body).encode() if body else None
        with pytest.raises(urllib.error.HTTPError) as caught:
            direct.open(urllib.request.Request(base + path, data), timeout=10)
        with caught.value as refused:
            assert refused.code in {401, 404, 501}
            assert refused.headers.get("Access-Control-Allow-Origin", "") == ""


def test_loading_leaves_the_environment_alone(local_engine: local.Engine) -> None:
    """How threads wait is set while the library is loaded, and children do not inherit it."""
    assert local_engine.threads == 1
    assert "GOMP_SPINCOUNT" not in os.environ


def test_two_threads_get_one_engine(model_file: Path) -> None:
    """A model that two threads ask for at the same time is loaded once."""
    with ThreadPoolExecutor(2) as pool:
        asking = [
            pool.submit(local.engine, model_file, slots=1, context=192, threads=1) for _ in "ab"
        ]
        first, second = (one.result() for one in asking)
    assert first is second
    first.close()


def test_a_model_without_a_template_answers(model_file: Path, tmp_path: Path) -> None:
    """A base model, whose file has no chat template, loads and answers."""
    bare = tmp_path / "bare.gguf"
    data = model_file.read_bytes()
    assert data.count(b"tokenizer.chat_template") == 1
    bare.write_bytes(data.replace(b"tokenizer.chat_template", b"tokenizer.chat_nothing_"))
    base = local.Engine(bare, slots=1, context=256, threads=1)
    try:
        reply = base.chat(
            {"messages": HELLO, "response_format": asked(one({"enum": ["x"]})), "max_tokens": 20}
            | {"mti_notation": "compact"}
        )
        assert text_of(reply) == '{"a":"x"}'
    finally:
        base.close()
        bare.unlink()


def test_what_cannot_be_loaded(model_file: Path, tmp_path: Path) -> None:
    """A file that is missing, no model or cut off, and numbers that make no sense, are told."""
    with pytest.raises(errors.ModelNotFound, match="cannot read"):
        local.engine(tmp_path / "none.gguf")
    wrong = tmp_path / "wrong.gguf"
    wrong.write_text("This is no model.")
    with pytest.raises(errors.ModelMisconfigured, match="no GGUF model"):
        local.engine(wrong)
    wrong.write_bytes(model_file.read_bytes()[:100_000])
    with pytest.raises(errors.ModelMisconfigured, match="cannot be loaded"):
        local.engine(wrong, context=128, slots=1)
    with pytest.raises(errors.ModelMisconfigured, match="context of 8192 tokens, not 9000"):
        local.engine(model_file, context=9000)
    with pytest.raises(errors.ModelMisconfigured, match="slots=0"):
        local.engine(model_file, slots=0)


def test_a_damaged_file_is_quiet(
    model_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is wrong is in the error, and nothing on standard error."""
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(model_file.read_bytes()[:3_000_000])
    with pytest.raises(errors.ModelMisconfigured):
        local.engine(cut, context=128, slots=1)
    assert capfd.readouterr() == ("", "")


def test_names_of_models(model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name or a path leads to a file, or to an error that says how to get one."""
    assert local.resolve(f"local/{MODEL}") == local.resolve(MODEL) == model_file.resolve()
    assert local.resolve(f"local:{model_file}") == local.resolve(f"local/{model_file.absolute()}")
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "own.gguf"
    own.touch()
    assert local.resolve("local:own.gguf") == own.resolve()
    monkeypatch.setenv("MTIPROMPT_MODELS_DIR", str(tmp_path))
    assert local.resolve("local/own") == own.resolve()
    with pytest.raises(errors.ModelNotFound) as caught:
        local.resolve("local:none.gguf")
    assert "none.gguf" in str(caught.value)
    with pytest.raises(errors.ModelNotFound) as caught:
        local.resolve("local/qwen2.5-coder-0.5b")
    assert caught.value.hint == "mtiprompt models pull qwen2.5-coder-0.5b"
    with pytest.raises(errors.ModelNotFound) as caught:
        local.resolve("local/smolm-135")
    assert (caught.value.hint or "").startswith(f"known: {MODEL}, ")
    assert set(catalogue.CATALOGUE) < set((caught.value.hint or "")[len("known: ") :].split(", "))
