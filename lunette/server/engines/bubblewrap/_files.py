"""Files of a sandbox through descriptors that its worker opened."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar, TypeVarTuple

from lunette.server.engines.bubblewrap.inside.wire import Message
from lunette.server.engines.protocol import NotARegularFileError

__all__ = ["OpenFile", "in_thread", "os_error", "read_head", "to_the_end", "write"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_BLOCK = 1 << 20
# So that a tag tells nothing of what it is made from.
_KEY = secrets.token_bytes(32)


class OpenFile:
    """See `FileReader` in the engine protocol; *head* is all of a file whose size says nothing."""

    def __init__(self, fd: int, path: str, head: bytes = b"") -> None:
        found = os.fstat(fd)
        self.size = found.st_size or len(head)
        self.etag = _etag(found, head)
        self._fd = fd
        self._path = path
        self._head = head

    @classmethod
    async def of(cls, fd: int, path: str) -> OpenFile:
        """Take the open file *fd*; what /proc says is empty by its size has to be read to know."""
        try:
            if os.fstat(fd).st_size:
                return cls(fd, path)
            return cls(fd, path, await in_thread(_read_whole, fd, path))
        except BaseException:
            os.close(fd)
            raise

    async def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        stop = self.size if stop is None else min(stop, self.size)
        while start < stop and (chunk := await self._block(start, min(_BLOCK, stop - start))):
            start += len(chunk)
            yield chunk

    async def _block(self, start: int, size: int) -> bytes:
        if self._head:
            return self._head[start : start + size]
        try:
            return await in_thread(os.pread, self._fd, size, start)
        except OSError as error:
            raise _named(error, self._path) from None

    async def is_as_opened(self) -> bool:
        return _etag(os.fstat(self._fd), self._head) == self.etag

    async def aclose(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _etag(found: os.stat_result, head: bytes) -> str:
    known = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, head)
    digest = hashlib.blake2b(repr(known).encode(), key=_KEY, digest_size=16)
    return f'"{digest.hexdigest()}"'


async def in_thread(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call *function* in a thread, and wait for its end even when cancelled.

    A thread cannot be stopped: what closed its descriptor meanwhile would have it write into
    whatever gets that number next.
    """
    return await to_the_end(asyncio.to_thread(function, *args))


async def to_the_end(unstoppable: Awaitable[T]) -> T:
    """Wait for the end of what may not or cannot be stopped, even when cancelled."""
    work = asyncio.ensure_future(unstoppable)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        work.exception()  # looked at, as nobody else will
        raise


def _read_whole(fd: int, path: str) -> bytes:
    content = b""
    try:
        while chunk := os.read(fd, _BLOCK):
            content += chunk
            if len(content) > _BLOCK:
                raise OSError(errno.EFBIG, "A file without a size is larger than 1 MiB")
    except OSError as error:
        raise _named(error, path) from None
    return content


async def read_head(fd: int) -> str:
    """Return the text of the first mebibyte of *fd*, and close it."""
    try:
        return (await in_thread(_read_head, fd)).decode(errors="replace")
    finally:
        os.close(fd)


def _read_head(fd: int) -> bytes:
    content = b""
    while chunk := os.read(fd, _BLOCK - len(content)):
        content += chunk
    return content


async def write(fd: int, content: bytes, path: str) -> None:
    """Write all of *content* to *fd*, off the loop."""
    try:
        await in_thread(_write, fd, content)
    except OSError as error:
        raise _named(error, path) from None


def _write(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def _named(error: OSError, path: str) -> OSError:
    return OSError(error.errno, error.strerror, path)


def os_error(answer: Message, path: str) -> OSError:
    """Make the error that the worker met again, about the *path* that the caller knows."""
    if answer["kind"] == "NotARegularFile":
        return NotARegularFileError(path)
    number: int = answer["errno"] or 0
    return OSError(number, answer.get("detail") or os.strerror(number), path)
