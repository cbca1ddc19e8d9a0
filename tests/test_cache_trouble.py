"""The reply cache in trouble: a miss and one warning, never a failed call."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt.models.cache import ReplyCache
from mtiprompt.models.cache.disk import text_disk
from mtiprompt.testing import ChatServer
from mtiprompt.testing.server import Received
from tests.conftest_cache import LONG, database, outcome, start, warnings_in, works_on
from tests.conftest_cache import folder as folder
from tests.conftest_cache import replies as replies

# --- damage -----------------------------------------------------------------------------------


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


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_that_is_removed_while_open(again: bool, folder: Path) -> None:
    """What is stored afterwards is on disk, also where another process has made a new cache."""
    replies = ReplyCache(folder)
    replies.set("old", {"text": "old"})
    shutil.rmtree(folder)
    if again:
        other = ReplyCache(folder)
        other.set("other", {"text": "other"})
        other.close()
    replies.set("new", {"text": "new"})
    replies.set("long", {"text": LONG})
    replies.close()
    assert replies.get("new") == {"text": "new"}
    assert replies.get("long") == {"text": LONG}
    assert replies.get("old") is None
    assert replies.get("other") == ({"text": "other"} if again else None)
    replies.close()


def test_a_missing_file_is_a_miss(folder: Path, replies: ReplyCache) -> None:
    """An entry whose file is gone is a miss."""
    replies.set("key", {"text": LONG})
    for file in folder.rglob("*.val"):
        file.unlink()
    assert replies.get("key") is None


# --- a folder that cannot be written ----------------------------------------------------------


@contextmanager
def nobody() -> Iterator[None]:
    """Without the rights of the administrator, who may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    text_disk()  # whom it imports may lie where nobody else may read
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def protect(folder: Path, *, on: bool = True) -> None:
    """Take the right to write away from all that is in a folder, or give it back."""
    for path in (folder, *folder.rglob("*")):
        right = stat.S_IWUSR if not on else 0
        path.chmod((0o555 if path.is_dir() else 0o444) | right)


def contents(folder: Path) -> dict[Path, bytes]:
    """All files of a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_empty_folder_that_cannot_be_written(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nothing can be made, calls go on, with one warning."""
    protect(place)
    with nobody():
        works_on(ReplyCache(place))
        works_on(ReplyCache(place / "below"))
    assert ["cannot be" in told for told in warnings_in(caplog)] == [True, True]
    assert list(place.iterdir()) == []
    protect(place, on=False)


KEEPER = """
import sys
from mtiprompt.models.cache import ReplyCache
replies = ReplyCache.at(sys.argv[1])
replies.set("short", {"text": "there"})
replies.set("long", {"text": "long " * 20_000})
if sys.argv[2] == "gone":
    replies.close()
print("written", flush=True)
sys.stdin.read()
replies.close()
"""


