"""A reply that a server streams: its events, and the whole that they make."""

from __future__ import annotations

import json
import re
import time
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from mtiprompt.errors import ModelError
from mtiprompt.models.direct.errors import of_data, unreadable
from mtiprompt.models.direct.wire import Answered, as_dict, as_text, reply_of
from mtiprompt.models.http_errors import Sent
from mtiprompt.models.watch import prompt_tokens, tokens_of
from mtiprompt.wire import Reply, Request

_LINE_END = re.compile(rb"\r\n|\n|\r")


class Events:
    """The data of server-sent events, out of bytes that are cut anywhere.

    Blanks around it are left out, and events without data passed over; one that no blank line ends
    is none. Source: WHATWG HTML, sections 9.2.5 and 9.2.6.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []  # of the event that is not over yet
        self._begun = False
        self._returned = False  # a carriage return came last: a line feed belongs to it

    def take(self, piece: bytes) -> Iterator[str]:
        """The data of the events that a piece ends."""
        if not piece:
            return
        more = piece.removeprefix(b"\n") if self._returned else piece
        self._returned = piece.endswith(b"\r")
        *lines, self._rest = _LINE_END.split(self._rest + more)
        for line in lines:
            name, _, value = (line if self._begun else line.removeprefix(BOM_UTF8)).partition(b":")
            self._begun = True
            if not line:
                told, self._data = b"\n".join(self._data), []
                if data := told.decode("utf-8", "replace").strip():
                    yield data
            elif name in {b"data", b"error"}:  # old versions of llama.cpp say `error:`
                self._data.append(value.removeprefix(b" "))


class Heard:
    """What has come of a streamed reply.

    Args:
        request: What was asked.
        sent: What was sent.
        read: Reads the answer to a request that came whole, after so many seconds.
    """

    def __init__(
        self, request: Request, sent: Sent, read: Callable[[Request, Answered, float], Reply]
    ) -> None:
        self.text = ""
        self._began = time.monotonic()
        self._request = request
        self._sent = sent
        self._read = read
        self._events = Events()
        self._headers: Mapping[str, str] = {}
        self._whole: Reply | None = None
        self._told: dict[str, Any] = {}
        self._finish: Any = None
        self._refused = False
        self._ended = False
        self._done = False
        self._broken = ""

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def take(self, piece: Answered | bytes) -> Iterator[str]:
        """Note a piece; gives its texts.

        Raises:
            ModelError: It tells of a failure.
        """
        if isinstance(piece, bytes):
            for event in self._events.take(piece):
                if text := self._chunk(event):
                    self.text += text
                    yield text
            return
        self._headers = piece.headers
        if piece.body is not None:
            self._whole = self._read(self._request, piece, self._seconds)

    def _chunk(self, event: str) -> str:
        if event == "[DONE]":
            self._done = True
            self._ended = self._ended or bool(self._told or self.text)
        if self._done:
            return ""
        try:
            chunk = as_dict(json.loads(event))
        except ValueError:
            raise unreadable("an event of the stream is no JSON", self._sent) from None
        if failed := of_data(chunk, self._sent):
            raise failed
        names = ("model", "usage", "timings", "system_fingerprint")
        self._told |= {name: chunk[name] for name in names if chunk.get(name)}
        choices = chunk.get("choices")
        choice = as_dict(choices[0]) if isinstance(choices, list) and choices else {}
        self._finish = choice.get("finish_reason") or self._finish
        self._ended = self._ended or self._finish is not None
        delta = as_dict(choice.get("delta"))
        refusal = as_text(delta.get("refusal"))
        self._refused = self._refused or bool(refusal)
        return as_text(delta.get("content")) + refusal

    def break_off(self, error: ModelError) -> None:
        """Note that the stream failed.

        Raises:
            ModelError: The error itself, if no text has come.
        """
        if self._ended:
            return
        if not self.text:
            raise error
        self._broken = str(error)

    def reply(self) -> Reply:
        """The whole reply, cut off if the stream broke off.

        Raises:
            ModelError: There is none.
        """
        if self._whole is not None:
            return self._whole
        if not self._ended and not self._broken:
            self.break_off(unreadable("the stream ended before its end", self._sent))
        data, name = self._completion(), self._sent.name
        reply = reply_of(data, self._headers, model=name, seconds=self._seconds)
        if not self._broken:
            return reply
        details = {**reply.details, "broken": self._broken}
        return replace(reply, finish_reason="length", details=details)

    def _completion(self) -> dict[str, Any]:
        """The completion that would have come in one piece."""
        finish = "refusal" if self._refused else self._finish
        choice = {"finish_reason": finish, "message": {"content": self.text}}
        return {"usage": self._estimated(), **self._told, "choices": [choice]}

    def _estimated(self) -> dict[str, int]:
        """About what a stream has used that does not tell."""
        read, wrote = prompt_tokens(self._request), tokens_of(len(self.text))
        return {"prompt_tokens": read, "completion_tokens": wrote}
