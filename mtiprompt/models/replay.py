"""Record and replay: real traffic in a file, so that tests of applications need no network.

A recording is a trace (see `trace.py`), and any trace can be replayed.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from copy import copy
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Literal, get_args

from mtiprompt.errors import (
    BudgetExceeded,
    DataError,
    ModelError,
    ModelMisconfigured,
    MTIError,
    SettingsError,
)
from mtiprompt.models.base import BaseModel, LanguageModel, Support, Wrapper
from mtiprompt.models.trace import TracedCall, TracedModel, read_trace
from mtiprompt.settings import expanded
from mtiprompt.whole_files import behind_link
from mtiprompt.wire import LEVELS, Reply, Request, canonical

Mode = Literal["auto", "record", "replay"]
"""Replay what there is, else record; record anew; or replay and never call."""

PIECE = 16
"""Characters of a piece, when a replayed reply is streamed."""


class ReplayModel(BaseModel):
    """A model that answers as a trace says.

    A request that was made several times gets its outcomes in their order, and then the last one
    again. An error is raised again, as the same class. Replies keep their usage.

    What was known of the model's abilities at the first call holds at the beginning here too. How
    fast a refused level is given up depends on the order of calls, so a request that was not made
    at one level gets the reply to the same request at another.

    Example:
        >>> import tempfile
        >>> import mtiprompt as mti
        >>> from mtiprompt.models.replay import ReplayModel
        >>> from mtiprompt.models.trace import TracedModel
        >>> path = tempfile.mkdtemp() + "/calls.jsonl"
        >>> request = mti.Request((mti.Message("user", "Hello"),))
        >>> reply = TracedModel(mti.ScriptedModel(["Good day."]), path).complete(request)
        >>> ReplayModel(path).complete(request).text
        'Good day.'

    Args:
        path: The trace.
        model: The name of the model that is meant, where the trace is of several.

    Raises:
        DataError: There is no such trace, or it has no call of this model.
    """

    def __init__(self, path: str | os.PathLike[str], *, model: str | None = None) -> None:
        self.path = expanded(path)
        calls = _calls_of(self.path, model)
        self._known = [call for call in calls if isinstance(call.outcome, _REPLAYED)]
        self._outcomes: dict[str, list[Reply | MTIError]] = {}
        for call in self._known:
            self._outcomes.setdefault(call.request.key, []).append(call.outcome)
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.name = calls[0].model
        self.identity = canonical(["replay", self.name])
        known = calls[0].support
        self.support = Support(known["level"], dialect=known["dialect"], notation=known["notation"])

    def complete(self, request: Request) -> Reply:
        """What was answered.

        Raises:
            ModelMisconfigured: This was not asked.
            MTIError: What was raised.
        """
        outcomes = self._recorded(request)
        if not outcomes:
            raise self._unknown(request)
        with self._lock:
            place = self._asked[request.key]
            self._asked[request.key] += 1
        outcome = outcomes[min(place, len(outcomes) - 1)]
        if isinstance(outcome, Reply):
            return outcome
        raise copy(outcome)  # one that is raised again and again would gather tracebacks

    async def acomplete(self, request: Request) -> Reply:
        """As `complete`."""
        return self.complete(request)

    def stream(self, request: Request) -> Generator[str | Reply, None, None]:
        """What was answered, in small pieces."""
        reply = self.complete(request)
        for start in range(0, len(reply.text), PIECE):
            yield reply.text[start : start + PIECE]
        yield reply

    async def astream(self, request: Request) -> AsyncGenerator[str | Reply, None]:
        """As `stream`."""
        for piece in self.stream(request):
            yield piece

    def _recorded(self, request: Request) -> list[Reply | MTIError]:
        if exact := self._outcomes.get(request.key):
            return exact
        for level in LEVELS:
            there = self._outcomes.get(replace(request, level=level).key, [])
            if replies := [one for one in there if isinstance(one, Reply)]:
                return list(replies)
        return []

    def _unknown(self, request: Request) -> ModelMisconfigured:
        anew = "delete the file, or record it anew"
        if not self._known:
            return ModelMisconfigured(f"{self.path} has no outcome of any call", hint=anew)
        nearest = max(self._known, key=lambda call: _likeness(call.request, request))
        return ModelMisconfigured(
            f"{self.path} does not have this request",
            hint=f"the nearest, in line {nearest.line}, differs: "
            f"{difference(nearest.request, request)}; if that is right, {anew}",
        )


class Recording(Wrapper):
    """A model whose real traffic is recorded once, and replayed from then on.

    Example:
        >>> import tempfile
        >>> import mtiprompt as mti
        >>> from mtiprompt.models.replay import Recording
        >>> path = tempfile.mkdtemp() + "/hello.jsonl"
        >>> request = mti.Request((mti.Message("user", "Hello"),))
        >>> Recording(mti.ScriptedModel(["Good day."]), path).complete(request).text
        'Good day.'
        >>> silent = mti.ScriptedModel([], name="scripted")
        >>> again = Recording(silent, path)
        >>> again.complete(request).text, again.replays
        ('Good day.', True)

    Args:
        model: The real model. While replies are replayed it is not asked, and needs no key.
        path: The file. Its folder is made when it is recorded.
        mode: `auto` replays the file if there is one, and records it otherwise; `record` begins it
            anew; `replay` never asks the model, for tests where nothing may be sent.

    Attributes:
        replays: Whether replies come from the file.

    Raises:
        DataError: There is nothing to replay, or no file can be recorded there.
        SettingsError: There is no such mode.
    """

    def __init__(
        self, model: LanguageModel, path: str | os.PathLike[str], mode: Mode = "auto"
    ) -> None:
        if mode not in get_args(Mode):
            raise SettingsError(
                f"mode={mode!r} makes no sense", hint=f"known: {', '.join(get_args(Mode))}"
            )
        place = expanded(path)
        try:
            there = place.is_file() and place.stat().st_size > 0
            self.replays = mode == "replay" or (mode == "auto" and there)
            if not self.replays:
                place = behind_link(place)
                if place.exists() and not place.is_file():
                    raise DataError(f"cannot record into {place}: it is no ordinary file")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"cannot record into {place}: {error.strerror}") from None
        except ValueError as error:  # a name that no file can have
            raise DataError(f"cannot record into {str(place)!r}: {error}") from None
        if self.replays:
            super().__init__(ReplayModel(place, model=model.name))
        else:
            super().__init__(TracedModel(model, place))


_REPLAYED = (Reply, ModelError, BudgetExceeded)
"""Outcomes that can be had again; a call that was given up is none."""


def _calls_of(path: Path, model: str | None) -> list[TracedCall]:
    """The calls of one model of a trace, at least one."""
    calls = read_trace(path)
    names = sorted({call.model for call in calls})
    if model is None and len(names) > 1:
        raise DataError(f"{path} is of several models", hint=f"pass model=: {', '.join(names)}")
    calls = [call for call in calls if model in {None, call.model}]
    if not calls:
        hint = f"there are: {', '.join(names)}" if names else "record it first"
        raise DataError(f"{path} has no calls" + (f" of {model}" if model else ""), hint=hint)
    return calls


# --- the nearest request, and how it differs ------------------------------------------------------


AROUND = 20
"""Characters shown before and after a difference."""


def _likeness(known: Request, asked: Request) -> tuple[int, int, int]:
    """Equal messages at the beginning, equal characters after them, and other things equal."""
    pairs = list(zip_longest(known.messages, asked.messages))
    same = next((n for n, (one, other) in enumerate(pairs) if one != other), len(pairs))
    begun = 0
    if same < len(pairs) and all(pairs[same]):
        begun = _common(pairs[same][0].content, pairs[same][1].content)
    rest = (known.schema == asked.schema) + (known.notation == asked.notation)
    return same, begun, rest + (known.sample == asked.sample)


def difference(known: Request, asked: Request) -> str:
    """The first thing in which a request differs from a recorded one, in words."""
    for number, (one, other) in enumerate(zip_longest(known.messages, asked.messages), 1):
        if one is None or other is None:
            return f"message {number} was {'not ' if one is None else ''}there"
        if one.role != other.role:
            return f"message {number} was of the {one.role}, and is of the {other.role}"
        if one.content != other.content:
            return f"message {number} ({one.role}) {_texts_differ(one.content, other.content)}"
    was, now = ("" if one.schema is None else one.schema.text for one in (known, asked))
    if was != now:
        return f"the schema {_texts_differ(was, now)}"
    for what in ("notation", "sample"):
        was, now = getattr(known, what), getattr(asked, what)
        if was != now:
            return f"the {what} was {was!r}, and is {now!r}"
    return f"the level was {known.level!r}, and is {asked.level!r}"


def _texts_differ(known: str, asked: str) -> str:
    place = _common(known, asked)
    shown = slice(max(0, place - AROUND), place + AROUND)
    return f"at character {place + 1}: it was {known[shown]!r}, and is {asked[shown]!r}"


def _common(one: str, other: str) -> int:
    """How many characters two texts have in common at the beginning."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
