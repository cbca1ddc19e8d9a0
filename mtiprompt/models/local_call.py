"""One call into llama.cpp: what is sent, when it stops, what came of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from mtiprompt.errors import (
    ContextTooLong,
    ModelError,
    ModelTimeout,
    ModelUnavailable,
    RequestRejected,
    SchemaRejected,
)
from mtiprompt.models.local_grammar import Constraint, constrain


class LocalTimeout(ModelTimeout):
    """A model in this process was too slow; asking again would only double the wait."""

    retryable = False


def prepared(payload: Mapping[str, Any]) -> tuple[dict[str, Any], Constraint]:
    """What llama.cpp is sent for a payload of `Engine.chat`, and what the reply is held to.

    Raises:
        RequestRejected: The payload makes no sense.
        SchemaRejected: The schema cannot be enforced.
    """
    request = {key: value for key, value in payload.items() if value is not None}
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestRejected("a chat needs a list of messages")
    if not all(isinstance(message, dict) for message in messages):
        raise RequestRejected("each message of a chat is a dictionary")
    for name, value in (("n", 1), ("tools", []), ("functions", [])):
        if request.pop(name, value) != value:
            raise RequestRejected(f"a local model does not take {name!r}")
    notation = request.pop("mti_notation", "free")
    constraint = constrain(request.pop("response_format", None), notation)
    request |= constraint.payload
    # progress is what makes llama.cpp ask back while it reads
    request |= {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
    return request, constraint


class Call:
    """Collects what llama.cpp streams and says when to stop.

    Args:
        model: What errors call the model.
        constraint: What the reply is held to.
        given_up: Set when nobody waits for the reply any more.
        on_text: Told the text, piece by piece; must not raise.

    Attributes:
        done: Set when llama.cpp is through with the call.
        written: How many pieces of the reply, about one a token, have come.
    """

    def __init__(
        self,
        model: str,
        constraint: Constraint,
        given_up: threading.Event,
        on_text: Callable[[str], None] | None = None,
    ) -> None:
        self.given_up = given_up
        self.left = False  # beside `given_up`, which may be the caller's and used again
        self.done = threading.Event()
        self.written = 0
        self._model = model
        self._constraint = constraint
        self._on_text = on_text
        self._text = ""
        self._told = 0
        self._chunks: list[dict[str, Any]] = []
        self._error: Exception | None = None

    def run(self, server: Any, request: dict[str, Any]) -> None:
        """Ask; returns when the reply is whole or stopped."""
        try:
            server.handle_chat_completions(request, self._take)
        except Exception as error:  # noqa: BLE001  the seam to llama.cpp; mapped in `reply`
            self._error = error

    def _take(self, chunk: dict[str, Any]) -> bool:
        """Keep a piece of the reply; whether to stop. What it raised, llama.cpp would swallow."""
        self._chunks.append(chunk)
        for choice in chunk.get("choices") or ():
            if piece := choice.get("delta", {}).get("content"):
                self.written += 1
                self._text += piece
        stop = self.left or self.given_up.is_set() or self._constraint.broken_by(self._text)
        # before its opening is whole, a text may still turn out to be none of the grammar's
        if not stop and len(self._text) >= len(self._constraint.opening):
            self._tell()
        return stop

    def _tell(self) -> None:
        if self._on_text is not None and len(self._text) > self._told:
            told, self._told = self._told, len(self._text)
            self._on_text(self._text[told:])

    def reply(self) -> dict[str, Any]:
        """The whole reply, put together.

        Raises:
            ModelError: The call failed; see `Engine.chat`.
        """
        if self._error is not None:
            raise _mapped(self._model, str(self._error)) from self._error
        for chunk in self._chunks:
            if "error" in chunk:
                raise refused(self._model, chunk["error"])
        if self._constraint.broken_by(self._text):
            raise SchemaRejected(
                f"{self._model}: the engine cannot enforce the schema",
                hint="it has a keyword or a pattern that llguidance cannot read",
            )
        if not self._chunks or "usage" not in self._chunks[-1]:
            raise ModelUnavailable(f"{self._model}: the engine stopped in the middle of a reply")
        self._tell()
        return _assembled(self._chunks)


def _assembled(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """One chat completion from the pieces of a stream."""
    last = chunks[-1]
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    logprobs: list[Any] = []
    finish = "stop"
    for choice in (one for chunk in chunks for one in chunk.get("choices") or ()):
        delta = choice.get("delta", {})
        message["content"] += delta.get("content") or ""
        if thought := delta.get("reasoning_content"):
            message["reasoning_content"] = message.get("reasoning_content", "") + thought
        logprobs += (choice.get("logprobs") or {}).get("content") or []
        finish = choice.get("finish_reason") or finish
    whole: dict[str, Any] = {"index": 0, "finish_reason": finish, "message": message}
    if logprobs:
        whole["logprobs"] = {"content": logprobs}
    told = ("id", "created", "model", "usage", "timings")
    kept: dict[str, Any] = {key: last[key] for key in told if key in last}
    return {"object": "chat.completion", "choices": [whole], **kept}


def _mapped(model: str, message: str) -> ModelError:
    """Our error for an exception of llama.cpp; they differ in their words alone."""
    said = f"{model}: {message}"
    if "JSON schema" in message or "grammar" in message:
        return SchemaRejected(said)
    if "essages" in message or "content" in message or "response_format" in message:
        return RequestRejected(said)
    return ModelUnavailable(said)


def refused(model: str, error: Any) -> ModelError:
    """Our error for an error object of llama.cpp."""
    if not isinstance(error, dict):
        return ModelUnavailable(f"{model}: {error}")
    message, kind = f"{model}: {error.get('message')}", error.get("type")
    if kind == "exceed_context_size_error":
        return ContextTooLong(message, hint="a shorter prompt, or a larger context for the model")
    if "grammar" in message:
        return SchemaRejected(message)
    if kind in {"invalid_request_error", "not_supported_error", "not_found_error"}:
        return RequestRejected(message)
    return ModelUnavailable(message)
