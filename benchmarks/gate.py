"""Whether the gate keeps its promise where the truth is known, and what it takes.

    python benchmarks/gate.py [--quick] [--programs 2000] [--json FILE]

Programs are simulated: each task of an item has a score alone and a score in company, 0 or 1
(binary) or in between (graded). The gate looks after every block of rows, and a grouping is
accepted once every task of it is. Three questions, a table each:

- *harm*: one task loses 0.005 more than the margin. How often is the grouping accepted all the
  same, with 2 to 6 tasks? With probability 1 - confidence at most. Beside it a paired t-test that
  looks as often, from 30 rows on, and is believed at its word (loss below the margin, p < 0.05).
- *groupings*: all 14 groupings of four tasks harm one of them. How often is any accepted, as each
  uses the share of the error that was dealt to it before? Beside it: the share goes by the place in
  a search that tries the luckiest first, as if the choice had not been made on the same rows.
- *no harm*: no task loses anything, but a share of the scores differ. How often is the grouping
  accepted, and after how many rows (median of those accepted)?

Exits with 1 if the promise is broken beyond chance (a share above 1 - confidence plus three
standard errors).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mtiprompt.gate import log_wealth, share_of_alpha
from mtiprompt.planner.groupings import share_of_error

CONFIDENCE = 0.95
MARGINS = (0.02, 0.05, 0.1)
BLOCK = 10
CHUNK = 100
OVER = 0.005
Rows = Any


def differences(
    rng: np.random.Generator, kind: str, shape: tuple[int, int], loss: float, differing: float
) -> Rows:
    """Alone minus in company, with a mean of `loss`; `differing` of the pairs are not equal."""
    up = (differing + loss) / 2
    signs = rng.choice([-1.0, 0.0, 1.0], p=[differing - up, 1 - differing, up], size=shape)
    if kind == "binary":
        return signs
    return signs * rng.choice([0.5, 1.0], size=shape)  # three quarters of the way on average


def graded_loss(loss: float) -> float:
    """What loss the signs need so that the graded differences have this mean."""
    return loss / 0.75


def looked_at(reached: Rows) -> Rows:
    """Only what is seen at the end of a block, and from then on."""
    seen = reached[..., BLOCK - 1 :: BLOCK]
    return np.maximum.accumulate(seen, axis=-1)


def t_accepts(found: Rows, margin: float) -> Rows:
    """Where a t-test at the end of each block says that the loss is below the margin."""
    number = np.arange(1, found.shape[-1] + 1)
    total, squares = np.cumsum(found, axis=-1), np.cumsum(found**2, axis=-1)
    mean = total / number
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(np.maximum(squares - number * mean**2, 0) / (number - 1) / number)
        return (number >= 30) & ((margin - mean) / spread > critical(number))


def critical(number: Rows) -> Rows:
    """The 95% point of Student's t with number - 1 degrees (Cornish-Fisher, to 0.01 from 5 on)."""
    z, free = 1.6448536, np.maximum(number - 1, 1)
    return z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)


def chunks(programs: int) -> Iterator[int]:
    """The programs in parts that fit into memory."""
    for start in range(0, programs, CHUNK):
        yield min(CHUNK, programs - start)


def simulate(
    rng: np.random.Generator,
    kind: str,
    number: int,
    rows: int,
    losses: list[float],
    differing: float,
) -> list[Rows]:
    """For each task of so many programs its differences."""
    return [
        differences(
            rng,
            kind,
            (number, rows),
            one if kind == "binary" else graded_loss(one),
            max(differing, one / 0.75 + 0.01),
        )
        for one in losses
    ]


def harm(
    rng: np.random.Generator, kind: str, tasks: int, margin: float, programs: int, rows: int
) -> dict[str, float]:
    """How often a grouping that harms one task is accepted, by the gate and by the t-test."""
    rich = -math.log(1 - CONFIDENCE)
    wrong = wrong_t = 0
    for number in chunks(programs):
        accepted = accepted_t = None
        for found in simulate(rng, kind, number, rows, [margin + OVER] + [0.0] * (tasks - 1), 0.1):
            gate = looked_at(log_wealth(found, margin).within >= rich)
            peek = looked_at(t_accepts(found, margin))
            accepted = gate if accepted is None else accepted & gate
            accepted_t = peek if accepted_t is None else accepted_t & peek
        wrong += int(accepted[:, -1].sum())  # type: ignore[index]
        wrong_t += int(accepted_t[:, -1].sum())  # type: ignore[index]
    return {"gate": wrong / programs, "t-test": wrong_t / programs}


