"""What passes between the engine and a language model: plain frozen values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "refused"]
FINISHED: dict[str, FinishReason] = {
    "length": "length",
    "max_tokens": "length",
    "content_filter": "refused",
    "refusal": "refused",
    "safety": "refused",
}
"""What providers call the reasons that are not `stop`."""

Level = Literal["json_schema", "json_object", "prompt"]
"""How firmly the model is held to the schema: by the provider, to any JSON, or by words alone."""
LEVELS: tuple[Level, ...] = ("json_schema", "json_object", "prompt")

Notation = Literal["compact", "spaced", "lines", "free"]
"""How the JSON of a reply is spaced: no white space; one blank after `,` and `:`; one key a line;
or as the model likes. Demonstrations are shown in the same notation."""
NOTATIONS: tuple[Notation, ...] = ("compact", "spaced", "lines", "free")


class Message(NamedTuple):
    """One message of a chat."""

    role: Role
    content: str


def canonical(value: Any) -> str:
    """The one JSON text of a value: keys sorted, no blanks, no escapes for non-ASCII letters."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class OutputSchema:
    """The JSON schema that a reply must satisfy.

    Attributes:
        name: A name for it, as some providers want one.
        text: The schema as JSON text, its properties in the order of answering.
        strict: Whether it keeps to the subset that providers enforce strictly.
    """

    name: str
    text: str
    strict: bool = True

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The schema as a dictionary; not to be changed by the reader."""
        value: dict[str, Any] = json.loads(self.text)
        return value


@dataclass(frozen=True)
class Request:
    """One call, before it is sent. Sampling belongs to the model, not to the request.

    Attributes:
        messages: The chat, constant part first.
        schema: What the reply must satisfy; used at the levels above `prompt`.
        level: How the schema is enforced.
        notation: How the JSON of the reply is spaced, where the engine can enforce it.
        sample: The number of the sample; the same request with another number is asked afresh, and
            from 1 on the model varies its answer where it would otherwise always give the same.
        purpose: What the call is for: `answer`, `repair`, `shadow`, `optimize`, ...
    """

    messages: tuple[Message, ...]
    schema: OutputSchema | None = None
    level: Level = "prompt"
    notation: Notation = "free"
    sample: int = 0
    purpose: str = "answer"

    def __post_init__(self) -> None:
        """Take a list of messages too: keys are made from tuples."""
        if type(self.messages) is not tuple:
            object.__setattr__(self, "messages", tuple(self.messages))

    @cached_property
    def key(self) -> str:
        """Canonical JSON of everything in the request that a reply can depend on."""
        schema = self.schema.text if self.schema and self.level == "json_schema" else None
        return canonical([self.messages, schema, self.level, self.notation, self.sample])


@dataclass(frozen=True)
class Usage:
    """What calls cost.

    Attributes:
        calls: Calls sent to the model.
        hits: Calls answered from the cache; they cost nothing and count in nothing else.
        prompt_tokens: Tokens read, cached ones included.
        cached_tokens: Those of them that the provider or the engine had in its prefix cache.
        completion_tokens: Tokens written.
        cost: US dollars; None where the price of the model is unknown.
        seconds: Time in calls, added up (calls at the same time count each).
        by_purpose: The same apart for each purpose (`answer`, `repair`, ...), where it is known.
    """

    calls: int = 0
    hits: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0
    seconds: float = 0.0
    by_purpose: Mapping[str, Usage] = field(default_factory=dict, compare=False, repr=False)

    def __add__(self, other: Usage) -> Usage:
        """The sum; its cost is unknown if either is."""
        known = self.cost is not None and other.cost is not None
        parts = dict(self.by_purpose)
        for purpose, part in other.by_purpose.items():
            parts[purpose] = parts[purpose] + part if purpose in parts else part
        return Usage(
            calls=self.calls + other.calls,
            hits=self.hits + other.hits,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cost=self.cost + other.cost if known else None,  # type: ignore[operator]
            seconds=self.seconds + other.seconds,
            by_purpose=parts,
        )

    def share(self, place: int, number: int) -> Usage:
        """One of a number of equal shares, by its place from 0; their sum is the whole."""
        if number == 1:
            return self

        def part(whole: Any) -> Any:
            if isinstance(whole, int):
                return whole * (place + 1) // number - whole * place // number
            if whole is None or place < number - 1:
                return whole / number if whole is not None else None
            return whole - sum(whole / number for _ in range(number - 1))

        return Usage(**{name: part(value) for name, value in self.plain().items()})

    def of(self, purpose: str) -> Usage:
        """What the calls for one purpose cost; nothing if there were none."""
        return self.by_purpose.get(purpose, Usage())

    def labelled(self, purpose: str) -> Usage:
        """The same usage, all of it for one purpose."""
        return Usage(
            self.calls, self.hits, self.prompt_tokens, self.cached_tokens, self.completion_tokens,
            self.cost, self.seconds, {purpose: self},
        )  # fmt: skip

    def plain(self) -> dict[str, Any]:
        """The figures as plain JSON data, those of the single purposes left out."""
        return {name: getattr(self, name) for name in _FIGURES}


_FIGURES = [one.name for one in fields(Usage) if one.name != "by_purpose"]


@dataclass(frozen=True)
class Reply:
    """What came back from one call.

    Attributes:
        text: The text written by the model, as it came.
        finish_reason: `stop` (it ended by itself), `length` (cut off) or `refused`.
        usage: What the call cost.
        model: The name the provider gives the model.
        details: Whatever else the model reported, JSON only; never needed to read the reply.
    """

    text: str
    finish_reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    details: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def from_cache(self) -> bool:
        """Whether the reply was looked up instead of asked for."""
        return self.usage.hits > 0

    def as_hit(self, seconds: float = 0.0) -> Reply:
        """The same reply as the cache hands it out: free of charge."""
        usage = Usage(hits=1, seconds=seconds)
        return replace(self, usage=usage, details=own_details(self.details))


DEEPEST = 20
"""How deep the details of a reply may be nested; deeper ones would end in a RecursionError."""


def own_details(details: dict[str, Any]) -> dict[str, Any]:
    """A copy of the details of a reply that shares nothing with them; empty if too deep."""
    try:
        return {key: _copy(value, DEEPEST) for key, value in details.items()}
    except RecursionError:
        return {}


def _copy(value: Any, deepest: int) -> Any:
    if type(value) is dict:
        _check_depth(deepest)
        return {key: _copy(one, deepest - 1) for key, one in value.items()}
    if type(value) is list:
        _check_depth(deepest)
        return [_copy(one, deepest - 1) for one in value]
    return value


def _check_depth(deepest: int) -> None:
    if not deepest:
        raise RecursionError("the details of a reply are nested too deep")
