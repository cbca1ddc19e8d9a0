"""`mti.optimize` finds what helps, believes no luck, keeps its budget, and can be stopped."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt.errors import (
    DataError,
    ModelAccessDenied,
    ModelUnavailable,
    PlanError,
    RequestRejected,
)
from mtiprompt.evaluation.prices import Price
from mtiprompt.models.cache import CachedModel, ReplyCache
from mtiprompt.optimizer import Progress, SearchStopped, Setup, foresee, measuring
from mtiprompt.optimizer.asked import OnceModel
from mtiprompt.optimizer.point import Point
from mtiprompt.optimizer.space import Part
from mtiprompt.report.parts import Table
from mtiprompt.report.tuned import called, effects_of, parts_of, verdict_of
from mtiprompt.testing import ChatServer, Fault, Received

TASKS = ("mood", "size")
GOOD = ("train 1.", "train 2.")
"""The demonstrations that help."""


def program() -> mti.Program:
    """Two tasks with labels as answers."""
    return mti.combine(*(f"text -> {name}: Literal['yes', 'no']" for name in TASKS))


def rows(kind: str, number: int) -> list[dict[str, Any]]:
    """Rows of which the gold is always yes."""
    gold = dict.fromkeys(TASKS, "yes")
    return [
        {"id": f"{kind}{n}", "inputs": {"text": f"{kind} {n}."}, "outputs": gold}
        for n in range(number)
    ]


def chance(*parts: object) -> float:
    """A number from 0 to 1 that is the same for the same parts."""
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16) / 2**32


def reply_to(messages: list[str], helps: float) -> str:
    """Right three times of ten, and more often with each good demonstration that is shown."""
    shown, item = "\n".join(messages[:-1]), messages[-1]
    shown += item[: item.rfind("dev ")] if "dev " in item else ""
    good = sum(one in shown for one in GOOD)
    right = {
        name: 0.9 * chance(name, item[-20:]) + 0.1 * chance(name, shown, item) < 0.3 + helps * good
        for name in TASKS
    }
    return json.dumps({name: "yes" if one else "no" for name, one in right.items()})


def planted(helps: float = 0.25) -> mti.FunctionModel:
    """A model that good demonstrations help."""
    return mti.FunctionModel(
        lambda request: reply_to([one.content for one in request.messages], helps)
    )


def tune(model: mti.LanguageModel, calls: int = 400, **options: Any) -> mti.Tuned:
    """A search with 8 rows of train and 120 of dev."""
    given: dict[str, Any] = {"budget": mti.Budget(calls=calls), "concurrency": 2} | options
    return mti.optimize(program(), rows("train", 8), rows("dev", 120), model=model, **given)


def texts(plan: mti.Plan) -> set[str]:
    """What the demonstrations of a plan are about."""
    return {str(demo.inputs["text"]) for demo in plan.demos}


def test_good_demonstrations_are_found_and_confirmed() -> None:
    """Both demonstrations that help are in the plan, with gains per task and no call too many."""
    model = planted()
    tuned = tune(model)
    assert tuned.better
    assert texts(tuned.plan) >= set(GOOD)
    assert len(model.requests) <= 400
    assert {one.purpose for one in model.requests} == {"optimize"}
    assert len({one.key for one in model.requests}) == len(model.requests)
    assert set(tuned.tasks) == set(TASKS)
    assert all(one.gain.interval.low > 0 for one in tuned.tasks.values())
    assert tuned.spent.calls == len(model.requests)
    assert tuned.spent.of("search").calls + tuned.spent.of("confirm").calls == tuned.spent.calls
    before, after = (tuned.taken[one] for one in (tuned.found.baseline, tuned.found.best))
    assert after.read > before.read
    told = json.loads(json.dumps(tuned.plain()))
    assert told["verdict"] == "gain"
    assert len(told["tried"]) == len(tuned.found.tried)
    [best] = (one for one in told["tried"] if one["point"] == told["candidate"]["point"])
    assert set(best["tasks"]) == set(TASKS)
    assert all(one["worth"]["gain"] > 0.3 for one in best["tasks"].values())
    assert all(0.6 < one["score"] <= 1 for one in best["tasks"].values())
    assert tuned.front[0].point.demos == ()
    assert [one for one in tuned.front if one in tuned.weighted_front] == [*tuned.weighted_front]
    assert [one["weighted"] for one in told["front"]] == [
        one in tuned.weighted_front for one in tuned.front
    ]
    assert tuned.weighted_front[-1].worth.gain == max(one.worth.gain for one in tuned.found.tried)


FIXED: frozenset[Part] = frozenset({"demos", "order"})
"""What is varied where demonstrations are the same for all items."""
KINDS = ("kettle", "invoice", "lamp", "parcel", "window", "garden")


def test_demonstrations_are_selected_for_each_item_where_that_helps() -> None:
    """Where a row is got right by whoever sees another of its kind, each is shown those."""

    def row(kind: str, number: int) -> dict[str, Any]:
        inputs = {"text": f"{KINDS[number % len(KINDS)]} {kind}{number}"}
        return {"inputs": inputs, "outputs": dict.fromkeys(TASKS, "yes")}

    def answer(request: mti.Request) -> str:
        *shown, item = [one.content for one in request.messages]
        about = next(one for one in KINDS if one in item)
        right = any(about in one for one in shown) or chance(item, *shown) < 0.3
        return json.dumps(dict.fromkeys(TASKS, "yes" if right else "no"))

    train, dev = ([row(kind, n) for n in range(120)] for kind in ("old", "new"))
    given: dict[str, Any] = {"budget": mti.Budget(calls=200), "most": 2, "prune": 0.1}
    tuned = mti.optimize(program(), train, dev, model=mti.FunctionModel(answer), **given)
    assert tuned.better
    assert tuned.plan.select is not None
    assert len(tuned.plan.demos) == 120
    assert tuned.found.worth.gain > 0.3
    again = mti.Plan.from_json(tuned.plan.to_json())
    assert program()(text="a lamp", plan=again, model=mti.FunctionModel(answer)).mood == "yes"
    assert "2 demonstrations of each item by " in called(tuned.found.best, tuned.found.baseline)
    told = json.loads(json.dumps(tuned.plain()))
    assert told["candidate"]["point"]["select"]["number"] == 2
    assert "are selected for each item, so none was" in " ".join(verdict_of(tuned).paragraphs)
    foreseen = foresee(Setup.of(program(), train, dev, most=2), mti.Budget(calls=200))
    assert foreseen.usage.prompt_tokens >= tuned.spent.prompt_tokens
    fixed = mti.optimize(
        program(), train, dev, model=mti.FunctionModel(answer), vary=FIXED, **given
    )
    assert fixed.found.worth.gain < tuned.found.worth.gain


def test_pruning_saves_tokens() -> None:
    """With calls kept for it, demonstrations that do nothing are dropped before the confirmation;
    the plan has fewer tokens, no lower score on the rows of the choice, and the report says so."""
    model = planted()
    tuned = tune(model, 500, prune=0.25, most=5, seed=1, vary=FIXED)
    pruned = tuned.found.pruned
    assert pruned is not None
    assert pruned.difference is not None
    assert tuned.better
    assert tuned.found.best == tuned.found.candidate == pruned.after
    assert not texts(tuned.space.plan(pruned.before)) & set(GOOD) - texts(tuned.plan)
    assert tuned.taken[pruned.after].read < tuned.taken[pruned.before].read
    assert pruned.difference >= 0
    assert len(model.requests) <= 500
    assert f"Pruning: without {', '.join(pruned.dropped)} it takes" in " ".join(
        verdict_of(tuned).paragraphs
    )
    told = json.loads(json.dumps(tuned.plain()))["pruned"]
    assert told["dropped"] == list(pruned.dropped)
    assert told["difference"]["n"] >= 16


def test_without_pruning_nothing_is_said_of_it() -> None:
    """Unless calls are kept for it there is none."""
    tuned = tune(mti.EchoModel(), 100)
    assert tuned.found.pruned is None
    assert tuned.plain()["pruned"] is None
    assert "Pruning" not in " ".join(verdict_of(tuned).paragraphs)


def test_noise_is_not_believed() -> None:
    """Where answers are right by chance alone, the plan is the one before, and it is said why."""
    model = mti.FunctionModel(
        lambda request: json.dumps(
            {name: "yes" if chance(name, request.key) < 0.5 else "no" for name in TASKS}
        )
    )
    found = [tune(model, 100, seed=seed) for seed in range(3)]
    kept = [one for one in found if not one.better]
    assert len(kept) >= 2
    assert all(one.plan == mti.Plan.fused(program()) for one in kept)
    assert all(one.found.reason for one in kept)


def test_the_same_seed_gives_the_same_plan() -> None:
    """Nothing depends on the clock or on the order in which replies come."""
    one, other = (tune(planted(), 150, concurrency=flight) for flight in (1, 6))
    assert one.plan == other.plan
    assert [each.point for each in one.found.tried] == [each.point for each in other.found.tried]


def test_what_is_cached_is_free(tmp_path: Path) -> None:
    """With a cache that has all replies, the same search pays nothing and finds the same."""
    model = CachedModel(planted(), ReplyCache.at(tmp_path))
    first, again = (tune(model) for _ in range(2))
    assert (again.spent.calls, again.spent.hits) == (0, first.spent.calls)
    assert again.plan == first.plan
    assert again.taken[again.found.best].read == pytest.approx(
        first.taken[first.found.best].read, rel=0.05
    )


def test_answers_of_full_marks_become_demonstrations() -> None:
    """Bootstrapping shows what the model wrote where it counts as right, gold where it does not."""

    def answer(request: mti.Request) -> str:
        return json.dumps({"mood": "YES!", "size": "no"})

    loose = mti.combine("text -> mood", "text -> size")
    setup: list[Progress] = []
    tuned = mti.optimize(
        loose, rows("train", 6), rows("dev", 40), model=(model := mti.FunctionModel(answer)),
        budget=mti.Budget(calls=80), bootstrap=3, progress=setup.append,
        metrics={"mood": lambda answer, gold: float(answer.lower().startswith(gold))},
    )  # fmt: skip
    assert tuned.spent.of("bootstrap").calls == 3
    assert sum(one.purpose == "bootstrap" for one in model.requests) == 3
    own = [id for id in tuned.space.pool.ids if id.endswith(":own")]
    assert len(own) == 3
    assert tuned.space.pool[own[0]].outputs == {"mood": {"mood": "YES!"}, "size": {"size": "yes"}}
    assert setup[0] == Progress("bootstrap", 1, 80)
    assert {one.stage for one in setup} >= {"bootstrap", "search"}
    assert max(one.calls for one in setup) <= 80


def test_the_report_says_what_is_noise() -> None:
    """It has a part for each thing that is asked of it, and tells effects from noise."""
    tuned = tune(planted(), vary=FIXED)
    parts = {one.heading.partition(": ")[2]: one for one in parts_of(tuned, "small")}
    assert list(parts) == [
        "verdict", "gains", "what each task gains", "what a row takes", "best so far",
        "gain against cost", "front", "tried", "effects", "what the search took",
    ]  # fmt: skip
    effects = {row[0]: row[1:] for row in effects_of(tuned).rows}
    assert not any(cell.startswith("(") for cell in effects["demo train1"])
    assert all(cell.startswith("(") for cell in effects["demo train5"])
    told = " ".join(verdict_of(tuned).paragraphs)
    assert "of 16 effects of demonstrations stand out" in told
    assert "no effect of order stands out, so they may all be noise" in told
    assert "149% of the cost" in told


def test_the_report_of_a_search_without_gain() -> None:
    """Nothing is claimed where the plan stays as it was, and there is no table of gains."""
    tuned = tune(mti.EchoModel(), 100)
    told = verdict_of(tuned).paragraphs
    assert told[0].startswith("As before: no gain is shown")
    assert "gains" not in [one.heading.partition(": ")[2] for one in parts_of(tuned)]


def fusing(size: float) -> tuple[mti.LanguageModel, dict[str, Any]]:
    """A model that is better at the mood where both tasks share a call, and right about the size
    so often there, alone nine times of ten; and the arguments of a search from the split plan.
    """

    def answer(request: mti.Request) -> str:
        assert request.schema is not None
        asked = json.loads(request.schema.text)["properties"]
        together, item = len(asked) == 2, request.messages[-1].content[-20:]
        right = {"mood": 0.95 if together else 0.3, "size": size if together else 0.9}
        return json.dumps(
            {name: "yes" if chance(name, item) < right[name] else "no" for name in asked}
        )

    return mti.FunctionModel(answer), {"plan": mti.Plan.split(program()), "vary": {"grouping"}}


@pytest.mark.parametrize("rule", ["guarantee", "expected"])
def test_a_task_that_gets_worse_keeps_the_plan(rule: str) -> None:
    """Where sharing a call makes one task better and another worse, the plan is the one before,
    whatever the mean says; the report names the task and its loss, also where that is allowed.
    """
    model, given = fusing(0.6)
    kept, taken = (tune(model, 600, rule=rule, margin=one, **given) for one in (0.05, None))
    assert (kept.better, kept.plan, kept.found.losing) == (False, given["plan"], ("size",))
    assert taken.better
    assert taken.plan == kept.candidate
    assert kept.tasks["size"].gain.interval.high < -0.05
    told = [verdict_of(one).paragraphs for one in (kept, taken)]
    assert told[0][0].startswith("As before: size would get worse (")
    assert "; but " in told[0][0]
    assert told[0][1] == "What seemed best: no demos; size+mood."
    fell = f"On the fresh pairs size fell by {-kept.tasks['size'].gain:.2f} [+"
    assert [sum(one.startswith(fell) for one in each) for each in told] == [1, 1]
    plain = kept.plain()
    assert (plain["verdict"], plain["losing"], plain["margin"]) == ("baseline", ["size"], 0.05)
    assert (taken.plain()["losing"], taken.plain()["margin"]) == ([], None)


def test_a_task_that_may_have_got_worse_is_named() -> None:
    """What is not sure is told as such and keeps no gain back; and so it is if no task fell."""
    for size, says in ((0.85, "; size fell by "), (0.95, "no task fell.")):
        model, given = fusing(size)
        tuned = tune(model, 600, **given)
        assert tuned.better
        told = next(one for one in verdict_of(tuned).paragraphs if one.startswith("On the fresh"))
        assert told.startswith(f"On the fresh pairs {says.removeprefix('; ')}")
        assert told.endswith(", which may be chance." if size < 0.9 else says)


def test_without_fresh_pairs_the_model_says_who_falls() -> None:
    """Where the budget ended before the confirmation there is only what is expected."""
    tuned = tune(planted(), 100, reserve=0.0, rule="expected")
    assert tuned.tasks == {}
    assert any(
        one.startswith("There are no fresh pairs; by the model ")
        for one in verdict_of(tuned).paragraphs
    )


def test_the_front_is_shown_task_by_task() -> None:
    """The report has what each way on the front is expected to gain in each task, and its cost."""
    tuned = tune(planted(), vary={"demos"})
    [table] = (one for one in parts_of(tuned) if one.heading == "plan: front")
    assert isinstance(table, Table)
    assert table.columns == ("", *TASKS, "all, weighted", "rows", "cost", "front")
    assert table.rows[0][:5] == ("no demos", "before", "before", "before", table.rows[0][4])
    assert [row[0] for row in table.rows] == [
        called(one.point, tuned.found.baseline) for one in tuned.front
    ]
    places = [row[-1] for row in table.rows]
    assert places.count("weighted") == len(tuned.weighted_front)
    assert set(places) <= {"weighted", "by task"}
    [tried] = (one for one in parts_of(tuned) if one.heading == "plan: tried")
    assert isinstance(tried, Table)
    assert sorted(row[-1] for row in tried.rows if row[-1]) == sorted(places)


def test_what_is_only_probable_is_told_so() -> None:
    """Under `expected` a plan that is taken is called probably better, one that is not, not so."""
    taken = tune(planted(), 60, rule="expected")
    assert verdict_of(taken).paragraphs[0].startswith("Probably better: demos ")
    kept = tune(mti.EchoModel(), 100, rule="expected")
    assert "no gain is probable enough" in verdict_of(kept).paragraphs[0]


def test_points_in_words() -> None:
    """A point is told by its demonstrations and by what differs from the one before."""
    before = Point((("mood", "size"),))
    other = Point((("mood",), ("size",)), ("a", "b"), (("mood", True),), "compact", (("size", 2),))
    assert called(before, before) == "no demos"
    assert called(other, before) == (
        "demos a, b; mood | size; a reason for mood; notation compact; wording 2 of size"
    )


def test_another_wording() -> None:
    """An instruction that helps is found, and the plan has it."""

    def answer(request: mti.Request) -> str:
        text = "\n".join(one.content for one in request.messages)
        right = "be kind" in text or chance(text) < 0.3
        return json.dumps(dict.fromkeys(TASKS, "yes" if right else "no"))

    tuned = tune(
        mti.FunctionModel(answer),
        vary={"instructions"},
        variants={"mood": ["Be brief.", "be kind"]},
    )
    assert tuned.better
    assert dict(tuned.plan.instructions) == {"mood": "be kind"}
    again = mti.Plan.from_json(tuned.plan.to_json())
    assert program()(text="x", plan=again, model=mti.FunctionModel(answer)).mood == "yes"
    [told] = [one for one in parts_of(tuned) if one.heading == "plan: wordings"]
    assert isinstance(told, Table)
    own = program().tasks["mood"].instruction
    assert told.rows == (("mood", "0", own), ("mood", "1", "Be brief."), ("mood", "2", "be kind"))


def test_a_plan_with_demonstrations_is_the_one_to_improve_on() -> None:
    """Its demonstrations are in the pool, rows of train or not, and come back by default."""
    own = {"inputs": {"text": "mine"}, "outputs": dict.fromkeys(TASKS, "no")}
    base = mti.Plan.fused(program(), demos=[own])
    tuned = tune(mti.EchoModel(), 100, plan=base)
    assert tuned.plan == base
    assert tuned.space.pool.ids[0] == "plan:1"


def test_a_plan_that_selects_is_tuned_in_all_else() -> None:
    """What an earlier search gave back may be given to the next, which keeps its selection."""
    gold = [{"inputs": one["inputs"], "outputs": one["outputs"]} for one in rows("train", 8)]
    base = mti.Plan.fused(program(), demos=gold, select=mti.Select("nearest", 2))
    tuned = tune(mti.EchoModel(), 100, plan=base)
    assert tuned.plan == base
    assert {one.point.select for one in tuned.found.tried} == {None}  # that of the plan stands
    with pytest.raises(DataError, match="they are to be varied"):
        tune(mti.EchoModel(), 100, plan=base, vary={"demos"})


def test_what_cannot_be_shown_is_not_selected() -> None:
    """A row without gold for all tasks is no demonstration of a call for all."""
    halves = [
        {**one, "outputs": {name: "yes"}}
        for one, name in zip(rows("train", 8), TASKS * 4, strict=True)
    ]
    assert not Setup.of(program(), halves, rows("dev", 40)).space.selections
    assert not Setup.of(program(), rows("train", 8), rows("dev", 40), pool=0).space.selections
    assert Setup.of(program(), [*halves, *rows("old", 1)], rows("dev", 40)).space.selections


def test_what_is_selected_from_is_told() -> None:
    """Where demonstrations may be selected for an item it is said out of how many; else nothing."""
    tuned = tune(mti.EchoModel(), 100, pool=3)
    assert (tuned.plain()["pool"], tuned.plain()["shelf"]) == (3, 8)
    said = "At hand were 120 rows and 3 demonstrations, and 8 to select from for each item."
    assert said in verdict_of(tuned).paragraphs[-1]
    for options in ({"pool": 0}, {"most": 0}, {"vary": FIXED}):
        fixed = tune(mti.EchoModel(), 100, **options)
        assert fixed.plain()["shelf"] == 0
        assert verdict_of(fixed).paragraphs[-1].endswith(" demonstrations.")
        setup = Setup.of(program(), rows("train", 8), rows("dev", 120), **options)
        assert foresee(setup, mti.Budget(calls=100)).shelf == 0
    many = Setup.of(program(), rows("train", 300), rows("dev", 120))
    told = foresee(many, mti.Budget(calls=100))
    assert (told.pool, told.shelf) == (24, 256)


def test_a_row_of_both_splits_is_no_demonstration() -> None:
    """What is scored is not shown, also where it differs in blanks and case."""
    train = [*rows("train", 3), {**rows("DEV  ", 1)[0], "id": "twin"}]
    setup = Setup.of(program(), train, rows("dev", 40))
    assert sorted(setup.space.pool.ids) == ["train0", "train1", "train2"]


def test_the_dry_run_asks_nobody() -> None:
    """It tells calls, rows and tokens of the search that then runs within them."""
    setup = Setup.of(program(), rows("train", 8), rows("dev", 120))
    told = foresee(setup, mti.Budget(calls=400))
    assert (told.calls, told.bootstrap, told.pool) == (400, 0, 8)
    assert told.searched + told.fresh == 120
    assert told.usage.prompt_tokens > tune(planted()).spent.prompt_tokens
    by_tokens = foresee(setup, mti.Budget(tokens=100_000))
    assert 200 < by_tokens.calls < 1000


# --- budget, outages, interrupts ---------------------------------------------------------------


def of_server(received: Received) -> str:
    """What the planted model says."""
    return reply_to([one["content"] for one in received.body["messages"]], 0.25)


def at(server: ChatServer, **options: Any) -> mti.Model:
    """A model that asks the server, without a cache."""
    return mti.Model("direct/any", api_base=server.base_url, api_key="k", cache=False, **options)


def test_the_budget_is_hard() -> None:
    """With repairs and retries on the way, the server never sees a call above the budget."""

    def answer(received: Received) -> str:
        return "no JSON" if received.number % 5 == 0 else of_server(received)

    faults = [Fault(status=503 if number % 16 == 15 else 200) for number in range(64)]
    with ChatServer(answer, faults=faults) as server:
        budget = mti.Budget(calls=70)
        tuned = tune(at(server), budget=budget, vary=FIXED)
        assert 60 <= server.count <= 70
        assert budget.spent.calls == server.count
        assert tuned.spent.calls <= server.count
        assert tuned.spent.of("repair").calls > 5


@pytest.mark.parametrize("seed", [6, 7, 13])
def test_repairs_do_not_cost_the_confirmation(seed: int) -> None:
    """Where one reply in ten is repaired, calls are left for that, and what is shown is taken."""

    def answer(request: mti.Request) -> str:
        messages = [one.content for one in request.messages]
        is_bad = request.purpose != "repair" and chance("bad", seed, *messages) < 0.1
        return "no JSON" if is_bad else reply_to(messages, 0.25)

    model = mti.FunctionModel(answer)
    tuned = tune(model, 300, seed=seed, vary=FIXED)
    assert tuned.better
    assert tuned.spent.of("repair").calls > 10
    assert 285 <= len(model.requests) <= 300
    assert tuned.found.confirmation is not None
    assert tuned.found.confirmation.gain.n >= 30


@pytest.mark.parametrize("at_call", [7, 150, 290])
def test_a_call_that_fails_does_not_cost_the_confirmation(at_call: int) -> None:
    """It is paid, so it counts; wherever it fails, the fresh pairs that were paid are used."""
    asked = {"so far": 0}

    def answer(request: mti.Request) -> str:
        asked["so far"] += 1
        if asked["so far"] == at_call:
            raise ModelUnavailable("down")
        return reply_to([one.content for one in request.messages], 0.25)

    tuned = tune(mti.FunctionModel(answer), 300, vary=FIXED, concurrency=1)
    assert tuned.better
    assert tuned.spent.calls == tuned.found.calls == asked["so far"] <= 300
    assert tuned.found.confirmation is not None
    assert tuned.found.confirmation.gain.n >= 36


def test_pairs_count_though_the_budget_ends_before_the_last() -> None:
    """Repairs that nobody could foresee end the confirmation; the pairs until then are evidence."""
    asked = {"so far": 0}

    def answer(request: mti.Request) -> str:
        asked["so far"] += 1
        if asked["so far"] > 225 and asked["so far"] % 5 == 0 and request.purpose != "repair":
            return "no JSON"
        return reply_to([one.content for one in request.messages], 0.25)

    tuned = tune(mti.FunctionModel(answer), 300, vary=FIXED)
    assert asked["so far"] == tuned.spent.calls == 300
    assert tuned.better
    assert tuned.found.confirmation is not None
    pairs = tuned.found.confirmation.gain.n
    assert 24 <= pairs < 38
    assert {one.gain.n for one in tuned.tasks.values()} == {pairs}
    assert "the budget was spent in the middle of the confirmation" in tuned.found.reason


def dearer(times: float) -> mti.FunctionModel:
    """A model that takes so many times the tokens that are guessed, at a millionth of a dollar."""

    def answer(request: mti.Request) -> mti.Reply:
        messages = [one.content for one in request.messages]
        text = reply_to(messages, 0.25)
        read, written = (int(len(one) / 4 * times) for one in ("".join(messages), text))
        cost = (read + written) / 1e6
        usage = mti.Usage(1, prompt_tokens=read, completion_tokens=written, cost=cost)
        return mti.Reply(text, usage=usage)

    return mti.FunctionModel(answer)


@pytest.mark.parametrize("times", [0.5, 1.3, 2.0, 6.0])
@pytest.mark.parametrize("unit", ["tokens", "dollars"])
def test_dearer_calls_do_not_cost_the_confirmation(unit: str, times: float) -> None:
    """Tokens are guessed at four characters each; where they are fewer, the search is cut short."""
    given: dict[str, Any] = {"tokens": 60_000} if unit == "tokens" else {"dollars": 0.06}
    budget, model = mti.Budget(**given), dearer(times)
    price = Price("flat", 1e-6, 1e-6, 1e-6)
    tuned = tune(model, budget=budget, vary=FIXED, price=price)
    assert tuned.found.confirmation is not None
    assert tuned.better
    taken = tuned.spent.prompt_tokens + tuned.spent.completion_tokens
    assert (48_000 if times > 1 else 25_000) < taken <= 60_000
    assert tuned.spent.of("confirm").calls > 0.15 * len(model.requests)


def test_a_budget_in_tokens_ends_the_search() -> None:
    """Where calls turn out dearer by far, the search is short, and still ends with fresh pairs."""

    def answer(request: mti.Request) -> mti.Reply:
        usage = mti.Usage(calls=1, prompt_tokens=2000, completion_tokens=10)
        return mti.Reply(reply_to([one.content for one in request.messages], 0.25), usage=usage)

    budget = mti.Budget(tokens=60_000)
    tuned = tune(mti.FunctionModel(answer), budget=budget)
    assert not tuned.better
    assert tuned.found.confirmation is not None
    assert 40_000 < tuned.spent.prompt_tokens + tuned.spent.completion_tokens <= 60_000


def test_where_nothing_is_measured_that_is_said() -> None:
    """Without time for a call there is no finding: the reason says so, and JSON has no infinity."""
    tuned = tune(mti.EchoModel(), budget=mti.Budget(calls=60, seconds=0))
    assert (tuned.better, tuned.found.tried, tuned.spent.calls) == (False, (), 0)
    assert "nothing was measured" in verdict_of(tuned).paragraphs[0]
    told = json.loads(json.dumps(tuned.plain(), allow_nan=False))
    assert told["expected_gain"] is None
    assert json.loads(json.dumps(tune(mti.EchoModel(), 60).plain(), allow_nan=False))[
        "expected_gain"
    ]


def test_seconds_cut_the_search_short() -> None:
    """Where time is short the search makes fewer calls, and still confirms within the seconds."""
    model, start = planted(), time.monotonic()

    def clock() -> float:
        return start + 0.5 * len(model.requests)

    budget = mti.Budget(calls=400, seconds=100, clock=clock)
    tuned = tune(model, budget=budget)
    assert 150 < len(model.requests) <= 200
    assert tuned.found.confirmation is not None
    assert tuned.found.confirmation.gain.n >= 15
    assert budget.left.seconds < 25
    whole = tune(planted(), budget=mti.Budget(calls=400, seconds=1000))
    assert whole.plan == tune(planted()).plan


def test_seconds_are_shared_with_bootstrapping() -> None:
    """The time that it took is not there for the search, which still confirms within the rest."""
    model, start = planted(), time.monotonic()
    budget = mti.Budget(calls=400, seconds=100, clock=lambda: start + 0.5 * len(model.requests))
    tuned = mti.optimize(
        program(), rows("train", 60), rows("dev", 120), model=model, budget=budget,
        bootstrap=50, pool=8, vary=FIXED, concurrency=2,
    )  # fmt: skip
    assert tuned.spent.of("bootstrap").calls == 50
    assert 150 < len(model.requests) < 200
    assert tuned.found.confirmation is not None
    assert tuned.found.confirmation.gain.n >= 15


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outages are waited out in no time."""
    monkeypatch.setattr(measuring, "PAUSES", (0.0, 0.0, 0.0))


