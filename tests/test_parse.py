"""Reply to slots: round trips, dirt, cut-off replies, and whose answer is whose."""

from __future__ import annotations

import datetime
import enum
import itertools
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, TypeAdapter
from pydantic import Field as Limits
from pydantic_core import to_json

import mtiprompt as mti
from mtiprompt.parse import closed_items, parse, parse_items
from mtiprompt.render import write_json
from mtiprompt.result import Answer, Failure
from mtiprompt.schema import Slot
from mtiprompt.tasks import Field
from mtiprompt.wire import FinishReason, Reply
from tests.strategies import Case, cases, same

Slots = dict[str, Answer[Any] | Failure]


def task(name: str, kind: Any, **options: Any) -> mti.Task[Any]:
    """A task with one bare output, named as the task."""
    return mti.Task[Any](name, "Do.", (Field("message", str),), (Field(name, kind),), bare=True,
                         **options)  # fmt: skip


def read(text: str, *, cut: bool = False, **kinds: Any) -> Slots:
    """The slots of a reply to tasks given as name=type."""
    slots = [Slot(task(name, kind), (name,)) for name, kind in kinds.items()]
    return parse(Reply(text, finish_reason="length" if cut else "stop"), slots)


def values(slots: Slots) -> dict[str, Any]:
    """Task name to value, or to the kind of the failure in angle brackets."""
    return {
        name: slot.value if isinstance(slot, Answer) else f"<{slot.kind}>"
        for name, slot in slots.items()
    }


class Mood(BaseModel):
    """A nested answer whose fields have the names of tasks."""

    mood: str
    text: str


Feeling = Literal["positive", "negative"]

# --- round trip ------------------------------------------------------------------------------


@given(st.data(), cases(), st.sampled_from(["compact", "spaced", "lines", "free"]))
def test_every_type_comes_back(data: st.DataObject, case: Case, notation: Any) -> None:
    """What is written in any notation is read back as the same value, without a note."""
    answers = data.draw(case.answers())
    text = write_json(case.dumped(answers), notation)
    found = parse(Reply(text), case.slots())
    assert list(found) == list(case.program.order)
    for name, slot in found.items():
        assert isinstance(slot, Answer), slot
        assert slot.notes == ()
        for one in case.program.tasks[name].outputs:
            assert same(slot.value[one.name], answers[name][one.name])


@given(st.data(), cases())
def test_fields_are_json_that_reads_back(data: st.DataObject, case: Case) -> None:
    """`Answer.fields` is plain JSON data, and means the same answer when it is read again."""
    answers = data.draw(case.answers())
    for name, slot in parse(Reply(json.dumps(case.dumped(answers))), case.slots()).items():
        assert isinstance(slot, Answer)
        again = json.loads(json.dumps(slot.fields))
        assert case.program.tasks[name].read(again) == slot.fields


@given(st.data(), cases(), st.randoms())
def test_order_of_keys_does_not_matter(data: st.DataObject, case: Case, random: Any) -> None:
    """Keys in another order, and keys that nobody asked for, change no answer."""
    answers = data.draw(case.answers())
    pairs = [*case.dumped(answers).items(), ("zzz", [1]), ("unasked", {"label": 5})]
    random.shuffle(pairs)
    found = parse(Reply(json.dumps(dict(pairs))), case.slots())
    assert all(isinstance(slot, Answer) for slot in found.values())


# --- whose answer is whose -------------------------------------------------------------------

TAGGED = [task("mood", str), task("tone", str), task("reply", Mood), task("text", str)]
TAGGED_SLOTS = [Slot(one, (one.name,)) for one in TAGGED]
TRUTH = {
    "mood": "M!",
    "tone": "T!",
    "reply": {"mood": "inner mood", "text": "inner text"},
    "text": "X!",
}


def expected(name: str) -> Any:
    """The one right answer of a tagged task."""
    return Mood(**TRUTH["reply"]) if name == "reply" else TRUTH[name]  # type: ignore[arg-type]


