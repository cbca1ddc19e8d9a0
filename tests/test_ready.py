"""What a program prepares for a plan and its models, and when it prepares it anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt.models.model import as_model
from mtiprompt.ready import Ready

PROGRAM = mti.combine("m -> a", "m -> b")
PLAN = mti.Plan.groups(PROGRAM, [mti.Group(("a",), "openai/x"), ["b"]])
BASE = mti.EchoModel()


def ready(**changes: Any) -> Ready:
    """What is prepared under settings."""
    with mti.using(**changes):
        return PROGRAM.ready(BASE, PLAN)


@pytest.mark.parametrize("name", ["cache_dir", "models_dir", "trace"])
def test_the_model_of_a_group_follows_the_settings(name: str, tmp_path: Path) -> None:
    """A model that a group names is that of the settings of the call, as one named by the call."""
    for place in (tmp_path / "one", tmp_path / "other"):
        with mti.using(**{name: place}):
            assert PROGRAM.ready(BASE, PLAN).models == (as_model("openai/x"), BASE)


def test_the_model_of_a_group_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for the endpoint that the environment names."""
    before = ready()
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert ready().models[0].identity != before.models[0].identity


def test_what_is_prepared_is_kept(tmp_path: Path) -> None:
    """Under the same settings nothing is prepared again, also where others were in force since."""
    first = ready(cache_dir=tmp_path / "one")
    assert ready(cache_dir=tmp_path / "other") is not first
    assert ready(cache_dir=tmp_path / "one") is first
    assert ready(cache_dir=tmp_path / "one", allow_requests=True) is first


def test_models_of_a_plan() -> None:
    """A plan tells the models that its groups name, each once."""
    program = mti.combine("m -> a", "m -> b", "m -> c", "m -> d")
    names = ["openai/x", None, "openai/y", "openai/x"]
    groups = [mti.Group((task,), model) for task, model in zip(program.order, names, strict=True)]
    assert mti.Plan.groups(program, groups).models == ("openai/x", "openai/y")
    assert mti.Plan.fused(program).models == ()


def test_a_map_with_a_shadow_keeps_its_settings(tmp_path: Path) -> None:
    """What a map with a shadow prepares while its rows are taken is of the settings that it was
    begun with, as without a shadow.
    """
    (tmp_path / "item.jinja").write_text("<{{ inputs[0].text }}>", encoding="utf-8")
    for shadow in (None, 1.0):
        model = mti.EchoModel()
        with mti.using(templates=tmp_path):
            results = PROGRAM.map([{"m": "x"}] * 3, model=model, shadow=shadow)
        assert len(list(results)) == 3
        assert {request.messages[-1].content for request in model.requests} == {"<x>"}
