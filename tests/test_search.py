"""The search finds what is there, stays within its calls, and does not believe in luck."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import mtiprompt as mti
from mtiprompt.errors import BudgetExceeded, DataError
from mtiprompt.optimizer.confirm import confirm, pairs_within, task_gains
from mtiprompt.optimizer.demos import make_pool
from mtiprompt.optimizer.effects import Effects, Worth
from mtiprompt.optimizer.features import Features
from mtiprompt.optimizer.found import (
    Ask,
    Found,
    Options,
    TaskTried,
    Tried,
    front_of,
    settled,
    weighted_front,
)
from mtiprompt.optimizer.measured import Evaluation, Measured
from mtiprompt.optimizer.measuring import ABREAST
from mtiprompt.optimizer.point import Point
from mtiprompt.optimizer.propose import best_point
from mtiprompt.optimizer.race import behind, finalists, harmful, promoted, side_by_side
from mtiprompt.optimizer.search import Search, search, steps
from mtiprompt.optimizer.space import Space

TASKS = ("a", "b")


def space(demos: int = 8, **options: Any) -> Space:
    """Two tasks in a call, and some demonstrations."""
    program = mti.combine(*(f"text -> {name}" for name in TASKS))
    gold = dict.fromkeys(TASKS, "x")
    rows = [mti.Row(f"r{n}", {"text": str(n)}, gold) for n in range(demos)]
    return Space(program, make_pool(program, rows), mti.Plan.fused(program), **options)


class Truth:
    """A metric of which it is known what is good: the demonstrations r0 and r1, and b before a.

    Args:
        gain: What each of them adds to the chance that a task is right.
    """

    def __init__(self, gain: float, base: float = 0.4) -> None:
        self.gain, self.base, self.paid = gain, base, 0
        self.asked: list[Ask] = []

    def chance(self, point: Point) -> float:
        """The chance of a right answer."""
        good = len({"r0", "r1"} & set(point.demos)) + (point.groups[0] == ("b", "a"))
        return self.base + self.gain * good

    def __call__(self, point: Point, items: Sequence[int]) -> Evaluation:
        """Scores of 0 and 1; an item has the same luck with every point, up to some noise."""
        self.asked.append(Ask(point, tuple(items)))
        scores = {}
        for n, name in enumerate(TASKS):
            own = np.random.default_rng([n, zlib.crc32(point.to_json().encode())]).random(500)
            luck = (np.random.default_rng(n).random(500) + 0.2 * own) / 1.2
            scores[name] = tuple(float(luck[item] < self.chance(point)) for item in items)
        calls = len(items) * len(point.groups)
        self.paid += calls
        return Evaluation(point, tuple(items), scores, calls)


def test_finds_what_is_good_and_confirms_it() -> None:
    """Both good demonstrations and the good order are found, and fresh pairs confirm the gain."""
    truth = Truth(0.15)
    found = search(space(), truth, items=200, calls=500, options=Options(seed=1))
    assert found.verdict == "gain"
    assert truth.chance(found.best) >= 0.7
    assert found.confirmation is not None
    assert found.confirmation.gain.interval.low > 0
    assert found.worth.probability > 0.99
    assert found.worth.gain == pytest.approx(truth.chance(found.best) - 0.4, abs=0.2)
    assert found.candidate in [one.point for one in found.tried]
    assert found.curve[0][1] < found.curve[-1][1]


def test_confirmation_is_on_items_that_no_choice_has_seen() -> None:
    """The last two measurements are on the same items, and no earlier one is on any of them."""
    truth = Truth(0.15)
    found = search(space(), truth, items=120, calls=400)
    *before, base, candidate = truth.asked
    assert (base.point, candidate.point) == (found.baseline, found.candidate)
    assert base.items == candidate.items
    assert not set(base.items) & {item for ask in before for item in ask.items}
    assert found.confirmation is not None
    assert found.confirmation.gain.n == len(base.items) == 50  # a quarter of 400, for two


def test_what_is_probable_may_be_taken_where_it_is_not_shown() -> None:
    """Both rules search alike; `expected` returns the candidate by its probability alone."""
    found = [
        search(space(), Truth(0.03), items=90, calls=90, options=Options(seed=2, **rule))
        for rule in ({}, {"rule": "expected"}, {"rule": "expected", "p": 0.99})
    ]
    assert len({one.candidate for one in found}) == len({one.worth for one in found}) == 1
    assert 0.9 <= found[0].worth.probability < 0.99
    assert found[0].confirmation is not None
    assert not found[0].confirmation.better
    assert [one.verdict for one in found] == ["baseline", "gain", "baseline"]
    assert found[1].best == found[1].candidate
    told = f"a gain has probability {found[0].worth.probability:.2f}, "
    assert f"{told}at least 0.9; " in found[1].reason
    assert f"{told}below 0.99; " in found[2].reason


@given(
    st.integers(60, 400), st.integers(8, 150), st.integers(0, 99), st.sampled_from([0.0, 0.25, 0.5])
)
@settings(max_examples=15)
def test_never_more_calls_than_allowed(calls: int, items: int, seed: int, reserve: float) -> None:
    """However it goes, the budget is not exceeded and no item is asked for twice of a point."""
    truth = Truth(0.1)
    here = space(5, vary=frozenset({"demos", "order", "grouping"}))
    options = Options(seed=seed, reserve=reserve)
    found = search(here, truth, items=items, calls=calls, options=options)
    assert truth.paid == found.calls <= calls
    pairs = [(ask.point, item) for ask in truth.asked for item in ask.items]
    assert len(set(pairs)) == len(pairs)
    assert found.baseline == here.start


def test_same_seed_same_search() -> None:
    """All that happens follows from the seed and the scores; another seed asks for others."""
    runs = []
    for seed in (3, 3, 4):
        truth = Truth(0.1)
        runs.append(
            (search(space(), truth, items=90, calls=250, options=Options(seed=seed)), truth)
        )
    assert runs[0][0] == runs[1][0]
    assert runs[0][1].asked == runs[1][1].asked != runs[2][1].asked


@pytest.mark.parametrize("done", [0, 1, 7, 30, 10_000])
def test_goes_on_where_an_earlier_search_ended(done: int) -> None:
    """With the log of a killed search the result is the same, and nothing is paid twice."""
    first = Truth(0.1)
    log: list[Evaluation] = []

    def logged(point: Point, items: Sequence[int]) -> Evaluation:
        log.append(first(point, items))
        return log[-1]

    whole = search(space(), logged, items=90, calls=250)
    again = Truth(0.1)
    resumed = search(space(), again, items=90, calls=250, seen=log[:done])
    assert resumed == whole
    assert again.asked == first.asked[done:]


def test_a_spent_budget_ends_with_the_baseline() -> None:
    """When the model's own budget ends early, what is known is told and the baseline returned."""
    truth = Truth(0.15)

    def limited(point: Point, items: Sequence[int]) -> Evaluation:
        if truth.paid > 100:
            raise BudgetExceeded("the dollars are spent")
        return truth(point, items)

    found = search(space(), limited, items=90, calls=400)
    assert found.best == found.baseline != found.candidate
    assert found.confirmation is None
    assert found.calls == truth.paid  # what came of the wave that was cut off is kept
    assert "the budget was spent" in found.reason
    nothing = search(space(), _spent, items=90, calls=400)
    assert (nothing.best, nothing.tried, nothing.calls) == (nothing.baseline, (), 0)


