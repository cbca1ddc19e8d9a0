"""Streams of litellm that stop after their end, and counts of tokens that no server should tell."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt.models.budget import Budget
from mtiprompt.models.direct import DirectModel
from mtiprompt.models.via_litellm import LiteLLMModel
from mtiprompt.testing import ChatServer, Fault
from mtiprompt.wire import Message, Request
from tests.conftest_calls import ASK, Ask
from tests.test_direct import chunk, events, whole
from tests.test_via_litellm import KEY

HELLO = Request((Message("user", "Hello"),))
MODELS: dict[str, Any] = {"openai/any": LiteLLMModel, "direct/any": DirectModel}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize("stops", ["hang_after", "drop_after"])
def test_what_stops_after_its_finish_reason_is_whole(name: str, way: str, stops: str) -> None:
    """A server that says why it ended, and then hangs or hangs up, has given its whole reply."""
    stream = events(chunk("Hel"), chunk("lo"), chunk(finish="stop"))
    stop: Any = {stops: len(stream.body or "")}
    fault = replace(stream, body=f"{stream.body}data: [DONE]\r\n\r\n", **stop)
    with ChatServer(faults=lambda got: fault if got.body.get("stream") else None) as server:
        asked = partial(MODELS[name], name, api_base=server.base_url, api_key=KEY)
        asked().complete(HELLO)  # what the first call sets up is not to be timed
        reply = ASK[way](asked(timeout=1.0), HELLO)
    assert (reply.text, reply.finish_reason) == ("Hello", "stop")
    assert "broken" not in reply.details
    assert reply.usage.calls == 1
    assert reply.usage.completion_tokens > 0


@pytest.mark.parametrize("name", MODELS)
def test_counts_below_zero_are_none(ask: Ask, name: str) -> None:
    """A server that tells a negative number of tokens does not fill up a budget.

    litellm knows the price of the model, but makes no cost below nothing of it.
    """
    told = {"prompt_tokens": -900_000, "completion_tokens": -5, "total_tokens": -900_005}
    told |= {"prompt_tokens_details": {"cached_tokens": -7}}  # type: ignore[dict-item]
    final = chunk(finish="stop", model="gpt-4o-mini")

    def fault(received: Any) -> Fault:
        if received.body.get("stream"):
            return events(chunk("yes"), final, {**final, "choices": [], "usage": told})
        return whole("stop", {"content": "yes"}, model="gpt-4o-mini", usage=told)

    name = name.replace("any", "gpt-4o-mini")
    with ChatServer(faults=fault) as server:
        budget = Budget(tokens=100)
        model = mti.Model(name, api_base=server.base_url, api_key=KEY, cache=False, budget=budget)
        used = ask(model, HELLO).usage
    assert (used.prompt_tokens, used.cached_tokens, used.completion_tokens) == (0, 0, 0)
    assert used.cost is None or used.cost >= 0
    assert budget.left.tokens == 100
