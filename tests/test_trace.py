"""The trace of calls: each call is one sound line, whatever happens, and has no credential."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt import errors
from mtiprompt.models.base import Support
from mtiprompt.models.call_log import LoggedModel, log_call
from mtiprompt.models.trace import TracedModel, read_trace
from mtiprompt.testing import ChatServer, Fault
from mtiprompt.wire import LEVELS, NOTATIONS, FinishReason, Role
from tests.conftest_calls import Ask

# what pydantic says of litellm's own classes when a reply is streamed
pytestmark = [
    pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_:DeprecationWarning"),
]

KEY = "sk-very-secret-0123456789"
PASSWORD = "open-sesame"
HELLO = mti.Request((mti.Message("user", "Hello, Zoë."),))
ALL_ERRORS = [errors.ModelError, *errors.ModelError.__subclasses__(), errors.SchemaRejected]


def test_a_call_is_a_line(tmp_path: Path, ask: Ask) -> None:
    """A real call, in each of its ways, is a line with all that was asked and answered."""
    path = tmp_path / "calls.jsonl"
    schema = mti.OutputSchema("answers", '{"type":"object"}')
    request = mti.Request(HELLO.messages, schema, "json_object", "lines", 2, "repair")
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    with ChatServer(lambda received: "Good day.") as server:
        url = server.base_url
        model = mti.Model(
            "openai/any", api_base=url, api_key=KEY, cache=False, retries=0, temperature=1
        )
        ask(TracedModel(model, path), request)
    [line] = path.read_text(encoding="utf-8").splitlines()
    seen = json.loads(line)
    assert seen["model"] == "openai/any"
    assert seen["identity"] == ["openai/any", url, {"temperature": 1}, None]
    assert seen["purpose"] == "repair"
    assert seen["request"] == {
        "messages": [{"role": "user", "content": "Hello, Zoë."}],
        "schema": {"name": "answers", "text": schema.text, "strict": True},
        "level": "json_object",
        "notation": "lines",
        "sample": 2,
    }
    assert seen["support"] == {"level": "json_schema", "dialect": "openai", "notation": "compact"}
    assert seen["reply"]["text"] == "Good day."
    assert seen["reply"]["usage"]["calls"] == 1
    assert seen["hit"] is False
    assert 0 < seen["seconds"] < 60
    [call] = read_trace(path)
    assert before <= call.time <= datetime.now(UTC)
    assert call.request == request
    assert isinstance(call.outcome, mti.Reply)
    assert call.outcome.text == "Good day."


def test_a_failed_call_is_a_line(tmp_path: Path, ask: Ask) -> None:
    """An error is written and raised, and read back as the same class with all it knows."""
    path = tmp_path / "calls.jsonl"
    error = errors.RateLimited("slow down", hint="wait", status=429, retry_after=2.5)
    with pytest.raises(errors.RateLimited):
        ask(TracedModel(mti.ScriptedModel([error]), path), HELLO)
    [call] = read_trace(path)
    assert type(call.outcome) is errors.RateLimited
    assert vars(call.outcome) == vars(error)


def test_hits_are_lines(tmp_path: Path) -> None:
    """A reply from the cache is a line that says so."""
    path = tmp_path / "calls.jsonl"
    with ChatServer() as server:
        inner = mti.Model("openai/any", api_base=server.base_url, api_key=KEY, cache=tmp_path)
        model = TracedModel(inner, path)
        model.keep(HELLO, model.complete(HELLO))
        model.complete(HELLO)
        assert inner.cache is not None
        inner.cache.close()
    assert [json.loads(line)["hit"] for line in path.read_bytes().splitlines()] == [False, True]


def test_a_call_given_up_is_a_line(tmp_path: Path) -> None:
    """A stream that is closed, and an error that is none of ours, leave a line without a text."""
    path = tmp_path / "calls.jsonl"
    pieces = TracedModel(mti.EchoModel(), path).stream(HELLO)
    assert isinstance(next(pieces), str)
    pieces.close()
    with pytest.raises(ZeroDivisionError):
        TracedModel(mti.ScriptedModel([ZeroDivisionError(KEY)]), path).complete(HELLO)
    closed, strange = read_trace(path)
    assert str(closed.outcome) == "the call ended with GeneratorExit"
    assert str(strange.outcome) == "the call ended with ZeroDivisionError"
    assert KEY not in path.read_text()


def test_no_credential_is_in_a_trace(tmp_path: Path) -> None:
    """No key, password or query of an address is in the file, even if the provider repeats it."""
    path = tmp_path / "calls.jsonl"
    fault = Fault(401, f"Incorrect API key provided: {KEY}.")
    with ChatServer(faults=[None, fault]) as server:
        host = server.base_url.removeprefix("http://")
        base = f"http://anna:{PASSWORD}@{host}"
        inner = mti.Model(
            "openai/any", api_base=base, api_key=KEY, cache=False, retries=0, my_password=PASSWORD
        )
        model = TracedModel(inner, path)
        model.complete(HELLO)
        with pytest.raises(errors.ModelAccessDenied):
            model.complete(HELLO)
    odd = mti.EchoModel()
    odd.identity = json.dumps([{"at": f"https://{KEY}@host/v1?key={KEY}"}, f"//{KEY}@x"])
    TracedModel(odd, path).complete(HELLO)
    text = path.read_text()
    assert len(text.splitlines()) == 3
    assert "https://host/v1" in text
    assert KEY not in text
    assert PASSWORD not in text


def test_the_file_is_for_its_owner(tmp_path: Path) -> None:
    """The file holds prompts, so it is made with rights for its owner only."""
    path = tmp_path / "calls.jsonl"
    old = os.umask(0)
    try:
        TracedModel(mti.EchoModel(), path).complete(HELLO)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("place", ["none/calls.jsonl", ".", "/dev/full"])
def test_a_file_that_cannot_be_written_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    """A missing folder, a folder, a full disk: one warning that names the file, and calls go on."""
    model = TracedModel(mti.EchoModel(), tmp_path / place)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert model.complete(HELLO).text == "Hello, Zoë."
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert str(Path(tmp_path / place)) in record.getMessage()
    assert "calls go on" in record.getMessage()


def test_a_torn_line_does_not_spoil_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk takes half a line, the lines after it can be read, and the half is told."""
    path = tmp_path / "calls.jsonl"
    model = TracedModel(mti.EchoModel(), path)
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, data: write(file, data[:50]))
        model.complete(HELLO)
    model.complete(HELLO)
    model.complete(HELLO)
    with path.open("a") as cut_off:
        cut_off.write('{"version": 1, "time"')
    assert [call.line for call in read_trace(path)] == [2, 3]
    assert "2 lines were left out" in caplog.text


