"""The same items through several ways of answering, which take turns."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from os import PathLike
from typing import TypeVar

from mtiprompt.errors import IncompleteRun
from mtiprompt.evaluation.outcome import Outcome
from mtiprompt.models.resume import go_on, is_refused, named

W = TypeVar("W", bound=Hashable)
B = TypeVar("B")

GIVEN_UP = 3
"""Blocks in a row without an answer after which a way is asked no more."""


def in_turns(
    ways: Sequence[W],
    blocks: Iterable[B],
    ask: Callable[[W, B], Iterable[Outcome] | None],
    progress: Callable[[], None],
) -> dict[W, dict[str, Outcome]]:
    """Take every block through all ways, and begin with another way in each block.

    So warm-up and drift favour none.

    Args:
        ways: The ways.
        blocks: The blocks.
        ask: What becomes of a block in a way; None: there is nothing to ask yet.
        progress: Called after every item in every way.

    Returns:
        For each way the outcomes by item id; some are lacking after an outage.
    """
    found: dict[W, dict[str, Outcome]] = {way: {} for way in ways}
    missed = dict.fromkeys(ways, 0)
    for turn, block in enumerate(blocks):
        place = turn % len(ways)
        for way in (*ways[place:], *ways[:place]):
            if missed[way] >= GIVEN_UP or (outcomes := ask(way, block)) is None:
                continue
            missed[way] += 1
            for outcome in outcomes:
                found[way][outcome.id] = outcome
                missed[way] = 0 if outcome.outage is None else missed[way]
                progress()
    return found


def complete(
    ids: Sequence[str],
    found: Mapping[W, Mapping[str, Outcome]],
    record: str | PathLike[str] | None,
    what: str = "items",
) -> None:
    """See to it that every item has a score in every way: an outage is none.

    Args:
        ids: Of the items.
        found: As `in_turns` gives it.
        record: Where replies are kept, if they are.
        what: What the items are called.

    Raises:
        IncompleteRun: It names the items that lack.
    """
    sound = [{one.id for one in rows.values() if one.outage is None} for rows in found.values()]
    lacking = [one for one in ids if not all(one in rows for rows in sound)]
    if not lacking:
        return
    outages = [(one.id, one.outage) for rows in found.values() for one in rows.values()
               if one.outage]  # fmt: skip
    outages.sort(key=lambda one: not is_refused(one[1].error))  # of those the reason is needed
    why = f", as {outages[0][1].message}" if outages else ": the budget is spent"
    raise IncompleteRun(
        f"{len(lacking)} of {len(ids)} {what} have no answer{why}: {named(lacking)}",
        items=lacking,
        hint=go_on(record, ((id, outage.error) for id, outage in outages)),
    )
