"""Which slot of the engine answers a call.

A slot keeps the last prompt that it has read, so a prompt that begins alike is read from there on
only. llama.cpp's own choice, the first slot of which a tenth is alike, lets all kinds of prompt
take turns in one slot as soon as they share an introduction; each call then reads its instructions
anew. Here every kind of prompt keeps a slot of its own as long as there are enough.

A kind is recognised by what its calls have in common, all messages but the last. Calls at the same
time spread over unused slots; with none left, a call waits for the slot of its kind rather than
take a slot that another kind has used of late.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

FRESH = 2
"""A slot is left to its kind for so many calls, times the number of slots, after its last one."""


@dataclass(frozen=True)
class Prompt:
    """A prompt as far as slots care.

    Attributes:
        text: All messages in one text.
        constant: How many characters of it, from the start, other calls of its kind share.
    """

    text: str
    constant: int

    @classmethod
    def of(cls, messages: Sequence[dict[str, Any]]) -> Prompt:
        """The prompt of a chat. Of a single message, half is taken to be shared."""
        texts = [f"\x1e{one.get('role')}\x1f{_text(one.get('content'))}" for one in messages]
        whole = "".join(texts)
        return cls(whole, sum(map(len, texts[:-1])) or (len(whole) + 1) // 2)


def _text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, default=str)


def shared(one: str, other: str) -> int:
    """How many characters two texts have in common from the start."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # comparing slices is far quicker than comparing characters
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


@dataclass(eq=False)
class Slot:
    """One slot.

    Attributes:
        number: Its number in the engine.
        prompt: What it has read last; None if nothing.
        used: The call that used it last, counted from 1.
        busy: Whether a call is in it.
    """

    number: int
    prompt: Prompt | None = None
    used: int = 0
    busy: bool = False

    def suits(self, prompt: Prompt) -> int:
        """How much of a prompt is already there; 0 if that is less than the kinds share."""
        if self.prompt is None:
            return 0
        alike = shared(self.prompt.text, prompt.text)
        return alike if alike >= self.prompt.constant else 0


@dataclass(eq=False)
class _Waiter:
    prompt: Prompt
    ready: threading.Event = field(default_factory=threading.Event)
    slot: Slot | None = None


class Slots:
    """The slots of one engine, handed out in the order of asking where that is possible.

    Args:
        number: How many there are.
    """

    def __init__(self, number: int) -> None:
        self._slots = [Slot(place) for place in range(number)]
        self._lock = threading.Lock()
        self._waiting: list[_Waiter] = []
        self._calls = 0

    def take(self, prompt: Prompt, end: float | None, given_up: threading.Event) -> Slot | None:
        """A slot for a prompt, as soon as there is one; None if the caller has given up by then.

        Args:
            prompt: What is to be read.
            end: Moment of `time.monotonic` at which to give up.
            given_up: Set when nobody waits any more.
        """
        waiter = _Waiter(prompt)
        with self._lock:
            self._waiting.append(waiter)
            self._hand_out()
        try:
            wait_for(waiter.ready, end, given_up)
        except BaseException:  # an interrupt between here and there must not lose the slot
            self._leave(waiter)
            if waiter.slot is not None:
                self.give_back(waiter.slot)
            raise
        self._leave(waiter)
        return waiter.slot

    def _leave(self, waiter: _Waiter) -> None:
        with self._lock:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def give_back(self, slot: Slot) -> None:
        """Hand a slot to the next one in the queue that it suits."""
        with self._lock:
            slot.busy = False
            self._hand_out()

    def _hand_out(self) -> None:
        for waiter in list(self._waiting):
            slot = self._choose(waiter.prompt)
            if slot is not None:
                self._calls += 1
                slot.busy, slot.used, slot.prompt = True, self._calls, waiter.prompt
                self._waiting.remove(waiter)
                waiter.slot = slot
                waiter.ready.set()

    def _choose(self, prompt: Prompt) -> Slot | None:
        free = [slot for slot in self._slots if not slot.busy]
        if not free:
            return None
        alike = {slot: slot.suits(prompt) for slot in self._slots}
        if any(alike[slot] for slot in free):
            return max(free, key=lambda slot: (alike[slot], slot.used))
        oldest = min(free, key=lambda slot: slot.used)
        of_late = oldest.used > 0 and self._calls - oldest.used < FRESH * len(self._slots)
        # waiting for the busy slot of its kind spares it, and the other kind, a reading
        return None if of_late and any(alike.values()) else oldest


def wait_for(event: threading.Event, end: float | None, given_up: threading.Event) -> bool:
    """Wait until an event, the end or somebody giving up; whether the event came.

    In short steps: on Windows a lock cannot be interrupted from the keyboard.
    """
    while not event.is_set() and not given_up.is_set():
        left = 0.1 if end is None else min(0.1, end - time.monotonic())
        if left <= 0:
            break
        event.wait(left)
    return event.is_set()
