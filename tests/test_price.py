"""Prices are what arithmetic by hand says, for the layouts and numbers of items that there are."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt.evaluation.outcome import Outcome, outcome
from mtiprompt.evaluation.prices import Price
from mtiprompt.planner.price import CallTokens, PlanPrice, dollars, price_plan, tokens_of
from mtiprompt.planner.search import in_waves

ONE = Price("one", prompt=1.0, cached=0.1, completion=2.0)


@pytest.mark.parametrize(
    ("cached", "caching", "saved"), [(1.0, False, 0.70), (0.5, True, 0.54), (0.1, True, 0.19)]
)
def test_the_worked_case(cached: float, caching: bool, saved: float) -> None:
    """4 tasks, 2,000 shared tokens, 150 of instructions each: fusing saves 70%, 54%, 19%."""
    price = Price("any", prompt=1.0, cached=cached, completion=0.0)
    split = [CallTokens(2150), *[CallTokens(2150, known=2000)] * 3]
    by_hand = 4 * 150 + 2000 + 3 * 2000 * (cached if caching else 1)
    assert dollars(split, price, caching=caching) == pytest.approx(by_hand)
    fused = dollars([CallTokens(2000 + 4 * 150)], price, caching=caching)
    assert round(1 - fused / by_hand, 2) == saved


def test_short_beginnings_are_not_kept() -> None:
    """A beginning below the provider's minimum is paid in full."""
    calls = [CallTokens(1000, known=900)]
    assert dollars(calls, ONE, caching=True) == 1000
    assert dollars(calls, ONE, caching=True, minimum=900) == 100 + 90


def test_an_items_part_of_a_call() -> None:
    """Of a call about four items each pays a fourth, of what is read and written."""
    calls = [CallTokens(400, completion=40, share=0.25)] * 4
    assert dollars(calls, ONE, caching=False) == 400 + 80


def program() -> mti.Program:
    """Three tasks about one text."""
    return mti.combine(*(f"text -> {name}: Literal['yes', 'no']" for name in ("a", "b", "c")))


def run(plan: mti.Plan, texts: list[str]) -> list[Outcome]:
    """What becomes of texts in a plan."""
    rows = [{"text": text} for text in texts]
    results = program().map(rows, model=mti.EchoModel(), plan=plan, concurrency=1)
    return [outcome(str(n), result) for n, result in enumerate(results)]


def beginnings(plan: mti.Plan, texts: list[str]) -> list[float]:
    """The share of each prompt that an earlier one began with, in the order of the calls."""
    return [one.known / one.prompt for one in tokens_of(run(plan, texts))]


TEXTS = ["a long text " * 100, "quite another text " * 100]


def test_split_calls_share_little() -> None:
    """With the instructions first, calls about one item differ from the first task on."""
    first = beginnings(mti.Plan.split(program()), TEXTS)
    assert first[0] == 0
    assert all(share < 0.2 for share in first[:3])
    assert len(first) == 6


def test_item_first_shares_the_item() -> None:
    """With the item first, the second and third call about it have it from the cache."""
    first = beginnings(mti.Plan.split(program(), layout="item_first"), TEXTS)
    assert first[0] < 0.2
    assert first[3] < 0.2
    assert all(first[place] > 0.7 for place in (1, 2, 4, 5))


def test_fused_calls_share_the_instructions() -> None:
    """With one call an item, what stands before the item is known from the second on."""
    first = beginnings(mti.Plan.fused(program()), ["one", "two", "three"])
    assert first[0] == 0
    assert all(share > 0.8 for share in first[1:])


def test_the_nearest_beginning_counts_whatever_came_between() -> None:
    """The third prompt begins like the first, though another came in between."""
    first = beginnings(mti.Plan.split(program(), layout="item_first"), [*TEXTS, TEXTS[0]])
    assert all(share > 0.99 for share in first[6:])


@pytest.mark.parametrize("size", [2, 4])
def test_calls_about_several_items_are_shared(size: int) -> None:
    """Parts of calls sum to the calls that were made, and to their tokens."""
    outcomes = run(mti.Plan.fused(program(), items_per_call=size), ["one", "two", "three", "four"])
    price = price_plan(outcomes, [[("a", "b", "c")]], ONE)
    assert price.calls * 4 == pytest.approx(4 / size)
    spent: Any = sum((one.usage for one in outcomes), mti.Usage())
    assert price.prompt * 4 == pytest.approx(spent.prompt_tokens)
    assert price.completion * 4 == pytest.approx(spent.completion_tokens)
    assert price.dollars is not None
    assert price.dollars * 4 == pytest.approx(ONE.cost(spent, caching=False))


