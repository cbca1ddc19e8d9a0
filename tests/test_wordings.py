"""Instructions to try: shortened by rule, and proposed by a model that is shown mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt.models.base import Support
from mtiprompt.optimizer.reflect import SHOWN, reflected
from mtiprompt.optimizer.wordings import compressed, first_sentence
from mtiprompt.render import group_prompt
from mtiprompt.testing import ChatServer, Fault, Received
from mtiprompt.wording import Templates
from tests.strategies import Case, cases


def told(name: str, instruction: str, outputs: str = "mood: Literal['good', 'bad']") -> mti.Program:
    """A program of one task."""
    return mti.combine(mti.task(f"text -> {outputs}", name=name, instruction=instruction))


# --- by rule -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Judge the mood. Irony is bad.", "Judge the mood."),
        ("One sentence alone", "One sentence alone"),
        ("Name a place, e.g. Rome. Or none.", "Name a place, e.g. Rome."),
        ("Is it urgent? Say yes.", "Is it urgent?"),
        ("Up to 2.5 points. No more.", "Up to 2.5 points."),
        ('Say "no!" (loudly.) Then stop.', 'Say "no!" (loudly.)'),
        ("A title\n\nAnd a text.", "A title"),
        ("\u5224\u65ad\u60c5\u611f\u3002\u8bbd\u523a\u662f\u574f\u3002",
         "\u5224\u65ad\u60c5\u611f\u3002"),
        ("  \n", ""),
    ],
)  # fmt: skip
def test_the_first_sentence(text: str, first: str) -> None:
    """It ends where a reader would end it, in texts as people write them."""
    assert first_sentence(text) == first


def test_what_is_told_elsewhere_may_go() -> None:
    """Labels and descriptions stand in the form of the reply, so that no instruction is tried too;
    a bare type says too little, and where nothing can go there is no variant.
    """
    long = "Judge it. Think of the tone."
    assert compressed(told("mood", long)) == {"mood": ("Judge it.", "")}
    assert compressed(told("mood", long, "moods: list[Literal['a', 'b']]"))["mood"][-1] == ""
    assert compressed(told("mood", long, "mood")) == {"mood": ("Judge it.",)}
    assert compressed(told("mood", "Judge it.", "mood: int")) == {}
    plan = mti.Plan.fused(program := told("mood", "Short."), instructions={"mood": long})
    assert compressed(program, plan) == {"mood": ("Judge it.", "")}
    assert compressed(program, mti.Plan.fused(program, instructions={"mood": ""})) == {}


@given(st.data(), cases())
def test_labels_and_descriptions_never_go(data: st.DataObject, case: Case) -> None:
    """Every variant is a shorter beginning of the instruction, and the form of the reply, with all
    labels and descriptions, is the same with it.
    """
    text = st.text(st.sampled_from("aB .!?\n"), min_size=1, max_size=30)
    words = {name: data.draw(text) for name in case.program.tasks}
    plan = mti.Plan.fused(case.program, instructions=words)
    for name, texts in compressed(case.program, plan).items():
        assert len(set(texts)) == len(texts) > 0
        for one in texts:
            assert words[name].strip().startswith(one)
            assert len(one) < len(words[name].strip())
            chosen = plan.replace(case.program, instructions={**words, name: one})
            assert form(case.program, chosen) == form(case.program, plan)


def form(program: mti.Program, plan: mti.Plan) -> str:
    """The form of the reply, as the prompt of a plan tells it."""
    prompt = group_prompt(program, plan, program.order, Support(), Templates())
    return prompt.system[prompt.system.rindex("Reply with one JSON") :]


def test_the_metric_guards_what_is_shortened() -> None:
    """Where the second sentence matters, the shorter wording is tried and not taken."""
    program = told("mood", "Judge the mood. Irony is bad.")
    rows = [
        {"id": f"d{n}", "inputs": {"text": f"Text {n}."}, "outputs": {"mood": "bad"}}
        for n in range(60)
    ]

    def answer(request: mti.Request) -> str:
        knows = "Irony" in request.messages[0].content
        return json.dumps({"mood": "bad" if knows else "good"})

    tuned = mti.optimize(
        program, [], rows, model=mti.FunctionModel(answer), budget=mti.Budget(calls=100),
        vary={"instructions"}, variants=compressed(program),
    )  # fmt: skip
    assert {dict(one.point.instructions).get("mood", 0) for one in tuned.found.tried} == {0, 1, 2}
    assert not tuned.better
    assert tuned.plan == mti.Plan.fused(program)


# --- proposed by a model -----------------------------------------------------------------------

TASKS = mti.combine(
    "text -> mood: Literal['good', 'bad']", "text, mood -> reply: Literal['yes', 'no']"
)
ROWS = [
    {"id": f"t{n}", "inputs": {"text": f"Text {n}."}, "outputs": {"mood": "bad", "reply": "yes"}}
    for n in range(8)
]
ASKS = "Your task is to write a new instruction"
"""What GEPA's question has in it."""


