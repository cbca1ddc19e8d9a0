"""Models in this process, called through litellm."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from mtiprompt import errors
from mtiprompt.models import local
from mtiprompt.models.local_call import LocalTimeout
from mtiprompt.render import write_json
from tests.conftest_models import (
    HELLO,
    LONG,
    MODEL,
    SCHEMA,
    SIZES,
    asked,
    busy,
    settled,
)

OPTIONS = {f"mti_{name}": value for name, value in SIZES.items()}


def test_litellm_reaches_the_engine(
    litellm_local: Any, local_engine: local.Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    """A sync call comes back whole, costs nothing and prints nothing; registering again is idle."""
    before = list(litellm_local.custom_provider_map)
    local.register(litellm_local)
    assert litellm_local.custom_provider_map == before
    reply = litellm_local.completion(
        f"local/{MODEL}",
        HELLO,
        response_format=asked(SCHEMA),
        mti_notation="lines",
        max_tokens=80,
        temperature=0,
        seed=1,
        logprobs=True,
        timeout=30,
        **OPTIONS,
    )
    text = reply.choices[0].message.content
    assert text == write_json(json.loads(text), "lines")
    assert reply.usage.prompt_tokens == local_engine.count_tokens(HELLO)
    assert reply.usage.prompt_tokens_details.cached_tokens >= 0
    assert reply.choices[0].logprobs.content[0].token == "{"
    assert reply.timings["predicted_n"] == reply.usage.completion_tokens
    assert litellm_local.completion_cost(reply) == 0
    assert capfd.readouterr() == ("", "")


async def test_litellm_async(litellm_local: Any, model_file: Path) -> None:
    """Async calls of a model named by its path run at the same time and leave the loop free."""
    name, ticks = f"local/{model_file}", 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    replies = await asyncio.gather(
        *(
            litellm_local.acompletion(name, HELLO, max_tokens=6, temperature=0, **OPTIONS)
            for _ in range(3)
        )
    )
    ticking.cancel()
    # not the same text: a prompt that another call has read in part gives other roundings
    assert all(reply.choices[0].message.content for reply in replies)
    assert ticks > 3


async def test_a_cancelled_task_stops_the_engine(
    litellm_local: Any, local_engine: local.Engine
) -> None:
    """A task that is cancelled frees its slot."""
    task = asyncio.create_task(litellm_local.acompletion(f"local/{MODEL}", **LONG, **OPTIONS))
    assert await asyncio.to_thread(busy, local_engine)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(settled, local_engine, 20)


async def test_litellm_streams(litellm_local: Any, local_engine: local.Engine) -> None:
    """Pieces put together are the reply in one piece, sync and async, with the usage at the end."""
    asking = {"messages": HELLO, "max_tokens": 12, "temperature": 0, **OPTIONS}
    asking |= {"response_format": asked(SCHEMA), "mti_notation": "compact"}
    name = f"local/{MODEL}"
    whole = await asyncio.to_thread(litellm_local.completion, name, **asking)
    asking |= {"stream": True, "stream_options": {"include_usage": True}}
    found = [
        await asyncio.to_thread(lambda: list(litellm_local.completion(name, **asking))),
        [chunk async for chunk in await litellm_local.acompletion(name, **asking)],
    ]
    for chunks in found:
        texts = [chunk.choices[0].delta.content or "" for chunk in chunks]
        assert len([text for text in texts if text]) > 3
        assert "".join(texts) == whole.choices[0].message.content
        assert [one.choices[0].finish_reason for one in chunks if one.choices[0].finish_reason] == [
            "length"
        ]
        used = chunks[-1].usage
        assert used.completion_tokens == whole.usage.completion_tokens
        assert used.prompt_tokens == whole.usage.prompt_tokens
        assert used.prompt_tokens_details.cached_tokens > 0
    assert not local_engine._calls


async def test_a_closed_stream_stops_the_engine(
    litellm_local: Any, local_engine: local.Engine
) -> None:
    """Closing litellm's stream after its first piece frees the slot."""
    asking = {**LONG, **OPTIONS, "stream": True}
    stream = await litellm_local.acompletion(f"local/{MODEL}", **asking)
    assert (await anext(stream)).choices[0].delta.content
    assert local_engine._calls
    await stream.aclose()
    assert await asyncio.to_thread(settled, local_engine, 20)


@pytest.mark.parametrize(
    ("change", "kind", "theirs"),
    [
        ({"model": "local/none"}, errors.ModelNotFound, "NotFoundError"),
        ({"model": "local/x.gguf"}, errors.ModelNotFound, "NotFoundError"),
        ({"timeout": 0.2, **LONG}, LocalTimeout, "Timeout"),
        (
            {"messages": [{"role": "user", "content": "a b c " * 600}]},
            errors.ContextTooLong,
            "ContextWindowExceededError",
        ),
        (
            {"response_format": asked({"type": "text"})},
            errors.SchemaRejected,
            "BadRequestError",
        ),
        ({"temperature": "warm"}, errors.RequestRejected, "BadRequestError"),
        ({"mti_context": 9000}, errors.ModelMisconfigured, "BadRequestError"),
        ({"n": 2}, errors.RequestRejected, "BadRequestError"),
    ],
)
async def test_our_errors_survive_litellm(
    litellm_local: Any, change: dict[str, Any], kind: type[errors.ModelError], theirs: str
) -> None:
    """litellm raises its own exception of the same meaning, and ours is found in it."""
    litellm_local.suppress_debug_info = True
    given = {"model": f"local/{MODEL}", "messages": HELLO, "max_tokens": 4, **OPTIONS, **change}
    with pytest.raises(Exception, match=r".") as caught:
        litellm_local.completion(**given)
    assert type(caught.value).__name__ == theirs
    assert type(local.original_error(caught.value)) is kind
    with pytest.raises(Exception, match=r".") as caught:
        await litellm_local.acompletion(**given)
    assert type(local.original_error(caught.value)) is kind


def test_other_errors_have_no_original() -> None:
    """An exception of others is not taken for ours."""
    error = ValueError("x")
    error.__cause__ = error
    assert local.original_error(error) is None
