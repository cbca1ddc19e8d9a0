"""What a command is about: the program, the plan and the model that its words name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mtiprompt import settings
from mtiprompt.errors import DataError, DeclarationError, MTIError
from mtiprompt.models.cache import CachedModel, ReplyCache
from mtiprompt.models.model import Model, as_model
from mtiprompt.plan import Plan
from mtiprompt.program import Program, combine
from mtiprompt.tasks import Task, first_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from mtiprompt.models.base import LanguageModel

HINT = "a PROGRAM is module:name, file.py:name or NAME.task.json"


def load_program(path: str) -> Program:
    """The program of `module:name`, `file.py:name` or `NAME.task.json`.

    A name may also stand for a single task in any form that `mti.combine` takes.

    Raises:
        DataError: There is no such program.
        MTIError: It is declared wrongly.
    """
    if path.endswith(".json"):
        return combine(*Task.from_json_schema(path))
    place, colon, name = path.rpartition(":")
    if not colon or not place or not name:
        raise DataError(f"{path!r} names no program", hint=HINT)
    module = _guarded(place, _of_file if place.endswith(".py") else _of_path)
    try:
        found = getattr(module, name)
    except AttributeError:
        programs = [key for key, value in vars(module).items() if isinstance(value, Program)]
        hint = f"programs there: {', '.join(programs)}" if programs else HINT
        raise DataError(f"{place} has no {name!r}", hint=hint) from None
    if isinstance(found, Program):
        return found
    try:
        return combine(found)
    except DeclarationError:
        raise DataError(
            f"{path} is {type(found).__name__!r}, no program", hint="make one with mti.combine(...)"
        ) from None


def _guarded(place: str, load: Callable[[str], ModuleType]) -> ModuleType:
    try:
        return load(place)
    except MTIError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  the user's code may raise anything
        if isinstance(error, ModuleNotFoundError) and error.name == place:
            raise DataError(f"there is no module {place!r}", hint=HINT) from None
        raise DataError(
            f"{place} does not import: {type(error).__name__}: {_said(error)}{_line(error)}"
        ) from None


def _said(error: BaseException) -> str:
    return first_line(error) if isinstance(error, Exception) else str(error)


def _line(error: BaseException) -> str:
    """Where the user's code went wrong, as far as it is known."""
    if isinstance(error, SyntaxError):
        return ""  # its message has the line
    frames = traceback.extract_tb(error.__traceback__)
    own = [one for one in frames if one.filename != __file__ and "importlib" not in one.filename]
    return f", {Path(own[-1].filename).name}, line {own[-1].lineno}" if own else ""


def _of_path(name: str) -> ModuleType:
    # as `python -m` does; the script of an installed package would not see the current folder
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return importlib.import_module(name)


def _of_file(path: str) -> ModuleType:
    file = Path(path).resolve()
    if not file.is_file():
        raise DataError(f"cannot read {path}: there is no such file")
    folder = str(file.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as for a script, so that it finds its neighbours
    name = f"program_{file.stem}"  # its bare stem might be the name of another module
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # types written as text are looked up there
    spec.loader.exec_module(module)
    return module


def load_plan(program: Program, path: str | None) -> Plan | None:
    """A saved plan, checked against the program; None without a path.

    Raises:
        MTIError: It cannot be read, is no plan or is for another program.
    """
    if path is None:
        return None
    plan = Plan.load(path)
    plan.check(program)
    return plan


def load_model(
    named: Any = None, seed: int | None = None, *, cache: Path | None = None
) -> LanguageModel:
    """The model of a name, or without one that of the settings.

    Args:
        named: A name, or a model.
        seed: The seed of its sampling.
        cache: A folder for its replies, in the place of the usual one.

    Raises:
        MTIError: There is no such model, or none is named.
    """
    chosen = named or settings.current().model
    if not isinstance(chosen, str):
        model = as_model(chosen)
        return model if cache is None else CachedModel(model, ReplyCache.at(cache))
    options: dict[str, Any] = {} if seed is None else {"seed": seed}
    if cache is not None:
        options["cache"] = cache
    return as_model(Model(chosen, **options) if options else chosen)
