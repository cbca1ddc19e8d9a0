"""Labels that look the same are the same: Unicode writes some letters in two ways."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Any


def spellings(schema: dict[str, Any]) -> dict[str, str]:
    """The labels that are not plain ASCII by their composed form, where they differ in it.

    Args:
        schema: The plain JSON schema of a type.
    """
    labels = [one for one in _labels(schema) if not one.isascii()]
    forms = Counter(map(_composed, labels))
    return {form: one for one in labels if forms[form := _composed(one)] == 1}


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def spelled(value: Any, spellings: Mapping[str, str]) -> Any:
    """Data with its labels as a type has them, at any depth.

    Args:
        value: Plain JSON data, tuples or sets; what else is in it stays as it is.
        spellings: What `spellings` gives.
    """
    if type(value) in {list, tuple, set, frozenset}:
        return type(value)(spelled(one, spellings) for one in value)
    if isinstance(value, dict):
        parts = {key: spelled(one, spellings) for key, one in value.items()}
        named = {spelled(key, spellings): one for key, one in parts.items()}
        return named if len(named) == len(parts) else parts  # no two keys become one
    # no other kind of text: a label may be the member of an enumeration
    return spellings.get(_composed(value), value) if type(value) is str else value


def _labels(schema: Any) -> set[str]:
    """The labels in a plain schema that are texts, and the names of fields, at any depth."""
    if isinstance(schema, list):
        return set().union(*map(_labels, schema))
    if not isinstance(schema, dict):
        return set()
    own = {one for one in schema.get("enum", [schema.get("const")]) if isinstance(one, str)}
    return own.union(schema.get("properties", ()), *map(_labels, schema.values()))
