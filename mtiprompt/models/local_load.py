"""A model file is loaded: which sizes it gets, and how llama.cpp is set up for it.

The only importer of xllamacpp.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mtiprompt import settings
from mtiprompt.errors import ModelMisconfigured, ModelNotFound
from mtiprompt.models.gguf import read_header

CONTEXT = 8192
"""Tokens of prompt and reply together, where neither the caller nor the model says less."""
BATCH = 256
"""Tokens of a prompt that are read before llama.cpp asks whether to go on."""


def sizes(path: Path, slots: int, context: int | None, threads: int | None) -> tuple[int, int, int]:
    """Slots, context and threads, checked and filled in.

    Args:
        path: The model file.
        slots: Calls at the same time.
        context: Tokens of prompt and reply together; None: as many as usual, if the model has them.
        threads: Threads; None: those of the settings, else as many as cores.

    Raises:
        ModelNotFound: The file cannot be read.
        ModelMisconfigured: It is no model, or a number makes no sense for it.
    """
    try:
        most = read_header(path).context
    except OSError as error:
        raise ModelNotFound(f"cannot read the model {path}: {error.strerror}") from error
    except ValueError as error:
        raise ModelMisconfigured(f"{path} is no GGUF model: {error}") from error
    threads = threads or settings.current().threads or cores()
    context = context or min(CONTEXT, most or CONTEXT)
    for name, value in (("slots", slots), ("context", context), ("threads", threads)):
        if value < 1:
            raise ModelMisconfigured(f"{name}={value} makes no sense for a local model")
    if most is not None and context > most:
        raise ModelMisconfigured(
            f"{path.stem} has a context of {most} tokens, not {context}", hint=f"at most {most}"
        )
    return slots, context, threads


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_SPIN = {"GOMP_SPINCOUNT": "1000"}
"""How long a thread waits busily for the others. The default, 300 times that, brings two threads on
two cores to a standstill as soon as another process wants one of the cores."""


def _library() -> Any:
    """xllamacpp, whose threads are told how to wait while it is loaded."""
    set_here = {} if os.environ.keys() & {"OMP_WAIT_POLICY", *_SPIN} else _SPIN
    os.environ.update(set_here)
    try:
        import xllamacpp
    except ImportError as error:
        raise ModelMisconfigured(
            "the engine for local models is not installed",
            hint='pip install "mtiprompt[local]"',
        ) from error
    finally:
        for name in set_here:
            del os.environ[name]
    return xllamacpp


def load(
    path: Path, slots: int, context: int, threads: int, key: str, *, swa_full: bool = False
) -> Any:
    """llama.cpp's server for a model, in this process.

    Args:
        path: The model file.
        slots: Calls at the same time.
        context: Tokens of each of them.
        threads: Threads.
        key: What whoever asks its listener has to know.
        swa_full: Keep what a sliding window has left behind.

    Raises:
        ModelMisconfigured: The engine is not installed, or the file cannot be loaded.
    """
    xllamacpp = _library()
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_parallel = slots
    params.n_ctx = context * slots
    params.n_batch = params.n_ubatch = BATCH
    params.swa_full = swa_full
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.warmup = False
    params.verbosity = -1
    # a slot for each kind of prompt makes a second store of prompts needless
    params.cache_ram_mib = 0
    # its listener cannot be turned off
    params.api_keys = [key]
    params.cors_origins = ""
    params.ui = params.endpoint_slots = False
    params.n_threads_http = 1
    params.endpoint_metrics = True
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise ModelMisconfigured(
            f"{path} cannot be loaded: {error}",
            hint="the file may be damaged, or the context too large for the memory",
        ) from error
    # answered from its loop: a server that is freed before the loop turns waits for ever
    server.handle_metrics()
    return server
