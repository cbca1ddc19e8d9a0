"""Models both ways: a `dspy.LM` as a model of ours, and a model of ours as a `dspy.LM`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt import errors
from mtiprompt.models.model import as_model
from mtiprompt.testing import ChatServer, Fault

pytestmark = pytest.mark.usefixtures("quiet_dspy")


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """A server that gives the smallest answer that fits."""
    with ChatServer() as running:
        yield running


def _lm(server: ChatServer, **options: Any) -> Any:
    given: dict[str, Any] = {"api_base": server.base_url, "api_key": "k", "cache": False}
    return dspy.LM("openai/any", **given | options)


def _program() -> mti.Program:
    return mti.combine("text -> mood: Literal['good', 'bad']", "text -> number: int")


# --- a dspy.LM as a model ------------------------------------------------------------------------


def test_an_lm_is_asked_as_it_is_set_up(server: ChatServer) -> None:
    """A `dspy.LM` given as the model is asked with its sampling, and a schema of ours."""
    lm = _lm(server, temperature=0.3, max_tokens=50, seed=7)
    result = _program()(text="x", model=lm)
    assert result.unwrap() == {
        "mood": mti.Values({"mood": "good"}),
        "number": mti.Values({"number": 0}),
    }
    body = server.requests[0].body
    assert (body["temperature"], body["max_completion_tokens"], body["seed"]) == (0.3, 50, 7)
    assert server.requests[0].level == "json_schema"
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert (result.usage.calls, result.usage.cost) == (1, None)
    assert result.usage.prompt_tokens > 0
    assert len(lm.history) == 1


async def test_an_lm_is_asked_without_blocking(server: ChatServer) -> None:
    """Calls in an event loop go through `LM.acall`, several at the same time."""
    rows = [{"text": str(number)} for number in range(6)]
    found = [one async for one in _program().amap(rows, model=_lm(server), concurrency=3)]
    assert [one.failures for one in found] == [{}] * 6


def test_an_lm_is_the_same_model_each_time(server: ChatServer) -> None:
    """What is prepared for a model is found again, because an LM stands for one model."""
    lm = _lm(server)
    assert as_model(lm) is as_model(lm)
    assert as_model(lm).identity != as_model(_lm(server, temperature=1.0)).identity
    assert "k" not in as_model(_lm(server, api_key="sesame")).identity.split('"')
    assert "sesame" not in as_model(_lm(server, api_key="sesame")).identity


def test_an_lm_that_is_set_up_anew_is_asked_so(server: ChatServer) -> None:
    """What is changed in an LM holds from the next call on, also in a module that was made of it,
    and its model has another identity.
    """
    lm = _lm(server, temperature=0.0, max_tokens=100)
    module = mti.to_dspy(_program(), model=lm)
    module(text="x")
    before = as_model(lm)
    lm.kwargs |= {"temperature": 1.0, "max_tokens": 2000}
    module(text="x")
    _program()(text="x", model=lm)
    sent = [(one.body["temperature"], one.body["max_completion_tokens"]) for one in server.requests]
    assert sent == [(0.0, 100), (1.0, 2000), (1.0, 2000)]
    assert as_model(lm).identity != before.identity


def test_model_wraps_an_lm(server: ChatServer, tmp_path: Path) -> None:
    """`mti.Model(dspy.LM(...))` has our cache, budget and meter, and DSPy's cache is off."""
    budget = mti.Budget(calls=5)
    model = mti.Model(_lm(server, cache=True), cache=tmp_path, budget=budget)
    first = _program()(text="x", model=model)
    again = _program()(text="x", model=model)
    assert first.unwrap() == again.unwrap()
    assert (server.count, model.usage.calls, model.usage.hits) == (1, 1, 1)
    assert repr(model).startswith("Model('openai/any'")
    with pytest.raises(mti.SettingsError, match="temperature belongs to"):
        mti.Model(_lm(server), temperature=0)
    with pytest.raises(mti.SettingsError, match="name of a model is text"):
        mti.Model(7)