@pytest.mark.usefixtures("_soon")
def test_an_outage_keeps_what_was_found(tmp_path: Path) -> None:
    """A short one is waited out; a long one ends in an error with the best so far, and a second
    run goes on there: it pays for nothing twice and ends with the plan of an undisturbed one."""
    whole = planted()
    undisturbed = tune(whole)
    down = {"from": 180, "seen": 0}

    def answer(request: mti.Request) -> str:
        down["seen"] += 1
        if 20 <= down["seen"] < 23 or down["seen"] >= down["from"]:
            raise ModelUnavailable("down")
        return reply_to([one.content for one in request.messages], 0.25)

    model = mti.FunctionModel(answer)
    with pytest.raises(SearchStopped, match="has no answer, as down") as stopped:
        tune(model, record=tmp_path, concurrency=1)
    assert stopped.value.tuned.plan == mti.Plan.fused(program())
    assert stopped.value.tuned.found.tried
    assert stopped.value.items
    assert "goes on from there" in str(stopped.value)
    answered = sum(
        '"reply"' in line for line in (tmp_path / "replies.jsonl").read_text().splitlines()
    )
    down |= {"from": 10_000, "seen": 100}
    model.requests.clear()
    tuned = tune(model, record=tmp_path)
    assert tuned.plan == undisturbed.plan
    assert tuned.spent.calls == undisturbed.spent.calls
    assert len(model.requests) == undisturbed.spent.calls - answered < 250


