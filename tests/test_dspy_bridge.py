"""Programs as DSPy modules and back: calls, traces, optimizers, files, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import dspy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

import mtiprompt as mti
from mtiprompt.dspy_bridge.demos import Rows, line_up
from mtiprompt.dspy_bridge.names import Names
from mtiprompt.errors import DataError, DeclarationError, ModelAccessDenied, PlanError
from mtiprompt.testing import ChatServer, Fault, Received, smallest

pytestmark = pytest.mark.usefixtures("quiet_dspy")

ROWS = [
    {"inputs": {"text": f"item {i}"}, "outputs": {"mood": ["good", "bad"][i % 2], "number": i}}
    for i in range(8)
]


def _program() -> mti.Program:
    return mti.combine("text -> mood: Literal['good', 'bad']", "text -> number: int")


def _answer(received: Received) -> Any:
    """A model that needs examples: without any it takes every other mood for its contrary."""
    if "mood" not in (received.schema or {}).get("properties", {}):
        return smallest(received)
    messages = received.body["messages"]
    number = int(messages[-1]["content"].rsplit(" ", 1)[1])
    shots = sum(message["role"] == "assistant" for message in messages)
    right = shots > 0 or number < 2 or number % 2
    return {"mood": ["good", "bad"][(number + (not right)) % 2], "number": number}


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    """The server that plays the model."""
    with ChatServer(_answer) as running:
        yield running


@pytest.fixture
def model(server: ChatServer) -> mti.Model:
    """The model, asked over HTTP."""
    return mti.Model("direct/any", api_base=server.base_url, api_key="k", cache=False, retries=0)


@pytest.fixture
def examples() -> list[Any]:
    """The rows as DSPy's examples."""
    return mti.dspy_examples(_program(), ROWS)


# --- a call ------------------------------------------------------------------------------------


def test_one_call_fills_all_outputs(server: ChatServer, model: mti.Model) -> None:
    """A module answers all tasks in one call, with typed values."""
    module = mti.to_dspy(_program(), model=model)
    before = server.count
    found = module(text="item 3")
    assert (found.mood, found.number, server.count - before) == ("bad", 3, 1)


def test_each_group_of_the_plan_is_a_call(server: ChatServer, model: mti.Model) -> None:
    """The plan decides which tasks share a call."""
    program = _program()
    module = mti.to_dspy(program, plan=mti.Plan.split(program), model=model)
    before = server.count
    module(text="item 1")
    assert server.count - before == 2


def test_every_task_has_a_row_in_the_trace(model: mti.Model) -> None:
    """The trace has one row for each task: its predictor, its inputs, its own outputs."""
    module = mti.to_dspy(_program(), model=model)
    with dspy.context(trace=[]):
        module(text="item 3")
        trace = dspy.settings.trace
    assert [row[0] for row in trace] == module.predictors()
    assert [row[1] for row in trace] == [{"text": "item 3"}] * 2
    assert [row[2].toDict() for row in trace] == [{"mood": "bad"}, {"number": 3}]


def test_a_task_that_takes_an_answer_has_it_in_its_row() -> None:
    """The row of a task further down has the answer that it took among its inputs."""
    program = mti.combine("text -> mood: Literal['good']", "mood, text -> title")
    module = mti.to_dspy(program, model=mti.EchoModel())
    with dspy.context(trace=[]):
        module(text="x")
        row = dspy.settings.trace[1]
    assert row[1] == {"mood": "good", "text": "x"}


def test_a_failed_slot_is_none() -> None:
    """One bad answer is None in the prediction and in the trace, and the others stay."""
    model = mti.FunctionModel(lambda _: '{"mood": "purple", "number": 3}')
    module = mti.to_dspy(_program(), model=model)
    with dspy.context(trace=[]):
        found = module(text="x")
        trace = dspy.settings.trace
    assert (found.mood, found.number) == (None, 3)
    assert trace[0][2].toDict() == {"mood": None}


def test_an_outage_is_no_bad_answer() -> None:
    """A call that never came through raises: DSPy must not score an outage as a bad prompt."""
    with ChatServer(faults=lambda _: Fault(status=401)) as server:
        denied = mti.Model("direct/x", api_base=server.base_url, api_key="k", cache=False)
        with pytest.raises(ModelAccessDenied):
            mti.to_dspy(_program(), model=denied)(text="x")
    down = mti.FunctionModel(_unavailable)
    with pytest.raises(mti.ModelError, match="down"):
        mti.to_dspy(_program(), model=down)(text="x")


