"""A `dspy.LM` as a language model of ours: what is asked goes out through DSPy."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import dspy

from mtiprompt import errors as our
from mtiprompt.dspy_bridge.engine import text_of
from mtiprompt.models import http_errors as read
from mtiprompt.models.base import BaseModel
from mtiprompt.models.foreign import ForeignModel
from mtiprompt.models.http_errors import Seen, Sent
from mtiprompt.models.naming import (
    check_allowed,
    endpoint_identity,
    endpoint_of,
    is_loopback,
    secrets_in,
    support_of,
    varied,
    without_secrets,
)
from mtiprompt.wire import FINISHED, Reply, Request, Usage, canonical

_CONFIG = ("temperature", "top_p", "top_k", "stop", "seed", "frequency_penalty",
           "presence_penalty", "service_tier", "store")  # fmt: skip
"""What an LM sets that a request of DSPy's carries under the same name."""
_OWN = frozenset({
    *_CONFIG, "max_tokens", "max_completion_tokens", "reasoning_effort", "rollout_id", "n",
    "num_generations", "prompt_cache", "api_key", "api_base", "base_url", "headers",
    "extra_headers", "timeout", "api_version", "azure_ad_token_provider", "organization", "project",
    "extra_query", "custom_llm_provider", "response_format", "stream", "logprobs",
})  # fmt: skip
_APART = 1000
"""Samples of ours that have room between two rollouts of DSPy's."""


class DSPyModel(ForeignModel):
    """A model that is asked through a `dspy.LM`, with its engine, history, callbacks and usage.

    DSPy does not say which replies came from its cache: they count as calls here.

    Args:
        lm: The LM.

    Attributes:
        lm: The LM.
        set_up: How the LM was set up when this was made of it.
    """

    def __init__(self, lm: Any) -> None:
        self.lm = lm
        self.set_up = _set_up(lm)
        self.name = str(lm.model)
        settings: dict[str, Any] = dict(getattr(lm, "kwargs", {}) or {})
        most = settings.get("max_completion_tokens") or settings.get("max_tokens")
        given = {key: value for key, value in settings.items() if value is not None}
        self.params = {"max_tokens": most} if most else {}
        self._rollout: int = settings.get("rollout_id") or 0
        self._config = {key: given[key] for key in _CONFIG if key in given} | self.params
        self._effort = given.get("reasoning_effort")
        self._extensions = {key: value for key, value in given.items() if key not in _OWN}
        self._endpoint = endpoint_of(self.name, given.get("api_base") or given.get("base_url"))
        self._secrets = tuple(secrets_in(given))
        where = endpoint_identity(self._endpoint)
        said = {key: repr(value) for key, value in without_secrets(given).items()}
        self.identity = canonical(["dspy", self.name, where, said])
        self.support = support_of(self.name)

    def bare(self) -> DSPyModel:
        """The same through a copy of the LM that neither caches nor retries."""
        return DSPyModel(self.lm.copy(cache=False, num_retries=0))

    def complete(self, request: Request) -> Reply:
        """Ask the LM; see `LanguageModel.complete`."""
        check_allowed(self.name, stays_here=is_loopback(self._endpoint))
        began = time.monotonic()
        try:
            with _quiet():
                response = self.lm(self._asked(request), **self._sampled(request))
        except Exception as error:  # the seam
            raise self._ours(error, request) from error
        return self._reply(response, time.monotonic() - began)

    async def acomplete(self, request: Request) -> Reply:
        """Ask the LM without blocking the event loop."""
        check_allowed(self.name, stays_here=is_loopback(self._endpoint))
        began = time.monotonic()
        try:
            with _quiet():
                response = await self.lm.acall(self._asked(request), **self._sampled(request))
        except Exception as error:  # the seam
            raise self._ours(error, request) from error
        return self._reply(response, time.monotonic() - began)

    def _asked(self, request: Request) -> Any:
        """The request in DSPy's dspy.lm15."""
        makers = {"user": dspy.lm15.Message.user, "assistant": dspy.lm15.Message.assistant}
        system = [one.content for one in request.messages if one.role == "system"]
        turns = [makers[one.role](one.content) for one in request.messages if one.role in makers]
        config = varied(self._config, request.sample)
        if self._effort:
            config["reasoning"] = dspy.lm15.Reasoning(effort=self._effort)
        if formatted := _response_format(request):
            config["response_format"] = formatted
        return dspy.lm15.Request(
            model=self.lm.model,
            messages=tuple(turns) or (dspy.lm15.Message.user(system.pop()),),
            system="\n\n".join(system) or None,
            config=dspy.lm15.Config(**config, extensions=self._extensions or None),
        )

    def _sampled(self, request: Request) -> dict[str, Any]:
        """What keeps samples apart in DSPy's cache."""
        rollout = self._rollout * _APART + request.sample
        return {"rollout_id": rollout} if rollout else {}

    def _reply(self, response: Any, seconds: float) -> Reply:
        used = response.usage
        refusal = next((part.text for part in response.message.parts if part.type == "refusal"), "")
        reason = FINISHED.get(str(response.finish_reason), "stop")
        return Reply(
            text=refusal or text_of(response.message.parts),
            finish_reason="refused" if refusal else reason,
            usage=Usage(
                calls=1,
                prompt_tokens=used.input_tokens or 0,
                cached_tokens=used.cache_read_tokens or 0,
                completion_tokens=used.output_tokens or 0,
                cost=None,
                seconds=seconds,
            ),
            model=response.model or self.name,
        )

    def _ours(self, error: Exception, request: Request) -> our.MTIError:
        if isinstance(error, our.MTIError):
            return error
        if isinstance(error.__cause__, BaseException) and isinstance(
            error.__cause__.__cause__, our.MTIError
        ):  # it came from a model of ours below
            return error.__cause__.__cause__
        sent = Sent(self.name, None, _response_format(request) is not None, self._secrets)
        status = getattr(error, "status", None)
        seen = Seen(
            sent,
            str(error),
            status if isinstance(status, int) else None,
            getattr(error, "retry_after", None),
            str(getattr(error, "provider_code", None) or ""),
        )
        names = [kind.__name__ for kind in type(error).__mro__]
        reader = next((TABLE[name] for name in names if name in TABLE), None)
        if reader is None:
            return seen.error(our.RequestRejected, f"{type(error).__name__} inside DSPy")
        return reader(seen)


