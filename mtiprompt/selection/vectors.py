"""What some texts have of the parts of another: its words, by how alike their vectors are.

The only importer of model2vec.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtiprompt.errors import ModelMisconfigured, ModelNotFound
from mtiprompt.tasks.task import first_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


class VectorParts:
    """How like a word each of some texts has one; the vectors of their words are made once.

    A text has of a word the cosine of the most like of its own words, times how much the model lets
    the word weigh (the length of its vector): the recall of BERTScore (Zhang et al., arXiv
    1904.09675), with vectors that do not depend on the words beside it.

    Args:
        texts: The words of each text.
        model: A folder, or a name on the hub.

    Raises:
        ModelNotFound: There is no such model.
        ModelMisconfigured: The extra is not installed.
    """

    def __init__(self, texts: Sequence[Sequence[str]], model: str) -> None:
        import numpy as np

        self._vectors = loaded(model)
        self._size = len(texts)
        distinct = list(dict.fromkeys(word for text in texts for word in text))
        place = {word: n for n, word in enumerate(distinct)}
        self._directions, _ = self._vectors.of(distinct)
        self._words = [
            np.array([place[word] for word in dict.fromkeys(text)], dtype=np.intp) for text in texts
        ]

    def of(self, found: Iterable[str]) -> Array:
        """One row for each word that the model knows, one column for each text; 0 or more.

        Args:
            found: Words; each counts once.
        """
        import numpy as np

        directions, lengths = self._vectors.of(list(dict.fromkeys(found)))
        known = lengths > 0
        alike = directions[known] @ self._directions.T
        rows = np.zeros((len(alike), self._size))
        for column, text in zip(rows.T, self._words, strict=True):
            if len(text):
                column[:] = alike[:, text].max(axis=1)
        return np.maximum(rows, 0.0) * lengths[known, None]


class Vectors:
    """The vectors that a model has for words.

    Args:
        name: A folder, or a name on the hub.

    Raises:
        ModelNotFound: There is no such model.
        ModelMisconfigured: The extra is not installed.
    """

    def __init__(self, name: str) -> None:
        try:
            from model2vec import StaticModel
        except ImportError as error:
            raise ModelMisconfigured(
                f"demonstrations are selected by {name}, and no embedding model can be read",
                hint='pip install "mtiprompt[embeddings]"',
            ) from error
        try:
            self._model = StaticModel.from_pretrained(name, force_download=False)
        except Exception as error:  # of the hub, the network, the file or its parts
            raise ModelNotFound(
                f"the embedding model {name} cannot be loaded: {first_line(error)}",
                hint="give the folder or the hub's name of a model2vec model",
            ) from error
        self._lock = threading.Lock()

    def of(self, words: Sequence[str]) -> tuple[Array, Array]:
        """The direction of each word (one row each, of length 1 or 0), and its length."""
        import numpy as np

        with self._lock:  # it sets up its tokenizer for each call
            made: Any = (
                self._model.encode(list(words), normalize=False, use_multiprocessing=False)
                if words
                else []
            )
        rows: Array = np.asarray(made, dtype=np.float64).reshape(-1, self._model.dim)
        lengths = np.linalg.norm(rows, axis=1)
        return rows / np.where(lengths, lengths, 1.0)[:, None], lengths


_loaded: dict[str, Vectors] = {}
_loading = threading.Lock()


def loaded(name: str) -> Vectors:
    """A model, loaded once in a process.

    Args:
        name: A folder, or a name on the hub.

    Raises:
        ModelNotFound: There is no such model.
        ModelMisconfigured: The extra is not installed.
    """
    key = str(Path(name).resolve()) if Path(name).exists() else name
    with _loading:
        if key not in _loaded:
            _loaded[key] = Vectors(name)
        return _loaded[key]
