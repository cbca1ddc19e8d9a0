"""Models that need no model: for tests, examples and dry runs."""

from __future__ import annotations

import inspect
import math
import threading
import time
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mtiprompt.errors import ModelMisconfigured
from mtiprompt.models.base import BaseModel, Support
from mtiprompt.models.deadline import run_within
from mtiprompt.models.example import example_of, written
from mtiprompt.models.watch import tokens_of
from mtiprompt.wire import Reply, Request, Usage, canonical

if TYPE_CHECKING:
    import asyncio

Scripted = str | Reply | BaseException

PIECE = 4
"""Characters in a piece of a streamed reply, about a token."""


class _Fake(BaseModel):
    """What the fakes share: a name, a record of requests, usage by estimate, small pieces."""

    def __init__(self, name: str, support: Support | None) -> None:
        self.name = name
        self.identity = canonical(["fake", name])
        self.support = support or Support()
        self.requests: list[Request] = []
        self._lock = threading.Lock()

    def stream(self, request: Request) -> Generator[str | Reply, None, None]:
        """The reply in pieces of four characters, then whole."""
        reply = self.complete(request)
        yield from _pieces(reply.text)
        yield reply

    async def astream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """As `stream`; other tasks have their turn before each piece."""
        import asyncio

        reply = await self.acomplete(request)
        for piece in _pieces(reply.text):
            await asyncio.sleep(0)
            yield piece
        yield reply

    def _reply(self, request: Request, said: Any, seconds: float = 0.0) -> Reply:
        reply = said if isinstance(said, Reply) else Reply(said, model=self.name)
        if reply.usage != Usage():
            return reply
        read = sum(tokens_in(message.content) for message in request.messages)
        usage = Usage(
            calls=1,
            prompt_tokens=read,
            completion_tokens=tokens_in(reply.text),
            seconds=seconds,
        )
        return replace(reply, usage=usage)


def _pieces(text: str) -> Iterable[str]:
    return (text[place : place + PIECE] for place in range(0, len(text), PIECE))


def tokens_in(text: str) -> int:
    """About how many tokens a text has."""
    return tokens_of(len(text))


class ScriptedModel(_Fake):
    """A model that answers from a list, in order, whatever it is asked.

    Example:
        >>> import mtiprompt as mti
        >>> model = mti.ScriptedModel(["first", "second"])
        >>> request = mti.Request((mti.Message("user", "Hello"),))
        >>> model.complete(request).text, model.complete(request).text
        ('first', 'second')
        >>> len(model.requests)
        2
        >>> model.complete(request)
        Traceback (most recent call last):
        ...
        mtiprompt.errors.ModelMisconfigured: the script of 2 replies is at its end

    Args:
        replies: Texts, whole replies, and exceptions to be raised.
        name: What the model is called.
        support: What it claims to be able to do; without it, everything.

    Attributes:
        requests: What it was asked, in order.
    """

    def __init__(
        self,
        replies: Iterable[Scripted],
        *,
        name: str = "scripted",
        support: Support | None = None,
    ) -> None:
        super().__init__(name, support)
        self._script = list(replies)

    def complete(self, request: Request) -> Reply:
        """The next reply of the script.

        Raises:
            ModelMisconfigured: The script is at its end.
        """
        with self._lock:
            place = len(self.requests)
            self.requests.append(request)
        if place >= len(self._script):
            raise ModelMisconfigured(f"the script of {len(self._script)} replies is at its end")
        said = self._script[place]
        if isinstance(said, BaseException):
            raise said
        return self._reply(request, said)

    async def acomplete(self, request: Request) -> Reply:
        """As `complete`."""
        return self.complete(request)


class FunctionModel(_Fake):
    """A model that answers with what a function says.

    Example:
        >>> import mtiprompt as mti
        >>> model = mti.FunctionModel(lambda request: request.messages[-1].content.upper())
        >>> model.complete(mti.Request((mti.Message("user", "Hello"),))).text
        'HELLO'

    Args:
        function: Gives a text or a whole reply for a request, or raises. It may be async;
            synchronous calls then run it in an event loop of this model.
        name: What the model is called; two of one name answer for each other from a cache.
        support: What it claims to be able to do; without it, everything.

    Attributes:
        requests: What it was asked, in order of asking.
    """

    def __init__(
        self,
        function: Callable[[Request], str | Reply | Awaitable[str | Reply]],
        *,
        name: str = "function",
        support: Support | None = None,
    ) -> None:
        super().__init__(name, support)
        self._function = function
        self._is_async = inspect.iscoroutinefunction(function)
        self._loop: asyncio.AbstractEventLoop | None = None

    def complete(self, request: Request) -> Reply:
        """What the function says."""
        self._note(request)
        began = time.monotonic()
        said = self._function(request)
        if inspect.isawaitable(said):
            import asyncio

            # not on a loop that others share: the function may ask synchronously in its turn
            loop = self._own_loop()
            if asyncio._get_running_loop() is loop:
                said = run_within(partial(_run, said), math.inf)
            else:
                said = asyncio.run_coroutine_threadsafe(_awaited(said), loop).result()
        return self._reply(request, said, time.monotonic() - began)

    async def acomplete(self, request: Request) -> Reply:
        """What the function says; one that is not async runs in a thread."""
        self._note(request)
        began = time.monotonic()
        said: Any
        if self._is_async:
            said = self._function(request)
        else:
            import asyncio

            said = await asyncio.to_thread(self._function, request)
        if inspect.isawaitable(said):
            said = await said
        return self._reply(request, said, time.monotonic() - began)

    def _note(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        """The loop that synchronous calls of an async function run in, and what it holds."""
        import asyncio

        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_turn, args=(self._loop,), daemon=True).start()
                stopping = weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)
                stopping.atexit = False
            return self._loop


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _awaited(said: Awaitable[str | Reply]) -> str | Reply:
    return await said


def _run(said: Awaitable[str | Reply]) -> str | Reply:
    """Await it in an event loop of its own, as that of the model waits for it."""
    import asyncio

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(_awaited(said))


class EchoModel(_Fake):
    """A model that answers every request with the smallest JSON that satisfies its schema.

    The first label, 0, false, `"..."`, 2000-01-01. A request without a schema gets its last message
    back.

    Example:
        >>> import mtiprompt as mti
        >>> model = mti.EchoModel()
        >>> schema = '{"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, '
        >>> schema += '"required": ["n"]}'
        >>> request = mti.Request((), mti.OutputSchema("answers", schema), notation="compact")
        >>> model.complete(request).text
        '{"n":3}'

    Args:
        name: What the model is called.
        support: What it claims to be able to do; without it, everything.

    Attributes:
        requests: What it was asked, in order of asking.
    """

    def __init__(self, *, name: str = "echo", support: Support | None = None) -> None:
        # the whole schema: what a provider's dialect cannot say would not be satisfied
        super().__init__(name, support or Support(dialect="whole"))

    def complete(self, request: Request) -> Reply:
        """The smallest valid answer."""
        with self._lock:
            self.requests.append(request)
        if request.schema is not None:
            text = written(example_of(request.schema.schema), request.notation)
        else:
            text = request.messages[-1].content if request.messages else ""
        return self._reply(request, text)

    async def acomplete(self, request: Request) -> Reply:
        """As `complete`."""
        return self.complete(request)
