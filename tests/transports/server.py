"""A server of real sockets, and clients of it over a transport."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import httpx
import pytest

from lunette._transports import SpreadTransport, aiohttp_transport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GUARD = 60  # seconds until a test that hangs fails
Make = Callable[..., Any]

both_backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])
both_transports = pytest.mark.parametrize("make", [SpreadTransport, aiohttp_transport])


class Server:
    """Reads requests from real sockets, and answers each as *on_request* says."""

    def __init__(self, on_request: Callable[[bytes], Awaitable[bytes | None]]) -> None:
        self.on_request = on_request
        self.requests: list[bytes] = []
        self.accepted = 0
        self.open = 0
        self.changed = anyio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until *condition* holds, looking whenever a request or an end has come."""
        while not condition():
            await self.changed.wait()

    def change(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()

    async def handle(self, stream: anyio.abc.SocketStream) -> None:
        self.accepted += 1
        self.open += 1
        try:
            async with stream:
                while (request := await _request(stream)) is not None:
                    self.requests.append(request)
                    self.change()
                    answer = await self.on_request(request)
                    if answer is None:
                        return
                    if answer == b"reset":
                        linger = struct.pack("ii", 1, 0)
                        raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
                        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        return
                    await stream.send(answer.removesuffix(b"<cut>"))
                    if answer.endswith(b"<cut>"):
                        return
        except (anyio.BrokenResourceError, anyio.EndOfStream):
            pass
        finally:
            self.open -= 1
            self.change()


async def _request(stream: anyio.abc.SocketStream) -> bytes | None:
    read = b""
    while not _complete(read):
        try:
            read += await stream.receive()
        except anyio.EndOfStream:
            return None
    return read


def _complete(read: bytes) -> bool:
    head, blank, body = read.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return bool(blank) and (b"chunked" not in head.lower() or body.endswith(b"0\r\n\r\n"))


async def answer_ok(request: bytes) -> bytes:
    return OK


@asynccontextmanager
async def serving(
    on_request: Callable[[bytes], Awaitable[bytes | None]] = answer_ok, uds: Path | None = None
) -> AsyncGenerator[tuple[Server, str]]:
    server = Server(on_request)
    with anyio.fail_after(GUARD):
        listener: Any
        if uds is None:
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1", backlog=1024)
            url = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}/"
        else:
            listener, url = await anyio.create_unix_listener(uds), "http://localhost/"
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, server.handle)
            yield server, url
            group.cancel_scope.cancel()


@asynccontextmanager
async def client_over(transport: httpx.AsyncBaseTransport) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=transport, timeout=GUARD) as client:
        yield client
    if isinstance(transport, SpreadTransport):
        assert not transport._busy and not transport._idle
