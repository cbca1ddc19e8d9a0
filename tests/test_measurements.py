"""Scripts under `benchmarks/` whose figures stand on pages: what they count and print."""

from __future__ import annotations

import importlib
import json
import math
import re
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mtiprompt as mti
from tests.conftest_commands import small_set

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "docs" / "results" / "records"
Script = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def script() -> Script:
    """Imports a script by name, as Python finds it when it runs."""

    def imported(name: str) -> ModuleType:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(ROOT / "benchmarks")
            return importlib.import_module(name)

    return imported


# --- benchmarks/lens.py ------------------------------------------------------------------------


def harmed(request: mti.Request) -> mti.Reply:
    """Says yes to all with a probability of 0.9, but to `c` no where `a` stands before it."""
    keys = re.findall(r'^"(\w+)":', request.messages[0].content, re.MULTILINE)
    tokens: list[dict[str, Any]] = []
    for place, key in enumerate(keys):
        sure = {"yes": math.log(0.9), "no": math.log(0.1)}
        if key == "c" and "a" in keys[:place]:
            sure = {"no": sure["yes"], "yes": sure["no"]}
        tops = [{"token": text, "logprob": log} for text, log in sure.items()]
        tokens += [
            {"token": ("," if place else "{") + f'"{key}":"', "logprob": 0.0},
            {**tops[0], "top_logprobs": tops},
            {"token": '"}' if key == keys[-1] else '"', "logprob": 0.0},
        ]
    text = "".join(one["token"] for one in tokens)
    return mti.Reply(text, details={"logprobs": {"content": tokens}})


