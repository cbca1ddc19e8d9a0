"""How to search, what is asked for, and what a search came to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from mtiprompt.errors import DataError
from mtiprompt.optimizer.confirm import FLIPS, Confirmation
from mtiprompt.optimizer.effects import Effect, Effects, Worth
from mtiprompt.optimizer.measured import Measured
from mtiprompt.optimizer.point import Point
from mtiprompt.optimizer.prune import Pruned
from mtiprompt.planner.choose import MARGIN
from mtiprompt.planner.rules import Rule


class Ask(NamedTuple):
    """What is to be measured.

    Attributes:
        point: The point.
        items: The numbers of the items.
    """

    point: Point
    items: tuple[int, ...]


@dataclass(frozen=True)
class Options:
    """How to search.

    Attributes:
        reserve: The part of the calls that is kept for the confirmation.
        rule: What a point must show to be returned in place of the baseline. `guarantee`: a gain on
            fresh pairs; `expected`: a gain that is probable by the model and all that was measured,
            which promises nothing.
        alpha: Under `guarantee`, with what probability a point may be returned that is no better.
        p: Under `expected`, the probability of a gain that suffices; above 0.5.
        margin: How much each task may lose: a point is not returned, whatever it gains, if a task
            loses more by the whole interval of its fresh pairs, or under `expected` with a
            probability of `p`. A point in which other tasks share a call goes no further
            once the planner's gate rejects it. None: tasks may lose what they like.
        block: Items that every point is measured on.
        first: The part of the calls of the search that goes to starts and random points, before
            the model proposes.
        promote: The part of the points measured on as many items that goes on to twice as many. The
            model learns more from a new point than from an old one, so it is small.
        final: The part of the calls of the search that is kept for the best points and the best of
            each way of choosing demonstrations alone, if there are several ways.
        wave: Points measured between two fits of the model.
        propose: Whether the model proposes; without it further points are random.
        prune: The part of the calls that is kept for dropping demonstrations that the best point
            can do without; 0: none is dropped.
        behind: With what probability a point as good as the leader may be dropped at a look, and a
            grouping by the gate, for a task that loses no more than the margin, at all looks.
        weights: By task, how much its score counts; others count 1. They are made to sum to 1.
        shown: Points of which is told while the search goes on.
        seed: Of all that is random.
    """

    reserve: float = 0.25
    rule: Rule = "guarantee"
    alpha: float = 0.05
    p: float = 0.9
    margin: float | None = MARGIN
    block: int = 4
    first: float = 0.25
    promote: float = 0.125
    final: float = 0.4
    wave: int = 8
    propose: bool = True
    prune: float = 0.0
    behind: float = 0.05
    weights: Mapping[str, float] = field(default_factory=dict)
    shown: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("reserve", "first", "promote", "final", "prune", "margin"):
            value = getattr(self, name)
            if name == "margin" and value is None:
                continue
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise DataError(f"{name} is {value!r:.80}", hint="0 or more, below 1")
        for name, low in (("alpha", 0), ("p", 0.5), ("behind", 0)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not low < value < 1:
                raise DataError(f"{name} is {value!r:.80}", hint=f"above {low}, below 1")
        if self.rule == "guarantee" and self.alpha < 1 / (1 + FLIPS):
            least = 1 / (1 + FLIPS)
            raise DataError(f"alpha is {self.alpha!r}", hint=f"{least:g} or more, as p-values are")
        if self.rule not in get_args(Rule):
            raise DataError(
                f"rule is {self.rule!r:.80}", hint=f"one of {', '.join(get_args(Rule))}"
            )
        if self.block < 2 or self.wave < 1:
            raise DataError("a block has 2 items or more, a wave 1 point or more")

    def pairs(self, calls: float, pair: int) -> int:
        """Fresh pairs that the reserve of so many calls buys.

        Args:
            calls: The calls.
            pair: Calls that a pair takes.
        """
        return math.ceil(self.reserve * calls / pair)

    def can_show(self, pairs: int) -> bool:
        """Whether so many fresh pairs can show a gain at all, however large it is.

        With n pairs the p-value is at least 2^-n: all signs alike.
        """
        return self.rule == "expected" or 0.5**pairs <= self.alpha


class TaskTried(NamedTuple):
    """A task of a point that was measured.

    Attributes:
        score: Its mean score on the items of the point, which are not the same for all points.
        worth: What the point is believed to be worth to it beside the baseline, by the model.
    """

    score: float
    worth: Worth


class Tried(NamedTuple):
    """A point that was measured.

    Attributes:
        point: The point.
        items: How many items it was measured on.
        calls: Calls that an item takes, without repairs.
        score: Its mean weighted score there.
        worth: What it is believed to be worth beside the baseline.
        tasks: The same task by task.
    """

    point: Point
    items: int
    calls: int
    score: float
    worth: Worth
    tasks: Mapping[str, TaskTried]

    @staticmethod
    def those(ranked: Iterable[Point], effects: Effects, measured: Measured) -> Iterator[Tried]:
        """What is known of points, in their order."""
        space = effects.features.space
        for one in ranked:
            scores, by_task = measured.task_means(one), effects.by_task(one, space.start)
            yield Tried(
                one,
                measured.items(one),
                space.calls(one),
                measured.mean(one),
                effects.worth(one, space.start),
                {name: TaskTried(scores[name], worth) for name, worth in by_task.items()},
            )

    def beats(self, other: Tried, cost: Callable[[Point], float]) -> bool:
        """Whether it is worth no less to any task, costs no more, and is better in one of these."""
        more = [self.tasks[name].worth.gain - one.worth.gain for name, one in other.tasks.items()]
        more.append(cost(other.point) - cost(self.point))
        return min(more) >= 0 and max(more) > 0


def front_of(tried: Sequence[Tried], cost: Callable[[Point], float]) -> tuple[Tried, ...]:
    """The points that no other beats in every task and in cost; the cheapest first.

    Args:
        tried: The points to choose from.
        cost: What an item costs at a point.
    """
    kept = [one for one in tried if not any(other.beats(one, cost) for other in tried)]
    return tuple(sorted(kept, key=lambda one: (cost(one.point), -one.worth.gain)))


def weighted_front(front: Iterable[Tried]) -> tuple[Tried, ...]:
    """Those of a front that are worth more, all tasks weighted, than all that are cheaper."""
    kept: list[Tried] = []
    for one in front:
        if not kept or one.worth.gain > kept[-1].worth.gain:
            kept.append(one)
    return tuple(kept)


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        best: The point to use: the candidate, or the baseline.
        candidate: The point that seemed best.
        baseline: The point to improve on.
        verdict: `gain`: the candidate showed what the rule asks for; else `baseline`.
        reason: Why, in a line.
        losing: The tasks that lose more than the margin and for which alone a candidate that shows
            what the rule asks for was not taken.
        confirmation: What the fresh pairs say; None: there were none.
        worth: What the candidate is believed to be worth beside the baseline, by the model and all
            that was measured.
        options: How it was searched, and by which rule it was settled.
        pruned: What was dropped from the point that the search ended with; None: nothing was tried.
        calls: Calls that were made, those that a cache answered and those that failed included.
        tried: Every point that was measured, the best first.
        effects: What each feature does to each task.
        curve: Of the search, calls made and what the leader was then believed to gain.
    """

    best: Point
    candidate: Point
    baseline: Point
    verdict: Literal["gain", "baseline"]
    reason: str
    losing: tuple[str, ...]
    confirmation: Confirmation | None
    worth: Worth
    options: Options
    pruned: Pruned | None
    calls: int
    tried: tuple[Tried, ...]
    effects: tuple[Effect, ...]
    curve: tuple[tuple[int, float], ...]


