"""Measuring: arms do what they say, figures are what a hand would compute, outages are no score."""

from __future__ import annotations

import json
import math
import re
import threading
import unicodedata
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt.errors import ContentRefused, ContextTooLong, ModelUnavailable
from mtiprompt.evaluation import draw_demos
from mtiprompt.evaluation.asking import uncached
from mtiprompt.evaluation.outcome import union
from mtiprompt.testing import ChatServer, Fault

program = mti.combine(
    "text -> mood: Literal['good', 'bad']", "text -> stars: int", "text -> words: list[str]"
)
GOLD = {"mood": "good", "stars": 0, "words": []}
"""What the smallest answer is."""


def _rows(number: int, **gold: Any) -> list[dict[str, Any]]:
    return [
        {"id": f"r{n}", "inputs": {"text": f"Lamp number {n}."}, "outputs": GOLD | gold}
        for n in range(number)
    ]


def _demos(number: int = 2) -> tuple[mti.Demo, ...]:
    demos = [{"inputs": {"text": f"Demo {n}!"}, "outputs": GOLD} for n in range(number)]
    return mti.Plan.fused(program, demos=demos).demos


def _arms(*names: str, demos: tuple[mti.Demo, ...] = ()) -> tuple[mti.Arm, ...]:
    return mti.make_arms(program, names, demos)


def _text(request: mti.Request) -> str:
    return "\n".join(message.content for message in request.messages)


def _asked(request: mti.Request) -> set[str]:
    """The tasks that a reply must answer."""
    assert request.schema is not None
    return set(re.findall(r'"(mood|stars|words)": ?\{', request.schema.text))


def _items(request: mti.Request) -> list[int]:
    """The numbers of the items that a request is about."""
    return [int(one) for one in re.findall(r"Lamp number (\d+)\.", _text(request))]


# --- an independent computation -----------------------------------------------------------------

TABLE = {
    # item: what the model says; gold is in _by_hand_rows
    "a": '{"mood": "good", "stars": 3, "words": ["x", "y"]}',
    "b": '{"mood": "good", "stars": 4, "words": ["x"]}',
    "c": '{"mood": "sad", "stars": 5, "words": []}',
    "d": '{"mood": "bad", "words": ["z"]}',
    "e": "I cannot tell.",
    "f": '{"mood": "bad", "stars": 1, "words": ["x", "q"]}',
}
OTHER = {
    "a": '{"mood": "good", "stars": 3, "words": ["x", "y"]}',
    "b": '{"mood": "bad", "stars": 5, "words": ["x"]}',
    "c": '{"mood": "good", "stars": 5, "words": []}',
    "d": '{"mood": "bad", "stars": 2, "words": []}',
    "e": '{"mood": "good", "stars": 0, "words": ["y"]}',
    "f": '{"mood": "good", "stars": 1, "words": []}',
}


def _by_hand_rows() -> list[dict[str, Any]]:
    gold: dict[str, dict[str, Any]] = {
        "a": {"mood": "good", "stars": 3, "words": ["x", "y"]},
        "b": {"mood": "good", "stars": 5, "words": ["x", "y"]},
        "c": {"mood": "good", "stars": 5, "words": []},
        "d": {"mood": "bad", "stars": 2, "words": ["z"]},
        "e": {"mood": "good", "stars": 0},  # nobody has said which words
        "f": {"mood": "bad", "stars": 1, "words": ["x"]},
    }
    return [
        {"id": id, "inputs": {"text": f"<{id}>"}, "outputs": outputs}
        for id, outputs in gold.items()
    ]


def _from_table(request: mti.Request) -> str:
    text = request.messages[-1].content
    item = next(id for id in TABLE if f"<{id}>" in text)
    demos = len(request.messages) > 2
    return (OTHER if demos else TABLE)[item]


