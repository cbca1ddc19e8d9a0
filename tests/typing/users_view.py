"""A user's code, read by mypy and pyright; it is never run."""

from __future__ import annotations

from typing import Annotated, Any, Literal, assert_type

from pydantic import Field

import mtiprompt as mti


class Sentiment(mti.Signature):
    """Judge the customer's feeling."""

    message: str = mti.InputField()
    sentiment: Literal["positive", "negative", "mixed"] = mti.OutputField()


@mti.task
def product(message: str) -> Annotated[str, Field(max_length=40)]:
    """Name the product in the message."""
    raise NotImplementedError


@mti.task
def stars(message: str) -> Annotated[int, Field(ge=1, le=5)]:
    """How many stars would the customer give?"""
    raise NotImplementedError


triage = mti.combine(Sentiment, product, stars, "message -> urgent: bool")
assert_type(triage, mti.Program)

model = mti.Model("provider/name", temperature=0, timeout=30)
plan = mti.Plan.fused(triage)
assert_type(plan, mti.Plan)

result = triage(message="The kettle leaks.", model=model, plan=plan)
assert_type(result, mti.Result)
assert_type(result[product], str)
assert_type(result[stars], int)
assert_type(result["product"], Any)
assert_type(result.failures["product"], mti.Failure)
assert_type(result.usage.calls, int)

for each in triage.map([{"message": "Thanks!"}], model=model, plan=plan, concurrency=8):
    assert_type(each, mti.Result)


async def main() -> None:
    """The same for asynchronous code."""
    answer = await triage.acall(message="The kettle leaks.", model=model)
    assert_type(answer[stars], int)
