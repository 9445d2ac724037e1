"""Transports for hundreds of requests at once, under which httpx's own collapses."""

from __future__ import annotations

import ssl
import sys
import time
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import AsyncExitStack, contextmanager
from ipaddress import ip_address
from typing import Any, Protocol
from urllib.request import getproxies

import httpx

from ._embedded import distribution
from .errors import ConfigError

__all__ = ["SpreadTransport", "aiohttp_transport", "environment_proxy"]

# Fewer seconds than any server keeps an idle connection, else a request meets its end.
_KEEP_ALIVE = 4.0
# As many as a fan-out of a hundred takes up again; far from the usual limit of 1,024 descriptors.
_KEPT = 100
_LIMITS = httpx.Limits(max_keepalive_connections=_KEPT, keepalive_expiry=_KEEP_ALIVE)


class SpreadTransport(httpx.AsyncBaseTransport):
    """Send every request through a stock pool that it has for itself until its response is closed.

    A stock pool looks through all that it holds for each request; of the sizes tried, one request
    a pool is the fastest. It also means that a pool which saw an error can simply be thrown away.
    There is no limit on requests: of *limits* only what is said of keep-alive counts, and without a
    number there, a hundred idle connections are kept.
    """

    def __init__(
        self,
        *,
        uds: str | None = None,
        verify: ssl.SSLContext | bool = True,
        limits: httpx.Limits = _LIMITS,
        proxy: str | None = None,
    ) -> None:
        kept, self._expiry = limits.max_keepalive_connections, limits.keepalive_expiry
        self._kept = _KEPT if kept is None else kept
        self._verify = verify
        self._settings: dict[str, Any] = {
            "uds": uds,
            "proxy": proxy,
            "limits": httpx.Limits(keepalive_expiry=self._expiry),
        }
        # By scheme, so that the SSL context of one never serves the other.
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._idle: defaultdict[str, deque[tuple[float, httpx.AsyncHTTPTransport]]]
        self._idle = defaultdict(deque)
        self._busy: set[httpx.AsyncHTTPTransport] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request* over the connection that was used last, or over a new one."""
        scheme = request.url.scheme
        pool = self._take(scheme)
        opened: list[Any] = []
        try:
            response = await pool.handle_async_request(_watched(request, opened))
            assert isinstance(response.stream, httpx.AsyncByteStream)
            if pool not in self._busy:
                # Closed while it connected; unread, the response takes its connection along.
                await response.stream.aclose()
                raise httpx.ConnectError("the transport was closed")
        except BaseException:
            await self.discard(pool, *opened)
            raise
        response.stream = _Lent(response.stream, self, pool, scheme)
        return response

    async def aclose(self) -> None:
        """Close all connections, also those under a request."""
        pools = [*self._busy, *(pool for idle in self._idle.values() for _, pool in idle)]
        self._busy.clear()
        self._idle.clear()
        async with AsyncExitStack() as stack:  # closes the rest even if one is interrupted
            for pool in pools:
                stack.push_async_callback(_close, pool)

    def _take(self, scheme: str) -> httpx.AsyncHTTPTransport:
        idle = self._idle[scheme]
        if idle:
            pool = idle.pop()[1]
        else:
            pool = httpx.AsyncHTTPTransport(verify=self._context(scheme), **self._settings)
        self._busy.add(pool)
        return pool

    def _context(self, scheme: str) -> ssl.SSLContext:
        if scheme not in self._contexts:
            self._contexts[scheme] = _new_context(scheme, self._verify)
        return self._contexts[scheme]

    async def give_back(self, pool: httpx.AsyncHTTPTransport, scheme: str) -> None:
        """Take *pool* back from a request that is over."""
        if pool not in self._busy:
            await _close(pool)
            return
        self._busy.remove(pool)
        idle = self._idle[scheme]
        idle.append((time.monotonic(), pool))
        # Taken out one at a time: whatever interrupts this, the others are still known.
        while idle and self._is_surplus(idle):
            await _close(idle.popleft()[1])

    def _is_surplus(self, idle: deque[tuple[float, httpx.AsyncHTTPTransport]]) -> bool:
        if len(idle) > self._kept:
            return True
        return self._expiry is not None and time.monotonic() - idle[0][0] > self._expiry

    async def discard(self, pool: httpx.AsyncHTTPTransport, *opened: _Closable) -> None:
        """Close *pool*, and what else a request that failed has *opened*."""
        self._busy.discard(pool)
        async with AsyncExitStack() as stack:
            for each in (pool, *opened):
                stack.push_async_callback(_close, each)


class _Lent(httpx.AsyncByteStream):
    """A response's body; with it the pool goes back."""

    def __init__(
        self,
        stream: httpx.AsyncByteStream,
        lender: SpreadTransport,
        pool: httpx.AsyncHTTPTransport,
        scheme: str,
    ) -> None:
        self._stream = stream
        self._lender = lender
        self._pool: httpx.AsyncHTTPTransport | None = pool
        self._scheme = scheme

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    async def aclose(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await self._stream.aclose()
        except BaseException:
            await self._lender.discard(pool)
            raise
        await self._lender.give_back(pool, self._scheme)


class _Closable(Protocol):
    async def aclose(self) -> None: ...


async def _close(what: _Closable) -> None:
    import anyio  # httpcore has imported it by now

    with anyio.CancelScope(shield=True):
        await what.aclose()


def _watched(request: httpx.Request, opened: list[Any]) -> httpx.Request:
    """Note what *request* opens: httpcore forgets a socket whose TLS handshake is cancelled."""
    if request.url.scheme != "https":
        return request
    users = request.extensions.get("trace")

    async def trace(event: str, info: dict[str, Any]) -> None:
        if event in {"connection.connect_tcp.complete", "connection.connect_unix_socket.complete"}:
            opened.append(info["return_value"])
        if users is not None:
            await users(event, info)

    extensions = {**request.extensions, "trace": trace}
    return httpx.Request(
        *(request.method, request.url),
        **{"headers": request.headers, "stream": request.stream, "extensions": extensions},
    )


def _new_context(scheme: str, verify: ssl.SSLContext | bool) -> ssl.SSLContext:
    if scheme == "https":
        return httpx.create_ssl_context(verify=verify)
    # Trusts nobody, and is not asked to: reading the certificates takes 40 ms.
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def aiohttp_transport(
    *,
    uds: str | None = None,
    verify: ssl.SSLContext | bool = True,
    proxy: str | None = None,
) -> httpx.AsyncBaseTransport:
    """Return a transport over aiohttp, about twice as fast as ours and for asyncio alone."""
    try:
        import httpx_aiohttp  # noqa: F401 - it takes its time, which only its users shall pay
    except ImportError as error:
        raise ConfigError(
            f"transport='aiohttp' needs httpx-aiohttp: pip install '{distribution()}[aiohttp]'"
        ) from error
    if proxy is not None and not proxy.startswith(("http://", "https://")):
        raise ConfigError(
            f"transport='aiohttp' goes through http and https proxies alone, not {proxy!r}:"
            " leave out transport='aiohttp'"
        )
    return _AiohttpTransport(uds, verify, None if proxy is None else httpx.Proxy(proxy))


class _AiohttpTransport(httpx.AsyncBaseTransport):
    """`httpx_aiohttp.AiohttpTransport` that names errors as httpx does and never sends twice."""

    def __init__(
        self, uds: str | None, verify: ssl.SSLContext | bool, proxy: httpx.Proxy | None
    ) -> None:
        self._uds = uds
        self._verify = verify
        self._proxy = proxy
        self._by_scheme: dict[str, httpx.AsyncBaseTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        trio: Any = sys.modules.get("trio")
        if trio is not None and trio.lowlevel.in_trio_run():
            raise ConfigError("aiohttp does not run under trio: leave out transport='aiohttp'")
        scheme = request.url.scheme
        if scheme not in self._by_scheme:
            self._by_scheme[scheme] = self._new(scheme)
        assert isinstance(request.stream, httpx.AsyncByteStream)
        # aiohttp says of an error in the body's source that the connection broke.
        request.stream = source = _Source(request.stream)
        try:
            with _errors_of_httpx():
                response = await self._by_scheme[scheme].handle_async_request(request)
        except httpx.RequestError:
            if source.error is not None:
                raise source.error from None
            raise
        finally:
            request.stream = source.stream
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Renamed(response.stream)
        return response

    async def aclose(self) -> None:
        while self._by_scheme:
            await self._by_scheme.popitem()[1].aclose()

    def _new(self, scheme: str) -> httpx.AsyncBaseTransport:
        import aiohttp
        import httpx_aiohttp

        context = _new_context(scheme, self._verify)
        connector = (
            aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE, ssl=context)
            if self._uds is None
            else aiohttp.UnixConnector(self._uds, limit=0, keepalive_timeout=_KEEP_ALIVE)
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )
        # Else aiohttp sends a GET, PUT or DELETE again after a cut. There is no public switch.
        session._retry_connection = False  # pyright: ignore[reportPrivateUsage]
        return httpx_aiohttp.AiohttpTransport(verify=context, proxy=self._proxy, client=session)


def environment_proxy(url: str) -> str | None:
    """Return the proxy that httpx would take from the environment for *url*."""
    proxies = getproxies()
    target = httpx.URL(url)
    if any(_excludes(entry.strip(), target) for entry in proxies.get("no", "").split(",")):
        return None
    proxy = proxies.get(target.scheme) or proxies.get("all") or None
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def _excludes(entry: str, target: httpx.URL) -> bool:
    """Say whether the *entry* of NO_PROXY means *target*, to httpx."""
    if entry in {"", "*"}:
        return entry == "*"
    pattern = httpx.URL(entry if "://" in entry else f"all://{_host_pattern(entry)}")
    if pattern.scheme not in {"all", target.scheme} or pattern.port not in {None, target.port}:
        return False
    if not pattern.host.startswith("*"):
        return pattern.host in {"", target.host}
    domain = pattern.host.removeprefix("*")
    return f".{target.host}".endswith(f".{domain}") or (
        domain.startswith(".") and target.host.endswith(domain)
    )


def _host_pattern(entry: str) -> str:
    try:
        address = ip_address(entry.partition("/")[0])
    except ValueError:
        return entry if entry.lower() == "localhost" else f"*{entry}"
    return entry if address.version == 4 else f"[{entry}]"


class _Source(httpx.AsyncByteStream):
    """A request's body that knows its own error."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self.stream = stream
        self.error: Exception | None = None

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        try:
            async for chunk in self.stream:
                yield chunk
        except Exception as error:
            self.error = error
            raise


class _Renamed(httpx.AsyncByteStream):
    """A response's body whose errors are httpx's."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        with _errors_of_httpx():
            async for chunk in self._stream:
                yield chunk

    async def aclose(self) -> None:
        with _errors_of_httpx():
            await self._stream.aclose()


@contextmanager
def _errors_of_httpx() -> Generator[None]:
    """Name errors as stock httpx does: httpx_aiohttp calls a cut connection a `ConnectTimeout`."""
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if isinstance(error, httpx.RequestError) else error
        kind = _httpx_kind(cause)
        if kind is None:
            raise
        raise kind(str(cause) or type(cause).__name__) from cause


def _httpx_kind(error: BaseException | None) -> type[httpx.RequestError] | None:
    import aiohttp

    kinds: dict[type[Exception], type[httpx.RequestError]] = {
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
    return next((ours for theirs, ours in kinds.items() if isinstance(error, theirs)), None)
