"""The callable program: one item, many items, threads, event loops, inputs, results."""

from __future__ import annotations

import asyncio
import copy
import gc
import itertools
import json
import pickle
import random
import threading
import time
import unicodedata
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

import mtiprompt as mti
from mtiprompt import settings
from mtiprompt.drivers import HELD_BACK
from mtiprompt.errors import ModelAccessDenied, ModelTimeout
from mtiprompt.tasks import Field
from mtiprompt.wire import Reply, Request
from tests.strategies import Answerer, failing, keys_of, saying

ECHO = mti.combine("message -> text")
WIDE = mti.combine("m -> a", "m -> b", "a, b -> c")
SAY = {"a": "A", "b": "B", "c": "C"}


def echo(request: Request) -> str:
    """The item itself as the answer."""
    return json.dumps({"text": request.messages[-1].content.removeprefix("message: ")})


def slow_echo(request: Request) -> str:
    """The same after a random while."""
    time.sleep(random.random() / 200)
    return echo(request)


def rows(number: int) -> Iterator[dict[str, str]]:
    """Numbered rows."""
    return ({"message": str(place)} for place in range(number))


# --- the keys of a reply ----------------------------------------------------------------------


def test_short_keys_are_read_and_mended() -> None:
    """With letters for keys, answers and reasons reach their tasks, and a repair asks by letter."""
    program = mti.combine("m -> mood: Literal['good', 'bad']", "m, mood -> why", "m -> n: int")
    plan = mti.Plan.fused(program, short_keys=True, reasoning={"why": True})
    model = mti.ScriptedModel(
        ['{"a": "good", "b_why": "as it says so", "b": "sun", "c": "many"}', '{"c": 3}']
    )
    result = program(m="x", model=model, plan=plan)
    assert (result.mood, result.why, result.n) == ("good", "sun", 3)
    why = mti.slots(result)["why"]
    assert isinstance(why, mti.Answer)
    assert why.reasoning == "as it says so"


# --- at the same time ------------------------------------------------------------------------


def meeting(parties: int) -> Answerer:
    """A model whose calls for `a` and `b` wait for each other."""
    barrier = threading.Barrier(parties, timeout=5)

    def answer(request: Request) -> str:
        if keys_of(request) != ["c"]:
            barrier.wait()
        return json.dumps({key: SAY[key] for key in keys_of(request)})

    return Answerer(answer)


def test_independent_groups_go_together() -> None:
    """Groups that do not need each other are in flight at the same time, in a call and in a map."""
    plan = mti.Plan.split(WIDE)
    assert not WIDE(m="x", model=meeting(2), plan=plan).failures
    [result] = WIDE.map([{"m": "x"}], model=meeting(2), plan=plan, concurrency=2)
    assert result.c == "C"


async def test_independent_groups_go_together_in_a_loop() -> None:
    """The same with `acall` and `amap`."""
    plan = mti.Plan.split(WIDE)
    assert not (await WIDE.acall(m="x", model=meeting(2), plan=plan)).failures
    results = [one async for one in WIDE.amap([{"m": "x"}], model=meeting(2), plan=plan)]
    assert [one.c for one in results] == ["C"]


def test_items_go_together_up_to_the_limit() -> None:
    """`concurrency` calls are in flight at the same time, and never more."""
    flying, most, lock = 0, 0, threading.Lock()

    def answer(request: Request) -> str:
        nonlocal flying, most
        with lock:
            flying += 1
            most = max(most, flying)
        time.sleep(0.01)
        with lock:
            flying -= 1
        return echo(request)

    list(ECHO.map(rows(30), model=Answerer(answer), concurrency=3))
    assert most == 3
    most = 0
    list(ECHO.map(rows(3), model=Answerer(answer), concurrency=1))
    assert most == 1


