"""The reply cache: texts on disk through diskcache, with a small memory in front.

diskcache unpickles whatever row says that it is a pickle, so that anyone who can write to the
folder can run code in every reader (CVE-2025-69872; no release mends it, and its `JSONDisk` does it
too). The `Disk` used here stores text only and refuses everything else before it is looked at.

A cache must never fail a call: whatever goes wrong in here is a miss, and one warning.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.wire import Reply, Request, Usage, canonical

logger = logging.getLogger(__name__)

FORMAT = "mti1"
"""The version of keys and entries; another version finds nothing of this one."""
SIZE_LIMIT = 1 << 30
"""Bytes on disk, above which the oldest entries go."""
LOCK_TIMEOUT = 1.0
"""Seconds to wait while another process writes."""
PAUSE = 5.0
"""Seconds for which a folder is left alone after it could not be used."""
MEMORY_ENTRIES = 1024
MEMORY_TEXT = 1 << 15
"""Entries kept in memory, and the longest of them: together at most 32 MB of text."""


class CacheStats(NamedTuple):
    """What a cache holds.

    Attributes:
        entries: Replies.
        bytes: Space on disk.
        folder: Where.
    """

    entries: int
    bytes: int
    folder: Path


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


def _own(filename: str | None) -> str:
    """The name of a file of an entry; a planted one could lie anywhere, and be read or removed."""
    if not re.fullmatch(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val", filename or ""):
        raise ValueError("an entry that names a file elsewhere was refused")
    return filename or ""


class ReplyCache:
    """Texts by key, in a folder that several threads and processes may share.

    Made by `ReplyCache.at`, which gives one for each folder. The folder is opened at the first use.

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
        size_limit: Bytes on disk.
    """

    def __init__(self, folder: Path, *, size_limit: int = SIZE_LIMIT) -> None:
        self.folder = folder
        self._size_limit = size_limit
        self._file = folder / "cache.db"
        self._size_limit = size_limit
        self._memory: OrderedDict[str, str] = OrderedDict()
        self._warned: set[str] = set()
        self._paused_until = 0.0
        self._disk: Any = None
        self._opened: int | None = None  # the number of the file that was opened
        self._parents: Any = None
        self._pid = os.getpid()
        self._lock = threading.RLock()

    @staticmethod
    def at(folder: Path | str, *, size_limit: int = SIZE_LIMIT) -> ReplyCache:
        """The cache of a folder, the same for all who ask in this process."""
        place = Path(folder).expanduser().absolute()
        with _CACHES_LOCK:
            if place not in _CACHES:
                _CACHES[place] = ReplyCache(place, size_limit=size_limit)
            return _CACHES[place]

    def get(self, key: str) -> dict[str, Any] | None:
        """The value of a key, a new object each time; None if there is none that is sound."""
        text = self._memory.get(key)
        if text is None:
            text = self._read(key)
            if text is None:
                return None
            self._remember(key, text)
        else:
            with suppress(KeyError):  # another thread may just have pushed it out
                self._memory.move_to_end(key)
        value: dict[str, Any] = json.loads(text)
        return value

    def set(self, key: str, value: dict[str, Any]) -> None:
        """Store a value of plain JSON data."""
        with self._guarded("written"):
            text = _json(value)
            self._remember(key, text)
            if time.monotonic() >= self._paused_until and (disk := self._open()) is not None:
                disk.set(key, _sealed(key, text))

    def stats(self) -> CacheStats:
        """What the cache holds on disk."""
        found = CacheStats(0, 0, self.folder)
        with self._guarded("read"):
            if self._file.exists() and (disk := self._open()) is not None:
                found = CacheStats(len(disk), int(disk.volume()), self.folder)
        return found

    def clear(self) -> int:
        """Remove all entries; gives how many there were on disk."""
        removed = 0
        self._memory.clear()
        with self._guarded("cleared"):
            if self._file.exists() and (disk := self._open()) is not None:
                removed = disk.clear()
                with closing(sqlite3.connect(self._file, timeout=LOCK_TIMEOUT)) as connection:
                    connection.execute("VACUUM")  # what was removed must not linger in the file
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return removed

    def close(self) -> None:
        """Close the files and forget what is in memory; the next use opens them again."""
        with self._lock:
            if self._disk is not None and self._pid == os.getpid():
                self._disk.close()
                self._disk = None
            self._memory.clear()

    def _read(self, key: str) -> str | None:
        with self._guarded("read"):
            disk = self._open()
            entry = None if disk is None else disk.get(key)
            if entry is not None:
                return _unsealed(key, entry)
        return None

    def _remember(self, key: str, text: str) -> None:
        if len(text) <= MEMORY_TEXT:
            self._memory[key] = text
            while len(self._memory) > MEMORY_ENTRIES:
                with suppress(KeyError):
                    self._memory.popitem(last=False)

    # --- the folder, and trouble with it ------------------------------------------------------

    def _open(self) -> Any:
        """The open cache; None while the folder is left alone."""
        here = os.getpid()
        if here != self._pid:  # forked: connections and locks are the parent's
            self._parents, self._disk, self._pid = self._disk, None, here
            self._lock = threading.RLock()
        if self._disk is not None or time.monotonic() < self._paused_until:
            return self._disk
        with self._lock:
            if self._disk is None:
                self._disk = self._opened_disk()
            return self._disk

    def _opened_disk(self) -> Any:
        import diskcache

        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))
        self._opened = self._file.stat().st_ino
        # diskcache waits 60 s for a lock when it opens, so look first
        look = sqlite3.connect(self._file, timeout=LOCK_TIMEOUT, isolation_level=None)
        with closing(look):
            look.execute("BEGIN IMMEDIATE")
            look.execute("ROLLBACK")
        return diskcache.Cache(
            str(self.folder),
            timeout=LOCK_TIMEOUT,
            disk=text_disk(),
            size_limit=self._size_limit,
            sqlite_mmap_size=0,  # a file cut off while it is mapped kills the process
        )

    @contextmanager
    def _guarded(self, doing: str) -> Iterator[None]:
        """Nothing that goes wrong with the cache comes out."""
        try:
            yield
        except _troubles() as error:
            if _is_damage(error):
                self._put_aside(error)
                return
            if not isinstance(error, ValueError | TypeError):
                self._paused_until = time.monotonic() + PAUSE
            self._warn(doing, error)

    def _warn(self, doing: str, error: BaseException) -> None:
        if doing not in self._warned:
            self._warned.add(doing)
            logger.warning(
                "the reply cache at %s cannot be %s (%s); calls go on without it",
                self.folder, doing, error,
            )  # fmt: skip

    def _put_aside(self, error: BaseException) -> None:
        """Move the damaged files into a folder beside the new ones."""
        with self._lock:
            damaged, self._disk = self._disk, None
            if damaged is not None:
                with suppress(sqlite3.Error):
                    damaged.close()
            try:
                if self._file.stat().st_ino != self._opened:
                    return  # another process has done so
                name = f"damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
                aside = self.folder / name
                aside.mkdir(mode=0o700)
                for path in list(self.folder.iterdir()):
                    if _OURS.fullmatch(path.name):
                        path.rename(aside / path.name)
            except OSError as trouble:
                self._paused_until = time.monotonic() + PAUSE
                self._warn("mended", trouble)
                return
        logger.warning(
            "the reply cache at %s is damaged (%s); it was moved to %s, and a new one begins",
            self.folder, error, aside.name,
        )  # fmt: skip


_CACHES: dict[Path, ReplyCache] = {}
_CACHES_LOCK = threading.Lock()
_OURS = re.compile(r"cache\.db(-wal|-shm|-journal)?|[0-9a-f]{2}")


@cache
def _troubles() -> tuple[type[Exception], ...]:
    import diskcache

    return (sqlite3.Error, OSError, ValueError, TypeError, diskcache.Timeout)


def _is_damage(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


# --- entries ----------------------------------------------------------------------------------


def _json(value: dict[str, Any]) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps(value, separators=(",", ":"))
    return text


def _sum(key: str, text: str) -> str:
    return hashlib.blake2b(f"{key}\n{text}".encode(), digest_size=16).hexdigest()


def _sealed(key: str, text: str) -> str:
    """An entry: JSON of its version, its sum (over the key too, so none can be moved), its text."""
    return f'["{FORMAT}","{_sum(key, text)}",{text}]'


_HEAD = re.compile(rf'\["{FORMAT}","([0-9a-f]{{32}})",')


def _unsealed(key: str, entry: str) -> str | None:
    """The text of an entry; None if it is of another version."""
    head = _HEAD.match(entry)
    if head is None:
        if entry.startswith('["mti'):
            return None
        raise ValueError("an entry is no entry of ours")
    text = entry[head.end() : -1]
    if _sum(key, text) != head[1]:
        raise ValueError("an entry is damaged")
    return text


class CachedModel(Wrapper):
    """A model that looks requests up before it asks.

    What was asked is stored by `keep`, which the engine calls once a reply has validated: a reply
    that does not parse is asked for again.

    Example:
        >>> import tempfile
        >>> import mtiprompt as mti
        >>> from mtiprompt.models.cache import CachedModel, ReplyCache
        >>> replies = ReplyCache.at(tempfile.mkdtemp())
        >>> model = CachedModel(mti.ScriptedModel(["Good day."]), replies)
        >>> request = mti.Request((mti.Message("user", "Hello"),))
        >>> model.keep(request, model.complete(request))
        >>> again = model.complete(request)
        >>> again.text, again.from_cache, again.usage.cost
        ('Good day.', True, 0.0)
        >>> replies.close()

    Args:
        inner: Whom to ask.
        replies: Where to look.
    """

    def __init__(self, inner: LanguageModel, replies: ReplyCache) -> None:
        super().__init__(inner)
        self.replies = replies
        # what is the same in every key is digested once
        self._head = hashlib.sha256(canonical([FORMAT, inner.identity]).encode())

    def complete(self, request: Request) -> Reply:
        """Look the request up, else ask."""
        return self._found(request) or self.inner.complete(request)

    async def acomplete(self, request: Request) -> Reply:
        """As `complete`; looking up takes less time than a change of thread."""
        return self._found(request) or await self.inner.acomplete(request)

    def keep(self, request: Request, reply: Reply) -> None:
        """Store a reply that has validated."""
        if not reply.from_cache:
            value = {
                "text": reply.text,
                "finish_reason": reply.finish_reason,
                "usage": reply.usage.plain(),
                "model": reply.model,
                "details": reply.details,
            }
            self.replies.set(self._key(request), value)
        self.inner.keep(request, reply)

    def _key(self, request: Request) -> str:
        digest = self._head.copy()
        digest.update(request.key.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def _found(self, request: Request) -> Reply | None:
        began = time.monotonic()
        value = self.replies.get(self._key(request))
        if value is None:
            return None
        seconds = time.monotonic() - began
        return Reply(
            text=value["text"],
            finish_reason=value["finish_reason"],
            usage=Usage(hits=1, seconds=seconds),
            model=value["model"],
            details=value["details"],
        )
