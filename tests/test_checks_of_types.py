"""Validators of types and models: what they raise, what they make, and what is kept of it."""

from __future__ import annotations

import datetime
import decimal
import itertools
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, cast, get_origin

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    RootModel,
    field_validator,
)
from pydantic import Field as Limits

import mtiprompt as mti
from mtiprompt.parse import parse, restored
from mtiprompt.render import write_json
from mtiprompt.result import Answer, Failure, plain
from mtiprompt.schema import Slot
from mtiprompt.tasks import Field
from mtiprompt.wire import Reply
from tests.strategies import texts
from tests.test_parse import read, task

# --- what a check raises ---------------------------------------------------------------------

BREAKS = (KeyError, IndexError, ZeroDivisionError, OSError, RecursionError, AttributeError)


def breaking(kind: type[Exception]) -> Any:
    """A check that raises what no check should."""

    def check(value: Any) -> Any:
        raise kind("xx")

    return check


@pytest.mark.parametrize("kind", BREAKS)
@pytest.mark.parametrize("where", ["after", "before", "list", "part", "model"])
def test_a_check_that_breaks_costs_its_slot_alone(kind: type[Exception], where: str) -> None:
    """Whatever the check of a type raises, in whatever part of it, is the failure of its slot,
    which names the error; gold is refused with the same words.
    """

    class Part(BaseModel):
        code: str
        check = field_validator("code")(breaking(kind))

    checked = Annotated[str, AfterValidator(breaking(kind))]
    kinds = {
        "after": checked,
        "before": Annotated[str, BeforeValidator(breaking(kind))],
        "list": list[checked],
        "part": Part | None,
    }
    value: Any = {"list": ["xx"], "part": {"code": "xx"}}.get(where, "xx")
    if where == "model":
        odd = mti.task(Part, inputs=["message"], instruction="Do.", name="odd")
        slots = [Slot(odd, ("code",)), Slot(task("z", int), ("z",))]
        found = parse(Reply('{"code": "xx", "z": 1}'), slots)
    else:
        odd = task("odd", kinds[where])
        found = read(json.dumps({"odd": value, "z": 1}), odd=kinds[where], z=int)
    failure = found["odd"]
    assert isinstance(failure, Failure)
    assert failure.kind == "constraint broken"
    assert kind.__name__ in failure.message
    assert isinstance(found["z"], Answer)
    with pytest.raises(mti.DataError, match=rf"cannot have the answer.*raised {kind.__name__}"):
        odd.read(value)


def test_a_table_of_labels_is_looked_up_after_coercion() -> None:
    """A check that breaks on a label in another form is tried with the label itself."""
    table = {"us": "us", "de": "de"}
    kind = Annotated[Literal["us", "de"], BeforeValidator(lambda code: table[code])]
    found = read('{"q": " US."}', q=kind)["q"]
    assert isinstance(found, Answer)
    assert (found.value, found.notes) == ("us", ('" US." read as "us"',))


class Money:
    """What has no JSON."""

    def __init__(self, text: str) -> None:
        self.text = text


class Paid(BaseModel):
    """Read the sum."""

    paid: str

    @field_validator("paid")
    @classmethod
    def as_money(cls, text: str) -> Any:
        """The sum as an object of another type."""
        return Money(text)


def test_what_is_no_json_is_a_failure() -> None:
    """A check that makes what cannot be written as JSON fails its slot and no other."""
    found = read('{"q": "5", "z": 1}', q=Annotated[str, AfterValidator(Money)], z=int)
    assert isinstance(found["q"], Failure)
    assert found["q"].message.startswith("what the type's own check makes is no JSON")
    assert isinstance(found["z"], Answer)
    paid = mti.task(Paid, inputs=["message"])
    failed = parse(Reply('{"paid": "5"}'), [Slot(paid, ("paid",))])["paid"]
    assert isinstance(failed, Failure)
    assert "Money" in failed.message
    with pytest.raises(mti.DataError, match="Money"):
        paid.read({"paid": "5"})


