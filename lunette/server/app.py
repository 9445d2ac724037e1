"""The application: the contract's paths behind the guard."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from lunette.server._guard import Access, Guard
from lunette.server._problems import Problem
from lunette.server.about import About
from lunette.server.commands import Commands
from lunette.server.engines.protocol import Engine
from lunette.server.files import Files
from lunette.server.registry import Registry
from lunette.server.sandboxes import Sandboxes

__all__ = ["create_app"]


def create_app(select: Callable[[], Engine], *, access: Access | None = None) -> ASGIApp:
    """Return the server as an ASGI application.

    *select* makes the engine, once the application has started. Without *access* there is no key.
    """
    registry = Registry(select)

    @contextlib.asynccontextmanager
    async def lifespan(_app: object) -> AsyncGenerator[None]:
        registry.start()
        try:
            yield
        finally:
            await registry.aclose()

    # The first match wins, and commands are what there is most of.
    tags = (Commands(registry), Files(registry), Sandboxes(registry), About(registry))
    routes = [Route(path, resource) for tag in tags for path, resource in tag.resources().items()]
    router = Router(routes, redirect_slashes=False, default=_unknown, lifespan=lifespan)
    return Guard(router, access)


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    raise Problem(404, "unknown_endpoint", f"this API has no path {scope['path']!r}")
