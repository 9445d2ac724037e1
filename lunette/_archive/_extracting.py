"""Unpacking an archive, as it comes, into a directory that was empty."""

# pathlib would change the paths that the caller gave.
# ruff: noqa: PTH118

from __future__ import annotations

import contextlib
import errno
import os
import stat
from types import TracebackType
from typing import NamedTuple

from lunette._archive._errors import ArchiveError, located, shown
from lunette._archive._links import stays_inside
from lunette._archive._parsing import Entry, Parser
from lunette._archive._trail import Trail, unlock

__all__ = ["Extractor"]

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE = 0o777  # nothing is setuid
_OURS = 0o700
_IN_THE_WAY = (errno.ELOOP, errno.ENOTDIR)
_NAMES_KEPT = 10
_NONE = -1


class _Final(NamedTuple):
    """What a directory gets when it is left: it may be none that can be written to."""

    mode: int
    mtime: int


class Extractor:
    """Unpacks into the directory *root*, which was made empty for it and stays the caller's.

    No link is followed, and nothing gets a name out of it. With *safe_links* symbolic links that
    lead out of the tree are left out: `left_out` counts them, and `names_left_out` has the first
    few. Hard links are refused unless *hard_links* are allowed. Nothing has the permissions of
    *umask*.

    Raises ArchiveErrors, and OSErrors whose file names begin with *path*. Close it on every way
    out; what it made is left then.
    """

    def __init__(
        self,
        root: int,
        *,
        safe_links: bool,
        hard_links: bool = False,
        umask: int = 0,
        path: str = "",
    ) -> None:
        self.left_out = 0
        self.names_left_out: list[str] = []
        self._base = path
        self._safe_links = safe_links
        self._hard_links = hard_links
        self._mode = _MODE & ~umask
        self._parser = Parser(self)
        self._root = root
        self._trail = Trail(root)
        found = os.fstat(root)
        self._finals = [_Final(stat.S_IMODE(found.st_mode), found.st_mtime_ns)]
        self._path = b""
        self._parent: bytes | None = b""  # of names that are in the directory of the trail
        self._fd = _NONE  # of the file that is being written
        self._final = self._finals[0]  # of it

    def __enter__(self) -> Extractor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the archive, cut up as they may be."""
        try:
            self._parser.feed(data)
        except OSError as error:
            raise located(error, self._base, self._path) from None

    def finish(self) -> None:
        """Give the last directories their modes and times; raise if the archive is cut off."""
        if not self._parser.complete:
            raise ArchiveError("the archive is cut off")
        try:
            self._leave(0)
            self._finish_directory()
        except OSError as error:
            raise located(error, self._base, self._trail.path()) from None

    def close(self) -> None:
        """Give back what it has open. Idempotent."""
        self._trail.close()
        if self._fd != _NONE:
            os.close(self._fd)
            self._fd = _NONE

    # What the parser calls.

    def begin(self, entry: Entry) -> None:
        """Make *entry*, but for its data."""
        name = self._place(entry.name)
        if entry.kind == b"0":
            if not name:
                raise _refused(entry.name, "is its root, and no directory")
            self._fd = self._make_file(name)
            self._final = _Final(entry.mode & self._mode, entry.mtime)
        elif entry.kind == b"5":
            self._directory(name, entry)
        elif entry.kind == b"2" and name:
            self._symlink(name, entry)
        elif entry.kind == b"1" and name:
            self._hard_link(name, entry)
        else:
            raise _refused(entry.name, f"is of the kind {shown(entry.kind)}")

    def write(self, data: memoryview) -> None:
        """Write what comes next of the file, if it is one."""
        if self._fd == _NONE:
            return
        written = os.write(self._fd, data)
        while written < len(data):  # a disk that gets full says so at the next write
            written += os.write(self._fd, data[written:])

    def end(self) -> None:
        """Have the file, if it is one, whole."""
        fd = self._fd
        if fd == _NONE:
            return
        mode, mtime = self._final
        os.fchmod(fd, mode)
        os.utime(fd, ns=(mtime, mtime))
        self._fd = _NONE
        os.close(fd)

    def _place(self, name: bytes) -> bytes:
        """Go to the directory of *name*, and return the rest of it; nothing for the root."""
        parent, _, last = name.rpartition(b"/")
        if parent == self._parent and last not in (b"", b".", b"..") and b"\0" not in last:
            self._path = name
            return last
        parts = _parts(name)
        self._path = b"/".join(parts)
        self._parent = None
        self._go(parts[:-1], name)
        if not parts:
            return b""
        self._parent = parent if last == parts[-1] else None
        return parts[-1]

    def _go(self, directory: list[bytes], name: bytes) -> None:
        names = self._trail.names
        common = 0
        for known, wanted in zip(names, directory, strict=False):
            if known != wanted:
                break
            common += 1
        self._leave(common)
        for part in directory[common:]:
            try:
                self._enter(part)
            except OSError as error:
                if error.errno not in _IN_THE_WAY:
                    raise
                raise _refused(name, "is in something that is no directory") from None

    def _enter(self, name: bytes) -> None:
        try:
            found = self._trail.down(name)
        except FileNotFoundError:
            os.mkdir(name, dir_fd=self._trail.fd)
            found = self._trail.down(name)
        except PermissionError:
            found = unlock(name, self._trail.fd)  # it was left, and has its mode already
            self._trail.down(name)
        self._finals.append(_Final(stat.S_IMODE(found.st_mode), found.st_mtime_ns))
        if found.st_mode & _OURS != _OURS:
            os.fchmod(self._trail.fd, found.st_mode & _MODE | _OURS)

    def _leave(self, depth: int) -> None:
        """Go up until *depth*."""
        while len(self._finals) > depth + 1:
            self._finish_directory()
            self._trail.up()
            self._finals.pop()

    def _finish_directory(self) -> None:
        mode, mtime = self._finals[-1]
        os.fchmod(self._trail.fd, mode)
        os.utime(self._trail.fd, ns=(mtime, mtime))

    def _make_file(self, name: bytes) -> int:
        try:
            return os.open(name, _CREATE, 0o600, dir_fd=self._trail.fd)
        except FileExistsError:
            self._clear(name)
        return os.open(name, _CREATE, 0o600, dir_fd=self._trail.fd)

    def _clear(self, name: bytes) -> None:
        """Remove what an earlier entry made under this name: the last one counts."""
        if stat.S_ISDIR(self._lstat(name).st_mode):
            raise _refused(self._path, "is of the same name as a directory")
        os.unlink(name, dir_fd=self._trail.fd)

    def _lstat(self, name: bytes) -> os.stat_result:
        return os.stat(name, dir_fd=self._trail.fd, follow_symlinks=False)

    def _directory(self, name: bytes, entry: Entry) -> None:
        """Make a directory, and go into it."""
        if name:
            try:
                os.mkdir(name, _OURS, dir_fd=self._trail.fd)
            except FileExistsError:
                self._want_directory(name)
            self._enter(name)
            self._parent = None
        self._finals[-1] = _Final(entry.mode & self._mode, entry.mtime)

    def _want_directory(self, name: bytes) -> None:
        if not stat.S_ISDIR(self._lstat(name).st_mode):
            os.unlink(name, dir_fd=self._trail.fd)
            os.mkdir(name, _OURS, dir_fd=self._trail.fd)

    def _symlink(self, name: bytes, entry: Entry) -> None:
        link = entry.link
        if not link or b"\0" in link:
            raise _refused(entry.name, f"is a link to {shown(link)}")
        if self._safe_links and not stays_inside(link, len(self._trail.names)):
            self._leave_out(name)
            return
        try:
            os.symlink(link, name, dir_fd=self._trail.fd)
        except FileExistsError:
            self._clear(name)
            os.symlink(link, name, dir_fd=self._trail.fd)
        times = (entry.mtime, entry.mtime)
        os.utime(name, ns=times, dir_fd=self._trail.fd, follow_symlinks=False)

    def _leave_out(self, name: bytes) -> None:
        """Count a link that is not made; what had its name before is gone all the same."""
        self.left_out += 1
        if len(self.names_left_out) < _NAMES_KEPT:
            self.names_left_out.append(os.path.join(self._base, os.fsdecode(self._path)))
        with contextlib.suppress(FileNotFoundError):
            self._clear(name)

    def _hard_link(self, name: bytes, entry: Entry) -> None:
        if not self._hard_links:
            raise _refused(entry.name, "is a hard link")
        *parents, target = _parts(entry.link) or [b""]
        if not target:
            raise _refused(entry.name, "is a hard link to a directory")
        try:
            self._link(parents, target, name)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EISDIR, *_IN_THE_WAY):
                raise
            why = f"is a hard link to {shown(entry.link)}, which is no file that came before"
            raise _refused(entry.name, why) from None

    def _link(self, parents: list[bytes], target: bytes, name: bytes) -> None:
        with Trail(self._root) as trail:
            for parent in parents:
                trail.down(parent)
            found = os.stat(target, dir_fd=trail.fd, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            with contextlib.suppress(FileNotFoundError):
                there = self._lstat(name)
                if (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino):
                    return
                self._clear(name)
            os.link(
                target,
                name,
                src_dir_fd=trail.fd,
                dst_dir_fd=self._trail.fd,
                follow_symlinks=False,
            )


def _parts(name: bytes) -> list[bytes]:
    """Split *name*; nothing is left of the root."""
    if not name:
        raise ArchiveError("the archive has an entry without a name")
    if name.startswith(b"/"):
        raise _refused(name, "has an absolute name")
    if b"\0" in name:
        raise _refused(name, "has a zero byte in its name")
    parts = [part for part in name.split(b"/") if part and part != b"."]
    if b".." in parts:
        raise _refused(name, 'has ".." in its name')
    return parts


def _refused(name: bytes, why: str) -> ArchiveError:
    return ArchiveError(f"the entry {shown(name)} of the archive {why}")
