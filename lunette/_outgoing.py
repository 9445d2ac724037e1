"""Request bodies for the event loop, without generators.

httpx's own are asynchronous generators: one that a cut connection leaves half read is closed by
whoever collects it, which is a warning under trio.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx

__all__ = ["Chunks", "Whole"]

Read = Callable[[], Awaitable[bytes]]


class Whole(httpx.ByteStream):
    """A body that is there."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._content = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        left = [self._content]

        async def read() -> bytes:
            return left.pop() if left else b""

        return _Reading(read)


class Chunks(httpx.AsyncByteStream):
    """A body that is read while it is sent, until *read* gives nothing."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Reading(self._read)


class _Reading(AsyncIterator[bytes]):
    def __init__(self, read: Read) -> None:
        self._read = read

    async def __anext__(self) -> bytes:
        chunk = await self._read()
        if not chunk:
            raise StopAsyncIteration
        return chunk
