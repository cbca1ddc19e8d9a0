"""Measure ways of running side by side, on a model that loses answers when much is asked at once.

    python examples/compare_arms.py

No network and no real model: a function answers, rightly when it is asked one thing, and every
third time wrongly on `urgent` when it is asked all. The table tells it apart from chance.
"""

import json
import re

import mtiprompt as mti

triage = mti.combine(
    "message -> mood: Literal['good', 'bad']",
    "message -> urgent: bool",
    "message -> product: Literal['kettle', 'lamp']",
)


def gold(number: int) -> dict[str, object]:
    product = ("kettle", "lamp")[number % 2]
    return {"mood": ("good", "bad")[number % 3 > 0], "urgent": number % 4 == 0, "product": product}


def answer(request: mti.Request) -> str:
    """What the model says: wrong on `urgent` for every third message if all is asked at once."""
    number = int(re.findall(r"Message (\d+)", request.messages[-1].content)[-1])
    asked = request.schema.schema["properties"]
    said = {name: value for name, value in gold(number).items() if name in asked}
    if len(said) == 3 and number % 3 == 0:
        said["urgent"] = not said["urgent"]
    return json.dumps(said)


def main() -> None:
    rows = [{"inputs": {"message": f"Message {n}"}, "outputs": gold(n)} for n in range(30)]
    arms = mti.make_arms(triage, ["split", "split_all_context", "fused"], demos=[])
    found = mti.compare(triage, rows, arms, model=mti.FunctionModel(answer))
    for arm, scores in found.scores.items():
        print(
            f"{arm}: {scores.usage.calls} calls, all right {scores.joint:.0%} of {scores.joint.n}"
        )
        for task, one in scores.tasks.items():
            line = f"  {task:8} {one.mean:4.0%}"
            if arm != found.baseline:
                apart = found.difference(arm, task)
                low, high = apart.interval
                line += f"  {apart:+5.0%} ({low:+.0%} to {high:+.0%})"
            print(line)


if __name__ == "__main__":
    main()
