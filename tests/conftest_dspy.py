"""DSPy as tests want it; `tests/conftest.py` makes it known."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def quiet_dspy() -> Iterator[None]:
    """DSPy without its cache and its log, and its settings as they were."""
    import dspy

    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    dspy.disable_logging()
    with dspy.context(lm=None, adapter=dspy.JSONAdapter(), trace=[]):
        yield