def test_waves_follow_the_dependencies() -> None:
    """A task goes out after those whose answers it takes, and beside the others."""
    chain = mti.combine("text -> mood", "mood -> reply", "text -> word")
    groups = [(name,) for name in chain.order]
    found = [sorted(name for group in wave for name in group) for wave in in_waves(chain, groups)]
    assert found == [["mood", "word"], ["reply"]]


def test_time_is_the_longest_of_a_wave() -> None:
    """Calls at the same time take as long as the longest; one after the other, their sum."""
    outcomes = run(mti.Plan.split(program()), ["one"])
    times = {call.tasks: call.usage.seconds for call in outcomes[0].calls}
    price = price_plan(outcomes, [[("a",), ("b",), ("c",)]], None)
    assert price.seconds == pytest.approx(sum(times.values()))
    assert price.longest == pytest.approx(max(times.values()))
    assert price.dollars is None


WAVES = [[("a", "b"), ("c",)]]


@pytest.mark.parametrize("size", [1, 2])
def test_the_work_of_a_row_is_that_of_its_calls(size: int) -> None:
    """Over all calls of all waves, the work is the calls and tokens that the price tells."""
    plan = mti.Plan.groups(program(), [["a", "b"], ["c"]], items_per_call=size)
    price = price_plan(run(plan, ["one", "two", "three", "four"]), WAVES, ONE)
    assert [len(wave) for wave in price.work] == [2]
    calls, read, cached, written = map(sum, zip(*price.work[0], strict=True))
    assert calls == pytest.approx(price.calls) == pytest.approx(2 / size)
    assert (read, cached) == pytest.approx((price.prompt, 0))
    assert written == pytest.approx(price.completion)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_call_about_several_items_is_observed_once(size: int) -> None:
    """However many items share a call, it is one observation, with the tokens of all of it."""
    outcomes = run(mti.Plan.fused(program(), items_per_call=size), ["one", "two", "three", "four"])
    price = price_plan(outcomes, [[("a", "b", "c")]], ONE)
    assert len(price.seen) == 4 // size
    assert sum(one.work.read for one in price.seen) == pytest.approx(4 * price.prompt)
    assert sum(one.seconds for one in price.seen) == pytest.approx(4 * price.seconds)


def test_what_another_plan_paid_is_observed_there() -> None:
    """A reply that is shared by two plans, or that took several tries, is no observation."""
    shared, twice, own = run(mti.Plan.split(program()), ["one"])[0].calls
    assert shared.reply and twice.reply and own.reply  # noqa: PT018
    shared = replace(shared, reply=replace(shared.reply, details={"shared": True}))
    twice = replace(twice, reply=replace(twice.reply, usage=mti.Usage(calls=2, seconds=9.0)))
    price = price_plan([Outcome("x", {}, calls=(shared, twice, own))], [[("a", "b", "c")]], None)
    assert [one.seconds for one in price.seen] == [own.reply.usage.seconds]


def test_a_price_is_plain_without_single_calls() -> None:
    """As JSON it has the figures of a row, and no list that grows with the rows."""
    price = price_plan(run(mti.Plan.fused(program()), ["one", "two"]), WAVES, ONE)
    told = price.plain()
    assert json.loads(json.dumps(told)) == told
    assert (told["rows"], told["calls"]) == (2, 1.0)
    assert not {"work", "seen"} & set(told)


def priced(*, prompt: float = 0.0, completion: float = 0.0, seconds: float = 0.0) -> PlanPrice:
    """A price, most of it 0."""
    return PlanPrice(
        rows=1, calls=2.0, prompt=prompt, known=0.0, cached=0.0, completion=completion,
        dollars=None, dollars_cached=None, seconds=seconds, longest=0.0,
    )  # fmt: skip


def test_throughput_is_what_the_tightest_limit_lets_through() -> None:
    """Time, calls a minute or tokens a minute bound the rows, whichever is least."""
    one = priced(seconds=2.0, prompt=90.0, completion=10.0)
    assert one.rows_a_minute() == 30
    assert one.rows_a_minute(flight=4) == 120
    assert one.rows_a_minute(requests=50, flight=4) == 25
    assert one.rows_a_minute(tokens=1000, requests=50, flight=4) == 10
    assert priced().rows_a_minute(tokens=10) == 0
