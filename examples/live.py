"""Show each answer the moment it is there, while the model is still writing the next.

    python examples/live.py                       on a small model in this process
    python examples/live.py openai/gpt-5-mini     on a provider's model

Fetch the small model once with `mtiprompt models pull smollm2-135m`.
"""

import sys
import time
from typing import Annotated, Literal

from pydantic import Field

import mtiprompt as mti


@mti.task
def urgency(message: str) -> Literal["high", "medium", "low"]:
    """How soon does somebody have to act?"""


@mti.task
def product(message: str) -> Annotated[str, Field(max_length=30)]:
    """Name the product."""


@mti.task
def reply(message: str, urgency: str = "unknown") -> Annotated[str, Field(max_length=200)]:
    """Write a short, kind reply to the customer."""


# the short answers first: they are needed first, and the reply builds on one of them
desk = mti.combine(urgency, product, reply)


def main(model: str = "local/smollm2-135m") -> None:
    begun = time.perf_counter()
    stream = desk.stream(message="The kettle leaks all over my kitchen!", model=model)
    for task, answer in stream:
        said = answer.message if isinstance(answer, mti.Failure) else answer.value
        print(f"{time.perf_counter() - begun:6.2f} s  {task}: {said}")
    usage = stream.result.usage
    print(f"{usage.calls} call, {usage.of('repair').calls} of them to mend an answer")


if __name__ == "__main__":
    main(*sys.argv[1:])
