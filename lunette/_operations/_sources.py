"""What is sent to a sandbox: a path, an open file, bytes, or an iterator of bytes.

What can be read again is sent in large views of it, and else in pieces that are kept in memory
until the server has them.
"""

from __future__ import annotations

import errno
import io as streams
import mmap
import os
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from functools import partial
from typing import Any, BinaryIO, Protocol, TypeAlias, cast

from .._body import Body, Readable
from .._digest import Digest, Xxh3
from .._io import IO
from .._progress import Advance

__all__ = [
    "SMALL",
    "AsyncStream",
    "Buffer",
    "LocalSource",
    "Source",
    "Stream",
    "opened",
    "refuse_awaited",
]

Buffer: TypeAlias = bytes | bytearray | memoryview

# What is sent by one request, whose head has the digest.
SMALL = 1024 * 1024
# A request each: larger ones save nothing, and are what a proxy may refuse.
_VIEW = 64 * 1024 * 1024
# What of an iterator is kept in memory.
_PIECE = 4 * 1024 * 1024
# As long as something is held back for a piece to become full; servers give up after 10 minutes.
_PIECE_SECONDS = 60
_READ = 256 * 1024
_LONGEST_PATH = 4096
_SHOWN = 100
_END = object()


class BinaryReader(Protocol):
    """A file that was opened in binary mode, as far as it is needed."""

    def read(self, size: int, /) -> bytes: ...


LocalSource: TypeAlias = (
    str | os.PathLike[str] | BinaryReader | Buffer | Iterable[Buffer] | AsyncIterable[Buffer]
)


class Source(ABC):
    """Bytes to send, and their *digest* as far as they were read; *size* is None if unknown.

    *mode* is that of the file here, in octal, where it should be kept. *report* is told how many
    bytes are sent, and how many there are.
    """

    def __init__(self, name: str, *, start: int = 0, size: int | None = None) -> None:
        self.name = name
        self.size = size
        self.mode: str | None = None
        self.digest: Digest = Xxh3(start)
        self.report: Advance | None = None
        self._start = start

    @abstractmethod
    async def small(self, io: IO) -> bytes | None:
        """Return all of it, unless that is more than `SMALL` bytes: then `pieces` gives it."""

    @abstractmethod
    def pieces(self, io: IO) -> AsyncGenerator[Body]:
        """Yield what is to be sent, one after the other."""

    def check(self) -> None:  # noqa: B027 - most cannot change
        """Raise the OSError of a file that changed meanwhile."""

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Close what was opened for it."""

    def tell_end(self) -> None:
        """Report that all of it has arrived."""
        if self.report is not None:
            self.report(self.digest.size - self._start, self.digest.size - self._start)

    async def all(self, io: IO) -> bytes:
        """Return all of it, whatever its size."""
        whole = await self.small(io)
        if whole is not None:
            return whole
        parts: list[bytes] = []
        async for piece in self.pieces(io):
            while part := await io.call(piece.read, piece.size):
                parts.append(part)
        return b"".join(parts)

    def _body(self, file: Readable, size: int, start: int) -> Body:
        return Body(file, size, start=start, name=self.name, seen=self.digest.see, told=self._tell)

    def _tell(self, at: int) -> None:
        if self.report is not None:
            self.report(at - self._start, self.size)


class File(Source):
    """The *size* bytes of *file* behind *start*, which can be read again."""

    def __init__(self, file: Readable, size: int, name: str, *, start: int = 0) -> None:
        super().__init__(name, start=start, size=size)
        self._file = file
        self._end = start + size

    async def small(self, io: IO) -> bytes | None:
        return None if self._end - self._start > SMALL else await io.call(self._read)

    async def pieces(self, io: IO) -> AsyncGenerator[Body]:
        for start in range(self._start, self._end, _VIEW):
            yield self._body(self._file, min(_VIEW, self._end - start), start)

    def _read(self) -> bytes:
        self._file.seek(self._start)
        parts: list[bytes] = []
        left = self._end - self._start
        while left and (part := self._file.read(left)):
            parts.append(part)
            left -= len(part)
        whole = b"".join(parts)
        self.digest.see(self._start, whole)
        return whole


class LocalFile(File):
    """A file of this machine that must not change while it is sent."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        found = os.fstat(file.fileno())
        super().__init__(file, found.st_size, path)
        self.mode = _wire_mode(found)
        self._opened = file

    def check(self) -> None:
        if os.fstat(self._opened.fileno()).st_size != self.size:
            raise OSError(errno.ESTALE, "it changed while it was read", self.name)

    def close(self) -> None:
        self._opened.close()


