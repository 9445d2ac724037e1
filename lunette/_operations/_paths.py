"""Paths of files in a sandbox."""

from __future__ import annotations

import errno
import os
from pathlib import PurePath
from typing import TypeAlias, cast

__all__ = ["RemotePath", "remote_path"]

# Of Linux, and of the contract.
_LONGEST = 4095

RemotePath: TypeAlias = str | os.PathLike[str]


def remote_path(path: object) -> str:
    """Return *path* as it is sent; what no file of a sandbox can be asked for by is an error."""
    if isinstance(path, PurePath):
        path = path.as_posix()  # on Windows too
    elif isinstance(path, os.PathLike):
        path = os.fspath(cast("os.PathLike[str]", path))
    if not isinstance(path, str):
        raise TypeError(f"the path in the sandbox must be a string, not {type(path).__name__}")
    if not path or "\0" in path:
        raise ValueError("the path in the sandbox must not be empty or contain a NUL character")
    if not _is_text(path):
        raise ValueError(
            f"the path in the sandbox is not valid UTF-8: {path!r}; such a file can only be moved"
            " in a directory, or by a command"
        )
    if len(path.encode()) > _LONGEST:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
    return path


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