def reply_to(received: Received) -> str:
    """Good at `reply`; right about `mood` if it is told how; proposes to be told so."""
    text = received.body["messages"][-1]["content"]
    if ASKS in text:
        return f"Here it is:\n```\nMind the irony, as in {text.count('# Example')} rows.\n```"
    knows = "Mind the irony" in json.dumps(received.body["messages"])
    return json.dumps({"mood": "bad" if knows else "good", "reply": "yes"})


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """The server that plays the model."""
    with ChatServer(reply_to) as running:
        yield running


def at(server: ChatServer, **options: Any) -> mti.Model:
    """A model that asks the server."""
    given: dict[str, Any] = {"cache": False, "retries": 0} | options
    return mti.Model("direct/any", api_base=server.base_url, api_key="k", **given)


def questions(server: ChatServer) -> list[str]:
    """What was asked of the one who proposes."""
    texts = [one.body["messages"][-1]["content"] for one in server.requests]
    return [text for text in texts if ASKS in text]


def test_mistakes_become_a_proposal(server: ChatServer) -> None:
    """Who proposes sees the instruction, inputs, answers and gold of rows that went wrong, and only
    of tasks with mistakes; every call counts, for its purpose.
    """
    model, budget = at(server), mti.Budget(calls=50)
    found = reflected(TASKS, ROWS, model=model, budget=budget, number=2)
    assert found == {"mood": (f"Mind the irony, as in {SHOWN} rows.",)}
    asked = questions(server)
    assert len(asked) == 2
    assert TASKS.tasks["mood"].instruction in asked[0]
    assert asked[0].count("Expected 'bad'; this answer scores 0.00.") == SHOWN
    assert "Text " in asked[0]
    assert "'good'" in asked[0]
    assert (budget.spent.calls, model.usage.of("reflect").calls) == (10, 10)


def test_a_proposal_that_helps_is_found(server: ChatServer) -> None:
    """What was proposed goes into a search as a variant, and into the plan if it is better."""
    variants = reflected(TASKS, ROWS, model=at(server), budget=mti.Budget(calls=20), number=1)
    dev = [{**row, "inputs": {"text": f"New {n}."}} for n, row in enumerate(ROWS * 8)]
    rows = [{**row, "id": str(n)} for n, row in enumerate(dev)]
    tuned = mti.optimize(
        TASKS, ROWS, rows, model=at(server), budget=mti.Budget(calls=100),
        vary={"instructions"}, variants=variants,
    )  # fmt: skip
    assert tuned.better
    assert dict(tuned.plan.instructions) == {"mood": variants["mood"][0]}


def test_answers_of_other_tasks_and_failures_are_told(server: ChatServer) -> None:
    """An input that another task puts out is shown as it was answered; a slot without an answer is
    told with what was wrong with it.
    """
    model = mti.FunctionModel(lambda _: '{"mood": "good", "reply": "maybe"}')
    found = reflected(TASKS, ROWS, model=model, reflect=at(server), budget=mti.Budget(calls=90))
    assert set(found) == {"mood", "reply"}
    about_reply = next(text for text in questions(server) if "No valid answer" in text)
    assert "expected 'yes'" in about_reply
    assert "### mood\ngood" in about_reply


