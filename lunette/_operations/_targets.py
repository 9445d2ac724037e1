"""What a file of a sandbox is written to: a path, which gets it whole or not at all, or a file."""

from __future__ import annotations

import errno
import io as streams
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias
from uuid import uuid4

from .._digest import Digest, Xxh3

__all__ = ["BinaryWriter", "LocalTarget", "Target", "is_named_as_directory", "target_of"]

_READ = 256 * 1024
# Of a name, so that with what is put around it, it can be one still.
_NAME_BYTES = 200
_CHANGES_OPEN = os.chmod in os.supports_fd


class BinaryWriter(Protocol):
    """A file that was opened in binary mode, as far as it is needed."""

    def write(self, data: bytes, /) -> object: ...


LocalTarget: TypeAlias = str | os.PathLike[str] | BinaryWriter


class Target(ABC):
    """Where a download goes; its methods wait for the disk. End it by `place` or `discard`."""

    name: str

    @abstractmethod
    def write(self, chunk: bytes) -> None:
        """Write what comes next."""

    @abstractmethod
    def begin_again(self) -> None:
        """Forget what was written; raise an OSError where that cannot be."""

    @abstractmethod
    def digest(self) -> Digest:
        """Return that of what was written."""

    @abstractmethod
    def place(self) -> None:
        """Let it be seen."""

    @abstractmethod
    def discard(self) -> None:
        """Leave nothing of it, if it was not placed."""


class PathTarget(Target):
    """A file that is written beside *path*, with the directories that are missing."""

    def __init__(self, path: Path, mode: int | None) -> None:
        self.name = str(path)
        self._path = path.resolve()  # a symbolic link stays one
        self._mode = mode
        self._made: list[Path] = []
        self._part: Path | None = None
        self._file: BinaryIO | None = None
        # Cancelled, a thread may still be at it.
        self._lock = threading.Lock()
        self._is_over = False

    def write(self, chunk: bytes) -> None:
        with self._working() as file:
            file.write(chunk)

    def begin_again(self) -> None:
        with self._working() as file:
            file.seek(0)
            file.truncate()

    def digest(self) -> Digest:
        digest = Xxh3()
        with self._working() as file:
            file.seek(0)
            while chunk := file.read(_READ):
                digest.see(digest.size, chunk)
        return digest

    def place(self) -> None:
        with self._working() as file:
            assert self._part is not None
            file.flush()  # to write may take permissions away
            if self._mode is not None:
                where = file.fileno() if _CHANGES_OPEN else self._part
                os.chmod(where, self._mode)  # noqa: PTH101 - not by its name, where that can be
            file.close()
            self._part.replace(self._path)
            self._is_over = True

    def discard(self) -> None:
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
            with suppress(OSError):  # what is written only now, on a full disk
                if self._file is not None:
                    self._file.close()
            if self._part is not None:
                self._part.unlink(missing_ok=True)
            with suppress(OSError):  # somebody else uses it
                for directory in self._made:
                    directory.rmdir()

    @contextmanager
    def _working(self) -> Generator[BinaryIO]:
        with self._lock, _naming(self.name):
            if self._is_over:
                raise ValueError("the download was given up")
            if self._file is None:
                self._file = self._opened()
            yield self._file

    def _opened(self) -> BinaryIO:
        self._make_parents()
        with suppress(FileNotFoundError):
            found = self._path.stat().st_mode & 0o777  # what comes is not to be setuid
            self._mode = found if self._mode is None else self._mode
        self._part = self._path.with_name(_part_name(self._path.name))
        # What nobody else may read must not be theirs to read meanwhile.
        permissions = 0o666 if self._mode is None else 0o600
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        return os.fdopen(os.open(self._part, flags, permissions), "w+b")

    def _make_parents(self) -> None:
        missing = [self._path.parent, *self._path.parent.parents]
        for directory in reversed([parent for parent in missing if not parent.exists()]):
            with suppress(FileExistsError):  # by now
                directory.mkdir()
                self._made.insert(0, directory)


