"""`benchmarks/optimizers.py` and its rivals: each is scored alike, and tables need cells alone."""

from __future__ import annotations

import importlib
import json
import re
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
TOPICS = ("kettle leaks water", "invoice shows sum", "lamp flickers often", "parcel came late")


@pytest.fixture(scope="module")
def scripts() -> Namespace:
    """The scripts `rivals`, `optimizers` and `optimizer_tables`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        names = "rivals", "optimizers", "optimizer_tables"
        return Namespace(**{name: importlib.import_module(name) for name in names})


def dataset() -> mti.Dataset:
    """Two tasks; six rows of train and two of test about each of four topics."""
    names = mti.task("text -> names: list[str]", metric="f1_set")
    program = mti.combine("text -> mood: Literal['good', 'bad']", names)
    rows = [
        {
            "id": f"{split}-{place}-{n}",
            "split": split,
            "inputs": {"text": f"The {topic}, says {split} {n}."},
            "outputs": {"mood": "good" if n % 2 else "bad", "names": [topic.split()[0], "box"]},
        }
        for split, number in (("train", 6), ("test", 2))
        for place, topic in enumerate(TOPICS)
        for n in range(number)
    ]
    return mti.Dataset.from_rows(program, rows)


def replies(request: mti.Request) -> str:
    """Right, half right, wrong or unreadable, as the topic of the item is."""
    text = request.messages[-1].content
    place = next(n for n, topic in enumerate(TOPICS) if topic in text)
    mood = "good" if "1." in text else "bad"
    topic = TOPICS[place].split()[0]
    return (
        json.dumps({"mood": mood, "names": ["box", topic]}),
        json.dumps({"mood": mood, "names": [topic]}),
        json.dumps({"mood": "bad", "names": "none"}),
        "I cannot say.",
    )[place]


@pytest.mark.usefixtures("quiet_dspy")
def test_knn_few_shot_shows_the_nearest_rows(scripts: Namespace) -> None:
    """DSPy's `KNNFewShot` asks nothing before, then once an item with four rows of its topic."""
    asked: list[mti.Request] = []

    def answer(request: mti.Request) -> str:
        asked.append(request)
        return json.dumps({"mood": "good", "names": ["box"]})

    data = dataset()
    model = scripts.rivals.CountedModel(mti.FunctionModel(answer))
    way = scripts.optimizers.METHODS["KNNFewShot"](data, model, 0, 0)
    assert asked == []
    scripts.optimizers.on_test(way, data, model, 8)
    assert len(asked) == model.count == 8
    for row, request in zip(data.test, asked, strict=True):
        topic = next(one for one in TOPICS if one in row.inputs["text"])
        texts = {one.content for one in request.messages if one.role == "user"}
        assert len(texts) == 1 + scripts.rivals.MOST
        assert all(topic in one for one in texts)


