"""Compose files: where they are, and the one service that is wanted of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from attrs import frozen

from ._compose import TOP_LEVEL_KEYS, nearest
from ._env_file import read_dotenv
from ._interpolation import Lookup, callers, interpolated
from ._text_files import MissingFileError, read_text
from .errors import NotSupportedError, ServiceError

__all__ = ["FoundService", "find_file", "read_service"]

# In the order in which Compose looks for them.
_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
_SUFFIXES = (".yaml", ".yml")


@frozen
class FoundService:
    """A *service* as its file has it; its paths start at *folder*, *lookup* has its variables."""

    service: Mapping[str, Any]
    folder: Path
    lookup: Lookup


def find_file(path: Path) -> Path | None:
    """Return the Compose file that *path* is or holds; None for a folder with a Dockerfile."""
    if path.is_dir():
        for name in _NAMES:
            if (path / name).exists():
                return path / name
        if (path / "Dockerfile").exists():
            return None
        raise ServiceError(f"{path} holds neither a Compose file ({_NAMES[0]}) nor a Dockerfile")
    if not path.exists():
        raise MissingFileError(
            f"no Compose file and no folder; an image is {_as_image(path)}", path
        )
    if path.suffix not in _SUFFIXES:
        raise ServiceError(f"{path} is no Compose file (.yaml); of a Dockerfile, give the folder")
    return path


def _as_image(path: Path) -> str:
    return f'{{"image": "{str(path)[:60]}"}}'


def read_service(path: Path, name: str | None) -> FoundService:
    """Read the service *name* of a Compose file, or the only one."""
    source = str(path)
    service, name = _chosen(_services(_parsed(path), source), name, source)
    folder = path.parent
    dotenv = read_dotenv(folder, callers)

    def lookup(variable: str) -> str | None:
        value = callers(variable)
        return dotenv.get(variable) if value is None else value

    filled = interpolated(service, lookup, f"{source}: services.{name}")
    return FoundService(filled, folder, lookup)


def _parsed(path: Path) -> Mapping[str, Any]:
    from ._compose_yaml import parse_yaml

    top = parse_yaml(read_text(path, "Compose file"), str(path))
    if not isinstance(top, Mapping) or "services" not in top:
        raise ServiceError(f"{path} is no Compose file: it has no `services`")
    return cast("Mapping[str, Any]", top)


def _services(top: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    for key in top:
        if key not in TOP_LEVEL_KEYS and not key.startswith("x-"):
            mend = nearest(key, TOP_LEVEL_KEYS)
            raise ServiceError(
                f"{source}: Compose knows no top-level key {key[:60]!r}; did you mean {mend!r}?"
            )
    if top.get("include") is not None:
        raise NotSupportedError(f"{source}: include is not supported; write the service out")
    services = top["services"]
    if not isinstance(services, Mapping) or not services:
        raise ServiceError(f"{source}: `services` must be a mapping of at least one service")
    return cast("Mapping[str, Any]", services)


def _chosen(
    services: Mapping[str, Any], name: str | None, source: str
) -> tuple[Mapping[str, Any], str]:
    names = ", ".join(sorted(services))[:1000]
    if name is None:
        if len(services) > 1:
            raise ServiceError(
                f"{source} has {len(services)} services: {names}; choose one, such as"
                f" service={min(services)!r}"
            )
        name = next(iter(services))
    elif name not in services:
        raise ServiceError(f"{source} has no service {name[:60]!r}, only: {names}")
    service = services[name]
    if not isinstance(service, Mapping):
        raise ServiceError(f"{source}: services.{name} must be a mapping")
    return cast("Mapping[str, Any]", service), name
