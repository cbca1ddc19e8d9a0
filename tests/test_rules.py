"""The two rules say what arithmetic says, and `expected` says nothing without having seen."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from statistics import NormalDist

import pytest

from mtiprompt.gate import judge
from mtiprompt.planner.groupings import share_of_error
from mtiprompt.planner.rules import (
    FEWEST,
    SPREAD,
    Estimate,
    Expected,
    Guarantee,
    estimate,
    expected,
)

SAME = [0.0] * 60
HARMED = [1.0, 0.0, 0.0, 0.0] * 15


def partitions(names: tuple[str, ...]) -> Iterator[list[tuple[str, ...]]]:
    """All groupings of some tasks."""
    if not names:
        yield []
        return
    first, rest = names[0], names[1:]
    for size in range(len(rest) + 1):
        for others in combinations(rest, size):
            left = tuple(name for name in rest if name not in others)
            for more in partitions(left):
                yield [(first, *others), *more]


@pytest.mark.parametrize("tasks", [1, 2, 3, 4, 5, 6, 7])
def test_shares_of_all_groupings_sum_to_at_most_one(tasks: int) -> None:
    """Whatever groupings a search tries, for whatever reason, the error is not spent twice."""
    found = [
        share_of_error(tasks, [len(group) for group in grouping if len(group) > 1])
        for grouping in partitions(tuple("abcdefg"[:tasks]))
    ]
    assert all(share > 0 for share in found)
    assert math.fsum(found) <= 1 + 1e-12


def test_no_grouping_is_wrongly_accepted_however_it_is_chosen() -> None:
    """Of 300 programs, in which all groupings harm, few have any that is accepted.

    So a search may choose among them by looking at the very rows that they are tested on.
    """
    draw, wrong = random.Random(5), 0
    shares = [
        share_of_error(4, [len(group) for group in grouping if len(group) > 1])
        for grouping in partitions(tuple("abcd"))
        if len(grouping) < 4
    ]
    assert len(shares) == 14
    for _ in range(300):
        rules = [Guarantee(["a"], margin=0.1, confidence=0.9, share=share) for share in shares]
        for rule in rules:
            rule.add({"a": draw.choices([1.0, 0.0, -1.0], [0.15, 0.8, 0.05], k=200)})
        wrong += any(rule.findings()["a"].verdict == "accepted" for rule in rules)
    assert wrong / 300 <= 0.1 + 3 * math.sqrt(0.1 * 0.9 / 300)


def test_the_guarantee_is_the_gate_at_its_share() -> None:
    """Each task is judged as the gate judges it with the error that the grouping may use."""
    rule = Guarantee(["a", "b"], margin=0.05, confidence=0.9, share=0.25)
    rule.add({"a": SAME[:30], "b": HARMED[:30], "other": []})
    rule.add({"a": SAME[30:], "b": HARMED[30:], "other": []})
    found = rule.findings()
    for name, values in (("a", SAME), ("b", HARMED)):
        one = judge(values, margin=0.05, alpha=0.1 * 0.25)
        assert (found[name].verdict, found[name].n) == (one.verdict, 60)
        assert found[name].interval == pytest.approx(one.bounds)
        assert found[name].more == one.more


def test_the_guarantee_is_settled_by_one_rejection_or_all_acceptances() -> None:
    """A task that is undecided keeps the search going unless another is rejected."""
    rule = Guarantee(["a", "b"], margin=0.1, confidence=0.95)
    rule.add({"a": SAME + SAME, "b": [0.0]})
    assert not rule.is_settled(1000)
    accepted = Guarantee(["a", "b"], margin=0.1, confidence=0.95)
    accepted.add({"a": SAME + SAME, "b": SAME + SAME})
    assert accepted.is_settled(1000)
    harmed = Guarantee(["a", "b"], margin=0.1, confidence=0.95)
    harmed.add({"a": [0.0], "b": [1.0] * 20})
    assert harmed.is_settled(1000)


def test_the_guarantee_is_settled_where_the_rows_left_cannot_decide() -> None:
    """A task that no number of agreeing rows would bring through ends the search."""
    rule = Guarantee(["a", "b"], margin=0.05, confidence=0.95)
    rule.add({"a": SAME, "b": [0.0, 0.0, 0.0, 1.0, -1.0] * 12})
    assert not rule.is_settled(1000)
    assert rule.is_settled(50)
    assert {one.verdict for one in rule.findings().values()} == {"undecided"}


def test_acceptances_at_different_looks_count() -> None:
    """A task that was accepted early stays so, though its later rows lose."""
    rule = Guarantee(["a", "b"], margin=0.1, confidence=0.95)
    rule.add({"a": [0.0] * 60, "b": []})
    rule.add({"a": [1.0] * 60, "b": [0.0] * 60})
    assert Counter(one.verdict for one in rule.findings().values()) == {"accepted": 2}


def test_expected_is_dersimonian_and_laird() -> None:
    """Posterior and probability are those of arithmetic by hand on three tasks."""
    losses = {"a": SAME, "b": HARMED, "c": SAME[:40] + [-1.0] * 10}
    seen = [estimate(values) for values in losses.values()]
    weights = [1 / one.error**2 for one in seen]
    fixed = sum(w * one.loss for w, one in zip(weights, seen, strict=True)) / sum(weights)
    q = sum(w * (one.loss - fixed) ** 2 for w, one in zip(weights, seen, strict=True))
    scale = sum(weights) - sum(w * w for w in weights) / sum(weights)
    tau = max(SPREAD, math.sqrt(max(0, (q - 2) / scale)))
    weights = [1 / (one.error**2 + tau**2) for one in seen]
    center = sum(w * one.loss for w, one in zip(weights, seen, strict=True)) / sum(weights)
    found = expected(losses, margin=0.05, p=0.8)
    for name, one in zip(losses, seen, strict=True):
        weight = tau**2 / (tau**2 + one.error**2)
        mean = center + weight * (one.loss - center)
        variance = tau**2 * (1 - weight) + (1 - weight) ** 2 / sum(weights)
        chance = NormalDist(mean, math.sqrt(variance)).cdf(0.05)
        assert found[name].probability == pytest.approx(chance)
        assert sum(found[name].interval) / 2 == pytest.approx(mean)


def test_losses_are_shrunk_towards_each_other() -> None:
    """Of few rows, what others lost counts; of many, hardly."""
    others = [Estimate(0.0, 0.02)] * 10
    few, many = [1.0, 0.0, 0.0, 0.0, 0.0] * 5, [1.0, 0.0, 0.0, 0.0, 0.0] * 200
    means = [
        sum(expected({"a": rows}, margin=0.05, p=0.8, others=others)["a"].interval) / 2
        for rows in (few, many)
    ]
    assert 0 < means[0] < means[1] < 0.2
    assert means[1] - means[0] > 0.02


def test_expected_says_nothing_of_few_rows() -> None:
    """Before `FEWEST` observations there is no verdict, however sure the prior is."""
    others = [Estimate(0.0, 0.01)] * 20
    found = expected({"a": [0.0] * (FEWEST - 1), "b": []}, margin=0.05, p=0.8, others=others)
    assert {one.verdict for one in found.values()} == {"undecided"}
    assert math.isnan(found["b"].loss)
    enough = expected({"a": [0.0] * FEWEST}, margin=0.05, p=0.8, others=others)
    assert enough["a"].verdict == "accepted"


def test_expected_stops_when_it_is_clear() -> None:
    """It goes on until all tasks are safe or one is harmed, with verdicts that fit."""
    rule = Expected(["a", "b"], margin=0.05, p=0.8)
    rule.add({"a": [0.0] * 10, "b": [0.0] * 10})
    assert not rule.is_settled(1000)
    safe = Expected(["a", "b"], margin=0.05, p=0.8)
    safe.add({"a": [0.0] * 100, "b": [0.0] * 100})
    assert safe.is_settled(1000)
    assert {one.verdict for one in safe.findings().values()} == {"accepted"}
    harmed = Expected(["a", "b"], margin=0.05, p=0.8)
    harmed.add({"a": HARMED, "b": SAME})
    assert harmed.is_settled(1000)
    assert harmed.findings()["a"].verdict == "rejected"


def test_a_loss_that_is_seen_is_not_outvoted() -> None:
    """A task that clearly loses is not accepted because five others do not."""
    rows = {name: list(SAME) for name in "abcde"} | {"f": [*HARMED]}
    found = expected(rows, margin=0.05, p=0.8)
    assert found["f"].verdict != "accepted"
    assert all(found[name].verdict == "accepted" for name in "abcde")
