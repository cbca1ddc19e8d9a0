"""What a program gives back: an answer or a failure for every task, and what it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from pydantic import BaseModel

from mtiprompt.declare import as_task, is_signature
from mtiprompt.errors import ContentRefused, ContextTooLong, IncompleteResult, MTIError
from mtiprompt.tasks import Task, as_identifier
from mtiprompt.wire import Reply, Request, Usage

if TYPE_CHECKING:
    from mtiprompt.combine import Combined

T = TypeVar("T")

FailureKind = Literal[
    "missing",
    "wrong type",
    "constraint broken",
    "not an allowed label",
    "cut off",
    "duplicate",
    "unreadable",
    "refused",
    "upstream failed",
    "call failed",
    "budget spent",
]


@dataclass(frozen=True)
class Answer(Generic[T]):
    """A slot that was filled.

    Attributes:
        value: The validated answer.
        fields: Its output fields as plain JSON data.
        notes: What had to be done to read it, such as `"Positive." read as "positive"`, and where
            it may be cut, as it fills a cap that nobody declared; empty for an answer that was
            right as it came.
        reasoning: The reason that the model wrote before it, if it was asked for one.
    """

    value: T
    fields: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    reasoning: str | None = None


@dataclass(frozen=True)
class Failure:
    """A slot that was not filled.

    Attributes:
        kind: What went wrong.
        message: What the validator or the call said, in one line.
        raw: The text that was seen in its place, shortened; None if there was none.
        error: The error of the call, where the call failed.
        field: The output field that it concerns, where it is one.
        of_item: Whether all that was asked of its item failed so, in a reply about several.
    """

    kind: FailureKind
    message: str
    raw: str | None = None
    error: MTIError | None = None
    field: str | None = None
    of_item: bool = False

    @property
    def is_outage(self) -> bool:
        """Whether the call failed for a reason that says nothing about the model's answers.

        A short context and a content policy are the model's own: to ask again would not help.
        """
        own = isinstance(self.error, ContextTooLong | ContentRefused)
        return self.kind in {"call failed", "budget spent"} and not own

    def __str__(self) -> str:
        """Kind and message in one line."""
        return f"{self.kind}: {self.message}"


@dataclass(frozen=True)
class Call:
    """One call as it was made.

    Attributes:
        tasks: The tasks that were asked for.
        request: What was sent.
        reply: What came back; None if the call failed.
        error: Why it failed.
        model: The name of the model.
        usage: What it cost. Of a call about several items each result has a share, so that the sum
            over all results is exact.
    """

    tasks: tuple[str, ...]
    request: Request
    reply: Reply | None
    error: MTIError | None = None
    model: str = ""
    usage: Usage = field(default_factory=Usage)


class Result:
    """The answers for one item.

    `result.field` is the value of an output field whose name is unique in the program;
    `result["task"]` and `result[task]` are the answer of a task, typed in the second form.
    Besides those, only `usage`, `calls`, `failures`, `get` and `unwrap` are public here, because
    every other name may be an output field; `slots(result)` gives the rest.
    """

    def __init__(
        self,
        program: Combined,
        slots: Mapping[str, Answer[Any] | Failure],
        calls: tuple[Call, ...],
        usage: Usage,
    ) -> None:
        self._program = program
        self._slots = slots
        self._calls = calls
        self._usage = usage

    @property
    def usage(self) -> Usage:
        """What the item cost."""
        return self._usage

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every prompt and raw reply, in the order in which the replies came."""
        return self._calls

    @property
    def failures(self) -> dict[str, Failure]:
        """The failed slots by task name; empty if there is none."""
        return {name: slot for name, slot in self._slots.items() if isinstance(slot, Failure)}

    def unwrap(self) -> dict[str, Any]:
        """The answers by task name.

        Raises:
            IncompleteResult: Some slot failed.
        """
        if failures := self.failures:
            raise _incomplete(failures)
        return {name: self[name] for name in self._slots}

    def get(self, name: str, default: Any = None) -> Any:
        """The value of an output field, or the answer of a task; the default if it failed.

        A name that is both, as that of every task made of a string with one output, is the field,
        so that `result.get(name)` is `result.name`.

        Raises:
            KeyError: The program has neither.
        """
        name = as_identifier(name)
        is_field = len(self._owners(name)) == 1 or name not in self._slots
        try:
            return self._field(name) if is_field else self[name]
        except IncompleteResult:
            return default

    @overload
    def __getitem__(self, task: Task[T]) -> T: ...
    @overload
    def __getitem__(self, task: str | type) -> Any: ...
    @overload
    def __getitem__(self, task: Callable[..., T]) -> T: ...
    def __getitem__(self, task: Any) -> Any:
        """The answer of a task, by its name, by the task itself, or by what declared it.

        Raises:
            KeyError: The program has no such task, or several of one declaration.
            IncompleteResult: The slot failed.
        """
        name = self._name(task)
        if name not in self._slots:
            raise KeyError(f"no task {name!r}; there are {', '.join(self._slots)}")
        slot = self._slots[name]
        if isinstance(slot, Failure):
            raise _incomplete({name: slot})
        return slot.value

    def _name(self, task: Any) -> str:
        tasks = self._program.tasks
        if isinstance(task, str):
            return str(as_identifier(task))
        if isinstance(task, Task) and task.name in tasks:
            return task.name
        made = [one.name for one in tasks.values() if _is_made_of(one, task)]
        if len(made) == 1:
            return made[0]
        if isinstance(task, type) and issubclass(task, BaseModel) and not is_signature(task):
            which = f"tasks {' and '.join(made)} have" if made else "no task has"
            raise KeyError(f"{which} the model {task.__name__!r}")
        return as_task(task).name

    def _owners(self, name: str) -> list[str]:
        """The tasks that have an output field of a name."""
        return [
            task.name
            for task in self._program.tasks.values()
            if name in {one.name for one in task.outputs}
        ]

    def _field(self, name: str) -> Any:
        owners = self._owners(name)
        if len(owners) != 1:
            which = f"tasks {' and '.join(owners)} have" if owners else "no task has"
            raise KeyError(f"{which} an output field {name!r}")
        slot = self._slots[owners[0]]
        if isinstance(slot, Failure):
            raise _incomplete({owners[0]: slot})
        task = self._program.tasks[owners[0]]
        return task.values(slot.value)[name]

    def __getattr__(self, name: str) -> Any:
        """The value of an output field whose name is unique in the program.

        Raises:
            AttributeError: There is no such field, or there are several.
            IncompleteResult: The slot failed.
        """
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._field(name)
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __iter__(self) -> Iterator[str]:
        """The names of the tasks."""
        return iter(self._slots)

    def __len__(self) -> int:
        """The number of tasks."""
        return len(self._slots)

    def __repr__(self) -> str:
        """The answers and failures, as `Result(urgent=True, product=<missing: ...>)`."""
        parts = [
            f"{name}=<{slot}>" if isinstance(slot, Failure) else f"{name}={slot.value!r}"
            for name, slot in self._slots.items()
        ]
        return f"Result({', '.join(parts)})"


