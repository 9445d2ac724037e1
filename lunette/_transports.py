"""Transports for hundreds of requests at once, under which httpx's own collapses."""

from __future__ import annotations

import ssl
import time
from base64 import b64encode
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import cache, partial
from math import inf
from typing import Any
from urllib.request import getproxies

import httpx

from ._embedded import distribution
from ._incoming import DIRECT
from ._loops import in_trio
from .errors import ConfigError

__all__ = ["SpreadTransport", "aiohttp_transport", "environment_proxy"]

_KEEP_ALIVE = 4.0  # fewer seconds than any server keeps a connection, else a request meets its end
_KEPT = 100  # idle connections: what a large fan-out takes up again, and far from 1,024 descriptors
_LIMITS = httpx.Limits(max_keepalive_connections=_KEPT, keepalive_expiry=_KEEP_ALIVE)

_Close = Callable[[], Awaitable[None]]
_Verify = ssl.SSLContext | bool
_Idle = deque[tuple[float, httpx.AsyncHTTPTransport]]  # and since when


class SpreadTransport(httpx.AsyncBaseTransport):
    """Lend each request a stock pool of its own, until its response is closed.

    A stock pool looks through all that it holds for each request: one request in each is the
    fastest. And a pool that saw an error can be thrown away. Requests are not limited: *limits*
    says what is kept idle, a hundred connections if it gives no number.
    """

    def __init__(
        self,
        *,
        uds: str | None = None,
        verify: _Verify = True,
        limits: httpx.Limits = _LIMITS,
        proxy: str | None = None,
        socket_options: Sequence[tuple[int, int, int]] | None = None,
    ) -> None:
        kept, expiry = limits.max_keepalive_connections, limits.keepalive_expiry
        self._kept = _KEPT if kept is None else kept
        self._expiry = inf if expiry is None else expiry
        inner = httpx.Limits(keepalive_expiry=expiry)
        self._new = partial(
            httpx.AsyncHTTPTransport,
            uds=uds,
            limits=inner,
            proxy=proxy,
            socket_options=socket_options,
        )
        # By scheme, so that certificates are read for https alone.
        self._context = cache(partial(_ssl_context, verify))
        self._idle: dict[str, _Idle] = defaultdict(deque)
        self._busy: set[httpx.AsyncHTTPTransport] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request* over the connection that was used last, or over a new one."""
        scheme = request.url.scheme
        idle = self._idle[scheme]
        pool = idle.pop()[1] if idle else self._new(verify=self._context(scheme))
        self._busy.add(pool)
        opened: list[_Close] = []
        try:
            watched = _watched(request, opened) if scheme == "https" else request
            response = await pool.handle_async_request(watched)
            if pool not in self._busy:  # closed while it connected
                await _Body(response).aclose()  # unread, it takes its connection along
                raise httpx.ReadError("the transport was closed")
        except BaseException:
            await self._discard(pool, *opened)
            raise
        close = _Body(response).aclose
        response.stream = _Body(response, close=lambda: self._take_back(pool, idle, close))
        response.extensions[DIRECT] = True
        return response

    async def aclose(self) -> None:
        """Close all connections, also those under a request."""
        pools = [*self._busy, *(pool for idle in self._idle.values() for _, pool in idle)]
        self._busy.clear()
        self._idle.clear()
        await _close_all(*(pool.aclose for pool in pools))

    async def _take_back(self, pool: httpx.AsyncHTTPTransport, idle: _Idle, close: _Close) -> None:
        try:
            await close()
        except BaseException:
            await self._discard(pool)
            raise
        if pool not in self._busy:  # the transport was closed, and the pool with it
            return
        self._busy.remove(pool)
        idle.append((time.monotonic(), pool))
        # One at a time: whatever interrupts a close, the others are still known.
        while len(idle) > self._kept or (idle and time.monotonic() - idle[0][0] > self._expiry):
            await _close_all(idle.popleft()[1].aclose)

    async def _discard(self, pool: httpx.AsyncHTTPTransport, *opened: _Close) -> None:
        self._busy.discard(pool)
        await _close_all(pool.aclose, *opened)


def _watched(request: httpx.Request, opened: list[_Close]) -> httpx.Request:
    """Note what *request* opens: httpcore forgets a socket whose TLS handshake is cancelled."""
    users = request.extensions.get("trace")

    async def trace(event: str, info: dict[str, Any]) -> None:
        if event in {"connection.connect_tcp.complete", "connection.connect_unix_socket.complete"}:
            opened.append(info["return_value"].aclose)
        if users is not None:
            await users(event, info)

    extensions = {**request.extensions, "trace": trace}
    head = request.method, request.url
    return httpx.Request(
        *head, headers=request.headers, stream=request.stream, extensions=extensions
    )


async def _close_all(*closes: _Close) -> None:
    """Close, whatever is cancelled or fails meanwhile."""
    import anyio  # httpcore has imported it by now

    with anyio.CancelScope(shield=True):
        async with AsyncExitStack() as stack:
            for close in closes:
                stack.push_async_callback(close)


def aiohttp_transport(
    *, uds: str | None = None, verify: _Verify = True, proxy: str | None = None
) -> httpx.AsyncBaseTransport:
    """Return a transport over aiohttp: faster still, for asyncio alone."""
    try:
        import aiohttp
        import httpx_aiohttp
    except ImportError as error:
        raise ConfigError(
            f"transport='aiohttp' needs more: pip install '{distribution()}[aiohttp]'"
        ) from error
    if proxy is not None and not proxy.startswith(("http://", "https://")):
        raise ConfigError(f"aiohttp cannot use {proxy!r}: leave out transport='aiohttp'")
    via = None if proxy is None else httpx.Proxy(proxy)
    if via is not None and via.raw_auth is not None:  # as a header: aiohttp warns of BasicAuth
        word = b64encode(b":".join(via.raw_auth)).decode()
        via = httpx.Proxy(via.url, headers={"Authorization": f"Basic {word}"})

    def new(scheme: str) -> httpx.AsyncBaseTransport:
        context = _ssl_context(verify, scheme)
        settings: dict[str, Any] = {"limit": 0, "keepalive_timeout": _KEEP_ALIVE}
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, **settings)
            if uds is None
            else aiohttp.UnixConnector(uds, **settings),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )
        # Else a GET, PUT or DELETE is sent again after a cut, and no public name forbids it.
        session._retry_connection = False  # pyright: ignore[reportPrivateUsage]
        return httpx_aiohttp.AiohttpTransport(verify=context, proxy=via, client=session)

    return _AiohttpTransport(new)


class _AiohttpTransport(httpx.AsyncBaseTransport):
    """Wraps `httpx_aiohttp.AiohttpTransport`, which calls a cut connection a `ConnectTimeout`."""

    def __init__(self, new: Callable[[str], httpx.AsyncBaseTransport]) -> None:
        self._by_scheme: dict[str, httpx.AsyncBaseTransport] = {}
        self._new = new

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if in_trio():
            raise ConfigError("aiohttp does not run under trio: leave out transport='aiohttp'")
        scheme = request.url.scheme
        if scheme not in self._by_scheme:
            self._by_scheme[scheme] = self._new(scheme)
        request.stream = source = _Body(request)
        try:
            response = await self._by_scheme[scheme].handle_async_request(request)
        except Exception as error:
            # aiohttp takes an error of the body's source for one of the connection.
            if source.error is not None:
                raise source.error from None
            raise _renamed(error) from error.__cause__
        response.stream = _Body(response, rename=_renamed)
        return response

    async def aclose(self) -> None:
        """Close all connections, also those under a request."""
        await _close_all(*(transport.aclose for transport in self._by_scheme.values()))


class _Body(httpx.AsyncByteStream):
    """The body *of* a message that is closed once, notes its error and may *rename* it."""

    error: Exception | None = None

    def __init__(
        self,
        of: httpx.Request | httpx.Response,
        close: _Close | None = None,
        rename: Callable[[Exception], Exception] = lambda error: error,
    ) -> None:
        assert isinstance(of.stream, httpx.AsyncByteStream)
        self._stream, self._rename = of.stream, rename
        self._close: _Close | None = close or of.stream.aclose

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        try:
            async for chunk in self._stream:
                yield chunk
        except Exception as error:
            self.error = error
            raise self._rename(error) from error.__cause__

    async def aclose(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            await close()


def _renamed(error: Exception) -> Exception:
    """Return what stock httpx would have raised for an *error* of aiohttp."""
    import aiohttp

    kinds = {
        aiohttp.ClientProxyConnectionError: httpx.ProxyError,
        aiohttp.ClientHttpProxyError: httpx.ProxyError,
        aiohttp.ClientConnectorError: httpx.ConnectError,
        aiohttp.ConnectionTimeoutError: httpx.ConnectTimeout,
        aiohttp.ServerTimeoutError: httpx.ReadTimeout,
        aiohttp.ServerDisconnectedError: httpx.RemoteProtocolError,
        aiohttp.ClientConnectionError: httpx.ReadError,
        aiohttp.InvalidURL: httpx.UnsupportedProtocol,
        aiohttp.NonHttpUrlClientError: httpx.UnsupportedProtocol,
        aiohttp.ClientError: httpx.RemoteProtocolError,
    }
    cause = error.__cause__ if isinstance(error, httpx.RequestError) else error
    for theirs, ours in kinds.items():
        if isinstance(cause, theirs):
            return ours(str(cause) or type(cause).__name__)
    return error


def _ssl_context(verify: _Verify, scheme: str) -> ssl.SSLContext:
    if scheme == "https":
        return httpx.create_ssl_context(verify=verify)
    # It trusts nobody and is never asked: to read the certificates takes 40 ms.
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def environment_proxy(url: str) -> str | None:
    """Return the proxy that httpx would take from the environment for *url*."""
    proxies, target = getproxies(), httpx.URL(url)
    if any(_excludes(entry.strip(), target) for entry in proxies.get("no", "").split(",")):
        return None
    proxy = proxies.get(target.scheme) or proxies.get("all") or None
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _excludes(entry: str, target: httpx.URL) -> bool:
    """Say whether *entry* of NO_PROXY means *target*: a name means its subdomains too."""
    entry, names = entry.lower(), {target.host, target.netloc.decode()}
    if entry in {"*", *names, *(f"{target.scheme}://{name}" for name in names)}:
        return True
    if entry in {"", "localhost"}:
        return False
    return any(name.endswith(f".{entry.removeprefix('.')}") for name in names)
