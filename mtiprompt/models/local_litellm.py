"""Models in this process at litellm's custom-provider seam, under the provider `local`.

litellm turns every exception that it does not know into one that looks worth a retry. So ours
leave here inside litellm's own of the same meaning, and `original_error` finds them again.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mtiprompt.errors import (
    ContextTooLong,
    ModelError,
    ModelMisconfigured,
    ModelNotFound,
    ModelTimeout,
    RequestRejected,
)
from mtiprompt.models.deadline import run_aside
from mtiprompt.models.streaming import stream_within

PROVIDER = "local"

Answer = Callable[..., dict[str, Any]]
"""`answer(model, payload, timeout=, cancel=, on_text=)` gives a chat completion."""

_CANCEL: ContextVar[threading.Event | None] = ContextVar("mtiprompt_cancel", default=None)


@contextmanager
def stopped_when_left() -> Iterator[None]:
    """Sync calls made inside stop if the block is left by an exception, in other threads too.

    litellm has no parameter that could carry the event, but its calls run in a copy of the context.
    """
    cancel = threading.Event()
    token = _CANCEL.set(cancel)
    try:
        yield
    except BaseException:
        cancel.set()
        raise
    finally:
        _CANCEL.reset(token)


def register(litellm: Any, answer: Answer, names: Iterable[str]) -> None:
    """Teach litellm the provider `local`; what others have registered stays.

    Args:
        litellm: The imported library.
        answer: Answers a call.
        names: Models whose price, nothing, litellm is to know from the start.
    """
    taught = litellm.custom_provider_map
    if not any(one["provider"] == PROVIDER for one in taught):
        handler = _handler_class(litellm)(_Desk(litellm, answer))
        # a new list: another thread may be looking through the old one
        litellm.custom_provider_map = [*taught, {"provider": PROVIDER, "custom_handler": handler}]
        litellm.utils.custom_llm_setup()  # else a price for an unknown provider makes it talk
        for name in names:
            _register_price(litellm, name)


def original_error(error: BaseException) -> ModelError | None:
    """Our error inside whatever litellm made of it; None if there is none."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        if isinstance(at, ModelError):
            return at
        seen.add(id(at))
        at = getattr(at, "original", None) or at.__cause__ or at.__context__
    return None


def _register_price(litellm: Any, name: str) -> None:
    about = {
        "litellm_provider": PROVIDER,
        "mode": "chat",
        "input_cost_per_token": 0.0,
        "output_cost_per_token": 0.0,
        "cache_creation_input_token_cost": 0.0,
        "cache_read_input_token_cost": 0.0,
        "supports_response_schema": True,
    }
    litellm.register_model({f"{PROVIDER}/{name}": about})


def _handler_class(litellm: Any) -> Any:
    """The class of the handler, made when litellm is there to derive from."""

    class LocalHandler(litellm.CustomLLM):  # type: ignore[misc]
        """Hands calls of litellm to the engine."""

        def __init__(self, desk: _Desk) -> None:
            super().__init__()
            self._desk = desk

        def completion(
            self, model: str, messages: list[Any], optional_params: dict[str, Any], **rest: Any
        ) -> Any:
            """Answer a call; it stops when a `stopped_when_left` around it is left."""
            call = _Asked(model, messages, optional_params, _seconds(rest.get("timeout")))
            call.cancel = _CANCEL.get() or call.cancel
            return self._desk.whole(call)

        async def acompletion(
            self, model: str, messages: list[Any], optional_params: dict[str, Any], **rest: Any
        ) -> Any:
            """Answer a call in a worker thread; it stops when the task is cancelled."""
            call = _Asked(model, messages, optional_params, _seconds(rest.get("timeout")))
            try:
                return await asyncio.to_thread(self._desk.whole, call)
            except asyncio.CancelledError:
                call.cancel.set()
                raise

        def streaming(
            self, model: str, messages: list[Any], optional_params: dict[str, Any], **rest: Any
        ) -> Generator[Any, None, None]:
            """Answer a call in litellm's `GenericStreamingChunk`; it stops when that is closed."""
            call = _Asked(model, messages, optional_params, _seconds(rest.get("timeout")))
            return stream_within(partial(_streamed, call, self._desk), math.inf)

        def astreaming(
            self, model: str, messages: list[Any], optional_params: dict[str, Any], **rest: Any
        ) -> AsyncGenerator[Any, None]:
            """As `streaming`, without blocking the event loop."""
            call = _Asked(model, messages, optional_params, _seconds(rest.get("timeout")))
            return _streamed(call, self._desk)

    return LocalHandler


