"""Files that are there whole or not at all, whatever ends the process; and disks that fill up."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Generator
from pathlib import Path

from .errors import ImageStoreError, NoSpaceError

__all__ = [
    "check_space",
    "disk_errors",
    "free_bytes",
    "is_full",
    "publish",
    "sync_all",
    "write_whole",
]

_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextlib.contextmanager
def disk_errors(directory: Path) -> Generator[None]:
    """Make what the operating system says an error of images."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise NoSpaceError(_advice(directory, "the disk is full")) from error
        raise ImageStoreError(
            f"the image store {directory} cannot be used: {error}; mend it, or choose another"
            " directory by LUNETTE_HOME"
        ) from error


def is_full(error: OSError) -> bool:
    """Say whether the disk, or what this user may use of it, is full."""
    return error.errno in _FULL


def free_bytes(directory: Path) -> int:
    """Return how many bytes this user may still write."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def check_space(directory: Path, needed: int, *, spare: int) -> None:
    """Raise NoSpaceError unless *needed* bytes fit and *spare* ones stay free."""
    free = free_bytes(directory)
    if free < needed + spare:
        raise NoSpaceError(
            _advice(
                directory,
                f"the image needs {_mebibytes(needed)} beside {_mebibytes(spare)} that stay free,"
                f" and {_mebibytes(free)} are free",
            )
        )


def _advice(directory: Path, what: str) -> str:
    return f"{what} in {directory}: remove images (lunette images rm), or set LUNETTE_HOME"


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"


def _sync(directory: Path) -> None:
    """Have the names in *directory* on the disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def publish(unfinished: Path, path: Path) -> None:
    """Give what is complete, and on the disk, its name."""
    unfinished.rename(path)
    _sync(path.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Write or replace a file; a reader finds the old content or the new."""
    unfinished = path.with_name(f"{path.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(unfinished, flags, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    publish(unfinished, path)


def sync_all(directory: Path) -> None:
    """Have the whole file system of *directory* on the disk: quicker than file by file."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(fd)
