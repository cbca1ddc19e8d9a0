"""Models that are asked without litellm, by servers that speak OpenAI's chat completions.

aiohttp takes a twentieth of the time that litellm takes to import, and a call about a tenth of the
client's time. Both sync and async calls run on the background loop, see `http.py`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import aclosing, closing, contextmanager
from functools import partial
from http import HTTPStatus
from types import ModuleType
from typing import Any

from mtiprompt.errors import ModelError, ModelTimeout, ModelUnavailable
from mtiprompt.models.base import BaseModel
from mtiprompt.models.deadline import arun_within, left, loop_within
from mtiprompt.models.direct.errors import of_data, of_exception, of_status, unreadable
from mtiprompt.models.direct.stream import Heard
from mtiprompt.models.direct.target import target_of
from mtiprompt.models.direct.wire import Answered, body, is_formatted, opening, reply_of
from mtiprompt.models.http_errors import Sent
from mtiprompt.models.meter import not_sent
from mtiprompt.models.naming import (
    check_allowed,
    checked_params,
    endpoint_identity,
    endpoint_of,
    is_loopback,
    public_endpoint,
    secrets_in,
    support_of,
    taken,
    varied,
    without_secrets,
)
from mtiprompt.models.streaming import astream_within, stream_within
from mtiprompt.wire import Reply, Request, canonical

_NO_USAGE = "the server refuses stream_options; streams are asked for without from now on"


class DirectModel(BaseModel):
    """A model that a server of OpenAI's chat completions has: vLLM, llama.cpp, SGLang, Ollama, ...

    Calls share one pool of connections and go straight to the address that is given: no proxy of
    the environment is used, no redirection followed, and no key taken from the environment.
    Certificates are verified. What a call costs is not known.

    Requests with a sample number from 1 on get a temperature of at least 0.7 where one is set, and
    the seed plus that number where there is a seed.

    Args:
        name: `direct/NAME`; the server is asked for NAME.
        api_base: The address up to `/v1`, name and password in it if the server wants some; without
            one, that of `DIRECT_API_BASE` in the environment.
        api_key: The key, if the server needs one.
        timeout: Seconds for one call in all.
        **params: Sampling and whatever else the server takes, sent as it is. `extra_body`: more of
            it. `extra_headers`: more headers.

    Raises:
        SettingsError: The address is missing or none, or a parameter makes no sense.
    """

    def __init__(
        self,
        name: str,
        *,
        api_base: str | None = None,
        api_key: str | None = None,
        timeout: float = 60.0,
        **params: Any,
    ) -> None:
        self.name = name
        self.params = checked_params(params)
        sampling = dict(self.params)
        headers, more = (taken(sampling, one) for one in ("extra_headers", "extra_body"))
        self._sampling = sampling | checked_params(more)
        endpoint = endpoint_of(name, api_base)
        self._target = target_of(name, endpoint, api_key, headers)
        self._endpoint = public_endpoint(endpoint)
        self._stays_here = is_loopback(endpoint, straight=True)
        self._timeout = timeout
        self._secrets = (*self._target.secrets, *secrets_in({"api_key": api_key, **self.params}))
        self._asked = name.partition("/")[2]
        self._opening = opening(self._asked, self._sampling)
        self._asks_usage = True
        where = endpoint_identity(endpoint)
        self.identity = canonical([name, where, without_secrets(self.params), None])
        self.support = support_of(name)

    def warm(self) -> None:
        """Import aiohttp now instead of at the first call."""
        _http()

    def complete(self, request: Request) -> Reply:
        """Ask the model; see `LanguageModel.complete`."""
        check_allowed(self.name, stays_here=self._stays_here)
        http = _http()  # its import counts in no deadline
        with self._seam(request) as timeout:
            began = time.monotonic()
            ask = partial(http.post, self._target, body(self._opened(request), request))
            return self._read(request, loop_within(ask, timeout), time.monotonic() - began)

    async def acomplete(self, request: Request) -> Reply:
        """Ask the model without blocking the event loop."""
        check_allowed(self.name, stays_here=self._stays_here)
        http = await _ahttp()
        with self._seam(request) as timeout:
            began = time.monotonic()
            ask = partial(http.post, self._target, body(self._opened(request), request))
            return self._read(request, await arun_within(ask, timeout), time.monotonic() - began)

    def stream(self, request: Request) -> Generator[str | Reply, None, None]:
        """Ask the model; gives its texts as they come, and the whole reply last.

        See `LanguageModel.stream`. The time-out is one for the whole stream. A reply that was cut
        off says why in `details["broken"]`; what it used is estimated if the server has not told.
        The first stream fails, retryably, if the server refuses to tell.
        """
        check_allowed(self.name, stays_here=self._stays_here)
        ask = partial(self._pieces, _http(), request)
        heard = Heard(request, self._sent(request), self._read)
        try:
            with (
                self._seam(request) as timeout,
                closing(stream_within(ask, timeout)) as pieces,
            ):
                for piece in pieces:
                    yield from heard.take(piece)
        except ModelError as error:
            heard.break_off(error)
        yield heard.reply()

    async def astream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """As `stream`, without blocking the event loop."""
        check_allowed(self.name, stays_here=self._stays_here)
        ask = partial(self._pieces, await _ahttp(), request)
        heard = Heard(request, self._sent(request), self._read)
        try:
            with self._seam(request) as timeout:
                async with aclosing(astream_within(ask, timeout)) as pieces:
                    async for piece in pieces:
                        for text in heard.take(piece):
                            yield text
        except ModelError as error:
            heard.break_off(error)
        yield heard.reply()

    async def _pieces(
        self, http: ModuleType, request: Request
    ) -> AsyncGenerator[Answered | bytes, None]:
        """What comes of a streamed request.

        Raises:
            ModelUnavailable: The server refuses to tell its usage, which is not asked for again.
        """
        usage = self._asks_usage
        data = body(self._opened(request), request, stream=True, usage=usage)
        async with aclosing(http.post_streaming(self._target, data)) as pieces:
            async for piece in pieces:
                if usage and _refuses_usage(piece):
                    self._asks_usage = False
                    raise ModelUnavailable(f"{self.name}: {_NO_USAGE}", status=piece.status)
                yield piece

    def _opened(self, request: Request) -> str:
        if not request.sample:
            return self._opening
        return opening(self._asked, varied(self._sampling, request.sample))

    @contextmanager
    def _seam(self, request: Request) -> Iterator[float]:
        """The only place where exceptions of the client library come out, and are made ours."""
        timeout = left(self._timeout)
        if timeout <= 0:
            raise not_sent(ModelTimeout(f"{self.name}: no time is left for this call"))
        try:
            yield timeout
        except ModelError:
            raise
        except TimeoutError:
            raise ModelTimeout(
                f"{self.name}: no whole reply within {timeout:.3g} s", hint="raise timeout=..."
            ) from None
        except Exception as error:  # noqa: BLE001  the seam
            raise of_exception(error, self._sent(request), _http().FAILURES) from None

    def _sent(self, request: Request) -> Sent:
        return Sent(self.name, self._endpoint, is_formatted(request), self._secrets)

    def _read(self, request: Request, answered: Answered, seconds: float) -> Reply:
        """The reply in an answer.

        Raises:
            ModelError: It is an error, or holds no reply.
        """
        raw = answered.body or b""
        if answered.status != HTTPStatus.OK:
            raise of_status(answered.status, answered.headers, raw, self._sent(request))
        try:
            data = json.loads(raw)
        except ValueError:
            raise unreadable("the answer is no JSON", self._sent(request)) from None
        try:
            return reply_of(data, answered.headers, model=self.name, seconds=seconds)
        except ValueError as error:
            sent = self._sent(request)
            raise of_data(data, sent) or unreadable(str(error), sent) from None


def _refuses_usage(piece: Answered | bytes) -> bool:
    if isinstance(piece, bytes) or piece.status == HTTPStatus.OK:
        return False
    return b"stream_options" in (piece.body or b"")


# --- the library and the loop -------------------------------------------------------------------


def _http() -> ModuleType:
    """The one module that imports aiohttp."""
    from mtiprompt.models.direct import http

    return http


async def _ahttp() -> ModuleType:
    import asyncio

    if "mtiprompt.models.direct.http" not in sys.modules:
        await asyncio.to_thread(_http)
    return _http()
