"""What some texts have of the parts of another: its words, weighed by BM25.

The only importer of bm25s.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mtiprompt.metrics import caseless

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
"""Thai, Japanese and Chinese, which put no blanks between words: each sign is a part."""
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def words(inputs: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """The words of some inputs, the same in either case and encoding; what is no text is JSON.

    Args:
        inputs: Input name to value, plain JSON data.
        names: The inputs that are looked at.
    """
    found = [inputs[name] for name in names if inputs.get(name) is not None]
    texts = [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in found]
    return [word for text in texts for word in _WORD.findall(caseless(text))]


class Parts:
    """What each of some texts has of a word; the index is built once.

    Args:
        texts: The words of each text.
    """

    def __init__(self, texts: Sequence[Sequence[str]]) -> None:
        import bm25s

        self._size = len(texts)
        self._columns: Mapping[str, int] = {}
        if not any(texts):
            return
        index = bm25s.BM25()
        index.index(texts, show_progress=False)
        # its sparse matrix, read column by column: a query of one word takes ten times as long
        self._columns = index.vocab_dict
        self._weights, self._texts = index.scores["data"], index.scores["indices"]
        self._starts: list[int] = index.scores["indptr"].tolist()

    def of(self, found: Iterable[str]) -> Array:
        """One row for each word that the texts know, one column for each text; 0 or more.

        Args:
            found: Words; each counts once.
        """
        import numpy as np

        columns = [self._columns[one] for one in dict.fromkeys(found) if one in self._columns]
        rows = np.zeros((len(columns), self._size))
        for row, column in zip(rows, columns, strict=True):
            some = slice(self._starts[column], self._starts[column + 1])
            row[self._texts[some]] = self._weights[some]
        return rows
