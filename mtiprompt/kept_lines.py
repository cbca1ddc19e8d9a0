"""Values kept line by line, so that long work that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from mtiprompt.errors import DataError
from mtiprompt.files import cut_last_line
from mtiprompt.settings import expanded

T = TypeVar("T")


def digest(*parts: Any) -> str:
    """What a line is found by: it changes with anything that its value depends on."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


class KeptLines(Generic[T]):
    """Values by key, one a line of a file, for any number of threads of one process.

    Args:
        path: The file; it is made, for its owner's eyes only. None: nothing is kept.
        what: What a line is about, as an error names it: "an experiment".
        plain: A value as plain JSON data.
        read: The reverse; for data of another kind it raises KeyError, TypeError, ValueError or
            AttributeError.

    Raises:
        DataError: The file cannot be read or written, or has a line of something else.
    """

    def __init__(
        self,
        path: Path | None,
        what: str,
        plain: Callable[[T], Any],
        read: Callable[[Any], T],
    ) -> None:
        self._path = None if path is None else expanded(path)
        self._plain = plain
        self._kept: dict[str, T] = {}
        self._lock = threading.Lock()
        for number, line in enumerate(self._lines(), start=1):
            try:
                value = json.loads(line)
                self._kept[str(value["key"])] = read(value["value"])
            except (ValueError, KeyError, TypeError, AttributeError):
                raise DataError(
                    f"{path}, line {number}, is no line of {what}",
                    hint="give another folder, or delete the file",
                ) from None

    def _lines(self) -> list[bytes]:
        if self._path is None:
            return []
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            cut_last_line(self._path)  # of a process that was killed while it wrote
            return self._path.read_bytes().splitlines()
        except OSError as error:
            raise self._lost(error) from None

    def get(self, key: str) -> T | None:
        """The value of a key, if it is there."""
        return self._kept.get(key)

    def add(self, key: str, value: T) -> None:
        """Keep a value.

        Raises:
            DataError: It cannot be written.
        """
        self._kept[key] = value
        if self._path is None:
            return
        line = json.dumps({"key": key, "value": self._plain(value)})
        try:
            with self._lock, self._path.open("a", encoding="ascii") as file:
                file.write(line + "\n")
        except OSError as error:
            raise self._lost(error) from None

    def _lost(self, error: OSError) -> DataError:
        return DataError(f"cannot write {self._path}: {error.strerror}")
