"""What a declaration says beside names and types: descriptions, defaults, checks and marks."""

from __future__ import annotations

import datetime
import functools
import json
import math
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, create_model
from pydantic import Field as Limits

import mtiprompt as mti
from mtiprompt.parse import parse
from mtiprompt.result import Answer
from mtiprompt.schema import Slot
from mtiprompt.tasks import Field
from mtiprompt.wire import Reply
from tests.strategies import Kind, kinds


@dataclass
class Mark:
    """A mark beside a type that has no hash, as no dataclass has that is not frozen."""

    text: str = "x"


# --- marks -----------------------------------------------------------------------------------


@given(kinds, st.sampled_from([{"doc": "x"}, ["x"], Mark()]), st.data())
def test_marks_without_a_hash(kind: Kind, mark: Any, data: st.DataObject) -> None:
    """Whatever stands beside a type in `Annotated`: an answer reads as it does without it."""
    given_value = data.draw(kind.values)
    read = []
    for one in (kind.type, Annotated[kind.type, mark]):
        task = mti.Task[Any]("t", "i", (Field("x", one),), (Field("y", one),))
        text = json.dumps({"y": task.outputs[0].dump(given_value)})
        found = parse(Reply(text), [Slot(task, ("y",))])["t"]
        read.append(found.fields if isinstance(found, Answer) else found)
    assert read[0] == read[1]


# --- descriptions ----------------------------------------------------------------------------


def test_inputs_of_a_function_are_described() -> None:
    """The description beside the type of an input is said to the model, as that of the answer."""

    @mti.task
    def mood(
        message: Annotated[str, Limits(description="the mail of a customer")], page: str
    ) -> Annotated[str, Limits(description="one word")]:
        """Name the mood."""
        raise NotImplementedError

    assert [one.description for one in mood.inputs] == ["the mail of a customer", ""]
    assert mood.outputs[0].description == "one word"
    model = mti.ScriptedModel(['{"mood": "calm"}'])
    result = mti.combine(mood)(message="a", page="b", model=model)
    assert "the mail of a customer" in result.calls[0].request.messages[0].content


def test_inputs_of_a_model_are_described() -> None:
    """So is the description of a type among the inputs of a pydantic model."""

    class Ticket(BaseModel):
        """Sort."""

        kind: str

    mail = Annotated[str, Limits(max_length=9), Limits(description="the mail")]
    task = mti.task(Ticket, inputs={"message": mail, "page": str})
    assert [one.description for one in task.inputs] == ["the mail", ""]


def test_fields_of_a_signature_are_described() -> None:
    """So is the description of a type in a signature, unless the field has one of its own."""

    class Sorted(mti.Signature):
        """Sort."""

        message: Annotated[str, Limits(description="the mail")] = mti.InputField()
        page: Annotated[str, Limits(description="the mail")] = mti.InputField(desc="a page")
        kind: str = mti.OutputField()

    task = mti.task(Sorted)
    said = [one.description for one in (*task.inputs, *task.outputs)]
    assert said == ["the mail", "a page", ""]


# --- defaults --------------------------------------------------------------------------------


def _refused(text: str) -> str:
    raise KeyError(text)


@pytest.mark.parametrize(
    ("kind", "default"),
    [(int, "zz"), (list[int], ["a"]), (str, Limits(description="x")),
     (Annotated[int, Limits(ge=0)], -1), (Annotated[str, AfterValidator(_refused)], "a")],
)  # fmt: skip
def test_default_that_does_not_fit(kind: Any, default: Any) -> None:
    """A default that its own type refuses is a mistake of the declaration, which names it."""
    with pytest.raises(mti.DeclarationError, match=r"'odd'.*default") as caught:
        mti.Task[Any](
            "t", "i", (Field("odd", kind, required=False, default=default),), (Field("y", str),)
        )
    assert caught.value.hint


def test_default_that_nothing_stands_for() -> None:
    """None leaves an input out, whatever its type."""

    @mti.task
    def reply(message: str, tone: str = None) -> str:  # type: ignore[assignment]  # noqa: RUF013
        """Reply."""
        raise NotImplementedError

    assert mti.combine(reply).read_inputs({"message": "a"}) == {"message": "a"}


# --- checks ----------------------------------------------------------------------------------


async def _late(*_: Any) -> bool:
    return False


class Late:
    """An object that is called as a coroutine function is."""

    async def __call__(self, *_: Any) -> bool:
        """Nothing in time."""
        return False


@pytest.mark.parametrize("option", ["validate", "metric"])
@pytest.mark.parametrize("thing", [5, _late, Late(), functools.partial(_late, 1)])
def test_check_that_cannot_be_called(option: str, thing: Any) -> None:
    """A check or a metric that is no function is refused, and a coroutine function too: nobody
    would wait for it, and every answer would pass.
    """
    with pytest.raises(mti.DeclarationError, match=rf"{option}`? of task 'b'"):
        mti.task("a -> b", **{option: thing})


