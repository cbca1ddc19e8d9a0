"""The reference pages have all that the code has, and nothing that it has not."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

import mtiprompt as mti
from mtiprompt import errors, settings
from mtiprompt.cli import main
from mtiprompt.cli.app import app
from mtiprompt.experiments import superposition
from mtiprompt.experiments.superposition import FunctionTokens
from tests.conftest_commands import small_set

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
CODE = re.compile(r"`([^`\n]+)`")
WORD = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
HELP = {"--help", "-h"}
"""Options that every command has, without declaring them."""


class Table(NamedTuple):
    """A table of a page.

    Attributes:
        columns: The headings of its columns.
        rows: Its cells, row by row.
    """

    columns: list[str]
    rows: list[list[str]]


def tables(text: str) -> list[Table]:
    """The tables of a text, in order."""
    found = []
    for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        head, _, *rows = [
            [cell.strip() for cell in line.strip().strip("|").split("|")]
            for line in block.splitlines()
        ]
        found.append(Table(head, rows))
    return found


def table(page: Path, column: str) -> dict[str, list[str]]:
    """The rows of all tables of a page that begin with such a column, by the code in it."""
    found = tables(page.read_text(encoding="utf-8"))
    rows = [row for one in found if one.columns[0] == column for row in one.rows]
    return {name: row for row in rows for name in CODE.findall(row[0])}


# --- the command line ------------------------------------------------------------------------


class Command(NamedTuple):
    """A command of the command line.

    Attributes:
        path: Its words, such as `models`, `pull`.
        options: The defaults of its options, each by all words that it is given by; "": none.
    """

    path: tuple[str, ...]
    options: dict[tuple[str, ...], str]


def default_of(option: Any) -> str:
    """The default of an option as the page tells it; empty where it is no number and no word."""
    value = option.default
    if value is None or isinstance(value, bool) or value == "":
        return ""
    return f"`{value:g}`" if isinstance(value, int | float) else f"`{value}`"


def walked(node: Any, path: tuple[str, ...] = ()) -> Iterator[Command]:
    """The commands of a group, and of the groups in it."""
    for name, one in getattr(node, "commands", {}).items():
        yield from walked(one, (*path, name))
    if not hasattr(node, "commands"):
        given = [one for one in node.params if one.param_type_name == "option"]
        yield Command(path, {tuple(one.opts): default_of(one) for one in given})


COMMANDS = tuple(walked(typer.main.get_command(app)))


def section_of(path: tuple[str, ...], text: str) -> str:
    """The part of the page about a command: its own, or that of its group."""
    _, _, found = text.partition(f"\n## {path[0]}\n")
    found = found.partition("\n## ")[0]
    _, heading, part = found.partition(f"\n### {path[-1]}\n")
    return part.partition("\n### ")[0] if heading else found


def common(text: str) -> dict[str, str]:
    """The options that the head of the page tells of, each with the commands that take it."""
    [found] = [one for one in tables(text) if one.columns[:2] == ["option", "of"]]
    return {word: row[1] for row in found.rows for word in WORD.findall(row[0])}


def own(section: str) -> dict[str, str]:
    """The options that a section tells of, each with its default."""
    found = [one for one in tables(section) if one.columns[0] == "option"]
    return {word: row[1] for one in found for row in one.rows for word in WORD.findall(row[0])}


def lacks(text: str, commands: tuple[Command, ...]) -> list[str]:
    """What a page about the command line lacks, or has too much, in words."""
    shared, wrong = common(text), []
    for word, of in shared.items():
        said = [one.path for one in commands if of == "all" or one.path[0] in CODE.findall(of)]
        takers = [one.path for one in commands if any(word in words for words in one.options)]
        if word not in HELP and takers != said:
            wrong.append(f"the head: {word} of {of}")
    sections: dict[str, set[str]] = {}
    for command in commands:
        called, section = " ".join(command.path), section_of(command.path, text)
        told = own(section)
        known = sections.setdefault(section, set())
        for words, default in command.options.items():
            known.update(words)
            wrong += [f"{called}: no {one}" for one in words if one not in {*told, *shared}]
            cells = {told[one] for one in words if one in told}
            if cells != {default} and (cells or default):
                wrong.append(f"{called}: {words[0]} has the default {default}, not {cells}")
    for section, known in sections.items():
        wrong += [f"there is no option {one}" for one in own(section) if one not in known]
    return wrong


def test_every_option_stands_in_the_section_of_its_command() -> None:
    """All options of all commands are told of, with their defaults, and no others."""
    text = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    assert len(COMMANDS) > 12
    assert lacks(text, COMMANDS) == []


PAGE = """\
| option | of | meaning |
| --- | --- | --- |
| `--json` | all | JSON |

