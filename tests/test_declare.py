"""Tasks out of every kind of declaration, and what is refused."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, computed_field
from pydantic import Field as Limits

import mtiprompt as mti
from mtiprompt.declare import snake_case
from mtiprompt.parse import parse
from mtiprompt.result import Answer, Failure
from mtiprompt.schema import Slot
from mtiprompt.tasks import Field
from mtiprompt.wire import Reply

FILES = Path(__file__).parent / "data" / "task_files"


def read(task: mti.Task[Any], **values: Any) -> Answer[Any] | Failure:
    """What a task makes of a reply with these values."""
    slot = Slot(task, tuple(one.name for one in task.outputs))
    return parse(Reply(json.dumps(values)), [slot])[task.name]


def value(task: mti.Task[Any], **values: Any) -> Any:
    """The answer of a task to a reply with these values."""
    found = read(task, **values)
    assert isinstance(found, Answer), found
    return found.value


# --- strings ---------------------------------------------------------------------------------


def test_string() -> None:
    """A string gives names, types and an instruction; the task is called after its outputs."""
    task = mti.task('message, tone: str | None -> urgent: bool, label: Literal["a, b", "c:d"]')
    assert task.name == "urgent_label"
    assert [(one.name, one.type) for one in task.inputs] == [("message", str), ("tone", str | None)]
    assert [one.type for one in task.outputs] == [bool, Literal["a, b", "c:d"]]
    assert "`message`" in task.instruction
    assert value(task, urgent=True, label="c:d").label == "c:d"


@pytest.mark.parametrize(
    "label", ["->", "<-", "a, b", "x]", "[", "it's", 'say "hi"', "a\\", "(", "été", "a:b"]
)
def test_string_with_odd_labels(label: str) -> None:
    """A label may hold whatever Python's quotes can, arrows and brackets included."""
    task = mti.task(f'm -> first: Literal[{label!r}, "other"], second: int')
    assert task.outputs[0].type == Literal[label, "other"]
    assert task.outputs[1].type is int


@pytest.mark.parametrize(
    "text",
    ["", "->", "a ->", "-> b", "message", "a -> b -> c", "a, -> b", "a -> b,", "a -> b: wat",
     "a -> b: list[", "a: -> 3x", "a b -> c", "a -> _b", "a -> b__c", "a, a -> b", "a -> a",
     "a -> b, b", "a -> b: int]", "a -> 'b'"],
)  # fmt: skip
def test_string_is_refused(text: str) -> None:
    """A string that is no signature is refused in one line."""
    with pytest.raises(mti.DeclarationError) as caught:
        mti.task(text)
    assert "\n" not in str(caught.value)


def test_string_with_instruction_and_name() -> None:
    """Options around a string replace what it implies."""
    task = mti.task(
        "a -> b", instruction="Look closely.", name="look", metric="exact", reasoning=True
    )
    assert (task.name, task.instruction, task.metric, task.reasoning) == (
        "look", "Look closely.", "exact", True
    )  # fmt: skip


# --- functions -------------------------------------------------------------------------------


@mti.task
def product(message: str, shop: str = "ours") -> Annotated[str, Limits(max_length=4)]:  # type: ignore[empty-body]
    """Name the product.

    In one word.
    """


@mti.task(name="mood", metric="exact", reasoning=True)
def feeling(message: str) -> Literal["good", "bad"]:  # type: ignore[empty-body]
    """Judge the feeling."""


def test_function() -> None:
    """A typed function gives name, docstring, types, defaults; its answer is the bare value."""
    assert product.name == "product"
    assert product.instruction == "Name the product.\n\nIn one word."
    assert [(one.name, one.required, one.default) for one in product.inputs] == [
        ("message", True, None), ("shop", False, "ours")
    ]  # fmt: skip
    assert value(product, product="lamp") == "lamp"
    assert isinstance(read(product, product="lamps"), Failure)


def test_function_with_options() -> None:
    """Options of the decorator are kept; a rename changes the task and not the field."""
    assert (feeling.name, feeling.metric, feeling.reasoning) == ("mood", "exact", True)
    assert value(feeling, feeling="good") == "good"


