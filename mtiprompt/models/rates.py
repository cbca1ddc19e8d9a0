"""How fast something may be spent: by a limit of one's own, and by what a provider reports."""

from __future__ import annotations

import math
from collections import deque

LONGEST = 86_400.0
"""Seconds, a day: for no longer is a provider believed that there is nothing to be had."""


class Window:
    """What was spent within the last period, which never is more than a limit.

    An amount above the limit may be spent when nothing else was.

    Args:
        limit: What may be spent in a period.
        period: Seconds.
    """

    def __init__(self, limit: float, period: float) -> None:
        self._limit = limit
        self._period = period
        self._spent: deque[list[float]] = deque()  # moment and amount
        self._sum = 0.0

    def wait(self, amount: float, now: float, ahead: float = 0.0) -> float:
        """Seconds until so much may be spent; at least that, if others have to spend before."""
        self._forget(now)
        over = self._sum + ahead + min(amount, self._limit) - self._limit
        if over <= 0:
            return 0.0
        # what is free goes to those ahead now, and is free again after a period; so is all the rest
        whole = max(self._limit, self._sum)
        rounds = math.ceil(over / whole) - 1
        over -= rounds * whole
        for moment, spent in self._spent:
            over -= spent
            if over <= 0:
                return rounds * self._period + moment + self._period - now
        return (rounds + 1) * self._period

    def take(self, amount: float, now: float) -> list[float]:
        """Spend so much; gives the entry, for `correct`."""
        entry = [now, amount]
        self._spent.append(entry)
        self._sum += amount
        return entry

    def correct(self, entry: list[float], amount: float) -> None:
        """Say what an entry has really spent."""
        if self._spent and entry[0] >= self._spent[0][0]:  # else it counts no more
            self._sum += amount - entry[1]
        entry[1] = amount

    def _forget(self, now: float) -> None:
        while self._spent and self._spent[0][0] + self._period <= now:
            self._sum -= self._spent.popleft()[1]


class Reported:
    """What a provider said may still be spent, and by when all of its limit may be again.

    Between the two it is taken to come back evenly.

    Args:
        limit: The whole, if it is known.
        rest: What is left of it.
        reset: Seconds until the whole may be spent again; `LONGEST` at most counts.
        now: When the provider said so.
    """

    def __init__(self, limit: float | None, rest: float, reset: float, now: float) -> None:
        self._gone = 0.0 if limit is None else limit - rest
        self._rest = rest
        self._reset = min(reset, LONGEST)
        self._now = now

    def wait(self, amount: float, now: float) -> float:
        """Seconds until so much may be spent."""
        missing = amount - self._rest
        if missing <= 0:
            return 0.0
        share = min(1.0, missing / self._gone) if self._gone > 0 else 1.0
        return max(0.0, self._now + self._reset * share - now)

    def take(self, amount: float) -> None:
        """Spend so much; a negative amount gives back."""
        self._rest -= amount

    def after(self, earlier: Reported | None) -> Reported:
        """The same report after an earlier one: calls that began since then are not in it yet."""
        if earlier is not None:
            self._rest = min(self._rest, earlier.left(self._now))
        return self

    def left(self, now: float) -> float:
        """What may be spent now, as far as this report tells; infinite when it is too old."""
        if now >= self._now + self._reset:
            return math.inf
        return self._rest + self._gone * (now - self._now) / self._reset
