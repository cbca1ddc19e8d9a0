"""What demonstrations are chosen from."""

from __future__ import annotations

import subprocess
import sys

import pytest

import mtiprompt as mti
from mtiprompt.errors import DataError, PlanError
from mtiprompt.optimizer.demos import earned, make_pool

TRIAGE = mti.combine("message -> mood: Literal['good', 'bad']", "message -> product")


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


def test_nothing_heavy_is_loaded() -> None:
    """Neither the package nor the pool loads bm25s or numpy."""
    code = (
        "import sys, mtiprompt, mtiprompt.optimizer.demos\n"
        "print([one for one in ('bm25s', 'numpy', 'optuna') if one in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
