"""A real HTTP server on a loopback address that speaks OpenAI's chat completions.

It answers every request with the smallest JSON that satisfies the requested schema, or with what a
function says, and misbehaves on demand, the same way every time.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self

from mtiprompt.models.example import example_of


@dataclass(frozen=True)
class Received:
    """A request as it arrived.

    Attributes:
        number: Counted from 0.
        path: The path, `/v1/chat/completions`.
        headers: The headers, names in lower case.
        body: The JSON body.
        at: When it had arrived, in seconds of `time.monotonic`.
    """

    number: int
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    at: float = field(compare=False, default=0.0)

    @property
    def level(self) -> str:
        """The type of the response format that it asks for; `text` if none."""
        return str((self.body.get("response_format") or {}).get("type", "text"))


@dataclass(frozen=True)
class Fault:
    """How to misbehave on one request.

    Attributes:
        status: An HTTP status other than 200 is answered with an error.
        message: The message of that error.
        code: The code of that error, `insufficient_quota` for example.
        headers: Further headers of the answer, `Retry-After` for example.
        body: The whole body of the answer, in place of the usual one.
        delay: Seconds before the answer.
        drip: Seconds between the single bytes of the answer's body.
        hang: Never answer.
        drop: Close the connection without an answer.
    """

    status: int = 200
    message: str = "injected"
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    delay: float = 0.0
    drip: float = 0.0
    hang: bool = False
    drop: bool = False


Answer = Callable[[Received], Any]
"""Gives the text of the reply; what is not text is written as JSON."""

Faults = Iterable[Fault | None] | Callable[[Received], Fault | None]
"""What happens to the requests in turn, well again after the last; or a function that decides."""


class ChatServer:
    """A chat server on a loopback address, for use in a `with` block.

    Example:
        >>> import mtiprompt as mti
        >>> from mtiprompt.testing import ChatServer
        >>> request = mti.Request((mti.Message("user", "Hello"),))
        >>> with ChatServer(lambda received: "Good day.") as server:
        ...     model = mti.Model("openai/any", api_base=server.base_url, api_key="k", cache=False)
        ...     text = model.complete(request).text
        >>> text, len(server.requests)
        ('Good day.', 1)

    Args:
        answer: Gives the text of each reply; without one, the smallest JSON that satisfies the
            schema of the request.
        faults: How to misbehave, for the requests in turn or as a function decides.
        refuses: Types of response format that are answered with status 400.
        model: The name that the server gives its model; without one, the name asked for.

    Attributes:
        requests: What has arrived, in order.
        most_at_once: The largest number of requests that were open at the same time.
    """

    def __init__(
        self,
        answer: Answer | None = None,
        *,
        faults: Faults = (),
        refuses: Iterable[str] = (),
        model: str | None = None,
    ) -> None:
        self._answer = answer or smallest
        self._fault_of = faults if callable(faults) else _in_turn(faults)
        self._refuses = frozenset(refuses)
        self._model = model
        self._open = 0
        self._port = 0
        self._end: Callable[[], object] = lambda: None
        self._thread: threading.Thread | None = None
        self.requests: list[Received] = []
        self.most_at_once = 0

    @property
    def base_url(self) -> str:
        """The address to give to a client."""
        return f"http://127.0.0.1:{self._port}/v1"

    def __enter__(self) -> Self:
        started: Future[int] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started)), daemon=True, name="chat-server"
        )
        self._thread.start()
        self._port = started.result()
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
                await self._converse(reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # the client, or the server, has gone
            finally:
                connections.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        started.set_result(server.sockets[0].getsockname()[1])
        await end.wait()
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while received := await self._receive(reader):
            self.requests.append(received)
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
            try:
                fault = self._fault_of(received) or Fault()
                if fault.drop:
                    return
                await asyncio.sleep(fault.delay)
                if fault.hang:
                    await asyncio.get_running_loop().create_future()
                status, body = self._reply(received, fault)
                await _write(writer, status, body, fault)
            finally:
                self._open -= 1

    async def _receive(self, reader: asyncio.StreamReader) -> Received | None:
        """The next request; None when the client has closed the connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in map(_halves, lines)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        path = first.split(" ")[1]
        return Received(
            len(self.requests), path, headers, json.loads(raw or b"{}"), time.monotonic()
        )

    def _reply(self, received: Received, fault: Fault) -> tuple[int, str]:
        if fault.body is not None:
            return fault.status, fault.body
        if fault.status != HTTPStatus.OK:
            return fault.status, _error(fault.message, fault.code)
        if not received.path.endswith("/chat/completions"):
            return 404, _error(f"there is nothing at {received.path}", None)
        if received.level in self._refuses:
            return 400, _error(
                f"Invalid parameter: 'response_format' of type '{received.level}' is not supported "
                "with this model.",
                None,
            )
        answer = self._answer(received)
        text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        return 200, json.dumps(completion(received, text, self._model))


def smallest(received: Received) -> str:
    """The smallest JSON that satisfies the schema of a request; `{}` or `...` where it has none."""
    asked = received.body.get("response_format") or {}
    if schema := (asked.get("json_schema") or {}).get("schema"):
        return json.dumps(example_of(schema), ensure_ascii=False, separators=(",", ":"))
    return "{}" if asked else "..."


def completion(received: Received, text: str, model: str | None = None) -> dict[str, Any]:
    """The body of a chat completion; tokens are counted as four characters each."""
    limit = received.body.get("max_completion_tokens") or received.body.get("max_tokens")
    cut = limit is not None and len(text) > 4 * limit
    text = text[: 4 * limit] if limit is not None else text
    read = sum(len(str(message["content"])) for message in received.body["messages"]) // 4 or 1
    wrote = len(text) // 4 or 1
    return {
        "id": f"chatcmpl-{received.number}",
        "object": "chat.completion",
        "created": 0,
        "model": model or received.body.get("model", "model"),
        "choices": [
            {
                "index": 0,
                "finish_reason": "length" if cut else "stop",
                "message": {"role": "assistant", "content": text},
            }
        ],
        "usage": {
            "prompt_tokens": read,
            "completion_tokens": wrote,
            "total_tokens": read + wrote,
        },
    }


def _error(message: str, code: str | None) -> str:
    return json.dumps({"error": {"message": message, "type": code, "param": None, "code": code}})


def _halves(line: str) -> tuple[str, str, str]:
    return line.partition(":")


def _in_turn(faults: Iterable[Fault | None]) -> Callable[[Received], Fault | None]:
    left = iter(faults)
    return lambda received: next(left, None)


async def _write(writer: asyncio.StreamWriter, status: int, body: str, fault: Fault) -> None:
    data = body.encode()
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"
    headers = {"Content-Type": "application/json", "Content-Length": str(len(data))}
    lines = [f"HTTP/1.1 {status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in (headers | dict(fault.headers)).items()]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    if not fault.drip:
        writer.write(data)
    else:
        for place in range(len(data)):
            writer.write(data[place : place + 1])
            await writer.drain()
            await asyncio.sleep(fault.drip)
    await writer.drain()
