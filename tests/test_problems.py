"""What a model is told of the slots that failed."""

from __future__ import annotations

import datetime
import json
from typing import Any, Literal

import pytest
from pydantic import BaseModel

import mtiprompt as mti
from mtiprompt.parse import parse, parse_items
from mtiprompt.problems import problems
from mtiprompt.render import Problem
from mtiprompt.schema import Slot
from mtiprompt.tasks import Field
from mtiprompt.wire import FinishReason, Reply

SLOTS = [
    Slot(mti.Task[Any](name, "Do.", (Field("message", str),), (Field(name, str),)), (name,))
    for name in ("mood", "product")
]
GOOD = {"mood": "good", "product": "kettle"}


def told(reply: str, *, finish: FinishReason = "stop") -> list[Problem]:
    """What is told of a reply about the items 1 and 2."""
    found = parse_items(Reply(reply, finish_reason=finish), SLOTS, (1, 2))
    failures = {
        (number - 1, name): slot
        for number, slots in found.items()
        for name, slot in slots.items()
        if isinstance(slot, mti.Failure)
    }
    items = sorted({item for item, _ in failures})
    return problems(items, SLOTS, failures)


def test_wrong_numbers_are_told_once() -> None:
    """A reply with a number that was not asked for is told just that, once, and of no item."""
    [one] = told(json.dumps({"1": GOOD, "9": GOOD}))
    assert one == Problem(
        "the reply has an item 9, which was not asked for, so that its numbers cannot be trusted"
    )


@pytest.mark.parametrize(
    ("reply", "finish"),
    [(json.dumps({"1": GOOD}), "stop"), (json.dumps({"1": GOOD})[:-1], "length"),
     (json.dumps({"1": GOOD, "2": [1]}), "stop"),
     (json.dumps({"1": GOOD, "2": GOOD})[:-40], "length")],
)  # fmt: skip
def test_an_item_that_is_left_out_is_named(reply: str, finish: FinishReason) -> None:
    """Where the answers of one item are missing, the model is told of that item, once."""
    assert told(reply, finish=finish) == [Problem("no answer", 2)]


@pytest.mark.parametrize(
    ("reply", "message"),
    [("", "the reply is empty"), ("No.", "the reply holds no JSON object"),
     ('{"item": 1}', "the reply has none of the keys"),
     ("{", "the reply ended before any answer")],
)  # fmt: skip
def test_a_reply_without_any_answer_is_told_as_a_whole(reply: str, message: str) -> None:
    """What is wrong with a whole reply is told once, for one item as for several."""
    assert told(reply) == [Problem(message)]
    alone = parse(Reply(reply), SLOTS)
    failures = {(0, name): slot for name, slot in alone.items() if isinstance(slot, mti.Failure)}
    assert problems([0], SLOTS, failures) == [Problem(message)]


def test_the_next_prompt_says_what_was_wrong_with_the_numbers() -> None:
    """The call that asks again names the number that nobody asked for, and no item as left out."""
    program = mti.combine("message -> mood", "message -> product")
    wrong = json.dumps({"1": GOOD, "9": GOOD})
    model = mti.ScriptedModel([wrong, json.dumps(GOOD), json.dumps(GOOD)])
    rows = [{"message": "a"}, {"message": "b"}]
    plan = mti.Plan.fused(program, items_per_call=2)
    assert [row.mood for row in program.map(rows, model=model, plan=plan)] == ["good", "good"]
    second = model.requests[1].messages[-1].content
    assert second.count("the reply has an item 9") == 1
    assert "no answer" not in second


class Item(BaseModel):
    """A label among other things."""

    kind: Literal["a", "b"]
    n: int
    when: datetime.date


def told_of(kind: Any, reply: str) -> str:
    """What is told of one value of a type."""
    task = mti.Task[Any]("x", "Do.", (Field("message", str),), (Field("x", kind),))
    slot = Slot(task, ("x",))
    found = parse(Reply(f'{{"x": {reply}}}'), [slot])["x"]
    assert isinstance(found, mti.Failure)
    [one] = problems([0], [slot], {(0, "x"): found})
    return one.message


@pytest.mark.parametrize("kind", [Literal["a", "b"], Literal["a", "b"] | None])
def test_labels_are_not_told_again(kind: Any) -> None:
    """A bare label that is none is told in three words: the labels stand in the form already."""
    assert told_of(kind, '"c"') == "no allowed label"


def test_a_wrong_label_hides_nothing_else() -> None:
    """A label inside a value is told with its place, and so is what else is wrong there."""
    whole = '{"kind": "a", "n": 1, "when": "2024-01-01"}'
    message = told_of(list[Item], f'[{whole}, {{"kind": "c", "n": 1}}]')
    assert message == "1.kind: Input should be 'a' or 'b'; 1.when: Field required"


def test_a_long_list_of_labels_hides_nothing_else() -> None:
    """Many labels are cut short, so that what is wrong behind them is told."""
    labels: Any = Literal[tuple(f"label {n}" for n in range(90))]
    message = told_of(tuple[labels, int], '["none of them", "x"]')
    assert message.startswith("0: Input should be 'label 0', 'label 1'")
    assert message.endswith("1: Input should be a valid integer")


def test_keys_that_are_allowed_are_told() -> None:
    """A wrong key of a mapping is told with the keys that are allowed."""
    assert told_of(dict[Literal["food", "service"], int], '{"Kitchen": 3}') == (
        "Kitchen.[key]: Input should be 'food' or 'service'"
    )
