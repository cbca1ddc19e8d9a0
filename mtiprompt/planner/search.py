"""The search: which plan to measure next, and what is said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal

from mtiprompt.combine import waves
from mtiprompt.errors import BudgetExceeded
from mtiprompt.plan import Plan
from mtiprompt.planner.candidate import Candidate, Wanted
from mtiprompt.planner.groupings import Grouping, Pins, leaders
from mtiprompt.planner.price import UNMEASURED, PlanPrice, price_plan
from mtiprompt.planner.profile import Profile
from mtiprompt.planner.rules import (
    FEWEST,
    Estimate,
    Expected,
    Guarantee,
    Judge,
    TaskFinding,
    estimate,
)
from mtiprompt.program import Program
from mtiprompt.stats import Interval


@dataclass
class Search:
    """What the search knows so far.

    Attributes:
        profile: Who runs the plans.
        pins: What the user has settled.
        wanted: What the user wants.
        orders: Whether a call that is not accepted is tried with the hardest task first.
        variants: How many variants of a grouping there are to try, itself among them; all its other
            orders are one.
        reserved: The share of the error that is kept for a plan that the user pins.
        candidates: What was measured, the split plan first.
        estimates: The losses that were seen.
        trying: The name of what is being measured.
    """

    profile: Profile
    pins: Pins
    wanted: Wanted
    orders: bool = False
    variants: int = 1
    reserved: float = 0.0
    candidates: list[Candidate] = field(default_factory=list)
    estimates: list[Estimate] = field(default_factory=list)
    trying: str = "split"
    _base: Candidate | None = None

    def groupings(self, base: Plan, free: Sequence[str]) -> Candidate:
        """The best grouping.

        Args:
            base: The plan with the fewest tasks in each call that the pins allow.
            free: The tasks that may be fused.
        """
        best = self.candidates[0]
        if base != best.plan:  # tasks are pinned together
            groups = tuple(group.tasks for group in base.call_groups)
            best = self._base = self.pinned(_name(groups), base, self.share(base))
        waiting = free
        fixed: list[tuple[str, ...]] = []
        while len(waiting) > 1 and not self.profile.exhausted:
            accepted, waiting = self._shrink(base, fixed, waiting)
            if accepted is None:
                continue
            if self._is_better(accepted, best):
                best = accepted
            fixed = [group.tasks for group in accepted.plan.call_groups if len(group.tasks) > 1]
        return best

    def _shrink(
        self, base: Plan, fixed: Sequence[tuple[str, ...]], tasks: Sequence[str]
    ) -> tuple[Candidate | None, list[str]]:
        """Fuse some tasks, without those that suffer.

        Returns:
            The candidate that was accepted, and what stays out of its new call; without any, what
            moved out: with the tasks that are left in the end the others may have suffered.
        """
        inside, out = list(tasks), []
        while len(inside) > 1 and not self.profile.exhausted:
            lightest = sorted(inside, key=lambda name: self._burden(name))
            grouping = self.pins.largest(fixed, lightest)
            together = max((one for one in grouping if set(one) <= set(inside)), key=len)
            out += [name for name in inside if name not in together]
            inside = list(together)
            if together == self.pins.unit(together[0]):
                break
            plan = base.replace(self.profile.program, call_groups=grouping)
            found = self._measured(_name(grouping), plan)
            if found is None or self._is_accepted(found):
                return found, out
            if self.orders and (other := self.hardest_first(plan)) != plan:
                again = self._measured(f"{found.name}, hardest first", other)
                if again is None or self._is_accepted(again):
                    return again, out
            leaving = self._leaving(found, inside)
            inside = [name for name in inside if name not in leaving]
            out += leaving
        return None, out

    def _measured(self, name: str, plan: Plan) -> Candidate | None:
        return self._known(plan) or self.measured(name, plan, self.share(plan))

    def _is_accepted(self, found: Candidate) -> bool:
        return self._verdict(found.plan, found.tasks)[0] == "accepted"

    def _leaving(self, found: Candidate, inside: Sequence[str]) -> list[str]:
        """The tasks that move out of a call that was not accepted, with what is pinned to them."""
        known = {name: found.tasks[name] for name in inside}
        burden = {name: self._burden(name) for name in inside}
        heaviest = max(inside, key=burden.__getitem__)
        losing = [name for name in inside if known[name].loss > self.wanted.margin]
        rejected = [name for name in inside if known[name].verdict == "rejected"]
        unsafe = [name for name in inside if known[name].verdict != "accepted"]
        suspects = unsafe or self._taken(found, inside)
        if heaviest not in losing and 2 * len(losing) > len(inside):
            leaving = [heaviest]  # most suffer, and from that one, it seems
        elif rejected:  # half of them: two may suffer only from each other
            worst = sorted(rejected, key=lambda name: -known[name].loss)
            calls = list(dict.fromkeys(self.pins.unit(name) for name in worst))
            leaving = [one[0] for one in calls[: math.ceil(len(calls) / 2)]]
        else:
            leaving = [max(suspects, key=lambda name: (known[name].interval.high, burden[name]))]
        units = {self.pins.unit(name) for name in leaving}
        return [name for name in inside if self.pins.unit(name) in units]

    def _taken(self, found: Candidate, inside: Sequence[str]) -> Sequence[str]:
        """The tasks of a call on which those build that suffer in others; all, if there is none."""
        taken = {name for name, one in found.tasks.items() if one.verdict != "accepted"}
        taken -= self._willed(found.plan)
        for tasks in reversed(self._calls(found.plan)):
            if not taken.isdisjoint(tasks):
                taken.update(*map(self.profile.program.upstream, tasks))
        return [name for name in inside if name in taken] or inside

    def _burden(self, task: str) -> float:
        """How much a task is likely to disturb a call: by how much it writes, asked alone."""
        outcomes = self.profile.outcomes(self.profile.split, FEWEST)
        return sum(len(str(one.answers.get(task, ""))) for one in outcomes)

    def better(self, best: Candidate, told: str, **options: Any) -> Candidate:
        """A variant of the best candidate if it is accepted and better, else the best so far.

        Args:
            best: The candidate.
            told: What is different, in words.
            **options: Options of a plan.
        """
        plan = best.plan.replace(self.profile.program, **options)
        if self.profile.exhausted or self._known(plan):
            return best
        found = self.measured(f"{best.name}, {told}", plan, self.share(plan))
        if found and found.verdict == "accepted" and self._is_better(found, best):
            return found
        return best

    def hardest_first(self, plan: Plan) -> Plan:
        """A plan in each of whose calls the task that scores least alone comes first.

        It is one of those that can; a task without gold counts as easy.

        Args:
            plan: A plan with the same calls.
        """
        program, scores, groups = self.profile.program, self.profile.means(), []
        for group in plan.call_groups:
            first = min(leaders(program, group.tasks), key=scores.__getitem__)
            groups.append((first, *(name for name in group.tasks if name != first)))
        return plan.replace(program, call_groups=groups)

    def pinned(self, name: str, plan: Plan, share: float) -> Candidate:
        """The candidate of a plan that the user wants, whatever is measured, if anything is.

        Args:
            name: What to call it.
            plan: The plan.
            share: The part of the error that it may use.

        Raises:
            BudgetExceeded: It is in dollars, and calls did not tell their cost.
        """
        found = self._known(plan) or self.measured(name, plan, share)
        if found is None:
            if self.profile.refusal:
                raise self.profile.refusal
            told = "not measured: the budget ended before"
            found = Candidate(name, plan, "pinned", told, {}, UNMEASURED, UNMEASURED, 0)
            self.candidates.append(found)
        if found.verdict in ("baseline", "pinned"):
            return found
        pinned = replace(found, verdict="pinned", reason=f"measured: {found.reason}")
        self.candidates = [pinned if one is found else one for one in self.candidates]
        return pinned

    def _known(self, plan: Plan) -> Candidate | None:
        return next((one for one in self.candidates if one.plan == plan), None)

    def baseline(self, untried: str, *, measured: bool) -> None:
        """Run the split plan on the first rows.

        Args:
            untried: What is not tried beside it, and why; it is told with the plan.
            measured: Whether anything is; else no call is made.

        Raises:
            BudgetExceeded: It is spent before the split plan has answered a row, or it is in
                dollars, and calls about these rows did not tell their cost.
        """
        split = self.profile.split
        few = min(FEWEST, len(self.profile.rows))
        price = self._priced(split, few) if measured else UNMEASURED
        if self.profile.refusal:
            raise self.profile.refusal
        reason = "; ".join(filter(None, ("one call a task", untried)))
        self.candidates.append(
            Candidate("split", split, "baseline", reason, {}, price, price, price.rows)
        )

    def measured(self, name: str, plan: Plan, share: float) -> Candidate | None:
        """Run a plan beside the split one until there is a verdict, or no rows are left.

        Args:
            name: What to call it.
            plan: The plan.
            share: The part of the error that it may use.

        Returns:
            None: The budget ended before a row was answered.
        """
        self.trying = name
        known = self._unchanged(plan, self.profile.split) | self._willed(plan)
        judged = [one for one in self.profile.program.order if one not in known]
        judge, rows = self._judge(judged, share), 0
        for done, differences in self.profile.compared(plan):
            judge.add(differences)
            rows = done
            left = (len(self.profile.rows) - rows) // plan.items_per_call
            if self.profile.exhausted or judge.is_settled(left):
                break
        if not rows:
            return None
        if isinstance(judge, Expected):
            self.estimates += [estimate(values) for values in judge.seen.values() if values]
        found_before = self._base.tasks if self._base else {}
        tasks = judge.findings() | {one: found_before.get(one, _same(rows)) for one in known}
        tasks = {one: tasks[one] for one in self.profile.program.order}
        price, beside = self._priced(plan, rows), self._priced(self.profile.split, rows)
        found = Candidate(name, plan, *self._verdict(plan, tasks), tasks, price, beside, rows)
        first = self.candidates[0]
        if rows > first.rows:
            self.candidates[0] = replace(first, price=beside, split=beside, rows=rows)
        self.candidates.append(found)
        return found

    def _judge(self, tasks: Sequence[str], share: float) -> Judge:
        want = self.wanted
        if want.rule == "guarantee":
            return Guarantee(tasks, margin=want.margin, confidence=want.confidence, share=share)
        return Expected(
            tasks, margin=want.margin, p=want.p, others=self.estimates, confidence=want.confidence
        )

    def share(self, plan: Plan) -> float:
        """The part of the error that a plan may use.

        Which order is tried is decided by looking at the rows, so all that `hardest_first` can find
        share the part of one.

        Args:
            plan: The plan.
        """
        program, grouping = self.profile.program, tuple(one.tasks for one in plan.call_groups)
        plain = self.pins.grouping(grouping)
        usual = plan == self.profile.split.replace(program, call_groups=plain)
        part = 1.0 if self.variants == 1 else 0.5 if usual else 0.5 / (self.variants - 1)
        if grouping != plain:
            part /= math.prod(len(leaders(program, tasks)) for tasks in plain) - 1
        return (1 - self.reserved) * self.pins.share_of_error(grouping) * part

    def _unchanged(self, plan: Plan, of: Plan) -> set[str]:
        """The tasks of calls that are as in another plan, as are all whose answers these take.

        Beside the split plan their loss is 0 without any test.
        """
        if replace(plan, call_groups=of.call_groups) != of:
            return set()
        equal = {one.tasks for one in plan.call_groups if one in of.call_groups}
        same: set[str] = set()
        for tasks in self._calls(plan):
            taken = set[str]().union(*map(self.profile.program.upstream, tasks))
            if tasks in equal and taken <= same.union(tasks):
                same.update(tasks)
        return same

    def _willed(self, plan: Plan) -> set[str]:
        """The tasks that are asked as with the pinned calls alone.

        What they lose so is the user's will, and no reason to reject a plan.
        """
        base = self._base
        if base is None or plan == base.plan:
            return set()
        return self._unchanged(plan, base.plan)

    def _verdict(
        self, plan: Plan, tasks: Mapping[str, TaskFinding]
    ) -> tuple[Literal["accepted", "rejected", "undecided"], str]:
        willed = self._willed(plan)
        pinned = {
            name: one for name, one in tasks.items() if name in willed and one.verdict != "accepted"
        }
        tasks = {name: one for name, one in tasks.items() if name not in willed}
        harmed = [name for name, one in tasks.items() if one.verdict == "rejected"]
        open_ones = [name for name, one in tasks.items() if one.verdict == "undecided"]
        if harmed:
            return "rejected", _told({name: tasks[name] for name in harmed})
        if not open_ones:
            sure = "probably " if self.wanted.rule == "expected" else ""
            safe = f"task loses more than {self.wanted.margin:g}"
            if pinned:
                return "accepted", f"as pinned, {_told(pinned)}; {sure}no other {safe}"
            return "accepted", f"{sure}no {safe}"
        more = [tasks[name].more for name in open_ones]
        if self.wanted.rule == "expected" or any(one is None for one in more):
            return "undecided", f"not enough is known of {', '.join(open_ones)}"
        rows = max(one for one in more if one is not None)
        return "undecided", f"{', '.join(open_ones)}: about {rows} observations more would decide"

    def _is_better(self, found: Candidate, best: Candidate) -> bool:
        """Whether a candidate is worth more on the rows that both were run on."""
        rows = min(found.rows, best.rows)
        prices = [self._priced(one.plan, rows) for one in (found, best)]
        return self.wanted.worth(prices[0], found.tasks) < self.wanted.worth(prices[1], best.tasks)

    def _priced(self, plan: Plan, rows: int) -> PlanPrice:
        outcomes = self.profile.outcomes(plan, rows)
        if not outcomes:
            late = self.profile.late
            last = f", as {late.message}" if late else ""
            what = f"the budget is spent before a row is answered{last}"
            raise self.profile.refusal or BudgetExceeded(what, hint="raise it")
        return price_plan(outcomes, self._waves(plan), self.wanted.price)

    def _waves(self, plan: Plan) -> list[list[Sequence[str]]]:
        return in_waves(self.profile.program, [group.tasks for group in plan.call_groups])

    def _calls(self, plan: Plan) -> list[Sequence[str]]:
        """The tasks of each call, behind those whose answers they take."""
        return list(chain.from_iterable(self._waves(plan)))


def in_waves(program: Program, groups: Sequence[Sequence[str]]) -> list[list[Sequence[str]]]:
    """Groups in the order of asking, those together that can be asked for at the same time.

    Args:
        program: The program.
        groups: The tasks of each call.
    """
    needs = waves(program, groups)
    done: set[int] = set()
    found = []
    while len(done) < len(groups):
        ready = [n for n, mine in enumerate(needs) if n not in done and mine <= done]
        found.append([groups[n] for n in ready])
        done |= set(ready)
    return found


def _same(rows: int) -> TaskFinding:
    return TaskFinding("accepted", rows, 0.0, Interval(0.0, 0.0), probability=1.0, more=0)


def _told(tasks: Mapping[str, TaskFinding]) -> str:
    """Why some tasks are not accepted."""
    return ", ".join(
        f"not enough is known of {name}" if one.verdict != "rejected"
        else f"{name} {'loses' if one.expected is None else 'is expected to lose'} {one.best:.3f}"
        for name, one in tasks.items()
    )  # fmt: skip


def _name(grouping: Grouping) -> str:
    if len(grouping) == 1:
        return "fused"
    return " | ".join("+".join(group) for group in grouping)
