"""What the engine is made of: grammars, slots and file headers. No model is loaded."""

from __future__ import annotations

import contextlib
import json
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtiprompt.errors import RequestRejected, SchemaRejected
from mtiprompt.models.gguf import Header, read_header
from mtiprompt.models.local_grammar import constrain, grammar, problem
from mtiprompt.models.local_slots import FRESH, Prompt, Slot, Slots, shared
from mtiprompt.render import write_json
from mtiprompt.wire import NOTATIONS, Notation

# --- grammars ----------------------------------------------------------------------------------

OBJECT: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "string"}, "b": {"$ref": "#/$defs/B"}},
    "required": ["a", "b"],
    "$defs": {"B": {"type": "integer"}},
}


def asked(schema: Any, kind: str = "json_schema") -> dict[str, Any]:
    return {"type": kind, "json_schema": {"name": "answers", "schema": schema}}


@given(st.text(min_size=1), st.sampled_from(NOTATIONS))
def test_an_opening_is_how_values_begin(key: str, notation: Notation) -> None:
    """Whatever the first key, a value written in the notation begins as the constraint says."""
    schema = {"type": "object", "properties": {key: {"type": "integer"}}, "required": [key]}
    constraint = constrain(asked(schema), notation)
    written = write_json({key: 1}, notation)
    if notation != "lines" or key.isascii():
        for end in range(len(written) + 1):
            assert not constraint.broken_by(written[:end])
    assert constraint.broken_by("Sure, here is") == (notation != "free")


def test_lines_have_a_property_each() -> None:
    """Keys and line breaks are spelled out, and references still find their definitions."""
    text = grammar(OBJECT, "lines")
    assert text.startswith('%llguidance {}\nstart: "{\\n\\"a\\": " %json {"type": "string"')
    second = text.split('",\\n\\"b\\": " %json ')[1]
    inner, _ = json.JSONDecoder().raw_decode(second)
    assert inner["$ref"] == "#/$defs/B"
    assert inner["$defs"] == OBJECT["$defs"]
    assert text.endswith('"\\n}"')


def test_what_is_no_object_is_written_as_spaced() -> None:
    """`lines` has nothing to break where there are no named properties."""
    for schema in ({"type": "array"}, {"type": "object"}, {**OBJECT, "$ref": "#/$defs/B"}):
        assert grammar(schema, "lines") == grammar(schema, "spaced")


def test_free_hands_the_format_on() -> None:
    """Without a notation, llama.cpp gets the schema itself."""
    assert constrain(asked(OBJECT), "free").payload == {"response_format": asked(OBJECT)}
    assert constrain({"type": "json_object"}, "free").payload["response_format"] == {
        "type": "json_object"
    }
    for text in (None, {"type": "text"}):
        assert constrain(text, "compact").payload == {}


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ("string", "# is not a schema"),
        ({"type": "text"}, "unknown type 'text'"),
        ({"type": ["string", "text"]}, "unknown type 'text'"),
        ({"properties": {"a": {"enum": []}}}, "#/properties/a has no values"),
        ({"items": {"$ref": "#/$defs/No"}}, "#/items refers to #/$defs/No"),
        ({"$ref": "http://example.com/x"}, "which is not there"),
        ({"anyOf": [{"minItems": 3, "maxItems": 2}]}, "#/anyOf/0 has minItems 3 above maxItems 2"),
        ({"minimum": 2, "maximum": 1}, "has minimum 2 above maximum 1"),
    ],
)
@pytest.mark.parametrize("notation", NOTATIONS)
def test_schemas_that_cannot_be_enforced(schema: Any, told: str, notation: Notation) -> None:
    """The place and the mistake are named before anything reaches llama.cpp."""
    assert told in (problem(schema) or "")
    with pytest.raises(SchemaRejected) as caught:
        constrain(asked(schema), notation)
    assert told in str(caught.value)


def test_schemas_that_can() -> None:
    """References, names that look like keywords and booleans are no problem."""
    nested = {"type": "object", "properties": {"type": {"type": "string"}, "enum": True}}
    deep = {"$defs": {"a/b": {"type": "null"}}, "items": {"$ref": "#/$defs/a~1b"}}
    for schema in (OBJECT, nested, deep, {"$ref": "#"}, True, {}):
        assert problem(schema) is None


@pytest.mark.parametrize("wrong", ["json", {"type": "xml"}, {"type": "json_schema"}, 3])
def test_what_is_no_response_format(wrong: Any) -> None:
    """It is refused instead of ignored."""
    with pytest.raises(RequestRejected):
        constrain(wrong, "free")


@pytest.mark.parametrize(
    ("pattern", "free", "spelled"),
    [("^a+$", 1, 1), ("^\\d+$", 0, 1), ("a", 0, 1), ("^(?=a)b$", 0, 0), ("^(a)\\1$", 0, 0)],
)
def test_patterns_are_kept_where_they_hold(pattern: str, free: int, spelled: int) -> None:
    """A pattern that would drop the grammar or print a warning is left to validation."""
    schema = {"type": "object", "properties": {"pattern": {"items": {"pattern": pattern}}}}
    for notation, kept in (("free", free), ("compact", spelled)):
        payload = constrain(asked(schema), notation).payload  # type: ignore[arg-type]
        assert json.dumps(payload).count("pattern") == 1 + kept
    assert schema["properties"]["pattern"]["items"] == {"pattern": pattern}  # type: ignore[index]


# --- slots -------------------------------------------------------------------------------------


def chat(system: str, item: str) -> Prompt:
    return Prompt.of([{"role": "system", "content": system}, {"role": "user", "content": item}])


