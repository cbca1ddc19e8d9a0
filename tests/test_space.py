"""Every point that the space gives out is legal, and its plan runs as the point says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.combine import waves
from mtiprompt.errors import DataError, PlanError
from mtiprompt.optimizer.demos import Pool, make_pool
from mtiprompt.optimizer.point import Point
from mtiprompt.optimizer.space import Part, Space
from mtiprompt.planner.groupings import Pins
from mtiprompt.wire import NOTATIONS

PROGRAM = mti.combine("text -> a", "text -> b", "text -> c", "a, text -> d")
"""Three tasks that stand alone, and one that builds on the first."""
ALL: frozenset[Part] = frozenset(get_args(Part))


def pool(number: int = 5) -> Pool:
    """Demonstrations with answers for all tasks."""
    gold = dict.fromkeys(PROGRAM.tasks, "x")
    return make_pool(PROGRAM, [mti.Row(f"r{n}", {"text": str(n)}, gold) for n in range(number)])


def space(**options: Any) -> Space:
    """A space around the fused plan in which everything varies."""
    given: dict[str, Any] = {"vary": ALL, "variants": {"b": ("Say b.", "b!")}, **options}
    return Space(PROGRAM, given.pop("pool", pool()), Plan.fused(PROGRAM), shelf=SHELF, **given)


SHELF = pool(9).demos
Plan = mti.Plan
seeds = st.integers(0, 10_000)


@given(seeds, st.integers(0, 3))
def test_every_point_has_a_plan(seed: int, steps: int) -> None:
    """Whatever is drawn and wherever moves lead, the plan fits the program and has no call less."""
    rng, here = np.random.default_rng(seed), space(most=2)
    point = here.draw(rng)
    for _ in range(steps):
        moves = [*here.reshaped(point), *here.selected(point)]
        point = moves[rng.integers(len(moves))]
    plan = here.plan(point)
    plan.check(PROGRAM)
    assert tuple(group.tasks for group in plan.call_groups) == point.groups
    assert len(point.groups) == here.calls(point)
    shown = [str(n) for n in range(9)] if point.select else [id[1:] for id in point.demos]
    assert [demo.inputs["text"] for demo in plan.demos] == shown
    assert plan.select == point.select
    assert dict(plan.reasoning) == dict(point.reasoning)
    assert plan.notation == point.notation
    assert set(dict(plan.instructions)) == set(dict(point.instructions))


@given(seeds)
def test_points_have_the_same_json_only_if_they_are_equal(seed: int) -> None:
    """What tells points apart is in their JSON, which is one line."""
    one, other = (space().draw(np.random.default_rng([seed, n])) for n in range(2))
    assert (one == other) == (one.to_json() == other.to_json())
    assert "\n" not in one.to_json()


@given(seeds)
def test_moves_are_new_points_that_can_be_undone(seed: int) -> None:
    """A move leads elsewhere with the same demonstrations, and every swap has a move back."""
    here = space(vary=frozenset({"demos", "order"}), variants={}, most=3)
    point = here.draw(np.random.default_rng(seed))
    moves = list(here.reshaped(point))
    assert point not in moves
    assert {one.demos for one in moves} == {point.demos}
    assert all(point in set(here.reshaped(one)) for one in moves)


def test_all_kinds_of_moves() -> None:
    """Tasks are swapped, calls merged and split, each setting changed; demos are selected."""
    here = space(most=3)
    moves = list(here.reshaped(here.start))
    groups = {one.groups for one in moves}
    assert (("b", "a", "c", "d"),) in groups
    assert (("a", "c", "d"), ("b",)) in groups
    split = replace(here.start, groups=(("a",), ("b", "c", "d")))
    assert (("a", "b", "c", "d"),) in {one.groups for one in here.reshaped(split)}
    assert {one.notation for one in moves} == {None, *NOTATIONS}
    assert {one.reasoning for one in moves} >= {(("c", True),)}
    assert {one.instructions for one in moves} >= {(("b", 2),)}
    ways = list(here.selected(replace(here.start, demos=("r0", "r1"))))
    assert [one.select for one in ways] == [mti.Select("nearest", 3), mti.Select("coverage", 3)]
    assert not any(one.demos for one in ways)


def test_demonstrations_are_fixed_or_selected() -> None:
    """Selections are among the starts and the draws, where there is something to select from."""
    here, rng = space(most=2), np.random.default_rng(0)
    assert {one.select for one in here.starts()} == {None, *here.selections}
    drawn = [here.draw(rng) for _ in range(200)]
    assert {one.select for one in drawn} == {None, *here.selections}
    assert 10 < sum(one.select is not None for one in drawn) < 50
    assert not any(one.select and one.demos for one in drawn)
    for other in (space(most=0), space(vary=ALL - {"select"}), replace(here, shelf=())):
        assert not other.selections
        assert {one.select for one in other.starts()} == {None}
    base = Plan.fused(PROGRAM, demos=SHELF, select=mti.Select("nearest", 1))
    kept = Space(PROGRAM, pool(9), base, vary=frozenset({"order"}))
    assert kept.plan(kept.start) == base
    for part in ("demos", "select"):
        with pytest.raises(DataError, match="selects demonstrations for each item, and they are"):
            Space(PROGRAM, pool(9), base, vary=frozenset({part}))


@given(seeds)
def test_only_what_varies_is_varied(seed: int) -> None:
    """What is not to be varied is as in the plan that was given."""
    here = space(vary=frozenset({"demos"}))
    point = here.draw(np.random.default_rng(seed))
    assert replace(point, demos=()) == here.start
    assert not list(here.reshaped(point))


def test_dependencies_are_kept_in_every_order() -> None:
    """A task never stands before one that it builds on, however hard it is."""
    here = space()
    hardest = here.starts({"d": 0.9, "b": 0.8, "c": 0.1, "a": 0.2})
    assert (("b", "a", "d", "c"),) in {point.groups for point in hardest}
    for point in (*hardest, *here.starts()):
        waves(PROGRAM, point.groups)
    assert (("c", "b", "a", "d"),) in {point.groups for point in here.starts()}


def test_zero_demonstrations_are_always_among_the_starts() -> None:
    """Demonstrations can hurt: a point without any is tried from the beginning, and drawn."""
    demos = pool()
    base = Plan.fused(PROGRAM, demos=demos.demos[:2])
    here = Space(PROGRAM, demos, base)
    assert here.start.demos == ("r0", "r1")
    assert here.plan(here.start) == base
    assert [point.demos for point in here.starts()[:2]] == [("r0", "r1"), ()]
    rng = np.random.default_rng(0)
    assert {len(here.draw(rng).demos) for _ in range(100)} == {0, 1, 2, 3, 4}


def test_where_a_demonstration_is_shown() -> None:
    """A call shows a demonstration that has all its answers, and those that these build on."""
    half = mti.Row("half", {"text": "5"}, dict.fromkeys("bcd", "x"))
    rows = [mti.Row("r0", {"text": "0"}, dict.fromkeys(PROGRAM.tasks, "x")), half]
    here = space(pool=make_pool(PROGRAM, rows))
    split = replace(here.start, groups=(("a",), ("b", "c"), ("d",)), demos=("r0", "half"))
    assert here.shown_to(split, "r0") == {"a", "b", "c", "d"}
    assert here.shown_to(split, "half") == {"b", "c"}
    assert set(here.plan(split).demos[1].outputs) == {"b", "c", "d"}
    assert here.shown_to(here.start, "half") == set()


def test_instructions_are_those_of_the_point() -> None:
    """The plan of a point has its instructions, over those of the base, which has number 0."""
    base = Plan.fused(PROGRAM, instructions={"a": "Say a.", "b": "B?"})
    here = replace(space(), base=base)
    plan = here.plan(replace(here.start, instructions=(("b", 2),)))
    assert dict(plan.instructions) == {"a": "Say a.", "b": "b!"}
    assert here.plan(here.start) == base
    result = PROGRAM(text="x", plan=plan, model=mti.EchoModel())
    assert "b!" in result.calls[0].request.messages[0].content
    assert "B?" not in result.calls[0].request.messages[0].content


def test_each_wording_is_one_point() -> None:
    """The same text twice, and the instruction that the plan has anyway, are no further ones."""
    base = Plan.fused(PROGRAM).replace(PROGRAM, instructions={"b": "Say b."})
    own = PROGRAM.tasks["c"].instruction
    given = {"b": ["", "Say b.", "", "b!"], "c": [own, own], "a": ["a?"]}
    vary = frozenset[Part]({"instructions"})
    here = Space(PROGRAM, pool(), base, vary=vary, variants=given)
    assert here.variants == {"b": ("", "b!"), "a": ("a?",)}
    found = [one.instructions for one in here.reshaped(here.start)]
    assert found == [(("b", 1),), (("b", 2),), (("a", 1),)]
    assert not Space(PROGRAM, pool(), base, vary=vary, variants={"c": [own]}).has_choice


def test_groups_keep_pins_and_models() -> None:
    """No point breaks a pin, and a call that the plan gives a model keeps it."""
    here = space(pins=Pins(PROGRAM, together=[("b", "c")], apart=[("a", "d")]), variants={})
    here = replace(here, base=Plan.groups(PROGRAM, [["a"], ["b", "c"], mti.Group(("d",), "x")]))
    rng = np.random.default_rng(3)
    for _ in range(50):
        point = here.draw(rng)
        for group in point.groups:
            assert not {"a", "d"} <= set(group)
            assert len({"b", "c"} & set(group)) != 1
        alone = [group for group in here.plan(point).call_groups if group.tasks == ("d",)]
        assert [group.model for group in alone] == ["x"] * len(alone)


def test_what_does_not_fit_is_refused() -> None:
    """Unknown tasks, demonstrations that are not in the pool, and a negative number."""
    with pytest.raises(DataError, match="no task"):
        space(variants={"z": ("x",)})
    for texts in ("Say b.", (5,)):
        with pytest.raises(DataError, match="list of texts"):
            space(variants={"b": texts})
    with pytest.raises(DataError, match="0 or more"):
        space(most=-1)
    with pytest.raises(DataError, match="the pool lacks"):
        Space(PROGRAM, pool(1), Plan.fused(PROGRAM, demos=pool(2).demos))
    with pytest.raises(PlanError):
        space().plan(Point((("a", "b"),)))
    for wording in (("b", 3), ("b", -1), ("c", 1)):
        with pytest.raises(DataError, match="wording"):
            space().plan(replace(space().start, instructions=(wording,)))
