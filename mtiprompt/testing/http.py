"""As much of HTTP/1.1 as a server for tests needs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from http import HTTPStatus
from typing import NamedTuple, Self

_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Asked(NamedTuple):
    """A request before anything in it is understood; names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Delivery(NamedTuple):
    """A reply to be sent: its head, its parts, and the seconds of pause after each part."""

    head: bytes
    parts: Sequence[bytes]
    pause: float = 0.0

    async def send(self, writer: asyncio.StreamWriter) -> None:
        """Send it all; without a pause in one go."""
        if not self.pause:
            writer.write(b"".join([self.head, *self.parts]))
        else:
            writer.write(self.head)
            for part in self.parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(self.pause)
        await writer.drain()


async def read_request(reader: asyncio.StreamReader) -> Asked | None:
    """The next request; None when the client has closed the connection."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    halves = [line.partition(":") for line in lines]
    headers = {name.lower(): value.strip() for name, _, value in halves}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, path, *_ = [*first.split(" "), ""]
    return Asked(method, path, headers, body)


async def client_gone(reader: asyncio.StreamReader) -> None:
    """Wait until the client closes the connection; what it sends until then is passed over."""
    while await reader.read(65536):
        pass


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """The status line and the headers of a reply."""
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """A piece of a body whose length is not known ahead; an empty one ends the body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Loopback:
    """A server on a loopback address, for use in a `with` block: one event loop in one thread.

    Args:
        port: The port; 0 takes a free one.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self._end: Callable[[], object] = lambda: None
        self._thread: threading.Thread | None = None

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side is done; to be written by the derived class."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        started: Future[int] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started)), daemon=True, name="loopback-server"
        )
        self._thread.start()
        self.port = started.result()
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._thread is not None
        self._end()
        self._thread.join()

    async def _serve(self, started: Future[int]) -> None:
        end = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._end = lambda: loop.call_soon_threadsafe(end.set)
        connections: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                await self.converse(reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # the client, or the server, has gone
            finally:
                connections.discard(task)
                writer.transport.abort()

        try:
            server = await asyncio.start_server(connected, "127.0.0.1", self.port, backlog=1024)
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result(server.sockets[0].getsockname()[1])
        await end.wait()
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections)