def test_what_is_probable_is_taken_though_the_budget_ended() -> None:
    """Under `expected` no confirmation is needed, so that the end of the budget is no reason."""
    truth = Truth(0.15)

    def limited(point: Point, items: Sequence[int]) -> Evaluation:
        if truth.paid > 200:
            raise BudgetExceeded("the dollars are spent")
        return truth(point, items)

    found = search(space(), limited, items=90, calls=400, options=Options(rule="expected"))
    assert found.confirmation is None
    assert found.worth.probability >= 0.9
    assert (found.verdict, found.best) == ("gain", found.candidate)
    assert "the budget was spent" in found.reason


@pytest.mark.parametrize(("base", "candidate", "pairs"), [(16, 11, 11), (50, 50, 50), (8, 0, 0)])
def test_pairs_that_are_whole_when_the_budget_ends_count(
    base: int, candidate: int, pairs: int
) -> None:
    """What was paid of the confirmation is its evidence; with none it is the baseline."""
    truth, going = Truth(0.2), steps(space(), items=120, calls=400)
    wave = next(going)
    try:
        while len(wave[0].items) < 50:
            wave = going.send([truth(*ask) for ask in wave])
        cut = zip(wave, (base, candidate), strict=True)
        going.send([truth(ask.point, ask.items[:n]) for ask, n in cut if n])
    except StopIteration as end:
        found: Found = end.value
    assert ("the budget was spent" in found.reason) == (pairs < 50)
    if not pairs:
        assert (found.confirmation, found.verdict) == (None, "baseline")
        return
    assert found.confirmation is not None
    assert found.confirmation.gain.n == pairs
    assert found.verdict == "gain"


def _spent(point: Point, items: Sequence[int]) -> Evaluation:
    raise BudgetExceeded("nothing is left")


