"""The small text files that a service names: Compose files, environment files, `.dockerignore`."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from .errors import ServiceError

__all__ = ["MissingFileError", "located", "open_regular", "read_text"]

_LARGEST = 1024 * 1024


class MissingFileError(FileNotFoundError, ServiceError):
    """A file or folder that the service names is not there."""

    def __init__(self, what: str, path: Path) -> None:
        super().__init__(errno.ENOENT, f"{what}: No such file or directory", str(path))
        self._parts = what, path

    def __reduce__(self) -> tuple[type[MissingFileError], tuple[str, Path]]:
        return type(self), self._parts


def located(text: str, base: Path, what: str) -> Path:
    """Return the path that *text* means in the folder *base*; *what* it is of, for errors."""
    if not text or "\0" in text:
        raise ServiceError(f"{what}: {text[:60]!r} is no path")
    return base / text


def open_regular(path: Path, what: str) -> int:
    """Open *path* if it is a regular file, and return the descriptor."""
    try:
        # Not blocking, since opening a FIFO would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise MissingFileError(what, path) from None
    except OSError as error:
        raise ServiceError(f"{what}: {path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ServiceError(f"{what}: {path} is no regular file")
    return descriptor


def read_text(path: Path, what: str) -> str:
    """Read a text file of at most 1 MiB; line ends become newlines, and a BOM is dropped."""
    with os.fdopen(open_regular(path, what), "rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ServiceError(f"{what}: {path} is larger than 1 MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ServiceError(f"{what}: {path}, line {line}: not UTF-8") from None
    return text.replace("\r\n", "\n")
