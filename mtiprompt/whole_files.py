"""Small files that are read or written as a whole."""

from __future__ import annotations

import json
import os
import secrets
from os import PathLike
from pathlib import Path
from typing import Any

from mtiprompt.errors import DataError


def read_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: The file cannot be read, or is no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"cannot read {str(path)!r}: {error}") from None


def behind_link(path: Path) -> Path:
    """What a link leads to in the end, whether it is there or not; any other path as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def write_text(path: str | PathLike[str], text: str) -> None:
    """Write a file, whole or not at all. What a link leads to is written, and the link stays.

    Raises:
        DataError: The file cannot be written, or it is a device or a pipe.
    """
    target = Path(path)
    try:
        if target.is_dir():
            raise DataError(f"cannot write {target}: it is a folder", hint="name a file in it")
        if target.exists() and not target.is_file():
            raise DataError(f"cannot write {target}: it is no ordinary file", hint="name another")
        target = behind_link(target)
        # an ordinary new file, with the rights that the umask says; tempfile makes private ones
        half = target.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            half.write_bytes(text.encode())
            half.replace(target)
        finally:
            half.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from None
    except ValueError as error:  # a name that no file can have, a text that cannot be encoded
        raise DataError(f"cannot write {path}: {str(error).partition(chr(10))[0]}") from None
