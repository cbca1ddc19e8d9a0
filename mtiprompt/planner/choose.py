"""Which plan to run: candidates are measured beside the split plan, judged, and priced."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, get_args

from mtiprompt.checks import (
    check_budget,
    check_callable,
    check_list,
    check_program,
    check_record,
)
from mtiprompt.dataset import Row, read_rows
from mtiprompt.errors import DataError
from mtiprompt.evaluation.arms import Arm
from mtiprompt.evaluation.checks import check
from mtiprompt.evaluation.prices import Price, check_told, counted_at, known_price
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.budget import Budget
from mtiprompt.models.model import as_model
from mtiprompt.plan import Plan, warn_of_hidden
from mtiprompt.planner.ahead import distinct, look_ahead, options_of
from mtiprompt.planner.candidate import Candidate, Objective, Wanted
from mtiprompt.planner.choice import TOKENS, Choice
from mtiprompt.planner.groupings import Pins
from mtiprompt.planner.profile import Profile
from mtiprompt.planner.rules import Rule
from mtiprompt.planner.search import Search
from mtiprompt.program import Program
from mtiprompt.tasks import Metric
from mtiprompt.wire import Notation

MARGIN = 0.05
"""The loss that a task may have, unless an argument says otherwise."""


def choose_plan(
    program: Program,
    rows: Iterable[Row | Mapping[str, Any]],
    *,
    model: LanguageModel | str | None = None,
    rule: Rule = "expected",
    margin: float = MARGIN,
    confidence: float = 0.95,
    p: float = 0.8,
    objective: Objective = "cost",
    budget: Budget | None = None,
    demos: Iterable[Any] = (),
    together: Iterable[Sequence[str]] = (),
    apart: Iterable[Sequence[str]] = (),
    plan: Plan | None = None,
    items: Sequence[int] = (),
    notations: Sequence[Notation] = (),
    short_keys: bool = False,
    orders: bool = False,
    metrics: Mapping[str, Metric] | None = None,
    price: Price | str | None = None,
    requests: float | None = None,
    tokens: float | None = None,
    concurrency: int = 1,
    error_cost: float = 0.0,
    record: str | PathLike[str] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Choice:
    """The plan that costs least among those of which no task suffers.

    The split plan, one call a task, is the baseline. First all tasks in one call are tried; the
    tasks that suffer move out, and what is left is tried again; then those that moved out, with
    each other; then, if asked for, several items in a call and other notations. Where no other plan
    could be taken, the split plan comes back without a call, and its reason says why.

    Example:
        >>> import mtiprompt as mti
        >>> program = mti.combine("text -> mood: Literal['good', 'bad']", "text -> word")
        >>> rows = [{"inputs": {"text": f"Fine {n}!"}, "outputs": {"mood": "good"}}
        ...         for n in range(60)]
        >>> choice = mti.choose_plan(program, rows, model=mti.EchoModel())
        >>> choice.chosen.name, choice.chosen.verdict
        ('fused', 'accepted')

    Args:
        program: The program.
        rows: Items, with gold where there is some, whatever split they name; no demonstrations
            among them. The more the better: 100 are few. Their order should be of no meaning. Those
            that ask the same, up to blanks and case, count once.
        model: A model or its name; without one, that of the settings.
        rule: `guarantee`: a loss above the margin has a probability of 1 - confidence at most, and
            whatever is undecided stays apart. `expected`: probably no such loss, from few rows; a
            task of which there are fewer than 20 observations stays as it is.
        margin: The loss of its mean score that each task may have, above 0.
        confidence: Of the guarantee.
        p: Under `expected`, the probability of a loss within the margin that suffices.
        objective: `cost` (dollars, with the provider's prompt cache), `seconds` (from the first
            call of a row to its last) or `throughput` (rows a minute).
        budget: What may be spent; the search ends when it is, with what is pinned though nothing
            of it may be measured then. What it takes out of a record counts as if it were asked
            now. A warning says beforehand if its calls are too few for a verdict.
        demos: Demonstrations of every plan. A call shows those that answer all its tasks; a warning
            tells how many the first plan with a shared call leaves out.
        together: Groups of tasks that share a call, whatever is measured; nothing is promised of
            what they lose by that.
        apart: Groups of tasks of which no two share a call.
        plan: A plan that is taken whatever is measured; it is measured all the same.
        items: Numbers of items in a call to try.
        notations: Notations of the answer to try.
        short_keys: Whether to try letters as the keys of a reply.
        orders: Whether a call of which a task suffers is tried with the hardest task first.
        metrics: Metrics for single tasks, in the place of their own.
        price: Of a token: of this model in litellm's table, or as given; by default that of the
            model, and where it has none, tokens at usual proportions. The budget counts calls of
            this search by it that do not tell their cost, unless it has its own `price_by` and none
            is given here.
        requests: Calls a minute that the provider allows, for `throughput`.
        tokens: Tokens a minute that it allows.
        concurrency: Calls in flight at the same time.
        error_cost: Under `expected`, what a wrong answer costs, in dollars or seconds as the
            objective is, or in rows a minute: a plan is taken only if what it saves pays for what
            it is expected to lose. With 0 the margin alone limits the loss.
        record: A folder that keeps every reply: with the same arguments, and a new budget of the
            same size, a search that was stopped goes on there and pays for nothing twice.
        progress: Told what is being tried, after every row.

    Raises:
        DataError: A row, a pin or a number makes no sense, or dollars are bounded and the price of
            a `direct/` model is not known.
        PlanError: `plan`, `items`, `notations` or `demos` do not fit the program.
        BudgetExceeded: It is spent before the split plan has answered a row, or it is in dollars
            and the calls do not tell their cost.
        IncompleteRun: Calls failed for good.
        ModelError: The model cannot be used at all.
    """
    wanted = Wanted(
        rule, margin, confidence, p, objective, TOKENS, requests, tokens, concurrency, error_cost
    )  # fmt: skip
    _check(wanted)
    check_program(program)
    check_budget(budget, needed=False)
    check_record(record)
    check_callable(progress=progress)
    check_list(demos=demos, items=items, notations=notations, together=together, apart=apart)
    items, notations = tuple(items), tuple(notations)
    further = dict(options_of(items, notations, short_keys=short_keys))
    found = distinct(program, read_rows(program, rows))
    split = Plan.split(program, demos=list(demos))
    plans = {"split": split} if plan is None else {"split": split, "pinned": plan}
    plans |= {told: split.replace(program, **options) for told, options in further.items()}
    _check_plans(program, found, plans, metrics, concurrency)
    pins = Pins(program, together, apart)
    ahead = look_ahead(program, found, split, pins, further, rule)
    asked = as_model(model)
    known = known_price(price, asked.name)
    if budget is not None:
        check_told(budget := counted_at(budget, price, asked.name))
    _warn_of_budget(budget, ahead.least)
    if ahead.first and ahead.first.call_groups != split.call_groups:
        warn_of_hidden(ahead.first, program)
    wanted = replace(wanted, price=known or TOKENS)
    profile = Profile(
        program,
        found,
        split,
        model=asked,
        budget=budget,
        record=record,
        metrics=metrics,
        concurrency=concurrency,
        progress=lambda: progress(search.trying),
    )
    variants = (len({*items} - {1}) + 1) * (len({*notations} - {None}) + 1)
    variants *= (1 + short_keys) * (1 + orders)
    reserved = 0.5 if plan else 0.0
    search = Search(profile, pins, wanted, orders, variants, reserved=reserved)
    search.baseline(ahead.untried, measured=bool(plan or ahead.first))
    own = None if plan is None else search.pinned("pinned", plan, search.reserved)
    best = search.groupings(split.replace(program, call_groups=pins.split()), ahead.free)
    for told, options in ahead.options.items():
        best = search.better(best, told, **options)
    return Choice(
        plan=(own or best).plan,
        candidates=_candidates(search),
        rule=rule,
        margin=margin,
        confidence=confidence,
        objective=objective,
        spent=profile.spent,
        rows=len(found),
        agreement=profile.unlabelled,
        exhausted=profile.exhausted,
        price=wanted.price,
    )


def _candidates(search: Search) -> tuple[Candidate, ...]:
    """All that was measured; the split plan says so where the budget left nothing else."""
    split, *others = search.candidates
    if search.profile.exhausted and not others:
        told = f"{split.reason}; the budget ended before another was measured"
        return (replace(split, reason=told),)
    return (split, *others)


def _warn_of_budget(budget: Budget | None, least: int) -> None:
    """Warn of a budget that ends before any verdict; replies on record count in it too."""
    if budget is None or budget.left.calls >= least:
        return
    warnings.warn(
        f"the budget has {budget.left.calls:,} calls, and a verdict on any plan but split takes at "
        f"least {least:,} (raise it)",
        stacklevel=3,
    )


def _check(wanted: Wanted) -> None:
    """Refuse numbers and words that make no sense.

    Raises:
        DataError: With the reason.
    """
    for name, kind in (("rule", Rule), ("objective", Objective)):
        if (given := getattr(wanted, name)) not in get_args(kind):
            raise DataError(f"there is no {name} {given!r:.80}", hint=", ".join(get_args(kind)))
    for name, low in (("margin", 0), ("confidence", 0.5), ("p", 0.5)):
        value = getattr(wanted, name)
        if not isinstance(value, int | float) or not low < value < 1:
            raise DataError(f"{name}={value!r:.80} makes no sense", hint=f"{low} < {name} < 1")
    cost: Any = wanted.error_cost
    if not isinstance(cost, int | float) or not 0 <= cost < math.inf:
        raise DataError(f"error_cost={cost!r:.80} makes no sense", hint="0 or more")
    if cost and wanted.rule == "guarantee":
        raise DataError(
            "error_cost= needs an expected loss, which rule='guarantee' does not give",
            hint="rule='expected', or a smaller margin",
        )
    for name in ("requests", "tokens"):
        value = getattr(wanted, name)
        if value is not None and not (isinstance(value, int | float) and value > 0):
            raise DataError(f"{name}={value!r:.80} makes no sense", hint="how many a minute")


def _check_plans(
    program: Program,
    rows: Sequence[Row],
    plans: Mapping[str, Plan],
    metrics: Mapping[str, Metric] | None,
    concurrency: int,
) -> None:
    """Refuse plans that could not be measured, before the first call is paid."""
    arms = [Arm(name, plan) for name, plan in plans.items()]
    check(program, rows, arms, metrics, concurrency=concurrency, confidence=0.95)
    for plan in plans.values():
        if plan.items_per_call > len(rows):
            what = f"{plan.items_per_call} items a call cannot be measured on {len(rows)} rows"
            raise DataError(what, hint="give more rows, or try fewer items")
        if any(group.model for group in plan.call_groups):
            raise DataError(
                "the plan names models for its groups, and is measured with one",
                hint="take the models out of the plan, and put them in again afterwards",
            )
