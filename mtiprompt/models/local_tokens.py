"""How likely a model in this process finds each token of a text.

What is said here is raw: over all tokens of the model, before a schema or a temperature takes part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, Self

from mtiprompt import settings
from mtiprompt.errors import ModelMisconfigured, ModelUnavailable
from mtiprompt.models.naming import is_local, litellm_id, state_of_file
from mtiprompt.wire import Message

TIMEOUT = 600.0
"""Seconds for one request; a long prompt on a busy machine takes its time."""
LIKELIEST = 50
"""How many next tokens are looked at."""
_REMEMBERED = 1_000
"""After how many texts what the model told is kept, at most."""
_ALL = 1_000_000
_BIAS = 1_000.0


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


class Piece(NamedTuple):
    """A token of a text, and how many bytes of it that stands for."""

    token: int
    size: int


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

    def read(self, before: Sequence[int]) -> None:
        """Read a text, from which what is asked next goes on."""
        ...

    def forced(self, before: Sequence[int], rest: Sequence[int]) -> tuple[float, ...]:
        """The logarithm of the probability of each further token, given all before it."""
        ...

    def following(self, before: Sequence[int]) -> tuple[Next, ...]:
        """The likeliest next tokens, the likeliest first."""
        ...


def common(one: Sequence[object], other: Sequence[object]) -> int:
    """How many tokens two texts have in common from the start."""
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


class LocalTokens:
    """A model in this process, loaded for this alone.

    llama.cpp gives no probabilities of tokens it reads, but of those it writes, as they were before
    any bias. So each token that is to be scored is written, alone, by a bias that leaves no choice;
    a grammar that makes it write several takes half as long again. Of what it has read and told
    nothing is asked again. A prompt that has less than half in common with the one before is read
    from its beginning: what a quantised model computes depends on where it begins to read.

    Args:
        name: `local/NAME` or `local:PATH`; without one, the model of the settings.
        threads: Threads that compute; None: the setting, else one for each core.

    Attributes:
        engine: What runs the model, for this alone.

    Raises:
        ModelNotFound: There is no such file.
        ModelMisconfigured: The name is not that of a model in this process, or the engine is not
            installed.
    """

    def __init__(self, name: str | None = None, *, threads: int | None = None) -> None:
        from mtiprompt.models import local  # late: who asks a provider does without

        named = name or settings.current().model
        if not isinstance(named, str) or not is_local(named):
            raise ModelMisconfigured(
                f"{named!r} is no model in this process, whose probabilities are needed",
                hint="write --model local/gemma3-270m-base",
            )
        path = local.resolve(named)
        self.engine = local.Engine(path, slots=1, threads=threads, swa_full=True)
        self._at: Sequence[int] = ()
        self._told: dict[tuple[int, ...], dict[int, Next]] = {}
        self._name = named
        state = state_of_file(litellm_id(named))
        self._identity = f"{path.name} of {path.stat().st_size} bytes"
        self._identity += f", of {state[1]} ns since 1970" if state else ""

    @property
    def name(self) -> str:
        """The name it was given."""
        return self._name

    @property
    def identity(self) -> str:
        """Name and size of its file, and where that is none of the catalogue's, its time."""
        return self._identity

    def tokens(self, text: str) -> tuple[int, ...]:
        """The tokens of a text; what looks like a special token is text."""
        return tuple(self._tokens(text, add_special=True, parse_special=False))

    def chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """The tokens of a chat as the model reads it in a call, up to where its reply begins."""
        asked = {"messages": [one._asdict() for one in messages]}
        text = self.engine.post("/apply-template", asked, timeout=TIMEOUT)["prompt"]
        return tuple(self._tokens(text, add_special=True, parse_special=True))

    def pieces(self, text: str) -> tuple[Piece, ...]:
        """The tokens of a text that goes on after others, with their sizes."""
        told = self._tokens(text, add_special=False, parse_special=False, with_pieces=True)
        return tuple(Piece(one["id"], _size(one["piece"])) for one in told)

    def read(self, before: Sequence[int]) -> None:
        """Read a text, from which what is asked next goes on."""
        self._post(before, n_predict=0)

    def forced(self, before: Sequence[int], rest: Sequence[int]) -> tuple[float, ...]:
        """The logarithm of the probability of each further token."""
        whole = (*before, *rest)
        places = range(len(before), len(whole))
        return tuple(self._next(whole[:place], whole[place]).log for place in places)

    def following(self, before: Sequence[int]) -> tuple[Next, ...]:
        """The likeliest next tokens, the likeliest first."""
        told = self._told.get(tuple(before)) or self._asked(tuple(before), self._closing)
        return tuple(sorted(told.values(), key=lambda one: -one.log)[:LIKELIEST])

    def _next(self, before: tuple[int, ...], token: int) -> Next:
        """A token that may come next."""
        told = self._told.get(before, {})
        if token not in told:
            told = self._asked(before, token)
        if token not in told:  # a part of a character: nothing is told of it when it is written
            told = self._asked(before, token, written=self._closing)
        if token not in told:
            raise ModelUnavailable(f"{self._name} did not tell how likely token {token} is")
        return told[token]

    def _asked(
        self, before: tuple[int, ...], token: int, *, written: int | None = None
    ) -> dict[int, Next]:
        """What is known of the next token once one is asked for: by writing it, or another."""
        number, bias = (LIKELIEST, token) if written is None else (_ALL, written)
        came = self._post(before, n_predict=1, n_probs=number, logit_bias=[[bias, _BIAS]])
        told = self._told.setdefault(before, {})
        for one in came.get("completion_probabilities", [])[:1]:
            for place, each in enumerate((one, *one["top_logprobs"])):
                if place <= LIKELIEST or each["id"] == token:
                    told[each["id"]] = Next(each["id"], bytes(each["bytes"]), each["logprob"])
        return told

    @cached_property
    def _closing(self) -> int:
        """The end of a line, which can be written anywhere."""
        last: int = self._tokens("\n", add_special=False, parse_special=False)[-1]
        return last

    def _tokens(self, text: str, **how: bool) -> list[Any]:
        found: list[Any] = self.engine.post("/tokenize", {"content": text, **how})["tokens"]
        return found

    def _post(self, before: Sequence[int], **how: Any) -> dict[str, Any]:
        goes_on = 2 * common(self._at, before) > len(before)
        if not goes_on or len(self._told) >= _REMEMBERED:
            self._told.clear()
        asked = {"prompt": list(before), "temperature": 0, "cache_prompt": goes_on, **how}
        self._at = ()  # nobody knows what was read when it fails
        told = self.engine.post("/completion", asked, timeout=TIMEOUT)
        self._at = before
        return told

    def close(self) -> None:
        """Free the memory."""
        self.engine.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Free the memory."""
        self.close()


def _size(piece: str | list[int]) -> int:
    """Bytes of a token; part of a character comes as numbers."""
    return len(piece.encode() if isinstance(piece, str) else piece)
