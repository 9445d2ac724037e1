"""Compose services: what a client sends becomes the one form that engines take."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from attrs import frozen

from lunette import _compose
from lunette.server import _compose_values, _contract
from lunette.server._problems import Problem
from lunette.server.engines.protocol import Capabilities, SandboxSpec
from lunette.server.images.errors import InvalidReferenceError
from lunette.server.images.reference import Reference

__all__ = ["ServiceSpec", "check_keys", "read_service", "supported_keys"]

T = TypeVar("T")

_NAMES = """
    command cpus deploy entrypoint environment extra_hosts hostname image init labels mem_limit
    network_mode pids_limit platform pull_policy read_only shm_size stop_grace_period stop_signal
    storage_opt tmpfs ulimits user working_dir
"""
_READ_BY_US = frozenset(_NAMES.split())
_PULL_POLICIES = {"missing": "missing", "if_not_present": "missing"} | {
    name: name for name in ("always", "never")
}
_LONGEST_GRACE = 60.0
_LIMITS = "deploy.resources.limits"
# What is the same there and as a key of its own.
_DEPLOYED = {"pids": "pids_limit", "memory": "mem_limit", "cpus": "cpus"}

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
        if key in _DEPLOYED.values():
            why = "nothing on its machine would enforce it"
            raise _not_supported(key, f"this server does not support '{key}': {why}")
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
    return ServiceSpec(
        _sandbox(sandbox_id, service, capabilities),
        _labels(service.get("labels", {})),
        _without_values(service),
    )


def _sandbox(
    sandbox_id: str, service: Mapping[str, Any], capabilities: Capabilities
) -> SandboxSpec:
    return SandboxSpec(
        id=sandbox_id,
        image=service["image"],
        pull_policy=_pull_policy(service),
        command=_command(service),
        working_dir=service.get("working_dir"),
        environment=_environment(service.get("environment", {})),
        hostname=service.get("hostname", "sandbox"),
        extra_hosts=_read(service, "extra_hosts", _compose_values.hosts) or (),
        user=_user(service),
        read_only=service.get("read_only", False),
        tmpfs=_read(service, "tmpfs", _compose_values.tmpfs_entries) or (),
        shm_size=_read(service, "shm_size", _compose_values.size),
        mem_limit=_limit(service, "mem_limit", _compose_values.size),
        cpus=_limit(service, "cpus", _compose_values.processors),
        pids_limit=_processes(service, capabilities),
        disk=_disk(service, capabilities),
        ulimits=_read(service, "ulimits", _compose_values.ulimits) or {},
        stop_signal=_read(service, "stop_signal", _compose_values.signal_number),
        stop_grace_period=_grace(service),
    )


def _check_values(service: Mapping[str, Any], capabilities: Capabilities) -> None:
    _check_image(service["image"], capabilities)
    mode = service.get("network_mode", "none")
    if mode not in capabilities.network_modes:
        raise _not_supported("network_mode", f"'network_mode: {mode}' is not supported")
    platform = service.get("platform")
    if platform is not None and not _is_ours(platform, capabilities.platform):
        detail = f"'platform: {platform}' does not run here, only {capabilities.platform}"
        raise _not_supported("platform", detail)
    if "deploy" in service:
        _check_deploy(service["deploy"], capabilities)


def _check_image(image: str, capabilities: Capabilities) -> None:
    if image in capabilities.images:
        return
    if not capabilities.pulls_images:
        known = ", ".join(capabilities.images)
        raise _not_supported("image", f"there is no image '{image}' here, only: {known}")
    try:
        Reference.parse(image)
    except InvalidReferenceError as error:
        raise _invalid("image", str(error)) from None


def _is_ours(platform: str, ours: str) -> bool:
    wanted = platform.lower().split("/")
    return wanted == ours.split("/")[: len(wanted)]


def _check_deploy(deploy: Mapping[str, Any], capabilities: Capabilities) -> None:
    """Let nothing through but the limits that a key of their own would bring too."""
    supported = supported_keys(capabilities)
    limits = deploy.get("resources", {}).get("limits", {})
    for path, part, known in (
        ("deploy", deploy, {"resources"}),
        ("deploy.resources", deploy.get("resources", {}), {"limits"}),
        (_LIMITS, limits, {k for k, v in _DEPLOYED.items() if v in supported}),
    ):
        for key in part:
            if key not in known and not key.startswith("x-"):
                raise _not_supported(
                    f"{path}.{key}", f"this server does not support '{path}.{key}'"
                )


def _read(
    service: Mapping[str, Any], key: str, read: Callable[[Any], T], *, within: str = ""
) -> T | None:
    """Read the value of *key*, if it has one; *within* is the path to *service*."""
    value = service.get(key)
    if value is None:
        return None
    try:
        return read(value)
    except ValueError as error:
        raise _invalid(f"{within}{key}", f"'{within}{key}': {error}") from None


def _pull_policy(service: Mapping[str, Any]) -> Any:
    policy = service.get("pull_policy", "missing")
    if policy not in _PULL_POLICIES:
        known = ", ".join(_PULL_POLICIES)
        raise _not_supported("pull_policy", f"'pull_policy: {policy}' is none of: {known}")
    return _PULL_POLICIES[policy]


def _user(service: Mapping[str, Any]) -> str | None:
    user = service.get("user")
    if user is None:
        return None
    return user if isinstance(user, str) else str(int(user))  # 1000.0 is an integer too


def _processes(service: Mapping[str, Any], capabilities: Capabilities) -> int | None:
    wanted = _limit(service, "pids_limit", _compose_values.count)
    most = capabilities.limits.get("processes", 0)
    if wanted is not None and not 1 <= wanted <= most:
        detail = f"'pids_limit: {wanted}' is not between 1 and {most}; there is no unlimited here"
        raise _not_supported("pids_limit", detail)
    return wanted


def _limit(service: Mapping[str, Any], key: str, read: Callable[[Any], T]) -> T | None:
    """Read what can be a *key* of its own, or below `deploy`."""
    deployed = service.get("deploy", {}).get("resources", {}).get("limits", {})
    (name,) = (name for name, other in _DEPLOYED.items() if other == key)
    found = _read(service, key, read)
    again = _read(deployed, name, read, within=f"{_LIMITS}.")
    if found is not None and again is not None and found != again:
        raise _invalid(key, f"'{key}' and '{_LIMITS}.{name}' differ")
    return again if found is None else found


def _disk(service: Mapping[str, Any], capabilities: Capabilities) -> int | None:
    options: Mapping[str, Any] = service.get("storage_opt", {})
    for key in options:
        if key != "size":
            raise _not_supported(f"storage_opt.{key}", f"'storage_opt' has 'size' here, no '{key}'")
    wanted = _read(options, "size", _compose_values.size, within="storage_opt.")
    most = capabilities.limits.get("disk", 0)
    if wanted is not None and wanted > most:
        raise _not_supported("storage_opt.size", f"a sandbox may use {most} bytes of disk at most")
    return wanted


def _grace(service: Mapping[str, Any]) -> float:
    found = _read(service, "stop_grace_period", _compose_values.seconds)
    if found is not None and found > _LONGEST_GRACE:
        detail = f"'stop_grace_period' is over {_LONGEST_GRACE:.0f} seconds"
        raise _not_supported("stop_grace_period", detail)
    return 10.0 if found is None else found


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
