from __future__ import annotations

import asyncio
import gzip
import itertools
import resource
import socket
import ssl
import struct
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import anyio
import anyio.abc
import httpx
import pytest

from lunette import errors
from lunette._transports import SpreadTransport, aiohttp_transport, environment_proxy

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


@both_transports
def test_over_a_unix_socket(make: Make, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "sock"
        async with serving(uds=path) as (server, url):
            async with client_over(make(uds=str(path))) as client:
                assert (await client.get(url)).text == "ok"
            assert b"host: localhost\r\n" in server.requests[0].lower()
        with pytest.raises(httpx.ConnectError):
            async with client_over(make(uds=str(tmp_path / "none"))) as client:
                await client.get(url)

    asyncio.run(main())


@both_transports
def test_plain_http_reads_no_certificate(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make()  # aiohttp reads certificates of its own when it is imported

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("certificates were read")

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", refuse)
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", refuse)
    monkeypatch.setattr(ssl.SSLContext, "set_default_verify_paths", refuse)

    async def main() -> None:
        async with serving() as (_, url), client_over(make()) as client:
            assert (await client.get(url)).text == "ok"
        path = tmp_path / "sock"
        async with serving(uds=path) as (_, url), client_over(make(uds=str(path))) as client:
            assert (await client.get(url)).text == "ok"
        with pytest.raises(AssertionError, match="were read"):
            async with client_over(make()) as client:
                await client.get("https://127.0.0.1:1/")

    asyncio.run(main())


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


@pytest.mark.parametrize(
    "request_",
    [
        {"method": "GET", "params": {"path": "/a b/ü+&%2F", "empty": ""}},
        {"method": "POST", "json": {"command": "true"}},
        {"method": "POST"},
        {"method": "PUT", "content": b"x" * 100_000},
        {"method": "GET", "headers": {"Accept-Encoding": "identity", "X-API-Key": "k"}},
        {"method": "POST", "data": {"a": "b"}},
        {"method": "POST", "files": {"f": ("name", b"content")}},
    ],
    ids=lambda request: str(request)[:30],
)
def test_aiohttp_sends_what_stock_httpx_sends(request_: dict[str, Any]) -> None:
    async def main() -> None:
        async with serving() as (server, url):
            for transport in (httpx.AsyncHTTPTransport(), aiohttp_transport()):
                async with client_over(transport) as client:
                    if "files" in request_:
                        client.headers["Content-Type"] = "multipart/form-data; boundary=b"
                    await client.request(url=f"{url}a%20b/%2f~%7E/ü", **request_)
            stock, ours = server.requests
            assert _meaning(ours) == _meaning(stock)

    asyncio.run(main())


def _meaning(request: bytes) -> tuple[Any, ...]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *headers = head.decode().split("\r\n")
    method, target, version = first.split()
    url = urlsplit(target)  # aiohttp spells some escapes in another way
    query = parse_qsl(url.query, keep_blank_values=True)
    named = {name.lower(): value for name, _, value in (line.partition(":") for line in headers)}
    if named.get("content-length") == " 0":
        del named["content-length"]
    return method, unquote(url.path), query, version, named, body


def test_aiohttp_streams_a_body_in_chunks() -> None:
    async def body() -> AsyncGenerator[bytes]:
        yield b"one"
        yield b"two"

    async def main() -> None:
        async with serving() as (server, url), client_over(aiohttp_transport()) as client:
            await client.put(url, content=body())
            await client.put(url, content=body(), headers={"Content-Length": "6"})
        head, _, chunks = server.requests[0].partition(b"\r\n\r\n")
        assert head.lower().count(b"transfer-encoding: chunked") == 1
        assert chunks == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        head, _, content = server.requests[1].partition(b"\r\n\r\n")
        assert b"chunked" not in head
        assert content == b"onetwo"

    asyncio.run(main())


@both_transports
def test_a_body_is_decompressed_once_and_no_cookie_kept(make: Make) -> None:
    packed = gzip.compress(gzip.compress(b"twice"))
    head = (
        OK.removesuffix(b"2\r\n\r\nok") + b"%d\r\nContent-Encoding: gzip\r\nSet-Cookie: a=b\r\n\r\n"
    )

    async def reply(request: bytes) -> bytes:
        return head % len(packed) + packed

    async def main() -> None:
        async with serving(reply) as (server, url), make() as transport:
            for _ in range(2):
                response = await transport.handle_async_request(httpx.Request("GET", url))
                assert gzip.decompress(await response.aread()) == b"twice"
                await response.aclose()
            assert b"cookie" not in server.requests[1].lower()

    asyncio.run(main())


def test_aiohttp_is_not_for_trio() -> None:
    async def main() -> None:
        async with client_over(aiohttp_transport()) as client:
            with pytest.raises(errors.ConfigError, match="leave out transport='aiohttp'"):
                await client.get("http://127.0.0.1:1/")

    anyio.run(main, backend="trio")


@pytest.mark.parametrize("missing", ["httpx_aiohttp", "aiohttp"])
def test_aiohttp_is_missing(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(errors.ConfigError, match=r"pip install 'lunette-sandbox\[aiohttp\]'"):
        aiohttp_transport()


def test_aiohttp_knows_no_socks() -> None:
    with pytest.raises(errors.ConfigError, match="socks5://proxy:1"):
        aiohttp_transport(proxy="socks5://proxy:1")


@both_transports
def test_through_a_proxy(make: Make) -> None:
    async def main() -> None:
        async with serving() as (server, url):
            proxy = url.replace("http://", "http://user:word@").rstrip("/")
            async with client_over(make(proxy=proxy)) as client:
                assert (await client.get("http://elsewhere.invalid/path")).text == "ok"
        assert server.requests[0].startswith(b"GET http://elsewhere.invalid/path HTTP/1.1\r\n")
        assert b"Basic dXNlcjp3b3Jk" in server.requests[0]
        async with client_over(make(proxy="http://127.0.0.1:1")) as client:
            with pytest.raises((httpx.ProxyError, httpx.ConnectError)):
                await client.get("http://elsewhere.invalid/path")

    asyncio.run(main())


@pytest.mark.parametrize(
    "url",
    [
        *("http://example.com", "https://example.com", "http://www.example.com:8080"),
        *("http://notexample.com", "http://localhost", "http://127.0.0.1:8080", "http://[::1]:80"),
        *("https://[::1]:1234", "http://a.localhost", "http://EXAMPLE.com"),
    ],
)
@pytest.mark.parametrize(
    "no_proxy",
    [
        *("", "*", "example.com", ".example.com", "example.com:8080", "localhost, example.org"),
        *("127.0.0.1", "::1", "127.0.0.1:8080", "x,*", "http://example.com", "Example.COM"),
        *("localhost:8080", "10.0.0.0/8", "https://example.com", "com", " , "),
    ],
)
@pytest.mark.parametrize(
    "proxies",
    [
        {"HTTP_PROXY": "http://proxy:1", "HTTPS_PROXY": "secure:2"},
        {"ALL_PROXY": "http://all:3"},
        {"ALL_PROXY": "http://all:3", "https_proxy": "http://secure:2"},
        {},
    ],
    ids=str,
)
def test_the_environments_proxy_is_the_one_of_httpx(
    url: str, no_proxy: str, proxies: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in (proxies | {"NO_PROXY": no_proxy}).items():
        monkeypatch.setenv(name, value)
    assert environment_proxy(url) == _proxy_of_httpx(url)


def _proxy_of_httpx(url: str) -> str | None:
    from httpx._utils import URLPattern, get_environment_proxies

    patterns = {URLPattern(key): proxy for key, proxy in get_environment_proxies().items()}
    matching = (p for key, p in sorted(patterns.items()) if key.matches(httpx.URL(url)))
    return next(matching, None)
