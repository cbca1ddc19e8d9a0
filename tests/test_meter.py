"""The meter: what all calls cost, for each purpose, whoever makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt import errors
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.limits import LimitedModel, Limits
from mtiprompt.models.meter import Meter, MeteredModel
from mtiprompt.wire import Message, Reply, Request, Usage


def hello(purpose: str = "answer") -> Request:
    """A request for a purpose."""
    return Request((Message("user", "Hello"),), purpose=purpose)


async def _astreamed(model: LanguageModel, request: Request) -> None:
    async for _ in model.astream(request):
        pass


Call = Callable[[LanguageModel, Request], object]
CALLS: dict[str, Call] = {
    "sync": lambda model, request: model.complete(request),
    "async": lambda model, request: asyncio.run(model.acomplete(request)),
    "stream": lambda model, request: list(model.stream(request)),
    "astream": lambda model, request: asyncio.run(_astreamed(model, request)),
}


@pytest.fixture(params=list(CALLS))
def call(request: pytest.FixtureRequest) -> Call:
    """Every way of calling."""
    return CALLS[request.param]


def test_all_and_by_purpose(call: Call) -> None:
    """Calls, tokens, dollars and hits are added up in all and for each purpose."""
    replies = [
        Reply("a", usage=Usage(1, 0, 10, 5, 3, 0.5, 2.0)),
        Reply("b", usage=Usage(hits=1, seconds=0.5)),
        Reply("c", usage=Usage(2, 0, 20, 0, 4, 0.25, 1.0)),
    ]
    model = MeteredModel(mti.ScriptedModel(replies))
    for purpose in ("answer", "answer", "repair"):
        call(model, hello(purpose))
    assert model.usage == Usage(3, 1, 30, 5, 7, 0.75, 3.5)
    assert model.usage.of("answer") == Usage(1, 1, 10, 5, 3, 0.5, 2.5)
    assert model.usage.of("repair") == replies[2].usage
    assert model.usage.of("optimize") == Usage()
    model.meter.reset()
    assert (model.usage, dict(model.usage.by_purpose)) == (Usage(), {})


def test_failed_calls(call: Call) -> None:
    """A call that failed counts as one, or as its error tells; one that was not sent as none."""
    told = errors.ModelUnavailable("down")
    vars(told)["usage"] = Usage(calls=5, seconds=9.0)
    model = MeteredModel(mti.ScriptedModel([errors.RateLimited("no"), told]))
    for calls in (1, 6):
        with pytest.raises(errors.ModelError):
            call(model, hello())
        assert model.usage.calls == calls
    limited = LimitedModel(mti.EchoModel(), Limits(requests=1))
    limited.complete(hello())
    unsent = MeteredModel(limited)
    from mtiprompt.models.deadline import until

    with until(0), pytest.raises(errors.ModelTimeout):
        call(unsent, hello())
    assert unsent.usage.calls == 0


@pytest.mark.parametrize("error", [errors.BudgetExceeded("no"), KeyboardInterrupt(), ValueError()])
def test_what_is_no_call_that_failed(call: Call, error: BaseException) -> None:
    """What comes out besides errors of models is passed on and not counted."""
    model = MeteredModel(mti.ScriptedModel([error]))
    with pytest.raises(type(error)):
        call(model, hello())
    assert model.usage.calls == 0


def test_a_stream_that_is_closed() -> None:
    """A stream that its reader closes counts with the tokens that came, and with no price."""

    class Slow(mti.EchoModel):
        def stream(self, request):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            yield "He"
            yield "llo"

    model = MeteredModel(Slow())
    pieces = model.stream(hello())
    assert next(pieces) == "He"
    pieces.close()
    used = model.usage
    assert (used.calls, used.prompt_tokens, used.completion_tokens) == (1, 2, 1)
    assert used.cost is None


def test_an_unknown_price() -> None:
    """One call whose price is not known makes the sum unknown, but not that of other purposes."""
    meter = Meter()
    meter.add("a", Usage(calls=1, cost=0.5))
    meter.add("b", Usage(calls=1, cost=None))
    meter.add("b", Usage(calls=1, cost=0.5))
    assert [meter.usage.cost, meter.usage.of("a").cost, meter.usage.of("b").cost] == [
        None,
        0.5,
        None,
    ]


COUNTS = st.integers(0, 1000)
SECONDS = st.integers(0, 9).map(float)
COSTS = st.none() | SECONDS
CALLED = st.builds(Usage, st.integers(1, 9), COUNTS, COUNTS, COUNTS, COUNTS, COSTS, SECONDS)
USAGES = CALLED | st.builds(Usage, hits=COUNTS, seconds=SECONDS)


@given(st.lists(st.tuples(st.sampled_from("abc"), USAGES)))
def test_it_adds_as_usages_do(added: list[tuple[str, Usage]]) -> None:
    """The meter tells the sum of the usages, and of those of each purpose."""
    meter = Meter()
    for purpose, usage in added:
        meter.add(purpose, usage)
    assert meter.usage == reduce(add, (usage for _, usage in added), Usage())
    for purpose in "abc":
        own = reduce(add, (usage for one, usage in added if one == purpose), Usage())
        assert meter.usage.of(purpose) == own


def test_threads_share_a_meter() -> None:
    """No call is lost when many threads and several models add to one meter."""
    meter = Meter()
    models = [MeteredModel(mti.EchoModel(), meter) for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        for number in range(2000):
            pool.submit(models[number % 2].complete, hello("abc"[number % 3]))
    assert meter.usage.calls == 2000
    assert [meter.usage.of(purpose).calls for purpose in "abc"] == [667, 667, 666]


def test_what_was_sent_before_a_budget_was_spent(call: Call) -> None:
    """The calls before a refusal count; the refusal does not."""
    spent = errors.BudgetExceeded("no")
    spent.usage = Usage(calls=2)
    model = MeteredModel(mti.ScriptedModel([spent]))
    with pytest.raises(errors.BudgetExceeded):
        call(model, hello())
    assert model.usage.calls == 2


async def test_a_cancelled_call_counts() -> None:
    """A call that its task gives up was sent."""

    class Slow(mti.EchoModel):
        async def acomplete(self, request: Request) -> Reply:
            await asyncio.sleep(9)
            raise AssertionError

    model = MeteredModel(Slow())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(model.acomplete(hello()), 0.01)
    assert model.usage.calls == 1
