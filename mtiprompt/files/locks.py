"""Locks on open files: the system lets go of them, however the process that has one ends."""

from __future__ import annotations

import sys
from typing import IO, Any

FAR = 1 << 30
"""Where a file is locked under Windows, which lets nobody read what is locked."""


def lock(file: IO[Any]) -> None:
    """Wait until no other process has a file locked, and lock it until it is closed."""
    if sys.platform == "win32":
        while True:
            try:
                _lock_on_windows(file, wait=True)
            except OSError:  # after ten seconds
                continue
            return
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)


def is_taken(file: IO[Any]) -> bool:
    """Whether somebody else has a file locked; else it is locked until it is closed.

    A file system that knows no locks has nothing taken.
    """
    try:
        if sys.platform == "win32":
            _lock_on_windows(file, wait=False)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:
        return False
    return False


if sys.platform == "win32":

    def _lock_on_windows(file: IO[Any], *, wait: bool) -> None:
        import msvcrt
        import os

        os.lseek(file.fileno(), FAR, os.SEEK_SET)
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
