"""Which tasks may share a call at all, and what to try next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mtiprompt.combine import Combined, waves
from mtiprompt.errors import DataError, PlanError

Grouping = tuple[tuple[str, ...], ...]
"""The tasks of each call, in the order of the program."""


class Pins:
    """What the user has settled.

    Args:
        program: The program.
        together: Tasks that share a call, whatever is measured.
        apart: Tasks of which no two share a call.

    Raises:
        DataError: A name is no task, or two pins contradict each other.
    """

    def __init__(
        self,
        program: Combined,
        together: Iterable[Sequence[str]] = (),
        apart: Iterable[Sequence[str]] = (),
    ) -> None:
        self.program = program
        self.together = tuple(tuple(one) for one in together)
        self.apart = tuple(tuple(one) for one in apart)
        for name in {name for one in (*self.together, *self.apart) for name in one}:
            if name not in program.tasks:
                hint = f"tasks: {', '.join(program.tasks)}"
                raise DataError(f"{name!r} is pinned, which is no task", hint=hint)
        if not self.allows(self.split()):
            raise DataError("together= and apart= contradict each other, or the dependencies")

    def split(self) -> Grouping:
        """The finest grouping: every task alone but for those that are pinned together."""
        return self.merged([])

    def merged(self, groups: Iterable[Iterable[str]]) -> Grouping:
        """Every task alone, but those of these groups, and those pinned together, in one call."""
        home = {name: {name} for name in self.program.order}
        for group in (*self.together, *groups):
            joined = set().union(*(home[name] for name in group))
            for name in joined:
                home[name] = joined
        seen: list[set[str]] = []
        for name in self.program.order:
            if home[name] not in seen:
                seen.append(home[name])
        return tuple(tuple(name for name in self.program.order if name in group) for group in seen)

    def allows(self, grouping: Grouping) -> bool:
        """Whether a grouping respects what is pinned apart, and the dependencies."""
        for group in grouping:
            if any(len(set(group) & set(one)) > 1 for one in self.apart):
                return False
        try:
            waves(self.program, grouping)
        except PlanError:
            return False
        return True
