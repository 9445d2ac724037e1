"""The ways to one server: a pool for each process, and one for each event loop."""

from __future__ import annotations

import os
import platform
import socket
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, Protocol

import httpx

from . import errors
from ._answers import from_transport
from ._cleanup import Cleanups
from ._io import AsyncIO, BlockingIO, Profile, Request
from ._loops import current_loop, in_trio
from ._retry import Retrying, RetryPolicy
from ._version import API_VERSION, version

if TYPE_CHECKING:
    import anyio

__all__ = ["Connection", "Server", "Transport"]

Transport = Literal["aiohttp"] | httpx.BaseTransport | httpx.AsyncBaseTransport | None

_TIMEOUT = 60.0
_DYING_SECONDS = 1.0
# Fewer seconds than any server keeps an idle connection, else a request meets its end. No limit on
# connections, since one that waits for a long command must not keep a short one from being sent.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=4.0)
# Of a Unix socket: by default it holds less than is written to it at a time.
_UNIX_OPTIONS = [(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)]


class Server(Protocol):
    """What a connection needs to know of an embedded server."""

    socket_path: str

    def alive(self) -> bool: ...

    def failure(self) -> str | None: ...


class _Pools:
    """The open connections of one process to one server."""

    def __init__(self, settings: dict[str, Any], base_url: str, transport: Transport) -> None:
        self._settings = settings
        self._base_url = base_url
        self._transport = transport
        self._lock = threading.Lock()
        self._blocking: httpx.Client | None = None
        self._held: dict[object, AsyncGenerator[httpx.AsyncClient]] = {}
        self._async: dict[object, tuple[httpx.AsyncClient, anyio.Lock]] = {}
        self.alone = threading.Lock()

    def blocking(self) -> httpx.Client:
        with self._lock:
            if self._blocking is None:
                self._blocking = self.new_client()
            return self._blocking

    def new_client(self) -> httpx.Client:
        return httpx.Client(**self._settings, **self._for_blocking())

    def new_async_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(**self._settings, transport=self._for_async())

    async def waiting(self) -> httpx.AsyncClient:
        loop = current_loop()
        if loop not in self._async:
            self._held[loop] = self._hold(loop)
            await anext(self._held[loop])
        return self._async[loop][0]

    def async_alone(self) -> anyio.Lock:
        return self._async[current_loop()][1]

    async def _hold(self, loop: object) -> AsyncGenerator[httpx.AsyncClient]:
        # An event loop closes its asynchronous generators before it ends, and so this client: there
        # is no other hook that both asyncio and trio have.
        import anyio

        client = self.new_async_client()
        self._async[loop] = client, anyio.Lock()
        try:
            yield client
        finally:
            del self._async[loop]
            self._held.pop(loop, None)
            await client.aclose()

    def _for_blocking(self) -> dict[str, Any]:
        if isinstance(self._transport, httpx.BaseTransport):
            return {"transport": self._transport}
        if self._socket_path is None:
            # Plain HTTP needs no certificates, and reading them takes 40 ms.
            return {"limits": _LIMITS, "verify": self._is_secure}
        # Each saves some 40 ms: no certificates are read and no proxies looked up.
        transport = httpx.HTTPTransport(
            uds=self._socket_path,
            socket_options=_UNIX_OPTIONS,
            limits=_LIMITS,
            verify=False,
            trust_env=False,
        )
        return {"transport": transport, "trust_env": False}

    def _for_async(self) -> httpx.AsyncBaseTransport:
        if isinstance(self._transport, httpx.AsyncBaseTransport):
            return self._transport
        from . import _transports

        way: dict[str, Any] = {"uds": self._socket_path, "verify": self._is_secure}
        if self._socket_path is None:
            way["proxy"] = _transports.environment_proxy(self._base_url)
        if self._transport == "aiohttp":
            return _transports.aiohttp_transport(**way)
        if self._socket_path is not None:
            way["socket_options"] = _UNIX_OPTIONS
        return _transports.SpreadTransport(limits=_LIMITS, **way)

    @property
    def _socket_path(self) -> str | None:
        path = self._base_url.removeprefix("unix://")
        return path if path != self._base_url else None

    @property
    def _is_secure(self) -> bool:
        return self._base_url.startswith("https://")

    def close(self) -> None:
        with self._lock:
            client, self._blocking = self._blocking, None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        self.close()
        held = self._held.pop(current_loop(), None)
        if held is not None:
            await held.aclose()


# A parent's pools stay referenced in its forked children: were they collected there, Python would
# warn of sockets that the child neither opened nor may close.
_inherited: list[_Pools] = []


