"""A search on record that is run again: what its record has counts against its budget."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

import mtiprompt as mti
from mtiprompt.errors import IncompleteRun, ModelUnavailable
from mtiprompt.planner import Choice, choose_plan
from mtiprompt.wire import Request
from tests.test_planner import harms, planted, program, rows

pytestmark = pytest.mark.filterwarnings("ignore:the budget has")


def search(
    model: mti.FunctionModel, record: Path, calls: int, names: str = "abc", *, flight: int = 1
) -> Choice:
    """A search on record with a new budget."""
    budget = mti.Budget(calls=calls)
    return choose_plan(program(names), rows(60, names), model=model, budget=budget, record=record,
                       concurrency=flight)  # fmt: skip


def told(choice: Choice) -> list[object]:
    """What a search found, but for the seconds."""
    found: list[object] = [
        (one.name, one.verdict, one.reason, one.price.calls) for one in choice.candidates
    ]
    return [*found, choice.plan, choice.spent.calls, choice.exhausted]


def asked(models: Iterable[mti.FunctionModel]) -> int:
    """How many requests went to models."""
    return sum(len(one.requests) for one in models)


@pytest.mark.parametrize(("calls", "flight"), [(30, 1), (101, 1), (400, 1), (400, 4)])
def test_the_same_search_again_asks_for_nothing(tmp_path: Path, calls: int, flight: int) -> None:
    """Each time it is a new budget of the same size: it ends where the first ended."""
    model = planted(harms("c"))
    first = search(model, tmp_path, calls, flight=flight)
    paid = asked([model])
    assert paid == first.spent.calls <= calls
    assert first.exhausted == (calls < 400)
    for _ in range(3):
        assert told(search(model, tmp_path, calls, flight=flight)) == told(first)
    assert asked([model]) == paid


@pytest.mark.parametrize("often", [1, 4])
def test_a_search_that_was_stopped_spends_one_budget(tmp_path: Path, often: int) -> None:
    """However often it was stopped, it ends as one that was not, for as many calls in all."""
    whole = search(planted(harms("c")), tmp_path / "whole", 100)
    good, left = planted(harms("c")), [0]

    def failing(request: Request) -> str:
        left[0] -= 1
        if left[0] < 0:
            raise ModelUnavailable("down", hint="wait")
        return good.complete(request).text

    for _ in range(often):
        left[0] = 20
        with pytest.raises(IncompleteRun):
            search(mti.FunctionModel(failing), tmp_path / "stopped", 100)
    left[0] = 1000
    assert told(search(mti.FunctionModel(failing), tmp_path / "stopped", 100)) == told(whole)
    assert asked([good]) == whole.spent.calls == 100


def test_a_larger_budget_buys_the_rest(tmp_path: Path) -> None:
    """A search that its budget ended goes on with a larger one, and asks only what is new."""
    model = planted(harms("c"))
    assert search(model, tmp_path, 60).exhausted
    whole = search(model, tmp_path, 400)
    assert not whole.exhausted
    assert told(whole) == told(search(planted(harms("c")), tmp_path / "other", 400))
    assert asked([model]) == whole.spent.calls


def test_a_smaller_budget_is_kept(tmp_path: Path) -> None:
    """With more on record than it may spend, a search ends as if nothing were on record."""
    model = planted(harms("c"))
    search(model, tmp_path, 400)
    paid = asked([model])
    small = search(model, tmp_path, 100)
    assert small.spent.calls == 100
    assert told(small) == told(search(planted(harms("c")), tmp_path / "other", 100))
    assert asked([model]) == paid


def test_what_others_have_on_record_costs_nothing(tmp_path: Path) -> None:
    """Replies about other rows, or to another program, in the same folder take no budget."""
    model = planted(harms())
    search(model, tmp_path, 400, "de")
    choose_plan(program("abc"), rows(200, "abc")[60:], model=model, record=tmp_path)
    found = search(model, tmp_path, 100)
    assert told(found) == told(search(planted(harms()), tmp_path / "other", 100))


def test_tokens_on_record_count(tmp_path: Path) -> None:
    """So it is with a budget of tokens: what is estimated of a call is what it was before."""
    model = planted(harms("c"))
    given, tasks = rows(60, "abc"), program("abc")

    def bounded() -> Choice:
        return choose_plan(
            tasks, given, model=model, budget=mti.Budget(tokens=5_000), record=tmp_path
        )

    first = bounded()
    paid = asked([model])
    assert first.exhausted
    assert told(bounded()) == told(first)
    assert asked([model]) == paid
