"""A build context: a folder, as a tar of what its `.dockerignore` leaves of it."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Generator
from pathlib import Path

from attrs import frozen

from ._dockerignore import Ignore, Outcomes, read_ignore
from ._plain import encodable
from ._text_files import MissingFileError
from .errors import ServiceError

__all__ = ["Context"]

_CHUNK = 64 * 1024
_END = bytes(2 * tarfile.BLOCKSIZE)


@frozen
class Context:
    """The *folder* that a Dockerfile may copy from; *dockerfile* is its path in there."""

    folder: Path
    dockerfile: str

    @classmethod
    def found(cls, folder: Path, dockerfile: str | None) -> Context:
        """Look for both; raises `ServiceError` where one is missing, or outside of the other."""
        try:
            return cls._looked_for(folder, dockerfile or "Dockerfile")
        except RuntimeError as error:  # Python's of a loop of links, until 3.13
            raise ServiceError(f"build: {error}") from error
        except OSError as error:
            if isinstance(error, ServiceError):
                raise
            raise _unreadable(error) from error

    @classmethod
    def _looked_for(cls, folder: Path, dockerfile: str) -> Context:
        if not folder.exists():
            raise MissingFileError("build.context", folder)
        if not folder.is_dir():
            raise ServiceError(f"build.context: {folder} is no folder")
        root = folder.resolve()
        path = (root / dockerfile).resolve()
        if not path.is_relative_to(root):
            raise ServiceError(f"build.dockerfile: {path} is outside of the context {root}")
        if not path.exists():
            raise MissingFileError("build.dockerfile", path)
        if not path.is_file():
            raise ServiceError(f"build.dockerfile: {path} is no regular file")
        name = path.relative_to(root).as_posix()
        return cls(root, encodable(name, "build.dockerfile"))

    def tar(self) -> Generator[bytes]:
        """Yield the tar; each time it is read anew.

        Raises `ServiceError` when a file changes meanwhile, or cannot be read.
        """
        ignore, source = read_ignore(self.folder, self.dockerfile)
        always = {self.dockerfile, *([source] if source else [])}
        try:
            for entry in _wanted(self.folder, ignore, always):
                yield from _packed(self.folder, entry)
        except OSError as error:
            raise _unreadable(error) from error
        yield _END


@frozen
class _Entry:
    path: str
    """From the context, with slashes."""
    status: os.stat_result


def _wanted(folder: Path, ignore: Ignore, always: set[str]) -> Generator[_Entry]:
    """Yield what is to be sent, each folder before what it holds."""
    # Docker's tar has no folder that is ignored, even if a part of it is not; BuildKit has it, and
    # so with its own mode. It comes when the first of its parts does.
    waiting: list[_Entry] = []
    for entry, is_ignored in _walked(folder, ignore, always):
        while waiting and not entry.path.startswith(f"{waiting[-1].path}/"):
            waiting.pop()
        if not is_ignored:
            yield from waiting
            waiting.clear()
            yield entry
        elif stat.S_ISDIR(entry.status.st_mode):
            waiting.append(entry)


def _walked(folder: Path, ignore: Ignore, always: set[str]) -> Generator[tuple[_Entry, bool]]:
    """Yield what is in *folder* and may be wanted, sorted, and whether it is ignored."""
    above = {path[: path.rindex("/")] for path in always if "/" in path}
    left: list[tuple[str, Outcomes]] = [("", ())]
    while left:
        path, outcomes = left.pop()
        if path:
            entry = _Entry(path, os.lstat(folder / path))
            ignored, outcomes = ignore.ignores(path, outcomes)
            yield entry, ignored and path not in always
            if not stat.S_ISDIR(entry.status.st_mode):
                continue
            if ignored and not ignore.may_want_in(path) and not _leads(path, above):
                continue
        prefix = f"{path}/" if path else ""
        names = sorted((p.name for p in (folder / path).iterdir()), reverse=True)
        left.extend((prefix + name, outcomes) for name in names)


def _leads(path: str, folders: set[str]) -> bool:
    return any(f"{folder}/".startswith(f"{path}/") for folder in folders)


def _packed(folder: Path, entry: _Entry) -> Generator[bytes]:
    info = tarfile.TarInfo(entry.path)
    mode = entry.status.st_mode
    info.mode = stat.S_IMODE(mode)
    info.mtime = int(entry.status.st_mtime)
    if stat.S_ISREG(mode):
        yield from _packed_file(folder / entry.path, info)
        return
    if stat.S_ISDIR(mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(mode):
        info.type = tarfile.SYMTYPE
        info.linkname = os.readlink(folder / entry.path)  # noqa: PTH115 - a Path would clean it
    else:  # a socket, a pipe or a device is nothing that an image has
        return
    yield _header(info)


def _packed_file(path: Path, info: tarfile.TarInfo) -> Generator[bytes]:
    # Not blocking and no link, in case it has become something else.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _changed(path)
        info.size = left = status.st_size
        yield _header(info)
        while left:
            chunk = file.read(min(_CHUNK, left))
            if not chunk:
                raise _changed(path)
            left -= len(chunk)
            yield chunk
        if file.read(1):
            raise _changed(path)
    yield bytes(-info.size % tarfile.BLOCKSIZE)


def _header(info: tarfile.TarInfo) -> bytes:
    # The format in which a name is whatever bytes it is.
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _unreadable(error: OSError) -> ServiceError:
    return ServiceError(f"build: {str(error.filename)[:1000]}: {error.strerror}")


def _changed(path: Path) -> ServiceError:
    return ServiceError(f"build: {path} changed while it was sent")
