"""A trace: each call of a model as one line of JSON in a file, and how to read it back.

The lines hold all that was asked and answered, so the file is for its owner only. They hold no
credential: what a model is called, its identity and the messages of our errors have none.
"""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mtiprompt import errors
from mtiprompt.errors import BudgetExceeded, DataError, ModelError, MTIError
from mtiprompt.kept_lines import digest
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.naming import public_endpoint
from mtiprompt.models.watch import Watch, WatchedModel
from mtiprompt.settings import expanded
from mtiprompt.wire import Message, OutputSchema, Reply, Request, Usage, own_details

logger = logging.getLogger(__name__)

VERSION = 1
"""The version of the lines."""


class TracedModel(WatchedModel):
    """A model that writes each call to the end of a file.

    Threads and processes may write to the same file. A file that cannot be written is one warning,
    and the calls go on, unless it is firm. It belongs outside of the cache, so that hits are seen
    too.

    Example:
        >>> import tempfile
        >>> import mtiprompt as mti
        >>> from mtiprompt.models.trace import TracedModel, read_trace
        >>> path = tempfile.mkdtemp() + "/calls.jsonl"
        >>> model = TracedModel(mti.ScriptedModel(["Good day."]), path)
        >>> reply = model.complete(mti.Request((mti.Message("user", "Hello"),)))
        >>> [call] = read_trace(path)
        >>> call.model, call.request.messages[-1].content, call.outcome.text
        ('scripted', 'Hello', 'Good day.')

    Args:
        inner: Whom to ask.
        path: The file; made with rights for its owner only. Its folder must exist.
        firm: Whether a reply that cannot be written is a `DataError`.
    """

    def __init__(
        self, inner: LanguageModel, path: str | os.PathLike[str], *, firm: bool = False
    ) -> None:
        super().__init__(inner)
        self._lines = _Lines(expanded(path).absolute(), firm=firm)
        self._identity = identity_in_trace(inner.identity)
        self._digest = digest(inner.identity)

    def watch(self, request: Request, *, streamed: bool = False) -> Watch:
        """Begin an entry."""
        support = self.inner.support
        known = {
            "level": support.level,
            "dialect": support.dialect,
            "notation": support.notation,
        }
        about = {
            "model": self.name,
            "identity": self._identity,
            "digest": self._digest,
            "support": known,
        }
        return _Entry(request, self._lines, about, streamed=streamed)


class _Entry(Watch):
    """A call on its way to its line."""

    def __init__(
        self, request: Request, lines: _Lines, about: Mapping[str, Any], *, streamed: bool
    ) -> None:
        super().__init__(request, streamed=streamed)
        self._lines = lines
        self._about = about
        self._time = datetime.now(UTC)

    def ended(self, outcome: Reply | BaseException) -> None:
        """Write the line."""
        ended = (
            {"reply": _plain_reply(outcome)}
            if isinstance(outcome, Reply)
            else {"error": _plain_error(outcome)}
        )
        self._lines.add(
            {
                "version": VERSION,
                "time": self._time.isoformat(timespec="milliseconds"),
                **self._about,
                "purpose": self.request.purpose,
                "request": _plain_request(self.request),
                **ended,
                "hit": isinstance(outcome, Reply) and outcome.from_cache,
                "streamed": self.streamed,
                "seconds": round(self.seconds, 6),
            }
        )


class _Lines:
    """A file that lines are added to, each in one write, so that none comes into another."""

    def __init__(self, path: Path, *, firm: bool) -> None:
        self._path = path
        self._firm = firm
        self._torn = False
        self._warned = False

    def add(self, value: dict[str, Any]) -> None:
        """Add a line. The file is opened for each: it may be moved away at any time."""
        data = b"\n" * self._torn + _bytes(value) + b"\n"
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                written = os.write(file, data)
            finally:
                os.close(file)
            self._torn = written < len(data)
            if self._torn:
                raise OSError(errno.ENOSPC, "the disk took a part of a line only")
        except OSError as error:
            if self._firm and "reply" in value:
                raise DataError(f"cannot write {self._path}: {error.strerror}") from None
            if not self._warned:
                self._warned = True
                logger.warning(
                    "the trace %s cannot be written (%s); calls go on without it",
                    self._path, error,
                )  # fmt: skip


def _bytes(value: dict[str, Any]) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps(value, default=str).encode()


