"""What public functions refuse of their arguments: in one line each, before anything is done."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from os import PathLike
from typing import Any

from mtiprompt.combine import Combined
from mtiprompt.errors import DataError, PlanError
from mtiprompt.plan import Plan
from mtiprompt.repair import Repair
from mtiprompt.tasks import as_identifier


def check_program(program: object) -> None:
    """Refuse what is no program.

    Raises:
        DataError: It is none.
    """
    if not isinstance(program, Combined):
        raise DataError(
            f"{program!r:.80} is no program", hint='make one: mti.combine("text -> mood")'
        )


def check_plan(plan: object) -> None:
    """Refuse what is no plan.

    Raises:
        PlanError: It is none.
    """
    if not isinstance(plan, Plan):
        raise PlanError(
            f"{plan!r:.80} is no plan",
            hint='make one: mti.Plan.fused(program), or mti.Plan.load("plan.json")',
        )


def check_budget(budget: object, *, needed: bool = True) -> None:
    """Refuse what is no budget.

    Args:
        budget: What is to be one.
        needed: Refuse None and what bounds nothing, too.

    Raises:
        DataError: It is refused.
    """
    from mtiprompt.models.budget import Budget  # late: programs check too, and import little

    if budget is None and not needed:
        return
    if not isinstance(budget, Budget):
        raise DataError(f"budget={budget!r:.80} is no budget", hint="mti.Budget(calls=400)")
    if needed and min(budget.left) == math.inf:
        raise DataError("the budget has no bound", hint="mti.Budget(calls=400)")


def check_whole(least: int, **numbers: Any) -> None:
    """Refuse what is no whole number, or too small.

    Args:
        least: The smallest that there may be.
        **numbers: The arguments by name.

    Raises:
        DataError: One is refused.
    """
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise DataError(f"{name}={value!r:.80} makes no sense", hint=f"{least} or more")


def check_record(record: object) -> None:
    """Refuse what names no folder; an empty name would be the folder that one happens to be in.

    Raises:
        DataError: It names none.
    """
    if isinstance(record, PathLike | None) or (isinstance(record, str) and record.strip()):
        return
    raise DataError(
        f"record={record!r:.80} is no folder", hint="give its path, or None to keep nothing"
    )


def check_callable(**functions: object) -> None:
    """Refuse what cannot be called.

    Args:
        **functions: The arguments by name.

    Raises:
        DataError: One cannot.
    """
    for name, value in functions.items():
        if not callable(value):
            raise DataError(
                f"{name}={value!r:.80} is no function", hint="give one, or leave it out"
            )


def check_repair(repair: object) -> None:
    """Refuse what is no repair.

    Raises:
        DataError: It is none.
    """
    if not isinstance(repair, Repair):
        raise DataError(f"repair={repair!r:.80} is no repair", hint="mti.Repair.none(), say")


def check_mapping(hint: str, **given: object) -> None:
    """Refuse what does not map.

    Args:
        hint: An example of what does.
        **given: The arguments by name.

    Raises:
        DataError: One does not.
    """
    for name, value in given.items():
        if not isinstance(value, Mapping):
            raise DataError(f"{name}={value!r:.80} makes no sense", hint=f"such as {name}={hint}")


def read_names(
    given: Mapping[str, Any], where: str = "", known: Container[str] | None = None
) -> dict[str, Any]:
    """A mapping of names that a user has written, with the names as Python has them.

    Args:
        given: The mapping.
        where: What it is, for what is said; without it, that is said by who catches the error.
        known: The names that count, where there may be others too; these stay as they are. Beside
            a name that is written as here, `m2`, one that is it only in the form NFKC, `m²`, is
            another one.

    Raises:
        DataError: Two names are one.
    """
    meant = {name: _meant(name, given, known) for name in given}
    counts = Counter(meant.values())
    if twice := [name for name, count in counts.items() if count > 1]:
        place = f"{where}: " if where else ""
        raise DataError(
            f"{place}the name {twice[0]!r:.80} is there twice, in letters that look the same",
            hint="leave one out: names are read in the form NFKC",
        )
    return {meant[name]: value for name, value in given.items()}


def _meant(name: Any, given: Container[str], known: Container[str] | None) -> Any:
    plain = as_identifier(name)
    if known is None:
        return plain
    if plain not in known or (plain in given and unicodedata.normalize("NFC", name) != plain):
        return name
    return plain


def check_list(**given: object) -> None:
    """Refuse what is no list.

    Args:
        **given: The arguments by name.

    Raises:
        DataError: One is none.
    """
    for name, value in given.items():
        if not _is_list(value):
            raise DataError(f"{name}={value!r:.80} is no list", hint=f"such as {name}=[...]")


def read_rows(rows: Any) -> Iterator[Any]:
    """Rows one by one, from a list or whatever else gives them.

    Args:
        rows: The rows; each is looked at when its turn comes.

    Raises:
        DataError: They cannot be read one by one.
    """
    try:
        return iter(rows)
    except TypeError:
        hint = 'such as [{"message": "..."}], or [row async for row in rows]'
        raise DataError(f"{rows!r:.80} is no list of rows", hint=hint) from None


def read_groups(name: str, given: Any) -> tuple[tuple[str, ...], ...]:
    """Groups of names, read once.

    Args:
        name: Of the argument.
        given: The groups.

    Raises:
        DataError: They are none.
    """
    if _is_list(given):
        groups = list(given)
        if all(map(_is_list, groups)):
            return tuple(map(tuple, groups))
    raise DataError(
        f"{name}={given!r:.80} makes no sense", hint=f'groups of tasks: {name}=[["one", "other"]]'
    )


def _is_list(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