def test_figures_are_what_a_hand_computes() -> None:
    """Scores, intervals, differences, joint and conditional accuracy of a small run, by hand.

    The model has wrong answers, a label that is none, a missing key and a reply without JSON; one
    item has no gold for a task. None of the library's functions is used for what is expected.
    """
    arms = [
        mti.Arm("shown", mti.Plan.fused(program, demos=_demos(1))),
        mti.Arm("bare", mti.Plan.fused(program)),
    ]
    found = mti.compare(
        program,
        _by_hand_rows(),
        arms,
        model=mti.FunctionModel(_from_table),
        repair=mti.Repair.none(),
        metrics={"words": "f1_set"},
    )
    bare, shown = found.scores["bare"], found.scores["shown"]

    assert bare.tasks["mood"].by_item == {"a": 1, "b": 1, "c": 0, "d": 1, "e": 0, "f": 1}
    assert bare.tasks["stars"].by_item == {"a": 1, "b": 0, "c": 1, "d": 0, "e": 0, "f": 1}
    # F1: of {x} for {x, y} it is 2*1/(1+2), of {x, q} for {x} the same; two empty sets are equal
    words = {"a": 1, "b": 2 / 3, "c": 1, "d": 1, "f": 2 / 3}
    assert bare.tasks["words"].by_item == pytest.approx(words)
    assert (bare.tasks["mood"].n, bare.tasks["words"].n) == (6, 5)
    assert bare.tasks["mood"].mean == pytest.approx(4 / 6)
    assert bare.tasks["words"].mean == pytest.approx((1 + 2 / 3 + 1 + 1 + 2 / 3) / 5)
    assert bare.tasks["mood"].failures == {"not an allowed label": 1, "unreadable": 1}
    assert bare.tasks["stars"].failures == {"missing": 1, "unreadable": 1}
    assert bare.tasks["words"].failures == {}  # that of e is not scored
    assert bare.failures == {"not an allowed label": 1, "missing": 1, "unreadable": 3}

    # right up to a task: mood a b d f; and stars a f; and words a (f has 2/3)
    conditional = [bare.tasks[name].conditional for name in ("mood", "stars", "words")]
    assert conditional == pytest.approx([4 / 6, 2 / 6, 1 / 5])
    assert [one.n for one in conditional] == [6, 6, 5]
    assert bare.joint.mean == pytest.approx(1 / 5)
    assert bare.joint.n == 5
    items = [1, (1 + 0 + 2 / 3) / 3, 2 / 3, 2 / 3, 0, (1 + 1 + 2 / 3) / 3]
    assert bare.average == pytest.approx(sum(items) / 6)

    # Agresti-Coull for 4 of 6, with the quantile of t for 9 degrees of freedom out of a table
    p = 6 / 10
    reach = 2.2622 * math.sqrt(p * (1 - p) / 10)
    assert bare.tasks["mood"].interval == pytest.approx((p - reach, p + reach), abs=1e-3)

    # mood, bare - shown: a 0, b 1-0, c 0-1, d 0, e 0-1, f 1-0
    assert shown.tasks["mood"].by_item == {"a": 1, "b": 0, "c": 1, "d": 1, "e": 1, "f": 0}
    apart = found.difference("bare", "mood")
    assert (apart.mean, apart.n) == (0, 6)
    # Bonett-Price: 3 of 8 better, 3 of 8 worse; t for 7 degrees of freedom
    reach = 2.3646 * math.sqrt((3 / 8 + 3 / 8) / 8)
    assert apart.interval == pytest.approx((-reach, reach), abs=1e-3)
    # all right: bare a; shown a and c (e has no gold for all)
    assert shown.joint == pytest.approx(2 / 5)
    assert found.joint_difference("bare") == pytest.approx(1 / 5 - 2 / 5)
    theirs = [1, (0 + 1 + 2 / 3) / 3, 1, 2 / 3, 1, 1 / 3]
    assert found.difference("bare") == pytest.approx((sum(items) - sum(theirs)) / 6)
    assert found.difference("shown") == 0.0
    assert found.baseline == "shown"

    plain = json.loads(json.dumps(found.plain(), allow_nan=False))
    assert plain["arms"]["bare"]["tasks"]["mood"]["mean"] == pytest.approx(4 / 6)
    assert plain["arms"]["bare"]["differences"]["tasks"]["mood"]["mean"] == 0


