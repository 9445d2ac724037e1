"""Connections are shared, closed and never leaked, whatever happens to their requests."""

from __future__ import annotations

import asyncio
import itertools
import resource
import ssl
from collections.abc import Generator
from typing import Any

import anyio
import anyio.abc
import httpx
import pytest

from lunette._transports import SpreadTransport, aiohttp_transport

from .server import GUARD, OK, Make, both_backends, both_transports, client_over, serving


@pytest.fixture
def many_descriptors() -> Generator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@both_backends
def test_requests_one_after_the_other_share_a_connection(backend: str) -> None:
    async def main() -> None:
        async with serving() as (server, url), client_over(SpreadTransport()) as client:
            for _ in range(20):
                assert (await client.post(url, json={})).text == "ok"
            assert server.accepted == 1

    anyio.run(main, backend=backend)


async def five_hundred(transport: httpx.AsyncBaseTransport, most_kept: int) -> None:
    together = anyio.Event()
    answered: list[str] = []

    async def when_all_are_there(request: bytes) -> bytes:
        if len(server.requests) == 500:
            together.set()
        await together.wait()
        return OK

    async with serving(when_all_are_there) as (server, url), client_over(transport) as client:

        async def one() -> None:
            answered.append((await client.post(url, json={})).text)

        async with anyio.create_task_group() as group:
            for _ in range(500):
                group.start_soon(one)
        assert answered == ["ok"] * 500
        await server.until(lambda: server.open <= most_kept)
    assert server.open == 0


@both_backends
@pytest.mark.usefixtures("many_descriptors")
def test_five_hundred_at_once_and_few_connections_later(backend: str) -> None:
    anyio.run(five_hundred, SpreadTransport(), 100, backend=backend)


@pytest.mark.usefixtures("many_descriptors")
def test_five_hundred_at_once_over_aiohttp() -> None:
    asyncio.run(five_hundred(aiohttp_transport(), 500))


@both_backends
def test_connections_that_were_idle_for_long_are_closed(backend: str) -> None:
    async def main() -> None:
        together = anyio.Event()

        async def when_all_are_there(request: bytes) -> bytes:
            if len(server.requests) >= 10:
                together.set()
            await together.wait()
            return OK

        transport = SpreadTransport(limits=httpx.Limits(keepalive_expiry=0.05))
        async with serving(when_all_are_there) as (server, url), client_over(transport) as client:
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(client.get, url)
            await anyio.sleep(0.06)  # to be idle for long takes time
            await client.get(url)
            await server.until(lambda: server.open == 1)

    anyio.run(main, backend=backend)


@both_backends
def test_how_many_are_kept_can_be_said(backend: str) -> None:
    async def main() -> None:
        transport = SpreadTransport(limits=httpx.Limits(max_keepalive_connections=0))
        async with serving() as (server, url), client_over(transport) as client:
            await client.get(url)
            await client.get(url)
            assert server.accepted == 2

    anyio.run(main, backend=backend)


async def long_and_short(transport: httpx.AsyncBaseTransport) -> None:
    done = anyio.Event()

    async def by_path(request: bytes) -> bytes:
        if request.startswith(b"GET /long"):
            await done.wait()
        return OK

    async with (
        serving(by_path) as (server, url),
        client_over(transport) as client,
        anyio.create_task_group() as group,
    ):
        for _ in range(30):
            group.start_soon(client.get, f"{url}long")
        await server.until(lambda: len(server.requests) == 30)
        for _ in range(10):
            assert (await client.get(url)).text == "ok"
        assert server.accepted == 31
        done.set()


@both_backends
def test_long_requests_do_not_hold_up_short_ones(backend: str) -> None:
    anyio.run(long_and_short, SpreadTransport(), backend=backend)


def test_long_requests_do_not_hold_up_short_ones_over_aiohttp() -> None:
    asyncio.run(long_and_short(aiohttp_transport()))


@both_backends
def test_a_request_is_under_way_until_its_response_is_closed(backend: str) -> None:
    async def main() -> None:
        transport = SpreadTransport()
        async with serving() as (server, url), client_over(transport) as client:
            async with client.stream("GET", url) as response:
                await response.aread()
                await response.aclose()
                assert not transport._busy
            async with client.stream("GET", url):
                assert len(transport._busy) == 1
                await client.get(url)
                assert server.accepted == 2
            assert isinstance(response.stream, httpx.AsyncByteStream)
            await response.stream.aclose()  # a second time, which gives nothing back
            idle = [pool for _, pool in transport._idle["http"]]
            assert len(idle) == len(set(idle)) == 2

    anyio.run(main, backend=backend)