def test_a_refused_item_is_a_bad_answer() -> None:
    """What the model refuses of one item is None in all tasks, not an outage."""

    def refuse(_: mti.Request) -> str:
        raise mti.errors.ContentRefused("no")

    found = mti.to_dspy(_program(), model=mti.FunctionModel(refuse))(text="x")
    assert found.toDict() == {"mood": None, "number": None}


def test_a_name_that_dspy_keeps_is_refused() -> None:
    """A field called as DSPy's own attribute is refused with the task's name."""
    with pytest.raises(DeclarationError, match="task 'signature'"):
        mti.to_dspy(mti.combine("text -> signature"))


def _unavailable(_: mti.Request) -> str:
    raise mti.errors.ModelUnavailable("down")


async def test_the_async_call_answers_alike(model: mti.Model) -> None:
    """`acall` gives what a call gives."""
    module = mti.to_dspy(_program(), model=model)
    found = await asyncio.gather(*(module.acall(text=f"item {i}") for i in range(8)))
    assert [one.number for one in found] == list(range(8))


def test_dspy_runs_it_in_threads(model: mti.Model, examples: list[Any]) -> None:
    """`Parallel`, `batch` and `Evaluate` in threads give every item its own answer."""
    module = mti.to_dspy(_program(), model=model)
    pairs = [(module, one.inputs()) for one in examples]
    found = dspy.Parallel(num_threads=4, disable_progress_bar=True)(pairs)
    again = module.batch(examples, num_threads=4, disable_progress_bar=True)
    assert [one.number for one in found] == [one.number for one in again] == list(range(8))
    metric = mti.dspy_metric(_program())
    assert dspy.Evaluate(devset=examples, metric=metric, num_threads=4)(module).score == 81.25


def test_usage_is_tracked(model: mti.Model) -> None:
    """`track_usage` counts the tokens of calls through our client."""
    module = mti.to_dspy(_program(), model=model)
    with dspy.context(track_usage=True):
        used = module(text="item 1").get_lm_usage()
    assert used["direct/any"]["prompt_tokens"] > 0


