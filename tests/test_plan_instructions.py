"""Instructions in a plan: they word a task wherever it is asked, and travel with the plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.cli import main
from mtiprompt.models.base import Support
from mtiprompt.render import group_prompt
from mtiprompt.testing import ChatServer, Received
from mtiprompt.wording import Templates
from tests.strategies import Case, cases, groupings

PROGRAM = mti.combine("message -> mood: Literal['good', 'bad']", "message, mood -> reply")
WORDS = {"mood": "Feel what they feel."}


def prompts(program: mti.Program, plan: mti.Plan) -> list[tuple[Any, ...]]:
    """What every call of a plan begins with."""
    heads = []
    for group in plan.call_groups:
        prompt = group_prompt(program, plan, group.tasks, Support(), Templates())
        heads.append((prompt.head, prompt.messages("x")))
    return heads


@given(st.data(), cases())
def test_a_plan_words_a_task_as_its_declaration_would(data: st.DataObject, case: Case) -> None:
    """Prompts are those of a program declared with the same words, and without words as before."""
    names = st.sampled_from(case.program.order)
    words = data.draw(st.dictionaries(names, st.text(max_size=30)))
    options: dict[str, Any] = {
        "layout": data.draw(st.sampled_from(["item_last", "item_first"])),
        "show_all": data.draw(st.booleans()),
    }
    plan = mti.Plan.groups(case.program, data.draw(groupings(case.program)), **options)
    tasks = {
        name: replace(task, instruction=words.get(name, task.instruction))
        for name, task in case.program.tasks.items()
    }
    declared = prompts(replace(case.program, tasks=tasks), plan)
    assert prompts(case.program, plan.replace(case.program, instructions=words)) == declared
    assert prompts(case.program, plan.replace(case.program, instructions={})) == prompts(
        case.program, plan
    )


@given(st.dictionaries(st.sampled_from(["mood", "reply"]), st.text(max_size=20)))
def test_they_are_saved_with_the_plan(words: dict[str, str]) -> None:
    """A plan comes back equal, with the same hash; without instructions its bytes are as before."""
    plan = mti.Plan.fused(PROGRAM, instructions=words)
    again = mti.Plan.from_json(plan.to_json())
    assert (again, hash(again)) == (plan, hash(plan))
    assert ("instructions" in json.loads(plan.to_json())) == bool(words)
    assert {name: again.instruction(PROGRAM, name) for name in PROGRAM.tasks} == {
        name: words.get(name, task.instruction) for name, task in PROGRAM.tasks.items()
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"wat": "Do."}, "'wat', which the program lacks"), ({"mood": 5}, r"\('mood', 5\).*str"),
        ({"mood": None}, "str"), ("mood", "mapping of task name to str"), (7, "mapping"),
    ],
)  # fmt: skip
def test_what_words_no_task_is_refused(given: Any, message: str) -> None:
    """An unknown task, and what is no text, are refused with the reason."""
    with pytest.raises(mti.PlanError, match=message):
        mti.Plan.fused(PROGRAM, instructions=given)


@pytest.mark.parametrize("value", [[], 5, None, {"mood": 5}, {"mood": ["x"]}])
def test_a_file_with_something_else_there_is_refused(value: Any) -> None:
    """A plan whose saved instructions are no texts by task is a PlanError, not a crash."""
    saved = json.loads(mti.Plan.fused(PROGRAM).to_json())
    with pytest.raises(mti.PlanError):
        mti.Plan.from_json(json.dumps(saved | {"instructions": value}))


@pytest.mark.parametrize("pairs", [[("mood",)], [("mood", "x", "y")], [(1, "x")], ["ab"]])
def test_pairs_made_by_hand_are_checked(pairs: Any) -> None:
    """A plan that is built without a program is hashable, or refused."""
    with pytest.raises(mti.PlanError, match="instructions"):
        mti.Plan(PROGRAM.fingerprint, (mti.Group(("mood", "reply")),), instructions=pairs)


def test_every_call_has_them() -> None:
    """The first call, each repair, a stream, a map and an item asked for with others."""
    bad = mti.FunctionModel(lambda _: '{"mood": "ugly", "reply": 5}')
    plan = mti.Plan.fused(PROGRAM, instructions=WORDS)
    PROGRAM(message="Hi.", plan=plan, model=bad)
    assert len(bad.requests) > 2
    good = mti.EchoModel()
    list(PROGRAM.stream(message="Hi.", plan=plan, model=good))
    list(PROGRAM.map([{"message": "Hi."}], plan=plan, model=good))
    grid = plan.replace(PROGRAM, items_per_call=2, layout="item_first")
    list(PROGRAM.map([{"message": "Hi."}] * 2, plan=grid, model=good))
    for request in (*bad.requests, *good.requests):
        text = "\n".join(one.content for one in request.messages)
        assert (WORDS["mood"] in text) == ("## mood" in text)
        assert PROGRAM.tasks["mood"].instruction not in text


def test_answers_kept_one_by_one_are_not_mixed_up(tmp_path: Path) -> None:
    """With `reuse`, an answer to other words is not taken for one to these."""

    def answer(received: Received) -> str:
        text = json.dumps(received.body["messages"])
        return json.dumps({"mood": "good" if "Feel" in text else "bad", "reply": "ok"})

    plain, worded = mti.Plan.fused(PROGRAM), mti.Plan.fused(PROGRAM, instructions=WORDS)
    with ChatServer(answer) as server:
        model = mti.Model(
            "direct/any", api_base=server.base_url, api_key="k", cache=tmp_path, reuse="any"
        )
        moods = [
            PROGRAM(message="Hi.", plan=plan, model=model).mood for plan in (plain, worded, plain)
        ]
        assert moods == ["bad", "good", "bad"]
        assert len(server.requests) == 2


def test_show_tells_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`mtiprompt show --plan` prints the prompt with the plan's words, and the plan as saved."""
    monkeypatch.chdir(tmp_path)
    code = "import mtiprompt as mti\n\nprogram = mti.combine('message -> mood')\n"
    Path("words.py").write_text(code, encoding="utf-8")
    plan = mti.Plan.fused(mti.combine("message -> mood"), instructions=WORDS)
    plan.save("plan.json")
    assert main(["show", "words.py:program", "--plan", "plan.json", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["plan"]["instructions"] == WORDS
    assert WORDS["mood"] in shown["calls"][0]["messages"][0]["content"]
