"""What the header of a GGUF file says of the model.

Format: a magic word, a version, the numbers of tensors and of entries, then the entries, each a
name, a type and a value; see `docs/gguf.md` of ggml.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_FORMATS[12] = "d"
_STRING, _ARRAY = 8, 9
_MOST = 1 << 24
"""No name, text or list of a real model is longer."""


@dataclass(frozen=True)
class Header:
    """The header.

    Attributes:
        architecture: The name of the architecture.
        name: The name that its makers gave the model.
        context: The longest context, in tokens, that it was trained for; None if not said.
    """

    architecture: str
    name: str
    context: int | None


def read_header(path: Path) -> Header:
    """The header of a file.

    Raises:
        ValueError: This is no GGUF file, or a damaged one.
        OSError: It cannot be read.
    """
    found: dict[str, Any] = {}
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError("it does not begin as a GGUF file does")
        _, _, number = _read(file, "<IQQ")
        for _ in range(min(number, _MOST)):
            key = _text(file)
            found[key] = _value(file, _read(file, "<I")[0])
            # the vocabulary comes after it, and takes long
            if key.endswith(".context_length"):
                break
    architecture = str(found.get("general.architecture", ""))
    context = found.get(f"{architecture}.context_length")
    return Header(architecture, str(found.get("general.name", "")), context)


def _read(file: BinaryIO, form: str) -> tuple[Any, ...]:
    size = struct.calcsize(form)
    data = file.read(size)
    if len(data) != size:
        raise ValueError("it ends in the middle of its header")
    return struct.unpack(form, data)


def _text(file: BinaryIO) -> str:
    (length,) = _read(file, "<Q")
    if length > _MOST:
        raise ValueError("its header is damaged")
    data = file.read(length)
    return data.decode("utf-8", "replace")


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _text(file)
    if kind == _ARRAY:
        inner, length = _read(file, "<IQ")
        if length > _MOST or inner == _ARRAY:
            raise ValueError("its header is damaged")
        for _ in range(length):
            _value(file, inner)
        return None
    if kind not in _FORMATS:
        raise ValueError("its header is damaged")
    return _read(file, "<" + _FORMATS[kind])[0]
