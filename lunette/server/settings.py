"""What a server goes by beside its command line: the environment, and `config.json`."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from attrs import field, frozen

from lunette.config import config_path
from lunette.server import _compose_values
from lunette.server._log import LOG_LIMIT
from lunette.server.engines.protocol import EngineUnavailableError

__all__ = ["FREE_DISK", "Settings"]

_DISK = 10 << 30
# What a create and a pull leave free: a full disk stops more than sandboxes.
FREE_DISK = 256 << 20
_SMALLEST_LOG = 1 << 20
_TTL = 24 * 3600.0
_IDLE_TIMEOUT = 3600.0
_LONGEST_LIFE = 365 * 24 * 3600.0  # as in openapi.yaml
# Docker kills 10 seconds after it has said so.
_GRACE = 5.0


def _store() -> Path:
    try:
        return config_path().with_name("images")
    except RuntimeError:  # no home directory
        return Path(tempfile.gettempdir(), f"images-of-{os.geteuid()}.lunette")


@frozen(kw_only=True)
class Settings:
    """*images* is where images are kept; *mirrors* says which host is asked instead of a registry;
    hosts in *insecure* may speak plain HTTP; *disk* is what a sandbox may use, in bytes, and *log*
    what is kept of the output of a process. With *allow_unenforced_limits* a service may ask for
    limits that nothing here keeps. *ttl* and *idle_timeout* are the longest that a sandbox
    lives, in seconds, and None is without end: on a server of your own, since that of a client ends
    with it. *grace* is how many seconds what runs gets when such a server is told to stop.
    """

    images: Path = field(factory=_store)
    mirrors: Mapping[str, str] = field(factory=dict[str, str])
    insecure: tuple[str, ...] = ()
    disk: int = _DISK
    log: int = LOG_LIMIT
    allow_unenforced_limits: bool = False
    ttl: float | None = _TTL
    idle_timeout: float | None = _IDLE_TIMEOUT
    grace: float = _GRACE

    @classmethod
    def read(cls, given: Mapping[str, str | None] = MappingProxyType({})) -> Settings:
        """Settle each by itself: what is *given*, environment, file, then the default.

        Raise EngineUnavailableError, since without them no sandbox can be made rightly.
        """
        file = _file()
        mirrors = [_pair(entry) for entry in _list("registry_mirrors", file)]
        return cls(
            mirrors=dict(mirrors),
            insecure=tuple(_list("insecure_registries", file)),
            disk=_size("disk_limit", file, _DISK),
            log=_size("log_limit", file, LOG_LIMIT, least=_SMALLEST_LOG),
            allow_unenforced_limits=_flag("allow_unenforced_limits", file),
            ttl=_seconds("ttl", given, file, _TTL),
            idle_timeout=_seconds("idle_timeout", given, file, _IDLE_TIMEOUT),
            grace=_seconds("grace", given, file, _GRACE) or 0.0,
        )


def _file() -> Mapping[str, Any]:
    try:
        path = config_path()
    except RuntimeError:  # no home directory
        return {}
    try:
        found: object = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise EngineUnavailableError(f"cannot read {path}: {error}") from error
    if not isinstance(found, dict):
        raise EngineUnavailableError(f"{path} must hold a JSON object")
    return cast("Mapping[str, Any]", found)


def _variable(key: str) -> str:
    return f"LUNETTE_{key.upper()}"


def _list(key: str, file: Mapping[str, Any]) -> list[str]:
    """A list in the file; separated by commas in the environment."""
    text = os.environ.get(_variable(key))
    found: object = text.split(",") if text else file.get(key, [])
    if not isinstance(found, list) or not all(
        isinstance(entry, str) for entry in cast("list[object]", found)
    ):
        raise EngineUnavailableError(f"{key} in config.json must be a list of strings")
    return [entry.strip() for entry in cast("list[str]", found) if entry.strip()]


def _pair(entry: str) -> tuple[str, str]:
    registry, equals, host = entry.partition("=")
    if not (registry and equals and host):
        detail = f"registry_mirrors ({_variable('registry_mirrors')}): {entry!r} is not of the form"
        raise EngineUnavailableError(f"{detail} 'docker.io=mirror.example:5000'")
    return registry, host


def _size(key: str, file: Mapping[str, Any], default: int, *, least: int = 0) -> int:
    value = os.environ.get(_variable(key)) or file.get(key, default)
    try:
        size = _compose_values.size(value)
        if size < least:
            raise ValueError(f"{value!r} is less than {least} bytes")
    except ValueError as error:
        raise EngineUnavailableError(f"{key} ({_variable(key)}): {error}") from None
    return size


def _flag(key: str, file: Mapping[str, Any]) -> bool:
    """A boolean in the file; 1 or 0 in the environment."""
    value: object = os.environ.get(_variable(key)) or file.get(key, False)
    if value not in (True, False, "1", "0"):
        raise EngineUnavailableError(
            f"{key} must be true or false in config.json, and {_variable(key)} 1 or 0"
        )
    return value in (True, "1")


def _seconds(
    key: str, given: Mapping[str, str | None], file: Mapping[str, Any], default: float
) -> float | None:
    """A number of seconds, or a duration such as `1h30m`; 0 is without end."""
    value: object = given.get(key) or os.environ.get(_variable(key)) or file.get(key, default)
    try:
        seconds = _compose_values.seconds_or_duration(value)
        if seconds > _LONGEST_LIFE:
            raise ValueError(f"{seconds:g} seconds are more than a year")
    except ValueError as error:
        raise EngineUnavailableError(f"{key} ({_variable(key)}): {error}") from None
    return seconds or None