def test_a_retry_is_ours(server: ChatServer) -> None:
    """A call that fails once is made again by our wrapper, not by DSPy's loop inside it."""
    with ChatServer(faults=[Fault(status=503)]) as failing:
        model = mti.Model(_lm(failing), cache=False, retries=1)
        assert not _program()(text="x", model=model).failures
        assert failing.count == 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.ModelAccessDenied),
        (404, errors.ModelError),
        (429, errors.RateLimited),
        (500, errors.ModelUnavailable),
        (402, errors.QuotaExhausted),
    ],
)
def test_errors_of_dspy_are_ours(status: int, kind: type[Exception]) -> None:
    """What DSPy raises comes out as our errors, without the key."""
    with ChatServer(faults=lambda _: Fault(status=status)) as failing:
        model = as_model(_lm(failing, num_retries=0, api_key="sesame"))
        with pytest.raises(kind) as caught:
            model.complete(mti.Request((mti.Message("user", "x"),)))
    assert "sesame" not in str(caught.value)


def test_a_refused_schema_drops_a_level() -> None:
    """A server that knows no schemas is asked for JSON, and then answers."""
    with ChatServer(lambda _: '{"mood": "bad", "number": 1}', refuses=["json_schema"]) as server:
        result = _program()(text="x", model=_lm(server, num_retries=0))
    assert result["mood"].mood == "bad"
    assert server.requests[-1].level == "json_object"


def test_samples_differ(server: ChatServer) -> None:
    """Another sample is another rollout for DSPy, warmer where a temperature is set."""
    model = as_model(_lm(server, temperature=0.0, seed=1))
    for sample in (0, 2):
        model.complete(mti.Request((mti.Message("user", "x"),), sample=sample))
    bodies = [one.body for one in server.requests]
    assert [(one["temperature"], one["seed"]) for one in bodies] == [(0.0, 1), (0.7, 3)]


# --- a model as a dspy.LM ------------------------------------------------------------------------


def test_dspy_asks_our_model(server: ChatServer, tmp_path: Path) -> None:
    """A DSPy program through `dspy_lm` has our cache, and single answers with types."""
    model = mti.Model("direct/any", api_base=server.base_url, api_key="k", cache=tmp_path)
    with dspy.context(lm=mti.dspy_lm(model), track_usage=True):
        for _ in range(2):
            found = dspy.Predict("text -> number: int")(text="x")
            assert found.number == 0
    assert (server.count, model.usage.hits) == (1, 1)
    assert found.get_lm_usage() == {}
    assert server.requests[0].level == "json_schema"


async def test_dspy_asks_our_model_without_blocking() -> None:
    """`acall` of a DSPy program goes through `acomplete`."""
    model = mti.EchoModel()
    with dspy.context(lm=mti.dspy_lm(model)):
        program = dspy.Predict("text -> number: int")
        found = await asyncio.gather(*(program.acall(text=str(one)) for one in range(3)))
    assert [one.number for one in found] == [0, 0, 0]
    assert model.requests[0].purpose == "dspy"


def test_rollouts_are_samples() -> None:
    """A rollout of DSPy's is a sample of ours, given to the LM, to the call, or to a module."""
    model = mti.EchoModel()
    lm = mti.dspy_lm(model)
    predict = dspy.Predict("text -> number: int")
    with dspy.context(lm=lm.copy(rollout_id=3, temperature=1.0)):
        predict(text="x")
        mti.to_dspy(_program())(text="x")
    with dspy.context(lm=lm):
        predict(text="x", config={"rollout_id": 5, "temperature": 1.0})
        predict(text="x")
    assert [one.sample for one in model.requests] == [3, 3, 5, 0]


