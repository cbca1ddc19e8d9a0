"""The judge: a model as a metric, whose troubles are never scores."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt import stats
from mtiprompt.errors import DataError, IncompleteResult, ModelUnavailable
from mtiprompt.evaluation import evaluate
from mtiprompt.evaluation.judge import Judge
from mtiprompt.testing import ChatServer
from mtiprompt.testing.server import Fault, Received

INPUTS = {"question": "Where is the key?"}
LABELLED = {"answer": "a", "gold": "b", "inputs": INPUTS, "grade": "right"}
SAID = {"right": 1.0, "partly right": 0.5, "wrong": 0.0}


def says(*verdicts: str) -> mti.ScriptedModel:
    """A judge's model with these verdicts."""
    return mti.ScriptedModel([json.dumps({"verdict": one}) for one in verdicts])


@pytest.mark.parametrize(("verdict", "score"), SAID.items())
def test_a_verdict_is_a_score(verdict: str, score: float) -> None:
    """Each grade has its score."""
    assert Judge(says(verdict))("In the drawer.", "In the left drawer.", INPUTS) == score


def test_grades_and_criterion_are_the_callers() -> None:
    """Other grades are the only labels allowed, and the criterion is the instruction."""
    model = says("yes")
    judge = Judge(model, criterion="Is it polite?", grades={"yes": 1, "no": 0})
    assert judge("Dear Sir", "Dear Madam", INPUTS) == 1.0
    [request] = model.requests
    assert request.schema is not None
    assert request.schema.schema["properties"]["verdict"]["enum"] == ["yes", "no"]
    assert "Is it polite?" in request.messages[0].content


def test_the_judge_sees_question_answer_and_reference() -> None:
    """One input is shown bare and several as JSON; answers of any type are shown."""
    model = says("right", "right")
    judge = Judge(model)
    judge(["a", "b"], ["b", "a"], INPUTS)
    judge(3, 4, {"x": 1, "y": "two"})
    first, second = (request.messages[-1].content for request in model.requests)
    assert first == 'question: Where is the key?\n\nanswer: ["a", "b"]\n\nreference: ["b", "a"]'
    assert second == 'question: {"x": 1, "y": "two"}\n\nanswer: 3\n\nreference: 4'


@given(st.text(min_size=1))
def test_an_answer_is_data(answer: str) -> None:
    """Whatever an answer says, it stands in the item and leaves the instruction as it is."""
    model = says("wrong", "wrong")
    judge = Judge(model)
    judge(answer, "gold", INPUTS)
    judge("other", "gold", INPUTS)
    one, other = model.requests
    assert one.messages[:-1] == other.messages[:-1]
    assert f"answer: {answer}" in one.messages[-1].content


def test_a_judge_is_a_metric() -> None:
    """In `mti.evaluate` the judge scores the answers of its task; failed slots are 0 unasked."""
    program = mti.combine("question -> reply")
    rows = [
        {"inputs": {"question": "Where?"}, "outputs": {"reply": "Here."}},
        {"inputs": {"question": "When?"}, "outputs": {"reply": "Now."}},
        {"inputs": {"question": "Why?"}, "outputs": {"reply": "So."}},
    ]
    model = mti.ScriptedModel(['{"reply": "There."}', '{"reply": "At once."}', "{}"])
    judge = says("wrong", "right")
    metrics: dict[str, Any] = {"reply": Judge(judge)}
    scores = evaluate(
        program, rows, model=model, metrics=metrics, concurrency=1, repair=mti.Repair.none()
    )
    assert list(scores.tasks["reply"].by_item.values()) == [0.0, 1.0, 0.0]
    assert len(judge.requests) == 2
    assert "question: When?" in judge.requests[1].messages[-1].content


def test_an_outage_is_no_score() -> None:
    """A judge that cannot be reached raises its error, through `mti.evaluate` too."""
    with pytest.raises(ModelUnavailable):
        Judge(mti.ScriptedModel([ModelUnavailable("gone")]))("a", "b", INPUTS)
    program = mti.combine("question -> reply")
    rows = [{"inputs": INPUTS, "outputs": {"reply": "Here."}}]
    metrics: dict[str, Any] = {"reply": Judge(mti.ScriptedModel([ModelUnavailable("gone")]))}
    with pytest.raises(ModelUnavailable):
        evaluate(program, rows, model=mti.EchoModel(), metrics=metrics)


def test_a_spent_budget_is_no_score() -> None:
    """A judge without budget raises too."""
    with ChatServer(lambda received: '{"verdict": "right"}') as server:
        model = mti.Model("openai/judge", api_base=server.base_url, api_key="k", cache=False,
                          budget=mti.Budget(calls=1))  # fmt: skip
        judge = Judge(model)
        assert judge("a", "b", INPUTS) == 1.0
        with pytest.raises(mti.BudgetExceeded):
            judge("c", "b", INPUTS)


def test_no_verdict_is_no_score() -> None:
    """A reply that stays unreadable after its repair is an error that says so."""
    judge = Judge(mti.FunctionModel(lambda request: '{"verdict": "hm"}'))
    with pytest.raises(IncompleteResult, match="the judge function gave no verdict"):
        judge("a", "b", INPUTS)


