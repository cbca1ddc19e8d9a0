"""Where points may lie, how one moves between them, and the plan of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, get_args

from mtiprompt.combine import Combined, waves
from mtiprompt.demo import Demo
from mtiprompt.errors import DataError, PlanError
from mtiprompt.optimizer.demos import Pool
from mtiprompt.optimizer.point import Point
from mtiprompt.plan import Group, Plan
from mtiprompt.planner.groupings import Pins
from mtiprompt.selection import Select
from mtiprompt.selection.select import Kind
from mtiprompt.wire import NOTATIONS, Notation

if TYPE_CHECKING:
    import numpy as np

Part = Literal["demos", "select", "order", "grouping", "reasoning", "notation", "instructions"]
"""What may be varied."""

USUAL: frozenset[Part] = frozenset({"demos", "select", "order", "instructions"})
"""What is varied if nothing else is said: what costs no further call and few more tokens."""
SELECTED = 0.125
"""The part of the random points whose demonstrations are selected for each item."""


@dataclass(frozen=True)
class Space:
    """The points that there are.

    Attributes:
        program: The program.
        pool: The demonstrations that are fixed or not shown.
        base: The plan to improve on. What is not varied is as it is there; its demonstrations are
            those of the pool.
        most: How many demonstrations there may be.
        vary: What is varied.
        variants: Further instructions by task, each once and none that the base has; the first of
            them has the number 1, that of the base 0.
        notations: Which notations are tried.
        pins: What the user has settled about groupings.
        shelf: The demonstrations that those for an item are selected from.
        embeddings: The static embedding model by which they are selected too.

    Raises:
        DataError: `variants` is no mapping, or a task of it is unknown or has no list of texts, or
            a demonstration of the base is not in the pool, or there may be fewer demonstrations
            than none, or the base selects them for each item and they are to be varied.
    """

    program: Combined
    pool: Pool
    base: Plan
    most: int = 4
    vary: frozenset[Part] = USUAL
    variants: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notations: tuple[Notation | None, ...] = (None, *NOTATIONS)
    pins: Pins | None = None
    shelf: tuple[Demo, ...] = ()
    embeddings: str | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        if unknown := [name for name in self.variants if name not in self.program.tasks]:
            raise DataError(
                f"there are instructions for {unknown[0]!r}, which is no task",
                hint=f"tasks: {', '.join(self.program.tasks)}",
            )
        given: dict[str, Any] = dict(self.variants)
        for name, texts in given.items():
            whole = isinstance(texts, Sequence) and not isinstance(texts, str)
            if not whole or not all(isinstance(one, str) for one in texts):
                raise DataError(
                    f"the instructions for {name!r} are {texts!r:.80}", hint="give a list of texts"
                )
        object.__setattr__(self, "variants", dict(self._different()))
        if self.base.select and self.vary & {"demos", "select"}:
            raise DataError(
                "the plan selects demonstrations for each item, and they are to be varied",
                hint="vary neither demos nor select (--vary order), or start from a plan without "
                "select",
            )
        if self.most < 0:
            raise DataError(f"{self.most} demonstrations are wanted", hint="ask for 0 or more")
        _ = self.start

    def _different(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The further instructions of each task that has some."""
        for name, texts in self.variants.items():
            own = self.base.instruction(self.program, name)
            if found := tuple(one for one in dict.fromkeys(texts) if one != own):
                yield name, found

    @cached_property
    def start(self) -> Point:
        """The point of the base."""
        places = {demo: id for id, demo in zip(self.pool.ids, self.pool.demos, strict=True)}
        if any(demo not in places for demo in self.base.demos):
            raise DataError(
                "the plan shows a demonstration that the pool lacks",
                hint="make the pool of the rows that its demonstrations are from",
            )
        return Point(
            groups=self._canonical(group.tasks for group in self.base.call_groups),
            demos=tuple(places[demo] for demo in self.base.demos),
            reasoning=self.base.reasoning,
            notation=self.base.notation,
        )

    @cached_property
    def selections(self) -> tuple[Select, ...]:
        """The ways of selecting demonstrations for each item, as many as a call may show."""
        if "select" not in self.vary or not self.shelf or not self.most:
            return ()
        models = dict.fromkeys((None, self.embeddings))
        return tuple(Select(kind, self.most, model) for model in models for kind in get_args(Kind))

    # --- what is legal ----------------------------------------------------------------------

    def allows(self, groups: Sequence[Sequence[str]]) -> bool:
        """Whether groups, in this order of answering, keep the dependencies and the pins."""
        grouping = tuple(
            tuple(name for name in self.program.order if name in group) for group in groups
        )
        if self.pins is not None and not self._within_pins(grouping):
            return False
        try:
            waves(self.program, groups)
        except PlanError:
            return False
        return True

    def _within_pins(self, grouping: tuple[tuple[str, ...], ...]) -> bool:
        assert self.pins is not None
        whole = all(any(set(unit) <= set(one) for one in grouping) for unit in self.pins.split())
        return whole and self.pins.allows(grouping)

    def calls(self, point: Point) -> int:
        """How many calls an item takes, without repairs."""
        return len(point.groups)

    def shown_to(self, point: Point, id: str) -> frozenset[str]:
        """The tasks in whose calls a demonstration of a point is shown.

        A call shows only those that have the answers of all its tasks, and of those outside it
        that these build on.
        """
        has = self.pool[id].outputs.keys()
        return frozenset(
            name for group in point.groups if has >= self._needed(group) for name in group
        )

    def _needed(self, group: Sequence[str]) -> set[str]:
        return {*group, *(one for name in group for one in self.program.upstream(name))}

    # --- points ------------------------------------------------------------------------------

    @property
    def has_choice(self) -> bool:
        """Whether there is any point but that of the base."""
        shown = "demos" in self.vary and self.most > 0 and len(self.pool) > 0
        others = chain(self.starts(), self.reshaped(self.start))
        return shown or any(one != self.start for one in others)

    def starts(self, difficulty: Mapping[str, float] | None = None) -> tuple[Point, ...]:
        """Where to begin: the base, the hardest tasks first, and none or selected demonstrations.

        What is not varied is as it is in the base.

        Args:
            difficulty: By task, higher is harder, such as 1 minus its score; without it the
                orders are that of the program and its reverse, as far as dependencies let it.
        """
        bare = [replace(self.start, demos=())] if "demos" in self.vary else []
        found = plain = [self.start, *bare]
        if "order" in self.vary:
            for ordered in self._orders(difficulty):
                found = [*found, *(replace(one, groups=ordered) for one in plain)]
        return tuple(dict.fromkeys([*found, *self.selected(self.start)]))

    def _orders(self, difficulty: Mapping[str, float] | None) -> Iterator[Any]:
        if difficulty:
            yield self.ordered(self.start.groups, lambda name: -difficulty[name])
            return
        place = self.program.order.index
        yield self.ordered(self.start.groups, place)
        yield self.ordered(self.start.groups, lambda name: -place(name))

    def ordered(
        self, groups: Iterable[Sequence[str]], key: Callable[[str], float]
    ) -> tuple[tuple[str, ...], ...]:
        """The same groups with the tasks of the smallest key first, behind what they build on."""
        return self._canonical(self._sorted(group, key) for group in groups)

    def _sorted(self, group: Sequence[str], key: Callable[[str], float]) -> tuple[str, ...]:
        waiting, done = list(group), list[str]()
        while waiting:
            ready = [one for one in waiting if not self.program.upstream(one) & set(waiting)]
            done.append(min(ready, key=key))
            waiting.remove(done[-1])
        return tuple(done)

    def draw(self, rng: np.random.Generator) -> Point:
        """A random point; its demonstrations are rather more than fewer, and may be none."""
        point = self.start
        for _ in range(3 if "grouping" in self.vary and rng.random() < 0.5 else 0):
            moves = list(self._regroupings(point))
            point = moves[rng.integers(len(moves))] if moves else point
        if "order" in self.vary:
            keys = dict(zip(self.program.order, rng.random(len(self.program.order)), strict=True))
            point = replace(point, groups=self.ordered(point.groups, keys.__getitem__))
        if "demos" in self.vary:
            number = int(rng.integers(min(self.most, len(self.pool)) + 1, size=2).max())
            chosen = rng.permutation(len(self.pool))[:number]
            point = replace(point, demos=tuple(self.pool.ids[n] for n in chosen))
        if self.selections and rng.random() < SELECTED:
            found = list(self.selected(point))
            point = found[rng.integers(len(found))]
        for _ in range(len(self.program.tasks)):
            moves = [point, *self._settings(point)]
            point = moves[rng.integers(len(moves))]
        return point

    def selected(self, point: Point) -> Iterator[Point]:
        """A point with its demonstrations selected for each item, in every way that there is."""
        for one in self.selections:
            yield replace(point, demos=(), select=one)

    def reshaped(self, point: Point) -> Iterator[Point]:
        """The points that one move leads to which leaves the demonstrations alone."""
        if "order" in self.vary:
            yield from self._swaps(point)
        if "grouping" in self.vary:
            yield from self._regroupings(point)
        yield from self._settings(point)

    def _swaps(self, point: Point) -> Iterator[Point]:
        """Two neighbouring tasks of a call swapped."""
        for which, group in enumerate(point.groups):
            for n in range(1, len(group)):
                swapped = (*group[: n - 1], group[n], group[n - 1], *group[n + 1 :])
                groups = (*point.groups[:which], swapped, *point.groups[which + 1 :])
                if self.allows(groups):
                    yield replace(point, groups=groups)

    def _regroupings(self, point: Point) -> Iterator[Point]:
        """Two calls merged, or one task, with those pinned to it, in a call of its own."""
        groups = point.groups
        for n, one in enumerate(groups):
            found = []
            for m in range(len(groups)):
                if m != n:
                    rest = [group for place, group in enumerate(groups) if place not in (n, m)]
                    found.append([*rest, (*one, *groups[m])])
            rest = [group for place, group in enumerate(groups) if place != n]
            for unit in dict.fromkeys(map(self._unit, one)):
                if others := tuple(task for task in one if task not in unit):
                    found.append([*rest, others, unit])
            for regrouped in found:
                if self.allows(regrouped):
                    yield replace(point, groups=self._canonical(regrouped))

    def _unit(self, name: str) -> tuple[str, ...]:
        return (name,) if self.pins is None else self.pins.unit(name)

    def _settings(self, point: Point) -> Iterator[Point]:
        """Another notation, or for one task a reason or none, or another instruction."""
        if "notation" in self.vary:
            for notation in self.notations:
                if notation != point.notation:
                    yield replace(point, notation=notation)
        if "reasoning" in self.vary:
            for name in self.program.order:
                on = not self.reasons(point, name)
                pairs = self._told({**dict(point.reasoning), name: on})
                if self._fits(replace(point, reasoning=pairs)):
                    yield replace(point, reasoning=pairs)
        if "instructions" in self.vary:
            yield from self._wordings(point)

    def _wordings(self, point: Point) -> Iterator[Point]:
        """Another instruction for one task."""
        for name, texts in self.variants.items():
            chosen = dict(point.instructions)
            for number in range(len(texts) + 1):
                if number != chosen.get(name, 0):
                    others = {**chosen, name: number}
                    kept = tuple(sorted(pair for pair in others.items() if pair[1]))
                    yield replace(point, instructions=kept)

    def reasons(self, point: Point, name: str) -> bool:
        """Whether a task writes a reason first."""
        return dict(point.reasoning).get(name, self.program.tasks[name].reasoning)

    def _told(self, reasoning: Mapping[str, bool]) -> tuple[tuple[str, bool], ...]:
        """Who gives a reason, so told that equal ways of running are equal points."""
        said = dict(self.start.reasoning)
        pairs = reasoning.items()
        return tuple(
            sorted(
                (name, on)
                for name, on in pairs
                if name in said or on != self.program.tasks[name].reasoning
            )
        )

    def _fits(self, point: Point) -> bool:
        try:
            self.plan(replace(point, select=None))  # without the shelf, which takes long
        except PlanError:
            return False
        return True

    def _canonical(self, groups: Iterable[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
        place = {name: n for n, name in enumerate(self.program.order)}
        return tuple(sorted(map(tuple, groups), key=lambda group: min(place[one] for one in group)))

    # --- plans -------------------------------------------------------------------------------

    def plan(self, point: Point) -> Plan:
        """The plan of a point.

        Raises:
            PlanError: The point does not fit the program.
            DataError: It shows a demonstration that the pool lacks, or has a wording that nobody
                gave.
        """
        models = {frozenset(group.tasks): group.model for group in self.base.call_groups}
        return self.base.replace(
            self.program,
            call_groups=[Group(group, models.get(frozenset(group))) for group in point.groups],
            demos=self.shelf if point.select else [self.pool[id] for id in point.demos],
            select=point.select or self.base.select,
            reasoning=dict(point.reasoning),
            notation=point.notation,
            instructions={**dict(self.base.instructions), **self._chosen(point)},
        )

    def _chosen(self, point: Point) -> dict[str, str]:
        """The instructions of a point that are not those of the base."""
        chosen = {}
        for name, number in point.instructions:
            given = self.variants.get(name, ())
            if not 0 <= number <= len(given):
                raise DataError(
                    f"the point has wording {number} of {name!r}, which has {len(given)}"
                )
            if number:
                chosen[name] = given[number - 1]
        return chosen