class Connection:
    """One server, and how this client reaches it."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout: float | None = None,
        server: Server | None = None,
        retry: RetryPolicy | None = None,
        transport: Transport = None,
    ) -> None:
        self.base_url = base_url
        self.timeout = timeout or _TIMEOUT
        self.closed = False
        self.cleanups = Cleanups()
        # Of the embedded server it is known: it is of this very installation.
        self.profile = Profile(None if server is None else False)
        self.patience = httpx.Timeout(timeout or _TIMEOUT, read=timeout)
        self._origin = "http://localhost" if base_url.startswith("unix://") else base_url
        self._server = server
        self._api_key = api_key
        self.policy = retry or RetryPolicy()
        self._transport: Transport = transport
        self._pools: dict[int, _Pools] = {}

    def addressed(self, request: Request) -> Request:
        """Write out where *request* goes: httpx takes twice as long over a URL in two parts."""
        return request | {"url": self._origin + request["url"]}

    @property
    def lost(self) -> bool:
        """Whether the server behind it is gone for good."""
        return self._server is not None and not self._server.alive()

    @property
    def is_async(self) -> bool:
        """Whether the user's transport is one for event loops alone."""
        way = self._transport
        return isinstance(way, httpx.AsyncBaseTransport) and not isinstance(
            way, httpx.BaseTransport
        )

    def blocking(self) -> Retrying:
        """Return the blocking world, over this connection."""
        return Retrying(BlockingIO(self._here().blocking(), self), self.policy)

    async def waiting(self) -> Retrying:
        """Return the world of the event loop that runs, over this connection."""
        return Retrying(AsyncIO(await self._here().waiting(), self), self.policy)

    def anew(self, timeout: float) -> Connection:
        """Return another way to this server, for what is left to do when this one is closed."""
        connection = Connection(
            self.base_url,
            api_key=self._api_key,
            timeout=timeout,
            server=self._server,
            retry=RetryPolicy(attempts=1),
            transport=self._transport,
        )
        connection.profile = self.profile
        return connection

    def spare_client(self) -> httpx.Client:
        """Return a client of the caller's own, for what is left to do when this is closed."""
        return self._here().new_client()

    def spare_async_client(self) -> httpx.AsyncClient:
        """Return a client of the caller's own, for what is left to do when this is closed."""
        return self._here().new_async_client()

    def lock(self) -> AbstractContextManager[object]:
        """Return what one thread of this process can hold."""
        return self._here().alone

    def async_lock(self) -> AbstractAsyncContextManager[object]:
        """Return what one task of this event loop can hold."""
        return self._here().async_alone()

    def fault(self, error: httpx.RequestError) -> errors.LunetteError:
        """Say what it means that no answer came; may wait for a moment."""
        if self._server is None or not _is_dead(self._server, error):
            return from_transport(error, message=self._sentence(error))
        reason = self._server.failure() or "the embedded server ended"
        return from_transport(error, errors.SandboxLostError, reason)

    @property
    def place(self) -> tuple[str, str | None]:
        """Which server it is of, and as whom."""
        return self.base_url, self._api_key

    @property
    def shown_url(self) -> str:
        """Where it is, without what opens the server, if that is in it."""
        return _shown(self.base_url)

    def _sentence(self, error: httpx.RequestError) -> str:
        """Say what *error* is, and where nobody answered."""
        if not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return str(error)
        return f"no connection to {self.shown_url}: {str(error) or type(error).__name__}"

    def close(self) -> None:
        """Close what this process opened for blocking use."""
        self.closed = True
        self._here().close()

    async def aclose(self) -> None:
        """Close what this process opened for blocking use, and for this event loop."""
        if not in_trio():
            await self.cleanups.finished()
        self.closed = True
        await self._here().aclose()

    def _here(self) -> _Pools:
        # Keyed by process: over a parent's sockets a forked child would get another one's answers.
        pools = self._pools.get(os.getpid())
        if pools is not None:
            return pools
        _inherited.extend(self._pools.values())
        return self._pools.setdefault(os.getpid(), self._new_pools())

    def _new_pools(self) -> _Pools:
        settings: dict[str, Any] = {"timeout": self.timeout, "headers": self._headers()}
        return _Pools(settings, self.base_url, self._transport)

    def _headers(self) -> dict[str, str]:
        if self._server is not None:
            return {}
        headers = {"User-Agent": _user_agent(), "Lunette-API-Version": API_VERSION}
        return headers if self._api_key is None else {**headers, "X-API-Key": self._api_key}


def _shown(base_url: str) -> str:
    """Return *base_url* without what opens the server, if that is in it."""
    if base_url.startswith("unix://"):
        return base_url
    return str(httpx.URL(base_url).copy_with(userinfo=b""))


def _user_agent() -> str:
    return f"lunette/{version()} python/{platform.python_version()} httpx/{httpx.__version__}"


def _is_dead(server: Server, error: httpx.RequestError) -> bool:
    # A dying process closes its sockets before it is seen to be dead, so a cut connection (on one
    # machine it has no other cause) gives it a moment.
    was_cut = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
    deadline = time.monotonic() + (_DYING_SECONDS if was_cut else 0)
    while server.alive():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.005)
    return True
