"""Models that run in this process, through llama.cpp (xllamacpp).

One `Engine` owns one model file. It answers several calls at once, keeps a slot for each kind of
prompt (`local_slots.py`), holds replies to a schema in a notation (`local_grammar.py`), stops at a
deadline and is closed when the interpreter ends. litellm reaches it through `local_litellm.py`.

Each call into llama.cpp runs in a thread of its own: signals would otherwise wait for it, and the
caller could not leave at its deadline. llama.cpp asks back after each token, and while it reads a
long prompt after each batch of tokens (`local_load.py`); there a call that nobody waits for any
more is stopped.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import secrets
import sys
import threading
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mtiprompt.errors import (
    ModelError,
    ModelMisconfigured,
    ModelUnavailable,
    RequestRejected,
)
from mtiprompt.models import catalogue, local_litellm
from mtiprompt.models.catalogue import resolve as resolve
from mtiprompt.models.local_call import Call, LocalTimeout, prepared, refused
from mtiprompt.models.local_litellm import original_error as original_error
from mtiprompt.models.local_litellm import stopped_when_left as stopped_when_left
from mtiprompt.models.local_load import cores as cores
from mtiprompt.models.local_load import load, sizes
from mtiprompt.models.local_slots import Prompt, Slots, wait_for

SLOTS = 6
"""Calls at the same time, and kinds of prompt that stay read: five tasks asked apart, and fused."""
CLOSING = 30.0
"""Seconds that `close` waits for calls to stop."""
WARMING = 600.0
"""Seconds that `warm` waits for its token: a large file is read from the disk for it."""

_SPAWN = 'use the spawn start method: multiprocessing.set_start_method("spawn")'


class Engine:
    """A model file, loaded, with everything that its calls share.

    Use `engine()` to get the one that a process has for a file.

    Args:
        path: The GGUF file.
        slots: Calls at the same time; further ones wait their turn.
        context: Tokens for each of them, prompt and reply together. Memory is taken for all of
            them at once.
        threads: Threads that compute; None: the setting, else one for each core.
        swa_full: Keep what a sliding window has left behind. Then a model that has one goes back
            to any place of what it has read without reading some tokens again, for more memory.

    Raises:
        ModelNotFound: There is no such file.
        ModelMisconfigured: It is no model, the engine is not installed, a number makes no sense,
            or an engine was in use in the process that this one was forked from.
    """

    def __init__(
        self,
        path: Path,
        *,
        slots: int = SLOTS,
        context: int | None = None,
        threads: int | None = None,
        swa_full: bool = False,
    ) -> None:
        _check_process()
        self.path = path
        self.slots, self.context, self.threads = sizes(path, slots, context, threads)
        self._key = secrets.token_hex(32)
        self._server = load(
            path, self.slots, self.context, self.threads, self._key, swa_full=swa_full
        )
        self._slots = Slots(self.slots)
        self._calls: set[Call] = set()
        self._closed = threading.Event()
        self._warm = False
        _claim_process(self)

    def warm(self) -> None:
        """Write one token under a grammar, where no call has: that sets up what takes long.

        Raises:
            ModelError: See `post`.
        """
        if not self._warm:
            held = '%llguidance {}\nstart: "a"\n'
            body = {"prompt": [0], "n_predict": 1, "cache_prompt": False, "grammar": held}
            self.post("/completion", body, timeout=WARMING)
            self._warm = True

    def chat(
        self,
        payload: Mapping[str, Any],
        *,
        timeout: float | None = None,
        cancel: threading.Event | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """Answer a chat.

        Args:
            payload: As for OpenAI's chat completions: `messages`, `response_format`, `max_tokens`,
                `temperature`, `seed`, `stop`, `logprobs`, ... and `mti_notation`, how the JSON of
                the reply is spaced.
            timeout: Seconds from now, waiting for a slot included.
            cancel: Set it to stop the call.
            on_text: Called with each piece of the text as it comes, from another thread. It must
                return at once and not raise.

        Returns:
            A chat completion as OpenAI's API has it; with `usage.prompt_tokens_details
            .cached_tokens` and llama.cpp's `timings`.

        Raises:
            LocalTimeout: The time was up first; a `ModelTimeout` that a retry does not help.
            ContextTooLong: The prompt does not fit.
            SchemaRejected: The schema cannot be enforced.
            RequestRejected: The request makes no sense to the engine.
            ModelMisconfigured: This process was forked from the one that loaded the model.
            ModelUnavailable: The engine is closed or failed.
        """
        _check_process()
        end = None if timeout is None else time.monotonic() + timeout
        request, constraint = prepared(payload)
        call = Call(self.path.stem, constraint, cancel or threading.Event(), on_text)
        slot = self._slots.take(Prompt.of(request["messages"]), end, call.given_up)
        try:
            if slot is None:
                raise self._late(call, timeout)
            self._start(call, {**request, "id_slot": slot.number}, slot)
            finished = wait_for(call.done, end, call.given_up)
            if call.given_up.is_set() or not finished:  # given up, it may be done but not whole
                raise self._late(call, timeout)
            reply = call.reply()
            self._warm = self._warm or "grammar" in request
            return reply
        finally:
            call.left = True

    def _start(self, call: Call, request: dict[str, Any], slot: Any) -> None:
        server = self._server

        def work() -> None:
            try:
                call.run(server, request)
            finally:
                self._calls.discard(call)
                self._slots.give_back(slot)
                call.done.set()

        self._calls.add(call)
        try:
            if self._closed.is_set():
                raise ModelUnavailable(f"{self.path.stem} is closed")
            threading.Thread(target=work, name="mtiprompt-local", daemon=True).start()
        except BaseException:
            self._calls.discard(call)
            self._slots.give_back(slot)
            raise

    def _late(self, call: Call, timeout: float | None) -> ModelError:
        if self._closed.is_set():
            return ModelUnavailable(f"{self.path.stem} was closed during the call")
        if call.given_up.is_set():
            return ModelError(f"{self.path.stem}: the call was cancelled")
        came = f"{call.written} tokens came"
        return LocalTimeout(
            f"{self.path.stem}: no whole reply within {timeout:.3g} s; {came}",
            hint="allow more seconds or fewer tokens, or take a smaller model",
        )

    def count_tokens(self, messages: Sequence[Mapping[str, Any]] | str) -> int:
        """Tokens of a chat as the model's template puts it, or of a bare text.

        Raises:
            ModelUnavailable: The engine is closed or failed.
        """
        _check_process()
        if isinstance(messages, str):
            return len(self.post("/tokenize", {"content": messages})["tokens"])
        counted = self.post("/v1/chat/completions/input_tokens", {"messages": list(messages)})
        return int(counted["input_tokens"])

    def post(self, path: str, body: dict[str, Any], *, timeout: float = 30) -> dict[str, Any]:
        """Ask llama.cpp's server itself, for what a chat cannot do.

        Args:
            path: `/tokenize`, `/completion`, ...
            body: As that route wants it; a prompt goes into whatever slot suits.
            timeout: Seconds without an answer.

        Raises:
            RequestRejected: It refuses; ContextTooLong where the prompt is too long.
            ModelMisconfigured: This process was forked from the one that loaded the model.
            ModelUnavailable: The engine is closed, failed or was too slow.
        """
        _check_process()
        if self._closed.is_set():
            raise ModelUnavailable(f"{self.path.stem} is closed")
        request = urllib.request.Request(
            self._server.listening_address + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {self._key}"},
        )
        try:
            with _DIRECT.open(request, timeout=timeout) as response:
                value: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(self.path.stem, error.read()) from error
        except OSError as error:
            raise ModelUnavailable(
                f"{self.path.stem}: the engine gave no answer: {error}"
            ) from error
        return value

    def close(self) -> None:
        """Stop the calls that are running and free the memory; calls from now on fail."""
        if self._closed.is_set():
            return
        self._closed.set()
        end = time.monotonic() + CLOSING
        running = list(self._calls)
        for call in running:
            call.given_up.set()
        for call in running:
            wait_for(call.done, end, threading.Event())
        self._server = None


def _refusal(model: str, body: bytes) -> ModelError:
    """Our error for what llama.cpp's server answers instead of a result."""
    try:
        return refused(model, json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return RequestRejected(f"{model}: {body.decode('utf-8', 'replace')[:300]}")


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


# --- through litellm -------------------------------------------------------------------------


def register(litellm: Any) -> None:
    """Make `litellm.completion("local/NAME", ...)` work; again and again does no harm.

    A call takes, beside OpenAI's parameters, `mti_notation` (`compact`, `spaced`, `lines`, `free`)
    and `mti_slots`, `mti_context`, `mti_threads`, see `Engine`. Its time-out is kept. What it
    raises, `original_error` turns back into ours.
    """
    local_litellm.register(litellm, _answer, catalogue.CATALOGUE)


def _answer(
    model: str, payload: dict[str, Any], *, timeout: float | None, **how: Any
) -> dict[str, Any]:
    began = time.monotonic()
    found = engine_of(model, payload)
    left = None if timeout is None else max(0.0, timeout - (time.monotonic() - began))
    return found.chat(payload, timeout=left, **how)


# --- one engine for a file, in one process ---------------------------------------------------

_ENGINES: dict[tuple[Path, int, int, int], Engine] = {}
_LIVE: weakref.WeakSet[Engine] = weakref.WeakSet()
_LOCK = threading.Lock()
_OWNER: list[int] = []
"""The process in which an engine was loaded: its threads do not follow into a forked child."""


def engine_of(model: str, payload: dict[str, Any]) -> Engine:
    """The engine that answers a call, loaded when first asked for.

    Args:
        model: The model as litellm hands it on, see `resolve`.
        payload: The parameters of the call; those for the engine are taken out.

    Raises:
        ModelError: See `Engine`.
    """
    sizes = {name: payload.pop(f"mti_{name}", None) for name in ("slots", "context", "threads")}
    return engine(resolve(model), **sizes)


def engine(
    path: Path,
    *,
    slots: int | None = None,
    context: int | None = None,
    threads: int | None = None,
) -> Engine:
    """The engine that this process has for a file, loaded when first asked for.

    Args:
        path: The GGUF file.
        slots: As for `Engine`; None: `SLOTS`.
        context: As for `Engine`.
        threads: As for `Engine`.

    Raises:
        ModelError: See `Engine`.
    """
    _check_process()  # before the lock, which another thread may have held during the fork
    path = path.resolve()
    key = (path, *sizes(path, SLOTS if slots is None else slots, context, threads))
    with _LOCK:
        if key not in _ENGINES or _ENGINES[key]._closed.is_set():
            _ENGINES[key] = Engine(path, slots=key[1], context=key[2], threads=key[3])
        return _ENGINES[key]


def close_all() -> None:
    """Close every engine of this process and free its memory."""
    if _OWNER and _OWNER[0] == os.getpid():
        for one in list(_LIVE):
            one.close()
        _ENGINES.clear()


def _check_process() -> None:
    if _OWNER and _OWNER[0] != os.getpid():
        raise ModelMisconfigured(
            "a local model was loaded in the process that this one was forked from", hint=_SPAWN
        )


def _claim_process(loaded: Engine) -> None:
    if not _OWNER:
        _OWNER.append(os.getpid())
        atexit.register(close_all)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)
    _LIVE.add(loaded)


def _after_fork() -> None:
    """Let a forked child end: freeing the parent's servers waits for threads that it has not got.

    The destructors that C++ runs at the end do so too; glibc can be told to leave before them.
    """
    for one in list(_LIVE):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(one._server))
    if sys.platform == "linux":
        with suppress(AttributeError):
            library = ctypes.CDLL(None)
            library.on_exit(library._exit, None)
