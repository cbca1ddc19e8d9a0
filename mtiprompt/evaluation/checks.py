"""What is refused before the first call of a measurement, while it costs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mtiprompt.checks import check_plan, check_whole
from mtiprompt.combine import Combined
from mtiprompt.dataset import Row
from mtiprompt.errors import DataError
from mtiprompt.evaluation.arms import Arm
from mtiprompt.evaluation.asking import record_name
from mtiprompt.evaluation.scores import metrics_of
from mtiprompt.plan import Demo
from mtiprompt.selection.choose import folded
from mtiprompt.tasks import Metric

_MAKE_SOME = "make some: mti.make_arms(program, names, demos)"


def read_arms(arms: Any) -> tuple[Arm, ...]:
    """What is given as arms, each of them once, as a generator has them.

    Args:
        arms: Ways of running, which are still to be checked.

    Raises:
        DataError: They are no list.
    """
    if not isinstance(arms, Iterable):
        raise DataError(f"arms={arms!r:.80} is no list of arms", hint=_MAKE_SOME)
    return tuple(arms)


def check(
    program: Combined,
    items: Sequence[Row],
    arms: Sequence[Arm],
    metrics: Mapping[str, Metric] | None,
    *,
    concurrency: Any,
    confidence: Any,
) -> None:
    """Refuse what would be found wrong only after the calls are paid, and what would mislead.

    Args:
        program: The program.
        items: What is to be measured.
        arms: Ways of running.
        metrics: Metrics for single tasks.
        concurrency: A whole number from 1 on.
        confidence: A number above 0 and below 1.

    Raises:
        DataError: With the reason.
        PlanError: The plan of an arm is none, or for another program.
    """
    if not arms:
        raise DataError("there is no arm", hint=_MAKE_SOME)
    names = [_name_of(arm) for arm in arms]
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"two arms are called {twice[0]!r:.80}", hint="name them apart")
    check_whole(1, concurrency=concurrency)
    check_confidence(confidence)
    metrics_of(program, metrics)
    for arm in arms:
        check_plan(arm.plan)
        arm.plan.check(program)
        if arm.plan.select is not None:
            arm.plan.select.check()
        _check_demos(program, arm, items)


def check_confidence(confidence: Any) -> None:
    """Refuse what is no confidence of an interval.

    Args:
        confidence: A number above 0 and below 1.

    Raises:
        DataError: It is none.
    """
    if not isinstance(confidence, int | float) or not 0 < confidence < 1:
        hint = "95 percent are 0.95"
        raise DataError(f"confidence is {confidence!r:.80}, expected above 0, below 1", hint=hint)


def check_records(arms: Sequence[Arm]) -> None:
    """Refuse arms that would take each other's replies out of one file.

    Args:
        arms: Ways of running.

    Raises:
        DataError: Two have files of one name; some file systems know no case.
    """
    arm_of: dict[str, str] = {}
    for arm in arms:
        file = record_name(arm.name)
        other = arm_of.setdefault(file.casefold(), arm.name)
        if other != arm.name:
            raise DataError(
                f"the arms {other!r:.80} and {arm.name!r:.80} would both be kept in {file:.80}",
                hint="name them apart",
            )


def not_shown(
    rows: Iterable[Row], demos: Iterable[Demo], program: Combined | None = None
) -> tuple[Row, ...]:
    """The rows that no demonstration shows, not even with other blanks or in another case.

    Args:
        rows: The rows.
        demos: The demonstrations.
        program: Theirs, where an input may be left out: it is what stands for it then.
    """
    filled = program.filled if program else dict
    shown = {folded(filled(demo.inputs)) for demo in demos}
    return tuple(row for row in rows if folded(filled(row.inputs)) not in shown)


def _name_of(arm: Any) -> str:
    if isinstance(arm, Arm):
        return arm.name
    hint = "write [mti.Arm(name, plan), ...], or mti.make_arms(program, names, demos)"
    raise DataError(f"{arm!r:.80} is no arm", hint=hint)


def _check_demos(program: Combined, arm: Arm, items: Sequence[Row]) -> None:
    unseen = {row.id for row in not_shown(items, arm.plan.demos, program)}
    if leaked := [row.id for row in items if row.id not in unseen]:
        raise DataError(
            f"item {leaked[0]!r:.80} is a demonstration of the arm {arm.name!r:.80}",
            hint="measure with rows that the prompt does not answer",
        )
