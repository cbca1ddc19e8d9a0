"""One choice of everything that the optimizer may vary: a frozen, hashable value."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from mtiprompt.errors import DataError
from mtiprompt.tasks import first_line
from mtiprompt.wire import Notation


@dataclass(frozen=True)
class Point:
    """One choice of everything.

    Attributes:
        groups: The tasks of each call in the order of answering; those calls first whose first
            task in the program is first, so that equal ways of running are equal points.
        demos: The ids of the demonstrations, in the order of showing.
        tags: For single demonstrations, the tasks that they are shown for; the others are shown
            for all that their rows have gold for.
        reasoning: For single tasks, whether they write a reason first.
        notation: How the JSON of a reply is spaced; None: as suits the model.
        instructions: For single tasks, the number of the instruction; the others have that of the
            plan to improve on, which is 0.
    """

    groups: tuple[tuple[str, ...], ...]
    demos: tuple[str, ...] = ()
    tags: tuple[tuple[str, tuple[str, ...]], ...] = ()
    reasoning: tuple[tuple[str, bool], ...] = ()
    notation: Notation | None = None
    instructions: tuple[tuple[str, int], ...] = ()

    def to_json(self) -> str:
        """The point as one line of JSON."""
        value = {
            "groups": self.groups,
            "demos": self.demos,
            "tags": dict(self.tags),
            "reasoning": dict(self.reasoning),
            "notation": self.notation,
            "instructions": dict(self.instructions),
        }
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Point:
        """The point of a JSON text; the reverse of `to_json`.

        Raises:
            DataError: The text is no point.
        """
        try:
            value = json.loads(text)
            return Point(
                groups=tuple(_names(group) for group in value["groups"]),
                demos=_names(value["demos"]),
                tags=tuple(sorted((id, _names(names)) for id, names in value["tags"].items())),
                reasoning=tuple(sorted((one, bool(on)) for one, on in value["reasoning"].items())),
                notation=value["notation"],
                instructions=tuple(
                    sorted((one, int(number)) for one, number in value["instructions"].items())
                ),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DataError(f"not a point: {first_line(error)}") from None


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TypeError(f"{value!r:.80} stands where a list of names should")
    return tuple(value)
