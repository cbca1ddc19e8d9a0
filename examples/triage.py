"""Triage e-mails by four tasks in one call each, as `mtiprompt demo` does.

    python examples/triage.py                       two e-mails on a small model in this process
    python examples/triage.py openai/gpt-5-mini 8   eight of them on a provider's model

The small model is fast and weak: it shows the form of the answers, not their worth. Fetch it once
with `mtiprompt models pull smollm2-135m`.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

import mtiprompt as mti

DATA = Path(__file__).parent / "data" / "facility_emails_demo.jsonl"

Category = Literal[
    "cleaning_services_scheduling",
    "customer_feedback_and_complaints",
    "emergency_repair_services",
    "facility_management_issues",
    "general_inquiries",
    "quality_and_safety_concerns",
    "routine_maintenance_requests",
    "specialized_cleaning_services",
    "sustainability_and_environmental_practices",
    "training_and_support_requests",
]


@mti.task
def categories(email: str) -> list[Category]:
    """Which support categories match the e-mail best?"""


@mti.task
def sentiment(email: str) -> Literal["negative", "neutral", "positive"]:
    """What is the sentiment of the e-mail?"""


@mti.task
def urgency(email: str) -> Literal["high", "medium", "low"]:
    """How urgent is the e-mail?"""


@mti.task
def subject(email: str) -> Annotated[str, Field(max_length=80)]:
    """Write the subject line of the e-mail."""


triage = mti.combine(categories, sentiment, urgency, subject)


def main(model: str = "local/smollm2-135m", number: str = "2") -> None:
    rows = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
    # worked examples in the prompt; what they show is kept by the program, not by the text
    plan = mti.Plan.fused(triage, demos=[row for row in rows if row["split"] == "train"])
    emails = [row["inputs"] for row in rows if row["split"] == "test"][: int(number)]
    for result in triage.map(emails, model=model, plan=plan):
        for name in result:
            print(f"{name}: {result.get(name)}")
        print(f"{result.usage.calls} call, {result.usage.completion_tokens} tokens written\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
