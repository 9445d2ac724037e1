"""Copying to another file system what is to be moved there, with all that a rename would keep."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from lunette._archive._trail import Trail

__all__ = ["copy"]

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK = 1 << 20


def copy(source: int, name: bytes, target: int, copied: bytes) -> None:
    """Copy *name* in the directory *source* as *copied*, which is new, in the directory *target*;
    no link is followed.
    """
    with Trail(source) as here, Trail(target) as there:
        finals: list[tuple[os.stat_result, Iterator[bytes]]] = []
        _copy_one(here, there, name, copied, finals)
        while finals:
            found, names = finals[-1]
            for inner in names:
                if _copy_one(here, there, inner, inner, finals):
                    break
            else:
                _give(there.fd, found)
                finals.pop()
                here.up()
                there.up()


def _copy_one(
    here: Trail,
    there: Trail,
    name: bytes,
    copied: bytes,
    finals: list[tuple[os.stat_result, Iterator[bytes]]],
) -> bool:
    """Copy *name*; make a directory, go into it, and return True."""
    found = os.stat(name, dir_fd=here.fd, follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode):
        os.mkdir(copied, 0o700, dir_fd=there.fd)
        there.down(copied)
        found = here.down(name)
        finals.append((found, iter([os.fsencode(inner) for inner in os.listdir(here.fd)])))
        return True
    if stat.S_ISREG(found.st_mode):
        _copy_file(here.fd, name, there.fd, copied)
        return False
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(name, dir_fd=here.fd), copied, dir_fd=there.fd)
    else:
        kind = stat.S_IFMT(found.st_mode) | 0o600
        os.mknod(copied, kind, found.st_rdev, dir_fd=there.fd)
    _give_by_name(there.fd, copied, found)
    return False


def _copy_file(source: int, name: bytes, target: int, copied: bytes) -> None:
    with contextlib.ExitStack() as stack:
        reading = os.open(name, _READ, dir_fd=source)
        stack.callback(os.close, reading)
        found = os.fstat(reading)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.ESTALE, "changed while it was read")
        writing = os.open(copied, _CREATE, 0o600, dir_fd=target)
        stack.callback(os.close, writing)
        for start, stop in _extents(reading, found.st_size):
            _copy_bytes(reading, writing, start, stop)
        os.ftruncate(writing, found.st_size)
        _give(writing, found)


def _extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield where a file has data: holes stay holes."""
    stop = 0
    while stop < size:
        try:
            start = os.lseek(fd, stop, os.SEEK_DATA)
            stop = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nothing but a hole is left
                raise
            return
        yield start, stop


def _copy_bytes(reading: int, writing: int, start: int, stop: int) -> None:
    while start < stop and (data := os.pread(reading, min(_BLOCK, stop - start), start)):
        done = 0
        while done < len(data):
            done += os.pwrite(writing, memoryview(data)[done:], start + done)
        start += len(data)


def _give(fd: int, found: os.stat_result) -> None:
    """Give an open file its owner, where that can be, its permissions and its times."""
    mode = stat.S_IMODE(found.st_mode)
    try:
        os.fchown(fd, found.st_uid, found.st_gid)
    except OSError:
        mode &= 0o1777  # it is another's now
    os.fchmod(fd, mode)
    os.utime(fd, ns=(found.st_atime_ns, found.st_mtime_ns))


def _give_by_name(directory: int, name: bytes, found: os.stat_result) -> None:
    """As `_give`, for what cannot be opened."""
    with contextlib.suppress(OSError):
        os.chown(name, found.st_uid, found.st_gid, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(name, stat.S_IMODE(found.st_mode) & 0o777, dir_fd=directory)
    times = (found.st_atime_ns, found.st_mtime_ns)
    os.utime(name, ns=times, dir_fd=directory, follow_symlinks=False)
