"""Demonstrations that a point can do without are dropped, and no others."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.optimizer.demos import make_pool
from mtiprompt.optimizer.effects import Effects
from mtiprompt.optimizer.features import Features
from mtiprompt.optimizer.found import Ask
from mtiprompt.optimizer.measured import Evaluation, Measured
from mtiprompt.optimizer.measuring import Measuring
from mtiprompt.optimizer.point import Point
from mtiprompt.optimizer.prune import Pruned, looks, prune
from mtiprompt.optimizer.space import Space
from mtiprompt.optimizer.tuned import Taken

PROGRAM = mti.combine("text -> mood: Literal['yes', 'no']", "text -> size: Literal['yes', 'no']")
Score = Callable[[Point, Sequence[int]], Evaluation]


def space_of(*texts: str, base: Sequence[int] = ()) -> Space:
    """A space whose pool has a demonstration of each text, called a, b, ..."""
    gold = {"mood": "yes", "size": "yes"}
    rows = [mti.Row(chr(97 + n), {"text": text}, gold) for n, text in enumerate(texts)]
    pool = make_pool(PROGRAM, rows)
    plan = mti.Plan.fused(PROGRAM, demos=[pool.demos[n] for n in base])
    return Space(PROGRAM, pool, plan)


def showing(space: Space, demos: str) -> Point:
    """The point that shows some demonstrations."""
    return Point(space.start.groups, tuple(demos))


def by_point(score: Callable[[Point, int], float]) -> Score:
    """Scores, the same for both tasks."""

    def of(point: Point, items: Sequence[int]) -> Evaluation:
        scores = tuple(score(point, item) for item in items)
        return Evaluation(point, tuple(items), {"mood": scores, "size": scores}, len(items))

    return of


def pruned(
    space: Space, point: Point, score: Score, *, rows: int = 40, calls: int = 1000
) -> tuple[Pruned, list[Ask], Measured]:
    """What comes of pruning a point that was measured on so many rows, and what it asked for."""
    measured, asked = Measured(PROGRAM, {}), list[Ask]()
    measured.add(score(one, range(rows)) for one in (space.start, point))
    effects = Effects(
        Features(space), measured.points, measured.tables(), dict.fromkeys(PROGRAM.order, 0.5)
    )

    def upto(point: Point, number: int) -> Generator[Ask, Evaluation, bool]:
        items = tuple(range(measured.items(point), number))
        if len(items) > calls - sum(len(one.items) for one in asked):
            return False
        if items:
            measured.add([(yield Ask(point, items))])
        return True

    going = prune(space, measured, point, effects, upto)
    try:
        ask = next(going)
        while True:
            asked.append(ask)
            ask = going.send(score(*ask))
    except StopIteration as end:
        return end.value, asked, measured


def test_what_does_nothing_goes_and_what_helps_stays() -> None:
    """Of four demonstrations the two that help are left, in their order."""
    space = space_of("one", "two", "three", "four")
    point = showing(space, "dbca")
    score = by_point(lambda point, item: ("b" in point.demos) * 0.4 + ("d" in point.demos) * 0.3)
    found, asked, _ = pruned(space, point, score)
    assert found.after.demos == ("d", "b")
    assert found.after.groups == point.groups
    assert (found.before, found.dropped, found.tried) == (point, ("c", "a"), 4)
    assert found.difference is not None
    assert (found.difference.mean, found.difference.n) == (0, 32)
    assert sorted(len(one.items) for one in asked) == [8] * 6 + [16] * 2


def test_what_is_behind_is_given_up_at_once() -> None:
    """Where every demonstration helps, eight rows each are paid for, and all stay."""
    space = space_of("one", "two", "three")
    point = showing(space, "abc")
    found, asked, _ = pruned(space, point, by_point(lambda point, item: len(point.demos) / 4))
    assert (found.after, found.difference, found.dropped, found.tried) == (point, None, (), 3)
    assert [len(one.items) for one in asked] == [8, 8, 8]


def test_the_longest_goes_first() -> None:
    """Of two of which one suffices, and of which nothing tells them apart, the shorter stays."""
    space = space_of("so long a text that it costs most of all", "short", "a middling text")
    point = showing(space, "abc")
    found, _, _ = pruned(space, point, by_point(lambda point, item: float(bool(point.demos))))
    assert found.after.demos == ("b",)


def test_no_calls_no_pruning() -> None:
    """Where calls end before the last look nothing is dropped, however good it looked."""
    space = space_of("one", "two")
    point, level = showing(space, "ab"), by_point(lambda point, item: 0.5)
    for calls, left in ((0, "ab"), (7, "ab"), (31, "ab"), (32, "b")):
        found, asked, _ = pruned(space, point, level, calls=calls)
        assert "".join(found.after.demos) in {left, left.replace("b", "a")}
        assert sum(len(one.items) for one in asked) <= calls


def test_a_point_of_few_rows_is_measured_further_first() -> None:
    """Below sixteen rows nothing is dropped: the point gets so many, if there are calls."""
    space = space_of("one", "two")
    point, level = showing(space, "ab"), by_point(lambda point, item: 0.5)
    found, asked, _ = pruned(space, point, level, rows=4)
    assert asked[0] == Ask(point, tuple(range(4, 16)))
    assert len(found.after.demos) == 1
    found, asked, _ = pruned(space, point, level, rows=4, calls=11)
    assert (found.after, found.tried, asked) == (point, 0, [])


def test_the_base_is_not_what_is_left() -> None:
    """What would make the point the base stays, for the confirmation to decide."""
    level = by_point(lambda point, item: 0.5)
    space = space_of("one", "two", "three")
    found, _, _ = pruned(space, showing(space, "ab"), level)
    assert len(found.after.demos) == 1
    own = space_of("one", "a text that is so long that it is tried first", base=[0])
    found, _, _ = pruned(own, showing(own, "ab"), level)
    assert found.after == showing(own, "b")


@given(
    effects=st.lists(st.integers(-2, 2), min_size=1, max_size=5),
    seed=st.integers(0, 9999),
    rows=st.integers(16, 50),
    calls=st.integers(0, 200),
)
@settings(max_examples=40, deadline=None)
def test_the_score_is_never_lower(effects: list[int], seed: int, rows: int, calls: int) -> None:
    """Whatever demonstrations do to whatever row: on the rows of choice the shorter set is not
    below the whole one, its order is kept, and each one is tried once at most, within the calls."""
    space = space_of(*("x" * (n + 1) for n in range(len(effects))))
    point = showing(space, "".join(space.pool.ids))
    luck = np.random.default_rng(seed).normal(0, 1, (len(effects), rows))

    def score(point: Point, item: int) -> float:
        shown = [space.pool.ids.index(id) for id in point.demos]
        total = sum(effects[n] / 20 + luck[n, item] / 10 for n in shown)
        return float(min(1.0, max(0.0, 0.5 + total)))

    found, asked, measured = pruned(space, point, by_point(score), rows=rows, calls=calls)
    assert [id for id in point.demos if id in found.after.demos] == [*found.after.demos]
    assert sum(len(one.items) for one in asked) <= calls
    assert found.tried <= len(effects)
    assert len({one.point for one in asked}) <= found.tried
    assert (found.difference is None) == (found.after == point)
    if found.difference is not None:
        assert found.difference >= -1e-9
        assert measured.items(found.after) >= min(32, rows)


@given(st.integers(16, 32))
def test_looks(rows: int) -> None:
    """The first is at eight rows, each later one at most at twice as many, the last at all."""
    found = list(looks(rows))
    assert (found[0], found[-1]) == (8, rows)
    assert all(one < after <= 2 * one for one, after in pairwise(found))


@pytest.mark.parametrize(("loss", "passes"), [(0.0, 0.29), (0.03, 0.15), (0.1, 0.014)])
def test_how_often_a_loss_is_not_seen(loss: float, passes: float) -> None:
    """The shares that the module tells, of sets that pass though they are worse."""
    drawn = np.random.default_rng(0).normal(-loss, 0.3, (40_000, 32)).cumsum(axis=1)
    level = np.all([drawn[:, number - 1] >= 0 for number in looks(32)], axis=0)
    assert level.mean() == pytest.approx(passes, abs=0.01)


def test_with_a_model_there_are_fewer_tokens() -> None:
    """A model that needs one demonstration of three answers as well with that alone, for less."""

    def answer(request: mti.Request) -> str:
        shown = "\n".join(one.content for one in request.messages)
        item = int(request.messages[-1].content.rpartition("row ")[2].split(".")[0])
        right = "The second." in shown or item % 3 == 0
        return json.dumps(dict.fromkeys(PROGRAM.order, "yes" if right else "no"))

    gold = dict.fromkeys(PROGRAM.order, "yes")
    rows = [mti.Row(f"r{n}", {"text": f"row {n}."}, gold) for n in range(40)]
    space = space_of("The first.", "The second.", "The third.")
    measuring = Measuring(mti.FunctionModel(answer))

    def score(point: Point, items: Sequence[int]) -> Evaluation:
        [found] = measuring.evaluations(space, rows, [Ask(point, tuple(items))], "search")
        return found

    found, _, measured = pruned(space, point := showing(space, "abc"), score)
    assert found.after.demos == ("b",)
    assert measured.mean(found.after) == measured.mean(point) == 1
    whole = measuring.ledger.whole
    shorter, longer = (Taken.of(whole[one].values()).read for one in (found.after, point))
    assert shorter < 0.8 * longer
