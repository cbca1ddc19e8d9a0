"""The public face: which names the package has, and what importing it costs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import mtiprompt

LAZY = {"Dataset", "InputField", "OutputField", "Signature", "evaluate"}
HEAVY = ["litellm", "dspy", "xllamacpp", "diskcache", "tenacity", "rich", "typer"]
RUNNING = [
    "importlib.metadata",
    "mtiprompt.drivers",
    "mtiprompt.engine",
    "mtiprompt.models.model",
    "mtiprompt.render",
    "sqlite3",
]
"""What comes with the first call, or where pydantic makes its first validator."""


def _exported() -> list[str]:
    """The names that `__init__.py` imports as `X as X`, also for type checkers alone."""
    tree = ast.parse(Path(mtiprompt.__file__).read_text(encoding="utf-8"))
    return sorted(
        {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if alias.asname == alias.name
        }
    )


def test_all_lists_every_exported_name() -> None:
    """`__all__` is sorted and equals the names that are imported `X as X`."""
    listed = [name for name in mtiprompt.__all__ if not name.startswith("__")]
    assert listed == _exported()
    assert list(mtiprompt.__all__) == sorted(mtiprompt.__all__)


def test_every_listed_name_is_there() -> None:
    """Each name of `__all__` can be had, the lazy ones too, and `dir` shows it."""
    missing = [name for name in mtiprompt.__all__ if not hasattr(mtiprompt, name)]
    assert missing == []
    assert set(mtiprompt.__all__) >= LAZY
    assert set(dir(mtiprompt)) >= set(mtiprompt.__all__)


def test_no_public_name_is_unlisted() -> None:
    """Beside its submodules the package has no public name that `__all__` lacks."""
    kept_for_itself = {"annotations", "TYPE_CHECKING", "Any"}
    unlisted = [
        name
        for name, value in vars(mtiprompt).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and name not in kept_for_itself
        and name not in mtiprompt.__all__
    ]
    assert unlisted == []


def test_lazy_names_are_those_of_dspy() -> None:
    """`mti.Signature`, `mti.InputField` and `mti.OutputField` are DSPy's own."""
    import dspy

    assert mtiprompt.Signature is dspy.Signature
    assert mtiprompt.InputField is dspy.InputField
    assert mtiprompt.OutputField is dspy.OutputField


def test_unknown_name_is_an_attribute_error() -> None:
    """A name that the package does not have is refused as Python does it."""
    assert not hasattr(mtiprompt, "no_such_name")


def test_import_is_light() -> None:
    """`import mtiprompt` loads nothing that is needed for a call or a command alone."""
    code = "import sys, json, mtiprompt; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(run.stdout))
    assert [name for name in HEAVY + RUNNING if name in loaded] == []
