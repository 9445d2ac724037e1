"""Directories of this machine, packed and unpacked; all of it waits for the disk."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from .._digest import Sha256
from ..errors import NotSupportedError

if TYPE_CHECKING:
    from .._archive import Extractor

__all__ = ["TreeSource", "TreeTarget", "is_directory"]

_NAMES_SHOWN = 10
# Of a name, so that with what is put around it, it can be one still.
_NAME_BYTES = 200


def is_directory(path: str | os.PathLike[str]) -> bool:
    """Whether *path* is that of a directory, or of a link to one."""
    return os.path.isdir(path)  # noqa: PTH112 - what can be no path is none


def _check_system() -> None:
    if os.open not in os.supports_dir_fd or os.scandir not in os.supports_fd:
        raise NotSupportedError(
            "directories cannot be copied safely on this system, which has no paths relative to an"
            " open directory: copy their files one by one"
        )


class TreeSource(Iterator[bytes]):
    """The archive of what is in the directory *path*; `skipped` names some of what is not in it."""

    def __init__(self, path: str, rules: Sequence[tuple[str, bool]]) -> None:
        _check_system()
        from .._archive import pack

        self._skipped: list[str] = []
        self._count = 0
        self._lock = threading.Lock()  # a thread may still be taking from it when it is closed
        self._is_closed = False
        self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._blocks = pack(self._root, rules, path=path, skipped=self._skip)

    @property
    def skipped(self) -> str:
        return _some(self._skipped, self._count)

    def __next__(self) -> bytes:
        try:
            with self._lock:
                if self._is_closed:
                    raise StopIteration
                return next(self._blocks)
        finally:
            if self._is_closed:
                self.close()

    def close(self) -> None:
        """Give back what it has open, or let the thread that is at it do so. Idempotent."""
        self._is_closed = True
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._blocks.close()
            if self._root >= 0:
                os.close(self._root)
            self._root = -1
        finally:
            self._lock.release()

    def _skip(self, path: str) -> None:
        self._count += 1
        if self._count <= _NAMES_SHOWN:
            self._skipped.append(path)


class TreeTarget:
    """The directory *path*, which gets what an archive has: at the end, or not at all."""

    def __init__(self, path: str) -> None:
        self.digest = Sha256()
        self._path = path
        self._where = Path(path)
        self._made: list[Path] = []
        self._parent = self._root = -1
        self._part = self._name = ""
        self._extractor: Extractor | None = None
        self._left_out = ""
        # Cancelled, a thread may still be at it.
        self._lock = threading.Lock()
        self._is_over = False

    @property
    def left_out(self) -> str:
        """Some of the links that lead out of it; empty if there are none."""
        return self._left_out

    def check(self) -> None:
        """Raise what can be known to stand in the way."""
        _check_system()
        path = self._where
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._path)
        parent = next(each for each in (path, *path.absolute().parents) if each.exists())
        if not parent.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(parent))
        if not os.access(parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(parent))

    def unpack(self, data: bytes) -> None:
        """Unpack what comes next."""
        with self._lock:
            self._check_not_over()
            self._opened().feed(data)
            self.digest.see(self.digest.size, data)

    def place(self) -> None:
        """Let it be seen."""
        from .._archive import place

        with self._lock:
            self._check_not_over()
            extractor = self._opened()
            extractor.finish()
            self._left_out = _some(extractor.names_left_out, extractor.left_out)
            place(self._parent, self._part, self._name, path=self._path)
            self._made.clear()

    def discard(self) -> None:
        """Leave nothing of what was not placed. Idempotent."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
            self._clean_up()

    def _check_not_over(self) -> None:
        if self._is_over:
            raise ValueError("the download was given up")

    def _opened(self) -> Extractor:
        if self._extractor is None:
            from .._archive import Extractor

            self._stage()
            umask = 0o777 & ~os.fstat(self._root).st_mode  # since it was made with all permissions
            self._extractor = Extractor(self._root, safe_links=True, umask=umask, path=self._path)
            os.fchmod(self._root, 0o700)  # until all is there
        return self._extractor

    def _stage(self) -> None:
        """Make a directory on the file system of the target: in it, where it is there already."""
        where = self._where.resolve()  # a symbolic link stays one
        directory = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        if where.is_dir():
            self._name = "."
        else:
            self._make_parents(where)
            self._name = where.name
        parent = where if self._name == "." else where.parent
        self._parent = os.open(parent, directory)
        part = _part_name(where.name)
        os.mkdir(part, dir_fd=self._parent)
        self._part = part
        self._root = os.open(part, directory | os.O_NOFOLLOW, dir_fd=self._parent)

    def _make_parents(self, where: Path) -> None:
        for directory in reversed([each for each in where.parents if not each.exists()]):
            with suppress(FileExistsError):  # by now
                directory.mkdir()
                self._made.insert(0, directory)

    def _clean_up(self) -> None:
        from .._archive import remove

        if self._extractor is not None:
            self._extractor.close()
        if self._part:
            with suppress(OSError):
                remove(self._parent, self._part)
        for fd in (self._root, self._parent):
            if fd >= 0:
                os.close(fd)
        with suppress(OSError):  # somebody else uses it
            for directory in self._made:
                directory.rmdir()


def _part_name(name: str) -> str:
    short = os.fsdecode(os.fsencode(name)[:_NAME_BYTES])
    return f".{short}.{uuid4().hex[:8]}.part"


def _some(names: Sequence[str], count: int) -> str:
    """Count things and name some of them; say nothing of none."""
    if not count:
        return ""
    more = count - len(names)
    end = f", and {more:,} more" if more else ""
    return f"({count:,}): {', '.join(map(repr, names))}{end}"
