"""The interference lens: it sees what was planted, reads answers in their place, and leads."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtiprompt as mti
from mtiprompt import stats
from mtiprompt.cli import main
from mtiprompt.errors import (
    BudgetExceeded,
    DataError,
    ModelMisconfigured,
    ModelTimeout,
    MTIError,
)
from mtiprompt.models import local
from mtiprompt.models.base import Support
from mtiprompt.models.local_tokens import LocalTokens
from mtiprompt.planner import Lens, Movement, lens
from mtiprompt.planner.lens import lens_calls
from mtiprompt.planner.lens_place import Asking, asking
from mtiprompt.planner.lens_read import FirstTokenReader, ForcedReader, Reading, readings
from mtiprompt.planner.replies import Replies
from mtiprompt.render import group_prompt, write_json
from mtiprompt.report.lens import chart_of, table_of
from mtiprompt.result import Answer
from mtiprompt.stats import Interval
from mtiprompt.testing import ChatServer, Fault, Received
from mtiprompt.testing.server import completion
from mtiprompt.wire import NOTATIONS, Message, Notation, Reply, Request
from mtiprompt.wording import Templates
from tests.conftest_commands import small_set

TASKS = ("mood", "echo", "size")
ROWS = [{"inputs": {"text": f"Text {n}."}} for n in range(12)]


def program(*tasks: str) -> mti.Program:
    """Tasks that are answered with yes or no."""
    return mti.combine(*(f"text -> {name}: Literal['yes', 'no']" for name in tasks or TASKS))


def asked(request: Request) -> list[str]:
    """The tasks of a request."""
    return re.findall(r'^"(\w+)":', request.messages[0].content, re.MULTILINE)


def chance(keys: Sequence[str], key: str, text: str) -> float:
    """How likely yes is: of `echo` much less behind `mood`; else nearly the same everywhere."""
    wobble = len(re.sub("[^aeiou02468]", "", text)) % 3 / 100
    return 0.2 if key == "echo" and "mood" in keys else 0.9 - wobble * len(keys)


def telling(request: Request) -> Reply:
    """A reply, all yes, with the log-probabilities of its tokens as OpenAI tells them."""
    keys: list[str] = asked(request)
    tokens: list[dict[str, Any]] = []
    for place, key in enumerate(keys):
        yes = chance(keys, key, request.messages[-1].content)
        likely = {"yes": yes, "no": 1 - yes}
        tops = [{"token": word, "logprob": math.log(p)} for word, p in likely.items()]
        opening = '{"' if not place else ',"'
        closing = '"}' if key == keys[-1] else '"'
        tokens.append({"token": f'{opening}{key}":"', "logprob": 0.0})
        tokens.append({**tops[0], "top_logprobs": tops})
        tokens.append({"token": closing, "logprob": 0.0})
    text = "".join(str(one["token"]) for one in tokens)
    return Reply(text, details={"logprobs": {"content": tokens}})


def seen(**entries: float) -> Lens:
    """A lens in which a task moves all others so far, and nothing else moves."""
    made = {
        (task, other): Movement(moved, Interval(moved, moved), 0.0, Interval(0, 0), 0.0, 9)
        for other, moved in entries.items()
        for task in entries
        if task != other
    }
    return Lens(tuple(entries), made, "whole answer", "any", 9)


# --- what it sees --------------------------------------------------------------------------------


def test_sees_the_task_whose_answer_decides_another() -> None:
    """Where one task's answer is moved by another's by plan, that entry alone is large."""
    model = mti.FunctionModel(telling)
    found = lens(program(), ROWS, model=model)
    planted = found.entries.pop(("echo", "mood"))  # type: ignore[attr-defined]
    assert planted.change == pytest.approx(-0.69, abs=0.02)
    assert planted.moved == -planted.change
    assert planted.interval.low > 0.6
    assert planted.nats < -1
    assert len(found.entries) == 5
    assert max(one.moved for one in found.entries.values()) < 0.05
    assert (found.scale, found.rows, found.model) == ("first token", 12, "function")


def told(received: Received) -> Fault:
    """What a server answers that tells log-probabilities."""
    messages = tuple(Message(one["role"], one["content"]) for one in received.body["messages"])
    reply = telling(Request(messages))
    body = completion(received, reply.text)
    body["choices"][0]["logprobs"] = reply.details["logprobs"]
    return Fault(body=json.dumps(body))


@pytest.mark.parametrize("provider", ["direct", "openai"])
def test_sees_it_over_http(provider: str) -> None:
    """A server that is asked for log-probabilities tells them, through litellm and without."""
    with ChatServer(faults=told) as server:
        model = mti.Model(f"{provider}/any", api_base=server.base_url, api_key="k", cache=False,
                          logprobs=True, top_logprobs=20)  # fmt: skip
        found = lens(program("mood", "echo"), ROWS[:3], model=model)
        assert all(one.body["top_logprobs"] == 20 for one in server.requests)
    assert found.entries["echo", "mood"].moved > 0.6
    assert found.entries["mood", "echo"].moved < 0.05


CHAINED = mti.combine("text -> mood: Literal['yes', 'no']",
                      "text, mood -> echo: Literal['yes', 'no']")  # fmt: skip


@pytest.mark.parametrize(("tasks", "calls"), [(program(), 3 + 6), (CHAINED, 2 + 1)])
def test_asks_each_call_once(tasks: mti.Program, calls: int) -> None:
    """A task alone is asked once a row, for its answer and its probability; then every pair, once
    where both stand in the same order. As many calls are foretold.
    """
    model = mti.FunctionModel(telling)
    lens(tasks, ROWS, model=model)
    assert len(model.requests) == len(ROWS) * calls == lens_calls(tasks, len(ROWS))


def test_the_other_task_comes_first_unless_it_takes_the_answer() -> None:
    """The other's answer stands before; where it builds on the task, it cannot, and comes after."""
    model = mti.FunctionModel(telling)
    found = lens(CHAINED, ROWS[:2], model=model)
    pairs = [keys for one in model.requests if len(keys := asked(one)) > 1]
    assert set(map(tuple, pairs)) == {("mood", "echo")}
    assert set(found.entries) == {("mood", "echo"), ("echo", "mood")}