def groupings(
    rng: np.random.Generator, margin: float, programs: int, rows: int
) -> dict[str, float]:
    """How often any grouping of four tasks is accepted, where all of them harm.

    A search may end with whichever it likes, so that one is accepted at all is what counts. Beside
    it the share that the place in the search would give, if the luckiest groupings came first.
    """
    shares = [share_of_error(4, sizes) for sizes in [[4], *[[3]] * 4, *[[2]] * 6, *[[2, 2]] * 3]]
    wrong = lucky = 0
    for number in chunks(programs):
        richest = []
        for _ in shares:
            [found] = simulate(rng, "binary", number, rows, [margin + OVER], 0.1)
            richest.append(looked_at(log_wealth(found, margin).within)[:, -1])
        wealth = np.array(richest)
        rich = -np.log((1 - CONFIDENCE) * np.array(shares))
        wrong += int((wealth >= rich[:, None]).any(axis=0).sum())
        places = -np.log(
            (1 - CONFIDENCE) * np.array([share_of_alpha(n) for n in range(len(shares))])
        )
        lucky += int((-np.sort(-wealth, axis=0) >= places[:, None]).any(axis=0).sum())
    return {"any": wrong / programs, "by place": lucky / programs}


def no_harm(
    rng: np.random.Generator, kind: str, tasks: int, margin: float, differing: float,
    programs: int, rows: int,
) -> dict[str, float | None]:  # fmt: skip
    """How often a grouping that harms nothing is accepted, and after how many rows."""
    rich, taken = -math.log(1 - CONFIDENCE), []
    for number in chunks(programs):
        accepted = None
        for found in simulate(rng, kind, number, rows, [0.0] * tasks, differing):
            gate = looked_at(log_wealth(found, margin).within >= rich)
            accepted = gate if accepted is None else accepted & gate
        assert accepted is not None
        some = accepted[accepted[:, -1]]
        taken += list((some.argmax(axis=1) + 1) * BLOCK)
    median = float(np.median(taken)) if taken else None
    return {"accepted": len(taken) / programs, "rows": median}


def main() -> int:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="one small cell")
    arguments.add_argument("--programs", type=int, default=2000)
    arguments.add_argument("--rows", type=int, default=1500)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--json", type=Path, metavar="FILE")
    options = arguments.parse_args()
    rng = np.random.default_rng(options.seed)
    programs, rows = (400, 400) if options.quick else (options.programs, options.rows)
    limit = 1 - CONFIDENCE
    limit += 3 * math.sqrt(limit * (1 - limit) / programs)
    found: dict[str, list[dict[str, Any]]] = {"harm": [], "groupings": [], "no harm": []}
    print(f"{programs} programs a cell, {rows} rows, a look every {BLOCK} rows")
    print("\nharm: wrongly accepted\n margin  kind    tasks    gate  t-test that peeks")
    for margin in (0.05,) if options.quick else MARGINS:
        for kind in ("binary", "graded"):
            for tasks in (2,) if options.quick else (2, 3, 4, 6):
                one = harm(rng, kind, tasks, margin, programs, rows)
                found["harm"].append({"margin": margin, "kind": kind, "tasks": tasks, **one})
                gate, peeking = one["gate"], one["t-test"]
                print(
                    f"   {margin:4.2f}  {kind:7} {tasks:5} {gate:7.3f} {peeking:7.3f}", flush=True
                )
    one = groupings(rng, 0.05, programs, rows)
    found["groupings"].append(one)
    print("\nall groupings of four tasks harm, margin 0.05: any accepted "
          f"{one['any']:.3f}, with shares by place {one['by place']:.3f}")  # fmt: skip
    print("\nno harm\n margin  kind    tasks  differing  accepted  rows")
    for margin in (0.05,) if options.quick else MARGINS:
        for kind in ("binary", "graded"):
            for differing in (0.1,) if options.quick else (0.02, 0.1, 0.2):
                got = no_harm(rng, kind, 4, margin, differing, programs, rows)
                found["no harm"].append(
                    {"margin": margin, "kind": kind, "differing": differing, **got}
                )
                shown = "-" if got["rows"] is None else f"{got['rows']:.0f}"
                print(f"   {margin:4.2f}  {kind:7} {4:5} {differing:10.2f} {got['accepted']:9.3f} "
                      f"{shown:>5}", flush=True)  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    shares = [row["gate"] for row in found["harm"]] + [found["groupings"][0]["any"]]
    if max(shares) > limit:
        print(f"\nBROKEN: {max(shares):.3f} is above {limit:.3f}")
        return 1
    print(f"\nkept: at most {max(shares):.3f} of {limit:.3f} (0.05 and three standard errors)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
