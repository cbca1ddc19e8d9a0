"""Where the requests of a direct model go, and with which headers."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from mtiprompt.errors import SettingsError
from mtiprompt.models.naming import check_headers, public_endpoint

_HINT = "it goes up to the version: http://127.0.0.1:8000/v1"


@dataclass(frozen=True)
class Target:
    """Where requests go.

    Attributes:
        url: The whole address, without name and password.
        headers: The headers of each request.
        secrets: What of the address is secret.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def target_of(
    name: str, endpoint: str | None, api_key: str | None, extra_headers: Mapping[str, str]
) -> Target:
    """Where requests go, checked.

    Args:
        name: The name of the model.
        endpoint: The address, name and password in it if the server wants some.
        api_key: The key; it goes before name and password.
        extra_headers: More headers, which go before all others.

    Raises:
        SettingsError: The address is missing or none, or a header cannot be sent.
    """
    if not endpoint:
        raise SettingsError(f"{name}: api_base is missing", hint=f"pass api_base=...; {_HINT}")
    parts = _parts(name, endpoint)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    login = b64encode(f"{user}:{password}".encode()).decode()
    headers = {"Content-Type": "application/json", "User-Agent": "mtiprompt"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    elif user or password:
        headers["Authorization"] = f"Basic {login}"
    check_headers(name, api_key, extra_headers, blanks=True)
    given = {key.lower() for key in extra_headers}
    headers = {key: v for key, v in headers.items() if key.lower() not in given}
    headers |= extra_headers
    secret = password or user  # a key may stand in the place of the user
    return Target(_url(parts), headers, (secret, login) if secret else ())


def _parts(name: str, endpoint: str) -> SplitResult:
    try:
        parts = urlsplit(endpoint)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts
    except ValueError:
        pass
    shown = public_endpoint(endpoint)
    raise SettingsError(f"{name}: api_base={shown!r} is no address of a server", hint=_HINT)


def _url(parts: SplitResult) -> str:
    host = parts.netloc.rpartition("@")[2]
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return urlunsplit((parts.scheme, host, f"{path}/chat/completions", parts.query, ""))