def test_two_that_cannot_share_a_call_have_no_entry() -> None:
    """Of a chain of three the ends cannot be alone with each other."""
    label = "Literal['yes', 'no']"
    chain = mti.combine(
        f"text -> mood: {label}", f"mood -> echo: {label}", f"echo -> size: {label}"
    )
    found = lens(chain, ROWS[:2], model=mti.FunctionModel(telling))
    assert ("mood", "size") not in found.entries


def test_rows_without_all_answers_are_left_out() -> None:
    """A row where a task fails alone tells nothing; with none left there is an error."""

    def failing(request: Request) -> Reply:
        bad = "Text 3" in request.messages[-1].content and asked(request) == ["size"]
        return Reply("{}") if bad else telling(request)

    assert lens(program(), ROWS, model=mti.FunctionModel(failing)).rows == 11
    empty = Reply("{}", details={"logprobs": {"content": [{"token": "{}", "logprob": 0.0}]}})
    with pytest.raises(DataError, match="on none of 2 rows"):
        lens(program(), ROWS[:2], model=mti.FunctionModel(lambda request: empty))


def test_refuses_what_cannot_work() -> None:
    """A model without log-probabilities, one task, odd numbers: each says what to do."""
    with pytest.raises(ModelMisconfigured, match=r"tells no log-probabilities.*logprobs=True"):
        lens(program(), ROWS, model=mti.EchoModel())
    with pytest.raises(DataError, match="no company"):
        lens(program("mood"), ROWS, model=mti.FunctionModel(telling))
    with pytest.raises(DataError, match="no company"):
        lens_calls(program("mood"), 9)
    wrong: list[Any] = [2, "a", math.nan]
    for confidence in wrong:
        with pytest.raises(DataError, match="confidence"):
            lens(program(), ROWS, model=mti.FunctionModel(telling), confidence=confidence)
    with pytest.raises(DataError, match="concurrency"):
        lens(program(), ROWS, model=mti.FunctionModel(telling), concurrency=0)


def test_a_model_that_tells_nothing_is_refused_at_its_first_reply() -> None:
    """One call is paid, not one for every task and row; without any text a reply shows nothing."""
    model = mti.FunctionModel(lambda request: telling(request).text)
    with pytest.raises(ModelMisconfigured, match="tells no log-probabilities"):
        lens(program(), ROWS, model=model)
    assert len(model.requests) == 1
    asked_first = iter([Reply("")])
    model = mti.FunctionModel(lambda request: next(asked_first, None) or telling(request))
    found = lens(program(), ROWS, model=model)
    assert (found.rows, found.entries["mood", "echo"].n, found.entries["echo", "mood"].n) == (
        12, 11, 12
    )  # fmt: skip


