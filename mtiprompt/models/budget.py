"""Budgets: what a job may spend in calls, tokens, dollars and seconds."""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

from mtiprompt.errors import BudgetExceeded, ModelError, SettingsError
from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.models.deadline import until
from mtiprompt.models.limits import LimitedModel
from mtiprompt.models.meter import usage_of
from mtiprompt.models.watch import Watch, WatchedModel, is_given_up, prompt_tokens
from mtiprompt.wire import Reply, Request, Usage


class Left(NamedTuple):
    """What is left of a budget, or what a call is estimated to cost.

    Attributes:
        calls: Calls.
        tokens: Tokens, those of prompts and replies together.
        dollars: US dollars.
        seconds: Seconds by the clock on the wall.
    """

    calls: float
    tokens: float
    dollars: float
    seconds: float

    def plus(self, other: Left) -> Left:
        """The sum."""
        return Left(*(one + more for one, more in zip(self, other, strict=True)))

    def minus(self, other: Left) -> Left:
        """The difference."""
        return Left(*(one - less for one, less in zip(self, other, strict=True)))


NOTHING = Left(0, 0, 0.0, 0.0)
MOMENT = math.ulp(0.0)
"""Seconds that a call takes at least: it is refused where none are left."""


@dataclass
class _Account:
    """What a budget has come to; it is shared by all that count its calls by prices of their own.

    Attributes:
        spent: What the calls that have come back cost.
        untold: What of it is not in its cost yet.
        reserved: What is set aside for calls in flight.
        began: When the first call was asked for.
        cost: As `price_by` says.
    """

    spent: Usage = field(default_factory=Usage)
    untold: Usage = field(default_factory=Usage)
    reserved: Left = NOTHING
    began: float | None = None
    cost: Callable[[Usage], float] | None = None