def test_a_rollout_that_is_set_later_is_asked() -> None:
    """A module asks for the rollout that its LM has at the call, and prepares each one once."""
    model = mti.EchoModel()
    lm = mti.dspy_lm(model)
    with dspy.context(lm=lm):
        for rollout in (0, 4, 7):
            lm.kwargs["rollout_id"] = rollout
            mti.to_dspy(_program())(text="x")
            assert as_model(lm) is as_model(lm)
    assert [one.sample for one in model.requests] == [0, 4, 7]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(0, 5) | st.integers(0, 10**9), min_size=1, max_size=4),
       st.integers(1, 5), st.booleans())  # fmt: skip
def test_each_of_several_completions_is_a_sample_of_its_own(
    rollouts: set[int], number: int, is_async: bool
) -> None:
    """No two of the `n` completions of any rollouts are the same sample; the first is the one that
    is asked for without `n`.
    """
    model = mti.EchoModel()
    lm = mti.dspy_lm(model)
    with dspy.context(lm=lm):
        for rollout in rollouts:
            config = {"rollout_id": rollout, "temperature": 1.0, "n": number}
            predict = dspy.Predict("text -> number: int", **config)
            found = asyncio.run(predict.acall(text="x")) if is_async else predict(text="x")
            assert len(found.completions) == number
    samples = [one.sample for one in model.requests]
    assert len(set(samples)) == len(samples) == number * len(rollouts)
    assert samples[::number] == list(rollouts)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_retry_of_dspys_is_the_same_sample(is_async: bool) -> None:
    """Where the first and the last of three completions fail once, their retries ask for the sample
    that failed, and all for those that are asked for without failures.
    """

    def asked(failing: set[int]) -> list[int]:
        def answer(request: mti.Request) -> str:
            samples.append(request.sample)
            if len(samples) in failing:
                raise errors.RateLimited("slow down")
            return "hi"

        samples: list[int] = []
        lm = mti.dspy_lm(mti.FunctionModel(answer)).copy(num_retries=1)
        told = {"rollout_id": 5, "temperature": 1.0, "n": 3}
        asyncio.run(lm.acall("x", **told)) if is_async else lm("x", **told)
        return samples

    first, second, third = asked(failing=set())
    assert first == 5
    assert asked(failing={1, 4}) == [first, first, second, third, third]


async def test_a_retry_of_a_stream_is_the_same_sample() -> None:
    """A stream that broke before its first piece is asked for again as the same sample."""
    samples = []

    def answer(request: mti.Request) -> str:
        samples.append(request.sample)
        if len(samples) in {1, 4}:
            raise errors.RateLimited("slow down")
        return '{"answer": "It is a long day for all of us here."}'

    for is_async in (False, True):
        lm = mti.dspy_lm(mti.FunctionModel(answer)).copy(num_retries=1)
        with dspy.context(lm=lm):
            listener = dspy.streaming.StreamListener("answer")
            program = dspy.Predict("text -> answer", n=2)
            stream = dspy.streamify(program, stream_listeners=[listener], is_async_program=is_async)
            async for _ in stream(text="x"):
                pass
    first, again, second = samples[:3]
    assert first == again == 0 != second
    assert samples == [first, again, second] * 2


def test_several_completions_differ_and_are_kept(tmp_path: Path) -> None:
    """`n` completions are as many calls, and are the same ones again out of the cache."""
    numbers = iter(range(9))
    with ChatServer(lambda _: {"number": next(numbers)}) as server:
        model = mti.Model("direct/any", api_base=server.base_url, api_key="k", cache=tmp_path)
        with dspy.context(lm=mti.dspy_lm(model)):
            predict = dspy.Predict("text -> number: int")
            found = [predict(text="x", config={"n": n}).completions.number for n in (1, 3, 3)]
    assert found == [[0], [0, 1, 2], [0, 1, 2]]


