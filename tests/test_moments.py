"""Numbers where a date should stand, in what can be looked at in few ways."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, RootModel

import mtiprompt as mti
from mtiprompt.tasks import Field


class Days:
    """Days that are iterated over, and nothing else."""

    def __init__(self, *days: Any) -> None:
        self.days = days

    def __iter__(self) -> Iterator[Any]:
        return iter(self.days)


class Trip(BaseModel):
    """A model with a list of days."""

    days: list[date]


@pytest.mark.parametrize(
    ("kind", "value_of"),
    [
        (list[date], lambda days: days),
        (dict[str, tuple[date, ...]], lambda days: {"a": days}),
        (list[Trip] | None, lambda days: [{"days": days}]),
    ],
)
@pytest.mark.parametrize(
    "of", [Days, lambda *days: (one for one in days), lambda *days: iter(days)]
)
def test_a_number_is_no_date_in_what_is_iterated_over(kind: Any, value_of: Any, of: Any) -> None:
    """What has items and is no collection is looked into as a list is."""
    trips = mti.Task[Any]("t", "i", (Field("x", kind),), (Field("t", str),), bare=True)
    reading = mti.combine(trips)
    assert "2024-01-31" in str(reading.read_inputs({"x": value_of(of("2024-01-31"))}))
    with pytest.raises(mti.DataError, match="a number stands where a date should"):
        reading.read_inputs({"x": value_of(of("2024-01-31", 86400))})


class Event(BaseModel):
    """A model that reads the attributes of other objects."""

    model_config = ConfigDict(from_attributes=True)
    when: date


class Told(BaseModel):
    """Another model with the same name of a field."""

    when: Any


def test_a_number_is_no_date_in_a_model_where_one_or_many_may_stand() -> None:
    """A model can be iterated over, but is no list: its fields are looked at."""

    class Numbers(RootModel[list[int]]):
        """Numbers that are iterated over as pydantic's manual says."""

        def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
            return iter(self.root)

    with pytest.raises(ValueError, match="a number stands where a date should"):
        Field("x", list[date]).read(Numbers([432000]))
    field = Field("x", Event | list[Event])
    assert field.read(Told(when="2024-01-31")) == {"when": "2024-01-31"}
    with pytest.raises(ValueError, match="a number stands where a date should"):
        field.read(Told(when="259200"))
