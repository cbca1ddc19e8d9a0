"""The model that looks requests up before it asks."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from functools import lru_cache
from typing import Any, NamedTuple, get_args

from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.models.cache.entry import FORMAT
from mtiprompt.models.cache.replies import MEMORY_ENTRIES, MEMORY_TEXT, ReplyCache
from mtiprompt.wire import FinishReason, Message, Reply, Request, Usage, canonical, own_details

HEADS = 64
"""Beginnings of requests whose digests are kept; a program has one for each group of its plan."""


class CachedModel(Wrapper):
    """A model that looks requests up before it asks.

    What was asked is stored by `keep`, which the engine calls once a reply has validated: a reply
    that does not parse is asked for again.

    Example:
        >>> import tempfile
        >>> import mtiprompt as mti
        >>> from mtiprompt.models.cache import CachedModel, ReplyCache
        >>> replies = ReplyCache.at(tempfile.mkdtemp())
        >>> model = CachedModel(mti.ScriptedModel(["Good day."]), replies)
        >>> request = mti.Request((mti.Message("user", "Hello"),))
        >>> model.keep(request, model.complete(request))
        >>> again = model.complete(request)
        >>> again.text, again.from_cache, again.usage.cost
        ('Good day.', True, 0.0)
        >>> replies.close()

    Args:
        inner: Whom to ask.
        replies: Where to look.
    """

    def __init__(self, inner: LanguageModel, replies: ReplyCache) -> None:
        super().__init__(inner)
        self.replies = replies
        self._heads: dict[tuple[object, ...], Any] = {}

    def complete(self, request: Request) -> Reply:
        """Look the request up, else ask."""
        return self._found(request) or self.inner.complete(request)

    async def acomplete(self, request: Request) -> Reply:
        """As `complete`; looking up takes less time than a change of thread."""
        return self._found(request) or await self.inner.acomplete(request)

    def stream(self, request: Request) -> Generator[str | Reply, None, None]:
        """Look the request up, else ask; what is found comes whole, without pieces."""
        if found := self._found(request):
            yield found
        else:
            yield from self.inner.stream(request)

    async def astream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """As `stream`, without blocking the event loop."""
        if found := self._found(request):
            yield found
            return
        async with aclosing(self.inner.astream(request)) as pieces:
            async for piece in pieces:
                yield piece

    def keep(self, request: Request, reply: Reply) -> None:
        """Store a reply that has validated."""
        if not reply.from_cache:
            value = {
                "text": reply.text,
                "finish_reason": reply.finish_reason,
                "usage": reply.usage.plain(),
                "model": reply.model,
                "details": own_details(reply.details),
            }
            self.replies.set(self.key(request), value)
        self.inner.keep(request, reply)

    def key(self, request: Request) -> str:
        """The SHA-256 sum of the canonical JSON of all that a reply depends on.

        That is `[format, identity of the model, schema, level, notation, sample, messages]`. All
        but the last message is mostly the same from call to call, and digested once.
        """
        schema = request.schema.text if request.schema and request.level == "json_schema" else None
        settings = (schema, request.level, request.notation, request.sample)
        head, last = request.messages[:-1], request.messages[-1:]
        known = self._heads.get((settings, head))
        if known is None:
            text = canonical([FORMAT, self.identity, *settings])[:-1] + ",["
            known = hashlib.sha256(_bytes(text + "".join(f"{_json(one)}," for one in head)))
            if len(self._heads) >= HEADS:
                self._heads.clear()
            self._heads[settings, head] = known
        digest = known.copy()
        digest.update(_bytes("".join(map(_json, last)) + "]]"))
        key: str = digest.hexdigest()
        return key

    def _found(self, request: Request) -> Reply | None:
        began = time.monotonic()
        stored = self.replies.find(self.key(request))
        if stored is None:
            return None
        try:
            kept = _kept(stored) if len(stored) <= MEMORY_TEXT else _kept.__wrapped__(stored)
        except (KeyError, TypeError, ValueError, RecursionError):
            # whoever stored it, it is no reply
            return None
        return Reply(
            kept.text,
            kept.finish_reason,
            Usage(hits=1, seconds=time.monotonic() - began),
            kept.model,
            own_details(kept.details),
        )


_string = json.JSONEncoder(ensure_ascii=False).encode


def _json(message: Message) -> str:
    """The canonical JSON of a message."""
    return f"[{_string(message[0])},{_string(message[1])}]"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # half of a surrogate pair may be in a message


class _Kept(NamedTuple):
    """What is kept of a reply."""

    text: str
    finish_reason: FinishReason
    model: str
    details: dict[str, Any]


@lru_cache(maxsize=MEMORY_ENTRIES)
def _kept(stored: str) -> _Kept:
    """What a stored text says; reading the JSON takes as long as all the rest of a look-up."""
    value: dict[str, Any] = json.loads(stored)
    text, reason, model = value["text"], value["finish_reason"], value["model"]
    details = value["details"]
    if not (isinstance(text, str) and isinstance(model, str) and isinstance(details, dict)):
        raise TypeError("no reply")
    if reason not in get_args(FinishReason):
        raise ValueError("no reply")
    return _Kept(text, reason, model, details)