@pytest.mark.parametrize("provider", ["direct", "openai"])
@pytest.mark.parametrize(
    "says", ["logprobs is not supported with this model", "top_logprobs must be at most 5"]
)
def test_a_server_that_refuses_log_probabilities(provider: str, says: str) -> None:
    """It cannot be used for the lens: what it says, and what to do, after one call."""
    body = json.dumps({"error": {"message": says, "type": "invalid_request_error"}})
    with ChatServer(faults=lambda received: Fault(status=400, body=body)) as server:
        model = mti.Model(f"{provider}/any", api_base=server.base_url, api_key="k", cache=False,
                          logprobs=True, top_logprobs=20)  # fmt: skip
        with pytest.raises(ModelMisconfigured, match=rf"{says} \(the lens needs.*--lens-tops"):
            lens(program(), ROWS, model=model)
        assert server.count == 1


def test_a_provider_without_log_probabilities() -> None:
    """What litellm refuses by itself is told as a need of the lens, not as a mistake of options."""
    with ChatServer() as server:
        model = mti.Model("anthropic/claude-sonnet-4-5", api_base=server.base_url, api_key="k",
                          cache=False, logprobs=True, top_logprobs=20)  # fmt: skip
        with pytest.raises(ModelMisconfigured, match=r"logprobs.*\(the lens needs") as raised:
            lens(program(), ROWS, model=model)
        assert "leave out" not in str(raised.value)
        assert server.count == 0


# --- what it may spend ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "rows"), [(9, 1), (17, 1), (20, 2), (36, 4), (50, 5), (107, 11), (108, 12)]
)
@pytest.mark.parametrize("concurrency", [1, 4])
def test_as_many_rows_as_the_budget_pays_for(calls: int, rows: int, concurrency: int) -> None:
    """Rows are asked one after the other; those that are whole when it ends count."""
    model, budget = mti.FunctionModel(telling), mti.Budget(calls=calls)
    found = lens(program(), ROWS, model=model, budget=budget, concurrency=concurrency)
    assert found.rows == rows
    assert found == lens(program(), ROWS[:rows], model=mti.FunctionModel(telling))
    assert len(model.requests) <= calls


@pytest.mark.parametrize("calls", [0, 2, 8])
def test_a_budget_for_no_row(calls: int) -> None:
    """Without one whole row there is nothing to see."""
    with pytest.raises(BudgetExceeded, match="a row takes 9 calls"):
        lens(program(), ROWS, model=mti.FunctionModel(telling), budget=mti.Budget(calls=calls))


def test_a_look_that_a_budget_ended_goes_on(tmp_path: Path) -> None:
    """What is on record costs nothing, so the same budget pays for further rows."""
    model = mti.FunctionModel(telling)
    rows = [lens(program(), ROWS, model=model, budget=mti.Budget(calls=50), record=tmp_path).rows
            for _ in range(3)]  # fmt: skip
    assert rows == [5, 11, 12]
    assert len(model.requests) == 108


@pytest.mark.parametrize(("seconds", "rows"), [(10, 1), (14, 1), (19, 2), (23, 2), (100, 11)])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_as_many_rows_as_the_seconds_last_for(seconds: int, rows: int, concurrency: int) -> None:
    """Each call takes a second. The one that they cut off is no outage, be it about a task alone or
    about two: the rows that are whole count.
    """

    def answer(request: Request) -> Reply:
        if len(model.requests) >= seconds:
            raise ModelTimeout("no whole reply within 0.05 s")
        return telling(request)

    model = mti.FunctionModel(answer)
    budget = mti.Budget(seconds=seconds, clock=lambda: float(len(model.requests)))
    found = lens(program(), ROWS, model=model, budget=budget, concurrency=concurrency)
    assert found.rows == rows
    assert found == lens(program(), ROWS[:rows], model=mti.FunctionModel(telling))


@pytest.mark.parametrize("calls", [1, 3, 4, 9])
@pytest.mark.parametrize("is_over", [True, False])
def test_a_call_about_the_first_row_that_fails(calls: int, is_over: bool) -> None:
    """Where the seconds cut it off, the budget is too small; with time left it is an outage."""

    def answer(request: Request) -> Reply:
        if len(model.requests) >= calls:
            raise ModelTimeout("no whole reply within 0.05 s")
        return telling(request)

    model = mti.FunctionModel(answer)
    seconds = calls if is_over else 1000
    budget = mti.Budget(seconds=seconds, clock=lambda: float(len(model.requests)))
    error: type[MTIError] = BudgetExceeded if is_over else MTIError
    told = "and a row takes 9 calls" if is_over else "no whole reply within"
    with pytest.raises(error, match=told):
        lens(program(), ROWS, model=model, budget=budget)


