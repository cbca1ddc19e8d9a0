"""The reply cache: what it stores, what it refuses, and under which key."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import os
import pickle
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.models.base import Wrapper
from mtiprompt.models.cache import SLOT, CachedModel, ReplyCache
from mtiprompt.models.cache.disk import Shelf, text_disk
from mtiprompt.models.cache.entry import sealed
from mtiprompt.models.cache.model import HEADS
from mtiprompt.models.cache.replies import MEMORY_ENTRIES
from mtiprompt.models.fakes import ScriptedModel
from mtiprompt.testing import ChatServer
from mtiprompt.wire import (
    DEEPEST,
    LEVELS,
    NOTATIONS,
    Message,
    OutputSchema,
    Reply,
    Request,
    Usage,
    canonical,
)
from tests.conftest_cache import HELLO, LONG, database, warnings_in
from tests.conftest_cache import folder as folder
from tests.conftest_cache import replies as replies

# --- values -----------------------------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(
    key=st.text(st.characters(exclude_categories=["Cs"])), value=st.dictionaries(st.text(), values)
)
def test_what_is_set_is_got(key: str, value: dict[str, Any]) -> None:
    """Any JSON data under any key comes back equal, from memory and, read anew, from disk."""
    replies = ReplyCache.at(Path(os.environ["MTIPROMPT_CACHE_DIR"]) / "values")
    replies.set(key, value)
    assert replies.get(key) == value
    replies._memory.clear()
    assert replies.get(key) == value
    assert replies.get(key + "x") is None
    replies.clear()


def test_odd_texts(replies: ReplyCache) -> None:
    """Half surrogate pairs, all line ends and texts of 100 kB survive the disk."""
    for text in ("\ud83d", "a\r\nb\rc\x00\u2028", LONG):
        replies.set("key", {"text": text})
        replies.close()
        assert replies.get("key") == {"text": text}


def test_values_cannot_be_changed_from_outside(replies: ReplyCache) -> None:
    """Neither the value that was stored nor one that was handed out reaches into the cache."""
    value = {"list": [1]}
    replies.set("key", value)
    value["list"].append(2)
    found = replies.get("key")
    assert found == {"list": [1]}
    found["list"].append(3)
    assert replies.get("key") == {"list": [1]}


def test_stats_and_clear(replies: ReplyCache, folder: Path) -> None:
    """Entries and bytes are counted; clearing removes all, also from the file and from memory."""
    assert replies.stats() == (0, 0, folder, 0)
    assert replies.clear() == 0
    assert not folder.exists()
    for number in range(5):
        replies.set(str(number), {"text": f"a private word {LONG if number else ''}"})
    stats = replies.stats()
    assert stats.entries == 5
    assert stats.bytes > 4 * len(LONG)
    assert replies.clear() == 5
    assert replies.get("0") is None
    assert replies.stats().entries == 0
    left = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert b"a private word" not in left


def test_slots_are_counted_apart(replies: ReplyCache) -> None:
    """Answers that are kept slot by slot are no replies, and are cleared with them."""
    replies.set("slos", {})
    replies.set("slot;", {})
    for number in range(3):
        replies.set(f"{SLOT}{number}", {"answer": number})
    stats = replies.stats()
    assert (stats.entries, stats.slots) == (2, 3)
    assert replies.clear() == 5
    assert (replies.stats().entries, replies.stats().slots) == (0, 0)


def test_memory_is_bounded(replies: ReplyCache) -> None:
    """A small number of entries stays in memory, those asked for of late."""
    replies.set("first", {"n": 0})
    for number in range(MEMORY_ENTRIES):
        replies.set(str(number), {"n": number})
        assert replies.get("first") == {"n": 0}
    assert len(replies._memory) == MEMORY_ENTRIES
    assert "first" in replies._memory
    assert "0" not in replies._memory
    replies.set("long", {"text": LONG})
    assert "long" not in replies._memory


def test_one_for_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for a folder, in whatever spelling, gets the same cache, not yet opened."""
    monkeypatch.chdir(folder.parent)
    assert ReplyCache.at(folder) is ReplyCache.at("replies") is ReplyCache.at(str(folder))
    assert ReplyCache.at(folder) is not ReplyCache.at(folder / "other")
    assert not folder.exists()


