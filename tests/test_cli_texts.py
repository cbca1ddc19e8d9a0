"""Texts of rows, models and files are printed letter by letter, whatever looks like markup."""

from __future__ import annotations

import json
import time
from copy import deepcopy
from pathlib import Path

import pytest
from rich.console import Console

import mtiprompt as mti
from mtiprompt.cli import main
from mtiprompt.cli.race import demo_rows

TEXTS = ["close the [/b] tag", "[urgent] leak in 3b", "[bold]loud[/bold]", "a :smile: b", "[/]"]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")


@pytest.mark.parametrize("text", TEXTS)
def test_demo_prints_texts_as_they_are(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The subject line of a message and the one that the model writes keep their brackets."""
    rows = deepcopy(demo_rows("test")[:1])
    rows[0]["outputs"]["subject"] = f"gold: {text}"
    monkeypatch.setattr("mtiprompt.cli.demo.demo_rows", lambda split: rows)
    known = {"categories": [], "sentiment": "neutral", "urgency": "low", "subject": f"said: {text}"}

    def answer(request: mti.Request) -> str:
        time.sleep(0.001)  # the two ways are divided by each other
        assert request.schema is not None
        return json.dumps({name: known[name] for name in request.schema.schema["properties"]})

    with mti.using(model=mti.FunctionModel(answer)):
        assert main(["demo"]) == 0
    out = capsys.readouterr().out
    assert f"gold: {text}" in out
    assert f"said: {text}" in out


@pytest.mark.parametrize("text", [one for one in TEXTS if "/" not in one])
def test_names_of_model_files_are_printed_as_they_are(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of the user's own with brackets in its name is listed by that name."""
    monkeypatch.setenv("MTIPROMPT_MODELS_DIR", str(tmp_path))
    (tmp_path / f"{text}.gguf").write_bytes(b"GGUF")
    assert main(["models", "list"]) == 0
    assert f"local/{text} " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["[/b]", "[bold]"])
def test_a_model_to_fetch_is_named_as_it_is(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal, too, where a bar has the name, one that looks like markup is only unknown."""
    terminal = Console(stderr=True, force_terminal=True, highlight=False)
    monkeypatch.setattr("mtiprompt.cli.output.err", lambda: terminal)
    assert main(["models", "pull", name]) == 2
    assert f"'{name}' (known: " in capsys.readouterr().err


@pytest.mark.parametrize("length", [250, 5000])
def test_an_output_with_a_name_that_is_too_long_is_refused(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run -o` says so in one line with exit code 2, as for any other output that cannot be."""
    monkeypatch.chdir(tmp_path)
    Path("triage.py").write_text('triage = "message -> urgent: bool"\n')
    Path("rows.jsonl").write_text('{"message": "x"}\n')
    output = "n" * length
    with mti.using(model=mti.EchoModel()):
        code = main(["run", "triage.py:triage", "rows.jsonl", "-o", output])
    said = capsys.readouterr().err
    assert code == 2
    assert said == f"error: cannot write {output}: File name too long\n"
