"""Record and replay: what was recorded is answered again without a network, and nothing else."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt import errors
from mtiprompt.models.base import Support
from mtiprompt.models.meter import MeteredModel
from mtiprompt.models.replay import Recording, ReplayModel, difference
from mtiprompt.models.trace import TracedModel, read_trace
from mtiprompt.testing import ChatServer, Fault, Received
from tests.conftest_calls import Ask, streamed

# what pydantic says of litellm's own classes when a reply is streamed
pytestmark = [
    pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]

KEY = "sk-very-secret-0123456789"
TRIAGE = mti.combine("message -> urgent: bool", "message -> product: str")
ROWS = [{"message": f"The lamp {number} hums."} for number in range(12)]


def asked(text: str, **options: Any) -> mti.Request:
    """A request with one message."""
    return mti.Request((mti.Message("user", text),), **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where recordings go, in a folder that is not there yet."""
    return tmp_path / "recordings" / "calls.jsonl"


def real(server: ChatServer) -> mti.Model:
    """A model that calls the loopback server."""
    return mti.Model("openai/any", api_base=server.base_url, api_key=KEY, cache=False, retries=0)


def recorded(path: Path, script: list[Any], requests: list[mti.Request], **options: Any) -> None:
    """Record the outcomes of a script for some requests."""
    path.parent.mkdir(exist_ok=True)
    model = TracedModel(mti.ScriptedModel(script, **options), path)
    for request in requests:
        try:
            model.complete(request)
        except mti.MTIError:
            continue


def test_the_first_run_records_and_the_second_needs_no_server(path: Path) -> None:
    """A program gives the same answers and usage from the recording, when the server has gone."""
    with ChatServer() as server:
        recording = Recording(real(server), path)
        assert not recording.replays
        recording.complete(asked("Hello"))  # threads at once would make a client each
        first = list(TRIAGE.map(ROWS, model=recording, concurrency=4))
    again = Recording(real(server), path)
    assert again.replays
    second = list(TRIAGE.map(ROWS, model=again, concurrency=4))
    assert [mti.plain(one) for one in second] == [mti.plain(one) for one in first]
    assert [one.usage for one in second] == [one.usage for one in first]
    assert KEY not in path.read_text()


def test_a_replay_answers_in_every_way(path: Path, ask: Ask) -> None:
    """Sync, async and streams give the recorded reply, which has its usage and details."""
    used = mti.Usage(calls=2, prompt_tokens=9, completion_tokens=30, cost=0.5, seconds=1.5)
    reply = mti.Reply("Good day. " * 9, "length", used, "any-2026", {"x": 1})
    recorded(path, [reply], [asked("Hello")])
    found = ask(ReplayModel(path), asked("Hello"))
    assert (found, found.details) == (reply, reply.details)


def test_a_stream_is_replayed_in_pieces(path: Path) -> None:
    """A reply comes in several pieces, so that what reads streams is tested too."""
    recorded(path, ["x" * 100], [asked("Hello")])
    assert len(list(ReplayModel(path).stream(asked("Hello")))) > 3


def test_repeated_requests_get_their_replies_in_order(path: Path, ask: Ask) -> None:
    """A request asked three times has its three outcomes in order, then the last one again."""
    script = ["one", errors.RateLimited("slow", hint="wait", status=429, retry_after=2.5), "three"]
    recorded(path, script, [asked("Hello")] * 3)
    model = ReplayModel(path)
    assert ask(model, asked("Hello")).text == "one"
    with pytest.raises(errors.RateLimited) as raised:
        ask(model, asked("Hello"))
    assert vars(raised.value) == vars(script[1])
    assert [ask(model, asked("Hello")).text for _ in range(3)] == ["three"] * 3


def test_an_error_can_be_raised_again_and_again(path: Path) -> None:
    """A replayed error is a new one each time, so that it gathers no tracebacks."""
    recorded(path, [errors.ContentRefused("no")], [asked("Hello")])
    model, seen = ReplayModel(path), []
    for _ in range(3):
        with pytest.raises(errors.ContentRefused, match="no") as raised:
            model.complete(asked("Hello"))
        seen.append(raised.value)
    assert len({id(one) for one in seen}) == 3


