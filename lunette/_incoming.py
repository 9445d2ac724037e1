"""The bodies of answers, on the event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import httpx

__all__ = ["gathered"]


async def gathered(chunks: AsyncIterator[bytes], size: int) -> AsyncGenerator[bytes]:
    """Make chunks of at least *size* bytes; what comes before a cut is given out too."""
    held: list[bytes] = []
    left = size
    try:
        async for chunk in chunks:
            held.append(chunk)
            left -= len(chunk)
            if left <= 0:
                yield b"".join(held)
                held, left = [], size
    except httpx.RequestError:
        if held:
            yield b"".join(held)
        raise
    if held:
        yield b"".join(held)
