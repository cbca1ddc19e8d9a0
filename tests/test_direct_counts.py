"""Models asked without litellm: every request that a server reads is counted, and paid."""

from __future__ import annotations

from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt import errors
from mtiprompt.models.budget import Budget
from mtiprompt.models.direct import DirectModel
from mtiprompt.testing import ChatServer, Fault
from tests.conftest_calls import ASK
from tests.test_direct import chunk, client, events, impolite, streams
from tests.test_via_litellm import ask


@pytest.mark.parametrize("answers", [0, 1])
def test_a_connection_that_closes_on_a_request_is_an_error(answers: int) -> None:
    """The server reads a request and hangs up: it may have done what was asked.

    So nothing is sent again that nobody has paid for, over a new connection or one that was kept.
    """
    with impolite(answers=answers, reads_on=True) as (address, counts):
        model = DirectModel("direct/any", api_base=address)
        assert [model.complete(ask()).text for _ in range(answers)] == ["ok"] * answers
        for way in ASK.values():
            with pytest.raises(errors.ModelUnavailable) as caught:
                way(model, ask())
            assert caught.value.retryable
            assert [way(model, ask()).text for _ in range(answers)] == ["ok"] * answers
    assert sum(counts) == answers + len(ASK) * (1 + answers)


@pytest.mark.parametrize("way", ["complete", "acomplete"])
def test_what_is_sent_again_is_counted(way: str) -> None:
    """Behind the retries every request that the server reads is paid from the budget, and metered.

    Where the budget has no more calls, nothing is sent a second time.
    """
    with impolite(answers=1, reads_on=True) as (address, counts):
        budget = Budget(calls=4)
        model = mti.Model("direct/any", api_base=address, cache=False, budget=budget)
        assert [ASK[way](model, ask()).usage.calls for _ in range(2)] == [1, 2]
        with pytest.raises(errors.BudgetExceeded):
            ASK[way](model, ask())
        assert sum(counts) == budget.spent.calls == model.usage.calls == 4


@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize("calls", [1, 3])
def test_a_server_that_refuses_to_tell_its_usage(way: str, calls: int) -> None:
    """It is asked again without, once, and never so again; each request is paid."""

    def fault(received: Any) -> Fault:
        if "stream_options" in received.body:
            return Fault(422, "stream_options: extra inputs are not permitted")
        return events(chunk("Hello", "stop"))

    with ChatServer(faults=fault) as server:
        budget = Budget(calls=calls)
        model = mti.Model("direct/any", api_base=server.base_url, cache=False, budget=budget)
        replies = [ASK[way](model, ask()) for _ in range(calls - 1)]
        with pytest.raises(errors.BudgetExceeded):
            ASK[way](model, ask())
        asked = ["stream_options" in one.body for one in server.requests]
    assert [(one.text, one.usage.calls) for one in replies] == [("Hello", 2), ("Hello", 1)][
        : calls - 1
    ]
    assert asked == [True, False, False][:calls]
    assert len(asked) == budget.spent.calls == model.usage.calls


def test_without_retries_a_refusal_to_tell_the_usage_is_told_once() -> None:
    """`retries=0` sends no second request: the first stream is an error, and those after it go."""
    refused = Fault(400, "Unknown parameter: stream_options")
    with ChatServer(faults=[refused]) as server:
        failed, well = streams(client(server), ask())
        assert server.count == 2
    assert isinstance(failed, errors.ModelUnavailable)
    assert "stream_options" in str(failed)
    assert failed.retryable
    assert isinstance(well, list)
