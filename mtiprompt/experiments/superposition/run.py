"""The measurement of superposition."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

from mtiprompt import stats
from mtiprompt.checks import check_list, check_whole
from mtiprompt.errors import DataError
from mtiprompt.experiments.checks import check_options, check_seed
from mtiprompt.experiments.superposition.findings import Findings
from mtiprompt.experiments.superposition.prompts import Cell, Drawn, cells, draw, write
from mtiprompt.experiments.superposition.record import Seen, seen_record
from mtiprompt.experiments.superposition.score import score
from mtiprompt.experiments.superposition.search import Likeliest, likeliest
from mtiprompt.experiments.superposition.share import shared
from mtiprompt.experiments.superposition.tasks import CONFIGS, Config
from mtiprompt.kept_lines import KeptLines, digest
from mtiprompt.models.local_tokens import TokenModel, common

PROMPTS = 100
"""Prompts in a cell, as in the paper."""
QUICK = 10
"""Prompts in a cell for a first look."""


def run(
    model: TokenModel | Sequence[TokenModel],
    *,
    configs: Sequence[str] = tuple(CONFIGS),
    prompts: int = PROMPTS,
    examples: int | None = None,
    seed: int = 0,
    confidence: float = stats.CONFIDENCE,
    record: str | PathLike[str] | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Findings:
    """How likely each task's answer is after examples of several tasks.

    The protocol of Xiong et al. (arXiv 2410.05603, section 3): examples of K tasks in random order,
    no instruction, no label, and a query that is not among them. Beside it stand what the paper
    lacks: the lines of each task alone, two tasks at 0, 25, 50, 75 and 100 %, examples with labels,
    and for each answer a wrong one of the same type. Prompts of one number have the same inputs and
    the same query in all cells of a configuration, so that cells are compared in pairs.

    Args:
        model: Whose probabilities are asked, `LocalTokens(...)` for one; a base model is meant.
            Several copies of one, `local_workers(...)` for instance, work at the same time.
        configs: Names as in `CONFIGS`.
        prompts: Prompts in a cell.
        examples: Examples in a prompt; None: as many as in the paper (60 or 80).
        seed: Draws the prompts.
        confidence: Of the intervals.
        record: A folder in which what is seen of each prompt is kept, so that a run that was
            stopped is taken up there again.
        progress: Called after every prompt: `steps(...)` times.

    Raises:
        DataError: There is no such configuration, an argument makes no sense, or the models are not
            the same.
        ModelError: The model cannot do it.
    """
    chosen = _chosen(configs)
    check_options(confidence=confidence, record=record, progress=progress)
    check_whole(1, prompts=prompts, examples=1 if examples is None else examples)
    check_seed(seed)
    models = _models(model)
    if len({one.identity for one in models}) != 1:
        raise DataError("the models are not the same", hint="give copies of one")
    drawn = list(_prompts(chosen, prompts, seed, examples))  # or refused, before a file is made
    kept = seen_record(record)

    def measured(asked: TokenModel, prompt: Prompt) -> list[Seen]:
        return _measured(asked, kept, *prompt)

    found = shared(models, measured, drawn, progress)
    seen = tuple(one for some in found for one in some)
    return Findings(seen, models[0].name, prompts, examples, seed, confidence)


Prompt = tuple[int, Cell, Drawn]
"""Its number, how it is written, and what it is about."""


def _prompts(
    configs: Sequence[Config], prompts: int, seed: int, examples: int | None
) -> Iterable[Prompt]:
    for config in configs:
        for number in range(prompts):
            drawn = draw(config, number, seed=seed, examples=examples)
            yield from ((number, cell, drawn) for cell in cells(config))


def steps(configs: Sequence[str] = tuple(CONFIGS), prompts: int = PROMPTS) -> int:
    """How often `run` calls `progress`.

    Raises:
        DataError: There is no such configuration, or the number of prompts makes no sense.
    """
    check_whole(1, prompts=prompts)
    return sum(len(cells(config)) for config in _chosen(configs)) * prompts


def _models(given: Any) -> list[TokenModel]:
    several = isinstance(given, Iterable) and not isinstance(given, str)
    models = list(given) if several else [given]
    if wrong := [one for one in models if not hasattr(one, "forced")]:
        raise DataError(
            f"{wrong[0]!r:.80} tells no probabilities of tokens",
            hint='superposition.LocalTokens("local/NAME")',
        )
    return models


def _chosen(names: Iterable[str]) -> list[Config]:
    check_list(configs=names)
    names = tuple(names)
    if not names:
        raise DataError("no configuration is named", hint=f"some of {', '.join(CONFIGS)}")
    for name in names:
        if name not in list(CONFIGS):
            raise DataError(
                f"there is no configuration {name!r}", hint=f"some of {', '.join(CONFIGS)}"
            )
    return [CONFIGS[name] for name in dict.fromkeys(names)]


def _measured(
    model: TokenModel, kept: KeptLines[Seen], number: int, cell: Cell, drawn: Drawn
) -> list[Seen]:
    """What is seen of the prompts of a number in a cell, from the record where it is there."""
    prompts = {label: write(cell, drawn, label) for label in cell.labels}
    right = dict(zip(cell.config.tasks, drawn.query.answers, strict=True))
    wrong = dict(zip(cell.config.tasks, drawn.wrong.answers, strict=True))
    asked = {task: right[task] for task in cell.scored}
    compared = wrong if cell.kind == "mixed" else {}
    answers = [*asked.values(), *compared.values()]
    keys = {
        label: digest(model.identity, cell.name, number, prompt, answers)
        for label, prompt in prompts.items()
    }
    before = {label: kept.get(key) for label, key in keys.items()}
    began = time.time()
    if None in before.values():
        _read_examples(model, list(prompts.values()))
    seen = []
    for label, prompt in prompts.items():
        one = before[label]
        if one is None:
            one = _seen(model, cell, number, label, prompt, asked, compared, began)
            kept.add(keys[label], one)
            began = time.time()
        seen.append(one)
    return seen


def _read_examples(model: TokenModel, prompts: Sequence[str]) -> None:
    """Read what prompts have in common, so that the queries all go on from the same reading."""
    first, *others = map(model.tokens, prompts)
    if others:
        model.read(first[: min(common(first, one) for one in others)])


def _seen(
    model: TokenModel,
    cell: Cell,
    number: int,
    label: str | None,
    prompt: str,
    right: Mapping[str, str],
    wrong: Mapping[str, str],
    began: float,
) -> Seen:
    """Ask for one prompt."""
    scores = score(model, prompt, [*right.values(), *wrong.values()])
    best = Likeliest((), exact=True)
    if cell.kind == "mixed":
        known = [(one.answer, one.closed) for one in scores]
        best = likeliest(model, prompt, len(right), known)
    return Seen(
        config=cell.config.name,
        cell=cell.name,
        number=number,
        label=label,
        right=dict(zip(right, scores, strict=False)),
        wrong=dict(zip(wrong, scores[len(right) :], strict=True)),
        likeliest=best.answers,
        exact=best.exact,
        tokens=len(model.tokens(prompt)),
        began=began,
        seconds=time.time() - began,
    )