def test_function_that_raises_not_implemented() -> None:
    """A body that only raises NotImplementedError is no body."""

    def one(message: str) -> str:
        """Do."""
        raise NotImplementedError

    def two(message: str) -> str:
        """Do."""
        raise NotImplementedError("never called")

    assert [mti.task(one).name, mti.task(two).name] == ["one", "two"]


def test_function_with_a_body_is_refused() -> None:
    """A body would never run, so it is refused, a constant one too."""

    def calls(message: str) -> str:
        """Do."""
        return message.upper()

    def constant(message: str) -> str:
        """Do."""
        return "x"

    def raises(message: str) -> str:
        """Do."""
        raise ValueError("no")

    for function in (calls, constant, raises):
        with pytest.raises(mti.DeclarationError, match="has a body"):
            mti.task(function)


def test_function_instruction_from_the_option() -> None:
    """An instruction given as an option stands for a docstring that is not there."""

    def quiet(message: str) -> str: ...  # type: ignore[empty-body]

    assert mti.task(quiet, instruction="Be quiet.").instruction == "Be quiet."
    with pytest.raises(mti.DeclarationError, match="no docstring"):
        mti.task(quiet)


def test_name_option_saves_a_name_that_cannot_be() -> None:
    """A declaration whose own name cannot be a task's is taken under another."""

    def _private(message: str) -> str:
        """Do."""
        raise NotImplementedError

    class _Hidden(mti.Signature):
        """Do."""

        message: str = mti.InputField()
        label: str = mti.OutputField()

    assert mti.task(_Hidden, name="hidden").name == "hidden"
    assert mti.task(_private, name="private").name == "private"


