"""Whole numbers written as 5.0: integers to JSON schema, but not to a strict validator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError


def whole(data: Any, refused: ValidationError) -> Any:
    """Plain JSON data with 5 in the place of each 5.0 that was refused for a whole number.

    Args:
        data: The data, which is changed.
        refused: What a validator said of it.
    """
    top = [data]
    for fault in refused.errors(include_url=False, include_context=False):
        if fault["type"] == "int_type":
            holder, key = _place(top, fault["loc"])
            found = holder[key]
            is_meant = isinstance(found, float) and found == fault["input"]
            # above, a float need not be the number that was written
            if is_meant and found.is_integer() and abs(found) < 2**53:
                holder[key] = int(found)
    return top[0]


def _place(top: list[Any], path: Sequence[int | str]) -> tuple[Any, Any]:
    """What holds the value that a path leads to, and the key or the place of the value in it."""
    holder: Any = top
    key: Any = 0
    for part in path:  # what names a part of a union is no key
        inner = holder[key]
        keys = range(len(inner)) if isinstance(inner, list) else inner
        if isinstance(inner, list | dict) and part in keys:
            holder, key = inner, part
    return holder, key
