"""What was seen of every prompt, kept line by line, so that a run can be taken up again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from mtiprompt.experiments.superposition.score import Score
from mtiprompt.kept_lines import KeptLines

FILE = "scores.jsonl"


@dataclass(frozen=True)
class Seen:
    """What was seen of one prompt.

    Attributes:
        config: The name of its configuration.
        cell: The name of its cell.
        number: The number of the prompt; prompts of one number have the same examples and query.
        label: The task that the query was labelled with; None: no label.
        right: How likely each task's answer is, by task, where it was scored.
        wrong: How likely the same task's answer to another input is, where it was scored.
        likeliest: The likeliest answers, as many as there are tasks, where they were searched for.
        exact: Whether that search was exact.
        tokens: Of the prompt.
        began: When work on it began, in seconds since 1970.
        seconds: What it took.
    """

    config: str
    cell: str
    number: int
    label: str | None
    right: Mapping[str, Score]
    wrong: Mapping[str, Score]
    likeliest: tuple[tuple[str, float], ...]
    exact: bool
    tokens: int
    began: float
    seconds: float

    @property
    def mass(self) -> float:
        """The probability of all right answers that were scored."""
        return sum(one.closed for one in self.right.values())

    @property
    def open_mass(self) -> float:
        """The same whatever follows the answers, as the paper's scorer has it."""
        return sum(one.open for one in self.right.values())

    def leak(self, task: str) -> float:
        """The probability of the answers of all other tasks."""
        return self.mass - self.right[task].closed

    def beats(self, task: str) -> bool:
        """Whether a task's answer is likelier than its wrong one."""
        return self.right[task].closed > self.wrong[task].closed

    def among(self, task: str) -> bool:
        """Whether a task's answer is among the likeliest."""
        return self.right[task].answer in dict(self.likeliest)


def busy(seen: Iterable[Seen]) -> float:
    """For how many seconds somebody was at work; pauses of a run that was stopped do not count."""
    total = until = 0.0
    for began, ended in sorted((one.began, one.began + one.seconds) for one in seen):
        total += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return total


def seen_record(folder: str | PathLike[str] | None) -> KeptLines[Seen]:
    """The lines of a run, in `scores.jsonl`.

    Args:
        folder: Where they are kept; it is made. None: nowhere. Two processes must not use it at the
            same time.

    Raises:
        DataError: It cannot be read or written.
    """
    path = None if folder is None else Path(folder) / FILE
    return KeptLines(path, "this experiment", asdict, seen_of)


def seen_of(value: Any) -> Seen:
    """What a line of the record has; the reverse of `asdict`."""
    for side in ("right", "wrong"):
        value[side] = {task: Score(**one) for task, one in value[side].items()}
    value["likeliest"] = tuple((text, likely) for text, likely in value["likeliest"])
    return Seen(**value)
