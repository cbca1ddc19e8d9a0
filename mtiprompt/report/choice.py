"""What a report says of a choice of the planner: verdict, candidates, losses, what it cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from mtiprompt.planner import Candidate, Choice
from mtiprompt.planner.rules import TaskFinding
from mtiprompt.report.figures import NONE, amount, listed, signed, span
from mtiprompt.report.parts import Chart, Part, Series, Table, Text
from mtiprompt.stats import Interval

UNSEEN = TaskFinding("undecided", 0, math.nan, Interval(math.nan, math.nan))
"""Of a task that was not measured in some company: nothing, which is no loss of 0."""


def parts_of(choice: Choice, name: str = "plan") -> list[Part]:
    """The parts of a report about a choice.

    Args:
        choice: What the planner found.
        name: What was planned.
    """
    parts: list[Part] = [verdict_of(choice, name), table_of(choice, name), reasons_of(choice, name)]
    parts.append(_prices(choice, name))
    if found := company_of(choice):
        parts.append(_company(found, choice, name))
    return [*parts, *_losses(choice, name)]


def verdict_of(choice: Choice, name: str = "plan") -> Text:
    """What was chosen, what that promises, what it cost to find out, and what calls take.

    Args:
        choice: What the planner found.
        name: What was planned.
    """
    return Text(tuple(_verdict(choice)), f"{name}: verdict")


def table_of(choice: Choice, name: str = "plan") -> Table:
    """The candidates: verdict, what they cost beside split, and the task that loses most.

    Args:
        choice: What the planner found.
        name: What was planned.
    """
    return Table(
        heading=f"{name}: candidates",
        columns=("", "verdict", "cost", "time", "worst task"),
        rows=tuple(_row(one, chosen=one is choice.chosen) for one in choice.candidates),
        note=_note(choice),
    )


def reasons_of(choice: Choice, name: str = "plan") -> Text:
    """Why each candidate has its verdict, and on how many rows it was found.

    Args:
        choice: What the planner found.
        name: What was planned.
    """
    told = (
        f"{one.name}: {one.verdict}, {one.rows:,} rows: {one.reason}" for one in choice.candidates
    )
    return Text(tuple(told), f"{name}: reasons")


def _row(one: Candidate, *, chosen: bool) -> tuple[str, ...]:
    price, split = one.price, one.split
    worst = max(
        (name for name, task in one.tasks.items() if task.n),
        key=lambda name: (one.tasks[name].best, one.tasks[name].interval.high),
        default=None,
    )
    return (
        one.name,
        "chosen" if chosen else one.verdict,
        _share(price.dollars_cached, split.dollars_cached),
        _share(price.longest, split.longest),
        NONE if worst is None else f"{worst} {_loss(one.tasks[worst])}",
    )


def _prices(choice: Choice, name: str) -> Table:
    """What each candidate takes for a row; seconds as measured, and by the model of time."""
    timing = choice.timing
    columns = ["", "calls", "tokens in", "cached", "tokens out", "seconds", "at once"]
    if timing is not None:
        columns += ["seconds, foretold", "at once, foretold"]

    def cells(one: Candidate) -> tuple[str, ...]:
        if not one.rows:
            return one.name, *(NONE for _ in columns[1:])
        price, most = one.price, len(one.plan.call_groups)
        told = [price.calls, price.prompt, price.cached, price.completion]
        told += [price.seconds, price.longest]
        if timing is not None:
            told += [price.foretold(timing, flight=flight) for flight in (1, most)]
        return one.name, *map(amount, told)

    return Table(
        heading=f"{name}: prices",
        columns=tuple(columns),
        rows=tuple(map(cells, choice.candidates)),
        note="For a row. Cached: as the model reported it. Seconds: with its calls one after the "
        "other; at once: with those at the same time that need no answers of each other. Foretold: "
        "by the model of time.",
    )


def _share(price: float | None, split: float | None) -> str:
    return f"{price / split:.0%}" if price is not None and split else NONE


def _loss(one: TaskFinding | None) -> str:
    """What a task gains or loses, with its interval; as everywhere, a loss is below 0."""
    if one is None or not one.n:
        return NONE
    low, high = one.interval
    if low == high == 0:
        return "as split"
    return f"{signed(-one.best)} {span(-high, -low)}"


def _note(choice: Choice) -> str:
    return (
        "Cost (with the provider's prompt cache) and time (calls that can go at the same time do) "
        "are told of split's for the same rows. Worst task: the one that loses most, its score in "
        f"company less that alone [interval: {_intervals(choice)}]."
    )


def _intervals(choice: Choice) -> str:
    if choice.rule == "guarantee":
        return f"confidence sequences, each end with {choice.confidence:.0%} over all candidates"
    return f"{choice.confidence:.0%} credible; it and the loss are shrunk towards the other tasks"


def _verdict(choice: Choice) -> Iterator[str]:
    chosen = choice.chosen
    yield f"Chosen: {chosen.name} ({chosen.verdict}: {chosen.reason})."
    yield _promise(choice)
    if choice.agreement:
        yield (
            f"There is no gold for {listed(choice.agreement)}: there, agreement with the split "
            "plan's answers was measured, and what is called a loss is a share of other answers."
        )
    if chosen.verdict == "pinned" and chosen.rows and (rival := _rival(choice)):
        cost = _share(chosen.price.dollars_cached, chosen.split.dollars_cached)
        other = _share(rival.price.dollars_cached, rival.split.dollars_cached)
        yield f"The pin: {chosen.name} costs {cost} of split, the best that was accepted, " \
              f"{rival.name}, {other}."  # fmt: skip
    yield _spent(choice)
    if (timing := choice.timing) is not None:
        yield f"The time of calls: {timing} (the median miss), over {timing.n:,} calls."
    if choice.exhausted:
        yield "The budget ended the search; with a larger one more plans would have been tried."


def _promise(choice: Choice) -> str:
    """What is promised of the chosen plan; of what pins do to it, nothing is."""
    if choice.chosen.verdict == "pinned":
        return "A pinned plan is run whatever was measured, so nothing is promised of it."
    if len(choice.candidates) == 1:
        return "No other plan was measured, so each task keeps a call of its own."
    if choice.chosen.verdict == "baseline":
        return "No other plan was found safe and better, so each task keeps a call of its own."
    pinned = [name for name, one in choice.chosen.tasks.items() if one.verdict != "accepted"]
    but, rest = "", ""
    if pinned:
        but, rest = f" but {listed(pinned)}", " Of what you pinned nothing is promised."
    if choice.rule == "guarantee":
        wrong = 1 - choice.confidence
        return (
            "Guarantee: on rows like these, the probability that a plan is accepted in which any "
            f"task{but} loses more than {choice.margin:g} is at most {wrong:.0%}, whatever was "
            f"tried.{rest}"
        )
    return (
        f"Expected: on the rows seen it is probable that no task{but} loses more than "
        f"{choice.margin:g}; this is no guarantee.{rest}"
    )


def _rival(choice: Choice) -> Candidate | None:
    accepted = [one for one in choice.candidates if one.verdict in ("accepted", "baseline")]
    return min(
        accepted,
        key=lambda one: (one.price.dollars_cached or 0) / (one.split.dollars_cached or 1),
        default=None,
    )


def _spent(choice: Choice) -> str:
    spent = choice.spent
    tokens = spent.prompt_tokens + spent.completion_tokens
    if not choice.candidates[0].rows:
        return "No call was made, as no other plan could be taken."
    told = f"Measuring took {spent.calls:,} calls and {tokens:,} tokens"
    if not choice.chosen.rows:
        return f"{told}."
    if choice.pays_after is None:
        return f"{told}; the chosen plan is not cheaper than split, so that is not earned back."
    return f"{told}, which the chosen plan has earned back after {choice.pays_after:,} rows."


Company = dict[str, dict[str, TaskFinding]]
"""Calls that several tasks shared, by their name, and what each task in them was found to lose."""


def company_of(choice: Choice) -> Company:
    """What each task loses in each call that it was measured in with others.

    A call is named by its tasks, and by what else its candidate does not do as the split plan does.

    Args:
        choice: What the planner found.
    """
    found: Company = {}
    for one in sorted(choice.candidates, key=lambda one: one.rows):  # of equal calls the last stays
        for group in one.plan.call_groups:
            if one.tasks and len(group.tasks) > 1:
                name = _called(group.tasks, list(one.tasks))
                told = ", ".join(filter(None, (name, one.name.partition(", ")[2])))
                found[told] = {task: one.tasks[task] for task in group.tasks}
    return found


def _called(tasks: Sequence[str], whole: Sequence[str]) -> str:
    """The tasks of a call, in few words: all, all but some, or their names."""
    out = [one for one in whole if one not in tasks]
    if not out:
        return "all"
    return f"all but {listed(out)}" if len(out) < len(tasks) else listed(tasks)


def _company(found: Company, choice: Choice, name: str) -> Chart:
    tasks = [one for group in choice.plan.call_groups for one in group.tasks]
    return Chart(
        heading=f"{name}: who disturbs whom",
        kind="heat",
        series=tuple(_heat(task, found) for task in tasks),
        note=_caution(found, choice),
    )


def _heat(task: str, found: Company) -> Series:
    """The row of a task: what it gains in each call, nothing where it was not measured."""
    seen = [one.get(task, UNSEEN) for one in found.values()]
    return Series(
        task,
        tuple(found),
        tuple(-one.best if one.n else math.nan for one in seen),
        tuple(-one.interval.high for one in seen),
        tuple(-one.interval.low for one in seen),
        tuple(f"{_loss(one)}\nn={one.n}" if one.n else "" for one in seen),
    )


def _caution(found: Company, choice: Choice) -> str:
    told = (
        "A column is a call that was measured, a row what a task in it gains, or loses, beside "
        f"being asked alone [interval: {_intervals(choice)}]."
    )
    if any(len(one) > 2 for one in found.values()):
        told += (
            " Where more than two tasks share a call, this is correlation: it does not say which "
            "of the others disturbs."
        )
    return told


def _losses(choice: Choice, name: str) -> Iterator[Chart]:
    measured = [one for one in choice.candidates if one.tasks]
    if not measured:
        return
    tasks = tuple(measured[0].tasks)
    series = []
    for one in measured:
        seen = [one.tasks[task] if one.tasks[task].n else UNSEEN for task in tasks]
        loss = tuple(task.best for task in seen)
        low, high = (tuple(each.interval[end] for each in seen) for end in (0, 1))
        series.append(Series(one.name, tasks, loss, low, high))
    yield Chart(
        heading=f"{name}: what each task loses in company",
        kind="bars",
        series=tuple(series),
        y_title="score alone, less that in company",
        note=f"A task may lose {choice.margin:g}.",
    )
