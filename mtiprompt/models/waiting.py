"""Bells: what one thread or task waits for, and any thread may ring."""

from __future__ import annotations

import math
import threading
import time
from contextlib import suppress
from typing import Protocol


class Bell(Protocol):
    """What can be rung; who waits for it is woken, now or as soon as it waits."""

    @property
    def unheard(self) -> float:
        """Seconds since it rang, if that was not heard yet, else 0; infinite if it never will."""
        ...

    def ring(self) -> None:
        """Wake the one who waits."""
        ...


class ThreadBell:
    """A bell that a thread waits for."""

    unheard = 0.0

    def __init__(self) -> None:
        self._rung = threading.Event()

    def ring(self) -> None:
        """Wake the one who waits."""
        self._rung.set()

    def wait(self, seconds: float) -> None:
        """Wait until it rings, at most so many seconds; the ring is forgotten."""
        self._rung.wait(min(seconds, threading.TIMEOUT_MAX))
        self._rung.clear()


class TaskBell:
    """A bell that a task waits for, in the event loop in which it was made."""

    def __init__(self) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._rung = asyncio.Event()
        self._rang: float | None = None

    @property
    def unheard(self) -> float:
        """Seconds for which the event loop has not turned since it rang; infinite if it ended."""
        if self._loop.is_closed():
            return math.inf
        rang = self._rang
        return 0.0 if rang is None else time.monotonic() - rang

    def ring(self) -> None:
        """Wake the one who waits; whoever rings may be in another thread."""
        if self._rang is None:
            self._rang = time.monotonic()
            with suppress(RuntimeError):  # the loop has ended, and with it the one who waited
                self._loop.call_soon_threadsafe(self._hear)

    def _hear(self) -> None:
        self._rang = None
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """Wait until it rings, at most so many seconds; the ring is forgotten."""
        import asyncio

        with suppress(TimeoutError):
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await self._rung.wait()
        self._rung.clear()
