"""Prompts: the constant part, demonstrations, user text, templates, snapshots."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.models.base import Support
from mtiprompt.render import GroupPrompt, group_prompt, write_json
from mtiprompt.tasks import Field
from mtiprompt.wire import Message, Notation
from mtiprompt.wording import Templates
from tests.strategies import Answerer, Case, cases, keys_of, saying, texts

SNAPSHOTS = Path(__file__).parent / "snapshots"


def prompts(program: mti.Program, plan: mti.Plan, front: Path | None = None) -> list[GroupPrompt]:
    """The prompt of every group."""
    return [
        group_prompt(program, plan, group.tasks, Support(), Templates(front))
        for group in plan.call_groups
    ]


def whole(messages: tuple[Message, ...]) -> str:
    """All text of a chat."""
    return "\n".join(message.content for message in messages)


class Mood(mti.Signature):
    """Judge the mood."""

    message: str = mti.InputField(desc="what the customer wrote")
    mood: Literal["good", "bad"] = mti.OutputField(desc="seen from the shop")
    strength: int = mti.OutputField(ge=1, le=5)


@mti.task
def product(message: str) -> str:
    """Name the product."""
    raise NotImplementedError


@mti.task(reasoning=True)
def reply(message: str, mood: str, tone: str | None) -> str:
    """Write a reply."""
    raise NotImplementedError


PROGRAM = mti.combine(Mood, product, reply)
DEMOS = [
    {
        "inputs": {"message": "Great lamp!", "tone": None},
        "outputs": {"mood": {"mood": "good", "strength": 4}, "product": "lamp", "reply": "Thanks."},
    },
    {
        "inputs": {"message": "The chair broke.", "tone": "warm"},
        "outputs": {"mood": {"mood": "bad", "strength": 5}, "product": "chair"},
    },
]
WHOLE = DEMOS[:1]  # has an answer for every task
ITEM = {"message": "I love it.\n\n  Really.", "tone": "calm"}
UPSTREAM = {"mood": {"mood": "good", "strength": 3}}


# --- the constant part -----------------------------------------------------------------------


@given(st.data(), cases(), st.sampled_from(["compact", "spaced", "lines", "free"]))
def test_all_but_the_item_is_constant(data: st.DataObject, case: Case, notation: Notation) -> None:
    """All messages but the last are the same bytes for every item of a plan."""
    demos = [{"inputs": data.draw(case.inputs()), "outputs": data.draw(case.answers())}]
    plan = mti.Plan.split(case.program, demos=demos, notation=notation)
    for prompt in prompts(case.program, plan):
        upstream = {
            name: {one.name: "v" for one in task.outputs}
            for name, task in case.program.tasks.items()
        }
        heads = set()
        for _ in range(3):
            messages = prompt.messages(prompt.item(data.draw(case.inputs()), upstream))
            heads.add(messages[:-1])
            assert messages[-1].role == "user"
        assert len(heads) == 1


def test_calls_share_their_head() -> None:
    """The same through a program: what is sent differs in the last message alone."""
    model = Answerer(lambda request: json.dumps(dict.fromkeys(keys_of(request), None)))
    plan = mti.Plan.fused(PROGRAM, demos=WHOLE)
    rows = [{**ITEM, "message": str(n)} for n in range(5)]
    list(PROGRAM.map(rows, model=model, plan=plan, repair=mti.Repair.none()))
    assert len({request.messages[:-1] for request in model.asked}) == 1
    assert len({request.messages[-1] for request in model.asked}) == 5


def test_item_first() -> None:
    """In the other layout the item begins the prompt, so that calls about it share it."""
    plan = mti.Plan.split(PROGRAM, demos=DEMOS, layout="item_first")
    starts = []
    for prompt in prompts(PROGRAM, plan)[:2]:
        [message] = prompt.messages(prompt.item(ITEM, {}))
        assert message.role == "user"
        starts.append(message.content[: message.content.index(ITEM["message"]) + 20])
        assert prompt.system in message.content
        assert all(item in message.content and answer in message.content
                   for item, answer in prompt.demos)  # fmt: skip
    assert starts[0] == starts[1]


# --- what the prompt says --------------------------------------------------------------------


def test_prompt_says_everything() -> None:
    """Instructions, descriptions of inputs and outputs, labels, bounds: the prompt has them."""
    [prompt] = prompts(PROGRAM, mti.Plan.fused(PROGRAM))
    for said in ("Judge the mood.", "Name the product.", "Write a reply.", '"good" | "bad"',
                 "at least 1", "what the customer wrote", "seen from the shop",
                 "reply__reasoning"):  # fmt: skip
        assert said in prompt.system, said


def test_item_says_everything() -> None:
    """Every input stands in the item, also those with odd values; an upstream answer too."""
    groups = [["mood", "product"], ["reply"]]
    prompt = prompts(PROGRAM, mti.Plan.groups(PROGRAM, groups))[1]
    item = prompt.item({"message": "a", "tone": None}, UPSTREAM)
    assert item == "message: a\n\nmood: good\n\ntone: null"


def test_inputs_of_one_name_from_two_places() -> None:
    """Two tasks of a group whose inputs have one name and different sources each get theirs."""
    program = mti.combine(
        mti.task("message -> one"), mti.task("message -> two"),
        mti.task("text -> a", name="a"), mti.task("text -> b", name="b"),
        wires={"a.text": "one.one", "b.text": "two.two"},
    )  # fmt: skip
    plan = mti.Plan.groups(program, [["one", "two"], ["a", "b"]])
    item = prompts(program, plan)[1].item({}, {"one": {"one": "FIRST"}, "two": {"two": "SECOND"}})
    assert item == "one.one: FIRST\n\ntwo.two: SECOND"
    told = prompts(program, plan)[1].system.split("## ")
    assert "Its text is shown as one.one." in told[1]
    assert "Its text is shown as two.two." in told[2]


def test_input_and_answer_of_one_name() -> None:
    """A program input and an upstream answer of the same name do not hide each other."""
    program = mti.combine(
        mti.task("message -> mood"), mti.task("mood -> a", name="a"),
        mti.task("mood -> b", name="b"), wires={"b.mood": "mood"},
    )  # fmt: skip
    plan = mti.Plan.groups(program, [["mood"], ["a", "b"]])
    item = prompts(program, plan)[1].item({"mood": "GIVEN"}, {"mood": {"mood": "ANSWERED"}})
    assert item == "mood.mood: ANSWERED\n\nmood: GIVEN"
    system = prompts(program, plan)[1].system
    assert system.count("Its mood is shown as") == system.count("shown as mood.mood.") == 1


def test_one_answer_under_two_names() -> None:
    """An answer that two tasks call otherwise stands in the item once, and each is told where; an
    answer of the same call is named by its key in the reply.
    """
    program = mti.combine(
        mti.task("message -> mood"), mti.task("text -> a"), mti.task("words -> b"),
        wires={"a.text": "mood.mood", "b.words": "mood.mood", "mood.message": "mail"},
    )  # fmt: skip
    apart = prompts(program, mti.Plan.groups(program, [["mood"], ["a", "b"]]))
    assert "Its message is shown as mail." in apart[0].system
    assert apart[1].item({}, {"mood": {"mood": "good"}}) == "text: good"
    assert apart[1].system.count("shown as") == 1
    assert "Its words is shown as text." in apart[1].system
    [fused] = prompts(program, mti.Plan.fused(program))
    assert 'Its text is your answer "mood".' in fused.system
    [short] = prompts(program, mti.Plan.fused(program, short_keys=True))
    assert 'Its text is your answer "a".' in short.system


def test_hidden_answer_is_missed() -> None:
    """A group does not run when any of the answers that it takes is a failure."""
    program = mti.combine(
        mti.task("message -> one: int"), mti.task("message -> two"),
        mti.task("text -> a"), mti.task("text -> b"),
        wires={"a.text": "one.one", "b.text": "two.two"},
    )  # fmt: skip
    plan = mti.Plan.groups(program, [["one", "two"], ["a", "b"]])
    model = saying({"one": "x", "two": "y", "a": "a", "b": "b"})
    result = program(message="m", model=model, plan=plan)
    assert result.failures["a"].kind == "upstream failed"


# --- demonstrations --------------------------------------------------------------------------


@pytest.mark.parametrize("notation", ["compact", "spaced", "lines", "free"])
def test_demos_are_in_the_asked_notation(notation: Notation) -> None:
    """An answer in a demonstration is spaced as the notation says, its keys in the asked order."""
    order = ["product", "mood"]
    plan = mti.Plan.groups(PROGRAM, [order, ["reply"]], demos=DEMOS, notation=notation)
    prompt = prompts(PROGRAM, plan)[0]
    expected = {"product": "lamp", "mood": "good", "strength": 4}
    assert prompt.demos[0][1] == write_json(expected, notation)
    assert prompt.notation == notation
    assert list(json.loads(prompt.demos[1][1])) == ["product", "mood", "strength"]


def test_notations() -> None:
    """The notations are what their names say, for nested values too."""
    value = {"a": "é, x: {", "b": [1, {"c": None}]}
    assert write_json(value, "compact") == '{"a":"é, x: {","b":[1,{"c":null}]}'
    assert write_json(value, "spaced") == '{"a": "é, x: {", "b": [1, {"c": null}]}'
    assert write_json(value, "lines") == '{\n"a": "é, x: {",\n"b": [1, {"c": null}]\n}'
    assert write_json({}, "lines").replace("\n", "") == "{}"


def test_demos_without_all_answers_are_left_out() -> None:
    """A demonstration is shown in the groups whose answers, and whose upstream answers, it has."""
    plan = mti.Plan.split(PROGRAM, demos=DEMOS)
    assert [len(prompt.demos) for prompt in prompts(PROGRAM, plan)] == [2, 2, 1]
    with pytest.warns(match="the call for mood, product, reply shows 1 of 2"):
        fused = mti.Plan.fused(PROGRAM, demos=DEMOS)
    assert [len(prompt.demos) for prompt in prompts(PROGRAM, fused)] == [1]


def test_demo_shows_items_as_they_are_asked() -> None:
    """The item of a demonstration looks as the item itself would."""
    plan = mti.Plan.split(PROGRAM, demos=DEMOS)
    prompt = prompts(PROGRAM, plan)[2]
    assert prompt.demos[0][0] == prompt.item(
        {"message": "Great lamp!", "tone": None}, {"mood": {"mood": "good", "strength": 4}}
    )


def test_demo_of_an_input_with_a_default() -> None:
    """An input that was not given shows its default in a demonstration as it does in an item."""

    @mti.task
    def sort(message: str, shop: str = "ours") -> str:
        """Sort."""
        raise NotImplementedError

    program = mti.combine(sort)
    plan = mti.Plan.fused(program, demos=[{"inputs": {"message": "m"}, "outputs": {"sort": "x"}}])
    loaded = mti.Plan.from_json(plan.to_json().replace(',\n        "shop": "ours"', ""))
    assert loaded != plan
    for one in (plan, loaded):
        model = Answerer(lambda _: '{"sort": "y"}')
        program(message="m", model=model, plan=one)
        messages = model.asked[0].messages
        assert messages[1].content == messages[-1].content


# --- user text is text -----------------------------------------------------------------------

HOSTILE = ["{{ tasks }}", "{% for x in y %}", "{# gone #}", "{{ 7 * 7 }}", "{%- raw -%}",
           "a  b\t\tc",
           "  ", "\n\n\n", "x\r\ny", "<b>&amp;", "{{", "%}", "# line", "trailing \n",
           "\u2028é😀"]  # fmt: skip


@given(st.sampled_from(HOSTILE) | texts | st.lists(st.sampled_from(HOSTILE)).map("".join))
def test_text_is_never_compiled_or_squeezed(text: str) -> None:
    """User text, instructions and labels of demos stand in the prompt byte by byte."""
    task = mti.Task[Any]("t", f"Do {text}!", (Field("message", str, f"[{text}]"),),
                         (Field("t", str),), bare=True)  # fmt: skip
    program = mti.combine(task)
    demos = [{"inputs": {"message": f"<{text}>"}, "outputs": {"t": text}}]
    for layout in ("item_last", "item_first"):
        [prompt] = prompts(program, mti.Plan.fused(program, demos=demos, layout=layout))
        sent = whole(prompt.messages(prompt.item({"message": f"({text})"}, {})))
        for said in (f"Do {text}!", f"[{text}]", f"<{text}>", f"({text})"):
            assert said in sent
        assert json.dumps(text, ensure_ascii=False) in sent


# --- templates -------------------------------------------------------------------------------


def test_own_templates_go_in_front(tmp_path: Path) -> None:
    """A folder in front replaces single templates; the others stay the shipped ones."""
    (tmp_path / "item.jinja").write_text(
        "{% for one in inputs %}<{{ one.name }}>{{ one.text }}{% endfor %}", encoding="utf-8"
    )
    program = mti.combine("message -> x")
    plan = mti.Plan.fused(program)
    [own], [shipped] = prompts(program, plan, tmp_path), prompts(program, plan)
    assert own.item({"message": "m"}, {}) == "<message>m"
    assert own.system == shipped.system
    model = Answerer(lambda _: '{"x": "y"}')
    for folder in (tmp_path, str(tmp_path)):
        with mti.using(templates=folder):
            program(message="m", model=model)
        assert model.asked[-1].messages[-1].content == "<message>m"
    program(message="m", model=model)
    assert model.asked[-1].messages[-1].content == "message: m"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"{{ nobody }}", "nobody"), (b"line\n{% if %}", "line 2"), (b"{{ inputs[0].wat }}", "wat"),
        (b"{% include 'none.jinja' %}", "none.jinja"), (b"{{ inputs | wat }}", "wat"),
        (b"{{ 1 + 'a' }}", "item.jinja"), (b"{{ 1 / 0 }}", "item.jinja"), (b"\xff", "item.jinja"),

    ],
)  # fmt: skip
def test_template_errors(tmp_path: Path, source: bytes, message: str) -> None:
    """A template that is malformed, or names or does what cannot be, is a TemplateError that says
    which template.
    """
    (tmp_path / "item.jinja").write_bytes(source)
    program = mti.combine("message -> x")
    with pytest.raises(mti.TemplateError, match=message):
        prompts(program, mti.Plan.fused(program), tmp_path)[0].item({"message": "m"}, {})


def test_no_template_folder(tmp_path: Path) -> None:
    """A folder that is not there is an error, and it is named."""
    with pytest.raises(mti.TemplateError, match="none"):
        Templates(tmp_path / "none")


def test_undefined_is_strict() -> None:
    """The shipped templates are read with StrictUndefined and without escapes."""
    from mtiprompt.wording import template_root

    names = {path.stem for path in template_root().glob("*.jinja")}
    assert names >= {"system", "item", "item_first"}
    for name in names - {"item_first"}:
        with pytest.raises(mti.TemplateError):
            Templates().fill(name)
    assert issubclass(jinja2.StrictUndefined, jinja2.Undefined)


# --- snapshots -------------------------------------------------------------------------------


def compare(name: str, text: str) -> None:
    """Compare with a kept text; with UPDATE_SNAPSHOTS=1 in the environment, keep this one."""
    path = SNAPSHOTS / f"{name}.md"
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"no snapshot {path.name}; make it with UPDATE_SNAPSHOTS=1"
    assert text == path.read_text(encoding="utf-8")


PLANS = {
    "fused": mti.Plan.fused(PROGRAM, demos=WHOLE),
    "fused_lines": mti.Plan.fused(PROGRAM, demos=WHOLE, notation="lines"),
    "split": mti.Plan.split(PROGRAM, demos=DEMOS),
    "item_first": mti.Plan.groups(
        PROGRAM, [["mood", "product"], ["reply"]], demos=DEMOS, layout="item_first"
    ),
    "no_reasons": mti.Plan.fused(PROGRAM, reasoning={"reply": False}),
    "think_first": mti.Plan.fused(PROGRAM, demos=WHOLE, think_first=True),
    "short_keys": mti.Plan.fused(PROGRAM, demos=WHOLE, short_keys=True),
}


@pytest.mark.parametrize("name", PLANS)
def test_prompts_are_as_they_were(name: str) -> None:
    """What the model reads, as it was when it was last looked at."""
    parts = []
    for number, prompt in enumerate(prompts(PROGRAM, PLANS[name]), start=1):
        parts.append(f"# Call {number}: {', '.join(prompt.tasks)}\n")
        messages = prompt.messages(prompt.item(ITEM, UPSTREAM))
        parts += [f"## {message.role}\n\n{message.content}\n" for message in messages]
        parts.append(f"## schema\n\n```json\n{prompt.shape.schema.text}\n```\n")
    compare(name, "\n".join(parts))


@pytest.mark.parametrize("layout", ["item_last", "item_first"])
def test_grids_and_repairs_are_as_they_were(layout: Any) -> None:
    """The same for a call about several items, and for one that asks again."""
    with pytest.warns(match="shows 3 of 6"):  # the call that asks again shows more
        plan = mti.Plan.fused(PROGRAM, demos=DEMOS * 3, items_per_call=4, layout=layout)
    good = {"mood": "bad", "strength": 4, "product": "kettle", "reply": "Sorry."}
    bad = {**good, "mood": "so-so"}
    mended = {"mood": "bad", "strength": 3}
    model = mti.ScriptedModel(
        [
            json.dumps({"1": good, "2": bad, "3": {**bad, "strength": 9}, "4": good}),
            json.dumps({"2": mended, "3": mended}),
        ]
    )
    rows = [{**ITEM, "message": text} for text in ("Good.", "It is\n# Item 1\nloud.", "!", "?")]
    results = list(PROGRAM.map(rows, model=model, plan=plan, concurrency=1))
    assert not any(result.failures for result in results)
    parts = []
    for number, request in enumerate(model.requests, start=1):
        parts.append(f"# Call {number}\n")
        parts += [f"## {message.role}\n\n{message.content}\n" for message in request.messages]
        assert request.schema is not None
        parts.append(f"## schema\n\n```json\n{request.schema.text}\n```\n")
    compare(f"grid_{layout}", "\n".join(parts))
