"""Models through litellm: any provider it knows, and the engine in this process.

litellm takes two seconds and 160 MB to import, so that waits for the first call (or `warm()`). It
would also fetch a price list, read `.env` of the working directory into the environment, and send
each request up to three times; all of that is switched off. Its time-out is one per read, so every
call has a deadline of our own around it.

Sync calls go through litellm's sync functions in a worker thread: 30 us of our own, and beside a
server that answers at once 4 to 10% more than a bare call, since the result waits behind litellm's
logging; through a loop it is more. Async calls run on the background loop, which costs 8% more CPU
than the caller's, because on a loop that ends litellm leaks every connection. Streams run there
too, sync ones as well: only there can a call be stopped that waits for its server.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any
from urllib.parse import unquote, urlsplit

from mtiprompt.errors import ModelError, ModelTimeout, ModelUnavailable, SettingsError
from mtiprompt.models.base import BaseModel
from mtiprompt.models.deadline import arun_within, beside_loop, left, run_within
from mtiprompt.models.litellm_stream import STREAMED, Heard, chunks_of
from mtiprompt.models.meter import not_sent
from mtiprompt.models.naming import (
    check_allowed,
    check_headers,
    checked_params,
    endpoint_identity,
    endpoint_of,
    is_local,
    is_loopback,
    litellm_id,
    public_endpoint,
    secrets_in,
    state_of_file,
    support_of,
    taken,
    varied,
    without_secrets,
)
from mtiprompt.models.rate_headers import count_of, rate_limits
from mtiprompt.models.streaming import Make, astream_within, stream_within
from mtiprompt.wire import FINISHED, Reply, Request, Usage, canonical

LOCAL_TOKENS = 1024
"""Tokens that a model in this process may write, where no argument says otherwise."""
PUT_OFF = ("litellm.proxy.openai_files_endpoints.common_utils", "openai.resources")
"""What litellm imports at its first call only, for two seconds; local models need the first."""


@dataclass(frozen=True)
class LocalOptions:
    """How the engine in this process is set up; what is None, the engine chooses.

    Attributes:
        slots: Calls that it works on at the same time, each with a prefix cache of its own.
        context: Tokens that one call may have in all.
        threads: Threads that it computes with.
    """

    slots: int | None = None
    context: int | None = None
    threads: int | None = None

    def parameters(self) -> dict[str, int]:
        """The parameters of a call that carry them."""
        given = {"slots": self.slots, "context": self.context, "threads": self.threads}
        return {f"mti_{name}": value for name, value in given.items() if value is not None}


class LiteLLMModel(BaseModel):
    """A model that litellm knows.

    Requests with a sample number from 1 on get a temperature of at least 0.7 where one is set, and
    the seed plus that number where there is a seed; models in this process always have both, so
    that their samples differ and can be had again. Sample 0 is asked as the parameters say.

    Args:
        name: As litellm wants it, `provider/model`; or `local/NAME` or `local:/path.gguf`.
        api_base: The endpoint, if it is not the provider's own.
        api_key: The key; without one, litellm looks into the environment.
        timeout: Seconds for one call in all.
        local: How the engine in this process is set up.
        **params: Sampling and whatever else litellm or the provider takes. `temperature` is sent
            only if given: reasoning models refuse it; models in this process default to 0.

    Raises:
        SettingsError: A parameter needed here, or that is no JSON; a bad address, key or header.
    """

    def __init__(
        self,
        name: str,
        *,
        api_base: str | None = None,
        api_key: str | None = None,
        timeout: float = 60.0,
        local: LocalOptions | None = None,
        **params: Any,
    ) -> None:
        self.name = name
        self.params = checked_params(params)
        check_headers(name, api_key, taken(dict(self.params), "extra_headers"))
        self._local = is_local(name)
        self._endpoint = endpoint_of(name, api_base)
        self._stays_here = self._local or is_loopback(self._endpoint)
        self._timeout = timeout
        model = litellm_id(name)
        engine: dict[str, Any] = {}
        if self._local:
            self.params = {"temperature": 0.0, "max_tokens": LOCAL_TOKENS, **self.params}
            engine = (local or LocalOptions()).parameters()
        public = endpoint_identity(self._endpoint), without_secrets(self.params)
        self.identity = canonical([model, *public, state_of_file(model)])
        self.support = support_of(name)
        secret = secrets_in({"api_key": api_key, **self.params})
        self._secrets = (*secret, *_secrets_of(name, self._endpoint))
        self._fixed = self.params | engine | {"model": model, "max_retries": 0}
        given = {"api_base": self._endpoint, "api_key": api_key}
        self._fixed |= {what: value for what, value in given.items() if value}

    def warm(self) -> None:
        """Import litellm now instead of at the first call; see `load` for the rest."""
        self._library()

    def load(self) -> None:
        """Do what else the first call would; a `ModelError` says why a file cannot be loaded."""
        for name in PUT_OFF[: 1 if self._local else 2]:
            with suppress(ImportError):  # a later litellm may have moved it
                import_module(name)
        if self._local:
            from mtiprompt.models import local

            local.engine_of(self._fixed["model"].partition("/")[2], dict(self._fixed)).warm()

    def _library(self) -> Any:
        library = litellm_library()
        if self._local:
            from mtiprompt.models import local

            local.register(library)
        return library

    def complete(self, request: Request) -> Reply:
        """Ask the model; see `LanguageModel.complete`."""
        check_allowed(self.name, stays_here=self._stays_here)
        litellm = self._library()  # its import counts in no deadline
        with self._seam(request) as timeout:
            began = time.monotonic()
            ask = partial(litellm.completion, **self._arguments(request, timeout))
            response = self._run(ask, timeout)
            return self._reply(response, time.monotonic() - began)

    async def acomplete(self, request: Request) -> Reply:
        """Ask the model without blocking the event loop."""
        import asyncio

        check_allowed(self.name, stays_here=self._stays_here)
        litellm = self._library() if _is_loaded() else await asyncio.to_thread(self._library)
        with self._seam(request) as timeout:
            began = time.monotonic()
            ask = partial(litellm.acompletion, **self._arguments(request, timeout))
            response = await arun_within(ask, timeout)
            return self._reply(response, time.monotonic() - began)

    def stream(self, request: Request) -> Generator[str | Reply, None, None]:
        """Ask the model; gives its texts as they come, and the whole reply last.

        See `LanguageModel.stream`. The time-out is one for the whole stream. A reply that was cut
        off says why in `details["broken"]`; what it used is estimated if the model had not told.
        """
        check_allowed(self.name, stays_here=self._stays_here)
        litellm = self._library()
        heard = Heard(request)
        try:
            with (
                self._seam(request) as timeout,
                closing(stream_within(self._chunks(litellm, request, timeout), timeout)) as chunks,
            ):
                for chunk in chunks:
                    if text := heard.take(chunk):
                        yield text
        except ModelError as error:
            heard.break_off(error)
        yield self._whole(litellm, heard)

    async def astream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """As `stream`, without blocking the event loop."""
        import asyncio

        check_allowed(self.name, stays_here=self._stays_here)
        litellm = self._library() if _is_loaded() else await asyncio.to_thread(self._library)
        heard = Heard(request)
        try:
            with self._seam(request) as timeout:
                make = self._chunks(litellm, request, timeout)
                async with aclosing(astream_within(make, timeout)) as chunks:
                    async for chunk in chunks:
                        if text := heard.take(chunk):
                            yield text
        except ModelError as error:
            heard.break_off(error)
        yield self._whole(litellm, heard)

    def _chunks(self, litellm: Any, request: Request, timeout: float) -> Make[Any]:
        ask = partial(litellm.acompletion, **self._arguments(request, timeout), **STREAMED)
        return partial(chunks_of, ask)

    def _whole(self, litellm: Any, heard: Heard) -> Reply:
        response = heard.response(litellm, self._fixed["model"])
        return heard.marked(self._reply(response, heard.seconds))

    def _run(self, ask: Callable[[], Any], timeout: float) -> Any:
        if not self._local:
            return run_within(partial(beside_loop, ask), timeout)
        from mtiprompt.models import local

        with local.stopped_when_left():
            return run_within(ask, timeout)

    def _arguments(self, request: Request, timeout: float) -> dict[str, Any]:
        """What litellm is called with."""
        messages = [{"role": one.role, "content": one.content} for one in request.messages]
        # litellm has a client for each value of timeout, so those elsewhere get always the same
        arguments = {**self._fixed, "messages": messages, "timeout": self._timeout}
        if self._local:
            arguments |= {"mti_notation": request.notation, "timeout": timeout}
        if formatted := _response_format(request):
            arguments["response_format"] = formatted
        if request.sample:
            given = {"seed": 0, **self.params} if self._local else self.params
            arguments |= varied(given, request.sample)
        return arguments

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
            raise self._late(timeout) from None
        except Exception as error:  # noqa: BLE001  the seam
            raise self._ours(error, request) from None

    def _late(self, timeout: float) -> ModelTimeout:
        kind = ModelTimeout
        if self._local:
            from mtiprompt.models.local_call import LocalTimeout

            kind = LocalTimeout
        return kind(f"{self.name}: no whole reply within {timeout:.3g} s", hint="raise timeout=...")

    def _ours(self, error: Exception, request: Request) -> ModelError:
        from mtiprompt.models.litellm_errors import Sent, translate  # most processes see none

        if self._local:
            from mtiprompt.models import local

            if original := local.original_error(error):
                return original
        formatted = _response_format(request) is not None
        where = public_endpoint(self._endpoint)
        return translate(error, Sent(self.name, where, formatted, self._secrets))

    def _reply(self, response: Any, seconds: float) -> Reply:
        choices = getattr(response, "choices", None)
        if not choices:
            raise ModelUnavailable(f"{self.name}: the reply has no choices")
        message = choices[0].message
        refusal = (getattr(message, "provider_specific_fields", None) or {}).get("refusal")
        reason = FINISHED.get(str(choices[0].finish_reason), "stop")
        return Reply(
            text=refusal or message.content or "",
            finish_reason="refused" if refusal else reason,
            usage=self._usage(response, seconds),
            model=response.model or self.name,
            details=_details(response),
        )

    def _usage(self, response: Any, seconds: float) -> Usage:
        used = getattr(response, "usage", None)
        read = getattr(used, "prompt_tokens_details", None)
        hidden = getattr(response, "_hidden_params", None) or {}
        cost = 0.0 if self._local else hidden.get("response_cost")
        return Usage(
            calls=1,
            prompt_tokens=count_of(getattr(used, "prompt_tokens", None)),
            cached_tokens=count_of(getattr(read, "cached_tokens", None)),
            completion_tokens=count_of(getattr(used, "completion_tokens", None)),
            cost=None if cost is None or cost < 0 else cost,  # a server may tell negative counts
            seconds=seconds,
        )


def _secrets_of(name: str, endpoint: str | None) -> tuple[str, ...]:
    """The password that an address holds, or else the name, in all forms it may come back in."""
    try:
        parts = urlsplit(endpoint or "")
    except ValueError:
        raise SettingsError(
            f"{name}: api_base={public_endpoint(endpoint)!r} is no address of a server",
            hint="http://127.0.0.1:8000/v1 is one",
        ) from None
    user, password = parts.username or "", parts.password or ""
    secret = password or user  # a key may stand in the place of the user
    if not secret:
        return ()
    login = f"{unquote(user)}:{unquote(password)}"
    return (secret, unquote(secret), b64encode(login.encode()).decode())


def _response_format(request: Request) -> dict[str, Any] | None:
    if request.level == "json_object":
        return {"type": "json_object"}
    if request.level == "prompt" or request.schema is None:
        return None
    # read afresh: litellm changes schemas in place for some providers
    schema = json.loads(request.schema.text)
    named = {"name": request.schema.name, "schema": schema, "strict": request.schema.strict}
    return {"type": "json_schema", "json_schema": named}


def _details(response: Any) -> dict[str, Any]:
    """What else the provider reports, as far as it is plain data."""
    wrote = getattr(getattr(response, "usage", None), "completion_tokens_details", None)
    hidden = getattr(response, "_hidden_params", None) or {}
    headers = hidden.get("additional_headers")
    logprobs: Any = getattr(response.choices[0], "logprobs", None)
    found = {
        "system_fingerprint": (str, getattr(response, "system_fingerprint", None)),
        "reasoning_tokens": (int, getattr(wrote, "reasoning_tokens", None)),
        "timings": (dict, getattr(response, "timings", None)),
        "logprobs": (dict, logprobs.model_dump() if hasattr(logprobs, "model_dump") else logprobs),
        "rate_limits": (dict, headers and (rate_limits(headers) or None)),
    }
    return {name: value for name, (kind, value) in found.items() if isinstance(value, kind)}


# --- the library ------------------------------------------------------------------------------

_LOADED: dict[int, Any] = {}  # process id to the library
_PARENTS: list[Any] = []
_LOCK = threading.Lock()


def _is_loaded() -> bool:
    return os.getpid() in _LOADED


def list_prices(name: str) -> tuple[float, float | None, float] | None:
    """US dollars a token in litellm's table: read, read from a cache, written; None if unknown."""
    table = litellm_library().model_cost
    found = table.get(name) or table.get(name.partition("/")[2])
    if not found or not found.get("output_cost_per_token"):
        return None
    cached = found.get("cache_read_input_token_cost")
    return found["input_cost_per_token"], cached, found["output_cost_per_token"]


def litellm_library() -> Any:
    """The library, imported and made quiet."""
    here = os.getpid()
    if here not in _LOADED:
        with _LOCK:
            if here not in _LOADED:
                library = _import()
                if _LOADED:  # forked: the parent's connections are neither to be used nor closed
                    _PARENTS.append(library.in_memory_llm_clients_cache)
                    library.in_memory_llm_clients_cache = type(_PARENTS[-1])()
                _LOADED[here] = library
    return _LOADED[here]


def _import() -> Any:
    # before the import: no price list from the network, no .env into the environment
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    import litellm

    litellm.suppress_debug_info = True
    litellm.disable_hf_tokenizer_download = True
    logging.getLogger("LiteLLM").setLevel(logging.ERROR)
    return litellm
