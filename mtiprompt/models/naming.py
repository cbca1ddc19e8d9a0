"""What follows from the name and the parameters of a model, before any library is loaded."""

from __future__ import annotations

import hashlib
import os
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mtiprompt import settings
from mtiprompt.errors import ModelMisconfigured, SettingsError
from mtiprompt.models.base import Support
from mtiprompt.wire import canonical

WARM = 0.7
"""The temperature of samples from 1 on, where a lower one is set: at 0 all would be the same."""

SEEDS = 2**31
"""How many seeds every server takes: those from 0 on."""

_RESERVED = {
    "base_url": "write api_base=...",
    "client": "litellm keeps its own, faster ones",
    "custom_llm_provider": "it is the first part of the name",
    "max_retries": "write retries=...",
    "messages": "they come with the request",
    "model": "it is the first argument",
    "n": "ask with another sample number",
    "num_retries": "write retries=...",
    "request_timeout": "write timeout=...",
    "response_format": "it follows from the request",
    "stream": "it follows from the request",
}
_SECRET = re.compile(
    r"(api|access|private|subscription).?key|([_-]|^|(?-i:[a-z0-9](?=K)))key$|token$|secret"
    r"|pass(w|phrase)|pwd|credential|auth(?!or(?!i))|bearer|jwt|signature|cookie",
    re.IGNORECASE,
)
_SAMPLING = re.compile(r"(^|_)(bos|cls|end|eos|mask|pad|sep|start|stop|think|unk)_token$")
"""Names that sound secret and are not: replies depend on them."""
_SCHEMES = frozenset({"apikey", "api-key", "basic", "bearer", "digest", "negotiate", "token"})
"""What stands before the key in a header: a word, and no secret."""
_BASIC = re.compile(r"\s*basic\s+(\S+)", re.IGNORECASE)


def is_local(name: str) -> bool:
    """Whether a model runs in this process."""
    return name.startswith(("local/", "local:"))


def litellm_id(name: str) -> str:
    """The name that litellm knows a model by; a file becomes `local/` and its absolute path."""
    if name.startswith("local:"):
        path = settings.expanded(name.removeprefix("local:")).absolute()
        return f"local/{path}"
    return name


def state_of_file(model: str) -> list[int] | None:
    """Size and time of a local model's file, so that another file is another model.

    A model of the catalogue is always the same file.
    """
    if not model.startswith("local/"):
        return None
    from mtiprompt.models import catalogue  # most models need none

    name = model.removeprefix("local/")
    if name in catalogue.CATALOGUE:
        return None
    path = Path(name) if Path(name).is_absolute() else catalogue.path(name)
    try:
        state = path.stat()
    except OSError:
        return None
    return [state.st_size, state.st_mtime_ns]


_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*:)?/+", re.IGNORECASE)
_HOST = re.compile(r"(\[[^\]]*\]|[^:/?#@]*)(:\d*)?(?=[/?#]|$)")


def public_endpoint(endpoint: str | None) -> str | None:
    """An endpoint as it may be shown: without name, password and query, which may hold a key."""
    if endpoint is None:
        return None
    scheme = found[0] if (found := _SCHEME.match(endpoint)) else ""
    place = endpoint.removeprefix(scheme)
    if not _HOST.match(place):
        login = re.match(r"[^/?#]*@", place) or re.match(r".*@", place, re.DOTALL)
        place = place[login.end() :] if login else place
    return scheme + re.split(r"[?#]", place, maxsplit=1)[0]


def endpoint_identity(endpoint: str | None) -> str | None:
    """An endpoint as a part of an identity: what may be shown, and a digest of its query.

    Another query may be another version of the server, so it counts, but it may hold a key.
    """
    query = (endpoint or "").partition("?")[2]
    digest = f"?{hashlib.sha256(query.encode()).hexdigest()[:16]}" if query else ""
    shown = public_endpoint(endpoint)
    return shown and shown + digest


def is_loopback(endpoint: str | None, *, straight: bool = False) -> bool:
    """Whether calls to an endpoint stay on this machine.

    Args:
        endpoint: The address.
        straight: Whether its client heeds no proxy of the environment.
    """
    try:
        parts = urlsplit(endpoint or "")
        host = parts.hostname or ""
        here = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
    return here and (straight or not _has_proxy(parts.scheme, host))


def _has_proxy(scheme: str, host: str) -> bool:
    """Whether the environment sends calls through a proxy, which may be another machine."""
    from urllib.request import getproxies, proxy_bypass  # its import takes long

    proxies = getproxies()
    return bool(proxies.get(scheme) or proxies.get("all")) and not proxy_bypass(host)


def check_allowed(name: str, *, stays_here: bool) -> None:
    """Refuse a call that the settings do not allow.

    Args:
        name: The name of the model.
        stays_here: Whether its calls stay on this machine.

    Raises:
        ModelMisconfigured: Calls to other machines are switched off.
    """
    if stays_here or settings.one("allow_requests"):
        return
    from mtiprompt.models.meter import not_sent

    error = ModelMisconfigured(
        f"{name}: calls to other machines are switched off",
        hint="MTIPROMPT_ALLOW_REQUESTS=1 or mti.using(allow_requests=True) allows them",
    )
    raise not_sent(error)