def test_the_file_may_be_moved_away(tmp_path: Path) -> None:
    """After the file has been moved, as log rotation does, a new one begins."""
    path = tmp_path / "calls.jsonl"
    model = TracedModel(mti.EchoModel(), path)
    model.complete(HELLO)
    path.rename(tmp_path / "old.jsonl")
    model.complete(HELLO)
    assert len(read_trace(path)) == len(read_trace(tmp_path / "old.jsonl")) == 1


WRITER = """
import sys, threading
import mtiprompt as mti
from mtiprompt.models.trace import TracedModel
model = TracedModel(mti.EchoModel(), sys.argv[1])
def work(name):
    for number in range(20):
        text = f"{sys.argv[2]} {name} {number} " + "x" * 30_000
        model.complete(mti.Request((mti.Message("user", text),)))
threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
for one in threads: one.start()
for one in threads: one.join()
"""


def test_processes_and_threads_share_a_file(tmp_path: Path) -> None:
    """Long lines of three processes with four threads each come out whole, and none is lost."""
    path = tmp_path / "calls.jsonl"
    commands = [[sys.executable, "-c", WRITER, str(path), str(number)] for number in range(3)]
    running = [subprocess.Popen(command) for command in commands]
    assert [one.wait(60) for one in running] == [0, 0, 0]
    said = [call.request.messages[0].content.split()[:3] for call in read_trace(path)]
    wanted = [[str(p), t, str(n)] for p in range(3) for t in "abcd" for n in range(20)]
    assert sorted(said) == sorted(wanted)