def test_function_is_refused() -> None:
    """No return type, star arguments, unknown or senseless types: each is refused by name."""

    def nothing(message: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
        """Do."""

    def none(message: str) -> None:
        """Do."""

    def stars(*message: str) -> str:
        """Do."""
        raise NotImplementedError

    def words(**message: str) -> str:
        """Do."""
        raise NotImplementedError

    def unknown(message: str) -> Unknown:  # type: ignore[name-defined]  # noqa: F821
        """Do."""

    def broken(message: str) -> str:
        """Do."""
        raise NotImplementedError

    broken.__annotations__["message"] = "list["

    def recursive(recursive: str) -> str:
        """Do."""
        raise NotImplementedError

    for function in (nothing, none, stars, words, unknown, broken, recursive):
        with pytest.raises(mti.DeclarationError) as caught:
            mti.task(function)
        assert function.__name__ in str(caught.value)


# --- DSPy signatures -------------------------------------------------------------------------


class CustomerMood(mti.Signature):
    """Judge the mood."""

    message: str = mti.InputField(desc="what was written")
    shop: str = mti.InputField(default="ours")
    score: int = mti.OutputField(ge=1, le=5, desc="5 is best")
    word: str = mti.OutputField(max_length=5, pattern="^[a-z]+$")
    tags: list[str] = mti.OutputField(min_length=1)
    part: Optional[float] = mti.OutputField(gt=0)  # noqa: UP045


GOOD = {"score": 3, "word": "calm", "tags": ["x"], "part": None}


def test_signature() -> None:
    """A DSPy signature gives its name in snake case, its docstring, fields and descriptions."""
    task = mti.task(CustomerMood)
    assert (task.name, task.instruction) == ("customer_mood", "Judge the mood.")
    assert [(one.name, one.description, one.required, one.default) for one in task.inputs] == [
        ("message", "what was written", True, None), ("shop", "", False, "ours")
    ]  # fmt: skip
    assert [one.description for one in task.outputs] == ["5 is best", "", "", ""]
    assert value(task, **GOOD) == mti.Values(GOOD)


@pytest.mark.parametrize(
    "change",
    [{"score": 0}, {"score": 6}, {"word": "toolong"}, {"word": "Calm"}, {"tags": []}, {"part": 0.0},
     {"part": -1.5}],
)  # fmt: skip
def test_signature_constraints_are_enforced(change: dict[str, Any]) -> None:
    """What DSPy keeps in the metadata and ignores is enforced here."""
    found = read(mti.task(CustomerMood), **{**GOOD, **change})
    assert isinstance(found, Failure)
    assert found.kind == "constraint broken"


def test_signature_of_a_string() -> None:
    """A signature that DSPy made of a string is called after its outputs."""
    import dspy

    task = mti.task(dspy.Signature("message -> urgent: bool, tone", "Look."))
    assert (task.name, task.instruction) == ("urgent_tone", "Look.")
    assert [one.type for one in task.outputs] == [bool, str]


def test_inherited_signature() -> None:
    """Fields of a parent signature belong to the task."""

    class AngryMood(CustomerMood):
        """Judge anger."""

        anger: bool = mti.OutputField()

    assert [one.name for one in mti.task(AngryMood).outputs][-1] == "anger"
    assert mti.task(AngryMood).instruction == "Judge anger."


def test_signature_with_names_of_pydantic() -> None:
    """Fields called as pydantic's own methods work where DSPy lets them be declared."""
    task = mti.task("message -> copy: str, json: str, items: list[str], keys: int")
    answer = value(task, copy="a", json="b", items=["c"], keys=1)
    assert (answer.copy, answer.json, answer.items, answer.keys) == ("a", "b", ["c"], 1)


# --- pydantic models -------------------------------------------------------------------------


class Ticket(BaseModel):
    """Sort the ticket."""

    model_config = ConfigDict(frozen=True)
    kind: Literal["bug", "wish"]
    size: Annotated[int, Limits(ge=1)] = Limits(description="1 is small")


def test_model() -> None:
    """A pydantic model gives its name, docstring, fields; the answer is an instance of it."""
    task = mti.task(Ticket, inputs=["message"])
    assert (task.name, task.instruction) == ("ticket", "Sort the ticket.")
    assert [one.description for one in task.outputs] == ["", "1 is small"]
    assert value(task, kind="bug", size=2) == Ticket(kind="bug", size=2)
    assert isinstance(read(task, kind="bug", size=0), Failure)


def test_model_inputs() -> None:
    """Inputs are given as one name, names, or names with types."""
    assert [one.name for one in mti.task(Ticket, inputs="message").inputs] == ["message"]
    typed = mti.task(Ticket, inputs={"message": str, "year": int}).inputs
    assert [(one.name, one.type) for one in typed] == [("message", str), ("year", int)]


def test_model_lacks_something() -> None:
    """Without inputs or an instruction a model is refused, and the hint shows how to write it."""

    class Mute(BaseModel):
        kind: str

    with pytest.raises(mti.DeclarationError, match=r"input names.*inputs=\["):
        mti.task(Ticket)
    with pytest.raises(mti.DeclarationError, match="an instruction"):
        mti.task(Mute, inputs=["message"])
    assert mti.task(Mute, inputs=["message"], instruction="Sort.").instruction == "Sort."


def test_model_with_aliases() -> None:
    """A model whose fields have aliases is answered, under one of the two names."""

    class Aliased(BaseModel):
        """Sort."""

        kind: str = Limits(alias="Kind")

    task = mti.task(Aliased, inputs=["message"])
    answer = value(task, **{task.outputs[0].name: "bug"})
    assert answer.kind == "bug"


def test_model_validators_run_once() -> None:
    """A validator that changes a value is applied once."""

    class Counted(BaseModel):
        """Sort."""

        kind: Annotated[str, AfterValidator(lambda text: text + "!")]

    assert value(mti.task(Counted, inputs=["message"]), kind="bug").kind == "bug!"


def test_model_validator_across_fields() -> None:
    """A check of the whole model refuses the answer with its message."""
    from pydantic import model_validator

    class Pair(BaseModel):
        """Order."""

        low: int
        high: int

        @model_validator(mode="after")
        def ordered(self) -> Pair:
            if self.low > self.high:
                raise ValueError("low is above high")
            return self

    task = mti.task(Pair, inputs=["message"])
    found = read(task, low=2, high=1)
    assert isinstance(found, Failure)
    assert "low is above high" in found.message
    assert value(task, low=1, high=2).high == 2


class Sized(BaseModel):
    """A part with an alias and a computed value."""

    model_config = ConfigDict(extra="forbid")
    size: int = Limits(alias="Size")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return 2 * self.size


def test_inner_validators_run_once_too() -> None:
    """Validators inside lists and before limits run once; their limits hold for what they make."""

    class Deep(BaseModel):
        """Sort."""

        tags: list[Annotated[str, AfterValidator(lambda text: text + "!")]] | None
        size: Annotated[int, BeforeValidator(lambda size: size - 5), Limits(le=5)]
        part: Sized

    task = mti.task(Deep, inputs=["message"])
    answer = value(task, tags=["a"], size=9, part={"Size": 2})
    assert (answer.tags, answer.size, answer.part.size) == (["a!"], 4, 2)
    assert isinstance(read(task, tags=None, size=11, part={"Size": 2}), Failure)


def test_nested_model_reads_what_it_writes() -> None:
    """An answer with an alias and a computed value is gold again; two names for one are refused."""
    task = mti.Task[Any]("t", "i", (), (Field("part", Sized),))
    found = read(task, part={"Size": 2})
    assert isinstance(found, Answer)
    assert found.fields == {"part": {"Size": 2}} == task.read(found.value)

    class Split(BaseModel):
        size: int = Limits(validation_alias="Size")

    with pytest.raises(mti.DeclarationError, match=r"'odd'.*'Size'"):
        mti.Task[Any]("t", "i", (), (Field("odd", Split),))


def test_gold_wrapped_or_bare() -> None:
    """The gold of a task with one output is taken wrapped or bare, whichever validates."""
    slots = mti.Task[Any]("slots", "i", (), (Field("slots", dict[str, str]),))
    assert slots.read({"slots": "noon"}) == {"slots": {"slots": "noon"}}
    assert slots.read({"slots": {"a": "b"}}) == {"slots": {"a": "b"}} == slots.read({"a": "b"})
    assert product.read({"product": "lamp"}) == {"product": "lamp"} == product.read("lamp")
    with pytest.raises(mti.DataError, match="'slots'"):
        slots.read({"slots": 5})


def test_values_cannot_be_changed() -> None:
    """Neither setting nor deleting."""
    values = mti.Values({"a": 1})
    with pytest.raises(AttributeError, match="cannot be changed"):
        values.a = 2
    with pytest.raises(AttributeError, match="cannot be changed"):
        del values.a  # type: ignore[attr-defined]
    assert values["a"] == 1


# --- task files ------------------------------------------------------------------------------

FILE: dict[str, Any] = {
    "title": "t",
    "inputs": [{"name": "message", "description": "a text"}],
    "subtasks": [
        {"name": "scenario", "instruction": "Choose.", "metric": "exact",
         "output_schema": {"type": "string", "enum": ["play", "stop"]}, "depends_on": []},
        {"name": "slots", "instruction": "List.", "metric": "f1_set", "depends_on": ["scenario"],
         "output_schema": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}},
    ],
}  # fmt: skip


