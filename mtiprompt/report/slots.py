"""Every slot of a comparison, with what a person needs to see what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from mtiprompt.dataset import Row
from mtiprompt.evaluation.outcome import Outcome
from mtiprompt.evaluation.run import Comparison
from mtiprompt.evaluation.scores import RIGHT
from mtiprompt.report.parts import SlotRow


def slots_of(name: str, comparison: Comparison) -> Iterator[SlotRow]:
    """The slots of all arms: for each item its tasks, and for each task the arms.

    Args:
        name: The name of the data set.
        comparison: What was measured.
    """
    for place, row in enumerate(comparison.rows):
        for task in comparison.program.order:
            for arm in comparison.arms:
                score = comparison.tables[arm.name][task].get(row.id)
                found = comparison.outcomes[arm.name][place]
                yield _slot(name, arm.name, task, row, found, score)


def _slot(name: str, arm: str, task: str, row: Row, found: Outcome, score: float | None) -> SlotRow:
    failure = found.failures.get(task)
    asked = [call for call in found.calls if task in call.tasks]
    call = asked[-1] if asked else None
    return SlotRow(
        data=name,
        arm=arm,
        item=row.id,
        task=task,
        verdict="failed" if failure else _verdict(score),
        score=score,
        answer=found.answers.get(task),
        gold=row.outputs.get(task),
        failure=f"{failure['kind']}: {failure['message']}" if failure else "",
        prompt=tuple((role, text) for role, text in call.request.messages) if call else (),
        reply=call.reply.text if call and call.reply else "",
    )


def _verdict(score: float | None) -> Literal["right", "part", "wrong", "unscored"]:
    if score is None:
        return "unscored"
    if score >= RIGHT:
        return "right"
    return "part" if score > 0 else "wrong"