def test_callbacks_see_the_module(model: mti.Model) -> None:
    """A callback of DSPy's sees the call of the module begin and end."""

    class Seen(dspy.utils.callback.BaseCallback):
        def __init__(self) -> None:
            self.events: list[str] = []

        def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            self.events.append(type(instance).__name__)

        def on_module_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
            self.events.append(str(outputs.number))

    seen = Seen()
    with dspy.context(callbacks=[seen]):
        mti.to_dspy(_program(), model=model)(text="item 5")
    assert seen.events == ["FusedModule", "5"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_field_is_streamed(model: mti.Model, is_async: bool) -> None:
    """`streamify` sends the field that is listened to, whole, and then the prediction."""
    module = mti.to_dspy(_program(), model=model)
    listener = dspy.streaming.StreamListener("number")
    stream = dspy.streamify(module, stream_listeners=[listener], is_async_program=is_async)
    found = [one async for one in stream(text="item 4")]
    assert [type(one).__name__ for one in found] == ["StreamResponse", "Prediction"]
    assert (found[0].chunk, found[1].number) == ("4", 4)


def test_unknown_inputs_are_left_out(model: mti.Model) -> None:
    """An example with more inputs than the program has is answered all the same."""
    assert mti.to_dspy(_program(), model=model)(text="item 2", id=7).number == 2


def test_equal_fields_of_two_tasks_are_told_apart() -> None:
    """Two tasks with the same field and the same words, of different types, are two in DSPy too."""
    kinds: Any = (Literal["yes", "no"], int)
    tasks = [
        mti.task(dspy.Signature({"text": (str, dspy.InputField()),
                                 "label": (kind, dspy.OutputField())}, "Label it."), name=name)
        for name, kind in zip(("a", "b"), kinds, strict=True)
    ]  # fmt: skip
    module = mti.to_dspy(mti.combine(*tasks), model=mti.EchoModel())
    found = module(text="x")
    assert (found.a__label, found.b__label) == ("yes", 0)
    one, other = (holder.signature for holder in module.predictors())
    assert not one.equals(other)


def test_an_input_and_an_output_of_one_name_are_told_apart() -> None:
    """An output that has the name of an input of the program is called after its task."""
    program = mti.combine(
        "text -> summary", mti.task("summary -> title"), wires={"title.summary": "summary"}
    )
    found = mti.to_dspy(program, model=mti.EchoModel())(text="x", summary="given")
    assert set(found.keys()) == {"summary__summary", "title"}


def test_the_configured_lm_is_asked(server: ChatServer) -> None:
    """Without a model, what DSPy is configured with answers, and keeps its history."""
    lm = dspy.LM("openai/any", api_base=server.base_url, api_key="k", cache=False)
    with dspy.context(lm=lm):
        assert mti.to_dspy(_program())(text="item 3").mood == "bad"
    assert len(lm.history) == 1
    with pytest.raises(mti.SettingsError, match="no model"):
        mti.to_dspy(_program())(text="item 3")


# --- optimizers --------------------------------------------------------------------------------

Compile = Callable[[Any, list[Any], Any, Any], Any]


def _labeled(module: Any, examples: list[Any], metric: Any, lm: Any) -> Any:
    return dspy.LabeledFewShot(k=2).compile(module, trainset=examples)


def _bootstrap(module: Any, examples: list[Any], metric: Any, lm: Any) -> Any:
    made = dspy.BootstrapFewShot(
        metric=metric, metric_threshold=1.0, max_bootstrapped_demos=2, max_labeled_demos=2
    )
    return made.compile(module, trainset=examples)


def _random_search(module: Any, examples: list[Any], metric: Any, lm: Any) -> Any:
    made = dspy.BootstrapFewShotWithRandomSearch(
        metric=metric, metric_threshold=1.0, max_bootstrapped_demos=1, max_labeled_demos=1,
        num_candidate_programs=1, num_threads=2,
    )  # fmt: skip
    return made.compile(module, trainset=examples, valset=examples)


def _mipro(module: Any, examples: list[Any], metric: Any, lm: Any) -> Any:
    made = dspy.MIPROv2(
        metric=metric, metric_threshold=1.0, auto=None, num_candidates=2, num_threads=2,
        max_bootstrapped_demos=1, max_labeled_demos=1, prompt_model=lm, task_model=lm,
    )  # fmt: skip
    data = {"trainset": examples, "valset": examples}
    return made.compile(module, **data, num_trials=2, minibatch=False)


def _simba(module: Any, examples: list[Any], metric: Any, lm: Any) -> Any:
    made = dspy.SIMBA(
        metric=metric, bsize=4, num_candidates=2, max_steps=1, max_demos=2, num_threads=2,
        prompt_model=lm,
    )  # fmt: skip
    return made.compile(module, trainset=examples)


def _gepa(module: Any, examples: list[Any], metric: Any, lm: Any) -> Any:
    made = dspy.GEPA(
        metric=metric, max_metric_calls=24, reflection_lm=lm, reflection_minibatch_size=2,
        num_threads=2,
    )  # fmt: skip
    return made.compile(module, trainset=examples, valset=examples)


@pytest.mark.parametrize("compile_", [_labeled, _bootstrap, _random_search, _mipro, _simba, _gepa])
def test_optimizers_tune_the_module(
    compile_: Compile, model: mti.Model, examples: list[Any], tmp_path: Path
) -> None:
    """Each optimizer gives back a module that runs, is saved and loaded, and answers alike."""
    program = _program()
    module = mti.to_dspy(program, model=model)
    metric, lm = mti.dspy_metric(program), mti.dspy_lm(model)
    evaluate = dspy.Evaluate(devset=examples, metric=metric, num_threads=2)
    best = compile_(module, examples, metric, lm)
    assert evaluate(best).score >= evaluate(module).score

    best.save(tmp_path / "tuned.json")
    loaded = mti.to_dspy(program, model=model)
    loaded.load(tmp_path / "tuned.json")
    assert loaded.plan == best.plan
    answers = [[one(**row.inputs()).toDict() for row in examples] for one in (best, loaded)]
    assert answers[0] == answers[1]
    again = mti.to_dspy(program, plan=mti.from_dspy(loaded), model=model)
    for name, holder in again.tasks.items():
        assert holder.signature.instructions == best.tasks[name].signature.instructions


@pytest.mark.parametrize("compile_", [_labeled, _bootstrap, _random_search])
def test_demonstrations_become_a_plan(
    compile_: Compile, model: mti.Model, examples: list[Any]
) -> None:
    """After optimizing, `from_dspy` gives a plan whose demonstrations answer every task."""
    program = _program()
    module = mti.to_dspy(program, model=model)
    best = compile_(module, examples, mti.dspy_metric(program), mti.dspy_lm(model))
    plan = mti.from_dspy(best)
    assert isinstance(plan, mti.Plan)
    assert 1 <= len(plan.demos) <= 2
    assert all(set(demo.outputs) == set(program.tasks) for demo in plan.demos)
    assert program(text="item 4", model=model, plan=plan).mood == "good"


def test_gepa_sees_each_task_and_why_it_failed(server: ChatServer, model: mti.Model) -> None:
    """GEPA is told about each task apart, and rewrites instructions task by task."""
    program = _program()
    module = mti.to_dspy(program, model=model)
    told: list[str] = []

    def propose(candidate: Any, reflective_dataset: Any, components_to_update: Any) -> Any:
        for name in components_to_update:
            told.extend(str(one["Feedback"]) for one in reflective_dataset[name])
        return {name: f"{candidate[name]} Mind it." for name in components_to_update}

    made = dspy.GEPA(
        metric=mti.dspy_metric(program), max_metric_calls=30, reflection_lm=mti.dspy_lm(model),
        reflection_minibatch_size=4, num_threads=2, instruction_proposer=propose,
        gepa_kwargs={"frontier_type": "objective"},
    )  # fmt: skip
    examples = mti.dspy_examples(program, ROWS)
    made.compile(module, trainset=examples, valset=examples)
    assert any(line.startswith("mood: answered 'bad', expected 'good'") for line in told)
    assert all("\n" not in line for line in told)


def test_half_right_answers_become_no_demonstrations(examples: list[Any]) -> None:
    """Without a threshold DSPy takes the score for truth, and ours is true only if all is right."""
    program = _program()

    def cheerful(request: mti.Request) -> str:
        number = int(request.messages[-1].content.rsplit(" ", 1)[1])
        return json.dumps({"mood": "good", "number": number})

    module = mti.to_dspy(program, model=mti.FunctionModel(cheerful))
    made = dspy.BootstrapFewShot(metric=mti.dspy_metric(program), max_labeled_demos=0)
    best = made.compile(module, trainset=examples)
    assert [demo.outputs["mood"]["mood"] for demo in best.plan.demos] == ["good"] * 4


# --- demonstrations and files ------------------------------------------------------------------


def test_a_plan_goes_in_and_comes_out() -> None:
    """The demonstrations of a plan are held by the predictors, and come back as they were."""
    program = _program()
    plan = mti.Plan.split(program, demos=ROWS[:3])
    module = mti.to_dspy(program, plan=plan, model=mti.EchoModel())
    assert [len(holder.demos) for holder in module.predictors()] == [3, 3]
    assert mti.from_dspy(module) == plan
    assert mti.from_dspy(module.reset_copy()).demos == ()


def test_demonstrations_of_tasks_line_up_by_input() -> None:
    """Answers of different predictors about one item are one demonstration."""
    names = Names(_program())
    moods = [{"text": "a", "mood": "good"}, {"text": "b", "mood": "bad"}]
    numbers = [{"text": "b", "number": 2}, {"text": "a", "number": 1}]
    rows = line_up(names, {"mood": moods, "number": numbers})
    assert rows == [
        {"text": "a", "mood": "good", "number": 1},
        {"text": "b", "mood": "bad", "number": 2},
    ]


@given(
    st.lists(st.integers(0, 6), max_size=8),
    st.lists(st.integers(0, 6), max_size=8),
    st.lists(st.booleans(), min_size=16, max_size=16),
)
def test_no_demonstration_mixes_items(
    moods: list[int], numbers: list[int], whole: list[bool]
) -> None:
    """Whatever is chosen for each task, no row has the answer to another item."""
    names = Names(_program())

    def rows(chosen: list[int], keys: tuple[str, ...], whole: list[bool]) -> list[Any]:
        rest = ("mood", "number")
        every = [{"text": str(i), "mood": f"m{i}", "number": i} for i in chosen]
        return [
            {key: row[key] for key in ("text", *(rest if all_ else keys))}
            for row, all_ in zip(every, whole, strict=False)
        ]

    chosen = {
        "mood": rows(moods, ("mood",), whole),
        "number": rows(numbers, ("number",), whole[8:]),
    }
    found = line_up(names, chosen)
    for row in found:
        assert row.get("mood", f"m{row['text']}") == f"m{row['text']}"
        assert str(row.get("number", row["text"])) == row["text"]
    assert {row["text"] for row in found} == {str(i) for i in (*moods, *numbers)}


def test_demonstrations_of_a_chain_line_up_by_answer() -> None:
    """A demonstration further down a chain belongs to the one whose answer it takes."""
    names = Names(mti.combine("text -> mood", "mood -> title"))
    down = [
        {"mood": "bad", "title": "Oh"},
        {"mood": "good", "title": "Ah"},
        {"mood": "?", "title": ""},
    ]
    up = [{"text": "a", "mood": "good"}, {"text": "b", "mood": "bad"}]
    rows = line_up(names, {"mood": up, "title": down})
    assert [row.get("title") for row in rows] == ["Ah", "Oh"]


def test_the_rest_of_a_row_is_remembered() -> None:
    """A demonstration made of a trace gets the answers that the other tasks gave beside it."""
    names, rows = Names(_program()), Rows()
    rows.note(names, {"text": "a", "mood": "good", "number": 1})
    found = line_up(names, {"mood": [{"text": "a", "mood": "good"}], "number": []}, rows)
    assert found == [{"text": "a", "mood": "good", "number": 1}]


def test_demonstrations_that_do_not_fit_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong label and an answer that is None are no demonstrations; the log quotes neither."""
    module = mti.to_dspy(_program(), model=mti.EchoModel())
    wrong = {"text": "a", "mood": "purple", "number": 1}
    empty = {"text": "b", "mood": None, "number": 2}
    right = {"text": "c", "mood": "good", "number": "3"}
    for holder in module.predictors():
        holder.demos = [dspy.Example(**one) for one in (wrong, empty, right)]
    [demo] = module.plan.demos
    assert demo.outputs == {"mood": {"mood": "good"}, "number": {"number": 3}}
    assert "task mood: a demonstration does not fit: Input should be 'good' or 'bad'" in caplog.text
    assert "purple" not in caplog.text


def test_the_state_of_another_program_is_refused(tmp_path: Path) -> None:
    """A saved state fits only a program with the same tasks, whatever their wording."""
    mti.to_dspy(_program(), model=mti.EchoModel()).save(tmp_path / "a.json")
    other = mti.combine("text -> mood: Literal['good', 'bad']", "text -> number: float")
    with pytest.raises(PlanError, match="another program"):
        mti.to_dspy(other).load(tmp_path / "a.json")
    dspy.Predict("text -> mood").save(tmp_path / "b.json")
    with pytest.raises(PlanError, match="not the saved state"):
        mti.to_dspy(_program()).load(tmp_path / "b.json")


@pytest.mark.parametrize("lost", ["plan", "fields"])
def test_a_state_that_lacks_a_part_is_refused(lost: str) -> None:
    """A state out of which someone took a part, ours or a predictor's, gives one line."""
    module = mti.to_dspy(_program())
    state = json.loads(json.dumps(module.dump_state()))
    del state["mtiprompt"][lost]
    with pytest.raises(PlanError, match=f"not whole: '{lost}' is missing"):
        module.load_state(state)
    state = json.loads(json.dumps(module.dump_state()))
    state.pop("tasks['mood']")
    with pytest.raises(PlanError, match="not whole"):
        module.load_state(state)


def test_fields_are_loaded_by_name(tmp_path: Path) -> None:
    """What DSPy saves by place, descriptions, goes to the fields of the same names."""
    one = mti.combine(mti.task(_described("first", "second"), name="t"))
    two = mti.combine(mti.task(_described("second", "first"), name="t"))
    module = mti.to_dspy(one)
    module.save(tmp_path / "a.json")
    state = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    other = mti.to_dspy(two)
    other.load_state(state)
    fields = other.tasks["t"].signature.input_fields
    assert {name: info.json_schema_extra["desc"] for name, info in fields.items()} == {
        "first": "the first",
        "second": "the second",
    }


def _described(*names: str) -> Any:
    inputs = {name: (str, dspy.InputField(desc=f"the {name}")) for name in names}
    return dspy.Signature({**inputs, "answer": (str, dspy.OutputField())}, "Answer.")


def test_a_copy_has_predictors_of_its_own() -> None:
    """What an optimizer does to a copy does not reach the module; the model is shared."""
    module = mti.to_dspy(_program(), model=mti.EchoModel())
    copied = module.deepcopy()
    copied.tasks["mood"].demos = [dspy.Example(text="a", mood="good", number=1)]
    copied.tasks["mood"].signature = copied.tasks["mood"].signature.with_instructions("Feel.")
    assert module.plan.demos == ()
    assert len(copied.plan.demos) == 1
    assert (module.plan.instructions, copied.plan.instructions) == ((), (("mood", "Feel."),))


ODD = st.text(st.sampled_from(" a.\n\t{}"), max_size=12)
"""Texts of which DSPy makes others: it trims lines, and fills in for an empty one."""


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ODD, st.none() | ODD, st.none() | ODD)
def test_instructions_become_a_plan(own: str, planned: str | None, tuned: str | None) -> None:
    """The plan has the words that were set, those of its plan else, to the letter, also after a
    file; what nobody changed is not in it.
    """
    program = mti.combine(mti.task("text -> mood", instruction="x"), "text -> number: int")
    mood = replace(program.tasks["mood"], instruction=own)
    program = replace(program, tasks={**program.tasks, "mood": mood})
    plan = mti.Plan.fused(program, instructions={} if planned is None else {"mood": planned})
    module = mti.to_dspy(program, plan=plan)
    assert mti.from_dspy(module) == plan
    if tuned is not None:
        holder = module.tasks["mood"]
        holder.signature = holder.signature.with_instructions(tuned)
    found = mti.from_dspy(module)
    assert set(dict(found.instructions)) <= {"mood"}
    said = found.instruction(program, "mood")
    held = module.tasks["mood"].signature.instructions
    assert said.split() == held.split() or (not said.strip() and held.startswith("Given the f"))
    if tuned is None:
        assert said == (own if planned is None else planned)
    loaded = mti.to_dspy(program)
    loaded.load_state(json.loads(json.dumps(module.dump_state())))
    assert mti.from_dspy(loaded) == found


