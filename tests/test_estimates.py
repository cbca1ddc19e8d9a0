"""Tokens that a call did not tell of: every part of the client estimates them in the same way."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mtiprompt.models import litellm_stream
from mtiprompt.models.direct import stream as direct_stream
from mtiprompt.models.fakes import tokens_in
from mtiprompt.models.http_errors import Sent
from mtiprompt.models.watch import Watch, prompt_tokens
from mtiprompt.wire import Message, Request


def refuse(*_: Any) -> Any:
    """Reads nothing."""
    raise AssertionError("a stream is not read whole")


@given(st.lists(st.text(max_size=9), max_size=4), st.text(max_size=9))
def test_all_estimates_are_the_same(texts: list[str], said: str) -> None:
    """Limits, meters and both kinds of streams that broke off give a call the same tokens."""
    request = Request(tuple(Message("user", text) for text in texts))
    found = []
    watch = Watch(request, streamed=True)
    watch.piece(said)
    found.append((watch.so_far.prompt_tokens, watch.so_far.completion_tokens))
    sent = Sent("test", "http://127.0.0.1")
    for heard in (litellm_stream.Heard(request), direct_stream.Heard(request, sent, refuse)):
        heard.text = said
        told = heard._estimated()
        found.append((told["prompt_tokens"], told["completion_tokens"]))
    assert set(found) == {(prompt_tokens(request), tokens_in(said))}