@given(
    order=st.permutations(sorted(TRUTH)),
    dropped=st.sets(st.sampled_from(sorted(TRUTH))),
    wrap=st.sampled_from(["{}", "```json\n{}\n```", "Sure! Here it is: {} Hope this helps.",
                          '{{"answer": {}}}', "<think>{{}} mood</think>{}", "[{}]"]),
    dirt=st.sampled_from(["json", "python", "trailing comma", "lines"]),
    cut=st.none() | st.integers(0, 200),
    finish=st.sampled_from(["stop", "length"]),
)  # fmt: skip
def test_no_task_gets_the_answer_of_another(
    order: list[str], dropped: set[str], wrap: str, dirt: str, cut: int | None, finish: FinishReason
) -> None:
    """However a reply is wrapped, spaced, incomplete or cut off, a slot holds its own answer or
    none: a nested field never becomes the answer of the task that has its name.
    """
    given_values = {name: TRUTH[name] for name in order if name not in dropped}
    text = {
        "json": json.dumps(given_values),
        "python": repr(given_values),
        "trailing comma": json.dumps(given_values)[:-1] + ("," if given_values else "") + "}",
        "lines": json.dumps(given_values, indent=2),
    }[dirt]
    text = wrap.format(text)
    found = parse(Reply(text[:cut], finish_reason=finish), TAGGED_SLOTS)
    assert set(found) == set(TRUTH)
    for name, slot in found.items():
        if isinstance(slot, Answer):
            assert slot.value == expected(name)
            assert name not in dropped


def test_nested_field_of_a_cut_reply_is_no_answer() -> None:
    """The inner `mood` of a closed value is not the answer of the task `mood`."""
    text = '{"reply": {"mood": "negative", "text": "t"}, "mo'
    found = values(read(text, cut=True, reply=Mood, mood=Feeling))
    assert found == {"reply": Mood(mood="negative", text="t"), "mood": "<cut off>"}


def test_nested_field_beside_a_stray_quote_is_no_answer() -> None:
    """The same where the outer object is not JSON and its inner one is."""
    text = """{'note': 'say "hi', 'reply': {"mood": "negative", "text": "t"}}"""
    assert values(read(text, reply=Mood, mood=Feeling))["mood"] != "negative"


def test_items_by_task_are_those_of_that_task() -> None:
    """In a reply that goes by tasks, what stands under a task's key fills no other task's slot;
    that of the one task that was asked for may wrap its items.
    """
    slots = [Slot(task("reply", Mood), ("reply",)), Slot(task("mood", str), ("mood",))]
    inner = '{"mood": "M", "text": "t"}'
    for text in (f'{{"reply": {{"1": {inner}}}}}', f'{{"reply": {{"1": {inner}, "2": {{"mo'):
        found = parse_items(Reply(text), slots, (1, 2))
        assert isinstance(found[1]["mood"], Failure)
        assert closed_items(text, slots, (1, 2)) == {}
        alone = parse_items(Reply(text), slots[1:], (1, 2), others=["reply"])
        assert isinstance(alone[1]["mood"], Failure)
    [mood] = parse_items(Reply('{"mood": {"1": "M"}}'), slots[1:], (1,))[1].values()
    assert isinstance(mood, Answer)
    assert mood.value == "M"


def test_equal_output_names_stay_apart() -> None:
    """A bare key does not fill the slots of two tasks that share its name."""
    program = mti.combine(
        mti.task("message -> label", name="one"), mti.task("message -> label", name="two")
    )
    slots = [Slot(task, (program.keys[task.name, "label"],)) for task in program.tasks.values()]
    found = parse(Reply('{"label": "x", "two__label": "y"}'), slots)
    assert isinstance(found["one"], Failure)
    assert isinstance(found["two"], Answer)
    assert found["two"].value.label == "y"


# --- cut-off replies -------------------------------------------------------------------------


def written(pairs: dict[str, Any], notation: str) -> tuple[str, dict[str, int]]:
    """A reply, and for each key the length from which on its value has closed."""
    text, ends = "{", {}
    gap = {"compact": ("", ":", ","), "spaced": ("", ": ", ", "), "lines": ("\n", ": ", ",\n")}
    before, colon, comma = gap[notation]
    text += before
    for place, (key, value) in enumerate(pairs.items()):
        body = json.dumps(value, ensure_ascii=place % 2 == 0)
        text += (comma if place else "") + json.dumps(key) + colon + body
        number = isinstance(value, int | float) and not isinstance(value, bool)
        ends[key] = len(text) + number
    return text + before + "}", ends


