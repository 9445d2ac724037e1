"""Making an archive of a directory."""

# pathlib would change the paths that the caller gave.
# ruff: noqa: PTH118

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Generator, Iterator, Sequence

from lunette._archive._errors import located
from lunette._archive._headers import DIRECTORY, END, FILE, SYMLINK, header, padding
from lunette._archive._rules import Rules
from lunette._archive._trail import Trail

__all__ = ["pack"]

# O_NONBLOCK: a FIFO, which may take the place of a file at any time, must not hold it up.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
_AT_ONCE = 1 << 20
_BLOCK_BYTES = 256 << 10
_VANISHED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
_Found = tuple[bytes, bytes]  # name and kind


def pack(
    root: int,
    rules: Sequence[tuple[str, bool]] = (),
    *,
    path: str = "",
    skipped: Callable[[str], object] | None = None,
) -> Generator[bytes]:
    """Yield a tar archive of what is in the directory *root*, in blocks of at least 64 KiB but the
    last.

    Of *rules*, see `Rules`, the last that matches decides. *skipped* is told the paths of what is
    neither directory, file nor symbolic link. Entries are in the order of their names.

    Raises OSErrors whose file names begin with *path*: PermissionError, and ESTALE where a file
    shrinks while it is read.
    """
    with Trail(root) as trail:
        packer = _Packer(trail, Rules(rules), path, skipped)
        pieces: list[bytes] = []
        size = 0
        for piece in packer.pieces():
            pieces.append(piece)
            size += len(piece)
            if size >= _BLOCK_BYTES:
                yield b"".join(pieces)
                pieces.clear()
                size = 0
        yield b"".join([*pieces, END])


class _Packer:
    def __init__(
        self,
        trail: Trail,
        rules: Rules,
        base: str,
        skipped: Callable[[str], object] | None,
    ) -> None:
        self._trail = trail
        self._rules = rules
        self._base = base
        self._skipped = skipped
        self._prefix = b""  # of the paths of what is in the directory that the trail has come to
        self._levels: list[Iterator[_Found]] = []

    def pieces(self) -> Iterator[bytes]:
        found = os.fstat(self._trail.fd)
        yield header(b"./", DIRECTORY, mode=found.st_mode & 0o777, mtime=found.st_mtime_ns)
        self._levels.append(self._listed())
        while self._levels:
            for name, kind in self._levels[-1]:
                if kind == FILE:
                    yield from self._file(name)
                elif kind == SYMLINK:
                    yield self._symlink(name)
                elif kind != DIRECTORY:
                    self._skip(name)
                elif made := self._enter(name):
                    yield made
                    break
            else:
                self._levels.pop()
                if self._levels:
                    self._leave()

    def _listed(self) -> Iterator[_Found]:
        """Return what is in the directory, and is not ignored, in order."""
        try:
            with os.scandir(self._trail.fd) as entries:
                found = [(os.fsencode(entry.name), _kind_of(entry)) for entry in entries]
        except OSError as error:
            raise located(error, self._base, self._prefix) from None
        if self._rules:
            found = [each for each in found if not self._is_ignored(*each)]
        found.sort()
        return iter(found)

    def _is_ignored(self, name: bytes, kind: bytes) -> bool:
        path = self._prefix + name + (b"/" if kind == DIRECTORY else b"")
        return self._rules.ignore(path.decode("utf-8", "surrogateescape"))

    def _enter(self, name: bytes) -> bytes | None:
        """Go into a directory, unless it is none any more, and return its header."""
        try:
            found = self._trail.down(name)
        except OSError as error:
            self._heed(error, name)
            return None
        self._prefix += name + b"/"
        self._levels.append(self._listed())
        return header(
            self._prefix,
            DIRECTORY,
            mode=found.st_mode & 0o777,
            mtime=found.st_mtime_ns,
        )

    def _leave(self) -> None:
        gone = self._trail.names[-1]
        try:
            self._trail.up()
        except OSError as error:
            raise located(error, self._base, self._prefix) from None
        self._prefix = self._prefix[: -len(gone) - 1]

    def _heed(self, error: OSError, name: bytes) -> None:
        """Raise *error*, unless it only says that *name* vanished, or became something else."""
        if error.errno not in _VANISHED:
            raise located(error, self._base, self._prefix + name) from None

    def _skip(self, name: bytes) -> None:
        if self._skipped is not None:
            self._skipped(os.path.join(self._base, os.fsdecode(self._prefix + name)))

    def _symlink(self, name: bytes) -> bytes:
        try:
            link = os.readlink(name, dir_fd=self._trail.fd)
            found = os.stat(name, dir_fd=self._trail.fd, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.EINVAL:  # it is no link any more
                self._heed(error, name)
            return b""
        path = self._prefix + name
        return header(path, SYMLINK, mode=0o777, mtime=found.st_mtime_ns, link=link)

    def _file(self, name: bytes) -> Iterator[bytes]:
        try:
            fd = os.open(name, _READ, dir_fd=self._trail.fd)
        except OSError as error:
            self._heed(error, name)
            return
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                self._skip(name)
                return
            yield from self._content(fd, found, self._prefix + name)
        finally:
            os.close(fd)

    def _content(self, fd: int, found: os.stat_result, path: bytes) -> Iterator[bytes]:
        size, mode = found.st_size, found.st_mode & 0o777
        data = b""
        if size <= _AT_ONCE:
            data = self._read_whole(fd, size, path)
            size = len(data)
        yield header(path, FILE, mode=mode, mtime=found.st_mtime_ns, size=size)
        yield data
        if size > _AT_ONCE:
            yield from self._stream(fd, size, path)
        yield padding(size)

    def _read_whole(self, fd: int, size: int, path: bytes) -> bytes:
        """Read what there is, at most *size* bytes."""
        try:
            data = os.read(fd, size) if size else b""
            while len(data) < size and (more := os.read(fd, size - len(data))):
                data += more
        except OSError as error:
            raise located(error, self._base, path) from None
        return data

    def _stream(self, fd: int, size: int, path: bytes) -> Iterator[bytes]:
        while size:
            try:
                data = os.read(fd, min(size, _BLOCK_BYTES))
                if not data:
                    raise OSError(errno.ESTALE, "changed while it was read")
            except OSError as error:
                raise located(error, self._base, path) from None
            size -= len(data)
            yield data


def _kind_of(entry: os.DirEntry[str]) -> bytes:
    if entry.is_symlink():
        return SYMLINK
    if entry.is_dir(follow_symlinks=False):
        return DIRECTORY
    return FILE if entry.is_file(follow_symlinks=False) else b""
