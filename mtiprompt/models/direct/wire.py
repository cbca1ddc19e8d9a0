"""OpenAI's chat completions as data: a request's body, and what is in a reply."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtiprompt.models.rate_headers import count_of, rate_limits
from mtiprompt.wire import FINISHED, Reply, Request, Usage

# --- the body of a request ----------------------------------------------------------------------


def opening(model: str, params: Mapping[str, Any]) -> str:
    """The part of every body that never changes: a JSON object without its end."""
    return json.dumps({"model": model, **params})[:-1]


def body(start: str, request: Request, *, stream: bool = False, usage: bool = True) -> bytes:
    """The body of a request.

    Args:
        start: From `opening`.
        request: What is asked.
        stream: Whether the reply is to come in pieces.
        usage: Whether such a reply is to end with what it used.
    """
    messages = json.dumps([{"role": one.role, "content": one.content} for one in request.messages])
    parts = [start, f', "messages": {messages}', _response_format(request)]
    if stream:
        parts.append(', "stream": true')
        parts.append(', "stream_options": {"include_usage": true}' if usage else "")
    return "".join([*parts, "}"]).encode()


def is_formatted(request: Request) -> bool:
    """Whether the request goes out with a response format."""
    return request.level == "json_object" or _is_schema_sent(request)


def _is_schema_sent(request: Request) -> bool:
    return request.level == "json_schema" and request.schema is not None


def _response_format(request: Request) -> str:
    if request.level == "json_object":
        return ', "response_format": {"type": "json_object"}'
    if request.level == "prompt" or request.schema is None:
        return ""
    asked = request.schema
    named = f'"name": {json.dumps(asked.name)}, "strict": {json.dumps(asked.strict)}'
    # the text as it is: reading and writing it again would take longer than all the rest
    inner = f'{{{named}, "schema": {asked.text}}}'
    return f', "response_format": {{"type": "json_schema", "json_schema": {inner}}}'


# --- what is in a reply -------------------------------------------------------------------------


@dataclass(frozen=True)
class Answered:
    """What a server answered.

    Attributes:
        status: The HTTP status.
        headers: The headers, names in lower case.
        body: The whole body; None if it comes in pieces.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes | None


def reply_of(data: Any, headers: Mapping[str, str], *, model: str, seconds: float) -> Reply:
    """The reply that a completion holds.

    Args:
        data: The completion, as it was in the body.
        headers: The headers, names in lower case.
        model: Its name, if the server tells none.
        seconds: How long the call took.

    Raises:
        ValueError: It holds none; the text says why.
    """
    choices = as_dict(data).get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError("the reply has no choices")
    choice = as_dict(choices[0])
    message = as_dict(choice.get("message"))
    refusal = as_text(message.get("refusal"))
    reason = FINISHED.get(str(choice.get("finish_reason")), "stop")
    return Reply(
        text=refusal or as_text(message.get("content")),
        finish_reason="refused" if refusal else reason,
        usage=_usage(data, seconds),
        model=as_text(data.get("model")) or model,
        details=_details(data, choice, headers),
    )


def _usage(data: dict[str, Any], seconds: float) -> Usage:
    used, timings = as_dict(data.get("usage")), as_dict(data.get("timings"))
    read = as_dict(used.get("prompt_tokens_details"))
    return Usage(
        calls=1,
        prompt_tokens=count_of(used.get("prompt_tokens")),
        # ... as OpenAI and vLLM, DeepSeek, llama.cpp say it
        cached_tokens=count_of(read.get("cached_tokens"))
        or count_of(used.get("prompt_cache_hit_tokens"))
        or count_of(timings.get("cache_n")),
        completion_tokens=count_of(used.get("completion_tokens")),
        cost=None,  # what a server takes for it, no table of ours can know
        seconds=seconds,
    )


def _details(
    data: dict[str, Any], choice: dict[str, Any], headers: Mapping[str, str]
) -> dict[str, Any]:
    """What else the server reports, as far as it is plain data."""
    wrote = as_dict(as_dict(data.get("usage")).get("completion_tokens_details"))
    found = {
        "system_fingerprint": (str, data.get("system_fingerprint")),
        "reasoning_tokens": (int, wrote.get("reasoning_tokens")),
        "timings": (dict, data.get("timings")),
        "logprobs": (dict, choice.get("logprobs")),
        "rate_limits": (dict, rate_limits(headers) or None),
    }
    return {name: value for name, (kind, value) in found.items() if isinstance(value, kind)}


def as_dict(value: Any) -> dict[str, Any]:
    """The value if it is a dictionary, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_text(value: Any) -> str:
    """A text, or the texts of a content in parts."""
    if isinstance(value, list):
        return "".join(as_text(as_dict(part).get("text")) for part in value)
    return value if isinstance(value, str) else ""
