"""The bytes of a layer's archive, unpacked by a thread while the files before them are written.

What a layer is packed with is told from its first bytes, as Docker does: media types lie.
"""

from __future__ import annotations

import os
import queue
import threading
import zlib
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, cast

import zstandard

from lunette.server.images.errors import InvalidImageError

__all__ = ["BLOCK", "Stream", "TruncatedError", "open_stream"]

BLOCK = 512
_READ_BYTES = 64 << 10
_CHUNK_BYTES = 1 << 20
_CHUNKS_AHEAD = 8
_MAX_WINDOW_BYTES = 128 << 20  # what `zstd --long=27` needs, and no tool takes more unasked
_GZIP, _ZSTD, _ZSTD_SKIPPABLE = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\x2a\x4d\x18"
_OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}


class TruncatedError(InvalidImageError):
    """The layer ends too early."""

    def __init__(self) -> None:
        super().__init__("it is cut off; pull the image again, or have it pushed again")


class _Source:
    """A layer's file; *done* says how much of it was read."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.done = 0

    def read(self, size: int = _READ_BYTES) -> bytes:
        data = os.read(self._fd, size)
        self.done += len(data)
        return data


class Stream:
    """Reads what *chunks* yields; *progress* is called now and then with the packed bytes read."""

    def __init__(
        self, source: _Source, chunks: Iterator[bytes], progress: Callable[[int], None]
    ) -> None:
        self._source = source
        self._progress = progress
        self._queue: queue.Queue[bytes | Exception] = queue.Queue(_CHUNKS_AHEAD)
        self._closed = False
        self._ended = False
        self._chunk = b""
        self._at = 0
        self._thread = threading.Thread(target=self._pump, args=(chunks,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed = True
        while not self._queue.empty():
            self._queue.get()
        self._thread.join()  # which puts one more, for which there is room now

    def _pump(self, chunks: Iterator[bytes]) -> None:
        try:
            for chunk in chunks:
                self._queue.put(chunk)
                if self._closed:
                    return
            self._queue.put(b"")
        except Exception as error:
            self._queue.put(error)

    def _next_chunk(self) -> bool:
        """Go on to the next chunk; False at the end."""
        if self._ended:
            return False
        got = self._queue.get()
        if isinstance(got, Exception):
            raise got
        self._progress(self._source.done)
        self._chunk, self._at, self._ended = got, 0, not got
        return not self._ended

    def read(self, size: int) -> bytes:
        """Return exactly *size* bytes."""
        start, end = self._at, self._at + size
        if end <= len(self._chunk):
            self._at = end
            return self._chunk[start:end]
        return b"".join(self.pieces(size))

    def block(self) -> bytes:
        """Return the next block, or nothing at the end."""
        if self._at == len(self._chunk) and not self._next_chunk():
            return b""
        return self.read(BLOCK)

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield *size* bytes in pieces as large as they come."""
        while size > 0:
            left = len(self._chunk) - self._at
            if not left:
                if not self._next_chunk():
                    raise TruncatedError
                continue
            taken = min(left, size)
            self._at += taken
            size -= taken
            yield memoryview(self._chunk)[self._at - taken : self._at]

    def skip(self, size: int) -> None:
        for _ in self.pieces(size):
            pass


def open_stream(fd: int, media_type: str, progress: Callable[[int], None]) -> Stream:
    """Read the layer in the file *fd*, which the manifest says is a *media_type*."""
    start = os.pread(fd, BLOCK, 0)
    source = _Source(fd)
    if start.startswith(_GZIP):
        return Stream(source, _gunzip(source), progress)
    if start.startswith(_ZSTD) or (start[1:4] == _ZSTD_SKIPPABLE and start[0] & 0xF0 == 0x50):
        return Stream(source, _unzstd(source), progress)
    if start and b"ustar" not in start[257:263] and not _is_old_tar(start):
        raise _unknown(start, media_type)
    return Stream(source, iter(lambda: source.read(_CHUNK_BYTES), b""), progress)


def _is_old_tar(start: bytes) -> bool:
    """Whether this is an archive of before 1988, or an empty one."""
    return len(start) == BLOCK and (not any(start) or start[148:154].strip(b" \0").isdigit())


def _unknown(start: bytes, media_type: str) -> InvalidImageError:
    packed = next((name for magic, name in _OTHERS.items() if start.startswith(magic)), None)
    found = f"is packed with {packed}" if packed else f"is no archive that is known ({media_type})"
    return InvalidImageError(f"it {found}; layers can be tar, tar+gzip and tar+zstd")


def _gunzip(source: _Source) -> Iterator[bytes]:
    """Unpack one gzip member after the other; what follows the last and is none, is ignored."""
    member = zlib.decompressobj(wbits=31)
    data = b""
    try:
        while True:
            data = data or source.read()
            chunk = member.decompress(data, _CHUNK_BYTES)
            if chunk:
                yield chunk
            elif not data:
                raise TruncatedError
            data = member.unconsumed_tail
            if not member.eof:
                continue
            data = member.unused_data
            if len(data) < len(_GZIP):
                data += source.read()
            if not data.startswith(_GZIP):
                return
            member = zlib.decompressobj(wbits=31)
    except zlib.error as error:
        raise _damaged(error) from error


def _unzstd(source: _Source) -> Iterator[bytes]:
    unpacker = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
    file = cast("IO[bytes]", source)  # of which it wants nothing but `read`
    reader = unpacker.stream_reader(file, read_size=_READ_BYTES, read_across_frames=True)
    try:
        while chunk := reader.read(_CHUNK_BYTES):
            yield chunk
    except zstandard.ZstdError as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> InvalidImageError:
    return InvalidImageError(f"it cannot be unpacked ({error}); have the image pushed again")
