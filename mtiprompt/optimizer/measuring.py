"""What a search asks for is answered here: points are run on rows, and scored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from mtiprompt.models.budget import Budget
from mtiprompt.models.fakes import tokens_in
from mtiprompt.models.resume import go_on, is_refused
from mtiprompt.models.watch import prompt_tokens
from mtiprompt.optimizer.asked import PurposeModel
from mtiprompt.optimizer.found import Ask
from mtiprompt.optimizer.measured import Evaluation
from mtiprompt.optimizer.point import Point
from mtiprompt.optimizer.space import Space
from mtiprompt.plan import Plan
from mtiprompt.ready import Ready
from mtiprompt.repair import DEFAULT, Repair
from mtiprompt.result import Call, Failure
from mtiprompt.tasks import Metric
from mtiprompt.wire import Reply, Request, Usage
from mtiprompt.wording import Templates

Stage = Literal["bootstrap", "reflect", "search", "confirm"]
"""What calls are for."""
AHEAD: tuple[Stage, ...] = ("bootstrap", "reflect")
"""Those before the search."""

PAUSES = (1.0, 5.0, 20.0)
"""Seconds before a row is run again that an outage has left without an answer; from the first on
again as soon as one is answered."""
ABREAST = 8
"""Rows of one point before the same rows of the other, in the confirmation: a budget that ends in
the middle leaves pairs, and a model that keeps the beginning of prompts can use it."""


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
            whether they were made now, before or never. And those that an outage cost.
        guessed: What was guessed of the calls that were paid and answered: four characters a token.
        spent: What was paid, apart by stage, repairs being one of their own. What a record has is
            there as it was paid the first time.
        whole: For each point, what each of its rows takes when every call is paid, by row id;
            those before the search left out.
    """

    calls: int = 0
    guessed: Usage = field(default_factory=Usage)
    spent: Usage = field(default_factory=Usage)
    whole: dict[Point, dict[str, Usage]] = field(default_factory=dict)

    def pay(self, one: Outcome, stage: Stage) -> None:
        """Note what a row cost, whatever became of it."""
        for call in one.calls:
            if call.reply is None or not call.reply.details.get("shared"):
                purpose = "repair" if call.request.purpose == "repair" else stage
                self.spent += replace(call.usage, by_purpose={}).labelled(purpose)
                if call.usage.calls and call.reply is not None:
                    self.guessed += _guess(call.request, call.reply)

    def add(self, point: Point, one: Outcome, stage: Stage) -> None:
        """Note what a row that was answered takes at a point."""
        self.calls += calls_of(one.calls)
        if stage in AHEAD:
            return
        self.whole.setdefault(point, {})[one.id] = sum(map(_whole, one.calls), Usage())


def _whole(call: Call) -> Usage:
    """What a call costs when it is paid; of one from a cache the tokens, four characters each."""
    usage = replace(call.usage, by_purpose={})
    return usage if usage.calls or call.reply is None else _guess(call.request, call.reply)


def _guess(request: Request, reply: Reply) -> Usage:
    written = tokens_in(reply.text)
    return Usage(calls=1, prompt_tokens=prompt_tokens(request), completion_tokens=written)