def changed(change: Any) -> dict[str, Any]:
    """The task file after `change` has been at it."""
    copy: dict[str, Any] = json.loads(json.dumps(FILE))
    change(copy)
    return copy


def test_task_file(tmp_path: Path) -> None:
    """A task file gives its tasks with inputs, descriptions, metrics and dependencies."""
    path = tmp_path / "x.task.json"
    path.write_text(json.dumps(FILE), encoding="utf-8")
    for source in (path, str(path), FILE):
        first, second = mti.Task.from_json_schema(source)
        assert [one.name for one in second.inputs] == ["message", "scenario"]
        assert first.inputs[0].description == "a text"
        assert (first.metric, second.metric) == ("exact", "f1_set")
        assert value(second, slots=["a", "a"]).slots == ["a"]
        assert mti.combine(first, second).upstream("slots") == {"scenario"}


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.glob("*.json")))
def test_real_task_files(name: str) -> None:
    """Task files of the real collection are declared and combined, and their gold reads back."""
    spec = json.loads((FILES / name).read_text(encoding="utf-8"))
    tasks = mti.Task.from_json_schema(spec)
    program = mti.combine(*tasks)
    assert set(program.inputs) == {one["name"] for one in spec["inputs"]}
    for row in spec["rows"]:
        for task in tasks:
            gold = row["outputs"][task.name]
            assert task.read(gold) == {task.name: gold}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.pop("inputs"), "inputs"),
        (lambda x: x.pop("subtasks"), "subtasks"),
        (lambda x: x["subtasks"][0].pop("name"), "name"),
        (lambda x: x["subtasks"][0].pop("instruction"), "instruction"),
        (lambda x: x["subtasks"][0].pop("output_schema"), "output_schema"),
        (lambda x: x["subtasks"][0].update(output_schema={"type": "wat"}), "scenario"),
        (lambda x: x["subtasks"][0].update(output_schema={"anyOf": []}), "scenario"),
        (lambda x: x["subtasks"][0].update(output_schema={"type": "string", "pattern": "("}),
         "scenario"),
        (lambda x: x["subtasks"][1].update(depends_on=["nobody"]), "nobody"),
        (lambda x: x["subtasks"][1].update(depends_on=["slots"]), "slots"),
        (lambda x: x["subtasks"][1].update(depends_on=None), "task file"),
        (lambda x: x["subtasks"][1].update(name="scenario"), "scenario"),
        (lambda x: x["subtasks"][0].update(name=5), "5"),
        (lambda x: x["inputs"][0].update(name=5), "5"),
        (lambda x: x["subtasks"][0].update(instruction=5), "instruction"),
        (lambda x: x.update(inputs="message"), "task file"),
        (lambda x: x.update(subtasks={}), "task"),
        (lambda x: x.update(subtasks=[]), "task"),
        (lambda x: x.update(subtasks=["a"]), "'a' in 'subtasks'"),
        (lambda x: x["subtasks"][1].update(depends_on=[["a"]]), "slots"),
        (lambda x: x["subtasks"][1].update(depends_on="scenario"), "depends_on"),
        (lambda x: x["subtasks"][0].update(metric=5), "metric"),
        (lambda x: x["inputs"][0].update(description=5), "message"),
        (lambda x: x["subtasks"][1].update(depend_on=x["subtasks"][1].pop("depends_on")),
         r"'slots' .* 'depend_on' \(write 'depends_on'\)"),
        (lambda x: x["subtasks"][1].update(metrics=x["subtasks"][1].pop("metric")),
         r"'metrics' \(write 'metric'\)"),
        (lambda x: x["subtasks"][0].update(outputschema=x["subtasks"][0].pop("output_schema")),
         r"\(write 'output_schema'\)"),
        (lambda x: x["subtasks"][0].update(inputs=["message"]),
         "'scenario' .* 'inputs' .*every task of a file reads all inputs"),
        (lambda x: x["inputs"].append({"name": "message"}),
         r"two fields named 'message' \(rename one of them"),
        (lambda x: x["subtasks"][1].update(depends_on=["scenario", "scenario"]),
         r"two fields named 'scenario' \(rename one of them, or leave it out"),
        (lambda x: x["subtasks"][1].update(depends_on=["slots"]),
         r"two fields named 'slots' \(a task cannot take and put out"),
    ],
)  # fmt: skip
def test_task_file_is_refused(change: Any, message: str) -> None:
    """A task file with a part missing or misplaced is refused, and the part is named."""
    with pytest.raises(mti.DeclarationError, match=message):
        mti.Task.from_json_schema(changed(change))


