"""The application: the contract's paths behind the guard."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from lunette._scratch import sweep
from lunette.server._guard import Access, Guard
from lunette.server._lifetimes import Uses
from lunette.server._load import body_gate
from lunette.server._problems import Problem
from lunette.server._starting import Starting
from lunette.server.about import About
from lunette.server.archives import Archives
from lunette.server.commands import Commands
from lunette.server.files import Files
from lunette.server.images.endpoints import ImageEndpoints
from lunette.server.pauses import Pauses
from lunette.server.processes import Processes
from lunette.server.registry import Registry
from lunette.server.sandboxes import Sandboxes
from lunette.server.trees import Trees
from lunette.server.uploads import Uploads

__all__ = ["create_app"]


_SWEEP_AFTER_SECONDS = 2.0


def create_app(registry: Registry, *, access: Access | None = None) -> ASGIApp:
    """Return the server as an ASGI application; without *access* it needs no key."""

    starting = Starting(registry)
    bodies = body_gate()
    processes = Processes(registry, starting, bodies)

    @contextlib.asynccontextmanager
    async def lifespan(_app: object) -> AsyncGenerator[None]:
        registry.start()
        sweeping = asyncio.create_task(_sweep())
        try:
            yield
        finally:
            sweeping.cancel()
            try:
                await registry.aclose()
            finally:
                await processes.aclose()

    # The first match wins, and commands are what there is most of.
    tags = (
        *(Commands(registry, starting), processes),
        *(Files(registry), Trees(registry), Uploads(registry), Archives(registry)),
        *(Sandboxes(registry), Pauses(registry), ImageEndpoints(registry), About(registry)),
    )
    resources = [pair for tag in tags for pair in tag.resources().items()]
    routes = [Route(path, resource.at(path)) for path, resource in resources]
    router = Router(routes, redirect_slashes=False, default=_unknown, lifespan=lifespan)
    return Guard(Uses(router, registry.lifetime), access, bodies)


async def _sweep() -> None:
    """Remove what dead servers left, when the first requests are served."""
    await asyncio.sleep(_SWEEP_AFTER_SECONDS)
    await asyncio.to_thread(sweep)


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    raise Problem(404, "unknown_endpoint", f"this API has no path {scope['path']!r}")
