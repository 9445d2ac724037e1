"""Files of a sandbox through descriptors that its worker opened."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator

from lunette.server.engines.bubblewrap.inside.wire import Message
from lunette.server.engines.protocol import NotARegularFileError

__all__ = ["OpenFile", "os_error", "write_all"]

_BLOCK = 1 << 20


class OpenFile:
    """See `FileReader` in the engine protocol."""

    def __init__(self, fd: int, size: int) -> None:
        self.size = size
        self._fd = fd

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield exactly `size` bytes, or fewer if the file shrinks meanwhile."""
        left = self.size
        while left > 0 and (chunk := await asyncio.to_thread(os.read, self._fd, min(_BLOCK, left))):
            left -= len(chunk)
            yield chunk

    async def aclose(self) -> None:
        os.close(self._fd)


async def write_all(fd: int, data: AsyncIterable[bytes], path: str) -> None:
    """Write *data* to *fd* in large blocks, off the loop."""
    pending: list[bytes] = []
    size = 0
    try:
        async for chunk in data:
            pending.append(chunk)
            size += len(chunk)
            if size >= _BLOCK:
                await asyncio.to_thread(_write, fd, b"".join(pending))
                pending, size = [], 0
        if pending:
            await asyncio.to_thread(_write, fd, b"".join(pending))
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