class Measuring:
    """Runs points on rows.

    Args:
        model: Who answers.
        repair: What is done about slots that failed.
        metrics: Metrics for single tasks, in the place of their own.
        concurrency: Calls in flight at the same time.
        budget: What the calls are paid from: no pause goes beyond its seconds.
        record: Where replies are kept, if they are, for what is said after an outage.
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
        budget: Budget | None = None,
        record: object = None,
        progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.ledger = Ledger()
        self.metrics = metrics
        self._model = model
        self._repair = repair
        self._concurrency = concurrency
        self._budget = budget
        self._record = record
        self._answered: set[str] = set()
        self._progress = progress

    def evaluations(
        self, space: Space, rows: Sequence[Row], wave: Sequence[Ask], stage: Stage
    ) -> list[Evaluation]:
        """What comes of points on rows, in the order of asking; fewer where the budget ended.

        In the confirmation what was measured until then is there too, with the first of its items.

        Args:
            space: Where the points lie.
            rows: The rows that are numbered; each has gold for every task.
            wave: What is asked for.
            stage: What for.

        Raises:
            IncompleteRun: Calls failed for good.
            ModelError: The model cannot be used at all.
            DataError: A metric failed.
        """
        ways = {ask.point: way_of(space, ask.point) for ask in wave}
        most = max(len(ask.items) for ask in wave)
        size = ABREAST if stage == "confirm" else most
        places = [
            (n, item)
            for first in range(0, most, size)
            for n, ask in enumerate(wave)
            for item in ask.items[first : first + size]
        ]
        came: list[list[Outcome]] = [[] for _ in wave]
        outcomes = self.outcomes([(ways[wave[n].point], rows[item]) for n, item in places], stage)
        for (n, _), one in zip(places, outcomes, strict=False):
            came[n].append(one)
        found = []
        for ask, mine in zip(wave, came, strict=True):
            if mine and (stage == "confirm" or len(mine) == len(ask.items)):
                items = ask.items[: len(mine)]
                here = [rows[item] for item in items]
                table = score_table(space.program, here, mine, self.metrics)
                scores = {
                    name: tuple(by_id[row.id] for row in here) for name, by_id in table.items()
                }
                calls = sum(calls_of(one.calls) for one in mine)
                found.append(Evaluation(ask.point, items, scores, calls))
        return found

    def outcomes(self, jobs: Sequence[tuple[Way, Row]], stage: Stage) -> list[Outcome]:
        """What became of rows, in their order, up to the first that the budget left out.

        Where an outage leaves a row without an answer no further one is begun. After a pause it is
        run again, alone, and when it is answered the rest goes on. So an outage costs few calls;
        those of a row that failed are among the calls of its outcome. A row that the provider
        refuses, as it would each time, is not waited for; where it was answered in another way it
        is this way that is refused, as with a prompt that is too long, and all its scores are 0.

        Args:
            jobs: Rows, each with the way in which it is run.
            stage: What for.

        Raises:
            IncompleteRun: After the last pause there is still no answer, or a row is refused.
            ModelError: The model cannot be used at all.
        """
        found: dict[int, Outcome] = {}
        lost: dict[int, tuple[Call, ...]] = {}
        pauses, is_down = [*PAUSES], False
        while left := [n for n in range(len(jobs)) if n not in found]:
            now = left[:1] if is_down else left
            came, is_spent = self._pass([jobs[n] for n in now], stage)
            outages = list[tuple[str, Failure]]()
            for n, one in zip(now, came, strict=False):
                if one.outage is None:
                    found[n] = replace(one, calls=(*lost.pop(n, ()), *one.calls))
                else:
                    outages.append((one.id, one.outage))
                    lost[n] = (*lost.get(n, ()), *_failed(one))
            if is_spent:
                break
            is_down = bool(outages)
            if len(outages) < len(came):
                pauses = [*PAUSES]
            refused = [one for one in outages if is_refused(one[1].error)]
            if refused or (is_down and not pauses):
                ids = [jobs[n][1].id for n in sorted(lost)]
                id, outage = (refused or outages)[0]
                raise IncompleteRun(
                    f"row {id!r:.80} has no answer, as {outage.message}",
                    items=ids,
                    hint=go_on(self._record, ((id, one.error) for id, one in outages)),
                )
            if is_down:
                self._wait(pauses.pop(0))
        return [found[n] for n in takewhile(found.__contains__, range(len(jobs)))]

    def _pass(self, jobs: Sequence[tuple[Way, Row]], stage: Stage) -> tuple[list[Outcome], bool]:
        """What became of those rows that were begun, and whether the budget left some out."""
        came: list[Outcome] = []

        def is_down() -> bool:
            return any(one.outage is not None for one in came)

        for (way, _), one in zip(jobs, self._run(jobs, stage, is_down), strict=False):
            if one.outage and is_refused(one.outage.error) and one.id in self._answered:
                one = replace(one, answers={}, outage=None)
            came.append(one)
            self.ledger.pay(one, stage)
            if one.outage is None:
                if stage not in AHEAD:  # rows of train may have the ids of those of dev
                    self._answered.add(one.id)
                self.ledger.add(way.point, one, stage)
                self._progress()
            elif not _is_unpaid(one):
                self.ledger.calls += calls_of(_failed(one))
        return came, any(map(_is_unpaid, came)) or (len(came) < len(jobs) and not is_down())

    def _wait(self, pause: float) -> None:
        """Let an outage pass, unless the seconds would be over before."""
        if self._budget is None or pause < self._budget.left.seconds:
            time.sleep(pause)

    def _run(
        self, jobs: Sequence[tuple[Way, Row]], stage: Stage, is_down: Callable[[], bool]
    ) -> Iterator[Outcome]:
        begun = takewhile(lambda _: not is_down(), jobs)  # read when there is room for another
        purpose = stage if stage in AHEAD else "optimize"
        model = PurposeModel(self._model, purpose)
        templates = Templates(settings.one("templates"))
        ready = {
            way.point: Ready(way.program, way.plan, (model,) * len(way.plan.call_groups), templates)
            for way, _ in jobs
        }
        talks = (converse(ready[way.point], [row.inputs], self._repair) for way, row in begun)
        for (_, row), result in zip(
            jobs, run_many(talks, concurrency=self._concurrency), strict=False
        ):
            yield outcome(row.id, result)


def calls_of(calls: Iterable[Call]) -> int:
    """How many calls those of a row are, those answered without asking the model included."""
    return sum(max(1, call.usage.calls) for call in calls)


def _failed(one: Outcome) -> tuple[Call, ...]:
    return tuple(call for call in one.calls if call.reply is None)


def _is_unpaid(one: Outcome) -> bool:
    return one.outage is not None and isinstance(one.outage.error, BudgetExceeded)
