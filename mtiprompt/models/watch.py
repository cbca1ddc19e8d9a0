"""Models that watch each call of another model: where it begins, and once where it ends."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractContextManager, aclosing, closing, nullcontext
from typing import Self

from mtiprompt.models.base import Wrapper
from mtiprompt.wire import Reply, Request, Usage


def tokens_of(characters: int) -> int:
    """About how many tokens so many characters are: one for each four, as in English."""
    return math.ceil(characters / 4)


def prompt_tokens(request: Request) -> int:
    """About how many tokens the messages of a request have."""
    return tokens_of(sum(len(one.content) for one in request.messages))


def usage_so_far(request: Request, heard: int, seconds: float) -> Usage:
    """About what a call has used that did not tell, at a price not known.

    Args:
        request: What was asked.
        heard: How many characters have come.
        seconds: How long it took.
    """
    return Usage(
        calls=1,
        prompt_tokens=prompt_tokens(request),
        completion_tokens=tokens_of(heard),
        cost=None,
        seconds=seconds,
    )


def is_given_up(outcome: object) -> bool:
    """Whether a call ended because its stream was closed or its task was cancelled."""
    # by its name: nobody needs to load asyncio for this
    return isinstance(outcome, GeneratorExit) or type(outcome).__name__ == "CancelledError"


class Watch:
    """One call that is being watched; a context around it.

    Args:
        request: What is asked.
        streamed: Whether the reply comes in pieces.
    """

    def __init__(self, request: Request, *, streamed: bool = False) -> None:
        self.request = request
        self.streamed = streamed
        self._began = time.monotonic()
        self._heard = 0
        self._over = False

    @property
    def seconds(self) -> float:
        """How long the call has taken so far."""
        return time.monotonic() - self._began

    @property
    def so_far(self) -> Usage:
        """About what the call has used so far, at a price not known."""
        return usage_so_far(self.request, self._heard, self.seconds)

    def within(self) -> AbstractContextManager[object]:
        """A context for whatever the inner model does; a stream has one for each piece."""
        return nullcontext()

    def piece(self, piece: str | Reply) -> None:
        """Note a piece of a stream, before it is handed on: whoever reads may stop with it."""
        if isinstance(piece, Reply):
            self.end(piece)
        else:
            self._heard += len(piece)

    def end(self, outcome: Reply | BaseException) -> None:
        """Note how the call ended; only the first time counts."""
        if not self._over:
            self._over = True
            self.ended(outcome)

    def ended(self, outcome: Reply | BaseException) -> None:
        """What is to be done at the end; to be written by the derived class.

        It raises nothing but what has to end all that is being asked.

        Args:
            outcome: The reply, or what was raised. A stream that its reader closed ends with
                `GeneratorExit`, a cancelled call with `CancelledError`.
        """
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        self.end(error or GeneratorExit())


class WatchedModel(Wrapper):
    """A model whose calls are watched, each stream as one call."""

    def watch(self, request: Request, *, streamed: bool = False) -> Watch:
        """Begin to watch a call; to be written by the derived class."""
        raise NotImplementedError

    def complete(self, request: Request) -> Reply:
        """Ask the inner model."""
        with self.watch(request) as watch:
            with watch.within():
                reply = self.inner.complete(request)
            watch.end(reply)
        return reply

    async def acomplete(self, request: Request) -> Reply:
        """Ask the inner model."""
        with self.watch(request) as watch:
            with watch.within():
                reply = await self.inner.acomplete(request)
            watch.end(reply)
        return reply

    def stream(self, request: Request) -> Generator[str | Reply, None, None]:
        """Ask the inner model."""
        with (
            self.watch(request, streamed=True) as watch,
            closing(self.inner.stream(request)) as pieces,
        ):
            while True:
                with watch.within():  # not around the yield: what the reader does is not within
                    piece = next(pieces, None)
                if piece is None:
                    return
                watch.piece(piece)
                yield piece

    async def astream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """Ask the inner model."""
        with self.watch(request, streamed=True) as watch:
            async with aclosing(self.inner.astream(request)) as pieces:
                while True:
                    with watch.within():
                        piece = await anext(pieces, None)
                    if piece is None:
                        return
                    watch.piece(piece)
                    yield piece
