"""The model that users make, by name: `mti.Model("openai/gpt-5-mini")`."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mtiprompt import settings
from mtiprompt.errors import ModelNotFound, SettingsError
from mtiprompt.models.base import BaseModel, LanguageModel, Reuse
from mtiprompt.models.budget import Budget, BudgetedModel, max_tokens_of
from mtiprompt.models.cache import CachedModel, ReplyCache
from mtiprompt.models.call_log import LoggedModel
from mtiprompt.models.fallback import FallbackModel
from mtiprompt.models.foreign import ForeignModel, adopted
from mtiprompt.models.limits import LimitedModel, Limits
from mtiprompt.models.meter import MeteredModel
from mtiprompt.models.naming import endpoint_of, is_local, public_endpoint, without_secrets
from mtiprompt.models.retry import RetryingModel
from mtiprompt.models.single_flight import LINGER, SingleFlightModel
from mtiprompt.models.via_litellm import LiteLLMModel, LocalOptions
from mtiprompt.wire import LEVELS, Level

if TYPE_CHECKING:
    from mtiprompt.models.direct import DirectModel

TIMEOUT = 60.0
LOCAL_TIMEOUT = 600.0
"""Seconds for one call, where no argument says otherwise; a model in this process also waits for
its turn in there."""


class Model(MeteredModel):
    """A language model, by name: cached, retried, metered, and called through litellm.

    Nothing is loaded or sent before the first call.

    Example:
        >>> import mtiprompt as mti
        >>> from mtiprompt.testing import ChatServer
        >>> with ChatServer(lambda received: "Good day.") as server:
        ...     model = mti.Model("openai/any", api_base=server.base_url, api_key="k", cache=False)
        ...     model.complete(mti.Request((mti.Message("user", "Hello"),))).text
        'Good day.'
        >>> model.usage.calls
        1

    Args:
        name: `provider/model`, any that litellm knows; `direct/NAME`, a server that speaks OpenAI's
            protocol, called without litellm; `local/NAME`, a model of the catalogue, in this
            process; or `local:/path.gguf`. Or a `dspy.LM`, which is then asked as it is set up, its
            own cache and retries left out.
        api_base: The endpoint, if it is not the provider's own.
        api_key: The key; without one, litellm looks into the environment.
        temperature: Sent only if given, because reasoning models refuse it; 0 for local models.
        max_tokens: Tokens that a reply may have; 1024 for local models.
        timeout: Seconds for one call in all, however slowly it drips: 60, for local models 600.
            All calls and waits for one request together take at most this times the calls allowed.
        cache: Whether to look replies up and keep them: True, in the folder of the settings;
            False; or a folder. With a cache, equal requests in flight at the same time are one
            call; without one, every request is sent.
        retries: Calls after the first, where asking again can help.
        limits: How many requests and tokens a minute, and how many calls at the same time; other
            models may share the object.
        budget: What may be spent; each request sent counts, retries too. Others may share it.
        fallback: Who is asked when this model cannot answer: a model, a name, or several in order.
            One given by name gets the same `temperature`, `max_tokens`, `timeout`, `cache`,
            `retries` and `budget`; a model keeps its own. Each has its own place in the cache.
        level: The firmest way of holding replies to a schema that is tried: `json_schema`,
            `json_object` or `prompt`; without it the first, and lower where the model refuses it.
        reuse: `"any"` keeps the answer of each task by itself, in the cache, and asks a task only
            where it is new, so that adding or editing one task asks for that alone; `"company"`
            does so for answers of the same group of tasks only. See the page on caching. It does
            not go with `fallback`.
        telemetry: Whether each call is an OpenTelemetry span; or the tracer provider to use.
            Needs `mtiprompt[otel]`. Without it, the setting.
        trace: A file to which each call is added as a line of JSON, prompts and replies included.
            Without it, the setting.
        **params: `seed`, `top_p`, `stop` and whatever else litellm or the provider takes; for
            local models also `slots`, `context` and `threads`, see `LocalOptions`.

    Attributes:
        cache: Where replies are kept; None without a cache.
        meter: Adds up what all calls cost; `usage` tells it, `meter.reset()` begins again.

    Raises:
        ModelNotFound: The name has no provider, or the catalogue no such model.
        SettingsError: An argument makes no sense.
    """

    def __init__(
        self,
        name: str | Any,
        *,
        api_base: str | None = None,
        api_key: str | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout: float | None = None,
        cache: bool | str | PathLike[str] = True,
        retries: int = 4,
        limits: Limits | None = None,
        budget: Budget | None = None,
        fallback: LanguageModel | str | Iterable[LanguageModel | str] | None = (),
        level: Level | None = None,
        reuse: Literal["any", "company"] | None = None,
        telemetry: Any = None,
        trace: str | PathLike[str] | None = None,
        **params: Any,
    ) -> None:
        foreign = None if isinstance(name, str) else adopted(name)
        if isinstance(foreign, ForeignModel):
            name = foreign.name
        else:
            _check_name(name)
        _check_numbers(timeout, retries, max_tokens)
        _check_texts(api_base=api_base, api_key=api_key)
        _check_objects(limits, budget, telemetry)
        _check_places(cache, trace)
        _check_words(level, reuse, cache)
        sampling = {"temperature": temperature, "max_tokens": max_tokens}
        remote = {"api_base": api_base, "api_key": api_key}
        if isinstance(foreign, ForeignModel):
            _check_foreign(name, remote | sampling | params | {"timeout": timeout})
        same = {"timeout": timeout, "cache": cache, "retries": retries, "budget": budget}
        others = _others(fallback, sampling | same)
        if others and reuse is not None:
            raise SettingsError(
                "reuse= keeps answers as those of one model, and fallback= asks several",
                hint="leave one of them out",
            )
        if timeout is None:
            timeout = LOCAL_TIMEOUT if is_local(name) else TIMEOUT
        local = _local_options(name, params, remote=remote)
        self._client = (
            foreign.bare()
            if isinstance(foreign, ForeignModel)
            else _client(name, local, remote | sampling | params | {"timeout": timeout})
        )
        if level is not None:
            self._client.support.begin_at(level)
        self.cache = (
            None
            if cache is False
            else ReplyCache.at(_folder(cache), size_limit=settings.one("cache_size"))
        )
        own: dict[str, Any] = {"api_base": public_endpoint(api_base), "cache": cache}
        own |= {"limits": limits, "budget": budget, "level": level, "reuse": reuse, "trace": trace}
        own["fallback"] = [one.name for one in others] or None
        self._shown = own | (asdict(local) if local else {}) | self._client.params
        total = timeout * (retries + 1)
        retrying = partial(RetryingModel, retries=retries, total=total, prepare=self._client.warm)
        inner = _paced(self._client, limits, budget, retrying)
        if self.cache is not None:
            inner = SingleFlightModel(inner, linger=LINGER, patience=total)
            inner = CachedModel(inner, self.cache)
        if others:
            inner = FallbackModel([inner, *others])
        if telemetry is None:
            telemetry = settings.one("telemetry")
        inner = _seen(
            inner,
            self._client,
            endpoint_of(name, api_base),
            telemetry,
            trace or settings.one("trace"),
        )
        super().__init__(inner)
        if reuse is not None and self.cache is not None:
            self.reuse: Reuse | None = Reuse(self.cache, company=reuse == "company")

    def warm(self) -> None:
        """Load now what the first call would: the client's library, the file of a local model.

        What is left to the first call is a connection, or the reading of a local model's prompt.

        Raises:
            ModelError: The model cannot be loaded.
        """
        self._client.warm()
        if isinstance(self._client, LiteLLMModel):
            self._client.load()

    def __repr__(self) -> str:
        """How it was made, without secrets."""
        shown = without_secrets(self._shown)
        kept = {key: v for key, v in shown.items() if v is not None and v is not True}
        given = "".join(f", {key}={value!r}" for key, value in kept.items())
        return f"Model({self.name!r}{given})"


def as_model(model: object) -> LanguageModel:
    """The model that is meant.

    Args:
        model: A model; its name, which gives the same model each time under the same settings; a
            `dspy.LM`; or None, for that of the settings.

    Raises:
        SettingsError: No model is set, or this is none.
        ModelNotFound: There is none of this name.
    """
    if model is None:
        model = settings.one("model")
        if model is None:
            raise SettingsError("there is no model", hint="pass model=... or set MTIPROMPT_MODEL")
    if isinstance(model, str):
        return _named(model)
    if isinstance(model, BaseModel):  # to look through a protocol takes ten times as long
        return model
    if isinstance(model, LanguageModel) and not isinstance(model, type):
        return model
    if (made := adopted(model)) is not None:
        return made
    raise SettingsError(
        f"{model!r} is no model", hint='give mti.Model("provider/name") or such a name'
    )


KEPT = 32
"""Models made from names that are kept."""

_NAMED: OrderedDict[tuple[object, ...], Model] = OrderedDict()
_LOCK = threading.Lock()


def _named(name: str) -> Model:
    now = settings.current()
    key = (name, endpoint_of(name, None), now.cache_dir, now.cache_size, now.models_dir,
           now.threads, now.telemetry, now.trace)  # fmt: skip
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


def _check_foreign(name: str, given: dict[str, Any]) -> None:
    if own := [key for key, value in given.items() if value is not None]:
        raise SettingsError(
            f"{name}: {own[0]} belongs to the object that it is asked through",
            hint="set it there, as in dspy.LM(...)",
        )


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


def _check_numbers(timeout: Any, retries: Any, max_tokens: Any) -> None:
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (number and timeout > 0):
        raise SettingsError(f"timeout={timeout!r} makes no sense", hint="give seconds above 0")
    if isinstance(retries, bool) or not (isinstance(retries, int) and retries >= 0):
        raise SettingsError(
            f"retries={retries!r} makes no sense",
            hint="give a whole number; 0 switches them off",
        )
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int | None):
        raise SettingsError(f"max_tokens={max_tokens!r} makes no sense", hint="give a whole number")


def _check_texts(**texts: object) -> None:
    for name, text in texts.items():
        if text is not None and not (isinstance(text, str) and text):
            shown = "empty" if text == "" else type(text).__name__  # it may be a secret
            raise SettingsError(f"{name}= is {shown}", hint="give text, or leave it out")


def _check_places(cache: object, trace: object) -> None:
    if not (isinstance(cache, bool) or _is_path(cache)):
        raise SettingsError(f"cache={cache!r} makes no sense", hint="True, False or a folder")
    if not (trace is None or _is_path(trace)):
        raise SettingsError(f"trace={trace!r} makes no sense", hint="give the path of a file")


def _is_path(value: object) -> bool:
    return isinstance(value, str | PathLike) and value != ""


def _check_objects(limits: object, budget: object, telemetry: object) -> None:
    if not (telemetry is None or isinstance(telemetry, bool) or hasattr(telemetry, "get_tracer")):
        raise SettingsError(
            f"telemetry={telemetry!r} makes no sense", hint="True, False or a tracer provider"
        )
    if not isinstance(limits, Limits | None):
        raise SettingsError(f"limits={limits!r} makes no sense", hint="give mti.Limits(...)")
    if not isinstance(budget, Budget | None):
        raise SettingsError(f"budget={budget!r} makes no sense", hint="give mti.Budget(...)")


def _check_words(level: object, reuse: object, cache: object) -> None:
    if level is not None and level not in LEVELS:
        raise SettingsError(f"there is no level {level!r}", hint=", ".join(LEVELS))
    if reuse not in {None, "any", "company"}:
        raise SettingsError(f"reuse={reuse!r} makes no sense", hint='"any" or "company"')
    if reuse and cache is False:
        raise SettingsError(
            "answers to be reused are kept in the cache", hint="leave cache=False out"
        )


def _client(
    name: str, local: LocalOptions | None, options: dict[str, Any]
) -> LiteLLMModel | DirectModel:
    if name.startswith("direct/"):
        from mtiprompt.models.direct import DirectModel  # most models need none

        return DirectModel(name, **options)
    return LiteLLMModel(name, local=local, **options)


def _paced(
    client: LiteLLMModel | DirectModel | ForeignModel,
    limits: Limits | None,
    budget: Budget | None,
    retrying: Callable[[LanguageModel], LanguageModel],
) -> LanguageModel:
    """The client in the wrappers that say when it is called; only those that are asked for."""
    inner: LanguageModel = client
    if limits is not None:
        inner = LimitedModel(inner, limits, max_tokens=max_tokens_of(client))
    if budget is not None:  # outside of the limits: what cannot be paid does not wait for its turn
        inner = BudgetedModel(inner, budget)
    return retrying(inner)


def _seen(
    inner: LanguageModel,
    client: LiteLLMModel | DirectModel | ForeignModel,
    endpoint: str | None,
    telemetry: Any,
    trace: str | PathLike[str] | None,
) -> LanguageModel:
    """A model whose calls can be seen, in a trace, as spans and in the log."""
    if trace is not None:
        from mtiprompt.models.trace import TracedModel

        inner = TracedModel(inner, trace)
    if telemetry:
        from mtiprompt.models.telemetry import TelemetryModel

        provider = None if telemetry is True else telemetry
        inner = TelemetryModel(inner, provider, endpoint=endpoint, params=client.params)
    return LoggedModel(inner)


def _others(fallback: object, options: dict[str, Any]) -> list[LanguageModel]:
    """The models to fall back to; those given by name are made with the options."""
    if fallback is None:
        return []
    if isinstance(fallback, str) or not isinstance(fallback, Iterable):
        fallback = [fallback]
    fallback = list(fallback)
    if None in fallback:
        raise SettingsError("fallback= has None in it", hint="give models, or their names")
    return [Model(one, **options) if isinstance(one, str) else as_model(one) for one in fallback]


def _folder(cache: bool | str | PathLike[str]) -> Path:
    return settings.one("cache_dir") if isinstance(cache, bool) else Path(cache)
