"""The model that a search asks: what it spends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.budget import Budget
from mtiprompt.models.limits import Limits
from mtiprompt.optimizer.asked import budgeted
from mtiprompt.testing import ChatServer, Fault
from mtiprompt.wire import Message, Request

HELLO = Request((Message("user", "Hello"),))


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("kind", ["budget", "limits", "search"])
def test_long_replies_do_not_go_all_at_once(name: str, kind: str) -> None:
    """5,000 tokens allow one call with 4,000 at a time, in a model and in a search, over HTTP."""
    budget = Budget(tokens=5000)
    pace: dict[str, Any] = {"budget": {"budget": budget}, "search": {}}
    pace["limits"] = {"limits": Limits(tokens=5000), "retries": 0, "timeout": 5}
    with ChatServer(faults=lambda received: Fault(delay=0.5)) as server:
        options = {name: 4000, **pace[kind]}
        model: LanguageModel = mti.Model(
            "direct/any", api_base=server.base_url, cache=False, **options
        )
        if kind == "search":
            model = budgeted(model, budget)
        with ThreadPoolExecutor(5) as pool:
            asked = [pool.submit(model.complete, HELLO) for _ in range(5)]
            for one in asked:
                one.exception()
        assert server.most_at_once == 1
