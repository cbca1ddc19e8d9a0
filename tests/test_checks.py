"""What is refused of arguments: one mistake is one error, wherever it is made."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import unicodedata
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt.checks import read_names
from mtiprompt.errors import ModelAccessDenied

PROGRAM = mti.combine('message -> mood: Literal["good", "bad"]')
ROWS = [{"message": "m"}]
GOLD = [{"inputs": {"message": "m"}, "outputs": {"mood": "good"}}]


def called(model: mti.LanguageModel, **given: Any) -> object:
    """One item."""
    return PROGRAM(message="m", model=model, **given)


def awaited(model: mti.LanguageModel, **given: Any) -> object:
    """One item, in an event loop."""
    return asyncio.run(PROGRAM.acall(message="m", model=model, **given))


def streamed(model: mti.LanguageModel, **given: Any) -> object:
    """One item, slot by slot; the error is there before the first slot is asked for."""
    return PROGRAM.stream(message="m", model=model, **given)


def mapped(model: mti.LanguageModel, **given: Any) -> object:
    """Many items; the error is there before the first result is asked for."""
    return PROGRAM.map(**({"rows": ROWS} | given), model=model)


def amapped(model: mti.LanguageModel, **given: Any) -> object:
    """Many items in an event loop; as for `mapped`."""
    return PROGRAM.amap(**({"rows": ROWS} | given), model=model)


def measured(model: mti.LanguageModel, **given: Any) -> object:
    """A score."""
    return mti.evaluate(PROGRAM, GOLD, model=model, **given)


ONE = (called, awaited, streamed)
MANY = (mapped, amapped)


async def later() -> AsyncIterator[dict[str, str]]:
    """Rows that come one after the other."""
    yield ROWS[0]


@pytest.mark.parametrize(
    ("calls", "name", "value", "error"),
    [
        ((*ONE, *MANY, measured), "repair", 5,
         mti.DataError("repair=5 is no repair", hint="mti.Repair.none(), say")),
        ((*ONE, *MANY, measured), "plan", "plan.json",
         mti.PlanError("'plan.json' is no plan",
                       hint='make one: mti.Plan.fused(program), or mti.Plan.load("plan.json")')),
        *((MANY, "concurrency", number,
           mti.DataError(f"concurrency={number} makes no sense", hint="1 or more"))
          for number in (0, True, 1.5)),
        (MANY, "rows", 5,
         mti.DataError("5 is no list of rows",
                       hint='such as [{"message": "..."}], or [row async for row in rows]')),
    ],
)  # fmt: skip
def test_one_mistake_is_one_error(
    calls: tuple[Callable[..., object], ...], name: str, value: Any, error: mti.MTIError
) -> None:
    """Class, text and hint are the same wherever an argument is wrong, and nobody is asked."""
    for call in calls:
        model = mti.ScriptedModel([])
        with pytest.raises(mti.MTIError) as caught:
            call(model, **{name: value})
        assert (type(caught.value), str(caught.value)) == (type(error), str(error))
        assert model.requests == []


@pytest.mark.parametrize("map_of", MANY)
def test_rows_of_an_async_generator(map_of: Callable[..., object]) -> None:
    """Rows that can be had in an event loop alone are refused, and how to get them is said."""
    with pytest.raises(mti.DataError, match=r"no list of rows .*async for row in rows"):
        map_of(mti.ScriptedModel([]), rows=later())


def test_rows_by_number() -> None:
    """Whatever Python can iterate over gives rows, also what is only indexed."""

    class Indexed:
        def __getitem__(self, place: int) -> dict[str, str]:
            return ROWS[place]

    rows: Any = Indexed()
    assert [one.mood for one in PROGRAM.map(rows, model=mti.EchoModel())] == ["good"]


DECOMPOSED = unicodedata.normalize("NFD", "größe")
SIZED = mti.combine("message -> größe: int", "message -> b: bool")
SIZES = [{"inputs": {"message": f"m {n}"}, "outputs": {"größe": 1, "b": True}} for n in range(9)]


def searched(model: mti.LanguageModel, **given: Any) -> object:
    """The plan that a search finds."""
    train, dev, budget = SIZES[:3], SIZES[3:], mti.Budget(calls=40)
    return mti.optimize(SIZED, train, dev, model=model, budget=budget, concurrency=1, **given).plan


def chosen(model: mti.LanguageModel, **given: Any) -> object:
    """The plan that the planner chooses, and those it has tried."""
    budget = mti.Budget(calls=99)
    choice = mti.choose_plan(SIZED, SIZES, model=model, budget=budget, concurrency=1, **given)
    return choice.plan, [one.plan for one in choice.candidates]


@pytest.mark.parametrize(
    ("call", "name", "given"),
    [
        (searched, "weights", lambda name: {name: 0}),
        (searched, "variants", lambda name: {name: ["How big?"]}),
        (searched, "together", lambda name: [[name, "b"]]),
        (searched, "apart", lambda name: [[name, "b"]]),
        (chosen, "together", lambda name: [[name, "b"]]),
        (chosen, "apart", lambda name: [[name, "b"]]),
    ],
)
def test_tasks_are_found_however_their_names_are_written(
    call: Callable[..., object], name: str, given: Callable[[str], Any]
) -> None:
    """A task is named in any letters of Unicode that look the same, to the same effect."""
    options: dict[str, Any] = {"vary": {"instructions"}} if name == "variants" else {}
    found, asked = [], []
    for one in ("größe", DECOMPOSED):
        model = mti.EchoModel()
        found.append(call(model, **{name: given(one)}, **options))
        asked.append(model.requests)
    assert found[0] == found[1]
    assert asked[0] == asked[1]


@pytest.mark.parametrize(("name", "value"), [("weights", 1), ("variants", ["How big?"])])
def test_a_task_that_is_named_in_two_spellings_is_refused(name: str, value: Any) -> None:
    """Of two values for one task none is lost in silence."""
    model = mti.ScriptedModel([])
    with pytest.raises(mti.DataError) as caught:
        searched(model, **{name: {"größe": value, DECOMPOSED: value}})
    assert str(caught.value) == (
        f"{name}: the name 'größe' is there twice, in letters that look the same "
        "(leave one out: names are read in the form NFKC)"
    )
    assert model.requests == []


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"m²": 1}, {"m2": 1}), ({"m²": 1, "m2": 2}, {"m²": 1, "m2": 2}),
        ({"\uff4d2": 1, "m²": 2, "m2": 3}, {"\uff4d2": 1, "m²": 2, "m2": 3}),
        ({"k²": 1, "k2": 2, 3: 4}, {"k²": 1, "k2": 2, 3: 4}), ({DECOMPOSED: 1}, {"größe": 1}),
        ({"m²": 1, "\uff4d2": 2}, None), ({DECOMPOSED: 1, "größe": 2}, None),
    ],
)  # fmt: skip
def test_names_among_other_columns(given: dict[Any, int], read: dict[Any, int] | None) -> None:
    """A name that is known holds as it is written, beside others that only the form NFKC makes
    equal; two of which neither is it, and two ways to write one letter, are refused.
    """
    known = {"m2", "größe"}
    if read is not None:
        assert read_names(given, known=known) == read
        return
    with pytest.raises(mti.DataError, match="is there twice, in letters that look the same"):
        read_names(given, known=known)


def test_what_goes_wrong_in_asking_a_stream() -> None:
    """What is wrong with an argument is raised by `stream` itself, see above; the model's own
    error in the loop.
    """
    stream = PROGRAM.stream(message="m", model=mti.ScriptedModel([ModelAccessDenied("no")]))
    with pytest.raises(mti.ModelError, match="no"):
        list(stream)


def test_budgets_are_not_loaded_by_programs() -> None:
    """What declares and combines tasks loads nothing of what only paid measurements check."""
    code = (
        "import sys, mtiprompt as mti; mti.combine('a -> b');"
        "print('mtiprompt.models.budget' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
