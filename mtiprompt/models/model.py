"""The model that users make, by name: `mti.Model("openai/gpt-5-mini")`."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

from mtiprompt import settings
from mtiprompt.errors import ModelNotFound, SettingsError
from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.models.cache import CachedModel, ReplyCache
from mtiprompt.models.naming import is_local, public_endpoint, without_secrets
from mtiprompt.models.retry import RetryingModel
from mtiprompt.models.via_litellm import LiteLLMModel, LocalOptions

TIMEOUT = 60.0
LOCAL_TIMEOUT = 600.0
"""Seconds for one call, where no argument says otherwise; a model in this process also waits for
its turn in there."""


class Model(Wrapper):
    """A language model, by name: cached, retried, and called through litellm.

    Nothing is loaded or sent before the first call.

    Example:
        >>> import mtiprompt as mti
        >>> from mtiprompt.testing import ChatServer
        >>> with ChatServer(lambda received: "Good day.") as server:
        ...     model = mti.Model("openai/any", api_base=server.base_url, api_key="k", cache=False)
        ...     model.complete(mti.Request((mti.Message("user", "Hello"),))).text
        'Good day.'

    Args:
        name: `provider/model`, any that litellm knows; `local/NAME`, a model of the catalogue, in
            this process; or `local:/path.gguf`.
        api_base: The endpoint, if it is not the provider's own.
        api_key: The key; without one, litellm looks into the environment.
        temperature: Sent only if given, because reasoning models refuse it; 0 for local models.
        max_tokens: Tokens that a reply may have; 1024 for local models.
        timeout: Seconds for one call in all, however slowly it drips: 60, for local models 600.
            All calls and waits for one request together take at most this times the calls allowed.
        cache: Whether to look replies up and keep them: True, in the folder of the settings;
            False; or a folder.
        retries: Calls after the first, where asking again can help.
        **params: `seed`, `top_p`, `stop` and whatever else litellm or the provider takes; for
            local models also `slots`, `context` and `threads`, see `LocalOptions`.

    Raises:
        ModelNotFound: The name has no provider, or the catalogue no such model.
        SettingsError: An argument makes no sense.
    """

    def __init__(
        self,
        name: str,
        *,
        api_base: str | None = None,
        api_key: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: float | None = None,
        cache: bool | str | PathLike[str] = True,
        retries: int = 4,
        **params: Any,
    ) -> None:
        _check_name(name)
        if timeout is None:
            timeout = LOCAL_TIMEOUT if is_local(name) else TIMEOUT
        if timeout <= 0:
            raise SettingsError(f"timeout={timeout:g} makes no sense", hint="give seconds above 0")
        if retries < 0:
            raise SettingsError(f"retries={retries} makes no sense", hint="0 switches them off")
        local = _local_options(name, params, remote={"api_base": api_base, "api_key": api_key})
        self._client = LiteLLMModel(
            name,
            api_base=api_base,
            api_key=api_key,
            timeout=timeout,
            local=local,
            temperature=temperature,
            max_tokens=max_tokens,
            **params,
        )
        own = {"api_base": public_endpoint(api_base), "cache": cache}
        self._shown = own | (asdict(local) if local else {}) | self._client.params
        inner: LanguageModel = RetryingModel(
            self._client, retries=retries, total=timeout * (retries + 1)
        )
        self.cache = None if cache is False else ReplyCache.at(_folder(cache))
        if self.cache is not None:
            inner = CachedModel(inner, self.cache)
        super().__init__(inner)

    def warm(self) -> None:
        """Load the client library now instead of at the first call."""
        self._client.warm()

    def __repr__(self) -> str:
        """How it was made, without secrets."""
        shown = without_secrets(self._shown)
        kept = {key: v for key, v in shown.items() if v is not None and v is not True}
        given = "".join(f", {key}={value!r}" for key, value in kept.items())
        return f"Model({self.name!r}{given})"


def as_model(model: object) -> LanguageModel:
    """The model that is meant.

    Args:
        model: A model; its name, which gives the same model each time under the same settings; or
            None, for that of the settings.

    Raises:
        SettingsError: No model is set, or this is none.
        ModelNotFound: There is none of this name.
    """
    if model is None:
        model = settings.current().model
        if model is None:
            raise SettingsError("there is no model", hint="pass model=... or set MTIPROMPT_MODEL")
    if isinstance(model, str):
        return _named(model)
    if isinstance(model, LanguageModel) and not isinstance(model, type):
        return model
    raise SettingsError(
        f"{model!r} is no model", hint='give mti.Model("provider/name") or such a name'
    )


KEPT = 32
"""Models made from names that are kept."""

_NAMED: OrderedDict[tuple[object, ...], Model] = OrderedDict()
_LOCK = threading.Lock()


def _named(name: str) -> Model:
    now = settings.current()
    key = (name, now.cache_dir, now.models_dir, now.threads)
    with _LOCK:
        if key not in _NAMED:
            _NAMED[key] = Model(name)
            if len(_NAMED) > KEPT:
                _NAMED.popitem(last=False)
        _NAMED.move_to_end(key)
        return _NAMED[key]


def _check_name(name: str) -> None:
    if not isinstance(name, str):
        raise SettingsError(f"the name of a model is text, not {type(name).__name__}")
    provider, slash, rest = name.partition("/")
    if name.startswith("local:"):
        if not name.endswith(".gguf"):
            raise ModelNotFound(f"{name!r} names no model", hint="write local:/path/to/model.gguf")
    elif not (slash and provider and rest):
        raise ModelNotFound(
            f"{name!r} names no provider",
            hint="write provider/model: openai/gpt-5-mini, or local/smollm2-135m",
        )
    elif provider == "local":
        from mtiprompt.models import catalogue, local

        if rest not in catalogue.CATALOGUE:
            local.resolve(name)  # a file of the user's in the folder of models will do


def _local_options(
    name: str, params: dict[str, Any], *, remote: dict[str, Any]
) -> LocalOptions | None:
    """The options of the engine, taken out of the parameters."""
    options = {key: params.pop(key) for key in ("slots", "context", "threads") if key in params}
    wrong = remote if is_local(name) else options
    if given := [key for key, value in wrong.items() if value is not None]:
        kind = "a model in this process" if is_local(name) else "a model elsewhere"
        raise SettingsError(f"{name}: {kind} takes no {given[0]}")
    return LocalOptions(**options) if options else None


def _folder(cache: bool | str | PathLike[str]) -> Path:
    return settings.current().cache_dir if isinstance(cache, bool) else Path(cache)
