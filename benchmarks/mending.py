"""What a real small model writes without any constraint, and what it takes to mend it.

    python benchmarks/mending.py FOLDER [--sets review_aspects,assistant_commands] [--items 60]

The embedded model is asked for JSON by words alone: no schema, no grammar holds it. Two ways of
dealing with slots that do not validate get the same first reply:

- repair: ours, the failed slots together, then each alone, three tries;
- whole retry: the usual way, the whole reply is shown with the validator's errors and asked for
  again, as often as repair may try (four times); the last reply counts, or, where a faulty reply is
  thrown away, as the usual libraries do, only a faultless one.

Replies are kept in .cache/mending, whether they validate or not, so a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import load, parser, paths, split

import mtiprompt as mti
from mtiprompt.models.base import Support, Wrapper
from mtiprompt.parse import parse
from mtiprompt.render import group_prompt
from mtiprompt.wire import Message, Reply, Request
from mtiprompt.wording import Templates

RETRIES = 4


class Unheld(Wrapper):
    """The model held by words alone; every reply is stored, the faulty ones too."""

    def __init__(self, inner: mti.LanguageModel) -> None:
        super().__init__(inner)
        self.support = Support("prompt", dialect="llguidance")

    def complete(self, request: Request) -> Reply:
        """Ask and store."""
        reply = self.inner.complete(request)
        self.inner.keep(request, reply)
        return reply


@dataclass
class Arm:
    """What one way of mending came to.

    Attributes:
        valid: Slots that were valid in the end.
        whole: Items all of whose slots were.
        calls: Calls after the first.
    """

    valid: int = 0
    whole: int = 0
    calls: int = 0


def whole_retry(
    model: Unheld, request: Request, reply: Reply, slots: Any
) -> tuple[dict[str, Any], int]:
    """The slots after asking for everything again, and the calls that took."""
    found = parse(reply, slots)
    for number in range(RETRIES):
        errors = [
            f"{name}: {slot.message}"
            for name, slot in found.items()
            if isinstance(slot, mti.Failure)
        ]
        if not errors:
            return found, number
        said = "Validation errors found:\n" + "\n".join(errors) + "\nReply again, correctly."
        turns = (Message("assistant", reply.text), Message("user", said))
        request = Request((*request.messages, *turns), request.schema, "prompt", sample=number)
        reply = model.complete(request)
        found = parse(reply, slots)
    return found, RETRIES


def measure(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one set."""
    program, rows = load(path)
    plan = mti.Plan.fused(program, demos=split(rows, "train", options.demos))
    model = Unheld(mti.Model(options.model, cache=Path(".cache/mending"), timeout=600))
    prompt = group_prompt(program, plan, program.order, model.support, Templates())
    items = split(rows, "dev", options.items)
    first, ours, theirs, thrown = Arm(), Arm(), Arm(), Arm()
    for turn, row in enumerate(items, start=1):
        inputs = program.read_inputs(row["inputs"])
        request = prompt.request({1: prompt.item(inputs, {})}, "prompt")
        reply = model.complete(request)
        count(first, parse(reply, prompt.slots), 0)
        result = program(**row["inputs"], model=model, plan=plan)
        count(ours, mti.slots(result), len(result.calls) - 1)
        found, calls = whole_retry(model, request, reply, prompt.slots)
        count(theirs, found, calls)
        kept = found if not any(isinstance(one, mti.Failure) for one in found.values()) else {}
        count(thrown, kept, calls)
        print(f"\r{path.stem} {turn}/{len(items)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    slots = len(items) * len(program.tasks)
    arms = {
        "first reply": first,
        "repair": ours,
        "whole retry": theirs,
        "whole retry, faulty thrown away": thrown,
    }
    return {
        "set": path.stem,
        "items": len(items),
        "slots": slots,
        "arms": {
            name: {
                "valid": arm.valid / slots,
                "whole": arm.whole / len(items),
                "calls": arm.calls / len(items),
            }
            for name, arm in arms.items()
        },
    }


def count(arm: Arm, found: Any, calls: int) -> None:
    """Add one item."""
    good = sum(isinstance(slot, mti.Answer) for slot in found.values())
    arm.valid += good
    arm.whole += bool(found) and good == len(found)
    arm.calls += calls


def main() -> int:
    """Print the table, or one JSON object."""
    arguments = parser(__doc__, items=60, sets="review_aspects,assistant_commands")
    arguments.add_argument("--demos", type=int, default=0)
    options = arguments.parse_args()
    table = [measure(path, options) for path in paths(options)]
    if options.json:
        print(json.dumps({"model": options.model, "figures": table}))
        return 0
    for row in table:
        print(f"{row['set']}: {row['items']} items, {row['slots']} slots, {options.demos} demos")
        for name, arm in row["arms"].items():
            print(f"  {name:32} slots valid {arm['valid']:6.1%}   items whole {arm['whole']:6.1%}"
                  f"   calls after the first, an item {arm['calls']:.2f}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