@pytest.mark.local
def test_a_budget_ends_a_look_through_a_model_in_this_process(model_file: Path) -> None:
    """Only each task alone is a call; the rows that are answered when it ends are read."""
    model = mti.FunctionModel(telling, name=f"local:{model_file}")
    found = lens(program("mood", "echo"), ROWS, model=model, budget=mti.Budget(calls=5))
    assert (found.rows, found.scale) == (2, "whole answer")
    with pytest.raises(BudgetExceeded, match="before a row is answered"):
        lens(program("mood", "echo"), ROWS, model=model, budget=mti.Budget(calls=0))


TAKEN = mti.combine("text -> a: Literal['yes', 'no']", "text -> b: Literal['yes', 'no']",
                    "text, a -> c: Literal['yes', 'no']")  # fmt: skip


@pytest.mark.parametrize("tasks", [program(), TAKEN])
def test_calls_about_a_row_go_side_by_side(tasks: mti.Program) -> None:
    """With `concurrency` the same calls are made, as many and no other, several at a time, and the
    same is seen.
    """
    open_now, most = set[str](), []

    def slowly(request: Request) -> Reply:
        open_now.add(request.key)
        most.append(len(open_now))
        time.sleep(0.005)
        open_now.remove(request.key)
        return telling(request)

    models = mti.FunctionModel(telling), mti.FunctionModel(slowly)
    first, second = (
        lens(tasks, ROWS[:4], model=model, concurrency=number)
        for model, number in zip(models, (1, 4), strict=True)
    )
    assert second == first
    one, other = (sorted(request.key for request in model.requests) for model in models)
    assert one == other
    assert 1 < max(most) <= 4


def test_what_is_on_record_is_not_asked_again(tmp_path: Path) -> None:
    """A second look, and the search after it, pay only for calls that are new."""
    rows = [{"inputs": {"text": f"Text {n}."}} for n in range(24)]
    first = lens(program(), rows, model=mti.FunctionModel(telling), record=tmp_path)
    model = mti.FunctionModel(telling)
    assert lens(program(), rows, model=model, record=tmp_path) == first
    assert model.requests == []
    mti.choose_plan(program(), rows, model=model, record=tmp_path)
    assert {len(asked(one)) for one in model.requests} == {3}


@given(st.lists(st.tuples(*[st.floats(1e-6, 1)] * 2), min_size=1, max_size=9))
def test_movements_are_bounded(pairs: list[tuple[float, float]]) -> None:
    """However probabilities move: the mean change is no larger than the mean movement, which has
    its interval within 0 to 1, and what does not move is 0.
    """
    from mtiprompt.planner.lens_move import movement

    alone, company = (
        [Reading({"x": math.log(p)}) for p in side] for side in zip(*pairs, strict=True)
    )
    one = movement(alone, company, 0.95)
    assert abs(one.change) <= one.moved + 1e-12 <= 1 + 1e-9
    assert -1e-12 <= one.interval.low <= one.interval.high <= 1
    mean = math.fsum(after - before for before, after in pairs) / len(pairs)
    assert one.change == pytest.approx(mean, abs=1e-9)
    assert movement(alone, alone, 0.95).moved == 0
    assert one.n == len(pairs)


def test_one_row_has_the_widest_interval() -> None:
    """From one row nothing follows about others: its interval is all that is possible, as that of
    any mean of one observation here; from two rows on it is narrower.
    """
    from mtiprompt.planner.lens_move import movement

    before, after = ([Reading({"x": math.log(p)})] for p in (0.9, 0.4))
    one = movement(before, after, 0.95)
    assert one.n == 1
    assert one.moved == pytest.approx(0.5)
    assert one.interval == stats.mean([0.5]).interval == Interval(0, 1)
    assert one.change_interval == stats.difference([0.4], [0.9]).interval == Interval(-1, 1)
    assert movement(before * 2, after * 2, 0.95).interval != Interval(0, 1)


# --- where an answer stands ----------------------------------------------------------------------

VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "label": st.sampled_from(["yes", "no"]),
    "word": st.text(max_size=8),
    "count": st.integers(),
    "names": st.lists(st.text(max_size=4), max_size=3),
    "sure": st.booleans(),
}
MIXED = mti.combine(
    "text -> label: Literal['yes', 'no']", "text -> word", "text -> count: int",
    "text -> names: list[str]", "text -> sure: bool",
)  # fmt: skip


@given(st.data(), st.permutations(list(VALUES)), st.sampled_from(NOTATIONS))
def test_the_place_of_an_answer(data: st.DataObject, order: list[str], notation: Notation) -> None:
    """For any answers, order and notation: before, answer and after are the reply as it is written,
    the answer is the same text wherever it stands, and each rival makes a reply of another label.
    """
    answers = {name: Answer(None, {name: data.draw(VALUES[name])}) for name in order}
    plan = mti.Plan.split(MIXED, notation=notation)
    prompt = group_prompt(MIXED, plan, order, Support(), Templates())
    task = data.draw(st.sampled_from(order))
    one = asking(prompt, task, {"text": "x"}, answers, "json_schema")
    reply = write_json({name: answers[name].fields[name] for name in order}, notation)
    assert one.before + one.answer + one.after == reply
    assert sorted((one.key, *one.others)) == sorted(VALUES)
    quote = '"' if isinstance(answers[task].fields[task], str) else ""
    assert json.loads(quote + one.answer) == answers[task].fields[task]
    for rival in one.rivals:
        other = json.loads(one.before + rival + one.after)
        assert other[task] != answers[task].fields[task]
        assert other.keys() == VALUES.keys()
    assert len(one.rivals) == (1 if task in {"label", "sure"} else 0)


@given(st.text(min_size=1, max_size=12), st.lists(st.integers(1, 5), min_size=12), st.booleans())
def test_the_first_token_of_an_answer(value: str, sizes: list[int], tells_bytes: bool) -> None:
    """However a reply is cut into tokens, the one that is read holds the answer's first sign."""
    reply = write_json({"a": "\N{SNOWMAN}", "b": value}, "compact")
    cuts = [sum(sizes[:n]) for n in range(len(sizes) + 1)]
    tokens = [
        reply[a:b] for a, b in zip(cuts, [*cuts[1:-1], len(reply)], strict=False) if reply[a:b]
    ]
    told = [
        {"token": one, "logprob": -float(n), "top_logprobs": []} for n, one in enumerate(tokens)
    ]
    for one in told if tells_bytes else ():
        one["bytes"] = list(str(one["token"]).encode())
    model = mti.FunctionModel(lambda request: Reply(reply, details={"logprobs": {"content": told}}))
    found = FirstTokenReader(model, Replies()).read(Asking(Request(()), "b", "", value, ""))
    assert found is not None
    first = reply.index('"b":"') + len('"b":"')
    number = -round(found.log(found.chosen))
    start = sum(map(len, tokens[:number]))
    assert start <= first < start + len(tokens[number])


@pytest.mark.parametrize("reply", [
    '{"order":{"mood":"calm","size":1},"mood":"@bad"}',
    '{"mood":"@bad","order":{"mood":"calm","size":1}}',
    '{"order":[{"mood":"calm"}],"mood":"@bad"}',
    '{"order":"a \\"mood\\": \'mood\': calm","mood":"@bad"}',
    'Say {"order":{"mood":"calm"}}: ```json\n{"order": {"mood": "sad"}, "mood" : "@bad"}\n```',
    '{"mood":"calm","order":{}} No: {"mood":"@bad","order":{}}',
    '<think>{"mood":"calm"}</think>{"order":{"mood":"calm"},"mood":"@bad"}',
    '{"answer":{"order":{"mood":"calm"},"mood":"@bad"}}',
    '{"order":{"mood":"calm","size":1}}',
    '{"order":{"mood":"calm"},"size":1}',
    '{"order":{"mood":"calm',
])  # fmt: skip
def test_a_key_inside_another_answer_is_not_the_key(reply: str) -> None:
    """What is read under a key is what the reply is parsed to, not what an object or a text inside
    another task's answer has under a key of that name; where the answer is left out, it is nothing.
    """
    place, reply = reply.find("@"), reply.replace("@", "")
    told = [{"token": one, "logprob": -float(n)} for n, one in enumerate(reply)]
    model = mti.FunctionModel(lambda request: Reply(reply, details={"logprobs": {"content": told}}))
    one = Asking(Request(()), "mood", "", "bad", "", others=("order", "size"))
    found = FirstTokenReader(model, Replies()).read(one)
    assert (found and -round(found.log("b"))) == (place if place >= 0 else None)


