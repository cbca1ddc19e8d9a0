"""What a cache holds, and whether all of it is sound."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mtiprompt.models.cache.disk import is_value_file, text_disk
from mtiprompt.models.cache.entry import SLOT, unsealed

STRAY_AGE = 3600.0
"""Seconds after which a file that belongs to no entry is a stray; it is written before its row."""


class CacheStats(NamedTuple):
    """What a cache holds.

    Attributes:
        entries: Replies.
        bytes: Space on disk.
        folder: Where.
        slots: Answers that are kept slot by slot, besides the replies.
    """

    entries: int
    bytes: int
    folder: Path
    slots: int = 0


class CacheCheck(NamedTuple):
    """What was found when all entries of a cache were looked at.

    Attributes:
        folder: Where.
        entries: Entries looked at, replies and slots.
        sound: Those that are whole.
        outdated: Those of another version of the library, which are never found.
        damaged: The keys of the others: cut off, changed, moved, no text, or without their file.
        strays: Files that belong to no entry, left by processes that were killed.
        problem: Why the entries could not be looked at, or not be mended; empty if nothing is.
        repaired: Whether what was damaged has been removed, or put aside where it was the database.
    """

    folder: Path
    entries: int = 0
    sound: int = 0
    outdated: int = 0
    damaged: tuple[str, ...] = ()
    strays: int = 0
    problem: str = ""
    repaired: bool = False

    @property
    def healthy(self) -> bool:
        """Whether nothing is damaged now."""
        return self.repaired or not (self.damaged or self.problem)


def count(folder: Path, connection: sqlite3.Connection) -> CacheStats:
    """What the database says that it holds."""

    def one(sql: str, *values: str) -> int:
        return int(connection.execute(sql, values).fetchone()[0])

    setting = "SELECT value FROM Settings WHERE key = ?"
    pages = one("PRAGMA page_count") * one("PRAGMA page_size")
    after = SLOT[:-1] + chr(ord(SLOT[-1]) + 1)  # the index on keys has them together
    slots = one("SELECT COUNT(*) FROM Cache WHERE key >= ? AND key < ?", SLOT, after)
    return CacheStats(one(setting, "count") - slots, pages + one(setting, "size"), folder, slots)


class Inspection:
    """A look at every entry of a database.

    Args:
        folder: Of the cache.
        connection: To its database; one that may write, if anything is to be removed.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self._folder = folder
        self._connection = connection
        # text that is no UTF-8 would end the reading; so it does not fit its sum
        connection.text_factory = lambda data: data.decode(errors="surrogateescape")
        self._disk = text_disk()(str(folder))
        self._bad_rows: list[int] = []

    def run(self) -> CacheCheck:
        """Look at all.

        Raises:
            sqlite3.Error: The database cannot be read, or is damaged as a whole.
        """
        self._check_database()
        files = self._old_files()
        entries, sound, damaged = 0, 0, []
        for row in self._rows():
            files.discard(row[4])
            verdict = self._verdict(row)
            if verdict is False:  # unless another process has just removed or replaced it
                again = list(self._rows(row[0] - 1, row[0]))
                if not again:
                    continue
                verdict = self._verdict(again[0])
            entries += 1
            sound += verdict is True
            if verdict is False:
                self._bad_rows.append(row[0])
                damaged.append(row[1] if isinstance(row[1], str) else f"{row[1]!r:.80}")
        outdated = entries - sound - len(damaged)
        return CacheCheck(self._folder, entries, sound, outdated, tuple(damaged), len(files))

    def mend(self) -> None:
        """Remove the damaged entries that `run` has found, and the strays.

        Raises:
            sqlite3.Error: The database cannot be written.
        """
        for number in self._bad_rows:
            self._remove(number)
        names = {name for (name,) in self._connection.execute("SELECT filename FROM Cache")}
        for name in self._old_files() - names:
            self._disk.remove(name)

    def _remove(self, number: int) -> None:
        """Remove an entry, unless another process has just replaced it by a sound one."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            found = list(self._rows(number - 1, number))
            if found and self._verdict(found[0]) is False:
                self._connection.execute("DELETE FROM Cache WHERE rowid = ?", (number,))
        finally:
            self._connection.execute("COMMIT")
        if found and isinstance(found[0][4], str):
            self._disk.remove(found[0][4])

    def _check_database(self) -> None:
        (said,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
        if said != "ok":
            error = sqlite3.DatabaseError(said)
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error

    def _rows(self, after: int = -1, last: int = 2**62) -> Iterator[tuple[Any, ...]]:
        """All rows, some at a time, so that writers need not wait for the whole."""
        select = (
            "SELECT rowid, key, raw, mode, filename, value FROM Cache"
            " WHERE rowid > ? AND rowid <= ? ORDER BY rowid LIMIT 200"
        )
        while rows := self._connection.execute(select, (after, last)).fetchall():
            yield from rows
            after = rows[-1][0]

    def _verdict(self, row: tuple[Any, ...]) -> bool | None:
        """Whether an entry is sound; None if it is of another version."""
        _, key, raw, mode, filename, value = row
        try:
            text = unsealed(
                self._disk.get(key, raw), self._disk.fetch(mode, filename, value, False)
            )
            return None if text is None else isinstance(json.loads(text), dict)
        except (ValueError, TypeError, OSError, RecursionError):
            return False

    def _old_files(self) -> set[str]:
        """The files of long entries that are not just being written."""
        found = set()
        before = time.time() - STRAY_AGE
        for path in self._folder.glob("??/??/*.val"):
            with suppress(OSError):  # gone
                name = path.relative_to(self._folder)
                if is_value_file(name.as_posix()) and path.stat().st_mtime < before:
                    found.add(str(name))
        return found
