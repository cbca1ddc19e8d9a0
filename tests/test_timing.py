"""The model of time finds what was planted, says how far off it is, and is silent where it must."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.planner import Choice, choose_plan
from mtiprompt.planner.price import PlanPrice
from mtiprompt.planner.timing import FEWEST, Observed, Timing, Work, fit
from mtiprompt.testing import ChatServer, Fault, Received

PARTS = st.sampled_from([0.0]) | st.floats(1e-6, 0.5)
Parts = tuple[float, float, float, float]


def work(number: int, seed: int = 0) -> list[Work]:
    """Calls whose tokens vary each on their own."""
    draw = random.Random(seed)
    return [
        Work(1, draw.randrange(50, 2000), draw.choice([0, 0, 512, 1024]), draw.randrange(5, 200))
        for _ in range(number)
    ]


def observed(
    parts: Parts, calls: Sequence[Work], noise: float = 0.0, seed: int = 0
) -> list[Observed]:
    """Calls that take what the parts say, give or take."""
    draw, model = random.Random(seed), Timing(*parts, error=0.0, n=0)
    return [Observed(one, model.seconds(one) * draw.gauss(1, noise)) for one in calls]


@given(st.tuples(PARTS, PARTS, PARTS, PARTS), st.integers(FEWEST, 60), st.integers(0, 99))
def test_what_was_planted_is_found(parts: Parts, number: int, seed: int) -> None:
    """Without noise all parts are found, those that are 0 too, and nothing is off."""
    assume(any(parts))
    calls = work(number, seed)
    assume(all(Timing(*parts, error=0, n=0).seconds(one) > 1e-7 for one in calls))
    found = fit(observed(parts, calls))
    assert found is not None
    told = (found.fixed, found.prefill, found.cached_read, found.decode)
    assert told == pytest.approx(parts, rel=1e-4, abs=1e-6)
    assert found.error < 1e-4
    assert found.n == number


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 300), st.floats(0, 60)
        ),
        max_size=40,
    )
)
def test_no_part_is_below_0(calls: list[tuple[int, int, int, float]]) -> None:
    """Whatever is observed, there is no model or one with no part below 0 that is a number."""
    found = fit(Observed(Work(1, *tokens), seconds) for *tokens, seconds in calls)
    if found is not None:
        parts = (found.fixed, found.prefill, found.cached_read, found.decode, found.error)
        assert all(0 <= one < float("inf") for one in parts)
        assert "fits to" in str(found)


@given(st.integers(0, 99))
def test_no_other_model_without_parts_below_0_misses_less(seed: int) -> None:
    """Of all models around it, it has the smallest squared errors, where a part is cut to 0 too."""
    draw = random.Random(seed)
    calls = [Observed(one, draw.uniform(0.01, 5)) for one in work(30, seed)]
    found = fit(calls)
    assert found is not None
    best = (found.fixed, found.prefill, found.cached_read, found.decode)

    def misses(parts: Sequence[float]) -> float:
        pairs = ((sum(map(float.__mul__, parts, map(float, w))), s) for w, s in calls)
        return sum((told - seconds) ** 2 for told, seconds in pairs)

    least = misses(best)
    for place in range(4):
        for step in (-1e-3, 1e-3):
            other = [max(0.0, one + step * (n == place)) for n, one in enumerate(best)]
            assert misses(other) >= least * (1 - 1e-9)


def test_the_error_is_that_of_calls_not_seen() -> None:
    """What it says of itself is what it is off by on new calls, within a quarter."""
    parts = (0.2, 0.001, 0.0001, 0.02)
    found = fit(observed(parts, work(200), noise=0.1))
    assert found is not None
    fresh = observed(parts, work(400, seed=7), noise=0.1, seed=8)
    misses = sorted(abs(found.seconds(w) - s) / s for w, s in fresh)
    assert found.error == pytest.approx(misses[200], rel=0.25)
    assert (found.prefill, found.decode) == pytest.approx((0.001, 0.02), rel=0.15)


def test_too_few_calls_or_all_alike_say_nothing() -> None:
    """Below twelve calls, or where all have the same size, or took no time, there is no model."""
    parts = (0.2, 0.001, 0.0, 0.02)
    assert fit(observed(parts, work(FEWEST - 1))) is None
    assert fit(observed(parts, [Work(1, 100, 0, 10)] * 50)) is None
    assert fit(observed((0.0, 0.0, 0.0, 0.0), work(50))) is None
    assert fit([]) is None


def test_what_does_not_vary_is_part_of_the_call() -> None:
    """Where prompts are alike, their time belongs to the call, and foretells it as well."""
    calls = [Work(1, 1000 + n % 3, 0, 5 + n) for n in range(30)]
    found = fit(observed((0.1, 0.001, 0.0, 0.02), calls))
    assert found is not None
    assert (found.prefill, found.cached_read) == (0, 0)
    assert found.fixed == pytest.approx(1.1, rel=0.01)
    assert found.decode == pytest.approx(0.02, rel=0.01)


@pytest.mark.parametrize(
    ("timing", "said"),
    [
        (Timing(0.12, 0.0011, 0, 0.018, 0.08, 40),
         "0.12 s a call, 1.1 ms a prompt token, 18 ms a written token; fits to 8%"),
        (Timing(0, 0, 0.0000996, 1.234, 1.2, 40),
         "100 \N{GREEK SMALL LETTER MU}s a cached token, 1.2 s a written token; fits to 120%"),
        (Timing(123.4, 0.00000123, 0, 0, 0, 40),
         "120 s a call, 1.2 \N{GREEK SMALL LETTER MU}s a prompt token; fits to 0%"),
    ],
)  # fmt: skip
def test_words(timing: Timing, said: str) -> None:
    """Two digits that count and a unit that fits; what is 0 is not told."""
    assert str(timing) == said


def test_a_plan_is_foretold_serial_and_at_the_same_time() -> None:
    """Waves follow each other; in a wave each call goes out as soon as there is room."""
    timing = Timing(1.0, 0.0, 0.0, 0.1, 0.0, 40)
    first = tuple(Work(1, 0, 0, written) for written in (40, 20, 20, 10))  # 5, 3, 3 and 2 s
    price = PlanPrice(
        rows=1, calls=5, prompt=0, known=0, cached=0, completion=100, dollars=None,
        dollars_cached=None, seconds=0, longest=0, work=(first, (Work(1, 0, 0, 10),)),
    )  # fmt: skip
    assert price.foretold(timing) == pytest.approx(13 + 2)
    assert price.foretold(timing, flight=2) == pytest.approx(7 + 2)
    assert price.foretold(timing, flight=9) == pytest.approx(5 + 2)


# --- real calls ----------------------------------------------------------------------------------

FIXED, PREFILL, DECODE = 0.004, 0.0002, 0.002  # well above what a busy machine adds


def slow(received: Received) -> Fault:
    """Takes a time that is in proportion to the tokens read and written."""
    read = sum(len(one["content"]) for one in received.body["messages"]) // 4
    return Fault(delay=FIXED + PREFILL * read + DECODE * (len(say(received)) // 4))


def say(received: Received) -> str:
    """Each task is answered with as many words as the text asks for."""
    schema = received.schema
    assert schema is not None
    words = int(received.body["messages"][-1]["content"].rsplit("long", 1)[1].split()[0])
    return json.dumps(dict.fromkeys(schema["properties"], "word " * words))


def test_times_planted_in_a_server_are_found() -> None:
    """Over HTTP, what a server takes for a token read and written is found, and plans foretold."""
    program = mti.combine("text -> a", "text -> b")
    texts = [f"{'filler ' * (n * 37 % 200)} long {n * 13 % 29} words" for n in range(40)]
    given = [{"inputs": {"text": text}} for text in texts]
    with ChatServer(say, faults=slow) as server:
        model = mti.Model("direct/any", api_base=server.base_url, api_key="k", cache=False)
        choice: Choice = choose_plan(program, given, model=model)
    timing = choice.timing
    assert timing is not None
    assert timing.n == choice.spent.calls == server.count
    assert timing.decode == pytest.approx(DECODE, rel=0.5)
    assert timing.prefill == pytest.approx(PREFILL, rel=0.8)
    assert timing.fixed >= 0
    assert timing.error < 0.5
    for one in choice.candidates:
        assert one.price.foretold(timing) == pytest.approx(one.price.seconds, rel=0.3)
        assert one.price.foretold(timing, flight=2) == pytest.approx(one.price.longest, rel=0.4)
    told = choice.plain()
    assert told["timing"]["n"] == timing.n
    assert told["candidates"][0]["seconds_foretold"]["one_after_the_other"] > 0