@pytest.mark.parametrize("thing", ["yes", 1, None])
def test_reasoning_that_is_no_answer(thing: Any) -> None:
    """Whether to reason is told by True or False."""
    with pytest.raises(mti.DeclarationError, match="`reasoning` of task 'b'"):
        mti.task("a -> b", reasoning=thing)


def test_checks_of_every_kind() -> None:
    """Functions, methods, classes and other objects that are called serve as a check."""
    for check in (bool, str.isalpha, functools.partial(max, 1), lambda _: True):
        assert mti.task("a -> b", validate=check).validate is check


# --- whole numbers ---------------------------------------------------------------------------


class Counted(BaseModel):
    """A whole number beside another and what may be anything."""

    n: int
    x: int | float = 0
    z: Any = None


def _reads(kind: Any, gold: Any) -> Any:
    """What a task with an output of this type makes of gold."""
    return mti.Task[Any]("t", "i", (), (Field("y", kind),)).read({"y": gold})["y"]


WHOLE: dict[str, Any] = {"type": "integer"}
COUNTS = {"type": "object", "properties": {"n": WHOLE, "x": {"type": "number"}}, "required": ["n"]}


@pytest.mark.parametrize(
    ("schema", "gold", "read"),
    [(WHOLE, 5.0, 5), (WHOLE, -0.0, 0), (WHOLE | {"minimum": 5}, 5.0, 5),
     ({"type": ["integer", "null"]}, 5.0, 5), ({"type": ["string", "integer"]}, 5.0, 5),
     ({"anyOf": [WHOLE, {"type": "null"}]}, 5.0, 5), ({"enum": [1, 5]}, 5.0, 5),
     ({"type": "array", "items": WHOLE}, [1.0, 2.0, 3], [1, 2, 3]),
     ({"type": "array", "items": WHOLE, "uniqueItems": True}, [1.0, 1, 2.0], [1, 2]),
     (COUNTS, {"n": 3.0}, {"n": 3}), (COUNTS, {"n": 3.0, "x": 5.0}, {"n": 3, "x": 5.0}),
     ({"anyOf": [{"type": "array", "items": WHOLE}, COUNTS]}, {"n": 3.0}, {"n": 3}),
     ({"type": "object", "additionalProperties": WHOLE}, {"int": 3.0, "0": 4}, {"int": 3, "0": 4})],
)  # fmt: skip
def test_whole_gold_of_a_task_file(schema: Any, gold: Any, read: Any) -> None:
    """5.0 is a whole number to JSON schema, and so it is as gold, as it is in a reply."""
    part = {"name": "y", "instruction": "i", "output_schema": schema}
    [task] = mti.Task.from_json_schema({"inputs": [{"name": "m"}], "subtasks": [part]})
    found = parse(Reply(json.dumps({"y": gold})), [Slot(task, ("y",))])["y"]
    assert isinstance(found, Answer)
    assert repr(task.read(gold)) == repr(found.fields) == repr({"y": read})


@pytest.mark.parametrize(
    ("kind", "gold", "read"),
    [(int, 5.0, 5), (int | None, 5.0, 5), (int | str, 5.0, 5), (bool | int, 1.0, 1),
     (int | datetime.date, 5.0, 5), (Annotated[int, Limits(multiple_of=5)] | None, 5.0, 5),
     (set[int], {5.0}, [5]), (tuple[int, float], (5.0, 5.0), [5, 5.0]),
     (dict[str, list[int]], {"a": [5.0]}, {"a": [5]}), (list[int | float], [5.0, 5], [5.0, 5]),
     (tuple[int, int | float], [5.0, 5.0], [5, 5.0]), (int | float, 5.0, 5.0), (Any, 5.0, 5.0),
     (Counted, {"n": 3.0, "x": 5.0, "z": [5.0]}, {"n": 3, "x": 5.0, "z": [5.0]}),
     (tuple[int, Decimal], [5.0, Decimal("5.10")], [5, "5.10"])],
)  # fmt: skip
def test_whole_gold_of_a_type(kind: Any, gold: Any, read: Any) -> None:
    """Nothing but a whole number that its type refuses as 5.0 becomes 5: what may be a float stays
    one, and a `Decimal` keeps its digits.
    """
    assert repr(_reads(kind, gold)) == repr(read)


