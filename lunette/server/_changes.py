"""What changes the files of a sandbox by one request, and is done once for each key."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from lunette.server.engines.protocol import Engine, Handle
from lunette.server.registry import Registry

__all__ = ["change"]

_KEY = "Idempotency-Key"


async def change(
    registry: Registry,
    request: Request,
    asked: object,
    do: Callable[[Engine, Handle], Coroutine[Any, Any, None]],
) -> Response:
    """Do what is *asked*, or answer as when the same was asked under the same key."""
    engine, sandbox, handle = await registry.running(request.path_params["sandbox_id"])

    async def work() -> None:
        with registry.files_of(sandbox):
            await do(engine, handle)

    await sandbox.repeats.once(request.headers.get(_KEY), asked, work)
    return Response(status_code=204)
