"""Scaling: a loss that was put in is found where it begins, and no other is found."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.errors import DataError, IncompleteRun, ModelUnavailable
from mtiprompt.experiments.scaling import Cost, Findings, Slot, design, run
from mtiprompt.experiments.scaling.curve import fit
from mtiprompt.report.parts import Chart, Table, Text

Loses = Callable[[str, int, int], bool]
"""Whether a slot is wrong, by its key, its position and the size of its call."""


def chance(*parts: object) -> float:
    """A number from 0 to 1 that depends on the parts alone."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32


def right(task: str, text: str) -> str:
    """The gold of a task for a text; `text` is that of the task's own set."""
    return "yes" if chance(task, text) < 0.5 else "no"


def dataset(name: str, tasks: int, rows: int, *, inputs: str = "text") -> mti.Dataset:
    """A set of label tasks whose names begin with that of the set."""
    names = [f"{name}_{letter}" for letter in "abcdefghijkl"[:tasks]]
    program = mti.combine(*[f"{inputs} -> {one}: Literal['yes', 'no']" for one in names])
    lines = [
        {
            "id": f"{name}{number}",
            "inputs": {inputs: (text := f"{name} says {number}")},
            "outputs": {one: right(one, text) for one in names},
            "split": "test" if number < rows else "train",
        }
        for number in range(rows + 3)
    ]
    return mti.Dataset.from_rows(program, lines, name=name)


def asked(request: mti.Request) -> tuple[list[str], int]:
    """The keys of one item in a reply to a request, and the number of items; 0: not numbered."""
    assert request.schema is not None
    schema = request.schema.schema
    numbered = schema["properties"].get("1")
    if numbered is None:
        return list(schema["properties"]), 0
    if "$ref" in numbered:
        numbered = schema["$defs"][numbered["$ref"].rsplit("/", 1)[1]]
    return list(numbered["properties"]), len(schema["properties"])


def student(loses: Loses) -> mti.FunctionModel:
    """A model that knows everything, but for the slots that it loses."""

    def item(text: str, keys: list[str], where: tuple[int, int] | None) -> dict[str, str]:
        written = {}
        for position, key in enumerate(keys, start=1):
            [line] = [line for line in text.splitlines() if f"{key[:-2]} says" in line]
            gold = right(key, line.split(": ", 1)[1])
            lost = loses(f"{key} {line}", *(where or (position, len(keys))))
            written[key] = gold if not lost else {"yes": "no", "no": "yes"}[gold]
        return written

    def answer(request: mti.Request) -> str:
        keys, number = asked(request)
        text = request.messages[-1].content
        if not number:
            return json.dumps(item(text, keys, None))
        parts = text.split("# Item ")[1:]
        return json.dumps(
            {str(n): item(part, keys, (n, number)) for n, part in enumerate(parts, start=1)}
        )

    return mti.FunctionModel(answer)


def never(key: str, position: int, size: int) -> bool:
    """A model without a loss."""
    return False


def late(key: str, position: int, size: int) -> bool:
    """A model that loses 6 of 10 slots beyond the fourth position."""
    return position > 4 and chance("late", key) < 0.6


def test_a_loss_is_found_where_it_begins() -> None:
    """A model that is worse from position 5 on loses nothing up to 4 and something at 8 and 12."""
    found = run([dataset("one", 12, 36)], student(late), items=(1,))
    line = found.lines["same"][None]
    assert line.begins == 8
    assert {line.differences[size].mean for size in (2, 4)} == {0.0}
    assert line.differences[8] == pytest.approx(-0.6 / 2, abs=0.08)
    assert line.differences[12] == pytest.approx(-0.6 * 8 / 12, abs=0.08)
    assert line.curve.knee is not None
    assert 3.5 <= line.curve.knee < 8
    assert line.curve.knee_interval.low >= 3.5
    assert line.curve.at(12) == pytest.approx(0.4, abs=0.08)
    [words] = [part for part in found.parts() if isinstance(part, Text)][:1]
    assert "the loss begins at 8" in words.paragraphs[0]


def test_the_loss_is_seen_at_its_positions() -> None:
    """By position, the first four slots of a call of 12 are as good as alone, and the rest not."""
    found = run([dataset("one", 12, 36)], student(late), tasks=(12,), items=())
    positions = found.positions("same", 12)
    assert list(positions) == list(range(1, 13))
    assert {positions[place].mean for place in (1, 2, 3, 4)} == {0.0}
    assert all(positions[place].interval.high < 0 for place in range(5, 13))


