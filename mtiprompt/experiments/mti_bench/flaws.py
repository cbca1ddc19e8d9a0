"""What is known of the 25 tasks: what each step's answer is, and what is wrong with it.

Found by reading a copy of the benchmark (gpmoura4/Multitask_EDC_II, data/MTI_BENCH.json at commit
b9329c8) and two instances of every task closely. Upstream names none of these flaws.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mtiprompt.experiments.mti_bench.values import Kind, kind_of

KINDS: Mapping[str, tuple[Kind, ...]] = {
    "001": ("option", "words"),
    "002": ("order", "number", "number"),
    "003": ("option", "option"),
    "004": ("set", "option"),
    "005": ("option", "option"),
    "006": ("option", "set"),
    "007": ("order", "option"),
    "008": ("order", "option"),
    "009": ("option", "order"),
    "010": ("option", "order"),
    "011": ("option", "letter"),
    "012": ("order", "option", "words"),
    "013": ("option", "option"),
    "014": ("set", "fraction"),
    "015": ("set", "fraction", "number"),
    "016": ("set", "option", "option"),
    "017": ("order", "option"),
    "018": ("option", "order", "words"),
    "019": ("option", "letter"),
    "020": ("set", "option"),
    "021": ("number", "number"),
    "022": ("set", "number"),
    "023": ("option", "number"),
    "024": ("option", "letter"),
    "025": ("option", "option"),
}
"""What the answer of each step is. Lists of numbers are sets: their order says nothing."""

UNSOUND: Mapping[tuple[str, int], str] = {
    ("001", 2): "most gold answers contradict the passage (9 of 11 read)",
    ("013", 2): "asks for a sum, and the gold is the option's number alone",
    ("016", 1): "the placeholder {topic_} was never filled in",
    ("016", 2): "the placeholder {type_} was never filled in",
    ("016", 3): "follows from step 2, which cannot be answered",
    ("019", 2): "the placeholder {relation} was never filled in",
}
"""Steps that no model can be judged by, and why. The others are scored."""

ALSO_TAG: Mapping[tuple[str, int], int] = {("011", 2): 1, ("013", 2): 1}
"""Steps whose instruction asks for the tag of another step; either counts."""

MENDED: Mapping[str, str] = {
    "013": "the task to be solved is filed under step 2, and step 1 cannot be answered without it",
    "020": "the gold counts categories from 0 and the text from 1: the category is raised by one",
}
"""What is put right when the file is read, by task."""

CAUTION: Mapping[str, str] = {
    "002": "step 3 rests on one person's yes or no",
    "004": "step 1 has look-alikes that cannot be answered among its gold",
    "005": "options repeat; step 2 is a matter of taste",
    "012": "orders are ambiguous where sentences do not depend on each other",
    "014": "what is plausible is debatable",
    "015": "labels are very noisy; step 3 with `add` is always 1",
    "018": "contexts are often empty",
    "022": "the gold is the option's number, not the prime",
    "025": "the text is sometimes cut so that the mark of the holding is missing",
}
"""What is scored all the same, and should be read with care."""


def kind(task: str, step: int, gold: Any) -> Kind:
    """What the answer of a step (from 1) is; by its gold where the task is none of the 25."""
    known = KINDS.get(task, ())
    return known[step - 1] if step <= len(known) else kind_of(gold)


def mend_context(task: str, key: str) -> str:
    """The key of a context: the step that it belongs to, and its place there."""
    return "1_1" if (task, key) == ("013", "2_1") else key


def mend_instruction(task: str, step: int, text: str) -> str:
    """An instruction as it must have been meant."""
    if (task, step) != ("020", 1):
        return text
    return re.sub(r"(in category )(\d{1,3})", lambda found: f"{found[1]}{int(found[2]) + 1}", text)
