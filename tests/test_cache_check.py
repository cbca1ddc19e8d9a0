"""The reply cache's size, and the look at all that it holds."""

from __future__ import annotations

import json
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt import errors
from mtiprompt.cli import main
from mtiprompt.models.cache import SLOT, CacheCheck, CachedModel, ReplyCache
from mtiprompt.models.cache.check import STRAY_AGE
from tests.conftest_cache import LONG, database, outcome, start, warnings_in
from tests.conftest_cache import folder as folder
from tests.conftest_cache import replies as replies

# --- size -------------------------------------------------------------------------------------


def kept(folder: Path, names: list[str]) -> list[str]:
    """Which of these keys are on disk."""
    replies = ReplyCache(folder)
    found = [name for name in names if replies.get(name) is not None]
    replies.close()
    return found


def test_the_oldest_go_first(folder: Path) -> None:
    """Above the limit the entries go that were stored first; the newest stay."""
    names = [str(number) for number in range(60)]
    replies = ReplyCache(folder, size_limit=300_000)
    for name in names:
        replies.set(name, {"text": name * 5_000})
        replies.get("0")  # being asked for does not make it newer
    assert replies.stats().bytes < 350_000
    replies.close()
    left = kept(folder, names)
    assert 5 < len(left) < 50
    assert left == names[-len(left) :]


def test_real_replies_beyond_the_limit(folder: Path) -> None:
    """A program that asks about more than fits goes on, and finds what it asked last."""
    program = mti.combine("message -> mood: str", "message -> words: list[str]")
    replies = ReplyCache(folder, size_limit=200_000)
    model = CachedModel(mti.EchoModel(), replies)
    messages = [f"message {number} " * 20 for number in range(600)]
    for message in messages:
        assert program(message=message, model=model).usage.hits == 0
    assert replies.stats().bytes < 250_000
    assert replies.stats().entries < 550
    replies.close()
    assert program(message=messages[-1], model=model).usage.hits == 1
    assert program(message=messages[0], model=model).usage.hits == 0
    assert replies.verify().healthy
    replies.close()


LIMITED = """
import sys
from mtiprompt.models.cache import ReplyCache
replies = ReplyCache.at(sys.argv[1], size_limit=400_000)
for number in range(150):
    replies.set(f"{sys.argv[2]}{number}", {"text": "x" * (40_000 if number % 10 == 0 else 4_000)})
replies.close()
"""


def test_processes_share_the_limit(folder: Path) -> None:
    """Two processes that write at the same time stay under one limit together."""
    for process in [start(LIMITED, folder, name) for name in "ab"]:
        outcome(process)
    replies = ReplyCache(folder)
    assert replies.stats().bytes < 500_000
    assert replies.get("a149") or replies.get("b149")
    assert replies.verify().healthy
    on_disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    replies.close()
    assert on_disk < 500_000 + 4_200_000  # SQLite's log, which does not count, is at most 4 MB


def test_a_folder_keeps_its_limit(folder: Path) -> None:
    """Who gives no limit gets that of the folder, and the last one that is given holds."""

    def limit() -> int:
        with database(folder) as connection:
            (found,) = connection.execute(
                "SELECT value FROM Settings WHERE key = 'size_limit'"
            ).fetchone()
            return int(found)

    def fill(replies: ReplyCache) -> int:
        for number in range(60):
            replies.set(f"{number}", {"text": "x" * 10_000})
        return replies.stats().bytes

    replies = ReplyCache.at(folder)
    replies.set("key", {})
    assert limit() == 1 << 30
    assert ReplyCache.at(folder, size_limit=200_000) is replies
    assert fill(replies) < 250_000
    replies.close()
    other = ReplyCache(folder)
    assert fill(other) < 250_000
    assert limit() == 200_000
    assert ReplyCache.at(folder, size_limit=400_000) is ReplyCache.at(folder) is replies
    assert 300_000 < fill(replies) < 450_000
    assert limit() == 400_000
    replies.close()
    other.close()


@pytest.mark.parametrize("wrong", [0, -1])
def test_a_limit_that_makes_no_sense(folder: Path, wrong: int) -> None:
    """A limit below 1 is refused."""
    with pytest.raises(errors.SettingsError, match="makes no sense"):
        ReplyCache.at(folder, size_limit=wrong)
    with pytest.raises(errors.SettingsError, match="bytes above 0"):
        ReplyCache.at(folder).limit(wrong)


# --- verify -----------------------------------------------------------------------------------