def test_repairs_count() -> None:
    """Where calls are repaired, fewer fit, and the rate is learned: the budget still holds."""
    plain, dear = Truth(0.1), Truth(0.1)

    def repaired(point: Point, items: Sequence[int]) -> Evaluation:
        one = dear(point, items)
        dear.paid += one.calls // 2
        return Evaluation(one.point, one.items, one.scores, one.calls + one.calls // 2)

    search(space(), plain, items=90, calls=250)
    found = search(space(), repaired, items=90, calls=250)
    assert dear.paid == found.calls <= 250
    assert len(dear.asked) < len(plain.asked)
    assert found.confirmation is not None


@pytest.mark.parametrize("vary", ["order", "demos"])
def test_scores_that_turn_round(vary: Any) -> None:
    """Where a baseline that seemed far behind is ahead on all later items it is there to return."""
    here = space(2, vary=frozenset({vary}), most=1)
    early = {int(one) for one in np.random.default_rng(0).permutation(300)[50:58]}

    def evaluate(point: Point, items: Sequence[int]) -> Evaluation:
        is_base = point == here.start
        scores = tuple(float((item in early) != is_base) for item in items)
        return Evaluation(point, tuple(items), dict.fromkeys(TASKS, scores), len(items))

    found = search(here, evaluate, items=300, calls=400)
    assert found.best == found.candidate == found.baseline
    assert found.curve[0][1] > 0.9 > found.curve[-1][1] == 0


def test_noise_gives_the_baseline_back() -> None:
    """With a metric that is pure noise nearly every search returns what it was given."""
    kept = 0
    for seed in range(40):
        rng = np.random.default_rng([seed, 5])
        found = _noisy(seed, rng)
        kept += found.best == found.baseline
    assert kept >= 35  # with a probability of 0.95 each, fewer come with one of 1,400


def _noisy(seed: int, rng: np.random.Generator) -> Found:
    def noise(point: Point, items: Sequence[int]) -> Evaluation:
        scores = {name: tuple(map(float, rng.integers(0, 2, len(items)))) for name in TASKS}
        return Evaluation(point, tuple(items), scores, len(items))

    return search(space(4), noise, items=60, calls=150, options=Options(seed=seed))


def test_a_space_of_one_point() -> None:
    """Where nothing can be varied the baseline comes back, without a call too many."""
    truth = Truth(0.1)
    here = space(0, vary=frozenset({"demos"}))
    found = search(here, truth, items=50, calls=200)
    assert (found.best, found.candidate) == (here.start, here.start)
    assert "nothing that was tried" in found.reason
    assert truth.paid <= 50


def test_steps_ask_in_waves() -> None:
    """The generator asks for many measurements at once, so that they can run side by side."""
    going, truth = steps(space(), items=90, calls=300), Truth(0.1)
    wave, sizes = next(going), list[int]()
    while wave:
        sizes.append(len(wave))
        try:
            wave = going.send([truth(*ask) for ask in wave])
        except StopIteration as end:
            wave, found = [], end.value
    assert found == search(space(), Truth(0.1), items=90, calls=300)
    assert sizes[0] == 1
    assert max(sizes) >= 8


@pytest.mark.parametrize(
    "wrong",
    [
        {"calls": 3},
        {"items": 1},
        {"options": {"reserve": 1.0}},
        {"options": {"alpha": 0.0}},
        {"options": {"p": 0.5}},
        {"options": {"p": "much"}},
        {"options": {"rule": "hope"}},
        {"options": {"margin": -0.01}},
        {"options": {"margin": 1}},
        {"options": {"margin": "much"}},
        {"options": {"block": 1}},
        {"options": {"weights": {"z": 1.0}}},
        {"options": {"weights": {"a": -1.0}}},
        {"options": {"weights": {"a": 0.0, "b": 0.0}}},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    """Budgets and options out of range are DataErrors before anything is measured."""
    given = {"items": 50, "calls": 100, **wrong}
    with pytest.raises(DataError):
        search(space(), _spent, **{**given, "options": Options(**given.get("options", {}))})


def test_weights_say_which_task_counts() -> None:
    """A task without weight does not decide, however much a point does for it."""
    good = {"r2": "a", "r3": "b"}

    def evaluate(point: Point, items: Sequence[int]) -> Evaluation:
        lifted = {good.get(id) for id in point.demos}
        scores = {
            name: tuple(float(item % 10 < (9 if name in lifted else 3)) for item in items)
            for name in TASKS
        }
        return Evaluation(point, tuple(items), scores, len(items))

    options = Options(weights={"a": 1, "b": 0})
    found = search(space(most=1), evaluate, items=100, calls=300, options=options)
    assert found.best.demos == ("r2",)


def harming(shown: dict[str, float], hidden: dict[str, float]) -> Any:
    """Scores by task: how many of 100 items are right with the demonstration r0, and without it."""

    def evaluate(point: Point, items: Sequence[int]) -> Evaluation:
        chances = shown if "r0" in point.demos else hidden
        scores = {
            name: tuple(float(37 * item % 100 < 100 * chances[name]) for item in items)
            for name in TASKS
        }
        return Evaluation(point, tuple(items), scores, len(items))

    return evaluate


@pytest.mark.parametrize("rule", ["guarantee", "expected"])
def test_a_gain_that_costs_a_task_is_not_taken(rule: Any) -> None:
    """Where all gain on the whole and one task loses for certain, the baseline comes back, and the
    reason names the task and what it loses; the search is the same, and without a margin it is
    taken.
    """
    metric = harming({"a": 0.95, "b": 0.55}, {"a": 0.3, "b": 0.9})
    here = space(2, vary=frozenset({"demos"}), most=1)
    kept, taken, no_loss = (
        search(here, metric, items=200, calls=400, options=Options(rule=rule, margin=margin))
        for margin in (0.05, None, 0.5)
    )
    assert (kept.verdict, kept.best, kept.losing) == ("baseline", kept.baseline, ("b",))
    assert kept.confirmation == taken.confirmation is not None
    assert kept.confirmation is not None
    assert kept.confirmation.better
    assert kept.confirmation.tasks["b"].gain.interval.high < -0.05
    loses = "b loses 0." if rule == "guarantee" else "that b loses more than 0.05 has probability"
    assert f"; but {loses}" in kept.reason
    assert [one.losing for one in (taken, no_loss)] == [(), ()]
    assert taken.best == no_loss.best == kept.candidate
    assert taken.tried == kept.tried


@pytest.mark.parametrize("rule", ["guarantee", "expected"])
def test_a_loss_that_is_small_or_not_sure_is_no_reason(rule: Any) -> None:
    """What may be lost, and what may be chance, keep no gain back."""
    metric = harming({"a": 0.95, "b": 0.87}, {"a": 0.3, "b": 0.9})
    here = space(2, vary=frozenset({"demos"}), most=1)
    found = search(here, metric, items=200, calls=400, options=Options(rule=rule))
    assert (found.verdict, found.losing) == ("gain", ())


WORTHS = st.builds(Worth, st.floats(-1, 1), st.floats(0, 0.5))
LISTS = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=16, max_size=16)


@given(st.lists(LISTS, min_size=4, max_size=4), st.floats(0, 0.3), WORTHS, WORTHS, st.booleans())
def test_a_margin_only_ever_keeps_the_baseline(
    scores: list[list[float]], margin: float, one: Worth, other: Worth, is_sure: bool
) -> None:
    """With it no candidate is returned that would not be without it, so that noise is believed no
    more often; and none of which a task is below the margin by the whole of its interval.
    """
    base, candidate = space().start, Point((("b", "a"),))
    before, after = (
        Evaluation(point, tuple(range(16)), dict(zip(TASKS, map(tuple, pair), strict=True)), 16)
        for point, pair in ((base, scores[:2]), (candidate, scores[2:]))
    )
    tasks = task_gains(before, after)
    shown = confirm(*map(of_items, (after, before)), alpha=0.2 if is_sure else 0.9, tasks=tasks)
    by_task = {"a": TaskTried(0.5, one), "b": TaskTried(0.5, other)}
    whole = Worth((one.gain + other.gain) / 2, (one.sd + other.sd) / 2)
    own = Tried(candidate, 16, 1, 0.5, whole, by_task)
    for rule in ("guarantee", "expected"):
        options: dict[str, Any] = {"rule": rule, "alpha": 0.2, "p": 0.8}
        strict = settled(False, own, shown, Options(margin=margin, **options))
        loose = settled(False, own, shown, Options(margin=None, **options))
        assert strict.better == (loose.better and not strict.losing)
        assert not loose.losing
        if rule == "guarantee" and strict.better:
            assert all(one.gain.interval.high >= -margin for one in tasks.values())
        if rule == "expected" and strict.better:
            assert all(1 - one.above(-margin) < 0.8 for one in (one, other))


def of_items(one: Evaluation) -> list[float]:
    """The mean over tasks, item by item."""
    return [sum(pair) / len(pair) for pair in zip(*one.scores.values(), strict=True)]


def test_what_is_known_of_each_task() -> None:
    """Every point that was measured tells its score and its worth task by task, and the worth of
    all is their weighted mean.
    """
    log: list[Evaluation] = []
    metric = harming({"a": 0.95, "b": 0.55}, {"a": 0.3, "b": 0.9})

    def logged(point: Point, items: Sequence[int]) -> Evaluation:
        log.append(metric(point, items))
        return log[-1]

    found = search(space(3), logged, items=100, calls=300, options=Options(weights={"a": 3}))
    for one in found.tried:
        seen = [each.scores for each in log if each.point == one.point]
        for name, task in one.tasks.items():
            scores = [score for each in seen for score in each[name]]
            assert len(scores) == one.items
            assert task.score == pytest.approx(np.mean(scores))
        assert one.score == pytest.approx(0.75 * one.tasks["a"].score + 0.25 * one.tasks["b"].score)
        gains = {name: task.worth.gain for name, task in one.tasks.items()}
        assert one.worth.gain == pytest.approx(0.75 * gains["a"] + 0.25 * gains["b"])
    base, best = (
        next(one for one in found.tried if one.point == point)
        for point in (found.baseline, found.candidate)
    )
    assert {task.worth for task in base.tasks.values()} == {Worth(0.0, 0.0)}
    assert best.tasks["a"].worth.gain > 0.3 > -0.2 > best.tasks["b"].worth.gain
    assert best.tasks["b"].worth.above(-0.05) < 0.1


def tried(name: str, *gains: float) -> Tried:
    """A point of which it is known what it is worth to each task; all count alike."""
    tasks = {task: TaskTried(0.5, Worth(gain, 0.1)) for task, gain in zip("ab", gains, strict=True)}
    return Tried(Point((("a", "b"),), (name,)), 8, 1, 0.5, Worth(sum(gains) / 2, 0.1), tasks)


def test_the_front_has_what_no_other_beats_in_every_task_and_in_cost() -> None:
    """A point that is best in one task for its cost is on it, and so are two that are level; what
    is also worth more on the whole than all that is cheaper is told apart.
    """
    prices = {"base": 1, "mean": 2, "twin": 2, "a": 2, "beaten": 3, "b": 3, "dear": 4, "worse": 4}
    known = {
        "base": (0.0, 0.0), "mean": (0.2, 0.2), "twin": (0.2, 0.2), "a": (0.3, -0.1),
        "beaten": (0.2, 0.1), "b": (-0.2, 0.4), "dear": (0.3, 0.3), "worse": (0.3, 0.2),
    }  # fmt: skip
    points = [tried(name, *gains) for name, gains in known.items()]
    front = front_of(points, lambda point: prices[point.demos[0]])
    assert [one.point.demos[0] for one in front] == ["base", "mean", "twin", "a", "b", "dear"]
    assert [one.point.demos[0] for one in weighted_front(front)] == ["base", "mean", "dear"]
    for one in points:
        beaten = any(other.beats(one, lambda point: prices[point.demos[0]]) for other in points)
        assert beaten == (one not in front)


def test_the_front_has_what_is_best_for_so_many_calls() -> None:
    """Dearer points are on the weighted front only if they are believed to be worth more."""
    here = space(4, vary=frozenset({"demos", "grouping"}))

    def evaluate(point: Point, items: Sequence[int]) -> Evaluation:
        good = 3 + 3 * (len(point.groups) == 2) + 2 * ("r0" in point.demos)
        scores = tuple(float(item % 10 < good) for item in items)
        return Evaluation(
            point, tuple(items), dict.fromkeys(TASKS, scores), len(items) * len(point.groups)
        )

    found = search(here, evaluate, items=100, calls=300)
    fused, split = weighted_front(front_of(found.tried, here.calls))
    assert (fused.calls, split.calls) == (1, 2)
    assert all("r0" in one.point.demos for one in (fused, split))
    assert fused.worth.gain < split.worth.gain


def shared(point: Point, items: Sequence[int]) -> Evaluation:
    """Scores of three tasks that help each other in a call; only with b does a suffer from it."""
    mates = {name: {*group} - {name} for group in point.groups for name in group}
    chance = {
        "a": 0.3 if "b" in mates["a"] else 0.7,
        "b": 1.0 if "a" in mates["b"] else 0.3 if mates["b"] else 0.1,
        "c": 0.5 if mates["c"] else 0.3,
    }
    scores = {}
    for n, name in enumerate(("a", "b", "c")):
        luck = np.random.default_rng(n).random(500)
        scores[name] = tuple(float(luck[item] < chance[name]) for item in items)
    return Evaluation(point, tuple(items), scores, len(items) * len(point.groups))


def test_a_grouping_that_the_gate_rejects_goes_no_further() -> None:
    """A call of a and b gains more, but a suffers there: b and c share one, unless a may suffer."""
    program = mti.combine(*(f"text -> {name}" for name in ("a", "b", "c")))
    here = Space(
        program, make_pool(program, []), mti.Plan.split(program), vary=frozenset({"grouping"})
    )
    guarded, free = (
        search(here, shared, items=200, calls=900, options=Options(margin=margin))
        for margin in (0.05, None)
    )
    calls = {frozenset(group) for group in guarded.best.groups}
    assert calls == {frozenset("a"), frozenset("bc")}
    assert guarded.verdict == "gain"
    assert any({"a", "b"} <= set(group) for group in free.best.groups)
    assert free.verdict == "gain"
    worst = [
        one for one in guarded.tried if any({"a", "b"} <= set(group) for group in one.point.groups)
    ]
    assert worst
    assert max(one.items for one in worst) <= 32


def test_the_gate_looks_at_groupings_beside_the_baseline_only() -> None:
    """A point is harmful where it shares calls otherwise and a task surely loses more."""
    start = Point(groups=(("a", "b"),))
    apart, turned = Point(groups=(("a",), ("b",))), Point(groups=(("b", "a"),))
    measured = Measured(space().program, {})
    for point, a in ((start, 1.0), (apart, 0.0), (turned, 0.0)):
        scores = {"a": (a,) * 20, "b": (0.5,) * 20}
        measured.add([Evaluation(point, tuple(range(20)), scores, 20)])
    points = measured.points
    assert harmful(measured, points, start, 0.05, 0.05) == {apart: ("a",)}
    assert harmful(measured, points, start, None, 0.05) == {}
    assert harmful(measured, points, apart, 0.05, 0.05) == {}  # there all gain
    assert behind(measured, points, apart, start, 0.9) == set()
    assert behind(measured, points, start, start, 0.9) == {apart, turned}


@given(st.lists(st.integers(0, 30), unique=True, min_size=1), st.integers(0, 31))
def test_differences_are_of_common_items_in_the_order_of_the_point(items: Any, upto: int) -> None:
    """By task, a point's scores less those of another, as its items came."""
    one, other = Point(groups=(("a", "b"),)), Point(groups=(("a",), ("b",)))
    measured = Measured(space().program, {})
    scores = {"a": tuple(item / 60 for item in items), "b": (0.0,) * len(items)}
    measured.add([Evaluation(one, tuple(items), scores, len(items))])
    half = tuple(range(upto))
    measured.add([Evaluation(other, half, dict.fromkeys(TASKS, (0.5,) * upto), upto)])
    both = [item for item in items if item < upto]
    found = measured.differences(one, other)
    assert found["a"] == [item / 60 - 0.5 for item in both]
    assert found["b"] == [-0.5] * len(both)


# --- the parts -------------------------------------------------------------------------------


def test_effects_are_found_with_their_uncertainty() -> None:
    """The model tells the good demonstrations from the others, and says how sure it is."""
    truth, here, rng = Truth(0.15), space(), np.random.default_rng(0)
    measured = Measured(here.program, {})
    points = list(dict.fromkeys(here.draw(rng) for _ in range(40)))
    measured.add(truth(point, range(12)) for point in points)
    effects = Effects(Features(here), measured.points, measured.tables(), measured.weights)
    told = {(one.task, *one.column): one for one in effects.told()}
    for task in TASKS:
        good = [told[task, "demo", id] for id in ("r0", "r1")]
        rest = [told[task, "demo", f"r{n}"] for n in range(2, 8)]
        assert min(one.mean for one in good) > max(one.mean for one in rest)
        assert all(abs(one.mean - 0.15) < 3 * one.sd for one in good)
    drawn = np.array([effects.draw(rng) for _ in range(400)])
    assert np.abs(drawn.mean(axis=0) - effects.expected()).max() < 0.1


def test_a_lucky_point_is_not_believed_at_its_word() -> None:
    """What a point is believed to be worth lies between what it scored and what its parts say."""
    here, rng = space(), np.random.default_rng(1)
    points = list(dict.fromkeys([here.start, *(here.draw(rng) for _ in range(30))]))
    measured = Measured(here.program, {})
    for point in points:
        lucky = point == points[-1]
        scores = {
            name: tuple(map(float, rng.random(8) < (0.9 if lucky else 0.4))) for name in TASKS
        }
        measured.add([Evaluation(point, tuple(range(8)), scores, 8)])
    effects = Effects(Features(here), measured.points, measured.tables(), measured.weights)
    mean = sum(map(measured.mean, points)) / len(points)
    seen = measured.mean(points[-1]) - mean
    believed = effects.means()[-1] - effects.means().mean()
    assert 0 < believed < 0.8 * seen


@pytest.mark.parametrize("tasks", ["apart", "alike"])
def test_what_items_make_of_any_change_is_not_taken_for_a_gain(tasks: str) -> None:
    """Points that are alike on the same few items prove little beside a baseline.

    Also where an item takes to any change for all tasks alike, so that they do not err apart.
    """
    rng, found = np.random.default_rng(0), []
    for _ in range(40):
        common = 0.4 * rng.standard_normal((len(TASKS) if tasks == "apart" else 1, 6))
        effects = _effects_of(common, rng)
        start = effects.features.space.start
        worths = [effects.worth(point, start) for point in effects.points if point.demos]
        found.append(max(worths))
    if tasks == "apart":
        assert np.std([one.gain / one.sd for one in found]) < 1
    assert np.mean([one.probability > 0.9 for one in found]) <= 0.2


def test_tasks_that_go_together_say_as_much_as_one() -> None:
    """Beside the baseline, what items do to all tasks alike has nearly the variance of one task."""
    rng = np.random.default_rng(1)
    found = {}
    for number in (1, len(TASKS)):
        drawn = [0.4 * rng.standard_normal((number, 60)) for _ in range(10)]
        factors = [_effects_of(common, rng).inflation for common in drawn]
        found[number] = np.mean([one.baseline for one in factors])
        assert max(one.changed for one in factors) < 1.5
    assert 0.8 * len(TASKS) < found[1] < len(TASKS)
    assert found[len(TASKS)] < 1.3


def _effects_of(common: NDArray[np.float64], rng: np.random.Generator) -> Effects:
    """The model of a baseline and of 30 points without a gain; what each item does to all these."""
    here = space()
    points = list(dict.fromkeys([here.start, *(here.draw(rng) for _ in range(30))]))
    measured, items = Measured(here.program, {}), common.shape[1]
    for point in points:
        own = 0.5 + 0.1 * rng.standard_normal((len(TASKS), items))
        drawn = np.clip(own + (point != here.start) * common, 0, 1)
        scores = {name: tuple(map(float, row)) for name, row in zip(TASKS, drawn, strict=True)}
        measured.add([Evaluation(point, tuple(range(items)), scores, items)])
    return Effects(Features(here), measured.points, measured.tables(), measured.weights)


def test_the_baseline_is_measured_on_as_many_items_as_any() -> None:
    """What comes of the search is compared with it."""
    truth = Truth(0.1)
    found = search(space(), truth, items=200, calls=300)
    number = {point: 0 for point, _ in truth.asked}
    for point, items in truth.asked:
        if not set(items) & set(truth.asked[-1].items):
            number[point] += len(items)
    assert found.confirmation is not None
    assert number[found.baseline] >= max(number.values()) / 2 > 4


def test_the_best_of_each_way_of_choosing_demonstrations_goes_as_far_as_any() -> None:
    """Few items do not decide between a set and a selection, of which there are few; who is behind
    goes no further, and where nothing is selected there is nothing to compare.
    """
    one = space(shelf=space().pool.demos)
    start, (nearest, coverage) = one.start, one.selected(one.start)
    other = replace(nearest, groups=(("b", "a"),))
    best, second = (replace(start, demos=(id,)) for id in ("r0", "r1"))
    measured = Measured(one.program, {})
    for point, number in [(best, 8), (second, 4), (nearest, 4), (other, 4), (coverage, 4)]:
        scores = dict.fromkeys(TASKS, (0.5,) * number)
        measured.add([Evaluation(point, tuple(range(number)), scores, number)])
    measured.add([Evaluation(start, tuple(range(8)), dict.fromkeys(TASKS, (0.5,) * 8), 8)])

    def wanted(ranked: Sequence[Point], *dropped: Point) -> dict[Point, int]:
        given = {"sizes": (4, 8, 16), "share": 0.125}
        return promoted(measured, ranked, set(dropped), start, **given)  # type: ignore[arg-type]

    ranked = [best, second, other, nearest, coverage, start]
    assert wanted(ranked) == {other: 8, coverage: 8}
    assert wanted(ranked, other, coverage) == {nearest: 8}
    assert wanted(ranked, nearest, other, coverage) == wanted([best, second, start]) == {}
    assert wanted([nearest, second, coverage]) == {}, "as many as any, and nobody has more"


def test_finalists_are_the_best_and_the_best_of_each_way() -> None:
    """The baseline is with them; without several ways there are none."""
    one = space(shelf=space().pool.demos)
    start, (nearest, coverage) = one.start, one.selected(one.start)
    best, second, third = (replace(start, demos=(id,)) for id in ("r0", "r1", "r2"))
    ranked = [best, second, start, third, nearest, replace(nearest, groups=(("b", "a"),)), coverage]
    assert finalists(ranked, {second}, start) == (start, best, third, nearest, coverage)
    assert finalists(ranked[::-1], set(), start)[1] == coverage
    assert finalists([best, second, start], set(), start) == ()
    assert finalists([start, nearest], set(), start) == ()
    assert finalists(ranked, {nearest, ranked[5], coverage}, start) == ()


@given(
    st.lists(
        st.tuples(st.integers(1, 60), st.sampled_from([1.0, 1.5, 3.0])), min_size=1, max_size=5
    ),
    st.floats(0, 200),
)
def test_points_go_on_side_by_side(done: list[tuple[int, float]], left: float) -> None:
    """Nobody more than doubles or passes one ahead, those that lag go first, and calls suffice."""
    one = space(vary=frozenset({"demos"}))
    points = [replace(one.start, demos=(f"r{n}",)) for n in range(len(done))]
    measured, before = Measured(one.program, {}), {}
    for point, (number, _) in zip(points, done, strict=True):
        scores = dict.fromkeys(TASKS, (0.5,) * number)
        measured.add([Evaluation(point, tuple(range(number)), scores, number)])
        before[point] = number
    prices = {point: price for point, (_, price) in zip(points, done, strict=True)}
    goals = side_by_side(measured, prices, left)
    most = max(before.values())
    lagging = {point for point in points if before[point] < most}
    assert set(goals) == (lagging or set(points))
    assert all(before[point] <= goal <= 2 * before[point] for point, goal in goals.items())
    assert all(goal <= most for goal in goals.values()) or not lagging
    assert sum((goal - before[point]) * prices[point] for point, goal in goals.items()) <= left
    enough = side_by_side(measured, prices, 1000.0)
    assert all(goal > before[point] for point, goal in enough.items())


def test_calls_go_to_what_may_still_win_where_nothing_is_new() -> None:
    """Where the baseline leads at first, calls are not left over, nor spent on it alone."""
    program = mti.combine(*(f"text -> {name}" for name in TASKS))
    here = Space(
        program, make_pool(program, []), mti.Plan.fused(program), vary=frozenset({"notation"})
    )
    for seed in range(12):

        def measure(point: Point, items: Sequence[int], seed: int = seed) -> Evaluation:
            own = np.random.default_rng([seed, zlib.crc32(point.to_json().encode())])
            luck = own.random((len(TASKS), 500))
            chance = 0.62 if point.notation == "lines" else 0.5
            scores = {
                name: tuple(float(luck[n, item] < chance) for item in items)
                for n, name in enumerate(TASKS)
            }
            return Evaluation(point, tuple(items), scores, len(items))

        found = search(here, measure, items=500, calls=800, options=Options(seed=seed))
        assert found.calls in {600, 800}, "all, or all but those kept for fresh pairs"
        assert sorted(one.items for one in found.tried)[-2] > 200


class Kinds:
    """Items are of one of ten kinds, and so are demonstrations: those of its kind help an item.

    Sets fit the items of four kinds, and now and then most of the first items; what is chosen by
    the item fits more of them.
    """

    def __init__(self, seed: int) -> None:
        self.kind = np.random.default_rng([7, seed]).integers(10, size=300)
        self.seed, self.asked = seed, list[Ask]()

    def chance(self, point: Point, item: int) -> float:
        """That a task is right."""
        if point.select:
            return 0.5
        return 0.8 if int(self.kind[item]) in {int(id[1:]) % 10 for id in point.demos} else 0.2

    def __call__(self, point: Point, items: Sequence[int]) -> Evaluation:
        """Scores of 0 and 1."""
        self.asked.append(Ask(point, tuple(items)))
        own = [self.seed, zlib.crc32(point.to_json().encode())]
        luck = np.random.default_rng(own).random((len(TASKS), 300))
        right = [[luck[n, i] < self.chance(point, i) for i in items] for n in range(len(TASKS))]
        scores = {name: tuple(map(float, right[n])) for n, name in enumerate(TASKS)}
        return Evaluation(point, tuple(items), scores, len(items))


@pytest.mark.parametrize("final", [0.0, 0.4])
def test_the_last_calls_decide_between_ways_of_choosing_demonstrations(final: float) -> None:
    """With calls kept for it the finalists are measured on many items, and nothing else is."""
    here = space(40, shelf=space(40).pool.demos, vary=frozenset({"demos", "select"}))
    world = Kinds(0)
    found = search(here, world, items=200, calls=400, options=Options(final=final))
    assert found.confirmation is not None
    searched = world.asked[:-2]
    paid = np.cumsum([len(ask.items) for ask in searched])
    late = {ask.point for ask, made in zip(searched, paid, strict=True) if made > 0.7 * paid[-1]}
    number = {ask.point: 0 for ask in searched}
    for ask in searched:
        number[ask.point] += len(ask.items)
    ways = {point.select.way if point.select else None for point in late}
    assert len(ways) == 3
    assert (len(late) < 10) == (min(number[one] for one in late) > 4) == (final > 0)


def test_finalists_are_named_once() -> None:
    """Whose way has lost does not send another of its way, one after the other."""
    here = space(40, shelf=space(40).pool.demos, vary=frozenset({"demos", "select"}))
    world = Kinds(0)
    world.chance = lambda point, item: 0.6 if point.select else 0.3  # type: ignore[method-assign]
    going = Search(here, 200, 400, Options())
    steps, named, late = going.run(), set[tuple[Point, ...]](), list[Point]()
    wave = next(steps)
    with suppress(StopIteration):
        while True:
            if going.finalists and not set(wave[0].items) <= set(going.fresh):
                named.add(going.finalists)
                late += [ask.point for ask in wave]
            wave = steps.send([world(*ask) for ask in wave])
    assert len(named) == 1
    assert set(late) <= set(*named)
    assert len(late) > 5


def test_calls_kept_for_pruning_are_not_lost_where_nothing_can_be_dropped() -> None:
    """The best point selects its demonstrations, so the search goes on with the calls."""
    here = space(40, shelf=space(40).pool.demos, vary=frozenset({"demos", "select"}))
    world = Kinds(0)
    world.chance = lambda point, item: 0.9 if point.select else 0.3  # type: ignore[method-assign]
    found = search(here, world, items=200, calls=400, options=Options(prune=0.2))
    assert found.candidate.select
    assert found.pruned is None
    assert 390 < found.calls <= 400
    truth = Truth(0.15, base=0.3)
    one = space(0, vary=frozenset({"demos", "order"}))
    found = search(one, truth, items=300, calls=400, options=Options(prune=0.2))
    assert (found.pruned, found.candidate.groups) == (None, (("b", "a"),))
    assert found.calls == 400


def test_where_nothing_is_new_the_best_goes_on_step_by_step_beside_the_baseline() -> None:
    """No point has twice its items and more at once, as another may overtake it; the baseline ends
    with as many as any.
    """
    truth = Truth(0.1)
    found = search(space(vary=frozenset({"order"})), truth, items=200, calls=100)
    assert found.confirmation is not None
    number = {point: 0 for point, _ in truth.asked}
    for point, items in truth.asked[:-2]:
        assert len(items) <= max(number[point], Options.block)
        number[point] += len(items)
    assert len(number) == 2
    assert found.baseline != found.candidate
    assert 30 < number[found.candidate] <= number[found.baseline]


def test_features_say_what_a_point_is() -> None:
    """Demonstrations, their number, the place of a task and the one before it have columns."""
    here = space(3, most=2, vary=frozenset({"demos", "order", "grouping"}))
    features = Features(here)
    rows = features.of(Point((("b", "a"),), demos=("r2", "r0")))
    named = [{features.columns[n]: value for n, value in enumerate(row) if value} for row in rows]
    shown = {
        ("demo", "r0"): 1.0,
        ("demo", "r2"): 1.0,
        ("number", "any"): 1.0,
        ("number", "more"): 1.0,
    }
    both = {("level", ""): 1.0, ("size", ""): 1.0, **shown}
    assert named[0] == {**both, ("place", "1"): 1.0, ("after", "b"): 1.0, ("with", "b"): 1.0}
    assert named[1] == {**both, ("place", "0"): 1.0, ("with", "a"): 1.0}


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=40))
def test_confirming_a_point_against_itself(scores: list[float]) -> None:
    """Without any difference there is no gain."""
    found = confirm(scores, scores, alpha=0.05)
    assert (found.better, found.p_value, found.gain) == (False, 1.0, 0.0)


