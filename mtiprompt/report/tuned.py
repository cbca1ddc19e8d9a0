"""What a report says of a search of the optimizer: verdict, gains, what was tried, effects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mtiprompt.optimizer import Tuned
from mtiprompt.optimizer.effects import Effect
from mtiprompt.optimizer.features import Column
from mtiprompt.optimizer.tuned import STANDS_OUT
from mtiprompt.planner.rules import Rule
from mtiprompt.report.figures import (
    NONE,
    amount,
    difference,
    is_told_apart,
    listed,
    signed,
    span,
)
from mtiprompt.report.parts import Chart, Part, Series, Table, Text
from mtiprompt.report.tried import SHOWN, against_cost, front_of, give_or_take, share_of
from mtiprompt.report.tried import called as called
from mtiprompt.report.tried import tried_of as tried_of

ORDER = ("place", "after")
"""The kinds of features that tell of the order of tasks."""

_WORDS = {
    "demo": "demo {}",
    "place": "place {} in its call",
    "after": "right after {}",
    "select": "demos of each item by {}",
    "size": "a larger call",
    "with": "in a call with {}",
    "reasoning": "a reason first",
    "notation": "notation {}",
    "instruction": "wording {}",
}


def parts_of(tuned: Tuned, name: str = "plan") -> list[Part]:
    """The parts of a report about a search.

    Args:
        tuned: What it found.
        name: What was tuned.
    """
    parts: list[Part] = [verdict_of(tuned, name)]
    if tuned.tasks:
        parts += [tasks_of(tuned, name), _gains(tuned, name)]
    parts += [_taken(tuned, name), _curve(tuned, name), against_cost(tuned, name)]
    parts += [front_of(tuned, name), tried_of(tuned, name, most=len(tuned.found.tried))]
    if tuned.space.variants:
        parts.append(_wordings(tuned, name))
    parts.append(effects_of(tuned, name, most=len(tuned.found.effects)))
    return [*parts, _spent(tuned, name)]


def verdict_of(tuned: Tuned, name: str = "plan") -> Text:
    """What came out, what that rests on, what it costs, and what it cost to find out.

    Args:
        tuned: What the search found.
        name: What was tuned.
    """
    return Text(tuple(_verdict(tuned)), f"{name}: verdict")


_TOLD: dict[Rule, tuple[str, str]] = {
    "guarantee": ("Better", "shown"),
    "expected": ("Probably better", "probable enough"),
}


def _verdict(tuned: Tuned) -> Iterator[str]:
    found = tuned.found
    seemed = called(found.candidate, found.baseline)
    better, enough = _TOLD[found.options.rule]
    if tuned.better:
        yield f"{better}: {seemed} ({found.reason})."
    else:
        worse = f"{listed(found.losing)} would get worse" if found.losing else ""
        yield f"As before: {worse or f'no gain is {enough}'} ({found.reason})."
        if found.candidate != found.baseline:
            yield f"What seemed best: {seemed}."
    if found.candidate != found.baseline:
        worth = found.worth
        yield (
            f"By all that was measured it is expected to gain {signed(worth.gain)} "
            f"±{STANDS_OUT * worth.sd:.2f}; that it gains at all has a probability of "
            f"{worth.probability:.0%}."
        )
        yield _fell(tuned)
        yield from _tokens(tuned)
    yield from _pruned(tuned)
    yield _noise(tuned)
    spent, pool = tuned.spent, len(tuned.space.pool)
    shelf = f", and {tuned.shelf:,} to select from for each item" if tuned.shelf else ""
    free = f" ({spent.hits:,} more were free)" if spent.hits else ""
    yield (
        f"The search took {spent.calls:,} calls{free} and "
        f"{spent.prompt_tokens + spent.completion_tokens:,} tokens, for {len(found.tried):,} ways "
        f"of running. At hand were {tuned.rows:,} rows and {pool:,} demonstrations{shelf}."
    )


def _fell(tuned: Tuned) -> str:
    """Which tasks did worse with the candidate, and how sure that is."""
    told = []
    for task, one in tuned.tasks.items():
        if one.gain < 0:
            low, high = one.gain.interval
            chance = "" if is_told_apart(one.gain) else ", which may be chance"
            told.append(f"{task} fell by {-one.gain:.2f} {span(-high, -low)}{chance}")
    if tuned.tasks:
        return f"On the fresh pairs {'; '.join(told) or 'no task fell'}."
    [own] = (one for one in tuned.found.tried if one.point == tuned.found.candidate)
    for task, by_model in own.tasks.items():
        if by_model.worth.gain < 0:
            told.append(f"{task} gains {give_or_take(*by_model.worth)}")
    return f"There are no fresh pairs; by the model {'; '.join(told) or 'no task falls'}."


def _tokens(tuned: Tuned) -> Iterator[str]:
    """What the candidate takes beside the baseline."""
    pair = [tuned.taken.get(one) for one in (tuned.found.baseline, tuned.found.candidate)]
    before, after = pair
    if before is not None and after is not None:
        yield (
            f"A row takes {amount(after.read)} tokens to read and {amount(after.written)} to write "
            f"(before: {amount(before.read)} and {amount(before.written)}), "
            f"{after.cost(tuned.price) / max(before.cost(tuned.price), 1e-12):.0%} of the cost "
            "without a prompt cache."
        )


def _pruned(tuned: Tuned) -> Iterator[str]:
    """Which demonstrations were dropped, and what that saves."""
    pruned = tuned.found.pruned
    if pruned is None:
        if tuned.found.options.prune and tuned.found.candidate.select:
            yield "Pruning: demonstrations are selected for each item, so none was tried without."
        return
    if pruned.difference is None:
        yield f"Pruning: none of {len(pruned.before.demos)} demonstrations could go."
        return
    before, after = tuned.taken[pruned.before], tuned.taken[pruned.after]
    yield (
        f"Pruning: without {', '.join(pruned.dropped)} it takes {amount(after.read)} tokens to "
        f"read in place of {amount(before.read)}; the score on {pruned.difference.n} rows by which "
        f"that was chosen changed by {difference(pruned.difference)}."
    )


def _noise(tuned: Tuned) -> str:
    """How much of what the model says of single demonstrations and of the order is noise."""
    told = []
    for what, kinds in (("demonstrations", ("demo",)), ("order", ORDER)):
        effects = [one for one in tuned.found.effects if one.column[0] in kinds]
        sure = sum(map(tuned.stands_out, effects))
        if effects:
            told.append(
                f"{sure} of {len(effects)} effects of {what} stand out"
                if sure
                else f"no effect of {what} stands out, so they may all be noise"
            )
    return f"By the model {'; '.join(told)}." if told else "No effect was told apart."


def tasks_of(tuned: Tuned, name: str = "plan") -> Table:
    """What each task gains on the fresh pairs.

    Args:
        tuned: What the search found.
        name: What was tuned.
    """
    confirmation = tuned.found.confirmation
    rows = [
        (task, f"{one.before:.2f}", f"{one.after:.2f}", difference(one.gain))
        for task, one in tuned.tasks.items()
    ]
    if confirmation is not None:
        rows.append(("all, weighted", "", "", difference(confirmation.gain)))
    pairs = 0 if confirmation is None else confirmation.gain.n
    return Table(
        heading=f"{name}: gains",
        columns=("", "before", "after", "gain"),
        rows=tuple(rows),
        note=f"On {pairs:,} fresh pairs: rows that no choice has looked at, each run both ways "
        "[95% interval].",
    )


def _wordings(tuned: Tuned, name: str) -> Table:
    """The instructions that have numbers elsewhere."""
    space = tuned.space
    return Table(
        heading=f"{name}: wordings",
        columns=("task", "wording", "instruction"),
        rows=tuple(
            (task, str(number), text or NONE)
            for task, texts in space.variants.items()
            for number, text in enumerate((space.base.instruction(space.program, task), *texts))
        ),
        note="0 is that of before.",
    )


def effects_of(tuned: Tuned, name: str = "plan", *, most: int = SHOWN) -> Table:
    """What each feature does to each task by the model, what is surest first.

    Args:
        tuned: What the search found.
        name: What was tuned.
        most: How many features are shown.
    """
    by_column: dict[Column, list[Effect]] = {}
    for one in tuned.found.effects:
        by_column.setdefault(one.column, []).append(one)
    columns = sorted(by_column, key=lambda column: -max(map(_size, by_column[column])))[:most]
    tasks = tuned.space.program.order
    rows = []
    for column in columns:
        cells = {one.task: _cell(tuned, one) for one in by_column[column]}
        rows.append((_words(column), *(cells.get(task, NONE) for task in tasks)))
    return Table(
        heading=f"{name}: effects",
        columns=("", *tasks),
        rows=tuple(rows),
        note=f"{len(rows)} of {len(by_column)}, the surest first; the change of the score, "
        f"±{STANDS_OUT:g} standard deviations. In brackets: may well be noise.",
    )


def _size(one: Effect) -> float:
    return abs(one.mean) / one.sd if one.sd else 0.0


def _cell(tuned: Tuned, one: Effect) -> str:
    told = give_or_take(one.mean, one.sd)
    return told if tuned.stands_out(one) else f"({told})"


def _words(column: Column) -> str:
    kind, which = column
    if kind == "number":
        return "any demo" if which == "any" else "more demos"
    if kind == "place":
        which = str(int(which) + 1)
    return _WORDS.get(kind, f"{kind} {{}}").format(which)


def _taken(tuned: Tuned, name: str) -> Table:
    rows = []
    for what, point in (("before", tuned.found.baseline), ("candidate", tuned.found.candidate)):
        if taken := tuned.taken.get(point):
            rows.append((what, *map(amount, taken), share_of(tuned, point)))
    return Table(
        heading=f"{name}: what a row takes",
        columns=("", "calls", "tokens in", "cached", "tokens out", "cost"),
        rows=tuple(rows),
        note="Cached: as the model reported it. Cost: without a prompt cache.",
    )


def _spent(tuned: Tuned, name: str) -> Table:
    stages = tuned.spent.by_purpose
    return Table(
        heading=f"{name}: what the search took",
        columns=("", "calls", "free", "tokens in", "tokens out"),
        rows=tuple(
            (stage, *(f"{n:,}" for n in (
                one.calls, one.hits, one.prompt_tokens, one.completion_tokens
            )))
            for stage, one in stages.items()
        ),
    )  # fmt: skip


def _gains(tuned: Tuned, name: str) -> Chart:
    gains = [one.gain for one in tuned.tasks.values()]
    low, high = (tuple(one.interval[end] for one in gains) for end in (0, 1))
    return Chart(
        heading=f"{name}: what each task gains",
        kind="points",
        series=(Series("gain", tuple(tuned.tasks), tuple(map(float, gains)), low, high),),
        y_title="score, less that of before",
        note="Where an interval crosses 0, a task may have gained nothing.",
    )


def _curve(tuned: Tuned, name: str) -> Chart:
    calls, gains = _columns(tuned.found.curve)
    return Chart(
        heading=f"{name}: best so far",
        kind="lines",
        series=(Series("expected gain of the best", calls, gains),),
        x_title="calls",
        y_title="expected gain",
        note="As the model believed it then; it may fall when luck is found out.",
    )


def _columns(curve: Sequence[tuple[int, float]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(float(calls) for calls, _ in curve), tuple(gain for _, gain in curve)