@given(
    st.data(),
    cases(),
    st.sampled_from(["compact", "spaced", "lines"]),
    st.sampled_from(["stop", "length"]),
    st.booleans(),
)
def test_any_cut_keeps_what_had_closed(
    data: st.DataObject, case: Case, notation: str, finish: FinishReason, wrapped: bool
) -> None:
    """Wherever a reply is cut, every value that had closed is kept and no slot holds another."""
    answers = data.draw(case.answers())
    text, ends = written(case.dumped(answers), notation)
    ahead = '{"the answer": ' if wrapped else ""  # no task has an output of this name
    place = data.draw(st.integers(0, len(text)))
    found = parse(Reply(ahead + text[:place], finish_reason=finish), case.slots())
    for slot in case.slots():
        name = slot.task.name
        got = found[name]
        if isinstance(got, Answer):
            for one in slot.task.outputs:
                assert same(got.value[one.name], answers[name][one.name])
        else:
            assert not all(ends[key] <= place for key in slot.keys), got


def test_half_a_number_is_no_answer() -> None:
    """12 of 123 is not kept, though it is a whole number."""
    assert values(read('{"a": true, "n": 12', cut=True, a=bool, n=int)) == {
        "a": True,
        "n": "<cut off>",
    }


def test_number_before_a_blank_had_closed() -> None:
    """A number that white space follows was whole."""
    assert values(read('{"a": true,\n"n": 12\n', cut=True, a=bool, n=int)) == {"a": True, "n": 12}


def test_half_an_escape_is_no_answer() -> None:
    r"""A string cut behind `\"` has not closed."""
    assert values(read('{"a": "x", "b": "he said \\"', cut=True, a=str, b=str)) == {
        "a": "x",
        "b": "<cut off>",
    }


def test_draft_in_an_unfinished_thought_is_no_answer() -> None:
    """A reply that was cut off while it thought holds no answer, whatever it drafted."""
    text = '<think>maybe {"a": "draft"}, or rather'
    assert values(read(text, cut=True, a=str)) == {"a": "<cut off>"}


def test_cut_reply_in_single_quotes_keeps_no_half() -> None:
    """Repair of a cut-off reply drops the value that may be half."""
    found = values(read("{'a': 'x', 'b': 'hal", cut=True, a=str, b=str))
    assert found["a"] in {"x", "<cut off>"}
    assert found["b"] == "<cut off>"


# --- what models really write ----------------------------------------------------------------

DIRT = {
    "fence": '```json\n{"a": "positive", "n": 3}\n```',
    "fence without language": '```\n{"a": "positive", "n": 3}\n```',
    "prose": 'Sure! Here it is:\n{"a": "positive", "n": 3}\nHope this helps {friend}.',
    "braces before": 'For {x} and {y: 1} I get {"a": "positive", "n": 3}',
    "open brace before": 'A set { of things. {"a": "positive", "n": 3}',
    "quoted brace before": 'Use {"} or so: {"a": "positive", "n": 3}',
    "outer key": '{"answer": {"a": "positive", "n": 3}}',
    "two outer keys": '{"response": {"answer": {"a": "positive", "n": 3}}}',
    "list": '[{"a": "positive", "n": 3}]',
    "single quotes": "{'a': 'positive', 'n': 3}",
    "trailing comma": '{"a": "positive", "n": 3,}',
    "line comment": '{"a": "positive", // the mood\n"n": 3}',
    "block comment": '{"a": "positive", /* the mood */ "n": 3}',
    "hash comment": '{"a": "positive", # the mood\n"n": 3}',
    "bare keys": '{a: "positive", n: 3}',
    "missing comma": '{"a": "positive"\n"n": 3}',
    "missing brace": '{"a": "positive", "n": 3,',
    "number as string": '{"a": "positive", "n": "3"}',
    "float of a whole": '{"a": "positive", "n": 3.0}',
    "label in capitals": '{"a": "POSITIVE", "n": 3}',
    "label with a stop": '{"a": " Positive. ", "n": 3}',
    "label in quotes": '{"a": "\'positive\'", "n": 3}',
    "other order": '{"n": 3, "a": "positive"}',
    "escapes": '{"\\u0061": "\\u0070ositive", "n": 3}',
    "two in a row": '{"a": "negative", "n": 1}\n{"a": "positive", "n": 3}',
    "half before whole": '{"a": "negative"}\n{"a": "positive", "n": 3}',
    "the form first": '{"a": "positive" | "negative", "n": integer}\n{"a": "positive", "n": 3}',
    "thought": '<think>{"a": "negative", "n": 1}</think>\n{"a": "positive", "n": 3}',
    "thought without begin": 'it is {"a": "negative", "n": 1}</think>{"a": "positive", "n": 3}',
    "thinking": '<thinking>hm {</thinking>{"a": "positive", "n": 3}',
    "byte order mark": '\ufeff{"a": "positive", "n": 3}',
    "unbreakable blanks": '\u00a0{"a": "positive", "n": 3}\u00a0',
    "repeated with one value": '{"a": "positive", "a": "positive", "n": 3}',
    "many braces before": "{x} " * 60 + '{"a": "positive", "n": 3}',
    "many examples before": '{"a": "negative", "n": 1} ' * 60 + '{"a": "positive", "n": 3}',
}


