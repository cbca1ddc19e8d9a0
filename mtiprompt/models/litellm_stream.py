"""A streamed reply of litellm: its chunks, and the whole that they make."""

from __future__ import annotations

import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
)
from dataclasses import replace
from typing import Any

from mtiprompt.errors import ModelError
from mtiprompt.models.watch import prompt_tokens, tokens_of
from mtiprompt.wire import Reply, Request

STREAMED: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
"""What makes litellm stream a call, and tell at the end what it used."""

_TOLD: dict[str, type] = {"system_fingerprint": str, "timings": dict}


async def chunks_of(ask: Callable[[], Awaitable[Any]]) -> AsyncGenerator[Any, None]:
    """The chunks of a call, and last its refusal, if it is one, as a text.

    The connection is closed with the generator.

    Raises:
        ConnectionError: The stream ended without saying why; litellm would call that a `stop`.
        Exception: Whatever litellm raises.
    """
    stream = await ask()
    refusal = _Refusal(stream)
    try:
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].finish_reason and not _has_reason(stream):
                chunk.choices[0].finish_reason = None  # litellm makes one up at the end
            yield chunk
    except Exception as error:  # noqa: BLE001  litellm wraps what breaks a stream for its router
        raise getattr(error, "original_exception", None) or error from None
    finally:
        await stream.aclose()
    if refusal.text:
        yield refusal.text
    if not _has_reason(stream):
        raise ConnectionError("the server disconnected before the end of the reply")


def _has_reason(stream: Any) -> bool:
    """Whether the server has said why its reply ends."""
    kinds = ("received_finish_reason", "intermittent_finish_reason")
    return any(getattr(stream, kind, "unknown") for kind in kinds)


class _Refusal:
    """Listens below litellm for the words of a refusal, which it leaves out of its chunks.

    Args:
        stream: What litellm gives; from now on it reads through this.
    """

    def __init__(self, stream: Any) -> None:
        self.text = ""
        self._source: Any = getattr(stream, "completion_stream", None)
        self._items: AsyncIterator[Any] | None = None
        if isinstance(self._source, AsyncIterable):
            stream.completion_stream = self

    def __aiter__(self) -> _Refusal:
        if self._items is None:
            self._items = aiter(self._source)
        return self

    async def __anext__(self) -> Any:
        assert self._items is not None
        chunk = await anext(self._items)
        for choice in getattr(chunk, "choices", ())[:1]:
            self.text += getattr(choice.delta, "refusal", None) or ""
        return chunk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)  # how to close it


class Heard:
    """What has come of a streamed reply.

    Args:
        request: What was asked.

    Attributes:
        text: The text so far.
        broken: Why it ended before its end; empty if it did not.
    """

    def __init__(self, request: Request) -> None:
        self.text = ""
        self.broken = ""
        self._began = time.monotonic()
        self._request = request
        self._refused = False
        self._model: str | None = None
        self._told: dict[str, Any] = {}
        self._headers: Any = None
        self._finish: str | None = None
        self._usage: Any = None

    @property
    def seconds(self) -> float:
        """Seconds since it was asked."""
        return time.monotonic() - self._began

    def take(self, chunk: Any) -> str:
        """Note a chunk of `chunks_of`; gives its text."""
        text = self._noted(chunk)
        self.text += text
        return text

    def _noted(self, chunk: Any) -> str:
        if isinstance(chunk, str):
            self._refused = True
            return chunk
        hidden = getattr(chunk, "_hidden_params", None) or {}
        self._model = hidden.get("provider_response_model") or self._model
        self._headers = hidden.get("additional_headers") or self._headers
        for name, kind in _TOLD.items():
            if isinstance(value := getattr(chunk, name, None), kind):
                self._told[name] = value
        self._usage = getattr(chunk, "usage", None) or self._usage
        if not chunk.choices:
            return ""
        self._finish = chunk.choices[0].finish_reason or self._finish
        return chunk.choices[0].delta.content or ""

    def break_off(self, error: ModelError) -> None:
        """Note that it failed, perhaps before its end.

        Raises:
            ModelError: The error itself, if nothing has come.
        """
        if self._finish:
            return
        if not self.text:
            raise error
        self.broken = str(error)

    def response(self, litellm: Any, model: str) -> Any:
        """The response that litellm would have given in one piece.

        Its cost is that of its tokens, None where litellm knows no price for the model.

        Args:
            litellm: The imported library.
            model: The name that litellm knows the model by.
        """
        message = {"role": "assistant", "content": self.text}
        finish = "content_filter" if self._refused else self._finish or "stop"
        choice = {"index": 0, "finish_reason": finish, "message": message}
        usage = self._usage or litellm.Usage(**self._estimated())
        response = litellm.ModelResponse(
            model=self._model or model, choices=[choice], usage=usage, **self._told
        )
        cost = _cost(litellm, response, model)
        response._hidden_params = {"response_cost": cost, "additional_headers": self._headers}
        return response

    def marked(self, reply: Reply) -> Reply:
        """A reply, cut off if the stream broke off."""
        if not self.broken:
            return reply
        details = {**reply.details, "broken": self.broken}
        return replace(reply, finish_reason="length", details=details)

    def _estimated(self) -> dict[str, int]:
        """About what a stream has used that broke off before it told."""
        read, wrote = prompt_tokens(self._request), tokens_of(len(self.text))
        return {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}


def _cost(litellm: Any, response: Any, model: str) -> float | None:
    try:
        cost: float = litellm.completion_cost(completion_response=response, model=model)
    except Exception:  # noqa: BLE001  a seam: the price of a model that nobody knows
        return None
    return cost