def test_a_real_error_is_replayed_as_its_class(path: Path, ask: Ask) -> None:
    """A wrong key seen in the recording is a wrong key in the replay, and the key is in no file."""
    fault = Fault(401, f"Incorrect API key provided: {KEY}")
    with ChatServer(faults=[fault]) as server, pytest.raises(errors.ModelAccessDenied) as first:
        Recording(real(server), path).complete(asked("Hello"))
    with pytest.raises(errors.ModelAccessDenied) as second:
        ask(Recording(real(server), path), asked("Hello"))
    assert str(second.value) == str(first.value)
    assert KEY not in path.read_text()


def test_the_models_abilities_are_replayed(path: Path) -> None:
    """A server that refuses schemas is replayed with its refusal, at any number of threads."""
    with ChatServer(refuses=["json_schema"]) as server:
        model = Recording(real(server), path)
        first = [mti.plain(one) for one in TRIAGE.map(ROWS, model=model, concurrency=1)]
        assert server.requests[0].level == "json_schema"
        assert server.requests[-1].level == "json_object"
    for concurrency in (1, 8):
        replay = ReplayModel(path)
        assert replay.support.level == "json_schema"
        found = [mti.plain(one) for one in TRIAGE.map(ROWS, model=replay, concurrency=concurrency)]
        assert found == first


def test_dialect_and_notation_are_replayed(path: Path) -> None:
    """The requests that are built for the replayed model are those that were built for the real."""
    support = Support("json_object", dialect="gemini", notation="lines")
    recorded(path, ["{}"], [asked("Hello")], support=support)
    found = ReplayModel(path).support
    assert (found.level, found.dialect, found.notation) == ("json_object", "gemini", "lines")


def test_an_unknown_request_is_told_with_what_differs(path: Path) -> None:
    """The error names the file, the line of the nearest recorded request, and the difference."""
    recorded(path, ["1", "2"], [asked("Good evening to you"), asked("The red lamp of Mrs Brown")])
    with pytest.raises(errors.ModelMisconfigured) as raised:
        ReplayModel(path).complete(asked("The red lamp of Mr Brown"))
    assert str(raised.value) == (
        f"{path} does not have this request (the nearest, in line 2, differs: message 1 (user) at "
        "character 19: it was 'The red lamp of Mrs Brown', and is 'The red lamp of Mr Brown'; "
        "if that is right, delete the file, or record it anew)"
    )


HEAD = mti.Message("system", "Be brief.")
BODY = mti.Message("user", "Hello")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (mti.Request((HEAD,)), "message 2 was there"),
        (mti.Request((HEAD, BODY, BODY)), "message 3 was not there"),
        (
            mti.Request((HEAD, mti.Message("assistant", "Hello"))),
            "message 2 was of the user, and is of the assistant",
        ),
        (
            mti.Request((HEAD, BODY), notation="lines"),
            "the notation was 'free', and is 'lines'",
        ),
        (mti.Request((HEAD, BODY), sample=3), "the sample was 0, and is 3"),
        (
            mti.Request((HEAD, BODY), mti.OutputSchema("a", "{}"), "json_schema"),
            "the schema at character 1: it was '', and is '{}'",
        ),
        (mti.Request((HEAD, BODY), level="json_object"), "the level was 'prompt', and is "),
    ],
)
def test_the_first_difference_is_named(asked: mti.Request, said: str) -> None:
    """Whatever differs is named, the messages first."""
    assert difference(mti.Request((HEAD, BODY)), asked).startswith(said)


def test_a_mistake_ends_a_program_at_once(path: Path) -> None:
    """A prompt that has changed since is raised, and not taken for a model that failed."""
    with ChatServer() as server:
        TRIAGE(message="The lamp hums.", model=Recording(real(server), path))
    with pytest.raises(errors.ModelMisconfigured, match=r"it was '.*The lamp hums\.'"):
        TRIAGE(message="The fan hums.", model=ReplayModel(path))


