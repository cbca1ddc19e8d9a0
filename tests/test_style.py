"""Habits that no linter checks."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMAND_LINE = (ROOT / "mtiprompt" / "cli.py", ROOT / "mtiprompt" / "cli")
EXCUSES = {"skip", "skipif", "skipTest", "xfail", "importorskip"}


def _nodes(folder: str) -> list[tuple[Path, ast.AST]]:
    files = sorted((ROOT / folder).rglob("*.py"))
    trees = [(file, ast.parse(file.read_text(encoding="utf-8"))) for file in files]
    return [(file, node) for file, tree in trees for node in ast.walk(tree)]


def _place(file: Path, node: ast.expr | ast.stmt) -> str:
    return f"{file.relative_to(ROOT)}:{node.lineno}"


def test_every_test_says_what_it_proves() -> None:
    """Each test function has a docstring."""
    silent = [
        f"{_place(file, node)} {node.name}"
        for file, node in _nodes("tests")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_no_test_is_excused() -> None:
    """No test is skipped or expected to fail."""
    excused = [
        _place(file, node)
        for file, node in _nodes("tests")
        if (isinstance(node, ast.Attribute) and node.attr in EXCUSES)
        or (isinstance(node, ast.Name) and node.id in EXCUSES)
    ]
    assert excused == []


def test_only_the_command_line_prints() -> None:
    """The package prints nothing outside its command line."""
    prints = [
        _place(file, node)
        for file, node in _nodes("mtiprompt")
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
        and not any(file.is_relative_to(place) for place in COMMAND_LINE)
    ]
    assert prints == []


def test_layers_are_kept() -> None:
    """The data flows one way, and each library has one door (`tool.importlinter`)."""
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_no_pattern_has_a_possessive_group() -> None:
    """Up to Python 3.11.4, which Debian 12 has, such a group can match too much or too little."""
    groups = [
        _place(file, node)
        for file, node in _nodes("mtiprompt")
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.search(r"\)(?:[*+?]|\{[0-9,]+\})\+|\(\?>", node.value)
    ]
    assert groups == []
