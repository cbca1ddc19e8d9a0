"""Which plan to run: candidates are measured beside the split plan, judged, and priced."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, Literal

from mtiprompt.combine import waves
from mtiprompt.dataset import Dataset, Row
from mtiprompt.errors import DataError
from mtiprompt.evaluate.prices import Price, known_price
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.budget import Budget
from mtiprompt.models.model import as_model
from mtiprompt.plan import Plan
from mtiprompt.planner.groupings import Grouping, Pins
from mtiprompt.planner.price import PlanPrice, price_plan
from mtiprompt.planner.profile import Profile
from mtiprompt.planner.rules import FEWEST, Differences, Rule, TaskFinding, expected, guarantee
from mtiprompt.program import Program
from mtiprompt.tasks import Metric
from mtiprompt.wire import Notation, Usage

Objective = Literal["cost", "seconds", "throughput"]
TOKENS = Price("tokens", prompt=1e-6, cached=1e-7, completion=5e-6)
"""Where a model has no price: a written token at five read ones, a cached one at a tenth."""
MARGIN = 0.05


@dataclass(frozen=True)
class Candidate:
    """A plan that was measured.

    Attributes:
        name: `split`, `fused`, or what is in its calls.
        plan: The plan.
        verdict: `accepted`, `rejected`, `undecided`; `baseline`, for the split plan; `pinned`.
        reason: Why, in words.
        tasks: What is known of the loss of each task; empty for the baseline.
        price: What it costs a row.
        rows: Rows that it was run on.
    """

    name: str
    plan: Plan
    verdict: Literal["accepted", "rejected", "undecided", "baseline", "pinned"]
    reason: str
    tasks: Mapping[str, TaskFinding]
    price: PlanPrice
    rows: int


@dataclass(frozen=True)
class Choice:
    """What `choose_plan` found.

    Attributes:
        plan: The plan to run.
        candidates: All that were measured, the split plan first.
        rule: `guarantee` or `expected`.
        margin: The loss that each task may have.
        confidence: Of the guarantee, and of the intervals.
        objective: What was to be small: `cost` or `seconds`; or large: `throughput`.
        spent: What measuring cost.
        rows: Rows at hand.
        agreement: The tasks without gold, for which agreement with the split plan was measured.
        exhausted: Whether the budget ended the search.
        price: Of a token.
    """

    plan: Plan
    candidates: tuple[Candidate, ...]
    rule: Rule
    margin: float
    confidence: float
    objective: Objective
    spent: Usage
    rows: int
    agreement: tuple[str, ...]
    exhausted: bool
    price: Price = field(default=TOKENS)

    @property
    def chosen(self) -> Candidate:
        """The candidate whose plan was chosen."""
        return next(one for one in self.candidates if one.plan == self.plan)

    @property
    def pays_after(self) -> int | None:
        """Rows after which measuring has paid for itself; None: never, as split was chosen."""
        before, now = (_worth(one.price, "cost") for one in (self.candidates[0], self.chosen))
        if now >= before:
            return None
        spent = (
            (self.spent.prompt_tokens - self.spent.cached_tokens) * self.price.prompt
            + self.spent.cached_tokens * self.price.cached
            + self.spent.completion_tokens * self.price.completion
        )
        return math.ceil(spent / (before - now))


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
    metrics: Mapping[str, Metric] | None = None,
    price: Price | str | None = None,
    requests: float | None = None,
    tokens: float | None = None,
    concurrency: int = 1,
    record: str | PathLike[str] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Choice:
    """The plan that costs least among those of which no task suffers.

    The split plan, one call a task, is the baseline. First all tasks in one call are tried; the
    tasks that suffer move out, and what is left is tried again; then those that moved out, with
    each other; then, if asked for, several items in a call and other notations.

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
        rows: Items, with gold where there is some; no demonstrations among them. The more the
            better: 100 are few.
        model: A model or its name; without one, that of the settings.
        rule: `guarantee`: a loss above the margin has a probability of 1 - confidence at most, and
            whatever is undecided stays apart. `expected`: probably no such loss, from few rows.
        margin: The loss of its mean score that each task may have, above 0.
        confidence: Of the guarantee.
        p: Under `expected`, the probability of a loss within the margin that suffices.
        objective: `cost` (dollars, with the provider's prompt cache), `seconds` (from the first
            call of a row to its last) or `throughput` (rows a minute).
        budget: What may be spent; the search ends when it is.
        demos: Demonstrations of every plan.
        together: Groups of tasks that share a call, whatever is measured.
        apart: Groups of tasks of which no two share a call.
        plan: A plan that is taken whatever is measured; it is measured all the same.
        items: Numbers of items in a call to try.
        notations: Notations of the answer to try.
        metrics: Metrics for single tasks, in the place of their own.
        price: Of a token: of this model in litellm's table, or as given; by default that of the
            model, and where it has none, tokens at usual proportions.
        requests: Calls a minute that the provider allows, for `throughput`.
        tokens: Tokens a minute that it allows.
        concurrency: Calls in flight at the same time.
        record: A folder that keeps every reply, so that a search that was stopped goes on there.
        progress: Told what is being tried, after every row.

    Raises:
        DataError: A row, a pin or a number makes no sense.
        IncompleteRun: Calls failed for good.
        ModelError: The model cannot be used at all.
    """
    _check(rule, margin, confidence, p, objective)
    asked = as_model(model)
    pins = Pins(program, together, apart)
    shown = list(demos)
    base = Plan.groups(program, pins.split(), demos=shown)
    trying = ["split"]
    profile = Profile(
        program,
        Dataset.from_rows(program, rows).test,  # type: ignore[arg-type]
        Plan.split(program, demos=shown),
        model=asked,
        budget=budget,
        record=record,
        metrics=metrics,
        concurrency=concurrency,
        progress=lambda: progress(trying[-1]),
    )
    tariff = known_price(price, asked.name) or TOKENS
    search = _Search(
        profile, pins, rule, margin, confidence, p, objective, tariff, requests, tokens,
        concurrency, trying,
    )  # fmt: skip
    best = search.groupings(base)
    for number in items:
        best = search.better(best, best.plan.replace(program, items_per_call=number))
    for notation in notations:
        best = search.better(best, best.plan.replace(program, notation=notation))
    if plan is not None:
        plan.check(program)
        best = search.pinned(plan)
    return Choice(
        plan=best.plan,
        candidates=tuple(search.candidates),
        rule=rule,
        margin=margin,
        confidence=confidence,
        objective=objective,
        spent=profile.spent,
        rows=len(profile.rows),
        agreement=profile.unlabelled,
        exhausted=profile.exhausted,
        price=tariff,
    )


def _check(rule: Any, margin: Any, confidence: Any, p: Any, objective: Any) -> None:
    if rule not in ("guarantee", "expected"):
        raise DataError(f"there is no rule {rule!r:.80}", hint="guarantee, expected")
    if objective not in ("cost", "seconds", "throughput"):
        hint = "cost, seconds, throughput"
        raise DataError(f"there is no objective {objective!r:.80}", hint=hint)
    for name, value, low in (("margin", margin, 0), ("confidence", confidence, 0.5), ("p", p, 0.5)):
        if not isinstance(value, int | float) or not low < value < 1:
            raise DataError(f"{name}={value!r:.80} makes no sense", hint=f"{low} < {name} < 1")


@dataclass
class _Search:
    """What the search knows so far; the fields are the arguments of `choose_plan`."""

    profile: Profile
    pins: Pins
    rule: Rule
    margin: float
    confidence: float
    p: float
    objective: Objective
    price: Price
    requests: float | None
    tokens: float | None
    concurrency: int
    trying: list[str]
    candidates: list[Candidate] = field(default_factory=list)
    seen: list[Differences] = field(default_factory=list)

    def groupings(self, base: Plan) -> Candidate:
        """The best grouping."""
        program = self.profile.program
        best = self._baseline()
        if base != best.plan:  # tasks are pinned together
            best = self.pinned(base)
        waiting = list(program.order)
        fixed: list[tuple[str, ...]] = []
        while len(waiting) > 1:
            accepted, moved_out = self._shrink(base, fixed, waiting)
            if accepted is None:
                break
            if self._is_better(accepted, best):
                best = accepted
            fixed = [group for group in _groups(accepted) if len(group) > 1]
            waiting = moved_out
        return best

    def _shrink(
        self, base: Plan, fixed: Sequence[tuple[str, ...]], tasks: Sequence[str]
    ) -> tuple[Candidate | None, list[str]]:
        """Fuse some tasks, without those that suffer; the candidate, and what was left out."""
        inside, out = list(tasks), []
        while len(inside) > 1:
            grouping = self._grouping(fixed, inside)
            together = max((group for group in grouping if set(group) <= set(inside)), key=len)
            out += [name for name in inside if name not in together]
            inside = list(together)
            if len(inside) < 2 or self.profile.exhausted:
                break
            plan = base.replace(self.profile.program, call_groups=grouping)
            if any(one.plan == plan for one in self.candidates):
                break
            found = self.measured(_name(grouping), plan)
            if found.verdict == "accepted":
                return found, out
            leaving = self._sufferers(found, inside)
            inside = [name for name in inside if name not in leaving]
            out += leaving
        return None, [*out, *inside]

    def _grouping(self, fixed: Sequence[tuple[str, ...]], inside: Sequence[str]) -> Grouping:
        by_length = sorted(inside, key=lambda name: -self._length(name))
        left = list(inside)
        for name in (None, *by_length):
            left = [one for one in left if one != name]
            grouping = self.pins.merged([*fixed, left] if len(left) > 1 else fixed)
            if self.pins.allows(grouping):
                return grouping
        return self.pins.merged(fixed)

    def _length(self, task: str) -> float:
        """How much a task writes, asked alone; the longest leave a call first."""
        outcomes = self.profile.outcomes(self.profile.split, FEWEST)
        return sum(len(str(one.answers.get(task, ""))) for one in outcomes)

    def _sufferers(self, found: Candidate, inside: Sequence[str]) -> list[str]:
        """The tasks that move out: those rejected, else the one that is least safe."""
        known = {name: found.tasks[name] for name in inside}
        rejected = [name for name, one in known.items() if one.verdict == "rejected"]
        if rejected:
            return rejected
        unsafe = [name for name, one in known.items() if one.verdict != "accepted"] or list(known)
        return [max(unsafe, key=lambda name: (known[name].interval.high, self._length(name)))]

    def better(self, best: Candidate, plan: Plan) -> Candidate:
        """The candidate of a plan if it is accepted and better, else the best so far."""
        if self.profile.exhausted or any(one.plan == plan for one in self.candidates):
            return best
        found = self.measured(_difference(best, plan), plan)
        return found if found.verdict == "accepted" and self._is_better(found, best) else best

    def pinned(self, plan: Plan) -> Candidate:
        """The candidate of a plan that the user wants, whatever is measured."""
        known = next((one for one in self.candidates if one.plan == plan), None)
        found = known or self.measured("pinned", plan)
        if found.verdict == "baseline":
            return found
        pinned = replace(found, verdict="pinned", reason=f"pinned; measured: {found.reason}")
        self.candidates = [pinned if one is found else one for one in self.candidates]
        return pinned

    def _baseline(self) -> Candidate:
        split = self.profile.split
        self.profile.outcomes(split, self.profile.blocks(split)[0])
        baseline = Candidate(
            "split", split, "baseline", "one call a task", {}, self._priced(split, 0), 0
        )
        self.candidates.append(baseline)
        return baseline

    def measured(self, name: str, plan: Plan) -> Candidate:
        """Run a plan beside the split one until there is a verdict, or no rows are left."""
        self.trying.append(name)
        place = len(self.candidates) - 1
        tasks: dict[str, TaskFinding] = {}
        seen: Differences = {}
        for count in self.profile.blocks(plan):
            seen = self.profile.differences(plan, count)
            tasks = self._judged(seen, place)
            verdicts = {one.verdict for one in tasks.values()}
            enough = self.rule == "guarantee" or count >= FEWEST
            if self.profile.exhausted or (
                enough and ("rejected" in verdicts or self._is_safe(tasks))
            ):
                break
        self.seen.append(seen)
        rows = max((one.n for one in tasks.values()), default=0)
        verdict, reason = self._verdict(tasks)
        found = Candidate(name, plan, verdict, reason, tasks, self._priced(plan, rows), rows)
        first = self.candidates[0]
        split = self._priced(self.profile.split, max(rows, first.rows))
        self.candidates[0] = replace(first, price=split, rows=max(rows, first.rows))
        self.candidates.append(found)
        return found

    def _judged(self, seen: Differences, place: int) -> dict[str, TaskFinding]:
        if self.rule == "guarantee":
            return guarantee(seen, margin=self.margin, confidence=self.confidence, place=place)
        return expected(
            seen, margin=self.margin, p=self.p, others=self.seen, confidence=self.confidence
        )

    def _is_safe(self, tasks: Mapping[str, TaskFinding]) -> bool:
        """Whether no further row can change the verdict much."""
        if self.rule == "guarantee":
            return all(one.verdict == "accepted" for one in tasks.values())
        sure = 1 - (1 - self.p) / 4
        return all((one.probability or 0.0) >= sure for one in tasks.values())

    def _verdict(
        self, tasks: Mapping[str, TaskFinding]
    ) -> tuple[Literal["accepted", "rejected", "undecided"], str]:
        harmed = [name for name, one in tasks.items() if one.verdict == "rejected"]
        open_ones = [name for name, one in tasks.items() if one.verdict == "undecided"]
        if harmed:
            worst = max(harmed, key=lambda name: tasks[name].loss)
            return "rejected", f"{', '.join(harmed)}: {worst} loses {tasks[worst].loss:.3f}"
        if not open_ones:
            return "accepted", f"no task loses more than {self.margin:g}"
        more = [tasks[name].more for name in open_ones]
        if self.rule == "expected" or any(one is None for one in more):
            return "undecided", f"not enough is known of {', '.join(open_ones)}"
        rows = max(one for one in more if one is not None)
        return "undecided", f"{', '.join(open_ones)} would take about {rows} rows more"

    def _is_better(self, found: Candidate, best: Candidate) -> bool:
        return self._worth(found.price) < self._worth(best.price)

    def _worth(self, price: PlanPrice) -> float:
        if self.objective == "throughput":
            return -price.rows_a_minute(
                requests=self.requests, tokens=self.tokens, flight=self.concurrency
            )
        return _worth(price, self.objective)

    def _priced(self, plan: Plan, rows: int) -> PlanPrice:
        groups = [group.tasks for group in plan.call_groups]
        outcomes = self.profile.outcomes(plan, max(rows, 1))
        if not outcomes:
            raise DataError("the budget is spent before the first row is answered", hint="raise it")
        return price_plan(outcomes, _in_waves(self.profile.program, groups), self.price)


def _worth(price: PlanPrice, objective: Objective) -> float:
    if objective == "cost":
        return price.dollars_cached or 0.0
    return price.longest


def _in_waves(program: Program, groups: Sequence[Sequence[str]]) -> list[list[Sequence[str]]]:
    """Groups that can be asked for at the same time, together."""
    needs = waves(program, groups)
    done: set[int] = set()
    found = []
    while len(done) < len(groups):
        ready = [n for n, mine in enumerate(needs) if n not in done and mine <= done]
        found.append([groups[n] for n in ready])
        done |= set(ready)
    return found


def _groups(candidate: Candidate) -> list[tuple[str, ...]]:
    return [group.tasks for group in candidate.plan.call_groups]


def _name(grouping: Grouping) -> str:
    if len(grouping) == 1:
        return "fused"
    return " | ".join("+".join(group) for group in grouping)


def _difference(best: Candidate, plan: Plan) -> str:
    if plan.items_per_call != best.plan.items_per_call:
        return f"{best.name}, {plan.items_per_call} items a call"
    return f"{best.name}, {plan.notation}"