def test_threads_of_map_share_a_file(tmp_path: Path) -> None:
    """`map` with several threads leaves a line for each call."""
    path = tmp_path / "calls.jsonl"
    program = mti.combine("message -> urgent: bool", "message -> product: str")
    rows = [{"message": str(number)} for number in range(20)]
    list(program.map(rows, model=TracedModel(mti.EchoModel(), path), concurrency=8))
    assert len(read_trace(path)) == 20


any_text = st.text(max_size=30)
requests = st.builds(
    mti.Request,
    messages=st.lists(
        st.builds(mti.Message, st.sampled_from(get_args(Role)), any_text), max_size=3
    ).map(tuple),
    schema=st.none() | st.builds(mti.OutputSchema, any_text, any_text, st.booleans()),
    level=st.sampled_from(LEVELS),
    notation=st.sampled_from(NOTATIONS),
    sample=st.integers(0, 3),
    purpose=any_text,
)
counts = st.integers(0, 10**9)
usages = st.builds(
    mti.Usage, counts, counts, counts, counts, counts,
    st.none() | st.floats(0, 10), st.floats(0, 10),
)  # fmt: skip
replies = st.builds(
    mti.Reply, any_text, st.sampled_from(get_args(FinishReason)), usages, any_text,
    st.dictionaries(any_text, st.none() | any_text | st.integers(), max_size=2),
)  # fmt: skip


def failed(kind: type[errors.ModelError], usage: mti.Usage | None, **told: Any) -> mti.ModelError:
    """An error with what it cost."""
    error = kind(**told)
    error.usage = usage
    return error


failures = st.builds(
    failed, st.sampled_from(ALL_ERRORS), st.none() | usages, message=any_text,
    hint=st.none() | any_text, status=st.none() | st.integers(400, 599),
    retry_after=st.none() | st.floats(0, 100),
)  # fmt: skip


def known(outcome: Any) -> Any:
    """What can be compared of a reply or an error."""
    if isinstance(outcome, mti.Reply):
        return (outcome, outcome.details, outcome.usage)
    return (type(outcome), vars(outcome))


@given(st.lists(st.tuples(requests, replies | failures), min_size=1, max_size=4))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[mti.Request, Any]]
) -> None:
    """Any request and any outcome, of any characters, comes back as it was, key and all."""
    path = tmp_path_factory.mktemp("trace") / "calls.jsonl"
    support = Support("json_object", dialect="gemini", notation="lines")
    model = TracedModel(mti.ScriptedModel([two for _, two in calls], support=support), path)
    wanted = []
    for request, outcome in calls:
        try:
            wanted.append(model.complete(request))
        except mti.ModelError:
            wanted.append(outcome)
    found = read_trace(path)
    assert [call.request for call in found] == [request for request, _ in calls]
    assert [call.request.key for call in found] == [request.key for request, _ in calls]
    assert [known(call.outcome) for call in found] == [known(one) for one in wanted]
    assert dict(found[0].support) == {
        "level": "json_object", "dialect": "gemini", "notation": "lines",
    }  # fmt: skip


def test_other_errors_of_ours_are_read_back(tmp_path: Path) -> None:
    """A spent budget, and an error of a user's own class, come back as what they are to us."""

    class Flooded(errors.ModelUnavailable):
        """A class of the user's own."""

    path = tmp_path / "calls.jsonl"
    raised = [
        mti.BudgetExceeded("spent", hint="raise it"),
        Flooded("wet", status=503),
        mti.IncompleteResult("some", failures={}),
    ]
    model = TracedModel(mti.ScriptedModel(raised), path)
    for error in raised:
        with pytest.raises(type(error)):
            model.complete(HELLO)
    found = [call.outcome for call in read_trace(path)]
    assert [type(one) for one in found] == [
        mti.BudgetExceeded, errors.ModelUnavailable, mti.MTIError,
    ]  # fmt: skip
    assert [str(one) for one in found] == ["spent (raise it)", "wet", "some"]


