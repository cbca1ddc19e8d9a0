"""What was answered once is not asked again, however a measurement ends."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.errors import ModelUnavailable
from mtiprompt.models.resume import ResumedModel
from mtiprompt.optimizer.asked import asked_model
from mtiprompt.testing import ChatServer, Received
from mtiprompt.testing.received import smallest
from tests.conftest_calls import Ask

HELLO = mti.Request((mti.Message("user", "Hello"),))


def _scripted(*replies: str, name: str = "scripted") -> mti.ScriptedModel:
    return mti.ScriptedModel(replies, name=name)


def test_a_reply_is_given_once_as_it_was(tmp_path: Path) -> None:
    """What is on record comes with its cost and its time, and each line answers one request."""
    path = tmp_path / "new" / "calls.jsonl"
    first = ResumedModel(_scripted("one", "two"), path)
    told = [first.complete(HELLO), first.complete(HELLO)]
    inner = _scripted("three")
    again = ResumedModel(inner, path)
    kept = [again.complete(HELLO) for _ in range(3)]
    assert [one.text for one in kept] == ["one", "two", "three"]
    assert [one.usage for one in kept[:2]] == [one.usage for one in told]
    for old, new in zip(told, kept, strict=False):
        assert new.details["began"] == old.details["began"]
        assert new.details["seconds"] == old.details["seconds"]
    assert (again.resumed, len(inner.requests)) == (2, 1)


def test_a_record_of_an_older_version_keeps_its_times(tmp_path: Path) -> None:
    """Where the reply has none, those of the line count."""
    path = tmp_path / "calls.jsonl"
    ResumedModel(_scripted("one"), path).complete(HELLO)
    line = json.loads(path.read_text())
    line |= {"time": "2020-01-01T00:00:00.500+00:00", "seconds": 2.5}
    path.write_text(json.dumps(line | {"reply": line["reply"] | {"details": {}}}) + "\n")
    details = ResumedModel(_scripted(), path).complete(HELLO).details
    assert details == {"began": 1577836800.5, "seconds": 2.5, "resumed": True}


@pytest.mark.parametrize("way", ["complete", "acomplete"])
def test_both_ways_of_asking(tmp_path: Path, way: str) -> None:
    """A reply that was asked for in one way is there for the other."""
    import asyncio

    def ask(model: mti.LanguageModel) -> str:
        if way == "complete":
            return model.complete(HELLO).text
        return asyncio.run(model.acomplete(HELLO)).text

    assert ask(ResumedModel(_scripted("one"), tmp_path / "calls.jsonl")) == "one"
    assert ask(ResumedModel(_scripted(), tmp_path / "calls.jsonl")) == "one"


def test_streams_go_through(tmp_path: Path, ask: Ask) -> None:
    """Every way of asking answers on a new record."""
    assert ask(ResumedModel(_scripted("one"), tmp_path / "calls.jsonl"), HELLO).text == "one"


def test_errors_are_not_kept(tmp_path: Path) -> None:
    """What failed is asked again by the next run."""
    path = tmp_path / "calls.jsonl"
    broken = ResumedModel(mti.ScriptedModel([ModelUnavailable("down")]), path)
    with pytest.raises(ModelUnavailable):
        broken.complete(HELLO)
    assert ResumedModel(_scripted("one"), path).complete(HELLO).text == "one"


def test_replies_of_another_model_do_not_count(tmp_path: Path) -> None:
    """Another model, or the same with other sampling, is asked itself; both share the file."""
    path = tmp_path / "calls.jsonl"
    assert ResumedModel(_scripted("one", name="a"), path).complete(HELLO).text == "one"
    assert ResumedModel(_scripted("two", name="b"), path).complete(HELLO).text == "two"
    assert ResumedModel(_scripted(name="a"), path).complete(HELLO).text == "one"
    assert ResumedModel(_scripted(name="b"), path).complete(HELLO).text == "two"


MARKS = st.lists(st.sampled_from(["//", "http:", "?", "#", "@", ":", "a", '"']), max_size=5)


@given(MARKS, st.lists(MARKS.map("".join), min_size=2, max_size=2, unique=True))
def test_each_identity_has_replies_of_its_own(begin: list[str], ends: list[str]) -> None:
    """Whatever two models differ in, neither takes a reply of the other; each takes its own."""
    identities = ["".join([*begin, end]) for end in ends]
    inside = [json.dumps(["fallback", text, {"stop": [text]}]) for text in identities]
    with tempfile.TemporaryDirectory() as folder:
        for number, texts in enumerate([identities, inside]):
            for answered in (False, True):
                for identity in texts:
                    inner = _scripted(*([] if answered else [identity]))
                    inner.identity = identity
                    model = ResumedModel(inner, Path(folder) / f"{number}.jsonl")
                    assert model.complete(HELLO).text == identity


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"extra_body": {"grammar": "https?://a"}}, {"extra_body": {"grammar": "https?://b"}}),
        ({"api_base": "http://127.0.0.1:1/v1?v=1"}, {"api_base": "http://127.0.0.1:1/v1?v=2"}),
        ({"stop": ["###"], "temperature": 0}, {"stop": ["###"], "temperature": 1}),
    ],
)
def test_what_changes_the_answer_is_asked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: dict[str, Any], other: dict[str, Any]
) -> None:
    """A pattern, a query or a sampling behind a mark of an address counts in a record too."""
    monkeypatch.setenv("DIRECT_API_BASE", "http://127.0.0.1:1/v1")
    for options, text in ((one, "one"), (other, "other"), (one, "one"), (other, "other")):
        inner = _scripted(text)
        real = mti.Model("direct/x", fallback=mti.EchoModel(), cache=False, **options)
        inner.identity = real.identity
        model = ResumedModel(inner, tmp_path / "calls.jsonl")
        assert model.complete(HELLO).text == text
    assert model.resumed == 1


def test_a_record_of_an_older_version_is_gone_on_with(tmp_path: Path) -> None:
    """Lines without a digest are compared by what they show of the identity, as before."""
    path = tmp_path / "calls.jsonl"
    inner = _scripted("one")
    inner.identity = '["x","http://host/v1?abc"]'
    ResumedModel(inner, path).complete(HELLO)
    line = json.loads(path.read_text())
    del line["digest"]
    path.write_text(json.dumps(line) + "\n")
    for identity, text in (('["y"]', "two"), (inner.identity, "one")):
        inner = _scripted("two")
        inner.identity = identity
        assert ResumedModel(inner, path).complete(HELLO).text == text


def test_a_line_that_was_cut_off_counts_as_not_there(tmp_path: Path) -> None:
    """A last line without its end is removed, and its request asked again."""
    path = tmp_path / "calls.jsonl"
    ResumedModel(_scripted("one"), path).complete(HELLO)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    again = ResumedModel(_scripted("two"), path)
    assert path.read_bytes() == whole
    assert [again.complete(HELLO).text for _ in range(2)] == ["one", "two"]


def test_what_no_text_can_hold_is_kept(tmp_path: Path) -> None:
    """Half of a surrogate pair, line ends and every letter come back as they were."""
    odd = mti.Request((mti.Message("user", "\ud800 ä\u2028\n\r\x00"),))
    ResumedModel(_scripted("ü\u2028\n\x00"), tmp_path / "c.jsonl").complete(odd)
    assert ResumedModel(_scripted(), tmp_path / "c.jsonl").complete(odd).text == "ü\u2028\n\x00"


def test_a_change_of_time_zone_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a call began is the same moment wherever the record is read."""
    path = tmp_path / "calls.jsonl"
    began = ResumedModel(_scripted("one"), path).complete(HELLO).details["began"]
    try:
        for zone in ("Asia/Tokyo", "America/New_York"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            kept = ResumedModel(_scripted(), path).complete(HELLO)
            assert kept.details["began"] == pytest.approx(began, abs=0.1)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_record_that_cannot_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    """It is told before the first call is paid, with the path."""
    (tmp_path / "file").touch()
    (tmp_path / "folder.jsonl").mkdir()
    for place in ("file/calls.jsonl", "folder.jsonl", f"{'x' * 300}.jsonl", "a\0b.jsonl"):
        with pytest.raises(mti.DataError, match="cannot write"):
            ResumedModel(mti.EchoModel(), tmp_path / place)


@pytest.mark.parametrize("way", ["complete", "acomplete"])
def test_a_reply_that_cannot_be_kept_ends_the_work(tmp_path: Path, way: str) -> None:
    """Another call would be paid for nothing; an error of a call is not kept, and ends nothing."""
    place = tmp_path / "calls.jsonl"

    def ask() -> mti.Reply:
        return model.complete(HELLO) if way == "complete" else asyncio.run(model.acomplete(HELLO))

    model = ResumedModel(_scripted("one", "two"), place)
    place.unlink()
    place.mkdir()  # written to by nobody, not even by root
    with pytest.raises(mti.DataError, match=r"^cannot write .*calls\.jsonl: Is a directory$"):
        ask()
    place.rmdir()
    model = ResumedModel(mti.FunctionModel(_unavailable), place)
    place.unlink()
    place.mkdir()
    with pytest.raises(ModelUnavailable):
        ask()


def _unavailable(_: mti.Request) -> str:
    raise ModelUnavailable("out")


def test_a_map_ends_at_the_first_reply_that_cannot_be_kept(tmp_path: Path) -> None:
    """A measurement over many rows stops then, and does not pay for all."""
    program, place = mti.combine("m -> a"), tmp_path / "calls.jsonl"
    asked: list[mti.Request] = []

    def answer(request: mti.Request) -> str:
        asked.append(request)
        return '{"a": "x"}'

    model = ResumedModel(mti.FunctionModel(answer), place)
    place.unlink()
    place.mkdir()
    with pytest.raises(mti.DataError, match="cannot write"):
        list(program.map([{"m": str(row)} for row in range(50)], model=model, concurrency=2))
    assert len(asked) <= 4


def test_the_record_is_for_its_owner(tmp_path: Path) -> None:
    """It holds all that was asked and answered, so nobody else may read it."""
    ResumedModel(_scripted("one"), tmp_path / "calls.jsonl")
    assert (tmp_path / "calls.jsonl").stat().st_mode & 0o077 == 0


def test_threads_get_each_reply_once(tmp_path: Path) -> None:
    """Eight threads that ask the same 200 times take 200 different replies off the record."""
    path = tmp_path / "calls.jsonl"
    first = ResumedModel(_scripted(*(str(n) for n in range(200))), path)
    for _ in range(200):
        first.complete(HELLO)
    again = ResumedModel(_scripted(), path)
    texts: list[str] = []

    def ask() -> None:
        texts.extend(again.complete(HELLO).text for _ in range(25))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(texts, key=int) == [str(n) for n in range(200)]
    assert again.resumed == 200


# --- a clock that is set -------------------------------------------------------------------------


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_clock_that_is_set_charges_each_reply_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    """New replies and those on record are each paid once, whatever the clock says."""
    for spent in (1, 2):  # the second time, the first reply is on record
        budget = mti.Budget(calls=5)
        model = asked_model(_scripted(*"ab"), budget, tmp_path)
        clock = time.time
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: clock() + step)  # noqa: B023
            for text in "xy"[:spent]:
                model.complete(mti.Request((mti.Message("user", text),)))
        assert budget.spent.calls == spent


