"""How likely a model finds an answer where it stands."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal, Protocol, Self

from mtiprompt.errors import ModelMisconfigured, ModelUnavailable
from mtiprompt.models.base import LanguageModel
from mtiprompt.models.naming import is_local
from mtiprompt.planner.lens_place import Asking
from mtiprompt.planner.replies import Replies, SharedModel
from mtiprompt.render import write_json

Scale = Literal["whole answer", "first token"]
"""What the probabilities of a lens are of."""
TIMEOUT = 600.0
"""Seconds for one reading; a long prompt on a busy machine takes its time."""


@dataclass(frozen=True)
class Reading:
    """What a model finds likely in a place.

    Attributes:
        logs: Texts that may stand there to the natural logarithm of their probability; the one that
            does stand there first.
    """

    logs: Mapping[str, float]

    @property
    def chosen(self) -> str:
        """The text that stands there."""
        return next(iter(self.logs))

    def log(self, text: str) -> float:
        """The logarithm of a text's probability; of one that is not told, of the least told."""
        return self.logs.get(text, min(self.logs.values()))


class Reader(Protocol):
    """Whoever says how likely an answer is."""

    @property
    def scale(self) -> Scale:
        """What its probabilities are of."""
        ...

    def read(self, one: Asking) -> Reading | None:
        """How likely an answer is in its place; None: there is no such place in the reply."""
        ...

    def __enter__(self) -> Self:
        """Itself."""
        ...

    def __exit__(self, *raised: object) -> None:
        """Free what it holds."""
        ...


def reader(model: LanguageModel, replies: Replies) -> Reader:
    """The best reader that there is for a model.

    Args:
        model: A model in this process, or one whose replies tell log-probabilities.
        replies: What it has answered already.

    Raises:
        ModelError: The model cannot be loaded.
    """
    return ForcedReader(model.name) if is_local(model.name) else FirstTokenReader(model, replies)


class ForcedReader:
    """A model in this process, loaded once more for this alone, that is made to write the answer.

    The probability is the product over the tokens of the answer, each given all before it (teacher
    forcing), before any schema is enforced. Where a task chooses from few labels, all are scored
    and the answer has its share of them: else it would be told how well the model keeps to the
    form, which another answer before it shows by itself. The chat is put as in a call, and the
    reply is tokenised as one text; where the first token of the answer takes in the end of what
    stands before, that end counts too.

    Args:
        name: `local/NAME` or `local:PATH`.

    Raises:
        ModelNotFound: There is no such file.
        ModelMisconfigured: The engine is not installed.
    """

    scale: Scale = "whole answer"

    def __init__(self, name: str) -> None:
        from mtiprompt.models import local

        self._engine = local.Engine(local.resolve(name), slots=1)
        self._name = name

    def read(self, one: Asking) -> Reading:
        """How likely the answer is, and its rivals."""
        chat = [{"role": role, "content": content} for role, content in one.request.messages]
        put = self._engine.post("/apply-template", {"messages": chat}, timeout=TIMEOUT)["prompt"]
        asked = [token for token, _ in self._tokens(put, special=True)]
        before = self._tokens(one.before)
        logs = {}
        for text in (one.answer, *one.rivals):
            whole = self._tokens(one.before + text + one.after)
            start, end = _common(before, whole), _until(whole, one.before + text + one.after[:1])
            tokens = [token for token, _ in whole]
            logs[text] = math.fsum(self._forced([*asked, *tokens[:start]], tokens[start:end]))
        return Reading(_shares(logs) if one.rivals else logs)

    def _tokens(self, text: str, *, special: bool = False) -> list[Token]:
        """Tokens of a text; those of a chat begin as a chat does."""
        asked = {"content": text, "add_special": special, "parse_special": special,
                 "with_pieces": True}  # fmt: skip
        told = self._engine.post("/tokenize", asked)["tokens"]
        return [(one["id"], _size(one["piece"])) for one in told]

    def _forced(self, before: list[int], rest: list[int]) -> list[float]:
        """The logarithm of the probability of each further token, given all before it."""
        told = self._engine.post(
            "/completion",
            {"prompt": before, "temperature": 0, "cache_prompt": True, "n_predict": len(rest),
             "n_probs": 1, "grammar": "root ::= " + " ".join(f"<[{one}]>" for one in rest)},
            timeout=TIMEOUT,
        )  # fmt: skip
        came = told.get("completion_probabilities", [])
        if [one["id"] for one in came] != rest:
            raise ModelUnavailable(f"{self._name} did not write the tokens that it was made to")
        return [float(one["logprob"]) for one in came]

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Free the memory."""
        self._engine.close()


Token = tuple[int, int]
"""The number of a token, and how many bytes it stands for."""


def _size(piece: str | list[int]) -> int:
    """Bytes of a token; part of a character comes as numbers."""
    return len(piece.encode() if isinstance(piece, str) else piece)


def _common(one: Sequence[Token], other: Sequence[Token]) -> int:
    """How many tokens two texts have in common from the start."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _until(tokens: Sequence[Token], text: str) -> int:
    """How many tokens it takes to have all of a text that they begin with."""
    ends = accumulate(size for _, size in tokens)
    return 1 + next(n for n, end in enumerate(ends) if end >= len(text.encode()))


def _shares(logs: Mapping[str, float]) -> dict[str, float]:
    """Logarithms of what each has of the sum of all."""
    most = max(logs.values())
    whole = most + math.log(math.fsum(math.exp(one - most) for one in logs.values()))
    return {text: one - whole for text, one in logs.items()}


class FirstTokenReader:
    """A model whose replies tell log-probabilities, asked the whole call.

    All that such a model can tell is how likely the first token of an answer was: the reply is its
    own, so what stands before the answer is what it has just said there. A token that is not among
    the likeliest counts as the least likely of them.

    Args:
        model: Its replies have OpenAI's `logprobs` in their `details`.
        replies: What it has answered already.
    """

    scale: Scale = "first token"

    def __init__(self, model: LanguageModel, replies: Replies) -> None:
        self._model = SharedModel(model, replies)

    def read(self, one: Asking) -> Reading | None:
        """What could have been the first token of the answer.

        Raises:
            ModelMisconfigured: The reply tells no log-probabilities.
        """
        reply = self._model.complete(one.request)
        told = (reply.details.get("logprobs") or {}).get("content")
        if not told:
            raise ModelMisconfigured(
                f"{self._model.name} tells no log-probabilities, which the lens needs",
                hint="take a model in this process, or mti.Model(..., logprobs=True, "
                "top_logprobs=20)",
            )
        if (place := _place(reply.text, one.key)) is None:
            return None
        token = _token_at(told, place)
        return None if token is None else Reading(_tops(token))

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Nothing to free."""


def _place(reply: str, key: str) -> int | None:
    """At which byte of a reply the answer under a key begins; of a string, what is in it."""
    written = re.escape(write_json({key: None}, "compact").removeprefix("{").partition(":null")[0])
    found = re.search(rf'{written}\s*:\s*"?', reply)
    return None if found is None else len(reply[: found.end()].encode())


def _token_at(told: list[dict[str, Any]], place: int) -> dict[str, Any] | None:
    """The token in which a byte of the reply lies."""
    end = 0
    for token in told:
        end += len(token.get("bytes") or token["token"].encode())
        if end > place:
            return token
    return None


def _tops(token: dict[str, Any]) -> dict[str, float]:
    """The token that came, and those that could have come."""
    tops = {one["token"]: float(one["logprob"]) for one in token.get("top_logprobs") or ()}
    return {token["token"]: float(token["logprob"])} | tops
