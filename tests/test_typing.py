"""Types as a user meets them. `make lint` reads the same file with pyright."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mypy import api

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[1]
VIEW = Path(__file__).parent / "typing" / "users_view.py"


def _mypy(file: Path) -> tuple[str, int]:
    config = ["--config-file", str(ROOT / "pyproject.toml"), "--python-executable", sys.executable]
    said, errors, code = api.run([*config, "--no-incremental", str(file)])
    return said + errors, code


def test_users_code_has_the_types_it_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    """mypy in strict mode accepts a user's code, with the types that it asserts."""
    monkeypatch.chdir(ROOT)
    said, code = _mypy(VIEW)
    assert code == 0, said


def test_a_wrong_type_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same code with a wrong expectation is refused, so the test above can fail."""
    monkeypatch.chdir(ROOT)
    right = "assert_type(result[product], str)"
    text = VIEW.read_text(encoding="utf-8")
    assert right in text
    wrong = tmp_path / "wrong.py"
    wrong.write_text(text.replace(right, right.replace("str", "int")), encoding="utf-8")
    said, code = _mypy(wrong)
    assert code == 1
    assert 'Expression is of type "str", not "int"' in said
