"""A path that begins with `~` is one place, for whoever writes there and whoever reads."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt import settings
from mtiprompt.errors import ModelNotFound
from mtiprompt.kept_lines import KeptLines
from mtiprompt.models.catalogue import resolve
from mtiprompt.models.naming import litellm_id
from mtiprompt.models.replay import Recording, ReplayModel
from mtiprompt.models.resume import ResumedModel
from mtiprompt.models.trace import TracedModel, read_trace
from mtiprompt.optimizer.asked import asked_model

HELLO = mti.Request((mti.Message("user", "Hello"),))
FILE = "runs/calls.jsonl"
Place = str | PathLike[str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a folder for runs; the folder that one is in is another, and empty."""
    (tmp_path / "home" / "runs").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def _said(path: Place, make: Callable[[mti.ScriptedModel, Place], mti.LanguageModel]) -> str:
    """What is answered by a model that is made twice, the first time with a reply to give."""
    make(mti.ScriptedModel(["Good day."], name="any"), path).complete(HELLO)
    return make(mti.ScriptedModel([], name="any"), path).complete(HELLO).text


def _searched(model: mti.LanguageModel, path: Place) -> mti.LanguageModel:
    return asked_model(model, mti.Budget(calls=5), path)


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("make", [ResumedModel, Recording, _searched])
def test_what_is_kept_under_home_is_found_there(
    home: Path, make: Callable[[mti.ScriptedModel, Place], mti.LanguageModel], kind: Any
) -> None:
    """A record under `~` is gone on with, and lies in the home folder and nowhere else."""
    assert _said(kind(f"~/{FILE}"), make) == "Good day."
    assert list((home / "runs").rglob("*.jsonl"))
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize("kind", [str, Path])
def test_a_trace_under_home_is_read(home: Path, kind: Any) -> None:
    """What a model was told to trace is read and replayed by the same path."""
    place = kind(f"~/{FILE}")
    TracedModel(mti.ScriptedModel(["Good day."]), place).complete(HELLO)
    assert (home / FILE).is_file()
    assert len(read_trace(place)) == 1
    assert ReplayModel(place).complete(HELLO).text == "Good day."


def test_lines_under_home_are_kept(home: Path) -> None:
    """Values that are kept line by line are found again, in the home folder."""

    def lines() -> KeptLines[int]:
        return KeptLines(Path("~") / FILE, "a test", lambda value: value, int)

    lines().add("key", 3)
    assert (home / FILE).is_file()
    assert lines().get("key") == 3
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize("name", ["cache_dir", "models_dir", "templates", "trace"])
def test_settings_know_home(home: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Each folder and file of the settings may be given under `~`, in every way."""
    for given in ("~/mine", Path("~/mine")):
        with mti.using(**{name: given}):
            assert settings.one(name) == getattr(settings.current(), name) == home / "mine"
    monkeypatch.setenv(f"MTIPROMPT_{name.upper()}", "~/mine")
    assert settings.one(name) == getattr(settings.current(), name) == home / "mine"


@pytest.mark.parametrize("name", ["cache_dir", "models_dir"])
def test_the_cache_home_may_be_under_home(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The user's cache folder may be given under `~` too."""
    monkeypatch.delenv(f"MTIPROMPT_{name.upper()}", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "~/kept")
    assert settings.one(name).parent == home / "kept" / "mtiprompt"


def test_a_home_that_is_not_there_is_a_name(home: Path) -> None:
    """`~` and the name of nobody is the name of a folder, as in a shell."""
    place = "~no-such-user-here/calls.jsonl"
    assert _said(place, ResumedModel) == "Good day."
    assert (Path.cwd() / place).is_file()
    cached = mti.Model("openai/x", cache="~no-such-user-here/replies")
    assert cached.name == "openai/x"
    with pytest.raises(ModelNotFound, match="no model file ~no-such-user-here"):
        resolve("local:~no-such-user-here/x.gguf")
    assert litellm_id("local:~no-such-user-here/x.gguf").endswith("/here/~no-such-user-here/x.gguf")
