"""Errors arrive whole wherever they are sent: from another process, and as a copy."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pkgutil import walk_packages
from typing import Any

import pytest

import mtiprompt as mti
from mtiprompt.errors import ModelUnavailable

GIVEN: dict[str, Any] = {
    "message": "it does not go",
    "hint": "do it otherwise",
    "items": ("a", "b"),
    "failures": {"mood": mti.Failure("call failed", "down", error=ModelUnavailable("down"))},
    "tuned": {"plan": "the one of before"},
    "status": 503,
    "retry_after": 1.5,
}
"""What errors are made with, by the names of arguments; each argument of a new one goes here."""

WAYS: dict[str, Callable[[Any], Any]] = {
    f"protocol {number}": lambda error, number=number: pickle.loads(pickle.dumps(error, number))
    for number in range(pickle.HIGHEST_PROTOCOL + 1)
} | {"copy": copy.copy, "deepcopy": copy.deepcopy}


def _tree(root: type[mti.MTIError]) -> Iterator[type[mti.MTIError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _tree(kind)


def _errors() -> list[type[mti.MTIError]]:
    """Every error of the package, wherever it is defined."""
    for module in walk_packages(mti.__path__, "mtiprompt."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    return [kind for kind in _tree(mti.MTIError) if kind.__module__.startswith("mtiprompt.")]


def _made(kind: type[mti.MTIError]) -> mti.MTIError:
    """An error with all that it can be given, and with what is added to it later."""
    names = list(inspect.signature(kind).parameters)
    error: mti.MTIError = kind(**{name: GIVEN[name] for name in names})
    error.usage = mti.Usage(calls=3)  # type: ignore[attr-defined]  # as meters add it to some
    error.add_note("on the way home")
    error.__cause__ = ValueError("why")
    return error


@pytest.mark.parametrize("way", WAYS)
def test_every_error_arrives_as_itself(way: str) -> None:
    """Class, message, hint, notes and all attributes are what they were, for every error class; its
    cause stays behind, as that of any exception of Python does.
    """
    plain = RuntimeError("any")
    plain.__cause__ = ValueError("why")
    kinds = _errors()
    assert {"IncompleteRun", "IncompleteResult", "SearchStopped"} <= {one.__name__ for one in kinds}
    for kind in kinds:
        error = _made(kind)
        arrived = WAYS[way](error)
        assert type(arrived) is kind
        assert (str(arrived), arrived.args) == (str(error), error.args)
        assert repr(vars(arrived)) == repr(vars(error))
        assert (arrived.hint, arrived.__notes__) == (GIVEN["hint"], ["on the way home"])
        assert arrived.__cause__ is WAYS[way](plain).__cause__ is None


class Own(mti.IncompleteRun):
    """An error that a user derives, with an argument of its own."""

    def __init__(self, *, place: str) -> None:
        super().__init__(f"nothing at {place}", items=())
        self.place = place


def test_an_error_of_a_user_arrives_too() -> None:
    """Whoever derives an error need not think of it, whatever it is made with."""
    arrived = pickle.loads(pickle.dumps(Own(place="home")))
    assert (type(arrived), str(arrived), arrived.place) == (Own, "nothing at home", "home")


def _answer(text: str) -> bool:
    """What a worker does; it fails for some texts."""
    reply = "no JSON" if text == "bad" else '{"urgent": true}'
    program = mti.combine("text -> urgent: bool")
    urgent: bool = program(
        text=text, model=mti.FunctionModel(lambda request: reply), repair=mti.Repair.none()
    ).urgent
    return urgent


def test_a_pool_of_processes_goes_on() -> None:
    """A slot that failed in a worker is its error here, and the pool answers what comes after."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        good, bad, after = (pool.submit(_answer, text) for text in ("good", "bad", "good"))
        assert good.result() is True
        with pytest.raises(mti.IncompleteResult, match="task 'urgent' failed") as caught:
            bad.result()
        assert caught.value.failures["urgent"].kind == "unreadable"
        assert after.result() is True