@pytest.mark.parametrize("name", DIRT)
def test_dirt_is_read(name: str) -> None:
    """A reply that says the right thing in a dirty way is understood."""
    found = read(DIRT[name], a=Feeling, n=int)
    assert values(found) == {"a": "positive", "n": 3}


@pytest.mark.parametrize(
    ("text", "value"),
    [("True", True), ("False", False), ('"true"', True), ('"False"', False), ("None", None),
     ("null", None), ('"null"', None), ('"None"', None)],
)  # fmt: skip
def test_python_literals(text: str, value: bool | None) -> None:
    """Python's literals and literals in quotes are read."""
    found = read(f'{{"flag": {text}, "s": "x"}}', flag=bool | None, s=str)
    assert values(found) == {"flag": value, "s": "x"}


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", '"NaN"', '"1e999"'])
def test_no_number_is_not_finite(text: str) -> None:
    """NaN and infinities are no answers, and cost no other slot."""
    found = values(read(f'{{"x": {text}, "s": "ok"}}', x=float, s=str))
    assert isinstance(found["x"], str)
    assert found["s"] == "ok"


@pytest.mark.parametrize(
    "text",
    ["12 million", "12 apples", "- 3", "3 - 4", "3 4", "1,000", "3.7.1", "1/3", "0x10", "12abc",
     "about 3", "3 or 4", "3-4", "1e", "-", "'3' '4'"],
)  # fmt: skip
def test_repair_guesses_no_number(text: str) -> None:
    """An unquoted text that is no number does not become the number in it."""
    found = values(read(f'{{"n": {text}, "s": "x"}}', n=int, s=str))
    assert isinstance(found["n"], str), found


DIGITS = "99999999999999999.99"
Cents = Annotated[
    float,
    BeforeValidator(lambda given: float(given) / 100 if isinstance(given, str) else given),
    PlainSerializer(lambda value: f"{value:.2f}", return_type=str),
]
"""Texts are cents."""


class Rate(enum.Enum):
    """Labels that are decimals."""

    LOW = Decimal("1.5")


