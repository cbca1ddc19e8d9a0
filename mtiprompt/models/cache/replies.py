"""The reply cache: texts by key, on disk, with a small memory in front.

A cache must never fail a call: whatever goes wrong in here is a miss, and one warning.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from mtiprompt import settings
from mtiprompt.errors import SettingsError
from mtiprompt.models.cache.check import CacheCheck, CacheStats, Inspection, count
from mtiprompt.models.cache.disk import (
    DATABASE,
    TROUBLES,
    ReadShelf,
    Shelf,
    concerns_folder,
    connect,
    is_damage,
    make_database,
    put_aside,
    remove_what_was_put_aside,
)
from mtiprompt.models.cache.entry import as_text, sealed, unsealed

logger = logging.getLogger(__name__)

PAUSE = 5.0
"""Seconds for which a folder is left alone after it could not be used."""
MEMORY_ENTRIES = 4096
MEMORY_TEXT = 1 << 13
"""Entries kept in memory, and the longest of them: together at most 32 MB of text."""


class ReplyCache:
    """Texts by key, in a folder that several threads and processes may share.

    Made by `ReplyCache.at`, which gives one for each folder. The folder is opened at the first use.
    One that cannot be written is read all the same.

    Example:
        >>> import tempfile
        >>> from mtiprompt.models.cache import ReplyCache
        >>> replies = ReplyCache.at(tempfile.mkdtemp())
        >>> replies.set("key", {"text": "Hello"})
        >>> replies.get("key"), replies.get("other"), replies.stats().entries
        ({'text': 'Hello'}, None, 1)
        >>> replies.clear()
        1
        >>> replies.close()

    Args:
        folder: Where; made with rights for its owner only.
        size_limit: Bytes on disk, above which the oldest entries go. The folder keeps it; None is
            what it has, 1 GiB in a new one.
        read_only: Whether to leave the folder as it is. What is set is then found in this process
            only.

    Raises:
        SettingsError: The limit makes no sense.
    """

    def __init__(
        self, folder: Path, *, size_limit: int | None = None, read_only: bool = False
    ) -> None:
        self.folder = folder
        self.read_only = read_only
        self._size_limit = _checked(size_limit)
        self._file = folder / DATABASE
        self._memory: OrderedDict[str, str] = OrderedDict()
        self._warned: set[str] = set()
        self._no_read_before = 0.0
        self._no_write_before = 0.0
        self._shelf: Shelf | ReadShelf | None = None
        self._inode: int | None = None  # of the database, if it was opened to be written
        self._parents: object = None
        self._pid = os.getpid()
        self._lock = threading.RLock()

    @staticmethod
    def at(
        folder: Path | str, *, size_limit: int | None = None, read_only: bool = False
    ) -> ReplyCache:
        """The cache of a folder, the same for all who ask in this process.

        Args:
            folder: Where.
            size_limit: As for the class. It changes that of a cache that is there already: the last
                one given holds.
            read_only: As for the class.
        """
        place = settings.expanded(folder).absolute()
        made = ReplyCache(place, size_limit=size_limit, read_only=read_only)
        found = _CACHES.setdefault((str(place), read_only), made)
        if size_limit is not None:
            found.limit(size_limit)
        return found

    def get(self, key: str) -> dict[str, Any] | None:
        """The value of a key, a new object each time; None if there is none that is sound."""
        text = self.find(key)
        if text is None:
            return None
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):  # whoever stored it
            return None
        return value if isinstance(value, dict) else None

    def find(self, key: str) -> str | None:
        """The value of a key as JSON text; None if there is none that is sound."""
        try:
            text = self._memory[key]
            self._memory.move_to_end(key)
        except KeyError:  # or another thread has just pushed it out
            found = self._read(key)
            if found is not None:
                self._remember(key, found)
            return found
        return text

    def set(self, key: str, value: dict[str, Any]) -> None:
        """Store a value of plain JSON data."""
        with self._guarded("written"):
            text = as_text(value)
            self._remember(key, text)
            if _is_past(self._no_write_before) and (shelf := self._to_write()) is not None:
                shelf.set(key, sealed(key, text))

    def stats(self) -> CacheStats:
        """What the cache holds on disk."""
        found = CacheStats(0, 0, self.folder)
        mode: Literal["rw", "ro"] = "ro" if self.read_only else "rw"
        with (
            self._guarded("read"),
            suppress(FileNotFoundError),
            closing(connect(self.folder, mode)) as connection,
        ):
            found = count(self.folder, connection)
        return found

    def clear(self) -> int:
        """Remove all entries, also from databases that were put aside as damaged.

        Others who use the folder go on; what they have in memory they keep.

        Returns:
            How many entries there were on disk, replies and slots.
        """
        removed = 0
        self._memory.clear()
        with self._guarded("cleared"):
            if self._file.exists():
                shelf = self._to_write()
                if shelf is None:
                    raise PermissionError("it is not open to be written")
                removed = shelf.clear()
                remove_what_was_put_aside(self.folder)
                shelf.shrink()
        return removed

    def verify(self, *, repair: bool = False) -> CacheCheck:
        """Look at every entry on disk; it takes as long as reading them all.

        Args:
            repair: Whether to remove what is damaged. A database that is damaged as a whole is put
                aside, and a new one begins.
        """
        found = CacheCheck(self.folder)
        write = repair and not self.read_only
        try:
            inode = self._file.stat().st_ino
            with closing(connect(self.folder, "rw" if write else "ro")) as connection:
                inspection = Inspection(self.folder, connection)
                found = inspection.run()
                if repair and (found.damaged or found.strays):
                    inspection.mend()
                    found = found._replace(repaired=True)
        except FileNotFoundError:
            return found
        except TROUBLES as error:
            found = found._replace(problem=str(error))
            if write and is_damage(error):
                self._inode = inode
                found = found._replace(repaired=self._put_aside(error))
        return found

    def limit(self, size: int) -> None:
        """Change the size limit from now on; other processes follow when they open the folder.

        A folder above it shrinks as it is written: ten old entries go for each new one.

        Raises:
            SettingsError: It makes no sense.
        """
        before, self._size_limit = self._size_limit, _checked(size)
        with self._guarded("limited"):
            if size != before and isinstance(self._shelf, Shelf):
                self._shelf.limit(size)

    def close(self) -> None:
        """Close the files and forget what is in memory; the next use opens them again."""
        with self._lock:
            if self._shelf is not None and self._pid == os.getpid():
                self._shelf.close()
                self._shelf = None
            self._memory.clear()

    def _read(self, key: str) -> str | None:
        try:
            shelf = self._to_read()
            entry = None if shelf is None else shelf.get(key)
            return None if entry is None else unsealed(key, entry)
        except TROUBLES as error:
            self._trouble("read", error)
        return None

    def _remember(self, key: str, text: str) -> None:
        if len(text) <= MEMORY_TEXT:
            self._memory[key] = text
            while len(self._memory) > MEMORY_ENTRIES:
                with suppress(KeyError):
                    self._memory.popitem(last=False)

    # --- the folder ---------------------------------------------------------------------------

    def _to_read(self) -> Shelf | ReadShelf | None:
        """The open entries; None while the folder is left alone."""
        here = os.getpid()
        if here != self._pid:  # forked: connections and locks are the parent's
            self._parents, self._shelf, self._pid = self._shelf, None, here
            self._lock = threading.RLock()
        if self._shelf is not None or not _is_past(self._no_read_before):
            return self._shelf
        with self._lock:
            if self._shelf is None:
                self._shelf = self._opened()
            return self._shelf

    def _to_write(self) -> Shelf | None:
        """The entries, opened to be written; None if they cannot be, or must not."""
        shelf = None if self.read_only else self._to_read()
        # what was in the way may be gone, or the folder: an open file is written all the same
        if isinstance(shelf, ReadShelf) or (shelf is not None and self._is_gone()):
            with self._lock:
                if self._shelf is shelf:
                    self._drop()
                    self._shelf = self._opened()
                shelf = self._shelf
        return shelf if isinstance(shelf, Shelf) else None

    def _is_gone(self) -> bool:
        """Whether the open database is no longer the one in the folder; takes a microsecond."""
        try:
            return self._file.stat().st_ino != self._inode
        except OSError:
            return True

    def _opened(self) -> Shelf | ReadShelf:
        self._inode = None
        if not self.read_only and _is_past(self._no_write_before):
            try:
                self._inode = make_database(self.folder)
                return Shelf(self.folder, self._size_limit)
            except (sqlite3.Error, OSError) as error:
                if is_damage(error) or not self._file.exists():
                    raise
                self._inode = None
                self._no_write_before = time.monotonic() + PAUSE
                self._warn("written", error)
        return ReadShelf(self.folder)

    def _drop(self) -> None:
        shelf, self._shelf = self._shelf, None
        if shelf is not None:
            with suppress(sqlite3.Error):
                shelf.close()

    # --- trouble with it ----------------------------------------------------------------------

    @contextmanager
    def _guarded(self, doing: str) -> Iterator[None]:
        """Nothing that goes wrong with the cache comes out."""
        try:
            yield
        except TROUBLES as error:
            self._trouble(doing, error)

    def _trouble(self, doing: str, error: Exception) -> None:
        if is_damage(error) and self._inode is not None:
            self._put_aside(error)
            return
        if is_damage(error):  # or it looks so to one who reads without seeing the writers
            with self._lock:
                self._drop()
        if concerns_folder(error):
            self._pause()
        self._warn(doing, error)

    def _pause(self) -> None:
        """Leave the folder alone for a while; if it is open, it is still read."""
        self._no_write_before = time.monotonic() + PAUSE
        if self._shelf is None:
            self._no_read_before = self._no_write_before

    def _warn(self, doing: str, error: Exception) -> None:
        if doing not in self._warned:
            self._warned.add(doing)
            logger.warning(
                "the reply cache at %s cannot be %s (%s); %s",
                self.folder, doing, error, _GOES_ON.get(doing, "calls go on without it"),
            )  # fmt: skip

    def _put_aside(self, error: Exception) -> bool:
        """Begin anew beside the damaged files; whether that went well."""
        with self._lock:
            self._drop()
            try:
                if self._file.stat().st_ino != self._inode:
                    return True  # another process has done so
                name = put_aside(self.folder)
            except OSError as trouble:
                self._pause()
                self._warn("mended", trouble)
                return False
        logger.warning(
            "the reply cache at %s is damaged (%s); it was moved to %s, and a new one begins",
            self.folder, error, name,
        )  # fmt: skip
        return True


def _is_past(moment: float) -> bool:
    return time.monotonic() >= moment


_CACHES: dict[tuple[str, bool], ReplyCache] = {}
_GOES_ON = {
    "written": "what is there is still read, new replies are not kept",
    "cleared": "its entries stay",
    "limited": "it keeps the limit that it has",
}


def _checked(size_limit: int | None) -> int | None:
    if size_limit is not None and size_limit < 1:
        raise SettingsError(f"size_limit={size_limit} makes no sense", hint="give bytes above 0")
    return size_limit
