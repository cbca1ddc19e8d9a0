"""The protocol that every language model and every wrapper around one keeps."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from mtiprompt.wire import LEVELS, Level, Notation, Reply, Request

Dialect = Literal["openai", "anthropic", "gemini", "llguidance", "whole"]
"""Which subset of JSON schema a provider enforces, `whole` all of it; see `schema.py`."""


class Support:
    """What is known of a model's abilities; it learns as calls go out, and is shared by threads.

    Args:
        level: The firmest way of holding the model to a schema that may work.
        dialect: Which subset of JSON schema the provider enforces.
        notation: The notation that suits the model, for plans that do not name one.
    """

    def __init__(
        self,
        level: Level = "json_schema",
        *,
        dialect: Dialect = "openai",
        notation: Notation = "compact",
    ) -> None:
        self._level: Level = level
        self._lock = threading.Lock()
        self.dialect: Dialect = dialect
        self.notation: Notation = notation

    @property
    def level(self) -> Level:
        """The firmest level that has not been refused yet."""
        return self._level

    def begin_at(self, level: Level) -> None:
        """Try no firmer level than this."""
        self._level = level

    def refuse(self, level: Level) -> Level | None:
        """Note that the model refused a level; returns the next lower one, None below the last.

        Calls in flight may report the same refusal several times: each gets the same answer.
        """
        lower = LEVELS.index(level) + 1
        if lower == len(LEVELS):
            return None
        with self._lock:
            self._level = LEVELS[max(lower, LEVELS.index(self._level))]
        return LEVELS[lower]


class AnswerStore(Protocol):
    """Where single answers are kept: plain JSON data by key; never an error."""

    def get(self, key: str) -> dict[str, Any] | None:
        """What is kept under a key; a new object each time."""
        ...

    def set(self, key: str, value: dict[str, Any]) -> None:
        """Keep something under a key."""
        ...


class Reuse(NamedTuple):
    """That answers are kept one by one, so that a task is asked only where it is new.

    Attributes:
        store: Where they are kept.
        company: Whether an answer counts only for the same group of tasks: what a model says of one
            task depends a little on the others that it is asked with.
    """

    store: AnswerStore
    company: bool = False


@runtime_checkable
class LanguageModel(Protocol):
    """Something that answers requests. A wrapper around one is one.

    Attributes:
        name: The name it was asked for by, `provider/model`.
        identity: Canonical JSON of all that a reply depends on besides the request: model,
            endpoint, sampling. Never a credential.
        support: What is known of its abilities.
        reuse: Whether and where its answers are kept one by one; None: they are not.
    """

    name: str
    identity: str
    support: Support
    reuse: Reuse | None

    def complete(self, request: Request) -> Reply:
        """Answer a request.

        Raises:
            ModelError: The call failed; nothing else is raised for a failed call.
        """
        ...

    async def acomplete(self, request: Request) -> Reply:
        """Answer a request without blocking the event loop; raises as `complete` does."""
        ...

    def stream(self, request: Request) -> Generator[str | Reply, None, None]:
        """Answer a request in pieces: texts as they come, and the whole reply last.

        The texts together are the text of the reply, or there are none. Closing the generator stops
        the call. A call that breaks off after some text has come ends with what came, as a reply
        that was cut off.

        Raises:
            ModelError: The call failed before any text came.
        """
        ...

    def astream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """As `stream`, without blocking the event loop."""
        ...

    def keep(self, request: Request, reply: Reply) -> None:
        """Store a reply that has parsed and validated; a model without a store does nothing."""
        ...


class BaseModel:
    """A model to derive from, once it has `complete`.

    `acomplete` runs that in a thread, `stream` and `astream` give the reply whole, `keep` does
    nothing.
    """

    name: str = "model"
    identity: str = '"model"'
    support: Support
    reuse: Reuse | None = None

    def complete(self, request: Request) -> Reply:
        """Answer a request; to be written by the derived class."""
        raise NotImplementedError

    async def acomplete(self, request: Request) -> Reply:
        """Answer a request in a worker thread."""
        import asyncio  # late: it takes a sixth of the time to import the whole package

        return await asyncio.to_thread(self.complete, request)

    def stream(self, request: Request) -> Generator[str | Reply, None, None]:
        """Answer a request in one piece."""
        yield self.complete(request)

    async def astream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """Answer a request in one piece."""
        yield await self.acomplete(request)

    def keep(self, request: Request, reply: Reply) -> None:
        """Nothing to store."""


class Wrapper(BaseModel):
    """A model around a model: it passes everything on until a derived class does more."""

    def __init__(self, inner: LanguageModel) -> None:
        self.inner = inner
        self.name = inner.name
        self.identity = inner.identity
        self.support = inner.support
        self.reuse: Reuse | None = inner.reuse

    def complete(self, request: Request) -> Reply:
        """Ask the inner model."""
        return self.inner.complete(request)

    async def acomplete(self, request: Request) -> Reply:
        """Ask the inner model."""
        return await self.inner.acomplete(request)

    def stream(self, request: Request) -> Generator[str | Reply, None, None]:
        """Ask the inner model."""
        yield from self.inner.stream(request)

    async def astream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """Ask the inner model."""
        async with aclosing(self.inner.astream(request)) as pieces:
            async for piece in pieces:
                yield piece

    def keep(self, request: Request, reply: Reply) -> None:
        """Hand the reply to the inner model, which may store it."""
        self.inner.keep(request, reply)
