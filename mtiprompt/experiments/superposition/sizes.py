"""Findings about several models side by side: the control of size."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from mtiprompt.errors import DataError
from mtiprompt.report.parts import Table


def load(path: str | PathLike[str]) -> dict[str, Any]:
    """The figures of an earlier run: its `results.json`, or the folder that has it.

    Raises:
        DataError: There is none, or it is not of this experiment.
    """
    file = Path(path) / "results.json" if Path(path).is_dir() else Path(path)
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        beside([value])
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            f"{file} has no figures of this experiment", hint="give the folder of an earlier run"
        ) from None
    return dict(value)


def beside(values: Sequence[Mapping[str, Any]]) -> Table:
    """A table of models: what of the claims should grow with size.

    Args:
        values: What `Findings.plain` gives, one for each model.
    """
    names = dict.fromkeys(name for value in values for name in value["configs"])
    rows = []
    for name in names:
        for value in values:
            if figures := value["configs"].get(name):
                far = figures["divergence"]
                rows.append(
                    (
                        name,
                        value["model"],
                        str(value["prompts"]),
                        *(_shown(figures[what]) for what in ("mass", "completed")),
                        f"{far['value']:.3f} [{far['interval'][0]:.3f}, {far['interval'][1]:.3f}]",
                        _shown(figures["labelled_leak"]),
                    )
                )
    return Table(
        heading="Models side by side",
        columns=("configuration", "model", "prompts", "right answers", "part of tasks completed",
                 "divergence, nats", "leak beside a label"),
        rows=tuple(rows),
        note="The paper: larger models complete more tasks, and follow the shares more closely.",
    )  # fmt: skip


def _shown(estimate: Mapping[str, Any]) -> str:
    low, high = estimate["interval"]
    return f"{estimate['mean']:.3f} [{low:.3f}, {high:.3f}]"