def test_tuned_instructions_run_as_a_plan() -> None:
    """What an optimizer wrote into a predictor is what the program says when it runs the plan."""
    module = mti.to_dspy(_program(), model=(model := mti.EchoModel()))
    holder = module.tasks["mood"]
    holder.signature = holder.signature.with_instructions("Feel what they feel.")
    module(text="a")
    _program()(text="a", plan=mti.from_dspy(module), model=model)
    one, other = model.requests
    assert one.messages == other.messages
    assert "Feel what they feel." in one.messages[0].content


def test_a_file_from_before_plans_had_instructions_is_loaded() -> None:
    """Where the saved plan has none, those of the saved predictors are taken."""
    module = mti.to_dspy(_program())
    holder = module.tasks["mood"]
    holder.signature = holder.signature.with_instructions("Feel what they feel.")
    state = json.loads(json.dumps(module.dump_state()))
    del state["mtiprompt"]["plan"]["instructions"]
    loaded = mti.to_dspy(_program())
    loaded.load_state(state)
    assert mti.from_dspy(loaded) == mti.from_dspy(module)


# --- programs of DSPy's --------------------------------------------------------------------------


class Review(dspy.Signature):
    """Judge the review."""

    text: str = dspy.InputField()
    score: float = dspy.OutputField(ge=0, le=1)