def test_record_begins_anew(path: Path) -> None:
    """`record` forgets what was recorded before."""
    recorded(path, ["old"], [asked("Hello")])
    model = Recording(mti.ScriptedModel(["new"]), path, "record")
    assert model.complete(asked("Hello")).text == "new"
    assert len(read_trace(path)) == 1


def test_replay_never_asks(path: Path) -> None:
    """`replay` without a recording is an error, not a call."""
    with pytest.raises(mti.DataError, match="cannot be read"):
        Recording(mti.ScriptedModel(["x"]), path, "replay")
    recorded(path, ["x"], [asked("Hello")])
    model = mti.ScriptedModel(["y"])
    assert Recording(model, path, "replay").complete(asked("Hello")).text == "x"
    assert model.requests == []


def test_an_empty_file_is_no_recording(path: Path) -> None:
    """A recording that never began is recorded, and cannot be replayed."""
    path.parent.mkdir()
    path.touch()
    with pytest.raises(mti.DataError, match="record it first"):
        ReplayModel(path)
    assert not Recording(mti.ScriptedModel(["x"]), path).replays


def test_there_are_three_modes(path: Path) -> None:
    """A mode that is none is told, with those that are."""
    with pytest.raises(mti.SettingsError, match="known: auto, record, replay"):
        Recording(mti.EchoModel(), path, "once")  # type: ignore[arg-type]


def test_one_trace_may_be_of_several_models(path: Path) -> None:
    """A trace of two models is replayed for one of them, by name."""
    recorded(path, ["small"], [asked("Hello")], name="openai/small")
    recorded(path, ["large"], [asked("Hello")], name="openai/large")
    for name in ("small", "large"):
        model = ReplayModel(path, model=f"openai/{name}")
        assert (model.name, model.complete(asked("Hello")).text) == (f"openai/{name}", name)
    with pytest.raises(mti.DataError, match="pass model=: openai/large, openai/small"):
        ReplayModel(path)
    with pytest.raises(mti.DataError, match="no calls of openai/none"):
        ReplayModel(path, model="openai/none")


def test_calls_that_were_given_up_are_not_replayed(path: Path) -> None:
    """A call without an outcome answers nothing; the request counts as unknown."""
    path.parent.mkdir()
    with pytest.raises(ZeroDivisionError):
        TracedModel(mti.ScriptedModel([ZeroDivisionError()]), path).complete(asked("Hello"))
    with pytest.raises(errors.ModelMisconfigured, match="no outcome of any call"):
        ReplayModel(path).complete(asked("Hello"))


def test_a_spent_budget_is_replayed(path: Path) -> None:
    """A budget that was spent in the recording is spent in the replay."""
    recorded(path, [mti.BudgetExceeded("spent")], [asked("Hello")])
    with pytest.raises(mti.BudgetExceeded, match="spent"):
        ReplayModel(path).complete(asked("Hello"))


USED = mti.Usage(calls=3, prompt_tokens=40, completion_tokens=2, cost=0.25, seconds=1.5)


@pytest.mark.parametrize("usage", [None, mti.Usage(), USED])
@pytest.mark.parametrize("kind", [errors.RateLimited, mti.BudgetExceeded])
def test_a_replayed_error_costs_what_it_cost(
    path: Path, kind: type[errors.RateLimited | mti.BudgetExceeded], usage: mti.Usage | None
) -> None:
    """Retries before an error, or that it was not sent, count in a replay as in the recording."""
    error = kind("slow")
    error.usage = usage
    recorded(path, [error], [asked("Hello")])
    first, again = (MeteredModel(one) for one in (mti.ScriptedModel([error]), ReplayModel(path)))
    for model in (first, again):
        with pytest.raises(kind, match="slow"):
            model.complete(asked("Hello"))
    assert again.usage == first.usage


