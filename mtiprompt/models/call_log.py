"""One line in the log for each finished call: figures, never text.

What a provider says in an error may repeat the prompt, so a line has the class and the status only.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator

from mtiprompt.errors import ModelError
from mtiprompt.models.watch import Watch, WatchedModel
from mtiprompt.wire import Reply, Request

logger = logging.getLogger("mtiprompt.calls")


def in_short(error: BaseException) -> str:
    """An error without what it says: `RateLimited 429`."""
    status = error.status if isinstance(error, ModelError) else None
    return type(error).__name__ if status is None else f"{type(error).__name__} {status}"


def log_call(name: str, request: Request, outcome: Reply | BaseException, seconds: float) -> None:
    """Log a finished call at level INFO of the logger `mtiprompt.calls`.

    Args:
        name: The name of the model.
        request: What was asked.
        outcome: The reply, or what was raised.
        seconds: How long it took.
    """
    if not logger.isEnabledFor(logging.INFO):
        return
    if not isinstance(outcome, Reply):
        logger.info("%s %s: %s, %.3f s", name, request.purpose, in_short(outcome), seconds)
    elif outcome.from_cache:
        logger.info("%s %s: from the cache, %.3f s", name, request.purpose, seconds)
    else:
        used = outcome.usage
        logger.info(
            "%s %s: %s, %d tokens read (%d cached), %d written, %.3f s",
            name, request.purpose, outcome.finish_reason,
            used.prompt_tokens, used.cached_tokens, used.completion_tokens, seconds,
        )  # fmt: skip


class LoggedModel(WatchedModel):
    """A model that logs each finished call; while nobody listens, it only passes calls on."""

    def watch(self, request: Request, *, streamed: bool = False) -> Watch:
        """Begin to measure."""
        return _Logged(self.name, request, streamed=streamed)

    def complete(self, request: Request) -> Reply:
        """Ask the inner model."""
        return super().complete(request) if _is_heard() else self.inner.complete(request)

    async def acomplete(self, request: Request) -> Reply:
        """Ask the inner model."""
        asked = super().acomplete if _is_heard() else self.inner.acomplete
        return await asked(request)

    def stream(self, request: Request) -> Generator[str | Reply, None, None]:
        """Ask the inner model."""
        return super().stream(request) if _is_heard() else self.inner.stream(request)

    def astream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """Ask the inner model."""
        return super().astream(request) if _is_heard() else self.inner.astream(request)


class _Logged(Watch):
    """A call that will be a line."""

    def __init__(self, name: str, request: Request, *, streamed: bool) -> None:
        super().__init__(request, streamed=streamed)
        self._name = name

    def ended(self, outcome: Reply | BaseException) -> None:
        """Log the line."""
        log_call(self._name, self.request, outcome, self.seconds)


def _is_heard() -> bool:
    return logger.isEnabledFor(logging.INFO)
