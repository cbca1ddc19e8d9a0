"""The bridge under the oldest and the newest DSPy that `pyproject.toml` allows."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
TESTS = [f"tests/test_dspy_{part}.py" for part in ("bridge", "models", "stable")]


def _allowed() -> Requirement:
    """What this package asks of DSPy."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = map(Requirement, told["project"]["dependencies"])
    return next(one for one in asked if one.name == "dspy")


def _wanted(end: str) -> str:
    """What pip is told to install for an end of the range; of a range it takes the newest."""
    allowed = _allowed()
    if end == "newest":
        return str(allowed)
    lowest = next(one.version for one in allowed.specifier if one.operator == ">=")
    return f"dspy=={lowest}"


@pytest.mark.parametrize("end", ["oldest", "newest"])
@pytest.mark.timeout(300)
def test_the_bridge_works_under_either_end(end: str, tmp_path: Path) -> None:
    """All tests of the bridge pass; the rest of DSPy's needs are as they are installed here."""
    wanted = _wanted(end)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*pip, str(tmp_path / "dspy"), wanted], check=True, timeout=120)

    (found,) = metadata.distributions(name="dspy", path=[str(tmp_path / "dspy")])
    assert found.version in Requirement(wanted).specifier
    for need in map(Requirement, found.requires or ()):
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            assert metadata.version(need.name) in need.specifier, need

    kept = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    here = {**kept, "PYTHONPATH": str(tmp_path / "dspy")}
    told = _run(["-c", "import dspy; print(dspy.__version__)"], here)
    assert told.stdout.strip() == found.version, told.stderr
    tested = _run(["-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS], here)
    assert tested.returncode == 0, tested.stdout[-3000:] + tested.stderr[-1000:]


def _run(words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Python, with DSPy from another folder."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