class Triage(dspy.Module):
    """A DSPy program of three predictors, two of them in a chain."""

    def __init__(self) -> None:
        super().__init__()
        self.mood = dspy.Predict("text -> mood: Literal['good', 'bad']")
        self.review = dspy.Predict(Review)
        self.reply = dspy.ChainOfThought("text, mood -> reply")

    def forward(self, text: str) -> Any:
        mood = self.mood(text=text).mood
        score = self.review(text=text).score
        return dspy.Prediction(mood=mood, score=score, reply=self.reply(text=text, mood=mood).reply)


def test_a_dspy_program_becomes_a_program(server: ChatServer, model: mti.Model) -> None:
    """Predictors become tasks named after their attributes, chained by name, asked in one call."""
    program = mti.from_dspy(Triage())
    assert list(program.tasks) == ["mood", "review", "reply"]
    assert program.tasks["reply"].reasoning
    assert [one.name for one in program.tasks["reply"].outputs] == ["reply"]
    assert program.upstream("reply") == {"mood"}
    assert program.tasks["review"].instruction == "Judge the review."
    echo = mti.EchoModel()
    assert not program(text="x", model=echo).failures
    assert len(echo.requests) == 1


def test_constraints_in_metadata_are_enforced() -> None:
    """A bound that DSPy keeps and does not check refuses an answer here."""
    program = mti.from_dspy(Triage())
    model = mti.FunctionModel(lambda _: '{"mood": "good", "score": 7.5, "reply": "Hi"}')
    failures = program(text="x", model=model, repair=mti.Repair.none()).failures
    assert failures["review"].kind == "constraint broken"


