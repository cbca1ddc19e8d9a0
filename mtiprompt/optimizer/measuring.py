"""What a search asks for is answered here: points are run on rows, and scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Literal, NamedTuple

from mtiprompt import settings
from mtiprompt.combine import Combined
from mtiprompt.dataset import Row
from mtiprompt.drivers import run_many
from mtiprompt.engine import converse
from mtiprompt.errors import BudgetExceeded, IncompleteRun
from mtiprompt.evaluation.outcome import Outcome, outcome
from mtiprompt.evaluation.scores import score_table
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.fakes import tokens_in
from mtiprompt.models.watch import prompt_tokens
from mtiprompt.optimizer.asked import PurposeModel
from mtiprompt.optimizer.found import Ask
from mtiprompt.optimizer.measured import Evaluation
from mtiprompt.optimizer.point import Point
from mtiprompt.optimizer.space import Space
from mtiprompt.plan import Plan
from mtiprompt.ready import Ready
from mtiprompt.repair import DEFAULT, Repair
from mtiprompt.result import Call
from mtiprompt.tasks import Metric
from mtiprompt.wire import Usage
from mtiprompt.wording import Templates

Stage = Literal["bootstrap", "reflect", "search", "confirm"]
"""What calls are for."""
AHEAD: tuple[Stage, ...] = ("bootstrap", "reflect")
"""Those before the search."""

TRIES = 3
"""How often a row is run at most that an outage leaves without an answer."""


class Way(NamedTuple):
    """A point, ready to be run.

    Attributes:
        point: The point.
        program: The program.
        plan: Its plan.
    """

    point: Point
    program: Combined
    plan: Plan


def way_of(space: Space, point: Point) -> Way:
    """A point of a space, ready to be run."""
    return Way(point, space.program, space.plan(point))


@dataclass
class Ledger:
    """What calls cost.

    Attributes:
        calls: Calls of the rows that were answered, those that were free included: the same
            whether they were made now, before or never.
        spent: What was paid, apart by stage, repairs being one of their own. What a record has is
            there as it was paid the first time.
        whole: For each point, what its rows take when every call is paid, those before the search
            left out.
        rows: For each point, how many rows that is.
    """

    calls: int = 0
    spent: Usage = field(default_factory=Usage)
    whole: dict[Point, Usage] = field(default_factory=dict)
    rows: dict[Point, int] = field(default_factory=dict)

    def pay(self, one: Outcome, stage: Stage) -> None:
        """Note what a row cost, whatever became of it."""
        for call in one.calls:
            if call.reply is None or not call.reply.details.get("shared"):
                purpose = "repair" if call.request.purpose == "repair" else stage
                self.spent += replace(call.usage, by_purpose={}).labelled(purpose)

    def add(self, point: Point, one: Outcome, stage: Stage) -> None:
        """Note what a row that was answered takes at a point."""
        self.calls += calls_of(one)
        if stage in AHEAD:
            return
        usage = sum(map(_whole, one.calls), Usage())
        self.whole[point] = self.whole.get(point, Usage()) + usage
        self.rows[point] = self.rows.get(point, 0) + 1


def _whole(call: Call) -> Usage:
    """What a call costs when it is paid; of one from a cache the tokens, four characters each."""
    usage = replace(call.usage, by_purpose={})
    if usage.calls or call.reply is None:
        return usage
    written = tokens_in(call.reply.text)
    return Usage(calls=1, prompt_tokens=prompt_tokens(call.request), completion_tokens=written)


class Measuring:
    """Runs points on rows.

    Args:
        model: Who answers.
        repair: What is done about slots that failed.
        metrics: Metrics for single tasks, in the place of their own.
        concurrency: Calls in flight at the same time.
        progress: Called after every row that was answered.

    Attributes:
        ledger: What it cost.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        repair: Repair = DEFAULT,
        metrics: Mapping[str, Metric] | None = None,
        concurrency: int = 1,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.ledger = Ledger()
        self.metrics = metrics
        self._model = model
        self._repair = repair
        self._concurrency = concurrency
        self._progress = progress

    def evaluations(
        self, space: Space, rows: Sequence[Row], wave: Sequence[Ask], stage: Stage
    ) -> list[Evaluation]:
        """What comes of points on rows, in the order of asking; fewer where the budget ended.

        Args:
            space: Where the points lie.
            rows: The rows that are numbered; each has gold for every task.
            wave: What is asked for.
            stage: What for.

        Raises:
            IncompleteRun: Calls failed for good.
            ModelError: The model cannot be used at all.
        """
        ways = {ask.point: way_of(space, ask.point) for ask in wave}
        jobs = [(ways[ask.point], rows[item]) for ask in wave for item in ask.items]
        outcomes, found = iter(self.outcomes(jobs, stage)), []
        for ask in wave:
            mine = [one for _, one in zip(ask.items, outcomes, strict=False)]
            if len(mine) < len(ask.items):
                break
            here = [rows[item] for item in ask.items]
            table = score_table(space.program, here, mine, self.metrics)
            scores = {name: tuple(by_id[row.id] for row in here) for name, by_id in table.items()}
            found.append(Evaluation(ask.point, ask.items, scores, sum(map(calls_of, mine))))
        return found

    def outcomes(self, jobs: Sequence[tuple[Way, Row]], stage: Stage) -> list[Outcome]:
        """What became of rows, in their order, up to the first that the budget left out.

        Rows that an outage has left without an answer are run again when the others are done.

        Args:
            jobs: Rows, each with the way in which it is run.
            stage: What for.

        Raises:
            IncompleteRun: They have none after that either.
            ModelError: The model cannot be used at all.
        """
        found: dict[int, Outcome] = {}
        outages: dict[int, Outcome] = {}
        for _ in range(TRIES):
            left = [n for n in range(len(jobs)) if n not in found]
            outages, came = {}, 0
            for n, one in zip(left, self._run([jobs[n] for n in left], stage), strict=False):
                came += 1
                self.ledger.pay(one, stage)
                if one.outage is not None:
                    outages[n] = one
                    continue
                self.ledger.add(jobs[n][0].point, one, stage)
                found[n] = one
                self._progress()
            if came < len(left) or any(map(_is_unpaid, outages.values())):
                break
            if not outages:
                return [found[n] for n in range(len(jobs))]
        else:
            [(n, first), *_] = outages.items()
            assert first.outage
            raise IncompleteRun(
                f"row {jobs[n][1].id!r:.80} has no answer, as {first.outage.message}",
                items=[jobs[n][1].id for n in outages],
            )
        return [found[n] for n in takewhile(found.__contains__, range(len(jobs)))]

    def _run(self, jobs: Sequence[tuple[Way, Row]], stage: Stage) -> Iterator[Outcome]:
        purpose = stage if stage in AHEAD else "optimize"
        model = PurposeModel(self._model, purpose)
        templates = Templates(settings.one("templates"))
        ready = {
            way.point: Ready(way.program, way.plan, (model,) * len(way.plan.call_groups), templates)
            for way, _ in jobs
        }
        talks = (converse(ready[way.point], [row.inputs], self._repair) for way, row in jobs)
        for (_, row), result in zip(
            jobs, run_many(talks, concurrency=self._concurrency), strict=False
        ):
            yield outcome(row.id, result)


def calls_of(one: Outcome) -> int:
    """Calls that a row took, those that were answered without asking the model included."""
    return sum(max(1, call.usage.calls) for call in one.calls)


def _is_unpaid(one: Outcome) -> bool:
    return one.outage is not None and isinstance(one.outage.error, BudgetExceeded)
