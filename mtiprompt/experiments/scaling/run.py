"""The measurement of scaling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike

from mtiprompt import stats
from mtiprompt.dataset import Dataset
from mtiprompt.evaluation import Arm, compare
from mtiprompt.experiments.checks import check_options
from mtiprompt.experiments.scaling.design import ITEMS, TASKS, design
from mtiprompt.experiments.scaling.findings import Findings
from mtiprompt.experiments.scaling.slots import Seen, paired, seen
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.model import as_model
from mtiprompt.repair import Repair


def run(
    datasets: Sequence[Dataset],
    model: LanguageModel | str | None = None,
    *,
    tasks: Sequence[int] = TASKS,
    items: Sequence[int] = ITEMS,
    rows: int = 40,
    demos: int = 0,
    seed: int = 0,
    repair: Repair | None = None,
    concurrency: int = 1,
    confidence: float = stats.CONFIDENCE,
    record: str | PathLike[str] | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Findings:
    """Accuracy and time of a slot as the number of tasks, or of items, in its call grows.

    Three sweeps: tasks of one data set in a call, tasks of different data sets in a call (row i of
    each stands side by side, and the call shows the inputs of all its tasks), and items in a call
    about one task. Only tasks that take no answer of another one are asked, so that any order is
    allowed.

    Every slot is compared with the same task on the same item in a call of its own. The tasks
    change places from item to item, so that each stands at each position about equally often, and
    the items of a call are drawn anew for each size: size and position are not confounded. What
    does not fill a call of the size is not asked.

    A difference is the mean over items of (mean score of the item's slots together - the same slots
    alone), with the interval of `stats.difference`: slots of one item are no independent
    observations. **The loss begins** at the smallest size whose interval lies below 0 (each
    interval holds for itself; nothing is done about looking at several). The curve is fitted as
    `curve.fit` says.

    Args:
        datasets: The data sets; of each the first test rows are asked.
        model: A model or its name; without one, that of the settings. One with a cache of replies
            would tell the time and the tokens of the cache.
        tasks: Numbers of tasks in a call. Those above the number of tasks are left out.
        items: Numbers of items in a call. Those above the number of rows are left out.
        rows: Test rows of each data set, at most.
        demos: Demonstrations in each call, drawn from the train rows that do not have the inputs of
            a test row, nor those that one of the tasks reads.
        seed: Draws demonstrations, groups and the order of asking.
        repair: What is done about slots that failed; without it nothing, so that a reply counts as
            it came.
        concurrency: Calls in flight at the same time; above 1 the seconds are those of waiting.
        confidence: Of the intervals.
        record: A folder in which every reply is kept, so that a run that was stopped is taken up
            there again, and pays for nothing twice.
        progress: Called after every item of every job: `design(...).steps` times.

    Raises:
        IncompleteRun: Calls failed for good (an outage, a spent budget); it names the items, each
            with its data set.
        DataError: The data sets do not suffice, or an argument makes no sense.
        ModelError: The model cannot be used at all.
    """
    check_options(confidence=confidence, record=record, progress=progress)
    planned = design(datasets, tasks=tasks, items=items, rows=rows, demos=demos, seed=seed)
    asked = as_model(model)
    found: list[Seen] = []
    for job in planned.jobs:
        measured = compare(
            job.program,
            planned.rows(job),
            [Arm(job.name, job.plan)],
            model=asked,
            repair=Repair.none() if repair is None else repair,
            concurrency=concurrency,
            record=record,
            progress=progress,
        )
        found += seen(job, measured)
    return Findings(
        slots=paired(planned.sources, found),
        tasks={one.name: tuple(task.name for task in one.tasks) for one in planned.sources},
        model=asked.name,
        demos=demos,
        held_back={one.name: one.held_back for one in planned.sources if one.held_back},
        serial=concurrency == 1,
        seed=seed,
        confidence=confidence,
    )