def test_closing_frees_the_files_of_all_threads(replies: ReplyCache, folder: Path) -> None:
    """Files are open from the first use until the cache is closed, whichever threads used it."""

    def open_files() -> int:
        return sum(file.resolve().parent == folder for file in Path("/proc/self/fd").iterdir())

    together = threading.Barrier(4)

    def read() -> dict[str, Any] | None:
        together.wait(5)
        return replies.get("key")

    assert open_files() == 0
    replies.set("key", {"text": LONG})
    mine = open_files()
    with ThreadPoolExecutor(together.parties) as pool:
        reading = [pool.submit(read) for _ in range(together.parties)]
        assert all(one.result() == {"text": LONG} for one in reading)
        assert open_files() > mine > 0
        replies.close()
        gc.collect()  # SQLite's connections, each of which refers to itself
        assert open_files() == 0
    assert replies.get("key") == {"text": LONG}


def test_only_the_owner_may_read(replies: ReplyCache, folder: Path) -> None:
    """Folder and database are made with rights for their owner only."""
    replies.set("key", {"text": LONG})
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "cache.db").stat().st_mode & 0o077 == 0


# --- tampering --------------------------------------------------------------------------------

RAN: list[str] = []


class Bomb:
    """An object whose pickle runs code when it is read."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return explode, ("it ran",)


def explode(word: str) -> None:
    """What a bomb does."""
    RAN.append(word)


def test_planted_pickles_are_refused(
    folder: Path, replies: ReplyCache, caplog: pytest.LogCaptureFixture
) -> None:
    """A row edited to be a pickle, in the row or in a file, is refused and never run.

    The same rows do run in diskcache's own `Disk` and `JSONDisk` (CVE-2025-69872), so this proves
    something.
    """
    import diskcache

    bomb = pickle.dumps(Bomb())
    replies.set("key", {"text": "good"})
    replies.set("file", {"text": LONG})
    replies.close()
    with database(folder) as connection:
        change = "UPDATE Cache SET mode = 4, value = ? WHERE key = 'key'"
        assert connection.execute(change, (bomb,)).rowcount == 1
        (name,) = connection.execute("SELECT filename FROM Cache WHERE key = 'file'").fetchone()
        connection.execute("UPDATE Cache SET mode = 4 WHERE key = 'file'")
    (folder / name).write_bytes(bomb)

    assert replies.get("key") is None
    assert replies.get("file") is None
    assert RAN == []
    (told,) = warnings_in(caplog)
    assert "mode 4" in told
    replies.set("key", {"text": "again"})
    replies.close()
    assert replies.get("key") == {"text": "again"}
    replies.close()

    with diskcache.Cache(str(folder), disk=diskcache.Disk) as unsafe:
        unsafe.get("file")
    assert RAN == ["it ran"]
    RAN.clear()


def test_text_disk_refuses_all_but_text(tmp_path: Path) -> None:
    """Each door of `TextDisk` takes text only: keys and values, going in and coming out."""
    disk = text_disk()(str(tmp_path), min_file_size=10)
    assert disk.put("key") == ("key", True)
    assert disk.get("key", True) == "key"
    for refused in (1, 1.5, b"bytes", ("a",), None, object()):
        with pytest.raises(ValueError, match="refused"):
            disk.put(refused)
        with pytest.raises(ValueError, match="refused"):
            disk.store(refused, False)
        with pytest.raises(ValueError, match="refused"):
            disk.fetch(1, None, refused, False)
    with pytest.raises(ValueError, match="refused"):
        disk.get(pickle.dumps("key"), False)
    for mode in (0, 2, 4, 9):
        with pytest.raises(ValueError, match="refused"):
            disk.fetch(mode, None, "text", False)
    outside = tmp_path.parent / "outside.val"
    outside.write_text("private")
    for name in ("../outside.val", str(outside), None):
        with pytest.raises(ValueError, match="refused"):
            disk.fetch(3, name, None, False)
    disk.remove("../outside.val")
    assert outside.exists()


@pytest.mark.parametrize("change", ["value", "key", "version", "alien"])
def test_tampered_entries_are_misses(
    change: str, folder: Path, replies: ReplyCache, caplog: pytest.LogCaptureFixture
) -> None:
    """A changed text, an entry moved to another key, another version and alien text are misses."""
    replies.set("one", {"text": "first"})
    replies.set("two", {"text": "second"})
    replies.close()
    edit = {
        "value": "UPDATE Cache SET value = replace(value, 'first', 'FIRST') WHERE key = 'one'",
        "key": "UPDATE Cache SET value = (SELECT value FROM Cache WHERE key = 'two') "
        "WHERE key = 'one'",
        "version": "UPDATE Cache SET value = replace(value, 'mti2', 'mti0') WHERE key = 'one'",
        "alien": "UPDATE Cache SET value = '{}' WHERE key = 'one'",
    }
    with database(folder) as connection:
        assert connection.execute(edit[change]).rowcount == 1
    assert replies.get("one") is None
    assert replies.get("two") == {"text": "second"}
    assert len(warnings_in(caplog)) == (0 if change == "version" else 1)


# --- the model --------------------------------------------------------------------------------


def test_only_what_is_kept_is_found(replies: ReplyCache) -> None:
    """A reply is looked up only after `keep`; a hit is the same reply, free of charge."""
    inner = ScriptedModel(["bad", "good", "never asked for"])
    model = CachedModel(inner, replies)
    assert model.complete(HELLO).text == "bad"
    second = model.complete(HELLO)
    assert (second.text, second.from_cache) == ("good", False)
    model.keep(HELLO, second)
    for hit in (model.complete(HELLO), asyncio.run(model.acomplete(HELLO))):
        assert hit == second.as_hit(hit.usage.seconds)
        assert hit.usage == Usage(hits=1, seconds=hit.usage.seconds)
    assert len(inner.requests) == 2


def test_a_hit_has_all_of_the_reply(replies: ReplyCache) -> None:
    """Text, reason, model and details come back; hits are not stored again."""
    whole = Reply("text", "length", Usage(calls=1, cost=None), "m", {"timings": {"a": 1}})
    model = CachedModel(ScriptedModel([whole]), replies)
    model.keep(HELLO, model.complete(HELLO))
    replies.close()
    hit = model.complete(HELLO)
    assert hit == whole.as_hit(hit.usage.seconds)
    assert hit.details == whole.details
    replies.clear()
    model.keep(HELLO, hit)
    assert replies.stats().entries == 0


def test_details_cannot_be_changed_from_outside(replies: ReplyCache) -> None:
    """What one caller does to the details of its reply, no other sees."""
    whole = Reply("text", details={"timings": {"a": [1]}})
    model = CachedModel(ScriptedModel([whole]), replies)
    model.keep(HELLO, model.complete(HELLO))
    for _ in range(2):
        hit = model.complete(HELLO)
        assert hit.details == {"timings": {"a": [1]}}
        hit.details["timings"]["a"].append(2)
        hit.details["more"] = True


STORED = {"text": "stored", "finish_reason": "stop", "model": "m", "details": {}}


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"text": "x"},
        STORED | {"text": 1},
        STORED | {"details": []},
        STORED | {"model": 5},
        STORED | {"finish_reason": "nonsense"},
        STORED | {"finish_reason": {"x": 1}},
    ],
)
def test_what_is_no_reply_is_a_miss(replies: ReplyCache, stored: dict[str, Any]) -> None:
    """An entry of another make under the key of a request fails no call."""
    model = CachedModel(ScriptedModel(["asked"]), replies)
    replies.set(model.key(HELLO), stored)
    assert model.complete(HELLO).text == "asked"


@pytest.mark.parametrize("planted", ["hello", "[1]", "5", "null", "[" * 100_000])
def test_what_is_planted_is_a_miss(replies: ReplyCache, planted: str) -> None:
    """Any text, well sealed, under the key of a request or of an answer fails no call."""
    model = CachedModel(ScriptedModel(["asked"]), replies)
    replies.set("first", {})
    assert isinstance(replies._shelf, Shelf)
    for key in (model.key(HELLO), f"{SLOT}x"):
        replies._shelf.set(key, sealed(key, planted))
    assert replies.get(f"{SLOT}x") is None
    assert model.complete(HELLO).text == "asked"


ANSWER: dict[str, Any] = {"fields": {"urgent": True}, "notes": [], "reasoning": None}


@pytest.mark.parametrize(
    "planted",
    [[1], 5, {"a": 1}, ANSWER | {"fields": [1]}, ANSWER | {"fields": None}, ANSWER | {"notes": 5},
     ANSWER | {"notes": [5]}, ANSWER | {"reasoning": 5}, ANSWER | {"fields": {"urgent": [[1]]}}],
)  # fmt: skip
def test_a_planted_answer_is_asked_for(folder: Path, planted: Any) -> None:
    """What is kept of a single answer and is none fails no call: the model is asked."""
    program = mti.combine("message -> urgent: bool")
    with ChatServer() as server:
        model = mti.Model("direct/x", api_base=server.base_url, cache=folder, reuse="any")
        first = program(message="a", model=model).urgent
        assert model.cache is not None
        model.cache.close()
        with database(folder) as connection:
            (key,) = connection.execute(
                "SELECT key FROM Cache WHERE key LIKE ?", (f"{SLOT}%",)
            ).fetchone()
            connection.execute("DELETE FROM Cache WHERE key <> ?", (key,))
            entry = sealed(key, json.dumps(planted))
            connection.execute("UPDATE Cache SET value = ?", (entry,))
        assert program(message="a", model=model).urgent == first
        assert server.count == 2
        model.cache.close()


def nested(depth: int) -> dict[str, Any]:
    """Details with lists in lists."""
    value: Any = "end"
    for _ in range(depth):
        value = [value]
    return {"timings": value}


@pytest.mark.parametrize("depth", [DEEPEST + 1, 900, 100_000])
def test_details_that_are_nested_too_deep_are_dropped(replies: ReplyCache, depth: int) -> None:
    """They are neither stored nor handed out, planted or not; the reply is a reply all the same."""
    reply = Reply("text", details=nested(depth))
    assert reply.as_hit().details == {}
    model = CachedModel(ScriptedModel(["asked"]), replies)
    model.keep(HELLO, reply)
    assert (model.complete(HELLO).text, model.complete(HELLO).details) == ("text", {})
    assert "timings" not in (replies.find(model.key(HELLO)) or "timings")
    planted = '{"timings":' + "[" * depth + "]" * depth + "}"
    text = json.dumps(STORED).replace("{}", planted)
    replies._memory[model.key(HELLO)] = text
    assert model.complete(HELLO).details == {}


def test_a_hit_shares_no_details() -> None:
    """Who follows another's call gets details of its own, as deep as they are kept."""
    reply = Reply("text", details=nested(DEEPEST) | {"tokens": {"a": [1]}})
    hit = reply.as_hit()
    assert hit.details == reply.details
    hit.details["tokens"]["a"].append(2)
    assert reply.details["tokens"] == {"a": [1]}


