"""From what litellm raises to our errors: a table by class name.

litellm gives many failures a class that says little (a wrong key may come as status 500, a refused
schema as 400, a connection that broke as 500), so the readers of `http_errors.py` look at the text
too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from mtiprompt import errors as our
from mtiprompt.models import http_errors as read
from mtiprompt.models.http_errors import Seen
from mtiprompt.models.http_errors import Sent as Sent
from mtiprompt.models.http_errors import shown as shown


def translate(error: Exception, sent: Sent) -> our.ModelError:
    """Our error for anything that came out of a call of litellm.

    Args:
        error: What came out.
        sent: What went in.
    """
    text = str(error)
    seen = Seen(sent, text, _status(error), _retry_after(error), _code(error), told=_told(text))
    names = [kind.__name__ for kind in type(error).__mro__]
    for name in names:
        if name in TABLE:
            return TABLE[name](seen)
    # no class of litellm's or of a client below it: a mistake in there, which a retry repeats
    return seen.error(our.RequestRejected, f"{type(error).__name__} inside the client library")


def _unsupported(seen: Seen) -> our.ModelError:
    if seen.sent.formatted and "response_format" in seen.text:
        return seen.error(our.SchemaRejected)
    found = re.search(r"parameters: \['(\w+)'|support (\w+)=", seen.text)
    which = next((name for name in (found.groups() if found else ()) if name), "what it refuses")
    return seen.error(our.ModelMisconfigured, f"leave out {which}")


def _late(seen: Seen) -> our.ModelError:
    # litellm gives its own time-outs a status, too
    own = "timed out" in seen.text.lower()
    return read.late(replace(seen, status=None) if own else seen)


TABLE: dict[str, Callable[[Seen], our.ModelError]] = {
    # litellm.exceptions, and classes of the same name in the client libraries below it
    "APIConnectionError": read.broken,
    "APIError": read.by_status,
    "APIResponseValidationError": read.broken,
    "AuthenticationError": read.access,
    "BadGatewayError": read.broken,
    "BadRequestError": read.by_status,
    "BlockedPiiEntityError": read.refused,
    "BudgetExceededError": read.quota,
    "ContentPolicyViolationError": read.refused,
    "ContextWindowExceededError": read.too_long,
    "GuardrailRaisedException": read.refused,
    "ImageFetchError": read.rejected,
    "InternalServerError": read.broken,
    "InvalidRequestError": read.by_status,
    "JSONSchemaValidationError": lambda seen: seen.error(our.RequestRejected),
    "LiteLLMUnknownProvider": read.no_provider,
    "MidStreamFallbackError": read.by_status,
    "MockException": read.by_status,
    "ModelNotMappedError": read.misconfigured,
    "ModifyResponseException": read.refused,
    "NotFoundError": read.not_found,
    "OpenAIError": read.broken,
    "PaymentRequiredError": read.quota,
    "PermissionDeniedError": read.forbidden,
    "RateLimitError": read.limited,
    "RejectedRequestError": read.refused,
    "SensitiveDataRouteException": read.refused,
    "ServiceUnavailableError": read.broken,
    "Timeout": _late,
    "UnprocessableEntityError": read.by_status,
    "UnsupportedParamsError": _unsupported,
    "VectorStoreSearchError": read.rejected,
    # elsewhere in litellm
    "RouterRateLimitError": read.limited,
    "RouterRateLimitErrorBasic": read.limited,
    "ToolLoopMaxRoundsExceeded": read.misconfigured,
    "CustomLLMError": read.by_status,
    "BaseLLMException": read.by_status,
    # what the client libraries below it let through
    "APITimeoutError": _late,
    "APIStatusError": read.by_status,
    "HTTPStatusError": read.by_status,
    "TimeoutException": _late,
    "TimeoutError": _late,
    "HTTPError": read.broken,
    "ClientError": read.broken,
    "JSONDecodeError": read.broken,
    "ImportError": read.misconfigured,
    "OSError": read.broken,
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


def _retry_after(error: Exception) -> float | None:
    """Seconds that the provider asks to wait."""
    places = [getattr(error, one, None) for one in ("litellm_response_headers", "headers")]
    told: dict[str, str] = {}
    for headers in (_headers(getattr(error, "response", None)), *reversed(places)):
        if isinstance(headers, Mapping) or hasattr(headers, "items"):
            told |= {str(key).lower(): str(value) for key, value in headers.items()}
    return read.retry_after(told, str(error))


def _headers(response: Any) -> Any:
    return getattr(response, "headers", None)


_PREFIX = re.compile(
    r"^(?:(?:litellm\.)?(?:Timeout(?: Error)?|\w+(?:Error|Exception))(?:: | - | (?=\w+Error - )))+"
)
_INNER = re.compile(r'"message": *("(?:[^"\\]|\\.)*")')


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
