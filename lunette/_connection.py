"""The ways to one server: a pool for each process, and one for each event loop."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol

import httpx

from . import errors
from ._io import AsyncIO, BlockingIO, Request, current_loop

__all__ = ["Connection", "Server"]

_TIMEOUT = 60.0
_DYING_SECONDS = 1.0
# Fewer seconds than any server keeps an idle connection, else a request meets its end. No limit on
# connections, since one that waits for a long command must not keep a short one from being sent.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=4.0)


class Server(Protocol):
    """What a connection needs to know of an embedded server."""

    socket_path: str

    def alive(self) -> bool: ...

    def failure(self) -> str | None: ...


class _Pools:
    """The open connections of one process to one server."""

    def __init__(self, settings: dict[str, Any], socket_path: str | None) -> None:
        self._settings = settings
        self._socket_path = socket_path
        self._lock = threading.Lock()
        self._blocking: httpx.Client | None = None
        self._held: dict[object, AsyncGenerator[httpx.AsyncClient]] = {}
        self._async: dict[object, httpx.AsyncClient] = {}

    def blocking(self) -> httpx.Client:
        with self._lock:
            if self._blocking is None:
                self._blocking = httpx.Client(
                    **self._settings, **self._transport(httpx.HTTPTransport)
                )
            return self._blocking

    async def waiting(self) -> httpx.AsyncClient:
        loop = current_loop()
        if loop not in self._async:
            self._held[loop] = self._hold(loop)
            await anext(self._held[loop])
        return self._async[loop]

    async def _hold(self, loop: object) -> AsyncGenerator[httpx.AsyncClient]:
        # An event loop closes its asynchronous generators before it ends, and so this client: there
        # is no other hook that both asyncio and trio have.
        client = httpx.AsyncClient(**self._settings, **self._transport(httpx.AsyncHTTPTransport))
        self._async[loop] = client
        try:
            yield client
        finally:
            del self._async[loop]
            self._held.pop(loop, None)
            await client.aclose()

    def _transport(self, kind: Callable[..., Any]) -> dict[str, Any]:
        if self._socket_path is None:
            return {"limits": _LIMITS}
        # Each saves some 40 ms: no certificates are read and no proxies looked up.
        plain = {"verify": False, "trust_env": False}
        return {"transport": kind(uds=self._socket_path, limits=_LIMITS, **plain)}

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
    ) -> None:
        self.base_url = base_url
        self.patience = httpx.Timeout(timeout or _TIMEOUT, read=timeout)
        self._origin = "http://localhost" if base_url.startswith("unix://") else base_url
        self._server = server
        self._timeout = timeout
        self._api_key = api_key
        self._pools: dict[int, _Pools] = {}

    def addressed(self, request: Request) -> Request:
        """Write out where *request* goes: httpx takes twice as long over a URL in two parts."""
        return request | {"url": self._origin + request["url"]}

    @property
    def lost(self) -> bool:
        """Whether the server behind it is gone for good."""
        return self._server is not None and not self._server.alive()

    def blocking(self) -> BlockingIO:
        """Return the blocking world, over this connection."""
        return BlockingIO(self._here().blocking(), self)

    async def waiting(self) -> AsyncIO:
        """Return the world of the event loop that runs, over this connection."""
        return AsyncIO(await self._here().waiting(), self)

    def fault(self, error: httpx.RequestError) -> errors.LunetteError:
        """Say what it means that no answer came; may wait for a moment."""
        if self._server is None or not _is_dead(self._server, error):
            return errors.from_transport(error)
        reason = self._server.failure() or "the embedded server ended"
        return errors.from_transport(error, errors.SandboxLostError, reason)

    def close(self) -> None:
        """Close what this process opened for blocking use."""
        self._here().close()

    async def aclose(self) -> None:
        """Close what this process opened for blocking use, and for this event loop."""
        await self._here().aclose()

    def _here(self) -> _Pools:
        # Keyed by process: over a parent's sockets a forked child would get another one's answers.
        pools = self._pools.get(os.getpid())
        if pools is not None:
            return pools
        _inherited.extend(self._pools.values())
        return self._pools.setdefault(os.getpid(), self._new_pools())

    def _new_pools(self) -> _Pools:
        settings: dict[str, Any] = {"timeout": self._timeout or _TIMEOUT}
        if self._api_key is not None:
            settings["headers"] = {"X-API-Key": self._api_key}
        if not self.base_url.startswith("unix://"):
            # Plain HTTP needs no certificates, and reading them takes 40 ms.
            verify = self.base_url.startswith("https://")
            return _Pools({**settings, "verify": verify}, None)
        return _Pools({**settings, "trust_env": False}, self.base_url.removeprefix("unix://"))


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
