"""DSPy's optimizers on a fused module, beside the same module with a call for each task.

    python benchmarks/dspy_optimizers.py FOLDER [--sets A,B] [--items 20] [--train 12]
        [--optimizers labeled,bootstrap,...] [--model NAME] [--json]

FOLDER holds development sets (NAME.jsonl with NAME.task.json). Each optimizer tunes the module on
the first `--train` rows of train, and `dspy.Evaluate` scores it before and after on the first
`--items` rows of dev: the mean over tasks, in points of 100. *calls* are those that tuning made to
the task model, *before* and *after* the scores, *demos* the demonstrations that are shown then.
Instructions are proposed by a script (MIPROv2, SIMBA, GEPA), not by a model, so what is compared is
the search alone. Every tuned module is saved, loaded, and asked again: *same* says whether both
answer alike.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import dspy
from common import parser, paths

import mtiprompt as mti
from mtiprompt.models.example import example_of

ADVICE = "Read the input twice, then answer with a value that the form allows."


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    set: str
    optimizer: str
    arm: str
    calls: int
    before: float
    after: float
    demos: int
    reworded: int
    same: bool


@dataclass(frozen=True)
class Setting:
    """What an optimizer gets.

    Attributes:
        module: What it tunes.
        train: Its examples.
        metric: Its metric.
        proposer: The LM that proposes instructions.
    """

    module: Any
    train: list[Any]
    metric: Any
    proposer: Any

    @property
    def judged(self) -> dict[str, Any]:
        """Metric and threshold, for those that bootstrap."""
        return {"metric": self.metric, "metric_threshold": 1.0}


FEW = {"max_bootstrapped_demos": 2, "max_labeled_demos": 2}


def labeled(at: Setting) -> Any:
    """`LabeledFewShot`: rows as they are."""
    return dspy.LabeledFewShot(k=2).compile(at.module, trainset=at.train)


def bootstrap(at: Setting) -> Any:
    """`BootstrapFewShot`: traces that are all right."""
    made = dspy.BootstrapFewShot(**at.judged, **FEW)
    return made.compile(at.module, trainset=at.train)


def random_search(at: Setting) -> Any:
    """`BootstrapFewShotWithRandomSearch`: the best of several sets of demonstrations."""
    made = dspy.BootstrapFewShotWithRandomSearch(
        **at.judged, **FEW, num_candidate_programs=2, num_threads=1
    )
    return made.compile(at.module, trainset=at.train, valset=at.train)


def mipro(at: Setting) -> Any:
    """`MIPROv2`, small: demonstrations and instructions."""
    made = dspy.MIPROv2(
        **at.judged, **FEW, auto=None, num_candidates=3, num_threads=1,
        prompt_model=at.proposer, task_model=at.module.get_lm(),
    )  # fmt: skip
    data = {"trainset": at.train, "valset": at.train}
    return made.compile(at.module, **data, num_trials=4, minibatch=False)


def simba(at: Setting) -> Any:
    """`SIMBA`, small: demonstrations and rules from examples of high variance."""
    size = min(6, len(at.train))
    made = dspy.SIMBA(
        metric=at.metric, bsize=size, num_candidates=2, max_steps=2, max_demos=2, num_threads=1,
        prompt_model=at.proposer,
    )  # fmt: skip
    return made.compile(at.module, trainset=at.train)


def gepa(at: Setting) -> Any:
    """`GEPA`, small: instructions, task by task."""
    made = dspy.GEPA(
        metric=at.metric, max_metric_calls=4 * len(at.train), reflection_lm=at.proposer,
        reflection_minibatch_size=3, num_threads=1,
    )  # fmt: skip
    return made.compile(at.module, trainset=at.train, valset=at.train)


OPTIMIZERS: dict[str, Callable[[Setting], Any]] = {
    one.__name__: one for one in (labeled, bootstrap, random_search, mipro, simba, gepa)
}


def proposer() -> Any:
    """An LM that gives the same advice, whatever it is asked for."""

    def say(request: mti.Request) -> str:
        if request.schema is None:
            return ADVICE
        form = json.dumps(example_of(request.schema.schema))
        return form.replace('"..."', json.dumps(ADVICE))

    return mti.dspy_lm(mti.FunctionModel(say))


def measure(path: Path, name: str, arm: str, options: Namespace) -> Row:
    """Tune one module with one optimizer."""
    data = mti.Dataset.load(path)
    program = data.program
    plan = mti.Plan.fused(program) if arm == "fused" else mti.Plan.split(program)
    model = mti.Model(options.model, cache=False)
    train = mti.dspy_examples(program, data.train[: options.train])
    dev = mti.dspy_examples(program, data.dev[: options.items])
    metric = mti.dspy_metric(program)
    module = mti.to_dspy(program, plan=plan, model=model)
    evaluate = dspy.Evaluate(devset=dev, metric=metric, num_threads=1)
    before = evaluate(module).score
    model.meter.reset()
    tuned = OPTIMIZERS[name](Setting(module, train, metric, proposer()))
    calls = model.usage.calls
    with tempfile.TemporaryDirectory() as folder:
        tuned.save(f"{folder}/tuned.json")
        loaded = mti.to_dspy(program, plan=plan, model=model)
        loaded.load(f"{folder}/tuned.json")
    first = dev[:3]
    same = [tuned(**one.inputs()).toDict() for one in first] == [
        loaded(**one.inputs()).toDict() for one in first
    ]
    demos, reworded = len(tuned.plan.demos), len(tuned.plan.instructions)
    after = evaluate(tuned).score
    return Row(path.stem, name, arm, calls, before, after, demos, reworded, same)


def main() -> None:
    """Measure, and print a table."""
    arguments = parser(__doc__, items=20, sets="facility_emails")
    arguments.add_argument("--train", type=int, default=12, help="rows to tune on")
    arguments.add_argument("--optimizers", default=",".join(OPTIMIZERS))
    options = arguments.parse_args()
    dspy.disable_logging()
    rows = []
    with dspy.context(adapter=dspy.JSONAdapter(), trace=[]):
        for path in paths(options):
            for name in options.optimizers.split(","):
                for arm in ("fused", "split"):
                    with contextlib.redirect_stdout(io.StringIO()):  # DSPy prints
                        rows.append(measure(path, name, arm, options))
                    if not options.json:
                        show(rows[-1], first=len(rows) == 1)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))


def show(row: Row, *, first: bool) -> None:
    """Print one line."""
    if first:
        print("| set | optimizer | arm | calls | before | after | demos | reworded | same |")
        print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |")
    print(
        f"| {row.set} | {row.optimizer} | {row.arm} | {row.calls} | {row.before:.1f} | "
        f"{row.after:.1f} | {row.demos} | {row.reworded} | {'yes' if row.same else 'NO'} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
