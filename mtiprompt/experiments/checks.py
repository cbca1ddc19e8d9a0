"""What an experiment refuses of its arguments before the first call."""

from __future__ import annotations

from typing import Any

from mtiprompt.checks import check_callable, check_record
from mtiprompt.errors import DataError
from mtiprompt.evaluation.checks import check_confidence


def check_options(*, confidence: Any, record: Any, progress: Any) -> None:
    """Refuse what would be found wrong only after the calls are paid.

    Args:
        confidence: A number above 0 and below 1.
        record: A folder, or None.
        progress: A function.

    Raises:
        DataError: One is refused.
    """
    check_confidence(confidence)
    check_record(record)
    check_callable(progress=progress)


def check_seed(seed: Any) -> None:
    """Refuse what is no whole number.

    Args:
        seed: The seed.

    Raises:
        DataError: It is none.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise DataError(f"seed={seed!r:.80} makes no sense", hint="a whole number")


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number from 1 on.

    Args:
        value: Anything.
    """
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