BOMB = pickle.dumps(["a pickle"])
DAMAGES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "changed": ("UPDATE Cache SET value = replace(value, 'n', 'm') WHERE key = 'one'", ()),
    "cut off": ("UPDATE Cache SET value = substr(value, 1, 45) WHERE key = 'one'", ()),
    "moved": (
        "UPDATE Cache SET value = (SELECT value FROM Cache WHERE key = 'two') WHERE key = 'one'",
        (),
    ),
    "of others": ("UPDATE Cache SET value = '{}' WHERE key = 'one'", ()),
    "no text": ("UPDATE Cache SET value = 7 WHERE key = 'one'", ()),
    "no UTF-8": ("UPDATE Cache SET value = CAST(? AS TEXT) WHERE key = 'one'", (b"[\xff\xfe",)),
    "a pickle": ("UPDATE Cache SET mode = 4, value = ? WHERE key = 'one'", (BOMB,)),
    "a planted key": ("UPDATE Cache SET raw = 0, key = ? WHERE key = 'one'", (BOMB,)),
    "elsewhere": ("UPDATE Cache SET mode = 3, filename = '../x.val' WHERE key = 'one'", ()),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_damaged_entries_are_found_and_removed(
    damage: str, folder: Path, replies: ReplyCache, caplog: pytest.LogCaptureFixture
) -> None:
    """`verify` names a damaged entry; with `repair=True` it goes, and all others stay."""
    for name in ("one", "two", f"{SLOT}three"):
        replies.set(name, {"n": name})
    replies.close()
    with database(folder) as connection:
        assert connection.execute(*DAMAGES[damage]).rowcount == 1
    found = replies.verify()
    key = repr(BOMB)[:80] if damage == "a planted key" else "one"
    assert found == CacheCheck(folder, entries=3, sound=2, damaged=(key,))
    assert not found.healthy
    assert replies.get("one") is None  # and others are not affected
    assert replies.get("two") == {"n": "two"}
    mended = replies.verify(repair=True)
    assert mended == found._replace(repaired=True)
    assert mended.healthy
    assert replies.verify() == CacheCheck(folder, entries=2, sound=2)
    assert replies.stats()[0::3] == (1, 1)
    replies.set("one", {"n": "again"})
    replies.close()
    assert replies.get("one") == {"n": "again"}
    assert replies.get(f"{SLOT}three") == {"n": f"{SLOT}three"}
    assert len(warnings_in(caplog)) == (0 if damage == "a planted key" else 1)


def test_files_of_entries(folder: Path, replies: ReplyCache) -> None:
    """Missing and cut-off files are damage; files of no entry are strays; others are not ours."""
    for name in ("whole", "missing", "cut"):
        replies.set(name, {"text": LONG + name})
    with database(folder) as connection:
        rows = connection.execute("SELECT key, filename FROM Cache").fetchall()
    names = dict(rows)
    (folder / names["missing"]).unlink()
    os.truncate(folder / names["cut"], 50_000)
    stray = folder / "ab" / "cd" / f"{'0' * 28}.val"
    young = folder / "ab" / "cd" / f"{'1' * 28}.val"
    foreign = folder / "ab" / "cd" / "mine.val"
    stray.parent.mkdir(parents=True)
    old = time.time() - 2 * STRAY_AGE
    for file in (stray, young, foreign):
        file.write_text("x")
        if file is not young:
            os.utime(file, (old, old))
    os.utime(folder / names["whole"], (old, old))
    found = replies.verify()
    assert set(found.damaged) == {"missing", "cut"}
    assert (found.entries, found.sound, found.strays) == (3, 1, 1)
    assert replies.verify(repair=True).healthy
    assert replies.verify() == CacheCheck(folder, entries=1, sound=1)
    assert [file.exists() for file in (stray, young, foreign)] == [False, True, True]
    replies.close()
    assert replies.get("whole") == {"text": LONG + "whole"}


def test_entries_of_another_version_are_no_damage(folder: Path, replies: ReplyCache) -> None:
    """What an older library has left is counted and left to be pushed out."""
    replies.set("one", {})
    replies.set("two", {})
    with database(folder) as connection:
        connection.execute("UPDATE Cache SET value = replace(value, 'mti2', 'mti1') WHERE rowid=1")
    assert replies.verify(repair=True) == CacheCheck(folder, entries=2, sound=1, outdated=1)


def flip(data: bytearray) -> None:
    """Damage the pages of a database."""
    data[4096:] = bytes(byte ^ 0xFF for byte in data[4096:])


def replace(data: bytearray) -> None:
    """Make it none."""
    data[:] = b"no database " * 500