def test_notes_in_a_task_file_are_let_be() -> None:
    """Keys that look like none of ours say where a set comes from, and change nothing."""
    notes = {
        "source": "web",
        "licence": "CC0",
        "gold": "human",
        "gold_note": "?",
        "notes": [],
        "1": 2,
    }
    found = mti.Task.from_json_schema(changed(lambda x: x["subtasks"][0].update(notes)))
    assert [one.name for one in found] == ["scenario", "slots"]


def test_near_keys_beside_ours_are_let_be() -> None:
    """What stands beside the key that it is near to was not meant as that key."""
    notes = {"instruction_de": "Sag es.", "output_schema_note": "?", "input_schema": {}, "names": 1}
    for beside in ({"metric": "exact", "metrics": []}, {"description": "", "description_en": ""}):
        both = notes | beside
        found = mti.Task.from_json_schema(changed(lambda x, k=both: x["subtasks"][0].update(k)))
        assert [one.name for one in found] == ["scenario", "slots"]


def test_task_file_that_cannot_be_read(tmp_path: Path) -> None:
    """No file, a folder, no JSON, no text, a list: each is one of the library's errors."""
    (tmp_path / "broken.json").write_text('{"a": \n x}', encoding="utf-8")
    (tmp_path / "latin.json").write_bytes(b'"\xff"')
    (tmp_path / "list.json").write_text("[1]", encoding="utf-8")
    for name, error, message in [
        ("none.json", mti.DataError, "none.json"), ("", mti.DataError, "cannot read"),
        ("broken.json", mti.DataError, "line 2"), ("latin.json", mti.DataError, "UTF-8"),
        ("list.json", mti.DeclarationError, "task file"),
    ]:  # fmt: skip
        with pytest.raises(error, match=message):
            mti.Task.from_json_schema(tmp_path / name)
    with pytest.raises(mti.MTIError):
        mti.Task.from_json_schema([1])  # type: ignore[arg-type]


