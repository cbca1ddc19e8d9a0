"""A shadow in one run of `map`: some rows are asked a second time, split, behind the first.

The second conversation begins when the first is at its end, so that it takes neither a turn nor a
budget from it; the result that is given is always that of the first.
"""

from __future__ import annotations

import logging
from collections.abc import (
    AsyncGenerator,
    Callable,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, closing
from dataclasses import replace
from numbers import Real
from typing import Any, NamedTuple

from mtiprompt.combine import Combined
from mtiprompt.engine import converse
from mtiprompt.errors import ContentRefused, ContextTooLong, DataError, MTIError
from mtiprompt.metrics import metric
from mtiprompt.plan import Plan
from mtiprompt.ready import Ready
from mtiprompt.repair import Repair
from mtiprompt.result import Answer, Failure, Result, plain, slots
from mtiprompt.steps import Ask, Conversation, Finished, Partly, Step
from mtiprompt.watch.shadow import Score, Shadow
from mtiprompt.watch.unfuse import split

logger = logging.getLogger(__name__)

PURPOSE = "shadow"
"""What the second calls are for; in usages and meters they count under this name."""
OUTAGES = {"call failed", "budget spent", "upstream failed"}


class _Pair(NamedTuple):
    """A row that was run both ways, and the tasks about which it tells something."""

    tasks: tuple[str, ...]
    item: Mapping[str, Any]
    ours: Result
    alone: Result


class Run:
    """A shadow in one run of `map`.

    Args:
        shadow: What is known, and which rows are in it.
        program: The program.
        plan: How it is run.
        prepare: What makes a plan ready.

    Raises:
        DataError: The shadow is for another plan.
    """

    def __init__(
        self, shadow: Shadow, program: Combined, plan: Plan, prepare: Callable[[Plan], Ready]
    ) -> None:
        shadow.begin(program, plan)
        self._shadow, self._program, self._plan, self._prepare = shadow, program, plan, prepare
        self._split = split(program, plan)
        self._apart: frozenset[str] = frozenset()
        self._now = plan
        self._begun = self._given = 0
        self._first = shadow.rows + 1
        self._pairs: dict[int, _Pair] = {}

    def ready(self) -> Ready:
        """What the next rows are run with."""
        if self._shadow.apart != self._apart:
            self._apart = self._shadow.apart
            self._now = self._shadow.plan(self._program, self._plan)
        return self._prepare(self._now)

    def converse(
        self, ready: Ready, items: Sequence[Mapping[str, Any]], repair: Repair
    ) -> Conversation:
        """As `engine.converse`; items in the shadow are asked for again, split."""
        start = self._begun
        self._begun += len(items)
        talk = converse(ready, items, repair)
        tasks = self._shadow.watched(ready.plan)
        taken = [
            n for n in range(len(items)) if tasks and self._shadow.takes(self._first + start + n)
        ]
        return self._both(talk, tasks, items, taken, start, repair) if taken else talk

    def results(self, results: Generator[Result, None, None]) -> Iterator[Result]:
        """The same results; each is looked at before it is given."""
        try:
            with closing(results):
                for result in results:
                    self._look()
                    yield result
        finally:
            self._shadow.save()

    async def aresults(self, results: AsyncGenerator[Result, None]) -> AsyncGenerator[Result, None]:
        """As `results`, in an event loop."""
        try:
            async with aclosing(results):
                async for result in results:
                    self._look()
                    yield result
        finally:
            self._shadow.save()

    def _look(self) -> None:
        pair = self._pairs.pop(self._given, None)
        self._given += 1
        if pair is None:
            self._shadow.skip()
        else:
            self._shadow.look(_losses(self._program, pair, self._shadow.score))

    def _both(
        self,
        talk: Conversation,
        tasks: tuple[str, ...],
        items: Sequence[Mapping[str, Any]],
        taken: Sequence[int],
        start: int,
        repair: Repair,
    ) -> Conversation:
        """The conversation about items, and behind it one for each that is in the shadow."""
        step = next(talk)
        while step.results is None:
            step = talk.send((yield step))
        results = list(step.results)
        for place in taken:
            if not any(isinstance(one, Answer) for one in slots(results[place]).values()):
                continue  # an outage, most likely, to which no calls should be added
            again = converse(self._prepare(self._split), [items[place]], repair)
            step, alone = yield from _behind(step, again)
            if alone is None:
                break  # its other calls may still come back; they would be taken for the next one's
            self._pairs[start + place] = _Pair(tasks, items[place], results[place], alone)
            results[place] = self._with_calls(results[place], alone)
        yield step._replace(results=tuple(results))

    def _with_calls(self, ours: Result, alone: Result) -> Result:
        """A result that also tells of the calls of its shadow."""
        calls, usage = ours.calls + alone.calls, ours.usage + alone.usage
        return Result(self._program, slots(ours), calls, usage)


def _behind(
    before: Step, talk: Conversation
) -> Generator[Step, Finished | Partly, tuple[Step, Result | None]]:
    """Hold a conversation in the shadow.

    Args:
        before: The last step of the one before, which was not handed on yet.
        talk: The conversation.

    Returns:
        The last step, which is still to be handed on, and the result; None if there is none.
    """
    keep, settled = before.keep, before.settled
    try:
        step = next(talk)
        while step.results is None:
            heard = yield Step(tuple(map(_marked, step.start)), keep, settled)
            keep, settled = None, ()
            step = talk.send(heard)
            keep = step.keep
    except MTIError as error:
        logger.info("a row has no shadow: %s", type(error).__name__)
        return Step((), keep, settled), None
    return Step((), keep, settled), step.results[0]


def _marked(ask: Ask) -> Ask:
    return ask._replace(request=replace(ask.request, purpose=PURPOSE))


def _losses(program: Combined, pair: _Pair, score: Score | None) -> dict[str, float]:
    """What a row tells of its tasks; nothing where a call failed that has nothing to do with it."""
    found = {}
    for name in pair.tasks:
        one, other = slots(pair.ours)[name], slots(pair.alone)[name]
        if isinstance(other, Failure):
            logger.info("a row has no shadow for the task %r: %s", name, other.kind)
        elif not (isinstance(one, Failure) and _is_outage(one, pair.ours)):
            loss = _scored(pair, name, score) if score else _disagreement(program, pair, name)
            if loss is not None:
                found[name] = loss
    return found


def _is_outage(failure: Failure, result: Result) -> bool:
    """Whether a slot failed for a reason that says nothing about the model's answers."""
    if failure.kind == "upstream failed":
        return any(_is_outage(one, result) for one in result.failures.values() if one.error)
    own = isinstance(failure.error, ContextTooLong | ContentRefused)
    return failure.kind in OUTAGES and not own


def _disagreement(program: Combined, pair: _Pair, task: str) -> float:
    if task in pair.ours.failures:
        return 1.0
    ours, alone = _answer(pair.ours, task), _answer(pair.alone, task)
    scored = metric(program.tasks[task].metric)(ours, alone, pair.item)
    return 1 - _checked(scored, f"the metric of {task!r}")


def _scored(pair: _Pair, task: str, score: Score) -> float | None:
    """What the split answer scores more; None if one of the scores is not known."""
    known: list[float] = []
    for result in (pair.alone, pair.ours):
        is_lost = task in result.failures
        value = 0.0 if is_lost else score(pair.item, task, _answer(result, task))
        if value is None:
            return None
        known.append(_checked(value, f"the score of {task!r}"))
    return known[0] - known[1]


def _answer(result: Result, task: str) -> Any:
    """The answer of a task as plain data, as metrics take it; None if it failed."""
    return plain(result)["answers"].get(task)


def _checked(value: Any, what: str) -> float:
    if not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise DataError(f"{what} is {value!r:.80}", hint="a score is a number from 0 to 1")
    return float(value)