def test_an_identity_that_is_no_json_is_written_as_it_is(tmp_path: Path) -> None:
    """A user's own model need not be strict about its identity."""
    path = tmp_path / "calls.jsonl"
    inner = mti.EchoModel()
    inner.identity = "mine"
    TracedModel(inner, path).complete(HELLO)
    assert read_trace(path)[0].identity == "mine"


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Reading names the file and what is wrong."""
    with pytest.raises(mti.DataError, match=r"calls\.jsonl cannot be read: No such file"):
        read_trace(tmp_path / "calls.jsonl")


# --- the log --------------------------------------------------------------------------------------


def test_a_call_is_logged_in_one_line_without_text(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the figures of a reply, a hit and an error, and neither prompt nor reply."""
    used = mti.Usage(calls=1, prompt_tokens=90, cached_tokens=64, completion_tokens=7)
    reply = mti.Reply("Good day.", "length", used)
    error = errors.ModelUnavailable("Hello, Zoë. is down", status=503)
    with caplog.at_level(logging.INFO, "mtiprompt.calls"):
        log_call("openai/any", HELLO, reply, 1.23456)
        log_call("openai/any", HELLO, reply.as_hit(), 0.0001)
        log_call("openai/any", HELLO, error, 2.0)
        log_call("openai/any", HELLO, KeyboardInterrupt(), 2.0)
    assert [record.getMessage() for record in caplog.records] == [
        "openai/any answer: length, 90 tokens read (64 cached), 7 written, 1.235 s",
        "openai/any answer: from the cache, 0.000 s",
        "openai/any answer: ModelUnavailable 503, 2.000 s",
        "openai/any answer: KeyboardInterrupt, 2.000 s",
    ]


def test_a_logged_model_logs_each_call(caplog: pytest.LogCaptureFixture, ask: Ask) -> None:
    """Each way of calling is one line, of a reply and of an error; silent otherwise."""
    model = LoggedModel(mti.ScriptedModel(["Good day.", errors.ModelTimeout("late"), "x"]))
    with caplog.at_level(logging.INFO, "mtiprompt.calls"):
        ask(model, HELLO)
        with pytest.raises(errors.ModelTimeout):
            ask(model, HELLO)
    ask(model, HELLO)
    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith("scripted answer: stop, 3 tokens read (0 cached), 3 written, 0.0")
    assert second.startswith("scripted answer: ModelTimeout, 0.0")


def test_nothing_is_logged_unless_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    """At the level that Python begins with, a finished call leaves no line."""
    with caplog.at_level(logging.WARNING):
        log_call("openai/any", HELLO, mti.Reply("Good day."), 1.0)
    assert not caplog.records


def test_the_log_has_neither_text_nor_keys_at_info(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls that succeed, fail and are traced leave no prompt, reply or key in our log."""
    prompt = "The lamp of Mrs Brown hums."
    program = mti.combine("message -> urgent: bool", "message -> product: str")
    faults = [None, Fault(400, f"bad prompt {prompt!r}"), Fault(503, "down"), None]
    with caplog.at_level(logging.INFO), ChatServer(faults=faults) as server:
        inner = mti.Model(
            "openai/any", api_base=server.base_url, api_key=KEY, cache=tmp_path / "replies"
        )
        model = TracedModel(inner, tmp_path / "calls.jsonl")
        for number in range(3):
            program(message=f"{prompt} {number}", model=model)
        assert inner.cache is not None
        inner.cache.close()
    ours = [record for record in caplog.records if record.name.startswith("mtiprompt")]
    logged = "\n".join(record.getMessage() for record in ours)
    assert "retry 1" in logged
    assert "Brown" not in logged
    assert KEY not in logged
