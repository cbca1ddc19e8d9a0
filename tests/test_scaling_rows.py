"""Scaling: what is shown, what is asked, and of which kind it is, known before the first call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt.errors import DataError
from mtiprompt.experiments.scaling import design, run
from mtiprompt.experiments.scaling.sources import kind_of
from mtiprompt.tasks import Field
from tests.test_scaling import asked, dataset


def shown(request: mti.Request) -> list[str]:
    """The texts that the demonstrations of a request show."""
    return [one.content for one in request.messages[1:-1] if one.role == "user"]


def leaky(inputs: Mapping[str, str], *tasks: str) -> mti.Dataset:
    """A set of five train rows and six test rows, `inputs` filled in with words and numbers; the
    text of the test row 2 is that of the train row 1, in capitals."""
    program = mti.combine(*tasks)
    gold = dict.fromkeys(program.tasks, "yes")
    lines = [
        {
            "id": f"{split}{n}",
            "inputs": {name: form.format(word, n) for name, form in inputs.items()},
            "outputs": gold,
            "split": split,
        }
        for split, word, numbers in (("train", "Shown", range(5)), ("test", "Asked", range(6)))
        for n in numbers
    ]
    lines[5 + 2]["inputs"] = {name: form.format("SHOWN", 1) for name, form in inputs.items()}
    return mti.Dataset.from_rows(program, lines, name="leaky")


YES = "Literal['yes', 'no']"


@pytest.mark.parametrize("seed", range(4))
def test_no_demonstration_answers_a_test_row(seed: int) -> None:
    """A train row with the text of a test row is left out of the demonstrations, before any call,
    and the report says so; so does a set beside others, and however few rows are asked."""
    data = leaky({"text": "{} {}"}, *[f"text -> {one}: {YES}" for one in "abc"])
    for sets, rows in (([data], 6), ([data, dataset("two", 2, 6)], 2)):
        model = mti.EchoModel()
        found = run(sets, model, rows=rows, demos=3, tasks=(2, 4), items=(2,), seed=seed)
        texts = [text for request in model.requests for text in shown(request)]
        assert not any("Shown 1" in text for text in texts)
        assert len({text for text in texts if "Shown" in text}) >= 3
        assert found.held_back == {"leaky": 1} == found.plain()["held_back"]
        assert "Train rows of leaky not shown, as a test row has the same inputs: 1." in str(
            found.parts()
        )
    model = mti.EchoModel()
    with pytest.raises(DataError, match="5 demonstrations are wanted, and 4 train rows of leaky"):
        run([data], model, demos=5, tasks=(2,), items=())
    assert model.requests == []
    assert run([data], model, tasks=(2,), items=()).held_back == {}


@pytest.mark.parametrize("number", [1, 2])
def test_rows_are_told_apart_by_all_their_inputs(number: int) -> None:
    """A call that shows only what many rows have in common is no leak: the rows are others."""
    inputs = {"lang": "en", "text": "{} {}"}
    tasks = [f"lang -> a: {YES}", f"lang -> b: {YES}", f"text -> c: {YES}"]
    sets = [leaky(inputs, *tasks), dataset("two", 2, 6)][:number]
    model = mti.EchoModel()
    found = run(sets, model, demos=2, tasks=(2,), items=(2,))
    assert found.held_back == {"leaky": 1}
    assert not any("Shown 1" in text for request in model.requests for text in shown(request))
    alone = [one for one in model.requests if asked(one) == (["a"], 0)]
    assert alone
    assert all("lang: en" in one.messages[-1].content for one in alone)
    assert not any("text: " in one.messages[-1].content for one in alone)


def questions(number: int, *, first: int) -> mti.Dataset:
    """Test rows on the passages 0, 1, ...; as many train rows that ask something else of the
    passages from `first` on. One task reads the passage alone, the other the question too."""
    program = mti.combine("text -> topic", "text, question -> answer")
    lines = [
        {
            "inputs": {"text": f"Passage {n + start}.", "question": question},
            "outputs": {"topic": f"topic {n + start}", "answer": f"{question} {n}"},
            "split": split,
        }
        for split, question, start in (("test", "Why?", 0), ("train", "Who?", first))
        for n in range(number)
    ]
    return mti.Dataset.from_rows(program, lines, name="questions")


@pytest.mark.parametrize("demos", [1, 4])
def test_no_task_alone_is_shown_its_own_gold(demos: int) -> None:
    """A train row is held back too if one task, which reads only a part of the inputs, has the same
    part in a test row: alone it would be shown the answer that it is asked for."""
    model = mti.EchoModel()
    data = questions(8, first=4)
    found = run([data], model, tasks=(2,), items=(2,), demos=demos)
    assert found.held_back == {"questions": 4}
    texts = " ".join(text for one in model.requests for text in shown(one))
    assert set(re.findall("Passage [0-9]+", texts)) <= {f"Passage {n}" for n in range(8, 12)}
    with pytest.raises(DataError, match="5 demonstrations are wanted, and 4 train rows of quest"):
        run([data], model, tasks=(2,), items=(2,), demos=5)


@pytest.mark.parametrize("default", ["en", None])
@pytest.mark.parametrize("writes", ["train", "test"])
def test_an_input_that_is_left_out_is_its_default(default: str | None, writes: str) -> None:
    """A train row is held back also where only one of the rows writes a default out."""
    language = Field("language", str | None, required=False, default=default)
    greeting = mti.Task[Any]("greeting", "Greet in it.", (language,), (Field("greeting", str),))
    written = {"language": default}
    gold = {"greeting": "g", "topic": "t"}
    rows = {
        split: (
            mti.Row("0", {"text": f"{split} 0", **(written if writes == split else {})}, gold),
            mti.Row("1", {"text": f"{split} 1", "language": split}, gold),
        )
        for split in ("train", "test")
    }
    program = mti.combine(greeting, "text -> topic")
    data = mti.Dataset("greetings", program, rows["train"], (), rows["test"])
    found = run([data], mti.EchoModel(), tasks=(2,), items=(), demos=1)
    assert found.held_back == {"greetings": 1}


def unlabelled(name: str, **gold: str) -> mti.Dataset:
    """A set of three tasks and four test rows, of which the first alone has gold."""
    tasks = [f"text -> {name}_{letter}: {YES}" for letter in "abc"]
    rows: list[dict[str, Any]] = [{"inputs": {"text": f"{name} says {n}"}} for n in range(4)]
    rows[0]["outputs"] = gold
    return mti.Dataset.from_rows(mti.combine(*tasks), rows, name=name)


def test_gold_that_is_never_in_company_is_refused() -> None:
    """Where the only answer with gold would be left over at every size, nothing is asked."""
    data = unlabelled("one", one_a="yes")

    def has_gold(seed: int) -> bool:
        model = mti.EchoModel()
        found = None
        with suppress(DataError):
            found = run([data], model, tasks=(2,), items=(), seed=seed)
        assert (found is None) == (model.requests == [])
        assert found is None or len(found.slots) == 1
        return found is not None

    assert {has_gold(seed) for seed in range(12)} == {True, False}
    left_over = next(seed for seed in range(12) if not has_gold(seed))
    with pytest.raises(DataError, match="no answer that shares a call has gold"):
        run([data], mti.EchoModel(), tasks=(2,), items=(), seed=left_over)


@pytest.mark.parametrize("number", [1, 2])
def test_rows_without_gold_are_refused(number: int) -> None:
    """A set without gold is named before anything is asked, alone and beside another."""
    model = mti.EchoModel()
    sets = [unlabelled("x"), dataset("one", 2, 4)][:number]
    with pytest.raises(DataError, match="no test row of x that would be asked has gold"):
        run(sets, model, tasks=(2,), items=(2,))
    assert model.requests == []


def test_kinds_come_from_types() -> None:
    """The kind of an output follows from its type, and that of a text from its metric."""
    made = {
        "bool": "label",
        "Literal['a', 'b']": "label",
        "int": "number",
        "float | None": "number",
        "list[str]": "list",
        "str": "span",
        "str | None": "span",
    }
    for type_, kind in made.items():
        assert kind_of(mti.task(f"text -> x: {type_}")) == kind
    assert kind_of(mti.task("text -> x", metric="token_f1")) == "free text"
    assert kind_of(mti.task("text -> x, y")) == "object"


def tasks_with(schema: Mapping[str, Any], *names: str) -> list[mti.Task[Any]]:
    """Tasks of a file whose outputs have a schema."""
    parts = [{"name": one, "instruction": "Say it.", "output_schema": schema} for one in names]
    return mti.Task.from_json_schema({"inputs": [{"name": "text"}], "subtasks": parts})


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        ("string", "span"),
        ("integer", "number"),
        ("boolean", "label"),
    ],
)
def test_an_optional_output_has_the_kind_of_its_type(type_: str, kind: str) -> None:
    """A plain JSON schema may say that there may be nothing by a list of types, or by `anyOf`."""
    schemas: list[dict[str, Any]] = [
        {"type": type_},
        {"type": [type_, "null"]},
        {"type": ["null", type_]},
        {"anyOf": [{"type": "null"}, {"type": type_}]},
    ]
    for schema in schemas:
        [task] = tasks_with(schema, "x")
        assert kind_of(task) == kind


def test_optional_outputs_are_measured() -> None:
    """Kinds are known before the first call, those of optional outputs too."""
    tasks = tasks_with({"type": ["string", "null"]}, "a", "b")
    rows = [{"inputs": {"text": str(n)}, "outputs": {"a": None, "b": "x"}} for n in range(4)]
    data = mti.Dataset.from_rows(mti.combine(*tasks), rows)
    assert design([data], items=()).sources[0].kinds == ("span", "span")
    found = run([data], mti.EchoModel(), tasks=(2,), items=())
    assert {one.kind for one in found.slots} == {"span"}
