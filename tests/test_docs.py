"""Every example of the README, of `docs/` and of `examples/` runs.

- `python` blocks: those of one file run in order, as one module. What a block prints must be what
  its `#>` comments say.
- `console` blocks: each `$ mtiprompt` line runs, those of one file in order, in one folder that
  has `examples/` in it. The exit code is 0, or what a marker says; the output is compared where a
  marker asks for it.
- Scripts in `examples/` run and end with exit code 0.

Markers stand right before a block: `<!-- checked -->`, `<!-- exit code: 2 -->`,
`<!-- not run: reason -->`.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import subprocess
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))

NOT_RUN = {
    "needs a provider's key",
    "downloads a large model",
}
"""The reasons that count for not running a block."""

MARKERS = re.compile(r"(?:^ *<!--[^\n]*-->[ ]*\n\s*)+\Z", re.MULTILINE)
MARKER = re.compile(r"<!-- *(not run|exit code|checked) *(?:: *(.*?))? *-->")
FENCE = re.compile(r"^( *)```(python|console) *\n(.*?)^\1``` *$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^ *#> ?(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int
    marks: dict[str, str] = field(default_factory=dict)


def blocks(text: str, language: str) -> list[Block]:
    """The blocks in one language of a page that are to be run."""
    found = []
    for fence in FENCE.finditer(text):
        before = text[: fence.start()]
        marked = MARKERS.search(before)
        marks = dict(MARKER.findall(marked.group())) if marked else {}
        if fence.group(2) == language and "not run" not in marks:
            body = dedent(fence.group(3))
            found.append(Block(language, body, before.count("\n") + 2, marks))
    return found


@dataclass(frozen=True)
class Command:
    """One command of a `console` block, and what it should do."""

    line: str
    output: str
    exit_code: int = 0
    checked: bool = False


def commands(text: str) -> list[Command]:
    """The `mtiprompt` commands of a page that are to be run."""
    found = []
    for block in blocks(text, "console"):
        body = re.sub(r"\\\n\s*(?:> )?", "", block.text)
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            line, _, output = part.partition("\n")
            if re.search(r"(^|\| *)mtiprompt\b", line):
                code = int(block.marks.get("exit code", 0))
                found.append(Command(line, output, code, "checked" in block.marks))
    return found


def printed_by(block: Block, page: Path, module: types.ModuleType) -> list[str]:
    """Run a `python` block in a module: the lines it prints. Tracebacks show the page's lines."""
    source = "\n" * (block.line - 1) + block.text
    code = compile(source, page, "exec", dont_inherit=True)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, module.__dict__)
    return out.getvalue().rstrip().splitlines()


def run(command: list[str | Path] | str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a reader would: our programs first, plain text, a line of 100 columns."""
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    surroundings = os.environ | {"PATH": search, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
    return subprocess.run(
        command,
        shell=isinstance(command, str),
        cwd=folder,
        env=surroundings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def stripped(text: str) -> list[str]:
    """The lines of a text without blanks at their ends."""
    return [line.strip() for line in text.strip().splitlines()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the examples: an empty one with `examples/` in it."""
    place = tmp_path / "reader"
    place.mkdir()
    (place / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(place)
    return place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
@pytest.mark.usefixtures("folder")
def test_python_blocks_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `python` block of a page runs and prints what the page says."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)  # where DSPy and pydantic look for names
    monkeypatch.setattr(logging.getLogger("mtiprompt.calls"), "setLevel", lambda level: None)
    for block in blocks(page.read_text(encoding="utf-8"), "python"):
        lines = printed_by(block, page, module)
        assert lines == PRINTED.findall(block.text), f"{page}:{block.line} prints:\n{lines}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_console_blocks_run(page: Path, folder: Path) -> None:
    """Each `mtiprompt` command of a page ends with its exit code and, if checked, its output."""
    for command in commands(page.read_text(encoding="utf-8")):
        done = run(command.line, folder)
        said = f"{page.name}: {command.line}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == command.exit_code, said
        if command.checked:
            assert stripped(done.stdout) == stripped(command.output), said


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_run(script: Path, folder: Path) -> None:
    """Each script in `examples/` runs from another folder and ends with exit code 0."""
    done = run([sys.executable, script], folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_blocks_are_left_out_for_a_reason() -> None:
    """A block is left out only for one of the reasons listed above."""
    reasons = {
        value.strip()
        for page in PAGES
        for name, value in MARKER.findall(page.read_text(encoding="utf-8"))
        if name == "not run"
    }
    assert reasons <= NOT_RUN


def test_commands_are_found_with_what_they_should_do() -> None:
    """Commands are read with their output, markers and continued lines; others are left alone."""
    text = """\
<!-- checked -->
<!-- exit code: 2 -->

```console
$ make setup
$ mtiprompt show \\
    x
nothing
```

<!-- not run: needs a provider's key -->
```console
$ mtiprompt demo --model openai/x
```

Text.

```console
$ echo 1 | mtiprompt run p -
```
"""
    assert commands(text) == [
        Command("mtiprompt show x", "nothing\n", 2, True),
        Command("echo 1 | mtiprompt run p -", ""),
    ]


def test_markers_count_only_right_before_a_block() -> None:
    """A marker with text after it belongs to no later block."""
    block = "```python\nprint(1)\n```\n"
    assert blocks(f"<!-- not run: because -->\n\n{block}", "python") == []
    assert len(blocks(f"<!-- not run: because -->\n\nText.\n\n{block}", "python")) == 1


def test_blocks_print_what_they_say() -> None:
    """A block's output is read line by line, and its names stay for the next block."""
    text = "```python\nx = [1, 2]\nfor one in x:\n    print(one)\n    #> 1\n    #> 2\n```\n"
    first, second = blocks(f"{text}\n  ```python\n  print(len(x))\n  ```\n", "python")
    module = types.ModuleType("__main__")
    assert printed_by(first, Path("page.md"), module) == PRINTED.findall(first.text) == ["1", "2"]
    assert printed_by(second, Path("page.md"), module) == ["2"]
    assert second.line == 10