class Stream(Source):
    """What *items* gives, once; *file* is closed at the end."""

    def __init__(self, items: Iterable[Buffer], name: str, file: BinaryIO | None = None) -> None:
        super().__init__(name)
        self._items: Iterator[Buffer] = iter(items)
        self._file = file
        # One for all pieces, whatever the allocator makes of such sizes in threads.
        self._buffer = mmap.mmap(-1, _PIECE, access=mmap.ACCESS_COPY)
        self._filled = 0
        self._rest = memoryview(b"")
        self._ended = False
        self._is_collected = False

    async def small(self, io: IO) -> bytes | None:
        await self._collect(io)
        self._is_collected = True
        if not self._ended or self._rest or self._filled > SMALL:
            return None
        whole = self._buffer[: self._filled]
        self.size = len(whole)
        self.digest.see(0, whole)
        return whole

    async def pieces(self, io: IO) -> AsyncGenerator[Body]:
        start = 0
        while not self._ended or self._rest or self._is_collected:
            if not self._is_collected:
                await self._collect(io)
            self._is_collected = False
            if self._filled:
                yield self._body(_Memory(self._buffer, start), self._filled, start)
            start += self._filled

    def close(self) -> None:
        self._ended = True  # a thread may still be taking from it
        if self._file is not None:
            self._file.close()

    async def _collect(self, io: IO) -> None:
        """Take from it until a piece is full, or something was held back for long."""
        await io.call(self._take_items, abandon=True)

    def _take_items(self) -> None:
        until = self._begin_piece()
        while self._wants(until):
            self._take(next(self._items, _END))

    def _begin_piece(self) -> float:
        self._filled = 0
        self._take_rest()
        return time.monotonic() + _PIECE_SECONDS

    def _wants(self, until: float) -> bool:
        if self._ended or self._filled == _PIECE:
            return False
        return not self._filled or time.monotonic() < until

    def _take(self, item: object) -> None:
        if item is _END:
            self._ended = True
            return
        self._rest = _bytes(item)
        self._take_rest()

    def _take_rest(self) -> None:
        size = min(len(self._rest), _PIECE - self._filled)
        self._buffer[self._filled : self._filled + size] = self._rest[:size]
        self._filled += size
        self._rest = self._rest[size:]


class AsyncStream(Stream):
    """What asynchronous *items* give, once."""

    def __init__(self, items: AsyncIterable[Buffer], name: str) -> None:
        super().__init__((), name)
        self._awaited: AsyncIterator[Buffer] = aiter(items)

    async def _collect(self, io: IO) -> None:
        until = self._begin_piece()
        while self._wants(until):
            self._take(await anext(self._awaited, _END))


class _Memory:
    """A buffer that can be read as a file which begins at *start*; BytesIO would copy it."""

    def __init__(self, data: Buffer | mmap.mmap, start: int = 0) -> None:
        self._data = memoryview(data)
        self._start = start
        self._at = 0

    def seek(self, offset: int, /) -> None:
        self._at = offset - self._start

    def read(self, limit: int, /) -> bytes:
        chunk = bytes(self._data[self._at : self._at + limit])
        self._at += len(chunk)
        return chunk


def refuse_awaited(source: object) -> None:
    """Refuse what nobody can await in a blocking call."""
    if isinstance(source, AsyncIterable):
        raise TypeError("an asynchronous iterator can only be sent by a call that is awaited")