def too_few(calls: int, ahead: int, items: int, *, rows: bool) -> DataError:
    """The refusal of a search that has not enough to begin.

    Args:
        calls: Calls that it has.
        ahead: Calls that are made before it.
        items: Items that it has.
        rows: Whether it is items that lack, however many calls there are.
    """
    given = f"{calls} calls"
    if ahead:
        given = f"{ahead + calls} calls, of which {ahead} are for bootstrapping,"
    hint = "give more, or in Python a smaller reserve="
    if rows:
        hint = "give more rows of dev; of those with the same inputs one counts"
    return DataError(f"{given} on {items} items are too few to search", hint=hint)


class Settled(NamedTuple):
    """Whether a candidate is to be returned.

    Attributes:
        better: Whether it is.
        reason: Why, in a line.
        losing: The tasks that lose too much, if it would be returned but for them.
    """

    better: bool
    reason: str
    losing: tuple[str, ...] = ()


def settled(
    same: bool,
    candidate: Tried | None,
    confirmation: Confirmation | None,
    options: Options,
    rejected: Iterable[str] = (),
) -> Settled:
    """Whether the candidate is to be returned, and why.

    Args:
        same: Whether it is the baseline.
        candidate: What is known of it; None: nothing was measured.
        confirmation: What fresh pairs say of it.
        options: The rule, and what it allows.
        rejected: The tasks that the planner's gate rejects with it, by all that was measured.
    """
    if candidate is None:
        return Settled(False, "nothing was measured")
    if same:
        return Settled(False, "nothing that was tried seemed better than the baseline")
    better, reason = _gaining(confirmation, candidate.worth, options)
    sure = {
        name: f"{name} surely loses more than {options.margin:g} by all that was measured"
        for name in rejected
    }
    losing = sure | _losing(confirmation, candidate.tasks, options) if better else {}
    if losing:
        reason = f"{reason}; but {', '.join(losing.values())}"
    return Settled(better and not losing, reason, tuple(losing))


def _gaining(confirmation: Confirmation | None, worth: Worth, options: Options) -> tuple[bool, str]:
    """Whether the candidate shows the gain that the rule asks for, and by what."""
    if options.rule == "expected":
        better = worth.probability >= options.p
        told = f"a gain has probability {worth.probability:.2f}"
        passed = f"{'at least' if better else 'below'} {options.p:g}"
        fresh = "" if confirmation is None else f"; {confirmation}"
        return better, f"{told}, {passed}{fresh}"
    if confirmation is None:
        return False, "no calls or items were left to confirm the candidate"
    passed = "at most" if confirmation.better else "above"
    few = "" if options.can_show(confirmation.gain.n) else ", as with so few pairs it must be"
    return confirmation.better, f"{confirmation}, {passed} {options.alpha:g}{few}"


def _losing(
    confirmation: Confirmation | None, tasks: Mapping[str, TaskTried], options: Options
) -> dict[str, str]:
    """The tasks that lose more than the margin, as surely as the rule asks for, each in words."""
    margin, told = options.margin, dict[str, str]()
    if margin is None:
        return told
    if options.rule == "expected":
        for name, one in tasks.items():
            if (chance := 1 - one.worth.above(-margin)) >= options.p:
                told[name] = (
                    f"that {name} loses more than {margin:g} has probability {chance:.2f}, "
                    f"at least {options.p:g}"
                )
    elif confirmation is not None:
        for name in confirmation.losing(margin):
            gain = confirmation.tasks[name].gain
            low, high = (-end for end in reversed(gain.interval))
            told[name] = f"{name} loses {-gain:.3f} [{low:.3f}, {high:.3f}], above {margin:g}"
    return told