def test_many_keys_of_the_same_name_cost_no_time() -> None:
    """A reply with a list of two thousand objects that have the key is read at once, whatever
    stands in their texts.
    """
    many = [{"mood": f'a "mood": {{[{n}'} for n in range(2000)]
    reply = write_json({"order": many, "mood": "bad", "size": many}, "compact")
    place = reply.index('"bad"') + 1
    tokens = reply[:place], reply[place:]
    told = [{"token": one, "logprob": -float(n)} for n, one in enumerate(tokens)]
    model = mti.FunctionModel(lambda request: Reply(reply, details={"logprobs": {"content": told}}))
    one = Asking(Request(()), "mood", "", "bad", "", others=("order", "size"))
    begun = time.monotonic()
    found = FirstTokenReader(model, Replies()).read(one)
    assert time.monotonic() - begun < 5
    assert found is not None
    assert found.log(tokens[1]) == -1


@given(st.lists(st.floats(1e-9, 1), min_size=1, max_size=20), st.floats(0.5, 1 + 1e-7))
def test_a_token_that_is_not_told(sizes: list[float], told: float) -> None:
    """Its probability is at most that of the least told, and at most what those told leave; where
    they leave nothing, by rounding even less than that, it still has a logarithm.
    """
    shares = [told * one / math.fsum(sizes) for one in sizes]
    reading = Reading({str(number): math.log(one) for number, one in enumerate(shares)})
    found = math.exp(reading.log("?"))
    assert 0 < found <= min(shares) * (1 + 1e-9)
    assert found <= max(1e-6, 1 - math.fsum(shares)) * (1 + 1e-9)
    assert reading.log("0") == math.log(shares[0])


def test_what_cannot_be_is_no_hole_in_the_figures() -> None:
    """A server that tells the logarithm of 0 as what it is, minus infinity, gives figures that are
    numbers, those of the least logarithm that others tell; the JSON has no NaN.
    """

    def sure(request: Request, least: float) -> Reply:
        tokens: list[dict[str, Any]] = [
            dict(one) for one in telling(request).details["logprobs"]["content"]
        ]
        for one in tokens:
            if one["token"] == "yes":
                one["logprob"] = least if len(asked(request)) > 1 else 0.0
                one["top_logprobs"] = [
                    {"token": "no", "logprob": 0.0 if len(asked(request)) > 1 else least}
                ]
        return Reply(telling(request).text, details={"logprobs": {"content": tokens}})

    never, seldom = (
        lens(program(), ROWS[:3], model=mti.FunctionModel(partial(sure, least=least))).plain()
        for least in (-math.inf, -9999.0)
    )
    assert json.dumps(never, allow_nan=False) == json.dumps(seldom)
    assert never["entries"][0]["nats"] == -9999.0


def test_another_answer_is_seen_without_rivals() -> None:
    """Where a model tells only the token that came, a change of mind is a large movement: what was
    said alone has at most what the other answer leaves.
    """

    def sure(request: Request) -> Reply:
        keys = asked(request)
        tokens: list[dict[str, Any]] = []
        for key in keys:
            said = "no" if key == "echo" and "mood" in keys else "yes"
            tokens += [{"token": ("," if tokens else "{") + f'"{key}":"', "logprob": 0.0},
                       {"token": said, "logprob": math.log(0.99)},
                       {"token": '"' if key != keys[-1] else '"}', "logprob": 0.0}]  # fmt: skip
        text = "".join(one["token"] for one in tokens)
        return Reply(text, details={"logprobs": {"content": tokens}})

    entries = lens(program("mood", "echo"), ROWS, model=mti.FunctionModel(sure)).entries
    assert entries["echo", "mood"].moved == pytest.approx(0.98)
    assert entries["echo", "mood"].change == pytest.approx(-0.98)
    assert entries["mood", "echo"].moved == 0


# --- a model in this process ---------------------------------------------------------------------


