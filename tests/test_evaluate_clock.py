"""Time in a measurement: from when the models are ready, with a record and without."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt.errors import ModelMisconfigured
from mtiprompt.models.fallback import FallbackModel
from mtiprompt.models.replay import ReplayModel
from mtiprompt.models.trace import TracedModel
from mtiprompt.testing import ChatServer

program = mti.combine("text -> mood: Literal['good', 'bad']", "text -> stars: int")


def _rows(number: int) -> list[dict[str, Any]]:
    return [{"inputs": {"text": f"Lamp {n}."}, "outputs": {"mood": "good"}} for n in range(number)]


def _arms(*names: str) -> tuple[mti.Arm, ...]:
    return mti.make_arms(program, names, demos=[])


class _Warmed:
    """Which models were warmed up: their names, and the calls that had come to a server."""

    def __init__(self, server: ChatServer) -> None:
        self.seen: list[tuple[str, int]] = []
        self.ended = 0.0
        self._server = server

    def note(self, model: mti.Model) -> None:
        """Stands in the place of `Model.warm`, and takes its time as that does."""
        threading.Event().wait(0.05)
        self.seen.append((model.name, self._server.count))
        self.ended = time.time()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server that models of every name ask."""
    with ChatServer() as found:
        monkeypatch.setenv("DIRECT_API_BASE", found.base_url)
        yield found


