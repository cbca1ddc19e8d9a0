"""Models in this process at litellm's custom-provider seam, under the provider `local`.

litellm turns every exception that it does not know into one that looks worth a retry. So ours
leave here inside litellm's own of the same meaning, and `original_error` finds them again.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from mtiprompt.errors import (
    ContextTooLong,
    ModelError,
    ModelMisconfigured,
    ModelNotFound,
    ModelTimeout,
    RequestRejected,
)

PROVIDER = "local"

Answer = Callable[..., dict[str, Any]]
"""`answer(model, payload, timeout=, cancel=)` gives a chat completion."""


def register(litellm: Any, answer: Answer, names: Iterable[str]) -> None:
    """Teach litellm the provider `local`; what others have registered stays.

    Args:
        litellm: The imported library.
        answer: Answers a call.
        names: Models whose price, nothing, litellm is to know from the start.
    """
    taught = litellm.custom_provider_map
    if not any(one["provider"] == PROVIDER for one in taught):
        handler = _handler_class(litellm)(litellm, answer)
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

        def __init__(self, library: Any, answer: Answer) -> None:
            super().__init__()
            self._library = library
            self._answer = answer
            self._priced: set[str] = set()

        def completion(
            self, model: str, messages: list[Any], optional_params: dict[str, Any], **rest: Any
        ) -> Any:
            """Answer a call."""
            call = _Asked(model, messages, optional_params, _seconds(rest.get("timeout")))
            return self._complete(call)

        async def acompletion(
            self, model: str, messages: list[Any], optional_params: dict[str, Any], **rest: Any
        ) -> Any:
            """Answer a call in a worker thread; it stops when the task is cancelled."""
            call = _Asked(model, messages, optional_params, _seconds(rest.get("timeout")))
            try:
                return await asyncio.to_thread(self._complete, call)
            except asyncio.CancelledError:
                call.cancel.set()
                raise

        def streaming(self, model: str, **rest: Any) -> Any:
            """Not offered."""
            error = RequestRejected("a local model does not stream through litellm")
            raise _in_litellm(self._library, error, model) from error

        astreaming = streaming  # not a coroutine: litellm would not wait for it

        def _complete(self, call: _Asked) -> Any:
            if call.model not in self._priced:  # a file that no list knows
                _register_price(self._library, call.model)
                self._priced.add(call.model)
            try:
                payload = {**_payload(call.params), "messages": call.messages}
                reply = self._answer(call.model, payload, timeout=call.left(), cancel=call.cancel)
            except ModelError as error:
                raise _in_litellm(self._library, error, call.model) from error
            reply["model"] = f"{PROVIDER}/{call.model}"
            return self._library.ModelResponse(**reply)

    return LocalHandler


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
