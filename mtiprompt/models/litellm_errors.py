"""From what litellm raises to our errors: a table by class name, and readers of what it says.

litellm gives many failures a class that says little (a wrong key may come as status 500, a refused
schema as 400, a connection that broke as 500), so the text is read too. What was seen from which
provider: `research/structured.md`, section 3.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from mtiprompt import errors as our

LONGEST = 300
"""Characters of a message."""


@dataclass(frozen=True)
class Sent:
    """What was sent, as far as it helps to read an error.

    Attributes:
        name: The name of the model.
        endpoint: The address, if it is not the provider's own.
        formatted: Whether a response format was asked for.
        secrets: Texts that no message may contain.
    """

    name: str
    endpoint: str | None = None
    formatted: bool = False
    secrets: tuple[str, ...] = ()

    @property
    def provider(self) -> str:
        """The part of the name before the first slash."""
        return self.name.partition("/")[0]


@dataclass(frozen=True)
class _Seen:
    """An exception, read."""

    sent: Sent
    text: str
    status: int | None
    retry_after: float | None
    code: str

    def error(self, kind: type[our.ModelError], hint: str | None = None) -> our.ModelError:
        """Our error, with what it says made fit to be shown."""
        message = shown(f"{self.sent.name}: {_told(self.text)}", self.sent.secrets)
        return kind(message, hint=hint, status=self.status, retry_after=self.retry_after)


def translate(error: Exception, sent: Sent) -> our.ModelError:
    """Our error for anything that came out of a call of litellm.

    Args:
        error: What came out.
        sent: What went in.
    """
    names = [kind.__name__ for kind in type(error).__mro__]
    read = next((TABLE[name] for name in names if name in TABLE), None)
    seen = _Seen(sent, str(error), _status(error), _retry_after(error), _code(error))
    if read is not None:
        return read(seen)
    # no class of litellm's or of a client below it: a mistake in there, which a retry repeats
    return seen.error(our.RequestRejected, f"{type(error).__name__} inside the client library")


# --- readers: from what was seen to our error -------------------------------------------------

_CONTEXT = re.compile(
    r"maximum context|context (window|length|size)|context_length_exceeded|exceed_context_size"
    r"|(prompt|input|message)s? (is|are) too (long|large)|too many (input )?tokens"
    r"|input token count.{0,40}exceeds|exceeds? the (available )?context"
    r"|exceeds the maximum (size|length|number)|request_too_large",
    re.IGNORECASE,
)
_SCHEMA = re.compile(
    r"schema|response_?(format|mime)|structured.?output|output_(config|format)|guided"
    r"|grammar|too many states|contains an invalid argument"
    r"|no endpoints found that (can handle|support)",
    re.IGNORECASE,
)
_FIRM_SCHEMA = re.compile(r"json_?schema|response_format|grammar", re.IGNORECASE)
_CONTENT = re.compile(
    r"content_policy|content_filter|content management policy|safety system|responsibleai"
    r"|flagged|moderation",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"insufficient_quota|billing_hard_limit|credit balance|insufficient (balance|credit|funds)"
    r"|out of credits|budget has been exceeded",
    re.IGNORECASE,
)
_NO_KEY = re.compile(
    r"missing (credentials|\w+ api.?key)|api_key client option|no (api )?key is set"
    r"|unable to locate credentials|default credentials (were )?not found",
    re.IGNORECASE,
)
_NOT_INSTALLED = re.compile(r"pip install|no module named|not installed", re.IGNORECASE)
_UNKNOWN_PROVIDER = re.compile(r"LLM Provider NOT provided|Unmapped LLM provider", re.IGNORECASE)
_NO_MODEL = re.compile(r"model.{0,80}(does not exist|not found|is not a valid)", re.IGNORECASE)
_NO_CONNECTION = re.compile(
    r"connection (error|refused|reset)|cannot connect|errno|disconnected|name resolution"
    r"|nodename nor servname",
    re.IGNORECASE,
)
_NOT_THE_REQUEST = re.compile(r"api key not valid|invalid.{0,10}api.?key", re.IGNORECASE)


def _by_status(seen: _Seen) -> our.ModelError:
    status = seen.status or 500
    if status in _STATUSES:
        return _STATUSES[status](seen)
    return _broken(seen) if status >= 500 or status < 400 else _rejected(seen)


def _access(seen: _Seen) -> our.ModelError:
    variable = f"{re.sub(r'[^A-Z0-9]', '_', seen.sent.provider.upper())}_API_KEY"
    any_text = " (any text, where the server needs none)" if seen.sent.endpoint else ""
    return seen.error(our.ModelAccessDenied, f"set {variable} or pass api_key=...{any_text}")


def _not_found(seen: _Seen) -> our.ModelError:
    if seen.sent.formatted and "no endpoints found" in seen.text.lower():
        return seen.error(our.SchemaRejected)
    where = f" and api_base={seen.sent.endpoint}" if seen.sent.endpoint else ""
    return seen.error(our.ModelNotFound, f"check the name of the model{where}")


def _provider(seen: _Seen) -> our.ModelError:
    known = _Seen(seen.sent, "unknown provider", None, None, "")
    return known.error(our.ModelNotFound, "names have the form provider/model: openai/gpt-5-mini")


def _rejected(seen: _Seen) -> our.ModelError:
    if _UNKNOWN_PROVIDER.search(seen.text):
        return _provider(seen)
    if _NOT_THE_REQUEST.search(seen.text):
        return _access(seen)
    if _CONTEXT.search(seen.text):
        return _too_long(seen)
    if _CONTENT.search(seen.text) or _CONTENT.search(seen.code):
        return _refused(seen)
    if _QUOTA.search(seen.text):
        return _quota(seen)
    if seen.sent.formatted and _SCHEMA.search(seen.text):
        return seen.error(our.SchemaRejected)
    if _NO_MODEL.search(seen.text):
        return _not_found(seen)
    return seen.error(our.RequestRejected)


def _unsupported(seen: _Seen) -> our.ModelError:
    if seen.sent.formatted and "response_format" in seen.text:
        return seen.error(our.SchemaRejected)
    found = re.search(r"parameters: \['(\w+)'|support (\w+)=", seen.text)
    which = next((name for name in (found.groups() if found else ()) if name), "what it refuses")
    return seen.error(our.ModelMisconfigured, f"leave out {which}")


def _limited(seen: _Seen) -> our.ModelError:
    if _QUOTA.search(seen.text) or _QUOTA.search(seen.code):
        return _quota(seen)
    return seen.error(our.RateLimited)


def _broken(seen: _Seen) -> our.ModelError:
    if _NO_KEY.search(seen.text):
        return _access(seen)
    if _NOT_INSTALLED.search(seen.text):
        return seen.error(our.ModelMisconfigured, "install what this provider needs")
    if _UNKNOWN_PROVIDER.search(seen.text):
        return _provider(seen)
    if seen.sent.formatted and seen.status and _FIRM_SCHEMA.search(seen.text):
        return seen.error(our.SchemaRejected)  # llama.cpp says 500 to a grammar it cannot read
    if _NO_CONNECTION.search(seen.text):
        bare = _Seen(seen.sent, seen.text, None, seen.retry_after, seen.code)
        where = seen.sent.endpoint
        return bare.error(our.ModelUnavailable, f"is {where} running?" if where else None)
    return seen.error(our.ModelUnavailable)


def _late(seen: _Seen) -> our.ModelError:
    real = None if "timed out" in seen.text.lower() else seen.status
    timed = _Seen(seen.sent, seen.text, real, seen.retry_after, seen.code)
    return timed.error(our.ModelTimeout)


def _too_long(seen: _Seen) -> our.ModelError:
    return seen.error(our.ContextTooLong, "shorten the input, or put fewer tasks into the call")


def _refused(seen: _Seen) -> our.ModelError:
    return seen.error(our.ContentRefused)


def _quota(seen: _Seen) -> our.ModelError:
    return seen.error(our.QuotaExhausted, "check the plan and the billing of the account")


def _misconfigured(seen: _Seen) -> our.ModelError:
    return seen.error(our.ModelMisconfigured)


_STATUSES: dict[int, Callable[[_Seen], our.ModelError]] = {
    400: _rejected,
    401: _access,
    402: _quota,
    403: _access,
    404: _not_found,
    405: _not_found,
    408: _late,
    409: _broken,
    413: _too_long,
    422: _rejected,
    425: _broken,
    429: _limited,
    504: _late,
}

TABLE: dict[str, Callable[[_Seen], our.ModelError]] = {
    # litellm.exceptions, and classes of the same name in the client libraries below it
    "APIConnectionError": _broken,
    "APIError": _by_status,
    "APIResponseValidationError": _broken,
    "AuthenticationError": _access,
    "BadGatewayError": _broken,
    "BadRequestError": _by_status,
    "BlockedPiiEntityError": _refused,
    "BudgetExceededError": _quota,
    "ContentPolicyViolationError": _refused,
    "ContextWindowExceededError": _too_long,
    "GuardrailRaisedException": _refused,
    "ImageFetchError": _rejected,
    "InternalServerError": _broken,
    "InvalidRequestError": _by_status,
    "JSONSchemaValidationError": lambda seen: seen.error(our.RequestRejected),
    "LiteLLMUnknownProvider": _provider,
    "MidStreamFallbackError": _by_status,
    "MockException": _by_status,
    "ModelNotMappedError": _misconfigured,
    "ModifyResponseException": _refused,
    "NotFoundError": _not_found,
    "OpenAIError": _broken,
    "PaymentRequiredError": _quota,
    "PermissionDeniedError": _access,
    "RateLimitError": _limited,
    "RejectedRequestError": _refused,
    "SensitiveDataRouteException": _refused,
    "ServiceUnavailableError": _broken,
    "Timeout": _late,
    "UnprocessableEntityError": _by_status,
    "UnsupportedParamsError": _unsupported,
    "VectorStoreSearchError": _rejected,
    # elsewhere in litellm
    "RouterRateLimitError": _limited,
    "RouterRateLimitErrorBasic": _limited,
    "ToolLoopMaxRoundsExceeded": _misconfigured,
    "CustomLLMError": _by_status,
    "BaseLLMException": _by_status,
    # what the client libraries below it let through
    "APITimeoutError": _late,
    "APIStatusError": _by_status,
    "HTTPStatusError": _by_status,
    "TimeoutException": _late,
    "TimeoutError": _late,
    "HTTPError": _broken,
    "ClientError": _broken,
    "JSONDecodeError": _broken,
    "ImportError": _misconfigured,
    "OSError": _broken,
}
"""Class name to reader. The classes of an exception are looked up from the most special on."""


# --- what an exception carries ------------------------------------------------------------------


def _status(error: Exception) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) and 100 <= status < 600 else None


def _code(error: Exception) -> str:
    body = getattr(error, "body", None)
    inner = body.get("code") if isinstance(body, dict) else None
    return f"{inner or ''} {getattr(error, 'code', None) or ''}"


_ASKED = re.compile(
    r'"retryDelay": *"(?P<s>[0-9.]+)s"|try again in (?:(?P<m>\d+)m)?(?P<n>[0-9.]+)(?P<unit>ms|s)'
)


def _retry_after(error: Exception) -> float | None:
    """Seconds that the provider asks to wait: from the headers, else from the text."""
    response = getattr(error, "response", None)
    places = ("litellm_response_headers", "headers")
    for headers in (*(getattr(error, one, None) for one in places), _headers(response)):
        if isinstance(headers, Mapping) or hasattr(headers, "items"):
            found = _from_headers({str(key).lower(): str(v) for key, v in headers.items()})
            if found is not None:
                return found
    told = _ASKED.search(str(error))
    if told is None or told["s"]:
        return _seconds(told["s"]) if told else None
    rest = (_seconds(told["n"]) or 0.0) * (0.001 if told["unit"] == "ms" else 1.0)
    return 60.0 * int(told["m"] or 0) + rest


def _headers(response: Any) -> Any:
    return getattr(response, "headers", None)


def _from_headers(headers: Mapping[str, str]) -> float | None:
    milliseconds = _seconds(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    asked = headers.get("retry-after", "")
    seconds = _seconds(asked)
    if seconds is None and asked:
        try:
            seconds = max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
        except ValueError:
            return None
    return seconds


def _seconds(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


# --- what may be shown --------------------------------------------------------------------------

_PREFIX = re.compile(
    r"^(?:(?:litellm\.)?(?:Timeout(?: Error)?|\w+(?:Error|Exception))(?:: | - | (?=\w+Error - )))+"
)
_INNER = re.compile(r'"message": *("(?:[^"\\]|\\.)*")')
_SECRETS = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|AIza|AKIA|ghp)[-_]?[A-Za-z0-9*_.\-]{6,}"
    r"|(?<=bearer )\S+|(?<=[?&]key=)[^&\s'\"]+|(?<=api[-_]key[=:])\s*\S+",
    re.IGNORECASE,
)
_SECRET_VARIABLE = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")


def _told(text: str) -> str:
    """What the provider says, without the names that litellm puts before it."""
    text = text.partition("\nTraceback")[0].partition(" Handle with `litellm.")[0]
    text = _PREFIX.sub("", text)
    if found := _INNER.search(text):
        try:
            inner: str = json.loads(found[1])
        except ValueError:
            return text
        return inner or text
    return text


def shown(text: str, secrets: tuple[str, ...] = ()) -> str:
    """A text in one line, of bounded length, without keys."""
    known = {*secrets, *(v for k, v in os.environ.items() if _SECRET_VARIABLE.search(k))}
    for secret in sorted(known, key=len, reverse=True):
        if len(secret) >= 6 or secret in secrets:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    line = " ".join(_SECRETS.sub("***", text).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 4]} ..."