def test_messages_in_a_list(replies: ReplyCache) -> None:
    """A request that was made with a list is the one that was made with a tuple."""
    listed = Request(list(HELLO.messages))  # type: ignore[arg-type]
    assert listed == HELLO
    model = CachedModel(ScriptedModel(["asked"]), replies)
    model.keep(listed, model.complete(listed))
    assert model.complete(HELLO).from_cache


class Pieces(Wrapper):
    """A model that answers in pieces, and says when it is told to stop."""

    closed = 0

    def stream(self, request: Request) -> Generator[str | Reply, None, None]:
        try:
            yield "Good "
            yield "day."
            yield Reply("Good day.")
        finally:
            self.closed += 1

    async def astream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        try:
            yield "Good "
            yield "day."
            yield Reply("Good day.")
        finally:
            self.closed += 1


def test_streams(replies: ReplyCache) -> None:
    """A miss streams as the inner model does; a hit is the reply alone, without pieces."""
    inner = Pieces(ScriptedModel([]))
    model = CachedModel(inner, replies)

    async def pieces(number: int) -> list[str | Reply]:
        found = []
        stream = model.astream(HELLO)
        async for piece in stream:
            found.append(piece)
            if len(found) == number:
                break
        await stream.aclose()
        return found

    whole = ["Good ", "day.", Reply("Good day.")]
    assert list(model.stream(HELLO)) == whole
    assert asyncio.run(pieces(3)) == whole
    stream = model.stream(HELLO)
    assert next(stream) == "Good "
    stream.close()
    assert asyncio.run(pieces(1)) == ["Good "]
    assert inner.closed == 4  # closing the stream stops the call
    model.keep(HELLO, Reply("Good day."))
    for found in (list(model.stream(HELLO)), asyncio.run(pieces(3))):
        (hit,) = found
        assert isinstance(hit, Reply)
        assert (hit.text, hit.from_cache) == ("Good day.", True)
    assert inner.closed == 4


