"""Faults at given rates, drawn so that a run repeats exactly in whatever order requests arrive."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from mtiprompt.errors import DataError
from mtiprompt.testing.faults import Fault
from mtiprompt.testing.received import Received

EARLY = 60
"""Characters of a stream within which chaos breaks it off."""


@dataclass(frozen=True)
class Chaos:
    """Faults at given rates: `ChatServer(faults=Chaos(seed=1, error=0.05, slots=0.02))`.

    What happens to a request follows from the seed, its messages, and how often these have come
    before, so that concurrent runs repeat and a request sent again is drawn anew. A request has at
    most one fault, and beside it each slot of its answer may be corrupt. One for each server,
    because it keeps count.

    Attributes:
        seed: Another seed, other faults.
        slots: The probability that a slot is corrupted, each on its own.
        error: The share of requests answered with status 500.
        limited: ... with status 429.
        dropped: ... with a closed connection; streams break off in the middle.
        hung: ... not at all; streams stop in the middle.
        malformed: ... with prose or broken JSON.
        cut: ... with a part of the text, and `finish_reason` `length`.
        fenced: ... with a code fence and prose around it.
        wrapped: ... under an outer key.
        duplicated: ... with one slot answered twice.
        refused: ... with a refusal.
        retry_after: Seconds that a 429 asks to wait.

    Raises:
        DataError: A rate is below 0, or they are more than 1 together.
    """

    seed: int = 0
    slots: float = 0.0
    error: float = 0.0
    limited: float = 0.0
    dropped: float = 0.0
    hung: float = 0.0
    malformed: float = 0.0
    cut: float = 0.0
    fenced: float = 0.0
    wrapped: float = 0.0
    duplicated: float = 0.0
    refused: float = 0.0
    retry_after: float = 1.0
    _seen: Counter[bytes] = field(default_factory=Counter, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rates = [getattr(self, kind) for kind in KINDS]
        if min(rates) < 0 or sum(rates) > 1 + 1e-9 or not 0 <= self.slots <= 1:
            raise DataError(
                f"the rates of faults make no sense: {self!r}",
                hint="none is below 0; all but slots add up to 1 at most",
            )

    def __call__(self, received: Received) -> Fault | None:
        """The fault of a request that has arrived now."""
        content = json.dumps(received.body.get("messages"), sort_keys=True).encode()
        key = blake2b(content, digest_size=8).digest()
        seed = f"{self.seed}|{key.hex()}|{self._seen[key]}"
        self._seen[key] += 1
        draw = random.Random(seed)
        left = draw.random()
        for kind in KINDS:
            left -= getattr(self, kind)
            if left < 0:
                return self._fault(kind, draw, seed, streams=received.streams)
        return Fault(corrupt=float(self.slots), seed=seed) if self.slots else None

    def _fault(self, kind: str, draw: random.Random, seed: str, *, streams: bool) -> Fault:
        match kind:
            case "error":
                return Fault(500, "The server had an error")
            case "limited":
                wait = {"Retry-After": f"{self.retry_after:g}"}
                return Fault(429, "Rate limit reached", headers=wait)
            case "dropped":
                return Fault(drop_after=draw.randrange(EARLY)) if streams else Fault(drop=True)
            case "hung":
                return Fault(hang_after=draw.randrange(EARLY)) if streams else Fault(hang=True)
            case "cut":
                spoilt: dict[str, Any] = {"truncate": draw.uniform(0.1, 0.9)}
            case _:
                spoilt = _SPOILT[kind]
        return Fault(corrupt=float(self.slots), seed=seed, **spoilt)


_SPOILT: dict[str, dict[str, Any]] = {
    "malformed": {"malform": True},
    "fenced": {"fence": True},
    "wrapped": {"wrap": True},
    "duplicated": {"duplicate": 1},
    "refused": {"refuse": True},
}
KINDS = ("error", "limited", "dropped", "hung", "cut", *_SPOILT)
"""The faults of which a request has at most one, in the order of drawing."""