def test_a_record_of_tomorrow_is_charged(tmp_path: Path) -> None:
    """What is on record was paid before, even if its time is still to come."""
    asked_model(_scripted("one"), mti.Budget(calls=5), tmp_path).complete(HELLO)
    [path] = tmp_path.iterdir()
    line = json.loads(path.read_text())
    path.write_text(json.dumps(line | {"time": "2999-01-01T00:00:00.000+00:00"}) + "\n")
    budget = mti.Budget(calls=5)
    asked_model(_scripted(), budget, tmp_path).complete(HELLO)
    assert budget.spent.calls == 1


def test_what_a_cache_kept_of_a_resumed_reply_is_free(tmp_path: Path) -> None:
    """A reply that says that it was resumed, and comes from elsewhere now, is not charged."""
    told = mti.Reply("one", usage=mti.Usage(hits=1), details={"resumed": True})
    reply = ResumedModel(mti.ScriptedModel([told]), tmp_path / "calls.jsonl").complete(HELLO)
    assert reply.details["resumed"] is False


def test_seconds_do_not_follow_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is set back during a call makes it no shorter than it was."""
    moments = itertools.count(2e9, -3600.0)
    monkeypatch.setattr(time, "time", lambda: next(moments))
    details = ResumedModel(_scripted("one"), tmp_path / "c.jsonl").complete(HELLO).details
    assert details["began"] == 2e9
    assert 0 <= details["seconds"] < 60


# --- a process that is killed --------------------------------------------------------------------

ITEMS = 30
RUN = f"""
import json, sys
import mtiprompt as mti
url, record = sys.argv[1:]
program = mti.combine("text -> mood: Literal['good', 'bad']", "text -> stars: int")
rows = [{{"id": f"r{{n}}", "inputs": {{"text": f"Lamp number {{n}}."}},
         "outputs": {{"mood": "good", "stars": n % 3}}}} for n in range({ITEMS})]
