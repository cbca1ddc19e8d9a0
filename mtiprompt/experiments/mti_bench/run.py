"""The measurement: the same instances through every format and arm, in turns, on record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from os import PathLike
from pathlib import Path

from mtiprompt import stats
from mtiprompt.checks import check_list
from mtiprompt.errors import DataError
from mtiprompt.evaluation import Outcome
from mtiprompt.evaluation.clock import Clock, RecordedModel, TimedModel
from mtiprompt.evaluation.turns import complete, in_turns
from mtiprompt.experiments.checks import check_options, is_whole
from mtiprompt.experiments.mti_bench import paper
from mtiprompt.experiments.mti_bench.bench import Bench, Instance
from mtiprompt.experiments.mti_bench.findings import Findings
from mtiprompt.experiments.mti_bench.ours import Ours
from mtiprompt.experiments.mti_bench.scores import Cell
from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.models.model import as_model
from mtiprompt.wire import Reply, Request

ARMS = {
    "single": "single-task inference: one call a step, earlier answers fed forward",
    "batch": "batch prompting: one call a step for two instances of a task",
    "multi": "multi-task inference: all steps in one call",
    "all_context": "one call a step, which sees all steps and texts and answers one",
}
"""The arms by the paper's names, and the control that it lacks."""
FORMATS = {
    "paper": "raw text, answers between tags, a worked example where the file has one",
    "ours": "typed JSON through this library, failed slots asked again",
}
"""The formats."""
PAIR = 2
"""Instances in a batch, as in the paper, and so in a block."""
REPAIRS_APART = 1000
"""What keeps the samples of a repair apart from those of another seed."""


class Seeded(Wrapper):
    """A model whose every request asks for samples of one seed.

    Args:
        inner: Whom to ask.
        seed: The number of the sample; see `Request.sample`.
    """

    def __init__(self, inner: LanguageModel, seed: int) -> None:
        super().__init__(inner)
        self._seed = seed

    def complete(self, request: Request) -> Reply:
        """Ask for the sample."""
        return self.inner.complete(self._sampled(request))

    async def acomplete(self, request: Request) -> Reply:
        """As `complete`."""
        return await self.inner.acomplete(self._sampled(request))

    def keep(self, request: Request, reply: Reply) -> None:
        """Store the reply under the request that was sent."""
        self.inner.keep(self._sampled(request), reply)

    def _sampled(self, request: Request) -> Request:
        return replace(request, sample=self._seed + REPAIRS_APART * request.sample)


def run(
    bench: Bench,
    model: LanguageModel | str | None,
    *,
    arms: Sequence[str] = tuple(ARMS),
    formats: Sequence[str] = tuple(FORMATS),
    seeds: Sequence[int | None] = (None,),
    record: str | PathLike[str] | None = None,
    score_all: bool = False,
    limit: int | None = None,
    confidence: float = stats.CONFIDENCE,
    progress: Callable[[], None] = lambda: None,
) -> Findings:
    """Run a benchmark in several formats and arms.

    Instances go in blocks of two of a task; each block goes through all cells (a format, an arm and
    a seed), and the cell that begins is another in each block, so that drift favours none. The
    client library is loaded before the first call. Calls follow each other.

    Args:
        bench: The benchmark.
        model: A model or its name; without one, that of the settings. Its temperature is its own
            setting: 0 without seeds, 0.7 (the paper's) with several.
        arms: Names as in `ARMS`.
        formats: Names as in `FORMATS`.
        seeds: Numbers of samples from 1 on, whose scores are averaged by instance; None: one
            sample, asked as the model's settings say.
        record: A folder in which every reply is kept, one file a cell, so that a run that was
            stopped is taken up there again and pays for nothing twice.
        score_all: Whether unsound steps count too, and tasks without a sound step are run.
        limit: Instances of each task at most.
        confidence: Of the intervals.
        progress: Called after every instance in every cell.

    Raises:
        DataError: There is no such arm or format, nothing to score, or an argument makes no sense.
        IncompleteRun: Calls failed for good (an outage, a spent budget); it names the instances.
        ModelError: The model cannot be used at all.
    """
    if not isinstance(bench, Bench):
        raise DataError(f"{bench!r:.80} is no benchmark", hint='mti_bench.load("FILE.json")')
    check_options(confidence=confidence, record=record, progress=progress)
    instances = bench.chosen(score_all=score_all, limit=limit)
    cells = _cells(formats, arms, seeds)
    asked = as_model(model)
    clock = Clock()
    clock.add(asked)
    models = {cell: _model(asked, cell, clock, record) for cell in cells}
    ours = Ours(bench.instances)  # all, so that the limit changes no prompt

    def ask(cell: Cell, block: Sequence[Instance]) -> Iterator[Outcome]:
        return _answers(ours, bench, models[cell], cell, block)

    found = in_turns(cells, _blocks(instances), ask, progress)
    complete([one.id for one in instances], found, record, "instances")
    return Findings(
        instances=instances,
        outcomes={cell: tuple(rows[one.id] for one in instances) for cell, rows in found.items()},
        model=asked.name,
        bench=bench.name,
        tasks=bench.tasks,
        samples=len(bench.samples.keys() & {one.task for one in instances}),
        score_all=score_all,
        confidence=confidence,
    )


def _cells(formats: Sequence[str], arms: Sequence[str], seeds: Sequence[int | None]) -> list[Cell]:
    check_list(formats=formats, arms=arms, seeds=seeds)
    formats, arms, seeds = tuple(formats), tuple(arms), tuple(seeds)
    for what, given, known in (("format", formats, FORMATS), ("arm", arms, ARMS)):
        if not given:
            raise DataError(f"there is no {what}", hint=f"name some: {', '.join(known)}")
        for name in given:
            if name not in list(known):
                raise DataError(f"there is no {what} {name!r}", hint=f"known: {', '.join(known)}")
    if not seeds or any(seed is not None and not is_whole(seed) for seed in seeds):
        raise DataError("a seed is no number from 1 on", hint="seeds=(1, 2, 3)")
    made = [Cell(*one) for one in product(formats, arms, seeds)]
    if len(set(made)) < len(made):
        raise DataError("a format, an arm or a seed is named twice")
    return made


def _model(
    model: LanguageModel, cell: Cell, clock: Clock, record: str | PathLike[str] | None
) -> LanguageModel:
    timed = (
        TimedModel(model, clock)
        if record is None
        else RecordedModel(model, Path(record) / f"{cell.name}.jsonl", clock)
    )
    return timed if cell.seed is None else Seeded(timed, cell.seed)


def _blocks(instances: Sequence[Instance]) -> Iterator[list[Instance]]:
    """Consecutive instances of a task, two by two; an odd one stands alone."""
    for task in dict.fromkeys(one.task for one in instances):
        own = [one for one in instances if one.task == task]
        for start in range(0, len(own), PAIR):
            yield own[start : start + PAIR]


def _answers(
    ours: Ours, bench: Bench, model: LanguageModel, cell: Cell, block: Sequence[Instance]
) -> Iterator[Outcome]:
    if cell.format == "ours":
        return ours.answer(model, cell.arm, block)
    return paper.answer(model, cell.arm, block, bench.samples.get(block[0].task, ""))