def test_the_budget_is_hard(server: ChatServer) -> None:
    """Nothing is sent above the budget; what was proposed until then is the result."""
    for calls, rest in ((9, 1), (8, 0), (5, 0)):
        before = len(server.requests)
        budget = mti.Budget(calls=calls)
        found = reflected(TASKS, ROWS, model=at(server), budget=budget, number=3)
        assert len(server.requests) - before == calls
        assert len(found.get("mood", ())) == rest


@pytest.mark.parametrize(
    ("reply", "finish"), [("```\n```", "stop"), ("", "stop"), ("Mind the", "length")]
)
def test_what_is_no_instruction_is_left_out(reply: str, finish: Any) -> None:
    """An empty text and one that was cut off are no variants."""
    good = mti.FunctionModel(lambda _: '{"mood": "good", "reply": "yes"}')
    said = mti.FunctionModel(lambda _: mti.Reply(reply, finish_reason=finish))
    assert not reflected(TASKS, ROWS, model=good, reflect=said, budget=mti.Budget(calls=50))


def test_without_mistakes_nothing_is_asked(server: ChatServer) -> None:
    """A task that is right everywhere needs no other words."""
    plan = mti.Plan.fused(TASKS, instructions={"mood": "Mind the irony."})
    budget = mti.Budget(calls=50)
    assert reflected(TASKS, ROWS, model=at(server), budget=budget, plan=plan) == {}
    assert budget.spent.calls == len(ROWS)


def test_a_plan_that_selects_is_reworded_too(server: ChatServer) -> None:
    """What an optimizer gave back may be one that selects its demonstrations."""
    gold = [{"inputs": one["inputs"], "outputs": one["outputs"]} for one in ROWS]
    plan = mti.Plan.fused(TASKS, demos=gold, select=mti.Select("nearest", 1))
    found = reflected(TASKS, ROWS, model=at(server), budget=mti.Budget(calls=20), plan=plan)
    assert set(found) == {"mood"}


def test_a_record_is_gone_on_with(server: ChatServer, tmp_path: Path) -> None:
    """The same call with the same folder asks nothing again, and gives the same."""
    first, again = (
        reflected(
            TASKS, ROWS, model=at(server), reflect=at(server), budget=mti.Budget(calls=50),
            record=tmp_path,
        )
        for _ in range(2)
    )  # fmt: skip
    assert first == again != {}
    assert len(server.requests) == 10


def test_an_outage_is_no_mistake() -> None:
    """A server that is down for good is an error, and no row counts as wrong."""
    with (
        ChatServer(reply_to, faults=lambda _: Fault(status=503)) as down,
        pytest.raises(mti.MTIError),
    ):
        reflected(TASKS, ROWS, model=at(down), budget=mti.Budget(calls=50))
    assert not questions(down)


@pytest.mark.parametrize("options", [{"number": 0}, {"rows": -1}, {"rows": True}])
def test_numbers_that_make_no_sense(options: dict[str, Any]) -> None:
    """They are refused before any call."""
    with pytest.raises(mti.DataError, match="makes no sense"):
        reflected(TASKS, ROWS, model=mti.ScriptedModel([]), budget=mti.Budget(calls=1), **options)


def test_without_the_package_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gepa nothing is asked, and the message says what to install."""
    monkeypatch.setitem(sys.modules, "gepa", None)
    monkeypatch.setitem(sys.modules, "gepa.strategies.instruction_proposal", None)
    with pytest.raises(mti.SettingsError, match=r"mtiprompt\[gepa\]"):
        reflected(TASKS, ROWS, model=mti.ScriptedModel([]), budget=mti.Budget(calls=50))


def test_gepa_comes_with_the_first_use() -> None:
    """Neither the library nor the optimizer loads it."""
    code = (
        "import sys, mtiprompt, mtiprompt.optimizer.reflect, mtiprompt.optimizer.wordings;"
        "assert 'gepa' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
