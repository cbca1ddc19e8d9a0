"""Instructions that a model proposes when it is shown mistakes; the only importer of gepa."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from mtiprompt.checks import check_budget, check_program, check_whole
from mtiprompt.dataset import Row, read_rows
from mtiprompt.errors import BudgetExceeded, SettingsError
from mtiprompt.evaluation.arms import Arm
from mtiprompt.evaluation.checks import check
from mtiprompt.evaluation.outcome import Outcome
from mtiprompt.evaluation.scores import score_table
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.budget import Budget
from mtiprompt.models.model import as_model
from mtiprompt.optimizer.asked import asked_model
from mtiprompt.optimizer.bootstrap import draw_rows, first_pool
from mtiprompt.optimizer.measuring import Measuring, Stage, way_of
from mtiprompt.optimizer.space import Space
from mtiprompt.plan import Plan
from mtiprompt.program import CONCURRENCY, Program
from mtiprompt.tasks import Metric
from mtiprompt.wire import Message, Request

PURPOSE: Stage = "reflect"
"""What the calls of a reflection are for."""
SHOWN = 4
"""Rows that a proposal is made from."""
ROWS = 24
"""Rows that are run to find mistakes, unless an argument says otherwise."""


def reflected(
    program: Program,
    train: Iterable[Row | Mapping[str, Any]],
    *,
    model: LanguageModel | str | None = None,
    reflect: LanguageModel | str | None = None,
    budget: Budget,
    plan: Plan | None = None,
    number: int = 2,
    rows: int = ROWS,
    metrics: Mapping[str, Metric] | None = None,
    seed: int = 0,
    concurrency: int = CONCURRENCY,
    record: str | PathLike[str] | None = None,
) -> dict[str, tuple[str, ...]]:
    """Instructions that a model proposes, as `variants` of `mti.optimize`.

    The plan runs on some rows. For each task, a model is shown its instruction and rows that it got
    wrong, with what was expected, and is asked for a better one, in the words of GEPA (Agrawal et
    al. 2025, arXiv 2507.19457; the package `gepa`). Of GEPA only this question is used: which
    proposal is any good the search finds out, together with all else that it varies. Nothing that
    is proposed is believed.

    Args:
        program: The program.
        train: Rows with gold, none of those that plans are scored on: a proposal may tell what is
            in them.
        model: Who answers the rows; without one, that of the settings.
        reflect: Who proposes; by default the same. A stronger one is worth its price here.
        budget: What may be spent, on `rows` times the calls of the plan, repairs, and one call for
            each proposal. When it is spent, what was proposed until then is the result. The same
            object may then be given to `mti.optimize`: it bounds both together.
        plan: How the rows are run; by default all tasks in one call.
        number: Proposals for each task that has mistakes.
        rows: Rows of train, drawn at random, that are run.
        metrics: Metrics for single tasks, in the place of their own. Below 1 is a mistake.
        seed: Of what is drawn.
        concurrency: Calls in flight at the same time.
        record: A folder that keeps every reply, as for `mti.optimize`.

    Returns:
        By task, the proposed texts in the order of asking, each once; a task without mistakes, or
        for which nothing could be read, is not there.

    Raises:
        DataError: A row, a number or the budget makes no sense.
        PlanError: The plan is none, or for another program.
        SettingsError: The package gepa is not installed.
        BudgetExceeded: It is in dollars, and the calls do not tell what they cost.
        IncompleteRun: Calls failed for good.
        ModelError: A model cannot be used at all, or a proposal failed for good.
    """
    check_program(program)
    check_budget(budget)
    check_whole(1, number=number, rows=rows)
    check_whole(0, seed=seed)
    base = Plan.fused(program) if plan is None else plan
    read = read_rows(program, train, "train")
    check(program, (), [Arm("plan", base)], metrics, concurrency=concurrency, confidence=0.95)
    question = _Question()
    drawn = draw_rows(program, read, rows, seed=seed)
    answers = asked_model(as_model(model), budget, record)
    proposes = answers
    if reflect is not None:
        own = None if record is None else Path(record) / PURPOSE
        proposes = asked_model(as_model(reflect), budget, own)
    measuring = Measuring(
        answers, metrics=metrics, concurrency=concurrency, budget=budget, record=record
    )
    seen = _mistakes(program, base, drawn, measuring)
    found: dict[str, tuple[str, ...]] = {}
    for name, examples in seen.items():
        old = base.instruction(program, name)
        draw = random.Random(f"{seed} {name}")
        shown = (draw.sample(examples, min(SHOWN, len(examples))) for _ in range(number))
        texts = question.answers(proposes, old, shown)
        if new := tuple(dict.fromkeys(one for one in texts if one != old)):
            found[name] = new
    return found


def reflect_calls(program: Program, rows: int, *, plan: Plan | None = None, number: int = 2) -> int:
    """Calls that `reflected` makes at most, repairs left out.

    Args:
        program: The program.
        rows: Rows that are run.
        plan: How they are run; by default all tasks in one call.
        number: Proposals for each task that has mistakes.
    """
    groups = 1 if plan is None else len(plan.call_groups)
    return rows * groups + number * len(program.tasks)


def check_installed() -> None:
    """Refuse to reflect without the package gepa.

    Raises:
        SettingsError: It is not installed.
    """
    _Question()


# --- what went wrong --------------------------------------------------------------------------


def _mistakes(
    program: Program, plan: Plan, rows: Sequence[Row], measuring: Measuring
) -> dict[str, list[dict[str, Any]]]:
    """For each task with mistakes, what a model is told of the rows that it got wrong."""
    space = Space(program, first_pool(program, (), plan), plan, vary=frozenset())
    way = way_of(space, space.start)
    outcomes = measuring.outcomes([(way, row) for row in rows], PURPOSE)
    ran = rows[: len(outcomes)]
    table = score_table(program, ran, outcomes, measuring.metrics)
    found = {}
    for name in program.tasks:
        scores = table.get(name, {})
        examples = [
            _example(program, name, row, one, scores[row.id])
            for row, one in zip(ran, outcomes, strict=True)
            if scores.get(row.id, 1.0) < 1.0
        ]
        if examples:
            found[name] = examples
    return found


def _example(program: Program, name: str, row: Row, one: Outcome, score: float) -> dict[str, Any]:
    """A row that a task got wrong, under the headings that GEPA recommends."""
    given = {
        own: one.answers.get(wire.task) if wire.task else row.inputs.get(wire.name)
        for own, wire in program.wires[name].items()
    }
    gold = row.outputs[name]
    if name in one.answers:
        said = f"Expected {gold!r}; this answer scores {score:.2f}."
    else:
        said = f"No valid answer ({one.failures[name]['message']}); expected {gold!r}."
    return {"Inputs": given, "Generated Outputs": repr(one.answers.get(name)), "Feedback": said}


# --- what is proposed -------------------------------------------------------------------------


class _Question:
    """GEPA's question for a new instruction.

    Raises:
        SettingsError: The package gepa is not installed.
    """

    def __init__(self) -> None:
        try:
            from gepa.strategies.instruction_proposal import InstructionProposalSignature
        except ImportError:
            raise SettingsError(
                "the package gepa is not installed", hint="pip install 'mtiprompt[gepa]'"
            ) from None
        self._signature = InstructionProposalSignature

    def answers(
        self, model: LanguageModel, old: str, shown: Iterable[Sequence[Mapping[str, Any]]]
    ) -> Iterator[str]:
        """What a model proposes, until the budget is spent; what was cut off is left out.

        Args:
            model: Whom to ask.
            old: The instruction until now.
            shown: For each proposal, examples of mistakes.

        Raises:
            BudgetExceeded: It is in dollars, and the calls do not tell what they cost.
        """
        for sample, examples in enumerate(shown):
            asked = self._signature.prompt_renderer(
                {"current_instruction_doc": old, "dataset_with_feedback": list(examples)}
            )
            messages = (Message("user", str(asked)),)
            request = Request(messages, sample=sample, purpose=PURPOSE)
            try:
                reply = model.complete(request)
            except BudgetExceeded as error:
                if error.stops:
                    raise
                return
            text = self._signature.output_extractor(reply.text.strip())["new_instruction"].strip()
            if text and reply.finish_reason == "stop":
                model.keep(request, reply)
                yield text
