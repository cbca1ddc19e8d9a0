"""Retrying: the same request again, where that can help and there is time for it."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from mtiprompt.errors import BudgetExceeded, ModelError
from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.models.budget import BudgetedModel
from mtiprompt.models.call_log import in_short
from mtiprompt.models.deadline import left, until
from mtiprompt.models.meter import usage_of
from mtiprompt.wire import Reply, Request, Usage

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")
Piece = TypeVar("Piece", str | Reply, Reply)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backoff:
    """How long to wait before a retry: full jitter, and at least what the provider asks for.

    The wait before retry n is evenly spread between 0 and `base * 2**(n - 1)` seconds, at most
    `cap` (M. Brooker, "Exponential Backoff And Jitter", 2015). A wait that the provider asks for is
    obeyed whatever the cap, with some jitter on top, so that those who wait do not return at once;
    one that is shorter than the jitter does not shorten it.

    Attributes:
        base: The longest first wait, in seconds.
        cap: The longest wait, in seconds.
    """

    base: float = 0.5
    cap: float = 30.0

    def seconds(self, attempt: int, error: BaseException | None) -> float:
        """Seconds to wait after so many calls, the last of which failed so."""
        jitter = random.uniform(0, min(self.cap, self.base * 2 ** min(attempt - 1, 60)))
        asked = error.retry_after if isinstance(error, ModelError) else None
        return jitter if asked is None else max(jitter, asked + min(jitter, self.base))


class RetryingModel(Wrapper):
    """A model that asks again where that can help.

    Example:
        >>> import mtiprompt as mti
        >>> from mtiprompt.errors import ModelUnavailable
        >>> from mtiprompt.models.retry import RetryingModel
        >>> flaky = mti.ScriptedModel([ModelUnavailable("down"), "up again"])
        >>> model = RetryingModel(flaky, sleep=lambda seconds: None)
        >>> reply = model.complete(mti.Request((mti.Message("user", "Hello"),)))
        >>> reply.text, reply.usage.calls
        ('up again', 2)

    Args:
        inner: Whom to ask.
        retries: Calls after the first.
        total: Seconds for all calls and waits together, within the deadline of the caller. A wait
            that would not end in time is not begun: the error is raised at once. None: no limit.
            Where a budget inside has seconds, no wait outlasts them.
        backoff: How long to wait.
        sleep: What waits in sync calls.
        asleep: What waits in async calls; `asyncio.sleep` by default.
        prepare: Makes the model ready before its first call, in no time that counts.
    """

    def __init__(
        self,
        inner: LanguageModel,
        *,
        retries: int = 4,
        total: float | None = None,
        backoff: Backoff | None = None,
        sleep: Callable[[float], None] = time.sleep,
        asleep: Callable[[float], Awaitable[None]] | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(inner)
        self._retries = retries
        self._total = math.inf if total is None else total
        self._backoff = backoff or Backoff()
        self._sleep = sleep
        self._asleep = asleep
        self._prepare = prepare

    def complete(self, request: Request) -> Reply:
        """Ask until there is a reply, an error that a retry cannot help, or no time."""
        self._make_ready()
        tries = _Tries(self._total)
        return tries.counted(self._insist(partial(self.inner.complete, request), tries))

    async def acomplete(self, request: Request) -> Reply:
        """As `complete`, without blocking the event loop."""
        await self._amake_ready()
        tries = _Tries(self._total)
        return tries.counted(await self._ainsist(partial(self.inner.acomplete, request), tries))

    def stream(self, request: Request) -> Generator[str | Reply, None, None]:
        """Ask until the first text has come; from there on, what comes is passed on."""
        self._make_ready()
        tries = _Tries(self._total)
        first, rest = self._insist(partial(_begun, self.inner, request), tries)
        with closing(rest):
            yield tries.counted(first)
            for piece in rest:
                yield tries.counted(piece)

    async def astream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """As `stream`, without blocking the event loop."""
        await self._amake_ready()
        tries = _Tries(self._total)
        first, rest = await self._ainsist(partial(_abegun, self.inner, request), tries)
        async with aclosing(rest):
            yield tries.counted(first)
            async for piece in rest:
                yield tries.counted(piece)

    def _make_ready(self) -> None:
        prepare = self._prepare  # another thread may be here, too
        if prepare is not None:
            prepare()
            self._prepare = None

    async def _amake_ready(self) -> None:
        if self._prepare is not None:
            import asyncio

            await asyncio.to_thread(self._make_ready)

    def _insist(self, call: Callable[[], T], tries: _Tries) -> T:
        with until(tries.end):
            try:
                return self._tried(call, tries)
            except (ModelError, BudgetExceeded) as error:
                error.usage = tries.lost
                raise

    def _tried(self, call: Callable[[], T], tries: _Tries) -> T:
        try:
            with tries.noted():
                return call()
        except ModelError as error:
            self._stop_or_go_on(error, tries)

        def ask() -> T:
            tries.raise_first()
            with tries.noted():
                return call()

        import tenacity  # most calls need none

        def wait(seconds: float) -> None:
            self._sleep(min(seconds, self._budget_left()))

        return tenacity.Retrying(sleep=wait, **self._rules(tries))(ask)

    async def _ainsist(self, call: Callable[[], Awaitable[T]], tries: _Tries) -> T:
        with until(tries.end):
            try:
                return await self._atried(call, tries)
            except (ModelError, BudgetExceeded) as error:
                error.usage = tries.lost
                raise

    async def _atried(self, call: Callable[[], Awaitable[T]], tries: _Tries) -> T:
        try:
            with tries.noted():
                return await call()
        except ModelError as error:
            self._stop_or_go_on(error, tries)

        async def ask() -> T:
            tries.raise_first()
            with tries.noted():
                return await call()

        import asyncio

        import tenacity

        asleep = self._asleep or asyncio.sleep

        async def wait(seconds: float) -> None:
            await asleep(min(seconds, self._budget_left()))

        return await tenacity.AsyncRetrying(sleep=wait, **self._rules(tries))(ask)

    def _budget_left(self) -> float:
        """Seconds that the budgets inside have left: then they refuse the next call."""
        ends, model = [math.inf], self.inner
        while isinstance(model, Wrapper):
            if isinstance(model, BudgetedModel):
                ends.append(model.budget.end)
            model = model.inner
        return max(0.0, min(ends) - time.monotonic())

    def _stop_or_go_on(self, error: ModelError, tries: _Tries) -> None:
        if not (error.retryable and self._retries):
            raise error
        tries.first = error

    def _rules(self, tries: _Tries) -> dict[str, Any]:
        def wait(state: RetryCallState) -> float:
            return self._backoff.seconds(state.attempt_number, _error_of(state))

        def stop(state: RetryCallState) -> bool:
            over = state.attempt_number > self._retries
            return over or time.monotonic() + state.upcoming_sleep >= tries.end

        return {
            "retry": _can_help,
            "wait": wait,
            "stop": stop,
            "before_sleep": _say,
            "reraise": True,
        }


class _Tries:
    """The calls made for one request; also a context around each of them.

    Attributes:
        end: When they must have ended, in seconds of `time.monotonic`.
        first: The error of the first call, which was made before there was a policy.
    """

    def __init__(self, total: float) -> None:
        self.end = time.monotonic() + left(total)
        self.first: ModelError | None = None
        self._failed = 0
        self._seconds = 0.0
        self._began = 0.0

    def noted(self) -> _Tries:
        """A context for one call, which notes it if it fails."""
        self._began = time.monotonic()
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if error is None:
            return
        self._seconds += time.monotonic() - self._began
        sent = not isinstance(error, ModelError | BudgetExceeded) or usage_of(error).calls > 0
        self._failed += sent

    @property
    def lost(self) -> Usage:
        """What the calls that failed cost."""
        return Usage(calls=self._failed, seconds=self._seconds)

    def raise_first(self) -> None:
        """Raise the error of the first call, once, for the policy to judge."""
        error, self.first = self.first, None
        if error is not None:
            raise error

    def counted(self, piece: Piece) -> Piece:
        """The reply, with the calls that failed before it in its usage; a text as it is."""
        if not self._failed or isinstance(piece, str):
            return piece
        used = piece.usage
        calls, seconds = used.calls + self._failed, used.seconds + self._seconds
        return replace(piece, usage=replace(used, calls=calls, seconds=seconds))


def _begun(
    model: LanguageModel, request: Request
) -> tuple[str | Reply, Generator[str | Reply, None, None]]:
    """The first piece of a stream, and the rest."""
    pieces = model.stream(request)
    return next(pieces), pieces


async def _abegun(
    model: LanguageModel, request: Request
) -> tuple[str | Reply, AsyncGenerator[str | Reply, None]]:
    pieces = model.astream(request)
    return await anext(pieces), pieces


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _can_help(state: RetryCallState) -> bool:
    error = _error_of(state)
    return isinstance(error, ModelError) and error.retryable


def _say(state: RetryCallState) -> None:
    error = _error_of(state)
    logger.info("retry %d in %.1f s: %s", state.attempt_number, state.upcoming_sleep,
                error and in_short(error))  # fmt: skip