@pytest.mark.parametrize("recorded", [True, False])
def test_a_row_that_is_refused_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: bool
) -> None:
    """It would be refused each time: the search stops there at once and says which row it is."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    asked: list[str] = []

    def answer(request: mti.Request) -> str:
        asked.append(request.messages[-1].content)
        if len({*asked}) > 10 and asked[-1] == list(dict.fromkeys(asked))[10]:
            raise RequestRejected("400: not this one")
        return reply_to([one.content for one in request.messages], 0.25)

    with pytest.raises(SearchStopped, match=r"has no answer, as .*not this one") as stopped:
        tune(mti.FunctionModel(answer), record=tmp_path if recorded else None, concurrency=1)
    assert len(asked) - asked.index(list(dict.fromkeys(asked))[10]) <= 2  # one is on its way
    assert not waited
    [row] = stopped.value.items
    assert f"{row!r} would be refused again: leave out or mend such items, then " in str(
        stopped.value
    )
    assert ("pass record=FOLDER" in str(stopped.value)) == (not recorded)


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("rule", ["guarantee", "expected"])
def test_an_outage_settles_nothing(rule: str) -> None:
    """Whatever is probable by then, the plan is the one to improve on, and the outage is told; all
    of it is also told where the error was pickled, as by a pool of processes."""
    asked = {"so far": 0}

    def answer(request: mti.Request) -> str:
        asked["so far"] += 1
        if asked["so far"] > 250:
            raise ModelUnavailable("down")
        return reply_to([one.content for one in request.messages], 0.25)

    with pytest.raises(SearchStopped) as stopped:
        tune(mti.FunctionModel(answer), rule=rule, concurrency=1)
    tuned = stopped.value.tuned
    assert tuned.found.worth.probability > 0.9
    assert (tuned.better, tuned.plan) == (False, mti.Plan.fused(program()))
    assert "down" in tuned.found.reason
    arrived = pickle.loads(pickle.dumps(stopped.value))
    assert (str(arrived), arrived.items) == (str(stopped.value), stopped.value.items)
    assert arrived.tuned.plain() == tuned.plain()


@pytest.mark.parametrize("concurrency", [1, 4])
def test_an_outage_is_waited_out(monkeypatch: pytest.MonkeyPatch, concurrency: int) -> None:
    """After each pause one row is tried, no more; the pauses grow, and then it is given up."""
    monkeypatch.setattr(measuring, "PAUSES", (0.1, 0.2, 0.4))
    asked: list[float] = []

    def answer(request: mti.Request) -> str:
        asked.append(time.monotonic())
        if len(asked) > 60:
            raise ModelUnavailable("down")
        return reply_to([one.content for one in request.messages], 0.25)

    with pytest.raises(SearchStopped, match="down") as stopped:
        tune(mti.FunctionModel(answer), concurrency=concurrency)
    assert len(asked) <= 60 + 2 * concurrency + 3
    waited = [later - one for one, later in zip(asked[-4:], asked[-3:], strict=False)]
    assert all(wait >= pause for wait, pause in zip(waited, (0.1, 0.2, 0.4), strict=True))
    assert stopped.value.tuned.spent.calls == len(asked)


def test_no_pause_goes_beyond_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that would not end in time is not begun: what was found comes at once."""
    monkeypatch.setattr(measuring, "PAUSES", (10_000.0,))
    asked: list[mti.Request] = []

    def answer(request: mti.Request) -> str:
        asked.append(request)
        if len(asked) > 60:
            raise ModelUnavailable("down")
        return reply_to([one.content for one in request.messages], 0.25)

    with pytest.raises(SearchStopped, match="down"):
        tune(mti.FunctionModel(answer), budget=mti.Budget(calls=400, seconds=9_000), concurrency=1)
    down = Counter(request.key for request in asked[60:])
    assert down.pop(asked[60].key) == 2  # the row that failed, and once again without a pause
    assert down.total() <= 1  # one that had begun before that was seen