def test_an_error_of_an_older_version_is_one_call(path: Path) -> None:
    """A trace that does not say what an error cost is read, and the error costs one call."""
    recorded(path, [errors.RateLimited("slow", status=429)], [asked("Hello")])
    line = json.loads(path.read_text())
    del line["error"]["usage"]
    path.write_text(json.dumps(line) + "\n")
    model = MeteredModel(ReplayModel(path))
    with pytest.raises(errors.RateLimited, match="slow"):
        model.complete(asked("Hello"))
    assert model.usage.calls == 1


def test_threads_share_a_replay(path: Path) -> None:
    """Threads that ask the same get each recorded reply once."""
    said = [str(number) for number in range(200)]
    recorded(path, list(said), [asked("Hello")] * 200)
    model, found = ReplayModel(path), []

    def work() -> None:
        for _ in range(50):
            found.append(model.complete(asked("Hello")).text)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(found) == sorted(said)


def test_a_replay_can_be_recorded_by_hand(path: Path) -> None:
    """The file is plain JSON lines: a reply changed in an editor is the reply."""
    recorded(path, ["Good day."], [asked("Hello")])
    line = json.loads(path.read_text())
    line["reply"]["text"] = "Good night."
    path.write_text(json.dumps(line, indent=None) + "\n\n")
    assert ReplayModel(path).complete(asked("Hello")).text == "Good night."


texts = st.sampled_from(["a", "b", "ab", "é\ud800", ""])
made = st.builds(
    asked, texts, sample=st.integers(0, 1), notation=st.sampled_from(["free", "lines"])
)


@given(st.lists(made, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_any_traffic_is_replayed_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, requests: list[mti.Request], chance: Any
) -> None:
    """Whatever the order of different requests, each gets its own outcomes in their order."""
    path = tmp_path_factory.mktemp("replay") / "calls.jsonl"
    recorded(path, [str(number) for number in range(len(requests))], requests)
    wanted: dict[str, list[str]] = {}
    for number, request in enumerate(requests):
        wanted.setdefault(request.key, []).append(str(number))
    mixed = list(requests)
    chance.shuffle(mixed)
    found: dict[str, list[str]] = {}
    model = ReplayModel(path)
    for request in mixed:
        found.setdefault(request.key, []).append(model.complete(request).text)
    assert found == wanted


def test_recorded_streams_replay(path: Path) -> None:
    """Traffic that was streamed when it was recorded is replayed, streamed or not."""

    def answer(received: Received) -> str:
        return f"You said {received.body['messages'][-1]['content']}."

    with ChatServer(answer) as server:
        said = streamed(Recording(real(server), path), asked("Hello")).text
    model = ReplayModel(path)
    assert [model.complete(asked("Hello")).text, streamed(model, asked("Hello")).text] == [said] * 2
    assert said == "You said Hello."


def test_what_a_link_leads_to_is_recorded(tmp_path: Path) -> None:
    """A recording that begins anew writes through the link, as all outputs do."""
    (path := tmp_path / "calls.jsonl").write_text("old\n", encoding="utf-8")
    (link := tmp_path / "link.jsonl").symlink_to(path)
    said = Recording(mti.EchoModel(), link, "record").complete(asked("Hello")).text
    assert link.is_symlink()
    assert ReplayModel(path).complete(asked("Hello")).text == said


def test_a_place_that_cannot_be_recorded_is_told_in_one_line(tmp_path: Path) -> None:
    """Below a file, at a folder or at a pipe, or with a name that no file can have."""
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for name in ("file/x.jsonl", "", "pipe", "a\0b", "n" * 300):
        for mode in ("auto", "record"):
            with pytest.raises(mti.DataError, match=r"cannot record into .*: .*") as caught:
                Recording(mti.EchoModel(), tmp_path / name, mode)
            assert "\n" not in str(caught.value)
    with pytest.raises(mti.DataError, match="cannot be read"):
        Recording(mti.EchoModel(), "a\0b", "replay")
    assert {one.name for one in tmp_path.iterdir()} == {"file", "pipe"}
