"""Replies that several plans share: a task alone is the same call in every plan that has it so."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.wire import Reply, Request


class Replies:
    """What a model has answered, for the plans that ask it the same."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, int], Reply] = {}


class SharedModel(Wrapper):
    """A model as one plan asks it: what another plan was answered is not asked again.

    A request that comes twice in one plan is asked twice, as it would be in use. A reply that was
    not paid for again has `details["shared"]`, and its usage is that of the first time.

    Args:
        inner: Whom to ask.
        replies: What all plans were answered.
    """

    def __init__(self, inner: LanguageModel, replies: Replies) -> None:
        super().__init__(inner)
        self.reuse = None  # answers kept one by one would cost nothing
        self._replies = replies
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def complete(self, request: Request) -> Reply:
        """What was answered to another plan, else ask."""
        place = self._place(request)
        if known := self._replies.known.get(place):
            return _shared(known)
        reply = self.inner.complete(request)
        self._replies.known[place] = reply
        return reply

    async def acomplete(self, request: Request) -> Reply:
        """As `complete`."""
        place = self._place(request)
        if known := self._replies.known.get(place):
            return _shared(known)
        reply = await self.inner.acomplete(request)
        self._replies.known[place] = reply
        return reply

    def _place(self, request: Request) -> tuple[str, int]:
        """The request, and how often this plan has asked it before."""
        with self._lock:
            self._asked[request.key] += 1
            return request.key, self._asked[request.key]


def _shared(reply: Reply) -> Reply:
    return replace(reply, details={**reply.details, "shared": True})