@pytest.mark.parametrize("works", [0, 250])
def test_a_metric_that_fails_keeps_what_was_found(works: int) -> None:
    """In the middle of a search it ends with the best so far; at its beginning with the mistake."""
    scored: list[Any] = []

    def metric(answer: Any, gold: Any) -> float:
        scored.append(answer)
        return float(answer == gold) / (len(scored) <= works)

    budget = mti.Budget(calls=400)
    if not works:
        with pytest.raises(DataError, match="ZeroDivisionError"):
            tune(planted(), budget=budget, metrics={"mood": metric})
        assert budget.spent.calls < 10
        return
    with pytest.raises(SearchStopped, match="ZeroDivisionError") as stopped:
        tune(planted(), budget=budget, metrics={"mood": metric})
    tuned = stopped.value.tuned
    assert tuned.plan == mti.Plan.fused(program())
    assert len(tuned.found.tried) > 10
    assert tuned.spent.calls == budget.spent.calls
    assert "the metric of 'mood' failed" in tuned.found.reason


def test_a_wrong_key_is_an_error_at_once() -> None:
    """Where nothing was answered there is nothing to keep: the error is the model's own."""
    with pytest.raises(ModelAccessDenied):
        tune(mti.ScriptedModel([ModelAccessDenied("wrong key")]), concurrency=1)


