"""The small real model that tests call, and its engine; `tests/conftest.py` makes them known."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mtiprompt.models import catalogue, local

MODEL = "smollm2-135m"
SIZES = {"slots": 6, "context": 1024, "threads": 1}
"""How tests load it: little memory, one thread."""
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def model_file() -> Path:
    """The file of the small model, fetched if it is missing (`MTIPROMPT_MODELS_DIR` says where)."""
    return catalogue.pull(MODEL).resolve()


@pytest.fixture(scope="session")
def local_engine(model_file: Path) -> Iterator[local.Engine]:
    """The small model, loaded once for all tests."""
    loaded = local.engine(model_file, **SIZES)
    yield loaded
    loaded.close()


@pytest.fixture(scope="session")
def litellm_local(local_engine: local.Engine) -> Any:
    """litellm, able to call the small model."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    import litellm

    local.register(litellm)
    return litellm


def run_script(
    script: str, *arguments: str, seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """A Python script in a process of its own; the tests' environment holds there too."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )


# --- what is asked ---------------------------------------------------------------------------

HELLO = [{"role": "user", "content": "Hello, how are you?"}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "mood": {"enum": ["good", "bad"]},
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/Tag"}, "minItems": 2, "maxItems": 2},
        "more": {
            "type": "object",
            "properties": {"sure": {"type": "boolean"}, "why": {"type": "null"}},
            "required": ["sure", "why"],
            "additionalProperties": False,
        },
    },
    "required": ["mood", "size", "tags", "more"],
    "additionalProperties": False,
    "$defs": {"Tag": {"enum": ["x", "é"]}},
}


def asked(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answers", "schema": schema}}


def one(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"a": schema},
        "required": ["a"],
        "additionalProperties": False,
    }


def text_of(reply: dict[str, Any]) -> str:
    return str(reply["choices"][0]["message"]["content"])


LONG: dict[str, Any] = {"messages": HELLO, "max_tokens": 900, "ignore_eos": True}


def busy(local_engine: local.Engine) -> bool:
    """Whether the engine has something to do within some seconds."""
    end = time.monotonic() + 20
    while not local_engine._calls and time.monotonic() < end:
        time.sleep(0.01)
    return bool(local_engine._calls)


def settled(local_engine: local.Engine, seconds: float) -> bool:
    """Whether the engine has nothing to do within so many seconds."""
    end = time.monotonic() + seconds
    while local_engine._calls and time.monotonic() < end:
        time.sleep(0.01)
    return not local_engine._calls
