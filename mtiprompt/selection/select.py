"""How the demonstrations of an item are chosen: a value, part of a plan."""

from __future__ import annotations

from dataclasses import asdict, dataclass
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
        embeddings: The static embedding model that says how alike words are: a folder, or a name
            on the hub. It needs the extra `embeddings`. None: words are the same or not, and weigh
            by BM25.

    Raises:
        PlanError: There is no such kind, the number is none, or the model no text.
    """

    kind: Kind = "nearest"
    number: int = 4
    embeddings: str | None = None

    def __post_init__(self) -> None:
        """Check the types, so that every plan can be hashed, saved and read."""
        kind, number = _unchecked(self.kind), _unchecked(self.number)
        model = _unchecked(self.embeddings)
        if kind not in get_args(Kind):
            hint = ", ".join(get_args(Kind))
            raise PlanError(f"demonstrations cannot be selected by {kind!r:.80}", hint=hint)
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise PlanError(f"{number!r:.80} demonstrations are selected, expected 1 or more")
        if model is not None and (not isinstance(model, str) or not model.strip()):
            hint = "a folder, or a name on the hub"
            raise PlanError(f"embeddings is {model!r:.80}, expected a model's name", hint=hint)

    @property
    def way(self) -> str:
        """Kind and embedding model in words: `nearest`, `coverage (NAME)`."""
        return self.kind if self.embeddings is None else f"{self.kind} ({self.embeddings})"

    def check(self) -> None:
        """Load what it needs.

        Raises:
            ModelNotFound: There is no such embedding model.
            ModelMisconfigured: The extra is not installed.
        """
        if self.embeddings is not None:
            from mtiprompt.selection.vectors import loaded

            loaded(self.embeddings)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def _unchecked(value: Any) -> Any:
    """A value whose type nobody has checked yet."""
    return value
