"""The metrics of the tasks as one metric of DSPy's, and rows as its examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import dspy

from mtiprompt import metrics as scoring
from mtiprompt.checks import check_mapping, check_program, read_names, read_rows
from mtiprompt.combine import Combined
from mtiprompt.dspy_bridge.names import Flat, Names, predictor_name
from mtiprompt.errors import DataError
from mtiprompt.tasks import Metric, Task, first_line

RIGHT = 1.0
"""The score from which an answer counts as right."""


class Score(dspy.Prediction):  # type: ignore[misc]  # dspy has no types
    """A score that DSPy may also take for truth: true only if every task is right."""

    def __bool__(self) -> bool:
        """Whether every task is right; a prediction would be true whatever its score."""
        return float(self) >= RIGHT


def make_metric(program: Combined, metrics: Mapping[str, Metric] | None) -> TaskMetric:
    """One metric out of those of the tasks; see `mti.dspy_metric`."""
    check_program(program)
    named: Any = {} if metrics is None else metrics
    check_mapping('{"task": "exact"}', metrics=named)
    named = read_names(named, "metrics")
    if unknown := [name for name in named if name not in program.tasks]:
        raise DataError(
            f"there is no task {unknown[0]!r}", hint=f"tasks: {', '.join(program.tasks)}"
        )
    return TaskMetric(program, named)


class TaskMetric:
    """The metrics of the tasks as one metric for DSPy.

    Args:
        program: The program.
        metrics: Metrics by task, instead of those of the tasks.
    """

    def __init__(self, program: Combined, metrics: Mapping[str, Metric]) -> None:
        self.__name__ = "score"
        self._names = Names(program)
        self._scorers = {
            name: scoring.metric(metrics.get(name, task.metric))
            for name, task in program.tasks.items()
        }
        self._task_of = {predictor_name(name): name for name in program.tasks}

    def __call__(
        self,
        gold: Any,
        pred: Any,
        trace: Any = None,
        pred_name: str | None = None,
        pred_trace: Any = None,
    ) -> Score:
        """The score of a prediction.

        Args:
            gold: The example.
            pred: What a program made of it.
            trace: Of no account; DSPy gives it.
            pred_name: The predictor that GEPA asks about; a task may have its name too.
            pred_trace: Of no account; DSPy gives it.

        Raises:
            DataError: The example has gold for no task, two names of it or of the prediction are
                one, or a metric gives what is no score.
        """
        example = self._names.read(gold, "the example")
        # a program may answer with whatever it likes
        answers = self._names.read(pred, "the prediction") if hasattr(pred, "keys") else pred
        failures = getattr(pred, "_failures", {})
        scores: dict[str, float] = {}
        said: dict[str, str] = {}
        for name in self._names.program.tasks:
            fields = self._names.fields(name, example)
            if fields is None:
                continue
            scores[name], said[name] = self._judge(name, fields, example, answers, failures)
        if not scores:
            raise DataError(
                "the example has gold for no task",
                hint=f"outputs: {', '.join(self._names.answers)}",
            )
        asked = self._task_of.get(pred_name or "", (pred_name or "").removesuffix(".predict"))
        feedback = said.get(asked) or "\n".join(said.values())
        mean = sum(scores.values()) / len(scores)
        return Score(score=mean, feedback=feedback, objective_scores=scores)

    def _judge(
        self,
        name: str,
        gold: Mapping[str, Any],
        example: Flat,
        answers: Flat,
        failures: Mapping[str, str],
    ) -> tuple[float, str]:
        task = self._names.program.tasks[name]
        wanted = _shown(task, gold)
        fields = None if name in failures else self._names.fields(name, answers)
        if fields is None:
            why = failures.get(name, "nothing that fits was answered")
            return 0.0, f"{name}: no valid answer ({why}); expected {wanted!r}."
        found = _shown(task, fields)
        given = self._names.given(example)
        score = scoring.checked_score(self._scorers[name](found, wanted, given), name)
        if score >= RIGHT:
            return score, f"{name}: right, {found!r}."
        return score, f"{name}: answered {found!r}, expected {wanted!r} (score {score:.2f})."


def _shown(task: Task[Any], fields: Mapping[str, Any]) -> Any:
    """An answer as metrics take it: plain data, the bare value of a task with one output."""
    plain = {one.name: one.dump(_typed(one, fields[one.name])) for one in task.outputs}
    return next(iter(plain.values())) if len(plain) == 1 else plain


def _typed(one: Any, value: Any) -> Any:
    try:
        return one.adapter.validate_python(value)
    except Exception:  # noqa: BLE001  gold, or another program's answer, that the task refuses
        return value


def make_examples(program: Combined, rows: Iterable[Any]) -> list[Any]:
    """Rows as DSPy's examples; see `mti.dspy_examples`."""
    check_program(program)
    names = Names(program)
    made = [_example(names, number, row) for number, row in enumerate(read_rows(rows), start=1)]
    return [one for one in made if any(names.fields(task, one) for task in program.tasks)]


def _example(names: Names, number: int, row: Any) -> Any:
    program = names.program
    try:
        inputs = row["inputs"] if isinstance(row, Mapping) else row.inputs
        outputs = row["outputs"] if isinstance(row, Mapping) else row.outputs
        given, answers = dict(inputs.items()), dict(outputs.items())
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f"row {number} is no example: {first_line(error)}",
            hint='{"inputs": {...}, "outputs": {task: answer}}',
        ) from None
    try:
        answers = read_names(answers)
        if unknown := [name for name in answers if name not in program.tasks]:
            raise DataError(
                f"gold for {unknown[0]!r}, which is no task",
                hint=f"tasks: {', '.join(program.tasks)}",
            )
        named = read_names(given, known=program.inputs)
        # a column that the program does not take may be there
        read = program.read_inputs(names.given(named))
        flat = dict(read)
        for task, answer in answers.items():
            if answer is not None or names.takes_none(task):
                flat |= names.flat(task, program.tasks[task].read(answer))
    except DataError as error:
        raise DataError(f"row {number}: {error.message}", hint=error.hint) from None
    return dspy.Example(flat).with_inputs(*read)