@pytest.fixture
def warmed(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> _Warmed:
    """What is warmed up in a test."""
    found = _Warmed(server)
    monkeypatch.setattr(mti.Model, "warm", lambda self: found.note(self))
    return found


@pytest.mark.parametrize("on_record", [True, False])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_no_arm_pays_for_the_warm_up(
    server: ChatServer, warmed: _Warmed, tmp_path: Path, on_record: bool, concurrency: int
) -> None:
    """All models of all arms are warm before the first call goes out and its time begins."""
    groups = [mti.Group(("mood",)), mti.Group(("stars",), model="direct/other")]
    arms = [*_arms("split", "fused"), mti.Arm("two", mti.Plan.groups(program, groups))]
    found = mti.compare(
        program,
        _rows(4),
        arms,
        model=mti.Model("direct/any", cache=tmp_path / "cache"),
        concurrency=concurrency,
        record=tmp_path / "record" if on_record else None,
    )
    assert server.count == 4 * 5
    assert set(warmed.seen) == {("direct/any", 0), ("direct/other", 0)}
    calls = [call for one in found.scores.values() for told in one.outcomes for call in told.calls]
    assert min(call.reply.details["began"] for call in calls if call.reply) >= warmed.ended


def test_what_is_on_record_loads_nothing(warmed: _Warmed, tmp_path: Path) -> None:
    """A run that was finished warms up no model; one that goes on does before its first call."""

    def run(number: int) -> None:
        mti.compare(program, _rows(number), _arms("split"), model="direct/any", record=tmp_path)

    run(2)
    assert warmed.seen == [("direct/any", 0)]
    run(2)
    assert warmed.seen == [("direct/any", 0)]
    run(3)
    assert warmed.seen == [("direct/any", 0), ("direct/any", 4)]


WRAPPED: list[Callable[[Path], mti.LanguageModel]] = [
    lambda folder: TracedModel(mti.Model("direct/any"), folder / "calls.jsonl"),
    lambda folder: FallbackModel([mti.Model("direct/any"), mti.EchoModel()]),
    lambda folder: mti.Model("direct/any", cache=folder / "cache", fallback=mti.EchoModel()),
    lambda folder: FallbackModel([mti.EchoModel(), mti.Model("direct/any")]),
]


@pytest.mark.parametrize("make", WRAPPED)
def test_a_model_is_warmed_up_in_its_wrappers(
    make: Callable[[Path], mti.LanguageModel], warmed: _Warmed, tmp_path: Path
) -> None:
    """Whatever is wrapped around it."""
    mti.evaluate(program, _rows(1), model=make(tmp_path))
    assert warmed.seen == [("direct/any", 0)]


@pytest.mark.parametrize("inside", [True, False])
def test_stand_ins_are_warmed_up_too(warmed: _Warmed, inside: bool) -> None:
    """A model that answers only when another cannot is warm as well, wherever it stands."""
    one, other = (mti.Model(f"direct/{name}", cache=False) for name in ("one", "other"))
    first = mti.Model("direct/one", cache=False, fallback=other)
    mti.evaluate(program, _rows(1), model=first if inside else FallbackModel([one, other]))
    assert sorted(warmed.seen) == [("direct/one", 0), ("direct/other", 0)]


def test_a_model_that_cannot_be_warmed_up(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with it, its call says, if it is asked at all."""

    def broken(self: mti.Model) -> None:
        raise ModelMisconfigured("there is no engine")

    monkeypatch.setattr(mti.Model, "warm", broken)
    assert mti.evaluate(program, _rows(1), model="direct/any").usage.calls == 1


class _Own:
    """A model of a user's: the protocol and no more, but for a `warm` of another meaning."""

    name = "own/model"
    identity = '"own"'
    reuse: Any = None

    def __init__(self) -> None:
        self._echo = mti.EchoModel()
        self.support = self._echo.support
        self.complete = self._echo.complete
        self.acomplete = self._echo.acomplete
        self.stream = self._echo.stream
        self.astream = self._echo.astream
        self.keep = self._echo.keep

    def warm(self, degrees: int) -> None:
        """Nothing that a measurement knows of."""
        raise AssertionError(degrees)


@pytest.mark.parametrize("on_record", [True, False])
def test_a_model_of_a_user_is_left_alone(tmp_path: Path, on_record: bool) -> None:
    """Its methods are those of the protocol; another of any name is its own affair."""
    record = tmp_path if on_record else None
    assert mti.evaluate(program, _rows(2), model=_Own(), record=record).seconds > 0


# --- models that only say that time went by ---------------------------------------------------


def _saying(seconds: float, before: Callable[[], object] = lambda: None) -> mti.FunctionModel:
    def say(request: mti.Request) -> mti.Reply:
        before()
        said = mti.EchoModel().complete(request).text
        return mti.Reply(said, usage=mti.Usage(calls=1, seconds=seconds))

    return mti.FunctionModel(say)


def test_replies_are_taken_at_their_word() -> None:
    """Made-up and replayed calls take what they say, one after the other: seconds add up."""
    found = mti.compare(program, _rows(3), _arms("split", "fused"), model=_saying(50))
    told = [found.scores[name].seconds for name in ("split", "fused")]
    assert told == pytest.approx([300, 150], abs=0.01)


def test_replies_at_the_same_time_are_taken_at_their_word() -> None:
    """Made-up calls that wait for each other take the time of one."""
    model = _saying(50, threading.Barrier(2, timeout=10).wait)
    found = mti.compare(program, _rows(3), _arms("split_parallel"), model=model)
    assert 150 <= found.scores["split_parallel"].seconds + 0.01 < 200


@pytest.mark.parametrize("late", range(4))
def test_no_thread_decides_what_replies_come_to(late: int) -> None:
    """Calls of a row that go out together count once, whichever of them a thread is done with
    first, and whether or not they meet."""
    turn = iter([0.0, 0.02, 0.0, 0.01, 0.0, 0.0, 0.02, 0.0, 0.0][late:])
    model = _saying(50, lambda: time.sleep(next(turn, 0.0)))
    found = mti.compare(program, _rows(3), _arms("split_parallel"), model=model)
    assert found.scores["split_parallel"].seconds == 150


@pytest.mark.parametrize(
    ("arm", "concurrency", "seconds"),
    [
        ("split", 2, 150),
        ("split", 4, 100),
        ("split", 6, 50),
        ("split_parallel", 4, 100),
        ("fused", 2, 100),
        ("fused_batch:2", 1, 100),
        ("fused_batch:2", 2, 50),
    ],
)
def test_replies_share_what_is_in_flight(arm: str, concurrency: int, seconds: float) -> None:
    """No more calls are under way at a time than `concurrency` says; those of several rows count
    once."""
    found = mti.compare(program, _rows(3), _arms(arm), model=_saying(50), concurrency=concurrency)
    assert [one.seconds for one in found.scores.values()] == [seconds]


@pytest.mark.parametrize(
    ("parallel", "concurrency", "seconds"), [(False, 1, 150), (True, 1, 80), (False, 8, 40)]
)
@pytest.mark.parametrize("late", ["a", "b", "c"])
def test_replies_wait_for_what_they_take(
    parallel: bool, concurrency: int, seconds: float, late: str
) -> None:
    """A call begins when the answers that it takes are there, those asked again among them."""
    tasks = [
        mti.task("text -> a: int", name="a"),
        mti.task("a -> b: int", name="b"),
        mti.task("text -> c: int", name="c"),
    ]
    takes = {"a": 10, "b": 20, "c": 35}
    chained = mti.combine(*tasks)

    def say(request: mti.Request) -> mti.Reply:
        [name] = [one for one in takes if f'"{one}": integer' in request.messages[0].content]
        time.sleep(0.02 * (name == late))
        text = "none" if name == "a" and request.purpose == "answer" else f'{{"{name}": 1}}'
        return mti.Reply(text, usage=mti.Usage(calls=1, seconds=takes[name]))

    rows = [{"inputs": {"text": f"{n}"}, "outputs": {"a": 1}} for n in range(2)]
    arm = mti.Arm("split", mti.Plan.split(chained), parallel=parallel)
    model = mti.FunctionModel(say)
    found = mti.compare(chained, rows, [arm], model=model, concurrency=concurrency)
    scores = found.scores["split"]
    assert scores.usage.calls == 2 * 4
    assert scores.seconds == seconds


@pytest.mark.parametrize(("concurrency", "seconds"), [(1, 16), (2, 12), (3, 9), (4, 6), (8, 3)])
def test_no_lane_is_idle_while_a_row_waits(concurrency: int, seconds: float) -> None:
    """While a task waits for others, calls of the next rows take its place, as in earnest."""
    tasks = ("text -> a: int", "text -> b: int", "a, b -> c: int")
    joined = mti.combine(*tasks)
    rows = [{"inputs": {"text": f"{n}"}, "outputs": {"a": 1}} for n in range(8)]
    plan = mti.Plan.split(joined)
    second = mti.Usage(calls=1, seconds=1.0)
    model = mti.FunctionModel(lambda request: mti.Reply('{"a": 1, "b": 1, "c": 1}', usage=second))
    found = mti.evaluate(joined, rows, model=model, plan=plan, concurrency=concurrency)
    assert found.usage.calls == 8 * 3
    assert found.seconds == seconds


def test_a_replay_takes_the_time_of_what_was_recorded(tmp_path: Path) -> None:
    """The calls of a trace that went out together do so again: not one after the other."""
    arms = _arms("split_parallel")
    path = tmp_path / "calls.jsonl"
    once = mti.compare(program, _rows(3), arms, model=TracedModel(_saying(50), path))
    again = mti.compare(program, _rows(3), arms, model=ReplayModel(path))
    assert [one.scores["split_parallel"].seconds for one in (once, again)] == [150, 150]
