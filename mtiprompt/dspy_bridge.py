"""The only importer of dspy: its `Signature`, `InputField` and `OutputField` are our own names."""

from __future__ import annotations

from typing import Any

SHARED = ("InputField", "OutputField", "Signature")
"""Names that `mtiprompt` has from dspy, imported at first use."""


def shared(name: str) -> Any:
    """One of the names in `SHARED`, out of dspy."""
    import dspy

    return getattr(dspy, name)