@pytest.mark.local
def test_the_forced_reading_is_what_the_model_says_itself(model_file: Path) -> None:
    """The probability of a text that is forced is that with which the model has written it in a
    chat, and of a choice from labels the shares sum to 1; a second answer changes what stands.
    """
    messages = (Message("system", "Answer in one word."), Message("user", "Colour of the sky?"))
    chat = [one._asdict() for one in messages]
    # an engine of its own: where other calls have read a prompt in pieces, probabilities differ
    fresh = local.Engine(model_file, slots=1, context=512)
    with closing(fresh):
        said = fresh.chat(
            {"messages": chat, "max_tokens": 4, "temperature": 0, "logprobs": True,
             "top_logprobs": 1}
        )["choices"][0]  # fmt: skip
    wrote = math.fsum(one["logprob"] for one in said["logprobs"]["content"])
    with ForcedReader(LocalTokens(f"local:{model_file}"), readings(None)) as reader:
        request = Request(messages)
        forced = reader.read(Asking(request, "", "", said["message"]["content"], ""))
        assert forced is not None
        assert forced.log(forced.chosen) == pytest.approx(wrote, abs=0.1)
        labels = reader.read(Asking(request, "c", '{"c":"', 'blue"', "}", ('red"', 'white"')))
        assert labels is not None
        assert math.fsum(math.exp(one) for one in labels.logs.values()) == pytest.approx(1)
        inside = reader.read(Asking(request, "c", '{"c":"', 'blue"', ',"d":"x"}', ('red"',)))
        assert inside is not None
        assert inside.log(inside.chosen) > math.log(0.5)
        assert reader.read(Asking(request, "", "", "\U00040000", "")) is None  # of no token