@pytest.mark.parametrize("ties", [0, 30])
@pytest.mark.parametrize("number", [4, 5, 12])
def test_p_values_are_those_of_the_exact_test(number: int, ties: int) -> None:
    """Of as many pairs that all are better the p-value is 2 to the minus their number."""
    found = confirm([1.0] * (number + ties), [0.0] * number + [1.0] * ties, alpha=0.05)
    assert found.p_value == pytest.approx(0.5**number, rel=0.3, abs=2e-4)
    assert found.better == (number > 4)


def test_error_of_the_confirmation() -> None:
    """Points that are equally good up to chance are called better in 5 of 100 cases at most."""
    rng = np.random.default_rng(0)
    wrong = sum(
        confirm(list(rng.random(25)), list(rng.random(25)), alpha=0.05, seed=n).better
        for n in range(300)
    )
    assert wrong <= 0.05 * 300 + 3 * math.sqrt(0.05 * 0.95 * 300)


def test_error_of_a_confirmation_that_is_cut_off() -> None:
    """It stays where wrong answers take more calls, and so decide where the budget ends."""
    rng, cut, wrong = np.random.default_rng(1), 0, 0
    for n in range(600):
        right = rng.random((2, 32)) < 0.5
        took = np.where(right, 1, 3).reshape(2, -1, ABREAST).transpose(1, 0, 2)
        paid = (took.ravel().cumsum() <= 100).reshape(-1, 2, ABREAST)
        pairs = int(paid.all(axis=1).sum())
        cut += pairs < 32
        base, candidate = right[:, :pairs].astype(float)
        wrong += confirm(list(candidate), list(base), alpha=0.05, seed=n).better
    assert cut > 500
    assert wrong <= 0.05 * 600 + 3 * math.sqrt(0.05 * 0.95 * 600)


