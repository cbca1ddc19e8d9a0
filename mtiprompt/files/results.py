"""Results into a file, one at a time, so that they need not fit into memory."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mtiprompt.errors import DataError
from mtiprompt.files.locks import is_taken
from mtiprompt.files.rows import STANDARD, json_lines
from mtiprompt.whole_files import behind_link

if TYPE_CHECKING:
    from types import TracebackType


STREAMED = "`-o - > FILE` writes into a pipe or a device"
"""What to do where the output is no ordinary file."""


class ResultFile:
    """A JSONL file that is there whole or not at all.

    Lines go to NAME.partial, which is renamed when the last one is written. A run that is stopped
    leaves it behind, however it is stopped; with nothing in it, it is removed. So long as it is
    there, NAME.partial.from beside it has what `mark` was last told. So long as one writes it, no
    other may, in this process or in another.

    Args:
        path: The file; `-` is standard output. What a link leads to is written, and the link stays.
        force: Whether a file that exists, or what a stopped run left, may be replaced.
        resume: Whether to go on from what a stopped run left.
        standard: What `-` stands for; without it, standard output as it is now.

    Raises:
        DataError: The file, or what a stopped run left of it, is in the way, or it is a device or a
            pipe.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        force: bool = False,
        resume: bool = False,
        standard: IO[str] | None = None,
    ) -> None:
        self.path = self._place = Path(path)
        self._standard = (standard or sys.stdout) if str(path) == STANDARD else None
        self._force = force
        self.resumes = False
        self.lines = 0
        try:
            if self._standard is None:
                self._place = behind_link(self.path)
            self.partial = self._place.parent / f"{self._place.name}.partial"
            self.origin = self._place.parent / f"{self._place.name}.partial.from"
            if self._standard is None:
                self.resumes = resume and self.partial.exists()
                self._check()
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}") from None

    def _check(self) -> None:
        if not self._place.parent.is_dir():
            raise DataError(f"there is no folder {self._place.parent}")
        if self.path.is_dir():
            raise DataError(f"cannot write {self.path}: it is a folder", hint="name a file in it")
        if self.path.exists() and not self.path.is_file():
            raise DataError(f"cannot write {self.path}: it is no ordinary file", hint=STREAMED)
        if self.path.exists() and not self._force:
            raise DataError(f"{self.path} exists", hint="--force replaces it")
        if self.partial.exists() and not self.resumes and not self._force:
            if _is_written(self.partial):
                raise self._busy()
            raise DataError(
                f"{self.partial} is left from a run that was stopped",
                hint="--resume goes on from it, --force starts anew",
            )

    def _busy(self) -> DataError:
        hint = "wait for it, or name another output"
        return DataError(f"another run writes {self.partial}", hint=hint)

    def finished(self) -> Iterator[dict[str, Any]]:
        """The lines that a stopped run left; a last line that is not whole is cut off.

        Raises:
            DataError: They cannot be read.
        """
        if not self.resumes:
            return
        cut_last_line(self.partial)
        with self.partial.open("rb") as file:
            for number, row in json_lines(file):
                if isinstance(row, DataError) or not isinstance(row.get("row"), int):
                    raise DataError(
                        f"{self.partial}, line {number}: not a line of a result file",
                        hint="--force starts anew",
                    )
                yield row

    def __enter__(self) -> ResultFile:
        """Open the file for writing.

        Raises:
            DataError: It cannot be written, or another run writes it.
        """
        if self._standard is not None:
            self._file: IO[str] = self._standard
            return self
        try:
            self._check()  # whoever was writing it at first may have ended since
            self._file = self.partial.open(
                "a",
                encoding="utf-8",
                errors="backslashreplace",  # half a surrogate pair becomes its JSON escape
                buffering=1,  # a finished line outlives even a killed process
            )
            try:
                self._take()
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}") from None
        return self

    def _take(self) -> None:
        """Keep others from the file that was opened; one that goes on from nothing empties it."""
        opened = os.fstat(self._file.fileno())
        # whoever had it before may have given it its name
        if is_taken(self._file) or not os.path.samestat(opened, self.partial.stat()):
            raise self._busy()
        if not self.resumes:
            self.origin.unlink(missing_ok=True)
            if opened.st_size:
                self._file.truncate(0)

    def write(self, line: Mapping[str, Any]) -> None:
        """Add a line.

        Raises:
            DataError: It cannot be written.
        """
        try:
            text = json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"
        except ValueError as error:
            raise DataError(f"cannot write {self.path}: {error}") from None
        try:
            self._file.write(text)
            if self._standard is not None:
                self._file.flush()
        except BrokenPipeError:
            raise  # the reader of standard output has had enough; the command line ends quietly
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}") from None
        self.lines += 1

    def mark(self, origin: Mapping[str, Any]) -> None:
        """Keep beside the lines what they are from, in the place of what was kept before.

        Args:
            origin: Plain JSON data; what replaces something longer is cut off behind it.

        Raises:
            DataError: It cannot be written.
        """
        if self._standard is not None:
            return
        try:
            file = os.open(self.origin, os.O_WRONLY | os.O_CREAT, 0o666)
            try:
                os.ftruncate(file, os.write(file, json.dumps(origin).encode()))
            finally:
                os.close(file)
        except OSError as error:
            raise DataError(f"cannot write {self.origin}: {error.strerror}") from None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Rename the file if all went well, else keep what is there.

        Raises:
            DataError: Its end cannot be written, or it cannot be renamed.
        """
        if self._standard is not None:
            return
        if kind is not None:
            with suppress(OSError):  # the error that is on its way says more
                self._file.close()
            with suppress(OSError):
                if not self.partial.stat().st_size:
                    self.partial.unlink()
                    self.origin.unlink(missing_ok=True)
            return
        try:
            self._file.flush()
            if sys.platform == "win32":  # which gives no new name to a file that is open
                self._file.close()
            self.partial.replace(self._place)
            self.origin.unlink(missing_ok=True)
        except OSError as failed:
            raise DataError(f"cannot write {self.path}: {failed.strerror}") from None
        finally:
            with suppress(OSError):
                self._file.close()

    @property
    def kept(self) -> bool:
        """Whether a stopped run has left something to go on from."""
        return self._standard is None and self.partial.exists()


def _is_written(path: Path) -> bool:
    """Whether a run that goes on has the file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return is_taken(file)


def cut_last_line(path: Path) -> None:
    """Cut off what stands after the last line break: a process was killed while it wrote that."""
    with path.open("rb+") as file:
        end = whole = file.seek(0, os.SEEK_END)
        while whole:
            start = max(0, whole - 65536)
            file.seek(start)
            place = file.read(whole - start).rfind(b"\n")
            whole = start + place + 1 if place >= 0 else start
            if place >= 0:
                break
        if whole < end:
            file.truncate(whole)
