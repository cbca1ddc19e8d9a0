"""How many tokens a text has: by the model's own tokenizer where it is at hand, else a guess."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from mtiprompt.cli.catalogue import LOCAL
from mtiprompt.models import catalogue

if TYPE_CHECKING:
    from mtiprompt.models.base import LanguageModel


class Counter(NamedTuple):
    """A way of counting tokens.

    Attributes:
        count: Gives the tokens of a text.
        how: What it is, to be shown beside the figures.
    """

    count: Callable[[str], int]
    how: str


def token_counter(model: LanguageModel | None) -> Counter:
    """The best way that costs little: a local model's tokenizer, else characters over four."""
    name = model.name if model else ""
    bare = name.removeprefix(LOCAL)
    if name.startswith(LOCAL) and bare in catalogue.installed():
        from mtiprompt.models.local import engine

        loaded = engine(catalogue.path(bare))
        return Counter(loaded.count_tokens, f"counted by {name}, without the chat's own marks")
    return Counter(lambda text: -(-len(text) // 4), "an estimate: characters / 4")
