"""Demonstrations are chosen for what an item has in it."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.errors import DataError, PlanError, SettingsError
from mtiprompt.optimizer.demos import (
    Covering,
    Fixed,
    Nearest,
    Pool,
    Selector,
    earned,
    make_pool,
)
from mtiprompt.optimizer.parts import cover

TRIAGE = mti.combine("message -> mood: Literal['good', 'bad']", "message -> product")


def pool_of(*texts: str, program: mti.Program = TRIAGE) -> Pool:
    """A pool of messages, all with both answers; their ids are a, b, ..."""
    gold = {"mood": "bad", "product": "kettle"}
    rows = [mti.Row(chr(97 + n), {"message": text}, gold) for n, text in enumerate(texts)]
    return make_pool(program, rows)


def ids(pool: Pool, demos: tuple[mti.Demo, ...]) -> str:
    """The ids of chosen demonstrations."""
    return "".join(pool.ids[pool.demos.index(demo)] for demo in demos)


def test_fixed_is_the_same_for_all() -> None:
    """The fixed set does not look at the item, so that the prompt's prefix stays the same."""
    pool = pool_of("one", "two")
    select: Selector = Fixed(pool.demos)
    assert select({"message": "x"}) == select({"message": "two"}) == pool.demos


def test_nearest_comes_last() -> None:
    """The demonstrations most like the item are chosen, and the nearest stands beside it."""
    pool = pool_of("the kettle leaks", "the lamp is bright", "my kettle leaks a lot of water")
    select: Selector = Nearest(TRIAGE, pool, 2)
    assert ids(pool, select({"message": "kettle with water leaks"})) == "ac"


def test_covering_takes_what_is_still_uncovered() -> None:
    """Of two alike and one that covers the rest, the set has one of each; the nearest has both."""
    pool = pool_of("kettle leaks water", "kettle leaks water too", "an invoice of last May", "lamp")
    item = {"message": "kettle leaks water, see invoice"}
    assert set(ids(pool, Nearest(TRIAGE, pool, 2)(item))) == {"a", "b"}
    assert set(ids(pool, Covering(TRIAGE, pool, 2)(item))) == {"a", "c"}


def test_covering_starts_again_when_all_is_covered() -> None:
    """More are chosen than are needed to cover the item, as if the set were empty again."""
    pool = pool_of("kettle leaks", "leaks kettle", "lamp")
    assert ids(pool, Covering(TRIAGE, pool, 3)({"message": "it leaks, my kettle"})) == "cba"


def test_parts_are_united_over_the_tasks() -> None:
    """A demonstration that answers one task covers nothing of the other."""
    rows = [
        mti.Row("mood", {"message": "kettle leaks"}, {"mood": "bad"}),
        mti.Row("mood2", {"message": "the kettle leaks"}, {"mood": "bad"}),
        mti.Row("product", {"message": "a kettle is old"}, {"product": "kettle"}),
    ]
    pool = make_pool(TRIAGE, rows)
    item = {"message": "kettle leaks!"}
    chosen = Covering(TRIAGE, pool, 2)(item)
    assert {name for demo in chosen for name in demo.outputs} == {"mood", "product"}
    assert Covering(TRIAGE, pool, 2, tasks=("product",))(item) == (pool["product"],)


def test_chained_task_reads_what_it_builds_on() -> None:
    """A task that takes only another's answer looks at the inputs behind that."""
    program = mti.combine("text -> topic", "topic -> advice")
    rows = [mti.Row(one, {"text": one}, {"topic": "t", "advice": "a"}) for one in ("tea", "milk")]
    pool = make_pool(program, rows)
    assert Nearest(program, pool, 1, tasks=("advice",))({"text": "milk now"}) == (pool["milk"],)


@pytest.mark.parametrize("kind", [Nearest, Covering])
def test_item_is_no_demonstration_of_itself(kind: type[Nearest] | type[Covering]) -> None:
    """A demonstration with the inputs of the item is left out: its answer would be copied."""
    pool = pool_of("kettle leaks", "lamp", "kettle")
    chosen = kind(TRIAGE, pool, 3)({"message": "kettle leaks"})
    assert ids(pool, chosen) == "bc"