def test_losses_stand_beside_the_lens_of_the_same_order(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task harmed behind one other loses there alone, and the lens tells of it, on other rows.

    In a call about all, a task stands beside the lens of those before it; the first has none.
    """
    lens = script("lens")
    asked: dict[tuple[str, ...], set[str]] = {}

    def answer(request: mti.Request) -> mti.Reply:
        keys = re.findall(r'^"(\w+)":', request.messages[0].content, re.MULTILINE)
        asked.setdefault(tuple(keys), set()).add(request.messages[-1].content)
        return harmed(request)

    tasks = ("a", "b", "c")
    rows = [
        {"id": f"r{n}", "split": "train", "inputs": {"text": f"Row {n}."},
         "outputs": dict.fromkeys(tasks, "yes")}
        for n in range(9)
    ]  # fmt: skip
    model = mti.FunctionModel(answer)
    monkeypatch.setattr(lens, "measured_model", lambda *named, **how: model)
    options = Namespace(model="m", demos=0, looked=3, items=4, output=tmp_path / "kept")
    points = list(lens.points_of(small_set(tmp_path, tasks, rows), options))
    pairs = {(one.task, *one.others): one for one in points if one.company == lens.COMPANY[0]}
    whole = {(one.task, *one.others): one for one in points if one.company == lens.COMPANY[1]}
    assert len(pairs) == 6
    assert {place for place, one in pairs.items() if one.loss} == {("c", "a")}
    assert {place for place, one in pairs.items() if one.seen["moves"] > 0.1} == {("c", "a")}
    assert pairs["c", "a"].loss == 1
    assert pairs["c", "a"].seen["falls"] == pytest.approx(0.8)
    assert list(whole) == [("b", "a"), ("c", "a", "b")]
    assert (whole["b", "a"].loss, whole["c", "a", "b"].loss) == (0, 1)
    assert whole["c", "a", "b"].seen["moves"] == pytest.approx(0.4)
    assert {one.n for one in points} == {4}
    assert len(asked["a", "b"]) == len(asked["b", "a"]) == 7  # three looked at, four for losses


def test_a_lens_that_foretells_correlates(script: Script) -> None:
    """The rank correlation of losses that the lens orders is 1, of reversed ones -1."""
    lens = script("lens")
    found = lens.correlation(points(lens, {"x": [1, 2, 3], "y": [1, 2, 3]}), "moves")
    assert found["rho"]["mean"] == found["within"]["mean"] == pytest.approx(1)
    assert found["within"]["interval"] == pytest.approx([1, 1])
    found = lens.correlation(points(lens, {"x": [3, 2, 1], "y": [2, 1, 0]}), "moves")
    assert found["within"]["mean"] == pytest.approx(-1)
    assert (found["n"], found["sets"], found["telling"]) == (6, 2, 2)


def test_what_is_all_equal_tells_nothing(script: Script) -> None:
    """Equal losses are no correlation of 0: they are left out, and of one set is no interval."""
    lens = script("lens")
    equal = lens.correlation(points(lens, {"x": [1, 1, 1], "y": [1, 1, 1]}), "moves")
    assert equal["rho"] == equal["within"] == {"mean": None, "interval": None}
    assert equal["telling"] == 0
    half = lens.correlation(points(lens, {"x": [1, 2, 3], "y": [1, 1, 1]}), "moves")
    assert half["within"]["mean"] == pytest.approx(1)
    assert half["within"]["interval"] == pytest.approx([1, 1])
    assert half["telling"] == 1
    alone = lens.correlation(points(lens, {"x": [1, 2, 3]}), "moves")
    assert alone["rho"] == {"mean": pytest.approx(1), "interval": None}
    assert lens.rho_of(equal["rho"]) == "\N{EN DASH}"


def points(lens: ModuleType, losses: dict[str, list[float]]) -> list[Any]:
    """Losses of tasks in company that the lens finds the worse the later they stand."""
    return [
        lens.Point(data, f"t{n}", ("o",), lens.COMPANY[0], loss, 0.1, 9, {"moves": n / 10})
        for data, some in losses.items()
        for n, loss in enumerate(some)
    ]


def test_the_page_has_the_correlations_of_its_record(script: Script) -> None:
    """Both tables that the script prints from its own figures stand on the page."""
    lens = script("lens")
    page = (ROOT / "docs" / "results" / "lens.md").read_text(encoding="utf-8")
    [record] = RECORDS.glob("lens-*.json")
    points = lens.read(record)
    found = lens.found_in(points)
    for table in lens.tables(points, found):
        assert table in page, f"this is not on the page:\n{table}"
    assert f"standard error of one {found['error']:.3f}" in page


# --- benchmarks/optimizer_tables.py ------------------------------------------------------------


def test_the_page_has_the_tables_of_its_record(script: Script) -> None:
    """What the script prints of the record stands on the page; the record holds figures alone."""
    tables = script("optimizer_tables")
    page = (ROOT / "docs" / "results" / "optimizers.md").read_text(encoding="utf-8")
    cells = tables.read(RECORDS / "optimizers.jsonl.xz")
    assert not any("plan" in one for one in cells)
    printed = list(tables.tables(cells))
    assert len(printed) >= 2
    for table in printed:
        assert table in page, f"this is not on the page:\n{table}"


# --- benchmarks/superposition.py ---------------------------------------------------------------


def test_the_page_has_the_figures_of_its_records(script: Script) -> None:
    """Every table that the script prints from the records stands on the page, letter by letter."""
    page = (ROOT / "docs" / "results" / "superposition.md").read_text(encoding="utf-8")
    records = sorted(RECORDS.glob("superposition-*.xz"))
    tables = list(script("superposition").printed(records))
    assert len(tables) == 4 * len(records) - 1
    for table in tables:
        assert table in page, f"this is not on the page:\n{table}"


# --- benchmarks/neighbours.py ------------------------------------------------------------------


def test_neighbours_are_scored_by_their_gold(
    script: Script,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Rows whose label hangs on what a word means: vectors find it, equal words do not."""
    meant = {"yes": ("good", "fine", "great", "nice"), "no": ("bad", "poor", "awful", "weak")}
    rows = [
        {"inputs": {"text": word + " it is" * n}, "outputs": {"mood": label}, "split": split}
        for label, words in meant.items()
        for split, some in (("train", [words[0]] * 4), ("dev", words[1:]))
        for n, word in enumerate(some, start=1)
    ]
    small_set(tmp_path, ("mood",), rows)
    spread = {f"word{n}": [0.1] * 100 for n in range(50)}  # frequent words weigh less than these
    told = spread | {
        word: [1.0 if label == "yes" else -1.0] * 100
        for label, words in meant.items()
        for word in words
    }
    vectors = tmp_path / "vectors.json"
    vectors.write_text(json.dumps({"vectors": told}))
    asked = ["neighbours.py", str(tmp_path), "--vectors", str(vectors), "--json"]
    monkeypatch.setattr(sys, "argv", asked)
    script("neighbours").main()
    mood, whole = json.loads(capsys.readouterr().out)
    assert (mood["task"], whole["task"]) == ("mood", "mean of tasks")
    assert mood["vectors"]["mean"] == whole["vectors"]["mean"] == 1
    assert mood["words"]["mean"] == 0.5
    assert mood["difference"]["n"] == 6
