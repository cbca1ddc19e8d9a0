"""Which demonstrations an item is shown: the nearest, or those that together cover its parts.

The parts are the words of what the tasks of the call read, united over the tasks, and over the
items where several share the call. A demonstration with the inputs of an item is never shown with
it: its answer would only be copied, and a measurement on rows of the pool would say nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtiprompt.combine import Combined
from mtiprompt.demo import Demo
from mtiprompt.metrics import caseless
from mtiprompt.selection.parts import Parts, words
from mtiprompt.selection.select import Select
from mtiprompt.selection.vectors import VectorParts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


class Chooser:
    """Chooses demonstrations for items; made once for a pool, which it indexes.

    Args:
        select: How to choose.
        program: The program.
        demos: The pool: demonstrations that have all answers of the call; of those with the same
            inputs, up to blanks and case, the first counts.
        tasks: The tasks of the call.
    """

    def __init__(
        self, select: Select, program: Combined, demos: Sequence[Demo], tasks: Sequence[str]
    ) -> None:
        self._select = select
        self._filled = program.filled
        first: dict[Hashable, Demo] = {}
        for demo in demos:
            first.setdefault(folded(self._filled(demo.inputs)), demo)
        self._same, self._demos = list(first), tuple(first.values())
        pool = [self._filled(demo.inputs) for demo in self._demos]
        self._readers = Counter(_inputs_of(program, task) for task in tasks)
        self._parts = {
            names: _parts(select, [words(inputs, names) for inputs in pool])
            for names in self._readers
        }

    def of(self, items: Sequence[Mapping[str, Any]]) -> tuple[Demo, ...]:
        """The demonstrations for items that share a call; the likeliest last, beside them.

        Args:
            items: For each the program inputs by name, plain JSON data.
        """
        whole = [self._filled(inputs) for inputs in items]
        own = {folded(inputs) for inputs in whole}
        able = [n for n, one in enumerate(self._same) if one not in own]
        parts = self._of(whole)[:, able]
        choose = nearest if self._select.kind == "nearest" else cover
        chosen = choose(parts, min(self._select.number, len(able)))
        return tuple(self._demos[able[n]] for n in reversed(chosen))

    def _of(self, items: Sequence[Mapping[str, Any]]) -> Array:
        """One row for each part of the items; what several tasks read weighs as often."""
        import numpy as np

        return np.vstack(
            [
                readers * self._parts[names].of(words(inputs, names))
                for inputs in items
                for names, readers in self._readers.items()
            ]
        )


def _parts(select: Select, texts: Sequence[Sequence[str]]) -> Parts | VectorParts:
    return Parts(texts) if select.embeddings is None else VectorParts(texts, select.embeddings)


def nearest(parts: Array, number: int) -> list[int]:
    """The columns with the largest sums, the largest first; of equals the first.

    Args:
        parts: What each member (column) has of each part (row), 0 or more.
        number: How many to choose, at most as many as there are members.
    """
    import numpy as np

    ranked: list[int] = np.argsort(-parts.sum(axis=0), kind="stable")[:number].tolist()
    return ranked


def cover(parts: Array, number: int) -> list[int]:
    """The greedy choice of columns whose row-wise maxima have the largest sum.

    That of Set-BSR (Gupta, Gardner and Singh, "Coverage-based Example Selection for In-Context
    Learning", Findings of EMNLP 2023, arXiv 2305.14907), with BM25 or static vectors in place of
    BERTScore's: a set is worth the sum over parts of the best that any of its members has for the
    part; when nothing adds to that, the rest is chosen as if the set were empty.

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


def folded(value: Any) -> Hashable:
    """A value, the same for texts that differ in blanks, case and encoding only.

    Args:
        value: Plain JSON data.
    """
    if isinstance(value, str):
        return " ".join(caseless(value).split())
    if isinstance(value, Mapping):
        return tuple(sorted((key, folded(one)) for key, one in value.items()))
    if isinstance(value, list):
        return tuple(folded(one) for one in value)
    return (type(value).__name__, value)


def _inputs_of(program: Combined, task: str) -> tuple[str, ...]:
    """The inputs of the program that a task reads, also through those that it builds on."""
    own = {wire.name for wire in program.wires[task].values() if wire.task is None}
    for one in program.upstream(task):
        own.update(_inputs_of(program, one))
    return tuple(name for name in program.inputs if name in own)