async def test_async_items_go_together_up_to_the_limit() -> None:
    """The same in an event loop."""
    flying, most = 0, 0

    class Sleeper(Answerer):
        async def acomplete(self, request: Request) -> Reply:
            nonlocal flying, most
            flying += 1
            most = max(most, flying)
            await asyncio.sleep(0.005)
            flying -= 1
            return Reply(echo(request))

    found = [one.text async for one in ECHO.amap(rows(30), model=Sleeper(echo), concurrency=5)]
    assert found == [str(place) for place in range(30)]
    assert most == 5


# --- order and memory ------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 2, 8])
def test_order_of_rows_is_kept(concurrency: int) -> None:
    """Results come in the order of the rows, whichever reply came first."""
    model = Answerer(slow_echo)
    found = [one.text for one in ECHO.map(rows(80), model=model, concurrency=concurrency)]
    assert found == [str(place) for place in range(80)]


async def test_order_of_rows_is_kept_in_a_loop() -> None:
    """The same with `amap`."""
    found = [one.text async for one in ECHO.amap(rows(80), model=Answerer(slow_echo))]
    assert found == [str(place) for place in range(80)]


@given(st.lists(st.integers(0, 3), max_size=25), st.integers(1, 5))
def test_order_for_any_delays(delays: list[int], concurrency: int) -> None:
    """The same for any pattern of delays and any concurrency."""

    def answer(request: Request) -> str:
        time.sleep(delays[int(json.loads(echo(request))["text"])] / 2000)
        return echo(request)

    found = [
        one.text
        for one in ECHO.map(rows(len(delays)), model=Answerer(answer), concurrency=concurrency)
    ]
    assert found == [str(place) for place in range(len(delays))]


def test_rows_are_read_as_results_are_taken() -> None:
    """An endless source is read a window ahead and no further, also behind a slow first item."""
    read = itertools.count()
    seen = 0

    def endless() -> Iterator[dict[str, str]]:
        nonlocal seen
        for place in read:
            seen = place + 1
            yield {"message": str(place)}

    def answer(request: Request) -> str:
        if echo(request) == '{"text": "0"}':
            time.sleep(1)
        return echo(request)

    results = ECHO.map(endless(), model=Answerer(answer), concurrency=4)
    assert seen == 0
    for taken in range(1, 60):
        assert next(results).text == str(taken - 1)
        assert seen <= taken + HELD_BACK + 8 + 1
    assert seen > HELD_BACK  # one slow row has stopped no others
    results.close()  # type: ignore[attr-defined]


async def test_ready_results_come_before_more_rows() -> None:
    """What is ready is given before further rows are read, however large the window is."""
    read = 0

    def slow() -> Iterator[dict[str, str]]:
        nonlocal read
        for row in rows(40):
            read += 1
            time.sleep(0.005)
            yield row

    for _ in ECHO.map(slow(), model=Answerer(echo), concurrency=20):
        assert read <= 10
        break
    read = 0
    async for _ in ECHO.amap(slow(), model=Answerer(echo), concurrency=20):
        assert read <= 20
        break


def test_results_are_not_kept() -> None:
    """Results that were taken and dropped are freed while the map goes on."""
    alive: list[weakref.ref[mti.Result]] = []
    results = ECHO.map(rows(12), model=Answerer(echo), concurrency=2)
    for one in results:
        alive.append(weakref.ref(one))
        del one
        gc.collect()
        assert sum(ref() is not None for ref in alive) <= 5


def test_a_map_of_nothing() -> None:
    """No rows give no results and no call."""
    model = Answerer(echo)
    assert list(ECHO.map([], model=model)) == []
    assert model.asked == []


@pytest.mark.parametrize("concurrency", [0, -1])
def test_concurrency_is_checked(concurrency: int) -> None:
    """A concurrency that makes no sense is refused at once."""
    with pytest.raises(mti.DataError, match="concurrency"):
        ECHO.map(rows(1), model=Answerer(echo), concurrency=concurrency)


# --- stopping --------------------------------------------------------------------------------


