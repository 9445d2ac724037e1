"""What a server goes by beside its command line: the environment, and `config.json`."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
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


def _store() -> Path:
    try:
        return config_path().with_name("images")
    except RuntimeError:  # no home directory
        return Path(tempfile.gettempdir(), f"images-of-{os.geteuid()}.lunette")


@frozen(kw_only=True)
class Settings:
    """*images* is where images are kept; *mirrors* says which host is asked instead of a registry;
    hosts in *insecure* may speak plain HTTP; *disk* is what a sandbox may use, in bytes, and *log*
    what is kept of the output of a process.
    """

    images: Path = field(factory=_store)
    mirrors: Mapping[str, str] = field(factory=dict[str, str])
    insecure: tuple[str, ...] = ()
    disk: int = _DISK
    log: int = LOG_LIMIT

    @classmethod
    def read(cls) -> Settings:
        """Settle each by itself: environment, then file, then the default.

        Raise EngineUnavailableError, since without them no sandbox can be made rightly.
        """
        file = _file()
        mirrors = [_pair(entry) for entry in _list("registry_mirrors", file)]
        return cls(
            mirrors=dict(mirrors),
            insecure=tuple(_list("insecure_registries", file)),
            disk=_size("disk_limit", file, _DISK),
            log=_size("log_limit", file, LOG_LIMIT, least=_SMALLEST_LOG),
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