# --- anything --------------------------------------------------------------------------------


class Colour(enum.Enum):
    """Labels."""

    RED = "red"
    BLUE = "blue"


def test_enum_answers() -> None:
    """An enum is answered by its value and comes back as its member."""
    task = mti.Task[Any]("c", "i", (), (Field("c", Colour),), bare=True)
    assert value(task, c="red") is Colour.RED
    assert value(task, c=" Red.") is Colour.RED
    assert isinstance(read(task, c="RED BLUE"), Failure)


@pytest.mark.parametrize("thing", [5, None, object(), [], int, len, lambda: 0, print])
def test_no_declaration(thing: Any) -> None:
    """What declares no task is refused."""
    with pytest.raises(mti.DeclarationError):
        mti.combine(thing)


@pytest.mark.parametrize("name", ["", "1x", "a b", "_a", "a__b", "a-b"])
def test_names_are_checked(name: str) -> None:
    """Names of tasks and fields are identifiers that cannot be taken for keys of a reply."""
    with pytest.raises(mti.DeclarationError, match="cannot be the name"):
        mti.task("a -> b", name=name)
    with pytest.raises(mti.DeclarationError, match="cannot be the name"):
        Field(name, str)


def test_inputs_are_for_models() -> None:
    """`inputs=` around another declaration is refused, as decorator too."""
    with pytest.raises(mti.DeclarationError, match="inputs"):
        mti.task("a -> b", inputs=["c"])

    def plain(message: str) -> str:
        """Do."""
        raise NotImplementedError

    with pytest.raises(mti.DeclarationError, match="inputs"):
        mti.task(inputs=["c"])(plain)


class Endless(BaseModel):
    """A recursive type."""

    parts: list[Endless] = []


@pytest.mark.parametrize(
    "kind",
    [Annotated[str, Limits(pattern="(")], Annotated[str, Limits(pattern="(?=a)a")], Endless,
     list[Endless], "NoSuchType", 5, Annotated[int, Limits(multiple_of=0.5)]],
)  # fmt: skip
def test_types_that_cannot_be_are_refused_at_once(kind: Any) -> None:
    """A type that cannot be validated or written as a schema is refused when it is declared or
    combined, not at the first call, and the field is named.
    """
    with pytest.raises(mti.DeclarationError, match="'odd'"):
        mti.combine(mti.Task[Any]("t", "i", (Field("a", str),), (Field("odd", kind),)))


def test_type_that_is_no_json_is_refused() -> None:
    """A type without a JSON schema is refused as a declaration, not with pydantic's error."""
    from collections.abc import Callable

    with pytest.raises(mti.DeclarationError, match="'odd'"):
        mti.Plan.fused(mti.combine(mti.Task[Any]("t", "i", (), (Field("odd", Callable[[], int]),))))


@pytest.mark.parametrize(
    ("name", "snake"),
    [("CustomerMood", "customer_mood"), ("HTTPServer", "http_server"), ("ABTest2Go", "ab_test2_go"),
     ("mood", "mood"), ("Mood", "mood"), ("Zürich", "zürich"), ("Top5Words", "top5_words")],
)  # fmt: skip
def test_snake_case(name: str, snake: str) -> None:
    """Classes give tasks readable names."""
    assert snake_case(name) == snake
