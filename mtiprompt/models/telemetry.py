"""OpenTelemetry: a span for each call, after the semantic conventions for generative AI.

The conventions are those of `open-telemetry/semantic-conventions-genai`, "client inference", whose
status is "development"; they carry on v1.37 of the general ones. `gen_ai.system` and other names of
before are not written. What the conventions have no name for begins with `mtiprompt.`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mtiprompt.errors import ModelError, SettingsError
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.watch import Watch, WatchedModel
from mtiprompt.wire import Reply, Request

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

Attributes = dict[str, Any]


class TelemetryModel(WatchedModel):
    """A model with a span of OpenTelemetry for each call.

    The span is a child of the span that is current where the call is made, also in the threads and
    tasks of `map`, and is current itself for whatever the inner model does. It belongs outside of
    the cache and of retries: one span is one request, however often it was sent.

    By default a span has no text, neither of the prompt nor of the reply nor of an error, whose
    message may repeat both.

    Args:
        inner: Whom to ask.
        provider: Who makes the spans; the global provider by default, also one set later.
        content: Whether spans carry messages, replies and what errors say.
        endpoint: The address of the server, if it is known.
        params: The sampling parameters of the model, if they are known.

    Raises:
        SettingsError: OpenTelemetry is not installed.
    """

    def __init__(
        self,
        inner: LanguageModel,
        provider: TracerProvider | None = None,
        *,
        content: bool = False,
        endpoint: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(inner)
        self._api = _api()
        self._tracer = self._api.get_tracer("mtiprompt", _version(), provider)
        self._content = content
        system, model = _provider_and_model(inner.name)
        self._title = f"chat {model}"
        self._fixed: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": system,
            "gen_ai.request.model": model,
            **_server(endpoint),
            **_sampling(params or {}),
        }

    def watch(self, request: Request, *, streamed: bool = False) -> Watch:
        """Begin a span."""
        attributes = self._fixed | {"mtiprompt.purpose": request.purpose}
        if request.level != "prompt":
            attributes["gen_ai.output.type"] = "json"
        if streamed:
            attributes["gen_ai.request.stream"] = True
        if self._content:
            attributes["gen_ai.input.messages"] = _messages(request)
        kind = self._api.SpanKind.CLIENT
        span = self._tracer.start_span(self._title, kind=kind, attributes=attributes)
        return _Spanned(request, span, self._api, streamed=streamed, content=self._content)


class _Spanned(Watch):
    """A call and its span."""

    def __init__(
        self, request: Request, span: Span, api: Any, *, streamed: bool, content: bool
    ) -> None:
        super().__init__(request, streamed=streamed)
        self._span = span
        self._api = api
        self._content = content
        self._begun = False

    def within(self) -> AbstractContextManager[object]:
        """The span is the current one."""
        inside: AbstractContextManager[object] = self._api.use_span(
            self._span, record_exception=False, set_status_on_exception=False
        )
        return inside

    def piece(self, piece: str | Reply) -> None:
        """Note when the first piece came."""
        if not self._begun:
            self._begun = True
            self._span.set_attribute("gen_ai.response.time_to_first_chunk", self.seconds)
        super().piece(piece)

    def ended(self, outcome: Reply | BaseException) -> None:
        """End the span."""
        if self._span.is_recording():
            if isinstance(outcome, Reply):
                self._span.set_attributes(_of_reply(outcome))
                if self._content:
                    self._span.set_attribute("gen_ai.output.messages", _answer(outcome))
            else:
                self._failed(outcome)
        self._span.end()

    def _failed(self, error: BaseException) -> None:
        # what the conventions want where a finish reason was expected and did not come
        self._span.set_attribute("gen_ai.response.finish_reasons", ("error",))
        if not isinstance(error, Exception):
            return  # the caller gave the call up: that is no error
        self._span.set_attribute("error.type", type(error).__name__)
        if isinstance(error, ModelError) and error.status is not None:
            self._span.set_attribute("http.response.status_code", error.status)
        told = str(error) if self._content else None
        self._span.set_status(self._api.StatusCode.ERROR, told)


# --- what is known before the call --------------------------------------------------------------

_PROVIDERS = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "cohere_chat": "cohere",
    "direct": "openai",  # its protocol, whoever speaks it
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "vertex_ai": "gcp.vertex_ai",
    "vertex_ai_beta": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""What the conventions call a provider, where they do not call it as litellm does."""

