"""The disk under the reply cache: diskcache, held to text. The only importer of diskcache.

diskcache unpickles whatever row says that it is a pickle, so that anyone who can write to the
folder can run code in every reader (CVE-2025-69872; no release mends it, and its `JSONDisk` does it
too). The `Disk` used here stores text only and refuses everything else before it is looked at.

Out of here come `sqlite3.Error`, `OSError` and, for what is refused, `ValueError`.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal

DATABASE = "cache.db"
LOCK_TIMEOUT = 1.0
"""Seconds to wait while another process writes."""

_OURS = re.compile(r"cache\.db(-wal|-shm|-journal)?|[0-9a-f]{2}")
_ASIDE = re.compile(r"damaged-\d{8}-\d{6}-\d+")
_VALUE_FILE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")


@cache
def text_disk() -> type[Any]:
    """The class `TextDisk`: a `diskcache.Disk` that stores text and refuses everything else."""
    import diskcache

    raw, text = diskcache.core.MODE_RAW, diskcache.core.MODE_TEXT

    class TextDisk(diskcache.Disk):  # type: ignore[misc]
        """Keys and values are text; neither pickle nor any other type is written or read."""

        def put(self, key: Any) -> tuple[str, bool]:
            return _text(key), True

        def get(self, key: Any, raw: Any) -> str:
            return _text(key if raw else None)

        def store(self, value: Any, read: bool, key: Any = diskcache.UNKNOWN) -> Any:
            return super().store(_text(None if read else value), read, key=key)

        def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> str:
            if mode == raw:
                return _text(value)
            if mode != text or read:
                raise ValueError(f"an entry that is no text (mode {mode}) was refused")
            return _text(super().fetch(mode, _own(filename), None, read))

        def remove(self, file_path: str) -> None:
            with suppress(ValueError):
                super().remove(_own(file_path))

    return TextDisk


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError(f"the cache holds text; {type(value).__name__} was refused")
    return value


def is_value_file(name: str) -> bool:
    """Whether a path in the folder, written with slashes, is that of a long entry."""
    return _VALUE_FILE.fullmatch(name) is not None


def _own(filename: str | None) -> str:
    """The name of a file of an entry; a planted one could lie anywhere, and be read or removed."""
    if filename is None or not is_value_file(filename.replace(os.sep, "/")):
        raise ValueError("an entry that names a file elsewhere was refused")
    return filename


def make_database(folder: Path) -> int:
    """Make folder and database, with rights for their owner only, where they are not there.

    Returns:
        The number of the file, by which it is known again.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(folder / DATABASE, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        return os.fstat(file).st_ino
    finally:
        os.close(file)


def put_aside(folder: Path) -> str:
    """Move all files of the cache into a new folder below; gives its name."""
    name = f"damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    (folder / name).mkdir(mode=0o700)
    for path in list(folder.iterdir()):
        if _OURS.fullmatch(path.name):
            path.rename(folder / name / path.name)
    return name


def remove_what_was_put_aside(folder: Path) -> None:
    """Remove the folders that `put_aside` has made."""
    for path in list(folder.iterdir()):
        if _ASIDE.fullmatch(path.name):
            shutil.rmtree(path)


def connect(folder: Path, mode: Literal["rw", "ro"]) -> sqlite3.Connection:
    """A plain connection to a database that is there.

    Where the folder does not let a reader leave the files by which SQLite's readers and writers
    agree (no rights, no room), the database is read as it lies, without what may be in its log.

    Raises:
        FileNotFoundError: There is no database, or none with entries yet.
    """
    if not (folder / DATABASE).exists():
        raise FileNotFoundError("there is no cache")
    try:
        return _connected(folder, f"mode={mode}")
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR}:
            raise
    return _connected(folder, "mode=ro&immutable=1")


