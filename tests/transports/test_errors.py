"""Whatever goes wrong has the name that httpx has for it, and nothing is sent again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import anyio.abc
import httpx
import pytest

from .server import GUARD, OK, Make, Server, both_transports, client_over, serving


async def error_of(
    transport: httpx.AsyncBaseTransport, answer: bytes | None, **request: Any
) -> tuple[Exception, Server]:
    async def reply(received: bytes) -> bytes | None:
        return answer

    async with serving(reply) as (server, url):
        with pytest.raises(Exception) as raised:
            async with client_over(transport) as client:
                await client.request(**{"method": "POST", "url": url, "content": b"x"} | request)
    return raised.value, server


HALF_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab<cut>"


@both_transports
@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "DELETE"])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (None, httpx.RemoteProtocolError),
        (b"reset", httpx.ReadError),
        (OK[:-1] + b"<cut>", httpx.RemoteProtocolError),
        (HALF_CHUNKED, httpx.RemoteProtocolError),
        (OK[:20] + b"<cut>", httpx.RemoteProtocolError),
        (b"SSH-2.0-OpenSSH\r\n\r\n", httpx.RemoteProtocolError),
    ],
    ids=["cut", "reset", "half", "half chunked", "half a head", "no HTTP"],
)
def test_a_fault_of_the_server_is_named_and_nothing_sent_again(
    make: Make, method: str, answer: bytes | None, kind: type[Exception]
) -> None:
    error, server = asyncio.run(error_of(make(), answer, method=method))
    assert type(error) is kind
    assert len(server.requests) == 1


@both_transports
@pytest.mark.parametrize("method", ["POST", "GET", "PUT"])
def test_a_request_whose_kept_connection_is_cut_is_not_sent_again(make: Make, method: str) -> None:
    requests = 0

    async def only_one(request: bytes) -> bytes | None:
        nonlocal requests
        requests += 1
        return OK if requests == 1 else None

    async def main() -> None:
        async with serving(only_one) as (server, url), client_over(make()) as client:
            await client.get(url)
            with pytest.raises(httpx.RemoteProtocolError):
                await client.request(method, url, content=b"x")
            assert server.accepted == 1

    asyncio.run(main())
    assert requests == 2


@both_transports
@pytest.mark.parametrize("answer", [b"", OK[:-1]], ids=["no answer", "half an answer"])
def test_a_read_timeout(make: Make, answer: bytes) -> None:
    timeout = httpx.Timeout(GUARD, read=0.1)
    error, _ = asyncio.run(error_of(make(), answer, timeout=timeout))
    assert type(error) is httpx.ReadTimeout


@both_transports
def test_nobody_listens(make: Make) -> None:
    error, _ = asyncio.run(error_of(make(), OK, url="http://127.0.0.1:1/"))
    assert type(error) is httpx.ConnectError


@both_transports
def test_a_name_that_is_none(make: Make) -> None:
    error, _ = asyncio.run(error_of(make(), OK, url="http://none.invalid/"))
    assert type(error) is httpx.ConnectError


@both_transports
def test_another_scheme(make: Make) -> None:
    error, _ = asyncio.run(error_of(make(), OK, url="ftp://127.0.0.1/"))
    assert type(error) is httpx.UnsupportedProtocol


@both_transports
def test_a_server_that_does_not_speak_tls(make: Make) -> None:
    async def nonsense(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def main() -> None:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, nonsense)
            async with client_over(make(verify=False)) as client:
                with pytest.raises(httpx.ConnectError):
                    await client.get(f"https://127.0.0.1:{port}/")
            group.cancel_scope.cancel()

    asyncio.run(main())


@both_transports
def test_a_server_that_does_not_accept(make: Make) -> None:
    with FullPort() as port:
        timeout = httpx.Timeout(GUARD, connect=0.2)
        error, _ = asyncio.run(
            error_of(make(), OK, url=f"http://127.0.0.1:{port}/", timeout=timeout)
        )
    assert type(error) is httpx.ConnectTimeout


class FullPort:
    """A port whose queue is full."""

    def __enter__(self) -> int:
        self._sockets = [socket.create_server(("127.0.0.1", 0), backlog=0)]
        port: int = self._sockets[0].getsockname()[1]
        for _ in range(4):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
            self._sockets.append(waiting)
        return port

    def __exit__(self, *exc: object) -> None:
        for each in self._sockets:
            each.close()


@both_transports
@pytest.mark.parametrize("fault", [ValueError("mine"), OSError(5, "the disk")])
def test_an_error_in_the_source_of_the_body_is_raised_as_it_is(
    make: Make, fault: Exception
) -> None:
    async def body() -> AsyncGenerator[bytes]:
        yield b"x" * 100_000
        raise fault

    error, _ = asyncio.run(error_of(make(), OK, content=body()))
    assert error is fault
