"""A DSPy program of three predictors as it is, and fused into one call.

    python benchmarks/dspy_fused.py FOLDER [--items 40] [--model NAME] [--json]

FOLDER holds `restaurant_facts`. The program below asks for three of its facts with a `dspy.Predict`
each, through DSPy's `JSONAdapter`; `mti.to_dspy(mti.from_dspy(program))` asks for them in one call.
Both ask the same model on the same rows of dev, one after the other, the one that begins taking
turns. Printed are calls, tokens and seconds of each, and for every task the score of both and the
paired difference with its 95% interval. No demonstrations.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import dspy
from common import parser, print_table

import mtiprompt as mti
from mtiprompt.report.figures import difference
from mtiprompt.stats import difference as paired

TASKS = ("food", "price_range", "area")


class Food(dspy.Signature):  # type: ignore[misc]  # dspy has no types
    """What kind of food does the place serve?"""

    text: str = dspy.InputField()
    food: Literal[
        "Chinese", "English", "Fast food", "French", "Indian", "Italian", "Japanese", "not stated"
    ] = dspy.OutputField()


class PriceRange(dspy.Signature):  # type: ignore[misc]
    """What price range is given: cheap (under £20), moderate (£20 to £25) or high (over £30)?"""

    text: str = dspy.InputField()
    price_range: Literal["cheap", "moderate", "high", "not stated"] = dspy.OutputField()


class Area(dspy.Signature):  # type: ignore[misc]
    """In which area is the place?"""

    text: str = dspy.InputField()
    area: Literal["city centre", "riverside", "not stated"] = dspy.OutputField()


class Facts(dspy.Module):  # type: ignore[misc]
    """A program as DSPy's users write it: a predictor for each question."""

    def __init__(self) -> None:
        super().__init__()
        self.food = dspy.Predict(Food)
        self.price_range = dspy.Predict(PriceRange)
        self.area = dspy.Predict(Area)

    def forward(self, text: str) -> Any:
        """The three facts."""
        return dspy.Prediction(
            food=self.food(text=text).food,
            price_range=self.price_range(text=text).price_range,
            area=self.area(text=text).area,
        )


@dataclass
class Arm:
    """A way of running, and what was seen of it.

    Attributes:
        name: What it is called.
        module: The module.
        scores: By task, one for each row.
        calls: Calls of the model.
        read: Tokens of the prompts.
        wrote: Tokens of the replies.
        seconds: From asking to the prediction.
        failed: Rows without a prediction: DSPy raises where a reply has no JSON.
    """

    name: str
    module: Any
    scores: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in TASKS})
    calls: int = 0
    read: int = 0
    wrote: int = 0
    seconds: float = 0.0
    failed: int = 0

    def run(self, row: Any, model: mti.Model) -> None:
        """Answer a row, and note what it took."""
        model.meter.reset()
        began = time.perf_counter()
        try:
            found = self.module(**row.inputs).toDict()
        except dspy.utils.exceptions.AdapterParseError:
            found, self.failed = {}, self.failed + 1
        self.seconds += time.perf_counter() - began
        self.calls += model.usage.calls
        self.read += model.usage.prompt_tokens
        self.wrote += model.usage.completion_tokens
        for name in TASKS:
            self.scores[name].append(float(found.get(name) == row.outputs[name]))

    def line(self) -> list[str]:
        """A line of the table."""
        means = [f"{sum(self.scores[name]) / len(self.scores[name]):.2f}" for name in TASKS]
        amounts = (self.calls, self.read, self.wrote)
        return [self.name, *map(str, amounts), f"{self.seconds:.0f}", str(self.failed), *means]


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, items=40).parse_args()
    data = mti.Dataset.load(options.folder / "restaurant_facts.jsonl")
    model = mti.Model(options.model, cache=False)
    apart, fused = Arm("as it is", Facts()), Arm("fused", mti.to_dspy(mti.from_dspy(Facts())))
    with dspy.context(lm=mti.dspy_lm(model), adapter=dspy.JSONAdapter(), trace=[]):
        for number, row in enumerate(data.dev[: options.items]):
            for arm in (apart, fused) if number % 2 else (fused, apart):
                arm.run(row, model)
    if options.json:
        print(json.dumps([{**vars(arm), "module": arm.name} for arm in (apart, fused)]))
        return
    columns = ["program", "calls", "tokens read", "written", "seconds", "failed", *TASKS]
    told = [difference(paired(fused.scores[name], apart.scores[name])) for name in TASKS]
    print_table(columns, [apart.line(), fused.line(), ["difference", "", "", "", "", "", *told]])


if __name__ == "__main__":
    main()
