"""The model of a measurement that can be stopped: what was answered once is not asked again."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtiprompt.errors import DataError
from mtiprompt.files import cut_last_line
from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.models.trace import TracedModel, identity_in_trace, read_trace
from mtiprompt.wire import Reply, Request


def go_on(record: object) -> str:
    """What to do when a measurement was stopped.

    Args:
        record: Where it is on record; None: nowhere.
    """
    again = "run it again, it goes on from there"
    return again if record is not None else f"pass record=FOLDER and {again}"


class ResumedModel(Wrapper):
    """A model that asks only what its trace does not have, and gives the rest as it was.

    Unlike a cache it keeps every reply as soon as it has come, sound or not, and hands it out once,
    with what it cost the first time: a measurement that was stopped ends with the figures of one
    that was not, and a request that comes twice is asked twice. Errors are not kept. Replies count
    only for the same model, endpoint and sampling.

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
        path: The trace. Its folder is made. Two processes must not use it at the same time.

    Attributes:
        resumed: How many replies came out of the trace.

    Raises:
        DataError: The trace cannot be read or written.
    """

    def __init__(self, inner: LanguageModel, path: str | os.PathLike[str]) -> None:
        place = Path(path)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(place, os.O_RDWR | os.O_CREAT, 0o600))  # now, not at the first reply
            cut_last_line(place)  # of a process that was killed while it wrote
        except OSError as error:
            raise DataError(f"cannot write {place}: {error.strerror}") from None
        super().__init__(TracedModel(inner, place))
        self.reuse = None  # answers kept one by one would cost nothing
        self.resumed = 0
        self._kept = _replies(place, inner.identity)
        self._lock = threading.Lock()

    def complete(self, request: Request) -> Reply:
        """What was answered, else ask."""
        if kept := self._take(request):
            return kept
        began = time.time()
        reply = self.inner.complete(request)
        return _timed(reply, began, time.time() - began)

    async def acomplete(self, request: Request) -> Reply:
        """As `complete`."""
        if kept := self._take(request):
            return kept
        began = time.time()
        reply = await self.inner.acomplete(request)
        return _timed(reply, began, time.time() - began)

    def _take(self, request: Request) -> Reply | None:
        with self._lock:
            if not (left := self._kept.get(_digest(request))):
                return None
            self.resumed += 1
            return left.popleft()


def _replies(path: Path, identity: str) -> dict[bytes, deque[Reply]]:
    """The replies of a trace by request, in the order in which they came."""
    found: dict[bytes, deque[Reply]] = {}
    for call in read_trace(path):
        if isinstance(call.outcome, Reply) and _is_same(call.identity, identity):
            reply = _timed(call.outcome, call.time.timestamp(), call.seconds)
            found.setdefault(_digest(call.request), deque()).append(reply)
    return found


def _is_same(traced: Any, identity: str) -> bool:
    return bool(traced == identity_in_trace(identity))


def _timed(reply: Reply, began: float, seconds: float) -> Reply:
    details = {**reply.details, "began": began, "seconds": seconds}
    return replace(reply, details=details)


def _digest(request: Request) -> bytes:
    text = json.dumps(request.key, ensure_ascii=True)  # half of a surrogate pair may be in it
    return hashlib.sha256(text.encode()).digest()
