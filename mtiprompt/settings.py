"""Settings: argument > `with using(...)` > `MTIPROMPT_*` in the environment > default."""

from __future__ import annotations

import os
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mtiprompt.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True)
class Settings:
    """What holds where no argument says otherwise.

    Attributes:
        model: A model or its name (`MTIPROMPT_MODEL`).
        cache_dir: Folder of the reply cache (`MTIPROMPT_CACHE_DIR`).
        cache_size: Bytes that the reply cache may take on disk (`MTIPROMPT_CACHE_SIZE`); None: what
            the folder was told before, 1 GiB at first.
        models_dir: Folder of downloaded models (`MTIPROMPT_MODELS_DIR`).
        templates: Folder whose templates go before the shipped ones (`MTIPROMPT_TEMPLATES`).
        threads: Threads of the in-process engine (`MTIPROMPT_THREADS`); None: all cores.
        allow_requests: Whether calls may leave this machine (`MTIPROMPT_ALLOW_REQUESTS`, 0 or 1).
            Off in tests, so that a stray call is an error; calls to loopback addresses and to
            in-process models are always allowed.
        telemetry: Whether calls are OpenTelemetry spans (`MTIPROMPT_TELEMETRY`, 0 or 1).
        trace: File to which a line is added for each call (`MTIPROMPT_TRACE`).
    """

    model: Any = None
    cache_dir: Path = Path()
    cache_size: int | None = None
    models_dir: Path = Path()
    templates: Path | None = None
    threads: int | None = None
    allow_requests: bool = True
    telemetry: bool = False
    trace: Path | None = None


_OVERRIDES: ContextVar[dict[str, Any]] = ContextVar("mtiprompt_settings", default={})  # noqa: B039


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with the user's home folder for `~`; as it is where there is no such folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_path(value: object) -> bool:
    """Whether a value is a path that names something; an empty text names nothing."""
    place = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    return isinstance(place, str) and place != ""


def _flag(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError(text)
    return text == "1"


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _may_be_model(value: object) -> bool:
    """Whether a value is no plain data and no class; more is known where a model is asked."""
    return not isinstance(value, int | float | bytes | list | dict | type)


class _Kind(NamedTuple):
    """What a setting takes; in Python also None, where that is its default.

    Attributes:
        read: Its value for the text of a variable.
        fits: Whether a value may be given in Python.
        hint: What may be given.
    """

    read: Callable[[str], Any]
    fits: Callable[[Any], bool]
    hint: str


_FLAG = _Kind(_flag, lambda value: isinstance(value, bool), "True or False, as a variable 1 or 0")
_WHOLE = _Kind(int, _is_whole, "a whole number")
_PATH = _Kind(expanded, is_path, "give a path")
_KINDS = {
    "model": _Kind(str, _may_be_model, "give a model or its name"),
    "cache_dir": _PATH,
    "cache_size": _WHOLE,
    "models_dir": _PATH,
    "templates": _PATH,
    "threads": _WHOLE,
    "allow_requests": _FLAG,
    "telemetry": _FLAG,
    "trace": _PATH,
}
_VARIABLE = {name: f"MTIPROMPT_{name.upper()}" for name in _KINDS}
_VARIABLES = ("XDG_CACHE_HOME", *_VARIABLE.values())
_DEFAULTS = {field.name: field.default for field in fields(Settings)}
_OF_HOME = {"cache_dir": "replies", "models_dir": "models"}
"""Settings whose default is a folder in the user's, and what it is called there."""


def current() -> Settings:
    """The settings that hold here and now.

    Raises:
        SettingsError: An environment variable has a value that makes no sense, or there is no home
            folder for the default of a folder.
    """
    overrides = _OVERRIDES.get()
    texts = tuple(os.environ.get(variable) for variable in _VARIABLES)
    found = _from_environment(texts, frozenset(overrides.keys() & _OF_HOME.keys()))
    return replace(found, **overrides) if overrides else found


def one(name: str) -> Any:
    """One of the settings that hold here and now; reading all of them takes much longer.

    Raises:
        SettingsError: Its environment variable has a value that makes no sense, or its default
            needs a home folder and there is none.
    """
    overrides = _OVERRIDES.get()
    if name in overrides:
        return overrides[name]
    if text := os.environ.get(_VARIABLE[name]):
        return _read(name, text)
    if name in _OF_HOME:
        return _base(os.environ.get("XDG_CACHE_HOME")) / _OF_HOME[name]
    return _DEFAULTS[name]


@lru_cache(maxsize=16)
def _from_environment(texts: tuple[str | None, ...], given: frozenset[str]) -> Settings:
    """What the variables say; the defaults of folders that are given are not looked for."""
    named = dict(zip(_VARIABLES, texts, strict=True))
    values: dict[str, Any] = {}
    for name in _KINDS:
        if text := named[_VARIABLE[name]]:
            values[name] = _read(name, text)
        elif name in _OF_HOME and name not in given:
            values[name] = _base(named["XDG_CACHE_HOME"]) / _OF_HOME[name]
    return Settings(**values)


def _base(cache_home: str | None) -> Path:
    """Our folder in the user's cache folder."""
    try:
        return (expanded(cache_home) if cache_home else Path.home() / ".cache") / "mtiprompt"
    except RuntimeError:
        raise SettingsError(
            "this user has no home folder",
            hint="set MTIPROMPT_CACHE_DIR and MTIPROMPT_MODELS_DIR",
        ) from None


def _read(name: str, text: str) -> Any:
    kind = _KINDS[name]
    try:
        return kind.read(text)
    except ValueError:
        raise SettingsError(f"{_VARIABLE[name]}={text!r} makes no sense", hint=kind.hint) from None


def _given(name: str, value: Any) -> Any:
    """The value of a setting that is given in Python."""
    kind = _KINDS[name]
    if value is None and _DEFAULTS[name] is None:
        return None
    if not kind.fits(value):
        raise SettingsError(f"{name}={value!r:.80} makes no sense", hint=kind.hint)
    return expanded(value) if kind is _PATH else value


@contextmanager
def using(**changes: Any) -> Iterator[None]:
    """Settings for the code inside the `with` block, in this thread or task only.

    Args:
        **changes: Names and values of `Settings`; a folder or a file may be text.

    Raises:
        SettingsError: There is no such setting, or it does not take such a value.
    """
    known = {f.name for f in fields(Settings)}
    if unknown := sorted(set(changes) - known):
        raise SettingsError(
            f"unknown setting {unknown[0]!r}", hint=f"known: {', '.join(sorted(known))}"
        )
    given = {name: _given(name, value) for name, value in changes.items()}
    token = _OVERRIDES.set(_OVERRIDES.get() | given)
    try:
        yield
    finally:
        _OVERRIDES.reset(token)
