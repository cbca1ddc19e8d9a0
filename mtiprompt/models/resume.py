"""The model of a measurement that can be stopped: what was answered once is not asked again."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mtiprompt.errors import DataError, MTIError, RequestRejected
from mtiprompt.files import cut_last_line
from mtiprompt.kept_lines import digest
from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.models.trace import TracedModel, identity_in_trace, read_trace
from mtiprompt.settings import expanded
from mtiprompt.wire import Reply, Request


def go_on(record: object, failed: Iterable[tuple[str, MTIError | None]] = ()) -> str:
    """What to do when a measurement was stopped.

    Args:
        record: Where it is on record; None: nowhere.
        failed: Ids of items with what went wrong; some need more than to be asked again.
    """
    again = "run it again, it goes on from there"
    again = again if record is not None else f"pass record=FOLDER and {again}"
    refused = list(dict.fromkeys(id for id, error in failed if is_refused(error)))
    if not refused:
        return again
    return f"{named(refused)} would be refused again: leave out or mend such items, then {again}"


def is_refused(error: MTIError | None) -> bool:
    """Whether the provider refused this one request, as it would each time."""
    return isinstance(error, RequestRejected)


def named(ids: Sequence[str]) -> str:
    """The first few of some ids, in words.

    Args:
        ids: One or more.
    """
    return ", ".join(f"{one!r:.60}" for one in ids[:5]) + ", ..." * (len(ids) > 5)


class ResumedModel(Wrapper):
    """A model that asks only what its trace does not have, and gives the rest as it was.

    Unlike a cache it keeps every reply as soon as it has come, sound or not, and hands it out once,
    with what it cost the first time: a measurement that was stopped ends with the figures of one
    that was not, and a request that comes twice is asked twice. Errors are not kept. Replies count
    only for the same model, endpoint and sampling.

    `details["began"]` and `details["seconds"]` of a reply say when its call began (seconds since
    1970) and how long it took, `details["resumed"]` whether it came out of the trace.

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
        DataError: The trace cannot be read or written. A reply that cannot be kept raises it, too:
            those after it would be paid for nothing.
    """

    def __init__(self, inner: LanguageModel, path: str | os.PathLike[str]) -> None:
        place = expanded(path)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(place, os.O_RDWR | os.O_CREAT, 0o600))  # now, not at the first reply
            cut_last_line(place)  # of a process that was killed while it wrote
        except OSError as error:
            raise DataError(f"cannot write {place}: {error.strerror}") from None
        except ValueError as error:  # a name that no file can have
            raise DataError(f"cannot write {str(place)!r}: {error}") from None
        super().__init__(TracedModel(_TimedModel(inner), place, firm=True))
        self.reuse = None  # answers kept one by one would cost nothing
        self.resumed = 0
        self._kept = _replies(place, inner.identity)
        self._lock = threading.Lock()

    def complete(self, request: Request) -> Reply:
        """What was answered, else ask."""
        return self._take(request) or _with(self.inner.complete(request), resumed=False)

    async def acomplete(self, request: Request) -> Reply:
        """As `complete`."""
        return self._take(request) or _with(await self.inner.acomplete(request), resumed=False)

    def _take(self, request: Request) -> Reply | None:
        with self._lock:
            if not (left := self._kept.get(_digest(request))):
                return None
            self.resumed += 1
            return left.popleft()


class _TimedModel(Wrapper):
    """A model whose replies say when their calls began and what they took.

    It is inside the trace, so that this is on record as it was shown.
    """

    def complete(self, request: Request) -> Reply:
        """Ask."""
        began, start = time.time(), time.monotonic()
        reply = self.inner.complete(request)
        return _with(reply, began=began, seconds=time.monotonic() - start)

    async def acomplete(self, request: Request) -> Reply:
        """As `complete`."""
        began, start = time.time(), time.monotonic()
        reply = await self.inner.acomplete(request)
        return _with(reply, began=began, seconds=time.monotonic() - start)


def _replies(path: Path, identity: str) -> dict[bytes, deque[Reply]]:
    """The replies of a trace by request, in the order in which they came."""
    found: dict[bytes, deque[Reply]] = {}
    own, shown = digest(identity), identity_in_trace(identity)
    for call in read_trace(path):
        # a line of an older version has no digest
        same = call.identity == shown if call.digest is None else call.digest == own
        if same and isinstance(call.outcome, Reply):
            # a line of an older version, and one of a stream, has no times in the reply
            times = {"began": call.time.timestamp(), "seconds": call.seconds}
            details = {**times, **call.outcome.details, "resumed": True}
            reply = replace(call.outcome, details=details)
            found.setdefault(_digest(call.request), deque()).append(reply)
    return found


def _with(reply: Reply, **details: Any) -> Reply:
    return replace(reply, details={**reply.details, **details})


def _digest(request: Request) -> bytes:
    text = json.dumps(request.key, ensure_ascii=True)  # half of a surrogate pair may be in it
    return hashlib.sha256(text.encode()).digest()