def test_demonstrations_come_along() -> None:
    """What the predictors show becomes whole demonstrations, shown where no plan is given."""
    brought = Triage()
    brought.mood.demos = [dspy.Example(text="a", mood="good")]
    brought.review.demos = [dspy.Example(text="a", score=0.5)]
    brought.reply.predict.demos = [dspy.Example(text="a", mood="good", reasoning="so", reply="Hi")]
    program = mti.from_dspy(brought)
    [demo] = program.plan.demos
    assert demo.outputs["reply"] == {"reply": "Hi"}
    model = mti.EchoModel()
    program(text="b", model=model)
    assert "text: a" in str(model.requests[0].messages)


def test_a_fused_dspy_program_keeps_its_demonstrations() -> None:
    """From DSPy and back, the predictors have the demonstrations they had."""
    brought = dspy.Predict(Review)
    brought.demos = [dspy.Example(text="a", score=0.5)]
    module = mti.to_dspy(mti.from_dspy(brought))
    assert [dict(one.items()) for one in module.tasks["review"].demos] == [
        {"text": "a", "score": 0.5}
    ]


def test_a_copy_forgets_what_was_bound_to_the_original() -> None:
    """Optimizers leave a `forward` on a module that they traced; a copy has its own again."""
    module = mti.to_dspy(_program(), model=mti.EchoModel())
    module.forward = module.forward
    copied = module.deepcopy()
    assert copied.forward.__self__ is copied


