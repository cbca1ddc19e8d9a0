"""`mtiprompt show`: what a model would be sent, before it is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table

from mtiprompt import settings
from mtiprompt.cli.options import AsJson, ModelName, PlanPath, ProgramPath
from mtiprompt.cli.output import emit, out, results_only
from mtiprompt.cli.targets import load_model, load_plan, load_program
from mtiprompt.cli.tokens import Counter, token_counter
from mtiprompt.errors import DataError
from mtiprompt.models.base import Support
from mtiprompt.plan import Plan
from mtiprompt.render import GroupPrompt, group_prompt
from mtiprompt.whole_files import read_json
from mtiprompt.wording import Templates

if TYPE_CHECKING:
    from rich.console import Console

    from mtiprompt.program import Program
    from mtiprompt.wire import Request

PARTS = ("instructions", "form of reply", "demonstrations", "item")


@dataclass(frozen=True)
class Shown:
    """One call of a plan.

    Attributes:
        prompt: Its constant part.
        request: What would be sent.
        tokens: Tokens of each part; that of the item only where there is one.
    """

    prompt: GroupPrompt
    request: Request
    tokens: dict[str, int]


def show(
    program: ProgramPath,
    given: Annotated[
        str | None,
        typer.Option("--input", metavar="JSON", help="One item as JSON, or `@FILE` with it."),
    ] = None,
    plan: PlanPath = None,
    arm: Annotated[
        Literal["fused", "split"], typer.Option(help="All tasks in one call, or a call for each.")
    ] = "fused",
    model: ModelName = None,
    as_json: AsJson = False,
) -> None:
    """Show every prompt of a plan, its JSON schema and its tokens; nothing is sent.

    ```
    $ mtiprompt show triage.py:triage
    $ mtiprompt show triage.py:triage --arm split --input '{"message": "It is broken!"}'
    $ mtiprompt show facts.task.json --plan plan.json --model local/qwen2.5-coder-0.5b
    ```

    Without `--input`, `<name>` stands for an input; `<answer of task>` stands for what an earlier
    call answers. A plan that selects demonstrations for each item needs `--input` to show which;
    without it the first ones stand for them. The model matters for the schema's dialect and the
    count of tokens.
    """
    with results_only():
        chosen = load_program(program)
        saved = load_plan(chosen, plan) or getattr(Plan, arm)(chosen)
        inputs = None if given is None else _read_item(chosen, given)
        named = model or settings.current().model
        asked = None if named is None else load_model(model)
        count = token_counter(asked)
        support = asked.support if asked else Support()
        calls = calls_of(chosen, saved, support, inputs, count.count)
    name = asked.name if asked else None
    if as_json:
        emit(_as_json(chosen, saved, name, calls, count))
    else:
        _print(out(), calls, count)
        if saved.select:
            out().print(_selected(saved, given=inputs is not None), soft_wrap=True)


def _read_item(program: Program, given: str) -> dict[str, Any]:
    if given.startswith("@"):
        item = read_json(Path(given[1:]))
    else:
        try:
            item = json.loads(given)
        except ValueError as error:
            raise DataError(
                f"--input is not JSON ({error})", hint="or name a file: @FILE"
            ) from None
    if not isinstance(item, dict):
        raise DataError("--input is not a JSON object", hint='write it like {"message": "text"}')
    return program.read_inputs(item)


def calls_of(
    program: Program,
    plan: Plan,
    support: Support,
    inputs: Mapping[str, Any] | None,
    count: Callable[[str], int],
) -> list[Shown]:
    """The calls of a plan.

    Args:
        program: The program.
        plan: A plan that fits it.
        support: What is known of the model.
        inputs: One item; without one, each input's name stands in its place.
        count: Counts the tokens of a text.
    """
    templates = Templates(settings.current().templates)
    calls = []
    for group in plan.call_groups:
        grid = plan.items_per_call > 1
        prompt = group_prompt(program, plan, group.tasks, support, templates, grid=grid)
        values = {name: f"<{name}>" for name in program.inputs} if inputs is None else inputs
        answers = {
            name: {one.name: f"<answer of {name}>" for one in task.outputs}
            for name, task in program.tasks.items()
        }
        if inputs is not None:
            prompt = prompt.about([inputs])
        item = prompt.item(values, answers)
        form = "\n".join(f'"{key}": {notation}' for key, notation, _ in prompt.shape.lines)
        tokens = {
            "instructions": max(0, count(prompt.system) - count(form)),
            "form of reply": count(form),
            "demonstrations": sum(count(one) + count(other) for one, other in prompt.demos),
            **({} if inputs is None else {"item": count(item)}),
        }
        calls.append(Shown(prompt, prompt.request({1: item}, support.level), tokens))
    return calls


def _print(console: Console, calls: list[Shown], count: Counter) -> None:
    for number, call in enumerate(calls, start=1):
        title = f"call {number} of {len(calls)}: {', '.join(call.prompt.tasks)}"
        console.print(Rule(title, align="left", characters="="))
        for message in call.request.messages:
            console.print(Rule(message.role, align="left", style="dim"))
            console.print(message.content, markup=False, soft_wrap=True)
        schema = call.request.schema
        if schema and call.request.level == "json_schema":
            console.print(Rule("JSON schema", align="left", style="dim"))
            text = json.dumps(schema.schema, ensure_ascii=False, indent=2)
            console.print(Syntax(text, "json", background_color="default", word_wrap=True))
    console.print(f"\n[bold]tokens[/bold] ({count.how})", soft_wrap=True)
    console.print(_tokens_table(calls))


def _selected(plan: Plan, *, given: bool) -> str:
    """How the demonstrations were chosen, in words."""
    assert plan.select is not None
    how = "the nearest" if plan.select.kind == "nearest" else "those that cover it"
    how += f" by {plan.select.embeddings}" if plan.select.embeddings else ""
    which = "chosen for this item" if given else "here the first; --input shows those of an item"
    return f"demonstrations: for each item {plan.shown} of {len(plan.demos)}, {how} ({which})"


def _tokens_table(calls: list[Shown]) -> Table:
    table = Table()
    table.add_column("call")
    for part in PARTS:
        table.add_column(part, justify="right")
    table.add_column("sum", justify="right", style="bold")
    for number, call in enumerate(calls, start=1):
        shown = [f"{call.tokens[part]:,}" if part in call.tokens else "-" for part in PARTS]
        table.add_row(str(number), *shown, f"{sum(call.tokens.values()):,}")
    return table


def _as_json(
    program: Program, plan: Plan, model: str | None, calls: list[Shown], count: Counter
) -> dict[str, Any]:
    return {
        "tasks": list(program.tasks),
        "inputs": list(program.inputs),
        "model": model,
        "plan": json.loads(plan.to_json()),
        "tokens_counted_by": count.how,
        "calls": [
            {
                "tasks": list(call.prompt.tasks),
                "messages": [message._asdict() for message in call.request.messages],
                "level": call.request.level,
                "notation": call.request.notation,
                "schema": call.request.schema.schema if call.request.schema else None,
                "tokens": call.tokens,
            }
            for call in calls
        ],
    }
