"""Findings about several models side by side: the control of size."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from mtiprompt.errors import DataError
from mtiprompt.experiments.superposition import resample
from mtiprompt.experiments.superposition.written import cell
from mtiprompt.report.parts import Table
from mtiprompt.stats import CONFIDENCE, Estimate

COLUMNS = {
    "mass": "right answers",
    "completed": "part of tasks completed",
    "divergence": "divergence, nats (paper's)",
}
"""What of the mixed prompts is compared."""


def load(
    path: str | PathLike[str], *, seed: int = 0, examples: int | None = None
) -> dict[str, Any]:
    """The figures of an earlier run: its `results.json`, or the folder that has it.

    Args:
        path: The file, or the folder.
        seed: Of the prompts beside which they shall stand.
        examples: In these prompts.

    Raises:
        DataError: There is none, it is not of this experiment, or of other prompts.
    """
    file = Path(path) / "results.json" if Path(path).is_dir() else Path(path)
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        beside([value])
        comparable(value, seed=seed, examples=examples)
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            f"{file} has no figures of this experiment", hint="give the folder of an earlier run"
        ) from None
    return dict(value)


def comparable(value: Mapping[str, Any], *, seed: int, examples: int | None) -> None:
    """Refuse figures of other prompts: models are compared prompt by prompt.

    Raises:
        DataError: The seed or the number of examples is another.
    """
    for name, wanted in (("seed", seed), ("examples", examples)):
        if value[name] != wanted:
            raise DataError(
                f"{value['model']} was measured with {name} {value[name]}, this with {wanted}",
                hint="compare runs on the same prompts",
            )


class Difference(NamedTuple):
    """What a model has more than another on the same prompts.

    Attributes:
        config: The configuration.
        other: The name of the other model.
        of: By what is compared, as in `COLUMNS`.
    """

    config: str
    other: str
    of: Mapping[str, Estimate]


def differences(
    value: Mapping[str, Any], others: Sequence[Mapping[str, Any]], confidence: float = CONFIDENCE
) -> Iterator[Difference]:
    """What a model has more than each of others, paired over the prompts that both have.

    Args:
        value: What `Findings.plain` gives.
        others: The same of other models.
        confidence: Of the intervals.
    """
    for name, figures in value["configs"].items():
        for other in others:
            if name in other["configs"]:
                ours, theirs = figures["prompts"], other["configs"][name]["prompts"]
                both = min(value["prompts"], other["prompts"])
                found = {
                    of: resample.difference(ours[of][:both], theirs[of][:both], confidence)
                    for of in COLUMNS
                }
                yield Difference(name, other["model"], found)


def beside(values: Sequence[Mapping[str, Any]]) -> Table:
    """A table of models, and of what the last has more than each of the others.

    Args:
        values: What `Findings.plain` gives, one for each model.
    """
    *others, last = values
    sure = last["confidence"]
    rows = [
        (name, value["model"], str(value["prompts"]),
         *(cell(resample.mean(figures["prompts"][of], sure)) for of in COLUMNS))
        for value in values
        for name, figures in value["configs"].items()
    ]  # fmt: skip
    rows += [
        (one.config, f"{last['model']} less {one.other}", str(one.of["mass"].n),
         *(cell(one.of[of], "+") for of in COLUMNS))
        for one in differences(last, others, sure)
    ]  # fmt: skip
    order = list(dict.fromkeys(row[0] for row in rows))
    return Table(
        heading="Models side by side, tasks mixed",
        columns=("configuration", "model", "prompts", *COLUMNS.values()),
        rows=tuple(sorted(rows, key=lambda row: order.index(row[0]))),
        note="Differences are paired prompt by prompt. Models of another family or tuning differ "
        "by that too.",
    )
