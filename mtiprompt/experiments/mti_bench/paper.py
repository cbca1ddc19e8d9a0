"""The paper's format: raw text, answers between tags, earlier replies fed forward as they came.

The wording follows the released scripts (guijinSON/MTI-Bench, `inference/`, commit 0ba499d). They
show each step a worked example of its own, from a spreadsheet that is not part of the file; here
every arm sees the one of the file, where it has one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mtiprompt.errors import BudgetExceeded, ModelError, MTIError
from mtiprompt.evaluation import Outcome
from mtiprompt.experiments.mti_bench.bench import Instance
from mtiprompt.experiments.mti_bench.flaws import ALSO_TAG
from mtiprompt.models.base import LanguageModel
from mtiprompt.result import Call, Failure, FailureKind
from mtiprompt.wire import Message, Reply, Request, Usage

RAW = 200
"""Characters kept of a reply in which an answer is missing."""


def answer(
    model: LanguageModel, arm: str, block: Sequence[Instance], sample: str
) -> Iterator[Outcome]:
    """What became of some instances of one task in an arm.

    Args:
        model: Whom to ask.
        arm: The name of the arm.
        block: The instances; `batch` puts all of them into each call.
        sample: The worked example; may be empty.

    Raises:
        ModelError: The model cannot be used at all.
    """
    groups = [list(block)] if arm == "batch" else [[one] for one in block]
    for group in groups:
        yield from _Talk(model, arm, group, sample).run()


class _Talk:
    """The calls about one instance, or about those of one batch."""

    def __init__(
        self, model: LanguageModel, arm: str, group: Sequence[Instance], sample: str
    ) -> None:
        self._model, self._arm, self._group, self._sample = model, arm, group, sample
        self._answers: list[dict[str, str]] = [{} for _ in group]
        self._failures: list[dict[str, dict[str, str | None]]] = [{} for _ in group]
        self._calls: list[Call] = []
        self._outage: Failure | None = None

    def run(self) -> list[Outcome]:
        """Ask all steps; after a call that failed the rest is not asked."""
        steps = list(self._group[0].steps)
        calls = [steps] if self._arm == "multi" else [[step] for step in steps]
        said: list[str] = []
        for number, asked in enumerate(calls):
            prompt = word(self._arm, self._group, asked, said, self._sample)
            outcome = self._ask(prompt, asked)
            if isinstance(outcome, MTIError):
                self._fail(outcome, [step for rest in calls[number:] for step in rest])
                break
            said.append(outcome.text)
            self._read(outcome, asked)
        return [self._outcome(place) for place in range(len(self._group))]

    def _ask(self, prompt: str, asked: Sequence[int]) -> Reply | MTIError:
        request = Request((Message("user", prompt),))
        tasks = tuple(f"step{step}" for step in asked)
        name = self._model.name
        try:
            reply = self._model.complete(request)
        except (ModelError, BudgetExceeded) as error:
            if isinstance(error, ModelError) and error.stops:
                raise
            lost = error.usage or Usage(calls=int(isinstance(error, ModelError)))
            self._calls.append(Call(tasks, request, None, error, name, lost))
            return error
        self._calls.append(Call(tasks, request, reply, None, name, reply.usage))
        return reply

    def _read(self, reply: Reply, asked: Sequence[int]) -> None:
        batch = len(self._group) > 1
        for place, instance in enumerate(self._group):
            for step in asked:
                also = 0 if batch else ALSO_TAG.get((instance.task, step), 0)
                tag = place + 1 if batch else step
                text = _tagged(reply.text, tag, also, taken=also in asked)
                if text is not None:
                    self._answers[place][f"step{step}"] = text
                    continue
                cut = reply.finish_reason == "length"
                self._failures[place][f"step{step}"] = {
                    "kind": "cut off" if cut else "missing",
                    "message": f"there is no text between <task{tag}> and <task{tag}/>",
                    "raw": reply.text[-RAW:],
                }

    def _fail(self, error: MTIError, steps: Sequence[int]) -> None:
        kind: FailureKind = "budget spent" if isinstance(error, BudgetExceeded) else "call failed"
        failure = Failure(kind, str(error), error=error)
        for failures in self._failures:
            for step in steps:
                failures[f"step{step}"] = {"kind": kind, "message": str(error), "raw": None}
        if failure.is_outage:
            self._outage = failure

    def _outcome(self, place: int) -> Outcome:
        number = len(self._group)
        shares = [one.usage.share(place, number) for one in self._calls]
        calls = tuple(
            Call(one.tasks, one.request, one.reply, one.error, one.model, share)
            for one, share in zip(self._calls, shares, strict=True)
        )
        return Outcome(
            self._group[place].id,
            self._answers[place],
            self._failures[place],
            sum(shares, Usage()),
            calls,
            self._outage,
        )


def _tagged(text: str, tag: int, also: int, *, taken: bool) -> str | None:
    """The first text between a tag and its end; else that of another tag which counts as well."""
    found = _between(text, tag)
    if not found and also:
        found = _between(text, also)[int(taken) :]  # the first is the answer of that step
    return found[0] if found else None


def _between(text: str, tag: int) -> list[str]:
    end = rf"(?:<\s*task{tag}\s*/\s*>|<\s*/\s*task{tag}\s*/?\s*>)"
    return [one.strip() for one in re.findall(rf"<task{tag}>(.*?){end}", text, re.DOTALL)]


# --- wording --------------------------------------------------------------------------------------


def word(
    arm: str, group: Sequence[Instance], asked: Sequence[int], said: Sequence[str], sample: str
) -> str:
    """The prompt of a call.

    Args:
        arm: The name of the arm.
        group: The instances of the call.
        asked: The steps that it asks for.
        said: The replies to the steps before.
        sample: The worked example; may be empty.
    """
    example = f"### Example:\n\n### Instruction: {sample}\n\n" if sample else ""
    if arm == "multi":
        turns = f"### Instruction: {_whole(group[0])}"
    elif arm == "all_context":
        turns = _only(group[0], asked[0], said)
    else:
        turns = _turns(group, asked[0], said)
    return f"{example}### Task:\n\n{turns}\n\n### Answer:\n\n"


def _whole(instance: Instance) -> str:
    lines = [f"#{n}: {text}" for n, text in enumerate(instance.instructions, start=1)]
    return "\n\n".join(["\n".join([instance.query, *lines]), *instance.contexts.values()])


def _only(instance: Instance, step: int, said: Sequence[str]) -> str:
    """All that `multi` sees, the answers so far, and one step to answer."""
    earlier = [f"### Answer to #{n}:\n\n{text}" for n, text in enumerate(said, start=1)]
    now = f"### Instruction: Answer #{step} only."
    return "\n\n".join([f"### Instruction: {_whole(instance)}", *earlier, now])


def _turns(group: Sequence[Instance], step: int, said: Sequence[str]) -> str:
    """Step by step, each earlier one with the reply that it got."""
    if step == 1:
        asks = _ask_of(group, 1)
        return asks if len(group) > 1 else f"### Instruction: {asks}"
    earlier = [
        f"### ({n}) Instruction: {_ask_of(group, n)}\n\n### Answer:\n\n{text}"
        for n, text in enumerate(said, start=1)
    ]
    return "\n\n".join([*earlier, f"### ({step}) Instruction: {_ask_of(group, step)}"])


def _ask_of(group: Sequence[Instance], step: int) -> str:
    """One step, of one instance or of each instance of a batch, where tags say which."""
    if len(group) == 1:
        return _step(group[0], step)
    return "\n\n".join(
        f"### Instruction {n}: " + re.sub(r"<task\d(/?)>", rf"<task{n}\1>", _step(one, step))
        for n, one in enumerate(group, start=1)
    )


def _step(instance: Instance, step: int) -> str:
    own = [text for key, text in instance.contexts.items() if key.startswith(f"{step}_")]
    return "\n\n".join([instance.instructions[step - 1], *own])