# --- keys -------------------------------------------------------------------------------------

messages = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), st.text()), max_size=4
)
requests = st.builds(
    Request,
    messages.map(tuple),
    st.none() | st.builds(OutputSchema, st.text(), st.text()),
    st.sampled_from(LEVELS),
    st.sampled_from(NOTATIONS),
    st.integers(0, 3),
)


@given(st.lists(requests, max_size=5), st.text())
def test_a_key_is_the_sum_of_canonical_json(asked: list[Request], name: str) -> None:
    """However much of it is digested ahead, a key is the sum of one canonical JSON text."""
    replies = ReplyCache(Path("never made"))
    model = CachedModel(ScriptedModel([], name=name), replies)
    for request in (*asked, *reversed(asked)):
        schema = request.schema.text if request.schema and request.level == "json_schema" else None
        text = canonical(
            ["mti2", model.identity, schema, request.level, request.notation, request.sample,
             request.messages]
        )  # fmt: skip
        total = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        assert model.key(request) == total


def test_a_key_is_the_same_everywhere(replies: ReplyCache) -> None:
    """A key does not depend on process or machine; whoever changes it raises `FORMAT`."""
    model = CachedModel(ScriptedModel([], name="a"), replies)
    request = Request(
        (Message("system", "Say ü."), Message("user", "Hello\ud83d")),
        OutputSchema("answers", '{"type":"object"}'),
        "json_schema",
        "compact",
    )
    assert model.key(request) == "594f34ef5bc0582dce2e8b904d8ab0f5cf602ab9c989db2ded0d276deaf55c2d"