def test_usage_is_what_the_calls_cost() -> None:
    """Tokens and calls of an arm are those of its requests, four characters a token."""
    model = mti.EchoModel()
    scores = mti.evaluate(program, _rows(5), model=model, plan=mti.Plan.split(program))
    read = sum(-(-len(m.content) // 4) for one in model.requests for m in one.messages)
    assert (scores.usage.calls, scores.usage.prompt_tokens) == (15, read)
    assert (scores.joint.mean, scores.n, scores.failures) == (1, 5, {})


@pytest.mark.parametrize(
    ("spans", "length"),
    [([], 0), ([(0, 1)], 1), ([(0, 2), (1, 3)], 3), ([(0, 9), (1, 2), (10, 11)], 10)],
)
def test_time_in_which_a_call_was_under_way(spans: Any, length: float) -> None:
    """Spans that overlap count once, gaps not at all."""
    assert union(spans) == length


# --- arms ---------------------------------------------------------------------------------------


def _requests(arm: str, number: int = 9, demos: int = 2) -> list[mti.Request]:
    model = mti.EchoModel()
    found = mti.compare(program, _rows(number), _arms(arm, demos=_demos(demos)), model=model)
    assert found.scores[arm].joint == 1.0
    return model.requests


def test_split_asks_one_task_a_call() -> None:
    """Each item has a call for each task, one after the other, and none tells of the others."""
    requests = _requests("split")
    assert [_items(one) for one in requests] == [[n] for n in range(9) for _ in range(3)]
    assert [_asked(one) for one in requests[:3]] == [{"mood"}, {"stars"}, {"words"}]
    assert not any("stars" in _text(one) for one in requests if _asked(one) == {"mood"})


def test_split_all_context_tells_of_all_tasks_and_asks_one() -> None:
    """Every call names all tasks, and its reply answers one."""
    requests = _requests("split_all_context")
    assert len(requests) == 27
    for one in requests:
        assert len(_asked(one)) == 1
        assert all(name in _text(one) for name in program.tasks)


def test_split_cached_has_the_item_first() -> None:
    """The calls about an item begin alike, up to and with the item, which is before the task."""
    requests = _requests("split_cached", demos=0)
    for n in range(9):
        first, *others = (_text(one) for one in requests[3 * n : 3 * n + 3])
        end = first.index(f"Lamp number {n}.") + len(f"Lamp number {n}.")
        assert all(one[:end] == first[:end] for one in others)


def test_batch_asks_one_task_about_several_items() -> None:
    """Nine items by four are calls of 4, 4 and 1 for each task."""
    requests = _requests("batch:4", demos=0)
    assert [(_asked(one), _items(one)) for one in requests[:3]] == [
        ({name}, [0, 1, 2, 3]) for name in ("mood", "stars", "words")
    ]
    assert [len(_items(one)) for one in requests] == [4] * 6 + [1] * 3


def test_fused_asks_all_at_once() -> None:
    """One call an item; or one for several with all tasks of each."""
    assert [_items(one) for one in _requests("fused")] == [[n] for n in range(9)]
    requests = _requests("fused_batch:2", demos=0)
    assert [_items(one) for one in requests] == [[0, 1], [2, 3], [4, 5], [6, 7], [8]]
    assert all(_asked(one) == set(program.tasks) for one in requests)


def test_demos_are_the_same_in_all_arms() -> None:
    """Each demonstration is in every prompt of every arm, in the same order."""
    names = ("split", "split_all_context", "split_cached", "batch:4", "fused", "fused_batch:4")
    for name in names:
        for one in _requests(name, number=8, demos=4):
            assert re.findall(r"Demo (\d)!", _text(one)) == ["0", "1", "2", "3"], name


def test_arms_and_blocks_take_turns() -> None:
    """Each block goes through all arms; the arm that begins is another in each block."""
    model = mti.EchoModel()
    arms = _arms("fused", "fused_batch:2", "split")
    mti.compare(program, _rows(7), arms, model=model)

    def kind(request: mti.Request) -> str:
        if len(_asked(request)) == 1:
            return "split"
        return "batch" if len(_items(request)) == 2 else "fused"

    turns: list[str] = []
    for one in model.requests[:-5]:  # the last block has one item, of which a batch looks alike
        if not turns or turns[-1] != kind(one):
            turns.append(kind(one))
    assert turns == [
        "fused",
        "batch",
        "split",
        "batch",
        "split",
        "fused",
        "split",
        "fused",
        "batch",
    ]


def test_calls_are_never_cut_short_by_blocks() -> None:
    """Arms of 7 and 9 items a call have whole calls but for their last, whatever the blocks."""
    model = mti.EchoModel()
    mti.compare(program, _rows(40), _arms("fused_batch:7", "fused_batch:9"), model=model)
    sizes = [len(_items(one)) for one in model.requests]
    assert sorted(sizes) == sorted([7] * 5 + [5] + [9] * 4 + [4])


def test_serial_arms_never_overlap_and_parallel_ones_do() -> None:
    """At a concurrency of 1 only `split_parallel` has several calls open, those about one item."""
    for name, most in {"split": 1, "batch:4": 1, "fused": 1, "split_parallel": 3}.items():
        with ChatServer(delay=0.02) as server:
            model = mti.Model("direct/any", api_base=server.base_url)
            found = mti.compare(program, _rows(3), _arms(name), model=model)
            assert server.most_at_once == most, name
            assert found.serial


@pytest.mark.parametrize("on_record", [True, False])
def test_parallel_calls_take_the_time_of_one(tmp_path: Path, on_record: bool) -> None:
    """The seconds of an arm are those in which a call was under way, with a record and without.

    Three calls that wait for each other are under way at the same time, so their seconds together
    are more than twice what is told.
    """
    together = threading.Barrier(3)

    def say(request: mti.Request) -> str:
        together.wait(10)
        threading.Event().wait(0.25)  # well above what a busy machine adds
        return mti.EchoModel().complete(request).text

    model = mti.FunctionModel(say)
    record = tmp_path if on_record else None
    found = mti.compare(program, _rows(2), _arms("split_parallel"), model=model, record=record)
    scores = found.scores["split_parallel"]
    assert 0 < scores.seconds < scores.usage.seconds / 2


def test_several_items_at_once_give_the_same_figures() -> None:
    """Concurrency changes the order of calls and nothing in the scores, batches included."""
    arms = _arms("split", "batch:4", "fused_batch:3", demos=_demos())
    told = []
    for concurrency in (1, 5):
        found = mti.compare(
            program, _rows(23), arms, model=mti.EchoModel(), concurrency=concurrency
        )
        told.append({name: (one.joint, one.usage.calls) for name, one in found.scores.items()})
        assert found.serial == (concurrency == 1)
        assert [one.id for one in found.outcomes["batch:4"]] == [f"r{n}" for n in range(23)]
    assert told[0] == told[1]


def test_a_saved_plan_is_an_arm(tmp_path: Path) -> None:
    """It is called after its file and keeps its own demonstrations."""
    plan = mti.Plan.groups(program, [["mood", "stars"], ["words"]], demos=_demos(1))
    plan.save(tmp_path / "mine.json")
    [arm] = _arms(str(tmp_path / "mine.json"), demos=_demos(2))
    assert (arm.name, arm.plan) == ("mine", plan)


@pytest.mark.parametrize(
    "names",
    [[], ["nothing"], ["batch:"], ["batch:1"], ["batch:x"], ["fused:2"], ["split", "split"]],
)
def test_wrong_arms(names: list[str]) -> None:
    """Arms that there are not, or twice, are refused with what there is."""
    with pytest.raises(mti.DataError):
        _arms(*names)


def test_drawing_demos() -> None:
    """The same seed draws the same; only rows with gold for every task; too many are refused."""
    rows = mti.Dataset.from_rows(program, [*_rows(9), {"id": "x", "inputs": {"text": "x"}}]).test
    assert draw_demos(program, rows, 4, seed=3) == draw_demos(program, rows, 4, seed=3)
    assert draw_demos(program, rows, 4, seed=3) != draw_demos(program, rows, 4, seed=4)
    assert len(draw_demos(program, rows, 9)) == 9
    for wrong in (10, -1):
        with pytest.raises(mti.DataError, match="demonstrations are wanted"):
            draw_demos(program, rows, wrong)


# --- metrics --------------------------------------------------------------------------------------


def _mean(metric: Any, **gold: Any) -> float:
    rows = _rows(2, **gold)
    scores = mti.evaluate(program, rows, model=mti.EchoModel(), metrics={"stars": metric})
    return scores.tasks["stars"].mean


def test_metrics_of_a_user() -> None:
    """Functions of two or three arguments, of bool and of every kind of number."""

    def near(answer: int, gold: int, *rest: Any, scale: float = 4) -> float:
        assert not rest
        return max(0.0, 1 - abs(answer - gold) / scale)

    def traced(answer: int, gold: int, trace: Any = None) -> bool:
        return trace is None

    def of_inputs(answer: int, gold: int, inputs: Mapping[str, Any]) -> bool:
        return str(inputs["text"]).endswith("0.")

    assert _mean(near, stars=1) == 0.75
    assert _mean(traced) == 1
    assert _mean(of_inputs) == 0.5
    assert _mean(lambda answer, gold: answer == gold) == 1
    assert _mean(lambda answer, gold: Fraction(1, 2)) == 0.5
    assert _mean("numeric") == 1


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (lambda answer, gold: math.nan, "gave nan"),
        (lambda answer, gold: 1.5, "gave 1.5"),
        (lambda answer, gold: -0.1, "gave -0.1"),
        (lambda answer, gold: None, "gave None"),
        (lambda answer, gold: "1", "gave '1'"),
        (lambda answer, gold: 1j, "gave 1j"),
        (lambda answer, gold: gold["x"], "failed on item 'r0': TypeError"),
    ],
)
def test_wrong_scores_are_named(metric: Any, message: str) -> None:
    """What a metric gives that is no score, or raises, is an error with task and item."""
    with pytest.raises(mti.DataError, match=re.escape(message)) as caught:
        _mean(metric)
    assert "stars" in str(caught.value)


