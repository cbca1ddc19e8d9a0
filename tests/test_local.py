"""Models in this process, with a small real one."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import mtiprompt as mti
from mtiprompt import errors
from mtiprompt.models import local
from mtiprompt.render import write_json
from mtiprompt.wire import NOTATIONS, Notation
from tests.conftest_models import (
    HELLO,
    LONG,
    SCHEMA,
    asked,
    one,
    run_script,
    settled,
    text_of,
)

# --- what comes back ---------------------------------------------------------------------------


def test_a_chat_is_answered(local_engine: local.Engine) -> None:
    """A reply has text, why it ended, and counts of what was read and written."""
    reply = local_engine.chat({"messages": HELLO, "max_tokens": 6, "temperature": 0})
    assert text_of(reply).strip()
    assert reply["choices"][0]["finish_reason"] == "length"
    usage = reply["usage"]
    assert usage["completion_tokens"] == 6
    assert usage["total_tokens"] == usage["prompt_tokens"] + 6
    assert usage["prompt_tokens"] == local_engine.count_tokens(HELLO)
    assert usage["prompt_tokens_details"]["cached_tokens"] < usage["prompt_tokens"]
    assert reply["timings"]["predicted_n"] == 6


def test_streaming_inside_changes_nothing(local_engine: local.Engine) -> None:
    """The pieces put together are the reply that llama.cpp gives in one piece."""
    request: dict[str, Any] = {"messages": HELLO, "max_tokens": 12, "temperature": 0}
    request |= {"logprobs": True, "top_logprobs": 2}
    local_engine.chat(request)  # so that both read the same part of the prompt from the cache
    whole = local_engine._server.handle_chat_completions(request)
    pieces = local_engine.chat(request)
    assert pieces["choices"] == whole["choices"]
    assert pieces["usage"] == whole["usage"]
    assert set(pieces["timings"]) == set(whole["timings"])


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_schema_is_obeyed_in_every_notation(
    local_engine: local.Engine, notation: Notation
) -> None:
    """The reply satisfies the schema, and is spaced as demonstrations in that notation are."""
    request: dict[str, Any] = {"messages": HELLO, "max_tokens": 120, "temperature": 0}
    reply = local_engine.chat(
        {**request, "response_format": asked(SCHEMA), "mti_notation": notation}
    )
    value = json.loads(text_of(reply))
    jsonschema.validate(value, SCHEMA)
    assert list(value) == list(SCHEMA["properties"])
    if notation != "free":
        assert text_of(reply) == write_json(value, notation)


def test_any_json_object(local_engine: local.Engine) -> None:
    """`json_object` gives the beginning of an object, without a schema."""
    formatted = {"response_format": {"type": "json_object"}, "mti_notation": "compact"}
    reply = local_engine.chat({"messages": HELLO, "max_tokens": 8, "temperature": 0, **formatted})
    assert text_of(reply).startswith('{"')


def test_kinds_of_prompt_keep_their_prefix(local_engine: local.Engine) -> None:
    """Five kinds of prompt that share an introduction, in turn: all but the item stays read."""
    introduction = "You are a careful assistant that reads the messages of customers. " * 2
    kinds = ["Judge the feeling.", "Name the topic.", "Is it urgent?", "List people.", "Reply."]
    constant = [{"role": "system", "content": introduction + kind * 5} for kind in kinds]
    for item in "The parcel came late.", "Thanks to Anna!", "My invoice is wrong.":
        for system in constant:
            messages = [system, {"role": "user", "content": item}]
            used = local_engine.chat({"messages": messages, "max_tokens": 1, "temperature": 0})[
                "usage"
            ]
            if item != "The parcel came late.":
                rest = used["prompt_tokens"] - used["prompt_tokens_details"]["cached_tokens"]
                # the item, the end of its message and the opening of the reply
                assert rest <= local_engine.count_tokens(item) + 10


def test_several_calls_at_once(local_engine: local.Engine) -> None:
    """Four threads get their own answers, and the engine has worked on them at the same time."""
    label = [{"enum": [word]} for word in ("north", "south", "east", "west")]

    def call(schema: dict[str, Any]) -> tuple[str, float, float]:
        began = time.monotonic()
        reply = local_engine.chat(
            {"messages": HELLO, "temperature": 0, "response_format": asked(one(schema))}
            | {"mti_notation": "compact", "max_tokens": 20}
        )
        return json.loads(text_of(reply))["a"], began, time.monotonic()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(call, label))
    assert [answer for answer, _, _ in found] == ["north", "south", "east", "west"]
    assert max(began for _, began, _ in found) < min(ended for _, _, ended in found)


def test_warm_loads_the_file_that_calls_use(model_file: Path) -> None:
    """With the sizes of its calls, so that the first call loads nothing; closed ones come back."""
    sizes: dict[str, Any] = {"slots": 3, "context": 640, "threads": 1}
    model = mti.Model(f"local:{model_file}", cache=False, max_tokens=2, **sizes)
    model.warm()
    loaded = local.engine(model_file, **sizes)
    before = set(local._LIVE)
    assert loaded in before
    model.complete(mti.Request((mti.Message("user", "Hello"),)))
    assert set(local._LIVE) == before
    loaded.close()


def test_warm_writes_one_token_under_a_grammar(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for an engine, as the first grammar takes long; no call finds anything of it read."""
    sent: list[dict[str, Any]] = []
    post = local.Engine.post

    def noted(self: local.Engine, path: str, body: dict[str, Any], **rest: Any) -> dict[str, Any]:
        sent.append(body)
        return post(self, path, body, **rest)

    monkeypatch.setattr(local.Engine, "post", noted)
    model = mti.Model(f"local:{model_file}", cache=False, max_tokens=2, slots=1, context=768)
    model.warm()
    model.warm()
    assert [(one["n_predict"], "grammar" in one) for one in sent] == [(1, True)]
    reply = model.complete(mti.Request((mti.Message("user", "Hello"),)))
    assert reply.usage.cached_tokens == 0
    local.engine(model_file, slots=1, context=768).close()


