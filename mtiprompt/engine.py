"""The conversation about one item, written once, as a generator without I/O.

`converse` yields steps (which calls to start, which reply to keep) and is sent one finished call
at a time; its last step has the result. The drivers do the sending.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from mtiprompt.combine import Combined
from mtiprompt.errors import ModelError, SchemaRejected
from mtiprompt.models.base import LanguageModel
from mtiprompt.parse import parse
from mtiprompt.plan import Plan
from mtiprompt.render import GroupPrompt
from mtiprompt.result import Answer, Call, Failure, Result
from mtiprompt.wire import Reply, Request, Usage


@dataclass(frozen=True)
class Ask:
    """A call to be made.

    Attributes:
        group: The index of its group in the plan.
        request: What to send.
        model: Whom to send it to.
    """

    group: int
    request: Request
    model: LanguageModel


class Finished(NamedTuple):
    """A call that has come back, well or badly."""

    ask: Ask
    outcome: Reply | ModelError


@dataclass(frozen=True)
class Step:
    """What the conversation wants done next.

    Attributes:
        start: Calls to start.
        keep: A call whose reply has validated, so that its model may store it.
        result: The result, in the last step.
    """

    start: tuple[Ask, ...] = ()
    keep: Finished | None = None
    result: Result | None = None


@dataclass(frozen=True)
class Ready:
    """A program, a plan and a model, prepared; made once and used for every item.

    Attributes:
        program: The program.
        plan: The plan.
        prompts: The prompt of every group of the plan.
        models: The model of every group.
        needs: For every group, the groups whose answers it needs.
    """

    program: Combined
    plan: Plan
    prompts: tuple[GroupPrompt, ...]
    models: tuple[LanguageModel, ...]
    needs: tuple[frozenset[int], ...]


Conversation = Generator[Step, Finished, None]


@dataclass
class _State:
    """What a conversation knows so far."""

    slots: dict[str, Answer[Any] | Failure] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    started: set[int] = field(default_factory=set)
    done: set[int] = field(default_factory=set)


def converse(ready: Ready, inputs: Mapping[str, Any]) -> Conversation:
    """The conversation about one item.

    Args:
        ready: Program, plan and model.
        inputs: Program input to value, plain JSON data.

    Raises:
        ModelError: A call failed in a way that every other call would (a wrong key, an unknown
            model). Other failed calls become failures of their slots.
    """
    state = _State()
    start, keep = _next_asks(ready, state, inputs), None
    while len(state.done) < len(ready.prompts):
        finished = yield Step(start, keep)
        start, keep = (), None
        if again := _take(ready, state, finished):
            start = (again,)
        else:
            start = _next_asks(ready, state, inputs)
            if _is_sound(ready, state, finished):
                keep = finished
    slots = {name: state.slots[name] for name in ready.program.tasks}
    yield Step(keep=keep, result=Result(ready.program, slots, tuple(state.calls), state.usage))


def _take(ready: Ready, state: _State, finished: Finished) -> Ask | None:
    """Note what a finished call says; gives the call to make in its place, if there is one."""
    ask, outcome = finished
    prompt = ready.prompts[ask.group]
    if isinstance(outcome, Reply):
        state.calls.append(Call(prompt.tasks, ask.request, outcome, model=ask.model.name))
        state.usage += outcome.usage
        state.slots |= parse(outcome, prompt.slots)
    else:
        state.calls.append(Call(prompt.tasks, ask.request, None, outcome, ask.model.name))
        lower = ask.model.support.refuse(ask.request.level) if _is_refusal(ask, outcome) else None
        if lower:
            return replace(ask, request=replace(ask.request, level=lower))
        if outcome.stops:
            raise outcome
        failure = Failure("call failed", str(outcome), error=outcome)
        state.slots |= dict.fromkeys(prompt.tasks, failure)
    state.done.add(ask.group)
    return None


def _is_refusal(ask: Ask, error: ModelError) -> bool:
    return isinstance(error, SchemaRejected) and ask.request.level != "prompt"


def _is_sound(ready: Ready, state: _State, finished: Finished) -> bool:
    """Whether a reply may be stored: all its slots are answers, and it does not come from there."""
    if not isinstance(finished.outcome, Reply) or finished.outcome.from_cache:
        return False
    tasks = ready.prompts[finished.ask.group].tasks
    return all(isinstance(state.slots[name], Answer) for name in tasks)


def _next_asks(ready: Ready, state: _State, inputs: Mapping[str, Any]) -> tuple[Ask, ...]:
    """The calls whose upstream answers are there; groups that lack one fail with that cause."""
    asks: list[Ask] = []
    for index, prompt in enumerate(ready.prompts):
        if index in state.started or not ready.needs[index] <= state.done:
            continue
        state.started.add(index)
        sources = {wire.task for wire in prompt.taken if wire.task}
        if failed := sorted(one for one in sources if isinstance(state.slots[one], Failure)):
            failure = Failure("upstream failed", f"it takes the answer of {failed[0]!r}")
            state.slots |= dict.fromkeys(prompt.tasks, failure)
            state.done.add(index)
            return (*asks, *_next_asks(ready, state, inputs))
        upstream = {one: _fields(state.slots[one]) for one in sources}
        model = ready.models[index]
        request = prompt.request(prompt.item(inputs, upstream), model.support.level)
        asks.append(Ask(index, request, model))
    return tuple(asks)


def _fields(slot: Answer[Any] | Failure) -> Mapping[str, Any]:
    assert isinstance(slot, Answer)
    return slot.fields