async def _late(answer: Any, gold: Any) -> float:
    return 1.0


@pytest.mark.parametrize(
    "metrics",
    [{"stars": "bleu"}, {"star": "exact"}, {"stars": ""}, {"stars": []}, {"stars": [1]},
     {"stars": _late}, {"stars": lambda answer: 1.0}, {"stars": lambda one, two, three, four: 1.0}],
)  # fmt: skip
def test_wrong_metrics_cost_nothing(metrics: dict[str, Any]) -> None:
    """A metric that there is not, or one for no task, is refused before the first call."""
    model = mti.EchoModel()
    with pytest.raises(mti.DataError):
        mti.evaluate(program, _rows(3), model=model, metrics=metrics)
    assert model.requests == []


def test_rows_without_gold_for_some_tasks() -> None:
    """They count where they have gold; a task without any has no mean, and JSON says null."""
    rows = [row | {"outputs": {"mood": "good"}} for row in _rows(3)]
    rows.append({"id": "none", "inputs": {"text": "Nobody said."}})
    found = mti.compare(program, rows, _arms("fused", "split"), model=mti.EchoModel())
    scores = found.scores["fused"]
    assert [scores.tasks[name].n for name in program.order] == [3, 0, 0]
    assert (scores.joint.n, scores.average.n, scores.n) == (0, 3, 4)
    assert math.isnan(scores.tasks["stars"].mean)
    plain = json.loads(json.dumps(found.plain(), allow_nan=False))
    assert plain["arms"]["split"]["tasks"]["stars"]["mean"] is None
    assert plain["arms"]["split"]["differences"]["joint"]["interval"] is None