class Line(BaseModel):
    """A model with a `Decimal` under another name, and a `float` beside it."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)
    price: Decimal = Limits(alias="Price")
    rate: float = 0.5
    name: str = "a"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Decimal, DIGITS, Decimal(DIGITS)), (Decimal | None, DIGITS, Decimal(DIGITS)),
        (Decimal, "1234567890123.123456789", Decimal("1234567890123.123456789")),
        (Decimal, "0.10", Decimal("0.1")), (Decimal, "12.50", Decimal("12.5")),
        (Decimal, "-7", Decimal(-7)), (Decimal, f'"{DIGITS}"', Decimal(DIGITS)),
        (list[Decimal], f"[1.10, {DIGITS}]", [Decimal("1.1"), Decimal(DIGITS)]),
        (set[Decimal], f"[{DIGITS}, {DIGITS}]", {Decimal(DIGITS)}), (list[Decimal], "[]", []),
        (dict[str, tuple[Decimal, float]], f'{{"a": [{DIGITS}, {DIGITS}]}}',
         {"a": (Decimal(DIGITS), float(DIGITS))}),
        (tuple[Decimal, float | str], "[1.10, 1.10]", (Decimal("1.1"), 1.1)),
        (datetime.datetime | Decimal, "12.50", Decimal("12.5")),
        (str | Decimal, "3.5", Decimal("3.5")), (Rate, "1.5", Rate.LOW), (Cents, "1.5", 1.5),
        (Decimal | float, "1.5", 1.5), (float, DIGITS, float(DIGITS)), (Any, "1.10", 1.1),
        (Annotated[float, PlainSerializer(str)], "1.10", 1.1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dirt", ["{}", "Here: {}", "{} // end"])
def test_decimals_keep_their_digits(kind: Any, text: str, value: Any, dirt: str) -> None:
    """A number in the place of a `Decimal` has the digits that were written; elsewhere it is the
    `float` that it was, and what is nearly JSON makes no difference.
    """
    [slot] = read(dirt.format(f'{{"x": {text}}}'), x=kind).values()
    assert isinstance(slot, Answer), slot
    assert repr(slot.value) == repr(value)
    assert not any("read as" in note for note in slot.notes)


Weighed = tuple[Decimal, float]


@pytest.mark.parametrize(
    ("kind", "made", "others"),
    [
        (set[Decimal], lambda number, _: number, ["2.5", "0.05"]),
        (set[frozenset[Decimal]], lambda number, _: [3.5, number], ["[7.5, 2.5]"]),
        (list[set[Decimal]], lambda number, _: [number, 2.5], ["[7.5, 2.5]"]),
        (set[Weighed], lambda number, weight: [number, weight], ["[2.5, 1.5]", "[3.5, 0.5]"]),
        (set[tuple[str, Decimal]], lambda number, _: ["z", number], ['["a", 2.5]']),
        (set[Line], lambda number, rate: {"Price": number, "rate": rate}, ['{"Price": 2.5}']),
        (set[Line], lambda number, rate: {"price": number, "rate": rate}, ['{"price": 2.5}']),
        (dict[str, set[Line]], lambda number, _: {"price": number}, []),
    ],
)
@pytest.mark.parametrize("digits", [DIGITS, "0.1234567890123456789"])
def test_decimals_in_sets_keep_their_digits(
    kind: Any, made: Any, others: list[str], digits: str
) -> None:
    """In whatever order a set is written, and under whatever name a field, no digit is lost; a
    `float` beside it, of the same digits too, is what it was.
    """
    lost = json.dumps(made("N", "N")).replace('"N"', digits)
    exact = to_json(made(digits, float(digits))).decode()
    for parts in itertools.permutations([lost, *others]):
        text = ", ".join(parts)
        wrap = '{{"k": [{}]}}' if kind == dict[str, set[Line]] else "[{}]"
        expected = TypeAdapter(kind).validate_json(wrap.format(text.replace(lost, exact)))
        assert digits in repr(expected)
        assert values(read(f'{{"x": {wrap.format(text)}}}', x=kind)) == {"x": expected}


def test_a_decimal_is_read_by_the_name_of_its_field() -> None:
    """Under the name of a field that is written under another, no digit is lost either."""
    found = values(read(f'{{"x": {{"price": {DIGITS}, "rate": {DIGITS}}}}}', x=Line))
    assert found == {"x": Line(Price=Decimal(DIGITS), rate=float(DIGITS))}


def test_too_many_digits_are_refused() -> None:
    """A limit of a `Decimal` holds for the digits that were written, not for those of a float."""
    kind = Annotated[Decimal, Limits(max_digits=18, decimal_places=2)]
    assert values(read(f'{{"x": {DIGITS}}}', x=kind)) == {"x": "<constraint broken>"}
    assert values(read('{"x": 1.500}', x=kind)) == {"x": Decimal("1.5")}


def test_coercion_is_noted() -> None:
    """What was coerced stands on the answer; what was right has no note."""
    found = read('{"a": " Positive.", "n": "3", "b": true}', a=Feeling, n=int, b=bool)
    assert isinstance(found["a"], Answer)
    assert found["a"].notes == ('" Positive." read as "positive"',)
    assert isinstance(found["n"], Answer)
    assert found["n"].notes == ('"3" read as 3',)
    assert isinstance(found["b"], Answer)
    assert found["b"].notes == ()


def test_notes_show_letters_as_they_are() -> None:
    """A note has the words of the reply and of the label, not codes of their letters."""
    found = read('{"a": "HÖCHSTE Stufe"}', a=Literal["höchste Stufe", "x"])["a"]
    assert isinstance(found, Answer)
    assert found.notes == ('"HÖCHSTE Stufe" read as "höchste Stufe"',)


# --- failures --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "expected_kind"),
    [
        ('{"b": 1}', str, "missing"),
        ('{"a": [1], "b": 1}', str, "wrong type"),
        ('{"a": "3.7", "b": 1}', int, "wrong type"),
        ('{"a": 3.7, "b": 1}', int, "wrong type"),
        ('{"a": true, "b": 1}', int, "wrong type"),
        ('{"a": null, "b": 1}', str, "wrong type"),
        ('{"a": "neutral", "b": 1}', Feeling, "not an allowed label"),
        ('{"a": "positive or negative", "b": 1}', Feeling, "not an allowed label"),
        ('{"a": 9, "b": 1}', Annotated[int, Limits(le=5)], "constraint broken"),
        ('{"a": "abcd", "b": 1}', Annotated[str, Limits(max_length=3)], "constraint broken"),
        ('{"a": "ABC", "b": 1}', Annotated[str, Limits(pattern="^[a-z]+$")], "constraint broken"),
        ('{"a": "x", "a": "y", "b": 1}', str, "duplicate"),
        ('{"a": "2024-02-30", "b": 1}', datetime.date, "constraint broken"),
    ],
)
def test_one_bad_slot_costs_no_other(text: str, kind: Any, expected_kind: str) -> None:
    """A bad answer is a failure that says its kind; the other task keeps its answer."""
    found = values(read(text, a=kind, b=int))
    assert found["b"] == 1
    if kind is not datetime.date:  # which of two kinds an impossible date is may be argued about
        assert found["a"] == f"<{expected_kind}>"
    assert str(found["a"]).startswith("<")


@pytest.mark.parametrize("text", ["", "   \n", "I cannot do that.", "[]", "3", '"x"', "null", "{}"])
def test_no_object_fails_every_slot(text: str) -> None:
    """A reply without an answer fails every slot and loses none."""
    found = read(text, a=str, b=int)
    assert set(found) == {"a", "b"}
    assert all(isinstance(slot, Failure) for slot in found.values())


def test_refusal_fails_every_slot() -> None:
    """A refused reply is a refusal for each task, even if it holds JSON."""
    slots = [Slot(task("a", str), ("a",)), Slot(task("b", str), ("b",))]
    found = parse(Reply('{"a": "x", "b": "y"}', finish_reason="refused"), slots)
    assert values(found) == {"a": "<refused>", "b": "<refused>"}


@pytest.mark.parametrize(
    "text",
    ['{"answer": {"a": "x", "a": "y", "b": 1}}', "{'a': 'x', 'a': 'y', 'b': 1}",
     '{"a": "x", "a": "y", "b": 1, "c": "cut', '```\n{"a": "x", "a": "y", "b": 1}\n```',
     '{"a": "x", "\\u0061": "y", "b": 1}', '{"a": "x", "a": "y", "b": 1,}',
     '{"a": 1, "a": true, "b": 1}', '[{"a": "x", "a": "y", "b": 1}]'],
)  # fmt: skip
def test_duplicates_are_noticed_everywhere(text: str) -> None:
    """A key that was answered twice, differently, is no answer, however the reply was read."""
    assert str(values(read(text, a=str | bool | int, b=int))["a"]).startswith("<")


def test_failure_keeps_what_it_saw() -> None:
    """A failure has the raw value, shortened, and what the validator said."""
    found = read(json.dumps({"a": "x" * 5000}), a=Feeling)["a"]
    assert isinstance(found, Failure)
    assert found.raw is not None
    assert found.raw.startswith("xxx")
    assert len(found.raw) <= 300
    assert "\n" not in found.message


def test_task_check_refuses() -> None:
    """A task's own check refuses by False or by ValueError, with its message."""

    def no(answer: str) -> bool:
        return answer != "bad"

    def why(answer: Any) -> None:
        if answer == "bad":
            raise ValueError("too bad")

    for check, message in [(no, "own check"), (why, "too bad")]:
        slots = [Slot(task("a", str, validate=check), ("a",))]
        refused = parse(Reply('{"a": "bad"}'), slots)["a"]
        assert isinstance(refused, Failure)
        assert refused.kind == "constraint broken"
        assert message in refused.message
        assert isinstance(parse(Reply('{"a": "good"}'), slots)["a"], Answer)


