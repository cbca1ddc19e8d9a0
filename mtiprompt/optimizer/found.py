"""How to search, what is asked for, and what a search came to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from mtiprompt.errors import DataError
from mtiprompt.optimizer.confirm import Confirmation
from mtiprompt.optimizer.effects import Effect, Worth
from mtiprompt.optimizer.point import Point
from mtiprompt.optimizer.prune import Pruned
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
        block: Items that every point is measured on.
        first: The part of the calls of the search that goes to starts and random points, before
            the model proposes.
        promote: The part of the points measured on as many items that goes on to twice as many. The
            model learns more from a new point than from an old one, so it is small.
        wave: Points measured between two fits of the model.
        propose: Whether the model proposes; without it further points are random.
        prune: The part of the calls that is kept for dropping demonstrations that the best point
            can do without; 0: none is dropped.
        behind: With what probability a point as good as the leader may be dropped at a look.
        weights: By task, how much its score counts; others count 1. They are made to sum to 1.
        shown: Points of which is told while the search goes on.
        seed: Of all that is random.
    """

    reserve: float = 0.25
    rule: Rule = "guarantee"
    alpha: float = 0.05
    p: float = 0.9
    block: int = 4
    first: float = 0.25
    promote: float = 0.125
    wave: int = 8
    propose: bool = True
    prune: float = 0.0
    behind: float = 0.05
    weights: Mapping[str, float] = field(default_factory=dict)
    shown: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("reserve", "first", "promote", "prune"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise DataError(f"{name} is {value!r:.80}", hint="0 or more, below 1")
        for name, low in (("alpha", 0), ("p", 0.5), ("behind", 0)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not low < value < 1:
                raise DataError(f"{name} is {value!r:.80}", hint=f"above {low}, below 1")
        if self.rule not in get_args(Rule):
            raise DataError(
                f"rule is {self.rule!r:.80}", hint=f"one of {', '.join(get_args(Rule))}"
            )
        if self.block < 2 or self.wave < 1:
            raise DataError("a block has 2 items or more, a wave 1 point or more")


class Tried(NamedTuple):
    """A point that was measured.

    Attributes:
        point: The point.
        items: How many items it was measured on.
        calls: Calls that an item takes, without repairs.
        score: Its mean weighted score there.
        worth: What it is believed to be worth beside the baseline.
    """

    point: Point
    items: int
    calls: int
    score: float
    worth: Worth


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        best: The point to use: the candidate, or the baseline.
        candidate: The point that seemed best.
        baseline: The point to improve on.
        verdict: `gain`: the candidate showed what the rule asks for; else `baseline`.
        reason: Why, in a line.
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
    confirmation: Confirmation | None
    worth: Worth
    options: Options
    pruned: Pruned | None
    calls: int
    tried: tuple[Tried, ...]
    effects: tuple[Effect, ...]
    curve: tuple[tuple[int, float], ...]

    @property
    def front(self) -> tuple[Tried, ...]:
        """The points with which no other is at least level, by worth and by calls an item takes.

        They are in the order of their calls, the fewest first; each is believed to be worth more
        than those before it.
        """
        kept: list[Tried] = []
        for one in sorted(self.tried, key=lambda one: (one.calls, -one.worth.gain)):
            if not kept or one.worth.gain > kept[-1].worth.gain:
                kept.append(one)
        return tuple(kept)


def too_few(calls: int, ahead: int, items: int) -> DataError:
    """The refusal of a search that has not enough to begin.

    Args:
        calls: Calls that it has.
        ahead: Calls that are made before it.
        items: Items that it has.
    """
    given = f"{calls} calls"
    if ahead:
        given = f"{ahead + calls} calls, of which {ahead} are for bootstrapping,"
    return DataError(
        f"{given} on {items} items are too few to search", hint="give more, or a smaller reserve"
    )


def settled(
    same: bool, confirmation: Confirmation | None, worth: Worth, options: Options
) -> tuple[bool, str]:
    """Whether the candidate is to be returned, and why, in a line.

    Args:
        same: Whether the candidate is the baseline.
        confirmation: What fresh pairs say of it.
        worth: What it is believed to be worth; infinitely unsure: nothing was measured.
        options: The rule, and what it allows.
    """
    if worth.sd == math.inf:
        return False, "nothing was measured"
    if same:
        return False, "nothing that was tried seemed better than the baseline"
    if options.rule == "expected":
        better = worth.probability >= options.p
        told = f"a gain has probability {worth.probability:.2f}"
        passed = f"{'at least' if better else 'below'} {options.p:g}"
        fresh = "" if confirmation is None else f"; {confirmation}"
        return better, f"{told}, {passed}{fresh}"
    if confirmation is None:
        return False, "no calls or items were left to confirm the candidate"
    passed = "at most" if confirmation.better else "above"
    return confirmation.better, f"{confirmation}, {passed} {options.alpha:g}"
