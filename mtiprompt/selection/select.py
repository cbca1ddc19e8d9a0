"""How the demonstrations of an item are chosen: a value, part of a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from mtiprompt.errors import PlanError

Kind = Literal["nearest", "coverage"]
"""`nearest`: those most like the item. `coverage`: those that together cover its parts."""


@dataclass(frozen=True)
class Select:
    """How the demonstrations of an item are chosen out of those of the plan.

    Attributes:
        kind: By what they are chosen.
        number: How many are shown at most.

    Raises:
        PlanError: There is no such kind, or the number is none.
    """

    kind: Kind = "nearest"
    number: int = 4

    def __post_init__(self) -> None:
        """Check the types, so that every plan can be hashed, saved and read."""
        kind, number = _unchecked(self.kind), _unchecked(self.number)
        if kind not in get_args(Kind):
            hint = ", ".join(get_args(Kind))
            raise PlanError(f"demonstrations cannot be selected by {kind!r:.80}", hint=hint)
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise PlanError(f"{number!r:.80} demonstrations are selected, expected 1 or more")


def _unchecked(value: Any) -> Any:
    """A value whose type nobody has checked yet."""
    return value
