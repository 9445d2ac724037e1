"""Files of the sandbox, looked at and changed inside it, so that every link resolves where it may.

Here is what takes no time; what may take long is in `filejobs`.
"""

from __future__ import annotations

import errno
import os
import stat

from lunette.server.engines.bubblewrap.inside.resolving import real_path
from lunette.server.engines.bubblewrap.inside.wire import Message

__all__ = [
    "NotARegularFile",
    "described",
    "look",
    "make_directories",
    "make_directory",
    "move",
    "not_regular",
    "open_for_reading",
    "os_error",
    "place_of",
    "remove",
]

# O_NONBLOCK: a FIFO or a device must not hold up the worker.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_HERE = ("", ".", "..")
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


class NotARegularFile(OSError):
    """The path is a FIFO, a device or a socket."""


def open_for_reading(path: str) -> int:
    try:
        fd = os.open(path, _READ)
    except OSError as error:
        if error.errno != errno.ENXIO:  # a socket
            raise
        raise not_regular(path) from None
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise os_error(errno.EISDIR, path)
    raise not_regular(path)


def os_error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


def not_regular(path: str) -> NotARegularFile:
    return NotARegularFile(errno.EINVAL, "Not a regular file", path)


def place_of(path: str) -> tuple[str, str]:
    """Return the directory that *path* is in, without a link in it, and its name there, which is
    empty for `/`.
    """
    parent, name = os.path.split(path.rstrip("/"))
    if name in _HERE:
        return os.path.split(real_path(path))
    return real_path(parent or "/"), name


def described(path: str, found: os.stat_result, target: str | None) -> Message:
    """Return what `FileInfo` in openapi.yaml says of a file."""
    described: Message = {
        "path": path,
        "type": _type(found.st_mode),
        "size": found.st_size,
        "mode": stat.S_IMODE(found.st_mode),
        "mtime": found.st_mtime,
        "uid": found.st_uid,
        "gid": found.st_gid,
    }
    return described if target is None else {**described, "target": target}


def _type(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "symlink" if stat.S_ISLNK(mode) else "other"


def look(message: Message, _: list[int]) -> tuple[Message, list[int]]:
    """Return what is at a path: of its last link, or of what that leads to."""
    path = message["path"]
    found = os.stat(path, follow_symlinks=message["follow_symlinks"])
    target = os.readlink(path) if stat.S_ISLNK(found.st_mode) else None
    return {"found": described(os.path.join(*place_of(path)), found, target)}, []


def make_directory(message: Message, _: list[int]) -> tuple[Message, list[int]]:
    """Make a directory, as Python's `Path.mkdir`."""
    path = message["path"]
    if message["parents"]:
        make_directories(os.path.dirname(path.rstrip("/")))
    try:
        os.mkdir(path, message["mode"])
    except FileExistsError:
        if not (message["exist_ok"] and os.path.isdir(path)):
            raise
    return {}, []


def make_directories(path: str) -> int:
    """As `os.makedirs` with `exist_ok`, without a recursion for every level that is missing; return
    how many it made, which are the last ones of *path*.
    """
    missing: list[str] = []
    made: bool | None = False
    while path and (made := _make(path)) is None:
        missing.append(path)
        path = os.path.dirname(path.rstrip("/"))
    for lower in reversed(missing):
        if _make(lower) is None:
            raise os_error(errno.ENOENT, lower)
    return len(missing) + bool(made)


def _make(path: str) -> bool | None:
    """Make a directory; return whether there was none, or None if its parent is missing."""
    try:
        os.mkdir(path)
    except FileNotFoundError:
        return None
    except OSError:
        # Not FileExistsError alone: what may not be written may be there all the same.
        if os.path.isdir(path):
            return False
        if os.path.lexists(path):
            raise os_error(errno.ENOTDIR, path) from None
        raise
    return True


def remove(message: Message, _: list[int]) -> tuple[Message, list[int]]:
    """Remove a file, a link or an empty directory."""
    path = message["path"]
    if stat.S_ISDIR(os.lstat(path).st_mode):
        os.rmdir(path)
    else:
        os.unlink(path)
    return {}, []


def move(message: Message, _: list[int]) -> tuple[Message, list[int]]:
    """Rename; of an error, say which of the two paths is in the way."""
    source, target = message["source"], message["target"]
    os.lstat(source)
    try:
        os.rename(source, target)
    except OSError as error:
        refused = error.errno in _REFUSED and not _can_be_written(source)
        return {"errno": error.errno, "kind": "OSError", "at_target": not refused}, []
    return {}, []


def _can_be_written(path: str) -> bool:
    return os.access(place_of(path)[0], os.W_OK)
