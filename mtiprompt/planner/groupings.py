"""Which tasks may share a call at all, and what to try next."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from mtiprompt.combine import Combined, waves
from mtiprompt.errors import DataError, PlanError
from mtiprompt.gate import share_of_alpha
from mtiprompt.tasks import as_identifier

Grouping = tuple[tuple[str, ...], ...]
"""The tasks of each call, in the order of the program."""


def share_of_error(tasks: int, sizes: Sequence[int]) -> float:
    """The part of the error that a grouping may use, whenever and why ever it is tried.

    Groupings are chosen by looking at the rows that they are tested on. So the whole error is dealt
    out before, to all groupings that there are: first by how many tasks stay out of the largest
    call, then by which these are, then among these in the same way. However the search goes, the
    parts of what it tries sum to at most 1.

    Example:
        >>> from mtiprompt.planner.groupings import share_of_error
        >>> [round(1 / share_of_error(4, sizes)) for sizes in ([4], [3], [2], [2, 2], [])]
        [2, 24, 144, 144, 4]

    Args:
        tasks: How many there are; tasks that are pinned together count as one.
        sizes: How many of them each call has, of the calls with more than one.
    """
    if not sizes:
        return 1 / max(1, tasks)
    largest, *others = sorted(sizes, reverse=True)
    out = tasks - largest
    return share_of_alpha(out) / math.comb(tasks, out) * share_of_error(out, others)


def leaders(program: Combined, tasks: Collection[str]) -> list[str]:
    """The tasks of a call that can come first: those that take no answer of the others.

    Args:
        program: The program.
        tasks: The tasks of the call.
    """
    return [name for name in tasks if not program.upstream(name) & {*tasks}]


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
        self.together = tuple(tuple(map(as_identifier, one)) for one in together)
        self.apart = tuple(tuple(map(as_identifier, one)) for one in apart)
        for name in {name for one in (*self.together, *self.apart) for name in one}:
            if name not in program.tasks:
                hint = f"tasks: {', '.join(program.tasks)}"
                raise DataError(f"{name!r} is pinned, which is no task", hint=hint)
        if alone := [one for one in self.apart if len({*one}) == 1]:
            hint = "name two tasks or more of which no two are to share a call"
            raise DataError(f"apart= has the group {[*alone[0]]!r:.80}", hint=hint)
        if not self.allows(self.split()):
            raise DataError("together= and apart= contradict each other, or the dependencies")

    def unit(self, name: str) -> tuple[str, ...]:
        """A task with those that are pinned to it, in the order of the program."""
        return next(group for group in self.split() if name in group)

    def share_of_error(self, grouping: Grouping) -> float:
        """As the function of that name; all that is pinned together is one task."""
        units = self.split()
        sizes = [sum(set(unit) <= set(group) for unit in units) for group in grouping]
        return share_of_error(len(units), [size for size in sizes if size > 1])

    def largest(self, fixed: Iterable[Sequence[str]], wanted: Sequence[str]) -> Grouping:
        """All wanted tasks in one call, or as many as pins and dependencies allow.

        Args:
            fixed: Calls that are settled.
            wanted: Tasks, those first that should rather be in the call.
        """
        whole = self.merged([*fixed, wanted])
        if self.allows(whole):
            return whole
        kept: tuple[str, ...] = ()
        waiting = list(dict.fromkeys(self.unit(name) for name in wanted))
        while fitting := [one for one in waiting if self.allows(self.merged([*fixed, kept + one]))]:
            kept += fitting[0]
            waiting.remove(fitting[0])
        return self.merged([*fixed, kept])

    def first(self, wanted: Sequence[str]) -> Grouping:
        """The first grouping in which some of these tasks share a call; the finest if none may.

        Args:
            wanted: Tasks, those first that should rather be in the call.
        """
        finest = self.split()
        found = (self.largest([], wanted[place:]) for place in range(len(wanted)))
        return next((one for one in found if one != finest), finest)

    def grouping(self, groups: Iterable[Collection[str]]) -> Grouping:
        """Groups with their tasks in the order of the program."""
        return tuple(
            tuple(name for name in self.program.order if name in group) for group in groups
        )

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
        return self.grouping(seen)

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