def test_a_signature_and_a_predictor_are_programs_too() -> None:
    """A signature or a single predictor is a program of one task, called after its class."""
    assert list(mti.from_dspy(Review).tasks) == ["review"]
    assert list(mti.from_dspy(dspy.Predict(Review)).tasks) == ["review"]


def test_what_is_no_program_is_refused() -> None:
    """Something else, or a module without a predictor, is refused with a hint."""
    with pytest.raises(DeclarationError, match="no DSPy program"):
        mti.from_dspy(7)
    with pytest.raises(DeclarationError, match=r"no dspy\.Predict"):
        mti.from_dspy(dspy.Module())


# --- metric and rows -----------------------------------------------------------------------------


def test_the_metric_tells_tasks_apart(examples: list[Any]) -> None:
    """The mean, a score and a sentence for each task; of one task where GEPA asks about it."""
    metric = mti.dspy_metric(_program())
    found = metric(examples[2], dspy.Prediction(mood="bad", number=2))
    assert (found.score, found.objective_scores) == (0.5, {"mood": 0.0, "number": 1.0})
    assert not found
    assert metric(examples[2], dspy.Prediction(mood="good", number=2))
    of_mood = metric(examples[2], dspy.Prediction(number=2), None, "tasks['mood']", None)
    assert of_mood.feedback == (
        "mood: no valid answer (nothing that fits was answered); expected 'good'."
    )
    assert of_mood.score == 0.5


def test_the_metric_says_why_a_slot_failed(examples: list[Any]) -> None:
    """The feedback on a failed slot has the reason that the validator gave."""
    model = mti.FunctionModel(lambda _: '{"mood": "purple", "number": 0}')
    found = mti.to_dspy(_program(), model=model)(text="item 0")
    assert "not an allowed label" in mti.dspy_metric(_program())(examples[0], found).feedback


def test_metrics_of_tasks_are_used() -> None:
    """Named metrics, functions and functions of the inputs score as they do here."""
    program = mti.combine(mti.task("text -> tags: list[str]", metric="f1_set"), "text -> copy_of")
    metric = mti.dspy_metric(program, {"copy_of": lambda found, _, inputs: found == inputs["text"]})
    gold = dspy.Example(text="x", tags=["a", "b"], copy_of="y").with_inputs("text")
    scores = metric(gold, dspy.Prediction(tags=["a"], copy_of="x")).objective_scores
    assert scores == {"tags": pytest.approx(2 / 3), "copy_of": 1.0}
    with pytest.raises(DataError, match="no task"):
        mti.dspy_metric(program, {"tag": "exact"})
    with pytest.raises(DataError, match="gold for no task"):
        metric(dspy.Example(text="x"), dspy.Prediction())
    for wrong in ("exact", [("tags", "exact")]):
        with pytest.raises(DataError, match=r"metrics=.* makes no sense"):
            mti.dspy_metric(program, wrong)  # type: ignore[arg-type]


def test_rows_that_are_no_examples_are_refused() -> None:
    """A row without inputs and outputs is named by its number."""
    with pytest.raises(DataError, match="row 2"):
        mti.dspy_examples(_program(), [ROWS[0], {"text": "x"}])


