"""The search: which points are measured on which items, and what is said of the best.

It has six parts:

- *Halving.* Points are measured on the first items of one shuffled order, so that any two can be
  compared pair by pair; the best few of those measured on as many items go on to twice as many
  (asynchronous successive halving: Li et al., "A System for Massively Parallel
  Hyperparameter Tuning", MLSys 2020, algorithm 2), and the best of each way of choosing
  demonstrations as far as any (`race.py`).
- *Final.* If several such ways are left, the last calls go to the best points and the best of each
  way, side by side: which way is better decides more than which set, and few items do not say it.
- *Proposals.* An additive model (`effects.py`) of all scores so far, drawn from what is believed of
  it, says which point to try next.
- *Racing.* A point goes no further that is significantly behind the leader on the items of both, or
  whose grouping the planner's gate rejects (`race.py`).
- *Pruning*, if asked for. What the leader can do without of its demonstrations is dropped
  (`prune.py`).
- *Confirmation.* A part of the calls is kept for the leader and the baseline on items that no
  choice has looked at. Without significant gain there the baseline is the result, unless the rule
  is to take what is probably better; so it is, by either rule, where a task loses for certain.

`steps` is a generator without I/O: it yields waves of things to measure and is sent what came of
them. What it does is a function of its arguments and of what it was sent, so that a search that is
begun again with the measurements of an earlier one asks for the same and goes on where that ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from mtiprompt.errors import BudgetExceeded
from mtiprompt.optimizer.allowance import Allowance
from mtiprompt.optimizer.confirm import Confirmation, confirm, pairs_within, task_gains
from mtiprompt.optimizer.effects import Effects, Worth
from mtiprompt.optimizer.features import Features
from mtiprompt.optimizer.found import Ask, Found, Options, Tried, settled, too_few
from mtiprompt.optimizer.measured import Evaluation, Measured
from mtiprompt.optimizer.point import Point
from mtiprompt.optimizer.propose import best_point
from mtiprompt.optimizer.prune import Pruned, prune
from mtiprompt.optimizer.race import behind, finalists, harmful, promoted, side_by_side
from mtiprompt.optimizer.space import Space

if TYPE_CHECKING:
    import numpy as np


Steps = Generator[list[Ask], list[Evaluation], Found]
Evaluate = Callable[[Point, Sequence[int]], Evaluation]
"""Measures a point on items, by their numbers."""


def search(
    space: Space,
    evaluate: Evaluate,
    *,
    items: int,
    calls: int,
    options: Options | None = None,
    seen: Iterable[Evaluation] = (),
) -> Found:
    """Search a space, one measurement after the other.

    Args:
        space: The space.
        evaluate: Measures a point on items. It may raise `BudgetExceeded`: then the search ends.
        items: How many items there are; they are numbered from 0.
        calls: How many calls may be paid. Before something is measured it must fit in by what it
            takes without repairs; what it did take is counted.
        options: How to search.
        seen: What an earlier search measured; it is not measured again.

    Raises:
        DataError: There are too few calls or items to begin.
    """
    known = {Ask(one.point, one.items): one for one in seen}
    going = steps(space, items=items, calls=calls, options=options)
    try:
        wave = next(going)
        while True:
            found: list[Evaluation] = []
            with suppress(BudgetExceeded):
                for ask in wave:
                    found.append(known.get(ask) or evaluate(*ask))
            wave = going.send(found)
    except StopIteration as end:
        outcome: Found = end.value
        return outcome


def steps(space: Space, *, items: int, calls: int, options: Options | None = None) -> Steps:
    """The search as a generator; it is sent an evaluation for each thing that it asks for.

    Where the budget is spent in the middle of a wave it is sent those that came, in the
    confirmation those with the first of their items too, and ends.

    Raises:
        DataError: There are too few calls or items to begin.
    """
    return Search(space, items, calls, options or Options()).run()


DRAWS = 200_000
"""Points that are drawn at random at most, for more calls than a search can be meant to make."""


class Search:
    """A search under way; `run` is its generator, as `steps` gives it.

    Args:
        space: The space.
        items: How many items there are.
        calls: How many calls may be paid.
        options: How to search.
        ahead: Calls that are made before it, for what is said where there are too few.

    Attributes:
        allowance: What it may pay.
        order: The items that points are measured on, in this order.
        fresh: The items that are kept for the confirmation.
        leader: The point that seems best so far.
        best: Those that do, the leader first, with what they are believed to be worth.
        curve: Calls made and what the leader was then believed to gain, wave by wave.

    Raises:
        DataError: There are too few calls or items to begin.
    """

    def __init__(
        self, space: Space, items: int, calls: int, options: Options, *, ahead: int = 0
    ) -> None:
        import numpy as np

        self.space, self.options = space, options
        self.rng: np.random.Generator = np.random.default_rng(options.seed)
        order = [int(one) for one in self.rng.permutation(items)]
        self.measured = Measured(space.program, options.weights)
        self.allowance = Allowance(space, calls, items, options, self.measured)
        self.fresh, self.order = order[: self.allowance.fresh], order[self.allowance.fresh :]
        if (rows := len(self.order) < 2) or self.allowance.left < 4 * space.calls(space.start):
            raise too_few(calls, ahead, items, rows=rows)
        self.sure = 1 - 2 * options.behind
        self.block = min(options.block, len(self.order))
        self.features = Features(space)
        self.dropped: set[Point] = set()
        self.leader = space.start
        self.best: tuple[Tried, ...] = ()
        self.finalists: tuple[Point, ...] | None = None
        self.pruned: Pruned | None = None
        self.curve: list[tuple[int, float]] = []

    # --- measuring --------------------------------------------------------------------------------

    def _asks(self, wanted: Iterable[tuple[Point, int]]) -> list[Ask]:
        """Points, each to be measured on so many of the first items, as far as calls are left."""
        asks, left = [], self.allowance.left
        for point, number in wanted:
            new = tuple(self.order[self.measured.items(point) : number])
            cost = len(new) * self.allowance.price(point)
            if new and cost <= left:
                asks.append(Ask(point, new))
                left -= cost
        return asks

    def _measure(self, asks: list[Ask]) -> Generator[list[Ask], list[Evaluation], None]:
        """Ask for a wave and take note of what came.

        Raises:
            BudgetExceeded: Less came.
        """
        if asks:
            found = yield asks
            self.measured.add(found)
            self.allowance.count(found)
            if sum(len(one.items) for one in found) < sum(len(one.items) for one in asks):
                raise BudgetExceeded("the budget was spent before the search was at its end")

    # --- the parts ------------------------------------------------------------------------------

    def run(self) -> Steps:
        """All of it."""
        try:
            yield from self._begin()
            yield from self._waves()
            if self.allowance.pruning and not self._leader().demos:  # nothing can be dropped
                self.allowance.pruning = 0
                yield from self._waves()
            candidate = yield from self._prune(self._leader())
        except BudgetExceeded as error:
            return self._found(self._leader(), None, error.message)
        confirmation, ended = yield from self._confirm(candidate)
        return self._found(candidate, confirmation, ended)

    def stopped(self, why: str) -> Found:
        """What was found so far, when nothing more can be measured.

        Args:
            why: The reason, in a line.
        """
        found = self._found(self._leader(), None, "")
        return replace(found, best=found.baseline, verdict="baseline", reason=why, losing=())

    def _begin(self) -> Generator[list[Ask], list[Evaluation], None]:
        """The baseline, which says what is hard; then the starts and random points."""
        start = self.space.start
        yield from self._measure([Ask(start, tuple(self.order[: self.block]))])
        hard = {name: 1 - score for name, score in self.measured.task_means(start).items()}
        first = dict.fromkeys(self.space.starts(hard))
        calls = self.options.first * self.allowance.left
        number = int(calls / (self.block * self.allowance.price(start)))
        number = max(len(first), number)
        for _ in range(min(4 * number, DRAWS)):
            if len(first) >= number:
                break
            first[self.space.draw(self.rng)] = None
        yield from self._measure(self._asks((point, self.block) for point in first))

    def _waves(self) -> Generator[list[Ask], list[Evaluation], None]:
        while wave := self._wave():
            yield from self._measure(wave)

    def _wave(self) -> list[Ask]:
        """What to measure next: points that go on, and new ones."""
        effects = self._effects()
        ranked = self._ranked(effects)
        self.dropped |= self._gated(ranked).keys()
        self.leader = self._best_in(ranked)
        self.curve.append((self.measured.calls, effects.worth(self.leader, self.space.start).gain))
        running = [point for point in ranked if point not in self.dropped]
        self.best = tuple(Tried.those(running[: self.options.shown], effects, self.measured))
        self.dropped |= behind(self.measured, running, self.leader, self.space.start, self.sure)
        if asks := self._final(ranked):
            return asks
        promoted = self._promoted(ranked)
        new = self._new(effects, max(0, self.options.wave - len(promoted)))
        asks = self._asks([*promoted, *((point, self.block) for point in new)])
        return asks or self._last(ranked)

    def _last(self, ranked: Sequence[Point]) -> list[Ask]:
        """When nothing else fits in or is new: the others beside the baseline, best first."""
        start = self.space.start
        others = (point for point in ranked if point not in {start, *self.dropped})
        return next(filter(None, (self._beside((start, point)) for point in others)), [])

    def _final(self, ranked: Sequence[Point]) -> list[Ask]:
        """With the calls that are kept for it: the finalists that are left, beside one another.

        They are named once. Nothing, where it is not due or decided, or all are measured.
        """
        if self.allowance.left > self.options.final * self.allowance.whole:
            return []
        if self.finalists is None:
            self.finalists = finalists(ranked, self.dropped, self.space.start)
        left = [point for point in self.finalists if point not in self.dropped]
        return self._beside(left) if len(left) > 2 else []

    def _beside(self, points: Iterable[Point]) -> list[Ask]:
        prices = {point: self.allowance.price(point) for point in points}
        return self._asks(side_by_side(self.measured, prices, self.allowance.left).items())

    def _effects(self) -> Effects:
        points = self.measured.points
        return Effects(self.features, points, self.measured.tables(), self.measured.weights)

    def _ranked(self, effects: Effects) -> list[Point]:
        """The points that were measured, the best first."""
        means = effects.means()
        places = sorted(range(len(means)), key=lambda n: -means[n])
        return [self.measured.points[n] for n in places]

    def _leader(self) -> Point:
        """At the end: the best, or if only harmful groupings are better, one for fresh pairs."""
        start = self.space.start
        if not self.measured.points:
            return start
        ranked = self._ranked(self._effects())
        best = self._best_in(ranked)
        better = ranked[: ranked.index(best)] if best == start else []
        return next(iter(self._gated(better)), best)

    def _best_in(self, ranked: Sequence[Point]) -> Point:
        return next(point for point in ranked if point not in self.dropped)

    def _gated(self, points: Sequence[Point]) -> dict[Point, tuple[str, ...]]:
        """Who suffers from which grouping, by all that was measured so far."""
        margin, alpha = self.options.margin, self.options.behind
        return harmful(self.measured, points, self.space.start, margin, alpha)

    def _promoted(self, ranked: Sequence[Point]) -> list[tuple[Point, int]]:
        """Who goes on to more items, and to how many; as many as a wave has room for."""
        levels = math.ceil(math.log2(len(self.order) / self.block)) + 1
        found = promoted(
            self.measured,
            ranked,
            self.dropped,
            self.space.start,
            sizes=[min(self.block << level, len(self.order)) for level in range(levels)],
            share=self.options.promote,
        )
        return list(found.items())[: self.options.wave]

    def _new(self, effects: Effects, number: int) -> list[Point]:
        """New points: the one believed best, then those best by a draw of the effects."""
        found: dict[Point, None] = {}
        starts = dict.fromkeys((self.leader, self.space.start))
        for attempt in range(3 * number):
            if len(found) == number:
                break
            if not self.options.propose:
                point = self.space.draw(self.rng)
            else:
                drawn = effects.draw(self.rng) if attempt else effects.expected()
                point = best_point(self.features, drawn, starts)
            if not self.measured.items(point):
                found[point] = None
        return list(found)

    def _prune(self, leader: Point) -> Generator[list[Ask], list[Evaluation], Point]:
        """The leader without the demonstrations that it can do without."""
        if not self.allowance.pruning:
            return leader
        self.allowance.pruning = 0
        effects, upto = self._effects(), self._measure_upto
        self.pruned = yield from prune(self.space, self.measured, leader, effects, upto)
        return self.pruned.after

    def _measure_upto(
        self, point: Point, number: int
    ) -> Generator[list[Ask], list[Evaluation], bool]:
        """Measure a point on so many of the first items, if there are calls for it."""
        yield from self._measure(self._asks([(point, number)]))
        return self.measured.items(point) >= number

    # --- the end --------------------------------------------------------------------------------

    def _confirm(
        self, candidate: Point
    ) -> Generator[list[Ask], list[Evaluation], tuple[Confirmation | None, str]]:
        """The candidate and the baseline on fresh pairs, as many as the rest of the calls buys.

        If the budget ends before, those count that are whole. Which these are depends on what the
        two of a pair cost together, not on which of them did: if they are equally good up to
        chance, each difference still has either sign alike, and the error is what it was.
        """
        start, paid = self.space.start, self.allowance
        pair = self.space.calls(start) + self.space.calls(candidate)
        number = pairs_within(paid.rest, pair, extra=paid.extra, seen=paid.planned)
        items, ended = tuple(self.fresh[:number]), ""
        if candidate == start or not items:
            return None, ""
        found = yield [Ask(start, items), Ask(candidate, items)]
        self.measured.add(found)
        if sum(len(one.items) for one in found) < 2 * len(items):
            ended = "the budget was spent in the middle of the confirmation"
        scores, others = self.measured.pairs(candidate, start, items)
        if not scores:
            return None, ended
        alpha, seed, tasks = self.options.alpha, self.options.seed, task_gains(*found)
        return confirm(scores, others, alpha=alpha, seed=seed, tasks=tasks), ended

    def _found(self, candidate: Point, confirmation: Confirmation | None, ended: str) -> Found:
        """What came of it, by all that was measured, the fresh pairs included.

        Args:
            candidate: What seemed best.
            confirmation: What fresh pairs say of it.
            ended: Why it ended before its time; empty: it did not.
        """
        start = self.space.start
        effects = self._effects() if self.measured.points else None
        tried = Tried.those(self._ranked(effects), effects, self.measured) if effects else ()
        own = (known := {one.point: one for one in tried}).get(candidate)
        losing = self._gated([candidate]).get(candidate, ()) if effects else ()
        end = settled(candidate == start, own, confirmation, self.options, losing)
        return Found(
            best=candidate if end.better else start,
            candidate=candidate,
            baseline=start,
            verdict="gain" if end.better else "baseline",
            reason=f"{end.reason}; {ended}" if ended else end.reason,
            losing=end.losing,
            confirmation=confirmation,
            worth=own.worth if own else Worth(0.0, math.inf),
            options=self.options,
            pruned=self.pruned,
            calls=self.measured.calls,
            tried=tuple(known.values()),
            effects=effects.told() if effects else (),
            curve=tuple(self.curve),
        )
