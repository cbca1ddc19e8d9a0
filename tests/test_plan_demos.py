"""Plans: demonstrations that a call cannot show are told."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from tests.strategies import groupings

FREE = mti.combine("text -> a", "text -> b", "text -> c", "text, a -> d")
NAMED = st.sets(st.sampled_from("abcd"), min_size=1)


@given(st.lists(NAMED, max_size=3), groupings(FREE))
def test_demonstrations_that_are_left_out_are_told(answers: list[set[str]], groups: Any) -> None:
    """Making a plan warns if, and only if, a task is not shown an answer that is there for it."""
    demos = [{"inputs": {"text": "x"}, "outputs": dict.fromkeys(one, "y")} for one in answers]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        plan = mti.Plan.groups(FREE, groups, demos=demos)
    hidden = [
        name
        for group in plan.call_groups
        for name in group.tasks
        for demo in plan.demos
        if name in demo.outputs and demo not in plan.fitting(FREE, group.tasks)
    ]
    assert len(told) == bool(hidden)


def test_it_is_told_what_a_call_shows() -> None:
    """The warning has each call that leaves some out, how many it shows, and what to do."""
    demos = [{"inputs": {"text": "x"}, "outputs": dict.fromkeys(one, "y")} for one in ("ab", "bd")]
    words = "the call for a, b shows 1 of 2; the call for d shows 0 of 1 (give each the answers"
    with pytest.warns(match=re.escape(words)):
        mti.Plan.groups(FREE, [["a", "b"], ["c"], ["d"]], demos=demos)


@given(st.lists(NAMED, max_size=3), groupings(FREE))
def test_a_call_that_can_select_none_is_told(answers: list[set[str]], groups: Any) -> None:
    """A plan that selects warns if, and only if, a call can show none of those made for it."""
    demos = [{"inputs": {"text": "x"}, "outputs": dict.fromkeys(one, "y")} for one in answers]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        plan = mti.Plan.groups(FREE, groups, demos=demos, select=mti.Select("nearest", 2))
    bare = [
        group.tasks
        for group in plan.call_groups
        if any(name in demo.outputs for demo in plan.demos for name in group.tasks)
        and not plan.fitting(FREE, group.tasks)
    ]
    assert len(told) == bool(bare)