def opened(source: LocalSource) -> Source:
    """Return what can be sent of *source*; a str is always a path."""
    if isinstance(source, str | os.PathLike):
        return _opened_path(os.fspath(source))
    if isinstance(source, Buffer):
        data = _bytes(source)
        return File(_Memory(data), len(data), "bytes")
    if isinstance(source, AsyncIterable):
        return AsyncStream(source, "an iterator")
    if hasattr(source, "read"):
        return _opened_file(source)
    if isinstance(source, Iterable):
        return Stream(source, "an iterator")
    raise TypeError(
        "what is uploaded must be a path, a binary file, bytes or an iterator of bytes,"
        f" not {type(source).__name__}"
    )


def _opened_path(path: object) -> Source:
    if not isinstance(path, str):
        raise TypeError(f"a path must be a string, not {type(path).__name__}")
    try:
        file = _open(path)
    except OSError as error:
        _hint_at_content(error, path)
        raise
    try:
        source = LocalFile(file, path)
        if source.size:
            return source
        # Those of /proc are full and say that they are empty.
        stream = Stream(iter(partial(file.read, _READ), b""), path, file)
        stream.mode = source.mode
        return stream
    except BaseException:
        file.close()
        raise


def _open(path: str) -> BinaryIO:
    _check_kind(os.stat(path).st_mode, path)  # noqa: PTH116 - a path as the caller gave it
    # Not blocking, since it may be a FIFO by now, which would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        _check_kind(os.fstat(descriptor).st_mode, path)
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def _hint_at_content(error: OSError, path: str) -> None:
    """Raise a better error than *error* if *path* is what a file should have in it."""
    is_missing = error.errno in (errno.ENOENT, errno.ENAMETOOLONG)
    if not is_missing or ("\n" not in path and len(os.fsencode(path)) <= _LONGEST_PATH):
        return
    words = f"{os.strerror(errno.ENOENT)} (content goes as bytes, or by files.write_text)"
    shown = path if len(path) <= _SHOWN else f"{path[:_SHOWN]}..."
    raise FileNotFoundError(errno.ENOENT, words, shown) from error


def _check_kind(mode: int, path: str) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", path)


def _opened_file(file: Any) -> Source:
    name = str(getattr(file, "name", "a file"))
    if hasattr(file, "readable") and not file.readable():
        raise ValueError(f"{name} is not open for reading")
    if isinstance(file, streams.TextIOBase) or isinstance(file.read(0), str):
        raise TypeError(f"{name} must be opened in binary mode, such as by open(path, 'rb')")
    start, size = _extent(file)
    if size > 0:
        return File(file, size, name, start=start)
    # Of a pipe what is there, and not only what fills a buffer.
    read = getattr(file, "read1", file.read)
    return Stream(iter(partial(_read_some, read, name), b""), name)


def _extent(file: Any) -> tuple[int, int]:
    """Return where a *file* is, and how many bytes come then, if that can be known."""
    if not hasattr(file, "seekable") or not file.seekable():
        return 0, 0
    start = file.tell()
    file.seek(0, os.SEEK_END)
    end = file.tell()
    file.seek(start)
    return start, end - start


def _read_some(read: Any, name: str) -> bytes:
    chunk: bytes | None = read(_READ)
    if chunk is None:
        raise BlockingIOError(errno.EAGAIN, "nothing to read; open it so that reads wait", name)
    return chunk


def _bytes(data: object) -> memoryview:
    # Not every caller has a type checker.
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"what is uploaded must give bytes, not {type(data).__name__}")
    view: memoryview[Any] = memoryview(cast("bytes", data))
    return view.cast("B") if view.c_contiguous else memoryview(view.tobytes())


def _wire_mode(found: os.stat_result) -> str | None:
    # On Windows it says something about the name.
    is_program = os.name == "posix" and found.st_mode & stat.S_IXUSR
    return "0755" if is_program else None
