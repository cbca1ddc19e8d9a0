"""How likely a model finds an answer where it stands."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from mtiprompt.errors import ModelError, ModelMisconfigured
from mtiprompt.kept_lines import KeptLines, digest
from mtiprompt.models.base import LanguageModel, Wrapper
from mtiprompt.models.local_tokens import LocalTokens, Piece, common
from mtiprompt.models.naming import is_local
from mtiprompt.planner.lens_place import Asking
from mtiprompt.planner.replies import Replies, SharedModel
from mtiprompt.reading import read_object
from mtiprompt.render import write_json
from mtiprompt.wire import Reply, Request

Scale = Literal["whole answer", "first token"]
"""What the probabilities of a lens are of."""
Logs = Mapping[str, float]
"""Texts to the natural logarithms of their probabilities."""
FILE = "lens.jsonl"
LEAST = 1e-6
"""What told probabilities leave to all others, at least: they add up to 1 as closely as that."""
LOWEST = -9999.0
"""The logarithm that OpenAI's API tells of a token that cannot be; others tell minus infinity, from
which nothing can be taken."""


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
        """The logarithm of a text's probability.

        One that is not told has at most that of the least told, and at most what those told leave:
        the smaller of the two counts as its own.
        """
        if text in self.logs:
            return self.logs[text]
        left = 1 - math.fsum(math.exp(one) for one in self.logs.values())
        return min(math.log(max(LEAST, left)), *self.logs.values())


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


def reader(model: LanguageModel, replies: Replies, record: Path | None = None) -> Reader:
    """The best reader that there is for a model.

    Args:
        model: A model in this process, or one whose replies tell log-probabilities.
        replies: What it has answered already.
        record: A folder that keeps what is no reply; None: nothing is kept.

    Raises:
        DataError: The record cannot be read or written.
        ModelError: The model cannot be loaded.
    """
    if not is_local(model.name):
        return FirstTokenReader(model, replies)
    kept = readings(record)
    return ForcedReader(LocalTokens(model.name), kept)


def readings(folder: Path | None) -> KeptLines[Logs]:
    """What a model in this process was made to tell, in `lens.jsonl`.

    Args:
        folder: Where it is kept; it is made. None: nowhere. Two processes must not use it at the
            same time.

    Raises:
        DataError: It cannot be read or written.
    """
    path = None if folder is None else folder / FILE
    return KeptLines(path, "a lens", dict, _logs_of)


def _logs_of(value: Any) -> Logs:
    return {text: float(log) for text, log in value.items()}


class ForcedReader:
    """A model in this process, loaded once more for this alone, that is made to write the answer.

    The probability is the product over the tokens of the answer, each given all before it (teacher
    forcing), before any schema is enforced. Where a task chooses from few labels, all are scored
    and the answer has its share of them: else it would be told how well the model keeps to the
    form, which another answer before it shows by itself. The chat is put as in a call, and the
    reply is tokenised as one text; where the first token of the answer takes in the end of what
    stands before, that end counts too.

    Args:
        model: Closed in the end.
        record: Keeps what was read, and knows what was read before.
    """

    scale: Scale = "whole answer"

    def __init__(self, model: LocalTokens, record: KeptLines[Logs]) -> None:
        self._model = model
        self._record = record

    def read(self, one: Asking) -> Reading | None:
        """How likely the answer is, and its rivals; None: the model has no tokens for all of it.

        Raises:
            DataError: The record cannot be written.
            ModelError: The model cannot do it.
        """
        place = (one.request.messages, one.before, one.answer, one.after, one.rivals)
        key = digest(self._model.identity, *place)
        if (logs := self._record.get(key)) is None:
            if (logs := self._logs(one)) is None:
                return None
            self._record.add(key, logs)
        return Reading(_shares(logs) if one.rivals else logs)

    def _logs(self, one: Asking) -> dict[str, float] | None:
        """The logarithm of the probability of the answer and of each rival."""
        asked, before = self._model.chat(one.request.messages), self._model.pieces(one.before)
        logs = {}
        for text in (one.answer, *one.rivals):
            reply = one.before + text + one.after
            whole = self._model.pieces(reply)
            # some models have no token for a rare byte, and leave it out
            if sum(piece.size for piece in whole) < len(reply.encode()):
                return None
            start, end = common(before, whole), _until(whole, one.before + text + one.after[:1])
            tokens = [piece.token for piece in whole]
            logs[text] = math.fsum(self._model.forced([*asked, *tokens[:start]], tokens[start:end]))
        return logs

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Free the memory."""
        self._model.close()


