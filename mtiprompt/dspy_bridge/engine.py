"""What DSPy's engines do, done by a model of ours: its requests and replies in DSPy's types.

Source: DSPy 3.4, "custom engines": `complete(Request) -> Response`, and `stream` for its events.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import dspy

from mtiprompt import errors as our
from mtiprompt.models.base import LanguageModel
from mtiprompt.wire import FinishReason, Message, OutputSchema, Reply, Request, Role

APART = 10**9 + 1
"""From one completion of a call to the next, in numbers of samples: more than any rollout that
DSPy's optimizers draw, so that no other rollout has the same."""


@dataclass
class Samples:
    """The samples that a call of DSPy's asks for, one for each of its completions.

    DSPy keeps its `rollout_id` and `n` to itself: it asks the engine for the same request until `n`
    calls have come through. A call that failed and is made again asks for the same sample.

    Attributes:
        number: The sample that is asked for now.
    """

    number: int

    def came_through(self) -> None:
        """Go on to the next completion."""
        self.number += APART


SAMPLES: ContextVar[Samples | None] = ContextVar("samples", default=None)
"""The samples of the call of DSPy's that runs."""


class Engine:
    """One request, one response.

    Args:
        model: Whom to ask.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    def complete(self, asked: Any) -> Any:
        """The response to a request; raises the errors of `dspy.lm15`."""
        request = _request(asked)
        with _seam():
            reply, request = self._whole(request)
        _keep(self._model, request, reply)
        return _response(asked, reply)

    def _whole(self, request: Request) -> tuple[Reply, Request]:
        """A reply, and the request that it answers; a schema that is refused is asked for less."""
        while True:
            try:
                return self._model.complete(request), request
            except our.SchemaRejected as error:
                request = _lowered(self._model, request, error)

    def stream(self, asked: Any) -> Iterator[Any]:
        """The events of a response: a start, texts as they come, an end."""
        request = _request(asked)
        told = _Told(asked)
        with _seam(), closing(self._model.stream(request)) as pieces:
            for piece in pieces:
                yield from told.events(piece)
        yield told.end()

    def close(self) -> None:
        """Nothing to close: the model is borrowed."""


class AsyncEngine:
    """As `Engine`, awaited.

    Args:
        model: Whom to ask.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    async def complete(self, asked: Any) -> Any:
        """As `Engine.complete`."""
        request = _request(asked)
        with _seam():
            reply, request = await self._whole(request)
        _keep(self._model, request, reply)
        return _response(asked, reply)

    async def _whole(self, request: Request) -> tuple[Reply, Request]:
        while True:
            try:
                return await self._model.acomplete(request), request
            except our.SchemaRejected as error:
                request = _lowered(self._model, request, error)

    async def stream(self, asked: Any) -> AsyncGenerator[Any, None]:
        """As `Engine.stream`."""
        request = _request(asked)
        told = _Told(asked)
        with _seam():
            async with aclosing(self._model.astream(request)) as pieces:
                async for piece in pieces:
                    for event in told.events(piece):
                        yield event
        yield told.end()

    async def aclose(self) -> None:
        """Nothing to close: the model is borrowed."""


def _lowered(model: LanguageModel, request: Request, error: our.SchemaRejected) -> Request:
    """The same request, one level lower; below the last, the error."""
    lower = model.support.refuse(request.level)
    if lower is None:
        raise error
    return replace(request, level=lower)


class _Told:
    """A stream of ours in DSPy's events."""

    def __init__(self, asked: Any) -> None:
        self._asked = asked
        self._begun = False
        self._reply: Reply | None = None

    def events(self, piece: str | Reply) -> Iterator[Any]:
        if not self._begun:
            self._begun = True
            yield dspy.lm15.StreamStartEvent(model=self._asked.model)
        if isinstance(piece, Reply):
            self._reply = piece
        elif piece:
            yield dspy.lm15.StreamDeltaEvent(dspy.lm15.TextDelta(piece))

    def end(self) -> Any:
        whole = self._reply or Reply("", "length")
        return dspy.lm15.StreamEndEvent(_FINISH[whole.finish_reason], _usage(whole))


_ROLES: Mapping[str, Role] = {"developer": "system", "user": "user", "assistant": "assistant"}
_FINISH: Mapping[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "refused": "content_filter",
}
_SAMPLING = ("temperature", "top_p", "top_k", "max_tokens", "stop", "seed", "frequency_penalty",
             "presence_penalty")  # fmt: skip


