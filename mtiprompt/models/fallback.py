"""Fallback: models that stand in for each other when one cannot answer."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from typing import TypeVar

from mtiprompt.errors import (
    BudgetExceeded,
    ContentRefused,
    ContextTooLong,
    ModelAccessDenied,
    ModelError,
    ModelNotFound,
    QuotaExhausted,
    SchemaRejected,
    SettingsError,
)
from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.models.call_log import in_short
from mtiprompt.models.deadline import left
from mtiprompt.models.meter import usage_of
from mtiprompt.wire import LEVELS, Reply, Request, Usage, canonical

Piece = TypeVar("Piece", str | Reply, Reply)
Failed = TypeVar("Failed", ModelError, BudgetExceeded, ModelError | BudgetExceeded)

logger = logging.getLogger(__name__)

ANSWERED = "fallback"
"""The key in `Reply.details` of the number of the model that answered, if not the first; a list,
with a further number for each fallback inside of that."""

OTHERS_CAN_HELP = (
    ModelNotFound,
    ModelAccessDenied,
    QuotaExhausted,
    ContextTooLong,
    ContentRefused,
)
"""Errors after which another model is asked, besides those that are retryable."""


class FallbackModel(Wrapper):
    """A model that asks the next of its models when one cannot answer.

    It goes on after errors that are not the request's own fault: outages that outlast the retries,
    a spent quota, a missing model or permission, and requests that are too long for a model or
    refused by its provider. If none answers, the error of the first comes out that another call may
    not meet (`stops`), with notes of the others.

    What the others cost counts in the usage of the reply, or of the error.

    Requests are built for the first model; to another they go at no higher a level than it
    supports. The reply says in `model` and in `details["fallback"]` who answered.

    Example:
        >>> import mtiprompt as mti
        >>> from mtiprompt.errors import ModelUnavailable
        >>> from mtiprompt.models.fallback import FallbackModel
        >>> down = mti.ScriptedModel([ModelUnavailable("down")], name="one")
        >>> model = FallbackModel([down, mti.ScriptedModel(["Good day."], name="two")])
        >>> reply = model.complete(mti.Request((mti.Message("user", "Hello"),)))
        >>> reply.text, reply.model, reply.details
        ('Good day.', 'two', {'fallback': [1]})

    Args:
        models: Whom to ask, in this order; each with the wrappers that it needs.

    Raises:
        SettingsError: There is no model.
    """

    def __init__(self, models: Sequence[LanguageModel]) -> None:
        if not models:
            raise SettingsError("a fallback needs at least one model")
        super().__init__(models[0])
        self.models = tuple(models)
        if len(models) > 1:
            self.identity = canonical(["fallback", *(one.identity for one in models)])

    def complete(self, request: Request) -> Reply:
        """Ask one model after the other."""
        attempts = _Attempts(self.models, request)
        for model, adapted in attempts:
            try:
                return attempts.marked(model.complete(adapted))
            except (ModelError, BudgetExceeded) as error:
                attempts.failed(error)
        raise attempts.error()

    async def acomplete(self, request: Request) -> Reply:
        """As `complete`, without blocking the event loop."""
        attempts = _Attempts(self.models, request)
        for model, adapted in attempts:
            try:
                return attempts.marked(await model.acomplete(adapted))
            except (ModelError, BudgetExceeded) as error:
                attempts.failed(error)
        raise attempts.error()

    def stream(self, request: Request) -> Generator[str | Reply, None, None]:
        """Ask one model after the other, until one begins to answer."""
        attempts = _Attempts(self.models, request)
        for model, adapted in attempts:
            try:
                with closing(model.stream(adapted)) as pieces:
                    for piece in pieces:
                        yield attempts.marked(piece)
                return
            except (ModelError, BudgetExceeded) as error:
                attempts.failed(error)
        raise attempts.error()

    async def astream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """As `stream`, without blocking the event loop."""
        attempts = _Attempts(self.models, request)
        for model, adapted in attempts:
            try:
                async with aclosing(model.astream(adapted)) as pieces:
                    async for piece in pieces:
                        yield attempts.marked(piece)
                return
            except (ModelError, BudgetExceeded) as error:
                attempts.failed(error)
        raise attempts.error()

    def keep(self, request: Request, reply: Reply) -> None:
        """Hand the reply to the model that answered, as that gave it."""
        first, *rest = reply.details.get(ANSWERED) or [0]
        model = self.models[first]
        details = {key: value for key, value in reply.details.items() if key != ANSWERED}
        if rest:
            details[ANSWERED] = rest
        asked = _adapted(request, model) if first else request
        model.keep(asked, replace(reply, details=details))


def asked_by(model: Wrapper) -> tuple[LanguageModel, ...]:
    """The models that a wrapper asks: one, or those that stand in for each other."""
    return model.models if isinstance(model, FallbackModel) else (model.inner,)


class _Attempts:
    """The models that are asked in turn for one request, and what became of it."""

    def __init__(self, models: Sequence[LanguageModel], request: Request) -> None:
        self._models = models
        self._request = request
        self._number = 0
        self._begun = False
        self._errors: list[ModelError] = []
        self._lost = Usage()

    def __iter__(self) -> Iterator[tuple[LanguageModel, Request]]:
        while self._number < len(self._models):
            model = self._models[self._number]
            yield model, _adapted(self._request, model) if self._number else self._request

    def marked(self, piece: Piece) -> Piece:
        """The reply, with who answered and what the others cost; a text as it is."""
        if isinstance(piece, str):
            self._begun = True
            return piece
        if self._lost.calls:
            piece = replace(piece, usage=self._lost + piece.usage)
        inside: list[int] = piece.details.get(ANSWERED, [])
        if not (self._number or inside):
            return piece
        return replace(piece, details=piece.details | {ANSWERED: [self._number, *inside]})

    def failed(self, error: ModelError | BudgetExceeded) -> None:
        """Go on after an error, if that can help; raises it otherwise."""
        self._lost += usage_of(error)
        if isinstance(error, BudgetExceeded) or self._begun:
            raise self._with_lost(error)
        model = self._models[self._number]
        if self._number and isinstance(error, SchemaRejected):
            # the engine, which sees to this for the first model, knows nothing of the others
            level = _adapted(self._request, model).level
            if level != "prompt" and model.support.refuse(level):
                return
        if not (error.retryable or isinstance(error, OTHERS_CAN_HELP)) or not left(math.inf):
            raise self._with_lost(error)
        self._errors.append(error)
        self._number += 1
        if self._number < len(self._models):
            following = self._models[self._number].name
            why = in_short(error)
            logger.warning("%s cannot answer, %s is asked: %s", model.name, following, why)

    def error(self) -> ModelError:
        """What to raise when none has answered."""
        found = next((one for one in self._errors if not one.stops), self._errors[0])
        for other in self._errors:
            if other is not found:
                found.add_note(f"another model failed too: {other}")
        return self._with_lost(found)

    def _with_lost(self, error: Failed) -> Failed:
        """The error, with what all calls cost."""
        error.usage = self._lost
        return error


def _adapted(request: Request, model: LanguageModel) -> Request:
    """The request at a level that a model supports."""
    level = max(request.level, model.support.level, key=LEVELS.index)
    return request if level == request.level else replace(request, level=level)
