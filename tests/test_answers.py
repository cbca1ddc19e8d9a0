"""Answers kept one by one: what is asked again when a program, a task or a row changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt.errors import SettingsError
from mtiprompt.models.base import Reuse
from mtiprompt.testing import ChatServer
from mtiprompt.wire import Request
from tests.strategies import Answerer, keys_of

SAY = {"mood": "good", "urgent": True, "product": "lamp", "reply": "Thanks."}


class Shelf:
    """A store in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def get(self, key: str) -> dict[str, Any] | None:
        return json.loads(self.kept[key]) if key in self.kept else None

    def set(self, key: str, value: dict[str, Any]) -> None:
        self.kept[key] = json.dumps(value)


def model_with(shelf: Shelf, *, company: bool = False, **say: Any) -> Answerer:
    """A model that answers each key and keeps its answers on a shelf."""
    answers = SAY | say

    def answer(request: Request) -> str:
        return json.dumps({key: answers[key] for key in keys_of(request)})

    model = Answerer(answer)
    model.identity = "the same"
    model.reuse = Reuse(shelf, company)
    return model


def asked(model: Answerer) -> list[list[str]]:
    """The keys of every call."""
    return [keys_of(request) for request in model.asked]


MOOD, URGENT = "m -> mood: Literal['good', 'bad']", "m -> urgent: bool"


def test_a_task_that_is_added_is_asked_alone() -> None:
    """Rows that were answered are asked for the new task only, then for nothing; rows that were
    not, for all.
    """
    shelf = Shelf()
    list(mti.combine(MOOD, URGENT).map([{"m": "1"}, {"m": "2"}], model=model_with(shelf)))
    wider = mti.combine(URGENT, MOOD, "m -> product")
    model = model_with(shelf)
    results = list(wider.map([{"m": "1"}, {"m": "3"}], model=model, concurrency=1))
    assert asked(model) == [["product"], ["urgent", "mood", "product"]]
    assert [result.unwrap().keys() for result in results] == [{"urgent", "mood", "product"}] * 2
    again = model_with(shelf)
    assert wider(m="1", model=again).usage.calls == 0
    assert asked(again) == []


@pytest.mark.parametrize(
    "changed",
    [
        mti.task("m -> urgent: bool", name="urgent", instruction="Must somebody hurry?"),
        mti.task("m -> urgent: Literal[True]", name="urgent"),
        mti.task("m -> urgent: bool", name="urgent", reasoning=True),
    ],
    ids=["instruction", "type", "reasoning"],
)
def test_a_task_that_is_edited_is_asked_alone(changed: mti.Task[Any]) -> None:
    """Another instruction, type or way of reasoning is another task; the rest is as it was."""
    shelf = Shelf()
    mti.combine(MOOD, URGENT)(m="1", model=model_with(shelf))
    model = model_with(shelf, urgent__reasoning="so")
    result = mti.combine(MOOD, changed)(m="1", model=model)
    assert not result.failures
    assert [set(keys) - {"urgent__reasoning"} for keys in asked(model)] == [{"urgent"}]


def test_demonstrations_and_the_model_are_part_of_it() -> None:
    """Other demonstrations, or another model, and everything is asked again."""
    shelf, program = Shelf(), mti.combine(MOOD, URGENT)
    program(m="1", model=model_with(shelf))
    demo = {"inputs": {"m": "x"}, "outputs": {"mood": "good", "urgent": False}}
    model = model_with(shelf)
    program(m="1", model=model, plan=mti.Plan.fused(program, demos=[demo]))
    other = model_with(shelf)
    other.identity = "another"
    program(m="1", model=other)
    assert asked(model) == asked(other) == [["mood", "urgent"]]


