"""What follows from the name and the parameters of a model, before any library is loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
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
_SECRET = re.compile(r"api.?key|[_-]key$|^key$|token$|secret|passw|credential|auth|cookie", re.I)


def is_local(name: str) -> bool:
    """Whether a model runs in this process."""
    return name.startswith(("local/", "local:"))


def is_direct(name: str) -> bool:
    """Whether a model is asked without litellm, by a server that speaks OpenAI's protocol."""
    return name.startswith("direct/")


def litellm_id(name: str) -> str:
    """The name that litellm knows a model by; a file becomes `local/` and its absolute path."""
    if name.startswith("local:"):
        path = Path(name.removeprefix("local:")).expanduser().absolute()
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


def public_endpoint(endpoint: str | None) -> str | None:
    """An endpoint without the name and password that its address may hold."""
    if endpoint is None:
        return None
    return re.sub(r"(?<=//)[^/@]*@", "", endpoint)


def is_loopback(endpoint: str | None) -> bool:
    """Whether an endpoint is on this machine."""
    host = urlsplit(endpoint or "").hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def check_allowed(name: str, *, stays_here: bool) -> None:
    """Refuse a call that the settings do not allow.

    Args:
        name: The name of the model.
        stays_here: Whether its calls stay on this machine.

    Raises:
        ModelMisconfigured: Calls to other machines are switched off.
    """
    if stays_here or settings.current().allow_requests:
        return
    raise ModelMisconfigured(
        f"{name}: calls to other machines are switched off",
        hint="MTIPROMPT_ALLOW_REQUESTS=1 or mti.using(allow_requests=True) allows them",
    )


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


def varied(params: Mapping[str, Any], sample: int) -> dict[str, Any]:
    """The parameters of one sample, so that it can differ from those before it.

    From sample 1 on, a temperature that is set is at least `WARM`, and a seed moves with it.
    """
    changed = dict(params)
    if sample and "temperature" in params:
        changed["temperature"] = max(params["temperature"], WARM)
    if sample and "seed" in params:
        changed["seed"] = params["seed"] + sample
    return changed


def without_secrets(value: Any) -> Any:
    """The same data without what its key calls a secret, at any depth."""
    if isinstance(value, Mapping):
        return {
            key: without_secrets(part)
            for key, part in value.items()
            if not _SECRET.search(str(key))
        }
    if isinstance(value, list | tuple):
        return [without_secrets(part) for part in value]
    return value


def secrets_in(value: Any) -> Iterator[str]:
    """The texts in the data whose keys call them secrets, at any depth."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            if isinstance(part, str) and _SECRET.search(str(key)):
                yield part
            yield from secrets_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from secrets_in(part)