def _connected(folder: Path, how: str) -> sqlite3.Connection:
    made = sqlite3.connect(
        f"{(folder / DATABASE).absolute().as_uri()}?{how}",
        uri=True,
        timeout=LOCK_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if made.execute("SELECT 1 FROM sqlite_master WHERE name = 'Cache'").fetchone() is None:
            raise FileNotFoundError("the cache is just being made")
    except (sqlite3.Error, FileNotFoundError):
        made.close()
        raise
    return made


class Shelf:
    """The entries of a folder, to be read and written by any number of threads and processes.

    Args:
        folder: Where `make_database` has been.
        size_limit: Bytes on disk, above which the oldest entries go; kept in the database. None:
            as the database has it, 1 GiB in a new one.
    """

    def __init__(self, folder: Path, size_limit: int | None) -> None:
        import diskcache

        self._folder = folder
        # diskcache waits 60 s for a lock when it opens, so look first
        look = sqlite3.connect(folder / DATABASE, timeout=LOCK_TIMEOUT, isolation_level=None)
        with closing(look):
            look.execute("BEGIN IMMEDIATE")
            look.execute("ROLLBACK")
        # what was tampered with in the table of settings does not count, the limit excepted
        settings = dict(diskcache.DEFAULT_SETTINGS)
        settings["sqlite_mmap_size"] = 0  # a file cut off while it is mapped kills the process
        settings["sqlite_cache_size"] = 16  # pages of 4 kB, for each thread; more gain nothing
        if size_limit is None:
            del settings["size_limit"]
        else:
            settings["size_limit"] = size_limit
        self._cache = diskcache.Cache(
            str(folder), timeout=LOCK_TIMEOUT, disk=text_disk(), **settings
        )

    def get(self, key: str) -> str | None:
        """The entry of a key; reading waits for no writer."""
        entry: str | None = self._cache.get(key)
        return entry

    def set(self, key: str, entry: str) -> None:
        """Store an entry; a few of the oldest go if there is no room."""
        with _plain_errors():
            self._cache.set(key, entry)

    def limit(self, size: int) -> None:
        """Change the size limit, also for those who open the folder from now on."""
        self._cache.size_limit = size
        with closing(connect(self._folder, "rw")) as connection:
            connection.execute("UPDATE Settings SET value = ? WHERE key = 'size_limit'", (size,))

    def clear(self) -> int:
        """Remove all entries; gives how many there were."""
        with _plain_errors():
            removed: int = self._cache.clear()
        return removed

    def shrink(self) -> None:
        """Wipe what was removed out of the database and its log."""
        with closing(connect(self._folder, "rw")) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close what this thread has open."""
        self._cache.close()


class ReadShelf:
    """The entries of a folder, to be read only; nothing in the folder is changed.

    Args:
        folder: Where there is a cache.
    """

    def __init__(self, folder: Path) -> None:
        self._disk = text_disk()(str(folder))
        self._connection = connect(folder, "ro")
        self._lock = threading.Lock()

    def get(self, key: str) -> str | None:
        """The entry of a key."""
        select = "SELECT mode, filename, value FROM Cache WHERE key = ? AND raw = 1"
        with self._lock:
            row = self._connection.execute(select, (key,)).fetchone()
        if row is None:
            return None
        mode, filename, value = row
        with suppress(OSError):  # its file is gone
            entry: str = self._disk.fetch(mode, filename, value, False)
            return entry
        return None

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()


@contextmanager
def _plain_errors() -> Iterator[None]:
    """SQLite's own error, where diskcache calls whatever keeps it from writing a time-out."""
    import diskcache

    try:
        yield
    except diskcache.Timeout as error:
        cause: BaseException | None = error
        while isinstance(cause, diskcache.Timeout):
            cause = cause.__context__
        raise cause or TimeoutError("locked by another process") from None


TROUBLES = (sqlite3.Error, OSError, ValueError, TypeError, RecursionError)
"""All that goes wrong with a cache."""


def is_damage(error: BaseException) -> bool:
    """Whether an error says that the database is damaged as a whole."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def concerns_folder(error: BaseException) -> bool:
    """Whether an error is about the folder (a lock, rights, room), not about one entry."""
    return isinstance(error, OSError) or hasattr(error, "sqlite_errorcode")
