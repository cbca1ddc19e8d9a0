"""Tune a plan under a budget of calls, on a model that two of twelve demonstrations help.

    python examples/optimize.py

No network and no real model: a function answers, and is right more often where it is shown letter 2
or letter 7. The search does not know that; it has 400 calls to find out, and a quarter of them is
kept to show that what it found is better.
"""

import hashlib
import json

import mtiprompt as mti
from mtiprompt.optimizer import Progress
from mtiprompt.report.tuned import effects_of, verdict_of

triage = mti.combine(
    "message -> urgent: Literal['yes', 'no']",
    "message -> angry: Literal['yes', 'no']",
)
GOLD = {"urgent": "yes", "angry": "no"}
WRONG = {"urgent": "no", "angry": "yes"}


def rows(kind: str, number: int) -> list[dict[str, object]]:
    return [
        {"id": f"{kind}-{n}", "inputs": {"message": f"{kind} {n}."}, "outputs": GOLD}
        for n in range(number)
    ]


def luck(text: str) -> float:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def answer(request: mti.Request) -> str:
    """What the model says: each good demonstration makes it right about 20 items of 100 more."""
    shown = "\n".join(one.content for one in request.messages)
    chance = 0.4 + 0.2 * sum(f"Letter {n}." in shown for n in (2, 7))
    item = request.messages[-1].content[-20:]
    return json.dumps(
        {name: (GOLD if luck(name + item) < chance else WRONG)[name] for name in GOLD}
    )


def watch(now: Progress) -> None:
    if now.calls % 100 == 0:
        print(f"{now.calls} of {now.most} calls, {now.stage}: {now.gain:+.2f} expected")


def main() -> None:
    tuned = mti.optimize(
        triage,
        rows("Letter", 12),
        rows("Mail", 120),
        model=mti.FunctionModel(answer),
        budget=mti.Budget(calls=400),
        vary={"demos", "order"},  # the same demonstrations for all items, none chosen for each
        progress=watch,
    )
    for row in effects_of(tuned, most=4).rows:
        print("  ".join(f"{cell:>14}" for cell in row))
    for line in verdict_of(tuned).paragraphs:
        print(line)


if __name__ == "__main__":
    main()