@pytest.mark.parametrize(
    ("verdict", "is_refused"),
    [(False, True), (np.False_, True), (True, False), (np.True_, False), (None, False), (0, False),
     ("", False)],
)  # fmt: skip
def test_what_a_check_says(verdict: Any, is_refused: bool) -> None:
    """A check refuses with False, in numpy's form too, which is what a comparison of its values
    gives; None and what is no bool refuse nothing.
    """
    slots = [Slot(task("a", str, validate=lambda _: verdict), ("a",))]
    assert isinstance(parse(Reply('{"a": "x"}'), slots)["a"], Failure) == is_refused


def test_unique_items_are_noted() -> None:
    """Repeated items are dropped where the schema says so, and the answer says that they were."""
    from mtiprompt.fieldtypes import type_from_schema

    schema = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    found = read('{"a": ["x", "y", "x"]}', a=type_from_schema(schema, "t"))["a"]
    assert isinstance(found, Answer)
    assert found.value == ["x", "y"]
    assert found.notes == ("repeated items dropped",)


# --- nothing raises --------------------------------------------------------------------------

BROAD = {
    "a": Feeling,
    "b": int,
    "c": list[Mood],
    "d": datetime.datetime | None,
    "e": Annotated[int, Limits(ge=0)] | str,
    "f": dict[str, float],
    "g": str,
    "h": Annotated[list[int], Limits(max_length=3)],
}
BROAD_SLOTS = [Slot(task(name, kind), (name,)) for name, kind in BROAD.items()]
jsons: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=4), part),
    max_leaves=8,
)


