"""Plan and item to messages: the constant part first, the item last, the same bytes every time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from mtiprompt.combine import Wire
from mtiprompt.schema import Shape, Slot, slots_of
from mtiprompt.selection.choose import Chooser
from mtiprompt.wire import Level, Message, Notation, Request
from mtiprompt.wording import Templates

if TYPE_CHECKING:
    from mtiprompt.combine import Combined
    from mtiprompt.demo import Demo
    from mtiprompt.models.base import Support
    from mtiprompt.plan import Plan


def write_json(values: Mapping[str, Any], notation: Notation) -> str:
    """A JSON object in a notation; demonstrations are shown this way."""
    if notation == "compact":
        return json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    if notation == "lines":
        parts = [
            f"{json.dumps(key, ensure_ascii=False)}: {json.dumps(value, ensure_ascii=False)}"
            for key, value in values.items()
        ]
        return "{\n" + ",\n".join(parts) + "\n}"
    return json.dumps(values, ensure_ascii=False)


class Problem(NamedTuple):
    """What was wrong with a slot of an earlier reply, as the model is told it.

    Attributes:
        message: What the validator said, in one line.
        number: The number of the item; None if it was the whole reply.
        key: The key in the reply; None if it was the whole reply, or all of the item.
        raw: What the model had written there, in one line, shortened; None if there was nothing.
    """

    message: str
    number: int | None = None
    key: str | None = None
    raw: str | None = None


@dataclass(frozen=True)
class GroupPrompt:
    """All that is the same in every call of one group, and how to add an item to it.

    Attributes:
        program: The program.
        plan: The plan.
        tasks: The names of the tasks of the group, in the order of answering.
        shape: The slots of the reply.
        notation: How the JSON is spaced.
        templates: The templates in force.
        grid: Whether the reply has an object for each item; else it is that of the one item.
        chosen: The demonstrations, where the plan chooses them for the items; None: it does not, or
            they are not known yet, and the first stand for them.
    """

    program: Combined
    plan: Plan
    tasks: tuple[str, ...]
    shape: Shape
    notation: Notation
    templates: Templates
    grid: bool = False
    chosen: tuple[Demo, ...] | None = None

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The slots of the reply, in the order of answering."""
        return self.shape.slots

    @cached_property
    def taken(self) -> dict[Wire, str]:
        """What the item text shows, all that comes from outside the group: source to label.

        An answer is called as the task that takes it calls it. Where that would give two sources
        one label, it is called `task.field`.
        """
        named: dict[Wire, str] = {}
        for name in self.tasks:
            for own, wire in self.program.wires[name].items():
                if wire.task not in self.tasks:
                    named.setdefault(wire, own if wire.task else wire.name)
        if self.plan.show_all:
            for name in self.program.inputs:
                named.setdefault(Wire(None, name), name)
        count = Counter(named.values())
        return {
            wire: f"{wire.task}.{wire.name}" if wire.task and count[label] > 1 else label
            for wire, label in named.items()
        }

    def _told(self, name: str) -> dict[str, Any]:
        """What the system template is told of a task."""
        wires = self.program.wires[name]
        keys = {
            (slot.task.name, one.name): key
            for slot in self.slots
            for key, one in zip(slot.keys, slot.task.outputs, strict=True)
        }
        own = {own: wire for own, wire in wires.items() if wire.task in self.tasks}
        return {
            "name": name,
            "instruction": self.plan.instruction(self.program, name),
            "uses": [one for one in self.tasks if one in {wire.task for wire in own.values()}],
            "shown": [
                {"name": own, "label": self.taken[wire]}
                for own, wire in wires.items()
                if own != self.taken.get(wire, own)
            ],
            "answered": [
                {"name": label, "key": keys[wire.task, wire.name]}
                for label, wire in own.items()
                if wire.task and (label != wire.name or label in self.taken.values())
            ],
        }

    @cached_property
    def _others(self) -> list[dict[str, Any]]:
        """What the system template is told of the tasks of other groups."""
        if not self.plan.show_all:
            return []
        others = [name for name in self.program.order if name not in self.tasks]
        lines = (
            Shape(slots_of(self.program, others, [False] * len(others)), self.shape.dialect).lines
            if others
            else ()
        )
        keyed = {key: (key, notation) for key, notation, _ in lines}
        return [
            {
                "name": name,
                "instruction": self.plan.instruction(self.program, name),
                "shape": [keyed[self.program.keys[name, one.name]]
                          for one in self.program.tasks[name].outputs],
            }
            for name in others
        ]  # fmt: skip

    @cached_property
    def system(self) -> str:
        """What the model is told before any item: tasks, inputs, form of the reply."""
        tasks = [self._told(name) for name in self.tasks]
        described = [
            {"name": label, "description": self.program.inputs[wire.name].description}
            for wire, label in self.taken.items()
            if wire.task is None and self.program.inputs[wire.name].description
        ]
        return self.templates.fill(
            "system",
            tasks=tasks,
            others=self._others,
            inputs=described,
            shape=self.shape.lines,
            grid=self.grid,
            think_first=self.plan.think_first,
        )

    @cached_property
    def _fitting(self) -> tuple[Demo, ...]:
        """The demonstrations that have all answers of the group."""
        return self.plan.fitting(self.program, self.tasks)

    @cached_property
    def _chooser(self) -> Chooser | None:
        """Chooses demonstrations for items, where the plan wants that."""
        if self.plan.select is None:
            return None
        return Chooser(self.plan.select, self.program, self._fitting, self.tasks)

    def about(self, items: Sequence[Mapping[str, Any]]) -> GroupPrompt:
        """This prompt with the demonstrations that are chosen for some items, if they are chosen.

        Args:
            items: For each program input to value, plain JSON data.
        """
        if self._chooser is None:
            return self
        prompt = replace(self, chosen=self._chooser.of(items))
        vars(prompt).update(taken=self.taken, system=self.system)  # which are as they were
        return prompt

    @cached_property
    def demos(self) -> tuple[tuple[str, str], ...]:
        """Item text and answer text of every demonstration that is shown.

        Where calls are about several items, each demonstration is about as many.
        """
        shown = self._fitting[: self.plan.shown] if self.chosen is None else self.chosen
        size = self.plan.items_per_call if self.grid else 1
        return tuple(
            self._shown(shown[start : start + size]) for start in range(0, len(shown), size)
        )

    def _shown(self, demos: Sequence[Demo]) -> tuple[str, str]:
        """The item text and the reply of a demonstration."""
        texts = [
            self.item({**self.program.defaults, **demo.inputs}, demo.outputs) for demo in demos
        ]
        answers = [self._answer(demo) for demo in demos]
        if not self.grid:
            return texts[0], write_json(answers[0], self.notation)
        numbered = {str(number): answer for number, answer in enumerate(answers, start=1)}
        return self._items(dict(enumerate(texts, start=1))), write_json(numbered, self.notation)

    def _answer(self, demo: Demo) -> dict[str, Any]:
        return {
            key: demo.outputs[slot.task.name][one.name]
            for slot in self.slots
            for key, one in zip(slot.keys, slot.task.outputs, strict=True)
        }

    def item(self, inputs: Mapping[str, Any], upstream: Mapping[str, Mapping[str, Any]]) -> str:
        """The text of one item.

        Args:
            inputs: Program input to value, plain JSON data.
            upstream: Task name to output field to value, plain JSON data. An answer that is not
                there is left out.
        """
        shown = []
        for wire, label in self.taken.items():
            if wire.task is None and wire.name in inputs:
                value = inputs[wire.name]
            elif wire.task is not None and wire.task in upstream:
                value = upstream[wire.task][wire.name]
            else:
                continue
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            shown.append({"name": label, "text": text})
        return self.templates.fill("item", inputs=shown)

    def _items(self, texts: Mapping[int, str]) -> str:
        """The text of several items by their numbers, under headings that no item has."""
        items = [{"number": number, "text": text} for number, text in texts.items()]
        mark = "# Item"
        while any(mark in text for text in texts.values()):
            mark = f"#{mark}"
        return self.templates.fill("items", items=items, mark=mark)

    @cached_property
    def head(self) -> tuple[Message, ...]:
        """The constant messages, where the layout begins with them."""
        if self.plan.think_first and self.demos:
            # as turns they would show replies without a thought
            return (Message("system", self.templates.fill("examples", **self._whole)),)
        turns = [
            message
            for item, answer in self.demos
            for message in (Message("user", item), Message("assistant", answer))
        ]
        return (Message("system", self.system), *turns)

    @cached_property
    def _whole(self) -> dict[str, Any]:
        demos = [{"item": shown, "answer": answer} for shown, answer in self.demos]
        return {"system": self.system, "demos": demos}

    def messages(self, item: str, problems: Sequence[Problem] = ()) -> tuple[Message, ...]:
        """The chat that asks for an item, or for several in one text.

        Args:
            item: Its text.
            problems: What was wrong with an earlier reply about it.
        """
        if self.plan.layout == "item_first":
            thinks = self.plan.think_first
            item = self.templates.fill("item_first", item=item, think_first=thinks, **self._whole)
        if problems:
            item = self.templates.fill("repair", item=item, problems=problems, grid=self.grid)
        if self.plan.layout == "item_first":
            return (Message("user", item),)
        return (*self.head, Message("user", item))

    def request(
        self,
        items: Mapping[int, str],
        level: Level,
        problems: Sequence[Problem] = (),
        sample: int = 0,
        purpose: str = "answer",
    ) -> Request:
        """The call that asks for items at a level.

        Args:
            items: The texts of the items by their numbers; one, unless the prompt is a grid.
            level: How the schema is enforced; a model that thinks first is held by words alone.
            problems: What was wrong with an earlier reply, as far as the model should know.
            sample: The number of the sample.
            purpose: What the call is for.
        """
        if self.grid:
            text, schema = self._items(items), self.shape.items_schema(tuple(items))
        else:
            text, schema = next(iter(items.values())), self.shape.schema
        return Request(
            messages=self.messages(text, problems),
            schema=schema,
            level="prompt" if self.plan.think_first else level,
            notation=self.notation,
            sample=sample,
            purpose=purpose,
        )


def group_prompt(
    program: Combined,
    plan: Plan,
    tasks: Sequence[str],
    support: Support,
    templates: Templates,
    *,
    grid: bool = False,
) -> GroupPrompt:
    """Prepare the calls of one group.

    Args:
        program: The program.
        plan: A plan that fits it.
        tasks: The tasks of the group, in the order of answering.
        support: What is known of the model that is asked.
        templates: The templates in force.
        grid: Whether its calls are about several items.
    """
    # a task keeps its letters where some of a group are asked again: others would be another's
    groups = (one.tasks for one in plan.call_groups)
    group = next((one for one in groups if set(tasks) <= set(one)), tasks)
    reasons = [plan.reasons(program, name) for name in group]
    slots = slots_of(program, group, reasons, short=plan.short_keys, demos=plan.demos)
    placed = {one.task.name: one for one in slots}
    return GroupPrompt(
        program=program,
        plan=plan,
        tasks=tuple(tasks),
        shape=Shape(tuple(placed[name] for name in tasks), support.dialect),
        notation=plan.notation or support.notation,
        templates=templates,
        grid=grid,
    )
