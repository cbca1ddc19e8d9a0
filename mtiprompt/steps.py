"""What passes between a conversation and the drivers that hold it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

from mtiprompt.errors import BudgetExceeded, ModelError
from mtiprompt.models.base import LanguageModel
from mtiprompt.render import GroupPrompt
from mtiprompt.repair import Again, Asked
from mtiprompt.result import Answer, Failure, Result
from mtiprompt.wire import Reply, Request

Filled = Answer[Any] | Failure
"""What a slot becomes."""
Place = tuple[int, str]
"""A slot by the number of its item, from 0, and the name of its task."""


class Ask(NamedTuple):
    """A call to be made.

    Attributes:
        group: The index of its group in the plan.
        again: What it asks for, and which rung of the repair judges what it leaves broken.
        prompt: What its request was made with.
        request: What to send.
        model: Whom to send it to.
    """

    group: int
    again: Again
    prompt: GroupPrompt
    request: Request
    model: LanguageModel

    @property
    def asked(self) -> Asked:
        """The slots that it asks for."""
        return self.again.asked


class Finished(NamedTuple):
    """A call that has come back, well or badly."""

    ask: Ask
    outcome: Reply | ModelError | BudgetExceeded


class Partly(NamedTuple):
    """A call whose reply is on its way.

    Attributes:
        ask: The call.
        text: All of the reply that has come so far.
    """

    ask: Ask
    text: str


class Step(NamedTuple):
    """What the conversation wants done next.

    Attributes:
        start: Calls to start.
        keep: A call whose reply has validated, so that its model may store it.
        settled: Slots that are now known: answers, and failures that nothing mends any more.
        results: The result of every item, in the last step.
    """

    start: tuple[Ask, ...] = ()
    keep: Finished | None = None
    settled: tuple[tuple[Place, Filled], ...] = ()
    results: tuple[Result, ...] | None = None


Conversation = Generator[Step, Finished | Partly, None]
"""Yields steps and is sent what has come."""
