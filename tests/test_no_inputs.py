"""Items without any input: there is still something to send."""

from __future__ import annotations

from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.plan import Layout
from tests.strategies import saying


@mti.task
def joke() -> str:
    """Tell a joke."""
    raise NotImplementedError


@mti.task
def greeting(name: str | None = None, tone: str | None = None) -> str:
    """Greet."""
    raise NotImplementedError


@mti.task
def title(joke: str | None = None) -> str:
    """Name the joke."""
    raise NotImplementedError


PROGRAM = mti.combine(joke, greeting, title)
GOOD = {"joke": "Knock.", "greeting": "Hi.", "title": "Door"}
ITEMS = st.fixed_dictionaries({}, optional={"name": st.just(""), "tone": st.just("warm")})
"""All inputs, some or none."""


def test_a_task_without_inputs() -> None:
    """The message about an item without inputs says something: providers refuse an empty one."""
    model = saying(GOOD)
    assert mti.combine(joke)(model=model).joke == "Knock."
    assert model.asked[0].messages[-1] == mti.Message("user", "Begin.")


def test_inputs_that_are_there_are_all_that_is_said() -> None:
    """An item with an input, be it empty, is as it was."""
    model = saying(GOOD)
    mti.combine(greeting)(name="", model=model)
    assert model.asked[0].messages[-1].content == "name: "


def test_an_answer_that_is_not_there() -> None:
    """A task that can do without the answer that failed is asked about something too."""
    plan = mti.Plan.split(PROGRAM)
    model = saying({**GOOD, "joke": 5.5})
    result = PROGRAM(model=model, plan=plan, repair=mti.Repair.none())
    assert set(result.failures) == {"joke"}
    assert {request.messages[-1].content for request in model.asked} == {"Begin."}


@given(
    st.lists(ITEMS, min_size=1, max_size=3),
    st.lists(ITEMS, max_size=2),
    st.sampled_from(get_args(Layout)),
    st.integers(1, 2),
    st.booleans(),
)
def test_no_message_is_empty(
    items: list[dict[str, str]],
    shown: list[dict[str, str]],
    layout: Any,
    together: int,
    think_first: bool,
) -> None:
    """Whatever items and demonstrations lack, in every layout, alone or together, asked once or
    again: no message of a chat is blank.
    """
    plan = mti.Plan.split(
        PROGRAM,
        demos=[{"inputs": inputs, "outputs": GOOD} for inputs in shown],
        layout=layout,
        items_per_call=together,
        think_first=think_first,
    )
    model = mti.EchoModel()
    list(PROGRAM.map(items, model=model, plan=plan))
    for request in model.requests:
        assert all(message.content.strip() for message in request.messages)