@pytest.mark.parametrize("kind", [Nearest, Covering])
@pytest.mark.parametrize("text", ["", "...", "nothing like it"])
def test_item_without_known_words(kind: type[Nearest] | type[Covering], text: str) -> None:
    """An item that shares no word with the pool still gets its demonstrations."""
    pool = pool_of("kettle leaks", "lamp", "!")
    assert len(kind(TRIAGE, pool, 2)({"message": text})) == 2


def test_scripts_without_blanks_have_parts() -> None:
    """Japanese is compared sign by sign, so that sentences share parts."""
    pool = pool_of("電気が暗い", "お茶が熱い")
    assert ids(pool, Nearest(TRIAGE, pool, 1)({"message": "お茶です"})) == "b"


def test_values_that_are_no_text() -> None:
    """Numbers and lists are compared by how JSON writes them."""
    program = mti.combine("year: int, tags: list[str] -> era")
    rows = [
        mti.Row("old", {"year": 1900, "tags": ["steam"]}, {"era": "old"}),
        mti.Row("new", {"year": 2020, "tags": ["chip"]}, {"era": "new"}),
    ]
    pool = make_pool(program, rows)
    assert Nearest(program, pool, 1)({"year": 1, "tags": ["chip", "x"]}) == (pool["new"],)


def test_pool_has_labelled_rows_once() -> None:
    """Rows without gold are left out; an id that is there twice or unknown is refused."""
    pool = make_pool(TRIAGE, [mti.Row("a", {"message": "x"}, {"mood": "bad"}), _unlabelled()])
    assert (pool.ids, len(pool), pool["a"].inputs) == (("a",), 1, {"message": "x"})
    with pytest.raises(DataError, match="no demonstration 'zz'"):
        pool["zz"]
    with pytest.raises(DataError, match="no id twice"):
        make_pool(TRIAGE, [mti.Row("a", {"message": "x"}, {"mood": "bad"})] * 2)
    with pytest.raises(PlanError, match="does not fit"):
        make_pool(TRIAGE, [mti.Row("a", {"message": "x"}, {"mood": "odd"})])


def _unlabelled() -> mti.Row:
    return mti.Row("b", {"message": "y"}, {})


def test_only_full_marks_are_earned() -> None:
    """What a model answered becomes a demonstration of the tasks it got wholly right."""
    answers = {"mood": "bad", "product": "kettle"}
    demo = earned(TRIAGE, {"message": "x"}, answers, {"mood": 1.0, "product": 0.99})
    assert demo is not None
    assert demo.outputs == {"mood": {"mood": "bad"}}
    assert earned(TRIAGE, {"message": "x"}, answers, {"mood": 0.5}) is None


tables = st.integers(1, 6).flatmap(
    lambda wide: st.lists(
        st.lists(st.integers(0, 3), min_size=wide, max_size=wide), min_size=1, max_size=5
    )
)


@given(tables, st.data())
def test_greedy_cover_is_near_the_best(table: list[list[int]], data: st.DataObject) -> None:
    """Up to where nothing is left to cover it has 1 - 1/e of the best (Nemhauser et al. 1978)."""
    parts = np.array(table, dtype=float)
    number = data.draw(st.integers(1, parts.shape[1]))
    chosen = cover(parts, number)
    assert len(set(chosen)) == len(chosen) == number
    best = max(
        parts[:, list(some)].max(axis=1).sum()
        for some in itertools.combinations(range(parts.shape[1]), number)
    )
    assert parts[:, chosen].max(axis=1).sum() >= (1 - 1 / np.e) * best - 1e-9


def test_without_bm25s_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the extra is not installed the message names it."""
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(SettingsError, match=r"mtiprompt\[optimize\]"):
        Nearest(TRIAGE, pool_of("x"), 1)({"message": "x"})


def test_nothing_heavy_is_loaded() -> None:
    """Neither the package nor the selectors load bm25s or numpy before an item is chosen for."""
    code = (
        "import sys, mtiprompt, mtiprompt.optimizer.demos\n"
        "print([one for one in ('bm25s', 'numpy', 'optuna') if one in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
