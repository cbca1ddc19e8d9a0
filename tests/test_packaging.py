"""The packages as a user installs them."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _run(*command: str | Path, cwd: Path) -> str:
    """Run a program and return what it prints; the tests fail with its output where it fails."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    run = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{command}\n{run.stdout}\n{run.stderr}"
    return run.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("packages")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir"]
    _run(*build, folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(packages: Path) -> Path:
    """The wheel."""
    (file,) = packages.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment with the wheel; its dependencies are borrowed from ours."""
    folder = tmp_path_factory.mktemp("elsewhere")
    _run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    _run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    library = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    borrowed = "\n".join(site.getsitepackages())
    (library / "borrowed.pth").write_text(borrowed, encoding="utf-8")
    return folder / "bin"


def test_source_distribution_holds_what_the_wheel_needs(packages: Path) -> None:
    """The source distribution has code, templates, tests and licence, and nothing that was made."""
    (file,) = packages.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tops = {name.partition("/")[0] for name in names}
    assert {"mtiprompt", "templates", "tests", "LICENSE", "README.md", "pyproject.toml"} <= tops
    assert not {".venv", ".git", ".cache", "dist", "build"} & tops
    assert [name for name in names if "__pycache__" in name or name.endswith(".gguf")] == []


def test_wheel_has_every_template(wheel: Path) -> None:
    """The wheel has the templates of `templates/`, byte for byte, and no others."""
    inside = "mtiprompt/templates/"
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            name.removeprefix(inside): archive.read(name)
            for name in archive.namelist()
            if name.startswith(inside)
        }
    source = ROOT / "templates"
    ours = {
        file.relative_to(source).as_posix(): file.read_bytes()
        for file in source.rglob("*")
        if file.is_file()
    }
    assert ours
    assert packed == ours


def test_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    """The wheel has every module, the mark of a typed package, and no test or stray file."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    code = {file.relative_to(ROOT).as_posix() for file in (ROOT / "mtiprompt").rglob("*.py")}
    assert "mtiprompt/py.typed" in names
    assert {name for name in names if name.endswith(".py")} == code
    assert {name.partition("/")[0] for name in names} == {"mtiprompt"}


def test_installed_wheel_shows_a_program(elsewhere: Path, tmp_path: Path) -> None:
    """Installed elsewhere and run from elsewhere, the program finds its templates."""
    task = {
        "name": "mood",
        "title": "Mood of a message",
        "description": "A message and its mood.",
        "relation": "independent",
        "inputs": [{"name": "text", "description": "a message"}],
        "subtasks": [
            {
                "name": "mood",
                "instruction": "Which mood is the writer in?",
                "output_schema": {"type": "string", "enum": ["sunny", "gloomy"]},
                "depends_on": [],
                "metric": "exact",
            }
        ],
    }
    (tmp_path / "mood.task.json").write_text(json.dumps(task), encoding="utf-8")
    code = "import mtiprompt; print(mtiprompt.__file__)"
    module = Path(_run(elsewhere / "python", "-c", code, cwd=tmp_path).strip())
    assert module.is_relative_to(elsewhere.parent)

    shown = _run(elsewhere / "mtiprompt", "show", "mood.task.json", cwd=tmp_path)
    assert "Which mood is the writer in?" in shown
    assert "gloomy" in shown