def _is_made_of(task: Task[Any], declared: Any) -> bool:
    """Whether a task was declared by a value, or is another name of a task that was."""
    source = task.source
    while isinstance(source, Task) and source is not declared:
        source = source.source
    return source is not None and source is declared


def slots(result: Result) -> Mapping[str, Answer[Any] | Failure]:
    """The slots of a result by task name, with the notes on every answer."""
    return result._slots  # the two live together; see Result


def plain(result: Result) -> dict[str, Any]:
    """A result as plain JSON data: `answers` by task name, and `failures` if there are any.

    The answer of a task with one output is the bare value, else an object with its fields.
    """
    answers = {
        name: next(iter(slot.fields.values())) if len(slot.fields) == 1 else dict(slot.fields)
        for name, slot in slots(result).items()
        if isinstance(slot, Answer)
    }
    failures = {
        name: {"kind": failure.kind, "message": failure.message, "raw": failure.raw}
        for name, failure in result.failures.items()
    }
    return {"answers": answers, **({"failures": failures} if failures else {})}


def _incomplete(failures: Mapping[str, Failure]) -> IncompleteResult:
    kinds = Counter(failure.kind for failure in failures.values())
    if len(failures) == 1:
        [(name, failure)] = failures.items()
        message = f"task {name!r} failed: {failure}"
    else:
        counted = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
        message = f"{len(failures)} tasks failed ({counted}): {', '.join(failures)}"
    return IncompleteResult(
        message, failures=dict(failures), hint="result.failures has all of them; .get() gives None"
    )
