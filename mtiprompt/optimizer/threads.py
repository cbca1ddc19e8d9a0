"""Linear algebra on one thread, as long as a search thinks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Keep the linear algebra inside to one thread of the machine.

    Its matrices are small: threads gain little, and where other work has the processors they wait
    for each other, many times as long as one takes. The limit holds for the process; no call of a
    model is made inside.
    """
    import numpy  # noqa: F401  # only what is loaded can be limited
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield
