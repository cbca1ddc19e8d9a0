"""A program as a `dspy.Module`: one predictor for each task, one call for each group."""

from __future__ import annotations

import copy
import inspect
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import dspy

from mtiprompt.checks import read_names
from mtiprompt.dspy_bridge.asked import DSPyModel
from mtiprompt.dspy_bridge.carried import BroughtProgram
from mtiprompt.dspy_bridge.demos import Rows, as_demo, flat_row, held_by, line_up, shown
from mtiprompt.dspy_bridge.names import Names, predictor_name
from mtiprompt.dspy_bridge.served import ServedLM
from mtiprompt.dspy_bridge.signatures import signature_of
from mtiprompt.dspy_bridge.streams import astreamed, streamed
from mtiprompt.errors import PlanError, SettingsError
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.model import as_model
from mtiprompt.plan import Plan
from mtiprompt.program import Program, combine
from mtiprompt.result import Answer, Result, slots
from mtiprompt.tasks import first_line

logger = logging.getLogger(__name__)

FORMAT = 1
"""The version of what is saved."""

OURS = "mtiprompt"
"""The key of a saved state under which our part of it stands."""


def make_module(program: Any, plan: Plan | None, model: Any) -> FusedModule:
    """A program as a module; see `mti.to_dspy`."""
    made = program if isinstance(program, Program) else combine(program)
    own = made.plan if isinstance(made, BroughtProgram) else Plan.fused(made)
    chosen = own if plan is None else plan
    if not isinstance(chosen, Plan):
        raise PlanError(f"{chosen!r:.80} is no plan", hint="make one: mti.Plan.fused(program)")
    chosen.check(made)
    return FusedModule(made, chosen, None if model is None else as_model(model))


@dataclass(frozen=True)
class _Now:
    """The plan as the predictors have it.

    Attributes:
        key: The instructions, and the demonstrations by identity.
        held: These demonstrations, so that no others get their ids.
        plan: The plan with both.
    """

    key: tuple[Any, ...]
    held: list[list[Any]]
    plan: Plan


class FusedModule(dspy.Module):  # type: ignore[misc]  # dspy has no types
    """A program that DSPy can run and tune; made by `mti.to_dspy`.

    Args:
        program: The program.
        plan: How to run; its instructions and demonstrations go to the predictors.
        model: Whom to ask; without one, what DSPy is configured with.

    Attributes:
        program: The program.
        tasks: The predictors by task: each holds an instruction and demonstrations. `lm` of the
            first that has one is asked before all others, as `set_lm` wants it.
    """

    def __init__(self, program: Program, plan: Plan, model: LanguageModel | None) -> None:
        super().__init__()
        self.program = program
        self._given = model
        self._names = Names(program)
        self._rows = Rows()
        self._kept: _Now | None = None
        self._plan = plan
        self.tasks = {
            name: dspy.Predict(signature_of(self._names, task, plan.instruction(program, name)))
            for name, task in program.tasks.items()
        }
        self._remember(plan)
        for name, rows in held_by(self._names, plan.demos).items():
            self.tasks[name].demos = [dspy.Example(row) for row in rows]

    # --- what it stands for now -------------------------------------------------------------

    @property
    def plan(self) -> Plan:
        """The plan, with the instructions and demonstrations as they are now."""
        held = [list(holder.demos) for holder in self.tasks.values()]
        words = tuple(holder.signature.instructions for holder in self.tasks.values())
        key = (words, *(tuple(map(id, demos)) for demos in held))
        kept = self._kept
        if kept is None or kept.key != key:
            kept = self._kept = _Now(key, held, self._planned(held))
        return kept.plan

    def _planned(self, held: list[list[Any]]) -> Plan:
        demos, by_task = self._plan.demos, dict(zip(self.tasks, held, strict=True))
        now = {name: [dict(one.items()) for one in own] for name, own in by_task.items()}
        if now != held_by(self._names, demos):  # an optimizer has chosen others
            rows = line_up(self._names, by_task, self._rows)
            made = [demo for row in rows if (demo := as_demo(self._names, row))]
            demos = shown(self._plan, made, {name: len(own) for name, own in by_task.items()})
        return self._plan.replace(self.program, demos=demos, instructions=self._words())

    def _words(self) -> dict[str, str]:
        """The instructions that are not those of the program, or that its plan named before."""
        given, words = dict(self._plan.instructions), {}
        for name, task in self.program.tasks.items():
            text = self._word(name, given.get(name, task.instruction), task.instruction)
            if name in given or text != task.instruction:
                words[name] = text
        return words

    def _word(self, name: str, *known: str) -> str:
        """The instruction of a task as it is now; what DSPy made of a known text is that text.

        DSPy puts a sentence of its own where there is none, and indents anew whenever it reads one.
        """
        signature = self.tasks[name].signature
        text: str = signature.instructions
        for one in known:
            if _unindented(text) == _unindented(signature.with_instructions(one).instructions):
                return one
        return text

    def _remember(self, plan: Plan) -> None:
        for demo in plan.demos:
            self._rows.note(self._names, flat_row(self._names, demo))

    # --- a call -----------------------------------------------------------------------------

    def forward(self, **inputs: Any) -> Any:
        """The answers for one item as a `dspy.Prediction`; see `_told`."""
        how = self._asked(inputs)
        if (sender := dspy.settings.send_stream) is not None:
            return self._told(how, streamed(self._names, sender, self.program.stream(**how)))
        return self._told(how, self.program(**how))

    async def aforward(self, **inputs: Any) -> Any:
        """As `forward`, without blocking the event loop."""
        how = self._asked(inputs)
        if (sender := dspy.settings.send_stream) is not None:
            stream = self.program.stream(**how)
            return self._told(how, await astreamed(self._names, sender, stream))
        return self._told(how, await self.program.acall(**how))

    def get_lm(self) -> Any:
        """The LM that is asked; None if that is what DSPy is configured with."""
        found = next((one.lm for one in self.tasks.values() if one.lm is not None), None)
        if found is not None or self._given is None:
            return found
        return self._given.lm if isinstance(self._given, DSPyModel) else ServedLM(self._given)

    def _asked(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What the program is called with."""
        return {"model": self._model(), "plan": self.plan, **self._known(inputs)}

    def _model(self) -> LanguageModel:
        lm = next((one.lm for one in self.tasks.values() if one.lm is not None), None)
        if lm is None and self._given is not None:
            return as_model(self._given.lm) if isinstance(self._given, DSPyModel) else self._given
        lm = lm or dspy.settings.lm
        if lm is None:
            raise SettingsError(
                "there is no model", hint="dspy.configure(lm=...), or mti.to_dspy(..., model=...)"
            )
        return as_model(lm)

    def _known(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        named = read_names(inputs, known=self.program.inputs)
        if unknown := [name for name in named if name not in self.program.inputs]:
            logger.warning("not inputs of the program, and left out: %s", ", ".join(unknown))
        return self._names.given(named)

    def _told(self, how: Mapping[str, Any], result: Result) -> Any:
        """A result as a prediction, None for each output of a slot that failed.

        Raises:
            MTIError: A call did not come through: that is no fault of the prompt, and DSPy must
                not score it as one.
        """
        if not isinstance(how["model"], DSPyModel):  # DSPy counts what its own LMs use
            _count(how["model"], result)
        failures, given = result.failures, self._names.given(how)
        for one in failures.values():
            if one.error and one.is_outage:
                raise one.error
        row = dict(given)
        reasons: dict[str, str] = {}
        for name, slot in slots(result).items():
            answer = slot if isinstance(slot, Answer) else None
            fields = self.program.tasks[name].values(answer.value) if answer else {}
            row |= self._names.flat(name, fields)
            if answer and answer.reasoning is not None:
                reasons[f"{name}__reasoning"] = answer.reasoning
        self._trace(row, failures)
        outputs = {name: row[name] for name in row if name not in given}
        prediction = dspy.Prediction(outputs | reasons)
        prediction._failures = {name: str(one) for name, one in failures.items()}
        return prediction

    def _trace(self, row: Mapping[str, Any], failed: Iterable[str]) -> None:
        """One row for each task in DSPy's trace, and in our memory the row without what failed."""
        trace = dspy.settings.trace
        if trace is None or not dspy.settings.max_trace_size:
            return
        lost = {key for task in failed for key in self._names.outputs[task].values()}
        self._rows.note(self._names, {key: row[key] for key in row if key not in lost})
        for name, holder in self.tasks.items():
            outputs = {key: row.get(key) for key in self._names.outputs[name].values()}
            if len(trace) >= dspy.settings.max_trace_size:
                trace.pop(0)
            trace.append((holder, self._names.taken(name, row), dspy.Prediction(outputs)))

    # --- copies and files -------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[int, Any]) -> FusedModule:
        """A copy with predictors of its own; program, model and memory of rows are shared."""
        made = object.__new__(type(self))
        memo[id(self)] = made
        made.__dict__.update(vars(self))
        made.tasks = copy.deepcopy(self.tasks, memo)
        made.callbacks, made.history, made._kept = list(self.callbacks), [], None
        made.__dict__.pop("forward", None)  # optimizers leave one that is bound to the original
        return made

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """What DSPy saves of the predictors, and by name what it saves by position."""
        state: dict[str, Any] = super().dump_state(json_mode=json_mode)
        state[OURS] = {
            "format": FORMAT,
            "program": self.program.fingerprint,
            "plan": json.loads(self.plan.to_json()),
            "fields": {name: list(holder.signature.fields) for name, holder in self.tasks.items()},
        }
        return state

    def load_state(self, state: Mapping[str, Any], **options: Any) -> Any:
        """Take on a saved state; instructions, demonstrations and plan are then as they were.

        Raises:
            PlanError: It is the state of another program, or of none of ours.
        """
        ours = state.get(OURS)
        if not isinstance(ours, Mapping) or ours.get("format") != FORMAT:
            raise PlanError(
                "this is not the saved state of a module made by mti.to_dspy",
                hint="load it into the DSPy program it was saved from, then mti.from_dspy(program)",
            )
        if ours.get("program") != self.program.fingerprint:
            raise PlanError(
                "this state was saved from another program",
                hint="names, types and wires of the tasks must be the same; wording may differ",
            )
        placed = {**state}
        try:
            plan = Plan.from_json(json.dumps(ours["plan"]))
            for name, holder in self.tasks.items():
                key, fields = predictor_name(name), list(holder.signature.fields)
                placed[key] = _placed(name, state[key], ours["fields"][name], fields)
        except (KeyError, TypeError, ValueError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else first_line(error)
            raise PlanError(
                f"the saved state is not whole: {what}", hint="save the module anew"
            ) from None
        plan.check(self.program)
        super().load_state(placed, **options)
        self._plan, self._kept = plan, None
        self._remember(plan)
        return self


def _unindented(text: str) -> str:
    """A text that reading it once more does not change: DSPy cleans it as a docstring."""
    while (clean := inspect.cleandoc(text)) != text:
        text = clean
    return text


def _placed(
    task: str, state: Mapping[str, Any], saved: list[str], wanted: list[str]
) -> dict[str, Any]:
    """The state of a predictor with its fields in our order; DSPy has no names for them.

    Raises:
        TypeError: Its instruction or its demonstrations are something else.
    """
    signature, demos = state["signature"], state["demos"]
    if not isinstance(signature["instructions"], str):
        raise TypeError(f"the instruction of task {task} is no text")
    if not isinstance(demos, list) or not all(map(_is_example, demos)):
        raise TypeError(f"demos of task {task} are no list of examples")
    fields = dict(zip(saved, signature["fields"], strict=True))
    return {**state, "signature": {**signature, "fields": [fields[name] for name in wanted]}}


def _is_example(value: Any) -> bool:
    return isinstance(value, dspy.Example | Mapping)


def _count(model: LanguageModel, result: Result) -> None:
    """Tell DSPy's usage tracker what the calls used."""
    used, tracker = result.usage, dspy.settings.usage_tracker
    if tracker is not None and used.calls:
        read, wrote = used.prompt_tokens, used.completion_tokens
        entry = {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}
        tracker.add_usage(model.name, entry)
