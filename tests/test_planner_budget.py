"""A search whose budget ends, by the clock or before a pin is measured, ends with what it knows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt.errors import (
    BudgetExceeded,
    IncompleteRun,
    ModelTimeout,
    ModelUnavailable,
    MTIError,
    RateLimited,
    RequestRejected,
)
from mtiprompt.models.limits import LimitedModel, Limits
from mtiprompt.planner import Choice, choose_plan
from mtiprompt.report.choice import parts_of
from mtiprompt.testing import ChatServer
from mtiprompt.wire import Request
from tests.test_planner import asked_for, choose, groups, harms, planted, program, rows
from tests.test_planner_search import Takes, chained, yes

pytestmark = pytest.mark.filterwarnings("ignore:the budget has")


class Timed:
    """A model each of whose calls takes a second, and the budget that it is paid from.

    Args:
        seconds: Of the budget; the call in which they end fails.
        error: With what.
    """

    def __init__(self, seconds: int, error: Callable[[str], MTIError] = ModelTimeout) -> None:
        self.model = mti.FunctionModel(self._answer)
        self.budget = mti.Budget(seconds=seconds, clock=lambda: float(len(self.model.requests)))
        self._left = count(seconds - 1, -1)
        self._error = error

    def _answer(self, request: Request) -> str:
        if next(self._left) <= 0:
            raise self._error("no whole reply within 0.05 s")
        return yes(request)

    def choose(self, names: str = "abc", **options: Any) -> Choice:
        """A choice about tasks of one letter each."""
        given = rows(60, names)
        return choose_plan(program(names), given, model=self.model, budget=self.budget, **options)


@pytest.mark.parametrize("seconds", [4, 5, 6, 30, 59, 61, 65, 75])
def test_seconds_end_the_search(seconds: int) -> None:
    """A call that they cut off is no outage: the search ends with what is known, and tells all the
    calls that were made."""
    timed = Timed(seconds)
    choice = timed.choose()
    assert choice.exhausted
    assert [one.name for one in choice.candidates] == ["split", "fused"][: 1 + (seconds > 61)]
    assert choice.candidates[0].rows == min(20, (seconds - 1) // 3)
    assert choice.spent.calls == len(timed.model.requests) == seconds


@pytest.mark.parametrize("takes", [{"b": "", "c": ""}, {"b": "a", "c": "b"}])
@pytest.mark.parametrize("concurrency", [2, 8])
def test_calls_in_flight_when_the_seconds_end_are_told(takes: Takes, concurrency: int) -> None:
    """Those behind the first that was cut off count too, though nothing is learnt from them."""
    timed = Timed(55)
    choice = choose_plan(chained({"a": "", **takes}), rows(60, "abc"), model=timed.model,
                         budget=timed.budget, concurrency=concurrency)  # fmt: skip
    assert choice.exhausted
    assert 0 < choice.chosen.rows <= 18
    assert 55 <= choice.spent.calls == len(timed.model.requests)


@pytest.mark.parametrize("where", ["direct/any", "openai/any"])
def test_seconds_end_a_search_over_http(where: str) -> None:
    """The model has the deadline of the budget, and says that no reply came in time."""
    with ChatServer(delay=0.2) as server:
        model = mti.Model(where, api_base=server.base_url, api_key="k", cache=False)
        list(program("a").map([{"text": "first"}], model=model))  # what is imported takes its time
        budget = mti.Budget(seconds=2)
        choice = choose_plan(program("ab"), rows(60), model=model, budget=budget)
    assert (choice.exhausted, choice.chosen.name) == (True, "split")
    assert 0 < choice.chosen.rows < 20


def test_a_turn_that_comes_after_the_seconds_ends_the_search() -> None:
    """Limits that let no further call begin within the budget end it at once: no second is left in
    which anything could be asked."""
    inner = mti.FunctionModel(yes)
    model = LimitedModel(inner, Limits(requests=10))
    budget = mti.Budget(seconds=30)
    choice = choose_plan(program("ab"), rows(60, "ab"), model=model, budget=budget)
    assert (choice.exhausted, choice.chosen.rows, len(inner.requests)) == (True, 5, 10)
    assert budget.left.seconds > 0


def test_no_reply_within_the_seconds() -> None:
    """Without a single row the budget is what is too small; why no row was answered is told, as it
    may be a server that is not there."""
    with pytest.raises(BudgetExceeded, match=r"before a row is answered, as no whole reply within"):
        Timed(3).choose()


@pytest.mark.parametrize("wait", [15.0, 3600.0])
def test_a_quota_is_none_of_the_budget(wait: float) -> None:
    """One for an hour is an outage, whatever seconds the budget has; where a limit a minute makes a
    call wait for longer than there is time, the search ends with what is known.
    """
    inner = mti.FunctionModel(yes)
    asked: list[mti.Request] = []

    def quota(request: mti.Request) -> mti.Reply:
        asked.append(request)
        if len(asked) > 12:
            raise RateLimited("too many", retry_after=wait)
        return inner.complete(request)

    def chosen() -> Choice:
        seconds = 14 if wait < 60 else 1800
        return choose_plan(program("ab"), rows(60), model=mti.FunctionModel(quota),
                           budget=mti.Budget(seconds=seconds))  # fmt: skip

    if wait < 60:
        assert chosen().exhausted
    else:
        with pytest.raises(IncompleteRun, match="too many"):
            chosen()


@pytest.mark.parametrize(
    ("error", "seconds"), [(ModelTimeout, 1000), (ModelUnavailable, 1000), (RequestRejected, 30)]
)
def test_an_outage_is_none_of_the_budget(error: Callable[[str], MTIError], seconds: int) -> None:
    """A call that fails while there is time, or would be refused again, is told as what it is."""
    timed = Timed(30, error)
    timed.budget = mti.Budget(seconds=seconds, clock=lambda: float(len(timed.model.requests)))
    with pytest.raises(IncompleteRun, match=r"no whole reply within 0\.05 s"):
        timed.choose()


# --- pins ----------------------------------------------------------------------------------------

UNMEASURED = "not measured: the budget ended before"


@pytest.mark.parametrize("calls", [7, 50, 139, 140])
def test_a_budget_that_ends_before_a_pin_is_measured(calls: int) -> None:
    """The pinned calls are the will of the user: they are taken unmeasured, and it is told so."""
    names = "abcdefg"
    choice = choose(names, harms(), 60, together=["ag"], budget=mti.Budget(calls=calls))
    assert groups(choice) == {"ag", *"bcdef"}
    assert (choice.exhausted, choice.spent.calls) == (True, calls)
    assert (choice.chosen.verdict, choice.chosen.reason) == ("pinned", UNMEASURED)
    assert (choice.chosen.rows, choice.chosen.tasks, choice.pays_after) == (0, {}, None)
    assert choice.candidates[0].rows == calls // 7
    json.dumps(choice.plain(), allow_nan=False)
    told = str(parts_of(choice))
    assert UNMEASURED in told
    assert f"Measuring took {calls} calls" in told
    assert "No call was made" not in told


def test_a_pin_that_was_measured_on_few_rows_is_told_with_them() -> None:
    """One row suffices: what was found on it is told, as without an end."""
    choice = choose("ab", harms(), 60, together=["ab"], budget=mti.Budget(calls=41))
    assert (choice.exhausted, choice.chosen.verdict, choice.chosen.rows) == (True, "pinned", 1)
    assert choice.chosen.reason.startswith("measured: ")


@pytest.mark.parametrize("options", [{}, {"together": ["ab"]}, {"together": ["bc"]}])
@pytest.mark.parametrize("calls", [3, 30, 60, 61, 500])
def test_a_pinned_plan_is_taken_wherever_the_budget_ends(
    calls: int, options: Mapping[str, Any]
) -> None:
    """With pinned calls beside it, those of the plan or others, it is the plan that is taken."""
    tasks = program("abc")
    plan = mti.Plan.groups(tasks, [["a", "b"], ["c"]])
    choice = choose_plan(tasks, rows(60, "abc"), model=planted(harms()), plan=plan,
                         budget=mti.Budget(calls=calls), **options)  # fmt: skip
    assert choice.plan == plan
    assert choice.chosen.verdict == "pinned"
    assert choice.exhausted == (calls < 500)
    assert (choice.chosen.reason == UNMEASURED) == (calls < 61)
    assert choice.chosen.reason.count("measured: ") == 1


def test_seconds_that_end_before_a_pin_is_measured() -> None:
    """So it is with seconds, of which nobody can say before how many calls they buy."""
    timed = Timed(30)
    choice = timed.choose(together=["ac"])
    assert (groups(choice), choice.chosen.reason) == ({"ac", "b"}, UNMEASURED)


def test_dollars_that_cannot_be_counted_are_told_of_a_pinned_plan() -> None:
    """What refuses every call is an error: the plan is not taken for one that no budget was left
    for."""

    def untold_in_company(request: Request) -> mti.Reply:
        cost = None if len(asked_for(request)) > 1 else 0.001
        return mti.Reply(yes(request), usage=mti.Usage(calls=1, prompt_tokens=10, cost=cost))

    tasks, model = program("abcd"), mti.FunctionModel(untold_in_company)
    plan = mti.Plan.groups(tasks, [["a", "b"], ["c", "d"]])
    with pytest.raises(BudgetExceeded, match="cost is not known"):
        choose_plan(tasks, rows(60, "abcd"), model=model, plan=plan, budget=mti.Budget(dollars=1))


def test_no_time_is_foretold_of_a_plan_that_was_not_measured() -> None:
    """Though the calls of the split plan tell how time follows from tokens."""

    def answer(request: Request) -> mti.Reply:
        read = 10 * len(request.messages[-1].content) + len(model.requests)
        return mti.Reply(yes(request), usage=mti.Usage(calls=1, prompt_tokens=read, seconds=read))

    model = mti.FunctionModel(answer)
    choice = choose_plan(program("ab"), rows(60, "ab"), model=model, together=["ab"],
                         budget=mti.Budget(calls=40))  # fmt: skip
    assert choice.timing is not None
    told = [one["seconds_foretold"] for one in choice.plain()["candidates"]]
    assert (told[0] is None, told[1]) == (False, None)