def taken(slots: Slots, prompt: Prompt, seconds: float = 0.0) -> Slot | None:
    return slots.take(prompt, time.monotonic() + seconds, threading.Event())


def through(slots: Slots, prompt: Prompt) -> int:
    slot = taken(slots, prompt)
    assert slot is not None
    slots.give_back(slot)
    return slot.number


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=30))
def test_shared_beginnings(start: str, one: str, other: str) -> None:
    """What is counted is the longest common beginning."""
    length = shared(start + one, start + other)
    assert (start + one)[:length] == (start + other)[:length]
    assert length >= len(start)
    longer = (start + one)[: length + 1], (start + other)[: length + 1]
    assert longer[0] != longer[1] or min(map(len, longer)) == length


@given(
    introduction=st.text(max_size=40),
    kinds=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=6, unique=True),
    items=st.lists(st.text(max_size=20), min_size=2, max_size=4),
)
def test_each_kind_keeps_its_slot(introduction: str, kinds: list[str], items: list[str]) -> None:
    """With as many slots as kinds of prompt, each has one to itself, whatever they share."""
    slots = Slots(len(kinds))
    # a blank line ends the instructions, so that no kind is the beginning of another
    rounds = [
        [through(slots, chat(f"{introduction}{kind}\0", item)) for kind in kinds] for item in items
    ]
    assert len(set(rounds[0])) == len(kinds)
    assert all(one == rounds[0] for one in rounds)


def test_a_single_message_is_recognised_by_its_first_half() -> None:
    """Programs without a system message keep their slots too."""
    slots = Slots(3)
    tasks = ["Judge the feeling of this: ", "Name the topic of that: "]
    for item in "It is late.", "It broke.":
        found = [
            through(slots, Prompt.of([{"role": "user", "content": task * 3 + item}]))
            for task in tasks
        ]
        assert found == [0, 1]


def test_calls_at_the_same_time_spread() -> None:
    """Calls of one kind take the slots that nobody has used."""
    slots = Slots(3)
    held = [taken(slots, chat("same", item)) for item in "abc"]
    assert sorted(slot.number for slot in held if slot) == [0, 1, 2]
    assert taken(slots, chat("same", "d"), 0.05) is None


def test_another_kind_is_left_alone_for_a_while() -> None:
    """A call waits for the busy slot of its kind; once the others are stale, it takes one."""
    slots = Slots(2)
    through(slots, chat("other", "a"))
    held = taken(slots, chat("same", "a"))
    assert held is not None
    assert held.number == 1
    assert taken(slots, chat("same", "b"), 0.05) is None
    slots.give_back(held)
    for item in range(FRESH * 2):
        assert through(slots, chat("same", str(item))) == 1
    held = taken(slots, chat("same", "c"))
    second = taken(slots, chat("same", "d"))
    assert second is not None
    assert second.number == 0


def test_a_slot_goes_to_the_first_in_the_queue() -> None:
    """Who has waited longest is next, and who has given up is passed over."""
    slots = Slots(1)
    held = taken(slots, chat("x", "0"))
    assert held is not None
    order: list[int] = []
    gone = threading.Event()

    def wait(number: int) -> None:
        slot = slots.take(chat("x", str(number)), None, gone if number == 1 else threading.Event())
        if slot is not None:
            order.append(number)
            slots.give_back(slot)

    threads = []
    for number in range(4):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        while len(slots._waiting) <= number:
            time.sleep(0.001)
    gone.set()
    threads[1].join()
    slots.give_back(held)
    for thread in threads:
        thread.join()
    assert order == [0, 2, 3]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 9)), min_size=1, max_size=24))
def test_no_slot_is_held_twice(calls: list[tuple[str, int]]) -> None:
    """Threads that hold slots at the same time hold different ones, and all are served."""
    slots, holding, served = Slots(3), set[int](), list[int]()

    def call(kind: str, item: int) -> None:
        slot = slots.take(chat(kind, str(item)), None, threading.Event())
        assert slot is not None
        assert slot.number not in holding
        holding.add(slot.number)
        time.sleep(0)
        holding.discard(slot.number)
        served.append(slot.number)
        slots.give_back(slot)

    threads = [threading.Thread(target=call, args=one) for one in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(served) == len(calls)


# --- headers -----------------------------------------------------------------------------------


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def header(*entries: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries)


WHOLE = header(
    text("general.architecture") + struct.pack("<I", 8) + text("llama"),
    text("general.tags") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
    text("general.name") + struct.pack("<I", 8) + text("Small"),
    text("llama.flag") + struct.pack("<I?", 7, True),
    text("llama.context_length") + struct.pack("<II", 4, 2048),
)


def test_a_header_is_read(tmp_path: Path) -> None:
    """Architecture, name and context are found among other entries."""
    file = tmp_path / "x.gguf"
    file.write_bytes(WHOLE + b"rest")
    assert read_header(file) == Header("llama", "Small", 2048)
    file.write_bytes(header())
    assert read_header(file) == Header("", "", None)


@given(data=st.data())
def test_a_damaged_header_is_a_value_error(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever bytes are cut off or changed, the header is read or refused, nothing else."""
    cut = data.draw(st.integers(0, len(WHOLE)))
    place = data.draw(st.integers(0, len(WHOLE) - 1))
    damaged = bytearray(WHOLE)
    damaged[place] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "damaged.gguf"
    for content in (WHOLE[:cut], bytes(damaged), b""):
        file.write_bytes(content)
        with contextlib.suppress(ValueError):
            read_header(file)