@given(st.integers(150, 420), st.sampled_from(["[]", "{}"]))
def test_any_depth_fails_at_most_its_slot(depth: int, signs: str) -> None:
    """A value that is nested deeper than validators read raises nothing and costs no other."""
    first, last = ("[", "]") if signs == "[]" else ('{"a":', "}")
    text = first * depth + "1" + last * depth
    found = read(f'{{"q": {text}, "p": {text}, "z": 1}}', q=list[str], p=str, z=int)
    assert set(found) == {"q", "p", "z"}
    assert isinstance(found["q"], Failure)


# --- numbers ---------------------------------------------------------------------------------


class Sized(BaseModel):
    """A part with a number."""

    size: float | None


def infinite(value: Any) -> float:
    """A check that makes what is no number in JSON."""
    return float("inf")


@given(
    st.integers(1, 9),
    st.integers(300, 600),
    st.sampled_from(
        [(float, "{}"), (list[float], "[1, {}]"), (float | None, "{}"), (float, '"{}"'),
         (tuple[int, float], "[1, {}]"), (dict[str, float], '{{"a": {}}}'), (int | float, "{}"),
         (list[Sized], '[{{"size": {}}}]'), (float | str, "{}")]
    ),
    st.sampled_from(["", "-"]),
)  # fmt: skip
def test_every_number_is_finite(first: int, digits: int, kind: Any, sign: str) -> None:
    """A whole number that is too long for a float is no infinity, wherever it stands."""
    text = kind[1].format(f"{sign}{first}" + "0" * digits)
    found = read(f'{{"q": {text}, "z": 1}}', q=kind[0], z=int)
    assert isinstance(found["z"], Answer)
    if isinstance(found["q"], Answer):
        json.dumps(found["q"].fields, allow_nan=False)
    elif digits < 308:
        raise AssertionError(found["q"])


def test_checks_make_finite_numbers() -> None:
    """An infinity that a check makes is no answer, and is no gold either."""

    class Huge(BaseModel):
        size: Annotated[float, AfterValidator(infinite)]

    kind = Annotated[float, AfterValidator(infinite)]
    huge = mti.task(Huge, inputs=["message"], instruction="Do.")
    found = read('{"q": 1.5}', q=kind) | parse(Reply('{"size": 1.5}'), [Slot(huge, ("size",))])
    for slot in found.values():
        assert isinstance(slot, Failure)
        assert slot.message == "a number is not finite"
    for one, gold in [(task("q", kind), 1.5), (huge, {"size": 1.5}), (task("q", float), 10**400)]:
        with pytest.raises(mti.DataError, match="cannot have the answer"):
            one.read(gold)


# --- dates -----------------------------------------------------------------------------------

Moment = datetime.datetime
Day = datetime.date


class Met(BaseModel):
    """A part with a moment, which leaves out what it does not know."""

    when: Moment | None
    sum: decimal.Decimal = decimal.Decimal(0)


@dataclass
class Meeting:
    """A part that is given as an object."""

    when: Moment


MORNING = Moment(2024, 1, 15, tzinfo=datetime.UTC)


class Stamped(BaseModel):
    """A moment that is written as the seconds since 1970."""

    when: Annotated[Moment, PlainSerializer(lambda moment: int(moment.timestamp()))]


PLACES: list[tuple[Any, Any, Any]] = [
    (Moment, Day, lambda text: text),
    (Moment | None, Day | None, lambda text: text),
    (Moment | int | None, Day | int | None, lambda text: text),
    (Moment | str, Day | str, lambda text: text),
    (list[Moment], list[Day], lambda text: ["2024-01-15T10:00:00+00:00", text]),
    (list[Moment] | None, list[Day] | None, lambda text: [text]),
    (set[Moment], set[Day], lambda text: [text, "2024-01-15T00:00:00Z", "2023-01-15T00:00:00Z"]),
    (tuple[str, Moment], tuple[str, Day], lambda text: ["5", text]),
    (dict[str, Moment | None], dict[str, Day | None], lambda text: {"a": None, "b": text}),
    (dict[Moment, int], dict[Day, int], lambda text: {text: 1}),
    (list[Met] | None, tuple[Met, ...], lambda text: [{"when": text}]),
]


