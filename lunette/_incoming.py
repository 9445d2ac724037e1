"""The bodies of answers, on the event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import httpcore
import httpx

__all__ = ["DIRECT", "chunks_of", "gathered"]

DIRECT = "lunette.direct"
"""In the extensions of an answer of a transport of ours: nothing wraps its network stream."""

# Behind such a body a connection is given up: what it costs to open one is nothing against it.
_LARGE = 16 * 1024 * 1024
_READ = 1024 * 1024
_CUT = "peer closed connection without sending complete message body"
_ERRORS: dict[type[Exception], type[httpx.RequestError]] = {
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.ReadError: httpx.ReadError,
}


async def chunks_of(
    response: httpx.Response, chunks: AsyncIterator[bytes]
) -> AsyncGenerator[bytes]:
    """Yield its *chunks*; of what is large only the first, and the rest without httpcore, which
    reads 64 KiB at a time.
    """
    left = _plain_size(response)
    stream = response.extensions.get("network_stream") if DIRECT in response.extensions else None
    async for chunk in chunks:
        yield chunk
        left -= len(chunk)
        if left >= _LARGE and stream is not None:
            break  # httpcore holds nothing back, and its generators must not be closed before
    else:
        return
    async for chunk in _direct(response, stream, left):
        yield chunk


async def _direct(
    response: httpx.Response, stream: httpcore.AsyncNetworkStream, left: int
) -> AsyncGenerator[bytes]:
    timeout = response.request.extensions.get("timeout", {}).get("read")
    while left:
        try:
            chunk = await stream.read(min(_READ, left), timeout=timeout)
        except (httpcore.ReadTimeout, httpcore.ReadError) as error:
            raise _ERRORS[type(error)](str(error), request=response.request) from error
        if not chunk:
            raise httpx.RemoteProtocolError(_CUT, request=response.request)
        yield chunk
        left -= len(chunk)


def _plain_size(response: httpx.Response) -> int:
    """Return the size of a body that is sent as it is, and else nothing."""
    coded = {"content-encoding", "transfer-encoding"} & response.headers.keys()
    is_plain = not coded and response.http_version == "HTTP/1.1"
    return int(response.headers.get("content-length", 0)) if is_plain else 0


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
