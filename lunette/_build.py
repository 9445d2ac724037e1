"""The key `build` of a service: what the client reads of it, and what the server gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from attrs import frozen

from ._compose import BUILD_KEYS, nearest
from ._context import Context
from ._text_files import located
from .errors import NotSupportedError, ServiceError

__all__ = ["Build", "read_build"]

_SENT = ("args", "labels", "target")
# A context that Docker fetches; a folder of such a name would have to be written `./...`.
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]*://|git@|github\.com/", re.IGNORECASE)


@frozen
class Build:
    """A *context* to stream; *options* is what of `build` names no file, for the server."""

    context: Context
    options: Mapping[str, Any]


def read_build(value: object, base: Path) -> Build:
    """Read `build` in either form; paths start at *base*."""
    if isinstance(value, str):
        value = {"context": value}
    if not isinstance(value, Mapping):
        raise ServiceError(f"build must be a path or a mapping, not {type(value).__name__}")
    given = cast("Mapping[str, Any]", value)
    fields = {key: item for key, item in given.items() if item is not None}
    for key in fields:
        _check_key(key)
    context = _text(fields.pop("context", "."), "build.context")
    dockerfile = fields.pop("dockerfile", None)
    if _REMOTE.match(context):
        raise NotSupportedError(f"build.context: {context[:60]!r} is no folder of this machine")
    folder = located(context, base, "build.context")
    if dockerfile is not None:
        dockerfile = str(located(_text(dockerfile, "build.dockerfile"), Path(), "build.dockerfile"))
    return Build(Context.found(folder, dockerfile), fields)


def _check_key(key: str) -> None:
    if key in ("context", "dockerfile", *_SENT) or key.startswith("x-"):
        return
    if key in BUILD_KEYS:
        raise NotSupportedError(f"build.{key} is not supported")
    mend = nearest(key, BUILD_KEYS)
    raise ServiceError(f"Compose knows no key {key[:60]!r} of build; did you mean {mend!r}?")


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ServiceError(f"{what} must be a string, not {type(value).__name__}")
    return value