@pytest.mark.usefixtures("quiet_dspy")
def test_a_module_is_scored_as_a_plan_is(scripts: Namespace) -> None:
    """It is asked the same; right, half right, wrong and unreadable answers score the same."""
    data, asked = dataset(), []

    def answer(request: mti.Request) -> str:
        asked.append(request)
        return replies(request)

    plan = mti.Plan.fused(data.program, demos=data.train[:2])
    module = mti.to_dspy(data.program, plan=plan)
    ways = scripts.rivals.Way(plan), scripts.rivals.Way(mti.Plan.fused(data.program), "", module)
    by_plan, by_module = (
        scripts.optimizers.on_test(way, data, mti.FunctionModel(answer), 7) for way in ways
    )
    assert asked[len(asked) // 2 :] == asked[: len(asked) // 2]
    assert by_module == by_plan
    assert list(by_plan) == ["mood", "names"]
    assert all(list(one) == [row.id for row in data.test[:7]] for one in by_plan.values())
    assert len({(by_plan["mood"][row], score) for row, score in by_plan["names"].items()}) > 3


@given(st.lists(st.text(max_size=20), min_size=1, max_size=8), st.text(max_size=20))
def test_word_vectors_have_length_one(scripts: Namespace, texts: list[str], other: str) -> None:
    """Every text has a vector of length 1, or 0 where it has no word that tells texts apart."""
    embed = scripts.rivals.WordVectors([f"text: {one}" for one in texts])
    found = embed([f"text: {one}" for one in [*texts, other]])
    assert found.shape[0] == len(texts) + 1
    lengths = np.linalg.norm(found, axis=1)
    assert np.all(np.isclose(lengths, 1) | (lengths == 0))
    assert np.all(found >= 0)
    assert np.array_equal(found, embed([f"text: {one}" for one in [*texts, other]]))


def test_word_vectors_weigh_rare_words(scripts: Namespace) -> None:
    """A rare word that is shared brings texts together; one that all have, as a label, does not."""
    texts = ["text: the red kettle", "text: the red lamp", "text: the blue lamp"]
    embed = scripts.rivals.WordVectors(texts)
    likeness = embed(texts) @ embed(["text: the the the kettle, or a text"])[0]
    assert likeness[0] > 0
    assert likeness[1:].tolist() == [0, 0]


# --- tables -------------------------------------------------------------------------------------


def keep(module: ModuleType, folder: Path, method: str, score: float, **other: Any) -> Path:
    """Write a cell as it was measured once."""
    cell = module.Cell("gone", "local/gone", 40, 0, method)
    value: Mapping[str, Any] = {
        **cell._asdict(), "items": 160, "rows": None, "dspy": "3.1.0", "told": "", "made": 0,
        "seconds": 1.0, "plan": {}, "scores": {"a": score, "b": score / 2},
        "tasks": {"mood": score}, **other,
    }  # fmt: skip
    path: Path = cell.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def table(module: ModuleType, monkeypatch: pytest.MonkeyPatch, folder: Path, methods: str) -> None:
    """Run `--table` where there are no sets, no models and no replies."""
    words = ["none", "--sets", "gone", "--calls", "40", "--seeds", "0", "--model", "local/gone",
             "--methods", methods, "-o", str(folder), "--table"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["optimizers.py", *words])
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MTIPROMPT_MODELS_DIR", str(folder / "none"))
    module.main()


def test_a_table_needs_the_cells_alone(
    scripts: Namespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is printed without the sets, and with another DSPy than was measured; nothing is made."""
    module = scripts.optimizers
    kept = [keep(module, tmp_path, "zero", 0.4)]
    kept += [keep(module, tmp_path, one, 0.8) for one in (module.OURS, module.EXPECTED)]
    kept += [keep(module, tmp_path, module.UNGUARDED, 0.8)]
    table(module, monkeypatch, tmp_path, "zero,ours")
    out = capsys.readouterr().out
    assert re.search(
        r"^\| gone, gone \| 40 \| zero \| 30.0 \[.*\] \| 30.0 \| 0 \|  \|$", out, re.MULTILINE
    )
    assert "| zero | 1 x 1 | +30.0 [" in out
    assert {one for one in tmp_path.rglob("*") if one.is_file()} == set(kept)


def test_a_table_without_ours_compares_nothing(
    scripts: Namespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With rivals alone there are the tables of scores, and none of gains."""
    for method, score in (("zero", 0.4), ("KNNFewShot", 0.6)):
        keep(scripts.optimizers, tmp_path, method, score)
    table(scripts.optimizers, monkeypatch, tmp_path, "zero,KNNFewShot")
    out = capsys.readouterr().out
    assert "| gone, gone | 40 | KNNFewShot | 45.0 [" in out
    assert out.count("--- |\n") == 2
    assert "ours less" not in out


@pytest.mark.parametrize(("name", "value"), [("dspy", "3.0.0"), ("items", 8), ("rows", 20)])
def test_a_table_refuses_cells_that_differ(
    scripts: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: Any
) -> None:
    """What was measured under other conditions is named, and no table is made of it."""
    keep(scripts.optimizers, tmp_path, "KNNFewShot", 0.6)
    keep(scripts.optimizers, tmp_path, "zero", 0.4, **{name: value})
    with pytest.raises(SystemExit, match=f"zero on gone, 40 calls, seed 0: {name} is {value}, not"):
        table(scripts.optimizers, monkeypatch, tmp_path, "zero,KNNFewShot")


def test_gains_are_of_the_sets_and_seeds_of_both(scripts: Namespace, tmp_path: Path) -> None:
    """A rival is compared where it has run; what nobody else has counts for nothing."""
    module, cells = scripts.optimizer_tables, list[dict[str, Any]]()
    for data, calls, seed, method, score in (
        ("a", 200, 0, module.OURS, 0.5), ("a", 200, 1, module.OURS, 0.7),
        ("b", 200, 0, module.OURS, 0.9), ("a", 200, 0, "zero", 0.4),
        ("a", 200, 1, "zero", 0.4), ("b", 200, 0, "zero", 0.4),
        ("a", 200, 1, "random", 0.5), ("c", 200, 0, "random", 1.0),
        ("a", 400, 0, "zero", 0.1), ("a", 400, 1, "zero", 0.1),
    ):  # fmt: skip
        cells.append({
            "data": data, "model": "m", "calls": calls, "seed": seed, "method": method,
            "items": 2, "rows": None, "dspy": "3", "told": "", "made": 0, "seconds": 1.0,
            "plan": {"demos": ["secret"]}, "scores": {"x": score, "y": score},
            "tasks": {"mood": score, "size": 0.25},
        })  # fmt: skip
    first, *by_task, equal, half = printed = list(module.tables(cells))
    assert first.count("\n") == 8
    assert [one.split("\n")[0] for one in by_task] == [
        f"| {name}, , {calls} calls | mood | size |"
        for name, calls in (("a", 200), ("a", 400), ("b", 200), ("c", 200))
    ]
    assert "| ours | 50.0 70.0 | 25.0 25.0 |" in by_task[0]
    assert "| zero | 2 x 1.5 | +35.0 [" in equal  # the mean of 0.2 on a and 0.5 on b
    assert "| random | 1 x 1 | +20.0 [+20.0, +20.0] |" in equal
    assert "| zero | 1 x 2 | +50.0 [" in half
    assert "random" not in half
    for name in ("record.jsonl", "record.jsonl.xz"):
        module.pack(cells, tmp_path / name)
        assert list(module.tables(module.read(tmp_path / name))) == printed
    assert "secret" not in (tmp_path / "record.jsonl").read_text()


def test_models_have_lines_of_their_own(scripts: Namespace) -> None:
    """One set with two models is two measurements, in all tables."""
    module = scripts.optimizer_tables
    cells = [
        {
            "data": "a", "model": f"local/{model}", "calls": 200, "seed": seed, "method": method,
            "items": 2, "rows": None, "dspy": "3", "told": "", "made": 0, "seconds": 1.0,
            "scores": {"x": score, "y": score}, "tasks": {"mood": score},
        }
        for model, score in (("m", 0.2), ("n", 0.8)) for seed in (0, 1)
        for method in ("zero", module.OURS)
    ]  # fmt: skip
    first, small, large, gains = module.tables(cells)
    assert "| zero | 20.0 20.0 |" in small
    assert "| zero | 80.0 80.0 |" in large
    assert "| a, m | 200 | zero | 20.0 [20.0, 20.0] | 20.0 20.0 |" in first
    assert "| a, n | 200 | zero | 80.0 [80.0, 80.0] | 80.0 80.0 |" in first
    assert "| zero | 2 x 2 | +0.0 [+0.0, +0.0] |" in gains


def test_intervals_cover_the_truth(scripts: Namespace) -> None:
    """With luck of rows and of runs, 95 of 100 intervals have the mean in them."""
    rng, inside = np.random.default_rng(0), 0
    for _ in range(400):
        sets = [0.1 + rng.normal(0, 0.2, (1, 40)) + rng.normal(0, 0.03, (2, 1)) for _ in range(4)]
        middle, half = scripts.optimizer_tables.pooled(sets)
        inside += abs(middle - 0.1) <= half
    assert 0.92 <= inside / 400 <= 0.995