class FileTarget(Target):
    """An open *file*, from where it is."""

    def __init__(self, file: Any, name: str, *, closes: bool = False) -> None:
        self.name = name
        self._file = file
        self._closes = closes
        self._start = _place(file)
        self._digest = Xxh3()

    def write(self, chunk: bytes) -> None:
        with _naming(self.name):
            if isinstance(self._file, streams.RawIOBase):
                _write_all(self._file, chunk)
            else:
                self._file.write(chunk)
        self._digest.see(self._digest.size, chunk)

    def begin_again(self) -> None:
        changed = OSError(errno.ESTALE, "the file in the sandbox changed meanwhile", self.name)
        if self._start is None:
            raise changed
        try:
            self._file.seek(self._start)
            self._file.truncate()
        except OSError as error:
            raise changed from error
        self._digest = Xxh3()

    def digest(self) -> Digest:
        return self._digest

    def place(self) -> None:
        with _naming(self.name):
            if self._closes:
                self._file.close()
            elif hasattr(self._file, "flush"):
                self._file.flush()

    def discard(self) -> None:
        if self._closes:
            with suppress(OSError):
                self._file.close()


def target_of(target: LocalTarget, remote_path: str, mode: int | None) -> Target:
    """Return where to write, if that can be written to; a str is always a path."""
    if not isinstance(target, str | os.PathLike):
        return _target_of_file(target, mode)
    path = Path(target)
    if is_named_as_directory(target) or path.is_dir():
        mend = path / Path(remote_path).name
        raise IsADirectoryError(errno.EISDIR, f"Is a directory, write {str(mend)!r}", str(path))
    if path.exists() and not path.is_file():  # such as /dev/stdout, which stays what it is
        return FileTarget(path.open("wb"), str(path), closes=True)
    _check_parent(path)
    return PathTarget(path, mode)


def is_named_as_directory(path: str | os.PathLike[str]) -> bool:
    """Whether *path* ends as only that of a directory does."""
    return os.fspath(path).endswith(("/", os.sep))


def _target_of_file(file: Any, mode: int | None) -> Target:
    name = str(getattr(file, "name", "a file"))
    if not hasattr(file, "write"):
        kind = type(file).__name__
        raise TypeError(f"a download goes to a path or into a binary file, not into {kind}")
    if isinstance(file, streams.TextIOBase) or hasattr(file, "encoding"):
        raise TypeError(f"{name} must be opened in binary mode, such as by open(path, 'wb')")
    if hasattr(file, "writable") and not file.writable():
        raise ValueError(f"{name} is not open for writing")
    if mode is not None:
        raise ValueError("mode is of a path: an open file has its permissions already")
    return FileTarget(file, name)


def _check_parent(path: Path) -> None:
    parent = next(parent for parent in path.absolute().parents if parent.exists())
    if not parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(parent))
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(parent))


def _place(file: Any) -> int | None:
    """Return where *file* is, or None for one that cannot be written to there again."""
    try:
        return int(file.tell()) if file.seekable() else None
    except (AttributeError, OSError):
        return None


def _write_all(file: streams.RawIOBase, chunk: bytes) -> None:
    left = memoryview(chunk)
    while left:  # it need not take all at once
        taken = file.write(left)
        if taken is None:
            raise BlockingIOError(errno.EAGAIN, "not taken: open it so that writes wait")
        left = left[taken:]


def _part_name(name: str) -> str:
    short = os.fsdecode(os.fsencode(name)[:_NAME_BYTES])
    return f".{short}.{uuid4().hex[:8]}.part"


@contextmanager
def _naming(name: str) -> Generator[None]:
    """Let an error of the system say which file it is about."""
    try:
        yield
    except OSError as error:
        error.filename = name  # and not that of what is written first
        raise
