"""Data sets: what is read, and one clear error for whatever is wrong with a file."""

from __future__ import annotations

import copy
import json
import unicodedata
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from pydantic import Field as Alias

import mtiprompt as mti
from mtiprompt.dataset import read_rows
from mtiprompt.tasks import Field

SHIPPED = Path(__file__).parents[1] / "examples" / "data"
"""The data sets that come with the examples."""

SPEC: dict[str, Any] = {
    "name": "tiny",
    "title": "Moods",
    "inputs": [{"name": "text", "description": "what was said"}],
    "subtasks": [
        {
            "name": "mood",
            "instruction": "How do they feel?",
            "output_schema": {"type": "string", "enum": ["good", "bad"]},
            "metric": "exact",
            "depends_on": [],
        },
        {
            "name": "words",
            "instruction": "Which words say so?",
            "output_schema": {"type": "array", "items": {"type": "string"}},
            "metric": "f1_set",
            "depends_on": ["mood"],
        },
    ],
}


def _row(id: Any = "a", **changes: Any) -> dict[str, Any]:
    row = {"id": id, "inputs": {"text": f"{id}!"}, "outputs": {"mood": "good", "words": []}}
    return row | changes


def _write(folder: Path, *rows: Any, spec: Any = SPEC) -> Path:
    lines = (one if isinstance(one, str) else json.dumps(one) for one in rows)
    text = "".join(f"{line}\n" for line in lines)
    (folder / "tiny.jsonl").write_text(text, encoding="utf-8", errors="surrogatepass")
    (folder / "tiny.task.json").write_text(json.dumps(spec), encoding="utf-8")
    return folder / "tiny.jsonl"


def test_load(tmp_path: Path) -> None:
    """Both files give the program, its metrics and wires, and the rows by split."""
    path = _write(
        tmp_path, _row("a", split="train"), "", _row("b", split="dev"), _row("c"), _row(7)
    )
    for one in (path, tmp_path / "tiny.task.json", str(tmp_path / "tiny")):
        data = mti.Dataset.load(one)
        assert (data.name, data.title) == ("tiny", "Moods")
        splits = [[row.id for row in rows] for rows in (data.train, data.dev, data.test)]
        assert splits == [["a"], ["b"], ["c", "7"]]
    assert data.program.order == ("mood", "words")
    assert data.program.tasks["words"].metric == "f1_set"
    assert data.program.wires["words"]["mood"].task == "mood"
    assert data.test[0].outputs == {"mood": "good", "words": []}


