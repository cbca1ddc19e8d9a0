"""The measurement of the demo: one call a message against one call a task, side by side.

Messages take turns, and so does which arm goes first, so that a slow minute of the machine falls
on both. Calls go one after the other. Each kind of prompt is sent once before the clock runs, so
that its constant part is in the prefix cache in both arms.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtiprompt.errors import ModelUnavailable
from mtiprompt.metrics import metric
from mtiprompt.plan import Plan
from mtiprompt.program import Program, combine
from mtiprompt.result import Failure, Result, plain, slots
from mtiprompt.tasks import Task
from mtiprompt.wire import Usage

if TYPE_CHECKING:
    from mtiprompt.models.base import LanguageModel

NAME = "facility_emails_demo"
ARMS = ("fused", "split")
WARM_UP = "Hello."


def data_root() -> Path:
    """The folder of the demo's messages: in the package, or beside it in an editable install."""
    package = Path(__file__).parents[1]
    packed = package / "demo_data"
    return packed if packed.is_dir() else package.resolve().parent / "examples" / "data"


def demo_program() -> Program:
    """The four tasks of the demo."""
    return combine(*Task.from_json_schema(data_root() / f"{NAME}.task.json"))


def demo_rows(split: str) -> list[dict[str, Any]]:
    """The messages of the demo (`test`) or its demonstrations (`train`), with their gold labels."""
    lines = (data_root() / f"{NAME}.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["split"] == split]


@dataclass
class Arm:
    """One way of running, and what it took.

    Attributes:
        plan: The plan.
        usage: What its calls cost, the warm-up apart.
        seconds: Time on the clock for each message.
        results: What it answered.
    """

    plan: Plan
    usage: Usage = field(default_factory=Usage)
    seconds: list[float] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)

    def ask(self, program: Program, model: LanguageModel, inputs: dict[str, Any]) -> None:
        """Answer one message, one call after the other."""
        begun = time.perf_counter()
        [result] = program.map([inputs], model=model, plan=self.plan, concurrency=1)
        self.seconds.append(time.perf_counter() - begun)
        self.usage += result.usage
        self.results.append(result)


@dataclass
class Race:
    """What the demo measures.

    Attributes:
        program: The program.
        rows: The messages with their gold labels.
        arms: `fused` and `split`.
        warm_up: What came before the clock, both arms together.
        cached: The fused plan once more, with the cache that its first run filled.
    """

    program: Program
    rows: Sequence[dict[str, Any]]
    arms: dict[str, Arm]
    warm_up: Arm
    cached: Arm

    @property
    def ratio(self) -> float:
        """Seconds of the split plan over those of the fused one."""
        return sum(self.arms["split"].seconds) / sum(self.arms["fused"].seconds)

    @property
    def ratios(self) -> list[float]:
        """The same for each message."""
        pairs = zip(self.arms["split"].seconds, self.arms["fused"].seconds, strict=True)
        return [split / fused for split, fused in pairs]

    def scores(self, arm: str) -> dict[str, list[float]]:
        """How good the answers of an arm are by the metric of each task, message by message."""
        answered = [plain(result)["answers"] for result in self.arms[arm].results]
        metrics = {name: metric(task.metric) for name, task in self.program.tasks.items()}
        return {
            name: [
                scored(answers[name], row["outputs"][name], row["inputs"])
                if name in answers
                else 0.0
                for answers, row in zip(answered, self.rows, strict=True)
            ]
            for name, scored in metrics.items()
        }


def prepare(rows: Sequence[dict[str, Any]]) -> Race:
    """The race before its start.

    Args:
        rows: The messages, as `demo_rows` gives them.
    """
    program = demo_program()
    demos = demo_rows("train")
    fused, split = Plan.fused(program, demos=demos), Plan.split(program, demos=demos)
    arms = {"fused": Arm(fused), "split": Arm(split)}
    return Race(program, rows, arms, warm_up=Arm(split), cached=Arm(fused))


def steps(race: Race) -> int:
    """How many times `run_race` reports progress."""
    return len(ARMS) + 3 * len(race.rows)


def run_race(race: Race, model: LanguageModel, progress: Callable[[], None]) -> None:
    """Run both arms, and the fused one once more.

    Args:
        race: What to run; it takes up the figures.
        model: Answers, and keeps its replies in a cache that was empty at the start.
        progress: Called after every message of an arm.

    Raises:
        ModelError: The model cannot be used at all, or did not answer.
    """
    for arm in race.arms.values():
        race.warm_up.plan = arm.plan
        race.warm_up.ask(race.program, model, {"email": WARM_UP})
        _check(race.warm_up.results[-1])
        progress()
    for number, row in enumerate(race.rows):
        for name in ARMS if number % 2 == 0 else reversed(ARMS):
            race.arms[name].ask(race.program, model, row["inputs"])
            _check(race.arms[name].results[-1])
            progress()
    for row in race.rows:
        race.cached.ask(race.program, model, row["inputs"])
        progress()


def _check(result: Result) -> None:
    """Seconds of calls that failed are worth nothing, so the first one ends the demo."""
    for slot in slots(result).values():
        if isinstance(slot, Failure) and slot.kind == "call failed":
            raise slot.error or ModelUnavailable(slot.message)