def test_early_close_starts_nothing_more() -> None:
    """After the results are closed no further call is begun, and threads end."""

    def answer(request: Request) -> str:
        time.sleep(0.03)
        return echo(request)

    model = Answerer(answer)
    results = ECHO.map(rows(100), model=model, concurrency=3)
    next(results)
    results.close()  # type: ignore[attr-defined]
    time.sleep(0.05)
    begun = len(model.asked)
    time.sleep(0.2)
    assert len(model.asked) == begun
    assert begun <= 10
    assert not [one for one in threading.enumerate() if one.name == "mtiprompt-call"]


async def test_early_close_cancels_calls_in_a_loop() -> None:
    """Closing an `amap` cancels what is in flight."""
    cancelled = 0

    class Sleeper(Answerer):
        async def acomplete(self, request: Request) -> Reply:
            nonlocal cancelled
            try:
                await asyncio.sleep(0 if echo(request) == '{"text": "0"}' else 5)
            except asyncio.CancelledError:
                cancelled += 1
                raise
            return Reply(echo(request))

    results = ECHO.amap(rows(50), model=Sleeper(echo), concurrency=4)
    assert (await anext(results)).text == "0"
    await results.aclose()
    assert cancelled >= 1
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_what_is_no_model_error_is_raised(error: type[BaseException]) -> None:
    """An interrupt, or a bug of a model, ends a call and a map with that error."""

    def answer(request: Request) -> str:
        if "7" in echo(request):
            raise error("stop")
        return echo(request)

    model = Answerer(answer)
    with pytest.raises(error):
        ECHO(message="7", model=model)
    with pytest.raises(error):
        list(ECHO.map(rows(20), model=model, concurrency=3))
    time.sleep(0.2)  # for those that threads had in hand
    begun = len(model.asked)
    time.sleep(0.05)
    assert len(model.asked) == begun < 1 + 20  # the call, and not all rows


def test_mistake_ends_a_map() -> None:
    """An error that every call would meet ends the map, without calls for all rows."""
    model = failing(ModelAccessDenied("no key"), lambda _: True, {})
    with pytest.raises(ModelAccessDenied):
        list(ECHO.map(rows(1000), model=model, concurrency=4))
    assert len(model.asked) <= 20


def test_outage_of_some_items() -> None:
    """Items whose call failed are failures in their place; the others go on."""
    model = Answerer(echo)
    model.answer = lambda request: (
        (_ for _ in ()).throw(ModelTimeout("slow")) if "3" in echo(request) else echo(request)
    )
    results = list(ECHO.map(rows(20), model=model))
    assert [None if one.failures else one.text for one in results] == [
        None if "3" in str(place) else str(place) for place in range(20)
    ]
    assert results[3].failures["text"].kind == "call failed"


def test_error_of_the_rows_is_raised() -> None:
    """What the source of rows raises is raised, and calls end."""

    def broken() -> Iterator[dict[str, str]]:
        yield from rows(3)
        raise RuntimeError("disk gone")

    with pytest.raises(RuntimeError, match="disk gone"):
        list(ECHO.map(broken(), model=Answerer(echo)))


# --- where it is called from -----------------------------------------------------------------