@pytest.mark.parametrize(("label_form", "other_form"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_labels_that_look_the_same_are_the_same(
    tmp_path: Path, label_form: Any, other_form: Any
) -> None:
    """Unicode writes `ö` in two ways: gold and replies in the other one are the label, alone and in
    a list; two labels that differ in this alone stay apart.
    """
    label, other = (unicodedata.normalize(form, "höchste") for form in (label_form, other_form))
    spec = copy.deepcopy(SPEC)
    labels = {"type": "string", "enum": [label, "x"]}
    spec["subtasks"][0]["output_schema"] = labels
    spec["subtasks"][1]["output_schema"] = {"type": "array", "items": labels}
    path = _write(tmp_path, _row(outputs={"mood": other, "words": [other, "x"]}), spec=spec)
    data = mti.Dataset.load(path)
    assert data.test[0].outputs == {"mood": label, "words": [label, "x"]}
    model = mti.FunctionModel(lambda request: json.dumps({"mood": other, "words": [other]}))
    result = data.program(text="a", model=model)
    assert (result.mood, result.words, result.usage.calls) == (label, [label], 1)
    labels["enum"] = [label, other]
    path = _write(tmp_path, _row(outputs={"mood": other, "words": [label]}), spec=spec)
    assert mti.Dataset.load(path).test[0].outputs == {"mood": other, "words": [label]}


@pytest.mark.parametrize(("label_form", "other_form"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_labels_are_the_same_as_keys_and_as_inputs(label_form: Any, other_form: Any) -> None:
    """Labels that are the keys of an object, in gold and in replies, and labels of an input."""
    label, other = (
        unicodedata.normalize(form, "h\u00f6chste") for form in (label_form, other_form)
    )
    kind = Literal[label, "x"]  # type: ignore[valid-type]  # as a program may have it
    counts = Field("counts", dict[kind, int])
    inputs = (Field("one", kind), Field("many", list[kind], default=[other], required=False))
    program = mti.combine(mti.Task("counts", "Count.", inputs, (counts,), bare=True))
    row = {"inputs": {"one": other}, "outputs": {"counts": {other: 1, "x": 2}}}
    [found] = mti.Dataset.from_rows(program, [row]).test
    assert found.inputs["one"] == label
    assert found.outputs == {"counts": {label: 1, "x": 2}}
    assert inputs[1].plain_default == [label]
    assert [inputs[1].read(one) for one in ((other,), {other}, [other])] == [[label]] * 3
    model = mti.ScriptedModel([json.dumps({"counts": {other: 1, "x": 2}})])
    assert program(one=other, model=model).counts == {label: 1, "x": 2}
    for both in ({other: 1, label: 2}, {label: 1, other: 2}):
        with pytest.raises(mti.DataError):
            program.tasks["counts"].read(both)
        twice = mti.ScriptedModel([json.dumps({"counts": both})] * 9)
        assert list(program(one=label, model=twice).failures) == ["counts"]


def test_fields_keep_their_names() -> None:
    """The name of a field that looks like a label stays as the model has it."""
    name, label = (unicodedata.normalize(form, "h\u00f6chste") for form in ("NFD", "NFC"))

    class Told(BaseModel):
        value: Literal[label] = Alias(alias=name)  # type: ignore[literal-required, valid-type]

    task = mti.Task[Any]("told", "Tell.", (Field("text", str),), (Field("told", Told),), bare=True)
    assert task.read({name: label}) == {"told": {name: label}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"inputs": {"text": "\\ud800"}}', "surrogate"),
        ({"id": "x"}, "`inputs` or `outputs` is no object"),
        (_row(inputs=None), "no object"),
        (_row(outputs=["good"]), "no object"),
        (_row(outputs=None), "no object"),
        (_row(inputs={}), "the input 'text' is missing"),
        (_row(inputs={"text": 3}), "'text' does not fit"),
        (_row(split="validation"), "no split 'validation'"),
        (_row(split=["test"]), "no split"),
        (_row(outputs={"topic": "x"}), "gold for 'topic', which is no task"),
        (_row(outputs={"mood": "glad"}), "mood"),
        (_row(outputs={"words": "one"}), "words"),
        (_row("first"), "is that of .*line 1 too"),
        (_row(True), "the id is True"),
        (_row([1]), r"the id is \[1\]"),
        (_row(""), "the id is ''"),
        (_row(1.5), "the id is 1.5"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(tmp_path: Path, line: Any, message: str) -> None:
    """Whatever is wrong with a row, the error is one line that names file and line."""
    path = _write(tmp_path, _row("first"), "", line, _row("last"))
    with pytest.raises(mti.DataError, match=message) as caught:
        mti.Dataset.load(path)
    assert f"{path}, line 3" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("output", "outputs"), ("Outputs", "outputs"), ("outptus", "outputs"),
        ("otuputs", "outputs"), ("ouputs", "outputs"), ("outtputs", "outputs"),
        ("outputss", "outputs"), ("Output", "outputs"), ("OUTPUTS", "outputs"),
        ("input", "inputs"), ("INPUTS", "inputs"), ("inpits", "inputs"), ("nputs", "inputs"),
        ("ouput", "outputs"), ("inut", "inputs"), ("imput", "inputs"), ("ids", "id"),
        ("Split", "split"), ("splits", "split"), ("spilt", "split"),
        ("Id", "id"), ("ID", "id"), ("iD", "id"),
    ],
)  # fmt: skip
def test_a_key_that_is_a_slip(tmp_path: Path, slip: str, meant: str) -> None:
    """A slip of the pen loses no gold, split or id in silence: row, key and cure are told."""
    row = {**_row(), "split": "dev"}
    misspelt = {slip if key == meant else key: value for key, value in row.items()}
    path = _write(tmp_path, _row("first"), misspelt)
    says = rf"line 2 has the key '{slip}' \(write '{meant}'\)$"
    with pytest.raises(mti.DataError, match=says):
        mti.Dataset.load(path)
    with pytest.raises(mti.DataError, match=r"^row 1 has the key"):
        mti.Dataset.from_rows(mti.combine(*mti.Task.from_json_schema(SPEC)), [misspelt])


def test_other_columns_are_let_be(tmp_path: Path) -> None:
    """What is no slip of a key, or stands beside the one that it is one of, is a note."""
    notes = {
        "uid": 7, "idx": 3, "source": "web", "put": 1, "result": {}, "note": "x", "isplit": 1,
        "split_1": "train", "_split": 7, "is_split": True, "splitter": 1, "n_outputs": 3,
        "n_inputs": 1, "my_inputs": 2, "outputs_en": {}, "outputs_v2": {}, "outputs2": {},
        "output²": {}, "IDs": [3, 4], "ids": ["3"], "Id": None, "iD": True, "ID": {"at": 5},
        "id_": 6,
    }  # fmt: skip
    data = mti.Dataset.load(
        _write(tmp_path, {**_row(), "output": "raw", "Inputs": "raw", "ID": 5, "splits": 1,
                          "split": "dev"},
               {"inputs": {"text": "b"}, **notes})
    )  # fmt: skip
    assert [row.id for row in (*data.dev, *data.test)] == ["a", "2"]
    assert dict(data.dev[0].outputs) == {"mood": "good", "words": []}


def test_text_that_is_no_utf8_is_named_by_its_line(tmp_path: Path) -> None:
    """Bytes that are no text are a wrong row like any other."""
    path = _write(tmp_path, _row())
    path.write_bytes(path.read_bytes() + b'{"id": "\xff"}\n')
    with pytest.raises(mti.DataError, match="line 2: not UTF-8"):
        mti.Dataset.load(path)


@pytest.mark.parametrize("given", ["nothing", "tiny.csv", ".", "", "/", "tiny.jsonl/more"])
def test_no_such_files(tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that leads to no data set is one error, a folder too."""
    _write(tmp_path, _row())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(mti.DataError, match="cannot read"):
        mti.Dataset.load(given)


@pytest.mark.parametrize(
    "spec", [[], "x", {}, {"inputs": [], "subtasks": []}, SPEC | {"subtasks": [{"name": "x"}]}]
)
def test_a_wrong_task_file(tmp_path: Path, spec: Any) -> None:
    """A task file that is none is one error of ours."""
    with pytest.raises(mti.MTIError):
        mti.Dataset.load(_write(tmp_path, _row(), spec=spec))
    (tmp_path / "tiny.task.json").write_text("{")
    with pytest.raises(mti.DataError, match="not JSON"):
        mti.Dataset.load(tmp_path / "tiny")


def test_a_file_without_rows(tmp_path: Path) -> None:
    """No rows are no data set."""
    with pytest.raises(mti.DataError, match="tiny has no rows"):
        mti.Dataset.load(_write(tmp_path))


mood = mti.combine("text -> mood: Literal['good', 'bad']", "text -> stars: int | None")


def test_rows_of_a_program() -> None:
    """Rows without ids are numbered; gold that lacks is not there; None is gold where it may be."""
    rows: list[dict[str, Any]] = [
        {"inputs": {"text": "x", "page": 3}},
        {"id": None, "inputs": {"text": "y"}, "outputs": {"mood": None, "stars": None}},
    ]
    data = mti.Dataset.from_rows(mood, rows)
    assert [row.id for row in data.test] == ["1", "2"]
    assert data.test[0].inputs == {"text": "x"}
    assert [dict(row.outputs) for row in data.test] == [{}, {"stars": None}]


def test_rows_are_read_whatever_their_split() -> None:
    """Where rows are handed over none is dropped for its split, and their order stays."""
    rows = [
        {"id": split, "inputs": {"text": split}, "split": split}
        for split in ("test", "train", "dev")
    ]
    assert [row.id for row in read_rows(mood, rows)] == ["test", "train", "dev"]
    again = read_rows(mood, read_rows(mood, rows))
    assert [row.id for row in again] == ["test", "train", "dev"]


@pytest.mark.parametrize("rows", [[], None, 3, {"inputs": {}}, "rows", [None], [3]])
def test_no_rows(rows: Any) -> None:
    """What is no list of rows is refused with a word about what one is."""
    with pytest.raises(mti.DataError):
        mti.evaluate(mood, rows, model=mti.EchoModel())


def test_a_data_set_is_no_list_of_rows() -> None:
    """Whoever gives the whole data set is told to name a split."""
    data = mti.Dataset.from_rows(mood, [{"inputs": {"text": "x"}}])
    with pytest.raises(mti.DataError, match="give one of its splits"):
        mti.evaluate(mood, data, model=mti.EchoModel())  # type: ignore[arg-type]


def test_shipped_sets_load() -> None:
    """Every set of the examples loads, and each of its rows has gold."""
    paths = sorted(SHIPPED.glob("*.task.json"))
    assert paths
    for path in paths:
        data = mti.Dataset.load(path)
        rows = (*data.train, *data.dev, *data.test)
        assert rows
        assert all(row.outputs for row in rows)


def test_names_in_decomposed_letters() -> None:
    """Rows and demonstrations are read however Unicode writes the letters of their names."""
    name = unicodedata.normalize("NFD", "größe")
    line = {"inputs": {name: "a"}, "outputs": {f"{name}_2": 1}}
    for signature in (f"{name} -> {name}_2: int", "größe -> größe_2: int"):
        program = mti.combine(signature)
        [row] = mti.Dataset.from_rows(program, [line]).test
        assert (row.inputs, row.outputs) == ({"größe": "a"}, {"größe_2": 1})
        assert mti.Plan.fused(program, demos=[line]) == mti.Plan.fused(program, demos=[row])


def test_fields_in_decomposed_letters() -> None:
    """Gold and demonstrations of several outputs, or of one, are read in any letters."""
    name = unicodedata.normalize("NFD", "größe")
    program = mti.combine(
        mti.task("text -> größe: int, farbe", name="m"), mti.task("text -> größe: int", name="n")
    )
    line = {"inputs": {"text": "a"}, "outputs": {"m": {name: 1, "farbe": "rot"}, "n": {name: 2}}}
    [row] = mti.Dataset.from_rows(program, [line]).test
    assert row.outputs == {"m": {"größe": 1, "farbe": "rot"}, "n": 2}
    assert mti.Plan.fused(program, demos=[line]) == mti.Plan.fused(program, demos=[row])


@pytest.mark.parametrize("twice", ["inputs", "outputs"])
def test_a_name_in_two_spellings_is_refused(twice: str) -> None:
    """A row that has a name in both spellings loses none in silence."""
    name = unicodedata.normalize("NFD", "größe")
    line: dict[str, Any] = {"inputs": {"größe": "a"}, "outputs": {"größe_2": "b"}}
    line[twice] |= {unicodedata.normalize("NFD", one): "c" for one in line[twice]}
    with pytest.raises(mti.DataError, match=r"row 1: the name 'größe(_2)?' is there twice"):
        mti.Dataset.from_rows(mti.combine("größe -> größe_2"), [line])
    with pytest.raises(mti.DataError, match="has the output fields größe, farbe; found"):
        mti.task("text -> größe, farbe").values({name: "a", "größe": "b", "farbe": "rot"})


def test_a_column_that_merely_reads_as_an_input_is_let_be() -> None:
    """`m²` beside `m2` is a column like any other, and so are two of which none is an input."""
    line = {"inputs": {"m2": "a", "m²": "b", "k2": 1, "k²": 2}}
    [row] = mti.Dataset.from_rows(mti.combine("m2 -> size: int"), [line]).test
    assert row.inputs == {"m2": "a"}


def test_metrics_in_decomposed_letters() -> None:
    """A metric is that of its task however its name is written; two of them are refused."""
    name = unicodedata.normalize("NFD", "größe")
    program = mti.combine("text -> größe")
    row = {"inputs": {"text": "a"}, "outputs": {"größe": "b"}}
    model = mti.EchoModel()
    scores = mti.evaluate(program, [row], model=model, metrics={name: lambda _, __: 0.5})
    assert scores.tasks["größe"].mean == 0.5
    with pytest.raises(mti.DataError, match="which is no task"):
        mti.evaluate(program, [row], model=model, metrics={name: "exact", "größe": "exact"})