# --- outages --------------------------------------------------------------------------------------


def test_an_outage_is_no_score_and_the_run_goes_on_later(tmp_path: Path) -> None:
    """Items whose calls failed are named, and the next run asks for what lacks and no more."""
    rows = _rows(6)

    def broken(received: Any) -> Fault | None:
        text = received.body["messages"][-1]["content"]
        return Fault(503) if "number 2." in text or "number 4." in text else None

    arms = _arms("split", "fused")
    with ChatServer(faults=broken) as server:
        model = mti.Model("direct/any", api_base=server.base_url, retries=0)
        with pytest.raises(mti.IncompleteRun, match="2 of 6 items") as caught:
            mti.compare(program, rows, arms, model=model, record=tmp_path)
        assert caught.value.items == ("r2", "r4")
        assert "run it again" in str(caught.value)
        port = server.port
    with ChatServer(port=port) as server:
        model = mti.Model("direct/any", api_base=server.base_url, retries=0)
        found = mti.compare(program, rows, arms, model=model, record=tmp_path)
        assert server.count == 2 * (3 + 1)
    assert [one.usage.calls for one in found.scores.values()] == [18, 6]
    assert [one.joint.mean for one in found.scores.values()] == [1, 1]


def test_an_arm_that_is_down_is_given_up() -> None:
    """After three blocks without any answer an arm is not asked any more; all items are named."""

    def down(request: mti.Request) -> str:
        raise ModelUnavailable("down")

    model = mti.FunctionModel(down)
    with pytest.raises(mti.IncompleteRun, match="down") as caught:
        mti.compare(program, _rows(20), _arms("fused"), model=model, repair=mti.Repair.none())
    assert len(caught.value.items) == 20
    assert len(model.requests) == 3
    assert "record=" in str(caught.value)


