"""Compose services: what a client sends becomes the one form that engines take."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, cast

from attrs import frozen

from lunette import _compose
from lunette.server import _contract
from lunette.server._problems import Problem
from lunette.server.engines.protocol import Capabilities, SandboxSpec

__all__ = ["ServiceSpec", "check_keys", "read_service", "supported_keys"]

_READ_BY_US = frozenset(
    {
        "command",
        "entrypoint",
        "environment",
        "hostname",
        "image",
        "labels",
        "network_mode",
        "working_dir",
    }
)

# They name files on the client's disk: only the client may open them.
_CLIENT_KEYS = frozenset({"build", "env_file", "extends", "label_file"})


@frozen
class ServiceSpec:
    """A service as the engine takes it, and what the server keeps of it."""

    sandbox: SandboxSpec
    labels: Mapping[str, str]
    shown: Mapping[str, Any]  # as it was sent, without the values of its environment


def supported_keys(capabilities: Capabilities) -> frozenset[str]:
    """Return the Compose keys that both the engine and this module know how to follow."""
    return (capabilities.service_keys | {"labels"}) & _READ_BY_US


def check_keys(service: object, capabilities: Capabilities) -> None:
    """Refuse the keys that Compose does not know, and those that nobody here would follow."""
    if not isinstance(service, Mapping):
        return
    supported = supported_keys(capabilities)
    for key in cast(Mapping[str, Any], service):
        if key == "x-lunette":
            raise _not_supported(key, "'x-lunette' is reserved for later versions")
        if key in supported or key.startswith("x-"):
            continue
        if key in _CLIENT_KEYS:
            raise _not_supported(key, f"'{key}' names files of the client, which it has to read")
        if key in _compose.KEYS:
            raise _not_supported(key, f"this server does not support '{key}'")
        raise _invalid(key, f"Compose knows no key '{key}' in a service")


def read_service(sandbox_id: str, value: object, capabilities: Capabilities) -> ServiceSpec:
    """Check a service and bring it into one form."""
    # First, since a missing `image` is not the news where there is a `build`.
    check_keys(value, capabilities)
    _contract.check_service(value)
    service = cast(Mapping[str, Any], value)
    _check_values(service, capabilities)
    sandbox = SandboxSpec(
        id=sandbox_id,
        image=service["image"],
        command=_command(service),
        working_dir=service.get("working_dir", "/workspace"),
        environment=_environment(service.get("environment", {})),
        hostname=service.get("hostname", "sandbox"),
    )
    return ServiceSpec(sandbox, _labels(service.get("labels", {})), _without_values(service))


def _check_values(service: Mapping[str, Any], capabilities: Capabilities) -> None:
    image = service["image"]
    if image not in capabilities.images:
        known = ", ".join(capabilities.images)
        raise _not_supported("image", f"there is no image '{image}' here, only: {known}")
    mode = service.get("network_mode", "none")
    if mode not in capabilities.network_modes:
        raise _not_supported("network_mode", f"'network_mode: {mode}' is not supported")


def _command(service: Mapping[str, Any]) -> tuple[str, ...] | None:
    words = [*_words(service, "entrypoint"), *_words(service, "command")]
    return tuple(words) or None


def _words(service: Mapping[str, Any], key: str) -> list[str]:
    value: str | list[str] | None = service.get(key)
    if value is None:
        return []
    try:
        words = shlex.split(value) if isinstance(value, str) else value
    except ValueError as error:
        raise _invalid(key, f"'{key}' cannot be split into words: {error}") from None
    _refuse_nul(key, words)
    return words


def _environment(value: Mapping[str, Any] | list[str]) -> dict[str, str]:
    pairs = value.items() if isinstance(value, Mapping) else map(_pair, value)
    # A name without a value takes it from where Compose runs, and that is not the server.
    found = {name: _text(item) for name, item in pairs if item is not None}
    _refuse_nul("environment", [*found, *found.values()])
    if any(not name or "=" in name for name in found):
        raise _invalid("environment", "'environment' has a name that is empty or contains '='")
    return found


def _labels(value: Mapping[str, Any] | list[str]) -> dict[str, str]:
    pairs = value.items() if isinstance(value, Mapping) else map(_pair, value)
    return {name: "" if item is None else _text(item) for name, item in pairs}


def _pair(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    return name, value if equals else None


def _text(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _without_values(service: Mapping[str, Any]) -> dict[str, Any]:
    environment: Mapping[str, Any] | list[str] | None = service.get("environment")
    if environment is None:
        return dict(service)
    if isinstance(environment, Mapping):
        return {**service, "environment": dict.fromkeys(environment)}
    return {**service, "environment": [_pair(item)[0] for item in environment]}


def _refuse_nul(key: str, words: list[str]) -> None:
    if any("\0" in word for word in words):
        raise _invalid(key, f"'{key}' contains a NUL character")


def _not_supported(key: str, detail: str) -> Problem:
    return Problem(422, "not_supported", detail, key=key)


def _invalid(key: str, detail: str) -> Problem:
    return Problem(422, "invalid_service", detail, key=key)