## run

| option | default | meaning |
| --- | --- | --- |
| `-o FILE`, `--output` | | where |
| `--most N` | `4` | how many |

## cache

| option | default | meaning |
| --- | --- | --- |
| `--repair` | | mend |
"""
RUN = Command(("run",), {("--output", "-o"): "", ("--most",): "`4`", ("--json",): ""})
MENDED = Command(("cache", "verify"), {("--repair",): "", ("--json",): ""})


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("", "", []),
        ("| `--most N` | `4` | how many |\n", "", ["run: no --most", "run: --most has the"]),
        ("`4`", "`5`", ["run: --most has the default `4`, not {'`5`'}"]),
        ("`4`", "", ["run: --most has the default"]),
        ("| `--repair` | |", "| `--repair` | `1` |", ["cache verify: --repair has the default"]),
        ("`--repair`", "`--mend`", ["cache verify: no --repair", "there is no option --mend"]),
        (", `--output`", "", ["run: no --output"]),
        ("| all |", "| `run` |", ["the head: --json of `run`"]),
        ("`--json`", "`--jsonl`", ["the head: --jsonl", "run: no --json", "cache verify: no"]),
        ("## cache", "## caches", ["cache verify: no --repair"]),
    ],
)
def test_a_lack_of_the_page_is_seen(old: str, new: str, says: list[str]) -> None:
    """An option that is left out, renamed, invented or has another default is named."""
    found = lacks(PAGE.replace(old, new), (RUN, MENDED))
    assert len(found) == len(says)
    assert all(one.startswith(start) for one, start in zip(found, says, strict=True))


# --- what --json prints ----------------------------------------------------------------------

BENCH = {
    "022": {
        "sample": "",
        "instance": {
            "022_1": {
                "query": "Follow the steps.",
                "instruction": {
                    "1": "List the primes. Return the answer in <task1>N<task1/> format.",
                    "2": "Add them up. Return the answer in <task2>N<task2/> format.",
                },
                "context": {},
                "answers": [[2, 5], 7],
            }
        },
    }
}
QUICK = ("--configs", "countries", "--prompts", "1", "--examples", "6")
RUNS = {
    "demo": ["demo", "--limit", "1"],
    "show": ["show", "small.task.json"],
    "run": ["run", "small.task.json", "small.jsonl", "-o", "out.jsonl"],
    "eval": ["eval", "small.jsonl"],
    "plan, dry": ["plan", "small.jsonl", "--dry-run"],
    "plan": ["plan", "small.jsonl"],
    "optimize, dry": ["optimize", "small.jsonl", "--budget", "100", "--dry-run"],
    "optimize": ["optimize", "small.jsonl", "--budget", "100"],
    "mti-bench": ["experiment", "mti-bench", "bench.json"],
    "scaling": ["experiment", "scaling", "small.jsonl", "--tasks", "1,2", "--items", "1"],
    "superposition": ["experiment", "superposition", *QUICK],
    "models list": ["models", "list"],
    "models path": ["models", "path", "own"],
    "cache stats": ["cache", "stats"],
    "cache verify": ["cache", "verify"],
    "cache clear": ["cache", "clear"],
}
"""Commands that print JSON, by the section that tells of it."""


@contextmanager
def workers(*_: Any) -> Iterator[tuple[FunctionTokens, ...]]:
    """In the place of models in this process."""
    yield (FunctionTokens(lambda prompt: {}),)


def keys(name: str, text: str) -> set[str]:
    """The keys of the outermost object that the page tells of."""
    command, _, dry = name.partition(", ")
    path = tuple(command.split())
    if len(path) == 2:
        [found] = [one for one in tables(section_of(path, text)) if "json" in one.columns[0]]
        [told] = [row[1] for row in found.rows if path[1] in CODE.findall(row[0])]
        return set(CODE.findall(re.sub(r"\(each[^)]*\)", "", told)))
    whole = ("experiment", command) if f"\n### {command}\n" in text else path
    every = [one for one in tables(section_of(whole, text)) if one.columns[0] == "key"]
    rows = every[0 if dry else -1].rows
    return {one.partition(".")[0] for row in rows for one in CODE.findall(row[0])}


@pytest.mark.parametrize("name", RUNS)
def test_the_keys_of_json_are_those_of_the_page(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What `--json` prints has the keys that its page tells of, and no others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mtiprompt.cli.measuring.find_spec", lambda package: None)
    monkeypatch.setattr(superposition, "local_workers", workers)
    splits = ["train"] * 8 + ["dev"] * 40 + ["test"] * 4
    rows = [
        {"id": str(n), "inputs": {"text": f"Text {n}."}, "split": split,
         "outputs": {"mood": "yes", "tone": "no"}}
        for n, split in enumerate(splits)
    ]  # fmt: skip
    small_set(tmp_path, ["mood", "tone"], rows)
    (tmp_path / "bench.json").write_text(json.dumps(BENCH))
    (tmp_path / "own.gguf").touch()
    with mti.using(model=mti.EchoModel(), cache_dir=tmp_path / "replies", models_dir=tmp_path):
        assert main([*RUNS[name], "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == keys(name, (REFERENCE / "cli.md").read_text(encoding="utf-8"))


# --- settings, errors, loggers ---------------------------------------------------------------


def test_every_setting_stands_on_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """All settings are told of with their variables and defaults, and no others."""
    told = table(REFERENCE / "settings.md", "setting")
    assert list(told) == [one.name for one in fields(settings.Settings)]
    monkeypatch.setenv("HOME", "/home/ada")
    for variable in ("XDG_CACHE_HOME", *(f"MTIPROMPT_{name.upper()}" for name in told)):
        monkeypatch.delenv(variable, raising=False)
    for name, row in told.items():
        value, default = settings.one(name), row[2]
        assert row[1] == f"`MTIPROMPT_{name.upper()}`"
        if value is None:
            assert default
            assert "`" not in default
        else:
            shown = f"{value:d}" if isinstance(value, bool) else str(value)
            assert default == f"`{shown.replace('/home/ada', '~')}`"


CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, errors.MTIError)
}


def test_every_error_stands_on_its_page() -> None:
    """All errors have a row, in which what a retry can help is marked, and so what stops."""
    told = table(REFERENCE / "errors.md", "error")
    assert list(told) == list(CLASSES)
    for name, kind in CLASSES.items():
        if issubclass(kind, errors.ModelError):
            again, stops = told[name][3:5]
            assert (again == "yes", stops == "yes") == (kind.retryable, kind.stops)
        else:
            assert not kind.retryable


def test_the_tree_of_errors_is_that_of_the_classes() -> None:
    """Each error of the tree stands under its parent; those of `mti` are the ones that are said."""
    text = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    lines = text.partition("```text\n")[2].partition("```")[0].splitlines()
    above: list[str] = []
    parents = {}
    for line in lines:
        name = line.lstrip("│├└─ ")
        depth = (len(line) - len(name)) // 4
        above[depth:] = [name]
        parents[name] = above[depth - 1] if depth else "Exception"
    assert parents == {name: kind.__mro__[1].__name__ for name, kind in CLASSES.items()}
    last = list(parents).index("ModelError")
    assert [name for name in parents if name in mti.__all__] == list(parents)[: last + 1]


def test_every_logger_stands_on_the_page() -> None:
    """All loggers of the package are told of, and no others."""
    found = set()
    for file in sorted((ROOT / "mtiprompt").rglob("*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for name in re.findall(r"getLogger\(([^)]*)\)", file.read_text(encoding="utf-8")):
            found.add(module if name == "__name__" else name.strip('"'))
    page = ROOT / "docs" / "how-to" / "observe.md"
    text = page.read_text(encoding="utf-8").partition("\n## The log\n")[2]
    assert {name for name in found if f"`{name}`" not in text} == set()
    assert table(page, "logger").keys() <= found