def test_no_loss_is_found_where_there_is_none() -> None:
    """A model that answers the same in every company has no loss and no knee, in words too."""
    found = run([dataset("one", 4, 20), dataset("two", 4, 20)], student(never), tasks=(2, 4, 8))
    assert found.sweeps == ("same", "mixed", "items")
    for lines in found.lines.values():
        assert lines[None].begins is None
        assert lines[None].curve.knee is None
        assert {one.mean for one in lines[None].differences.values()} == {0.0}
    words = next(part for part in found.parts() if isinstance(part, Text))
    assert all("no loss can be told apart up to" in one for one in words.paragraphs)


def test_equal_noise_is_no_loss() -> None:
    """A model that is wrong at random, alone as in company, is not said to lose anything."""

    def noisy(key: str, position: int, size: int) -> bool:
        return chance("noise", key, position, size) < 0.3

    found = run([dataset("one", 8, 40)], student(noisy), tasks=(2, 4, 8), items=())
    assert found.lines["same"][None].begins is None


def test_a_loss_with_items_is_found() -> None:
    """A model that loses the items beyond the fourth of a call shows it in that sweep alone."""

    def crowded(key: str, position: int, size: int) -> bool:
        return position > 4 and chance(key) < 0.9

    found = run([dataset("one", 2, 32)], student(crowded), tasks=(2,), items=(2, 4, 8))
    assert found.lines["items"][None].begins == 8
    assert found.lines["same"][None].begins is None


