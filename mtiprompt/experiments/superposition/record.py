"""What was seen of every prompt, kept line by line, so that a run can be taken up again."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from mtiprompt.errors import DataError
from mtiprompt.experiments.superposition.score import Score
from mtiprompt.files import cut_last_line

FILE = "scores.jsonl"


@dataclass(frozen=True)
class Seen:
    """What was seen of one prompt.

    Attributes:
        config: The name of its configuration.
        cell: The name of its cell.
        number: The number of the prompt; prompts of one number have the same examples and query.
        label: The task that the query was labelled with; None: no label.
        right: How likely each task's answer is, by task.
        wrong: How likely the same task's answer to another input is, where it was scored.
        likeliest: The likeliest answers, as many as there are tasks, where they were searched for.
        exact: Whether that search was exact.
        tokens: Of the prompt.
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
    seconds: float

    @property
    def mass(self) -> float:
        """The probability of all right answers that were scored."""
        return sum(one.closed for one in self.right.values())

    def beats(self, task: str) -> bool:
        """Whether a task's answer is likelier than its wrong one."""
        return self.right[task].closed > self.wrong[task].closed

    def among(self, task: str) -> bool:
        """Whether a task's answer is among the likeliest."""
        return self.right[task].answer in dict(self.likeliest)


def digest(*parts: Any) -> str:
    """What a line is found by: it changes with anything that the figures depend on."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


class Record:
    """The lines of a run, for any number of threads.

    Args:
        folder: Where they are kept, in `scores.jsonl`; it is made. None: nowhere. Two processes
            must not use it at the same time.

    Raises:
        DataError: It cannot be read or written.
    """

    def __init__(self, folder: str | PathLike[str] | None) -> None:
        self._path = None if folder is None else Path(folder) / FILE
        self._kept: dict[str, Seen] = {}
        self._lock = threading.Lock()
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch()
            cut_last_line(self._path)  # of a process that was killed while it wrote
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise DataError(f"cannot write {self._path}: {error.strerror}") from None
        for number, line in enumerate(lines, start=1):
            key, seen = _read(self._path, number, line)
            self._kept[key] = seen

    def get(self, key: str) -> Seen | None:
        """The line of a key, if it is there."""
        return self._kept.get(key)

    def add(self, key: str, seen: Seen) -> None:
        """Keep a line.

        Raises:
            DataError: It cannot be written.
        """
        self._kept[key] = seen
        if self._path is None:
            return
        line = json.dumps({"key": key, **asdict(seen)}, ensure_ascii=False)
        try:
            with self._lock, self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise DataError(f"cannot write {self._path}: {error.strerror}") from None


def _read(path: Path, number: int, line: str) -> tuple[str, Seen]:
    try:
        value = json.loads(line)
        key = str(value.pop("key"))
        for side in ("right", "wrong"):
            value[side] = {task: Score(**one) for task, one in value[side].items()}
        value["likeliest"] = tuple((text, likely) for text, likely in value["likeliest"])
        return key, Seen(**value)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            f"{path}, line {number}, is no line of this experiment",
            hint="give another folder, or delete the file",
        ) from None
