"""Files of a sandbox through descriptors that its worker opened."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import TypeVar, TypeVarTuple

from lunette.server.engines.bubblewrap.inside.wire import Message
from lunette.server.engines.protocol import NotARegularFileError

__all__ = ["OpenFile", "in_thread", "os_error", "read_head", "to_the_end", "write_all"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_BLOCK = 1 << 20


class OpenFile:
    """See `FileReader` in the engine protocol."""

    def __init__(self, fd: int, size: int, head: bytes = b"") -> None:
        self.size = size
        self._fd = fd
        self._head = head

    @classmethod
    async def of(cls, fd: int, size: int, path: str) -> OpenFile:
        """Take the open file *fd*; what /proc says is empty by its size has to be read to know."""
        if size > 0:
            return cls(fd, size)
        try:
            head = await in_thread(_read_whole, fd, path)
        except BaseException:
            os.close(fd)
            raise
        return cls(fd, len(head), head)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield exactly `size` bytes, or fewer if the file shrinks meanwhile."""
        if self._head:
            yield self._head
            return
        left = self.size
        while left > 0 and (chunk := await in_thread(os.read, self._fd, min(_BLOCK, left))):
            left -= len(chunk)
            yield chunk

    async def aclose(self) -> None:
        os.close(self._fd)


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
    while chunk := os.read(fd, _BLOCK):
        content += chunk
        if len(content) > _BLOCK:
            raise OSError(errno.EFBIG, "A file without a size is larger than 1 MiB", path)
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


async def write_all(fd: int, data: AsyncIterable[bytes], path: str) -> None:
    """Write *data* to *fd* in large blocks, off the loop."""
    pending: list[bytes] = []
    size = 0
    try:
        async for chunk in data:
            pending.append(chunk)
            size += len(chunk)
            if size >= _BLOCK:
                await in_thread(_write, fd, b"".join(pending))
                pending, size = [], 0
        if pending:
            await in_thread(_write, fd, b"".join(pending))
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, path) from error


def _write(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def os_error(answer: Message, path: str) -> OSError:
    """Make the error that the worker met again, about the *path* that the caller knows."""
    if answer["kind"] == "NotARegularFile":
        return NotARegularFileError(path)
    number: int = answer["errno"] or 0
    return OSError(number, answer.get("detail") or os.strerror(number), path)