@given(
    st.sampled_from(PLACES),
    st.sampled_from([0, 1]),
    st.sampled_from(["2024", "20240101", "1700006400", "86400", "-5", "+5", ".5", "5.", "1.5",
                     "20240101.", "20240101..", " 86400 ", "1700006400000"]),
)  # fmt: skip
def test_no_number_becomes_a_moment(place: Any, day: int, text: str) -> None:
    """A number in a text is not taken for seconds since 1970, in whatever part of a type."""
    found = read(json.dumps({"q": place[2](text), "z": 1}), q=place[day], z=int)
    assert isinstance(found["z"], Answer)
    said = json.dumps(found["q"].fields) if isinstance(found["q"], Answer) else ""
    assert not any(year in said for year in ("1969-", "1970-", "2023-11-")), said


@pytest.mark.parametrize("check", [lambda day: day.strftime("%d.%m.%Y"), lambda day: day.year])
@pytest.mark.parametrize("text", ["1700006400", "86400"])
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_no_number_becomes_what_is_made_of_a_moment(check: Any, text: str) -> None:
    """Nor is it where a check makes something else of the date."""
    kind = Annotated[Day, AfterValidator(check)]
    kinds: dict[str, Any] = {"q": kind, "p": kind | None, "r": list[kind]}
    found = read(json.dumps({"q": text, "p": text, "r": [text]}), **kinds)
    assert all(isinstance(slot, Failure) for slot in found.values()), found


@given(
    st.sampled_from(PLACES),
    st.sampled_from([0, 1]),
    st.sampled_from(["20240101", "1700006400", "86400", "-5", ".5", " 86400 "]),
)
def test_no_number_of_gold_becomes_a_moment(place: Any, day: int, text: str) -> None:
    """Gold with such a number is refused too, or stays what it is."""
    asked = task("q", place[day])
    try:
        said = json.dumps(asked.read(place[2](text)))
    except mti.DataError:
        return
    assert not any(year in said for year in ("1969-", "1970-", "2023-11-")), said


@given(
    st.sampled_from(PLACES),
    st.sampled_from([0, 1]),
    st.sampled_from(["20240101", "1700006400", "86400", "-5", ".5", " 86400 "]),
)
def test_no_number_of_an_input_becomes_a_moment(place: Any, day: int, text: str) -> None:
    """Inputs with such a number are refused like gold, and so are defaults of inputs."""
    value = place[2](text)
    reading = mti.combine(with_input(place[day]))
    try:
        said = json.dumps(reading.read_inputs({"x": value}))
    except mti.DataError:
        with pytest.raises(mti.DeclarationError):
            with_input(place[day], default=value, required=False)
        return
    assert not any(year in said for year in ("1969-", "1970-", "2023-11-")), said


def with_input(kind: Any, **options: Any) -> mti.Task[Any]:
    """A task with one input of a type."""
    return mti.Task[Any]("q", "?", (Field("x", kind, **options),), (Field("q", str),))


@pytest.mark.parametrize("kind", [Moment, Day, Moment | None, list[Day], list[Moment | None]])
@pytest.mark.parametrize("number", [86400, 1700006400, 86400.0])
def test_a_bare_number_is_no_date_of_an_input(kind: Any, number: float) -> None:
    """A number that is no text is refused too where nothing but a date may stand."""
    value = [number] if get_origin(kind) is list else number
    with pytest.raises(mti.DataError, match="the input 'x' does not fit: a number stands where"):
        mti.combine(with_input(kind)).read_inputs({"x": value})


