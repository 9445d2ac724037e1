"""Giving a directory that is whole its place, and removing one that is not wanted."""

# pathlib knows no descriptors.
# ruff: noqa: PTH208

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator

from lunette._archive._errors import located
from lunette._archive._trail import OPEN_DIRECTORY, Trail, unlock

__all__ = ["place", "remove"]

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OURS = 0o700
_BLOCK_BYTES = 1 << 20
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


def place(parent: int, staged: str, target: str, *, path: str = "") -> None:
    """Have what is in the directory *staged* be in *target*, both in the directory *parent*.

    Where there is no *target* it is renamed. Else it is merged: files and links are replaced, each
    at once, directories keep their own modes, and what *staged* does not have stays. That none of
    them is in the place of the other is checked before anything is moved.

    Raises OSErrors whose file names begin with *path*, that of *target*: IsADirectoryError,
    NotADirectoryError, which a link in the place of a directory is too, and PermissionError.
    Whatever happens *staged* is the caller's to remove, where it still is.
    """
    try:
        os.stat(target, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        try:
            os.rename(staged, target, src_dir_fd=parent, dst_dir_fd=parent)
        except OSError as error:
            if error.errno not in _TAKEN:  # meanwhile
                raise located(error, path, b"") from None
        else:
            return
    with contextlib.ExitStack() as stack:
        source = _open(stack, parent, staged, path)
        into = _open(stack, parent, target, path)
        for move in (False, True):
            with Trail(source) as here, Trail(into) as there:
                _Merge(here, there, path, move=move).run()


def _open(stack: contextlib.ExitStack, parent: int, name: str, path: str) -> int:
    try:
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=parent)
    except OSError as error:
        raise located(_no_directory(error), path, b"") from None
    stack.callback(os.close, fd)
    return fd


def _no_directory(error: OSError) -> OSError:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return error


