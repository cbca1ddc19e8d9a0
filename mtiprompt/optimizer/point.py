"""One choice of everything that the optimizer may vary: a frozen, hashable value."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mtiprompt.selection import Select
from mtiprompt.wire import Notation


@dataclass(frozen=True)
class Point:
    """One choice of everything.

    Attributes:
        groups: The tasks of each call in the order of answering; those calls first whose first
            task in the program is first, so that equal ways of running are equal points.
        demos: The ids of the demonstrations, in the order of showing.
        reasoning: For single tasks, whether they write a reason first.
        notation: How the JSON of a reply is spaced; None: as suits the model.
        instructions: For single tasks, the number of the instruction; the others have that of the
            plan to improve on, which is 0.
        select: How demonstrations are chosen anew for each item, in the place of `demos`; None:
            they are not.
    """

    groups: tuple[tuple[str, ...], ...]
    demos: tuple[str, ...] = ()
    reasoning: tuple[tuple[str, bool], ...] = ()
    notation: Notation | None = None
    instructions: tuple[tuple[str, int], ...] = ()
    select: Select | None = None

    def to_json(self) -> str:
        """The point as one line of JSON."""
        value = {
            "groups": self.groups,
            "demos": self.demos,
            "reasoning": dict(self.reasoning),
            "notation": self.notation,
            "instructions": dict(self.instructions),
            **({"select": self.select.as_dict()} if self.select else {}),
        }
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
