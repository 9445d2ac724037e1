"""What the config of an image says about the processes that run in it."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any, cast

from attrs import frozen

from ._documents import Document, Fault, read_object
from ._platforms import check_platform
from .errors import InvalidImageError

__all__ = ["Configuration", "read_configuration"]


@frozen
class Configuration:
    """What is honoured of a config; its Entrypoint and Cmd never are."""

    created: str | None
    environment: Mapping[str, str]
    working_dir: str | None
    user: str | None


def read_configuration(content: bytes, *, layers: int, name: str) -> Configuration:
    """Read the config of the image *name*, which has so many *layers*.

    The digests of the unpacked layers (`diff_ids`) are counted and not compared: the digests of
    the layers as they come, which one manifest names beside that of this config, say as much.
    Raise InvalidImageError, or PlatformError where it is for another machine.
    """

    def invalid(why: str) -> Exception:
        return InvalidImageError(f"the config of {name} {why}")

    found = read_object(content, invalid)
    _check_layers(found, layers, invalid)
    check_platform(found, name=name)
    inner: Any = found.get("config") or {}
    if not isinstance(inner, dict):
        raise invalid("has a config that is no object")
    settings = cast("Document", inner)
    return Configuration(
        _text(found, "created", invalid),
        _environment(settings.get("Env") or [], invalid),
        _directory(settings, invalid),
        _text(settings, "User", invalid),
    )


def _check_layers(found: Document, layers: int, invalid: Fault) -> None:
    rootfs: Any = found.get("rootfs")
    ids: Any = cast("Document", rootfs).get("diff_ids") if isinstance(rootfs, dict) else None
    count = len(cast("list[object]", ids)) if isinstance(ids, list) else 0
    if count != layers:
        raise invalid(f"knows {count} layers, its manifest {layers}")


def _environment(entries: Any, invalid: Fault) -> dict[str, str]:
    if not isinstance(entries, list):
        raise invalid("has an Env that is no list")
    environment: dict[str, str] = {}
    for entry in cast("list[object]", entries):
        if not isinstance(entry, str) or "\0" in entry:
            raise invalid("has an Env with something that is no K=V")
        key, equals, value = entry.partition("=")
        if key and equals:  # Docker ignores others, too
            environment[key] = value
    return environment


def _directory(settings: Document, invalid: Fault) -> str | None:
    """A relative one starts at the root, as Docker has it."""
    found = _text(settings, "WorkingDir", invalid)
    return None if found is None else posixpath.join("/", found)


def _text(found: Document, key: str, invalid: Fault) -> str | None:
    value = found.get(key) or None
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise invalid(f"has a {key} that is no text")
    return value
