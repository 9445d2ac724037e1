"""One path of the contract, and what each method does there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from lunette.server._problems import Problem

__all__ = ["Endpoint", "Resource"]

Endpoint = Callable[[Request], Awaitable[ASGIApp]]


class Resource:
    """An ASGI application for one path.

    Starlette's own `Route` wraps each endpoint in two more calls, and answers 405 in text/plain.
    """

    def __init__(self, **endpoints: Endpoint) -> None:
        self._endpoints = endpoints
        self.path: str | None = None

    def at(self, path: str) -> Resource:
        """Return itself, which knows now where it is."""
        self.path = path
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["method"])
        if endpoint is None:
            raise self._method_not_allowed(scope["method"])
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)

    def _method_not_allowed(self, method: str) -> Problem:
        allowed = ", ".join(sorted(self._endpoints))
        return Problem(
            405,
            "method_not_allowed",
            f"there is no {method} here, only: {allowed}",
            headers={"Allow": allowed},
        )
