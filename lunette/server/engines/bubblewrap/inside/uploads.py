"""Files on their way in, under a temporary name beside the one that they will get."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from typing import NamedTuple

from lunette.server.engines.bubblewrap.inside.files import (
    make_directories,
    not_regular,
    os_error,
    place_of,
)
from lunette.server.engines.bubblewrap.inside.pseudo import made_up
from lunette.server.engines.bubblewrap.inside.resolving import real_path
from lunette.server.engines.bubblewrap.inside.wire import Message

__all__ = ["Uploads", "temporary_name"]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def temporary_name() -> str:
    """Return a name for what has not its own yet."""
    return f".lunette-{secrets.token_hex(8)}.part"


class _Upload(NamedTuple):
    """A file in *directory*, the path of which is *parent*, with so many levels *made* for it; *fd*
    is its own.
    """

    parent: str
    made: int
    directory: int
    fd: int
    temporary: str
    name: str
    mode: int
    new: bool

    def close(self) -> None:
        os.close(self.directory)
        os.close(self.fd)


class Uploads:
    """Those that are open, each by the id of the message that began it."""

    def __init__(self) -> None:
        self._pending: dict[int, _Upload] = {}

    def begin(self, message: Message, _: list[int]) -> tuple[Message, list[int]]:
        """Make the parents and the temporary file, and return its descriptor; or that of the file
        itself, to append to it.
        """
        path: str = message["path"]
        if path.endswith("/"):
            raise os_error(errno.EISDIR, path)
        if message["if_exists"] == "append":
            return {}, [_open_for_appending(path, message["mode"])]
        new = message["if_exists"] == "fail"
        # What is to be new is no file that a link leads to; a link is there already.
        parent, name = place_of(path if new else real_path(path))
        mode = _mode_of(os.path.join(parent, name), path, new=new)
        wanted = mode if message["mode"] is None else message["mode"]
        upload = _begun(parent, name, wanted, new)
        self._pending[message["id"]] = upload
        return {"begun": True}, [os.dup(upload.fd)]

    def commit(self, message: Message, _: list[int]) -> tuple[Message, list[int]]:
        """Give the file of message *begun* its name."""
        upload = self._pending.pop(message["begun"])
        try:
            _check_name(upload)
            os.fchmod(upload.fd, upload.mode)
            _name(upload)
        except OSError:
            _give_up(upload)
            raise
        finally:
            upload.close()
        return {}, []

    def abort(self, message: Message, _: list[int]) -> tuple[Message, list[int]]:
        """Remove the temporary file of message *begun*."""
        upload = self._pending.pop(message["begun"], None)
        if upload is not None:
            _give_up(upload)
            upload.close()
        return {}, []


def _begun(parent: str, name: str, mode: int, new: bool) -> _Upload:
    made = make_directories(parent)
    try:
        directory, fd, temporary = _created(parent)
    except OSError:
        _remove_directories(parent, made)
        raise
    return _Upload(parent, made, directory, fd, temporary, name, mode, new)


def _created(parent: str) -> tuple[int, int, str]:
    directory, temporary = os.open(parent, _DIRECTORY), temporary_name()
    try:
        return directory, os.open(temporary, _CREATE, 0o600, dir_fd=directory), temporary
    except OSError:
        os.close(directory)
        raise


def _check_name(upload: _Upload) -> None:
    """Raise ESTALE where the temporary name is not that of what was written."""
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(upload.temporary, dir_fd=upload.directory, follow_symlinks=False)
        if os.path.samestat(found, os.fstat(upload.fd)):
            return
    raise os_error(errno.ESTALE, upload.temporary)


def _name(upload: _Upload) -> None:
    both = {"src_dir_fd": upload.directory, "dst_dir_fd": upload.directory}
    if not upload.new:
        os.rename(upload.temporary, upload.name, **both)
        return
    os.link(upload.temporary, upload.name, follow_symlinks=False, **both)
    _remove(upload)


def _give_up(upload: _Upload) -> None:
    _remove(upload)
    _remove_directories(upload.parent, upload.made)


def _remove_directories(path: str, made: int) -> None:
    with contextlib.suppress(OSError):  # somebody else uses them by now
        for _ in range(made):
            os.rmdir(path)
            path = os.path.dirname(path)


def _remove(upload: _Upload) -> None:
    with contextlib.suppress(OSError):
        os.unlink(upload.temporary, dir_fd=upload.directory)


def _mode_of(target: str, path: str, *, new: bool) -> int:
    """The permissions that the file gets: those of the one that it replaces."""
    try:
        found = os.lstat(target).st_mode
    except FileNotFoundError:
        return 0o644
    if new:
        raise os_error(errno.EEXIST, path)
    if stat.S_ISDIR(found):
        raise os_error(errno.EISDIR, path)
    if not stat.S_ISREG(found):
        raise not_regular(path)
    return stat.S_IMODE(found) & 0o777


def _open_for_appending(path: str, mode: int | None) -> int:
    try:
        fd = _append_to(path)
        if not stat.S_ISREG(os.fstat(fd).st_mode) or made_up(fd):
            os.close(fd)
            raise not_regular(path)
    except OSError as error:
        if error.errno != errno.ENXIO:  # a FIFO that nobody reads, or a socket
            raise
        raise not_regular(path) from None
    try:
        if mode is not None:
            os.fchmod(fd, mode)
    except OSError:
        os.close(fd)
        raise
    return fd


def _append_to(path: str) -> int:
    """Without O_CREAT first: with it, fs.protected_regular keeps from files that are there."""
    try:
        return os.open(path, _APPEND)
    except FileNotFoundError:
        make_directories(os.path.dirname(real_path(path)))
        return os.open(path, _APPEND | os.O_CREAT, 0o644)