def test_over_http_with_a_cache(tmp_path: Path) -> None:
    """Over real HTTP: a fault is retried, and the same question is asked once."""

    def verdict(received: Received) -> str:
        text = received.body["messages"][-1]["content"]
        return json.dumps({"verdict": "right" if "drawer" in text else "wrong"})

    with ChatServer(verdict, faults=[Fault(status=503, headers={"Retry-After": "0"})]) as server:
        model = mti.Model(
            "openai/judge", api_base=server.base_url, api_key="k", cache=tmp_path, temperature=0
        )
        judge = Judge(model)
        answers = ["In the drawer.", "On the roof.", "In the drawer."]
        scores = [judge(one, "Inside", INPUTS) for one in answers]
        assert scores == [1.0, 0.0, 1.0]
        assert len(server.requests) == 3  # one of them failed


def test_agreement_with_people() -> None:
    """Agreement is the share of equal grades, with its interval."""
    grades = ["right", "right", "wrong", "partly right"]
    rows = [{"answer": "a", "gold": "b", "inputs": INPUTS, "grade": grade} for grade in grades]
    found = Judge(says("right", "wrong", "wrong", "partly right")).agreement(rows)
    assert (found.mean, found.n) == (0.75, 4)
    assert found.interval == stats.mean([1, 0, 1, 1]).interval


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"answer": "a", "gold": "b", "inputs": {}}, "labelled answer 2 has no 'grade'"),
        (LABELLED | {"grade": "good"}, "labelled answer 2 has the grade 'good'"),
        (LABELLED | {"grade": ["right"]}, "labelled answer 2 has the grade"),
        (LABELLED | {"inputs": "text"}, "labelled answer 2 has the inputs 'text'"),
        (7, "labelled answer 2 is 7"),
    ],
)
def test_labels_that_do_not_fit_are_refused(row: Any, words: str) -> None:
    """A label that the judge cannot give is refused before anything is asked."""
    model = says()
    with pytest.raises(DataError, match=words):
        Judge(model).agreement([LABELLED, row])
    assert model.requests == []


@pytest.mark.parametrize("value", [np.int64(3), np.float32(0.5), np.array([1, 2]), object()])
@pytest.mark.parametrize(
    ("part", "name"), [("answer", "answer"), ("gold", "reference"), ("inputs", "question")]
)
def test_labels_that_cannot_be_asked_about_cost_nothing(part: str, name: str, value: Any) -> None:
    """What JSON cannot express, such as a number out of a table, is refused with its row."""
    model = says()
    row = LABELLED | {part: {"question": value} if part == "inputs" else value}
    with pytest.raises(DataError, match=f"labelled answer 2: the input '{name}' does not fit"):
        Judge(model).agreement([LABELLED, row])
    assert model.requests == []


def test_labels_that_are_no_rows_are_refused() -> None:
    """What cannot be read one by one is refused in a line."""
    with pytest.raises(DataError, match="no list of rows"):
        Judge(says()).agreement(cast(Any, 7))


@pytest.mark.parametrize("confidence", [95, 0, 1, "0.95", None, float("nan")])
def test_a_wrong_confidence_costs_nothing(confidence: Any) -> None:
    """It is refused before anything is asked."""
    model = says()
    with pytest.raises(DataError, match="expected above 0, below 1"):
        Judge(model).agreement([LABELLED], confidence)
    assert model.requests == []


def test_inputs_that_are_no_mapping_are_refused() -> None:
    """A text has no names for what it says."""
    model = says()
    with pytest.raises(DataError, match="inputs='text' makes no sense"):
        Judge(model)("a", "b", cast(Any, "text"))
    assert model.requests == []


def test_grades_of_an_enumeration() -> None:
    """Members that are texts are what they say, whatever str() makes of them."""

    class Grade(str, Enum):  # noqa: UP042  StrEnum has another str()
        RIGHT = "right"
        WRONG = "wrong"

    judge = Judge(says("right", "wrong"), grades={Grade.RIGHT: 1, Grade.WRONG: 0})
    assert [judge("a", "b", INPUTS) for _ in range(2)] == [1, 0]


@pytest.mark.parametrize(
    "grades",
    [{"right": 1}, {"right": 2, "wrong": 0}, {"a": "1", "b": 0}, {1: 1.0, 0: 0.0},
     {"right": 1, None: 0}, {True: 1, False: 0}, ["right", "wrong"], None],
)  # fmt: skip
def test_grades_that_make_no_sense_are_refused(grades: Any) -> None:
    """There are two grades or more, which are texts, with scores from 0 to 1."""
    with pytest.raises(DataError):
        Judge(says(), grades=grades)


@pytest.mark.parametrize("criterion", [None, "", " \n", 7, ["right"]])
def test_a_criterion_that_says_nothing_is_refused(criterion: Any) -> None:
    """It would be the instruction of the judge, "None" for instance."""
    with pytest.raises(DataError, match=r"criterion=.*makes no sense"):
        Judge(says(), criterion=criterion)