SCRIPT = """
import sys
import mtiprompt as mti
from tests.test_optimize import at, tune

model = mti.Model("direct/any", api_base=sys.argv[1], api_key="k", cache=False)
tuned = tune(model, record=sys.argv[2], concurrency=1)
sys.stdout.write(tuned.plan.to_json())
"""


def test_kill_and_go_on(tmp_path: Path) -> None:
    """A process that is killed twice ends with the plan of one that was not; of all calls, only
    those under way when it was killed were made again."""
    process: list[subprocess.Popen[str]] = []
    kill_at = {90, 200}

    def answer(received: Received) -> str:
        if received.number in kill_at:
            process[-1].kill()
        return of_server(received)

    def run(server: ChatServer, record: Path) -> tuple[int, str]:
        words = [sys.executable, "-c", SCRIPT, server.base_url, str(record)]
        process.append(subprocess.Popen(words, text=True, stdout=subprocess.PIPE))
        out, _ = process[-1].communicate(timeout=60)
        return process[-1].returncode, out

    with ChatServer(answer) as server:
        ends = [run(server, tmp_path / "killed") for _ in range(3)]
        paid = server.count
        bodies = {json.dumps(one.body) for one in server.requests}
    assert [code for code, _ in ends] == [-9, -9, 0]
    whole = tune(planted())
    assert ends[-1][1] == whole.plan.to_json()
    assert whole.spent.calls <= paid <= whole.spent.calls + len(kill_at)
    assert len(bodies) == whole.spent.calls


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"budget": mti.Budget()}, "the budget has no bound"),
        ({"budget": mti.Budget(seconds=9)}, "no bound, and seconds are no number of calls"),
        ({"prune": 1}, "prune is 1"),
        ({"budget": mti.Budget(dollars=1)}, "the price of the model is not known"),
        ({"budget": mti.Budget(calls=3)}, "too few to search"),
        ({"most": -1}, "most=-1 makes no sense"),
        ({"pool": 2.5}, "pool=2.5 makes no sense"),
        ({"bootstrap": True}, "bootstrap=True makes no sense"),
        ({"vary": {"colour"}}, "'colour' cannot be varied"),
        ({"vary": "demos"}, "'demos' cannot be varied"),
        ({"vary": ()}, "nothing is varied"),
        ({"alpha": 0}, "alpha is 0"),
        ({"reserve": 1}, "reserve is 1"),
        ({"rule": "hope"}, "rule is 'hope'"),
        ({"p": 0.4}, "p is 0.4"),
        ({"margin": 1.0}, "margin is 1.0"),
        ({"margin": -0.1}, "margin is -0.1"),
        ({"margin": "none"}, "margin is 'none'"),
        ({"weights": {"mood": -1}}, "the weights are"),
        ({"variants": {"smell": ["x"]}}, "'smell', which is no task"),
        ({"apart": [["mood", "smell"]]}, "'smell' is pinned"),
        ({"metrics": {"smell": "exact"}}, "'smell', which is no task"),
        ({"plan": mti.Plan.fused(program(), items_per_call=2)}, "puts 2 items into a call"),
        ({"plan": mti.Plan.groups(program(), [mti.Group(TASKS, "a/b")])}, "names models"),
        ({"concurrency": 0}, "concurrency=0 makes no sense"),
    ],
)
def test_refuses(options: dict[str, Any], says: str) -> None:
    """What makes no sense is refused before anybody is asked."""
    model = mti.EchoModel()
    with pytest.raises(DataError, match=re.escape(says)):
        tune(model, **options)
    assert model.requests == []


