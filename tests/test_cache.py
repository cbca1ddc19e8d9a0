"""The reply cache: what it stores, what it refuses, and that it never fails a call."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.models.cache import MEMORY_ENTRIES, CachedModel, ReplyCache, text_disk
from mtiprompt.models.fakes import FunctionModel, ScriptedModel
from mtiprompt.testing import ChatServer
from mtiprompt.wire import Message, OutputSchema, Reply, Request, Usage

HELLO = Request((Message("user", "Hello"),))
ROOT = Path(__file__).resolve().parents[1]
LONG = "long " * 20_000
"""Longer than what diskcache keeps in a row, and than what is kept in memory."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the cache will be; it does not exist yet."""
    return tmp_path / "replies"


@pytest.fixture
def replies(folder: Path) -> Iterator[ReplyCache]:
    """A cache of its own."""
    made = ReplyCache(folder)
    yield made
    made.close()


@contextmanager
def database(folder: Path) -> Iterator[sqlite3.Connection]:
    """The database of a cache, to be tampered with."""
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as connection:
        yield connection


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings that the cache has logged."""
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]


# --- values -----------------------------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
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
    assert replies.stats() == (0, 0, folder)
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


def test_size_limit(folder: Path) -> None:
    """Above the limit the oldest entries go; the newest stay."""
    replies = ReplyCache(folder, size_limit=300_000)
    for number in range(60):
        replies.set(str(number), {"text": f"{number}" * 10_000})
    assert replies.stats().bytes < 500_000
    replies.close()
    assert replies.get("0") is None
    assert replies.get("59") is not None
    replies.close()


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
        "version": "UPDATE Cache SET value = replace(value, 'mti1', 'mti0') WHERE key = 'one'",
        "alien": "UPDATE Cache SET value = '{}' WHERE key = 'one'",
    }
    with database(folder) as connection:
        assert connection.execute(edit[change]).rowcount == 1
    assert replies.get("one") is None
    assert replies.get("two") == {"text": "second"}
    assert len(warnings_in(caplog)) == (0 if change == "version" else 1)


# --- trouble ----------------------------------------------------------------------------------


def works_on(replies: ReplyCache) -> None:
    """A model behind the cache answers as if it were not there."""
    model = CachedModel(FunctionModel(lambda request: "yes"), replies)
    for _ in range(3):
        reply = model.complete(HELLO)
        assert reply.text == "yes"
        model.keep(HELLO, reply)
    assert asyncio.run(model.acomplete(HELLO)).text == "yes"


@pytest.mark.parametrize("damage", ["garbage", "cut", "flipped"])
def test_damaged_files_are_put_aside(
    damage: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged database is moved aside, other files stay, and a new cache works at once."""
    first = ReplyCache(folder)
    for number in range(300):
        first.set(str(number), {"text": "x" * 500})
    first.close()
    (folder / "mine.txt").write_text("not the cache's")
    file = folder / "cache.db"
    data = bytearray(file.read_bytes())
    if damage == "garbage":
        data[:] = b"no database " * 500
    elif damage == "cut":
        del data[len(data) // 3 :]
    else:
        data[4096:] = bytes(byte ^ 0xFF for byte in data[4096:])
    for path in folder.glob("cache.db-*"):
        path.unlink()
    file.write_bytes(data)

    replies = ReplyCache(folder)
    for number in range(300):
        assert replies.get(str(number)) in (None, {"text": "x" * 500})
    replies.set("new", {"text": "new"})
    replies.close()
    assert replies.get("new") == {"text": "new"}
    replies.close()
    (told,) = warnings_in(caplog)
    assert "damaged" in told
    (aside,) = folder.glob("damaged-*")
    assert (aside / "cache.db").exists()
    assert (folder / "mine.txt").exists()


def test_damage_while_open(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A database that is damaged under an open cache costs its entries and no call."""
    replies = ReplyCache(folder)
    for number in range(300):
        replies.set(str(number), {"text": "x" * 500})
    replies._memory.clear()
    os.truncate(folder / "cache.db-wal", 0)
    (folder / "cache.db").write_bytes(b"no database " * 5000)
    works_on(replies)
    for number in range(300):
        assert replies.get(str(number)) in (None, {"text": "x" * 500})
    replies.close()
    works_on(ReplyCache(folder))
    assert 1 <= len(warnings_in(caplog)) <= 2


def test_a_missing_file_is_a_miss(folder: Path, replies: ReplyCache) -> None:
    """An entry whose file is gone is a miss."""
    replies.set("key", {"text": LONG})
    for file in folder.rglob("*.val"):
        file.unlink()
    assert replies.get("key") is None


@contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of the administrator, who may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_read_only_folder(caplog: pytest.LogCaptureFixture) -> None:
    """In a folder that cannot be written, calls go on, with one warning."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o555)
    with nobody():
        works_on(ReplyCache(place))
        works_on(ReplyCache(place / "below"))
    assert ["cannot be" in told for told in warnings_in(caplog)] == [True, True]
    assert list(place.iterdir()) == []
    place.chmod(0o755)
    place.rmdir()


def test_no_folder_at_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where a file is in the way, calls go on, with one warning."""
    (tmp_path / "file").write_text("in the way")
    replies = ReplyCache(tmp_path / "file" / "replies")
    works_on(replies)
    assert replies.stats().entries == 0
    assert replies.clear() == 0
    assert len(warnings_in(caplog)) == 1


def test_full_disk(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the database may not grow, what is there is still read, and calls go on."""
    import diskcache

    replies = ReplyCache(folder)
    replies.set("key", {"text": "kept"})
    replies._memory.clear()
    pages = replies._disk._sql("PRAGMA page_count").fetchone()[0]
    replies._disk._sql(f"PRAGMA max_page_count = {pages}")
    for number in range(50):
        replies.set(str(number), {"text": "x" * 20_000})
    assert replies.get("key") == {"text": "kept"}
    works_on(replies)
    replies.close()

    def full(*args: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(diskcache.Disk, "_write", full)
    replies = ReplyCache(folder)
    replies.set("file", {"text": LONG})
    works_on(replies)
    replies.close()
    told = warnings_in(caplog)
    assert ["full" in told[0], "No space" in told[1], len(told)] == [True, True, 2]


def test_locked_by_another(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another's write lock costs a second at most, when opening as when writing, and no call."""
    first = ReplyCache(folder)
    first.set("key", {"text": "there"})
    first._memory.clear()
    with database(folder) as connection:
        connection.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        opening = ReplyCache(folder)
        works_on(opening)
        works_on(first)
        assert first.get("key") == {"text": "there"}  # reading needs no lock
        assert time.monotonic() - began < 4
        connection.execute("ROLLBACK")
    assert len(warnings_in(caplog)) == 2
    opening._paused_until = 0
    assert opening.get("key") == {"text": "there"}
    first.close()
    opening.close()


# --- several at once --------------------------------------------------------------------------


def test_threads(folder: Path) -> None:
    """Eight threads that read and write one cache see only whole, right values."""
    replies = ReplyCache(folder)
    wrong: list[Any] = []

    def work(mine: int) -> None:
        for number in range(40):
            replies.set(f"{mine}-{number}", {"n": number, "pad": "x" * 100})
            other = replies.get(f"{(mine + 1) % 8}-{number}")
            if other is not None and other["n"] != number:
                wrong.append(other)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert replies.stats().entries == 320
    replies.close()


WRITER = """
import sys
from pathlib import Path
from mtiprompt.models.cache import ReplyCache
replies = ReplyCache.at(Path(sys.argv[1]))
for number in range(100):
    replies.set(f"{sys.argv[2]}-{number}", {"n": number})
replies.close()
"""


def test_processes(folder: Path) -> None:
    """What two processes write at the same time, from the opening on, a third reads, whole."""
    here = os.environ | {"PYTHONPATH": str(ROOT)}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), name],
            env=here,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    assert [writer.communicate()[1] for writer in writers] == ["", ""]
    replies = ReplyCache(folder)
    for name in "ab":
        assert [replies.get(f"{name}-{n}") for n in range(100)] == [{"n": n} for n in range(100)]
    replies.close()


def test_a_forked_child_shares_the_folder(folder: Path) -> None:
    """After a fork, parent and child go on reading and writing the same cache."""
    program = f"""
import os
from mtiprompt.models.cache import ReplyCache
replies = ReplyCache.at({str(folder)!r})
replies.set("before", {{"n": 1}})
child = os.fork()
if child == 0:
    replies._memory.clear()
    assert replies.get("before") == {{"n": 1}}
    replies.set("child", {{"n": 2}})
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert replies.get("child") == {{"n": 2}}
replies.set("after", {{"n": 3}})
assert replies.stats().entries == 3
replies.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


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
        keys |= {model._key(request) for request in requests}
    assert len(keys) == 2 * len(requests)


def test_a_purpose_is_no_part_of_the_key(replies: ReplyCache) -> None:
    """The same question asked for another purpose has the same answer."""
    model = CachedModel(ScriptedModel([]), replies)
    assert model._key(HELLO) == model._key(Request(HELLO.messages, purpose="repair"))


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
    assert (version, len(total), reply["text"]) == ("mti1", 32, "text")