def test_many_beginnings_take_no_room(replies: ReplyCache) -> None:
    """The digests that are kept are few, however different the requests."""
    model = CachedModel(ScriptedModel([]), replies)
    keys = {
        model.key(Request((Message("system", str(number)), Message("user", "x"))))
        for number in range(3 * HEADS)
    }
    assert len(keys) == 3 * HEADS
    assert len(model._heads) <= HEADS


def test_every_field_of_a_request_is_thought_of() -> None:
    """A new field of `Request` belongs into the key, or is one that no reply depends on."""
    in_key = {"messages", "schema", "level", "notation", "sample"}
    assert {one.name for one in fields(Request)} == in_key | {"purpose"}


def test_keys_have_all_that_matters(replies: ReplyCache) -> None:
    """Another model, message, schema, level, notation or sample is another entry."""
    schema = OutputSchema("answers", '{"type":"object"}')
    messages = HELLO.messages
    requests = [
        HELLO,
        Request((Message("system", "Hello"),)),
        Request((Message("user", "Hello!"),)),
        Request(messages, level="json_object"),
        Request(messages, schema, "json_schema"),
        Request(messages, OutputSchema("answers", '{"type": "object"}'), "json_schema"),
        Request(messages, notation="compact"),
        Request(messages, sample=1),
    ]
    keys = set()
    for name in ("a", "b"):
        model = CachedModel(ScriptedModel([], name=name), replies)
        keys |= {model.key(request) for request in requests}
    assert len(keys) == 2 * len(requests)


def test_a_purpose_is_no_part_of_the_key(replies: ReplyCache) -> None:
    """The same question asked for another purpose has the same answer."""
    model = CachedModel(ScriptedModel([]), replies)
    assert model.key(HELLO) == model.key(Request(HELLO.messages, purpose="repair"))


def test_no_secret_reaches_the_folder(folder: Path) -> None:
    """Neither the key nor other credentials are in any file of the cache; the answer is."""
    with ChatServer(lambda received: "an answer to keep") as server:
        model = mti.Model(
            "openai/any",
            api_base=server.base_url,
            api_key="sk-very-secret-key",
            cache=folder,
            extra_headers={"Authorization": "Bearer hush-hush"},
        )
        reply = model.complete(HELLO)
        model.keep(HELLO, reply)
        assert model.complete(HELLO).from_cache
        assert server.requests[0].headers["authorization"] == "Bearer hush-hush"
        assert len(server.requests) == 1
    assert model.cache is not None
    model.cache.close()
    stored = b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    assert b"an answer to keep" in stored
    for secret in (b"very-secret", b"hush"):
        assert secret not in stored


def test_stored_form_is_json(folder: Path, replies: ReplyCache) -> None:
    """Every stored value is JSON text: its version, its sum and the reply."""
    model = CachedModel(ScriptedModel(["text"]), replies)
    model.keep(HELLO, model.complete(HELLO))
    with database(folder) as connection:
        (row,) = connection.execute("SELECT key, raw, mode, value FROM Cache").fetchall()
    key, raw, mode, value = row
    assert (len(key), raw, mode) == (64, 1, 1)
    version, total, reply = json.loads(value)
    assert (version, len(total), reply["text"]) == ("mti2", 32, "text")


def test_a_connection_keeps_few_pages(folder: Path) -> None:
    """Each thread has a connection: what all of them keep of the database stays small."""
    replies = ReplyCache(folder)
    replies.set("a", {"text": "b"})
    shelf = replies._shelf
    assert isinstance(shelf, Shelf)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(lambda: shelf._cache._con.execute("PRAGMA cache_size").fetchone())
        assert found.result() == (16,)
    replies.close()