def test_a_spent_budget_is_no_score(tmp_path: Path) -> None:
    """Items behind the end of a budget are named; a new budget pays for those alone."""
    rows, arms = _rows(5), _arms("split", "fused")
    with ChatServer() as server:
        first = mti.Model("direct/any", api_base=server.base_url, budget=mti.Budget(calls=9))
        with pytest.raises(mti.IncompleteRun, match="budget") as caught:
            mti.compare(program, rows, arms, model=first, record=tmp_path)
        assert caught.value.items == ("r2", "r3", "r4")
        rest = mti.Model("direct/any", api_base=server.base_url, budget=mti.Budget(calls=11))
        found = mti.compare(program, rows, arms, model=rest, record=tmp_path)
        assert server.count == 20
    assert [one.joint.mean for one in found.scores.values()] == [1, 1]


@pytest.mark.parametrize("error", [ContextTooLong, ContentRefused])
def test_what_the_model_will_never_answer_is_a_failure(error: type[mti.ModelError]) -> None:
    """A prompt too long for the model, or against its policy, scores 0: asking again is no use."""

    def say(request: mti.Request) -> str:
        if _items(request) == [1]:
            raise error("no")
        return mti.EchoModel().complete(request).text

    scores = mti.evaluate(program, _rows(4), model=mti.FunctionModel(say))
    assert scores.tasks["mood"].by_item == {"r0": 1, "r1": 0, "r2": 1, "r3": 1}
    assert scores.tasks["mood"].failures == {"call failed": 1}


# --- what would mislead -------------------------------------------------------------------------