_NUMBERS: dict[str, tuple[str, type[int] | type[float]]] = {
    "frequency_penalty": ("gen_ai.request.frequency_penalty", float),
    "max_tokens": ("gen_ai.request.max_tokens", int),
    "max_completion_tokens": ("gen_ai.request.max_tokens", int),
    "presence_penalty": ("gen_ai.request.presence_penalty", float),
    "seed": ("gen_ai.request.seed", int),
    "temperature": ("gen_ai.request.temperature", float),
    "top_k": ("gen_ai.request.top_k", int),
    "top_p": ("gen_ai.request.top_p", float),
}


def _provider_and_model(name: str) -> tuple[str, str]:
    if name.startswith("local:"):
        return "local", name.rpartition("/")[2].removeprefix("local:")
    provider, slash, model = name.partition("/")
    if not slash:
        return "mtiprompt", name  # a fake, or a model of the user's own
    return _PROVIDERS.get(provider, provider), model


def _server(endpoint: str | None) -> Attributes:
    try:
        place = urlsplit(endpoint or "")
        port = place.port or (80 if place.scheme == "http" else 443)
    except ValueError:  # no address: the call will say so
        return {}
    return {"server.address": place.hostname, "server.port": port} if place.hostname else {}


def _sampling(params: Mapping[str, Any]) -> Attributes:
    found: Attributes = {}
    for name, (attribute, kind) in _NUMBERS.items():
        if isinstance(params.get(name), int | float):
            found[attribute] = kind(params[name])
    if isinstance(effort := params.get("reasoning_effort"), str):
        found["gen_ai.request.reasoning.level"] = effort
    stop = params.get("stop")
    if stop and isinstance(stop, str | list | tuple):
        listed = [stop] if isinstance(stop, str) else stop
        found["gen_ai.request.stop_sequences"] = tuple(map(str, listed))
    return found


# --- what is known after it ---------------------------------------------------------------------


def _of_reply(reply: Reply) -> Attributes:
    used = reply.usage
    found: Attributes = {
        "gen_ai.response.finish_reasons": (_reason(reply),),
        "mtiprompt.cache_hit": reply.from_cache,
    }
    if reply.model:
        found["gen_ai.response.model"] = reply.model
    if used.cost is not None:
        found["mtiprompt.cost"] = used.cost
    if not reply.from_cache:
        found |= {
            "gen_ai.usage.input_tokens": used.prompt_tokens,
            "gen_ai.usage.output_tokens": used.completion_tokens,
            "gen_ai.usage.cache_read.input_tokens": used.cached_tokens,
            "mtiprompt.calls": used.calls,
        }
        thought = reply.details.get("reasoning_tokens")
        if isinstance(thought, int) and thought:
            found["gen_ai.usage.reasoning.output_tokens"] = thought
    return found


def _reason(reply: Reply) -> str:
    return "content_filter" if reply.finish_reason == "refused" else reply.finish_reason


def _messages(request: Request) -> str:
    return json.dumps([_message(one.role, one.content) for one in request.messages])


def _answer(reply: Reply) -> str:
    return json.dumps([_message("assistant", reply.text) | {"finish_reason": _reason(reply)}])


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


# --- the library --------------------------------------------------------------------------------


def _api() -> Any:
    try:
        from opentelemetry import trace
    except ImportError:
        raise SettingsError(
            "telemetry needs OpenTelemetry, which is not installed",
            hint='pip install "mtiprompt[otel]"',
        ) from None
    return trace


def _version() -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # late: it takes time

    try:
        return version("mtiprompt")
    except PackageNotFoundError:  # run from its source
        return None