def test_calls_from_many_threads() -> None:
    """One program is called and mapped from several threads at the same time."""
    model = Answerer(slow_echo)
    found: dict[int, list[str]] = {}

    def work(number: int) -> None:
        program_rows = [{"message": f"{number}.{place}"} for place in range(20)]
        found[number] = [one.text for one in ECHO.map(program_rows, model=model, concurrency=2)]
        found[number].append(ECHO(message=f"{number}", model=model).text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    for number in range(6):
        assert found[number] == [*(f"{number}.{place}" for place in range(20)), f"{number}"]


async def test_calls_from_a_running_loop() -> None:
    """The blocking forms work inside an event loop too."""
    plan = mti.Plan.split(WIDE)
    assert WIDE(m="x", model=saying(SAY), plan=plan).c == "C"
    assert [one.text for one in ECHO.map(rows(10), model=Answerer(echo))] == [
        str(place) for place in range(10)
    ]


async def test_many_acalls() -> None:
    """Many calls are awaited together."""
    model = Answerer(slow_echo)
    found = await asyncio.gather(*(ECHO.acall(message=str(n), model=model) for n in range(30)))
    assert [one.text for one in found] == [str(n) for n in range(30)]


def test_settings_reach_the_calls() -> None:
    """What `using` says holds in the threads that send, and the model of the settings is used."""
    seen = []

    def answer(request: Request) -> str:
        seen.append(settings.current().threads)
        return json.dumps({key: SAY[key] for key in keys_of(request)})

    with mti.using(model=Answerer(answer), threads=7):
        WIDE(m="x", plan=mti.Plan.split(WIDE))
        list(WIDE.map([{"m": "x"}]))
    assert seen == [7] * 4


def test_model_of_a_group() -> None:
    """A group may name its own model; others have that of the call."""
    plan = mti.Plan.groups(WIDE, [mti.Group(("a",), model="nowhere/none"), ["b"], ["c"]])
    with pytest.raises(mti.ModelError, match="nowhere"):
        WIDE(m="x", model=saying(SAY), plan=plan)


# --- inputs ----------------------------------------------------------------------------------


@mti.task
def typed(message: str, year: int, tone: Literal["calm", "loud"] = "calm") -> str:
    """Do."""
    raise NotImplementedError


TYPED = mti.combine(typed)


@pytest.mark.parametrize(
    ("given_inputs", "message"),
    [
        ({}, "'message' is missing"), ({"message": "x"}, "'year' is missing.*message, year, tone"),
        ({"message": "x", "year": 1, "mesage": "y"}, "no input 'mesage'.*message, year, tone"),
        ({"message": 5, "year": 1}, "'message' does not fit"),
        ({"message": "x", "year": "soon"}, "'year' does not fit"),
        ({"message": "x", "year": 1.5}, "'year' does not fit"),
        ({"message": "x", "year": 1, "tone": "warm"}, "'tone' does not fit"),
        ({"message": None, "year": 1}, "'message' does not fit"),
    ],
)  # fmt: skip
async def test_inputs_are_checked(given_inputs: dict[str, Any], message: str) -> None:
    """An input that is missing, unknown or of the wrong type is named, before any call, and in a
    map with the number of its row.
    """
    model = saying({"typed": "x"})
    with pytest.raises(mti.DataError, match=message):
        TYPED(**given_inputs, model=model)
    with pytest.raises(mti.DataError, match=message):
        await TYPED.acall(**given_inputs, model=model)
    assert model.asked == []
    good = {"message": "x", "year": 1}
    with pytest.raises(mti.DataError, match=f"row 2: .*{message}"):
        list(TYPED.map([good, given_inputs], model=model))
    with pytest.raises(mti.DataError, match=f"row 2: .*{message}"):
        async for _ in TYPED.amap([good, given_inputs], model=model):
            pass


@pytest.mark.parametrize("row", [None, 5, "text", ["message"], [("message", "x")], {5: "x"}])
def test_rows_that_are_no_rows(row: Any) -> None:
    """A row that is no mapping is an error of the library with its number."""
    with pytest.raises(mti.DataError, match="row 1"):
        list(ECHO.map([row], model=Answerer(echo)))


def test_results_before_a_bad_row_come_first() -> None:
    """What was done before a row that does not fit is handed out before the error."""
    found = []
    results = ECHO.map([*rows(3), {"wat": 1}, *rows(9)], model=Answerer(slow_echo))
    for one in itertools.islice(results, 3):
        found.append(one.text)
    with pytest.raises(mti.DataError, match="row 4"):
        next(results)
    assert found == ["0", "1", "2"]


def test_defaults_are_filled_in() -> None:
    """An input that was not given has its default in the prompt."""
    model = saying({"typed": "x"})
    TYPED(message="m", year=2024, model=model)
    assert model.asked[0].messages[-1].content == "message: m\n\nyear: 2024\n\ntone: calm"


def test_plan_is_checked() -> None:
    """A plan for another program, or what is no plan, is refused before any call."""
    model = saying(SAY)
    with pytest.raises(mti.PlanError):
        WIDE(m="x", model=model, plan=mti.Plan.fused(ECHO))
    wrong: Any
    for wrong in ("fused", {}, 0):
        with pytest.raises(mti.PlanError, match="no plan"):
            WIDE(m="x", model=model, plan=wrong)
    assert model.asked == []


def test_no_model() -> None:
    """Without any model the error says how to name one."""
    with mti.using(model=None), pytest.raises(mti.MTIError, match=r"(?i)model"):
        ECHO(message="x")


# --- results ---------------------------------------------------------------------------------


class Mood(mti.Signature):
    """Judge."""

    m: str = mti.InputField()
    mood: str = mti.OutputField()
    strength: int = mti.OutputField()


class Ticket(BaseModel):
    """Sort."""

    kind: str


@mti.task
def product(m: str) -> str:
    """Name."""
    raise NotImplementedError


def bare(m: str) -> list[str]:
    """List."""
    raise NotImplementedError


TICKET = mti.task(Ticket, inputs=["m"])
MIXED = mti.combine(Mood, product, bare, TICKET, "m -> n: int", mti.task("m -> q", name="ask"))
GOOD = {"mood": "good", "strength": 3, "product": "lamp", "bare": ["x"], "kind": "bug", "n": 1,
        "q": "why"}  # fmt: skip


def test_access_to_answers() -> None:
    """Answers are reached by field, by task name, by the task and by what declared it."""
    result = MIXED(m="x", model=saying(GOOD))
    assert (result.mood, result.strength, result.product, result.n) == ("good", 3, "lamp", 1)
    assert result["mood"] == result[Mood] == mti.Values({"mood": "good", "strength": 3})
    assert result[product] == result["product"] == "lamp"
    declared: Any = bare
    assert result[declared] == result.bare == ["x"]
    assert result[TICKET] == result["ticket"] == Ticket(kind="bug")
    assert result.kind == "bug"
    assert result["n"].n == 1
    assert result["ask"].q == result.q == result.get("q") == "why"
    assert result.get("product") == "lamp"
    assert list(result) == list(MIXED.tasks)
    assert len(result) == 6
    assert set(result.unwrap()) == set(MIXED.tasks)
    assert result.failures == {}
    assert "lamp" in repr(result)


def test_get_gives_what_the_attribute_gives() -> None:
    """`result.get(name)` is `result.name` where that is there, also for a task named after its one
    field, as every task made of a string is.
    """
    result = MIXED(m="x", model=saying(GOOD))
    assert (result.n, result.get("n")) == (1, 1)
    assert result.get("strength") == 3


def test_access_by_the_model_class() -> None:
    """The pydantic model that declared a task reaches its answer too, as a signature does."""
    result = MIXED(m="x", model=saying(GOOD))
    assert result[Ticket] == Ticket(kind="bug")


def test_access_by_what_declared_a_task_of_another_name() -> None:
    """`name=` does not part an answer from its signature, function, model or task."""
    declarations: list[Any] = [Mood, bare, product, mti.task(Ticket, inputs=["m"])]
    named = [mti.task(one, name=f"t{place}") for place, one in enumerate(declarations)]
    result = mti.combine(*named)(m="x", model=mti.EchoModel())
    for declared, task in zip(declarations, named, strict=True):
        assert result[declared] == result[task] == result[task.name]
    assert result[Ticket] == result["t3"]
    twice = mti.combine(mti.task(Mood, name="a"), mti.task(Mood, name="b"))
    with pytest.raises(KeyError, match="no task 'mood'"):
        _ = twice(m="x", model=mti.EchoModel())[Mood]
    own = mti.combine(Mood, mti.task(Mood, name="b"))(m="x", model=mti.EchoModel())
    assert own[Mood] == own["mood"]
    nothing: Any = None
    with pytest.raises(mti.DeclarationError):
        _ = result[nothing]


def test_names_in_decomposed_letters() -> None:
    """A result finds a name however Unicode writes its letters."""
    result = mti.combine("m -> größe: int, n: int")(m="x", model=mti.EchoModel())
    assert result.get(unicodedata.normalize("NFD", "größe")) == 0
    assert result[unicodedata.normalize("NFD", "größe_n")].n == 0


@mti.task
def mood(text: str) -> Literal["good", "bad"]:
    """Judge the mood."""
    raise NotImplementedError


def test_a_program_goes_to_another_process() -> None:
    """A program is pickled though its task has the name of the function that declared it."""
    program = mti.combine(mood, "text -> n: int")
    again = pickle.loads(pickle.dumps(program))
    assert again.fingerprint == program.fingerprint
    said = [json.dumps({"mood": "good", "n": 1})]
    result = pickle.loads(pickle.dumps(again(text="x", model=mti.ScriptedModel(said))))
    assert result["mood"] == "good"


def test_a_copy_of_a_program_knows_what_declared_its_tasks() -> None:
    """The answers of a copy are reached by what declared a task of another name."""
    program = copy.deepcopy(mti.combine(mti.task(mood, name="other")))
    assert program(text="x", model=mti.ScriptedModel(['{"mood": "bad"}']))[mood] == "bad"


def test_access_to_failed_answers() -> None:
    """A failed slot raises IncompleteResult, which names it; `get` gives the default."""
    result = MIXED(m="x", model=saying({**GOOD, "strength": "many", "product": 5.5, "n": "x"}))
    assert set(result.failures) == {"mood", "n"} or set(result.failures) == {"mood", "product", "n"}
    reaches: list[Callable[[], Any]] = [
        lambda: result.mood, lambda: result.strength, lambda: result["mood"], lambda: result[Mood],
        lambda: result.n,
    ]  # fmt: skip
    for reach in reaches:
        with pytest.raises(mti.IncompleteResult) as caught:
            reach()
        assert set(caught.value.failures) <= set(result.failures)
    assert result.get("mood") is None
    assert result.get("strength") is None
    assert result.get("n", 7) == 7
    assert result.kind == "bug"
    with pytest.raises(mti.IncompleteResult, match="mood") as caught:
        result.unwrap()
    assert caught.value.failures == result.failures
    assert "<wrong type" in repr(result)


def test_names_that_are_not_there() -> None:
    """A name that the program does not have is the error that Python has for it."""
    result = MIXED(m="x", model=saying(GOOD))
    with pytest.raises(AttributeError, match="wat"):
        _ = result.wat
    assert not hasattr(result, "wat")
    reaches: list[Callable[[], Any]] = [
        lambda: result["wat"], lambda: result.get("wat"), lambda: result["kind"],
        lambda: result[mti.task("m -> other")],
    ]  # fmt: skip
    for reach in reaches:
        with pytest.raises(KeyError):
            reach()


def test_answers_cannot_be_changed() -> None:
    """Values of a result are frozen."""
    result = MIXED(m="x", model=saying(GOOD))
    with pytest.raises(AttributeError):
        result["mood"].mood = "bad"
    with pytest.raises(AttributeError):
        del result["mood"].mood
    assert result.mood == "good"


def test_plain_results() -> None:
    """`plain` is JSON data: bare values for tasks with one output, and failures."""
    found = mti.plain(MIXED(m="x", model=saying({**GOOD, "n": "x"})))
    assert json.loads(json.dumps(found)) == found
    assert found["answers"] == {"mood": {"mood": "good", "strength": 3}, "product": "lamp",
                                "bare": ["x"], "ticket": "bug", "ask": "why"}  # fmt: skip
    assert found["failures"]["n"]["kind"] == "wrong type"


def test_names_like_those_of_values() -> None:
    """Output fields may be called as methods of mappings or of pydantic are."""
    names = ["items", "keys", "values", "copy", "json", "model_fields", "update", "pop"]
    program = mti.combine(mti.Task[Any]("t", "i", (Field("m", str),),
                                        tuple(Field(one, str) for one in names)))  # fmt: skip
    result = program(m="x", model=saying(dict(zip(names, names, strict=True))))
    for one in names:
        assert getattr(result, one) == getattr(result["t"], one) == result["t"][one] == one