demos = [{{"inputs": {{"text": "Fine."}}, "outputs": {{"mood": "good", "stars": 5}}}}]
arms = mti.make_arms(program, ["split", "batch:4", "fused"],
                     mti.Plan.fused(program, demos=demos).demos)
model = mti.Model("direct/any", api_base=url, timeout=20)
found = mti.compare(program, rows, arms, model=model, record=record, concurrency=2)
print(json.dumps(found.plain()))
"""


def _say(received: Received) -> Any:
    """Answers that depend on the item; some are malformed, so that repairs are on record too."""
    shown = received.body["messages"][-1]["content"]
    said = json.loads(smallest(received))
    for place, one in enumerate([said] if said.keys() & {"mood", "stars"} else said.values()):
        if "stars" in one:
            malformed = "number 7." in shown and "many" not in shown
            one["stars"] = "many" if malformed else (len(shown) + place) % 3
        if "mood" in one:
            one["mood"] = ("good", "bad")[(len(shown) + place) % 2]
    return said


def _start(server: ChatServer, record: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, server.base_url, str(record)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"MTIPROMPT_ALLOW_REQUESTS": "0"},
    )


def _figures(process: subprocess.Popen[str]) -> Any:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return _without_seconds(json.loads(out))


def _without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_seconds(one) for key, one in value.items() if key != "seconds"}
    return value


def test_a_killed_run_ends_with_the_same_figures(tmp_path: Path) -> None:
    """Killed three times at random moments, it goes on where it was and pays for nothing twice.

    The server sees no request twice but those that were on their way when the process was killed.
    """
    with ChatServer(_say) as server, _start(server, tmp_path / "whole") as process:
        undisturbed, asked = _figures(process), _bodies(server)
    moments = random.Random()
    with ChatServer(_say, delay=0.005) as server:
        for _ in range(3):
            goal = server.count + moments.randint(3, len(asked) // 4)
            with _start(server, tmp_path / "killed") as process:
                until = time.monotonic() + 60
                while server.count < goal and time.monotonic() < until:
                    time.sleep(0.001)
                assert process.poll() is None, process.communicate()
                process.send_signal(signal.SIGKILL)
        with _start(server, tmp_path / "killed") as process:
            assert _figures(process) == undisturbed
        bodies = _bodies(server)
    assert not asked - bodies
    assert (bodies - asked).total() <= 2 * 3  # two at a time, killed three times


def _bodies(server: ChatServer) -> Counter[str]:
    return Counter(json.dumps(one.body, sort_keys=True) for one in server.requests)