class Budget:
    """What may be spent; one object may be given to several models, and is shared by threads.

    A call that would exceed it is refused before it is sent. Until it has come back, a call counts
    with an estimate: its prompt at four characters a token, as many tokens written as `max_tokens`
    says or as replies had so far on average, and the average price of a token so far. So `calls` is
    never exceeded, while `tokens` and `dollars` may be by what the calls in flight cost more than
    estimated. `seconds` begin with the first call; when they are over, none is sent, and those in
    flight have their deadline.

    Example:
        >>> import mtiprompt as mti
        >>> from mtiprompt.models.budget import Budget, BudgetedModel
        >>> budget = Budget(calls=1)
        >>> model = BudgetedModel(mti.ScriptedModel(["Good day."]), budget)
        >>> request = mti.Request((mti.Message("user", "Hello"),))
        >>> model.complete(request).text, budget.spent.calls, budget.left.calls
        ('Good day.', 1, 0)
        >>> model.complete(request)
        Traceback (most recent call last):
        ...
        mtiprompt.errors.BudgetExceeded: the budget of 1 calls is spent (raise calls=... of it)

    Args:
        calls: Calls sent; those that fail count.
        tokens: Tokens, those of prompts and replies together.
        dollars: US dollars. A model that does not tell what a call cost is refused after its first
            call, unless `price_by` says it.
        seconds: Seconds from the first call on, waits included.
        clock: Tells the time in seconds, as `time.monotonic` does, by which deadlines are kept.

    Raises:
        SettingsError: A bound is below 0 or no number.
    """

    def __init__(
        self,
        *,
        calls: int | None = None,
        tokens: int | None = None,
        dollars: float | None = None,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._given = {"calls": calls, "tokens": tokens, "dollars": dollars, "seconds": seconds}
        given: dict[str, object] = {**self._given}
        for name, value in given.items():
            if value is not None and not (isinstance(value, int | float) and value >= 0):
                raise SettingsError(
                    f"Budget({name}={value!r}) makes no sense", hint="give a number from 0 on"
                )
        self._bounds = Left(*(math.inf if v is None else v for v in self._given.values()))
        self._account = _Account()
        self._clock = clock
        self._price: Callable[[Usage], float] | None = None  # as `at` says
        self._lock = threading.RLock()  # what `price_by` is given may look at the budget

    def __repr__(self) -> str:
        """How it was made."""
        given = (f"{name}={value}" for name, value in self._given.items() if value is not None)
        return f"Budget({', '.join(given)})"

    @property
    def spent(self) -> Usage:
        """What the calls that have come back cost."""
        account = self._account
        known = account.untold.cost is not None
        return account.spent if known else replace(account.spent, cost=None)

    @property
    def left(self) -> Left:
        """What is left if all calls in flight cost what is estimated; infinite: no bound."""
        with self._lock:
            return Left(*(max(0, rest) for rest in self._left()))

    @property
    def passed(self) -> float:
        """Seconds since the first call was asked for."""
        began = self._account.began
        return 0.0 if began is None else self._clock() - began

    @property
    def end(self) -> float:
        """When the seconds are over, by the clock; infinite: no bound, or no call was asked for."""
        began = self._account.began
        return math.inf if began is None else began + self._bounds.seconds

    @property
    def is_priced(self) -> bool:
        """Whether calls count that do not tell what they cost: `price_by` or `at` has said it."""
        return (self._price or self._account.cost) is not None

    def price_by(self, cost: Callable[[Usage], float]) -> None:
        """Have calls counted that do not tell what they cost: those to come, and those that were.

        Args:
            cost: US dollars for what a call used, or for what several used together.
        """
        with self._lock:
            account = self._account
            if account.untold.cost is None:
                account.spent += Usage(cost=cost(account.untold))
                account.untold = Usage()
            account.cost = cost

    def at(self, cost: Callable[[Usage], float]) -> Self:
        """The same budget for calls that count by another price; what is left is left of both.

        Args:
            cost: As for `price_by`, in the place of what that says, for the calls of a model that
                is given what this returns.
        """
        made = copy.copy(self)
        made._price = cost
        return made

    def shares(self, other: Budget) -> bool:
        """Whether what one spends is not left of the other: it is the same but for the price."""
        return self._account is other._account

    def priced(self, usage: Usage) -> float | None:
        """US dollars by which calls count that do not tell what they cost.

        Args:
            usage: What they use.

        Returns:
            None: Nobody has said what they cost.
        """
        cost = self._price or self._account.cost
        return None if cost is None else cost(usage)

    def reserve(self, prompt: int, completion: int | None = None) -> Left:
        """Set aside what a call may cost; to be settled when it has come back.

        Args:
            prompt: Tokens to be read.
            completion: Tokens to be written at most, if that is known.

        Returns:
            What was set aside.

        Raises:
            BudgetExceeded: There is not enough left.
        """
        with self._lock:
            if self._account.began is None:
                self._account.began = self._clock()
            estimate = self._estimate(prompt, completion)
            left = self._left()
            for name, need, rest in zip(Left._fields, estimate, left, strict=True):
                if not need <= rest:
                    raise self._exceeded(name, need, rest)
            self._account.reserved = self._account.reserved.plus(estimate)
            return estimate

    def settle(self, reserved: Left, usage: Usage) -> None:
        """Give back what was set aside, and note what the call really cost."""
        with self._lock:
            self._account.reserved = self._account.reserved.minus(reserved)
            self._add(usage)

    def _add(self, usage: Usage) -> None:
        if usage.cost is None:
            usage = replace(usage, cost=self.priced(usage))
        if usage.cost is None:
            self._account.untold += usage
            usage = replace(usage, cost=0.0)
        self._account.spent += usage

    def _left(self) -> Left:
        spent = self.spent
        cost = 0.0 if spent.cost is None else spent.cost
        if spent.cost is None and self._bounds.dollars < math.inf:
            cost = math.inf
        tokens = spent.prompt_tokens + spent.completion_tokens
        used = Left(spent.calls, tokens, cost, self.passed)
        return self._bounds.minus(used).minus(self._account.reserved)

    def _estimate(self, prompt: int, completion: int | None) -> Left:
        spent = self.spent
        if completion is None:
            completion = math.ceil(spent.completion_tokens / max(1, spent.calls))
        tokens = prompt + completion
        so_far = spent.prompt_tokens + spent.completion_tokens
        return Left(1, tokens, tokens * (spent.cost or 0.0) / max(1, so_far), MOMENT)

    def _exceeded(self, name: str, need: float, rest: float) -> BudgetExceeded:
        bound = self._given[name]
        if rest == -math.inf:
            unknown = BudgetExceeded(
                f"the budget is {bound} dollars, but what the calls cost is not known",
                hint="bound calls=... or tokens=..., or say what they cost: price_by of this "
                "budget (a search's own: price=, --price)",
            )
            unknown.stops = True
            return unknown
        if name == "calls":
            message = f"the budget of {bound} calls is spent"
        elif name == "seconds":
            message = f"the {bound} seconds of the budget are over"
        else:
            message = (
                f"a call of about {need:.4g} {name} would exceed the budget of {bound}, "
                f"of which {max(0.0, rest):.4g} are left"
            )
        return BudgetExceeded(message, hint=f"raise {name}=... of it")


class BudgetedModel(WatchedModel):
    """A model whose calls are paid from a budget.

    Inside the retries each call is paid. Around a model that has retries inside, those cannot be
    refused, but they count. Replies from a cache inside cost nothing, but a call must be left. A
    call that is cancelled counts as one; nothing, if it waits for its turn under limits right
    inside, as in `mti.Model`.

    Args:
        inner: Whom to ask.
        budget: What may be spent; others may share it.
        max_tokens: How many tokens a reply may have, for the estimate before a call; without it,
            what the parameters of the model say.

    Attributes:
        budget: What may be spent.
    """

    def __init__(
        self, inner: LanguageModel, budget: Budget, *, max_tokens: int | None = None
    ) -> None:
        super().__init__(inner)
        self.budget = budget
        self._max_tokens = max_tokens_of(inner) if max_tokens is None else max_tokens

    def watch(self, request: Request, *, streamed: bool = False) -> Watch:
        """Set aside what a call may cost.

        Raises:
            BudgetExceeded: There is not enough left; nothing was sent.
        """
        reserved = self.budget.reserve(prompt_tokens(request), self._max_tokens)
        waits = isinstance(self.inner, LimitedModel)
        return _Paid(request, self.budget, reserved, streamed=streamed, waits=waits)


def max_tokens_of(model: LanguageModel) -> int | None:
    """How many tokens a reply of a model may have, as its parameters say; None if they do not."""
    while isinstance(model, Wrapper):
        model = model.inner
    params = getattr(model, "params", None)
    if not isinstance(params, dict):
        return None
    body = params.get("extra_body")
    places = (body, params) if isinstance(body, dict) else (params,)
    names = ("max_completion_tokens", "max_tokens")
    found = (place.get(name) for name in names for place in places)
    return next((one for one in found if isinstance(one, int) and one > 0), None)


class _Paid(Watch):
    """A call that is being paid.

    Args:
        request: What is asked.
        budget: From what.
        reserved: What was set aside for it.
        streamed: Whether the reply comes in pieces.
        waits: Whether it waits for its turn before it is sent, so that no try was before that.
    """

    def __init__(
        self, request: Request, budget: Budget, reserved: Left, *, streamed: bool, waits: bool
    ) -> None:
        super().__init__(request, streamed=streamed)
        self._waits = waits
        self._budget = budget
        self._reserved = reserved

    def within(self) -> AbstractContextManager[object]:
        return until(self._budget.end)

    def ended(self, outcome: Reply | BaseException) -> None:
        if isinstance(outcome, Reply):
            usage = outcome.usage
            if not usage.calls and not outcome.from_cache:
                usage = replace(usage, calls=1)  # a model that does not count
        elif isinstance(outcome, ModelError | BudgetExceeded):
            usage = usage_of(outcome)
        elif self._waits and not usage_of(outcome).calls:
            usage = Usage()  # cancelled before its turn
        elif self.streamed and is_given_up(outcome):
            usage = replace(self.so_far, cost=self._reserved.dollars)
        else:
            usage = Usage(calls=1)
        self._budget.settle(self._reserved, usage)
