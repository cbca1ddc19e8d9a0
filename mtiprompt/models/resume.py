"""The model of a measurement that can be stopped: what was answered once is not asked again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtiprompt.errors import DataError
from mtiprompt.files import cut_last_line
from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.models.trace import TracedModel, identity_in_trace, read_trace
from mtiprompt.wire import Reply, Request


class ResumedModel(Wrapper):
    """A model that asks only what its trace does not have, and gives the rest as it was.

    Unlike a cache it keeps every reply as soon as it has come, sound or not, and hands it out with
    what it cost the first time: a measurement that was stopped ends with the figures of one that
    was not. Errors are not kept. Replies count only for the same model, endpoint and sampling.

    `details["began"]` and `details["seconds"]` of a reply say when its call began (seconds since
    1970) and how long it took.

    Example:
        >>> import tempfile
        >>> import mtiprompt as mti
        >>> from mtiprompt.models.resume import ResumedModel
        >>> path = tempfile.mkdtemp() + "/calls.jsonl"
        >>> request = mti.Request((mti.Message("user", "Hello"),))
        >>> ResumedModel(mti.ScriptedModel(["Good day."]), path).complete(request).text
        'Good day.'
        >>> again = ResumedModel(mti.ScriptedModel([]), path)
        >>> again.complete(request).text, again.resumed
        ('Good day.', 1)

    Args:
        inner: Whom to ask.
        path: The trace. Its folder is made.

    Attributes:
        resumed: How many replies came out of the trace.

    Raises:
        DataError: The trace cannot be read or written.
    """

    def __init__(self, inner: LanguageModel, path: str | os.PathLike[str]) -> None:
        place = Path(path)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if there := place.is_file():
                cut_last_line(place)  # of a process that was killed while it wrote
        except OSError as error:
            raise DataError(f"cannot write {place}: {error.strerror}") from None
        super().__init__(TracedModel(inner, place))
        self.resumed = 0
        self._known = _replies(place, inner.identity) if there else {}

    def complete(self, request: Request) -> Reply:
        """What was answered, else ask."""
        if known := self._find(request):
            return known
        began = time.time()
        return self._noted(request, began, self.inner.complete(request))

    async def acomplete(self, request: Request) -> Reply:
        """As `complete`."""
        if known := self._find(request):
            return known
        began = time.time()
        return self._noted(request, began, await self.inner.acomplete(request))

    def _find(self, request: Request) -> Reply | None:
        known = self._known.get(_digest(request))
        self.resumed += known is not None
        return known

    def _noted(self, request: Request, began: float, reply: Reply) -> Reply:
        timed = _timed(reply, began, time.time() - began)
        self._known[_digest(request)] = timed
        return timed


def _replies(path: Path, identity: str) -> dict[bytes, Reply]:
    found: dict[bytes, Reply] = {}
    for call in read_trace(path):
        if isinstance(call.outcome, Reply) and _is_same(call.identity, identity):
            reply = _timed(call.outcome, call.time.timestamp(), call.seconds)
            found.setdefault(_digest(call.request), reply)
    return found


def _is_same(traced: Any, identity: str) -> bool:
    return bool(traced == identity_in_trace(identity))


def _timed(reply: Reply, began: float, seconds: float) -> Reply:
    details = {**reply.details, "began": began, "seconds": seconds}
    return replace(reply, details=details)


def _digest(request: Request) -> bytes:
    text = json.dumps(request.key, ensure_ascii=True)  # half of a surrogate pair may be in it
    return hashlib.sha256(text.encode()).digest()