def test_warm_leaves_an_engine_alone_that_is_in_use(model_file: Path) -> None:
    """What its slots have read stays there: the same prompt is not read again."""
    sizes: dict[str, Any] = {"slots": 1, "context": 704}
    program = mti.combine("text -> mood: bool")
    model = mti.Model(f"local:{model_file}", cache=False, max_tokens=9, **sizes)
    program(text="Hello", model=model)
    model.warm()
    usage = program(text="Hello", model=model).usage
    assert usage.cached_tokens == usage.prompt_tokens - 1
    local.engine(model_file, **sizes).close()


def test_warm_says_what_cannot_be_loaded(tmp_path: Path) -> None:
    """A file that is not there is an error before the first call, too."""
    with pytest.raises(errors.ModelNotFound, match="no model file"):
        mti.Model(f"local:{tmp_path}/none.gguf").warm()


def test_more_callers_than_slots_wait(model_file: Path) -> None:
    """Six callers of an engine with two slots are all answered."""
    small = local.Engine(model_file, slots=2, context=256, threads=1)
    try:
        with ThreadPoolExecutor(6) as pool:
            calls = [pool.submit(small.chat, {"messages": HELLO, "max_tokens": 2})] * 6
            assert all(call.result()["usage"]["completion_tokens"] <= 2 for call in calls)
    finally:
        small.close()


# --- when it ends ------------------------------------------------------------------------------


def test_a_deadline_stops_the_writing(local_engine: local.Engine) -> None:
    """The caller is free at the deadline, and the slot soon after."""
    began = time.monotonic()
    with pytest.raises(errors.ModelTimeout, match=r"within 0\.3 s"):
        local_engine.chat(LONG, timeout=0.3)
    assert time.monotonic() - began < 2
    assert settled(local_engine, 20)


def test_a_deadline_stops_the_reading(local_engine: local.Engine) -> None:
    """A prompt that takes long to read does not hold its slot to the end."""
    messages = [{"role": "user", "content": f"{time.time()}" + " the cat sat" * 130}]
    began = time.monotonic()
    with pytest.raises(errors.ModelTimeout):
        local_engine.chat({"messages": messages, "max_tokens": 1}, timeout=0.1)
    assert time.monotonic() - began < 2
    assert settled(local_engine, 30)
    used = local_engine.chat({"messages": messages, "max_tokens": 1})["usage"]
    assert 0 < used["prompt_tokens_details"]["cached_tokens"] < used["prompt_tokens"]