def _request(asked: Any) -> Request:
    """A request of DSPy's as one of ours; text alone."""
    messages = [Message(_ROLES.get(one.role, "user"), _text(one.parts)) for one in asked.messages]
    if asked.system:
        said = asked.system if isinstance(asked.system, str) else _text(asked.system)
        messages.insert(0, Message("system", said))
    if asked.tools or any(one.role == "tool" for one in asked.messages):
        raise _unsupported("tools")
    formatted = asked.config.response_format or {}
    samples = SAMPLES.get()
    sample = 0 if samples is None else samples.number
    if formatted.get("type") == "json_schema":
        name = formatted.get("name", "answers")
        schema = OutputSchema(
            name, json.dumps(formatted["schema"]), strict=bool(formatted.get("strict"))
        )
        return Request(tuple(messages), schema, "json_schema", sample=sample, purpose="dspy")
    level: Any = "json_object" if formatted else "prompt"
    return Request(tuple(messages), level=level, sample=sample, purpose="dspy")


def _text(parts: Any) -> str:
    if wrong := [part.type for part in parts if part.type not in {"text", "thinking", "data"}]:
        raise _unsupported(wrong[0])
    return text_of(parts)


def text_of(parts: Any) -> str:
    """What was written; DSPy may have read a JSON object with labels in it already."""
    texts = (json.dumps(one.value) if one.type == "data" else one.text for one in parts
             if one.type in {"text", "data"})  # fmt: skip
    return "".join(texts)


def _unsupported(what: str) -> Exception:
    error: Exception = dspy.lm15.UnsupportedFeatureError(
        f"a model of mtiprompt reads text alone, not {what}", feature=what
    )
    return error


def _response(asked: Any, reply: Reply) -> Any:
    dropped = tuple(
        dspy.lm15.Adaptation(
            field=f"config.{name}", action="dropped", asked=value, reason="sampling is the model's"
        )
        for name in _SAMPLING
        if (value := _plain(getattr(asked.config, name))) not in (None, [])
    )
    return dspy.lm15.Response(
        id=None,
        model=reply.model or asked.model,
        message=dspy.lm15.Message.assistant(reply.text),
        finish_reason=_FINISH[reply.finish_reason],
        usage=_usage(reply),
        adaptations=dropped,
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _usage(reply: Reply) -> Any:
    if reply.from_cache:
        return dspy.lm15.Usage()
    used = reply.usage
    return dspy.lm15.Usage(
        input_tokens=used.prompt_tokens,
        output_tokens=used.completion_tokens,
        cache_read_tokens=used.cached_tokens,
    )


def _keep(model: LanguageModel, request: Request, reply: Reply) -> None:
    """Have a reply stored; DSPy reads it later, so only what is plainly broken is known here."""
    if reply.finish_reason != "stop":
        return
    if request.level != "prompt":
        try:
            json.loads(reply.text)
        except ValueError:
            return
    model.keep(request, reply)


_KINDS: Mapping[type[our.MTIError], Any] = {
    our.ContextTooLong: dspy.lm15.ContextLengthError,
    our.RequestRejected: dspy.lm15.InvalidRequestError,
    our.ModelNotFound: dspy.lm15.UnsupportedModelError,
    our.ModelAccessDenied: dspy.lm15.AuthError,
    our.ModelMisconfigured: dspy.lm15.ConfigurationError,
    our.QuotaExhausted: dspy.lm15.BillingError,
    our.BudgetExceeded: dspy.lm15.BillingError,
    our.RateLimited: dspy.lm15.RateLimitError,
    our.ModelTimeout: dspy.lm15.TimeoutError,
    our.ModelUnavailable: dspy.lm15.ServerError,
    our.ModelError: dspy.lm15.ProviderError,
}


@contextmanager
def _seam() -> Iterator[None]:
    """Around what asks for one sample: our errors as DSPy's engines raise theirs."""
    try:
        yield
    except (our.ModelError, our.BudgetExceeded) as error:
        theirs = next(theirs for kind, theirs in _KINDS.items() if isinstance(error, kind))
        raise theirs(str(error)) from error
    if (samples := SAMPLES.get()) is not None:
        samples.came_through()
