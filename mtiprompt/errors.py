"""Every error the library raises, as one tree.

MTIError
├── DeclarationError          a task is declared wrongly
├── CombineError              tasks do not fit together
├── PlanError                 a plan does not fit its program
├── TemplateError             a prompt template is missing or names something unknown
├── SettingsError             a setting or environment variable is wrong
├── DataError                 input rows, files or arguments are wrong
├── BudgetExceeded            a call would exceed the budget
├── IncompleteRun             a measurement lacks the answers of some items
├── IncompleteResult          raised by Result.unwrap() and by access to a failed slot
└── ModelError                a call to a language model failed
    ├── ModelNotFound         unknown model, provider, endpoint or file     (404)
    ├── ModelAccessDenied     wrong or missing key, no permission           (401, 403)
    ├── ModelMisconfigured    a setting that the provider or engine refuses
    ├── RequestRejected       the provider refuses this one request         (400, 422)
    │   ├── SchemaRejected    ... because of its output schema
    │   ├── ContextTooLong    ... because it does not fit the context
    │   └── ContentRefused    ... because of its content policy
    ├── QuotaExhausted        the account's quota is used up                (429)
    ├── RateLimited           too many requests for now                     (429)
    ├── ModelTimeout          no whole reply within the deadline            (408, 504)
    └── ModelUnavailable      connection or server failure                  (5xx)

`retryable` says whether sending the same request again can help. `stops` says whether the mistake
concerns every call (a wrong key, an unknown model): such an error is raised at once, while the
others make the slots of their one call failures. `hint` says what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class MTIError(Exception):
    """The root of every error raised by the library.

    Args:
        message: What is wrong and where, in one line.
        hint: What to do about it.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """The message and, if there is one, the hint, in one line."""
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """How it is pickled and copied: as it is, not made anew from the message alone."""
        return type(self).__new__, (type(self), *self.args), vars(self)


class DeclarationError(MTIError):
    """A task is declared wrongly."""


class CombineError(MTIError):
    """Tasks do not fit together."""


class PlanError(MTIError):
    """A plan does not fit its program."""


class TemplateError(MTIError):
    """A prompt template is missing, malformed or names something unknown."""


class SettingsError(MTIError):
    """A setting or an environment variable has a value that makes no sense."""


class DataError(MTIError):
    """Input rows, files or arguments are wrong."""


class BudgetExceeded(MTIError):
    """A call would exceed the budget; it was not sent.

    Attributes:
        usage: What the calls cost that were sent for the same request before, a `Usage`; None:
            there was none.
        stops: Whether it concerns every call, whatever is left: dollars cannot be counted. `map`
            raises it behind what was paid, a single call if nothing was.
    """

    usage: Any = None
    stops: bool = False


class IncompleteRun(MTIError):
    """A measurement lacks the answers of some items, for which the model is not to blame.

    Attributes:
        items: The ids of the items.
    """

    def __init__(self, message: str, *, items: Sequence[str], hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.items = tuple(items)


class IncompleteResult(MTIError):
    """Some slot of a result is a failure.

    Attributes:
        failures: Task name to `Failure`.
    """

    def __init__(
        self, message: str, *, failures: Mapping[str, Any], hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.failures = failures


class ModelError(MTIError):
    """A call to a language model failed.

    Attributes:
        status: HTTP status, if the provider gave one.
        retry_after: Seconds that the provider asks to wait, if it does.
        usage: What the failed calls cost, a `Usage`; None: one call, and no more is known.
    """

    stops: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retry_after = retry_after
        self.usage: Any = None


class ModelNotFound(ModelError):
    """The model, its provider, its endpoint or its file does not exist."""

    stops = True


class ModelAccessDenied(ModelError):
    """The key is missing or wrong, or the account may not use the model."""

    stops = True


class ModelMisconfigured(ModelError):
    """A setting that the provider or the engine refuses, whatever the request."""

    stops = True


class RequestRejected(ModelError):
    """The provider refuses this one request."""


class SchemaRejected(RequestRejected):
    """The provider refuses the output schema; the engine asks again one level lower."""


class ContextTooLong(RequestRejected):
    """The request does not fit the context of the model."""


class ContentRefused(RequestRejected):
    """The provider's content policy refuses the request."""


class QuotaExhausted(ModelError):
    """The quota of the account is used up; waiting a minute does not help."""

    stops = True


class RateLimited(ModelError):
    """Too many requests for now."""

    retryable = True


class ModelTimeout(ModelError):
    """No whole reply came within the deadline."""

    retryable = True


class ModelUnavailable(ModelError):
    """The connection or the server failed."""

    retryable = True
