"""The answer of a task with several outputs, or of one whose output has a name of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


class Values:
    """The output fields of one task, by attribute or by key; `vars(values)` gives them all.

    It has no public methods, so that no field name can collide with one.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        vars(self).update(fields)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refused: answers are not changed."""
        raise AttributeError("the answers of a result cannot be changed")

    def __delattr__(self, name: str) -> None:
        """Refused: answers are not changed."""
        raise AttributeError("the answers of a result cannot be changed")

    def __getitem__(self, name: str) -> Any:
        """The value of a field."""
        return vars(self)[name]

    def __iter__(self) -> Iterator[str]:
        """The names of the fields, in order."""
        return iter(vars(self))

    def __len__(self) -> int:
        """The number of fields."""
        return len(vars(self))

    def __eq__(self, other: object) -> bool:
        """Equal to other `Values` with the same fields."""
        return isinstance(other, Values) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """As `Values(label='spam')`."""
        return f"Values({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"