def test_a_cancelled_call_stops(local_engine: local.Engine) -> None:
    """Somebody else can stop a call."""
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()
    with pytest.raises(errors.ModelError, match="cancelled"):
        local_engine.chat(LONG, cancel=cancel)
    assert settled(local_engine, 20)


def test_ctrl_c_comes_through_at_once(model_file: Path) -> None:
    """An interrupt in the main thread ends a call that would take long."""
    done = run_script(
        """
        import os, signal, sys, threading, time
        from pathlib import Path
        from mtiprompt.models import local

        local_engine = local.engine(Path(sys.argv[1]), context=2048, slots=1)
        messages = [{"role": "user", "content": "Count to a million."}]
        local_engine.chat({"messages": messages, "max_tokens": 1})
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        began = time.monotonic()
        try:
            local_engine.chat({"messages": messages, "max_tokens": 1900, "ignore_eos": True})
        except KeyboardInterrupt:
            sys.exit(3 if time.monotonic() - began < 2 else 4)
        """,
        str(model_file),
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")


@pytest.mark.parametrize("moment", ["after", "during"])
def test_the_end_of_the_program_is_quiet(model_file: Path, moment: str) -> None:
    """Nothing is printed and the exit code is 0, also with a call still running."""
    done = run_script(
        """
        import contextlib, sys, threading, time
        from pathlib import Path
        from mtiprompt.errors import ModelUnavailable
        from mtiprompt.models import local

        def run(chat):
            with contextlib.suppress(ModelUnavailable):
                local_engine.chat(chat)

        local_engine = local.engine(Path(sys.argv[1]), context=2048, slots=2)
        chat = {"messages": [{"role": "user", "content": "Hi"}], "ignore_eos": True}
        local_engine.chat({**chat, "max_tokens": 2})
        if sys.argv[2] == "during":
            long = {**chat, "max_tokens": 1900}
            threading.Thread(target=run, args=(long,), daemon=True).start()
            time.sleep(0.3)
        """,
        str(model_file),
        moment,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_fork_is_refused(model_file: Path) -> None:
    """A forked child gets the error at once, for old and new engines, and ends by itself."""
    done = run_script(
        """
        import os, sys, warnings
        from pathlib import Path
        from mtiprompt.errors import ModelMisconfigured
        from mtiprompt.models import local

        warnings.simplefilter("ignore", DeprecationWarning)  # of os.fork beside threads
        file = Path(sys.argv[1])
        local_engine = local.engine(file, context=256, slots=1)
        chat = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        local_engine.chat(chat)
        child = os.fork()
        if child == 0:
            for attempt in (
                lambda: local_engine.chat(chat),
                lambda: local_engine.count_tokens("Hi"),
                lambda: local.engine(file, context=128, slots=1),
                lambda: local.Engine(file, context=128, slots=1),
            ):
                try:
                    attempt()
                except ModelMisconfigured as error:
                    print("spawn" in error.hint)
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        local_engine.chat(chat)
        """,
        str(model_file),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["True"] * 4 + ["7"]


def test_an_engine_may_be_closed_at_once(model_file: Path) -> None:
    """Closing right after loading does not hang, as it does where llama.cpp is left to itself."""
    for _ in range(5):
        local.Engine(model_file, slots=1, context=128, threads=1).close()


def test_a_closed_engine_says_so(model_file: Path) -> None:
    """Calls after `close` fail, and asking for the engine again loads it again."""
    sizes = {"slots": 1, "context": 128, "threads": 1}
    first = local.engine(model_file, **sizes)
    first.close()
    first.close()
    with pytest.raises(errors.ModelUnavailable, match="closed"):
        first.chat({"messages": HELLO})
    with pytest.raises(errors.ModelUnavailable, match="closed"):
        first.count_tokens("Hello")
    second = local.engine(model_file, **sizes)
    assert second is not first
    second.close()
