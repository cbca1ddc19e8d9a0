"""A real HTTP server on a loopback address that speaks OpenAI's chat completions.

It answers every request with the smallest JSON that satisfies the requested schema, or with what a
function says, whole or as a stream, and misbehaves on demand, the same way every time.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from mtiprompt.testing import protocol
from mtiprompt.testing.faults import Fault as Fault
from mtiprompt.testing.faults import Faults as Faults
from mtiprompt.testing.faults import in_turn
from mtiprompt.testing.http import (
    Asked,
    Delivery,
    Loopback,
    chunk,
    client_gone,
    head,
    read_request,
)
from mtiprompt.testing.protocol import completion as completion
from mtiprompt.testing.received import Answer as Answer
from mtiprompt.testing.received import Received as Received
from mtiprompt.testing.received import smallest as smallest
from mtiprompt.testing.spoil import spoil

_WELL = Fault()


class ChatServer(Loopback):
    """A chat server on a loopback address, for use in a `with` block.

    Beside `POST /v1/chat/completions` there are `GET /v1/models` and `GET /stats`, which are not
    counted.

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
        faults: How to misbehave, for the requests in turn or as a function decides; `Chaos` is one.
        refuses: Types of response format that are answered with status 400.
        model: The name that the server gives its model; without one, the name asked for.
        delay: Seconds before each answer.
        pieces: Characters in each piece of a stream.
        pause: Seconds between the pieces of a stream.
        prefix_cache: Whether to report the part of a prompt that an earlier one began with as
            cached, in blocks of 128 tokens, for prompts from 1,024 tokens on.
        record: Whether to keep what arrives in `requests`.
        port: The port; 0 takes a free one.

    Attributes:
        requests: What has arrived, in order.
        count: How many requests have arrived.
        injected: How often each kind of fault was done: `error`, `limited`, `dropped`, `slots`, ...
        most_at_once: The largest number of requests that were open at the same time.
    """

    def __init__(
        self,
        answer: Answer | None = None,
        *,
        faults: Faults = (),
        refuses: Iterable[str] = (),
        model: str | None = None,
        delay: float = 0.0,
        pieces: int = 8,
        pause: float = 0.0,
        prefix_cache: bool = False,
        record: bool = True,
        port: int = 0,
    ) -> None:
        super().__init__(port)
        self._answer = answer or smallest
        self._fault_of = faults if callable(faults) else in_turn(faults)
        self._refuses = frozenset(refuses)
        self._model = model
        self._delay = delay
        self._pieces = pieces
        self._pause = pause
        self._prefixes = protocol.PrefixCache() if prefix_cache else None
        self._record = record
        self._open = 0
        self.requests: list[Received] = []
        self.count = 0
        self.injected: Counter[str] = Counter()
        self.most_at_once = 0

    @property
    def base_url(self) -> str:
        """The address to give to a client."""
        return f"http://127.0.0.1:{self.port}/v1"

    def stats(self) -> dict[str, Any]:
        """What `GET /stats` answers: `count`, `injected` and `most_at_once`."""
        return {
            "count": self.count,
            "injected": dict(self.injected),
            "most_at_once": self.most_at_once,
        }

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side is done."""
        while asked := await read_request(reader):
            self._open += 1
            try:
                if not await self._serve_one(asked, reader, writer):
                    return
            finally:
                self._open -= 1

    async def _serve_one(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the connection goes on."""
        if asked.method == "GET":
            await _whole(*self._shown(asked.path)).send(writer)
            return True
        received = self._received(asked)
        if received is None:
            await _whole(400, protocol.error("The body is no JSON object.")).send(writer)
            return True
        fault = self._fault_of(received) or _WELL
        self.injected.update(fault.kinds())
        if fault.drop:
            return False
        if wait := self._delay + fault.delay:
            await asyncio.sleep(wait)
        if not fault.hang:
            await self._delivery(received, fault).send(writer)
        if fault.hang or (fault.hang_after is not None and fault.drop_after is None):
            await client_gone(reader)
        return fault.stop_after is None and asked.headers.get("connection") != "close"

    def _shown(self, path: str) -> tuple[int, str]:
        if path == "/stats":
            return 200, json.dumps(self.stats())
        if path.endswith("/models"):
            return 200, protocol.models(self._model)
        return 404, protocol.error(f"there is nothing at {path}")

    def _received(self, asked: Asked) -> Received | None:
        try:
            body = json.loads(asked.body or b"{}")
        except ValueError:
            return None
        if not isinstance(body, dict):
            return None
        received = Received(self.count, asked.path, asked.headers, body, time.monotonic())
        self.count += 1
        self.most_at_once = max(self.most_at_once, self._open)
        if self._record:
            self.requests.append(received)
        return received

    def _delivery(self, received: Received, fault: Fault) -> Delivery:
        if aside := self._aside(received, fault):
            return _whole(*aside, fault)
        answer = self._answer(received)
        text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        if fault is _WELL:
            said = protocol.Said(text)
        else:
            said, done = spoil(text, fault, received.schema)
            self.injected.update(done)
        cached = self._prefixes.cached(received) if self._prefixes else None
        if not received.streams:
            return _whole(200, json.dumps(completion(received, said, self._model, cached)), fault)
        stream = protocol.events(
            received,
            said,
            pieces=self._pieces,
            model=self._model,
            cached=cached,
            stop_after=fault.stop_after,
        )
        return _streamed(stream, fault, fault.drip or self._pause)

    def _aside(self, received: Received, fault: Fault) -> tuple[int, str] | None:
        """Status and body where the answer function is not asked."""
        if fault.body is not None:
            return fault.status, fault.body
        if fault.status != HTTPStatus.OK:
            return fault.status, protocol.error(fault.message, fault.code)
        if not received.path.endswith("/chat/completions"):
            return 404, protocol.error(f"there is nothing at {received.path}")
        if not isinstance(received.body.get("messages"), list):
            return 400, protocol.error("Missing required parameter: 'messages'.")
        if received.level in self._refuses:
            return 400, protocol.error(
                f"Invalid parameter: 'response_format' of type '{received.level}' is not supported "
                "with this model."
            )
        return None


def _whole(status: int, body: str, fault: Fault = _WELL) -> Delivery:
    data = body.encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(data))}
    sent = body[: fault.stop_after].encode() if fault.stop_after is not None else data
    parts = [sent[place : place + 1] for place in range(len(sent))] if fault.drip else [sent]
    return Delivery(_head(status, headers, fault), parts, fault.drip)


def _streamed(events: Iterator[bytes], fault: Fault, pause: float) -> Delivery:
    headers = {"Content-Type": "text/event-stream; charset=utf-8", "Transfer-Encoding": "chunked"}
    parts = [chunk(event) for event in events]
    if fault.stop_after is None:
        parts.append(chunk(b""))
    return Delivery(_head(200, headers, fault), parts, pause)


def _head(status: int, headers: Mapping[str, str], fault: Fault) -> bytes:
    return head(status, {**headers, **fault.headers})
