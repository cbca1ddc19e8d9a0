"""The scorer of superposition against sampling: how often an answer comes that should.

    python benchmarks/superposition_check.py [--model local/gemma3-270m-base] [--number 2000]
        [--configs numbers,countries,words] [--json]

After the first mixed prompt of each configuration the model writes so many answers, each token
drawn by its probability alone (temperature 1, nothing cut off), up to the end of the line. How
often each task's answer came, with its 95% interval (Wilson), stands beside the probability that
the scorer gives it. Both stand on the same reading of the prompt.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter

from common import print_table

from mtiprompt import stats
from mtiprompt.experiments.superposition.prompts import cells, draw, write
from mtiprompt.experiments.superposition.score import CLOSING, score
from mtiprompt.experiments.superposition.tasks import CONFIGS
from mtiprompt.models import local
from mtiprompt.models.local_tokens import TIMEOUT, LocalTokens

LONGEST = 24
"""Tokens after which an answer is another one."""


def drawn_answers(engine: local.Engine, prompt: list[int], number: int) -> Counter[str]:
    """How often each answer came; one that did not end is counted under its beginning."""
    how = {"n_predict": LONGEST, "temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0,
           "stop": [CLOSING], "cache_prompt": True}  # fmt: skip
    found = Counter[str]()
    for seed in range(number):
        told = engine.post("/completion", {"prompt": prompt, "seed": seed, **how}, timeout=TIMEOUT)
        found[told["content"] + ("" if told["stop_type"] == "word" else "...")] += 1
    return found


def main() -> None:
    """Draw, count and print."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--model", default="local/gemma3-270m-base")
    arguments.add_argument("--number", type=int, default=2000, help="answers to draw")
    arguments.add_argument("--configs", default="numbers,countries,words")
    arguments.add_argument("--json", action="store_true", help="one JSON object instead")
    options = arguments.parse_args()
    lines = []
    with LocalTokens(options.model) as model:
        for name in options.configs.split(","):
            config = CONFIGS[name]
            about = draw(config, 0)
            mixed = next(one for one in cells(config) if one.kind == "mixed")
            prompt = write(mixed, about)
            scored = score(model, prompt, about.query.answers)
            came = drawn_answers(model.engine, list(model.tokens(prompt)), options.number)
            for task, one in zip(config.tasks, scored, strict=True):
                hits = came[one.answer]
                often = stats.mean([True] * hits + [False] * (options.number - hits))
                lines.append((name, task, one.answer, one.closed, often))
    if options.json:
        print(json.dumps([(*line, often.plain()) for *line, often in lines]))
        return
    print_table(
        ["configuration", "task", "answer", "score", f"came, of {options.number:,}"],
        (
            [name, task, f"`{answer}`", f"{likely:.4f}",
             f"{often.mean:.4f} [{often.interval.low:.4f}, {often.interval.high:.4f}]"]
            for name, task, answer, likely, often in lines
        ),
    )  # fmt: skip


if __name__ == "__main__":
    main()
