"""Bytes of a known number as an answer, block by block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lunette.server._waiting import disconnected

__all__ = ["Streaming", "sliced"]

_BLOCK = 1 << 20


class Streaming(Response):
    """*size* bytes, as *chunks* yields them; left when nobody listens."""

    def __init__(
        self,
        chunks: Callable[[], AsyncIterator[bytes]],
        size: int,
        *,
        status: int = 200,
        media_type: str = "application/octet-stream",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status_code=status, media_type=media_type, headers=headers)
        self.headers["content-length"] = str(size)
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        listener = asyncio.create_task(disconnected(receive))
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            async for chunk in self._chunks():
                if listener.done():
                    return
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            listener.cancel()


async def sliced(blocks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield *blocks*, none of it so large that another copy of it would matter."""
    for block in blocks:
        for begin in range(0, len(block), _BLOCK):
            yield block[begin : begin + _BLOCK]
