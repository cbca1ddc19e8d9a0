"""DSPy both ways: the only importer of dspy, which comes with the first use of what is here.

Its `Signature`, `InputField` and `OutputField` are our own names. A program becomes a module that
DSPy's optimizers tune, and a DSPy program becomes a program; models, metrics and rows cross over.
Nothing of DSPy is used but its stable core; `tests/test_dspy_stable.py` has the list.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mtiprompt.models import foreign

if TYPE_CHECKING:
    from mtiprompt.combine import Combined
    from mtiprompt.models.base import BaseModel, LanguageModel
    from mtiprompt.plan import Plan
    from mtiprompt.program import Program
    from mtiprompt.tasks import Metric

SHARED = ("InputField", "OutputField", "Signature")
"""Names that `mtiprompt` has from dspy, imported at first use."""


def shared(name: str) -> Any:
    """One of the names in `SHARED`, out of dspy."""
    import dspy

    return getattr(dspy, name)


def to_dspy(
    program: Program | Any,
    *,
    plan: Plan | None = None,
    model: LanguageModel | str | Any = None,
) -> Any:
    """A program as a `dspy.Module` that any optimizer of DSPy can tune.

    It has one `dspy.Predict` for each task, `module.tasks["name"]`, which holds its instruction and
    its demonstrations, and makes one call for each group of the plan. Each task has its row in
    DSPy's trace. A slot that failed is None in the prediction; a refusal by a content policy and a
    context that is too short are answers of the model. The error of a call that did not come
    through is raised. DSPy scores such an item 0 and goes on, until it has seen `max_errors`, 10 by
    default: `dspy.configure(max_errors=1)` stops it at the first outage.

    Args:
        program: The program; a single task is one too.
        plan: How to run; without one, all tasks in one call, with the demonstrations that the
            program brought from DSPy, if it did.
        model: A model, its name, or a `dspy.LM`; without one, what DSPy is configured with.

    Raises:
        PlanError: The plan is for another program.
        DeclarationError: DSPy does not take the name of a field.
    """
    from mtiprompt.dspy_bridge.module import make_module

    return make_module(program, plan, model)


def from_dspy(program: Any, *, wires: Mapping[str, str] | None = None) -> Any:
    """What a DSPy program stands for: a `Program`, or the `Plan` of a module made by `to_dspy`.

    Each `dspy.Predict` of a program becomes a task, called after the attribute that has it, or
    after its signature if it stands alone, with its instruction; `dspy.ChainOfThought` has
    `reasoning` on. The program shows the demonstrations of its predictors, their answers without
    their reasoning, wherever it is called without a plan; `program.plan` has them. What its
    `forward` does besides calling predictors is not seen: an input that another predictor puts out
    comes from that one.

    The plan of a module made by `to_dspy` has its instructions, where they are not those of the
    program any more, and its demonstrations.

    Args:
        program: A DSPy program or signature, or a module made by `to_dspy`.
        wires: As for `mti.combine`, where names do not say what comes from what.

    Raises:
        DeclarationError: It is none, or has no predictor.
        CombineError: The tasks do not fit together.
        DataError: A demonstration has a field twice, in letters that look the same.
    """
    from mtiprompt.dspy_bridge.brought import bring

    return bring(program, wires)


def dspy_lm(model: LanguageModel | str) -> Any:
    """A model of ours as a `dspy.LM`, so that DSPy programs share its cache, limits and budget.

    Sampling is the model's: a temperature that DSPy asks for is not passed on, and said to be
    dropped in DSPy's history. A `rollout_id` of DSPy is the number of a sample, and each of `n`
    completions is a sample of its own.

    Args:
        model: A model or its name.

    Raises:
        SettingsError: This is no model.
        ModelNotFound: There is none of this name.
    """
    from mtiprompt.dspy_bridge.served import serve

    return serve(model)


def dspy_metric(program: Combined, metrics: Mapping[str, Metric] | None = None) -> Any:
    """The metrics of the tasks as one metric for DSPy's optimizers and `Evaluate`.

    It gives a `dspy.Prediction` with the mean score over the tasks that have gold, `feedback` in
    words (for GEPA, of the one task that is asked for) and `objective_scores` by task. It counts as
    true only if every task is right, so that a half-right answer becomes no demonstration. None is
    gold, and an answer, where the type of the output has it.

    Args:
        program: The program; it need not be what is measured, but must have its tasks.
        metrics: Metrics by task, instead of those of the tasks.

    Raises:
        DataError: There is no such task or metric, or what is given are no metrics by task.
    """
    from mtiprompt.dspy_bridge.metric import make_metric

    return make_metric(program, metrics)


def dspy_examples(program: Combined, rows: Iterable[Any]) -> list[Any]:
    """Rows as a list of `dspy.Example`, inputs marked, for training and development sets.

    A row without gold for any task is left out: DSPy would count it as wrong.

    Args:
        program: The program.
        rows: Rows of a dataset, or mappings with `inputs` and `outputs` (answers by task name).

    Raises:
        DataError: A row does not fit, or there is no list of rows.
    """
    from mtiprompt.dspy_bridge.metric import make_examples

    return make_examples(program, rows)


def _adopt(value: object) -> BaseModel | None:
    """The model that a `dspy.LM` stands for."""
    if "dspy" not in sys.modules:
        return None
    from mtiprompt.dspy_bridge.asked import adopt

    return adopt(value)


foreign.register(_adopt)
