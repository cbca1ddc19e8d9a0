"""How the server misbehaves: one request at a time, in turn, or by a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from mtiprompt.testing.received import Received
from mtiprompt.testing.spoil import Spoil


@dataclass(frozen=True)
class Fault(Spoil):
    """How to misbehave on one request; beside these, all that `Spoil` does to the text.

    Attributes:
        status: An HTTP status other than 200 is answered with an error.
        message: The message of that error.
        code: The code of that error, `insufficient_quota` for example.
        headers: Further headers of the answer, `Retry-After` for example.
        body: The whole body of the answer, in place of the usual one.
        delay: Seconds before the answer.
        drip: Seconds between the single bytes of the answer's body, or the pieces of a stream.
        hang: Never answer.
        drop: Close the connection without an answer.
        drop_after: Close it after so many characters: of the text in a stream, else of the body.
        hang_after: Send nothing more after so many characters.
    """

    status: int = 200
    message: str = "injected"
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    delay: float = 0.0
    drip: float = 0.0
    hang: bool = False
    drop: bool = False
    drop_after: int | None = None
    hang_after: int | None = None

    @property
    def stop_after(self) -> int | None:
        """Characters after which nothing more comes; None: all of it comes."""
        return self.hang_after if self.drop_after is None else self.drop_after

    def kinds(self) -> Iterator[str]:
        """What is wrong with the reply as a whole, not with its text."""
        if self.delay:
            yield "delayed"
        if self.drip:
            yield "dripped"
        if self.drop or self.drop_after is not None:
            yield "dropped"
        elif self.hang or self.hang_after is not None:
            yield "hung"
        elif self.body is not None:
            yield "replaced"
        elif self.status != HTTPStatus.OK:
            yield "limited" if self.status == HTTPStatus.TOO_MANY_REQUESTS else "error"


Faults = Iterable[Fault | None] | Callable[[Received], Fault | None]
"""What happens to the requests in turn, well again after the last; or a function that decides."""


def in_turn(faults: Iterable[Fault | None]) -> Callable[[Received], Fault | None]:
    """A function that gives one fault after the other, then None."""
    left = iter(faults)
    return lambda received: next(left, None)
