"""What a report says of a choice of the planner: verdict, candidates, losses, what it cost."""

from __future__ import annotations

from collections.abc import Iterator

from mtiprompt.planner import Candidate, Choice
from mtiprompt.planner.rules import TaskFinding
from mtiprompt.report.figures import NONE, amount, listed, signed
from mtiprompt.report.parts import Chart, Part, Series, Table, Text


def parts_of(choice: Choice, name: str = "plan") -> list[Part]:
    """The parts of a report about a choice.

    Args:
        choice: What the planner found.
        name: What was planned.
    """
    parts: list[Part] = [
        Text(tuple(_verdict(choice)), f"{name}: verdict"),
        table_of(choice, name),
    ]
    parts += _losses(choice, name)
    return parts


def table_of(choice: Choice, name: str = "plan") -> Table:
    """The candidates: verdict, price and the loss of each task.

    Args:
        choice: What the planner found.
        name: What was planned.
    """
    tasks = [one for group in choice.plan.call_groups for one in group.tasks]
    return Table(
        heading=f"{name}: candidates",
        columns=("", "verdict", "rows", "calls", "tokens in", "tokens out", "cost", "seconds",
                 *tasks, "reason"),
        rows=tuple(_row(one, tasks, chosen=one is choice.chosen) for one in choice.candidates),
        note=_note(choice),
    )  # fmt: skip


def _row(one: Candidate, tasks: list[str], *, chosen: bool) -> tuple[str, ...]:
    price, split = one.price, one.split
    known = (price.dollars_cached, split.dollars_cached)
    return (
        one.name,
        f"{one.verdict}, chosen" if chosen else one.verdict,
        str(one.rows),
        amount(price.calls),
        amount(price.prompt),
        amount(price.completion),
        _share(*known),
        _share(price.longest, split.longest),
        *(_loss(one.tasks.get(task)) for task in tasks),
        one.reason,
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
    return f"{signed(-one.loss)} [{signed(-high)}, {signed(-low)}]"


def _note(choice: Choice) -> str:
    intervals = (
        f"confidence sequences, each end with {choice.confidence:.0%} over all candidates"
        if choice.rule == "guarantee"
        else f"{choice.confidence:.0%} credible, shrunk towards the other tasks"
    )
    return (
        "Calls and tokens are those of a row. Cost (with the provider's prompt cache) and seconds "
        "(calls that can go at the same time do) are told of split's for the same rows. Below each "
        f"task: its score in company less that alone [interval: {intervals}]."
    )


def _verdict(choice: Choice) -> Iterator[str]:
    chosen = choice.chosen
    yield f"Chosen: {chosen.name} ({chosen.verdict}: {chosen.reason})."
    yield _promise(choice)
    if choice.agreement:
        yield (
            f"There is no gold for {listed(choice.agreement)}: there, agreement with the split "
            "plan's answers was measured, and what is called a loss is a share of other answers."
        )
    if chosen.verdict == "pinned" and (rival := _rival(choice)):
        cost = _share(chosen.price.dollars_cached, chosen.split.dollars_cached)
        other = _share(rival.price.dollars_cached, rival.split.dollars_cached)
        yield f"The pin: {chosen.name} costs {cost} of split, the best that was accepted, " \
              f"{rival.name}, {other}."  # fmt: skip
    yield _spent(choice)
    if choice.exhausted:
        yield "The budget ended the search; with a larger one more plans would have been tried."


def _promise(choice: Choice) -> str:
    if choice.chosen.verdict == "pinned":
        return "A pinned plan is run whatever was measured, so nothing is promised of it."
    if choice.chosen.verdict == "baseline":
        return "No other plan was found safe and better, so each task keeps a call of its own."
    if choice.rule == "guarantee":
        wrong = 1 - choice.confidence
        return (
            "Guarantee: on rows like these, the probability that a plan is accepted in which any "
            f"task loses more than {choice.margin:g} is at most {wrong:.0%}, whatever was tried."
        )
    return (
        "Expected: on the rows seen it is probable that no task loses more than "
        f"{choice.margin:g}; this is no guarantee."
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
    told = f"Measuring took {spent.calls:,} calls and {tokens:,} tokens"
    if choice.pays_after is None:
        return f"{told}; the chosen plan is not cheaper than split, so that is not earned back."
    return f"{told}, which the chosen plan has earned back after {choice.pays_after:,} rows."


def _losses(choice: Choice, name: str) -> Iterator[Chart]:
    measured = [one for one in choice.candidates if one.tasks]
    if not measured:
        return
    tasks = tuple(measured[0].tasks)
    series = []
    for one in measured:
        seen = [one.tasks[task] for task in tasks]
        loss = tuple(each.loss if each.n else 0.0 for each in seen)
        low, high = (tuple(each.interval[end] for each in seen) for end in (0, 1))
        series.append(Series(one.name, tasks, loss, low, high))
    yield Chart(
        heading=f"{name}: what each task loses in company",
        kind="bars",
        series=tuple(series),
        y_title="score alone, less that in company",
        note=f"A task may lose {choice.margin:g}.",
    )
