"""The tree that an image's layers make, one entry after the other.

This runs where `/` is the tree, so that whatever links an image has lead nowhere else; paths are
relative to it. As with Docker a parent may be a link. The last part of a name is never followed.
"""

# pathlib knows no bytes, which names here are.
# ruff: noqa: PTH101, PTH102, PTH106, PTH108, PTH116, PTH118, PTH208, PTH211

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

from lunette._archive._errors import shown
from lunette.server.images._budget import Budget
from lunette.server.images._names import entry_path, parent_of
from lunette.server.images._tar import Archive, Entry
from lunette.server.images.errors import InvalidImageError

__all__ = ["Tree"]

T = TypeVar("T")

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WHITEOUT = b".wh."
_AUFS = b".wh..wh."  # what AUFS keeps for itself at the root; but this one belongs to the format:
_OPAQUE = b".wh..wh..opq"
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_NOWHERE = (b"", b".", b"..")


class Tree:
    """Makes what entries say, within *budget*.

    Files belong to the users and groups that the entries name, which are below *ids*; with None
    they belong to user 0.
    """

    def __init__(self, budget: Budget, ids: int | None) -> None:
        self.size = 0
        self._budget = budget
        self._ids = ids
        self._final: dict[bytes, tuple[int, int | None]] = {}  # directories' modes and times
        # What this layer made, with all parents; None in the first, which hides nothing.
        self._made: set[bytes] | None = None
        self._real_parents: dict[bytes, bytes] = {}
        self._make: dict[bytes, Callable[[bytes, Entry, Archive], None]] = {
            b"0": self._file,
            b"1": self._hard_link,
            b"2": self._symlink,
            b"3": self._device,
            b"4": self._device,
            b"5": self._directory,
            b"6": self._fifo,
        }

    def next_layer(self) -> None:
        """Say that whatever there is now belongs to lower layers."""
        self._made = set()

    def apply(self, entry: Entry, archive: Archive) -> None:
        """Make *entry*, whose data comes next in *archive*."""
        self._budget.enter()
        path = entry_path(entry.name)
        parent, _, name = path.rpartition(b"/")
        if path.startswith(_AUFS) and path != _OPAQUE:
            return
        if name.startswith(_WHITEOUT):
            self._hide(parent, name)
            return
        if entry.kind not in self._make:
            raise InvalidImageError(
                f"the entry {shown(entry.name)} is of the kind {shown(entry.kind)}, which no layer"
                " can have; have the image built again"
            )
        if not path and entry.kind != b"5":
            raise InvalidImageError("its root is no directory; have the image built again")
        if self._made is not None:
            path = self._note(parent, path)
        self._make[entry.kind](path, entry, archive)

    def _note(self, parent: bytes, path: bytes) -> bytes:
        """Remember that this layer made *path*; return it without links in its parents."""
        assert self._made is not None
        real = self._real(parent, path)
        missing = real
        while missing and missing not in self._made:
            self._made.add(missing)
            missing = parent_of(missing)
        return real

    def _real(self, parent: bytes, path: bytes) -> bytes:
        if not parent:
            return path
        found = self._real_parents.get(parent)
        if found is None:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.stat(b"/" + parent)  # the kernel has a bound on links, realpath has none
            found = self._real_parents[parent] = os.path.realpath(b"/" + parent)[1:]
        return os.path.join(found, path[len(parent) + 1 :])

    def _hide(self, parent: bytes, name: bytes) -> None:
        """Remove what lower layers have: of one name, or below a directory that is opaque."""
        hidden = name.removeprefix(_WHITEOUT)
        if hidden in _NOWHERE:
            raise InvalidImageError(
                f"the whiteout {shown(name)} names no file; have the image built again"
            )
        if self._made is None:
            return
        path = self._real(parent, os.path.join(parent, hidden))
        for victim in _children(parent_of(path)) if name == _OPAQUE else [path]:
            self._remove(victim, keep=self._made)

    def _remove(self, path: bytes, *, keep: Collection[bytes] = ()) -> None:
        """Remove *path* and what is below, but what is in *keep*."""
        self._real_parents.clear()
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return
        if not stat.S_ISDIR(found.st_mode):
            self._unlink(path, found, keep)
            return
        directories = [path]
        for directory in directories:  # which grows
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        directories.append(entry.path)
                    else:
                        self._unlink(entry.path, entry.stat(follow_symlinks=False), keep)
        for directory in reversed(directories):
            if directory not in keep:
                os.rmdir(directory)
                self._final.pop(directory, None)

    def _unlink(self, path: bytes, found: os.stat_result, keep: Collection[bytes]) -> None:
        if path in keep:
            return
        os.unlink(path)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            self.size -= found.st_size

    def _place(self, path: bytes, make: Callable[[], T]) -> T:
        """Run *make*, which makes *path*, and again after what was in the way is gone."""
        try:
            return make()
        except FileExistsError:
            self._remove(path)
        except FileNotFoundError:
            self._make_parents(path)
        return make()

    def _make_parents(self, path: bytes) -> None:
        made = b""
        for part in os.path.realpath(b"/" + parent_of(path)).split(b"/")[1:]:
            made = os.path.join(made, part)
            with contextlib.suppress(FileExistsError):
                os.mkdir(made)
                self._budget.enter()

    def _file(self, path: bytes, entry: Entry, archive: Archive) -> None:
        self._budget.claim(entry.size)
        fd = self._place(path, lambda: os.open(path, _CREATE, 0o600))
        try:
            self.size += entry.size
            self._fill(fd, entry, archive)
            if self._ids is not None:
                os.fchown(fd, *self._owner(entry))
            os.fchmod(fd, entry.mode & 0o7777)  # after chown, which takes setuid
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(fd)

    def _fill(self, fd: int, entry: Entry, archive: Archive) -> None:
        if entry.segments is None:
            self._write(fd, archive.pieces(entry.size))
            return
        for offset, size in entry.segments:
            os.lseek(fd, offset, os.SEEK_SET)
            self._write(fd, archive.pieces(size))
        os.ftruncate(fd, entry.size)

    def _write(self, fd: int, pieces: Iterator[memoryview]) -> None:
        for piece in pieces:
            written = os.write(fd, piece)
            while written < len(piece):  # a disk that gets full says so at the next write
                written += os.write(fd, piece[written:])
            self._budget.written(written)

    def _directory(self, path: bytes, entry: Entry, _: Archive) -> None:
        if path:
            self._ensure_directory(path)
        if self._ids is not None:
            os.chown(path or b".", *self._owner(entry), follow_symlinks=False)
        self._final.pop(path, None)  # the last one counts, also if links give it two names
        self._final[path] = (entry.mode & 0o7777, entry.mtime)

    def _ensure_directory(self, path: bytes) -> bool:
        """Return whether it was there."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if stat.S_ISDIR(os.lstat(path).st_mode):
                return True
        self._place(path, lambda: os.mkdir(path, 0o700))
        return False

    def _symlink(self, path: bytes, entry: Entry, _: Archive) -> None:
        self._place(path, lambda: os.symlink(entry.link, path))
        if self._ids is not None:
            os.chown(path, *self._owner(entry), follow_symlinks=False)
        os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)

    def _hard_link(self, path: bytes, entry: Entry, _: Archive) -> None:
        target = entry_path(entry.link)
        if target == path:
            return
        try:
            self._place(path, lambda: os.link(target, path, follow_symlinks=False))
        except FileNotFoundError:
            raise InvalidImageError(
                f"the entry {shown(entry.name)} is a hard link to {shown(entry.link)}, which does"
                " not exist; have the image built again"
            ) from None

    def _fifo(self, path: bytes, entry: Entry, _: Archive) -> None:
        self._place(path, lambda: os.mkfifo(path, 0o600))
        if self._ids is not None:
            os.chown(path, *self._owner(entry), follow_symlinks=False)
        os.chmod(path, entry.mode & 0o7777)
        os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)

    def _device(self, path: bytes, _: Entry, __: Archive) -> None:
        """Make none, as no user namespace may; what it replaces is gone all the same."""
        self._remove(path)

    def _owner(self, entry: Entry) -> tuple[int, int]:
        assert self._ids is not None
        if max(entry.uid, entry.gid) >= self._ids:
            raise InvalidImageError(
                f"the entry {shown(entry.name)} belongs to user {entry.uid} and group {entry.gid},"
                f" and an image has {self._ids:,} of each; have it built with smaller ids"
            )
        return entry.uid, entry.gid

    def require_directory(self, path: bytes, *, mode: int, always: bool = False) -> None:
        """Have *path* be a directory and no link to one; *mode* is for a new one, or for any if
        *always*.
        """
        existed = self._ensure_directory(path)
        if always or not existed:
            self._final[path] = (mode, self._final.get(path, (0, None))[1])

    def require_file(self, path: bytes) -> None:
        """Have *path* be a regular file, an empty one if it is something else or missing."""
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISREG(os.lstat(path).st_mode):
                return
        os.close(self._place(path, lambda: os.open(path, _CREATE, 0o644)))

    def finish(self) -> None:
        """Give the directories their modes and times, which no entry disturbs any more."""
        for path, (mode, mtime) in self._final.items():
            try:
                fd = os.open(path or b".", _OPEN_DIRECTORY)
            except OSError as error:
                if error.errno in _GONE:  # by another name, which a link gave it
                    continue
                raise
            os.fchmod(fd, mode)
            if mtime is not None:
                os.utime(fd, ns=(mtime, mtime))
            os.close(fd)


def _children(directory: bytes) -> list[bytes]:
    try:
        return [os.path.join(directory, name) for name in os.listdir(directory or b".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