def _until(pieces: Sequence[Piece], text: str) -> int:
    """How many tokens it takes to have all of a text that they begin with."""
    ends = accumulate(one.size for one in pieces)
    return 1 + next(n for n, end in enumerate(ends) if end >= len(text.encode()))


def _shares(logs: Mapping[str, float]) -> dict[str, float]:
    """Logarithms of what each has of the sum of all."""
    most = max(logs.values())
    whole = most + math.log(math.fsum(math.exp(one - most) for one in logs.values()))
    return {text: one - whole for text, one in logs.items()}


class TellingModel(Wrapper):
    """A model that has to tell log-probabilities with its replies, as the lens asks it.

    One that does not is refused at its first reply, and is sent nothing more.

    Args:
        inner: Whom to ask.
    """

    def __init__(self, inner: LanguageModel) -> None:
        super().__init__(inner)
        self._tells = False
        self._refusal: ModelMisconfigured | None = None

    def complete(self, request: Request) -> Reply:
        """Ask the inner model.

        Raises:
            ModelMisconfigured: It tells no log-probabilities, or not as many.
        """
        if self._refusal:
            raise self._refusal
        try:
            reply = self.inner.complete(request)
        except ModelError as error:
            if "logprob" not in error.message.lower():
                raise
            self._refusal = ModelMisconfigured(
                error.message,
                hint="the lens needs log-probabilities: ask for fewer, top_logprobs=N or "
                "--lens-tops N, or take another model or one in this process",
                status=error.status,
            )
            raise self._refusal from error
        if reply.text and not self._tells:
            if not _told(reply):
                self._refusal = _silent(self.name)
                raise self._refusal
            self._tells = True
        return reply


class FirstTokenReader:
    """A model whose replies tell log-probabilities, asked the whole call.

    All that such a model can tell is how likely the first token of an answer was: the reply is its
    own, so what stands before the answer is what it has just said there.

    Args:
        model: Its replies have OpenAI's `logprobs` in their `details`.
        replies: What it has answered already.
    """

    scale: Scale = "first token"

    def __init__(self, model: LanguageModel, replies: Replies) -> None:
        self._model, self._replies = model, replies

    def read(self, one: Asking) -> Reading | None:
        """What could have been the first token of the answer.

        Raises:
            ModelMisconfigured: The reply tells no log-probabilities.
        """
        # by another each time: two readings of one call are no two calls
        reply = SharedModel(self._model, self._replies).complete(one.request)
        if (place := _place(reply.text, one)) is None:
            return None
        if not (told := _told(reply)):
            raise _silent(self._model.name)
        token = _token_at(told, place)
        return None if token is None else Reading(_tops(token))

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Nothing to free."""


def _told(reply: Reply) -> list[dict[str, Any]]:
    """The tokens of a reply with their log-probabilities, if it tells them."""
    return (reply.details.get("logprobs") or {}).get("content") or []


def _silent(model: str) -> ModelMisconfigured:
    return ModelMisconfigured(
        f"{model} tells no log-probabilities, which the lens needs",
        hint="take a model in this process, or mti.Model(..., logprobs=True, top_logprobs=20)",
    )


def _place(reply: str, one: Asking) -> int | None:
    """At which byte of a reply the answer under a key begins; of a string, what is in it.

    Objects inside other answers may have the key too: it is where a value would be read as that of
    the key. Where the reply has several such places, the last counts.
    """
    head, _, _ = write_json({one.key: None}, "compact").removeprefix("{").partition(":null")
    places = list(re.finditer(rf'({re.escape(head)}\s*:\s*)"?', reply))
    keys = {one.key, *one.others}
    whole = read_object(reply, keys)
    if whole.note is None and one.key in whole.values:
        outer = _outer_texts(reply)
        places = [found for found in places if found.start() in outer]
    for found in reversed(places):
        if read_object(reply[: found.end(1)] + '""', keys).last == one.key:
            return len(reply[: found.end()].encode())
    return None


_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]')
_DEEPER = {"{": 1, "[": 1, "}": -1, "]": -1}


def _outer_texts(reply: str) -> set[int]:
    """Where the texts begin that stand right in the JSON object that a reply is."""
    depth, found = 0, set()
    for piece in _PIECE.finditer(reply):
        if piece[0] in _DEEPER:
            depth += _DEEPER[piece[0]]
        elif depth == 1:
            found.add(piece.start())
    return found


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
    told = [token, *(token.get("top_logprobs") or ())]
    return {one["token"]: max(LOWEST, float(one["logprob"])) for one in told}
