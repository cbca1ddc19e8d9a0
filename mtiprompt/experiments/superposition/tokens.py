"""A model as the experiment sees it: tokens, and how likely each is after the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from mtiprompt import settings
from mtiprompt.errors import ModelMisconfigured, ModelUnavailable
from mtiprompt.models import local
from mtiprompt.models.naming import is_local

TIMEOUT = 600.0
"""Seconds for one request; a long prompt on a busy machine takes its time."""
LIKELIEST = 50
"""How many next tokens are looked at."""


@dataclass(frozen=True)
class Next:
    """A token that may come next.

    Attributes:
        token: Its number.
        text: What it stands for; a character may need several.
        log: The natural logarithm of its probability, over all tokens of the model.
    """

    token: int
    text: bytes
    log: float


class TokenModel(Protocol):
    """Whoever knows the probabilities of tokens."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def identity(self) -> str:
        """What a record knows it by: whatever its probabilities depend on."""
        ...

    def tokens(self, text: str) -> tuple[int, ...]:
        """The tokens of a text, with that for its beginning where the model has one."""
        ...

    def forced(self, before: Sequence[int], rest: Sequence[int]) -> tuple[float, ...]:
        """The logarithm of the probability of each further token, given all before it."""
        ...

    def following(self, before: Sequence[int]) -> tuple[Next, ...]:
        """The likeliest next tokens, the likeliest first."""
        ...


class LocalTokens:
    """A model in this process, loaded for this alone.

    llama.cpp gives no probabilities of tokens it reads, but of those it writes, before anything is
    masked. So it is made to write what is to be scored, by a grammar of token numbers; what it has
    read of a prompt stays read.

    Args:
        name: `local/NAME` or `local:PATH`; without one, the model of the settings.
        threads: Threads that compute; None: the setting, else one for each core.

    Raises:
        ModelNotFound: There is no such file.
        ModelMisconfigured: The name is not that of a model in this process, or the engine is not
            installed.
    """

    def __init__(self, name: str | None = None, *, threads: int | None = None) -> None:
        named = name or settings.current().model
        if not isinstance(named, str) or not is_local(named):
            raise ModelMisconfigured(
                f"{named!r} is no model in this process, whose probabilities are needed",
                hint="write --model local/gemma3-270m-base",
            )
        path = local.resolve(named)
        self._engine = local.Engine(path, slots=1, threads=threads)
        self._name = named
        self._identity = f"{path.name} of {path.stat().st_size} bytes"

    @property
    def name(self) -> str:
        """The name it was given."""
        return self._name

    @property
    def identity(self) -> str:
        """The name and the size of its file."""
        return self._identity

    def tokens(self, text: str) -> tuple[int, ...]:
        """The tokens of a text; what looks like a special token is text."""
        asked = {"content": text, "add_special": True, "parse_special": False}
        return tuple(self._engine.post("/tokenize", asked)["tokens"])

    def forced(self, before: Sequence[int], rest: Sequence[int]) -> tuple[float, ...]:
        """The logarithm of the probability of each further token."""
        if not rest:
            return ()
        grammar = "root ::= " + " ".join(f"<[{one}]>" for one in rest)
        came = self._written(before, n_predict=len(rest), n_probs=1, grammar=grammar)
        if [one["id"] for one in came] != list(rest):
            raise ModelUnavailable(f"{self._name} did not write the tokens that it was made to")
        return tuple(float(one["logprob"]) for one in came)

    def following(self, before: Sequence[int]) -> tuple[Next, ...]:
        """The likeliest next tokens, the likeliest first."""
        [came] = self._written(before, n_predict=1, n_probs=LIKELIEST)
        return tuple(
            Next(one["id"], bytes(one["bytes"]), float(one["logprob"]))
            for one in came["top_logprobs"]
        )

    def _written(self, before: Sequence[int], **how: Any) -> list[dict[str, Any]]:
        asked = {"prompt": list(before), "temperature": 0, "cache_prompt": True, **how}
        told = self._engine.post("/completion", asked, timeout=TIMEOUT)
        found: list[dict[str, Any]] = told.get("completion_probabilities", [])
        return found

    def close(self) -> None:
        """Free the memory."""
        self._engine.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the memory."""
        self.close()
