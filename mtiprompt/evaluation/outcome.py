"""What became of one item in one arm: plain values that scores and reports are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mtiprompt.result import Call, Failure, Result, plain
from mtiprompt.wire import Usage


@dataclass(frozen=True)
class Outcome:
    """What became of one item.

    Attributes:
        id: The id of the item.
        answers: The answers by task, plain JSON data.
        failures: What went wrong by task: `kind`, `message`, `raw`.
        usage: What the item cost; of a call about several items its share.
        calls: Every prompt and raw reply.
        outage: Why it has no score; None if it has one.
    """

    id: str
    answers: Mapping[str, Any]
    failures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    calls: tuple[Call, ...] = ()
    outage: Failure | None = None


def outcome(id: str, result: Result) -> Outcome:
    """What became of an item.

    Args:
        id: The id of the item.
        result: Its result.
    """
    told = plain(result)
    outages = [one for one in result.failures.values() if one.is_outage]
    return Outcome(
        id,
        told["answers"],
        told.get("failures", {}),
        result.usage,
        result.calls,
        outages[0] if outages else None,
    )


def busy_seconds(outcomes: Iterable[Outcome]) -> float:
    """Seconds during which at least one of the calls of items was under way.

    For calls that follow each other this is their sum. It does not grow when a run is stopped and
    taken up again later.
    """
    spans = {
        (call.reply.details["began"], call.reply.details["seconds"])
        for one in outcomes
        for call in one.calls
        if call.reply is not None and "began" in call.reply.details
    }
    return union(sorted((began, began + seconds) for began, seconds in spans))


def union(spans: Sequence[tuple[float, float]]) -> float:
    """The length that intervals cover together; they are in the order of their beginnings."""
    covered, end = 0.0, float("-inf")
    for low, high in spans:
        covered += max(0.0, high - max(low, end))
        end = max(end, high)
    return covered
