"""What is stored: JSON text, sealed with its version and a sum over key and text."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

FORMAT = "mti2"
"""The version of keys and entries; another version finds nothing of this one."""
SLOT = "slot:"
"""How the keys of answers begin that are kept slot by slot; all others are keys of replies."""


def as_text(value: dict[str, Any]) -> str:
    """The JSON text of a value, one that UTF-8 can carry."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps(value, separators=(",", ":"))
    return text


def sealed(key: str, text: str) -> str:
    """An entry: JSON of its version, its sum (over the key too, so none can be moved), its text."""
    return f'["{FORMAT}","{_sum(key, text)}",{text}]'


def unsealed(key: str, entry: str) -> str | None:
    """The text of an entry; None if it is of another version.

    Raises:
        ValueError: The entry is none of ours, or has been changed.
    """
    head = _HEAD.match(entry)
    if head is None:
        if entry.startswith('["mti'):
            return None
        raise ValueError("an entry is no entry of ours")
    text = entry[head.end() : -1]
    if _sum(key, text) != head[1]:
        raise ValueError("an entry is damaged")
    return text


_HEAD = re.compile(rf'\["{FORMAT}","([0-9a-f]{{32}})",')


def _sum(key: str, text: str) -> str:
    return hashlib.blake2b(f"{key}\n{text}".encode(), digest_size=16).hexdigest()
