"""The dry run of a search: what it would take, and how many calls a budget is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import NamedTuple

from mtiprompt.dataset import Row
from mtiprompt.demo import Demo
from mtiprompt.errors import DataError
from mtiprompt.evaluation.prices import Price, check_told
from mtiprompt.models.budget import Budget
from mtiprompt.models.fakes import EchoModel
from mtiprompt.optimizer.found import Options
from mtiprompt.optimizer.measuring import Measuring, Way
from mtiprompt.optimizer.search import Search
from mtiprompt.optimizer.setup import Setup
from mtiprompt.optimizer.space import Space
from mtiprompt.wire import Usage

ROWS = 20
"""Rows by which the tokens of a call are estimated."""
COUNTED_ON = 0.9
"""The part of the calls that tokens and dollars would still buy which is counted on."""
Cost = Callable[[Usage], float | None]
"""US dollars for what was used; None where no price is known."""


class Dearer(NamedTuple):
    """How many times as much as was guessed calls are taken to cost.

    Attributes:
        tokens: In tokens.
        dollars: In US dollars.
    """

    tokens: float = 1.0
    dollars: float = 1.0

    @staticmethod
    def seen(paid: Usage, guessed: Usage, cost: Cost) -> Dearer:
        """By what calls cost so far.

        Args:
            paid: What they did cost; by the price, where they do not tell it.
            guessed: What was guessed of the same calls, at four characters a token.
            cost: The price.
        """
        if not guessed.calls:
            return Dearer()
        told = cost(paid) if paid.cost is None else paid.cost
        return Dearer(
            _times(_tokens(paid), _tokens(guessed)), _times(told or 0.0, cost(guessed) or 0.0)
        )


def _tokens(usage: Usage) -> int:
    return usage.prompt_tokens + usage.completion_tokens


def _times(paid: float, guessed: float) -> float:
    return paid / guessed / COUNTED_ON if paid and guessed else 1.0


@dataclass(frozen=True)
class Foreseen:
    """What a search would take at most.

    Attributes:
        calls: Calls, those of bootstrapping included.
        bootstrap: Those of them that go to bootstrapping.
        searched: Rows on which points are measured.
        fresh: Rows that are kept for the confirmation.
        pool: Demonstrations to choose from, without those that bootstrapping will give.
        shelf: Rows that demonstrations for single items are selected from; 0: none are.
        usage: The calls with their tokens at four characters each, with as many demonstrations as
            there may be.
    """

    calls: int
    bootstrap: int
    searched: int
    fresh: int
    pool: int
    shelf: int
    usage: Usage

    @property
    def call(self) -> Usage:
        """What one of the calls takes."""
        return Usage(
            calls=1,
            prompt_tokens=self.usage.prompt_tokens // self.calls,
            completion_tokens=self.usage.completion_tokens // self.calls,
        )

    def dollars(self, price: Price) -> float:
        """What that costs without a prompt cache.

        Args:
            price: Of a token.
        """
        return price.cost(self.usage, caching=False)


def foresee(
    setup: Setup, budget: Budget, *, price: Price | None = None, options: Options | None = None
) -> Foreseen:
    """What a search would take, before any call is made.

    Example:
        >>> import mtiprompt as mti
        >>> from mtiprompt.optimizer import Setup, foresee
        >>> program = mti.combine("text -> mood: Literal['good', 'bad']")
        >>> rows = [{"inputs": {"text": f"Fine {n}!"}, "outputs": {"mood": "good"}}
        ...         for n in range(80)]
        >>> setup = Setup.of(program, rows[:20], rows[20:])
        >>> told = foresee(setup, mti.Budget(calls=200))
        >>> told.calls, told.searched, told.fresh, told.pool, told.shelf
        (200, 35, 25, 20, 20)

    Args:
        setup: What the search is about.
        budget: What may be spent.
        price: Of a token; needed where the budget is in dollars and has no price of its own.
        options: How to search.

    Raises:
        DataError: The budget is too small, or not to be counted in calls.
    """
    space, call = setup.space, largest_call(setup.space, setup.rows)
    check_told(budget)
    calls = affordable(budget, call, budget.priced if price is None else price.cost)
    own = len(setup.own) * space.calls(space.start)
    search = Search(space, len(setup.rows), calls - own, options or Options(), ahead=own)
    usage = Usage(
        calls=calls,
        prompt_tokens=calls * call.prompt_tokens,
        completion_tokens=calls * call.completion_tokens,
    )
    sizes = len(search.order), len(search.fresh), len(space.pool), len(on_shelf(space))
    return Foreseen(calls, own, *sizes, usage)


def on_shelf(space: Space) -> tuple[Demo, ...]:
    """The demonstrations that those for an item may be selected from; none if none may.

    Args:
        space: The space.
    """
    return space.shelf if space.selections else ()


def largest_call(space: Space, rows: Sequence[Row]) -> Usage:
    """About what a call takes with as many demonstrations as there may be, the longest first.

    Args:
        space: The space.
        rows: Rows that are to be measured.
    """
    shown = dict.fromkeys([*space.pool.demos, *on_shelf(space)])
    longest = sorted(shown, key=lambda one: -len(one.inputs_json + one.outputs_json))
    number = max(space.most if space.vary & {"demos", "select"} else 0, len(space.base.demos))
    plan = space.base.replace(space.program, demos=longest[:number])
    way = Way(space.start, space.program, plan)
    outcomes = Measuring(EchoModel()).outcomes([(way, row) for row in rows[:ROWS]], "search")
    calls = [call.usage for one in outcomes for call in one.calls]
    return Usage(
        calls=1,
        prompt_tokens=math.ceil(mean(one.prompt_tokens for one in calls)),
        completion_tokens=math.ceil(mean(one.completion_tokens for one in calls)),
    )


def affordable(budget: Budget, call: Usage, cost: Cost, dearer: Dearer | None = None) -> int:
    """How many calls what is left of a budget is.

    Args:
        budget: What may be spent.
        call: What a call takes, as it is guessed.
        cost: The price.
        dearer: How many times as much it costs in truth.

    Raises:
        DataError: It bounds nothing, or dollars of a model that is free or whose price is not
            known.
    """
    left, times = budget.left, dearer or Dearer()
    bounds = [left.calls, left.tokens / (times.tokens * _tokens(call))]
    if left.dollars < math.inf:
        if (each := cost(call)) is None:
            raise DataError(
                "the price of the model is not known, so dollars are no number of calls",
                hint="bound calls: mti.Budget(calls=400), or say the price: price=, --price",
            )
        bounds.append(left.dollars / (times.dollars * each) if each > 0 else math.inf)
    if (calls := min(bounds)) == math.inf:
        if left.dollars < math.inf:
            what = "calls are free by the price, so dollars are no number of calls"
            raise DataError(what, hint="bound calls: mti.Budget(calls=400)")
        but = ", and seconds are no number of calls" if left.seconds < math.inf else ""
        raise DataError(f"the budget has no bound{but}", hint="mti.Budget(calls=400)")
    return int(calls)
