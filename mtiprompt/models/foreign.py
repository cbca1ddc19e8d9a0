"""Objects of other libraries taken for models; the bridges to those libraries register here.

A model may be given as what another library calls one. No module below the bridges knows those
libraries, so each bridge says here how to tell its objects and what to make of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mtiprompt.models.base import BaseModel


class ForeignModel(BaseModel):
    """A model that is asked through an object of another library.

    Attributes:
        params: The parameters of calls that wrappers need to know: `max_tokens`.
    """

    params: dict[str, Any]

    def warm(self) -> None:
        """Nothing to load: the library that made the object is there."""

    def bare(self) -> ForeignModel:
        """The same without its library's cache and retries, for which we have our own."""
        return self


Adapter = Callable[[object], BaseModel | None]
"""Makes a model of an object of its library; None for any other object."""

_ADAPTERS: list[Adapter] = []


def register(adapter: Adapter) -> None:
    """Have the objects of a library taken for models."""
    if adapter not in _ADAPTERS:
        _ADAPTERS.append(adapter)


def adopted(value: object) -> BaseModel | None:
    """The model that an object of another library stands for; None if none knows it."""
    return next((made for adapter in _ADAPTERS if (made := adapter(value)) is not None), None)