def test_company_counts_where_the_policy_says_so() -> None:
    """Kept for the same company, an answer serves that group alone: also a row that failed in
    part.
    """
    shelf, program = Shelf(), mti.combine(MOOD, URGENT)
    half = model_with(shelf, company=True, urgent="perhaps")
    program(m="1", model=half, repair=mti.Repair.none())
    model = model_with(shelf, company=True)
    assert not program(m="1", model=model).failures
    wider = mti.combine(MOOD, URGENT, "m -> product")
    wider(m="1", model=model)
    assert asked(model) == [["urgent"], ["mood", "urgent", "product"]]


def test_what_an_answer_builds_on_is_part_of_it() -> None:
    """A task that takes another's answer is asked again where that answer is another."""
    shelf = Shelf()
    program = mti.combine(MOOD, mti.task("m, mood -> reply", name="reply"))
    program(m="1", model=model_with(shelf))
    same = model_with(shelf)
    program(m="1", model=same)
    changed = mti.combine(
        mti.task(MOOD, name="mood", instruction="Judge it anew."),
        mti.task("m, mood -> reply", name="reply"),
    )
    as_before, another = model_with(shelf), model_with(shelf, mood="bad")
    plan = mti.Plan.split(changed)
    changed(m="1", model=as_before, plan=plan)
    assert (asked(same), asked(as_before)) == ([], [["mood"]])
    fresh = mti.combine(
        mti.task(MOOD, name="mood", instruction="Judge it once more."),
        mti.task("m, mood -> reply", name="reply"),
    )
    fresh(m="1", model=another, plan=mti.Plan.split(fresh))
    assert asked(another) == [["mood"], ["reply"]]


def test_items_that_share_a_call_are_kept_apart() -> None:
    """Of several items in a call, only those that are new are asked about."""
    shelf = Shelf()
    program = mti.combine(URGENT)

    def answer(request: Request) -> str:
        numbers = keys_of(request)
        return json.dumps({number: {"urgent": True} for number in numbers})

    def model() -> Answerer:
        made = Answerer(answer)
        made.identity, made.reuse = "the same", Reuse(shelf)
        return made

    plan = mti.Plan.fused(program, items_per_call=3)
    list(program.map([{"m": "1"}, {"m": "2"}], model=model(), plan=plan))
    second = model()
    rows = [{"m": "2"}, {"m": "3"}, {"m": "1"}]
    results = list(program.map(rows, model=second, plan=plan))
    assert asked(second) == [["2"]]
    assert [result.usage.calls for result in results] == [0, 1, 0]


def test_what_is_kept_is_validated_anew() -> None:
    """An entry that does not hold any more is asked for again."""
    shelf, program = Shelf(), mti.combine(URGENT)
    program(m="1", model=model_with(shelf))
    [key] = shelf.kept
    shelf.set(key, {"fields": {"urgent": "perhaps"}, "notes": [], "reasoning": None})
    model = model_with(shelf)
    assert program(m="1", model=model).urgent is True
    assert asked(model) == [["urgent"]]


def test_nothing_is_kept_by_itself_unless_asked_for(tmp_path: Path) -> None:
    """A model without `reuse` keeps whole replies only; with it, its cache has the slots too."""
    program = mti.combine(MOOD, URGENT)
    with ChatServer() as server:
        plain = mti.Model("direct/any", api_base=server.base_url, cache=tmp_path / "plain")
        program(m="1", model=plain)
        kept = mti.Model(
            "direct/any", api_base=server.base_url, cache=tmp_path / "kept", reuse="any"
        )
        program(m="1", model=kept)
    for model, number in ((plain, 0), (kept, 2)):
        assert model.cache is not None
        assert (model.cache.stats().entries, model.cache.stats().slots) == (1, number)
        model.cache.close()
    with pytest.raises(SettingsError, match="cache"):
        mti.Model("direct/any", api_base="http://127.0.0.1:1/v1", cache=False, reuse="any")
    with pytest.raises(SettingsError, match="'all'"):
        mti.Model("direct/any", api_base="http://127.0.0.1:1/v1", reuse="all")  # type: ignore[arg-type]