class _Merge:
    """Moves what is in the directory *here* to *there*, or with *move* False only looks at it."""

    def __init__(self, here: Trail, there: Trail, base: str, *, move: bool) -> None:
        self._here = here
        self._there = there
        self._base = base
        self._move = move
        self._levels: list[Iterator[str]] = []
        self._finals: list[os.stat_result | None] = [None]  # of directories made here

    def run(self) -> None:
        name = ""
        try:
            self._levels.append(self._listed())
            while self._levels:
                for name in self._levels[-1]:
                    if self._merge(name):
                        self._levels.append(self._listed())
                        break
                else:
                    name = ""
                    self._levels.pop()
                    if self._levels:
                        self._leave()
        except OSError as error:
            raise located(error, self._base, self._there.path(os.fsencode(name))) from None

    def _listed(self) -> Iterator[str]:
        if self._move:
            os.fchmod(self._here.fd, _OURS)  # it is to be emptied, whatever mode it came with
        return iter(sorted(os.listdir(self._here.fd)))

    def _merge(self, name: str) -> bool:
        """Move *name*; if that is a directory in both, go into it and return True."""
        is_directory = stat.S_ISDIR(_look(self._here, name).st_mode)
        try:
            found = _look(self._there, name)
        except FileNotFoundError:
            return self._move and self._rename(name, is_directory=is_directory)
        if is_directory != stat.S_ISDIR(found.st_mode):
            code = errno.ENOTDIR if is_directory else errno.EISDIR
            raise OSError(code, os.strerror(code))
        if is_directory:
            self._enter(name)
            return True
        return self._move and self._rename(name, is_directory=False)

    def _enter(self, name: str) -> None:
        encoded = os.fsencode(name)
        try:
            self._here.down(encoded)
        except PermissionError:
            unlock(encoded, self._here.fd)
            self._here.down(encoded)
        try:
            self._there.down(encoded)
        except OSError as error:
            raise _no_directory(error) from None
        self._finals.append(None)

    def _leave(self) -> None:
        if final := self._finals.pop():
            _give(self._there.fd, final)
        self._here.up()
        self._there.up()

    def _rename(self, name: str, *, is_directory: bool) -> bool:
        """Move *name* by a rename, or what does the same; True if a directory was gone into."""
        try:
            self._rename_here(name)
        except PermissionError:
            if not is_directory:
                raise
            self._rename_locked(name)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return self._copy(name, is_directory=is_directory)
        return False

    def _rename_here(self, name: str) -> None:
        os.rename(name, name, src_dir_fd=self._here.fd, dst_dir_fd=self._there.fd)

    def _rename_locked(self, name: str) -> None:
        """Move a directory that its owner may not write to, which a move does to its `..`."""
        found = unlock(os.fsencode(name), self._here.fd)
        self._rename_here(name)
        fd = os.open(name, OPEN_DIRECTORY, dir_fd=self._there.fd)
        try:
            os.fchmod(fd, stat.S_IMODE(found.st_mode))
        finally:
            os.close(fd)

    def _copy(self, name: str, *, is_directory: bool) -> bool:
        """Do as a rename, to another file system: a directory of the target may be its root."""
        found = _look(self._here, name)
        if is_directory:
            os.mkdir(name, _OURS, dir_fd=self._there.fd)
            self._enter(name)
            self._finals[-1] = found
            return True
        part = f".lunette-{secrets.token_hex(8)}.part"
        try:
            if stat.S_ISLNK(found.st_mode):
                self._copy_link(name, part, found)
            else:
                self._copy_file(name, part, found)
            os.rename(part, name, src_dir_fd=self._there.fd, dst_dir_fd=self._there.fd)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part, dir_fd=self._there.fd)
            raise
        os.unlink(name, dir_fd=self._here.fd)
        return False

    def _copy_link(self, name: str, part: str, found: os.stat_result) -> None:
        os.symlink(os.readlink(name, dir_fd=self._here.fd), part, dir_fd=self._there.fd)
        times = (found.st_mtime_ns, found.st_mtime_ns)
        os.utime(part, ns=times, dir_fd=self._there.fd, follow_symlinks=False)

    def _copy_file(self, name: str, part: str, found: os.stat_result) -> None:
        with contextlib.ExitStack() as stack:
            source = os.open(name, _READ, dir_fd=self._here.fd)
            stack.callback(os.close, source)
            into = os.open(part, _CREATE, 0o600, dir_fd=self._there.fd)
            stack.callback(os.close, into)
            while data := os.read(source, _BLOCK_BYTES):
                _write(into, data)
            _give(into, found)


def _look(trail: Trail, name: str) -> os.stat_result:
    return os.stat(name, dir_fd=trail.fd, follow_symlinks=False)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _give(fd: int, found: os.stat_result) -> None:
    os.fchmod(fd, stat.S_IMODE(found.st_mode))
    os.utime(fd, ns=(found.st_mtime_ns, found.st_mtime_ns))


def remove(parent: int, name: str) -> None:
    """Remove the directory *name* in *parent*, if it is there, with all in it, whatever its modes.

    Raises OSErrors. No link is followed.
    """
    encoded = os.fsencode(name)
    try:
        with Trail(parent, endless=True) as trail:
            _enter_for_removal(trail, encoded)
            _empty(trail)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        os.unlink(name, dir_fd=parent)


def _empty(trail: Trail) -> None:
    """Remove the directory that *trail* is in, and all below."""
    levels = [os.listdir(trail.fd)]
    while levels:
        if not levels[-1]:
            levels.pop()
            name = trail.names[-1]
            trail.up()
            os.rmdir(name, dir_fd=trail.fd)
            continue
        encoded = os.fsencode(levels[-1].pop())
        if _unlink(encoded, trail.fd):
            continue
        _enter_for_removal(trail, encoded)
        levels.append(os.listdir(trail.fd))


def _unlink(name: bytes, directory: int) -> bool:
    """Remove *name*, and return False if it is a directory."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise
        return False
    return True


def _enter_for_removal(trail: Trail, name: bytes) -> None:
    try:
        found = trail.down(name)
    except PermissionError:
        unlock(name, trail.fd)
        found = trail.down(name)
    if found.st_mode & _OURS != _OURS:
        os.fchmod(trail.fd, found.st_mode & 0o777 | _OURS)
