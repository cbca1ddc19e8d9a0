"""Linear algebra on one thread, as long as searches think."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

_lock = Lock()
_inside: list[Any] = []
"""The limit, once for each search that thinks: it holds for the process."""


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Keep the linear algebra inside to one thread of the machine.

    Its matrices are small: threads gain little, and where other work has the processors they wait
    for each other, many times as long as one takes. The last to leave lifts the limit. No call of a
    model is made inside.
    """
    import numpy  # noqa: F401  # only what is loaded can be limited
    from threadpoolctl import threadpool_limits

    with _lock:
        _inside.append(_inside[0] if _inside else threadpool_limits(1, user_api="blas"))
    try:
        yield
    finally:
        with _lock:
            limit = _inside.pop()
            if not _inside:
                limit.restore_original_limits()
