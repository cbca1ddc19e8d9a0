"""Every way of asking a model, for the tests of wrappers; `tests/conftest.py` makes them known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from mtiprompt.models.base import LanguageModel
from mtiprompt.wire import Reply, Request

Ask = Callable[[LanguageModel, Request], Reply]


def _whole(pieces: list[str | Reply]) -> Reply:
    """The reply at the end of a stream; the texts before it are its own, or there are none."""
    *texts, reply = pieces
    assert isinstance(reply, Reply)
    assert "".join(map(str, texts)) in {"", reply.text}
    return reply


def streamed(model: LanguageModel, request: Request) -> Reply:
    """The last piece of a stream."""
    return _whole(list(model.stream(request)))


async def astreamed(model: LanguageModel, request: Request) -> Reply:
    """The last piece of a stream, in an event loop."""
    return _whole([piece async for piece in model.astream(request)])


ASK: dict[str, Ask] = {
    "complete": lambda model, request: model.complete(request),
    "acomplete": lambda model, request: asyncio.run(model.acomplete(request)),
    "stream": streamed,
    "astream": lambda model, request: asyncio.run(astreamed(model, request)),
}


@pytest.fixture(params=sorted(ASK))
def ask(request: pytest.FixtureRequest) -> Ask:
    """Every way of asking."""
    return ASK[request.param]