@pytest.mark.parametrize("damage", [flip, replace])
def test_a_damaged_database_is_put_aside(
    damage: Callable[[bytearray], None], folder: Path, replies: ReplyCache
) -> None:
    """`verify` says that the database is damaged; with `repair=True` a new one begins."""
    for number in range(100):
        replies.set(str(number), {"text": "x" * 500})
    replies.close()
    data = bytearray((folder / "cache.db").read_bytes())
    damage(data)
    (folder / "cache.db").write_bytes(data)
    found = ReplyCache(folder).verify()
    assert found.problem
    assert not found.healthy
    assert [path.name for path in folder.glob("damaged-*")] == []
    mended = replies.verify(repair=True)
    assert mended == found._replace(repaired=True)
    (aside,) = folder.glob("damaged-*")
    assert (aside / "cache.db").exists()
    assert replies.verify() == CacheCheck(folder)
    replies.set("new", {})
    assert replies.verify() == CacheCheck(folder, entries=1, sound=1)
    replies.clear()
    assert not aside.exists()  # nothing of what was cleared lingers


def test_nothing_to_verify(folder: Path, replies: ReplyCache) -> None:
    """A cache that is not there is sound, and is not made."""
    assert replies.verify(repair=True) == CacheCheck(folder)
    assert not folder.exists()


def test_a_folder_of_any_name(tmp_path: Path) -> None:
    """What means something in an address means nothing in the name of a folder."""
    folder = tmp_path / "an ödd?mode=ro&name#%41"
    writer = ReplyCache(folder)
    writer.set("key", {"n": 1})
    assert writer.stats().entries == writer.verify().sound == 1
    reader = ReplyCache(folder, read_only=True)
    assert reader.get("key") == {"n": 1}
    reader.close()
    writer.close()


def test_what_cannot_be_mended_now(folder: Path, replies: ReplyCache) -> None:
    """Where another process holds the database, verifying works and mending says why not."""
    replies.set("one", {})
    with database(folder) as connection:
        connection.execute("UPDATE Cache SET value = '[]'")
        connection.execute("BEGIN IMMEDIATE")
        assert replies.verify().damaged == ("one",)
        found = replies.verify(repair=True)
        connection.execute("ROLLBACK")
    assert (found.damaged, found.problem, found.healthy) == (("one",), "database is locked", False)
    assert replies.verify(repair=True).healthy


def test_verifying_while_others_write(folder: Path) -> None:
    """Looking at all entries disturbs no writer, and finds nothing wrong with what it writes."""
    writers = [start(LIMITED, folder, name) for name in "ab"]
    replies = ReplyCache(folder)
    while any(writer.poll() is None for writer in writers):
        check = replies.verify(repair=True)
        assert (check.damaged, check.problem) == ((), "")
    for writer in writers:
        outcome(writer)
    check = replies.verify()
    assert check == CacheCheck(folder, entries=check.entries, sound=check.entries)
    replies.close()


# --- the command line -------------------------------------------------------------------------


def test_the_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`cache verify` lists damage and exits with 1, mends it on demand and exits with 0."""

    def run(*words: str) -> tuple[int, str]:
        code = main(["cache", *words])
        return code, capsys.readouterr().out

    monkeypatch.setenv("MTIPROMPT_CACHE_DIR", str(folder))
    assert run("verify") == (0, f"0 entries in {folder}: 0 sound\n")
    replies = ReplyCache.at(folder)
    for key in ("one", "two", f"{SLOT}three", f"{SLOT}four"):
        replies.set(key, {"text": key})
    code, said = run("stats")
    assert (code, said.startswith("2 replies and 2 slots, ")) == (0, True)
    code, said = run("stats", "--json")
    assert (json.loads(said)["entries"], json.loads(said)["slots"]) == (2, 2)
    with database(folder) as connection:
        connection.execute("UPDATE Cache SET value = '[]' WHERE key = 'two'")
    code, said = run("verify")
    assert code == 1
    assert said.splitlines() == [
        "damaged: two",
        f"4 entries in {folder}: 3 sound; 1 damaged; `mtiprompt cache verify --repair` mends it",
    ]
    code, said = run("verify", "--json")
    report = json.loads(said)
    assert (code, report["damaged"], report["repaired"]) == (1, ["two"], False)
    code, said = run("verify", "--repair", "--json")
    assert (code, json.loads(said)["repaired"]) == (0, True)
    assert run("verify") == (0, f"3 entries in {folder}: 3 sound\n")
    assert run("clear") == (0, f"removed 1 reply and 2 slots from {folder}\n")
    replies.close()


def test_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` shows how to verify and what the exit codes mean."""
    assert main(["cache", "verify", "--help"]) == 0
    said = capsys.readouterr().out
    assert "$ mtiprompt cache verify --repair" in said
    assert "Exit codes" in said
