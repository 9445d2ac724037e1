"""Directories that outlive no owner: each is locked for as long as somebody who owns it lives."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Scratch", "directory_on_disk", "remove_tree", "sweep"]

_PREFIX = "lunette-"
_MARK = ".lunette-scratch"  # without it, a directory of that name is somebody else's
# FHS 5.15: kept over reboots, and so no file system in memory.
_ON_DISK = Path("/var/tmp")
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Scratch(NamedTuple):
    """A directory below the system's temporary one, and the descriptor that locks it.

    The lock belongs to the open directory, so a process that inherits *fd* shares it: only when the
    last copy is closed, by whatever death, does `sweep` of a later owner take the directory away.
    """

    path: Path
    fd: int

    @classmethod
    def create(cls, *, mode: int = 0o700, on_disk: bool = False) -> Scratch:
        """Make and lock a new directory, for what is too large for memory *on_disk*."""
        parent = directory_on_disk() if on_disk else None
        while True:
            path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            fd = _lock(path)
            if fd is None:  # a sweep was faster than our lock
                continue
            (path / _MARK).touch()
            os.fchmod(fd, mode)
            return cls(path, fd)

    @classmethod
    def adopt(cls, path: Path, fd: int) -> Scratch:
        """Own a directory whose lock was inherited as *fd*."""
        return cls(path, fd)

    def close(self) -> None:
        """Give up this copy of the lock; other owners keep the directory."""
        os.close(self.fd)

    def remove(self) -> None:
        """Remove the directory with all that is in it, and the lock."""
        try:
            remove_tree(self.path)
        finally:
            os.close(self.fd)


def sweep() -> None:
    """Remove what owners that are dead left behind; only directories of this user are looked at."""
    parents = {Path(tempfile.gettempdir()), directory_on_disk()}
    for mark in (mark for parent in parents for mark in parent.glob(f"{_PREFIX}*/{_MARK}")):
        path = mark.parent
        fd = _lock(path)
        if fd is None:
            continue
        with contextlib.suppress(OSError):
            remove_tree(path)
        os.close(fd)


def directory_on_disk() -> Path:
    """The temporary directory; where that is in memory, and nobody chose it, the other one."""
    usual = Path(tempfile.gettempdir())
    if any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")) or not _in_memory(usual):
        return usual
    usable = os.access(_ON_DISK, os.W_OK | os.X_OK) and not _in_memory(_ON_DISK)
    return _ON_DISK if usable else usual


def _in_memory(path: Path) -> bool:
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    kinds = {line.partition(" - ")[2].split()[0] for line in mounts if line.split()[2] == number}
    return bool(kinds & {"tmpfs", "ramfs"})


def _lock(path: Path) -> int | None:
    """Lock *path* if it is a directory of ours that nobody owns."""
    try:
        fd = os.open(path, _DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found, locked = path.lstat(), os.fstat(fd)
    except OSError:
        os.close(fd)
        return None
    if found.st_ino != locked.st_ino or locked.st_uid != os.geteuid():
        os.close(fd)
        return None
    return fd


def remove_tree(path: Path) -> None:
    """Remove a tree that somebody hostile may have shaped, and may still be changing.

    Nothing is followed or changed by its name. However deep the tree is, this needs no recursion
    and two descriptors: directories are moved up to the top before they are emptied. (A recursive
    removal ends in RecursionError at a thousand levels.)
    """
    try:
        top = _open_directory(path)
    except FileNotFoundError:
        return
    try:
        names = (f".{_PREFIX}{n}" for n in itertools.count())
        while entries := _some_entries(top):
            for entry in entries:
                _remove_entry(entry, top=top, names=names)
        # The mark goes last: a removal that fails midway is then done by the next sweep.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_MARK, dir_fd=top)
    finally:
        os.close(top)
    path.rmdir()


def _open_directory(name: str | Path, *, within: int | None = None) -> int:
    """Open a directory, and no link to one, and make it ours to change, whatever its mode was."""
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=within)
    except PermissionError:
        closed = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=within)
        try:
            same = Path(f"/proc/self/fd/{closed}")
            same.chmod(stat.S_IRWXU)
            fd = os.open(same, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        finally:
            os.close(closed)
    os.fchmod(fd, stat.S_IRWXU)
    return fd


def _some_entries(fd: int) -> list[tuple[str, bool]]:
    with os.scandir(fd) as found:
        seen = ((e.name, e.is_dir(follow_symlinks=False)) for e in found)
        # A directory of that name is no mark.
        return list(itertools.islice((e for e in seen if e != (_MARK, False)), 1000))


def _remove_entry(entry: tuple[str, bool], *, top: int, names: Iterator[str]) -> None:
    name, is_directory = entry
    if not is_directory:
        os.unlink(name, dir_fd=top)
        return
    inner = _open_directory(name, within=top)
    try:
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(_MARK, dir_fd=inner)
        while found := _some_entries(inner):
            for child, child_is_directory in found:
                if not child_is_directory:
                    os.unlink(child, dir_fd=inner)
                    continue
                os.close(_open_directory(child, within=inner))  # else it cannot change its parent
                _move_up(child, inner=inner, top=top, names=names)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=top)


def _move_up(child: str, *, inner: int, top: int, names: Iterator[str]) -> None:
    while True:
        try:
            os.rename(child, next(names), src_dir_fd=inner, dst_dir_fd=top)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            continue  # the tree has something of that name
        return