def test_a_cache_answers_no_measurement(tmp_path: Path) -> None:
    """A model with a cache, or with answers kept one by one, is asked itself, by every arm.

    Else the second of two arms with the same calls would cost nothing and take no time.
    """
    arms = _arms("split", "split_parallel")
    with ChatServer() as server:
        model = mti.Model(
            "direct/any", api_base=server.base_url, cache=tmp_path / "cache", reuse="any"
        )
        for times in (1, 2):
            found = mti.compare(program, _rows(4), arms, model=model)
            assert [one.usage.calls for one in found.scores.values()] == [12, 12]
            assert server.count == 24 * times
        assert model.usage.calls == 48  # its meter counts all the same
        spare = mti.Model("direct/b", api_base=server.base_url, cache=tmp_path / "cache")
        both = mti.Model("direct/a", api_base=server.base_url, fallback=spare)
        for _ in range(2):
            mti.evaluate(program, _rows(1), model=both)
        assert server.count == 50
    echo = mti.EchoModel()
    assert uncached(echo) is echo


def test_equal_items_are_asked_each(tmp_path: Path) -> None:
    """Rows of the same text are items of their own, also on record and when taken up again."""
    said = iter(["good", "bad", "good"])

    def say(request: mti.Request) -> str:
        return json.dumps({"mood": next(said), "stars": 0, "words": []})

    rows = [{"inputs": {"text": "Twice."}, "outputs": GOLD} for _ in range(3)]
    for model in (mti.FunctionModel(say), mti.ScriptedModel([], name="function")):
        found = mti.compare(program, rows, _arms("fused"), model=model, record=tmp_path)
        assert found.scores["fused"].tasks["mood"].by_item == {"1": 1, "2": 0, "3": 1}
        assert found.scores["fused"].usage.calls == 3


def test_the_model_of_a_group_is_on_record_too(tmp_path: Path) -> None:
    """A plan with another model for a group pays for neither twice."""
    with ChatServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_BASE", server.base_url)
        patch.setenv("OPENAI_API_KEY", "k")
        groups = [mti.Group(("mood", "stars")), mti.Group(("words",), model="openai/other")]
        arm = mti.Arm("two", mti.Plan.groups(program, groups))
        told = []
        for _ in range(2):
            model = mti.Model("direct/any", api_base=server.base_url)
            found = mti.compare(program, _rows(3), [arm], model=model, record=tmp_path)
            told.append(found.scores["two"].plain())
        assert server.count == 6
        assert {one.body["model"] for one in server.requests} == {"any", "other"}
    assert told[0] | {"seconds": 0, "usage": 0} == told[1] | {"seconds": 0, "usage": 0}


def test_another_model_does_not_take_the_record(tmp_path: Path) -> None:
    """What one model said is no answer of another, in the same folder."""
    one, other = mti.EchoModel(), mti.EchoModel(name="other")
    for model in (one, other, one, other):
        mti.compare(program, _rows(3), _arms("fused"), model=model, record=tmp_path)
    assert len(one.requests) == len(other.requests) == 3


def test_names_that_would_share_a_file_are_refused(tmp_path: Path) -> None:
    """Slashes are no folders, and no two arms take each other's replies."""
    plan = mti.Plan.fused(program)
    model = mti.EchoModel()
    odd = [mti.Arm("../a/b", plan), mti.Arm("ä é", plan)]
    mti.compare(program, _rows(1), odd, model=model, record=tmp_path / "in")
    assert sorted(one.name for one in (tmp_path / "in").iterdir()) == [".._a_b.jsonl", "ä_é.jsonl"]
    for other in ("a:b", "A/B"):
        arms = [mti.Arm("a/b", plan), mti.Arm(other, plan)]
        with pytest.raises(mti.DataError, match="would both be kept"):
            mti.compare(program, _rows(1), arms, model=model, record=tmp_path)
        mti.compare(program, _rows(1), arms, model=model)  # without a record nothing is shared


