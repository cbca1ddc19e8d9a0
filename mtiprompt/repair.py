"""Which slots to ask again, together or alone, how often: small policies that combine.

A rung looks at the slots of a call that failed and says which of them to ask again in which calls;
what it leaves out goes on to the next rung, and what no rung takes stays a failure. Good slots are
never asked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, get_args

from mtiprompt.errors import ContentRefused, ContextTooLong, SettingsError
from mtiprompt.result import Failure, FailureKind


class Broken(NamedTuple):
    """A slot that failed.

    Attributes:
        item: The number of its item in the conversation, from 0.
        task: The name of its task.
        failure: Why.
    """

    item: int
    task: str
    failure: Failure


class Asked(NamedTuple):
    """What one call asks for: every task of every item.

    Attributes:
        items: The numbers of the items, from 0.
        tasks: The names of the tasks, in the order of answering.
    """

    items: tuple[int, ...]
    tasks: tuple[str, ...]


class Again(NamedTuple):
    """A call that asks again.

    Attributes:
        asked: What it asks for.
        rung: The number of the rung that judges what it leaves broken.
        sample: The number of the sample: 0 may be answered from a cache, others go past it.
        is_repeated: Whether it is asked a second time, because its reply could not be read at all.
    """

    asked: Asked
    rung: int
    sample: int
    is_repeated: bool = False


class Rung(Protocol):
    """One step of the ladder."""

    @property
    def sample(self) -> int:
        """The number of the sample that its calls ask for."""
        ...

    def __call__(self, asked: Asked, broken: Sequence[Broken]) -> list[Asked]:
        """The calls that ask again for some of the broken slots of a call, each slot at most once.

        Args:
            asked: What the call asked for.
            broken: Its slots that failed.
        """
        ...


@dataclass(frozen=True)
class Together:
    """The broken slots of a call in one call more; those of several items in calls half as large.

    Items whose broken tasks differ go in different calls, since each call asks every task of each
    of its items.
    """

    sample: int = 0

    def __call__(self, asked: Asked, broken: Sequence[Broken]) -> list[Asked]:
        """See `Rung`."""
        tasks_of: dict[int, list[str]] = {}
        for one in broken:
            tasks_of.setdefault(one.item, []).append(one.task)
        items_of: dict[tuple[str, ...], list[int]] = {}
        for item, tasks in tasks_of.items():
            items_of.setdefault(tuple(tasks), []).append(item)
        size = max(1, len(asked.items) // 2)
        calls = [
            Asked(tuple(items[start : start + size]), tasks)
            for tasks, items in items_of.items()
            for start in range(0, len(items), size)
        ]
        return [call for call in calls if call != asked or _may_help(broken)]


@dataclass(frozen=True)
class Alone:
    """Each broken slot in a call of its own."""

    sample: int = 1

    def __call__(self, asked: Asked, broken: Sequence[Broken]) -> list[Asked]:
        """See `Rung`."""
        calls = [Asked((one.item,), (one.task,)) for one in broken]
        return [call for call in calls if call != asked or _may_help(broken)]


def _may_help(broken: Iterable[Broken]) -> bool:
    """Whether the same call once more could go better: the model wrote something to be mended."""
    return not any(_is_too_much(one.failure) for one in broken)


def _is_too_much(failure: Failure) -> bool:
    """Whether the call was refused as a whole, so that only a smaller one can be answered."""
    is_refused = isinstance(failure.error, ContextTooLong | ContentRefused)
    return failure.kind == "refused" or is_refused


def _is_unread(broken: Broken) -> bool:
    """Whether nothing of the reply could be read."""
    failure = broken.failure
    return failure.field is None and failure.kind in {"unreadable", "missing", "cut off"}


def _is_hopeless(failure: Failure) -> bool:
    """Whether asking the model again cannot help: what failed is not its answer."""
    if failure.kind == "call failed":
        return not _is_too_much(failure)
    return failure.kind in {"upstream failed", "budget spent"}


@dataclass(frozen=True)
class Repair:
    """What is done about slots that failed: rungs, tried in order.

    Example:
        >>> import mtiprompt as mti
        >>> policy = mti.Repair.together() + mti.Repair.alone(3)   # the default
        >>> labels_only = policy.only("not an allowed label").at_most(2)
        >>> model = mti.ScriptedModel(['{"urgent": "perhaps"}', '{"urgent": true}'])
        >>> triage = mti.combine("message -> urgent: bool")
        >>> result = triage(message="The kettle is on fire!", model=model, repair=policy)
        >>> result.urgent, result.usage.calls, result.usage.of("repair").calls
        (True, 2, 1)

    Attributes:
        rungs: The steps.
        kinds: The kinds of failure that are asked again; None: all that asking again can mend.
        calls: Calls for the repair of one item at most; None: as many as the rungs ask for.
    """

    rungs: tuple[Rung, ...] = ()
    kinds: frozenset[str] | None = None
    calls: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        object.__setattr__(self, "rungs", tuple(self.rungs))
        if not all(callable(rung) for rung in self.rungs):
            raise SettingsError(f"rungs={self.rungs!r:.80} makes no sense", hint="see Rung")
        if self.kinds is not None:
            given: Any = self.kinds
            kinds = [given] if isinstance(given, str) else list(given)
            object.__setattr__(self, "kinds", frozenset(kinds))
            known = get_args(FailureKind)
            if wrong := sorted(str(kind) for kind in kinds if kind not in known):
                hint = ", ".join(known)
                raise SettingsError(f"there is no failure of the kind {wrong[0]!r}", hint=hint)
        if self.calls is not None:
            _check_number("at_most", self.calls, least=0)

    @staticmethod
    def none() -> Repair:
        """Nothing is asked again."""
        return Repair()

    @staticmethod
    def together(tries: int = 1) -> Repair:
        """The failed slots of a call in one call more, which shows the model what was wrong."""
        _check_number("together", tries, least=1)
        return Repair(tuple(Together(sample) for sample in range(tries)))

    @staticmethod
    def alone(tries: int = 3) -> Repair:
        """Each failed slot in a call of its own, past the cache."""
        _check_number("alone", tries, least=1)
        return Repair(tuple(Alone(sample) for sample in range(1, tries + 1)))

    def __add__(self, other: Repair) -> Repair:
        """First the rungs of this, then those of the other; the limits are those of this."""
        if not isinstance(other, Repair):
            raise SettingsError(f"{other!r:.80} is no repair policy", hint="mti.Repair.alone(3)")
        return replace(self, rungs=self.rungs + other.rungs)

    def only(self, *kinds: FailureKind) -> Repair:
        """The same for failures of these kinds alone.

        Raises:
            SettingsError: There is no such kind.
        """
        return replace(self, kinds=frozenset(kinds))

    def at_most(self, calls: int) -> Repair:
        """The same with a limit on the calls for one item.

        Raises:
            SettingsError: The number is negative.
        """
        return replace(self, calls=calls)

    def again(self, last: Again, broken: Sequence[Broken]) -> list[Again]:
        """The calls that ask again for slots of a call; what is in none of them stays a failure.

        A repair whose reply could not be read at all is asked once more before the next rung: to
        ask for each of its slots alone would make many calls out of one slip.

        Args:
            last: The call, with the first rung to try.
            broken: Its slots that failed.
        """
        asked = last.asked
        left = [one for one in broken if self._takes(one.failure)]
        is_whole = len(left) == len(asked.items) * len(asked.tasks) > 1
        if last.rung and not last.is_repeated and is_whole and all(map(_is_unread, left)):
            return [Again(asked, last.rung, last.sample + 1, is_repeated=True)]
        calls: list[Again] = []
        for number, step in enumerate(self.rungs[last.rung :], start=last.rung):
            if not left:
                break
            for call in _checked(step, step(asked, left), left):
                # while calls get smaller they stay on a rung, whose end is one item
                shrinks = 1 < len(call.items) < len(asked.items)
                calls.append(Again(call, number if shrinks else number + 1, step.sample))
            taken = {(item, task) for one in calls for item in one.asked.items
                     for task in one.asked.tasks}  # fmt: skip
            left = [one for one in left if (one.item, one.task) not in taken]
        return calls

    def _takes(self, failure: Failure) -> bool:
        known = self.kinds is None or failure.kind in self.kinds
        return known and not _is_hopeless(failure)


def _checked(step: Rung, calls: list[Asked], broken: Sequence[Broken]) -> list[Asked]:
    """The calls of a rung, each for broken slots and none for a slot twice.

    Raises:
        SettingsError: They are not.
    """
    places = [(item, task) for call in calls for item in call.items for task in call.tasks]
    known = {(one.item, one.task) for one in broken}
    if len(set(places)) < len(places) or not set(places) <= known:
        raise SettingsError(f"{step!r:.80} asks for a slot twice, or for one that is not broken")
    return calls


def _check_number(name: str, number: Any, *, least: int) -> None:
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise SettingsError(f"{name}({number!r}) makes no sense", hint=f"a number from {least} on")


DEFAULT = Repair.together() + Repair.alone(3)
"""What is done where no argument says otherwise."""