class _Desk:
    """Between litellm's handler and the engine: takes calls, gives replies or litellm's errors."""

    def __init__(self, library: Any, answer: Answer) -> None:
        self._library = library
        self._answer = answer
        self._priced: set[str] = set()

    def whole(self, call: _Asked) -> Any:
        """The reply as litellm wants it."""
        reply = self.ask(call)
        reply["model"] = f"{PROVIDER}/{call.model}"
        return self._library.ModelResponse(**reply)

    def ask(self, call: _Asked, on_text: Callable[[str], None] | None = None) -> dict[str, Any]:
        """The reply of the engine."""
        if call.model not in self._priced:  # a file that no list knows
            _register_price(self._library, call.model)
            self._priced.add(call.model)
        how = {"timeout": call.left(), "cancel": call.cancel, "on_text": on_text}
        try:
            payload = {**_payload(call.params), "messages": call.messages}
            return self._answer(call.model, payload, **how)
        except ModelError as error:
            raise _in_litellm(self._library, error, call.model) from error


@dataclass
class _Asked:
    """A call as litellm hands it over."""

    model: str
    messages: list[Any]
    params: dict[str, Any]
    timeout: float | None
    began: float = field(default_factory=time.monotonic)
    cancel: threading.Event = field(default_factory=threading.Event)

    def left(self) -> float | None:
        """Seconds that are left: a worker thread may have come late to it."""
        if self.timeout is None:
            return None
        return max(0.0, self.timeout - (time.monotonic() - self.began))


async def _streamed(call: _Asked, desk: _Desk) -> AsyncGenerator[dict[str, Any], None]:
    """The chunks of a call that is worked on in another thread."""
    loop = asyncio.get_running_loop()
    inbox: asyncio.Queue[str | dict[str, Any] | Exception] = asyncio.Queue()

    def put(one: str | dict[str, Any] | Exception) -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(inbox.put_nowait, one)

    def work() -> None:
        try:
            put(desk.ask(call, put))
        except Exception as error:  # noqa: BLE001  raised again where the chunks are read
            put(error)

    run_aside(work)
    try:
        while isinstance(came := await inbox.get(), str):
            yield _piece(came)
        if isinstance(came, Exception):
            raise came
        yield _last(came)
    finally:
        call.cancel.set()


def _piece(text: str) -> dict[str, Any]:
    """A piece of text, as litellm's `GenericStreamingChunk`."""
    return {
        "text": text,
        "tool_use": None,
        "is_finished": False,
        "finish_reason": "",
        "usage": None,
        "index": 0,
    }


def _last(reply: dict[str, Any]) -> dict[str, Any]:
    """The end of a stream: why it ended, what it used."""
    finish = reply["choices"][0]["finish_reason"]
    told = {"usage": reply["usage"], "provider_specific_fields": {"timings": reply.get("timings")}}
    return {**_piece(""), "is_finished": True, "finish_reason": finish, **told}


def _payload(params: dict[str, Any]) -> dict[str, Any]:
    """The fields of a call that the engine may know."""
    given = {**params, **(params.get("extra_body") or {})}
    if "max_completion_tokens" in given:
        given["max_tokens"] = given.pop("max_completion_tokens")
    for name in ("extra_body", "stream", "stream_options", "user", "max_retries"):
        given.pop(name, None)
    try:
        json.dumps(given)
    except (TypeError, ValueError) as error:
        raise RequestRejected(f"a parameter is no JSON data: {error}") from error
    return given


def _seconds(timeout: Any) -> float | None:
    if timeout is None or isinstance(timeout, int | float):
        return timeout
    return getattr(timeout, "read", None)  # of httpx


def _in_litellm(litellm: Any, error: ModelError, model: str) -> Exception:
    """Litellm's exception of the same meaning, with ours in its `original`."""
    known = (_KINDS[kind] for kind in type(error).__mro__ if kind in _KINDS)
    make = getattr(litellm.exceptions, next(known, "APIConnectionError"))
    made: Exception = make(message=str(error), model=model, llm_provider=PROVIDER)
    made.original = error  # type: ignore[attr-defined]
    return made


_KINDS: dict[type, str] = {
    ContextTooLong: "ContextWindowExceededError",
    ModelMisconfigured: "BadRequestError",
    ModelNotFound: "NotFoundError",
    ModelTimeout: "Timeout",
    RequestRejected: "BadRequestError",
}
"""Our error, the most special one that has an entry, to the name of litellm's; else one that says
that the server failed."""