def endpoint_of(name: str, api_base: str | None) -> str | None:
    """The endpoint: the argument, else what litellm would find in the environment."""
    if api_base or is_local(name):
        return api_base
    provider = re.sub(r"[^A-Z0-9]", "_", name.partition("/")[0].upper())
    variables = [f"{provider}_API_BASE", f"{provider}_BASE_URL"]
    if provider == "OPENAI":
        variables.reverse()
    return next((found for one in variables if (found := os.environ.get(one))), None)


def support_of(name: str) -> Support:
    """What is known of a model's abilities before it has been called."""
    provider = name.partition("/")[0]
    if is_local(name):
        return Support(dialect="llguidance")
    if provider == "anthropic" or "claude" in name:
        return Support(dialect="anthropic")
    if provider.startswith(("gemini", "vertex_ai")) or "gemini" in name:
        return Support(dialect="gemini")
    return Support(dialect="openai")


def checked_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that are given, checked.

    Raises:
        SettingsError: One is needed for other things, or is no JSON data.
    """
    given = {name: value for name, value in params.items() if value is not None}
    for name in given:
        if name in _RESERVED:
            raise SettingsError(f"a model takes no parameter {name!r}", hint=_RESERVED[name])
    for name, value in without_secrets(given).items():
        try:
            canonical(value)
        except (TypeError, ValueError):
            raise SettingsError(
                f"the parameter {name!r} of a model is {type(value).__name__}",
                hint="give plain JSON data, so that replies can be cached by it",
            ) from None
    return given


def taken(params: dict[str, Any], which: str) -> dict[str, Any]:
    """One of the parameters that hold others, taken out of them; empty if it is not there.

    Raises:
        SettingsError: It is no dictionary.
    """
    given = params.pop(which, {})
    if not isinstance(given, dict):
        raise SettingsError(f"the parameter {which!r} of a model is no dictionary")
    return given


def check_headers(
    name: str, api_key: str | None, headers: Mapping[Any, Any], *, blanks: bool = False
) -> None:
    """Refuse a key or headers that no client sends.

    Args:
        name: The name of the model.
        api_key: The key, which a header carries behind a word.
        headers: Further headers.
        blanks: Whether the client sends blanks at the ends of a value, which servers cut off.

    Raises:
        SettingsError: One has a line break, or a character that is none of ASCII, or a blank at an
            end where it may have none.
    """
    given = [("api_key", f"Bearer {api_key}")] if api_key else []
    for key, value in headers.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise SettingsError(f"{name}: the header {key!r} is no text", hint="give name and text")
        what = f"the header {key!r}"
        given += [(what, key), (what, value)]
    for what, text in given:
        sent = text.strip(" ") if blanks else text
        if sent != sent.lstrip() or not is_sendable(sent):
            raise SettingsError(
                f"{name}: {what} holds what no header can",
                hint="is there a line break in it, or a blank at an end?",
            )


def is_sendable(text: str) -> bool:
    """Whether a header can end with a text."""
    return text.isprintable() and text.isascii() and not text.endswith(" ")


def varied(params: Mapping[str, Any], sample: int) -> dict[str, Any]:
    """The parameters of one sample, so that it can differ from those before it.

    From sample 1 on, a temperature that is set is at least `WARM`, and a seed moves with the
    sample; one below `SEEDS` begins again at 0 rather than leave them.
    """
    changed = dict(params)
    if sample and "temperature" in params:
        changed["temperature"] = max(params["temperature"], WARM)
    if sample and "seed" in params:
        moved = params["seed"] + sample
        changed["seed"] = moved % SEEDS if params["seed"] < SEEDS <= moved else moved
    return changed


def without_secrets(value: Any) -> Any:
    """The same data without what its key calls a secret, at any depth.

    A number is no secret, whatever its key: `ban_eos_token=True` decides what is answered.
    """
    if isinstance(value, Mapping):
        return {
            key: without_secrets(part)
            for key, part in value.items()
            if not _is_secret(key) or _is_numbers(part)
        }
    if isinstance(value, list | tuple):
        return [without_secrets(part) for part in value]
    return value


def secrets_in(value: Any, *, below: bool = False) -> Iterator[str]:
    """The texts in the data whose keys, or keys above them, call them secrets, at any depth.

    Also the parts of these that may come back alone: the key of `Bearer KEY`, the value of a
    cookie, the password of `Basic LOGIN`.

    Args:
        value: The data.
        below: Whether a key above the data calls it a secret.
    """
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from secrets_in(part, below=below or _is_secret(key))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from secrets_in(part, below=below)
    elif below and isinstance(value, str):
        yield from dict.fromkeys(filter(None, _forms(value)))


def _forms(secret: str) -> Iterator[str]:
    """A secret and its parts; some may be empty or the same."""
    yield secret
    for part in re.split(r"[\s;,]+", secret):
        if part.lower() not in _SCHEMES:
            yield part
            yield part.partition("=")[2].strip("\"'")
    if login := _BASIC.match(secret):
        with suppress(ValueError):
            user, _, password = b64decode(login[1] + "==").decode().partition(":")
            yield password or user  # a key may stand in the place of the user


def _is_secret(key: object) -> bool:
    name = str(key)
    return _SECRET.search(name) is not None and _SAMPLING.search(name) is None


def _is_numbers(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_numbers, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_numbers, value))
    return value is None or isinstance(value, int | float)