def test_seeds_of_several_completions_are_such_as_servers_take(server: ChatServer) -> None:
    """The seeds of `n` completions differ, and each fits in 31 bits; the first is the one set."""
    model = mti.Model("direct/any", api_base=server.base_url, api_key="k", cache=False, seed=7)
    mti.dspy_lm(model)("x", n=6)
    seeds = [one.body["seed"] for one in server.requests]
    assert seeds[0] == 7
    assert len(set(seeds)) == 6
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_what_is_not_passed_on_is_said() -> None:
    """A temperature that DSPy asks for is dropped, and its history says so."""
    lm = mti.dspy_lm(mti.EchoModel())
    with dspy.context(lm=lm):
        dspy.Predict("text -> number: int")(text="x", config={"temperature": 0.5})
    [note] = lm.history[0]["adaptations"]
    assert (note.field, note.action, note.asked) == ("config.temperature", "dropped", 0.5)


def test_our_errors_are_dspys() -> None:
    """What our model raises reaches DSPy as its own error, which says whether to retry."""

    def fail(_: mti.Request) -> str:
        raise errors.RateLimited("slow down")

    with dspy.context(lm=mti.dspy_lm(mti.FunctionModel(fail))):
        with pytest.raises(dspy.LMRateLimitError, match="slow down"):
            dspy.Predict("text -> number: int")(text="x")
        budget = mti.Budget(calls=0)
        spent = mti.Model("direct/x", api_base="http://127.0.0.1:9", budget=budget, cache=False)
        with pytest.raises(dspy.LMBillingError):
            dspy.Predict("text -> number: int")(text="x", lm=mti.dspy_lm(spent))


def test_a_broken_reply_is_not_kept(tmp_path: Path) -> None:
    """A reply that is no JSON where JSON was asked for does not stay in the cache."""
    replies = iter(["{oops", "{oops", '{"number": 4}'])
    with ChatServer(lambda _: next(replies)) as server:
        model = mti.Model("direct/any", api_base=server.base_url, api_key="k", cache=tmp_path)
        lm = mti.dspy_lm(model)
        request = dspy.lm15.Request(
            lm.model,
            (dspy.lm15.Message.user("x"),),
            config=dspy.lm15.Config(response_format={"type": "json_object"}),
        )
        texts = [lm(request).text for _ in range(4)]
    assert texts == ["{oops", "{oops", '{"number": 4}', '{"number": 4}']


def test_pictures_and_tools_are_refused() -> None:
    """What our models cannot read is an error of DSPy's, not left out."""
    lm = mti.dspy_lm(mti.EchoModel())
    picture = dspy.lm15.ImagePart(url="http://127.0.0.1/x.png", media_type="image/png")
    with pytest.raises(dspy.LMUnsupportedFeatureError, match="text alone, not image"):
        lm(dspy.lm15.Request(lm.model, (dspy.lm15.Message.user([picture]),)))


async def test_a_dspy_program_is_streamed() -> None:
    """`streamify` of a DSPy program gets the pieces that our model streams."""
    text = '{"answer": "It is a long day for all of us here."}'
    for is_async in (False, True):
        with dspy.context(lm=mti.dspy_lm(mti.FunctionModel(lambda _: text))):
            listener = dspy.streaming.StreamListener("answer")
            program = dspy.Predict("text -> answer")
            stream = dspy.streamify(program, stream_listeners=[listener], is_async_program=is_async)
            found = [one async for one in stream(text="x")]
        assert len(found) > 3
        assert found[-1].answer == "It is a long day for all of us here."


def test_a_saved_program_holds_no_model(tmp_path: Path) -> None:
    """A DSPy program with our LM is saved without it, and copies share it."""
    lm = mti.dspy_lm(mti.EchoModel())
    program = dspy.Predict("text -> number: int")
    program.set_lm(lm)
    assert program.deepcopy().lm is lm
    program.save(tmp_path / "p.json")
    loaded = dspy.Predict("text -> number: int")
    loaded.load(tmp_path / "p.json")
    assert loaded.lm is None