@given(tasks=st.integers(2, 7), turns=st.integers(1, 3), seed=st.integers(0, 99))
def test_positions_are_balanced(tasks: int, turns: int, seed: int) -> None:
    """Where the number of items is a multiple of the tasks, each task has each position equally."""
    planned = design([dataset("one", tasks, tasks * turns)], items=(), seed=seed)
    counts: Counter[tuple[int, str, int]] = Counter()
    for job in planned.jobs:
        for place in range(len(job.rows)):
            for task, position in job.positions(place).items():
                counts[job.size, task, position] += 1
    for size in {job.size for job in planned.jobs}:
        of_size = {key: count for key, count in counts.items() if key[0] == size}
        assert len(of_size) == tasks * size
        assert set(of_size.values()) == {turns * (tasks // size)}


def test_a_plan_says_what_is_asked() -> None:
    """Every call has exactly as many tasks, or items, as its size says."""
    model = student(never)
    run([dataset("one", 5, 10)], model, tasks=(2, 4), items=(4,))
    sizes = Counter((len(keys), number) for keys, number in map(asked, model.requests))
    assert sizes == {(1, 0): 50, (2, 0): 20, (4, 0): 10, (1, 4): 10}


def test_tasks_of_several_sets_share_calls(tmp_path: Path) -> None:
    """Sets from files with inputs of one name are put side by side; each task reads its own."""
    for name in ("left", "right"):
        data = dataset(name, 3, 12)
        tasks = [
            {"name": one, "instruction": "Say it.", "metric": "exact",
             "output_schema": {"type": "string", "enum": ["yes", "no"]}}
            for one in data.program.tasks
        ]  # fmt: skip
        spec = {"inputs": [{"name": "text"}], "subtasks": tasks}
        (tmp_path / f"{name}.task.json").write_text(json.dumps(spec))
        rows = [{"id": row.id, "inputs": row.inputs, "outputs": row.outputs} for row in data.test]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    datasets = [mti.Dataset.load(tmp_path / f"{name}.jsonl") for name in ("left", "right")]
    model = student(never)
    found = run(datasets, model, tasks=(2, 6), items=())
    assert {one.score for one in found.slots} == {1.0}
    assert {one.data for one in found.of("mixed", 6)} == {"left", "right"}
    fullest = max(model.requests, key=lambda request: len(request.messages[-1].content))
    assert "left_text: left says" in fullest.messages[-1].content
    assert "right_text: right says" in fullest.messages[-1].content
    alone = min(model.requests, key=lambda request: len(request.messages[-1].content))
    assert ("left says" in alone.messages[-1].content) != (
        "right says" in alone.messages[-1].content
    )


def test_demonstrations_are_shown_at_every_size() -> None:
    """With demonstrations, each call begins with as many answered items, of all sets or of one."""
    model = student(never)
    run([dataset("one", 2, 4), dataset("two", 2, 4)], model, demos=2, tasks=(4,), items=())
    for request in model.requests:
        assert len(request.messages) == 1 + 2 * 2 + 1


def test_tasks_that_depend_on_others_are_left_out() -> None:
    """Only tasks that take no answer are asked, so that each may stand anywhere."""
    program = mti.combine(
        "text -> a: Literal['yes', 'no']",
        "text -> b: Literal['yes', 'no']",
        "text, a -> c: Literal['yes', 'no']",
    )
    rows = [{"inputs": {"text": str(one)}, "outputs": {"a": "yes", "c": "no"}} for one in range(4)]
    found = run([mti.Dataset.from_rows(program, rows)], mti.EchoModel(), items=())
    assert found.tasks == {"rows": ("a", "b")}
    assert {one.task for one in found.slots} == {"a"}  # b has no gold


def test_a_stopped_run_is_taken_up(tmp_path: Path) -> None:
    """What was answered before an outage is not asked again, and the figures are the same."""
    data = [dataset("one", 3, 6), dataset("two", 2, 6)]
    whole = run(data, student(late), tasks=(2, 3), items=(2,))
    good = student(late)

    def failing(request: mti.Request) -> mti.Reply:
        if len(broken.requests) > 25:
            raise ModelUnavailable("gone")
        return good.complete(request)

    broken = mti.FunctionModel(failing)
    with pytest.raises(IncompleteRun):
        run(data, broken, tasks=(2, 3), items=(2,), record=tmp_path)
    first = len(good.requests)
    good_again = student(late)
    found = run(data, good_again, tasks=(2, 3), items=(2,), record=tmp_path)
    total = len(good_again.requests) + first
    assert first == 25
    assert [(one.task, one.item, one.score) for one in found.slots] == [
        (one.task, one.item, one.score) for one in whole.slots
    ]
    assert total == len({request.key for request in [*good.requests, *good_again.requests]})


def test_concurrent_calls_change_no_score() -> None:
    """With calls in flight at the same time, slots have the same positions and scores."""
    data = [dataset("one", 4, 10), dataset("two", 2, 10)]
    serial = run(data, student(late), tasks=(2, 6), items=(2, 4))
    found = run(data, student(late), tasks=(2, 6), items=(2, 4), concurrency=4)
    assert [(one.task, one.item, one.position, one.score) for one in found.slots] == [
        (one.task, one.item, one.position, one.score) for one in serial.slots
    ]
    assert (serial.serial, found.serial) == (True, False)


def test_progress_is_told_as_often_as_planned() -> None:
    """`progress` is called once for each of the steps that the design counts."""
    data, steps = [dataset("one", 3, 7)], []
    run(data, student(never), rows=5, items=(2,), progress=lambda: steps.append(1))
    assert len(steps) == design(data, rows=5, items=(2,)).steps


def test_costs_are_shared_by_the_slots() -> None:
    """A slot of a call of four has a quarter of its tokens, beside the same slot alone."""
    model = student(never)
    found = run([dataset("one", 4, 4)], model, tasks=(4,), items=())
    [(size, (together, alone))] = found.costs("same").items()
    fused = [one for one in model.requests if len(asked(one)[0]) == 4]
    read = sum(math.ceil(len(part.content) / 4) for one in fused for part in one.messages)
    assert size == 4
    assert together.prompt_tokens == pytest.approx(read / 16)
    assert alone.prompt_tokens > together.prompt_tokens > 0


def test_failed_slots_count_as_wrong() -> None:
    """A slot without a valid answer has the score 0, is counted as failed, and is not repaired."""
    model = mti.FunctionModel(lambda request: "{}")
    found = run([dataset("one", 2, 4)], model, tasks=(2,), items=())
    assert len(model.requests) == 4 * 2 + 4
    assert {(one.score, one.failed) for one in found.slots} == {(0.0, True)}
    assert found.plain()["sweeps"]["same"]["failed"] == {"2": 8}


def test_the_report_has_all_figures() -> None:
    """The parts hold a verdict, tables as wide as their columns, charts, and plain JSON data."""
    found = run([dataset("one", 4, 12)], student(late), tasks=(2, 4), items=(2,))
    parts = found.parts()
    tables = [part for part in parts if isinstance(part, Table)]
    assert tables == list(found.tables())
    assert all(len(row) == len(table.columns) for table in tables for row in table.rows)
    charts = [part for part in parts if isinstance(part, Chart)]
    assert all(len(one.x) == len(one.y) for chart in charts for one in chart.series)
    assert any(one.low for chart in charts for one in chart.series)
    text = json.dumps(found.plain(), allow_nan=False)
    assert json.loads(text)["sweeps"]["same"]["all"]["begins"] is None


def test_differences_are_those_of_items() -> None:
    """By hand: two items with two slots each give the mean of two differences, n = 2."""

    def slot(item: str, score: float, alone: float) -> Slot:
        return Slot("same", 2, 1, "d", "t", "label", item, score, alone, False, Cost(), Cost())

    slots = (slot("a", 1, 1), slot("a", 0, 1), slot("b", 1, 1), slot("b", 1, 0))
    found = Findings(slots, {"d": ("t",)}, "model").lines["same"][None].differences[2]
    assert found == pytest.approx(((0.5 - 1.0) + (1.0 - 0.5)) / 2)
    assert found.n == 2


@given(
    knee=st.sampled_from([1, 2, 3, 4, 6]),
    slope=st.sampled_from([0.05, 0.1, 0.2]),
    seed=st.integers(0, 20),
)
def test_a_curve_is_recovered(knee: int, slope: float, seed: int) -> None:
    """Losses that lie on a curve give its knee, to a quarter of a doubling, and its slope."""
    noise = random.Random(seed)
    losses = [
        {
            size: slope * max(0.0, math.log2(size / knee)) + noise.uniform(-0.002, 0.002)
            for size in (2, 4, 8, 16, 32)
        }
        for _ in range(20)
    ]
    curve = fit(losses, draws=40)
    assert curve.knee is not None
    assert abs(math.log2(curve.knee / knee)) <= 0.25
    assert curve.slope == pytest.approx(slope, rel=0.1)
    assert curve.knee_interval.low <= curve.knee <= curve.knee_interval.high


def test_gains_have_no_knee() -> None:
    """Where company helps there is no loss to fit; without anything there is no curve either."""
    curve = fit([{2: -0.1, 4: -0.2}, {2: 0.0, 4: -0.1}], draws=20)
    assert (curve.knee, curve.slope, curve.at(4)) == (None, 0.0, 0.0)
    assert curve.knee_interval.high == math.inf
    assert math.isnan(fit([]).slope_interval.low)


def refusals() -> list[tuple[str, dict[str, Any]]]:
    """What cannot be measured, and the words that say so."""
    return [
        ("no data set", {"datasets": []}),
        ("expected 1 or more", {"tasks": (0,)}),
        ("expected 1 or more", {"rows": 0}),
        ("nothing to compare", {"tasks": (99,), "items": (99,)}),
        ("are wanted", {"demos": 9}),
        ("demos=-1 makes no sense", {"demos": -1}),
        ("demos=1.5 makes no sense", {"demos": 1.5}),
        ("tasks=3 is no list", {"tasks": 3}),
        ("items='2,4' is no list", {"items": "2,4"}),
        (r"expected 1 or more", {"tasks": ([2],)}),
        ("seed='a' makes no sense", {"seed": "a"}),
        ("is no list", {"datasets": dataset("one", 2, 4)}),
        ("'one.jsonl' is no data set", {"datasets": ["one.jsonl"]}),
        ("confidence is 95, expected above 0, below 1", {"confidence": 95}),
        ("record='' is no folder", {"record": ""}),
        ("progress=3 is no function", {"progress": 3}),
        ("repair=3 is no repair", {"repair": 3}),
        ("concurrency=0 makes no sense", {"concurrency": 0}),
        ("two data sets are called", {"datasets": [dataset("one", 2, 4)] * 2}),
        ("no test rows", {"datasets": [mti.Dataset("x", dataset("one", 2, 4).program)]}),
    ]


@pytest.mark.parametrize(("words", "wrong"), refusals())
def test_what_cannot_be_measured_is_refused(words: str, wrong: dict[str, Any]) -> None:
    """Mistakes of the caller are one line, before anything is asked."""
    model = student(never)
    options: dict[str, Any] = {"datasets": [dataset("one", 2, 4)], "model": model} | wrong
    with pytest.raises(DataError, match=words):
        run(options.pop("datasets"), **options)
    assert model.requests == []


def test_names_that_cannot_be_made_unique_are_refused() -> None:
    """A task whose answer is read by a name that another set has is not renamed behind its back."""
    program = mti.combine("text -> x: bool, y: bool")
    rows = [{"inputs": {"text": "a"}, "outputs": {"x_y": {"x": True, "y": False}}}]
    data = [mti.Dataset.from_rows(program, rows, name=name) for name in ("one", "two")]
    with pytest.raises(DataError, match="has the name of another field"):
        design(data)