# httpx leaves a request's body to the garbage collector when it is cancelled under trio.
@pytest.mark.filterwarnings("ignore:Async generator 'httpx._content.ByteStream:ResourceWarning")
@both_backends
@pytest.mark.parametrize("answer", [OK, OK[:-1], b""], ids=["answered", "half", "unanswered"])
def test_a_cancellation_anywhere_leaks_nothing(backend: str, answer: bytes) -> None:
    """Cancel after one step of the event loop, after two, and so on to the end of a request."""

    async def reply(request: bytes) -> bytes:
        return answer

    async def request(client: httpx.AsyncClient, url: str, done: list[bool]) -> None:
        await client.post(url, content=b"x" * 1000)
        done.append(True)

    async def main() -> None:
        transport = SpreadTransport()
        async with serving(reply) as (server, url), client_over(transport) as client:
            for warm in (False, True):
                for steps in range(120):
                    if warm and answer == OK:
                        await client.get(url)
                    done: list[bool] = []
                    async with anyio.create_task_group() as group:
                        group.start_soon(request, client, url, done)
                        for _ in range(steps):
                            await anyio.lowlevel.checkpoint()
                        group.cancel_scope.cancel()
                    assert not transport._busy
                    if not warm:
                        await transport.aclose()
                        await server.until(lambda: server.open == 0)
                    if done:
                        break
                assert bool(done) == (answer == OK)
        assert server.open == 0

    anyio.run(main, backend=backend)


@both_transports
@pytest.mark.parametrize("answer", [OK, OK[:-1]], ids=["answered", "half"])
def test_a_task_of_asyncio_cancelled_twice_leaks_nothing(make: Make, answer: bytes) -> None:
    """`Task.cancel` gets through the shields of anyio, and so of httpcore."""

    async def reply(request: bytes) -> bytes:
        return answer

    async def main() -> None:
        transport = make()
        async with serving(reply) as (server, url), client_over(transport) as client:
            for first, second in itertools.product(range(0, 40, 2), (1, 2)):
                task = asyncio.create_task(client.post(url, content=b"x" * 1000))
                for _ in range(first):
                    await asyncio.sleep(0)
                task.cancel()
                for _ in range(second):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    task.result()
                if make is SpreadTransport:
                    assert not transport._busy
            await client.aclose()
            await server.until(lambda: server.open == 0)

    asyncio.run(main())


@both_backends
def test_a_cancelled_tls_handshake_closes_its_socket(backend: str) -> None:
    async def main() -> None:
        async def say_hello(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                hello.append(await stream.receive())
                scope.cancel()
                with pytest.raises(anyio.EndOfStream):
                    await stream.receive()
            group.cancel_scope.cancel()

        hello: list[bytes] = []
        transport = SpreadTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        with anyio.fail_after(GUARD):
            async with listener, anyio.create_task_group() as group:
                group.start_soon(listener.serve, say_hello)
                with anyio.CancelScope() as scope:
                    async with client_over(transport) as client:
                        await client.get(f"https://127.0.0.1:{port}/")
                await anyio.sleep_forever()
        assert hello and not transport._busy

    anyio.run(main, backend=backend)


@both_backends
def test_closed_under_a_request(backend: str) -> None:
    async def nothing(request: bytes) -> bytes:
        return b""

    async def main() -> None:
        transport = SpreadTransport()

        async def request() -> None:
            with pytest.raises(httpx.ReadError):
                await transport.handle_async_request(httpx.Request("GET", url))

        async with serving(nothing) as (server, url):
            async with anyio.create_task_group() as group:
                group.start_soon(request)
                await server.until(lambda: len(server.requests) == 1)
                await transport.aclose()
            assert not transport._busy
            await server.until(lambda: server.open == 0)

    anyio.run(main, backend=backend)


@both_backends
def test_closed_while_it_connects(backend: str) -> None:
    async def main() -> None:
        transport = SpreadTransport()

        async def request() -> None:
            with pytest.raises(httpx.ReadError, match="was closed"):
                await transport.handle_async_request(httpx.Request("GET", url))

        async with serving() as (server, url):
            async with anyio.create_task_group() as group:
                group.start_soon(request)
                while not transport._busy:
                    await anyio.lowlevel.checkpoint()
                await transport.aclose()
            assert not transport._busy
            await server.until(lambda: server.accepted == 1 and server.open == 0)

    anyio.run(main, backend=backend)


@both_backends
def test_requests_share_one_ssl_context(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ssl.SSLContext] = []
    create = httpx.create_ssl_context

    def counted(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        made.append(create(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(httpx, "create_ssl_context", counted)

    async def main() -> None:
        async with client_over(SpreadTransport(verify=False)) as client:
            for _ in range(3):
                with pytest.raises(httpx.ConnectError):
                    await client.get("https://127.0.0.1:1/")

    anyio.run(main, backend=backend)
    assert len(made) == 1
