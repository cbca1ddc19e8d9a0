"""The model that a search asks: on record, each request once, nothing above the budget."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import Future
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TypeGuard

from mtiprompt.checks import check_record
from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.models.budget import NOTHING, Budget, BudgetedModel
from mtiprompt.models.fallback import FallbackModel
from mtiprompt.models.resume import ResumedModel
from mtiprompt.models.retry import RetryingModel
from mtiprompt.wire import Reply, Request

FILE = "replies.jsonl"
"""Where a folder of record keeps the replies."""


def asked_model(
    model: LanguageModel, budget: Budget, record: str | PathLike[str] | None = None
) -> LanguageModel:
    """A model that a search can be stopped with: equal requests are asked once.

    A cache of the model is asked first, and what comes from there is free.

    Args:
        model: Who answers.
        budget: What may be spent. Retries are paid from it too, and what a record holds counts as
            spent once more, so that a search that goes on stays within the same budget.
        record: A folder that keeps every reply; None: they are kept while this lives.

    Raises:
        DataError: The record is no folder, or cannot be read or written.
    """
    check_record(record)
    paid = budgeted(model, budget)
    if record is not None:
        paid = _ChargedModel(ResumedModel(paid, Path(record) / FILE), budget)
    return OnceModel(paid)


def budgeted(model: LanguageModel, budget: Budget) -> LanguageModel:
    """A model each of whose calls is paid, those that its retries make too; hits are free.

    All else is shared with the model: its cache, its limits, its meter.

    Args:
        model: The model.
        budget: What may be spent.
    """
    if _pays(model, budget):
        paying = copy.copy(model)
        paying.budget = budget  # at the price of the search
        return paying
    if not isinstance(model, Wrapper):
        return BudgetedModel(model, budget)
    made = copy.copy(model)
    made.inner = budgeted(model.inner, budget)
    if isinstance(model, RetryingModel) and not _pays(model.inner, budget):
        made.inner = BudgetedModel(model.inner, budget)  # outside of the limits, as in `mti.Model`
    if isinstance(made, FallbackModel):
        made.models = (made.inner, *(budgeted(one, budget) for one in made.models[1:]))
    made.reuse = None  # answers kept one by one would make calls that no plan has
    return made


def _pays(model: LanguageModel, budget: Budget) -> TypeGuard[BudgetedModel]:
    """Whether the calls of a model are paid from a budget right here."""
    return isinstance(model, BudgetedModel) and model.budget.shares(budget)


class PurposeModel(Wrapper):
    """A model whose answers are for another purpose than to be used; repairs stay repairs.

    Args:
        inner: Whom to ask.
        purpose: What for.
    """

    def __init__(self, inner: LanguageModel, purpose: str) -> None:
        super().__init__(inner)
        self._purpose = purpose

    def complete(self, request: Request) -> Reply:
        """Ask for the purpose."""
        if request.purpose == "answer":
            request = replace(request, purpose=self._purpose)
        return self.inner.complete(request)


class OnceModel(Wrapper):
    """A model that is asked each request once; whoever asks the same waits for the same reply.

    A reply that was asked for by another has `details["shared"]`, and its usage is that of the one
    call. A call that fails is forgotten, so that it may be asked again. Only `complete` is so.
    """

    def __init__(self, inner: LanguageModel) -> None:
        super().__init__(inner)
        self._replies: dict[str, Future[Reply]] = {}
        self._lock = threading.Lock()

    def complete(self, request: Request) -> Reply:
        """What was answered before, else ask."""
        with self._lock:
            known = self._replies.get(request.key)
            mine = self._replies.setdefault(request.key, Future())
        if known is not None:
            reply = known.result()
            return replace(reply, details={**reply.details, "shared": True})
        try:
            mine.set_result(self.inner.complete(request))
        except BaseException as error:
            with self._lock:
                del self._replies[request.key]
            mine.set_exception(error)
            raise
        return mine.result()

    def keep(self, request: Request, reply: Reply) -> None:
        """Hand a reply on to be stored, once: a store knows nothing of who shared it."""
        if "shared" not in reply.details:
            self.inner.keep(request, reply)


class _ChargedModel(Wrapper):
    """A model on record; what comes out of the record is charged to a budget."""

    def __init__(self, inner: ResumedModel, budget: Budget) -> None:
        super().__init__(inner)
        self._budget = budget

    def complete(self, request: Request) -> Reply:
        """Ask, and charge what the record had."""
        reply = self.inner.complete(request)
        if reply.details["resumed"]:
            self._budget.settle(NOTHING, reply.usage)
        return reply