@pytest.mark.parametrize(
    ("kind", "gold"),
    [(int, 5.5), (int, "5"), (int, "5.0"), (int, True), (int, None), (int, math.inf),
     (int, math.nan), (int, 2.0**53), (int, 1e300), (int, Decimal("5.0")), (bool, 1.0), (str, 5.0),
     (list[int], 5.0), (list[int], [5.0, "5"]), (list[int], [5.0, True]),
     (Counted, {"n": 3.0, "x": "5"}), (Counted, {"n": 3.5}), (datetime.date, 86400.0),
     (datetime.datetime | None, 86400.0), (list[datetime.date | int], [5.0, "5"]),
     (Annotated[int, Limits(ge=6)], 5.0)],
)  # fmt: skip
def test_gold_that_is_no_whole_number(kind: Any, gold: Any) -> None:
    """A fraction, a text, a truth and what a float cannot hold are no whole number, and a number is
    nothing but a number.
    """
    with pytest.raises(mti.DataError, match="cannot have the answer"):
        _reads(kind, gold)


@given(kinds, st.data())
def test_whole_gold_of_any_type(kind: Kind, data: st.DataObject) -> None:
    """Whatever the type: gold that is read is read the same beside a whole number written 5.0."""
    outputs = (Field("x", kind.type), Field("n", int))
    task = mti.Task[Any]("t", "i", (), outputs)
    plain = outputs[0].dump(data.draw(kind.values))
    assert repr(task.read({"x": plain, "n": 5.0})) == repr(task.read({"x": plain, "n": 5}))
    pair = mti.Task[Any]("t", "i", (), (Field("x", tuple[kind.type, int]),))  # type: ignore[name-defined]
    assert repr(pair.read({"x": [plain, 5.0]})) == repr(pair.read({"x": [plain, 5]}))


# --- names -----------------------------------------------------------------------------------


def _hidden(message: str) -> str:
    """Do."""
    raise NotImplementedError


@pytest.mark.parametrize(
    ("declaration", "name", "shown"),
    [("a -> b", "my task", "my task"), ("text -> a_, b", None, "a__b"), (_hidden, None, "_hidden"),
     (mti.task("a -> b"), "a b", "a b")],
)  # fmt: skip
def test_name_of_a_task(declaration: Any, name: str | None, shown: str) -> None:
    """A name that a task cannot have is told as that of a task, with the way to give another."""
    options: Any = {} if name is None else {"name": name}
    with pytest.raises(
        mti.DeclarationError, match=f"'{shown}' cannot be the name of a task"
    ) as caught:
        mti.task(declaration, **options)
    assert "name=" in str(caught.value.hint)


def test_name_of_a_task_in_a_file() -> None:
    """So is the name of a sub-task of a task file; that of an input is one of a field."""
    part = {"name": "my task", "instruction": "Do.", "output_schema": {"type": "string"}}
    with pytest.raises(mti.DeclarationError, match="'my task' cannot be the name of a task"):
        mti.Task.from_json_schema({"inputs": [{"name": "m"}], "subtasks": [part]})
    part["name"] = "x"
    with pytest.raises(mti.DeclarationError, match="'m m' cannot be the name of a field"):
        mti.Task.from_json_schema({"inputs": [{"name": "m m"}], "subtasks": [part]})


# --- names in other letters, types that come later ---------------------------------------------


def test_letters_of_a_task_file() -> None:
    """A task file in decomposed letters declares what Python's identifiers reach."""
    name = unicodedata.normalize("NFD", "größe")
    integer = {"type": "integer"}
    parts = [
        {"name": name, "instruction": "i", "output_schema": integer},
        {"name": "b", "instruction": "i", "output_schema": integer, "depends_on": [name]},
    ]
    spec = {"inputs": [{"name": name + "n"}], "subtasks": parts}
    program = mti.combine(*mti.Task.from_json_schema(spec))
    assert program(größen="x", model=mti.EchoModel()).größe == 0
    assert program.order == ("größe", "b")


def test_a_model_in_decomposed_letters_is_refused() -> None:
    """The answer is an instance, whose attribute would not be found under the field's name."""
    odd: Any = {unicodedata.normalize("NFD", "größe"): (int, ...)}
    with pytest.raises(mti.DeclarationError, match="NFKC"):
        mti.task(create_model("Odd", **odd), inputs=["x"], instruction="i")


class Early(BaseModel):
    """Read it."""

    n: int
    late: LateModel | None = None


class LateModel(BaseModel):
    """What is defined behind the model that names it."""

    n: int


def test_a_model_that_names_a_later_one() -> None:
    """A forward reference that is known by now is resolved, one that is not is refused."""
    found = mti.combine(mti.task(Early, inputs=["text"]))(
        text="x", model=mti.ScriptedModel(['{"n": 1, "late": {"n": 2}}'])
    )
    assert found[Early] == Early(n=1, late=LateModel(n=2))

    class Lost(BaseModel):
        """Read it."""

        late: NowhereAtAll  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(mti.DeclarationError, match="'Lost' has a type that is not known"):
        mti.task(Lost, inputs=["text"])
