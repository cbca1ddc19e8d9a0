"""The benchmark as its file has it, checked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mtiprompt.errors import DataError
from mtiprompt.experiments.checks import is_whole
from mtiprompt.experiments.mti_bench import flaws
from mtiprompt.experiments.mti_bench.values import Kind, Options, options_in
from mtiprompt.whole_files import read_json

_FORM = (
    'the official file: {"001": {"instance": {"001_1": {"query": ..., "instruction": {"1": ...}, '
    '"context": {"1_0": ...}, "answers": [...]}}, "sample": ""}}'
)


@dataclass(frozen=True)
class Instance:
    """One instance of a task of the benchmark.

    Attributes:
        id: Its name, such as `022_801`.
        task: The name of its task, such as `022`.
        query: The line that stands above the instructions.
        instructions: What is asked, step by step.
        contexts: Texts by key; a key is the step that the text belongs to and its place there:
            `1_0`.
        answers: The gold of each step.
    """

    id: str
    task: str
    query: str
    instructions: tuple[str, ...]
    contexts: Mapping[str, str]
    answers: tuple[Any, ...]

    @property
    def steps(self) -> range:
        """The numbers of its steps, from 1."""
        return range(1, len(self.instructions) + 1)

    @cached_property
    def options(self) -> Options:
        """The options that its texts list, by their marks."""
        return options_in([self.query, *self.instructions, *self.contexts.values()])

    def kind(self, step: int) -> Kind:
        """What the answer of a step is."""
        return flaws.kind(self.task, step, self.answers[step - 1])

    def scored(self, *, score_all: bool = False) -> tuple[int, ...]:
        """The steps that count: the sound ones, or all."""
        return tuple(
            step for step in self.steps if score_all or (self.task, step) not in flaws.UNSOUND
        )


@dataclass(frozen=True)
class Bench:
    """A benchmark file.

    Attributes:
        name: The name of the file.
        instances: All instances, task by task.
        samples: The worked example of each task, as text; tasks without one are not there.
    """

    name: str
    instances: tuple[Instance, ...]
    samples: Mapping[str, str]

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks."""
        return tuple(dict.fromkeys(one.task for one in self.instances))

    def chosen(self, *, score_all: bool = False, limit: int | None = None) -> tuple[Instance, ...]:
        """The instances that are run.

        Args:
            score_all: Whether to take tasks too of which no step is sound.
            limit: How many of each task at most, the first ones.

        Raises:
            DataError: None is left, or the limit is no positive number.
        """
        if limit is not None and not is_whole(limit):
            raise DataError(f"the limit is {limit!r:.80}, expected 1 or more")
        kept = [
            one
            for task in self.tasks
            for one in [one for one in self.instances if one.task == task][:limit]
            if one.scored(score_all=score_all)
        ]
        if not kept:
            raise DataError(
                f"{self.name} has no sound step", hint="score all steps to run it nonetheless"
            )
        return tuple(kept)


def load(path: str | Path) -> Bench:
    """Read a file in the official format, and mend what `flaws.MENDED` says.

    Args:
        path: The file.

    Raises:
        DataError: It cannot be read, or an instance is wrong; the message says which.
    """
    content = read_json(path)
    name = Path(path).name
    found: list[Instance] = []
    samples: dict[str, str] = {}
    for task, part in _items(content, name, "tasks"):
        instances = part.get("instance") if isinstance(part, Mapping) else None
        own = [
            _instance(f"{name}, {id}", task, id, one)
            for id, one in _items(instances, f"{name}, task {task}", "instances")
        ]
        if len({len(one.instructions) for one in own}) > 1:
            raise DataError(f"{name}, task {task}: instances differ in their number of steps")
        found += own
        if isinstance(sample := part.get("sample"), str) and sample.strip():
            samples[task] = sample.strip()
    ids = Counter(one.id for one in found)
    if twice := [id for id, times in ids.items() if times > 1]:
        raise DataError(f"{name}: two instances are called {twice[0]!r}")
    return Bench(name, tuple(found), samples)


def _items(part: Any, where: str, what: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(part, Mapping) or not part:
        raise DataError(f"{where}: there are no {what}", hint=_FORM)
    yield from part.items()


def _instance(where: str, task: str, id: str, part: Any) -> Instance:
    if not isinstance(part, Mapping):
        raise DataError(f"{where}: {part!r:.80} is no instance", hint=_FORM)
    instruction, contexts = part.get("instruction"), part.get("context", {})
    answers, query = part.get("answers"), part.get("query", "")
    if not _texts(instruction) or not instruction:
        raise DataError(f"{where}: `instruction` is no object of texts", hint=_FORM)
    if list(instruction) != [str(step) for step in range(1, len(instruction) + 1)]:
        raise DataError(f"{where}: instructions are numbered {', '.join(instruction)}", hint=_FORM)
    if not _texts(contexts) or not isinstance(query, str):
        raise DataError(f"{where}: `context` or `query` is no text", hint=_FORM)
    if wrong := [key for key in contexts if not _names_step(key, len(instruction))]:
        raise DataError(f"{where}: the context {wrong[0]!r:.80} names no step", hint=_FORM)
    if not isinstance(answers, list) or len(answers) != len(instruction):
        raise DataError(
            f"{where}: there are {len(instruction)} instructions, and `answers` is {answers!r:.80}",
            hint="a list with one answer for each",
        )
    moved = {_mended(task, key, contexts): text for key, text in contexts.items()}
    return Instance(
        id,
        task,
        query,
        tuple(flaws.mend_instruction(task, int(n), text) for n, text in instruction.items()),
        {key: moved[key] for key in sorted(moved, key=step_and_place)},
        tuple(answers),
    )


def _names_step(key: str, steps: int) -> bool:
    return bool(re.fullmatch(r"[1-9]_\d{1,2}", key)) and step_and_place(key)[0] <= steps


def _mended(task: str, key: str, contexts: Mapping[str, str]) -> str:
    """The key of a context; its own one where another text has that to which it would be moved."""
    moved = flaws.mend_context(task, key)
    return key if moved in contexts else moved


def step_and_place(key: str) -> tuple[int, int]:
    """The step to which a context belongs, and its place there.

    Args:
        key: Its key, such as `1_0`.
    """
    step, place = key.split("_")
    return int(step), int(place)


def _texts(part: Any) -> bool:
    return isinstance(part, Mapping) and all(isinstance(one, str) for one in part.values())