@pytest.mark.local
def test_a_look_that_was_stopped_goes_on(
    tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a local model whole answers are scored, one row without gold gives every entry, and only
    each task alone is asked. What was read is on record, line by line, and only the rest is read;
    with all of it there, the model is not made to write anything.
    """
    model, pair = mti.FunctionModel(telling, name=f"local:{model_file}"), program("mood", "echo")
    kept, told = tmp_path / "lens.jsonl", []

    def stop() -> None:
        told.append(kept.read_text())
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lens(pair, ROWS[:1], model=model, record=tmp_path, progress=stop)
    with kept.open("a") as file:
        file.write('{"key": "half a li')
    found = lens(pair, ROWS[:1], model=model, record=tmp_path)
    assert found.scale == "whole answer"
    assert set(found.entries) == {("mood", "echo"), ("echo", "mood")}
    assert all(0 < one.moved < 1 and one.n == 1 for one in found.entries.values())
    assert all(asked(one) in (["mood"], ["echo"]) for one in model.requests)
    lines = kept.read_text()
    assert lines.startswith(told[-1])
    assert [text.count("\n") for text in (*told, lines)] == [1, 2, 4]
    monkeypatch.setattr(LocalTokens, "forced", None)
    assert lens(pair, ROWS[:1], model=model, record=tmp_path) == found
    assert kept.read_text() == lines


# --- what it is for ------------------------------------------------------------------------------


def test_the_report_shows_it() -> None:
    """A heat map with a cell for each pair, empty where there is none, and the same as a table."""
    found = seen(a=0.1, b=0.25)
    chart, table = chart_of(found), table_of(found)
    assert chart.kind == "heat"
    assert [one.name for one in chart.series] == ["a", "b"]
    assert chart.series[0].y[1] == -0.25
    assert math.isnan(chart.series[0].y[0])
    assert table.rows == (("a", "\N{EN DASH}", "0.25 [+0.25,+0.25]"),
                          ("b", "0.10 [+0.10,+0.10]", "\N{EN DASH}"))  # fmt: skip


@pytest.fixture
def plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `mtiprompt plan` on a small set, with a model."""
    gold = dict.fromkeys(TASKS, "yes")
    rows = [
        {"id": f"r{n}", "inputs": {"text": f"Text {n}."}, "outputs": gold, "split": "dev"}
        for n in range(30)
    ]
    path = small_set(tmp_path, TASKS, rows)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def command(model: mti.LanguageModel, *words: str) -> tuple[int, str, str]:
        with mti.using(model=model):
            code = main(["plan", str(path), *words])
        return code, *capsys.readouterr()

    return command


def test_the_command_shows_it(plan: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """`plan --lens` prints the table, and writes the lens to the figures and the report."""
    model = mti.FunctionModel(telling)
    code, out, _ = plan(model, "--lens", "--lens-rows", "5")
    assert code == 0
    assert "who moves whom (lens)" in out
    told = json.loads((tmp_path / "mtiprompt-plan" / "results.json").read_text())
    assert told["lens"]["rows"] == 5
    assert "who moves whom (lens)" in (tmp_path / "mtiprompt-plan" / "report.html").read_text()


def test_the_command_says_which_models_have_no_lens(
    plan: Callable[..., tuple[int, str, str]],
) -> None:
    """A model that tells no log-probabilities is one line and exit code 2."""
    code, out, err = plan(mti.EchoModel(), "--lens")
    assert (code, out) == (2, "")
    assert "tells no log-probabilities" in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.parametrize(("words", "calls"), [
    (["--lens"], 20 * 9), (["--lens", "--lens-rows", "5"], 5 * 9), ([], 0),
    (["--lens", "--model", "local/smollm2-135m"], 0),
])  # fmt: skip
def test_a_dry_run_counts_the_calls_of_the_lens(
    plan: Callable[..., tuple[int, str, str]], words: list[str], calls: int
) -> None:
    """What the lens asks beside the search is told; a model in this process is asked no more."""
    model = mti.FunctionModel(telling)
    code, out, _ = plan(model, "--dry-run", "--json", *words)
    assert (code, json.loads(out)["lens_calls"]) == (0, calls)
    _, _, err = plan(model, "--dry-run", *words)
    assert (f"and at most {calls} calls of the lens" in " ".join(err.split())) is (calls > 0)
    assert model.requests == []


@pytest.mark.parametrize(("words", "says"), [
    (["--apart", "mood+zz"], "'zz' is pinned, which is no task"),
    (["--notations", "foo"], "there is no notation 'foo'"),
    (["--margin", "-1"], "margin=-1.0 makes no sense"),
    (["--price", "nonesuch"], "no price for 'nonesuch'"),
    (["--items", "0"], "items_per_call is 0"),
    (["--lens-tops", "21"], "--lens-tops"),
])  # fmt: skip
def test_the_command_refuses_before_it_looks(
    plan: Callable[..., tuple[int, str, str]], tmp_path: Path, words: list[str], says: str
) -> None:
    """With `--lens` too, an option that makes no sense is found before the first call."""
    model, before = mti.FunctionModel(telling), sorted(tmp_path.iterdir())
    code, out, err = plan(model, "--lens", *words)
    assert (code, out) == (2, "")
    assert says in " ".join(err.split())
    assert (model.requests, sorted(tmp_path.iterdir())) == ([], before)


@pytest.mark.parametrize(("left", "rows"), [(0, None), (5, None), (6, 1), (29, 4), (1000, 20)])
def test_the_lens_has_what_the_search_leaves(
    plan: Callable[..., tuple[int, str, str]], tmp_path: Path, left: int, rows: int | None
) -> None:
    """It pays six calls a row, as those about one task are known; where that is not left, it is
    said, and the plan stands.
    """
    model = mti.FunctionModel(telling)
    assert plan(model, "--lens", "--lens-rows", "1")[0] == 0
    taken = len(model.requests) - 6
    for file in (tmp_path / "mtiprompt-plan").rglob("*.jsonl"):
        file.unlink()
    model = mti.FunctionModel(telling)
    code, _, err = plan(model, "--lens", "--budget", str(taken + left))
    assert code == 0, err
    told = json.loads((tmp_path / "mtiprompt-plan" / "results.json").read_text())
    assert (told["lens"] and told["lens"]["rows"]) == rows
    assert ("nothing of the budget was left for the lens" in err) is (rows is None)
    assert len(model.requests) <= taken + left


def test_the_command_asks_for_as_many_tokens_as_the_server_tells(
    plan: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that tells five at most is one line and exit code 2, which names the option that
    mends it; with 0 none are asked for beside the token that came.
    """
    tops = []

    def five(received: Received) -> Fault:
        wanted = received.body.get("top_logprobs")
        if received.body.get("logprobs"):
            tops.append(wanted)
        if wanted and wanted > 5:
            says = {"error": {"message": "top_logprobs must be at most 5"}}
            return Fault(status=400, body=json.dumps(says))
        return told(received)

    with ChatServer(faults=five) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        monkeypatch.setenv("OPENAI_API_BASE", server.base_url)
        words = ("--model", "openai/any", "--lens", "--lens-rows", "2")
        code, out, err = plan(mti.EchoModel(), *words)
        assert (code, out, tops) == (2, "", [20])
        assert "top_logprobs must be at most 5" in err
        assert "--lens-tops" in err
        assert err.count("\n") == 1
        for number, asked_for in ((5, 5), (0, None)):
            tops.clear()
            assert plan(mti.EchoModel(), *words, "--lens-tops", str(number))[0] == 0
            assert set(tops) == {asked_for}
