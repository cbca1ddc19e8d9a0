"""A bad day: a thousand rows against a server that fails, stalls, truncates and garbles.

    python examples/bad_day.py          two hundred rows
    python examples/bad_day.py 1000

The server runs on this machine and misbehaves by a seed. One request in eight goes wrong on its
way or is spoilt, and one slot in twenty is corrupt; every row gets all its answers nevertheless,
and only what was wrong is asked again.
"""

import sys
import time

import mtiprompt as mti
from mtiprompt.testing import Chaos, ChatServer, Received

triage = mti.combine(
    "message -> mood: Literal['good', 'bad']",
    "message -> urgent: bool",
    "message -> product: str",
    "message -> days: int",
)


def answer(received: Received) -> dict[str, object]:
    """What the server would say on a good day, for the keys that it is asked for."""
    good = {"mood": "bad", "urgent": True, "product": "kettle", "days": 3}
    return {key: good[key] for key in received.schema["properties"]}


def main(number: str = "200") -> None:
    chaos = Chaos(error=0.03, limited=0.03, dropped=0.02, malformed=0.02, cut=0.02, slots=0.05,
                  retry_after=0.2)  # fmt: skip
    rows = ({"message": f"Kettle number {n} leaks."} for n in range(int(number)))
    with ChatServer(answer, faults=chaos, record=False) as server:
        model = mti.Model("direct/any", api_base=server.base_url, cache=False, timeout=5)
        begun = time.perf_counter()
        whole = sum(not result.failures for result in triage.map(rows, model=model))
        seconds = time.perf_counter() - begun
        used, injected = model.usage, server.injected
    print(f"{whole} of {number} rows have all four answers, after {seconds:.1f} s")
    print(f"{used.calls} calls, {used.of('repair').calls} of them to mend single answers")
    print("injected:", ", ".join(f"{kind} {count}" for kind, count in injected.most_common()))


if __name__ == "__main__":
    main(*sys.argv[1:])
