"""Opening files of the sandbox, inside it, so that every link resolves where it may."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from typing import NamedTuple

from lunette.server.engines.bubblewrap.inside.wire import Message

__all__ = ["NotARegularFile", "Uploads", "open_for_reading"]

# O_NONBLOCK: a FIFO or a device must not hold up the worker.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class NotARegularFile(OSError):
    """The path is a FIFO, a device or a socket."""


def open_for_reading(path: str) -> int:
    try:
        fd = os.open(path, _READ)
    except OSError as error:
        if error.errno != errno.ENXIO:  # a socket
            raise
        raise _not_regular(path) from None
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise _not_regular(path)


def _not_regular(path: str) -> NotARegularFile:
    return NotARegularFile(errno.EINVAL, "Not a regular file", path)


class _Upload(NamedTuple):
    directory: int
    temporary: str
    name: str
    path: str


class Uploads:
    """Files that are on their way in, under a temporary name beside the one they will get."""

    def __init__(self) -> None:
        self._pending: dict[int, _Upload] = {}

    def begin(self, message: Message, _: list[int]) -> tuple[Message, list[int]]:
        """Make the parents and the temporary file, and return its descriptor."""
        path: str = message["path"]
        if path.endswith("/"):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        parent, name = os.path.split(os.path.realpath(path))
        mode = _mode_of(os.path.join(parent, name), path)
        os.makedirs(parent, exist_ok=True)
        directory = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        temporary = f".lunette-{secrets.token_hex(8)}.part"
        try:
            fd = os.open(temporary, _CREATE, 0o600, dir_fd=directory)
        except OSError:
            os.close(directory)
            raise
        os.fchmod(fd, mode)
        self._pending[message["id"]] = _Upload(directory, temporary, name, path)
        return {"begun": True}, [fd]

    def commit(self, message: Message, _: list[int]) -> tuple[Message, list[int]]:
        """Give the file of message *begun* its name."""
        upload = self._pending.pop(message["begun"])
        try:
            os.rename(
                upload.temporary,
                upload.name,
                src_dir_fd=upload.directory,
                dst_dir_fd=upload.directory,
            )
        except OSError as error:
            self._drop(upload)
            raise OSError(error.errno, error.strerror, upload.path) from None
        os.close(upload.directory)
        return {}, []

    def abort(self, message: Message, _: list[int]) -> tuple[Message, list[int]]:
        """Remove the temporary file of message *begun*."""
        self._drop(self._pending.pop(message["begun"]))
        return {}, []

    def _drop(self, upload: _Upload) -> None:
        with contextlib.suppress(OSError):
            os.unlink(upload.temporary, dir_fd=upload.directory)
        with contextlib.suppress(OSError):
            os.close(upload.directory)


def _mode_of(target: str, path: str) -> int:
    """The permissions that the new file gets: those of the one that it replaces."""
    try:
        found = os.lstat(target).st_mode
    except FileNotFoundError:
        return 0o644
    if stat.S_ISDIR(found):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(found):
        raise _not_regular(path)
    return stat.S_IMODE(found) & 0o777