@given(st.floats(-5, 500), st.integers(1, 8), st.floats(0, 2), st.integers(0, 500))
def test_pairs_are_bought_with_some_calls_to_spare(
    calls: float, pair: int, extra: float, seen: int
) -> None:
    """All calls buy pairs where none had to be repaired; else fewer, and fewer if less is known."""
    plain = pairs_within(calls, pair, extra=0.0, seen=seen)
    assert plain == max(0, int(calls // pair))
    number = pairs_within(calls, pair, extra=extra, seen=seen)
    assert 0 <= number * pair * (1 + extra) <= max(0.0, calls) + 1e-9
    assert number <= pairs_within(calls, pair, extra=extra, seen=seen + 100) <= plain


@pytest.mark.parametrize("scores", [{"a": (1.0,)}, {"a": (1.0, 2.0)}, {"a": (1.0, math.nan)}])
def test_scores_are_checked(scores: dict[str, tuple[float, ...]]) -> None:
    """Too few scores, or others than from 0 to 1, are refused; so is a missing task."""
    with pytest.raises(DataError, match="the scores of the task 'a'"):
        Evaluation(space().start, (0, 1), scores, 2)
    with pytest.raises(DataError, match="lacks the scores of the task 'b'"):
        Measured(space().program, {}).add([Evaluation(space().start, (0,), {"a": (1.0,)}, 1)])


@pytest.mark.parametrize("turn", [1, -1])
def test_a_proposal_does_not_hang_on_the_order_of_a_set(turn: int) -> None:
    """Sums over tasks are exact: another process, whose sets have another order, goes on alike."""

    class Ordered(Space):
        def shown_to(self, point: Point, id: str) -> Any:
            return ("a", "b", "c")[::turn]

    program = mti.combine(*(f"text -> {name}" for name in "abc"))
    rows = [mti.Row(id, {"text": id}, dict.fromkeys("abc", "x")) for id in ("one", "other")]
    here = Ordered(program, make_pool(program, rows), mti.Plan.fused(program), most=1,
                   vary=frozenset({"demos"}))  # fmt: skip
    features = Features(here)
    effects = np.zeros((3, len(features.columns)))
    effects[:, features.demo_columns["one"]] = 0.6, 0.0, 0.0
    effects[:, features.demo_columns["other"]] = 0.1, 0.2, 0.3  # or 0.6000000000000001
    assert best_point(features, effects, [here.start]).demos == ("one",)