@given(st.text() | st.text(st.sampled_from("{}[]\"'\\,:ab01 \n#/`<think>")), st.booleans())
def test_any_text_gives_every_slot(text: str, cut: bool) -> None:
    """Arbitrary text raises nothing, and every slot ends as an answer or a failure."""
    found = parse(Reply(text, finish_reason="length" if cut else "stop"), BROAD_SLOTS)
    assert set(found) == set(BROAD)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(BROAD, jsons)))
def test_any_values_give_every_slot(given_values: dict[str, Any]) -> None:
    """Arbitrary values under the right keys raise nothing; a missing one is a failure."""
    found = parse(Reply(json.dumps(given_values)), BROAD_SLOTS)
    assert set(found) == set(BROAD)
    assert all(isinstance(found[name], Failure) for name in BROAD if name not in given_values)


edits = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 6), st.text(st.sampled_from("{}[]\"'\\,:x1 \n"))),
    min_size=1,
    max_size=6,
)


@given(st.data(), cases(), edits)
def test_any_corruption_gives_every_slot(
    data: st.DataObject, case: Case, changes: list[tuple[float, int, str]]
) -> None:
    """A reply with pieces deleted and inserted raises nothing and loses no slot."""
    text = json.dumps(case.dumped(data.draw(case.answers())))
    for place, length, put in changes:
        at = int(place * len(text))
        text = text[:at] + put + text[at + length :]
    found = parse(Reply(text), case.slots())
    assert set(found) == set(case.program.tasks)


@pytest.mark.parametrize(
    "raw",
    ["1" * 5000, "-" + "1" * 5000, '"' + "1" * 5000 + '"', "1e400", "1" * 320,
     "[" * 150 + "]" * 150, "[" * 280 + "]" * 280, "[" * 400 + "]" * 400,
     '"\\ud800"', '"\\u0000"', "0.1" + "0" * 5000, '{"mood": ' * 100 + "1" + "}" * 100,
     '{"mood": ' * 280 + "1" + "}" * 280],
    ids=["long int", "long negative", "long string", "huge", "huge int", "deep", "deeper",
         "deepest", "surrogate", "nul", "long float", "deep objects", "deeper objects"],
)  # fmt: skip
@pytest.mark.parametrize("name", BROAD)
def test_extreme_values_do_not_raise(name: str, raw: str) -> None:
    """Numbers of 5,000 digits, lone surrogates and deep values fail at most their own slot."""
    found = parse(
        Reply(f'{{"{name}": {raw}, "z": 1}}'), [*BROAD_SLOTS, Slot(task("z", int), ("z",))]
    )
    assert set(found) == {*BROAD, "z"}


@pytest.mark.parametrize("digits", [300, 320, 399, 401])
def test_whole_numbers_beyond_every_float_in_a_loose_reply(digits: int) -> None:
    """They are read as they are, or fail their slot, but raise nothing."""
    found = read(f"Here: {{'a': {'1' * digits}, 'b': 2,}}", a=int, b=int)
    assert isinstance(found["b"], Answer)
    assert found["b"].value == 2
    assert "a" in found


@pytest.mark.parametrize("raw", ['"foo"', "3.5", "-1", "null"])
def test_limit_on_a_union_raises_nothing(raw: str) -> None:
    """A constraint that pydantic cannot apply to the value (a TypeError) fails the slot alone."""
    found = read(f'{{"a": {raw}, "b": 1}}', a=Annotated[int | str, Limits(ge=0)], b=int)
    assert isinstance(found["a"], Failure)
    assert isinstance(found["b"], Answer)


def test_lone_surrogate_in_the_reply() -> None:
    """Text that cannot be encoded raises nothing."""
    assert set(read('{"a": "\ud800", "b": "x"}', a=str, b=str)) == {"a", "b"}


