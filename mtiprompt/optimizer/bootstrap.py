"""What a search may show: labelled rows, and what the model itself gets right."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import count, islice

from mtiprompt.combine import Combined
from mtiprompt.dataset import Row
from mtiprompt.evaluation.scores import score_table
from mtiprompt.optimizer.demos import Pool, earned, make_pool
from mtiprompt.optimizer.measuring import Measuring, way_of
from mtiprompt.optimizer.space import Space
from mtiprompt.plan import Demo, Plan
from mtiprompt.selection.choose import folded


def draw_rows(
    program: Combined, rows: Iterable[Row], number: int, *, seed: int, barred: Iterable[Row] = ()
) -> list[Row]:
    """Labelled rows drawn at random; none that asks what another asks which has as much gold.

    Args:
        program: The program, which says what stands for inputs that are left out.
        rows: Where to draw from; the train split.
        number: How many at most.
        seed: The same seed draws the same ones in the same order.
        barred: Rows whose inputs no drawn one has, up to blanks and case: those that candidates
            are scored on, which a demonstration would answer.
    """
    import numpy as np

    def asked_by(row: Row) -> Hashable:
        return folded(program.filled(row.inputs))

    taken = set(map(asked_by, barred))
    found = [(asked_by(row), row) for row in rows if row.outputs]
    known: dict[Hashable, list[Row]] = {}
    for asked, row in sorted(found, key=lambda one: -len(one[1].outputs)):
        same = known.setdefault(asked, [])
        if not any(row.outputs.keys() <= one.outputs.keys() for one in same):
            same.append(row)
    able = [
        row
        for asked, row in found
        if asked not in taken and any(row is one for one in known[asked])
    ]
    places = np.random.default_rng(seed).permutation(len(able))[:number]
    return [able[n] for n in places]


def first_pool(program: Combined, rows: Iterable[Row], plan: Plan) -> Pool:
    """A pool of rows, and of the demonstrations that a plan shows already.

    Args:
        program: The program.
        rows: Labelled rows.
        plan: The plan.
    """
    pool = make_pool(program, rows)
    own = [demo for demo in dict.fromkeys(plan.demos) if demo not in pool.demos]
    free = (id for n in count(1) if (id := f"plan:{n}") not in pool.ids)
    ids = islice(free, len(own))
    return Pool((*ids, *pool.ids), (*own, *pool.demos))


def bootstrapped(space: Space, rows: Sequence[Row], measuring: Measuring) -> Pool:
    """The pool of a space, and what the model answers right about some rows.

    A row's answers of full marks stand in for its gold; gold stands where it has none, as a call
    shows only a demonstration that answers all its tasks. Without a further gain in words (all
    answers are the gold) a row is no further demonstration.

    Args:
        space: The space; its base runs the rows.
        rows: The rows.
        measuring: What runs them.

    Raises:
        IncompleteRun: Calls failed for good.
        ModelError: The model cannot be used at all.
    """
    program, way = space.program, way_of(space, space.start)
    outcomes = measuring.outcomes([(way, row) for row in rows], "bootstrap")
    ran = rows[: len(outcomes)]
    table = score_table(program, ran, outcomes, measuring.metrics)
    made: dict[str, Demo] = {}
    for row, one in zip(ran, outcomes, strict=True):
        scores = {name: by_id[row.id] for name, by_id in table.items() if row.id in by_id}
        found = earned(program, row.inputs, one.answers, scores)
        if found is None:
            continue
        [demo] = make_pool(program, [row]).demos
        text = json.dumps(demo.outputs | found.outputs, ensure_ascii=False, separators=(",", ":"))
        demo = replace(demo, outputs_json=text)
        if demo not in space.pool.demos and demo not in made.values():
            made[f"{row.id}:own"] = demo
    return Pool((*space.pool.ids, *made), (*space.pool.demos, *made.values()))
