"""Downloads: whatever stands at the address of the Hub, it is the model or our error."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtiprompt.errors import ModelUnavailable
from mtiprompt.models import fetch


class Odd(socketserver.ThreadingTCPServer):
    """A server that says the same bytes to everyone, and closes."""

    answer = b""


class OddHandler(socketserver.StreamRequestHandler):
    """Answers one request."""

    server: Odd

    def handle(self) -> None:
        """Say what there is to say."""
        while self.rfile.readline().strip():
            pass
        self.wfile.write(self.server.answer)


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Odd]:
    """A Hub that answers oddly."""
    server = Odd(("127.0.0.1", 0), OddHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    leave_in(monkeypatch)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def leave_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the Hub asked, and wait long for it."""
    monkeypatch.delenv("MTIPROMPT_NO_HUB", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(fetch, "FIRST_ANSWER", 30.0)


def fetched(box: Path) -> bytes:
    """A file of ten bytes."""
    return fetch.from_hub("someone/tiny", "tiny.gguf", 10, box, lambda *_: None).read_bytes()


ODD = [
    (b"SSH-2.0-OpenSSH_9.2\r\n", "cannot be reached"),
    (b"", "cannot be reached"),
    (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n", "cannot be reached"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n0123456789", "another file"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n01234", "broke off"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n", "broke off"),
]


@pytest.mark.parametrize(("answer", "said"), ODD, ids=[str(n) for n in range(len(ODD))])
def test_an_odd_answer_is_no_model(odd: Odd, tmp_path: Path, answer: bytes, said: str) -> None:
    """A port that speaks no HTTP, and HTTP that breaks off or makes no sense, say so at once."""
    odd.answer = answer
    began = time.monotonic()
    with pytest.raises(ModelUnavailable, match=said):
        fetched(tmp_path)
    assert time.monotonic() - began < 20


PIECES = [
    b"HTTP/1.1 ", b"200 OK", b"206", b"404 No", b"\r\n", b"\r\n\r\n", b"Content-Length: ", b"10",
    b"-1", b"Transfer-Encoding: chunked", b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b"\x00:",
]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=5), max_size=9))
def test_any_answer_is_the_file_or_our_error(odd: Odd, pieces: list[bytes]) -> None:
    """Whatever bytes a server says, a file of the right size or `ModelUnavailable` comes of it."""
    odd.answer = b"".join(pieces)
    with TemporaryDirectory() as box:
        began = time.monotonic()
        with suppress(ModelUnavailable):
            assert len(fetched(Path(box))) == 10
        assert time.monotonic() - began < 20


@pytest.mark.parametrize("host", ["http://a b", "http://[::1", "nonsense", "http://x:port", ""])
def test_an_address_that_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str
) -> None:
    """An address of the Hub that cannot be one says so at once."""
    leave_in(monkeypatch)
    monkeypatch.setenv("HF_ENDPOINT", host)
    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        fetched(tmp_path)
