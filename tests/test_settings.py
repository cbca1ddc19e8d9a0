"""Settings: `using` before the environment before defaults."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import mtiprompt as mti
from mtiprompt import settings


def test_using_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`with using(...)` wins over MTIPROMPT_*, and only inside its block."""
    monkeypatch.setenv("MTIPROMPT_MODEL", "a/b")
    assert settings.current().model == "a/b"
    with mti.using(model="c/d"):
        assert settings.current().model == "c/d"
        with mti.using(threads=3):
            assert (settings.current().model, settings.current().threads) == ("c/d", 3)
    assert settings.current().model == "a/b"


def test_using_holds_in_its_thread_only() -> None:
    """Another thread does not see the settings of this one."""
    seen: list[object] = []
    with mti.using(model="c/d"):
        thread = threading.Thread(target=lambda: seen.append(settings.current().model))
        thread.start()
        thread.join()
    assert seen != ["c/d"]


def test_folders_follow_the_cache_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without MTIPROMPT_*_DIR both folders lie in the user's cache folder."""
    monkeypatch.delenv("MTIPROMPT_CACHE_DIR", raising=False)
    monkeypatch.delenv("MTIPROMPT_MODELS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert settings.current().cache_dir == Path("/x/mtiprompt/replies")
    assert settings.current().models_dir == Path("/x/mtiprompt/models")


def test_without_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is missed only where a default lies in it, and the hint says what to set."""

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    for variable in ("MTIPROMPT_CACHE_DIR", "MTIPROMPT_MODELS_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for look in (settings.current, lambda: settings.one("cache_dir")):
        with pytest.raises(mti.SettingsError, match=r"set MTIPROMPT_CACHE_DIR and MTIPROMPT_MOD"):
            look()
    assert settings.one("templates") is None
    with mti.using(cache_dir=Path("/a"), models_dir=Path("/b")):
        assert settings.current().cache_dir == Path("/a")
    monkeypatch.setenv("MTIPROMPT_CACHE_DIR", "/a")
    assert settings.one("cache_dir") == Path("/a")
    monkeypatch.setenv("MTIPROMPT_MODELS_DIR", "/b")
    assert settings.current().models_dir == Path("/b")


@pytest.mark.parametrize(("name", "text"), [("THREADS", "two"), ("ALLOW_REQUESTS", "maybe")])
def test_senseless_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    """A variable that makes no sense is named with its value."""
    monkeypatch.setenv(f"MTIPROMPT_{name}", text)
    with pytest.raises(mti.SettingsError, match=f"MTIPROMPT_{name}='{text}' makes no sense"):
        settings.current()


def test_unknown_setting_is_refused() -> None:
    """`using` knows its settings, and lists them."""
    with (
        pytest.raises(mti.SettingsError, match=r"unknown setting 'modle'.*known: .*model"),
        mti.using(modle="x"),
    ):
        pass


def test_a_folder_may_be_text() -> None:
    """`using` takes the text of a folder or a file as the environment does."""
    with mti.using(models_dir="/models", trace="calls.jsonl"):
        assert settings.one("models_dir") == Path("/models")
        assert settings.current().trace == Path("calls.jsonl")
