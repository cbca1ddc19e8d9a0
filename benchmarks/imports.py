"""What `import mtiprompt` costs, side by side with `import dspy`.

Each import runs in a process of its own, the two in turn, after one run of each to warm the disk's
cache and to compile both, as an installer does. Exits with 1 where the import takes over 0.15 s or
over half of DSPy's, or loads a library that only a call needs.

    python benchmarks/imports.py [--repeats N] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from statistics import median

MOST_SECONDS = 0.15
MOST_OF_DSPY = 0.5
UNWANTED = ("litellm", "dspy", "xllamacpp")

CODE = """
import json, sys, time
start = time.perf_counter()
import {module}
seconds = time.perf_counter() - start
print(json.dumps([seconds, [name for name in {unwanted} if name in sys.modules]]))
"""


def measure(module: str, compiled: str) -> tuple[float, list[str]]:
    """Import a module in a new process: its seconds, and which unwanted libraries it loads."""
    code = CODE.format(module=module, unwanted=UNWANTED)
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    run = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, env=environment
    )
    seconds, loaded = json.loads(run.stdout.splitlines()[-1])
    return seconds, loaded


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description="Measure the cost of `import mtiprompt`.")
    parser.add_argument("--repeats", type=int, default=9, help="processes for each (7 or more)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON at the end")
    arguments = parser.parse_args()
    if arguments.repeats < 7:
        parser.error("--repeats: 7 or more")

    modules = ("mtiprompt", "dspy")
    times: dict[str, list[float]] = {module: [] for module in modules}
    with tempfile.TemporaryDirectory() as compiled:
        loaded = {module: measure(module, compiled)[1] for module in modules}
        for _ in range(arguments.repeats):
            for module in modules:
                times[module].append(measure(module, compiled)[0])

    print(f"{'import':<12}{'median s':>10}{'least s':>10}{'most s':>10}{'n':>4}")
    for module, seconds in times.items():
        figures = "".join(f"{f(seconds):>10.3f}" for f in (median, min, max))
        print(f"{module:<12}{figures}{len(seconds):>4}")

    ours, dspy = median(times["mtiprompt"]), median(times["dspy"])
    missed = [
        text
        for text, bad in (
            (f"takes {ours:.3f} s, over {MOST_SECONDS} s", ours > MOST_SECONDS),
            (
                f"takes {ours / dspy:.0%} of dspy, over {MOST_OF_DSPY:.0%}",
                ours > MOST_OF_DSPY * dspy,
            ),
            (f"loads {', '.join(loaded['mtiprompt'])}", bool(loaded["mtiprompt"])),
        )
        if bad
    ]
    for text in missed:
        print(f"missed: import mtiprompt {text}", file=sys.stderr)
    if arguments.json:
        report = {
            "mtiprompt_seconds": round(ours, 4),
            "dspy_seconds": round(dspy, 4),
            "ratio": round(ours / dspy, 4),
            "repeats": arguments.repeats,
            "loaded": loaded["mtiprompt"],
            "passed": not missed,
        }
        print(json.dumps(report))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