@pytest.mark.parametrize("writer", ["gone", "open"])
def test_a_folder_that_cannot_be_written_is_read(
    writer: str, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its entries are found, also what a writer has only in its log; one warning, no change."""
    keeper = start(KEEPER, place / "replies", writer)
    assert keeper.stdout is not None
    assert keeper.stdout.readline() == "written\n"
    before = contents(place)
    assert (place / "replies" / "cache.db-wal" in before) == (writer == "open")
    protect(place)
    with nobody():
        replies = ReplyCache(place / "replies")
        works_on(replies)
        assert replies.get("short") == {"text": "there"}
        assert replies.get("long") == {"text": LONG}
        assert replies.get("other") is None
        assert replies.stats().entries == 2
        assert replies.verify().sound == 2
        replies.set("short", {"text": "new"})
        assert replies.get("short") == {"text": "new"}
        replies.close()
        assert replies.get("short") == {"text": "there"}
        assert replies.clear() == 0
        assert replies.get("short") == {"text": "there"}
    written, cleared = warnings_in(caplog)
    assert "cannot be written" in written
    assert "still read" in written
    assert "cannot be cleared" in cleared
    assert contents(place) == before
    protect(place, on=False)
    replies._no_write_before = 0
    replies.set("short", {"text": "new"})  # the folder has become writable
    replies.close()
    assert replies.get("short") == {"text": "new"}
    replies.close()
    assert outcome(keeper) == ""


def test_damage_in_a_folder_that_cannot_be_written(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Damage that nobody here can mend costs no call and no more than two warnings."""
    (place / "cache.db").write_bytes(b"no database " * 500)
    protect(place)
    with nobody():
        replies = ReplyCache(place)
        works_on(replies)
        replies.set("key", {"n": 1})
        assert replies.get("other") is None
    assert ["cannot be" in told for told in warnings_in(caplog)] == [True, True]
    assert [path.name for path in place.iterdir()] == ["cache.db"]
    protect(place, on=False)


def test_asked_to_read_only(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`read_only=True` leaves a folder alone that could be written, without a warning."""
    writer = ReplyCache.at(folder)
    writer.set("short", {"text": "there"})
    writer.set("long", {"text": LONG})
    replies = ReplyCache.at(folder, read_only=True)
    assert replies is ReplyCache.at(folder, read_only=True)
    assert replies is not writer
    assert replies.get("short") == {"text": "there"}
    assert replies.get("long") == {"text": LONG}
    writer.set("later", {"text": "later"})
    assert replies.get("later") == {"text": "later"}
    works_on(replies)
    replies.set("mine", {"text": "in memory"})
    assert replies.get("mine") == {"text": "in memory"}
    replies.close()
    assert replies.get("mine") is None
    assert replies.stats().entries == 3
    assert replies.verify(repair=True).sound == 3
    assert warnings_in(caplog) == []
    assert replies.clear() == 0
    (told,) = warnings_in(caplog)
    assert "cannot be cleared" in told
    assert writer.stats().entries == 3
    replies.close()
    writer.close()


def test_read_only_damage_is_left_where_it_is(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who may only read reports damage and moves nothing."""
    folder.mkdir()
    (folder / "cache.db").write_bytes(b"no database " * 500)
    replies = ReplyCache(folder, read_only=True)
    works_on(replies)
    assert replies.verify(repair=True).problem
    assert [path.name for path in folder.iterdir()] == ["cache.db"]
    (told,) = warnings_in(caplog)
    assert "not a database" in told


def test_read_only_without_a_cache(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where there is nothing to read, there is one warning, and nothing is made."""
    works_on(ReplyCache(folder, read_only=True))
    assert not folder.exists()
    assert len(warnings_in(caplog)) == 1


def test_no_folder_at_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where a file is in the way, calls go on, with one warning."""
    (tmp_path / "file").write_text("in the way")
    replies = ReplyCache(tmp_path / "file" / "replies")
    works_on(replies)
    assert replies.stats().entries == 0
    assert replies.clear() == 0
    assert len(warnings_in(caplog)) == 1


# --- a full disk ------------------------------------------------------------------------------

FULL = """
import os, resource, sys
from pathlib import Path
from mtiprompt.models.cache import ReplyCache
from tests.conftest_cache import works_on

how, place = sys.argv[1], Path(sys.argv[2])
if how == "file limit":
    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
    def free():
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
else:
    ballast = place / "ballast"
    def fill():
        try:
            with ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        except OSError:
            pass
    def free():
        ballast.unlink()

replies = ReplyCache(place / "replies")
for number in range(40):
    replies.set(str(number), {"text": str(number) * 200})
fill()
for number in range(400):
    replies.set("more", {"text": f"{number}" * 1000})
replies.set("long", {"text": "long" * 50_000})
works_on(replies)
another = ReplyCache(place / "replies")
works_on(another)
for one in (replies, another):  # what is there is still read
    one._memory.clear()
    assert [one.get(str(number)) for number in range(40)] == [
        {"text": str(number) * 200} for number in range(40)
    ]
print("now there is room", file=sys.stderr)
free()
for one, key in ((replies, "one"), (another, "another")):
    one._no_write_before = 0
    one.set(key, {"text": key})
    one.close()
found = ReplyCache(place / "replies")
assert found.get("one") == {"text": "one"}
assert found.get("another") == {"text": "another"}
assert found.get("39") == {"text": "39" * 200}
check = found.verify()
assert check.healthy, check
found.close()
"""


@pytest.mark.parametrize("how", ["file limit", "small disk"])
def test_full_disk(how: str, tmp_path: Path) -> None:
    """On a full disk calls go on with one warning, what is there is read, and room is used again.

    The small disk is a file system of 2 MB in a name space of its own; where none may be mounted,
    files may not grow, as in the other case.
    """
    mount = "mount -t tmpfs -o size=2m tmpfs "
    alone = ("unshare", "-m", "sh", "-c")
    try:
        subprocess.run([*alone, f"{mount} '{tmp_path}'"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        how = "file limit"
    before = (*alone, f'{mount} \'{tmp_path}\' && exec "$0" "$@"')
    process = start(FULL, how, tmp_path, before=before if how == "small disk" else ())
    out, err = process.communicate()
    assert (process.returncode, out) == (0, ""), err
    full, room = err.split("now there is room\n")
    assert len(full.splitlines()) == 2, err  # one for each of the two caches
    assert full.count("cannot be written") == 2
    assert room == ""


# --- several at once --------------------------------------------------------------------------


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
        assert opening.get("key") == {"text": "there"}
        assert time.monotonic() - began < 4
        connection.execute("ROLLBACK")
    assert len(warnings_in(caplog)) == 2
    assert opening.get("key") == {"text": "there"}
    first.close()
    opening.close()


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
    for writer in [start(WRITER, folder, name) for name in "ab"]:
        outcome(writer)
    replies = ReplyCache(folder)
    for name in "ab":
        assert [replies.get(f"{name}-{n}") for n in range(100)] == [{"n": n} for n in range(100)]
    replies.close()


BUSY = """
import sys, time
from mtiprompt.models.cache import ReplyCache
replies = ReplyCache.at(sys.argv[1])
print("begun", flush=True)
until = time.monotonic() + 1.5
number = 0
while time.monotonic() < until:
    number += 1
    replies.set("key", {"n": number, "long": "x" * 40_000 * (number % 2)})
    replies._memory.clear()
    found = replies.get("key")
    assert found is None or found["n"] == number
replies.set("last", {"n": number})
replies.close()
"""


def test_clearing_while_another_writes(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A cache that is cleared again and again serves another process all the while."""
    busy = start(BUSY, folder)
    assert busy.stdout is not None
    assert busy.stdout.readline() == "begun\n"
    replies = ReplyCache(folder)
    while busy.poll() is None:
        replies.clear()
        time.sleep(0.05)
    assert outcome(busy) == ""
    assert warnings_in(caplog) == []
    assert replies.verify().healthy
    replies.set("mine", {"n": 1})
    replies.close()
    assert replies.get("mine") == {"n": 1}
    replies.close()


def ask_all(base_url: str, folder: Path, calls: int) -> mti.Usage:
    """Ask about so many messages through the cache; gives what was used."""
    program = mti.combine("message -> mood: str", "message -> length: int")
    model = mti.Model("openai/any", api_base=base_url, api_key="k", cache=folder)
    rows = ({"message": f"message {number}"} for number in range(calls))
    usage = mti.Usage()
    for result in program.map(rows, model=model, concurrency=4):
        result.unwrap()
        usage += result.usage
    assert model.cache is not None
    model.cache.close()
    return usage


ASK_ALL = """
import sys
from pathlib import Path
from tests.test_cache_trouble import ask_all
usage = ask_all(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
print(usage.calls, usage.hits)
"""
CALLS = 200
IN_FLIGHT = 2 * 4
"""Calls that `map` has open with a concurrency of 4: in flight, or back and not yet taken."""


def test_killed_in_the_middle(folder: Path) -> None:
    """After a `kill -9` nothing is paid twice but what was in flight, and the cache is sound."""
    killed_in_the_middle(folder, CALLS)


def killed_in_the_middle(folder: Path, calls: int) -> None:
    """The same for any number of calls."""

    def answer(received: Received) -> dict[str, Any]:
        mood = LONG if received.number % 25 == 0 else "calm"  # long ones have files of their own
        return {"mood": mood, "length": received.number}

    with ChatServer(answer) as server:
        first = start(ASK_ALL, server.base_url, folder, calls)
        while len(server.requests) < calls // 2:
            assert first.poll() is None, first.communicate()
            time.sleep(0.002)
        first.kill()
        out, _ = first.communicate()
        assert (first.returncode, out) == (-9, "")
        sent = len(server.requests)
        assert calls // 2 <= sent < calls
        asked, hits = map(int, outcome(start(ASK_ALL, server.base_url, folder, calls)).split())
        assert asked + hits == calls
        assert asked == len(server.requests) - sent
        assert len(server.requests) - calls <= IN_FLIGHT
    replies = ReplyCache(folder)
    check = replies.verify()
    assert (check.sound, check.damaged, check.problem) == (check.entries, (), "")
    assert replies.stats().entries == calls
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
    assert outcome(start(program)) == ""