# --- reading ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TracedCall:
    """A call, as a trace tells of it.

    Attributes:
        line: The number of its line, from 1.
        time: When it began.
        model: The name of the model.
        request: What was asked.
        outcome: The reply, or the error, of the class that was raised. A call that the caller gave
            up, or that ended in an error which is none of ours, has a bare `MTIError`.
        seconds: How long it took.
        streamed: Whether the reply came in pieces.
        support: What was known of the model's abilities when the call began: `level`, `dialect`,
            `notation`.
        identity: All that the reply depends on besides the request: model, endpoint, sampling; of
            an address only what may be shown.
        digest: Of the whole identity; None in lines of older versions.
    """

    line: int
    time: datetime
    model: str
    request: Request
    outcome: Reply | MTIError
    seconds: float = 0.0
    streamed: bool = False
    support: Mapping[str, Any] = field(default_factory=dict)
    identity: Any = None
    digest: str | None = None


def read_trace(path: str | os.PathLike[str]) -> list[TracedCall]:
    """The calls of a trace, in the order in which they ended.

    Lines that are none of a trace, one that was cut off for example, are left out with a warning.

    Raises:
        DataError: There is no such file, or it cannot be read.
    """
    try:
        raw = expanded(path).read_bytes()
    except OSError as error:
        raise DataError(f"the trace {path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # a name that no file can have
        raise DataError(f"the trace {str(path)!r} cannot be read: {error}") from None
    calls, unsound = [], []
    for number, line in enumerate(raw.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            calls.append(_call(number, json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError):
            unsound.append(number)
    if unsound:
        logger.warning(
            "%s: %d lines were left out, which are no calls (first: line %d)",
            path, len(unsound), unsound[0],
        )  # fmt: skip
    return calls


def _call(number: int, value: dict[str, Any]) -> TracedCall:
    if value["version"] != VERSION:
        raise ValueError(value["version"])
    answered = "reply" in value
    return TracedCall(
        line=number,
        time=datetime.fromisoformat(value["time"]),
        model=value["model"],
        request=_request(value["request"], value["purpose"]),
        outcome=_reply(value["reply"]) if answered else _error(value["error"]),
        seconds=value["seconds"],
        streamed=value["streamed"],
        support=value["support"],
        identity=value["identity"],
        digest=value.get("digest"),
    )


# --- requests, replies and errors as plain data, and back -----------------------------------------


def _plain_request(request: Request) -> dict[str, Any]:
    schema = request.schema
    return {
        "messages": [{"role": one.role, "content": one.content} for one in request.messages],
        "schema": schema and {"name": schema.name, "text": schema.text, "strict": schema.strict},
        "level": request.level,
        "notation": request.notation,
        "sample": request.sample,
    }


def _request(value: dict[str, Any], purpose: str) -> Request:
    return Request(
        messages=tuple(Message(one["role"], one["content"]) for one in value["messages"]),
        schema=value["schema"] and OutputSchema(**value["schema"]),
        level=value["level"],
        notation=value["notation"],
        sample=value["sample"],
        purpose=purpose,
    )


def _plain_reply(reply: Reply) -> dict[str, Any]:
    return {
        "text": reply.text,
        "finish_reason": reply.finish_reason,
        "model": reply.model,
        "usage": reply.usage.plain(),
        "details": own_details(reply.details),
    }


def _reply(value: dict[str, Any]) -> Reply:
    return Reply(**value | {"usage": Usage(**value["usage"])})


def _plain_error(error: BaseException) -> dict[str, Any]:
    if not isinstance(error, MTIError):
        return {"class": type(error).__name__}  # whoever wrote its message did not clean it
    ours = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
    found: dict[str, Any] = {"class": ours.__name__, "message": error.message, "hint": error.hint}
    if isinstance(error, ModelError):
        found |= {"status": error.status, "retry_after": error.retry_after}
    if isinstance(error, ModelError | BudgetExceeded):
        found["usage"] = error.usage and error.usage.plain()
    return found


def _error(value: dict[str, Any]) -> MTIError:
    given = dict(value)
    name = given.pop("class")
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, MTIError)) or "message" not in given:
        return MTIError(f"the call ended with {name}")
    message = given.pop("message")
    if issubclass(kind, errors.IncompleteResult):
        return MTIError(message, hint=given["hint"])
    usage = given.pop("usage", None)
    error = kind(message, **given)
    if usage and isinstance(error, ModelError | BudgetExceeded):
        error.usage = Usage(**usage)
    return error


def identity_in_trace(identity: str) -> Any:
    """The identity of a model as the lines of a trace have it."""
    try:
        return _without_credentials(json.loads(identity))
    except ValueError:  # a user's model may not be so strict
        return _without_credentials(identity)


def _without_credentials(value: Any) -> Any:
    """An identity, sure to have no name, password or query in an address."""
    if isinstance(value, dict):
        return {key: _without_credentials(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_credentials(part) for part in value]
    if isinstance(value, str) and "//" in value:
        return public_endpoint(value)
    return value