@pytest.mark.parametrize(
    "value",
    [
        b"1700006400", (86400,), {86400}, decimal.Decimal(86400), {"a": [{"b": "86400"}]},
        np.int64(20240131), np.array([86400]), {"a": 86400}.values(), Meeting(cast(Any, 86400)),
    ],
)  # fmt: skip
def test_a_number_is_no_date_however_it_is_given(value: Any) -> None:
    """Nor is one in bytes, a tuple or a set, a decimal one, numpy's, an object's, one in depth."""
    kind: Any = Moment
    if isinstance(value, dict):
        kind = dict[str, list[dict[str, Moment]]]
    elif isinstance(value, Meeting):
        kind = Meeting
    elif isinstance(value, Collection) and not isinstance(value, bytes):
        kind = list[Moment]
    with pytest.raises(mti.DataError, match="the input 'x' does not fit: a number stands where"):
        mti.combine(with_input(kind)).read_inputs({"x": value})


class Born(BaseModel):
    """A part that is made of an object too, its field read by two names."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)
    born: Day = Limits(validation_alias=AliasChoices("Born", "BORN"), serialization_alias="Born")


class Slotted:
    """An object without a dictionary."""

    __slots__ = ("born",)

    def __init__(self, born: Any) -> None:
        self.born = born


class Row(NamedTuple):
    """A tuple with names."""

    born: Any


class Computed:
    """An object whose date is a property, and which keeps something else."""

    def __init__(self, born: Any) -> None:
        self._row = {"born": born}
        self.__dict__["born"] = self._born = "86400"

    @property
    def born(self) -> Any:
        """What is read."""
        return self._row["born"]


@pytest.mark.parametrize(
    ("kind", "value_of"),
    [
        (tuple[Moment, str], lambda moment: (moment, "a")),
        (tuple[str, tuple[Moment, ...]], lambda moment: ("a", [moment])),
        (dict[Annotated[str, Limits(pattern="^[a-z]+$")], Day], lambda moment: {"k": moment}),
        (Born, Slotted),
        (Born, Row),
        (Born, Computed),
        (list[Born] | None, lambda moment: [Computed(moment)]),
        (Born, lambda moment: {"born": moment}),
        (Born, lambda moment: {"Born": moment, "born": 5}),
        (Born, lambda moment: {"BORN": moment}),
    ],
)
def test_a_number_is_no_date_wherever_it_is_read(kind: Any, value_of: Any) -> None:
    """Whatever holds it, and under whatever name, a number is refused and a date is read."""
    reading = mti.combine(with_input(kind))
    assert "2024-01-31" in json.dumps(reading.read_inputs({"x": value_of(Day(2024, 1, 31))}))
    for number in (1706659200, "1706659200"):
        with pytest.raises(mti.DataError, match="a number stands where a date should"):
            reading.read_inputs({"x": value_of(number)})


class Person:
    """An object that knows others."""

    def __init__(self, friends: list[Any]) -> None:
        self.born = Day(2024, 1, 31)
        self.friends = friends
        self.after: Any = None


def test_objects_are_read_as_deep_as_the_type_goes() -> None:
    """What else an object holds costs nothing: many that know each other, or a long chain."""
    people = [Slotted(Day(2024, 1, 31)) for _ in range(3)]
    known = [Person(people) for _ in range(400)]
    for one, after in itertools.pairwise(known):
        one.after = after
    for one in known[:30]:
        one.friends = known[:30]
    assert mti.combine(with_input(Born)).read_inputs({"x": known[0]}) == {
        "x": {"Born": "2024-01-31"}
    }


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        (Moment, Moment(2024, 1, 15, 10), "2024-01-15T10:00:00"),
        (Moment, "2024-01-15", "2024-01-15T00:00:00"),
        (Day | int, 20240101, 20240101),
        (str | Moment, "20240101", "20240101"),
        (set[Day], {Day(2024, 1, 15)}, ["2024-01-15"]),
        (dict[Day, Stamped], {Day(2024, 1, 15): Stamped(when=MORNING)},
         {"2024-01-15": {"when": 1705276800}}),
        (Met, Met(when=None), {"when": None, "sum": "0"}),
        (Met, {"when": "2024-01-15T10:00", "sum": 5},
         {"when": "2024-01-15T10:00:00", "sum": "5"}),
    ],
)  # fmt: skip
def test_dates_of_inputs_are_read(kind: Any, value: Any, kept: Any) -> None:
    """Dates as Python or as text, and numbers beside them, stay inputs."""
    assert mti.combine(with_input(kind)).read_inputs({"x": value}) == {"x": kept}


@pytest.mark.parametrize("kind", [Moment, Day, Day | None, Moment | int | None])
def test_the_advice_about_dates_is_taken(kind: Any) -> None:
    """Where a number is refused for a date, what the error says to write is accepted."""
    with pytest.raises(mti.DataError) as error:
        task("q", kind).read("86400")
    assert error.value.message == "task 'q' cannot have the answer '86400'"
    said, _, written = str(error.value.hint).partition(": write it as ")
    assert said == "a number stands where a date should"
    assert task("q", kind).read(written)["q"].startswith(written)


@pytest.mark.parametrize("kind", [Day, Day | None, list[Day] | None])
def test_a_year_is_told_to_be_no_date(kind: Any) -> None:
    """The model is told what is wrong in the same words, whether or not null may stand there."""
    value = ["2024"] if kind == list[Day] | None else "2024"
    found = read(json.dumps({"q": value}), q=kind)["q"]
    assert isinstance(found, Failure)
    assert (found.kind, found.message) == ("wrong type", "a number stands where a date should")


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        (str | Moment, "20240101", "20240101"),
        (Moment | Literal["20240101"], "20240101", "20240101"),
        (list[str] | list[Moment], ["2024"], ["2024"]),
        (Met, {"when": "2024-01-15T10:00", "sum": "1e3", "7": "5"},
         {"when": "2024-01-15T10:00:00", "sum": "1E+3"}),
        (list[Day] | None, ["2024-01-15"], ["2024-01-15"]),
        (dict[str, Moment | str], {"1": "2024-01-15 10:00"}, {"1": "2024-01-15T10:00:00"}),
        (Annotated[str, AfterValidator(lambda text: f"{text[:4]}-{text[4:6]}-{text[6:]}")],
         "20240101", "2024-01-01"),
    ],
)  # fmt: skip
def test_numbers_beside_moments_are_answers(kind: Any, value: Any, kept: Any) -> None:
    """A text of digits stays an answer where the type takes it for a text or another number."""
    found = read(json.dumps({"q": value}), q=kind)["q"]
    assert isinstance(found, Answer), found
    assert found.fields == {"q": kept}


# --- what is kept of an answer ---------------------------------------------------------------


def twice(text: str) -> str:
    """A check that changes what it has made."""
    return text + "!"


STEADY: dict[str, Any] = {
    "upper": str.upper, "strip": str.strip, "start": lambda text: text[:3],
    "sorted": lambda text: "".join(sorted(text)),
}  # fmt: skip
UNSTEADY: dict[str, Any] = {
    "longer": twice, "reversed": lambda text: text[::-1], "shorter": lambda text: text[1:],
    "up to four": lambda text: text if len(text) > 3 else text + "!",
    "other type": len, "a day later": lambda text: Day(2024, 1, 1),
}  # fmt: skip


def declared(check: Any, as_model: bool) -> mti.Task[Any]:
    """A task with one text that is checked, as a function or as a pydantic model has it."""
    if not as_model:
        return task("word", Annotated[str, AfterValidator(check)])

    class Said(BaseModel):
        word: str

        @field_validator("word")
        @classmethod
        def checked(cls, text: str) -> Any:
            return check(text)

    return mti.task(Said, inputs=["message"], instruction="Do.", name="word")


def kept(answer: Answer[Any]) -> dict[str, Any]:
    """An answer as a store has it."""
    return {"fields": json.loads(json.dumps(answer.fields)), "notes": [], "reasoning": None}


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@given(st.sampled_from(sorted(STEADY | UNSTEADY)), texts, st.booleans())
def test_what_is_kept_is_what_was_made(name: str, text: str, as_model: bool) -> None:
    """An answer that was kept comes back as it was or not at all; gold is what its reader would
    read again, or is refused. A check that leaves its own output alone loses neither.
    """
    one = declared((STEADY | UNSTEADY)[name], as_model)
    slot = Slot(one, ("word",))
    answer = parse(Reply(write_json({"word": text}, "compact")), [slot])["word"]
    assert isinstance(answer, Answer)
    again = restored(slot, kept(answer))
    assert again is None or (again.value, again.fields) == (answer.value, answer.fields)
    assert again is not None or name in UNSTEADY
    try:
        gold, refusal = one.read(text), ""
    except mti.DataError as error:
        gold, refusal = {}, str(error)
    if refusal:
        assert name in UNSTEADY
        assert "a validator must leave its own output as it is" in refusal
    else:
        assert gold == answer.fields == one.read(gold["word"])


@given(st.lists(texts, unique=True, max_size=8), st.randoms())
def test_sets_are_kept(items: list[str], random: Any) -> None:
    """The order in which a set comes out of a store or of gold does not matter."""
    one = task("words", set[str])
    slot = Slot(one, ("words",))
    answer = parse(Reply(write_json({"words": items}, "compact")), [slot])["words"]
    assert isinstance(answer, Answer)
    shuffled = kept(answer)
    random.shuffle(shuffled["fields"]["words"])
    again = restored(slot, shuffled)
    assert again is not None
    assert again.value == answer.value
    assert set(one.read(items)["words"]) == set(items)


@given(st.sampled_from(sorted(STEADY)), texts)
def test_fields_are_those_of_the_instance(name: str, text: str) -> None:
    """What a model's validators make is in the answer, in its fields, in what is written of the
    result and in the prompt of the task that takes it.
    """
    program = mti.combine(declared(STEADY[name], as_model=True), "word -> next")
    model = mti.ScriptedModel([write_json({"word": text}, "compact"), '{"next": "x"}'])
    result = program(message="m", model=model, plan=mti.Plan.split(program))
    made = STEADY[name](text)
    assert result.word == result["word"].word == plain(result)["answers"]["word"] == made
    assert made in model.requests[1].messages[-1].content


def test_fields_of_another_type() -> None:
    """A validator that makes a moment of a text has it in the fields as JSON, without a warning."""

    class Event(BaseModel):
        when: Annotated[str, AfterValidator(lambda text: Moment.strptime(text, "%d.%m.%Y"))]

    event = mti.task(Event, inputs=["message"], instruction="Do.")
    found = parse(Reply('{"when": "15.01.2024"}'), [Slot(event, ("when",))])["event"]
    assert isinstance(found, Answer)
    assert found.value.when == Moment(2024, 1, 15)
    assert found.fields == {"when": "2024-01-15T00:00:00"}
    with pytest.raises(mti.DataError, match="refuses what it has made"):
        event.read("15.01.2024")


def test_fields_of_a_root_model() -> None:
    """The one field of a root model is what its validator made."""

    class Words(RootModel[list[str]]):
        """List the words."""

        @field_validator("root")
        @classmethod
        def ordered(cls, words: list[str]) -> list[str]:
            return sorted(words)

    words = mti.task(Words, inputs=["message"])
    found = parse(Reply('{"root": ["b", "a"]}'), [Slot(words, ("root",))])["words"]
    assert isinstance(found, Answer)
    assert found.fields == {"root": ["a", "b"]} == words.read(["b", "a"])


@pytest.mark.parametrize("as_model", [False, True])
def test_gold_and_demos_of_unsteady_checks_are_refused(as_model: bool) -> None:
    """A data set and a plan say in one line what is wrong with the check, and what to do."""
    program = mti.combine(declared(twice, as_model))
    row = {"inputs": {"message": "m"}, "outputs": {"word": "bug"}}
    message = (
        "the check of task 'word' changes what it has made: 'bug!' -> 'bug!!' "
        r"\(a validator must leave its own output as it is\)"
    )
    with pytest.raises(mti.DataError, match=f"row 1: {message}"):
        mti.Dataset.from_rows(program, [row])
    with pytest.raises(mti.PlanError, match=f"a demonstration does not fit: {message}"):
        mti.Plan.fused(program, demos=[row])