def test_refuses_rows_and_plans_that_do_not_fit() -> None:
    """Rows without gold for every task, a plan of another program, a demonstration that leaks."""
    other = mti.Plan.fused(mti.combine("text -> mood"))
    with pytest.raises(PlanError, match="another program"):
        tune(mti.EchoModel(), plan=other)
    half = [{**row, "outputs": {"mood": "yes"}} for row in rows("dev", 9)]
    with pytest.raises(DataError, match="none of 9 rows of dev has gold for every task"):
        Setup.of(program(), [], half)
    leaks = mti.Plan.fused(program(), demos=rows("dev", 1))
    with pytest.raises(DataError, match="is a demonstration"):
        tune(mti.EchoModel(), plan=leaks)


# --- the model that is asked ----------------------------------------------------------------------


def test_equal_requests_at_the_same_time_are_one() -> None:
    """Whoever asks what is under way waits for that reply; after a failure it is asked again."""
    gate = threading.Event()

    def answer(request: mti.Request) -> str:
        gate.wait(5)
        if len(inner.requests) == 1:
            raise ModelUnavailable("down")
        return "up"

    inner = mti.FunctionModel(answer)
    model, request = OnceModel(inner), mti.Request((mti.Message("user", "Hello"),))
    with ThreadPoolExecutor(3) as threads:
        calls = [threads.submit(model.complete, request) for _ in range(3)]
        gate.set()
        wait(calls)
    again = [model.complete(request) for _ in range(2)]
    assert {one.text for one in again} == {"up"}
    assert again[-1].details["shared"]
    assert len(inner.requests) == 2


def test_a_reply_that_was_shared_is_not_stored_as_such(tmp_path: Path) -> None:
    """What a cache gives back later says nothing of who asked for it at the same time."""
    cached = CachedModel(mti.FunctionModel(lambda _: "up"), ReplyCache.at(tmp_path))
    request = mti.Request((mti.Message("user", "Hello"),))
    model = OnceModel(cached)
    for _ in range(2):
        model.keep(request, model.complete(request))
    again = cached.complete(request)
    assert again.from_cache
    assert "shared" not in again.details


def test_a_budget_that_the_model_has_is_not_charged_twice() -> None:
    """The same budget given to the model and to the search counts each call once."""
    budget = mti.Budget(calls=100)
    with ChatServer(of_server) as server:
        tune(at(server, budget=budget), budget=budget)
        assert budget.spent.calls == server.count <= 100
