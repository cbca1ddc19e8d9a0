"""From what a server says to our errors: readers of its statuses and of its words.

Statuses say little (a wrong key may come as 500, a refused schema as 400), so the words are read
too. What was seen from which provider: `research/structured.md`, section 3.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

from mtiprompt import errors as our
from mtiprompt.models.meter import not_sent
from mtiprompt.models.naming import is_sendable
from mtiprompt.models.rate_headers import rate_limits, seconds_of, seconds_until

LONGEST = 300
"""Characters of a message."""
SHORTEST = 6
"""Characters of a secret: shorter ones (`any`, for servers that need no key) are also words."""


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
    def variable(self) -> str | None:
        """Where a key is looked for in the environment, if it is."""
        provider = self.name.partition("/")[0]
        if provider == "direct":
            return None
        return f"{re.sub(r'[^A-Z0-9]', '_', provider.upper())}_API_KEY"


@dataclass(frozen=True)
class Seen:
    """A failure, as far as it has been read.

    Attributes:
        sent: What was sent.
        text: All that the failure says.
        status: Its HTTP status, if it has one.
        retry_after: Seconds that it asks to wait, if it does.
        code: What it calls itself, `insufficient_quota` for example.
        told: What to show of it, if not the text.
    """

    sent: Sent
    text: str
    status: int | None = None
    retry_after: float | None = None
    code: str = ""
    told: str = ""

    def error(self, kind: type[our.ModelError], hint: str | None = None) -> our.ModelError:
        """Our error, with what it says made fit to be shown."""
        message = shown(f"{self.sent.name}: {self.told or self.text}", self.sent.secrets)
        return kind(message, hint=hint, status=self.status, retry_after=self.retry_after)


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
_FIRM_CONTENT = re.compile(
    r"content.?(policy|filter)|content management policy|safety.(system|check)|responsibleai"
    r"|usage guidelines|requires moderation"
    r"|(input|prompt|content|request|message)s? (is|are|was|were|has been|have been) flagged",
    re.IGNORECASE,
)
_OF_ACCOUNT = re.compile(
    r"account|organi[sz]ation|project|permission|suspended|\b(has|have) access|blocked by",
    re.IGNORECASE,
)
_CONTENT = re.compile(rf"{_FIRM_CONTENT.pattern}|flagged|moderation", re.IGNORECASE)
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


def by_status(seen: Seen) -> our.ModelError:
    """The error that the status says, or the words where it says little."""
    status = seen.status or 500
    if status in _STATUSES:
        return _STATUSES[status](seen)
    return broken(seen) if status >= 500 or status < 400 else rejected(seen)


def access(seen: Seen) -> our.ModelError:
    """The key is missing or wrong."""
    any_text = " (any text, where the server needs none)" if seen.sent.endpoint else ""
    variable = f"set {seen.sent.variable} or " if seen.sent.variable else ""
    return seen.error(our.ModelAccessDenied, f"{variable}pass api_key=...{any_text}")


def forbidden(seen: Seen) -> our.ModelError:
    """Somebody may not ask this, or nobody may: openrouter and xAI say 403 to moderated inputs."""
    if _is_moderated(seen, _FIRM_CONTENT) and not _OF_ACCOUNT.search(seen.text):
        return refused(seen)
    hint = "the account may not use this model, or the key is wrong"
    return seen.error(our.ModelAccessDenied, hint)


def not_found(seen: Seen) -> our.ModelError:
    """There is nothing of this name or at this address."""
    if seen.sent.formatted and "no endpoints found" in seen.text.lower():
        return seen.error(our.SchemaRejected)
    where = f" and api_base={seen.sent.endpoint}" if seen.sent.endpoint else ""
    return seen.error(our.ModelNotFound, f"check the name of the model{where}")


def no_provider(seen: Seen) -> our.ModelError:
    """The name names nobody to ask."""
    known = Seen(seen.sent, "unknown provider")
    return known.error(our.ModelNotFound, "names have the form provider/model: openai/gpt-5-mini")


def rejected(seen: Seen) -> our.ModelError:
    """One request was refused: the words say why."""
    if _UNKNOWN_PROVIDER.search(seen.text):
        return no_provider(seen)
    if _NOT_THE_REQUEST.search(seen.text):
        return access(seen)
    if _CONTEXT.search(seen.text):
        return too_long(seen)
    if seen.sent.formatted and _FIRM_SCHEMA.search(seen.text):
        return seen.error(our.SchemaRejected)
    if _is_moderated(seen, _CONTENT):
        return refused(seen)
    if _QUOTA.search(seen.text):
        return quota(seen)
    if seen.sent.formatted and _SCHEMA.search(seen.text):
        return seen.error(our.SchemaRejected)
    if _NO_MODEL.search(seen.text):
        return not_found(seen)
    return seen.error(our.RequestRejected)


def limited(seen: Seen) -> our.ModelError:
    """Too much was asked for, now or for good."""
    if _says(seen, _QUOTA):
        return quota(seen)
    return seen.error(our.RateLimited)


def broken(seen: Seen) -> our.ModelError:
    """The connection or the server failed, or so it looks."""
    if variable := _unsendable_key(seen.sent):
        told = Seen(seen.sent, f"{variable} holds what no header can")
        hint = "is there a line break in it, or a blank at its end?"
        return not_sent(told.error(our.ModelAccessDenied, hint))
    if _NO_KEY.search(seen.text):
        return access(seen)
    if _NOT_INSTALLED.search(seen.text):
        return seen.error(our.ModelMisconfigured, "install what this provider needs")
    if _UNKNOWN_PROVIDER.search(seen.text):
        return no_provider(seen)
    if seen.sent.formatted and seen.status and _FIRM_SCHEMA.search(seen.text):
        return seen.error(our.SchemaRejected)  # llama.cpp says 500 to a grammar it cannot read
    if _NO_CONNECTION.search(seen.text):
        bare = replace(seen, status=None)
        where = seen.sent.endpoint
        return bare.error(our.ModelUnavailable, f"is {where} running?" if where else None)
    return seen.error(our.ModelUnavailable)


def _unsendable_key(sent: Sent) -> str | None:
    """The variable whose key no header can hold, if the key was looked for there."""
    name = None if sent.secrets else sent.variable
    return name if name and not is_sendable(os.environ.get(name, "")) else None


def late(seen: Seen) -> our.ModelError:
    """It took too long."""
    return seen.error(our.ModelTimeout)


def too_long(seen: Seen) -> our.ModelError:
    """The request does not fit."""
    return seen.error(our.ContextTooLong, "shorten the input, or put fewer tasks into the call")


def refused(seen: Seen) -> our.ModelError:
    """The content was refused."""
    return seen.error(our.ContentRefused)


def quota(seen: Seen) -> our.ModelError:
    """The account has nothing left."""
    return seen.error(our.QuotaExhausted, "check the plan and the billing of the account")


def misconfigured(seen: Seen) -> our.ModelError:
    """A setting is refused, whatever the request."""
    return seen.error(our.ModelMisconfigured)


def _is_moderated(seen: Seen, words: re.Pattern[str]) -> bool:
    return _says(seen, words) or "refusal" in seen.code  # in a text it may be a field's name


def _says(seen: Seen, words: re.Pattern[str]) -> bool:
    return bool(words.search(seen.text) or words.search(seen.code))


_STATUSES: dict[int, Callable[[Seen], our.ModelError]] = {
    400: rejected,
    401: access,
    402: quota,
    403: forbidden,
    404: not_found,
    405: not_found,
    408: late,
    409: broken,
    413: too_long,
    422: rejected,
    425: broken,
    429: limited,
    504: late,
}

# --- the wait that is asked for ------------------------------------------------------------------

_ASKED = re.compile(r'(?:"retryDelay": *"|try again in )((?:[0-9.]+(?:ms|[hms]))+)')


def retry_after(headers: Mapping[str, str], text: str = "") -> float | None:
    """Seconds that a provider asks to wait: by its header, its words, or a limit that is used up.

    Args:
        headers: Names in lower case.
        text: What it says.
    """
    for found in (_from_headers(headers), _from_text(text)):
        if found is not None:
            return found
    told = rate_limits(headers)
    spent = [one for one in ("requests", "tokens") if told.get(f"remaining-{one}") == 0]
    return max((told[f"reset-{one}"] for one in spent if f"reset-{one}" in told), default=None)


def _from_text(text: str) -> float | None:
    told = _ASKED.search(text)
    return seconds_of(told[1]) if told else None


def _from_headers(headers: Mapping[str, str]) -> float | None:
    milliseconds = seconds_of(f"{headers.get('retry-after-ms', '')}ms")
    if milliseconds is not None:
        return milliseconds
    asked = headers.get("retry-after", "")
    seconds = seconds_of(asked)
    if seconds is None and asked:
        try:
            return seconds_until(parsedate_to_datetime(asked).timestamp())
        except (ValueError, OverflowError):
            return None
    return seconds


# --- what may be shown --------------------------------------------------------------------------

_SECRETS = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|AIza|AKIA|ghp)[-_]?[A-Za-z0-9*_.\-]{6,}"
    r"|(?<=bearer )\S+|(?<=api[-_]key[=:])\s*\S+"
    r"|(?:(?<=apikey=)|(?<=[?&]key=)|(?<=[?&]token=)|(?<=[?&]sig=))[^&\s'\"]+"
    r"|(?<=/)[^\s/]+(?=@(?:[\w-]+\.[\w.-]|[\w.-]+:\d|\[))",  # before a host; claude@2024 is a name
    re.IGNORECASE,
)
_SECRET_VARIABLE = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")


def shown(text: str, secrets: tuple[str, ...] = ()) -> str:
    """A text in one line, of bounded length, without keys."""
    known = {*secrets, *(v for k, v in os.environ.items() if _SECRET_VARIABLE.search(k))}
    for secret in sorted(known, key=len, reverse=True):
        if len(secret) >= SHORTEST:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    line = " ".join(_SECRETS.sub("***", text).split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 4]} ..."
