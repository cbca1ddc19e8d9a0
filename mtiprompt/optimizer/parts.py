"""What the demonstrations of a pool have of the parts of an item: its words, weighed by BM25."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtiprompt.combine import Combined
from mtiprompt.errors import SettingsError
from mtiprompt.plan import Demo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
"""Thai, Japanese and Chinese, which put no blanks between words: each sign is a part."""
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


class Parts:
    """What each of some demonstrations has of the parts of an item.

    Args:
        program: The program.
        demos: The demonstrations.
        tasks: The tasks whose parts are looked at.

    Raises:
        SettingsError: The package bm25s is not installed.
    """

    def __init__(self, program: Combined, demos: Sequence[Demo], tasks: Sequence[str]) -> None:
        import numpy as np

        self.demos = tuple(demos)
        self._reads = {task: _inputs_of(program, task) for task in tasks}
        self._answers = {
            task: np.array([task in demo.outputs for demo in demos], dtype=float) for task in tasks
        }
        texts = set(self._reads.values())
        self._indexes = {one: _index(one, demos) for one in sorted(texts)}

    def of(self, inputs: Mapping[str, Any]) -> Array:
        """One row for each task and word of the item, one column for each demonstration."""
        import numpy as np

        rows = []
        for task, names in self._reads.items():
            words = dict.fromkeys(_words(inputs, names))
            rows += [self._answers[task] * self._indexes[names](word) for word in words]
        return np.array(rows) if rows else np.zeros((0, len(self.demos)))

    def barred(self, inputs: Mapping[str, Any]) -> list[int]:
        """The places of demonstrations that have the inputs of the item, or answer no task."""
        own = dict(inputs)
        return [
            n
            for n, demo in enumerate(self.demos)
            if demo.inputs == own or not self._reads.keys() & demo.outputs.keys()
        ]

    def shown(
        self, inputs: Mapping[str, Any], ranked: Iterable[int], number: int
    ) -> tuple[Demo, ...]:
        """The first of a ranking without those that are barred; the best last."""
        barred = set(self.barred(inputs))
        able = [n for n in ranked if n not in barred][:number]
        return tuple(self.demos[n] for n in reversed(able))


def _index(names: tuple[str, ...], demos: Sequence[Demo]) -> Callable[[str], Array]:
    """Gives of a word what each demonstration has of it, by BM25 over some of the inputs."""
    import numpy as np

    try:
        import bm25s
    except ImportError:
        raise SettingsError(
            "demonstrations are chosen for each item with bm25s, which is not installed",
            hint="pip install 'mtiprompt[optimize]'",
        ) from None
    texts = [_words(demo.inputs, names) for demo in demos]
    known = {word for words in texts for word in words}
    nothing = np.zeros(len(texts))
    if not known:
        return lambda _: nothing
    index = bm25s.BM25()
    index.index(texts, show_progress=False)

    def of(word: str) -> Array:
        return np.asarray(index.get_scores([word]), dtype=float) if word in known else nothing

    return of


def _inputs_of(program: Combined, task: str) -> tuple[str, ...]:
    """The inputs of the program that a task reads, also through those that it builds on."""
    own = {wire.name for wire in program.wires[task].values() if wire.task is None}
    for one in program.upstream(task):
        own.update(_inputs_of(program, one))
    return tuple(name for name in program.inputs if name in own)


def _words(inputs: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    found = [inputs[name] for name in names if inputs.get(name) is not None]
    texts = [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in found]
    return [word for text in texts for word in _WORD.findall(text.casefold())]


def cover(parts: Array, number: int) -> list[int]:
    """The greedy choice of columns whose row-wise maxima have the largest sum.

    Args:
        parts: What each member (column) has of each part (row), 0 or more.
        number: How many to choose, at most as many as there are members.

    Returns:
        Their places in the order of choosing; of equals the first.
    """
    import numpy as np

    chosen: list[int] = []
    covered = np.zeros(len(parts))
    while len(chosen) < number:
        gains = np.maximum(parts - covered[:, None], 0.0).sum(axis=0)
        gains[chosen] = -1.0
        best = int(np.argmax(gains))
        if gains[best] <= 0 and covered.any():
            covered[:] = 0.0
            continue
        chosen.append(best)
        covered = np.maximum(covered, parts[:, best])
    return chosen
