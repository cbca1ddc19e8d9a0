"""Repair of single slots beside whole-reply retry, against a server that corrupts slots.

    python benchmarks/repair.py [--items 1000] [--rates 0.05,0.2] [--json]

A loopback server answers four tasks an item (two labels, two texts) and corrupts each slot on its
own with a given probability: a wrong type, a wrong label, or the key left out. Two clients ask for
the same items over real HTTP, with the same instructions and the schema beside them:

- mtiprompt: the failed slots are asked again, together, then each alone (the default: four tries);
- instructor: the whole reply with the validator's errors is sent back and asked for again
  (`max_retries`, four tries more), which is what the usual libraries do.

Shown, counted by the server: calls an item, tokens an item (messages, schema and reply, four
characters each), those of them that were spent after the first call, and the slots without a valid
answer in the end. Target at 5% and short items: none lost, and tokens after the first call at most
a third of the other's.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import mtiprompt as mti
from mtiprompt.testing import Chaos, ChatServer, Received

TRIES = 4
THREADS = 8
INSTRUCTIONS = {
    "mood": "Judge how the customer feels about the shop, from the words and not from the facts.",
    "urgency": "Say how soon somebody has to act; a safety risk is always high.",
    "product": "Name the product that the message is about, as the customer calls it.",
    "request": "Say in one short sentence what the customer wants the shop to do.",
}
TYPES: dict[str, Any] = {
    "mood": Literal["pleased", "neutral", "annoyed", "angry"],
    "urgency": Literal["low", "medium", "high"],
    "product": str,
    "request": str,
}
VALUES = {
    "mood": "annoyed",
    "urgency": "high",
    "product": "electric kettle",
    "request": "Send a new kettle and take the broken one back.",
}
ITEMS = {
    "short": "Message {number}: the electric kettle I bought from you leaks from the bottom since "
    "yesterday, which cannot be safe. I want a new one.",
    "long": "Message {number}: " + (
        "I bought the electric kettle from your shop three weeks ago, and since yesterday it leaks "
        "from the bottom whenever I fill it. The water runs under the base, which cannot be safe. "
    ) * 3 + "I would like a new one, and somebody to pick this one up before the weekend, please.",
}  # fmt: skip
"""About as many characters as the median item of the development sets (33 to 150 in five of six),
and 120 words: what is asked again has to show the item again, so its length matters."""
NUMBER = re.compile(r"Message (\d+):")


class Counted:
    """Answers requests and counts what they read and wrote."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.first = self.later = 0
        self._lock = threading.Lock()

    def __call__(self, received: Received) -> str:
        """The right answer to the keys that are asked for."""
        schema = received.body["response_format"]["json_schema"]["schema"]
        text = json.dumps({key: VALUES[key] for key in schema["properties"]})
        said = "".join(str(one["content"]) for one in received.body["messages"])
        number = NUMBER.search(said)
        assert number is not None
        tokens = (len(said) + len(json.dumps(schema)) + len(text)) // 4
        with self._lock:
            self.calls[number[1]] += 1
            if self.calls[number[1]] == 1:
                self.first += tokens
            else:
                self.later += tokens
        return text


def ours(base_url: str, texts: list[str]) -> int:
    """Slots that have no answer in the end."""

    def declared(name: str) -> mti.Task[Any]:
        fields = {"__annotations__": {"text": str, name: TYPES[name]}, "text": mti.InputField(),
                  name: mti.OutputField(), "__doc__": INSTRUCTIONS[name]}  # fmt: skip
        return mti.task(type(name, (mti.Signature,), fields))

    program = mti.combine(*map(declared, INSTRUCTIONS))
    model = mti.Model("openai/any", api_base=base_url, api_key="k", cache=False)
    program(text=texts[0], model=model)  # loads the client; counted for both
    rows = [{"text": text} for text in texts[1:]]
    results = program.map(rows, model=model, concurrency=THREADS)
    return sum(len(result.failures) for result in results)


def instructors(base_url: str, texts: list[str]) -> int:
    """The same with instructor, where a reply that never validates loses all its slots."""
    import logging
    from importlib import import_module

    import openai
    from pydantic import create_model

    instructor = import_module("instructor")  # of the extra `bench`, which not everybody has
    gave_up = import_module("instructor.core").InstructorRetryException
    logging.getLogger("instructor").setLevel(logging.CRITICAL)
    fields: dict[str, Any] = {name: (kind, ...) for name, kind in TYPES.items()}
    answers: Any = create_model("Answers", **fields)
    client = instructor.from_openai(
        openai.OpenAI(base_url=base_url, api_key="k", max_retries=0),
        mode=instructor.Mode.JSON_SCHEMA,
    )
    told = "\n".join(f"{name}: {text}" for name, text in INSTRUCTIONS.items())

    def ask(text: str) -> int:
        try:
            client.chat.completions.create(
                model="any",
                response_model=answers,
                max_retries=TRIES,
                messages=[
                    {"role": "system", "content": f"Answer for the message:\n{told}"},
                    {"role": "user", "content": text},
                ],
            )
        except gave_up:
            return len(TYPES)
        return 0

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(ask, texts))


def measure(
    client: Callable[[str, list[str]], int], item: str, rate: float, items: int, seed: int
) -> dict[str, float]:
    """The figures of one client for one item at one rate."""
    counted = Counted()
    texts = [item.format(number=number) for number in range(items)]
    with ChatServer(counted, faults=Chaos(seed=seed, slots=rate), record=False) as server:
        lost = client(server.base_url, texts)
    calls = sum(counted.calls.values())
    return {
        "lost": lost,
        "slots": items * len(TYPES),
        "calls": calls / items,
        "most_calls": max(counted.calls.values()),
        "tokens": (counted.first + counted.later) / items,
        "later": counted.later / items,
    }


def main() -> int:
    """Print the table, or one JSON object; 1 if the target at 5% is missed."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--items", type=int, default=1000)
    arguments.add_argument("--rates", default="0.05,0.2")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    clients = {"mtiprompt": ours, "instructor": instructors}
    met = True
    found = []
    for length, item in ITEMS.items():
        for rate in map(float, options.rates.split(",")):
            rows = {
                name: measure(client, item, rate, options.items, options.seed)
                for name, client in clients.items()
            }
            share = rows["mtiprompt"]["later"] / rows["instructor"]["later"]
            found.append({"item": length, "rate": rate, "share": share, **rows})
            if length == "short" and rate == 0.05:
                met = rows["mtiprompt"]["lost"] == 0 and share <= 1 / 3
            if not options.json:
                show(length, rate, rows, share)
    if options.json:
        print(json.dumps(found))
    return 0 if met else 1


def show(length: str, rate: float, rows: dict[str, dict[str, float]], share: float) -> None:
    """Print the rows of one item at one rate."""
    print(f"{length} items ({len(ITEMS[length])} characters), {rate:.0%} of the slots corrupt")
    for name, row in rows.items():
        print(f"  {name:11} calls an item {row['calls']:5.3f} (most {row['most_calls']:.0f})"
              f"   tokens an item {row['tokens']:6.1f}, after the first {row['later']:6.1f}"
              f"   slots lost {row['lost']:.0f} of {row['slots']:.0f}")  # fmt: skip
    print(f"  tokens after the first: {share:.2f} of the other's")


if __name__ == "__main__":
    sys.exit(main())