def test_names_in_decomposed_letters() -> None:
    """Rows, gold of an example and metrics name inputs and tasks in any letters that look the same;
    of two such names in one row none is lost in silence.
    """
    name = unicodedata.normalize("NFD", "größe")
    program = mti.combine(f"{name} -> länge: int", f"{name} -> b: bool")
    gold = {unicodedata.normalize("NFD", "länge"): 1, "\uff42": True}
    row = {"inputs": {name: "a", "m²": 1, "m2": 2}, "outputs": gold}
    [example] = mti.dspy_examples(program, [row])
    assert example.toDict() == {"größe": "a", "länge": 1, "b": True}
    assert list(example.inputs()) == ["größe"]
    metric = mti.dspy_metric(program, {"\uff42": lambda *_: 0.5})
    for one in (example, dspy.Example(gold, größe="a", dspy_split="dev")):
        assert metric(one, dspy.Prediction(länge=1, b=True)).objective_scores == {
            "länge": 1,
            "b": 0.5,
        }
    for key in ("inputs", "outputs"):
        twice = row | {key: {"größe": "a", name: "b"}}
        with pytest.raises(DataError, match="row 2: the name 'größe' is there twice"):
            mti.dspy_examples(program, [row, twice])
    with pytest.raises(DataError, match="metrics: the name 'b' is there twice"):
        mti.dspy_metric(program, {"b": "exact", "\uff42": "exact"})


def test_calls_in_decomposed_letters(caplog: pytest.LogCaptureFixture) -> None:
    """An input is given in any letters that look the same, one with a default too, and also by
    `dspy.Evaluate` with examples of the user's; of two such inputs none is lost in silence.
    """
    name = unicodedata.normalize("NFD", "größe")

    @mti.task
    def länge(text: str, größe: str = "small") -> int:
        """Measure."""
        raise NotImplementedError

    model = mti.EchoModel()
    module = mti.to_dspy(länge, model=model)
    for key in ("größe", name):
        module(**{"text": "t", key: "LARGE"})
        asyncio.run(module.acall(**{"text": "t", key: "LARGE"}))
    gold = {"text": "t", name: "LARGE", unicodedata.normalize("NFD", "länge"): 0}
    example = dspy.Example(gold).with_inputs("text", name)
    evaluate = dspy.Evaluate(devset=[example], metric=mti.dspy_metric(module.program))
    assert evaluate(module).score == 100
    assert {one.messages[-1].content for one in model.requests} == {"text: t\n\ngröße: LARGE"}
    assert not any(one.name.startswith("mtiprompt") for one in caplog.records)
    with pytest.raises(DataError, match="the name 'größe' is there twice"):
        module(**{"text": "t", "größe": "a", name: "b"})


def test_a_call_with_a_column_that_merely_reads_as_an_input(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`m²` beside the input `m2` is no input, and said to be left out like any other."""
    model = mti.EchoModel()
    mti.to_dspy(mti.combine("m2 -> b: bool"), model=model)(**{"m²": "x", "m2": "a"})
    [request] = model.requests
    assert "x" not in request.messages[-1].content
    assert caplog.messages == ["not inputs of the program, and left out: m²"]
    row = {"inputs": {"m2": "a", "m²": "x"}, "outputs": {"b": True}}
    [example] = mti.dspy_examples(mti.combine("m2 -> b: bool"), [row])
    assert example.toDict() == {"m2": "a", "b": True}


def test_predictions_in_decomposed_letters() -> None:
    """A right answer is one in any letters that look the same: another program may write them."""
    name = unicodedata.normalize("NFD", "größe")
    metric = mti.dspy_metric(mti.combine("text -> größe: int", "text -> b: bool"))
    gold = dspy.Example(text="t", größe=1, b=True)
    for prediction in (dspy.Prediction({name: 1, "b": True}), {name: 1, "\uff42": True}):
        assert metric(gold, prediction).objective_scores == {"größe": 1, "b": 1}
    assert float(metric(gold, dspy.Prediction({name: 2, "b": True}))) == 0.5
    with pytest.raises(DataError, match="the prediction: the name 'größe' is there twice"):
        metric(gold, dspy.Prediction({name: 1, "größe": 2, "b": True}))
    with pytest.raises(DataError, match="the example: the name 'größe' is there twice"):
        metric(dspy.Example({name: 1, "größe": 2}), gold)


@pytest.mark.parametrize("answered", ["text", ["other"]])
def test_a_prediction_that_is_no_row_is_no_answer(answered: Any) -> None:
    """A program may answer with whatever it likes; what has no names is an answer of no task."""
    metric = mti.dspy_metric(mti.combine("text -> größe: int"))
    score = metric(dspy.Example(text="t", größe=1), answered)
    assert float(score) == 0
    assert "nothing that fits was answered" in score.feedback


def test_types_with_constraints_reach_dspy() -> None:
    """A constrained type is a field of a signature that DSPy accepts."""

    @mti.task
    def stars(text: str) -> Annotated[int, Field(ge=1, le=5)]:
        """Count the stars."""
        raise NotImplementedError

    module = mti.to_dspy(mti.combine(stars), model=mti.EchoModel())
    assert module(text="x").stars == 1
