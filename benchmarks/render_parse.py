"""Prompt, schema and parse of a 10-task program, beside dspy.Predict on the same 10 fields.

    python benchmarks/render_parse.py [--json] [--repeats N]

Neither side talks to a model: both get the same finished reply at once. Rounds of both sides take
turns; the figures are medians over rounds of the mean time of a call. "prompt, schema and parse"
is what the library does for one item beside the call itself; "whole call" is `program(...)`, result
object included. Target: at most 0.5 ms together.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import mtiprompt as mti
from mtiprompt.models.base import Support
from mtiprompt.parse import parse
from mtiprompt.render import group_prompt
from mtiprompt.wire import Reply
from mtiprompt.wording import Templates

TARGET_MS = 0.5
LABELS = ("low", "middle", "high")
MESSAGE = "The parcel came two days late and the box was open. " * 12
FIELDS: dict[str, Any] = {
    "mood": Literal[LABELS], "haste": Literal[LABELS], "value": int, "share": float, "angry": bool,
    "topic": str, "names": list[str], "days": int, "tone": Literal[LABELS], "summary": str,
}  # fmt: skip
VALUES: dict[str, Any] = {
    "mood": "low", "haste": "high", "value": 3, "share": 0.25, "angry": True, "topic": "parcel",
    "names": ["parcel", "box"], "days": 2, "tone": "middle", "summary": "Late and opened parcel.",
}  # fmt: skip


def ours() -> tuple[Callable[[], Any], Callable[[], Any]]:
    """One item: prompt, schema and parse alone; and the whole call."""
    import dspy

    signatures = [
        type(name, (dspy.Signature,), {
            "__doc__": f"Find the {name} of the message.",
            "__annotations__": {"message": str, f"{name}_value": kind},
            "message": dspy.InputField(),
            f"{name}_value": dspy.OutputField(),
        })
        for name, kind in FIELDS.items()
    ]  # fmt: skip
    program = mti.combine(*signatures)
    text = json.dumps({f"{name}_value": value for name, value in VALUES.items()})
    reply = Reply(text)
    prompt = group_prompt(program, mti.Plan.fused(program), program.order, Support(), Templates())
    model = mti.FunctionModel(lambda request: reply)

    def steps() -> None:
        request = prompt.request(
            {1: prompt.item(program.read_inputs({"message": MESSAGE}), {})}, "json_schema"
        )
        assert request.schema is not None
        assert request.schema.text
        parse(reply, prompt.slots)

    def whole() -> mti.Result:
        return program(message=MESSAGE, model=model)

    result = whole()
    assert not result.failures, result.failures
    assert result.value_value == 3
    return steps, whole


def dspys() -> Callable[[], Any]:
    """One call of dspy.Predict with the same ten outputs and a dummy model."""
    import dspy
    from dspy.utils import DummyLM

    made: dict[str, tuple[Any, Any]] = {"message": (str, dspy.InputField())}
    made |= {f"{name}_value": (kind, dspy.OutputField()) for name, kind in FIELDS.items()}
    predict = dspy.Predict(dspy.Signature(made, "Find everything in the message."))
    answer = {f"{name}_value": value for name, value in VALUES.items()}
    adapter = dspy.JSONAdapter()

    lm = DummyLM([dict(answer) for _ in range(200_000)], adapter=adapter)

    def call() -> Any:
        with dspy.context(lm=lm, adapter=adapter, track_usage=False):
            return predict(message=MESSAGE)

    assert call().value_value == 3
    return call


def measure(sides: dict[str, Callable[[], Any]], repeats: int, calls: int) -> dict[str, float]:
    """Median over interleaved rounds of the mean milliseconds of a call."""
    rounds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, call in sides.items():
            start = time.perf_counter()
            for _ in range(calls):
                call()
            rounds[name].append((time.perf_counter() - start) / calls * 1000)
    return {name: statistics.median(times) for name, times in rounds.items()}


def main() -> int:
    """Print the table, or one JSON object."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument("--repeats", type=int, default=15)
    options = arguments.parse_args()
    steps, whole = ours()
    sides = {
        "mtiprompt: prompt, schema and parse": steps,
        "mtiprompt: whole call": whole,
        "dspy.Predict: whole call, JSONAdapter, dummy model": dspys(),
    }
    found = measure(sides, options.repeats, calls=100)
    mine, called, theirs = found.values()
    if options.json:
        print(json.dumps({"steps_ms": mine, "call_ms": called, "dspy_ms": theirs}))
    else:
        for name, milliseconds in found.items():
            print(f"{milliseconds:8.3f} ms  {milliseconds / theirs:5.2f} x dspy  {name}")
    return 0 if mine <= TARGET_MS else 1


if __name__ == "__main__":
    sys.exit(main())