def test_demos_that_are_items_are_refused() -> None:
    """Also where they differ in blanks and case only: the prompt would show the answer."""
    demos = [{"inputs": {"text": " lamp  number 1.\n"}, "outputs": GOLD}]
    arm = mti.Arm("leaky", mti.Plan.fused(program, demos=demos))
    model = mti.EchoModel()
    with pytest.raises(mti.DataError, match="'r1' is a demonstration of the arm 'leaky'"):
        mti.compare(program, _rows(3), [arm], model=model)
    assert model.requests == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"concurrency": 1.5},
        {"concurrency": True},
        {"confidence": 95},
        {"confidence": 1},
        {"confidence": "high"},
    ],
)
def test_wrong_numbers_cost_nothing(wrong: dict[str, Any]) -> None:
    """Arguments that make no sense are refused before the first call."""
    model = mti.EchoModel()
    with pytest.raises(mti.DataError):
        mti.evaluate(program, _rows(3), model=model, **wrong)
    assert model.requests == []


def test_arms_of_one_name_or_of_another_program_are_refused() -> None:
    """Neither can be told apart or compared; nor can no arm at all."""
    plan, other = mti.Plan.fused(program), mti.Plan.fused(mti.combine("text -> mood"))
    for arms, error in (
        ([], mti.DataError),
        ([mti.Arm("a", plan), mti.Arm("a", plan)], mti.DataError),
        ([mti.Arm("a", other)], mti.PlanError),
    ):
        with pytest.raises(error):
            mti.compare(program, _rows(1), arms, model=mti.EchoModel())


@pytest.mark.parametrize("arms", [["split", "fused"], {"fused": mti.Plan.fused(program)}])
def test_what_is_no_arm_is_refused(arms: Any) -> None:
    """Names and plans alone are not arms; the error shows how to write one."""
    with pytest.raises(mti.DataError, match=r"is no arm .*mti\.Arm"):
        mti.compare(program, _rows(1), arms, model=mti.EchoModel())


def test_a_difference_of_no_arm_or_task_is_refused() -> None:
    """What is not there is named, with the arms and tasks that are."""
    found = mti.compare(program, _rows(1), _arms("split", "fused"), model=mti.EchoModel())
    wrong: Any
    for wrong in ("nope", "", None, 3, ["fused"]):
        for look in (found.difference, found.joint_difference):
            with pytest.raises(mti.DataError) as caught:
                look(wrong)
            assert str(caught.value) == f"there is no arm {wrong!r} (arms: split, fused)"
    for wrong in ("nope", "", 3, ["mood"]):
        with pytest.raises(mti.DataError) as caught:
            found.difference("fused", wrong)
        assert str(caught.value) == f"there is no task {wrong!r} (tasks: mood, stars, words)"


def test_a_difference_of_a_task_however_its_name_is_written() -> None:
    """A task is found in any letters of Unicode that look the same."""
    sized = mti.combine("text -> größe: int")
    rows = [{"inputs": {"text": "a"}, "outputs": {"größe": 1}}]
    arms = mti.make_arms(sized, ["split", "fused"], [])
    found = mti.compare(sized, rows, arms, model=mti.EchoModel())
    name = unicodedata.normalize("NFD", "größe")
    assert found.difference("fused", name) == found.difference("fused", "größe")


def test_odd_rows_are_measured() -> None:
    """One row; ids that are long, odd or numbers; splits in a list of rows: none is lost."""
    assert mti.evaluate(program, _rows(1), model=mti.EchoModel()).joint.n == 1
    ids: list[Any] = ["x" * 5000, "näh\n漢字", 7, "a/b"]
    rows = [row | {"id": id, "split": "train"} for id, row in zip(ids, _rows(4), strict=True)]
    scores = mti.evaluate(program, rows, model=mti.EchoModel())
    assert list(scores.tasks["mood"].by_item) == [str(id) for id in ids]

    def down(request: mti.Request) -> str:
        raise ModelUnavailable("down")

    with pytest.raises(mti.IncompleteRun) as caught:
        mti.evaluate(program, rows, model=mti.FunctionModel(down))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert caught.value.items == tuple(str(id) for id in ids)


def test_progress_is_told_of_every_item() -> None:
    """It is called once for every item of every arm."""
    told: list[None] = []
    arms = _arms("split", "batch:3")
    mti.compare(program, _rows(7), arms, model=mti.EchoModel(), progress=lambda: told.append(None))
    assert len(told) == 14
