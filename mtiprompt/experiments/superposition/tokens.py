"""A model as the experiment asks it: several copies, which know how likely each token is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from mtiprompt import settings
from mtiprompt.models import local
from mtiprompt.models.local_tokens import LocalTokens

WORKERS = 2
"""Copies of a model where nobody says how many; fewer where there are fewer threads."""


@contextmanager
def local_workers(
    name: str | None = None, number: int | None = None
) -> Iterator[tuple[LocalTokens, ...]]:
    """The same model several times, to work on several prompts at once.

    Two copies with a thread each keep two cores busy while single tokens are written, too. Each
    takes the memory of a model.

    Args:
        name: As for `LocalTokens`.
        number: Copies; None: `WORKERS`, or as many as there are threads if those are fewer.

    Yields:
        The copies, with the threads shared out among them; closed in the end.

    Raises:
        ModelError: See `LocalTokens`.
    """
    threads = settings.current().threads or local.cores()
    copies = number or min(WORKERS, threads)
    each = max(1, threads // copies)
    with ExitStack() as all_of_them:
        yield tuple(
            all_of_them.enter_context(LocalTokens(name, threads=each)) for _ in range(copies)
        )
