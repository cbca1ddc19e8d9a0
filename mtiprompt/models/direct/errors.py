"""From what a server answers, or how a connection fails, to our errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from mtiprompt import errors as our
from mtiprompt.models.http_errors import Seen, Sent, broken, by_status, not_found, retry_after

_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"


def of_status(status: int, headers: Mapping[str, str], body: bytes, sent: Sent) -> our.ModelError:
    """The error that an answer with such a status is.

    Args:
        status: Not 200.
        headers: Names in lower case.
        body: The whole body.
        sent: What was sent.
    """
    text, code = _told(body)
    text = text or f"{status} {_phrase(status)}"
    seen = Seen(sent, text, status, retry_after(headers, text), code)
    if 300 <= status < 400:  # there is something elsewhere
        return not_found(seen)
    return by_status(seen)


def of_data(data: Any, sent: Sent) -> our.ModelError | None:
    """The error that is in the data of a good answer or in an event; None if there is none."""
    if not isinstance(data, dict) or not data.get("error"):
        return None
    text, code = _complaint(data)
    told = code.split()[0] if code.split() else ""
    status = int(told) if told.isdecimal() and 400 <= int(told) < 600 else None
    return by_status(Seen(sent, text or "an error", status, retry_after({}, text), code))


def of_exception(
    error: Exception, sent: Sent, failures: tuple[type[Exception], ...]
) -> our.ModelError:
    """The error that an exception of the client library is.

    Args:
        error: What came out of it.
        sent: What went in.
        failures: The exceptions that a failing connection raises.
    """
    seen = Seen(sent, str(error) or type(error).__name__)
    if _UNTRUSTED in seen.text:
        return seen.error(
            our.ModelMisconfigured, "SSL_CERT_FILE=... names the authorities that are trusted"
        )
    if isinstance(error, failures):
        return broken(seen)
    return seen.error(our.RequestRejected, f"{type(error).__name__} inside the client library")


def unreadable(why: str, sent: Sent) -> our.ModelError:
    """The error that an answer is from which no reply can be read."""
    return Seen(sent, why).error(
        our.ModelUnavailable, f"does {sent.endpoint} speak OpenAI's chat completions?"
    )


def _told(body: bytes) -> tuple[str, str]:
    """What a body says of an error, and what it calls it."""
    text = body.decode("utf-8", "replace").strip()
    try:
        data = json.loads(text)
    except ValueError:
        return ("" if text.startswith("<") else text), ""  # pages are for people
    told, code = _complaint(data)
    return told or text, code


def _complaint(data: Any) -> tuple[str, str]:
    """The same of parsed data: as OpenAI, vLLM, Ollama or FastAPI write it."""
    if not isinstance(data, dict):
        return "", ""
    inner = data.get("error")
    place = inner if isinstance(inner, dict) else data
    texts = (place.get("message"), inner, data.get("detail"), data.get("message"))
    text = next((found for found in map(_detail, texts) if found), "")
    code = " ".join(str(place[name]) for name in ("code", "type") if place.get(name))
    return text, code


def _detail(value: Any) -> str:
    """A text, or the places and texts of a list of mistakes; not what was sent, which may echo."""
    if isinstance(value, list):
        mistakes = [one for one in value if isinstance(one, dict)]
        return "; ".join(f"{_place(one.get('loc'))}: {one.get('msg')}" for one in mistakes)
    return value if isinstance(value, str) else ""


def _place(loc: Any) -> str:
    return ".".join(map(str, loc)) if isinstance(loc, list) else "body"


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