def _quiet() -> Any:
    """No chunks of ours in a stream that DSPy's readers listen to."""
    return dspy.context(send_stream=None)


def _response_format(request: Request) -> dict[str, Any] | None:
    if request.level == "json_object":
        return {"type": "json_object"}
    if request.level == "prompt" or request.schema is None:
        return None
    schema = request.schema
    return {
        "type": "json_schema",
        "name": schema.name,
        "schema": schema.schema,
        "strict": schema.strict,
    }


def _unsupported(seen: Seen) -> our.ModelError:
    return seen.error(our.SchemaRejected) if seen.sent.formatted else read.misconfigured(seen)


TABLE: Mapping[str, Callable[[Seen], our.ModelError]] = {
    "LMAuthError": read.access,
    "LMNotConfiguredError": read.access,
    "LMBillingError": read.quota,
    "LMRateLimitError": read.limited,
    "ContextWindowExceededError": read.too_long,
    "LMUnsupportedModelError": read.not_found,
    "LMUnsupportedFeatureError": _unsupported,
    "LMInvalidRequestError": read.by_status,
    "LMTimeoutError": read.late,
    "LMServerError": read.broken,
    "LMTransportError": read.broken,
    "LMLockTimeoutError": read.broken,
    "LMStreamAssemblyError": read.broken,
    "LMCollectionLimitError": read.rejected,
    "LMConfigurationError": read.misconfigured,
    "LMUnexpectedError": read.rejected,
    "LMProviderError": read.by_status,
    "LMError": read.broken,
}
"""Class name to reader. The classes of an exception are looked up from the most special on."""


# --- one model for each LM ----------------------------------------------------------------------

KEPT = 32
"""LMs for which the model is kept: what is prepared for a model is found by the same object."""

_ADOPTED: OrderedDict[int, DSPyModel] = OrderedDict()
_LOCK = threading.Lock()


def _set_up(lm: Any) -> str:
    """The name and the settings of an LM, which anyone may change."""
    return repr([lm.model, getattr(lm, "kwargs", None)])


def adopt(value: object) -> BaseModel | None:
    """The model that an LM of DSPy stands for, the same one until the LM is set up differently.

    None for other objects.
    """
    if not isinstance(value, dspy.BaseLM):
        return None
    own: BaseModel | None = getattr(value, "answering", None)
    if own is not None:  # a model of ours that DSPy was given
        return own
    with _LOCK:
        found = _ADOPTED.get(id(value))
        if found is None or found.set_up != _set_up(value):
            found = _ADOPTED[id(value)] = DSPyModel(value)
            if len(_ADOPTED) > KEPT:
                _ADOPTED.popitem(last=False)
        return found
