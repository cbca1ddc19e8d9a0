"""Settings: `using` before the environment before defaults."""

from __future__ import annotations

import os
import threading
from dataclasses import fields
from pathlib import Path
from typing import Any

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


SWITCH = ["0", "1", "false", "yes", "", 0, 1, 1.0, None, [], bool]
NUMBER = ["2", "", 1.5, True, [2], b"2", int]
PLACE = [3, 1.5, True, b"here", ["here"], "", Path]
WRONG: dict[str, list[Any]] = {
    "model": [3, 1.5, True, b"echo", ["echo"], {"name": "echo"}, mti.EchoModel],
    "cache_dir": [*PLACE, None],
    "cache_size": NUMBER,
    "models_dir": [*PLACE, None],
    "templates": PLACE,
    "threads": NUMBER,
    "allow_requests": SWITCH,
    "telemetry": SWITCH,
    "trace": PLACE,
}
TAKEN = {
    "model": "a model",
    "cache_size": "whole number",
    "threads": "whole number",
    "allow_requests": "True or False",
    "telemetry": "True or False",
}
"""What the hints say that settings take; that of all others is a path."""


@pytest.mark.parametrize("name", [one.name for one in fields(settings.Settings)])
def test_a_value_of_another_kind_is_refused(name: str) -> None:
    """Each setting names itself, what it was given and what it takes; nothing is set."""
    before = settings.current()
    for value in WRONG[name]:
        with pytest.raises(mti.SettingsError) as caught, mti.using(**{name: value}):
            pass
        assert caught.value.message == f"{name}={value!r:.80} makes no sense"
        assert TAKEN.get(name, "path") in str(caught.value.hint)
        assert settings.current() == before


class Word(str):
    """Text of a class of its own."""


class Number(int):
    """A number of a class of its own."""


class Somewhere(os.PathLike[str]):
    """A path of another library."""

    def __fspath__(self) -> str:
        """Where it leads."""
        return "there"


def test_a_value_of_its_kind_is_taken() -> None:
    """Whatever class it is of, and None where that is the default."""
    for name in ("cache_dir", "models_dir", "templates", "trace"):
        for place in ("there", Word("there"), Path("there"), Somewhere()):
            with mti.using(**{name: place}):
                assert settings.one(name) == Path("there")
    for name in ("cache_size", "threads"):
        for number in (2, Number(2)):
            with mti.using(**{name: number}):
                assert settings.one(name) == 2
    for name in ("allow_requests", "telemetry"):
        for switch in (True, False):
            with mti.using(**{name: switch}):
                assert settings.one(name) is switch
    for model in ("a/b", Word("a/b"), mti.EchoModel()):
        with mti.using(model=model):
            assert settings.one("model") is model
    for one in fields(settings.Settings):
        if one.default is None:
            with mti.using(**{one.name: None}):
                assert settings.one(one.name) is None


@pytest.mark.parametrize("text", ["0", "false", "no"])
def test_calls_that_are_switched_off_by_a_word_are_not_sent(text: str) -> None:
    """Text is no switch: it is refused before the model is asked, rather than read as "on"."""
    asked = mti.EchoModel()
    with pytest.raises(mti.SettingsError, match="True or False"), mti.using(allow_requests=text):
        mti.combine("text -> mood")(text="x", model=asked)
    assert asked.requests == []


@pytest.mark.parametrize(
    ("variable", "text", "taken"),
    [
        ("ALLOW_REQUESTS", "yes", "True or False, as a variable 1 or 0"),
        ("TELEMETRY", "true", "True or False, as a variable 1 or 0"),
        ("CACHE_SIZE", "1GB", "a whole number"),
        ("THREADS", "all", "a whole number"),
    ],
)
def test_a_variable_says_what_it_takes(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, taken: str
) -> None:
    """One that makes no sense is refused with what it takes."""
    monkeypatch.setenv(f"MTIPROMPT_{variable}", text)
    with pytest.raises(mti.SettingsError) as caught:
        settings.one(variable.lower())
    assert caught.value.hint == taken
