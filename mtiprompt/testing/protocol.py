"""OpenAI's chat completions: what the server writes, whole or as events of a stream.

Source: OpenAI's API reference, "Create chat completion" and "Chat completion chunk".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from mtiprompt.testing.received import Received

CHARACTERS = 4
"""Characters that count as one token."""

_BLOCK = 128 * CHARACTERS
_FEWEST = 1024 * CHARACTERS


@dataclass(frozen=True)
class Said:
    """What the model says in a reply.

    Attributes:
        text: The text of the answer, or of the refusal.
        finish_reason: `stop`, or `length` if it is cut off.
        refuses: Whether it is a refusal.
    """

    text: str
    finish_reason: str = "stop"
    refuses: bool = False

    def within(self, received: Received) -> Said:
        """The same, cut off at the number of tokens that the request allows."""
        body = received.body
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        if limit is None or len(self.text) <= CHARACTERS * limit:
            return self
        return replace(self, text=self.text[: CHARACTERS * limit], finish_reason="length")


def completion(
    received: Received, text: str | Said, model: str | None = None, cached: int | None = None
) -> dict[str, Any]:
    """The body of a chat completion; tokens are counted as four characters each.

    Args:
        received: The request.
        text: What the model says.
        model: The name of the model; without one, the name asked for.
        cached: How many tokens of the prompt were in the cache; None says nothing of it.
    """
    said = (Said(text) if isinstance(text, str) else text).within(received)
    words = {"content": None, "refusal": said.text} if said.refuses else {"content": said.text}
    return {
        **_frame(received, "chat.completion", model),
        "choices": [
            {
                "index": 0,
                "finish_reason": said.finish_reason,
                "message": {"role": "assistant", **words},
            }
        ],
        "usage": usage(received, said, cached),
    }


def events(
    received: Received,
    said: Said,
    *,
    pieces: int,
    model: str | None = None,
    cached: int | None = None,
    stop_after: int | None = None,
) -> Iterator[bytes]:
    """The same as server-sent events: the role, the text in pieces, the finish, `[DONE]`.

    Args:
        received: The request; `stream_options.include_usage` adds an event with the usage.
        said: What the model says.
        pieces: Characters in each piece.
        model: The name of the model; without one, the name asked for.
        cached: How many tokens of the prompt were in the cache; None says nothing of it.
        stop_after: Characters of text after which nothing more comes.
    """
    said = said.within(received)
    counts = bool((received.body.get("stream_options") or {}).get("include_usage"))
    frame = _frame(received, "chat.completion.chunk", model)
    frame |= {"usage": None} if counts else {}

    def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return _event({**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    yield event({"role": "assistant", "content": None if said.refuses else ""})
    key, text = "refusal" if said.refuses else "content", said.text[:stop_after]
    for place in range(0, len(text), pieces):
        yield event({key: text[place : place + pieces]})
    if stop_after is not None:
        return
    yield event({}, said.finish_reason)
    if counts:
        yield _event({**frame, "choices": [], "usage": usage(received, said, cached)})
    yield b"data: [DONE]\n\n"


def usage(received: Received, said: Said, cached: int | None = None) -> dict[str, Any]:
    """The tokens read and written; at least one of each."""
    read = sum(len(one) for one in _contents(received)) // CHARACTERS or 1
    wrote = len(said.text) // CHARACTERS or 1
    counted: dict[str, Any] = {
        "prompt_tokens": read,
        "completion_tokens": wrote,
        "total_tokens": read + wrote,
    }
    return counted if cached is None else counted | {
        "prompt_tokens_details": {"cached_tokens": cached}
    }  # fmt: skip


def error(message: str, code: str | None = None) -> str:
    """The body of an error."""
    return json.dumps({"error": {"message": message, "type": code, "param": None, "code": code}})


def models(name: str | None) -> str:
    """The body of the list of models, which has one."""
    one = {"id": name or "model", "object": "model", "created": 0, "owned_by": "mtiprompt"}
    return json.dumps({"object": "list", "data": [one]})


class PrefixCache:
    """Counts how much of a prompt an earlier one began with, in whole blocks of 128 tokens.

    Prompts below 1,024 tokens are not cached. Source: OpenAI, "Prompt caching".
    """

    def __init__(self) -> None:
        self._known: set[int] = set()

    def cached(self, received: Received) -> int:
        """Tokens of the prompt that were cached; from now on all of its whole blocks are."""
        text = "".join(_contents(received))
        if len(text) < _FEWEST:
            return 0
        prefix, found, misses = 0, 0, False
        for end in range(_BLOCK, len(text) + 1, _BLOCK):
            prefix = hash((prefix, text[end - _BLOCK : end]))
            misses = misses or prefix not in self._known
            found += not misses
            self._known.add(prefix)
        return found * _BLOCK // CHARACTERS


def _contents(received: Received) -> list[str]:
    return [str(message["content"]) for message in received.body["messages"]]


def _frame(received: Received, kind: str, model: str | None) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{received.number}",
        "object": kind,
        "created": 0,
        "model": model or received.body.get("model", "model"),
    }


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"
