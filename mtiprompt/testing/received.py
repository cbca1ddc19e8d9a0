"""A request as it arrived at the server, and the smallest answer to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from mtiprompt.models.example import example_of


@dataclass(frozen=True)
class Received:
    """A request as it arrived.

    Attributes:
        number: Counted from 0.
        path: The path, `/v1/chat/completions`.
        headers: The headers, names in lower case.
        body: The JSON body.
        at: When it had arrived, in seconds of `time.monotonic`.
    """

    number: int
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    at: float = field(compare=False, default=0.0)

    @property
    def level(self) -> str:
        """The type of the response format that it asks for; `text` if none."""
        return str((self.body.get("response_format") or {}).get("type", "text"))

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema that the answer must satisfy, if it asks for one."""
        asked = self.body.get("response_format") or {}
        found: dict[str, Any] | None = (asked.get("json_schema") or {}).get("schema")
        return found

    @property
    def streams(self) -> bool:
        """Whether it wants the answer in pieces."""
        return bool(self.body.get("stream"))


Answer = Callable[[Received], Any]
"""Gives the text of the reply; what is not text is written as JSON."""


def smallest(received: Received) -> str:
    """The smallest JSON that satisfies the schema of a request; `{}` or `...` where it has none."""
    if schema := received.schema:
        return _example(json.dumps(schema))
    return "{}" if received.body.get("response_format") else "..."


@lru_cache(maxsize=1024)
def _example(schema: str) -> str:
    return json.dumps(example_of(json.loads(schema)), ensure_ascii=False, separators=(",", ":"))