# --- growth ----------------------------------------------------------------------------------


class TooLong(Exception):
    """The guard's own."""


@contextmanager
def guarded(seconds: float) -> Iterator[None]:
    """Ends what would not return, by seconds of CPU: no measure of speed, but of hanging."""

    def stop(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def test_many_decimals_are_read() -> None:
    """A set of thousands of numbers, all of more digits than a float has, takes no age."""
    numbers = [f"{number}{DIGITS}" for number in range(20_000, 0, -1)]
    with guarded(20):
        found = values(read(f'{{"x": [{", ".join(numbers)}]}}', x=set[Decimal]))
    assert found == {"x": set(map(Decimal, numbers))}


LONG = {
    "braces": "{" * 1_000_000,
    "quotes": '"' * 1_000_000,
    "backslashes": "\\" * 1_000_000,
    "open strings": '{"' * 500_000,
    "open escapes": '{"' + "\\" * 1_000_000,
    "objects in objects": '{"a":' * 200_000,
    "lists in a value": '{"a":' + "[" * 200_000 + "]" * 200_000 + "}",
    "closed and deep": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "thoughts": "<think>" * 140_000,
    "thoughts and braces": "<think>{" * 100_000,
    "half objects": '{"a": "x", ' * 90_000,
    "commas": "{" + "," * 1_000_000,
    "objects in a row": '{"zz":1}' * 120_000,
    "brace and quote, short": "{'" * 31_000,
    "brace and comma, short": '{"a":"b"c",' * 5_700,
    "lists and objects, short": "{[" * 31_000,
    "many items": '{"a": [' + ",".join(map(str, range(100_000))) + "]}",
}


@pytest.mark.parametrize("name", LONG)
def test_long_replies_return(name: str) -> None:
    """A megabyte of the worst characters is read in time that grows with its length."""
    with guarded(30):
        found = read(LONG[name], cut=True, a=list[int], b=str)
    assert set(found) == {"a", "b"}


TEXT = "x" * 1_200_000


def test_an_object_is_read_whatever_its_length() -> None:
    """A reply that is a JSON object loses nothing to its length, whether about one item or more."""
    right = {"a": [1], "b": TEXT}
    for answers in (right, {"answer": right}):
        assert values(read(json.dumps(answers), a=list[int], b=str)) == right
    slots = [Slot(task("b", str), ("b",))]
    found = parse_items(Reply(json.dumps({"1": {"b": TEXT}, "2": {"b": "y"}})), slots, (1, 2))
    assert [values(one)["b"] for one in found.values()] == [TEXT, "y"]


@pytest.mark.parametrize("begin", ['So: {"a": [1], ', '{"a": [1], /* n */'])
def test_a_long_reply_is_not_called_cut_off_where_reading_stopped(begin: str) -> None:
    """Of a long reply that is no JSON object the beginning is read, and a failure says how much."""
    found = read(f'{begin}"b": "{TEXT}"}}', a=list[int], b=str)
    assert isinstance(found["a"], Answer)
    failure = found["b"]
    assert isinstance(failure, Failure)
    assert str(failure) == (
        "cut off: no more than the first 1,000,000 characters of the reply are read, as it is "
        "no JSON object: they ended before 'b' did"
    )


def test_a_long_reply_without_an_answer_says_how_much_was_read() -> None:
    """The same where no answer stands in what was read, and where that ends before an item."""
    said = "no more than the first 1,000,000 characters"
    nothing = read("{" + TEXT, b=str)["b"]
    assert isinstance(nothing, Failure)
    assert said in nothing.message
    slots = [Slot(task("b", str), ("b",))]
    text = f'So: {{"1": {{"b": "y"}}, "2": {{"b": "{TEXT}"}}, "3": {{"b": "y"}}}}'
    for number, found in parse_items(Reply(text), slots, (1, 2, 3)).items():
        assert isinstance(found["b"], Answer) == (number == 1)
        assert number == 1 or said in str(found["b"])


def test_unique_items_grow_with_their_number() -> None:
    """Many different items under `uniqueItems` are read in time that grows with their number."""
    from mtiprompt.fieldtypes import type_from_schema

    kind = type_from_schema(
        {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, "t"
    )
    with guarded(30):
        found = values(read('{"a": [' + ",".join(map(str, range(100_000))) + "]}", a=kind))
    assert len(found["a"]) == 100_000
