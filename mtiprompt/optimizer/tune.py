"""Demonstrations, orders, groupings and wordings are searched, under a hard budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple, cast

from mtiprompt.checks import check_budget, check_callable, check_repair
from mtiprompt.dataset import Row
from mtiprompt.errors import BudgetExceeded, DataError, IncompleteRun, ModelError, MTIError
from mtiprompt.evaluation.prices import Price, counted_at, known_price
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.budget import Budget
from mtiprompt.models.model import as_model
from mtiprompt.models.resume import go_on
from mtiprompt.optimizer.asked import asked_model
from mtiprompt.optimizer.foresee import Dearer, Foreseen, affordable, foresee
from mtiprompt.optimizer.found import Ask, Found, Options, Tried
from mtiprompt.optimizer.measured import Evaluation
from mtiprompt.optimizer.measuring import Measuring, Stage
from mtiprompt.optimizer.point import Point
from mtiprompt.optimizer.search import Search, Steps
from mtiprompt.optimizer.setup import POOL, Setup
from mtiprompt.optimizer.space import USUAL, Part
from mtiprompt.optimizer.threads import on_one_thread
from mtiprompt.optimizer.tuned import SearchStopped, Taken, Tuned
from mtiprompt.plan import Plan
from mtiprompt.planner.choice import TOKENS
from mtiprompt.planner.choose import MARGIN
from mtiprompt.planner.rules import Rule
from mtiprompt.program import CONCURRENCY, Program
from mtiprompt.repair import DEFAULT, Repair
from mtiprompt.tasks import Metric


class Progress(NamedTuple):
    """How far a search is.

    Attributes:
        stage: What calls are for now.
        calls: Calls so far, those that a record or a cache answered included.
        most: Calls at most.
        leader: The point that seems best; None: nothing was measured yet.
        gain: What it is believed to gain beside the baseline.
        best: The points that seem best, the leader first.
        costs: What a row costs at each of them without a prompt cache; with the baseline it is 1.
    """

    stage: Stage
    calls: int
    most: int
    leader: Point | None = None
    gain: float = 0.0
    best: tuple[Tried, ...] = ()
    costs: tuple[float, ...] = ()


def optimize(
    program: Program,
    train: Iterable[Row | Mapping[str, Any]],
    dev: Iterable[Row | Mapping[str, Any]],
    *,
    model: LanguageModel | str | None = None,
    budget: Budget,
    plan: Plan | None = None,
    most: int = 4,
    pool: int = POOL,
    bootstrap: int = 0,
    vary: Collection[Part] = USUAL,
    variants: Mapping[str, Sequence[str]] | None = None,
    together: Iterable[Sequence[str]] = (),
    apart: Iterable[Sequence[str]] = (),
    embeddings: str | None = None,
    metrics: Mapping[str, Metric] | None = None,
    weights: Mapping[str, float] | None = None,
    rule: Rule = "guarantee",
    alpha: float = 0.05,
    p: float = 0.9,
    margin: float | None = MARGIN,
    reserve: float = 0.25,
    prune: float = 0.0,
    seed: int = 0,
    repair: Repair = DEFAULT,
    price: Price | str | None = None,
    concurrency: int = CONCURRENCY,
    record: str | PathLike[str] | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Tuned:
    """The best plan that so many calls find: which demonstrations, in which order, and more.

    Plans are scored on rows of dev; an additive model of all scores says which to try next. A part
    of the calls is kept for the best plan and the one to improve on, on rows that no choice has
    looked at; without significant gain there, the latter is the result (see `rule`).

    Example:
        >>> import mtiprompt as mti
        >>> program = mti.combine("text -> mood: Literal['good', 'bad']")
        >>> rows = [{"inputs": {"text": f"Fine {n}!"}, "outputs": {"mood": "good"}}
        ...         for n in range(40)]
        >>> tuned = mti.optimize(program, rows[:10], rows[10:], model=mti.EchoModel(),
        ...                      budget=mti.Budget(calls=100))
        >>> tuned.better, tuned.spent.calls <= 100
        (False, True)

    Args:
        program: The program.
        train: Rows to make demonstrations of. Those that are in dev too are left out.
        dev: Rows to score plans on; those without gold for every task are left out, and those with
            the inputs of an earlier one, up to blanks and case.
        model: A model or its name; without one, that of the settings. What its cache has is free.
        budget: What may be spent, retries and repairs included; no call goes above it. Tokens and
            dollars are turned into calls by what the largest call takes. Where calls turn out
            dearer, or slower than seconds allow, which cannot stand alone, the search is cut short
            in all its parts. Where it ends in the confirmation, the pairs until then count.
        plan: What to improve on; by default all tasks in one call, without demonstrations.
        most: Demonstrations that a call shows at most.
        pool: Rows of train, drawn at random, whose gold makes demonstrations for all items. Those
            for one item are selected from up to 256 rows, which a plan that selects holds. With 0
            there is neither.
        bootstrap: Rows of train that the model answers first, of those that some call could show;
            answers of full marks become demonstrations for all items too. Those for one item are
            always gold.
        vary: What is varied: `demos`, `select` (demonstrations chosen for each item in their
            place), `order` (of the tasks in a call), `instructions`, `grouping`, `reasoning`,
            `notation`.
        variants: Further instructions by task, for `instructions`, such as those of `compressed`
            (`optimizer/wordings.py`) and `reflected` (`optimizer/reflect.py`). Each text counts
            once, and that of the plan not at all.
        together: Groups of tasks that share a call, for `grouping`.
        apart: Groups of tasks of which no two share a call.
        embeddings: A static embedding model, a folder or a name on the hub: for `select`,
            demonstrations are then also chosen by how alike words are, beside by the same words.
            It needs the extra `embeddings`.
        metrics: Metrics for single tasks, in the place of their own.
        weights: By task, how much its score counts; others count 1.
        rule: `guarantee`: the plan to improve on is the result unless the new one gains on fresh
            rows; `expected`: unless the new one is probably better by all that was measured.
        alpha: Under `guarantee`, with what probability a plan may be returned that is no better.
        p: Under `expected`, the probability of a gain that suffices.
        margin: The loss of its mean score that each task may have, whatever the others gain: where
            one loses more, by the whole 95% interval of its fresh rows or under `expected` with a
            probability of `p`, or by the planner's gate where other tasks share its call, the plan
            to improve on is the result. None: any loss may be.
        reserve: The part of the calls that is kept for the confirmation.
        prune: The part of the calls that is kept for dropping demonstrations of the best plan that
            it can do without, such as 0.1; it is lacking in the search.
        seed: Of all that is random. The same seed, rows, replies and calls give the same plan.
        repair: What is done about slots that failed.
        price: Of a token, as for `choose_plan`; it tells what plans cost, and what calls of this
            search do that do not tell it. Without one `price_by` of the budget tells the latter,
            or the price of the model.
        concurrency: Calls in flight at the same time.
        record: A folder that keeps every reply: with the same arguments, and a new budget of the
            same size, a search that was stopped goes on there and pays for nothing twice.
        progress: Told how far the search is, after every row.

    Raises:
        DataError: A row, a number or a name makes no sense, or there is too little to begin, or
            nothing to choose from.
        PlanError: The plan is for another program.
        BudgetExceeded: A budget inside the model is in dollars, and calls do not tell their cost.
        SearchStopped: Calls failed for good, or after the first rows a metric failed or such a
            budget refused; an `IncompleteRun` that has what was found as `tuned`.
        ModelError: The model cannot be used at all.
    """
    check_budget(budget)
    check_repair(repair)
    check_callable(progress=progress)
    options = Options(
        reserve=reserve,
        rule=rule,
        alpha=alpha,
        p=p,
        margin=margin,
        prune=prune,
        weights=weights or {},
        seed=seed,
    )
    setup = Setup.of(
        program, train, dev, plan=plan, most=most, pool=pool, bootstrap=bootstrap, vary=vary,
        variants=variants, together=together, apart=apart,
        embeddings=embeddings, metrics=metrics, concurrency=concurrency, seed=seed,
    )  # fmt: skip
    answers = as_model(model)
    known = known_price(price, answers.name)
    budget = counted_at(budget, price, answers.name)
    foreseen = foresee(setup, budget, options=options)
    run = _Run(foreseen, budget, known, progress, record, concurrency)
    run.measuring = Measuring(
        asked_model(answers, budget, record),
        repair=repair,
        metrics=metrics,
        concurrency=concurrency,
        budget=budget,
        record=record,
        progress=run.tell,
    )
    return run.search(setup, options)


SURE = 0.8
"""The part of the calls that would still fit into the seconds which is counted on."""


class _Run:
    """A search that is being driven.

    Args:
        foreseen: What it takes at most.
        budget: What may be spent.
        price: Of a token, where it is known.
        progress: Told how far it is.
        record: Where replies are kept, if they are.
        concurrency: Calls in flight at the same time.
    """

    measuring: Measuring

    def __init__(
        self,
        foreseen: Foreseen,
        budget: Budget,
        price: Price | None,
        progress: Callable[[Progress], None],
        record: object,
        concurrency: int,
    ) -> None:
        self._foreseen = foreseen
        self._budget = budget
        self._since = self._warm = (0, budget.passed)
        self._concurrency = concurrency
        self._price = price
        self._progress = progress
        self._record = record
        self._stage: Stage = "bootstrap"
        self._search: Search | None = None

    def tell(self) -> None:
        """Take note of when the first calls are over; say how far it is."""
        made, since = self.measuring.ledger.calls, self._since[0]
        if self._budget.passed and self._warm[0] - since < self._concurrency <= made - since:
            self._warm = made, self._budget.passed
        now = Progress(self._stage, self.measuring.ledger.calls, self._foreseen.calls)
        if self._search is not None and self._search.curve:
            gain = self._search.curve[-1][1]
            best = self._search.best
            now = now._replace(
                leader=self._search.leader, gain=gain, best=best, costs=tuple(self._costs(best))
            )
        self._progress(now)

    def _costs(self, best: Iterable[Tried]) -> Iterator[float]:
        assert self._search is not None
        before = self._cost(self._search.space.start)
        for one in best:
            yield self._cost(one.point) / before if before else 1.0

    def _cost(self, point: Point) -> float:
        assert self._search is not None
        whole = self.measuring.ledger.whole
        taken = Taken.beside(whole[point], whole[self._search.space.start])
        return taken.cost(self._price or TOKENS)

    def search(self, setup: Setup, options: Options) -> Tuned:
        """Search, behind the rows that the model is to answer first, and say what was found."""
        search = Search(setup.space, len(setup.rows), self._foreseen.calls, options)
        try:  # an outage ahead of the search leaves this one, which has measured nothing
            setup = setup.with_own(self.measuring)
            ahead = self.measuring.ledger.calls
            calls = self._foreseen.calls - ahead
            self._search = search = Search(setup.space, len(setup.rows), calls, options)
            going = search.run()
            search.allowance.share = self._share(calls, ahead)
            wave = self._next(going, None)
            while True:
                self._stage = "confirm" if {*wave[0].items} <= {*search.fresh} else "search"
                found = self.measuring.evaluations(setup.space, setup.rows, wave, self._stage)
                search.allowance.share = self._share(calls, ahead)
                wave = self._next(going, found)
        except StopIteration as end:
            return self._tuned(setup, cast("Found", end.value))
        except (IncompleteRun, ModelError, DataError, BudgetExceeded) as error:
            if not isinstance(error, IncompleteRun) and not search.measured.points:
                raise
            raise self._stopped(setup, search, error) from error

    def _next(self, going: Steps, found: list[Evaluation] | None) -> list[Ask]:
        """What the search asks for next, having been sent what came; None at its beginning."""
        with on_one_thread():
            return next(going) if found is None else going.send(found)

    def _share(self, calls: int, ahead: int) -> float:
        """The part of the calls of the search that the budget affords, as it has turned out.

        Args:
            calls: Calls of the search.
            ahead: Calls that were made before it.
        """
        ledger, cost = self.measuring.ledger, self._budget.priced
        dearer = Dearer.seen(ledger.spent, ledger.guessed, cost)
        more = affordable(self._budget, self._foreseen.call, cost, dearer)
        return min(1.0, (ledger.calls - ahead + min(more, self._in_time())) / calls)

    def _in_time(self) -> float:
        """About how many further calls there is time for.

        The first calls, as many as are in flight at once, say little of the pace, as a model may
        be loaded in them; until there are others they are all that is known. What was in a record
        or a cache says nothing.
        """
        made, passed = self.measuring.ledger.calls, self._budget.passed
        if not passed:
            self._since = self._warm = (made, 0.0)
            return math.inf
        calls, began = self._warm if made > self._warm[0] else self._since
        if made == calls:
            return math.inf
        return SURE * self._budget.left.seconds * (made - calls) / max(passed - began, 1e-9)

    def _stopped(self, setup: Setup, search: Search, error: MTIError) -> SearchStopped:
        tuned = self._tuned(setup, search.stopped(error.message))
        if isinstance(error, IncompleteRun):
            return SearchStopped(error.message, tuned, items=error.items, hint=error.hint)
        hint = error.hint if isinstance(error, BudgetExceeded) else go_on(self._record)
        return SearchStopped(error.message, tuned, items=(), hint=hint)

    def _tuned(self, setup: Setup, found: Found) -> Tuned:
        ledger, space = self.measuring.ledger, setup.space
        before = ledger.whole.get(space.start, {})
        return Tuned(
            plan=space.plan(found.best),
            found=found,
            space=space,
            taken={point: Taken.beside(rows, before) for point, rows in ledger.whole.items()},
            spent=ledger.spent,
            rows=len(setup.rows),
            price=self._price or TOKENS,
        )
